//! The system calls: the table and the handlers, a file per family.
//!
//! A handler is an `async fn(cx: &CurrentTask, …) -> SysResult<T>`. Decoding an argument never fails; the handler decides errors, in Linux's order. It
//! blocks only through [`sentry::task::CurrentTask::block_until`]. Structures are read from the guest once.
//!
//! [`table`] is the one list: dispatch, `--strace`, `docs/syscalls.md` and the platform's list of full calls come from it.

pub mod arg;
pub mod guard;
#[cfg(test)]
mod guard_tests;
mod passing;
pub mod run;
mod seccomp;
mod seccomp_listener;
pub mod strace;
pub mod support;
pub mod table;
mod trace;

pub mod aio;
pub mod clock;
pub mod cred;
pub mod event;
pub mod file;
pub mod futex;
pub mod ipc;
pub mod memory;
pub mod misc;
pub mod mount;
pub mod numa;
pub mod process;
pub mod ptrace;
pub mod refused;
pub mod rseq;
pub mod sched;
pub mod signal;
pub mod socket;
