//! A network namespace's stack as its users see it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Instant as Clock;

use abi::Errno;
use parking_lot::Mutex;
use smoltcp::time::Instant;

use crate::checksum;
use crate::counters::{Counters, LinkCounters};
use crate::fragment::{self, Progress, Reassembler};
use crate::group;
use crate::icmp;
use crate::neighbour::NeighbourEntry;
use crate::net::{self, Net};
use crate::packet::{self, Fields, Ip};
use crate::setup::{self, Setup};
use crate::tcp::{Connection, Key, Listener, Notify, Place, Reserve, Row, Settings, Tcp};
use crate::udp::{self, PacketOptions, RawPacket};
use crate::wire::{self, Header, Wire};

/// A datagram that has arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Number of the interface.
    pub interface: u32,
    /// Sender; its port is 0 for other protocols than UDP.
    pub from: SocketAddr,
    /// Where it was sent to.
    pub to: SocketAddr,
    /// IPPROTO_*.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// The whole IP packet.
    pub packet: Vec<u8>,
    /// Where in it the payload begins: after the UDP header, or after the IP header for other protocols.
    pub payload: usize,
}

/// Who gets what is not TCP. Called with no lock of the stack held.
pub trait Upper: Send + Sync {
    /// A UDP datagram. False: nobody is there.
    fn datagram(&self, arrived: &Arrived) -> bool;
    /// Any packet, before it is looked at further: for raw and ping sockets. Only called if [`Options::raw`] was asked for.
    fn packet(&self, arrived: &Arrived);
    /// An ICMP error about a packet of ours.
    fn failed(&self, failed: &Failed);
}

/// An ICMP error about a packet of ours that was not TCP's.
#[derive(Clone, Debug)]
pub struct Failed {
    /// IPPROTO_*.
    pub protocol: u8,
    /// Our end; of an echo request its identifier in place of the port.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// What it means.
    pub errno: Errno,
    /// It is final, rather than passing by.
    pub hard: bool,
    /// SO_EE_ORIGIN_*, type and code.
    pub origin: [u8; 3],
    /// The path's MTU, where the error is about that.
    pub info: u32,
    /// Who says so.
    pub offender: IpAddr,
    /// What the packet carried, as far as it is quoted.
    pub payload: Vec<u8>,
}

impl From<icmp::Report> for Failed {
    fn from(report: icmp::Report) -> Self {
        Self {
            protocol: report.protocol,
            local: report.local,
            remote: report.remote,
            errno: report.errno,
            hard: report.hard,
            origin: report.origin,
            info: report.mtu.map_or(0, |mtu| mtu as u32),
            offender: report.offender,
            payload: report.payload,
        }
    }
}

/// What a stack needs beside its setup.
pub struct Options {
    /// Bytes for buffers of connections, all together.
    pub memory: usize,
    /// Fills with random bytes.
    pub random: fn(&mut [u8]),
}

const UDP_HEADER: usize = 8;
/// Number of the interface `lo`.
const LOOPBACK_INDEX: u32 = 1;

/// Most frames that one readiness leads to before others get their turn.
const BATCH: usize = 128;

pub(crate) struct Inner {
    pub(crate) net: Net,
    pub(crate) tcp: Tcp,
    fragments: Reassembler,
    /// For [`Upper`].
    arrived: Vec<Arrived>,
    failed: Vec<icmp::Report>,
    raw: bool,
    /// Ports that are the host's.
    reserved: Option<(u16, u16)>,
    interfaces: Vec<u32>,
    /// Frame being read.
    frame: Vec<u8>,
}

/// See the module.
pub struct Stack {
    inner: Mutex<Inner>,
    setup: Setup,
    epoch: Clock,
    upper: OnceLock<Arc<dyn Upper>>,
    alarm: OnceLock<Box<dyn Fn(Clock) + Send + Sync>>,
    /// When the alarm is set to, so that it is not set again and again.
    alarm_at: Mutex<Option<Instant>>,
}

