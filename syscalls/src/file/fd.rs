//! close, close_range, dup and its relatives.

use std::sync::Arc;

use abi::fs::O_CLOEXEC;
use sentry::error::{Errno, SysResult};
use sentry::task::CurrentTask;
use sentry::task::limits::Resource;
use sentry::vfs::{Fd, FdFlags, File, close_file};

const CLOSE_RANGE_UNSHARE: u32 = 2;
const CLOSE_RANGE_CLOEXEC: u32 = 4;

/// `close(2)`.
pub async fn close(cx: &CurrentTask, fd: Fd) -> SysResult<()> {
    let files = cx.files();
    let file = files.remove(fd)?;
    Ok(close_file(&files, file)?)
}

/// `close_range(2)`.
pub async fn close_range(cx: &CurrentTask, first: u32, last: u32, flags: u32) -> SysResult<()> {
    if flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL.into());
    }
    if flags & CLOSE_RANGE_UNSHARE != 0 && cx.files().users() > 1 {
        let own = cx.files().fork();
        cx.task().replace_files(Some(own));
    }
    let files = cx.files();
    for fd in files.numbers(first as usize..=last as usize) {
        if flags & CLOSE_RANGE_CLOEXEC != 0 {
            // Another thread may have closed it meanwhile.
            let _ = files.set_flags(fd, FdFlags::CLOEXEC);
        } else if let Ok(file) = files.remove(fd) {
            // Like Linux, which reports no error of any of them.
            let _ = close_file(&files, file);
        }
    }
    Ok(())
}

/// `dup(2)`.
pub async fn dup(cx: &CurrentTask, fd: Fd) -> SysResult<Fd> {
    let file = cx.files().get(fd)?;
    Ok(cx.install(file, false)?)
}

/// `dup2(2)`.
pub async fn dup2(cx: &CurrentTask, old: Fd, new: Fd) -> SysResult<Fd> {
    let file = cx.files().get(old)?;
    if old == new {
        return Ok(new);
    }
    replace(cx, file, new, FdFlags::empty())
}

/// `dup3(2)`.
pub async fn dup3(cx: &CurrentTask, old: Fd, new: Fd, flags: u32) -> SysResult<Fd> {
    if flags & !O_CLOEXEC != 0 || old == new {
        return Err(Errno::EINVAL.into());
    }
    let limit = cx.group.limit(Resource::Nofile);
    if u64::try_from(new.0).is_ok_and(|new| new >= limit) {
        return Err(Errno::EBADF.into());
    }
    let file = cx.files().get(old)?;
    let fd_flags = if flags & O_CLOEXEC == 0 {
        FdFlags::empty()
    } else {
        FdFlags::CLOEXEC
    };
    replace(cx, file, new, fd_flags)
}

fn replace(cx: &CurrentTask, file: Arc<File>, at: Fd, flags: FdFlags) -> SysResult<Fd> {
    let limit = cx.group.limit(Resource::Nofile);
    let files = cx.files();
    if let Some(old) = files.install_at(at, file, flags, limit)? {
        // An error of the implicit close is lost, as dup2(2) says.
        let _ = close_file(&files, old);
    }
    Ok(at)
}
