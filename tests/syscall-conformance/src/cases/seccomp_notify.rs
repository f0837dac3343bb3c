//! Seccomp user notification: calls that a filter hands to a supervisor.

use crate::prelude::*;

cases![
    notify_value_and_errno, notify_continue, notify_add_fd, notify_listener_closed, notify_interrupted, notify_readiness, notify_errors, notify_install_errors,
    notify_receive_interrupted, notify_target_killed,
];

const NEW_LISTENER: u32 = 8;
const RECV: u64 = 0xc050_2100;
const SEND: u64 = 0xc018_2101;
const ID_VALID: u64 = 0x4008_2102;
const ADD_FD: u64 = 0x4018_2103;

/// A filter that hands call `nr` over and allows the rest.
fn hand_over(nr: i64) -> Ret {
    let one = |code: u16, jt: u8, jf: u8, k: u32| sock_filter { code, jt, jf, k };
    let program = [one(0x20, 0, 0, 0), one(0x15, 0, 1, nr as u32), one(0x06, 0, 0, 0x7fc0_0000), one(0x06, 0, 0, 0x7fff_0000)];
    let program = sock_fprog { len: 4, filter: program.as_ptr().cast_mut() };
    sys!(SYS_seccomp, SECCOMP_SET_MODE_FILTER, NEW_LISTENER, &program)
}

/// What makes the child say what it saw: it waits until this is closed.
struct Go(Option<i32>);

impl Go {
    fn say(&mut self) {
        if let Some(fd) = self.0.take() {
            close(fd);
        }
    }
}

/// A child with a filter on `nr` that runs `body` and says what came of it; `supervise` gets the listener in the parent.
fn supervised(nr: i64, body: impl FnOnce() -> String, supervise: impl FnOnce(i32, Child, &mut Go)) {
    let (number_r, number_w) = pipe();
    let (taken_r, taken_w) = pipe();
    let (go_r, go_w) = pipe();
    let child = fork(|| {
        close(go_w);
        sys!(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).must();
        let listener = hand_over(nr).fd();
        write(number_w, &listener.to_ne_bytes());
        read(taken_r, 1);
        let seen = body();
        read(go_r, 1);
        say!("{seen}");
        0
    });
    let mut number = [0u8; 4];
    sys!(SYS_read, number_r, &mut number[..], 4).must();
    let pidfd = sys!(SYS_pidfd_open, child.0, 0).fd();
    let listener = sys!(SYS_pidfd_getfd, pidfd, i32::from_ne_bytes(number), 0).fd();
    write(taken_w, b"x");
    let mut go = Go(Some(go_w));
    supervise(listener, child, &mut go);
    close(listener);
    go.say();
    say!("{}", child.wait());
}

fn receive(listener: i32) -> ([u64; 10], Ret) {
    let mut notification = [0u64; 10];
    let ret = sys!(SYS_ioctl, listener, RECV, &mut notification);
    (notification, ret)
}

fn reply(listener: i32, id: u64, value: i64, error: i32, flags: u32) -> Ret {
    let response = [id, value as u64, u64::from(error as u32) | u64::from(flags) << 32];
    sys!(SYS_ioctl, listener, SEND, &response)
}

fn notify_value_and_errno() {
    supervised(
        SYS_getpgrp,
        || format!("{} {}", sys!(SYS_getpgrp), sys!(SYS_getpgrp)),
        |listener, child, _go| {
            let (n, ret) = receive(listener);
            say!("{ret} nr {} pid {} arch {:#x}", n[2] as u32 == SYS_getpgrp as u32, (n[1] as i32) == child.0, (n[2] >> 32) as u32);
            say!("valid {}", sys!(SYS_ioctl, listener, ID_VALID, &n[0]));
            say!("{}", reply(listener, n[0], 4711, 0, 0));
            let (n, _) = receive(listener);
            say!("{}", reply(listener, n[0], 0, -EXDEV, 0));
            say!("answered twice {}", reply(listener, n[0], 0, 0, 0).get().is_err());
        },
    );
}

fn notify_continue() {
    supervised(
        SYS_getppid,
        || (sys!(SYS_getppid).0 == i64::from(parent())).to_string(),
        |listener, _, _| {
            let (n, _) = receive(listener);
            say!("with a value {}", reply(listener, n[0], 1, 0, 1));
            say!("unknown flag {}", reply(listener, n[0], 0, 0, 2));
            say!("{}", reply(listener, n[0], 0, 0, 1));
        },
    );
}

