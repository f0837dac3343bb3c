//! Interfaces: what `netdevice(7)` requests and route dumps show of loopback and of those that the packet stack has.

use std::net::{IpAddr, Ipv4Addr};

use abi::{UserAddr, UserIn, UserOut};
use netstack::LinkCounters;

use super::inet::outside;
use super::loopback::Loopback;
use crate::error::{Errno, SysResult};
use crate::task::CurrentTask;
use crate::task::creds::Cap;
use crate::task::namespaces::NetNamespace;

/// Interface index.
pub const INDEX: i32 = 1;
/// Bytes.
pub const MTU: u32 = 65536;
const IFF_LOOPBACK: u32 = 0x8;
/// IFF_UP and IFF_RUNNING.
const UP_FLAGS: u32 = 0x1 | 0x40;
/// ARPHRD_LOOPBACK.
pub const HARDWARE: u16 = 772;

/// Bytes of `struct ifreq`.
const IFREQ_SIZE: usize = 40;
const IFNAMSIZ: usize = 16;

const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCSIFFLAGS: u32 = 0x8914;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
const SIOCETHTOOL: u32 = 0x8946;
const SIOCGIFMAP: u32 = 0x8970;
const SIOCDARP: u32 = 0x8953;
const SIOCGARP: u32 = 0x8954;
const SIOCSARP: u32 = 0x8955;
/// Bytes of `struct arpreq`.
const ARPREQ_SIZE: usize = 68;

/// An interface as the guest sees it.
#[derive(Clone, Debug)]
pub struct Link {
    /// Number.
    pub index: i32,
    /// Name.
    pub name: String,
    /// `IFF_*`.
    pub flags: u32,
    /// Bytes.
    pub mtu: u32,
    /// `ARPHRD_*`.
    pub hardware: u16,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Transmit queue length.
    pub tx_queue: u32,
    /// Queueing discipline.
    pub qdisc: String,
    /// `IF_OPER_*`.
    pub operstate: u8,
    /// Number of the other end of a pair.
    pub peer: Option<u32>,
    /// What went through it.
    pub counters: LinkCounters,
}

const ARPHRD_ETHER: u16 = 1;
/// IF_OPER_DOWN.
const OPER_DOWN: u8 = 2;

/// All interfaces of a namespace, loopback first.
#[must_use]
pub fn links(net: &NetNamespace) -> Vec<Link> {
    let loopback = net.objects.get::<Loopback>();
    let mut all = vec![Link {
        index: INDEX,
        name: "lo".to_owned(),
        flags: IFF_LOOPBACK | if loopback.is_up() { UP_FLAGS } else { 0 },
        mtu: MTU,
        hardware: HARDWARE,
        mac: [0; 6],
        tx_queue: 1000,
        qdisc: if loopback.is_up() { "noqueue" } else { "noop" }.to_owned(),
        operstate: if loopback.is_up() { 0 } else { OPER_DOWN },
        peer: None,
        counters: LinkCounters::default(),
    }];
    if let Some(stack) = outside::stack(net) {
        let (_, counters) = stack.counters();
        let outside = stack.setup().interfaces.iter().zip(counters);
        all.extend(outside.map(|(interface, counters)| Link {
            index: interface.index as i32,
            name: interface.name.clone(),
            flags: interface.flags & 0xffff,
            mtu: interface.mtu,
            hardware: ARPHRD_ETHER,
            mac: interface.mac,
            tx_queue: interface.tx_queue,
            qdisc: interface.qdisc.clone(),
            operstate: interface.operstate,
            peer: interface.peer,
            counters,
        }));
    }
    all
}

/// The interface of this number.
#[must_use]
pub fn by_index(net: &NetNamespace, index: u32) -> Option<Link> {
    links(net)
        .into_iter()
        .find(|link| link.index as u32 == index)
}

