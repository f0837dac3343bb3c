//! TCP connections and listeners of a stack (`tcp(7)`).
//!
//! smoltcp has neither a backlog nor orphans nor more than one listener a port: `table` has them. `conn` is one connection; `device` stands between
//! smoltcp and [`crate::net`].

mod conn;
mod device;
mod recovery;
mod table;
mod time_wait;

use std::net::SocketAddr;
use std::sync::Arc;

use abi::Errno;
use bitflags::bitflags;
use smoltcp::socket::tcp::State;

pub(crate) use conn::Key;
pub(crate) use table::{Reserve, Tcp};

use crate::stack::Stack;

bitflags! {
    /// Readiness, with the values of `poll(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Ready: u32 {
        /// Something can be read or accepted.
        const IN = 0x1;
        /// There is room to write.
        const OUT = 0x4;
        /// An error is to be told.
        const ERR = 0x8;
        /// Both halves are closed.
        const HUP = 0x10;
        /// The peer has sent everything.
        const RDHUP = 0x2000;
    }
}

/// Is told that something may have changed. Called with no lock of the stack held.
pub trait Notify: Send + Sync {
    /// `ready` is what may have become true.
    fn notify(&self, ready: Ready);
}

/// SO_KEEPALIVE, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// TCP_KEEPIDLE.
    pub idle: u32,
    /// TCP_KEEPINTVL.
    pub interval: u32,
    /// TCP_KEEPCNT.
    pub count: u32,
}

/// Options of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// TCP_NODELAY.
    pub no_delay: bool,
    /// TCP_QUICKACK.
    pub quick_ack: bool,
    /// SO_KEEPALIVE.
    pub keep_alive: Option<KeepAlive>,
    /// TCP_USER_TIMEOUT in milliseconds.
    pub user_timeout_ms: Option<u32>,
    /// IP_TTL.
    pub ttl: Option<u8>,
    /// IP_MINTTL: segments with less are dropped; 0: none.
    pub least_ttl: u8,
    /// TCP_DEFER_ACCEPT in seconds: connections are accepted when data has come, or after that; 0: at once.
    pub defer_accept_s: u32,
    /// SO_BINDTODEVICE: number of the interface.
    pub interface: Option<u32>,
    /// SO_RCVBUF, if it was set: bytes.
    pub receive_buffer: Option<usize>,
    /// SO_SNDBUF, if it was set: bytes.
    pub send_buffer: Option<usize>,
}

/// A listener's place.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Address, may be unspecified, and port.
    pub at: SocketAddr,
    /// Bound to `::`: IPv4 comes, too.
    pub dual: bool,
}

/// A row of `/proc/net/tcp`.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Own end.
    pub local: SocketAddr,
    /// The other one.
    pub remote: SocketAddr,
    /// Linux's number of the state.
    pub state: u8,
    /// Bytes not acknowledged.
    pub send_queue: usize,
    /// Bytes not read.
    pub receive_queue: usize,
    /// Nobody has it any more, or not yet.
    pub orphan: bool,
}

/// What TCP_INFO tells of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Info {
    /// Linux's number of the state.
    pub state: u8,
    /// Segments in and out.
    pub segments: (u64, u64),
    /// Bytes of payload in and out.
    pub bytes: (u64, u64),
    /// Largest segment.
    pub mss: u32,
    /// Bytes not acknowledged.
    pub unacked: u32,
    /// Milliseconds since the last sign of life.
    pub idle_ms: u32,
    /// The path's MTU.
    pub mtu: u32,
    /// Bytes that can be received now.
    pub window: u32,
    /// Smoothed time of a round trip and its variation in microseconds, once known.
    pub round_trip: Option<(u32, u32)>,
    /// Selective acknowledgements were agreed upon.
    pub selective: bool,
    /// Bytes that the peer has beyond a hole.
    pub beyond: u32,
    /// Segments that were sent again.
    pub retransmitted: u64,
}

/// Linux's numbers (`net/tcp_states.h`).
const fn number(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
    }
}

/// A connection that a socket has. Dropping it closes it, with a reset if something was not read.
pub struct Connection {
    stack: Arc<Stack>,
    id: u64,
}

impl Connection {
    pub(crate) const fn new(stack: Arc<Stack>, id: u64) -> Self {
        Self { stack, id }
    }

