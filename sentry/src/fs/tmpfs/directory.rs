//! Directories of a tmpfs.
//!
//! Each entry has a cookie that never changes and is never used again, so that listing goes on at the right place whatever happens meanwhile.
//!
//! Lock order: the file system's `tree` (for what involves more than one directory) → children (several only with the tree lock) → a node's
//! `parent` and attributes.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use abi::fs::{S_IFCHR, S_IFDIR, S_IFMT};
use parking_lot::MutexGuard;

use super::node::{Kind, Node, make_symlink};
use crate::error::{Errno, Result};
use crate::vfs::{DirEntry, DirOps, FileOps, Inode, NodeKind};

const RENAME_NOREPLACE: u32 = 1;
const RENAME_EXCHANGE: u32 = 2;
const RENAME_WHITEOUT: u32 = 4;
/// `BOGO_DIRENT_SIZE`: what Linux says an entry takes in `st_size`.
const ENTRY_SIZE: u64 = 20;
/// Cookies 0 and 1 stand for `.` and `..`.
const FIRST_COOKIE: u64 = 2;

struct Entry {
    cookie: u64,
    ino: u64,
    file_type: u32,
    inode: Arc<Inode>,
}

/// The entries of a directory.
#[derive(Default)]
pub(super) struct Children {
    by_name: HashMap<Arc<[u8]>, Entry>,
    by_cookie: BTreeMap<u64, Arc<[u8]>>,
    next_cookie: u64,
    /// Removed: nothing can be made in it any more.
    dead: bool,
}

impl Children {
    fn get(&self, name: &[u8]) -> Option<&Arc<Inode>> {
        self.by_name.get(name).map(|entry| &entry.inode)
    }
    fn insert(&mut self, name: &[u8], inode: Arc<Inode>) -> Result<()> {
        let attr = inode.downcast::<Node>().map(|node| *node.attr.lock());
        let attr = attr.ok_or(Errno::EXDEV)?;
        let name: Arc<[u8]> = name.into();
        let cookie = self.next_cookie.max(FIRST_COOKIE);
        self.next_cookie = cookie + 1;
        self.by_cookie.insert(cookie, name.clone());
        let entry = Entry {
            cookie,
            ino: attr.ino,
            file_type: attr.mode & S_IFMT,
            inode,
        };
        if let Some(old) = self.by_name.insert(name, entry) {
            self.by_cookie.remove(&old.cookie);
        }
        Ok(())
    }
    fn remove(&mut self, name: &[u8]) -> Option<Arc<Inode>> {
        let entry = self.by_name.remove(name)?;
        self.by_cookie.remove(&entry.cookie);
        Some(entry.inode)
    }
    /// Empties it, for a file system that goes.
    pub(super) fn take_all(&mut self) -> Vec<Arc<Inode>> {
        self.by_cookie.clear();
        self.by_name.drain().map(|(_, entry)| entry.inode).collect()
    }
    /// `st_size`.
    pub(super) fn apparent_size(&self) -> u64 {
        (self.by_name.len() as u64 + 2) * ENTRY_SIZE
    }
    fn check_new(&self, name: &[u8]) -> Result<()> {
        if self.by_name.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        if self.dead {
            return Err(Errno::ENOENT);
        }
        Ok(())
    }
}

fn node(inode: &Arc<Inode>) -> Result<&Node> {
    inode.downcast::<Node>().ok_or(Errno::EXDEV)
}

impl Node {
    fn ino(&self) -> u64 {
        self.attr.lock().ino
    }

    /// Enters a new inode made by `make` under `name`.
    fn enter(&self, name: &[u8], make: impl FnOnce() -> Result<Arc<Inode>>) -> Result<Arc<Inode>> {
        let mut children = self.children()?.lock();
        children.check_new(name)?;
        let inode = make()?;
        if node(&inode)?.is_directory() {
            *node(&inode)?.parent.lock() = self.this();
            self.change_links(1);
        }
        children.insert(name, inode.clone())?;
        drop(children);
        self.touch_modified();
        Ok(inode)
    }

    /// What goes with a name that is gone: a link, and the inode's charge for a hard link.
    fn unlinked(&self) {
        let left = self.change_links(-1);
        if left > 0 {
            self.shared.budget.return_inode();
        }
    }

    /// A directory without entries is taken out of use; `ENOTEMPTY` otherwise.
    fn kill_if_empty(&self) -> Result<()> {
        let mut children = self.children()?.lock();
        if !children.by_name.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        children.dead = true;
        drop(children);
        self.change_links(-2);
        Ok(())
    }

