//! Methods on single files.

#![forbid(unsafe_code)]

use super::{Client, Donated, Node, WatchId};
use crate::protocol::attr::{Attr, SetAttr, StatFs};
use crate::protocol::request::{OpenFlags, Request, SocketKind, SyncKind, WatchMask, XattrFlags};
use abi::Errno;

impl Client {
    /// Current attributes.
    ///
    /// # Errors
    /// `EIO`, `ESTALE` from the host.
    pub fn getattr(&self, node: &Node) -> Result<Attr, Errno> {
        self.link.call(&Request::GetAttr { node: node.id })
    }

    /// Changes attributes and returns the new ones. On error, some may have been changed.
    ///
    /// # Errors
    /// `EROFS`, `EPERM`, `EISDIR` or `EINVAL` for the size of what has none, `EOPNOTSUPP` for the mode of a symbolic link.
    pub fn setattr(&self, node: &Node, changes: &SetAttr) -> Result<Attr, Errno> {
        self.link.call(&Request::SetAttr {
            node: node.id,
            changes: *changes,
        })
    }

    /// Opens a regular file; returns its attributes after that. On overlayfs the first opening for writing copies the file
    /// up: descriptors for reading that were donated before then show the old file for ever, so drop them.
    ///
    /// # Errors
    /// `EISDIR` for directories (see [`Client::readdir`]), `ENXIO` for sockets, `ELOOP` for symbolic links, `EACCES` for
    /// devices, and for pipes unless they are enabled; `EROFS`, `ETXTBSY`.
    pub fn open(&self, node: &Node, flags: OpenFlags) -> Result<(Donated, Attr), Errno> {
        self.link
            .call_donated(&Request::Open {
                node: node.id,
                flags,
            })
            .map(|(attr, file)| (file, attr))
    }

    /// Target of a symbolic link; entries carry it already.
    ///
    /// # Errors
    /// `EINVAL` for anything else.
    pub fn readlink(&self, node: &Node) -> Result<Box<[u8]>, Errno> {
        self.link.call(&Request::Readlink { node: node.id })
    }

    /// State of the file system that the node is on.
    ///
    /// # Errors
    /// What `statfs(2)` says.
    pub fn statfs(&self, node: &Node) -> Result<StatFs, Errno> {
        self.link.call(&Request::StatFs { node: node.id })
    }

    /// Value of an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`, `EOPNOTSUPP`, `ERANGE` for an impossible name.
    pub fn getxattr(&self, node: &Node, name: &[u8]) -> Result<Box<[u8]>, Errno> {
        self.link.call(&Request::GetXattr {
            node: node.id,
            name,
        })
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// `EEXIST`, `ENODATA` by `flags`; `E2BIG`, `EPERM`, `EOPNOTSUPP`, `EROFS`.
    pub fn setxattr(
        &self,
        node: &Node,
        name: &[u8],
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<(), Errno> {
        self.link.call(&Request::SetXattr {
            node: node.id,
            name,
            value,
            flags,
        })
    }

    /// Names of the extended attributes, each followed by NUL.
    ///
    /// # Errors
    /// `EOPNOTSUPP`.
    pub fn listxattr(&self, node: &Node) -> Result<Box<[u8]>, Errno> {
        self.link.call(&Request::ListXattr { node: node.id })
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`, `EROFS`.
    pub fn removexattr(&self, node: &Node, name: &[u8]) -> Result<(), Errno> {
        self.link.call(&Request::RemoveXattr {
            node: node.id,
            name,
        })
    }

    /// Writes out a file, a directory or the whole file system.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`, `EDQUOT`; `EINVAL` for what has no contents.
    pub fn sync(&self, node: &Node, kind: SyncKind) -> Result<(), Errno> {
        self.link.call(&Request::Sync {
            node: node.id,
            kind,
        })
    }

    /// Asks for events about a directory; two nodes of one directory get the same number, and the masks add up.
    /// The attributes are read after the watch began. `None` when none can be had: revalidate with [`Client::getattr`] instead.
    ///
    /// # Errors
    /// `ENOTDIR`, `EACCES` when the gofer may not read the directory.
    pub fn watch(&self, node: &Node, mask: WatchMask) -> Result<Option<(WatchId, Attr)>, Errno> {
        self.link.call(&Request::Watch {
            node: node.id,
            mask,
        })
    }

    /// Ends a watch with the next message; every watch must be ended, also one whose directory is gone.
    /// [`super::Event::Ended`] confirms it.
    pub fn unwatch(&self, watch: WatchId) {
        self.link.release(|released| released.watches.push(watch));
    }

    /// Connects to a socket of the host; the descriptor is non-blocking.
    ///
    /// # Errors
    /// `ECONNREFUSED` when this is not enabled or nobody listens, `EAGAIN` when the listener's queue is full.
    pub fn connect_socket(&self, node: &Node, kind: SocketKind) -> Result<Donated, Errno> {
        self.link
            .call_donated(&Request::Connect {
                node: node.id,
                kind,
            })
            .map(|((), socket)| socket)
    }
}
