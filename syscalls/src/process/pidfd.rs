//! `pidfd_open(2)`, `pidfd_send_signal(2)`, `pidfd_getfd(2)`.

use std::sync::Arc;

use abi::UserIn;
use abi::fs::O_NONBLOCK;
use sentry::error::{Errno, SysResult};
use sentry::fs::pidfd::{self, PidFd};
use sentry::fs::proc::pid_of_directory;
use sentry::task::{CurrentTask, Pid};
use sentry::vfs::{Fd, File};

fn pidfd_file(cx: &CurrentTask, fd: Fd) -> SysResult<Arc<File>> {
    let file = cx.file(fd)?;
    if file.downcast::<PidFd>().is_some() {
        Ok(file)
    } else {
        Err(Errno::EBADF.into())
    }
}

/// The id behind a pidfd, and whether it is non-blocking: for `waitid(P_PIDFD)`.
pub(super) fn target(cx: &CurrentTask, fd: Fd) -> SysResult<(Arc<Pid>, bool)> {
    let file = pidfd_file(cx, fd)?;
    let pid = file
        .downcast::<PidFd>()
        .map(|p| p.pid().clone())
        .ok_or(Errno::EBADF)?;
    Ok((pid, file.nonblocking()))
}

/// `pidfd_open(2)`.
pub async fn pidfd_open(cx: &CurrentTask, pid: i32, flags: u32) -> SysResult<Fd> {
    if flags & !O_NONBLOCK != 0 || pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let namespace = cx.pid_namespace();
    let found = namespace.pid(pid).ok_or(Errno::ESRCH)?;
    match found.group() {
        Some(group) if group.family.read().reaped => return Err(Errno::ESRCH.into()),
        Some(_) => {}
        // A thread that leads nothing.
        None if namespace.task(pid).is_some() => return Err(Errno::EINVAL.into()),
        None => return Err(Errno::ESRCH.into()),
    }
    Ok(cx.install(pidfd::open(&found, flags)?, true)?)
}

/// `pidfd_send_signal(2)`.
pub async fn pidfd_send_signal(
    cx: &CurrentTask,
    fd: Fd,
    signal: i32,
    info: UserIn<u8>,
    flags: u32,
) -> SysResult<()> {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(fd)?;
    let pid = match file.downcast::<PidFd>() {
        Some(pidfd) => pidfd.pid().clone(),
        // A directory of proc was the first form of a pidfd.
        None => pid_of_directory(&file).ok_or(Errno::EBADF)??,
    };
    if pid.in_namespace(&cx.pid_namespace()) == 0 {
        return Err(Errno::EINVAL.into());
    }
    crate::signal::send_to_process(cx, || pidfd::group(&pid), signal, info)
}

/// `pidfd_getfd(2)`.
pub async fn pidfd_getfd(cx: &CurrentTask, fd: Fd, wanted: Fd, flags: u32) -> SysResult<Fd> {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = pidfd_file(cx, fd)?;
    let group = file.downcast::<PidFd>().ok_or(Errno::EBADF)?.group()?;
    let task = group.any_task().ok_or(Errno::ESRCH)?;
    crate::cred::may_inspect(cx, &task)?;
    let files = task.try_files().ok_or(Errno::ESRCH)?;
    Ok(cx.install(files.get(wanted)?, true)?)
}
