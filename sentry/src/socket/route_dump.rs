//! What `rtnetlink(7)` tells of a namespace: links, addresses, routes and neighbours as bodies and attributes of messages.
//!
//! Loopback is always there; the rest is what the packet stack was made from, with its neighbours as they are now.

use std::net::{IpAddr, Ipv6Addr};

use abi::socket::{AF_INET, AF_INET6};
use netstack::NeighbourState;
use netstack::setup::{Address, Route};

use super::inet::outside;
use super::interface::{self, Link};
use super::loopback::Loopback;
use crate::task::namespaces::NetNamespace;

/// A message but its header: the family's own header and the attributes.
pub(super) struct Part {
    pub(super) body: Vec<u8>,
    pub(super) attributes: Vec<(u16, Vec<u8>)>,
}

const LOOPBACK_LABEL: &[u8] = b"lo\0";
const RT_TABLE_MAIN: u8 = 254;
const RT_TABLE_LOCAL: u8 = 255;
const RTN_UNICAST: u8 = 1;
const FOREVER: u32 = u32::MAX;

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

const fn family(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => AF_INET as u8,
        IpAddr::V6(_) => AF_INET6 as u8,
    }
}

fn wanted(asked: u8, ip: IpAddr) -> bool {
    asked == 0 || asked == family(ip)
}

