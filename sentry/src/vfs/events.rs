//! Where changes of files are announced: the one place that knows of inotify.
//!
//! Call these after the change and without holding locks. Each says what happened; what watchers see of it is decided here.

use std::sync::Arc;

use super::{Dentry, File, Inode};
use crate::fs::inotify::report;

/// Bytes were read.
pub fn accessed(file: &File) {
    report::file(file, report::ACCESS);
}

/// Bytes were written.
pub fn modified(file: &File) {
    report::file(file, report::MODIFY);
}

/// A file was opened.
pub fn opened(file: &File) {
    report::file(file, report::OPEN);
}

/// The last reference to a description is gone.
pub fn closed(file: &File) {
    report::closed(file);
}

/// Attributes changed.
pub fn attributes_changed(dentry: &Arc<Dentry>) {
    report::dentry(dentry, report::ATTRIB);
}

/// The content changed other than through a description (`truncate(2)`).
pub fn content_changed(dentry: &Arc<Dentry>) {
    report::dentry(dentry, report::MODIFY);
}

/// A name appeared.
pub fn created(dir: &Arc<Inode>, name: &[u8], is_dir: bool) {
    report::entry(dir, name, is_dir, report::CREATE);
}

/// A name went; `inode` was behind it.
pub fn deleted(dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>, is_dir: bool) {
    report::unlinked(inode, is_dir);
    report::entry(dir, name, is_dir, report::DELETE);
}

/// A rename took the last component away from `inode`.
pub fn replaced(inode: &Arc<Inode>) {
    report::unlinked(inode, inode.ops().as_dir().is_some());
}

/// A name moved.
pub fn moved(
    from: (&Arc<Inode>, &[u8]),
    to: (&Arc<Inode>, &[u8]),
    inode: &Arc<Inode>,
    is_dir: bool,
) {
    report::moved((from.0, from.1), (to.0, to.1), inode, is_dir);
}
