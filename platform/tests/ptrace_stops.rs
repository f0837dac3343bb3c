//! The tests of `stops.rs` on the ptrace platform.

#[path = "stops.rs"]
mod stops;
