//! The thread that traces a family of guest processes: one that was spawned and all that were forked from it.
//!
//! The host takes ptrace requests from the attaching thread only. So each family has a thread of its own, which waits for stops, wakes the tasks
//! concerned and runs them itself: on the common path (stop, handler, answer) nothing is handed over. What other threads want of a stopped guest
//! thread comes as a [`Request`] through a queue, and the bell ends the wait.
//!
//! Lock order: `queue` is a leaf. `Thread::state` may be held over ptrace requests and over waits for that thread alone; under it
//! `Process::{files, threads}` and `Space::processes` are taken for a moment. No waker is called with any of them held.

use std::cell::Cell;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::Waker;

use abi::Errno;
use parking_lot::Mutex;

use super::Core;
use super::cloning::Made;
use super::host::{self, Bell, Event};
use super::thread::Thread;
use crate::api::{CloneKind, Gone, HostCall, Registers};

/// What a thread's owner wants of its tracer.
pub(super) enum Request {
    /// The end of a light stop: the value, and whether to stop fully.
    Answer(Arc<Thread>, i64, bool),
    /// The end of a full stop.
    Resume(Arc<Thread>),
    /// The thread's end.
    Leave(Arc<Thread>),
    /// Host calls.
    Order(
        Arc<Thread>,
        Vec<HostCall>,
        Reply<Result<Vec<Result<u64, Errno>>, Gone>>,
    ),
    /// A new thread or process.
    Clone(
        Arc<Thread>,
        CloneOrder,
        Reply<Result<Result<Made, Errno>, Gone>>,
    ),
}

/// What to clone.
#[derive(Clone, Copy)]
pub(super) struct CloneOrder {
    pub(super) kind: CloneKind,
    pub(super) registers: Registers,
    pub(super) tls: Option<u64>,
}

/// Where a request's result goes.
pub(super) struct Reply<T>(Arc<Mutex<(Option<T>, Option<Waker>)>>);

impl<T> Clone for Reply<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Reply<T> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new((None, None))))
    }

    fn set(&self, value: T) -> Option<Waker> {
        let mut slot = self.0.lock();
        slot.0 = Some(value);
        slot.1.take()
    }

    /// Waits for the result.
    pub(super) async fn wait(self) -> T {
        std::future::poll_fn(|cx| {
            let mut slot = self.0.lock();
            match slot.0.take() {
                Some(value) => std::task::Poll::Ready(value),
                None => {
                    slot.1 = Some(cx.waker().clone());
                    std::task::Poll::Pending
                }
            }
        })
        .await
    }
}

thread_local! {
    /// The tracer that this thread is, by address.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// See the module.
pub(super) struct Tracer {
    core: Arc<Core>,
    /// Our end of the socket by which descriptors get to the family.
    socket: OwnedFd,
    bell: Bell,
    queue: Mutex<Queue>,
    threads: Mutex<HashMap<i32, Arc<Thread>>>,
    /// Threads with a stop that may have to be taken off the host's list.
    unsettled: Mutex<Vec<Arc<Thread>>>,
}

#[derive(Default)]
struct Queue {
    requests: Vec<Request>,
    /// Nobody serves it any more.
    ended: bool,
}

impl Tracer {
    pub(super) fn new(core: &Arc<Core>, socket: OwnedFd) -> Arc<Self> {
        Arc::new(Self {
            core: Arc::clone(core),
            socket,
            bell: Bell::new(),
            queue: Mutex::default(),
            threads: Mutex::default(),
            unsettled: Mutex::default(),
        })
    }

    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Knows a new thread from now on.
    pub(super) fn adopt(&self, thread: &Arc<Thread>) {
        self.threads.lock().insert(thread.tid, Arc::clone(thread));
        self.unsettled.lock().push(Arc::clone(thread));
    }

    /// Performs `request`: at once on this tracer's own thread, else soon.
    pub(super) fn submit(&self, request: Request) {
        let waker = if CURRENT.get() == std::ptr::from_ref(self) as usize {
            self.perform(request)
        } else {
            let mut queue = self.queue.lock();
            if queue.ended {
                drop(queue);
                refuse(request)
            } else {
                queue.requests.push(request);
                drop(queue);
                self.bell.ring(self.core.pid);
                None
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn perform(&self, request: Request) -> Option<Waker> {
        match request {
            Request::Answer(thread, value, stop) => thread.answer(value, stop),
            Request::Resume(thread) => thread.resume(),
            Request::Leave(thread) => {
                thread.leave();
                self.unsettled.lock().push(thread);
                None
            }
            Request::Order(thread, calls, reply) => {
                let result = thread.order(&calls);
                self.unsettled.lock().push(thread);
                reply.set(result)
            }
            Request::Clone(thread, order, reply) => {
                let result = thread.make_clone(&order);
                self.unsettled.lock().push(thread);
                reply.set(result)
            }
        }
    }

    /// The rest of the thread's life, once it has attached to its first process.
    pub(super) fn run(&self) {
        CURRENT.set(std::ptr::from_ref(self) as usize);
        let tid = host::hear_the_bell();
        loop {
            self.bell.clear();
            let requests = std::mem::take(&mut self.queue.lock().requests);
            for request in requests {
                if let Some(waker) = self.perform(request) {
                    waker.wake();
                }
            }
            self.core.worker.run_ready();
            let unsettled = std::mem::take(&mut *self.unsettled.lock());
            unsettled.iter().for_each(|thread| thread.settle());
            match self.bell.wait_any(tid) {
                Ok((tid, event)) => self.on_event(tid, event),
                Err(Errno::EINTR) => {}
                // No tracee is left, and none can come: only they clone.
                Err(_) => break,
            }
        }
        let requests = {
            let mut queue = self.queue.lock();
            queue.ended = true;
            std::mem::take(&mut queue.requests)
        };
        for waker in requests.into_iter().filter_map(refuse) {
            waker.wake();
        }
        self.core.worker.run_ready();
        CURRENT.set(0);
    }

    fn on_event(&self, tid: i32, event: Event) {
        let thread = self.threads.lock().get(&tid).map(Arc::clone);
        let waker = match (thread, event) {
            (Some(thread), Event::Stopped(status)) => {
                let waker = thread.on_stop(status);
                self.unsettled.lock().push(thread);
                waker
            }
            (Some(thread), Event::Dead) => {
                self.threads.lock().remove(&tid);
                let waker = thread.mark_gone();
                let leads = thread.tid == thread.process.pid;
                if leads {
                    // Nobody may use the pid once it is free.
                    thread.process.space.remove(&thread.process);
                }
                let used = host::reap(tid);
                if leads {
                    thread.process.remains.tell(used);
                }
                waker
            }
            (None, Event::Stopped(_)) => {
                // The child of a clone whose parent died before it could tell.
                let _ = crate::host::process::kill_pid(tid);
                host::consume_stop(tid);
                None
            }
            (None, Event::Dead) => {
                host::reap(tid);
                None
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Answers a request that comes too late.
fn refuse(request: Request) -> Option<Waker> {
    match request {
        Request::Order(_, _, reply) => reply.set(Err(Gone)),
        Request::Clone(_, _, reply) => reply.set(Err(Gone)),
        Request::Answer(..) | Request::Resume(_) | Request::Leave(_) => None,
    }
}
