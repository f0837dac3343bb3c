//! Inodes of the overlay.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use abi::fs::{O_TRUNC, S_IFDIR, S_IFLNK, S_IFMT};
use parking_lot::{Mutex, RwLock};

use super::Overlay;
use super::file::{DirFile, LowerFile};
use crate::error::{Errno, Result};
use crate::vfs::lookup::LookupCx;
use crate::vfs::{
    Attr, AttrChange, DirOps, FileOps, FileSystem, Inode, InodeOps, Link, OpenHow, SymlinkOps,
    XattrOps,
};

/// How a name of a directory differs from the lower one's.
pub(super) enum Entry {
    /// It leads here.
    Here(Arc<Inode>),
    /// It is gone (a whiteout).
    Gone,
}

/// See the module.
pub(super) struct Node {
    fs: Weak<Overlay>,
    /// The inode around it.
    me: OnceLock<Weak<Inode>>,
    /// Inode number.
    pub(super) ino: u64,
    kind: u32,
    /// What it was before any change; a directory's is still looked into. Never changed by the overlay.
    pub(super) lower: Option<Arc<Inode>>,
    upper: RwLock<Option<Arc<Inode>>>,
    /// Held while the upper inode is made.
    pub(super) copying: Mutex<()>,
    /// Names of a directory that differ from the lower one's.
    pub(super) entries: Mutex<HashMap<Vec<u8>, Entry>>,
    /// Names that lead here (not counted for directories: 1, or 0 when removed).
    pub(super) links: AtomicU64,
    /// Directories in a directory, less those in the lower one.
    pub(super) subdirs: AtomicI64,
    /// Inode number of the directory that a directory is in.
    pub(super) parent_ino: AtomicU64,
}

impl Node {
    fn new(fs: Weak<Overlay>, ino: u64, attr: &Attr, links: u64) -> Self {
        Self {
            fs,
            me: OnceLock::new(),
            ino,
            kind: attr.mode & S_IFMT,
            lower: None,
            upper: RwLock::new(None),
            copying: Mutex::new(()),
            entries: Mutex::default(),
            links: AtomicU64::new(links),
            subdirs: AtomicI64::new(0),
            parent_ino: AtomicU64::new(ino),
        }
    }
    /// Over an unchanged lower inode.
    pub(super) fn of_lower(fs: Weak<Overlay>, ino: u64, attr: &Attr, lower: Arc<Inode>) -> Self {
        let mut node = Self::new(fs, ino, attr, attr.nlink);
        node.lower = Some(lower);
        node
    }
    /// Over a new upper inode.
    pub(super) fn of_upper(
        fs: Weak<Overlay>,
        ino: u64,
        attr: &Attr,
        upper: Arc<Inode>,
        links: u64,
    ) -> Self {
        let node = Self::new(fs, ino, attr, links);
        *node.upper.write() = Some(upper);
        node
    }
    /// The overlay that an inode belongs to: `EXDEV` for a foreign one.
    pub(super) fn of(inode: &Inode) -> Result<&Self> {
        inode.downcast::<Self>().ok_or(Errno::EXDEV)
    }
    /// The file system: `EIO` if it is gone.
    pub(super) fn fs(&self) -> Result<Arc<Overlay>> {
        self.fs.upgrade().ok_or(Errno::EIO)
    }
    /// The upper inode, if there is one.
    pub(super) fn upper(&self) -> Option<Arc<Inode>> {
        self.upper.read().clone()
    }
    /// Enters the upper inode.
    pub(super) fn set_upper(&self, upper: Arc<Inode>) {
        *self.upper.write() = Some(upper);
    }
    /// The inode that attributes and content come from.
    pub(super) fn real(&self) -> Result<Arc<Inode>> {
        self.upper()
            .or_else(|| self.lower.clone())
            .ok_or(Errno::EIO)
    }
    /// Whether it is a directory.
    pub(super) const fn is_dir(&self) -> bool {
        self.kind == S_IFDIR
    }
    /// The `S_IF*` bits.
    pub(super) const fn kind(&self) -> u32 {
        self.kind
    }
    /// The inode around it; none only while that is going.
    pub(super) fn inode(&self) -> Option<Arc<Inode>> {
        self.me.get().and_then(Weak::upgrade)
    }
    /// Wraps the node in its inode.
    pub(super) fn into_inode(self, fs: Weak<dyn FileSystem>) -> Arc<Inode> {
        let inode = Inode::new(fs, Box::new(self));
        if let Ok(node) = Self::of(&inode) {
            // The first and only time that it is set.
            let _ = node.me.set(Arc::downgrade(&inode));
        }
        inode
    }
    fn directory_links(&self) -> Result<u64> {
        if self.links.load(Ordering::Relaxed) == 0 {
            return Ok(0);
        }
        let below = match &self.lower {
            Some(lower) => lower.attr()?.nlink,
            None => 2,
        };
        if below < 2 {
            // The lower file system does not count.
            return Ok(below);
        }
        Ok(below
            .saturating_add_signed(self.subdirs.load(Ordering::Relaxed))
            .max(2))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let (Some(lower), Some(fs)) = (&self.lower, self.fs.upgrade()) {
            fs.forget_lower(Arc::as_ptr(lower) as usize);
        }
    }
}

