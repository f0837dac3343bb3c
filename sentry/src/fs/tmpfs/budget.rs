//! What a tmpfs may still allocate: pages (`size=`) and inodes (`nr_inodes=`).

use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{Errno, Result};

#[derive(Clone, Copy, Debug)]
struct Count {
    /// `None`: no limit.
    limit: Option<u64>,
    used: u64,
}

impl Count {
    fn charge(&mut self, n: u64) -> Result<()> {
        let used = self.used.checked_add(n).ok_or(Errno::ENOSPC)?;
        if self.limit.is_some_and(|limit| used > limit) {
            return Err(Errno::ENOSPC);
        }
        self.used = used;
        Ok(())
    }
}

/// Usage of one kind, for `statfs(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    /// 0: no limit.
    pub(super) limit: u64,
    pub(super) free: u64,
}

/// The limits of one file system and what is used of them.
#[derive(Debug)]
pub(crate) struct Budget {
    pages: Mutex<Count>,
    inodes: Mutex<Count>,
}

impl Budget {
    /// Limits in pages and inodes; `None`: none.
    pub(crate) fn new(pages: Option<u64>, inodes: Option<u64>) -> Arc<Self> {
        let count = |limit| Mutex::new(Count { limit, used: 0 });
        Arc::new(Self {
            pages: count(pages),
            inodes: count(inodes),
        })
    }
    /// No limits.
    pub(crate) fn unlimited() -> Arc<Self> {
        Self::new(None, None)
    }
    pub(super) fn charge_pages(&self, n: u64) -> Result<()> {
        self.pages.lock().charge(n)
    }
    /// For pages that exist already.
    pub(super) fn charge_pages_anyway(&self, n: u64) {
        let mut pages = self.pages.lock();
        pages.used = pages.used.saturating_add(n);
    }
    pub(super) fn return_pages(&self, n: u64) {
        let mut pages = self.pages.lock();
        pages.used = pages.used.saturating_sub(n);
    }
    pub(super) fn has_pages(&self, n: u64) -> bool {
        let mut probe = *self.pages.lock();
        probe.charge(n).is_ok()
    }
    pub(super) fn charge_inode(&self) -> Result<()> {
        self.inodes.lock().charge(1)
    }
    pub(super) fn return_inode(&self) {
        let mut inodes = self.inodes.lock();
        inodes.used = inodes.used.saturating_sub(1);
    }
    /// Pages and inodes.
    pub(super) fn usage(&self) -> (Usage, Usage) {
        let of = |count: &Mutex<Count>| {
            let count = *count.lock();
            Usage {
                limit: count.limit.unwrap_or(0),
                free: count.limit.unwrap_or(0).saturating_sub(count.used),
            }
        };
        (of(&self.pages), of(&self.inodes))
    }
    /// New limits (remount): `EINVAL` below what is used.
    pub(super) fn set_limits(&self, pages: Option<u64>, inodes: Option<u64>) -> Result<()> {
        let (mut own_pages, mut own_inodes) = (self.pages.lock(), self.inodes.lock());
        let fits = |count: &Count, limit: Option<u64>| limit.is_none_or(|l| l >= count.used);
        if !fits(&own_pages, pages) || !fits(&own_inodes, inodes) {
            return Err(Errno::EINVAL);
        }
        own_pages.limit = pages;
        own_inodes.limit = inodes;
        Ok(())
    }
}
