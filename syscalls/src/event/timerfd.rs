//! `timerfd_create(2)`, `timerfd_settime(2)`, `timerfd_gettime(2)`.

use abi::fs::{O_CLOEXEC, O_NONBLOCK};
use abi::time::{Itimerspec, Timespec};
use abi::{UserIn, UserOut};
use sentry::error::{Errno, SysResult};
use sentry::fs::timerfd;
use sentry::task::CurrentTask;
use sentry::task::creds::Cap;
use sentry::time::clock::{CLOCK_BOOTTIME_ALARM, CLOCK_REALTIME_ALARM};
use sentry::time::timer::Setting;
use sentry::vfs::Fd;

const fn itimerspec(setting: Setting) -> Itimerspec {
    Itimerspec {
        interval: Timespec::from_ns(setting.interval_ns),
        value: Timespec::from_ns(setting.value_ns),
    }
}

/// CAP_WAKE_ALARM.
const WAKE_ALARM: Cap = Cap(35);

/// `timerfd_create(2)`.
pub async fn timerfd_create(cx: &CurrentTask, clock: i32, flags: u32) -> SysResult<Fd> {
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = timerfd::open(clock, flags, &cx.kernel.reactor)?;
    let wakes = clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM;
    if wakes && !cx.creds().has(WAKE_ALARM) {
        return Err(Errno::EPERM.into());
    }
    Ok(cx.install(file, flags & O_CLOEXEC != 0)?)
}

/// `timerfd_settime(2)`.
pub async fn timerfd_settime(
    cx: &CurrentTask,
    fd: Fd,
    flags: u32,
    new: UserIn<Itimerspec>,
    old: UserOut<Itimerspec>,
) -> SysResult<()> {
    const TFD_TIMER_ABSTIME: u32 = 1;
    const TFD_TIMER_CANCEL_ON_SET: u32 = 2;
    let new = cx.memory().get(new)?;
    let value_ns = new.value.to_ns().ok_or(Errno::EINVAL)?;
    let interval_ns = new.interval.to_ns().ok_or(Errno::EINVAL)?;
    if flags & !(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(fd)?;
    let setting = Setting {
        value_ns,
        interval_ns,
    };
    let before = timerfd::of_file(&file)?.set(setting, flags & TFD_TIMER_ABSTIME != 0)?;
    Ok(cx.memory().put_opt(old, &itimerspec(before))?)
}

/// `timerfd_gettime(2)`.
pub async fn timerfd_gettime(cx: &CurrentTask, fd: Fd, at: UserOut<Itimerspec>) -> SysResult<()> {
    let file = cx.file(fd)?;
    let setting = timerfd::of_file(&file)?.get();
    Ok(cx.memory().put(at, &itimerspec(setting))?)
}
