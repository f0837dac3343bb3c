//! Sending and receiving.

use std::sync::Arc;

use abi::socket as so;

use super::{ALL_EVENTS, Identity, Kind, Link, UnixSocket, address};
use crate::error::{Errno, Result};
use crate::socket::in_flight::InFlight;
use crate::socket::inbox::{BOTH, OVERHEAD, Packet, RECEIVE, SEND};
use crate::socket::{ControlMessage, Message};
use crate::task::CurrentTask;
use crate::vfs::{Sink, Source};
use crate::wait::Events;
use zerocopy::IntoBytes;

/// `net.unix.max_dgram_qlen`: datagrams that wait at a receiver.
const MAX_QUEUED_DATAGRAMS: usize = 10;
/// Most bytes of a stream that one call moves before it looks for room again.
const PIECE: usize = 64 * 1024;

/// What goes with the bytes.
pub(super) struct Attachment {
    /// Who sends.
    pub(super) identity: Option<Identity>,
    /// Descriptors.
    pub(super) files: InFlight,
}

const READABLE: Events = Events::IN.union(Events::RDNORM);
const WRITABLE: Events = Events::OUT.union(Events::WRNORM);

impl UnixSocket {
    /// Room in the peer's inbox for a stream.
    pub(super) fn room(&self, used: usize) -> usize {
        self.options.lock().sndbuf.saturating_sub(used)
    }

    /// Sends what fits of a stream: `EAGAIN` if nothing does, `EPIPE` when nobody can receive it.
    pub(super) fn send_stream(
        &self,
        src: &mut dyn Source,
        attachment: impl FnOnce() -> Result<Attachment>,
    ) -> Result<usize> {
        let peer = self.peer().ok_or(Errno::ENOTCONN)?;
        if self.inbox.lock().shutdown & SEND != 0 {
            return Err(Errno::EPIPE);
        }
        let used = {
            let inbox = peer.inbox.lock();
            if inbox.closed || inbox.shutdown & RECEIVE != 0 {
                return Err(Errno::EPIPE);
            }
            inbox.used()
        };
        if src.remaining() == 0 {
            return Ok(0);
        }
        let room = self.room(used + OVERHEAD);
        if room == 0 {
            return Err(Errno::EAGAIN);
        }
        let attachment = attachment()?;
        let bytes = src.take_vec(room.min(PIECE))?;
        let n = bytes.len();
        let from = self.sender_address();
        {
            let mut inbox = peer.inbox.lock();
            if inbox.closed || inbox.shutdown & RECEIVE != 0 {
                return Err(Errno::EPIPE);
            }
            inbox.push_stream(Packet {
                from,
                identity: attachment.identity,
                files: attachment.files,
                ..Packet::new(bytes)
            });
        }
        peer.wake(READABLE);
        Ok(n)
    }

    /// Sends one message to the peer or, for datagrams, to an address.
    pub(super) fn send_packet(
        self: &Arc<Self>,
        task: &CurrentTask,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        attachment: impl FnOnce() -> Result<Attachment>,
    ) -> Result<usize> {
        let peer = self.destination(task, to)?;
        let len = src.remaining();
        let sndbuf = self.options.lock().sndbuf;
        if len > sndbuf.saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        if self.inbox.lock().shutdown & SEND != 0 {
            return Err(Errno::EPIPE);
        }
        let mutual = self.kind == Kind::SeqPacket || peer.is_connected_to(self);
        if self.kind == Kind::Datagram {
            peer.check_sender(self)?;
        }
        {
            let mut inbox = peer.inbox.lock();
            if inbox.closed {
                drop(inbox);
                return Err(self.peer_is_gone(&peer));
            }
            if inbox.shutdown & RECEIVE != 0 {
                return Err(Errno::EPIPE);
            }
            let full = if mutual {
                !inbox.is_empty() && inbox.used() + OVERHEAD + len > sndbuf
            } else {
                inbox.len() > MAX_QUEUED_DATAGRAMS
            };
            if full {
                self.queue.note_in(&mut inbox.blocked);
                return Err(Errno::EAGAIN);
            }
        }
        let attachment = attachment()?;
        let bytes = src.take_vec(len)?;
        if bytes.len() < len {
            return Err(Errno::EFAULT);
        }
        let from = self.sender_address();
        {
            let mut inbox = peer.inbox.lock();
            if inbox.closed {
                drop(inbox);
                return Err(self.peer_is_gone(&peer));
            }
            inbox.push(Packet {
                from,
                identity: attachment.identity,
                files: attachment.files,
                ..Packet::new(bytes)
            });
        }
        peer.wake(READABLE);
        Ok(len)
    }

