//! Namespaces: users and their maps, capabilities in them, joining by setns, what nsfs tells, mounts and chroot of an unprivileged root.

use std::fs;

use crate::prelude::*;

cases![
    user_identity_and_maps, user_map_errors, user_map_of_child_by_parent, user_setgroups, user_capabilities_are_relative, user_nested,
    user_owns_namespaces, user_file_ids, user_set_ids, user_exec_keeps_root, user_of_clone, user_errors, setns_by_file, setns_by_pidfd,
    setns_user_and_mount, setns_errors, nsfs_ioctls, cgroup_namespace_is_new, mounts_from_outside_are_locked, pid_namespace_by_setns,
    new_network_has_loopback_down,
];

const NS_GET_USERNS: u32 = 0xb701;
const NS_GET_PARENT: u32 = 0xb702;
const NS_GET_NSTYPE: u32 = 0xb703;
const NS_GET_OWNER_UID: u32 = 0xb704;

/// Runs `body` in a child that is user and group 1000 without capabilities.
fn as_user(body: impl FnOnce()) {
    let child = fork(|| {
        sys!(SYS_setgroups, 0, 0).must();
        sys!(SYS_setresgid, 1000, 1000, 1000).must();
        sys!(SYS_setresuid, 1000, 1000, 1000).must();
        // Files of /proc are the user's again.
        sys!(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0).must();
        body();
        0
    });
    say!("{}", child.wait());
}

fn put(path: &str, text: &str) -> String {
    let fd = open_at(path, O_WRONLY);
    match fd.get() {
        Err(_) => format!("open {fd}"),
        Ok(number) => {
            let ret = write(number as i32, text.as_bytes());
            close(number as i32);
            ret.to_string()
        }
    }
}

fn open_at(path: &str, flags: i32) -> Ret {
    let path = std::ffi::CString::new(path).unwrap();
    open(&path, flags)
}

fn text(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|e| e.kind().to_string(), |t| t.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn ids() -> String {
    let (mut r, mut e, mut s) = (0u32, 0u32, 0u32);
    sys!(SYS_getresuid, &mut r, &mut e, &mut s).must();
    let users = format!("{r} {e} {s}");
    sys!(SYS_getresgid, &mut r, &mut e, &mut s).must();
    format!("{users}, {r} {e} {s}")
}

fn effective() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap().trim().to_owned();
    u64::from_str_radix(&line, 16).unwrap()
}

fn ns(kind: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{kind}")).map_or_else(|e| e.kind().to_string(), |p| p.to_string_lossy().into_owned())
}

/// A user namespace in which user and group 1000 are root.
fn become_root() {
    sys!(SYS_unshare, CLONE_NEWUSER).must();
    put("/proc/self/setgroups", "deny");
    put("/proc/self/uid_map", "0 1000 1");
    put("/proc/self/gid_map", "0 1000 1");
}

fn user_identity_and_maps() {
    say!("outside: {} | {} | {}", text("/proc/self/uid_map"), text("/proc/self/gid_map"), text("/proc/self/setgroups"));
    as_user(|| {
        let before = ns("user");
        say!("{}", sys!(SYS_unshare, CLONE_NEWUSER));
        say!("another one {}", ns("user") != before);
        say!("unmapped {} maps {:?} {:?}", ids(), text("/proc/self/uid_map"), text("/proc/self/gid_map"));
        say!("capabilities {}", effective() & 0x1ff_ffff_ffff == 0x1ff_ffff_ffff);
        say!("setgroups {}, gid before {}", text("/proc/self/setgroups"), put("/proc/self/gid_map", "0 1000 1"));
        say!("deny {}, uid {}, gid {}", put("/proc/self/setgroups", "deny"), put("/proc/self/uid_map", "0 1000 1"), put("/proc/self/gid_map", "0 1000 1\n"));
        say!("{} maps {} | {}", ids(), text("/proc/self/uid_map"), text("/proc/self/gid_map"));
        say!("again {}", put("/proc/self/uid_map", "0 1000 1"));
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let shown = status.lines().filter(|l| l.starts_with("Uid:") || l.starts_with("Gid:")).collect::<Vec<_>>().join(" ");
        say!("{shown}");
    });
}

