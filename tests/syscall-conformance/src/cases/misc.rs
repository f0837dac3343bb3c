//! Calls that fit nowhere else: randomness, identity of the system, rseq, membarrier, personality, mounts, unknown numbers.

use crate::host::{Arg, vsyscall};
use crate::prelude::*;

cases![
    unknown_calls, getrandom_forms, uname_and_sysinfo, membarrier_commands, rseq_registration, rseq_per_cpu_counters, rseq_of_fork_and_exec, personality_values, mount_tmpfs,
    mount_errors, bind_mount, mount_propagation_is_private, pivot_root_moves, removed_calls, memory_pressure_calls, kcmp_and_pidfd_getfd,
    ioctl_on_nothing, reboot_and_swapon_refused, set_tid_address_returns_tid, restart_syscall_alone, sendfile_to_null, vdso_agrees, vsyscall_page,
    landlock_and_keys, io_uring_or_refused, mqueue_basics, syslog_refused, quota_and_swap_refused,
];

fn unknown_calls() {
    say!("{} {} {}", sys!(999), sys!(100_000), sys!(-1));
    say!("x32 {}", sys!(0x4000_0000 + SYS_getpid));
}

fn getrandom_forms() {
    let (mut a, mut b) = ([0u8; 32], [0u8; 32]);
    say!("{} {} differ {}", sys!(SYS_getrandom, &mut a, 32, 0), sys!(SYS_getrandom, &mut b, 32, GRND_NONBLOCK), a != b);
    say!("zero {}, bad flags {}, bad pointer {}", sys!(SYS_getrandom, NULL, 0, 0), sys!(SYS_getrandom, &mut a, 1, 64), sys!(SYS_getrandom, 8, 1, 0));
    say!("both pools {}", sys!(SYS_getrandom, &mut a, 1, GRND_RANDOM | 4));
    say!("large {}", sys!(SYS_getrandom, &mut vec![0u8; 100_000][..], 100_000, 0));
}

fn uname_and_sysinfo() {
    let mut name: utsname = zeroed();
    say!("{} bad pointer {}", sys!(SYS_uname, &mut name), sys!(SYS_uname, 8));
    let mut info: sysinfo = zeroed();
    say!("{}", sys!(SYS_sysinfo, &mut info));
    say!("up {}, memory {}, free within {}, processes {}", info.uptime > 0, info.totalram > 0, info.freeram <= info.totalram, info.procs > 0);
    let total = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = total.split_whitespace().nth(1).unwrap().parse().unwrap();
    say!("agrees with meminfo {}", info.totalram * u64::from(info.mem_unit) / 1024 == total);
    say!("bad pointer {}", sys!(SYS_sysinfo, 8));
}

fn membarrier_commands() {
    let query = sys!(SYS_membarrier, 0, 0, 0).must();
    say!("global {}, private {}", query & 1, query & 8 != 0 && query & 16 != 0);
    say!("private before registering {}", sys!(SYS_membarrier, 8, 0, 0));
    say!("register {} then {}", sys!(SYS_membarrier, 16, 0, 0), sys!(SYS_membarrier, 8, 0, 0));
    say!("unknown {}, bad flags {}", sys!(SYS_membarrier, 1 << 20, 0, 0), sys!(SYS_membarrier, 0, 77, 0));
}

fn rseq_registration() {
    // The C library may have registered its own area; a thread made without it has none.
    let area = map_anon(PAGE);
    let outcome = map_shared(PAGE);
    let flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | SIGCHLD;
    let child = crate::host::clone_with_stack(flags, || {
        let rseq = |len: u32, flag: i32, signature: u32| sys!(SYS_rseq, area.addr, len, flag, signature);
        let results = [rseq(31, 0, 1), rseq(32, 0, 1), rseq(32, 0, 1), rseq(32, 1, 2), rseq(32, 1, 1), rseq(32, 1, 1)];
        results.iter().enumerate().for_each(|(i, ret)| outcome.set(i, ret.0.unsigned_abs() as u8));
        0
    });
    Child(child.must() as i32).wait();
    for (i, what) in ["short", "register", "again", "wrong signature", "unregister", "again"].iter().enumerate() {
        say!("{what} {}", Ret(-i64::from(outcome.get(i))));
    }
    say!("misaligned {}", sys!(SYS_rseq, area.addr + 4, 32, 0, 1));
}

