//! Threads of one process: what they share, what is their own, how they end.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::prelude::*;

cases![
    hundred_threads, ids_differ_and_share_pid, thread_mask_is_own, main_thread_exits_first, last_thread_code_counts, thread_names,
    kill_reaches_process, fork_from_thread_has_one, credentials_per_thread, unshared_files_and_fs, tls_is_own, setns_and_unshare_errors,
    process_waits_for_all_threads, thread_fault_kills_all, sched_affinity, sched_policy_and_priority, task_directory_counts,
];

fn hundred_threads() {
    static SUM: AtomicUsize = AtomicUsize::new(0);
    let threads: Vec<_> = (0..100).map(|i| std::thread::spawn(move || SUM.fetch_add(i, SeqCst))).collect();
    threads.into_iter().for_each(|t| unused(t.join()));
    say!("{}", SUM.load(SeqCst));
}

fn ids_differ_and_share_pid() {
    let (pid, tid) = (getpid(), gettid());
    let other = std::thread::spawn(|| (getpid(), gettid(), sys!(SYS_getppid).0)).join().unwrap();
    say!("same pid {}, own tid {}, same parent {}", other.0 == pid, other.1 != tid, other.2 == sys!(SYS_getppid).0);
}

fn thread_mask_is_own() {
    block(&[SIGUSR1]);
    let inside = std::thread::spawn(|| {
        let inherited = mask();
        block(&[SIGUSR2]);
        inherited
    });
    say!("inherited {}", inside.join().unwrap());
    say!("mine {}", mask());
}

fn main_thread_exits_first() {
    let (r, w) = pipe();
    let child = fork(|| {
        std::thread::spawn(move || {
            read(r, 1);
            sys!(SYS_exit_group, 5);
        });
        sys!(SYS_exit, 3);
        0
    });
    say!("still running: {}", child.wait_options(WNOHANG));
    write(w, b"x");
    say!("{}", child.wait());
}

fn last_thread_code_counts() {
    // When nobody called exit_group, the code of the last thread to go is the process's.
    let (r, w) = pipe();
    let child = fork(|| {
        crate::host::clone_with_stack(CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_FILES, || {
            read(r, 1);
            7
        })
        .must();
        sys!(SYS_exit, 3);
        0
    });
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.0)).unwrap().split(' ').nth(2).unwrap().to_owned();
    while state() != "Z" {
        sys!(SYS_sched_yield);
    }
    say!("the main thread is gone, the process is not: {}", child.wait_options(WNOHANG));
    write(w, b"x");
    say!("{}", child.wait());
}

fn thread_names() {
    sys!(SYS_prctl, PR_SET_NAME, c"main-name", 0, 0, 0).must();
    let name = || {
        let mut name = [0u8; 16];
        sys!(SYS_prctl, PR_GET_NAME, &mut name, 0, 0, 0).must();
        name.escape_ascii().to_string().replace("\\x00", "")
    };
    let inside = std::thread::spawn(move || {
        sys!(SYS_prctl, PR_SET_NAME, c"a name longer than fifteen", 0, 0, 0).must();
        let comm = std::fs::read_to_string(format!("/proc/self/task/{}/comm", gettid())).unwrap();
        (name(), comm)
    });
    say!("{:?} {:?}", inside.join().unwrap(), name());
    say!("bad pointer: {}", sys!(SYS_prctl, PR_SET_NAME, 8, 0, 0, 0));
}

fn kill_reaches_process() {
    let child = fork(|| {
        block(&[SIGTERM]);
        std::thread::spawn(|| {
            unblock(&[SIGTERM]);
            sys!(SYS_pause)
        });
        loop {
            sys!(SYS_pause);
        }
    });
    child.kill(SIGTERM);
    say!("{}", child.wait());
}

fn fork_from_thread_has_one() {
    let count = || std::fs::read_dir("/proc/self/task").unwrap().count() as i32;
    let (r, w) = pipe();
    std::thread::spawn(move || read(r, 1).0.is_ok());
    let status = std::thread::spawn(move || fork(count).wait().to_string()).join().unwrap();
    write(w, b"x");
    say!("tasks in the child: {status}");
}

fn credentials_per_thread() {
    std::thread::spawn(|| say!("raw call in a thread: {}", sys!(SYS_setresuid, 1000, 1000, 1000))).join().unwrap();
    say!("main thread keeps its own: {}", sys!(SYS_getuid).0 != 1000);
}

fn unshared_files_and_fs() {
    let fd = open(c"/dev/null", O_RDONLY).fd();
    std::thread::spawn(move || {
        say!("unshare: {}", sys!(SYS_unshare, CLONE_FILES | CLONE_FS));
        close(fd);
        sys!(SYS_umask, 0o77);
    })
    .join()
    .unwrap();
    say!("still open: {}", close(fd));
    say!("umask untouched: {}", sys!(SYS_umask, 0o22).0 != 0o77);
}

