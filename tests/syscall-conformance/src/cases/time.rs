//! Clocks, sleeping, interval and POSIX timers, resource limits and usage.

use crate::prelude::*;

cases![
    clocks_advance, clock_errors, clock_resolutions, gettimeofday_agrees, time_call, nanosleep_sleeps, nanosleep_errors,
    clock_nanosleep_absolute, clock_nanosleep_interrupted, itimer_real, itimer_get_and_replace, itimer_errors, itimer_virtual_and_prof,
    alarm_returns_left, posix_timer_signal, posix_timer_thread_and_none, posix_timer_overrun, posix_timer_waits_for_delivery, posix_timer_after_ignored_signal, posix_timer_set_anew_while_pending,
    posix_timer_errors, posix_timer_not_inherited,
    cpu_clocks, process_cpu_clock_of_child, times_call, getrusage_sane, rlimits_get_set, rlimit_errors, rlimit_inherited,
    cpu_limit_sends_sigxcpu, settime_needs_privilege, timers_survive_exec_or_not,
];

fn now(clock: i32) -> timespec {
    let mut time: timespec = zeroed();
    sys!(SYS_clock_gettime, clock, &mut time).must();
    time
}

fn ns(time: timespec) -> i64 {
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn clocks_advance() {
    for clock in [CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME, CLOCK_TAI, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE] {
        let before = ns(now(clock));
        sleep_ms(12);
        say!("clock {clock} {}", ns(now(clock)) > before);
    }
    say!("boot not before monotonic {}", ns(now(CLOCK_BOOTTIME)) >= ns(now(CLOCK_MONOTONIC)) - 1_000_000);
}

fn clock_errors() {
    let mut time: timespec = zeroed();
    say!("unknown {} {}", sys!(SYS_clock_gettime, 99, &mut time), sys!(SYS_clock_getres, 99, &mut time));
    say!("bad pointer {} {}", sys!(SYS_clock_gettime, CLOCK_REALTIME, 8), sys!(SYS_gettimeofday, 8, NULL));
    say!("null resolution {}", sys!(SYS_clock_getres, CLOCK_REALTIME, NULL));
}

fn clock_resolutions() {
    let mut time: timespec = zeroed();
    for clock in [CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID] {
        sys!(SYS_clock_getres, clock, &mut time).must();
        say!("{clock} {} {}", time.tv_sec, time.tv_nsec);
    }
}

fn gettimeofday_agrees() {
    let mut day: timeval = zeroed();
    say!("{}", sys!(SYS_gettimeofday, &mut day, NULL));
    say!("{}", (now(CLOCK_REALTIME).tv_sec - day.tv_sec).abs() <= 1);
    say!("after 2020 {}", day.tv_sec > 1_577_836_800);
}

fn time_call() {
    let mut stored = 0i64;
    let got = sys!(SYS_time, &mut stored);
    say!("{} {}", got.0 == stored, (now(CLOCK_REALTIME).tv_sec - stored).abs() <= 1);
    say!("bad pointer {}", sys!(SYS_time, 8));
}

fn nanosleep_sleeps() {
    let start = now_ns();
    say!("{}, slept {}", sys!(SYS_nanosleep, &timespec_ms(20), NULL), now_ns() - start >= 20_000_000);
    say!("zero {}", sys!(SYS_nanosleep, &timespec_ms(0), NULL));
}

fn nanosleep_errors() {
    let time = |sec, nsec| timespec { tv_sec: sec, tv_nsec: nsec };
    say!("{} {} {}", sys!(SYS_nanosleep, &time(0, 1_000_000_000), NULL), sys!(SYS_nanosleep, &time(-1, 0), NULL), sys!(SYS_nanosleep, &time(0, -1), NULL));
    say!("bad pointer {}", sys!(SYS_nanosleep, 8, NULL));
    say!("unknown clock {}", sys!(SYS_clock_nanosleep, 99, 0, &timespec_ms(1), NULL));
    say!("own thread clock {}", sys!(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &timespec_ms(1), NULL));
}

fn clock_nanosleep_absolute() {
    let mut until = now(CLOCK_MONOTONIC);
    until.tv_nsec += 20_000_000;
    if until.tv_nsec >= 1_000_000_000 {
        until.tv_sec += 1;
        until.tv_nsec -= 1_000_000_000;
    }
    say!("{}, reached {}", sys!(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL), ns(now(CLOCK_MONOTONIC)) >= ns(until));
    say!("in the past {}", sys!(SYS_clock_nanosleep, CLOCK_REALTIME, TIMER_ABSTIME, &timespec_ms(1), NULL));
}

fn clock_nanosleep_interrupted() {
    let mut left = timespec { tv_sec: 77, tv_nsec: 0 };
    say!("{}", interrupted(|| sys!(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &timespec_ms(10_000), &mut left)));
    say!("relative leaves {}", left.tv_sec);
    left.tv_sec = 77;
    let far = timespec { tv_sec: now(CLOCK_MONOTONIC).tv_sec + 100, tv_nsec: 0 };
    say!("{}", interrupted(|| sys!(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &far, &mut left)));
    say!("absolute writes nothing {}", left.tv_sec);
    say!("SA_RESTART does not restart it {}", alarmed(SA_RESTART, || sys!(SYS_nanosleep, &timespec_ms(10_000), NULL)));
}

fn interval(value_ms: i64, interval_ms: i64) -> itimerval {
    let time = |ms: i64| timeval { tv_sec: ms / 1000, tv_usec: ms % 1000 * 1000 };
    itimerval { it_interval: time(interval_ms), it_value: time(value_ms) }
}

fn itimer_real() {
    handle(SIGALRM, 0);
    let start = now_ns();
    sys!(SYS_setitimer, ITIMER_REAL, &interval(20, 0), NULL).must();
    say!("{}, waited {}, {}", sys!(SYS_pause), now_ns() - start >= 20_000_000, caught());
    sys!(SYS_setitimer, ITIMER_REAL, &interval(5, 5), NULL).must();
    (0..3).for_each(|_| unused(sys!(SYS_pause)));
    sys!(SYS_setitimer, ITIMER_REAL, &interval(0, 0), NULL).must();
    say!("repeats {}", caught_count() >= 3);
}

fn itimer_get_and_replace() {
    let mut old = interval(0, 0);
    sys!(SYS_setitimer, ITIMER_REAL, &interval(50_000, 7000), NULL).must();
    sys!(SYS_getitimer, ITIMER_REAL, &mut old).must();
    say!("interval {}, remaining {}", old.it_interval.tv_sec, (48..=50).contains(&old.it_value.tv_sec));
    say!("{} old interval {}", sys!(SYS_setitimer, ITIMER_REAL, &interval(0, 0), &mut old), old.it_interval.tv_sec);
    sys!(SYS_getitimer, ITIMER_REAL, &mut old).must();
    say!("off {} {}", old.it_value.tv_sec, old.it_value.tv_usec);
    sys!(SYS_setitimer, ITIMER_REAL, &interval(50_000, 0), NULL).must();
    say!("not inherited by a fork: {}", fork(|| {
        let mut own = interval(1, 1);
        sys!(SYS_getitimer, ITIMER_REAL, &mut own).must();
        own.it_value.tv_sec as i32
    })
    .wait());
}

fn itimer_errors() {
    say!("unknown {}", sys!(SYS_setitimer, 9, &interval(1, 0), NULL));
    say!("bad microseconds {}", sys!(SYS_setitimer, ITIMER_REAL, &[0i64, 0, 0, 1_000_000], NULL));
    say!("negative {}", sys!(SYS_setitimer, ITIMER_REAL, &[0i64, 0, -1, 0], NULL));
    say!("bad pointer {} {}", sys!(SYS_setitimer, ITIMER_REAL, 8, NULL), sys!(SYS_getitimer, ITIMER_REAL, 8));
}

/// Uses the CPU until `done`; gives up after a wall time in which even a crowded machine grants some seconds.
fn spin_until(done: impl Fn() -> bool) -> bool {
    let limit = now_ns() + 25_000_000_000;
    while now_ns() < limit {
        if done() {
            return true;
        }
    }
    false
}

fn itimer_virtual_and_prof() {
    for (timer, signal) in [(ITIMER_VIRTUAL, SIGVTALRM), (ITIMER_PROF, SIGPROF)] {
        block(&[signal]);
        sys!(SYS_setitimer, timer, &interval(10, 0), NULL).must();
        say!("{}", spin_until(|| pending().contains(&name_of(signal))));
    }
}

fn alarm_returns_left() {
    say!("{} {}", sys!(SYS_alarm, 100), (99..=100).contains(&sys!(SYS_alarm, 0).0));
    say!("{}", sys!(SYS_alarm, 0));
}

/// `sigevent` with this signal, value and kind.
fn event(signal: i32, value: u64, kind: i32, tid: i32) -> [u64; 8] {
    let mut event = [0u64; 8];
    event[0] = value;
    event[1] = signal as u64 | (kind as u64) << 32;
    event[2] = tid as u64;
    event
}

fn timer_create(event: &[u64; 8]) -> (Ret, i32) {
    let mut id = -1i32;
    let ret = sys!(SYS_timer_create, CLOCK_MONOTONIC, event, &mut id);
    (ret, id)
}

fn timespecs(value_ms: i64, interval_ms: i64) -> itimerspec {
    itimerspec { it_interval: timespec_ms(interval_ms), it_value: timespec_ms(value_ms) }
}

fn posix_timer_signal() {
    let signal = SIGRTMIN() + 1;
    block(&[signal]);
    let (ret, id) = timer_create(&event(signal, 42, 0, 0));
    say!("{ret}");
    say!("{}", sys!(SYS_timer_settime, id, 0, &timespecs(10, 0), NULL));
    let mut info: siginfo_t = zeroed();
    let got = sys!(SYS_rt_sigtimedwait, &set_of(&[signal]), &mut info, NULL, 8);
    let parts = crate::host::siginfo_parts(&info);
    say!("{} {} value {}", name_of(got.0 as i32), crate::signals::code_name(parts.signal, parts.code), parts.value);
    let mut left = timespecs(9, 9);
    sys!(SYS_timer_gettime, id, &mut left).must();
    say!("spent {} {}", left.it_value.tv_nsec, left.it_interval.tv_nsec);
    say!("delete {} again {}", sys!(SYS_timer_delete, id), sys!(SYS_timer_delete, id));
}

fn posix_timer_thread_and_none() {
    handle(SIGUSR1, 0);
    block(&[SIGUSR1]);
    let (ret, id) = timer_create(&event(SIGUSR1, 0, SIGEV_THREAD_ID, gettid()));
    say!("{ret}");
    sys!(SYS_timer_settime, id, 0, &timespecs(5, 0), NULL).must();
    say!("{}", name_of(sys!(SYS_rt_sigtimedwait, &set_of(&[SIGUSR1]), NULL, NULL, 8).0 as i32));
    let (_, silent) = timer_create(&event(0, 0, SIGEV_NONE, 0));
    sys!(SYS_timer_settime, silent, 0, &timespecs(1, 0), NULL).must();
    let mut left = timespecs(9, 9);
    say!("silent one expires {}", spin_until(|| {
        let mut left = timespecs(9, 9);
        sys!(SYS_timer_gettime, silent, &mut left).must();
        left.it_value.tv_nsec == 0
    }));
    sys!(SYS_timer_gettime, silent, &mut left).must();
    say!("pending {}", pending());
}

fn posix_timer_overrun() {
    block(&[SIGUSR1]);
    let (_, id) = timer_create(&event(SIGUSR1, 0, 0, 0));
    sys!(SYS_timer_settime, id, 0, &timespecs(1, 1), NULL).must();
    sleep_ms(30);
    let mut info: siginfo_t = zeroed();
    sys!(SYS_rt_sigtimedwait, &set_of(&[SIGUSR1]), &mut info, NULL, 8).must();
    say!("at least 10 {}", sys!(SYS_timer_getoverrun, id).0 >= 10);
}

/// `si_overrun` of a timer's siginfo.
fn si_overrun(info: &[i32; 32]) -> i32 {
    info[5]
}

fn posix_timer_waits_for_delivery() {
    block(&[SIGRTMIN()]);
    let (_, id) = timer_create(&event(SIGRTMIN(), 7, 0, 0));
    sys!(SYS_timer_settime, id, 0, &timespecs(1, 20), NULL).must();
    sleep_ms(110);
    say!("before delivery {}", sys!(SYS_timer_getoverrun, id));
    let mut left = timespecs(9, 9);
    sys!(SYS_timer_gettime, id, &mut left).must();
    say!("shown within a period {}", left.it_value.tv_nsec > 0 && left.it_value.tv_nsec <= 20_000_000);
    let mut info = [0i32; 32];
    let take = |info: &mut [i32; 32]| sys!(SYS_rt_sigtimedwait, &set_of(&[SIGRTMIN()]), info, &timespec_ms(0), 8).get().is_ok();
    let first = take(&mut info);
    let overrun = si_overrun(&info);
    say!("one signal {first}, overruns for five periods {}", (5..=6).contains(&overrun));
    say!("the call says the same {}", sys!(SYS_timer_getoverrun, id).0 == i64::from(overrun));
    say!("no second one {}", take(&mut info));
    sleep_ms(25);
    say!("the next period {}, overruns {}", take(&mut info), si_overrun(&info) <= 1);
    sys!(SYS_timer_settime, id, 0, &timespecs(0, 0), NULL).must();
}

fn posix_timer_after_ignored_signal() {
    let (_, id) = timer_create(&event(SIGUSR1, 0, 0, 0));
    ignore(SIGUSR1).must();
    sys!(SYS_timer_settime, id, 0, &timespecs(1, 2), NULL).must();
    sleep_ms(30);
    handle(SIGUSR1, 0).must();
    say!("heard once it is handled {}", spin_until(|| caught_count() > 0));
    say!("and again {}", spin_until(|| caught_count() > 0));
    block(&[SIGUSR1]);
    sleep_ms(10);
    // Takes the pending one away.
    ignore(SIGUSR1).must();
    handle(SIGUSR1, 0).must();
    unblock(&[SIGUSR1]);
    say!("goes on after that {}", spin_until(|| caught_count() > 0));
}

fn posix_timer_set_anew_while_pending() {
    block(&[SIGUSR1]);
    let (_, id) = timer_create(&event(SIGUSR1, 0, 0, 0));
    sys!(SYS_timer_settime, id, 0, &timespecs(1, 1), NULL).must();
    sleep_ms(20);
    sys!(SYS_timer_settime, id, 0, &timespecs(5000, 0), NULL).must();
    say!("overruns are forgotten {}", sys!(SYS_timer_getoverrun, id));
    let mut left = timespecs(9, 9);
    sys!(SYS_timer_gettime, id, &mut left).must();
    say!("new time {}", left.it_value.tv_sec >= 4);
}

fn posix_timer_errors() {
    say!("unknown clock {}", sys!(SYS_timer_create, 99, NULL, &mut 0i32));
    say!("bad signal {}", timer_create(&event(99, 0, 0, 0)).0);
    say!("bad kind {}", timer_create(&event(SIGUSR1, 0, 77, 0)).0);
    say!("other's thread {}", timer_create(&event(SIGUSR1, 0, SIGEV_THREAD_ID, 1)).0);
    let (_, id) = timer_create(&event(SIGUSR1, 0, 0, 0));
    say!("bad time {}", sys!(SYS_timer_settime, id, 0, &[0i64, 0, 0, 1_000_000_000], NULL));
    say!("unknown timer {} {}", sys!(SYS_timer_settime, 999, 0, &timespecs(1, 0), NULL), sys!(SYS_timer_getoverrun, 999));
    say!("bad pointer {}", sys!(SYS_timer_create, CLOCK_MONOTONIC, NULL, 8));
}

fn posix_timer_not_inherited() {
    let (_, id) = timer_create(&event(SIGUSR1, 0, 0, 0));
    say!("{}", fork(|| i32::from(sys!(SYS_timer_delete, id).0 == -i64::from(EINVAL))).wait());
}

fn cpu_clocks() {
    let before = ns(now(CLOCK_PROCESS_CPUTIME_ID));
    say!("thread clock runs {}", spin_until(|| ns(now(CLOCK_THREAD_CPUTIME_ID)) > 5_000_000));
    say!("process clock ran {}", ns(now(CLOCK_PROCESS_CPUTIME_ID)) - before >= 1_000_000);
    let idle = ns(now(CLOCK_PROCESS_CPUTIME_ID));
    sleep_ms(50);
    say!("sleeping costs little {}", ns(now(CLOCK_PROCESS_CPUTIME_ID)) - idle < 30_000_000);
}

fn process_cpu_clock_of_child() {
    let child = fork(|| {
        sys!(SYS_pause);
        0
    });
    let clock = !child.0 << 3 | 2;
    let mut time: timespec = zeroed();
    say!("{}", sys!(SYS_clock_gettime, clock, &mut time));
    child.kill(SIGKILL);
    child.wait();
    say!("gone {}", sys!(SYS_clock_gettime, clock, &mut time));
}

fn times_call() {
    let mut times = [0i64; 4];
    say!("spins until counted {}", spin_until(|| {
        let mut now = [0i64; 4];
        sys!(SYS_times, &mut now).must();
        now[0] + now[1] > 0
    }));
    fork(|| i32::from(!spin_until(|| ns(now(CLOCK_PROCESS_CPUTIME_ID)) > 30_000_000))).wait();
    sys!(SYS_times, &mut times).must();
    say!("children's time counts once waited for {}", times[2] + times[3] >= 2);
    say!("bad pointer {}", sys!(SYS_times, 8));
}

fn getrusage_sane() {
    let usage = |who: i32| {
        let mut usage: rusage = zeroed();
        sys!(SYS_getrusage, who, &mut usage).must();
        usage
    };
    spin_until(|| ns(now(CLOCK_PROCESS_CPUTIME_ID)) > 20_000_000);
    let own = usage(RUSAGE_SELF);
    say!("time {}", own.ru_utime.tv_sec * 1_000_000 + own.ru_utime.tv_usec + own.ru_stime.tv_usec > 0);
    say!("memory {}, faults {}", own.ru_maxrss > 100, own.ru_minflt > 10);
    sleep_ms(1);
    say!("voluntary switches {}", usage(RUSAGE_SELF).ru_nvcsw > 0);
    say!("children none yet {}", usage(RUSAGE_CHILDREN).ru_maxrss);
    say!("thread {}", usage(RUSAGE_THREAD).ru_maxrss > 0);
    say!("unknown {}, bad pointer {}", sys!(SYS_getrusage, 9, 8), sys!(SYS_getrusage, RUSAGE_SELF, 8));
}

fn rlimits_get_set() {
    set_soft_limit(RLIMIT_CORE, 0).must();
    say!("{}", rlimit_of(RLIMIT_CORE).rlim_cur);
    let limit = rlimit { rlim_cur: 100, rlim_max: 200 };
    let mut old: rlimit = zeroed();
    say!("{}", sys!(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, &mut old));
    say!("{} {}", rlimit_of(RLIMIT_NOFILE).rlim_cur, rlimit_of(RLIMIT_NOFILE).rlim_max);
    let mut again: rlimit = zeroed();
    say!("getrlimit {} {}", sys!(SYS_getrlimit, RLIMIT_NOFILE, &mut again), again.rlim_max);
    let child = fork(|| {
        sys!(SYS_pause);
        0
    });
    say!("a child's {}", sys!(SYS_prlimit64, child.0, RLIMIT_NOFILE, &rlimit { rlim_cur: 50, rlim_max: 60 }, &mut again));
    say!("its old {}", again.rlim_cur);
    child.kill(SIGKILL);
}

fn rlimit_errors() {
    say!("unknown {}", sys!(SYS_prlimit64, 0, 99, NULL, NULL));
    say!("soft above hard {}", sys!(SYS_setrlimit, RLIMIT_NOFILE, &rlimit { rlim_cur: 20, rlim_max: 10 }));
    say!("nobody {}", sys!(SYS_prlimit64, i32::MAX, RLIMIT_NOFILE, NULL, NULL));
    say!("bad pointer {}", sys!(SYS_getrlimit, RLIMIT_NOFILE, 8));
    fork(|| {
        sys!(SYS_setrlimit, RLIMIT_NOFILE, &rlimit { rlim_cur: 10, rlim_max: 10 }).must();
        sys!(SYS_setresuid, 5, 5, 5).must();
        say!("raise the hard one as user {}", sys!(SYS_setrlimit, RLIMIT_NOFILE, &rlimit { rlim_cur: 10, rlim_max: 11 }));
        0
    })
    .wait();
}

fn rlimit_inherited() {
    set_soft_limit(RLIMIT_NOFILE, 77).must();
    say!("{}", fork(|| rlimit_of(RLIMIT_NOFILE).rlim_cur as i32).wait());
    fork(|| exec(c"/bin/sh", &[c"sh", c"-c", c"ulimit -n"], &[]).0 as i32).wait();
}

fn cpu_limit_sends_sigxcpu() {
    // The limit counts whole seconds, so a process that has used none is given its first.
    let child = fork(|| {
        sys!(SYS_prlimit64, 0, RLIMIT_CPU, &rlimit { rlim_cur: 0, rlim_max: 0 }, NULL).must();
        spin_until(|| false);
        0
    });
    say!("{}", child.wait());
}

fn settime_needs_privilege() {
    fork(|| {
        sys!(SYS_setresuid, 5, 5, 5).must();
        say!("{} {}", sys!(SYS_clock_settime, CLOCK_REALTIME, &timespec_ms(1)), sys!(SYS_settimeofday, &timespec_ms(0), NULL));
        0
    })
    .wait();
    say!("monotonic never {}", sys!(SYS_clock_settime, CLOCK_MONOTONIC, &timespec_ms(1)));
}

fn timers_survive_exec_or_not() {
    // Interval timers survive an exec, POSIX timers do not.
    let child = fork(|| {
        sys!(SYS_setitimer, ITIMER_REAL, &interval(60, 0), NULL).must();
        exec(c"/bin/sleep", &[c"sleep", c"20"], &[]).0 as i32
    });
    say!("{}", child.wait());
    let child = fork(|| {
        let (_, id) = timer_create(&event(SIGTERM, 0, 0, 0));
        sys!(SYS_timer_settime, id, 0, &timespecs(60, 0), NULL).must();
        exec(c"/bin/sleep", &[c"sleep", c"0.2"], &[]).0 as i32
    });
    say!("{}", child.wait());
}
