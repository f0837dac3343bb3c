//! eventfd, timerfd, epoll, poll and select.

use crate::prelude::*;

cases![
    eventfd_counts, eventfd_semaphore, eventfd_blocks_and_wakes, eventfd_interrupted, eventfd_overflow, eventfd_errors, timerfd_expires,
    timerfd_interval_and_gettime, timerfd_absolute, timerfd_interrupted, timerfd_errors, epoll_level, epoll_edge, epoll_oneshot,
    epoll_ctl_errors, epoll_wait_errors, epoll_times_out_and_wakes, epoll_interrupted, epoll_pwait_mask, epoll_exclusive, epoll_nested,
    epoll_closed_descriptor_leaves, epoll_dup_keeps, epoll_hangup_and_rdhup, epoll_many_ready_rotate, epoll_regular_file, epoll_data_kept,
    poll_kinds, poll_errors, poll_blocks_and_wakes, poll_interrupted, ppoll_mask_and_timeout, select_sets, select_errors,
    select_interrupted_and_pselect, poll_never_restarts,
];

fn u64_of(data: Data) -> String {
    data.0.map_or_else(|errno| format!("{errno:?}"), |b| u64::from_ne_bytes(b.try_into().unwrap()).to_string())
}

fn add(fd: i32, value: u64) -> Ret {
    sys!(SYS_write, fd, &value, 8)
}

fn eventfd(initial: u32, flags: i32) -> i32 {
    sys!(SYS_eventfd2, initial, flags).fd()
}

fn eventfd_counts() {
    let fd = eventfd(3, EFD_NONBLOCK);
    add(fd, 4);
    say!("{}", u64_of(read(fd, 8)));
    say!("empty: {}", u64_of(read(fd, 8)));
    say!("adding 0: {}, still {}", add(fd, 0), u64_of(read(fd, 8)));
}

fn eventfd_semaphore() {
    let fd = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
    say!("{} {} {}", u64_of(read(fd, 8)), u64_of(read(fd, 8)), u64_of(read(fd, 8)));
}

fn eventfd_blocks_and_wakes() {
    let fd = eventfd(0, 0);
    let child = after(20, || add(fd, 9));
    say!("{}", u64_of(read(fd, 8)));
    child.wait();
    add(fd, u64::MAX - 1);
    let child = after(20, || u64_of(read(fd, 8)));
    say!("writer waits for room: {}", add(fd, 5));
    say!("{}", u64_of(read(fd, 8)));
    child.wait();
}

fn eventfd_interrupted() {
    let fd = eventfd(0, 0);
    say!("{}", interrupted(|| u64_of(read(fd, 8))));
}

fn poll_of(fd: i32, events: i16) -> String {
    let mut poll = pollfd { fd, events, revents: 0 };
    let ret = sys!(SYS_poll, &mut poll, 1, 0);
    format!("{ret} {:#x}", poll.revents)
}

fn eventfd_overflow() {
    let fd = eventfd(0, EFD_NONBLOCK);
    say!("all ones: {}", add(fd, u64::MAX));
    say!("the most: {}", add(fd, u64::MAX - 1));
    say!("one more: {}", add(fd, 1));
    say!("writable: {}", poll_of(fd, POLLIN | POLLOUT));
}

fn eventfd_errors() {
    let fd = eventfd(1, EFD_NONBLOCK);
    say!("short read: {}", read(fd, 7));
    say!("long read: {}", read(fd, 16));
    say!("short write: {}", write(fd, b"1234"));
    say!("bad flags: {}", sys!(SYS_eventfd2, 0, 2));
    say!("seek: {}", lseek(fd, 0, SEEK_SET));
}

fn timerfd(flags: i32) -> i32 {
    sys!(SYS_timerfd_create, CLOCK_MONOTONIC, flags).fd()
}

fn spec(value_ms: i64, interval_ms: i64) -> itimerspec {
    itimerspec { it_interval: timespec_ms(interval_ms), it_value: timespec_ms(value_ms) }
}

fn timerfd_expires() {
    let fd = timerfd(0);
    let start = now_ns();
    sys!(SYS_timerfd_settime, fd, 0, &spec(20, 0), NULL).must();
    say!("expirations {}, waited {}", u64_of(read(fd, 8)), now_ns() - start >= 20_000_000);
    sys!(SYS_fcntl, fd, F_SETFL, O_NONBLOCK).must();
    say!("once: {}", u64_of(read(fd, 8)));
}

