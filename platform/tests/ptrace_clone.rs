//! The tests of `clone.rs` on the ptrace platform.

#[path = "clone.rs"]
mod clone;
