//! Calls that change mappings or the thread's FS base, at a light stop: let through to the host if that is all they take, else made again with a
//! full stop.

use abi::mm::{
    MADV_COLD, MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_WILLNEED, PROT_EXEC,
    PROT_READ, PROT_WRITE,
};
use sentry::SyscallArgs;
use sentry::mm::Passage;
use sentry::task::CurrentTask;

const MPROTECT: u64 = 10;
const MUNMAP: u64 = 11;
const MADVISE: u64 = 28;
const ARCH_PRCTL: u64 = 158;
const ARCH_SET_FS: u64 = 0x1002;

/// Whether `call`, of which only number and arguments are known, is one of these.
pub(crate) const fn concerns(call: &SyscallArgs) -> bool {
    matches!(call.nr, MPROTECT | MUNMAP | MADVISE | ARCH_PRCTL)
}

/// Ends the light stop of such a call one way or another.
pub(crate) async fn pass(cx: &CurrentTask, call: &SyscallArgs) {
    let thread = cx.thread();
    // From now on whoever wants the thread's attention kicks it: a kick that comes too early is looked at in vain.
    cx.set_in_guest(true);
    let watched = cx.kernel.strace.is_on() || cx.seccomp.read().mode != 0;
    let map = cx.memory_map();
    if call.nr != ARCH_PRCTL {
        // Noted before: the thread may be back before this returns.
        cx.note_in_flight(map.clone(), None);
    }
    let [addr, len, third, ..] = call.args;
    let passage = match (call.nr, u32::try_from(third)) {
        _ if watched => Passage::Refused,
        // Whether the address will do is for the platform to say.
        (ARCH_PRCTL, _) if addr == ARCH_SET_FS && thread.let_through() => Passage::Through,
        (MUNMAP, _) => map.pass_unmap(&thread, addr, len).await,
        (MPROTECT, Ok(prot)) if is_plain_protection(prot) => {
            map.pass_protect(&thread, addr, len, prot).await
        }
        (MADVISE, Ok(advice)) if is_plain_advice(advice) => {
            map.pass_advice(&thread, addr, len).await
        }
        _ => Passage::Refused,
    };
    match passage {
        Passage::Through => {}
        Passage::Nothing => thread.answer(0),
        Passage::Refused => thread.call_again(),
    }
    if cx.is_interrupted() {
        thread.kick();
    }
}

/// What the host would set as it stands.
const fn is_plain_protection(prot: u32) -> bool {
    const READ_WRITE: u32 = PROT_READ | PROT_WRITE;
    const READ_EXEC: u32 = PROT_READ | PROT_EXEC;
    const ALL: u32 = READ_WRITE | PROT_EXEC;
    matches!(prot, 0 | PROT_READ | READ_WRITE | READ_EXEC | ALL)
}

const fn is_plain_advice(advice: u32) -> bool {
    matches!(
        advice,
        MADV_DONTNEED | MADV_FREE | MADV_WILLNEED | MADV_COLD | MADV_HUGEPAGE | MADV_NOHUGEPAGE
    )
}