fn timerfd_interval_and_gettime() {
    let fd = timerfd(0);
    sys!(SYS_timerfd_settime, fd, 0, &spec(1, 5), NULL).must();
    sleep_ms(30);
    let count: u64 = u64_of(read(fd, 8)).parse().unwrap();
    say!("at least 5: {}", count >= 5);
    let mut now = spec(0, 0);
    sys!(SYS_timerfd_gettime, fd, &mut now).must();
    say!("interval {} ms, remaining within it {}", now.it_interval.tv_nsec / 1_000_000, now.it_value.tv_nsec <= 5_000_000);
    let mut old = spec(0, 0);
    sys!(SYS_timerfd_settime, fd, 0, &spec(0, 0), &mut old).must();
    say!("old interval {}", old.it_interval.tv_nsec);
    sys!(SYS_timerfd_gettime, fd, &mut now).must();
    say!("disarmed {} {}", now.it_value.tv_nsec, now.it_interval.tv_nsec);
}

fn timerfd_absolute() {
    let fd = timerfd(TFD_NONBLOCK);
    sys!(SYS_timerfd_settime, fd, TFD_TIMER_ABSTIME, &spec(1, 0), NULL).must();
    say!("a time in the past expires at once: {}", poll_of(fd, POLLIN));
    say!("{}", u64_of(read(fd, 8)));
}

fn timerfd_interrupted() {
    let fd = timerfd(0);
    say!("{}", interrupted(|| u64_of(read(fd, 8))));
}

fn timerfd_errors() {
    say!("bad clock: {}", sys!(SYS_timerfd_create, 99, 0));
    say!("bad flags: {}", sys!(SYS_timerfd_create, CLOCK_MONOTONIC, 1));
    let fd = timerfd(TFD_NONBLOCK);
    say!("not armed: {}", u64_of(read(fd, 8)));
    say!("short read: {}", read(fd, 4));
    say!("write: {}", write(fd, b"12345678"));
    let bad = itimerspec { it_interval: timespec_ms(0), it_value: timespec { tv_sec: 0, tv_nsec: 1_000_000_000 } };
    say!("bad time: {}", sys!(SYS_timerfd_settime, fd, 0, &bad, NULL));
    say!("bad flags: {}", sys!(SYS_timerfd_settime, fd, 64, &spec(1, 0), NULL));
    say!("bad pointer: {}", sys!(SYS_timerfd_settime, fd, 0, 8, NULL));
    say!("not a timer: {}", sys!(SYS_timerfd_settime, 0, 0, &spec(1, 0), NULL));
}

struct Epoll(i32);

impl Epoll {
    fn new() -> Self {
        Self(sys!(SYS_epoll_create1, EPOLL_CLOEXEC).fd())
    }

    fn ctl(&self, op: i32, fd: i32, events: i32, data: u64) -> Ret {
        sys!(SYS_epoll_ctl, self.0, op, fd, &epoll_event { events: events as u32, u64: data })
    }

    fn add(&self, fd: i32, events: i32, data: u64) -> Ret {
        self.ctl(EPOLL_CTL_ADD, fd, events, data)
    }

    /// `events@data` of what is ready, sorted by data.
    fn wait(&self, timeout: i32) -> String {
        let mut events = [epoll_event { events: 0, u64: 0 }; 16];
        let ret = sys!(SYS_epoll_wait, self.0, &mut events, 16, timeout);
        let Ok(n) = ret.get() else { return ret.to_string() };
        let mut seen: Vec<(u64, u32)> = events[..n as usize].iter().map(|e| (e.u64, e.events)).collect();
        seen.sort_unstable();
        if seen.is_empty() { "nothing".to_owned() } else { seen.iter().map(|(data, events)| format!("{events:#x}@{data}")).collect::<Vec<_>>().join(" ") }
    }
}

fn epoll_level() {
    let (r, w) = pipe();
    let epoll = Epoll::new();
    epoll.add(r, EPOLLIN, 1);
    say!("{}", epoll.wait(0));
    write(w, b"ab");
    say!("{} then again {}", epoll.wait(-1), epoll.wait(0));
    read(r, 2);
    say!("{}", epoll.wait(0));
}

fn epoll_edge() {
    let (r, w) = pipe();
    let epoll = Epoll::new();
    epoll.add(r, EPOLLIN | EPOLLET, 1);
    write(w, b"ab");
    say!("{} then {}", epoll.wait(0), epoll.wait(0));
    write(w, b"c");
    say!("more data: {} then {}", epoll.wait(0), epoll.wait(0));
    read(r, 1);
    say!("partial read is no edge: {}", epoll.wait(0));
    epoll.ctl(EPOLL_CTL_MOD, r, EPOLLIN | EPOLLET, 1);
    say!("MOD re-arms: {}", epoll.wait(0));
}

