//! Resource limits (`getrlimit(2)`).

use std::sync::Arc;

use abi::{UserIn, UserOut};
use sentry::error::{Errno, Result, SysResult};
use sentry::task::creds::Cap;
use sentry::task::limits::Resource;
use sentry::task::{CurrentTask, Task};
use sentry::vfs::NR_OPEN;

/// `struct rlimit64`: soft and hard.
pub type Rlimit = [u64; 2];

const COUNT: u32 = 16;

fn index(resource: u32) -> Result<usize> {
    if resource < COUNT {
        Ok(resource as usize)
    } else {
        Err(Errno::EINVAL)
    }
}

fn get(task: &Task, index: usize) -> Rlimit {
    let (soft, hard) = task.group.limits.lock().0[index];
    [soft, hard]
}

fn set(cx: &CurrentTask, task: &Arc<Task>, index: usize, [soft, hard]: Rlimit) -> Result<Rlimit> {
    if soft > hard {
        return Err(Errno::EINVAL);
    }
    if index == Resource::Nofile as usize && hard > NR_OPEN as u64 {
        return Err(Errno::EPERM);
    }
    let old = {
        let mut limits = task.group.limits.lock();
        let entry = &mut limits.0[index];
        if hard > entry.1 {
            cx.creds().require(Cap::SYS_RESOURCE)?;
        }
        std::mem::replace(entry, (soft, hard))
    };
    if index == Resource::Cpu as usize && old != (soft, hard) {
        task.group
            .timers
            .watch_cpu_limit(&task.group, &cx.kernel.reactor);
    }
    Ok([old.0, old.1])
}

/// `getrlimit(2)`.
pub async fn getrlimit(cx: &CurrentTask, resource: u32, at: UserOut<Rlimit>) -> SysResult<()> {
    let limit = get(cx.task(), index(resource)?);
    Ok(cx.memory().put(at, &limit)?)
}

/// `setrlimit(2)`.
pub async fn setrlimit(cx: &CurrentTask, resource: u32, at: UserIn<Rlimit>) -> SysResult<()> {
    let new = cx.memory().get(at)?;
    set(cx, cx.task(), index(resource)?, new)?;
    Ok(())
}

/// `prlimit64(2)`.
pub async fn prlimit64(
    cx: &CurrentTask,
    pid: i32,
    resource: u32,
    new: UserIn<Rlimit>,
    old: UserOut<Rlimit>,
) -> SysResult<()> {
    let new = cx.memory().get_opt(new)?;
    let task = if pid == 0 {
        cx.task().clone()
    } else {
        cx.pid_namespace().task(pid).ok_or(Errno::ESRCH)?
    };
    if !Arc::ptr_eq(&task, cx.task()) {
        let (own, other) = (cx.creds(), task.creds());
        let same = [other.uid, other.euid, other.suid]
            .iter()
            .all(|id| *id == own.uid)
            && [other.gid, other.egid, other.sgid]
                .iter()
                .all(|id| *id == own.gid);
        if !same {
            own.require_in(&other.user_ns, Cap::SYS_RESOURCE)?;
        }
    }
    let index = index(resource)?;
    let before = match new {
        Some(new) => set(cx, &task, index, new)?,
        None => get(&task, index),
    };
    Ok(cx.memory().put_opt(old, &before)?)
}
