//! The thread that watches guest processes by their pidfds, reaps them, and enforces deadlines.
//!
//! Lock order: its own locks are never held while a process's or a thread's are taken.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use abi::Errno;
use parking_lot::Mutex;

use super::process::Process;
use super::thread::Thread;
use crate::api::Worker;
use crate::host::process;
use crate::host::socket::{Epoll, EventFd};

const POKE: u64 = 0;
const TICK: Duration = Duration::from_millis(500);

enum Watched {
    Guest(Arc<Process>),
    /// A process that could not show where it comes from, or died before it did.
    Stranger(OwnedFd),
}

/// See the module.
pub(super) struct Reaper {
    epoll: Epoll,
    poke: EventFd,
    watched: Mutex<Table>,
    /// Threads that were told something and have to obey in time.
    told: Mutex<Vec<Weak<Thread>>>,
    /// The thread wakes by itself every tick.
    ticking: AtomicBool,
    stop: AtomicBool,
}

#[derive(Default)]
struct Table {
    next: u64,
    by_token: HashMap<u64, Watched>,
}

impl Reaper {
    pub(super) fn new() -> Result<Self, Errno> {
        let (epoll, poke) = (Epoll::new()?, EventFd::new()?);
        epoll.add(poke.fd(), POKE)?;
        Ok(Self {
            epoll,
            poke,
            watched: Mutex::default(),
            told: Mutex::default(),
            ticking: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        })
    }

    fn watch(&self, watched: Watched) -> Result<(), Errno> {
        let mut table = self.watched.lock();
        table.next += 1;
        let token = table.next;
        let fd = match &watched {
            Watched::Guest(process) => process.pidfd(),
            Watched::Stranger(pidfd) => pidfd.as_fd(),
        };
        self.epoll.add(fd, token)?;
        table.by_token.insert(token, watched);
        Ok(())
    }

    /// Watches a guest process until it is dead.
    pub(super) fn watch_process(&self, process: &Arc<Process>) -> Result<(), Errno> {
        self.watch(Watched::Guest(Arc::clone(process)))
    }

    /// Kills the process of thread `tid`, which waits in a notification, and reaps it if it is a child that nobody knows.
    pub(super) fn kill_stranger(&self, tid: i32) {
        let _ = process::kill_pid(tid);
        self.reap_orphan(tid);
    }

    /// Reaps `pid` once it is dead, if it is a child of ours that nobody knows. The number may be a guest's claim: nothing is killed by it.
    pub(super) fn reap_orphan(&self, pid: i32) {
        let known = |table: &Table| {
            table
                .by_token
                .values()
                .any(|watched| matches!(watched, Watched::Guest(process) if process.pid == pid))
        };
        if let Ok(pidfd) = process::open_pidfd(pid)
            && process::is_child(pidfd.as_fd())
            && !known(&self.watched.lock())
        {
            let _ = self.watch(Watched::Stranger(pidfd));
        }
    }

    /// Has `thread` looked at every tick until it says that it owes nothing.
    pub(super) fn hold_to_deadline(&self, thread: Weak<Thread>) {
        self.told.lock().push(thread);
        if !self.ticking.swap(true, Ordering::AcqRel) {
            self.poke.signal();
        }
    }

    /// Ends the thread once nothing is watched any more.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.poke.signal();
    }

    /// The body of the thread.
    pub(super) fn run(&self, worker: &dyn Worker) {
        worker.enter();
        let mut looked = Instant::now();
        loop {
            if self.stop.load(Ordering::Acquire) && self.watched.lock().by_token.is_empty() {
                return;
            }
            let timeout = if self.ticking.load(Ordering::Acquire) {
                TICK.as_millis() as i32
            } else {
                -1
            };
            for token in self.epoll.wait(timeout) {
                if token == POKE {
                    self.poke.clear();
                } else {
                    self.bury(token);
                }
            }
            // Once a tick, however many processes end meanwhile: whoever is told something within a tick need not wake this thread for it.
            if looked.elapsed() >= TICK {
                looked = Instant::now();
                self.check_deadlines(looked);
            }
            worker.run_ready();
        }
    }

    fn bury(&self, token: u64) {
        let process = {
            let mut table = self.watched.lock();
            match table.by_token.get(&token) {
                Some(Watched::Guest(process)) => Arc::clone(process),
                Some(Watched::Stranger(pidfd)) => {
                    if matches!(process::reap(pidfd.as_fd()), Ok(true)) {
                        self.epoll.remove(pidfd.as_fd());
                        table.by_token.remove(&token);
                    }
                    return;
                }
                None => return,
            }
        };
        if let Some(wakers) = process.bury() {
            self.epoll.remove(process.pidfd());
            self.watched.lock().by_token.remove(&token);
            wakers.into_iter().for_each(std::task::Waker::wake);
        }
    }

    fn check_deadlines(&self, now: Instant) {
        if !self.ticking.load(Ordering::Acquire) {
            return;
        }
        let told = std::mem::take(&mut *self.told.lock());
        let mut still = Vec::new();
        for weak in told {
            let Some(thread) = weak.upgrade() else {
                continue;
            };
            let (owes, waker) = thread.owes(now);
            if owes {
                still.push(weak);
            }
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        let mut told = self.told.lock();
        told.append(&mut still);
        if told.is_empty() {
            self.ticking.store(false, Ordering::Release);
        }
    }
}
