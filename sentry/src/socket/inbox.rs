//! What has arrived at a socket and has not been read.
//!
//! Bytes count against the sender's buffer size until they are read; each packet counts [`OVERHEAD`] more, so that empty ones are bounded too.

use std::collections::VecDeque;

use super::ControlMessage;
use super::SockAddr;
use super::in_flight::InFlight;
use super::unix::Identity;
use crate::error::Errno;
use crate::wait::WaitQueue;

/// What a packet costs besides its bytes.
pub const OVERHEAD: usize = 256;
/// Bytes written to a stream are joined up to this size.
const JOIN: usize = 64 * 1024;

/// No more data will come in (`RCV_SHUTDOWN`).
pub const RECEIVE: u8 = 1;
/// No more data can be sent (`SEND_SHUTDOWN`).
pub const SEND: u8 = 2;
/// Both.
pub const BOTH: u8 = 3;

/// One message, or a piece of a stream.
#[derive(Default)]
pub struct Packet {
    pub(super) data: Vec<u8>,
    pub(super) start: usize,
    /// Who sent it, if that has a name.
    pub from: Option<SockAddr>,
    /// The sender's identity (SCM_CREDENTIALS), for Unix sockets.
    pub identity: Option<Identity>,
    /// Descriptors that go with its first byte.
    pub files: InFlight,
    /// Control messages that came with it.
    pub control: Vec<ControlMessage>,
}

impl Packet {
    /// With these bytes.
    #[must_use]
    pub fn new(data: Vec<u8>) -> Self {
        Self {
            data,
            ..Self::default()
        }
    }
    /// The unread bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.start..]
    }
    fn cost(&self) -> usize {
        self.bytes().len() + OVERHEAD
    }
    /// A piece of a stream from its sender, empty yet.
    fn as_piece(&self) -> Piece {
        Piece {
            from: self.from.clone(),
            identity: self.identity.clone(),
            ..Piece::default()
        }
    }
}

/// See the module.
#[derive(Default)]
pub struct Inbox {
    packets: VecDeque<Packet>,
    used: usize,
    /// [`RECEIVE`], [`SEND`].
    pub shutdown: u8,
    /// Told once, by a read that finds nothing or by SO_ERROR.
    pub error: Option<Errno>,
    /// The socket is gone.
    pub closed: bool,
    /// Senders that wait for room here.
    pub blocked: Vec<WaitQueue>,
}

/// What [`Inbox::take_stream`] gives.
#[derive(Default)]
pub struct Piece {
    /// Bytes, in order.
    pub chunks: Vec<Vec<u8>>,
    /// Their sender's address, if it has one.
    pub from: Option<SockAddr>,
    /// Their sender's identity.
    pub identity: Option<Identity>,
    /// Descriptors that came with them.
    pub files: InFlight,
}

