//! Memory calls: `mmap(2)` and its kin. All that change mappings need a full stop.

use std::sync::Arc;

use abi::mm::*;
use abi::{PAGE_SIZE, UserAddr, UserOut, page_ceil};
use sentry::error::{Errno, SysResult};
use sentry::host;
use sentry::mm::ops::{RemapRequest, order, pages};
use sentry::mm::{Backing, MapRequest, MemoryMap, RegionFlags};
use sentry::platform::HostCall;
use sentry::task::CurrentTask;
use sentry::task::creds::Cap;
use sentry::task::limits::Resource;
use sentry::vfs::{Fd, MountFlags};

/// `mmap(2)`.
pub async fn mmap(
    cx: &CurrentTask,
    addr: u64,
    len: u64,
    prot: u32,
    flags: u32,
    fd: Fd,
    offset: u64,
) -> SysResult<UserAddr> {
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let file = if flags & MAP_ANONYMOUS == 0 {
        Some(cx.file(fd)?)
    } else {
        None
    };
    if len == 0 {
        return Err(Errno::EINVAL.into());
    }
    let len = page_ceil(len)
        .filter(|len| *len <= platform_top())
        .ok_or(Errno::ENOMEM)?;
    if offset.checked_add(len).is_none() {
        return Err(Errno::EOVERFLOW.into());
    }
    let fixed = flags & MAP_FIXED != 0;
    let no_replace = flags & MAP_FIXED_NOREPLACE != 0;
    if (fixed || no_replace) && !addr.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    if flags & MAP_HUGETLB != 0 {
        // No huge pages are reserved here: what Linux says with an empty pool.
        return Err(Errno::ENOMEM.into());
    }
    let shared = match flags & MAP_TYPE {
        MAP_SHARED => true,
        // Only files can be asked to understand all flags.
        MAP_SHARED_VALIDATE if file.is_none() => return Err(Errno::EINVAL.into()),
        MAP_SHARED_VALIDATE => {
            if flags & !LEGACY_MAP_MASK != 0 {
                return Err(Errno::EOPNOTSUPP.into());
            }
            true
        }
        MAP_PRIVATE => false,
        _ => return Err(Errno::EINVAL.into()),
    };
    let mut region_flags = RegionFlags::empty();
    region_flags.set(RegionFlags::SHARED, shared);
    region_flags.set(RegionFlags::NORESERVE, flags & MAP_NORESERVE != 0);
    region_flags.set(RegionFlags::GROWSDOWN, flags & MAP_GROWSDOWN != 0);
    let mut prot = prot & (PROT_READ | PROT_WRITE | PROT_EXEC);
    if prot & PROT_READ != 0 && cx.misc.lock().personality & READ_IMPLIES_EXEC != 0 {
        prot |= PROT_EXEC;
    }
    let backing = match file {
        Some(file) => {
            if !file.readable() {
                return Err(Errno::EACCES.into());
            }
            if shared && !file.writable() {
                if prot & PROT_WRITE != 0 {
                    return Err(Errno::EACCES.into());
                }
                region_flags.insert(RegionFlags::NEVER_WRITE);
            }
            if prot & PROT_EXEC != 0
                && file
                    .path()
                    .is_some_and(|p| p.mount.flags().contains(MountFlags::NOEXEC))
            {
                return Err(Errno::EPERM.into());
            }
            if file.ops().as_mappable().is_none() {
                return Err(Errno::ENODEV.into());
            }
            Backing::File { file, offset }
        }
        None if shared => {
            let memory = Arc::new(host::memfd(c"shared")?);
            host::ftruncate(&memory, len)?;
            Backing::Memory {
                file: memory,
                name: Arc::from(&b"/dev/zero (deleted)"[..]),
                offset: 0,
            }
        }
        None => Backing::Anonymous,
    };
    let request = MapRequest {
        addr: if fixed || no_replace {
            addr
        } else {
            abi::page_floor(addr)
        },
        len,
        prot,
        flags: region_flags,
        backing,
        fixed: fixed && !no_replace,
        no_replace,
        low: flags & MAP_32BIT != 0,
        label: None,
        limit: cx.group.limit(Resource::As),
        limit_data: cx.group.limit(Resource::Data),
    };
    let map = cx.memory_map();
    let thread = cx.thread();
    let locked = flags & MAP_LOCKED != 0 || map.state.read().lock_future;
    if locked && !cx.creds().has(Cap::IPC_LOCK) {
        let limit = cx.group.limit(Resource::Memlock);
        if flags & MAP_LOCKED != 0 && limit == 0 {
            return Err(Errno::EPERM.into());
        }
        if locked_bytes(&map).saturating_add(len) > limit {
            return Err(Errno::EAGAIN.into());
        }
    }
    let populate = flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE;
    if !locked && !populate {
        let (addr, deferred) = map.map_later(&thread, request).await?;
        if deferred.is_some() {
            cx.note_in_flight(map, deferred);
        }
        return Ok(UserAddr(addr));
    }
    let addr = map.map(&*thread, request).await?;
    if locked {
        map.state.write().tree.update(addr, addr + len, |region| {
            region.flags.insert(RegionFlags::LOCKED)
        });
        pin(cx, (addr, addr + len), true).await?;
    } else if populate {
        // mm_populate: what cannot be brought in is left to its fault.
        let advice = if prot & PROT_WRITE != 0 && !shared {
            MADV_POPULATE_WRITE
        } else {
            MADV_POPULATE_READ
        };
        let call = |addr, len| HostCall::Advise { addr, len, advice };
        map.each_part(
            &*thread,
            (addr, addr + len),
            call,
            |_, _, errno| match errno {
                Errno::EINTR => Err(errno),
                _ => Ok(()),
            },
        )
        .await?;
    }
    Ok(UserAddr(addr))
}

