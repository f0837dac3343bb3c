//! The dentry cache: names in the tree.
//!
//! A directory's dentry holds its children weakly; a bounded ring keeps the recently used ones alive. A cached answer, positive or negative, is used
//! only if [`DirOps::still_valid`](super::DirOps::still_valid) says so.
//!
//! Lock order: a parent's `children` before a child's `place`; `RING` is a leaf.

use std::collections::HashMap;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use super::{DirOps, Inode};
use crate::error::{Errno, Result};

/// How many dentries are kept alive without being in use.
const KEPT_ALIVE: usize = 8192;
/// Bound of cached names a directory, so that a guest cannot grow it without limit by looking up names that do not exist.
const MAX_CHILDREN: usize = 65_536;

struct Place {
    parent: Option<Arc<Dentry>>,
    name: Vec<u8>,
    /// The name was removed while the dentry was in use (`(deleted)`).
    unlinked: bool,
}

enum Child {
    Positive(Weak<Dentry>),
    Negative,
}

/// A name in a file system's tree and the inode that it leads to.
pub struct Dentry {
    inode: Arc<Inode>,
    place: RwLock<Place>,
    children: Mutex<HashMap<Vec<u8>, Child>>,
    /// Where in the ring it is kept alive.
    slot: AtomicUsize,
    /// How many mounts are on it, in all namespaces together.
    mounts: AtomicIsize,
}

impl Drop for Dentry {
    /// Drops a chain of parents one by one: a guest can make it deep, and recursion would exhaust the stack.
    fn drop(&mut self) {
        let mut next = self.place.get_mut().parent.take();
        while let Some(mut parent) = next.and_then(Arc::into_inner) {
            next = parent.place.get_mut().parent.take();
        }
    }
}

struct Ring {
    slots: Vec<Option<Arc<Dentry>>>,
    next: usize,
}

static RING: Mutex<Ring> = Mutex::new(Ring {
    slots: Vec::new(),
    next: 0,
});

fn keep_alive(dentry: &Arc<Dentry>) {
    let evicted = {
        let mut ring = RING.lock();
        let at = ring.next;
        ring.next = (at + 1) % KEPT_ALIVE;
        dentry.slot.store(at, Ordering::Relaxed);
        match ring.slots.get_mut(at) {
            Some(slot) => slot.replace(dentry.clone()),
            None => {
                ring.slots.push(Some(dentry.clone()));
                None
            }
        }
    };
    // Dropping may free a chain of parents: outside the lock.
    drop(evicted);
}

/// What is not in use any more need not be kept: a removed file takes space as long as it is.
fn let_go(dentry: &Arc<Dentry>) {
    let kept = {
        let mut ring = RING.lock();
        let slot = ring.slots.get_mut(dentry.slot.load(Ordering::Relaxed));
        slot.and_then(|slot| slot.take_if(|kept| Arc::ptr_eq(kept, dentry)))
    };
    drop(kept);
}

/// Lets go of everything that is kept alive without being in use: something that dentries hold has become scarce.
pub(crate) fn shrink() {
    let kept = {
        let mut ring = RING.lock();
        ring.next = 0;
        std::mem::take(&mut ring.slots)
    };
    drop(kept);
}

impl Dentry {
    /// The root of a file system.
    #[must_use]
    pub fn root(inode: Arc<Inode>) -> Arc<Self> {
        Self::with_place(inode, None, Vec::new())
    }

    /// A name that is not part of any tree (O_TMPFILE, memfd): shown as `name`, `(deleted)`.
    #[must_use]
    pub fn detached(inode: Arc<Inode>, parent: Option<Arc<Dentry>>, name: &[u8]) -> Arc<Self> {
        let dentry = Self::with_place(inode, parent, name.to_vec());
        dentry.place.write().unlinked = true;
        dentry
    }

