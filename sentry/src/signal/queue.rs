//! Pending signals (`signal(7)`, Queueing): standard signals once, real-time ones in order and as often as sent.

use std::collections::VecDeque;

use abi::signal::{SigSet, Signal, code};

use super::SigInfo;
use crate::error::{Errno, Result};

/// Pending signals of a task or of a thread group.
#[derive(Default)]
pub struct Queue {
    set: SigSet,
    infos: VecDeque<SigInfo>,
}

impl Queue {
    /// What is pending.
    #[must_use]
    pub const fn set(&self) -> SigSet {
        self.set
    }
    /// How many are queued (RLIMIT_SIGPENDING counts them).
    #[must_use]
    pub fn len(&self) -> usize {
        self.infos.len()
    }
    /// Whether nothing is pending.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
    /// What is queued, oldest first.
    pub fn infos(&self) -> impl Iterator<Item = &SigInfo> {
        self.infos.iter()
    }
    /// Adds a signal. A standard one that is pending already is dropped; a real-time one beyond `limit` gives `EAGAIN`, but one of `kill` is then
    /// only marked pending and loses its info, as in Linux.
    pub fn push(&mut self, info: SigInfo, limit: u64) -> Result<()> {
        let signal = info.signal();
        if !signal.is_realtime() && self.set.contains(signal) {
            return Ok(());
        }
        let full = signal.is_realtime() && self.infos.len() as u64 >= limit;
        if full && info.code() != code::SI_USER {
            return Err(Errno::EAGAIN);
        }
        if full && self.set.contains(signal) {
            return Ok(());
        }
        let info = if full {
            SigInfo::user(signal, code::SI_USER, 0, 0)
        } else {
            info
        };
        self.set = self.set.union(SigSet::of(signal));
        self.infos.push_back(info);
        Ok(())
    }
    /// Which signal of `wanted` comes first: synchronous faults, then the lowest number.
    #[must_use]
    pub fn peek(&self, wanted: SigSet) -> Option<Signal> {
        const SYNCHRONOUS: [Signal; 6] = [
            Signal::SEGV,
            Signal::BUS,
            Signal::ILL,
            Signal::TRAP,
            Signal::FPE,
            Signal::SYS,
        ];
        let ready = self.set.intersect(wanted);
        SYNCHRONOUS
            .into_iter()
            .find(|s| ready.contains(*s))
            .or_else(|| ready.first())
    }
    /// Takes the first pending signal of `wanted` out.
    pub fn take(&mut self, wanted: SigSet) -> Option<SigInfo> {
        let signal = self.peek(wanted)?;
        let at = self.infos.iter().position(|info| info.signal() == signal)?;
        let info = self.infos.remove(at)?;
        if !self.infos.iter().any(|other| other.signal() == signal) {
            self.set = self.set.minus(SigSet::of(signal));
        }
        Some(info)
    }
    /// Whether the signal of POSIX timer `timer` is pending.
    #[must_use]
    pub fn has_timer(&self, timer: i32) -> bool {
        self.infos.iter().any(|info| info.timer_id() == Some(timer))
    }
    /// Takes all pending signals of `set` out, to be thrown away: tell [`crate::task::timers::Timers::dropped`] with no queue locked.
    #[must_use]
    pub fn flush(&mut self, set: SigSet) -> Vec<SigInfo> {
        let (gone, kept) = self
            .infos
            .drain(..)
            .partition::<Vec<_>, _>(|info| set.contains(info.signal()));
        self.infos.extend(kept);
        self.set = self.set.minus(set);
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(n: i64) -> SigInfo {
        SigInfo::kernel(Signal::new(n).unwrap())
    }

    #[test]
    fn standard_signals_are_pending_once_and_realtime_ones_queue() {
        let mut queue = Queue::default();
        for n in [10, 10, 34, 34] {
            queue.push(info(n), 100).unwrap();
        }
        let mut taken = Vec::new();
        while let Some(info) = queue.take(SigSet::ALL) {
            taken.push(info.signal().number());
        }
        assert_eq!(taken, [10, 34, 34]);
        assert!(queue.is_empty());
    }

    #[test]
    fn faults_come_before_lower_numbers_and_masked_ones_stay() {
        let mut queue = Queue::default();
        queue.push(info(1), 100).unwrap();
        queue.push(info(11), 100).unwrap();
        assert_eq!(queue.peek(SigSet::ALL), Some(Signal::SEGV));
        assert_eq!(
            queue.take(SigSet::of(Signal::HUP)).map(|i| i.signal()),
            Some(Signal::HUP)
        );
        assert_eq!(queue.set(), SigSet::of(Signal::SEGV));
    }

    #[test]
    fn realtime_signals_beyond_the_limit_are_refused() {
        let mut queue = Queue::default();
        queue.push(info(40), 1).unwrap();
        assert_eq!(queue.push(info(40), 1), Err(Errno::EAGAIN));
        // kill(2) never fails for want of room.
        let killed = |n| SigInfo::user(Signal::new(n).unwrap(), code::SI_USER, 7, 7);
        for _ in 0..2 {
            queue.push(killed(41), 1).unwrap();
        }
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.take(SigSet(1 << 40)).map(|i| i.pid()), Some(0));
    }
}
