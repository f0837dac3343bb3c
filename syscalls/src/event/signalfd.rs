//! `signalfd(2)`.

use abi::UserIn;
use abi::fs::{O_CLOEXEC, O_NONBLOCK};
use abi::signal::SigSet;
use sentry::error::{Errno, SysResult};
use sentry::fs::signalfd as signalfds;
use sentry::task::CurrentTask;
use sentry::vfs::Fd;

/// `signalfd(2)` as the kernel had it first.
pub async fn signalfd(cx: &CurrentTask, fd: Fd, mask: UserIn<u64>, size: usize) -> SysResult<Fd> {
    signalfd4(cx, fd, mask, size, 0).await
}

/// `signalfd4(2)`: makes one, or for a descriptor other than -1 changes its mask.
pub async fn signalfd4(
    cx: &CurrentTask,
    fd: Fd,
    mask: UserIn<u64>,
    size: usize,
    flags: u32,
) -> SysResult<Fd> {
    if size != 8 {
        return Err(Errno::EINVAL.into());
    }
    let mask = SigSet(cx.memory().get(mask)?);
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if fd.0 == -1 {
        return Ok(cx.install(signalfds::open(mask, flags), flags & O_CLOEXEC != 0)?);
    }
    signalfds::set_mask(&*cx.file(fd)?, mask, cx)?;
    Ok(fd)
}
