//! `rename(2)` and its relatives.
//!
//! Lock order: the rename lock → the two directories' `names`, lower address first.

use std::sync::Arc;

use abi::fs::{RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT};
use parking_lot::Mutex;

use super::create::{check_dir_writable, is_dir};
use super::lookup::{LookupCx, LookupFlags, resolve_parent};
use super::unlink::check_delete;
use super::{Access, Dentry, Inode, MountNamespace, Path, check_inode, events};
use crate::error::{Errno, Result};
use crate::task::creds::Cap;

/// Keeps the shape of the trees still while ancestors are compared (`s_vfs_rename_mutex`).
static RENAME: Mutex<()> = Mutex::new(());

fn with_both_names<T>(
    a: &Arc<Inode>,
    b: &Arc<Inode>,
    change: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if Arc::ptr_eq(a, b) {
        let _only = a.state.names.lock();
        return change();
    }
    let (first, second) = if Arc::as_ptr(a) < Arc::as_ptr(b) {
        (a, b)
    } else {
        (b, a)
    };
    let _first = first.state.names.lock();
    let _second = second.state.names.lock();
    change()
}

/// `renameat2(2)`.
pub fn rename_at(
    cx: LookupCx<'_>,
    old_start: &Path,
    old_path: &[u8],
    new_start: &Path,
    new_path: &[u8],
    flags: u32,
) -> Result<()> {
    if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) != 0
        || (flags & RENAME_EXCHANGE != 0 && flags & (RENAME_NOREPLACE | RENAME_WHITEOUT) != 0)
    {
        return Err(Errno::EINVAL);
    }
    if flags & RENAME_WHITEOUT != 0 {
        cx.creds.require(Cap::MKNOD)?;
    }
    let exchange = flags & RENAME_EXCHANGE != 0;
    let old = resolve_parent(cx, old_start, old_path, LookupFlags::empty())?;
    let new = resolve_parent(cx, new_start, new_path, LookupFlags::empty())?;
    if !Arc::ptr_eq(&old.dir.mount, &new.dir.mount) {
        return Err(Errno::EXDEV);
    }
    if old.special.is_some() {
        return Err(Errno::EBUSY);
    }
    if new.special.is_some() {
        return Err(if flags & RENAME_NOREPLACE != 0 {
            Errno::EEXIST
        } else {
            Errno::EBUSY
        });
    }
    old.dir.check_writable()?;

    let _shape = RENAME.lock();
    let source = old.dir.dentry.lookup(&old.name)?;
    let target = match new.dir.dentry.lookup(&new.name) {
        Ok(target) => Some(target),
        Err(Errno::ENOENT) => None,
        Err(errno) => return Err(errno),
    };
    if target.is_some() && flags & RENAME_NOREPLACE != 0 {
        return Err(Errno::EEXIST);
    }
    if exchange {
        let Some(target) = &target else {
            return Err(Errno::ENOENT);
        };
        if new.trailing_slash && target.inode().ops().as_dir().is_none() {
            return Err(Errno::ENOTDIR);
        }
    }
    let source_is_dir = source.inode().ops().as_dir().is_some();
    if !source_is_dir && (old.trailing_slash || (!exchange && new.trailing_slash)) {
        return Err(Errno::ENOTDIR);
    }
    if new.dir.dentry.is_below(&source) {
        return Err(Errno::EINVAL);
    }
    if let Some(target) = &target
        && old.dir.dentry.is_below(target)
    {
        return Err(if exchange {
            Errno::EINVAL
        } else {
            Errno::ENOTEMPTY
        });
    }
    if let Some(target) = &target
        && Arc::ptr_eq(target.inode(), source.inode())
    {
        return Ok(());
    }
    check_delete(cx, &old.dir, &source, source_is_dir)?;
    let same_dir = Arc::ptr_eq(old.dir.inode(), new.dir.inode());
    match &target {
        None => {
            if new.dir.dentry.is_unlinked() {
                return Err(Errno::ENOENT);
            }
            check_dir_writable(&new.dir, cx.creds)?;
        }
        Some(target) => {
            let want_dir = if exchange {
                target.inode().ops().as_dir().is_some()
            } else {
                source_is_dir
            };
            check_delete(cx, &new.dir, target, want_dir)?;
        }
    }
    if !same_dir {
        // A directory's `..` changes: that is a write to it.
        if source_is_dir {
            check_inode(
                source.inode(),
                &source.inode().access_attr()?,
                cx.creds,
                Access::WRITE,
            )?;
        }
        if exchange && let Some(target) = &target {
            let attr = target.inode().access_attr()?;
            if is_dir(&attr) {
                check_inode(target.inode(), &attr, cx.creds, Access::WRITE)?;
            }
        }
    }
    with_both_names(old.dir.inode(), new.dir.inode(), || {
        old.dir
            .inode()
            .dir()?
            .rename(&old.name, new.dir.inode(), &new.name, flags)?;
        match &target {
            Some(target) if exchange => Dentry::exchanged(&source, target),
            _ => source.moved(&new.dir.dentry, &new.name),
        }
        if flags & RENAME_WHITEOUT != 0 {
            old.dir.dentry.forget(&old.name, false);
        }
        Ok(())
    })?;
    events::moved(
        (old.dir.inode(), &old.name),
        (new.dir.inode(), &new.name),
        source.inode(),
        source_is_dir,
    );
    if exchange && let Some(target) = &target {
        events::moved(
            (new.dir.inode(), &new.name),
            (old.dir.inode(), &old.name),
            target.inode(),
            target.inode().ops().as_dir().is_some(),
        );
    }
    if !exchange && let Some(target) = &target {
        MountNamespace::detach_from(target);
        events::replaced(target.inode());
    }
    Ok(())
}
