//! What is told by signal: readiness (O_ASYNC), leases, changes in directories (F_NOTIFY).

use std::fs;

use crate::prelude::*;

cases![
    async_pipe, async_socket, async_set_signal, async_owners, async_elsewhere, async_listener, lease_states, lease_conflicts, lease_broken_by_open,
    lease_broken_without_waiting, lease_wait_interrupted, lease_errors, notify_directory, notify_once, notify_errors,
];

const SETSIG: i32 = 10;
const GETSIG: i32 = 11;
const SETOWN_EX: i32 = 15;
const GETOWN_EX: i32 = 16;
const F_NOTIFY: i32 = 1026;
const DN_MODIFY: i64 = 2;
const DN_CREATE: i64 = 4;
const DN_DELETE: i64 = 8;
const DN_RENAME: i64 = 0x10;
const DN_ATTRIB: i64 = 0x20;
const DN_MULTISHOT: i64 = 0x8000_0000;

fn control(fd: i32, command: i32, arg: i64) -> Ret {
    sys!(SYS_fcntl, fd, command, arg)
}

/// Waits until something was caught, and says what.
fn told() -> String {
    for _ in 0..200 {
        let seen = caught();
        if seen != "none" {
            return seen;
        }
        sleep_ms(5);
    }
    "none".to_owned()
}

fn arm(fd: i32) {
    control(fd, F_SETOWN, i64::from(getpid())).must();
    let flags = control(fd, F_GETFL, 0).must();
    control(fd, F_SETFL, flags | i64::from(O_ASYNC)).must();
}

fn async_pipe() {
    handle(SIGIO, 0);
    let (r, w) = pipe();
    arm(r);
    say!("flag {}", control(r, F_GETFL, 0).must() & i64::from(O_ASYNC) != 0);
    write(w, b"x");
    say!("written {}", told());
    write(w, b"y");
    say!("again {}", told());
    control(r, F_SETFL, 0).must();
    write(w, b"z");
    say!("off {}", caught());
    arm(r);
    close(w);
    say!("closed {}", told());
}

fn async_socket() {
    handle(SIGIO, 0);
    let (a, b) = socketpair(SOCK_STREAM);
    arm(a);
    write(b, b"x");
    say!("{}", told());
    read(a, 10);
    let _ = caught();
    let (client, server) = pair();
    arm(server);
    send(client, b"hello", 0).must();
    say!("tcp {}", told());
}

fn async_set_signal() {
    handle(SIGRTMIN(), SA_SIGINFO);
    handle(SIGIO, 0);
    let (r, w) = pipe();
    arm(r);
    say!("{} then {}", control(r, SETSIG, i64::from(SIGRTMIN())), control(r, GETSIG, 0).must() == i64::from(SIGRTMIN()));
    write(w, b"x");
    say!("{}", told());
    say!("bad {} {}", control(r, SETSIG, 65), control(r, SETSIG, -1));
    control(r, SETSIG, 0).must();
    write(w, b"x");
    say!("{}", told());
}

fn async_owners() {
    let (r, w) = pipe();
    handle(SIGIO, 0);
    say!("none {}", control(r, F_GETOWN, 0));
    let flags = control(r, F_GETFL, 0).must();
    control(r, F_SETFL, flags | i64::from(O_ASYNC)).must();
    write(w, b"x");
    say!("nobody is told {}", caught());
    say!("no such process {}", control(r, F_SETOWN, 999_999));
    let mut owner = [0i32, gettid()];
    say!("thread {}", sys!(SYS_fcntl, r, SETOWN_EX, &mut owner));
    write(w, b"x");
    say!("{}", told());
    let child = fork(|| {
        sys!(SYS_setpgid, 0, 0).must();
        handle(SIGIO, 0);
        control(r, F_SETOWN, -i64::from(getpid())).must();
        let mut owner = [9i32, 9];
        sys!(SYS_fcntl, r, GETOWN_EX, &mut owner).must();
        say!("group {} {}", owner[0], owner[1] == getpid());
        write(w, b"x");
        say!("{}", told());
        0
    });
    say!("{}", child.wait());
    say!("not the parent {}", caught());
    say!("bad kind {}", sys!(SYS_fcntl, r, SETOWN_EX, &[7i32, getpid()]));
    say!("the owner is gone {}", control(r, F_GETOWN, 0));
}

