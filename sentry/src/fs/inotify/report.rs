//! Reporting what happens to files (`include/linux/fsnotify.h`): the directory's watches first, with the name, then the inode's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::fs::S_IFDIR;

use super::{EXCL_UNLINK, ONESHOT, watch};
use crate::vfs::{Dentry, File, Inode};

/// IN_ACCESS.
pub const ACCESS: u32 = 0x1;
/// IN_MODIFY.
pub const MODIFY: u32 = 0x2;
/// IN_ATTRIB.
pub const ATTRIB: u32 = 0x4;
/// IN_CLOSE_WRITE.
pub const CLOSE_WRITE: u32 = 0x8;
/// IN_CLOSE_NOWRITE.
pub const CLOSE_NOWRITE: u32 = 0x10;
/// IN_OPEN.
pub const OPEN: u32 = 0x20;
/// IN_MOVED_FROM.
pub const MOVED_FROM: u32 = 0x40;
/// IN_MOVED_TO.
pub const MOVED_TO: u32 = 0x80;
/// IN_CREATE.
pub const CREATE: u32 = 0x100;
/// IN_DELETE.
pub const DELETE: u32 = 0x200;
/// IN_DELETE_SELF.
pub const DELETE_SELF: u32 = 0x400;
/// IN_MOVE_SELF.
pub const MOVE_SELF: u32 = 0x800;
const ISDIR: u32 = 1 << 30;

static NEXT_COOKIE: AtomicU32 = AtomicU32::new(1);

const fn isdir(is_dir: bool) -> u32 {
    if is_dir { ISDIR } else { 0 }
}

/// Tells the watches of `inode`. `name` is empty for what happens to itself; `unlinked`: the name is gone already.
fn tell(inode: &Inode, mask: u32, name: &[u8], cookie: u32, unlinked: bool) {
    if !name.is_empty() {
        inode.state.watches.notices.tell(mask);
    }
    for watch in inode.state.watches.all() {
        let wanted = watch.mask();
        if wanted & mask & super::ALL_EVENTS == 0 || (unlinked && wanted & EXCL_UNLINK != 0) {
            continue;
        }
        if let Some(inotify) = watch.inotify() {
            inotify.report(watch.wd(), mask, cookie, name);
            if wanted & ONESHOT != 0 {
                inotify.end(&watch);
            }
        }
    }
}

/// Something happened to what `dentry` names.
pub fn dentry(dentry: &Arc<Dentry>, mask: u32) {
    if !watch::any() {
        return;
    }
    let inode = dentry.inode();
    let parent = dentry.parent();
    let parent = parent.filter(|parent| !parent.inode().state.watches.is_empty());
    if parent.is_none() && inode.state.watches.is_empty() {
        return;
    }
    let mask = mask | isdir(inode.file_type().is_ok_and(|kind| kind == S_IFDIR));
    if let Some(parent) = parent {
        tell(
            parent.inode(),
            mask,
            &dentry.name(),
            0,
            dentry.is_unlinked(),
        );
    }
    tell(inode, mask, &[], 0, false);
}

/// Something happened through a description; those without a place and O_PATH ones tell nobody.
pub fn file(file: &File, mask: u32) {
    if watch::any()
        && !file.is_path_only()
        && let Some(path) = file.path()
    {
        dentry(&path.dentry, mask);
    }
}

/// The last reference to a description is gone.
pub fn closed(description: &File) {
    let last = description.inode().state.watches.closed();
    if !watch::any() {
        return;
    }
    let mask = if description.writable() {
        CLOSE_WRITE
    } else {
        CLOSE_NOWRITE
    };
    file(description, mask);
    let inode = description.inode();
    if last && !inode.state.watches.is_empty() && has_no_name(inode) {
        gone(inode);
    }
}

/// A name appeared in a directory or went: CREATE, DELETE.
pub fn entry(dir: &Inode, name: &[u8], is_dir: bool, mask: u32) {
    if watch::any() {
        tell(dir, mask | isdir(is_dir), name, 0, false);
    }
}

/// An inode lost a name: its link count changed, and without any name and description it is gone.
pub fn unlinked(inode: &Arc<Inode>, is_dir: bool) {
    if !watch::any() || inode.state.watches.is_empty() {
        return;
    }
    if !is_dir {
        tell(inode, ATTRIB, &[], 0, false);
    }
    // A directory has one name; some hosts still count links of a removed one.
    if !inode.state.watches.is_open() && (is_dir || has_no_name(inode)) {
        gone(inode);
    }
}

fn has_no_name(inode: &Inode) -> bool {
    inode.attr().is_ok_and(|attr| attr.nlink == 0)
}

/// No name and no description is left: DELETE_SELF, and the watches end.
fn gone(inode: &Arc<Inode>) {
    // IN_DELETE_SELF comes without IN_ISDIR (inotify(7) says otherwise; fs/notify does not).
    tell(inode, DELETE_SELF, &[], 0, false);
    for watch in inode.state.watches.all() {
        if let Some(inotify) = watch.inotify() {
            inotify.end(&watch);
        }
    }
}

/// A name moved.
pub fn moved(from: (&Inode, &[u8]), to: (&Inode, &[u8]), inode: &Inode, is_dir: bool) {
    if !watch::any() {
        return;
    }
    let cookie = NEXT_COOKIE.fetch_add(1, Ordering::Relaxed).max(1);
    let directory = isdir(is_dir);
    tell(from.0, MOVED_FROM | directory, from.1, cookie, false);
    tell(to.0, MOVED_TO | directory, to.1, cookie, false);
    tell(inode, MOVE_SELF, &[], 0, false);
}
