//! Raw and ping sockets (`raw(7)`, `icmp(7)`): ICMP echo to this sandbox itself is answered here, everything else goes through the packet stack.
//!
//! Lock order: the table's lock and a socket's are leaves; queues are notified with none held.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use abi::socket as so;
use abi::{UserAddr, UserOut};
use netstack::{Arrived, PacketOptions, RawPacket};
use parking_lot::Mutex;

use super::options::ProtocolOptions;
use super::outside::{self, Way};
use super::{Endpoint, Family};
use crate::error::{Errno, Result, SysResult};
use crate::socket::inbox::{Inbox, OVERHEAD, Packet};
use crate::socket::options::{Options, cut, int};
use crate::socket::{ControlMessage, Message, SockAddr, SocketOps};
use crate::task::CurrentTask;
use crate::task::namespaces::NetNamespace;
use crate::vfs::{File, FileOps, IoCx, Sink, Source};
use crate::wait::{Events, WaitQueue};

const ICMP: u8 = 1;
const ICMP6: u8 = 58;
/// IPPROTO_RAW: the guest writes the IP header itself.
const RAW: i32 = 255;
const SOL_RAW: i32 = 255;
const SOL_ICMPV6: i32 = 58;
/// ICMP_FILTER and ICMPV6_FILTER.
const FILTER: i32 = 1;
const IP_HDRINCL: i32 = 3;
/// Largest payload.
const MAX: usize = 65_515;

/// Raw and ping sockets of a namespace.
#[derive(Default)]
pub(super) struct RawTable(Mutex<Vec<Weak<RawSocket>>>);

impl RawTable {
    fn add(&self, net: &NetNamespace, socket: &Arc<RawSocket>) {
        let mut all = self.0.lock();
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(socket));
        drop(all);
        if let Some(stack) = outside::stack(net) {
            stack.set_raw(true);
        }
    }

    fn remove(&self, net: &NetNamespace) {
        let mut all = self.0.lock();
        all.retain(|other| other.strong_count() > 0);
        let empty = all.is_empty();
        drop(all);
        if let Some(stack) = outside::stack(net).filter(|_| empty) {
            stack.set_raw(false);
        }
    }

    /// A packet, for every socket that wants it.
    pub(super) fn arrived(&self, arrived: &Arrived) {
        let all: Vec<Arc<RawSocket>> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        for socket in all {
            socket.take(arrived);
        }
    }
}

#[derive(Default)]
struct State {
    local: Option<IpAddr>,
    remote: Option<IpAddr>,
    /// Identifier of a ping socket.
    ident: u16,
    header_included: bool,
    /// ICMP_FILTER: types that are not wanted; for ICMPv6 256 bits.
    filter: [u32; 8],
}

/// A raw or ping socket.
pub(super) struct RawSocket {
    family: Family,
    ping: bool,
    protocol_number: i32,
    net: Arc<NetNamespace>,
    state: Mutex<State>,
    inbox: Mutex<Inbox>,
    queue: WaitQueue,
    options: Mutex<Options>,
    protocol: Mutex<ProtocolOptions>,
}

struct RawFile {
    socket: Option<Arc<RawSocket>>,
    ino: u64,
}

/// A new socket; permission was looked at.
pub(super) fn create(task: &CurrentTask, family: Family, ping: bool, protocol: i32) -> Arc<File> {
    let net = task.namespaces().net.clone();
    let mut ident = [0; 2];
    crate::host::random(&mut ident);
    let socket = Arc::new(RawSocket {
        family,
        ping,
        protocol_number: protocol,
        net: net.clone(),
        state: Mutex::new(State {
            ident: u16::from_ne_bytes(ident).max(1),
            header_included: protocol == RAW,
            ..State::default()
        }),
        inbox: Mutex::default(),
        queue: WaitQueue::new(),
        options: Mutex::default(),
        protocol: Mutex::default(),
    });
    net.objects.get::<RawTable>().add(&net, &socket);
    crate::socket::new_file(task, |ino| {
        Box::new(RawFile {
            socket: Some(socket),
            ino,
        })
    })
}