fn epoll_oneshot() {
    let (r, w) = pipe();
    let epoll = Epoll::new();
    epoll.add(r, EPOLLIN | EPOLLONESHOT, 4);
    write(w, b"a");
    say!("{} then {}", epoll.wait(0), epoll.wait(0));
    say!("rearm {}: {}", epoll.ctl(EPOLL_CTL_MOD, r, EPOLLIN | EPOLLONESHOT, 5), epoll.wait(0));
}

fn epoll_ctl_errors() {
    let (r, _w) = pipe();
    let epoll = Epoll::new();
    say!("{} again {}", epoll.add(r, EPOLLIN, 0), epoll.add(r, EPOLLIN, 0));
    say!("delete {} again {}", epoll.ctl(EPOLL_CTL_DEL, r, 0, 0), epoll.ctl(EPOLL_CTL_DEL, r, 0, 0));
    say!("modify what is absent: {}", epoll.ctl(EPOLL_CTL_MOD, r, EPOLLIN, 0));
    say!("itself: {}", epoll.add(epoll.0, EPOLLIN, 0));
    say!("bad descriptor: {}", epoll.add(99, EPOLLIN, 0));
    say!("bad operation: {}", epoll.ctl(9, r, EPOLLIN, 0));
    say!("not an epoll: {}", Epoll(r).add(0, EPOLLIN, 0));
    say!("bad pointer: {}", sys!(SYS_epoll_ctl, epoll.0, EPOLL_CTL_ADD, r, 8));
    say!("directory: {}", epoll.add(open(c".", O_RDONLY).fd(), EPOLLIN, 0));
}

fn epoll_wait_errors() {
    let epoll = Epoll::new();
    let mut events = [epoll_event { events: 0, u64: 0 }; 1];
    say!("zero events: {}", sys!(SYS_epoll_wait, epoll.0, &mut events, 0, 0));
    say!("negative: {}", sys!(SYS_epoll_wait, epoll.0, &mut events, -1, 0));
    say!("not an epoll: {}", sys!(SYS_epoll_wait, 0, &mut events, 1, 0));
    say!("bad descriptor: {}", sys!(SYS_epoll_wait, 99, &mut events, 1, 0));
    say!("create size 0: {}", sys!(SYS_epoll_create, 0));
    say!("create1 flags: {}", sys!(SYS_epoll_create1, 1));
    let (r, w) = pipe();
    epoll.add(r, EPOLLIN, 0);
    write(w, b"x");
    say!("bad pointer: {}", sys!(SYS_epoll_wait, epoll.0, 8, 1, 0));
    say!("and the event is not lost: {}", epoll.wait(0));
}

fn epoll_times_out_and_wakes() {
    let (r, w) = pipe();
    let epoll = Epoll::new();
    epoll.add(r, EPOLLIN, 2);
    let start = now_ns();
    say!("{}, waited {}", epoll.wait(20), now_ns() - start >= 20_000_000);
    let child = after(20, || write(w, b"x"));
    say!("{}", epoll.wait(-1));
    child.wait();
}

fn epoll_interrupted() {
    let epoll = Epoll::new();
    say!("{}", interrupted(|| epoll.wait(-1)));
    say!("even with SA_RESTART: {}", alarmed(SA_RESTART, || epoll.wait(-1)));
}

fn epoll_pwait_mask() {
    handle(SIGUSR1, 0);
    block(&[SIGUSR1]);
    kill_self(SIGUSR1);
    let epoll = Epoll::new();
    let mut events = [epoll_event { events: 0, u64: 0 }; 1];
    say!("{}", sys!(SYS_epoll_pwait, epoll.0, &mut events, 1, 1000, &0u64, 8));
    say!("caught {}, mask {}", caught(), mask());
    say!("bad size: {}", sys!(SYS_epoll_pwait, epoll.0, &mut events, 1, 0, &0u64, 4));
    say!("pwait2: {}", sys!(SYS_epoll_pwait2, epoll.0, &mut events, 1, &timespec_ms(1), NULL, 8));
}

