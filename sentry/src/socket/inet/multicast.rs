//! Groups that sockets have joined (`ip(7)`: IP_ADD_MEMBERSHIP, IP_MULTICAST_IF; `ipv6(7)`; RFC 3678 without sources).
//!
//! A namespace counts who is in which group on which interface: what is sent to a group comes in only while somebody is in it.
//!
//! Lock order: both locks are leaves; the stack is told with none held.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use abi::socket::{IPPROTO_IP, IPPROTO_IPV6};
use parking_lot::Mutex;

use super::names::*;
use super::{Endpoint, Family, outside};
use crate::error::{Errno, Result};
use crate::socket::interface;
use crate::task::namespaces::NetNamespace;

/// Most groups of one socket (`net.ipv4.igmp_max_memberships`).
const MOST: usize = 20;

/// How many sockets are in each group on each interface; in a namespace's `objects`.
#[derive(Default)]
pub(super) struct Groups(Mutex<HashMap<(IpAddr, u32), usize>>);

impl Groups {
    /// Whether anybody is in `group` on `interface`. Everybody is in the group of all hosts.
    pub(super) fn has(&self, group: IpAddr, interface: u32) -> bool {
        let all = [
            IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)),
            IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
        ];
        all.contains(&group) || self.0.lock().contains_key(&(group, interface))
    }

    /// All of them, with how many sockets are in each.
    pub(super) fn list(&self) -> Vec<(IpAddr, u32, usize)> {
        let all = self.0.lock();
        let mut all: Vec<_> = all.iter().map(|((ip, at), n)| (*ip, *at, *n)).collect();
        all.sort();
        all
    }

    fn change(&self, net: &NetNamespace, at: (IpAddr, u32), join: bool) {
        let changed = {
            let mut all = self.0.lock();
            let count = all.entry(at).or_default();
            *count = if join {
                *count + 1
            } else {
                count.saturating_sub(1)
            };
            match (*count, join) {
                (0, _) => {
                    all.remove(&at);
                    true
                }
                (1, true) => true,
                _ => false,
            }
        };
        if let (true, Some(stack)) = (changed, outside::stack(net)) {
            stack.set_member(at.0, at.1, join);
        }
    }
}

/// A socket's memberships, and where it sends to groups from.
#[derive(Default)]
pub(super) struct Memberships {
    joined: Mutex<Vec<(IpAddr, u32)>>,
    /// IP_MULTICAST_IF: address to send from, interface.
    through: Mutex<(Option<Ipv4Addr>, Option<u32>)>,
}

/// The interface that has `ip`.
fn interface_of(net: &NetNamespace, ip: IpAddr) -> Option<u32> {
    if ip.is_loopback() {
        return Some(interface::INDEX as u32);
    }
    let stack = outside::stack(net)?;
    let all = &stack.setup().interfaces;
    let found = all
        .iter()
        .find(|interface| interface.addresses.iter().any(|own| own.ip == ip));
    found.map(|interface| interface.index)
}

fn exists(net: &NetNamespace, index: u32) -> bool {
    interface::links(net)
        .iter()
        .any(|link| link.index as u32 == index)
}

/// The interface that leads to `group` by the routes.
fn routed(net: &NetNamespace, group: IpAddr) -> Option<u32> {
    let stack = outside::stack(net)?;
    stack.interface_to(group)
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes
        .first_chunk::<4>()
        .map(|bytes| u32::from_ne_bytes(*bytes))
}

/// Group and interface of a request to join or leave; `EINVAL`, `ENODEV`.
fn request(net: &NetNamespace, level: i32, name: i32, value: &[u8]) -> Result<(IpAddr, u32)> {
    let (group, index) = match (level, name) {
        (IPPROTO_IP, IP_ADD_MEMBERSHIP | IP_DROP_MEMBERSHIP) => {
            // struct ip_mreq, or ip_mreqn with the interface's number.
            let bytes = value.first_chunk::<8>().ok_or(Errno::EINVAL)?;
            let group = Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]);
            let at = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
            let index = value.get(8..).and_then(word).filter(|index| *index != 0);
            let by_address = || interface_of(net, IpAddr::V4(at)).ok_or(Errno::ENODEV);
            let index = match index {
                None if !at.is_unspecified() && group.is_multicast() => Some(by_address()?),
                index => index,
            };
            (IpAddr::V4(group), index)
        }
        (IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP | IPV6_DROP_MEMBERSHIP) => {
            let bytes = value.first_chunk::<20>().ok_or(Errno::EINVAL)?;
            let group: [u8; 16] = bytes[..16].try_into().map_err(|_| Errno::EINVAL)?;
            let index = word(&bytes[16..]).filter(|index| *index != 0);
            (IpAddr::from(group), index)
        }
        _ => {
            // struct group_req: number, padding, address.
            let index = word(value).filter(|index| *index != 0);
            let family = if level == IPPROTO_IP {
                Family::V4
            } else {
                Family::V6
            };
            let group = Endpoint::parse(value.get(8..).ok_or(Errno::EINVAL)?, family)?;
            (group.ip, index)
        }
    };
    if !group.is_multicast() {
        return Err(Errno::EINVAL);
    }
    let index = match index {
        Some(index) if exists(net, index) => index,
        Some(_) => return Err(Errno::ENODEV),
        None => routed(net, group).ok_or(Errno::ENODEV)?,
    };
    Ok((group, index))
}

