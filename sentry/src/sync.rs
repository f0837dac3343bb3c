//! An async mutex, for the few places where order must be kept across host calls of a guest thread (memory-map operations).

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use crate::wait::{Events, Registration, WaitQueue};

/// Mutual exclusion that may be held across `.await`. Fair enough: waiters race for the release. Not interruptible: holders finish promptly or are
/// killed by the platform's deadline.
#[derive(Default)]
pub struct AsyncMutex {
    taken: AtomicBool,
    queue: WaitQueue,
}

/// Releases the mutex when dropped.
pub struct AsyncGuard<'a>(&'a AsyncMutex);

impl AsyncMutex {
    /// Waits for the mutex.
    pub async fn lock(&self) -> AsyncGuard<'_> {
        let mut registration: Option<Registration> = None;
        poll_fn(|cx| {
            if self.try_take() {
                return Poll::Ready(());
            }
            if registration.is_none() {
                registration = Some(self.queue.register_waker(Events::IN, cx.waker().clone()));
                if self.try_take() {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        })
        .await;
        AsyncGuard(self)
    }

    fn try_take(&self) -> bool {
        !self.taken.swap(true, Ordering::Acquire)
    }
}

impl Drop for AsyncGuard<'_> {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
        self.0.queue.notify(Events::IN);
    }
}
