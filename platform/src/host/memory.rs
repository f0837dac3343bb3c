//! Memory shared with guests: sealed memfds and mappings of them, accessed by volatile words only.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use abi::Errno;

use super::check;

/// A memfd of fixed size and a mapping of all of it. What is read from it is untrusted: others write it at any time.
pub struct SharedMemory {
    fd: OwnedFd,
    base: *mut u8,
    len: usize,
}

// SAFETY: all access is by volatile or atomic operations on aligned words; tearing between words is the reader's business.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Makes `len` bytes (a multiple of the page size) of zeroes; pages are taken when first touched.
    pub fn new(name: &std::ffi::CStr, len: usize) -> Result<Self, Errno> {
        // SAFETY: a valid C string.
        let fd = check(
            unsafe {
                libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
            }
            .into(),
        )?;
        // SAFETY: the kernel just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        // SAFETY: no memory is passed.
        check(unsafe { libc::ftruncate(fd.as_raw_fd(), len as libc::off_t) }.into())?;
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: no memory is passed.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) }.into())?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(super::last_errno());
        }
        Ok(Self {
            fd,
            base: base.cast(),
            len,
        })
    }

    /// The memfd.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn word(&self, offset: usize, size: usize) -> *mut u8 {
        assert!(
            offset.is_multiple_of(size)
                && offset.checked_add(size).is_some_and(|end| end <= self.len),
            "offset within the mapping"
        );
        // SAFETY: just checked to be within the mapping.
        unsafe { self.base.add(offset) }
    }

    /// Reads the aligned 64-bit word at `offset` once.
    pub fn read(&self, offset: usize) -> u64 {
        // SAFETY: aligned and within the mapping, which lives as long as `self`.
        unsafe { self.word(offset, 8).cast::<u64>().read_volatile() }
    }

    /// Writes the aligned 64-bit word at `offset`.
    pub fn write(&self, offset: usize, value: u64) {
        // SAFETY: as `read`.
        unsafe { self.word(offset, 8).cast::<u64>().write_volatile(value) }
    }

    /// Writes consecutive words.
    pub fn write_words(&self, offset: usize, words: &[u64]) {
        for (index, &word) in words.iter().enumerate() {
            self.write(offset + index * 8, word);
        }
    }

    /// The aligned 32-bit word at `offset` as an atomic, for a futex.
    pub fn atomic(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: aligned and within the mapping, which lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.word(offset, 4).cast()) }
    }

    /// Waits until the futex at `offset` is no longer `value`, for at most `timeout_ms`. Returns what it is then.
    pub fn futex_wait(&self, offset: usize, value: u32, timeout_ms: u64) -> u32 {
        let word = self.atomic(offset);
        let deadline = std::time::Instant::now() + std::time::Duration::from_millis(timeout_ms);
        loop {
            let now = word.load(Ordering::Acquire);
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if now != value || left.is_zero() {
                return now;
            }
            let timeout = libc::timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            };
            // SAFETY: a live word and a valid timeout.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    word.as_ptr(),
                    libc::FUTEX_WAIT,
                    value,
                    &raw const timeout,
                    0,
                    0,
                )
            };
        }
    }

    /// Wakes all waiters of the futex at `offset`.
    pub fn futex_wake(&self, offset: usize) {
        // SAFETY: a live word.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.atomic(offset).as_ptr(),
                libc::FUTEX_WAKE,
                i32::MAX,
                0,
                0,
                0,
            )
        };
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nothing refers to any more.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}
