//! Attributes of files: stat, statx, mode, owner, times, extended attributes, file system figures.

use std::ffi::CStr;

use crate::prelude::*;

cases![
    stat_fields, statx_fields, statx_errors, chmod_forms, chmod_permission, chown_forms, chown_clears_set_id, chown_permission,
    permission_classes, directory_permissions, group_membership_counts, utimensat_forms, utimensat_errors, times_follow_writes,
    ctime_follows_changes, xattr_basics, xattr_flags_and_sizes, xattr_errors, xattr_links_and_kinds, statfs_sane, fstat_kinds,
    root_overrides, cap_less_root_is_refused, old_time_calls, fchmodat2_flags,
];

fn stat_of(path: &CStr) -> stat {
    let mut stat: stat = zeroed();
    sys!(SYS_newfstatat, AT_FDCWD, path, &mut stat, AT_SYMLINK_NOFOLLOW).must();
    stat
}

fn mode(path: &CStr) -> String {
    format!("{:o}", stat_of(path).st_mode)
}

fn chmod(path: &CStr, mode: u32) -> Ret {
    sys!(SYS_chmod, path, mode)
}

fn chown(path: &CStr, uid: i32, gid: i32) -> Ret {
    sys!(SYS_chown, path, uid, gid)
}

/// Runs `body` in a child with these ids and supplementary groups.
fn as_user(uid: u32, groups: &[u32], body: impl FnOnce()) {
    sys!(SYS_chmod, c".", 0o777).must();
    fork(|| {
        sys!(SYS_setgroups, groups.len(), groups).must();
        sys!(SYS_setresgid, uid, uid, uid).must();
        sys!(SYS_setresuid, uid, uid, uid).must();
        body();
        0
    })
    .wait();
}

fn stat_fields() {
    sys!(SYS_umask, 0o22);
    write_file(c"f", &[1; 5000]);
    let s = stat_of(c"f");
    say!("mode {:o} links {} uid {} gid {} size {}", s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_size);
    say!("blocks at least 8: {}, block size at least 512: {}", s.st_blocks >= 8, s.st_blksize >= 512);
    say!("missing {}, bad pointer {}", sys!(SYS_stat, c"none", &mut [0u8; 144]), sys!(SYS_stat, c"f", 8));
    sys!(SYS_symlink, c"f", c"l").must();
    say!("lstat sees the link {}", s.st_mode & S_IFMT == S_IFREG && stat_of(c"l").st_mode & S_IFMT == S_IFLNK);
    let mut own: stat = zeroed();
    let fd = open(c"f", O_RDONLY).fd();
    say!("empty path {} same {}", sys!(SYS_newfstatat, fd, c"", &mut own, AT_EMPTY_PATH), own.st_ino == s.st_ino);
    say!("bad flags {}", sys!(SYS_newfstatat, AT_FDCWD, c"f", &mut own, 1));
}

fn statx_fields() {
    write_file(c"f", b"12345");
    chmod(c"f", 0o640).must();
    let mut x: statx = zeroed();
    say!("{}", sys!(SYS_statx, AT_FDCWD, c"f", 0, STATX_BASIC_STATS, &mut x));
    say!("basic mask {}", x.stx_mask & STATX_BASIC_STATS == STATX_BASIC_STATS);
    say!("mode {:o} links {} size {}", x.stx_mode, x.stx_nlink, x.stx_size);
    let s = stat_of(c"f");
    say!("agrees with stat: inode {}, time {}", x.stx_ino == s.st_ino, x.stx_mtime.tv_sec == s.st_mtime);
    say!("agrees on the device: {}", makedev(x.stx_dev_major, x.stx_dev_minor) == s.st_dev);
}