/// Bytes that are locked (`locked_vm`).
fn locked_bytes(map: &MemoryMap) -> u64 {
    let state = map.state.read();
    let locked = state
        .tree
        .iter()
        .filter(|r| r.flags.contains(RegionFlags::LOCKED));
    locked.map(|r| r.len()).sum()
}

/// What every file understands (`LEGACY_MAP_MASK`).
const LEGACY_MAP_MASK: u32 = MAP_TYPE
    | MAP_FIXED
    | MAP_ANONYMOUS
    | MAP_DENYWRITE
    | MAP_EXECUTABLE
    | MAP_UNINITIALIZED
    | MAP_GROWSDOWN
    | MAP_LOCKED
    | MAP_NORESERVE
    | MAP_POPULATE
    | MAP_NONBLOCK
    | MAP_STACK
    | MAP_HUGETLB
    | MAP_32BIT;
const MAP_UNINITIALIZED: u32 = 0x400_0000;

const READ_IMPLIES_EXEC: u32 = 0x040_0000;

const fn platform_top() -> u64 {
    sentry::mm::GUEST_TOP
}

/// `munmap(2)`.
pub async fn munmap(cx: &CurrentTask, addr: u64, len: u64) -> SysResult<()> {
    let thread = cx.thread();
    Ok(cx.memory_map().unmap(&*thread, addr, len).await?)
}

/// `mprotect(2)`.
pub async fn mprotect(cx: &CurrentTask, addr: u64, len: u64, prot: u32) -> SysResult<()> {
    let thread = cx.thread();
    Ok(cx
        .memory_map()
        .protect(&*thread, addr, len, prot & !(PROT_GROWSDOWN | PROT_GROWSUP))
        .await?)
}

/// `pkey_mprotect(2)` on a processor without protection keys: only "no key" can be given.
pub async fn pkey_mprotect(
    cx: &CurrentTask,
    addr: u64,
    len: u64,
    prot: u32,
    key: i32,
) -> SysResult<()> {
    if key != -1 {
        return Err(Errno::EINVAL.into());
    }
    mprotect(cx, addr, len, prot).await
}

