//! Mounts: propagation between peers, masters and slaves, bind and move, expiry, the calls with descriptors, and asking by unique ids.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs;

use crate::prelude::*;

cases![
    shared_peers, slaves_and_their_peers, unbindable, propagation_errors, propagation_into_new_namespace, slave_of_other_users,
    umount_propagates, umount_busy_elsewhere, mounts_below_what_is_there, move_rules, recursive_bind, bind_of_other_namespace,
    last_peer_leaves, expire, busy_and_lazy, removal_unmounts_elsewhere, read_only_file_system, access_time_flags, no_symlinks,
    pivot_needs_private, tmpfs_remount, open_tree_clone, open_tree_errors, move_mount_calls, move_mount_set_group, new_file_system,
    fsconfig_errors, fspick_reconfigures, mount_setattr_flags, mount_setattr_errors, listing_mounts, listing_errors,
];

const AT_RECURSIVE: i32 = 0x8000;
const OPEN_TREE_CLONE: i32 = 1;

/// Runs `body` in a mount namespace of its own, in a fresh tmpfs.
fn alone(body: impl FnOnce()) {
    let child = fork(|| {
        sys!(SYS_unshare, CLONE_NEWNS).must();
        sys!(SYS_mount, 0, c"/", 0, MS_REC | MS_PRIVATE, 0).must();
        sys!(SYS_mkdirat, AT_FDCWD, c"top", 0o755).must();
        sys!(SYS_mount, c"none", c"top", c"tmpfs", 0, 0).must();
        sys!(SYS_chdir, c"top").must();
        body();
        0
    });
    say!("{}", child.wait());
}

fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn dirs(names: &[&str]) {
    for name in names {
        sys!(SYS_mkdirat, AT_FDCWD, &*text(name), 0o755).must();
    }
}

fn tmpfs(source: &str, at: &str) -> Ret {
    sys!(SYS_mount, &*text(source), &*text(at), c"tmpfs", 0, 0)
}

fn bind(from: &str, to: &str) -> Ret {
    sys!(SYS_mount, &*text(from), &*text(to), 0, MS_BIND, 0)
}

fn rbind(from: &str, to: &str) -> Ret {
    sys!(SYS_mount, &*text(from), &*text(to), 0, MS_BIND | MS_REC, 0)
}

fn make(kind: u64, at: &str) -> Ret {
    sys!(SYS_mount, 0, &*text(at), 0, kind, 0)
}

fn umount(at: &str, flags: i32) -> Ret {
    sys!(SYS_umount2, &*text(at), flags)
}

/// The mounts below the case's directory: source, place, options, and propagation with groups numbered as they appear.
fn show(what: &str) {
    let info = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut groups: HashMap<String, usize> = HashMap::new();
    let mut lines = Vec::new();
    for line in info.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let Some((_, place)) = fields[4].split_once("/top") else { continue };
        let end = fields.iter().position(|f| *f == "-").unwrap();
        let mut optional = String::new();
        for field in &fields[6..end] {
            match field.split_once(':') {
                Some((name, group)) => {
                    let next = groups.len() + 1;
                    let number = groups.entry(group.to_owned()).or_insert(next);
                    optional += &format!(" {name}:{number}");
                }
                None => optional += &format!(" {field}"),
            }
        }
        let mode = fields[end + 3].split(',').next().unwrap();
        lines.push(format!("  {} on {place:?} root {} {} {mode}{optional}", fields[end + 2], fields[3], fields[5]));
    }
    say!("{what}:\n{}", lines.join("\n"));
}

fn exists(path: &str) -> bool {
    fs::metadata(path).is_ok()
}

fn shared_peers() {
    alone(|| {
        dirs(&["a", "b"]);
        tmpfs("one", "a").must();
        say!("{}", make(MS_SHARED, "a"));
        say!("{}", bind("a", "b"));
        dirs(&["a/x"]);
        show("peers");
        say!("{}", tmpfs("two", "a/x"));
        show("mounted on the one");
        say!("{}", tmpfs("three", "b/x"));
        show("and on the other");
        say!("{}", umount("a/x", 0));
        show("taken off the one");
    });
}

