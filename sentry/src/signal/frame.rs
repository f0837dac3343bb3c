//! Signal frames on guest stacks (`arch/x86/kernel/signal_64.c`, `arch/x86/include/uapi/asm/sigcontext.h`).
//!
//! Layout from the frame's address up: return address (8), `ucontext` (304), `siginfo` (128); above it, 64-byte aligned, the extended state.
//! Everything read back is the guest's word: registers are sanitised by the platform, sizes bounded here.

use std::sync::Arc;

use abi::signal::{SigSet, Signal};
use abi::{UserAddr, UserIn, UserOut};
use platform::{GuestThread, Registers};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Action, Disposition, SaFlags, SigInfo};
use crate::error::{Errno, Result};
use crate::mm::UserMemory;
use crate::task::{AltStack, Task};

/// SS_ONSTACK, SS_DISABLE, SS_AUTODISARM of `sigaltstack(2)`.
pub const SS_ONSTACK: u32 = 1;
/// See [`SS_ONSTACK`].
pub const SS_DISABLE: u32 = 2;
/// See [`SS_ONSTACK`].
pub const SS_AUTODISARM: u32 = 1 << 31;

const RED_ZONE: u64 = 128;
const UC_FP_XSTATE: u64 = 1;
const UC_SIGCONTEXT_SS: u64 = 2;
const UC_STRICT_RESTORE_SS: u64 = 4;
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
/// Offset of `struct _fpx_sw_bytes` in the legacy area: magic1, extended_size …
const SW_BYTES: usize = 464;
/// More than any x86 processor's state needs.
const MAX_STATE: usize = 64 << 10;
/// DF, RF and TF are cleared for a handler.
const CLEARED_FLAGS: u64 = (1 << 10) | (1 << 16) | (1 << 8);

/// `struct ucontext` of x86-64.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Ucontext {
    flags: u64,
    link: u64,
    stack_sp: u64,
    stack_flags: u32,
    stack_pad: u32,
    stack_size: u64,
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    eflags: u64,
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    err: u64,
    trapno: u64,
    oldmask: u64,
    cr2: u64,
    fpstate: u64,
    reserved: [u64; 8],
    sigmask: u64,
}

/// What a fault leaves in the frame besides registers.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrapInfo {
    /// Exception vector.
    pub trapno: u64,
    /// Error code.
    pub error: u64,
    /// Faulting address.
    pub cr2: u64,
}

fn on_stack(alt: &AltStack, sp: u64) -> bool {
    alt.flags & SS_AUTODISARM == 0 && sp > alt.base && sp - alt.base <= alt.size
}

/// Flags as `sigaltstack` reports them for a stack pointer.
#[must_use]
pub fn alt_stack_flags(alt: &AltStack, sp: u64) -> u32 {
    if alt.size == 0 {
        SS_DISABLE
    } else if on_stack(alt, sp) {
        SS_ONSTACK | (alt.flags & SS_AUTODISARM)
    } else {
        alt.flags & SS_AUTODISARM
    }
}

/// Makes the thread run a handler: builds the frame in guest memory and changes `registers` and the signal mask. `EFAULT` if the stack cannot take the
/// frame: the caller forces SIGSEGV.
pub fn push(
    task: &Arc<Task>,
    memory: &UserMemory,
    thread: &dyn GuestThread,
    registers: &mut Registers,
    action: &Action,
    info: &SigInfo,
    trap: TrapInfo,
) -> Result<()> {
    let Disposition::Handler(handler) = action.disposition else {
        return Err(Errno::EINVAL);
    };
    let signal = info.signal();
    let state = thread.extended_state().map_err(|_| Errno::EFAULT)?;
    let (alt, mask) = {
        let signals = task.signals.lock();
        (
            signals.alt_stack,
            signals.saved_mask.unwrap_or(signals.blocked),
        )
    };
    let mut sp = registers.rsp.wrapping_sub(RED_ZONE);
    if action.flags.contains(SaFlags::ONSTACK) && alt.size != 0 && !on_stack(&alt, registers.rsp) {
        sp = alt.base.wrapping_add(alt.size);
    }
    let fpstate = if state.is_empty() {
        sp
    } else {
        sp.wrapping_sub(state.len() as u64) & !63
    };
    let frame_size = (8 + size_of::<Ucontext>() + 128) as u64;
    let frame = (fpstate.wrapping_sub(frame_size) & !15).wrapping_sub(8);
    if on_stack(&alt, registers.rsp) && !on_stack(&alt, frame) {
        // The alternate stack overflowed.
        return Err(Errno::EFAULT);
    }
    let context = Ucontext {
        flags: UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
        stack_sp: alt.base,
        stack_flags: alt_stack_flags(&alt, registers.rsp) | (alt.flags & SS_AUTODISARM),
        stack_size: alt.size,
        r8: registers.r8,
        r9: registers.r9,
        r10: registers.r10,
        r11: registers.r11,
        r12: registers.r12,
        r13: registers.r13,
        r14: registers.r14,
        r15: registers.r15,
        rdi: registers.rdi,
        rsi: registers.rsi,
        rbp: registers.rbp,
        rbx: registers.rbx,
        rdx: registers.rdx,
        rax: registers.rax,
        rcx: registers.rcx,
        rsp: registers.rsp,
        rip: registers.rip,
        eflags: registers.eflags,
        cs: 0x33,
        ss: 0x2b,
        err: trap.error,
        trapno: trap.trapno,
        oldmask: mask.0,
        cr2: trap.cr2,
        fpstate: if state.is_empty() { 0 } else { fpstate },
        sigmask: mask.0,
        ..Ucontext::default()
    };
    let mut bytes = Vec::with_capacity(frame_size as usize);
    bytes.extend_from_slice(&action.restorer.to_ne_bytes());
    bytes.extend_from_slice(context.as_bytes());
    bytes.extend_from_slice(info.bytes());
    if !state.is_empty() {
        memory.write(UserAddr(fpstate), &state)?;
    }
    memory.write(UserAddr(frame), &bytes)?;
    registers.rdi = u64::from(signal.number());
    registers.rsi = frame.wrapping_add(8 + size_of::<Ucontext>() as u64);
    registers.rdx = frame.wrapping_add(8);
    registers.rax = 0;
    registers.rsp = frame;
    registers.rip = handler;
    registers.eflags &= !CLEARED_FLAGS;
    let mut signals = task.signals.lock();
    signals.saved_mask = None;
    if alt.flags & SS_AUTODISARM != 0 {
        signals.alt_stack = AltStack::default();
    }
    let mut blocked = signals.blocked.union(action.mask);
    if !action.flags.contains(SaFlags::NODEFER) {
        blocked = blocked.union(SigSet::of(signal));
    }
    signals.blocked = blocked.minus(SigSet::UNBLOCKABLE);
    Ok(())
}

