//! Contexts of asynchronous I/O (`io_setup(2)`): completed operations wait in them to be collected.
//!
//! Operations are carried out as they are submitted, as Linux does with buffered files. Lock order: a map's table → a context's events (leaves).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::error::{Errno, Result};
use crate::wait::{Events, WaitQueue};

/// Most operations that one context may hold (`aio_max_nr`).
pub const MAX_EVENTS: u32 = 65536;
/// Most contexts of one memory map: each also takes a page of it.
const MAX_CONTEXTS: usize = 1024;

/// `struct io_event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// `aio_data` of the operation.
    pub data: u64,
    /// Address of its `struct iocb`.
    pub object: u64,
    /// What it returned.
    pub result: i64,
}

/// One context.
pub struct Context {
    capacity: usize,
    events: Mutex<VecDeque<Completion>>,
    destroyed: AtomicBool,
    /// Notified when an operation completes or the context is destroyed.
    pub queue: WaitQueue,
}

impl Context {
    /// For this many operations that nobody has collected.
    #[must_use]
    pub fn new(capacity: u32) -> Arc<Self> {
        Arc::new(Self {
            capacity: capacity as usize,
            events: Mutex::default(),
            destroyed: AtomicBool::new(false),
            queue: WaitQueue::new(),
        })
    }
    /// `EAGAIN` when it can take no more operations.
    pub fn check_room(&self) -> Result<()> {
        if self.events.lock().len() < self.capacity {
            Ok(())
        } else {
            Err(Errno::EAGAIN)
        }
    }
    /// An operation is done.
    pub fn complete(&self, completion: Completion) {
        self.events.lock().push_back(completion);
        self.queue.notify(Events::IN);
    }
    /// Takes up to `most` completions if there are at least `least`: `EAGAIN` if not, `EINVAL` once destroyed.
    pub fn take(&self, least: usize, most: usize) -> Result<Vec<Completion>> {
        if self.destroyed.load(Ordering::SeqCst) {
            return Err(Errno::EINVAL);
        }
        let mut events = self.events.lock();
        if events.len() < least {
            return Err(Errno::EAGAIN);
        }
        let n = events.len().min(most);
        Ok(events.drain(..n).collect())
    }
    /// Puts completions back that could not be handed over.
    pub fn put_back(&self, completions: &[Completion]) {
        let mut events = self.events.lock();
        for completion in completions.iter().rev() {
            events.push_front(*completion);
        }
    }
}

/// The contexts of a memory map, by id: the address of their page.
#[derive(Default)]
pub struct Contexts(Mutex<HashMap<u64, Arc<Context>>>);

impl Contexts {
    /// Enters a context: `EAGAIN` if there are too many.
    pub fn insert(&self, id: u64, context: Arc<Context>) -> Result<()> {
        let mut contexts = self.0.lock();
        if contexts.len() >= MAX_CONTEXTS {
            return Err(Errno::EAGAIN);
        }
        contexts.insert(id, context);
        Ok(())
    }
    /// The context with this id: `EINVAL` if there is none.
    pub fn get(&self, id: u64) -> Result<Arc<Context>> {
        self.0.lock().get(&id).cloned().ok_or(Errno::EINVAL)
    }
    /// Takes a context out; those who wait for it are told.
    pub fn remove(&self, id: u64) -> Result<()> {
        let context = self.0.lock().remove(&id).ok_or(Errno::EINVAL)?;
        context.destroyed.store(true, Ordering::SeqCst);
        context.queue.notify(Events::IN);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(data: u64) -> Completion {
        Completion {
            data,
            object: 0,
            result: 0,
        }
    }

    #[test]
    fn completions_come_in_order_and_bounded() {
        let context = Context::new(2);
        assert_eq!(context.take(1, 4), Err(Errno::EAGAIN));
        context.complete(done(1));
        assert_eq!(context.check_room(), Ok(()));
        context.complete(done(2));
        assert_eq!(context.check_room(), Err(Errno::EAGAIN));
        assert_eq!(context.take(1, 1), Ok(vec![done(1)]));
        context.put_back(&[done(1)]);
        assert_eq!(context.take(2, 9), Ok(vec![done(1), done(2)]));
        assert_eq!(context.take(0, 9), Ok(vec![]));
    }

    #[test]
    fn a_context_is_gone_once_removed() {
        let contexts = Contexts::default();
        let context = Context::new(1);
        contexts.insert(5, context.clone()).unwrap();
        contexts.remove(5).unwrap();
        assert_eq!(context.take(0, 1), Err(Errno::EINVAL));
        assert!(contexts.get(5).is_err() && contexts.remove(5).is_err());
    }
}
