//! Users, groups, capabilities, sessions and process groups, prctl.

use crate::prelude::*;

cases![
    setuid_family_as_root, setuid_family_as_user, setresuid_errors, setgid_family, setgroups_and_getgroups, setfsuid_returns_old,
    uid_change_drops_capabilities, keepcaps, capget_capset, capset_errors, bounding_set, ambient_set, securebits, no_new_privs,
    process_groups, setpgid_errors, sessions, setsid_errors, getsid_getpgid_errors, prctl_misc, prctl_errors, dumpable_after_setuid,
    user_namespace_identity, hostname_in_uts_namespace, unshare_needs_privilege, kill_permission_by_ids,
];

/// Real, effective and saved user and group ids.
fn ids() -> String {
    let (mut u, mut g) = ([0u32; 3], [0u32; 3]);
    let [ur, ue, us] = &mut u;
    sys!(SYS_getresuid, ur, ue, us).must();
    let [gr, ge, gs] = &mut g;
    sys!(SYS_getresgid, gr, ge, gs).must();
    format!("{u:?} {g:?}")
}

/// Runs `body` in a child, where it may change its credentials.
fn child(body: impl FnOnce()) {
    fork(|| {
        body();
        0
    })
    .wait();
}

fn setuid_family_as_root() {
    child(|| say!("setuid {} {}", sys!(SYS_setuid, 100), ids()));
    child(|| say!("setreuid {} {}", sys!(SYS_setreuid, 100, 200), ids()));
    child(|| say!("setreuid -1 {} {}", sys!(SYS_setreuid, -1, 200), ids()));
    child(|| say!("setresuid {} {}", sys!(SYS_setresuid, 1, 2, 3), ids()));
    say!("parent untouched {}", ids());
}

fn setuid_family_as_user() {
    child(|| {
        sys!(SYS_setresuid, 100, 200, 300).must();
        say!("to the saved one {} {}", sys!(SYS_setuid, 300), ids());
        say!("to a strange one {}", sys!(SYS_setuid, 400));
        say!("swap {} {}", sys!(SYS_setreuid, 300, 100), ids());
        say!("back to root {}", sys!(SYS_setresuid, 0, 0, 0));
    });
}

fn setresuid_errors() {
    say!("bad pointer {}", sys!(SYS_getresuid, 8, 8, 8));
    say!("setuid -1 {}, setgid -1 {}", sys!(SYS_setuid, -1), sys!(SYS_setgid, -1));
    say!("nothing to do {}", sys!(SYS_setresuid, -1, -1, -1));
}

fn setgid_family() {
    child(|| say!("setgid {} {}", sys!(SYS_setgid, 100), ids()));
    child(|| say!("setregid {} {}", sys!(SYS_setregid, 100, 200), ids()));
    child(|| {
        sys!(SYS_setresgid, 1, 2, 3).must();
        sys!(SYS_setresuid, 9, 9, 9).must();
        say!("user: to saved {}, strange {}, {}", sys!(SYS_setgid, 3), sys!(SYS_setgid, 7), ids());
    });
}

fn setgroups_and_getgroups() {
    child(|| {
        say!("{}", sys!(SYS_setgroups, 3, &[30u32, 10, 20]));
        let mut groups = [0u32; 3];
        say!("{} {groups:?}", sys!(SYS_getgroups, 0, NULL));
        say!("{}", sys!(SYS_getgroups, 3, &mut groups));
        say!("{groups:?}");
        say!("no room {}, negative {}", sys!(SYS_getgroups, 2, &mut groups), sys!(SYS_getgroups, -1, &mut groups));
        say!("too many {}", sys!(SYS_setgroups, 65537, &groups));
        sys!(SYS_setresuid, 5, 5, 5).must();
        say!("user {}", sys!(SYS_setgroups, 0, NULL));
    });
}

fn setfsuid_returns_old() {
    sys!(SYS_chmod, c".", 0o777).must();
    child(|| {
        say!("{} {} {}", sys!(SYS_setfsuid, 1234), sys!(SYS_setfsuid, -1), sys!(SYS_setfsgid, 99));
        touch(c"f");
        let mut stat: stat = zeroed();
        sys!(SYS_stat, c"f", &mut stat).must();
        say!("new files belong to {} {}", stat.st_uid, stat.st_gid);
    });
}

