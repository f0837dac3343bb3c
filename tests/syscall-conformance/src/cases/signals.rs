//! Delivery: handlers and their flags, masks, waiting for signals, stacks, default actions.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst};

use crate::host::{action_of, context_register, install, stack_address};
use crate::prelude::*;

cases![
    handler_runs, handler_siginfo_sender, sigaction_errors, sigaction_reports_old, mask_blocks_then_delivers, mask_cannot_block_kill,
    mask_during_handler, nodefer_nests, resethand_resets, restart_read, no_restart_read, standard_signals_merge, lowest_signal_first,
    sigsuspend_waits_and_restores, sigsuspend_with_pending, pause_returns_eintr, sigtimedwait_takes, sigtimedwait_times_out,
    sigtimedwait_interrupted_by_other, sigaltstack_is_used, sigaltstack_errors, sigaltstack_autodisarm, kill_targets, kill_errors,
    tgkill_errors, default_actions, ignored_signals_vanish, stop_and_continue, sigcont_runs_handler_and_clears_stops, sigkill_stopped_process,
    handler_edits_registers, handler_changes_mask_in_context, vector_registers_kept, nested_handlers_unwind, signal_to_blocked_thread,
    signal_goes_to_unblocked_thread, sigpipe_kills_or_epipe, abort_cannot_be_survived, signal_during_sleep_remaining, sigprocmask_errors,
];

fn handler_runs() {
    handle(SIGUSR1, 0);
    kill_self(SIGUSR1);
    say!("{}", caught());
    sys!(SYS_kill, getpid(), SIGUSR1);
    say!("{}", caught());
    sys!(SYS_tkill, gettid(), SIGUSR1);
    say!("{}", caught());
}

fn handler_siginfo_sender() {
    handle(SIGUSR1, 0);
    let me = getpid();
    let child = fork(move || {
        sys!(SYS_kill, me, SIGUSR1);
        0
    });
    child.wait();
    say!("sender is the child: {}", crate::signals::last_sender() == child.0);
    say!("{}", caught());
}

fn sigaction_errors() {
    for signal in [0, 65, -1] {
        say!("signal {signal}: {}", sys!(SYS_rt_sigaction, signal, NULL, NULL, 8));
    }
    let action = [0u64; 4];
    say!("set SIGKILL: {}", sys!(SYS_rt_sigaction, SIGKILL, &action, NULL, 8));
    say!("set SIGSTOP: {}", sys!(SYS_rt_sigaction, SIGSTOP, &action, NULL, 8));
    say!("query SIGKILL: {}", sys!(SYS_rt_sigaction, SIGKILL, NULL, NULL, 8));
    say!("wrong set size: {}", sys!(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4));
    say!("bad pointer: {}", sys!(SYS_rt_sigaction, SIGUSR1, 8, NULL, 8));
    say!("bad old pointer: {}", sys!(SYS_rt_sigaction, SIGUSR1, NULL, 8, 8));
}

fn sigaction_reports_old() {
    say!("default {:?}", action_of(SIGUSR1));
    ignore(SIGUSR1);
    say!("ignored {:?}", action_of(SIGUSR1).map(|(handler, _)| handler));
    handle(SIGUSR1, SA_NODEFER | SA_RESETHAND);
    let (handler, flags) = action_of(SIGUSR1).unwrap();
    say!("handler set {}, flags {flags:#x}", handler > 1);
}

fn mask_blocks_then_delivers() {
    handle(SIGUSR1, 0);
    block(&[SIGUSR1]);
    kill_self(SIGUSR1);
    say!("blocked: caught {}, pending {}", caught(), pending());
    unblock(&[SIGUSR1]);
    say!("unblocked: caught {}, pending {}", caught(), pending());
}

fn mask_cannot_block_kill() {
    sys!(SYS_rt_sigprocmask, SIG_SETMASK, &u64::MAX, NULL, 8).must();
    let names = mask();
    say!("KILL {}, STOP {}, TERM {}", names.contains("SIGKILL"), names.contains("SIGSTOP"), names.contains("SIGTERM"));
}

static IN_HANDLER: AtomicI64 = AtomicI64::new(0);

extern "C" fn note_mask(_: i32, _: *mut siginfo_t, _: *mut c_void) {
    let mut set = 0u64;
    sys!(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mut set, 8);
    IN_HANDLER.store(set as i64, SeqCst);
}

