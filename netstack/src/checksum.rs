//! The Internet checksum (RFC 1071).

use std::net::IpAddr;

/// One's complement sum of `bytes` added to `sum`, not folded.
pub(crate) fn add(mut sum: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        sum += u64::from(u32::from_be_bytes(*word));
    }
    let (halves, last) = rest.as_chunks::<2>();
    for half in halves {
        sum += u64::from(u16::from_be_bytes(*half));
    }
    if let [byte] = last {
        sum += u64::from(*byte) << 8;
    }
    sum
}

/// Folded to 16 bits, not complemented.
pub(crate) const fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// Sum of the pseudo-header.
pub(crate) fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, len: usize) -> u64 {
    let mut sum = u64::from(protocol) + len as u64;
    for ip in [from, to] {
        sum = match ip {
            IpAddr::V4(ip) => add(sum, &ip.octets()),
            IpAddr::V6(ip) => add(sum, &ip.octets()),
        };
    }
    sum
}

/// The checksum of `bytes`.
pub(crate) fn of(bytes: &[u8]) -> u16 {
    !fold(add(0, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_with_its_checksum_sums_up_to_nothing() {
        let mut header = *b"\x45\0\0\x28\x12\x34\x40\0\x40\x06\0\0\x0a\0\0\x01\x0a\0\0\x02";
        let sum = of(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(of(&header), 0);
        assert_eq!(fold(add(0, b"\x01")), 0x0100);
    }
}