    /// Whether `self` is `ancestor` or lies below it. Call with the tree lock held.
    fn is_below(&self, ancestor: &Self) -> Result<bool> {
        if std::ptr::eq(self, ancestor) {
            return Ok(true);
        }
        let mut up = self.parent.lock().clone();
        while let Some(inode) = up.upgrade() {
            let at = node(&inode)?;
            if std::ptr::eq(at, ancestor) {
                return Ok(true);
            }
            up = at.parent.lock().clone();
        }
        Ok(false)
    }
}

/// Both directories' children; the second is `None` if they are the same.
fn lock_two<'a>(
    a: &'a Node,
    b: &'a Node,
) -> Result<(MutexGuard<'a, Children>, Option<MutexGuard<'a, Children>>)> {
    if std::ptr::eq(a, b) {
        return Ok((a.children()?.lock(), None));
    }
    if a.ino() < b.ino() {
        let first = a.children()?.lock();
        Ok((first, Some(b.children()?.lock())))
    } else {
        let second = b.children()?.lock();
        Ok((a.children()?.lock(), Some(second)))
    }
}

impl DirOps for Node {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        let children = self.children()?.lock();
        children.get(name).cloned().ok_or(Errno::ENOENT)
    }

    fn still_valid(&self, name: &[u8], child: Option<&Arc<Inode>>) -> bool {
        let Ok(children) = self.children() else {
            return false;
        };
        match (children.lock().get(name), child) {
            (Some(now), Some(cached)) => Arc::ptr_eq(now, cached),
            (None, None) => true,
            _ => false,
        }
    }

    fn create(
        &self,
        name: &[u8],
        kind: NodeKind,
        mode: u32,
        uid: u32,
        gid: u32,
    ) -> Result<Arc<Inode>> {
        self.enter(name, || {
            Self::make_kind(&self.shared, kind, mode, (uid, gid))
        })
    }

    fn symlink(&self, name: &[u8], target: &[u8], uid: u32, gid: u32) -> Result<Arc<Inode>> {
        self.enter(name, || make_symlink(&self.shared, target, (uid, gid)))
    }

    fn link(&self, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        let target = node(inode)?;
        if !Arc::ptr_eq(&target.shared, &self.shared) {
            return Err(Errno::EXDEV);
        }
        if target.is_directory() {
            return Err(Errno::EPERM);
        }
        let mut children = self.children()?.lock();
        children.check_new(name)?;
        {
            let mut linkable = target.linkable.lock();
            if target.attr.lock().nlink == 0 {
                if !*linkable {
                    return Err(Errno::ENOENT);
                }
                *linkable = false;
            } else {
                self.shared.budget.charge_inode()?;
            }
        }
        target.change_links(1);
        children.insert(name, inode.clone())?;
        drop(children);
        self.touch_modified();
        Ok(())
    }

    fn unlink(&self, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        let mut children = self.children()?.lock();
        let there = children.get(name).ok_or(Errno::ENOENT)?;
        if !Arc::ptr_eq(there, inode) {
            return Err(Errno::ENOENT);
        }
        if node(inode)?.is_directory() {
            return Err(Errno::EISDIR);
        }
        let removed = children.remove(name);
        drop(children);
        node(inode)?.unlinked();
        drop(removed);
        self.touch_modified();
        Ok(())
    }

    fn rmdir(&self, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        let _tree = self.shared.tree.lock();
        let mut children = self.children()?.lock();
        let there = children.get(name).ok_or(Errno::ENOENT)?;
        if !Arc::ptr_eq(there, inode) {
            return Err(Errno::ENOENT);
        }
        node(inode)?.kill_if_empty()?;
        let removed = children.remove(name);
        drop(children);
        drop(removed);
        self.change_links(-1);
        self.touch_modified();
        Ok(())
    }

    fn rename(&self, name: &[u8], new_dir: &Arc<Inode>, new_name: &[u8], flags: u32) -> Result<()> {
        if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) != 0 {
            return Err(Errno::EINVAL);
        }
        let to_dir = node(new_dir)?;
        if !Arc::ptr_eq(&to_dir.shared, &self.shared) {
            return Err(Errno::EXDEV);
        }
        let _tree = self.shared.tree.lock();
        let (mut from, mut to) = lock_two(self, to_dir)?;
        let moved = from.get(name).cloned().ok_or(Errno::ENOENT)?;
        let target = to.as_ref().unwrap_or(&from).get(new_name).cloned();
        let moved_node = node(&moved)?;
        if moved_node.is_directory() && to_dir.is_below(moved_node)? {
            return Err(Errno::EINVAL);
        }
        if flags & RENAME_EXCHANGE != 0 {
            let target = target.ok_or(Errno::ENOENT)?;
            if node(&target)?.is_directory() && self.is_below(node(&target)?)? {
                return Err(Errno::EINVAL);
            }
            from.insert(name, target.clone())?;
            to.as_mut()
                .unwrap_or(&mut from)
                .insert(new_name, moved.clone())?;
            drop((from, to));
            moved_node.has_moved(self, to_dir);
            node(&target)?.has_moved(to_dir, self);
            return Ok(());
        }
        if let Some(target) = &target {
            if flags & RENAME_NOREPLACE != 0 {
                return Err(Errno::EEXIST);
            }
            if Arc::ptr_eq(target, &moved) {
                // Two names of one file: nothing is done (rename(2)).
                return Ok(());
            }
            match (moved_node.is_directory(), node(target)?.is_directory()) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                _ => {}
            }
        }
        let whiteout = if flags & RENAME_WHITEOUT != 0 {
            let made = Self::make(&self.shared, Kind::Special, S_IFCHR, 0, (0, 0))?;
            Some(made)
        } else {
            None
        };
        let destination = to.as_mut().unwrap_or(&mut from);
        if destination.dead {
            return Err(Errno::ENOENT);
        }
        if let Some(target) = &target
            && node(target)?.is_directory()
        {
            // The tree lock makes it safe to lock a third directory.
            node(target)?.kill_if_empty()?;
        }
        destination.insert(new_name, moved.clone())?;
        match whiteout {
            Some(whiteout) => from.insert(name, whiteout)?,
            None => drop(from.remove(name)),
        }
        drop((from, to));
        if let Some(target) = &target {
            if node(target)?.is_directory() {
                to_dir.change_links(-1);
            } else {
                node(target)?.unlinked();
            }
        }
        moved_node.has_moved(self, to_dir);
        Ok(())
    }

    fn tmpfile(&self, mode: u32, uid: u32, gid: u32) -> Result<Arc<Inode>> {
        let inode = Self::make_kind(&self.shared, NodeKind::Regular, mode, (uid, gid))?;
        let made = node(&inode)?;
        made.change_links(-1);
        *made.linkable.lock() = true;
        Ok(inode)
    }
}

