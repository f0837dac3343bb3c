//! Bringing files into being: create, mkdir, symlink, mknod, tmpfile, link.
//!
//! A new file never has set-user-ID or set-group-ID before it has its final owner.

#![forbid(unsafe_code)]

use super::node::Node;
use super::open::access;
use super::path::{FdPath, check_name, errno, open_beneath};
use super::worker::Worker;
use crate::host;
use crate::protocol::attr::Attr;
use crate::protocol::reply::NodeReply;
use crate::protocol::request::{NodKind, NodeId, OpenFlags, Ownership};
use crate::protocol::wire::{Encoder, Wire};
use abi::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Permission bits that are given when the file is created.
const PERMISSIONS: u32 = 0o777;
/// Set-user-ID, set-group-ID and sticky: given when the owner is right.
const SPECIAL: u32 = 0o7000;

impl Worker {
    pub(super) fn create(
        &self,
        parent: NodeId,
        name: &[u8],
        flags: OpenFlags,
        owner: Ownership,
        reply: &mut Encoder,
    ) -> Result<OwnedFd, Errno> {
        let parent = self.node(parent)?;
        let directory = parent.directory()?;
        self.writable(&parent)?;
        let how = access(flags)? | OFlag::O_CREAT | OFlag::O_EXCL;
        let file = open_beneath(directory, name, how, owner.mode & PERMISSIONS)?;
        let node = self
            .settle(&parent, file.as_fd(), owner)
            .and_then(|()| self.adopt(as_path(file.as_fd())?, parent.tree));
        self.or_undo(node, directory, name, UnlinkatFlags::NoRemoveDir)?
            .put(reply);
        Ok(file)
    }

    pub(super) fn tmpfile(
        &self,
        parent: NodeId,
        flags: OpenFlags,
        owner: Ownership,
        reply: &mut Encoder,
    ) -> Result<OwnedFd, Errno> {
        let parent = self.any_node(parent)?;
        let directory = parent.directory()?;
        self.writable(&parent)?;
        if !flags.contains(OpenFlags::WRITE) {
            return Err(Errno::EINVAL);
        }
        let how = access(flags)? | OFlag::O_TMPFILE | OFlag::O_CLOEXEC;
        let file = openat(
            directory,
            ".",
            how,
            Mode::from_bits_truncate(owner.mode & PERMISSIONS),
        )
        .map_err(errno)?;
        self.settle(&parent, file.as_fd(), owner)?;
        self.adopt(as_path(file.as_fd())?, parent.tree)?.put(reply);
        Ok(file)
    }

    pub(super) fn mkdir(
        &self,
        parent: NodeId,
        name: &[u8],
        owner: Ownership,
    ) -> Result<NodeReply, Errno> {
        let parent = self.node(parent)?;
        let directory = parent.directory()?;
        self.writable(&parent)?;
        mkdirat(
            directory,
            check_name(name)?,
            Mode::from_bits_truncate(owner.mode & PERMISSIONS),
        )
        .map_err(errno)?;
        let node = self.take_in(&parent, name, OFlag::O_DIRECTORY, Some(owner));
        self.or_undo(node, directory, name, UnlinkatFlags::RemoveDir)
    }

    pub(super) fn symlink(
        &self,
        parent: NodeId,
        name: &[u8],
        target: &[u8],
        owner: Ownership,
    ) -> Result<NodeReply, Errno> {
        let parent = self.node(parent)?;
        let directory = parent.directory()?;
        self.writable(&parent)?;
        if target.contains(&0) {
            return Err(Errno::EINVAL);
        }
        symlinkat(target, directory, check_name(name)?).map_err(errno)?;
        let node = self.take_in(
            &parent,
            name,
            OFlag::empty(),
            Some(Ownership {
                mode: PERMISSIONS,
                ..owner
            }),
        );
        self.or_undo(node, directory, name, UnlinkatFlags::NoRemoveDir)
    }

