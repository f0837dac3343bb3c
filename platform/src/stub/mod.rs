//! The stub and the layout of everything of ours in a guest's address space.
//!
//! From [`crate::GUEST_TOP`] on: one page of stub text, the template's control pages (in the template only), a page of *slot* and 32 KiB of
//! *stub stack* per thread, by slot index. Slots are shared with the platform; stacks are the process's own. The guest can write both: whatever
//! is read from them is input.

use std::arch::global_asm;

/// Where the stub's text lies, one page.
pub const TEXT: u64 = 0x7fff_0000_0000;
/// Where the template sees its control pages.
pub const CONTROL: u64 = 0x7fff_0010_0000;
/// Bytes of control pages.
pub const CONTROL_SIZE: u64 = 0x4000;
/// Address of slot 0.
pub const SLOTS: u64 = 0x7fff_1000_0000;
/// Bytes of a slot.
pub const SLOT_SIZE: u64 = 4096;
/// Most slots of an address space.
pub const SLOT_MAX: usize = 65_536;
/// Address of the stub stack of slot 0.
pub const STACKS: u64 = 0x7fff_4000_0000;
const STACK_SHIFT: u64 = 15;
/// Bytes of a stub stack. An XSAVE frame with AVX-512 takes about 3 KiB, with AMX 11 KiB.
pub const STACK_SIZE: u64 = 1 << STACK_SHIFT;
/// Bytes at the low end of a stub stack that a fork child's first orders use.
pub const STACK_RESERVED: u64 = 1024;
/// First byte of the zone that is ours.
pub const ZONE_START: u64 = TEXT;
/// One past the last byte of user addresses.
pub const ZONE_END: u64 = 0x7fff_ffff_f000;

/// In a slot: result of making the listener plus one, a futex.
pub const SLOT_READY: usize = 0x8;
/// In a slot: the futex that a parked thread waits on.
pub const SLOT_PARK: usize = 0x10;
/// In a slot: FS base at the stop.
pub const SLOT_FS: usize = 0x20;
/// In a slot: GS base at the stop.
pub const SLOT_GS: usize = 0x28;
/// In a slot: the sigcontext's 23 registers and its fpstate pointer.
pub const SLOT_REGS: usize = 0x40;
/// In a slot: the first 48 bytes of the siginfo.
pub const SLOT_INFO: usize = 0x100;
/// In a slot: a list of orders.
pub const SLOT_ORDERS: usize = 0x200;
/// In the count of a list of orders: run on if all succeed.
pub const ORDERS_THEN_RESUME: u64 = 1 << 32;
/// In a slot: the call slot of the fast path (72 bytes, see `notify::fast`).
pub const SLOT_CALL: usize = 0xc00;
/// Most orders of a list.
pub const ORDERS_MAX: usize = 32;
/// Bytes of one order: number, six arguments, result.
pub const ORDER_SIZE: usize = 64;

/// In an `rt_sigframe`: the registers.
pub const FRAME_REGS: u64 = 48;
/// In an `rt_sigframe`: the signal mask.
pub const FRAME_MASK: u64 = 304;
/// Bytes of an `rt_sigframe`.
pub const FRAME_SIZE: u64 = 440;

/// The private call number of the doorbell: below the x32 bit, far above any real call.
pub const DOORBELL: u32 = 0x3fff_f001;
/// Doorbell kind: orders done; second argument is how many were made, third the last result. Lower kinds are signal numbers.
pub const KIND_DONE: u64 = 0x100;
/// Doorbell kind: first sign of a clone's child; second argument is its frame, third its nonce.
pub const KIND_CHILD: u64 = 0x101;
/// Doorbell kind: the futex of a parked thread was woken.
pub const KIND_UNPARKED: u64 = 0x102;
/// Reply: run on.
pub const REPLY_RESUME: i64 = 1;
/// Reply: copy the slot's registers into the frame, run on.
pub const REPLY_RESUME_EDITED: i64 = 2;
/// Reply: execute the slot's orders.
pub const REPLY_ORDERS: i64 = 3;
/// Reply: execute the orders at the low end of the stub stack.
pub const REPLY_ORDERS_ON_STACK: i64 = 4;
/// Reply: wait on the slot's futex.
pub const REPLY_PARK: i64 = 5;

/// In the control pages: the frame address of the next process.
pub const CONTROL_FRAME: usize = 0x8;
/// In the control pages: errno of a failed preparation.
pub const CONTROL_ERROR: usize = 0x10;
/// In the control pages: size of the host's XSAVE image with its trailing magic, and the 48 software-reserved bytes, MXCSR mask.
pub const CONTROL_XSTATE: usize = 0x20;
/// In the control pages: the message header, vector, byte and control buffer of `recvmsg`.
pub const CONTROL_MESSAGE: usize = 0x100;
/// In the control pages: calls that the template makes first.
pub const CONTROL_BOOT: usize = 0x200;
/// In the control pages: calls that the template makes per message.
pub const CONTROL_PARENT: usize = 0x500;
/// In the control pages: calls that the new process makes.
pub const CONTROL_CHILD: usize = 0x800;
/// In the control pages: `stack_t`.
pub const CONTROL_ALTSTACK: usize = 0xc00;
/// In the control pages: `sock_fprog`.
pub const CONTROL_FPROG: usize = 0xc40;
/// In the control pages: the guest filter.
pub const CONTROL_FILTER: usize = 0x1000;
/// The template's socket.
pub const CONTROL_FD: i32 = 3;

