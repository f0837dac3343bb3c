//! Moments: spans in which an answer of a file server need not be asked for twice.
//!
//! A moment is one call of a guest, as far as it runs on one thread without waiting. What was learned within the current moment is as true as if it
//! were asked for now: the call could have come a little earlier. Outside of calls (the kernel's own work) nothing is ever fresh.

use std::cell::Cell;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

/// Moments that a thread takes from the common number at a time.
const BLOCK: u64 = 1 << 20;

static NEXT_BLOCK: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
    static BLOCK_END: Cell<u64> = const { Cell::new(0) };
}

/// A moment's number: no two are the same, whatever the threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(NonZeroU64);

impl Moment {
    /// As a plain number, never 0.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0.get()
    }
}

/// A new moment begins on this thread: a guest's call, or one goes on after it waited.
pub fn begin() {
    NOW.with(|now| {
        let mut next = now.get() + 1;
        BLOCK_END.with(|end| {
            if next >= end.get() {
                next = NEXT_BLOCK.fetch_add(1, Ordering::Relaxed) * BLOCK;
                end.set(next + BLOCK);
            }
        });
        now.set(next);
    });
}

/// The current moment of this thread; none before the first.
#[must_use]
pub fn now() -> Option<Moment> {
    NonZeroU64::new(NOW.get()).map(Moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_all_threads_differ() {
        let collect = || {
            assert_eq!(now(), None);
            (0..3)
                .map(|_| {
                    begin();
                    now().map(Moment::number)
                })
                .collect::<Vec<_>>()
        };
        let mut all: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(collect))
            .flat_map(|thread| thread.join().unwrap_or_default())
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!((all.len(), count), (12, 12));
    }
}
