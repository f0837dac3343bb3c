//! Selective acknowledgements (RFC 2018, RFC 6675): which bytes on their way are missing at the peer, sent again as soon as that is known.
//!
//! smoltcp tells of holes in what it receives, but as a sender it looks at nothing but the cumulative acknowledgement: of several losses in a window it
//! learns of the second one by a timeout of a second. So what it sends is remembered here until it is acknowledged, the blocks that the peer tells are
//! noted, and what must be lost goes out again from here. smoltcp's congestion control takes part: it is shown the three duplicate acknowledgements that
//! begin a recovery, and further ones while it inflates its window; after the first partial acknowledgement it is shown no more of them, since it would
//! take them for another loss. A tail loss is found by a probe (RFC 8985, section 7), a lost retransmission by time. smoltcp's timeout remains the last
//! resort; it forgets what the peer has told, which is allowed to drop what it only acknowledged selectively.

use std::collections::VecDeque;

use smoltcp::time::{Duration, Instant};

/// Most blocks and retransmissions that are remembered; what is beyond is left to timeouts.
const MOST: usize = 128;
/// Segments that must have arrived beyond a hole.
const REORDERING: usize = 3;
/// Least time before a probe, and what a peer may wait with an acknowledgement of a single segment.
const LEAST_PROBE: Duration = Duration::from_millis(10);
const DELAYED_ACK: Duration = Duration::from_millis(200);
/// Probes without an answer; then the timeout decides.
const PROBES: u32 = 3;

const SYN: u8 = 2;
const RESET: u8 = 4;
const FIN: u8 = 1;
const ACK: u8 = 0x10;

/// What of a TCP segment matters here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Segment<'a> {
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Takes a segment apart, from its TCP header on.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let head = bytes.first_chunk::<20>()?;
        let len = usize::from(head[12] >> 4) * 4;
        Some(Self {
            seq: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            ack: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
            flags: head[13],
            window: u16::from_be_bytes([head[14], head[15]]),
            options: bytes.get(20..len)?,
            payload: bytes.get(len..)?,
        })
    }

    pub(super) const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    pub(super) const fn window(&self) -> u16 {
        self.window
    }

    /// The data of an option.
    fn option(&self, wanted: u8) -> Option<&'a [u8]> {
        let mut rest = self.options;
        loop {
            match *rest {
                // No operation.
                [1, ref more @ ..] => rest = more,
                [0, ..] | [] | [_] => return None,
                [kind, len, ..] => {
                    let data = rest.get(2..usize::from(len))?;
                    if kind == wanted {
                        return Some(data);
                    }
                    rest = &rest[usize::from(len)..];
                }
            }
        }
    }
}

/// A range of sequence numbers.
type Range = (u32, u32);

/// How a segment that arrived is to be shown to smoltcp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// As it is.
    Once,
    /// Not at all.
    Never,
    /// As it is, and its acknowledgement until smoltcp begins a recovery.
    Often,
}

/// How often an acknowledgement is shown at most: once to be known, three times as a duplicate.
pub(super) const OFTEN: usize = 4;

/// What is sent again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Again {
    pub(super) seq: u32,
    pub(super) len: usize,
}

/// One connection's bytes on their way.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// The peer tells blocks.
    agreed: bool,
    /// A SYN was sent.
    greeted: bool,
    /// Something was sent; `una` is meaningful.
    begun: bool,
    /// The oldest byte that is not acknowledged, and the bytes from there on.
    una: u32,
    sent: VecDeque<u8>,
    /// What the peer has beyond `una`, in order.
    have: Vec<Range>,
    /// What was sent again, in order, and when.
    again: Vec<(u32, u32, Instant)>,
    /// Where the recovery under way ends, whether it had a partial acknowledgement, and the bytes that may be on their way in it.
    until: Option<u32>,
    partial: bool,
    budget: usize,
    /// Largest segment.
    mss: usize,
    /// The window that smoltcp was shown last.
    window: Option<u16>,
    /// A byte whose acknowledgement is timed, and when it was sent.
    timed: Option<(u32, Instant)>,
    smoothed: Option<(Duration, Duration)>,
    /// When a probe is due, and how many went unanswered.
    probe: Option<Instant>,
    probes: u32,
    /// Retransmissions in all, by us and by smoltcp.
    pub(super) retransmitted: u64,
}

