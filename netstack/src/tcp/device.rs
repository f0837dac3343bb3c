//! What smoltcp takes for a network device: one segment in at most, segments out straight to [`Net`].
//!
//! smoltcp sees IPv4 only. It would not send large segments for the device to cut over IPv6; so a connection of IPv6 gets invented addresses of IPv4, and
//! the header is exchanged on the way, here. Nothing in TCP depends on it: checksums are looked at before and completed after.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use smoltcp::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, PacketMeta, RxToken,
    TxToken,
};
use smoltcp::time::Instant;

use super::recovery::{Again, Recovery, Segment};
use crate::net::Net;
use crate::packet::{self, Fields, Ip};
use crate::route::Hop;

/// Largest IP packet handed to the device to be cut. Linux cuts in software what is 64 KiB or more with its Ethernet header (`gso_features_check`).
const LARGEST: usize = 65_000;
/// Bytes of the headers that smoltcp writes: IPv4 and TCP.
const HEADERS: usize = 40;
/// IP's flag.
const DONT_FRAGMENT: u16 = 0x4000;
/// Bytes of TCP's header.
const TCP_HEADER: usize = 20;
/// By how much the header of IPv6 is longer.
const LONGER: usize = 20;

/// How smoltcp calls the ends of a connection of IPv6.
const STAND_INS: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));

/// How smoltcp calls an address of ours.
pub(super) const fn own_name(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(_) => IpAddr::V4(STAND_INS.0),
        ip @ IpAddr::V4(_) => ip,
    }
}

/// How smoltcp calls a peer's address.
pub(super) const fn peer_name(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(_) => IpAddr::V4(STAND_INS.1),
        ip @ IpAddr::V4(_) => ip,
    }
}

/// The MTU that smoltcp is told.
pub(super) const fn told_mtu(mtu: usize, peer: IpAddr) -> usize {
    match peer {
        IpAddr::V4(_) => mtu,
        IpAddr::V6(_) => mtu.saturating_sub(LONGER),
    }
}

/// A segment as smoltcp is to see it.
pub(super) fn renamed<'a>(ip: &Ip<'a>) -> Cow<'a, [u8]> {
    if ip.from.is_ipv4() {
        return Cow::Borrowed(ip.whole);
    }
    let fields = Fields {
        from: peer_name(ip.from),
        to: own_name(ip.to),
        protocol: packet::TCP,
        ttl: ip.ttl,
        tos: ip.tos,
        id: 0,
        fragment: 0,
    };
    let head = packet::header_len(fields.to);
    let mut bytes = Vec::with_capacity(head + ip.payload.len());
    bytes.resize(head, 0);
    // A payload that IPv4 cannot carry is longer than smoltcp's largest window as well: it will not parse, and be dropped.
    packet::write_header(&mut bytes, &fields, ip.payload.len());
    bytes.extend_from_slice(ip.payload);
    Cow::Owned(bytes)
}

/// Sequence and acknowledgement number of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) seq: u32,
    pub(super) ack: u32,
}

/// See the module.
pub(super) struct Tap<'a> {
    pub(super) net: &'a mut Net,
    pub(super) mtu: usize,
    /// The way to the peer.
    pub(super) hop: Hop,
    /// Both ends of a connection of IPv6, own end first.
    pub(super) v6: Option<(Ipv6Addr, Ipv6Addr)>,
    pub(super) incoming: Option<&'a [u8]>,
    /// Of the last segment sent.
    pub(super) last: Numbers,
    /// Segments sent.
    pub(super) sent: u64,
    /// Bytes of payload sent.
    pub(super) bytes: u64,
    /// Is told of what is sent.
    pub(super) recovery: Recovery,
    /// The oldest byte on its way was sent again.
    pub(super) again: bool,
    /// Window of the last segment sent, and its TTL and TOS.
    pub(super) shape: Shape,
}

/// What a segment that is made here takes from smoltcp's last one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    window: u16,
    ttl: u8,
    tos: u8,
}

/// The bare acknowledgement of a packet as [`renamed`] gives it.
pub(super) fn bare(packet: &[u8]) -> Option<[u8; HEADERS]> {
    let head = usize::from(packet.first()? & 0xf) * 4;
    let tcp = packet.get(head..)?.first_chunk::<TCP_HEADER>()?;
    let payload = packet
        .len()
        .checked_sub(head + usize::from(tcp[12] >> 4) * 4)?;
    let mut bytes = [0; HEADERS];
    bytes[..20].copy_from_slice(packet.first_chunk::<20>()?);
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&(HEADERS as u16).to_be_bytes());
    bytes[20..].copy_from_slice(tcp);
    let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(payload as u32);
    bytes[24..28].copy_from_slice(&seq.to_be_bytes());
    bytes[32] = 5 << 4;
    bytes[33] = 0x10;
    Some(bytes)
}

