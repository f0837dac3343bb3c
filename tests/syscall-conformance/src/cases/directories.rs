//! Directories and names: making, listing, renaming, linking, removing.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};

use crate::prelude::*;

cases![
    mkdir_modes_and_errors, rmdir_errors, getdents_lists_all, getdents_many_in_parts, getdents_errors, seekdir_returns, list_while_removing,
    link_counts, link_errors, symlink_and_readlink, readlink_errors, unlink_errors, unlinkat_forms, rename_replaces, rename_directories,
    rename_errors, renameat2_noreplace, renameat2_exchange, renameat2_errors, mknod_forms, directory_link_counts, sticky_directory,
    setgid_directory_inherits, deep_tree, dot_and_dotdot, removed_directory_is_empty, names_are_bytes,
];

fn stat_of(path: &CStr) -> stat {
    let mut stat: stat = zeroed();
    sys!(SYS_newfstatat, AT_FDCWD, path, &mut stat, AT_SYMLINK_NOFOLLOW).must();
    stat
}

fn mkdir(path: &CStr) -> Ret {
    sys!(SYS_mkdir, path, 0o755)
}

fn unlink(path: &CStr) -> Ret {
    sys!(SYS_unlink, path)
}

fn rename(from: &CStr, to: &CStr) -> Ret {
    sys!(SYS_rename, from, to)
}

fn renameat2(from: &CStr, to: &CStr, flags: u32) -> Ret {
    sys!(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags)
}

/// The names and types in a directory, as getdents64 gives them, in order of name.
fn list(fd: i32, room: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut buf = vec![0u8; room];
    loop {
        let n = sys!(SYS_getdents64, fd, &mut buf[..], room).must() as usize;
        if n == 0 {
            return names;
        }
        let mut rest = &buf[..n];
        while rest.len() > 19 {
            let len = usize::from(u16::from_ne_bytes([rest[16], rest[17]]));
            let name = rest[19..len].split(|b| *b == 0).next().unwrap_or_default();
            names.insert(format!("{}/{}", name.escape_ascii(), rest[18]));
            rest = &rest[len..];
        }
    }
}

fn mkdir_modes_and_errors() {
    sys!(SYS_umask, 0o22);
    say!("{} {:o}", sys!(SYS_mkdir, c"d", 0o7777), stat_of(c"d").st_mode);
    say!("exists {}, missing parent {}, slash {}", mkdir(c"d"), mkdir(c"x/y"), mkdir(c"e/"));
    touch(c"f");
    say!("over a file {}, below a file {}", mkdir(c"f"), mkdir(c"f/d"));
    say!("empty {}, root {}, dot {}", mkdir(c""), mkdir(c"/"), mkdir(c"."));
    sys!(SYS_symlinkat, c"nowhere", AT_FDCWD, c"l").must();
    say!("over a dangling link {}", mkdir(c"l"));
}

fn rmdir_errors() {
    let rmdir = |path: &CStr| sys!(SYS_rmdir, path);
    mkdir(c"d").must();
    touch(c"d/f");
    touch(c"f");
    say!("not empty {}, file {}, missing {}", rmdir(c"d"), rmdir(c"f"), rmdir(c"none"));
    say!("dot {}, dot dot {}, root {}", rmdir(c"d/."), rmdir(c"d/.."), rmdir(c"/"));
    unlink(c"d/f").must();
    say!("empty {}", rmdir(c"d"));
}

fn getdents_lists_all() {
    touch(c"file");
    mkdir(c"dir").must();
    sys!(SYS_symlinkat, c"x", AT_FDCWD, c"link").must();
    sys!(SYS_mknod, c"fifo", S_IFIFO | 0o600, 0).must();
    let socket = sys!(SYS_socket, AF_UNIX, SOCK_STREAM, 0).fd();
    let mut addr: sockaddr_un = zeroed();
    addr.sun_family = AF_UNIX as u16;
    addr.sun_path[0] = b's' as c_char;
    sys!(SYS_bind, socket, &addr, 4).must();
    for entry in list(open(c".", O_RDONLY).fd(), 4096) {
        say!("{entry}");
    }
}

fn getdents_many_in_parts() {
    for i in 0..500 {
        touch(&CString::new(format!("file-{i:04}")).unwrap());
    }
    let names = list(open(c".", O_RDONLY).fd(), 256);
    say!("{} entries, first {}, last {}", names.len(), names.first().unwrap(), names.last().unwrap());
}