/// `a` comes before `b`.
const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b)).cast_signed() < 0
}

impl Recovery {
    fn nxt(&self) -> u32 {
        self.una.wrapping_add(self.sent.len() as u32)
    }

    fn len(range: Range) -> usize {
        range.1.wrapping_sub(range.0) as usize
    }

    /// Bytes on their way that the peer has not told of having.
    fn missing(&self) -> usize {
        let have: usize = self.have.iter().map(|range| Self::len(*range)).sum();
        self.sent.len().saturating_sub(have)
    }

    /// A segment of the peer's, before smoltcp sees it.
    pub(super) fn incoming(&mut self, segment: &Segment<'_>, now: Instant) -> Show {
        if segment.flags & SYN != 0 {
            self.agreed = segment.option(4).is_some();
        }
        // The handshake is the first round trip.
        if !self.begun && segment.flags & (RESET | ACK) == ACK {
            self.answered(segment.ack, now);
        }
        if segment.flags & SYN != 0 {
            return Show::Once;
        }
        if !self.agreed || !self.begun || segment.flags & (RESET | ACK) != ACK {
            return Show::Once;
        }
        let (old, ack) = (self.una, segment.ack);
        if before(ack, old) || before(self.nxt().wrapping_add(1), ack) {
            return Show::Once;
        }
        let bare = segment.payload.is_empty() && segment.flags & FIN == 0;
        let same_window = self.window.replace(segment.window) == Some(segment.window);
        if ack != old {
            self.acknowledged(ack, now);
        }
        let news = self.note(segment.option(5).unwrap_or_default());
        if ack != old || news {
            self.probes = 0;
            self.arm(now);
        }
        let duplicate = ack == old && bare && !self.sent.is_empty();
        if self.until.is_none() {
            if self.first_is_lost() && ack == old {
                self.until = Some(self.nxt());
                self.partial = false;
                self.budget = (self.sent.len() * 7 / 10).max(2 * self.mss);
                return Show::Often;
            }
            // Fewer than three may be shown, or it would begin on its own.
            return if duplicate && same_window && !self.have.is_empty() {
                Show::Never
            } else {
                Show::Once
            };
        }
        if duplicate && same_window && self.partial {
            return Show::Never;
        }
        Show::Once
    }

    /// Everything before `ack` has arrived.
    fn acknowledged(&mut self, ack: u32, now: Instant) {
        let count = (ack.wrapping_sub(self.una) as usize).min(self.sent.len());
        self.sent.drain(..count);
        self.una = ack;
        self.have.retain(|range| before(ack, range.1));
        if let Some(first) = self.have.first_mut()
            && before(first.0, ack)
        {
            first.0 = ack;
        }
        self.again.retain(|again| before(ack, again.1));
        self.answered(ack, now);
        match self.until {
            Some(until) if before(ack, until) => self.partial = true,
            _ => self.until = None,
        }
    }

    /// The byte whose acknowledgement is timed may be acknowledged.
    fn answered(&mut self, ack: u32, now: Instant) {
        if let Some((end, at)) = self.timed
            && !before(ack, end)
        {
            self.timed = None;
            self.time(now - at);
        }
    }

    /// RFC 6298.
    fn time(&mut self, took: Duration) {
        let took = took.total_micros();
        let (mean, variance) = self.smoothed.map_or((took, took / 2), |(mean, variance)| {
            let (mean, variance) = (mean.total_micros(), variance.total_micros());
            (
                (7 * mean + took) / 8,
                (3 * variance + mean.abs_diff(took)) / 4,
            )
        });
        self.smoothed = Some((Duration::from_micros(mean), Duration::from_micros(variance)));
    }

