//! Locks on byte ranges: POSIX (F_SETLK) and OFD (F_OFD_SETLK).

use std::sync::Arc;

use crate::error::{Errno, Result};
use crate::task::Pid;
use crate::vfs::{FdTable, Inode};

/// Shared or exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// F_RDLCK, LOCK_SH.
    Read,
    /// F_WRLCK, LOCK_EX.
    Write,
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A POSIX lock: a descriptor table, as processes share them.
    Table(usize),
    /// An OFD lock: an open file description, by its id.
    Description(u64),
}

impl Owner {
    /// The POSIX owner that a descriptor table is.
    #[must_use]
    pub fn of_table(files: &Arc<FdTable>) -> Self {
        Self::Table(Arc::as_ptr(files) as usize)
    }
}

/// Bytes `first..=last`; `last` is `i64::MAX` for "to the end, however far".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Range {
    /// From a start (already resolved against SEEK_CUR or SEEK_END) and `l_len`: 0 means to the end, negative means before the start. `EINVAL` if it
    /// starts before 0, `EOVERFLOW` if it ends beyond the largest offset.
    pub fn new(start: i64, len: i64) -> Result<Self> {
        let (first, last) = match len {
            0 => (start, i64::MAX),
            1.. => {
                let last = start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?;
                (start, last)
            }
            _ => {
                let first = start.checked_add(len).ok_or(Errno::EINVAL)?;
                (first, start.wrapping_sub(1))
            }
        };
        if first < 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self { first, last })
    }
    /// `l_start` counted from 0.
    #[must_use]
    pub const fn start(self) -> i64 {
        self.first
    }
    /// `l_len`: 0 if it has no end.
    #[must_use]
    pub const fn len(self) -> i64 {
        if self.last == i64::MAX {
            0
        } else {
            self.last - self.first + 1
        }
    }
    /// Never: a range has at least one byte.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }
    pub(super) const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
    /// Overlaps or is adjacent.
    pub(super) const fn touches(self, other: Self) -> bool {
        self.first <= other.last.saturating_add(1) && other.first <= self.last.saturating_add(1)
    }
    pub(super) fn joined(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
    /// What lies before and behind `hole`.
    pub(super) fn without(self, hole: Self) -> (Option<Self>, Option<Self>) {
        let before = (self.first < hole.first).then(|| Self {
            first: self.first,
            last: hole.first - 1,
        });
        let after = (self.last > hole.last).then(|| Self {
            first: hole.last + 1,
            last: self.last,
        });
        (before, after)
    }
}

/// A lock to set, or to test.
#[derive(Clone)]
pub struct Request {
    /// Who asks.
    pub owner: Owner,
    /// Which lock; `None` unlocks.
    pub kind: Option<Kind>,
    /// Where.
    pub range: Range,
    /// Whom F_GETLK names; `None` for OFD locks (shown as -1).
    pub pid: Option<Arc<Pid>>,
}

/// A lock that stands against a request.
#[derive(Clone)]
pub struct Conflict {
    /// Which lock it is.
    pub kind: Kind,
    /// Where it is.
    pub range: Range,
    /// Whose; `None` for OFD locks.
    pub pid: Option<Arc<Pid>>,
}

/// F_SETLK, F_OFD_SETLK: `EAGAIN` if another's lock is in the way, `ENOLCK` if there are too many.
pub fn set(inode: &Inode, request: &Request) -> Result<()> {
    let locks = &inode.shared.locks;
    let gave_up = locks.ranges.lock().apply(request)?;
    if gave_up {
        locks.released();
    }
    Ok(())
}

/// F_GETLK, F_OFD_GETLK: the first lock in the way.
#[must_use]
pub fn test(inode: &Inode, request: &Request) -> Option<Conflict> {
    let ranges = inode.shared.locks.ranges.lock();
    ranges.conflict(request).map(|(_, conflict)| conflict)
}

/// A descriptor of `inode` was closed in a table: all of the table's POSIX locks on it go (fcntl(2)).
pub fn release_posix(inode: &Inode, files: &Arc<FdTable>) {
    let locks = &inode.shared.locks;
    let had = locks.ranges.lock().remove_owner(Owner::of_table(files));
    if had {
        locks.released();
    }
}
