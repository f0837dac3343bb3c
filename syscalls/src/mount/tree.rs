//! Trees of mounts as descriptors: open_tree, move_mount.

use abi::UserIn;
use abi::fs::{AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW, O_CLOEXEC};
use sentry::error::{Errno, SysResult};
use sentry::task::CurrentTask;
use sentry::vfs::lookup::LookupFlags;
use sentry::vfs::{Fd, MountNamespace, Path, place_holder};

use crate::file::path::{Walker, at_flags, get_path};

const AT_RECURSIVE: u32 = 0x8000;
const OPEN_TREE_CLONE: u32 = 1;

/// `open_tree(2)`: a descriptor of a place, or with OPEN_TREE_CLONE of a copy that is attached to nothing.
pub async fn open_tree(cx: &CurrentTask, dir: Fd, path: UserIn<u8>, flags: u32) -> SysResult<Fd> {
    const KNOWN: u32 = AT_EMPTY_PATH
        | AT_NO_AUTOMOUNT
        | AT_RECURSIVE
        | AT_SYMLINK_NOFOLLOW
        | OPEN_TREE_CLONE
        | O_CLOEXEC;
    let (copy, recursive) = (flags & OPEN_TREE_CLONE != 0, flags & AT_RECURSIVE != 0);
    if flags & !KNOWN != 0 || recursive && !copy {
        return Err(Errno::EINVAL.into());
    }
    let walker = Walker::new(cx);
    if copy {
        super::require_mounting(&walker)?;
    }
    let path = get_path(cx, path)?;
    let place = walker.find(cx, dir, &path, at_flags(flags))?.into_path()?;
    let file = if copy {
        let namespace = walker.fs.namespace();
        let own = place.mount.is_in(&namespace);
        let detached = place.mount.namespace().is_some_and(|of| of.is_anonymous());
        if !own && !detached {
            return Err(Errno::EINVAL.into());
        }
        let owner = namespace.owner.clone();
        let tree = MountNamespace::detached_copy(&place, recursive, owner)?;
        place_holder(tree.root_mount().top(), Some(tree))
    } else {
        place_holder(place, None)
    };
    Ok(cx.install(file, flags & O_CLOEXEC != 0)?)
}

const MOVE_MOUNT_F_SYMLINKS: u32 = 1;
const MOVE_MOUNT_F_AUTOMOUNTS: u32 = 2;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;
const MOVE_MOUNT_T_SYMLINKS: u32 = 0x10;
const MOVE_MOUNT_T_AUTOMOUNTS: u32 = 0x20;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
const MOVE_MOUNT_SET_GROUP: u32 = 0x100;
const MOVE_MOUNT_BENEATH: u32 = 0x200;

/// `move_mount(2)`: attaches a detached tree, or moves a mount.
pub async fn move_mount(
    cx: &CurrentTask,
    from_dir: Fd,
    from: UserIn<u8>,
    to_dir: Fd,
    to: UserIn<u8>,
    flags: u32,
) -> SysResult<()> {
    const KNOWN: u32 = MOVE_MOUNT_F_SYMLINKS
        | MOVE_MOUNT_F_AUTOMOUNTS
        | MOVE_MOUNT_F_EMPTY_PATH
        | MOVE_MOUNT_T_SYMLINKS
        | MOVE_MOUNT_T_AUTOMOUNTS
        | MOVE_MOUNT_T_EMPTY_PATH
        | MOVE_MOUNT_SET_GROUP
        | MOVE_MOUNT_BENEATH;
    const EITHER: u32 = MOVE_MOUNT_SET_GROUP | MOVE_MOUNT_BENEATH;
    let walker = Walker::new(cx);
    super::require_mounting(&walker)?;
    if flags & !KNOWN != 0 || flags & EITHER == EITHER {
        return Err(Errno::EINVAL.into());
    }
    let find = |dir, path, follow, empty| -> SysResult<Path> {
        let mut lookup = LookupFlags::empty();
        lookup.set(LookupFlags::FOLLOW, flags & follow != 0);
        lookup.set(LookupFlags::EMPTY, flags & empty != 0);
        let path = get_path(cx, path)?;
        Ok(walker.find(cx, dir, &path, lookup)?.into_path()?)
    };
    let to = find(to_dir, to, MOVE_MOUNT_T_SYMLINKS, MOVE_MOUNT_T_EMPTY_PATH)?;
    let from = find(
        from_dir,
        from,
        MOVE_MOUNT_F_SYMLINKS,
        MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    let namespace = walker.fs.namespace();
    if flags & MOVE_MOUNT_SET_GROUP != 0 {
        return Ok(namespace.set_group(&from, &to)?);
    }
    super::check_kinds_to_move(&from, &to)?;
    Ok(namespace.move_mount(&from, &to, flags & MOVE_MOUNT_BENEATH != 0)?)
}