fn getdents_errors() {
    touch(c"f");
    let mut buf = [0u8; 256];
    say!("file {}", sys!(SYS_getdents64, open(c"f", O_RDONLY).fd(), &mut buf, 256));
    say!("O_PATH {}", sys!(SYS_getdents64, open(c".", O_PATH).fd(), &mut buf, 256));
    say!("too small {}", sys!(SYS_getdents64, open(c".", O_RDONLY).fd(), &mut buf, 10));
    say!("bad pointer {}", sys!(SYS_getdents64, open(c".", O_RDONLY).fd(), 8, 256));
    say!("bad descriptor {}", sys!(SYS_getdents64, 99, &mut buf, 256));
}

fn seekdir_returns() {
    (0..20).for_each(|i| touch(&CString::new(format!("f{i}")).unwrap()));
    let fd = open(c".", O_RDONLY).fd();
    let first = list(fd, 4096);
    say!("at the end: {}", list(fd, 4096).len());
    say!("rewind {}", lseek(fd, 0, SEEK_SET));
    say!("same again {}", list(fd, 128) == first);
    touch(c"new");
    lseek(fd, 0, SEEK_SET);
    say!("new name seen {}", list(fd, 4096).contains("new/8"));
}

fn list_while_removing() {
    (0..300).for_each(|i| touch(&CString::new(format!("f{i}")).unwrap()));
    let mut rounds = 0;
    loop {
        let files: Vec<_> = list(open(c".", O_RDONLY).fd(), 512).into_iter().filter(|n| n.ends_with("/8")).collect();
        if files.is_empty() || rounds > 10 {
            break;
        }
        for name in files {
            unlink(&CString::new(name.trim_end_matches("/8")).unwrap());
        }
        rounds += 1;
    }
    say!("rounds {rounds}, left {:?}", list(open(c".", O_RDONLY).fd(), 512));
}

fn link_counts() {
    write_file(c"a", b"one inode");
    say!("{} links {}", sys!(SYS_link, c"a", c"b"), stat_of(c"a").st_nlink);
    say!("same inode {}", stat_of(c"a").st_ino == stat_of(c"b").st_ino);
    unlink(c"a").must();
    say!("links {}, content {}", stat_of(c"b").st_nlink, read(open(c"b", O_RDONLY).fd(), 20));
}

fn link_errors() {
    touch(c"a");
    touch(c"b");
    mkdir(c"d").must();
    say!("exists {}, missing {}, directory {}", sys!(SYS_link, c"a", c"b"), sys!(SYS_link, c"none", c"c"), sys!(SYS_link, c"d", c"e"));
    say!("other file system {}", sys!(SYS_link, c"a", c"/proc/x"));
    sys!(SYS_symlinkat, c"a", AT_FDCWD, c"l").must();
    sys!(SYS_link, c"l", c"hard").must();
    say!("a link to the symlink itself {}", stat_of(c"hard").st_mode & S_IFMT == S_IFLNK);
    sys!(SYS_linkat, AT_FDCWD, c"l", AT_FDCWD, c"followed", AT_SYMLINK_FOLLOW).must();
    say!("followed {}", stat_of(c"followed").st_mode & S_IFMT == S_IFREG);
    say!("bad flags {}", sys!(SYS_linkat, AT_FDCWD, c"a", AT_FDCWD, c"z", 1));
}

fn symlink_and_readlink() {
    say!("{}", sys!(SYS_symlink, c"some/target", c"l"));
    let mut buf = [b'#'; 20];
    say!("{} {}", sys!(SYS_readlink, c"l", &mut buf, 20), buf.escape_ascii());
    say!("cut {} {}", sys!(SYS_readlink, c"l", &mut buf, 4), buf[..5].escape_ascii());
    say!("mode {:o}, size {}", stat_of(c"l").st_mode, stat_of(c"l").st_size);
    say!("exists {}, empty target {}, empty name {}", sys!(SYS_symlink, c"x", c"l"), sys!(SYS_symlink, c"", c"m"), sys!(SYS_symlink, c"x", c""));
    let fd = open(c"l", O_PATH | O_NOFOLLOW).fd();
    say!("readlinkat of a descriptor {}", sys!(SYS_readlinkat, fd, c"", &mut buf, 20));
}

fn readlink_errors() {
    touch(c"f");
    let mut buf = [0u8; 8];
    say!("file {}, missing {}", sys!(SYS_readlink, c"f", &mut buf, 8), sys!(SYS_readlink, c"none", &mut buf, 8));
    sys!(SYS_symlink, c"x", c"l").must();
    say!("no room {}, bad pointer {}", sys!(SYS_readlink, c"l", &mut buf, 0), sys!(SYS_readlink, c"l", 8, 8));
}

