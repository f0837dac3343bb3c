//! File descriptor tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitflags::bitflags;
use parking_lot::RwLock;

use super::File;
use crate::error::{Errno, Result};

/// A descriptor number as a guest gave it; may be negative or AT_FDCWD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fd(pub i32);

bitflags! {
    /// Flags of a descriptor (not of the description).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct FdFlags: u32 {
        /// FD_CLOEXEC.
        const CLOEXEC = 1;
    }
}

/// Upper bound whatever RLIMIT_NOFILE says (`fs.nr_open`).
pub const NR_OPEN: usize = 1 << 20;

#[derive(Clone)]
struct Slot {
    file: Arc<File>,
    flags: FdFlags,
}

#[derive(Default)]
struct Inner {
    slots: Vec<Option<Slot>>,
    /// No free slot lies below.
    first_free: usize,
}

/// A task's descriptors (shared by CLONE_FILES).
#[derive(Default)]
pub struct FdTable {
    inner: RwLock<Inner>,
    /// Tasks that have it as theirs; transient references do not count.
    users: AtomicUsize,
}

impl FdTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
    /// A copy of its own (clone without CLONE_FILES).
    #[must_use]
    pub fn fork(&self) -> Arc<Self> {
        let inner = self.inner.read();
        Arc::new(Self {
            inner: RwLock::new(Inner {
                slots: inner.slots.clone(),
                first_free: inner.first_free,
            }),
            users: AtomicUsize::new(0),
        })
    }
    /// How many tasks share it.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.load(Ordering::Acquire)
    }
    pub(crate) fn join(&self) {
        self.users.fetch_add(1, Ordering::AcqRel);
    }
    /// Gives up a share; says whether it was the last: of several that leave at once, exactly one is told so.
    pub(crate) fn leave(&self) -> bool {
        self.users.fetch_sub(1, Ordering::AcqRel) == 1
    }
    /// The description behind `fd`, also O_PATH ones.
    pub fn get(&self, fd: Fd) -> Result<Arc<File>> {
        self.get_with_flags(fd).map(|(file, _)| file)
    }
    /// The description and the descriptor's flags.
    pub fn get_with_flags(&self, fd: Fd) -> Result<(Arc<File>, FdFlags)> {
        let index = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        let inner = self.inner.read();
        inner
            .slots
            .get(index)
            .and_then(Option::as_ref)
            .map(|slot| (slot.file.clone(), slot.flags))
            .ok_or(Errno::EBADF)
    }
    /// Installs at the lowest free number ≥ `from`; `EMFILE` at `limit` (RLIMIT_NOFILE).
    pub fn install(&self, file: Arc<File>, flags: FdFlags, from: usize, limit: u64) -> Result<Fd> {
        let limit = usize::try_from(limit).unwrap_or(NR_OPEN).min(NR_OPEN);
        let mut inner = self.inner.write();
        let mut at = from.max(inner.first_free);
        while inner.slots.get(at).is_some_and(Option::is_some) {
            at += 1;
        }
        if at >= limit {
            return Err(Errno::EMFILE);
        }
        if at >= inner.slots.len() {
            inner.slots.resize_with(at + 1, || None);
        }
        inner.slots[at] = Some(Slot { file, flags });
        if from <= inner.first_free {
            inner.first_free = at + 1;
        }
        Ok(Fd(at as i32))
    }
    /// Installs at exactly `fd` (dup2), returning what was there: the caller closes it. `EBADF` beyond `limit`.
    pub fn install_at(
        &self,
        fd: Fd,
        file: Arc<File>,
        flags: FdFlags,
        limit: u64,
    ) -> Result<Option<Arc<File>>> {
        let index = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        if index as u64 >= limit || index >= NR_OPEN {
            return Err(Errno::EBADF);
        }
        let mut inner = self.inner.write();
        if index >= inner.slots.len() {
            inner.slots.resize_with(index + 1, || None);
        }
        Ok(inner.slots[index]
            .replace(Slot { file, flags })
            .map(|slot| slot.file))
    }
    /// Takes `fd` out; the caller runs what closing entails and drops it.
    pub fn remove(&self, fd: Fd) -> Result<Arc<File>> {
        let index = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        let mut inner = self.inner.write();
        let slot = inner
            .slots
            .get_mut(index)
            .and_then(Option::take)
            .ok_or(Errno::EBADF)?;
        inner.first_free = inner.first_free.min(index);
        Ok(slot.file)
    }
    /// Changes a descriptor's flags.
    pub fn set_flags(&self, fd: Fd, flags: FdFlags) -> Result<()> {
        let index = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        let mut inner = self.inner.write();
        inner
            .slots
            .get_mut(index)
            .and_then(Option::as_mut)
            .ok_or(Errno::EBADF)?
            .flags = flags;
        Ok(())
    }
    /// Numbers in use within `range`, ascending.
    #[must_use]
    pub fn numbers(&self, range: std::ops::RangeInclusive<usize>) -> Vec<Fd> {
        let inner = self.inner.read();
        let end = inner.slots.len();
        (*range.start()..=*range.end())
            .take_while(|i| *i < end)
            .filter(|i| inner.slots[*i].is_some())
            .map(|i| Fd(i as i32))
            .collect()
    }
    /// Takes out everything marked close-on-exec.
    #[must_use]
    pub fn take_cloexec(&self) -> Vec<Arc<File>> {
        self.take_if(|flags| flags.contains(FdFlags::CLOEXEC))
    }
    /// Takes out everything (exit).
    #[must_use]
    pub fn take_all(&self) -> Vec<Arc<File>> {
        self.take_if(|_| true)
    }
    fn take_if(&self, unwanted: impl Fn(FdFlags) -> bool) -> Vec<Arc<File>> {
        let mut inner = self.inner.write();
        let mut taken = Vec::new();
        for slot in &mut inner.slots {
            if slot.as_ref().is_some_and(|slot| unwanted(slot.flags)) {
                taken.extend(slot.take().map(|slot| slot.file));
            }
        }
        inner.first_free = 0;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_that_leave_at_once_one_is_the_last() {
        let table = FdTable::new();
        for _ in 0..8 {
            table.join();
        }
        let last: usize = std::thread::scope(|scope| {
            let leaving: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| usize::from(table.leave())))
                .collect();
            leaving
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!((last, table.users()), (1, 0));
        assert_eq!(table.fork().users(), 0);
    }
}
