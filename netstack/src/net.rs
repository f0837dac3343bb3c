//! Packets out: the way, the neighbour, the frame. Also ARP and neighbour discovery, which belong to the frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use abi::Errno;
use smoltcp::time::Instant;

use crate::checksum;
use crate::counters::{Counters, LinkCounters};
use crate::neighbour::{self, Lookup};
use crate::packet::{self, Fields};
use crate::route::{self, Hop};
use crate::setup::{self, Setup};
use crate::wire::{self, ETHERNET_LEN, HEADER_LEN, Header, Sent, Wire};

/// Bytes before the IP packet in a frame.
pub(crate) const HEADROOM: usize = HEADER_LEN + ETHERNET_LEN;

pub(crate) const ETHERTYPE_IP: u16 = 0x0800;
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
pub(crate) const ETHERTYPE_IP6: u16 = 0x86dd;
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const BROADCAST: [u8; 6] = [0xff; 6];
/// Neighbour solicitation and advertisement.
pub(crate) const NEIGHBOUR_SOLICIT: u8 = 135;
pub(crate) const NEIGHBOUR_ADVERT: u8 = 136;

/// Sees every frame, without its virtio-net header: `true` for those that go out.
pub(crate) type Tap = Box<dyn Fn(bool, &[u8]) + Send + Sync>;

pub(crate) struct Link {
    pub(crate) wire: Arc<dyn Wire>,
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: usize,
    pub(crate) up: bool,
    /// The host's loopback: no neighbours, and packets to and from loopback only.
    pub(crate) loopback: bool,
    /// Groups that somebody here is in.
    pub(crate) groups: Vec<IpAddr>,
    pub(crate) neighbours: neighbour::Table,
    pub(crate) counters: LinkCounters,
}

/// See the module.
pub(crate) struct Net {
    pub(crate) links: Vec<Link>,
    pub(crate) table: route::Table,
    pub(crate) counters: Counters,
    pub(crate) now: Instant,
    pub(crate) tap: Option<Tap>,
    /// Neighbours that did not answer: whoever connects through them is told.
    pub(crate) unreachable: Vec<IpAddr>,
    /// Room for one frame, kept between frames.
    scratch: Vec<u8>,
    next_id: u16,
}

