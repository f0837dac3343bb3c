//! A timer on any clock, run by the reactor.
//!
//! Clocks of the host expire when the reactor says so. CPU clocks are looked at again when they may have advanced enough; while they stand still,
//! ever more rarely.
//!
//! Lock order: a timer's state → the reactor's timers. The expiry action runs with neither held.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::clock::Clock;
use crate::error::Result;
use crate::exec::Reactor;
use crate::exec::reactor::Timer as Alarm;

/// Expiries of a period shorter than this are told together: a guest cannot keep the reactor busy.
const SHORTEST_ALARM: Duration = Duration::from_micros(100);
/// A CPU clock is looked at no more often than this.
const CPU_TICK: Duration = Duration::from_millis(4);
/// And no more rarely than this.
const CPU_SLOWEST: Duration = Duration::from_millis(256);

/// What happens at expiry: gets the number of expiries since the last call, at least 1. Must not block.
pub type OnExpiry = Box<dyn Fn(u64) + Send + Sync>;

/// When a timer expires next, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Nanoseconds until the first expiry; 0 means disarmed.
    pub value_ns: u64,
    /// Nanoseconds between expiries; 0 means once.
    pub interval_ns: u64,
}

#[derive(Default)]
struct State {
    /// Time of the clock at which it expires.
    expiry: Option<u64>,
    interval_ns: u64,
    /// It has expired and waits for [`ClockTimer::go_on`].
    held: bool,
    /// Changes with each setting: an alarm of an older one does nothing.
    generation: u64,
    alarm: Option<Alarm>,
    /// For CPU clocks: the clock's time when it was looked at last, and how long to wait if it has not moved.
    last_seen: u64,
    patience: Duration,
}

/// See the module. Dropping it disarms it.
pub struct ClockTimer {
    clock: Clock,
    reactor: Arc<Reactor>,
    state: Mutex<State>,
    holds: bool,
    on_expiry: OnExpiry,
}

impl ClockTimer {
    /// A disarmed timer.
    #[must_use]
    pub fn new(clock: Clock, reactor: Arc<Reactor>, on_expiry: OnExpiry) -> Arc<Self> {
        Arc::new(Self {
            clock,
            reactor,
            state: Mutex::default(),
            holds: false,
            on_expiry,
        })
    }

    /// As [`ClockTimer::new`], but a period begins only with [`ClockTimer::go_on`] after each expiry.
    #[must_use]
    pub fn holding(clock: Clock, reactor: Arc<Reactor>, on_expiry: OnExpiry) -> Arc<Self> {
        Arc::new(Self {
            clock,
            reactor,
            state: Mutex::default(),
            holds: true,
            on_expiry,
        })
    }

    /// Goes on with the periods after an expiry that was held. Returns how many have passed since; `None` if none is held.
    pub fn go_on(self: &Arc<Self>) -> Option<u64> {
        let now = self.clock.now().ok()?;
        let mut state = self.state.lock();
        if !std::mem::take(&mut state.held) {
            return None;
        }
        let (Some(expiry), interval) = (state.expiry, state.interval_ns.max(1)) else {
            return None;
        };
        let passed = now.saturating_sub(expiry) / interval;
        let periods = passed.saturating_add(1).saturating_mul(interval);
        state.expiry = Some(expiry.saturating_add(periods));
        let alarm = self.arm(&state, now);
        let before = std::mem::replace(&mut state.alarm, alarm);
        drop(state);
        drop(before);
        Some(passed)
    }

    /// Its clock.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Sets it; returns what was set before. `absolute`: the value is a time of the clock, one in the past expires at once.
    pub fn set(self: &Arc<Self>, setting: Setting, absolute: bool) -> Result<Setting> {
        let now = self.clock.now()?;
        let mut state = self.state.lock();
        let old = remaining(&state, now);
        state.generation += 1;
        state.held = false;
        state.interval_ns = setting.interval_ns;
        state.patience = CPU_TICK;
        state.last_seen = now;
        state.expiry = match (setting.value_ns, absolute) {
            (0, _) => None,
            (at, true) => Some(at),
            (after, false) => Some(now.saturating_add(after)),
        };
        let alarm = self.arm(&state, now);
        let before = std::mem::replace(&mut state.alarm, alarm);
        drop(state);
        drop(before);
        Ok(old)
    }

    /// Expires now what is due, without waiting for the reactor.
    pub fn expire_due(self: &Arc<Self>) {
        let generation = self.state.lock().generation;
        self.look(generation);
    }

    /// What is left and the period.
    #[must_use]
    pub fn get(&self) -> Setting {
        let now = self.clock.now().unwrap_or(0);
        remaining(&self.state.lock(), now)
    }

    fn arm(self: &Arc<Self>, state: &State, now: u64) -> Option<Alarm> {
        if state.held {
            return None;
        }
        let left = state.expiry?.saturating_sub(now);
        let mut wait = Duration::from_nanos(self.clock.real_ns_for(left));
        if self.clock.is_cpu() {
            wait = wait.max(state.patience);
        } else if state.interval_ns != 0 {
            wait = wait.max(SHORTEST_ALARM.min(Duration::from_nanos(state.interval_ns)));
        }
        let at = Instant::now().checked_add(wait)?;
        let (timer, generation) = (Arc::downgrade(self), state.generation);
        Some(self.reactor.call_at(
            at,
            Arc::new(move || {
                if let Some(timer) = Weak::upgrade(&timer) {
                    timer.look(generation);
                }
            }),
        ))
    }

