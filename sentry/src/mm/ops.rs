//! Operations on a memory map: decide on intent, order the host calls, record what has happened.
//!
//! Each holds the map's `operation` mutex from the decision to the record, so that a range is never given away while a host call for it is in flight.
//! The calling thread must be at a full stop.

use std::sync::Arc;

use abi::mm::{PROT_EXEC, PROT_READ, PROT_WRITE};
use abi::{PAGE_SIZE, page_ceil, page_floor};
use platform::{GUEST_TOP, GuestThread, HostCall, TRAMPOLINE_TOP};

use super::{Backing, Deferred, MemoryMap, Region, RegionFlags};
use crate::error::{Errno, Result};

/// `vm.max_map_count`.
pub const MAX_REGIONS: usize = 65_530;

/// What to map.
pub struct MapRequest {
    /// Wanted address, page-aligned; 0: any.
    pub addr: u64,
    /// Length in bytes, a multiple of the page size, not 0.
    pub len: u64,
    /// `PROT_*`.
    pub prot: u32,
    /// Properties.
    pub flags: RegionFlags,
    /// Backing.
    pub backing: Backing,
    /// MAP_FIXED: exactly there, replacing.
    pub fixed: bool,
    /// MAP_FIXED_NOREPLACE: exactly there or `EEXIST`.
    pub no_replace: bool,
    /// MAP_32BIT.
    pub low: bool,
    /// Name for maps.
    pub label: Option<Arc<[u8]>>,
    /// RLIMIT_AS in bytes.
    pub limit: u64,
    /// RLIMIT_DATA in bytes: counts private writable memory that is no stack.
    pub limit_data: u64,
}

/// Orders one host call; the guest's own thread being gone looks like a failure (the thread's loop ends it).
pub async fn order(thread: &dyn GuestThread, call: HostCall) -> Result<u64> {
    match thread.order(&[call]).await {
        Ok(results) => results.into_iter().next().unwrap_or(Err(Errno::EINTR)),
        Err(platform::Gone) => Err(Errno::EINTR),
    }
}

/// `stack_guard_gap`: 256 pages.
const STACK_GUARD_GAP: u64 = 256 * PAGE_SIZE;

/// What RLIMIT_DATA counts (`is_data_mapping`): private, writable, no stack.
const fn is_data(prot: u32, flags: RegionFlags) -> bool {
    prot & PROT_WRITE != 0
        && !flags.contains(RegionFlags::SHARED)
        && !flags.contains(RegionFlags::GROWSDOWN)
}

const fn in_bounds(start: u64, len: u64) -> bool {
    start >= TRAMPOLINE_TOP && len <= GUEST_TOP && start <= GUEST_TOP - len
}

/// Whether advice throws contents away.
const fn discards(advice: u32) -> bool {
    use abi::mm::{MADV_DONTFORK, MADV_DONTNEED, MADV_FREE, MADV_WIPEONFORK};
    matches!(
        advice,
        MADV_DONTNEED | MADV_FREE | MADV_DONTFORK | MADV_WIPEONFORK
    )
}

impl MemoryMap {
    /// Maps; returns the address.
    pub async fn map(&self, thread: &dyn GuestThread, request: MapRequest) -> Result<u64> {
        let _operation = self.operation.lock().await;
        self.map_locked(thread, request).await
    }

    pub(super) async fn map_locked(
        &self,
        thread: &dyn GuestThread,
        request: MapRequest,
    ) -> Result<u64> {
        let call = self.plan(thread, &request).await?;
        // What the platform reports as mapped is where it was ordered to be.
        let addr = order(thread, call).await?;
        self.record(addr, request);
        Ok(addr)
    }

    /// Chooses the place and makes the host call of it.
    pub(super) async fn plan(
        &self,
        thread: &dyn GuestThread,
        request: &MapRequest,
    ) -> Result<HostCall> {
        let &MapRequest {
            len, prot, flags, ..
        } = request;
        if request.addr != 0 || request.fixed {
            let end = request.addr.saturating_add(len);
            self.limbo.settle(request.addr, end, thread).await;
        }
        let (addr, replace) = match self.choose(thread, request)? {
            Some(chosen) => chosen,
            None => {
                self.settle_all(thread).await;
                self.choose(thread, request)?.ok_or(Errno::ENOMEM)?
            }
        };
        let shared = flags.contains(RegionFlags::SHARED);
        let source = request
            .backing
            .source(len, shared && !flags.contains(RegionFlags::NEVER_WRITE))?;
        Ok(HostCall::Map {
            addr,
            len,
            prot,
            shared,
            replace,
            noreserve: flags.contains(RegionFlags::NORESERVE),
            source,
        })
    }

