//! Who sent a message or sits on the other side of a connection (SCM_CREDENTIALS, SO_PEERCRED).

use std::sync::Arc;

use abi::socket::Ucred;
use zerocopy::FromBytes;

use crate::error::{Errno, Result};
use crate::task::creds::Cap;
use crate::task::user_ns::UserNamespace;
use crate::task::{CurrentTask, Pid, PidNamespace};

/// A process and its ids. The process id is translated for whoever looks.
#[derive(Clone)]
pub struct Identity {
    pid: Arc<Pid>,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups (SO_PEERGROUPS).
    pub groups: Arc<[u32]>,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pid, &other.pid) && self.uid == other.uid && self.gid == other.gid
    }
}
impl Eq for Identity {}

impl Identity {
    /// The caller with its effective ids: what SO_PEERCRED shows.
    #[must_use]
    pub fn effective(task: &CurrentTask) -> Self {
        let creds = task.creds();
        Self {
            pid: task.group.pid.clone(),
            uid: creds.euid,
            gid: creds.egid,
            groups: creds.groups.as_slice().into(),
        }
    }
    /// The caller with its real ids: what a message carries by default.
    #[must_use]
    pub fn real(task: &CurrentTask) -> Self {
        let creds = task.creds();
        Self {
            uid: creds.uid,
            gid: creds.gid,
            ..Self::effective(task)
        }
    }
    /// As the caller claims in a SCM_CREDENTIALS message: `EPERM` unless it may, `ESRCH` for an unknown process, `EINVAL` for a malformed one.
    pub fn claimed(task: &CurrentTask, data: &[u8]) -> Result<Self> {
        let claim = Ucred::read_from_bytes(data).map_err(|_| Errno::EINVAL)?;
        let creds = task.creds();
        let own_pid = task.group.pid.local();
        let uid = creds.user_ns.kuid(claim.uid).ok_or(Errno::EINVAL)?;
        let gid = creds.user_ns.kgid(claim.gid).ok_or(Errno::EINVAL)?;
        let pid_owner = &task.pid_namespace().owner;
        let pid_allowed = claim.pid == own_pid || creds.has_in(pid_owner, Cap::SYS_ADMIN);
        let uid_allowed =
            [creds.uid, creds.euid, creds.suid].contains(&uid) || creds.has_here(Cap::SETUID);
        let gid_allowed =
            [creds.gid, creds.egid, creds.sgid].contains(&gid) || creds.has_here(Cap::SETGID);
        if !(pid_allowed && uid_allowed && gid_allowed) {
            return Err(Errno::EPERM);
        }
        let pid = if claim.pid == own_pid {
            task.group.pid.clone()
        } else {
            task.pid_namespace().pid(claim.pid).ok_or(Errno::ESRCH)?
        };
        Ok(Self {
            pid,
            uid,
            gid,
            groups: Arc::from([]),
        })
    }
    /// As `struct ucred` for a reader in these namespaces.
    #[must_use]
    pub fn ucred(&self, namespace: &PidNamespace, users: &UserNamespace) -> Ucred {
        Ucred {
            pid: self.pid.in_namespace(namespace),
            uid: users.shown_uid(self.uid),
            gid: users.shown_gid(self.gid),
        }
    }
}
