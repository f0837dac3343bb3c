//! The loopback interface of a network namespace: a container's is up from the start; that of a namespace that a guest makes is down and without an
//! address until the guest says otherwise, as on Linux.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Errno, Result};

/// Its state; among a namespace's objects.
#[derive(Debug, Default)]
pub struct Loopback {
    up: AtomicBool,
    /// Whether it has 127.0.0.1/8.
    addressed: AtomicBool,
}

const IFF_UP: u32 = 1;

impl Loopback {
    /// Whether it is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }
    /// Whether it has its IPv4 address.
    #[must_use]
    pub fn is_addressed(&self) -> bool {
        self.addressed.load(Ordering::Relaxed)
    }
    /// Whether `ip`, a loopback address, can be reached.
    #[must_use]
    pub fn reaches(&self, ip: IpAddr) -> bool {
        self.is_up() && (ip.is_ipv6() || self.is_addressed())
    }
    /// Brings it up or down. The first time it comes up it gets its address (`inetdev_event`).
    pub fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
        if up {
            self.addressed.store(true, Ordering::Relaxed);
        }
    }
    /// What RTM_NEWLINK and SIOCSIFFLAGS ask for: of the flags only IFF_UP can change.
    pub fn change_flags(&self, flags: u32, change: u32) {
        if change & IFF_UP != 0 {
            self.set_up(flags & IFF_UP != 0);
        }
    }
    /// RTM_NEWADDR: `EEXIST` if it has the address, `EOPNOTSUPP` for any other than 127.0.0.1/8.
    pub fn add_address(&self, ip: &[u8], prefix: u8) -> Result<()> {
        if ip != Ipv4Addr::LOCALHOST.octets() || prefix != 8 {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.addressed.swap(true, Ordering::Relaxed) {
            return Err(Errno::EEXIST);
        }
        Ok(())
    }
}
