//! The seccomp filter that every guest thread lives under, assembled rule by rule.
//!
//! Instruction pointers route here, they grant nothing: a guest can jump into the stub with any registers, and gets what any caller of that
//! instruction gets, a notification that the platform judges by the thread's state.

use crate::stub;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const X32_BIT: u32 = 0x4000_0000;
const RET_TRAP: u32 = 0x0003_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
const RET_ALLOW: u32 = 0x7fff_0000;
const ENOSYS: u32 = 38;

const NR: u32 = 0;
const ARCH: u32 = 4;
const IP_LOW: u32 = 8;
const IP_HIGH: u32 = 12;
const ARG0_LOW: u32 = 16;
const ARG0_HIGH: u32 = 20;
const ARG1_LOW: u32 = 24;

/// One instruction of classic BPF (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

impl Instruction {
    /// As the kernel reads it from memory.
    pub(super) fn to_word(self) -> u64 {
        u64::from(self.code)
            | u64::from(self.jt) << 16
            | u64::from(self.jf) << 24
            | u64::from(self.k) << 32
    }
}

fn load(offset: u32) -> Instruction {
    Instruction {
        code: 0x20,
        jt: 0,
        jf: 0,
        k: offset,
    }
}

fn ret(action: u32) -> Instruction {
    Instruction {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: action,
    }
}

/// Skips `skip` instructions unless the accumulator equals `k`.
fn unless_equal(k: u32, skip: u8) -> Instruction {
    Instruction {
        code: 0x15,
        jt: 0,
        jf: skip,
        k,
    }
}

/// Skips `skip` instructions unless the accumulator is at least `k`.
fn unless_at_least(k: u32, skip: u8) -> Instruction {
    Instruction {
        code: 0x35,
        jt: 0,
        jf: skip,
        k,
    }
}

