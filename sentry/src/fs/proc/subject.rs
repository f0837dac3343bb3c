//! The process or thread that a file of proc is about.

use std::sync::{Arc, Weak};

use crate::error::{Errno, Result};
use crate::fs::static_tree::OwnerFn;
use crate::task::{Pid, PidNamespace, Task, ThreadGroup};

/// Held weakly: an open file must keep neither the process nor its number.
#[derive(Clone)]
pub(super) struct Subject {
    /// The namespace that the mount shows.
    pub(super) ns: Arc<PidNamespace>,
    group: Weak<ThreadGroup>,
    /// One thread (`/proc/<pid>/task/<tid>`); `None`: the process as a whole.
    thread: Option<Weak<Task>>,
}

impl Subject {
    /// The process as a whole.
    pub(super) fn process(ns: &Arc<PidNamespace>, group: &Arc<ThreadGroup>) -> Self {
        Self {
            ns: ns.clone(),
            group: Arc::downgrade(group),
            thread: None,
        }
    }
    /// One of its threads.
    pub(super) fn thread(ns: &Arc<PidNamespace>, task: &Arc<Task>) -> Self {
        Self {
            ns: ns.clone(),
            group: Arc::downgrade(&task.group),
            thread: Some(Arc::downgrade(task)),
        }
    }
    /// Whether this is one thread.
    pub(super) const fn is_thread(&self) -> bool {
        self.thread.is_some()
    }
    /// The process: `ESRCH` once it has been waited for.
    pub(super) fn group(&self) -> Result<Arc<ThreadGroup>> {
        let group = self.group.upgrade().ok_or(Errno::ESRCH)?;
        if group.family.read().reaped {
            return Err(Errno::ESRCH);
        }
        Ok(group)
    }
    /// The thread, or some living one of the process: `ESRCH` if there is none (a zombie).
    pub(super) fn task(&self) -> Result<Arc<Task>> {
        match &self.thread {
            Some(thread) => thread.upgrade().ok_or(Errno::ESRCH),
            None => self.group()?.any_task().ok_or(Errno::ESRCH),
        }
    }
    /// Whether this is a whole process whose first thread has ended before the others: it shows as a zombie that nobody can wait for yet.
    pub(super) fn leader_is_gone(&self) -> bool {
        let gone =
            |group: Arc<ThreadGroup>| group.pid.namespace().task(group.pid.local()).is_none();
        self.thread.is_none() && self.group().is_ok_and(gone)
    }
    /// The id shown.
    pub(super) fn pid(&self) -> Result<Arc<Pid>> {
        match &self.thread {
            Some(_) => Ok(self.task()?.tid()),
            None => Ok(self.group()?.pid.clone()),
        }
    }
    /// An id as this mount counts; 0 if it is not visible.
    pub(super) fn number(&self, pid: &Pid) -> i32 {
        pid.in_namespace(&self.ns)
    }
    /// Tells this process or thread from any other, also after it is gone.
    pub(super) fn identity(&self) -> usize {
        match &self.thread {
            Some(thread) => thread.as_ptr() as usize,
            None => self.group.as_ptr() as usize,
        }
    }
    /// Effective ids of the subject, root once it is gone or not dumpable.
    pub(super) fn owner(&self) -> OwnerFn {
        let subject = self.clone();
        Arc::new(move || {
            subject.task().map_or((0, 0), |task| {
                let creds = task.creds();
                if super::mm_view::dumpable(&task) {
                    (creds.euid, creds.egid)
                } else {
                    // The root of its namespace, if that has one (task_dump_owner).
                    let users = &creds.user_ns;
                    (users.kuid(0).unwrap_or(0), users.kgid(0).unwrap_or(0))
                }
            })
        })
    }
}
