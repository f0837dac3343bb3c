//! Asynchronous I/O (`io_setup(2)` and kin). Operations are carried out while they are submitted.
//!
//! A context's id is the address of a page of the guest's: libaio looks there for a ring to read completions from without a call. It finds none
//! (no magic number) and makes the call.

use std::time::Instant;

use abi::mm::{PROT_READ, PROT_WRITE};
use abi::time::Timespec;
use abi::{PAGE_SIZE, UserAddr, UserIn, UserOut};
use sentry::aio::{Completion, Context, MAX_EVENTS};
use sentry::error::{Errno, Result, SysError, SysResult};
use sentry::fs::eventfd::EventFd;
use sentry::mm::{Backing, MapRequest, RegionFlags};
use sentry::task::CurrentTask;
use sentry::task::limits::Resource;
use sentry::time;
use sentry::vfs::Fd;
use sentry::wait::Events;

use crate::event::{read_mask, with_signal_mask};

/// `io_setup(2)`.
pub async fn io_setup(cx: &CurrentTask, count: u32, at: UserOut<u64>) -> SysResult<()> {
    let old: u64 = cx.memory().get(UserIn::new(at.addr()))?;
    if old != 0 || count == 0 {
        return Err(Errno::EINVAL.into());
    }
    if count > MAX_EVENTS {
        return Err(Errno::EAGAIN.into());
    }
    let map = cx.memory_map();
    let request = MapRequest {
        addr: 0,
        len: PAGE_SIZE,
        prot: PROT_READ | PROT_WRITE,
        flags: RegionFlags::empty(),
        backing: Backing::Anonymous,
        fixed: false,
        no_replace: false,
        low: false,
        label: Some(std::sync::Arc::from(&b"/[aio] (deleted)"[..])),
        limit: cx.group.limit(Resource::As),
        limit_data: u64::MAX,
    };
    let thread = cx.thread();
    let id = map.map(&*thread, request).await?;
    let entered = map
        .aio
        .insert(id, Context::new(count))
        .and_then(|()| cx.memory().put(at, &id));
    if let Err(errno) = entered {
        let _ = map.aio.remove(id);
        map.unmap(&*thread, id, PAGE_SIZE).await?;
        return Err(errno.into());
    }
    Ok(())
}

/// `io_destroy(2)`.
pub async fn io_destroy(cx: &CurrentTask, id: u64) -> SysResult<()> {
    let map = cx.memory_map();
    map.aio.remove(id)?;
    Ok(map.unmap(&*cx.thread(), id, PAGE_SIZE).await?)
}

/// `struct iocb`, decoded once.
struct Operation {
    data: u64,
    rw_flags: u32,
    code: u16,
    fd: Fd,
    buf: UserAddr,
    bytes: u64,
    offset: i64,
    /// The eventfd to signal.
    notify: Option<Fd>,
}

const IOCB_FLAG_RESFD: u32 = 1;
const KEY_OFFSET: u64 = 8;

fn decode(cx: &CurrentTask, at: u64) -> Result<Operation> {
    let words: [u64; 8] = cx.memory().get(UserIn::new(UserAddr(at)))?;
    let [
        data,
        key_flags,
        code_fd,
        buf,
        bytes,
        offset,
        reserved,
        flags_resfd,
    ] = words;
    let flags = flags_resfd as u32;
    // Unknown flags are let pass, as by Linux.
    if reserved != 0 || i64::try_from(bytes).is_err() {
        return Err(Errno::EINVAL);
    }
    Ok(Operation {
        data,
        rw_flags: (key_flags >> 32) as u32,
        code: code_fd as u16,
        fd: Fd((code_fd >> 32) as i32),
        buf: UserAddr(buf),
        bytes,
        offset: offset.cast_signed(),
        notify: (flags & IOCB_FLAG_RESFD != 0).then_some(Fd((flags_resfd >> 32) as i32)),
    })
}

