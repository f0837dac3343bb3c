//! fcntl's commands for locks, pipes and memory files; flock.

use std::sync::Arc;

use abi::fs::{
    F_ADD_SEALS, F_GET_SEALS, F_GETLK, F_GETPIPE_SZ, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW,
    F_RDLCK, F_SETLK, F_SETLKW, F_SETPIPE_SZ, F_UNLCK, F_WRLCK, Flock, LOCK_EX, LOCK_NB, LOCK_SH,
    LOCK_UN, SEEK_CUR, SEEK_END, SEEK_SET,
};
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, Result, SysResult};
use sentry::fs::locks::wait::Waiting;
use sentry::fs::locks::{self, Kind, Owner, Range, Request};
use sentry::fs::{memfd, pipe};
use sentry::task::CurrentTask;
use sentry::task::creds::Cap;
use sentry::vfs::{Fd, File};
use sentry::wait::Events;

/// The commands that [`super::fcntl`] leaves: `EBADF` for those of pipes on other files, `EINVAL` for unknown ones.
pub(super) async fn fcntl_of_file(
    cx: &CurrentTask,
    file: &Arc<File>,
    command: u32,
    arg: u64,
) -> SysResult<i64> {
    match command {
        F_GETLK | F_OFD_GETLK => get_lock(cx, file, command == F_OFD_GETLK, arg),
        F_SETLK | F_OFD_SETLK => {
            let request = get_request(cx, file, command == F_OFD_SETLK, arg)?;
            locks::set(file.inode(), &request)?;
            Ok(0)
        }
        F_SETLKW | F_OFD_SETLKW => {
            let request = get_request(cx, file, command == F_OFD_SETLKW, arg)?;
            let mut waiting = Waiting::new(file.inode(), request);
            let queue = waiting.queue();
            cx.block_until(&[(&queue, Events::IN)], None, || Ok(waiting.attempt()?))
                .await?;
            Ok(0)
        }
        F_GETPIPE_SZ => {
            let pipe = pipe::of_file(file).ok_or(Errno::EBADF)?;
            Ok(pipe.capacity() as i64)
        }
        F_SETPIPE_SZ => {
            let pipe = pipe::of_file(file).ok_or(Errno::EBADF)?;
            let privileged = cx.creds().has(Cap::SYS_RESOURCE);
            // The kernel takes the size as an unsigned int.
            Ok(pipe.set_capacity(arg as u32 as usize, privileged)? as i64)
        }
        F_GET_SEALS => Ok(i64::from(memfd::seals(file)?)),
        F_ADD_SEALS => {
            memfd::add_seals(file, arg as u32)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// The lock that a `struct flock` describes. `None` as kind: F_UNLCK.
fn describe(cx: &CurrentTask, file: &File, is_description: bool, flock: &Flock) -> Result<Request> {
    let kind = match flock.kind {
        F_RDLCK => Some(Kind::Read),
        F_WRLCK => Some(Kind::Write),
        F_UNLCK => None,
        _ => return Err(Errno::EINVAL),
    };
    let base = match u32::from(flock.whence as u16) {
        SEEK_SET => 0,
        SEEK_CUR => *file.offset().lock() as i64,
        SEEK_END => file.inode().attr()?.size as i64,
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(flock.start).ok_or(Errno::EOVERFLOW)?;
    if is_description && flock.pid != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Request {
        owner: if is_description {
            Owner::Description(file.id)
        } else {
            Owner::of_table(&cx.files())
        },
        kind,
        range: Range::new(start, flock.len)?,
        pid: (!is_description).then(|| cx.group.pid.clone()),
    })
}

/// The lock to set; it must be one that the file was opened for: `EBADF`.
fn get_request(cx: &CurrentTask, file: &File, is_description: bool, arg: u64) -> Result<Request> {
    let flock = cx.memory().get(UserIn::<Flock>::new(UserAddr(arg)))?;
    let request = describe(cx, file, is_description, &flock)?;
    let allowed = match request.kind {
        None => true,
        Some(Kind::Read) => file.readable(),
        Some(Kind::Write) => file.writable(),
    };
    if allowed {
        Ok(request)
    } else {
        Err(Errno::EBADF)
    }
}

fn get_lock(cx: &CurrentTask, file: &File, is_description: bool, arg: u64) -> SysResult<i64> {
    let memory = cx.memory();
    let mut flock = memory.get(UserIn::<Flock>::new(UserAddr(arg)))?;
    let request = describe(cx, file, is_description, &flock)?;
    if request.kind.is_none() {
        return Err(Errno::EINVAL.into());
    }
    match locks::test(file.inode(), &request) {
        None => flock.kind = F_UNLCK,
        Some(conflict) => {
            let namespace = cx.pid_namespace();
            flock = Flock {
                kind: match conflict.kind {
                    Kind::Read => F_RDLCK,
                    Kind::Write => F_WRLCK,
                },
                whence: SEEK_SET as i16,
                start: conflict.range.start(),
                len: conflict.range.len(),
                pid: conflict.pid.map_or(-1, |pid| pid.in_namespace(&namespace)),
                ..Flock::default()
            };
        }
    }
    memory.put(UserOut::new(UserAddr(arg)), &flock)?;
    Ok(0)
}

/// `flock(2)`.
pub async fn flock(cx: &CurrentTask, fd: Fd, operation: u32) -> SysResult<()> {
    let kind = match operation & !LOCK_NB {
        LOCK_SH => Some(Kind::Read),
        LOCK_EX => Some(Kind::Write),
        LOCK_UN => None,
        _ => return Err(Errno::EINVAL.into()),
    };
    let file = cx.file(fd)?;
    if operation & LOCK_NB != 0 {
        return Ok(locks::flock::set(&file, kind)?);
    }
    let queue = file.inode().shared.locks.queue();
    cx.block_until(&[(queue, Events::IN)], None, || {
        Ok(locks::flock::set(&file, kind)?)
    })
    .await
}