fn low(value: u64) -> u32 {
    value as u32
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

/// The filter; `full_calls` trap so that the kernel gets the whole register file.
pub(super) fn assemble(full_calls: &[u32]) -> Vec<Instruction> {
    let mut program = vec![
        // Calls through int 0x80 or from a 32-bit segment: as if the host had no such gate.
        load(ARCH),
        Instruction {
            code: 0x15,
            jt: 1,
            jf: 0,
            k: AUDIT_ARCH_X86_64,
        },
        ret(RET_ERRNO | ENOSYS),
        // x32 numbers, and numbers that are negative as an int.
        load(NR),
        unless_at_least(X32_BIT, 1),
        ret(RET_ERRNO | ENOSYS),
    ];
    // From the stub.
    let sigreturn = [
        // Its own rt_sigreturn: passes; it only loads registers that the guest could load itself.
        unless_equal(low(stub::sigreturn_ip()), 3),
        load(NR),
        unless_equal(15, 15),
        ret(RET_ALLOW),
    ];
    let mut from_stub = vec![load(IP_LOW)];
    from_stub.extend(sigreturn);
    // Its futex calls: FUTEX_WAIT and FUTEX_WAKE (0 and 1, shared) on a word of the slots.
    from_stub.extend([
        load(IP_LOW),
        Instruction {
            code: 0x15,
            jt: 2,
            jf: 0,
            k: low(stub::futex_ip()),
        },
        Instruction {
            code: 0x15,
            jt: 1,
            jf: 0,
            k: low(stub::ready_ip()),
        },
        ret(RET_USER_NOTIF),
        load(NR),
        unless_equal(202, 8),
        load(ARG0_HIGH),
        unless_equal(high(stub::SLOTS), 6),
        load(ARG0_LOW),
        unless_at_least(low(stub::SLOTS), 4),
        Instruction {
            code: 0x35,
            jt: 3,
            jf: 0,
            k: low(stub::slot_address(stub::SLOT_MAX)),
        },
        load(ARG1_LOW),
        Instruction {
            code: 0x35,
            jt: 1,
            jf: 0,
            k: 2,
        },
        ret(RET_ALLOW),
        // Doorbells and ordered calls, and all else from there.
        ret(RET_USER_NOTIF),
    ]);
    program.push(load(IP_HIGH));
    program.push(unless_equal(high(stub::TEXT), (from_stub.len()) as u8 + 2));
    // The stub is one page: other addresses with the same high half are no code of anybody's.
    program.push(load(IP_LOW));
    program.push(Instruction {
        code: 0x35,
        jt: from_stub.len() as u8,
        jf: 0,
        k: low(stub::TEXT) + 4096,
    });
    program.extend(from_stub);
    program.extend([
        // The vsyscall page: the host restarts no call from there, so that a notification interrupted by a kick would show the guest a restart
        // code. After a trap the guest goes on behind its call of the page (seccomp_filter.rst, "Caveats").
        load(IP_HIGH),
        unless_equal(0xffff_ffff, 1),
        ret(RET_TRAP),
    ]);
    program.push(load(NR));
    // Calls without effect on anything but the caller's own time: sched_yield, and restart_syscall, which the host makes a thread call to go
    // on with an interrupted futex wait of the stub's.
    for nr in [24, 219] {
        program.extend([unless_equal(nr, 1), ret(RET_ALLOW)]);
    }
    // Calls for which a light stop is never enough: clone, fork, vfork, execve, rt_sigreturn, execveat, clone3.
    let mut full = vec![56, 57, 58, 59, 15, 322, 435];
    full.extend_from_slice(full_calls);
    full.sort_unstable();
    full.dedup();
    for nr in full {
        program.extend([unless_equal(nr, 1), ret(RET_TRAP)]);
    }
    program.push(ret(RET_USER_NOTIF));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A classic BPF interpreter, enough for the filter.
    fn run(program: &[Instruction], nr: u32, arch: u32, ip: u64, args: [u64; 2]) -> u32 {
        let word = |offset: u32| match offset {
            NR => nr,
            ARCH => arch,
            IP_LOW => low(ip),
            IP_HIGH => high(ip),
            ARG0_LOW => low(args[0]),
            ARG0_HIGH => high(args[0]),
            ARG1_LOW => low(args[1]),
            other => panic!("loads offset {other}"),
        };
        let (mut accumulator, mut at) = (0_u32, 0_usize);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            match code {
                0x20 => accumulator = word(k),
                0x06 => return k,
                0x15 => at += usize::from(if accumulator == k { jt } else { jf }),
                0x35 => at += usize::from(if accumulator >= k { jt } else { jf }),
                _ => panic!("code {code:#x}"),
            }
        }
    }

    #[test]
    fn routes() {
        let program = assemble(&[9, 12]);
        let call = |nr, ip, args| run(&program, nr, AUDIT_ARCH_X86_64, ip, args);
        let guest = 0x40_0002;
        assert_eq!(call(39, guest, [0; 2]), RET_USER_NOTIF);
        assert_eq!(call(9, guest, [0; 2]), RET_TRAP);
        assert_eq!(call(15, guest, [0; 2]), RET_TRAP);
        assert_eq!(call(435, guest, [0; 2]), RET_TRAP);
        assert_eq!(call(24, guest, [0; 2]), RET_ALLOW);
        assert_eq!(call(u32::MAX, guest, [0; 2]), RET_ERRNO | ENOSYS);
        assert_eq!(
            run(&program, 39, 0x4000_0003, guest, [0; 2]),
            RET_ERRNO | ENOSYS
        );
        assert_eq!(call(202, guest, [stub::SLOTS, 0]), RET_USER_NOTIF);
        assert_eq!(call(96, 0xffff_ffff_ff60_0000, [0; 2]), RET_TRAP);
    }

    #[test]
    fn stub_addresses_grant_only_what_they_must() {
        let program = assemble(&[9]);
        let call = |nr, ip, args| run(&program, nr, AUDIT_ARCH_X86_64, ip, args);
        assert_eq!(call(15, stub::sigreturn_ip(), [0; 2]), RET_ALLOW);
        assert_eq!(call(9, stub::sigreturn_ip(), [0; 2]), RET_USER_NOTIF);
        assert_eq!(call(15, stub::order_ip(), [0; 2]), RET_USER_NOTIF);
        assert_eq!(call(9, stub::order_ip(), [0; 2]), RET_USER_NOTIF);
        assert_eq!(
            call(stub::DOORBELL, stub::doorbell_ip(), [0; 2]),
            RET_USER_NOTIF
        );
        for ip in [stub::futex_ip(), stub::ready_ip()] {
            assert_eq!(call(202, ip, [stub::SLOTS + 16, 0]), RET_ALLOW);
            assert_eq!(
                call(202, ip, [stub::slot_address(stub::SLOT_MAX) - 4, 1]),
                RET_ALLOW
            );
            assert_eq!(
                call(202, ip, [stub::slot_address(stub::SLOT_MAX), 0]),
                RET_USER_NOTIF
            );
            assert_eq!(call(202, ip, [stub::SLOTS - 4, 0]), RET_USER_NOTIF);
            assert_eq!(call(202, ip, [stub::SLOTS + (1 << 32), 0]), RET_USER_NOTIF);
            assert_eq!(call(202, ip, [stub::SLOTS, 2]), RET_USER_NOTIF);
            assert_eq!(call(1, ip, [stub::SLOTS, 0]), RET_USER_NOTIF);
        }
        // Above the text but with its high half: treated as any guest address.
        assert_eq!(call(9, stub::TEXT + 4096, [0; 2]), RET_TRAP);
    }
}
