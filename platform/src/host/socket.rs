//! The socket between the platform and its template, and the descriptors for epoll.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use abi::Errno;

use super::check;

/// A connected pair of stream sockets, close-on-exec.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut fds = [0_i32; 2];
    check(
        // SAFETY: room for two descriptors.
        unsafe {
            libc::socketpair(
                libc::AF_UNIX,
                libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
                0,
                fds.as_mut_ptr(),
            )
        }
        .into(),
    )?;
    // SAFETY: the kernel just made these descriptors for us.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

#[repr(C, align(8))]
struct Control([u8; 24]);

/// Sends one byte and a duplicate of `fd`.
pub fn send_descriptor(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut byte = 0_u8;
    let mut io = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let mut control = Control([0; 24]);
    // SAFETY: all zero bytes are a valid `msghdr`.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut io;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    // SAFETY: the control buffer is aligned and has CMSG_SPACE(4) = 24 bytes; the header and one descriptor fit.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(header)
            .cast::<i32>()
            .write_unaligned(fd.as_raw_fd());
    }
    loop {
        // SAFETY: all pointers in the message are live.
        match check(unsafe {
            libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
        } as libc::c_long)
        {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Receives one byte; `EPIPE` at the end of the stream, `ETIMEDOUT` after `timeout_ms`.
pub fn receive_byte(socket: BorrowedFd<'_>, timeout_ms: i32) -> Result<u8, Errno> {
    let mut byte = 0_u8;
    loop {
        match super::seccomp::poll_events(socket, timeout_ms) {
            Ok(0) => return Err(Errno::ETIMEDOUT),
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        match check(
            // SAFETY: room for one byte.
            unsafe { libc::read(socket.as_raw_fd(), (&raw mut byte).cast(), 1) } as libc::c_long,
        ) {
            Ok(1) => return Ok(byte),
            Ok(_) => return Err(Errno::EPIPE),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// An epoll instance over descriptors named by numbers of the caller's.
pub struct Epoll(OwnedFd);

impl Epoll {
    /// `epoll_create1(2)`.
    pub fn new() -> Result<Self, Errno> {
        // SAFETY: no memory is passed.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }.into())?;
        // SAFETY: the kernel just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// Watches `fd` for readability under the name `token`. Closing the descriptor ends the watch.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> Result<(), Errno> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token,
        };
        check(
            // SAFETY: a valid event.
            unsafe {
                libc::epoll_ctl(
                    self.0.as_raw_fd(),
                    libc::EPOLL_CTL_ADD,
                    fd.as_raw_fd(),
                    &raw mut event,
                )
            }
            .into(),
        )
        .map(drop)
    }

    /// Ends the watch of `fd`.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        // SAFETY: no memory is passed.
        unsafe {
            libc::epoll_ctl(
                self.0.as_raw_fd(),
                libc::EPOLL_CTL_DEL,
                fd.as_raw_fd(),
                std::ptr::null_mut(),
            )
        };
    }

    /// Waits up to `timeout_ms` (negative: for ever) and returns the tokens that are readable.
    pub fn wait(&self, timeout_ms: i32) -> Vec<u64> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 32];
        // SAFETY: room for 32 events.
        let count =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 32, timeout_ms) };
        events
            .iter()
            .take(usize::try_from(count).unwrap_or(0))
            .map(|event| event.u64)
            .collect()
    }
}

/// A counter that wakes an [`Epoll`] (`eventfd(2)`).
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A non-blocking counter at zero.
    pub fn new() -> Result<Self, Errno> {
        // SAFETY: no memory is passed.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }.into())?;
        // SAFETY: the kernel just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// For [`Epoll::add`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }

    /// Makes it readable.
    pub fn signal(&self) {
        let one = 1_u64;
        // SAFETY: eight live bytes. Failure means that the counter is full, hence readable.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Makes it unreadable.
    pub fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: room for eight bytes. Failure means that it was not readable.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}
