//! umount2.

use abi::UserIn;
use abi::fs::{MNT_DETACH, MNT_EXPIRE, MNT_FORCE, UMOUNT_NOFOLLOW};
use sentry::error::{Errno, SysResult};
use sentry::task::CurrentTask;
use sentry::vfs::lookup::LookupFlags;

use crate::file::path::{CWD, Walker, get_path};

/// `umount2(2)`. Nothing expires here: MNT_EXPIRE gives `EAGAIN` as the first such call does.
pub async fn umount2(cx: &CurrentTask, target: UserIn<u8>, flags: u32) -> SysResult<()> {
    if flags & !(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let walker = Walker::new(cx);
    super::require_mounting(&walker)?;
    let target = get_path(cx, target)?;
    let mut lookup = LookupFlags::empty();
    lookup.set(LookupFlags::FOLLOW, flags & UMOUNT_NOFOLLOW == 0);
    let place = walker.find(cx, CWD, &target, lookup)?.into_path()?;
    let namespace = walker.fs.namespace();
    // `.` may name a place that something was mounted on since.
    let place = namespace.cross(place);
    if flags & MNT_EXPIRE != 0 {
        return Err(if flags & (MNT_FORCE | MNT_DETACH) == 0 {
            Errno::EAGAIN
        } else {
            Errno::EINVAL
        }
        .into());
    }
    namespace.detach(&place, flags & MNT_DETACH != 0)?;
    Ok(())
}
