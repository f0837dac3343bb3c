//! TCP (`tcp(7)`). Within the sandbox connections are made at once and bytes go from memory to memory; connections with others are the packet stack's
//! (see `super::outside`), and a listener has both.
//!
//! - [`connect`]: how a connection begins and is undone. [`listen`]: listeners. [`transfer`]: bytes, readiness, the end. [`end`]: one end of a stream
//!   within the sandbox. [`file`]: the calls. [`info`]: TCP_INFO.
//!
//! A non-blocking connect still answers `EINPROGRESS` first, as Linux does; the second call tells how it went.
//!
//! Lock order: no two sockets' locks are held at once, but that of a connection nobody knows yet inside its listener's; a socket's state before its side, its options and their protocol's; queues are notified with none
//! held; the stack's lock is inside a socket's.

mod connect;
mod end;
mod file;
mod info;
mod listen;
mod transfer;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use abi::socket as so;
use parking_lot::Mutex;

use netstack::tcp::{Connection, KeepAlive, Listener, Notify, Ready, Settings};

use super::caller::{Caller, Initial};
use super::names::*;
use super::options::{Asker, Kind, ProtocolOptions};
use super::outside;
use super::ports::{Ports, Sharing, Wanted};
use super::tables::{Row, Shown};
use super::{Endpoint, Family};
use crate::error::{Errno, Result};
use crate::exec::reactor::Timer;
use crate::socket::inbox::SEND;
use crate::socket::options::Options;
use crate::task::namespaces::NetNamespace;

use end::End;
pub(super) use file::create;

/// How much a connection holds in each direction unless SO_SNDBUF says otherwise.
const CAPACITY: usize = 512 * 1024;

/// Linux's numbers of states (`net/tcp_states.h`).
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const FIN_WAIT2: u8 = 5;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
pub(super) const LISTEN: u8 = 10;

struct Listening {
    /// Those from outside.
    outside: Option<Arc<Listener>>,
    backlog: usize,
    pending: VecDeque<Arc<TcpSocket>>,
    /// Clients that wait for room in the backlog.
    waiting: VecDeque<Arc<TcpSocket>>,
    /// Connections that wait for their first bytes (TCP_DEFER_ACCEPT).
    deferred: Vec<Arc<TcpSocket>>,
}

#[derive(Default)]
enum Link {
    #[default]
    None,
    Peer(Arc<TcpSocket>),
    /// With somebody outside.
    Remote(Arc<Connection>),
    Listening(Listening),
}

/// How far a connect is.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Progress {
    #[default]
    None,
    /// Waits for room in the listener's backlog, or for an answer.
    Waiting,
    /// Done, but the caller has not been told.
    Untold(Result<()>),
}

#[derive(Default)]
struct State {
    local: Option<Endpoint>,
    remote: Option<Endpoint>,
    /// What the guest bound it to: address, and port or 0.
    asked: Option<Endpoint>,
    link: Link,
    progress: Progress,
    closed: bool,
    /// A connect has failed, and nobody was told by connect.
    failed: bool,
    /// How the port of a connection that a listener made is shared.
    held: Option<Sharing>,
    /// Sends what is held back, or ends a deferral.
    timer: Option<Timer>,
    deferred_by: Weak<TcpSocket>,
}

/// A TCP socket.
pub(super) struct TcpSocket {
    family: Family,
    net: Arc<NetNamespace>,
    state: Mutex<State>,
    end: End,
    options: Mutex<Options>,
    protocol: Mutex<ProtocolOptions>,
    /// What buffers report as long as nobody has chosen a size.
    buffers: (usize, usize),
    /// The connection waits for its first bytes.
    deferred: AtomicBool,
}

fn is_of_v6(at: Endpoint) -> bool {
    at.ip.is_ipv6() && !at.ip.is_unspecified()
}

/// News from the stack for a socket.
struct News(Weak<TcpSocket>);

impl Notify for News {
    fn notify(&self, ready: Ready) {
        if let Some(socket) = self.0.upgrade() {
            socket.settle();
            socket.end.queue.notify(outside::events(ready));
        }
    }
}