fn rseq_per_cpu_counters() {
    say!("the C library has an area: {}", crate::host::rseq_size() > 0);
    let counters = map_anon(64 * PAGE);
    let aborts = map_anon(PAGE);
    let added = std::sync::atomic::AtomicU64::new(0);
    let end = now_ns() + 20_000_000_000;
    // Signals at a handler: a sequence that one falls into is begun anew.
    alarmed(SA_RESTART, || {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0.. {
                        let enough = round >= 2000 && aborts.word(0).load(std::sync::atomic::Ordering::SeqCst) >= 4;
                        if enough || now_ns() > end {
                            break;
                        }
                        crate::host::per_cpu_add(counters.addr, aborts.addr, 2000);
                        added.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
    });
    let sum: u64 = (0..counters.len / 64)
        .map(|cpu| u64::from(counters.word(cpu * 64).load(std::sync::atomic::Ordering::SeqCst)))
        .sum();
    say!("none lost: {}", sum == added.into_inner());
    say!("aborted: {}", aborts.get(0) != 0 || aborts.get(1) != 0);
}

fn rseq_of_fork_and_exec() {
    let counters = map_shared(64 * PAGE);
    let aborts = map_shared(PAGE);
    let child = fork(|| {
        // Inherited.
        (0..100).for_each(|_| crate::host::per_cpu_add(counters.addr, aborts.addr, 1));
        0
    });
    say!("{}", child.wait());
    let sum: u32 = (0..counters.len / 64).map(|cpu| counters.word(cpu * 64).load(std::sync::atomic::Ordering::SeqCst)).sum();
    say!("{sum}");
    say!("a second area is refused: {}", sys!(SYS_rseq, map_anon(PAGE).addr, 32, 0, 0x5305_3053));
    say!("beyond the addresses: {}", sys!(SYS_rseq, usize::MAX & !31, 32, 0, 0x5305_3053));
    say!("unknown flag: {}", sys!(SYS_rseq, map_anon(PAGE).addr, 32, 2, 0x5305_3053));
}

fn personality_values() {
    say!("{}", sys!(SYS_personality, 0xffff_ffff_u32));
    say!("{} then {:#x}", sys!(SYS_personality, ADDR_NO_RANDOMIZE), sys!(SYS_personality, 0xffff_ffff_u32).0);
    let mut name: utsname = zeroed();
    sys!(SYS_personality, 0x002_0000).must();
    sys!(SYS_uname, &mut name).must();
    let release: Vec<u8> = name.release.iter().map(|&c| c as u8).collect();
    say!("UNAME26 {}", release.starts_with(b"2.6."));
    sys!(SYS_personality, 8).must();
    sys!(SYS_uname, &mut name).must();
    let machine: Vec<u8> = name.machine.iter().map(|&c| c as u8).take_while(|c| *c != 0).collect();
    say!("PER_LINUX32 {}", String::from_utf8_lossy(&machine));
}

/// Runs `body` in a child with a mount namespace of its own, nothing of which is seen outside.
fn with_mounts(body: impl FnOnce()) {
    let child = fork(|| {
        sys!(SYS_unshare, CLONE_NEWNS).must();
        sys!(SYS_mount, c"none", c"/", NULL, MS_REC | MS_PRIVATE, NULL).must();
        body();
        0
    });
    say!("{}", child.wait());
}

fn mount_tmpfs() {
    sys!(SYS_mkdir, c"m", 0o755).must();
    with_mounts(|| {
        say!("{}", sys!(SYS_mount, c"none", c"m", c"tmpfs", MS_NOSUID, c"size=1m,mode=750"));
        let mut s: stat = zeroed();
        sys!(SYS_stat, c"m", &mut s).must();
        say!("mode {:o}", s.st_mode);
        let fd = open(c"m/f", O_CREAT | O_RDWR).fd();
        let mut written = 0;
        let full = loop {
            match write(fd, &[0; 65536]).get() {
                Ok(n) => written += n,
                Err(errno) => break errno,
            }
        };
        say!("{written} then {full:?}");
        say!("busy {}", sys!(SYS_umount2, c"m", 0));
        say!("lazy {}, below is empty {}", sys!(SYS_umount2, c"m", MNT_DETACH), open(c"m/f", O_RDONLY));
        say!("the open file lives on {}", pread(fd, 2, 0));
    });
}

fn mount_errors() {
    sys!(SYS_mkdir, c"m", 0o755).must();
    touch(c"f");
    with_mounts(|| {
        let mount = |target, kind, flags: u64| sys!(SYS_mount, c"none", target, kind, flags, NULL);
        say!("unknown type {}, missing {}", mount(c"m", c"no-such-fs", 0), mount(c"none", c"tmpfs", 0));
        say!("on a file {}, remount what is none {}", mount(c"f", c"tmpfs", 0), mount(c"m", c"tmpfs", MS_REMOUNT));
        say!("umount what is none {}, missing {}", sys!(SYS_umount2, c"m", 0), sys!(SYS_umount2, c"none", 0));
        say!("bad flags {}", sys!(SYS_umount2, c"m", 1 << 20));
    });
}

fn bind_mount() {
    sys!(SYS_mkdir, c"a", 0o755).must();
    sys!(SYS_mkdir, c"b", 0o755).must();
    write_file(c"a/f", b"seen twice");
    touch(c"target");
    with_mounts(|| {
        say!("{}", sys!(SYS_mount, c"a", c"b", NULL, MS_BIND, NULL));
        say!("{}", read(open(c"b/f", O_RDONLY).fd(), 20));
        say!("read-only {}", sys!(SYS_mount, NULL, c"b", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL));
        say!("write {}, through the other path {}", open(c"b/f", O_WRONLY), open(c"a/f", O_WRONLY).ok());
        say!("file onto file {}", sys!(SYS_mount, c"a/f", c"target", NULL, MS_BIND, NULL));
        say!("{}", read(open(c"target", O_RDONLY).fd(), 20));
        say!("rename across {}, link across {}", sys!(SYS_rename, c"a/f", c"b/g"), sys!(SYS_link, c"a/f", c"b/g"));
        say!("remove the mount point {}", sys!(SYS_unlink, c"target"));
    });
    say!("outside nothing is mounted {}", open(c"b/f", O_RDONLY));
}

fn mount_propagation_is_private() {
    sys!(SYS_mkdir, c"m", 0o755).must();
    with_mounts(|| {
        sys!(SYS_mount, c"none", c"m", c"tmpfs", 0, NULL).must();
        touch(c"m/inside");
        fork(|| {
            sys!(SYS_unshare, CLONE_NEWNS).must();
            sys!(SYS_umount2, c"m", 0).must();
            say!("gone here {}", open(c"m/inside", O_RDONLY));
            0
        })
        .wait();
        say!("still there {}", open(c"m/inside", O_RDONLY).ok());
    });
}

fn pivot_root_moves() {
    sys!(SYS_mkdir, c"new", 0o755).must();
    with_mounts(|| {
        say!("not a mount point {}", sys!(SYS_pivot_root, c"new", c"new"));
        sys!(SYS_mount, c"none", c"new", c"tmpfs", 0, NULL).must();
        sys!(SYS_mkdir, c"new/old", 0o755).must();
        touch(c"new/in-the-new-root");
        say!("{} {}", sys!(SYS_pivot_root, c"new", c"new/old"), sys!(SYS_chdir, c"/"));
        say!("{} {}", sys!(SYS_access, c"/in-the-new-root", F_OK), sys!(SYS_access, c"/old/etc", F_OK));
        say!("{} {}", sys!(SYS_umount2, c"/old", MNT_DETACH), sys!(SYS_access, c"/old/etc", F_OK));
    });
}

fn removed_calls() {
    say!("uselib {}, create_module {}, nfsservctl {}", sys!(SYS_uselib, NULL), sys!(174), sys!(SYS_nfsservctl));
    say!("epoll_ctl_old {}, tuxcall {}, security {}", sys!(214), sys!(SYS_tuxcall), sys!(SYS_security));
}

fn memory_pressure_calls() {
    say!("process_madvise of nothing {}", sys!(SYS_process_madvise, 99, NULL, 0, MADV_COLD, 0));
    say!("mlock2 {}", sys!(SYS_mlock2, map_anon(PAGE).addr, PAGE, 1));
}

fn kcmp_and_pidfd_getfd() {
    let fd = open(c"/dev/null", O_RDONLY).fd();
    let twin = sys!(SYS_dup, fd).fd();
    let other = open(c"/dev/null", O_RDONLY).fd();
    say!("same {}, different {}", sys!(SYS_kcmp, getpid(), getpid(), 0, fd, twin), sys!(SYS_kcmp, getpid(), getpid(), 0, fd, other).0 != 0);
    write_file(c"f", b"taken over");
    let child = fork(|| {
        open(c"f", O_RDONLY).must();
        sys!(SYS_pause);
        0
    });
    let pidfd = sys!(SYS_pidfd_open, child.0, 0).fd();
    say!("of a bad number {}, bad flags {}", sys!(SYS_pidfd_getfd, pidfd, 999, 0), sys!(SYS_pidfd_getfd, pidfd, 0, 1));
    say!("{}", sys!(SYS_pidfd_getfd, pidfd, fd, 0).ok());
    child.kill(SIGKILL);
}

fn ioctl_on_nothing() {
    touch(c"f");
    let fd = open(c"f", O_RDWR).fd();
    say!("bad descriptor {}, unknown {}", sys!(SYS_ioctl, 99, FIONREAD, NULL), sys!(SYS_ioctl, fd, 0x1234, NULL));
    write(fd, b"12345");
    let mut n = 9i32;
    say!("{} left {}", sys!(SYS_ioctl, fd, FIONREAD, &mut n), n);
    say!("cloexec {} {}", sys!(SYS_ioctl, fd, FIOCLEX), sys!(SYS_fcntl, fd, F_GETFD));
    say!("nonblocking {} {:#o}", sys!(SYS_ioctl, fd, FIONBIO, &1i32), sys!(SYS_fcntl, fd, F_GETFL).0 & i64::from(O_NONBLOCK));
}

fn reboot_and_swapon_refused() {
    fork(|| {
        sys!(SYS_setresuid, 5, 5, 5).must();
        say!("reboot {}, swapon {}", sys!(SYS_reboot, 0, 0, 0, NULL), sys!(SYS_swapon, c"x", 0));
        0
    })
    .wait();
}

fn set_tid_address_returns_tid() {
    say!("{}", sys!(SYS_set_tid_address, NULL).0 == i64::from(gettid()));
}

fn restart_syscall_alone() {
    say!("{}", sys!(SYS_restart_syscall));
}

fn sendfile_to_null() {
    write_file(c"f", b"12345");
    say!("{}", sys!(SYS_sendfile, open(c"/dev/null", O_WRONLY).fd(), open(c"f", O_RDONLY).fd(), NULL, 5));
}

fn vdso_agrees() {
    // std's Instant goes through the C library, and from there the vDSO.
    let (before, inside, after) = (now_ns(), std::time::Instant::now(), now_ns());
    let later = std::time::Instant::now();
    say!("ordered {} {}", before <= after, later >= inside);
    let real = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let mut time: timespec = zeroed();
    sys!(SYS_clock_gettime, CLOCK_REALTIME, &mut time).must();
    say!("{}", (time.tv_sec - real).abs() <= 1);
}

fn vsyscall_page() {
    let (gettimeofday, time, getcpu) = (0, 0x400, 0x800);
    let (mut day, mut stored): (timeval, i64) = (zeroed(), 0);
    say!("gettimeofday {}", vsyscall(gettimeofday, [(&mut day).arg(), 0]));
    let returned = vsyscall(time, [(&mut stored).arg(), 0]);
    say!("time {} {}", returned == stored, (0..=1).contains(&(returned - day.tv_sec)));
    say!("no pointer {}", vsyscall(time, [0, 0]) >= returned);
    let (mut cpu, mut node) = (u32::MAX, u32::MAX);
    say!("getcpu {} {} {}", vsyscall(getcpu, [(&mut cpu).arg(), (&mut node).arg()]), cpu < 4096, node < 1024);
    say!("no entry {}", fork(|| vsyscall(0x10, [0, 0]) as i32).wait());
}

fn landlock_and_keys() {
    say!("keyctl unknown {}", sys!(SYS_keyctl, 9999, 0, 0, 0, 0));
}

fn io_uring_or_refused() {
    say!("entries 0 {}", sys!(SYS_io_uring_setup, 0, NULL).get().is_err());
    say!("enter on nothing {}", sys!(SYS_io_uring_enter, 99, 0, 0, 0, NULL, 0).get().is_err());
}

fn mqueue_basics() {
    let name = std::ffi::CString::new(format!("conformance-{}", getpid())).unwrap();
    let attributes = [0i64, 4, 16, 0, 0, 0, 0, 0];
    let queue = sys!(SYS_mq_open, name.as_c_str(), O_CREAT | O_EXCL | O_RDWR, 0o600, &attributes);
    say!("{}", queue.ok());
    let queue = queue.fd();
    for (text, priority) in [(b"low", 1), (b"top", 9), (b"mid", 5)] {
        sys!(SYS_mq_timedsend, queue, text, 3, priority, NULL).must();
    }
    let mut buf = [0u8; 16];
    for _ in 0..3 {
        let mut priority = 0u32;
        let n = sys!(SYS_mq_timedreceive, queue, &mut buf, 16, &mut priority, NULL).must() as usize;
        say!("{} {priority}", buf[..n].escape_ascii());
    }
    say!("timeout {}", sys!(SYS_mq_timedreceive, queue, &mut buf, 16, NULL, &timespec_ms(1)));
    say!("too long {}, small buffer {}", sys!(SYS_mq_timedsend, queue, &buf, 17, 0, NULL), sys!(SYS_mq_timedreceive, queue, &mut buf, 3, NULL, NULL));
    say!("unlink {} again {}", sys!(SYS_mq_unlink, name.as_c_str()), sys!(SYS_mq_unlink, name.as_c_str()));
}

fn syslog_refused() {
    fork(|| {
        sys!(SYS_setresuid, 5, 5, 5).must();
        say!("clear {}, unknown {}", sys!(SYS_syslog, 5, NULL, 0), sys!(SYS_syslog, 99, NULL, 0));
        0
    })
    .wait();
}

fn quota_and_swap_refused() {
    fork(|| {
        sys!(SYS_setresuid, 5, 5, 5).must();
        say!("acct {}, swapoff {}", sys!(SYS_acct, NULL), sys!(SYS_swapoff, c"x"));
        0
    })
    .wait();
}