/// `brk(2)`: never an error, the break as it is.
pub async fn brk(cx: &CurrentTask, wanted: u64) -> SysResult<u64> {
    let limits = (cx.group.limit(Resource::Data), cx.group.limit(Resource::As));
    let thread = cx.thread();
    let map = cx.memory_map();
    let (now, deferred) = map.set_break(&thread, wanted, limits).await;
    if deferred.is_some() {
        cx.note_in_flight(map, deferred);
    }
    Ok(now)
}

/// `mremap(2)`.
pub async fn mremap(
    cx: &CurrentTask,
    addr: u64,
    old_len: u64,
    new_len: u64,
    flags: u32,
    to: u64,
) -> SysResult<UserAddr> {
    if flags & !(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) != 0
        || !addr.is_multiple_of(PAGE_SIZE)
    {
        return Err(Errno::EINVAL.into());
    }
    let fixed = flags & MREMAP_FIXED != 0;
    let keep_old = flags & MREMAP_DONTUNMAP != 0;
    if (fixed || keep_old) && flags & MREMAP_MAYMOVE == 0 {
        return Err(Errno::EINVAL.into());
    }
    let old_len = page_ceil(old_len).ok_or(Errno::EINVAL)?;
    let new_len = page_ceil(new_len)
        .filter(|len| *len > 0 && *len <= platform_top())
        .ok_or(Errno::EINVAL)?;
    if keep_old && old_len != new_len {
        return Err(Errno::EINVAL.into());
    }
    if fixed {
        let overlaps = to < addr.saturating_add(old_len) && addr < to.saturating_add(new_len);
        if !to.is_multiple_of(PAGE_SIZE) || overlaps {
            return Err(Errno::EINVAL.into());
        }
    }
    let request = RemapRequest {
        addr,
        old_len,
        new_len,
        to: fixed.then_some(to),
        may_move: flags & MREMAP_MAYMOVE != 0,
        keep_old,
        limit: cx.group.limit(Resource::As),
    };
    let thread = cx.thread();
    Ok(UserAddr(cx.memory_map().remap(&*thread, request).await?))
}

/// `madvise(2)`.
pub async fn madvise(cx: &CurrentTask, addr: u64, len: u64, advice: u32) -> SysResult<()> {
    if !addr.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let len = page_ceil(len).ok_or(Errno::EINVAL)?;
    if addr.checked_add(len).is_none() {
        return Err(Errno::EINVAL.into());
    }
    let to_host = match advice {
        MADV_DONTNEED | MADV_FREE | MADV_WILLNEED | MADV_COLD | MADV_PAGEOUT | MADV_HUGEPAGE
        | MADV_NOHUGEPAGE | MADV_DONTFORK | MADV_DOFORK | MADV_WIPEONFORK | MADV_KEEPONFORK
        | MADV_POPULATE_READ | MADV_POPULATE_WRITE => true,
        MADV_REMOVE | MADV_NORMAL | MADV_RANDOM | MADV_SEQUENTIAL | MADV_DONTDUMP | MADV_DODUMP
        | MADV_MERGEABLE | MADV_UNMERGEABLE => false,
        _ => return Err(Errno::EINVAL.into()),
    };
    if len == 0 {
        return Ok(());
    }
    let map = cx.memory_map();
    let change = |region: &mut sentry::mm::Region| match advice {
        MADV_DONTFORK => region.flags.insert(RegionFlags::DONTFORK),
        MADV_DOFORK => region.flags.remove(RegionFlags::DONTFORK),
        MADV_WIPEONFORK => region.flags.insert(RegionFlags::WIPEONFORK),
        MADV_KEEPONFORK => region.flags.remove(RegionFlags::WIPEONFORK),
        MADV_DONTDUMP => region.flags.insert(RegionFlags::DONTDUMP),
        MADV_DODUMP => region.flags.remove(RegionFlags::DONTDUMP),
        _ => {}
    };
    if to_host {
        let thread = cx.thread();
        return Ok(map.advise(&*thread, addr, len, advice, change).await?);
    }
    if advice == MADV_REMOVE {
        return remove_pages(&map, addr, addr + len);
    }
    // Native page merging stays off: it would leak contents between guests by its timing.
    let mut state = map.state.write();
    if !state.tree.covers(addr, addr + len) {
        return Err(Errno::ENOMEM.into());
    }
    state.tree.update(addr, addr + len, change);
    Ok(())
}

