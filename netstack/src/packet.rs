//! IP packets as they come in: checked, and taken apart as far as the transport header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum;

/// IPPROTO_ICMP.
pub(crate) const ICMP: u8 = 1;
/// IPPROTO_TCP.
pub(crate) const TCP: u8 = 6;
/// IPPROTO_UDP.
pub(crate) const IGMP: u8 = 2;
pub(crate) const UDP: u8 = 17;
/// IPPROTO_ICMPV6.
pub(crate) const ICMP6: u8 = 58;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
/// Most extension headers that are looked through.
const MOST_EXTENSIONS: usize = 8;

/// A piece of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) id: u32,
    /// Bytes.
    pub(crate) offset: usize,
    pub(crate) more: bool,
}

/// A packet with a sound header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ip<'a> {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    /// Of the payload.
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) piece: Option<Piece>,
    pub(crate) payload: &'a [u8],
    /// Header and payload.
    pub(crate) whole: &'a [u8],
}

/// Reads a packet; `None` if it is malformed. What follows it (padding of short frames) is cut off.
pub(crate) fn parse(bytes: &[u8]) -> Option<Ip<'_>> {
    match bytes.first()? >> 4 {
        4 => parse_v4(bytes),
        6 => parse_v6(bytes),
        _ => None,
    }
}

fn parse_v4(bytes: &[u8]) -> Option<Ip<'_>> {
    let head = bytes.first_chunk::<20>()?;
    let header_len = usize::from(head[0] & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if header_len < 20 || total < header_len || total > bytes.len() {
        return None;
    }
    if checksum::of(&bytes[..header_len]) != 0 {
        return None;
    }
    let whole = &bytes[..total];
    let fragment = u16::from_be_bytes([head[6], head[7]]);
    let (offset, more) = (usize::from(fragment & 0x1fff) * 8, fragment & 0x2000 != 0);
    Some(Ip {
        from: IpAddr::V4(Ipv4Addr::new(head[12], head[13], head[14], head[15])),
        to: IpAddr::V4(Ipv4Addr::new(head[16], head[17], head[18], head[19])),
        protocol: head[9],
        ttl: head[8],
        tos: head[1],
        piece: (offset != 0 || more).then_some(Piece {
            id: u32::from(u16::from_be_bytes([head[4], head[5]])),
            offset,
            more,
        }),
        payload: &whole[header_len..],
        whole,
    })
}

fn parse_v6(bytes: &[u8]) -> Option<Ip<'_>> {
    let head = bytes.first_chunk::<40>()?;
    let total = 40 + usize::from(u16::from_be_bytes([head[4], head[5]]));
    let whole = bytes.get(..total)?;
    let mut protocol = head[6];
    let mut payload = &whole[40..];
    let mut piece = None;
    for _ in 0..MOST_EXTENSIONS {
        match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let extension = payload.first_chunk::<2>()?;
                protocol = extension[0];
                payload = payload.get(8 + usize::from(extension[1]) * 8..)?;
            }
            FRAGMENT if piece.is_none() => {
                let extension = payload.first_chunk::<8>()?;
                protocol = extension[0];
                let at = u16::from_be_bytes([extension[2], extension[3]]);
                payload = &payload[8..];
                let (offset, more) = (usize::from(at & !7), at & 1 != 0);
                // A single "fragment" is the datagram (RFC 6946).
                if offset != 0 || more {
                    piece = Some(Piece {
                        id: u32::from_be_bytes([
                            extension[4],
                            extension[5],
                            extension[6],
                            extension[7],
                        ]),
                        offset,
                        more,
                    });
                    break;
                }
            }
            _ => break,
        }
    }
    let address = |at: usize| {
        let octets: [u8; 16] = head[at..at + 16].try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(octets)))
    };
    Some(Ip {
        from: address(8)?,
        to: address(24)?,
        protocol,
        ttl: head[7],
        tos: (head[0] << 4) | (head[1] >> 4),
        piece,
        payload,
        whole,
    })
}

/// What goes into a header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    /// Identification (IPv4).
    pub(crate) id: u16,
    /// Flags and offset as in the header (IPv4).
    pub(crate) fragment: u16,
}

/// Bytes of the header for packets between these.
pub(crate) const fn header_len(to: IpAddr) -> usize {
    match to {
        IpAddr::V4(_) => 20,
        IpAddr::V6(_) => 40,
    }
}

/// Writes a header in front of `payload` bytes to come. `into` has [`header_len`] bytes; both addresses are of one family.
pub(crate) fn write_header(into: &mut [u8], fields: &Fields, payload: usize) {
    match (fields.from, fields.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            into[0] = 0x45;
            into[1] = fields.tos;
            into[2..4].copy_from_slice(&((20 + payload) as u16).to_be_bytes());
            into[4..6].copy_from_slice(&fields.id.to_be_bytes());
            into[6..8].copy_from_slice(&fields.fragment.to_be_bytes());
            into[8] = fields.ttl;
            into[9] = fields.protocol;
            into[10..12].fill(0);
            into[12..16].copy_from_slice(&from.octets());
            into[16..20].copy_from_slice(&to.octets());
            let sum = checksum::of(&into[..20]);
            into[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (from, to) => {
            let octets = |ip| match ip {
                IpAddr::V4(ip) => Ipv4Addr::to_ipv6_mapped(&ip).octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            into[0] = 0x60 | (fields.tos >> 4);
            into[1] = fields.tos << 4;
            into[2..4].fill(0);
            into[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
            into[6] = fields.protocol;
            into[7] = fields.ttl;
            into[8..24].copy_from_slice(&octets(from));
            into[24..40].copy_from_slice(&octets(to));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (from, to) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let fields = Fields {
                from: from.parse().unwrap(),
                to: to.parse().unwrap(),
                protocol: UDP,
                ttl: 3,
                tos: 0x28,
                id: 7,
                fragment: 0,
            };
            let len = header_len(fields.to);
            let mut bytes = vec![0; len + 5];
            write_header(&mut bytes, &fields, 5);
            bytes.extend_from_slice(b"padding");
            let ip = parse(&bytes).unwrap();
            assert_eq!(
                (ip.from, ip.to, ip.ttl, ip.tos),
                (fields.from, fields.to, 3, 0x28)
            );
            assert_eq!((ip.payload.len(), ip.whole.len()), (5, len + 5));
            for cut in 0..len + 5 {
                assert!(parse(&bytes[..cut]).is_none());
            }
        }
    }

    #[test]
    fn chains_of_extensions_end() {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 80, HOP_BY_HOP, 1];
        bytes.resize(40, 0);
        bytes.resize(120, 0);
        assert!(parse(&bytes).is_some());
        bytes[41] = 255;
        assert!(parse(&bytes).is_none());
    }
}
