//! Mounts: mount, umount2, pivot_root.
//!
//! The calls with descriptors (`open_tree`, `move_mount`, `fsopen` …) are in modules of their own.

mod attributes;
mod config;
mod listing;
mod pivot;
mod tree;
mod umount;

use abi::fs::{
    MS_BIND, MS_MOVE, MS_NOATIME, MS_NODEV, MS_NODIRATIME, MS_NOEXEC, MS_NOSUID, MS_NOSYMFOLLOW,
    MS_PRIVATE, MS_RDONLY, MS_REC, MS_RELATIME, MS_REMOUNT, MS_SHARED, MS_SLAVE, MS_STRICTATIME,
    MS_UNBINDABLE, PATH_MAX,
};
use abi::{UserAddr, UserIn};
use sentry::error::{Errno, Result, SysResult};
use sentry::task::CurrentTask;
use sentry::task::creds::Cap;
use sentry::vfs::fs_types::{FileSystemTypes, MountRequest};
use sentry::vfs::lookup::LookupFlags;
use sentry::vfs::{Mount, MountFlags, Path, PropagationType};

use crate::file::path::{CWD, Walker};

pub use attributes::mount_setattr;
pub use config::{fsconfig, fsmount, fsopen, fspick};
pub use listing::{listmount, statmount};
pub use pivot::pivot_root;
pub use tree::{move_mount, open_tree};
pub use umount::umount2;

/// Old binaries put this in the high half of the flags.
const MS_MGC_MSK: u64 = 0xffff_0000;
const MS_MGC_VAL: u64 = 0xc0ed_0000;
/// Options are at most a page.
const DATA_MAX: usize = 4096;

/// `mount(2)`.
pub async fn mount(
    cx: &CurrentTask,
    source: UserIn<u8>,
    target: UserIn<u8>,
    kind: UserIn<u8>,
    flags: u64,
    data: UserAddr,
) -> SysResult<()> {
    let kind = optional_string(cx, kind)?;
    let source = optional_string(cx, source)?;
    let data = get_data(cx, data)?;
    let target = cx.memory().get_path(target)?;
    let walker = Walker::new(cx);
    let target = walker
        .find(cx, CWD, &target, LookupFlags::FOLLOW)?
        .into_path()?;
    require_mounting(&walker)?;
    let flags = if flags & MS_MGC_MSK == MS_MGC_VAL {
        flags & !MS_MGC_MSK
    } else {
        flags
    } as u32;
    let namespace = walker.fs.namespace();
    if flags & MS_REMOUNT != 0 {
        return remount(cx, &walker, &target, flags, &data);
    }
    if flags & MS_BIND != 0 {
        let source = find_source(cx, &walker, source)?;
        check_kinds(&source, &target)?;
        return Ok(namespace.bind(&source, &target, flags & MS_REC != 0)?);
    }
    let propagation = flags & (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE);
    if propagation != 0 {
        return change_propagation(&walker, &target, propagation, flags);
    }
    if flags & MS_MOVE != 0 {
        let source = find_source(cx, &walker, source)?;
        check_kinds_to_move(&source, &target)?;
        return Ok(namespace.move_mount(&source, &target, false)?);
    }
    let kind = kind.ok_or(Errno::EINVAL)?;
    let source = source.unwrap_or_else(|| b"none".to_vec());
    let types = cx.kernel.extensions.get::<FileSystemTypes>();
    require_type(&walker, &kind)?;
    let fs = types.mount(
        &kind,
        &MountRequest {
            task: cx.task(),
            source: &source,
            data: &data,
        },
    )?;
    let mount = Mount::of(fs, mount_flags(flags), &source);
    mount.set_fs_read_only(flags & MS_RDONLY != 0)?;
    let root = Path {
        mount: mount.clone(),
        dentry: mount.root.clone(),
    };
    check_kinds(&root, &target)?;
    drop(root);
    Ok(namespace.attach(mount, &target)?)
}

/// File systems that the root of any user namespace may mount (FS_USERNS_MOUNT).
const ANYONES: &[&[u8]] = &[
    b"tmpfs", b"ramfs", b"proc", b"sysfs", b"devpts", b"mqueue", b"cgroup", b"cgroup2", b"overlay",
];

