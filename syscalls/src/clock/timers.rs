//! Interval timers and POSIX timers.

use std::sync::Arc;

use abi::signal::Signal;
use abi::time::{Itimerspec, Itimerval, NSEC_PER_SEC, Timespec, Timeval};
use abi::{UserIn, UserOut};
use sentry::error::{Errno, Result, SysResult};
use sentry::task::CurrentTask;
use sentry::task::timers::{Interval, Notify};
use sentry::time::{clock::Clock, timer::Setting};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const NSEC_PER_USEC: u64 = 1000;

fn from_timeval(value: Timeval) -> Result<u64> {
    let usec = u64::try_from(value.usec).map_err(|_| Errno::EINVAL)?;
    if usec >= 1_000_000 {
        return Err(Errno::EINVAL);
    }
    let sec = u64::try_from(value.sec).map_err(|_| Errno::EINVAL)?;
    Ok(sec
        .saturating_mul(NSEC_PER_SEC)
        .saturating_add(usec * NSEC_PER_USEC))
}

/// Rounded up: what is armed must not look disarmed.
const fn to_timeval(ns: u64) -> Timeval {
    let usec = ns.div_ceil(NSEC_PER_USEC);
    Timeval {
        sec: (usec / 1_000_000) as i64,
        usec: (usec % 1_000_000) as i64,
    }
}

const fn to_itimerval(setting: Setting) -> Itimerval {
    Itimerval {
        interval: to_timeval(setting.interval_ns),
        value: to_timeval(setting.value_ns),
    }
}

/// `getitimer(2)`.
pub async fn getitimer(cx: &CurrentTask, which: i32, at: UserOut<Itimerval>) -> SysResult<()> {
    let setting = cx.group.timers.interval(Interval::from_number(which)?);
    Ok(cx.memory().put(at, &to_itimerval(setting))?)
}

fn set_interval(cx: &CurrentTask, which: Interval, setting: Setting) -> Result<Setting> {
    cx.group
        .timers
        .set_interval(&cx.group, &cx.kernel.reactor, which, setting)
}

/// `setitimer(2)`.
pub async fn setitimer(
    cx: &CurrentTask,
    which: i32,
    new: UserIn<Itimerval>,
    old: UserOut<Itimerval>,
) -> SysResult<()> {
    // A null pointer disarms, as Linux still allows.
    let value = cx.memory().get_opt(new)?.unwrap_or_default();
    let setting = Setting {
        value_ns: from_timeval(value.value)?,
        interval_ns: from_timeval(value.interval)?,
    };
    let before = set_interval(cx, Interval::from_number(which)?, setting)?;
    Ok(cx.memory().put_opt(old, &to_itimerval(before))?)
}

/// `alarm(2)`.
pub async fn alarm(cx: &CurrentTask, seconds: u32) -> SysResult<u64> {
    let setting = Setting {
        value_ns: u64::from(seconds) * NSEC_PER_SEC,
        interval_ns: 0,
    };
    let left = set_interval(cx, Interval::Real, setting)?.value_ns;
    // To the nearest second, but never 0 for an alarm that was set.
    Ok(match left {
        0 => 0,
        ns => ((ns + NSEC_PER_SEC / 2) / NSEC_PER_SEC).max(1),
    })
}

/// `struct sigevent`, 64 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sigevent {
    /// `sigev_value`.
    pub value: u64,
    /// `sigev_signo`.
    pub signo: i32,
    /// SIGEV_*.
    pub notify: i32,
    /// `sigev_notify_thread_id`.
    pub tid: i32,
    pad: [i32; 11],
}

/// SIGEV_NONE.
pub(crate) const SIGEV_NONE: i32 = 1;
const SIGEV_SIGNAL: i32 = 0;
const SIGEV_THREAD: i32 = 2;
const SIGEV_THREAD_ID: i32 = 4;

fn notify_of(cx: &CurrentTask, event: &Sigevent) -> Result<Notify> {
    let signal = Signal::new(i64::from(event.signo)).ok_or(Errno::EINVAL);
    match event.notify {
        SIGEV_NONE => Ok(Notify::None),
        SIGEV_SIGNAL | SIGEV_THREAD => Ok(Notify::Process(signal?)),
        SIGEV_THREAD_ID => {
            let task = cx.pid_namespace().task(event.tid).ok_or(Errno::EINVAL)?;
            if !Arc::ptr_eq(&task.group, &cx.group) {
                return Err(Errno::EINVAL);
            }
            Ok(Notify::Thread(Arc::downgrade(&task), signal?))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `timer_create(2)`.
pub async fn timer_create(
    cx: &CurrentTask,
    clock: i32,
    event: UserIn<Sigevent>,
    id: UserOut<i32>,
) -> SysResult<()> {
    let event = cx.memory().get_opt(event)?;
    let clock = Clock::from_id(cx.task(), clock)?;
    clock.check_timers()?;
    let notify = match &event {
        None => Notify::Process(Signal::ALRM),
        Some(event) => notify_of(cx, event)?,
    };
    let timers = &cx.group.timers;
    let value = event.map(|event| event.value);
    let number = timers.create(&cx.group, &cx.kernel.reactor, clock, notify, value)?;
    if let Err(errno) = cx.memory().put(id, &number) {
        timers.delete(number)?;
        return Err(errno.into());
    }
    Ok(())
}

const fn to_itimerspec(setting: Setting) -> Itimerspec {
    Itimerspec {
        interval: Timespec::from_ns(setting.interval_ns),
        value: Timespec::from_ns(setting.value_ns),
    }
}

/// `timer_settime(2)`.
pub async fn timer_settime(
    cx: &CurrentTask,
    id: i32,
    flags: i32,
    new: UserIn<Itimerspec>,
    old: UserOut<Itimerspec>,
) -> SysResult<()> {
    const TIMER_ABSTIME: i32 = 1;
    if new.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let new = cx.memory().get(new)?;
    let setting = Setting {
        value_ns: new.value.to_ns().ok_or(Errno::EINVAL)?,
        interval_ns: new.interval.to_ns().ok_or(Errno::EINVAL)?,
    };
    let before = cx
        .group
        .timers
        .set(id, setting, flags & TIMER_ABSTIME != 0)?;
    Ok(cx.memory().put_opt(old, &to_itimerspec(before))?)
}

/// `timer_gettime(2)`.
pub async fn timer_gettime(cx: &CurrentTask, id: i32, at: UserOut<Itimerspec>) -> SysResult<()> {
    let setting = cx.group.timers.get(id)?;
    Ok(cx.memory().put(at, &to_itimerspec(setting))?)
}

/// `timer_getoverrun(2)`.
pub async fn timer_getoverrun(cx: &CurrentTask, id: i32) -> SysResult<i32> {
    Ok(cx.group.timers.overrun(id)?)
}

/// `timer_delete(2)`.
pub async fn timer_delete(cx: &CurrentTask, id: i32) -> SysResult<()> {
    Ok(cx.group.timers.delete(id)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_must_be_normal_and_are_rounded_up() {
        let tv = |sec, usec| Timeval { sec, usec };
        assert_eq!(from_timeval(tv(1, 999_999)), Ok(1_999_999_000));
        assert_eq!(from_timeval(tv(0, 1_000_000)), Err(Errno::EINVAL));
        assert_eq!(from_timeval(tv(-1, 0)), Err(Errno::EINVAL));
        assert_eq!(to_timeval(1), tv(0, 1));
        assert_eq!(to_timeval(999_999_999), tv(1, 0));
    }
}