fn slaves_and_their_peers() {
    alone(|| {
        dirs(&["a", "b", "c", "d"]);
        tmpfs("one", "a").must();
        make(MS_SHARED, "a").must();
        bind("a", "b").must();
        say!("{}", make(MS_SLAVE, "b"));
        bind("b", "c").must();
        say!("{}", make(MS_SHARED, "c"));
        bind("c", "d").must();
        dirs(&["a/x", "a/y", "a/z"]);
        show("before");
        tmpfs("two", "a/x").must();
        show("on the master");
        tmpfs("three", "b/y").must();
        show("on the slave");
        tmpfs("four", "c/z").must();
        show("on the shared slave");
        say!("{}", make(MS_PRIVATE, "d"));
        say!("{}", make(MS_SLAVE, "a"));
        show("changed");
    });
}

fn unbindable() {
    alone(|| {
        dirs(&["a", "b", "c"]);
        tmpfs("one", "a").must();
        dirs(&["a/x", "a/y"]);
        tmpfs("two", "a/x").must();
        tmpfs("three", "a/y").must();
        say!("{}", make(MS_UNBINDABLE, "a/x"));
        say!("bind {}", bind("a/x", "b"));
        say!("bind above {}", rbind("a", "b"));
        show("left out");
        say!("slave of nobody {}", make(MS_SLAVE, "a/x"));
        show("still");
        say!("shared {}", make(MS_SHARED, "a/x"));
        say!("bind {}", bind("a/x", "c"));
        show("now");
    });
}

fn propagation_errors() {
    alone(|| {
        dirs(&["a", "a/b"]);
        say!("no mount {}", make(MS_SHARED, "a"));
        tmpfs("one", "a").must();
        say!("two types {}", make(MS_SHARED | MS_SLAVE, "a"));
        say!("with others {}", make(MS_SHARED | MS_RDONLY, "a"));
        say!("silent {}", make(MS_SHARED | MS_SILENT, "a"));
        say!("absent {}", make(MS_SHARED, "none"));
        dirs(&["a/x"]);
        tmpfs("two", "a/x").must();
        say!("recursive {}", make(MS_PRIVATE | MS_REC, "a"));
        show("private");
    });
}

fn propagation_into_new_namespace() {
    alone(|| {
        dirs(&["a", "b"]);
        tmpfs("one", "a").must();
        tmpfs("two", "b").must();
        make(MS_SHARED, "a").must();
        dirs(&["a/x", "b/x", "a/y"]);
        let (ready_r, ready_w) = pipe();
        let (go_r, go_w) = pipe();
        let child = fork(|| {
            sys!(SYS_unshare, CLONE_NEWNS).must();
            write(ready_w, b"x");
            read(go_r, 1);
            show("inside");
            say!("{}", tmpfs("five", "a/y"));
            0
        });
        read(ready_r, 1);
        tmpfs("three", "a/x").must();
        tmpfs("four", "b/x").must();
        write(go_w, b"x");
        say!("{}", child.wait());
        show("outside");
    });
}

fn slave_of_other_users() {
    alone(|| {
        dirs(&["a"]);
        tmpfs("one", "a").must();
        make(MS_SHARED, "a").must();
        dirs(&["a/x", "a/y"]);
        let (ready_r, ready_w) = pipe();
        let (go_r, go_w) = pipe();
        let child = fork(|| {
            sys!(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS).must();
            fs::write("/proc/self/uid_map", "0 0 1").unwrap();
            write(ready_w, b"x");
            read(go_r, 1);
            show("inside");
            say!("what came can be taken away: {}", umount("a/x", MNT_DETACH));
            say!("{}", tmpfs("three", "a/y"));
            0
        });
        read(ready_r, 1);
        tmpfs("two", "a/x").must();
        write(go_w, b"x");
        say!("{}", child.wait());
        show("outside");
    });
}

fn umount_propagates() {
    alone(|| {
        dirs(&["a", "b", "c"]);
        tmpfs("one", "a").must();
        make(MS_SHARED, "a").must();
        bind("a", "b").must();
        bind("a", "c").must();
        make(MS_SLAVE, "c").must();
        dirs(&["a/x"]);
        tmpfs("two", "a/x").must();
        dirs(&["a/x/y"]);
        make(MS_PRIVATE, "c/x").must();
        tmpfs("three", "c/x/y").must();
        show("before");
        say!("{}", umount("a/x", 0));
        show("what has others on it stays");
        tmpfs("four", "a/x").must();
        dirs(&["a/x/z"]);
        tmpfs("five", "a/x/z").must();
        show("again");
        say!("{}", umount("b/x", 0));
        say!("{}", umount("b/x", MNT_DETACH));
        show("lazily");
    });
}

