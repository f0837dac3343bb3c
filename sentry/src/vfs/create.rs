//! Making names: `mkdir(2)`, `mknod(2)`, `symlink(2)`, and what they share with `open(2)`.

use std::sync::Arc;

use abi::fs::{PATH_MAX, S_IALLUGO, S_IFDIR, S_ISGID, S_IXGRP};

use super::acl::{ACCESS_NAME, AclStore, DEFAULT_NAME};
use super::lookup::{LookupCx, LookupFlags, Parent, resolve_parent};
use super::{Access, Attr, Dentry, DirOps, NodeKind, Path, check_inode, events};
use crate::error::{Errno, Result};
use crate::task::creds::{Cap, Creds};

/// A place where something may be made: see [`prepare`].
pub(super) struct Vacancy {
    /// The directory.
    pub(super) dir: Path,
    /// The free name in it.
    pub(super) name: Vec<u8>,
}

/// `EACCES` unless names may be added to and removed from `dir`.
pub(super) fn check_dir_writable(dir: &Path, creds: &Creds) -> Result<Attr> {
    let attr = dir.inode().access_attr()?;
    check_inode(dir.inode(), &attr, creds, Access::WRITE.and(Access::EXEC))?;
    Ok(attr)
}

/// Group and mode of a new node in `dir`: set-group-id directories hand their group on (`inode_init_owner`).
pub(super) fn inherit(dir: &Attr, mode: u32, is_dir: bool, creds: &Creds) -> (u32, u32) {
    if dir.mode & S_ISGID == 0 {
        return (mode, creds.fsgid);
    }
    let both = S_ISGID | S_IXGRP;
    let mode = if is_dir {
        mode | S_ISGID
    } else if mode & both == both
        && !creds.in_group(dir.gid)
        && !creds.has_over(dir.uid, dir.gid, Cap::FSETID)
    {
        mode & !S_ISGID
    } else {
        mode
    };
    (mode, dir.gid)
}

/// Whether a name may be made without being looked up first: nothing is known of it, and nothing else can be wrong, so that making it says `EEXIST` just
/// as well.
pub(super) fn is_free(dir: &Path, name: &[u8], creds: &Creds) -> bool {
    dir.inode()
        .ops()
        .as_dir()
        .is_some_and(DirOps::creates_without_lookup)
        && dir.dentry.known(name) != Some(true)
        && dir.check_writable().is_ok()
        && check_dir_writable(dir, creds).is_ok()
        && !dir.dentry.is_unlinked()
}

/// Resolves the parent of a name to be made and sees that it is free (`filename_create`): `EEXIST`, `EROFS`, `ENOENT` for `name/` unless a
/// directory is made, in Linux's order.
pub(super) fn prepare(
    cx: LookupCx<'_>,
    start: &Path,
    path: &[u8],
    want_dir: bool,
) -> Result<Vacancy> {
    let parent = resolve_parent(cx, start, path, LookupFlags::empty())?;
    if parent.special.is_some() {
        return Err(Errno::EEXIST);
    }
    let Parent {
        dir,
        name,
        trailing_slash,
        ..
    } = parent;
    if !(want_dir && is_free(&dir, &name, cx.creds)) {
        match dir.dentry.lookup(&name) {
            Ok(_) => return Err(Errno::EEXIST),
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    if trailing_slash && !want_dir {
        return Err(Errno::ENOENT);
    }
    dir.check_writable()?;
    if dir.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    Ok(Vacancy { dir, name })
}

/// `mkdir(2)`; `mode` as given by the guest.
pub fn mkdir_at(cx: LookupCx<'_>, start: &Path, path: &[u8], mode: u32) -> Result<()> {
    let at = prepare(cx, start, path, true)?;
    let dir_attr = check_dir_writable(&at.dir, cx.creds)?;
    let mode = mode & (0o777 | abi::fs::S_ISVTX);
    make(cx, &at, &dir_attr, NodeKind::Directory, mode).map(drop)
}

/// `mknod(2)` for a node of `kind`: devices need CAP_MKNOD (`EPERM`).
pub fn mknod_at(
    cx: LookupCx<'_>,
    start: &Path,
    path: &[u8],
    kind: NodeKind,
    mode: u32,
) -> Result<Arc<Dentry>> {
    if kind == NodeKind::Directory {
        return Err(Errno::EPERM);
    }
    let at = prepare(cx, start, path, false)?;
    let dir_attr = check_dir_writable(&at.dir, cx.creds)?;
    if matches!(kind, NodeKind::CharDevice(_) | NodeKind::BlockDevice(_)) {
        cx.creds.require(Cap::MKNOD)?;
    }
    let mode = mode & S_IALLUGO;
    make(cx, &at, &dir_attr, kind, mode)
}

/// Makes a node with `mode` at a vacancy whose permissions were checked. The directory's default list takes away of the mode what the umask would
/// else.
pub(super) fn make(
    cx: LookupCx<'_>,
    at: &Vacancy,
    dir_attr: &Attr,
    kind: NodeKind,
    mode: u32,
) -> Result<Arc<Dentry>> {
    let is_dir = kind == NodeKind::Directory;
    let dir = at.dir.inode();
    let default = dir.ops().as_acl().and_then(AclStore::default_list);
    let (list, mode) = match &default {
        Some(default) => {
            let (list, mode) = default.for_new(mode);
            (Some(list), mode)
        }
        None => (None, mode & !cx.fs.umask()),
    };
    let (mode, gid) = inherit(dir_attr, mode, is_dir, cx.creds);
    let dentry = {
        let _names = dir.state.names.lock();
        let inode = dir
            .dir()?
            .create(&at.name, kind, mode, cx.creds.fsuid, gid)?;
        if let (Some(list), Some(store)) = (list, inode.ops().as_acl()) {
            store.set(ACCESS_NAME, Some(list).filter(|list| !list.mode().1));
            if is_dir {
                store.set(DEFAULT_NAME, default.as_deref().cloned());
            }
        }
        at.dir.dentry.instantiate(&at.name, inode)
    };
    events::created(dir, &at.name, is_dir);
    Ok(dentry)
}

/// `symlink(2)`: a link at `path` to `target`; `ENOENT` for an empty target.
pub fn symlink_at(cx: LookupCx<'_>, target: &[u8], start: &Path, path: &[u8]) -> Result<()> {
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    if target.len() >= PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    let at = prepare(cx, start, path, false)?;
    let dir_attr = check_dir_writable(&at.dir, cx.creds)?;
    let (_, gid) = inherit(&dir_attr, 0o777, false, cx.creds);
    let dir = at.dir.inode();
    {
        let _names = dir.state.names.lock();
        let inode = dir.dir()?.symlink(&at.name, target, cx.creds.fsuid, gid)?;
        at.dir.dentry.instantiate(&at.name, inode);
    }
    events::created(dir, &at.name, false);
    Ok(())
}

/// Whether attributes are a directory's.
pub(super) const fn is_dir(attr: &Attr) -> bool {
    attr.file_type() == S_IFDIR
}
