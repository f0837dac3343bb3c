//! Interval timers (`setitimer(2)`), POSIX timers (`timer_create(2)`) and the CPU limit of a process.
//!
//! A periodic POSIX timer stands still while its signal is pending. When the signal is taken out of its queue, the timer goes on, and the signal is told
//! how many periods have passed meanwhile: the overruns ([`Timers::taken`]).
//!
//! Lock order: `Timers` → a [`ClockTimer`]'s state. Expiries run with neither held and take the signal locks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Weak};

use abi::signal::Signal;
use parking_lot::Mutex;

use super::limits::{INFINITY, Resource};
use super::{Task, ThreadGroup};
use crate::error::{Errno, Result};
use crate::exec::Reactor;
use crate::signal::{SigInfo, send};
use crate::time::clock::{CLOCK_MONOTONIC, Clock, CpuPart};
use crate::time::timer::{ClockTimer, Setting};

const NSEC_PER_SEC: u64 = abi::time::NSEC_PER_SEC;

/// Which interval timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Interval {
    /// ITIMER_REAL: SIGALRM.
    Real = 0,
    /// ITIMER_VIRTUAL: SIGVTALRM after user time.
    Virtual = 1,
    /// ITIMER_PROF: SIGPROF after CPU time.
    Prof = 2,
}

impl Interval {
    /// From `which`; `EINVAL` for another number.
    pub const fn from_number(which: i32) -> Result<Self> {
        match which {
            0 => Ok(Self::Real),
            1 => Ok(Self::Virtual),
            2 => Ok(Self::Prof),
            _ => Err(Errno::EINVAL),
        }
    }
    const fn signal(self) -> Signal {
        match self {
            Self::Real => Signal::ALRM,
            Self::Virtual => Signal::VTALRM,
            Self::Prof => Signal::PROF,
        }
    }
}

/// Whom a POSIX timer tells.
#[derive(Clone)]
pub enum Notify {
    /// Nobody (SIGEV_NONE).
    None,
    /// The process (SIGEV_SIGNAL, and SIGEV_THREAD which the C library makes of it).
    Process(Signal),
    /// One thread (SIGEV_THREAD_ID).
    Thread(Weak<Task>, Signal),
}

struct PosixTimer {
    timer: Arc<ClockTimer>,
    /// Of the last signal that was taken.
    overrun: AtomicI32,
}

#[derive(Default)]
struct Inner {
    intervals: [Option<Arc<ClockTimer>>; 3],
    posix: BTreeMap<i32, PosixTimer>,
    next_id: i32,
    cpu_limit: Option<Arc<ClockTimer>>,
}

/// The timers of a process.
#[derive(Default)]
pub struct Timers(Mutex<Inner>);

impl Timers {
    /// Disarms and forgets everything (exit).
    pub fn cancel_all(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        drop(all);
    }

    /// Deletes the POSIX timers (exec). Interval timers go on.
    pub fn delete_posix(&self) {
        let all = std::mem::take(&mut self.0.lock().posix);
        drop(all);
    }

    /// Sets an interval timer; returns what was set before.
    pub fn set_interval(
        &self,
        group: &Arc<ThreadGroup>,
        reactor: &Arc<Reactor>,
        which: Interval,
        setting: Setting,
    ) -> Result<Setting> {
        let timer = self.0.lock().intervals[which as usize]
            .get_or_insert_with(|| interval_timer(group, reactor, which))
            .clone();
        timer.set(setting, false)
    }

    /// What is left of an interval timer.
    #[must_use]
    pub fn interval(&self, which: Interval) -> Setting {
        let timer = self.0.lock().intervals[which as usize].clone();
        timer.map_or(Setting::default(), |timer| timer.get())
    }

    /// Makes a POSIX timer; returns its id. `value` is what the signal carries, by default the id. `EAGAIN` beyond RLIMIT_SIGPENDING.
    pub fn create(
        &self,
        group: &Arc<ThreadGroup>,
        reactor: &Arc<Reactor>,
        clock: Clock,
        notify: Notify,
        value: Option<u64>,
    ) -> Result<i32> {
        let limit = group.limit(Resource::Sigpending);
        let mut inner = self.0.lock();
        if inner.posix.len() as u64 >= limit {
            return Err(Errno::EAGAIN);
        }
        let mut id = inner.next_id;
        while inner.posix.contains_key(&id) {
            id = id.checked_add(1).unwrap_or(0);
        }
        inner.next_id = id.checked_add(1).unwrap_or(0);
        let sender = Sender {
            group: Arc::downgrade(group),
            id,
            notify,
            value: value.unwrap_or(id as u64),
        };
        let timer =
            ClockTimer::holding(clock, reactor.clone(), Box::new(move |_| sender.expired()));
        let overrun = AtomicI32::new(0);
        inner.posix.insert(id, PosixTimer { timer, overrun });
        Ok(id)
    }

    fn posix(&self, id: i32) -> Result<Arc<ClockTimer>> {
        let inner = self.0.lock();
        Ok(inner.posix.get(&id).ok_or(Errno::EINVAL)?.timer.clone())
    }

    /// `timer_settime(2)`.
    pub fn set(&self, id: i32, setting: Setting, absolute: bool) -> Result<Setting> {
        let timer = {
            let inner = self.0.lock();
            let timer = inner.posix.get(&id).ok_or(Errno::EINVAL)?;
            timer.overrun.store(0, Ordering::Relaxed);
            timer.timer.clone()
        };
        timer.set(setting, absolute)
    }

