//! A lock that is awaited, for what lasts across several stops of a guest thread.

use std::future::poll_fn;
use std::task::{Poll, Waker};

use parking_lot::Mutex;

/// Locked or not, and who wants it. Fair enough: a release wakes everyone that waits (rarely more than one).
#[derive(Default)]
pub(super) struct QueueLock(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    held: bool,
    waiters: Vec<Waker>,
}

/// Releases on drop.
pub(super) struct QueueGuard<'a>(&'a QueueLock);

impl QueueLock {
    pub(super) async fn lock(&self) -> QueueGuard<'_> {
        poll_fn(|cx| {
            let mut inner = self.0.lock();
            if inner.held {
                inner.waiters.push(cx.waker().clone());
                return Poll::Pending;
            }
            inner.held = true;
            Poll::Ready(())
        })
        .await;
        QueueGuard(self)
    }
}

impl Drop for QueueGuard<'_> {
    fn drop(&mut self) {
        let waiters = {
            let mut inner = self.0.0.lock();
            inner.held = false;
            std::mem::take(&mut inner.waiters)
        };
        waiters.into_iter().for_each(Waker::wake);
    }
}