fn user_map_errors() {
    as_user(|| {
        sys!(SYS_unshare, CLONE_NEWUSER).must();
        for bad in ["", "0", "0 1000", "0 1000 0", "x 1000 1", "0 1000 1 1", "0 0 1", "0 1001 1", "0 1000 2", "4294967295 1000 1", "0 1000 1\n1 1001 1"] {
            say!("{bad:?}: {}", put("/proc/self/uid_map", bad));
        }
        say!("hexadecimal {}", put("/proc/self/setgroups", "maybe"));
        say!("good {}", put("/proc/self/uid_map", "5 1000 1"));
        say!("{}", ids());
    });
    say!("of the first namespace: {}", put("/proc/self/uid_map", "0 0 1"));
}

fn user_map_of_child_by_parent() {
    let (ready_r, ready_w) = pipe();
    let (go_r, go_w) = pipe();
    let child = fork(|| {
        sys!(SYS_unshare, CLONE_NEWUSER).must();
        write(ready_w, b"x");
        read(go_r, 1);
        say!("{}", ids());
        say!("{}, then {}", sys!(SYS_setresuid, 7, 7, 7), ids());
        say!("unmapped {}", sys!(SYS_setresuid, 100, u32::MAX, u32::MAX));
        say!("seen inside {}", text("/proc/self/uid_map"));
        0
    });
    read(ready_r, 1);
    let map = |name: &str| format!("/proc/{}/{name}", child.0);
    say!("several lines {}", put(&map("uid_map"), "0 0 1\n5 100000 10"));
    say!("group {}", put(&map("gid_map"), "0 0 1"));
    say!("seen outside {}", text(&map("uid_map")));
    write(go_w, b"x");
    say!("{}", child.wait());
}

fn user_setgroups() {
    as_user(|| {
        sys!(SYS_unshare, CLONE_NEWUSER).must();
        say!("before the map {}", sys!(SYS_setgroups, 0, 0));
        put("/proc/self/setgroups", "deny");
        say!("allow after deny {}", put("/proc/self/setgroups", "allow"));
        put("/proc/self/uid_map", "0 1000 1");
        put("/proc/self/gid_map", "0 1000 1");
        say!("denied {}", sys!(SYS_setgroups, 0, 0));
    });
    let child = fork(|| {
        sys!(SYS_unshare, CLONE_NEWUSER).must();
        put("/proc/self/uid_map", "0 0 1");
        put("/proc/self/gid_map", "0 0 1");
        say!("by root, allowed {}", sys!(SYS_setgroups, 1, &[0u32]));
        say!("unmapped group {}", sys!(SYS_setgroups, 1, &[5u32]));
        say!("deny after the map {}", put("/proc/self/setgroups", "deny"));
        0
    });
    say!("{}", child.wait());
}

fn user_capabilities_are_relative() {
    as_user(|| {
        become_root();
        say!("hostname of the outer {}", sys!(SYS_sethostname, c"x", 1));
        say!("mount in the outer {}", sys!(SYS_mount, c"none", c"/tmp", c"tmpfs", 0, 0));
        say!("chroot {}", sys!(SYS_chroot, c"/"));
        say!("device {}", sys!(SYS_mknodat, AT_FDCWD, c"/tmp/never", S_IFCHR | 0o600, 0x103));
        say!("nice {}", sys!(SYS_setpriority, 0, 0, -5));
        say!("kill of init {}", sys!(SYS_kill, 1, 0));
        say!("clock {}", sys!(SYS_settimeofday, 0, &[0i32, 0]));
        say!("raised limit {}", sys!(SYS_prlimit64, 0, RLIMIT_NOFILE, &[u64::MAX >> 1, u64::MAX >> 1], 0));
        say!("own hostname {}", sys!(SYS_unshare, CLONE_NEWUTS));
        say!("{}", sys!(SYS_sethostname, c"x", 1));
        say!("{} with own mounts", sys!(SYS_unshare, CLONE_NEWNS));
        say!("{}", sys!(SYS_mount, c"none", c"/tmp", c"tmpfs", 0, 0));
    });
}