fn unlink_errors() {
    mkdir(c"d").must();
    touch(c"f");
    say!("directory {}, missing {}, slash {}", unlink(c"d"), unlink(c"none"), unlink(c"f/"));
    sys!(SYS_symlink, c"d", c"l").must();
    say!("link to a directory {} and its target stays {:o}", unlink(c"l"), stat_of(c"d").st_mode & S_IFMT);
}

fn unlinkat_forms() {
    mkdir(c"d").must();
    touch(c"d/f");
    let dir = open(c"d", O_RDONLY).fd();
    say!("{}", sys!(SYS_unlinkat, dir, c"f", 0));
    say!("directory without the flag {}", sys!(SYS_unlinkat, AT_FDCWD, c"d", 0));
    touch(c"f");
    say!("file with it {}", sys!(SYS_unlinkat, AT_FDCWD, c"f", AT_REMOVEDIR));
    say!("{} bad flags {}", sys!(SYS_unlinkat, AT_FDCWD, c"d", AT_REMOVEDIR), sys!(SYS_unlinkat, AT_FDCWD, c"f", 1));
}

fn rename_replaces() {
    write_file(c"a", b"A");
    write_file(c"b", b"B");
    let old = open(c"b", O_RDONLY).fd();
    say!("{} {}", rename(c"a", c"b"), read(open(c"b", O_RDONLY).fd(), 5));
    say!("the old file is still readable {}, a is {}", read(old, 5), open(c"a", O_RDONLY));
    sys!(SYS_link, c"b", c"c").must();
    say!("onto another name of itself {}, both stay {}", rename(c"b", c"c"), stat_of(c"b").st_nlink);
}

fn rename_directories() {
    mkdir(c"a").must();
    touch(c"a/x");
    mkdir(c"b").must();
    say!("onto an empty directory {} {}", rename(c"a", c"b"), sys!(SYS_access, c"b/x", F_OK));
    mkdir(c"c").must();
    touch(c"c/y");
    say!("onto a full one {}", rename(c"b", c"c"));
    say!("into itself {}", rename(c"b", c"b/sub"));
    touch(c"f");
    say!("directory onto file {}, file onto directory {}", rename(c"b", c"f"), rename(c"f", c"c"));
    say!("moved into another {} {}", rename(c"b", c"c/b"), sys!(SYS_access, c"c/b/x", F_OK));
    say!("links of the parents {} {}", stat_of(c".").st_nlink, stat_of(c"c").st_nlink);
}

fn rename_errors() {
    touch(c"f");
    say!("missing {}, no parent {}", rename(c"none", c"x"), rename(c"f", c"none/x"));
    say!("below a file {}, slash on a file {}", rename(c"f", c"f/x"), rename(c"f", c"g/"));
    say!("other file system {}", rename(c"f", c"/proc/x"));
    say!("dot {} {}", rename(c".", c"x"), rename(c"f", c"."));
    say!("bad pointer {}", sys!(SYS_rename, 8, c"x"));
}

fn renameat2_noreplace() {
    write_file(c"a", b"A");
    write_file(c"b", b"B");
    say!("{} {}", renameat2(c"a", c"b", RENAME_NOREPLACE), renameat2(c"a", c"c", RENAME_NOREPLACE));
    say!("{}", read(open(c"c", O_RDONLY).fd(), 5));
}

fn renameat2_exchange() {
    write_file(c"a", b"A");
    mkdir(c"d").must();
    touch(c"d/inside");
    say!("{}", renameat2(c"a", c"d", RENAME_EXCHANGE));
    say!("{} {}", read(open(c"d", O_RDONLY).fd(), 5), sys!(SYS_access, c"a/inside", F_OK));
    say!("missing {}", renameat2(c"a", c"none", RENAME_EXCHANGE));
}

fn renameat2_errors() {
    touch(c"a");
    say!("both {}", renameat2(c"a", c"b", RENAME_NOREPLACE | RENAME_EXCHANGE));
    say!("unknown {}", renameat2(c"a", c"b", 1 << 10));
    say!("bad descriptor {}", sys!(SYS_renameat2, 99, c"a", AT_FDCWD, c"b", 0));
}

