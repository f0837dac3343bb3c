//! Raw and ping sockets (`raw(7)`, `icmp(7)`): what is sent to this sandbox itself stays in memory, everything else goes through the packet stack.
//!
//! Lock order: the table's lock and a socket's are leaves; queues are notified with none held.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use abi::socket as so;
use netstack::{Arrived, PacketOptions, RawPacket};
use parking_lot::Mutex;

use super::caller::Initial;
use super::control::{Failure, Meta, PerMessage};
use super::datagram::{Datagram, Datagrams};
use super::multicast::Memberships;
use super::names::*;
use super::options::Kind;
use super::outside::{self, Way};
use super::tables::{Row, Shown};
use super::udp::UdpSocket;
use super::{Endpoint, Family};
use crate::error::{Errno, Result};
use crate::socket::interface;
use crate::task::namespaces::NetNamespace;
use crate::vfs::Source;

pub(super) const ICMP: u8 = 1;
pub(super) const ICMP6: u8 = 58;
const UDP: u8 = 17;
/// IPPROTO_RAW: the guest writes the IP header itself.
const RAW: i32 = 255;
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

    /// A socket is closed; others may still use it for a moment.
    pub(super) fn closed(&self, net: &NetNamespace, socket: &Arc<RawSocket>) {
        let mut all = self.0.lock();
        all.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(socket)));
        let empty = all.is_empty();
        drop(all);
        if let Some(stack) = outside::stack(net).filter(|_| empty) {
            stack.set_raw(false);
        }
    }

    /// Whether there is any socket.
    pub(super) fn wants_copies(&self) -> bool {
        !self.0.lock().is_empty()
    }

    fn all(&self) -> Vec<Arc<RawSocket>> {
        self.0.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// A packet, for every socket that wants it.
    pub(super) fn arrived(&self, arrived: &Arrived) {
        for socket in self.all() {
            socket.take(arrived);
        }
    }

    /// A UDP datagram that stays in the sandbox, as packets would carry it.
    pub(super) fn datagram_here(&self, from: Endpoint, bytes: &[u8], meta: &Meta) {
        let mut payload = from.port.to_be_bytes().to_vec();
        payload.extend_from_slice(&meta.to.port.to_be_bytes());
        payload.extend_from_slice(&((bytes.len() + 8) as u16).to_be_bytes());
        // The checksum is left to the device, as on Linux's loopback.
        payload.extend_from_slice(&[0; 2]);
        payload.extend_from_slice(bytes);
        self.arrived(&made_up(
            from.ip, meta.to.ip, UDP, &payload, meta.ttl, meta.tos,
        ));
    }

    /// An ICMP error about a packet of a raw or ping socket.
    pub(super) fn failed(&self, protocol: u8, ident: u16, failure: &Failure, hard: bool) {
        for socket in self.all() {
            socket.failed(protocol, ident, failure, hard);
        }
    }
}

#[derive(Default)]
struct State {
    local: Option<IpAddr>,
    remote: Option<Endpoint>,
    /// Identifier of a ping socket; 0: none yet.
    ident: u16,
    header_included: bool,
    /// ICMP_FILTER: types that are not wanted; for ICMPv6 256 bits.
    filter: [u32; 8],
}

/// A raw or ping socket.
pub(super) struct RawSocket {
    pub(super) family: Family,
    pub(super) ping: bool,
    pub(super) protocol_number: i32,
    pub(super) net: Arc<NetNamespace>,
    state: Mutex<State>,
    pub(super) datagrams: Datagrams,
    pub(super) groups: Memberships,
}

impl Shown for RawSocket {
    fn row(&self, uid: u32, ino: u64) -> Option<Row> {
        const ESTABLISHED: u8 = 1;
        const CLOSE: u8 = 7;
        let any = Endpoint::any(self.family).ip;
        let (local, remote) = {
            let state = self.state.lock();
            let port = if self.ping {
                state.ident
            } else {
                self.protocol_number as u16
            };
            let ip = state.local.unwrap_or(any);
            (Endpoint { ip, port }, state.remote)
        };
        let options = self.datagrams.options.lock();
        Some(Row {
            local,
            remote: remote.map(|to| Endpoint { port: 0, ..to }),
            state: if remote.is_some() { ESTABLISHED } else { CLOSE },
            send_queue: 0,
            receive_queue: self.datagrams.used(),
            backlog: None,
            uid,
            ino,
            v6: self.family == Family::V6,
            v6_only: false,
            cookie: options.cookie(),
            interface: options.device().unwrap_or(0),
            lost: self.datagrams.lost(),
        })
    }
}

