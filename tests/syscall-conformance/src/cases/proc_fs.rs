//! /proc and the devices: what programs read there.

use std::fs;

use crate::prelude::*;

cases![
    self_links, stat_fields, status_fields, cmdline_and_environ, comm_read_and_write, fd_directory, fdinfo_fields, limits_table,
    task_directories, root_and_exe_links, other_process_visible, gone_process_is_absent, smaps_and_statm, resident_follows_use, mountinfo_and_mounts,
    meminfo_and_cpuinfo, stat_uptime_loadavg, version_and_filesystems, sys_kernel_values, sys_writes_need_privilege, io_and_oom_files,
    proc_is_read_only_where_it_is, cgroup_and_namespaces, fd_permissions, listing_contains_self, dev_null_and_zero, dev_full,
    dev_random, dev_stdio_links, dev_shm_works, net_files, children_file, mem_file, login_notes,
];

fn text(path: &str) -> String {
    fs::read(path).map_or_else(|e| format!("{:?}", nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(0))), |b| b.escape_ascii().to_string())
}

fn lines(path: &str) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn link(path: &str) -> String {
    fs::read_link(path).map_or_else(|e| e.kind().to_string(), |p| p.to_string_lossy().into_owned())
}

fn self_links() {
    say!("self {}", link("/proc/self") == getpid().to_string());
    say!("thread-self {}", link("/proc/thread-self") == format!("{}/task/{}", getpid(), gettid()));
    say!("in a thread {}", std::thread::spawn(|| link("/proc/thread-self") == format!("{}/task/{}", getpid(), gettid())).join().unwrap());
    say!("cwd {}", link("/proc/self/cwd") == std::env::current_dir().unwrap().to_str().unwrap());
}

