//! fcntl: descriptor and status flags, owners; locks, pipes and seals are their modules' business.

use std::sync::Arc;

use abi::fs::{
    F_DUPFD, F_DUPFD_CLOEXEC, F_DUPFD_QUERY, F_GET_FILE_RW_HINT, F_GET_RW_HINT, F_GETFD, F_GETFL,
    F_GETLEASE, F_GETOWN, F_GETOWN_EX, F_GETSIG, F_NOTIFY, F_SET_FILE_RW_HINT, F_SET_RW_HINT,
    F_SETFD, F_SETFL, F_SETLEASE, F_SETOWN, F_SETOWN_EX, F_SETSIG, FOwnerEx, O_APPEND, O_ASYNC,
    O_DIRECT, O_NOATIME, O_NONBLOCK,
};
use abi::{UserIn, UserOut};
use sentry::error::{Errno, Result, SysResult};
use sentry::fs::fasync::{self, OWNER_GROUP, OWNER_PROCESS, OWNER_THREAD, Owner};
use sentry::fs::{dnotify, leases};
use sentry::task::CurrentTask;
use sentry::task::limits::Resource;
use sentry::vfs::{Fd, FdFlags, File};

/// `fcntl(2)`.
pub async fn fcntl(cx: &CurrentTask, fd: Fd, command: u32, arg: u64) -> SysResult<i64> {
    let (file, fd_flags) = cx.files().get_with_flags(fd)?;
    // The few that O_PATH descriptors have too.
    match command {
        F_DUPFD => return Ok(dup_from(cx, fd, arg, FdFlags::empty())?),
        F_DUPFD_CLOEXEC => return Ok(dup_from(cx, fd, arg, FdFlags::CLOEXEC)?),
        F_DUPFD_QUERY => {
            let other = cx.files().get(Fd(arg as i32))?;
            return Ok(i64::from(std::sync::Arc::ptr_eq(&file, &other)));
        }
        F_GETFD => return Ok(i64::from(fd_flags.bits())),
        F_SETFD => {
            cx.files()
                .set_flags(fd, FdFlags::from_bits_truncate(arg as u32))?;
            return Ok(0);
        }
        F_GETFL => return Ok(i64::from(file.flags())),
        _ if file.is_path_only() => return Err(Errno::EBADF.into()),
        _ => {}
    }
    match command {
        F_SETFL => set_flags(cx, &file, fd, arg as u32)?,
        F_GETOWN => {
            let (kind, id) = owner(cx, &file);
            return Ok(i64::from(if kind == OWNER_GROUP { -id } else { id }));
        }
        F_SETOWN => {
            let id = arg as i32;
            let kind = if id < 0 { OWNER_GROUP } else { OWNER_PROCESS };
            let id = id.checked_abs().ok_or(Errno::EINVAL)?;
            set_owner(cx, &file, kind, id)?;
        }
        F_GETOWN_EX => {
            let (kind, pid) = owner(cx, &file);
            let value = FOwnerEx { kind, pid };
            cx.memory().put(UserOut::new(abi::UserAddr(arg)), &value)?;
        }
        F_SETOWN_EX => {
            let value = cx
                .memory()
                .get(UserIn::<FOwnerEx>::new(abi::UserAddr(arg)))?;
            if !(OWNER_THREAD..=OWNER_GROUP).contains(&value.kind) {
                return Err(Errno::EINVAL.into());
            }
            set_owner(cx, &file, value.kind, value.pid)?;
        }
        F_GETSIG => return Ok(i64::from(file.owner.lock().signal)),
        F_SETSIG => {
            if arg > 64 {
                return Err(Errno::EINVAL.into());
            }
            file.owner.lock().signal = arg as i32;
        }
        F_GETLEASE => return Ok(i64::from(leases::get(&file))),
        F_SETLEASE => {
            let kind = i16::try_from(arg as i32).map_err(|_| Errno::EINVAL)?;
            leases::set(&file, cx.task(), fd.0, kind)?;
        }
        F_NOTIFY => dnotify::set(&file, cx.task(), fd.0, arg as u32)?,
        F_GET_RW_HINT | F_GET_FILE_RW_HINT => {
            cx.memory().put(UserOut::new(abi::UserAddr(arg)), &0_u64)?;
        }
        F_SET_RW_HINT | F_SET_FILE_RW_HINT => {
            const RWH_WRITE_LIFE_EXTREME: u64 = 5;
            let hint = cx.memory().get(UserIn::<u64>::new(abi::UserAddr(arg)))?;
            if hint > RWH_WRITE_LIFE_EXTREME {
                return Err(Errno::EINVAL.into());
            }
        }
        _ => return super::locks::fcntl_of_file(cx, &file, command, arg).await,
    }
    Ok(0)
}

fn dup_from(cx: &CurrentTask, fd: Fd, from: u64, flags: FdFlags) -> Result<i64> {
    let limit = cx.group.limit(Resource::Nofile);
    let from = u64::from(from as u32);
    if from >= limit {
        return Err(Errno::EINVAL);
    }
    let files = cx.files();
    let file = files.get(fd)?;
    let new = files.install(file, flags, from as usize, limit)?;
    Ok(i64::from(new.0))
}

fn set_flags(cx: &CurrentTask, file: &Arc<File>, fd: Fd, flags: u32) -> Result<()> {
    const CHANGEABLE: u32 = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;
    if flags & O_NOATIME != 0 && file.flags() & O_NOATIME == 0 {
        let creds = cx.creds();
        let owner = file.inode().attr()?.uid;
        if creds.fsuid != owner && !creds.owns_over(owner) {
            return Err(Errno::EPERM);
        }
    }
    if (flags ^ file.flags()) & O_ASYNC != 0 {
        fasync::set(file, cx.task(), fd.0, flags & O_ASYNC != 0);
    }
    file.change_flags(CHANGEABLE, flags);
    Ok(())
}

fn set_owner(cx: &CurrentTask, file: &File, kind: i32, id: i32) -> Result<()> {
    let pid = match id {
        0 => None,
        id => Some(cx.pid_namespace().pid(id).ok_or(Errno::ESRCH)?),
    };
    let creds = cx.creds();
    let mut owner = file.owner.lock();
    *owner = Owner {
        kind,
        pid,
        signal: owner.signal,
        setter: (creds.uid, creds.euid),
    };
    Ok(())
}

/// Kind and number of the owner as the caller sees it, 0 for none.
fn owner(cx: &CurrentTask, file: &File) -> (i32, i32) {
    let owner = file.owner.lock().clone();
    (owner.kind, owner.number(&cx.pid_namespace()))
}