    fn destination(self: &Arc<Self>, task: &CurrentTask, to: Option<&[u8]>) -> Result<Arc<Self>> {
        match (self.kind, to) {
            (Kind::Datagram, Some(addr)) => {
                let target = address::parse(addr)?;
                address::ensure_bound(task, self)?;
                let peer = address::find(task, self, &target)?;
                if peer.kind != Kind::Datagram {
                    return Err(Errno::EPROTOTYPE);
                }
                Ok(peer)
            }
            // A sequenced-packet socket ignores an address, as Linux does.
            _ => self.peer().ok_or(Errno::ENOTCONN),
        }
    }

    /// The errno for a receiver that was closed; a datagram socket forgets it.
    fn peer_is_gone(&self, peer: &Arc<Self>) -> Errno {
        if self.kind != Kind::Datagram {
            return Errno::EPIPE;
        }
        let old = {
            let mut state = self.state.lock();
            match &state.link {
                Link::Peer(current) if Arc::ptr_eq(current, peer) => {
                    Some(std::mem::take(&mut state.link))
                }
                _ => None,
            }
        };
        drop(old);
        Errno::ECONNREFUSED
    }

    fn is_connected_to(&self, other: &Arc<Self>) -> bool {
        matches!(&self.state.lock().link, Link::Peer(peer) if Arc::ptr_eq(peer, other))
    }

    /// Whether a send would find room, for poll: a quarter of the buffer is left.
    pub(super) fn is_writable(&self) -> bool {
        let (peer, listening) = match &self.state.lock().link {
            Link::Peer(peer) => (Some(peer.clone()), false),
            Link::Listening { .. } => (None, true),
            Link::None | Link::Host(_) => (None, false),
        };
        if listening {
            return false;
        }
        let Some(peer) = peer else { return true };
        let one_way = self.kind == Kind::Datagram
            && !matches!(&peer.state.lock().link, Link::Peer(back) if std::ptr::eq(&raw const **back, self));
        let sndbuf = self.options.lock().sndbuf;
        let mut inbox = peer.inbox.lock();
        let writable = if one_way {
            inbox.len() <= MAX_QUEUED_DATAGRAMS
        } else {
            inbox.used() * 4 <= sndbuf
        };
        if !writable && self.kind == Kind::Datagram {
            self.queue.note_in(&mut inbox.blocked);
        }
        writable
    }

    /// Tells senders that there is room again.
    fn made_room(&self) {
        let blocked = std::mem::take(&mut self.inbox.lock().blocked);
        if let Some(peer) = self.peer() {
            peer.wake(WRITABLE);
        }
        for queue in blocked {
            queue.notify(WRITABLE);
        }
    }

    /// What a read finds when nothing is there.
    fn nothing(&self) -> Result<Message> {
        let mut inbox = self.inbox.lock();
        if let Some(error) = inbox.error.take() {
            return Err(error);
        }
        if inbox.shutdown & RECEIVE != 0 {
            return Ok(Message::default());
        }
        Err(Errno::EAGAIN)
    }

    fn credentials(
        &self,
        task: Option<&CurrentTask>,
        identity: Option<&Identity>,
    ) -> Vec<ControlMessage> {
        let (Some(task), true) = (task, self.options.lock().pass_creds) else {
            return Vec::new();
        };
        let namespace = task.pid_namespace();
        // A message from before the option was set has no sender that it could show.
        let ucred = identity.map_or(
            so::Ucred {
                pid: 0,
                uid: 65534,
                gid: 65534,
            },
            |identity| identity.ucred(&namespace, &task.creds().user_ns),
        );
        vec![ControlMessage {
            level: so::SOL_SOCKET,
            kind: so::SCM_CREDENTIALS,
            data: ucred.as_bytes().to_vec(),
        }]
    }

