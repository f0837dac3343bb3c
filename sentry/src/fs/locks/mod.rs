//! File locks (`fcntl(2)`, `flock(2)`, `fs/locks.c`): advisory, on inodes.
//!
//! - [`ranges`]: byte ranges, owned by a descriptor table (POSIX) or an open file description (OFD).
//! - [`wait`]: waiting for a range, with the search for deadlocks among POSIX owners.
//! - [`flock`]: whole files, owned by descriptions.
//!
//! Nothing blocks: what conflicts gives `EAGAIN`, and [`InodeLocks::queue`] is notified whenever locks go.
//!
//! Lock order: [`wait`]'s table of waiters → an inode's table. The queue is notified with neither held.

pub mod flock;
mod ranges;
mod table;
pub mod wait;

use std::sync::Arc;

use parking_lot::Mutex;

pub use ranges::{Conflict, Kind, Owner, Range, Request, release_posix, set, test};

use crate::vfs::{File, Inode};
use crate::wait::{Events, WaitQueue};

/// The locks of one inode.
#[derive(Default)]
pub struct InodeLocks {
    ranges: Mutex<table::Table>,
    flocks: Mutex<Vec<(u64, Kind)>>,
    queue: WaitQueue,
}

impl InodeLocks {
    /// Notified when a lock that others may wait for goes.
    #[must_use]
    pub const fn queue(&self) -> &WaitQueue {
        &self.queue
    }
    fn released(&self) {
        self.queue.notify(Events::IN);
    }
    /// All locks, for `/proc/locks`: range locks with owner and conflict view, and flocks by description.
    #[must_use]
    pub fn list(&self) -> (Vec<(Owner, Conflict)>, Vec<(u64, Kind)>) {
        let ranges = self.ranges.lock().list();
        (ranges, self.flocks.lock().clone())
    }
}

/// The last reference to a description is gone: its OFD locks and flock go with it.
pub fn release_file(file: &File) {
    release_description(file.inode(), file.id);
}

fn release_description(inode: &Arc<Inode>, id: u64) {
    let locks = &inode.shared.locks;
    let had_ranges = locks.ranges.lock().remove_owner(Owner::Description(id));
    let had_flock = flock::remove(locks, id);
    if had_ranges || had_flock {
        locks.released();
    }
}

#[cfg(test)]
mod tests;
