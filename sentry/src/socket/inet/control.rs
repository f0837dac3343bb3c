//! What comes with a packet and what is sent along with one: control messages of levels SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6 and IPPROTO_UDP
//! (`ip(7)`, `ipv6(7)`), and entries of the error queue (IP_RECVERR).

use std::net::IpAddr;

use abi::socket as so;
use abi::socket::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, SOL_SOCKET};
use netstack::Arrived;

use super::names::*;
use super::options::ProtocolOptions;
use super::{Endpoint, Family};
use crate::error::{Errno, Result};
use crate::socket::ControlMessage;
use crate::socket::options::Options;

/// What is known of a packet beside its bytes and its sender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    /// Number of the interface.
    pub(super) interface: u32,
    /// Where it was sent to.
    pub(super) to: Endpoint,
    /// TTL or hop limit.
    pub(super) ttl: u8,
    /// TOS or traffic class.
    pub(super) tos: u8,
    /// When it came, CLOCK_REALTIME in nanoseconds.
    pub(super) time_ns: u64,
    /// How many were lost before it for want of room.
    pub(super) lost: u32,
}

impl Meta {
    /// Of a packet from outside.
    pub(super) fn of(arrived: &Arrived) -> Self {
        Self {
            interface: arrived.interface,
            to: arrived.to.into(),
            ttl: arrived.ttl,
            tos: arrived.tos,
            time_ns: crate::time::realtime_ns(),
            lost: 0,
        }
    }

    /// The control messages for those who asked for them, in Linux's order.
    pub(super) fn shown(
        &self,
        options: &Options,
        protocol: &ProtocolOptions,
        family: Family,
    ) -> Vec<ControlMessage> {
        let mut all = Vec::new();
        let mut add = |level, kind, data: Vec<u8>| all.push(ControlMessage { level, kind, data });
        let (sec, ns) = (self.time_ns / 1_000_000_000, self.time_ns % 1_000_000_000);
        if options.is_on(so::SO_TIMESTAMPNS) {
            add(
                SOL_SOCKET,
                so::SO_TIMESTAMPNS,
                [sec, ns].map(u64::to_ne_bytes).concat(),
            );
        } else if options.is_on(so::SO_TIMESTAMP) {
            let words = [sec, ns / 1000].map(u64::to_ne_bytes);
            add(SOL_SOCKET, so::SO_TIMESTAMP, words.concat());
        }
        if options.is_on(so::SO_RXQ_OVFL) && self.lost > 0 {
            add(
                SOL_SOCKET,
                so::SO_RXQ_OVFL,
                self.lost.to_ne_bytes().to_vec(),
            );
        }
        let number = |value: u8| i32::from(value).to_ne_bytes().to_vec();
        let on = |level, name| protocol.is_on(level, name);
        match (self.to.ip, family) {
            (IpAddr::V4(to), family) => {
                if on(IPPROTO_IP, IP_PKTINFO) {
                    let mut info = self.interface.to_ne_bytes().to_vec();
                    info.extend_from_slice(&to.octets());
                    info.extend_from_slice(&to.octets());
                    add(IPPROTO_IP, IP_PKTINFO, info);
                }
                if on(IPPROTO_IP, IP_RECVTTL) {
                    add(IPPROTO_IP, IP_TTL, number(self.ttl));
                }
                if on(IPPROTO_IP, IP_RECVTOS) {
                    add(IPPROTO_IP, IP_TOS, vec![self.tos]);
                }
                if on(IPPROTO_IP, IP_RECVORIGDSTADDR) {
                    add(IPPROTO_IP, IP_RECVORIGDSTADDR, self.to.show(Family::V4));
                }
                if family == Family::V6 && on(IPPROTO_IPV6, IPV6_RECVPKTINFO) {
                    let mut info = to.to_ipv6_mapped().octets().to_vec();
                    info.extend_from_slice(&self.interface.to_ne_bytes());
                    add(IPPROTO_IPV6, IPV6_PKTINFO, info);
                }
            }
            (IpAddr::V6(to), _) => {
                if on(IPPROTO_IPV6, IPV6_RECVPKTINFO) {
                    let mut info = to.octets().to_vec();
                    info.extend_from_slice(&self.interface.to_ne_bytes());
                    add(IPPROTO_IPV6, IPV6_PKTINFO, info);
                }
                if on(IPPROTO_IPV6, IPV6_RECVHOPLIMIT) {
                    add(IPPROTO_IPV6, IPV6_HOPLIMIT, number(self.ttl));
                }
                if on(IPPROTO_IPV6, IPV6_RECVTCLASS) {
                    add(IPPROTO_IPV6, IPV6_TCLASS, number(self.tos));
                }
                if on(IPPROTO_IPV6, IPV6_ORIGDSTADDR) {
                    add(IPPROTO_IPV6, IPV6_ORIGDSTADDR, self.to.show(Family::V6));
                }
            }
        }
        all
    }
}

