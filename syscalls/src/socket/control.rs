//! Control messages (`cmsg(3)`): from the guest's buffer to values and back.

use std::sync::Arc;

use abi::UserAddr;
use abi::socket::{Cmsghdr, MSG_CMSG_CLOEXEC, MSG_CTRUNC, SCM_MAX_FD, SCM_RIGHTS, SOL_SOCKET};
use sentry::error::{Errno, Result};
use sentry::socket::ControlMessage;
use sentry::task::CurrentTask;
use sentry::vfs::{Fd, File};
use zerocopy::{FromBytes, IntoBytes};

const HEADER: usize = size_of::<Cmsghdr>();
/// `net.core.optmem_max`.
const CONTROL_MAX: usize = 131_072;

const fn align(len: usize) -> usize {
    (len + 7) & !7
}

/// The messages of a send: descriptors are looked up, the rest is for the socket. `ENOBUFS` if there is too much, `EINVAL` if it is malformed.
pub(super) fn read(
    cx: &CurrentTask,
    addr: UserAddr,
    len: u64,
) -> Result<(Vec<ControlMessage>, Vec<Arc<File>>)> {
    let (mut messages, mut files) = (Vec::new(), Vec::new());
    if addr.is_null() || len < HEADER as u64 {
        return Ok((messages, files));
    }
    let len = usize::try_from(len)
        .ok()
        .filter(|len| *len <= CONTROL_MAX)
        .ok_or(Errno::ENOBUFS)?;
    let mut buffer = vec![0; len];
    cx.memory().read(addr, &mut buffer)?;
    for message in parse(&buffer)? {
        if (message.level, message.kind) == (SOL_SOCKET, SCM_RIGHTS) {
            let numbers = message.data.chunks_exact(4);
            if files.len() + numbers.len() > SCM_MAX_FD {
                return Err(Errno::EINVAL);
            }
            for number in numbers {
                let number = i32::read_from_bytes(number).map_err(|_| Errno::EINVAL)?;
                files.push(cx.files().get(Fd(number))?);
            }
        } else {
            messages.push(message);
        }
    }
    Ok((messages, files))
}

/// Cuts a buffer into messages: `EINVAL` if a length makes no sense.
fn parse(buffer: &[u8]) -> Result<Vec<ControlMessage>> {
    let mut messages = Vec::new();
    let mut rest = buffer;
    while rest.len() >= HEADER {
        let (header, _) = Cmsghdr::read_from_prefix(rest).map_err(|_| Errno::EINVAL)?;
        let len = usize::try_from(header.len).map_err(|_| Errno::EINVAL)?;
        if len < HEADER || len > rest.len() {
            return Err(Errno::EINVAL);
        }
        messages.push(ControlMessage {
            level: header.level,
            kind: header.kind,
            data: rest[HEADER..len].to_vec(),
        });
        rest = rest.get(align(len)..).unwrap_or_default();
    }
    Ok(messages)
}

/// Writes messages and descriptors into the guest's buffer of `room` bytes. Returns the bytes used and MSG_CTRUNC if something had no room. What finds
/// no room, or no free descriptor, is dropped.
pub(super) fn write(
    cx: &CurrentTask,
    addr: UserAddr,
    room: u64,
    messages: &[ControlMessage],
    files: Vec<Arc<File>>,
    flags: i32,
) -> Result<(u64, i32)> {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let mut out = Vec::new();
    let mut truncated = 0;
    for message in messages {
        append(&mut out, room, message, &mut truncated);
    }
    if !files.is_empty() {
        let fit = room.saturating_sub(out.len()).saturating_sub(HEADER) / 4;
        let wanted = files.len();
        let mut numbers = Vec::new();
        for file in files.into_iter().take(fit) {
            match cx.install(file, flags & MSG_CMSG_CLOEXEC != 0) {
                Ok(fd) => numbers.extend_from_slice(&fd.0.to_ne_bytes()),
                Err(_) => break,
            }
        }
        if numbers.len() / 4 < wanted {
            truncated = MSG_CTRUNC;
        }
        if !numbers.is_empty() {
            let message = ControlMessage {
                level: SOL_SOCKET,
                kind: SCM_RIGHTS,
                data: numbers,
            };
            append(&mut out, room, &message, &mut truncated);
        }
    }
    cx.memory().write(addr, &out)?;
    Ok((out.len() as u64, truncated))
}

fn append(out: &mut Vec<u8>, room: usize, message: &ControlMessage, truncated: &mut i32) {
    let left = room.saturating_sub(out.len());
    if left < HEADER {
        *truncated = MSG_CTRUNC;
        return;
    }
    let whole = HEADER + message.data.len();
    let len = whole.min(left);
    if len < whole {
        *truncated = MSG_CTRUNC;
    }
    let header = Cmsghdr {
        len: len as u64,
        level: message.level,
        kind: message.kind,
    };
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&message.data[..len - HEADER]);
    let padded = align(out.len()).min(room);
    out.resize(padded, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(data: &[u8]) -> ControlMessage {
        ControlMessage {
            level: 1,
            kind: 2,
            data: data.to_vec(),
        }
    }

    #[test]
    fn messages_survive_the_round_trip() {
        let (mut out, mut truncated) = (Vec::new(), 0);
        append(&mut out, 100, &message(b"abc"), &mut truncated);
        append(&mut out, 100, &message(b"12345678"), &mut truncated);
        assert_eq!((out.len(), truncated), (24 + 24, 0));
        let back = parse(&out).unwrap();
        assert_eq!(back[0].data, b"abc");
        assert_eq!(back[1].data, b"12345678");
    }

    #[test]
    fn what_does_not_fit_is_cut_and_said() {
        let (mut out, mut truncated) = (Vec::new(), 0);
        append(&mut out, 18, &message(b"abc"), &mut truncated);
        assert_eq!((out.len(), truncated), (18, MSG_CTRUNC));
    }

    #[test]
    fn bad_lengths_are_refused() {
        for len in [0_u64, 15, 17, u64::MAX] {
            let header = Cmsghdr {
                len,
                level: 1,
                kind: 1,
            };
            assert!(parse(header.as_bytes()).is_err(), "{len}");
        }
    }
}