fn epoll_exclusive() {
    let (r, w) = pipe();
    let epolls = [Epoll::new(), Epoll::new()];
    for epoll in &epolls {
        say!("{}", epoll.add(r, EPOLLIN | EPOLLEXCLUSIVE, 1));
    }
    say!("modify: {}", epolls[0].ctl(EPOLL_CTL_MOD, r, EPOLLIN, 1));
    say!("with oneshot: {}", epolls[0].add(w, EPOLLOUT | EPOLLEXCLUSIVE | EPOLLONESHOT, 1));
    write(w, b"x");
    say!("at least one sees it: {}", epolls.iter().any(|e| e.wait(0) == "0x1@1"));
}

fn epoll_nested() {
    let (r, w) = pipe();
    let (inner, outer) = (Epoll::new(), Epoll::new());
    inner.add(r, EPOLLIN, 1);
    say!("{}", outer.add(inner.0, EPOLLIN, 2));
    say!("{}", outer.wait(0));
    write(w, b"x");
    say!("outer {} inner {}", outer.wait(-1), inner.wait(0));
    say!("loop: {}", inner.add(outer.0, EPOLLIN, 3));
    say!("poll on an epoll: {}", poll_of(inner.0, POLLIN));
}

fn epoll_closed_descriptor_leaves() {
    let (r, w) = pipe();
    let epoll = Epoll::new();
    epoll.add(r, EPOLLIN, 1);
    write(w, b"x");
    close(r);
    say!("{}", epoll.wait(0));
}

fn epoll_dup_keeps() {
    let (r, w) = pipe();
    let twin = sys!(SYS_dup, r).fd();
    let epoll = Epoll::new();
    epoll.add(r, EPOLLIN, 1);
    say!("the twin is another entry: {}", epoll.add(twin, EPOLLIN, 2));
    write(w, b"x");
    close(r);
    say!("entry of the closed number lives while the file does: {}", epoll.wait(0));
    close(twin);
    say!("{}", epoll.wait(0));
}

fn epoll_hangup_and_rdhup() {
    let (a, b) = socketpair(SOCK_STREAM);
    let epoll = Epoll::new();
    epoll.add(a, EPOLLIN | EPOLLRDHUP, 1);
    sys!(SYS_shutdown, b, SHUT_WR).must();
    say!("half closed: {}", epoll.wait(0));
    close(b);
    say!("closed: {}", epoll.wait(0));
}

fn epoll_many_ready_rotate() {
    let epoll = Epoll::new();
    for i in 0..3 {
        epoll.add(eventfd(1, 0), EPOLLIN, i);
    }
    let mut seen = [0; 3];
    for _ in 0..6 {
        let mut event = epoll_event { events: 0, u64: 9 };
        sys!(SYS_epoll_wait, epoll.0, &mut event, 1, 0).must();
        seen[event.u64 as usize] += 1;
    }
    say!("each in its turn: {seen:?}");
}

fn epoll_regular_file() {
    touch(c"f");
    say!("{}", Epoll::new().add(open(c"f", O_RDONLY).fd(), EPOLLIN, 0));
    say!("/dev/null: {}", Epoll::new().add(open(c"/dev/null", O_RDONLY).fd(), EPOLLIN, 0));
}

fn epoll_data_kept() {
    let epoll = Epoll::new();
    epoll.add(eventfd(1, 0), EPOLLIN | EPOLLOUT, u64::MAX);
    say!("{}", epoll.wait(0));
}

fn poll_kinds() {
    touch(c"f");
    let all = POLLIN | POLLOUT | POLLPRI;
    say!("file {}", poll_of(open(c"f", O_RDWR).fd(), all));
    say!("directory {}", poll_of(open(c".", O_RDONLY).fd(), all));
    say!("/dev/null {}", poll_of(open(c"/dev/null", O_RDWR).fd(), all));
    let (a, b) = socketpair(SOCK_STREAM);
    say!("socket {}", poll_of(a, all));
    close(b);
    say!("peer gone {}", poll_of(a, all));
    say!("bad descriptor {}", poll_of(99, all));
    say!("negative is skipped {}", poll_of(-1, all));
    say!("O_PATH {}", poll_of(open(c"f", O_PATH).fd(), all));
}

fn poll_errors() {
    say!("bad pointer: {}", sys!(SYS_poll, 8, 1, 0));
    set_soft_limit(RLIMIT_NOFILE, 10).must();
    say!("more than RLIMIT_NOFILE: {}", sys!(SYS_poll, &mut [0u64; 16], 11, 0));
    say!("none: {}", sys!(SYS_poll, NULL, 0, 0));
    let bad = timespec { tv_sec: -1, tv_nsec: 0 };
    say!("negative ppoll time: {}", sys!(SYS_ppoll, NULL, 0, &bad, NULL, 8));
}

