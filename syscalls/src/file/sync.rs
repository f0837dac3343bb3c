//! Storage: sync and its relatives, fallocate, advice.

use abi::fs::{
    FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_UNSHARE_RANGE, FALLOC_FL_ZERO_RANGE, MAX_FILE_SIZE, S_IFBLK, S_IFDIR, S_IFIFO,
    S_IFLNK, S_IFREG,
};
use sentry::error::{Errno, SysResult};
use sentry::task::CurrentTask;
use sentry::vfs::{Fd, events, strip_privileges};

use super::io::{check_file_size, check_offset};

/// `sync(2)`: every file system of the caller's mount namespace.
pub async fn sync(cx: &CurrentTask) -> SysResult<()> {
    for mount in cx.fs().namespace().mounts() {
        // sync(2) has no errors.
        let _ = mount.fs.sync();
    }
    Ok(())
}

/// `syncfs(2)`.
pub async fn syncfs(cx: &CurrentTask, fd: Fd) -> SysResult<()> {
    let file = cx.file(fd)?;
    if let Some(fs) = file.inode().file_system() {
        fs.sync()?;
    }
    Ok(())
}

/// `fsync(2)`.
pub async fn fsync(cx: &CurrentTask, fd: Fd) -> SysResult<()> {
    Ok(cx.file(fd)?.ops().sync(false)?)
}

/// `fdatasync(2)`.
pub async fn fdatasync(cx: &CurrentTask, fd: Fd) -> SysResult<()> {
    Ok(cx.file(fd)?.ops().sync(true)?)
}

/// `sync_file_range(2)`: the whole file's data, which is more than asked for.
pub async fn sync_file_range(
    cx: &CurrentTask,
    fd: Fd,
    offset: i64,
    len: i64,
    flags: u32,
) -> SysResult<()> {
    const KNOWN: u32 = 7;
    let file = cx.file(fd)?;
    if flags & !KNOWN != 0 || offset < 0 || len < 0 || offset.checked_add(len).is_none() {
        return Err(Errno::EINVAL.into());
    }
    match file.inode().file_type()? {
        S_IFREG | S_IFBLK | S_IFDIR | S_IFLNK => {}
        _ => return Err(Errno::ESPIPE.into()),
    }
    Ok(file.ops().sync(true)?)
}

/// `fallocate(2)`.
pub async fn fallocate(
    cx: &CurrentTask,
    fd: Fd,
    mode: u32,
    offset: i64,
    len: i64,
) -> SysResult<()> {
    const KNOWN: u32 = FALLOC_FL_KEEP_SIZE
        | FALLOC_FL_PUNCH_HOLE
        | FALLOC_FL_COLLAPSE_RANGE
        | FALLOC_FL_ZERO_RANGE
        | FALLOC_FL_INSERT_RANGE
        | FALLOC_FL_UNSHARE_RANGE;
    let file = cx.file(fd)?;
    let offset = check_offset(offset)?;
    let len = u64::try_from(len)
        .ok()
        .filter(|len| *len > 0)
        .ok_or(Errno::EINVAL)?;
    if mode & !KNOWN != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let kind = mode & !FALLOC_FL_KEEP_SIZE;
    if kind.count_ones() > 1 || kind & FALLOC_FL_UNSHARE_RANGE != 0 && mode != kind {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let keeps = mode & FALLOC_FL_KEEP_SIZE != 0;
    if kind == FALLOC_FL_PUNCH_HOLE && !keeps {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if keeps && kind & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if !file.writable() {
        return Err(Errno::EBADF.into());
    }
    if file.appends() && kind != 0 {
        return Err(Errno::EPERM.into());
    }
    match file.inode().file_type()? {
        S_IFREG => {}
        S_IFIFO => return Err(Errno::ESPIPE.into()),
        S_IFDIR => return Err(Errno::EISDIR.into()),
        _ => return Err(Errno::ENODEV.into()),
    }
    if offset
        .checked_add(len)
        .is_none_or(|end| end > MAX_FILE_SIZE)
    {
        return Err(Errno::EFBIG.into());
    }
    if !keeps && kind != FALLOC_FL_COLLAPSE_RANGE {
        check_file_size(cx, offset, len)?;
    }
    strip_privileges(&cx.creds(), file.inode())?;
    file.ops().allocate(mode, offset, len)?;
    events::modified(&file);
    Ok(())
}

/// `readahead(2)`: the host reads ahead on its own; only the checks remain.
pub async fn readahead(cx: &CurrentTask, fd: Fd, _offset: i64, _count: usize) -> SysResult<()> {
    let file = cx.file(fd)?;
    if !file.readable() {
        return Err(Errno::EBADF.into());
    }
    match file.inode().file_type()? {
        S_IFREG | S_IFBLK => Ok(()),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `fadvise64(2)`: advice that is not taken.
pub async fn fadvise64(
    cx: &CurrentTask,
    fd: Fd,
    _offset: i64,
    len: i64,
    advice: u32,
) -> SysResult<()> {
    const POSIX_FADV_NOREUSE: u32 = 5;
    let file = cx.file(fd)?;
    if file.inode().file_type()? == S_IFIFO {
        return Err(Errno::ESPIPE.into());
    }
    if len < 0 || advice > POSIX_FADV_NOREUSE {
        return Err(Errno::EINVAL.into());
    }
    Ok(())
}