impl Inbox {
    /// Cost of all that is unread.
    #[must_use]
    pub const fn used(&self) -> usize {
        self.used
    }
    /// How many packets are unread.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.len()
    }
    /// Whether nothing is unread.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
    /// Unread bytes of a stream.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.packets.iter().map(|p| p.bytes().len()).sum()
    }
    /// The next packet.
    #[must_use]
    pub fn front(&self) -> Option<&Packet> {
        self.packets.front()
    }
    /// Adds a packet.
    pub fn push(&mut self, packet: Packet) {
        self.used += packet.cost();
        self.packets.push_back(packet);
    }
    /// Adds bytes of a stream, joined to the last piece if nothing separates them.
    pub fn push_stream(&mut self, mut packet: Packet) {
        if let Some(last) = self.packets.back_mut()
            && packet.files.is_empty()
            && last.files.is_empty()
            && last.identity == packet.identity
            && last.data.len() + packet.data.len() <= JOIN
        {
            self.used += packet.data.len();
            last.data.append(&mut packet.data);
            return;
        }
        self.push(packet);
    }
    /// Takes the next packet out.
    pub fn pop(&mut self) -> Option<Packet> {
        let packet = self.packets.pop_front()?;
        self.used -= packet.cost();
        Some(packet)
    }
    /// Takes up to `want` bytes of a stream; stops before a piece from somebody else (if `by_sender`) and around one with descriptors.
    pub fn take_stream(&mut self, want: usize, by_sender: bool) -> Option<Piece> {
        let mut piece = self.packets.front()?.as_piece();
        let mut left = want;
        while left > 0
            && let Some(front) = self.packets.front_mut()
        {
            let other_sender = by_sender && front.identity != piece.identity;
            if !piece.chunks.is_empty() && (other_sender || !front.files.is_empty()) {
                break;
            }
            piece.files = std::mem::take(&mut front.files);
            let available = front.bytes().len();
            if available <= left {
                left -= available;
                if let Some(mut whole) = self.pop() {
                    whole.data.drain(..whole.start);
                    piece.chunks.push(whole.data);
                }
            } else {
                piece.chunks.push(front.bytes()[..left].to_vec());
                front.start += left;
                self.used -= left;
                left = 0;
            }
            if !piece.files.is_empty() {
                break;
            }
        }
        Some(piece)
    }
    /// As [`Inbox::take_stream`], but leaves everything in place.
    #[must_use]
    pub fn peek_stream(&self, want: usize, by_sender: bool) -> Option<Piece> {
        let mut piece = self.packets.front()?.as_piece();
        let mut left = want;
        for packet in &self.packets {
            let other_sender = by_sender && packet.identity != piece.identity;
            if left == 0 || (!piece.chunks.is_empty() && (other_sender || !packet.files.is_empty()))
            {
                break;
            }
            let n = packet.bytes().len().min(left);
            piece.chunks.push(packet.bytes()[..n].to_vec());
            left -= n;
            if !packet.files.is_empty() {
                piece.files = packet.files.share();
                break;
            }
        }
        Some(piece)
    }
    /// Puts bytes back that could not be delivered.
    pub fn unread(&mut self, bytes: Vec<u8>, from: Option<SockAddr>, identity: Option<Identity>) {
        if bytes.is_empty() {
            return;
        }
        let packet = Packet {
            from,
            identity,
            ..Packet::new(bytes)
        };
        self.used += packet.cost();
        self.packets.push_front(packet);
    }
    /// Takes everything out (close).
    pub fn take_all(&mut self) -> VecDeque<Packet> {
        self.used = 0;
        std::mem::take(&mut self.packets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(piece: Option<Piece>) -> Vec<u8> {
        piece.map(|p| p.chunks.concat()).unwrap_or_default()
    }

    #[test]
    fn streams_join_and_split_and_account_for_every_byte() {
        let mut inbox = Inbox::default();
        inbox.push_stream(Packet::new(b"hello ".to_vec()));
        inbox.push_stream(Packet::new(b"world".to_vec()));
        assert_eq!((inbox.len(), inbox.bytes()), (1, 11));
        assert_eq!(all(inbox.peek_stream(4, false)), b"hell");
        assert_eq!(all(inbox.take_stream(4, false)), b"hell");
        inbox.unread(b"ll".to_vec(), None, None);
        assert_eq!(all(inbox.take_stream(100, false)), b"llo world");
        assert_eq!((inbox.used(), inbox.len()), (0, 0));
        assert!(inbox.take_stream(1, false).is_none());
    }

    #[test]
    fn packets_keep_their_boundaries() {
        let mut inbox = Inbox::default();
        inbox.push(Packet::new(vec![]));
        inbox.push(Packet::new(vec![1]));
        assert_eq!(inbox.used(), 2 * OVERHEAD + 1);
        assert!(inbox.pop().unwrap().bytes().is_empty());
        assert_eq!(inbox.pop().unwrap().bytes(), [1]);
        assert_eq!(inbox.used(), 0);
    }
}
