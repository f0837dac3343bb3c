//! Forked children: what they do is a closure, how they end is printed by name.

use std::fmt;

use crate::host::{Ret, exit_now, fork_raw, sleep_ms, sys};
use crate::signals::name_of;

/// Exit code of a child that panicked: waiting for it fails the case, since its set-up failed.
const PANICKED: i32 = 101;

/// A child process.
#[derive(Clone, Copy)]
pub(crate) struct Child(pub(crate) i32);

/// Forks; the child runs `body` and exits with what it returns.
#[track_caller]
pub(crate) fn fork(body: impl FnOnce() -> i32) -> Child {
    match fork_raw() {
        0 => {
            let code =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(PANICKED);
            exit_now(code)
        }
        pid if pid > 0 => Child(pid),
        _ => panic!("set-up failed: fork"),
    }
}

/// A child that does something a little later, while its parent blocks.
#[track_caller]
pub(crate) fn after<T>(ms: u64, body: impl FnOnce() -> T) -> Child {
    fork(|| {
        sleep_ms(ms);
        body();
        0
    })
}

impl Child {
    /// Waits until it ends, and says how.
    pub(crate) fn wait(self) -> Status {
        self.wait_options(0)
    }

    /// `wait4` with these options.
    pub(crate) fn wait_options(self, options: i32) -> Status {
        let mut status = 0i32;
        let ret = sys!(libc::SYS_wait4, self.0, &mut status, options, 0);
        assert!(ret.0 <= 0 || status != PANICKED << 8, "a child panicked");
        if ret.0 == 0 {
            Status::Nothing
        } else {
            Status::of(ret, status)
        }
    }

    /// Sends it a signal.
    pub(crate) fn kill(self, signal: i32) -> Ret {
        sys!(libc::SYS_kill, self.0, signal)
    }
}

/// Waits for any child and says how it ended, and which it was.
pub(crate) fn wait_any() -> (i32, Status) {
    let mut status = 0i32;
    let ret = sys!(libc::SYS_wait4, -1, &mut status, 0, 0);
    (ret.0 as i32, Status::of(ret, status))
}

/// How a wait came out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// The wait itself failed.
    Failed(Ret),
    /// WNOHANG, and nothing to report.
    Nothing,
    /// The raw wait status.
    Is(i32),
}

impl Status {
    /// From what `wait4` returned and wrote.
    pub(crate) fn of(ret: Ret, status: i32) -> Self {
        if ret.get().is_err() {
            Self::Failed(ret)
        } else {
            Self::Is(status)
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Failed(ret) => write!(f, "{ret}"),
            Self::Nothing => write!(f, "nothing to report"),
            Self::Is(status) if libc::WIFEXITED(status) => {
                write!(f, "exited {}", libc::WEXITSTATUS(status))
            }
            Self::Is(status) if libc::WIFSIGNALED(status) => {
                write!(f, "killed by {}", name_of(libc::WTERMSIG(status)))
            }
            Self::Is(status) if libc::WIFSTOPPED(status) => {
                write!(f, "stopped by {}", name_of(libc::WSTOPSIG(status)))
            }
            Self::Is(status) if libc::WIFCONTINUED(status) => write!(f, "continued"),
            Self::Is(status) => write!(f, "status {status:#x}"),
        }
    }
}