fn user_nested() {
    as_user(|| {
        become_root();
        sys!(SYS_unshare, CLONE_NEWUSER).must();
        say!("{}", ids());
        put("/proc/self/setgroups", "deny");
        say!("a name outside of the outer one {}", put("/proc/self/uid_map", "0 1000 1"));
        say!("{} {}", put("/proc/self/uid_map", "3 0 1"), put("/proc/self/gid_map", "4 0 1"));
        say!("{} {} | {}", ids(), text("/proc/self/uid_map"), text("/proc/self/gid_map"));
    });
    as_user(|| {
        let mut depth = 0;
        let end = loop {
            become_root_here();
            let ret = sys!(SYS_unshare, CLONE_NEWUSER);
            if ret.get().is_err() || depth > 40 {
                break ret;
            }
            depth += 1;
        };
        say!("{depth} deep: {end}");
    });
}

/// Maps the only id that there is to root, whatever it is called.
fn become_root_here() {
    let id = if text("/proc/self/uid_map").is_empty() { [0, 1000] } else { [0, 0] };
    put("/proc/self/setgroups", "deny");
    for outside in id {
        put("/proc/self/uid_map", &format!("0 {outside} 1"));
        put("/proc/self/gid_map", &format!("0 {outside} 1"));
    }
}

fn user_owns_namespaces() {
    as_user(|| {
        say!("alone {}", sys!(SYS_unshare, CLONE_NEWNET));
        say!("together {}", sys!(SYS_unshare, CLONE_NEWUSER | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWPID));
        say!("hostname {}", sys!(SYS_sethostname, c"mine", 4));
        let server = sys!(SYS_socket, AF_INET, SOCK_STREAM, 0).fd();
        let mut address = [0u8; 16];
        address[..4].copy_from_slice(&[2, 0, 0, 80]);
        say!("port 80 {}", sys!(SYS_bind, server, &address, 16));
        say!("raw socket {}", sys!(SYS_socket, AF_INET, SOCK_RAW, 1).get().is_ok());
        let child = fork(|| {
            say!("pid {}", getpid());
            0
        });
        say!("{}", child.wait());
    });
}

fn user_file_ids() {
    write_file(c"mine", b"1");
    write_file(c"roots", b"2");
    sys!(SYS_fchmodat, AT_FDCWD, c"roots", 0o600).must();
    sys!(SYS_fchownat, AT_FDCWD, c"mine", 1000, 1000, 0).must();
    sys!(SYS_fchmodat, AT_FDCWD, c".", 0o777).must();
    as_user(|| {
        become_root();
        let shown = |path: &std::ffi::CStr| {
            let mut st: stat = zeroed();
            sys!(SYS_newfstatat, AT_FDCWD, path, &mut st, 0).must();
            format!("{} {}", st.st_uid, st.st_gid)
        };
        say!("mine {}, root's {}", shown(c"mine"), shown(c"roots"));
        say!("reading root's {}", open(c"roots", O_RDONLY));
        say!("chmod of root's {}", sys!(SYS_fchmodat, AT_FDCWD, c"roots", 0o644));
        say!("chown to itself {}", sys!(SYS_fchownat, AT_FDCWD, c"mine", 0, 0, 0));
        say!("chown to nobody {}", sys!(SYS_fchownat, AT_FDCWD, c"mine", 5, u32::MAX, 0));
        say!("chown of root's {}", sys!(SYS_fchownat, AT_FDCWD, c"roots", 0, u32::MAX, 0));
        write_file(c"made", b"3");
        say!("made {}", shown(c"made"));
    });
    let mut st: stat = zeroed();
    sys!(SYS_newfstatat, AT_FDCWD, c"made", &mut st, 0).must();
    say!("outside {} {}", st.st_uid, st.st_gid);
}

fn user_set_ids() {
    as_user(|| {
        become_root();
        say!("{} {}", sys!(SYS_setuid, 0), sys!(SYS_setuid, 1));
        say!("{}", sys!(SYS_setresgid, 0, 5, 0));
        say!("setfsuid {} {}", sys!(SYS_setfsuid, 3), sys!(SYS_setfsuid, 0));
        let mut list = [9u32; 8];
        say!("groups {} {:?}", sys!(SYS_getgroups, 8, &mut list), &list[..1]);
        let (a, b) = socketpair(SOCK_STREAM);
        let mut cred = [0u32; 3];
        let mut len = 12u32;
        sys!(SYS_getsockopt, a, SOL_SOCKET, SO_PEERCRED, &mut cred, &mut len).must();
        say!("peer {} {}", cred[1], cred[2]);
        close(b);
    });
}

