//! An order that ends a full stop: the stub makes the call and runs on without a report, unless the call fails.
//!
//! Saves a stop where the kernel knows beforehand what the guest is to see. As with calls that pass, it has happened when the thread shows itself
//! again. A stub that lies about a failure deceives its own books only, as it could with any order.

use std::sync::Arc;

use abi::Errno;
use parking_lot::MutexGuard;
use std::task::Waker;

use super::orders::{file_of, translate};
use super::thread::{Phase, Purpose, RawCall, State, Thread};
use crate::api::{HostCall, Stop};
use crate::host::seccomp::Notification;
use crate::stub;

impl Thread {
    /// See `GuestThread::defer`.
    pub(super) fn defer(&self, call: &HostCall) -> bool {
        let mut state = self.state();
        let begins = state.set_up.is_some();
        if begins || !matches!(state.phase, Phase::Full(_)) || file_of(call).is_some() {
            return false;
        }
        let Ok((call, _)) = translate(call) else {
            return false;
        };
        state.deferred = Some(call);
        true
    }

    /// Ends the full stop by the deferred order `call`.
    pub(super) fn resume_by_order(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        call: RawCall,
    ) {
        // A stop that nobody looked at is over.
        state.stop = None;
        let context = super::frame::encode(&state.registers, &state.trap);
        self.slot.write_words(stub::SLOT_REGS, &context);
        self.slot.write_orders(&[call], true);
        self.start_orders(state, vec![call], Purpose::Last);
    }

    /// The order that was to end the stop has failed: the stop goes on.
    pub(super) fn deferred_failed(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        notification: &Notification,
    ) -> Option<Waker> {
        let result = notification.data.args[2].cast_signed();
        if !(-4095..0).contains(&result) {
            return self.violation();
        }
        state.phase = Phase::Full(notification.id);
        state.dirty = true;
        if state.exited {
            self.leave(state);
            return None;
        }
        state.stop = Some(Stop::DeferredFailed(Errno::from_raw(-result as i32)));
        state.waker.take()
    }
}
