//! Watches, as inodes have them.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Inotify;
use crate::fs::dnotify::Notices;
use crate::vfs::Inode;

/// Watches in the whole sandbox: while there is none, reporting costs one load.
static WATCHES: AtomicUsize = AtomicUsize::new(0);

/// Counts something that wants to be told although it is no inotify watch.
pub(crate) fn count_other(by: isize) {
    if by > 0 {
        WATCHES.fetch_add(by.unsigned_abs(), Ordering::Relaxed);
    } else {
        WATCHES.fetch_sub(by.unsigned_abs(), Ordering::Relaxed);
    }
}

/// Whether anything is watched at all.
pub(super) fn any() -> bool {
    WATCHES.load(Ordering::Relaxed) != 0
}

/// A watch of an instance on an inode. The inode lives as long.
pub(super) struct Watch {
    inotify: Weak<Inotify>,
    inode: Arc<Inode>,
    wd: i32,
    mask: AtomicU32,
}

impl Watch {
    pub(super) fn new(inotify: &Arc<Inotify>, inode: &Arc<Inode>, wd: i32, mask: u32) -> Arc<Self> {
        WATCHES.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            inotify: Arc::downgrade(inotify),
            inode: inode.clone(),
            wd,
            mask: AtomicU32::new(mask),
        })
    }
    pub(super) const fn wd(&self) -> i32 {
        self.wd
    }
    pub(super) fn mask(&self) -> u32 {
        self.mask.load(Ordering::Relaxed)
    }
    pub(super) fn change_mask(&self, mask: u32, add: bool) {
        if add {
            self.mask.fetch_or(mask, Ordering::Relaxed);
        } else {
            self.mask.store(mask, Ordering::Relaxed);
        }
    }
    pub(super) fn inotify(&self) -> Option<Arc<Inotify>> {
        self.inotify.upgrade()
    }
    /// Takes it off its inode.
    pub(super) fn detach(&self) {
        let removed = {
            let mut list = self.inode.state.watches.list.lock();
            list.iter()
                .position(|watch| std::ptr::eq(Arc::as_ptr(watch), self))
                .map(|at| list.swap_remove(at))
        };
        drop(removed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The watches of one inode, and how often it is open.
#[derive(Default)]
pub struct InodeWatches {
    list: Mutex<Vec<Arc<Watch>>>,
    /// Of `F_NOTIFY`.
    pub(crate) notices: Notices,
    opens: AtomicU32,
}

impl InodeWatches {
    pub(super) fn add(&self, watch: &Arc<Watch>) {
        self.list.lock().push(watch.clone());
    }
    /// The watch of an instance.
    pub(super) fn of(&self, inotify: &Arc<Inotify>) -> Option<Arc<Watch>> {
        let list = self.list.lock();
        let own = |watch: &&Arc<Watch>| std::ptr::eq(watch.inotify.as_ptr(), Arc::as_ptr(inotify));
        list.iter().find(own).cloned()
    }
    pub(super) fn all(&self) -> Vec<Arc<Watch>> {
        self.list.lock().clone()
    }
    pub(super) fn is_empty(&self) -> bool {
        self.list.lock().is_empty() && self.notices.is_empty()
    }
    /// How many descriptions there are.
    pub(crate) fn opens(&self) -> u32 {
        self.opens.load(Ordering::Relaxed)
    }
    /// A description was made.
    pub fn opened(&self) {
        self.opens.fetch_add(1, Ordering::Relaxed);
    }
    /// A description is gone; says whether it was the last.
    pub fn closed(&self) -> bool {
        self.opens.fetch_sub(1, Ordering::Relaxed) == 1
    }
    pub(super) fn is_open(&self) -> bool {
        self.opens.load(Ordering::Relaxed) != 0
    }
}
