//! Pseudo terminals: line discipline, modes, window size, job control.

use crate::prelude::*;

cases![
    canonical_lines, canonical_editing, raw_bytes, echo_and_output_processing, signal_characters, window_size_and_sigwinch,
    controlling_terminal, foreground_group, background_read_stops, background_write_tostop, orphaned_group_reads_eio, hangup_on_master_close,
    session_leader_exit_hangs_up, eof_character, vmin_vtime, nonblocking_and_poll, flow_control, ptsname_and_lock, tcgets_defaults,
    packet_mode, isatty_errors, read_interrupted, flush_and_queue, dev_tty,
];

/// A pair of ends: (master, slave).
fn pty() -> (i32, i32) {
    let master = open(c"/dev/ptmx", O_RDWR | O_NOCTTY).fd();
    sys!(SYS_ioctl, master, TIOCSPTLCK, &0i32).must();
    (master, slave_of(master))
}

fn slave_of(master: i32) -> i32 {
    let mut number = 0i32;
    sys!(SYS_ioctl, master, TIOCGPTN, &mut number).must();
    open(&std::ffi::CString::new(format!("/dev/pts/{number}")).unwrap(), O_RDWR | O_NOCTTY).fd()
}

/// The kernel's termios: four flag words, line, 19 control characters.
#[derive(Clone, Copy)]
#[repr(C)]
struct Modes {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    line: u8,
    characters: [u8; 19],
}

fn modes(fd: i32) -> Modes {
    let mut modes = Modes { input: 0, output: 0, control: 0, local: 0, line: 0, characters: [0; 19] };
    sys!(SYS_ioctl, fd, TCGETS, &mut modes).must();
    modes
}

fn change(fd: i32, change: impl FnOnce(&mut Modes)) {
    let mut now = modes(fd);
    change(&mut now);
    sys!(SYS_ioctl, fd, TCSETS, &now).must();
}

fn quiet(fd: i32) {
    change(fd, |m| m.local &= !ECHO);
}

fn canonical_lines() {
    let (master, slave) = pty();
    quiet(slave);
    write(master, b"first\nsecond\npart");
    say!("{} {}", read(slave, 100), read(slave, 3));
    say!("{}", read(slave, 100));
    write(master, b"ial\n");
    say!("{}", read(slave, 100));
    write(master, b"return\r");
    say!("ICRNL {}", read(slave, 100));
}

fn canonical_editing() {
    let (master, slave) = pty();
    quiet(slave);
    write(master, b"abcx\x7fd\n");
    say!("erase {}", read(slave, 100));
    write(master, b"gone\x15kept\n");
    say!("kill line {}", read(slave, 100));
    write(master, b"one two\x17three\n");
    say!("erase word {}", read(slave, 100));
    write(master, b"\x16\x03\n");
    say!("literal next {}", read(slave, 100));
}

fn raw_bytes() {
    let (master, slave) = pty();
    change(slave, |m| {
        m.input = 0;
        m.local = 0;
        m.output = 0;
    });
    write(master, b"a\x03\x04\x7f\r\n");
    say!("{}", read(slave, 100));
    write(slave, b"out\n");
    say!("{}", read(master, 100));
}

fn echo_and_output_processing() {
    let (master, slave) = pty();
    write(master, b"hi\n");
    say!("echo {}", read(master, 100));
    write(slave, b"line\n");
    say!("ONLCR {}", read(master, 100));
    read(slave, 100);
    write(master, b"\x01\x7f\n");
    say!("ECHOCTL and erase {}", read(master, 100));
    quiet(slave);
    read(slave, 100);
    change(slave, |m| m.local |= ECHONL);
    write(master, b"x\n");
    say!("ECHONL {}", read(master, 100));
}

/// A child that leads a session on the slave; `body` runs in it.
fn on_terminal(slave: i32, body: impl FnOnce() -> i32) -> Child {
    fork(|| {
        sys!(SYS_setsid).must();
        sys!(SYS_ioctl, slave, TIOCSCTTY, 0).must();
        body()
    })
}

