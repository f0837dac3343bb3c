//! `link(2)`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::fs::{S_IFDIR, S_IFREG, S_ISGID, S_ISUID, S_IXGRP};

use super::create::{check_dir_writable, prepare};
use super::lookup::LookupCx;
use super::{Access, Attr, Inode, Path, check_inode, events};
use crate::error::{Errno, Result};
use crate::task::creds::Creds;

/// The rule of `fs.protected_hardlinks` = 1: one may link what one owns, or could read and write and is no set-id program (`may_linkat`).
fn check_source(inode: &Inode, attr: &Attr, creds: &Creds) -> Result<()> {
    if creds.fsuid == attr.uid || creds.owns_over(attr.uid) {
        return Ok(());
    }
    let set_gid_program = S_ISGID | S_IXGRP;
    let safe = attr.file_type() == S_IFREG
        && attr.mode & S_ISUID == 0
        && attr.mode & set_gid_program != set_gid_program
        && check_inode(inode, attr, creds, Access::READ.and(Access::WRITE)).is_ok();
    if safe { Ok(()) } else { Err(Errno::EPERM) }
}

/// Makes `path` a hard link to what is at `old`.
pub fn link_at(cx: LookupCx<'_>, old: &Path, start: &Path, path: &[u8]) -> Result<()> {
    let at = prepare(cx, start, path, false)?;
    if !Arc::ptr_eq(&old.mount, &at.dir.mount) {
        return Err(Errno::EXDEV);
    }
    let inode = old.inode();
    let attr = inode.attr()?;
    check_source(inode, &attr, cx.creds)?;
    check_dir_writable(&at.dir, cx.creds)?;
    if attr.file_type() == S_IFDIR {
        return Err(Errno::EPERM);
    }
    if attr.nlink == 0 && !inode.state.linkable.load(Ordering::Relaxed) {
        return Err(Errno::ENOENT);
    }
    let dir = at.dir.inode();
    {
        let _names = dir.state.names.lock();
        dir.dir()?.link(&at.name, inode)?;
        at.dir.dentry.forget(&at.name, false);
    }
    events::created(dir, &at.name, false);
    events::attributes_changed(&old.dentry);
    Ok(())
}