fn mknod_forms() {
    sys!(SYS_umask, 0o22);
    say!("file {} {:o}", sys!(SYS_mknod, c"f", S_IFREG | 0o666, 0), stat_of(c"f").st_mode);
    say!("no type {} {:o}", sys!(SYS_mknod, c"g", 0o600, 0), stat_of(c"g").st_mode);
    say!("fifo {} {:o}", sys!(SYS_mknod, c"p", S_IFIFO | 0o600, 0), stat_of(c"p").st_mode);
    say!("socket {}", sys!(SYS_mknod, c"s", S_IFSOCK | 0o600, 0));
    say!("directory {}", sys!(SYS_mknod, c"d", S_IFDIR | 0o600, 0));
    say!("unknown type {}", sys!(SYS_mknod, c"u", 0o170_000, 0));
    say!("exists {}", sys!(SYS_mknod, c"f", S_IFREG, 0));
    fork(|| {
        sys!(SYS_chmod, c".", 0o777);
        sys!(SYS_setresuid, 4321, 4321, 4321).must();
        say!("device without privilege {}", sys!(SYS_mknod, c"null", S_IFCHR | 0o666, 0x103));
        0
    })
    .wait();
}

fn directory_link_counts() {
    say!("{}", stat_of(c".").st_nlink);
    mkdir(c"a").must();
    mkdir(c"a/b").must();
    say!("{} {} {}", stat_of(c".").st_nlink, stat_of(c"a").st_nlink, stat_of(c"a/b").st_nlink);
    sys!(SYS_rmdir, c"a/b").must();
    say!("{}", stat_of(c"a").st_nlink);
}

fn as_user<T>(uid: u32, body: impl FnOnce() -> T) {
    fork(|| {
        sys!(SYS_setgroups, 0, NULL).must();
        sys!(SYS_setresgid, uid, uid, uid).must();
        sys!(SYS_setresuid, uid, uid, uid).must();
        body();
        0
    })
    .wait();
}

fn sticky_directory() {
    sys!(SYS_chmod, c".", 0o755).must();
    mkdir(c"tmp").must();
    sys!(SYS_chmod, c"tmp", 0o1777).must();
    as_user(1111, || touch(c"tmp/mine"));
    as_user(2222, || {
        touch(c"tmp/yours");
        say!("other's file: unlink {}, rename {}", unlink(c"tmp/mine"), rename(c"tmp/mine", c"tmp/stolen"));
        say!("replace it {}, own {}", rename(c"tmp/yours", c"tmp/mine"), unlink(c"tmp/yours"));
    });
}

fn setgid_directory_inherits() {
    sys!(SYS_chmod, c".", 0o777).must();
    mkdir(c"d").must();
    sys!(SYS_chown, c"d", 0, 3333).must();
    sys!(SYS_chmod, c"d", 0o2777).must();
    as_user(1111, || {
        touch(c"d/f");
        mkdir(c"d/sub").must();
        say!("file group {}", stat_of(c"d/f").st_gid);
        say!("directory group {}, set-gid {}", stat_of(c"d/sub").st_gid, stat_of(c"d/sub").st_mode & S_ISGID != 0);
    });
}

fn deep_tree() {
    for _ in 0..200 {
        mkdir(c"level").must();
        sys!(SYS_chdir, c"level").must();
    }
    touch(c"bottom");
    for _ in 0..200 {
        sys!(SYS_chdir, c"..").must();
    }
    let path = CString::new("level/".repeat(200) + "bottom").unwrap();
    say!("{}", open(&path, O_RDONLY).ok());
}

fn dot_and_dotdot() {
    mkdir(c"d").must();
    let same = |a: &CStr, b: &CStr| stat_of(a).st_ino == stat_of(b).st_ino;
    say!("{} {} {}", same(c"d/.", c"d"), same(c"d/..", c"."), same(c"/..", c"/"));
}

fn removed_directory_is_empty() {
    mkdir(c"d").must();
    let fd = open(c"d", O_RDONLY).fd();
    sys!(SYS_rmdir, c"d").must();
    say!("{}", sys!(SYS_getdents64, fd, &mut [0u8; 256], 256));
    say!("links {}", {
        let mut stat: stat = zeroed();
        sys!(SYS_fstat, fd, &mut stat).must();
        stat.st_nlink
    });
}

fn names_are_bytes() {
    for name in [&b"\xff\xfe"[..], b"new\nline", b" space ", b"-dash", b"...", b"\xc3\xa4"] {
        let name = CString::new(name).unwrap();
        touch(&name);
        say!("{}", open(&name, O_RDONLY).ok());
    }
    for entry in list(open(c".", O_RDONLY).fd(), 4096) {
        say!("{entry}");
    }
}