impl RawSocket {
    /// Keeps a packet if it is for this socket.
    fn take(&self, arrived: &Arrived) {
        let v4 = self.family == Family::V4;
        if i32::from(arrived.protocol) != self.protocol_number || arrived.to.is_ipv4() != v4 {
            return;
        }
        let payload = &arrived.packet[arrived.payload..];
        {
            let state = self.state.lock();
            let here = state.local.is_none_or(|ip| ip == arrived.to.ip());
            let theirs = state.remote.is_none_or(|ip| ip == arrived.from.ip());
            if !here || !theirs {
                return;
            }
            let kind = payload.first().copied().unwrap_or(0);
            let icmp = matches!(arrived.protocol, ICMP | ICMP6);
            let unwanted = state.filter[usize::from(kind) / 32] >> (kind % 32) & 1 != 0;
            if icmp && unwanted {
                return;
            }
            if self.ping {
                let reply = if v4 { 0 } else { 129 };
                let ident = payload
                    .get(4..6)
                    .map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
                if kind != reply || ident != state.ident {
                    return;
                }
            }
        }
        // IPv4 raw sockets get the header, too.
        let bytes = if v4 && !self.ping {
            arrived.packet.clone()
        } else {
            payload.to_vec()
        };
        let from = Endpoint {
            ip: arrived.from.ip(),
            port: 0,
        };
        let room = self.options.lock().rcvbuf;
        {
            let mut inbox = self.inbox.lock();
            if inbox.used() + bytes.len() + OVERHEAD > room {
                return;
            }
            inbox.push(Packet {
                from: Some(from.show(self.family)),
                control: self.control(arrived),
                ..Packet::new(bytes)
            });
        }
        self.queue.notify(Events::IN | Events::RDNORM);
    }

    fn control(&self, arrived: &Arrived) -> Vec<ControlMessage> {
        self.protocol.lock().control(arrived)
    }

    fn send_to(&self, src: &mut dyn Source, to: Option<Endpoint>) -> Result<usize> {
        if let Some(error) = self.inbox.lock().error.take() {
            return Err(error);
        }
        let (remote, local, ident, header_included) = {
            let state = self.state.lock();
            (
                state.remote,
                state.local,
                state.ident,
                state.header_included,
            )
        };
        let to = to
            .map(|to| to.definite().ip)
            .or(remote)
            .ok_or(Errno::EDESTADDRREQ)?;
        let len = src.remaining();
        if len > MAX {
            return Err(Errno::EMSGSIZE);
        }
        let mut bytes = src.take_vec(len)?;
        if bytes.len() < len {
            return Err(Errno::EFAULT);
        }
        if header_included {
            // Only what follows the header is taken over.
            let head = bytes.first().map_or(0, |byte| usize::from(byte & 0xf) * 4);
            if head < 20 || head > bytes.len() {
                return Err(Errno::EINVAL);
            }
        }
        if self.ping {
            let request = if to.is_ipv4() { 8 } else { 128 };
            if bytes.len() < 8 || bytes[0] != request || bytes[1] != 0 {
                return Err(Errno::EINVAL);
            }
            bytes[4..6].copy_from_slice(&ident.to_be_bytes());
        }
        let icmp = matches!(self.protocol_number, 1 | 58);
        if self.ping && to.is_ipv4() {
            fill_checksum(&mut bytes);
        }
        let way = outside::way(&self.net, to)?;
        let (Way::Loopback(source) | Way::Out(source)) = way;
        let from = local.unwrap_or(source);
        let (protocol, payload) = if header_included {
            let head = usize::from(bytes[0] & 0xf) * 4;
            (bytes[9], &bytes[head..])
        } else {
            (self.protocol_number as u8, &bytes[..])
        };
        match way {
            Way::Loopback(_) if icmp => self.answer_self(from, to, &bytes),
            Way::Loopback(_) => {}
            Way::Out(_) => {
                let stack = outside::stack(&self.net).ok_or(Errno::ENETUNREACH)?;
                if stack.is_broadcast(to) && !self.options.lock().is_on(so::SO_BROADCAST) {
                    return Err(Errno::EACCES);
                }
                let raw = RawPacket {
                    from,
                    to,
                    protocol,
                    payload,
                    fill_checksum: protocol == ICMP6,
                };
                stack.send_raw(
                    &raw,
                    &self.packet_options(to, header_included.then_some(&bytes)),
                )?;
            }
        }
        Ok(len)
    }

    fn packet_options(&self, to: IpAddr, header: Option<&Vec<u8>>) -> PacketOptions {
        if let Some(header) = header {
            return PacketOptions {
                ttl: header.get(8).copied(),
                tos: header.get(1).copied().unwrap_or(0),
                ..PacketOptions::default()
            };
        }
        let protocol = self.protocol.lock();
        let (level, ttl, tos) = match to {
            IpAddr::V4(_) => (so::IPPROTO_IP, 2, 1),
            IpAddr::V6(_) => (so::IPPROTO_IPV6, 16, 67),
        };
        PacketOptions {
            ttl: u8::try_from(protocol.value(level, ttl)).ok(),
            tos: u8::try_from(protocol.value(level, tos)).unwrap_or(0),
            dont_fragment: protocol.value(level, if to.is_ipv4() { 10 } else { 23 }) == 2,
            interface: None,
        }
    }