/// MADV_REMOVE (`madvise_remove`): punches holes in what shared writable mappings show.
fn remove_pages(map: &MemoryMap, start: u64, end: u64) -> SysResult<()> {
    const PUNCH_HOLE_KEEP_SIZE: u32 = 3;
    let (regions, whole) = {
        let state = map.state.read();
        let regions: Vec<_> = state
            .tree
            .overlapping(start, end)
            .map(|r| r.part(start, end))
            .collect();
        (regions, state.tree.covers(start, end))
    };
    for region in regions {
        if region.flags.contains(RegionFlags::LOCKED) {
            return Err(Errno::EINVAL.into());
        }
        let writable = region.is_shared() && !region.flags.contains(RegionFlags::NEVER_WRITE);
        match &region.backing {
            Backing::Memory { file, offset, .. } if writable => {
                host::fallocate(file, PUNCH_HOLE_KEEP_SIZE as i32, *offset, region.len())?;
            }
            Backing::File { file, offset } if writable => {
                file.ops()
                    .allocate(PUNCH_HOLE_KEEP_SIZE, *offset, region.len())?
            }
            Backing::Memory { .. } | Backing::File { .. } => return Err(Errno::EACCES.into()),
            _ => return Err(Errno::EINVAL.into()),
        }
    }
    if whole {
        Ok(())
    } else {
        Err(Errno::ENOMEM.into())
    }
}

/// `mseal(2)`.
pub async fn mseal(cx: &CurrentTask, addr: u64, len: u64, flags: u64) -> SysResult<()> {
    let end = page_ceil(len).and_then(|len| addr.checked_add(len));
    let end = end.filter(|_| flags == 0 && addr.is_multiple_of(PAGE_SIZE));
    let end = end.ok_or(Errno::EINVAL)?;
    if end == addr {
        return Ok(());
    }
    let thread = cx.thread();
    Ok(cx.memory_map().seal(&*thread, addr, end).await?)
}

/// `remap_file_pages(2)`, by a new mapping as Linux does: `EINVAL` unless one shared mapping of a file holds the range.
pub async fn remap_file_pages(
    cx: &CurrentTask,
    addr: u64,
    len: u64,
    prot: u64,
    page: u64,
    flags: u32,
) -> SysResult<()> {
    let start = abi::page_floor(addr);
    let len = abi::page_floor(len);
    let end = start.checked_add(len).filter(|end| *end > start);
    let offset = page.checked_mul(PAGE_SIZE);
    let (Some(end), Some(offset), 0) = (end, offset, prot) else {
        return Err(Errno::EINVAL.into());
    };
    if offset.checked_add(len).is_none() {
        return Err(Errno::EINVAL.into());
    }
    let map = cx.memory_map();
    let region = {
        let state = map.state.read();
        let region = state.tree.find(start).cloned().ok_or(Errno::EINVAL)?;
        let same = |other: &sentry::mm::Region| match (&region.backing, &other.backing) {
            (Backing::File { file: a, .. }, Backing::File { file: b, .. }) => Arc::ptr_eq(a, b),
            (Backing::Memory { file: a, .. }, Backing::Memory { file: b, .. }) => Arc::ptr_eq(a, b),
            _ => false,
        };
        let all = state.tree.covers(start, end)
            && state.tree.overlapping(start, end).all(|other| {
                same(other) && other.prot == region.prot && other.flags == region.flags
            });
        if !region.is_shared() || !all {
            return Err(Errno::EINVAL.into());
        }
        region
    };
    let backing = match &region.backing {
        Backing::File { file, .. } => Backing::File {
            file: file.clone(),
            offset,
        },
        Backing::Memory { file, name, .. } => Backing::Memory {
            file: file.clone(),
            name: name.clone(),
            offset,
        },
        _ => return Err(Errno::EINVAL.into()),
    };
    let request = MapRequest {
        addr: start,
        len,
        prot: region.prot,
        flags: region.flags,
        backing,
        fixed: true,
        no_replace: false,
        low: false,
        label: None,
        limit: cx.group.limit(Resource::As),
        limit_data: cx.group.limit(Resource::Data),
    };
    let thread = cx.thread();
    map.map(&*thread, request).await?;
    if flags & MAP_NONBLOCK == 0 {
        let call = |addr, len| HostCall::Advise {
            addr,
            len,
            advice: MADV_WILLNEED,
        };
        // Read-ahead is only advice.
        map.each_part(&*thread, (start, end), call, |_, _, _| Ok(()))
            .await?;
    }
    Ok(())
}