fn user_exec_keeps_root() {
    as_user(|| {
        become_root();
        let child = fork(|| {
            let error = exec(c"/bin/sh", &[c"sh", c"-c", c"id -u; grep CapEff /proc/self/status"], &[c"PATH=/usr/bin:/bin"]);
            say!("{error}");
            1
        });
        say!("{}", child.wait());
    });
    as_user(|| {
        sys!(SYS_unshare, CLONE_NEWUSER).must();
        let child = fork(|| {
            let error = exec(c"/bin/sh", &[c"sh", c"-c", c"id -u; grep CapEff /proc/self/status"], &[c"PATH=/usr/bin:/bin"]);
            say!("{error}");
            1
        });
        say!("unmapped: {}", child.wait());
    });
}

fn user_of_clone() {
    as_user(|| {
        let outer = ns("user");
        let child = clone_with_stack(CLONE_NEWUSER | SIGCHLD, || {
            say!("{} {}", ns("user") != outer, effective() != 0);
            0
        });
        say!("{}", Child(child.must() as i32).wait());
        say!("still here {}", ns("user") == outer);
        let both = clone_with_stack(CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, || {
            say!("pid {}", getpid());
            0
        });
        say!("{}", Child(both.must() as i32).wait());
    });
}

fn user_errors() {
    say!("with CLONE_FS {}", sys!(SYS_clone, CLONE_NEWUSER | CLONE_FS | SIGCHLD, 0, 0, 0, 0));
    say!("as a thread {}", sys!(SYS_clone, CLONE_NEWUSER | CLONE_THREAD | CLONE_VM | CLONE_SIGHAND, 0, 0, 0, 0));
    let child = fork(|| {
        sys!(SYS_mkdirat, AT_FDCWD, c"jail", 0o755).must();
        sys!(SYS_chroot, c"jail").must();
        say!("in a chroot {}", sys!(SYS_unshare, CLONE_NEWUSER));
        0
    });
    say!("{}", child.wait());
}

/// A child in namespaces of its own that waits to be told to end; returns it and the pipe's end that tells it.
fn held(flags: i32) -> (Child, i32) {
    let (ready_r, ready_w) = pipe();
    let (go_r, go_w) = pipe();
    let child = fork(|| {
        close(go_w);
        sys!(SYS_unshare, flags).must();
        if flags & CLONE_NEWUTS != 0 {
            sys!(SYS_sethostname, c"joined", 6).must();
        }
        write(ready_w, b"x");
        read(go_r, 1);
        0
    });
    close(go_r);
    read(ready_r, 1);
    (child, go_w)
}

fn hostname() -> String {
    let mut name: utsname = zeroed();
    sys!(SYS_uname, &mut name).must();
    name.nodename.iter().map(|&c| c as u8).take_while(|&c| c != 0).map(char::from).collect()
}

fn ns_fd(child: Child, kind: &str) -> i32 {
    open_at(&format!("/proc/{}/ns/{kind}", child.0), O_RDONLY | O_CLOEXEC).fd()
}

fn setns_by_file() {
    let (child, go) = held(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP);
    let joiner = fork(|| {
        let uts = ns_fd(child, "uts");
        say!("wrong type {}", sys!(SYS_setns, uts, CLONE_NEWNET));
        say!("{}, now {}", sys!(SYS_setns, uts, CLONE_NEWUTS), hostname());
        for kind in ["ipc", "net", "cgroup"] {
            let before = ns(kind);
            say!("{kind} {}, another {}", sys!(SYS_setns, ns_fd(child, kind), 0), ns(kind) != before);
        }
        say!("time {}", sys!(SYS_setns, open_at("/proc/self/ns/time", O_RDONLY).fd(), 0));
        0
    });
    say!("{}", joiner.wait());
    close(go);
    say!("{}", child.wait());
}

fn setns_by_pidfd() {
    let (child, go) = held(CLONE_NEWUTS | CLONE_NEWNET);
    let joiner = fork(|| {
        let pidfd = sys!(SYS_pidfd_open, child.0, 0).fd();
        say!("none {}", sys!(SYS_setns, pidfd, 0));
        say!("unknown {}", sys!(SYS_setns, pidfd, CLONE_VM));
        let before = ns("net");
        say!("two {}, {} {}", sys!(SYS_setns, pidfd, CLONE_NEWUTS | CLONE_NEWNET), hostname(), ns("net") != before);
        0
    });
    say!("{}", joiner.wait());
    close(go);
    say!("{}", child.wait());
}

