//! Ordinary calls that the host executes as the guest's own (`SECCOMP_USER_NOTIF_FLAG_CONTINUE`).
//!
//! Only calls whose arguments are all in registers, which the thread cannot change while it waits, and whose effect stays within its own address
//! space below [`GUEST_TOP`] or its own FS base, or ends the thread. The platform judges that; whether the call is right for the guest is the kernel's to say. The
//! reply is not the completion: the call has happened when the thread shows itself again, not before.

use std::sync::Arc;

use super::thread::{Phase, RESTART, Thread};
use crate::api::{GUEST_BOTTOM, GUEST_TOP, SyscallArgs};
use crate::host::seccomp;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const MPROTECT: u64 = libc::SYS_mprotect as u64;
const MUNMAP: u64 = libc::SYS_munmap as u64;
const MADVISE: u64 = libc::SYS_madvise as u64;
const EXIT: u64 = libc::SYS_exit as u64;
const ARCH_PRCTL: u64 = libc::SYS_arch_prctl as u64;
const ARCH_SET_FS: u64 = 0x1002;

/// Protections that the host sets as asked: no write-only pages (the sentry could not read them), none that the host shapes by itself.
const PROTECTIONS: &[u64] = &[0, 1, 3, 5, 7];
/// DONTNEED, FREE, WILLNEED, COLD, HUGEPAGE, NOHUGEPAGE.
const ADVICE: &[u64] = &[4, 8, 3, 20, 14, 15];

/// Whether `addr..addr + len`, rounded up as the host does, is not empty and the guest's own.
fn is_guest_range(addr: u64, len: u64) -> bool {
    let Some(end) = len
        .checked_next_multiple_of(abi::PAGE_SIZE)
        .and_then(|len| addr.checked_add(len))
    else {
        return false;
    };
    addr.is_multiple_of(abi::PAGE_SIZE) && len > 0 && addr >= GUEST_BOTTOM && end <= GUEST_TOP
}

/// Whether the host may execute `call` for the guest. All in full width: stricter than the host, which ignores some upper halves.
fn is_harmless(call: &SyscallArgs) -> bool {
    let [addr, len, third, ..] = call.args;
    call.arch == AUDIT_ARCH_X86_64
        && match call.nr {
            MUNMAP => is_guest_range(addr, len),
            MPROTECT => is_guest_range(addr, len) && PROTECTIONS.contains(&third),
            MADVISE => is_guest_range(addr, len) && ADVICE.contains(&third),
            // The thread's own register.
            ARCH_PRCTL => addr == ARCH_SET_FS && len < GUEST_TOP,
            _ => false,
        }
}

impl Thread {
    /// See `GuestThread::let_through`.
    pub(super) fn let_through(self: &Arc<Self>) -> bool {
        let mut state = self.state();
        let Phase::Light(id) = state.phase else {
            return false;
        };
        let harmless = state.call.as_ref().is_some_and(is_harmless);
        if !harmless || state.gone || state.exited {
            return false;
        }
        if let Some(call) = state.call
            && call.nr == ARCH_PRCTL
        {
            // Where the stub cannot read it.
            state.fs_base = call.args[1];
        }
        self.now_running(&mut state);
        drop(state);
        // A caller that is dead is the reaper's business.
        let _ = seccomp::let_through(self.process.listener.fd(), id);
        true
    }

    /// See `GuestThread::call_again`.
    pub(super) fn call_again(self: &Arc<Self>) {
        let mut state = self.state();
        let Phase::Light(id) = state.phase else {
            return;
        };
        state.again = state.call;
        self.kick_locked(&mut state);
        self.now_running(&mut state);
        drop(state);
        self.reply(id, RESTART);
    }

    /// Whether the thread waits in its own `exit(2)`.
    pub(super) fn is_exiting(call: Option<&SyscallArgs>) -> bool {
        call.is_some_and(|call| call.nr == EXIT && call.arch == AUDIT_ARCH_X86_64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(nr: u64, addr: u64, len: u64, third: u64) -> SyscallArgs {
        SyscallArgs {
            nr,
            args: [addr, len, third, 0, 0, 0],
            ip: 0,
            arch: AUDIT_ARCH_X86_64,
        }
    }

    #[test]
    fn only_the_guests_own_ranges_pass() {
        assert!(is_harmless(&call(MUNMAP, 0x10_0000, 1, 0)));
        assert!(is_harmless(&call(MUNMAP, GUEST_TOP - 4096, 4096, 0)));
        for (addr, len) in [
            (GUEST_TOP - 4096, 4097),
            (GUEST_TOP, 4096),
            (crate::stub::TEXT, 4096),
            (0, 4096),
            (0x10_0000, 0),
            (0x10_0001, 4096),
            (0x10_0000, u64::MAX),
            (0x10_0000, u64::MAX - 0x10_0000),
            (0x10_0000, crate::stub::TEXT - 0x10_0000 + 1),
            (u64::MAX - 4095, 4096),
        ] {
            assert!(
                !is_harmless(&call(MUNMAP, addr, len, 0)),
                "{addr:x} {len:x}"
            );
        }
    }

    #[test]
    fn only_known_values_pass() {
        assert!(is_harmless(&call(MPROTECT, 0x10_0000, 4096, 5)));
        assert!(!is_harmless(&call(MPROTECT, 0x10_0000, 4096, 2)));
        assert!(!is_harmless(&call(MPROTECT, 0x10_0000, 4096, 0x100_0003)));
        assert!(!is_harmless(&call(MPROTECT, 0x10_0000, 4096, 1 << 32 | 3)));
        assert!(is_harmless(&call(MADVISE, 0x10_0000, 4096, 4)));
        // MADV_MERGEABLE, MADV_DONTFORK, MADV_HWPOISON
        for advice in [12, 10, 100] {
            assert!(!is_harmless(&call(MADVISE, 0x10_0000, 4096, advice)));
        }
        assert!(!is_harmless(&call(9, 0x10_0000, 4096, 3)));
        assert!(is_harmless(&call(ARCH_PRCTL, ARCH_SET_FS, 0x1000, 0)));
        assert!(!is_harmless(&call(ARCH_PRCTL, ARCH_SET_FS, GUEST_TOP, 0)));
        // ARCH_SET_GS, ARCH_SET_CPUID, and ARCH_SET_FS in a wide register.
        for code in [0x1001, 0x1012, 1 << 32 | ARCH_SET_FS] {
            assert!(!is_harmless(&call(ARCH_PRCTL, code, 0x1000, 0)));
        }
        assert!(!is_harmless(&SyscallArgs {
            arch: 0x4000_0003,
            ..call(MUNMAP, 0x10_0000, 4096, 0)
        }));
    }
}