impl Stack {
    /// A stack on these wires, one for each interface of `setup`, which was checked.
    #[must_use]
    pub fn new(setup: Setup, wires: Vec<Arc<dyn Wire>>, options: &Options) -> Arc<Self> {
        let mut id = [0; 2];
        (options.random)(&mut id);
        let reserve = Reserve {
            total: options.memory,
        };
        let inner = Inner {
            net: Net::new(&setup, wires, u16::from_ne_bytes(id)),
            tcp: Tcp::new(reserve, options.random),
            fragments: Reassembler::default(),
            arrived: Vec::new(),
            failed: Vec::new(),
            raw: false,
            reserved: setup.reserved_ports,
            interfaces: setup
                .interfaces
                .iter()
                .map(|i| i.index)
                .chain(setup.host_loopback.iter().map(|_| LOOPBACK_INDEX))
                .collect(),
            frame: vec![0; wire::FRAME_MAX],
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
            setup,
            epoch: Clock::now(),
            upper: OnceLock::new(),
            alarm: OnceLock::new(),
            alarm_at: Mutex::new(None),
        })
    }

    /// Who gets datagrams. Later calls change nothing.
    pub fn set_upper(&self, upper: Arc<dyn Upper>) {
        let _ = self.upper.set(upper);
    }

    /// How the stack asks for [`Stack::tick`]. Later calls change nothing.
    pub fn set_alarm(&self, alarm: Box<dyn Fn(Clock) + Send + Sync>) {
        let _ = self.alarm.set(alarm);
    }

    /// Sees every frame (`--pcap`): `true` for those that go out.
    pub fn set_tap(&self, tap: Box<dyn Fn(bool, &[u8]) + Send + Sync>) {
        self.inner.lock().net.tap = Some(tap);
    }

    /// Raw or ping sockets exist: they get a copy of each packet.
    pub fn set_raw(&self, wanted: bool) {
        self.inner.lock().raw = wanted;
    }

    /// What it was made from.
    #[must_use]
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    fn now(&self) -> Instant {
        Instant::from_micros(i64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Inner) -> R) -> R {
        self.with_at(self.now(), act)
    }

    /// Acts under the lock, then tells everybody what came of it.
    pub(crate) fn with_at<R>(&self, now: Instant, act: impl FnOnce(&mut Inner) -> R) -> R {
        let (result, notices, arrived, failed, deadline) = {
            let mut inner = self.inner.lock();
            inner.net.now = inner.net.now.max(now);
            let result = act(&mut inner);
            if !inner.net.unreachable.is_empty() {
                let gone = std::mem::take(&mut inner.net.unreachable);
                let Inner { net, tcp, .. } = &mut *inner;
                tcp.neighbours_gone(net, &gone);
            }
            (
                result,
                std::mem::take(&mut inner.tcp.notices),
                std::mem::take(&mut inner.arrived),
                std::mem::take(&mut inner.failed),
                inner.deadline(),
            )
        };
        for (notify, ready) in notices {
            notify.notify(ready);
        }
        if let Some(upper) = self.upper.get() {
            for report in failed {
                upper.failed(&report.into());
            }
            for arrived in arrived {
                self.deliver(&**upper, &arrived);
            }
        }
        self.set_alarm_at(deadline);
        result
    }

    fn set_alarm_at(&self, deadline: Option<Instant>) {
        let Some(at) = deadline else { return };
        {
            let mut set = self.alarm_at.lock();
            if set.is_some_and(|set| set <= at) {
                return;
            }
            *set = Some(at);
        }
        if let Some(alarm) = self.alarm.get() {
            let micros = u64::try_from(at.total_micros()).unwrap_or(0);
            alarm(self.epoch + std::time::Duration::from_micros(micros));
        }
    }

    fn deliver(&self, upper: &dyn Upper, arrived: &Arrived) {
        if arrived.protocol != packet::UDP {
            upper.packet(arrived);
            return;
        }
        if self.inner.lock().raw {
            let mut whole = arrived.clone();
            whole.payload -= UDP_HEADER;
            upper.packet(&whole);
        }
        let known = upper.datagram(arrived);
        let mut inner = self.inner.lock();
        if known {
            inner.net.counters.udp_in_datagrams += 1;
            return;
        }
        inner.net.counters.udp_no_ports += 1;
        let link = inner
            .interfaces
            .iter()
            .position(|index| *index == arrived.interface);
        if let Some(link) = link {
            icmp::port_unreachable(&mut inner.net, link, &arrived.packet);
        }
    }

    /// Takes in what has arrived at the interface at position `link` of the setup. False: there may be more.
    pub fn pump(&self, link: usize) -> bool {
        self.pump_at(self.now(), link)
    }

    pub(crate) fn pump_at(&self, now: Instant, link: usize) -> bool {
        self.with_at(now, |inner| {
            let Some(wire) = inner.net.links.get(link).map(|link| link.wire.clone()) else {
                return true;
            };
            let mut frame = std::mem::take(&mut inner.frame);
            let mut done = false;
            for _ in 0..BATCH {
                let Some(len) = wire.receive(&mut frame) else {
                    done = true;
                    break;
                };
                inner.input(link, &frame[..len.min(frame.len())]);
            }
            inner.frame = frame;
            done
        })
    }

    /// Does what is due.
    pub fn tick(&self) {
        self.tick_at(self.now());
    }

    pub(crate) fn tick_at(&self, now: Instant) {
        *self.alarm_at.lock() = None;
        self.with_at(now, |inner| {
            let Inner { net, tcp, .. } = inner;
            net.tick();
            tcp.tick(net);
        });
    }

    /// Whether packets to `ip` are for this stack.
    #[must_use]
    pub fn is_own(&self, ip: IpAddr) -> bool {
        self.setup
            .interfaces
            .iter()
            .any(|interface| interface.addresses.iter().any(|own| own.ip == ip))
    }

    /// Whether `to` is somebody's on the host's loopback: an address that is the host's, or a port that only the host has.
    #[must_use]
    pub fn is_on_host_loopback(&self, to: SocketAddr) -> bool {
        let (Some(addresses), IpAddr::V4(ip)) = (&self.setup.host_loopback, to.ip()) else {
            return false;
        };
        let reserved = self
            .setup
            .reserved_ports
            .is_some_and(|(first, last)| (first..=last).contains(&to.port()));
        addresses.contains(&ip) || (ip == setup::LOOPBACK && reserved)
    }

    /// Whether `ip` is a broadcast address.
    #[must_use]
    pub fn is_broadcast(&self, ip: IpAddr) -> bool {
        self.inner.lock().net.table.is_broadcast(ip)
    }

    /// The address that packets to `to` come from, through `interface` if one is named: `ENETUNREACH`, `EADDRNOTAVAIL`, `ENODEV`.
    pub fn source_for(&self, to: IpAddr, interface: Option<u32>) -> Result<IpAddr, Errno> {
        let link = self.link_of(interface)?;
        let inner = self.inner.lock();
        let hop = inner.net.table.hop(to, link)?;
        inner.net.table.source(&hop, to)
    }

    /// The number of the interface that leads to `to`.
    #[must_use]
    pub fn interface_to(&self, to: IpAddr) -> Option<u32> {
        let inner = self.inner.lock();
        let hop = inner.net.table.hop(to, None).ok()?;
        inner.interfaces.get(hop.link).copied()
    }

    /// Somebody is in a group on an interface now, or nobody any more: the routers there are told.
    pub fn set_member(&self, group: IpAddr, interface: u32, member: bool) {
        if let Ok(Some(link)) = self.link_of(Some(interface)) {
            self.with(|inner| inner.net.set_member(link, group, member));
        }
    }

    /// The MTU on the way to `to`.
    #[must_use]
    pub fn mtu_to(&self, to: IpAddr) -> Option<u32> {
        let inner = self.inner.lock();
        let hop = inner.net.table.hop(to, None).ok()?;
        inner.net.links.get(hop.link).map(|link| link.mtu as u32)
    }

    /// Listens.
    #[must_use]
    pub fn listen(
        self: &Arc<Self>,
        place: Place,
        backlog: usize,
        settings: Settings,
        notify: Arc<dyn Notify>,
    ) -> Listener {
        let id = self.with(|inner| inner.tcp.listen(place, backlog, settings, notify));
        Listener::new(self.clone(), id)
    }

    /// Begins to connect `local` (a definite address and port) to `remote`: `ENETUNREACH`, `EADDRNOTAVAIL`, `ENOBUFS`.
    pub fn connect(
        self: &Arc<Self>,
        local: SocketAddr,
        remote: SocketAddr,
        settings: Settings,
        notify: Arc<dyn Notify>,
    ) -> Result<Connection, Errno> {
        let key = Key { local, remote };
        let link = self.link_of(settings.interface)?;
        let id = self.with(|inner| {
            let Inner { net, tcp, .. } = inner;
            tcp.connect(net, key, settings, notify, link)
        })?;
        Ok(Connection::new(self.clone(), id))
    }

    fn link_of(&self, interface: Option<u32>) -> Result<Option<usize>, Errno> {
        let Some(number) = interface else {
            return Ok(None);
        };
        let found = self
            .setup
            .interfaces
            .iter()
            .position(|interface| interface.index == number);
        found.map(Some).ok_or(Errno::ENODEV)
    }

    /// Sends a UDP datagram: `ENETUNREACH`, `EMSGSIZE`, `ENODEV`.
    pub fn send_datagram(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
        options: &PacketOptions,
    ) -> Result<(), Errno> {
        let link = self.link_of(options.interface)?;
        self.with(|inner| udp::send(&mut inner.net, from, to, payload, options, link))
    }

    /// Sends a packet of any protocol: `ENETUNREACH`, `EMSGSIZE`, `ENODEV`.
    pub fn send_raw(&self, raw: &RawPacket<'_>, options: &PacketOptions) -> Result<(), Errno> {
        let link = self.link_of(options.interface)?;
        self.with(|inner| udp::send_raw(&mut inner.net, raw, options, link))
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> (Counters, Vec<LinkCounters>) {
        let inner = self.inner.lock();
        let links = inner.net.links.iter().map(|link| link.counters).collect();
        (inner.net.counters, links)
    }

    /// Neighbours.
    #[must_use]
    pub fn neighbours(&self) -> Vec<NeighbourEntry> {
        let inner = self.inner.lock();
        let all = inner.net.links.iter().enumerate();
        all.flat_map(|(at, link)| link.neighbours.list(at, inner.net.now))
            .collect()
    }

    /// Connections.
    #[must_use]
    pub fn connections(&self) -> Vec<Row> {
        self.inner.lock().tcp.rows()
    }

    /// Connections, those in TIME-WAIT, bytes of their buffers.
    #[must_use]
    pub fn totals(&self) -> (usize, usize, usize) {
        self.inner.lock().tcp.totals()
    }
}

