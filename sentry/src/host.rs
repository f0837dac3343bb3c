//! The host calls that the kernel's own objects make: the only file of this crate with `unsafe`.
//!
//! Each is listed in [`HOST_CALLS`] with its reason; the sentry's own filter is built from these lists.
#![expect(unsafe_code, reason = "raw host calls; see each SAFETY comment")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::error::{Errno, Result};
use crate::wait::Events;

/// Host calls of this file, with who needs them.
pub const HOST_CALLS: &[(libc::c_long, &str)] = &[
    (libc::SYS_eventfd2, "reactor: wake-up descriptor"),
    (libc::SYS_ppoll, "reactor: sleep"),
    (libc::SYS_read, "eventfd, host stdio, packet sockets"),
    (libc::SYS_write, "eventfd, host stdio, packet sockets"),
    (libc::SYS_pread64, "files on donated descriptors"),
    (libc::SYS_pwrite64, "files on donated descriptors"),
    (libc::SYS_pwritev2, "files on donated descriptors"),
    (libc::SYS_lseek, "holes of files (SEEK_DATA, SEEK_HOLE)"),
    (libc::SYS_ftruncate, "tmpfs and donated files"),
    (libc::SYS_fallocate, "tmpfs and donated files"),
    (libc::SYS_fstat, "sizes and times of donated files"),
    (libc::SYS_fsync, "donated files"),
    (libc::SYS_fdatasync, "donated files"),
    (libc::SYS_memfd_create, "shared anonymous memory, tmpfs"),
    (libc::SYS_fcntl, "seals, descriptor flags"),
    (
        libc::SYS_getrandom,
        "getrandom, /dev/urandom, stack canaries",
    ),
    (libc::SYS_ioctl, "host terminals: termios, window size"),
];

/// Further calls for `--host-uds`.
pub const HOST_SOCKET_CALLS: &[(libc::c_long, &str)] = &[(
    libc::SYS_shutdown,
    "half-closing connections to sockets of the host (--host-uds)",
)];

fn check(result: libc::c_int) -> Result<libc::c_int> {
    if result < 0 {
        Err(last_error())
    } else {
        Ok(result)
    }
}

fn last_error() -> Errno {
    Errno::from(std::io::Error::last_os_error())
}

/// A non-blocking, close-on-exec eventfd.
pub fn eventfd() -> Result<OwnedFd> {
    // SAFETY: eventfd takes no pointers; the descriptor it returns is new and owned here.
    unsafe {
        Ok(OwnedFd::from_raw_fd(check(libc::eventfd(
            0,
            libc::EFD_CLOEXEC | libc::EFD_NONBLOCK,
        ))?))
    }
}

/// Makes an eventfd readable.
pub fn eventfd_signal(fd: &OwnedFd) {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: the buffer lives through the call and has the stated length. A full counter is readable anyway.
    unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Makes an eventfd unreadable.
pub fn eventfd_drain(fd: &OwnedFd) {
    let mut count = [0_u8; 8];
    // SAFETY: the buffer lives through the call and has the stated length.
    unsafe { libc::read(fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
}

/// Waits until a descriptor is ready or `timeout` is over (`None`: for ever). Returns index and events of the ready ones; interrupted: none.
pub fn poll(fds: &[(RawFd, Events)], timeout: Option<Duration>) -> Vec<(usize, Events)> {
    let mut polled: Vec<libc::pollfd> = fds
        .iter()
        .map(|(fd, events)| libc::pollfd {
            fd: *fd,
            events: events.bits() as i16,
            revents: 0,
        })
        .collect();
    let limit = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs().min(1 << 30) as i64,
        tv_nsec: i64::from(t.subsec_nanos()),
    });
    let limit_ptr = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `polled` and `limit` live through the call; the count is the vector's length.
    let count = unsafe {
        libc::ppoll(
            polled.as_mut_ptr(),
            polled.len() as libc::nfds_t,
            limit_ptr,
            std::ptr::null(),
        )
    };
    if count <= 0 {
        return Vec::new();
    }
    polled
        .iter()
        .enumerate()
        .filter(|(_, p)| p.revents != 0)
        .map(|(index, p)| {
            (
                index,
                Events::from_bits_truncate(u32::from(p.revents as u16)),
            )
        })
        .collect()
}

/// Reads at `offset` from a seekable descriptor; short at the end of the file.
pub fn pread(fd: &OwnedFd, buf: &mut [u8], offset: u64) -> Result<usize> {
    let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the buffer lives through the call and has the stated length.
    let n = unsafe { libc::pread64(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), offset) };
    usize::try_from(n).map_err(|_| last_error())
}