impl RawSocket {
    /// A new socket; permission was looked at.
    pub(super) fn new(
        net: &Arc<NetNamespace>,
        family: Family,
        ping: bool,
        protocol: i32,
        initial: &Initial,
    ) -> Arc<Self> {
        let options = super::udp::initial_options(family, initial);
        let socket = Arc::new(Self {
            family,
            ping,
            protocol_number: protocol,
            net: net.clone(),
            state: Mutex::new(State {
                header_included: protocol == RAW,
                ..State::default()
            }),
            datagrams: Datagrams::new(Kind::Raw, family, options),
            groups: Memberships::default(),
        });
        net.objects.get::<RawTable>().add(net, &socket);
        socket
    }

    /// Keeps a packet if it is for this socket.
    fn take(&self, arrived: &Arrived) {
        let v4 = self.family == Family::V4;
        if i32::from(arrived.protocol) != self.protocol_number
            || arrived.to.is_ipv4() != v4
            || !self.datagrams.takes_from(arrived.interface)
        {
            return;
        }
        let payload = &arrived.packet[arrived.payload..];
        {
            let state = self.state.lock();
            let here = state.local.is_none_or(|ip| ip == arrived.to.ip());
            let theirs = state.remote.is_none_or(|to| to.ip == arrived.from.ip());
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
        self.datagrams.deliver(Datagram {
            bytes,
            from: Endpoint {
                ip: arrived.from.ip(),
                port: 0,
            },
            meta: Meta::of(arrived),
        });
    }

    fn failed(&self, protocol: u8, ident: u16, failure: &Failure, hard: bool) {
        if i32::from(protocol) != self.protocol_number {
            return;
        }
        let connected = {
            let state = self.state.lock();
            if self.ping && ident != state.ident {
                return;
            }
            let theirs = state.remote.is_none_or(|to| to.ip == failure.to.ip);
            if !theirs {
                return;
            }
            state.remote.is_some()
        };
        if self.datagrams.wants_failures(failure.to) || (connected && hard) {
            self.datagrams.fail(failure.clone());
        }
    }

    /// The identifier of a ping socket, chosen at first need.
    fn ident(&self) -> u16 {
        let mut state = self.state.lock();
        if state.ident == 0 {
            let mut random = [0; 2];
            crate::host::random(&mut random);
            // Among the ports that are chosen for others.
            state.ident = u16::from_ne_bytes(random) | 0x8000;
        }
        state.ident
    }

    pub(super) fn send_to(
        &self,
        src: &mut dyn Source,
        to: Option<Endpoint>,
        message: &PerMessage,
    ) -> Result<usize> {
        self.datagrams.check_send()?;
        let (remote, local, header_included) = {
            let state = self.state.lock();
            (state.remote, state.local, state.header_included)
        };
        let to = to
            .map(Endpoint::definite)
            .or(remote)
            .ok_or(Errno::EDESTADDRREQ)?
            .ip;
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
            bytes[4..6].copy_from_slice(&self.ident().to_be_bytes());
        }
        if self.ping && to.is_ipv4() {
            fill_checksum(&mut bytes);
        }
        let device = self.datagrams.options.lock().device();
        let through = self.groups.through().1.filter(|_| to.is_multicast());
        let interface = message.interface.or(device).or(through);
        let mut way = outside::way(&self.net, to, 0, interface)?;
        if let Some(source) = message.source.or(local) {
            way = way.from(source);
        }
        let from = way.source();
        if from.is_ipv4() != to.is_ipv4() {
            return Err(Errno::EINVAL);
        }
        let (protocol, payload) = if header_included {
            let head = usize::from(bytes[0] & 0xf) * 4;
            (bytes[9], &bytes[head..])
        } else {
            (self.protocol_number as u8, &bytes[..])
        };
        let options = self.packet_options(to, message, header_included.then_some(&bytes));
        match way {
            Way::Loopback(_) => self.deliver_here(from, to, protocol, payload, &options),
            Way::Out { interface, .. } => {
                let stack = outside::stack(&self.net).ok_or(Errno::ENETUNREACH)?;
                let broadcast = self.datagrams.options.lock().is_on(so::SO_BROADCAST);
                if stack.is_broadcast(to) && !broadcast {
                    return Err(Errno::EACCES);
                }
                let raw = RawPacket {
                    from,
                    to,
                    protocol,
                    payload,
                    fill_checksum: protocol == ICMP6,
                };
                let options = PacketOptions {
                    interface,
                    ..options
                };
                stack.send_raw(&raw, &options)?;
            }
        }
        Ok(len)
    }