fn statx_errors() {
    touch(c"f");
    let mut x: statx = zeroed();
    say!("missing {}", sys!(SYS_statx, AT_FDCWD, c"none", 0, 0, &mut x));
    say!("bad flags {}", sys!(SYS_statx, AT_FDCWD, c"f", 1, 0, &mut x));
    say!("reserved mask bit {}", sys!(SYS_statx, AT_FDCWD, c"f", 0, 1u32 << 31, &mut x));
    say!("bad pointer {}", sys!(SYS_statx, AT_FDCWD, c"f", 0, 0, 8));
    say!("both sync flags {}", sys!(SYS_statx, AT_FDCWD, c"f", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, 0, &mut x));
    say!("descriptor {}", sys!(SYS_statx, open(c"f", O_PATH).fd(), c"", AT_EMPTY_PATH, 0, &mut x));
}

fn chmod_forms() {
    touch(c"f");
    say!("{} {}", chmod(c"f", 0o7751), mode(c"f"));
    say!("extra bits are dropped {} {}", chmod(c"f", 0o170_600), mode(c"f"));
    let fd = open(c"f", O_RDONLY).fd();
    say!("fchmod {} {}", sys!(SYS_fchmod, fd, 0o444), mode(c"f"));
    sys!(SYS_symlink, c"f", c"l").must();
    say!("through a link {} {} {}", chmod(c"l", 0o600), mode(c"f"), mode(c"l"));
    say!("missing {}", chmod(c"none", 0));
}

fn fchmodat2_flags() {
    touch(c"f");
    say!("{} {}", sys!(452, AT_FDCWD, c"f", 0o604, 0), mode(c"f"));
    say!("bad flags {}", sys!(452, AT_FDCWD, c"f", 0o604, 1));
}

fn chmod_permission() {
    touch(c"f");
    as_user(1111, &[], || {
        say!("other's {}", chmod(c"f", 0o777));
        touch(c"mine");
        say!("own {} {}", chmod(c"mine", 0o4755), mode(c"mine"));
    });
    touch(c"g");
    chown(c"g", 1111, 2222).must();
    as_user(1111, &[], || say!("set-gid of a group that is not mine {} {}", chmod(c"g", 0o2755), mode(c"g")));
}

fn chown_forms() {
    touch(c"f");
    say!("{} {} {}", chown(c"f", 11, 22), stat_of(c"f").st_uid, stat_of(c"f").st_gid);
    say!("-1 keeps {} {} {}", chown(c"f", -1, 33), stat_of(c"f").st_uid, stat_of(c"f").st_gid);
    sys!(SYS_symlink, c"f", c"l").must();
    say!("lchown {} {} {}", sys!(SYS_lchown, c"l", 5, 5), stat_of(c"l").st_uid, stat_of(c"f").st_uid);
    let fd = open(c"f", O_PATH).fd();
    say!("empty path {} {}", sys!(SYS_fchownat, fd, c"", 7, 7, AT_EMPTY_PATH), stat_of(c"f").st_uid);
    say!("missing {}, bad flags {}", chown(c"none", 1, 1), sys!(SYS_fchownat, AT_FDCWD, c"f", 1, 1, 1));
}

fn chown_clears_set_id() {
    touch(c"f");
    chmod(c"f", 0o6755).must();
    say!("{} {}", chown(c"f", 1111, 1111), mode(c"f"));
    chmod(c"f", 0o6745).must();
    say!("set-gid without group x {} {}", chown(c"f", 1111, 1111), mode(c"f"));
    sys!(SYS_mkdir, c"d", 0o755).must();
    chmod(c"d", 0o6755).must();
    say!("directory keeps {} {}", chown(c"d", 1111, 1111), mode(c"d"));
}

fn chown_permission() {
    touch(c"f");
    chown(c"f", 1111, 1111).must();
    as_user(1111, &[2222], || {
        say!("give away {}, to a group of mine {}, to another {}", chown(c"f", 5, -1), chown(c"f", -1, 2222), chown(c"f", -1, 3333));
    });
}

fn permission_classes() {
    write_file(c"f", b"x");
    chown(c"f", 1111, 2222).must();
    for bits in [0o400, 0o040, 0o004, 0o200, 0o077] {
        chmod(c"f", bits).must();
        let tries = |what: &str| say!("{bits:o} {what}: read {} write {}", open(c"f", O_RDONLY).ok(), open(c"f", O_WRONLY).ok());
        as_user(1111, &[], || tries("owner"));
        as_user(2222, &[], || tries("group"));
        as_user(3333, &[], || tries("other"));
    }
}

