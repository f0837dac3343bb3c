//! What is known of a directory on the host, and for how long.
//!
//! Facts are noted with a count taken *before* they were asked for; an event that could concern them raises the count, so an answer that was overtaken
//! is not believed.
//!
//! Lock order: `names` and `attr` are leaves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use ::gofer::client::{Attr as RemoteAttr, WatchId};
use parking_lot::Mutex;

use super::watch::Watches;
use crate::vfs::Inode;

/// Bound of names a directory.
const MAX_NAMES: usize = 65_536;

#[derive(Default)]
struct Names {
    /// Changes of names by others so far.
    changes: u64,
    /// `None`: there is no such name.
    known: HashMap<Vec<u8>, Option<Weak<Inode>>>,
}

/// The directory's own attributes.
struct Known {
    attr: RemoteAttr,
    /// [`DirState::attr_changes`] before they were asked for.
    at: u64,
    /// We changed names since: times, size and link count are no longer right; owner and mode are.
    outdated: bool,
}

/// See the module.
pub(super) struct DirState {
    /// The watch that it rests on; `None`: nothing changes but by us.
    watch: Option<(WatchId, Weak<Watches>)>,
    ended: AtomicBool,
    names: Mutex<Names>,
    attr_changes: AtomicU64,
    attr: Mutex<Option<Known>>,
    /// Changes that could concern owners of what is in it, of all names at once.
    epoch: AtomicU64,
}

/// A count to be handed back with the answer: see [`DirState::names_now`], [`DirState::attr_now`].
#[derive(Clone, Copy)]
pub(super) struct Asked(u64);

impl DirState {
    pub(super) fn new(watch: Option<(WatchId, Weak<Watches>)>) -> Self {
        Self {
            watch,
            ended: AtomicBool::new(false),
            names: Mutex::default(),
            attr_changes: AtomicU64::new(0),
            attr: Mutex::new(None),
            epoch: AtomicU64::new(0),
        }
    }

    /// Whether nothing is told of it any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }
    /// Its watch.
    pub(super) fn watches(&self) -> Option<Arc<Watches>> {
        self.watch
            .as_ref()
            .and_then(|(_, watches)| watches.upgrade())
    }
    /// A count of what could have changed many owners at once.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Take it before asking for a name.
    pub(super) fn names_now(&self) -> Asked {
        Asked(self.names.lock().changes)
    }
    /// What is known of a name: `Some(None)` that it does not exist.
    pub(super) fn name(&self, name: &[u8]) -> Option<Option<Arc<Inode>>> {
        if self.has_ended() {
            return None;
        }
        match self.names.lock().known.get(name)? {
            None => Some(None),
            Some(inode) => inode.upgrade().map(Some),
        }
    }
    /// Whether exactly this is known of a name.
    pub(super) fn knows(&self, name: &[u8], inode: Option<&Arc<Inode>>) -> bool {
        if self.has_ended() {
            return false;
        }
        match (self.names.lock().known.get(name), inode) {
            (Some(None), None) => true,
            (Some(Some(known)), Some(inode)) => std::ptr::eq(known.as_ptr(), Arc::as_ptr(inode)),
            _ => false,
        }
    }
    /// Notes an answer.
    pub(super) fn note(&self, name: &[u8], inode: Option<&Arc<Inode>>, asked: Asked) {
        let mut names = self.names.lock();
        if names.changes != asked.0 {
            return;
        }
        Self::enter(&mut names, name, inode);
    }
    /// Notes what we did ourselves, by what the answer said.
    pub(super) fn note_own(&self, name: &[u8], inode: Option<&Arc<Inode>>, asked: Asked) {
        self.note(name, inode, asked);
        if let Some(known) = &mut *self.attr.lock() {
            known.outdated = true;
        }
    }
    fn enter(names: &mut Names, name: &[u8], inode: Option<&Arc<Inode>>) {
        if names.known.len() >= MAX_NAMES {
            names.known.clear();
        }
        names.known.insert(name.to_vec(), inode.map(Arc::downgrade));
    }
    /// Somebody else changed a name.
    pub(super) fn name_changed(&self, name: &[u8]) {
        let mut names = self.names.lock();
        names.changes += 1;
        names.known.remove(name);
        drop(names);
        self.attr_changed();
    }

    /// Take it before asking for the directory's attributes.
    pub(super) fn attr_now(&self) -> Asked {
        Asked(self.attr_changes.load(Ordering::Acquire))
    }
    /// Its attributes. `whole`: all of them, else owner and mode will do.
    pub(super) fn attr(&self, whole: bool) -> Option<RemoteAttr> {
        if self.has_ended() {
            return None;
        }
        let known = self.attr.lock();
        let known = known.as_ref()?;
        (known.at == self.attr_now().0 && !(whole && known.outdated)).then_some(known.attr)
    }
    /// Notes attributes.
    pub(super) fn note_attr(&self, attr: &RemoteAttr, asked: Asked) {
        *self.attr.lock() = Some(Known {
            attr: *attr,
            at: asked.0,
            outdated: false,
        });
    }
    pub(super) fn attr_changed(&self) {
        self.attr_changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets everything.
    pub(super) fn forget(&self) {
        let mut names = self.names.lock();
        names.changes += 1;
        names.known.clear();
        drop(names);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.attr_changed();
    }
}

impl Drop for DirState {
    fn drop(&mut self) {
        if let Some((id, watches)) = &self.watch
            && let Some(watches) = watches.upgrade()
        {
            watches.unregister(*id);
        }
    }
}
