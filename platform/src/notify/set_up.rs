//! A fork's child gets its slot: the first thing that it does, by orders on its stub stack.
//!
//! Until then it has its parent's slots, and waits in its first doorbell. If nothing else is ordered of it, it does so on its way into guest code:
//! that saves a stop. A child that cannot is killed.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::thread::{Purpose, RawCall, State, Thread};
use crate::api::Gone;
use crate::host::vm;
use crate::stub;

impl Thread {
    /// Gets the slot and runs guest code with the registers of the stop.
    pub(super) fn resume_by_set_up(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        calls: Vec<RawCall>,
    ) {
        let context = super::frame::encode(&state.registers, &state.trap);
        self.slot.write_words(stub::SLOT_REGS, &context);
        state.setting_up = true;
        // A stop that nobody looked at is over.
        state.stop = None;
        self.start_on_stack(state, calls, Purpose::Last, stub::ORDERS_THEN_RESUME);
    }

    /// Gets the slot before other orders, if it is still to be got.
    pub(super) async fn set_up(self: &Arc<Self>) -> Result<(), Gone> {
        {
            let mut state = self.state();
            let Some(calls) = state.set_up.take() else {
                return Ok(());
            };
            self.start_on_stack(state, calls, Purpose::SetUp, 0);
        }
        self.results().await.map(drop)
    }

    fn start_on_stack(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        calls: Vec<RawCall>,
        purpose: Purpose,
        flags: u64,
    ) {
        let mut bytes = Vec::with_capacity(64 + calls.len() * stub::ORDER_SIZE);
        bytes.extend_from_slice(&(calls.len() as u64 | flags).to_ne_bytes());
        bytes.resize(64, 0);
        for call in &calls {
            call.iter()
                .for_each(|word| bytes.extend_from_slice(&word.to_ne_bytes()));
            bytes.extend_from_slice(&[0; 8]);
        }
        let place = [(stub::stack_base(self.slot.index), bytes.len())];
        // It is the leader of a process that nobody else can reap while it waits here, or it is dead.
        if vm::write(self.tid, &place, &bytes) != Ok(bytes.len()) {
            self.process.kill();
            return;
        }
        let id = self.prepare_orders(&mut state, calls, purpose);
        drop(state);
        if let Some(id) = id {
            self.reply(id, stub::REPLY_ORDERS_ON_STACK);
        }
    }
}
