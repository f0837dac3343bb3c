//! read, write and their relatives, lseek.

use std::time::Instant;

use abi::fs::{
    O_APPEND, O_DSYNC, O_SYNC, RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_NOAPPEND, RWF_NOWAIT,
    RWF_SYNC, S_IFREG, SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET,
};
use abi::signal::Signal;
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, Result, SysError, SysResult};
use sentry::mm::{UserSink, UserSource};
use sentry::signal::SigInfo;
use sentry::signal::send::thread_signal;
use sentry::task::CurrentTask;
use sentry::task::limits::{INFINITY, Resource};
use sentry::vfs::{Fd, File, SeekFrom, Sink, Source, events, strip_privileges};
use sentry::wait::Events;

/// A read that gave less than this is not tried again: what follows is the end of the file.
const WORTH_CONTINUING: usize = 64 * 1024;

const READ_BYTES: usize = 0;
const WRITTEN_BYTES: usize = 1;
const READ_CALLS: usize = 2;
const WRITE_CALLS: usize = 3;

/// `read(2)`.
pub async fn read(cx: &CurrentTask, fd: Fd, buf: UserOut<u8>, len: usize) -> SysResult<usize> {
    let file = cx.file(fd)?;
    check_len(len)?;
    let mut sink = cx.memory().sink(buf.addr(), len);
    read_file(cx, &file, None, 0, &mut sink).await
}

/// `write(2)`.
pub async fn write(cx: &CurrentTask, fd: Fd, buf: UserIn<u8>, len: usize) -> SysResult<usize> {
    let file = cx.file(fd)?;
    check_len(len)?;
    let mut source = cx.memory().source(buf.addr(), len);
    write_file(cx, &file, None, 0, &mut source).await
}

/// `pread64(2)`.
pub async fn pread64(
    cx: &CurrentTask,
    fd: Fd,
    buf: UserOut<u8>,
    len: usize,
    offset: i64,
) -> SysResult<usize> {
    let offset = check_offset(offset)?;
    let file = cx.file(fd)?;
    check_len(len)?;
    let mut sink = cx.memory().sink(buf.addr(), len);
    read_file(cx, &file, Some(offset), 0, &mut sink).await
}

/// `pwrite64(2)`.
pub async fn pwrite64(
    cx: &CurrentTask,
    fd: Fd,
    buf: UserIn<u8>,
    len: usize,
    offset: i64,
) -> SysResult<usize> {
    let offset = check_offset(offset)?;
    let file = cx.file(fd)?;
    check_len(len)?;
    let mut source = cx.memory().source(buf.addr(), len);
    match write_file(cx, &file, Some(offset), 0, &mut source).await {
        Err(error) if error == Errno::EIO.into() => {
            crate::ptrace::write_memory_file(cx, &file, offset, (buf.addr(), len)).await
        }
        other => other,
    }
}

/// `readv(2)`.
pub async fn readv(cx: &CurrentTask, fd: Fd, vec: UserAddr, count: usize) -> SysResult<usize> {
    let file = cx.file(fd)?;
    let mut sink = sink_of(cx, &file, vec, count)?;
    read_file(cx, &file, None, 0, &mut sink).await
}

/// `writev(2)`.
pub async fn writev(cx: &CurrentTask, fd: Fd, vec: UserAddr, count: usize) -> SysResult<usize> {
    let file = cx.file(fd)?;
    let mut source = source_of(cx, &file, vec, count)?;
    write_file(cx, &file, None, 0, &mut source).await
}

/// `preadv(2)`; the second half of the offset is for 32-bit callers.
pub async fn preadv(
    cx: &CurrentTask,
    fd: Fd,
    vec: UserAddr,
    count: usize,
    offset: i64,
) -> SysResult<usize> {
    let offset = check_offset(offset)?;
    let file = cx.file(fd)?;
    let mut sink = sink_of(cx, &file, vec, count)?;
    read_file(cx, &file, Some(offset), 0, &mut sink).await
}

/// `pwritev(2)`.
pub async fn pwritev(
    cx: &CurrentTask,
    fd: Fd,
    vec: UserAddr,
    count: usize,
    offset: i64,
) -> SysResult<usize> {
    let offset = check_offset(offset)?;
    let file = cx.file(fd)?;
    let mut source = source_of(cx, &file, vec, count)?;
    write_file(cx, &file, Some(offset), 0, &mut source).await
}

/// `preadv2(2)`; offset -1 means the current one.
pub async fn preadv2(
    cx: &CurrentTask,
    fd: Fd,
    vec: UserAddr,
    count: usize,
    offset: i64,
    _offset_high: u64,
    flags: u32,
) -> SysResult<usize> {
    let offset = current_or(offset)?;
    let file = cx.file(fd)?;
    let mut sink = sink_of(cx, &file, vec, count)?;
    check_rwf(flags, false)?;
    read_file(cx, &file, offset, flags, &mut sink).await
}

