//! Who is bound to which port, for each network namespace and protocol.
//!
//! Lock order: a table's lock is a leaf.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Endpoint, Family};
use crate::error::{Errno, Result};

/// `net.ipv4.ip_local_port_range`.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32768..=60999;

/// What a socket agrees to share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sharing {
    /// Family of the socket.
    pub(super) family: Family,
    /// IPV6_V6ONLY.
    pub(super) v6_only: bool,
    /// SO_REUSEADDR.
    pub(super) reuse_addr: bool,
    /// SO_REUSEPORT, with the owner's uid.
    pub(super) reuse_port: Option<u32>,
}

struct Entry<T> {
    ip: IpAddr,
    sharing: Sharing,
    /// A TCP listener: SO_REUSEADDR does not share with it.
    listening: bool,
    socket: Weak<T>,
}

/// The bound sockets of one protocol.
pub(super) struct Ports<T>(Mutex<HashMap<u16, Vec<Entry<T>>>>);

impl<T> Default for Ports<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Whether a socket bound to `ip` gets what is sent to `to`; the quality of the match.
fn matches(ip: IpAddr, sharing: &Sharing, to: IpAddr) -> Option<u32> {
    match (ip, to) {
        (ip, to) if ip == to => Some(3),
        (IpAddr::V4(ip), IpAddr::V4(_)) | (IpAddr::V4(ip), IpAddr::V6(_))
            if !ip.is_unspecified() =>
        {
            None
        }
        (IpAddr::V4(_), IpAddr::V4(_)) => Some(2),
        (IpAddr::V4(_), IpAddr::V6(_)) => None,
        (IpAddr::V6(ip), _) if !ip.is_unspecified() => None,
        (IpAddr::V6(_), IpAddr::V6(_)) => Some(2),
        (IpAddr::V6(_), IpAddr::V4(_)) => (!sharing.v6_only).then_some(1),
    }
}

fn overlap(a: IpAddr, a_sharing: &Sharing, b: IpAddr, b_sharing: &Sharing) -> bool {
    matches(a, a_sharing, b).is_some() || matches(b, b_sharing, a).is_some()
}

impl<T> Ports<T> {
    /// Binds `socket` to `at`, port 0 meaning any free one: `EADDRINUSE`.
    pub(super) fn bind(&self, socket: &Arc<T>, at: Endpoint, sharing: Sharing) -> Result<Endpoint> {
        let mut table = self.0.lock();
        let free = |table: &HashMap<u16, Vec<Entry<T>>>, port: u16, share: bool| {
            table.get(&port).is_none_or(|entries| {
                entries.iter().all(|entry| {
                    let both_addr =
                        share && entry.sharing.reuse_addr && sharing.reuse_addr && !entry.listening;
                    let both_port = share
                        && sharing.reuse_port.is_some()
                        && entry.sharing.reuse_port == sharing.reuse_port;
                    both_addr || both_port || !overlap(entry.ip, &entry.sharing, at.ip, &sharing)
                })
            })
        };
        let port = if at.port == 0 {
            let count = u32::from(EPHEMERAL.end() - EPHEMERAL.start()) + 1;
            let mut random = [0; 4];
            crate::host::random(&mut random);
            let start = u32::from_ne_bytes(random) % count;
            (0..count)
                .map(|step| EPHEMERAL.start() + ((start + step) % count) as u16)
                .find(|port| free(&table, *port, false))
                .ok_or(Errno::EADDRINUSE)?
        } else if free(&table, at.port, true) {
            at.port
        } else {
            return Err(Errno::EADDRINUSE);
        };
        table.entry(port).or_default().push(Entry {
            ip: at.ip,
            sharing,
            listening: false,
            socket: Arc::downgrade(socket),
        });
        Ok(Endpoint { ip: at.ip, port })
    }

    /// Takes a socket off its port.
    pub(super) fn release(&self, socket: &T, port: u16) {
        let mut table = self.0.lock();
        if let Some(entries) = table.get_mut(&port) {
            entries.retain(|entry| !std::ptr::eq(entry.socket.as_ptr(), socket));
            if entries.is_empty() {
                table.remove(&port);
            }
        }
    }

    /// Marks a socket as listening: `EADDRINUSE` if another listens there and both do not share by SO_REUSEPORT.
    pub(super) fn listen(&self, socket: &T, port: u16) -> Result<()> {
        let mut table = self.0.lock();
        let entries = table.get_mut(&port).ok_or(Errno::EINVAL)?;
        let own = entries
            .iter()
            .position(|entry| std::ptr::eq(entry.socket.as_ptr(), socket))
            .ok_or(Errno::EINVAL)?;
        let (ip, sharing) = (entries[own].ip, entries[own].sharing);
        let taken = entries.iter().enumerate().any(|(index, entry)| {
            index != own
                && entry.listening
                && overlap(entry.ip, &entry.sharing, ip, &sharing)
                && (sharing.reuse_port.is_none() || sharing.reuse_port != entry.sharing.reuse_port)
        });
        if taken {
            return Err(Errno::EADDRINUSE);
        }
        entries[own].listening = true;
        Ok(())
    }

    /// The socket that gets what is sent to `to`: of those that match best, and that `wanted` rates highest, the oldest.
    pub(super) fn find(
        &self,
        to: Endpoint,
        wanted: impl Fn(&Arc<T>) -> Option<u32>,
    ) -> Option<Arc<T>> {
        let candidates: Vec<(u32, Arc<T>)> = {
            let table = self.0.lock();
            table
                .get(&to.port)?
                .iter()
                .filter_map(|entry| {
                    let quality = matches(entry.ip, &entry.sharing, to.ip)?;
                    Some((quality, entry.socket.upgrade()?))
                })
                .collect()
        };
        let mut best: Option<(u32, Arc<T>)> = None;
        for (quality, socket) in candidates {
            let Some(rating) = wanted(&socket) else {
                continue;
            };
            let total = rating * 8 + quality;
            if best.as_ref().is_none_or(|(so_far, _)| total > *so_far) {
                best = Some((total, socket));
            }
        }
        best.map(|(_, socket)| socket)
    }

    /// Every socket that what is sent to `to`, a group or everybody, is for.
    pub(super) fn all(&self, to: Endpoint) -> Vec<Arc<T>> {
        let table = self.0.lock();
        let entries = table.get(&to.port).into_iter().flatten();
        entries
            .filter(|entry| matches(entry.ip, &entry.sharing, to.ip).is_some())
            .filter_map(|entry| entry.socket.upgrade())
            .collect()
    }
}
