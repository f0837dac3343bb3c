//! The filter that guest processes live under on this platform.
//!
//! SYSEMU already keeps the host from executing a guest's call. This is the second wall: should one ever get through by a mistake of the tracer's,
//! nothing but the calls that the tracer injects is executed, and those only from the instruction that it injects them at. That address grants
//! nothing that the list does not bound.
//!
//! The vsyscall page is an exception to SYSEMU: the host serves its three calls from the page fault, without a stop at a call, but asks this
//! filter. A trap makes the host skip the call, return from the page and send SIGSYS (`seccomp_filter.rst`, "Caveats"), which is a stop.

use crate::stub;

const LOAD: u64 = 0x20;
const JUMP_EQUAL: u64 = 0x15;
const RETURN: u64 = 0x06;
const AUDIT_ARCH_X86_64: u64 = 0xc000_003e;
const ALLOW: u64 = 0x7fff_0000;
/// SIGSYS.
const TRAP: u64 = 0x0003_0000;
/// The upper half of addresses in the vsyscall page.
const VSYSCALL_HIGH: u64 = 0xffff_ffff;
/// ENOSYS.
const REFUSE: u64 = 0x0005_0000 | 38;

/// The calls that a tracer makes a guest thread execute.
const INJECTED: &[libc::c_long] = &[
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_membarrier,
    libc::SYS_futex,
    libc::SYS_rseq,
    libc::SYS_getrusage,
    libc::SYS_clock_gettime,
    libc::SYS_prctl,
    libc::SYS_clone,
    libc::SYS_recvmsg,
    libc::SYS_close,
    libc::SYS_exit,
];

fn instruction(code: u64, jt: u64, jf: u64, k: u64) -> u64 {
    code | jt << 16 | jf << 24 | k << 32
}

/// The program, as words of `struct sock_filter`.
pub(super) fn assemble() -> Vec<u64> {
    let ip = stub::order_ip();
    // Distances to the refusal, which follows the list.
    let count = INJECTED.len() as u64;
    let mut program = vec![
        instruction(LOAD, 0, 0, 4),
        instruction(JUMP_EQUAL, 0, count + 7, AUDIT_ARCH_X86_64),
        instruction(LOAD, 0, 0, 12),
        instruction(JUMP_EQUAL, 0, 1, VSYSCALL_HIGH),
        instruction(RETURN, 0, 0, TRAP),
        instruction(JUMP_EQUAL, 0, count + 3, ip >> 32),
        instruction(LOAD, 0, 0, 8),
        instruction(JUMP_EQUAL, 0, count + 1, ip & 0xffff_ffff),
        instruction(LOAD, 0, 0, 0),
    ];
    for (index, &call) in INJECTED.iter().enumerate() {
        program.push(instruction(
            JUMP_EQUAL,
            count - index as u64,
            0,
            call.cast_unsigned(),
        ));
    }
    program.push(instruction(RETURN, 0, 0, REFUSE));
    program.push(instruction(RETURN, 0, 0, ALLOW));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &[u64], nr: u64, arch: u64, ip: u64) -> u64 {
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let word = program[at];
            let (code, jt, jf, k) = (
                word & 0xffff,
                word >> 16 & 0xff,
                word >> 24 & 0xff,
                word >> 32,
            );
            at += 1;
            match code {
                LOAD => {
                    accumulator = match k {
                        0 => nr,
                        4 => arch,
                        8 => ip & 0xffff_ffff,
                        12 => ip >> 32,
                        other => panic!("loads {other}"),
                    }
                }
                JUMP_EQUAL => at += (if accumulator == k { jt } else { jf }) as usize,
                RETURN => return k,
                other => panic!("code {other:#x}"),
            }
        }
    }

    #[test]
    fn only_injected_calls_from_their_place_pass() {
        let program = assemble();
        let ip = stub::order_ip();
        for nr in 0_u64..600 {
            let wanted = if INJECTED.contains(&nr.cast_signed()) {
                ALLOW
            } else {
                REFUSE
            };
            assert_eq!(
                run(&program, nr, AUDIT_ARCH_X86_64, ip),
                wanted,
                "call {nr}"
            );
            assert_eq!(run(&program, nr, AUDIT_ARCH_X86_64, ip + 2), REFUSE);
            assert_eq!(run(&program, nr, AUDIT_ARCH_X86_64, ip + (1 << 32)), REFUSE);
            assert_eq!(run(&program, nr, 0x4000_0003, ip), REFUSE);
            let vsyscall = 0xffff_ffff_ff60_0400;
            assert_eq!(run(&program, nr, AUDIT_ARCH_X86_64, vsyscall), TRAP);
        }
    }
}
