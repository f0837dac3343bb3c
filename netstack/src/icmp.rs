//! ICMP and ICMPv6 (RFC 792, RFC 4443): echo replies, "unreachable" about packets of others, errors about our own.

use std::net::{IpAddr, SocketAddr};

use abi::Errno;

use crate::checksum;
use crate::net::Net;
use crate::packet::{self, Fields, Ip};

/// An error about a packet that we sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) protocol: u8,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) errno: Errno,
    /// It ends a connection that is being made (port, protocol or host unreachable), rather than passing by.
    pub(crate) hard: bool,
    /// "Fragmentation needed": the path's MTU.
    pub(crate) mtu: Option<usize>,
    /// Where it comes from (SO_EE_ORIGIN_*), type and code.
    pub(crate) origin: [u8; 3],
    /// Who says so.
    pub(crate) offender: IpAddr,
    /// What the packet carried, as far as it is quoted.
    pub(crate) payload: Vec<u8>,
}

/// ICMP's errno for IPv4 (`icmp_err_convert` of Linux).
fn errno_v4(kind: u8, code: u8) -> Option<(Errno, bool)> {
    match (kind, code) {
        (3, 0 | 6 | 9 | 11) => Some((Errno::ENETUNREACH, false)),
        (3, 1 | 5 | 7 | 10 | 12..=15) => Some((Errno::EHOSTUNREACH, false)),
        (3, 2) => Some((Errno::ENOPROTOOPT, true)),
        (3, 3) => Some((Errno::ECONNREFUSED, true)),
        (3, 4) => Some((Errno::EMSGSIZE, false)),
        (11, _) => Some((Errno::EHOSTUNREACH, false)),
        (12, _) => Some((Errno::EPROTO, true)),
        _ => None,
    }
}

/// ICMPv6's errno (`icmpv6_err_convert`).
fn errno_v6(kind: u8, code: u8) -> Option<(Errno, bool)> {
    match (kind, code) {
        (1, 0) => Some((Errno::ENETUNREACH, false)),
        (1, 1 | 5 | 6) => Some((Errno::EACCES, true)),
        (1, 2 | 3) | (3, _) => Some((Errno::EHOSTUNREACH, false)),
        (1, 4) => Some((Errno::ECONNREFUSED, true)),
        (2, _) => Some((Errno::EMSGSIZE, false)),
        (4, _) => Some((Errno::EPROTO, true)),
        _ => None,
    }
}

/// Whether the checksum of an ICMP message is right.
pub(crate) fn is_sound(ip: &Ip<'_>) -> bool {
    let start = if ip.to.is_ipv6() {
        checksum::pseudo(ip.from, ip.to, packet::ICMP6, ip.payload.len())
    } else {
        0
    };
    ip.payload.len() >= 8 && checksum::fold(checksum::add(start, ip.payload)) == 0xffff
}

/// What a sound error message says about a packet of ours.
pub(crate) fn report(ip: &Ip<'_>) -> Option<Report> {
    let message = ip.payload;
    let (kind, code) = (message[0], message[1]);
    let (errno, hard) = if ip.to.is_ipv4() {
        errno_v4(kind, code)?
    } else {
        errno_v6(kind, code)?
    };
    let inner = &message[8..];
    // Only the beginning of the packet is quoted, so its length is no measure.
    let (from, to, protocol, payload) = match inner.first()? >> 4 {
        4 => {
            let head = usize::from(inner[0] & 0xf) * 4;
            let bytes = inner.first_chunk::<20>()?;
            let from: [u8; 4] = bytes[12..16].try_into().ok()?;
            let to: [u8; 4] = bytes[16..20].try_into().ok()?;
            (
                IpAddr::from(from),
                IpAddr::from(to),
                bytes[9],
                inner.get(head..)?,
            )
        }
        6 => {
            let bytes = inner.first_chunk::<40>()?;
            let from: [u8; 16] = bytes[8..24].try_into().ok()?;
            let to: [u8; 16] = bytes[24..40].try_into().ok()?;
            (
                IpAddr::from(from),
                IpAddr::from(to),
                bytes[6],
                inner.get(40..)?,
            )
        }
        _ => return None,
    };
    /// SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6.
    const ORIGINS: (u8, u8) = (2, 3);
    let head = payload.first_chunk::<8>()?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    // An echo request has an identifier in place of ports.
    let (local, remote, quoted) = match protocol {
        packet::ICMP | packet::ICMP6 => (word(4), 0, payload),
        packet::UDP => (word(0), word(2), &payload[8..]),
        _ => (word(0), word(2), payload),
    };
    let mtu = match (ip.to.is_ipv4(), kind, code) {
        (true, 3, 4) => Some(usize::from(u16::from_be_bytes([message[6], message[7]]))),
        (false, 2, _) => message
            .get(4..8)
            .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
            .map(|bytes| u32::from_be_bytes(bytes) as usize),
        _ => None,
    };
    Some(Report {
        protocol,
        local: SocketAddr::new(from, local),
        remote: SocketAddr::new(to, remote),
        errno,
        hard,
        mtu,
        origin: [
            if ip.to.is_ipv4() {
                ORIGINS.0
            } else {
                ORIGINS.1
            },
            kind,
            code,
        ],
        offender: ip.from,
        payload: quoted.to_vec(),
    })
}

fn send(net: &mut Net, from: IpAddr, to: IpAddr, link: usize, tos: u8, mut message: Vec<u8>) {
    const TTL: u8 = 64;
    let Ok(hop) = net
        .table
        .hop(to, Some(link))
        .or_else(|_| net.table.hop(to, None))
    else {
        net.counters.ip_out_no_routes += 1;
        return;
    };
    message[2..4].fill(0);
    let (protocol, start) = match to {
        IpAddr::V4(_) => (packet::ICMP, 0),
        IpAddr::V6(_) => (
            packet::ICMP6,
            checksum::pseudo(from, to, packet::ICMP6, message.len()),
        ),
    };
    let sum = !checksum::fold(checksum::add(start, &message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let fields = Fields {
        from,
        to,
        protocol,
        ttl: TTL,
        tos,
        id: net.packet_id(),
        fragment: 0,
    };
    net.counters.icmp_out += 1;
    // Larger than the MTU: in fragments, as it came.
    let _ = net.send_datagram(&hop, fields, &message, false);
}

/// Answers an echo request.
pub(crate) fn answer_echo(net: &mut Net, link: usize, ip: &Ip<'_>) {
    let own = if ip.to.is_multicast() || net.table.is_broadcast(ip.to) {
        // Groups are not answered for (icmp_echo_ignore_broadcasts).
        return;
    } else {
        ip.to
    };
    net.counters.icmp_in_echos += 1;
    let mut message = ip.payload.to_vec();
    message[0] = if ip.to.is_ipv4() { 0 } else { 129 };
    send(net, own, ip.from, link, ip.tos, message);
}

/// Tells the sender of `whole` that nobody is at its port.
pub(crate) fn port_unreachable(net: &mut Net, link: usize, whole: &[u8]) {
    let Some(ip) = packet::parse(whole) else {
        return;
    };
    if ip.to.is_multicast() || net.table.is_broadcast(ip.to) || ip.from.is_unspecified() {
        return;
    }
    let (kind, code, most) = match ip.to {
        // As much as fits into the smallest MTU.
        IpAddr::V4(_) => (3, 3, 576 - 28),
        IpAddr::V6(_) => (1, 4, 1280 - 48),
    };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&whole[..whole.len().min(most)]);
    send(net, ip.to, ip.from, link, 0, message);
}
