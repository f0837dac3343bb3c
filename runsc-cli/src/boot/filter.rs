//! The sentry's own seccomp filter: the host calls that are left to it after start-up, each with who needs it. Anything else kills it.
//!
//! None of them opens, executes or makes sockets. `clone3` answers ENOSYS, because its flags are in memory where a filter cannot look; libc then
//! uses `clone`, whose flags are checked.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// Most different calls that the filter may allow (the design's promise).
pub const MAX_CALLS: usize = 60;

/// One allowed call.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Number on x86-64.
    pub call: i64,
    /// Who needs it and why.
    pub reason: &'static str,
    /// Which arguments are allowed.
    pub check: Check,
}

/// Conditions on arguments.
#[derive(Clone, Debug)]
pub enum Check {
    /// Any.
    Any,
    /// Argument `.0` has none of the bits `.1`.
    Without(u8, u64),
    /// Argument `.0` has, of the bits `.1`, exactly `.2`.
    Masked(u8, u64, u64),
    /// Argument `.0` (32 bits of it) is one of these.
    OneOf(u8, &'static [u64]),
    /// Each argument `.0` (32 bits of it) has the value `.1`.
    Equal(&'static [(u8, u64)]),
}

impl Rule {
    /// A call with any arguments.
    #[must_use]
    pub const fn any(call: i64, reason: &'static str) -> Self {
        Self {
            call,
            reason,
            check: Check::Any,
        }
    }

    /// A call with a condition.
    #[must_use]
    pub const fn checked(call: i64, reason: &'static str, check: Check) -> Self {
        Self {
            call,
            reason,
            check,
        }
    }

    fn conditions(&self) -> Result<Vec<SeccompRule>> {
        let one = |argument: u8, len: Len, op: Op, value: u64| -> Result<SeccompRule> {
            Ok(SeccompRule::new(vec![SeccompCondition::new(
                argument, len, op, value,
            )?])?)
        };
        match &self.check {
            Check::Any => Ok(Vec::new()),
            Check::Without(argument, bits) => {
                Ok(vec![one(*argument, Len::Qword, Op::MaskedEq(*bits), 0)?])
            }
            Check::Masked(argument, mask, value) => Ok(vec![one(
                *argument,
                Len::Qword,
                Op::MaskedEq(*mask),
                *value,
            )?]),
            Check::Equal(pairs) => {
                let conditions = pairs.iter().map(|(argument, value)| {
                    SeccompCondition::new(*argument, Len::Dword, Op::Eq, *value)
                });
                Ok(vec![SeccompRule::new(
                    conditions.collect::<Result<_, _>>()?,
                )?])
            }
            Check::OneOf(argument, values) => values
                .iter()
                .map(|value| one(*argument, Len::Dword, Op::Eq, *value))
                .collect(),
        }
    }
}

/// What the control server and Rust's runtime need.
#[must_use]
pub fn base() -> Vec<Rule> {
    const THREAD: u64 = (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND) as u64;
    const NEW_NAMESPACES: u64 = (libc::CLONE_NEWNS
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP) as u64;
    vec![
        Rule::any(libc::SYS_read, "eventfds"),
        Rule::any(libc::SYS_write, "eventfds, debug log, panic messages"),
        Rule::any(libc::SYS_close, "descriptors that go"),
        Rule::any(libc::SYS_ppoll, "control server: waiting"),
        Rule::any(libc::SYS_eventfd2, "control server: the bell"),
        Rule::any(
            libc::SYS_accept4,
            "control server: new connections on the one listener",
        ),
        Rule::any(
            libc::SYS_recvmsg,
            "control server: requests with descriptors",
        ),
        Rule::any(libc::SYS_recvfrom, "control server: bodies of requests"),
        Rule::any(libc::SYS_sendto, "control server: answers"),
        Rule::any(libc::SYS_sendmsg, "control server: answers"),
        Rule::any(
            libc::SYS_getsockopt,
            "control server: credentials of a peer",
        ),
        Rule::checked(
            libc::SYS_fcntl,
            "descriptor flags",
            Check::OneOf(
                1,
                &[
                    libc::F_GETFL as u64,
                    libc::F_SETFL as u64,
                    libc::F_GETFD as u64,
                    libc::F_SETFD as u64,
                    libc::F_DUPFD_CLOEXEC as u64,
                ],
            ),
        ),
        Rule::any(libc::SYS_futex, "locks, joining threads"),
        Rule::checked(
            libc::SYS_mmap,
            "allocator, stacks of threads",
            Check::Without(2, libc::PROT_EXEC as u64),
        ),
        Rule::checked(
            libc::SYS_mprotect,
            "guard pages of threads",
            Check::Without(2, libc::PROT_EXEC as u64),
        ),
        Rule::any(libc::SYS_munmap, "allocator, ending threads"),
        Rule::any(libc::SYS_mremap, "allocator"),
        Rule::any(libc::SYS_madvise, "allocator, ending threads"),
        Rule::any(libc::SYS_brk, "allocator"),
        Rule::any(libc::SYS_getrandom, "hash maps' seeds, guests' getrandom"),
        Rule::checked(
            libc::SYS_clone,
            "threads only",
            Check::Masked(0, THREAD | NEW_NAMESPACES, THREAD),
        ),
        Rule::any(libc::SYS_set_robust_list, "starting threads"),
        Rule::any(libc::SYS_rseq, "starting threads"),
        Rule::any(libc::SYS_sigaltstack, "starting and ending threads"),
        Rule::any(
            libc::SYS_rt_sigaction,
            "starting threads (libc's own signals)",
        ),
        Rule::any(libc::SYS_rt_sigprocmask, "starting and ending threads"),
        Rule::any(libc::SYS_rt_sigreturn, "returning from signal handlers"),
        Rule::any(libc::SYS_exit, "ending threads"),
        Rule::any(libc::SYS_exit_group, "the end"),
        Rule::any(libc::SYS_gettid, "locks"),
        Rule::any(libc::SYS_sched_yield, "locks"),
        Rule::any(
            libc::SYS_sched_getaffinity,
            "allocator: how many arenas a new thread may choose from",
        ),
        Rule::any(
            libc::SYS_restart_syscall,
            "the kernel restarts interrupted sleeps with it",
        ),
    ]
}

/// Installs the filter for this thread and all that it starts.
pub fn install(rules: &[Rule]) -> Result<()> {
    for program in programs(rules)? {
        seccompiler::apply_filter(&program)
            .context("the host does not let the sandbox install its own seccomp filter")?;
    }
    Ok(())
}

fn programs(rules: &[Rule]) -> Result<[BpfProgram; 2]> {
    let mut map: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut unconditional = Vec::new();
    for rule in rules {
        let conditions = rule.conditions()?;
        if conditions.is_empty() {
            unconditional.push(rule.call);
        }
        map.entry(rule.call).or_default().extend(conditions);
    }
    // An empty list of conditions allows the call whatever its arguments.
    for call in unconditional {
        map.insert(call, Vec::new());
    }
    if map.len() > MAX_CALLS {
        bail!(
            "the sentry's filter allows {} host calls, more than {MAX_CALLS}",
            map.len()
        );
    }
    let arch = TargetArch::x86_64;
    let allow: BpfProgram = SeccompFilter::new(
        with_clone3(map),
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        arch,
    )?
    .try_into()?;
    let no_clone3: BpfProgram = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
        arch,
    )?
    .try_into()?;
    Ok([no_clone3, allow])
}

/// The stricter of two stacked filters wins, so the allow-list has to let `clone3` through for the other one's ENOSYS to be seen.
fn with_clone3(mut map: BTreeMap<i64, Vec<SeccompRule>>) -> BTreeMap<i64, Vec<SeccompRule>> {
    map.insert(libc::SYS_clone3, Vec::new());
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_opens_or_executes_is_allowed() {
        let mut rules = base();
        rules.extend(super::super::kernel::host_calls(
            platform::notify::HOST_CALLS,
        ));
        let forbidden = [
            libc::SYS_open,
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_mount,
            libc::SYS_ptrace,
            libc::SYS_fork,
            libc::SYS_vfork,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_creat,
            libc::SYS_open_by_handle_at,
            libc::SYS_open_tree,
            libc::SYS_fsopen,
            libc::SYS_socketpair,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_unlinkat,
            libc::SYS_renameat2,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_perf_event_open,
            libc::SYS_seccomp,
            libc::SYS_capset,
            libc::SYS_setuid,
            libc::SYS_personality,
            libc::SYS_pkey_mprotect,
        ];
        // The ptrace platform needs ptrace: it is not among the rules of the default one.
        assert!(rules.iter().all(|rule| !forbidden.contains(&rule.call)));
        assert!(rules.iter().all(|rule| !rule.reason.is_empty()));
        programs(&rules).unwrap();
    }

    #[test]
    fn too_long_a_list_is_refused() {
        let rules: Vec<Rule> = (0..100).map(|call| Rule::any(call, "test")).collect();
        assert!(programs(&rules).is_err());
    }
}
