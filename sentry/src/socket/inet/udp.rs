//! UDP (`udp(7)`): within the sandbox from memory to memory, to others through the packet stack (see `super::outside`).
//!
//! Lock order: no two sockets' locks are held at once, a socket's state before its options; queues are notified with none held.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use abi::socket as so;
use netstack::{Arrived, PacketOptions};
use parking_lot::Mutex;

use super::caller::{Caller, Initial};
use super::control::{Failure, Meta, PerMessage};
use super::datagram::{Datagram, Datagrams};
use super::multicast::{Groups, Memberships};
use super::names::*;
use super::options::{Kind, ProtocolOptions};
use super::outside::{self, Way};
use super::ports::{Ports, Sharing, Wanted};
use super::raw::RawTable;
use super::tables::{Row, Shown};
use super::{Endpoint, Family};
use crate::error::{Errno, Result};
use crate::socket::interface;
use crate::task::namespaces::NetNamespace;
use crate::vfs::Source;

/// Largest payload of an IPv4 datagram.
const MAX_PAYLOAD: usize = 65_507;
/// Most datagrams that one send is cut into (UDP_MAX_SEGMENTS).
const MAX_SEGMENTS: usize = 128;

#[derive(Default)]
struct State {
    local: Option<Endpoint>,
    remote: Option<Endpoint>,
    /// What the guest bound it to: address, and port or 0.
    asked: Option<Endpoint>,
    /// What waits for more (MSG_MORE, UDP_CORK).
    pending: Option<Parcel>,
}

/// A datagram on its way.
#[derive(Clone)]
struct Parcel {
    from: Endpoint,
    to: Endpoint,
    way: Way,
    message: PerMessage,
    bytes: Vec<u8>,
}

/// How a send is meant.
#[derive(Clone, Copy, Default)]
pub(super) struct Sending {
    pub(super) message: PerMessage,
    /// MSG_MORE.
    pub(super) more: bool,
}

/// A UDP socket.
pub(super) struct UdpSocket {
    pub(super) family: Family,
    pub(super) net: Arc<NetNamespace>,
    state: Mutex<State>,
    pub(super) datagrams: Datagrams,
    pub(super) groups: Memberships,
}

impl Shown for UdpSocket {
    fn row(&self, uid: u32, ino: u64) -> Option<Row> {
        const ESTABLISHED: u8 = 1;
        const CLOSE: u8 = 7;
        let (local, remote) = {
            let state = self.state.lock();
            (state.local?, state.remote)
        };
        let (cookie, interface) = {
            let options = self.datagrams.options.lock();
            (options.cookie(), options.device())
        };
        Some(Row {
            local,
            remote,
            state: if remote.is_some() { ESTABLISHED } else { CLOSE },
            send_queue: 0,
            receive_queue: self.datagrams.used(),
            backlog: None,
            uid,
            ino,
            v6: self.family == Family::V6,
            v6_only: self.datagrams.protocol.lock().v6_only()
                || (local.ip.is_ipv6() && !local.ip.is_unspecified()),
            cookie,
            interface: interface.unwrap_or(0),
            lost: self.datagrams.lost(),
        })
    }
}

impl UdpSocket {
    pub(super) fn new(family: Family, net: Arc<NetNamespace>, initial: &Initial) -> Arc<Self> {
        let protocol = initial_options(family, initial);
        Arc::new(Self {
            family,
            net,
            state: Mutex::default(),
            datagrams: Datagrams::new(Kind::Udp, family, protocol),
            groups: Memberships::default(),
        })
    }

    fn ports(&self) -> Arc<Ports<Self>> {
        self.net.objects.get()
    }

    pub(super) fn local(&self) -> Option<Endpoint> {
        let state = self.state.lock();
        state
            .local
            .or(state.asked.map(|at| Endpoint { port: 0, ..at }))
    }

    pub(super) fn remote(&self) -> Option<Endpoint> {
        self.state.lock().remote
    }

    fn free_bind(&self) -> bool {
        self.datagrams
            .protocol
            .lock()
            .is_on(so::IPPROTO_IP, IP_FREEBIND)
    }

