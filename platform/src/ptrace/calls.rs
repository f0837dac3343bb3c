//! The host calls that the platform makes after start-up, for the sentry's own filter.

/// Number and reason, for the sentry's allow-list. Threads, futexes and memory of the standard library are listed too, as the platform's threads
/// need them.
pub const HOST_CALLS: &[(libc::c_long, &str)] = &[
    (libc::SYS_ptrace, "guests' stops and registers"),
    (libc::SYS_waitid, "guests' stops and ends"),
    (libc::SYS_tgkill, "kicks; waking tracers"),
    (libc::SYS_process_vm_readv, "guest memory"),
    (
        libc::SYS_process_vm_writev,
        "guest memory; messages that carry descriptors to guests",
    ),
    (
        libc::SYS_socketpair,
        "the socket that carries descriptors to a guest",
    ),
    (
        libc::SYS_sendmsg,
        "descriptors to guests and to the template",
    ),
    (
        libc::SYS_ioctl,
        "SIOCOUTQ: whether a guest took its descriptor",
    ),
    (libc::SYS_ppoll, "the template's answer"),
    (libc::SYS_read, "the template's answers"),
    (libc::SYS_pidfd_open, "naming guest processes"),
    (libc::SYS_pidfd_send_signal, "SIGKILL to guest processes"),
    (libc::SYS_kill, "SIGKILL to a process that is no guest yet"),
    (
        libc::SYS_rt_sigprocmask,
        "tracers hear the bell; thread start in libc",
    ),
    (libc::SYS_rt_sigreturn, "returning from the bell"),
    (libc::SYS_getpid, "naming a tracer's thread"),
    (libc::SYS_gettid, "naming a tracer's thread"),
    (libc::SYS_mmap, "thread stacks"),
    (libc::SYS_munmap, "thread stacks"),
    (libc::SYS_mprotect, "guard pages of thread stacks"),
    (libc::SYS_madvise, "freeing thread stacks"),
    (libc::SYS_futex, "locks"),
    (libc::SYS_clone3, "threads"),
    (libc::SYS_rseq, "thread start in libc"),
    (libc::SYS_sched_yield, "contended locks"),
    (libc::SYS_set_robust_list, "thread start in libc"),
    (libc::SYS_sigaltstack, "thread start in std"),
    (
        libc::SYS_sched_getaffinity,
        "thread start in std (stack bounds)",
    ),
    (libc::SYS_prctl, "thread names"),
    (libc::SYS_sched_setaffinity, "a guest thread's CPUs"),
    (
        libc::SYS_sched_setattr,
        "a guest thread's policy and nice value",
    ),
    (libc::SYS_exit, "thread end"),
    (libc::SYS_close, "descriptors"),
    (
        libc::SYS_clock_gettime,
        "CPU clocks of guests (no vDSO for those)",
    ),
];
