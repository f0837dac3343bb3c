//! Waiting for readiness, and the descriptors made for it: poll, select, epoll, eventfd, timerfd, signalfd, inotify, pipes, memory files.

mod create;
mod epoll;
mod inotify;
mod mask;
mod poll;
mod select;
mod signalfd;
mod timerfd;

pub use create::{eventfd, eventfd2, memfd_create, pipe, pipe2};
pub use epoll::{
    EpollEvent, epoll_create, epoll_create1, epoll_ctl, epoll_pwait, epoll_pwait2, epoll_wait,
};
pub use inotify::{inotify_add_watch, inotify_init, inotify_init1, inotify_rm_watch};
pub use mask::{read_mask, with_signal_mask};
pub use poll::{PollFd, poll, ppoll};
pub use select::{pselect6, select};
pub use signalfd::{signalfd, signalfd4};
pub use timerfd::{timerfd_create, timerfd_gettime, timerfd_settime};

use std::time::Instant;

use abi::time::Timespec;
use sentry::error::{Errno, Result};
use sentry::time;

/// How long a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timeout {
    /// It only looks.
    Now,
    /// Until then; `None`: for ever.
    Until(Option<Instant>),
}

impl Timeout {
    /// From nanoseconds; 0 means not to wait.
    fn from_ns(ns: u64) -> Self {
        if ns == 0 {
            Self::Now
        } else {
            Self::Until(time::after(ns))
        }
    }
    /// From milliseconds; negative: for ever.
    fn from_ms(ms: i32) -> Self {
        match u64::try_from(ms) {
            Ok(ms) => Self::from_ns(ms * 1_000_000),
            Err(_) => Self::Until(None),
        }
    }
    /// From an optional structure: none means for ever; `EINVAL` if it is not normalised or negative.
    fn from_timespec(limit: Option<Timespec>) -> Result<Self> {
        match limit {
            None => Ok(Self::Until(None)),
            Some(limit) => Ok(Self::from_ns(limit.to_ns().ok_or(Errno::EINVAL)?)),
        }
    }
    /// Nanoseconds that are left; `None`: no end.
    fn remaining_ns(self) -> Option<u64> {
        match self {
            Self::Now => Some(0),
            Self::Until(None) => None,
            Self::Until(Some(at)) => {
                let left = at.saturating_duration_since(Instant::now());
                Some(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX))
            }
        }
    }
    /// For [`sentry::task::CurrentTask::block_until`].
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Now => Some(Instant::now()),
            Self::Until(at) => at,
        }
    }
}
