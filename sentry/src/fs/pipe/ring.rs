//! A pipe's bytes: slots of a page each, filled and merged as Linux does (`fs/pipe.c`, `pipe_write`), because the number of free slots is what
//! `poll(2)`, `PIPE_BUF` atomicity and the capacity show.

use std::collections::VecDeque;

/// Bytes in a slot; also PIPE_BUF.
pub(super) const SLOT: usize = 4096;

/// A run of bytes that came together. Slots lie at multiples of [`SLOT`] from its first byte.
struct Segment {
    data: Vec<u8>,
    start: usize,
    /// Written with O_DIRECT: a read takes it alone and whole.
    packet: bool,
}

impl Segment {
    fn slots(&self) -> usize {
        self.data.len().div_ceil(SLOT) - self.start / SLOT
    }
    fn bytes(&self) -> &[u8] {
        &self.data[self.start..]
    }
    /// Room behind the last byte within its slot.
    fn tail_room(&self) -> usize {
        (SLOT - self.data.len() % SLOT) % SLOT
    }
}

/// The ring.
pub(super) struct Ring {
    segments: VecDeque<Segment>,
    used: usize,
    max_slots: usize,
}

impl Ring {
    pub(super) fn new(max_slots: usize) -> Self {
        Self {
            segments: VecDeque::new(),
            used: 0,
            max_slots,
        }
    }
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
    pub(super) fn is_full(&self) -> bool {
        self.used >= self.max_slots
    }
    pub(super) const fn used_slots(&self) -> usize {
        self.used
    }
    pub(super) const fn max_slots(&self) -> usize {
        self.max_slots
    }
    /// Changes the capacity; the caller has checked that what is used fits.
    pub(super) fn set_max_slots(&mut self, slots: usize) {
        self.max_slots = slots;
    }
    /// Bytes to be read.
    pub(super) fn len(&self) -> usize {
        self.segments.iter().map(|s| s.bytes().len()).sum()
    }

    /// How many bytes of the tail of a write of `total` bytes go into the last slot.
    fn merged(&self, total: usize) -> usize {
        let odd = total % SLOT;
        match self.segments.back() {
            Some(last) if !last.packet && odd <= last.tail_room() => odd,
            _ => 0,
        }
    }

    /// How many of `total` bytes a write can store now; 0: none, try later.
    pub(super) fn room(&self, total: usize, packet: bool) -> usize {
        let free = self
            .max_slots
            .saturating_sub(self.used)
            .saturating_mul(SLOT);
        if packet {
            return total.min(free);
        }
        let merged = self.merged(total);
        merged + (total - merged).min(free)
    }

    /// Stores bytes for which [`Ring::room`] was found; `total` is what it was asked for.
    pub(super) fn push(&mut self, bytes: Vec<u8>, total: usize, packet: bool) {
        if bytes.is_empty() {
            return;
        }
        if packet {
            for piece in bytes.chunks(SLOT) {
                self.append(piece.to_vec(), true);
            }
            return;
        }
        let merged = self.merged(total).min(bytes.len());
        if merged == 0 {
            self.append(bytes, false);
            return;
        }
        if let Some(last) = self.segments.back_mut() {
            last.data.extend_from_slice(&bytes[..merged]);
        }
        if merged < bytes.len() {
            self.append(bytes[merged..].to_vec(), false);
        }
    }

    fn append(&mut self, data: Vec<u8>, packet: bool) {
        let segment = Segment {
            data,
            start: 0,
            packet,
        };
        self.used += segment.slots();
        self.segments.push_back(segment);
    }

    /// The first run of bytes, and whether it is a packet.
    pub(super) fn front(&self) -> Option<(&[u8], bool)> {
        self.segments.front().map(|s| (s.bytes(), s.packet))
    }

    /// Takes `n` bytes off the first run; off a packet, all of it.
    pub(super) fn consume(&mut self, n: usize) {
        let Some(front) = self.segments.front_mut() else {
            return;
        };
        let before = front.slots();
        front.start = if front.packet {
            front.data.len()
        } else {
            (front.start + n).min(front.data.len())
        };
        if front.start == front.data.len() {
            self.segments.pop_front();
            self.used -= before;
        } else {
            self.used -= before - front.slots();
        }
    }

    /// A copy of the first `limit` bytes; with packets, of the first packet.
    pub(super) fn peek(&self, limit: usize) -> Vec<u8> {
        let mut copy = Vec::new();
        for segment in &self.segments {
            let n = segment.bytes().len().min(limit - copy.len());
            copy.extend_from_slice(&segment.bytes()[..n]);
            if copy.len() == limit || segment.packet {
                break;
            }
        }
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(ring: &mut Ring, total: usize) -> usize {
        let n = ring.room(total, false);
        ring.push(vec![1; n], total, false);
        n
    }

    #[test]
    fn single_bytes_share_slots() {
        let mut ring = Ring::new(2);
        for _ in 0..2 * SLOT {
            assert_eq!(write(&mut ring, 1), 1);
        }
        assert_eq!(write(&mut ring, 1), 0);
        assert!(ring.is_full());
    }

    #[test]
    fn a_write_that_does_not_fit_the_last_slot_takes_a_new_one() {
        let mut ring = Ring::new(2);
        assert_eq!(write(&mut ring, SLOT - 1), SLOT - 1);
        assert_eq!(write(&mut ring, SLOT - 1), SLOT - 1);
        assert_eq!(write(&mut ring, 2), 0);
        assert_eq!(write(&mut ring, 1), 1);
    }

    #[test]
    fn large_writes_are_cut_and_slots_free_page_by_page() {
        let mut ring = Ring::new(4);
        assert_eq!(write(&mut ring, 10 * SLOT), 4 * SLOT);
        ring.consume(SLOT - 1);
        assert!(ring.is_full());
        ring.consume(1);
        assert_eq!(ring.used_slots(), 3);
        assert_eq!(ring.len(), 3 * SLOT);
    }

    #[test]
    fn packets_stay_apart() {
        let mut ring = Ring::new(4);
        ring.push(vec![1; 3], 3, true);
        ring.push(vec![2; 5], 5, true);
        assert_eq!(ring.peek(100), vec![1; 3]);
        ring.consume(1);
        assert_eq!(ring.front(), Some((&[2_u8; 5][..], true)));
        assert_eq!(ring.room(3 * SLOT + 1, true), 3 * SLOT);
    }
}
