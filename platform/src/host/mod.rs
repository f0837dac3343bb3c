//! Safe wrappers around the host calls that the platforms make: descriptors in, `Result` out.
//!
//! Everything unsafe that is not the template's own child code lives here, a file per concern. Nothing here knows about guests.

pub mod memory;
pub mod process;
pub mod seccomp;
pub mod socket;
pub mod vm;

use abi::Errno;

/// The calling thread's `errno`.
pub(crate) fn last_errno() -> Errno {
    Errno::from(std::io::Error::last_os_error())
}

/// `Ok(value)` of a libc result, or errno when it is negative.
pub(crate) fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 {
        Err(last_errno())
    } else {
        Ok(result)
    }
}
