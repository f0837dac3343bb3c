//! File locks: POSIX, open-file-description and flock.

use crate::prelude::*;

cases![
    posix_conflict_between_processes, posix_ranges_split_and_merge, posix_getlk_reports, posix_released_on_close_and_exit,
    posix_not_inherited, posix_blocks_and_wakes, posix_wait_interrupted, posix_deadlock, posix_errors, ofd_conflicts_in_one_process,
    ofd_inherited_and_released, ofd_blocks_and_wakes, flock_between_descriptions, flock_shared_and_upgrade, flock_blocks_and_wakes,
    flock_interrupted, flock_errors, kinds_are_independent, leases,
];

fn file() -> i32 {
    open(c"f", O_RDWR | O_CREAT).fd()
}

fn lock(fd: i32, command: i32, kind: i32, start: i64, len: i64) -> Ret {
    let request = flock { l_type: kind as i16, l_whence: SEEK_SET as i16, l_start: start, l_len: len, l_pid: 0 };
    sys!(SYS_fcntl, fd, command, &request)
}

fn getlk(fd: i32, command: i32, kind: i32, start: i64, len: i64) -> (flock, Ret) {
    let mut request = flock { l_type: kind as i16, l_whence: SEEK_SET as i16, l_start: start, l_len: len, l_pid: 0 };
    let ret = sys!(SYS_fcntl, fd, command, &mut request);
    (request, ret)
}

/// Runs `body` in a child, where it prints.
fn child(body: impl FnOnce()) {
    fork(|| {
        body();
        0
    })
    .wait();
}

fn posix_conflict_between_processes() {
    let fd = file();
    say!("write lock {}, again {}", lock(fd, F_SETLK, F_WRLCK, 0, 10), lock(fd, F_SETLK, F_WRLCK, 0, 10));
    child(|| {
        say!("other process: same {}, read {}", lock(fd, F_SETLK, F_WRLCK, 5, 1), lock(fd, F_SETLK, F_RDLCK, 0, 1));
        say!("beyond {}", lock(fd, F_SETLK, F_WRLCK, 10, 1));
    });
    lock(fd, F_SETLK, F_RDLCK, 0, 10).must();
    child(|| say!("after downgrade: read {}, write {}", lock(fd, F_SETLK, F_RDLCK, 0, 10), lock(fd, F_SETLK, F_WRLCK, 0, 10)));
    lock(fd, F_SETLK, F_UNLCK, 0, 0).must();
    child(|| say!("unlocked: {}", lock(fd, F_SETLK, F_WRLCK, 0, 10)));
}

/// Which of the first bytes another process finds locked for writing (`w`), reading (`r`) or free (`.`).
fn picture(fd: i32) -> String {
    let (r, w) = pipe();
    child(|| {
        let one = |at| match i32::from(getlk(fd, F_GETLK, F_WRLCK, at, 1).0.l_type) {
            F_WRLCK => 'w',
            F_RDLCK => 'r',
            _ => '.',
        };
        write(w, (0..16).map(one).collect::<String>().as_bytes());
    });
    read(r, 16).to_string()
}

fn posix_ranges_split_and_merge() {
    let fd = file();
    lock(fd, F_SETLK, F_WRLCK, 2, 10).must();
    say!("{}", picture(fd));
    lock(fd, F_SETLK, F_UNLCK, 5, 2).must();
    say!("{}", picture(fd));
    lock(fd, F_SETLK, F_RDLCK, 8, 2).must();
    say!("{}", picture(fd));
    lock(fd, F_SETLK, F_RDLCK, 0, 0).must();
    say!("{}", picture(fd));
    lock(fd, F_SETLK, F_UNLCK, 14, -4).must();
    say!("negative length {}", picture(fd));
}

fn posix_getlk_reports() {
    let fd = file();
    let me = getpid();
    lock(fd, F_SETLK, F_WRLCK, 3, 4).must();
    say!("own lock does not conflict: {}", i32::from(getlk(fd, F_GETLK, F_WRLCK, 0, 0).0.l_type) == F_UNLCK);
    child(|| {
        let (found, ret) = getlk(fd, F_GETLK, F_RDLCK, 0, 0);
        say!("{ret} type {} start {} length {} holder right {}", found.l_type, found.l_start, found.l_len, found.l_pid == me);
    });
}