    /// An ICMP message to the sandbox itself: sockets see it, and the answer to an echo request.
    fn answer_self(&self, from: IpAddr, to: IpAddr, message: &[u8]) {
        let table = self.net.objects.get::<RawTable>();
        let (protocol, request, reply) = match to {
            IpAddr::V4(_) => (ICMP, 8, 0),
            IpAddr::V6(_) => (ICMP6, 128, 129),
        };
        table.arrived(&made_up(from, to, protocol, message));
        if message.first() == Some(&request) {
            let mut answer = message.to_vec();
            answer[0] = reply;
            if to.is_ipv4() {
                fill_checksum(&mut answer);
            }
            table.arrived(&made_up(to, from, protocol, &answer));
        }
    }

    fn receive_one(&self, dst: &mut dyn Sink, flags: i32) -> Result<Message> {
        let packet = {
            let mut inbox = self.inbox.lock();
            if let Some(error) = inbox.error.take() {
                return Err(error);
            }
            if flags & so::MSG_PEEK == 0 {
                inbox.pop()
            } else {
                inbox.front().map(|front| Packet {
                    from: front.from.clone(),
                    control: front.control.clone(),
                    ..Packet::new(front.bytes().to_vec())
                })
            }
        }
        .ok_or(Errno::EAGAIN)?;
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
}

/// Sums up an ICMP message.
fn fill_checksum(message: &mut [u8]) {
    if message.len() < 4 {
        return;
    }
    message[2..4].fill(0);
    let mut sum = 0_u32;
    for pair in message.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[2..4].copy_from_slice(&(!sum as u16).to_be_bytes());
}

/// A packet that never was on a wire.
fn made_up(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Arrived {
    const TTL: u8 = 64;
    let mut packet = Vec::new();
    if let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) {
        let total = (20 + payload.len()) as u16;
        packet.extend_from_slice(&[0x45, 0]);
        packet.extend_from_slice(&total.to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 0, TTL, protocol, 0, 0]);
        packet.extend_from_slice(&from.octets());
        packet.extend_from_slice(&to.octets());
    }
    let start = packet.len();
    packet.extend_from_slice(payload);
    Arrived {
        interface: 1,
        from: SocketAddr::new(from, 0),
        to: SocketAddr::new(to, 0),
        protocol,
        ttl: TTL,
        tos: 0,
        packet,
        payload: start,
    }
}

impl RawFile {
    fn socket(&self) -> Result<&Arc<RawSocket>> {
        self.socket.as_ref().ok_or(Errno::EBADF)
    }
}

impl Drop for RawFile {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            let net = socket.net.clone();
            drop(socket);
            net.objects.get::<RawTable>().remove(&net);
        }
    }
}

