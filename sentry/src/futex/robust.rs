//! What a dying thread leaves to others: robust locks (`get_robust_list(2)`, `kernel/futex/core.c`) and the word of `set_tid_address(2)`.

use std::sync::Arc;

use abi::{UserAddr, UserIn, UserOut};

use super::key::key_of;
use super::pi::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};
use super::table::{MATCH_ANY, wake, wake_after};
use crate::error::{Errno, Result};
use crate::mm::{MemoryMap, UserMemory};
use crate::task::Task;

/// Most entries of a robust list that are looked at.
const ROBUST_LIST_LIMIT: usize = 2048;
/// Wakes up to `count` of those who wait for the word at `addr` without FUTEX_PRIVATE_FLAG; as on Linux, a dying thread wakes no others.
pub fn wake_address(map: &Arc<MemoryMap>, addr: u64, count: usize) -> usize {
    key_of(map, addr, true)
        .and_then(|key| wake(key, count, MATCH_ANY))
        .unwrap_or(0)
}

/// Marks the locks on the task's robust list as ownerless and wakes a waiter of each. For a task that exits or execs, while its memory is still there.
pub fn exit_robust_list(task: &Task) {
    let (head, _) = std::mem::take(&mut task.misc.lock().robust_list);
    if head == 0 {
        return;
    }
    if let Some(map) = task.try_memory_map() {
        // A broken list ends the walk, nothing else.
        let _ = walk(&map, head, task.tid_number() as u32);
    }
}

fn word(memory: &UserMemory, addr: u64) -> Result<u64> {
    memory.get(UserIn::new(UserAddr(addr)))
}

fn walk(map: &Arc<MemoryMap>, head: u64, tid: u32) -> Result<()> {
    let memory = map.memory();
    let [mut entry, offset, pending]: [u64; 3] = memory.get(UserIn::new(UserAddr(head)))?;
    for _ in 0..ROBUST_LIST_LIMIT {
        let (at, priority_inheritance) = (entry & !1, entry & 1 != 0);
        if at == head {
            break;
        }
        // Fetched before the lock is released: its memory may be reused afterwards.
        let next = word(&memory, at);
        if at != pending & !1 {
            release(
                map,
                &memory,
                at.wrapping_add(offset),
                tid,
                priority_inheritance,
                false,
            )?;
        }
        entry = next?;
    }
    if pending & !1 != 0 {
        release(
            map,
            &memory,
            (pending & !1).wrapping_add(offset),
            tid,
            pending & 1 != 0,
            true,
        )?;
    }
    Ok(())
}

/// Releases one lock. A waiter may set FUTEX_WAITERS between our read and our write, so one is woken in any case: it then finds the new value, or its
/// wait fails to start.
fn release(
    map: &Arc<MemoryMap>,
    memory: &UserMemory,
    addr: u64,
    tid: u32,
    priority_inheritance: bool,
    pending: bool,
) -> Result<()> {
    let key = key_of(map, addr, true)?;
    wake_after(key, || {
        let value: u32 = memory.get(UserIn::new(UserAddr(addr)))?;
        if pending && !priority_inheritance && value & FUTEX_TID_MASK == 0 {
            // Unlocked, but it died before it could wake the next.
            return Ok(true);
        }
        if value & FUTEX_TID_MASK != tid {
            return Ok(false);
        }
        memory
            .put(
                UserOut::new(UserAddr(addr)),
                &((value & FUTEX_WAITERS) | FUTEX_OWNER_DIED),
            )
            .map_err(|_| Errno::EFAULT)?;
        Ok(!priority_inheritance)
    })
    .map(drop)
}
