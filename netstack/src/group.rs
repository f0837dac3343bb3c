//! Multicast groups: reports to the routers of a link when somebody joins or leaves (IGMPv3, RFC 3376; MLDv2, RFC 3810), and in answer to their queries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum;
use crate::net::Net;
use crate::packet::{self, Fields};
use crate::route::Hop;

/// Most groups of a link that are reported.
const MOST: usize = 256;
const IGMP_QUERY: u8 = 0x11;
const IGMP_REPORT: u8 = 0x22;
pub(crate) const MLD_QUERY: u8 = 130;
const MLD_REPORT: u8 = 143;
/// Records: "in the group, from anybody", and the changes to and from that.
const IS_EXCLUDE: u8 = 2;
const TO_INCLUDE: u8 = 3;
const TO_EXCLUDE: u8 = 4;

/// A report about these groups of one family.
fn report(groups: &[IpAddr], kind: u8) -> Vec<u8> {
    let v4 = groups.first().is_none_or(IpAddr::is_ipv4);
    let mut message = vec![if v4 { IGMP_REPORT } else { MLD_REPORT }, 0, 0, 0, 0, 0];
    message.extend_from_slice(&(groups.len() as u16).to_be_bytes());
    for group in groups {
        // No sources, no auxiliary data.
        message.extend_from_slice(&[kind, 0, 0, 0]);
        match group {
            IpAddr::V4(group) => message.extend_from_slice(&group.octets()),
            IpAddr::V6(group) => message.extend_from_slice(&group.octets()),
        }
    }
    message
}

/// Whether this is a query of IGMP.
pub(crate) fn is_query(payload: &[u8]) -> bool {
    payload.first() == Some(&IGMP_QUERY)
}

impl Net {
    /// Somebody is in a group now, or nobody any more.
    pub(crate) fn set_member(&mut self, link: usize, group: IpAddr, member: bool) {
        let Some(of) = self.links.get_mut(link) else {
            return;
        };
        of.groups.retain(|other| *other != group);
        if member && of.groups.len() < MOST {
            of.groups.push(group);
        }
        let kind = if member { TO_EXCLUDE } else { TO_INCLUDE };
        self.send_report(link, &[group], kind);
    }

    /// Answers a query of a router (RFC 3376, section 5.2; at once, which is within the time that it gives).
    pub(crate) fn answer_query(&mut self, link: usize, v4: bool) {
        let Some(of) = self.links.get(link) else {
            return;
        };
        let groups: Vec<IpAddr> = of
            .groups
            .iter()
            .copied()
            .filter(|group| group.is_ipv4() == v4)
            .collect();
        // As many as fit into the smallest MTU that both families have.
        for some in groups.chunks(24) {
            self.send_report(link, some, IS_EXCLUDE);
        }
    }

    fn send_report(&mut self, link: usize, groups: &[IpAddr], kind: u8) {
        let Some(first) = groups.first() else { return };
        let to = match first {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(224, 0, 0, 22)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16)),
        };
        let hop = Hop {
            link,
            next: to,
            source: None,
        };
        let Ok(from) = self.table.source(&hop, to) else {
            return;
        };
        let mut message = report(groups, kind);
        let (protocol, start) = match to {
            IpAddr::V4(_) => (packet::IGMP, 0),
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
            ttl: 1,
            tos: 0xc0,
            id: self.packet_id(),
            fragment: 0,
        };
        // It does not leave the link, and is small: nothing can fail but the link itself.
        let _ = self.send_datagram(&hop, fields, &message, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_a_record_for_each_group() {
        let groups = [IpAddr::from([239, 1, 2, 3]), IpAddr::from([239, 1, 2, 4])];
        let message = report(&groups, TO_EXCLUDE);
        assert_eq!(message.len(), 8 + 2 * 8);
        assert_eq!(message[6..12], [0, 2, TO_EXCLUDE, 0, 0, 0]);
        assert_eq!(message[12..16], [239, 1, 2, 3]);
    }
}
