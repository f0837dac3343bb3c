//! Changing modes, owners, times and sizes.

use abi::fs::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, UTIME_NOW, UTIME_OMIT, Utimbuf};
use abi::time::{NSEC_PER_SEC, Timespec, Timeval};
use abi::{UserAddr, UserIn};
use sentry::error::{Errno, Result, SysResult};
use sentry::task::CurrentTask;
use sentry::task::creds::Creds;
use sentry::vfs::lookup::{Found, LookupFlags};
use sentry::vfs::{Fd, SetTime, change_mode, change_owner, set_times};

use super::io::{check_file_size, check_offset};
use super::path::{CWD, Walker, at_flags, get_path};

/// `chmod(2)`.
pub async fn chmod(cx: &CurrentTask, path: UserIn<u8>, mode: u32) -> SysResult<()> {
    fchmodat2(cx, CWD, path, mode, 0).await
}

/// `fchmodat(2)`, the call without flags.
pub async fn fchmodat(cx: &CurrentTask, dir: Fd, path: UserIn<u8>, mode: u32) -> SysResult<()> {
    fchmodat2(cx, dir, path, mode, 0).await
}

/// `fchmodat2(2)`.
pub async fn fchmodat2(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    mode: u32,
    flags: u32,
) -> SysResult<()> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = get_path(cx, path)?;
    let walker = Walker::new(cx);
    let found = walker.find(cx, dir, &path, at_flags(flags))?;
    Ok(change_mode(&walker.creds, &found, mode)?)
}

/// `fchmod(2)`.
pub async fn fchmod(cx: &CurrentTask, fd: Fd, mode: u32) -> SysResult<()> {
    let found = Found::File(cx.file(fd)?);
    Ok(change_mode(&cx.creds(), &found, mode)?)
}

/// User and group that the caller names, none for -1: `EINVAL` for numbers without an id behind them.
fn ids(creds: &Creds, uid: u32, gid: u32) -> Result<(Option<u32>, Option<u32>)> {
    let known = |id: Option<u32>| id.map(Some).ok_or(Errno::EINVAL);
    let uid = match uid {
        u32::MAX => None,
        uid => known(creds.user_ns.kuid(uid))?,
    };
    let gid = match gid {
        u32::MAX => None,
        gid => known(creds.user_ns.kgid(gid))?,
    };
    Ok((uid, gid))
}

/// `chown(2)`.
pub async fn chown(cx: &CurrentTask, path: UserIn<u8>, uid: u32, gid: u32) -> SysResult<()> {
    fchownat(cx, CWD, path, uid, gid, 0).await
}

/// `lchown(2)`.
pub async fn lchown(cx: &CurrentTask, path: UserIn<u8>, uid: u32, gid: u32) -> SysResult<()> {
    fchownat(cx, CWD, path, uid, gid, AT_SYMLINK_NOFOLLOW).await
}

/// `fchownat(2)`.
pub async fn fchownat(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    uid: u32,
    gid: u32,
    flags: u32,
) -> SysResult<()> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = get_path(cx, path)?;
    let walker = Walker::new(cx);
    let found = walker.find(cx, dir, &path, at_flags(flags))?;
    let (uid, gid) = ids(&walker.creds, uid, gid)?;
    Ok(change_owner(&walker.creds, &found, uid, gid)?)
}

/// `fchown(2)`.
pub async fn fchown(cx: &CurrentTask, fd: Fd, uid: u32, gid: u32) -> SysResult<()> {
    let found = Found::File(cx.file(fd)?);
    let creds = cx.creds();
    let (uid, gid) = ids(&creds, uid, gid)?;
    Ok(change_owner(&creds, &found, uid, gid)?)
}

/// `truncate(2)`.
pub async fn truncate(cx: &CurrentTask, path: UserIn<u8>, size: i64) -> SysResult<()> {
    let size = check_offset(size)?;
    let path = get_path(cx, path)?;
    let walker = Walker::new(cx);
    let found = walker.find(cx, CWD, &path, LookupFlags::FOLLOW)?;
    resize(cx, &found, size, false)
}