    /// Notes blocks that the peer tells; true if something was new.
    fn note(&mut self, blocks: &[u8]) -> bool {
        let missing = self.missing();
        for block in blocks.chunks_exact(8).take(4) {
            let word = |at: usize| {
                u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
            };
            let (mut from, mut to) = (word(0), word(4));
            // Nothing but bytes that are on their way (a block before them tells of a duplicate).
            let inside = before(self.una, to) && !before(self.nxt(), to);
            if !inside || !before(from, to) || before(from, self.una) {
                continue;
            }
            self.have.retain(|other| {
                let apart = before(other.1, from) || before(to, other.0);
                if !apart {
                    from = if before(other.0, from) { other.0 } else { from };
                    to = if before(to, other.1) { other.1 } else { to };
                }
                apart
            });
            let at = self
                .have
                .iter()
                .position(|other| before(from, other.0))
                .unwrap_or(self.have.len());
            if self.have.len() < MOST {
                self.have.insert(at, (from, to));
            }
        }
        self.missing() < missing
    }

    /// Whether the oldest byte must be lost: enough has arrived beyond it.
    fn first_is_lost(&self) -> bool {
        let beyond: usize = self.have.iter().map(|range| Self::len(*range)).sum();
        self.mss > 0 && beyond >= REORDERING * self.mss
    }

    /// How long a retransmission takes to be acknowledged, at most.
    fn patience(&self) -> Duration {
        self.smoothed
            .map_or(Duration::from_secs(1), |(mean, variance)| {
                mean + variance * 4 + LEAST_PROBE
            })
    }

    /// Sets the probe's time.
    fn arm(&mut self, now: Instant) {
        self.probe = match self.smoothed {
            Some((mean, _)) if !self.sent.is_empty() && self.probes < PROBES => {
                let mut after = (mean * 2).max(self.patience());
                if self.sent.len() <= self.mss {
                    after += DELAYED_ACK;
                }
                Some(now + after * (1 << self.probes))
            }
            _ => None,
        };
    }

