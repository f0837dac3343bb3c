//! `process.scheduler` and `process.ioPriority`.
//!
//! A guest's thread is a host's thread, so that its policy and nice value count there as far as the host lets the sandbox; real-time policies are refused,
//! as `sched_setscheduler(2)` refuses them inside.

use anyhow::{Result, bail};
use oci_spec::runtime::{IOPriorityClass, LinuxSchedulerPolicy, Process};

use crate::report;

/// `SCHED_*` of the spec, and the nice value if it says one.
///
/// # Errors
/// A policy that a sandbox does not have, or a value out of range.
pub fn policy(process: &Process) -> Result<(i32, Option<i32>)> {
    let Some(scheduler) = process.scheduler() else {
        return Ok((0, None));
    };
    let policy = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIdle => 5,
        other => bail!(
            "process.scheduler: {other} is not supported: a sandbox has no real-time scheduling; use SCHED_OTHER, SCHED_BATCH or SCHED_IDLE"
        ),
    };
    if let Some(nice) = scheduler.nice()
        && !(-20..=19).contains(nice)
    {
        bail!("process.scheduler: nice {nice} is not between -20 and 19");
    }
    if scheduler.priority().unwrap_or(0) != 0 {
        bail!("process.scheduler: a priority is for real-time policies only");
    }
    if scheduler
        .flags()
        .as_ref()
        .is_some_and(|flags| !flags.is_empty())
    {
        report::warning("process.scheduler.flags is not supported and was ignored");
    }
    Ok((policy, *scheduler.nice()))
}

/// What `ioprio_set(2)` is to be told; 0 for nothing.
///
/// # Errors
/// A level out of range.
pub fn io_priority(process: &Process) -> Result<i32> {
    const CLASS_SHIFT: i32 = 13;
    let Some(priority) = process.io_priority() else {
        return Ok(0);
    };
    let class = match priority.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match i32::try_from(priority.priority()) {
        Ok(level @ 0..=7) => Ok(class << CLASS_SHIFT | level),
        _ => bail!(
            "process.ioPriority: {} is not between 0 and 7",
            priority.priority()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(fields: &str) -> Process {
        serde_json::from_str(&format!(
            r#"{{"user":{{"uid":0,"gid":0}},"cwd":"/","args":["a"],{fields}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn values_are_translated_or_refused() {
        let batch = process(r#""scheduler":{"policy":"SCHED_BATCH","nice":5}"#);
        assert_eq!(policy(&batch).unwrap(), (3, Some(5)));
        for wrong in [
            r#""scheduler":{"policy":"SCHED_FIFO","priority":5}"#,
            r#""scheduler":{"policy":"SCHED_OTHER","nice":20}"#,
            r#""scheduler":{"policy":"SCHED_OTHER","priority":1}"#,
        ] {
            assert!(policy(&process(wrong)).is_err(), "{wrong}");
        }
        let best_effort = process(r#""ioPriority":{"class":"IOPRIO_CLASS_BE","priority":3}"#);
        assert_eq!(io_priority(&best_effort).unwrap(), 2 << 13 | 3);
        let wrong = process(r#""ioPriority":{"class":"IOPRIO_CLASS_BE","priority":8}"#);
        assert!(io_priority(&wrong).is_err());
    }
}
