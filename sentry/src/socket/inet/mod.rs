//! AF_INET and AF_INET6: loopback from memory to memory, without packets; the rest of the world through the packet stack.
//!
//! - [`Endpoint`]: address and port. [`ports`]: who is bound where, for each network namespace.
//! - [`tcp`], [`udp`], [`raw`]: the sockets. [`options`]: levels IPPROTO_IP, IPPROTO_IPV6 and IPPROTO_TCP. [`tables`]: `/proc/net`.
//! - [`outside`]: the packet stack. Without one, destinations other than loopback are unreachable.

mod endpoint;
mod options;
pub mod outside;
mod ports;
mod raw;
mod stream;
mod tables;
mod tcp;
mod udp;

use crate::task::namespaces::NetNamespace;
use std::sync::Arc;

use abi::socket as so;

pub use endpoint::Endpoint;

use crate::error::{Errno, Result};
use crate::fs::proc::sys::Values;
use crate::task::CurrentTask;
use crate::task::creds::{Cap, Creds};
use crate::vfs::File;

/// Which of the two families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    match (kind, protocol) {
        (so::SOCK_STREAM, 0 | so::IPPROTO_TCP) => Ok(tcp::create(task, family)),
        (so::SOCK_DGRAM, 0 | so::IPPROTO_UDP) => Ok(udp::create(task, family)),
        (so::SOCK_RAW, _) => {
            // 0 is no protocol of its own: packets of IPPROTO_IP do not exist.
            if !(1..=255).contains(&protocol) {
                return Err(Errno::EPROTONOSUPPORT);
            }
            task.creds().require_in(&task.namespaces().net.owner, Cap::NET_RAW)?;
            Ok(raw::create(task, family, false, protocol))
        }
        (so::SOCK_DGRAM, _) if protocol == family.icmp() => {
            check_ping(task)?;
            Ok(raw::create(task, family, true, protocol))
        }
        (so::SOCK_STREAM | so::SOCK_DGRAM, _) => Err(Errno::EPROTONOSUPPORT),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
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

/// `EACCES` for a privileged port without the capability.
fn check_port(net: &NetNamespace, creds: &Creds, port: u16) -> Result<()> {
    const FIRST_UNPRIVILEGED: u16 = 1024;
    if port != 0 && port < FIRST_UNPRIVILEGED && !creds.has_in(&net.owner, Cap::NET_BIND_SERVICE) {
        return Err(Errno::EACCES);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
