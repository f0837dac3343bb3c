//! The one host call that nix has no safe function for.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::pty::Winsize;

nix::ioctl_write_ptr_bad!(tiocswinsz, nix::libc::TIOCSWINSZ, Winsize);

/// Gives a terminal a new size in characters; its foreground process group gets SIGWINCH (`tty_ioctl(4)`).
///
/// # Errors
/// What the kernel says: `fd` is no terminal.
pub(crate) fn set_window_size(fd: impl AsFd, columns: u16, rows: u16) -> io::Result<()> {
    let size = window_size(columns, rows);
    // SAFETY: the call reads one `Winsize`, which lives until it returns.
    unsafe { tiocswinsz(fd.as_fd().as_raw_fd(), &raw const size) }?;
    Ok(())
}

/// A size in characters; in pixels it is unknown.
#[must_use]
pub(crate) fn window_size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