/// Writes at `offset` to a seekable descriptor.
pub fn pwrite(fd: &OwnedFd, buf: &[u8], offset: u64) -> Result<usize> {
    let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the buffer lives through the call and has the stated length.
    let n = unsafe { libc::pwrite64(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len(), offset) };
    usize::try_from(n).map_err(|_| last_error())
}

/// Reads from a stream descriptor.
pub fn read(fd: &OwnedFd, buf: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer lives through the call and has the stated length.
    let n = unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) };
    usize::try_from(n).map_err(|_| last_error())
}

/// Writes to a stream descriptor.
pub fn write(fd: &OwnedFd, buf: &[u8]) -> Result<usize> {
    // SAFETY: the buffer lives through the call and has the stated length.
    let n = unsafe { libc::write(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len()) };
    usize::try_from(n).map_err(|_| last_error())
}

/// A new sealable memory file, close-on-exec, of size 0.
pub fn memfd(name: &std::ffi::CStr) -> Result<OwnedFd> {
    // SAFETY: `name` is a valid C string; the descriptor returned is new and owned here.
    unsafe {
        Ok(OwnedFd::from_raw_fd(check(libc::memfd_create(
            name.as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
        ))?))
    }
}

/// Sets a file's size in bytes.
pub fn ftruncate(fd: &OwnedFd, len: u64) -> Result<()> {
    let len = i64::try_from(len).map_err(|_| Errno::EINVAL)?;
    // SAFETY: no pointers.
    check(unsafe { libc::ftruncate64(fd.as_raw_fd(), len) }).map(drop)
}

/// `fallocate(2)`.
pub fn fallocate(fd: &OwnedFd, mode: i32, offset: u64, len: u64) -> Result<()> {
    let (offset, len) = (
        i64::try_from(offset).map_err(|_| Errno::EINVAL)?,
        i64::try_from(len).map_err(|_| Errno::EINVAL)?,
    );
    // SAFETY: no pointers.
    check(unsafe { libc::fallocate64(fd.as_raw_fd(), mode, offset, len) }).map(drop)
}

/// `fsync(2)`, or `fdatasync(2)` if `data_only`.
pub fn fsync(fd: &OwnedFd, data_only: bool) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe {
        if data_only {
            libc::fdatasync(fd.as_raw_fd())
        } else {
            libc::fsync(fd.as_raw_fd())
        }
    })
    .map(drop)
}

/// `lseek(2)` (SEEK_DATA and SEEK_HOLE on a private descriptor).
pub fn lseek(fd: &OwnedFd, offset: u64, whence: i32) -> Result<u64> {
    let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    // SAFETY: no pointers.
    let at = unsafe { libc::lseek64(fd.as_raw_fd(), offset, whence) };
    u64::try_from(at).map_err(|_| last_error())
}

/// The host's `struct stat` of a descriptor.
pub fn fstat(fd: &OwnedFd) -> Result<libc::stat> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `stat` is a valid place for the result, fully initialised by zeroing and by the call.
    unsafe {
        // The plain call: libc's wrapper makes newfstatat of it, which takes paths and is not allowed here.
        if libc::syscall(libc::SYS_fstat, fd.as_raw_fd(), stat.as_mut_ptr()) < 0 {
            return Err(last_error());
        }
        Ok(stat.assume_init())
    }
}

/// Fills `buf` with random bytes.
pub fn random(buf: &mut [u8]) {
    let mut filled = 0;
    while filled < buf.len() {
        let rest = &mut buf[filled..];
        // SAFETY: the buffer lives through the call and has the stated length.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if n > 0 {
            filled += n as usize;
        }
    }
}