fn umount_busy_elsewhere() {
    alone(|| {
        dirs(&["a", "b"]);
        tmpfs("one", "a").must();
        make(MS_SHARED, "a").must();
        bind("a", "b").must();
        dirs(&["a/x"]);
        tmpfs("two", "a/x").must();
        let held = open(c"b/x", O_RDONLY | O_DIRECTORY).fd();
        say!("{}", umount("a/x", 0));
        close(held);
        say!("{}", umount("a/x", 0));
        show("after");
    });
}

fn mounts_below_what_is_there() {
    alone(|| {
        dirs(&["a", "b"]);
        tmpfs("one", "a").must();
        make(MS_SHARED, "a").must();
        dirs(&["a/x"]);
        bind("a", "b").must();
        make(MS_SLAVE, "b").must();
        tmpfs("own", "b/x").must();
        tmpfs("new", "a/x").must();
        show("the new one is below");
        say!("{}", umount("a/x", 0));
        show("and goes");
    });
}

fn move_rules() {
    alone(|| {
        dirs(&["a", "b", "c"]);
        let shift = |from: &str, to: &str| sys!(SYS_mount, &*text(from), &*text(to), 0, MS_MOVE, 0);
        tmpfs("one", "a").must();
        dirs(&["a/x", "a/y"]);
        tmpfs("two", "a/x").must();
        say!("{}", shift("a/x", "a/y"));
        say!("into itself {}", shift("a", "a/y"));
        say!("no mount {}", shift("b", "c"));
        make(MS_SHARED, "a").must();
        say!("from a shared parent {}", shift("a/y", "b"));
        tmpfs("three", "b").must();
        make(MS_UNBINDABLE, "b").must();
        say!("unbindable to shared {}", shift("b", "a/x"));
        make(MS_PRIVATE, "b").must();
        say!("private to shared {}", shift("b", "a/x"));
        show("moved");
        say!("a shared one {}", shift("a", "c"));
        show("moved again");
        touch(c"file");
        say!("on a file {}", shift("c", "file"));
    });
}

fn recursive_bind() {
    alone(|| {
        dirs(&["a", "b", "c"]);
        tmpfs("one", "a").must();
        dirs(&["a/x", "a/x/y", "a/z"]);
        tmpfs("two", "a/x/y").must();
        tmpfs("three", "a/z").must();
        dirs(&["a/x/y/q"]);
        say!("{}", bind("a/x", "b"));
        show("alone");
        say!("{}", umount("b", 0));
        say!("{}", rbind("a/x", "b"));
        show("with what is below");
        say!("into itself {}", rbind("a", "a/x/y/q"));
        show("a copy in the copy's place");
        say!("{}", umount("a", MNT_DETACH));
        show("all gone");
    });
}

fn bind_of_other_namespace() {
    alone(|| {
        dirs(&["a", "b"]);
        tmpfs("one", "a").must();
        dirs(&["a/x"]);
        let dir = open(c"a/x", O_RDONLY | O_DIRECTORY).fd();
        let child = fork(|| {
            sys!(SYS_unshare, CLONE_NEWNS).must();
            let from = format!("/proc/self/fd/{dir}");
            say!("as a source {}", bind(&from, "b"));
            say!("as a target {}", tmpfs("two", &from));
            say!("its type {}", make(MS_SHARED, &from));
            say!("unmount {}", umount(&from, 0));
            0
        });
        say!("{}", child.wait());
    });
}

fn last_peer_leaves() {
    alone(|| {
        dirs(&["a", "b", "c"]);
        tmpfs("one", "a").must();
        make(MS_SHARED, "a").must();
        bind("a", "b").must();
        make(MS_SLAVE, "b").must();
        make(MS_SHARED, "b").must();
        bind("b", "c").must();
        make(MS_SLAVE, "c").must();
        show("a chain");
        say!("{}", umount("b", 0));
        show("without its middle");
        say!("{}", umount("a", 0));
        show("without its head");
    });
}

fn expire() {
    alone(|| {
        dirs(&["a"]);
        tmpfs("one", "a").must();
        say!("first {}", umount("a", MNT_EXPIRE));
        let held = open(c"a", O_RDONLY | O_DIRECTORY).fd();
        say!("in use {}", umount("a", MNT_EXPIRE));
        close(held);
        say!("used since {}", umount("a", MNT_EXPIRE));
        say!("again {}", umount("a", MNT_EXPIRE));
        say!("gone {}", umount("a", MNT_EXPIRE));
        tmpfs("one", "a").must();
        say!("with others {} {}", umount("a", MNT_EXPIRE | MNT_DETACH), umount("a", MNT_EXPIRE | MNT_FORCE));
    });
}

