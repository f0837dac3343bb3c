//! Changing what is there: setattr, unlink, rename, sync.

#![forbid(unsafe_code)]

use super::dir::open_directory;
use super::open::reopen;
use super::path::{FdPath, check_name, errno};
use super::worker::Worker;
use crate::protocol::attr::{Attr, FileType, SetAttr, SetTime};
use crate::protocol::request::{NodeId, RenameFlags, SyncKind, UnlinkKind};
use abi::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, renameat2};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{
    Gid, Uid, UnlinkatFlags, fchownat, fdatasync, fsync, ftruncate, syncfs, unlinkat,
};

impl Worker {
    pub(super) fn setattr(&self, node: NodeId, changes: &SetAttr) -> Result<Attr, Errno> {
        let node = self.node(node)?;
        let tree = self.writable(&node)?;
        if let Some(size) = changes.size {
            match node.kind {
                FileType::Regular => {}
                FileType::Directory => return Err(Errno::EISDIR),
                _ => return Err(Errno::EINVAL),
            }
            let size = i64::try_from(size).map_err(|_| Errno::EFBIG)?;
            let file = reopen(&node, OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?;
            ftruncate(&file, size).map_err(errno)?;
        }
        if changes.uid.is_some() || changes.gid.is_some() {
            let uid = changes
                .uid
                .map(|uid| tree.ids.user_to_host(uid))
                .transpose()?
                .map(Uid::from_raw);
            let gid = changes
                .gid
                .map(|gid| tree.ids.group_to_host(gid))
                .transpose()?
                .map(Gid::from_raw);
            fchownat(node.fd(), "", uid, gid, AtFlags::AT_EMPTY_PATH).map_err(errno)?;
        }
        if let Some(mode) = changes.mode {
            if node.kind == FileType::Symlink {
                return Err(Errno::EOPNOTSUPP);
            }
            let path = FdPath::of(node.fd());
            let mode = Mode::from_bits_truncate(mode & 0o7777);
            fchmodat(AT_FDCWD, path.as_cstr(), mode, FchmodatFlags::FollowSymlink)
                .map_err(errno)?;
        }
        if changes.atime.is_some() || changes.mtime.is_some() {
            crate::host::set_times(node.fd(), time(changes.atime), time(changes.mtime))?;
        }
        self.attr_of(node.fd(), tree)
    }

    pub(super) fn unlink(
        &self,
        parent: NodeId,
        name: &[u8],
        kind: UnlinkKind,
    ) -> Result<(), Errno> {
        let parent = self.node(parent)?;
        let directory = parent.directory()?;
        self.writable(&parent)?;
        let how = match kind {
            UnlinkKind::File => UnlinkatFlags::NoRemoveDir,
            UnlinkKind::Directory => UnlinkatFlags::RemoveDir,
        };
        unlinkat(directory, check_name(name)?, how).map_err(errno)
    }

    pub(super) fn rename(
        &self,
        old_parent: NodeId,
        old_name: &[u8],
        new_parent: NodeId,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let old_parent = self.node(old_parent)?;
        let new_parent = self.node(new_parent)?;
        let (from, to) = (old_parent.directory()?, new_parent.directory()?);
        if old_parent.tree != new_parent.tree {
            return Err(Errno::EXDEV);
        }
        self.writable(&old_parent)?;
        let flags = nix::fcntl::RenameFlags::from_bits_truncate(flags.bits());
        renameat2(
            from,
            check_name(old_name)?,
            to,
            check_name(new_name)?,
            flags,
        )
        .map_err(errno)
    }

    pub(super) fn sync(&self, node: NodeId, kind: SyncKind) -> Result<(), Errno> {
        let node = self.node(node)?;
        let file = match node.kind {
            FileType::Regular => {
                reopen(&node, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?
            }
            FileType::Directory => open_directory(&node)?,
            _ => return Err(Errno::EINVAL),
        };
        match kind {
            SyncKind::File => fsync(&file),
            SyncKind::Data => fdatasync(&file),
            SyncKind::FileSystem => syncfs(&file),
        }
        .map_err(errno)
    }
}

/// A time as `utimensat(2)` wants it.
fn time(change: Option<SetTime>) -> libc::timespec {
    match change {
        None => libc::timespec {
            tv_sec: 0,
            tv_nsec: libc::UTIME_OMIT,
        },
        Some(SetTime::Now) => libc::timespec {
            tv_sec: 0,
            tv_nsec: libc::UTIME_NOW,
        },
        Some(SetTime::At(at)) => libc::timespec {
            tv_sec: at.sec,
            tv_nsec: i64::from(at.nsec),
        },
    }
}
