//! The socket calls.

mod address;
mod calls;
mod control;
mod message;
mod options;

use std::sync::Arc;
use std::time::Instant;

pub use calls::{
    accept, accept4, bind, connect, getpeername, getsockname, listen, shutdown, socket, socketpair,
};
pub use message::{recvfrom, recvmmsg, recvmsg, sendmmsg, sendmsg, sendto};
pub use options::{getsockopt, setsockopt};

use sentry::error::{Errno, Result, SysError, SysResult};
use sentry::socket::SocketOps;
use sentry::task::CurrentTask;
use sentry::time;
use sentry::vfs::{Fd, File};
use sentry::wait::Events;

/// A socket's file: `EBADF`, `ENOTSOCK`.
fn socket_file(cx: &CurrentTask, fd: Fd) -> Result<Arc<File>> {
    let file = cx.file(fd)?;
    ops(&file)?;
    Ok(file)
}

fn ops(file: &File) -> Result<&dyn SocketOps> {
    file.ops().as_socket().ok_or(Errno::ENOTSOCK)
}

/// When a wait on this socket ends by SO_SNDTIMEO or SO_RCVTIMEO.
fn deadline(file: &File, send: bool) -> Option<Instant> {
    let ns = ops(file).ok()?.timeout_ns(send)?;
    time::after(ns)
}

/// Waits on a socket for `attempt`: its timeout gives `EAGAIN`, and a signal while one is set `EINTR`, not a restart (`signal(7)`).
async fn wait<T: Send>(
    cx: &CurrentTask,
    file: &File,
    events: Events,
    nonblocking: bool,
    until: Option<Instant>,
    attempt: impl FnMut() -> SysResult<T> + Send,
) -> SysResult<T> {
    match cx
        .block_on_file(file, events, nonblocking, until, attempt)
        .await
    {
        Err(SysError::Errno(Errno::ETIMEDOUT)) if until.is_some_and(|at| at <= Instant::now()) => {
            Err(Errno::EAGAIN.into())
        }
        Err(SysError::Restart(_)) if until.is_some() => Err(Errno::EINTR.into()),
        other => other,
    }
}