    /// The alarm rang.
    fn look(self: &Arc<Self>, generation: u64) {
        let Ok(now) = self.clock.now() else { return };
        let mut state = self.state.lock();
        if state.generation != generation || state.held {
            return;
        }
        let Some(expiry) = state.expiry else { return };
        let mut expired = 0;
        if now >= expiry {
            if state.interval_ns == 0 {
                expired = 1;
                state.expiry = None;
            } else if self.holds {
                expired = 1;
                state.held = true;
            } else {
                expired = 1 + (now - expiry) / state.interval_ns;
                state.expiry =
                    Some(expiry.saturating_add(expired.saturating_mul(state.interval_ns)));
            }
        }
        state.patience = if now == state.last_seen {
            (state.patience * 2).min(CPU_SLOWEST)
        } else {
            CPU_TICK
        };
        state.last_seen = now;
        let alarm = if expired != 0 && state.interval_ns != 0 && !self.clock.is_cpu() {
            // Not before the shortest period, however short the guest's.
            self.arm_after(&state, now, SHORTEST_ALARM)
        } else {
            self.arm(&state, now)
        };
        let before = std::mem::replace(&mut state.alarm, alarm);
        drop(state);
        drop(before);
        if expired != 0 {
            (self.on_expiry)(expired);
        }
    }

    fn arm_after(self: &Arc<Self>, state: &State, now: u64, least: Duration) -> Option<Alarm> {
        let floor = u64::try_from(least.as_nanos()).unwrap_or(u64::MAX);
        let stretched = State {
            expiry: state.expiry.map(|at| at.max(now.saturating_add(floor))),
            interval_ns: state.interval_ns,
            generation: state.generation,
            ..State::default()
        };
        self.arm(&stretched, now)
    }
}

fn remaining(state: &State, now: u64) -> Setting {
    let value_ns = match state.expiry {
        None => 0,
        // Expired, but not told yet: zero would mean disarmed.
        Some(at) if state.held && at <= now => {
            let interval = state.interval_ns.max(1);
            interval - (now - at) % interval
        }
        Some(at) if at <= now => 1,
        Some(at) => at - now,
    };
    Setting {
        value_ns,
        interval_ns: state.interval_ns,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::time::clock::{CLOCK_MONOTONIC, CLOCK_REALTIME};

    fn with_reactor(test: impl FnOnce(&Arc<Reactor>)) {
        let reactor = Reactor::new().unwrap();
        let runner = reactor.clone();
        let thread = std::thread::spawn(move || runner.run());
        test(&reactor);
        reactor.stop();
        thread.join().unwrap();
    }

    fn timer(reactor: &Arc<Reactor>, clock: i32) -> (Arc<ClockTimer>, mpsc::Receiver<u64>) {
        let (sender, receiver) = mpsc::channel();
        let on_expiry: OnExpiry = Box::new(move |count| {
            let _ = sender.send(count);
        });
        (
            ClockTimer::new(Clock::Host(clock), reactor.clone(), on_expiry),
            receiver,
        )
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_single_shot_expires_once_and_is_disarmed() {
        with_reactor(|reactor| {
            let (timer, expiries) = timer(reactor, CLOCK_MONOTONIC);
            let setting = Setting {
                value_ns: 2_000_000,
                interval_ns: 0,
            };
            assert_eq!(timer.set(setting, false), Ok(Setting::default()));
            assert!(timer.get().value_ns > 0);
            assert_eq!(expiries.recv_timeout(SECOND), Ok(1));
            assert_eq!(timer.get(), Setting::default());
        });
    }

    #[test]
    fn periods_shorter_than_the_reactor_allows_are_counted() {
        with_reactor(|reactor| {
            let (timer, expiries) = timer(reactor, CLOCK_MONOTONIC);
            let begin = Instant::now();
            let setting = Setting {
                value_ns: 1000,
                interval_ns: 1000,
            };
            timer.set(setting, false).unwrap();
            let (mut calls, mut count) = (0, 0);
            while count < 2000 {
                count += expiries.recv_timeout(SECOND).unwrap();
                calls += 1;
            }
            timer.set(Setting::default(), false).unwrap();
            assert!(begin.elapsed() >= Duration::from_micros(1900));
            assert!(calls < 200, "{calls} calls for {count} expiries");
        });
    }

    #[test]
    fn a_past_absolute_time_expires_at_once_and_a_new_setting_replaces_it() {
        with_reactor(|reactor| {
            let (timer, expiries) = timer(reactor, CLOCK_REALTIME);
            let setting = Setting {
                value_ns: 1,
                interval_ns: 0,
            };
            timer.set(setting, true).unwrap();
            assert_eq!(expiries.recv_timeout(SECOND), Ok(1));
            let far = Setting {
                value_ns: 60_000_000_000,
                interval_ns: 7,
            };
            timer.set(far, false).unwrap();
            let old = timer.set(Setting::default(), false).unwrap();
            assert!(old.value_ns > 50_000_000_000 && old.interval_ns == 7);
        });
    }
}
