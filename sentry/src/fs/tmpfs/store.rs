//! Where the bytes of regular files are that are too many for the sentry's heap.

use std::os::fd::OwnedFd;

use abi::fs::Statfs;

use crate::error::{Errno, Result};
use crate::host;

/// Makes the host files that hold the bytes: each empty, without a name, readable, writable and mappable.
pub trait Store: Send + Sync {
    /// A new file.
    fn make(&self) -> Result<OwnedFd>;
    /// What the file system around them has left, if that is what bounds them.
    fn statfs(&self) -> Option<Statfs>;
}

/// The host's memory, charged to the container.
pub(crate) struct Memory;

impl Store for Memory {
    fn make(&self) -> Result<OwnedFd> {
        host::memfd(c"tmpfs").map_err(|errno| match errno {
            // What a guest is told when the host cannot make a memory file.
            Errno::EMFILE | Errno::ENFILE => Errno::ENOSPC,
            other => other,
        })
    }
    fn statfs(&self) -> Option<Statfs> {
        None
    }
}
