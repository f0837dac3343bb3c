//! AF_INET and AF_INET6: loopback from memory to memory, without packets; the rest of the world through the packet stack.
//!
//! - [`Endpoint`]: address and port. [`ports`]: who is bound where, for each network namespace. [`caller`]: who asks, and the sysctls.
//! - [`tcp`], [`udp`], [`raw`]: the sockets, and in `udp_file` and `raw_file` the calls on them. [`datagram`]: what the latter two share. [`multicast`]:
//!   groups. [`control`]: control messages. [`options`], [`names`]: options of the protocols. [`tables`]: `/proc/net`.
//! - [`outside`]: the packet stack. Without one, destinations other than loopback are unreachable.

mod caller;
mod capture;
mod control;
mod datagram;
mod endpoint;
mod multicast;
mod names;
mod options;
pub mod outside;
mod ports;
mod raw;
mod raw_file;
pub mod report;
mod tables;
mod tcp;
mod udp;
mod udp_file;

use std::sync::Arc;

use abi::socket as so;
use parking_lot::Mutex;

use names::{IP_MTU, IPV6_ADDR_PREFERENCES, IPV6_MTU, IPV6_V6ONLY};

pub use endpoint::Endpoint;
pub(in crate::socket) use tables::{
    Row, raw_rows_of as rows_of_raw, tcp_rows as rows_of_tcp, udp_rows as rows_of_udp,
};

use crate::error::{Errno, Result};
use crate::fs::proc::sys::Values;
use crate::socket::interface;
use crate::socket::options::Options;
use crate::task::CurrentTask;
use crate::task::creds::Cap;
use crate::task::namespaces::NetNamespace;
use crate::vfs::File;

/// Which of the two families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// AF_INET.
    V4,
    /// AF_INET6.
    V6,
}

impl Family {
    const fn number(self) -> i32 {
        match self {
            Self::V4 => so::AF_INET,
            Self::V6 => so::AF_INET6,
        }
    }

    const fn icmp(self) -> i32 {
        const ICMPV6: i32 = 58;
        match self {
            Self::V4 => so::IPPROTO_ICMP,
            Self::V6 => ICMPV6,
        }
    }
}

/// `socket(2)` of this family: TCP, UDP, ping, and with the capability raw.
pub fn create(task: &CurrentTask, family: Family, kind: i32, protocol: i32) -> Result<Arc<File>> {
    tables::ensure(&task.namespaces().net);
    /// One more than the highest protocol that Linux knows (`IPPROTO_MAX`).
    const PROTOCOLS: i32 = 263;
    if !(0..PROTOCOLS).contains(&protocol) {
        return Err(Errno::EINVAL);
    }
    match (kind, protocol) {
        (so::SOCK_STREAM, 0 | so::IPPROTO_TCP) => Ok(tcp::create(task, family)),
        (so::SOCK_DGRAM, 0 | so::IPPROTO_UDP) => Ok(udp_file::create(task, family)),
        (so::SOCK_RAW, _) => {
            // 0 is no protocol of its own: packets of IPPROTO_IP do not exist.
            if !(1..=255).contains(&protocol) {
                return Err(Errno::EPROTONOSUPPORT);
            }
            task.creds()
                .require_in(&task.namespaces().net.owner, Cap::NET_RAW)?;
            Ok(raw_file::create(task, family, false, protocol))
        }
        (so::SOCK_DGRAM, _) if protocol == family.icmp() => {
            check_ping(task)?;
            Ok(raw_file::create(task, family, true, protocol))
        }
        (so::SOCK_STREAM | so::SOCK_DGRAM, _) => Err(Errno::EPROTONOSUPPORT),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

/// Makes the files of a namespace's `/proc/net` show what is there.
pub fn show_tables(net: &Arc<NetNamespace>) {
    tables::ensure(net);
}

/// `EACCES` unless one of the caller's groups is in `net.ipv4.ping_group_range`.
fn check_ping(task: &CurrentTask) -> Result<()> {
    let values = task.container.extensions.get::<Values>();
    let range = values.get("net.ipv4.ping_group_range").unwrap_or_default();
    let mut bounds = range
        .split_whitespace()
        .filter_map(|word| word.parse().ok());
    // By default the range is empty.
    let (low, high): (u32, u32) = (bounds.next().unwrap_or(1), bounds.next().unwrap_or(0));
    let creds = task.creds();
    let mut groups = creds.groups.iter().chain(std::iter::once(&creds.egid));
    if groups.any(|group| (low..=high).contains(group)) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// SO_PEERCRED of sockets that know no credentials: no process, nobody.
const NOBODY: [u8; 12] = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// Options that all kinds of sockets answer alike, and that are not just kept. `mtu` is that of the way to the peer, if there is one.
fn common_option(
    family: Family,
    level: i32,
    name: i32,
    mtu: impl FnOnce() -> Option<u32>,
) -> Option<Result<i32>> {
    /// IPV6_PREFER_SRC_PUBTMP_DEFAULT, IPV6_PREFER_SRC_NONCGA: the default order of RFC 6724.
    const PREFERENCES: i32 = 0x500;
    let v6 = family == Family::V6;
    match (level, name) {
        (so::IPPROTO_IP, IP_MTU) => Some(mtu().map(|mtu| mtu as i32).ok_or(Errno::ENOTCONN)),
        (so::IPPROTO_IPV6, IPV6_MTU) if v6 => {
            Some(mtu().map(|mtu| mtu as i32).ok_or(Errno::ENOTCONN))
        }
        (so::IPPROTO_IPV6, IPV6_ADDR_PREFERENCES) if v6 => Some(Ok(PREFERENCES)),
        _ => None,
    }
}

/// The MTU of the way to somebody.
fn mtu_to(net: &NetNamespace, to: Endpoint) -> u32 {
    let outside = outside::stack(net)
        .filter(|stack| !stack.is_own(to.ip) && !to.ip.is_loopback())
        .and_then(|stack| stack.mtu_to(to.ip));
    // IPv4's packets cannot be longer.
    let most = if to.ip.is_ipv4() { 65_535 } else { 65_536 };
    outside.unwrap_or(interface::MTU).min(most)
}

/// Whether this would change IPV6_V6ONLY of a socket that is bound already.
fn is_late_v6_only(level: i32, name: i32, bound: Option<Endpoint>) -> bool {
    (level, name) == (so::IPPROTO_IPV6, IPV6_V6ONLY) && bound.is_some_and(|at| at.port != 0)
}

/// IP_OPTIONS: there are none, and none can be set.
fn no_ip_options(value: &[u8]) -> Result<()> {
    if value.is_empty() {
        Ok(())
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}

/// SO_BINDTODEVICE: `ENODEV` for an interface that is not there.
fn bind_to_device(task: &CurrentTask, options: &Mutex<Options>, value: &[u8]) -> Result<()> {
    let end = value.iter().position(|byte| *byte == 0);
    let name = &value[..end.unwrap_or(value.len())];
    if name.is_empty() {
        options.lock().set_device(None);
        return Ok(());
    }
    let net = task.namespaces().net.clone();
    let link = interface::links(&net)
        .into_iter()
        .find(|link| link.name.as_bytes() == name)
        .ok_or(Errno::ENODEV)?;
    let device = Some((link.index as u32, link.name));
    options.lock().set_device(device);
    Ok(())
}

#[cfg(test)]
mod tests;