    fn packet_options(
        &self,
        to: IpAddr,
        message: &PerMessage,
        header: Option<&Vec<u8>>,
    ) -> PacketOptions {
        if let Some(header) = header {
            return PacketOptions {
                ttl: header.get(8).copied(),
                tos: header.get(1).copied().unwrap_or(0),
                ..PacketOptions::default()
            };
        }
        let protocol = self.datagrams.protocol.lock();
        let (level, ttl, many, tos, discover) = match to {
            IpAddr::V4(_) => (
                so::IPPROTO_IP,
                IP_TTL,
                IP_MULTICAST_TTL,
                IP_TOS,
                IP_MTU_DISCOVER,
            ),
            IpAddr::V6(_) => (
                so::IPPROTO_IPV6,
                IPV6_UNICAST_HOPS,
                IPV6_MULTICAST_HOPS,
                IPV6_TCLASS,
                IPV6_MTU_DISCOVER,
            ),
        };
        const PMTUDISC_DO: i32 = 2;
        let of_socket = |name| u8::try_from(protocol.value(level, name)).ok();
        let ttl = if to.is_multicast() { many } else { ttl };
        PacketOptions {
            ttl: message.ttl.or_else(|| of_socket(ttl)),
            tos: message.tos.or_else(|| of_socket(tos)).unwrap_or(0),
            dont_fragment: protocol.value(level, discover) == PMTUDISC_DO,
            interface: None,
        }
    }

    /// A packet to the sandbox itself: raw sockets see it, echo requests are answered, datagrams delivered.
    fn deliver_here(
        &self,
        from: IpAddr,
        to: IpAddr,
        protocol: u8,
        payload: &[u8],
        options: &PacketOptions,
    ) {
        let table = self.net.objects.get::<RawTable>();
        let ttl = options.ttl.unwrap_or(64);
        let mut message = payload.to_vec();
        if protocol == ICMP6 {
            fill_checksum_v6(from, to, &mut message);
        }
        let packet = made_up(from, to, protocol, &message, ttl, options.tos);
        table.arrived(&packet);
        let (request, reply) = match protocol {
            ICMP if to.is_ipv4() => (8, 0),
            ICMP6 if to.is_ipv6() => (128, 129),
            UDP => {
                if let Some(datagram) = as_datagram(packet) {
                    UdpSocket::arrived(&self.net, &datagram);
                }
                return;
            }
            _ => return,
        };
        if message.first() == Some(&request) {
            message[0] = reply;
            if to.is_ipv4() {
                fill_checksum(&mut message);
            } else {
                fill_checksum_v6(to, from, &mut message);
            }
            table.arrived(&made_up(to, from, protocol, &message, 64, options.tos));
        }
    }

    pub(super) fn bind_to(&self, at: Endpoint) -> Result<()> {
        outside::check_local(&self.net, Endpoint { port: 0, ..at }, false)?;
        let mut state = self.state.lock();
        if state.remote.is_some() && !self.ping {
            return Err(Errno::EINVAL);
        }
        state.local = (!at.ip.is_unspecified()).then_some(at.ip);
        if self.ping {
            state.ident = at.port;
            drop(state);
            self.ident();
        }
        Ok(())
    }

