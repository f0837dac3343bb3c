//! Bytes in and out, readiness, shutdown and close.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::socket as so;
use netstack::tcp::Connection;

use super::end::{ALL_EVENTS, End};
use super::{CLOSE, Link, Progress, TcpSocket, listen};
use crate::error::{Errno, Result};
use crate::exec::Reactor;
use crate::socket::Message;
use crate::socket::inbox::{BOTH, RECEIVE, SEND};
use crate::socket::inet::names::TCP_CORK;
use crate::socket::inet::outside;
use crate::vfs::{Sink, Source};
use crate::wait::Events;

/// Most bytes that one call moves to or from the stack.
const REMOTE_PIECE: usize = 256 * 1024;
/// Most bytes that are held back for more: a segment of loopback.
const HELD: usize = 32 * 1024;
/// How long they are held back at most.
const CORK: Duration = Duration::from_millis(200);

/// Room for what goes between the guest and the stack, kept by each thread: fresh memory for each call would cost a page fault for each page.
fn with_scratch<R>(len: usize, act: impl FnOnce(&mut [u8]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with(|scratch| {
        let mut scratch = std::mem::take(&mut *scratch.borrow_mut());
        if scratch.len() < len {
            scratch.resize(len.max(64 * 1024), 0);
        }
        let result = act(&mut scratch[..len]);
        SCRATCH.with(|slot| *slot.borrow_mut() = scratch);
        result
    })
}

impl TcpSocket {
    fn is_inline(&self) -> bool {
        self.options.lock().is_on(so::SO_OOBINLINE)
    }

    /// Sends; `flags` are MSG_*. With a reactor what is held back goes after a while.
    pub(in super::super) fn send_bytes(
        self: &Arc<Self>,
        src: &mut dyn Source,
        flags: i32,
        reactor: Option<&Arc<Reactor>>,
    ) -> Result<usize> {
        let more = flags & so::MSG_MORE != 0 || self.tcp_option(TCP_CORK) != 0;
        let urgent = flags & so::MSG_OOB != 0;
        if let Some(connection) = self.remote() {
            if urgent {
                return Err(Errno::EOPNOTSUPP);
            }
            let room = connection.room()?;
            if src.remaining() == 0 {
                return Ok(0);
            }
            let want = room.min(REMOTE_PIECE).min(src.remaining());
            return with_scratch(want, |bytes| {
                if src.take(bytes)? < want {
                    return Err(Errno::EFAULT);
                }
                connection.send(bytes, more)
            });
        }
        let Some(peer) = self.peer() else {
            if let Some(error) = self.end.side.lock().error.take() {
                return Err(error);
            }
            return Err(match self.state.lock().progress {
                Progress::Waiting => Errno::EAGAIN,
                _ => Errno::EPIPE,
            });
        };
        if more && !urgent {
            return self.hold_back(&peer, src, reactor);
        }
        if !self.end.flush(&peer.end, self.capacity()) {
            return Err(Errno::EAGAIN);
        }
        let sent = self.end.send(&peer.end, src, self.capacity(), urgent);
        if peer.is_deferred() {
            peer.defer_no_more();
        }
        sent
    }

    fn hold_back(
        self: &Arc<Self>,
        peer: &Arc<Self>,
        src: &mut dyn Source,
        reactor: Option<&Arc<Reactor>>,
    ) -> Result<usize> {
        self.end.check_send()?;
        if self.end.side.lock().held.len() >= HELD && !self.end.flush(&peer.end, self.capacity()) {
            return Err(Errno::EAGAIN);
        }
        let held = self.end.side.lock().held.len();
        let want = HELD.saturating_sub(held).min(src.remaining());
        let bytes = src.take_vec(want)?;
        if bytes.len() < want {
            return Err(Errno::EFAULT);
        }
        self.end.side.lock().held.extend_from_slice(&bytes);
        if let (0, Some(reactor)) = (held, reactor) {
            let socket = Arc::downgrade(self);
            let over = Arc::new(move || {
                if let Some(socket) = socket.upgrade() {
                    socket.flush();
                }
            });
            let timer = reactor.call_at(Instant::now() + CORK, over);
            let old = self.state.lock().timer.replace(timer);
            drop(old);
        }
        Ok(want)
    }

    /// Sends what is held back, room or not: it is little.
    pub(super) fn flush(self: &Arc<Self>) {
        if let Some(connection) = self.remote() {
            connection.flush();
        } else if let Some(peer) = self.peer() {
            self.end.flush(&peer.end, usize::MAX);
            if peer.is_deferred() {
                peer.defer_no_more();
            }
        }
    }

    /// Receives from outside. What the guest could not take stays in the inbox, in front of what comes.
    fn receive_remote(
        &self,
        connection: &Connection,
        dst: &mut dyn Sink,
        flags: i32,
        least: usize,
    ) -> Result<Message> {
        if self.state.lock().progress == Progress::Waiting {
            return Err(Errno::EAGAIN);
        }
        if !self.end.side.lock().is_empty() {
            return self.end.receive(dst, flags, true, 1);
        }
        let want = dst.remaining().min(REMOTE_PIECE);
        let (waiting, _) = connection.queues();
        if waiting < least.min(want) && !connection.is_over() {
            return Err(Errno::EAGAIN);
        }
        let peek = flags & so::MSG_PEEK != 0;
        with_scratch(want.min(waiting.max(1)), |bytes| {
            let got = connection.receive(bytes, peek)?;
            self.hand_over(&bytes[..got], dst, flags)
        })
    }

    /// Gives the guest what came from outside.
    fn hand_over(&self, bytes: &[u8], dst: &mut dyn Sink, flags: i32) -> Result<Message> {
        let (got, peek) = (bytes.len(), flags & so::MSG_PEEK != 0);
        if flags & so::MSG_TRUNC != 0 {
            return Ok(Message {
                len: got,
                ..Message::default()
            });
        }
        let stored = dst.put(bytes);
        let len = *stored.as_ref().unwrap_or(&0);
        if len < got && !peek {
            let rest = bytes[len..].to_vec();
            let mut side = self.end.side.lock();
            side.received += rest.len() as u64;
            side.unread(rest, None, None);
        }
        stored?;
        Ok(Message {
            len,
            ..Message::default()
        })
    }

    pub(in super::super) fn receive_bytes(
        &self,
        dst: &mut dyn Sink,
        flags: i32,
    ) -> Result<Message> {
        // A look at all of what was asked for waits for all of it (the caller takes MSG_WAITALL away where nothing is to wait).
        let whole = so::MSG_PEEK | so::MSG_WAITALL;
        let least = if flags & whole == whole {
            dst.remaining()
        } else {
            1
        };
        if let Some(connection) = self.remote() {
            return self.receive_remote(&connection, dst, flags, least);
        }
        let Some(peer) = self.peer() else {
            if let Some(error) = self.end.side.lock().error.take() {
                return Err(error);
            }
            let state = self.state.lock();
            return match state.progress {
                Progress::Waiting => Err(Errno::EAGAIN),
                _ if state.failed => Ok(Message::default()),
                _ => Err(Errno::ENOTCONN),
            };
        };
        let message = self.end.receive(dst, flags, self.is_inline(), least)?;
        peer.end.queue.notify(Events::OUT | Events::WRNORM);
        Ok(message)
    }

    /// MSG_OOB.
    pub(super) fn receive_urgent(&self, dst: &mut dyn Sink, flags: i32) -> Result<Message> {
        if self.peer().is_none() && self.remote().is_none() {
            return Err(Errno::ENOTCONN);
        }
        let peek = flags & so::MSG_PEEK != 0;
        let byte = {
            let inline = self.is_inline();
            self.end.side.lock().take_urgent(inline, peek)?
        };
        let fits = dst.remaining().min(1);
        if fits > 0 {
            dst.put(&[byte])?;
        }
        Ok(Message {
            len: fits,
            flags: so::MSG_OOB | if fits == 0 { so::MSG_TRUNC } else { 0 },
            ..Message::default()
        })
    }

    /// Bytes to be read; `EINVAL` of a listener.
    pub(super) fn unread(&self) -> Result<usize> {
        if matches!(self.state.lock().link, Link::Listening(_)) {
            return Err(Errno::EINVAL);
        }
        let outside = self.remote().map_or(0, |remote| remote.queues().0);
        let inline = self.is_inline();
        let here = self.end.side.lock().readable(inline);
        Ok(outside + usize::try_from(here).unwrap_or(usize::MAX))
    }

    pub(super) fn at_mark(&self) -> bool {
        self.end.side.lock().at_mark()
    }

    pub(in super::super) fn ready(&self) -> Events {
        let (peer, waiting, failed) = {
            let state = self.state.lock();
            let waiting = state.progress == Progress::Waiting;
            match &state.link {
                Link::Remote(connection) => {
                    let connection = connection.clone();
                    drop(state);
                    return self.ready_remote(&connection);
                }
                Link::Listening(listening) => {
                    let outside = listening.outside.as_ref();
                    let outside = outside.is_some_and(|from| from.waiting() > 0);
                    // A listener is never writable.
                    return if listening.pending.is_empty() && !outside {
                        Events::empty()
                    } else {
                        Events::IN | Events::RDNORM
                    };
                }
                Link::Peer(peer) => (Some(peer.clone()), waiting, false),
                Link::None => (None, waiting, state.failed),
            }
        };
        let mut events = Events::empty();
        if waiting {
            return events;
        }
        let (inline, least) = {
            let options = self.options.lock();
            (
                options.is_on(so::SO_OOBINLINE),
                options.receive_low_water.max(1),
            )
        };
        let (shutdown, error) = {
            let side = self.end.side.lock();
            if side.readable(inline) >= u64::from(least.unsigned_abs()) {
                events |= Events::IN | Events::RDNORM;
            }
            if side.has_urgent() {
                events |= Events::PRI;
            }
            (side.shutdown, side.error.is_some())
        };
        if error {
            events |= Events::ERR;
        }
        if shutdown == BOTH || peer.is_none() {
            events |= Events::HUP;
        }
        if shutdown & RECEIVE != 0 || failed {
            events |= Events::IN | Events::RDNORM | Events::RDHUP;
        }
        let room = peer.is_none_or(|peer| peer.end.side.lock().used() * 3 < self.capacity() * 2);
        if shutdown & SEND != 0 || room {
            events |= Events::OUT | Events::WRNORM;
        }
        events
    }

    fn ready_remote(&self, connection: &Connection) -> Events {
        let mut ready = outside::events(connection.ready());
        let least = self.options.lock().receive_low_water;
        let least = usize::try_from(least).unwrap_or(1);
        let here = self.end.side.lock().bytes();
        let enough =
            least <= 1 || connection.is_over() || { connection.queues().0 + here >= least };
        if !enough {
            ready -= Events::IN | Events::RDNORM;
        } else if here > 0 {
            ready |= Events::IN | Events::RDNORM;
        }
        ready
    }

    /// `shutdown(2)` of the halves in `how`: `ENOTCONN` unless connected.
    pub(in super::super) fn shut(self: &Arc<Self>, how: u8) -> Result<()> {
        let peer = {
            let mut state = self.state.lock();
            match &mut state.link {
                Link::Peer(peer) => peer.clone(),
                Link::Remote(connection) => {
                    let connection = connection.clone();
                    drop(state);
                    if connection.state() == CLOSE {
                        return Err(Errno::ENOTCONN);
                    }
                    connection.shutdown(how & RECEIVE != 0, how & SEND != 0);
                    self.end.queue.notify(ALL_EVENTS);
                    return Ok(());
                }
                Link::None => return Err(Errno::ENOTCONN),
                Link::Listening(_) if how & RECEIVE == 0 => return Ok(()),
                link @ Link::Listening(_) => {
                    // It stops listening.
                    let link = std::mem::take(link);
                    drop(state);
                    if let Link::Listening(listening) = link {
                        listen::refuse_all(listening);
                    }
                    self.unbind();
                    self.end.queue.notify(ALL_EVENTS);
                    return Ok(());
                }
            }
        };
        if self.number() == CLOSE {
            return Err(Errno::ENOTCONN);
        }
        if how & SEND != 0 {
            self.end.flush(&peer.end, usize::MAX);
            let theirs = peer.end.side.lock().shutdown & SEND != 0;
            self.end.side.lock().first_to_close = !theirs;
        }
        self.end.side.lock().shutdown |= how;
        if how & SEND != 0 {
            peer.end.side.lock().shutdown |= RECEIVE;
            if peer.is_deferred() {
                peer.defer_no_more();
            }
        }
        peer.end.queue.notify(ALL_EVENTS);
        self.end.queue.notify(ALL_EVENTS);
        Ok(())
    }

    pub(in super::super) fn close(self: &Arc<Self>, unaccepted: bool) {
        let (link, local, held, timer) = {
            let mut state = self.state.lock();
            state.closed = true;
            (
                std::mem::take(&mut state.link),
                state.local.take(),
                state.held.take(),
                state.timer.take(),
            )
        };
        drop(timer);
        // Closing with SO_LINGER of zero seconds resets, too.
        let at_once = unaccepted || self.options.lock().linger == (1, 0);
        if let (Link::Peer(peer), false) = (&link, at_once) {
            self.end.flush(&peer.end, usize::MAX);
        }
        let unread = {
            let mut side = self.end.side.lock();
            side.closed = true;
            side.shutdown = BOTH;
            side.take_all()
        };
        let reset = at_once || !unread.is_empty();
        let time_wait = !reset && self.ends_in_time_wait(&link);
        match (local, held) {
            (Some(local), Some(sharing)) => self.ports().let_go(local, sharing, time_wait),
            (Some(local), None) => self.ports().release(self, local.port, time_wait),
            (None, _) => {}
        }
        match link {
            Link::Peer(peer) if Arc::ptr_eq(&peer, self) => {}
            Link::Peer(peer) if reset => peer.reset_by_peer(),
            Link::Peer(peer) => {
                let news = {
                    let mut side = peer.end.side.lock();
                    let news = side.shutdown & RECEIVE == 0;
                    side.shutdown |= RECEIVE;
                    news
                };
                if news {
                    peer.end.queue.notify(ALL_EVENTS);
                }
                if peer.is_deferred() {
                    peer.defer_no_more();
                }
            }
            Link::Listening(listening) => listen::refuse_all(listening),
            // Dropping the connection closes it.
            Link::Remote(connection) if reset => connection.reset(),
            Link::Remote(_) | Link::None => {}
        }
        self.end.queue.notify(ALL_EVENTS);
    }

    /// Whether this end of a connection is the one that has to remember it.
    fn ends_in_time_wait(&self, link: &Link) -> bool {
        const FIN_WAIT1: u8 = 4;
        match link {
            Link::Peer(peer) => {
                let theirs = {
                    let side = peer.end.side.lock();
                    side.shutdown & SEND != 0 || side.closed
                };
                self.end.side.lock().first_to_close || !theirs
            }
            Link::Remote(connection) => {
                matches!(connection.state(), super::ESTABLISHED | FIN_WAIT1..=6)
            }
            Link::Listening(_) | Link::None => false,
        }
    }

    /// Both ends, if this is connected within the sandbox.
    pub(super) fn with_ends<R>(&self, act: impl FnOnce(&End, &End) -> R) -> Option<R> {
        let peer = self.peer()?;
        Some(act(&self.end, &peer.end))
    }
}