fn tls_is_own() {
    thread_local! { static OWN: std::cell::Cell<u32> = const { std::cell::Cell::new(1) } }
    OWN.set(2);
    say!("fresh in a thread: {}", std::thread::spawn(|| OWN.get()).join().unwrap());
    say!("mine: {}", OWN.get());
    let mut base = 0u64;
    say!("FS base readable: {}", sys!(SYS_arch_prctl, 0x1003, &mut base));
    say!("not null: {}", base != 0);
    say!("bad code: {}", sys!(SYS_arch_prctl, 0x1, &mut base));
    say!("base beyond user space: {}", sys!(SYS_arch_prctl, 0x1001, 0xffff_8000_0000_0000_u64));
    // Set again and again, beside a thread that does too: each keeps its own.
    let set_often = || {
        let mut own = 0u64;
        sys!(SYS_arch_prctl, 0x1003, &mut own).must();
        let results: Vec<_> = (0..50).map(|_| sys!(SYS_arch_prctl, 0x1002, own).0).collect();
        let beyond = sys!(SYS_arch_prctl, 0x1002, 0x7fff_ffff_f000_u64);
        let wide = sys!(SYS_arch_prctl, 0x1002_u64 | 1 << 32, own);
        let mut after = 0u64;
        sys!(SYS_arch_prctl, 0x1003, &mut after).must();
        (results.iter().all(|result| *result == 0), beyond, wide, own == after)
    };
    let other = std::thread::spawn(set_often);
    let (set, beyond, wide, kept) = set_often();
    say!("FS base: set {set}, at the end of user space {beyond}, by a wide register {wide}, kept {kept}");
    let (set, beyond, wide, kept) = other.join().unwrap();
    say!("in a thread: set {set}, at the end of user space {beyond}, by a wide register {wide}, kept {kept}");
    handle(SIGUSR1, 0);
    kill_self(SIGUSR1);
    let mut after = 0u64;
    sys!(SYS_arch_prctl, 0x1003, &mut after).must();
    say!("kept over a handler: {}", after == base);
}

fn setns_and_unshare_errors() {
    say!("bad flags: {}", sys!(SYS_unshare, 1));
    say!("setns of a file: {}", sys!(SYS_setns, 1, 0));
    say!("setns of nothing: {}", sys!(SYS_setns, 99, 0));
    let (r, w) = pipe();
    let other = std::thread::spawn(move || read(r, 1).0.is_ok());
    say!("new user namespace with threads: {}", sys!(SYS_unshare, CLONE_NEWUSER));
    write(w, b"x");
    other.join().unwrap();
}

fn process_waits_for_all_threads() {
    let (r, w) = pipe();
    let (hold_r, hold_w) = pipe();
    let child = fork(|| {
        close(hold_w);
        for _ in 0..3 {
            std::thread::spawn(move || {
                write(w, b".");
                read(hold_r, 1);
            });
        }
        (0..3).for_each(|_| unused(read(r, 1)));
        sys!(SYS_exit, 0);
        0
    });
    say!("while threads live: {}", child.wait_options(WNOHANG));
    close(hold_w);
    say!("{}", child.wait());
}

fn thread_fault_kills_all() {
    set_soft_limit(RLIMIT_CORE, 0).must();
    let child = fork(|| {
        reset(SIGSEGV);
        std::thread::spawn(|| crate::host::poke(0, 1));
        loop {
            sys!(SYS_pause);
        }
    });
    say!("{}", child.wait());
}

fn sched_affinity() {
    let mut set = [0u64; 16];
    let size = sys!(SYS_sched_getaffinity, 0, 128, &mut set);
    say!("mask size is a multiple of 8: {}, some CPU: {}", size.must() % 8 == 0, set.iter().any(|&w| w != 0));
    let first = 1u64 << set[0].trailing_zeros();
    say!("pin: {}", sys!(SYS_sched_setaffinity, 0, 8, &first));
    sys!(SYS_sched_getaffinity, 0, 128, &mut set).must();
    say!("one CPU now: {}", set.iter().map(|w| w.count_ones()).sum::<u32>());
    let mut cpu = u32::MAX;
    say!("getcpu: {}, agrees {}", sys!(SYS_getcpu, &mut cpu, NULL, NULL), 1u64 << cpu == first);
    say!("empty: {}", sys!(SYS_sched_setaffinity, 0, 8, &0u64));
    say!("odd size: {}", sys!(SYS_sched_getaffinity, 0, 7, &mut set));
    for tid in [i32::MAX, -1] {
        say!("of nobody: {} {}", sys!(SYS_sched_getaffinity, tid, 128, &mut set), sys!(SYS_sched_setaffinity, tid, 128, &set));
    }
}

fn sched_policy_and_priority() {
    let mut param = 9i32;
    say!("policy {}", sys!(SYS_sched_getscheduler, 0));
    say!("param {} = {param}", sys!(SYS_sched_getparam, 0, &mut param));
    say!("batch: {}", sys!(SYS_sched_setscheduler, 0, SCHED_BATCH, &0i32));
    say!("policy {}", sys!(SYS_sched_getscheduler, 0));
    say!("bad policy: {}", sys!(SYS_sched_setscheduler, 0, 77, &0i32));
    say!("priority out of range: {}", sys!(SYS_sched_setscheduler, 0, SCHED_OTHER, &5i32));
    say!("max fifo {}, min rr {}", sys!(SYS_sched_get_priority_max, SCHED_FIFO), sys!(SYS_sched_get_priority_min, SCHED_RR));
    say!("nice at first {}", 20 - sys!(SYS_getpriority, PRIO_PROCESS, 0).0);
    say!("nicer: {}", sys!(SYS_setpriority, PRIO_PROCESS, 0, 5));
    say!("nice now {}", 20 - sys!(SYS_getpriority, PRIO_PROCESS, 0).0);
    say!("bad which: {}", sys!(SYS_getpriority, 9, 0));
    say!("nobody: {}", sys!(SYS_getpriority, PRIO_PROCESS, i32::MAX));
    say!("yield {}", sys!(SYS_sched_yield));
}

fn task_directory_counts() {
    let count = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let (r, w) = pipe();
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(move || read(r, 1).0.is_ok())).collect();
    say!("with four more: {}", count());
    write(w, b"xxxx");
    threads.into_iter().for_each(|t| unused(t.join()));
    // Joining returns when the thread's word is cleared, a moment before its entry is gone.
    while count() != 1 {
        sys!(SYS_sched_yield);
    }
    say!("alone again");
}
