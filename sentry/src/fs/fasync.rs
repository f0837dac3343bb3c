//! Readiness told by signal: `O_ASYNC` with `F_SETOWN`, `F_SETOWN_EX` and `F_SETSIG` (`fs/fcntl.c`: kill_fasync, send_sigio).
//!
//! Pipes, sockets, terminals and inotify have it; on other files `O_ASYNC` does not stick. The owner of a socket is told of urgent data by SIGURG, with
//! `O_ASYNC` or without it (send_sigurg).

use std::sync::{Arc, Weak};

use abi::fs::{O_ASYNC, S_IFCHR, S_IFIFO, S_IFSOCK};
use abi::signal::{Signal, code};
use parking_lot::Mutex;

use crate::fs::inotify::Inotify;
use crate::signal::{SigInfo, send};
use crate::task::creds::Creds;
use crate::task::{Pid, PidNamespace, Task, ThreadGroup};
use crate::vfs::File;
use crate::wait::{Events, Registration, WaitCallback};

/// `F_OWNER_TID`.
pub const OWNER_THREAD: i32 = 0;
/// `F_OWNER_PID`.
pub const OWNER_PROCESS: i32 = 1;
/// `F_OWNER_PGRP`.
pub const OWNER_GROUP: i32 = 2;

/// Who is told about a description, as `fcntl(2)` sets it.
#[derive(Clone, Default)]
pub struct Owner {
    /// One of the `OWNER_*` numbers.
    pub kind: i32,
    /// Its id; `None`: nobody is told.
    pub pid: Option<Arc<Pid>>,
    /// `F_SETSIG`'s signal, 0 for SIGIO without particulars.
    pub signal: i32,
    /// Real and effective user of who set it: they must be allowed to signal the owner.
    pub setter: (u32, u32),
}

/// What has happened, as `si_code` and `si_band` tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// POLL_IN.
    In,
    /// POLL_OUT.
    Out,
    /// POLL_MSG: what a lease is broken and a directory's change is told with.
    Message,
    /// POLL_PRI.
    Urgent,
    /// POLL_HUP.
    HangUp,
}

impl Reason {
    const fn code_and_band(self) -> (i32, u64) {
        match self {
            Self::In => (1, 0x41),
            Self::Out => (2, 0x304),
            Self::Message => (3, 0x441),
            Self::Urgent => (5, 0x82),
            Self::HangUp => (6, 0x18),
        }
    }
}

impl Owner {
    fn may_tell(&self, target: &Creds) -> bool {
        let (uid, euid) = self.setter;
        euid == 0
            || [uid, euid]
                .iter()
                .any(|id| *id == target.suid || *id == target.uid)
    }
    fn info(&self, reason: Reason, fd: i32) -> Option<SigInfo> {
        let signal = Signal::new(i64::from(self.signal))?;
        let (code, band) = reason.code_and_band();
        const SPECIFIC: [Signal; 6] = [
            Signal::ILL,
            Signal::FPE,
            Signal::SEGV,
            Signal::BUS,
            Signal::TRAP,
            Signal::CHLD,
        ];
        // Where codes mean something else for this signal.
        let code = if SPECIFIC.contains(&signal) || signal == Signal::SYS {
            code::SI_SIGIO
        } else {
            code
        };
        Some(SigInfo::io(signal, code, band, fd))
    }
    /// Sends the first of these that a queue takes.
    fn send(&self, signals: &[SigInfo]) {
        let Some(pid) = &self.pid else { return };
        let process = |group: &Arc<ThreadGroup>| {
            let first = group.any_task();
            if first.is_some_and(|task| self.may_tell(&task.creds())) {
                let _ = signals
                    .iter()
                    .any(|info| send::process_signal(group, *info).is_ok());
            }
        };
        match self.kind {
            OWNER_THREAD => {
                let task = pid.namespace().task(pid.local());
                if let Some(task) = task.filter(|task| self.may_tell(&task.creds())) {
                    let _ = signals
                        .iter()
                        .any(|info| send::thread_signal(&task, *info).is_ok());
                }
            }
            OWNER_PROCESS => pid.group().iter().for_each(process),
            _ => self.members(pid).for_each(|group| process(&group)),
        }
    }
    /// Its number in a namespace; 0 for none, and once it is gone.
    #[must_use]
    pub fn number(&self, namespace: &PidNamespace) -> i32 {
        let Some(pid) = &self.pid else { return 0 };
        let there = match self.kind {
            OWNER_THREAD => pid.namespace().task(pid.local()).is_some(),
            OWNER_PROCESS => pid.group().is_some(),
            _ => self.members(pid).next().is_some(),
        };
        if there {
            pid.in_namespace(namespace)
        } else {
            0
        }
    }
    fn members(&self, pid: &Arc<Pid>) -> impl Iterator<Item = Arc<ThreadGroup>> {
        let groups = pid.namespace().groups().into_iter();
        let pid = pid.clone();
        groups
            .map(|(_, group)| group)
            .filter(move |group| Arc::ptr_eq(&group.process_group().id, &pid))
    }
    /// Tells by the signal of `F_SETSIG`; without one, or when its queue is full, by a plain SIGIO.
    pub fn tell(&self, reason: Reason, fd: i32) {
        let plain = SigInfo::kernel(Signal::IO);
        match self.info(reason, fd) {
            Some(info) => self.send(&[info, plain]),
            None => self.send(&[plain]),
        }
    }
}

