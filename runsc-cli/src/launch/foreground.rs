//! Waiting for a guest process in the foreground: signals go on to its proxy, a terminal is relayed, its exit code becomes ours.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::console::RawMode;
use super::process::{self, ProcessId};
use crate::host;

/// Bytes relayed at a time.
const CHUNK: usize = 16 << 10;

/// Signals of a foreground command, collected from before its guest starts so that none is lost.
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks and collects every signal that can be passed on.
    pub fn collect() -> Result<Self> {
        let mut set = SigSet::all();
        for own in [
            Signal::SIGCHLD,
            Signal::SIGTTIN,
            Signal::SIGTTOU,
            Signal::SIGPIPE,
        ] {
            set.remove(own);
        }
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context("signalfd")?;
        Ok(Self { fd })
    }
}

/// How the process that was waited for ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: u8,
    /// Its proxy was killed: the sandbox died, or somebody killed the proxy.
    pub proxy_killed: bool,
}

/// Waits for `proxy` (a child of this process) and says how it ended. With `master`, relays between it and standard input and output.
pub fn wait(proxy: ProcessId, signals: &Signals, master: Option<OwnedFd>) -> Result<Ended> {
    let pidfd = host::pidfd_open(proxy.pid).context("cannot watch the container's process")?;
    let mut relay = master.map(Relay::new);
    loop {
        let ended = {
            let mut fds = vec![
                PollFd::new(pidfd.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN),
            ];
            if let Some(relay) = &relay {
                relay.watch(&mut fds);
            }
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            fds.first()
                .and_then(PollFd::revents)
                .is_some_and(|flags| !flags.is_empty())
        };
        while let Ok(Some(info)) = signals.fd.read_signal() {
            forward(proxy, info.ssi_signo, relay.as_ref());
        }
        if let Some(relay) = &mut relay {
            relay.pump();
        }
        if ended {
            if let Some(mut relay) = relay {
                relay.drain();
            }
            return process::reap(proxy.pid)
                .map(|(code, killed)| Ended {
                    code,
                    proxy_killed: killed,
                })
                .context("cannot learn how the container's process ended");
        }
    }
}

fn forward(proxy: ProcessId, signal: u32, relay: Option<&Relay>) {
    if signal == Signal::SIGWINCH as u32
        && let Some(relay) = relay
    {
        relay.copy_window_size();
        return;
    }
    if let Some(signal) = i32::try_from(signal)
        .ok()
        .and_then(|number| Signal::try_from(number).ok())
    {
        let _ = kill(Pid::from_raw(proxy.pid), signal);
    }
}

/// Copies between this command's terminal and the guest's.
struct Relay {
    master: std::fs::File,
    input_open: bool,
    output_open: bool,
    pending: Vec<u8>,
    _raw: Option<RawMode>,
}

impl Relay {
    fn new(master: OwnedFd) -> Self {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        let raw = RawMode::enter();
        let _ = fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        let relay = Self {
            master: master.into(),
            input_open: true,
            output_open: true,
            pending: Vec::new(),
            _raw: raw,
        };
        relay.copy_window_size();
        relay
    }

    fn copy_window_size(&self) {
        if let Ok((columns, rows)) = host::window_size(std::io::stdin().as_fd()) {
            // The host then sends SIGWINCH to the proxy, whose controlling terminal this is.
            let _ = host::set_window_size(self.master.as_fd(), columns, rows);
        }
    }

    fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, self.output_open);
        events.set(PollFlags::POLLOUT, !self.pending.is_empty());
        if !events.is_empty() {
            fds.push(PollFd::new(self.master.as_fd(), events));
        }
        if self.input_open && self.pending.is_empty() {
            fds.push(PollFd::new(STDIN.as_fd(), PollFlags::POLLIN));
        }
    }

    /// Moves what can be moved without waiting.
    fn pump(&mut self) {
        self.pump_output();
        if self.pending.is_empty() && self.input_open && readable(STDIN.as_fd()) {
            let mut buffer = vec![0; CHUNK];
            match nix::unistd::read(STDIN.as_fd(), &mut buffer) {
                Ok(0) => {
                    self.input_open = false;
                    // End of file for a terminal is its EOF character.
                    self.pending.push(4);
                }
                Ok(count) => self
                    .pending
                    .extend_from_slice(buffer.get(..count).unwrap_or(&[])),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(_) => self.input_open = false,
            }
        }
        while !self.pending.is_empty() {
            match self.master.write(&self.pending) {
                Ok(count) => {
                    self.pending.drain(..count);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => self.pending.clear(),
            }
        }
    }

    fn pump_output(&mut self) -> bool {
        if !self.output_open || !readable(self.master.as_fd()) {
            return false;
        }
        let mut buffer = vec![0; CHUNK];
        match self.master.read(&mut buffer) {
            Ok(count) if count > 0 => {
                let mut stdout = std::io::stdout().lock();
                let _ = stdout.write_all(buffer.get(..count).unwrap_or(&[]));
                let _ = stdout.flush();
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            // EIO: the last copy of the other end was closed.
            _ => {
                self.output_open = false;
                false
            }
        }
    }

    /// What the guest wrote before it ended.
    fn drain(&mut self) {
        while self.pump_output() {}
    }
}

/// Standard input without the buffer of `std::io::Stdin`.
struct RawStdin;

static STDIN: RawStdin = RawStdin;

impl AsFd for RawStdin {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        host::stdin_fd()
    }
}

fn readable(fd: std::os::fd::BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}
