//! TCP (`tcp(7)`). Within the sandbox connections are made at once and bytes go from memory to memory; connections with others are the packet stack's
//! (see `super::outside`), and a listener has both.
//!
//! A non-blocking connect still answers `EINPROGRESS` first, as Linux does; the second call tells how it went.
//!
//! Lock order: no two sockets' locks are held at once; queues are notified with none held; the stack's lock is inside a socket's.

use std::any::Any;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use abi::socket as so;
use abi::{UserAddr, UserOut};
use parking_lot::Mutex;

use netstack::tcp::{Connection, KeepAlive, Listener, Notify, Place, Ready, Settings};

use super::options::ProtocolOptions;
use super::outside::{self, Way};
use super::ports::{Ports, Sharing};
use super::stream::{ALL_EVENTS, End};
use super::tables::{Registry, Row, Shown};
use super::{Endpoint, Family, check_port};
use crate::error::{Errno, Result, SysResult};
use crate::socket::inbox::{BOTH, RECEIVE, SEND};
use crate::socket::options::{Options, cut};
use crate::socket::{ControlMessage, Message, SockAddr, SocketOps, raise_sigpipe};
use crate::task::CurrentTask;
use crate::task::namespaces::NetNamespace;
use crate::vfs::{File, FileOps, IoCx, Sink, Source};
use crate::wait::{Events, WaitQueue};

/// `net.core.somaxconn`.
const SOMAXCONN: usize = 4096;
/// How much a connection holds in each direction unless SO_SNDBUF says otherwise.
const CAPACITY: usize = 512 * 1024;
/// What SO_SNDBUF and SO_RCVBUF report at first (`net.ipv4.tcp_wmem`, `tcp_rmem`).
const REPORTED_SNDBUF: usize = 16_384;
const REPORTED_RCVBUF: usize = 131_072;
/// How many ports a connect tries.
const PORT_TRIES: u32 = 1000;
/// Most bytes that one call moves to or from the stack.
const REMOTE_PIECE: usize = 256 * 1024;

#[derive(Default)]
enum Link {
    #[default]
    None,
    Peer(Arc<TcpSocket>),
    /// With somebody outside.
    Remote(Arc<Connection>),
    Listening {
        /// Those from outside.
        outside: Option<Arc<Listener>>,
        backlog: usize,
        pending: VecDeque<Arc<TcpSocket>>,
        /// Clients that wait for room in the backlog.
        waiting: VecDeque<Arc<TcpSocket>>,
    },
}

/// How far a connect is.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Progress {
    #[default]
    None,
    /// Waits for room in the listener's backlog.
    Waiting,
    /// Done, but the caller has not been told.
    Untold(Result<()>),
}

struct State {
    local: Option<Endpoint>,
    remote: Option<Endpoint>,
    link: Link,
    progress: Progress,
    closed: bool,
}

/// A TCP socket.
pub(super) struct TcpSocket {
    family: Family,
    net: Arc<NetNamespace>,
    state: Mutex<State>,
    end: End,
    options: Mutex<Options>,
    protocol: Mutex<ProtocolOptions>,
}