fn async_elsewhere() {
    touch(c"f");
    let file = open(c"f", O_RDWR).fd();
    arm(file);
    say!("a file keeps no flag {}", control(file, F_GETFL, 0).must() & i64::from(O_ASYNC));
    say!("ioctl {}", sys!(SYS_ioctl, file, FIOASYNC, &1i32));
    let event = sys!(SYS_eventfd2, 0, 0).fd();
    arm(event);
    say!("nor an eventfd {}", control(event, F_GETFL, 0).must() & i64::from(O_ASYNC));
    let (r, _w) = pipe();
    say!("a pipe by ioctl {} {}", sys!(SYS_ioctl, r, FIOASYNC, &1i32), control(r, F_GETFL, 0).must() & i64::from(O_ASYNC) != 0);
}

fn async_listener() {
    handle(SIGIO, SA_RESTART);
    let (server, address) = listener(5);
    arm(server);
    let client = tcp();
    connect(client, &address).must();
    say!("{}", told());
}

fn lease_states() {
    handle(SIGIO, 0);
    write_file(c"f", b"text");
    let fd = open(c"f", O_RDONLY).fd();
    say!("none {}", control(fd, F_GETLEASE, 0));
    say!("read {} {}", control(fd, F_SETLEASE, i64::from(F_RDLCK)), control(fd, F_GETLEASE, 0));
    say!("write {} {}", control(fd, F_SETLEASE, i64::from(F_WRLCK)), control(fd, F_GETLEASE, 0));
    say!("given back {} {}", control(fd, F_SETLEASE, i64::from(F_UNLCK)), control(fd, F_GETLEASE, 0));
    say!("the owner goes with it {}", control(fd, F_GETOWN, 0).must() == i64::from(getpid()));
}

fn lease_conflicts() {
    write_file(c"f", b"text");
    let fd = open(c"f", O_RDONLY).fd();
    let writer = open(c"f", O_WRONLY).fd();
    say!("a writer {} {}", control(fd, F_SETLEASE, i64::from(F_RDLCK)), control(writer, F_SETLEASE, i64::from(F_RDLCK)));
    close(writer);
    let other = open(c"f", O_RDONLY).fd();
    say!("two readers {} {}", control(fd, F_SETLEASE, i64::from(F_RDLCK)), control(other, F_SETLEASE, i64::from(F_RDLCK)));
    say!("to write {}", control(fd, F_SETLEASE, i64::from(F_WRLCK)));
    control(other, F_SETLEASE, i64::from(F_UNLCK)).must();
    close(other);
    say!("alone {}", control(fd, F_SETLEASE, i64::from(F_WRLCK)));
}

fn lease_broken_by_open() {
    handle(SIGIO, SA_RESTART);
    write_file(c"f", b"text");
    let fd = open(c"f", O_RDONLY).fd();
    control(fd, F_SETLEASE, i64::from(F_RDLCK)).must();
    say!("another reader {}", open(c"f", O_RDONLY).ok());
    let child = fork(|| write(open(c"f", O_WRONLY).fd(), b"new").0 as i32);
    say!("told {} {}", told(), control(fd, F_GETLEASE, 0));
    say!("{}", control(fd, F_SETLEASE, i64::from(F_UNLCK)));
    say!("{}", child.wait());
    say!("{}", pread(fd, 10, 0));
}

