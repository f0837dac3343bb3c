//! Datagrams out: UDP and raw packets. Those that come in go to [`crate::Upper`].

use std::net::{IpAddr, SocketAddr};

use abi::Errno;

use crate::checksum;
use crate::net::Net;
use crate::packet::{self, Fields};

/// How a packet is to be sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct PacketOptions {
    /// TTL or hop limit; `None`: 64, for multicast 1.
    pub ttl: Option<u8>,
    /// TOS or traffic class.
    pub tos: u8,
    /// Not to be fragmented (IP_PMTUDISC_DO).
    pub dont_fragment: bool,
    /// Through this interface only (its number).
    pub interface: Option<u32>,
}

/// A packet of a raw or ping socket.
#[derive(Clone, Copy, Debug)]
pub struct RawPacket<'a> {
    /// Source address.
    pub from: IpAddr,
    /// Destination.
    pub to: IpAddr,
    /// IPPROTO_*.
    pub protocol: u8,
    /// What follows the IP header.
    pub payload: &'a [u8],
    /// ICMPv6: fill in the checksum.
    pub fill_checksum: bool,
}

const DEFAULT_TTL: u8 = 64;
const UDP_HEADER: usize = 8;

pub(crate) fn ttl(options: &PacketOptions, to: IpAddr) -> u8 {
    options
        .ttl
        .unwrap_or(if to.is_multicast() { 1 } else { DEFAULT_TTL })
}

fn fields(
    net: &mut Net,
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    options: &PacketOptions,
) -> Fields {
    Fields {
        from,
        to,
        protocol,
        ttl: ttl(options, to),
        tos: options.tos,
        id: net.packet_id(),
        fragment: if options.dont_fragment { 0x4000 } else { 0 },
    }
}

/// Sends a UDP datagram.
pub(crate) fn send(
    net: &mut Net,
    from: SocketAddr,
    to: SocketAddr,
    payload: &[u8],
    options: &PacketOptions,
    link: Option<usize>,
) -> Result<(), Errno> {
    let hop = net.table.hop(to.ip(), link)?;
    let len = UDP_HEADER + payload.len();
    if len > 65_535 {
        return Err(Errno::EMSGSIZE);
    }
    let mut datagram = Vec::with_capacity(len);
    datagram.extend_from_slice(&from.port().to_be_bytes());
    datagram.extend_from_slice(&to.port().to_be_bytes());
    datagram.extend_from_slice(&(len as u16).to_be_bytes());
    datagram.extend_from_slice(&[0; 2]);
    datagram.extend_from_slice(payload);
    let sum = checksum::pseudo(from.ip(), to.ip(), packet::UDP, len);
    // A sum of 0 is sent as its other form: 0 means none.
    let sum = match !checksum::fold(checksum::add(sum, &datagram)) {
        0 => 0xffff,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    let fields = fields(net, from.ip(), to.ip(), packet::UDP, options);
    net.counters.udp_out_datagrams += 1;
    net.send_datagram(&hop, fields, &datagram, options.dont_fragment)
}

/// Sends a packet of any protocol.
pub(crate) fn send_raw(
    net: &mut Net,
    raw: &RawPacket<'_>,
    options: &PacketOptions,
    link: Option<usize>,
) -> Result<(), Errno> {
    let hop = net.table.hop(raw.to, link)?;
    let fields = fields(net, raw.from, raw.to, raw.protocol, options);
    let mut payload = raw.payload.to_vec();
    if raw.fill_checksum && payload.len() >= 4 {
        payload[2..4].fill(0);
        let sum = checksum::pseudo(raw.from, raw.to, raw.protocol, payload.len());
        let sum = !checksum::fold(checksum::add(sum, &payload));
        payload[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    net.send_datagram(&hop, fields, &payload, options.dont_fragment)
}
