//! Attributes of mounts as the newer calls name them: mount_setattr, and what fsmount starts with.

use abi::fs::{AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW};
use abi::{UserAddr, UserIn};
use sentry::error::{Errno, Result, SysResult};
use sentry::task::CurrentTask;
use sentry::vfs::{Fd, MountFlags};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::file::path::{Walker, at_flags, get_path};

const RDONLY: u64 = 1;
const NOSUID: u64 = 2;
const NODEV: u64 = 4;
const NOEXEC: u64 = 8;
const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const IDMAP: u64 = 0x10_0000;
const NOSYMFOLLOW: u64 = 0x20_0000;
const KNOWN: u64 = RDONLY | NOSUID | NODEV | NOEXEC | ATIME | NODIRATIME | NOSYMFOLLOW;

/// Attributes other than the handling of access times.
const PLAIN: [(u64, MountFlags); 6] = [
    (RDONLY, MountFlags::RDONLY),
    (NOSUID, MountFlags::NOSUID),
    (NODEV, MountFlags::NODEV),
    (NOEXEC, MountFlags::NOEXEC),
    (NODIRATIME, MountFlags::NODIRATIME),
    (NOSYMFOLLOW, MountFlags::NOSYMFOLLOW),
];

fn plain(attributes: u64) -> MountFlags {
    let mut flags = MountFlags::empty();
    for (attribute, flag) in PLAIN {
        flags.set(flag, attributes & attribute != 0);
    }
    flags
}

fn atime(attributes: u64) -> Result<MountFlags> {
    match attributes & ATIME {
        0 => Ok(MountFlags::RELATIME),
        NOATIME => Ok(MountFlags::NOATIME),
        STRICTATIME => Ok(MountFlags::empty()),
        _ => Err(Errno::EINVAL),
    }
}

/// Per-mount flags that a `MOUNT_ATTR_*` mask stands for; those of the old calls.
pub(super) fn initial_flags(attributes: u32) -> Result<MountFlags> {
    let attributes = u64::from(attributes);
    if attributes & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(plain(attributes) | atime(attributes)?)
}

/// The mask that shows flags (`statmount`).
pub(super) fn shown(flags: MountFlags) -> u64 {
    let mut attributes = 0;
    for (attribute, flag) in PLAIN {
        if flags.contains(flag) {
            attributes |= attribute;
        }
    }
    if flags.contains(MountFlags::NOATIME) {
        attributes |= NOATIME;
    } else if !flags.contains(MountFlags::RELATIME) {
        attributes |= STRICTATIME;
    }
    attributes
}

/// `struct mount_attr`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

fn get_attr(cx: &CurrentTask, at: UserAddr, size: usize) -> Result<MountAttr> {
    const PAGE: usize = 4096;
    let own = size_of::<MountAttr>();
    if size > PAGE {
        return Err(Errno::E2BIG);
    }
    if size < own {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; size];
    cx.memory().read(at, &mut bytes)?;
    let (known, more) = bytes.split_at(own);
    if more.iter().any(|byte| *byte != 0) {
        return Err(Errno::E2BIG);
    }
    MountAttr::read_from_bytes(known).map_err(|_| Errno::EINVAL)
}

/// `mount_setattr(2)`. Id-mapped mounts are refused with `EINVAL`, as by a file system that does not allow them.
pub async fn mount_setattr(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    flags: u32,
    attr: UserAddr,
    size: usize,
) -> SysResult<()> {
    const AT_RECURSIVE: u32 = 0x8000;
    if flags & !(AT_EMPTY_PATH | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let walker = Walker::new(cx);
    let attr = if (size_of::<MountAttr>()..=4096).contains(&size) {
        super::require_mounting(&walker)?;
        get_attr(cx, attr, size)?
    } else {
        get_attr(cx, attr, size)?
    };
    if attr.set | attr.clear | attr.propagation == 0 {
        return Ok(());
    }
    let propagation = match u32::try_from(attr.propagation).map_err(|_| Errno::EINVAL)? {
        0 => None,
        kind => Some(super::propagation_type(kind)?),
    };
    if (attr.set | attr.clear) & !(KNOWN | IDMAP) != 0 {
        return Err(Errno::EINVAL.into());
    }
    // Access times are handled in one way of three: to set one the others are cleared.
    let new_atime = match attr.clear & ATIME {
        ATIME => Some(atime(attr.set)?),
        0 if attr.set & ATIME == 0 => None,
        _ => return Err(Errno::EINVAL.into()),
    };
    if (attr.set | attr.clear) & IDMAP != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = get_path(cx, path)?;
    let place = walker.find(cx, dir, &path, at_flags(flags))?.into_path()?;
    let namespace = walker.fs.namespace();
    let detached = |of: &sentry::vfs::MountNamespace| of.is_anonymous();
    if !place.mount.is_in(&namespace) && !place.mount.namespace().is_some_and(|of| detached(&of)) {
        return Err(Errno::EINVAL.into());
    }
    if !place.is_mount_root() {
        return Err(Errno::EINVAL.into());
    }
    let recursive = flags & AT_RECURSIVE != 0;
    let mounts = if recursive {
        place.mount.tree()
    } else {
        vec![place.mount.clone()]
    };
    let changed = |old: MountFlags| {
        let kept = old.difference(plain(attr.clear)) | plain(attr.set);
        match new_atime {
            Some(atime) => kept.difference(MountFlags::NOATIME.union(MountFlags::RELATIME)) | atime,
            None => kept,
        }
    };
    if mounts
        .iter()
        .any(|mount| mount.loosens(changed(mount.flags())))
    {
        return Err(Errno::EPERM.into());
    }
    for mount in &mounts {
        mount.check_writers(changed(mount.flags()))?;
    }
    for mount in &mounts {
        mount.set_flags(changed(mount.flags()));
    }
    if let Some(kind) = propagation {
        place.mount.set_propagation(kind, recursive);
    }
    Ok(())
}
