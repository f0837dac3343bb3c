//! Terminals: pseudo terminals, the devpts file system, consoles over a host terminal, and job control.
//!
//! - [`Tty`]: a terminal: line discipline, window size, session, foreground group. [`line_discipline`], [`termios`]: its rules, pure.
//! - [`job_control`]: controlling terminals, SIGTTIN and SIGTTOU. [`ioctl`]: `ioctl_tty(2)`.
//! - [`SlaveFile`], [`MasterFile`]: open ends. [`Console`]: a host terminal in the master's place.
//! - [`DevptsFs`]: a mount's instance with its `/dev/pts/N` and `ptmx`. [`register`]: device numbers.
//!
//! Lock order: a session's `terminal` and a tty's `job` are leaves, never held together with another lock; a tty's `state` is a leaf but for a
//! timer's; an instance's `table` is a leaf. Signals are sent and queues notified with none held. `session_ended` is called under the process-tree
//! lock and the session's `terminal`, so it takes neither.

pub mod console;
mod instance;
mod ioctl;
mod job_control;
pub mod line_discipline;
mod master;
mod node;
mod open;
mod root;
pub(crate) mod signals;
mod slave;
pub mod termios;
#[cfg(test)]
mod tests;
mod tty;

pub use console::Console;
pub use instance::{DevptsFs, DevptsOptions};
pub use ioctl::hang_up_own;
pub use master::MasterFile;
pub use open::{ConsoleSlot, register};
pub use slave::SlaveFile;
pub use tty::{Tty, WinSize};
