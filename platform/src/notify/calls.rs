//! The host calls that the platform makes after start-up, for the sentry's own filter.

/// Number and reason, for the sentry's allow-list. Threads, futexes and memory of the standard library are listed too, as the platform's threads
/// need them.
pub const HOST_CALLS: &[(libc::c_long, &str)] = &[
    (
        libc::SYS_ioctl,
        "receive, answer, ADDFD and SET_FLAGS on seccomp listeners",
    ),
    (libc::SYS_ppoll, "end of a listener; the template's answer"),
    (libc::SYS_process_vm_readv, "guest memory"),
    (libc::SYS_process_vm_writev, "guest memory"),
    (libc::SYS_pidfd_open, "watching guest processes"),
    (
        libc::SYS_pidfd_getfd,
        "fetching the listener of a new process",
    ),
    (libc::SYS_pidfd_send_signal, "SIGKILL to guest processes"),
    (
        libc::SYS_kill,
        "SIGKILL to a process that broke the protocol before it was known",
    ),
    (
        libc::SYS_tgkill,
        "kicks; asking whether a thread belongs to a process",
    ),
    (libc::SYS_waitid, "reaping guest processes"),
    (libc::SYS_epoll_create1, "the reaper"),
    (libc::SYS_epoll_ctl, "the reaper"),
    (libc::SYS_epoll_wait, "the reaper"),
    (libc::SYS_eventfd2, "waking the reaper"),
    (libc::SYS_read, "the template's answers, eventfd"),
    (libc::SYS_write, "eventfd"),
    (libc::SYS_sendmsg, "handing the template a process's slots"),
    (libc::SYS_memfd_create, "slots"),
    (libc::SYS_ftruncate, "slots"),
    (libc::SYS_fcntl, "sealing slots"),
    (libc::SYS_mmap, "slots; thread stacks"),
    (libc::SYS_munmap, "slots; thread stacks"),
    (libc::SYS_mprotect, "guard pages of thread stacks"),
    (libc::SYS_madvise, "freeing thread stacks"),
    (libc::SYS_futex, "locks; waiting for a new process"),
    (libc::SYS_clone3, "threads"),
    (libc::SYS_rseq, "thread start in libc"),
    (libc::SYS_gettid, "thread start in std"),
    (libc::SYS_sched_yield, "contended locks"),
    (libc::SYS_set_robust_list, "thread start in libc"),
    (libc::SYS_rt_sigprocmask, "thread start in libc"),
    (libc::SYS_sigaltstack, "thread start in std"),
    (
        libc::SYS_sched_getaffinity,
        "thread start in std (stack bounds); whether spinning can pay",
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
    (libc::SYS_getrandom, "nonces"),
];
