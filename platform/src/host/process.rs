//! Host processes and threads: signals, pidfds, reaping, CPU clocks.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use abi::Errno;

use super::check;
use crate::api::{Schedule, Usage};

/// A descriptor that names process `pid` (a thread-group leader of this pid namespace).
pub fn open_pidfd(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A duplicate of descriptor `number` of the process behind `pidfd`.
pub fn take_descriptor(pidfd: BorrowedFd<'_>, number: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// SIGKILL to the process behind `pidfd`.
pub fn kill(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: a null `siginfo_t` is allowed.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<u8>(),
            0,
        )
    })
    .map(drop)
}

/// `kill(2)`: only for a process that cannot have been reaped yet.
pub fn kill_pid(pid: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::kill(pid, libc::SIGKILL) }.into()).map(drop)
}

/// Sends `signal` (0: only looks) to thread `tid` of process `tgid`.
pub fn signal_thread(tgid: i32, tid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_tgkill, tgid, tid, signal) }).map(drop)
}

/// Reaps the child behind `pidfd` if it is dead: whether it was.
pub fn reap(pidfd: BorrowedFd<'_>) -> Result<bool, Errno> {
    wait(pidfd, libc::WEXITED | libc::WNOHANG)
}

/// As [`reap`], with what the process used.
pub fn reap_usage(pidfd: BorrowedFd<'_>) -> Result<Option<Usage>, Errno> {
    let id = pidfd.as_raw_fd().cast_unsigned();
    reap_with(libc::P_PIDFD, id, libc::WEXITED | libc::WNOHANG)
}

/// `waitid(2)` as the kernel has it: it also tells what the child used. `None`: nothing to reap.
pub fn reap_with(kind: libc::idtype_t, id: u32, options: i32) -> Result<Option<Usage>, Errno> {
    // SAFETY: all zero bytes are valid values of both.
    let (mut info, mut usage): (libc::siginfo_t, libc::rusage) = unsafe { std::mem::zeroed() };
    // SAFETY: both are valid places for the results.
    check(unsafe {
        libc::syscall(
            libc::SYS_waitid,
            kind,
            id,
            &raw mut info,
            options,
            &raw mut usage,
        )
    })?;
    // SAFETY: `waitid` filled the SIGCHLD member, or left it zero.
    if unsafe { info.si_pid() } == 0 {
        return Ok(None);
    }
    let count = |value: i64| u64::try_from(value).unwrap_or(0);
    let ns = |time: libc::timeval| count(time.tv_sec) * 1_000_000_000 + count(time.tv_usec) * 1000;
    Ok(Some(Usage {
        user_ns: ns(usage.ru_utime),
        system_ns: ns(usage.ru_stime),
        resident: 0,
        peak_resident: count(usage.ru_maxrss) * 1024,
        minor_faults: count(usage.ru_minflt),
        major_faults: count(usage.ru_majflt),
        switches: [count(usage.ru_nvcsw), count(usage.ru_nivcsw)],
        blocks: [count(usage.ru_inblock), count(usage.ru_oublock)],
    }))
}

/// Whether the process behind `pidfd` is this process's child (dead or alive), without reaping it.
pub fn is_child(pidfd: BorrowedFd<'_>) -> bool {
    wait(pidfd, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT).is_ok()
}

/// Waits until the child behind `pidfd` is dead and reaps it.
pub fn reap_blocking(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    loop {
        match wait(pidfd, libc::WEXITED) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

fn wait(pidfd: BorrowedFd<'_>, options: i32) -> Result<bool, Errno> {
    // SAFETY: all zero bytes are a valid `siginfo_t`.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    check(
        // SAFETY: `info` is a valid place for the result.
        unsafe {
            libc::waitid(
                libc::P_PIDFD,
                pidfd.as_raw_fd().cast_unsigned(),
                &raw mut info,
                options,
            )
        }
        .into(),
    )?;
    // SAFETY: `waitid` filled the SIGCHLD member, or left it zero.
    Ok(unsafe { info.si_pid() } != 0)
}

/// Which clock of a process (`include/linux/posix-timers.h`).
#[derive(Clone, Copy)]
pub enum Clock {
    /// User plus system time, sampled.
    Prof = 0,
    /// User time, sampled.
    Virt = 1,
    /// Run time, exact.
    Sched = 2,
}

/// Nanoseconds of a CPU clock of process `pid`. (Linux tells those of single threads only to their own process.)
pub fn cpu_clock(pid: i32, clock: Clock) -> Result<u64, Errno> {
    let id = (!pid << 3) | clock as i32;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the result.
    check(unsafe { libc::clock_gettime(id, &raw mut time) }.into())?;
    Ok((time.tv_sec as u64)
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec as u64))
}

