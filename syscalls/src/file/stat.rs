//! stat and its relatives, access, readlink, statfs.

use abi::fs::{
    AT_EACCESS, AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_STATX_SYNC_TYPE, AT_SYMLINK_NOFOLLOW, S_IFREG,
    STATX_ATTR_MOUNT_ROOT, STATX_BASIC_STATS, STATX_BTIME, STATX_MNT_ID, STATX_MNT_ID_UNIQUE,
    STATX_RESERVED, Stat, Statfs, Statx, StatxTimestamp, major, minor,
};
use abi::time::Timespec;
use abi::{UserIn, UserOut};
use sentry::error::{Errno, SysResult};
use sentry::task::CurrentTask;
use sentry::vfs::lookup::{Found, LookupFlags, may_execute_at};
use sentry::vfs::{Access, Fd, MountFlags, check_inode};

use super::path::{CWD, Walker, at_flags, get_path};

/// `stat(2)`.
pub async fn stat(cx: &CurrentTask, path: UserIn<u8>, buf: UserOut<Stat>) -> SysResult<()> {
    newfstatat(cx, CWD, path, buf, 0).await
}

/// `lstat(2)`.
pub async fn lstat(cx: &CurrentTask, path: UserIn<u8>, buf: UserOut<Stat>) -> SysResult<()> {
    newfstatat(cx, CWD, path, buf, AT_SYMLINK_NOFOLLOW).await
}

/// `fstat(2)`; O_PATH descriptors too.
pub async fn fstat(cx: &CurrentTask, fd: Fd, buf: UserOut<Stat>) -> SysResult<()> {
    let attr = cx.files().get(fd)?.inode().attr()?;
    Ok(cx.memory().put(buf, &attr.to_stat(&cx.creds().user_ns))?)
}

/// A path that may be null if AT_EMPTY_PATH is set (Linux 6.11).
fn path_or_empty(cx: &CurrentTask, path: UserIn<u8>, flags: u32) -> SysResult<Vec<u8>> {
    if path.is_null() && flags & AT_EMPTY_PATH != 0 {
        return Ok(Vec::new());
    }
    Ok(get_path(cx, path)?)
}

/// `newfstatat(2)`.
pub async fn newfstatat(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    buf: UserOut<Stat>,
    flags: u32,
) -> SysResult<()> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = path_or_empty(cx, path, flags)?;
    let found = Walker::new(cx).find(cx, dir, &path, at_flags(flags))?;
    let attr = found.inode().attr()?;
    Ok(cx.memory().put(buf, &attr.to_stat(&cx.creds().user_ns))?)
}

fn statx_time(time: Timespec) -> StatxTimestamp {
    StatxTimestamp {
        sec: time.sec,
        nsec: time.nsec as u32,
        reserved: 0,
    }
}

/// `statx(2)`.
pub async fn statx(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    flags: u32,
    mask: u32,
    buf: UserOut<Statx>,
) -> SysResult<()> {
    if mask & STATX_RESERVED != 0 || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE {
        return Err(Errno::EINVAL.into());
    }
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = path_or_empty(cx, path, flags)?;
    let found = Walker::new(cx).find(cx, dir, &path, at_flags(flags))?;
    Ok(cx.memory().put(buf, &statx_of(cx, &found, mask)?)?)
}

fn statx_of(cx: &CurrentTask, found: &Found, mask: u32) -> SysResult<Statx> {
    let attr = found.inode().attr()?;
    let users = &cx.creds().user_ns;
    let mut out = Statx {
        mask: STATX_BASIC_STATS,
        blksize: attr.blksize,
        nlink: attr.nlink as u32,
        uid: users.shown_uid(attr.uid),
        gid: users.shown_gid(attr.gid),
        mode: attr.mode as u16,
        ino: attr.ino,
        size: attr.size,
        blocks: attr.blocks,
        attributes_mask: STATX_ATTR_MOUNT_ROOT,
        atime: statx_time(attr.atime),
        ctime: statx_time(attr.ctime),
        mtime: statx_time(attr.mtime),
        rdev_major: major(attr.rdev),
        rdev_minor: minor(attr.rdev),
        dev_major: major(attr.dev),
        dev_minor: minor(attr.dev),
        ..Statx::default()
    };
    if let Some(birth) = attr.btime {
        out.mask |= STATX_BTIME;
        out.btime = statx_time(birth);
    }
    if let Some(path) = found.path() {
        out.mnt_id = if mask & STATX_MNT_ID_UNIQUE != 0 {
            out.mask |= STATX_MNT_ID_UNIQUE;
            path.mount.unique_id()
        } else {
            out.mask |= STATX_MNT_ID;
            path.mount.id
        };
        if std::sync::Arc::ptr_eq(&path.dentry, &path.mount.root) {
            out.attributes |= STATX_ATTR_MOUNT_ROOT;
        }
    }
    Ok(out)
}

/// `access(2)`.
pub async fn access(cx: &CurrentTask, path: UserIn<u8>, mode: u32) -> SysResult<()> {
    faccessat2(cx, CWD, path, mode, 0).await
}

