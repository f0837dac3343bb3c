//! Mappings that cases make, touch and fault on.

use crate::host::{Ret, peek, poke, sys};

/// A mapping; it stays until it is unmapped or the process ends.
#[derive(Clone, Copy)]
pub(crate) struct Map {
    /// Its first address.
    pub(crate) addr: usize,
    /// Its length in bytes.
    pub(crate) len: usize,
}

/// Size of a page.
pub(crate) const PAGE: usize = 4096;

/// `mmap` with no address hint, needed to succeed.
#[track_caller]
pub(crate) fn map(len: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> Map {
    let addr = sys!(libc::SYS_mmap, 0, len, prot, flags, fd, offset).must() as usize;
    Map { addr, len }
}

/// Private anonymous memory.
#[track_caller]
pub(crate) fn map_anon(len: usize) -> Map {
    map(
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        -1,
        0,
    )
}

/// Shared anonymous memory.
#[track_caller]
pub(crate) fn map_shared(len: usize) -> Map {
    map(
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        -1,
        0,
    )
}

impl Map {
    /// The byte at `offset`.
    pub(crate) fn get(self, offset: usize) -> u8 {
        peek(self.addr + offset)
    }

    /// Sets the byte at `offset`.
    pub(crate) fn set(self, offset: usize, value: u8) {
        poke(self.addr + offset, value);
    }

    /// Writes `bytes` at `offset`.
    pub(crate) fn put(self, offset: usize, bytes: &[u8]) {
        for (i, &byte) in bytes.iter().enumerate() {
            self.set(offset + i, byte);
        }
    }

    /// `n` bytes at `offset`, escaped.
    pub(crate) fn text(self, offset: usize, n: usize) -> String {
        (0..n)
            .map(|i| self.get(offset + i))
            .collect::<Vec<_>>()
            .escape_ascii()
            .to_string()
    }

    /// `mprotect` of the whole of it.
    pub(crate) fn protect(self, prot: i32) -> Ret {
        sys!(libc::SYS_mprotect, self.addr, self.len, prot)
    }

    /// `munmap` of the whole of it.
    pub(crate) fn unmap(self) -> Ret {
        sys!(libc::SYS_munmap, self.addr, self.len)
    }

    /// The 32-bit word at `offset` as an atomic, for futexes.
    pub(crate) fn word(self, offset: usize) -> &'static std::sync::atomic::AtomicU32 {
        crate::host::atomic_at(self.addr + offset)
    }
}
