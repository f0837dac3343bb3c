//! One watch of an epoll.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{EDGE, EXCLUSIVE, Epoll, Key, ONESHOT, PRIVATE};
use crate::task::Task;
use crate::vfs::File;
use crate::wait::{Events, Registration, WaitCallback, WaitQueue};

struct State {
    /// What was asked for, private bits too. A one-shot that has fired has no event bits left.
    events: u32,
    /// Event bits to put back if a report fails.
    fired: u32,
    data: u64,
    registration: Option<Registration>,
}

/// A watched description under a descriptor number.
pub(super) struct Item {
    epoll: Weak<Epoll>,
    this: Weak<Item>,
    key: Key,
    file: Weak<File>,
    state: Mutex<State>,
    /// On the ready list.
    queued: AtomicBool,
}

impl Item {
    pub(super) fn new(
        epoll: &Arc<Epoll>,
        key: Key,
        file: &Arc<File>,
        events: u32,
        data: u64,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            epoll: Arc::downgrade(epoll),
            this: this.clone(),
            key,
            file: Arc::downgrade(file),
            state: Mutex::new(State {
                events,
                fired: 0,
                data,
                registration: None,
            }),
            queued: AtomicBool::new(false),
        })
    }
    pub(super) const fn key(&self) -> Key {
        self.key
    }
    pub(super) fn file(&self) -> Option<Arc<File>> {
        self.file.upgrade()
    }
    pub(super) fn request(&self) -> (u32, u64) {
        let state = self.state.lock();
        (state.events, state.data)
    }
    pub(super) fn set(&self, events: u32, data: u64) {
        let mut state = self.state.lock();
        state.events = events;
        state.data = data;
    }
    pub(super) fn is_exclusive(&self) -> bool {
        self.state.lock().events & EXCLUSIVE != 0
    }
    pub(super) fn is_level(&self) -> bool {
        self.state.lock().events & (EDGE | ONESHOT) == 0
    }
    /// What is waited for; nothing while it is disarmed.
    fn mask(&self) -> Events {
        mask_of(self.state.lock().events)
    }

    /// (Re)registers with the watched file's queue.
    pub(super) fn register(&self, queue: &WaitQueue) {
        let Some(this) = self.this.upgrade() else {
            return;
        };
        let events = self.state.lock().events;
        let exclusive = events & EXCLUSIVE != 0;
        let registration = queue.register_callback(mask_of(events), exclusive, this);
        let old = self.state.lock().registration.replace(registration);
        drop(old);
    }
    pub(super) fn unregister(&self) {
        let old = self.state.lock().registration.take();
        drop(old);
    }
    /// Marks it as on the ready list; false if it was already.
    pub(super) fn set_queued(&self) -> bool {
        !self.queued.swap(true, Ordering::AcqRel)
    }
    /// Marks it as off the ready list; false if it was already.
    pub(super) fn take_queued(&self) -> bool {
        self.queued.swap(false, Ordering::AcqRel)
    }

    fn ready_events(&self, task: Option<&Task>) -> Events {
        let mask = self.mask();
        match self.file() {
            Some(file) if !mask.is_empty() => file.readiness(task) & mask,
            _ => Events::empty(),
        }
    }
    pub(super) fn is_ready(&self, task: Option<&Task>) -> bool {
        !self.ready_events(task).is_empty()
    }
    /// What is ready and the guest's data, if anything is; disarms a one-shot.
    pub(super) fn report(&self, task: Option<&Task>) -> Option<(Events, u64)> {
        let events = self.ready_events(task);
        if events.is_empty() {
            return None;
        }
        let mut state = self.state.lock();
        if state.events & ONESHOT != 0 {
            state.fired = state.events & !PRIVATE;
            state.events &= PRIVATE;
        }
        Some((events, state.data))
    }
    /// Takes a report back.
    pub(super) fn rearm(&self) {
        let mut state = self.state.lock();
        if state.events & ONESHOT != 0 {
            state.events |= state.fired;
        }
    }
    fn closed(&self) {
        if let (Some(epoll), Some(this)) = (self.epoll.upgrade(), self.this.upgrade()) {
            epoll.closed(&this);
        }
    }
}

fn mask_of(events: u32) -> Events {
    let wanted = Events::from_bits_truncate(events & !PRIVATE);
    if events & !PRIVATE == 0 && events & ONESHOT != 0 {
        // A one-shot that has fired reports nothing, not even errors.
        return Events::empty();
    }
    wanted | Events::ALWAYS
}

impl WaitCallback for Item {
    fn notified(&self, events: Events) -> bool {
        let (Some(epoll), Some(this)) = (self.epoll.upgrade(), self.this.upgrade()) else {
            return false;
        };
        if !self.mask().intersects(events) {
            return false;
        }
        let somebody_waits = !epoll.queue.is_empty();
        epoll.enqueue(&this);
        somebody_waits
    }
}

/// The epoll watches of a description; dropping it (with its file) ends them.
#[derive(Default)]
pub struct FileWatches(Mutex<Vec<Weak<Item>>>);

impl FileWatches {
    pub(super) fn add(&self, item: &Arc<Item>) {
        let mut items = self.0.lock();
        items.retain(|other| other.strong_count() > 0);
        items.push(Arc::downgrade(item));
    }
    pub(super) fn remove(&self, item: &Arc<Item>) {
        let mut items = self.0.lock();
        items.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(item)));
    }
}

impl Drop for FileWatches {
    fn drop(&mut self) {
        for item in std::mem::take(self.0.get_mut()) {
            if let Some(item) = item.upgrade() {
                item.closed();
            }
        }
    }
}