/// The fields of /proc/PID/stat after the name.
fn stat(pid: i32) -> Vec<String> {
    let all = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    all.rsplit(')').next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

fn stat_fields() {
    let fields = stat(getpid());
    say!("{} fields, state {}", fields.len() + 2, fields[0]);
    say!("parent {}, group {}", fields[1] == sys!(SYS_getppid).0.to_string(), fields[2] == sys!(SYS_getpgrp).0.to_string());
    say!("session {}, threads {}", fields[3] == sys!(SYS_getsid, 0).0.to_string(), fields[17]);
    let child = fork(|| {
        sys!(SYS_pause);
        0
    });
    while stat(child.0)[0] != "S" {
        sys!(SYS_sched_yield);
    }
    say!("sleeping S");
    child.kill(SIGSTOP);
    child.wait_options(WUNTRACED);
    say!("stopped {}", stat(child.0)[0]);
    child.kill(SIGKILL);
    let mut info: siginfo_t = zeroed();
    sys!(SYS_waitid, P_PID, child.0, &mut info, WEXITED | WNOWAIT, 0).must();
    say!("zombie {}", stat(child.0)[0]);
    child.wait();
}

fn status_fields() {
    sys!(SYS_prctl, PR_SET_NAME, c"a name", 0, 0, 0).must();
    block(&[SIGUSR1]);
    ignore(SIGUSR2);
    handle(SIGHUP, 0);
    let status = lines("/proc/self/status");
    for key in ["Name", "Umask", "State", "Uid", "Gid", "FDSize", "Threads", "SigBlk", "NoNewPrivs", "Seccomp"] {
        let line = status.iter().find(|line| line.starts_with(&format!("{key}:"))).cloned().unwrap_or_else(|| format!("{key} is absent"));
        say!("{}", if key == "FDSize" { "FDSize".to_owned() } else { line });
    }
    let bits = |key: &str| status.iter().find_map(|l| l.strip_prefix(key)).and_then(|v| u64::from_str_radix(v.trim(), 16).ok()).unwrap_or(0);
    say!("ignored has USR2 {}, caught has HUP {}", bits("SigIgn:") & set_of(&[SIGUSR2]) != 0, bits("SigCgt:") & set_of(&[SIGHUP]) != 0);
    for key in ["Tgid", "Pid", "PPid", "VmSize", "VmRSS", "VmData", "CapEff", "CapBnd", "Cpus_allowed", "voluntary_ctxt_switches"] {
        say!("{key} {}", status.iter().any(|line| line.starts_with(&format!("{key}:"))));
    }
}

fn cmdline_and_environ() {
    say!("{}", fork(|| exec(c"/bin/cat", &[c"cat", c"/proc/self/cmdline", c"/proc/self/environ"], &[c"A=b", c"C=d e"]).0 as i32).wait());
    let cmdline = fs::read("/proc/self/cmdline").unwrap();
    say!("ends with the case {}", cmdline.ends_with(b"/cmdline_and_environ\0"));
}

fn comm_read_and_write() {
    say!("{}", fs::write("/proc/self/comm", "renamed").is_ok());
    say!("{}", text("/proc/self/comm"));
    let mut name = [0u8; 16];
    sys!(SYS_prctl, PR_GET_NAME, &mut name, 0, 0, 0).must();
    say!("{}", name[..8].escape_ascii());
    fs::write("/proc/self/comm", "much longer than fifteen bytes").unwrap();
    say!("{}", text("/proc/self/comm"));
}

fn fd_directory() {
    (3..20).for_each(|fd| unused(close(fd)));
    touch(c"a-file");
    open(c"a-file", O_RDONLY).must();
    sys!(SYS_socket, AF_UNIX, SOCK_STREAM, 0).must();
    sys!(SYS_epoll_create1, 0).must();
    sys!(SYS_eventfd2, 0, 0).must();
    pipe();
    let shape = |fd: i32| {
        let target = link(&format!("/proc/self/fd/{fd}"));
        let target = target.rsplit('/').next().unwrap_or_default().to_owned();
        if target.contains(":[") && !target.starts_with("anon") { target.split('[').next().unwrap_or_default().to_owned() } else { target }
    };
    (3..9).for_each(|fd| say!("{fd} {}", shape(fd)));
    say!("absent {}", link("/proc/self/fd/99"));
}

fn fdinfo_fields() {
    write_file(c"f", b"0123456789");
    let fd = open(c"f", O_RDWR | O_APPEND).fd();
    lseek(fd, 4, SEEK_SET);
    for line in lines(&format!("/proc/self/fdinfo/{fd}")).iter().filter(|l| l.starts_with("pos") || l.starts_with("flags")) {
        say!("{line}");
    }
    let event = sys!(SYS_eventfd2, 5, 0).fd();
    say!("{:?}", lines(&format!("/proc/self/fdinfo/{event}")).iter().find(|l| l.starts_with("eventfd-count")));
}

fn limits_table() {
    set_soft_limit(RLIMIT_NOFILE, 123).must();
    let limits = lines("/proc/self/limits");
    say!("{} lines", limits.len());
    say!("{}", limits[0].trim_end());
    say!("{:?}", limits.iter().find(|l| l.starts_with("Max open files")).map(|l| l.split_whitespace().nth(3).map(str::to_owned)));
}

fn task_directories() {
    say!("{}", text(&format!("/proc/self/task/{}/comm", getpid())) == text("/proc/self/comm"));
    say!("{}", fs::read_dir(format!("/proc/{}/task", getpid())).unwrap().count());
    say!("{}", text("/proc/self/task/1/comm").len() > 100 || getpid() == 1 || text("/proc/self/task/1/comm") == "ENOENT");
}

fn root_and_exe_links() {
    say!("{}", link("/proc/self/root"));
    say!("{}", link("/proc/self/exe").ends_with("/conformance-cases"));
    say!("through root {}", fs::metadata("/proc/self/root/proc/self").is_ok());
}

fn other_process_visible() {
    let child = fork(|| {
        sys!(SYS_prctl, PR_SET_NAME, c"other", 0, 0, 0);
        sys!(SYS_pause);
        0
    });
    let path = format!("/proc/{}/comm", child.0);
    while text(&path) != "other\\n" {
        sys!(SYS_sched_yield);
    }
    say!("parent right {}", stat(child.0)[1] == getpid().to_string());
    say!("its cwd {}", link(&format!("/proc/{}/cwd", child.0)) == link("/proc/self/cwd"));
    child.kill(SIGKILL);
    child.wait();
}

fn gone_process_is_absent() {
    let child = fork(|| 0);
    let directory = open(&std::ffi::CString::new(format!("/proc/{}", child.0)).unwrap(), O_RDONLY | O_DIRECTORY).fd();
    child.wait();
    say!("{}", text(&format!("/proc/{}/stat", child.0)));
    say!("through an old descriptor {}", sys!(SYS_openat, directory, c"stat", O_RDONLY, 0));
}

fn smaps_and_statm() {
    let m = map_anon(PAGE * 100);
    (0..100).for_each(|i| m.set(i * PAGE, 1));
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let start = smaps.find(&format!("{:x}-", m.addr)).is_some();
    say!("region in smaps {start}");
    for key in ["Rss:", "Pss:", "Private_Dirty:", "VmFlags:"] {
        say!("{key} {}", smaps.contains(key));
    }
    let statm: Vec<u64> = text("/proc/self/statm").trim_end_matches("\\n").split(' ').map(|v| v.parse().unwrap()).collect();
    say!("{} numbers, resident within size {}", statm.len(), statm[1] <= statm[0] && statm[1] >= 100);
}

/// Resident pages, shared ones among them, and VmRSS and RssAnon in KiB.
fn resident() -> [u64; 4] {
    let statm: Vec<u64> = text("/proc/self/statm").trim_end_matches("\\n").split(' ').map(|v| v.parse().unwrap()).collect();
    let status = lines("/proc/self/status");
    let kb = |key: &str| status.iter().find_map(|l| l.strip_prefix(key)).and_then(|v| v.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0);
    [statm[1], statm[2], kb("VmRSS:"), kb("RssAnon:")]
}

fn resident_follows_use() {
    const PAGES: usize = 4000;
    let near = |value: u64| (PAGES as u64 - 300..PAGES as u64 + 300).contains(&value);
    let before = resident();
    let m = map_anon(PAGE * PAGES);
    let mapped = resident();
    say!("mapped only {}", mapped[0] < before[0] + 300);
    (0..PAGES).for_each(|i| m.set(i * PAGE, 1));
    let touched = resident();
    say!("touched {} {} {}", near(touched[0] - mapped[0]), near((touched[2] - mapped[2]) / 4), near((touched[3] - mapped[3]) / 4));
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let region = smaps.split(&format!("{:x}-", m.addr)).nth(1).unwrap_or_default();
    let rss = region.lines().find_map(|l| l.strip_prefix("Rss:")).unwrap_or_default();
    say!("in smaps{rss}");
    let parent = getpid();
    let child = fork(|| {
        let seen = fs::read_to_string(format!("/proc/{parent}/stat")).unwrap_or_default();
        let rss: u64 = seen.rsplit(')').next().unwrap_or_default().split_whitespace().nth(21).and_then(|v| v.parse().ok()).unwrap_or(0);
        say!("of another process {}", rss > PAGES as u64);
        0
    });
    say!("{}", child.wait());
    m.unmap().must();
    say!("given back {}", resident()[0] < mapped[0] + 300);
    let shared = map_shared(PAGE * PAGES);
    let before = resident();
    (0..PAGES).for_each(|i| shared.set(i * PAGE, 1));
    say!("shared memory counts as shared {}", near(resident()[1] - before[1]));
}

fn mountinfo_and_mounts() {
    let info = lines("/proc/self/mountinfo");
    let point = |at: &str| info.iter().any(|l| l.split(' ').nth(4) == Some(at));
    say!("root {}, proc {}", point("/"), point("/proc"));
    say!("separator in each line {}", info.iter().all(|l| l.contains(" - ")));
    let mounts = lines("/proc/self/mounts");
    say!("mounts has proc {}", mounts.iter().any(|l| l.split(' ').nth(1) == Some("/proc") && l.split(' ').nth(2) == Some("proc")));
    say!("/proc/mounts is a link to it {}", link("/proc/mounts"));
}

fn meminfo_and_cpuinfo() {
    let info = lines("/proc/meminfo");
    let kb = |key: &str| info.iter().find_map(|l| l.strip_prefix(key)).and_then(|v| v.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0);
    say!("total {}, free within it {}, available {}", kb("MemTotal:") > 1024, kb("MemFree:") <= kb("MemTotal:"), kb("MemAvailable:") > 0);
    let cpus = lines("/proc/cpuinfo").iter().filter(|l| l.starts_with("processor")).count();
    let mut set = [0u64; 16];
    sys!(SYS_sched_getaffinity, 0, 128, &mut set).must();
    say!("as many processors as may be used, or more {}", cpus >= set.iter().map(|w| w.count_ones() as usize).sum());
    for key in ["vendor_id", "model name", "flags", "cpu MHz"] {
        say!("{key} {}", lines("/proc/cpuinfo").iter().any(|l| l.starts_with(key)));
    }
}

fn stat_uptime_loadavg() {
    let stat = lines("/proc/stat");
    say!("cpu {} cpu0 {}", stat[0].starts_with("cpu "), stat.iter().any(|l| l.starts_with("cpu0 ")));
    for key in ["intr", "ctxt", "btime", "processes", "procs_running"] {
        say!("{key} {}", stat.iter().any(|l| l.starts_with(key)));
    }
    let uptime = text("/proc/uptime");
    say!("uptime has two numbers {}", uptime.trim_end_matches("\\n").split(' ').all(|v| v.parse::<f64>().is_ok()));
    say!("loadavg has five fields {}", text("/proc/loadavg").split(' ').count());
}

fn version_and_filesystems() {
    say!("{}", text("/proc/version").starts_with("Linux version "));
    let systems = lines("/proc/filesystems");
    for name in ["nodev\\ttmpfs", "nodev\\tproc", "nodev\\tsysfs"] {
        say!("{name} {}", systems.iter().any(|l| l.escape_debug().to_string() == name));
    }
}

fn sys_kernel_values() {
    let mut name: utsname = zeroed();
    sys!(SYS_uname, &mut name).must();
    let of = |field: &[c_char]| field.iter().map(|&c| c as u8 as char).take_while(|c| *c != '\0').collect::<String>();
    say!("hostname {}", text("/proc/sys/kernel/hostname") == format!("{}\\n", of(&name.nodename)));
    say!("ostype {}, osrelease {}", text("/proc/sys/kernel/ostype"), text("/proc/sys/kernel/osrelease") == format!("{}\\n", of(&name.release)));
    say!("machine {}, system {}", of(&name.machine), of(&name.sysname));
    for path in ["kernel/pid_max", "vm/overcommit_memory", "fs/file-max", "kernel/ngroups_max", "vm/max_map_count", "fs/pipe-max-size", "kernel/threads-max"] {
        say!("{path} {}", text(&format!("/proc/sys/{path}")).trim_end_matches("\\n").parse::<u64>().is_ok());
    }
    let one = text("/proc/sys/kernel/random/boot_id");
    say!("boot id stays {}, uuid changes {}", one == text("/proc/sys/kernel/random/boot_id"), text("/proc/sys/kernel/random/uuid") != text("/proc/sys/kernel/random/uuid"));
}

fn sys_writes_need_privilege() {
    fork(|| {
        sys!(SYS_setresuid, 5, 5, 5).must();
        say!("{}", open(c"/proc/sys/kernel/hostname", O_WRONLY));
        0
    })
    .wait();
    say!("create {}", open(c"/proc/new-file", O_CREAT | O_WRONLY));
    say!("mkdir {}, unlink {}", sys!(SYS_mkdir, c"/proc/new", 0o755), sys!(SYS_unlink, c"/proc/version"));
}

fn io_and_oom_files() {
    say!("{:?}", lines("/proc/self/io").iter().map(|l| l.split(':').next().unwrap_or_default().to_owned()).collect::<Vec<_>>());
    say!("oom_score {}", text("/proc/self/oom_score").trim_end_matches("\\n").parse::<i32>().is_ok());
    say!("raise {}", fs::write("/proc/self/oom_score_adj", "500").is_ok());
    say!("{}", text("/proc/self/oom_score_adj"));
    say!("out of range {}", fs::write("/proc/self/oom_score_adj", "5000").is_err());
}

fn proc_is_read_only_where_it_is() {
    say!("open stat for writing {}", open(c"/proc/self/stat", O_WRONLY).ok());
    let mut s: libc::stat = zeroed();
    sys!(SYS_stat, c"/proc/self/stat", &mut s).must();
    say!("{:o} size {}", s.st_mode, s.st_size);
    sys!(SYS_stat, c"/proc/self/environ", &mut s).must();
    say!("{:o}", s.st_mode);
    sys!(SYS_stat, c"/proc/self/fd", &mut s).must();
    say!("{:o}", s.st_mode);
}

fn cgroup_and_namespaces() {
    say!("cgroup lines have three fields {}", lines("/proc/self/cgroup").iter().all(|l| l.splitn(3, ':').count() == 3));
    for name in ["ipc", "mnt", "net", "pid", "user", "uts"] {
        let target = link(&format!("/proc/self/ns/{name}"));
        say!("{name} {}", target.starts_with(&format!("{name}:[")) && target.ends_with(']'));
    }
    say!("same for a child {}", fork(|| i32::from(link("/proc/self/ns/mnt") == link(&format!("/proc/{}/ns/mnt", sys!(SYS_getppid).0)))).wait());
    say!("uid_map {}", lines("/proc/self/uid_map").iter().all(|l| l.split_whitespace().count() == 3));
}

fn fd_permissions() {
    write_file(c"f", b"secret");
    sys!(SYS_chmod, c"f", 0o600).must();
    let readonly = open(c"f", O_RDONLY).fd();
    let mode = fs::symlink_metadata(format!("/proc/self/fd/{readonly}")).unwrap();
    say!("{:o}", std::os::unix::fs::MetadataExt::mode(&mode));
    let path = std::ffi::CString::new(format!("/proc/self/fd/{readonly}")).unwrap();
    say!("reopen for writing {}", open(&path, O_RDWR).ok());
    fork(|| {
        sys!(SYS_setresuid, 5, 5, 5).must();
        say!("as another user {}", open(&path, O_RDONLY).ok());
        0
    })
    .wait();
}

fn listing_contains_self() {
    let names: Vec<String> = fs::read_dir("/proc").unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    for name in [getpid().to_string().as_str(), "self", "thread-self", "sys", "meminfo", "mounts", "net"] {
        say!("{} {}", if name.parse::<i32>().is_ok() { "own pid" } else { name }, names.iter().any(|n| n == name));
    }
}

fn dev_null_and_zero() {
    let null = open(c"/dev/null", O_RDWR).fd();
    say!("{} {} {}", read(null, 5), write(null, b"12345"), lseek(null, 100, SEEK_SET));
    let zero = open(c"/dev/zero", O_RDWR).fd();
    say!("{} {}", read(zero, 3), write(zero, b"12345"));
    say!("truncate null {}", open(c"/dev/null", O_WRONLY | O_TRUNC | O_CREAT).ok());
}

fn dev_full() {
    let full = open(c"/dev/full", O_RDWR).fd();
    say!("{} {}", read(full, 3), write(full, b"x"));
}

fn dev_random() {
    for path in [c"/dev/urandom", c"/dev/random"] {
        let fd = open(path, O_RDONLY).fd();
        let (a, b) = (read(fd, 32).0.unwrap(), read(fd, 32).0.unwrap());
        say!("{} bytes, differ {}", a.len(), a != b);
    }
}

fn dev_stdio_links() {
    for (name, target) in [("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"), ("fd", "/proc/self/fd")] {
        say!("{name} {}", link(&format!("/dev/{name}")) == target);
    }
}

fn dev_shm_works() {
    let path = std::ffi::CString::new(format!("/dev/shm/conformance-{}", getpid())).unwrap();
    let fd = open(&path, O_RDWR | O_CREAT | O_EXCL).fd();
    sys!(SYS_ftruncate, fd, PAGE).must();
    let m = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    fork(|| {
        m.put(0, b"shm_open");
        0
    })
    .wait();
    say!("{} {}", m.text(0, 8), sys!(SYS_unlink, path.as_c_str()));
    let mut s: statfs = zeroed();
    sys!(SYS_statfs, c"/dev/shm", &mut s).must();
    say!("tmpfs {:#x}", s.f_type);
}

fn net_files() {
    for name in ["dev", "tcp", "udp", "unix", "route", "if_inet6"] {
        say!("{name} {}", fs::read(format!("/proc/net/{name}")).is_ok());
    }
    let bound = sys!(SYS_socket, AF_UNIX, SOCK_STREAM, 0).fd();
    let mut addr: sockaddr_un = zeroed();
    addr.sun_family = AF_UNIX as u16;
    for (to, from) in addr.sun_path.iter_mut().zip(b"seen-in-proc") {
        *to = *from as c_char;
    }
    sys!(SYS_bind, bound, &addr, 14).must();
    say!("bound name listed {}", text("/proc/net/unix").contains("seen-in-proc"));
}

fn children_file() {
    let child = fork(|| {
        sys!(SYS_pause);
        0
    });
    say!("{}", text(&format!("/proc/self/task/{}/children", gettid())) == format!("{} ", child.0));
    child.kill(SIGKILL);
    child.wait();
}

fn mem_file() {
    let m = map_anon(PAGE);
    m.put(0, b"in memory");
    let fd = open(c"/proc/self/mem", O_RDWR).fd();
    say!("{} {}", pread(fd, 9, m.addr as i64), sys!(SYS_pwrite64, fd, c"IN", 2, m.addr));
    say!("{}", m.text(0, 9));
    say!("unmapped {}", pread(fd, 1, 8));
}

/// What `pam_loginuid` does, and what it may not.
fn login_notes() {
    let note = |path: &str, what: &str| fs::write(path, what).map_err(|e| nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(0)));
    let other = format!("/proc/{}/loginuid", getpid());
    fork(|| {
        say!("unset {} {}", text("/proc/self/loginuid"), text("/proc/self/sessionid"));
        say!("words {:?}, too large {:?}", note("/proc/self/loginuid", "root"), note("/proc/self/loginuid", "4294967296"));
        say!("another's {:?}", note(&other, "0"));
        say!("own {:?}", note("/proc/self/loginuid", "1000\n"));
        say!("now {}, a session {}", text("/proc/self/loginuid"), text("/proc/self/sessionid") != "4294967295");
        fork(|| {
            say!("inherited {}", text("/proc/self/loginuid"));
            sys!(SYS_setresuid, 65534, 65534, 65534).must();
            sys!(SYS_prctl, PR_SET_DUMPABLE, 1).must();
            say!("again, without privilege {:?}", note("/proc/self/loginuid", "1001"));
            0
        })
        .wait();
        0
    })
    .wait();
}
