//! The proxy: the pid that the caller of the runtime holds for a guest process.
//!
//! A tiny process, session leader, in the container's cgroup and network namespace. It forwards signals to the sandbox, has the terminal as its
//! controlling one so that the host tells it of window changes, and ends as the guest process did. When it is killed, the sandbox sees its connection
//! close and kills the guest process; when the sandbox dies, it kills itself.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde::{Deserialize, Serialize};

use super::process::{self, Helper, ProcessId};
use super::proxy_root::Root;
use super::seal;
use super::userns::{self, Mappings};
use crate::boot::config::PROTOCOL_VERSION;
use crate::boot::control::{ErrorKind, Request, Response, SignalScope, Target};
use crate::boot::wire;
use crate::cgroup::{Cgroup, Place};
use crate::host;

/// Exit code when there is nothing to wait for: as if killed by SIGKILL.
const SANDBOX_DIED: u8 = 137;

/// Which network namespace a proxy lives in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// The caller's.
    Host,
    /// A fresh one.
    New,
    /// An existing one by path.
    Path(std::path::PathBuf),
    /// That of another proxy.
    SameAs(ProcessId),
}

#[derive(Debug, Serialize, Deserialize)]
struct Boot {
    connection: RawFd,
    gate: RawFd,
    terminal: Option<RawFd>,
    user_namespace: Option<RawFd>,
    network_namespace: Option<RawFd>,
    root: Option<Root>,
    target: Target,
}

/// A proxy that waits for [`Proxy::release`].
#[derive(Debug)]
pub struct Proxy {
    /// The process.
    pub id: ProcessId,
    gate: UnixStream,
}

/// What a proxy is started with.
pub struct Launch<'a> {
    /// The sealed program.
    pub program: BorrowedFd<'a>,
    /// Its connection to the sentry.
    pub connection: OwnedFd,
    /// The guest process that it stands for.
    pub target: Target,
    /// Where it lives.
    pub network: Network,
    /// Where it is accounted.
    pub cgroup: Option<&'a Cgroup>,
    /// The slave of the guest's terminal.
    pub terminal: Option<BorrowedFd<'a>>,
    /// `oom_score_adj`.
    pub oom_score: Option<i32>,
    /// Where its root will be.
    pub root: Option<Root>,
}

/// Starts a proxy; it does nothing until released, and ends if that never comes.
pub fn start(launch: Launch<'_>) -> Result<Proxy> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut namespaces = Vec::new();
    let mut flags = 0;
    let mut mappings = None;
    match &launch.network {
        Network::Host => {}
        Network::New => {
            flags = nix::libc::CLONE_NEWNET;
            if !userns::is_root() {
                flags |= nix::libc::CLONE_NEWUSER;
                mappings = Some(Mappings::own_ids());
            }
        }
        Network::Path(path) => namespaces = vec![(CloneFlags::CLONE_NEWNET, open_namespace(path)?)],
        Network::SameAs(other) => namespaces = namespaces_of(*other)?,
    }
    let number = |kind: CloneFlags| {
        namespaces
            .iter()
            .find(|(flag, _)| *flag == kind)
            .map(|(_, fd)| fd.as_raw_fd())
    };
    let boot = Boot {
        connection: launch.connection.as_raw_fd(),
        gate: theirs.as_raw_fd(),
        terminal: launch.terminal.map(|fd| fd.as_raw_fd()),
        user_namespace: number(CloneFlags::CLONE_NEWUSER),
        network_namespace: number(CloneFlags::CLONE_NEWNET),
        // Without privilege, mounts of others cannot be rearranged.
        root: launch.root.filter(|_| userns::is_root()),
        target: launch.target,
    };
    let config = seal::config(&boot)?;
    let mut inherit = vec![boot.connection, boot.gate, config.as_raw_fd()];
    inherit.extend(
        boot.terminal
            .iter()
            .chain(&boot.user_namespace)
            .chain(&boot.network_namespace),
    );
    let helper = Helper {
        program: launch.program,
        args: vec![
            "proxy".into(),
            "--config-fd".into(),
            config.as_raw_fd().to_string(),
        ],
        namespaces: u64::try_from(flags)?,
        inherit,
        stderr: None,
        mappings: mappings.as_ref(),
    };
    let id = process::start(&helper, &mut |id| {
        if let Some(score) = launch.oom_score {
            let _ = std::fs::write(format!("/proc/{}/oom_score_adj", id.pid), score.to_string());
        }
        launch
            .cgroup
            .map_or(Ok(()), |cgroup| cgroup.add(id.pid, Place::Container))
    })?;
    drop((theirs, launch.connection));
    let mut report = [0u8; 1];
    match ours.read(&mut report) {
        Ok(1) if report[0] == b'r' => Ok(Proxy { id, gate: ours }),
        _ => {
            let mut text = String::new();
            let _ = ours.read_to_string(&mut text);
            let _ = id.kill_and_wait();
            bail!(
                "cannot start the proxy process: {}",
                if text.is_empty() { "it died" } else { &text }
            )
        }
    }
}

impl Proxy {
    /// The guest process exists: the proxy begins to wait for it.
    pub fn release(mut self) -> Result<ProcessId> {
        self.gate
            .write_all(b"g")
            .context("the proxy process died")?;
        let mut answer = [0u8; 1];
        match self.gate.read(&mut answer) {
            Ok(1) if answer[0] == b'w' => Ok(self.id),
            Ok(1) => {
                let mut text = String::new();
                let _ = self.gate.read_to_string(&mut text);
                bail!("the proxy process failed: {text}")
            }
            _ => bail!("the proxy process died"),
        }
    }
}

