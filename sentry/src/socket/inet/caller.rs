//! Who makes a socket call, and what the container's sysctls say about it.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::error::{Errno, Result};
use crate::exec::Reactor;
use crate::fs::proc::sys::Values;
use crate::task::CurrentTask;
use crate::task::creds::Cap;

/// See the module.
#[derive(Clone)]
pub(super) struct Caller {
    /// Effective user.
    pub(super) uid: u32,
    /// `net.ipv4.ip_local_port_range`.
    pub(super) ports: RangeInclusive<u16>,
    /// Ports below need CAP_NET_BIND_SERVICE (`net.ipv4.ip_unprivileged_port_start`); 0 for those who have it.
    pub(super) first_port: u16,
    /// `net.core.somaxconn`.
    pub(super) most_waiting: usize,
    /// For what is to happen later; tests do without.
    pub(super) reactor: Option<Arc<Reactor>>,
}

/// The integers of a sysctl that was written.
fn numbers<const N: usize>(values: &Values, name: &str) -> Option<[i64; N]> {
    let text = values.get(name)?;
    let all: Vec<i64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    <[i64; N]>::try_from(all).ok()
}

impl Caller {
    /// The calling task.
    pub(super) fn of(task: &CurrentTask) -> Self {
        let creds = task.creds();
        let values = task.container.extensions.get::<Values>();
        let first = match numbers::<1>(&values, "net.ipv4.ip_unprivileged_port_start") {
            _ if creds.has(Cap::NET_BIND_SERVICE) => 0,
            Some([first]) => u16::try_from(first).unwrap_or(u16::MAX),
            None => 1024,
        };
        let ports = numbers::<2>(&values, "net.ipv4.ip_local_port_range")
            .and_then(|[low, high]| Some(u16::try_from(low).ok()?..=u16::try_from(high).ok()?));
        let most = numbers::<1>(&values, "net.core.somaxconn").and_then(|[n]| n.try_into().ok());
        Self {
            uid: creds.euid,
            ports: ports.unwrap_or_else(|| Self::default().ports),
            first_port: first,
            most_waiting: most.unwrap_or(Self::default().most_waiting),
            reactor: Some(task.kernel.reactor.clone()),
        }
    }

    /// `EACCES` for a port that this caller may not have.
    pub(super) const fn check_port(&self, port: u16) -> Result<()> {
        if port != 0 && port < self.first_port {
            return Err(Errno::EACCES);
        }
        Ok(())
    }
}

impl Default for Caller {
    fn default() -> Self {
        Self {
            uid: 0,
            ports: 32_768..=60_999,
            first_port: 0,
            most_waiting: 4096,
            reactor: None,
        }
    }
}

/// What new sockets begin with.
#[derive(Clone, Debug)]
pub(super) struct Initial {
    /// `net.ipv4.tcp_wmem`, `tcp_rmem`: the middle values.
    pub(super) tcp_buffers: (usize, usize),
    /// TTL, if it was set.
    pub(super) ttl: Option<i32>,
    /// Seconds before keep-alives, between them, how many.
    pub(super) keep_alive: [Option<i32>; 3],
    /// `net.ipv6.bindv6only`.
    pub(super) v6_only: bool,
}

impl Initial {
    /// By the sysctls of the task's container.
    pub(super) fn of(task: &CurrentTask) -> Self {
        let values = task.container.extensions.get::<Values>();
        let one = |name: &str| numbers::<1>(&values, name).and_then(|[n]| i32::try_from(n).ok());
        let middle = |name: &str, default| {
            numbers::<3>(&values, name)
                .and_then(|[_, middle, _]| usize::try_from(middle).ok())
                .unwrap_or(default)
        };
        let (send, receive) = Self::default().tcp_buffers;
        Self {
            tcp_buffers: (
                middle("net.ipv4.tcp_wmem", send),
                middle("net.ipv4.tcp_rmem", receive),
            ),
            ttl: one("net.ipv4.ip_default_ttl"),
            keep_alive: [
                one("net.ipv4.tcp_keepalive_time"),
                one("net.ipv4.tcp_keepalive_intvl"),
                one("net.ipv4.tcp_keepalive_probes"),
            ],
            v6_only: one("net.ipv6.bindv6only") == Some(1),
        }
    }
}

impl Default for Initial {
    fn default() -> Self {
        Self {
            tcp_buffers: (16_384, 131_072),
            ttl: None,
            keep_alive: [None; 3],
            v6_only: false,
        }
    }
}