fn busy_and_lazy() {
    alone(|| {
        dirs(&["a"]);
        tmpfs("one", "a").must();
        dirs(&["a/x"]);
        tmpfs("two", "a/x").must();
        touch(c"a/x/file");
        say!("something below {}", umount("a", 0));
        let dir = open(c"a/x", O_RDONLY | O_DIRECTORY).fd();
        let above = open(c"a", O_RDONLY | O_DIRECTORY).fd();
        say!("{}", umount("a", MNT_DETACH));
        say!("name {} descriptor {}", exists("a/x"), sys!(SYS_faccessat, dir, c"file", 0));
        say!("upwards ends {}", sys!(SYS_faccessat, dir, c"../file", 0));
        say!("what was below is apart {}", sys!(SYS_faccessat, above, c"x/file", 0));
        say!("nothing can be mounted there {}", tmpfs("three", &format!("/proc/self/fd/{dir}")));
    });
}

fn removal_unmounts_elsewhere() {
    alone(|| {
        dirs(&["a"]);
        let (ready_r, ready_w) = pipe();
        let (go_r, go_w) = pipe();
        let child = fork(|| {
            sys!(SYS_unshare, CLONE_NEWNS).must();
            tmpfs("one", "a").must();
            say!("one's own is busy {}", sys!(SYS_unlinkat, AT_FDCWD, c"a", AT_REMOVEDIR));
            write(ready_w, b"x");
            read(go_r, 1);
            show("inside");
            say!("there {}", exists("a"));
            0
        });
        read(ready_r, 1);
        say!("{}", sys!(SYS_unlinkat, AT_FDCWD, c"a", AT_REMOVEDIR));
        write(go_w, b"x");
        say!("{}", child.wait());
    });
}

fn read_only_file_system() {
    alone(|| {
        dirs(&["a", "b"]);
        say!("{}", sys!(SYS_mount, c"one", c"a", c"tmpfs", MS_RDONLY, 0));
        say!("write {}", open(c"a/f", O_CREAT | O_WRONLY));
        bind("a", "b").must();
        say!("{}", sys!(SYS_mount, 0, c"b", 0, MS_BIND | MS_REMOUNT, 0));
        show("a writable mount of what is not");
        say!("write {}", open(c"b/f", O_CREAT | O_WRONLY));
        say!("{}", sys!(SYS_mount, 0, c"a", 0, MS_REMOUNT, 0));
        show("all writable");
        say!("write {}", open(c"b/f", O_CREAT | O_WRONLY).ok());
        say!("{}", sys!(SYS_mount, 0, c"b", 0, MS_BIND | MS_REMOUNT | MS_RDONLY, 0));
        say!("write {} {}", open(c"b/g", O_CREAT | O_WRONLY), open(c"a/g", O_CREAT | O_WRONLY).ok());
    });
}

fn access_time_flags() {
    alone(|| {
        dirs(&["a"]);
        tmpfs("one", "a").must();
        for flags in [MS_NOATIME, 0, MS_STRICTATIME, MS_NODIRATIME, MS_RELATIME, MS_STRICTATIME | MS_NOATIME, MS_NOEXEC] {
            say!("{}", sys!(SYS_mount, 0, c"a", 0, MS_BIND | MS_REMOUNT | flags, 0));
            show("as asked");
        }
    });
}

fn no_symlinks() {
    const NOSYMFOLLOW: u64 = 256;
    alone(|| {
        dirs(&["a"]);
        say!("{}", sys!(SYS_mount, c"one", c"a", c"tmpfs", NOSYMFOLLOW, 0));
        dirs(&["a/d"]);
        sys!(SYS_symlinkat, c"d", AT_FDCWD, c"a/link").must();
        show("mounted");
        say!("open {} stat {}", open(c"a/link", O_RDONLY), sys!(SYS_faccessat, AT_FDCWD, c"a/link", 0));
        say!("itself {}", open(c"a/link", O_PATH | O_NOFOLLOW).ok());
        sys!(SYS_symlinkat, c"a/d", AT_FDCWD, c"link").must();
        say!("through another {}", open(c"link", O_RDONLY).ok());
    });
}

fn pivot_needs_private() {
    alone(|| {
        dirs(&["new"]);
        tmpfs("one", "new").must();
        dirs(&["new/old"]);
        sys!(SYS_mount, 0, c"/", 0, MS_SHARED, 0).must();
        make(MS_SHARED, "new").must();
        say!("shared old root's place {}", sys!(SYS_pivot_root, c"new", c"new/old"));
        make(MS_PRIVATE, "new").must();
        sys!(SYS_mount, 0, c".", 0, MS_SHARED, 0).must();
        say!("shared parent {}", sys!(SYS_pivot_root, c"new", c"new/old"));
        sys!(SYS_mount, 0, c".", 0, MS_PRIVATE, 0).must();
        say!("{}", sys!(SYS_pivot_root, c"new", c"new/old"));
    });
}

