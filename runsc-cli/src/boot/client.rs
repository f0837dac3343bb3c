//! The commands' end of the control socket.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::sys::stat::Mode;

use super::config::PROTOCOL_VERSION;
use super::control::{
    ContainerStatus, ControlError, ExitStatus, FdRole, ProcessInfo, Request, Response, SignalScope,
    Target,
};
use super::wire;
use crate::launch::process::ProcessId;
use crate::net::Network;

/// Name of the socket in a sandbox's state directory.
pub const SOCKET: &str = "control";

/// A connection to a sentry.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

/// The path to bind or connect by: through the directory's descriptor, because paths of sockets may have 107 bytes only.
pub fn short_path(dir: &Path) -> Result<(OwnedFd, String)> {
    let fd = open(
        dir,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .with_context(|| format!("open {}", dir.display()))?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", fd.as_raw_fd());
    Ok((fd, path))
}

impl Client {
    /// Connects to the sentry of a sandbox's state directory and checks that it is the process that was started there.
    pub fn connect(dir: &Path, sentry: ProcessId) -> Result<Self> {
        if !sentry.is_alive() {
            bail!("container not running");
        }
        let (_dir, path) = short_path(dir)?;
        let stream = UnixStream::connect(path).context("cannot connect to the sandbox")?;
        let peer = getsockopt(&stream, PeerCredentials)?;
        // The sentry calls listen itself, so the credentials are its own.
        if peer.pid() != sentry.pid {
            bail!(
                "the control socket belongs to process {}, not to the sandbox's {}",
                peer.pid(),
                sentry.pid
            );
        }
        Self::from_stream(stream)
    }

    /// Starts the protocol on a connected stream.
    pub fn from_stream(stream: UnixStream) -> Result<Self> {
        let client = Self { stream };
        match client.call(
            &Request::Hello {
                version: PROTOCOL_VERSION,
            },
            &[],
        )? {
            Response::Done => Ok(client),
            other => bail!("the sandbox answered a greeting with {other:?}"),
        }
    }

    /// The raw stream.
    #[must_use]
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// The raw stream, borrowed.
    #[must_use]
    pub const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends a request.
    pub fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<()> {
        wire::send(&self.stream, request, fds).context("the sandbox has died")
    }

    /// The next message from the sentry. Descriptors from it are never taken.
    pub fn receive(&self) -> Result<Response> {
        let Some(frame) = wire::receive(&self.stream).context("the sandbox has died")? else {
            bail!("the sandbox has died")
        };
        if !frame.fds.is_empty() {
            bail!("the sandbox sent descriptors that nobody asked for");
        }
        Ok(frame.parse()?)
    }

    /// A request and its answer; a refusal becomes an error with a [`ControlError`] inside.
    pub fn call(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Response> {
        self.send(request, fds)?;
        match self.receive()? {
            Response::Failed { error } => Err(error.into()),
            other => Ok(other),
        }
    }

    fn done(&self, request: &Request) -> Result<()> {
        match self.call(request, &[])? {
            Response::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Starts a container on a network.
    pub fn start(&self, id: &str, network: Option<Network>) -> Result<()> {
        let (setup, sockets) = network.map_or((None, Vec::new()), |network| {
            (Some(Box::new(network.setup)), network.sockets)
        });
        let request = Request::Start {
            id: id.to_owned(),
            network: setup,
        };
        let raw: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        match self.call(&request, &raw)? {
            Response::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a signal.
    pub fn signal(&self, target: Target, signal: u32, scope: SignalScope) -> Result<()> {
        self.done(&Request::Signal {
            target,
            signal,
            scope,
        })
    }

    /// Pauses a container.
    pub fn pause(&self, id: &str) -> Result<()> {
        self.done(&Request::Pause { id: id.to_owned() })
    }

    /// Resumes a container.
    pub fn resume(&self, id: &str) -> Result<()> {
        self.done(&Request::Resume { id: id.to_owned() })
    }

    /// Tells the kernel of new limits.
    pub fn update(&self, id: &str, limits: super::config::ResourceLimits) -> Result<()> {
        self.done(&Request::Update {
            id: id.to_owned(),
            limits,
        })
    }

    /// Frees a container.
    pub fn destroy(&self, id: &str) -> Result<()> {
        self.done(&Request::Destroy { id: id.to_owned() })
    }

    /// A container's processes.
    pub fn processes(&self, id: &str) -> Result<Vec<ProcessInfo>> {
        match self.call(&Request::Processes { id: id.to_owned() }, &[])? {
            Response::Processes { processes } => Ok(processes),
            other => Err(unexpected(&other)),
        }
    }

    /// A container's status as the kernel sees it.
    pub fn status(&self, id: &str) -> Result<ContainerStatus> {
        match self.call(&Request::Status { id: id.to_owned() }, &[])? {
            Response::Status { status } => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Stacks of all guest threads.
    pub fn stacks(&self) -> Result<String> {
        match self.call(&Request::Stacks, &[])? {
            Response::Text { text } => Ok(text),
            other => Err(unexpected(&other)),
        }
    }

    /// How often which calls were not supported.
    pub fn counters(&self) -> Result<String> {
        match self.call(&Request::Counters, &[])? {
            Response::Text { text } => Ok(text),
            other => Err(unexpected(&other)),
        }
    }

    /// Traces these calls from now on.
    pub fn strace(&self, calls: &[String]) -> Result<()> {
        let calls = calls.to_vec();
        match self.call(&Request::Strace { calls }, &[])? {
            Response::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits for a process to end.
    pub fn wait(&self, target: Target) -> Result<ExitStatus> {
        match self.call(
            &Request::Wait {
                target,
                owner: false,
            },
            &[],
        )? {
            Response::Exit { status, .. } => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Starts a process; answers its guest pid.
    pub fn exec(
        &self,
        target: Target,
        process: super::config::ProcessConfig,
        stdio: &[(u32, OwnedFd)],
    ) -> Result<u32> {
        let fds = stdio
            .iter()
            .map(|(number, _)| FdRole::Guest(*number))
            .collect();
        let raw: Vec<BorrowedFd<'_>> = stdio.iter().map(|(_, fd)| fd.as_fd()).collect();
        match self.call(
            &Request::Exec {
                target,
                process: Box::new(process),
                fds,
            },
            &raw,
        )? {
            Response::Started { pid } => Ok(pid),
            other => Err(unexpected(&other)),
        }
    }
}

fn unexpected(response: &Response) -> anyhow::Error {
    anyhow!("the sandbox gave an answer of the wrong kind: {response:?}")
}

/// The refusal inside an error, if that is what it is.
#[must_use]
pub fn refusal(error: &anyhow::Error) -> Option<&ControlError> {
    error.downcast_ref()
}
