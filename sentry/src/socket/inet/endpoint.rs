//! Address and port (`ip(7)`, `ipv6(7)`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use abi::socket::{AF_INET, AF_INET6, AF_UNSPEC};

use super::Family;
use crate::error::{Errno, Result};
use crate::socket::SockAddr;

/// Bytes of `struct sockaddr_in`.
const SOCKADDR_IN_SIZE: usize = 16;
/// Bytes of `struct sockaddr_in6` without its scope id, which may be missing.
const SOCKADDR_IN6_MIN: usize = 24;

/// An address and port. IPv4 addresses mapped into IPv6 are kept as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Address.
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
}

impl Endpoint {
    /// Any address of a family, no port.
    #[must_use]
    pub const fn any(family: Family) -> Self {
        let ip = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self { ip, port: 0 }
    }

    /// The `sa_family` of a guest's address.
    pub fn family_of(addr: &[u8]) -> Result<i32> {
        let bytes = addr.first_chunk::<2>().ok_or(Errno::EINVAL)?;
        Ok(i32::from(u16::from_ne_bytes(*bytes)))
    }

    /// Parses an address for a socket of `family`: `EINVAL` if it is too short, `EAFNOSUPPORT` for another family. AF_UNSPEC counts as AF_INET with
    /// any address where Linux does so (`bind`).
    pub fn parse(addr: &[u8], family: Family) -> Result<Self> {
        let port = |bytes: &[u8]| u16::from_be_bytes([bytes[2], bytes[3]]);
        match (Self::family_of(addr)?, family) {
            (AF_INET | AF_UNSPEC, Family::V4) => {
                if addr.len() < SOCKADDR_IN_SIZE {
                    return Err(Errno::EINVAL);
                }
                let ip = Ipv4Addr::new(addr[4], addr[5], addr[6], addr[7]);
                if Self::family_of(addr)? == AF_UNSPEC && !ip.is_unspecified() {
                    return Err(Errno::EAFNOSUPPORT);
                }
                Ok(Self {
                    ip: IpAddr::V4(ip),
                    port: port(addr),
                })
            }
            (AF_INET6, Family::V6) => {
                let bytes = addr
                    .get(8..SOCKADDR_IN6_MIN)
                    .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
                    .ok_or(Errno::EINVAL)?;
                let ip = Ipv6Addr::from(bytes);
                let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
                Ok(Self {
                    ip,
                    port: port(addr),
                })
            }
            (_, family) => {
                let least = match family {
                    Family::V4 => SOCKADDR_IN_SIZE,
                    Family::V6 => SOCKADDR_IN6_MIN,
                };
                Err(if addr.len() < least {
                    Errno::EINVAL
                } else {
                    Errno::EAFNOSUPPORT
                })
            }
        }
    }

    /// As [`Endpoint::parse`], but an IPv6 socket takes IPv4 addresses, too, as datagrams' destinations are.
    pub fn parse_loosely(addr: &[u8], family: Family) -> Result<Self> {
        match (Self::family_of(addr)?, family) {
            (AF_INET, Family::V6) => Self::parse(addr, Family::V4),
            _ => Self::parse(addr, family),
        }
    }

    /// As a socket of `family` shows it.
    #[must_use]
    pub fn show(&self, family: Family) -> SockAddr {
        match family {
            Family::V4 => {
                let mut addr = (AF_INET as u16).to_ne_bytes().to_vec();
                addr.extend_from_slice(&self.port.to_be_bytes());
                let ip = match self.ip {
                    IpAddr::V4(ip) => ip,
                    IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
                };
                addr.extend_from_slice(&ip.octets());
                addr.resize(SOCKADDR_IN_SIZE, 0);
                addr
            }
            Family::V6 => {
                let ip = match self.ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                let mut addr = (AF_INET6 as u16).to_ne_bytes().to_vec();
                addr.extend_from_slice(&self.port.to_be_bytes());
                addr.extend_from_slice(&[0; 4]);
                addr.extend_from_slice(&ip.octets());
                addr.extend_from_slice(&[0; 4]);
                addr
            }
        }
    }

    /// The address itself, or loopback for "any".
    #[must_use]
    pub fn definite(self) -> Self {
        let ip = match self.ip {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        Self { ip, ..self }
    }

    /// As a socket address.
    #[must_use]
    pub const fn address(self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(at: SocketAddr) -> Self {
        Self {
            ip: at.ip(),
            port: at.port(),
        }
    }
}
