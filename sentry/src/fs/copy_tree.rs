//! Copies what a directory has into another, of another file system: `tmpcopyup` of a container's mounts.
//!
//! Nobody else may change either meanwhile. Names are taken in portions, so that a directory of any size is bounded by what `to` takes.

use std::sync::Arc;

use abi::fs::{
    O_RDONLY, S_IALLUGO, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK,
};

use super::overlay::{copy_content, copy_xattrs};
use crate::error::{Errno, Result};
use crate::vfs::lookup::LookupCx;
use crate::vfs::{AttrChange, Inode, Link, NodeKind, OpenHow, SetTime};

/// Names held at a time.
const PORTION: usize = 256;

/// Copies the entries of the directory `from`, with all that is below, into the directory `to`, whose own attributes stay.
///
/// # Errors
/// The first that a file system says.
pub fn copy_tree(cx: LookupCx<'_>, from: &Arc<Inode>, to: &Arc<Inode>) -> Result<()> {
    let top = to;
    let mut directories = vec![(from.clone(), to.clone())];
    while let Some((from, to)) = directories.pop() {
        let list = from.ops().open(&from, OpenHow { flags: O_RDONLY })?;
        let mut at = 0;
        loop {
            let mut names = Vec::new();
            list.readdir(at, &mut |entry| {
                if names.len() == PORTION {
                    return false;
                }
                at = entry.next;
                if entry.name != b"." && entry.name != b".." {
                    names.push(entry.name.clone());
                }
                true
            })?;
            if names.is_empty() {
                break;
            }
            for name in names {
                let inner = from.dir()?.lookup(&name)?;
                let made = copy_one(cx, &inner, &to, &name)?;
                if inner.file_type()? == S_IFDIR {
                    directories.push((inner, made));
                }
            }
        }
        if !Arc::ptr_eq(&to, top) {
            copy_attributes(&from, &to)?;
        }
    }
    Ok(())
}

fn copy_one(
    cx: LookupCx<'_>,
    from: &Arc<Inode>,
    to: &Arc<Inode>,
    name: &[u8],
) -> Result<Arc<Inode>> {
    let attr = from.attr()?;
    let kind = match attr.file_type() {
        S_IFREG => NodeKind::Regular,
        S_IFDIR => NodeKind::Directory,
        S_IFIFO => NodeKind::Fifo,
        S_IFSOCK => NodeKind::Socket,
        S_IFCHR => NodeKind::CharDevice(attr.rdev),
        S_IFBLK => NodeKind::BlockDevice(attr.rdev),
        S_IFLNK => {
            let link = from.ops().as_symlink().ok_or(Errno::EIO)?;
            let Link::Text(target) = link.follow(&cx)? else {
                return Err(Errno::EIO);
            };
            return to.dir()?.symlink(name, &target, attr.uid, attr.gid);
        }
        _ => return Err(Errno::EIO),
    };
    let made = to
        .dir()?
        .create(name, kind, attr.mode & S_IALLUGO, attr.uid, attr.gid)?;
    if kind == NodeKind::Regular {
        copy_content(from, &made, attr.size)?;
    }
    if kind != NodeKind::Directory {
        // A directory's come when it is full.
        copy_attributes(from, &made)?;
    }
    Ok(made)
}

fn copy_attributes(from: &Arc<Inode>, to: &Arc<Inode>) -> Result<()> {
    let attr = from.attr()?;
    copy_xattrs(from, to)?;
    to.ops().set_attr(&AttrChange {
        uid: Some(attr.uid),
        gid: Some(attr.gid),
        atime: Some(SetTime::At(attr.atime)),
        mtime: Some(SetTime::At(attr.mtime)),
        ..AttrChange::default()
    })?;
    // Apart, and last: a change of the owner clears set-id bits.
    to.ops().set_attr(&AttrChange {
        mode: Some(attr.mode & S_IALLUGO),
        ..AttrChange::default()
    })
}
