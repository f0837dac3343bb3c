//! Reads interfaces, addresses, routes and neighbours of a network namespace (`rtnetlink(7)`).

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use netstack::setup::{Address, Interface, Neighbour, Route, Setup};
use nix::sys::socket::SockProtocol;

use super::netlink::{Netlink, attributes};

const GET_LINK: u16 = 18;
const GET_ADDRESS: u16 = 22;
const GET_ROUTE: u16 = 26;
const GET_NEIGHBOUR: u16 = 30;
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
const IFF_RUNNING: u32 = 0x40;
const IF_OPER_UP: u8 = 6;
const ARPHRD_ETHER: u16 = 1;
const RT_TABLE_MAIN: u8 = 254;
const RTN_UNICAST: u8 = 1;
const AF_INET: u8 = 2;
/// IFA_F_TENTATIVE and IFA_F_DADFAILED: not (or never) ours.
const UNUSABLE: u32 = 0x40 | 0x08;
/// NUD_REACHABLE, STALE, DELAY, PROBE, PERMANENT.
const NUD_VALID: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x80;
const NUD_PERMANENT: u16 = 0x80;

fn word(data: &[u8]) -> u32 {
    data.first_chunk::<4>()
        .map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn text(data: &[u8]) -> String {
    let end = data.iter().position(|b| *b == 0).unwrap_or(data.len());
    String::from_utf8_lossy(&data[..end]).into_owned()
}

fn ip(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => Some(<[u8; 4]>::try_from(data).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(data).ok()?.into()),
        _ => None,
    }
}

/// Everything of the calling thread's namespace. Interfaces that are down or not Ethernet are left out.
pub fn setup() -> Result<Setup> {
    let mut netlink = Netlink::new(SockProtocol::NetlinkRoute).context("netlink")?;
    let mut interfaces = Vec::new();
    netlink.dump(GET_LINK, &[0; 16], |body| {
        interfaces.extend(interface(body));
    })?;
    netlink.dump(GET_ADDRESS, &[0; 8], |body| {
        let Some((index, address)) = address(body) else {
            return;
        };
        if let Some(interface) = interfaces.iter_mut().find(|i| i.index == index) {
            interface.addresses.push(address);
        }
    })?;
    let known = |index: u32| interfaces.iter().any(|interface| interface.index == index);
    let mut routes = Vec::new();
    netlink.dump(GET_ROUTE, &[0; 12], |body| {
        routes.extend(route(body).filter(|route| known(route.interface)));
    })?;
    let mut neighbours = Vec::new();
    netlink.dump(GET_NEIGHBOUR, &[0; 12], |body| {
        neighbours.extend(neighbour(body).filter(|neighbour| known(neighbour.interface)));
    })?;
    interfaces.sort_by_key(|interface| interface.index);
    Ok(Setup {
        interfaces,
        routes,
        neighbours,
        reserved_ports: None,
        host_loopback: None,
        capture: false,
    })
}

/// Addresses of loopback but 127.0.0.1 that somebody listens at in the calling thread's namespace, such as an engine's resolver at 127.0.0.11.
pub fn listeners_on_loopback() -> Result<Vec<Ipv4Addr>> {
    /// More are no engine's.
    const MOST: usize = 16;
    let mut all = Vec::new();
    for name in ["tcp", "udp"] {
        let path = format!("/proc/thread-self/net/{name}");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        all.extend(text.lines().skip(1).filter_map(loopback_listener));
    }
    all.sort();
    all.dedup();
    all.truncate(MOST);
    Ok(all)
}

/// The address of a line of `/proc/net/tcp` or `udp`, if it is a listener's (or a datagram socket's that is connected to nobody) on loopback.
fn loopback_listener(line: &str) -> Option<Ipv4Addr> {
    const LISTENING: [&str; 2] = ["0A", "07"];
    let mut words = line.split_whitespace().skip(1);
    let (local, _, state) = (words.next()?, words.next()?, words.next()?);
    let (address, _) = local.split_once(':')?;
    let address = Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes());
    let meant = address.is_loopback() && address != Ipv4Addr::LOCALHOST;
    (meant && LISTENING.contains(&state)).then_some(address)
}

