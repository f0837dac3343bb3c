//! The kernel's objects: tasks, memory maps, the virtual file system and the file systems, signals, time, sockets; the executor and wait queues.
//!
//! The system calls themselves live in `syscalls`, which imports this crate; nothing here knows of OCI. A map of the modules:
//!
//! - [`exec`]: executor and reactor. [`wait`]: readiness and blocking. [`error`]: errnos and restarts.
//! - [`task`]: tasks, thread groups, credentials, pid namespaces, exit and wait. [`signal`]: queues, actions, frames.
//! - [`mm`]: regions and user memory. [`loader`]: ELF and scripts.
//! - [`futex`]: waiting for words of guest memory.
//! - [`vfs`], [`fs`]: the tree and what hangs in it. [`socket`]: sockets.
//! - [`ipc`]: System V IPC and POSIX message queues.
//! - [`call_trace`]: `--strace` and the counts of calls that are not supported.
//! - [`kernel`]: the sandbox as a whole and its containers.

pub mod aio;
pub mod call_trace;
pub mod error;
pub mod exec;
pub mod fs;
pub mod futex;
pub mod host;
pub mod host_cgroup;
pub mod host_facts;
pub mod ipc;
pub mod kernel;
pub mod loader;
pub mod mm;
pub mod signal;
pub mod socket;
pub mod sync;
pub mod task;
pub mod time;
pub mod vfs;
pub mod wait;

/// The platform interface, as far as handlers that edit registers and order host calls need it.
pub use platform;
/// Number and arguments of a call, for `syscalls`, which must not import the platform.
pub use platform::SyscallArgs;