    /// When [`Recovery::due`] is to be asked again.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.probe
    }

    /// smoltcp sends a segment of at most `mss` bytes, or several at once.
    pub(super) fn outgoing(&mut self, segment: &Segment<'_>, mss: usize, now: Instant) {
        if segment.flags & SYN != 0 {
            // Sent again, its answer could be to either.
            let again = std::mem::replace(&mut self.greeted, true);
            self.timed = (!again).then_some((segment.seq.wrapping_add(1), now));
        }
        if !self.agreed || segment.flags & (SYN | RESET) != 0 || segment.payload.is_empty() {
            return;
        }
        if !self.begun {
            self.begun = true;
            self.una = segment.seq;
        }
        self.mss = self.mss.max(mss);
        let nxt = self.nxt();
        let end = segment.seq.wrapping_add(segment.payload.len() as u32);
        if before(segment.seq, nxt) {
            self.retransmitted += 1;
            self.timed = None;
            self.resent((segment.seq, end), now);
        }
        if before(nxt, end) {
            let skip = nxt.wrapping_sub(segment.seq) as usize;
            if let Some(new) = segment.payload.get(skip..) {
                self.sent.extend(new);
                self.timed.get_or_insert((end, now));
            }
        }
        if self.probe.is_none() || self.until.is_none() {
            self.arm(now);
        }
    }

    /// smoltcp's timeout: it begins again with the oldest byte, and so does this.
    pub(super) fn timed_out(&mut self) {
        self.have.clear();
        self.again.clear();
        self.until = None;
        self.timed = None;
        self.probe = None;
    }

    /// Whether `seq` is the oldest byte on its way: a segment that smoltcp sends from there, unasked, means a timeout.
    pub(super) fn is_oldest(&self, segment: &Segment<'_>) -> bool {
        self.begun
            && !self.sent.is_empty()
            && segment.seq == self.una
            && !segment.payload.is_empty()
    }

    fn resent(&mut self, range: Range, now: Instant) {
        self.again
            .retain(|old| !before(old.0, range.1) || !before(range.0, old.1));
        let room = self.again.len() < MOST;
        match self.again.last_mut() {
            Some(last) if last.1 == range.0 && last.2 == now => last.1 = range.1,
            _ if room => self.again.push((range.0, range.1, now)),
            _ => {}
        }
    }

    /// What is to be sent again now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Again> {
        let mut due = Vec::new();
        if self.sent.is_empty() || self.mss == 0 {
            return due;
        }
        if self.until.is_some() {
            self.holes(now, &mut due);
        }
        if self.probe.is_some_and(|at| at <= now) {
            self.probes += 1;
            let range = match self.have.first() {
                // The first hole: its retransmission was lost as well.
                Some(first) => (self.una, first.0),
                None => (self.nxt().wrapping_sub(self.mss as u32), self.nxt()),
            };
            let from = if before(range.0, self.una) {
                self.una
            } else {
                range.0
            };
            let len = Self::len((from, range.1)).min(self.mss);
            if due.is_empty() && len > 0 {
                due.push(Again { seq: from, len });
            }
            self.arm(now);
        }
        for again in &due {
            let end = again.seq.wrapping_add(again.len as u32);
            self.resent((again.seq, end), now);
            self.retransmitted += 1;
        }
        if !due.is_empty() {
            self.timed = None;
        }
        due
    }

    /// The holes that are lost and were not sent again, or long ago; as many as the recovery's share of the path can take.
    fn holes(&self, now: Instant, due: &mut Vec<Again>) {
        let patience = self.patience();
        let total: usize = self.have.iter().map(|range| Self::len(*range)).sum();
        let mut beyond = total;
        let mut from = self.una;
        let mut room = self.budget.saturating_sub(self.underway(now)).max(self.mss);
        // What could not be remembered would be sent again and again.
        let most = MOST.saturating_sub(self.again.len());
        for range in &self.have {
            if beyond < REORDERING * self.mss {
                break;
            }
            let mut at = from;
            while before(at, range.0) && room > 0 && due.len() < most {
                let len = Self::len((at, range.0)).min(self.mss);
                let end = at.wrapping_add(len as u32);
                let recent = self
                    .again
                    .iter()
                    .find(|old| before(old.0, end) && before(at, old.1) && now < old.2 + patience);
                if let Some(recent) = recent {
                    // All of it at once, at least this segment.
                    at = if before(end, recent.1) { recent.1 } else { end };
                    continue;
                }
                due.push(Again { seq: at, len });
                room = room.saturating_sub(len);
                at = end;
            }
            beyond -= Self::len(*range);
            from = range.1;
        }
    }

    /// Bytes that are likely to be on their way: sent beyond the last block, or sent again lately.
    fn underway(&self, now: Instant) -> usize {
        let last = self.have.last().map_or(self.una, |range| range.1);
        let patience = self.patience();
        let again = self.again.iter().filter(|old| now < old.2 + patience);
        Self::len((last, self.nxt())) + again.map(|old| Self::len((old.0, old.1))).sum::<usize>()
    }

    /// Copies bytes that are on their way.
    pub(super) fn copy(&self, again: &Again, into: &mut [u8]) {
        let at = again.seq.wrapping_sub(self.una) as usize;
        for (to, from) in into.iter_mut().zip(self.sent.range(at..)) {
            *to = *from;
        }
    }

    /// Smoothed time of a round trip and its variation, in microseconds.
    pub(super) fn round_trip(&self) -> Option<(u32, u32)> {
        let (mean, variance) = self.smoothed?;
        let micros = |time: Duration| u32::try_from(time.total_micros()).unwrap_or(u32::MAX);
        Some((micros(mean), micros(variance)))
    }

    /// Whether the peer tells blocks.
    pub(super) const fn agreed(&self) -> bool {
        self.agreed
    }

    /// Bytes that the peer has beyond what is missing.
    pub(super) fn beyond(&self) -> usize {
        self.sent.len() - self.missing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: usize = 1000;

    fn now(millis: i64) -> Instant {
        Instant::from_millis(millis)
    }

    fn acknowledge(recovery: &mut Recovery, ack: u32, blocks: &[Range], at: i64) -> Show {
        let mut options = vec![1, 1, 5, (2 + 8 * blocks.len()) as u8];
        for block in blocks {
            options.extend(block.0.to_be_bytes());
            options.extend(block.1.to_be_bytes());
        }
        let segment = Segment {
            ack,
            flags: ACK,
            window: 100,
            options: if blocks.is_empty() { &[] } else { &options },
            ..Segment::default()
        };
        recovery.incoming(&segment, now(at))
    }

    /// Ten segments on their way, from sequence number `from` on.
    fn ten(from: u32) -> Recovery {
        let mut recovery = Recovery {
            window: Some(100),
            ..Recovery::default()
        };
        let greeting = Segment {
            flags: SYN | ACK,
            options: &[4, 2],
            ..Segment::default()
        };
        recovery.incoming(&greeting, now(0));
        for number in 0..10_u32 {
            let payload = vec![number as u8; MSS];
            let segment = Segment {
                seq: from.wrapping_add(number * MSS as u32),
                flags: ACK,
                payload: &payload,
                ..Segment::default()
            };
            recovery.outgoing(&segment, MSS, now(0));
        }
        recovery
    }

    #[test]
    fn holes_are_sent_again_once_even_where_numbers_wrap() {
        let from = u32::MAX - 2500;
        let at = |segment: u32| from.wrapping_add(segment * 1000);
        let mut recovery = ten(from);
        // Two segments beyond the hole may be reordering.
        assert_eq!(
            acknowledge(&mut recovery, at(0), &[(at(1), at(3))], 10),
            Show::Never
        );
        assert_eq!(recovery.due(now(10)), []);
        // With the third one it is a loss, and so is the second hole.
        let blocks = [(at(4), at(8)), (at(1), at(3))];
        assert_eq!(acknowledge(&mut recovery, at(0), &blocks, 11), Show::Often);
        let due = recovery.due(now(11));
        let again = |segment| Again {
            seq: at(segment),
            len: MSS,
        };
        assert_eq!(due, [again(0), again(3)]);
        let mut bytes = [0; MSS];
        recovery.copy(&due[1], &mut bytes);
        assert_eq!(bytes, [3; MSS]);
        // Not twice within a round trip.
        acknowledge(&mut recovery, at(0), &[(at(4), at(9)), (at(1), at(3))], 12);
        assert_eq!(recovery.due(now(12)), []);
        // All has arrived.
        assert_eq!(acknowledge(&mut recovery, at(10), &[], 20), Show::Once);
        assert_eq!(recovery.due(now(5000)), []);
        assert_eq!((recovery.deadline(), recovery.beyond()), (None, 0));
    }

    #[test]
    fn a_lost_tail_is_probed_for_and_a_timeout_forgets() {
        let mut recovery = ten(1);
        assert_eq!(acknowledge(&mut recovery, 1001, &[], 10), Show::Once);
        let probe = recovery.deadline().expect("a probe");
        assert!(probe > now(20) && probe < now(100), "{probe}");
        assert_eq!(
            recovery.due(probe),
            [Again {
                seq: 9001,
                len: MSS
            }]
        );
        acknowledge(&mut recovery, 1001, &[(9001, 10_001)], 200);
        assert_eq!(recovery.beyond(), MSS);
        recovery.timed_out();
        assert_eq!((recovery.beyond(), recovery.deadline()), (0, None));
    }

    #[test]
    fn whatever_the_peer_tells_memory_and_work_are_bounded() {
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as u32
        };
        for _ in 0..200 {
            let mut recovery = ten(random() << 1);
            let una = recovery.una;
            for step in 0..300 {
                let mut near = || una.wrapping_add(random() % 12_000).wrapping_sub(1000);
                let blocks = [(near(), near()), (near(), near()), (near(), near())];
                let ack = near();
                acknowledge(&mut recovery, ack, &blocks, step * 7);
                let due = recovery.due(now(step * 7));
                assert!(due.len() <= MOST && recovery.again.len() <= MOST);
                assert!(recovery.have.len() <= MOST && recovery.beyond() <= recovery.sent.len());
                let mut into = [0; MSS];
                for again in due {
                    assert!(again.len <= MSS);
                    let at = again.seq.wrapping_sub(recovery.una) as usize;
                    assert!(at + again.len <= recovery.sent.len());
                    recovery.copy(&again, &mut into[..again.len]);
                }
            }
        }
    }
}
