//! What the template's process does between its fork and the jump into the stub. Only raw host calls here: the process is a copy of a libc
//! program that may have had other threads.

use abi::Errno;

use super::template::Piece;
use crate::host;
use crate::stub;

/// What the child needs, made before the fork: nothing is allocated after it.
pub(super) struct Plan {
    pub(super) pieces: Vec<Piece>,
    pub(super) socket: i32,
    pub(super) control: i32,
    pub(super) fsgsbase: bool,
}

const STACK: usize = 256 * 1024;

/// The names of the steps that the child reports failures by.
pub(super) fn step_name(step: u64) -> &'static str {
    match step {
        1 => "mapping its control pages",
        2 => "moving the vDSO",
        3 => "mapping the stub",
        4 => "unregistering restartable sequences",
        5 => "installing its signal handlers",
        6 => "setting its limits",
        7 => "keeping only its socket",
        _ => "preparing its image",
    }
}

/// Forks the template on a stack of its own, so that the old stack may be anywhere.
pub(super) fn fork(plan: &Plan) -> Result<i32, Errno> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let stack = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            STACK,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            -1,
            0,
        )
    };
    if stack == libc::MAP_FAILED {
        return Err(host::last_errno());
    }
    // SAFETY: `child` gets a copy of this address space (no CLONE_VM) with `plan` in it, and a stack of its own; it never returns.
    let pid = unsafe {
        libc::clone(
            child,
            stack.cast::<u8>().add(STACK).cast(),
            libc::SIGCHLD,
            std::ptr::from_ref(plan).cast_mut().cast(),
        )
    };
    let result = host::check(pid.into()).map(|pid| pid as i32);
    // SAFETY: this process's copy of the stack was never used.
    unsafe { libc::munmap(stack, STACK) };
    result
}

extern "C" fn child(plan: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `fork` passed a live plan.
    let plan = unsafe { &*plan.cast::<Plan>() };
    // SAFETY: this process is single-threaded and belongs to nobody else.
    unsafe { become_template(plan) }
}

/// `syscall(2)` with the result as the kernel gives it.
unsafe fn raw(nr: libc::c_long, args: [u64; 6]) -> i64 {
    let result: i64;
    // SAFETY: the caller vouches for the call.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") nr => result, in("rdi") args[0], in("rsi") args[1], in("rdx") args[2], in("r10") args[3],
            in("r8") args[4], in("r9") args[5], lateout("rcx") _, lateout("r11") _);
    }
    result
}

/// Where the signal frame's format is left by `learn_xstate`.
static mut FORMAT: [u64; 8] = [0; 8];

extern "C" fn learn_xstate(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a ucontext whose sigcontext lies at byte 40, the fpstate pointer 184 bytes into it; the fpstate is at least the
    // legacy 512 bytes. Only this single-threaded process uses FORMAT.
    unsafe {
        let fpstate = context
            .cast::<u8>()
            .add(40 + 184)
            .cast::<*const u8>()
            .read();
        if fpstate.is_null() {
            return;
        }
        let format = &raw mut FORMAT;
        let reserved = fpstate.add(464).cast::<u64>();
        for index in 0..6 {
            (*format)[2 + index] = reserved.add(index).read();
        }
        // FP_XSTATE_MAGIC1, then extended_size.
        let magic = fpstate.add(464).cast::<u32>().read();
        let size = fpstate.add(468).cast::<u32>().read();
        (*format)[0] = if magic == 0x4650_5853 {
            size.into()
        } else {
            512
        };
        let mask = fpstate.add(28).cast::<u32>().read();
        (*format)[1] = if mask == 0 { 0xffbf } else { mask.into() };
    }
}