fn signal_characters() {
    let (master, slave) = pty();
    quiet(slave);
    let (r, w) = pipe();
    let child = on_terminal(slave, || {
        let signals = [SIGINT, SIGQUIT, SIGTSTP];
        block(&signals);
        write(w, b"x");
        for _ in signals {
            say!("{}", name_of(sys!(SYS_rt_sigtimedwait, &set_of(&signals), NULL, &timespec_ms(5000), 8).0 as i32));
            write(w, b"x");
        }
        0
    });
    for key in [b"\x03", b"\x1c", b"\x1a"] {
        read(r, 1);
        write(master, key);
    }
    read(r, 1);
    child.wait();
    write(master, b"typed\x03after\n");
    say!("input before it is flushed {}", read(slave, 100));
}

fn window_size_and_sigwinch() {
    let (master, slave) = pty();
    let mut size = winsize { ws_row: 9, ws_col: 9, ws_xpixel: 9, ws_ypixel: 9 };
    sys!(SYS_ioctl, slave, TIOCGWINSZ, &mut size).must();
    say!("at first {} {}", size.ws_row, size.ws_col);
    let (r, w) = pipe();
    let child = on_terminal(slave, || {
        block(&[SIGWINCH]);
        write(w, b"x");
        let got = sys!(SYS_rt_sigtimedwait, &set_of(&[SIGWINCH]), NULL, &timespec_ms(5000), 8);
        let mut size: winsize = zeroed();
        sys!(SYS_ioctl, slave, TIOCGWINSZ, &mut size).must();
        say!("{} {} {}", name_of(got.0 as i32), size.ws_row, size.ws_col);
        0
    });
    read(r, 1);
    size = winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    sys!(SYS_ioctl, master, TIOCSWINSZ, &size).must();
    child.wait();
}

fn controlling_terminal() {
    let (_master, slave) = pty();
    let mut group = 0i32;
    say!("not mine {}", sys!(SYS_ioctl, slave, TIOCGPGRP, &mut group));
    on_terminal(slave, || {
        let mut session = 0i32;
        sys!(SYS_ioctl, slave, TIOCGSID, &mut session).must();
        sys!(SYS_ioctl, slave, TIOCGPGRP, &mut group).must();
        say!("session mine {}, foreground mine {}", session == getpid(), group == getpid());
        say!("a second terminal {}", sys!(SYS_ioctl, pty().1, TIOCSCTTY, 0));
        fork(|| {
            sys!(SYS_setsid).must();
            say!("taken by another session {}", sys!(SYS_ioctl, slave, TIOCSCTTY, 0));
            0
        })
        .wait();
        block(&[SIGHUP, SIGCONT]);
        say!("give up {}", sys!(SYS_ioctl, slave, TIOCNOTTY, 0));
        0
    })
    .wait();
    fork(|| {
        sys!(SYS_setsid).must();
        fork(|| {
            say!("not a session leader {}", sys!(SYS_ioctl, slave, TIOCSCTTY, 0));
            0
        })
        .wait();
        0
    })
    .wait();
}

fn foreground_group() {
    let (_master, slave) = pty();
    on_terminal(slave, || {
        let child = fork(|| {
            sys!(SYS_pause);
            0
        });
        sys!(SYS_setpgid, child.0, child.0).must();
        say!("set {}", sys!(SYS_ioctl, slave, TIOCSPGRP, &child.0));
        let mut group = 0i32;
        sys!(SYS_ioctl, slave, TIOCGPGRP, &mut group).must();
        say!("is the child's {}", group == child.0);
        block(&[SIGTTOU]);
        say!("no such group {}", sys!(SYS_ioctl, slave, TIOCSPGRP, &i32::MAX));
        say!("negative {}", sys!(SYS_ioctl, slave, TIOCSPGRP, &-1i32));
        child.kill(SIGKILL);
        child.wait();
        0
    })
    .wait();
}

/// Runs `body` in a background group of a session on a terminal, and says how it stopped or ended.
fn in_background(slave: i32, body: impl FnOnce() -> i32) {
    on_terminal(slave, || {
        let child = fork(|| {
            sys!(SYS_setpgid, 0, 0).must();
            body()
        });
        say!("{}", child.wait_options(WUNTRACED));
        child.kill(SIGKILL);
        child.wait();
        0
    })
    .wait();
}

