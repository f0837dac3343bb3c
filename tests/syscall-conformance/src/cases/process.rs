//! fork, vfork, clone and clone3: what parent and child share, and what they do not.

use std::ffi::CString;

use crate::memory::PAGE;
use crate::prelude::*;

cases![
    fork_memory_is_copied, fork_shares_file_offset, fork_child_pids, fork_clears_pending_signals, fork_keeps_mask_and_handlers, fork_chain,
    fork_many, vfork_parent_waits_and_shares_memory, clone_vm_shares_memory, clone_files_shares_descriptors, clone_fs_shares_directory,
    clone_without_fs_keeps_directory, clone_exit_signal_is_sent, clone_parent_makes_a_sibling, clone_settid_and_cleartid, clone_bad_flags,
    clone3_basics, clone3_bad_arguments, clone_pidfd, pidfd_is_a_proc_directory, exit_code_is_truncated, exit_group_ends_all_threads, pid_namespace_starts_small,
    getppid_after_reparenting, fork_fails_at_process_limit,
];

fn fork_memory_is_copied() {
    let m = map_anon(PAGE);
    m.set(0, 1);
    let status = fork(|| {
        m.set(0, 2);
        i32::from(m.get(0))
    })
    .wait();
    say!("child {status}, parent still sees {}", m.get(0));
}

fn fork_shares_file_offset() {
    write_file(c"f", b"abcdef");
    let fd = open(c"f", O_RDONLY).fd();
    say!("child {}", fork(|| (read(fd, 2).0.unwrap()[0] - b'a').into()).wait());
    say!("parent continues with {}", read(fd, 2));
}

fn fork_child_pids() {
    let parent = getpid();
    let child = fork(|| {
        let own = getpid() != parent && getpid() == gettid();
        let up = sys!(SYS_getppid).0 as i32 == parent;
        i32::from(own) + 2 * i32::from(up)
    });
    say!("own pid and parent's pid: {}", child.wait());
}

fn fork_clears_pending_signals() {
    block(&[SIGUSR1]);
    kill_self(SIGUSR1);
    say!("parent pending {}", pending());
    fork(|| {
        say!("child pending {}", pending());
        0
    })
    .wait();
}

fn fork_keeps_mask_and_handlers() {
    handle(SIGUSR1, 0);
    block(&[SIGUSR2]);
    fork(|| {
        kill_self(SIGUSR1);
        say!("child mask {}, caught {}", mask(), caught());
        0
    })
    .wait();
    say!("parent caught {}", caught());
}

fn fork_chain() {
    fn descend(depth: i32) -> i32 {
        if depth == 0 {
            return 7;
        }
        match fork(|| descend(depth - 1)).wait() {
            Status::Is(status) => WEXITSTATUS(status) + 1,
            _ => 99,
        }
    }
    say!("ten deep: {}", descend(10));
}

fn fork_many() {
    let children: Vec<Child> = (0..50).map(|i| fork(move || i)).collect();
    let sum: i32 = children.into_iter().map(|c| if let Status::Is(s) = c.wait() { WEXITSTATUS(s) } else { -1000 }).sum();
    say!("sum of 50 exit codes {sum}");
}

fn vfork_parent_waits_and_shares_memory() {
    let m = map_anon(PAGE);
    let pid = clone_with_stack(CLONE_VM | CLONE_VFORK | SIGCHLD, || {
        sleep_ms(20);
        m.set(0, 42);
        3
    });
    say!("seen after vfork: {}", m.get(0));
    say!("child {}", Child(pid.must() as i32).wait());
}

fn clone_vm_shares_memory() {
    let m = map_anon(PAGE);
    let pid = clone_with_stack(CLONE_VM | SIGCHLD, || {
        m.set(0, 9);
        i32::from(getpid() == gettid())
    });
    say!("child {}", Child(pid.must() as i32).wait());
    say!("memory {}", m.get(0));
}

fn clone_files_shares_descriptors() {
    let (r, w) = pipe();
    let pid = clone_with_stack(CLONE_FILES | SIGCHLD, || close(r).0 as i32);
    say!("child {}", Child(pid.must() as i32).wait());
    say!("parent closes it again: {}", close(r));
    say!("write end: {}", close(w));
}

