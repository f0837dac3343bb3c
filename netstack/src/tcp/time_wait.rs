//! Connections that are over, remembered as long as segments of theirs may still be under way (RFC 9293, TIME-WAIT).

use std::collections::{HashMap, VecDeque};

use smoltcp::time::{Duration, Instant};

use super::conn::Key;
use super::device::Numbers;
use crate::net::Net;
use crate::packet::{self, Fields};

/// `TCP_TIMEWAIT_LEN`.
const LENGTH: Duration = Duration::from_secs(60);
/// Most of them (`tcp_max_tw_buckets`): then the oldest goes.
const MOST: usize = 16_384;

#[derive(Default)]
pub(super) struct TimeWait {
    all: HashMap<Key, (Instant, Numbers)>,
    order: VecDeque<(Instant, Key)>,
}

impl TimeWait {
    pub(super) fn add(&mut self, key: Key, last: Numbers, now: Instant) {
        self.expire(now);
        if self.order.len() >= MOST
            && let Some((until, oldest)) = self.order.pop_front()
        {
            self.forget(oldest, until);
        }
        let until = now + LENGTH;
        self.all.insert(key, (until, last));
        self.order.push_back((until, key));
    }

    fn forget(&mut self, key: Key, until: Instant) {
        if self.all.get(&key).is_some_and(|(at, _)| *at == until) {
            self.all.remove(&key);
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((until, key)) = self.order.front().copied()
            && until <= now
        {
            self.order.pop_front();
            self.forget(key, until);
        }
    }

    /// When the next one is to be forgotten.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.order.front().map(|(until, _)| *until)
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.all.remove(key);
    }

    pub(super) fn contains(&self, key: &Key, now: Instant) -> bool {
        self.all.get(key).is_some_and(|(until, _)| now < *until)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.all.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether a SYN with this sequence number may begin a new connection: it is beyond everything of the old one.
    pub(super) fn admits(&self, key: &Key, seq: u32) -> bool {
        self.all
            .get(key)
            .is_some_and(|(_, last)| seq.wrapping_sub(last.ack) as i32 > 0)
    }

    /// Acknowledges once more what the peer sends again.
    pub(super) fn answer(&self, key: &Key, net: &mut Net) {
        let Some((_, last)) = self.all.get(key).copied() else {
            return;
        };
        let Ok(hop) = net.table.hop(key.remote.ip(), None) else {
            return;
        };
        let head = packet::header_len(key.remote.ip());
        let fields = Fields {
            from: key.local.ip(),
            to: key.remote.ip(),
            protocol: packet::TCP,
            ttl: 64,
            tos: 0,
            id: net.packet_id(),
            fragment: 0x4000,
        };
        net.counters.tcp_out_segments += 1;
        net.send(&hop, head + 20, |into| {
            packet::write_header(into, &fields, 20);
            let tcp = &mut into[head..];
            tcp.fill(0);
            tcp[0..2].copy_from_slice(&key.local.port().to_be_bytes());
            tcp[2..4].copy_from_slice(&key.remote.port().to_be_bytes());
            tcp[4..8].copy_from_slice(&last.seq.to_be_bytes());
            tcp[8..12].copy_from_slice(&last.ack.to_be_bytes());
            // 20 bytes of header, ACK.
            tcp[12] = 0x50;
            tcp[13] = 0x10;
            let header = Net::offload(into, None);
            ((), header)
        });
    }
}
