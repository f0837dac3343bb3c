//! epoll (`epoll(7)`, `fs/eventpoll.c`).
//!
//! - [`Epoll`]: the interest list, the ready list and the queue of those who wait.
//! - [`Item`]: one watched (descriptor, description) pair. It is called back by the watched file's queue, so idle files cost nothing.
//! - [`FileWatches`]: on every [`File`], so that closing it ends its watches.
//! - [`nesting`]: epolls in epolls.
//!
//! Lock order: `interest` → an item's `state` → wait queues; `ready` is a leaf. Readiness is asked for, files are dropped and queues are notified
//! with none of them held.

mod item;
mod nesting;

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use abi::fs::O_RDWR;
use parking_lot::Mutex;

pub use item::FileWatches;
use item::Item;

use crate::error::{Errno, Result};
use crate::fs::anon;
use crate::task::Task;
use crate::vfs::{Fd, File, FileOps};
use crate::wait::{Events, WaitQueue};

/// EPOLLEXCLUSIVE: a notification wakes only one epoll.
pub const EXCLUSIVE: u32 = 1 << 28;
/// EPOLLWAKEUP: accepted, means nothing here.
pub const WAKEUP: u32 = 1 << 29;
/// EPOLLONESHOT: disarmed once reported.
pub const ONESHOT: u32 = 1 << 30;
/// EPOLLET: reported when it becomes ready, not while it is.
pub const EDGE: u32 = 1 << 31;
/// Bits that are no events.
const PRIVATE: u32 = EXCLUSIVE | WAKEUP | ONESHOT | EDGE;

/// What is watched: descriptor number and description.
type Key = (i32, u64);

/// The state behind an epoll file.
pub struct Epoll {
    interest: Mutex<BTreeMap<Key, Arc<Item>>>,
    ready: Mutex<VecDeque<Arc<Item>>>,
    queue: WaitQueue,
    /// Epolls that watch this one.
    parents: Mutex<Vec<Weak<Epoll>>>,
}

/// The operations of an epoll file.
pub struct EpollFile(Arc<Epoll>);

/// A new epoll file.
#[must_use]
pub fn open() -> Arc<File> {
    let epoll = Arc::new(Epoll {
        interest: Mutex::default(),
        ready: Mutex::default(),
        queue: WaitQueue::new(),
        parents: Mutex::default(),
    });
    File::new(None, anon::untyped(), Box::new(EpollFile(epoll)), O_RDWR)
}

/// The epoll behind a file; `EINVAL` for others.
pub fn of_file(file: &File) -> Result<&Arc<Epoll>> {
    file.downcast::<EpollFile>()
        .map(|ops| &ops.0)
        .ok_or(Errno::EINVAL)
}

impl Epoll {
    /// EPOLL_CTL_ADD: `EEXIST`, `EPERM` for files that are always ready, `EINVAL` for itself and for what EPOLLEXCLUSIVE does not go with, `ELOOP`.
    pub fn add(
        self: &Arc<Self>,
        fd: Fd,
        file: &Arc<File>,
        events: u32,
        data: u64,
        task: Option<&Task>,
    ) -> Result<()> {
        let queue = file.wait_queue(task).ok_or(Errno::EPERM)?;
        let inner = of_file(file).ok();
        if inner.is_some_and(|inner| Arc::ptr_eq(inner, self)) {
            return Err(Errno::EINVAL);
        }
        if events & EXCLUSIVE != 0 {
            const ALLOWED: u32 = EXCLUSIVE
                | WAKEUP
                | EDGE
                | Events::IN
                    .union(Events::OUT)
                    .union(Events::ERR)
                    .union(Events::HUP)
                    .bits();
            if inner.is_some() || events & !ALLOWED != 0 {
                return Err(Errno::EINVAL);
            }
        }
        let _nesting = inner.map(|inner| nesting::enter(self, inner)).transpose()?;
        let item = {
            let mut interest = self.interest.lock();
            let key = (fd.0, file.id);
            if interest.contains_key(&key) {
                return Err(Errno::EEXIST);
            }
            let item = Item::new(self, key, file, events, data);
            interest.insert(key, item.clone());
            item
        };
        if let Some(inner) = inner {
            inner.parents.lock().push(Arc::downgrade(self));
        }
        file.watches.add(&item);
        item.register(&queue);
        if item.is_ready(task) {
            self.enqueue(&item);
        }
        Ok(())
    }

