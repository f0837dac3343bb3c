//! The wait family: what is reported, to whom, when, and what stays a zombie.

use crate::host::siginfo_parts;
use crate::prelude::*;
use crate::signals::{code_name, next_caught};

cases![
    wait_exit_and_signal, wait_nohang, wait_no_children, wait_bad_arguments, wait_by_group, wait_interrupted, wait_stopped_and_continued,
    waitid_fields, waitid_nowait_keeps_zombie, waitid_bad_arguments, sigchld_ignored_reaps, sigchld_nocldwait, sigchld_siginfo,
    sigchld_nocldstop, zombie_takes_signals, wait_rusage_is_filled, orphan_goes_to_subreaper, wait_from_another_thread,
    wait_nothread_sees_only_own, parent_death_signal,
];

fn paused() -> Child {
    fork(|| {
        loop {
            sys!(SYS_pause);
        }
    })
}

fn wait_exit_and_signal() {
    say!("{}", fork(|| 17).wait());
    for signal in [SIGTERM, SIGKILL, SIGUSR1, SIGRTMIN() + 2] {
        let child = paused();
        child.kill(signal);
        say!("{}", child.wait());
    }
}

fn wait_nohang() {
    let child = paused();
    say!("running: {}", child.wait_options(WNOHANG));
    child.kill(SIGKILL);
    say!("then: {}", child.wait());
    say!("again: {}", child.wait_options(WNOHANG));
}

fn wait_no_children() {
    say!("any: {}", wait_any().1);
    say!("pid 1: {}", Child(1).wait());
    say!("group: {}", Child(0).wait());
}

fn wait_bad_arguments() {
    say!("bad option: {}", Child(-1).wait_options(0x1000));
    say!("INT_MIN: {}", Child(i32::MIN).wait());
    let child = fork(|| 1);
    say!("bad status pointer: {}", sys!(SYS_wait4, child.0, 8, 0, 0).ok());
    say!("and it is gone: {}", child.wait());
}

fn wait_by_group() {
    let a = fork(|| {
        sys!(SYS_setpgid, 0, 0);
        sys!(SYS_pause);
        0
    });
    sys!(SYS_setpgid, a.0, a.0);
    let b = fork(|| 2);
    say!("own group: {}", Child(0).wait());
    say!("own group again: {}", Child(0).wait());
    a.kill(SIGTERM);
    say!("the other group: {}", Child(-a.0).wait());
    say!("b by pid: {}", b.wait());
}

fn wait_interrupted() {
    let child = paused();
    say!("without SA_RESTART: {}", interrupted(|| child.wait()));
    let killer = after(30, || child.kill(SIGTERM));
    say!("with SA_RESTART: {}", alarmed(SA_RESTART, || child.wait()));
    killer.wait();
}

fn wait_stopped_and_continued() {
    let child = paused();
    child.kill(SIGSTOP);
    say!("{}", child.wait_options(WUNTRACED));
    say!("reported once: {}", child.wait_options(WUNTRACED | WNOHANG));
    child.kill(SIGCONT);
    say!("{}", child.wait_options(WCONTINUED));
    say!("reported once: {}", child.wait_options(WCONTINUED | WNOHANG));
    child.kill(SIGSTOP);
    child.wait_options(WUNTRACED);
    child.kill(SIGKILL);
    say!("{}", child.wait());
}

fn waitid_fields() {
    let mut info: siginfo_t = zeroed();
    let child = fork(|| 33);
    sys!(SYS_waitid, P_PID, child.0, &mut info, WEXITED, 0).must();
    let parts = siginfo_parts(&info);
    say!("{} status {} pid right {}", code_name(parts.signal, parts.code), parts.status, parts.pid == child.0);
    let child = paused();
    child.kill(SIGKILL);
    sys!(SYS_waitid, P_ALL, 0, &mut info, WEXITED, 0).must();
    let parts = siginfo_parts(&info);
    say!("{} status {}", code_name(parts.signal, parts.code), name_of(parts.status));
    let child = paused();
    child.kill(SIGSTOP);
    sys!(SYS_waitid, P_PID, child.0, &mut info, WSTOPPED, 0).must();
    let parts = siginfo_parts(&info);
    say!("{} status {}", code_name(parts.signal, parts.code), name_of(parts.status));
    child.kill(SIGKILL);
    child.wait();
}

fn waitid_nowait_keeps_zombie() {
    let child = fork(|| 3);
    let mut info: siginfo_t = zeroed();
    say!("peek: {}", sys!(SYS_waitid, P_PID, child.0, &mut info, WEXITED | WNOWAIT, 0));
    say!("peek again: {}", sys!(SYS_waitid, P_PID, child.0, &mut info, WEXITED | WNOWAIT, 0));
    say!("still there: {}", child.wait());
}

