//! Controlling terminals and foreground process groups (`drivers/tty/tty_jobctrl.c`).

use std::sync::{Arc, Weak};

use abi::signal::Signal;

use super::Tty;
use super::signals;
use crate::error::{Errno, Restart, Result, SysResult};
use crate::signal::Disposition;
use crate::task::creds::Cap;
use crate::task::lifecycle::is_orphaned;
use crate::task::{ControllingTerminal, Pid, ProcessGroup, Session, Task};

/// Who a terminal belongs to.
#[derive(Default)]
pub(super) struct Job {
    session: Weak<Session>,
    foreground: Weak<ProcessGroup>,
}

fn is_leader(task: &Task, session: &Session) -> bool {
    Arc::ptr_eq(&session.id, &task.group.pid)
}

/// The terminal of a task's session, if it is one of ours.
pub(super) fn terminal_of(task: &Task) -> Option<Arc<Tty>> {
    let terminal = task.group.session().terminal.lock().clone()?;
    terminal
        .as_any()
        .downcast_ref::<Tty>()
        .and_then(|tty| tty.this.upgrade())
}

/// The process group with an id.
fn find_process_group(task: &Task, number: i32) -> Option<Arc<ProcessGroup>> {
    let namespace = task.pid_namespace();
    let pid = namespace.pid(number)?;
    let has_id = |group: &Arc<ProcessGroup>| Arc::ptr_eq(&group.id, &pid);
    // The leader is usually still in it; if not, some other member is.
    if let Some(leader) = pid.group() {
        let group = leader.process_group();
        if has_id(&group) {
            return Some(group);
        }
    }
    namespace
        .groups()
        .into_iter()
        .map(|(_, process)| process.process_group())
        .find(has_id)
}