    /// `EADDRNOTAVAIL` for an address that is nobody's here.
    pub(super) fn check_place(&self, at: Endpoint) -> Result<()> {
        outside::check_local(&self.net, at, self.free_bind())
    }

    /// Binds to `at`: `EINVAL` if it is bound.
    pub(super) fn bind_to(self: &Arc<Self>, at: Endpoint, caller: &Caller) -> Result<()> {
        self.check_place(at)?;
        if at.ip.is_ipv4() && self.family == Family::V6 && self.datagrams.protocol.lock().v6_only()
        {
            return Err(Errno::EINVAL);
        }
        self.take_port(at, caller)?;
        self.state.lock().asked = Some(at);
        Ok(())
    }

    fn take_port(self: &Arc<Self>, at: Endpoint, caller: &Caller) -> Result<()> {
        if self.state.lock().local.is_some() {
            return Err(Errno::EINVAL);
        }
        let sharing = {
            let options = self.datagrams.options.lock();
            Sharing {
                family: self.family,
                v6_only: self.datagrams.protocol.lock().v6_only(),
                reuse_addr: options.reuse_addr,
                reuse_port: options.reuse_port.then_some(caller.uid),
            }
        };
        let wanted = Wanted {
            at,
            sharing,
            range: &caller.ports,
            for_connection: false,
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

    /// Where it is bound, which it is from now on.
    fn bound(self: &Arc<Self>, caller: &Caller) -> Result<Endpoint> {
        let asked = {
            let state = self.state.lock();
            if let Some(local) = state.local {
                return Ok(local);
            }
            state.asked
        };
        let at = asked.unwrap_or(Endpoint::any(self.family));
        match self.take_port(Endpoint { port: 0, ..at }, caller) {
            // Another thread was faster.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(errno),
        }
        self.state.lock().local.ok_or(Errno::EINVAL)
    }

    /// The address that a packet that goes by `way` comes from; binds the socket if it is not.
    fn source(self: &Arc<Self>, way: &Way, caller: &Caller) -> Result<Endpoint> {
        let local = self.bound(caller)?;
        // Bound to a group or to a broadcast address: that is no source.
        let nobody = local.ip.is_unspecified()
            || local.ip.is_multicast()
            || outside::stack(&self.net).is_some_and(|stack| stack.is_broadcast(local.ip));
        Ok(if nobody {
            Endpoint {
                ip: way.source(),
                ..local
            }
        } else {
            local
        })
    }

    /// The way to `to` for one packet, with what the socket and the message say about interface and source.
    fn way(&self, to: Endpoint, message: &PerMessage) -> Result<Way> {
        let device = self.datagrams.options.lock().device();
        let mut interface = message.interface.or(device);
        let mut source = message.source;
        if to.ip.is_multicast() {
            let (address, index) = self.groups.through();
            interface = interface.or(index);
            if let (None, Some(address), true) = (source, address, to.ip.is_ipv4()) {
                source = Some(IpAddr::V4(address));
            }
        }
        let way = outside::way(&self.net, to.ip, to.port, interface)?;
        match source {
            Some(source) if source.is_ipv4() == to.ip.is_ipv4() => {
                match outside::check_local(
                    &self.net,
                    Endpoint {
                        ip: source,
                        port: 0,
                    },
                    false,
                ) {
                    Ok(()) => Ok(way.from(source)),
                    Err(_) if to.ip.is_ipv4() => Err(Errno::ENETUNREACH),
                    Err(_) => Err(Errno::EINVAL),
                }
            }
            Some(_) => Err(Errno::EINVAL),
            None => Ok(way),
        }
    }

    /// Sends a datagram, or keeps it for more to come.
    pub(super) fn send_to(
        self: &Arc<Self>,
        src: &mut dyn Source,
        to: Option<Endpoint>,
        sending: &Sending,
        caller: &Caller,
    ) -> Result<usize> {
        self.datagrams.check_send()?;
        let len = src.remaining();
        let before = self
            .state
            .lock()
            .pending
            .as_ref()
            .map(|pending| pending.bytes.len());
        if before.unwrap_or(0) + len > MAX_PAYLOAD {
            return Err(Errno::EMSGSIZE);
        }
        let begun = match before {
            Some(_) => None,
            None => Some(self.begin(to, sending, caller)?),
        };
        let bytes = src.take_vec(len)?;
        if bytes.len() < len {
            return Err(Errno::EFAULT);
        }
        let corked = {
            let protocol = self.datagrams.protocol.lock();
            protocol.is_on(so::IPPROTO_UDP, UDP_CORK)
        };
        let parcel = {
            let mut state = self.state.lock();
            let mut parcel = match (state.pending.take(), begun) {
                (Some(pending), _) => pending,
                (None, Some(begun)) => begun,
                // Another thread has sent what waited: this is lost, as it would be in Linux's queue.
                (None, None) => return Err(Errno::EDESTADDRREQ),
            };
            if parcel.bytes.is_empty() {
                parcel.bytes = bytes;
            } else {
                parcel.bytes.extend_from_slice(&bytes);
            }
            if corked || sending.more {
                state.pending = Some(parcel);
                return Ok(len);
            }
            parcel
        };
        self.transmit(parcel)?;
        Ok(len)
    }

    /// Sends what waited for more.
    pub(super) fn uncork(&self) -> Result<()> {
        let pending = self.state.lock().pending.take();
        pending.map_or(Ok(()), |parcel| self.transmit(parcel))
    }

    fn begin(
        self: &Arc<Self>,
        to: Option<Endpoint>,
        sending: &Sending,
        caller: &Caller,
    ) -> Result<Parcel> {
        let to = to.or(self.remote()).ok_or(Errno::EDESTADDRREQ)?;
        if to.port == 0 {
            return Err(Errno::EINVAL);
        }
        let to = to.definite();
        if self.only_v6() && to.ip.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        let way = self.way(to, &sending.message)?;
        let mut from = self.source(&way, caller)?;
        if sending.message.source.is_some() {
            from.ip = way.source();
        }
        if from.ip.is_ipv4() != to.ip.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        if matches!(way, Way::Out { .. }) && from.ip.is_loopback() != to.ip.is_loopback() {
            return Err(Errno::EINVAL);
        }
        if self.is_broadcast(to.ip) && !self.datagrams.options.lock().is_on(so::SO_BROADCAST) {
            return Err(Errno::EACCES);
        }
        Ok(Parcel {
            from,
            to,
            way,
            message: sending.message,
            bytes: Vec::new(),
        })
    }

    fn only_v6(&self) -> bool {
        self.family == Family::V6 && self.datagrams.protocol.lock().v6_only()
    }

    fn is_broadcast(&self, ip: IpAddr) -> bool {
        const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 255, 255, 255));
        ip == LOOPBACK || outside::stack(&self.net).is_some_and(|stack| stack.is_broadcast(ip))
    }