impl InodeOps for Node {
    fn attr(&self) -> Result<Attr> {
        let mut attr = self.real()?.attr()?;
        attr.dev = self.fs()?.dev;
        attr.ino = self.ino;
        attr.nlink = if self.is_dir() {
            self.directory_links()?
        } else {
            self.links.load(Ordering::Relaxed)
        };
        if let (S_IFLNK, Some(lower)) = (self.kind, &self.lower) {
            attr.size = lower.attr()?.size;
        }
        Ok(attr)
    }
    fn set_attr(&self, change: &AttrChange) -> Result<()> {
        // What is cut off need not be copied.
        let upper = self.copy_up(change.size.unwrap_or(u64::MAX))?;
        upper.ops().set_attr(change)
    }
    fn open(&self, inode: &Arc<Inode>, how: OpenHow) -> Result<Box<dyn FileOps>> {
        if self.is_dir() {
            return Ok(Box::new(DirFile::new(inode.clone())));
        }
        let upper = if how.writable() {
            let keep = if how.flags & O_TRUNC == 0 {
                u64::MAX
            } else {
                0
            };
            Some(self.copy_up(keep)?)
        } else {
            self.upper()
        };
        match (upper, &self.lower) {
            (Some(upper), _) => upper.ops().open(&upper, how),
            (None, Some(lower)) => {
                let ops = lower.ops().open(lower, how)?;
                Ok(Box::new(LowerFile::new(inode.clone(), ops, how)))
            }
            (None, None) => Err(Errno::EIO),
        }
    }
    fn as_dir(&self) -> Option<&dyn DirOps> {
        if self.is_dir() { Some(self) } else { None }
    }
    fn as_symlink(&self) -> Option<&dyn SymlinkOps> {
        if self.kind == S_IFLNK {
            Some(self)
        } else {
            None
        }
    }
    fn as_xattr(&self) -> Option<&dyn XattrOps> {
        Some(self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl SymlinkOps for Node {
    fn follow(&self, cx: &LookupCx<'_>) -> Result<Link> {
        // A link's text never changes: the upper inode of a lower link carries attributes only.
        let real = match &self.lower {
            Some(lower) => lower.clone(),
            None => self.real()?,
        };
        real.ops().as_symlink().ok_or(Errno::EINVAL)?.follow(cx)
    }
}

impl XattrOps for Node {
    fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        let real = self.real()?;
        real.ops().as_xattr().ok_or(Errno::EOPNOTSUPP)?.get(name)
    }
    fn set(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        let upper = self.copy_up(u64::MAX)?;
        upper
            .ops()
            .as_xattr()
            .ok_or(Errno::EOPNOTSUPP)?
            .set(name, value, flags)
    }
    fn remove(&self, name: &[u8]) -> Result<()> {
        // Nothing is copied for what is not there.
        self.get(name)?;
        let upper = self.copy_up(u64::MAX)?;
        upper
            .ops()
            .as_xattr()
            .ok_or(Errno::EOPNOTSUPP)?
            .remove(name)
    }
    fn list(&self) -> Result<Vec<Vec<u8>>> {
        let real = self.real()?;
        real.ops().as_xattr().map_or(Ok(Vec::new()), XattrOps::list)
    }
}
