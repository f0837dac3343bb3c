//! The supervisor's side of seccomp user notification: the ioctls of a listener.

use abi::fs::O_CLOEXEC;
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, SysResult};
use sentry::task::CurrentTask;
use sentry::task::limits::Resource;
use sentry::task::seccomp_listener::{Listener, Reply};
use sentry::vfs::{Fd, FdFlags, File, close_file};
use sentry::wait::Events;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const RECV: u32 = 0xc050_2100;
const SEND: u32 = 0xc018_2101;
const ID_VALID: u32 = 0x4008_2102;
/// The direction was wrong once.
const ID_VALID_WRONG_DIR: u32 = 0x8008_2102;
const ADD_FD: u32 = 0x4018_2103;
const SET_FLAGS: u32 = 0x4008_2104;

/// `struct seccomp_notif`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    nr: i32,
    arch: u32,
    ip: u64,
    args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Response {
    id: u64,
    val: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct AddFd {
    id: u64,
    flags: u32,
    source: u32,
    new: u32,
    new_flags: u32,
}

/// Sizes of `struct seccomp_notif`, its response and `struct seccomp_data`.
pub(crate) const SIZES: [u16; 3] = [80, 24, 64];

/// An ioctl of a listener; `None` for another file.
pub(crate) async fn ioctl(
    cx: &CurrentTask,
    file: &File,
    request: u32,
    arg: UserAddr,
) -> Option<SysResult<i64>> {
    let listener = file.downcast::<Listener>()?;
    Some(match request {
        RECV => receive(cx, listener, arg).await,
        SEND => send(cx, listener, arg),
        ID_VALID | ID_VALID_WRONG_DIR => is_valid(cx, listener, arg),
        ADD_FD => add_fd(cx, listener, arg),
        SET_FLAGS if arg.0 & !1 == 0 => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    })
}

async fn receive(cx: &CurrentTask, listener: &Listener, arg: UserAddr) -> SysResult<i64> {
    let zero: [u64; 10] = cx.memory().get(UserIn::new(arg))?;
    if zero != [0; 10] {
        return Err(Errno::EINVAL.into());
    }
    let notifications = listener.notifications();
    let queue = notifications.queue();
    let events = Events::IN | Events::HUP;
    let pending = cx
        .block_until(&[(&queue, events)], None, || Ok(notifications.receive()?))
        .await?;
    let pid = pending
        .task
        .upgrade()
        .map_or(0, |task| task.tid.read().in_namespace(&cx.pid_namespace()));
    let notification = Notification {
        id: pending.id,
        pid: pid.cast_unsigned(),
        flags: 0,
        nr: pending.data.nr as i32,
        arch: pending.data.arch,
        ip: pending.data.ip,
        args: pending.data.args,
    };
    if let Err(errno) = cx.memory().put(UserOut::new(arg), &notification) {
        notifications.put_back(&pending);
        return Err(errno.into());
    }
    Ok(0)
}

fn send(cx: &CurrentTask, listener: &Listener, arg: UserAddr) -> SysResult<i64> {
    const CONTINUE: u32 = 1;
    let response: Response = cx.memory().get(UserIn::new(arg))?;
    let goes_on = response.flags & CONTINUE != 0;
    if response.flags & !CONTINUE != 0 || goes_on && (response.error != 0 || response.val != 0) {
        return Err(Errno::EINVAL.into());
    }
    let reply = match response.error {
        _ if goes_on => Reply::Continue,
        0 => Reply::Value(response.val),
        error => Reply::Value(i64::from(error)),
    };
    listener.notifications().reply(response.id, reply)?;
    Ok(0)
}

fn is_valid(cx: &CurrentTask, listener: &Listener, arg: UserAddr) -> SysResult<i64> {
    let id: u64 = cx.memory().get(UserIn::new(arg))?;
    listener
        .notifications()
        .taken(id)
        .map_err(|_| Errno::ENOENT)?;
    Ok(0)
}

fn add_fd(cx: &CurrentTask, listener: &Listener, arg: UserAddr) -> SysResult<i64> {
    const SET_FD: u32 = 1;
    const AND_SEND: u32 = 2;
    let add: AddFd = cx.memory().get(UserIn::new(arg))?;
    if add.new_flags & !O_CLOEXEC != 0
        || add.flags & !(SET_FD | AND_SEND) != 0
        || add.new != 0 && add.flags & SET_FD == 0
    {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(Fd(add.source.cast_signed()))?;
    let notifications = listener.notifications();
    let pending = notifications.taken(add.id)?;
    let target = pending.task.upgrade().ok_or(Errno::ESRCH)?;
    let files = target.try_files().ok_or(Errno::ESRCH)?;
    let limit = target.group.limit(Resource::Nofile);
    let mut flags = FdFlags::empty();
    flags.set(FdFlags::CLOEXEC, add.new_flags & O_CLOEXEC != 0);
    let new = if add.flags & SET_FD != 0 {
        let place = Fd(i32::try_from(add.new).map_err(|_| Errno::EBADF)?);
        if let Some(old) = files.install_at(place, file, flags, limit)? {
            // An error of the implicit close is lost, as in dup2.
            let _ = close_file(&files, old);
        }
        place
    } else {
        files.install(file, flags, 0, limit)?
    };
    if add.flags & AND_SEND != 0 {
        notifications.reply(add.id, Reply::Value(i64::from(new.0)))?;
    }
    Ok(i64::from(new.0))
}
