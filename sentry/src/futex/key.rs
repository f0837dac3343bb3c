//! What identifies a futex.

use std::sync::Arc;

use crate::error::{Errno, Result};
use crate::mm::{MemoryKey, MemoryMap};

/// Identifies a futex word: of an address space's own memory, or of a shared object. Waiters keep their memory map alive, so an identity is not reused
/// while one is queued.
pub type FutexKey = MemoryKey;

/// The key of the word at `addr`: `EINVAL` unless it is aligned to four bytes, `EFAULT` outside of user memory. `shared`: without
/// FUTEX_PRIVATE_FLAG.
pub fn key_of(map: &Arc<MemoryMap>, addr: u64, shared: bool) -> Result<FutexKey> {
    if !addr.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    if addr >= platform::GUEST_TOP {
        return Err(Errno::EFAULT);
    }
    map.key(addr, shared)
}