    /// Reads from a stream: `EINVAL` if it was never connected.
    pub(super) fn receive_stream(
        &self,
        task: Option<&CurrentTask>,
        dst: &mut dyn Sink,
        flags: i32,
    ) -> Result<Message> {
        if self.peer().is_none() {
            return Err(Errno::EINVAL);
        }
        let peek = flags & so::MSG_PEEK != 0;
        let by_sender = self.options.lock().pass_creds;
        let want = dst.remaining();
        let piece = {
            let mut inbox = self.inbox.lock();
            if peek {
                inbox.peek_stream(want, by_sender)
            } else {
                inbox.take_stream(want, by_sender)
            }
        };
        let Some(piece) = piece else {
            return self.nothing();
        };
        let mut len = 0;
        let mut failed = None;
        let mut chunks = piece.chunks.into_iter();
        for chunk in chunks.by_ref() {
            let stored = dst.put(&chunk).unwrap_or_else(|errno| {
                failed = Some(errno);
                0
            });
            len += stored;
            if stored < chunk.len() {
                if !peek {
                    let mut rest = chunk[stored..].to_vec();
                    rest.extend(chunks.flatten());
                    self.inbox
                        .lock()
                        .unread(rest, piece.from.clone(), piece.identity.clone());
                }
                break;
            }
        }
        if !peek {
            self.made_room();
        }
        if let (0, Some(errno)) = (len, failed) {
            return Err(errno);
        }
        Ok(Message {
            len,
            control: self.credentials(task, piece.identity.as_ref()),
            from: piece.from,
            files: piece.files.arrive(),
            ..Message::default()
        })
    }

    /// Reads one message.
    pub(super) fn receive_packet(
        &self,
        task: Option<&CurrentTask>,
        dst: &mut dyn Sink,
        flags: i32,
    ) -> Result<Message> {
        if self.kind == Kind::SeqPacket && self.peer().is_none() {
            return Err(Errno::ENOTCONN);
        }
        let taken = {
            let mut inbox = self.inbox.lock();
            if flags & so::MSG_PEEK == 0 {
                inbox.pop()
            } else {
                inbox.front().map(|front| Packet {
                    from: front.from.clone(),
                    identity: front.identity.clone(),
                    files: front.files.share(),
                    ..Packet::new(front.bytes().to_vec())
                })
            }
        };
        let Some(packet) = taken else {
            return self.nothing();
        };
        if flags & so::MSG_PEEK == 0 {
            self.made_room();
        }
        let whole = packet.bytes().len();
        let fits = whole.min(dst.remaining());
        if fits > 0 && dst.put(&packet.bytes()[..fits])? < fits {
            return Err(Errno::EFAULT);
        }
        let mut out = if self.kind == Kind::SeqPacket {
            so::MSG_EOR
        } else {
            0
        };
        if fits < whole {
            out |= so::MSG_TRUNC;
        }
        Ok(Message {
            len: if flags & so::MSG_TRUNC != 0 {
                whole
            } else {
                fits
            },
            control: self.credentials(task, packet.identity.as_ref()),
            from: packet.from,
            files: packet.files.arrive(),
            flags: out,
        })
    }

    /// `shutdown(2)` of the halves in `how` ([`RECEIVE`], [`SEND`]).
    pub(super) fn shut(&self, how: u8) {
        let peer = self.peer();
        let blocked = {
            let mut inbox = self.inbox.lock();
            inbox.shutdown |= how;
            std::mem::take(&mut inbox.blocked)
        };
        if let Some(peer) = peer
            && self.kind != Kind::Datagram
        {
            let mirrored = match how {
                RECEIVE => SEND,
                SEND => RECEIVE,
                _ => BOTH,
            };
            peer.inbox.lock().shutdown |= mirrored;
            peer.wake(ALL_EVENTS);
        }
        for queue in blocked {
            queue.notify(ALL_EVENTS);
        }
        self.wake(ALL_EVENTS);
    }
}