/// The parent by /proc: the call itself is handed over.
fn parent() -> i32 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn notify_add_fd() {
    write_file(c"f", b"given");
    supervised(
        SYS_getpgrp,
        || {
            let fd = sys!(SYS_getpgrp).0 as i32;
            format!("{} at its number {} cloexec {}", read(fd, 20), read(77, 20), sys!(SYS_fcntl, 77, F_GETFD, 0))
        },
        |listener, _, _| {
            let (n, _) = receive(listener);
            let add = |fd: i32, flags: u32, new: u32, new_flags: u32| {
                let add = [n[0], u64::from(flags) | (fd as u64) << 32, u64::from(new) | u64::from(new_flags) << 32];
                sys!(SYS_ioctl, listener, ADD_FD, &add)
            };
            say!("bad source {}", add(999, 0, 0, 0));
            say!("number without flag {} bad flags {} {}", add(0, 0, 5, 0), add(0, 4, 0, 0), add(0, 0, 0, 1));
            say!("{}", add(open(c"f", O_RDONLY).fd(), 1, 77, O_CLOEXEC as u32));
            say!("and an answer {}", add(open(c"f", O_RDONLY).fd(), 2, 0, 0).ok());
        },
    );
}

fn notify_listener_closed() {
    supervised(
        SYS_getpgrp,
        || {
            // Its own descriptor keeps the listener open.
            for fd in 3..100 {
                close(fd);
            }
            sys!(SYS_getpgrp).to_string()
        },
        |listener, _, _| {
            let _ = receive(listener);
        },
    );
}

fn notify_interrupted() {
    supervised(
        SYS_getpgrp,
        || alarmed(0, || sys!(SYS_getpgrp)).to_string(),
        |listener, _, _| {
            let (n, _) = receive(listener);
            let gone = (0..400).any(|_| {
                sleep_ms(5);
                sys!(SYS_ioctl, listener, ID_VALID, &n[0]).get().is_err()
            });
            say!("taken back {gone} answer {}", reply(listener, n[0], 0, 0, 0));
        },
    );
}

fn notify_readiness() {
    supervised(
        SYS_getpgrp,
        || sys!(SYS_getpgrp).to_string(),
        |listener, child, go| {
            let ready = |ms: i32| {
                let mut entry = pollfd { fd: listener, events: POLLIN | POLLOUT, revents: 0 };
                let n = sys!(SYS_poll, &mut entry, 1, ms);
                format!("{n} {:#x}", entry.revents)
            };
            say!("a call {}", ready(2000));
            let (n, _) = receive(listener);
            say!("taken {}", ready(0));
            reply(listener, n[0], 5, 0, 0).must();
            go.say();
            say!("{}", child.wait());
            say!("nobody left {}", ready(2000));
            say!("{}", receive(listener).1);
        },
    );
}

fn notify_errors() {
    supervised(
        SYS_getpgrp,
        || sys!(SYS_getpgrp).to_string(),
        |listener, _, _| {
            say!("unknown id {} {}", reply(listener, 999, 0, 0, 0), sys!(SYS_ioctl, listener, ID_VALID, &999u64));
            let mut dirty = [1u64; 10];
            say!("not zero {}", sys!(SYS_ioctl, listener, RECV, &mut dirty));
            say!("fault {}", sys!(SYS_ioctl, listener, RECV, 8));
            say!("unknown {}", sys!(SYS_ioctl, listener, 0x2199, 0));
            say!("not by read {}", read(listener, 80));
            let (n, _) = receive(listener);
            reply(listener, n[0], 5, 0, 0).must();
        },
    );
}

fn notify_install_errors() {
    let child = fork(|| {
        sys!(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).must();
        let mut sizes = [0u16; 3];
        say!("sizes {} {sizes:?}", sys!(SYS_seccomp, 3, 0, &mut sizes));
        say!("with flags {}", sys!(SYS_seccomp, 3, 1, &mut sizes));
        let mut sizes = [0u16; 3];
        sys!(SYS_seccomp, 3, 0, &mut sizes).must();
        say!("{sizes:?} available {}", sys!(SYS_seccomp, 2, 0, &0x7fc0_0000_u32));
        let program = sock_fprog { len: 0, filter: std::ptr::null_mut() };
        say!("for all threads too {}", sys!(SYS_seccomp, SECCOMP_SET_MODE_FILTER, NEW_LISTENER | 1, &program));
        let fd = hand_over(SYS_getpgrp).fd();
        say!("cloexec {}", sys!(SYS_fcntl, fd, F_GETFD, 0));
        say!("a second one {}", hand_over(SYS_getppid));
        0
    });
    say!("{}", child.wait());
}

fn notify_receive_interrupted() {
    supervised(
        SYS_getpgrp,
        || {
            sleep_ms(300);
            "slept".to_owned()
        },
        |listener, _, _| {
            say!("{}", alarmed(0, || receive(listener).1));
        },
    );
}

fn notify_target_killed() {
    supervised(
        SYS_getpgrp,
        || sys!(SYS_getpgrp).to_string(),
        |listener, child, _go| {
            let (n, _) = receive(listener);
            child.kill(SIGKILL).must();
            say!("{}", child.wait());
            say!("{}", reply(listener, n[0], 0, 0, 0));
        },
    );
}