impl FileOps for RawFile {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        Ok(self.socket()?.receive_one(dst, 0)?.len)
    }
    fn write_at(
        &self,
        _cx: IoCx<'_>,
        _offset: u64,
        src: &mut dyn Source,
    ) -> SysResult<(usize, u64)> {
        Ok((self.socket()?.send_to(src, None)?, 0))
    }
    fn readiness(&self) -> Events {
        let mut events = Events::OUT | Events::WRNORM | Events::WRBAND;
        let Some(socket) = &self.socket else {
            return events;
        };
        let inbox = socket.inbox.lock();
        if !inbox.is_empty() {
            events |= Events::IN | Events::RDNORM;
        }
        if inbox.error.is_some() {
            events |= Events::ERR;
        }
        events
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        self.socket.as_ref().map(|socket| &socket.queue)
    }
    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        let count = match request {
            so::FIONREAD => {
                let inbox = self.socket()?.inbox.lock();
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

impl SocketOps for RawFile {
    fn kind(&self) -> (i32, i32, i32) {
        let Some(socket) = &self.socket else {
            return (0, 0, 0);
        };
        let kind = if socket.ping {
            so::SOCK_DGRAM
        } else {
            so::SOCK_RAW
        };
        (socket.family.number(), kind, socket.protocol_number)
    }
    fn bind(&self, _task: &CurrentTask, addr: &[u8]) -> Result<()> {
        let socket = self.socket()?;
        let at = Endpoint::parse(addr, socket.family)?;
        outside::check_local(&socket.net, Endpoint { port: 0, ..at })?;
        let mut state = socket.state.lock();
        state.local = (!at.ip.is_unspecified()).then_some(at.ip);
        if socket.ping && at.port != 0 {
            state.ident = at.port;
        }
        Ok(())
    }
    fn listen(&self, _task: &CurrentTask, _backlog: i32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    fn connect(&self, _task: &CurrentTask, addr: &[u8]) -> Result<()> {
        let socket = self.socket()?;
        if Endpoint::family_of(addr)? == so::AF_UNSPEC {
            socket.state.lock().remote = None;
            return Ok(());
        }
        let to = Endpoint::parse(addr, socket.family)?.definite();
        let way = outside::way(&socket.net, to.ip)?;
        let (Way::Loopback(source) | Way::Out(source)) = way;
        let mut state = socket.state.lock();
        state.remote = Some(to.ip);
        state.local.get_or_insert(source);
        Ok(())
    }
    fn accept(&self, _task: &CurrentTask) -> Result<(Arc<File>, SockAddr)> {
        Err(Errno::EOPNOTSUPP)
    }
    fn send(
        &self,
        _task: &CurrentTask,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        _control: Vec<ControlMessage>,
        _files: Vec<Arc<File>>,
        flags: i32,
    ) -> SysResult<usize> {
        if flags & so::MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let socket = self.socket()?;
        let to = match to {
            None => None,
            Some(addr) => Some(Endpoint::parse(addr, socket.family)?),
        };
        Ok(socket.send_to(src, to)?)
    }
    fn receive(&self, _task: &CurrentTask, dst: &mut dyn Sink, flags: i32) -> SysResult<Message> {
        Ok(self.socket()?.receive_one(dst, flags)?)
    }
    fn shutdown(&self, _how: i32) -> Result<()> {
        match self.socket()?.state.lock().remote {
            Some(_) => Ok(()),
            None => Err(Errno::ENOTCONN),
        }
    }
    fn local_addr(&self) -> Result<SockAddr> {
        let socket = self.socket()?;
        let state = socket.state.lock();
        let port = if socket.ping { state.ident } else { 0 };
        let any = Endpoint::any(socket.family).ip;
        let ip = state.local.unwrap_or(any);
        Ok(Endpoint { ip, port }.show(socket.family))
    }
    fn peer_addr(&self) -> Result<SockAddr> {
        let socket = self.socket()?;
        let ip = socket.state.lock().remote.ok_or(Errno::ENOTCONN)?;
        Ok(Endpoint { ip, port: 0 }.show(socket.family))
    }
    fn get_option(
        &self,
        _task: &CurrentTask,
        level: i32,
        name: i32,
        max: usize,
    ) -> Result<Vec<u8>> {
        let socket = self.socket()?;
        match (level, name) {
            (so::SOL_SOCKET, _) => {}
            (so::IPPROTO_IP, IP_HDRINCL) => {
                let on = i32::from(socket.state.lock().header_included);
                return Ok(cut(&on.to_ne_bytes(), max));
            }
            (SOL_RAW | SOL_ICMPV6, FILTER) => {
                let filter = socket.state.lock().filter.map(u32::to_ne_bytes).concat();
                let len = if level == SOL_RAW { 4 } else { 32 };
                return Ok(cut(&filter[..len], max));
            }
            _ => return socket.protocol.lock().get(level, name, max, 0, None),
        }
        let number = match name {
            so::SO_DOMAIN => socket.family.number(),
            so::SO_TYPE => self.kind().1,
            so::SO_PROTOCOL => socket.protocol_number,
            so::SO_ACCEPTCONN => 0,
            so::SO_ERROR => socket.inbox.lock().error.take().map_or(0, Errno::raw),
            name => return socket.options.lock().get(name, max),
        };
        Ok(cut(&number.to_ne_bytes(), max))
    }
    fn set_option(&self, task: &CurrentTask, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let socket = self.socket()?;
        match (level, name) {
            (so::SOL_SOCKET, _) => {
                let creds = task.creds();
                socket.options.lock().set(&creds, name, value)
            }
            (so::IPPROTO_IP, IP_HDRINCL) if !socket.ping => {
                socket.state.lock().header_included = int(value)? != 0;
                Ok(())
            }
            (SOL_RAW | SOL_ICMPV6, FILTER) => {
                let mut state = socket.state.lock();
                for (word, bytes) in state.filter.iter_mut().zip(value.as_chunks::<4>().0) {
                    *word = u32::from_ne_bytes(*bytes);
                }
                Ok(())
            }
            // IPV6_CHECKSUM: ICMPv6's is always filled in.
            (SOL_RAW | so::IPPROTO_IPV6, 7) if socket.protocol_number == 58 => Ok(()),
            _ => socket.protocol.lock().set(level, name, value),
        }
    }
    fn timeout_ns(&self, send: bool) -> Option<u64> {
        let options = self.socket.as_ref()?.options.lock();
        if send {
            options.send_timeout_ns
        } else {
            options.receive_timeout_ns
        }
    }
}
