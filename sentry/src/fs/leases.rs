//! Leases (`F_SETLEASE`, `fs/locks.c`): who holds one is told by signal before another opens the file in a way that conflicts, and has time to give
//! it back.
//!
//! Lock order: an inode's leases are a leaf; the queue is notified and owners are told with nothing held.

use std::sync::{Arc, Weak};

use abi::fs::{F_RDLCK, F_UNLCK, F_WRLCK, S_IFREG};
use parking_lot::Mutex;

use super::fasync::{OWNER_PROCESS, Owner, Reason};
use crate::error::{Errno, Result};
use crate::task::Task;
use crate::task::creds::Cap;
use crate::vfs::{File, Inode};
use crate::wait::{Events, WaitQueue};

/// `/proc/sys/fs/lease-break-time`.
pub const BREAK_SECONDS: u64 = 45;

struct Lease {
    file: Weak<File>,
    fd: i32,
    kind: i16,
    /// What it has to become, once somebody waits for that.
    becomes: Option<i16>,
}

/// The leases on an inode.
#[derive(Default)]
pub struct Leases {
    list: Mutex<Vec<Lease>>,
    /// Notified when one is given back or gets weaker.
    queue: WaitQueue,
}

impl Leases {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.lock().is_empty()
    }
    /// Where to wait for one to be given back.
    #[must_use]
    pub fn queue(&self) -> WaitQueue {
        self.queue.clone()
    }
    /// Whether another's lease stands in the way of opening for writing or reading.
    #[must_use]
    pub fn conflicts(&self, write: bool) -> bool {
        let mut list = self.list.lock();
        list.retain(|lease| lease.file.strong_count() > 0);
        list.iter().any(|lease| write || lease.kind == F_WRLCK)
    }
    /// Tells the holders of leases in the way, each once.
    pub fn break_for(&self, write: bool) {
        let becomes = if write { F_UNLCK } else { F_RDLCK };
        let told: Vec<_> = {
            let mut list = self.list.lock();
            let in_the_way = list.iter_mut().filter(|l| write || l.kind == F_WRLCK);
            in_the_way
                .filter_map(|lease| {
                    let again = lease
                        .becomes
                        .is_some_and(|old| old == becomes || old == F_UNLCK);
                    lease.becomes = Some(becomes);
                    (!again).then(|| (lease.file.clone(), lease.fd))
                })
                .collect()
        };
        for (file, fd) in told {
            if let Some(file) = file.upgrade() {
                let owner = file.owner.lock().clone();
                owner.tell(Reason::Message, fd);
            }
        }
    }
    /// Time is up: leases that should have changed do.
    pub fn force(&self) {
        {
            let mut list = self.list.lock();
            for lease in list.iter_mut() {
                if let Some(becomes) = lease.becomes.take() {
                    lease.kind = becomes;
                }
            }
            list.retain(|lease| lease.kind != F_UNLCK);
        }
        self.queue.notify(Events::IN);
    }
    fn release(&self, file: &File) {
        let had = {
            let mut list = self.list.lock();
            let before = list.len();
            list.retain(|lease| !std::ptr::eq(lease.file.as_ptr(), file));
            list.len() != before
        };
        if had {
            self.queue.notify(Events::IN);
        }
    }
}

/// The description is going: so do its leases.
pub fn release_file(file: &File) {
    file.inode().state.leases.release(file);
}

/// `F_GETLEASE`: the kind of the file's leases that the description has; one that is being broken shows what it has to become.
#[must_use]
pub fn get(file: &File) -> i16 {
    let list = file.inode().state.leases.list.lock();
    let own = list
        .iter()
        .find(|lease| std::ptr::eq(lease.file.as_ptr(), file));
    own.map_or(F_UNLCK, |lease| lease.becomes.unwrap_or(lease.kind))
}

/// Whether others have the file open in a way that a lease of this kind rules out (`check_conflicting_open`).
fn opened_otherwise(inode: &Inode, kind: i16) -> bool {
    if kind == F_RDLCK {
        inode.shared.write_count.writers() > 0
    } else {
        inode.state.watches.opens() > 1
    }
}

/// `F_SETLEASE`: `EINVAL`, `EACCES` for another's file, `EAGAIN` while the file is open otherwise.
pub fn set(file: &Arc<File>, task: &Arc<Task>, fd: i32, kind: i16) -> Result<()> {
    let inode = file.inode();
    let leases = &inode.state.leases;
    if ![F_RDLCK, F_WRLCK, F_UNLCK].contains(&kind) {
        return Err(Errno::EINVAL);
    }
    if kind == F_UNLCK {
        if get(file) == F_UNLCK && leases.is_empty() {
            return Err(Errno::EAGAIN);
        }
        leases.release(file);
        // The owner was the lease's (`lease_modify`).
        *file.owner.lock() = Owner::default();
        return Ok(());
    }
    let attr = inode.attr()?;
    let creds = task.creds();
    if creds.fsuid != attr.uid && !creds.has_over(attr.uid, attr.gid, Cap::LEASE) {
        return Err(Errno::EACCES);
    }
    if attr.file_type() != S_IFREG {
        return Err(Errno::EINVAL);
    }
    if kind == F_RDLCK && file.writable() || opened_otherwise(inode, kind) {
        return Err(Errno::EAGAIN);
    }
    {
        let mut list = leases.list.lock();
        let own = |lease: &Lease| std::ptr::eq(lease.file.as_ptr(), Arc::as_ptr(file));
        // Nobody but readers share, and nothing new is given while one is being broken.
        if list
            .iter()
            .any(|l| !own(l) && (kind == F_WRLCK || l.kind == F_WRLCK))
            || list.iter().any(|lease| lease.becomes == Some(F_UNLCK))
        {
            return Err(Errno::EAGAIN);
        }
        if let Some(lease) = list.iter_mut().find(|lease| own(lease)) {
            lease.kind = kind;
            lease.fd = fd;
            lease.becomes = None;
        } else {
            list.push(Lease {
                file: Arc::downgrade(file),
                fd,
                kind,
                becomes: None,
            });
            let mut owner = file.owner.lock();
            if owner.pid.is_none() {
                owner.kind = OWNER_PROCESS;
                owner.pid = Some(task.group.pid.clone());
                owner.setter = (creds.uid, creds.euid);
            }
        }
    }
    leases.queue.notify(Events::IN);
    Ok(())
}
