//! The sandbox's TCP/IP stack: packets below, socket objects with readiness above.
//!
//! - [`setup`]: interfaces, addresses, routes and neighbours as the sandbox takes them over. [`wire`]: where frames go to and come from.
//! - [`Stack`]: one network namespace's stack. [`tcp`]: connections and listeners, each TCP state machine one of smoltcp's. UDP, ICMP and raw
//!   packets go to [`Upper`].
//! - `net`: frames out: routes, neighbours, Ethernet, virtio-net headers. `packet`: IP packets in. `group`: multicast reports. `checksum`, `neighbour`,
//!   `route`, `fragment`.
//!
//! smoltcp sees IP packets only, one connection at a time: which connection a segment is for is looked up here, so that thousands of connections cost
//! nothing per packet. Everything that arrives is hostile: checked before it is looked at, bounded in what it can make us keep, dropped and counted.
//!
//! Lock order: a stack has one lock; nobody is called under it but [`wire::Wire`] and the source of randomness.

mod checksum;
mod counters;
mod fragment;
mod group;
mod icmp;
mod neighbour;
mod net;
mod packet;
mod route;
pub mod setup;
mod stack;
pub mod tcp;
mod udp;
pub mod wire;

#[cfg(test)]
mod emulator;
#[cfg(test)]
mod tests;

pub use counters::{Counters, LinkCounters};
pub use neighbour::{NeighbourEntry, NeighbourState};
pub use stack::{Arrived, Failed, Options, Stack, Upper};
pub use udp::{PacketOptions, RawPacket};

/// Whether a route is for `to`.
#[must_use]
pub fn covers(route: &setup::Route, to: std::net::IpAddr) -> bool {
    route::in_network(to, route.destination, route.prefix)
}
