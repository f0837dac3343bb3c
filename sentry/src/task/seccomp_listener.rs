//! Seccomp user notification (`seccomp_unotify(2)`): calls that a filter hands to whoever holds its listener.
//!
//! [`Notifications`] is shared by the filter, the listener's file and the calls that wait. A call enters a [`Pending`], waits on its queue, and is
//! answered, or let run, by the supervisor.
//!
//! Lock order: `state` is a leaf; queues are notified with it released.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use abi::fs::O_RDWR;
use parking_lot::Mutex;

use super::Task;
use super::seccomp::CallData;
use crate::error::{Errno, Result};
use crate::fs::anon;
use crate::vfs::{File, FileOps};
use crate::wait::{Events, WaitQueue};

/// How far a notification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waiting,
    Sent,
    Replied(Reply),
}

/// What the supervisor makes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It has this result (a negative errno or a value).
    Value(i64),
    /// It runs.
    Continue,
}

/// One call that waits.
pub struct Pending {
    /// Its number.
    pub id: u64,
    /// The call.
    pub data: CallData,
    /// Who makes it.
    pub task: Weak<Task>,
    /// Notified when it is answered.
    pub queue: WaitQueue,
}

#[derive(Default)]
struct State {
    next_id: u64,
    list: VecDeque<(Arc<Pending>, Progress)>,
    /// The listener is closed: nobody will answer.
    closed: bool,
    /// No task has the filter any more.
    unused: bool,
}

/// The notifications of one filter.
#[derive(Default)]
pub struct Notifications {
    state: Mutex<State>,
    queue: WaitQueue,
}

impl std::fmt::Debug for Notifications {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Notifications")
    }
}

impl Notifications {
    /// Without any yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
    /// Where supervisors wait.
    #[must_use]
    pub fn queue(&self) -> WaitQueue {
        self.queue.clone()
    }
    /// Enters a call: `ENOSYS` if nobody listens any more.
    pub fn enter(&self, task: &Arc<Task>, data: CallData) -> Result<Arc<Pending>> {
        let pending = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(Errno::ENOSYS);
            }
            state.next_id += 1;
            let pending = Arc::new(Pending {
                id: state.next_id,
                data,
                task: Arc::downgrade(task),
                queue: WaitQueue::new(),
            });
            state.list.push_back((pending.clone(), Progress::Waiting));
            pending
        };
        self.queue.notify(Events::IN);
        Ok(pending)
    }
    /// The answer to a call: `EAGAIN` while there is none, `ENOSYS` if the listener was closed.
    pub fn answer(&self, pending: &Pending) -> Result<Reply> {
        let state = self.state.lock();
        let progress = state.list.iter().find(|(p, _)| p.id == pending.id);
        match progress {
            Some((_, Progress::Replied(reply))) => Ok(*reply),
            Some(_) if !state.closed => Err(Errno::EAGAIN),
            _ => Err(Errno::ENOSYS),
        }
    }
    /// The call waits no more.
    pub fn withdraw(&self, pending: &Pending) {
        let gone: Vec<_> = {
            let mut state = self.state.lock();
            let at = state.list.iter().position(|(p, _)| p.id == pending.id);
            at.and_then(|at| state.list.remove(at))
                .into_iter()
                .collect()
        };
        drop(gone);
    }
    /// Takes the oldest call that nobody has taken: `EAGAIN` if there is none, `ENOENT` if none can come.
    pub fn receive(&self) -> Result<Arc<Pending>> {
        let pending = {
            let mut state = self.state.lock();
            let unused = state.unused;
            let waiting = state.list.iter_mut().find(|(_, p)| *p == Progress::Waiting);
            match waiting {
                Some((pending, progress)) => {
                    *progress = Progress::Sent;
                    pending.clone()
                }
                None if unused => return Err(Errno::ENOENT),
                None => return Err(Errno::EAGAIN),
            }
        };
        self.queue.notify(Events::OUT);
        Ok(pending)
    }
    /// Puts a call back that could not be told.
    pub fn put_back(&self, pending: &Pending) {
        if let Some((_, progress)) = self
            .state
            .lock()
            .list
            .iter_mut()
            .find(|(p, progress)| p.id == pending.id && *progress == Progress::Sent)
        {
            *progress = Progress::Waiting;
        }
        self.queue.notify(Events::IN);
    }
    /// The taken call with this number: `ENOENT`, `EINPROGRESS` if it was not taken or is answered.
    pub fn taken(&self, id: u64) -> Result<Arc<Pending>> {
        let state = self.state.lock();
        match state.list.iter().find(|(p, _)| p.id == id) {
            Some((pending, Progress::Sent)) => Ok(pending.clone()),
            Some(_) => Err(Errno::EINPROGRESS),
            None => Err(Errno::ENOENT),
        }
    }
    /// Answers a taken call: `ENOENT`, `EINPROGRESS`.
    pub fn reply(&self, id: u64, reply: Reply) -> Result<()> {
        let pending = {
            let mut state = self.state.lock();
            match state.list.iter_mut().find(|(p, _)| p.id == id) {
                Some((pending, progress)) if *progress == Progress::Sent => {
                    *progress = Progress::Replied(reply);
                    pending.clone()
                }
                Some(_) => return Err(Errno::EINPROGRESS),
                None => return Err(Errno::ENOENT),
            }
        };
        pending.queue.notify(Events::IN);
        Ok(())
    }
    /// No task has the filter any more.
    pub(super) fn set_unused(&self) {
        self.state.lock().unused = true;
        self.queue.notify(Events::HUP);
    }
    fn close(&self) {
        let waiting: Vec<_> = {
            let mut state = self.state.lock();
            state.closed = true;
            state
                .list
                .iter()
                .map(|(pending, _)| pending.clone())
                .collect()
        };
        for pending in waiting {
            pending.queue.notify(Events::IN);
        }
    }
    fn readiness(&self) -> Events {
        let state = self.state.lock();
        let has = |wanted| state.list.iter().any(|(_, progress)| *progress == wanted);
        let mut events = Events::empty();
        events.set(Events::IN | Events::RDNORM, has(Progress::Waiting));
        events.set(Events::OUT | Events::WRNORM, has(Progress::Sent));
        events.set(Events::HUP, state.unused);
        events
    }
}

/// The listener's file.
pub struct Listener(Arc<Notifications>);

/// A file that listens.
#[must_use]
pub fn open(notifications: &Arc<Notifications>) -> Arc<File> {
    let ops = Listener(notifications.clone());
    File::new(None, anon::untyped(), Box::new(ops), O_RDWR)
}

impl Listener {
    /// What it listens to.
    #[must_use]
    pub fn notifications(&self) -> &Arc<Notifications> {
        &self.0
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl FileOps for Listener {
    fn readiness(&self) -> Events {
        self.0.readiness()
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.queue)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        b"anon_inode:seccomp notify".to_vec()
    }
}
