//! Processes and threads: birth, programs, death, waiting, ids.

mod clone;
mod cross_memory;
mod exec;
mod exit;
mod ids;
mod kcmp;
mod namespaces;
mod pidfd;
mod reclaim;
pub mod start;
mod strings;
mod wait;

pub use clone::{clone, clone3, fork, vfork};
pub use cross_memory::{process_vm_readv, process_vm_writev};
pub use exec::{exec_program, execve, execveat};
pub use exit::{exit, exit_group, leave};
pub use ids::{
    arch_prctl, getpgid, getpgrp, getpid, getppid, getsid, gettid, set_tid_address, setpgid, setsid,
};
pub use kcmp::kcmp;
pub use namespaces::{setns, unshare};
pub use pidfd::{pidfd_getfd, pidfd_open, pidfd_send_signal};
pub use reclaim::{process_madvise, process_mrelease};
pub(crate) use wait::settle_children;
pub use wait::{wait4, waitid};