fn name(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// RTM_NEWLINK of one interface.
pub(super) fn link(link: &Link) -> Part {
    // struct ifinfomsg: family, pad, type, index, flags, change.
    let mut body = vec![0, 0];
    body.extend_from_slice(&link.hardware.to_ne_bytes());
    body.extend_from_slice(&link.index.to_ne_bytes());
    // IFF_LOWER_UP is only seen here.
    body.extend_from_slice(&(link.flags | 0x1_0000).to_ne_bytes());
    body.extend_from_slice(&[0; 4]);
    let broadcast = if link.index == interface::INDEX {
        vec![0; 6]
    } else {
        vec![0xff; 6]
    };
    let mut attributes = vec![
        (3, name(&link.name)),
        (13, link.tx_queue.to_ne_bytes().to_vec()),
        // Operational state, default link mode, MTU, group, queueing discipline.
        (16, vec![link.operstate]),
        (17, vec![0]),
        (4, link.mtu.to_ne_bytes().to_vec()),
        (27, vec![0; 4]),
        (6, name(&link.qdisc)),
        (1, link.mac.to_vec()),
        (2, broadcast),
        (23, stats64(link)),
    ];
    if let Some(peer) = link.peer {
        attributes.push((5, peer.to_ne_bytes().to_vec()));
        attributes.push((37, vec![0; 4]));
    }
    Part { body, attributes }
}

/// `struct rtnl_link_stats64`.
fn stats64(link: &Link) -> Vec<u8> {
    let c = &link.counters;
    let mut words = [0_u64; 24];
    words[..9].copy_from_slice(&[
        c.rx_packets,
        c.tx_packets,
        c.rx_bytes,
        c.tx_bytes,
        0,
        0,
        c.rx_dropped,
        c.tx_dropped,
        c.multicast,
    ]);
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn address(index: i32, address: &Address) -> Part {
    // struct ifaddrmsg: family, prefix length, flags, scope, index.
    let mut body = vec![
        family(address.ip),
        address.prefix,
        address.flags as u8,
        address.scope,
    ];
    body.extend_from_slice(&index.to_ne_bytes());
    let mut attributes = vec![(1, octets(address.ip))];
    if address.ip.is_ipv4() {
        attributes.push((2, octets(address.ip)));
    }
    if let Some(broadcast) = address.broadcast {
        attributes.push((4, broadcast.octets().to_vec()));
    }
    if let Some(label) = &address.label {
        attributes.push((3, name(label)));
    }
    attributes.push((8, address.flags.to_ne_bytes().to_vec()));
    // struct ifa_cacheinfo: preferred and valid for ever, made and changed at the beginning.
    let times = [FOREVER, FOREVER, 0, 0];
    attributes.push((6, times.iter().flat_map(|t| t.to_ne_bytes()).collect()));
    Part { body, attributes }
}

/// RTM_NEWADDR of all addresses of a family; 0: of both.
pub(super) fn addresses(net: &NetNamespace, asked: u8) -> Vec<Part> {
    const PERMANENT: u32 = 0x80;
    const SCOPE_HOST: u8 = 254;
    let local = |ip: IpAddr, prefix, label: Option<&[u8]>| Address {
        ip,
        prefix,
        broadcast: None,
        scope: SCOPE_HOST,
        flags: PERMANENT,
        label: label.map(|_| "lo".to_owned()),
    };
    let loopback = net.objects.get::<Loopback>();
    let mut all = Vec::new();
    if loopback.is_addressed() {
        let ip = IpAddr::from([127, 0, 0, 1]);
        all.push((interface::INDEX, local(ip, 8, Some(LOOPBACK_LABEL))));
    }
    if loopback.is_up() {
        let ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
        all.push((interface::INDEX, local(ip, 128, None)));
    }
    if let Some(stack) = outside::stack(net) {
        for interface in &stack.setup().interfaces {
            let index = interface.index as i32;
            all.extend(interface.addresses.iter().map(|a| (index, a.clone())));
        }
    }
    // Linux tells of one family after the other.
    all.sort_by_key(|(_, address)| address.ip.is_ipv6());
    all.iter()
        .filter(|(_, a)| wanted(asked, a.ip))
        .map(|(index, a)| address(*index, a))
        .collect()
}

fn route(route: &Route) -> Part {
    // struct rtmsg: family, lengths of destination and source, TOS, table, protocol, scope, type, flags.
    let mut body = vec![
        family(route.destination),
        route.prefix,
        0,
        0,
        RT_TABLE_MAIN,
        route.protocol,
        route.scope,
        RTN_UNICAST,
    ];
    body.extend_from_slice(&route.flags.to_ne_bytes());
    let mut attributes = vec![(15, u32::from(RT_TABLE_MAIN).to_ne_bytes().to_vec())];
    if route.prefix > 0 {
        attributes.push((1, octets(route.destination)));
    }
    if route.metric > 0 {
        attributes.push((6, route.metric.to_ne_bytes().to_vec()));
    }
    if let Some(source) = route.source {
        attributes.push((7, octets(source)));
    }
    if let Some(gateway) = route.gateway {
        attributes.push((5, octets(gateway)));
    }
    attributes.push((4, route.interface.to_ne_bytes().to_vec()));
    if route.destination.is_ipv6() {
        // RTA_PREF: medium.
        attributes.push((20, vec![0]));
    }
    Part { body, attributes }
}

/// A route of the table `local`: to an own address, or to a broadcast address of an interface.
fn local_route(to: IpAddr, prefix: u8, interface: u32, source: IpAddr, broadcast: bool) -> Part {
    const KERNEL: u8 = 2;
    const RTN_LOCAL: u8 = 2;
    const RTN_BROADCAST: u8 = 3;
    const SCOPE_LINK: u8 = 253;
    const SCOPE_HOST: u8 = 254;
    /// Routes of IPv6 have no scope, but the kernel's own metric.
    const SCOPE_UNIVERSE: u8 = 0;
    let (kind, scope) = match (broadcast, to) {
        (true, _) => (RTN_BROADCAST, SCOPE_LINK),
        (false, IpAddr::V4(_)) => (RTN_LOCAL, SCOPE_HOST),
        (false, IpAddr::V6(_)) => (RTN_LOCAL, SCOPE_UNIVERSE),
    };
    let mut body = vec![
        family(to),
        prefix,
        0,
        0,
        RT_TABLE_LOCAL,
        KERNEL,
        scope,
        kind,
    ];
    body.extend_from_slice(&[0; 4]);
    let mut attributes = vec![
        (15, u32::from(RT_TABLE_LOCAL).to_ne_bytes().to_vec()),
        (1, octets(to)),
    ];
    if to.is_ipv4() {
        attributes.push((7, octets(source)));
    } else {
        attributes.push((6, 0_u32.to_ne_bytes().to_vec()));
    }
    attributes.push((4, interface.to_ne_bytes().to_vec()));
    if to.is_ipv6() {
        attributes.push((20, vec![0]));
    }
    Part { body, attributes }
}

/// The route to all groups of IPv6 on an interface.
fn route_to_groups(groups: IpAddr, interface: u32) -> Part {
    const KERNEL: u8 = 2;
    const RTN_MULTICAST: u8 = 5;
    const METRIC: u32 = 256;
    let mut body = vec![
        family(groups),
        8,
        0,
        0,
        RT_TABLE_LOCAL,
        KERNEL,
        0,
        RTN_MULTICAST,
    ];
    body.extend_from_slice(&[0; 4]);
    let attributes = vec![
        (15, u32::from(RT_TABLE_LOCAL).to_ne_bytes().to_vec()),
        (1, octets(groups)),
        (6, METRIC.to_ne_bytes().to_vec()),
        (4, interface.to_ne_bytes().to_vec()),
        (20, vec![0]),
    ];
    Part { body, attributes }
}

/// RTM_NEWRULE of the rules that every namespace begins with: tables local, main, default (IPv6 has no default).
pub(super) fn rules(asked: u8) -> Vec<Part> {
    const TO_TABLE: u8 = 1;
    let rule = |family: i32, table: u8, priority: u32| {
        // struct fib_rule_hdr: family, lengths, TOS, table, reserved, action, flags.
        let mut body = vec![family as u8, 0, 0, 0, table, 0, 0, TO_TABLE];
        body.extend_from_slice(&[0; 4]);
        // FRA_TABLE, FRA_SUPPRESS_PREFIXLEN, FRA_PROTOCOL (the kernel's), FRA_PRIORITY.
        let mut attributes = vec![
            (15, u32::from(table).to_ne_bytes().to_vec()),
            (14, u32::MAX.to_ne_bytes().to_vec()),
            (21, vec![2]),
        ];
        if priority > 0 {
            attributes.insert(0, (6, priority.to_ne_bytes().to_vec()));
        }
        Part { body, attributes }
    };
    let mut all = Vec::new();
    if matches!(i32::from(asked), 0 | AF_INET) {
        all.push(rule(AF_INET, RT_TABLE_LOCAL, 0));
        all.push(rule(AF_INET, RT_TABLE_MAIN, 32_766));
        all.push(rule(AF_INET, 253, 32_767));
    }
    if matches!(i32::from(asked), 0 | AF_INET6) {
        all.push(rule(AF_INET6, RT_TABLE_LOCAL, 0));
        all.push(rule(AF_INET6, RT_TABLE_MAIN, 32_766));
    }
    all
}

/// The table `local`: loopback, and what each address brings with it.
fn local_routes(net: &NetNamespace) -> Vec<(IpAddr, Part)> {
    const LOOPBACK: u32 = interface::INDEX as u32;
    let lo = IpAddr::from([127, 0, 0, 1]);
    let mut all = Vec::new();
    let mut add = |to: IpAddr, prefix, interface, source, broadcast| {
        let part = local_route(to, prefix, interface, source, broadcast);
        all.push((to, part));
    };
    if let Some(stack) = outside::stack(net) {
        for interface in &stack.setup().interfaces {
            for own in interface.addresses.iter().filter(|own| own.ip.is_ipv4()) {
                add(own.ip, 32, interface.index, own.ip, false);
                if let Some(broadcast) = own.broadcast_address() {
                    add(IpAddr::V4(broadcast), 32, interface.index, own.ip, true);
                }
            }
        }
    }
    add(IpAddr::from([127, 0, 0, 0]), 8, LOOPBACK, lo, false);
    add(lo, 32, LOOPBACK, lo, false);
    add(IpAddr::from([127, 255, 255, 255]), 32, LOOPBACK, lo, true);
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    add(v6, 128, LOOPBACK, v6, false);
    let groups = IpAddr::from([0xff00_u16, 0, 0, 0, 0, 0, 0, 0]);
    if let Some(stack) = outside::stack(net) {
        for interface in &stack.setup().interfaces {
            for own in interface.addresses.iter().filter(|own| own.ip.is_ipv6()) {
                add(own.ip, 128, interface.index, own.ip, false);
            }
        }
        for interface in &stack.setup().interfaces {
            all.push((groups, route_to_groups(groups, interface.index)));
        }
    }
    all
}

/// RTM_NEWROUTE of all routes of a family, the main table first.
pub(super) fn routes(net: &NetNamespace, asked: u8) -> Vec<Part> {
    let stack = outside::stack(net);
    let main: Vec<Route> = stack.map_or_else(Vec::new, |stack| stack.setup().routes.clone());
    let mut all: Vec<(IpAddr, Part)> = main
        .iter()
        .map(|one| (one.destination, route(one)))
        .collect();
    all.extend(local_routes(net));
    all.sort_by_key(|(to, _)| to.is_ipv6());
    all.into_iter()
        .filter(|(to, _)| wanted(asked, *to))
        .map(|(_, part)| part)
        .collect()
}

/// RTM_NEWROUTE for the way to one address; `None`: there is none.
pub(super) fn route_to(net: &NetNamespace, to: IpAddr) -> Option<Part> {
    const RTN_LOCAL: u8 = 2;
    /// RTM_F_CLONED, RTCF_LOCAL.
    const CLONED: u32 = 0x200;
    const LOCAL: u32 = 0x8000_0000;
    let stack = outside::stack(net);
    if to.is_loopback() && !net.objects.get::<Loopback>().reaches(to) {
        return None;
    }
    let own = to.is_loopback() || stack.as_ref().is_some_and(|stack| stack.is_own(to));
    let (kind, interface, gateway, source) = if own {
        let source = match to {
            IpAddr::V4(ip) if ip.is_loopback() => IpAddr::from([127, 0, 0, 1]),
            ip => ip,
        };
        (RTN_LOCAL, interface::INDEX as u32, None, source)
    } else {
        let stack = stack?;
        let source = stack.source_for(to, None).ok()?;
        let mut best: Vec<&Route> = stack
            .setup()
            .routes
            .iter()
            .filter(|route| netstack::covers(route, to))
            .collect();
        best.sort_by_key(|route| (std::cmp::Reverse(route.prefix), route.metric));
        let route = best.first()?;
        (RTN_UNICAST, route.interface, route.gateway, source)
    };
    // Which table it was found in is only told to those who ask.
    let table = RT_TABLE_MAIN;
    let mut body = vec![
        family(to),
        octets(to).len() as u8 * 8,
        0,
        0,
        table,
        0,
        0,
        kind,
    ];
    let flags = if own { CLONED | LOCAL } else { CLONED };
    body.extend_from_slice(&flags.to_ne_bytes());
    let mut attributes = vec![
        (15, u32::from(table).to_ne_bytes().to_vec()),
        (1, octets(to)),
        // RTA_UID: asked for by root.
        (25, vec![0; 4]),
    ];
    if let Some(gateway) = gateway {
        attributes.push((5, octets(gateway)));
    }
    attributes.push((4, interface.to_ne_bytes().to_vec()));
    attributes.push((7, octets(source)));
    Some(Part { body, attributes })
}

/// RTM_NEWNEIGH of all neighbours of a family.
pub(super) fn neighbours(net: &NetNamespace, asked: u8) -> Vec<Part> {
    let Some(stack) = outside::stack(net) else {
        return Vec::new();
    };
    let mut all = stack.neighbours();
    all.sort_by_key(|entry| (entry.ip.is_ipv6(), entry.link, entry.ip));
    all.into_iter()
        .filter(|entry| wanted(asked, entry.ip))
        .map(|entry| {
            let interface = stack.setup().interfaces.get(entry.link);
            let index = interface.map_or(0, |interface| interface.index);
            let state: u16 = match entry.state {
                NeighbourState::Incomplete => 0x01,
                NeighbourState::Reachable => 0x02,
                NeighbourState::Stale => 0x04,
                NeighbourState::Probe => 0x10,
                NeighbourState::Failed => 0x20,
                NeighbourState::Permanent => 0x80,
            };
            // struct ndmsg: family, pad, index, state, flags, type.
            let mut body = vec![family(entry.ip), 0, 0, 0];
            body.extend_from_slice(&index.to_ne_bytes());
            body.extend_from_slice(&state.to_ne_bytes());
            body.extend_from_slice(&[0, RTN_UNICAST]);
            let mut attributes = vec![(1, octets(entry.ip))];
            if let Some(mac) = entry.mac {
                attributes.push((2, mac.to_vec()));
            }
            Part { body, attributes }
        })
        .collect()
}