/// `pwritev2(2)`; offset -1 means the current one.
pub async fn pwritev2(
    cx: &CurrentTask,
    fd: Fd,
    vec: UserAddr,
    count: usize,
    offset: i64,
    _offset_high: u64,
    flags: u32,
) -> SysResult<usize> {
    let offset = current_or(offset)?;
    let file = cx.file(fd)?;
    let mut source = source_of(cx, &file, vec, count)?;
    check_rwf(flags, true)?;
    write_file(cx, &file, offset, flags, &mut source).await
}

/// `lseek(2)`.
pub async fn lseek(cx: &CurrentTask, fd: Fd, offset: i64, whence: u32) -> SysResult<u64> {
    let file = cx.file(fd)?;
    if whence > SEEK_HOLE {
        return Err(Errno::EINVAL.into());
    }
    if file.ops().ignores_seeks() {
        return Ok(0);
    }
    if !file.ops().seekable() {
        return Err(Errno::ESPIPE.into());
    }
    let mut at = file.offset().lock();
    let new = match whence {
        SEEK_SET => u64::try_from(offset).map_err(|_| Errno::EINVAL)?,
        SEEK_CUR => relative(*at, offset)?,
        SEEK_END => file.ops().seek(SeekFrom::End(offset))?,
        SEEK_DATA | SEEK_HOLE => {
            let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            file.ops().seek(if whence == SEEK_DATA {
                SeekFrom::Data(from)
            } else {
                SeekFrom::Hole(from)
            })?
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    if i64::try_from(new).is_err() {
        return Err(Errno::EINVAL.into());
    }
    *at = new;
    Ok(new)
}

fn relative(at: u64, offset: i64) -> Result<u64> {
    let at = i64::try_from(at).map_err(|_| Errno::EOVERFLOW)?;
    let new = at.checked_add(offset).ok_or(Errno::EOVERFLOW)?;
    u64::try_from(new).map_err(|_| Errno::EINVAL)
}

/// `EINVAL` for a negative offset.
pub(super) fn check_offset(offset: i64) -> Result<u64> {
    u64::try_from(offset).map_err(|_| Errno::EINVAL)
}

fn current_or(offset: i64) -> Result<Option<u64>> {
    if offset == -1 {
        Ok(None)
    } else {
        check_offset(offset).map(Some)
    }
}

/// `access_ok` refuses lengths beyond the address space: `EFAULT`.
fn check_len(len: usize) -> Result<()> {
    if i64::try_from(len).is_err() {
        Err(Errno::EFAULT)
    } else {
        Ok(())
    }
}

pub(crate) fn check_rwf(flags: u32, write: bool) -> Result<()> {
    const KNOWN: u32 = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND;
    if flags & !KNOWN != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if flags & (RWF_APPEND | RWF_NOAPPEND) == RWF_APPEND | RWF_NOAPPEND {
        return Err(Errno::EINVAL);
    }
    if !write && flags & RWF_APPEND != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(())
}

fn sink_of(cx: &CurrentTask, file: &File, vec: UserAddr, count: usize) -> Result<UserSink> {
    if !file.readable() {
        return Err(Errno::EBADF);
    }
    let memory = cx.memory();
    Ok(memory.sink_vec(memory.get_iovecs(vec, count)?))
}

fn source_of(cx: &CurrentTask, file: &File, vec: UserAddr, count: usize) -> Result<UserSource> {
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    let memory = cx.memory();
    Ok(memory.source_vec(memory.get_iovecs(vec, count)?))
}

/// The description's flags with what `RWF_*` add or take away for one call.
fn flags_for(file: &File, rwf: u32) -> u32 {
    let mut flags = file.flags();
    if rwf & RWF_APPEND != 0 {
        flags |= O_APPEND;
    }
    if rwf & RWF_NOAPPEND != 0 {
        flags &= !O_APPEND;
    }
    if rwf & RWF_SYNC != 0 {
        flags |= O_SYNC;
    } else if rwf & RWF_DSYNC != 0 {
        flags |= O_DSYNC;
    }
    flags
}

/// Reads from `offset` or the current one into `sink`, waiting if need be: what every reading call comes to.
pub async fn read_file<S: Sink + Send>(
    cx: &CurrentTask,
    file: &File,
    offset: Option<u64>,
    rwf: u32,
    sink: &mut S,
) -> SysResult<usize> {
    let flags = flags_for(file, rwf);
    let mut total = 0_usize;
    let until = socket_deadline(file, false);
    cx.group.count_io(READ_CALLS, 1);
    loop {
        let at = offset.map(|offset| offset.saturating_add(total as u64));
        let nowait = rwf & RWF_NOWAIT != 0;
        let step = cx
            .block_on_file(file, Events::READABLE, nowait, until, || {
                file.read_with(Some(cx), at, flags, sink)
            })
            .await
            .map_err(|error| timed_out(error, until));
        match step {
            Ok(n) => {
                total += n;
                // Regular files give all that they have; a file system may do so piece by piece.
                if n < WORTH_CONTINUING || sink.remaining() == 0 || !file.ops().seekable() {
                    break;
                }
            }
            Err(_) if total > 0 => break,
            Err(error) => return Err(error),
        }
    }
    if total > 0 {
        cx.group.count_io(READ_BYTES, total as u64);
        events::accessed(file);
    }
    Ok(total)
}

/// Writes all of `source` at `offset` or the current one, waiting if need be until all is written or a signal comes: what every writing call
/// comes to.
pub async fn write_file<S: Source + Send>(
    cx: &CurrentTask,
    file: &File,
    offset: Option<u64>,
    rwf: u32,
    source: &mut S,
) -> SysResult<usize> {
    if !file.writable() {
        return Err(Errno::EBADF.into());
    }
    let flags = flags_for(file, rwf);
    cx.group.count_io(WRITE_CALLS, 1);
    let allowed = allowed_size(cx, file, offset, flags, source.remaining())?;
    if file.ops().seekable() {
        strip_privileges(&cx.creds(), file.inode())?;
    }
    let mut limited = Limited {
        source,
        left: allowed,
    };
    let mut total = 0_usize;
    let nowait = rwf & RWF_NOWAIT != 0;
    let until = socket_deadline(file, true);
    loop {
        let at = offset.map(|offset| offset.saturating_add(total as u64));
        let step = cx
            .block_on_file(file, Events::WRITABLE, nowait, until, || {
                file.write_with(Some(cx), at, flags, &mut limited)
            })
            .await
            .map_err(|error| timed_out(error, until));
        match step {
            Ok(n) => {
                total += n;
                // Not every file takes the bytes that it accepts: /dev/null does not look at them.
                if n == 0 || total >= allowed || limited.remaining() == 0 {
                    break;
                }
            }
            Err(_) if total > 0 => break,
            Err(error) => return Err(error),
        }
    }
    if total > 0 {
        cx.group.count_io(WRITTEN_BYTES, total as u64);
        events::modified(file);
    }
    Ok(total)
}

/// When a wait ends by a socket's SO_SNDTIMEO or SO_RCVTIMEO; other files wait for ever.
fn socket_deadline(file: &File, send: bool) -> Option<Instant> {
    let ns = file.ops().as_socket()?.timeout_ns(send)?;
    sentry::time::after(ns)
}

/// A socket's timeout shows as `EAGAIN`.
fn timed_out(error: SysError, until: Option<Instant>) -> SysError {
    match error {
        SysError::Errno(Errno::ETIMEDOUT) if until.is_some_and(|at| at <= Instant::now()) => {
            SysError::Errno(Errno::EAGAIN)
        }
        other => other,
    }
}

/// How many of `len` bytes RLIMIT_FSIZE and the largest possible file leave (`generic_write_checks`): `EFBIG`, with SIGXFSZ for the limit.
fn allowed_size(
    cx: &CurrentTask,
    file: &File,
    offset: Option<u64>,
    flags: u32,
    len: usize,
) -> Result<usize> {
    let limit = cx.group.limit(Resource::Fsize);
    if limit == INFINITY || len == 0 || !file.ops().seekable() {
        return Ok(len);
    }
    let attr = file.inode().attr()?;
    if attr.file_type() != S_IFREG {
        return Ok(len);
    }
    let at = if flags & O_APPEND != 0 {
        attr.size
    } else {
        offset.unwrap_or_else(|| *file.offset().lock())
    };
    check_file_size(cx, at, 1)?;
    Ok(len.min(usize::try_from(limit - at).unwrap_or(usize::MAX)))
}

/// `EFBIG` and SIGXFSZ if `len` bytes at `at` lie beyond RLIMIT_FSIZE.
pub(super) fn check_file_size(cx: &CurrentTask, at: u64, len: u64) -> Result<()> {
    let limit = cx.group.limit(Resource::Fsize);
    if limit != INFINITY && at.saturating_add(len) > limit {
        // The call fails whether or not the signal could be queued.
        let _ = thread_signal(cx.task(), SigInfo::kernel(Signal::XFSZ));
        return Err(Errno::EFBIG);
    }
    Ok(())
}

/// A source cut short.
struct Limited<'a, S> {
    source: &'a mut S,
    left: usize,
}

impl<S: Source> Source for Limited<'_, S> {
    fn remaining(&self) -> usize {
        self.left.min(self.source.remaining())
    }
    fn take(&mut self, buf: &mut [u8]) -> Result<usize> {
        let limit = buf.len().min(self.left);
        let n = self.source.take(&mut buf[..limit])?;
        self.left -= n;
        Ok(n)
    }
    fn peek(&mut self, buf: &mut [u8]) -> Result<usize> {
        let limit = buf.len().min(self.left);
        self.source.peek(&mut buf[..limit])
    }
}
