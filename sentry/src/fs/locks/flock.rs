//! Locks on whole files (`flock(2)`), owned by open file descriptions.

use super::{InodeLocks, Kind};
use crate::error::{Errno, Result};
use crate::vfs::File;

/// LOCK_SH, LOCK_EX, or with `None` LOCK_UN. `EAGAIN` if another description's lock is in the way: to wait, try again when the inode's queue is
/// notified. A lock of another kind that the description has is given up first, and stays lost if the new one cannot be had (flock(2)).
pub fn set(file: &File, kind: Option<Kind>) -> Result<()> {
    let locks = &file.inode().shared.locks;
    let (result, gave_up) = {
        let mut flocks = locks.flocks.lock();
        if let Some(kind) = kind
            && flocks.contains(&(file.id, kind))
        {
            return Ok(());
        }
        let before = flocks.len();
        flocks.retain(|(id, _)| *id != file.id);
        let gave_up = flocks.len() != before;
        let result = match kind {
            None => Ok(()),
            Some(kind) => {
                let free = flocks
                    .iter()
                    .all(|(_, other)| kind == Kind::Read && *other == Kind::Read);
                if free {
                    flocks.push((file.id, kind));
                    Ok(())
                } else {
                    Err(Errno::EAGAIN)
                }
            }
        };
        (result, gave_up)
    };
    if gave_up {
        locks.released();
    }
    result
}

/// Takes a description's lock away; says whether it had one.
pub(super) fn remove(locks: &InodeLocks, id: u64) -> bool {
    let mut flocks = locks.flocks.lock();
    let before = flocks.len();
    flocks.retain(|(owner, _)| *owner != id);
    flocks.len() != before
}
