//! Which way a packet goes: local addresses, routes by longest prefix and metric, the source address that goes with each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use abi::Errno;

use crate::setup::{self, Route, Setup};

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// Position of the interface in the setup.
    pub(crate) link: usize,
    /// Who gets the frame.
    pub(crate) next: IpAddr,
    /// Source address that the route prefers.
    pub(crate) source: Option<IpAddr>,
}

/// An own address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
    pub(crate) broadcast: Option<Ipv4Addr>,
    pub(crate) link: usize,
    scope: u8,
}

/// Addresses and routes.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) own: Vec<Own>,
    routes: Vec<(usize, Route)>,
}

fn bits(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    }
}

/// Whether `ip` is in the network of `prefix` bits that `network` is in.
pub(crate) fn in_network(ip: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let ((a, width), (b, other)) = (bits(ip), bits(network));
    if width != other {
        return false;
    }
    let prefix = u32::from(prefix).min(width);
    prefix == 0 || (a ^ b) >> (128 - prefix) == 0
}

fn link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

impl Table {
    pub(crate) fn new(setup: &Setup) -> Self {
        let mut own = Vec::new();
        for (link, interface) in setup.interfaces.iter().enumerate() {
            own.extend(interface.addresses.iter().map(|address| Own {
                ip: address.ip,
                prefix: address.prefix,
                broadcast: address.broadcast_address(),
                link,
                scope: address.scope,
            }));
        }
        let mut routes: Vec<(usize, Route)> = setup
            .routes
            .iter()
            .filter_map(|route| {
                let link = setup
                    .interfaces
                    .iter()
                    .position(|interface| interface.index == route.interface)?;
                Some((link, route.clone()))
            })
            .collect();
        if setup.host_loopback.is_some() {
            let link = setup.interfaces.len();
            own.push(Own {
                ip: IpAddr::V4(setup::LOOPBACK),
                prefix: 8,
                broadcast: None,
                link,
                scope: 254,
            });
            routes.push((
                link,
                Route {
                    destination: IpAddr::from([127, 0, 0, 0]),
                    prefix: 8,
                    gateway: None,
                    interface: 1,
                    source: Some(IpAddr::V4(setup::LOOPBACK)),
                    metric: 0,
                    scope: 254,
                    protocol: 2,
                    flags: 0,
                },
            ));
        }
        routes.sort_by_key(|(_, route)| (std::cmp::Reverse(route.prefix), route.metric));
        Self { own, routes }
    }

    pub(crate) fn is_own(&self, ip: IpAddr) -> bool {
        self.own.iter().any(|own| own.ip == ip)
    }

    /// Whether `ip` is a broadcast address of one of our networks or of all.
    pub(crate) fn is_broadcast(&self, ip: IpAddr) -> bool {
        let IpAddr::V4(ip) = ip else { return false };
        ip == Ipv4Addr::BROADCAST || self.own.iter().any(|own| own.broadcast == Some(ip))
    }

    /// The way to `to`, through interface `only` if given: `ENETUNREACH`.
    pub(crate) fn hop(&self, to: IpAddr, only: Option<usize>) -> Result<Hop, Errno> {
        let direct = |link| Hop {
            link,
            next: to,
            source: None,
        };
        let found = self.routes.iter().find(|(link, route)| {
            only.is_none_or(|only| only == *link) && in_network(to, route.destination, route.prefix)
        });
        if let Some((link, route)) = found {
            return Ok(Hop {
                link: *link,
                next: route.gateway.unwrap_or(to),
                source: route.source,
            });
        }
        // Without a route: what is on a link by its nature.
        let by_nature = match to {
            IpAddr::V6(ip) => link_local(ip) || ip.is_multicast(),
            IpAddr::V4(ip) => ip.is_broadcast() && only.is_some(),
        };
        let first = only.or_else(|| self.own.iter().map(|own| own.link).next());
        match first {
            Some(link) if by_nature => Ok(direct(link)),
            _ => Err(Errno::ENETUNREACH),
        }
    }

    /// The source address for packets that go by `hop`: `EADDRNOTAVAIL` if the interface has none of the family.
    pub(crate) fn source(&self, hop: &Hop, to: IpAddr) -> Result<IpAddr, Errno> {
        if let Some(source) = hop.source {
            return Ok(source);
        }
        let usable = |own: &&Own| own.ip.is_ipv4() == to.is_ipv4();
        let local_wanted = matches!(to, IpAddr::V6(ip) if link_local(ip));
        let rate = |own: &&Own| {
            let local = matches!(own.ip, IpAddr::V6(ip) if link_local(ip));
            let same_scope = local == local_wanted;
            let here = own.link == hop.link;
            let near = in_network(hop.next, own.ip, own.prefix);
            (same_scope, here, near, std::cmp::Reverse(own.scope))
        };
        // The first of the best: `max_by_key` would give the last.
        let mut best: Option<&Own> = None;
        for own in self.own.iter().filter(usable) {
            if best.is_none_or(|so_far| rate(&own) > rate(&so_far)) {
                best = Some(own);
            }
        }
        best.map(|own| own.ip).ok_or(Errno::EADDRNOTAVAIL)
    }
}
