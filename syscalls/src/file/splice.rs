//! splice, tee, vmsplice.
//!
//! A step that moves something between two files asks both and gives `EAGAIN` if either has nothing or no room; the wait is on both. Bytes leave
//! their source only when the target has taken them.

use std::sync::Arc;

use abi::fs::O_NONBLOCK;
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, SysResult};
use sentry::fs::pipe::{self, Pipe, transfer};
use sentry::mm::MAX_RW_COUNT;
use sentry::signal::SigInfo;
use sentry::signal::send::thread_signal;
use sentry::task::CurrentTask;
use sentry::vfs::{Fd, File, KernelSink, KernelSource};
use sentry::wait::{Events, WaitQueue};

use super::io::check_offset;

const SPLICE_F_MOVE: u32 = 1;
const SPLICE_F_NONBLOCK: u32 = 2;
const SPLICE_F_MORE: u32 = 4;
const SPLICE_F_GIFT: u32 = 8;
const KNOWN_FLAGS: u32 = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;
/// Bytes moved in one step.
const CHUNK: usize = 64 * 1024;

/// Runs `step` until it gives anything but `EAGAIN`, waiting on both files unless `nonblocking`. `EPIPE` comes with SIGPIPE.
async fn wait_for_both<T: Send>(
    cx: &CurrentTask,
    from: &File,
    to: &File,
    nonblocking: bool,
    mut step: impl FnMut() -> SysResult<T> + Send,
) -> SysResult<T> {
    let result = if nonblocking {
        step()
    } else {
        let mut queues: Vec<(&WaitQueue, Events)> = Vec::new();
        queues.extend(from.ops().wait_queue().map(|q| (q, Events::READABLE)));
        queues.extend(to.ops().wait_queue().map(|q| (q, Events::WRITABLE)));
        cx.block_until(&queues, None, step).await
    };
    if matches!(&result, Err(error) if *error == Errno::EPIPE.into()) {
        // The call fails whether or not the signal could be queued.
        let _ = thread_signal(cx.task(), SigInfo::kernel(abi::signal::Signal::PIPE));
    }
    result
}

fn get_offset(cx: &CurrentTask, at: UserOut<i64>, file: &File) -> SysResult<Option<u64>> {
    if at.is_null() {
        return Ok(None);
    }
    if !file.ops().seekable() {
        return Err(Errno::EINVAL.into());
    }
    Ok(Some(check_offset(
        cx.memory().get(UserIn::new(at.addr()))?,
    )?))
}

fn put_offset(cx: &CurrentTask, at: UserOut<i64>, offset: Option<u64>, n: usize) -> SysResult<()> {
    if let Some(offset) = offset {
        cx.memory().put(at, &((offset + n as u64) as i64))?;
    }
    Ok(())
}

/// `splice(2)`.
pub async fn splice(
    cx: &CurrentTask,
    input: Fd,
    offset_in: UserOut<i64>,
    out: Fd,
    offset_out: UserOut<i64>,
    len: usize,
    flags: u32,
) -> SysResult<usize> {
    if len == 0 {
        return Ok(0);
    }
    if flags & !KNOWN_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let from = cx.file(input)?;
    let to = cx.file(out)?;
    if !from.readable() || !to.writable() {
        return Err(Errno::EBADF.into());
    }
    let len = len.min(MAX_RW_COUNT);
    let asked = flags & SPLICE_F_NONBLOCK != 0;
    match (pipe::of_file(&from).cloned(), pipe::of_file(&to).cloned()) {
        (Some(source), Some(target)) => {
            if !offset_in.is_null() || !offset_out.is_null() {
                return Err(Errno::ESPIPE.into());
            }
            let nonblocking = asked || from.nonblocking() || to.nonblocking();
            wait_for_both(cx, &from, &to, nonblocking, || {
                Ok(transfer::between(&source, &target, len, false)?)
            })
            .await
        }
        (Some(source), None) => {
            if !offset_in.is_null() {
                return Err(Errno::ESPIPE.into());
            }
            if to.appends() {
                return Err(Errno::EINVAL.into());
            }
            let offset = get_offset(cx, offset_out, &to)?;
            let n = wait_for_both(cx, &from, &to, asked, || {
                pipe_to_file(cx, &source, &to, offset, len)
            })
            .await?;
            put_offset(cx, offset_out, offset, n)?;
            Ok(n)
        }
        (None, Some(target)) => {
            if !offset_out.is_null() {
                return Err(Errno::ESPIPE.into());
            }
            if from.inode().ops().as_dir().is_some() {
                return Err(Errno::EINVAL.into());
            }
            let offset = get_offset(cx, offset_in, &from)?;
            let nonblocking = asked || from.nonblocking();
            let n = wait_for_both(cx, &from, &to, nonblocking, || {
                file_to_pipe(cx, &from, offset, &target, len)
            })
            .await?;
            put_offset(cx, offset_in, offset, n)?;
            Ok(n)
        }
        (None, None) => Err(Errno::EINVAL.into()),
    }
}

fn pipe_to_file(
    cx: &CurrentTask,
    from: &Pipe,
    to: &File,
    offset: Option<u64>,
    len: usize,
) -> SysResult<usize> {
    from.take_with(len.min(CHUNK), |bytes| {
        to.write_with(Some(cx), offset, to.flags(), &mut KernelSource(bytes))
    })
}

fn file_to_pipe(
    cx: &CurrentTask,
    from: &File,
    offset: Option<u64>,
    to: &Pipe,
    len: usize,
) -> SysResult<usize> {
    to.put_with(len.min(CHUNK), |room| {
        let mut sink = KernelSink::new(room);
        from.read_with(Some(cx), offset, from.flags(), &mut sink)?;
        Ok(sink.into_bytes())
    })
}

/// `tee(2)`.
pub async fn tee(cx: &CurrentTask, input: Fd, out: Fd, len: usize, flags: u32) -> SysResult<usize> {
    if flags & !KNOWN_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let from = cx.file(input)?;
    let to = cx.file(out)?;
    if !from.readable() || !to.writable() {
        return Err(Errno::EBADF.into());
    }
    let source = pipe::of_file(&from).cloned().ok_or(Errno::EINVAL)?;
    let target = pipe::of_file(&to).cloned().ok_or(Errno::EINVAL)?;
    let nonblocking = flags & SPLICE_F_NONBLOCK != 0 || from.nonblocking() || to.nonblocking();
    wait_for_both(cx, &from, &to, nonblocking, || {
        Ok(transfer::between(
            &source,
            &target,
            len.min(MAX_RW_COUNT),
            true,
        )?)
    })
    .await
}

/// `vmsplice(2)`: the bytes are copied, so later changes of the guest's memory do not show in the pipe.
pub async fn vmsplice(
    cx: &CurrentTask,
    fd: Fd,
    vec: UserAddr,
    count: usize,
    flags: u32,
) -> SysResult<usize> {
    if flags & !KNOWN_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file: Arc<File> = cx.file(fd)?;
    let Some(end) = pipe::of_file(&file).cloned() else {
        return Err(Errno::EBADF.into());
    };
    let memory = cx.memory();
    let ranges = memory.get_iovecs(vec, count)?;
    let nonblocking = flags & SPLICE_F_NONBLOCK != 0 || file.flags() & O_NONBLOCK != 0;
    if file.writable() {
        let mut source = memory.source_vec(ranges);
        wait_for_both(cx, &file, &file, nonblocking, || Ok(end.put(&mut source)?)).await
    } else {
        let mut sink = memory.sink_vec(ranges);
        wait_for_both(cx, &file, &file, nonblocking, || Ok(end.take(&mut sink)?)).await
    }
}
