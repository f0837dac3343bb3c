//! Sending and receiving.

use std::sync::Arc;
use std::time::Instant;

use abi::socket::{
    AF_INET, AF_INET6, MSG_CMSG_CLOEXEC, MSG_DONTWAIT, MSG_ERRQUEUE, MSG_NOSIGNAL, MSG_OOB,
    MSG_PEEK, MSG_WAITALL, MSG_WAITFORONE, Mmsghdr, Msghdr, SOCK_STREAM,
};
use abi::time::Timespec;
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, Result, SysError, SysResult};
use sentry::mm::IOV_MAX;
use sentry::socket::{ControlMessage, Message, SockAddr, raise_sigpipe};
use sentry::task::CurrentTask;
use sentry::time;
use sentry::vfs::{Fd, File, Sink, Source};
use sentry::wait::Events;

use super::{address, control, deadline, ops, socket_file, wait};

/// What is sent with the bytes.
#[derive(Default)]
struct Outgoing {
    to: Option<SockAddr>,
    control: Vec<ControlMessage>,
    files: Vec<Arc<File>>,
}

/// Sends all of `source`; a stream in as many pieces as it takes.
async fn send<S: Source + Send>(
    cx: &CurrentTask,
    file: &File,
    source: &mut S,
    mut outgoing: Outgoing,
    flags: i32,
) -> SysResult<usize> {
    let socket = ops(file)?;
    let stream = socket.kind().1 == SOCK_STREAM;
    let nonblocking = flags & MSG_DONTWAIT != 0;
    let until = deadline(file, true);
    let mut total = 0;
    loop {
        let step = wait(cx, file, Events::WRITABLE, nonblocking, until, || {
            socket.send(
                cx,
                source,
                outgoing.to.as_deref(),
                outgoing.control.clone(),
                outgoing.files.clone(),
                flags,
            )
        })
        .await;
        match step {
            Ok(n) => {
                total += n;
                // They went with the first piece.
                outgoing.files.clear();
                if !stream || n == 0 || source.remaining() == 0 {
                    return Ok(total);
                }
            }
            Err(_) if total > 0 => return Ok(total),
            Err(error) => {
                let broken = error == SysError::Errno(Errno::EPIPE);
                if broken && stream && flags & MSG_NOSIGNAL == 0 {
                    raise_sigpipe(cx);
                }
                return Err(error);
            }
        }
    }
}

/// `sendto(2)`.
pub async fn sendto(
    cx: &CurrentTask,
    fd: Fd,
    buf: UserAddr,
    len: usize,
    flags: i32,
    addr: UserAddr,
    addr_len: i32,
) -> SysResult<usize> {
    let file = socket_file(cx, fd)?;
    let to = if addr.is_null() {
        None
    } else {
        Some(address::read(cx, addr, addr_len)?)
    };
    let mut source = cx.memory().source(buf, len);
    let outgoing = Outgoing {
        to,
        ..Outgoing::default()
    };
    send(cx, &file, &mut source, outgoing, flags).await
}

async fn send_message(
    cx: &CurrentTask,
    file: &File,
    header: &Msghdr,
    flags: i32,
) -> SysResult<usize> {
    let to = if header.name == 0 || header.namelen == 0 {
        None
    } else {
        let len = header.namelen.min(abi::socket::SOCKADDR_MAX as i32);
        Some(address::read(cx, UserAddr(header.name), len)?)
    };
    let ranges = vectors(cx, header)?;
    let (control, files) = control::read(cx, UserAddr(header.control), header.controllen)?;
    let mut source = cx.memory().source_vec(ranges);
    let outgoing = Outgoing { to, control, files };
    send(cx, file, &mut source, outgoing, flags).await
}

fn vectors(cx: &CurrentTask, header: &Msghdr) -> Result<Vec<sentry::mm::UserRange>> {
    let count = usize::try_from(header.iovlen)
        .ok()
        .filter(|count| *count <= IOV_MAX)
        .ok_or(Errno::EMSGSIZE)?;
    cx.memory().get_iovecs(UserAddr(header.iov), count)
}

/// `sendmsg(2)`.
pub async fn sendmsg(
    cx: &CurrentTask,
    fd: Fd,
    message: UserIn<Msghdr>,
    flags: i32,
) -> SysResult<usize> {
    let file = socket_file(cx, fd)?;
    let header = cx.memory().get(message)?;
    send_message(cx, &file, &header, flags).await
}

/// Where the length of an element of `sendmmsg` and `recvmmsg` goes.
fn length_of(element: UserIn<Mmsghdr>) -> UserOut<u32> {
    UserOut::new(element.addr().offset(size_of::<Msghdr>() as u64))
}