    pub(super) fn mknod(
        &self,
        parent: NodeId,
        name: &[u8],
        kind: NodKind,
        owner: Ownership,
    ) -> Result<NodeReply, Errno> {
        let parent = self.node(parent)?;
        let directory = parent.directory()?;
        self.writable(&parent)?;
        let kind = match kind {
            NodKind::Regular => SFlag::S_IFREG,
            NodKind::Fifo => SFlag::S_IFIFO,
            NodKind::Socket => SFlag::S_IFSOCK,
            NodKind::Device => return Err(Errno::EPERM),
        };
        let mode = Mode::from_bits_truncate(owner.mode & PERMISSIONS);
        mknodat(directory, check_name(name)?, kind, mode, 0).map_err(errno)?;
        let node = self.take_in(&parent, name, OFlag::empty(), Some(owner));
        self.or_undo(node, directory, name, UnlinkatFlags::NoRemoveDir)
    }

    /// A new name for a node; replies with its attributes, since the number of links changed.
    pub(super) fn link(&self, node: NodeId, parent: NodeId, name: &[u8]) -> Result<Attr, Errno> {
        let node = self.node(node)?;
        let parent = self.node(parent)?;
        let directory = parent.directory()?;
        if node.tree != parent.tree {
            return Err(Errno::EXDEV);
        }
        let tree = self.writable(&parent)?;
        let path = FdPath::of(node.fd());
        linkat(
            AT_FDCWD,
            path.as_cstr(),
            directory,
            check_name(name)?,
            AtFlags::AT_SYMLINK_FOLLOW,
        )
        .map_err(errno)?;
        self.attr_of(node.fd(), tree)
    }

    /// Makes what was just created under `name` a node with the owner wanted.
    fn take_in(
        &self,
        parent: &Node,
        name: &[u8],
        flags: OFlag,
        owner: Option<Ownership>,
    ) -> Result<NodeReply, Errno> {
        let fd = open_beneath(parent.directory()?, name, OFlag::O_PATH | flags, 0)?;
        if let Some(owner) = owner {
            self.settle(parent, fd.as_fd(), owner)?;
        }
        self.adopt(fd, parent.tree)
    }

    /// Gives a new file its owner and its special permission bits.
    fn settle(&self, parent: &Node, file: BorrowedFd<'_>, owner: Ownership) -> Result<(), Errno> {
        let ids = &self.tree(parent)?.ids;
        // As `open(2)` says of a caller without a counterpart in an id-mapped mount.
        let mapped = |id: Result<u32, Errno>| id.map_err(|_| Errno::EOVERFLOW);
        let (uid, gid) = (
            mapped(ids.user_to_host(owner.uid))?,
            mapped(ids.group_to_host(owner.gid))?,
        );
        let now = host::statx(file)?;
        if (now.uid, now.gid) != (uid, gid) {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            fchownat(file, "", uid, gid, AtFlags::AT_EMPTY_PATH).map_err(errno)?;
        }
        if owner.mode & SPECIAL != 0 {
            let mode = Mode::from_bits_truncate(owner.mode & (PERMISSIONS | SPECIAL));
            fchmodat(
                AT_FDCWD,
                FdPath::of(file).as_cstr(),
                mode,
                FchmodatFlags::FollowSymlink,
            )
            .map_err(errno)?;
        }
        Ok(())
    }

    /// Removes a name again whose file could not be given what was asked for.
    fn or_undo<T>(
        &self,
        outcome: Result<T, Errno>,
        directory: BorrowedFd<'_>,
        name: &[u8],
        how: UnlinkatFlags,
    ) -> Result<T, Errno> {
        if outcome.is_err() {
            // The failure that led here is the one to report.
            let _ = unlinkat(directory, name, how);
        }
        outcome
    }
}

/// A second, `O_PATH` descriptor of an open file.
fn as_path(file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    openat(
        AT_FDCWD,
        FdPath::of(file).as_cstr(),
        OFlag::O_PATH | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(errno)
}