fn background_read_stops() {
    let (_master, slave) = pty();
    in_background(slave, || read(slave, 1).0.map_or(1, |_| 0));
    let (_master, slave) = pty();
    in_background(slave, || {
        ignore(SIGTTIN);
        say!("ignoring SIGTTIN {}", read(slave, 1));
        0
    });
}

fn background_write_tostop() {
    let (master, slave) = pty();
    in_background(slave, || write(slave, b"allowed\n").0 as i32);
    say!("{}", read(master, 100));
    let (_master, slave) = pty();
    change(slave, |m| m.local |= TOSTOP);
    in_background(slave, || write(slave, b"stopped\n").0 as i32);
}

fn orphaned_group_reads_eio() {
    let (_master, slave) = pty();
    let (r, w) = pipe();
    on_terminal(slave, || {
        fork(|| {
            sys!(SYS_setpgid, 0, 0).must();
            let middle = getpid();
            fork(|| {
                while sys!(SYS_getppid).0 as i32 == middle {
                    sys!(SYS_sched_yield);
                }
                write(w, read(slave, 1).to_string().as_bytes());
                0
            });
            0
        })
        .wait();
        say!("{}", read(r, 20));
        0
    })
    .wait();
}

fn hangup_on_master_close() {
    let (master, slave) = pty();
    let (r, w) = pipe();
    let child = on_terminal(slave, || {
        close(master);
        block(&[SIGHUP, SIGCONT]);
        write(w, b"x");
        let got = sys!(SYS_rt_sigtimedwait, &set_of(&[SIGHUP]), NULL, &timespec_ms(5000), 8);
        say!("{}, read {}, write {}", name_of(got.0 as i32), read(slave, 1), write(slave, b"x"));
        0
    });
    read(r, 1);
    close(master);
    say!("{}", child.wait());
}

fn session_leader_exit_hangs_up() {
    let (master, slave) = pty();
    let (r, w) = pipe();
    let leader = on_terminal(slave, || {
        fork(|| {
            handle(SIGHUP, 0);
            block(&[SIGHUP]);
            write(w, b"x");
            let got = sys!(SYS_rt_sigtimedwait, &set_of(&[SIGHUP]), NULL, &timespec_ms(5000), 8);
            write(w, name_of(got.0 as i32).as_bytes());
            0
        });
        read(r, 1);
        0
    });
    leader.wait();
    say!("foreground group got {}", read(r, 20));
    close(slave);
    say!("master reads {}", read(master, 1));
}

fn eof_character() {
    let (master, slave) = pty();
    quiet(slave);
    write(master, b"\x04");
    say!("{}", read(slave, 10));
    write(master, b"no newline\x04");
    say!("{}", read(slave, 100));
    close(slave);
    say!("slave closed {}", read(master, 10));
}

fn vmin_vtime() {
    let (master, slave) = pty();
    change(slave, |m| {
        m.local = 0;
        m.characters[VMIN] = 0;
        m.characters[VTIME] = 0;
    });
    say!("0/0 {}", read(slave, 10));
    change(slave, |m| m.characters[VTIME] = 1);
    let start = now_ns();
    say!("0/1 {}, waited {}", read(slave, 10), now_ns() - start >= 90_000_000);
    change(slave, |m| {
        m.characters[VMIN] = 3;
        m.characters[VTIME] = 0;
    });
    let child = after(20, || write(master, b"c"));
    write(master, b"ab");
    say!("3/0 {}", read(slave, 10));
    child.wait();
}

fn nonblocking_and_poll() {
    let (master, slave) = pty();
    quiet(slave);
    sys!(SYS_fcntl, slave, F_SETFL, O_NONBLOCK).must();
    say!("{}", read(slave, 1));
    let mut poll = pollfd { fd: slave, events: POLLIN | POLLOUT, revents: 0 };
    say!("{} {:#x}", sys!(SYS_poll, &mut poll, 1, 0), poll.revents);
    write(master, b"x");
    say!("no whole line yet {}", read(slave, 1));
    write(master, b"\n");
    sys!(SYS_poll, &mut poll, 1, 5000).must();
    say!("{:#x} {}", poll.revents, read(slave, 10));
}

