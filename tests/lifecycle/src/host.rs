//! Descriptors that arrive by `SCM_RIGHTS`.

use std::os::fd::{FromRawFd, OwnedFd};

/// Takes over a descriptor that the kernel has just installed for this process.
pub(crate) fn adopt(number: i32) -> OwnedFd {
    // SAFETY: the caller got the number from recvmsg a moment ago and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// `TIOCSWINSZ`.
pub(crate) fn set_window(terminal: &std::fs::File, rows: u16, columns: u16) {
    use std::os::fd::AsRawFd;
    let size = nix::libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: an ioctl that reads a winsize, which outlives the call.
    unsafe { nix::libc::ioctl(terminal.as_raw_fd(), nix::libc::TIOCSWINSZ, &raw const size) };
}