fn tmpfs_remount() {
    alone(|| {
        dirs(&["a"]);
        sys!(SYS_mount, c"one", c"a", c"tmpfs", 0, c"size=64k").must();
        let blocks = || {
            let mut buf: statfs = zeroed();
            sys!(SYS_statfs, c"a", &mut buf).must();
            buf.f_blocks
        };
        say!("{}", blocks());
        say!("{}", sys!(SYS_mount, 0, c"a", 0, MS_REMOUNT, c"size=128k"));
        say!("{}", blocks());
        fs::write("a/f", vec![7; 100_000]).unwrap();
        say!("below what is used {}", sys!(SYS_mount, 0, c"a", 0, MS_REMOUNT, c"size=64k"));
        say!("unknown {}", sys!(SYS_mount, 0, c"a", 0, MS_REMOUNT, c"colour=red"));
        say!("{}", blocks());
    });
}

fn open_tree(at: &str, flags: i32) -> Ret {
    sys!(SYS_open_tree, AT_FDCWD, &*text(at), flags)
}

fn open_tree_clone() {
    alone(|| {
        dirs(&["a", "b", "c"]);
        tmpfs("one", "a").must();
        dirs(&["a/x", "a/y"]);
        tmpfs("two", "a/x").must();
        dirs(&["a/x/deep"]);
        let plain = open_tree("a", 0).fd();
        say!("no copy: flags {:#x}", sys!(SYS_fcntl, plain, F_GETFL, 0).must() & i64::from(O_PATH));
        let one = open_tree("a", OPEN_TREE_CLONE).fd();
        let all = open_tree("a", OPEN_TREE_CLONE | AT_RECURSIVE).fd();
        say!("without below {} with {}", sys!(SYS_faccessat, one, c"x/deep", 0), sys!(SYS_faccessat, all, c"x/deep", 0));
        say!("up stays {}", sys!(SYS_faccessat, all, c"../y", 0));
        show("nothing shown");
        say!("{}", sys!(SYS_move_mount, all, c"", AT_FDCWD, c"b", 4));
        show("attached");
        say!("twice {}", sys!(SYS_move_mount, all, c"", AT_FDCWD, c"c", 4));
        show("moved");
        say!("of a directory {}", sys!(SYS_move_mount, open_tree("a/y", OPEN_TREE_CLONE).fd(), c"", AT_FDCWD, c"b", 4));
        show("a part");
        close(one);
        close(all);
        say!("still there {}", exists("c/x/deep"));
    });
}

fn open_tree_errors() {
    alone(|| {
        dirs(&["a", "b"]);
        say!("recursive alone {}", open_tree("a", AT_RECURSIVE));
        say!("unknown {}", open_tree("a", 2));
        say!("absent {}", open_tree("none", 0));
        say!("empty {}", open_tree("", 0));
        tmpfs("one", "a").must();
        make(MS_UNBINDABLE, "a").must();
        say!("unbindable {}", open_tree("a", OPEN_TREE_CLONE));
        let child = fork(|| {
            sys!(SYS_setresuid, 1000, 1000, 1000).must();
            say!("user {} {}", open_tree("b", OPEN_TREE_CLONE), open_tree("b", 0).ok());
            say!("move {}", sys!(SYS_move_mount, AT_FDCWD, c"a", AT_FDCWD, c"b", 0));
            say!("fsopen {}", sys!(SYS_fsopen, c"tmpfs", 0));
            say!("setattr {}", sys!(SYS_mount_setattr, AT_FDCWD, c"a", 0, &[1u64, 0, 0, 0], 32));
            0
        });
        say!("{}", child.wait());
    });
}

fn move_mount_calls() {
    alone(|| {
        dirs(&["a", "b", "c"]);
        let shift = |from: &str, to: &str, flags: i32| sys!(SYS_move_mount, AT_FDCWD, &*text(from), AT_FDCWD, &*text(to), flags);
        tmpfs("one", "a").must();
        say!("flags {}", shift("a", "b", 0x800));
        say!("empty {}", shift("", "b", 0));
        say!("no mount {}", shift("b", "c", 0));
        touch(c"file");
        say!("on a file {}", shift("a", "file", 0));
        dirs(&["a/x"]);
        say!("into itself {}", shift("a", "a/x", 0));
        say!("{}", shift("a", "b", 0));
        show("moved");
        tmpfs("two", "c").must();
        say!("beneath nothing {}", shift("c", "a", 0x200));
        say!("beneath {}", shift("c", "b", 0x200));
        show("below");
        umount("b", 0).must();
        show("uncovered");
        say!("both {}", shift("b", "c", 0x300));
    });
}

