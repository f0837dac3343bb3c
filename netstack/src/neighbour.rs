//! Who has which hardware address on a link: ARP's and neighbour discovery's common table (RFC 826, RFC 4861).
//!
//! Bounded: at most [`MOST`] entries, at most [`QUEUE`] packets waiting for one. Entries that the caller gave as permanent stay.

use std::collections::HashMap;
use std::net::IpAddr;

use smoltcp::time::{Duration, Instant};

/// Most entries of a link.
const MOST: usize = 1024;
/// Most packets that wait for an answer of one neighbour.
const QUEUE: usize = 64;
/// How long an answer is believed without asking again (`base_reachable_time`).
const REACHABLE: Duration = Duration::from_secs(30);
/// Between two questions (`retrans_time`).
const AGAIN: Duration = Duration::from_secs(1);
/// Questions before a neighbour is given up (`mcast_solicit`).
const TRIES: u8 = 3;

/// As `ip neigh` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// Given by the caller.
    Permanent,
    /// It answered not long ago.
    Reachable,
    /// It answered once.
    Stale,
    /// It is being asked again.
    Probe,
    /// It has not answered yet.
    Incomplete,
    /// It did not answer.
    Failed,
}

/// An entry as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct NeighbourEntry {
    /// Position of the interface in the setup.
    pub link: usize,
    /// Address.
    pub ip: IpAddr,
    /// Hardware address, if known.
    pub mac: Option<[u8; 6]>,
    /// State.
    pub state: NeighbourState,
}

struct Entry {
    mac: Option<[u8; 6]>,
    permanent: bool,
    confirmed: Instant,
    tries: u8,
    /// When to ask again or give up.
    next: Option<Instant>,
    failed: bool,
    queue: Vec<Vec<u8>>,
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self {
            mac: None,
            permanent: false,
            confirmed: now,
            tries: 0,
            next: None,
            failed: false,
            queue: Vec::new(),
        }
    }

    fn state(&self, now: Instant) -> NeighbourState {
        match self.mac {
            _ if self.permanent => NeighbourState::Permanent,
            None if self.failed => NeighbourState::Failed,
            None => NeighbourState::Incomplete,
            Some(_) if self.next.is_some() => NeighbourState::Probe,
            Some(_) if now < self.confirmed + REACHABLE => NeighbourState::Reachable,
            Some(_) => NeighbourState::Stale,
        }
    }
}

/// What to do with a packet.
pub(crate) enum Lookup {
    /// Send it there; ask the neighbour again if the flag is set.
    Found([u8; 6], bool),
    /// It waits; ask the neighbour if the flag is set.
    Waits(bool),
}

/// What became due.
#[derive(Default)]
pub(crate) struct Due {
    /// Whom to ask: with a hardware address, only that one.
    pub(crate) ask: Vec<(IpAddr, Option<[u8; 6]>)>,
    /// Who did not answer.
    pub(crate) failed: Vec<IpAddr>,
}

#[derive(Default)]
pub(crate) struct Table(HashMap<IpAddr, Entry>);

impl Table {
    pub(crate) fn set_known(&mut self, ip: IpAddr, mac: [u8; 6], permanent: bool, now: Instant) {
        if self.0.len() < MOST {
            self.0.insert(
                ip,
                Entry {
                    mac: Some(mac),
                    permanent,
                    ..Entry::new(now)
                },
            );
        }
    }

    /// Where a frame to `ip` goes; `frame` is copied if it has to wait.
    pub(crate) fn lookup(&mut self, ip: IpAddr, frame: &[u8], now: Instant) -> Lookup {
        if !self.0.contains_key(&ip) {
            self.make_room();
        }
        let entry = self.0.entry(ip).or_insert_with(|| Entry::new(now));
        if let Some(mac) = entry.mac {
            let old = !entry.permanent && now >= entry.confirmed + REACHABLE;
            let ask = old && entry.next.is_none();
            if ask {
                entry.tries = 1;
                entry.next = Some(now + AGAIN);
            }
            return Lookup::Found(mac, ask);
        }
        if entry.queue.len() < QUEUE {
            entry.queue.push(frame.to_vec());
        }
        let ask = entry.next.is_none();
        if ask {
            entry.failed = false;
            entry.tries = 1;
            entry.next = Some(now + AGAIN);
        }
        Lookup::Waits(ask)
    }

    /// A neighbour said who it is. `solicited`: make an entry if there is none. Gives the packets that waited for it.
    pub(crate) fn learn(
        &mut self,
        ip: IpAddr,
        mac: [u8; 6],
        solicited: bool,
        now: Instant,
    ) -> Vec<Vec<u8>> {
        if !self.0.contains_key(&ip) {
            if !solicited {
                return Vec::new();
            }
            self.make_room();
        }
        let entry = self.0.entry(ip).or_insert_with(|| Entry::new(now));
        if entry.permanent {
            return Vec::new();
        }
        entry.mac = Some(mac);
        entry.confirmed = now;
        entry.next = None;
        entry.tries = 0;
        entry.failed = false;
        std::mem::take(&mut entry.queue)
    }

    fn make_room(&mut self) {
        if self.0.len() < MOST {
            return;
        }
        let oldest = self
            .0
            .iter()
            .filter(|(_, entry)| !entry.permanent)
            .min_by_key(|(_, entry)| entry.confirmed)
            .map(|(ip, _)| *ip);
        if let Some(ip) = oldest {
            self.0.remove(&ip);
        }
    }

    pub(crate) fn tick(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        for (ip, entry) in &mut self.0 {
            if entry.next.is_none_or(|next| next > now) {
                continue;
            }
            if entry.tries < TRIES {
                entry.tries += 1;
                entry.next = Some(now + AGAIN);
                due.ask.push((*ip, entry.mac));
            } else {
                entry.next = None;
                entry.mac = None;
                entry.failed = true;
                entry.queue.clear();
                due.failed.push(*ip);
            }
        }
        due
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.values().filter_map(|entry| entry.next).min()
    }

    pub(crate) fn list(&self, link: usize, now: Instant) -> Vec<NeighbourEntry> {
        self.0
            .iter()
            .map(|(ip, entry)| NeighbourEntry {
                link,
                ip: *ip,
                mac: entry.mac,
                state: entry.state(now),
            })
            .collect()
    }
}
