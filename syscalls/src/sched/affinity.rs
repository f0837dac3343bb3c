//! CPU affinity (`sched_setaffinity(2)`): kept and shown within the container's CPUs, passed on to the host.

use std::sync::Arc;

use abi::UserAddr;
use sentry::error::{Errno, Result, SysResult};
use sentry::platform::Schedule;
use sentry::task::{CurrentTask, Task};

use super::{may_schedule, target};

/// CPUs that a mask of the task's can name.
const MASK_CPUS: u32 = u64::BITS;

/// The container's CPUs as a mask, one word.
fn possible(cx: &CurrentTask) -> u64 {
    match cx.container.resources().cpus.max(1) {
        MASK_CPUS.. => u64::MAX,
        cpus => (1 << cpus) - 1,
    }
}

/// The task meant. Unlike the other calls of the family, these look a negative id up as well (`sched_setaffinity`, kernel/sched/syscalls.c).
fn subject(cx: &CurrentTask, tid: i32) -> Result<Arc<Task>> {
    if tid < 0 {
        return Err(Errno::ESRCH);
    }
    target(cx, tid)
}

/// `sched_setaffinity(2)`.
pub async fn sched_setaffinity(
    cx: &CurrentTask,
    tid: i32,
    len: u32,
    mask: UserAddr,
) -> SysResult<()> {
    let mut bytes = [0_u8; 8];
    let n = bytes.len().min(len as usize);
    cx.memory().read(mask, &mut bytes[..n])?;
    let task = subject(cx, tid)?;
    may_schedule(cx, &task)?;
    let wanted = u64::from_ne_bytes(bytes) & possible(cx);
    if wanted == 0 {
        return Err(Errno::EINVAL.into());
    }
    task.misc.lock().affinity = wanted;
    // Where the host has fewer CPUs for the sandbox than the container shows, the mask is kept and shown all the same.
    let _ = task.thread().schedule(Schedule::Affinity(wanted));
    Ok(())
}

/// `sched_getaffinity(2)`: returns the bytes written.
pub async fn sched_getaffinity(
    cx: &CurrentTask,
    tid: i32,
    len: u32,
    mask: UserAddr,
) -> SysResult<usize> {
    let cpus = cx.container.resources().cpus.max(1);
    if u64::from(len) * 8 < u64::from(cpus) || !len.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    let task = subject(cx, tid)?;
    let set = match task.misc.lock().affinity {
        0 => u64::MAX,
        set => set,
    } & possible(cx);
    let words = cpus.div_ceil(MASK_CPUS).min(len / 8) as usize;
    let mut bytes = set.to_ne_bytes().to_vec();
    // CPUs beyond the first 64 cannot be taken away.
    for word in 1..words {
        let left = cpus - word as u32 * MASK_CPUS;
        let bits = if left >= MASK_CPUS {
            u64::MAX
        } else {
            (1 << left) - 1
        };
        bytes.extend_from_slice(&bits.to_ne_bytes());
    }
    cx.memory().write(mask, &bytes)?;
    Ok(bytes.len())
}