/// The signal that stops a running guest thread. A standard one: its handler's SA_RESTART makes interrupted calls restart.
pub const KICK: i32 = libc::SIGUSR1;

global_asm!(
    ".pushsection .rodata.runsc_stub, \"a\"",
    include_str!("stub.S"),
    ".popsection",
    STACKS = const STACKS,
    STACK_SHIFT = const STACK_SHIFT,
    STACK_SIZE = const STACK_SIZE,
    SLOTS = const SLOTS,
    SLOT_READY = const SLOT_READY,
    SLOT_PARK = const SLOT_PARK,
    SLOT_FS = const SLOT_FS,
    SLOT_GS = const SLOT_GS,
    SLOT_REGS = const SLOT_REGS,
    SLOT_INFO = const SLOT_INFO,
    SLOT_ORDERS = const SLOT_ORDERS,
    FRAME_REGS = const FRAME_REGS,
    FRAME_MASK = const FRAME_MASK,
    DOORBELL = const DOORBELL,
    KIND_DONE = const KIND_DONE,
    KIND_CHILD = const KIND_CHILD,
    KIND_UNPARKED = const KIND_UNPARKED,
    REPLY_RESUME = const REPLY_RESUME,
    REPLY_RESUME_EDITED = const REPLY_RESUME_EDITED,
    REPLY_ORDERS = const REPLY_ORDERS,
    REPLY_ORDERS_ON_STACK = const REPLY_ORDERS_ON_STACK,
    REPLY_PARK = const REPLY_PARK,
    CONTROL_FRAME = const CONTROL_FRAME,
    CONTROL_MESSAGE = const CONTROL_MESSAGE,
    CONTROL_BOOT = const CONTROL_BOOT,
    CONTROL_PARENT = const CONTROL_PARENT,
    CONTROL_CHILD = const CONTROL_CHILD,
    CONTROL_FD = const CONTROL_FD,
);

unsafe extern "C" {
    static runsc_stub_start: u8;
    static runsc_stub_end: u8;
    static runsc_stub_handler: u8;
    static runsc_stub_template: u8;
    static runsc_stub_doorbell_ip: u8;
    static runsc_stub_sigreturn_ip: u8;
    static runsc_stub_futex_ip: u8;
    static runsc_stub_ready_ip: u8;
    static runsc_stub_order_ip: u8;
    static runsc_stub_fsgsbase: u8;
}

macro_rules! address_in_guest {
    ($($(#[$doc:meta])* $name:ident = $symbol:ident;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name() -> u64 {
            TEXT + (&raw const $symbol as u64 - &raw const runsc_stub_start as u64)
        }
    )*};
}

address_in_guest! {
    /// The signal handler.
    handler = runsc_stub_handler;
    /// Where the template starts, with r13 = [`CONTROL`].
    template = runsc_stub_template;
    /// Address behind the doorbell's call instruction.
    doorbell_ip = runsc_stub_doorbell_ip;
    /// Address behind `rt_sigreturn`.
    sigreturn_ip = runsc_stub_sigreturn_ip;
    /// Address behind the parked thread's `futex`.
    futex_ip = runsc_stub_futex_ip;
    /// Address behind the new process's `futex`.
    ready_ip = runsc_stub_ready_ip;
    /// Address behind the ordered calls' instruction.
    order_ip = runsc_stub_order_ip;
}

/// The stub's bytes, and where in them the flag for `rdfsbase` is.
#[must_use]
pub fn image() -> (&'static [u8], usize) {
    let start = &raw const runsc_stub_start;
    let end = &raw const runsc_stub_end;
    let len = end as usize - start as usize;
    // SAFETY: both symbols delimit the bytes that `global_asm!` placed in read-only data.
    (
        unsafe { std::slice::from_raw_parts(start, len) },
        &raw const runsc_stub_fsgsbase as usize - start as usize,
    )
}

/// First byte of the stub stack of slot `index`.
#[must_use]
pub const fn stack_base(index: usize) -> u64 {
    STACKS + index as u64 * STACK_SIZE
}

/// Address of slot `index`.
#[must_use]
pub const fn slot_address(index: usize) -> u64 {
    SLOTS + index as u64 * SLOT_SIZE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_its_page_and_the_layout_does_not_overlap() {
        let (bytes, flag) = image();
        assert!(bytes.len() <= 4096 && flag < bytes.len());
        for ip in [
            doorbell_ip(),
            sigreturn_ip(),
            order_ip(),
            futex_ip(),
            ready_ip(),
        ] {
            let at = (ip - TEXT) as usize;
            assert_eq!(
                &bytes[at - 2..at],
                &[0x0f, 0x05],
                "each address lies behind a syscall instruction"
            );
        }
        assert!(slot_address(SLOT_MAX) <= STACKS && stack_base(SLOT_MAX) <= ZONE_END);
        const { assert!(SLOT_ORDERS + 64 + ORDERS_MAX * ORDER_SIZE <= SLOT_CALL) };
        assert!(SLOT_CALL + 72 <= SLOT_SIZE as usize);
        assert!(CONTROL_FILTER < CONTROL_SIZE as usize);
    }
}