fn setns_user_and_mount() {
    let (child, go) = held(CLONE_NEWUSER | CLONE_NEWNS);
    put(&format!("/proc/{}/uid_map", child.0), "0 0 1");
    put(&format!("/proc/{}/gid_map", child.0), "0 0 1");
    let joiner = fork(|| {
        let (user, mnt) = (ns_fd(child, "user"), ns_fd(child, "mnt"));
        say!("user {}", sys!(SYS_setns, user, CLONE_NEWUSER));
        say!("{} again {}", ids(), sys!(SYS_setns, user, CLONE_NEWUSER));
        let before = ns("mnt");
        say!("mnt {}, another {}", sys!(SYS_setns, mnt, CLONE_NEWNS), ns("mnt") != before);
        say!("at the root {}", std::env::current_dir().unwrap().display());
        say!("may mount {}", sys!(SYS_mount, c"none", c"/tmp", c"tmpfs", 0, 0));
        0
    });
    say!("{}", joiner.wait());
    close(go);
    say!("{}", child.wait());
}

fn setns_errors() {
    say!("no descriptor {}", sys!(SYS_setns, 99, 0));
    let fd = open(c".", O_RDONLY).fd();
    say!("a directory {}", sys!(SYS_setns, fd, 0));
    say!("own user namespace {}", sys!(SYS_setns, open(c"/proc/self/ns/user", O_RDONLY).fd(), 0));
    let (child, go) = held(CLONE_NEWUTS);
    let uts = ns_fd(child, "uts");
    as_user(|| {
        say!("without privilege {}", sys!(SYS_setns, uts, 0));
        become_root();
        say!("with privilege elsewhere {}", sys!(SYS_setns, uts, 0));
    });
    close(go);
    say!("{}", child.wait());
}

fn nsfs_ioctls() {
    let own = open(c"/proc/self/ns/user", O_RDONLY).fd();
    say!("type {:#x}", sys!(SYS_ioctl, own, NS_GET_NSTYPE, 0).0);
    as_user(|| {
        let outer = open(c"/proc/self/ns/user", O_RDONLY).fd();
        sys!(SYS_unshare, CLONE_NEWUSER | CLONE_NEWUTS).must();
        let user = open(c"/proc/self/ns/user", O_RDONLY).fd();
        let uts = open(c"/proc/self/ns/uts", O_RDONLY).fd();
        let mut owner = 7u32;
        say!("owner {} {owner}", sys!(SYS_ioctl, user, NS_GET_OWNER_UID, &mut owner));
        say!("owner of uts {}", sys!(SYS_ioctl, uts, NS_GET_OWNER_UID, &mut owner));
        say!("parent beyond {}", sys!(SYS_ioctl, user, NS_GET_PARENT, 0));
        say!("of the outer {}", sys!(SYS_ioctl, outer, NS_GET_USERNS, 0));
        let of_uts = sys!(SYS_ioctl, uts, NS_GET_USERNS, 0).fd();
        let ino = |fd: i32| {
            let mut st: stat = zeroed();
            sys!(SYS_fstat, fd, &mut st).must();
            st.st_ino
        };
        say!("uts belongs to the new one {}", ino(of_uts) == ino(user));
        say!("parent of uts {}", sys!(SYS_ioctl, uts, NS_GET_PARENT, 0));
        say!("unknown {}", sys!(SYS_ioctl, uts, 0xb77f_u32, 0));
    });
}

fn cgroup_namespace_is_new() {
    let child = fork(|| {
        let before = ns("cgroup");
        say!("{}, another {}", sys!(SYS_unshare, CLONE_NEWCGROUP), ns("cgroup") != before);
        let root = text("/proc/self/cgroup").split(' ').all(|line| line.ends_with(":/"));
        say!("at its root {root}");
        0
    });
    say!("{}", child.wait());
}

