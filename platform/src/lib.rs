//! Runs guest code, holds guest address spaces and makes the unsafe host calls.
//!
//! The kernel above sees four traits and nothing of the mechanism:
//!
//! - [`Platform`]: makes address spaces.
//! - [`AddressSpace`]: one guest address space = one host process's memory. Read and written from outside, never by pointer.
//! - [`GuestThread`]: one host thread that runs guest code. It runs, stops ([`Stop`]), is answered, runs on.
//! - [`Worker`]: what the kernel's executor offers to the platform's threads, so that the thread which receives a stop also handles it.
//!
//! Stops are *light* or *full*. A light stop ([`Stop::Syscall`]) gives number and arguments and takes a value: nothing else. A full stop (all
//! others) gives the register file, and host calls can be ordered. The platform decides by call number (see [`Config::full_calls`]).
//!
//! Implementations: [`notify`] (seccomp user notification, the default), [`ptrace`] (fallback and second opinion), [`mock`] (for tests).

pub mod api;

pub use api::*;
pub use remains::Remains;

pub mod host;
pub mod mock;
pub mod notify;
pub mod ptrace;
mod remains;
pub mod stub;
