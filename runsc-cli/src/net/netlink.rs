//! A small netlink client (`netlink(7)`): requests with an acknowledgement, dumps, batches. What the kernel sends is parsed with care all the same.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// NLM_F_REQUEST.
pub const REQUEST: u16 = 1;
/// NLM_F_ACK.
pub const ACK: u16 = 4;
/// NLM_F_ROOT and NLM_F_MATCH.
pub const DUMP: u16 = 0x300;
/// NLM_F_EXCL and NLM_F_CREATE.
pub const CREATE: u16 = 0x600;
/// NLM_F_APPEND.
pub const APPEND: u16 = 0x800;
/// NLA_F_NESTED.
const NESTED: u16 = 0x8000;

/// A message in the making.
#[derive(Clone, Debug)]
pub struct Message(Vec<u8>);

impl Message {
    /// A message with the family's own header `body`.
    #[must_use]
    pub fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        Self(bytes)
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, kind: u16, data: &[u8]) -> Self {
        attribute(&mut self.0, kind, data);
        self
    }

    /// Adds attributes within an attribute.
    #[must_use]
    pub fn nest(self, kind: u16, inner: &Attributes) -> Self {
        self.with(kind | NESTED, &inner.0)
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

fn attribute(bytes: &mut Vec<u8>, kind: u16, data: &[u8]) {
    let len = u16::try_from(4 + data.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&len.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Attributes to be nested.
#[derive(Clone, Debug, Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, kind: u16, data: &[u8]) -> Self {
        attribute(&mut self.0, kind, data);
        self
    }

    /// Adds attributes within an attribute.
    #[must_use]
    pub fn nest(self, kind: u16, inner: &Self) -> Self {
        self.with(kind | NESTED, &inner.0)
    }

    /// Adds bytes that are no attribute (`VETH_INFO_PEER` begins with a header).
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// The attributes in `bytes`, as kind and data; ends where they are not sound.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let data = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, data))
    })
}

/// A netlink socket.
#[derive(Debug)]
pub struct Netlink {
    fd: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// A socket of this family in the calling thread's network namespace.
    pub fn new(family: SockProtocol) -> Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            family,
        )?;
        Ok(Self { fd, sequence: 0 })
    }

    fn receive(&self) -> Result<Vec<u8>> {
        let mut buf = vec![0; 1 << 16];
        let len = loop {
            match recv(self.fd.as_raw_fd(), &mut buf, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                other => break other?,
            }
        };
        buf.truncate(len);
        Ok(buf)
    }

    /// Calls `each` with kind and body of every message of an answer until `last`; a refusal is an error.
    fn answers(&self, last: u32, mut each: impl FnMut(u16, &[u8])) -> Result<()> {
        loop {
            let bytes = self.receive()?;
            let mut rest = bytes.as_slice();
            while let Some(head) = rest.first_chunk::<HEADER>() {
                let word = |at: usize| {
                    u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
                };
                let len = word(0) as usize;
                let Some(body) = rest.get(HEADER..len) else {
                    bail!("the host's kernel sent a malformed answer");
                };
                let kind = u16::from_ne_bytes([head[4], head[5]]);
                let errno = body
                    .first_chunk::<4>()
                    .map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                match kind {
                    ERROR | DONE if errno < 0 => return Err(Errno::from_raw(-errno).into()),
                    ERROR | DONE if word(8) == last => return Ok(()),
                    ERROR | DONE => {}
                    kind => each(kind, body),
                }
                rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    /// Sends a request and waits until it is done.
    pub fn request(&mut self, message: Message) -> Result<()> {
        self.batch(vec![message], false)
    }

    /// Sends messages at once and waits until they are done. `framed`: the first and last are begin and end of a batch, which are not acknowledged.
    pub fn batch(&mut self, messages: Vec<Message>, framed: bool) -> Result<()> {
        let mut bytes = Vec::new();
        let count = messages.len();
        let mut last = 0;
        for (at, mut message) in messages.into_iter().enumerate() {
            self.sequence += 1;
            if !framed || (at > 0 && at + 1 < count) {
                let flags = u16::from_ne_bytes([message.0[6], message.0[7]]) | ACK;
                message.0[6..8].copy_from_slice(&flags.to_ne_bytes());
                last = self.sequence;
            }
            bytes.extend(message.finish(self.sequence));
        }
        send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty())?;
        self.answers(last, |_, _| {})
    }

    /// Asks for everything of a kind; `each` gets the body of each message.
    pub fn dump(&mut self, kind: u16, body: &[u8], mut each: impl FnMut(&[u8])) -> Result<()> {
        self.sequence += 1;
        let bytes = Message::new(kind, DUMP, body).finish(self.sequence);
        send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty())?;
        self.answers(self.sequence, |_, body| each(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_again_and_broken_ones_end_the_search() {
        let inner = Attributes::default().with(1, b"abc").with(2, &[]);
        let message = Message::new(16, 0, &[0; 16]).nest(5, &inner).finish(9);
        assert_eq!(message.len() % 4, 0);
        let outer: Vec<_> = attributes(&message[HEADER + 16..]).collect();
        assert_eq!(outer.len(), 1);
        let found: Vec<_> = attributes(outer[0].1).collect();
        assert_eq!(found, [(1, &b"abc"[..]), (2, &b""[..])]);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[255, 255, 1, 0]).count(), 0);
    }
}
