//! Readiness and waiting.
//!
//! How to block, once and for all: an object that others may wait for owns a [`WaitQueue`]. It never blocks itself; its operations return
//! `EAGAIN` (or what they have). After each change that may help a waiter, it calls [`WaitQueue::notify`] *after* releasing its own locks. A waiter
//! registers first and looks afterwards ([`crate::task::CurrentTask::block_until`] does both), so that no change is missed.
//!
//! Lock order: an object's lock may be held while its queue's lock is taken to register, never the other way; `notify` calls out with no lock held.

use std::sync::{Arc, Weak};
use std::task::Waker;

use bitflags::bitflags;
use parking_lot::Mutex;

bitflags! {
    /// Readiness events with the values of `poll(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Events: u32 {
        /// POLLIN: data to read.
        const IN = 0x001;
        /// POLLPRI: out-of-band data or an exceptional condition.
        const PRI = 0x002;
        /// POLLOUT: room to write.
        const OUT = 0x004;
        /// POLLERR: always reported.
        const ERR = 0x008;
        /// POLLHUP: always reported.
        const HUP = 0x010;
        /// POLLRDNORM.
        const RDNORM = 0x040;
        /// POLLRDBAND.
        const RDBAND = 0x080;
        /// POLLWRNORM.
        const WRNORM = 0x100;
        /// POLLWRBAND.
        const WRBAND = 0x200;
        /// POLLRDHUP: the peer shut down its writing half.
        const RDHUP = 0x2000;
    }
}

impl Events {
    /// What makes a read worth trying.
    pub const READABLE: Self = Self::IN
        .union(Self::RDNORM)
        .union(Self::HUP)
        .union(Self::ERR)
        .union(Self::RDHUP);
    /// What makes a write worth trying.
    pub const WRITABLE: Self = Self::OUT
        .union(Self::WRNORM)
        .union(Self::HUP)
        .union(Self::ERR);
    /// Always reported by poll, asked for or not.
    pub const ALWAYS: Self = Self::ERR.union(Self::HUP);
    /// A regular file's eternal readiness.
    pub const FILE: Self = Self::IN
        .union(Self::OUT)
        .union(Self::RDNORM)
        .union(Self::WRNORM);
}

/// Something that wants to be called when a queue is notified (epoll does).
pub trait WaitCallback: Send + Sync {
    /// `events` are what the notifier says may have become true. Called with no lock of the notifier held. Returns whether an exclusive waiter
    /// takes the wake-up for itself.
    fn notified(&self, events: Events) -> bool;
}

enum Target {
    Waker(Waker),
    Callback(Arc<dyn WaitCallback>),
}

struct Entry {
    id: u64,
    mask: Events,
    exclusive: bool,
    target: Target,
}

#[derive(Default)]
struct Inner {
    next_id: u64,
    entries: Vec<Entry>,
}

/// The tasks and callbacks that wait for one object. Cheap to clone: clones are the same queue.
#[derive(Clone, Default)]
pub struct WaitQueue(Arc<Mutex<Inner>>);

/// A registration; dropping it takes the waiter off the queue.
pub struct Registration {
    queue: Weak<Mutex<Inner>>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.upgrade() {
            let removed = {
                let mut inner = queue.lock();
                inner
                    .entries
                    .iter()
                    .position(|entry| entry.id == self.id)
                    .map(|at| inner.entries.remove(at))
            };
            drop(removed);
        }
    }
}

impl WaitQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn add(&self, mask: Events, exclusive: bool, target: Target) -> Registration {
        let mut inner = self.0.lock();
        inner.next_id += 1;
        let id = inner.next_id;
        inner.entries.push(Entry {
            id,
            mask: mask | Events::ALWAYS,
            exclusive,
            target,
        });
        Registration {
            queue: Arc::downgrade(&self.0),
            id,
        }
    }

    /// Wakes `waker` at each notification that meets `mask` until the registration is dropped.
    #[must_use]
    pub fn register_waker(&self, mask: Events, waker: Waker) -> Registration {
        self.add(mask, false, Target::Waker(waker))
    }

    /// Like [`WaitQueue::register_waker`], but a notification wakes only one exclusive waiter (accept, flock …).
    #[must_use]
    pub fn register_exclusive(&self, mask: Events, waker: Waker) -> Registration {
        self.add(mask, true, Target::Waker(waker))
    }

    /// Calls `callback` at each notification that meets `mask` until the registration is dropped.
    #[must_use]
    pub fn register_callback(
        &self,
        mask: Events,
        exclusive: bool,
        callback: Arc<dyn WaitCallback>,
    ) -> Registration {
        self.add(mask, exclusive, Target::Callback(callback))
    }

    /// Adds this queue to a list of queues to notify, unless it is there already.
    pub fn note_in(&self, list: &mut Vec<Self>) {
        if !list.iter().any(|other| Arc::ptr_eq(&other.0, &self.0)) {
            list.push(self.clone());
        }
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lock().entries.is_empty()
    }

    /// Tells the waiters that `events` may have become true. Call it after releasing the object's locks.
    pub fn notify(&self, events: Events) {
        enum Call {
            Wake(Waker),
            Run(Arc<dyn WaitCallback>, bool),
        }
        let calls: Vec<Call> = {
            let inner = self.0.lock();
            let mut taken = false;
            inner
                .entries
                .iter()
                .filter(|entry| entry.mask.intersects(events))
                .filter_map(|entry| match &entry.target {
                    Target::Waker(_) if entry.exclusive && taken => None,
                    Target::Waker(waker) => {
                        taken |= entry.exclusive;
                        Some(Call::Wake(waker.clone()))
                    }
                    Target::Callback(callback) => {
                        Some(Call::Run(callback.clone(), entry.exclusive))
                    }
                })
                .collect()
        };
        let mut taken = false;
        for call in calls {
            match call {
                Call::Wake(waker) => waker.wake(),
                Call::Run(_, true) if taken => {}
                Call::Run(callback, exclusive) => taken |= callback.notified(events) && exclusive,
            }
        }
    }
}
