//! Filters that guests set on themselves.

use crate::prelude::*;

cases![
    errno_and_allow, kill_process_and_thread, trap_signal, stacked_filters_most_severe_wins, arguments_are_tested, inherited_and_kept_by_exec,
    strict_mode, needs_no_new_privs, bad_filters, log_and_trace_without_tracer, get_action_avail, all_threads_by_tsync,
];

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// A program that answers `verdict` for call `nr` and allows the rest.
fn only(nr: i64, verdict: u32) -> Vec<sock_filter> {
    vec![instruction(0x20, 0, 0, 0), instruction(0x15, 0, 1, nr as u32), instruction(0x06, 0, 0, verdict), instruction(0x06, 0, 0, ALLOW)]
}

fn install(program: &[sock_filter], flags: u32) -> Ret {
    let program = sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    sys!(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program)
}

/// Runs `body` in a child that may confine itself, and says how it ended.
fn confined(body: impl FnOnce()) {
    set_soft_limit(RLIMIT_CORE, 0).must();
    let child = fork(|| {
        sys!(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).must();
        body();
        0
    });
    say!("{}", child.wait());
}

fn errno_and_allow() {
    confined(|| {
        say!("{}", install(&only(SYS_getpgrp, ERRNO | 7), 0));
        say!("{} others {}", sys!(SYS_getpgrp), sys!(SYS_getppid).ok());
        say!("mode {}", sys!(SYS_prctl, PR_GET_SECCOMP, 0, 0, 0, 0));
        install(&only(SYS_getpgrp, ERRNO | 9999), 0).must();
        say!("a stacked larger errno is cut {}", sys!(SYS_getpgrp));
    });
    confined(|| {
        install(&only(SYS_getpgrp, ERRNO), 0).must();
        say!("errno 0 is success {}", sys!(SYS_getpgrp));
    });
}

fn kill_process_and_thread() {
    confined(|| {
        install(&only(SYS_getpgrp, KILL_PROCESS), 0).must();
        std::thread::spawn(|| sys!(SYS_getpgrp)).join().ok();
        say!("not reached");
    });
    confined(|| {
        install(&only(SYS_getpgrp, KILL_THREAD), 0).must();
        sys!(SYS_getpgrp);
        say!("not reached");
    });
}

extern "C" fn report(signal: i32, info: *mut siginfo_t, context: *mut c_void) {
    let info = crate::host::info_in_handler(info);
    let nr = crate::host::context_register(context, REG_RAX, None);
    say!("{} {} errno {} nr kept {}", name_of(signal), crate::signals::code_name(signal, info.si_code), info.si_errno, nr == SYS_getpgrp);
    crate::host::context_register(context, REG_RAX, Some(99));
}

fn trap_signal() {
    confined(|| {
        crate::host::install(SIGSYS, report, 0, &[]).must();
        install(&only(SYS_getpgrp, TRAP | 5), 0).must();
        say!("{}", sys!(SYS_getpgrp));
    });
    confined(|| {
        install(&only(SYS_getpgrp, TRAP), 0).must();
        sys!(SYS_getpgrp);
    });
}

fn stacked_filters_most_severe_wins() {
    confined(|| {
        install(&only(SYS_getpgrp, ERRNO | 7), 0).must();
        install(&only(SYS_getpgrp, ALLOW), 0).must();
        say!("allow after errno {}", sys!(SYS_getpgrp));
        install(&only(SYS_getpgrp, ERRNO | 8), 0).must();
        say!("the latest of equals {}", sys!(SYS_getpgrp));
        install(&only(SYS_getpgrp, KILL_PROCESS), 0).must();
        sys!(SYS_getpgrp);
    });
}

fn arguments_are_tested() {
    confined(|| {
        // dup(7) is refused: number at 0, first argument's low word at 16.
        let program = [
            instruction(0x20, 0, 0, 0),
            instruction(0x15, 0, 3, SYS_dup as u32),
            instruction(0x20, 0, 0, 16),
            instruction(0x15, 0, 1, 7),
            instruction(0x06, 0, 0, ERRNO | 33),
            instruction(0x06, 0, 0, ALLOW),
        ];
        install(&program, 0).must();
        say!("{} {}", sys!(SYS_dup, 7), sys!(SYS_dup, 99));
        let arch = [instruction(0x20, 0, 0, 4), instruction(0x15, 1, 0, 0xc000_003e), instruction(0x06, 0, 0, KILL_PROCESS), instruction(0x06, 0, 0, ALLOW)];
        say!("architecture is x86-64 {}", install(&arch, 0));
    });
}

fn inherited_and_kept_by_exec() {
    confined(|| {
        install(&only(SYS_uname, ERRNO | EPERM as u32), 0).must();
        fork(|| {
            say!("child {}", sys!(SYS_uname, NULL));
            0
        })
        .wait();
        exec(c"/bin/sh", &[c"sh", c"-c", c"uname 2>/dev/null; echo code $?"], &[c"PATH=/bin:/usr/bin"]).must();
    });
}

fn strict_mode() {
    confined(|| {
        say!("{}", sys!(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0));
        say!("write still works");
        sys!(SYS_getpid);
    });
    confined(|| {
        sys!(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL).must();
        sys!(SYS_exit, 4);
    });
}

fn needs_no_new_privs() {
    let child = fork(|| {
        sys!(SYS_setresuid, 5, 5, 5).must();
        say!("{}", install(&only(SYS_getpgrp, ALLOW), 0));
        0
    });
    say!("{}", child.wait());
}

fn bad_filters() {
    confined(|| {
        say!("empty {}", install(&[], 0));
        say!("no return {}", install(&[instruction(0x20, 0, 0, 0)], 0));
        say!("jump out {}", install(&[instruction(0x15, 9, 9, 0), instruction(0x06, 0, 0, ALLOW)], 0));
        say!("odd offset {}", install(&[instruction(0x20, 0, 0, 3), instruction(0x06, 0, 0, ALLOW)], 0));
        say!("unknown instruction {}", install(&[instruction(0xff, 0, 0, 0), instruction(0x06, 0, 0, ALLOW)], 0));
        say!("too long {}", install(&vec![instruction(0x06, 0, 0, ALLOW); 4097], 0));
        say!("unknown flag {}, operation {}", install(&only(1, ALLOW), 1 << 20), sys!(SYS_seccomp, 99, 0, NULL));
        say!("bad pointer {}", sys!(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 8));
    });
}

fn log_and_trace_without_tracer() {
    confined(|| {
        install(&only(SYS_getpgrp, TRACE), 0).must();
        say!("trace without a tracer {}", sys!(SYS_getpgrp));
    });
    confined(|| {
        install(&only(SYS_getpgrp, LOG), 0).must();
        say!("log lets it through {}", sys!(SYS_getpgrp).ok());
    });
}

fn get_action_avail() {
    for action in [ALLOW, ERRNO, TRAP, KILL_PROCESS, 0x1234_0000] {
        say!("{action:#x} {}", sys!(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
    }
}

fn all_threads_by_tsync() {
    confined(|| {
        let (r, w) = pipe();
        let other = std::thread::spawn(move || {
            read(r, 1);
            sys!(SYS_getpgrp).to_string()
        });
        say!("{}", install(&only(SYS_getpgrp, ERRNO | 11), 1));
        write(w, b"x");
        say!("the other thread {}", other.join().unwrap());
    });
}
