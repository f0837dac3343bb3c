//! Queued and real-time signals, signalfd, and the limits on them.

use crate::prelude::*;

cases![
    rt_signals_queue_in_order, rt_before_lower_priority_standard, queue_carries_value, queue_errors, queue_to_thread, pending_limit,
    signalfd_reads_info, signalfd_poll_and_block, signalfd_errors, signalfd_mask_update, signalfd_interrupted, signalfd_wakes_epoll,
    sigtimedwait_queue_order,
];

fn rt_signals_queue_in_order() {
    let base = SIGRTMIN();
    let signals = [base, base + 1, base + 2];
    block(&signals);
    for signal in signals {
        handle_blocking(signal, 0, &signals);
    }
    for value in 0..3 {
        queue_self(base + 2, value);
        queue_self(base, 10 + value);
    }
    unblock(&signals);
    say!("{}", caught());
}

fn rt_before_lower_priority_standard() {
    let signals = [SIGRTMIN(), SIGUSR2, SIGSEGV, SIGHUP];
    block(&signals);
    for signal in signals {
        handle_blocking(signal, 0, &signals);
        kill_self(signal);
    }
    unblock(&signals);
    say!("faults first, then by number: {}", caught());
}

fn queue_carries_value() {
    handle(SIGUSR1, 0);
    queue_self(SIGUSR1, 0xdead);
    say!("{}", caught());
    block(&[SIGUSR1]);
    queue_self(SIGUSR1, 1);
    queue_self(SIGUSR1, 2);
    unblock(&[SIGUSR1]);
    say!("a standard signal keeps the first: {}", caught());
}

fn queue_errors() {
    let child = fork(|| 0);
    child.wait();
    say!("nobody: {}", queue(child.0, SIGUSR1, 1));
    say!("bad signal: {}", queue(getpid(), 65, 1));
    say!("bad pointer: {}", sys!(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, 8));
    let forged = [0u32; 32];
    let child = fork(|| {
        sys!(SYS_pause);
        0
    });
    say!("code of kill() for another: {}", sys!(SYS_rt_sigqueueinfo, child.0, SIGUSR1, &forged));
    child.kill(SIGKILL);
    child.wait();
}

fn queue_to_thread() {
    handle(SIGUSR1, 0);
    let mut info = [0u32; 32];
    info[2] = SI_QUEUE as u32;
    info[6] = 5;
    say!("{}", sys!(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGUSR1, &info));
    say!("{}", caught());
    say!("wrong group: {}", sys!(SYS_rt_tgsigqueueinfo, 1, gettid(), SIGUSR1, &info).ok());
}

fn pending_limit() {
    set_soft_limit(RLIMIT_SIGPENDING, 0).must();
    block(&[SIGRTMIN(), SIGUSR1]);
    say!("queued real-time: {}", queue_self(SIGRTMIN(), 1));
    say!("kill with a real-time signal: {}", sys!(SYS_kill, getpid(), SIGRTMIN()));
    say!("standard: {}", kill_self(SIGUSR1));
    say!("pending {}", pending());
}

/// The fields of a `signalfd_siginfo` that do not vary.
fn show(data: Data) {
    match data.0 {
        Ok(bytes) => {
            for info in bytes.chunks(128) {
                let word = |at: usize| i32::from_ne_bytes(info[at..at + 4].try_into().unwrap());
                let own = word(12) == getpid();
                say!("{} {} int {} from itself {own}", name_of(word(0)), crate::signals::code_name(word(0), word(8)), word(44));
            }
        }
        Err(errno) => say!("{errno:?}"),
    }
}

fn signalfd(signals: &[i32], flags: i32) -> i32 {
    sys!(SYS_signalfd4, -1, &set_of(signals), 8, flags).fd()
}

fn signalfd_reads_info() {
    block(&[SIGUSR1, SIGRTMIN()]);
    let fd = signalfd(&[SIGUSR1, SIGRTMIN()], SFD_NONBLOCK);
    show(read(fd, 128));
    queue_self(SIGRTMIN(), 6);
    queue_self(SIGRTMIN(), 7);
    sys!(SYS_kill, getpid(), SIGUSR1);
    show(read(fd, 1024));
    say!("pending {}", pending());
}

fn signalfd_poll_and_block() {
    block(&[SIGUSR1]);
    let fd = signalfd(&[SIGUSR1], 0);
    let mut poll = pollfd { fd, events: POLLIN, revents: 0 };
    say!("nothing: {}", sys!(SYS_poll, &mut poll, 1, 0));
    let parent = getpid();
    let child = after(20, || sys!(SYS_kill, parent, SIGUSR1));
    say!("woken: {}", sys!(SYS_poll, &mut poll, 1, -1));
    say!("{} bytes", read(fd, 128).0.unwrap().len());
    child.wait();
    let child = after(20, || sys!(SYS_kill, parent, SIGUSR1));
    say!("blocking read: {} bytes", read(fd, 128).0.unwrap().len());
    child.wait();
}

fn signalfd_errors() {
    say!("bad size: {}", sys!(SYS_signalfd4, -1, &0u64, 4, 0));
    say!("bad flags: {}", sys!(SYS_signalfd4, -1, &0u64, 8, 1));
    say!("bad pointer: {}", sys!(SYS_signalfd4, -1, 8, 8, 0));
    say!("descriptor of another kind: {}", sys!(SYS_signalfd4, 1, &0u64, 8, 0));
    say!("no descriptor: {}", sys!(SYS_signalfd4, 99, &0u64, 8, 0));
    let fd = signalfd(&[SIGUSR1], SFD_NONBLOCK);
    say!("short buffer: {}", read(fd, 100));
    say!("write: {}", write(fd, b"x"));
    say!("seek: {}", lseek(fd, 0, SEEK_SET));
}

fn signalfd_mask_update() {
    block(&[SIGUSR1, SIGUSR2]);
    let fd = signalfd(&[SIGUSR1], SFD_NONBLOCK);
    kill_self(SIGUSR2);
    show(read(fd, 128));
    say!("same descriptor: {}", sys!(SYS_signalfd4, fd, &set_of(&[SIGUSR2]), 8, 0).0 == i64::from(fd));
    show(read(fd, 128));
}

fn signalfd_interrupted() {
    let fd = signalfd(&[SIGUSR1], 0);
    say!("{}", interrupted(|| read(fd, 128)));
}

fn signalfd_wakes_epoll() {
    block(&[SIGUSR1]);
    let fd = signalfd(&[SIGUSR1], 0);
    let epoll = sys!(SYS_epoll_create1, 0).fd();
    let mut event = epoll_event { events: EPOLLIN as u32, u64: 5 };
    sys!(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, fd, &event).must();
    let parent = getpid();
    let child = after(20, || sys!(SYS_kill, parent, SIGUSR1));
    say!("{}", sys!(SYS_epoll_wait, epoll, &mut event, 1, 5000));
    child.wait();
}

fn sigtimedwait_queue_order() {
    let signal = SIGRTMIN() + 5;
    block(&[signal]);
    for value in [3, 1, 2] {
        queue_self(signal, value);
    }
    let mut info: siginfo_t = zeroed();
    for _ in 0..3 {
        sys!(SYS_rt_sigtimedwait, &set_of(&[signal]), &mut info, NULL, 8).must();
        say!("{}", crate::host::siginfo_parts(&info).value);
    }
}