/// The first IPv4 address of an interface, with prefix length and broadcast address.
fn first_address(net: &NetNamespace, index: i32) -> Option<(Ipv4Addr, u8, Ipv4Addr)> {
    if index == INDEX {
        if !net.objects.get::<Loopback>().is_addressed() {
            return None;
        }
        return Some((Ipv4Addr::LOCALHOST, 8, Ipv4Addr::UNSPECIFIED));
    }
    let stack = outside::stack(net)?;
    let interfaces = &stack.setup().interfaces;
    let interface = interfaces.iter().find(|i| i.index as i32 == index)?;
    interface.addresses.iter().find_map(|address| {
        let IpAddr::V4(ip) = address.ip else {
            return None;
        };
        let broadcast = address.broadcast.unwrap_or(Ipv4Addr::UNSPECIFIED);
        Some((ip, address.prefix, broadcast))
    })
}

fn inet(ip: Ipv4Addr) -> [u8; 16] {
    let mut addr = [0; 16];
    addr[..2].copy_from_slice(&(abi::socket::AF_INET as u16).to_ne_bytes());
    addr[4..8].copy_from_slice(&ip.octets());
    addr
}

fn netmask(prefix: u8) -> Ipv4Addr {
    let bits = u32::MAX
        .checked_shl(32 - u32::from(prefix.min(32)))
        .unwrap_or(0);
    Ipv4Addr::from(bits)
}

fn put_name(ifreq: &mut [u8], name: &str) {
    let name = &name.as_bytes()[..name.len().min(IFNAMSIZ - 1)];
    ifreq[..IFNAMSIZ].fill(0);
    ifreq[..name.len()].copy_from_slice(name);
}

/// Answers the requests that read an interface: `ENODEV` for one that is not there, `ENOTTY` for other requests.
pub fn ioctl(task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
    let memory = task.memory();
    let net = task.namespaces().net.clone();
    if request == SIOCGIFCONF {
        return list(task, &net, arg);
    }
    if !(0x8900..0x8a00).contains(&request) {
        return Err(Errno::ENOTTY.into());
    }
    if matches!(request, SIOCDARP | SIOCGARP | SIOCSARP) {
        return arp(task, &net, request, arg);
    }
    let mut ifreq: [u8; IFREQ_SIZE] = memory.get(UserIn::new(UserAddr(arg)))?;
    let all = links(&net);
    if request == SIOCGIFNAME {
        let index = i32::from_ne_bytes([ifreq[16], ifreq[17], ifreq[18], ifreq[19]]);
        let link = all.iter().find(|link| link.index == index);
        put_name(&mut ifreq, &link.ok_or(Errno::ENODEV)?.name);
        memory.put(UserOut::new(UserAddr(arg)), &ifreq)?;
        return Ok(0);
    }
    let end = ifreq[..IFNAMSIZ].iter().position(|b| *b == 0);
    let name = &ifreq[..end.unwrap_or(IFNAMSIZ)];
    let link = all.iter().find(|link| link.name.as_bytes() == name);
    let link = link.ok_or(Errno::ENODEV)?;
    let address = || first_address(&net, link.index).ok_or(Errno::EADDRNOTAVAIL);
    let mut value = [0_u8; 16];
    match request {
        SIOCGIFFLAGS => value[..2].copy_from_slice(&(link.flags as u16).to_ne_bytes()),
        SIOCGIFADDR => value = inet(address()?.0),
        // The far end of a link that is not point-to-point is the interface itself.
        SIOCGIFDSTADDR => value = inet(address()?.0),
        SIOCGIFNETMASK => value = inet(netmask(address()?.1)),
        SIOCGIFBRDADDR => value = inet(address()?.2),
        SIOCGIFMTU => value[..4].copy_from_slice(&link.mtu.to_ne_bytes()),
        SIOCGIFINDEX => value[..4].copy_from_slice(&link.index.to_ne_bytes()),
        SIOCGIFTXQLEN => value[..4].copy_from_slice(&link.tx_queue.to_ne_bytes()),
        SIOCGIFHWADDR => {
            value[..2].copy_from_slice(&link.hardware.to_ne_bytes());
            value[2..8].copy_from_slice(&link.mac);
        }
        // Neither has a card's memory and interrupt.
        SIOCGIFMETRIC | SIOCGIFMAP => {}
        SIOCSIFFLAGS if link.index == INDEX => {
            let creds = task.creds();
            creds.require_in(&net.owner, Cap::NET_ADMIN)?;
            let flags = u32::from(u16::from_ne_bytes([ifreq[16], ifreq[17]]));
            net.objects.get::<Loopback>().change_flags(flags, u32::MAX);
            return Ok(0);
        }
        SIOCETHTOOL => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EPERM.into()),
    }
    ifreq[IFNAMSIZ..IFNAMSIZ + 16].copy_from_slice(&value);
    memory.put(UserOut::new(UserAddr(arg)), &ifreq)?;
    Ok(0)
}