fn clone_fs_shares_directory() {
    sys!(SYS_mkdir, c"sub", 0o755).must();
    let pid = clone_with_stack(CLONE_FS | SIGCHLD, || {
        sys!(SYS_umask, 0o77);
        sys!(SYS_chdir, c"sub").0 as i32
    });
    say!("child {}", Child(pid.must() as i32).wait());
    touch(c"here");
    say!("parent is in sub: {}", sys!(SYS_access, c"../sub/here", F_OK));
    say!("umask {:o}", sys!(SYS_umask, 0o22).0);
}

fn clone_without_fs_keeps_directory() {
    sys!(SYS_mkdir, c"sub", 0o755).must();
    fork(|| sys!(SYS_chdir, c"sub").0 as i32).wait();
    say!("parent still above: {}", sys!(SYS_access, c"sub", F_OK));
}

fn clone_exit_signal_is_sent() {
    handle(SIGUSR1, 0);
    handle(SIGCHLD, 0);
    let pid = Child(clone_with_stack(SIGUSR1, || 4).must() as i32);
    say!("plain wait: {}", pid.wait());
    say!("with __WALL: {}", pid.wait_options(__WALL));
    say!("caught {}", caught());
}

fn clone_parent_makes_a_sibling() {
    let (r, w) = pipe();
    let first = fork(|| {
        let sibling = clone_with_stack(CLONE_PARENT | SIGCHLD, || 5).0 as i32;
        write(w, &sibling.to_ne_bytes());
        0
    });
    say!("first {}", first.wait());
    let bytes = read(r, 4).0.unwrap();
    say!("sibling is mine: {}", Child(i32::from_ne_bytes(bytes.try_into().unwrap())).wait());
}

fn clone_settid_and_cleartid() {
    let m = map_shared(PAGE);
    let ids = m.addr;
    m.put(4, &[0xff; 4]);
    let flags = (CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD) as i64;
    let pid = sys!(SYS_clone, flags, 0, ids, ids + 4, 0);
    if pid.0 == 0 {
        exit_now(i32::from(m.word(4).load(std::sync::atomic::Ordering::SeqCst) as i32 == gettid()));
    }
    let told = m.word(0).load(std::sync::atomic::Ordering::SeqCst);
    say!("parent told the right pid: {}", i64::from(told) == pid.0);
    say!("child saw its tid: {}", Child(pid.0 as i32).wait());
    // The mapping is shared, but the address space is not: without CLONE_VM nothing clears the word for others.
    say!("cleared at exit: {}", m.word(4).load(std::sync::atomic::Ordering::SeqCst) == 0);
}

fn clone_bad_flags() {
    for (what, flags) in [
        ("THREAD without SIGHAND", CLONE_THREAD | CLONE_VM),
        ("SIGHAND without VM", CLONE_SIGHAND),
        ("FS with NEWNS", CLONE_FS | CLONE_NEWNS),
        ("THREAD with NEWUSER", CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_NEWUSER),
        ("NEWPID with THREAD", CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_NEWPID),
    ] {
        say!("{what}: {}", sys!(SYS_clone, flags as i64, 0, 0, 0, 0));
    }
}

/// `struct clone_args` up to `cgroup`.
fn clone_args(flags: u64, exit_signal: i32) -> [u64; 11] {
    let mut args = [0; 11];
    args[0] = flags;
    args[4] = exit_signal as u64;
    args
}

fn clone3_basics() {
    let pid = sys!(SYS_clone3, &clone_args(0, SIGCHLD), 88);
    if pid.0 == 0 {
        exit_now(6);
    }
    say!("child {}", Child(pid.must() as i32).wait());
    let mut fd = -1i32;
    let mut args = clone_args(CLONE_PIDFD as u64, SIGCHLD);
    args[1] = std::ptr::from_mut(&mut fd) as u64;
    let pid = sys!(SYS_clone3, &args, 88);
    if pid.0 == 0 {
        exit_now(7);
    }
    say!("pidfd given: {}", fd >= 0);
    let mut info: siginfo_t = zeroed();
    say!("waitid on it: {}", sys!(SYS_waitid, P_PIDFD, fd, &mut info, WEXITED, 0));
    say!("status {}", crate::host::siginfo_parts(&info).status);
}

fn clone3_bad_arguments() {
    let good = clone_args(0, SIGCHLD);
    say!("size too small: {}", sys!(SYS_clone3, &good, 8));
    say!("size too large: {}", sys!(SYS_clone3, &good, 1 << 20));
    say!("bad pointer: {}", sys!(SYS_clone3, 8, 88));
    say!("bad exit signal: {}", sys!(SYS_clone3, &clone_args(0, 100), 88));
    say!("unknown flag: {}", sys!(SYS_clone3, &clone_args(1 << 60, SIGCHLD), 88));
    let mut stack = good;
    stack[6] = 4096;
    say!("stack size without stack: {}", sys!(SYS_clone3, &stack, 88));
}

