//! Signals: what is pending, what is to be done, and the frames that handlers run on.
//!
//! - [`SigInfo`]: a `siginfo_t` as the guest will see it.
//! - [`Queue`]: pending signals of a task or a thread group.
//! - [`SignalActions`]: dispositions, shared by CLONE_SIGHAND.
//! - [`frame`]: building and reading signal frames.
//! - [`send`]: generating signals and who gets them.
//!
//! Lock order: process tree → a group's `pending` → a task's `signals` → actions.

mod action;
pub mod frame;
mod info;
mod queue;
pub mod send;

pub use action::{Action, DefaultAction, Disposition, SaFlags, SignalActions, default_action};
pub use info::SigInfo;
pub use queue::Queue;
