//! The reactor: one thread with timers and host descriptors, and a home for wake-ups from threads that are no workers.
//!
//! It sleeps in `poll(2)`; a wake descriptor (eventfd) interrupts it. Host descriptors are watched level-triggered and one-shot in spirit: a
//! callback runs on each readiness and decides itself. What the reactor wakes it also polls.
//!
//! Lock order: `timers` and `watches` are leaves; callbacks run with neither held.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Cell;
use crate::host;
use crate::wait::Events;

/// What a timer does when it fires.
enum Action {
    Wake(Waker),
    Call(Arc<dyn Fn() + Send + Sync>),
}

struct Watch {
    id: u64,
    fd: Arc<OwnedFd>,
    events: Events,
    callback: Arc<dyn Fn(Events) + Send + Sync>,
}

/// See the module.
pub struct Reactor {
    wake_fd: OwnedFd,
    asleep_until: Mutex<Option<Instant>>,
    injected: Mutex<VecDeque<Arc<Cell>>>,
    timers: Mutex<BTreeMap<(Instant, u64), Action>>,
    watches: Mutex<Vec<Watch>>,
    next_id: AtomicU64,
    stopped: AtomicBool,
}

/// A pending timer; dropping it cancels it.
pub struct Timer {
    reactor: Arc<Reactor>,
    key: (Instant, u64),
}

impl Drop for Timer {
    fn drop(&mut self) {
        let removed = self.reactor.timers.lock().remove(&self.key);
        drop(removed);
    }
}

/// A watched host descriptor; dropping it ends the watch.
pub struct WatchHandle {
    reactor: Arc<Reactor>,
    id: u64,
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        let removed = {
            let mut watches = self.reactor.watches.lock();
            watches
                .iter()
                .position(|watch| watch.id == self.id)
                .map(|at| watches.swap_remove(at))
        };
        drop(removed);
        self.reactor.kick();
    }
}

impl Reactor {
    /// A reactor that does not run yet: see [`Reactor::run`].
    pub fn new() -> crate::error::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            wake_fd: host::eventfd()?,
            asleep_until: Mutex::new(None),
            injected: Mutex::default(),
            timers: Mutex::default(),
            watches: Mutex::default(),
            next_id: AtomicU64::new(1),
            stopped: AtomicBool::new(false),
        }))
    }

    fn kick(&self) {
        host::eventfd_signal(&self.wake_fd);
    }

    /// Ends [`Reactor::run`].
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.kick();
    }

    pub(super) fn inject(&self, cell: Arc<Cell>) {
        self.injected.lock().push_back(cell);
        self.kick();
    }

    fn add_timer(self: &Arc<Self>, at: Instant, action: Action) -> Timer {
        let key = (at, self.next_id.fetch_add(1, Ordering::Relaxed));
        self.timers.lock().insert(key, action);
        // Only a sleep that ends later must be cut short.
        let kick = self.asleep_until.lock().is_some_and(|until| at < until);
        if kick {
            self.kick();
        }
        Timer {
            reactor: self.clone(),
            key,
        }
    }

    /// Wakes `waker` once at `at`.
    pub fn wake_at(self: &Arc<Self>, at: Instant, waker: Waker) -> Timer {
        self.add_timer(at, Action::Wake(waker))
    }

    /// Calls `call` once at `at`, on the reactor's thread; it must not block.
    pub fn call_at(self: &Arc<Self>, at: Instant, call: Arc<dyn Fn() + Send + Sync>) -> Timer {
        self.add_timer(at, Action::Call(call))
    }

    /// Calls `callback` on the reactor's thread each time that `fd` is ready for `events` (level-triggered); it must not block.
    pub fn watch(
        self: &Arc<Self>,
        fd: Arc<OwnedFd>,
        events: Events,
        callback: Arc<dyn Fn(Events) + Send + Sync>,
    ) -> WatchHandle {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.watches.lock().push(Watch {
            id,
            fd,
            events,
            callback,
        });
        self.kick();
        WatchHandle {
            reactor: self.clone(),
            id,
        }
    }

    /// Changes what a watch waits for; empty pauses it.
    pub fn set_watch(&self, handle: &WatchHandle, events: Events) {
        if let Some(watch) = self
            .watches
            .lock()
            .iter_mut()
            .find(|watch| watch.id == handle.id)
        {
            if watch.events == events {
                return;
            }
            watch.events = events;
        }
        self.kick();
    }

    /// Fires what is due now. What becomes due meanwhile waits for the next round: a guest with many short timers must not keep the reactor here.
    fn fire_timers(&self) {
        let now = Instant::now();
        loop {
            let due = {
                let mut timers = self.timers.lock();
                match timers.first_key_value() {
                    Some((key, _)) if key.0 <= now => timers.pop_first().map(|(_, action)| action),
                    _ => None,
                }
            };
            match due {
                Some(Action::Wake(waker)) => waker.wake(),
                Some(Action::Call(call)) => call(),
                None => break,
            }
        }
    }

    /// The reactor's loop; returns after [`Reactor::stop`].
    pub fn run(self: &Arc<Self>) {
        super::enter_worker();
        while !self.stopped.load(Ordering::Acquire) {
            loop {
                let next = self.injected.lock().pop_front();
                let Some(cell) = next else { break };
                cell.poll_once();
            }
            self.fire_timers();
            super::run_ready();
            self.sleep();
        }
    }

    /// Sleeps until a descriptor is ready, a timer is due or somebody kicks; runs the callbacks of ready descriptors.
    fn sleep(&self) {
        let watched: Vec<(RawFd, Events, u64)> = {
            let watches = self.watches.lock();
            watches
                .iter()
                .filter(|w| !w.events.is_empty())
                .map(|w| (w.fd.as_raw_fd(), w.events, w.id))
                .collect()
        };
        let mut fds: Vec<(RawFd, Events)> = Vec::with_capacity(watched.len() + 1);
        fds.push((self.wake_fd.as_raw_fd(), Events::IN));
        fds.extend(watched.iter().map(|(fd, events, _)| (*fd, *events)));
        let until = {
            // Publish the sleep's end before looking at the timers for the last time: a timer added later sees it and kicks.
            let mut asleep = self.asleep_until.lock();
            let first = self.timers.lock().first_key_value().map(|(key, _)| key.0);
            let far = Instant::now() + Duration::from_secs(3600);
            *asleep = Some(first.unwrap_or(far));
            first
        };
        let ready = host::poll(
            &fds,
            until.map(|at| at.saturating_duration_since(Instant::now())),
        );
        *self.asleep_until.lock() = None;
        for (index, events) in ready {
            if index == 0 {
                host::eventfd_drain(&self.wake_fd);
                continue;
            }
            let Some((_, _, id)) = watched.get(index - 1) else {
                continue;
            };
            let callback = self
                .watches
                .lock()
                .iter()
                .find(|watch| watch.id == *id)
                .map(|watch| watch.callback.clone());
            if let Some(callback) = callback {
                callback(events);
            }
        }
    }
}