/// `rt_sigreturn`: reads the frame that `rsp` is behind the return address of and restores everything. `EFAULT`: the caller forces SIGSEGV.
pub fn pop(
    task: &Arc<Task>,
    memory: &UserMemory,
    thread: &dyn GuestThread,
    registers: &Registers,
) -> Result<Registers> {
    let context: Ucontext = memory.get(UserIn::new(UserAddr(registers.rsp)))?;
    let state = read_state(memory, context.fpstate)?;
    let mut restored = *registers;
    restored.r8 = context.r8;
    restored.r9 = context.r9;
    restored.r10 = context.r10;
    restored.r11 = context.r11;
    restored.r12 = context.r12;
    restored.r13 = context.r13;
    restored.r14 = context.r14;
    restored.r15 = context.r15;
    restored.rdi = context.rdi;
    restored.rsi = context.rsi;
    restored.rbp = context.rbp;
    restored.rbx = context.rbx;
    restored.rdx = context.rdx;
    restored.rax = context.rax;
    restored.rcx = context.rcx;
    restored.rsp = context.rsp;
    restored.rip = context.rip;
    restored.eflags = context.eflags;
    thread
        .set_extended_state(&state)
        .map_err(|_| Errno::EFAULT)?;
    let mut signals = task.signals.lock();
    signals.blocked = SigSet(context.sigmask).minus(SigSet::UNBLOCKABLE);
    // As Linux's restore_altstack: errors are ignored.
    if context.stack_flags & SS_DISABLE != 0 {
        signals.alt_stack = AltStack::default();
    } else if context.stack_flags & !(SS_ONSTACK | SS_AUTODISARM) == 0
        && !on_stack(&signals.alt_stack, context.rsp)
    {
        signals.alt_stack = AltStack {
            base: context.stack_sp,
            size: context.stack_size,
            flags: context.stack_flags & SS_AUTODISARM,
        };
    }
    Ok(restored)
}

fn read_state(memory: &UserMemory, at: u64) -> Result<Vec<u8>> {
    if at == 0 {
        return Ok(Vec::new());
    }
    let mut legacy = vec![0_u8; 512];
    memory.read(UserAddr(at), &mut legacy)?;
    let word = |offset: usize| {
        u32::from_ne_bytes([
            legacy[offset],
            legacy[offset + 1],
            legacy[offset + 2],
            legacy[offset + 3],
        ])
    };
    let size = word(SW_BYTES + 4) as usize;
    if word(SW_BYTES) == FP_XSTATE_MAGIC1 && (512..=MAX_STATE).contains(&size) {
        // The legacy part stays as read above: nothing is looked at twice.
        legacy.resize(size, 0);
        memory.read(UserAddr(at.wrapping_add(512)), &mut legacy[512..])?;
    }
    Ok(legacy)
}

/// Stores a `siginfo_t`, unless the pointer is null.
pub fn put_info(memory: &UserMemory, at: UserOut<u8>, info: &SigInfo) -> Result<()> {
    if at.is_null() {
        Ok(())
    } else {
        memory.write(at.addr(), info.bytes())
    }
}

/// The signal that a frame that cannot be built turns into.
#[must_use]
pub fn broken_stack() -> SigInfo {
    SigInfo::kernel(Signal::SEGV)
}

const _: () = assert!(size_of::<Ucontext>() == 304);