fn directory_permissions() {
    sys!(SYS_mkdir, c"d", 0o755).must();
    touch(c"d/f");
    for bits in [0o004, 0o001, 0o005, 0o003] {
        chmod(c"d", bits).must();
        as_user(1111, &[], || {
            let list = open(c"d", O_RDONLY | O_DIRECTORY).ok();
            let reach = open(c"d/f", O_RDONLY).ok();
            let make = open(c"d/new", O_CREAT | O_WRONLY).ok();
            say!("{bits:o}: list {list}, reach {reach}, make {make}, chdir {}", sys!(SYS_chdir, c"d"));
        });
    }
}

fn group_membership_counts() {
    write_file(c"f", b"x");
    chown(c"f", 0, 5555).must();
    chmod(c"f", 0o040).must();
    as_user(1111, &[], || say!("outside {}", open(c"f", O_RDONLY).ok()));
    as_user(1111, &[4444, 5555], || say!("supplementary {}", open(c"f", O_RDONLY).ok()));
}

fn times(path: &CStr) -> String {
    let s = stat_of(path);
    format!("{}.{} {}.{}", s.st_atime, s.st_atime_nsec, s.st_mtime, s.st_mtime_nsec)
}

fn set_times(path: &CStr, times: [(i64, i64); 2], flags: i32) -> Ret {
    sys!(SYS_utimensat, AT_FDCWD, path, &times, flags)
}

fn utimensat_forms() {
    touch(c"f");
    say!("{} {}", set_times(c"f", [(1000, 5), (2000, 999_999_999)], 0), times(c"f"));
    say!("omit {} {}", set_times(c"f", [(7, UTIME_OMIT), (3000, 0)], 0), times(c"f"));
    let before = stat_of(c"f").st_ctime;
    say!("now {} {}", set_times(c"f", [(0, UTIME_NOW), (0, UTIME_OMIT)], 0), stat_of(c"f").st_atime >= before);
    say!("before 1970 {} {}", set_times(c"f", [(-5, 0), (-1, 0)], 0), times(c"f"));
    sys!(SYS_symlink, c"f", c"l").must();
    say!("the link itself {} {}", set_times(c"l", [(11, 0), (12, 0)], AT_SYMLINK_NOFOLLOW), stat_of(c"l").st_mtime);
    let fd = open(c"f", O_RDONLY).fd();
    say!("null path {} {}", sys!(SYS_utimensat, fd, NULL, &[(1i64, 0i64), (2, 0)], 0), times(c"f"));
}

fn utimensat_errors() {
    touch(c"f");
    say!("bad nanoseconds {}", set_times(c"f", [(0, 1_000_000_000), (0, 0)], 0));
    say!("missing {}, bad flags {}", set_times(c"none", [(0, 0); 2], 0), set_times(c"f", [(0, 0); 2], 1));
    as_user(1111, &[], || {
        say!("other's, given times {}", set_times(c"f", [(0, 0); 2], 0));
        say!("other's, now {}", set_times(c"f", [(0, UTIME_NOW); 2], 0));
    });
    chmod(c"f", 0o666).must();
    as_user(1111, &[], || say!("writable, now {}, given {}", sys!(SYS_utimensat, AT_FDCWD, c"f", NULL, 0), set_times(c"f", [(0, 0); 2], 0)));
}

fn old_time_calls() {
    touch(c"f");
    say!("utimes {} {}", sys!(SYS_utimes, c"f", &[(10i64, 500_000i64), (20, 0)]), times(c"f"));
    say!("utime {} {}", sys!(SYS_utime, c"f", &[30i64, 40]), times(c"f"));
    say!("futimesat {} {}", sys!(SYS_futimesat, AT_FDCWD, c"f", &[(50i64, 1i64), (60, 0)]), times(c"f"));
    say!("bad microseconds {}", sys!(SYS_utimes, c"f", &[(10i64, 1_000_000i64), (20, 0)]));
}