fn poll_blocks_and_wakes() {
    let (r, w) = pipe();
    let mut fds = [pollfd { fd: -1, events: POLLIN, revents: 9 }, pollfd { fd: r, events: POLLIN, revents: 9 }];
    let child = after(20, || write(w, b"x"));
    say!("{} {} {:#x}", sys!(SYS_poll, &mut fds, 2, -1), fds[0].revents, fds[1].revents);
    child.wait();
    let start = now_ns();
    let hangup = after(20, || {});
    fds[1].fd = -1;
    say!("{}, waited {}", sys!(SYS_poll, &mut fds, 2, 20), now_ns() - start >= 20_000_000);
    hangup.wait();
}

fn poll_interrupted() {
    let (r, _w) = pipe();
    let mut poll = pollfd { fd: r, events: POLLIN, revents: 0 };
    say!("{}", interrupted(|| sys!(SYS_poll, &mut poll, 1, -1)));
    say!("with a timeout: {}", interrupted(|| sys!(SYS_poll, &mut poll, 1, 10_000)));
}

fn poll_never_restarts() {
    let (r, _w) = pipe();
    let mut poll = pollfd { fd: r, events: POLLIN, revents: 0 };
    say!("{}", alarmed(SA_RESTART, || sys!(SYS_poll, &mut poll, 1, -1)));
}

fn ppoll_mask_and_timeout() {
    handle(SIGUSR1, 0);
    block(&[SIGUSR1]);
    kill_self(SIGUSR1);
    let mut time = timespec_ms(5000);
    say!("{}", sys!(SYS_ppoll, NULL, 0, &mut time, &0u64, 8));
    say!("caught {}, mask {}, time left {}", caught(), mask(), time.tv_sec >= 4);
    let mut time = timespec_ms(10);
    say!("{}, time used up {}", sys!(SYS_ppoll, NULL, 0, &mut time, NULL, 8), time.tv_sec == 0 && time.tv_nsec == 0);
}

fn set(fds: &[i32]) -> [u64; 16] {
    let mut set = [0u64; 16];
    fds.iter().for_each(|&fd| set[fd as usize / 64] |= 1 << (fd % 64));
    set
}

fn select_sets() {
    let (r, w) = pipe();
    let zero = timeval { tv_sec: 0, tv_usec: 0 };
    let (mut reads, mut writes) = (set(&[r]), set(&[w]));
    let n = r.max(w) + 1;
    say!("{}", sys!(SYS_select, n, &mut reads, &mut writes, NULL, &zero));
    say!("readable {}, writable {}", reads != set(&[]), writes == set(&[w]));
    write(w, b"x");
    let mut reads = set(&[r]);
    say!("{}, readable {}", sys!(SYS_select, n, &mut reads, NULL, NULL, NULL), reads == set(&[r]));
    let mut both = set(&[r]);
    read(r, 1);
    let mut time = timeval { tv_sec: 0, tv_usec: 10_000 };
    say!("timeout {}, set cleared {}, time used up {}", sys!(SYS_select, n, &mut both, NULL, NULL, &mut time), both == set(&[]), time.tv_usec == 0);
}

fn select_errors() {
    // Linux looks no further than its descriptor table, which has 64 places or more: a bit beyond it would be waited for.
    say!("bad descriptor: {}", sys!(SYS_select, 61, &mut set(&[60]), NULL, NULL, NULL));
    say!("negative n: {}", sys!(SYS_select, -1, NULL, NULL, NULL, NULL));
    say!("bad pointer: {}", sys!(SYS_select, 10, 8, NULL, NULL, NULL));
    say!("negative time: {}", sys!(SYS_select, 0, NULL, NULL, NULL, &timeval { tv_sec: -1, tv_usec: 0 }));
}

fn select_interrupted_and_pselect() {
    say!("{}", interrupted(|| sys!(SYS_select, 0, NULL, NULL, NULL, NULL)));
    handle(SIGUSR1, 0);
    block(&[SIGUSR1]);
    kill_self(SIGUSR1);
    let bits = 0u64;
    let argument = [std::ptr::from_ref(&bits) as usize, 8];
    say!("{}", sys!(SYS_pselect6, 0, NULL, NULL, NULL, NULL, &argument));
    say!("caught {}, mask {}", caught(), mask());
}
