//! Scheduling, priorities, resource limits and usage. The host schedules: affinity, policies and nice values are kept, shown, and passed on as far as the host lets us.

mod affinity;
mod limits;
mod policy;
mod priority;
mod usage;

pub use affinity::{sched_getaffinity, sched_setaffinity};
pub use limits::{Rlimit, getrlimit, prlimit64, setrlimit};
pub use policy::{
    sched_get_priority_max, sched_get_priority_min, sched_getattr, sched_getparam,
    sched_getscheduler, sched_rr_get_interval, sched_setattr, sched_setparam, sched_setscheduler,
};
pub use priority::{getpriority, ioprio_get, ioprio_set, setpriority};
pub use usage::{Rusage, Sysinfo, getrusage, sysinfo};

use std::sync::Arc;

use sentry::error::{Errno, Result};
use sentry::platform::Schedule;
use sentry::task::creds::Cap;
use sentry::task::{CurrentTask, Task};

/// Tells a task's new host thread what its old one was told: after exec.
pub(crate) fn pass_on(task: &Task) {
    let (affinity, scheduler, nice) = {
        let misc = task.misc.lock();
        (misc.affinity, misc.scheduler.0, misc.nice)
    };
    if affinity != 0 {
        let _ = task.thread().schedule(Schedule::Affinity(affinity));
    }
    if scheduler != 0 || nice != 0 {
        pass_on_class(task);
    }
}

/// Tells the host a task's policy and nice value as far as it lets us.
fn pass_on_class(task: &Task) {
    let class = {
        let misc = task.misc.lock();
        Schedule::Class {
            policy: misc.scheduler.0 & 0xff,
            nice: misc.nice,
        }
    };
    let _ = task.thread().schedule(class);
}

/// The thread that a call names; 0 is the caller.
fn target(cx: &CurrentTask, tid: i32) -> Result<Arc<Task>> {
    if tid == 0 {
        return Ok(cx.task().clone());
    }
    if tid < 0 {
        return Err(Errno::EINVAL);
    }
    cx.pid_namespace().task(tid).ok_or(Errno::ESRCH)
}

/// `EPERM` unless the caller owns `task` or has CAP_SYS_NICE.
fn may_schedule(cx: &CurrentTask, task: &Task) -> Result<()> {
    let (own, other) = (cx.creds(), task.creds());
    if own.euid == other.uid || own.euid == other.euid {
        return Ok(());
    }
    own.require_in(&other.user_ns, Cap::SYS_NICE)
}
