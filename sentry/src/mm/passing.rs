//! Changes of mappings that the host makes by the guest's own call, once they are known to be right: no registers are fetched, nothing is ordered.
//!
//! Only what cannot fail on the host, and means there what it means here, passes. The books are changed at once, the range stays in limbo until the
//! thread stops again.

use std::sync::Arc;

use abi::page_ceil;
use platform::{GUEST_TOP, GuestThread};

use super::ops::MAX_REGIONS;
use super::{Backing, MemoryMap, Region, RegionFlags};

/// What became of a call that might pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// The host executes it, the guest runs.
    Through,
    /// Nothing is to be done: the call succeeds.
    Nothing,
    /// It takes a full stop.
    Refused,
}

/// `mprotect(2)` passes for private memory up to this size: the host may refuse to account for more.
const PROTECT_MAX: u64 = 1 << 30;

fn guest_range(addr: u64, len: u64) -> Option<(u64, u64)> {
    let len = page_ceil(len).filter(|len| *len > 0)?;
    let end = addr.checked_add(len)?;
    (addr.is_multiple_of(abi::PAGE_SIZE) && end <= GUEST_TOP).then_some((addr, end))
}

impl MemoryMap {
    /// `thread` has stopped: what it had in flight has happened.
    pub fn has_stopped(&self, thread: &dyn GuestThread) {
        self.limbo.leave(thread);
    }

    /// Waits until no other thread has a call in flight: for what looks at the whole space.
    pub async fn settle_all(&self, thread: &dyn GuestThread) {
        self.limbo.settle(0, u64::MAX, thread).await;
    }

    /// Enters `start..end` into limbo and lets the call of `thread` through.
    fn through(&self, start: u64, end: u64, thread: &Arc<dyn GuestThread>) -> bool {
        self.limbo.enter(start, end, thread.clone());
        let through = thread.let_through();
        if !through {
            self.limbo.leave(&**thread);
        }
        through
    }

    /// `munmap(2)` of a thread at a light stop.
    pub async fn pass_unmap(&self, thread: &Arc<dyn GuestThread>, addr: u64, len: u64) -> Passage {
        let Some((start, end)) = guest_range(addr, len) else {
            return Passage::Refused;
        };
        let _operation = self.operation.lock().await;
        self.limbo.settle(start, end, &**thread).await;
        {
            let state = self.state.read();
            if state.tree.is_free(start, end) {
                return Passage::Nothing;
            }
            // Near the limit the host, which has regions of ours beside the guest's, might not be able to split one.
            let crowded = state.tree.count() > MAX_REGIONS / 2;
            let mut regions = state.tree.overlapping(start, end);
            let fixed = |region: &Region| {
                matches!(region.backing, Backing::Vdso)
                    || region.flags.contains(RegionFlags::SEALED)
            };
            if crowded || regions.any(fixed) {
                return Passage::Refused;
            }
        }
        if !self.through(start, end, thread) {
            return Passage::Refused;
        }
        let removed = self.state.write().tree.remove(start, end);
        // Dropping files may run what a last close entails: with no lock held.
        drop(removed);
        Passage::Through
    }

    /// `mprotect(2)` of a thread at a light stop.
    pub async fn pass_protect(
        &self,
        thread: &Arc<dyn GuestThread>,
        addr: u64,
        len: u64,
        prot: u32,
    ) -> Passage {
        let Some((start, end)) = guest_range(addr, len) else {
            return Passage::Refused;
        };
        let _operation = self.operation.lock().await;
        self.limbo.settle(start, end, &**thread).await;
        {
            let state = self.state.read();
            let plain = end - start <= PROTECT_MAX
                && state.tree.count() <= MAX_REGIONS / 2
                && state.tree.covers(start, end)
                && state.tree.overlapping(start, end).all(|region| {
                    !region
                        .flags
                        .intersects(RegionFlags::SHARED | RegionFlags::SEALED)
                        && !matches!(region.backing, Backing::Vdso)
                });
            if !plain {
                return Passage::Refused;
            }
        }
        if !self.through(start, end, thread) {
            return Passage::Refused;
        }
        let mut state = self.state.write();
        state.tree.update(start, end, |region| region.prot = prot);
        Passage::Through
    }

    /// `madvise(2)`, with advice that changes no books, of a thread at a light stop.
    pub async fn pass_advice(&self, thread: &Arc<dyn GuestThread>, addr: u64, len: u64) -> Passage {
        let Some((start, end)) = guest_range(addr, len) else {
            return Passage::Refused;
        };
        let _operation = self.operation.lock().await;
        self.limbo.settle(start, end, &**thread).await;
        let plain = {
            let state = self.state.read();
            state.tree.covers(start, end)
                && state.tree.overlapping(start, end).all(|region| {
                    !matches!(region.backing, Backing::Vdso)
                        && !region.flags.contains(RegionFlags::SEALED)
                })
        };
        if plain && self.through(start, end, thread) {
            Passage::Through
        } else {
            Passage::Refused
        }
    }
}
