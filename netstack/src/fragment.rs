//! Puts fragmented datagrams together (RFC 791, RFC 8200). Overlapping fragments make the whole datagram void (RFC 5722, which Linux also follows for
//! IPv4). Bounded in datagrams, bytes and time.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use smoltcp::time::{Duration, Instant};

/// Most unfinished datagrams.
const MOST: usize = 128;
/// Most bytes of all of them (`ipfrag_high_thresh`).
const BYTES: usize = 4 << 20;
/// What a fragment costs beside its bytes.
const OVERHEAD: usize = 128;
/// How long the rest is waited for (`ipfrag_time`).
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest datagram.
const LARGEST: usize = 65_535;

/// Which datagram a fragment is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) id: u32,
}

struct Datagram {
    pieces: BTreeMap<usize, Vec<u8>>,
    total: Option<usize>,
    cost: usize,
    since: Instant,
}

/// What a fragment led to.
pub(crate) enum Progress {
    /// More is missing.
    Waits,
    /// The datagram's payload.
    Whole(Vec<u8>),
    /// It was not acceptable.
    Void,
}

#[derive(Default)]
pub(crate) struct Reassembler {
    datagrams: HashMap<Key, Datagram>,
    cost: usize,
}

impl Reassembler {
    /// Adds a fragment at byte `offset`. Also gives how many datagrams were given up.
    pub(crate) fn add(
        &mut self,
        key: Key,
        offset: usize,
        more: bool,
        bytes: &[u8],
        now: Instant,
    ) -> (Progress, u64) {
        let mut given_up = self.expire(now);
        let end = offset + bytes.len();
        // All but the last have a multiple of 8 bytes.
        if end > LARGEST || bytes.is_empty() || (more && !bytes.len().is_multiple_of(8)) {
            self.remove(&key);
            return (Progress::Void, given_up + 1);
        }
        let cost = bytes.len() + OVERHEAD;
        while self.cost + cost > BYTES
            || (self.datagrams.len() >= MOST && !self.datagrams.contains_key(&key))
        {
            let oldest = self.datagrams.iter().min_by_key(|(_, d)| d.since);
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                return (Progress::Void, given_up);
            };
            self.remove(&oldest);
            given_up += 1;
        }
        let datagram = self.datagrams.entry(key).or_insert_with(|| Datagram {
            pieces: BTreeMap::new(),
            total: None,
            cost: 0,
            since: now,
        });
        let before = datagram.pieces.range(..=offset).next_back();
        let after = datagram.pieces.range(offset..).next();
        // The same fragment once more is no harm.
        if datagram
            .pieces
            .get(&offset)
            .is_some_and(|piece| piece == bytes)
        {
            return (Progress::Waits, given_up);
        }
        let overlaps = before.is_some_and(|(at, piece)| at + piece.len() > offset)
            || after.is_some_and(|(at, _)| *at < end);
        let contradicts = match datagram.total {
            Some(total) => end > total || (!more && end != total),
            None => {
                !more
                    && datagram
                        .pieces
                        .last_key_value()
                        .is_some_and(|(at, piece)| at + piece.len() > end)
            }
        };
        if overlaps || contradicts {
            self.remove(&key);
            return (Progress::Void, given_up + 1);
        }
        datagram.pieces.insert(offset, bytes.to_vec());
        datagram.cost += cost;
        self.cost += cost;
        if !more {
            datagram.total = Some(end);
        }
        let held: usize = datagram.pieces.values().map(Vec::len).sum();
        if datagram.total != Some(held) {
            return (Progress::Waits, given_up);
        }
        let whole = std::mem::take(&mut datagram.pieces)
            .into_values()
            .collect::<Vec<_>>()
            .concat();
        self.remove(&key);
        (Progress::Whole(whole), given_up)
    }

    fn remove(&mut self, key: &Key) {
        if let Some(datagram) = self.datagrams.remove(key) {
            self.cost -= datagram.cost;
        }
    }

    fn expire(&mut self, now: Instant) -> u64 {
        let before = self.datagrams.len();
        let mut freed = 0;
        self.datagrams.retain(|_, datagram| {
            let keep = now < datagram.since + PATIENCE;
            if !keep {
                freed += datagram.cost;
            }
            keep
        });
        self.cost -= freed;
        (before - self.datagrams.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32) -> Key {
        let ip = IpAddr::from([10, 0, 0, 1]);
        Key {
            from: ip,
            to: ip,
            protocol: 17,
            id,
        }
    }

    #[test]
    fn any_order_gives_the_datagram_once() {
        let mut all = Reassembler::default();
        let now = Instant::from_secs(1);
        assert!(matches!(
            all.add(key(1), 16, false, b"end", now).0,
            Progress::Waits
        ));
        assert!(matches!(
            all.add(key(1), 0, true, &[1; 8], now).0,
            Progress::Waits
        ));
        assert!(matches!(
            all.add(key(1), 0, true, &[1; 8], now).0,
            Progress::Waits
        ));
        let (Progress::Whole(whole), 0) = all.add(key(1), 8, true, &[2; 8], now) else {
            panic!("not whole")
        };
        assert_eq!(whole.len(), 19);
        assert_eq!((all.cost, all.datagrams.len()), (0, 0));
    }

    #[test]
    fn overlaps_contradictions_and_giants_are_void() {
        let mut all = Reassembler::default();
        let now = Instant::from_secs(1);
        all.add(key(1), 0, true, &[0; 16], now);
        assert!(matches!(
            all.add(key(1), 8, true, &[0; 16], now).0,
            Progress::Void
        ));
        all.add(key(2), 0, false, &[0; 8], now);
        assert!(matches!(
            all.add(key(2), 8, true, &[0; 8], now).0,
            Progress::Void | Progress::Waits
        ));
        assert!(matches!(
            all.add(key(3), 65_528, false, &[0; 64], now).0,
            Progress::Void
        ));
        assert!(matches!(
            all.add(key(4), 0, true, &[0; 9], now).0,
            Progress::Void
        ));
    }

    #[test]
    fn memory_is_bounded_and_old_ones_go() {
        let mut all = Reassembler::default();
        for id in 0..10_000 {
            all.add(key(id), 0, true, &[0; 1024], Instant::from_secs(1));
            assert!(all.cost <= BYTES && all.datagrams.len() <= MOST);
        }
        let (_, gone) = all.add(key(1), 0, true, &[0; 8], Instant::from_secs(60));
        assert_eq!(gone, MOST as u64);
        assert_eq!(all.datagrams.len(), 1);
    }
}