fn clone_pidfd() {
    let child = fork(|| {
        sys!(SYS_pause);
        0
    });
    let fd = sys!(SYS_pidfd_open, child.0, 0).fd();
    let mut poll = pollfd { fd, events: POLLIN, revents: 0 };
    say!("alive, readable: {}", sys!(SYS_poll, &mut poll, 1, 0));
    say!("signal 0: {}", sys!(SYS_pidfd_send_signal, fd, 0, 0, 0));
    say!("SIGTERM: {}", sys!(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0));
    say!("readable when dead: {}", sys!(SYS_poll, &mut poll, 1, -1));
    say!("child {}", child.wait());
    say!("signal after reaping: {}", sys!(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0));
    say!("pidfd_open of nobody: {}", sys!(SYS_pidfd_open, child.0, 0));
    say!("pidfd_open bad flags: {}", sys!(SYS_pidfd_open, getpid(), 1));
    say!("pidfd_open of -1: {}", sys!(SYS_pidfd_open, -1, 0));
}

fn pidfd_is_a_proc_directory() {
    let child = fork(|| {
        sys!(SYS_pause);
        0
    });
    let path = CString::new(format!("/proc/{}", child.0)).unwrap();
    let fd = sys!(SYS_open, path.as_ptr(), O_RDONLY | O_DIRECTORY, 0).fd();
    let thread = CString::new(format!("/proc/{0}/task/{0}", child.0)).unwrap();
    let thread = sys!(SYS_open, thread.as_ptr(), O_RDONLY | O_DIRECTORY, 0).fd();
    let by_path = sys!(SYS_open, path.as_ptr(), O_PATH, 0).fd();
    let root = sys!(SYS_open, c"/proc".as_ptr(), O_RDONLY, 0).fd();
    for (name, fd) in [("thread", thread), ("O_PATH", by_path), ("all of proc", root), ("nothing", 999)] {
        say!("{name}: {}", sys!(SYS_pidfd_send_signal, fd, 0, 0, 0));
    }
    say!("bad signal: {}", sys!(SYS_pidfd_send_signal, fd, 65, 0, 0));
    say!("SIGTERM: {}", sys!(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0));
    say!("child {}", child.wait());
    say!("after reaping: {}", sys!(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0));
}

fn exit_code_is_truncated() {
    for code in [0, 255, 256, 259, -1] {
        say!("exit({code}): {}", fork(|| code).wait());
    }
}

fn exit_group_ends_all_threads() {
    let child = fork(|| {
        for _ in 0..4 {
            std::thread::spawn(|| sys!(SYS_pause));
        }
        sys!(SYS_exit_group, 12);
        0
    });
    say!("from the main thread: {}", child.wait());
    let child = fork(|| {
        std::thread::spawn(|| sys!(SYS_exit_group, 13));
        sys!(SYS_pause);
        0
    });
    say!("from another thread: {}", child.wait());
}

fn pid_namespace_starts_small() {
    let pid = Child(clone_with_stack(CLONE_NEWPID | SIGCHLD, || {
        let grandchild = fork(getpid);
        let first = getpid();
        say!("first is {first}, its parent {}, its child {}", sys!(SYS_getppid), grandchild.wait());
        0
    })
    .must() as i32);
    say!("{}", pid.wait());
}

fn getppid_after_reparenting() {
    sys!(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0).must();
    let (r, w) = pipe();
    let me = getpid();
    fork(|| {
        let middle = getpid();
        fork(|| {
            while sys!(SYS_getppid).0 as i32 == middle {
                sys!(SYS_sched_yield);
            }
            write(w, if sys!(SYS_getppid).0 as i32 == me { b"adopted by the subreaper" } else { b"adopted by another" });
            8
        });
        0
    })
    .wait();
    say!("{}", read(r, 64));
    say!("orphan reaped here: {}", wait_any().1);
}

fn fork_fails_at_process_limit() {
    say!("{}", fork(|| {
        // Limits do not bind root: become somebody who runs nothing else.
        sys!(SYS_setresuid, 54321, 54321, 54321).must();
        set_soft_limit(RLIMIT_NPROC, 1).must();
        say!("clone: {}", sys!(SYS_clone, SIGCHLD, 0, 0, 0, 0).ok());
        0
    })
    .wait());
}
