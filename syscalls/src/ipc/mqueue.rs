//! POSIX message queues.

use std::sync::Arc;
use std::time::Instant;

use abi::fs::{NAME_MAX, O_CLOEXEC, O_CREAT, O_EXCL, O_NONBLOCK};
use abi::ipc::MqAttr;
use abi::signal::Signal;
use abi::time::Timespec;
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, Result, SysResult};
use sentry::ipc::mqueue::{self, Creation, PRIORITIES, Queue};
use sentry::task::CurrentTask;
use sentry::time;
use sentry::vfs::{Fd, File};
use sentry::wait::Events;

use crate::clock::Sigevent;

fn name(cx: &CurrentTask, at: UserIn<u8>) -> Result<Vec<u8>> {
    let name = cx.memory().get_path(at)?;
    if name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    Ok(name)
}

/// `mq_open(2)`.
pub async fn mq_open(
    cx: &CurrentTask,
    at: UserIn<u8>,
    flags: u32,
    mode: u32,
    attr: UserIn<MqAttr>,
) -> SysResult<Fd> {
    let attr = cx.memory().get_opt(attr)?;
    let name = name(cx, at)?;
    let creation = (flags & O_CREAT != 0).then(|| Creation {
        mode: mode & 0o777 & !cx.fs().umask(),
        exclusive: flags & O_EXCL != 0,
        attr,
    });
    let file = mqueue::open(cx, &name, flags, creation.as_ref())?;
    Ok(cx.install(file, flags & O_CLOEXEC != 0)?)
}

/// `mq_unlink(2)`.
pub async fn mq_unlink(cx: &CurrentTask, at: UserIn<u8>) -> SysResult<()> {
    let name = name(cx, at)?;
    Ok(mqueue::unlink(cx, &name)?)
}

/// The wait ends at an absolute time of CLOCK_REALTIME.
fn deadline(cx: &CurrentTask, at: UserIn<Timespec>) -> Result<Option<Instant>> {
    Ok(match cx.memory().get_opt(at)? {
        None => None,
        Some(at) => {
            let at = at.to_ns().ok_or(Errno::EINVAL)?;
            time::after(at.saturating_sub(time::realtime_ns()))
        }
    })
}

fn open_queue(cx: &CurrentTask, fd: Fd) -> Result<(Arc<File>, Arc<Queue>)> {
    let file = cx.file(fd)?;
    let queue = mqueue::queue_of(&file)?;
    Ok((file, queue))
}

/// `mq_timedsend(2)`.
pub async fn mq_timedsend(
    cx: &CurrentTask,
    fd: Fd,
    text: UserAddr,
    len: usize,
    priority: u32,
    timeout: UserIn<Timespec>,
) -> SysResult<()> {
    if priority >= PRIORITIES {
        return Err(Errno::EINVAL.into());
    }
    let until = deadline(cx, timeout)?;
    let (file, queue) = open_queue(cx, fd)?;
    if !file.writable() {
        return Err(Errno::EBADF.into());
    }
    if len > queue.message_size() {
        return Err(Errno::EMSGSIZE.into());
    }
    let mut bytes = vec![0; len];
    cx.memory().read(text, &mut bytes)?;
    cx.block_on_file(&file, Events::WRITABLE, false, until, || {
        Ok(queue.send(cx, &bytes, priority)?)
    })
    .await
}

/// `mq_timedreceive(2)`.
pub async fn mq_timedreceive(
    cx: &CurrentTask,
    fd: Fd,
    text: UserAddr,
    len: usize,
    priority: UserOut<u32>,
    timeout: UserIn<Timespec>,
) -> SysResult<usize> {
    let until = deadline(cx, timeout)?;
    let (file, queue) = open_queue(cx, fd)?;
    if !file.readable() {
        return Err(Errno::EBADF.into());
    }
    if len < queue.message_size() {
        return Err(Errno::EMSGSIZE.into());
    }
    let mut waiting = None;
    let (bytes, from) = cx
        .block_on_file(&file, Events::READABLE, false, until, || {
            match queue.receive() {
                Err(Errno::EAGAIN) => {
                    if waiting.is_none() && !file.nonblocking() {
                        waiting = Some(queue.wait_for_message());
                        // One may have come before it was known that somebody waits.
                        return Ok(queue.receive()?);
                    }
                    Err(Errno::EAGAIN.into())
                }
                other => Ok(other?),
            }
        })
        .await?;
    drop(waiting);
    cx.memory().put_opt(priority, &from)?;
    cx.memory().write(text, &bytes)?;
    Ok(bytes.len())
}

/// `mq_notify(2)`.
pub async fn mq_notify(cx: &CurrentTask, fd: Fd, event: UserIn<Sigevent>) -> SysResult<()> {
    const SIGEV_SIGNAL: i32 = 0;
    const SIGEV_NONE: i32 = 1;
    let event = cx.memory().get_opt(event)?;
    let (_, queue) = open_queue(cx, fd)?;
    let Some(event) = event else {
        queue.forget(&cx.group);
        return Ok(());
    };
    let signal = match event.notify {
        SIGEV_NONE => None,
        SIGEV_SIGNAL => Some(Signal::new(i64::from(event.signo)).ok_or(Errno::EINVAL)?),
        // SIGEV_THREAD wants a netlink socket of the C library's told: absent.
        _ => return Err(Errno::EINVAL.into()),
    };
    Ok(queue.register(cx, signal, event.value)?)
}

/// `mq_getsetattr(2)`.
pub async fn mq_getsetattr(
    cx: &CurrentTask,
    fd: Fd,
    new: UserIn<MqAttr>,
    old: UserOut<MqAttr>,
) -> SysResult<()> {
    let new = cx.memory().get_opt(new)?;
    if new.is_some_and(|new| new.flags & !i64::from(O_NONBLOCK) != 0) {
        return Err(Errno::EINVAL.into());
    }
    let (file, queue) = open_queue(cx, fd)?;
    let mut attr = queue.attributes();
    attr.flags = i64::from(file.flags() & O_NONBLOCK);
    if let Some(new) = new {
        file.change_flags(O_NONBLOCK, new.flags as u32);
    }
    Ok(cx.memory().put_opt(old, &attr)?)
}