impl Node {
    /// Notes that it has moved from one directory to another: `..`, link counts, times. The tree lock is held.
    fn has_moved(&self, from: &Self, to: &Self) {
        if self.is_directory() {
            *self.parent.lock() = to.this();
            from.change_links(-1);
            to.change_links(1);
        }
        self.change_links(0);
        from.touch_modified();
        to.touch_modified();
    }
}

/// An open directory.
pub(super) struct DirFile(Arc<Inode>);

impl DirFile {
    pub(super) const fn new(inode: Arc<Inode>) -> Self {
        Self(inode)
    }
}

impl FileOps for DirFile {
    fn seekable(&self) -> bool {
        true
    }
    fn readdir(&self, from: u64, emit: &mut dyn FnMut(&DirEntry) -> bool) -> Result<()> {
        let dir = node(&self.0)?;
        let own = dir.ino();
        let children = dir.children()?.lock();
        let parent = dir.parent.lock().upgrade();
        let parent = parent.map_or(Ok(own), |p| node(&p).map(Node::ino))?;
        for (cookie, name, ino) in [(0, &b"."[..], own), (1, b"..", parent)] {
            let entry = DirEntry {
                name: name.to_vec(),
                ino,
                file_type: S_IFDIR,
                next: cookie + 1,
            };
            if from <= cookie && !emit(&entry) {
                return Ok(());
            }
        }
        for (cookie, name) in children.by_cookie.range(from.max(FIRST_COOKIE)..) {
            let Some(entry) = children.by_name.get(name) else {
                continue;
            };
            let entry = DirEntry {
                name: name.to_vec(),
                ino: entry.ino,
                file_type: entry.file_type,
                next: cookie + 1,
            };
            if !emit(&entry) {
                return Ok(());
            }
        }
        drop(children);
        dir.touch_accessed();
        Ok(())
    }
    fn sync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