fn open_namespace(path: &Path) -> Result<OwnedFd> {
    Ok(std::fs::File::open(path)
        .with_context(|| format!("cannot open the namespace {}", path.display()))?
        .into())
}

/// The user and network namespaces of a process, as far as they differ from ours.
fn namespaces_of(other: ProcessId) -> Result<Vec<(CloneFlags, OwnedFd)>> {
    use std::os::unix::fs::MetadataExt;
    let mut list = Vec::new();
    for (kind, name) in [
        (CloneFlags::CLONE_NEWUSER, "user"),
        (CloneFlags::CLONE_NEWNET, "net"),
    ] {
        let path = format!("/proc/{}/ns/{name}", other.pid);
        let same = std::fs::metadata(&path)
            .ok()
            .zip(std::fs::metadata(format!("/proc/self/ns/{name}")).ok())
            .is_some_and(|(a, b)| a.ino() == b.ino());
        if !same {
            list.push((kind, open_namespace(Path::new(&path))?));
        }
    }
    if !other.is_alive() {
        bail!("container not running");
    }
    Ok(list)
}

/// The proxy process itself; answers its exit code.
pub fn main(config_fd: RawFd) -> Result<u8> {
    let boot: Boot = seal::read_config(host::inherited(config_fd)?)?;
    let mut gate = UnixStream::from(host::inherited(boot.gate)?);
    let connection = UnixStream::from(host::inherited(boot.connection)?);
    let signals = match prepare(&boot) {
        Ok(signals) => signals,
        Err(error) => {
            let _ = gate.write_all(format!("e{}", crate::launch::sentence(&error)).as_bytes());
            return Err(error);
        }
    };
    gate.write_all(b"r")?;
    let mut go = [0u8; 1];
    if gate.read(&mut go)? != 1 {
        // The command gave up.
        return Ok(SANDBOX_DIED);
    }
    // Not before: until now the mount points may not have been there.
    if let Some(root) = &boot.root
        && let Err(error) = root.enter().context("cannot enter the container's root")
    {
        let _ = gate.write_all(format!("e{}", crate::launch::sentence(&error)).as_bytes());
        return Err(error);
    }
    let _ = wire::send(
        &connection,
        &Request::Hello {
            version: PROTOCOL_VERSION,
        },
        &[],
    );
    let _ = wire::send(
        &connection,
        &Request::Wait {
            target: boot.target.clone(),
            owner: true,
        },
        &[],
    );
    let _ = gate.write_all(b"w");
    drop(gate);
    Ok(relay(&connection, &signals, &boot.target))
}

fn prepare(boot: &Boot) -> Result<SignalFd> {
    let _ = nix::sys::prctl::set_name(c"runsc-proxy");
    for (number, kind) in [
        (boot.user_namespace, CloneFlags::CLONE_NEWUSER),
        (boot.network_namespace, CloneFlags::CLONE_NEWNET),
    ] {
        if let Some(number) = number {
            setns(host::inherited(number)?, kind)
                .context("cannot enter the container's network namespace")?;
        }
    }
    nix::unistd::setsid().context("setsid")?;
    nix::unistd::chdir("/")?;
    if let Some(number) = boot.terminal {
        let terminal = host::inherited(number)?;
        host::set_controlling_terminal(terminal.as_fd())
            .context("cannot take the terminal as controlling terminal")?;
    }
    // SIGKILL and SIGSTOP cannot be blocked; SIGCHLD is nobody's business here. libc keeps its own two real-time signals out of the set.
    let mut set = SigSet::all();
    set.remove(Signal::SIGCHLD);
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("signalfd")
}

/// Forwards signals until the guest process has ended.
fn relay(connection: &UnixStream, signals: &SignalFd, target: &Target) -> u8 {
    let mut assembler = wire::Assembler::default();
    loop {
        let mut fds = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(connection.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => die(),
        }
        while let Ok(Some(info)) = signals.read_signal() {
            let request = if info.ssi_signo == Signal::SIGWINCH as u32 {
                Request::WindowChanged {
                    target: target.clone(),
                }
            } else {
                Request::Signal {
                    target: target.clone(),
                    signal: info.ssi_signo,
                    scope: SignalScope::Process,
                }
            };
            if wire::send(connection, &request, &[]).is_err() {
                die();
            }
        }
        match assembler.feed(connection, true) {
            Ok(wire::Fed::Frame(frame)) => match frame.parse::<Response>() {
                Ok(Response::Exit {
                    target: ended,
                    status,
                }) if ended == *target => return status.code(),
                // Nothing to wait for: the container was destroyed.
                Ok(Response::Failed { error }) if error.kind == ErrorKind::NotFound => {
                    return SANDBOX_DIED;
                }
                Ok(_) => {}
                Err(_) => die(),
            },
            Ok(wire::Fed::More) => {}
            Ok(wire::Fed::End) | Err(_) => die(),
        }
    }
}

/// The sandbox is gone: so is the guest process. Whoever waits for this one learns it as from any process that was killed.
fn die() -> ! {
    let _ = nix::sys::signal::raise(Signal::SIGKILL);
    // SIGKILL cannot be held up.
    std::process::exit(i32::from(SANDBOX_DIED))
}
