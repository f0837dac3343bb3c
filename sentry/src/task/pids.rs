//! The container's limit of tasks, as the host's `pids` controller would keep it (`Documentation/admin-guide/cgroup-v1/pids.rst`).
//!
//! - [`PidsController`]: count and limit, in the container's extensions. [`PidsCharge`]: one task of the count.
//!
//! The host's own controller counts our helpers too and so gets a wider limit; the exact one holds here. A thread counts until it has ended, a process until
//! it has been waited for. No locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Errno;

use crate::error::Result;

/// See the module.
#[derive(Debug)]
pub struct PidsController {
    current: AtomicU64,
    /// `u64::MAX`: none.
    max: AtomicU64,
    refused: AtomicU64,
}

impl Default for PidsController {
    fn default() -> Self {
        Self {
            current: AtomicU64::new(0),
            max: AtomicU64::new(u64::MAX),
            refused: AtomicU64::new(0),
        }
    }
}

impl PidsController {
    /// Sets the limit; tasks beyond it stay.
    pub fn set_max(&self, max: Option<u64>) {
        self.max.store(max.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Tasks counted.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.current.load(Ordering::Relaxed)
    }

    /// How often the limit was in the way.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts a task that is to be made by one of the container's own; `EAGAIN` at the limit.
    pub fn try_charge(self: &Arc<Self>) -> Result<PidsCharge> {
        let max = self.max.load(Ordering::Relaxed);
        let charged = self
            .current
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |current| {
                (current < max).then_some(current.saturating_add(1))
            });
        if charged.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Errno::EAGAIN);
        }
        Ok(PidsCharge(Arc::clone(self)))
    }

    /// Counts a task that comes from outside: it is let in whatever the limit, as a process that is moved to a cgroup.
    #[must_use]
    pub fn charge(self: &Arc<Self>) -> PidsCharge {
        self.current.fetch_add(1, Ordering::Relaxed);
        PidsCharge(Arc::clone(self))
    }
}

/// A task in a container's count; dropping it takes the task out.
#[derive(Debug)]
pub struct PidsCharge(Arc<PidsController>);

impl Drop for PidsCharge {
    fn drop(&mut self) {
        self.0.current.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_for_those_made_inside() {
        let pids = Arc::new(PidsController::default());
        let first = pids.charge();
        pids.set_max(Some(2));
        let second = pids.try_charge().unwrap();
        assert_eq!(pids.try_charge().unwrap_err(), Errno::EAGAIN);
        let from_outside = pids.charge();
        assert_eq!((pids.current(), pids.refused()), (3, 1));
        drop((second, from_outside));
        assert!(pids.try_charge().is_ok());
        drop(first);
        assert_eq!(pids.current(), 0);
    }
}
