//! Memory policies (`set_mempolicy(2)` and kin) on a machine with one node: everything is checked and kept, and there is nothing to place.

use abi::{PAGE_SIZE, UserAddr, UserOut, page_ceil};
use sentry::error::{Errno, Result, SysResult};
use sentry::task::creds::Cap;
use sentry::task::{CurrentTask, Task};
use std::sync::Arc;

const MPOL_DEFAULT: u16 = 0;
const MPOL_PREFERRED: u16 = 1;
const MPOL_BIND: u16 = 2;
const MPOL_INTERLEAVE: u16 = 3;
const MPOL_LOCAL: u16 = 4;
const MPOL_PREFERRED_MANY: u16 = 5;
const MPOL_WEIGHTED_INTERLEAVE: u16 = 6;
const MPOL_F_NUMA_BALANCING: u16 = 1 << 13;
const MPOL_F_RELATIVE_NODES: u16 = 1 << 14;
const MPOL_F_STATIC_NODES: u16 = 1 << 15;
const MODE_FLAGS: u16 = MPOL_F_NUMA_BALANCING | MPOL_F_RELATIVE_NODES | MPOL_F_STATIC_NODES;
/// The one node.
const NODES: u64 = 1;

/// Reads a node mask (`get_nodes`): only the one word that can name a node, the rest must be zero.
fn nodes(cx: &CurrentTask, at: UserAddr, count: u64) -> Result<u64> {
    let bits = count.wrapping_sub(1);
    if bits == 0 || at.is_null() {
        return Ok(0);
    }
    if bits > PAGE_SIZE * 8 {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0_u8; bits.div_ceil(64) as usize * 8];
    cx.memory().read(at, &mut bytes)?;
    let mut mask = 0;
    for (index, word) in bytes.chunks_exact(8).enumerate() {
        let mut word = u64::from_ne_bytes(word.try_into().unwrap_or_default());
        let left = bits - index as u64 * 64;
        if left < 64 {
            word &= (1 << left) - 1;
        }
        if index == 0 {
            mask = word;
        } else if word != 0 {
            return Err(Errno::EINVAL);
        }
    }
    Ok(mask)
}