fn posix_released_on_close_and_exit() {
    let fd = file();
    lock(fd, F_SETLK, F_WRLCK, 0, 1).must();
    close(file());
    child(|| say!("closing any descriptor of the file drops it: {}", lock(fd, F_SETLK, F_WRLCK, 0, 1)));
    say!("and so does exit: {}", lock(fd, F_SETLK, F_WRLCK, 0, 1));
}

fn posix_not_inherited() {
    let fd = file();
    lock(fd, F_SETLK, F_WRLCK, 0, 1).must();
    child(|| say!("child {}", lock(fd, F_SETLK, F_WRLCK, 0, 1)));
}

/// A child that holds a lock until it is told to let go; returns once it holds it.
fn holder(take: impl FnOnce() -> Ret, hold_ms: u64) -> Child {
    let (r, w) = pipe();
    let child = fork(|| {
        take().must();
        write(w, b"x");
        sleep_ms(hold_ms);
        0
    });
    read(r, 1);
    child
}

fn posix_blocks_and_wakes() {
    let fd = file();
    let start = now_ns();
    let other = holder(|| lock(fd, F_SETLK, F_WRLCK, 0, 0), 30);
    say!("{}, waited {}", lock(fd, F_SETLKW, F_WRLCK, 0, 1), now_ns() - start >= 30_000_000);
    other.wait();
}

fn posix_wait_interrupted() {
    let fd = file();
    let other = holder(|| lock(fd, F_SETLK, F_WRLCK, 0, 0), 10_000);
    say!("{}", interrupted(|| lock(fd, F_SETLKW, F_WRLCK, 0, 1)));
    other.kill(SIGKILL);
}

fn posix_deadlock() {
    let fd = file();
    lock(fd, F_SETLK, F_WRLCK, 0, 1).must();
    let (r, w) = pipe();
    let other = fork(|| {
        lock(fd, F_SETLK, F_WRLCK, 1, 1).must();
        write(w, b"x");
        // One of the two is refused, the other proceeds when it is let go.
        let ret = lock(fd, F_SETLKW, F_WRLCK, 0, 1);
        i32::from(ret.0 == -i64::from(EDEADLK))
    });
    read(r, 1);
    let ret = lock(fd, F_SETLKW, F_WRLCK, 1, 1);
    let refused = ret.0 == -i64::from(EDEADLK);
    lock(fd, F_SETLK, F_UNLCK, 0, 0).must();
    let other = other.wait().to_string();
    say!("exactly one of the two got EDEADLK: {}", refused != (other == "exited 1"));
}

fn posix_errors() {
    let fd = file();
    say!("bad type {}", lock(fd, F_SETLK, 9, 0, 1));
    say!("before the start {}", lock(fd, F_SETLK, F_WRLCK, -5, 1));
    say!("negative length past it {}", lock(fd, F_SETLK, F_WRLCK, 3, -5));
    say!("bad pointer {}", sys!(SYS_fcntl, fd, F_SETLK, 8));
    say!("read lock on write-only {}", lock(open(c"f", O_WRONLY).fd(), F_SETLK, F_RDLCK, 0, 1));
    say!("write lock on read-only {}", lock(open(c"f", O_RDONLY).fd(), F_SETLK, F_WRLCK, 0, 1));
    say!("bad descriptor {}", lock(99, F_SETLK, F_WRLCK, 0, 1));
    say!("O_PATH {}", lock(open(c"f", O_PATH).fd(), F_SETLK, F_WRLCK, 0, 1));
}

