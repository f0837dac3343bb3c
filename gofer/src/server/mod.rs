//! The file server: one thread per channel, each answering one request at a time.
//!
//! Key types: [`ServerConfig`] and [`TreeConfig`] say what is served, `node::NodeTable` holds what the client has walked to,
//! `worker::Worker` decodes, dispatches and answers; the operations are its methods, a file per family.
//!
//! How paths are kept inside a tree: the client names a node and *one* component, which is looked up by `openat2` beneath
//! the node's descriptor without following symbolic links. What was found is looked at as `O_PATH`, and only then opened,
//! through `/proc/self/fd/N`, which cannot be swapped for anything else.
//!
//! Lock order: no two locks of this module are held together.

#![forbid(unsafe_code)]

mod change;
mod create;
mod dir;
mod ids;
mod lookup;
mod node;
mod open;
mod path;
mod watch;
mod worker;
mod xattr;

pub use ids::{IdMap, IdRange};

use abi::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use node::NodeTable;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use watch::Watcher;

/// What to serve, and to whom.
#[derive(Debug)]
pub struct ServerConfig {
    /// The mounts of the container; a client attaches them by index.
    pub trees: Vec<TreeConfig>,
    /// Our ends of `SOCK_SEQPACKET` pairs: each is one request at a time.
    pub channels: Vec<OwnedFd>,
    /// Our end of a socket pair that carries nothing: the client sees by its end that we are gone.
    pub lifeline: OwnedFd,
    /// `/proc/self/fd` of this process, from [`crate::jail::enter`] or [`proc_self_fd`].
    pub proc_self_fd: OwnedFd,
    /// Most inotify watches to hold: they count against a limit of the host's user.
    pub max_watches: usize,
}

/// One mount.
#[derive(Debug)]
pub struct TreeConfig {
    /// `O_PATH` descriptor of a directory, or of a single file that is bind-mounted.
    pub root: OwnedFd,
    /// Refuse every change with `EROFS`, whatever the host's mount says.
    pub read_only: bool,
    /// Allow connections to unix sockets of the host.
    pub host_uds: bool,
    /// Allow named pipes of the host to be opened.
    pub host_fifo: bool,
    /// Nothing can be done in it but to make files without names.
    pub scratch: bool,
    /// How the container's user and group ids look on the host.
    pub ids: IdMap,
}

impl TreeConfig {
    /// A tree that may be written, without sockets and pipes of the host and without id mapping.
    #[must_use]
    pub fn new(root: OwnedFd) -> Self {
        Self {
            root,
            read_only: false,
            host_uds: false,
            host_fifo: false,
            scratch: false,
            ids: IdMap::default(),
        }
    }
}

/// What all threads share.
#[derive(Debug)]
struct Shared {
    trees: Vec<TreeConfig>,
    nodes: NodeTable,
    watcher: Watcher,
    proc_self_fd: OwnedFd,
}

/// Opens `/proc/self/fd` as it is. Good enough where there is no jail: through it, `..` leads to the rest of proc.
///
/// # Errors
/// What `open(2)` says, for example when proc is not mounted.
pub fn proc_self_fd() -> Result<OwnedFd, Errno> {
    use nix::fcntl::{OFlag, open};
    open(
        "/proc/self/fd",
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )
    .map_err(path::errno)
}

/// Serves until the client has closed every channel. Call it after [`crate::jail::enter`].
///
/// # Errors
/// When threads, inotify or the client's sockets fail; requests that fail are answered to the client instead.
pub fn serve(config: ServerConfig) -> Result<(), Errno> {
    let ServerConfig {
        trees,
        channels,
        lifeline,
        proc_self_fd,
        max_watches,
    } = config;
    let shared = Arc::new(Shared {
        trees,
        nodes: NodeTable::new(node_limit()?),
        watcher: Watcher::new(max_watches)?,
        proc_self_fd,
    });
    let mut workers = Vec::with_capacity(channels.len());
    for channel in channels {
        let shared = Arc::clone(&shared);
        workers.push(spawn("gofer-channel", move || {
            worker::run(shared, &channel)
        })?);
    }
    let mut outcome = Ok(());
    for worker in workers {
        outcome = outcome.and(worker.join().unwrap_or(Err(Errno::EIO)));
    }
    drop(lifeline);
    outcome
}

fn spawn(
    name: &str,
    body: impl FnOnce() -> Result<(), Errno> + Send + 'static,
) -> Result<thread::JoinHandle<Result<(), Errno>>, Errno> {
    thread::Builder::new()
        .name(name.into())
        .stack_size(256 * 1024)
        .spawn(body)
        .map_err(Errno::from)
}

/// Raises the limit of open descriptors as far as it goes and says how many nodes fit, leaving some for everything else.
fn node_limit() -> Result<usize, Errno> {
    /// Descriptors that are not nodes: trees, channels, files in the course of being opened.
    const RESERVED: u64 = 256;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(path::errno)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(path::errno)?;
    // A directory being read holds a second descriptor.
    Ok(usize::try_from(hard.saturating_sub(RESERVED) / 2).unwrap_or(usize::MAX))
}
