//! Credentials: ids, groups, capabilities, `prctl(2)`, `personality(2)`.

mod caps;
mod ids;
mod prctl;

use std::sync::Arc;

pub use caps::{CapHeader, capget, capset};
pub use ids::{
    getegid, geteuid, getgid, getgroups, getresgid, getresuid, getuid, setfsgid, setfsuid, setgid,
    setgroups, setregid, setresgid, setresuid, setreuid, setuid,
};
pub use prctl::{personality, prctl};

use sentry::error::{Errno, Result};
use sentry::task::creds::{Cap, Creds};
use sentry::task::{CurrentTask, Task};

/// Replaces the task's credentials by a changed copy, unless the change fails. `change` must not look at the task: its credentials are locked.
///
/// Who changes what it may access is not to be looked into any more, and its parent's death is not told (`commit_creds`).
fn change<T>(cx: &CurrentTask, change: impl FnOnce(&mut Creds) -> Result<T>) -> Result<T> {
    let (value, other_ids) = {
        let mut current = cx.task().creds.write();
        let mut creds = (**current).clone();
        let value = change(&mut creds)?;
        let ids = |c: &Creds| (c.euid, c.egid, c.fsuid, c.fsgid);
        let other_ids = ids(&creds) != ids(&current);
        *current = Arc::new(creds);
        (value, other_ids)
    };
    if other_ids {
        cx.memory_map().state.write().dumpable = 0;
        cx.misc.lock().parent_death_signal = 0;
    }
    Ok(value)
}

/// `EPERM` unless the caller may look into `target` (`ptrace_may_access` with real credentials).
pub(crate) fn may_inspect(cx: &CurrentTask, target: &Arc<Task>) -> Result<()> {
    if Arc::ptr_eq(&cx.group, &target.group) {
        return Ok(());
    }
    let (own, other) = (cx.creds(), target.creds());
    let same_user = [other.uid, other.euid, other.suid]
        .iter()
        .all(|id| *id == own.uid);
    let same_group = [other.gid, other.egid, other.sgid]
        .iter()
        .all(|id| *id == own.gid);
    let dumpable = target
        .try_memory_map()
        .is_none_or(|map| map.state.read().dumpable == 1);
    // More capabilities, or the same ones in an outer namespace (cap_ptrace_access_check).
    let covered = own.user_ns == other.user_ns && other.permitted.0 & !own.permitted.0 == 0;
    if own.has_in(&other.user_ns, Cap::SYS_PTRACE)
        || (same_user && same_group && dumpable && covered)
    {
        return Ok(());
    }
    Err(Errno::EPERM)
}
