//! Scheduling policies (`sched(7)`). Only the normal ones can be had; real-time policies are refused as in a cgroup without real-time budget.

use abi::time::Timespec;
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, Result, SysResult};
use sentry::task::{CurrentTask, Task};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{may_schedule, target};

const SCHED_OTHER: i32 = 0;
const SCHED_FIFO: i32 = 1;
const SCHED_RR: i32 = 2;
const SCHED_BATCH: i32 = 3;
const SCHED_IDLE: i32 = 5;
const SCHED_DEADLINE: i32 = 6;
const SCHED_RESET_ON_FORK: i32 = 0x4000_0000;
const MAX_RT_PRIORITY: i32 = 99;

/// Checks policy and priority and sets them.
fn set(cx: &CurrentTask, task: &Task, policy: i32, priority: i32) -> Result<()> {
    match policy & !SCHED_RESET_ON_FORK {
        SCHED_OTHER | SCHED_BATCH | SCHED_IDLE => {
            if priority != 0 {
                return Err(Errno::EINVAL);
            }
        }
        SCHED_FIFO | SCHED_RR => {
            return Err(if (1..=MAX_RT_PRIORITY).contains(&priority) {
                Errno::EPERM
            } else {
                Errno::EINVAL
            });
        }
        SCHED_DEADLINE => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    }
    may_schedule(cx, task)?;
    task.misc.lock().scheduler = (policy, priority);
    // The host may keep a thread from leaving SCHED_IDLE.
    super::pass_on_class(task);
    Ok(())
}

/// `sched_setscheduler(2)`.
pub async fn sched_setscheduler(
    cx: &CurrentTask,
    tid: i32,
    policy: i32,
    param: UserIn<i32>,
) -> SysResult<()> {
    if policy < 0 || tid < 0 || param.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let priority = cx.memory().get(param)?;
    let task = target(cx, tid)?;
    Ok(set(cx, &task, policy, priority)?)
}

/// `sched_setparam(2)`.
pub async fn sched_setparam(cx: &CurrentTask, tid: i32, param: UserIn<i32>) -> SysResult<()> {
    if tid < 0 || param.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let priority = cx.memory().get(param)?;
    let task = target(cx, tid)?;
    let policy = task.misc.lock().scheduler.0;
    Ok(set(cx, &task, policy, priority)?)
}

/// `sched_getscheduler(2)`.
pub async fn sched_getscheduler(cx: &CurrentTask, tid: i32) -> SysResult<i32> {
    let task = target(cx, tid)?;
    let policy = task.misc.lock().scheduler.0;
    Ok(policy)
}

/// `sched_getparam(2)`.
pub async fn sched_getparam(cx: &CurrentTask, tid: i32, param: UserOut<i32>) -> SysResult<()> {
    if tid < 0 || param.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let task = target(cx, tid)?;
    let priority = task.misc.lock().scheduler.1;
    Ok(cx.memory().put(param, &priority)?)
}

/// `sched_get_priority_max(2)`.
pub async fn sched_get_priority_max(_cx: &CurrentTask, policy: i32) -> SysResult<i32> {
    match policy {
        SCHED_FIFO | SCHED_RR => Ok(MAX_RT_PRIORITY),
        SCHED_OTHER | SCHED_BATCH | SCHED_IDLE | SCHED_DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `sched_get_priority_min(2)`.
pub async fn sched_get_priority_min(_cx: &CurrentTask, policy: i32) -> SysResult<i32> {
    match policy {
        SCHED_FIFO | SCHED_RR => Ok(1),
        SCHED_OTHER | SCHED_BATCH | SCHED_IDLE | SCHED_DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `sched_rr_get_interval(2)`: of a normal thread, what Linux's fair scheduler reports.
pub async fn sched_rr_get_interval(
    cx: &CurrentTask,
    tid: i32,
    at: UserOut<Timespec>,
) -> SysResult<()> {
    const SLICE_NS: u64 = 3_000_000;
    target(cx, tid)?;
    Ok(cx.memory().put(at, &Timespec::from_ns(SLICE_NS))?)
}

/// `struct sched_attr` in its first version, 48 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const SCHED_ATTR_SIZE: u32 = size_of::<SchedAttr>() as u32;

/// `sched_getattr(2)`.
pub async fn sched_getattr(
    cx: &CurrentTask,
    tid: i32,
    at: UserAddr,
    size: u32,
    flags: u32,
) -> SysResult<()> {
    if flags != 0 || tid < 0 || at.is_null() || !(SCHED_ATTR_SIZE..=4096).contains(&size) {
        return Err(Errno::EINVAL.into());
    }
    let task = target(cx, tid)?;
    let attr = {
        let misc = task.misc.lock();
        SchedAttr {
            size: SCHED_ATTR_SIZE,
            policy: (misc.scheduler.0 & !SCHED_RESET_ON_FORK) as u32,
            flags: u64::from(misc.scheduler.0 & SCHED_RESET_ON_FORK != 0),
            nice: misc.nice,
            ..SchedAttr::default()
        }
    };
    Ok(cx.memory().put(UserOut::new(at), &attr)?)
}

/// `sched_setattr(2)`.
pub async fn sched_setattr(cx: &CurrentTask, tid: i32, at: UserAddr, flags: u32) -> SysResult<()> {
    const RESET_ON_FORK: u64 = 1;
    if flags != 0 || tid < 0 || at.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let size: u32 = cx.memory().get(UserIn::new(at))?;
    let size = if size == 0 { SCHED_ATTR_SIZE } else { size };
    if !(SCHED_ATTR_SIZE..=4096).contains(&size) {
        cx.memory().put(UserOut::new(at), &SCHED_ATTR_SIZE)?;
        return Err(Errno::E2BIG.into());
    }
    let mut bytes = vec![0_u8; size as usize];
    cx.memory().read(at, &mut bytes)?;
    let (known, rest) = bytes.split_at(SCHED_ATTR_SIZE as usize);
    if rest.iter().any(|byte| *byte != 0) {
        cx.memory().put(UserOut::new(at), &SCHED_ATTR_SIZE)?;
        return Err(Errno::E2BIG.into());
    }
    let attr = SchedAttr::read_from_bytes(known).map_err(|_| Errno::EINVAL)?;
    let policy = i32::try_from(attr.policy).map_err(|_| Errno::EINVAL)?;
    if attr.flags & !RESET_ON_FORK != 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = target(cx, tid)?;
    let reset = if attr.flags & RESET_ON_FORK != 0 {
        SCHED_RESET_ON_FORK
    } else {
        0
    };
    let priority = i32::try_from(attr.priority).map_err(|_| Errno::EINVAL)?;
    if matches!(policy, SCHED_OTHER | SCHED_BATCH) {
        super::priority::check_nice(cx, &task, attr.nice)?;
    }
    set(cx, &task, policy | reset, priority)?;
    if matches!(policy, SCHED_OTHER | SCHED_BATCH) {
        super::priority::pass_on_nice(&task, attr.nice.clamp(-20, 19));
    }
    Ok(())
}