/// Carries an operation out. `Err`: it cannot be submitted; else what it returned.
async fn carry_out(cx: &CurrentTask, op: &Operation) -> SysResult<i64> {
    const PREAD: u16 = 0;
    const PWRITE: u16 = 1;
    const FSYNC: u16 = 2;
    const FDSYNC: u16 = 3;
    const PREADV: u16 = 7;
    const PWRITEV: u16 = 8;
    let file = cx.file(op.fd)?;
    let len = usize::try_from(op.bytes).map_err(|_| Errno::EINVAL)?;
    let reads = matches!(op.code, PREAD | PREADV);
    let result = match op.code {
        PREAD | PREADV | PWRITE | PWRITEV => {
            if (reads && !file.readable()) || (!reads && !file.writable()) {
                return Err(Errno::EBADF.into());
            }
            crate::file::io::check_rwf(op.rw_flags, !reads)?;
            let place = if file.ops().seekable() {
                Some(u64::try_from(op.offset).map_err(|_| Errno::EINVAL)?)
            } else {
                None
            };
            let memory = cx.memory();
            let vectors = match op.code {
                PREADV | PWRITEV => Some(memory.get_iovecs(op.buf, len)?),
                _ => None,
            };
            if reads {
                let mut sink = match vectors {
                    Some(vectors) => memory.sink_vec(vectors),
                    None => memory.sink(op.buf, len),
                };
                crate::file::io::read_file(cx, &file, place, op.rw_flags, &mut sink).await
            } else {
                let mut source = match vectors {
                    Some(vectors) => memory.source_vec(vectors),
                    None => memory.source(op.buf, len),
                };
                crate::file::io::write_file(cx, &file, place, op.rw_flags, &mut source).await
            }
        }
        FSYNC | FDSYNC => {
            if !op.buf.is_null() || op.offset != 0 || op.bytes != 0 || op.rw_flags != 0 {
                return Err(Errno::EINVAL.into());
            }
            file.ops()
                .sync(op.code == FDSYNC)
                .map(|()| 0)
                .map_err(Into::into)
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    match result {
        Ok(n) => Ok(n as i64),
        Err(SysError::Errno(errno)) => Ok(-i64::from(errno.raw())),
        // Nothing was done: an interrupted operation says so, it is not made again.
        Err(SysError::Restart(_)) => Ok(-i64::from(Errno::EINTR.raw())),
    }
}

async fn submit_one(cx: &CurrentTask, context: &Context, at: u64) -> SysResult<()> {
    let op = decode(cx, at)?;
    context.check_room()?;
    let notify = match op.notify {
        Some(fd) => {
            let file = cx.file(fd)?;
            if file.downcast::<EventFd>().is_none() {
                return Err(Errno::EINVAL.into());
            }
            Some(file)
        }
        None => None,
    };
    // KIOCB_KEY
    cx.memory()
        .put(UserOut::new(UserAddr(at).offset(KEY_OFFSET)), &0_u32)?;
    let result = carry_out(cx, &op).await?;
    context.complete(Completion {
        data: op.data,
        object: at,
        result,
    });
    if let Some(file) = notify
        && let Some(event) = file.downcast::<EventFd>()
    {
        event.signal(1);
    }
    Ok(())
}

/// `io_submit(2)`: how many were submitted; an error only if the first could not be.
pub async fn io_submit(
    cx: &CurrentTask,
    id: u64,
    count: i64,
    operations: UserAddr,
) -> SysResult<i64> {
    if count < 0 {
        return Err(Errno::EINVAL.into());
    }
    let context = cx.memory_map().aio.get(id)?;
    for done in 0..count.min(i64::from(MAX_EVENTS)) {
        let result = match cx
            .memory()
            .get(UserIn::new(operations.offset(done as u64 * 8)))
        {
            Ok(at) => submit_one(cx, &context, at).await,
            Err(errno) => Err(errno.into()),
        };
        match result {
            Ok(()) => {}
            Err(error) if done == 0 => return Err(error),
            Err(_) => return Ok(done),
        }
    }
    Ok(count.min(i64::from(MAX_EVENTS)))
}

async fn collect(
    cx: &CurrentTask,
    id: u64,
    least: i64,
    most: i64,
    at: UserAddr,
    limit: Option<Timespec>,
) -> SysResult<i64> {
    let context = cx.memory_map().aio.get(id)?;
    if least < 0 || most < 0 || least > most {
        return Err(Errno::EINVAL.into());
    }
    let deadline: Option<Instant> = match limit {
        Some(limit) => time::after(limit.to_ns().ok_or(Errno::EINVAL)?),
        None => None,
    };
    let (least, most) = (least as usize, most.min(i64::from(MAX_EVENTS)) as usize);
    let attempt = || context.take(least, most).map_err(SysError::from);
    let taken = match attempt() {
        Err(SysError::Errno(Errno::EAGAIN)) => {
            let queue = &context.queue;
            match cx
                .block_until(&[(queue, Events::IN)], deadline, attempt)
                .await
            {
                Ok(taken) => taken,
                Err(SysError::Errno(Errno::ETIMEDOUT)) => context.take(0, most)?,
                Err(SysError::Restart(_)) => {
                    let taken = context.take(0, most)?;
                    if taken.is_empty() {
                        return Err(Errno::EINTR.into());
                    }
                    taken
                }
                Err(error) => return Err(error),
            }
        }
        other => other?,
    };
    let mut bytes = Vec::with_capacity(taken.len() * 32);
    for event in &taken {
        for word in [event.data, event.object, event.result.cast_unsigned(), 0] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
    }
    if let Err(errno) = cx.memory().write(at, &bytes) {
        context.put_back(&taken);
        return Err(errno.into());
    }
    Ok(taken.len() as i64)
}

/// `io_getevents(2)`.
pub async fn io_getevents(
    cx: &CurrentTask,
    id: u64,
    least: i64,
    most: i64,
    at: UserAddr,
    limit: UserIn<Timespec>,
) -> SysResult<i64> {
    let limit = cx.memory().get_opt(limit)?;
    collect(cx, id, least, most, at, limit).await
}

/// `io_pgetevents(2)`: with a signal mask while it waits.
pub async fn io_pgetevents(
    cx: &CurrentTask,
    id: u64,
    least: i64,
    most: i64,
    at: UserAddr,
    limit: UserIn<Timespec>,
    mask: UserIn<[u64; 2]>,
) -> SysResult<i64> {
    let limit = cx.memory().get_opt(limit)?;
    let mask = match cx.memory().get_opt(mask)? {
        Some([at, size]) => {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            read_mask(cx, UserIn::new(UserAddr(at)), size)?
        }
        None => None,
    };
    with_signal_mask(cx, mask, collect(cx, id, least, most, at, limit)).await
}

/// `io_cancel(2)`: what was submitted is done.
pub async fn io_cancel(
    cx: &CurrentTask,
    id: u64,
    operation: UserAddr,
    _event: UserAddr,
) -> SysResult<()> {
    let key: u32 = cx.memory().get(UserIn::new(operation.offset(KEY_OFFSET)))?;
    if key != 0 {
        return Err(Errno::EINVAL.into());
    }
    cx.memory_map().aio.get(id)?;
    Err(Errno::EINVAL.into())
}
