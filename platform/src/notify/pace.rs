//! How a listener's guests and receiver wake each other: synchronously (whoever is woken runs on the waker's CPU) or not.
//!
//! Synchronous wake-up costs a few µs, a wake-up on another CPU 20 to 50 µs where that CPU has to be fetched from its sleep. But it draws all that
//! take part to one CPU. So it is right for one running thread, and for several as long as each computes for less time between its calls than a
//! wake-up across CPUs takes: then they would wait for each other's wake-ups anyway. The receiver measures the time between notifications.

use std::time::{Duration, Instant};

/// Synchronous threads that take longer than this between two notifications of their listener, on average, deserve CPUs of their own.
const COMPUTING: Duration = Duration::from_micros(20);
/// Threads on CPUs of their own come back together when each takes less than this for a round, its two wake-ups included.
const CALLING: Duration = Duration::from_micros(40);
/// One pause counts at most this much, so that a busy time is noticed within a few calls.
const LONGEST: Duration = Duration::from_micros(400);
/// Notifications that an average looks back over (a power of two).
const MEMORY: u32 = 16;

/// See the module.
pub(super) struct Pace {
    synchronous: bool,
    last: Option<Instant>,
    average: Duration,
}

impl Pace {
    pub(super) fn new(synchronous: bool) -> Self {
        Self {
            synchronous,
            last: None,
            average: Duration::ZERO,
        }
    }

    /// A notification came at `now` while several threads ran.
    pub(super) fn note(&mut self, now: Instant) {
        let pause = self
            .last
            .replace(now)
            .map_or(self.average, |last| now.saturating_duration_since(last))
            .min(LONGEST);
        self.average = self.average - self.average / MEMORY + pause / MEMORY;
    }

    /// The mode to change to while `runnable` threads run, if it is to change.
    pub(super) fn change(&mut self, runnable: usize) -> Option<bool> {
        let synchronous = if runnable <= 1 {
            self.last = None;
            true
        } else if self.synchronous {
            self.average < COMPUTING
        } else {
            self.average * u32::try_from(runnable).unwrap_or(u32::MAX).min(1024) < CALLING
        };
        (synchronous != self.synchronous).then(|| {
            self.synchronous = synchronous;
            synchronous
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(pace: &mut Pace, runnable: usize, pause: Duration, times: u32) -> bool {
        let mut now = Instant::now();
        for _ in 0..times {
            now += pause;
            pace.note(now);
            pace.change(runnable);
        }
        pace.synchronous
    }

    #[test]
    fn one_thread_is_always_synchronous() {
        let mut pace = Pace::new(false);
        assert_eq!(pace.change(1), Some(true));
        assert_eq!(pace.change(1), None);
    }

    #[test]
    fn several_threads_are_apart_while_they_compute() {
        let mut pace = Pace::new(true);
        assert!(feed(&mut pace, 2, Duration::from_micros(8), 1000));
        assert!(!feed(&mut pace, 2, Duration::from_micros(50), 100));
        // Each round takes 2 × 25 µs.
        assert!(!feed(&mut pace, 2, Duration::from_micros(25), 1000));
        assert!(feed(&mut pace, 2, Duration::from_micros(15), 1000));
        // Four threads, a round of 60 µs each.
        assert!(!feed(&mut pace, 4, Duration::from_millis(1), 100));
        assert!(!feed(&mut pace, 4, Duration::from_micros(15), 1000));
        assert!(feed(&mut pace, 4, Duration::from_micros(8), 1000));
    }
}
