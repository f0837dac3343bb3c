//! timerfd (`timerfd_create(2)`): a timer that is read.

use std::any::Any;
use std::sync::Arc;

use abi::fs::{O_NONBLOCK, O_RDWR};
use parking_lot::Mutex;

use crate::error::{Errno, Result, SysResult};
use crate::exec::Reactor;
use crate::fs::anon;
use crate::time::clock::{
    CLOCK_BOOTTIME, CLOCK_BOOTTIME_ALARM, CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_REALTIME_ALARM,
    Clock,
};
use crate::time::timer::{ClockTimer, Setting};
use crate::vfs::{File, FileOps, IoCx, Sink};
use crate::wait::{Events, WaitQueue};

struct Shared {
    /// Expiries since the last read or setting.
    expired: Mutex<u64>,
    queue: WaitQueue,
}

/// A timerfd.
pub struct TimerFd {
    timer: Arc<ClockTimer>,
    shared: Arc<Shared>,
}

/// A new timerfd file; `flags` may hold O_NONBLOCK. `EINVAL` for clocks that timerfds do not have.
pub fn open(clock: i32, flags: u32, reactor: &Arc<Reactor>) -> Result<Arc<File>> {
    let host = match clock {
        CLOCK_REALTIME | CLOCK_MONOTONIC | CLOCK_BOOTTIME => clock,
        // Waking the machine up is not for a container; the time is the same.
        CLOCK_REALTIME_ALARM => CLOCK_REALTIME,
        CLOCK_BOOTTIME_ALARM => CLOCK_BOOTTIME,
        _ => return Err(Errno::EINVAL),
    };
    let shared = Arc::new(Shared {
        expired: Mutex::new(0),
        queue: WaitQueue::new(),
    });
    let told = shared.clone();
    let timer = ClockTimer::new(
        Clock::Host(host),
        reactor.clone(),
        Box::new(move |count| {
            {
                let mut expired = told.expired.lock();
                *expired = expired.saturating_add(count);
            }
            told.queue.notify(Events::IN | Events::RDNORM);
        }),
    );
    let ops = TimerFd { timer, shared };
    Ok(File::new(
        None,
        anon::untyped(),
        Box::new(ops),
        O_RDWR | (flags & O_NONBLOCK),
    ))
}

/// The timerfd behind a file; `EINVAL` for others.
pub fn of_file(file: &File) -> Result<&TimerFd> {
    file.downcast::<TimerFd>().ok_or(Errno::EINVAL)
}

impl TimerFd {
    /// `timerfd_settime(2)`: returns what was set before. Expiries that were not read are forgotten.
    pub fn set(&self, setting: Setting, absolute: bool) -> Result<Setting> {
        // Disarmed first, so that no expiry of the old setting comes after the count is cleared.
        let old = self.timer.set(Setting::default(), false)?;
        *self.shared.expired.lock() = 0;
        self.timer.set(setting, absolute)?;
        if absolute {
            // A time in the past has come when this returns.
            self.timer.expire_due();
        }
        Ok(old)
    }
    /// `timerfd_gettime(2)`.
    #[must_use]
    pub fn get(&self) -> Setting {
        self.timer.get()
    }
}

impl FileOps for TimerFd {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL.into());
        }
        let expired = std::mem::take(&mut *self.shared.expired.lock());
        if expired == 0 {
            return Err(Errno::EAGAIN.into());
        }
        if dst.put(&expired.to_ne_bytes())? < 8 {
            return Err(Errno::EFAULT.into());
        }
        Ok(8)
    }
    fn readiness(&self) -> Events {
        if *self.shared.expired.lock() > 0 {
            Events::IN | Events::RDNORM
        } else {
            Events::empty()
        }
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.shared.queue)
    }
    fn ignores_seeks(&self) -> bool {
        true
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        b"anon_inode:[timerfd]".to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::vfs::KernelSink;

    fn read(file: &File) -> SysResult<u64> {
        let mut sink = KernelSink::new(8);
        file.read(None, &mut sink)?;
        Ok(u64::from_ne_bytes(sink.into_bytes().try_into().unwrap()))
    }

    #[test]
    fn expiries_are_counted_until_read_and_forgotten_by_a_new_setting() {
        let reactor = Reactor::new().unwrap();
        let runner = reactor.clone();
        let thread = std::thread::spawn(move || runner.run());
        let file = open(CLOCK_MONOTONIC, 0, &reactor).unwrap();
        let timer = of_file(&file).unwrap();
        let every = Setting {
            value_ns: 1_000_000,
            interval_ns: 1_000_000,
        };
        timer.set(every, false).unwrap();
        let limit = Instant::now() + Duration::from_secs(5);
        while *timer.shared.expired.lock() < 3 && Instant::now() < limit {
            std::thread::yield_now();
        }
        assert!(file.ops().readiness().contains(Events::IN));
        assert!(read(&file).unwrap() >= 3);
        let far = Setting {
            value_ns: 3_600_000_000_000,
            interval_ns: 0,
        };
        assert_eq!(timer.set(far, false).unwrap().interval_ns, 1_000_000);
        assert_eq!(read(&file), Err(Errno::EAGAIN.into()));
        reactor.stop();
        thread.join().unwrap();
    }

    #[test]
    fn cpu_clocks_are_refused() {
        let reactor = Reactor::new().unwrap();
        assert_eq!(open(2, 0, &reactor).err(), Some(Errno::EINVAL));
    }
}