    /// Enters what was mapped at `addr`.
    pub(super) fn record(&self, addr: u64, request: MapRequest) {
        self.state.write().tree.insert(Region {
            start: addr,
            end: addr + request.len,
            prot: request.prot,
            flags: request.flags,
            backing: request.backing,
            label: request.label,
        });
    }

    /// A free range that no other thread has a call in flight for; `None`: there is none as long as they have.
    fn gap(&self, thread: &dyn GuestThread, len: u64, base: u64) -> Result<Option<u64>> {
        let mut state = self.state.write();
        let mut below = base;
        loop {
            let found = state.tree.find_gap(len, below);
            let Some(at) = found.filter(|at| below == base || at + len <= below) else {
                return if below == base {
                    Err(Errno::ENOMEM)
                } else {
                    Ok(None)
                };
            };
            match self.limbo.obstacle(at, at + len, thread) {
                None => return Ok(Some(at)),
                Some(start) => below = start,
            }
        }
    }

    /// Where to map, and whether something there is replaced. `None`: wait until nothing is in flight and ask again.
    fn choose(
        &self,
        thread: &dyn GuestThread,
        request: &MapRequest,
    ) -> Result<Option<(u64, bool)>> {
        let state = self.state.read();
        let len = request.len;
        let overlap: u64 = if request.fixed {
            let end = request.addr.saturating_add(len);
            state
                .tree
                .overlapping(request.addr, end)
                .map(|r| r.part(request.addr, end).len())
                .sum()
        } else {
            0
        };
        if (state.tree.total() - overlap)
            .checked_add(len)
            .is_none_or(|sum| sum > request.limit)
        {
            return Err(Errno::ENOMEM);
        }
        if is_data(request.prot, request.flags) && request.limit_data != u64::MAX {
            let data: u64 = state
                .tree
                .iter()
                .filter(|r| is_data(r.prot, r.flags) && r.label.as_deref() != Some(b"[stack]"))
                .map(|r| r.len())
                .sum();
            if data.saturating_add(len) > request.limit_data {
                return Err(Errno::ENOMEM);
            }
        }
        if state.tree.count() >= MAX_REGIONS {
            return Err(Errno::ENOMEM);
        }
        if request.fixed || request.no_replace {
            if !in_bounds(request.addr, len) {
                // Linux: EPERM below mmap_min_addr, ENOMEM above the top.
                return Err(if request.addr < TRAMPOLINE_TOP {
                    Errno::EPERM
                } else {
                    Errno::ENOMEM
                });
            }
            if request.no_replace && !state.tree.is_free(request.addr, request.addr + len) {
                return Err(Errno::EEXIST);
            }
            let end = request.addr + len;
            if state.tree.is_sealed(request.addr, end) {
                return Err(Errno::EPERM);
            }
            if state
                .tree
                .overlapping(request.addr, end)
                .any(|r| matches!(r.backing, Backing::Vdso))
            {
                return Err(Errno::ENOMEM);
            }
            return Ok(Some((request.addr, !state.tree.is_free(request.addr, end))));
        }
        let hint = request.addr;
        if hint != 0 && in_bounds(hint, len) && state.tree.is_free(hint, hint + len) {
            return Ok(Some((hint, false)));
        }
        let base = if request.low {
            0x8000_0000
        } else {
            state.layout.mmap_base
        };
        drop(state);
        match self.gap(thread, len, base)? {
            Some(at) if request.low && at + len > 0x8000_0000 => Err(Errno::ENOMEM),
            at => Ok(at.map(|at| (at, false))),
        }
    }

    /// `munmap(2)`.
    pub async fn unmap(&self, thread: &dyn GuestThread, addr: u64, len: u64) -> Result<()> {
        let len = page_ceil(len).filter(|len| *len > 0).ok_or(Errno::EINVAL)?;
        if !addr.is_multiple_of(PAGE_SIZE) || len > GUEST_TOP || addr > GUEST_TOP - len {
            return Err(Errno::EINVAL);
        }
        let _operation = self.operation.lock().await;
        self.unmap_locked(thread, addr, len).await
    }

    async fn unmap_locked(&self, thread: &dyn GuestThread, addr: u64, len: u64) -> Result<()> {
        self.limbo.settle(addr, addr + len, thread).await;
        {
            let state = self.state.read();
            if state.tree.is_free(addr, addr + len) {
                return Ok(());
            }
            if state.tree.is_sealed(addr, addr + len) {
                return Err(Errno::EPERM);
            }
            if state
                .tree
                .overlapping(addr, addr + len)
                .any(|r| matches!(r.backing, Backing::Vdso))
            {
                return Err(Errno::EINVAL);
            }
        }
        order(thread, HostCall::Unmap { addr, len }).await?;
        let removed = self.state.write().tree.remove(addr, addr + len);
        // Dropping files may run what a last close entails: with no lock held.
        drop(removed);
        Ok(())
    }

