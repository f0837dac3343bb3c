//! Messages over `SOCK_SEQPACKET` sockets, with at most one descriptor.

#![forbid(unsafe_code)]

use super::MAX_MESSAGE;
use crate::host::{self, Wait};
use abi::Errno;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A buffer for the longest message.
pub(crate) fn buffer() -> Box<[u8]> {
    vec![0; MAX_MESSAGE].into_boxed_slice()
}

/// Sends one message, waiting for room. `EPIPE` when the other side has closed.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    message: &[u8],
    donated: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    retry(|| host::send_message(socket, message, donated))
}

/// Waits for one message, busily for up to `poll`. `Ok(None)` when the other side has closed. Descriptors that come with
/// it are refused.
pub(crate) fn receive<'a>(
    socket: BorrowedFd<'_>,
    buffer: &'a mut [u8],
    poll: Duration,
) -> Result<Option<&'a [u8]>, Errno> {
    let len = poll_then_block(poll, |wait| host::receive_bytes(socket, buffer, wait))?;
    Ok(buffer.get(..len).filter(|message| !message.is_empty()))
}

/// Waits for one message that may bring a descriptor, busily for up to `poll`. `Ok(None)` when the other side has closed.
pub(crate) fn receive_donation<'a>(
    socket: BorrowedFd<'_>,
    buffer: &'a mut [u8],
    poll: Duration,
) -> Result<Option<(&'a [u8], Option<OwnedFd>)>, Errno> {
    let (len, donated) = poll_then_block(poll, |wait| host::receive_message(socket, buffer, wait))?;
    Ok(buffer
        .get(..len)
        .filter(|message| !message.is_empty())
        .map(|message| (message, donated)))
}

/// Tries until the time is over, then waits. On one socket this decides between 3 and 50 µs a call: a wake-up that
/// crosses CPUs costs more than any request.
fn poll_then_block<T: Default>(
    poll: Duration,
    mut receive: impl FnMut(Wait) -> Result<T, Errno>,
) -> Result<T, Errno> {
    if !poll.is_zero() {
        let start = Instant::now();
        while start.elapsed() < poll {
            match retry(|| receive(Wait::Never)) {
                Err(Errno::EAGAIN) => std::hint::spin_loop(),
                other => return other,
            }
        }
    }
    retry(|| receive(Wait::Block))
}

/// Repeats a call that a signal interrupted; a reset connection reads as closed.
fn retry<T: Default>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNRESET) => return Ok(T::default()),
            other => return other,
        }
    }
}