impl Tty {
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        self.job.lock().session.upgrade()
    }

    /// Whether this is the task's controlling terminal.
    pub(super) fn controls(&self, task: &Task) -> bool {
        let session = task.group.session();
        self.session()
            .is_some_and(|own| Arc::ptr_eq(&own, &session))
    }

    /// What a background process may not do without being stopped (`__tty_check_change`): `EIO` for orphans and for readers that ignore SIGTTIN.
    pub(super) fn check_change(&self, task: &Task, signal: Signal) -> SysResult<()> {
        if !self.controls(task) {
            return Ok(());
        }
        let own = task.group.process_group();
        match self.foreground() {
            Some(foreground) if !Arc::ptr_eq(&foreground, &own) => {}
            _ => return Ok(()),
        }
        let blocked = task.signals.lock().blocked.contains(signal);
        if blocked || task.group.actions().get(signal).disposition == Disposition::Ignore {
            return if signal == Signal::TTIN {
                Err(Errno::EIO.into())
            } else {
                Ok(())
            };
        }
        if is_orphaned(&own) {
            return Err(Errno::EIO.into());
        }
        signals::to_group(&own, signal);
        Err(crate::error::SysError::Restart(Restart::Sys))
    }

    fn adopt(&self, task: &Task, session: &Arc<Session>) {
        *self.job.lock() = Job {
            session: Arc::downgrade(session),
            foreground: Arc::downgrade(&task.group.process_group()),
        };
        let terminal: Option<Arc<dyn ControllingTerminal>> = match self.this.upgrade() {
            Some(tty) => Some(tty),
            None => None,
        };
        *session.terminal.lock() = terminal;
    }

    /// Opening without O_NOCTTY: a session leader without a terminal takes this one if nobody has it.
    pub(super) fn acquire_on_open(&self, task: &Task) {
        let session = task.group.session();
        if is_leader(task, &session)
            && session.terminal.lock().is_none()
            && self.session().is_none()
        {
            self.adopt(task, &session);
        }
    }

    /// TIOCSCTTY. `steal`: its argument was 1.
    pub(super) fn acquire(&self, task: &Task, steal: bool) -> Result<()> {
        let session = task.group.session();
        if !is_leader(task, &session) {
            return Err(Errno::EPERM);
        }
        let owner = self.session();
        if owner
            .as_ref()
            .is_some_and(|owner| Arc::ptr_eq(owner, &session))
        {
            return Ok(());
        }
        if session.terminal.lock().is_some() {
            return Err(Errno::EPERM);
        }
        if let Some(owner) = owner {
            if !steal || !task.creds().has(Cap::SYS_ADMIN) {
                return Err(Errno::EPERM);
            }
            *owner.terminal.lock() = None;
        }
        self.adopt(task, &session);
        Ok(())
    }

    /// TIOCNOTTY by a session leader: the foreground group is hung up, the session has no terminal any more.
    pub(super) fn release(&self, task: &Task) -> Result<()> {
        let session = task.group.session();
        if !self.controls(task) || !is_leader(task, &session) {
            return Err(Errno::ENOTTY);
        }
        let foreground = self.foreground();
        *self.job.lock() = Job::default();
        *session.terminal.lock() = None;
        if let Some(group) = foreground {
            signals::to_group(&group, Signal::HUP);
            signals::to_group(&group, Signal::CONT);
        }
        Ok(())
    }

    /// TIOCGPGRP: `ENOTTY` unless it is the task's terminal.
    pub(super) fn foreground_number(&self, task: &Task) -> Result<i32> {
        if !self.controls(task) {
            return Err(Errno::ENOTTY);
        }
        Ok(self.any_foreground_number(task))
    }

    /// TIOCGPGRP on a master: whatever the slave's session has in the foreground.
    pub(super) fn any_foreground_number(&self, task: &Task) -> i32 {
        self.foreground()
            .map_or(0, |group| group.id.in_namespace(&task.pid_namespace()))
    }

    /// TIOCSPGRP.
    pub(super) fn set_foreground(&self, task: &Task, number: i32) -> SysResult<()> {
        self.check_change(task, Signal::TTOU)?;
        if !self.controls(task) {
            return Err(Errno::ENOTTY.into());
        }
        if number < 0 {
            return Err(Errno::EINVAL.into());
        }
        let group = find_process_group(task, number).ok_or(Errno::ESRCH)?;
        if !Arc::ptr_eq(&group.session, &task.group.session()) {
            return Err(Errno::EPERM.into());
        }
        self.job.lock().foreground = Arc::downgrade(&group);
        Ok(())
    }

    /// TIOCGSID.
    pub(super) fn session_number(&self, task: &Task) -> Result<i32> {
        if !self.controls(task) {
            return Err(Errno::ENOTTY);
        }
        let id: Option<Arc<Pid>> = self.session().map(|session| session.id.clone());
        Ok(id.map_or(0, |id| id.in_namespace(&task.pid_namespace())))
    }

    /// Takes the terminal from its session with SIGHUP and SIGCONT to leader and foreground group. `clear`: also in the session itself (which its
    /// own end has done already).
    pub(super) fn leave_session(&self, clear: bool) {
        let job = std::mem::take(&mut *self.job.lock());
        let session = job.session.upgrade();
        if let Some(session) = &session {
            if clear {
                *session.terminal.lock() = None;
            }
            if let Some(leader) = session.id.group() {
                signals::to_process(&leader, Signal::HUP);
                signals::to_process(&leader, Signal::CONT);
            }
        }
        if let Some(group) = job.foreground.upgrade() {
            signals::to_group(&group, Signal::HUP);
            signals::to_group(&group, Signal::CONT);
        }
    }
}

impl ControllingTerminal for Tty {
    /// The leader's exit hangs the terminal up (`disassociate_ctty`). The caller has cleared the session's side and holds its lock.
    fn session_ended(&self) {
        self.leave_session(false);
        self.hang_up();
    }
    fn device(&self) -> u64 {
        self.rdev()
    }
    fn foreground(&self) -> Option<Arc<ProcessGroup>> {
        self.job.lock().foreground.upgrade()
    }
    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}