fn move_mount_set_group() {
    alone(|| {
        dirs(&["a", "b", "c"]);
        tmpfs("one", "a").must();
        bind("a", "b").must();
        tmpfs("two", "c").must();
        let set = |from: &str, to: &str| sys!(SYS_move_mount, AT_FDCWD, &*text(from), AT_FDCWD, &*text(to), 0x100);
        say!("private {}", set("a", "b"));
        make(MS_SHARED, "a").must();
        say!("another file system {}", set("a", "c"));
        say!("{}", set("a", "b"));
        show("peers");
        say!("again {}", set("a", "b"));
    });
}

const SET_FLAG: i32 = 0;
const SET_STRING: i32 = 1;
const CREATE: i32 = 6;
const RECONFIGURE: i32 = 7;

fn new_file_system() {
    alone(|| {
        dirs(&["a", "b"]);
        let fd = sys!(SYS_fsopen, c"tmpfs", 1).fd();
        say!("cloexec {}", sys!(SYS_fcntl, fd, F_GETFD, 0));
        say!("{}", sys!(SYS_fsconfig, fd, SET_STRING, c"source", c"mine", 0));
        say!("{}", sys!(SYS_fsconfig, fd, SET_STRING, c"size", c"64k", 0));
        say!("{}", sys!(SYS_fsconfig, fd, SET_STRING, c"mode", c"700", 0));
        say!("too early {}", sys!(SYS_fsmount, fd, 0, 0));
        say!("{}", sys!(SYS_fsconfig, fd, CREATE, 0, 0, 0));
        say!("twice {}", sys!(SYS_fsconfig, fd, CREATE, 0, 0, 0));
        say!("too late {}", sys!(SYS_fsconfig, fd, SET_STRING, c"size", c"32k", 0));
        let mount = sys!(SYS_fsmount, fd, 1, 2 | 8 | 0x10).fd();
        say!("mounted twice {}", sys!(SYS_fsmount, fd, 0, 0));
        show("not attached");
        say!("used by descriptor {}", sys!(SYS_mkdirat, mount, c"d", 0o700));
        say!("{}", sys!(SYS_move_mount, mount, c"", AT_FDCWD, c"a", 4));
        show("attached");
        say!("{}", exists("a/d"));
        let mut buf: statfs = zeroed();
        sys!(SYS_statfs, c"a", &mut buf).must();
        say!("blocks {}", buf.f_blocks);
        say!("reconfigure {} {}", sys!(SYS_fsconfig, fd, SET_STRING, c"size", c"128k", 0), sys!(SYS_fsconfig, fd, RECONFIGURE, 0, 0, 0));
        sys!(SYS_statfs, c"a", &mut buf).must();
        say!("blocks {}", buf.f_blocks);
    });
}

fn fsconfig_errors() {
    alone(|| {
        say!("unknown type {}", sys!(SYS_fsopen, c"nothing", 0));
        say!("flags {}", sys!(SYS_fsopen, c"tmpfs", 2));
        say!("name {}", sys!(SYS_fsopen, 0, 0));
        let fd = sys!(SYS_fsopen, c"tmpfs", 0).fd();
        say!("command {}", sys!(SYS_fsconfig, fd, 99, 0, 0, 0));
        say!("bad fd {} {}", sys!(SYS_fsconfig, -1, CREATE, 0, 0, 0), sys!(SYS_fsconfig, 99, CREATE, 0, 0, 0));
        say!("another file {}", sys!(SYS_fsconfig, open(c".", O_RDONLY).fd(), CREATE, 0, 0, 0));
        say!("flag with value {}", sys!(SYS_fsconfig, fd, SET_FLAG, c"ro", c"x", 0));
        say!("no key {} no value {}", sys!(SYS_fsconfig, fd, SET_STRING, 0, c"x", 0), sys!(SYS_fsconfig, fd, SET_STRING, c"size", 0, 0));
        say!("create with key {}", sys!(SYS_fsconfig, fd, CREATE, c"x", 0, 0));
        say!("unknown key {} {}", sys!(SYS_fsconfig, fd, SET_STRING, c"colour", c"red", 0), sys!(SYS_fsconfig, fd, SET_FLAG, c"colour", 0, 0));
        say!("bad value {}", sys!(SYS_fsconfig, fd, SET_STRING, c"size", c"much", 0));
        say!("source {} twice {}", sys!(SYS_fsconfig, fd, SET_STRING, c"source", c"a", 0), sys!(SYS_fsconfig, fd, SET_STRING, c"source", c"b", 0));
        say!("reconfigure {}", sys!(SYS_fsconfig, fd, RECONFIGURE, 0, 0, 0));
        let other = sys!(SYS_fsopen, c"tmpfs", 0).fd();
        say!("messages {}", read(other, 100));
        say!("{}", sys!(SYS_fsconfig, other, CREATE, 0, 0, 0));
        say!("attributes {} {} {}", sys!(SYS_fsmount, other, 0, 0x30), sys!(SYS_fsmount, other, 0, 1 << 30), sys!(SYS_fsmount, other, 4, 0));
        say!("not a configuration {}", sys!(SYS_fsmount, open(c".", O_RDONLY).fd(), 0, 0));
    });
}

