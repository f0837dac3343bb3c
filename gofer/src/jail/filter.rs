//! The gofer's seccomp filter: what a server thread calls, and nothing else. Anything else kills the process.
//!
//! Two filters are stacked. The second only answers `clone3` with `ENOSYS`, because its flags are in memory where a filter
//! cannot look; libc then uses `clone`, whose flags are checked.

#![forbid(unsafe_code)]

use super::{HostSockets, JailError};
use abi::Errno;
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Calls allowed with any arguments, and who needs them.
const ANY: &[(c_long, &str)] = &[
    (libc::SYS_recvfrom, "channels: receive a request"),
    (libc::SYS_sendto, "channels: reply"),
    (libc::SYS_sendmsg, "channels: reply with a descriptor"),
    (libc::SYS_write, "panic messages"),
    (libc::SYS_close, "nodes released, descriptors donated"),
    (
        libc::SYS_openat2,
        "walk, create: one component beneath a node",
    ),
    (
        libc::SYS_openat,
        "open: by /proc/self/fd; directories by `.`",
    ),
    (libc::SYS_statx, "attributes"),
    (libc::SYS_fstatfs, "statfs"),
    (libc::SYS_readlinkat, "readlink"),
    (libc::SYS_getdents64, "readdir"),
    (libc::SYS_lseek, "readdir: continue at a cursor"),
    (libc::SYS_mkdirat, "mkdir"),
    (libc::SYS_symlinkat, "symlink"),
    (libc::SYS_linkat, "link"),
    (libc::SYS_unlinkat, "unlink; undoing a create"),
    (libc::SYS_renameat2, "rename"),
    (
        libc::SYS_renameat,
        "rename: libc makes it of renameat2 without flags",
    ),
    (libc::SYS_fchownat, "setattr, create: owner"),
    (libc::SYS_fchmodat, "setattr, create: mode"),
    (libc::SYS_utimensat, "setattr: times"),
    (libc::SYS_ftruncate, "setattr: size"),
    (libc::SYS_getxattr, "getxattr"),
    (libc::SYS_setxattr, "setxattr"),
    (libc::SYS_listxattr, "listxattr"),
    (libc::SYS_removexattr, "removexattr"),
    (libc::SYS_fsync, "sync"),
    (libc::SYS_fdatasync, "sync"),
    (libc::SYS_syncfs, "sync"),
    (libc::SYS_inotify_init1, "serve: the inotify instance"),
    (libc::SYS_inotify_add_watch, "watch"),
    (libc::SYS_inotify_rm_watch, "unwatch"),
    (
        libc::SYS_fchdir,
        "channels: /proc/self/fd is a thread's working directory",
    ),
    (libc::SYS_umask, "channels: modes are as the sentry says"),
    (libc::SYS_futex, "locks, joining threads"),
    (libc::SYS_sched_yield, "locks that spin before they wait"),
    (libc::SYS_munmap, "allocator, ending threads"),
    (libc::SYS_mremap, "allocator"),
    (libc::SYS_madvise, "allocator, ending threads"),
    (libc::SYS_brk, "allocator"),
    (libc::SYS_getrandom, "hash maps' seeds"),
    (libc::SYS_set_robust_list, "starting threads"),
    (libc::SYS_rseq, "starting threads"),
    (libc::SYS_sigaltstack, "starting and ending threads"),
    (
        libc::SYS_rt_sigaction,
        "starting the first thread (libc's own signal)",
    ),
    (libc::SYS_rt_sigprocmask, "starting and ending threads"),
    (libc::SYS_rt_sigreturn, "returning from a signal handler"),
    (libc::SYS_restart_syscall, "going on after a stop signal"),
    (
        libc::SYS_sched_getaffinity,
        "starting threads (stack guard)",
    ),
    (libc::SYS_gettid, "starting threads; panic messages"),
    (libc::SYS_clock_gettime, "where the vDSO has no clock"),
    (
        libc::SYS_getcpu,
        "channels: where the vDSO does not know the CPU",
    ),
    (libc::SYS_exit, "ending threads"),
    (libc::SYS_exit_group, "ending"),
];

