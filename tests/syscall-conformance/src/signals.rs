//! Signals in cases: a handler that records, masks by name, and calls interrupted on purpose.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};

use crate::child::fork;
use crate::host::{self, Ret, SigInfo, gettid, info_in_handler, siginfo_parts, sys, zeroed};

/// How many deliveries are remembered.
const ROOM: usize = 64;

static COUNT: AtomicUsize = AtomicUsize::new(0);
static SEEN: [(AtomicI32, AtomicI32, AtomicI32, AtomicUsize); ROOM] = [const {
    (
        AtomicI32::new(0),
        AtomicI32::new(0),
        AtomicI32::new(0),
        AtomicUsize::new(0),
    )
}; ROOM];

/// The recording handler.
extern "C" fn record(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let parts = siginfo_parts(info_in_handler(info));
    let at = COUNT.fetch_add(1, SeqCst) % ROOM;
    SEEN[at].0.store(signal, SeqCst);
    SEEN[at].1.store(parts.code, SeqCst);
    SEEN[at].2.store(parts.pid, SeqCst);
    SEEN[at].3.store(parts.value, SeqCst);
}

/// Records deliveries of `signal`; `flags` beside SA_SIGINFO.
pub(crate) fn handle(signal: i32, flags: i32) -> Ret {
    host::install(signal, record, flags, &[])
}

/// As [`handle`], with `during` blocked while the handler runs.
pub(crate) fn handle_blocking(signal: i32, flags: i32, during: &[i32]) -> Ret {
    host::install(signal, record, flags, during)
}

/// SIG_IGN.
pub(crate) fn ignore(signal: i32) -> Ret {
    host::install_plain(signal, libc::SIG_IGN)
}

/// SIG_DFL.
pub(crate) fn reset(signal: i32) -> Ret {
    host::install_plain(signal, libc::SIG_DFL)
}

/// What was recorded since the last call: `SIGUSR1 SI_USER, SIGRTMIN+1 SI_QUEUE 7`.
pub(crate) fn caught() -> String {
    let count = COUNT.swap(0, SeqCst).min(ROOM);
    let one = |i: usize| {
        let (signal, code) = (SEEN[i].0.load(SeqCst), SEEN[i].1.load(SeqCst));
        let value = if code == libc::SI_QUEUE {
            format!(" {}", SEEN[i].3.load(SeqCst))
        } else {
            String::new()
        };
        format!("{} {}{value}", name_of(signal), code_name(signal, code))
    };
    if count == 0 {
        "none".to_owned()
    } else {
        (0..count).map(one).collect::<Vec<_>>().join(", ")
    }
}

/// [`caught`], once there is something: for signals that the kernel sends after the call that reports the same event.
pub(crate) fn next_caught() -> String {
    while COUNT.load(SeqCst) == 0 {
        sys!(libc::SYS_sched_yield);
    }
    caught()
}

/// How many deliveries were recorded, without their details.
pub(crate) fn caught_count() -> usize {
    COUNT.swap(0, SeqCst)
}

/// The sender's pid of the first delivery recorded since (or before) the last [`caught`].
pub(crate) fn last_sender() -> i32 {
    SEEN[0].2.load(SeqCst)
}

/// `SIGUSR1`, `SIGRTMIN+3`.
pub(crate) fn name_of(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) if signal >= libc::SIGRTMIN() => format!("SIGRTMIN+{}", signal - libc::SIGRTMIN()),
        Err(_) => format!("signal {signal}"),
    }
}

/// The name of an `si_code`.
pub(crate) fn code_name(signal: i32, code: i32) -> String {
    let name = match (signal, code) {
        (_, libc::SI_USER) => "SI_USER",
        (_, libc::SI_TKILL) => "SI_TKILL",
        (_, libc::SI_QUEUE) => "SI_QUEUE",
        (_, libc::SI_TIMER) => "SI_TIMER",
        (_, libc::SI_MESGQ) => "SI_MESGQ",
        (_, libc::SI_KERNEL) => "SI_KERNEL",
        (libc::SIGSEGV, 1) => "SEGV_MAPERR",
        (libc::SIGSEGV, 2) => "SEGV_ACCERR",
        (libc::SIGBUS, 2) => "BUS_ADRERR",
        (libc::SIGFPE, 1) => "FPE_INTDIV",
        (libc::SIGILL, 2) => "ILL_ILLOPN",
        (libc::SIGTRAP, 1) => "TRAP_BRKPT",
        (libc::SIGCHLD, 1) => "CLD_EXITED",
        (libc::SIGCHLD, 2) => "CLD_KILLED",
        (libc::SIGCHLD, 3) => "CLD_DUMPED",
        (libc::SIGCHLD, 5) => "CLD_STOPPED",
        (libc::SIGCHLD, 6) => "CLD_CONTINUED",
        (libc::SIGSYS, 1) => "SYS_SECCOMP",
        _ => return format!("code {code}"),
    };
    name.to_owned()
}

