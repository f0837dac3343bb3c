//! Making, removing and moving names.

use abi::fs::{AT_EMPTY_PATH, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, S_IFMT};
use abi::{UserIn, UserOut};
use sentry::error::{Errno, SysResult};
use sentry::task::CurrentTask;
use sentry::task::creds::Cap;
use sentry::vfs::lookup::LookupFlags;
use sentry::vfs::{
    Fd, link_at, mkdir_at, mknod_at, node_kind, rename_at, rmdir_at, symlink_at, unlink_at,
};

use super::path::{CWD, Walker, get_path};

/// `mkdir(2)`.
pub async fn mkdir(cx: &CurrentTask, path: UserIn<u8>, mode: u32) -> SysResult<()> {
    mkdirat(cx, CWD, path, mode).await
}

/// `mkdirat(2)`.
pub async fn mkdirat(cx: &CurrentTask, dir: Fd, path: UserIn<u8>, mode: u32) -> SysResult<()> {
    let path = get_path(cx, path)?;
    let walker = Walker::new(cx);
    let start = walker.start(cx, dir, &path)?;
    Ok(mkdir_at(walker.cx(), &start, &path, mode)?)
}

/// `mknod(2)`.
pub async fn mknod(cx: &CurrentTask, path: UserIn<u8>, mode: u32, dev: u32) -> SysResult<()> {
    mknodat(cx, CWD, path, mode, dev).await
}

/// `mknodat(2)`; the device number comes in the old 32-bit encoding, whose low bits are those of the new one.
pub async fn mknodat(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    mode: u32,
    dev: u32,
) -> SysResult<()> {
    let kind = node_kind(mode, u64::from(dev))?;
    let path = get_path(cx, path)?;
    let walker = Walker::new(cx);
    let start = walker.start(cx, dir, &path)?;
    mknod_at(walker.cx(), &start, &path, kind, mode & !S_IFMT)?;
    Ok(())
}

/// `rmdir(2)`.
pub async fn rmdir(cx: &CurrentTask, path: UserIn<u8>) -> SysResult<()> {
    unlinkat(cx, CWD, path, AT_REMOVEDIR).await
}

/// `unlink(2)`.
pub async fn unlink(cx: &CurrentTask, path: UserIn<u8>) -> SysResult<()> {
    unlinkat(cx, CWD, path, 0).await
}

/// `unlinkat(2)`.
pub async fn unlinkat(cx: &CurrentTask, dir: Fd, path: UserIn<u8>, flags: u32) -> SysResult<()> {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = get_path(cx, path)?;
    let walker = Walker::new(cx);
    let start = walker.start(cx, dir, &path)?;
    if flags & AT_REMOVEDIR == 0 {
        unlink_at(walker.cx(), &start, &path)?;
    } else {
        rmdir_at(walker.cx(), &start, &path)?;
    }
    Ok(())
}

/// `rename(2)`.
pub async fn rename(cx: &CurrentTask, old: UserIn<u8>, new: UserIn<u8>) -> SysResult<()> {
    renameat2(cx, CWD, old, CWD, new, 0).await
}

/// `renameat(2)`.
pub async fn renameat(
    cx: &CurrentTask,
    old_dir: Fd,
    old: UserIn<u8>,
    new_dir: Fd,
    new: UserIn<u8>,
) -> SysResult<()> {
    renameat2(cx, old_dir, old, new_dir, new, 0).await
}

/// `renameat2(2)`.
pub async fn renameat2(
    cx: &CurrentTask,
    old_dir: Fd,
    old: UserIn<u8>,
    new_dir: Fd,
    new: UserIn<u8>,
    flags: u32,
) -> SysResult<()> {
    let old = get_path(cx, old)?;
    let new = get_path(cx, new)?;
    let walker = Walker::new(cx);
    let old_start = walker.start(cx, old_dir, &old)?;
    let new_start = walker.start(cx, new_dir, &new)?;
    Ok(rename_at(
        walker.cx(),
        &old_start,
        &old,
        &new_start,
        &new,
        flags,
    )?)
}

/// `link(2)`.
pub async fn link(cx: &CurrentTask, old: UserIn<u8>, new: UserIn<u8>) -> SysResult<()> {
    linkat(cx, CWD, old, CWD, new, 0).await
}

/// `linkat(2)`.
pub async fn linkat(
    cx: &CurrentTask,
    old_dir: Fd,
    old: UserIn<u8>,
    new_dir: Fd,
    new: UserIn<u8>,
    flags: u32,
) -> SysResult<()> {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let old = get_path(cx, old)?;
    let new = get_path(cx, new)?;
    let walker = Walker::new(cx);
    let mut lookup = LookupFlags::empty();
    lookup.set(LookupFlags::FOLLOW, flags & AT_SYMLINK_FOLLOW != 0);
    if flags & AT_EMPTY_PATH != 0 {
        if old.is_empty() && !walker.creds.has(Cap::DAC_READ_SEARCH) {
            return Err(Errno::ENOENT.into());
        }
        lookup |= LookupFlags::EMPTY;
    }
    let source = walker
        .find(cx, old_dir, &old, lookup)?
        .into_path()
        .map_err(|_| Errno::EXDEV)?;
    let start = walker.start(cx, new_dir, &new)?;
    Ok(link_at(walker.cx(), &source, &start, &new)?)
}

/// `symlink(2)`.
pub async fn symlink(cx: &CurrentTask, target: UserIn<u8>, path: UserIn<u8>) -> SysResult<()> {
    symlinkat(cx, target, CWD, path).await
}

/// `symlinkat(2)`.
pub async fn symlinkat(
    cx: &CurrentTask,
    target: UserIn<u8>,
    dir: Fd,
    path: UserIn<u8>,
) -> SysResult<()> {
    let target = get_path(cx, target)?;
    let path = get_path(cx, path)?;
    let walker = Walker::new(cx);
    let start = walker.start(cx, dir, &path)?;
    Ok(symlink_at(walker.cx(), &target, &start, &path)?)
}

/// `name_to_handle_at(2)`: no file system here exports handles.
pub async fn name_to_handle_at(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    _handle: UserOut<u8>,
    _mount_id: UserOut<i32>,
    flags: u32,
) -> SysResult<()> {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = get_path(cx, path)?;
    let mut lookup = LookupFlags::empty();
    lookup.set(LookupFlags::FOLLOW, flags & AT_SYMLINK_FOLLOW != 0);
    lookup.set(LookupFlags::EMPTY, flags & AT_EMPTY_PATH != 0);
    Walker::new(cx).find(cx, dir, &path, lookup)?;
    Err(Errno::EOPNOTSUPP.into())
}
