//! UDP (`udp(7)`): within the sandbox from memory to memory, to others through the packet stack (see `super::outside`).
//!
//! Lock order: no two sockets' locks are held at once; queues are notified with none held.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use abi::socket as so;
use abi::{UserAddr, UserOut};
use parking_lot::Mutex;

use netstack::{Arrived, PacketOptions};

use super::options::ProtocolOptions;
use super::outside::{self, Way};
use super::ports::{Ports, Sharing};
use super::tables::{Registry, Row, Shown};
use super::{Endpoint, Family, check_port};
use crate::error::{Errno, Result, SysResult};
use crate::socket::inbox::{Inbox, OVERHEAD, Packet, RECEIVE, SEND};
use crate::socket::options::{Options, cut};
use crate::socket::{ControlMessage, Message, SockAddr, SocketOps};
use crate::task::CurrentTask;
use crate::task::namespaces::NetNamespace;
use crate::vfs::{File, FileOps, IoCx, Sink, Source};
use crate::wait::{Events, WaitQueue};

/// Largest payload of an IPv4 datagram.
const MAX_PAYLOAD: usize = 65_507;

#[derive(Default)]
struct State {
    local: Option<Endpoint>,
    remote: Option<Endpoint>,
}

/// A UDP socket.
pub(super) struct UdpSocket {
    family: Family,
    net: Arc<NetNamespace>,
    state: Mutex<State>,
    inbox: Mutex<Inbox>,
    queue: WaitQueue,
    options: Mutex<Options>,
    protocol: Mutex<ProtocolOptions>,
}

/// An open UDP socket. Dropping it closes the socket.
pub(super) struct UdpFile {
    socket: Arc<UdpSocket>,
    ino: u64,
}

/// A new socket.
pub(super) fn create(task: &CurrentTask, family: Family) -> Arc<File> {
    let socket = UdpSocket::new(family, task.namespaces().net.clone());
    crate::socket::new_file(task, |ino| {
        let uid = task.creds().euid;
        let registry = socket.net.objects.get::<Registry<UdpSocket>>();
        registry.add(ino, uid, &socket);
        Box::new(UdpFile { socket, ino })
    })
}

impl Shown for UdpSocket {
    fn row(&self, uid: u32, ino: u64) -> Option<Row> {
        const ESTABLISHED: u8 = 1;
        const CLOSE: u8 = 7;
        let (local, remote) = {
            let state = self.state.lock();
            (state.local?, state.remote)
        };
        Some(Row {
            local,
            remote,
            state: if remote.is_some() { ESTABLISHED } else { CLOSE },
            send_queue: 0,
            receive_queue: self.inbox.lock().used(),
            uid,
            ino,
            v6: self.family == Family::V6,
        })
    }
}

impl UdpSocket {
    pub(super) fn new(family: Family, net: Arc<NetNamespace>) -> Arc<Self> {
        Arc::new(Self {
            family,
            net,
            state: Mutex::default(),
            inbox: Mutex::default(),
            queue: WaitQueue::new(),
            options: Mutex::default(),
            protocol: Mutex::default(),
        })
    }

    fn ports(&self) -> Arc<Ports<Self>> {
        self.net.objects.get()
    }