/// `ftruncate(2)`.
pub async fn ftruncate(cx: &CurrentTask, fd: Fd, size: i64) -> SysResult<()> {
    let size = check_offset(size)?;
    let file = cx.file(fd)?;
    if !file.writable() {
        return Err(Errno::EINVAL.into());
    }
    resize(cx, &Found::File(file), size, true)
}

fn resize(cx: &CurrentTask, found: &Found, size: u64, opened: bool) -> SysResult<()> {
    let grows = found.inode().attr()?.size < size;
    if grows {
        check_file_size(cx, size, 0)?;
    }
    Ok(sentry::vfs::truncate(&cx.creds(), found, size, opened)?)
}

/// The two times of a call: access and modification.
type Times = (Option<SetTime>, Option<SetTime>);

const NOW: Times = (Some(SetTime::Now), Some(SetTime::Now));

fn timespec(time: Timespec) -> Result<Option<SetTime>> {
    match time.nsec {
        UTIME_NOW => Ok(Some(SetTime::Now)),
        UTIME_OMIT => Ok(None),
        0..1_000_000_000 => Ok(Some(SetTime::At(time))),
        _ => Err(Errno::EINVAL),
    }
}

fn timeval(time: Timeval) -> Result<Option<SetTime>> {
    if !(0..1_000_000).contains(&time.usec) {
        return Err(Errno::EINVAL);
    }
    Ok(Some(SetTime::At(Timespec {
        sec: time.sec,
        nsec: time.usec * (NSEC_PER_SEC as i64 / 1_000_000),
    })))
}

/// `utimensat(2)`; a null path means the descriptor.
pub async fn utimensat(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    times: UserIn<[Timespec; 2]>,
    flags: u32,
) -> SysResult<()> {
    let times = match cx.memory().get_opt(times)? {
        None => NOW,
        Some([atime, mtime]) => {
            if atime.nsec == UTIME_OMIT && mtime.nsec == UTIME_OMIT {
                return Ok(());
            }
            (timespec(atime)?, timespec(mtime)?)
        }
    };
    touch(cx, dir, path, times, flags)
}

/// `futimesat(2)`; a null path means the descriptor.
pub async fn futimesat(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    times: UserIn<[Timeval; 2]>,
) -> SysResult<()> {
    let times = match cx.memory().get_opt(times)? {
        None => NOW,
        Some([atime, mtime]) => (timeval(atime)?, timeval(mtime)?),
    };
    touch(cx, dir, path, times, 0)
}

/// `utimes(2)`.
pub async fn utimes(
    cx: &CurrentTask,
    path: UserIn<u8>,
    times: UserIn<[Timeval; 2]>,
) -> SysResult<()> {
    futimesat(cx, CWD, path, times).await
}

/// `utime(2)`.
pub async fn utime(cx: &CurrentTask, path: UserIn<u8>, times: UserAddr) -> SysResult<()> {
    let at = |sec| Some(SetTime::At(Timespec { sec, nsec: 0 }));
    let times = match cx.memory().get_opt(UserIn::<Utimbuf>::new(times))? {
        None => NOW,
        Some(times) => (at(times.actime), at(times.modtime)),
    };
    touch(cx, CWD, path, times, 0)
}

fn touch(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    (atime, mtime): Times,
    flags: u32,
) -> SysResult<()> {
    let walker = Walker::new(cx);
    let found = if path.is_null() && dir != CWD {
        if flags & !AT_EMPTY_PATH != 0 {
            return Err(Errno::EINVAL.into());
        }
        Found::File(cx.file(dir)?)
    } else {
        if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let path = get_path(cx, path)?;
        walker.find(cx, dir, &path, at_flags(flags))?
    };
    Ok(set_times(&walker.creds, &found, atime, mtime)?)
}
