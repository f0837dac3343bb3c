//! Mounts: mount, umount2, pivot_root.
//!
//! Every mount is private: nothing propagates between namespaces. Making a mount private or a slave therefore changes nothing and succeeds;
//! making it shared or unbindable is refused.

mod pivot;
mod umount;

use abi::fs::{
    MS_BIND, MS_MOVE, MS_NOATIME, MS_NODEV, MS_NODIRATIME, MS_NOEXEC, MS_NOSUID, MS_PRIVATE,
    MS_RDONLY, MS_REC, MS_RELATIME, MS_REMOUNT, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, PATH_MAX,
};
use abi::{UserAddr, UserIn};
use sentry::error::{Errno, Result, SysResult};
use sentry::task::CurrentTask;
use sentry::task::creds::Cap;
use sentry::vfs::fs_types::{FileSystemTypes, MountRequest};
use sentry::vfs::lookup::LookupFlags;
use sentry::vfs::{Mount, MountFlags, Path};

use crate::file::path::{CWD, Walker};

pub use pivot::pivot_root;
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
        return remount(&walker, &target, flags);
    }
    if flags & MS_BIND != 0 {
        let source = find_source(cx, &walker, source)?;
        check_kinds(&source, &target)?;
        if flags & MS_REC == 0 && namespace.hides_below(&source) {
            return Err(Errno::EINVAL.into());
        }
        namespace.bind(&source, &target, flags & MS_REC != 0);
        return Ok(());
    }
    let propagation = flags & (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE);
    if propagation != 0 {
        return change_propagation(&target, propagation, flags);
    }
    if flags & MS_MOVE != 0 {
        let source = find_source(cx, &walker, source)?;
        check_kinds(&source, &target)?;
        return Ok(namespace.move_mount(&source, &target)?);
    }
    let kind = kind.ok_or(Errno::EINVAL)?;
    let source = source.unwrap_or_else(|| b"none".to_vec());
    let types = cx.kernel.extensions.get::<FileSystemTypes>();
    if !walker.creds.user_ns.is_initial() && !ANYONES.contains(&&kind[..]) {
        return Err(Errno::EPERM.into());
    }
    let fs = types.mount(
        &kind,
        &MountRequest {
            task: cx.task(),
            source: &source,
            data: &data,
        },
    )?;
    let mount = Mount::of(fs, mount_flags(flags), &source);
    let root = Path {
        mount: mount.clone(),
        dentry: mount.root.clone(),
    };
    check_kinds(&root, &target)?;
    drop(root);
    namespace.attach(mount, &target);
    Ok(())
}

/// File systems that the root of any user namespace may mount (FS_USERNS_MOUNT).
const ANYONES: &[&[u8]] = &[
    b"tmpfs", b"ramfs", b"proc", b"sysfs", b"devpts", b"mqueue", b"cgroup", b"cgroup2", b"overlay",
];

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

/// The per-mount flags of a call; relatime unless told otherwise.
fn mount_flags(flags: u32) -> MountFlags {
    const PER_MOUNT: u32 =
        MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME;
    let mut result = MountFlags::from_bits_truncate(flags & PER_MOUNT);
    if !result.contains(MountFlags::NOATIME) {
        result |= MountFlags::RELATIME;
    }
    result
}

fn check_is_root(target: &Path) -> Result<()> {
    if std::sync::Arc::ptr_eq(&target.dentry, &target.mount.root) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// Changes the mount's flags. Options of the file system stay as they are: that is a difference to Linux.
fn remount(walker: &Walker, target: &Path, flags: u32) -> SysResult<()> {
    check_is_root(target)?;
    let wanted = mount_flags(flags);
    // Without MS_BIND it is the file system that changes: for whom it belongs to.
    if flags & MS_BIND == 0 && !walker.creds.user_ns.is_initial() || target.mount.loosens(wanted) {
        return Err(Errno::EPERM.into());
    }
    target.mount.set_flags(wanted);
    Ok(())
}

fn change_propagation(target: &Path, kind: u32, flags: u32) -> SysResult<()> {
    const MS_SILENT: u32 = 1 << 15;
    if kind.count_ones() != 1 || flags & !(kind | MS_REC | MS_SILENT) != 0 {
        return Err(Errno::EINVAL.into());
    }
    check_is_root(target)?;
    match kind {
        MS_PRIVATE | MS_SLAVE => Ok(()),
        _ => Err(Errno::EINVAL.into()),
    }
}