#[repr(C)]
struct KernelAction {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

const SA_RESTORER: u64 = 0x0400_0000;

unsafe fn set_action(signal: i32, action: &KernelAction) -> i64 {
    // SAFETY: a valid `struct sigaction` of the kernel's.
    unsafe {
        raw(
            libc::SYS_rt_sigaction,
            [signal as u64, std::ptr::from_ref(action) as u64, 0, 8, 0, 0],
        )
    }
}

unsafe fn become_template(plan: &Plan) -> ! {
    // SAFETY: see each step; the process is ours alone and is about to be replaced.
    unsafe {
        let rw = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let fixed = libc::MAP_FIXED as u64;
        let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let control = raw(
            libc::SYS_mmap,
            [
                stub::CONTROL,
                stub::CONTROL_SIZE,
                rw,
                fixed | libc::MAP_SHARED as u64,
                plan.control as u64,
                0,
            ],
        );
        if control != stub::CONTROL.cast_signed() {
            raw(libc::SYS_exit_group, [1, 0, 0, 0, 0, 0]);
        }
        let fail = |step: u64, error: i64| -> ! {
            let told = (stub::CONTROL as usize + stub::CONTROL_ERROR) as *mut u64;
            told.write_volatile(step << 32 | (error.unsigned_abs() & 0xffff_ffff));
            loop {
                raw(libc::SYS_exit_group, [1, 0, 0, 0, 0, 0]);
            }
        };
        let demand = |step: u64, result: i64| {
            if result < 0 {
                fail(step, result)
            }
        };

        // Learn how long this host's signal frames are, before the handlers change. A libc process's libc calls are still fine here.
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = learn_xstate as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut());
        let none = 0_u64;
        raw(
            libc::SYS_rt_sigprocmask,
            [libc::SIG_SETMASK as u64, &raw const none as u64, 0, 8, 0, 0],
        );
        let pid = raw(libc::SYS_getpid, [0; 6]);
        raw(
            libc::SYS_tgkill,
            [pid as u64, pid as u64, libc::SIGUSR2 as u64, 0, 0, 0],
        );
        ((stub::CONTROL as usize + stub::CONTROL_XSTATE) as *mut [u64; 8]).write_volatile(FORMAT);

        // The vDSO hops to a free place first: its old place may overlap the new one.
        let total: u64 = plan.pieces.iter().map(|piece| piece.len).sum();
        let hop = raw(libc::SYS_mmap, [0, total, 0, anonymous, u64::MAX, 0]);
        demand(2, hop);
        let mut at = hop as u64;
        let moving = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
        for piece in &plan.pieces {
            demand(
                2,
                raw(
                    libc::SYS_mremap,
                    [piece.from, piece.len, piece.len, moving, at, 0],
                ),
            );
            at += piece.len;
        }
        at = hop as u64;
        for piece in &plan.pieces {
            demand(
                2,
                raw(
                    libc::SYS_mremap,
                    [at, piece.len, piece.len, moving, piece.to, 0],
                ),
            );
            at += piece.len;
        }

        let (image, fsgsbase) = stub::image();
        demand(
            3,
            raw(
                libc::SYS_mmap,
                [stub::TEXT, 4096, rw, fixed | anonymous, u64::MAX, 0],
            ),
        );
        let text = stub::TEXT as *mut u8;
        for (index, &byte) in image.iter().enumerate() {
            text.add(index).write_volatile(byte);
        }
        text.add(fsgsbase).write_volatile(plan.fsgsbase.into());
        demand(
            3,
            raw(
                libc::SYS_mprotect,
                [
                    stub::TEXT,
                    4096,
                    (libc::PROT_READ | libc::PROT_EXEC) as u64,
                    0,
                    0,
                    0,
                ],
            ),
        );

        demand(4, unregister_rseq());
        raw(libc::SYS_set_robust_list, [0, 24, 0, 0, 0, 0]);
        raw(libc::SYS_set_tid_address, [0; 6]);

        let default = KernelAction {
            handler: 0,
            flags: 0,
            restorer: 0,
            mask: 0,
        };
        for signal in (1..=64).filter(|&signal| signal != libc::SIGKILL && signal != libc::SIGSTOP)
        {
            demand(5, set_action(signal, &default));
        }
        let flags = (libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART) as u64 | SA_RESTORER;
        let handled = KernelAction {
            handler: stub::handler(),
            flags,
            restorer: stub::sigreturn_ip() - 2,
            mask: u64::MAX,
        };
        for signal in [
            libc::SIGSYS,
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGTRAP,
            stub::KICK,
        ] {
            demand(5, set_action(signal, &handled));
        }

        // Guest processes start in the stub with everything blocked, as in a handler; their first rt_sigreturn opens the mask.
        let all = u64::MAX;
        raw(
            libc::SYS_rt_sigprocmask,
            [libc::SIG_SETMASK as u64, &raw const all as u64, 0, 8, 0, 0],
        );

        // A core limit of 0 does not stop a core_pattern that is a pipe; 1 does.
        let core = [1_u64, 1];
        demand(
            6,
            raw(
                libc::SYS_prlimit64,
                [0, libc::RLIMIT_CORE as u64, core.as_ptr() as u64, 0, 0, 0],
            ),
        );
        demand(
            6,
            raw(
                libc::SYS_prctl,
                [libc::PR_SET_DUMPABLE as u64, 1, 0, 0, 0, 0],
            ),
        );
        demand(
            6,
            raw(
                libc::SYS_prctl,
                [libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0, 0],
            ),
        );
        demand(
            6,
            raw(
                libc::SYS_prctl,
                [
                    libc::PR_SET_PDEATHSIG as u64,
                    libc::SIGKILL as u64,
                    0,
                    0,
                    0,
                    0,
                ],
            ),
        );
        raw(
            libc::SYS_prctl,
            [
                libc::PR_SET_NAME as u64,
                c"runsc-guest".as_ptr() as u64,
                0,
                0,
                0,
                0,
            ],
        );
        raw(libc::SYS_setsid, [0; 6]);

        if plan.socket != stub::CONTROL_FD {
            demand(
                7,
                raw(
                    libc::SYS_dup2,
                    [plan.socket as u64, stub::CONTROL_FD as u64, 0, 0, 0, 0],
                ),
            );
        }
        demand(
            7,
            raw(
                libc::SYS_close_range,
                [0, stub::CONTROL_FD as u64 - 1, 0, 0, 0, 0],
            ),
        );
        demand(
            7,
            raw(
                libc::SYS_close_range,
                [stub::CONTROL_FD as u64 + 1, u32::MAX.into(), 0, 0, 0, 0],
            ),
        );

        std::arch::asm!("jmp {entry}", entry = in(reg) stub::template(), in("r13") stub::CONTROL, options(noreturn));
    }
}

/// A registered area would kill the thread once it is unmapped (`rseq(2)`).
unsafe fn unregister_rseq() -> i64 {
    unsafe extern "C" {
        static __rseq_offset: isize;
        static __rseq_size: u32;
    }
    // SAFETY: glibc 2.35 defines both; the area lies at that offset from the thread pointer. A wrong length or address only gives an error.
    unsafe {
        if __rseq_size == 0 {
            return 0;
        }
        let pointer: *const u8;
        std::arch::asm!("mov {}, fs:0", out(reg) pointer);
        let area = pointer.offset(__rseq_offset) as u64;
        const UNREGISTER: u64 = 1;
        let mut result = 0;
        for len in [
            32,
            u64::from(__rseq_size),
            u64::from(__rseq_size).next_multiple_of(32),
        ] {
            result = raw(libc::SYS_rseq, [area, len, UNREGISTER, 0x5305_3053, 0, 0]);
            if result == 0 {
                break;
            }
        }
        result
    }
}