    pub(super) fn bind_to(self: &Arc<Self>, at: Endpoint, uid: u32) -> Result<()> {
        outside::check_local(&self.net, at)?;
        if self.state.lock().local.is_some() {
            return Err(Errno::EINVAL);
        }
        let sharing = {
            let options = self.options.lock();
            Sharing {
                family: self.family,
                v6_only: self.protocol.lock().v6_only(),
                reuse_addr: options.reuse_addr,
                reuse_port: options.reuse_port.then_some(uid),
            }
        };
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

    /// The address that a packet that goes by `way` comes from; binds the socket if it is not.
    fn source(self: &Arc<Self>, way: &Way, uid: u32) -> Result<Endpoint> {
        if self.state.lock().local.is_none() {
            let any = Endpoint::any(self.family);
            match self.bind_to(any, uid) {
                // Another thread was faster.
                Ok(()) | Err(Errno::EINVAL) => {}
                Err(errno) => return Err(errno),
            }
        }
        let local = self.state.lock().local.ok_or(Errno::EINVAL)?;
        let (Way::Loopback(source) | Way::Out(source)) = way;
        // Bound to a group or to a broadcast address: that is no source.
        let nobody = local.ip.is_unspecified()
            || local.ip.is_multicast()
            || outside::stack(&self.net).is_some_and(|stack| stack.is_broadcast(local.ip));
        Ok(if nobody {
            Endpoint {
                ip: *source,
                ..local
            }
        } else {
            local
        })
    }

    pub(super) fn send_to(
        self: &Arc<Self>,
        src: &mut dyn Source,
        to: Option<Endpoint>,
        uid: u32,
    ) -> Result<usize> {
        {
            let mut inbox = self.inbox.lock();
            if let Some(error) = inbox.error.take() {
                return Err(error);
            }
            if inbox.shutdown & SEND != 0 {
                return Err(Errno::EPIPE);
            }
        }
        let remote = self.state.lock().remote;
        let to = to.or(remote).ok_or(Errno::EDESTADDRREQ)?;
        if to.port == 0 {
            return Err(Errno::EINVAL);
        }
        let len = src.remaining();
        if len > MAX_PAYLOAD {
            return Err(Errno::EMSGSIZE);
        }
        let to = to.definite();
        let way = outside::way(&self.net, to.ip)?;
        let from = self.source(&way, uid)?;
        if let Way::Out(_) = way {
            return self.send_out(src, from, to, len);
        }
        let bytes = src.take_vec(len)?;
        if bytes.len() < len {
            return Err(Errno::EFAULT);
        }
        let receiver = self.ports().find(to, |socket| socket.rate(from));
        match receiver {
            Some(receiver) => receiver.deliver(bytes, from),
            // The answer would be "port unreachable", which only connected sockets hear of.
            None if remote.is_some() => {
                self.inbox.lock().error = Some(Errno::ECONNREFUSED);
                self.queue.notify(Events::ERR);
            }
            None => {}
        }
        Ok(len)
    }

    /// Sends through the stack: `EACCES` to a broadcast address without SO_BROADCAST.
    fn send_out(
        &self,
        src: &mut dyn Source,
        from: Endpoint,
        to: Endpoint,
        len: usize,
    ) -> Result<usize> {
        let stack = outside::stack(&self.net).ok_or(Errno::ENETUNREACH)?;
        if from.ip.is_ipv4() != to.ip.is_ipv4() || from.ip.is_loopback() {
            return Err(Errno::EINVAL);
        }
        if stack.is_broadcast(to.ip) && !self.options.lock().is_on(so::SO_BROADCAST) {
            return Err(Errno::EACCES);
        }
        let options = self.packet_options(to);
        let bytes = src.take_vec(len)?;
        if bytes.len() < len {
            return Err(Errno::EFAULT);
        }
        stack.send_datagram(from.address(), to.address(), &bytes, &options)?;
        Ok(len)
    }

    /// How packets to `to` are sent.
    fn packet_options(&self, to: Endpoint) -> PacketOptions {
        let protocol = self.protocol.lock();
        // TTL or hop limit, for one and for many; TOS or class; IP_MTU_DISCOVER.
        let (level, one, many, tos, discover) = match to.ip {
            IpAddr::V4(_) => (so::IPPROTO_IP, 2, 33, 1, 10),
            IpAddr::V6(_) => (so::IPPROTO_IPV6, 16, 18, 67, 23),
        };
        const PMTUDISC_DO: i32 = 2;
        const PMTUDISC_PROBE: i32 = 3;
        let name = if to.ip.is_multicast() { many } else { one };
        PacketOptions {
            ttl: u8::try_from(protocol.value(level, name)).ok(),
            tos: u8::try_from(protocol.value(level, tos)).unwrap_or(0),
            dont_fragment: matches!(
                protocol.value(level, discover),
                PMTUDISC_DO | PMTUDISC_PROBE
            ),
            interface: None,
        }
    }

    /// A datagram from outside for one socket. False: nobody is there.
    pub(super) fn arrived(net: &NetNamespace, arrived: &Arrived) -> bool {
        let ports: Arc<Ports<Self>> = net.objects.get();
        let (from, to) = (Endpoint::from(arrived.from), Endpoint::from(arrived.to));
        let Some(socket) = ports.find(to, |socket| socket.rate(from)) else {
            return false;
        };
        socket.deliver_arrived(arrived, from);
        true
    }

    /// A datagram from outside to a group or to everybody: each socket that wants it gets it.
    pub(super) fn arrived_for_many(net: &NetNamespace, arrived: &Arrived) {
        let ports: Arc<Ports<Self>> = net.objects.get();
        let (from, to) = (Endpoint::from(arrived.from), Endpoint::from(arrived.to));
        for socket in ports.all(to) {
            if socket.rate(from).is_some() {
                socket.deliver_arrived(arrived, from);
            }
        }
    }

    /// What was sent to `remote` did not get there: told to a connected socket, or to one that asked for it (IP_RECVERR).
    pub(super) fn failed(&self, remote: Endpoint, errno: Errno) {
        let told = self.state.lock().remote == Some(remote) || {
            let protocol = self.protocol.lock();
            protocol.value(so::IPPROTO_IP, 11) != 0 || protocol.value(so::IPPROTO_IPV6, 25) != 0
        };
        if told {
            self.inbox.lock().error = Some(errno);
            self.queue.notify(Events::ERR | Events::IN | Events::OUT);
        }
    }

    /// How much this socket is meant by a packet from `from`: connected to it, or to nobody.
    pub(super) fn rate(&self, from: Endpoint) -> Option<u32> {
        match self.state.lock().remote {
            Some(remote) if remote == from => Some(1),
            Some(_) => None,
            None => Some(0),
        }
    }

    fn deliver_arrived(&self, arrived: &Arrived, from: Endpoint) {
        let control = self.protocol.lock().control(arrived);
        let bytes = arrived.packet[arrived.payload..].to_vec();
        self.deliver_with(bytes, from, control);
    }

    fn deliver(&self, bytes: Vec<u8>, from: Endpoint) {
        self.deliver_with(bytes, from, Vec::new());
    }

    /// What finds no room is lost.
    fn deliver_with(&self, bytes: Vec<u8>, from: Endpoint, control: Vec<ControlMessage>) {
        let room = self.options.lock().rcvbuf;
        {
            let mut inbox = self.inbox.lock();
            if inbox.closed || inbox.used() + bytes.len() + OVERHEAD > room.max(OVERHEAD) {
                return;
            }
            inbox.push(Packet {
                from: Some(from.show(self.family)),
                control,
                ..Packet::new(bytes)
            });
        }
        self.queue.notify(Events::IN | Events::RDNORM);
    }

    pub(super) fn receive_one(&self, dst: &mut dyn Sink, flags: i32) -> Result<Message> {
        let packet = {
            let mut inbox = self.inbox.lock();
            if let Some(error) = inbox.error.take() {
                return Err(error);
            }
            let packet = if flags & so::MSG_PEEK == 0 {
                inbox.pop()
            } else {
                inbox.front().map(|front| Packet {
                    from: front.from.clone(),
                    control: front.control.clone(),
                    ..Packet::new(front.bytes().to_vec())
                })
            };
            match packet {
                Some(packet) => packet,
                None if inbox.shutdown & RECEIVE != 0 => return Ok(Message::default()),
                None => return Err(Errno::EAGAIN),
            }
        };
        let whole = packet.bytes().len();
        let fits = whole.min(dst.remaining());
        if fits > 0 && dst.put(&packet.bytes()[..fits])? < fits {
            return Err(Errno::EFAULT);
        }
        Ok(Message {
            len: if flags & so::MSG_TRUNC != 0 {
                whole
            } else {
                fits
            },
            from: packet.from,
            control: packet.control,
            flags: if fits < whole { so::MSG_TRUNC } else { 0 },
            ..Message::default()
        })
    }

    fn close(&self) {
        if let Some(local) = self.state.lock().local {
            self.ports().release(self, local.port);
        }
        let mut inbox = self.inbox.lock();
        inbox.closed = true;
        inbox.take_all();
    }
}

impl Drop for UdpFile {
    fn drop(&mut self) {
        let registry = self.socket.net.objects.get::<Registry<UdpSocket>>();
        registry.remove(self.ino);
        self.socket.close();
    }
}

impl FileOps for UdpFile {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        Ok(self.socket.receive_one(dst, 0)?.len)
    }
    fn write_at(
        &self,
        cx: IoCx<'_>,
        _offset: u64,
        src: &mut dyn Source,
    ) -> SysResult<(usize, u64)> {
        let uid = cx.task.map_or(0, |task| task.creds().euid);
        Ok((self.socket.send_to(src, None, uid)?, 0))
    }
    fn readiness(&self) -> Events {
        let inbox = self.socket.inbox.lock();
        let mut events = Events::OUT | Events::WRNORM | Events::WRBAND;
        if !inbox.is_empty() {
            events |= Events::IN | Events::RDNORM;
        }
        if inbox.shutdown & RECEIVE != 0 {
            events |= Events::IN | Events::RDNORM | Events::RDHUP;
        }
        if inbox.error.is_some() {
            events |= Events::ERR;
        }
        events
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.socket.queue)
    }
    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        let count = match request {
            so::FIONREAD => {
                let inbox = self.socket.inbox.lock();
                inbox.front().map_or(0, |packet| packet.bytes().len())
            }
            so::SIOCOUTQ => 0,
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

impl SocketOps for UdpFile {
    fn kind(&self) -> (i32, i32, i32) {
        (self.socket.family.number(), so::SOCK_DGRAM, so::IPPROTO_UDP)
    }
    fn bind(&self, task: &CurrentTask, addr: &[u8]) -> Result<()> {
        let at = Endpoint::parse(addr, self.socket.family)?;
        let creds = task.creds();
        outside::check_local(&self.socket.net, at)?;
        check_port(&task.namespaces().net, &creds, at.port)?;
        self.socket.bind_to(at, creds.euid)
    }
    fn listen(&self, _task: &CurrentTask, _backlog: i32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    fn connect(&self, task: &CurrentTask, addr: &[u8]) -> Result<()> {
        if Endpoint::family_of(addr)? == so::AF_UNSPEC {
            self.socket.state.lock().remote = None;
            return Ok(());
        }
        let to = Endpoint::parse(addr, self.socket.family)?.definite();
        let way = outside::way(&self.socket.net, to.ip)?;
        if let (Way::Out(_), Some(stack)) = (&way, outside::stack(&self.socket.net))
            && stack.is_broadcast(to.ip)
            && !self.socket.options.lock().is_on(so::SO_BROADCAST)
        {
            return Err(Errno::EACCES);
        }
        let source = self.socket.source(&way, task.creds().euid)?;
        let mut state = self.socket.state.lock();
        state.local = Some(source);
        state.remote = Some(to);
        Ok(())
    }
    fn accept(&self, _task: &CurrentTask) -> Result<(Arc<File>, SockAddr)> {
        Err(Errno::EOPNOTSUPP)
    }
    fn send(
        &self,
        task: &CurrentTask,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        _control: Vec<ControlMessage>,
        _files: Vec<Arc<File>>,
        flags: i32,
    ) -> SysResult<usize> {
        if flags & so::MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let to = match to {
            None => None,
            Some(addr) => Some(Endpoint::parse(addr, self.socket.family)?),
        };
        Ok(self.socket.send_to(src, to, task.creds().euid)?)
    }
    fn receive(&self, _task: &CurrentTask, dst: &mut dyn Sink, flags: i32) -> SysResult<Message> {
        Ok(self.socket.receive_one(dst, flags)?)
    }
    fn shutdown(&self, how: i32) -> Result<()> {
        let how = match how {
            so::SHUT_RD => RECEIVE,
            so::SHUT_WR => SEND,
            so::SHUT_RDWR => RECEIVE | SEND,
            _ => return Err(Errno::EINVAL),
        };
        if self.socket.state.lock().remote.is_none() {
            return Err(Errno::ENOTCONN);
        }
        self.socket.inbox.lock().shutdown |= how;
        self.socket.queue.notify(Events::all());
        Ok(())
    }
    fn local_addr(&self) -> Result<SockAddr> {
        let local = self.socket.state.lock().local;
        Ok(local
            .unwrap_or(Endpoint::any(self.socket.family))
            .show(self.socket.family))
    }
    fn peer_addr(&self) -> Result<SockAddr> {
        let remote = self.socket.state.lock().remote;
        Ok(remote.ok_or(Errno::ENOTCONN)?.show(self.socket.family))
    }
    fn get_option(
        &self,
        _task: &CurrentTask,
        level: i32,
        name: i32,
        max: usize,
    ) -> Result<Vec<u8>> {
        if level != so::SOL_SOCKET {
            return self.socket.protocol.lock().get(level, name, max, 0, None);
        }
        let number = match name {
            so::SO_DOMAIN => self.socket.family.number(),
            so::SO_TYPE => so::SOCK_DGRAM,
            so::SO_PROTOCOL => so::IPPROTO_UDP,
            so::SO_ACCEPTCONN => 0,
            so::SO_ERROR => self.socket.inbox.lock().error.take().map_or(0, Errno::raw),
            name => return self.socket.options.lock().get(name, max),
        };
        Ok(cut(&number.to_ne_bytes(), max))
    }
    fn set_option(&self, task: &CurrentTask, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if level != so::SOL_SOCKET {
            return self.socket.protocol.lock().set(level, name, value);
        }
        let creds = task.creds();
        self.socket.options.lock().set(&creds, name, value)
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