fn fspick_reconfigures() {
    alone(|| {
        dirs(&["a", "a/d"]);
        tmpfs("one", "a").must();
        dirs(&["a/x"]);
        say!("no root {}", sys!(SYS_fspick, AT_FDCWD, c"a/x", 0));
        say!("flags {}", sys!(SYS_fspick, AT_FDCWD, c"a", 16));
        let fd = sys!(SYS_fspick, AT_FDCWD, c"a", 1).fd();
        say!("{}", sys!(SYS_fsconfig, fd, SET_FLAG, c"ro", 0, 0));
        say!("create {}", sys!(SYS_fsconfig, fd, CREATE, 0, 0, 0));
        say!("{}", sys!(SYS_fsconfig, fd, RECONFIGURE, 0, 0, 0));
        show("read-only");
        say!("write {}", open(c"a/f", O_CREAT | O_WRONLY));
    });
}

fn mount_setattr_flags() {
    alone(|| {
        dirs(&["a"]);
        tmpfs("one", "a").must();
        dirs(&["a/x"]);
        tmpfs("two", "a/x").must();
        let set = |at: &str, flags: i32, attr: [u64; 4]| sys!(SYS_mount_setattr, AT_FDCWD, &*text(at), flags, &attr, 32);
        say!("{}", set("a", 0, [1 | 2, 0, 0, 0]));
        show("one");
        say!("write {} below {}", open(c"a/f", O_CREAT | O_WRONLY), open(c"a/x/f", O_CREAT | O_WRONLY).ok());
        say!("{}", set("a", AT_RECURSIVE, [8 | 0x10, 1 | 0x70, MS_SHARED, 0]));
        show("all");
        say!("{}", set("a", 0, [0x20 | 0x80 | 0x20_0000, 0x70, MS_PRIVATE, 0]));
        show("strict");
        say!("nothing {}", set("none", 0, [0, 0, 0, 0]));
    });
}

fn mount_setattr_errors() {
    alone(|| {
        dirs(&["a", "a/d"]);
        tmpfs("one", "a").must();
        dirs(&["a/x"]);
        let set = |at: &str, flags: i32, attr: [u64; 4], size: usize| sys!(SYS_mount_setattr, AT_FDCWD, &*text(at), flags, &attr, size);
        say!("flags {}", set("a", 1, [1, 0, 0, 0], 32));
        say!("size {} {}", set("a", 0, [1, 0, 0, 0], 31), set("a", 0, [1, 0, 0, 0], 5000));
        say!("fault {}", sys!(SYS_mount_setattr, AT_FDCWD, c"a", 0, 8, 32));
        say!("attribute {}", set("a", 0, [1 << 40, 0, 0, 0], 32));
        say!("times without clearing {} {}", set("a", 0, [0x10, 0, 0, 0], 32), set("a", 0, [0x10, 0x20, 0, 0], 32));
        say!("two ways {}", set("a", 0, [0x30, 0x70, 0, 0], 32));
        say!("propagation {} {}", set("a", 0, [0, 0, MS_SHARED | MS_SLAVE, 0], 32), set("a", 0, [0, 0, 1, 0], 32));
        say!("no mount {}", set("a/x", 0, [1, 0, 0, 0], 32));
        say!("absent {}", set("none", 0, [1, 0, 0, 0], 32));
        let more = [1u64, 0, 0, 0, 5];
        say!("bigger {}", sys!(SYS_mount_setattr, AT_FDCWD, c"a", 0, &more, 40));
    });
}