fn mounts_from_outside_are_locked() {
    let child = fork(|| {
        sys!(SYS_unshare, CLONE_NEWNS).must();
        sys!(SYS_mount, 0, c"/", 0, MS_REC | MS_PRIVATE, 0).must();
        sys!(SYS_mkdirat, AT_FDCWD, c"m", 0o777).must();
        sys!(SYS_mount, c"none", c"m", c"tmpfs", MS_NOSUID | MS_NODEV, 0).must();
        sys!(SYS_mount, 0, c"m", 0, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, 0).must();
        sys!(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS).must();
        put("/proc/self/uid_map", "0 0 1");
        say!("umount {}", sys!(SYS_umount2, c"m", MNT_DETACH));
        say!("writable again {}", sys!(SYS_mount, 0, c"m", 0, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV, 0));
        say!("more restricted {}", sys!(SYS_mount, 0, c"m", 0, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, 0));
        say!("on top of it {}", sys!(SYS_mount, c"none", c"m", c"tmpfs", 0, 0));
        say!("and away {}", sys!(SYS_umount2, c"m", 0));
        say!("bind without what is below {}", sys!(SYS_mount, c".", c".", 0, MS_BIND, 0));
        say!("bind with it {}", sys!(SYS_mount, c".", c".", 0, MS_BIND | MS_REC, 0));
        say!("a disk {}", sys!(SYS_mount, c"/dev/null", c"m", c"ext4", 0, 0).get().is_err());
        0
    });
    say!("{}", child.wait());
}

fn pid_namespace_by_setns() {
    let (ready_r, ready_w) = pipe();
    let (go_r, go_w) = pipe();
    let init = clone_with_stack(CLONE_NEWPID | SIGCHLD, || {
        close(go_w);
        write(ready_w, b"x");
        read(go_r, 1);
        0
    })
    .must() as i32;
    read(ready_r, 1);
    let joiner = fork(|| {
        let fd = ns_fd(Child(init), "pid");
        say!("{}", sys!(SYS_setns, fd, CLONE_NEWPID));
        let inside = fork(|| {
            say!("child is {}", getpid());
            say!("back out {}", sys!(SYS_setns, open(c"/proc/self/ns/pid", O_RDONLY).fd(), CLONE_NEWPID).get().is_ok());
            0
        });
        say!("{}", inside.wait());
        0
    });
    say!("{}", joiner.wait());
    close(go_w);
    say!("{}", Child(init).wait());
}

/// A socket address of loopback: IPv4 or IPv6.
fn loopback(v6: bool, port: u16) -> Vec<u8> {
    let mut address = vec![if v6 { 10 } else { 2 }, 0];
    address.extend(port.to_be_bytes());
    if v6 {
        address.extend([0; 19]);
        address.push(1);
        address.extend([0; 4]);
    } else {
        address.extend([127, 0, 0, 1]);
        address.extend([0; 8]);
    }
    address
}

fn new_network_has_loopback_down() {
    const SIOCGIFFLAGS: u32 = 0x8913;
    const SIOCSIFFLAGS: u32 = 0x8914;
    let child = fork(|| {
        sys!(SYS_unshare, CLONE_NEWNET).must();
        let look = || {
            for (name, v6, kind) in [("udp", false, SOCK_DGRAM), ("tcp", false, SOCK_STREAM), ("udp6", true, SOCK_DGRAM), ("tcp6", true, SOCK_STREAM)] {
                let fd = sys!(SYS_socket, if v6 { AF_INET6 } else { AF_INET }, kind, 0).fd();
                let address = loopback(v6, 7);
                let bound = sys!(SYS_bind, fd, address.as_ptr(), address.len());
                close(fd);
                let fd = sys!(SYS_socket, if v6 { AF_INET6 } else { AF_INET }, kind, 0).fd();
                say!("{name}: bind {bound}, connect {}", sys!(SYS_connect, fd, address.as_ptr(), address.len()));
                close(fd);
            }
        };
        let fd = sys!(SYS_socket, AF_INET, SOCK_DGRAM, 0).fd();
        let mut request = [0u8; 40];
        request[..2].copy_from_slice(b"lo");
        let mut flags = |op: u32, value: u16| {
            request[16..18].copy_from_slice(&value.to_ne_bytes());
            let ret = sys!(SYS_ioctl, fd, op, &mut request);
            format!("{ret} {:#x}", u16::from_ne_bytes([request[16], request[17]]))
        };
        say!("flags {}", flags(SIOCGIFFLAGS, 0));
        look();
        say!("up {}", flags(SIOCSIFFLAGS, 1));
        say!("flags {}", flags(SIOCGIFFLAGS, 0));
        look();
        say!("down {}", flags(SIOCSIFFLAGS, 0));
        0
    });
    say!("{}", child.wait());
}
