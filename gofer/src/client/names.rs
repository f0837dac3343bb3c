//! Methods on directories and their names.

#![forbid(unsafe_code)]

use super::{Client, Donated, Entry, Node, WatchId};
use crate::protocol::WALK_MAX;
use crate::protocol::attr::{Attr, FileType};
use crate::protocol::reply::{DirEntries, LookupReply, NodeReply, WalkReply};
use crate::protocol::request::{
    NodKind, OpenFlags, Ownership, RenameFlags, Request, UnlinkKind, Want,
};
use crate::protocol::wire::Names;
use abi::Errno;

/// How far a walk got.
#[derive(Debug)]
pub struct Walk {
    /// One per component walked, the first one first. May be fewer than asked for without an error: then the last one is
    /// not a directory (`target` tells a symbolic link).
    pub entries: Vec<Entry>,
    /// What looking up the component after the last entry said: mostly `ENOENT`.
    pub error: Option<Errno>,
}

/// What a look-up brought.
#[derive(Debug)]
pub struct Looked {
    /// The watch of a directory, if one was asked for and could be had.
    pub watch: Option<WatchId>,
    /// What the name leads to, or what looking it up said: mostly `ENOENT`.
    pub found: Result<Entry, Errno>,
    /// A descriptor for reading, if one was asked for and could be had.
    pub file: Option<Donated>,
}

impl Client {
    /// The root of a tree: a directory, or the file of a single-file bind mount.
    ///
    /// # Errors
    /// `ENOENT`: no such tree.
    pub fn attach(&self, tree: u32) -> Result<Entry, Errno> {
        self.link
            .call(&Request::Attach { tree })
            .map(|reply: NodeReply| self.entry(reply))
    }

    /// Looks up components one beneath the other, up to the first that is missing or not a directory. Symbolic links are
    /// not followed; `.`, `..` and `/` are not for the gofer.
    ///
    /// # Errors
    /// `ENOTDIR` when `start` is not a directory. What stopped the walk on its way is in [`Walk::error`].
    pub fn walk(&self, start: &Node, names: &[&[u8]]) -> Result<Walk, Errno> {
        let mut walk = Walk {
            entries: Vec::with_capacity(names.len()),
            error: None,
        };
        for part in names.chunks(WALK_MAX) {
            let from = match walk.entries.last() {
                None => start,
                Some(entry) if entry.attr.kind() == FileType::Directory => &entry.node,
                Some(_) => break,
            };
            let request = Request::Walk {
                node: from.id,
                names: Names(part.to_vec()),
            };
            let reply: WalkReply = self.link.call(&request)?;
            let complete = reply.nodes.len() == part.len();
            walk.entries
                .extend(reply.nodes.into_iter().map(|node| self.entry(node)));
            walk.error = reply.error;
            if !complete {
                break;
            }
        }
        Ok(walk)
    }

    /// Looks up one name.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENAMETOOLONG`, `EMFILE` when the gofer holds too many nodes.
    pub fn lookup(&self, parent: &Node, name: &[u8]) -> Result<Entry, Errno> {
        let mut walk = self.walk(parent, &[name])?;
        walk.entries.pop().ok_or(walk.error.unwrap_or(Errno::EIO))
    }

    /// Looks up one name and asks for more in the same message.
    ///
    /// # Errors
    /// `ENOTDIR`; what looking up said is in [`Looked::found`].
    pub fn look_up(&self, parent: &Node, name: &[u8], want: Want) -> Result<Looked, Errno> {
        let request = Request::Lookup {
            parent: parent.id,
            name,
            want,
        };
        let (reply, file): (LookupReply, _) = self.link.exchange(&request)?;
        Ok(Looked {
            watch: reply.watch,
            found: reply.found.map(|node| self.entry(node)),
            file,
        })
    }