/// Calls added when host sockets are allowed.
const SOCKETS: &[(c_long, &str)] = &[(libc::SYS_connect, "connect")];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Installs the filter for the calling thread and those it starts.
///
/// # Errors
/// When the host has no seccomp or `no_new_privs` is not set.
pub(super) fn install(sockets: HostSockets) -> Result<(), JailError> {
    let failed = |_| JailError {
        step: "install the system call filter".into(),
        errno: Errno::EINVAL,
    };
    // The stricter answer of the two counts, whichever comes first.
    seccompiler::apply_filter(&without_clone3().map_err(failed)?).map_err(|_| failed_apply())?;
    seccompiler::apply_filter(&allow_list(sockets).map_err(failed)?).map_err(|_| failed_apply())
}

fn failed_apply() -> JailError {
    JailError {
        step: "install the system call filter".into(),
        errno: Errno::ENOSYS,
    }
}

fn without_clone3() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = Rules::from([(libc::SYS_clone3, vec![])]);
    let answer = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, answer, TargetArch::x86_64)?.try_into()
}

fn allow_list(sockets: HostSockets) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: Rules = ANY.iter().map(|(number, _)| (*number, vec![])).collect();
    add_conditional(&mut rules)?;
    if sockets == HostSockets::Allowed {
        rules.extend(SOCKETS.iter().map(|(number, _)| (*number, vec![])));
        // connect: unix sockets only.
        rules.insert(libc::SYS_socket, vec![when(&[(0, equals(libc::AF_UNIX))])?]);
    }
    SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )?
    .try_into()
}

/// Calls whose arguments are checked.
fn add_conditional(rules: &mut Rules) -> Result<(), seccompiler::BackendError> {
    // Answered by the other filter.
    rules.insert(libc::SYS_clone3, vec![]);
    // Starting threads: never a process.
    let thread = bits(libc::CLONE_THREAD | libc::CLONE_VM);
    rules.insert(libc::SYS_clone, vec![when(&[(0, masked(thread, thread))])?]);
    // Allocator, stacks: never executable memory.
    let not_executable = masked(bits(libc::PROT_EXEC), 0);
    rules.insert(libc::SYS_mmap, vec![when(&[(2, not_executable.clone())])?]);
    rules.insert(libc::SYS_mprotect, vec![when(&[(2, not_executable)])?]);
    // Channels: working directory and umask of their own.
    rules.insert(
        libc::SYS_unshare,
        vec![when(&[(0, equals(libc::CLONE_FS))])?],
    );
    // mknod: never devices.
    let kind = |kind: libc::mode_t| when(&[(2, masked(u64::from(libc::S_IFMT), u64::from(kind)))]);
    rules.insert(
        libc::SYS_mknodat,
        vec![
            kind(libc::S_IFREG)?,
            kind(libc::S_IFIFO)?,
            kind(libc::S_IFSOCK)?,
        ],
    );
    // attach: a copy of the root; debug builds check descriptors when they close them.
    let command = |command| when(&[(1, equals(command))]);
    rules.insert(
        libc::SYS_fcntl,
        vec![command(libc::F_DUPFD_CLOEXEC)?, command(libc::F_GETFD)?],
    );
    // Starting threads: their names.
    rules.insert(
        libc::SYS_prctl,
        vec![when(&[(0, equals(libc::PR_SET_NAME))])?],
    );
    // serve: our own limit of descriptors.
    let limit = [(0, equals(0)), (1, equals(bits_of_resource()))];
    rules.insert(libc::SYS_prlimit64, vec![when(&limit)?]);
    Ok(())
}

fn bits_of_resource() -> i32 {
    libc::RLIMIT_NOFILE.cast_signed()
}

/// Flags of a call as the filter compares them.
fn bits(flags: i32) -> u64 {
    u64::from(flags.cast_unsigned())
}

fn equals(value: i32) -> (Op, u64) {
    (Op::Eq, bits(value))
}

fn masked(mask: u64, value: u64) -> (Op, u64) {
    (Op::MaskedEq(mask), value)
}

/// A rule that holds when all the arguments (by index, as 32-bit values) do.
fn when(conditions: &[(u8, (Op, u64))]) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions
        .iter()
        .map(|(index, (op, value))| SeccompCondition::new(*index, Len::Dword, op.clone(), *value));
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}
