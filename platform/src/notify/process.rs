//! One host process of a guest address space.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;

use abi::Errno;
use parking_lot::Mutex;

use super::listener::Listener;
use super::queue_lock::QueueLock;
use super::space::Space;
use super::thread::Thread;
use crate::api::Schedule;
use crate::host;
use crate::remains::Remains;

/// See the module.
pub(super) struct Process {
    pub(super) pid: i32,
    pidfd: OwnedFd,
    pub(super) listener: Arc<Listener>,
    pub(super) space: Arc<Space>,
    /// Threads that were made and not told to exit.
    live: AtomicUsize,
    threads: Mutex<Threads>,
    pub(super) remains: Arc<Remains>,
    /// Set just before the process is reaped; while this is locked and false, `pid` is still this process.
    reaped: Mutex<bool>,
    /// Held while the descriptor for file mappings is in use.
    pub(super) descriptor: QueueLock,
    /// What that descriptor is.
    pub(super) cached: Mutex<Option<Weak<OwnedFd>>>,
}

#[derive(Default)]
struct Threads {
    by_tid: HashMap<i32, Weak<Thread>>,
    dead: bool,
}

impl Process {
    pub(super) fn new(
        pid: i32,
        pidfd: OwnedFd,
        listener: Arc<Listener>,
        space: Arc<Space>,
    ) -> Arc<Self> {
        let process = Arc::new(Self {
            pid,
            pidfd,
            listener,
            space,
            live: AtomicUsize::new(0),
            threads: Mutex::default(),
            remains: Arc::default(),
            reaped: Mutex::new(false),
            descriptor: QueueLock::default(),
            cached: Mutex::new(None),
        });
        process.space.add_process(Arc::clone(&process));
        process
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// SIGKILL. The reaper does the rest.
    pub(super) fn kill(&self) {
        let _ = host::process::kill(self.pidfd.as_fd());
    }

    /// Counts a new thread. `false`: the process is already dead.
    pub(super) fn add_thread(&self, thread: &Arc<Thread>) -> bool {
        let mut threads = self.threads.lock();
        threads.by_tid.insert(thread.tid, Arc::downgrade(thread));
        self.live.fetch_add(1, Ordering::Relaxed);
        !threads.dead
    }

    /// Whether one thread, and one process, lives in this memory.
    pub(super) fn is_single_threaded(&self) -> bool {
        self.live.load(Ordering::Relaxed) == 1 && self.space.has_one_process()
    }

    /// Discounts a thread that was told to exit; `true` if no other is left.
    pub(super) fn thread_exits(&self) -> bool {
        self.live.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Forgets a thread that is gone.
    pub(super) fn remove_thread(&self, tid: i32) {
        self.threads.lock().by_tid.remove(&tid);
    }

    /// Sends `signal` to one of its threads.
    pub(super) fn signal_thread(&self, tid: i32, signal: i32) -> Result<(), Errno> {
        let reaped = self.reaped.lock();
        if *reaped {
            Err(Errno::ESRCH)
        } else {
            host::process::signal_thread(self.pid, tid, signal)
        }
    }

    /// Passes on how one of its threads is to be scheduled.
    pub(super) fn schedule(&self, tid: i32, how: Schedule) -> Result<(), Errno> {
        let reaped = self.reaped.lock();
        if *reaped || self.threads.lock().dead {
            return Err(Errno::ESRCH);
        }
        host::process::schedule(tid, how, host::process::allowed_cpus())
    }

    /// CPU time of one thread: exact while it is alone, else an equal share of the process's, as Linux tells single threads' clocks only to
    /// their own process.
    pub(super) fn cpu_time_per_thread(&self) -> (u64, u64) {
        let reaped = self.reaped.lock();
        if *reaped {
            return (0, 0);
        }
        let (user, system) = host::process::cpu_times(self.pid);
        let threads = self.live.load(Ordering::Relaxed).max(1) as u64;
        (user / threads, system / threads)
    }

    /// If the process is dead: reaps it, marks its threads gone and returns their wakers. Only the reaper calls this.
    pub(super) fn bury(self: &Arc<Self>) -> Option<Vec<Waker>> {
        // Nobody may use the pid once it is free.
        self.space.remove_process(self);
        {
            let mut reaped = self.reaped.lock();
            match host::process::reap_usage(self.pidfd.as_fd()) {
                Ok(None) | Err(Errno::EINTR) => {
                    drop(reaped);
                    self.space.add_process(Arc::clone(self));
                    return None;
                }
                used => {
                    *reaped = true;
                    self.remains.tell(used.ok().flatten().unwrap_or_default());
                }
            }
        }
        let threads: Vec<_> = {
            let mut threads = self.threads.lock();
            threads.dead = true;
            threads
                .by_tid
                .drain()
                .filter_map(|(_, thread)| thread.upgrade())
                .collect()
        };
        Some(
            threads
                .iter()
                .filter_map(|thread| thread.mark_gone())
                .collect(),
        )
    }
}
