//! Sockets and FIFOs of the host in a gofer's tree: where `--host-uds=open` and `--host-fifo=open` allow it, a guest reaches whoever serves them on the
//! host. Elsewhere they are the sandbox's own: a socket that no guest is bound to refuses, a FIFO waits for a guest; the log has a hint, once a
//! container. A tree under an overlay is the sandbox's own in any case.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use ::gofer::client::{OpenFlags, SocketKind};

use super::node::Node;
use crate::error::Result;
use crate::kernel::Container;
use crate::task::Task;
use crate::vfs::Inode;

/// What a tree lets guests reach on the host beside files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostAccess {
    /// Sockets may be connected to.
    pub sockets: bool,
    /// FIFOs may be opened.
    pub fifos: bool,
}

/// Which hints a container's log has.
#[derive(Default)]
struct Hinted {
    socket: AtomicBool,
    fifo: AtomicBool,
}

fn allowed(inode: &Inode) -> Option<(&Node, HostAccess)> {
    let node = inode.downcast::<Node>()?;
    let fs = node.fs().ok()?;
    Some((node, fs.host_access))
}

fn hint(task: &Task, said: fn(&Hinted) -> &AtomicBool, what: &str) {
    let container: &Container = &task.container;
    let hinted = container.extensions.get::<Hinted>();
    if !said(&hinted).swap(true, Ordering::Relaxed) {
        task.kernel
            .log
            .line(&format!("runsc: container {}: {what}", container.id));
    }
}

/// A connection to the host's socket that `inode` is; `None` if it is none, or none that may be used.
///
/// # Errors
/// Those of `connect(2)`; `EAGAIN` when the listener has no room now.
pub fn connect(task: &Task, inode: &Inode, kind: SocketKind) -> Option<Result<OwnedFd>> {
    let (node, access) = allowed(inode)?;
    if !access.sockets {
        let what = "a process tried to connect to a Unix socket that no process of the sandbox serves: start the container with --host-uds=open if the host does";
        hint(task, |hinted| &hinted.socket, what);
        return None;
    }
    Some(node.client().connect_socket(node.remote(), kind))
}

/// Whether opens of the FIFO `inode` go to the host.
pub fn is_host_fifo(task: &Task, inode: &Inode) -> bool {
    let Some((_, access)) = allowed(inode) else {
        return false;
    };
    if !access.fifos {
        let what = "a process opened a FIFO in the container's files, which the host is not connected to: start the container with --host-fifo=open if that is meant";
        hint(task, |hinted| &hinted.fifo, what);
    }
    access.fifos
}

/// Opens the host's FIFO without waiting for its other end.
///
/// # Errors
/// `ENXIO` for writing without a reader.
pub fn open_fifo(inode: &Inode, read: bool, write: bool) -> Result<OwnedFd> {
    let (node, _) = allowed(inode).ok_or(crate::error::Errno::ENXIO)?;
    let mut flags = OpenFlags::empty();
    flags.set(OpenFlags::READ, read);
    flags.set(OpenFlags::WRITE, write);
    Ok(node.client().open(node.remote(), flags)?.0)
}
