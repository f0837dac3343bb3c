//! The tests of `basic.rs` on the ptrace platform.

#[path = "basic.rs"]
mod basic;