impl Inner {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.tcp.deadline(), self.net.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// A frame with its virtio-net header.
    pub(crate) fn input(&mut self, link: usize, frame: &[u8]) {
        let Some((header, ethernet)) = Header::parse(frame) else {
            return;
        };
        if let Some(tap) = &self.net.tap {
            tap(false, ethernet);
        }
        let counters = &mut self.net.links[link].counters;
        counters.rx_packets += 1;
        counters.rx_bytes += ethernet.len() as u64;
        let Some((head, body)) = ethernet.split_at_checked(wire::ETHERNET_LEN) else {
            counters.rx_dropped += 1;
            return;
        };
        if head[0] & 1 != 0 {
            counters.multicast += 1;
        } else if head[..6] != self.net.links[link].mac {
            return;
        }
        match u16::from_be_bytes([head[12], head[13]]) {
            net::ETHERTYPE_ARP => self.net.arp(link, body),
            net::ETHERTYPE_IP | net::ETHERTYPE_IP6 => self.ip(link, body, &header),
            _ => self.net.links[link].counters.rx_dropped += 1,
        }
    }

    fn ip(&mut self, link: usize, bytes: &[u8], header: &Header) {
        self.net.counters.ip_in_receives += 1;
        let Some(ip) = packet::parse(bytes) else {
            self.net.counters.ip_in_header_errors += 1;
            return;
        };
        // Loopback's addresses are found on loopback, and no others.
        let loopback = self.net.links.get(link).is_some_and(|link| link.loopback);
        let spoofed = ip.from.is_loopback() != loopback
            || ip.to.is_loopback() != loopback
            || ip.from.is_multicast()
            || self.net.table.is_broadcast(ip.from);
        let ours = self.net.table.is_own(ip.to)
            || ip.to.is_multicast()
            || self.net.table.is_broadcast(ip.to);
        if spoofed || !ours {
            self.net.counters.ip_in_address_errors += 1;
            return;
        }
        let checked = header.flags & (wire::NEEDS_CHECKSUM | wire::DATA_VALID) != 0;
        let Some(piece) = ip.piece else {
            self.transport(link, &ip, checked);
            return;
        };
        self.net.counters.ip_reassembly_required += 1;
        let key = fragment::Key {
            from: ip.from,
            to: ip.to,
            protocol: ip.protocol,
            id: piece.id,
        };
        let now = self.net.now;
        let (progress, failed) = self
            .fragments
            .add(key, piece.offset, piece.more, ip.payload, now);
        self.net.counters.ip_reassembly_failed += failed;
        if let Progress::Whole(payload) = progress {
            self.net.counters.ip_reassembled += 1;
            let fields = Fields {
                from: ip.from,
                to: ip.to,
                protocol: ip.protocol,
                ttl: ip.ttl,
                tos: ip.tos,
                id: piece.id as u16,
                fragment: 0,
            };
            let head = packet::header_len(ip.to);
            if head + payload.len() > 65_535 {
                self.net.counters.ip_reassembly_failed += 1;
                return;
            }
            let mut whole = vec![0; head];
            packet::write_header(&mut whole, &fields, payload.len());
            whole.extend_from_slice(&payload);
            if let Some(ip) = packet::parse(&whole) {
                self.transport(link, &ip, false);
            }
        }
    }

