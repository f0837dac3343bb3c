//! Parking: a thread that sleeps long in a call is taken out of the listener's list of pending notifications, which the host kernel scans.
//!
//! The sleeper is kicked and its call ended with a dummy value; in the handler its stub waits on the futex of its slot. The answer, when it comes,
//! goes into the saved registers. Nobody outside notices, but that each sleeper costs two more stops. So it is done only when a listener has more
//! than [`MANY`] sleepers, and only to those that sleep longer than [`LONG`]; at once where [`TOO_MANY`] wait in the list.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::thread::{Phase, State, Thread};
use crate::api::Stop;
use crate::host::seccomp::Notification;
use crate::stub;

/// Sleepers of one listener that stay where they are.
const MANY: usize = 32;
/// How long a sleeper stays where it is at least.
const LONG: Duration = Duration::from_millis(200);

/// Sleepers in the kernel's list with which looking through it costs each call more (65 ns a sleeper here) than a sleeper's two stops.
const TOO_MANY: usize = 192;

/// What is to be done when a parked thread's stub rings.
#[derive(Clone, Copy, Default)]
pub(super) struct Shelf {
    /// The answer to its call.
    answer: Option<i64>,
    /// Stop it fully then.
    stop: bool,
}

impl Thread {
    /// See `GuestThread::set_blocked`.
    pub(super) fn set_blocked(self: &Arc<Self>, blocked: bool) {
        let mut state = self.state();
        if state.blocked == blocked {
            return;
        }
        state.blocked = blocked;
        self.count_runnable(&mut state);
        let sleepers = self.process.listener.count_sleeper(blocked);
        state.asleep_since = None;
        if blocked && sleepers > MANY && matches!(state.phase, Phase::Light(_)) {
            let now = Instant::now();
            if self.process.listener.unshelved() > TOO_MANY {
                state.asleep_since = now.checked_sub(LONG);
                self.shelve_if_due(&mut state, now);
            } else {
                state.asleep_since = Some(now);
                self.hold_to_deadline(&mut state);
            }
        }
    }

    /// Parks the thread if it is due.
    pub(super) fn shelve_if_due(self: &Arc<Self>, state: &mut State, now: Instant) {
        let due = state
            .asleep_since
            .is_some_and(|since| now.saturating_duration_since(since) >= LONG);
        let Phase::Light(id) = state.phase else {
            return;
        };
        if !due || state.kicked || state.exited || state.stop.is_some() {
            return;
        }
        state.asleep_since = None;
        self.kick_locked(state);
        if state.kicked {
            state.phase = Phase::Shelving(Shelf::default());
            self.note_shelved(state, true);
            self.reply(id, 0);
        }
    }

    /// Keeps the listener's count of sleepers that are not in the kernel's list.
    pub(super) fn note_shelved(&self, state: &mut State, shelved: bool) {
        if state.shelved != shelved {
            state.shelved = shelved;
            self.process.listener.count_shelved(shelved);
        }
    }

    /// Its stub rings: on the way to the shelf, or woken from it. The frame is loaded, the phase is [`Phase::Full`].
    pub(super) fn settle(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        id: u64,
        shelf: Shelf,
    ) -> Option<Waker> {
        if state.exited {
            self.note_shelved(&mut state, false);
            self.leave(state);
            return None;
        }
        let Some(answer) = shelf.answer else {
            self.slot.set_park_word(0);
            state.phase = Phase::Shelved(shelf);
            drop(state);
            self.reply(id, stub::REPLY_PARK);
            return None;
        };
        self.note_shelved(&mut state, false);
        state.registers.rax = answer.cast_unsigned();
        state.dirty = true;
        if shelf.stop {
            state.stop = Some(Stop::Kicked);
            return state.waker.take();
        }
        self.resume_locked(state);
        None
    }

    /// A doorbell of a parked thread.
    pub(super) fn unparked(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        notification: &Notification,
    ) -> Option<Waker> {
        let Phase::Shelved(shelf) = state.phase else {
            return None;
        };
        if notification.data.args[0] != stub::KIND_UNPARKED {
            return self.violation();
        }
        state.phase = Phase::Full(notification.id);
        self.settle(state, notification.id, shelf)
    }

    /// Answers a light stop, wherever the thread waits.
    pub(super) fn answer(self: &Arc<Self>, value: i64, stop: bool) {
        let mut state = self.state();
        match &mut state.phase {
            Phase::Light(id) => {
                let id = *id;
                if stop {
                    self.kick_locked(&mut state);
                }
                self.now_running(&mut state);
                drop(state);
                self.reply(id, value);
            }
            Phase::Slot => {
                if stop {
                    self.kick_locked(&mut state);
                }
                self.answer_slot(&mut state, value);
            }
            Phase::Shelving(shelf) | Phase::Shelved(shelf) => {
                shelf.answer = Some(value);
                shelf.stop |= stop;
                if matches!(state.phase, Phase::Shelved(_)) {
                    self.note_told(&mut state);
                    self.slot.set_park_word(1);
                }
            }
            _ => {}
        }
    }

    /// See `GuestThread::kick`.
    pub(super) fn kick(self: &Arc<Self>) {
        let mut state = self.state();
        if state.exited {
            return;
        }
        match &mut state.phase {
            Phase::Shelving(shelf) | Phase::Shelved(shelf) => shelf.stop = true,
            _ => self.kick_locked(&mut state),
        }
    }

    /// Ends a full stop.
    pub(super) fn resume_locked(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let Phase::Full(id) = state.phase else { return };
        if state.exited {
            return;
        }
        if let Some(calls) = state.set_up.take() {
            self.resume_by_set_up(state, calls);
            return;
        }
        if let Some(call) = state.deferred.take() {
            self.resume_by_order(state, call);
            return;
        }
        let reply = if state.dirty {
            let context = super::frame::encode(&state.registers, &state.trap);
            self.slot.write_words(stub::SLOT_REGS, &context);
            stub::REPLY_RESUME_EDITED
        } else {
            stub::REPLY_RESUME
        };
        self.now_running(&mut state);
        drop(state);
        self.reply(id, reply);
    }
}

impl Shelf {
    /// Whether the thread has been told to come back.
    pub(super) fn is_answered(self) -> bool {
        self.answer.is_some()
    }
}