const VERSION_3: u32 = 0x2008_0522;

/// (effective, permitted, inheritable), as masks.
fn caps() -> (u64, u64, u64) {
    let mut data = [0u32; 6];
    sys!(SYS_capget, &[VERSION_3, 0], &mut data).must();
    let pair = |low: usize| u64::from(data[low]) | u64::from(data[low + 3]) << 32;
    (pair(0), pair(1), pair(2))
}

fn set_caps(effective: u64, permitted: u64, inheritable: u64) -> Ret {
    let word = |value: u64, high: bool| if high { (value >> 32) as u32 } else { value as u32 };
    let data = [false, true].map(|high| [word(effective, high), word(permitted, high), word(inheritable, high)]);
    sys!(SYS_capset, &[VERSION_3, 0], &data)
}

const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;
const SETUID: u64 = 1 << 7;

fn uid_change_drops_capabilities() {
    child(|| {
        let few = CHOWN | KILL | SETUID;
        set_caps(few, few, 0).must();
        sys!(SYS_setresuid, -1, 5, -1).must();
        say!("effective {:#x} permitted {:#x}", caps().0, caps().1);
    });
    child(|| {
        sys!(SYS_setresuid, 5, 5, 5).must();
        say!("{:x?}", caps());
    });
    child(|| {
        sys!(SYS_setresuid, -1, 5, -1).must();
        let before = caps();
        sys!(SYS_setresuid, -1, 0, -1).must();
        say!("effective none {}, back {}", before.0 == 0, caps().0 == before.1);
    });
}

fn keepcaps() {
    child(|| {
        say!("{} {}", sys!(SYS_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0), sys!(SYS_prctl, PR_GET_KEEPCAPS, 0, 0, 0, 0));
        let permitted = caps().1;
        sys!(SYS_setresuid, 5, 5, 5).must();
        say!("effective {:x}, permitted kept {}", caps().0, caps().1 == permitted);
        say!("bad value {}", sys!(SYS_prctl, PR_SET_KEEPCAPS, 2, 0, 0, 0));
    });
}

fn capget_capset() {
    child(|| {
        say!("{} {:x?}", set_caps(CHOWN, CHOWN | KILL, KILL), caps());
        say!("raise from permitted {}", set_caps(CHOWN | KILL, CHOWN | KILL, 0));
        say!("drop permitted {} and ask it back {}", set_caps(0, CHOWN, 0), set_caps(0, CHOWN | KILL, 0));
        say!("effective beyond permitted {}", set_caps(KILL, CHOWN, 0));
    });
}

fn capset_errors() {
    let mut header = [0u32, 0];
    say!("unknown version {} offers {:#x}", sys!(SYS_capget, &mut header, &mut [0u32; 6]), header[0]);
    say!("offers {:#x}", header[0]);
    say!("bad header {}, no data {}", sys!(SYS_capget, 8, NULL), sys!(SYS_capget, &[VERSION_3, 0], NULL));
    say!("of nobody {}", sys!(SYS_capget, &[VERSION_3, i32::MAX as u32], &mut [0u32; 6]));
    let other = fork(|| {
        sys!(SYS_pause);
        0
    });
    say!("set another's {}", sys!(SYS_capset, &[VERSION_3, other.0 as u32], &[0u32; 6]));
    other.kill(SIGKILL);
}

fn bounding_set() {
    child(|| {
        say!("has CHOWN {}", sys!(SYS_prctl, PR_CAPBSET_READ, 0, 0, 0, 0));
        say!("drop {} then {}", sys!(SYS_prctl, PR_CAPBSET_DROP, 0, 0, 0, 0), sys!(SYS_prctl, PR_CAPBSET_READ, 0, 0, 0, 0));
        say!("unknown {} {}", sys!(SYS_prctl, PR_CAPBSET_READ, 63, 0, 0, 0), sys!(SYS_prctl, PR_CAPBSET_DROP, 63, 0, 0, 0));
        say!("still effective {}", caps().0 & CHOWN);
    });
}

