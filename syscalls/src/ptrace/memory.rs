//! PEEK and POKE: a tracee's memory a word at a time, also where the tracee itself may not read or write (`FOLL_FORCE`).

use std::sync::Arc;

use abi::mm::{PROT_READ, PROT_WRITE};
use abi::{PAGE_SIZE, UserAddr, page_floor};
use sentry::error::{Errno, Result, SysResult};
use sentry::fs::proc::mem::OpenMem;
use sentry::mm::GUEST_TOP;
use sentry::mm::ops::order;
use sentry::platform::HostCall;
use sentry::task::{CurrentTask, Task};
use sentry::vfs::File;

/// Bytes of a word.
const WORD: u64 = 8;

/// The word at `addr`: `EIO` where nothing is mapped.
pub(super) async fn peek(tracee: &Arc<Task>, addr: u64) -> Result<u64> {
    let map = tracee.try_memory_map().ok_or(Errno::EIO)?;
    let mut bytes = [0; WORD as usize];
    if map.memory().read(UserAddr(addr), &mut bytes).is_err() {
        with_rights(tracee, addr, WORD, PROT_READ, || {
            map.memory().read(UserAddr(addr), &mut bytes)
        })
        .await?;
    }
    Ok(u64::from_ne_bytes(bytes))
}

/// Writes the word at `addr`.
pub(super) async fn poke(tracee: &Arc<Task>, addr: u64, word: u64) -> Result<()> {
    let map = tracee.try_memory_map().ok_or(Errno::EIO)?;
    let bytes = word.to_ne_bytes();
    if map.memory().write(UserAddr(addr), &bytes).is_err() {
        with_rights(tracee, addr, WORD, PROT_READ | PROT_WRITE, || {
            map.memory().write(UserAddr(addr), &bytes)
        })
        .await?;
    }
    Ok(())
}

/// A write to `/proc/<pid>/mem` that the file itself refused with `EIO`: done if the caller traces a stopped thread with that memory.
pub(crate) async fn write_memory_file(
    cx: &CurrentTask,
    file: &File,
    offset: u64,
    (from, len): (UserAddr, usize),
) -> SysResult<usize> {
    /// Bytes written at a time; more is a short write.
    const CHUNK: usize = 64 << 10;
    let map = file.downcast::<OpenMem>().and_then(OpenMem::target);
    let map = map.ok_or(Errno::EIO)?;
    let tracee = cx.tracees().into_iter().find(|tracee| {
        let same = tracee
            .try_memory_map()
            .is_some_and(|own| Arc::ptr_eq(&own, &map));
        same && super::still_stopped(tracee).is_ok()
    });
    let tracee = tracee.ok_or(Errno::EIO)?;
    let mut data = vec![0; len.min(CHUNK)];
    cx.memory().read(from, &mut data)?;
    let rights = PROT_READ | PROT_WRITE;
    with_rights(&tracee, offset, data.len() as u64, rights, || {
        map.memory().write(UserAddr(offset), &data)
    })
    .await?;
    Ok(data.len())
}

/// Does `access` to `len` bytes at `addr` while their pages have these rights besides their own. Only private mappings can be written against their
/// rights: the write is to the tracee's own copy.
async fn with_rights(
    tracee: &Arc<Task>,
    addr: u64,
    len: u64,
    rights: u32,
    mut access: impl FnMut() -> Result<()>,
) -> Result<()> {
    let map = tracee.try_memory_map().ok_or(Errno::EIO)?;
    let last = addr
        .checked_add(len.max(1) - 1)
        .filter(|last| *last < GUEST_TOP)
        .ok_or(Errno::EIO)?;
    let _operation = map.operation.lock().await;
    super::still_stopped(tracee)?;
    let pages = (page_floor(addr)..=page_floor(last)).step_by(PAGE_SIZE as usize);
    let parts: Vec<(u64, u32)> = {
        let state = map.state.read();
        let mut parts = Vec::new();
        for page in pages {
            let region = state.tree.find(page).ok_or(Errno::EIO)?;
            if rights & PROT_WRITE != 0 && region.is_shared() {
                return Err(Errno::EIO);
            }
            parts.push((page, region.prot));
        }
        parts
    };
    let thread = tracee.thread();
    let protect = |addr: u64, prot: u32| HostCall::Protect {
        addr,
        len: PAGE_SIZE,
        prot,
    };
    for (page, prot) in &parts {
        order(&*thread, protect(*page, *prot | rights))
            .await
            .map_err(|_| Errno::EIO)?;
    }
    let result = access().map_err(|_| Errno::EIO);
    for (page, prot) in &parts {
        order(&*thread, protect(*page, *prot))
            .await
            .map_err(|_| Errno::EIO)?;
    }
    result
}
