//! Spike of the fast path: one patched call site, one call slot, one worker that polls it. Off unless asked for ([`crate::Config::fast_path`]).
//!
//! The first call that a single-threaded process makes from text of the shape `mov $nr, %eax; syscall`, for one of [`CALLS`], has its `mov` replaced
//! by a jump to a trampoline in the low zone ([`trampoline`]). The trampoline puts number and arguments into the thread's slot, spins for a moment,
//! and takes the answer from there; if nobody polls, it withdraws the request and makes the plain call at its old place. The worker ([`poller`]) polls
//! only after plain calls that came in quick succession, and gives up soon.
//!
//! `docs/adr/0001-fast-path-spike.md` has the figures and what the whole thing will need. Slots are hostile memory: a request is taken once, its words
//! are copied once, and it is worth as much as the same call made plainly, while its thread runs and only then.
//!
//! Lock order: a thread's state, then the worker's `shared`.

mod patch;
mod poller;
mod trampoline;

use std::sync::Weak;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

pub(super) use patch::Patch;

use super::thread::Thread;
use crate::stub;

/// In a call slot: what goes on, see [`REQUEST`] and the others; 0, as in a wiped slot: nothing is asked for.
const STATE: usize = stub::SLOT_CALL;
/// In a call slot: bit 0 is set while somebody uses it.
const CLAIM: usize = STATE + 4;
/// In a call slot: the call's number, 32 bits.
const NUMBER: usize = STATE + 8;
/// In a call slot: six arguments.
const ARGUMENTS: usize = STATE + 16;
/// In a call slot: the answer.
const RESULT: usize = STATE + 64;

/// A call is asked for; the guest may still withdraw it by clearing bit 0.
const REQUEST: u32 = 1;
/// The worker has taken the request.
const TAKEN: u32 = 2;
/// The answer is there.
const DONE: u32 = 4;

/// Calls that never block, never end the thread and are the same for all threads of a process: getpid, getuid, getgid, geteuid, getegid, getppid.
const CALLS: &[u64] = &[39, 102, 104, 107, 108, 110];

/// How long the worker polls after the last call.
const PATIENCE: Duration = Duration::from_micros(50);
/// Plain calls from the patched site that follow each other faster than this wake the worker.
const QUICK: Duration = Duration::from_micros(60);

/// See the module.
#[derive(Default)]
pub(super) struct FastPath {
    shared: Mutex<Shared>,
    wanted: Condvar,
}

#[derive(Default)]
struct Shared {
    /// The thread whose slot is polled. Once there was one there will be no other.
    thread: Option<Weak<Thread>>,
    last_plain: Option<Instant>,
    wanted: bool,
    stopped: bool,
}

impl FastPath {
    /// Takes the only place there is for `thread`.
    fn attach(&self, thread: Weak<Thread>) -> bool {
        let mut shared = self.shared.lock();
        let free = shared.thread.is_none();
        if free {
            shared.thread = Some(thread);
        }
        free
    }

    /// Polls for nobody any more.
    pub(super) fn detach(&self, thread: &Thread) {
        let mut shared = self.shared.lock();
        if shared
            .thread
            .as_ref()
            .is_some_and(|known| std::ptr::eq(known.as_ptr(), thread))
        {
            shared.thread = Some(Weak::new());
        }
    }

    /// The patched site was left by its plain call.
    fn note_plain(&self) {
        let now = Instant::now();
        let mut shared = self.shared.lock();
        let quick = shared
            .last_plain
            .replace(now)
            .is_some_and(|last| now.saturating_duration_since(last) < QUICK);
        if quick && !shared.wanted {
            shared.wanted = true;
            self.wanted.notify_one();
        }
    }

    /// Ends the worker.
    pub(super) fn stop(&self) {
        self.shared.lock().stopped = true;
        self.wanted.notify_one();
    }
}
