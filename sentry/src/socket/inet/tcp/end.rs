//! One end of a byte stream: what it has received, what its guest holds back, and who waits for it.

use std::ops::{Deref, DerefMut};

use abi::socket::{MSG_PEEK, MSG_TRUNC};
use parking_lot::Mutex;

use crate::error::{Errno, Result};
use crate::socket::Message;
use crate::socket::inbox::{BOTH, Inbox, OVERHEAD, Packet, RECEIVE, SEND};
use crate::vfs::{Sink, Source};
use crate::wait::{Events, WaitQueue};

/// Most bytes that one call moves before it looks for room again.
const PIECE: usize = 64 * 1024;

/// The byte that MSG_OOB sent last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Urgent {
    /// Its place in the stream, counted from the connection's beginning.
    at: u64,
    byte: u8,
    /// MSG_OOB has read it.
    read: bool,
}

/// What one end knows; in part its peer writes it.
#[derive(Default)]
pub(super) struct Side {
    inbox: Inbox,
    /// Bytes that came in since the beginning, bytes read.
    pub(super) received: u64,
    pub(super) taken: u64,
    /// Bytes and pieces sent, pieces received.
    pub(super) sent: u64,
    pub(super) pieces_out: u32,
    pub(super) pieces_in: u32,
    urgent: Option<Urgent>,
    /// Sent by the guest, but held back for more (TCP_CORK, MSG_MORE).
    pub(super) held: Vec<u8>,
    /// The peer has ended the connection by a reset.
    pub(super) reset: bool,
    /// This end was the first to send its FIN.
    pub(super) first_to_close: bool,
}

impl Deref for Side {
    type Target = Inbox;
    fn deref(&self) -> &Inbox {
        &self.inbox
    }
}