impl Tap<'_> {
    /// Sends bytes on their way again, from `recovery`'s copy.
    pub(super) fn resend(&mut self, ends: (SocketAddr, SocketAddr), again: &Again) {
        let (local, remote) = ends;
        let head = packet::header_len(remote.ip());
        let (shape, last, recovery) = (self.shape, self.last, &self.recovery);
        let fields = Fields {
            from: local.ip(),
            to: remote.ip(),
            protocol: packet::TCP,
            ttl: shape.ttl,
            tos: shape.tos,
            id: 0,
            fragment: DONT_FRAGMENT,
        };
        let len = head + TCP_HEADER + again.len;
        self.net.counters.tcp_out_segments += 1;
        self.sent += 1;
        self.bytes += again.len as u64;
        self.net.send(&self.hop, len, |into| {
            packet::write_header(&mut into[..head], &fields, len - head);
            let tcp = &mut into[head..];
            tcp[..2].copy_from_slice(&local.port().to_be_bytes());
            tcp[2..4].copy_from_slice(&remote.port().to_be_bytes());
            tcp[4..8].copy_from_slice(&again.seq.to_be_bytes());
            tcp[8..12].copy_from_slice(&last.ack.to_be_bytes());
            tcp[12] = 5 << 4;
            // ACK and PSH.
            tcp[13] = 0x18;
            tcp[14..16].copy_from_slice(&shape.window.to_be_bytes());
            tcp[16..TCP_HEADER].fill(0);
            recovery.copy(again, &mut tcp[TCP_HEADER..]);
            ((), Net::offload(into, None))
        });
    }
}

pub(super) struct In<'a>(&'a [u8]);

impl RxToken for In<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

pub(super) struct Out<'a, 'b> {
    tap: &'a mut Tap<'b>,
    meta: PacketMeta,
}

impl TxToken for Out<'_, '_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let segment = self.meta.segmentation_offload_size.map(|size| size.get());
        let Tap {
            net,
            hop,
            v6,
            last,
            bytes,
            sent,
            recovery,
            again,
            shape,
            mtu,
            ..
        } = self.tap;
        let v6 = *v6;
        let skip = if v6.is_some() { LONGER } else { 0 };
        let head = HEADERS - TCP_HEADER + skip;
        let len = len + skip;
        net.counters.tcp_out_segments += 1;
        *sent += 1;
        let now = net.now;
        let mss = segment.map_or(mtu.saturating_sub(HEADERS), usize::from);
        net.send(hop, len, |into| {
            let result = f(&mut into[skip..]);
            (shape.tos, shape.ttl) = (into[skip + 1], into[skip + 8]);
            if let Some((from, to)) = v6 {
                let fields = Fields {
                    from: IpAddr::V6(from),
                    to: IpAddr::V6(to),
                    protocol: packet::TCP,
                    ttl: shape.ttl,
                    tos: shape.tos,
                    id: 0,
                    fragment: 0,
                };
                packet::write_header(&mut into[..head], &fields, len - head);
            }
            let word = |at: usize| {
                into.get(at..at + 4)
                    .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
                    .map_or(0, u32::from_be_bytes)
            };
            last.seq = word(head + 4);
            last.ack = word(head + 8);
            if let Some(segment) = into.get(head..).and_then(Segment::parse) {
                *bytes += segment.payload().len() as u64;
                shape.window = segment.window();
                *again |= recovery.is_oldest(&segment);
                recovery.outgoing(&segment, mss, now);
            }
            (result, Net::offload(into, segment))
        })
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.meta = meta;
    }
}

impl<'b> Device for Tap<'b> {
    type RxToken<'a>
        = In<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Out<'a, 'b>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(In<'_>, Out<'_, 'b>)> {
        let incoming = self.incoming.take()?;
        let meta = PacketMeta::default();
        Some((In(incoming), Out { tap: self, meta }))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Out<'_, 'b>> {
        let meta = PacketMeta::default();
        Some(Out { tap: self, meta })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.mtu)
    }
}

/// A device for [`smoltcp::iface::Interface::new`], which only asks for its capabilities.
pub(super) struct Blank(pub(super) usize);

pub(super) struct Nothing;

impl RxToken for Nothing {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&[])
    }
}

impl TxToken for Nothing {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        f(&mut vec![0; len])
    }
}

impl Device for Blank {
    type RxToken<'a> = Nothing;
    type TxToken<'a> = Nothing;
    fn receive(&mut self, _now: Instant) -> Option<(Nothing, Nothing)> {
        None
    }
    fn transmit(&mut self, _now: Instant) -> Option<Nothing> {
        None
    }
    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.0)
    }
}

/// Checksums were looked at before, and are completed after: the IPv4 header's alone is smoltcp's to write.
fn capabilities(mtu: usize) -> DeviceCapabilities {
    let mut checksum = ChecksumCapabilities::ignored();
    checksum.ipv4 = Checksum::Tx;
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = mtu;
    capabilities.checksum = checksum;
    // Whole segments: a rest would be a packet of its own.
    let segment = mtu.saturating_sub(HEADERS).max(1);
    let segments = ((LARGEST - LONGER - HEADERS) / segment).max(1);
    capabilities.segmentation.tcpv4 =
        std::num::NonZeroUsize::new((HEADERS + segments * segment).min(LARGEST));
    capabilities
}
