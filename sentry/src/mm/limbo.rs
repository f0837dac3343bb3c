//! Limbo: ranges for which a call is in flight that nobody waits for.
//!
//! A call that the platform lets through has happened only when its thread stops again. Until then its range is not given to anybody, and no other
//! thread's operation touches it: who needs it kicks the thread and waits until it shows itself ([`Limbo::settle`]).

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use parking_lot::Mutex;
use platform::GuestThread;

use crate::wait::{Events, WaitQueue};

/// See the module.
#[derive(Default)]
pub(super) struct Limbo {
    entries: Mutex<Vec<Entry>>,
    queue: WaitQueue,
}

struct Entry {
    start: u64,
    end: u64,
    thread: Arc<dyn GuestThread>,
}

impl Entry {
    /// Somebody else's, and in the way of `start..end`.
    fn blocks(&self, start: u64, end: u64, own: &dyn GuestThread) -> bool {
        self.start < end && start < self.end && !is(&self.thread, own)
    }
}

fn is(thread: &Arc<dyn GuestThread>, other: &dyn GuestThread) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(thread), &raw const *other)
}

impl Limbo {
    /// A call of `thread`'s about `start..end` is about to be let through.
    pub(super) fn enter(&self, start: u64, end: u64, thread: Arc<dyn GuestThread>) {
        self.entries.lock().push(Entry { start, end, thread });
    }

    /// `thread` has stopped, or is gone: its call has happened, or never will.
    pub(super) fn leave(&self, thread: &dyn GuestThread) {
        self.entries
            .lock()
            .retain(|entry| !is(&entry.thread, thread));
        self.queue.notify(Events::IN);
    }

    /// The lowest start of what others have in flight in `start..end`.
    pub(super) fn obstacle(&self, start: u64, end: u64, own: &dyn GuestThread) -> Option<u64> {
        let entries = self.entries.lock();
        let blocking = entries.iter().filter(|entry| entry.blocks(start, end, own));
        blocking.map(|entry| entry.start).min()
    }

    /// Waits until no other thread has a call in flight that touches `start..end`. Not interruptible: the platform ends threads that do not stop.
    pub(super) async fn settle(&self, start: u64, end: u64, own: &dyn GuestThread) {
        if self.obstacle(start, end, own).is_none() {
            return;
        }
        let mut registration = None;
        poll_fn(|cx| {
            if registration.is_none() {
                registration = Some(self.queue.register_waker(Events::IN, cx.waker().clone()));
            }
            let blocking: Vec<_> = {
                let entries = self.entries.lock();
                let blocking = entries.iter().filter(|entry| entry.blocks(start, end, own));
                blocking.map(|entry| entry.thread.clone()).collect()
            };
            if blocking.is_empty() {
                return Poll::Ready(());
            }
            for thread in blocking {
                thread.kick();
            }
            Poll::Pending
        })
        .await;
    }
}