/// An open TCP socket. Dropping it closes the socket.
pub(super) struct TcpFile {
    socket: Arc<TcpSocket>,
    ino: u64,
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

fn open(task: &CurrentTask, socket: Arc<TcpSocket>) -> Arc<File> {
    crate::socket::new_file(task, |ino| {
        let uid = task.creds().euid;
        let registry = socket.net.objects.get::<Registry<TcpSocket>>();
        registry.add(ino, uid, &socket);
        Box::new(TcpFile { socket, ino })
    })
}

impl Shown for TcpSocket {
    fn row(&self, uid: u32, ino: u64) -> Option<Row> {
        let (local, remote) = {
            let state = self.state.lock();
            (state.local?, state.remote)
        };
        let state = self.number();
        const CLOSE: u8 = 7;
        if state == CLOSE {
            return None;
        }
        let (received, sent) = self.remote().map_or((0, 0), |remote| remote.queues());
        Some(Row {
            local,
            remote,
            state,
            send_queue: sent,
            receive_queue: received + self.end.inbox.lock().bytes(),
            uid,
            ino,
            v6: self.family == Family::V6,
        })
    }
}

/// A new, unconnected socket.
pub(super) fn create(task: &CurrentTask, family: Family) -> Arc<File> {
    open(task, TcpSocket::new(family, task.namespaces().net.clone()))
}

impl TcpSocket {
    pub(super) fn new(family: Family, net: Arc<NetNamespace>) -> Arc<Self> {
        Arc::new(Self {
            family,
            net,
            state: Mutex::new(State {
                local: None,
                remote: None,
                link: Link::None,
                progress: Progress::None,
                closed: false,
            }),
            end: End::default(),
            options: Mutex::new(Options::with_buffers(REPORTED_SNDBUF, REPORTED_RCVBUF)),
            protocol: Mutex::default(),
        })
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

    /// How a connect that is under way outside went, once it is known.
    fn settle(&self) {
        const SYN_SENT: u8 = 2;
        let mut state = self.state.lock();
        let (Progress::Waiting, Link::Remote(connection)) = (state.progress, &state.link) else {
            return;
        };
        if connection.state() == SYN_SENT {
            return;
        }
        let result = match connection.take_error() {
            Some(errno) => Err(errno),
            None => Ok(()),
        };
        state.progress = Progress::Untold(result);
        if let Err(errno) = result {
            let over = std::mem::take(&mut state.link);
            state.remote = None;
            drop(state);
            self.end.inbox.lock().error = Some(errno);
            drop(over);
        }
    }

    /// The options that the stack acts upon.
    fn settings(&self) -> Settings {
        let options = self.options.lock();
        let protocol = self.protocol.lock();
        let number = |name| u32::try_from(protocol.value(so::IPPROTO_TCP, name)).unwrap_or(0);
        Settings {
            no_delay: number(1) != 0,
            quick_ack: false,
            keep_alive: options.is_on(so::SO_KEEPALIVE).then(|| KeepAlive {
                idle: number(4),
                interval: number(5),
                count: number(6),
            }),
            user_timeout_ms: Some(number(18)).filter(|ms| *ms != 0),
            ttl: u8::try_from(protocol.value(so::IPPROTO_IP, 2)).ok(),
            receive_buffer: (options.rcvbuf != REPORTED_RCVBUF).then_some(options.rcvbuf),
            send_buffer: (options.sndbuf != REPORTED_SNDBUF).then_some(options.sndbuf),
        }
    }

    /// Options have changed.
    fn apply(&self) {
        let settings = self.settings();
        let (connection, listener) = match &self.state.lock().link {
            Link::Remote(connection) => (Some(connection.clone()), None),
            Link::Listening {
                outside: Some(listener),
                backlog,
                ..
            } => (None, Some((listener.clone(), *backlog))),
            _ => (None, None),
        };
        if let Some(connection) = connection {
            connection.set(settings);
        }
        if let Some((listener, backlog)) = listener {
            listener.set(backlog, settings);
        }
    }

    /// Linux's number of the state (`net/tcp_states.h`).
    pub(super) fn number(&self) -> u8 {
        const ESTABLISHED: u8 = 1;
        const SYN_SENT: u8 = 2;
        const CLOSE: u8 = 7;
        const LISTEN: u8 = 10;
        let remote = {
            let state = self.state.lock();
            match &state.link {
                Link::None if state.progress == Progress::Waiting => return SYN_SENT,
                Link::None => return CLOSE,
                Link::Peer(_) => return ESTABLISHED,
                Link::Listening { .. } => return LISTEN,
                Link::Remote(connection) => connection.clone(),
            }
        };
        remote.state()
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
            REPORTED_SNDBUF => CAPACITY,
            chosen => chosen,
        }
    }

