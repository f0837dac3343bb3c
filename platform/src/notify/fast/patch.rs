//! Patching the call site, by orders of the thread itself between two stops that the kernel sees.
//!
//! The call is taken back and arrives again with a full stop; before the kernel sees that, the thread maps the trampoline's page and makes its text
//! writable, the bytes are written from outside, and the thread makes both executable again.

use std::sync::Arc;
use std::task::Waker;

use parking_lot::MutexGuard;

use super::trampoline::{assemble, jump};
use super::{CALLS, STATE};
use crate::api::{GUEST_BOTTOM, Stop, SyscallArgs};
use crate::notify::thread::{Phase, Purpose, RawCall, State, Thread};
use crate::stub;

/// Where the trampoline lies: the low zone, which no mapping of a guest's is in.
const BASE: u64 = GUEST_BOTTOM;
const READ_WRITE: u64 = (libc::PROT_READ | libc::PROT_WRITE) as u64;
const READ_EXEC: u64 = (libc::PROT_READ | libc::PROT_EXEC) as u64;

/// How far a patch has come.
#[derive(Clone, Copy)]
pub(in crate::notify) enum Patch {
    /// The call shall arrive again, with a full stop.
    Wanted,
    /// The pages are being made writable.
    Opening(SyscallArgs),
    /// They are being made executable.
    Closing(SyscallArgs),
}

fn protect(addr: u64, prot: u64) -> RawCall {
    let page = abi::page_floor(addr);
    // A site may lie across two pages.
    let len = abi::page_floor(addr + 6) - page + abi::PAGE_SIZE;
    [libc::SYS_mprotect as u64, page, len, prot, 0, 0, 0]
}

impl Thread {
    /// Whether the site of `call` is to be patched now. Reads its bytes.
    pub(in crate::notify) fn wants_patch(self: &Arc<Self>, call: &SyscallArgs) -> bool {
        let Some(fast) = &self.core.fast else {
            return false;
        };
        let Some(site) = call.ip.checked_sub(7) else {
            return false;
        };
        if !CALLS.contains(&call.nr)
            || site < GUEST_BOTTOM + 4096
            || jump(site, BASE).is_none()
            || !self.process.is_single_threaded()
        {
            return false;
        }
        let mut bytes = [0; 7];
        if self.process.space.read_stub(site, &mut bytes).is_err() {
            return false;
        }
        let [mov, a, b, c, d, call_0, call_1] = bytes;
        [mov, call_0, call_1] == [0xb8, 0x0f, 0x05]
            && u64::from(u32::from_le_bytes([a, b, c, d])) == call.nr
            && fast.attach(Arc::downgrade(self))
    }

    /// The call has arrived with a full stop: begins to patch. `false` leaves all as it is.
    pub(in crate::notify) fn open_patch(
        self: &Arc<Self>,
        state: &mut State,
        call: SyscallArgs,
    ) -> bool {
        if !matches!(state.patch.take(), Some(Patch::Wanted)) {
            return false;
        }
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let map: RawCall = [
            libc::SYS_mmap as u64,
            BASE,
            abi::PAGE_SIZE,
            READ_WRITE,
            flags as u64,
            u64::MAX,
            0,
        ];
        state.patch = Some(Patch::Opening(call));
        self.order_patch(state, vec![map, protect(call.ip - 7, READ_WRITE)]);
        true
    }

    fn order_patch(self: &Arc<Self>, state: &mut State, calls: Vec<RawCall>) {
        self.slot.write_orders(&calls, false);
        // Its own receiver is here: it hears nothing before this is done.
        if let Some(id) = self.prepare_orders(state, calls, Purpose::Patch) {
            self.reply(id, stub::REPLY_ORDERS);
        }
    }

    /// Orders of a patch are done, successfully or not.
    pub(in crate::notify) fn patch_ordered(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        failed: bool,
    ) -> Option<Waker> {
        if state.exited {
            self.leave(state);
            return None;
        }
        let call = match state.patch.take() {
            Some(Patch::Opening(call)) if !failed => {
                let site = call.ip - 7;
                self.write_patch(&call);
                state.patch = Some(Patch::Closing(call));
                let close = vec![protect(BASE, READ_EXEC), protect(site, READ_EXEC)];
                self.order_patch(&mut state, close);
                return None;
            }
            Some(Patch::Opening(call)) => call,
            Some(Patch::Closing(call)) if !failed => {
                state.patched_ip = call.ip;
                call
            }
            // Text that cannot be made executable again.
            _ => return self.violation(),
        };
        debug_assert!(matches!(state.phase, Phase::Full(_)), "orders are done");
        state.stop = Some(Stop::SyscallFull(call));
        state.waker.take()
    }

    /// Writes the trampoline, then the jump to it. What cannot be written leaves the text as it was.
    fn write_patch(&self, call: &SyscallArgs) {
        let slot = stub::slot_address(self.slot.index) + STATE as u64;
        let code = assemble(BASE, call.nr as u32, call.ip, slot);
        let entry = jump(call.ip - 7, BASE);
        if let (Some(code), Some(entry)) = (code, entry)
            && self.process.space.write_stub(BASE, &code).is_ok()
        {
            let _ = self.process.space.write_stub(call.ip - 7, &entry);
        }
    }
}
