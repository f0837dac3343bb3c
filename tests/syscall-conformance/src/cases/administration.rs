//! Calls of a machine's administrator, which a user without privilege is refused; memory policies, protection keys, comparisons of kernel objects.

use crate::prelude::*;

cases![refused_without_privilege, protection_keys, memory_policies, compared_objects, pinned_pages, process_advice, barrier_registrations];

/// Runs `body` as a user without capabilities.
fn unprivileged(body: impl FnOnce()) {
    let child = fork(|| {
        sys!(SYS_setresuid, 5, 5, 5).must();
        body();
        0
    });
    child.wait();
}

fn refused_without_privilege() {
    unprivileged(|| {
        say!("acct {}, swapon {} {}, swapoff {}", sys!(SYS_acct, c"x"), sys!(SYS_swapon, c"x", 0), sys!(SYS_swapon, c"x", 1 << 30), sys!(SYS_swapoff, c"x"));
        say!("vhangup {}", sys!(SYS_vhangup));
        say!("reboot {}", sys!(SYS_reboot, 0, 0, 0, NULL));
        say!("open by handle {}", sys!(SYS_open_by_handle_at, AT_FDCWD, NULL, 0));
    });
    say!("reboot's magic {}", sys!(SYS_reboot, 1, 2, 3, NULL));
}

fn protection_keys() {
    let page = map_anon(PAGE);
    say!("bad flags {}, bad rights {}", sys!(SYS_pkey_alloc, 1, 0), sys!(SYS_pkey_alloc, 0, 4));
    say!("not had {}", sys!(SYS_pkey_free, 99));
    say!("no key {}, not had {}", sys!(SYS_pkey_mprotect, page.addr, PAGE, PROT_READ, -1), sys!(SYS_pkey_mprotect, page.addr, PAGE, PROT_READ, 9));
}

fn memory_policies() {
    let page = map_anon(PAGE * 2);
    page.set(0, 1);
    let (mut mode, mut nodes) = (9i32, [0u64; 16]);
    say!("{} mode {mode}", sys!(SYS_get_mempolicy, &mut mode, NULL, 0, 0, 0));
    say!("allowed {} {}", sys!(SYS_get_mempolicy, NULL, &mut nodes, 1024, 0, 4), nodes[0] & 1);
    say!("bind {} nothing {}", sys!(SYS_set_mempolicy, 2, &[1u64], 64), sys!(SYS_set_mempolicy, 2, NULL, 0));
    let ret = sys!(SYS_get_mempolicy, &mut mode, &mut nodes, 1024, 0, 0);
    say!("{ret} mode {mode} nodes {}", nodes[0]);
    say!("default {} with nodes {}", sys!(SYS_set_mempolicy, 0, NULL, 0), sys!(SYS_set_mempolicy, 0, &[1u64], 64));
    say!("unknown mode {} {}", sys!(SYS_set_mempolicy, 77, &[1u64], 64), sys!(SYS_get_mempolicy, &mut mode, NULL, 0, 0, 64));
    say!("node of a page {} {mode}", sys!(SYS_get_mempolicy, &mut mode, NULL, 0, page.addr, 3));
    say!("of nothing {}", sys!(SYS_get_mempolicy, &mut mode, NULL, 0, 0x1000, 2));
    say!("mbind {} unaligned {} nothing there {}", sys!(SYS_mbind, page.addr, PAGE, 2, &[1u64], 64, 0), sys!(SYS_mbind, page.addr + 1, PAGE, 2, &[1u64], 64, 0), sys!(SYS_mbind, 0x10000, PAGE, 2, &[1u64], 64, 0));
    let mut status = [77i32; 1];
    say!("move_pages {} {}", sys!(SYS_move_pages, 0, 1, &[page.addr], NULL, &mut status, 0), status[0]);
    say!("no such node {}, bad flags {}", sys!(SYS_move_pages, 0, 1, &[page.addr], &[999i32], &mut status, 2), sys!(SYS_move_pages, 0, 1, &[page.addr], NULL, &mut status, 1));
    say!("migrate {}, nobody {}", sys!(SYS_migrate_pages, 0, 64, &[1u64], &[1u64]), sys!(SYS_migrate_pages, 0x3fff_ffff, 64, &[1u64], &[1u64]));
}

fn compared_objects() {
    let child = fork(|| {
        sys!(SYS_pause);
        0
    });
    let kcmp = |kind: i32, one: i32, other: i32| sys!(SYS_kcmp, getpid(), child.0, kind, one, other);
    let differs = |ret: Ret| ret.get().map(|value| value == 1 || value == 2);
    say!("memory {:?}, tables {:?}", differs(kcmp(1, 0, 0)), differs(kcmp(2, 0, 0)));
    say!("undo lists {}", kcmp(6, 0, 0));
    say!("output {}, bad descriptor {}", kcmp(0, 1, 1), kcmp(0, 1, 999));
    say!("unknown {}, nobody {}", kcmp(99, 0, 0), sys!(SYS_kcmp, getpid(), 0x3fff_ffff, 1, 0, 0));
    say!("oneself {}", sys!(SYS_kcmp, getpid(), getpid(), 1, 0, 0));
    child.kill(SIGKILL);
    child.wait();
}

fn pinned_pages() {
    let pages = map_anon(PAGE * 3);
    let resident = |map: Map| {
        let mut vector = [9u8; 3];
        sys!(SYS_mincore, map.addr, map.len, &mut vector).must();
        vector.map(|page| page & 1)
    };
    say!("{:?}", resident(pages));
    say!("{} {:?}", sys!(SYS_mlock, pages.addr + PAGE, PAGE), resident(pages));
    say!("{}", sys!(SYS_munlock, pages.addr, pages.len));
    let locked = map(PAGE * 3, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
    say!("{:?}", resident(locked));
    say!("free {} {}", sys!(SYS_munlock, locked.addr, locked.len), sys!(SYS_madvise, locked.addr, PAGE, MADV_DONTNEED));
    say!("{:?}", resident(locked));
}

fn process_advice() {
    let pages = map_anon(PAGE * 2);
    pages.set(0, 1);
    let own = sys!(SYS_pidfd_open, getpid(), 0).fd();
    let advise = |advice: i32, addr: usize| {
        let range = iovec { iov_base: addr as *mut c_void, iov_len: PAGE };
        sys!(SYS_process_madvise, own, &range, 1, advice, 0)
    };
    say!("cold {}, nothing there {}", advise(MADV_COLD, pages.addr), advise(MADV_COLD, 0x10000));
    say!("release a living process {}, flags {}", sys!(SYS_process_mrelease, own, 0), sys!(SYS_process_mrelease, own, 1));
}

fn barrier_registrations() {
    let register = |command: i32| sys!(SYS_membarrier, command, 0, 0);
    say!("core {} then {}", register(1 << 6), register(1 << 5));
    say!("global expedited {} {}", register(1 << 2), register(1 << 1));
    say!("two at once {}, bad {}", register(3), register(1 << 12));
    say!("a child inherits {}", fork(|| i32::from(register(1 << 5).get().is_ok())).wait());
}
