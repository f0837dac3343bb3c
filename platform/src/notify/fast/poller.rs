//! The worker that polls the slot, and what a request in it becomes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{ARGUMENTS, CALLS, DONE, FastPath, NUMBER, PATIENCE, REQUEST, RESULT, STATE, TAKEN};
use crate::api::{Stop, SyscallArgs};
use crate::notify::core::Core;
use crate::notify::thread::{Phase, State, Thread};

/// Looks between two readings of the clock.
const LOOKS: u32 = 64;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

impl FastPath {
    /// The body of the worker's thread.
    pub(in crate::notify) fn run(&self, core: &Arc<Core>) {
        core.worker.enter();
        while let Some(thread) = self.next() {
            poll(core, &thread);
        }
    }

    /// Sleeps until somebody is worth polling for; `None` at the end.
    fn next(&self) -> Option<Arc<Thread>> {
        let mut shared = self.shared.lock();
        loop {
            if shared.stopped {
                return None;
            }
            if std::mem::take(&mut shared.wanted)
                && let Some(thread) = shared.thread.as_ref().and_then(std::sync::Weak::upgrade)
            {
                return Some(thread);
            }
            self.wanted.wait(&mut shared);
        }
    }
}

/// Serves `thread`'s slot until it is quiet for [`PATIENCE`], or another thread needs a CPU.
fn poll(core: &Arc<Core>, thread: &Arc<Thread>) {
    let mut until = Instant::now() + PATIENCE;
    loop {
        let mut served = false;
        for _ in 0..LOOKS {
            if thread.has_request() && thread.serve_slot() {
                core.worker.run_ready();
                served = true;
            } else {
                std::hint::spin_loop();
            }
        }
        let now = Instant::now();
        if served {
            until = now + PATIENCE;
        }
        if now > until || thread.process.listener.runnable() > 1 {
            return;
        }
    }
}

impl Thread {
    fn has_request(&self) -> bool {
        self.slot.word(STATE).load(Ordering::Acquire) == REQUEST
    }

    /// Takes the request in the slot, if the thread's state allows it, and wakes the task. `false`: there was none.
    fn serve_slot(self: &Arc<Self>) -> bool {
        let mut state = self.state();
        // A thread that shall stop makes no more calls.
        if !matches!(state.phase, Phase::Running)
            || state.kicked
            || state.gone
            || state.exited
            || state.patched_ip == 0
        {
            return false;
        }
        let taken = self.slot.word(STATE).compare_exchange(
            REQUEST,
            TAKEN,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if taken.is_err() {
            return false;
        }
        let nr = self.slot.read(NUMBER) & 0xffff_ffff;
        let mut args = [0; 6];
        for (index, arg) in args.iter_mut().enumerate() {
            *arg = self.slot.read(ARGUMENTS + index * 8);
        }
        if !CALLS.contains(&nr) {
            // No trampoline of ours asks for that.
            drop(state);
            self.violation();
            return false;
        }
        let call = SyscallArgs {
            nr,
            args,
            ip: state.patched_ip,
            arch: AUDIT_ARCH_X86_64,
        };
        state.phase = Phase::Slot;
        state.call = Some(call);
        state.stop = Some(Stop::Syscall(call));
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Answers the request that the thread waits for.
    pub(in crate::notify) fn answer_slot(self: &Arc<Self>, state: &mut State, value: i64) {
        self.now_running(state);
        self.slot.write_words(RESULT, &[value.cast_unsigned()]);
        self.slot.word(STATE).store(DONE, Ordering::Release);
    }

    /// A plain call came from `ip`.
    pub(in crate::notify) fn note_plain(&self, state: &State, ip: u64) {
        if state.patched_ip == ip
            && ip != 0
            && let Some(fast) = &self.core.fast
        {
            fast.note_plain();
        }
    }
}
