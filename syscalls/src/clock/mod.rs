//! Clocks, sleeping and timers.

mod read;
mod sleep;
mod timers;

pub use read::{
    adjtimex, clock_adjtime, clock_getres, clock_gettime, clock_settime, gettimeofday,
    settimeofday, time, times,
};
pub use sleep::{clock_nanosleep, nanosleep};
pub use timers::{
    Sigevent, alarm, getitimer, setitimer, timer_create, timer_delete, timer_getoverrun,
    timer_gettime, timer_settime,
};