/// User and system nanoseconds: the exact run time, split as the sampled clocks are.
pub fn cpu_times(pid: i32) -> (u64, u64) {
    let total = cpu_clock(pid, Clock::Sched).unwrap_or(0);
    let sampled = cpu_clock(pid, Clock::Prof).unwrap_or(0);
    let user = cpu_clock(pid, Clock::Virt).unwrap_or(0).min(sampled);
    if sampled == 0 {
        return (total, 0);
    }
    let user = (u128::from(total) * u128::from(user) / u128::from(sampled)) as u64;
    (user, total - user)
}

/// The CPUs that this process might run on when this was first asked (before any of its threads was bound to some), ascending.
pub fn allowed_cpus() -> &'static [usize] {
    static CPUS: OnceLock<Vec<usize>> = OnceLock::new();
    CPUS.get_or_init(read_allowed_cpus)
}

/// Whether the n-th of [`allowed_cpus`] is CPU n: then the host's numbers are the guests'.
pub fn cpus_count_from_zero() -> bool {
    let cpus = allowed_cpus();
    !cpus.is_empty() && cpus.iter().enumerate().all(|(n, &cpu)| n == cpu)
}

fn read_allowed_cpus() -> Vec<usize> {
    let mut set = [0_u64; 16];
    // SAFETY: a valid buffer of that length.
    let got = check(unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            0,
            size_of_val(&set),
            set.as_mut_ptr(),
        )
    });
    if got.is_err() {
        return Vec::new();
    }
    (0..set.len() * 64)
        .filter(|cpu| set[cpu / 64] >> (cpu % 64) & 1 != 0)
        .collect()
}

/// Tells the host's scheduler about thread `tid`. Bits of an affinity stand for the n-th of `cpus`.
pub fn schedule(tid: i32, how: Schedule, cpus: &[usize]) -> Result<(), Errno> {
    match how {
        Schedule::Affinity(mask) => {
            let mut set = [0_u64; 16];
            for (_, cpu) in cpus
                .iter()
                .enumerate()
                .take(64)
                .filter(|(n, _)| mask >> n & 1 != 0)
            {
                set[cpu / 64] |= 1 << (cpu % 64);
            }
            // SAFETY: a valid buffer of that length.
            check(unsafe {
                libc::syscall(
                    libc::SYS_sched_setaffinity,
                    tid,
                    size_of_val(&set),
                    set.as_ptr(),
                )
            })
        }
        Schedule::Class { policy, nice } => {
            // `struct sched_attr`: size, policy; flags; nice, priority; runtime, deadline, period.
            let mut attr = [0_u32; 12];
            attr[0] = size_of_val(&attr) as u32;
            attr[1] = policy.cast_unsigned();
            attr[4] = nice.cast_unsigned();
            // SAFETY: a `struct sched_attr` whose first word says how long it is.
            check(unsafe { libc::syscall(libc::SYS_sched_setattr, tid, attr.as_ptr(), 0) })
        }
    }
    .map(drop)
}

/// A random number from the host (`getrandom(2)`).
pub fn random() -> Result<u64, Errno> {
    let mut bytes = [0_u8; 8];
    // SAFETY: a valid buffer of that length. Eight bytes are never short.
    check(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } as libc::c_long)?;
    Ok(u64::from_ne_bytes(bytes))
}