/// `mincore(2)`.
pub async fn mincore(cx: &CurrentTask, addr: u64, len: u64, vec: UserOut<u8>) -> SysResult<()> {
    if !addr.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let (start, end) = pages(addr, len).ok_or(Errno::ENOMEM)?;
    if !cx.memory_map().state.read().tree.covers(start, end) {
        return Err(Errno::ENOMEM.into());
    }
    let memory = cx.memory();
    // The vDSO, and whatever the host does not answer for, is in memory.
    let chunk = [1_u8; 4096];
    let pages = (end - start) / PAGE_SIZE;
    for done in (0..pages).step_by(chunk.len()) {
        let n = (pages - done).min(chunk.len() as u64);
        memory.write(vec.addr().offset(done), &chunk[..n as usize])?;
    }
    let place = |at: u64| vec.addr().0.wrapping_add((at - start) / PAGE_SIZE);
    let thread = cx.thread();
    let map = cx.memory_map();
    map.each_part(
        &*thread,
        (start, end),
        |addr, len| HostCall::Residency {
            addr,
            len,
            vector: place(addr),
        },
        |_, _, errno| Err(errno),
    )
    .await?;
    Ok(())
}

/// `msync(2)`: shared mappings are the host's page cache; MS_SYNC writes the files back.
pub async fn msync(cx: &CurrentTask, addr: u64, len: u64, flags: u32) -> SysResult<()> {
    if !addr.is_multiple_of(PAGE_SIZE)
        || flags & !(MS_ASYNC | MS_INVALIDATE | MS_SYNC) != 0
        || flags & (MS_ASYNC | MS_SYNC) == MS_ASYNC | MS_SYNC
    {
        return Err(Errno::EINVAL.into());
    }
    let (start, end) = pages(addr, len).ok_or(Errno::ENOMEM)?;
    let (files, whole, locked) = {
        let map = cx.memory_map();
        let state = map.state.read();
        let regions: Vec<_> = state.tree.overlapping(start, end).cloned().collect();
        let files: Vec<_> = regions
            .iter()
            .filter_map(|r| match &r.backing {
                Backing::File { file, .. } if r.is_shared() => Some(file.clone()),
                _ => None,
            })
            .collect();
        (
            files,
            state.tree.covers(start, end),
            regions
                .iter()
                .any(|r| r.flags.contains(RegionFlags::LOCKED)),
        )
    };
    if flags & MS_INVALIDATE != 0 && locked {
        return Err(Errno::EBUSY.into());
    }
    if flags & MS_SYNC != 0 {
        for file in files {
            file.ops().sync(true)?;
        }
    }
    if whole {
        Ok(())
    } else {
        Err(Errno::ENOMEM.into())
    }
}

