//! An overlay in memory over a file system that stays as it is (`--overlay2=root:memory`).
//!
//! - [`Overlay`]: the file system. [`Node`]: an inode; it has a lower inode, an upper one, or both.
//! - [`copy_up`]: making the upper inode at the first change. [`dir`]: names. [`listing`]: merged directories. [`file`]: open files.
//!
//! Upper inodes live in a file system in memory (tmpfs) and have no names there: names are the overlay's own. A directory keeps what differs from
//! its lower directory: names that lead elsewhere, and names that are gone. Since nodes refer to lower inodes, not to lower paths, directories can
//! be renamed whatever they consist of, and lower hard links stay links after they were written to: both unlike Linux's overlayfs.
//!
//! A node that differs from its lower inode is pinned until its last name goes: everything is forgotten with the file system only.
//!
//! Lock order: a node's `copying` → `entries` → `by_lower`, `pinned` (leaves). The VFS keeps a directory's names still while it changes them.

mod copy_up;
mod dir;
mod file;
mod listing;
mod node;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::fs::Statfs;
use parking_lot::Mutex;

use crate::error::Result;
use crate::vfs::{FileSystem, Inode, anonymous_dev};

pub(super) use copy_up::{copy_content, copy_xattrs};

use node::Node;

/// `OVERLAYFS_SUPER_MAGIC`.
const MAGIC: i64 = 0x794c_7630;
/// Inode numbers of files without a lower one start here; lower ones keep theirs.
const FIRST_OWN_INO: u64 = 1 << 48;

/// See the module.
pub struct Overlay {
    me: Weak<Self>,
    lower: Arc<dyn FileSystem>,
    upper: Arc<dyn FileSystem>,
    dev: u64,
    lower_dev: u64,
    root: Mutex<Option<Arc<Inode>>>,
    next_ino: AtomicU64,
    /// Nodes by the address of their lower inode, which they keep alive.
    by_lower: Mutex<HashMap<usize, Weak<Inode>>>,
    /// Nodes with state of their own, by inode number.
    pinned: Mutex<HashMap<u64, Arc<Inode>>>,
}

impl Overlay {
    /// An overlay of `upper`, an empty file system in memory that nobody else uses, over `lower`, which must not change.
    pub fn new(lower: Arc<dyn FileSystem>, upper: Arc<dyn FileSystem>) -> Result<Arc<Self>> {
        let lower_root = lower.root();
        let lower_dev = lower_root.attr()?.dev;
        let fs = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            lower,
            upper,
            dev: anonymous_dev(),
            lower_dev,
            root: Mutex::new(None),
            next_ino: AtomicU64::new(FIRST_OWN_INO),
            by_lower: Mutex::default(),
            pinned: Mutex::default(),
        });
        let root = fs.node_of_lower(lower_root)?;
        *fs.root.lock() = Some(root);
        Ok(fs)
    }

    /// The number that a lower inode has here: its own, made different for other devices of the same tree.
    fn ino_of_lower(&self, dev: u64, ino: u64) -> u64 {
        if dev == self.lower_dev {
            ino
        } else {
            ino ^ (dev << 40)
        }
    }

    fn next_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Ordering::Relaxed)
    }

    /// The inode here for a lower one; the same as long as anybody holds it.
    fn node_of_lower(&self, lower: Arc<Inode>) -> Result<Arc<Inode>> {
        let key = Arc::as_ptr(&lower) as usize;
        let known = self.by_lower.lock().get(&key).and_then(Weak::upgrade);
        if let Some(known) = known {
            return Ok(known);
        }
        let attr = lower.attr()?;
        let ino = self.ino_of_lower(attr.dev, attr.ino);
        let node = Node::of_lower(self.me.clone(), ino, &attr, lower);
        let made = node.into_inode(self.weak_fs());
        let mut by_lower = self.by_lower.lock();
        if let Some(known) = by_lower.get(&key).and_then(Weak::upgrade) {
            drop(by_lower);
            return Ok(known);
        }
        by_lower.insert(key, Arc::downgrade(&made));
        Ok(made)
    }

    /// A new inode over an upper one.
    fn node_of_upper(&self, upper: Arc<Inode>, links: u64) -> Result<Arc<Inode>> {
        let attr = upper.attr()?;
        let node = Node::of_upper(self.me.clone(), self.next_ino(), &attr, upper, links);
        Ok(node.into_inode(self.weak_fs()))
    }

    fn weak_fs(&self) -> Weak<dyn FileSystem> {
        self.me.clone()
    }

    /// Forgets a node that is going, unless another has taken its place.
    fn forget_lower(&self, key: usize) {
        let mut by_lower = self.by_lower.lock();
        if by_lower
            .get(&key)
            .is_some_and(|node| node.strong_count() == 0)
        {
            by_lower.remove(&key);
        }
    }

    /// Keeps a node that differs from its lower inode.
    fn pin(&self, ino: u64, inode: &Arc<Inode>) {
        self.pinned.lock().insert(ino, inode.clone());
    }

    /// Lets go of a node whose last name is gone.
    fn unpin(&self, ino: u64) {
        let gone = self.pinned.lock().remove(&ino);
        drop(gone);
    }
}

impl FileSystem for Overlay {
    fn type_name(&self) -> &'static str {
        "overlay"
    }
    fn root(&self) -> Arc<Inode> {
        self.root
            .lock()
            .clone()
            .unwrap_or_else(|| self.lower.root())
    }
    fn statfs(&self) -> Result<Statfs> {
        Ok(Statfs {
            kind: MAGIC,
            ..self.upper.statfs()?
        })
    }
    fn dev(&self) -> u64 {
        self.dev
    }
}

#[cfg(test)]
mod tests;