/// SIOCGIFCONF: an entry for each interface with an IPv4 address.
fn list(task: &CurrentTask, net: &NetNamespace, arg: u64) -> SysResult<i64> {
    let memory = task.memory();
    // struct ifconf: a length and, aligned, a pointer.
    let [len, buffer]: [u64; 2] = memory.get(UserIn::new(UserAddr(arg)))?;
    let room = usize::try_from(len as u32 as i32).map_err(|_| Errno::EINVAL)?;
    let mut used = 0;
    for link in links(net) {
        let Some((ip, ..)) = first_address(net, link.index) else {
            continue;
        };
        if buffer != 0 {
            if used + IFREQ_SIZE > room {
                break;
            }
            let mut ifreq = [0_u8; IFREQ_SIZE];
            put_name(&mut ifreq, &link.name);
            ifreq[IFNAMSIZ..IFNAMSIZ + 16].copy_from_slice(&inet(ip));
            memory.put(UserOut::new(UserAddr(buffer + used as u64)), &ifreq)?;
        }
        used += IFREQ_SIZE;
    }
    memory.put(UserOut::new(UserAddr(arg)), &(used as i32))?;
    Ok(0)
}

/// SIOCGARP (`arp(7)`): a neighbour's hardware address; `ENXIO` if it is not known. Entries cannot be changed.
fn arp(task: &CurrentTask, net: &NetNamespace, request: u32, arg: u64) -> SysResult<i64> {
    const COMPLETE: i32 = 2;
    const PERMANENT: i32 = 4;
    let memory = task.memory();
    let mut arpreq: [u8; ARPREQ_SIZE] = memory.get(UserIn::new(UserAddr(arg)))?;
    if request != SIOCGARP {
        task.creds().require(crate::task::creds::Cap::NET_ADMIN)?;
        return Err(Errno::EOPNOTSUPP.into());
    }
    if i32::from(u16::from_ne_bytes([arpreq[0], arpreq[1]])) != abi::socket::AF_INET {
        return Err(Errno::EPFNOSUPPORT.into());
    }
    let ip = IpAddr::from([arpreq[4], arpreq[5], arpreq[6], arpreq[7]]);
    let stack = outside::stack(net).ok_or(Errno::ENXIO)?;
    let entry = stack.neighbours().into_iter().find(|entry| entry.ip == ip);
    let (entry, mac) = entry
        .and_then(|entry| entry.mac.map(|mac| (entry, mac)))
        .ok_or(Errno::ENXIO)?;
    arpreq[16..18].copy_from_slice(&ARPHRD_ETHER.to_ne_bytes());
    arpreq[18..24].copy_from_slice(&mac);
    let permanent = matches!(entry.state, netstack::NeighbourState::Permanent);
    let flags = COMPLETE | if permanent { PERMANENT } else { 0 };
    arpreq[32..36].copy_from_slice(&flags.to_ne_bytes());
    let interface = stack.setup().interfaces.get(entry.link);
    let name = interface.map_or("", |interface| &interface.name);
    arpreq[52..].fill(0);
    let name = &name.as_bytes()[..name.len().min(IFNAMSIZ - 1)];
    arpreq[52..52 + name.len()].copy_from_slice(name);
    memory.put(UserOut::new(UserAddr(arg)), &arpreq)?;
    Ok(0)
}