fn mask_during_handler() {
    block(&[SIGTERM]);
    install(SIGUSR1, note_mask, 0, &[SIGUSR2, SIGINT]);
    kill_self(SIGUSR1);
    say!("inside: {}", crate::signals::names_in(IN_HANDLER.load(SeqCst) as u64));
    say!("after: {}", mask());
    install(SIGUSR1, note_mask, SA_NODEFER, &[]);
    kill_self(SIGUSR1);
    say!("inside with SA_NODEFER: {}", crate::signals::names_in(IN_HANDLER.load(SeqCst) as u64));
}

static DEPTH: AtomicUsize = AtomicUsize::new(0);
static DEEPEST: AtomicUsize = AtomicUsize::new(0);
static RUNS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn nest(signal: i32, _: *mut siginfo_t, _: *mut c_void) {
    let depth = DEPTH.fetch_add(1, SeqCst) + 1;
    DEEPEST.fetch_max(depth, SeqCst);
    if RUNS.fetch_add(1, SeqCst) < 4 {
        kill_self(signal);
    }
    DEPTH.fetch_sub(1, SeqCst);
}

fn nodefer_nests() {
    install(SIGUSR1, nest, 0, &[]);
    kill_self(SIGUSR1);
    say!("deferred: runs {}, deepest {}", RUNS.swap(0, SeqCst), DEEPEST.swap(0, SeqCst));
    install(SIGUSR1, nest, SA_NODEFER, &[]);
    kill_self(SIGUSR1);
    say!("SA_NODEFER: runs {}, deepest {}", RUNS.load(SeqCst), DEEPEST.load(SeqCst));
}

fn resethand_resets() {
    handle(SIGUSR1, SA_RESETHAND);
    let child = fork(|| {
        kill_self(SIGUSR1);
        say!("first: {}, action now {:?}", caught(), action_of(SIGUSR1).map(|(handler, _)| handler));
        kill_self(SIGUSR1);
        0
    });
    say!("second: {}", child.wait());
}

fn restart_read() {
    let (r, w) = pipe();
    let writer = after(30, || write(w, b"data"));
    say!("{}", alarmed(SA_RESTART, || read(r, 8)));
    writer.wait();
}

fn no_restart_read() {
    let (r, _w) = pipe();
    say!("{}", interrupted(|| read(r, 8)));
}

fn standard_signals_merge() {
    handle(SIGUSR1, 0);
    block(&[SIGUSR1]);
    for _ in 0..5 {
        kill_self(SIGUSR1);
    }
    unblock(&[SIGUSR1]);
    say!("{}", caught());
}

fn lowest_signal_first() {
    let signals = [SIGTERM, SIGHUP, SIGUSR2, SIGINT];
    block(&signals);
    for signal in signals {
        handle_blocking(signal, 0, &signals);
        kill_self(signal);
    }
    unblock(&signals);
    say!("{}", caught());
}

fn sigsuspend_waits_and_restores() {
    handle(SIGUSR1, 0);
    block(&[SIGUSR1, SIGUSR2]);
    let parent = getpid();
    let child = after(20, || sys!(SYS_kill, parent, SIGUSR1));
    say!("{}", sys!(SYS_rt_sigsuspend, &set_of(&[SIGUSR2]), 8));
    say!("caught {}, mask {}", caught(), mask());
    child.wait();
}

fn sigsuspend_with_pending() {
    handle(SIGUSR1, 0);
    block(&[SIGUSR1]);
    kill_self(SIGUSR1);
    say!("{}", sys!(SYS_rt_sigsuspend, &0u64, 8));
    say!("caught {}, mask {}", caught(), mask());
    say!("wrong size: {}", sys!(SYS_rt_sigsuspend, &0u64, 4));
    say!("bad pointer: {}", sys!(SYS_rt_sigsuspend, 8, 8));
}

fn pause_returns_eintr() {
    say!("{}", interrupted(|| sys!(SYS_pause)));
    say!("even with SA_RESTART: {}", alarmed(SA_RESTART, || sys!(SYS_pause)));
}

fn sigtimedwait_takes() {
    block(&[SIGUSR1, SIGUSR2]);
    sys!(SYS_kill, getpid(), SIGUSR2);
    kill_self(SIGUSR1);
    let mut info: siginfo_t = zeroed();
    for _ in 0..2 {
        let got = sys!(SYS_rt_sigtimedwait, &set_of(&[SIGUSR1, SIGUSR2]), &mut info, NULL, 8);
        say!("{} {}", name_of(got.0 as i32), crate::signals::code_name(info.si_signo, info.si_code));
    }
    say!("pending {}", pending());
    let parent = getpid();
    let child = after(20, || sys!(SYS_kill, parent, SIGUSR1));
    say!("woken by {}", name_of(sys!(SYS_rt_sigtimedwait, &set_of(&[SIGUSR1]), NULL, NULL, 8).0 as i32));
    child.wait();
}

