//! `process_madvise(2)`, `process_mrelease(2)`: what a manager of memory tells about other processes.

use abi::{PAGE_SIZE, UserAddr, page_ceil};
use sentry::error::{Errno, SysResult};
use sentry::task::CurrentTask;
use sentry::task::creds::Cap;
use sentry::vfs::Fd;

use super::pidfd;

/// `process_madvise(2)`: advice for the caller itself is followed; for another process it is checked, and the host reclaims as it sees fit.
pub async fn process_madvise(
    cx: &CurrentTask,
    fd: Fd,
    vec: UserAddr,
    count: usize,
    advice: u32,
    flags: u32,
) -> SysResult<u64> {
    const ADVICE: [u32; 4] = [3, 20, 21, 25]; // WILLNEED, COLD, PAGEOUT, COLLAPSE
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let ranges = cx.memory().get_iovecs(vec, count)?;
    let (pid, _) = pidfd::target(cx, fd)?;
    let group = pid.group().ok_or(Errno::ESRCH)?;
    let task = group.any_task().ok_or(Errno::ESRCH)?;
    if !ADVICE.contains(&advice) {
        return Err(Errno::EINVAL.into());
    }
    crate::cred::may_inspect(cx, &task)?;
    let itself = std::sync::Arc::ptr_eq(&task.group, &cx.group);
    if !itself {
        cx.creds().require(Cap::SYS_NICE)?;
    }
    let map = task.try_memory_map().ok_or(Errno::ESRCH)?;
    let mut done = 0_u64;
    for range in ranges {
        let (addr, len) = (range.addr.0, range.len as u64);
        let result = if itself && advice != 25 {
            crate::memory::madvise(cx, addr, len, advice).await
        } else {
            check(&map, addr, len).map_err(Into::into)
        };
        match result {
            Ok(()) => done += len,
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done)
}

fn check(map: &sentry::mm::MemoryMap, addr: u64, len: u64) -> Result<(), Errno> {
    if !addr.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let len = page_ceil(len).ok_or(Errno::EINVAL)?;
    let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
    if len == 0 || map.state.read().tree.covers(addr, end) {
        Ok(())
    } else {
        Err(Errno::ENOMEM)
    }
}

/// `process_mrelease(2)`: a dying process gives its memory back on its own here; only what is not dying is refused.
pub async fn process_mrelease(cx: &CurrentTask, fd: Fd, flags: u32) -> SysResult<()> {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (pid, _) = pidfd::target(cx, fd)?;
    let group = pid.group().ok_or(Errno::ESRCH)?;
    if group.any_task().is_none() {
        return Err(Errno::ESRCH.into());
    }
    if group.exiting.lock().is_none() {
        return Err(Errno::EINVAL.into());
    }
    Ok(())
}