impl Shown for TcpSocket {
    fn row(&self, uid: u32, ino: u64) -> Option<Row> {
        let (local, remote, backlog) = {
            let state = self.state.lock();
            let backlog = match &state.link {
                Link::Listening(listening) => {
                    let outside = listening.outside.as_ref().map_or(0, |from| from.waiting());
                    Some((listening.backlog, listening.pending.len() + outside))
                }
                _ => None,
            };
            (state.local?, state.remote, backlog)
        };
        let state = self.number();
        if state == CLOSE {
            return None;
        }
        let (received, sent) = self.remote().map_or((0, 0), |remote| remote.queues());
        let (cookie, interface) = {
            let options = self.options.lock();
            (options.cookie(), options.device().unwrap_or(0))
        };
        let unread = self.end.side.lock().bytes();
        Some(Row {
            local,
            remote,
            state,
            send_queue: sent,
            receive_queue: backlog.map_or(received + unread, |(_, waiting)| waiting),
            backlog: backlog.map(|(most, _)| most),
            uid,
            ino,
            v6: self.family == Family::V6,
            // Bound to an address of IPv6 it is for no other family.
            v6_only: self.protocol.lock().v6_only() || is_of_v6(local),
            cookie,
            interface,
            lost: 0,
        })
    }

    /// A listener's connections that nobody has accepted yet.
    fn more_rows(&self, uid: u32) -> Vec<Row> {
        let pending: Vec<Arc<Self>> = match &self.state.lock().link {
            Link::Listening(listening) => listening.pending.iter().cloned().collect(),
            _ => Vec::new(),
        };
        pending
            .iter()
            .filter_map(|server| server.row(uid, 0))
            .collect()
    }
}

impl TcpSocket {
    pub(super) fn new(family: Family, net: Arc<NetNamespace>, initial: &Initial) -> Arc<Self> {
        let mut protocol = super::udp::initial_options(family, initial);
        let names = [TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT];
        for (name, value) in names.into_iter().zip(initial.keep_alive) {
            if let Some(value) = value {
                protocol.put(so::IPPROTO_TCP, name, value);
            }
        }
        Self::with(family, net, protocol, initial.tcp_buffers)
    }

    fn with(
        family: Family,
        net: Arc<NetNamespace>,
        protocol: ProtocolOptions,
        buffers: (usize, usize),
    ) -> Arc<Self> {
        Arc::new(Self {
            family,
            net,
            state: Mutex::default(),
            end: End::default(),
            options: Mutex::new(Options::with_buffers(buffers.0, buffers.1)),
            protocol: Mutex::new(protocol),
            buffers,
            deferred: AtomicBool::new(false),
        })
    }

    const fn asker(&self) -> Asker {
        Asker {
            kind: Kind::Tcp,
            family: self.family,
        }
    }

    fn ports(&self) -> Arc<Ports<Self>> {
        self.net.objects.get()
    }

    fn peer(&self) -> Option<Arc<Self>> {
        match &self.state.lock().link {
            Link::Peer(peer) => Some(peer.clone()),
            _ => None,
        }
    }

    fn remote(&self) -> Option<Arc<Connection>> {
        match &self.state.lock().link {
            Link::Remote(connection) => Some(connection.clone()),
            _ => None,
        }
    }

    fn tcp_option(&self, name: i32) -> i32 {
        self.protocol.lock().value(so::IPPROTO_TCP, name)
    }

    /// The options that the stack acts upon.
    fn settings(&self) -> Settings {
        let options = self.options.lock();
        let protocol = self.protocol.lock();
        let number = |name| u32::try_from(protocol.value(so::IPPROTO_TCP, name)).unwrap_or(0);
        Settings {
            no_delay: number(TCP_NODELAY) != 0,
            quick_ack: protocol
                .chosen(so::IPPROTO_TCP, TCP_QUICKACK)
                .is_some_and(|on| on != 0),
            keep_alive: options.is_on(so::SO_KEEPALIVE).then(|| KeepAlive {
                idle: number(TCP_KEEPIDLE),
                interval: number(TCP_KEEPINTVL),
                count: number(TCP_KEEPCNT),
            }),
            user_timeout_ms: Some(number(TCP_USER_TIMEOUT)).filter(|ms| *ms != 0),
            ttl: u8::try_from(protocol.value(so::IPPROTO_IP, IP_TTL)).ok(),
            least_ttl: u8::try_from(protocol.value(so::IPPROTO_IP, IP_MINTTL)).unwrap_or(0),
            defer_accept_s: number(TCP_DEFER_ACCEPT),
            interface: options.device(),
            receive_buffer: (options.rcvbuf != self.buffers.1).then_some(options.rcvbuf),
            send_buffer: (options.sndbuf != self.buffers.0).then_some(options.sndbuf),
        }
    }