/// `EPERM` if only the root of the first user namespace may mount this type (`mount_capable`).
fn require_type(walker: &Walker, kind: &[u8]) -> Result<()> {
    if walker.creds.user_ns.is_initial() || ANYONES.contains(&kind) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// `EPERM` unless the caller may change its mount namespace (`may_mount`).
fn require_mounting(walker: &Walker) -> Result<()> {
    let namespace = walker.fs.namespace();
    walker.creds.require_in(&namespace.owner, Cap::SYS_ADMIN)
}

fn optional_string(cx: &CurrentTask, at: UserIn<u8>) -> Result<Option<Vec<u8>>> {
    if at.is_null() {
        return Ok(None);
    }
    cx.memory()
        .get_cstr(at.addr(), PATH_MAX, Errno::EINVAL)
        .map(Some)
}

/// The options, up to a NUL; as Linux does, whatever of a page can be read.
fn get_data(cx: &CurrentTask, at: UserAddr) -> Result<Vec<u8>> {
    if at.is_null() {
        return Ok(Vec::new());
    }
    let mut data = vec![0; DATA_MAX];
    let n = cx.memory().read_some(at, &mut data)?;
    data.truncate(n);
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(n);
    data.truncate(end);
    Ok(data)
}

fn find_source(cx: &CurrentTask, walker: &Walker, source: Option<Vec<u8>>) -> Result<Path> {
    let source = source
        .filter(|source| !source.is_empty())
        .ok_or(Errno::EINVAL)?;
    walker
        .find(cx, CWD, &source, LookupFlags::FOLLOW)?
        .into_path()
}

/// `ENOTDIR` if only one of the two is a directory.
fn check_kinds(source: &Path, target: &Path) -> Result<()> {
    let is_dir = |path: &Path| path.inode().ops().as_dir().is_some();
    if is_dir(source) == is_dir(target) {
        Ok(())
    } else {
        Err(Errno::ENOTDIR)
    }
}

/// `EINVAL` if only one of the two is a directory (`move_mount`).
fn check_kinds_to_move(source: &Path, target: &Path) -> Result<()> {
    check_kinds(source, target).map_err(|_| Errno::EINVAL)
}

/// The per-mount flags of a call; relatime unless told otherwise.
fn mount_flags(flags: u32) -> MountFlags {
    const PER_MOUNT: u32 = MS_RDONLY
        | MS_NOSUID
        | MS_NODEV
        | MS_NOEXEC
        | MS_NOSYMFOLLOW
        | MS_NOATIME
        | MS_NODIRATIME
        | MS_RELATIME;
    let mut result = MountFlags::from_bits_truncate(flags & PER_MOUNT);
    result.set(
        MountFlags::RELATIME,
        flags & (MS_NOATIME | MS_STRICTATIME) == 0,
    );
    if flags & MS_STRICTATIME != 0 {
        result.remove(MountFlags::NOATIME);
    }
    result
}

fn check_is_root(target: &Path) -> Result<()> {
    if target.is_mount_root() {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// With MS_BIND changes the mount's flags, else also the file system's options. Without a word about access times they stay as they are.
fn remount(
    cx: &CurrentTask,
    walker: &Walker,
    target: &Path,
    flags: u32,
    data: &[u8],
) -> SysResult<()> {
    const ATIME: MountFlags = MountFlags::NOATIME
        .union(MountFlags::NODIRATIME)
        .union(MountFlags::RELATIME);
    check_is_root(target)?;
    check_is_ours(walker, target)?;
    let mut wanted = mount_flags(flags);
    if flags & (MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME) == 0 {
        wanted = wanted.difference(ATIME) | (target.mount.flags() & ATIME);
    }
    // Without MS_BIND it is the file system that changes: for whom it belongs to.
    if flags & MS_BIND == 0 && !walker.creds.user_ns.is_initial() || target.mount.loosens(wanted) {
        return Err(Errno::EPERM.into());
    }
    if flags & MS_BIND != 0 {
        target.mount.check_writers(wanted)?;
    } else {
        let memory = cx.container.resources().memory;
        target.mount.fs.reconfigure(data, memory)?;
        target.mount.set_fs_read_only(flags & MS_RDONLY != 0)?;
    }
    target.mount.set_flags(wanted);
    Ok(())
}

/// `EINVAL` unless the mount is part of the caller's namespace (`check_mnt`).
fn check_is_ours(walker: &Walker, path: &Path) -> Result<()> {
    if path.mount.is_in(&walker.fs.namespace()) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// The type that one `MS_*` flag stands for.
fn propagation_type(flag: u32) -> Result<PropagationType> {
    match flag {
        MS_SHARED => Ok(PropagationType::Shared),
        MS_SLAVE => Ok(PropagationType::Slave),
        MS_PRIVATE => Ok(PropagationType::Private),
        MS_UNBINDABLE => Ok(PropagationType::Unbindable),
        _ => Err(Errno::EINVAL),
    }
}

fn change_propagation(walker: &Walker, target: &Path, kind: u32, flags: u32) -> SysResult<()> {
    const MS_SILENT: u32 = 1 << 15;
    if kind.count_ones() != 1 || flags & !(kind | MS_REC | MS_SILENT) != 0 {
        return Err(Errno::EINVAL.into());
    }
    check_is_root(target)?;
    check_is_ours(walker, target)?;
    let recursive = flags & MS_REC != 0;
    target
        .mount
        .set_propagation(propagation_type(kind)?, recursive);
    Ok(())
}
