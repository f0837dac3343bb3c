//! Nice values and I/O priorities: kept and shown; nice values are passed on to the host as far as it lets us.

use std::sync::Arc;

use sentry::error::{Errno, Result, SysResult};
use sentry::task::creds::Cap;
use sentry::task::limits::Resource;
use sentry::task::{CurrentTask, Task};

/// Whom `which` and `who` name; processes by any of their threads' ids, as in Linux one thread each.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Thread,
    Group,
    User,
}

fn targets(cx: &CurrentTask, kind: Who, who: i32) -> Vec<Arc<Task>> {
    let namespace = cx.pid_namespace();
    match kind {
        Who::Thread if who == 0 => vec![cx.task().clone()],
        Who::Thread => namespace.task(who).into_iter().collect(),
        Who::Group => {
            let wanted = if who == 0 {
                Some(cx.group.process_group())
            } else {
                namespace
                    .pid(who)
                    .and_then(|pid| Some(pid.group()?.process_group()))
                    .filter(|group| group.id.in_namespace(&namespace) == who)
            };
            wanted
                .map(|group| group.members())
                .unwrap_or_default()
                .iter()
                .flat_map(|member| member.threads())
                .collect()
        }
        Who::User => {
            let creds = cx.creds();
            // A number without a user behind it names nobody.
            let uid = if who == 0 {
                Some(creds.uid)
            } else {
                creds.user_ns.kuid(who as u32)
            };
            namespace
                .tasks()
                .into_iter()
                .map(|(_, task)| task)
                .filter(|task| Some(task.creds().uid) == uid)
                .collect()
        }
    }
}

fn who_of_priority(which: i32) -> Result<Who> {
    match which {
        0 => Ok(Who::Thread),
        1 => Ok(Who::Group),
        2 => Ok(Who::User),
        _ => Err(Errno::EINVAL),
    }
}

/// `getpriority(2)`: 20 - nice, so that it is never negative.
pub async fn getpriority(cx: &CurrentTask, which: i32, who: i32) -> SysResult<i32> {
    let kind = who_of_priority(which)?;
    targets(cx, kind, who)
        .iter()
        .map(|task| 20 - task.misc.lock().nice)
        .max()
        .ok_or(Errno::ESRCH.into())
}

/// `EACCES` if the caller may not lower the nice value so far (RLIMIT_NICE, CAP_SYS_NICE).
pub(super) fn check_nice(cx: &CurrentTask, task: &Task, nice: i32) -> Result<()> {
    if nice >= task.misc.lock().nice || cx.creds().has(Cap::SYS_NICE) {
        return Ok(());
    }
    let allowed = task.group.limit(Resource::Nice);
    if (20 - nice) as u64 <= allowed {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// Keeps a nice value and tells the host, which may not let the sentry lower it: then the guest sees its value, and the host's stays.
pub(super) fn pass_on_nice(task: &Task, nice: i32) {
    task.misc.lock().nice = nice;
    super::pass_on_class(task);
}

fn set_nice(cx: &CurrentTask, task: &Task, nice: i32) -> Result<()> {
    let (own, other) = (cx.creds(), task.creds());
    if own.euid != other.uid && own.euid != other.euid && !own.has_in(&other.user_ns, Cap::SYS_NICE)
    {
        return Err(Errno::EPERM);
    }
    check_nice(cx, task, nice)?;
    pass_on_nice(task, nice);
    Ok(())
}

/// `setpriority(2)`.
pub async fn setpriority(cx: &CurrentTask, which: i32, who: i32, nice: i32) -> SysResult<()> {
    let kind = who_of_priority(which)?;
    let nice = nice.clamp(-20, 19);
    let mut result = Err(Errno::ESRCH);
    for task in targets(cx, kind, who) {
        match set_nice(cx, &task, nice) {
            Ok(()) if result == Err(Errno::ESRCH) => result = Ok(()),
            Ok(()) => {}
            Err(errno) => result = Err(errno),
        }
    }
    Ok(result?)
}

fn who_of_ioprio(which: i32) -> Result<Who> {
    match which {
        1 => Ok(Who::Thread),
        2 => Ok(Who::Group),
        3 => Ok(Who::User),
        _ => Err(Errno::EINVAL),
    }
}

const CLASS_SHIFT: i32 = 13;
const CLASS_NONE: i32 = 0;
const CLASS_RT: i32 = 1;
const CLASS_BE: i32 = 2;
const CLASS_IDLE: i32 = 3;

/// `ioprio_set(2)`.
pub async fn ioprio_set(cx: &CurrentTask, which: i32, who: i32, value: i32) -> SysResult<()> {
    let level = value & 7;
    match value >> CLASS_SHIFT {
        CLASS_RT => {
            let creds = cx.creds();
            if !creds.has(Cap::SYS_ADMIN) && !creds.has(Cap::SYS_NICE) {
                return Err(Errno::EPERM.into());
            }
        }
        CLASS_BE | CLASS_IDLE => {}
        CLASS_NONE if level == 0 => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    let tasks = targets(cx, who_of_ioprio(which)?, who);
    if tasks.is_empty() {
        return Err(Errno::ESRCH.into());
    }
    for task in tasks {
        super::may_schedule(cx, &task)?;
        task.misc.lock().ioprio = value;
    }
    Ok(())
}

/// `ioprio_get(2)`: the best of those named.
pub async fn ioprio_get(cx: &CurrentTask, which: i32, who: i32) -> SysResult<i32> {
    targets(cx, who_of_ioprio(which)?, who)
        .iter()
        .map(|task| task.misc.lock().ioprio)
        .min_by_key(|value| {
            // Without a class of its own a thread counts as best effort.
            if value >> CLASS_SHIFT == CLASS_NONE {
                (CLASS_BE << CLASS_SHIFT) + 4
            } else {
                *value
            }
        })
        .ok_or(Errno::ESRCH.into())
}