    /// `mprotect(2)`.
    pub async fn protect(
        &self,
        thread: &dyn GuestThread,
        addr: u64,
        len: u64,
        prot: u32,
    ) -> Result<()> {
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let len = page_ceil(len).ok_or(Errno::ENOMEM)?;
        if len == 0 {
            return Ok(());
        }
        if prot & !(PROT_READ | PROT_WRITE | PROT_EXEC) != 0 {
            return Err(Errno::EINVAL);
        }
        let end = addr
            .checked_add(len)
            .filter(|end| *end <= GUEST_TOP)
            .ok_or(Errno::ENOMEM)?;
        let _operation = self.operation.lock().await;
        self.limbo.settle(addr, end, thread).await;
        let (good_end, result) = self.protectable(addr, end, prot);
        if good_end > addr {
            let len = good_end - addr;
            order(thread, HostCall::Protect { addr, len, prot }).await?;
            self.state
                .write()
                .tree
                .update(addr, good_end, |region| region.prot = prot);
        }
        result
    }

    /// Up to where `mprotect` works, and what it says in the end: pages before a hole or a forbidden region are changed, as in Linux.
    fn protectable(&self, addr: u64, end: u64, prot: u32) -> (u64, Result<()>) {
        let state = self.state.read();
        let mut at = addr;
        for region in state.tree.overlapping(addr, end) {
            if region.start > at {
                break;
            }
            if region.flags.contains(RegionFlags::SEALED) {
                return (at, Err(Errno::EPERM));
            }
            if matches!(region.backing, Backing::Vdso)
                || (prot & PROT_WRITE != 0 && region.flags.contains(RegionFlags::NEVER_WRITE))
            {
                return (at, Err(Errno::EACCES));
            }
            at = region.end.min(end);
        }
        (
            at,
            if at == end {
                Ok(())
            } else {
                Err(Errno::ENOMEM)
            },
        )
    }

    /// Grows a MAP_GROWSDOWN region downwards so that it holds `addr`; whether it did. `limit` is RLIMIT_STACK. As in Linux, a megabyte below stays
    /// free unless the neighbour grows too or cannot be touched anyway.
    pub async fn grow_down(&self, thread: &dyn GuestThread, addr: u64, limit: u64) -> bool {
        if addr >= GUEST_TOP {
            return false;
        }
        let start = page_floor(addr);
        let _operation = self.operation.lock().await;
        let request = {
            let state = self.state.read();
            if state.tree.find(addr).is_some() {
                return false;
            }
            let Some(region) = state.tree.overlapping(start, GUEST_TOP).next() else {
                return false;
            };
            let guarded = start.saturating_sub(STACK_GUARD_GAP);
            let crowded = state
                .tree
                .overlapping(guarded, start)
                .any(|r| r.prot != 0 && !r.flags.contains(RegionFlags::GROWSDOWN));
            if !region.flags.contains(RegionFlags::GROWSDOWN)
                || region.end - start > limit
                || crowded
                || start < TRAMPOLINE_TOP
            {
                return false;
            }
            MapRequest {
                addr: start,
                len: region.start - start,
                prot: region.prot,
                flags: region.flags,
                backing: Backing::Anonymous,
                fixed: false,
                no_replace: true,
                low: false,
                label: region.label.clone(),
                limit: u64::MAX,
                limit_data: u64::MAX,
            }
        };
        self.map_locked(thread, request).await.is_ok()
    }

