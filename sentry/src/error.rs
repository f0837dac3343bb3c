//! How a system call ends other than by a value.
//!
//! Restart codes are no errnos: they are a variant of their own, so they cannot leak to a guest. The thread's loop turns them into EINTR or a
//! re-execution when it knows whether a handler runs (`kernel/signal.c`, `arch/x86/kernel/signal.c`).

pub use abi::Errno;

/// What an interrupted call wants to happen, in the kernel's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// ERESTARTSYS: restart after a handler with SA_RESTART or when no handler runs; else EINTR.
    Sys,
    /// ERESTARTNOINTR: always restart.
    NoIntr,
    /// ERESTARTNOHAND: EINTR if a handler runs, else restart.
    NoHand,
    /// ERESTART_RESTARTBLOCK: EINTR if a handler runs, else continue through `restart_syscall` with what the task stored.
    Block,
}

/// The failure of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SysError {
    /// Linux's error number.
    Errno(Errno),
    /// A signal is pending: the loop decides.
    Restart(Restart),
}

impl From<Errno> for SysError {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// What handlers return.
pub type SysResult<T = i64> = Result<T, SysError>;

/// Shorthand for a result of code that cannot be interrupted.
pub type Result<T, E = Errno> = std::result::Result<T, E>;
