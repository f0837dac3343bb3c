//! Handing out descriptors: open, connect.

#![forbid(unsafe_code)]

use super::node::Node;
use super::path::{FdPath, errno};
use super::worker::Worker;
use crate::protocol::attr::FileType;
use crate::protocol::request::{NodeId, OpenFlags, SocketKind};
use crate::protocol::wire::{Encoder, Wire};
use abi::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

impl Worker {
    /// Opens a regular file, or a named pipe where that is allowed. Directories are read by `readdir` and never given
    /// away: from a directory's descriptor a sentry that was taken over could start walking on its own.
    pub(super) fn open(
        &self,
        node: NodeId,
        flags: OpenFlags,
        reply: &mut Encoder,
    ) -> Result<OwnedFd, Errno> {
        let node = self.node(node)?;
        let tree = self.tree(&node)?;
        match node.kind {
            FileType::Regular => {}
            FileType::Fifo if tree.host_fifo => {}
            FileType::Directory => return Err(Errno::EISDIR),
            FileType::Symlink => return Err(Errno::ELOOP),
            FileType::Socket => return Err(Errno::ENXIO),
            FileType::Fifo | FileType::CharDevice | FileType::BlockDevice | FileType::Unknown => {
                return Err(Errno::EACCES);
            }
        }
        // What is written to a pipe does not change the tree.
        if node.kind == FileType::Regular
            && flags.intersects(OpenFlags::WRITE | OpenFlags::TRUNCATE)
        {
            self.writable(&node)?;
        }
        let file = reopen(&node, access(flags)?)?;
        self.attr_of(file.as_fd(), tree)?.put(reply);
        Ok(file)
    }

    pub(super) fn connect(&self, node: NodeId, kind: SocketKind) -> Result<OwnedFd, Errno> {
        let node = self.node(node)?;
        if node.kind != FileType::Socket || !self.tree(&node)?.host_uds {
            return Err(Errno::ECONNREFUSED);
        }
        let kind = match kind {
            SocketKind::Stream => SockType::Stream,
            SocketKind::Datagram => SockType::Datagram,
            SocketKind::SeqPacket => SockType::SeqPacket,
        };
        // Non-blocking: a listener that does not accept must not hold up this thread.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, kind, flags, None).map_err(errno)?;
        let address = UnixAddr::new(FdPath::of(node.fd()).as_cstr()).map_err(errno)?;
        connect(socket.as_raw_fd(), &address).map_err(errno)?;
        Ok(socket)
    }
}

/// Opens what a node refers to, without a way for anyone to put something else there.
pub(super) fn reopen(node: &Node, flags: OFlag) -> Result<OwnedFd, Errno> {
    openat(
        AT_FDCWD,
        FdPath::of(node.fd()).as_cstr(),
        flags | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(errno)
}

/// The flags of `open(2)` for the access asked for. Nothing opened here blocks or becomes a terminal of ours.
pub(super) fn access(flags: OpenFlags) -> Result<OFlag, Errno> {
    let mode = match (
        flags.contains(OpenFlags::READ),
        flags.contains(OpenFlags::WRITE),
    ) {
        (true, false) => OFlag::O_RDONLY,
        (false, true) => OFlag::O_WRONLY,
        (true, true) => OFlag::O_RDWR,
        (false, false) => return Err(Errno::EINVAL),
    };
    let truncate = match (
        flags.contains(OpenFlags::TRUNCATE),
        flags.contains(OpenFlags::WRITE),
    ) {
        (false, _) => OFlag::empty(),
        (true, true) => OFlag::O_TRUNC,
        (true, false) => return Err(Errno::EINVAL),
    };
    Ok(mode | truncate | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_LARGEFILE)
}
