//! Waiting for a range lock (F_SETLKW, F_OFD_SETLKW).
//!
//! A wait of a POSIX owner that would close a circle of waits gives `EDEADLK`. Who waits for whom is not remembered but found out: for each waiting
//! request, whose lock stands against it now. So an edge that has gone cannot make a false alarm.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use super::{Owner, Request, set};
use crate::error::{Errno, Result};
use crate::vfs::Inode;
use crate::wait::WaitQueue;

/// How far a chain of waits is followed (MAX_DEADLK_ITERATIONS).
const MAX_STEPS: usize = 10;

struct Waiter {
    id: u64,
    inode: Arc<Inode>,
    request: Request,
}

static WAITERS: LazyLock<Mutex<HashMap<Owner, Vec<Waiter>>>> = LazyLock::new(Mutex::default);
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A request that is tried again and again; dropping it gives it up.
pub struct Waiting {
    id: u64,
    inode: Arc<Inode>,
    request: Request,
    listed: bool,
}

impl Waiting {
    /// A request that has not been tried yet.
    #[must_use]
    pub fn new(inode: &Arc<Inode>, request: Request) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            inode: inode.clone(),
            request,
            listed: false,
        }
    }
    /// Where to wait between attempts.
    #[must_use]
    pub fn queue(&self) -> WaitQueue {
        self.inode.shared.locks.queue().clone()
    }
    /// Tries to lock: `EAGAIN` to wait, `EDEADLK` if waiting would be for ever.
    pub fn attempt(&mut self) -> Result<()> {
        match set(&self.inode, &self.request) {
            Err(Errno::EAGAIN) => {}
            done => return done,
        }
        if matches!(self.request.owner, Owner::Description(_)) {
            return Err(Errno::EAGAIN);
        }
        let mut waiters = WAITERS.lock();
        if closes_a_circle(&waiters, &self.inode, &self.request) {
            return Err(Errno::EDEADLK);
        }
        if !self.listed {
            self.listed = true;
            waiters.entry(self.request.owner).or_default().push(Waiter {
                id: self.id,
                inode: self.inode.clone(),
                request: self.request.clone(),
            });
        }
        Err(Errno::EAGAIN)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.listed {
            return;
        }
        let mut waiters = WAITERS.lock();
        let mut gone = Vec::new();
        if let Some(list) = waiters.get_mut(&self.request.owner) {
            gone.extend(list.extract_if(.., |waiter| waiter.id == self.id));
            if list.is_empty() {
                waiters.remove(&self.request.owner);
            }
        }
        drop(waiters);
        // An inode may go with the entry: outside the lock.
        drop(gone);
    }
}

fn holder(inode: &Inode, request: &Request) -> Option<Owner> {
    let ranges = inode.shared.locks.ranges.lock();
    ranges.conflict(request).map(|(owner, _)| owner)
}

fn closes_a_circle(
    waiters: &HashMap<Owner, Vec<Waiter>>,
    inode: &Inode,
    request: &Request,
) -> bool {
    let mut at = holder(inode, request);
    for _ in 0..MAX_STEPS {
        let Some(owner) = at else { return false };
        if owner == request.owner {
            return true;
        }
        at = waiters.get(&owner).and_then(|list| {
            list.iter()
                .find_map(|waiter| holder(&waiter.inode, &waiter.request))
        });
    }
    false
}