fn lease_broken_without_waiting() {
    handle(SIGRTMIN(), SA_SIGINFO | SA_RESTART);
    write_file(c"f", b"text");
    let fd = open(c"f", O_RDONLY).fd();
    control(fd, SETSIG, i64::from(SIGRTMIN())).must();
    control(fd, F_SETLEASE, i64::from(F_WRLCK)).must();
    let child = fork(|| {
        say!("{}", open(c"f", O_RDONLY | O_NONBLOCK));
        0
    });
    say!("{}", child.wait());
    say!("{} becomes {}", told(), control(fd, F_GETLEASE, 0));
    say!("weaker {}", control(fd, F_SETLEASE, i64::from(F_RDLCK)));
    let child = fork(|| {
        say!("{}", open(c"f", O_RDONLY | O_NONBLOCK).ok());
        0
    });
    say!("{}", child.wait());
}

fn lease_wait_interrupted() {
    ignore(SIGIO);
    write_file(c"f", b"text");
    let fd = open(c"f", O_RDONLY).fd();
    control(fd, F_SETLEASE, i64::from(F_WRLCK)).must();
    let child = fork(|| {
        say!("{}", alarmed(0, || open(c"f", O_RDONLY)));
        0
    });
    say!("{}", child.wait());
    let child = fork(|| i32::from(open(c"f", O_RDWR).get().is_err()));
    sleep_ms(20);
    control(fd, F_SETLEASE, i64::from(F_UNLCK)).must();
    say!("given back {}", child.wait());
}

fn lease_errors() {
    touch(c"f");
    fs::create_dir("d").unwrap();
    let fd = open(c"f", O_RDONLY).fd();
    say!("kind {}", control(fd, F_SETLEASE, 7));
    say!("nothing to give back {}", control(fd, F_SETLEASE, i64::from(F_UNLCK)));
    say!("directory {}", control(open(c"d", O_RDONLY).fd(), F_SETLEASE, i64::from(F_RDLCK)));
    let (r, _w) = pipe();
    say!("pipe {}", control(r, F_SETLEASE, i64::from(F_RDLCK)));
    let child = fork(|| {
        sys!(SYS_setresuid, 1000, 1000, 1000).must();
        say!("another's file {}", control(fd, F_SETLEASE, i64::from(F_RDLCK)));
        0
    });
    say!("{}", child.wait());
}

fn notify_directory() {
    handle(SIGIO, 0);
    fs::create_dir("d").unwrap();
    let fd = open(c"d", O_RDONLY).fd();
    say!("{}", control(fd, F_NOTIFY, DN_CREATE | DN_DELETE | DN_RENAME | DN_ATTRIB | DN_MODIFY | DN_MULTISHOT));
    touch(c"d/f");
    say!("create {}", told());
    fs::write("d/f", "x").unwrap();
    say!("modify {}", told());
    sys!(SYS_chmod, c"d/f", 0o600).must();
    say!("attributes {}", told());
    sys!(SYS_rename, c"d/f", c"d/g").must();
    say!("rename {}", told());
    let _ = caught();
    sys!(SYS_unlink, c"d/g").must();
    say!("delete {}", told());
    say!("off {}", control(fd, F_NOTIFY, 0));
    touch(c"d/h");
    say!("{}", caught());
}

fn notify_once() {
    handle(SIGRTMIN(), SA_SIGINFO);
    fs::create_dir("d").unwrap();
    let fd = open(c"d", O_RDONLY).fd();
    control(fd, SETSIG, i64::from(SIGRTMIN())).must();
    control(fd, F_NOTIFY, DN_CREATE).must();
    say!("owner {}", control(fd, F_GETOWN, 0).must() == i64::from(getpid()));
    touch(c"d/f");
    say!("{}", told());
    touch(c"d/g");
    say!("only once {}", caught());
}

fn notify_errors() {
    touch(c"f");
    say!("a file {}", control(open(c"f", O_RDONLY).fd(), F_NOTIFY, DN_CREATE));
    say!("nothing {}", control(open(c"f", O_RDONLY).fd(), F_NOTIFY, 0));
    say!("bad fd {}", control(99, F_NOTIFY, DN_CREATE));
}
