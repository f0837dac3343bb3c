//! Who is bound to which port, for each network namespace and protocol.
//!
//! A socket that a listener's connection made, or that has closed and is in TIME-WAIT, holds its port as well: only counted, by address.
//!
//! Lock order: a table's lock is a leaf.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Endpoint, Family};
use crate::error::{Errno, Result};

/// How long a port is held after its connection (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT: Duration = Duration::from_secs(60);

/// What a socket agrees to share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// Connections that hold a port beside the sockets bound to it.
#[derive(Default)]
struct Held {
    alive: usize,
    until: Option<Instant>,
}

struct Port<T> {
    bound: Vec<Entry<T>>,
    held: HashMap<(IpAddr, Sharing), Held>,
}

impl<T> Default for Port<T> {
    fn default() -> Self {
        Self {
            bound: Vec::new(),
            held: HashMap::new(),
        }
    }
}

struct Table<T> {
    ports: HashMap<u16, Port<T>>,
    spread: RandomState,
}

/// The bound sockets of one protocol.
pub(super) struct Ports<T>(Mutex<Table<T>>);

impl<T> Default for Ports<T> {
    fn default() -> Self {
        Self(Mutex::new(Table {
            ports: HashMap::new(),
            spread: RandomState::new(),
        }))
    }
}

/// What a bind asks for.
pub(super) struct Wanted<'a> {
    /// Address, and port or 0 for any.
    pub(super) at: Endpoint,
    pub(super) sharing: Sharing,
    /// Ports to choose from.
    pub(super) range: &'a RangeInclusive<u16>,
    /// The port is for one connection: what is in TIME-WAIT does not matter.
    pub(super) for_connection: bool,
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

impl<T> Port<T> {
    fn is_empty(&self) -> bool {
        self.bound.is_empty() && self.held.is_empty()
    }

    /// Forgets what is over.
    fn expire(&mut self, now: Instant) {
        self.held
            .retain(|_, held| held.alive > 0 || held.until.is_some_and(|until| until > now));
    }

    /// Whether `wanted` may have this port, too; `share` for a port that was named.
    fn admits(&self, wanted: &Wanted<'_>, share: bool) -> bool {
        let sharing = &wanted.sharing;
        let both = |other: &Sharing, listening: bool| {
            let both_addr = share && other.reuse_addr && sharing.reuse_addr && !listening;
            let both_port =
                share && sharing.reuse_port.is_some() && other.reuse_port == sharing.reuse_port;
            both_addr || both_port
        };
        let bound = self.bound.iter().all(|entry| {
            both(&entry.sharing, entry.listening)
                || !overlap(entry.ip, &entry.sharing, wanted.at.ip, sharing)
        });
        let held = self.held.iter().all(|((ip, other), held)| {
            (wanted.for_connection && held.alive == 0)
                || both(other, false)
                || !overlap(*ip, other, wanted.at.ip, sharing)
        });
        bound && held
    }
}

impl<T> Ports<T> {
    /// Binds `socket`, port 0 meaning any free one: `EADDRINUSE`.
    pub(super) fn bind(&self, socket: &Arc<T>, wanted: &Wanted<'_>) -> Result<Endpoint> {
        let mut table = self.0.lock();
        let now = Instant::now();
        let ports = &mut table.ports;
        let mut free = |port: u16, share: bool| {
            ports.get_mut(&port).is_none_or(|entries| {
                entries.expire(now);
                entries.admits(wanted, share)
            })
        };
        let port = if wanted.at.port == 0 {
            let (low, high) = (
                u32::from(*wanted.range.start()),
                u32::from(*wanted.range.end()),
            );
            let count = (high + 1).saturating_sub(low).max(1);
            let mut random = [0; 4];
            crate::host::random(&mut random);
            let start = u32::from_ne_bytes(random) % count;
            (0..count)
                .map(|step| (low + (start + step) % count) as u16)
                .find(|port| free(*port, false))
                .ok_or(Errno::EADDRINUSE)?
        } else if free(wanted.at.port, true) {
            wanted.at.port
        } else {
            return Err(Errno::EADDRINUSE);
        };
        let ip = wanted.at.ip;
        table.ports.entry(port).or_default().bound.push(Entry {
            ip,
            sharing: wanted.sharing,
            listening: false,
            socket: Arc::downgrade(socket),
        });
        Ok(Endpoint { ip, port })
    }