fn ambient_set() {
    let ambient = |op: i32, cap: i32| sys!(SYS_prctl, PR_CAP_AMBIENT, op, cap, 0, 0);
    child(|| {
        say!("not inheritable yet {}", ambient(PR_CAP_AMBIENT_RAISE, 5));
        let (e, p, _) = caps();
        set_caps(e, p, KILL).must();
        say!("raise {} is set {}", ambient(PR_CAP_AMBIENT_RAISE, 5), ambient(PR_CAP_AMBIENT_IS_SET, 5));
        set_caps(e, p, 0).must();
        say!("gone with inheritable {}", ambient(PR_CAP_AMBIENT_IS_SET, 5));
        say!("clear {} bad {}", ambient(PR_CAP_AMBIENT_CLEAR_ALL, 0), ambient(9, 0));
    });
}

fn securebits() {
    child(|| {
        say!("{}", sys!(SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0, 0));
        say!("noroot {} {}", sys!(SYS_prctl, PR_SET_SECUREBITS, 1, 0, 0, 0), sys!(SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0, 0));
        set_caps(0, 0, 0).must();
        say!("without SETPCAP {}", sys!(SYS_prctl, PR_SET_SECUREBITS, 0, 0, 0, 0));
    });
}

fn no_new_privs() {
    say!("{}", sys!(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    say!("{} {}", sys!(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), sys!(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    say!("inherited {}", fork(|| sys!(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0).0 as i32).wait());
    say!("cannot be cleared {}, odd argument {}", sys!(SYS_prctl, PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), sys!(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0));
}

fn pausing<T>(before: impl FnOnce() -> T) -> Child {
    let (r, w) = pipe();
    let child = fork(|| {
        before();
        write(w, b"x");
        sys!(SYS_pause);
        0
    });
    read(r, 1);
    child
}

fn process_groups() {
    let own = sys!(SYS_getpgrp).0;
    say!("getpgid(0) agrees {}, inherited {}", sys!(SYS_getpgid, 0).0 == own, fork(|| i32::from(sys!(SYS_getpgrp).0 == own)).wait());
    let child = pausing(|| {});
    say!("set a child's {} {}", sys!(SYS_setpgid, child.0, 0), sys!(SYS_getpgid, child.0).0 == i64::from(child.0));
    let second = pausing(|| {});
    say!("join it {} {}", sys!(SYS_setpgid, second.0, child.0), sys!(SYS_getpgid, second.0).0 == i64::from(child.0));
    sys!(SYS_kill, -child.0, SIGKILL).must();
    say!("{} {}", child.wait(), second.wait());
}

fn setpgid_errors() {
    say!("negative {}", sys!(SYS_setpgid, 0, -1));
    say!("no such group {}", sys!(SYS_setpgid, 0, i32::MAX));
    say!("not mine {}", sys!(SYS_setpgid, 1, 0));
    let leader = pausing(|| sys!(SYS_setsid));
    say!("session leader {}", sys!(SYS_setpgid, leader.0, leader.0));
    let executed = fork(|| exec(c"/bin/sleep", &[c"sleep", c"100"], &[]).0 as i32);
    // The name changes when the exec is done.
    while !std::fs::read_to_string(format!("/proc/{}/comm", executed.0)).unwrap().contains("sleep") {
        sys!(SYS_sched_yield);
    }
    say!("after its exec {}", sys!(SYS_setpgid, executed.0, 0));
    leader.kill(SIGKILL);
    executed.kill(SIGKILL);
}

fn sessions() {
    child(|| {
        say!("new {}", sys!(SYS_setsid).0 == i64::from(getpid()));
        say!("session {} group {}", sys!(SYS_getsid, 0).0 as i32 == getpid(), sys!(SYS_getpgrp).0 as i32 == getpid());
        let leader = getpid();
        say!("inherited {}", fork(|| i32::from(sys!(SYS_getsid, 0).0 as i32 == leader)).wait());
    });
}

fn setsid_errors() {
    child(|| {
        sys!(SYS_setpgid, 0, 0).must();
        say!("a group leader {}", sys!(SYS_setsid));
    });
}

fn getsid_getpgid_errors() {
    say!("{} {}", sys!(SYS_getsid, i32::MAX), sys!(SYS_getpgid, i32::MAX));
    say!("{} {}", sys!(SYS_getsid, -1), sys!(SYS_getpgid, -1));
}

fn prctl_misc() {
    let mut value = 0i32;
    sys!(SYS_prctl, PR_GET_PDEATHSIG, &mut value, 0, 0, 0).must();
    say!("death signal {value}");
    say!("dumpable {} set {}", sys!(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0), sys!(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0));
    say!("dumpable {}", sys!(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0));
    say!("timer slack {}", sys!(SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0));
    say!("set {} {}", sys!(SYS_prctl, PR_SET_TIMERSLACK, 123_456, 0, 0, 0), sys!(SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0));
    say!("no huge pages {} {}", sys!(SYS_prctl, PR_SET_THP_DISABLE, 1, 0, 0, 0), sys!(SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0));
    say!("seccomp {}", sys!(SYS_prctl, PR_GET_SECCOMP, 0, 0, 0, 0));
}

fn prctl_errors() {
    say!("unknown {}", sys!(SYS_prctl, 9999, 0, 0, 0, 0));
    say!("dumpable 5 {}", sys!(SYS_prctl, PR_SET_DUMPABLE, 5, 0, 0, 0));
    say!("bad pointer {}", sys!(SYS_prctl, PR_GET_PDEATHSIG, 8, 0, 0, 0));
    say!("name pointer {}", sys!(SYS_prctl, PR_GET_NAME, 8, 0, 0, 0));
}

fn dumpable_after_setuid() {
    child(|| {
        sys!(SYS_setresuid, 5, 5, 5).must();
        say!("{}", sys!(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0));
    });
}

fn user_namespace_identity() {
    child(|| {
        sys!(SYS_setresgid, 1000, 1000, 1000).must();
        sys!(SYS_setresuid, 1000, 1000, 1000).must();
        let made = sys!(SYS_unshare, CLONE_NEWUSER);
        say!("{made}");
        if made.get().is_ok() {
            say!("unmapped {}", ids());
            say!("all capabilities inside {}", caps().0 & CHOWN != 0);
        }
    });
}

fn hostname_in_uts_namespace() {
    child(|| {
        say!("{}", sys!(SYS_unshare, CLONE_NEWUTS));
        say!("{}", sys!(SYS_sethostname, c"inside", 6));
        let mut name: utsname = zeroed();
        sys!(SYS_uname, &mut name).must();
        let text: Vec<u8> = name.nodename.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
        say!("{}", text.escape_ascii());
        say!("too long {}, domain {}", sys!(SYS_sethostname, &[b'a'; 65], 65), sys!(SYS_setdomainname, c"dom", 3));
    });
}

fn unshare_needs_privilege() {
    child(|| {
        sys!(SYS_setresuid, 1000, 1000, 1000).must();
        for (what, flag) in [("uts", CLONE_NEWUTS), ("mount", CLONE_NEWNS), ("pid", CLONE_NEWPID), ("ipc", CLONE_NEWIPC)] {
            say!("{what} {}", sys!(SYS_unshare, flag));
        }
        say!("sethostname {}", sys!(SYS_sethostname, c"x", 1));
        say!("mount {}", sys!(SYS_mount, c"none", c".", c"tmpfs", 0, NULL));
    });
}

fn kill_permission_by_ids() {
    let target = pausing(|| sys!(SYS_setresuid, 100, 100, 300));
    for (what, uids) in [("real is its real", [100, 7, 7]), ("real is its saved", [300, 7, 7]), ("effective is its real", [7, 100, 7]), ("saved only", [7, 7, 100])] {
        child(|| {
            sys!(SYS_setresuid, uids[0], uids[1], uids[2]).must();
            say!("{what}: {}", target.kill(0));
        });
    }
    target.kill(SIGKILL);
    target.wait();
}
