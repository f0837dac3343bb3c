//! The executor: guest threads are async tasks, polled by whichever thread has news for them.
//!
//! - [`Cell`]: one task's future and its scheduling state.
//! - [`Executor`]: hands woken tasks to the thread that woke them if that is a *worker* (a receiver of the platform or the reactor), else to the
//!   reactor. Implements [`platform::Worker`].
//! - [`reactor`]: the one thread with timers and host descriptors.
//!
//! A worker's ready list is thread-local: waking costs no lock and no switch. Lock order: a cell's future lock is outermost; wakers may be called
//! under any lock, since waking only pushes.

mod cell;
pub mod reactor;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

pub use cell::Cell;
pub use reactor::Reactor;

thread_local! {
    static READY: RefCell<Option<VecDeque<Arc<Cell>>>> = const { RefCell::new(None) };
}

/// Spawns tasks and is the platform's [`platform::Worker`].
#[derive(Clone)]
pub struct Executor {
    reactor: Arc<Reactor>,
}

impl Executor {
    /// An executor whose stray wake-ups go to `reactor`.
    #[must_use]
    pub fn new(reactor: Arc<Reactor>) -> Self {
        Self { reactor }
    }

    /// Starts a task: it is polled soon, on this thread if it is a worker.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let cell = Cell::new(Box::pin(future), self.reactor.clone());
        std::task::Waker::from(cell).wake();
    }
}

impl platform::Worker for Executor {
    fn enter(&self) {
        enter_worker();
    }

    fn run_ready(&self) {
        run_ready();
    }
}

/// Makes the calling thread a worker: what it wakes, it polls.
pub fn enter_worker() {
    READY.with_borrow_mut(|ready| {
        ready.get_or_insert_with(VecDeque::new);
    });
}

/// Polls all tasks that were woken on this thread until none is left.
pub fn run_ready() {
    loop {
        let next = READY.with_borrow_mut(|ready| ready.as_mut().and_then(VecDeque::pop_front));
        match next {
            Some(cell) => cell.poll_once(),
            None => break,
        }
    }
}

/// Queues a woken cell: on this thread if it is a worker, else with the reactor.
fn schedule(cell: Arc<Cell>, reactor: &Reactor) {
    let stray = READY.with_borrow_mut(|ready| match ready {
        Some(queue) => {
            queue.push_back(cell);
            None
        }
        None => Some(cell),
    });
    if let Some(cell) = stray {
        reactor.inject(cell);
    }
}