/// What a description has while it tells by signal.
#[derive(Default)]
pub struct Armed {
    /// While `O_ASYNC` is set.
    asynchronous: Mutex<Option<Registration>>,
    /// A socket with an owner, for SIGURG.
    urgent: Mutex<Option<Registration>>,
}

struct Teller {
    file: Weak<File>,
    fd: i32,
}

impl WaitCallback for Teller {
    fn notified(&self, events: Events) -> bool {
        let Some(file) = self.file.upgrade() else {
            return false;
        };
        let owner = file.owner.lock().clone();
        if owner.pid.is_none() {
            return false;
        }
        let is_socket = file.inode().file_type().is_ok_and(|kind| kind == S_IFSOCK);
        if events.contains(Events::PRI) {
            owner.tell(Reason::Urgent, self.fd);
        }
        if is_socket && events.contains(Events::HUP) {
            owner.tell(Reason::HangUp, self.fd);
            return false;
        }
        let ended = events.intersects(Events::HUP | Events::ERR);
        if file.readable() && (ended || events.intersects(Events::IN | Events::RDHUP)) {
            owner.tell(Reason::In, self.fd);
        }
        if file.writable() && (ended && !file.readable() || events.intersects(Events::OUT)) {
            owner.tell(Reason::Out, self.fd);
        }
        false
    }
}

struct UrgentTeller(Weak<File>);

impl WaitCallback for UrgentTeller {
    fn notified(&self, events: Events) -> bool {
        let urgent = |file: &Arc<File>| (file.readiness(None) & events).contains(Events::PRI);
        if let Some(file) = self.0.upgrade().filter(urgent) {
            let owner = file.owner.lock().clone();
            owner.send(&[SigInfo::kernel(Signal::URG)]);
        }
        false
    }
}

/// From now on the owner of a socket is told of urgent data; nothing on other files.
pub fn tell_of_urgent(file: &Arc<File>, task: &Task) {
    if file.ops().as_socket().is_none() {
        return;
    }
    let mut urgent = file.armed.urgent.lock();
    if urgent.is_none() {
        let teller = Arc::new(UrgentTeller(Arc::downgrade(file)));
        *urgent = file
            .wait_queue(Some(task))
            .map(|queue| queue.register_callback(Events::PRI, false, teller));
    }
}

/// Whether files like this tell by signal.
#[must_use]
pub fn supported(file: &File, task: &Task) -> bool {
    let kind = file.inode().file_type().unwrap_or_default();
    let kind_has = matches!(kind, S_IFIFO | S_IFSOCK | S_IFCHR);
    (kind_has || file.downcast::<Arc<Inotify>>().is_some() || file.downcast::<Inotify>().is_some())
        && file.wait_queue(Some(task)).is_some()
}

/// Sets or clears `O_ASYNC` for the description behind `fd`; nothing on files that do not tell by signal.
pub fn set(file: &Arc<File>, task: &Task, fd: i32, on: bool) {
    if !supported(file, task) {
        return;
    }
    let registration = if on {
        let teller = Arc::new(Teller {
            file: Arc::downgrade(file),
            fd,
        });
        let mask = Events::IN | Events::OUT | Events::PRI | Events::RDHUP;
        file.wait_queue(Some(task))
            .map(|queue| queue.register_callback(mask, false, teller))
    } else {
        None
    };
    let old = std::mem::replace(&mut *file.armed.asynchronous.lock(), registration);
    drop(old);
    file.change_flags(O_ASYNC, if on { O_ASYNC } else { 0 });
}