fn ofd_conflicts_in_one_process() {
    let (a, b) = (file(), file());
    say!("{} {}", lock(a, F_OFD_SETLK, F_WRLCK, 0, 5), lock(b, F_OFD_SETLK, F_WRLCK, 0, 5));
    say!("getlk pid {}", getlk(b, F_OFD_GETLK, F_WRLCK, 0, 5).0.l_pid);
    let twin = sys!(SYS_dup, a).fd();
    say!("through a twin {}", lock(twin, F_OFD_SETLK, F_WRLCK, 0, 5));
    close(a);
    say!("twin still holds {}", lock(b, F_OFD_SETLK, F_WRLCK, 0, 5));
    close(twin);
    say!("released {}", lock(b, F_OFD_SETLK, F_WRLCK, 0, 5));
    let request = flock { l_type: F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 1, l_pid: 5 };
    say!("pid must be zero {}", sys!(SYS_fcntl, b, F_OFD_SETLK, &request));
}

fn ofd_inherited_and_released() {
    let fd = file();
    lock(fd, F_OFD_SETLK, F_WRLCK, 0, 1).must();
    child(|| {
        say!("child has it {}", lock(fd, F_OFD_SETLK, F_WRLCK, 0, 1));
        say!("child unlocks {}", lock(fd, F_OFD_SETLK, F_UNLCK, 0, 1));
    });
    say!("gone for all {}", lock(file(), F_OFD_SETLK, F_WRLCK, 0, 1));
}

fn ofd_blocks_and_wakes() {
    let fd = file();
    let start = now_ns();
    let other = holder(|| lock(file(), F_OFD_SETLK, F_WRLCK, 0, 0), 30);
    say!("{}, waited {}", lock(fd, F_OFD_SETLKW, F_WRLCK, 0, 1), now_ns() - start >= 30_000_000);
    other.wait();
}

fn flock(fd: i32, operation: i32) -> Ret {
    sys!(SYS_flock, fd, operation)
}

fn flock_between_descriptions() {
    let (a, b) = (file(), file());
    say!("{} {} {}", flock(a, LOCK_EX), flock(b, LOCK_EX | LOCK_NB), flock(sys!(SYS_dup, a).fd(), LOCK_EX | LOCK_NB));
    child(|| say!("inherited {}", flock(a, LOCK_EX | LOCK_NB)));
    say!("still held {}", flock(b, LOCK_SH | LOCK_NB));
    say!("unlock {} then {}", flock(a, LOCK_UN), flock(b, LOCK_EX | LOCK_NB));
}

fn flock_shared_and_upgrade() {
    let (a, b) = (file(), file());
    say!("{} {}", flock(a, LOCK_SH), flock(b, LOCK_SH));
    say!("upgrade with another reader {}", flock(a, LOCK_EX | LOCK_NB));
    flock(b, LOCK_UN).must();
    say!("alone {}", flock(a, LOCK_EX | LOCK_NB));
}

fn flock_blocks_and_wakes() {
    let fd = file();
    let start = now_ns();
    let other = holder(|| flock(file(), LOCK_EX), 30);
    say!("{}, waited {}", flock(fd, LOCK_EX), now_ns() - start >= 30_000_000);
    other.wait();
}

fn flock_interrupted() {
    let (a, b) = (file(), file());
    flock(a, LOCK_EX).must();
    say!("{}", interrupted(|| flock(b, LOCK_EX)));
}

fn flock_errors() {
    say!("bad operation {} {}", flock(file(), 0), flock(file(), LOCK_SH | LOCK_EX));
    say!("bad descriptor {}, O_PATH {}", flock(99, LOCK_EX), flock(open(c".", O_PATH).fd(), LOCK_EX));
    say!("directory {}, read-only {}", flock(open(c".", O_RDONLY).fd(), LOCK_EX), flock(open(c"/dev/null", O_RDONLY).fd(), LOCK_EX));
}

fn kinds_are_independent() {
    let (a, b) = (file(), file());
    flock(a, LOCK_EX).must();
    say!("flock and POSIX {}", lock(b, F_SETLK, F_WRLCK, 0, 0));
    say!("POSIX and OFD conflict {}", lock(a, F_OFD_SETLK, F_WRLCK, 0, 0));
}

fn leases() {
    touch(c"f");
    let fd = open(c"f", O_RDONLY).fd();
    say!("none {}", sys!(SYS_fcntl, fd, F_GETLEASE));
    say!("bad {}", sys!(SYS_fcntl, fd, F_SETLEASE, 77));
}
