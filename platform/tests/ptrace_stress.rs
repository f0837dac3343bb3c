//! The tests of `stress.rs` on the ptrace platform.

#[path = "stress.rs"]
mod stress;
