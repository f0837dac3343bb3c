//! umount2.

use abi::UserIn;
use abi::fs::{MNT_DETACH, MNT_EXPIRE, MNT_FORCE, UMOUNT_NOFOLLOW};
use sentry::error::{Errno, SysResult};
use sentry::task::CurrentTask;
use sentry::vfs::UmountHow;
use sentry::vfs::lookup::LookupFlags;

use crate::file::path::{CWD, Walker, get_path};

/// `umount2(2)`.
pub async fn umount2(cx: &CurrentTask, target: UserIn<u8>, flags: u32) -> SysResult<()> {
    let how = match flags & (MNT_DETACH | MNT_EXPIRE) {
        _ if flags & !(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW) != 0 => {
            return Err(Errno::EINVAL.into());
        }
        0 => UmountHow::Idle,
        MNT_DETACH => UmountHow::Lazy,
        _ if flags & (MNT_FORCE | MNT_DETACH) != 0 => UmountHow::Lazy,
        _ => UmountHow::Expire,
    };
    let walker = Walker::new(cx);
    super::require_mounting(&walker)?;
    let target = get_path(cx, target)?;
    let mut lookup = LookupFlags::empty();
    lookup.set(LookupFlags::FOLLOW, flags & UMOUNT_NOFOLLOW == 0);
    let place = walker.find(cx, CWD, &target, lookup)?.into_path()?;
    // `.` may name a place that something was mounted on since.
    let place = place.crossed();
    if flags & MNT_EXPIRE != 0 && flags & (MNT_FORCE | MNT_DETACH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(walker.fs.namespace().detach(place, how)?)
}
