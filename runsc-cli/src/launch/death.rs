//! Why a helper process died, in one sentence: which process, how, and what to do.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::process::{self, ProcessId};
use crate::state::State;

/// How long a process that is about to be gone may take to be so.
const SOON: Duration = Duration::from_secs(1);

/// How long a gofer whose sockets are closed may take until it can be reaped.
const DYING: Duration = Duration::from_millis(50);

/// What the user knows a helper by.
pub const SENTRY: &str = "the sandbox process (sentry)";
/// See [`SENTRY`].
pub const GOFER: &str = "the file server of the container (gofer)";

/// The sentence about a process that ended as `status` says; `when` is empty or begins with a blank.
#[must_use]
pub fn sentence(who: &str, pid: i32, status: WaitStatus, when: &str) -> String {
    let how = match status {
        WaitStatus::Signaled(_, Signal::SIGSYS, _) => {
            "was killed by SIGSYS: it made a host call that its own filter forbids, a defect of runsc: run again with --debug --debug-log=FILE and report this".to_owned()
        }
        WaitStatus::Signaled(_, Signal::SIGKILL, _) => {
            "was killed by SIGKILL from outside, perhaps by the host's OOM killer: see the host's kernel log".to_owned()
        }
        WaitStatus::Signaled(_, signal, _) => format!(
            "was killed by {}: a defect of runsc unless somebody sent it: run again with --debug --debug-log=FILE and report this",
            signal.as_str()
        ),
        WaitStatus::Exited(_, code) => {
            format!("ended with code {code}: run again with --debug --debug-log=FILE to see why")
        }
        _ => "ended: run again with --debug --debug-log=FILE to see why".to_owned(),
    };
    format!("{who}, process {pid}{when}, {how}")
}

/// The sentence about a child of this process if it ends within `patience`; reaps it.
#[must_use]
pub fn of_child(who: &str, id: ProcessId, patience: Duration, when: &str) -> Option<String> {
    let pidfd = id.open()?;
    let deadline = Instant::now() + patience;
    if !process::wait_pidfd(pidfd.as_fd(), Some(deadline)).unwrap_or(false) {
        return None;
    }
    let status = waitpid(Pid::from_raw(id.pid), Some(WaitPidFlag::WNOHANG)).ok()?;
    Some(sentence(who, id.pid, status, when))
}

/// Which helper of a container died before its first process did, when that process ended as if killed. `sandbox_died`: its proxy lost the sandbox.
#[must_use]
pub fn of_helpers(state: &State, sandbox_died: bool) -> Option<String> {
    // Each takes the other along: the one that died by itself is told by whom the proxy lost.
    let sentry = || state.sentry.and_then(|id| of_child(SENTRY, id, SOON, ""));
    let gofer = || state.gofer.and_then(|id| of_child(GOFER, id, DYING, ""));
    if sandbox_died { sentry() } else { gofer() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_names_process_signal_and_remedy() {
        let status = WaitStatus::Signaled(Pid::from_raw(7), Signal::SIGSYS, false);
        let text = sentence(GOFER, 7, status, " while starting");
        assert!(
            text.contains("gofer")
                && text.contains("process 7")
                && text.contains("SIGSYS")
                && text.contains("--debug-log"),
            "{text}"
        );
        assert!(text.contains("while starting"), "{text}");
    }
}