fn interface(body: &[u8]) -> Option<Interface> {
    let head = body.first_chunk::<16>()?;
    let kind = u16::from_ne_bytes([head[2], head[3]]);
    let flags = word(&head[8..]);
    if kind != ARPHRD_ETHER || flags & IFF_LOOPBACK != 0 || flags & IFF_UP == 0 {
        return None;
    }
    let mut interface = Interface {
        index: word(&head[4..]),
        peer: None,
        name: String::new(),
        mac: [0; 6],
        mtu: 1500,
        flags,
        tx_queue: 0,
        qdisc: String::new(),
        operstate: 0,
        addresses: Vec::new(),
    };
    // Its other end is in another namespace (IFLA_LINK_NETNSID).
    let mut elsewhere = false;
    for (kind, data) in attributes(&body[16..]) {
        match kind {
            1 => interface.mac = data.try_into().ok()?,
            3 => interface.name = text(data),
            4 => interface.mtu = word(data),
            5 => interface.peer = Some(word(data)),
            37 => elsewhere = true,
            6 => interface.qdisc = text(data),
            13 => interface.tx_queue = word(data),
            16 => interface.operstate = data.first().copied().unwrap_or(0),
            _ => {}
        }
    }
    if !elsewhere {
        interface.peer = interface.peer.filter(|peer| *peer != interface.index);
    }
    // It is the sandbox's now, and up; the carrier may still be on its way.
    interface.operstate = IF_OPER_UP;
    interface.flags |= IFF_RUNNING;
    Some(interface)
}

fn address(body: &[u8]) -> Option<(u32, Address)> {
    let head = body.first_chunk::<8>()?;
    let mut flags = u32::from(head[2]);
    let (mut local, mut remote, mut broadcast, mut label) = (None, None, None, None);
    for (kind, data) in attributes(&body[8..]) {
        match kind {
            1 => remote = ip(data),
            2 => local = ip(data),
            3 => label = Some(text(data)),
            4 => {
                broadcast = match ip(data) {
                    Some(IpAddr::V4(ip)) => Some(ip),
                    _ => None,
                };
            }
            8 => flags = word(data),
            _ => {}
        }
    }
    if flags & UNUSABLE != 0 {
        return None;
    }
    let address = Address {
        ip: local.or(remote)?,
        prefix: head[1],
        broadcast: broadcast.filter(|ip| *ip != Ipv4Addr::UNSPECIFIED),
        scope: head[3],
        flags,
        label,
    };
    Some((word(&head[4..]), address))
}

fn route(body: &[u8]) -> Option<Route> {
    let head = body.first_chunk::<12>()?;
    let (family, prefix, table, protocol, scope, kind) =
        (head[0], head[1], head[4], head[5], head[6], head[7]);
    if table != RT_TABLE_MAIN || kind != RTN_UNICAST {
        return None;
    }
    let any = if family == AF_INET {
        IpAddr::from([0; 4])
    } else {
        IpAddr::from([0; 16])
    };
    let mut route = Route {
        destination: any,
        prefix,
        gateway: None,
        interface: 0,
        source: None,
        metric: 0,
        scope,
        protocol,
        flags: word(&head[8..]),
    };
    for (kind, data) in attributes(&body[12..]) {
        match kind {
            1 => route.destination = ip(data)?,
            4 => route.interface = word(data),
            5 => route.gateway = ip(data),
            6 => route.metric = word(data),
            7 => route.source = ip(data),
            _ => {}
        }
    }
    Some(route)
}

fn neighbour(body: &[u8]) -> Option<Neighbour> {
    let head = body.first_chunk::<12>()?;
    let state = u16::from_ne_bytes([head[8], head[9]]);
    if state & NUD_VALID == 0 {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for (kind, data) in attributes(&body[12..]) {
        match kind {
            1 => address = ip(data),
            2 => mac = data.try_into().ok(),
            _ => {}
        }
    }
    Some(Neighbour {
        interface: word(&head[4..]),
        ip: address?,
        mac: mac?,
        permanent: state & NUD_PERMANENT != 0,
    })
}