    fn transmit(&self, parcel: Parcel) -> Result<()> {
        let of_socket = self
            .datagrams
            .protocol
            .lock()
            .value(so::IPPROTO_UDP, UDP_SEGMENT);
        let size = parcel.message.segment.map_or(of_socket, i32::from);
        let size = usize::try_from(size).unwrap_or(0);
        if size == 0 || parcel.bytes.len() <= size {
            return self.transmit_one(&parcel);
        }
        if parcel.bytes.len().div_ceil(size) > MAX_SEGMENTS {
            return Err(Errno::EINVAL);
        }
        let bytes = parcel.bytes.clone();
        let mut one = parcel;
        for piece in bytes.chunks(size) {
            one.bytes.clear();
            one.bytes.extend_from_slice(piece);
            self.transmit_one(&one)?;
        }
        Ok(())
    }

    fn transmit_one(&self, parcel: &Parcel) -> Result<()> {
        let options = self.packet_options(parcel);
        let Parcel {
            from, to, bytes, ..
        } = parcel;
        if let Way::Out { .. } = parcel.way {
            let stack = outside::stack(&self.net).ok_or(Errno::ENETUNREACH)?;
            stack.send_datagram(from.address(), to.address(), bytes, &options)?;
            // Those who are in the group here hear it, too.
            if to.ip.is_multicast() && self.loops(to.ip) {
                let interface = stack.interface_to(to.ip).unwrap_or(0);
                self.deliver_here(parcel, options.interface.unwrap_or(interface), &options);
            }
            return Ok(());
        }
        self.deliver_here(parcel, interface::INDEX as u32, &options);
        Ok(())
    }

