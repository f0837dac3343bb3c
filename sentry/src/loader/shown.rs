//! What the host's tools show of a guest process: its name and its command line, so that `ps` on the host (and an engine's `top`) tells guests apart.
//!
//! [`Shown`] is what the host is told: a name and a `struct prctl_mm_map`, both put below the initial stack pointer, where a program that has just
//! started has nothing. Nothing in the sandbox rests on it.

use crate::mm::Layout;
use crate::platform::HostCall;

/// `TASK_COMM_LEN`.
const NAME_LEN: usize = 16;
/// Both of it, a multiple of 16.
const LEN: usize = 128;

/// The bytes below the stack pointer.
pub(super) struct Shown {
    address: u64,
    bytes: [u8; LEN],
}

impl Shown {
    /// For a program called `comm` whose initial stack pointer is `sp`.
    pub(super) fn new(comm: &[u8], layout: &Layout, sp: u64) -> Self {
        let mut bytes = [0; LEN];
        let comm = comm.get(..NAME_LEN - 1).unwrap_or(comm);
        bytes[..comm.len()].copy_from_slice(comm);
        // The host takes no address below its own lowest one, not even for what a program does not have.
        let or_stack = |start: u64, end: u64| {
            if start == 0 || end < start {
                (sp, sp)
            } else {
                (start, end)
            }
        };
        let code = or_stack(layout.start_code, layout.end_code);
        let data = or_stack(layout.start_data, layout.end_data);
        // `exe_fd` is -1 and the auxiliary vector's size 0: both stay what they are.
        let words = [
            code.0,
            code.1,
            data.0,
            data.1,
            layout.start_brk,
            layout.brk,
            layout.start_stack,
            layout.arg_start,
            layout.arg_end,
            layout.env_start,
            layout.env_end,
            0,
            u64::from(u32::MAX) << 32,
        ];
        for (slot, word) in bytes[NAME_LEN..].chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_ne_bytes());
        }
        Self {
            address: sp - LEN as u64,
            bytes,
        }
    }

    /// Where [`Self::bytes`] belong.
    pub(super) const fn address(&self) -> u64 {
        self.address
    }

    /// What is to be written there.
    pub(super) const fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What to order of the host once it is written.
    pub(super) const fn orders(&self) -> [HostCall; 2] {
        [
            HostCall::SetName { name: self.address },
            HostCall::SetLayout {
                layout: self.address + NAME_LEN as u64,
            },
        ]
    }
}
