//! Who may look at whom (`kernel/ptrace.c`: __ptrace_may_access with PTRACE_MODE_READ_FSCREDS).

use std::sync::Arc;

use crate::error::{Errno, Result};
use crate::task::Task;
use crate::task::creds::{Cap, Creds};

/// `EACCES` unless `reader`, with `creds`, may inspect `subject`. The kernel itself (`None`) may.
pub(crate) fn may_inspect(
    reader: Option<&Arc<Task>>,
    creds: &Creds,
    subject: &Arc<Task>,
) -> Result<()> {
    let Some(reader) = reader else { return Ok(()) };
    if Arc::ptr_eq(&reader.group, &subject.group) {
        return Ok(());
    }
    if allowed(creds, &subject.creds(), super::mm_view::dumpable(subject)) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// The same for a reader whose credentials are its task's.
pub(crate) fn reader_may_inspect(
    reader: &crate::fs::static_tree::Reader<'_>,
    subject: &Arc<Task>,
) -> Result<()> {
    match reader.task {
        Some(task) => may_inspect(Some(task), &task.creds(), subject),
        None => Ok(()),
    }
}

fn allowed(creds: &Creds, subject: &Creds, dumpable: bool) -> bool {
    if creds.has_in(&subject.user_ns, Cap::SYS_PTRACE) {
        return true;
    }
    let same = [subject.uid, subject.euid, subject.suid]
        .iter()
        .all(|uid| *uid == creds.fsuid)
        && [subject.gid, subject.egid, subject.sgid]
            .iter()
            .all(|gid| *gid == creds.fsgid);
    // cap_ptrace_access_check: no peeking at a process with more capabilities.
    same && dumpable
        && subject.user_ns == creds.user_ns
        && subject.permitted.0 & !creds.effective.0 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::creds::CapSet;

    fn user(uid: u32) -> Creds {
        Creds {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid: uid,
            egid: uid,
            sgid: uid,
            fsgid: uid,
            effective: CapSet::EMPTY,
            permitted: CapSet::EMPTY,
            ..Creds::root()
        }
    }

    #[test]
    fn strangers_and_the_more_powerful_are_off_limits() {
        assert!(allowed(&user(1), &user(1), true));
        assert!(!allowed(&user(1), &user(1), false));
        assert!(!allowed(&user(1), &user(2), true));
        assert!(allowed(&Creds::root(), &user(2), false));
        let mut powerful = user(1);
        powerful.permitted = CapSet(1 << Cap::SYS_ADMIN.0);
        assert!(!allowed(&user(1), &powerful, true));
    }
}