    pub(super) fn connect_to(&self, to: Endpoint) -> Result<()> {
        let to = to.definite();
        let device = self.datagrams.options.lock().device();
        let way = outside::way(&self.net, to.ip, 0, device)?;
        let mut state = self.state.lock();
        state.remote = Some(to);
        state.local.get_or_insert(way.source());
        Ok(())
    }

    pub(super) fn disconnect(&self) {
        let mut state = self.state.lock();
        state.remote = None;
        state.local = None;
    }

    pub(super) fn remote(&self) -> Option<Endpoint> {
        self.state.lock().remote
    }

    /// What `getsockname` shows: as a port the identifier, or the protocol.
    pub(super) fn local(&self) -> Endpoint {
        let state = self.state.lock();
        let ip = state.local.unwrap_or(Endpoint::any(self.family).ip);
        let port = if self.ping {
            state.ident
        } else {
            self.protocol_number as u16
        };
        Endpoint { ip, port }
    }

    pub(super) fn header_included(&self) -> bool {
        self.state.lock().header_included
    }

    pub(super) fn include_header(&self, on: bool) {
        self.state.lock().header_included = on;
    }

    /// ICMP_FILTER or ICMPV6_FILTER.
    pub(super) fn filter(&self) -> [u32; 8] {
        self.state.lock().filter
    }

    pub(super) fn set_filter(&self, value: &[u8]) {
        let mut state = self.state.lock();
        for (word, bytes) in state.filter.iter_mut().zip(value.as_chunks::<4>().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
    }
}

/// The one's complement sum of 16-bit words, not folded.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(0, |sum, pair| {
        sum + (u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
    })
}

fn fold(mut sum: u32) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!sum as u16).to_be_bytes()
}

/// Sums up an ICMP message.
fn fill_checksum(message: &mut [u8]) {
    if message.len() >= 4 {
        message[2..4].fill(0);
        let sum = fold(sum(message));
        message[2..4].copy_from_slice(&sum);
    }
}

/// Sums up an ICMPv6 message with its pseudo-header.
fn fill_checksum_v6(from: IpAddr, to: IpAddr, message: &mut [u8]) {
    let (IpAddr::V6(from), IpAddr::V6(to)) = (from, to) else {
        return;
    };
    if message.len() >= 4 {
        message[2..4].fill(0);
        let pseudo = sum(&from.octets()) + sum(&to.octets());
        let total = pseudo + message.len() as u32 + u32::from(ICMP6) + sum(message);
        message[2..4].copy_from_slice(&fold(total));
    }
}

/// A packet that never was on a wire.
fn made_up(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8], ttl: u8, tos: u8) -> Arrived {
    let mut packet = Vec::new();
    if let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) {
        let total = (20 + payload.len()) as u16;
        packet.extend_from_slice(&[0x45, tos]);
        packet.extend_from_slice(&total.to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 0, ttl, protocol, 0, 0]);
        packet.extend_from_slice(&from.octets());
        packet.extend_from_slice(&to.octets());
        let sum = fold(sum(&packet));
        packet[10..12].copy_from_slice(&sum);
    }
    let start = packet.len();
    packet.extend_from_slice(payload);
    Arrived {
        interface: interface::INDEX as u32,
        from: SocketAddr::new(from, 0),
        to: SocketAddr::new(to, 0),
        protocol,
        ttl,
        tos,
        packet,
        payload: start,
    }
}

/// The datagram in a packet of UDP.
fn as_datagram(mut packet: Arrived) -> Option<Arrived> {
    let head = packet.packet.get(packet.payload..)?.first_chunk::<8>()?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (from, to, len) = (word(0), word(2), usize::from(word(4)));
    let end = packet.payload.checked_add(len)?;
    if len < 8 || end > packet.packet.len() {
        return None;
    }
    packet.packet.truncate(end);
    packet.from.set_port(from);
    packet.to.set_port(to);
    packet.payload += 8;
    Some(packet)
}
