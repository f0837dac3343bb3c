//! A seccomp listener, its receiver thread and the threads that it hears.
//!
//! A spawned process and everything cloned or forked from it share one listener; the receiver dispatches each notification to its thread's state
//! machine, wakes that thread's task and lets the executor run it here and now.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use abi::Errno;
use parking_lot::Mutex;

use super::cloning::PendingClone;
use super::core::Core;
use super::pace::Pace;
use super::thread::Thread;
use crate::host::{process, seccomp};
use crate::stub;

type ByTid = BuildHasherDefault<TidHasher>;

/// Thread ids as hashes: the host deals them out one after the other, and each notification looks one up.
#[derive(Default)]
struct TidHasher(u64);

impl Hasher for TidHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_i32(&mut self, tid: i32) {
        // Spread to the high bits too, which tables look at first.
        self.0 = u64::from(tid.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// See the module.
pub(super) struct Listener {
    fd: OwnedFd,
    threads: Mutex<HashMap<i32, Arc<Thread>, ByTid>>,
    /// Clones that were ordered and whose child has not shown itself, by nonce.
    pending: Mutex<HashMap<u64, Arc<PendingClone>>>,
    /// Threads that run or may run soon.
    runnable: AtomicUsize,
    /// Threads that the kernel says are blocked.
    sleepers: AtomicUsize,
    /// Those of them that are parked: not in the kernel's list of pending notifications.
    shelved: AtomicUsize,
    /// `None` if the host knows one mode only.
    pace: Option<Mutex<Pace>>,
    /// The mode as it is, to be looked at without the lock.
    synchronous: AtomicBool,
}

impl Listener {
    pub(super) fn new(fd: OwnedFd) -> Arc<Self> {
        let synchronous = seccomp::set_synchronous(fd.as_fd(), true).is_ok();
        Arc::new(Self {
            pace: synchronous.then(|| Mutex::new(Pace::new(true))),
            synchronous: AtomicBool::new(synchronous),
            fd,
            threads: Mutex::default(),
            pending: Mutex::default(),
            runnable: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            shelved: AtomicUsize::new(0),
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Ends call `id` with `value`. A dead caller is the reaper's business.
    pub(super) fn reply(&self, id: u64, value: i64) {
        let _ = seccomp::reply(self.fd(), id, value);
    }

    pub(super) fn insert(&self, thread: Arc<Thread>) {
        self.threads.lock().insert(thread.tid, thread);
    }

    /// Forgets `thread`, unless its id already names another.
    pub(super) fn remove(&self, thread: &Thread) {
        let mut threads = self.threads.lock();
        if threads
            .get(&thread.tid)
            .is_some_and(|known| std::ptr::eq(&raw const **known, thread))
        {
            threads.remove(&thread.tid);
        }
    }

    pub(super) fn expect(&self, nonce: u64, clone: Arc<PendingClone>) {
        self.pending.lock().insert(nonce, clone);
    }

    /// Withdraws an expected clone: its child is killed should it come.
    pub(super) fn withdraw(&self, nonce: u64) -> Option<Arc<PendingClone>> {
        self.pending.lock().remove(&nonce)
    }

    /// Counts a thread that runs or may run soon, or no longer does.
    pub(super) fn count_runnable(&self, runs: bool) {
        count(&self.runnable, runs);
        // Before the thread that makes the difference is let run.
        self.choose_mode(|_| {});
    }

    /// Threads that run or may run soon.
    pub(super) fn runnable(&self) -> usize {
        self.runnable.load(Ordering::Relaxed)
    }

    /// Changes the mode of wake-ups if the number of running threads or their pace asks for it.
    fn choose_mode(&self, note: impl FnOnce(&mut Pace)) {
        let runnable = self.runnable.load(Ordering::Relaxed);
        let Some(pace) = &self.pace else { return };
        if runnable <= 1 && self.synchronous.load(Ordering::Relaxed) {
            return;
        }
        let mut pace = pace.lock();
        note(&mut pace);
        if let Some(synchronous) = pace.change(runnable) {
            // It worked once, and nothing but the flag is looked at.
            let _ = seccomp::set_synchronous(self.fd(), synchronous);
            self.synchronous.store(synchronous, Ordering::Relaxed);
        }
    }

    /// Counts a thread that the kernel says is blocked, or no longer. Returns how many there are.
    pub(super) fn count_sleeper(&self, blocked: bool) -> usize {
        count(&self.sleepers, blocked)
    }

    /// Counts a sleeper that is parked, or no longer.
    pub(super) fn count_shelved(&self, shelved: bool) {
        count(&self.shelved, shelved);
    }

    /// Sleepers in the kernel's list, or nearly so: the counts are read one after the other.
    pub(super) fn unshelved(&self) -> usize {
        let sleepers = self.sleepers.load(Ordering::Relaxed);
        sleepers.saturating_sub(self.shelved.load(Ordering::Relaxed))
    }

    /// Receives until no process with this filter is left.
    pub(super) fn serve(&self, core: &Arc<Core>) {
        core.worker.enter();
        let _guard = KillOnPanic(self);
        // Before Linux 6.11 a receiver is not told that the last process has gone unless it polls.
        let poll_first = core.poll_before_receive;
        loop {
            if poll_first && self.is_dead(-1) {
                return;
            }
            match seccomp::receive(self.fd()) {
                Ok(notification) => {
                    self.choose_mode(|pace| pace.note(Instant::now()));
                    self.dispatch(core, &notification);
                    core.worker.run_ready();
                }
                Err(Errno::ENOENT | Errno::EINTR) => {
                    if self.is_dead(0) {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    fn is_dead(&self, timeout_ms: i32) -> bool {
        match seccomp::poll_events(self.fd(), timeout_ms) {
            Ok(events) => events & libc::POLLIN == 0 && events & libc::POLLHUP != 0,
            Err(_) => false,
        }
    }

    fn dispatch(&self, core: &Arc<Core>, notification: &seccomp::Notification) {
        let tid = notification.pid.cast_signed();
        let data = &notification.data;
        let thread = self.threads.lock().get(&tid).cloned();
        let is_child = data.nr.cast_unsigned() == stub::DOORBELL
            && data.ip == stub::doorbell_ip()
            && data.args[0] == stub::KIND_CHILD;
        if is_child {
            // A thread that is known and alive pretends to be new. (One that is dead left its id to this one.)
            if let Some(thread) = thread.filter(|thread| !thread.is_gone()) {
                thread.process.kill();
                return;
            }
            match self.withdraw(data.args[2]) {
                Some(clone) => clone.child_arrived(core, self, notification),
                None => core.reaper.kill_stranger(tid),
            }
            return;
        }
        match thread {
            Some(thread) => {
                if let Some(waker) = thread.on_notification(notification) {
                    waker.wake();
                }
            }
            // Never introduced itself.
            None => drop(process::kill_pid(tid)),
        }
    }
}

/// One more or one less; returns how many there are then.
fn count(counter: &AtomicUsize, more: bool) -> usize {
    if more {
        counter.fetch_add(1, Ordering::Relaxed) + 1
    } else {
        let before = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            count.checked_sub(1)
        });
        before.map_or(0, |before| before - 1)
    }
}

/// A receiver that panics leaves nobody to hear its threads: they must not wait for ever.
struct KillOnPanic<'a>(&'a Listener);

impl Drop for KillOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for thread in self.0.threads.lock().values() {
                thread.process.kill();
            }
        }
    }
}