impl DerefMut for Side {
    fn deref_mut(&mut self) -> &mut Inbox {
        &mut self.inbox
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct End {
    pub(super) side: Mutex<Side>,
    pub(super) queue: WaitQueue,
}

/// Everything that may change for those who wait.
pub(super) const ALL_EVENTS: Events = Events::all();

impl Side {
    /// Bytes that a read would find, without an urgent one that reads pass over.
    pub(super) fn readable(&self, inline: bool) -> u64 {
        let all = self.received - self.taken;
        let skipped = self
            .urgent
            .is_some_and(|urgent| !inline && urgent.at == self.taken && all > 0);
        all - u64::from(skipped)
    }

    /// Whether reading has come to the urgent byte (SIOCATMARK).
    pub(super) fn at_mark(&self) -> bool {
        self.urgent.is_some_and(|urgent| urgent.at == self.taken)
    }

    /// Whether there is an urgent byte to read (POLLPRI).
    pub(super) fn has_urgent(&self) -> bool {
        self.urgent.is_some_and(|urgent| !urgent.read)
    }

    /// MSG_OOB: the urgent byte. `EINVAL` if there is none, or if it is part of the stream.
    pub(super) fn take_urgent(&mut self, inline: bool, peek: bool) -> Result<u8> {
        let urgent = self
            .urgent
            .as_mut()
            .filter(|urgent| !urgent.read && !inline);
        let urgent = urgent.ok_or(Errno::EINVAL)?;
        urgent.read |= !peek;
        Ok(urgent.byte)
    }

    /// How many bytes one read may take: it stops at the urgent byte, and passes over it unless it is `inline`.
    fn reach(&mut self, want: usize, inline: bool, peek: bool) -> usize {
        let Some(urgent) = self.urgent else {
            return want;
        };
        if urgent.at > self.taken {
            let before = usize::try_from(urgent.at - self.taken).unwrap_or(usize::MAX);
            return want.min(before);
        }
        if !peek && self.received > self.taken {
            self.urgent = None;
            if !inline {
                self.inbox.take_stream(1, false);
                self.taken += 1;
            }
        }
        want
    }

    /// Bytes from the peer.
    fn arrive(&mut self, bytes: Vec<u8>, urgent: bool) {
        let len = bytes.len() as u64;
        if urgent && let Some(byte) = bytes.last() {
            self.urgent = Some(Urgent {
                at: self.received + len - 1,
                byte: *byte,
                read: false,
            });
        }
        self.received += len;
        self.pieces_in = self.pieces_in.wrapping_add(1);
        self.inbox.push_stream(Packet::new(bytes));
    }
}

impl End {
    /// Whether this end may send: what is to be told, or `EPIPE`.
    pub(super) fn check_send(&self) -> Result<()> {
        let mut side = self.side.lock();
        if let Some(error) = side.error.take() {
            return Err(error);
        }
        if side.shutdown & SEND != 0 {
            return Err(Errno::EPIPE);
        }
        Ok(())
    }

    /// Room in `peer`, whose buffer has `capacity`; `None`: it is gone.
    fn room_in(peer: &Self, capacity: usize) -> Option<usize> {
        let side = peer.side.lock();
        (!side.closed).then(|| capacity.saturating_sub(side.used() + OVERHEAD))
    }

    /// Sends what fits into `peer`. To a peer that is gone the first bytes vanish, as they would in flight; then `EPIPE`.
    pub(super) fn send(
        &self,
        peer: &Self,
        src: &mut dyn Source,
        capacity: usize,
        urgent: bool,
    ) -> Result<usize> {
        self.check_send()?;
        let Some(room) = Self::room_in(peer, capacity) else {
            let n = src.take_vec(PIECE)?.len();
            self.peer_is_gone();
            return Ok(n);
        };
        if src.remaining() == 0 {
            return Ok(0);
        }
        if room == 0 {
            return Err(Errno::EAGAIN);
        }
        let want = room.min(PIECE).min(src.remaining());
        let bytes = src.take_vec(want)?;
        if bytes.len() < want {
            return Err(Errno::EFAULT);
        }
        let urgent = urgent && src.remaining() == 0;
        self.push(peer, bytes, urgent);
        Ok(want)
    }

    /// Sends what was held back, as far as there is room. True: nothing is left.
    pub(super) fn flush(&self, peer: &Self, capacity: usize) -> bool {
        let held = std::mem::take(&mut self.side.lock().held);
        if held.is_empty() {
            return true;
        }
        let Some(room) = Self::room_in(peer, capacity) else {
            self.peer_is_gone();
            return true;
        };
        let mut now = held;
        let later = now.split_off(room.min(now.len()));
        if !now.is_empty() {
            self.push(peer, now, false);
        }
        let done = later.is_empty();
        if !done {
            let mut side = self.side.lock();
            let newer = std::mem::replace(&mut side.held, later);
            side.held.extend_from_slice(&newer);
        }
        done
    }

    fn push(&self, peer: &Self, bytes: Vec<u8>, urgent: bool) {
        {
            let mut side = self.side.lock();
            side.sent += bytes.len() as u64;
            side.pieces_out = side.pieces_out.wrapping_add(1);
        }
        {
            let mut side = peer.side.lock();
            if !side.closed && side.shutdown & RECEIVE == 0 {
                side.arrive(bytes, urgent);
            }
        }
        let mut events = Events::IN | Events::RDNORM;
        if urgent {
            events |= Events::PRI;
        }
        peer.queue.notify(events);
    }

    /// What was sent was answered by a reset.
    fn peer_is_gone(&self) {
        {
            let mut side = self.side.lock();
            side.error = Some(Errno::EPIPE);
            side.shutdown = BOTH;
            side.reset = true;
        }
        self.queue.notify(ALL_EVENTS);
    }

    /// Receives what is there. The caller tells the peer that there is room again if `Ok`.
    pub(super) fn receive(
        &self,
        dst: &mut dyn Sink,
        flags: i32,
        inline: bool,
        least: usize,
    ) -> Result<Message> {
        let peek = flags & MSG_PEEK != 0;
        let piece = {
            let mut side = self.side.lock();
            let over = side.shutdown & RECEIVE != 0 || side.error.is_some();
            if !over && side.readable(inline) < least.min(dst.remaining()) as u64 {
                return Err(Errno::EAGAIN);
            }
            let want = side.reach(dst.remaining(), inline, peek);
            let piece = if peek {
                side.peek_stream(want, false)
            } else {
                side.take_stream(want, false)
            };
            match piece {
                Some(piece) => {
                    if !peek {
                        side.taken += piece.chunks.iter().map(|c| c.len() as u64).sum::<u64>();
                    }
                    piece
                }
                None => {
                    if let Some(error) = side.error.take() {
                        return Err(error);
                    }
                    return if side.shutdown & RECEIVE != 0 {
                        Ok(Message::default())
                    } else {
                        Err(Errno::EAGAIN)
                    };
                }
            }
        };
        let bytes = match <[Vec<u8>; 1]>::try_from(piece.chunks) {
            Ok([bytes]) => bytes,
            Err(chunks) => chunks.concat(),
        };
        if flags & MSG_TRUNC != 0 {
            // Throws the bytes away (tcp(7)).
            return Ok(Message {
                len: bytes.len(),
                ..Message::default()
            });
        }
        let stored = dst.put(&bytes);
        let len = *stored.as_ref().unwrap_or(&0);
        if len < bytes.len() && !peek {
            let mut side = self.side.lock();
            side.taken -= (bytes.len() - len) as u64;
            side.unread(bytes[len..].to_vec(), None, None);
        }
        stored?;
        Ok(Message {
            len,
            ..Message::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::{KernelSink, KernelSource};

    fn read(end: &End, inline: bool) -> Result<Vec<u8>> {
        let mut sink = KernelSink::new(100);
        end.receive(&mut sink, 0, inline, 1)?;
        Ok(sink.into_bytes())
    }

    #[test]
    fn reads_stop_at_the_urgent_byte_and_pass_over_it() {
        let (a, b) = (End::default(), End::default());
        a.send(&b, &mut KernelSource(b"ab!"), 1000, true).unwrap();
        a.send(&b, &mut KernelSource(b"cd"), 1000, false).unwrap();
        assert!(b.side.lock().has_urgent());
        assert_eq!(read(&b, false).unwrap(), b"ab");
        assert!(b.side.lock().at_mark());
        assert_eq!(b.side.lock().take_urgent(false, false), Ok(b'!'));
        assert_eq!(read(&b, false).unwrap(), b"cd");
        assert!(!b.side.lock().at_mark());
        assert_eq!(read(&b, false), Err(Errno::EAGAIN));
    }

    #[test]
    fn what_is_held_back_goes_as_there_is_room() {
        let (a, b) = (End::default(), End::default());
        a.side.lock().held = vec![7; 1000];
        assert!(!a.flush(&b, OVERHEAD + 600));
        assert_eq!(read(&b, false).unwrap().len(), 100);
        assert!(a.flush(&b, 10_000));
        assert_eq!(b.side.lock().received, 1000);
    }
}
