//! inotify: what is reported of files and directories that processes change.

use std::ffi::CStr;

use crate::prelude::*;

cases![
    create_modify_delete, open_close_access, moves_share_a_cookie, watch_on_file, self_events, mask_add_and_oneshot, remove_watch,
    identical_events_merge, blocks_and_wakes, read_interrupted, errors, poll_and_fionread, excl_unlink_and_onlydir, overflow_is_bounded,
    attribute_changes,
];

fn create(flags: i32) -> i32 {
    sys!(SYS_inotify_init1, flags).fd()
}

fn watch(fd: i32, path: &CStr, mask: u32) -> Ret {
    sys!(SYS_inotify_add_watch, fd, path, mask)
}

const NAMES: [(u32, &str); 15] = [
    (IN_ACCESS, "ACCESS"),
    (IN_MODIFY, "MODIFY"),
    (IN_ATTRIB, "ATTRIB"),
    (IN_CLOSE_WRITE, "CLOSE_WRITE"),
    (IN_CLOSE_NOWRITE, "CLOSE_NOWRITE"),
    (IN_OPEN, "OPEN"),
    (IN_MOVED_FROM, "MOVED_FROM"),
    (IN_MOVED_TO, "MOVED_TO"),
    (IN_CREATE, "CREATE"),
    (IN_DELETE, "DELETE"),
    (IN_DELETE_SELF, "DELETE_SELF"),
    (IN_MOVE_SELF, "MOVE_SELF"),
    (IN_IGNORED, "IGNORED"),
    (IN_ISDIR, "ISDIR"),
    (IN_Q_OVERFLOW, "Q_OVERFLOW"),
];

/// Each event in `bytes` as mask, name and cookie.
fn parse(mut bytes: &[u8]) -> Vec<(String, u32)> {
    let mut events = Vec::new();
    while bytes.len() >= 16 {
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let (mask, cookie, len) = (word(4), word(8), word(12) as usize);
        let name = bytes[16..16 + len].split(|b| *b == 0).next().unwrap_or_default();
        let names: Vec<_> = NAMES.iter().filter(|(bit, _)| mask & bit != 0).map(|(_, name)| *name).collect();
        events.push((format!("{} {}", names.join("|"), name.escape_ascii()).trim_end().to_owned(), cookie));
        bytes = &bytes[16 + len..];
    }
    events
}

/// What has been reported so far, one line each.
fn report(fd: i32) {
    match read(fd, 65536).0 {
        Ok(bytes) => parse(&bytes).into_iter().for_each(|(event, _)| say!("  {event}")),
        Err(errno) => say!("  {errno:?}"),
    }
}

fn create_modify_delete() {
    let fd = create(IN_NONBLOCK);
    watch(fd, c".", IN_CREATE | IN_MODIFY | IN_DELETE).must();
    let file = open(c"f", O_RDWR | O_CREAT).fd();
    write(file, b"x");
    sys!(SYS_mkdir, c"d", 0o755).must();
    sys!(SYS_link, c"f", c"g").must();
    sys!(SYS_symlink, c"f", c"l").must();
    sys!(SYS_unlink, c"f").must();
    sys!(SYS_rmdir, c"d").must();
    report(fd);
}

fn open_close_access() {
    write_file(c"f", b"content");
    let fd = create(IN_NONBLOCK);
    watch(fd, c".", IN_OPEN | IN_CLOSE | IN_ACCESS).must();
    let file = open(c"f", O_RDONLY).fd();
    read(file, 3);
    close(file);
    close(open(c"f", O_WRONLY).fd());
    report(fd);
}

fn moves_share_a_cookie() {
    sys!(SYS_mkdir, c"to", 0o755).must();
    touch(c"f");
    let fd = create(IN_NONBLOCK);
    watch(fd, c".", IN_MOVE).must();
    watch(fd, c"to", IN_MOVE).must();
    sys!(SYS_rename, c"f", c"to/g").must();
    let events = parse(&read(fd, 4096).0.unwrap());
    say!("{} then {}", events[0].0, events[1].0);
    say!("same cookie {}, not zero {}", events[0].1 == events[1].1, events[0].1 != 0);
}

fn watch_on_file() {
    touch(c"f");
    let fd = create(IN_NONBLOCK);
    watch(fd, c"f", IN_MODIFY | IN_ATTRIB).must();
    write(open(c"f", O_WRONLY).fd(), b"x");
    sys!(SYS_chmod, c"f", 0o600).must();
    report(fd);
}

