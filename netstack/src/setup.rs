//! What a stack is made from: the interfaces of the network namespace that the caller prepared, as `rtnetlink(7)` showed them.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

/// An address of an interface.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
    /// Broadcast address, if it has one.
    pub broadcast: Option<Ipv4Addr>,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// `IFA_F_*`.
    pub flags: u32,
    /// Label (IPv4).
    pub label: Option<String>,
}

impl Address {
    /// The broadcast address: the one given, or the last of the network, which Linux takes as one, too.
    #[must_use]
    pub fn broadcast_address(&self) -> Option<Ipv4Addr> {
        let IpAddr::V4(ip) = self.ip else {
            return None;
        };
        let hosts = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
        let last = (self.prefix < 31).then(|| Ipv4Addr::from(u32::from(ip) | hosts));
        self.broadcast.or(last)
    }
}

/// An interface but loopback.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Interface {
    /// Number.
    pub index: u32,
    /// Number of its other end, if it is a pair.
    pub peer: Option<u32>,
    /// Name.
    pub name: String,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// `IFF_*`.
    pub flags: u32,
    /// Transmit queue length.
    pub tx_queue: u32,
    /// Queueing discipline.
    pub qdisc: String,
    /// `IF_OPER_*`.
    pub operstate: u8,
    /// Addresses.
    pub addresses: Vec<Address>,
}

/// A route of the main table.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Route {
    /// Network.
    pub destination: IpAddr,
    /// Bits of it.
    pub prefix: u8,
    /// Next hop; `None`: on the link itself.
    pub gateway: Option<IpAddr>,
    /// Interface number.
    pub interface: u32,
    /// Source address to use.
    pub source: Option<IpAddr>,
    /// Metric; smaller wins.
    pub metric: u32,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// `RTPROT_*`.
    pub protocol: u8,
    /// `RTNH_F_*`.
    pub flags: u32,
}

/// A neighbour that was known already.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Neighbour {
    /// Interface number.
    pub interface: u32,
    /// Its address.
    pub ip: IpAddr,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// It does not change (`NUD_PERMANENT`).
    pub permanent: bool,
}

/// All of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Setup {
    /// Interfaces but loopback, by number.
    pub interfaces: Vec<Interface>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Neighbours.
    pub neighbours: Vec<Neighbour>,
    /// Ports that the host's own stack in that namespace uses and the sandbox does not; empty: none.
    pub reserved_ports: Option<(u16, u16)>,
    /// The host's own loopback in that namespace can be reached: connections from its side to 127.0.0.1 come in, and these addresses are somebody's there
    /// (an engine's resolver). `None`: it cannot.
    #[serde(default)]
    pub host_loopback: Option<Vec<Ipv4Addr>>,
    /// All frames are to be captured: the last descriptor is the file for them.
    #[serde(default)]
    pub capture: bool,
}

/// Most interfaces of a sandbox.
pub const MAX_INTERFACES: usize = 64;
/// Most addresses of an interface.
pub const MAX_ADDRESSES: usize = 256;
/// Most routes.
pub const MAX_ROUTES: usize = 4096;
/// Smallest MTU that IP can work with.
pub const MIN_MTU: u32 = 68;

/// The address that the sandbox has on the host's loopback.
pub const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// MTU there: the largest packet of IPv4.
pub const LOOPBACK_MTU: usize = 65_535;

impl Setup {
    /// How many wires there are: one for each interface, and the host's loopback.
    #[must_use]
    pub fn wires(&self) -> usize {
        self.interfaces.len() + usize::from(self.host_loopback.is_some())
    }

    /// How many descriptors there are: the host's loopback has one for each direction, a capture has its file.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.interfaces.len()
            + 2 * usize::from(self.host_loopback.is_some())
            + usize::from(self.capture)
    }

    /// Whether everything is within bounds; the sentence says what is not.
    pub fn check(&self) -> Result<(), String> {
        if self.interfaces.len() > MAX_INTERFACES || self.routes.len() > MAX_ROUTES {
            return Err("the network namespace has too many interfaces or routes".to_owned());
        }
        for interface in &self.interfaces {
            if interface.addresses.len() > MAX_ADDRESSES {
                return Err(format!(
                    "interface {} has too many addresses",
                    interface.name
                ));
            }
            if !(MIN_MTU..=65535).contains(&interface.mtu) {
                return Err(format!(
                    "interface {} has an MTU of {}, which the sandbox cannot use",
                    interface.name, interface.mtu
                ));
            }
        }
        Ok(())
    }
}
