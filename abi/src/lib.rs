//! Linux's ABI as the guests see it: numbers, structures, flags, [`Errno`] and user-pointer types.
//!
//! Everything here is data: no crate of ours is imported and nothing calls the host.

pub mod bpf;
pub mod errno;
pub mod fs;
pub mod ipc;
pub mod mm;
pub mod nr;
pub mod signal;
pub mod socket;
pub mod time;
pub mod user;
pub mod uts;

pub use errno::Errno;
pub use user::{UserAddr, UserIn, UserOut};

/// Size of a page on x86-64, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// `addr` rounded down to its page.
#[must_use]
pub const fn page_floor(addr: u64) -> u64 {
    addr & !(PAGE_SIZE - 1)
}

/// `len` rounded up to whole pages; `None` when that wraps around.
#[must_use]
pub const fn page_ceil(len: u64) -> Option<u64> {
    match len.checked_add(PAGE_SIZE - 1) {
        Some(sum) => Some(sum & !(PAGE_SIZE - 1)),
        None => None,
    }
}
