//! Frames on the control socket: a fixed header, a JSON body, descriptors by SCM_RIGHTS with the header.
//!
//! Both ends are hostile to each other: sizes and descriptor counts are bounded before anything is allocated, and descriptors that nobody asked
//! for are closed. Blocking in both directions: the commands just wait, the sentry uses [`Assembler`], which never waits.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host;

/// Largest body: a container's configuration with a big environment and seccomp profile stays far below.
pub const MAX_BODY: usize = 16 << 20;
/// Most descriptors with one frame (SCM_MAX_FD is 253).
pub const MAX_FDS: usize = 250;
/// First bytes of each frame.
const MAGIC: u32 = 0x7275_6e73;
/// Bytes of the header: magic, body length, descriptor count.
const HEADER: usize = 12;

/// A received frame.
#[derive(Debug)]
pub struct Frame {
    /// JSON.
    pub body: Vec<u8>,
    /// Descriptors.
    pub fds: Vec<OwnedFd>,
}

impl Frame {
    /// Parses the body.
    pub fn parse<T: DeserializeOwned>(&self) -> io::Result<T> {
        serde_json::from_slice(&self.body)
            .map_err(|error| invalid(&format!("malformed message: {error}")))
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Header and body of a message.
pub fn encode<T: Serialize>(message: &T, fds: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEADER];
    serde_json::to_writer(&mut bytes, message).map_err(|error| invalid(&error.to_string()))?;
    let length = bytes.len() - HEADER;
    if length > MAX_BODY || fds > MAX_FDS {
        return Err(invalid(
            "the message is too large for the sandbox's control socket",
        ));
    }
    let field = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[4..8].copy_from_slice(&field(length));
    bytes[8..12].copy_from_slice(&field(fds));
    Ok(bytes)
}

/// Sends a message, waiting as long as it takes.
pub fn send<T: Serialize>(
    mut stream: &UnixStream,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = encode(message, fds.len())?;
    let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    // Descriptors go with the header alone, so that the receiver has them before the body.
    let sent = loop {
        match sendmsg::<()>(
            stream.as_raw_fd(),
            &[IoSlice::new(&bytes[..HEADER])],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Err(nix::errno::Errno::EINTR) => {}
            other => break other?,
        }
    };
    stream.write_all(&bytes[sent..])
}

/// Receives a message, waiting as long as it takes. `None` at the end of the stream.
pub fn receive(stream: &UnixStream) -> io::Result<Option<Frame>> {
    let mut assembler = Assembler::default();
    loop {
        match assembler.feed(stream, false)? {
            Fed::Frame(frame) => return Ok(Some(frame)),
            Fed::More => {}
            Fed::End if assembler.is_idle() => return Ok(None),
            Fed::End => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// What a read brought.
#[derive(Debug)]
pub enum Fed {
    /// A whole frame.
    Frame(Frame),
    /// Not yet (or nothing to read now).
    More,
    /// The other side closed.
    End,
}

/// Puts frames together from what arrives.
#[derive(Debug, Default)]
pub struct Assembler {
    header: Vec<u8>,
    body: Vec<u8>,
    wanted: usize,
    fds: Vec<OwnedFd>,
}

impl Assembler {
    /// Nothing of a frame has been read yet.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.header.is_empty()
    }

    /// Reads once, without waiting if `poll_only`. A protocol violation is an error: close the connection.
    pub fn feed(&mut self, stream: &UnixStream, poll_only: bool) -> io::Result<Fed> {
        let flags = if poll_only {
            MsgFlags::MSG_DONTWAIT
        } else {
            MsgFlags::empty()
        };
        let fed = if self.header.len() < HEADER {
            self.feed_header(stream, flags)
        } else {
            self.feed_body(stream, flags)
        };
        match fed {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(Fed::More)
            }
            other => other,
        }
    }

    fn feed_header(&mut self, stream: &UnixStream, flags: MsgFlags) -> io::Result<Fed> {
        let mut buffer = [0u8; HEADER];
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; MAX_FDS]);
        let missing = HEADER - self.header.len();
        let (count, truncated, fds) = {
            let mut slices = [IoSliceMut::new(&mut buffer[..missing])];
            let message = recvmsg::<()>(
                stream.as_raw_fd(),
                &mut slices,
                Some(&mut space),
                flags | MsgFlags::MSG_CMSG_CLOEXEC,
            )?;
            let mut fds = Vec::new();
            for control in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(list) = control {
                    fds.extend(host::received(list));
                }
            }
            (
                message.bytes,
                message.flags.contains(MsgFlags::MSG_CTRUNC),
                fds,
            )
        };
        if count == 0 {
            return Ok(Fed::End);
        }
        self.fds.extend(fds);
        if truncated || self.fds.len() > MAX_FDS {
            return Err(invalid("too many descriptors with one message"));
        }
        self.header.extend_from_slice(&buffer[..count]);
        if self.header.len() < HEADER {
            return Ok(Fed::More);
        }
        let field = |at: usize| {
            u32::from_le_bytes([
                self.header[at],
                self.header[at + 1],
                self.header[at + 2],
                self.header[at + 3],
            ])
        };
        let (magic, length, count) = (field(0), field(4) as usize, field(8) as usize);
        if magic != MAGIC || length > MAX_BODY || length == 0 || count != self.fds.len() {
            return Err(invalid("malformed message header"));
        }
        self.wanted = length;
        Ok(Fed::More)
    }

    fn feed_body(&mut self, mut stream: &UnixStream, flags: MsgFlags) -> io::Result<Fed> {
        let mut buffer = [0u8; 16 << 10];
        let missing = (self.wanted - self.body.len()).min(buffer.len());
        // recvmsg rather than read: MSG_DONTWAIT. Descriptors cannot arrive here, since there is no room given for them.
        let count = if flags.is_empty() {
            stream.read(&mut buffer[..missing])?
        } else {
            nix::sys::socket::recv(stream.as_raw_fd(), &mut buffer[..missing], flags)?
        };
        if count == 0 {
            return Ok(Fed::End);
        }
        self.body.extend_from_slice(&buffer[..count]);
        if self.body.len() < self.wanted {
            return Ok(Fed::More);
        }
        let done = std::mem::take(self);
        Ok(Fed::Frame(Frame {
            body: done.body,
            fds: done.fds,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn frames_carry_descriptors() {
        let (a, b) = UnixStream::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        send(&a, &vec!["x"; 3], &[null.as_fd(), null.as_fd()]).unwrap();
        send(&a, &7, &[]).unwrap();
        let frame = receive(&b).unwrap().unwrap();
        assert_eq!(frame.fds.len(), 2);
        assert_eq!(frame.parse::<Vec<String>>().unwrap(), ["x", "x", "x"]);
        assert_eq!(receive(&b).unwrap().unwrap().parse::<u32>().unwrap(), 7);
        drop(a);
        assert!(receive(&b).unwrap().is_none());
    }

    #[test]
    fn hostile_headers_are_refused() {
        let attempt = |bytes: &[u8]| {
            let (mut a, b) = UnixStream::pair().unwrap();
            a.write_all(bytes).unwrap();
            drop(a);
            receive(&b)
        };
        let mut good = encode(&1, 0).unwrap();
        assert!(attempt(&good).unwrap().is_some());
        good[8] = 1; // a descriptor that is not there
        assert!(attempt(&good).is_err());
        let mut huge = encode(&1, 0).unwrap();
        huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(attempt(&huge).is_err());
        assert!(attempt(b"GET / HTTP/1.1\r\n").is_err());
        assert!(attempt(&encode(&1, 0).unwrap()[..12]).is_err());
    }
}