    /// Whom to tell from now on.
    pub fn attach(&self, notify: Arc<dyn Notify>) {
        self.stack
            .with(|inner| inner.tcp.attach(self.id, notify.clone()));
    }

    /// Both ends.
    #[must_use]
    pub fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.stack.with(|inner| inner.tcp.ends(self.id))
    }

    /// Linux's number of the state.
    #[must_use]
    pub fn state(&self) -> u8 {
        self.stack
            .with(|inner| inner.tcp.info(self.id, inner.net.now).state)
    }

    /// For TCP_INFO.
    #[must_use]
    pub fn info(&self) -> Info {
        self.stack.with(|inner| {
            let mut info = inner.tcp.info(self.id, inner.net.now);
            info.mtu = inner.tcp.mtu(&inner.net, self.id);
            info
        })
    }

    /// Bytes that can be sent now: `EAGAIN` if none, `EPIPE` after a shutdown, or what ended the connection, once.
    pub fn room(&self) -> Result<usize, Errno> {
        self.stack.with(|inner| inner.tcp.room(self.id))
    }

    /// Sends what there is room for. With `more` to come, less than a segment is held back for a while (TCP_CORK, MSG_MORE).
    pub fn send(&self, bytes: &[u8], more: bool) -> Result<usize, Errno> {
        self.stack
            .with(|inner| inner.tcp.send(&mut inner.net, self.id, bytes, more))
    }

    /// Sends what is held back.
    pub fn flush(&self) {
        self.stack
            .with(|inner| inner.tcp.flush(&mut inner.net, self.id));
    }

    /// Whether nothing more will come in: reads end, or fail.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ready()
            .intersects(Ready::RDHUP | Ready::HUP | Ready::ERR)
    }

    /// Receives: 0 at the end of the stream, `EAGAIN` if nothing is there yet. `peek` leaves it there.
    pub fn receive(&self, into: &mut [u8], peek: bool) -> Result<usize, Errno> {
        self.stack
            .with(|inner| inner.tcp.receive(&mut inner.net, self.id, into, peek))
    }

    /// Bytes not read, bytes not acknowledged.
    #[must_use]
    pub fn queues(&self) -> (usize, usize) {
        self.stack.with(|inner| inner.tcp.queues(self.id))
    }

    /// Ends the sending half, or receiving.
    pub fn shutdown(&self, receive: bool, send: bool) {
        self.stack
            .with(|inner| inner.tcp.shutdown(&mut inner.net, self.id, receive, send));
    }

    /// What can be done.
    #[must_use]
    pub fn ready(&self) -> Ready {
        self.stack.with(|inner| inner.tcp.ready(self.id))
    }

    /// What ended it, once.
    #[must_use]
    pub fn take_error(&self) -> Option<Errno> {
        self.stack.with(|inner| inner.tcp.take_error(self.id))
    }

    /// Changes its options.
    pub fn set(&self, settings: Settings) {
        self.stack
            .with(|inner| inner.tcp.set(&mut inner.net, self.id, settings));
    }

    /// Closes it by a reset (SO_LINGER of zero).
    pub fn reset(&self) {
        self.stack
            .with(|inner| inner.tcp.close(&mut inner.net, self.id, true));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stack
            .with(|inner| inner.tcp.close(&mut inner.net, self.id, false));
    }
}

/// A listening socket. Dropping it refuses what was not accepted.
pub struct Listener {
    stack: Arc<Stack>,
    id: u64,
}

impl Listener {
    pub(crate) const fn new(stack: Arc<Stack>, id: u64) -> Self {
        Self { stack, id }
    }

    /// The next connection, with its ends: `EAGAIN`.
    pub fn accept(&self) -> Result<(Connection, SocketAddr, SocketAddr), Errno> {
        let (id, key) = self
            .stack
            .with(|inner| inner.tcp.accept(self.id))
            .ok_or(Errno::EAGAIN)?;
        Ok((
            Connection::new(self.stack.clone(), id),
            key.local,
            key.remote,
        ))
    }

    /// How many wait to be accepted.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.stack.with(|inner| inner.tcp.waiting(self.id))
    }

    /// Changes the backlog, and the options that new connections get.
    pub fn set(&self, backlog: usize, settings: Settings) {
        self.stack
            .with(|inner| inner.tcp.set_listener(self.id, backlog, settings));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stack
            .with(|inner| inner.tcp.unlisten(&mut inner.net, self.id));
    }
}
