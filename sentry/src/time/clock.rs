//! The clocks that guests can name (`clock_gettime(2)`): the host's own, and CPU time of processes and threads (`kernel/time/posix-cpu-timers.c`).

use std::sync::{Arc, Weak};

use crate::error::{Errno, Result};
use crate::host;
use crate::task::{Task, ThreadGroup};

/// CLOCK_REALTIME.
pub const CLOCK_REALTIME: i32 = 0;
/// CLOCK_MONOTONIC.
pub const CLOCK_MONOTONIC: i32 = 1;
/// CLOCK_PROCESS_CPUTIME_ID.
pub const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;
/// CLOCK_THREAD_CPUTIME_ID.
pub const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
/// CLOCK_MONOTONIC_RAW.
pub const CLOCK_MONOTONIC_RAW: i32 = 4;
/// CLOCK_REALTIME_COARSE.
pub const CLOCK_REALTIME_COARSE: i32 = 5;
/// CLOCK_MONOTONIC_COARSE.
pub const CLOCK_MONOTONIC_COARSE: i32 = 6;
/// CLOCK_BOOTTIME.
pub const CLOCK_BOOTTIME: i32 = 7;
/// CLOCK_REALTIME_ALARM.
pub const CLOCK_REALTIME_ALARM: i32 = 8;
/// CLOCK_BOOTTIME_ALARM.
pub const CLOCK_BOOTTIME_ALARM: i32 = 9;
/// CLOCK_TAI.
pub const CLOCK_TAI: i32 = 11;

/// Which part of CPU time a CPU clock counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuPart {
    /// User and system time.
    All,
    /// User time only.
    User,
}

/// A clock.
#[derive(Clone)]
pub enum Clock {
    /// One of the host's, by number.
    Host(i32),
    /// CPU time of a process, with that of its threads that are gone.
    Process(Weak<ThreadGroup>, CpuPart),
    /// CPU time of a thread.
    Thread(Weak<Task>, CpuPart),
}

/// User and system nanoseconds of all threads of a process, living and gone.
#[must_use]
pub fn process_cpu_ns(group: &ThreadGroup) -> (u64, u64) {
    let gone = *group.own_times.lock();
    group
        .threads()
        .iter()
        .map(|task| task.thread().cpu_time_ns())
        .fold((gone.user_ns, gone.system_ns), |sum, part| {
            (sum.0.saturating_add(part.0), sum.1.saturating_add(part.1))
        })
}

impl Clock {
    /// The clock with this id as `task` means it: `EINVAL` if there is none.
    pub fn from_id(task: &Arc<Task>, id: i32) -> Result<Self> {
        match id {
            CLOCK_PROCESS_CPUTIME_ID => {
                Ok(Self::Process(Arc::downgrade(&task.group), CpuPart::All))
            }
            CLOCK_THREAD_CPUTIME_ID => Ok(Self::Thread(Arc::downgrade(task), CpuPart::All)),
            CLOCK_REALTIME..=CLOCK_BOOTTIME_ALARM | CLOCK_TAI => Ok(Self::Host(id)),
            id if id < 0 => Self::dynamic(task, id),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The clock of `clock_getcpuclockid(3)`: the complement of the process or thread id, and the kind in the low three bits.
    fn dynamic(task: &Arc<Task>, id: i32) -> Result<Self> {
        const PER_THREAD: i32 = 4;
        const CLOCKFD: i32 = 3;
        let number = !(id >> 3);
        let part = match id & 3 {
            CLOCKFD => return Err(Errno::EINVAL),
            1 => CpuPart::User,
            _ => CpuPart::All,
        };
        let target = if number == 0 {
            task.clone()
        } else {
            task.pid_namespace().task(number).ok_or(Errno::EINVAL)?
        };
        if id & PER_THREAD != 0 {
            if !Arc::ptr_eq(&target.group, &task.group) {
                return Err(Errno::EINVAL);
            }
            return Ok(Self::Thread(Arc::downgrade(&target), part));
        }
        Ok(Self::Process(Arc::downgrade(&target.group), part))
    }

    /// Its time in nanoseconds; `EINVAL` if whom it measured is gone.
    pub fn now(&self) -> Result<u64> {
        let (user, system, part) = match self {
            Self::Host(id) => return host::clock_ns(*id),
            Self::Process(group, part) => {
                let group = group.upgrade().ok_or(Errno::EINVAL)?;
                let (user, system) = process_cpu_ns(&group);
                (user, system, *part)
            }
            Self::Thread(task, part) => {
                let task = task.upgrade().ok_or(Errno::EINVAL)?;
                let (user, system) = task.thread().cpu_time_ns();
                (user, system, *part)
            }
        };
        Ok(match part {
            CpuPart::All => user.saturating_add(system),
            CpuPart::User => user,
        })
    }

    /// Its resolution in nanoseconds.
    #[must_use]
    pub const fn resolution_ns(&self) -> u64 {
        const COARSE_NS: u64 = 4_000_000;
        match self {
            Self::Host(CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE) => COARSE_NS,
            _ => 1,
        }
    }

    /// Whether one can sleep and make timers on it: `EOPNOTSUPP` for raw and coarse clocks and for those that would wake the machine.
    pub const fn check_timers(&self) -> Result<()> {
        match self {
            Self::Host(
                CLOCK_MONOTONIC_RAW
                | CLOCK_REALTIME_COARSE
                | CLOCK_MONOTONIC_COARSE
                | CLOCK_REALTIME_ALARM
                | CLOCK_BOOTTIME_ALARM,
            ) => Err(Errno::EOPNOTSUPP),
            _ => Ok(()),
        }
    }

    /// How long to wait, in real nanoseconds, before this clock may have advanced by `remaining_ns`.
    pub(super) fn real_ns_for(&self, remaining_ns: u64) -> u64 {
        match self {
            Self::Host(_) | Self::Thread(..) => remaining_ns,
            Self::Process(group, _) => {
                let running = group.upgrade().map_or(1, |g| g.tasks.lock().len().max(1));
                remaining_ns / running as u64
            }
        }
    }

    /// Whether it counts CPU time.
    #[must_use]
    pub const fn is_cpu(&self) -> bool {
        !matches!(self, Self::Host(_))
    }
}