/// `sendmmsg(2)`.
pub async fn sendmmsg(
    cx: &CurrentTask,
    fd: Fd,
    messages: UserIn<Mmsghdr>,
    count: u32,
    flags: i32,
) -> SysResult<usize> {
    let file = socket_file(cx, fd)?;
    let mut sent = 0;
    for index in 0..(count as usize).min(IOV_MAX) {
        let element = messages.index(index as u64);
        let step = match cx.memory().get(element) {
            Ok(element) => send_message(cx, &file, &element.header, flags).await,
            Err(errno) => Err(errno.into()),
        };
        match step.and_then(|n| Ok(cx.memory().put(length_of(element), &(n as u32))?)) {
            Ok(()) => sent += 1,
            Err(_) if sent > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// Receives once; on a stream with MSG_WAITALL until the buffer is full, else until there is as much as SO_RCVLOWAT says.
async fn receive<S: Sink + Send>(
    cx: &CurrentTask,
    file: &File,
    sink: &mut S,
    flags: i32,
    until: Option<Instant>,
) -> SysResult<Message> {
    let socket = ops(file)?;
    let (domain, kind, _) = socket.kind();
    if flags & MSG_ERRQUEUE != 0 && !matches!(domain, AF_INET | AF_INET6) {
        // No errors are queued.
        return Err(Errno::EAGAIN.into());
    }
    let stream = kind == SOCK_STREAM;
    // The error queue is never waited for.
    let nonblocking = flags & (MSG_DONTWAIT | MSG_ERRQUEUE) != 0;
    let waits = !nonblocking && !file.nonblocking();
    let flags = if waits { flags } else { flags & !MSG_WAITALL };
    let once = !stream || flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE) != 0;
    // How much is wanted before the call returns.
    let least = if once || !waits {
        1
    } else if flags & MSG_WAITALL != 0 {
        usize::MAX
    } else {
        socket.low_water()
    };
    let mut result: Option<Message> = None;
    loop {
        let step = wait(cx, file, Events::READABLE, nonblocking, until, || {
            socket.receive(cx, sink, flags)
        })
        .await;
        match (step, &mut result) {
            (Ok(message), None) => {
                let end = message.len == 0;
                result = Some(message);
                if end {
                    break;
                }
            }
            (Ok(message), Some(total)) => {
                if message.len == 0 {
                    break;
                }
                total.len += message.len;
                total.files.extend(message.files);
            }
            (Err(error), None) => return Err(error),
            (Err(_), Some(_)) => break,
        }
        let more = result.as_ref().is_some_and(|total| {
            total.files.is_empty() && total.len < least && sink.remaining() > 0
        });
        if !more {
            break;
        }
    }
    Ok(result.unwrap_or_default())
}

/// `recvfrom(2)`.
pub async fn recvfrom(
    cx: &CurrentTask,
    fd: Fd,
    buf: UserAddr,
    len: usize,
    flags: i32,
    addr: UserAddr,
    addr_len: UserOut<i32>,
) -> SysResult<usize> {
    let file = socket_file(cx, fd)?;
    let mut sink = cx.memory().sink(buf, len);
    let until = deadline(&file, false);
    let message = receive(cx, &file, &mut sink, flags, until).await?;
    // Sockets without a sender's address set the length to 0.
    address::write(
        cx,
        addr,
        addr_len,
        message.from.as_deref().unwrap_or_default(),
    )?;
    Ok(message.len)
}

async fn receive_message(
    cx: &CurrentTask,
    file: &File,
    at: UserAddr,
    flags: i32,
    until: Option<Instant>,
) -> SysResult<usize> {
    let mut header: Msghdr = cx.memory().get(UserIn::new(at))?;
    let ranges = vectors(cx, &header)?;
    if header.namelen < 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut sink = cx.memory().sink_vec(ranges);
    let message = receive(cx, file, &mut sink, flags, until).await?;
    let (used, truncated) = control::write(
        cx,
        UserAddr(header.control),
        if header.control == 0 {
            0
        } else {
            header.controllen
        },
        &message.control,
        message.files,
        flags,
    )?;
    if header.name != 0 {
        let from = message.from.unwrap_or_default();
        let room = header.namelen as usize;
        cx.memory()
            .write(UserAddr(header.name), &from[..from.len().min(room)])?;
        header.namelen = from.len() as i32;
    }
    header.controllen = used;
    header.flags = message.flags | truncated | (flags & MSG_CMSG_CLOEXEC);
    cx.memory().put(UserOut::new(at), &header)?;
    Ok(message.len)
}

/// `recvmsg(2)`.
pub async fn recvmsg(
    cx: &CurrentTask,
    fd: Fd,
    message: UserOut<Msghdr>,
    flags: i32,
) -> SysResult<usize> {
    let file = socket_file(cx, fd)?;
    let until = deadline(&file, false);
    receive_message(cx, &file, message.addr(), flags, until).await
}

/// `recvmmsg(2)`: the timeout is looked at between messages, as in Linux.
pub async fn recvmmsg(
    cx: &CurrentTask,
    fd: Fd,
    messages: UserIn<Mmsghdr>,
    count: u32,
    flags: i32,
    timeout: UserIn<Timespec>,
) -> SysResult<usize> {
    let file = socket_file(cx, fd)?;
    let limit = match cx.memory().get_opt(timeout)? {
        None => None,
        Some(limit) => time::after(limit.to_ns().ok_or(Errno::EINVAL)?),
    };
    let until = deadline(&file, false);
    let mut received = 0;
    let mut now_flags = flags & !MSG_WAITFORONE;
    for index in 0..(count as usize).min(IOV_MAX) {
        let element = messages.index(index as u64);
        let step = receive_message(cx, &file, element.addr(), now_flags, until).await;
        match step.and_then(|n| Ok(cx.memory().put(length_of(element), &(n as u32))?)) {
            Ok(()) => received += 1,
            Err(_) if received > 0 => break,
            Err(error) => return Err(error),
        }
        if flags & MSG_WAITFORONE != 0 {
            now_flags |= MSG_DONTWAIT;
        }
        if limit.is_some_and(|at| Instant::now() >= at) {
            break;
        }
    }
    Ok(received)
}
