//! The cleaner of `do`: a tiny process that takes the sandbox down when the command dies without doing so itself (SIGKILL, a crash).
//!
//! A fork of the command in a session of its own. It holds the read end of a pipe whose write end only the command has: a byte says that nothing is
//! left to do, end of file that the command died. What it then does is what `delete --force` would: processes, cgroup, state.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::signal::SigSet;

use super::{process, teardown};
use crate::host;
use crate::state::{self, Container};

/// A cleaner that watches this process. Dropping it sends it home: do that when nothing is left to clean.
#[derive(Debug)]
pub struct Cleaner {
    pid: i32,
    work_left: OwnedFd,
}

impl Cleaner {
    /// Starts the cleaner of container `id`, which need not exist yet. The caller has one thread.
    pub fn start(root: &Path, id: &str) -> Result<Self> {
        let (watched, work_left) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let null = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .context("open /dev/null")?;
        let cloned = host::clone_process(0, || match settle(&watched, &null) {
            Ok(()) => watch(root, id),
            Err(_) => 1,
        })
        .context("cannot start the process that cleans up")?;
        Ok(Self {
            pid: cloned.pid,
            work_left,
        })
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        let _ = nix::unistd::write(&self.work_left, b"d");
        let _ = process::reap(self.pid);
    }
}

/// Leaves the command's session and lets go of everything of it but the pipe, which becomes descriptor 0.
fn settle(watched: &OwnedFd, null: &std::fs::File) -> Result<()> {
    SigSet::all().thread_block()?;
    let _ = nix::sys::prctl::set_name(c"runsc-cleaner");
    nix::unistd::setsid()?;
    nix::unistd::chdir("/")?;
    host::set_stdio(watched.as_fd(), 0)?;
    host::set_stdio(null.as_fd(), 1)?;
    host::set_stdio(null.as_fd(), 2)?;
    host::close_from(3)?;
    Ok(())
}

fn watch(root: &Path, id: &str) -> i32 {
    let mut byte = [0_u8; 1];
    loop {
        match nix::unistd::read(host::stdin_fd(), &mut byte) {
            Ok(0) => break,
            Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return 0,
            Err(_) => return 1,
        }
    }
    match Container::open(root, id) {
        Ok(container) => i32::from(teardown::destroy(container).is_err()),
        // It died before it wrote the state: there is a directory at most.
        Err(_) => i32::from(state::remove_dir(&root.join(id)).is_err()),
    }
}