fn waitid_bad_arguments() {
    let mut info: siginfo_t = zeroed();
    say!("no event asked for: {}", sys!(SYS_waitid, P_ALL, 0, &mut info, 0, 0));
    say!("unknown id type: {}", sys!(SYS_waitid, 9, 0, &mut info, WEXITED, 0));
    say!("pid 0: {}", sys!(SYS_waitid, P_PID, 0, &mut info, WEXITED, 0));
    say!("no children: {}", sys!(SYS_waitid, P_ALL, 0, &mut info, WEXITED, 0));
    say!("pidfd that is none: {}", sys!(SYS_waitid, P_PIDFD, 0, &mut info, WEXITED, 0));
    let child = paused();
    say!("nothing yet: {}", sys!(SYS_waitid, P_ALL, 0, &mut info, WEXITED | WNOHANG, 0));
    say!("pid field {}", siginfo_parts(&info).pid);
    child.kill(SIGKILL);
}

fn sigchld_ignored_reaps() {
    ignore(SIGCHLD);
    let child = fork(|| 1);
    say!("wait blocks until it is gone: {}", child.wait());
}

fn sigchld_nocldwait() {
    handle(SIGCHLD, SA_NOCLDWAIT);
    let child = fork(|| 1);
    let mut result = child.wait();
    while matches!(result, Status::Failed(ret) if ret.get() == Err(nix::errno::Errno::EINTR)) {
        result = child.wait();
    }
    say!("{result}");
    say!("signal still sent: {}", caught());
}

fn sigchld_siginfo() {
    handle(SIGCHLD, SA_RESTART);
    let child = fork(|| 1);
    child.wait();
    say!("{}", next_caught());
    let child = paused();
    child.kill(SIGTERM);
    child.wait();
    say!("{}", next_caught());
    let child = paused();
    child.kill(SIGSTOP);
    child.wait_options(WUNTRACED);
    say!("{}", next_caught());
    child.kill(SIGCONT);
    child.wait_options(WCONTINUED);
    say!("{}", next_caught());
    child.kill(SIGKILL);
    child.wait();
    next_caught();
    say!("sender is the child: {}", crate::signals::last_sender() == child.0);
}

fn sigchld_nocldstop() {
    handle(SIGCHLD, SA_RESTART | SA_NOCLDSTOP);
    let child = paused();
    child.kill(SIGSTOP);
    child.wait_options(WUNTRACED);
    say!("stop: {}", caught());
    child.kill(SIGKILL);
    child.wait();
    say!("end: {}", caught());
}

fn zombie_takes_signals() {
    let child = fork(|| 5);
    let mut info: siginfo_t = zeroed();
    sys!(SYS_waitid, P_PID, child.0, &mut info, WEXITED | WNOWAIT, 0).must();
    say!("kill: {}", child.kill(SIGKILL));
    say!("status unchanged: {}", child.wait());
    say!("kill after reaping: {}", child.kill(0));
}

fn wait_rusage_is_filled() {
    let child = fork(|| {
        let m = map_anon(8 << 20);
        (0..m.len).step_by(4096).for_each(|at| m.set(at, 1));
        0
    });
    let mut usage: rusage = zeroed();
    let mut status = 0;
    sys!(SYS_wait4, child.0, &mut status, 0, &mut usage).must();
    say!("maxrss at least 8 MiB: {}", usage.ru_maxrss >= 8192);
    say!("minor faults at least 2000: {}", usage.ru_minflt >= 2000);
}

fn orphan_goes_to_subreaper() {
    let mut is = 9i32;
    sys!(SYS_prctl, PR_GET_CHILD_SUBREAPER, &mut is, 0, 0, 0).must();
    say!("at first {is}");
    sys!(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0).must();
    let middle = fork(|| {
        let mut inherited = 9i32;
        sys!(SYS_prctl, PR_GET_CHILD_SUBREAPER, &mut inherited, 0, 0, 0).must();
        say!("not inherited: {inherited}");
        after(20, || exit_now(44));
        1
    });
    say!("middle {}", middle.wait());
    say!("orphan {}", wait_any().1);
    say!("no more: {}", wait_any().1);
}

fn wait_from_another_thread() {
    let child = fork(|| 6);
    let status = std::thread::spawn(move || child.wait().to_string()).join().unwrap();
    say!("{status}");
}

fn wait_nothread_sees_only_own() {
    let child = fork(|| 6);
    let other = std::thread::spawn(move || child.wait_options(__WNOTHREAD).to_string()).join().unwrap();
    say!("other thread: {other}");
    say!("own: {}", child.wait_options(__WNOTHREAD));
}

fn parent_death_signal() {
    let (r, w) = pipe();
    sys!(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0).must();
    let (ready_r, ready_w) = pipe();
    fork(|| {
        fork(|| {
            handle(SIGUSR1, 0);
            sys!(SYS_prctl, PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0).must();
            block(&[SIGUSR1]);
            write(ready_w, b"x");
            let mut info: siginfo_t = zeroed();
            let got = sys!(SYS_rt_sigtimedwait, &set_of(&[SIGUSR1]), &mut info, &timespec_ms(5000), 8);
            write(w, name_of(got.0 as i32).as_bytes());
            0
        });
        read(ready_r, 1);
        0
    })
    .wait();
    say!("told of its parent's death by {}", read(r, 32));
    wait_any();
    say!("bad signal: {}", sys!(SYS_prctl, PR_SET_PDEATHSIG, 99, 0, 0, 0));
}