    /// The signal of a POSIX timer was taken out of its queue: the timer goes on, and the signal tells the overruns.
    pub fn taken(&self, info: &mut SigInfo) {
        let Some(id) = info.timer_id() else { return };
        let Ok(timer) = self.posix(id) else { return };
        let Some(passed) = timer.go_on() else { return };
        let overrun = i32::try_from(passed).unwrap_or(i32::MAX);
        info.set_timer_overrun(overrun);
        if let Some(timer) = self.0.lock().posix.get(&id) {
            timer.overrun.store(overrun, Ordering::Relaxed);
        }
    }

    /// Pending signals were thrown away: the timers they belong to go on.
    pub fn dropped(&self, infos: &[SigInfo]) {
        for id in infos.iter().filter_map(SigInfo::timer_id) {
            if let Ok(timer) = self.posix(id) {
                timer.go_on();
            }
        }
    }

    /// An expiry that led to no signal: the timer goes on.
    fn skipped(&self, id: i32) {
        if let Ok(timer) = self.posix(id) {
            timer.go_on();
        }
    }

    /// `timer_gettime(2)`.
    pub fn get(&self, id: i32) -> Result<Setting> {
        Ok(self.posix(id)?.get())
    }

    /// `timer_getoverrun(2)`: of the last signal.
    pub fn overrun(&self, id: i32) -> Result<i32> {
        let inner = self.0.lock();
        let timer = inner.posix.get(&id).ok_or(Errno::EINVAL)?;
        Ok(timer.overrun.load(Ordering::Relaxed))
    }

    /// `timer_delete(2)`.
    pub fn delete(&self, id: i32) -> Result<()> {
        let timer = self.0.lock().posix.remove(&id).ok_or(Errno::EINVAL)?;
        drop(timer);
        Ok(())
    }

    /// Ids of the POSIX timers (`/proc/<pid>/timers`).
    #[must_use]
    pub fn ids(&self) -> Vec<i32> {
        self.0.lock().posix.keys().copied().collect()
    }

    /// Holds the process to RLIMIT_CPU: SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one. Call it after the limit changed
    /// and for a new process.
    pub fn watch_cpu_limit(&self, group: &Arc<ThreadGroup>, reactor: &Arc<Reactor>) {
        let (soft, hard) = group.limits.lock().0[Resource::Cpu as usize];
        let first = soft.min(hard);
        if first == INFINITY {
            let old = self.0.lock().cpu_limit.take();
            drop(old);
            return;
        }
        let weak = Arc::downgrade(group);
        let timer = ClockTimer::new(
            Clock::Process(Arc::downgrade(group), CpuPart::All),
            reactor.clone(),
            Box::new(move |_| {
                if let Some(group) = weak.upgrade() {
                    cpu_limit_reached(&group);
                }
            }),
        );
        let setting = Setting {
            // Linux takes 0 as one second.
            value_ns: first.max(1).saturating_mul(NSEC_PER_SEC),
            interval_ns: NSEC_PER_SEC,
        };
        // The process lives: its clock can be read.
        let _ = timer.set(setting, true);
        let old = self.0.lock().cpu_limit.replace(timer);
        drop(old);
    }
}

fn cpu_limit_reached(group: &Arc<ThreadGroup>) {
    let (user, system) = crate::time::clock::process_cpu_ns(group);
    let used = user.saturating_add(system) / NSEC_PER_SEC;
    let (soft, hard) = group.limits.lock().0[Resource::Cpu as usize];
    let signal = if used >= hard {
        Signal::KILL
    } else if used >= soft {
        Signal::XCPU
    } else {
        return;
    };
    let _ = send::process_signal(group, SigInfo::kernel(signal));
}

fn interval_timer(
    group: &Arc<ThreadGroup>,
    reactor: &Arc<Reactor>,
    which: Interval,
) -> Arc<ClockTimer> {
    let weak = Arc::downgrade(group);
    let clock = match which {
        Interval::Real => Clock::Host(CLOCK_MONOTONIC),
        Interval::Virtual => Clock::Process(weak.clone(), CpuPart::User),
        Interval::Prof => Clock::Process(weak.clone(), CpuPart::All),
    };
    ClockTimer::new(
        clock,
        reactor.clone(),
        Box::new(move |_| {
            if let Some(group) = weak.upgrade() {
                let _ = send::process_signal(&group, SigInfo::kernel(which.signal()));
            }
        }),
    )
}

/// Sends a POSIX timer's signals.
struct Sender {
    group: Weak<ThreadGroup>,
    id: i32,
    notify: Notify,
    value: u64,
}

impl Sender {
    fn expired(&self) {
        let Some(group) = self.group.upgrade() else {
            return;
        };
        let (signal, thread) = match &self.notify {
            Notify::None => {
                group.timers.skipped(self.id);
                return;
            }
            Notify::Process(signal) => (*signal, None),
            Notify::Thread(task, signal) => match task.upgrade() {
                Some(task) => (*signal, Some(task)),
                None => return,
            },
        };
        let info = SigInfo::timer(signal, self.id, 0, self.value);
        let _ = match &thread {
            None => send::process_signal(&group, info),
            Some(task) => send::thread_signal(task, info),
        };
        let waits = match &thread {
            None => group.pending.lock().has_timer(self.id),
            Some(task) => task.signals.lock().pending.has_timer(self.id),
        };
        if !waits {
            // Ignored, or no room: nobody will take it. (Or it was taken already, and the timer goes on.)
            group.timers.skipped(self.id);
        }
    }
}