/// What a send says of its one packet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PerMessage {
    pub(super) source: Option<IpAddr>,
    pub(super) interface: Option<u32>,
    pub(super) ttl: Option<u8>,
    pub(super) tos: Option<u8>,
    /// UDP_SEGMENT.
    pub(super) segment: Option<u16>,
}

fn exactly<const N: usize>(data: &[u8]) -> Result<[u8; N]> {
    <[u8; N]>::try_from(data).map_err(|_| Errno::EINVAL)
}

/// The byte of an `int`; none for -1, which leaves it to the socket.
fn byte_or_default(data: &[u8]) -> Result<Option<u8>> {
    if data[..] == (-1_i32).to_ne_bytes() {
        return Ok(None);
    }
    byte(data, 0).map(Some)
}

fn byte(data: &[u8], low: i32) -> Result<u8> {
    let number = i32::from_ne_bytes(exactly(data)?);
    if number < low {
        return Err(Errno::EINVAL);
    }
    u8::try_from(number).map_err(|_| Errno::EINVAL)
}

impl PerMessage {
    /// From the control messages of a send: `EINVAL` for what is not known at a level of the socket's; other levels are passed over.
    pub(super) fn parse(control: &[ControlMessage], family: Family, udp: bool) -> Result<Self> {
        let mut all = Self::default();
        for ControlMessage { level, kind, data } in control {
            match (*level, *kind, family) {
                // Marks, priorities and stamps have nothing to act on here; descriptors and credentials mean nothing to these families.
                (SOL_SOCKET, so::SO_PRIORITY | so::SO_TIMESTAMPING, _) => {
                    exactly::<4>(data)?;
                }
                (SOL_SOCKET, so::SCM_RIGHTS | so::SCM_CREDENTIALS, _) => {}
                (IPPROTO_UDP, UDP_SEGMENT, _) if udp => {
                    all.segment = Some(u16::from_ne_bytes(exactly(data)?));
                }
                (IPPROTO_IP, IP_TTL, Family::V4) => all.ttl = Some(byte(data, 1)?),
                (IPPROTO_IP, IP_TOS, Family::V4) => {
                    all.tos = Some(match data.as_slice() {
                        [tos] => *tos,
                        data => byte(data, 0)?,
                    });
                }
                (IPPROTO_IP, IP_PKTINFO, Family::V4) => {
                    let info: [u8; 12] = exactly(data)?;
                    let index = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
                    all.interface = Some(index).filter(|index| *index != 0);
                    let source = [info[4], info[5], info[6], info[7]];
                    all.source = Some(IpAddr::from(source)).filter(|ip| !ip.is_unspecified());
                }
                (IPPROTO_IPV6, IPV6_HOPLIMIT, Family::V6) => {
                    all.ttl = byte_or_default(data)?.or(all.ttl);
                }
                (IPPROTO_IPV6, IPV6_TCLASS, Family::V6) => {
                    all.tos = byte_or_default(data)?.or(all.tos);
                }
                (IPPROTO_IPV6, IPV6_PKTINFO, Family::V6) => {
                    let info: [u8; 20] = exactly(data)?;
                    let (source, index) = info.split_at(16);
                    let index = u32::from_ne_bytes(exactly(index)?);
                    all.interface = Some(index).filter(|index| *index != 0);
                    let source = std::net::Ipv6Addr::from(exactly::<16>(source)?);
                    let source = source
                        .to_ipv4_mapped()
                        .map_or(IpAddr::V6(source), IpAddr::V4);
                    all.source = Some(source).filter(|ip| !ip.is_unspecified());
                }
                (SOL_SOCKET, ..) | (IPPROTO_IP, _, Family::V4) | (IPPROTO_IPV6, _, Family::V6) => {
                    return Err(Errno::EINVAL);
                }
                (IPPROTO_UDP, ..) if udp => return Err(Errno::EINVAL),
                _ => {}
            }
        }
        Ok(all)
    }
}

