//! Descriptors on their way through Unix sockets (SCM_RIGHTS).
//!
//! Each user may have as many on the way as its RLIMIT_NOFILE allows, so that sockets which were sent through themselves, which nothing collects,
//! cannot pile up without bound. They are dropped one after the other, not recursively: a chain of sockets in sockets may be long.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use crate::error::{Errno, Result};
use crate::vfs::File;

/// How many files are on the way, by user.
static COUNTS: LazyLock<Mutex<HashMap<u32, usize>>> = LazyLock::new(Mutex::default);

thread_local! {
    /// Files to drop, while this thread drops some.
    static DROPPING: RefCell<Option<Vec<Arc<File>>>> = const { RefCell::new(None) };
}

/// Files on the way, charged to a user.
#[derive(Default)]
pub struct InFlight {
    files: Vec<Arc<File>>,
    uid: u32,
}

impl InFlight {
    /// Charges `files` to `uid`: `ETOOMANYREFS` beyond `limit`.
    pub fn new(files: Vec<Arc<File>>, uid: u32, limit: u64) -> Result<Self> {
        if files.is_empty() {
            return Ok(Self::default());
        }
        let mut counts = COUNTS.lock();
        let count = counts.entry(uid).or_insert(0);
        if (*count + files.len()) as u64 > limit {
            return Err(Errno::ETOOMANYREFS);
        }
        *count += files.len();
        drop(counts);
        Ok(Self { files, uid })
    }
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
    /// They have arrived.
    #[must_use]
    pub fn arrive(mut self) -> Vec<Arc<File>> {
        self.discharge();
        std::mem::take(&mut self.files)
    }
    /// The same files once more, for a peek that hands them out at once.
    pub(super) fn share(&self) -> Self {
        if self.files.is_empty() {
            return Self::default();
        }
        *COUNTS.lock().entry(self.uid).or_insert(0) += self.files.len();
        Self {
            files: self.files.clone(),
            uid: self.uid,
        }
    }
    fn discharge(&self) {
        if self.files.is_empty() {
            return;
        }
        let mut counts = COUNTS.lock();
        if let Some(count) = counts.get_mut(&self.uid) {
            *count = count.saturating_sub(self.files.len());
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.discharge();
        drop_one_by_one(std::mem::take(&mut self.files));
    }
}

fn drop_one_by_one(files: Vec<Arc<File>>) {
    if files.is_empty() {
        return;
    }
    let outermost = DROPPING.with_borrow_mut(|dropping| match dropping {
        Some(list) => {
            list.extend(files);
            false
        }
        None => {
            *dropping = Some(files);
            true
        }
    });
    if !outermost {
        return;
    }
    loop {
        let next = DROPPING.with_borrow_mut(|dropping| {
            let file = dropping.as_mut().and_then(Vec::pop);
            if file.is_none() {
                *dropping = None;
            }
            file
        });
        // Dropped here, with the list not borrowed.
        if next.is_none() {
            break;
        }
    }
}