    /// Creates a regular file (`O_CREAT | O_EXCL`) and opens it.
    ///
    /// # Errors
    /// `EEXIST`; `EROFS` in a read-only tree; `EPERM` when the gofer may not give the file its owner.
    pub fn create(
        &self,
        parent: &Node,
        name: &[u8],
        flags: OpenFlags,
        owner: Ownership,
    ) -> Result<(Entry, Donated), Errno> {
        let request = Request::Create {
            parent: parent.id,
            name,
            flags,
            owner,
        };
        let (reply, file): (NodeReply, _) = self.link.call_donated(&request)?;
        Ok((self.entry(reply), file))
    }

    /// Creates and opens a file without a name (`O_TMPFILE`); [`Client::link`] may give it one.
    ///
    /// # Errors
    /// `EINVAL` without `WRITE`, `EOPNOTSUPP` where the host's file system cannot.
    pub fn tmpfile(
        &self,
        parent: &Node,
        flags: OpenFlags,
        owner: Ownership,
    ) -> Result<(Entry, Donated), Errno> {
        let (reply, file): (NodeReply, _) = self.link.call_donated(&Request::TmpFile {
            parent: parent.id,
            flags,
            owner,
        })?;
        Ok((self.entry(reply), file))
    }

    /// Creates a directory.
    ///
    /// # Errors
    /// As [`Client::create`].
    pub fn mkdir(&self, parent: &Node, name: &[u8], owner: Ownership) -> Result<Entry, Errno> {
        self.link
            .call(&Request::Mkdir {
                parent: parent.id,
                name,
                owner,
            })
            .map(|reply: NodeReply| self.entry(reply))
    }

    /// Creates a symbolic link; the mode in `owner` is not used.
    ///
    /// # Errors
    /// As [`Client::create`].
    pub fn symlink(
        &self,
        parent: &Node,
        name: &[u8],
        target: &[u8],
        owner: Ownership,
    ) -> Result<Entry, Errno> {
        let request = Request::Symlink {
            parent: parent.id,
            name,
            target,
            owner,
        };
        self.link
            .call(&request)
            .map(|reply: NodeReply| self.entry(reply))
    }

    /// Creates an empty regular file, a named pipe or a socket, the latter as placeholders.
    ///
    /// # Errors
    /// As [`Client::create`]; `EPERM` for devices.
    pub fn mknod(
        &self,
        parent: &Node,
        name: &[u8],
        kind: NodKind,
        owner: Ownership,
    ) -> Result<Entry, Errno> {
        let request = Request::Mknod {
            parent: parent.id,
            name,
            kind,
            owner,
        };
        self.link
            .call(&request)
            .map(|reply: NodeReply| self.entry(reply))
    }

    /// Gives a file one more name and returns its new attributes.
    ///
    /// # Errors
    /// `EXDEV` across trees, `EPERM` for directories, `EEXIST`.
    pub fn link(&self, node: &Node, parent: &Node, name: &[u8]) -> Result<Attr, Errno> {
        self.link.call(&Request::Link {
            node: node.id,
            parent: parent.id,
            name,
        })
    }

    /// Removes a name.
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`, `ENOTDIR`, `ENOTEMPTY`, `EROFS`.
    pub fn unlink(&self, parent: &Node, name: &[u8], kind: UnlinkKind) -> Result<(), Errno> {
        self.link.call(&Request::Unlink {
            parent: parent.id,
            name,
            kind,
        })
    }

    /// Renames, as `renameat2(2)`.
    ///
    /// # Errors
    /// `EXDEV` across trees and mounts, and what `renameat2` says.
    pub fn rename(
        &self,
        old: (&Node, &[u8]),
        new: (&Node, &[u8]),
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let (old_parent, old_name) = (old.0.id, old.1);
        let (new_parent, new_name) = (new.0.id, new.1);
        self.link.call(&Request::Rename {
            old_parent,
            old_name,
            new_parent,
            new_name,
            flags,
        })
    }

    /// Some entries of a directory after `cursor` (0 = from the beginning), without `.` and `..`. The last entry's cursor
    /// continues.
    ///
    /// # Errors
    /// `ENOTDIR`, `EACCES` when the gofer may not read it.
    pub fn readdir(&self, node: &Node, cursor: u64) -> Result<DirEntries, Errno> {
        self.link.call(&Request::ReadDir {
            node: node.id,
            cursor,
        })
    }
}
