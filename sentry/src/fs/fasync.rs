//! Who is told of a file's readiness by signal (`F_SETOWN`, `F_SETOWN_EX`, `F_SETSIG`): SIGIO while O_ASYNC is on, SIGURG for a socket's urgent data.
//!
//! - [`Owner`]: what the guest set. [`watch`]: from then on the file's queue tells the receiver. A signal is sent for what became true, not for what is.
//!
//! Lock order: called with no lock of the notifier held; the file's own locks are taken to look at it, then those of signals.

use std::sync::{Arc, Weak};

use abi::signal::{Signal, code};

use crate::signal::{SigInfo, send};
use crate::task::creds::Creds;
use crate::task::{ProcessGroup, Task, ThreadGroup};
use crate::vfs::File;
use crate::wait::{Events, WaitCallback};

/// The owner of a description, as `fcntl(2)` sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// `F_OWNER_TID` 0, `F_OWNER_PID` 1, `F_OWNER_PGRP` 2.
    pub kind: i32,
    /// Its number in the setter's pid namespace, 0 for none.
    pub id: i32,
    /// `F_SETSIG`'s signal, 0 for SIGIO.
    pub signal: i32,
    /// The descriptor by which O_ASYNC was turned on, for `si_fd`.
    pub fd: i32,
}

/// Who gets the signals.
pub enum Receiver {
    /// `F_OWNER_TID`.
    Thread(Weak<Task>),
    /// `F_OWNER_PID`.
    Process(Weak<ThreadGroup>),
    /// `F_OWNER_PGRP`.
    Group(Weak<ProcessGroup>),
}

struct Watcher {
    file: Weak<File>,
    receiver: Receiver,
    /// Real and effective user of who set it.
    users: (u32, u32),
}

/// POLL_IN and others of `si_code`, with the bits of `si_band`, for what became true; the first that applies.
const REASONS: [(Events, i32, Events); 5] = [
    (Events::PRI, 5, Events::PRI.union(Events::RDBAND)),
    (Events::IN, 1, Events::IN.union(Events::RDNORM)),
    (Events::HUP, 6, Events::HUP.union(Events::ERR)),
    (Events::ERR, 4, Events::ERR),
    (
        Events::OUT,
        2,
        Events::OUT.union(Events::WRNORM).union(Events::WRBAND),
    ),
];

impl Watcher {
    /// `sigio_perm`.
    fn may_tell(&self, creds: &Creds) -> bool {
        let (uid, euid) = self.users;
        euid == 0
            || [uid, euid]
                .iter()
                .any(|id| *id == creds.suid || *id == creds.uid)
    }

    fn process(&self, group: &Arc<ThreadGroup>, info: SigInfo) -> bool {
        let first = group.tasks.lock().first().cloned();
        let allowed = first.is_some_and(|task| self.may_tell(&task.creds()));
        allowed && send::process_signal(group, info).is_ok()
    }

    /// False if a queue is full.
    fn tell(&self, info: SigInfo) -> bool {
        match &self.receiver {
            Receiver::Thread(task) => task.upgrade().is_some_and(|task| {
                self.may_tell(&task.creds()) && send::thread_signal(&task, info).is_ok()
            }),
            Receiver::Process(group) => group
                .upgrade()
                .is_some_and(|group| self.process(&group, info)),
            Receiver::Group(group) => group.upgrade().is_some_and(|group| {
                let mut told = false;
                group.for_each_member(|member| told |= self.process(member, info));
                told
            }),
        }
    }
}

impl WaitCallback for Watcher {
    fn notified(&self, events: Events) -> bool {
        let Some(file) = self.file.upgrade() else {
            return false;
        };
        let is = file.readiness(None) & events;
        if is.contains(Events::PRI) && file.ops().as_socket().is_some() {
            self.tell(SigInfo::blank(Signal::URG, code::SI_KERNEL));
        }
        if file.flags() & abi::fs::O_ASYNC == 0 {
            return false;
        }
        let Some((_, reason, band)) = REASONS.iter().find(|reason| is.intersects(reason.0)) else {
            return false;
        };
        let owner = *file.owner.lock();
        let plain = SigInfo::blank(Signal::IO, code::SI_KERNEL);
        let queued = Signal::new(i64::from(owner.signal)).is_some_and(|signal| {
            self.tell(SigInfo::io(
                signal,
                *reason,
                u64::from(band.bits()),
                owner.fd,
            ))
        });
        if !queued {
            self.tell(plain);
        }
        false
    }
}

/// Tells `receiver` from now on, and nobody else; `None`: nobody.
pub fn watch(file: &Arc<File>, receiver: Option<Receiver>, creds: &Creds) {
    let registration = receiver.and_then(|receiver| {
        let queue = file.wait_queue(None)?;
        let watcher = Watcher {
            file: Arc::downgrade(file),
            receiver,
            users: (creds.uid, creds.euid),
        };
        let all = Events::IN | Events::PRI | Events::OUT;
        Some(queue.register_callback(all, false, Arc::new(watcher)))
    });
    let old = std::mem::replace(&mut *file.notices.lock(), registration);
    drop(old);
}
