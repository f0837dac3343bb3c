//! Time structures (`include/uapi/linux/time_types.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: u64 = 1_000_000_000;

/// `struct timespec`: seconds and nanoseconds.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct Timespec {
    /// Seconds; negative before the epoch.
    pub sec: i64,
    /// Nanoseconds, 0..=999,999,999 when valid.
    pub nsec: i64,
}

impl Timespec {
    /// From nanoseconds since the epoch or a clock's zero.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        Self {
            sec: (ns / NSEC_PER_SEC) as i64,
            nsec: (ns % NSEC_PER_SEC) as i64,
        }
    }

    /// Nanoseconds, saturating; `None` if negative or not normalised (`EINVAL` for most calls).
    #[must_use]
    pub const fn to_ns(self) -> Option<u64> {
        if self.sec < 0 || self.nsec < 0 || self.nsec >= NSEC_PER_SEC as i64 {
            return None;
        }
        Some(
            (self.sec as u64)
                .saturating_mul(NSEC_PER_SEC)
                .saturating_add(self.nsec as u64),
        )
    }
}

/// `struct timeval`: seconds and microseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Timeval {
    /// Seconds.
    pub sec: i64,
    /// Microseconds, 0..=999,999 when valid.
    pub usec: i64,
}

/// `struct itimerspec`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Itimerspec {
    /// Period; zero means once.
    pub interval: Timespec,
    /// First expiry; zero disarms.
    pub value: Timespec,
}

/// `struct itimerval`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Itimerval {
    /// Period; zero means once.
    pub interval: Timeval,
    /// First expiry; zero disarms.
    pub value: Timeval,
}
