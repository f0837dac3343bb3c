//! Reading clocks. None can be set: they are the host's.

use abi::time::{Timespec, Timeval};
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, Result, SysResult};
use sentry::mm::ops::order;
use sentry::platform::HostCall;
use sentry::task::CurrentTask;
use sentry::task::creds::Cap;
use sentry::time::{self, clock};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Clock ticks a second as user space sees them (USER_HZ).
const NSEC_PER_TICK: u64 = 10_000_000;

/// `clock_gettime(2)`.
pub async fn clock_gettime(cx: &CurrentTask, id: i32, at: UserOut<Timespec>) -> SysResult<()> {
    if id == clock::CLOCK_THREAD_CPUTIME_ID {
        // Exact only for the thread itself: Linux tells single threads' clocks to their own process.
        order(&*cx.thread(), HostCall::ThreadClock { at: at.addr().0 }).await?;
        return Ok(());
    }
    let now = clock::Clock::from_id(cx.task(), id)?.now()?;
    Ok(cx.memory().put(at, &Timespec::from_ns(now))?)
}

/// `clock_getres(2)`.
pub async fn clock_getres(cx: &CurrentTask, id: i32, at: UserOut<Timespec>) -> SysResult<()> {
    let resolution = clock::Clock::from_id(cx.task(), id)?.resolution_ns();
    Ok(cx.memory().put_opt(at, &Timespec::from_ns(resolution))?)
}

/// `clock_settime(2)`: `EPERM`, whatever the capabilities.
pub async fn clock_settime(cx: &CurrentTask, id: i32, at: UserIn<Timespec>) -> SysResult<()> {
    if id != clock::CLOCK_REALTIME {
        return Err(Errno::EINVAL.into());
    }
    let new: Timespec = cx.memory().get(at)?;
    new.to_ns().ok_or(Errno::EINVAL)?;
    Err(Errno::EPERM.into())
}

/// `settimeofday(2)`: `EPERM`, whatever the capabilities.
pub async fn settimeofday(
    cx: &CurrentTask,
    tv: UserIn<Timeval>,
    _tz: UserIn<u64>,
) -> SysResult<()> {
    if let Some(new) = cx.memory().get_opt(tv)?
        && !(0..1_000_000).contains(&new.usec)
    {
        return Err(Errno::EINVAL.into());
    }
    Err(Errno::EPERM.into())
}

/// `gettimeofday(2)`.
pub async fn gettimeofday(
    cx: &CurrentTask,
    tv: UserOut<Timeval>,
    tz: UserOut<[i32; 2]>,
) -> SysResult<()> {
    let now = time::now();
    let value = Timeval {
        sec: now.sec,
        usec: now.nsec / 1000,
    };
    cx.memory().put_opt(tv, &value)?;
    Ok(cx.memory().put_opt(tz, &[0, 0])?)
}

/// `time(2)`.
pub async fn time(cx: &CurrentTask, at: UserOut<i64>) -> SysResult<i64> {
    let now = time::now().sec;
    cx.memory().put_opt(at, &now)?;
    Ok(now)
}

/// `times(2)`.
pub async fn times(cx: &CurrentTask, at: UserOut<[u64; 4]>) -> SysResult<u64> {
    let (user, system) = clock::process_cpu_ns(&cx.group);
    let children = *cx.group.child_times.lock();
    let ticks = [user, system, children.user_ns, children.system_ns].map(|ns| ns / NSEC_PER_TICK);
    cx.memory().put_opt(at, &ticks)?;
    Ok(time::monotonic_ns() / NSEC_PER_TICK)
}

/// `struct timex`, of which only the head matters here.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Timex {
    modes: u32,
    pad0: u32,
    offset: i64,
    freq: i64,
    maxerror: i64,
    esterror: i64,
    status: i32,
    pad1: i32,
    constant: i64,
    precision: i64,
    tolerance: i64,
    time: Timeval,
    tick: i64,
    rest: [i64; 14],
}

/// Tells time and that nobody says how exact it is; refuses to change anything.
fn adjust(cx: &CurrentTask, at: UserAddr) -> Result<i32> {
    const STA_UNSYNC: i32 = 0x40;
    const TIME_ERROR: i32 = 5;
    const UNKNOWN_ERROR_US: i64 = 16_000_000;
    const TICK_US: i64 = 10_000;
    const MAX_FREQUENCY: i64 = 500 << 16;
    /// ADJ_OFFSET_SS_READ reads only.
    const OFFSET_SS_READ: u32 = 0xa001;
    let mut timex: Timex = cx.memory().get(UserIn::new(at))?;
    if timex.modes != 0 && timex.modes != OFFSET_SS_READ {
        cx.creds().require(Cap::SYS_TIME)?;
        return Err(Errno::EPERM);
    }
    let now = time::now();
    timex.offset = 0;
    timex.freq = 0;
    timex.maxerror = UNKNOWN_ERROR_US;
    timex.esterror = UNKNOWN_ERROR_US;
    timex.status = STA_UNSYNC;
    timex.constant = 2;
    timex.precision = 1;
    timex.tolerance = MAX_FREQUENCY;
    timex.time = Timeval {
        sec: now.sec,
        usec: now.nsec / 1000,
    };
    timex.tick = TICK_US;
    timex.rest = [0; 14];
    cx.memory().put(UserOut::new(at), &timex)?;
    Ok(TIME_ERROR)
}

/// `adjtimex(2)`.
pub async fn adjtimex(cx: &CurrentTask, at: UserAddr) -> SysResult<i32> {
    Ok(adjust(cx, at)?)
}

/// `clock_adjtime(2)`.
pub async fn clock_adjtime(cx: &CurrentTask, id: i32, at: UserAddr) -> SysResult<i32> {
    match id {
        clock::CLOCK_REALTIME => Ok(adjust(cx, at)?),
        1..=11 => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}