fn sigtimedwait_times_out() {
    block(&[SIGUSR1]);
    let set = set_of(&[SIGUSR1]);
    say!("at once: {}", sys!(SYS_rt_sigtimedwait, &set, NULL, &timespec_ms(0), 8));
    let start = now_ns();
    say!("after 20 ms: {}", sys!(SYS_rt_sigtimedwait, &set, NULL, &timespec_ms(20), 8));
    say!("it did wait: {}", now_ns() - start >= 20_000_000);
    let bad = timespec { tv_sec: 0, tv_nsec: 1_000_000_000 };
    say!("bad timeout: {}", sys!(SYS_rt_sigtimedwait, &set, NULL, &bad, 8));
}

fn sigtimedwait_interrupted_by_other() {
    block(&[SIGUSR1]);
    say!("{}", interrupted(|| sys!(SYS_rt_sigtimedwait, &set_of(&[SIGUSR1]), NULL, NULL, 8)));
}

static STACK_SEEN: AtomicUsize = AtomicUsize::new(0);
static FLAGS_SEEN: AtomicI64 = AtomicI64::new(-1);

extern "C" fn note_stack(_: i32, _: *mut siginfo_t, _: *mut c_void) {
    STACK_SEEN.store(stack_address(), SeqCst);
    let mut now: stack_t = zeroed();
    sys!(SYS_sigaltstack, NULL, &mut now);
    FLAGS_SEEN.store(now.ss_flags.into(), SeqCst);
    let disabled = stack_t { ss_sp: std::ptr::null_mut(), ss_flags: SS_DISABLE, ss_size: 0 };
    RUNS.store(sys!(SYS_sigaltstack, &disabled, NULL).0.unsigned_abs() as usize, SeqCst);
}

fn alternate(flags: i32) -> (Map, stack_t) {
    let memory = map_anon(64 * 1024);
    (memory, stack_t { ss_sp: memory.addr as *mut c_void, ss_flags: flags, ss_size: memory.len })
}

fn sigaltstack_is_used() {
    let (memory, stack) = alternate(0);
    sys!(SYS_sigaltstack, &stack, NULL).must();
    let inside = || (memory.addr..memory.addr + memory.len).contains(&STACK_SEEN.load(SeqCst));
    install(SIGUSR1, note_stack, SA_ONSTACK, &[]);
    kill_self(SIGUSR1);
    say!("on it: {}, flags inside {}, changing it inside: errno {}", inside(), FLAGS_SEEN.load(SeqCst), RUNS.load(SeqCst));
    let mut now: stack_t = zeroed();
    sys!(SYS_sigaltstack, NULL, &mut now).must();
    say!("flags after {}, size {}", now.ss_flags, now.ss_size);
    install(SIGUSR1, note_stack, 0, &[]);
    kill_self(SIGUSR1);
    say!("without SA_ONSTACK on it: {}, flags inside {}", inside(), FLAGS_SEEN.load(SeqCst));
}

fn sigaltstack_errors() {
    let (_, mut stack) = alternate(0);
    stack.ss_size = 100;
    say!("too small: {}", sys!(SYS_sigaltstack, &stack, NULL));
    let (_, stack) = alternate(77);
    say!("bad flags: {}", sys!(SYS_sigaltstack, &stack, NULL));
    say!("bad pointer: {}", sys!(SYS_sigaltstack, 8, NULL));
    let (_, stack) = alternate(SS_DISABLE);
    say!("disable: {}", sys!(SYS_sigaltstack, &stack, NULL));
    let mut now: stack_t = zeroed();
    sys!(SYS_sigaltstack, NULL, &mut now).must();
    say!("flags {}", now.ss_flags);
}

fn sigaltstack_autodisarm() {
    const SS_AUTODISARM: i32 = 1 << 31;
    let (_, stack) = alternate(SS_AUTODISARM);
    sys!(SYS_sigaltstack, &stack, NULL).must();
    install(SIGUSR1, note_stack, SA_ONSTACK, &[]);
    kill_self(SIGUSR1);
    say!("flags inside {}", FLAGS_SEEN.load(SeqCst));
    let mut now: stack_t = zeroed();
    sys!(SYS_sigaltstack, NULL, &mut now).must();
    say!("flags after {:#x}", now.ss_flags);
}

