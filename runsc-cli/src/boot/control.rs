//! The kernel as the command line sees it: [`SandboxKernel`], and the data that goes with its operations.
//!
//! One control thread of the sentry (see `super::server`) calls the methods; it must never be held up by a guest or a slow disk, so whatever can
//! take long answers through a [`Reply`], from any thread. The same operations travel over the control socket as [`Request`] and [`Response`].
//!
//! A process is named by [`Target`]: a container's first process, or one that `exec` started, by a token that the command chose.

use std::os::fd::OwnedFd;

use netstack::setup::Setup;
use serde::{Deserialize, Serialize};

use super::config::{ContainerConfig, ProcessConfig, ResourceLimits};
use crate::net::Network;

/// Answer to a slow operation. Call it exactly once; dropping it uncalled tells the caller that the sandbox failed.
pub struct Reply<T>(Option<Box<dyn FnOnce(Result<T, ControlError>) + Send>>);

impl<T> Reply<T> {
    /// A reply that hands its result to `deliver`.
    pub fn new(deliver: impl FnOnce(Result<T, ControlError>) + Send + 'static) -> Self {
        Self(Some(Box::new(deliver)))
    }

    /// Gives the result.
    pub fn send(mut self, result: Result<T, ControlError>) {
        if let Some(deliver) = self.0.take() {
            deliver(result);
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(deliver) = self.0.take() {
            deliver(Err(ControlError::new(
                ErrorKind::Internal,
                "the sandbox dropped the request unanswered",
            )));
        }
    }
}

/// Why an operation failed. `message` is one lower-case sentence for people, in runc's words where callers match them.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// What the caller can act upon.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
}

impl ControlError {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// Classes of failures.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// No container (or exec) of that name.
    NotFound,
    /// The container's state does not allow it (`container not running`, already started, …).
    WrongState,
    /// The id is in use.
    Exists,
    /// The program is not there or not executable, the working directory or a mount point cannot be had. The message names the path and Linux's
    /// text for the errno (`exec: "x": executable file not found in $PATH`).
    CannotExecute,
    /// Something in the request is not valid.
    Invalid,
    /// Not supported by this kernel.
    Unsupported,
    /// The sandbox failed.
    Internal,
}

/// Names a process inside the sandbox.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, Hash)]
pub struct Target {
    /// Container id.
    pub container: String,
    /// Token of the exec; `None` is the container's first process.
    pub exec: Option<String>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// `_exit(code)`.
    Exited(u8),
    /// Killed by a signal (Linux's number).
    Signaled(u8),
}

impl ExitStatus {
    /// The exit code as shells and OCI callers count: 128+n for signals.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128u8.wrapping_add(signal),
        }
    }
}

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum SignalScope {
    /// The target process.
    Process,
    /// Every process of the target's container.
    All,
}

/// State of a container inside the sandbox.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ContainerStatus {
    /// Made, not started.
    Created,
    /// Its first process runs.
    Running,
    /// Paused.
    Paused,
    /// Its first process has ended.
    Stopped,
}

/// One guest process, for `ps`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Pid in the container's pid namespace.
    pub pid: u32,
    /// Parent's pid there, 0 if outside.
    pub parent: u32,
    /// Pid of the host process that holds it, in the sentry's pid namespace.
    pub host_pid: u32,
    /// uid of the guest.
    pub uid: u32,
    /// `comm`.
    pub name: String,
}

/// A descriptor for a guest process.
pub struct GuestFd {
    /// Number in the guest.
    pub number: u32,
    /// Host descriptor (pipe, file, socket or the slave of a pty).
    pub fd: OwnedFd,
}

/// What [`SandboxKernel::create_container`] gets beside the configuration.
pub struct ContainerFds {
    /// The guest's 0, 1, 2 and preserved ones.
    pub stdio: Vec<GuestFd>,
    /// Request channels of the container's gofer (stream or seqpacket sockets, as the gofer crate defines).
    pub gofer_channels: Vec<OwnedFd>,
    /// Where the gofer announces changes made from the host's side.
    pub gofer_events: Option<OwnedFd>,
    /// `cgroup.procs` files of the container's cgroup, if it is another than the template's.
    pub cgroup: Vec<OwnedFd>,
}

/// What the command has to do on the host for a container that was made.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Created {
    /// Host processes (template, pool) in the sentry's pid namespace, to be moved to the container's `guest` cgroup before `start`.
    pub host_pids: Vec<u32>,
}

/// The kernel in the sentry. Methods are called from the control thread and must return soon; see [`Reply`].
///
/// Unknown container: [`ErrorKind::NotFound`], `container does not exist`. Not running: [`ErrorKind::WrongState`], `container not running`.
pub trait SandboxKernel: Send + Sync {
    /// Makes the container: mounts, first task, everything short of executing its program. Errors in the program's path may come here or from
    /// [`SandboxKernel::start`]; runc reports a missing program at create.
    fn create_container(&self, config: ContainerConfig, fds: ContainerFds, reply: Reply<Created>);

    /// Lets the first process run, on this network: `None` is loopback only.
    fn start(&self, id: &str, network: Option<Network>, reply: Reply<()>);

    /// Starts another process in a running container; answers its guest pid once its program has been loaded.
    fn exec(&self, target: Target, process: ProcessConfig, stdio: Vec<GuestFd>, reply: Reply<u32>);

    /// Sends a signal from outside (`si_code` SI_USER, pid 0), which init processes get even without a handler if it is SIGKILL or SIGSTOP.
    fn signal(&self, target: &Target, signal: u32, scope: SignalScope) -> Result<(), ControlError>;