/// The unique id of the mount at a path (`STATX_MNT_ID_UNIQUE`).
fn unique(at: &str) -> u64 {
    let mut buf = [0u64; 32];
    sys!(SYS_statx, AT_FDCWD, &*text(at), 0, 0x4000, &mut buf).must();
    buf[18]
}

const SYS_STATMOUNT: i64 = 457;
const SYS_LISTMOUNT: i64 = 458;

fn listing_mounts() {
    alone(|| {
        dirs(&["a"]);
        sys!(SYS_mount, c"one", c"a", c"tmpfs", MS_NOSUID | MS_NOEXEC, c"size=64k").must();
        dirs(&["a/x", "a/y"]);
        tmpfs("two", "a/x").must();
        tmpfs("three", "a/y").must();
        make(MS_SHARED, "a/x").must();
        let (a, x, y) = (unique("a"), unique("a/x"), unique("a/y"));
        say!("large {} ordered {}", a > 1 << 31, a < x && x < y);
        let list = |id: u64, last: u64, count: usize, flags: i32| {
            let request = [24u64, id, last];
            let mut ids = [0u64; 16];
            let ret = sys!(SYS_LISTMOUNT, &request, &mut ids, count, flags);
            let names: Vec<_> = ids.iter().take_while(|id| **id != 0).map(|id| if *id == x { "x" } else if *id == y { "y" } else { "?" }).collect();
            format!("{ret} {names:?}")
        };
        say!("below {}", list(a, 0, 16, 0));
        say!("one {} then {}", list(a, 0, 1, 0), list(a, x, 16, 0));
        say!("reverse {}", list(a, 0, 16, 1));
        say!("leaf {}", list(x, 0, 16, 0));
        let mut buf = [0u64; 128];
        let request = [24u64, a, 1 | 2 | 8 | 0x10 | 0x20 | 0x200];
        let ret = sys!(SYS_STATMOUNT, &request, &mut buf, 1024, 0);
        let half = |at: usize| (buf[at / 8] >> (at % 8 * 8)) as u32;
        let bytes: Vec<u8> = buf.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let string = |at: u32| {
            let rest = &bytes[512 + at as usize..];
            String::from_utf8_lossy(&rest[..rest.iter().position(|b| *b == 0).unwrap()]).into_owned()
        };
        say!("{ret} mask {:#x} magic {:#x} attributes {:#x} propagation {:#x}", buf[1], buf[3], buf[8], buf[9]);
        say!("id {} parent {}", buf[5] == a, buf[6] == unique("."));
        say!("type {:?} root {:?} source {:?} point ends {}", string(half(36)), string(half(104)), string(half(124)), string(half(108)).ends_with("/top/a"));
        say!("too small {}", sys!(SYS_STATMOUNT, &request, &mut buf, 520, 0));
        let shared = [24u64, x, 2];
        say!("{} fixed only", sys!(SYS_STATMOUNT, &shared, &mut buf, 512, 0));
        say!("propagation {:#x} group {} master {}", buf[9], buf[10] != 0, buf[11]);
    });
}

fn listing_errors() {
    alone(|| {
        let mut buf = [0u64; 128];
        let id = unique(".");
        say!("flags {}", sys!(SYS_STATMOUNT, &[24u64, id, 2], &mut buf, 1024, 1));
        say!("size {} {}", sys!(SYS_STATMOUNT, &[8u64, id, 2], &mut buf, 1024, 0), sys!(SYS_STATMOUNT, &[5000u64, id, 2], &mut buf, 1024, 0));
        say!("none {} {}", sys!(SYS_STATMOUNT, &[24u64, 1, 2], &mut buf, 1024, 0), sys!(SYS_STATMOUNT, &[24u64, 1 << 50, 2], &mut buf, 1024, 0));
        say!("fault {} {}", sys!(SYS_STATMOUNT, 8, &mut buf, 1024, 0), sys!(SYS_STATMOUNT, &[24u64, id, 2], 8, 1024, 0));
        say!("list {} {}", sys!(SYS_LISTMOUNT, &[24u64, 1 << 50, 0], &mut buf, 16, 0), sys!(SYS_LISTMOUNT, &[24u64, id, 0], &mut buf, 16, 2));
        say!("too many {}", sys!(SYS_LISTMOUNT, &[24u64, id, 0], &mut buf, 1i64 << 40, 0));
    });
}