fn times_follow_writes() {
    touch(c"f");
    sys!(SYS_mkdir, c"d", 0o755).must();
    let old = |path: &CStr| set_times(path, [(1000, 0), (1000, 0)], 0).must();
    let changed = |path: &CStr| stat_of(path).st_mtime != 1000;
    old(c"f");
    let fd = open(c"f", O_RDWR).fd();
    say!("opening {}", changed(c"f"));
    write(fd, b"x");
    say!("writing {}", changed(c"f"));
    old(c"f");
    sys!(SYS_ftruncate, fd, 0).must();
    say!("truncating {}", changed(c"f"));
    old(c"f");
    chmod(c"f", 0o600).must();
    say!("chmod {}", changed(c"f"));
    old(c"d");
    touch(c"d/x");
    say!("creating in a directory {}", changed(c"d"));
    old(c"d");
    sys!(SYS_unlink, c"d/x").must();
    say!("removing from it {}", changed(c"d"));
}

fn ctime_follows_changes() {
    touch(c"f");
    let mark = || (stat_of(c"f").st_ctime, stat_of(c"f").st_ctime_nsec);
    let mut last = mark();
    let mut moved = |what: &str| {
        let now = mark();
        say!("{what} {}", now != last);
        last = now;
    };
    for (what, change) in [("chmod", (|| chmod(c"f", 0o600)) as fn() -> Ret), ("chown", || chown(c"f", 1, 1)), ("link", || sys!(SYS_link, c"f", c"g")), ("utimens", || set_times(c"f", [(1, 0); 2], 0))] {
        // The clock that stamps files ticks a few times a hundredth of a second.
        sleep_ms(15);
        change().must();
        moved(what);
    }
    sleep_ms(15);
    read(open(c"f", O_RDONLY).fd(), 1);
    moved("reading");
}

fn set_xattr(path: &CStr, name: &CStr, value: &[u8], flags: i32) -> Ret {
    sys!(SYS_setxattr, path, name, value, value.len(), flags)
}

fn get_xattr(path: &CStr, name: &CStr, room: usize) -> Data {
    let mut buf = vec![0u8; room.max(1)];
    Data::of(sys!(SYS_getxattr, path, name, &mut buf[..], room), &buf)
}

fn xattr_basics() {
    touch(c"f");
    say!("{} {}", set_xattr(c"f", c"user.one", b"value", 0), get_xattr(c"f", c"user.one", 20));
    say!("{} {}", set_xattr(c"f", c"user.one", b"", 0), get_xattr(c"f", c"user.one", 20));
    set_xattr(c"f", c"user.two", b"2", 0).must();
    let mut buf = [0u8; 200];
    let n = sys!(SYS_listxattr, c"f", &mut buf, 200).must() as usize;
    let mut names: Vec<_> = buf[..n].split(|b| *b == 0).map(|n| n.escape_ascii().to_string()).filter(|n| n.starts_with("user.")).collect();
    names.sort();
    say!("{names:?}");
    say!("remove {} then {}", sys!(SYS_removexattr, c"f", c"user.one"), get_xattr(c"f", c"user.one", 20));
}

fn xattr_flags_and_sizes() {
    touch(c"f");
    say!("replace what is absent {}", set_xattr(c"f", c"user.a", b"1", XATTR_REPLACE));
    say!("create {} again {}", set_xattr(c"f", c"user.a", b"12345", XATTR_CREATE), set_xattr(c"f", c"user.a", b"2", XATTR_CREATE));
    say!("size query {}", sys!(SYS_getxattr, c"f", c"user.a", NULL, 0));
    say!("no room {}, list no room {}", get_xattr(c"f", c"user.a", 2), sys!(SYS_listxattr, c"f", &mut [0u8; 1], 1));
    say!("bad flags {}", set_xattr(c"f", c"user.a", b"1", 9));
}