    /// IP_MULTICAST_LOOP.
    fn loops(&self, to: IpAddr) -> bool {
        let protocol = self.datagrams.protocol.lock();
        match to {
            IpAddr::V4(_) => protocol.is_on(so::IPPROTO_IP, IP_MULTICAST_LOOP),
            IpAddr::V6(_) => protocol.is_on(so::IPPROTO_IPV6, IPV6_MULTICAST_LOOP),
        }
    }

    fn deliver_here(&self, parcel: &Parcel, interface: u32, options: &PacketOptions) {
        const DEFAULT_TTL: u8 = 64;
        let Parcel {
            from, to, bytes, ..
        } = parcel;
        let many = to.ip.is_multicast();
        let meta = Meta {
            interface,
            to: *to,
            ttl: options.ttl.unwrap_or(if many { 1 } else { DEFAULT_TTL }),
            tos: options.tos,
            time_ns: crate::time::realtime_ns(),
            lost: 0,
        };
        let raw = self.net.objects.get::<RawTable>();
        if raw.wants_copies() {
            raw.datagram_here(*from, bytes, &meta);
        }
        let packet = || Datagram {
            bytes: bytes.clone(),
            from: *from,
            meta,
        };
        if many || self.is_broadcast(to.ip) {
            deliver_to_many(&self.net, &packet);
            return;
        }
        match receiver(&self.net, *from, *to, interface) {
            Some(receiver) => receiver.datagrams.deliver(packet()),
            // The answer would be "port unreachable", which only connected sockets hear of, and those that asked.
            None if self.remote().is_some() || self.datagrams.wants_failures(*to) => {
                self.datagrams.fail(Failure::refused(*to, bytes));
            }
            None => {}
        }
    }