fn kill_targets() {
    ignore(SIGTERM);
    let (r, w) = pipe();
    let member = || {
        sys!(SYS_setpgid, 0, 0);
        reset(SIGTERM);
        write(w, b"x");
        sys!(SYS_pause);
        0
    };
    let group: [Child; 3] = std::array::from_fn(|_| fork(member));
    (0..3).for_each(|_| unused(read(r, 1)));
    for child in &group[1..] {
        sys!(SYS_setpgid, child.0, group[0].0).must();
    }
    say!("to a group: {}", sys!(SYS_kill, -group[0].0, SIGTERM));
    for child in group {
        say!("{}", child.wait());
    }
}

fn kill_errors() {
    let child = fork(|| 0);
    child.wait();
    say!("nobody: {}", child.kill(SIGTERM));
    say!("no such group: {}", sys!(SYS_kill, -child.0, SIGTERM));
    say!("bad signal: {}", sys!(SYS_kill, getpid(), 65));
    say!("signal 0 to self: {}", sys!(SYS_kill, getpid(), 0));
    let other = fork(|| {
        sys!(SYS_setresuid, 4321, 4321, 4321).must();
        i32::from(sys!(SYS_kill, sys!(SYS_getppid).0, SIGTERM).0 == -i64::from(EPERM))
    });
    say!("without permission EPERM: {}", other.wait());
}

fn tgkill_errors() {
    say!("wrong group: {}", sys!(SYS_tgkill, 1, gettid(), 0).ok());
    say!("tgid 0: {}", sys!(SYS_tgkill, 0, gettid(), 0));
    say!("tid -1: {}", sys!(SYS_tgkill, getpid(), -1, 0));
    say!("bad signal: {}", sys!(SYS_tgkill, getpid(), gettid(), 65));
    say!("tkill 0: {}", sys!(SYS_tkill, 0, 0));
}

fn default_actions() {
    let fatal = [SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGSTKFLT];
    let more = [SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSYS, SIGTRAP, SIGRTMIN(), SIGRTMAX(), SIGCHLD, SIGCONT, SIGURG, SIGWINCH];
    set_soft_limit(RLIMIT_CORE, 0).must();
    for signal in fatal.into_iter().chain(more) {
        let child = fork(|| {
            reset(signal);
            kill_self(signal);
            0
        });
        say!("{}: {}", name_of(signal), child.wait());
    }
}

fn ignored_signals_vanish() {
    block(&[SIGUSR1]);
    kill_self(SIGUSR1);
    ignore(SIGUSR1);
    say!("pending after ignoring: {}", pending());
    kill_self(SIGUSR1);
    say!("blocked and ignored: {}", pending());
    unblock(&[SIGUSR1]);
    say!("alive");
}

fn stop_and_continue() {
    let (r, w) = pipe();
    let child = fork(|| {
        // An orphaned group would ignore the terminal's stop signals; this one has its parent outside.
        sys!(SYS_setpgid, 0, 0).must();
        for i in 0..3 {
            kill_self([SIGSTOP, SIGTSTP, SIGTTIN][i]);
            write(w, b"resumed ");
        }
        9
    });
    for _ in 0..3 {
        say!("{}", child.wait_options(WUNTRACED));
        child.kill(SIGCONT);
        say!("{}", read(r, 16));
    }
    say!("{}", child.wait());
}

fn sigcont_runs_handler_and_clears_stops() {
    let (r, w) = pipe();
    let child = fork(|| {
        handle(SIGCONT, 0);
        block(&[SIGTSTP]);
        kill_self(SIGTSTP);
        kill_self(SIGCONT);
        say!("stop pending after SIGCONT: {}", pending());
        say!("caught {}", caught());
        kill_self(SIGSTOP);
        write(w, caught().as_bytes());
        0
    });
    child.wait_options(WUNTRACED);
    child.kill(SIGCONT);
    say!("handler ran before the rest: {}", read(r, 64));
    say!("{}", child.wait());
}

fn sigkill_stopped_process() {
    let child = fork(|| {
        handle(SIGTERM, 0);
        kill_self(SIGSTOP);
        0
    });
    child.wait_options(WUNTRACED);
    child.kill(SIGTERM);
    say!("SIGTERM does not wake it: {}", child.wait_options(WNOHANG));
    child.kill(SIGKILL);
    say!("{}", child.wait());
}

extern "C" fn set_result(_: i32, _: *mut siginfo_t, context: *mut c_void) {
    // The interrupted call has returned: its result is in the saved rax.
    context_register(context, REG_RAX, Some(777));
}

