//! Sleeping.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use abi::time::Timespec;
use abi::{UserIn, UserOut};
use sentry::error::{Errno, Restart, SysError, SysResult};
use sentry::task::CurrentTask;
use sentry::time::{
    self,
    clock::{CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID, Clock},
    timer::{ClockTimer, Setting},
};
use sentry::wait::{Events, WaitQueue};

const TIMER_ABSTIME: i32 = 1;

/// `nanosleep(2)`.
pub async fn nanosleep(
    cx: &CurrentTask,
    request: UserIn<Timespec>,
    left: UserOut<Timespec>,
) -> SysResult<()> {
    let ns = cx.memory().get(request)?.to_ns().ok_or(Errno::EINVAL)?;
    relative(cx, time::after(ns), left).await
}

/// Sleeps until `deadline`; a signal stores the time left and a continuation that ends when this sleep would have.
async fn relative(
    cx: &CurrentTask,
    deadline: Option<Instant>,
    left: UserOut<Timespec>,
) -> SysResult<()> {
    match cx.sleep_until(deadline).await {
        Err(SysError::Restart(_)) => {
            let remaining = deadline.map_or(u64::MAX, |at| {
                let left = at.saturating_duration_since(Instant::now());
                u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)
            });
            cx.memory().put_opt(left, &Timespec::from_ns(remaining))?;
            Err(cx.restart_with(move |cx| boxed(cx, deadline, left)))
        }
        other => other,
    }
}

type Boxed<'a> = std::pin::Pin<Box<dyn Future<Output = SysResult> + Send + 'a>>;

fn boxed(cx: &CurrentTask, deadline: Option<Instant>, left: UserOut<Timespec>) -> Boxed<'_> {
    Box::pin(async move { relative(cx, deadline, left).await.map(|()| 0) })
}

/// `clock_nanosleep(2)`.
pub async fn clock_nanosleep(
    cx: &CurrentTask,
    id: i32,
    flags: i32,
    request: UserIn<Timespec>,
    left: UserOut<Timespec>,
) -> SysResult<()> {
    let clock = Clock::from_id(cx.task(), id)?;
    if id == CLOCK_THREAD_CPUTIME_ID {
        return Err(Errno::EOPNOTSUPP.into());
    }
    clock.check_timers()?;
    let ns = cx.memory().get(request)?.to_ns().ok_or(Errno::EINVAL)?;
    let absolute = flags & TIMER_ABSTIME != 0;
    if !clock.is_cpu() && !absolute {
        return relative(cx, time::after(ns), left).await;
    }
    if !clock.is_cpu() && id == CLOCK_MONOTONIC {
        let deadline = time::after(ns.saturating_sub(clock.now()?));
        return cx.sleep_until(deadline).await.map_err(not_by_handler);
    }
    let target = if absolute {
        ns
    } else {
        clock.now()?.saturating_add(ns)
    };
    let result = until(cx, clock.clone(), target).await;
    if absolute {
        return result.map_err(not_by_handler);
    }
    match result {
        Err(SysError::Restart(_)) => {
            let remaining = target.saturating_sub(clock.now()?);
            cx.memory().put_opt(left, &Timespec::from_ns(remaining))?;
            Err(cx.restart_with(move |cx| {
                Box::pin(async move {
                    until(cx, clock, target)
                        .await
                        .map(|()| 0)
                        .map_err(not_by_handler)
                })
            }))
        }
        other => other,
    }
}

fn not_by_handler(error: SysError) -> SysError {
    match error {
        SysError::Restart(_) => SysError::Restart(Restart::NoHand),
        other => other,
    }
}

/// Sleeps until `clock` shows `target`, whatever happens to the clock meanwhile.
async fn until(cx: &CurrentTask, clock: Clock, target: u64) -> SysResult<()> {
    if clock.now()? >= target {
        return Ok(());
    }
    let (expired, queue) = (Arc::new(AtomicBool::new(false)), WaitQueue::new());
    let (flag, waiters) = (expired.clone(), queue.clone());
    let timer = ClockTimer::new(
        clock,
        cx.kernel.reactor.clone(),
        Box::new(move |_| {
            flag.store(true, Ordering::Release);
            waiters.notify(Events::IN);
        }),
    );
    let setting = Setting {
        value_ns: target,
        interval_ns: 0,
    };
    timer.set(setting, true)?;
    cx.block_until(&[(&queue, Events::IN)], None, || {
        if expired.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err(Errno::EAGAIN.into())
        }
    })
    .await
}
