//! The OCI lifecycle as a caller sees it, with Debian's `runc` as the oracle.
//!
//! A case ([`cases`]) drives one runtime through a [`Bench`] and notes what it saw under keys. It runs with runc first, then with ours on each platform;
//! every note must be the same, unless `expected-differences.txt` names `case/key` with a reason. [`left`] looks for what a runtime left behind.

pub mod bench;
pub mod bundle;
pub mod cases;
pub mod console;
mod host;
pub mod left;
mod ours;

pub use bench::{Bench, Runtime, Seen};
pub use ours::{Test, check, our_program, run_ours};