/// A host clock in nanoseconds (`CLOCK_*` numbers).
pub fn clock_ns(clock: i32) -> Result<u64> {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a valid place for the result.
    check(unsafe { libc::clock_gettime(clock, &raw mut now) })?;
    Ok((now.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec as u64))
}

/// An ioctl whose argument is a plain number.
pub fn ioctl_value(fd: &OwnedFd, request: u64, value: u64) -> Result<i32> {
    // SAFETY: callers pass only requests whose argument the kernel does not dereference (`TCSBRK`, `TCFLSH`, `TIOCSCTTY` …).
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, value) })
}

/// An ioctl whose argument is a buffer of `buf.len()` bytes, read and written in place. `request` must be one whose structure is no larger.
pub fn ioctl_buffer(fd: &OwnedFd, request: u64, buf: &mut [u8]) -> Result<i32> {
    // SAFETY: callers pass the exact structure size of the request; the buffer lives through the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, buf.as_mut_ptr()) })
}

/// Adds seals to a memory file (`F_ADD_SEALS`): `EBUSY` for F_SEAL_WRITE while writable shared mappings exist anywhere, `EPERM` once sealed.
pub fn add_seals(fd: &OwnedFd, seals: u32) -> Result<()> {
    let seals = i32::try_from(seals).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the command's argument is a number.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(drop)
}

/// The access mode of an open descriptor: `O_RDONLY`, `O_WRONLY` or `O_RDWR`.
pub fn access_mode(fd: &OwnedFd) -> Result<u32> {
    // SAFETY: the command has no argument.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    Ok(flags.unsigned_abs() & libc::O_ACCMODE.unsigned_abs())
}

/// A value of the sentry's own auxiliary vector (`getauxval(3)`): processor capabilities, which guests share.
#[must_use]
pub fn auxiliary(key: u64) -> u64 {
    // SAFETY: getauxval takes a number and has no preconditions.
    unsafe { libc::getauxval(key) }
}

/// The CPU that the calling thread runs on.
#[must_use]
pub fn current_cpu() -> u32 {
    // SAFETY: no pointers.
    u32::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0)
}

/// Sends on a connected socket without waiting and without SIGPIPE: how many bytes went.
pub fn send(fd: &OwnedFd, buf: &[u8]) -> Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the kernel reads `buf.len()` bytes of a buffer that lives through the call; no address is given.
    let n = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            buf.as_ptr().cast(),
            buf.len(),
            flags,
            std::ptr::null(),
            0,
        )
    };
    usize::try_from(n).map_err(|_| last_error())
}

/// Receives from a connected socket without waiting; `flags` as MSG_PEEK and MSG_TRUNC, with which the result may be more than fits.
pub fn receive(fd: &OwnedFd, buf: &mut [u8], flags: i32) -> Result<usize> {
    // SAFETY: the kernel writes at most `buf.len()` bytes to a buffer that lives through the call; no address is asked for.
    let n = unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            buf.as_mut_ptr().cast(),
            buf.len(),
            flags | libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    usize::try_from(n).map_err(|_| last_error())
}

/// `shutdown(2)`: allowed only in a sandbox that may reach the host's sockets ([`HOST_SOCKET_CALLS`]).
pub fn shutdown(fd: &OwnedFd, how: i32) -> Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), how) }).map(drop)
}

/// Writes at the end of a file, wherever that is (`RWF_APPEND`).
pub fn append(fd: &OwnedFd, buf: &[u8]) -> Result<usize> {
    const RWF_APPEND: libc::c_int = 0x10;
    let iov = libc::iovec {
        iov_base: buf.as_ptr().cast_mut().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: one iovec over a buffer that lives through the call; pwritev2 only reads from it.
    let n = unsafe { libc::pwritev2(fd.as_raw_fd(), &raw const iov, 1, 0, RWF_APPEND) };
    usize::try_from(n).map_err(|_| last_error())
}
