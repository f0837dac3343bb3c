//! One task: its future and the state machine that keeps it polled by one thread at a time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

use super::Reactor;

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const RUNNING_WOKEN: u8 = 3;
const DONE: u8 = 4;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A spawned future. States: idle → queued (woken) → running → idle, or queued again if it was woken while it ran.
pub struct Cell {
    state: AtomicU8,
    future: Mutex<Option<Task>>,
    reactor: Arc<Reactor>,
}

impl Cell {
    pub(super) fn new(future: Task, reactor: Arc<Reactor>) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(IDLE),
            future: Mutex::new(Some(future)),
            reactor,
        })
    }

    /// Polls the future once; queues it again if it was woken meanwhile.
    pub(super) fn poll_once(self: Arc<Self>) {
        if self
            .state
            .compare_exchange(QUEUED, RUNNING, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            return;
        }
        // What another task learned on this thread is not fresh for this one.
        crate::vfs::moment::begin();
        let waker = Waker::from(self.clone());
        let mut cx = Context::from_waker(&waker);
        let mut slot = self.future.lock();
        let finished = match slot.as_mut() {
            Some(future) => future.as_mut().poll(&mut cx) == Poll::Ready(()),
            None => true,
        };
        if finished {
            let future = slot.take();
            self.state.store(DONE, Ordering::Release);
            drop(slot);
            drop(future);
            return;
        }
        drop(slot);
        if self
            .state
            .compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            // Woken while it ran.
            self.state.store(QUEUED, Ordering::Release);
            let reactor = self.reactor.clone();
            super::schedule(self, &reactor);
        }
    }
}

impl Wake for Cell {
    fn wake(self: Arc<Self>) {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let next = match state {
                IDLE => QUEUED,
                RUNNING => RUNNING_WOKEN,
                _ => return,
            };
            match self
                .state
                .compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        if state == IDLE {
            let reactor = self.reactor.clone();
            super::schedule(self, &reactor);
        }
    }
}