impl Memberships {
    /// Sets an option that is about groups; `None`: it is not.
    pub(super) fn set(
        &self,
        net: &NetNamespace,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Option<Result<()>> {
        Some(match (level, name) {
            (IPPROTO_IP, IP_ADD_MEMBERSHIP)
            | (IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP)
            | (IPPROTO_IP | IPPROTO_IPV6, MCAST_JOIN_GROUP) => {
                request(net, level, name, value).and_then(|at| self.join(net, at))
            }
            (IPPROTO_IP, IP_DROP_MEMBERSHIP)
            | (IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP)
            | (IPPROTO_IP | IPPROTO_IPV6, MCAST_LEAVE_GROUP) => {
                request(net, level, name, value).and_then(|at| self.leave(net, at))
            }
            (IPPROTO_IP, IP_MULTICAST_IF) => self.set_through(net, value),
            (IPPROTO_IPV6, IPV6_MULTICAST_IF) => match word(value) {
                None => Err(Errno::EINVAL),
                Some(0) => {
                    self.through.lock().1 = None;
                    Ok(())
                }
                Some(index) if exists(net, index) => {
                    self.through.lock().1 = Some(index);
                    Ok(())
                }
                Some(_) => Err(Errno::ENODEV),
            },
            _ => return None,
        })
    }

    /// Reads such an option.
    pub(super) fn get(&self, level: i32, name: i32) -> Option<[u8; 4]> {
        let (address, index) = *self.through.lock();
        match (level, name) {
            (IPPROTO_IP, IP_MULTICAST_IF) => {
                Some(address.unwrap_or(Ipv4Addr::UNSPECIFIED).octets())
            }
            (IPPROTO_IPV6, IPV6_MULTICAST_IF) => Some(index.unwrap_or(0).to_ne_bytes()),
            _ => None,
        }
    }

    /// struct in_addr, ip_mreq or ip_mreqn.
    fn set_through(&self, net: &NetNamespace, value: &[u8]) -> Result<()> {
        let address = match value.len() {
            0..4 => return Err(Errno::EINVAL),
            4..8 => &value[..4],
            _ => &value[4..8],
        };
        let address = Ipv4Addr::new(address[0], address[1], address[2], address[3]);
        let index = value.get(8..).and_then(word).filter(|index| *index != 0);
        *self.through.lock() = match index {
            Some(index) if exists(net, index) => {
                (Some(address).filter(|ip| !ip.is_unspecified()), Some(index))
            }
            Some(_) => return Err(Errno::EADDRNOTAVAIL),
            None if address.is_unspecified() => (None, None),
            None => {
                let index = interface_of(net, IpAddr::V4(address)).ok_or(Errno::EADDRNOTAVAIL)?;
                (Some(address), Some(index))
            }
        };
        Ok(())
    }

    /// Where packets to groups go out, and from which address.
    pub(super) fn through(&self) -> (Option<Ipv4Addr>, Option<u32>) {
        *self.through.lock()
    }

    fn join(&self, net: &NetNamespace, at: (IpAddr, u32)) -> Result<()> {
        {
            let mut joined = self.joined.lock();
            if joined.contains(&at) {
                return Err(Errno::EADDRINUSE);
            }
            if joined.len() >= MOST {
                return Err(Errno::ENOBUFS);
            }
            joined.push(at);
        }
        net.objects.get::<Groups>().change(net, at, true);
        Ok(())
    }

    fn leave(&self, net: &NetNamespace, at: (IpAddr, u32)) -> Result<()> {
        {
            let mut joined = self.joined.lock();
            let found = joined.iter().position(|other| *other == at);
            joined.swap_remove(found.ok_or(Errno::EADDRNOTAVAIL)?);
        }
        net.objects.get::<Groups>().change(net, at, false);
        Ok(())
    }

    /// Leaves all groups.
    pub(super) fn leave_all(&self, net: &NetNamespace) {
        let all = std::mem::take(&mut *self.joined.lock());
        for at in all {
            net.objects.get::<Groups>().change(net, at, false);
        }
    }

    /// Whether the socket is in `group` on `interface`.
    pub(super) fn has(&self, group: IpAddr, interface: u32) -> bool {
        self.joined.lock().contains(&(group, interface))
    }
}