/// An entry of the error queue.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) errno: Errno,
    /// SO_EE_ORIGIN_ICMP or SO_EE_ORIGIN_ICMP6, type and code of the message.
    pub(super) origin: [u8; 3],
    /// The path's MTU, where the error is about that.
    pub(super) info: u32,
    /// Who reported it.
    pub(super) offender: IpAddr,
    /// Where the packet was going.
    pub(super) to: Endpoint,
    /// The packet's payload, as far as it is known.
    pub(super) payload: Vec<u8>,
}

impl Failure {
    /// "Port unreachable", as an own address answers.
    pub(super) fn refused(to: Endpoint, payload: &[u8]) -> Self {
        Self {
            errno: Errno::ECONNREFUSED,
            origin: if to.ip.is_ipv4() {
                [2, 3, 3]
            } else {
                [3, 1, 4]
            },
            info: 0,
            offender: to.ip,
            to,
            payload: payload.to_vec(),
        }
    }

    /// `struct sock_extended_err` and the offender's address.
    pub(super) fn control(&self, family: Family) -> ControlMessage {
        let (level, kind) = match family {
            Family::V4 => (IPPROTO_IP, IP_RECVERR),
            Family::V6 => (IPPROTO_IPV6, IPV6_RECVERR),
        };
        let mut data = (self.errno.raw() as u32).to_ne_bytes().to_vec();
        data.extend_from_slice(&self.origin);
        data.push(0);
        data.extend_from_slice(&self.info.to_ne_bytes());
        data.extend_from_slice(&[0; 4]);
        let offender = Endpoint {
            ip: self.offender,
            port: 0,
        };
        data.extend_from_slice(&offender.show(family));
        ControlMessage { level, kind, data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> ControlMessage {
        ControlMessage {
            level,
            kind,
            data: data.to_vec(),
        }
    }

    #[test]
    fn messages_of_any_length_are_taken_or_refused() {
        for level in [SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, 77] {
            for kind in 0..110 {
                for len in 0..40 {
                    let message = message(level, kind, &vec![1; len]);
                    for family in [Family::V4, Family::V6] {
                        let _ = PerMessage::parse(std::slice::from_ref(&message), family, true);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_asked_for_is_read() {
        let ttl = message(IPPROTO_IP, IP_TTL, &5_i32.to_ne_bytes());
        let info = message(
            IPPROTO_IP,
            IP_PKTINFO,
            &[3, 0, 0, 0, 127, 0, 0, 5, 0, 0, 0, 0],
        );
        let all = PerMessage::parse(&[ttl, info], Family::V4, true).unwrap();
        assert_eq!((all.ttl, all.interface), (Some(5), Some(3)));
        assert_eq!(all.source, Some(IpAddr::from([127, 0, 0, 5])));
        let zero = message(IPPROTO_IP, IP_TTL, &0_i32.to_ne_bytes());
        assert!(PerMessage::parse(&[zero], Family::V4, true).is_err());
    }
}
