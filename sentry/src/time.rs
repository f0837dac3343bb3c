//! Clocks and timers as the guests see them.
//!
//! Guest clocks are the host's: the vDSO reads them without asking us, so the sentry must agree with it.

pub mod clock;
pub mod timer;

use std::time::{Duration, Instant};

use abi::time::Timespec;

use crate::host;

/// CLOCK_REALTIME in nanoseconds.
#[must_use]
pub fn realtime_ns() -> u64 {
    host::clock_ns(libc::CLOCK_REALTIME).unwrap_or(0)
}

/// CLOCK_MONOTONIC in nanoseconds.
#[must_use]
pub fn monotonic_ns() -> u64 {
    host::clock_ns(libc::CLOCK_MONOTONIC).unwrap_or(0)
}

/// CLOCK_BOOTTIME in nanoseconds.
#[must_use]
pub fn boottime_ns() -> u64 {
    host::clock_ns(libc::CLOCK_BOOTTIME).unwrap_or(0)
}

/// The present as file time stamps have it.
#[must_use]
pub fn now() -> Timespec {
    Timespec::from_ns(realtime_ns())
}

/// The instant `ns` nanoseconds from now; `None` beyond what the clock can express (wait for ever).
#[must_use]
pub fn after(ns: u64) -> Option<Instant> {
    Instant::now().checked_add(Duration::from_nanos(ns))
}
