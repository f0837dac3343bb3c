//! A process that does nothing: it keeps a scope of systemd's alive until the container's own processes are in it.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::libc::SIGKILL;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::host;

/// See the module. Dropping it ends the process; so does the end of this command.
#[derive(Debug)]
pub struct Placeholder {
    pid: i32,
    pidfd: OwnedFd,
    /// Its reading end is all that the process waits for.
    _life: OwnedFd,
}

impl Placeholder {
    /// Starts it.
    pub(super) fn start() -> Result<Self> {
        let (theirs, ours) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let child = || -> i32 {
            // Its own copy of the writing end would keep it alive, and other descriptors would keep callers waiting.
            if host::set_stdio(theirs.as_fd(), 0).is_ok() && host::close_from(1).is_ok() {
                let _ = nix::unistd::read(host::stdin_fd(), &mut [0]);
            }
            0
        };
        let cloned = host::clone_process(0, child).context("cannot start a process")?;
        Ok(Self {
            pid: cloned.pid,
            pidfd: cloned.pidfd,
            _life: ours,
        })
    }

    /// Its pid.
    pub(super) const fn pid(&self) -> i32 {
        self.pid
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        let _ = host::pidfd_signal(self.pidfd.as_fd(), SIGKILL);
        let _ = waitpid(Pid::from_raw(self.pid), None);
    }
}