    fn transport(&mut self, link: usize, ip: &Ip<'_>, checked: bool) {
        // The host's own stack has some ports, and answers for them.
        if matches!(ip.protocol, packet::TCP | packet::UDP)
            && let (Some((first, last)), Some(ports)) =
                (self.reserved, ip.payload.first_chunk::<4>())
            && (first..=last).contains(&u16::from_be_bytes([ports[2], ports[3]]))
        {
            return;
        }
        self.net.counters.ip_in_delivers += 1;
        if self.raw && ip.protocol != packet::UDP {
            self.arrive(link, ip, 0, 0, 0);
        }
        let sound = |ip: &Ip<'_>| {
            let sum = checksum::pseudo(ip.from, ip.to, ip.protocol, ip.payload.len());
            checksum::fold(checksum::add(sum, ip.payload)) == 0xffff
        };
        match ip.protocol {
            packet::TCP => {
                let unicast = self.net.table.is_own(ip.to) && !ip.from.is_unspecified();
                if !unicast || !(checked || sound(ip)) {
                    self.net.counters.tcp_in_errors += 1;
                    return;
                }
                let number = self.interfaces.get(link).copied();
                let Self { net, tcp, .. } = self;
                tcp.input(net, link, number, ip);
            }
            packet::UDP => {
                let Some(head) = ip.payload.first_chunk::<8>() else {
                    self.net.counters.udp_in_errors += 1;
                    return;
                };
                let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
                let len = usize::from(word(4));
                let unchecked = word(6) == 0 && ip.to.is_ipv4();
                if len < 8 || len > ip.payload.len() || !(checked || unchecked || sound(ip)) {
                    self.net.counters.udp_in_errors += 1;
                    return;
                }
                self.arrive(link, ip, word(0), word(2), 8);
            }
            packet::ICMP | packet::ICMP6 => self.icmp(link, ip),
            packet::IGMP
                if ip.to.is_ipv4()
                    && ip.ttl == 1
                    && group::is_query(ip.payload)
                    && checksum::of(ip.payload) == 0 =>
            {
                self.net.answer_query(link, true);
            }
            _ => {}
        }
    }

    fn icmp(&mut self, link: usize, ip: &Ip<'_>) {
        let of_family = ip.to.is_ipv4() == (ip.protocol == packet::ICMP);
        self.net.counters.icmp_in += 1;
        if !of_family || !icmp::is_sound(ip) {
            self.net.counters.icmp_in_errors += 1;
            return;
        }
        match (ip.protocol, ip.payload[0]) {
            (packet::ICMP, 8) | (packet::ICMP6, 128) => icmp::answer_echo(&mut self.net, link, ip),
            (packet::ICMP6, net::NEIGHBOUR_SOLICIT | net::NEIGHBOUR_ADVERT) => {
                if let (IpAddr::V6(from), 255) = (ip.from, ip.ttl) {
                    self.net.discovery(link, from, ip.payload);
                }
            }
            // A query from beyond the link is not for us (RFC 2710, section 5); nor is it an error report.
            (packet::ICMP6, group::MLD_QUERY) if ip.ttl == 1 => self.net.answer_query(link, false),
            (packet::ICMP6, group::MLD_QUERY) => {}
            _ => {
                let Some(report) = icmp::report(ip) else {
                    return;
                };
                if report.protocol == packet::TCP {
                    let Self { net, tcp, .. } = self;
                    tcp.report(net, &report);
                } else {
                    self.failed.push(report);
                }
            }
        }
    }

    fn arrive(&mut self, link: usize, ip: &Ip<'_>, from: u16, to: u16, skip: usize) {
        let at = ip.whole.len() - ip.payload.len();
        // A datagram may be shorter than its packet.
        let end = if skip > 0 {
            at + usize::from(u16::from_be_bytes([ip.payload[4], ip.payload[5]]))
        } else {
            ip.whole.len()
        };
        self.arrived.push(Arrived {
            interface: self.interfaces.get(link).copied().unwrap_or(0),
            from: SocketAddr::new(ip.from, from),
            to: SocketAddr::new(ip.to, to),
            protocol: ip.protocol,
            ttl: ip.ttl,
            tos: ip.tos,
            packet: ip.whole[..end].to_vec(),
            payload: at + skip,
        });
    }
}