fn flow_control() {
    let (master, slave) = pty();
    quiet(slave);
    sys!(SYS_fcntl, master, F_SETFL, O_NONBLOCK).must();
    say!("suspend {}", sys!(SYS_ioctl, slave, TCXONC, TCOOFF));
    sys!(SYS_fcntl, slave, F_SETFL, O_NONBLOCK).must();
    say!("write {}, read {}", write(slave, b"x"), read(master, 5));
    say!("resume {}", sys!(SYS_ioctl, slave, TCXONC, TCOON));
    say!("write {}", write(slave, b"y"));
}

fn ptsname_and_lock() {
    let master = open(c"/dev/ptmx", O_RDWR | O_NOCTTY).fd();
    let mut number = -1i32;
    sys!(SYS_ioctl, master, TIOCGPTN, &mut number).must();
    let path = std::ffi::CString::new(format!("/dev/pts/{number}")).unwrap();
    say!("locked {}", open(&path, O_RDWR | O_NOCTTY));
    sys!(SYS_ioctl, master, TIOCSPTLCK, &0i32).must();
    let slave = open(&path, O_RDWR | O_NOCTTY).fd();
    let mut stat: stat = zeroed();
    sys!(SYS_fstat, slave, &mut stat).must();
    say!("{:o} major {}", stat.st_mode & S_IFMT, major(stat.st_rdev));
    say!("number on the slave {}", sys!(SYS_ioctl, slave, TIOCGPTN, &mut number));
    say!("peer {}", sys!(SYS_ioctl, master, 0x5441, O_RDWR | O_NOCTTY).ok());
    close(slave);
}

fn tcgets_defaults() {
    let (master, slave) = pty();
    for fd in [master, slave] {
        let m = modes(fd);
        say!("{:#o} {:#o} {:#o} {:#o} {}", m.input, m.output, m.control, m.local, m.line);
        say!("{}", m.characters[..17].escape_ascii());
    }
}

fn packet_mode() {
    let (master, slave) = pty();
    quiet(slave);
    sys!(SYS_ioctl, master, TIOCPKT, &1i32).must();
    write(slave, b"data");
    say!("{}", read(master, 100));
    sys!(SYS_ioctl, slave, TCFLSH, TCIOFLUSH).must();
    say!("{}", read(master, 100));
}

fn isatty_errors() {
    touch(c"f");
    let mut modes = [0u8; 64];
    say!("file {}", sys!(SYS_ioctl, open(c"f", O_RDONLY).fd(), TCGETS, &mut modes));
    say!("pipe {}", sys!(SYS_ioctl, pipe().0, TCGETS, &mut modes));
    say!("null {}", sys!(SYS_ioctl, open(c"/dev/null", O_RDWR).fd(), TCGETS, &mut modes));
    say!("bad pointer {}", sys!(SYS_ioctl, pty().1, TCGETS, 8));
    say!("unknown {}", sys!(SYS_ioctl, pty().1, 0x1234_5678, 0));
    say!("slave that does not exist {}", open(c"/dev/pts/99999", O_RDWR));
}

fn read_interrupted() {
    let (_master, slave) = pty();
    say!("{}", interrupted(|| read(slave, 1)));
}

fn flush_and_queue() {
    let (master, slave) = pty();
    quiet(slave);
    write(master, b"12345\n");
    let mut poll = pollfd { fd: slave, events: POLLIN, revents: 0 };
    sys!(SYS_poll, &mut poll, 1, 5000).must();
    let mut n = 0i32;
    sys!(SYS_ioctl, slave, FIONREAD, &mut n).must();
    say!("{n}");
    say!("{}", sys!(SYS_ioctl, slave, TCFLSH, TCIFLUSH));
    sys!(SYS_ioctl, slave, FIONREAD, &mut n).must();
    say!("{n}");
    say!("bad queue {}", sys!(SYS_ioctl, slave, TCFLSH, 9));
}

fn dev_tty() {
    fork(|| {
        sys!(SYS_setsid).must();
        say!("without a terminal {}", open(c"/dev/tty", O_RDWR));
        0
    })
    .wait();
    let (master, slave) = pty();
    on_terminal(slave, || {
        let fd = open(c"/dev/tty", O_RDWR).fd();
        write(fd, b"to my terminal");
        0
    })
    .wait();
    say!("{}", read(master, 100));
}