    /// EPOLL_CTL_MOD: `ENOENT`; `EINVAL` with EPOLLEXCLUSIVE, asked for or there.
    pub fn modify(
        self: &Arc<Self>,
        fd: Fd,
        file: &Arc<File>,
        events: u32,
        data: u64,
        task: Option<&Task>,
    ) -> Result<()> {
        let item = self
            .interest
            .lock()
            .get(&(fd.0, file.id))
            .cloned()
            .ok_or(Errno::ENOENT)?;
        if events & EXCLUSIVE != 0 || item.is_exclusive() {
            return Err(Errno::EINVAL);
        }
        item.set(events, data);
        if let Some(queue) = file.wait_queue(task) {
            item.register(&queue);
        }
        if item.is_ready(task) {
            self.enqueue(&item);
        }
        Ok(())
    }

    /// EPOLL_CTL_DEL: `ENOENT`.
    pub fn remove(&self, fd: Fd, file: &File) -> Result<()> {
        let removed = self.interest.lock().remove(&(fd.0, file.id));
        let item = removed.ok_or(Errno::ENOENT)?;
        file.watches.remove(&item);
        self.forget(&item);
        if let Ok(inner) = of_file(file) {
            nesting::leave(self, inner);
        }
        Ok(())
    }

    /// The watched description is gone.
    fn closed(&self, item: &Arc<Item>) {
        self.interest.lock().remove(&item.key());
        self.forget(item);
    }

    fn forget(&self, item: &Arc<Item>) {
        item.unregister();
        if item.take_queued() {
            self.ready.lock().retain(|other| !Arc::ptr_eq(other, item));
        }
    }

    /// Puts an item on the ready list and tells who waits.
    fn enqueue(&self, item: &Arc<Item>) {
        if item.set_queued() {
            self.ready.lock().push_back(item.clone());
        }
        self.queue.notify(Events::IN | Events::RDNORM);
    }

    /// Gives up to `max` ready items, as events and data, to `emit`. Level-triggered ones stay on the list, at its end. If `emit` fails, its item
    /// stays ready, and the failure is returned unless something was given before. `EAGAIN` if nothing is ready.
    pub fn collect(
        &self,
        max: usize,
        task: Option<&Task>,
        mut emit: impl FnMut(u32, u64) -> Result<()>,
    ) -> Result<usize> {
        let mut given = 0;
        // Each item that is on the list now is looked at once.
        let mut left = self.ready.lock().len();
        while given < max && left > 0 {
            left -= 1;
            let Some(item) = self.ready.lock().pop_front() else {
                break;
            };
            if !item.take_queued() {
                continue;
            }
            let Some((events, data)) = item.report(task) else {
                continue;
            };
            if let Err(errno) = emit(events.bits(), data) {
                item.rearm();
                self.requeue(&item);
                return if given > 0 { Ok(given) } else { Err(errno) };
            }
            given += 1;
            if item.is_level() {
                self.requeue(&item);
            }
        }
        if given == 0 {
            return Err(Errno::EAGAIN);
        }
        Ok(given)
    }

    fn requeue(&self, item: &Arc<Item>) {
        let watched = self.interest.lock().contains_key(&item.key());
        if watched && item.set_queued() {
            self.ready.lock().push_back(item.clone());
        }
    }

    /// Whether anything is ready; what is not any more is taken off the list.
    fn any_ready(&self, task: Option<&Task>) -> bool {
        loop {
            let Some(item) = self.ready.lock().front().cloned() else {
                return false;
            };
            if item.is_ready(task) {
                return true;
            }
            if item.take_queued() {
                let mut ready = self.ready.lock();
                if let Some(at) = ready.iter().position(|other| Arc::ptr_eq(other, &item)) {
                    ready.remove(at);
                }
            }
            // It may have become ready while it was taken off.
            if item.is_ready(task) {
                self.requeue(&item);
            }
        }
    }

    /// Where `epoll_wait` waits.
    #[must_use]
    pub const fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Descriptor, events and data of everything that is watched, for fdinfo.
    #[must_use]
    pub fn watched(&self) -> Vec<(Fd, u32, u64)> {
        let interest = self.interest.lock();
        interest
            .values()
            .map(|item| {
                let (events, data) = item.request();
                (Fd(item.key().0), events, data)
            })
            .collect()
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        // The watched files' queues hold the items: take them off, they may live long.
        for item in std::mem::take(self.interest.get_mut()).into_values() {
            item.unregister();
        }
    }
}

impl FileOps for EpollFile {
    fn readiness(&self) -> Events {
        if self.0.any_ready(None) {
            Events::IN | Events::RDNORM
        } else {
            Events::empty()
        }
    }
    fn readiness_for(&self, task: &Task) -> Events {
        if self.0.any_ready(Some(task)) {
            Events::IN | Events::RDNORM
        } else {
            Events::empty()
        }
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.queue)
    }
    fn ignores_seeks(&self) -> bool {
        true
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        b"anon_inode:[eventpoll]".to_vec()
    }
}

#[cfg(test)]
mod tests;