fn self_events() {
    touch(c"f");
    sys!(SYS_mkdir, c"d", 0o755).must();
    let fd = create(IN_NONBLOCK);
    watch(fd, c"f", IN_DELETE_SELF | IN_MOVE_SELF).must();
    watch(fd, c"d", IN_DELETE_SELF | IN_MOVE_SELF).must();
    sys!(SYS_rename, c"f", c"g").must();
    sys!(SYS_unlink, c"g").must();
    sys!(SYS_rmdir, c"d").must();
    report(fd);
}

fn mask_add_and_oneshot() {
    let fd = create(IN_NONBLOCK);
    let first = watch(fd, c".", IN_CREATE);
    say!("same watch {}", watch(fd, c".", IN_DELETE | IN_MASK_ADD) == first);
    touch(c"f");
    sys!(SYS_unlink, c"f").must();
    report(fd);
    say!("IN_MASK_CREATE on a watched one {}", watch(fd, c".", IN_CREATE | IN_MASK_CREATE));
    watch(fd, c".", IN_CREATE | IN_ONESHOT).must();
    touch(c"g");
    touch(c"h");
    report(fd);
}

fn remove_watch() {
    let fd = create(IN_NONBLOCK);
    let id = watch(fd, c".", IN_CREATE).must();
    say!("{}", sys!(SYS_inotify_rm_watch, fd, id));
    touch(c"f");
    report(fd);
    say!("again {}", sys!(SYS_inotify_rm_watch, fd, id));
}

fn identical_events_merge() {
    touch(c"f");
    let fd = create(IN_NONBLOCK);
    watch(fd, c"f", IN_MODIFY).must();
    let file = open(c"f", O_WRONLY).fd();
    (0..5).for_each(|_| unused(write(file, b"x")));
    report(fd);
}

fn blocks_and_wakes() {
    let fd = create(0);
    watch(fd, c".", IN_CREATE).must();
    let child = after(20, || touch(c"later"));
    report(fd);
    child.wait();
}

fn read_interrupted() {
    let fd = create(0);
    watch(fd, c".", IN_CREATE).must();
    say!("{}", interrupted(|| read(fd, 100)));
}

fn errors() {
    let fd = create(IN_NONBLOCK);
    say!("missing {}, empty mask {}", watch(fd, c"none", IN_CREATE), watch(fd, c".", 0));
    say!("not an inotify {}, bad descriptor {}", watch(0, c".", IN_CREATE), watch(99, c".", IN_CREATE));
    say!("bad flags {}", sys!(SYS_inotify_init1, 1));
    say!("nothing yet {}", read(fd, 100));
    say!("write {}", write(fd, b"x"));
    watch(fd, c".", IN_CREATE).must();
    touch(c"f");
    say!("short buffer {}", read(fd, 10));
}

fn poll_and_fionread() {
    let fd = create(IN_NONBLOCK);
    watch(fd, c".", IN_CREATE).must();
    let mut poll = pollfd { fd, events: POLLIN, revents: 0 };
    say!("{}", sys!(SYS_poll, &mut poll, 1, 0));
    touch(c"name");
    let mut n = 0i32;
    say!("{} {}", sys!(SYS_poll, &mut poll, 1, 0), sys!(SYS_ioctl, fd, FIONREAD, &mut n));
    say!("{n} bytes");
}

fn excl_unlink_and_onlydir() {
    touch(c"f");
    let fd = create(IN_NONBLOCK);
    say!("IN_ONLYDIR on a file {}", watch(fd, c"f", IN_MODIFY | IN_ONLYDIR));
    sys!(SYS_symlink, c"f", c"l").must();
    say!("IN_DONT_FOLLOW {}", watch(fd, c"l", IN_ATTRIB | IN_DONT_FOLLOW).ok());
    sys!(SYS_chmod, c"f", 0o600).must();
    report(fd);
}

fn overflow_is_bounded() {
    write_file(c"f", b"x");
    let fd = create(IN_NONBLOCK);
    watch(fd, c"f", IN_MODIFY | IN_ACCESS).must();
    let most: usize = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let file = open(c"f", O_RDWR).fd();
    for _ in 0..=most / 2 {
        sys!(SYS_pwrite64, file, c"y", 1, 0).must();
        pread(file, 1, 0);
    }
    let mut last = String::new();
    while let Ok(bytes) = read(fd, 65536).0 {
        last = parse(&bytes).pop().map_or(last, |(event, _)| event);
    }
    say!("ends with {last}");
}

fn attribute_changes() {
    touch(c"f");
    let fd = create(IN_NONBLOCK);
    watch(fd, c".", IN_ATTRIB).must();
    sys!(SYS_chmod, c"f", 0o600).must();
    sys!(SYS_chown, c"f", 1, 1).must();
    sys!(SYS_utimensat, AT_FDCWD, c"f", NULL, 0).must();
    sys!(SYS_link, c"f", c"g").must();
    report(fd);
}
