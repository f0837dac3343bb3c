//! `process_vm_readv(2)`, `process_vm_writev(2)`.

use abi::UserAddr;
use sentry::error::{Errno, SysResult};
use sentry::mm::{UserSink, UserSource};
use sentry::task::CurrentTask;
use sentry::vfs::{Sink, Source};

/// Bytes that are carried at a time.
const CHUNK: usize = 64 << 10;

/// The caller's and the other side's buffers: address and number of their iovecs.
struct Buffers {
    local: (UserAddr, usize),
    remote: (UserAddr, usize),
}

/// `process_vm_readv(2)`.
pub async fn process_vm_readv(
    cx: &CurrentTask,
    pid: i32,
    local: UserAddr,
    local_count: usize,
    remote: UserAddr,
    remote_count: usize,
    flags: u64,
) -> SysResult<usize> {
    transfer(
        cx,
        pid,
        &Buffers {
            local: (local, local_count),
            remote: (remote, remote_count),
        },
        flags,
        false,
    )
}

/// `process_vm_writev(2)`.
pub async fn process_vm_writev(
    cx: &CurrentTask,
    pid: i32,
    local: UserAddr,
    local_count: usize,
    remote: UserAddr,
    remote_count: usize,
    flags: u64,
) -> SysResult<usize> {
    transfer(
        cx,
        pid,
        &Buffers {
            local: (local, local_count),
            remote: (remote, remote_count),
        },
        flags,
        true,
    )
}

fn transfer(
    cx: &CurrentTask,
    pid: i32,
    buffers: &Buffers,
    flags: u64,
    write: bool,
) -> SysResult<usize> {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mine = cx.memory();
    let local = mine.get_iovecs(buffers.local.0, buffers.local.1)?;
    if local.iter().all(|range| range.len == 0) {
        return Ok(0);
    }
    let remote = mine.get_iovecs(buffers.remote.0, buffers.remote.1)?;
    let task = cx.pid_namespace().task(pid).ok_or(Errno::ESRCH)?;
    crate::cred::may_inspect(cx, &task)?;
    let theirs = task.try_memory_map().ok_or(Errno::ESRCH)?.memory();
    if write {
        copy(mine.source_vec(local), theirs.sink_vec(remote))
    } else {
        copy(theirs.source_vec(remote), mine.sink_vec(local))
    }
}

/// As much as both sides have and allow; `EFAULT` only if nothing could be carried.
fn copy(mut source: UserSource, mut sink: UserSink) -> SysResult<usize> {
    let wanted = source.remaining().min(sink.remaining());
    let mut chunk = vec![0; wanted.min(CHUNK)];
    let mut done = 0;
    while done < wanted {
        let len = chunk.len().min(wanted - done);
        let moved = source
            .take(&mut chunk[..len])
            .and_then(|got| sink.put(&chunk[..got]).map(|put| (got, put)));
        match moved {
            Ok((got, put)) => {
                done += put;
                if got < len || put < got {
                    break;
                }
            }
            Err(errno) if done == 0 => return Err(errno.into()),
            Err(_) => break,
        }
    }
    Ok(done)
}