/// Checks mode and nodes as `mpol_new` and `mpol_set_nodemask` do; the mode with its flags.
fn policy(mode: i32, mask: u64) -> Result<u16> {
    let mode = u16::try_from(mode).map_err(|_| Errno::EINVAL)?;
    let (bare, flags) = (mode & !MODE_FLAGS, mode & MODE_FLAGS);
    let both = MPOL_F_RELATIVE_NODES | MPOL_F_STATIC_NODES;
    if flags & both == both || (flags & MPOL_F_NUMA_BALANCING != 0 && bare != MPOL_BIND) {
        return Err(Errno::EINVAL);
    }
    match bare {
        MPOL_DEFAULT if mask != 0 => Err(Errno::EINVAL),
        MPOL_DEFAULT => Ok(mode),
        MPOL_LOCAL if mask != 0 || flags & both != 0 => Err(Errno::EINVAL),
        MPOL_LOCAL => Ok(mode),
        MPOL_PREFERRED if mask == 0 && flags & both != 0 => Err(Errno::EINVAL),
        MPOL_PREFERRED if mask == 0 => Ok(mode),
        MPOL_PREFERRED
        | MPOL_BIND
        | MPOL_INTERLEAVE
        | MPOL_PREFERRED_MANY
        | MPOL_WEIGHTED_INTERLEAVE => {
            if mask & NODES == 0 {
                return Err(Errno::EINVAL);
            }
            Ok(mode)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `set_mempolicy(2)`.
pub async fn set_mempolicy(cx: &CurrentTask, mode: i32, at: UserAddr, count: u64) -> SysResult<()> {
    let mask = nodes(cx, at, count)?;
    let mode = policy(mode, mask)?;
    cx.misc.lock().memory_policy = (mode, mask & NODES);
    Ok(())
}

/// `get_mempolicy(2)`.
pub async fn get_mempolicy(
    cx: &CurrentTask,
    mode: UserOut<i32>,
    at: UserAddr,
    count: u64,
    addr: u64,
    flags: u64,
) -> SysResult<()> {
    const NODE: u64 = 1;
    const ADDR: u64 = 2;
    const MEMS_ALLOWED: u64 = 4;
    if flags & !(NODE | ADDR | MEMS_ALLOWED) != 0 || (!at.is_null() && count < 1) {
        return Err(Errno::EINVAL.into());
    }
    let (kept, kept_mask) = cx.misc.lock().memory_policy;
    let (value, mask) = if flags & MEMS_ALLOWED != 0 {
        if flags & (NODE | ADDR) != 0 {
            return Err(Errno::EINVAL.into());
        }
        (0, NODES)
    } else if flags & ADDR != 0 {
        if cx.memory_map().state.read().tree.find(addr).is_none() {
            return Err(Errno::EFAULT.into());
        }
        // The node of the page is 0, as a policy MPOL_DEFAULT is.
        if flags & NODE != 0 {
            (0, 0)
        } else {
            (i32::from(kept), kept_mask)
        }
    } else {
        if addr != 0 {
            return Err(Errno::EINVAL.into());
        }
        let bare = kept & !MODE_FLAGS;
        match flags & NODE != 0 {
            true if bare != MPOL_INTERLEAVE && bare != MPOL_WEIGHTED_INTERLEAVE => {
                return Err(Errno::EINVAL.into());
            }
            true => (0, kept_mask),
            false => (i32::from(kept), kept_mask),
        }
    };
    cx.memory().put_opt(mode, &value)?;
    if !at.is_null() {
        let bytes = (count - 1).div_ceil(64) * 8;
        if bytes > PAGE_SIZE {
            return Err(Errno::EINVAL.into());
        }
        let mut out = vec![0_u8; bytes as usize];
        if let Some(first) = out.first_chunk_mut::<8>() {
            *first = mask.to_ne_bytes();
        }
        cx.memory().write(at, &out)?;
    }
    Ok(())
}

const MPOL_MF_MOVE: u32 = 2;
const MPOL_MF_MOVE_ALL: u32 = 4;

/// `mbind(2)`.
pub async fn mbind(
    cx: &CurrentTask,
    addr: u64,
    len: u64,
    mode: i32,
    at: UserAddr,
    count: u64,
    flags: u32,
) -> SysResult<()> {
    const STRICT: u32 = 1;
    let mask = nodes(cx, at, count)?;
    if flags & !(STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & MPOL_MF_MOVE_ALL != 0 {
        cx.creds().require(Cap::SYS_NICE)?;
    }
    if !addr.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let len = page_ceil(len).ok_or(Errno::EINVAL)?;
    let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
    policy(mode, mask)?;
    if len > 0 && !cx.memory_map().state.read().tree.covers(addr, end) {
        return Err(Errno::EFAULT.into());
    }
    Ok(())
}

/// The process that a call names, whose memory the caller may arrange.
fn target(cx: &CurrentTask, pid: i32) -> Result<Arc<Task>> {
    if pid == 0 {
        return Ok(cx.task().clone());
    }
    let task = cx.pid_namespace().task(pid).ok_or(Errno::ESRCH)?;
    crate::cred::may_inspect(cx, &task)?;
    Ok(task)
}

/// `migrate_pages(2)`: all pages are where they may be. Returns how many could not be moved.
pub async fn migrate_pages(
    cx: &CurrentTask,
    pid: i32,
    count: u64,
    old: UserAddr,
    new: UserAddr,
) -> SysResult<i32> {
    nodes(cx, old, count)?;
    let new = nodes(cx, new, count)?;
    target(cx, pid)?;
    if new & !NODES != 0 {
        cx.creds().require(Cap::SYS_NICE)?;
    }
    if new & NODES == 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

/// `move_pages(2)`.
pub async fn move_pages(
    cx: &CurrentTask,
    pid: i32,
    count: u64,
    pages: UserAddr,
    wanted: UserAddr,
    status: UserAddr,
    flags: u32,
) -> SysResult<i32> {
    /// Pages looked at before signals are.
    const CHUNK: u64 = 512;
    if flags & !(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & MPOL_MF_MOVE_ALL != 0 {
        cx.creds().require(Cap::SYS_NICE)?;
    }
    let task = target(cx, pid)?;
    let map = task.try_memory_map().ok_or(Errno::EINVAL)?;
    if count > u64::MAX / 8 {
        return Err(Errno::E2BIG.into());
    }
    let memory = cx.memory();
    for start in (0..count).step_by(CHUNK as usize) {
        if start > 0 && cx.must_return() {
            return Err(Errno::EINTR.into());
        }
        let n = (count - start).min(CHUNK) as usize;
        let addrs: Vec<u64> = memory.get_array(abi::UserIn::new(pages.offset(start * 8)), n)?;
        if !wanted.is_null() {
            let nodes: Vec<i32> =
                memory.get_array(abi::UserIn::new(wanted.offset(start * 4)), n)?;
            if nodes.iter().any(|node| *node != 0) {
                return Err(Errno::ENODEV.into());
            }
        }
        let mut out = Vec::with_capacity(n * 4);
        {
            let state = map.state.read();
            for addr in addrs {
                let node = if state.tree.find(addr).is_some() {
                    0
                } else {
                    -Errno::EFAULT.raw()
                };
                out.extend_from_slice(&node.to_ne_bytes());
            }
        }
        memory.write(status.offset(start * 4), &out)?;
    }
    Ok(0)
}