/// A kernel signal set of these signals.
pub(crate) fn set_of(signals: &[i32]) -> u64 {
    signals
        .iter()
        .fold(0, |set, signal| set | 1 << (signal - 1))
}

/// The names of the signals in a kernel set.
pub(crate) fn names_in(set: u64) -> String {
    let names: Vec<_> = (1..=64)
        .filter(|signal| set & 1 << (signal - 1) != 0)
        .map(name_of)
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(",")
    }
}

/// Adds to the thread's mask.
pub(crate) fn block(signals: &[i32]) {
    sys!(
        libc::SYS_rt_sigprocmask,
        libc::SIG_BLOCK,
        &set_of(signals),
        0,
        8
    )
    .must();
}

/// Removes from the thread's mask.
pub(crate) fn unblock(signals: &[i32]) {
    sys!(
        libc::SYS_rt_sigprocmask,
        libc::SIG_UNBLOCK,
        &set_of(signals),
        0,
        8
    )
    .must();
}

/// The thread's mask, by name.
pub(crate) fn mask() -> String {
    let mut set = 0u64;
    sys!(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, 0, &mut set, 8).must();
    names_in(set)
}

/// What is pending for the thread or the process, by name.
pub(crate) fn pending() -> String {
    let mut set = 0u64;
    sys!(libc::SYS_rt_sigpending, &mut set, 8).must();
    names_in(set)
}

/// Sends the calling thread a signal; unless blocked, it is delivered before this returns.
pub(crate) fn kill_self(signal: i32) -> Ret {
    sys!(libc::SYS_tgkill, host::getpid(), gettid(), signal)
}

/// Sends a signal with a value to the process.
pub(crate) fn queue_self(signal: i32, value: usize) -> Ret {
    queue(host::getpid(), signal, value)
}

/// `rt_sigqueueinfo` as `sigqueue(3)` fills it in.
pub(crate) fn queue(pid: i32, signal: i32, value: usize) -> Ret {
    // siginfo_t of the kernel: signo, errno, code, pad, pid, uid, value.
    let mut info = [0u32; 32];
    info[0] = signal as u32;
    info[2] = libc::SI_QUEUE as u32;
    info[4] = host::getpid() as u32;
    info[5] = sys!(libc::SYS_getuid).0 as u32;
    info[6] = value as u32;
    info[7] = (value >> 32) as u32;
    sys!(libc::SYS_rt_sigqueueinfo, pid, signal, &info)
}

/// Runs `body` while SIGALRM arrives every few milliseconds at a handler with these flags: a call of `body` that blocks is interrupted
/// for sure, wherever the first alarm fell.
pub(crate) fn alarmed<T>(flags: i32, body: impl FnOnce() -> T) -> T {
    handle(libc::SIGALRM, flags).must();
    let tick = libc::timeval {
        tv_sec: 0,
        tv_usec: 5000,
    };
    let timer = libc::itimerval {
        it_interval: tick,
        it_value: tick,
    };
    sys!(libc::SYS_setitimer, libc::ITIMER_REAL, &timer, 0).must();
    let result = body();
    let caught_in_body = caught_count();
    let off: libc::itimerval = zeroed();
    sys!(libc::SYS_setitimer, libc::ITIMER_REAL, &off, 0).must();
    // EINTR without a handler having run would be a signal lost, or late.
    if caught_in_body == 0 {
        host::say("no handler ran");
    }
    caught_count();
    result
}

/// [`alarmed`] without SA_RESTART: what a blocking call returns when a handler ran.
pub(crate) fn interrupted<T>(body: impl FnOnce() -> T) -> T {
    alarmed(0, body)
}

static FAULT_BASE: AtomicUsize = AtomicUsize::new(0);

/// Reports a fault and ends the process: a fault handler that returned would fault again.
extern "C" fn report_fault(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let SigInfo { code, addr, .. } = siginfo_parts(info_in_handler(info));
    let base = FAULT_BASE.load(SeqCst);
    let place = match addr.checked_sub(base) {
        _ if addr == 0 => "address 0".to_owned(),
        Some(offset) if offset < 1 << 30 => format!("base+{offset:#x}"),
        _ => "elsewhere".to_owned(),
    };
    host::say(&format!(
        "  {} {} at {place}",
        name_of(signal),
        code_name(signal, code)
    ));
    host::exit_now(0)
}

/// Runs `body` in a child that reports the fault it ends with: signal, code, and the address relative to `base`.
pub(crate) fn fault_report<T>(what: &str, base: usize, body: impl FnOnce() -> T) {
    let child = fork(|| {
        FAULT_BASE.store(base, SeqCst);
        for signal in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGTRAP,
            libc::SIGSYS,
        ] {
            host::install(signal, report_fault, 0, &[]).must();
        }
        host::say(what);
        body();
        host::say("  no fault");
        0
    });
    let status = child.wait().to_string();
    if status != "exited 0" {
        host::say(&format!("  {status}"));
    }
}