    /// Binds to `at`; the socket must not be bound yet (`EINVAL`).
    pub(super) fn bind_to(self: &Arc<Self>, at: Endpoint, uid: u32) -> Result<()> {
        outside::check_local(&self.net, at)?;
        if self.state.lock().local.is_some() {
            return Err(Errno::EINVAL);
        }
        let sharing = self.sharing(uid);
        let bound = self.ports().bind(self, at, sharing)?;
        let mut state = self.state.lock();
        if state.local.is_some() {
            drop(state);
            self.ports().release(self, bound.port);
            return Err(Errno::EINVAL);
        }
        state.local = Some(bound);
        Ok(())
    }

    pub(super) fn start_listening(self: &Arc<Self>, backlog: i32, uid: u32) -> Result<()> {
        let wanted = usize::try_from(backlog).unwrap_or(SOMAXCONN).min(SOMAXCONN);
        if self.state.lock().local.is_none() {
            self.bind_to(Endpoint::any(self.family), uid)?;
        }
        let port = self.state.lock().local.map_or(0, |local| local.port);
        {
            let mut state = self.state.lock();
            let idle = state.progress == Progress::None;
            match &mut state.link {
                Link::Listening {
                    backlog, outside, ..
                } => {
                    *backlog = wanted;
                    let outside = outside.clone();
                    drop(state);
                    if let Some(listener) = outside {
                        listener.set(wanted, self.settings());
                    }
                    return Ok(());
                }
                Link::None if idle => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        self.ports().listen(self, port)?;
        let outside = self.listen_outside(wanted);
        let mut state = self.state.lock();
        if matches!(state.link, Link::None) && state.progress == Progress::None {
            state.link = Link::Listening {
                outside,
                backlog: wanted,
                pending: VecDeque::new(),
                waiting: VecDeque::new(),
            };
        }
        Ok(())
    }

    /// Listens at the stack, if there is one and the address is one of its.
    fn listen_outside(self: &Arc<Self>, backlog: usize) -> Option<Arc<Listener>> {
        let local = self.state.lock().local?;
        if local.ip.is_loopback() {
            return None;
        }
        let stack = outside::stack(&self.net)?;
        let place = Place {
            at: local.address(),
            dual: self.family == Family::V6 && !self.protocol.lock().v6_only(),
        };
        let news = Arc::new(News(Arc::downgrade(self)));
        Some(Arc::new(stack.listen(
            place,
            backlog,
            self.settings(),
            news,
        )))
    }

    /// Begins to connect, or tells how it went.
    pub(super) fn connect_to(self: &Arc<Self>, to: Endpoint, uid: u32) -> Result<()> {
        let told = {
            let mut state = self.state.lock();
            match state.progress {
                Progress::Waiting => return Err(Errno::EALREADY),
                Progress::Untold(result) => {
                    state.progress = Progress::None;
                    Some(result)
                }
                Progress::None if !matches!(state.link, Link::None) => {
                    return Err(Errno::EISCONN);
                }
                Progress::None => {
                    state.progress = Progress::Waiting;
                    None
                }
            }
        };
        if let Some(result) = told {
            // Told here, not by SO_ERROR.
            self.end.inbox.lock().error = None;
            return result;
        }
        let found = self.begin_connection(to, uid);
        let to = match found {
            Ok(Some(to)) => to,
            // The stack has it.
            Ok(None) => return Err(Errno::EINPROGRESS),
            Err(errno) => {
                self.state.lock().progress = Progress::None;
                return Err(errno);
            }
        };
        let listener = self.ports().find(to, |socket| {
            matches!(socket.state.lock().link, Link::Listening { .. }).then_some(0)
        });
        let queued = listener.is_some_and(|listener| listener.admit(self));
        if !queued {
            self.finish(Err(Errno::ECONNREFUSED));
        }
        Err(Errno::EINPROGRESS)
    }

    /// Settles both addresses of a connection to `to`. Within the sandbox: where it really goes. To the outside it is begun here: `None`.
    fn begin_connection(self: &Arc<Self>, to: Endpoint, uid: u32) -> Result<Option<Endpoint>> {
        let to = to.definite();
        let way = outside::way(&self.net, to.ip)?;
        let (Way::Loopback(source) | Way::Out(source)) = way;
        let chosen = self.state.lock().local.is_none();
        let any = Endpoint {
            ip: source,
            port: 0,
        };
        if chosen {
            self.bind_to(any, uid)?;
        }
        let mut local = self.definite_local(source, to)?;
        if let Way::Loopback(_) = way {
            return Ok(Some(to));
        }
        if local.ip.is_loopback() || to.ip.is_ipv4() != local.ip.is_ipv4() {
            return Err(Errno::EINVAL);
        }
        if to.ip.is_multicast() || to.port == 0 {
            return Err(Errno::ENETUNREACH);
        }
        let stack = outside::stack(&self.net).ok_or(Errno::ENETUNREACH)?;
        let mut tries = 0;
        let connection = loop {
            let news = Arc::new(News(Arc::downgrade(self)));
            match stack.connect(local.address(), to.address(), self.settings(), news) {
                // An earlier connection of these ends is not forgotten yet: another port may do, if it is ours to choose.
                Err(Errno::EADDRNOTAVAIL) if chosen && tries < PORT_TRIES => {
                    tries += 1;
                    self.unbind();
                    self.bind_to(any, uid)?;
                    local = self.definite_local(source, to)?;
                }
                Err(errno) => {
                    if chosen {
                        self.unbind();
                    }
                    return Err(errno);
                }
                Ok(connection) => break connection,
            }
        };
        self.state.lock().link = Link::Remote(Arc::new(connection));
        // It may have been over before the link was set.
        self.settle();
        Ok(None)
    }

    /// The own end of a connection to `to`: with a definite address.
    fn definite_local(&self, source: IpAddr, to: Endpoint) -> Result<Endpoint> {
        let mut state = self.state.lock();
        state.remote = Some(to);
        let local = state.local.as_mut().ok_or(Errno::EINVAL)?;
        if local.ip.is_unspecified() {
            local.ip = source;
        }
        Ok(*local)
    }

    /// Gives the port back.
    fn unbind(&self) {
        let local = self.state.lock().local.take();
        if let Some(local) = local {
            self.ports().release(self, local.port);
        }
    }

    /// A client arrives at a listener: connected if there is room, else it waits. False if this does not listen any more.
    fn admit(self: &Arc<Self>, client: &Arc<Self>) -> bool {
        let server = self.server_for(client);
        {
            let mut state = self.state.lock();
            let Link::Listening {
                backlog,
                pending,
                waiting,
                ..
            } = &mut state.link
            else {
                return false;
            };
            if pending.len() > *backlog {
                let room = waiting.len() <= SOMAXCONN;
                if room {
                    waiting.push_back(client.clone());
                }
                return room;
            }
            pending.push_back(server.clone());
        }
        let alive = {
            let mut state = client.state.lock();
            if !state.closed {
                state.link = Link::Peer(server.clone());
            }
            !state.closed
        };
        if !alive {
            server.end.inbox.lock().shutdown |= RECEIVE;
        }
        client.finish(Ok(()));
        self.end.queue.notify(Events::IN | Events::RDNORM);
        true
    }

    /// The server's end of a connection with `client`.
    fn server_for(&self, client: &Arc<Self>) -> Arc<Self> {
        let server = Self::new(self.family, self.net.clone());
        let (local, remote) = {
            let state = client.state.lock();
            (state.remote, state.local)
        };
        {
            let mut state = server.state.lock();
            state.local = local;
            state.remote = remote;
            state.link = Link::Peer(client.clone());
        }
        *server.options.lock() = self.options.lock().clone();
        *server.protocol.lock() = self.protocol.lock().clone();
        server
    }

    /// The outcome of a connect.
    fn finish(&self, result: Result<()>) {
        self.state.lock().progress = Progress::Untold(result);
        if let Err(errno) = result {
            self.end.inbox.lock().error = Some(errno);
        }
        self.end.queue.notify(ALL_EVENTS);
    }

    pub(super) fn accept_one(self: &Arc<Self>) -> Result<Arc<Self>> {
        let (next, client) = {
            let mut state = self.state.lock();
            let Link::Listening {
                pending,
                waiting,
                outside,
                ..
            } = &mut state.link
            else {
                return Err(Errno::EINVAL);
            };
            match (pending.pop_front(), outside) {
                (Some(next), _) => (next, waiting.pop_front()),
                (None, Some(outside)) => {
                    let outside = outside.clone();
                    drop(state);
                    return self.accept_outside(&outside);
                }
                (None, None) => return Err(Errno::EAGAIN),
            }
        };
        if let Some(client) = client
            && !self.admit(&client)
        {
            client.finish(Err(Errno::ECONNREFUSED));
        }
        Ok(next)
    }

    /// The next connection from outside.
    fn accept_outside(&self, listener: &Listener) -> Result<Arc<Self>> {
        let (connection, local, remote) = listener.accept()?;
        let server = Self::new(self.family, self.net.clone());
        *server.options.lock() = self.options.lock().clone();
        *server.protocol.lock() = self.protocol.lock().clone();
        connection.attach(Arc::new(News(Arc::downgrade(&server))));
        {
            let mut state = server.state.lock();
            state.local = Some(local.into());
            state.remote = Some(remote.into());
            state.link = Link::Remote(Arc::new(connection));
        }
        Ok(server)
    }

    /// `shutdown(2)` of the halves in `how`: `ENOTCONN` unless connected.
    pub(super) fn shut(self: &Arc<Self>, how: u8) -> Result<()> {
        let (peer, clients) = {
            let mut state = self.state.lock();
            match &mut state.link {
                Link::Peer(peer) => (Some(peer.clone()), Vec::new()),
                Link::Remote(connection) => {
                    let connection = connection.clone();
                    drop(state);
                    connection.shutdown(how & RECEIVE != 0, how & SEND != 0);
                    self.end.queue.notify(ALL_EVENTS);
                    return Ok(());
                }
                Link::None => return Err(Errno::ENOTCONN),
                Link::Listening { .. } if how & RECEIVE == 0 => return Ok(()),
                link @ Link::Listening { .. } => {
                    // It stops listening.
                    (None, vec![std::mem::take(link)])
                }
            }
        };
        for link in clients {
            refuse_all(link);
        }
        if let Some(peer) = peer {
            self.end.inbox.lock().shutdown |= how;
            if how & SEND != 0 {
                peer.end.inbox.lock().shutdown |= RECEIVE;
            }
            peer.end.queue.notify(ALL_EVENTS);
        }
        self.end.queue.notify(ALL_EVENTS);
        Ok(())
    }

    pub(super) fn close(self: &Arc<Self>, unaccepted: bool) {
        let (link, local) = {
            let mut state = self.state.lock();
            state.closed = true;
            (std::mem::take(&mut state.link), state.local)
        };
        if let Some(local) = local {
            self.ports().release(self, local.port);
        }
        let unread = {
            let mut inbox = self.end.inbox.lock();
            inbox.closed = true;
            inbox.shutdown = BOTH;
            inbox.take_all()
        };
        // Closing with SO_LINGER of zero seconds resets, too.
        let reset = unaccepted || !unread.is_empty() || self.options.lock().linger == (1, 0);
        match link {
            Link::Peer(peer) => {
                {
                    let mut inbox = peer.end.inbox.lock();
                    if reset && !inbox.closed {
                        inbox.take_all();
                        inbox.error = Some(Errno::ECONNRESET);
                        inbox.shutdown = BOTH;
                    } else {
                        inbox.shutdown |= RECEIVE;
                    }
                }
                peer.end.queue.notify(ALL_EVENTS);
            }
            link @ Link::Listening { .. } => refuse_all(link),
            // Dropping the connection closes it.
            Link::Remote(connection) if reset => connection.reset(),
            Link::Remote(_) | Link::None => {}
        }
        self.end.queue.notify(ALL_EVENTS);
    }

    pub(super) fn send_bytes(&self, src: &mut dyn Source) -> Result<usize> {
        if let Some(connection) = self.remote() {
            let room = connection.room()?;
            if src.remaining() == 0 {
                return Ok(0);
            }
            let bytes = src.take_vec(room.min(REMOTE_PIECE))?;
            return connection.send(&bytes);
        }
        let Some(peer) = self.peer() else {
            if let Some(error) = self.end.inbox.lock().error.take() {
                return Err(error);
            }
            return Err(match self.state.lock().progress {
                Progress::Waiting => Errno::EAGAIN,
                _ => Errno::EPIPE,
            });
        };
        self.end.send(&peer.end, src, self.capacity())
    }

    /// Receives from outside. What the guest could not take stays in the inbox, in front of what comes.
    fn receive_remote(
        &self,
        connection: &Connection,
        dst: &mut dyn Sink,
        flags: i32,
    ) -> Result<Message> {
        if self.state.lock().progress == Progress::Waiting {
            return Err(Errno::EAGAIN);
        }
        if !self.end.inbox.lock().is_empty() {
            return self.end.receive(dst, flags);
        }
        let want = dst.remaining().min(REMOTE_PIECE);
        let (waiting, _) = connection.queues();
        let mut bytes = vec![0; want.min(waiting.max(1))];
        let peek = flags & so::MSG_PEEK != 0;
        let got = connection.receive(&mut bytes, peek)?;
        bytes.truncate(got);
        if flags & so::MSG_TRUNC != 0 {
            return Ok(Message {
                len: got,
                ..Message::default()
            });
        }
        let stored = dst.put(&bytes);
        let len = *stored.as_ref().unwrap_or(&0);
        if len < got && !peek {
            self.end
                .inbox
                .lock()
                .unread(bytes[len..].to_vec(), None, None);
        }
        stored?;
        Ok(Message {
            len,
            ..Message::default()
        })
    }

    pub(super) fn receive_bytes(&self, dst: &mut dyn Sink, flags: i32) -> Result<Message> {
        if let Some(connection) = self.remote() {
            return self.receive_remote(&connection, dst, flags);
        }
        let peer = self.peer();
        if peer.is_none() {
            if let Some(error) = self.end.inbox.lock().error.take() {
                return Err(error);
            }
            return Err(match self.state.lock().progress {
                Progress::Waiting => Errno::EAGAIN,
                _ => Errno::ENOTCONN,
            });
        }
        let message = self.end.receive(dst, flags)?;
        if let Some(peer) = peer {
            peer.end.queue.notify(Events::OUT | Events::WRNORM);
        }
        Ok(message)
    }

    pub(super) fn ready(&self) -> Events {
        let (peer, acceptable, waiting) = {
            let state = self.state.lock();
            let waiting = state.progress == Progress::Waiting;
            match &state.link {
                Link::Remote(connection) => {
                    let connection = connection.clone();
                    drop(state);
                    let mut ready = outside::events(connection.ready());
                    if !self.end.inbox.lock().is_empty() {
                        ready |= Events::IN | Events::RDNORM;
                    }
                    return ready;
                }
                Link::Listening {
                    pending, outside, ..
                } => {
                    let outside = outside.as_ref().is_some_and(|from| from.waiting() > 0);
                    // A listener is never writable.
                    return if pending.is_empty() && !outside {
                        Events::empty()
                    } else {
                        Events::IN | Events::RDNORM
                    };
                }
                Link::Peer(peer) => (Some(peer.clone()), true, waiting),
                Link::None => (None, false, waiting),
            }
        };
        let mut events = Events::empty();
        if waiting {
            return events;
        }
        let (readable, shutdown, error) = {
            let inbox = self.end.inbox.lock();
            (!inbox.is_empty(), inbox.shutdown, inbox.error.is_some())
        };
        if error {
            events |= Events::ERR;
        }
        if shutdown == BOTH || !acceptable {
            events |= Events::HUP;
        }
        if shutdown & RECEIVE != 0 {
            events |= Events::IN | Events::RDNORM | Events::RDHUP;
        }
        if readable {
            events |= Events::IN | Events::RDNORM;
        }
        let room = peer.is_none_or(|peer| peer.end.inbox.lock().used() * 3 < self.capacity() * 2);
        if shutdown & SEND != 0 || room {
            events |= Events::OUT | Events::WRNORM;
        }
        events
    }
}

/// A listener is gone: nobody will accept its clients.
fn refuse_all(link: Link) {
    if let Link::Listening {
        pending, waiting, ..
    } = link
    {
        for server in pending {
            server.close(true);
        }
        for client in waiting {
            client.finish(Err(Errno::ECONNREFUSED));
        }
    }
}

impl Drop for TcpFile {
    fn drop(&mut self) {
        let registry = self.socket.net.objects.get::<Registry<TcpSocket>>();
        registry.remove(self.ino);
        self.socket.close(false);
    }
}

impl FileOps for TcpFile {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        Ok(self.socket.receive_bytes(dst, 0)?.len)
    }
    fn write_at(
        &self,
        cx: IoCx<'_>,
        _offset: u64,
        src: &mut dyn Source,
    ) -> SysResult<(usize, u64)> {
        let sent = self.socket.send_bytes(src);
        if let (Err(Errno::EPIPE), Some(task)) = (&sent, cx.task) {
            raise_sigpipe(task);
        }
        Ok((sent?, 0))
    }
    fn readiness(&self) -> Events {
        self.socket.ready()
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.socket.end.queue)
    }
    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        let (received, sent) = self
            .socket
            .remote()
            .map_or((0, 0), |remote| remote.queues());
        let count = match request {
            so::FIONREAD => received + self.socket.end.inbox.lock().bytes(),
            // What was sent within the sandbox has arrived.
            so::SIOCOUTQ => sent,
            _ => return crate::socket::interface::ioctl(task, request, arg),
        };
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        task.memory().put(UserOut::new(UserAddr(arg)), &count)?;
        Ok(0)
    }
    fn as_socket(&self) -> Option<&dyn SocketOps> {
        Some(self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        format!("socket:[{}]", self.ino).into_bytes()
    }
}

impl SocketOps for TcpFile {
    fn kind(&self) -> (i32, i32, i32) {
        (
            self.socket.family.number(),
            so::SOCK_STREAM,
            so::IPPROTO_TCP,
        )
    }
    fn bind(&self, task: &CurrentTask, addr: &[u8]) -> Result<()> {
        let at = Endpoint::parse(addr, self.socket.family)?;
        let creds = task.creds();
        outside::check_local(&self.socket.net, at)?;
        check_port(&task.namespaces().net, &creds, at.port)?;
        self.socket.bind_to(at, creds.euid)
    }
    fn listen(&self, task: &CurrentTask, backlog: i32) -> Result<()> {
        self.socket.start_listening(backlog, task.creds().euid)
    }
    fn connect(&self, task: &CurrentTask, addr: &[u8]) -> Result<()> {
        if Endpoint::family_of(addr)? == so::AF_UNSPEC {
            return Err(Errno::EOPNOTSUPP);
        }
        let to = Endpoint::parse(addr, self.socket.family)?;
        self.socket.connect_to(to, task.creds().euid)
    }
    fn accept(&self, task: &CurrentTask) -> Result<(Arc<File>, SockAddr)> {
        let socket = self.socket.accept_one()?;
        let from = socket.state.lock().remote;
        let from = from.unwrap_or(Endpoint::any(socket.family));
        let shown = from.show(socket.family);
        Ok((open(task, socket), shown))
    }
    fn send(
        &self,
        _task: &CurrentTask,
        src: &mut dyn Source,
        _to: Option<&[u8]>,
        _control: Vec<ControlMessage>,
        _files: Vec<Arc<File>>,
        flags: i32,
    ) -> SysResult<usize> {
        if flags & so::MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        Ok(self.socket.send_bytes(src)?)
    }
    fn receive(&self, _task: &CurrentTask, dst: &mut dyn Sink, flags: i32) -> SysResult<Message> {
        if flags & so::MSG_OOB != 0 {
            return Err(Errno::EINVAL.into());
        }
        Ok(self.socket.receive_bytes(dst, flags)?)
    }
    fn shutdown(&self, how: i32) -> Result<()> {
        self.socket.shut(match how {
            so::SHUT_RD => RECEIVE,
            so::SHUT_WR => SEND,
            so::SHUT_RDWR => BOTH,
            _ => return Err(Errno::EINVAL),
        })
    }
    fn local_addr(&self) -> Result<SockAddr> {
        let local = self.socket.state.lock().local;
        Ok(local
            .unwrap_or(Endpoint::any(self.socket.family))
            .show(self.socket.family))
    }
    fn peer_addr(&self) -> Result<SockAddr> {
        const SYN_SENT: u8 = 2;
        const CLOSE: u8 = 7;
        if matches!(self.socket.number(), SYN_SENT | CLOSE) {
            return Err(Errno::ENOTCONN);
        }
        let state = self.socket.state.lock();
        match (&state.link, state.remote) {
            (Link::Peer(_) | Link::Remote(_), Some(remote)) => Ok(remote.show(self.socket.family)),
            _ => Err(Errno::ENOTCONN),
        }
    }
    fn get_option(
        &self,
        _task: &CurrentTask,
        level: i32,
        name: i32,
        max: usize,
    ) -> Result<Vec<u8>> {
        const LISTEN: u8 = 10;
        let state = self.socket.number();
        if level != so::SOL_SOCKET {
            let remote = self.socket.remote().map(|remote| remote.info());
            let protocol = self.socket.protocol.lock();
            return protocol.get(level, name, max, state, remote.as_ref());
        }
        let number = match name {
            so::SO_DOMAIN => self.socket.family.number(),
            so::SO_TYPE => so::SOCK_STREAM,
            so::SO_PROTOCOL => so::IPPROTO_TCP,
            so::SO_ACCEPTCONN => i32::from(state == LISTEN),
            so::SO_ERROR => {
                let remote = self.socket.remote();
                let error = self.socket.end.inbox.lock().error.take();
                let error = error.or_else(|| remote.and_then(|remote| remote.take_error()));
                let mut state = self.socket.state.lock();
                if let Progress::Untold(_) = state.progress {
                    // Whoever asks has been told.
                    state.progress = Progress::None;
                }
                error.map_or(0, Errno::raw)
            }
            name => return self.socket.options.lock().get(name, max),
        };
        Ok(cut(&number.to_ne_bytes(), max))
    }
    fn set_option(&self, task: &CurrentTask, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if level != so::SOL_SOCKET {
            self.socket.protocol.lock().set(level, name, value)?;
            self.socket.apply();
            return Ok(());
        }
        let creds = task.creds();
        self.socket.options.lock().set(&creds, name, value)?;
        self.socket.apply();
        self.socket.end.queue.notify(Events::OUT | Events::WRNORM);
        Ok(())
    }
    fn timeout_ns(&self, send: bool) -> Option<u64> {
        let options = self.socket.options.lock();
        if send {
            options.send_timeout_ns
        } else {
            options.receive_timeout_ns
        }
    }
}
