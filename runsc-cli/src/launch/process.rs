//! Host processes: starting a helper from the sealed program, waiting, killing.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::host;

/// A process that is surely the one meant: the pid and when it started.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ProcessId {
    /// Host pid.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: start time in clock ticks since boot.
    pub start_time: u64,
}

impl ProcessId {
    /// The process with this pid, now.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        stat(pid).map(|stat| Self {
            pid,
            start_time: stat.start_time,
        })
    }

    /// Whether it still runs (a zombie does not).
    #[must_use]
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| {
            stat.start_time == self.start_time && !matches!(stat.state, 'Z' | 'X')
        })
    }

    /// A pidfd, if it still exists. The start time is looked at after opening: a recycled pid is noticed.
    #[must_use]
    pub fn open(&self) -> Option<OwnedFd> {
        let pidfd = host::pidfd_open(self.pid).ok()?;
        stat(self.pid)
            .filter(|stat| stat.start_time == self.start_time)
            .map(|_| pidfd)
    }

    /// Kills it and waits until it is gone (or a zombie). Nothing happens if it is gone already.
    pub fn kill_and_wait(&self) -> io::Result<()> {
        let Some(pidfd) = self.open() else {
            return Ok(());
        };
        match host::pidfd_signal(pidfd.as_fd(), nix::libc::SIGKILL) {
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => return Ok(()),
            other => other?,
        }
        wait_pidfd(pidfd.as_fd(), None)?;
        // Reaps it when it is our own child.
        let _ = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG));
        Ok(())
    }
}

struct Stat {
    state: char,
    start_time: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may contain anything, so fields are counted from its closing parenthesis.
    let rest = text.get(text.rfind(')')? + 1..)?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start_time })
}

/// Waits until a process has ended (without reaping it) or the deadline has passed; says whether it has ended.
pub fn wait_exit(pid: u32, deadline: Option<Instant>) -> io::Result<bool> {
    let pidfd = host::pidfd_open(i32::try_from(pid).unwrap_or(-1))?;
    wait_pidfd(pidfd.as_fd(), deadline)
}

/// As [`wait_exit`], for a pidfd.
pub fn wait_pidfd(pidfd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(deadline) => {
                PollTimeout::try_from(deadline.saturating_duration_since(Instant::now()))
                    .unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], timeout) {
            Ok(0) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                return Ok(false);
            }
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// How a helper is started.
pub struct Helper<'a> {
    /// The sealed program.
    pub program: BorrowedFd<'a>,
    /// Hidden subcommand and its flags.
    pub args: Vec<String>,
    /// `CLONE_NEW*` flags.
    pub namespaces: u64,
    /// Descriptors that stay open in the child, under the same numbers (the flags name them).
    pub inherit: Vec<RawFd>,
    /// Standard error; `/dev/null` if `None`. 0 and 1 are always `/dev/null`.
    pub stderr: Option<BorrowedFd<'a>>,
    /// Id mappings for a new user namespace (needs `CLONE_NEWUSER` in `namespaces`).
    pub mappings: Option<&'a super::userns::Mappings>,
}

/// Starts a helper process. `prepare` gets its pid while it is still held back, before it executes anything: cgroups, limits, books. If that fails the
/// process is killed.
pub fn start(
    helper: &Helper<'_>,
    prepare: &mut dyn FnMut(ProcessId) -> Result<()>,
) -> Result<ProcessId> {
    let argv: Vec<CString> = ["runsc".to_owned()]
        .iter()
        .chain(&helper.args)
        .map(|arg| CString::new(arg.as_str()))
        .collect::<Result<_, _>>()
        .context("an argument contains a NUL byte")?;
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("open /dev/null")?;
    let (gate, opener) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let flags = helper.namespaces;
    let (gate_fd, opener_fd) = (gate.as_raw_fd(), opener.as_raw_fd());
    let child = || -> i32 {
        // Only one end: else the child would hold the gate open for itself.
        let _ = nix::unistd::close(opener_fd);
        match child_setup(helper, gate_fd, &null) {
            Ok(()) => {
                host::exec_fd(helper.program, &argv, &[]);
                126
            }
            Err(_) => 125,
        }
    };
    let cloned = host::clone_process(flags, child).with_context(|| {
        format!(
            "cannot start the {} process",
            helper.args.first().map_or("helper", String::as_str)
        )
    })?;
    let ready = (|| {
        if let Some(mappings) = helper.mappings {
            mappings.write(cloned.pid)?;
        }
        let id = ProcessId::of(cloned.pid).context("a helper process died at once")?;
        prepare(id)?;
        nix::unistd::write(&opener, b"g").context("cannot release a helper process")?;
        Ok(id)
    })();
    if ready.is_err() {
        let _ = host::pidfd_signal(cloned.pidfd.as_fd(), nix::libc::SIGKILL);
        let _ = waitpid(Pid::from_raw(cloned.pid), None);
    }
    ready
}

fn child_setup(helper: &Helper<'_>, gate: RawFd, null: &std::fs::File) -> io::Result<()> {
    let gate = host::inherited(gate)?;
    let mut byte = [0u8; 1];
    if nix::unistd::read(&gate, &mut byte)? != 1 {
        return Err(io::Error::from_raw_os_error(nix::libc::EPIPE));
    }
    if let Some(mappings) = helper.mappings {
        if mappings.may_set_groups {
            nix::unistd::setgroups(&[])?;
        }
        let (root_gid, root_uid) = (nix::unistd::Gid::from_raw(0), nix::unistd::Uid::from_raw(0));
        nix::unistd::setresgid(root_gid, root_gid, root_gid)?;
        nix::unistd::setresuid(root_uid, root_uid, root_uid)?;
    }
    host::set_stdio(null.as_fd(), 0)?;
    host::set_stdio(null.as_fd(), 1)?;
    host::set_stdio(helper.stderr.unwrap_or(null.as_fd()), 2)?;
    // The caller's blocked signals and pending alarms are none of the helper's business.
    nix::sys::signal::sigprocmask(
        nix::sys::signal::SigmaskHow::SIG_SETMASK,
        Some(&nix::sys::signal::SigSet::empty()),
        None,
    )?;
    host::keep_only(&helper.inherit)
}

/// Reaps a child of ours and gives its exit code (128+n for signals) and whether a signal ended it. Retries when interrupted.
pub fn reap(pid: i32) -> io::Result<(u8, bool)> {
    use nix::sys::wait::WaitStatus;
    loop {
        match waitpid(Pid::from_raw(pid), None) {
            Ok(WaitStatus::Exited(_, code)) => {
                return Ok((u8::try_from(code & 0xff).unwrap_or(255), false));
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return Ok((u8::try_from(128 + signal as i32).unwrap_or(255), true));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_is_told_from_its_successor() {
        let me = i32::try_from(std::process::id()).unwrap();
        let own = ProcessId::of(me).unwrap();
        assert!(own.is_alive());
        assert!(
            !ProcessId {
                pid: me,
                start_time: own.start_time + 1
            }
            .is_alive()
        );
        assert!(
            ProcessId {
                pid: me,
                start_time: own.start_time + 1
            }
            .open()
            .is_none()
        );
    }

    #[test]
    fn killing_waits() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let id = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        id.kill_and_wait().unwrap();
        assert!(!id.is_alive());
        let _ = child.wait();
    }
}
