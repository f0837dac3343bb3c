//! Making, naming and connecting sockets.

use std::sync::Arc;

use abi::fs::O_NONBLOCK;
use abi::socket::{SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_TYPE_MASK};
use abi::{UserAddr, UserOut};
use sentry::error::{Errno, SysError, SysResult};
use sentry::socket as kernel;
use sentry::task::CurrentTask;
use sentry::vfs::{Fd, File};
use sentry::wait::Events;

use super::{address, deadline, ops, socket_file, wait};

/// Splits `SOCK_NONBLOCK` and `SOCK_CLOEXEC` off a type: `EINVAL` for other flags.
fn split_type(kind: i32) -> Result<(i32, bool, bool), Errno> {
    if kind & !(SOCK_TYPE_MASK | SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok((
        kind & SOCK_TYPE_MASK,
        kind & SOCK_NONBLOCK != 0,
        kind & SOCK_CLOEXEC != 0,
    ))
}

fn prepare(file: &File, nonblocking: bool) {
    if nonblocking {
        file.change_flags(O_NONBLOCK, O_NONBLOCK);
    }
}

/// `socket(2)`.
pub async fn socket(cx: &CurrentTask, domain: i32, kind: i32, protocol: i32) -> SysResult<Fd> {
    let (kind, nonblocking, cloexec) = split_type(kind)?;
    let file = kernel::create(cx, domain, kind, protocol)?;
    prepare(&file, nonblocking);
    Ok(cx.install(file, cloexec)?)
}

/// `socketpair(2)`.
pub async fn socketpair(
    cx: &CurrentTask,
    domain: i32,
    kind: i32,
    protocol: i32,
    fds: UserOut<[i32; 2]>,
) -> SysResult<()> {
    let (kind, nonblocking, cloexec) = split_type(kind)?;
    let (a, b) = kernel::create_pair(cx, domain, kind, protocol)?;
    prepare(&a, nonblocking);
    prepare(&b, nonblocking);
    let first = cx.install(a, cloexec)?;
    let undo = |fd: Fd| drop(cx.files().remove(fd));
    let second = match cx.install(b, cloexec) {
        Ok(fd) => fd,
        Err(errno) => {
            undo(first);
            return Err(errno.into());
        }
    };
    if let Err(errno) = cx.memory().put(fds, &[first.0, second.0]) {
        undo(first);
        undo(second);
        return Err(errno.into());
    }
    Ok(())
}

/// `bind(2)`.
pub async fn bind(cx: &CurrentTask, fd: Fd, addr: UserAddr, len: i32) -> SysResult<()> {
    let file = socket_file(cx, fd)?;
    let addr = address::read(cx, addr, len)?;
    Ok(ops(&file)?.bind(cx, &addr)?)
}

/// `listen(2)`.
pub async fn listen(cx: &CurrentTask, fd: Fd, backlog: i32) -> SysResult<()> {
    let file = socket_file(cx, fd)?;
    Ok(ops(&file)?.listen(cx, backlog)?)
}

/// `connect(2)`.
pub async fn connect(cx: &CurrentTask, fd: Fd, addr: UserAddr, len: i32) -> SysResult<()> {
    let file = socket_file(cx, fd)?;
    let addr = address::read(cx, addr, len)?;
    let socket = ops(&file)?;
    if file.nonblocking() {
        return Ok(socket.connect(cx, &addr)?);
    }
    let until = deadline(&file, true);
    let mut begun = false;
    let result = wait(cx, &file, Events::WRITABLE, false, until, || {
        match socket.connect(cx, &addr) {
            Err(Errno::EINPROGRESS) => {
                begun = true;
                Err(Errno::EAGAIN.into())
            }
            // While this call waits for what it began itself; else somebody else's connection is under way.
            Err(Errno::EALREADY) if begun => Err(Errno::EAGAIN.into()),
            other => other.map_err(SysError::from),
        }
    })
    .await;
    match result {
        // The time is up while the connection goes on.
        Err(SysError::Errno(Errno::EAGAIN)) if begun => Err(Errno::EINPROGRESS.into()),
        other => other,
    }
}

async fn accept_with(
    cx: &CurrentTask,
    fd: Fd,
    addr: UserAddr,
    len: UserOut<i32>,
    flags: i32,
) -> SysResult<Fd> {
    let file = socket_file(cx, fd)?;
    if flags & !(SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let socket = ops(&file)?;
    let until = deadline(&file, false);
    let (accepted, peer): (Arc<File>, _) = wait(cx, &file, Events::READABLE, false, until, || {
        Ok(socket.accept(cx)?)
    })
    .await?;
    address::write(cx, addr, len, &peer)?;
    prepare(&accepted, flags & SOCK_NONBLOCK != 0);
    Ok(cx.install(accepted, flags & SOCK_CLOEXEC != 0)?)
}

/// `accept(2)`.
pub async fn accept(cx: &CurrentTask, fd: Fd, addr: UserAddr, len: UserOut<i32>) -> SysResult<Fd> {
    accept_with(cx, fd, addr, len, 0).await
}

/// `accept4(2)`.
pub async fn accept4(
    cx: &CurrentTask,
    fd: Fd,
    addr: UserAddr,
    len: UserOut<i32>,
    flags: i32,
) -> SysResult<Fd> {
    accept_with(cx, fd, addr, len, flags).await
}

/// `getsockname(2)`.
pub async fn getsockname(
    cx: &CurrentTask,
    fd: Fd,
    addr: UserAddr,
    len: UserOut<i32>,
) -> SysResult<()> {
    let file = socket_file(cx, fd)?;
    let name = ops(&file)?.local_addr()?;
    name_out(cx, addr, len, &name)
}

/// `getpeername(2)`.
pub async fn getpeername(
    cx: &CurrentTask,
    fd: Fd,
    addr: UserAddr,
    len: UserOut<i32>,
) -> SysResult<()> {
    let file = socket_file(cx, fd)?;
    let name = ops(&file)?.peer_addr()?;
    name_out(cx, addr, len, &name)
}

/// Unlike accept these do not let the address be null.
fn name_out(cx: &CurrentTask, addr: UserAddr, len: UserOut<i32>, name: &[u8]) -> SysResult<()> {
    if addr.is_null() {
        return Err(Errno::EFAULT.into());
    }
    Ok(address::write(cx, addr, len, name)?)
}

/// `shutdown(2)`.
pub async fn shutdown(cx: &CurrentTask, fd: Fd, how: i32) -> SysResult<()> {
    let file = socket_file(cx, fd)?;
    Ok(ops(&file)?.shutdown(how)?)
}