fn handler_edits_registers() {
    install(SIGUSR1, set_result, 0, &[]);
    say!("tgkill returned {}", kill_self(SIGUSR1));
}

extern "C" fn block_in_context(_: i32, _: *mut siginfo_t, context: *mut c_void) {
    crate::host::context_mask(context, |set| set | set_of(&[SIGINT]));
}

fn handler_changes_mask_in_context() {
    install(SIGUSR1, block_in_context, 0, &[]);
    kill_self(SIGUSR1);
    say!("mask after the handler {}", mask());
}

extern "C" fn scribble(_: i32, _: *mut siginfo_t, _: *mut c_void) {
    crate::host::scribble_vector_registers();
    RUNS.fetch_add(1, SeqCst);
}

fn vector_registers_kept() {
    install(SIGUSR1, scribble, 0, &[]);
    say!("kept {}, handler ran {}", crate::host::vector_registers_survive(SIGUSR1), RUNS.load(SeqCst));
}

extern "C" fn raise_next(signal: i32, _: *mut siginfo_t, _: *mut c_void) {
    say!("enter {}", name_of(signal));
    if signal < SIGRTMIN() + 4 {
        kill_self(signal + 1);
    }
    say!("leave {}", name_of(signal));
}

fn nested_handlers_unwind() {
    for signal in SIGRTMIN()..SIGRTMIN() + 5 {
        install(signal, raise_next, 0, &[]);
    }
    kill_self(SIGRTMIN());
}

fn signal_to_blocked_thread() {
    handle(SIGUSR1, 0);
    let (r, _w) = pipe();
    let (tid_r, tid_w) = pipe();
    let reader = std::thread::spawn(move || {
        write(tid_w, &gettid().to_ne_bytes());
        read(r, 1).to_string()
    });
    let tid = i32::from_ne_bytes(read(tid_r, 4).0.unwrap().try_into().unwrap());
    while !reader.is_finished() {
        sys!(SYS_tgkill, getpid(), tid, SIGUSR1);
        sys!(SYS_sched_yield);
    }
    say!("{}", reader.join().unwrap());
}

fn signal_goes_to_unblocked_thread() {
    handle(SIGUSR1, 0);
    block(&[SIGUSR1]);
    let (r, w) = pipe();
    let (ready_r, ready_w) = pipe();
    let taker = std::thread::spawn(move || {
        unblock(&[SIGUSR1]);
        write(ready_w, b"x");
        let got = read(r, 1).to_string();
        (got, caught())
    });
    read(ready_r, 1);
    sys!(SYS_kill, getpid(), SIGUSR1);
    // Taken by the other thread, so nothing stays pending here; when its read was not yet blocked, the byte ends it.
    while !pending().is_empty() && pending() != "none" {
        sys!(SYS_sched_yield);
    }
    write(w, b"z");
    let (_, seen) = taker.join().unwrap();
    say!("{seen}");
}

fn sigpipe_kills_or_epipe() {
    let (r, w) = pipe();
    close(r);
    let child = fork(|| {
        reset(SIGPIPE);
        write(w, b"x");
        0
    });
    say!("{}", child.wait());
    ignore(SIGPIPE);
    say!("ignored: {}", write(w, b"x"));
    handle(SIGPIPE, 0);
    say!("handled: {}, {}", write(w, b"x"), caught());
}

fn abort_cannot_be_survived() {
    set_soft_limit(RLIMIT_CORE, 0).must();
    let child = fork(|| {
        handle(SIGABRT, 0);
        std::process::abort()
    });
    say!("{}", child.wait());
}

fn signal_during_sleep_remaining() {
    let mut left: timespec = zeroed();
    say!("{}", interrupted(|| sys!(SYS_nanosleep, &timespec_ms(10_000), &mut left)));
    say!("remaining between 9 and 10 s: {}", left.tv_sec == 9);
}

fn sigprocmask_errors() {
    say!("bad how: {}", sys!(SYS_rt_sigprocmask, 9, &0u64, NULL, 8));
    say!("bad how without a set: {}", sys!(SYS_rt_sigprocmask, 9, NULL, NULL, 8));
    say!("bad set: {}", sys!(SYS_rt_sigprocmask, SIG_BLOCK, 8, NULL, 8));
    say!("bad old: {}", sys!(SYS_rt_sigprocmask, SIG_BLOCK, NULL, 8, 8));
    say!("bad size: {}", sys!(SYS_rt_sigprocmask, SIG_BLOCK, NULL, NULL, 16));
    say!("sigpending size: {}", sys!(SYS_rt_sigpending, &0u64, 16));
}
