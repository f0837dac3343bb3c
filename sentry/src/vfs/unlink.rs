//! Removing names: `unlink(2)`, `rmdir(2)`.

use std::sync::Arc;

use abi::fs::S_ISVTX;

use super::lookup::{LookupCx, LookupFlags, Special, resolve_parent};
use super::{Access, Dentry, MountNamespace, Path, check_inode, check_sticky, events};
use crate::error::{Errno, Result};

/// `may_delete`: whether `victim` may be taken out of `dir`. `want_dir`: it must (`ENOTDIR`) or must not (`EISDIR`) be a directory.
pub(super) fn check_delete(
    cx: LookupCx<'_>,
    dir: &Path,
    victim: &Arc<Dentry>,
    want_dir: bool,
) -> Result<()> {
    let dir_attr = dir.inode().access_attr()?;
    check_inode(
        dir.inode(),
        &dir_attr,
        cx.creds,
        Access::WRITE.and(Access::EXEC),
    )?;
    if dir_attr.mode & S_ISVTX != 0 {
        check_sticky(&dir_attr, &victim.inode().access_attr()?, cx.creds)?;
    }
    match (want_dir, victim.inode().ops().as_dir().is_some()) {
        (true, false) => return Err(Errno::ENOTDIR),
        (false, true) => return Err(Errno::EISDIR),
        _ => {}
    }
    if cx.fs.namespace().is_mounted_on(victim) {
        return Err(Errno::EBUSY);
    }
    Ok(())
}

/// `unlink(2)`.
pub fn unlink_at(cx: LookupCx<'_>, start: &Path, path: &[u8]) -> Result<()> {
    let parent = resolve_parent(cx, start, path, LookupFlags::empty())?;
    if parent.special.is_some() {
        return Err(Errno::EISDIR);
    }
    parent.dir.check_writable()?;
    let victim = parent.dir.dentry.lookup(&parent.name)?;
    if parent.trailing_slash {
        return Err(if victim.inode().ops().as_dir().is_some() {
            Errno::EISDIR
        } else {
            Errno::ENOTDIR
        });
    }
    check_delete(cx, &parent.dir, &victim, false)?;
    let dir = parent.dir.inode();
    {
        let _names = dir.state.names.lock();
        dir.dir()?.unlink(&parent.name, victim.inode())?;
        parent.dir.dentry.forget(&parent.name, true);
    }
    MountNamespace::detach_from(&victim);
    events::deleted(dir, &parent.name, victim.inode(), false);
    Ok(())
}

/// `rmdir(2)`.
pub fn rmdir_at(cx: LookupCx<'_>, start: &Path, path: &[u8]) -> Result<()> {
    let parent = resolve_parent(cx, start, path, LookupFlags::empty())?;
    match parent.special {
        Some(Special::Dot) => return Err(Errno::EINVAL),
        Some(Special::DotDot) => return Err(Errno::ENOTEMPTY),
        Some(Special::Root) => return Err(Errno::EBUSY),
        None => {}
    }
    parent.dir.check_writable()?;
    let victim = parent.dir.dentry.lookup(&parent.name)?;
    check_delete(cx, &parent.dir, &victim, true)?;
    let dir = parent.dir.inode();
    {
        let _names = dir.state.names.lock();
        dir.dir()?.rmdir(&parent.name, victim.inode())?;
        parent.dir.dentry.forget(&parent.name, true);
    }
    MountNamespace::detach_from(&victim);
    events::deleted(dir, &parent.name, victim.inode(), true);
    Ok(())
}