    /// Options have changed.
    fn apply(&self) {
        let settings = self.settings();
        let (connection, listener) = match &self.state.lock().link {
            Link::Remote(connection) => (Some(connection.clone()), None),
            Link::Listening(Listening {
                outside: Some(listener),
                backlog,
                ..
            }) => (None, Some((listener.clone(), *backlog))),
            _ => (None, None),
        };
        if let Some(connection) = connection {
            connection.set(settings);
        }
        if let Some((listener, backlog)) = listener {
            listener.set(backlog, settings);
        }
    }

    /// Linux's number of the state.
    pub(super) fn number(&self) -> u8 {
        let (remote, peer) = {
            let state = self.state.lock();
            match &state.link {
                Link::None if state.progress == Progress::Waiting => return SYN_SENT,
                Link::None => return CLOSE,
                Link::Listening(_) => return LISTEN,
                Link::Peer(peer) => (None, Some(peer.clone())),
                Link::Remote(connection) => (Some(connection.clone()), None),
            }
        };
        if let Some(remote) = remote {
            return remote.state();
        }
        let theirs = peer.is_some_and(|peer| {
            let side = peer.end.side.lock();
            side.shutdown & SEND != 0 || side.closed
        });
        let side = self.end.side.lock();
        match (side.shutdown & SEND != 0, theirs) {
            _ if side.reset => CLOSE,
            (false, false) => ESTABLISHED,
            (true, false) => FIN_WAIT2,
            (false, true) => CLOSE_WAIT,
            (true, true) => CLOSE,
        }
    }

    fn sharing(&self, uid: u32) -> Sharing {
        let options = self.options.lock();
        Sharing {
            family: self.family,
            v6_only: self.protocol.lock().v6_only(),
            reuse_addr: options.reuse_addr,
            reuse_port: options.reuse_port.then_some(uid),
        }
    }

    fn capacity(&self) -> usize {
        match self.options.lock().sndbuf {
            size if size == self.buffers.0 => CAPACITY,
            chosen => chosen,
        }
    }

    /// `EADDRNOTAVAIL` for an address that is nobody's here.
    fn check_place(&self, at: Endpoint) -> Result<()> {
        let anywhere = self.protocol.lock().is_on(so::IPPROTO_IP, IP_FREEBIND);
        outside::check_local(&self.net, at, anywhere)
    }

    /// Binds to `at`; the socket must not be bound yet (`EINVAL`).
    pub(super) fn bind_to(self: &Arc<Self>, at: Endpoint, caller: &Caller) -> Result<()> {
        self.check_place(at)?;
        let late = {
            let protocol = self.protocol.lock();
            if self.family == Family::V6 && at.ip.is_ipv4() && protocol.v6_only() {
                return Err(Errno::EINVAL);
            }
            at.port == 0 && protocol.is_on(so::IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT)
        };
        {
            let mut state = self.state.lock();
            let asked = state.asked.is_some_and(|asked| !asked.ip.is_unspecified());
            if state.local.is_some() || asked || state.progress != Progress::None {
                return Err(Errno::EINVAL);
            }
            if late {
                state.asked = Some(at);
                return Ok(());
            }
        }
        self.take_port(at, false, caller)?;
        self.state.lock().asked = Some(at);
        Ok(())
    }

    fn take_port(
        self: &Arc<Self>,
        at: Endpoint,
        for_connection: bool,
        caller: &Caller,
    ) -> Result<()> {
        if self.state.lock().local.is_some() {
            return Err(Errno::EINVAL);
        }
        let wanted = Wanted {
            at,
            sharing: self.sharing(caller.uid),
            range: &caller.ports,
            for_connection,
        };
        let bound = self.ports().bind(self, &wanted)?;
        let mut state = self.state.lock();
        if state.local.is_some() {
            drop(state);
            self.ports().release(self, bound.port, false);
            return Err(Errno::EINVAL);
        }
        state.local = Some(bound);
        Ok(())
    }

    /// Gives the port back, unless the guest has named it. The address that it has named stays.
    fn unbind(&self) {
        let local = {
            let mut state = self.state.lock();
            match (state.asked, state.local) {
                (Some(asked), Some(local)) if asked.port != 0 => {
                    state.local = Some(Endpoint {
                        ip: asked.ip,
                        ..local
                    });
                    None
                }
                _ => state.local.take(),
            }
        };
        if let Some(local) = local {
            self.ports().release(self, local.port, false);
        }
    }

    /// What `getsockname` shows.
    fn local(&self) -> Endpoint {
        let state = self.state.lock();
        let asked = || state.asked.map(|asked| Endpoint { port: 0, ..asked });
        let local = state.local.or_else(asked);
        local.unwrap_or(Endpoint::any(self.family))
    }

    fn is_deferred(&self) -> bool {
        self.deferred.load(Ordering::Acquire)
    }
}