fn multicast_mac(ip: IpAddr) -> Option<[u8; 6]> {
    match ip {
        IpAddr::V4(ip) if ip.is_multicast() => {
            let [_, b, c, d] = ip.octets();
            Some([0x01, 0, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(ip) if ip.is_multicast() => {
            let o = ip.octets();
            Some([0x33, 0x33, o[12], o[13], o[14], o[15]])
        }
        _ => None,
    }
}

/// The multicast group in which whoever has `ip` listens for questions (RFC 4291).
pub(crate) fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let o = ip.octets();
    let low = u16::from_be_bytes([o[14], o[15]]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(o[13]), low)
}

impl Net {
    pub(crate) fn new(setup: &Setup, wires: Vec<Arc<dyn Wire>>, first_id: u16) -> Self {
        let now = Instant::from_micros(0);
        let interfaces = setup
            .interfaces
            .iter()
            .map(|interface| (interface.mac, interface.mtu as usize, false));
        let loopback = setup
            .host_loopback
            .iter()
            .map(|_| ([0; 6], setup::LOOPBACK_MTU, true));
        let mut links: Vec<Link> = interfaces
            .chain(loopback)
            .zip(wires)
            .map(|((mac, mtu, loopback), wire)| Link {
                wire,
                mac,
                mtu,
                up: true,
                loopback,
                groups: Vec::new(),
                neighbours: neighbour::Table::default(),
                counters: LinkCounters::default(),
            })
            .collect();
        for known in &setup.neighbours {
            let at = setup
                .interfaces
                .iter()
                .position(|interface| interface.index == known.interface);
            if let Some(link) = at.and_then(|at| links.get_mut(at)) {
                link.neighbours
                    .set_known(known.ip, known.mac, known.permanent, now);
            }
        }
        Self {
            links,
            table: route::Table::new(setup),
            counters: Counters::default(),
            now,
            tap: None,
            unreachable: Vec::new(),
            scratch: Vec::new(),
            next_id: first_id,
        }
    }

    /// A new identification for a packet that may be fragmented.
    pub(crate) const fn packet_id(&mut self) -> u16 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    /// Lets `fill` write an IP packet of `len` bytes, and sends it by `hop`.
    pub(crate) fn send<R>(
        &mut self,
        hop: &Hop,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> (R, Header),
    ) -> R {
        let mut frame = std::mem::take(&mut self.scratch);
        if frame.len() < HEADROOM + len {
            frame.resize(HEADROOM + len, 0);
        }
        let (result, header) = fill(&mut frame[HEADROOM..HEADROOM + len]);
        frame[..HEADER_LEN].copy_from_slice(&header.bytes());
        self.send_frame(hop, &mut frame[..HEADROOM + len]);
        self.scratch = frame;
        result
    }

    /// Sends a frame whose IP packet and virtio-net header are written.
    pub(crate) fn send_frame(&mut self, hop: &Hop, frame: &mut [u8]) {
        self.counters.ip_out_requests += 1;
        let Some(link) = self.links.get_mut(hop.link) else {
            return;
        };
        let kind = match hop.next {
            IpAddr::V4(_) => ETHERTYPE_IP,
            IpAddr::V6(_) => ETHERTYPE_IP6,
        };
        frame[HEADER_LEN + 6..HEADER_LEN + 12].copy_from_slice(&link.mac);
        frame[HEADER_LEN + 12..HEADROOM].copy_from_slice(&kind.to_be_bytes());
        let mac = if link.loopback {
            Some(([0; 6], false))
        } else if self.table.is_broadcast(hop.next) {
            Some((BROADCAST, false))
        } else if let Some(mac) = multicast_mac(hop.next) {
            Some((mac, false))
        } else {
            match link.neighbours.lookup(hop.next, frame, self.now) {
                Lookup::Found(mac, ask) => Some((mac, ask)),
                Lookup::Waits(ask) => {
                    if ask {
                        self.ask(hop.link, hop.next, None);
                    }
                    None
                }
            }
        };
        if let Some((mac, ask)) = mac {
            frame[HEADER_LEN..HEADER_LEN + 6].copy_from_slice(&mac);
            self.transmit(hop.link, frame);
            if ask {
                self.ask(hop.link, hop.next, Some(mac));
            }
        }
    }

    fn transmit(&mut self, link: usize, frame: &[u8]) {
        if let Some(tap) = &self.tap {
            tap(true, &frame[HEADER_LEN..]);
        }
        let Some(link) = self.links.get_mut(link) else {
            return;
        };
        match link.wire.send(frame) {
            Sent::Yes => {
                link.counters.tx_packets += 1;
                link.counters.tx_bytes += (frame.len() - HEADER_LEN) as u64;
            }
            Sent::Full => link.counters.tx_dropped += 1,
            Sent::Gone => {
                link.up = false;
                link.counters.tx_dropped += 1;
            }
        }
    }

    /// Asks who has `ip`: everybody, or only `mac`.
    fn ask(&mut self, link: usize, ip: IpAddr, mac: Option<[u8; 6]>) {
        let hop = Hop {
            link,
            next: ip,
            source: None,
        };
        let Ok(source) = self.table.source(&hop, ip) else {
            return;
        };
        match (source, ip) {
            (IpAddr::V4(source), IpAddr::V4(ip)) => {
                self.send_arp(link, ARP_REQUEST, mac, source, ip, [0; 6]);
            }
            (IpAddr::V6(source), IpAddr::V6(ip)) => {
                let to = mac.map_or_else(|| solicited_node(ip), |_| ip);
                self.send_discovery(link, NEIGHBOUR_SOLICIT, mac, source, to, ip);
            }
            _ => {}
        }
    }

    fn send_arp(
        &mut self,
        link: usize,
        operation: u16,
        mac: Option<[u8; 6]>,
        source: Ipv4Addr,
        target: Ipv4Addr,
        target_mac: [u8; 6],
    ) {
        let own = self.links[link].mac;
        let mut frame = Header::default().bytes().to_vec();
        frame.extend_from_slice(&mac.unwrap_or(BROADCAST));
        frame.extend_from_slice(&own);
        frame.extend_from_slice(&ETHERTYPE_ARP.to_be_bytes());
        // Ethernet, IPv4, their sizes (RFC 826).
        frame.extend_from_slice(&[0, 1, 8, 0, 6, 4]);
        frame.extend_from_slice(&operation.to_be_bytes());
        frame.extend_from_slice(&own);
        frame.extend_from_slice(&source.octets());
        frame.extend_from_slice(&target_mac);
        frame.extend_from_slice(&target.octets());
        self.transmit(link, &frame);
    }

    /// Sends a neighbour solicitation or advertisement about `about`.
    fn send_discovery(
        &mut self,
        link: usize,
        kind: u8,
        mac: Option<[u8; 6]>,
        source: Ipv6Addr,
        to: Ipv6Addr,
        about: Ipv6Addr,
    ) {
        const HOPS: u8 = 255;
        let own = self.links[link].mac;
        let advert = kind == NEIGHBOUR_ADVERT;
        // Solicited and override.
        let flags = if advert { 0x60 } else { 0 };
        let mut body = vec![kind, 0, 0, 0, flags, 0, 0, 0];
        body.extend_from_slice(&about.octets());
        body.extend_from_slice(&[if advert { 2 } else { 1 }, 1]);
        body.extend_from_slice(&own);
        let (from, to) = (IpAddr::V6(source), IpAddr::V6(to));
        let sum = checksum::pseudo(from, to, packet::ICMP6, body.len());
        let sum = !checksum::fold(checksum::add(sum, &body));
        body[2..4].copy_from_slice(&sum.to_be_bytes());
        let fields = Fields {
            from,
            to,
            protocol: packet::ICMP6,
            ttl: HOPS,
            tos: 0,
            id: 0,
            fragment: 0,
        };
        let mut frame = Header::default().bytes().to_vec();
        frame.extend_from_slice(&mac.or_else(|| multicast_mac(to)).unwrap_or(BROADCAST));
        frame.extend_from_slice(&own);
        frame.extend_from_slice(&ETHERTYPE_IP6.to_be_bytes());
        frame.resize(HEADROOM + 40, 0);
        packet::write_header(&mut frame[HEADROOM..], &fields, body.len());
        frame.extend_from_slice(&body);
        self.transmit(link, &frame);
    }

    /// Sends what waited for a neighbour.
    fn learn(&mut self, link: usize, ip: IpAddr, mac: [u8; 6], make: bool) {
        // Hardware addresses of groups are nobody's.
        if mac[0] & 1 != 0 {
            return;
        }
        let waiting = self.links[link].neighbours.learn(ip, mac, make, self.now);
        for mut frame in waiting {
            frame[HEADER_LEN..HEADER_LEN + 6].copy_from_slice(&mac);
            self.transmit(link, &frame);
        }
    }

    /// An ARP packet (RFC 826).
    pub(crate) fn arp(&mut self, link: usize, body: &[u8]) {
        let Some(body) = body.first_chunk::<28>() else {
            self.links[link].counters.rx_dropped += 1;
            return;
        };
        if body[..6] != [0, 1, 8, 0, 6, 4] {
            return;
        }
        let operation = u16::from_be_bytes([body[6], body[7]]);
        let mac = |at: usize| <[u8; 6]>::try_from(&body[at..at + 6]).unwrap_or_default();
        let ip = |at: usize| Ipv4Addr::new(body[at], body[at + 1], body[at + 2], body[at + 3]);
        let (from_mac, from, target) = (mac(8), ip(14), ip(24));
        let unicast = !from.is_unspecified() && !from.is_multicast() && !from.is_broadcast();
        let own = self
            .table
            .own
            .iter()
            .any(|own| own.link == link && own.ip == IpAddr::V4(target));
        if unicast && !self.table.is_own(IpAddr::V4(from)) {
            self.learn(link, IpAddr::V4(from), from_mac, own);
        }
        if own && operation == ARP_REQUEST {
            self.send_arp(link, ARP_REPLY, Some(from_mac), target, from, from_mac);
        }
    }

    /// Neighbour discovery of IPv6 (RFC 4861); the packet's checksum and hop limit were looked at.
    pub(crate) fn discovery(&mut self, link: usize, from: Ipv6Addr, message: &[u8]) {
        let Some(head) = message.first_chunk::<24>() else {
            return;
        };
        let about: [u8; 16] = head[8..24].try_into().unwrap_or_default();
        let about = Ipv6Addr::from(about);
        if about.is_multicast() {
            return;
        }
        let wanted = if head[0] == NEIGHBOUR_SOLICIT { 1 } else { 2 };
        let mac = option(&message[24..], wanted);
        if head[0] == NEIGHBOUR_ADVERT {
            if let Some(mac) = mac {
                self.learn(link, IpAddr::V6(about), mac, false);
            }
            return;
        }
        let own = self
            .table
            .own
            .iter()
            .any(|own| own.link == link && own.ip == IpAddr::V6(about));
        if !own || from.is_unspecified() {
            return;
        }
        if let Some(mac) = mac {
            self.learn(link, IpAddr::V6(from), mac, true);
            self.send_discovery(link, NEIGHBOUR_ADVERT, Some(mac), about, from, about);
        }
    }

    /// Asks again, gives up.
    pub(crate) fn tick(&mut self) {
        for link in 0..self.links.len() {
            let due = self.links[link].neighbours.tick(self.now);
            for (ip, mac) in due.ask {
                self.ask(link, ip, mac);
            }
            self.unreachable.extend(due.failed);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.links
            .iter()
            .filter_map(|link| link.neighbours.deadline())
            .min()
    }

    /// Sends a whole transport payload from `fields.from`, in fragments if it must be: `EMSGSIZE` if it must not.
    pub(crate) fn send_datagram(
        &mut self,
        hop: &Hop,
        fields: Fields,
        payload: &[u8],
        dont_fragment: bool,
    ) -> Result<(), Errno> {
        let mtu = self.links.get(hop.link).ok_or(Errno::ENETDOWN)?.mtu;
        let head = packet::header_len(fields.to);
        if payload.len() > 65_535 - head {
            return Err(Errno::EMSGSIZE);
        }
        if head + payload.len() <= mtu {
            self.send(hop, head + payload.len(), |into| {
                packet::write_header(into, &fields, payload.len());
                into[head..].copy_from_slice(payload);
                ((), Header::default())
            });
            return Ok(());
        }
        if dont_fragment {
            return Err(Errno::EMSGSIZE);
        }
        self.counters.ip_fragmented += 1;
        let extension = if fields.to.is_ipv6() { 8 } else { 0 };
        let step = (mtu.saturating_sub(head + extension)) & !7;
        if step == 0 {
            return Err(Errno::EMSGSIZE);
        }
        let id = self.packet_id();
        for (number, piece) in payload.chunks(step).enumerate() {
            let offset = number * step;
            let more = offset + piece.len() < payload.len();
            let mut fields = fields;
            let len = head + extension + piece.len();
            let protocol = fields.protocol;
            if extension > 0 {
                fields.protocol = 44;
            } else {
                fields.id = id;
                fields.fragment = (offset / 8) as u16 | u16::from(more) << 13;
            }
            self.send(hop, len, |into| {
                packet::write_header(into, &fields, extension + piece.len());
                if extension > 0 {
                    into[head] = protocol;
                    into[head + 1] = 0;
                    let at = offset as u16 | u16::from(more);
                    into[head + 2..head + 4].copy_from_slice(&at.to_be_bytes());
                    into[head + 4..head + 8].copy_from_slice(&u32::from(id).to_be_bytes());
                }
                into[head + extension..].copy_from_slice(piece);
                ((), Header::default())
            });
            self.counters.ip_fragments_created += 1;
        }
        Ok(())
    }

    /// The virtio-net header for a TCP packet of ours, whose checksum field gets the pseudo-header's sum.
    pub(crate) fn offload(packet: &mut [u8], segment: Option<u16>) -> Header {
        let Some(ip) = parse_own(packet) else {
            return Header::default();
        };
        let (from, to, head, len) = ip;
        let sum = checksum::fold(checksum::pseudo(from, to, packet::TCP, len));
        packet[head + 16..head + 18].copy_from_slice(&sum.to_be_bytes());
        let tcp = usize::from(packet[head + 12] >> 4) * 4;
        Header {
            flags: wire::NEEDS_CHECKSUM,
            gso: match (segment, to) {
                (None, _) => wire::GSO_NONE,
                (Some(_), IpAddr::V4(_)) => wire::GSO_TCP4,
                (Some(_), IpAddr::V6(_)) => wire::GSO_TCP6,
            },
            header_len: segment.map_or(0, |_| (ETHERNET_LEN + head + tcp) as u16),
            segment: segment.unwrap_or(0),
            start: (ETHERNET_LEN + head) as u16,
            offset: 16,
        }
    }
}

/// Addresses, header length and payload length of a TCP packet that smoltcp wrote.
fn parse_own(packet: &[u8]) -> Option<(IpAddr, IpAddr, usize, usize)> {
    let address = |at: usize, len: usize| -> Option<IpAddr> {
        let bytes = packet.get(at..at + len)?;
        Some(if len == 4 {
            IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)
        } else {
            IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)
        })
    };
    let (from, to, head) = match packet.first()? >> 4 {
        4 => (address(12, 4)?, address(16, 4)?, 20),
        _ => (address(8, 16)?, address(24, 16)?, 40),
    };
    (packet.len() >= head + 20).then_some((from, to, head, packet.len() - head))
}

/// The hardware address in an option of kind `wanted`.
fn option(mut options: &[u8], wanted: u8) -> Option<[u8; 6]> {
    while let [kind, len, ..] = *options {
        let len = usize::from(len) * 8;
        if len == 0 || len > options.len() {
            return None;
        }
        if kind == wanted {
            return options[2..8].try_into().ok();
        }
        options = &options[len..];
    }
    None
}