    fn with_place(inode: Arc<Inode>, parent: Option<Arc<Self>>, name: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            inode,
            place: RwLock::new(Place {
                parent,
                name,
                unlinked: false,
            }),
            children: Mutex::default(),
            slot: AtomicUsize::new(usize::MAX),
            mounts: AtomicIsize::new(0),
        })
    }

    /// What the name leads to.
    #[must_use]
    pub fn inode(&self) -> &Arc<Inode> {
        &self.inode
    }
    /// The directory it is in; `None` for the root of a file system.
    #[must_use]
    pub fn parent(&self) -> Option<Arc<Self>> {
        self.place.read().parent.clone()
    }
    /// Its last component.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        self.place.read().name.clone()
    }
    /// Whether anything is mounted on it, in any namespace (`d_mountpoint`).
    #[must_use]
    pub fn is_mounted_on(&self) -> bool {
        self.mounts.load(Ordering::Acquire) > 0
    }
    pub(super) fn add_mount(&self, by: isize) {
        self.mounts.fetch_add(by, Ordering::AcqRel);
    }
    /// Whether the name was removed.
    #[must_use]
    pub fn is_unlinked(&self) -> bool {
        self.place.read().unlinked
    }

    /// The child called `name`, from the cache if still valid, else from the file system. `ENOENT`, `ENOTDIR`.
    pub fn lookup(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Self>> {
        self.lookup_by(name, |dir| dir.lookup(name))
    }

    /// As [`Dentry::lookup`], by somebody who means to open a regular file for reading.
    pub fn lookup_to_read(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Self>> {
        self.lookup_by(name, |dir| dir.lookup_to_read(name))
    }

    fn lookup_by(
        self: &Arc<Self>,
        name: &[u8],
        ask: impl FnOnce(&dyn DirOps) -> Result<Arc<Inode>>,
    ) -> Result<Arc<Self>> {
        let dir = self.inode.dir()?;
        {
            let children = self.children.lock();
            match children.get(name) {
                Some(Child::Negative) if dir.still_valid(name, None) => return Err(Errno::ENOENT),
                Some(Child::Positive(child)) => {
                    if let Some(child) = child.upgrade()
                        && dir.still_valid(name, Some(&child.inode))
                    {
                        return Ok(child);
                    }
                }
                _ => {}
            }
        }
        // Under the directory's lock, so that a name that is removed meanwhile is not entered again.
        let _names = self.inode.state.names.lock();
        match ask(dir) {
            Ok(inode) => Ok(self.instantiate(name, inode)),
            Err(Errno::ENOENT) => {
                self.forget(name, true);
                Err(Errno::ENOENT)
            }
            Err(errno) => Err(errno),
        }
    }

    /// Enters `name` → `inode` in the cache; gives the dentry that is there if it is the same inode already.
    pub fn instantiate(self: &Arc<Self>, name: &[u8], inode: Arc<Inode>) -> Arc<Self> {
        let mut children = self.children.lock();
        if let Some(Child::Positive(known)) = children.get(name)
            && let Some(known) = known.upgrade()
            && Arc::ptr_eq(&known.inode, &inode)
            && !known.is_unlinked()
        {
            return known;
        }
        if children.len() >= MAX_CHILDREN {
            children.retain(
                |_, child| matches!(child, Child::Positive(child) if child.strong_count() > 0),
            );
        }
        let dentry = Self::with_place(inode, Some(self.clone()), name.to_vec());
        let replaced = children.insert(name.to_vec(), Child::Positive(Arc::downgrade(&dentry)));
        drop(children);
        drop(replaced);
        keep_alive(&dentry);
        dentry
    }

    /// Takes `name` out of the cache; `negative` enters that it does not exist.
    pub fn forget(&self, name: &[u8], negative: bool) {
        let removed = {
            let mut children = self.children.lock();
            if negative && children.len() < MAX_CHILDREN {
                children.insert(name.to_vec(), Child::Negative)
            } else {
                children.remove(name)
            }
        };
        if let Some(Child::Positive(child)) = removed
            && let Some(child) = child.upgrade()
            && negative
        {
            child.place.write().unlinked = true;
            let_go(&child);
        }
    }

    /// Whether `name` is known to exist or not to, without asking the file system.
    pub(super) fn known(&self, name: &[u8]) -> Option<bool> {
        let dir = self.inode.dir().ok()?;
        match self.children.lock().get(name)? {
            Child::Negative => dir.still_valid(name, None).then_some(false),
            Child::Positive(child) => {
                let child = child.upgrade()?;
                dir.still_valid(name, Some(&child.inode)).then_some(true)
            }
        }
    }

    /// Moves this dentry after the file system has renamed it.
    pub fn moved(self: &Arc<Self>, new_parent: &Arc<Self>, new_name: &[u8]) {
        if let Some(parent) = self.parent() {
            let name = self.name();
            let mut children = parent.children.lock();
            if matches!(children.get(&name), Some(Child::Positive(c)) if std::ptr::eq(c.as_ptr(), Arc::as_ptr(self)))
            {
                children.insert(name, Child::Negative);
            }
        }
        new_parent.forget(new_name, true);
        {
            let mut place = self.place.write();
            place.parent = Some(new_parent.clone());
            place.name = new_name.to_vec();
            place.unlinked = false;
        }
        new_parent
            .children
            .lock()
            .insert(new_name.to_vec(), Child::Positive(Arc::downgrade(self)));
    }

    /// Swaps the places of two dentries after the file system has exchanged their names.
    pub fn exchanged(a: &Arc<Self>, b: &Arc<Self>) {
        let (Some(a_parent), Some(b_parent)) = (a.parent(), b.parent()) else {
            return;
        };
        let (a_name, b_name) = (a.name(), b.name());
        for (dentry, parent, name) in [(a, &b_parent, &b_name), (b, &a_parent, &a_name)] {
            let mut place = dentry.place.write();
            place.parent = Some(parent.clone());
            place.name.clone_from(name);
            drop(place);
            parent
                .children
                .lock()
                .insert(name.clone(), Child::Positive(Arc::downgrade(dentry)));
        }
    }

    /// Whether `self` is `ancestor` or lies below it.
    #[must_use]
    pub fn is_below(self: &Arc<Self>, ancestor: &Arc<Self>) -> bool {
        let mut at = self.clone();
        loop {
            if Arc::ptr_eq(&at, ancestor) {
                return true;
            }
            match at.parent() {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }
}
