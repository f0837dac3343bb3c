//! `epoll_create(2)`, `epoll_ctl(2)`, `epoll_wait(2)` and their variants.

use abi::fs::O_CLOEXEC;
use abi::signal::SigSet;
use abi::time::Timespec;
use abi::{UserIn, UserOut};
use sentry::error::{Errno, SysError, SysResult};
use sentry::fs::epoll;
use sentry::task::CurrentTask;
use sentry::vfs::Fd;
use sentry::wait::Events;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Timeout, read_mask, with_signal_mask};

const ADD: i32 = 1;
const DEL: i32 = 2;
const MOD: i32 = 3;

/// `struct epoll_event`, packed on x86-64.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
pub struct EpollEvent {
    pub(crate) events: u32,
    pub(crate) data: u64,
}

/// `epoll_create(2)`.
pub async fn epoll_create(cx: &CurrentTask, size: i32) -> SysResult<Fd> {
    if size <= 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(cx.install(epoll::open(), false)?)
}

/// `epoll_create1(2)`.
pub async fn epoll_create1(cx: &CurrentTask, flags: u32) -> SysResult<Fd> {
    if flags & !O_CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(cx.install(epoll::open(), flags & O_CLOEXEC != 0)?)
}

/// `epoll_ctl(2)`.
pub async fn epoll_ctl(
    cx: &CurrentTask,
    epfd: Fd,
    op: i32,
    fd: Fd,
    event: UserIn<EpollEvent>,
) -> SysResult<()> {
    let event = if op == DEL {
        None
    } else {
        Some(cx.memory().get(event)?)
    };
    let outer = cx.file(epfd)?;
    let file = cx.file(fd)?;
    if file.wait_queue(Some(cx)).is_none() {
        return Err(Errno::EPERM.into());
    }
    let epoll = epoll::of_file(&outer)?;
    if std::sync::Arc::ptr_eq(&outer, &file) {
        return Err(Errno::EINVAL.into());
    }
    match (op, event) {
        (ADD, Some(EpollEvent { events, data })) => epoll.add(fd, &file, events, data, Some(cx))?,
        (MOD, Some(EpollEvent { events, data })) => {
            epoll.modify(fd, &file, events, data, Some(cx))?;
        }
        (DEL, _) => epoll.remove(fd, &file)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(())
}

async fn wait(
    cx: &CurrentTask,
    epfd: Fd,
    events: UserOut<EpollEvent>,
    max: i32,
    timeout: Timeout,
    mask: Option<SigSet>,
) -> SysResult<usize> {
    let max = usize::try_from(max).map_err(|_| Errno::EINVAL)?;
    if max == 0 || max > i32::MAX as usize / size_of::<EpollEvent>() {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(epfd)?;
    let epoll = epoll::of_file(&file)?;
    with_signal_mask(cx, mask, async {
        let mut found: Vec<EpollEvent> = Vec::new();
        let mut collect = || {
            Ok(epoll.collect(max, Some(cx), |events, data| {
                found.push(EpollEvent { events, data });
                Ok(())
            })?)
        };
        let result = match collect() {
            Err(SysError::Errno(Errno::EAGAIN)) if timeout == Timeout::Now && !cx.has_work() => {
                return Ok(0);
            }
            Err(SysError::Errno(Errno::EAGAIN)) => {
                let queues = [(epoll.queue(), Events::IN)];
                cx.block_until(&queues, timeout.deadline(), collect).await
            }
            other => other,
        };
        match result {
            Ok(count) => {
                cx.memory()
                    .write(events.addr(), found.as_slice().as_bytes())?;
                Ok(count)
            }
            Err(SysError::Errno(Errno::ETIMEDOUT)) => Ok(0),
            // Never restarted, whatever SA_RESTART says (signal(7)).
            Err(SysError::Restart(_)) => Err(Errno::EINTR.into()),
            other => other,
        }
    })
    .await
}

/// `epoll_wait(2)`.
pub async fn epoll_wait(
    cx: &CurrentTask,
    epfd: Fd,
    events: UserOut<EpollEvent>,
    maxevents: i32,
    timeout: i32,
) -> SysResult<usize> {
    wait(cx, epfd, events, maxevents, Timeout::from_ms(timeout), None).await
}

/// `epoll_pwait(2)`.
pub async fn epoll_pwait(
    cx: &CurrentTask,
    epfd: Fd,
    events: UserOut<EpollEvent>,
    maxevents: i32,
    timeout: i32,
    mask: UserIn<u64>,
    mask_size: usize,
) -> SysResult<usize> {
    let mask = read_mask(cx, mask, mask_size)?;
    wait(cx, epfd, events, maxevents, Timeout::from_ms(timeout), mask).await
}

/// `epoll_pwait2(2)`.
pub async fn epoll_pwait2(
    cx: &CurrentTask,
    epfd: Fd,
    events: UserOut<EpollEvent>,
    maxevents: i32,
    timeout: UserIn<Timespec>,
    mask: UserIn<u64>,
    mask_size: usize,
) -> SysResult<usize> {
    let timeout = Timeout::from_timespec(cx.memory().get_opt(timeout)?)?;
    let mask = read_mask(cx, mask, mask_size)?;
    wait(cx, epfd, events, maxevents, timeout, mask).await
}