    /// `madvise(2)` for advice that changes pages or inheritance on the host; `range` is mapped or `ENOMEM`.
    pub async fn advise(
        &self,
        thread: &dyn GuestThread,
        addr: u64,
        len: u64,
        advice: u32,
        change: impl Fn(&mut Region) + Send,
    ) -> Result<()> {
        let end = addr
            .checked_add(len)
            .filter(|end| *end <= GUEST_TOP)
            .ok_or(Errno::ENOMEM)?;
        let _operation = self.operation.lock().await;
        self.limbo.settle(addr, end, thread).await;
        let parts: Vec<(u64, u64)> = {
            let state = self.state.read();
            state
                .tree
                .overlapping(addr, end)
                .filter(|r| !matches!(r.backing, Backing::Vdso))
                .map(|r| (r.start.max(addr), r.end.min(end)))
                .collect()
        };
        let whole = self.state.read().tree.covers(addr, end);
        if discards(advice) && self.holds_sealed_data(addr, end) {
            return Err(Errno::EPERM);
        }
        for (start, end) in parts {
            order(
                thread,
                HostCall::Advise {
                    addr: start,
                    len: end - start,
                    advice,
                },
            )
            .await?;
            self.state.write().tree.update(start, end, &change);
        }
        if whole { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// `mseal(2)`: `ENOMEM` unless all of the range is mapped.
    pub async fn seal(&self, thread: &dyn GuestThread, addr: u64, end: u64) -> Result<()> {
        let _operation = self.operation.lock().await;
        self.limbo.settle(addr, end, thread).await;
        let mut state = self.state.write();
        if !state.tree.covers(addr, end) {
            return Err(Errno::ENOMEM);
        }
        let seal = |region: &mut Region| region.flags.insert(RegionFlags::SEALED);
        state.tree.update(addr, end, seal);
        Ok(())
    }

    /// Whether part of the range is sealed private memory that its holder could not write either (`can_madvise_modify`).
    fn holds_sealed_data(&self, addr: u64, end: u64) -> bool {
        let state = self.state.read();
        state.tree.overlapping(addr, end).any(|region| {
            region.flags.contains(RegionFlags::SEALED)
                && !region.flags.contains(RegionFlags::SHARED)
                && region.prot & PROT_WRITE == 0
                && matches!(region.backing, Backing::Anonymous)
        })
    }

    /// Makes `call` of each mapped part of the range, in order; the vDSO is left out. The host's refusals are `on_error`'s to judge.
    pub async fn each_part(
        &self,
        thread: &dyn GuestThread,
        (addr, end): (u64, u64),
        call: impl Fn(u64, u64) -> HostCall + Send,
        on_error: impl Fn(u64, u64, Errno) -> Result<()> + Send,
    ) -> Result<()> {
        let _operation = self.operation.lock().await;
        self.limbo.settle(addr, end, thread).await;
        let parts: Vec<(u64, u64)> = {
            let state = self.state.read();
            state
                .tree
                .overlapping(addr, end)
                .filter(|r| !matches!(r.backing, Backing::Vdso))
                .map(|r| (r.start.max(addr), r.end.min(end)))
                .collect()
        };
        for (start, end) in parts {
            if let Err(errno) = order(thread, call(start, end - start)).await {
                on_error(start, end, errno)?;
            }
        }
        Ok(())
    }

    /// `brk(2)`: the new break, or the old one if it cannot be moved; and the call that is left for the end of the stop to make it so.
    pub async fn set_break(
        &self,
        thread: &Arc<dyn GuestThread>,
        wanted: u64,
        limits: (u64, u64),
    ) -> (u64, Option<Deferred>) {
        let (limit_data, limit_as) = limits;
        let _operation = self.operation.lock().await;
        let layout = self.layout();
        let old = layout.brk;
        if wanted < layout.start_brk || wanted > GUEST_TOP || wanted - layout.start_brk > limit_data
        {
            return (old, None);
        }
        let (Some(old_end), Some(new_end)) = (page_ceil(old), page_ceil(wanted)) else {
            return (old, None);
        };
        let moved = match new_end.cmp(&old_end) {
            std::cmp::Ordering::Equal => Ok(None),
            std::cmp::Ordering::Less => {
                let unmapped = self.unmap_locked(&**thread, new_end, old_end - new_end);
                unmapped.await.map(|()| None)
            }
            std::cmp::Ordering::Greater => {
                let request = MapRequest {
                    addr: old_end,
                    len: new_end - old_end,
                    prot: PROT_READ | PROT_WRITE,
                    flags: RegionFlags::default(),
                    backing: Backing::Anonymous,
                    fixed: false,
                    no_replace: true,
                    low: false,
                    label: Some(Arc::from(&b"[heap]"[..])),
                    limit: limit_as,
                    // Checked above, against what the heap alone has.
                    limit_data,
                };
                self.map_later_locked(thread, request)
                    .await
                    .map(|(_, deferred)| deferred.map(|it| it.with_break(old)))
            }
        };
        let Ok(deferred) = moved else {
            return (old, None);
        };
        self.state.write().layout.brk = wanted;
        (wanted, deferred)
    }

    /// `mremap(2)`; lengths are rounded up, flags checked by the caller.
    pub async fn remap(&self, thread: &dyn GuestThread, request: RemapRequest) -> Result<u64> {
        let RemapRequest {
            addr,
            old_len,
            new_len,
            to,
            may_move,
            keep_old,
            limit,
        } = request;
        let _operation = self.operation.lock().await;
        // The old range, and what a mapping that grows in place grows into.
        let reach = addr.saturating_add(old_len.max(new_len));
        self.limbo.settle(addr, reach, thread).await;
        let region = {
            let state = self.state.read();
            let region = state.tree.find(addr).cloned().ok_or(Errno::EFAULT)?;
            // What only shrinks may reach over several regions.
            let shrinks = to.is_none() && !keep_old && new_len < old_len;
            let end = addr.checked_add(old_len).filter(|end| *end <= GUEST_TOP);
            let fits = end.is_some_and(|end| shrinks || end <= region.end);
            if matches!(region.backing, Backing::Vdso) || !fits {
                return Err(Errno::EFAULT);
            }
            if region.flags.contains(RegionFlags::SEALED) {
                return Err(Errno::EPERM);
            }
            if new_len > old_len && state.tree.total() + (new_len - old_len) > limit {
                return Err(Errno::ENOMEM);
            }
            region
        };
        if old_len == 0 {
            return self.duplicate(thread, &region, &request).await;
        }
        if to.is_none() && new_len <= old_len && !keep_old {
            if new_len < old_len {
                self.unmap_locked(thread, addr + new_len, old_len - new_len)
                    .await?;
            }
            return Ok(addr);
        }
        let in_place = to.is_none() && !keep_old && {
            let end = addr + old_len;
            end == region.end
                && addr.checked_add(new_len).is_some_and(|new_end| {
                    new_end <= GUEST_TOP && self.state.read().tree.is_free(end, new_end)
                })
        };
        let target = match to {
            _ if in_place => addr,
            Some(to) => {
                if !in_bounds(to, new_len) {
                    return Err(Errno::EINVAL);
                }
                self.unmap_locked(thread, to, new_len).await?;
                to
            }
            None if may_move => {
                let base = self.state.read().layout.mmap_base;
                match self.gap(thread, new_len, base)? {
                    Some(at) => at,
                    None => {
                        self.settle_all(thread).await;
                        let at = self.gap(thread, new_len, base)?;
                        at.ok_or(Errno::ENOMEM)?
                    }
                }
            }
            None => return Err(Errno::ENOMEM),
        };
        let call = HostCall::Remap {
            addr,
            old_len,
            new_len,
            new_addr: target,
            keep_old,
        };
        let got = order(thread, call).await?;
        if got != target {
            return Err(Errno::ENOMEM);
        }
        let mut moved = region.part(addr, addr + old_len);
        moved.start = target;
        moved.end = target + new_len;
        let removed = {
            let mut state = self.state.write();
            let removed = if keep_old {
                Vec::new()
            } else {
                state.tree.remove(addr, addr + old_len)
            };
            state.tree.insert(moved);
            removed
        };
        drop(removed);
        Ok(target)
    }

    /// `mremap` with an old length of 0: another mapping of the same shared pages. Made as a fresh mapping of the backing, never by the host's
    /// mremap, which would reach beyond what is mapped.
    async fn duplicate(
        &self,
        thread: &dyn GuestThread,
        region: &Region,
        request: &RemapRequest,
    ) -> Result<u64> {
        if !region.is_shared() || (!request.may_move && request.to.is_none()) {
            return Err(Errno::EINVAL);
        }
        let backing = region.backing.advanced(request.addr - region.start);
        let request = MapRequest {
            addr: request.to.unwrap_or(0),
            len: request.new_len,
            prot: region.prot,
            flags: region.flags,
            backing,
            fixed: request.to.is_some(),
            no_replace: false,
            low: false,
            label: region.label.clone(),
            limit: request.limit,
            limit_data: u64::MAX,
        };
        self.map_locked(thread, request).await
    }
}

/// What `mremap` asks for.
pub struct RemapRequest {
    /// Start of the old range, page-aligned.
    pub addr: u64,
    /// Its length, rounded up; may be 0.
    pub old_len: u64,
    /// The new length, rounded up, not 0.
    pub new_len: u64,
    /// MREMAP_FIXED: exactly there.
    pub to: Option<u64>,
    /// MREMAP_MAYMOVE.
    pub may_move: bool,
    /// MREMAP_DONTUNMAP.
    pub keep_old: bool,
    /// RLIMIT_AS.
    pub limit: u64,
}

/// The pages that `addr..addr + len` touches, as an aligned range; `None` if it wraps around.
#[must_use]
pub fn pages(addr: u64, len: u64) -> Option<(u64, u64)> {
    let end = page_ceil(addr.checked_add(len)?)?;
    Some((page_floor(addr), end))
}