/// `faccessat(2)`, the call without flags.
pub async fn faccessat(cx: &CurrentTask, dir: Fd, path: UserIn<u8>, mode: u32) -> SysResult<()> {
    faccessat2(cx, dir, path, mode, 0).await
}

/// `faccessat2(2)`.
pub async fn faccessat2(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    mode: u32,
    flags: u32,
) -> SysResult<()> {
    if mode & !7 != 0 || flags & !(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = get_path(cx, path)?;
    let mut walker = Walker::new(cx);
    if flags & AT_EACCESS == 0 {
        walker = walker.with_real_ids();
    }
    let found = walker.find(cx, dir, &path, at_flags(flags))?;
    if mode == 0 {
        return Ok(());
    }
    let attr = found.inode().attr()?;
    let regular = attr.file_type() == S_IFREG;
    if mode & 1 != 0 && regular && !found.path().is_none_or(may_execute_at) {
        return Err(Errno::EACCES.into());
    }
    check_inode(found.inode(), &attr, &walker.creds, Access(mode))?;
    // Devices, FIFOs and sockets can be written on read-only mounts.
    if mode & 2 != 0 && (regular || found.inode().ops().as_dir().is_some()) {
        found.check_writable()?;
    }
    Ok(())
}

/// `readlink(2)`.
pub async fn readlink(
    cx: &CurrentTask,
    path: UserIn<u8>,
    buf: UserOut<u8>,
    len: i32,
) -> SysResult<usize> {
    readlinkat(cx, CWD, path, buf, len).await
}

/// `readlinkat(2)`; an empty path means the link that the descriptor was opened on with O_PATH.
pub async fn readlinkat(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    buf: UserOut<u8>,
    len: i32,
) -> SysResult<usize> {
    let len = usize::try_from(len)
        .ok()
        .filter(|len| *len > 0)
        .ok_or(Errno::EINVAL)?;
    let path = get_path(cx, path)?;
    let walker = Walker::new(cx);
    let empty = path.is_empty();
    let found = walker.find(cx, dir, &path, LookupFlags::EMPTY)?;
    let Some(link) = found.inode().ops().as_symlink() else {
        return Err(if empty { Errno::ENOENT } else { Errno::EINVAL }.into());
    };
    let text = link.text(&walker.cx())?;
    let text = &text[..text.len().min(len)];
    cx.memory().write(buf.addr(), text)?;
    Ok(text.len())
}

fn statfs_of(found: &Found) -> SysResult<Statfs> {
    const ST_RDONLY: i64 = 1;
    const ST_NOSUID: i64 = 2;
    const ST_NODEV: i64 = 4;
    const ST_NOEXEC: i64 = 8;
    const ST_VALID: i64 = 0x20;
    const ST_NOATIME: i64 = 1024;
    const ST_NODIRATIME: i64 = 2048;
    const ST_RELATIME: i64 = 4096;
    const MAP: [(MountFlags, i64); 7] = [
        (MountFlags::RDONLY, ST_RDONLY),
        (MountFlags::NOSUID, ST_NOSUID),
        (MountFlags::NODEV, ST_NODEV),
        (MountFlags::NOEXEC, ST_NOEXEC),
        (MountFlags::NOATIME, ST_NOATIME),
        (MountFlags::NODIRATIME, ST_NODIRATIME),
        (MountFlags::RELATIME, ST_RELATIME),
    ];
    const ANON_INODE_FS_MAGIC: i64 = 0x0904_1934;
    let Some(path) = found.path() else {
        let bare = Statfs {
            kind: ANON_INODE_FS_MAGIC,
            bsize: 4096,
            frsize: 4096,
            namelen: 255,
            flags: ST_VALID,
            ..Statfs::default()
        };
        return Ok(match found.inode().file_system() {
            Some(fs) => fs.statfs()?,
            None => bare,
        });
    };
    let mut out = path.mount.fs.statfs()?;
    out.flags = ST_VALID;
    let mut flags = path.mount.flags();
    flags.set(MountFlags::RDONLY, path.mount.is_read_only());
    for (flag, bit) in MAP {
        if flags.contains(flag) {
            out.flags |= bit;
        }
    }
    Ok(out)
}

/// `statfs(2)`.
pub async fn statfs(cx: &CurrentTask, path: UserIn<u8>, buf: UserOut<Statfs>) -> SysResult<()> {
    let path = get_path(cx, path)?;
    let found = Walker::new(cx).find(cx, CWD, &path, LookupFlags::FOLLOW)?;
    Ok(cx.memory().put(buf, &statfs_of(&found)?)?)
}

/// `fstatfs(2)`.
pub async fn fstatfs(cx: &CurrentTask, fd: Fd, buf: UserOut<Statfs>) -> SysResult<()> {
    let found = Found::File(cx.files().get(fd)?);
    Ok(cx.memory().put(buf, &statfs_of(&found)?)?)
}