fn xattr_errors() {
    touch(c"f");
    say!("absent {}", get_xattr(c"f", c"user.none", 5));
    say!("missing file {}", get_xattr(c"none", c"user.x", 5));
    say!("unknown namespace {}", set_xattr(c"f", c"bogus.x", b"1", 0));
    say!("no namespace {}", set_xattr(c"f", c"plain", b"1", 0));
    say!("empty name {}", set_xattr(c"f", c"", b"1", 0));
    let long = std::ffi::CString::new(format!("user.{}", "n".repeat(300))).unwrap();
    say!("long name {}", set_xattr(c"f", &long, b"1", 0));
    say!("huge value {}", set_xattr(c"f", c"user.h", &vec![0; 70_000], 0));
    as_user(1111, &[], || say!("other's file {}, trusted {}", set_xattr(c"f", c"user.x", b"1", 0), get_xattr(c"f", c"trusted.x", 5)));
}

fn xattr_links_and_kinds() {
    touch(c"f");
    sys!(SYS_symlink, c"f", c"l").must();
    say!("user on a symlink {}", sys!(SYS_lsetxattr, c"l", c"user.x", b"1", 1, 0));
    say!("through it {} {}", set_xattr(c"l", c"user.x", b"1", 0), get_xattr(c"f", c"user.x", 5));
    sys!(SYS_mknod, c"p", S_IFIFO | 0o600, 0).must();
    say!("user on a fifo {}", set_xattr(c"p", c"user.x", b"1", 0));
    let fd = open(c"f", O_RDONLY).fd();
    say!("by descriptor {} {}", sys!(SYS_fsetxattr, fd, c"user.y", b"2", 1, 0), get_xattr(c"f", c"user.y", 5));
    say!("by O_PATH {}", sys!(SYS_fgetxattr, open(c"f", O_PATH).fd(), c"user.y", &mut [0u8; 5], 5));
    sys!(SYS_mkdir, c"d", 0o755).must();
    say!("on a directory {}", set_xattr(c"d", c"user.z", b"3", 0));
}

fn statfs_sane() {
    let mut s: statfs = zeroed();
    say!("{} block size {}, names up to {}", sys!(SYS_statfs, c".", &mut s), s.f_bsize >= 512, s.f_namelen);
    say!("free fits {}", s.f_bfree <= s.f_blocks && s.f_bavail <= s.f_bfree);
    say!("missing {}, bad pointer {}", sys!(SYS_statfs, c"none", &mut s), sys!(SYS_statfs, c".", 8));
    sys!(SYS_statfs, c"/proc", &mut s).must();
    say!("proc's magic {:#x}", s.f_type);
    say!("fstatfs {}", sys!(SYS_fstatfs, open(c".", O_PATH).fd(), &mut s));
}

fn fstat_kinds() {
    let kind = |fd: i32| {
        let mut s: stat = zeroed();
        sys!(SYS_fstat, fd, &mut s).must();
        format!("{:o} size {}", s.st_mode, s.st_size)
    };
    say!("pipe {}", kind(pipe().0));
    say!("socket {}", kind(socketpair(SOCK_STREAM).0));
    say!("eventfd {}", kind(sys!(SYS_eventfd2, 0, 0).fd()));
    say!("epoll {}", kind(sys!(SYS_epoll_create1, 0).fd()));
    let mut s: stat = zeroed();
    sys!(SYS_stat, c"/dev/null", &mut s).must();
    say!("null {:o} {}:{}", s.st_mode & S_IFMT, major(s.st_rdev), minor(s.st_rdev));
}

fn root_overrides() {
    write_file(c"f", b"secret");
    chown(c"f", 1111, 1111).must();
    chmod(c"f", 0).must();
    say!("{} {}", read(open(c"f", O_RDONLY).fd(), 10), open(c"f", O_WRONLY).ok());
    sys!(SYS_mkdir, c"d", 0).must();
    say!("{}", open(c"d/f", O_CREAT | O_WRONLY).ok());
}

fn cap_less_root_is_refused() {
    write_file(c"f", b"secret");
    chown(c"f", 1111, 1111).must();
    chmod(c"f", 0).must();
    fork(|| {
        let header = [0x2008_0522u32, 0];
        sys!(SYS_capset, &header, &[0u32; 6]).must();
        say!("{} {}", open(c"f", O_RDONLY), chmod(c"f", 0o777));
        0
    })
    .wait();
}