    /// Takes a socket off its port. What it held stays held for a while after a connection that ended in TIME-WAIT.
    pub(super) fn release(&self, socket: &T, port: u16, time_wait: bool) {
        let mut table = self.0.lock();
        let Some(entries) = table.ports.get_mut(&port) else {
            return;
        };
        let own = entries
            .bound
            .iter()
            .position(|entry| std::ptr::eq(entry.socket.as_ptr(), socket));
        let own = own.map(|at| entries.bound.remove(at));
        if let (true, Some(own)) = (time_wait, own) {
            let held = entries.held.entry((own.ip, own.sharing)).or_default();
            held.until = Some(Instant::now() + TIME_WAIT);
        }
        if entries.is_empty() {
            table.ports.remove(&port);
        }
    }

    /// A connection at `at` holds its port.
    pub(super) fn hold(&self, at: Endpoint, sharing: Sharing) {
        let mut table = self.0.lock();
        let entries = table.ports.entry(at.port).or_default();
        entries.held.entry((at.ip, sharing)).or_default().alive += 1;
    }

    /// It is over.
    pub(super) fn let_go(&self, at: Endpoint, sharing: Sharing, time_wait: bool) {
        let mut table = self.0.lock();
        let Some(entries) = table.ports.get_mut(&at.port) else {
            return;
        };
        if let Some(held) = entries.held.get_mut(&(at.ip, sharing)) {
            held.alive = held.alive.saturating_sub(1);
            if time_wait {
                held.until = Some(Instant::now() + TIME_WAIT);
            }
        }
        entries.expire(Instant::now());
        if entries.is_empty() {
            table.ports.remove(&at.port);
        }
    }

    /// Marks a socket as listening: `EADDRINUSE` if another listens there and both do not share by SO_REUSEPORT.
    pub(super) fn listen(&self, socket: &T, port: u16) -> Result<()> {
        let mut table = self.0.lock();
        let entries = &mut table.ports.get_mut(&port).ok_or(Errno::EINVAL)?.bound;
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

    /// The socket that gets what `from` sends to `to`: of those that match best, and that `wanted` rates highest, the one that was bound last; of
    /// several that share by SO_REUSEPORT one by both ends.
    pub(super) fn find(
        &self,
        from: Endpoint,
        to: Endpoint,
        wanted: impl Fn(&Arc<T>) -> Option<u32>,
    ) -> Option<Arc<T>> {
        let (candidates, spread) = {
            let table = self.0.lock();
            let all: Vec<(u32, bool, Arc<T>)> = table
                .ports
                .get(&to.port)?
                .bound
                .iter()
                .filter_map(|entry| {
                    let quality = matches(entry.ip, &entry.sharing, to.ip)?;
                    let shares = entry.sharing.reuse_port.is_some();
                    Some((quality, shares, entry.socket.upgrade()?))
                })
                .collect();
            let spread = if all.len() > 1 {
                table.spread.hash_one((from, to)) as usize
            } else {
                0
            };
            (all, spread)
        };
        let mut best: Vec<(bool, Arc<T>)> = Vec::new();
        let mut highest = None;
        for (quality, shares, socket) in candidates {
            let Some(rating) = wanted(&socket) else {
                continue;
            };
            let total = rating * 8 + quality;
            if highest < Some(total) {
                highest = Some(total);
                best.clear();
            }
            if highest == Some(total) {
                best.push((shares, socket));
            }
        }
        if best.iter().all(|(shares, _)| *shares) && !best.is_empty() {
            let at = spread % best.len();
            return Some(best.swap_remove(at).1);
        }
        best.pop().map(|(_, socket)| socket)
    }

    /// Every socket that what is sent to `to`, a group or everybody, is for.
    pub(super) fn all(&self, to: Endpoint) -> Vec<Arc<T>> {
        let table = self.0.lock();
        let entries = table.ports.get(&to.port).into_iter().flat_map(|p| &p.bound);
        entries
            .filter(|entry| matches(entry.ip, &entry.sharing, to.ip).is_some())
            .filter_map(|entry| entry.socket.upgrade())
            .collect()
    }
}