    /// The window of the target's terminal changed: re-read it (TIOCGWINSZ on the host's pty) and send SIGWINCH to the foreground group.
    fn window_changed(&self, target: &Target) -> Result<(), ControlError>;

    /// Calls `reply` when the process has ended, at once if it has already. Several waiters are allowed; the status stays until
    /// [`SandboxKernel::destroy`] (first process) or [`SandboxKernel::forget`] (exec).
    fn wait(&self, target: &Target, reply: Reply<ExitStatus>);

    /// Nobody will ask for this exec any more.
    fn forget(&self, target: &Target);

    /// The container's state.
    fn status(&self, id: &str) -> Result<ContainerStatus, ControlError>;

    /// Its processes.
    fn processes(&self, id: &str) -> Result<Vec<ProcessInfo>, ControlError>;

    /// Stops all its threads at a point where they hold nothing; answers when that has happened.
    fn pause(&self, id: &str, reply: Reply<()>);

    /// Lets them run on.
    fn resume(&self, id: &str, reply: Reply<()>);

    /// The limits of the container's cgroup changed; fields that are `None` stay as they are.
    fn update(&self, id: &str, limits: ResourceLimits) -> Result<(), ControlError>;

    /// Kills what is left of the container and frees it; answers when its host processes are gone.
    fn destroy(&self, id: &str, reply: Reply<()>);

    /// Every guest thread's state and the call it is in, as text for people.
    fn stacks(&self) -> String;

    /// How often which calls were not supported, as text for people.
    fn counters(&self) -> String;

    /// Traces these calls of all containers from now on: names and groups, `all` or `none`.
    fn strace(&self, calls: &[String]) -> Result<(), ControlError>;
}

/// What a command or a proxy asks over the control socket. Descriptors are attached to the frame in the order given per variant.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// First frame of every connection.
    Hello {
        /// [`super::config::PROTOCOL_VERSION`].
        version: u32,
    },
    /// [`SandboxKernel::create_container`]. Descriptors: `fds` says what each attached one is.
    Create {
        /// The container.
        config: Box<ContainerConfig>,
        /// Meaning of the attached descriptors.
        fds: Vec<FdRole>,
    },
    /// The container that this connection created is to outlive it: without it, closing the connection destroys the container.
    Commit,
    /// [`SandboxKernel::start`].
    Start {
        /// Container id.
        id: String,
        /// The network; a descriptor for each interface is attached.
        #[serde(default)]
        network: Option<Box<Setup>>,
    },
    /// [`SandboxKernel::exec`].
    Exec {
        /// Name for the new process.
        target: Target,
        /// What to run.
        process: Box<ProcessConfig>,
        /// Meaning of the attached descriptors: [`FdRole::Guest`] only.
        fds: Vec<FdRole>,
    },
    /// [`SandboxKernel::signal`].
    Signal {
        /// Whom.
        target: Target,
        /// Linux's number.
        signal: u32,
        /// How far.
        scope: SignalScope,
    },
    /// [`SandboxKernel::window_changed`].
    WindowChanged {
        /// Whose terminal.
        target: Target,
    },
    /// [`SandboxKernel::wait`]: the response comes when the process ends; other requests may follow meanwhile.
    Wait {
        /// Whom.
        target: Target,
        /// The connection is the process's proxy: when it closes before the exit was told, the process is killed.
        owner: bool,
    },
    /// [`SandboxKernel::status`].
    Status {
        /// Container id.
        id: String,
    },
    /// [`SandboxKernel::processes`].
    Processes {
        /// Container id.
        id: String,
    },
    /// [`SandboxKernel::pause`].
    Pause {
        /// Container id.
        id: String,
    },
    /// [`SandboxKernel::resume`].
    Resume {
        /// Container id.
        id: String,
    },
    /// [`SandboxKernel::update`].
    Update {
        /// Container id.
        id: String,
        /// What changed.
        limits: ResourceLimits,
    },
    /// [`SandboxKernel::destroy`].
    Destroy {
        /// Container id.
        id: String,
    },
    /// [`SandboxKernel::stacks`].
    Stacks,
    /// [`SandboxKernel::counters`].
    Counters,
    /// [`SandboxKernel::strace`].
    Strace {
        /// Names and groups.
        calls: Vec<String>,
    },
}

/// What an attached descriptor is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum FdRole {
    /// For the guest, by this number.
    Guest(u32),
    /// A gofer channel.
    GoferChannel,
    /// The gofer's events.
    GoferEvents,
    /// A `cgroup.procs` file of the host's that the container's processes are to be put into.
    Cgroup,
}

/// What the sentry answers. Requests of one connection are answered in order, but for `Wait`, whose answer is [`Response::Exit`] and may come
/// at any time.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "re", rename_all = "snake_case")]
pub enum Response {
    /// Done.
    Done,
    /// A container was made.
    Created {
        /// What is left to do on the host.
        created: Created,
    },
    /// An exec runs.
    Started {
        /// Its guest pid.
        pid: u32,
    },
    /// State.
    Status {
        /// The state.
        status: ContainerStatus,
    },
    /// Processes.
    Processes {
        /// One each.
        processes: Vec<ProcessInfo>,
    },
    /// Text.
    Text {
        /// For people.
        text: String,
    },
    /// A process that was waited for has ended.
    Exit {
        /// Which.
        target: Target,
        /// How.
        status: ExitStatus,
    },
    /// The request failed.
    Failed {
        /// Why.
        error: ControlError,
    },
}