    /// How a parcel's packets are sent.
    fn packet_options(&self, parcel: &Parcel) -> PacketOptions {
        let protocol = self.datagrams.protocol.lock();
        let to = parcel.to.ip;
        // TTL or hop limit, for one and for many; TOS or class; IP_MTU_DISCOVER.
        let (level, one, many, tos, discover) = match to {
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
        const PMTUDISC_PROBE: i32 = 3;
        let name = if to.is_multicast() { many } else { one };
        let of_socket = |name| u8::try_from(protocol.value(level, name));
        let Way::Out { interface, .. } = parcel.way else {
            return PacketOptions {
                ttl: parcel.message.ttl.or(of_socket(name).ok()),
                tos: parcel.message.tos.or(of_socket(tos).ok()).unwrap_or(0),
                dont_fragment: false,
                interface: None,
            };
        };
        PacketOptions {
            ttl: parcel.message.ttl.or(of_socket(name).ok()),
            tos: parcel.message.tos.or(of_socket(tos).ok()).unwrap_or(0),
            dont_fragment: matches!(
                protocol.value(level, discover),
                PMTUDISC_DO | PMTUDISC_PROBE
            ),
            interface,
        }
    }

    /// A datagram from outside for one socket. False: nobody is there.
    pub(super) fn arrived(net: &NetNamespace, arrived: &Arrived) -> bool {
        let (from, to) = (Endpoint::from(arrived.from), Endpoint::from(arrived.to));
        let Some(socket) = receiver(net, from, to, arrived.interface) else {
            return false;
        };
        socket.datagrams.deliver(packet_of(arrived));
        true
    }

    /// A datagram from outside to a group or to everybody: each socket that wants it gets it.
    pub(super) fn arrived_for_many(net: &NetNamespace, arrived: &Arrived) {
        deliver_to_many(net, &|| packet_of(arrived));
    }

    /// What was sent did not get there: told to a connected socket, or to one that asked for it (IP_RECVERR).
    pub(super) fn failed(net: &NetNamespace, local: Endpoint, failure: Failure, hard: bool) {
        let ports: Arc<Ports<Self>> = net.objects.get();
        let to = failure.to;
        let Some(socket) = ports.find(to, local, |socket| socket.rate(to, local)) else {
            return;
        };
        let asked = socket.datagrams.wants_failures(to);
        if asked || (hard && socket.remote() == Some(to)) {
            socket.datagrams.fail(failure);
        }
    }

    /// How much this socket is meant by a packet from `from` to `to`: connected to the one, or to nobody.
    fn rate(&self, from: Endpoint, to: Endpoint) -> Option<u32> {
        let state = self.state.lock();
        match (state.remote, state.local) {
            (Some(remote), local) if remote == from => {
                let here = local.is_none_or(|local| local.ip.is_unspecified() || local.ip == to.ip);
                here.then_some(1)
            }
            (Some(_), _) => None,
            (None, _) => Some(0),
        }
    }

    /// Connects to `to`.
    pub(super) fn connect_to(self: &Arc<Self>, to: Endpoint, caller: &Caller) -> Result<()> {
        let to = to.definite();
        if self.only_v6() && to.ip.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        let way = self.way(to, &PerMessage::default())?;
        if self.is_broadcast(to.ip) && !self.datagrams.options.lock().is_on(so::SO_BROADCAST) {
            return Err(Errno::EACCES);
        }
        let source = self.source(&way, caller)?;
        let mut state = self.state.lock();
        state.local = Some(source);
        state.remote = Some(to);
        Ok(())
    }

    /// Connects to nobody: what was not bound by the guest is not bound any more.
    pub(super) fn disconnect(&self) {
        let gone = {
            let mut state = self.state.lock();
            state.remote = None;
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
        if let Some(local) = gone {
            self.ports().release(self, local.port, false);
        }
    }

    pub(super) fn close(&self) {
        let local = {
            let mut state = self.state.lock();
            state.pending = None;
            state.local
        };
        if let Some(local) = local {
            self.ports().release(self, local.port, false);
        }
        self.groups.leave_all(&self.net);
        self.datagrams.close();
    }
}

/// The options that a socket begins with.
pub(super) fn initial_options(family: Family, initial: &Initial) -> ProtocolOptions {
    let mut options = ProtocolOptions::default();
    if let Some(ttl) = initial.ttl {
        options.put(so::IPPROTO_IP, IP_TTL, ttl);
    }
    if initial.v6_only && family == Family::V6 {
        options.put(so::IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    options
}

fn packet_of(arrived: &Arrived) -> Datagram {
    Datagram {
        bytes: arrived.packet[arrived.payload..].to_vec(),
        from: arrived.from.into(),
        meta: Meta::of(arrived),
    }
}

fn receiver(
    net: &NetNamespace,
    from: Endpoint,
    to: Endpoint,
    interface: u32,
) -> Option<Arc<UdpSocket>> {
    let ports: Arc<Ports<UdpSocket>> = net.objects.get();
    ports.find(from, to, |socket| {
        socket
            .rate(from, to)
            .filter(|_| socket.datagrams.takes_from(interface))
    })
}

/// Gives a datagram to a group or to everybody to each socket that wants it.
fn deliver_to_many(net: &NetNamespace, packet: &dyn Fn() -> Datagram) {
    let (from, meta) = {
        let packet = packet();
        (packet.from, packet.meta)
    };
    let group = meta.to.ip;
    let many = group.is_multicast();
    if many && !net.objects.get::<Groups>().has(group, meta.interface) {
        return;
    }
    let ports: Arc<Ports<UdpSocket>> = net.objects.get();
    for socket in ports.all(meta.to) {
        let member = !many || socket.groups.has(group, meta.interface) || {
            let protocol = socket.datagrams.protocol.lock();
            protocol.is_on(so::IPPROTO_IP, IP_MULTICAST_ALL)
        };
        let meant = socket.rate(from, meta.to).is_some();
        if member && meant && socket.datagrams.takes_from(meta.interface) {
            socket.datagrams.deliver(packet());
        }
    }
}
