//! `--strace` as the kernel holds it: whether calls are traced, and which; it can change while guests run. Beside it the counts of
//! calls that were not supported, and the log that both go to.
//!
//! Lock order: each lock is a leaf, held for a look or a change.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::error::Errno;

/// Call numbers below this can be chosen one by one.
const NUMBERS: usize = 512;

/// A set of call numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSet {
    bits: [u64; NUMBERS / 64],
    /// Numbers from [`NUMBERS`] on.
    others: bool,
}

impl CallSet {
    /// Every number.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            bits: [u64::MAX; NUMBERS / 64],
            others: true,
        }
    }
    /// No number.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            bits: [0; NUMBERS / 64],
            others: false,
        }
    }
    /// With `nr`, if it can be chosen.
    pub fn add(&mut self, nr: u32) {
        if let Some(word) = self.bits.get_mut(nr as usize / 64) {
            *word |= 1 << (nr % 64);
        }
    }
    /// What is not in it.
    #[must_use]
    pub fn inverted(mut self) -> Self {
        for word in &mut self.bits {
            *word = !*word;
        }
        self.others = !self.others;
        self
    }
    /// Whether `nr` is in it.
    #[must_use]
    pub fn contains(&self, nr: u64) -> bool {
        let word = usize::try_from(nr / 64)
            .ok()
            .and_then(|at| self.bits.get(at));
        word.map_or(self.others, |word| word >> (nr % 64) & 1 == 1)
    }
    /// Whether it has no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::none()
    }
}

/// Takes a line.
pub type Print = Box<dyn Fn(&str) + Send + Sync>;

/// Where lines for the operator go: nowhere until it is set.
#[derive(Default)]
pub struct Log(RwLock<Option<Print>>);

impl Log {
    /// From now on lines go there.
    pub fn set(&self, print: Print) {
        *self.0.write() = Some(print);
    }
    /// Writes a line.
    pub fn line(&self, line: &str) {
        if let Some(print) = &*self.0.read() {
            print(line);
        }
    }
}

/// See the module.
pub struct CallTrace {
    on: AtomicBool,
    calls: RwLock<CallSet>,
}

impl Default for CallTrace {
    fn default() -> Self {
        Self {
            on: AtomicBool::new(false),
            calls: RwLock::new(CallSet::none()),
        }
    }
}

impl CallTrace {
    /// Traces these calls from now on, and no others.
    pub fn set_calls(&self, calls: CallSet) {
        let on = !calls.is_empty();
        *self.calls.write() = calls;
        self.on.store(on, Ordering::Release);
    }
    /// Whether anything is traced.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }
    /// Whether calls of this number are traced.
    #[must_use]
    pub fn wants(&self, nr: u64) -> bool {
        self.is_on() && self.calls.read().contains(nr)
    }
}

/// How often calls were answered ENOSYS or EOPNOTSUPP, by number and errno.
#[derive(Default)]
pub struct Unsupported(Mutex<BTreeMap<(u64, Errno), u64>>);

impl Unsupported {
    /// Guests choose the numbers: so many different ones are remembered.
    const DIFFERENT: usize = 4096;

    /// One more.
    pub fn count(&self, nr: u64, errno: Errno) {
        let mut counts = self.0.lock();
        let key = (nr, errno);
        if let Some(count) = counts.get_mut(&key) {
            *count = count.saturating_add(1);
        } else if counts.len() < Self::DIFFERENT {
            counts.insert(key, 1);
        }
    }

    /// Number, errno and count, by number.
    #[must_use]
    pub fn counts(&self) -> Vec<(u64, Errno, u64)> {
        let counts = self.0.lock();
        counts
            .iter()
            .map(|((nr, errno), count)| (*nr, *errno, *count))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_numbers_of_any_size() {
        let mut set = CallSet::none();
        assert!(set.is_empty());
        set.add(511);
        set.add(512);
        assert!(set.contains(511) && !set.contains(512) && !set.contains(u64::MAX));
        let set = set.inverted();
        assert!(!set.contains(511) && set.contains(512) && set.contains(u64::MAX));
    }

    #[test]
    fn counts_are_bounded_in_number() {
        let unsupported = Unsupported::default();
        for nr in 0..10_000 {
            unsupported.count(nr, Errno::ENOSYS);
        }
        unsupported.count(7, Errno::ENOSYS);
        let counts = unsupported.counts();
        assert_eq!(counts.len(), Unsupported::DIFFERENT);
        assert_eq!(counts[7], (7, Errno::ENOSYS, 2));
    }

    #[test]
    fn tracing_is_switched() {
        let trace = CallTrace::default();
        assert!(!trace.wants(0));
        trace.set_calls(CallSet::all());
        assert!(trace.wants(0));
        trace.set_calls(CallSet::none());
        assert!(!trace.is_on());
    }
}