async fn lock_range(cx: &CurrentTask, addr: u64, len: u64, lock: bool) -> SysResult<()> {
    let (start, end) = pages(addr, len).ok_or(Errno::EINVAL)?;
    let map = cx.memory_map();
    let whole = {
        let mut state = map.state.write();
        if lock && !cx.creds().has(Cap::IPC_LOCK) {
            let locked: u64 = state
                .tree
                .iter()
                .filter(|r| r.flags.contains(RegionFlags::LOCKED))
                .map(|r| r.len())
                .sum();
            if locked.saturating_add(end - start) > cx.group.limit(Resource::Memlock) {
                return Err(Errno::ENOMEM.into());
            }
        }
        state.tree.update(start, end, |region| {
            region.flags.set(RegionFlags::LOCKED, lock)
        });
        state.tree.covers(start, end)
    };
    pin(cx, (start, end), lock).await?;
    if whole {
        Ok(())
    } else {
        Err(Errno::ENOMEM.into())
    }
}

/// Pins or unpins pages as far as the host lets the guest's process; the intent is in the map either way.
async fn pin(cx: &CurrentTask, range: (u64, u64), lock: bool) -> SysResult<()> {
    let thread = cx.thread();
    let call = |addr, len| {
        if lock {
            HostCall::Pin { addr, len }
        } else {
            HostCall::Unpin { addr, len }
        }
    };
    Ok(cx
        .memory_map()
        .each_part(&*thread, range, call, |_, _, errno| match errno {
            Errno::EINTR => Err(errno),
            _ => Ok(()),
        })
        .await?)
}

/// `mlock(2)`.
pub async fn mlock(cx: &CurrentTask, addr: u64, len: u64) -> SysResult<()> {
    lock_range(cx, addr, len, true).await
}

/// `mlock2(2)`.
pub async fn mlock2(cx: &CurrentTask, addr: u64, len: u64, flags: u32) -> SysResult<()> {
    if flags & !1 != 0 {
        return Err(Errno::EINVAL.into());
    }
    lock_range(cx, addr, len, true).await
}

/// `munlock(2)`.
pub async fn munlock(cx: &CurrentTask, addr: u64, len: u64) -> SysResult<()> {
    lock_range(cx, addr, len, false).await
}

/// `mlockall(2)`.
pub async fn mlockall(cx: &CurrentTask, flags: u32) -> SysResult<()> {
    if flags == 0 || flags & !7 != 0 || flags == 4 {
        return Err(Errno::EINVAL.into());
    }
    let map = cx.memory_map();
    {
        let mut state = map.state.write();
        if !cx.creds().has(Cap::IPC_LOCK) && state.tree.total() > cx.group.limit(Resource::Memlock)
        {
            return Err(Errno::ENOMEM.into());
        }
        state.lock_future = flags & 2 != 0;
        if flags & 1 != 0 {
            state.tree.update(0, platform_top(), |region| {
                region.flags.insert(RegionFlags::LOCKED)
            });
        }
    }
    if flags & 1 != 0 {
        pin(cx, (0, platform_top()), true).await?;
    }
    Ok(())
}

/// `munlockall(2)`.
pub async fn munlockall(cx: &CurrentTask) -> SysResult<()> {
    let map = cx.memory_map();
    {
        let mut state = map.state.write();
        state.lock_future = false;
        state.tree.update(0, platform_top(), |region| {
            region.flags.remove(RegionFlags::LOCKED)
        });
    }
    pin(cx, (0, platform_top()), false).await
}

/// `membarrier(2)`: the host's, made by the caller's own process.
pub async fn membarrier(cx: &CurrentTask, command: i32, flags: u32, _cpu: i32) -> SysResult<u64> {
    const QUERY: i32 = 0;
    /// There are no restartable sequences.
    const RSEQ: i32 = 1 << 7 | 1 << 8;
    /// GLOBAL to GET_REGISTRATIONS.
    const KNOWN: i32 = 0x3ff & !RSEQ;
    let single = command != 0 && command & (command - 1) == 0;
    if flags != 0 || command & !KNOWN != 0 || !(command == QUERY || single) {
        return Err(Errno::EINVAL.into());
    }
    let thread = cx.thread();
    let value = order(&*thread, HostCall::Barrier { command, flags }).await?;
    Ok(if command == QUERY {
        value & KNOWN as u64
    } else {
        value
    })
}
