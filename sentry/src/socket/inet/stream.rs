//! One end of a byte stream: what it has received and who waits for it.

use abi::socket::{MSG_PEEK, MSG_TRUNC};
use parking_lot::Mutex;

use crate::error::{Errno, Result};
use crate::socket::Message;
use crate::socket::inbox::{BOTH, Inbox, OVERHEAD, Packet, RECEIVE, SEND};
use crate::vfs::{Sink, Source};
use crate::wait::{Events, WaitQueue};

/// Most bytes that one call moves before it looks for room again.
const PIECE: usize = 64 * 1024;

/// See the module.
#[derive(Default)]
pub(super) struct End {
    pub(super) inbox: Mutex<Inbox>,
    pub(super) queue: WaitQueue,
}

/// Everything that may change for those who wait.
pub(super) const ALL_EVENTS: Events = Events::all();

impl End {
    /// Sends what fits into `peer` with a buffer of `capacity`. To a peer that is gone the first bytes vanish, as they would in flight; then `EPIPE`.
    pub(super) fn send(&self, peer: &Self, src: &mut dyn Source, capacity: usize) -> Result<usize> {
        {
            let mut inbox = self.inbox.lock();
            if let Some(error) = inbox.error.take() {
                return Err(error);
            }
            if inbox.shutdown & SEND != 0 {
                return Err(Errno::EPIPE);
            }
        }
        let (used, closed) = {
            let inbox = peer.inbox.lock();
            (inbox.used(), inbox.closed)
        };
        if closed {
            let n = src.take_vec(PIECE)?.len();
            {
                let mut inbox = self.inbox.lock();
                inbox.error = Some(Errno::EPIPE);
                inbox.shutdown = BOTH;
            }
            self.queue.notify(ALL_EVENTS);
            return Ok(n);
        }
        if src.remaining() == 0 {
            return Ok(0);
        }
        let room = capacity.saturating_sub(used + OVERHEAD);
        if room == 0 {
            return Err(Errno::EAGAIN);
        }
        let bytes = src.take_vec(room.min(PIECE))?;
        let n = bytes.len();
        {
            let mut inbox = peer.inbox.lock();
            if !inbox.closed && inbox.shutdown & RECEIVE == 0 {
                inbox.push_stream(Packet::new(bytes));
            }
        }
        peer.queue.notify(Events::IN | Events::RDNORM);
        Ok(n)
    }

    /// Receives what is there. The caller tells the peer that there is room again if `Ok`.
    pub(super) fn receive(&self, dst: &mut dyn Sink, flags: i32) -> Result<Message> {
        let peek = flags & MSG_PEEK != 0;
        let want = dst.remaining();
        let piece = {
            let mut inbox = self.inbox.lock();
            let piece = if peek {
                inbox.peek_stream(want, false)
            } else {
                inbox.take_stream(want, false)
            };
            match piece {
                Some(piece) => piece,
                None => {
                    if let Some(error) = inbox.error.take() {
                        return Err(error);
                    }
                    return if inbox.shutdown & RECEIVE != 0 {
                        Ok(Message::default())
                    } else {
                        Err(Errno::EAGAIN)
                    };
                }
            }
        };
        let bytes = piece.chunks.concat();
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
            self.inbox.lock().unread(bytes[len..].to_vec(), None, None);
        }
        stored?;
        Ok(Message {
            len,
            ..Message::default()
        })
    }
}
