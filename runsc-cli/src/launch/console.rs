//! Terminals: a pty of the host whose slave becomes the guest's stdio and whose master goes to the caller.
//!
//! The host's line discipline is switched off on it (raw): the guest kernel's terminal does that work. Window size and hang-up are the host's.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, unlockpt};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use super::errno_text;
use crate::host;

/// Both ends of a pty.
#[derive(Debug)]
pub struct Pty {
    /// For the caller.
    pub master: OwnedFd,
    /// For the guest.
    pub slave: OwnedFd,
}

/// What a process's stdio is.
#[derive(Debug)]
pub enum Console {
    /// Descriptors 0-2 of this command.
    Inherited,
    /// A pty whose master went to a console socket.
    Sent(OwnedFd),
    /// A pty that this command relays.
    Own(Pty),
}

impl Pty {
    /// A new pty of the given size (columns, rows).
    pub fn open(size: Option<(u16, u16)>) -> Result<Self> {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
            .map_err(|errno| anyhow!("cannot allocate a terminal: {}", errno.desc()))?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = host::pty_slave(master.as_fd()).map_err(|error| {
            anyhow!(
                "cannot open the terminal's other end: {}",
                errno_text(&error)
            )
        })?;
        let mut settings = tcgetattr(&slave)?;
        cfmakeraw(&mut settings);
        tcsetattr(&slave, SetArg::TCSANOW, &settings)?;
        if let Some((columns, rows)) = size {
            host::set_window_size(slave.as_fd(), columns, rows)?;
        }
        Ok(Self {
            master: master.as_fd().try_clone_to_owned()?,
            slave,
        })
    }
}

impl Console {
    /// Decides and prepares a process's stdio, with runc's rules and words. `detached`: this command will not wait.
    pub fn prepare(
        terminal: bool,
        socket: Option<&Path>,
        detached: bool,
        size: Option<(u16, u16)>,
    ) -> Result<Self> {
        check(terminal, socket, detached)?;
        if !terminal {
            return Ok(Self::Inherited);
        }
        match socket {
            Some(path) => {
                let pty = Pty::open(size)?;
                send_master(path, pty.master.as_fd())?;
                Ok(Self::Sent(pty.slave))
            }
            None => {
                let own = size.or_else(|| host::window_size(std::io::stdin().as_fd()).ok());
                Ok(Self::Own(Pty::open(own)?))
            }
        }
    }

    /// The slave of the terminal, if there is one.
    #[must_use]
    pub fn slave(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Inherited => None,
            Self::Sent(slave) => Some(slave.as_fd()),
            Self::Own(pty) => Some(pty.slave.as_fd()),
        }
    }

    /// Descriptors 0-2 for the guest.
    pub fn stdio(&self) -> Result<Vec<(u32, OwnedFd)>> {
        let source = |number: u32| -> std::io::Result<OwnedFd> {
            match (self.slave(), number) {
                (Some(slave), _) => slave.try_clone_to_owned(),
                (None, 0) => std::io::stdin().as_fd().try_clone_to_owned(),
                (None, 1) => std::io::stdout().as_fd().try_clone_to_owned(),
                (None, _) => std::io::stderr().as_fd().try_clone_to_owned(),
            }
        };
        (0..3).map(|number| Ok((number, source(number)?))).collect()
    }

    /// The master, if this command relays; the slave's copy here is closed.
    #[must_use]
    pub fn into_master(self) -> Option<OwnedFd> {
        match self {
            Self::Own(pty) => Some(pty.master),
            Self::Inherited | Self::Sent(_) => None,
        }
    }
}

/// The checks of [`Console::prepare`] alone, to be made before anything is created.
pub fn check(terminal: bool, socket: Option<&Path>, detached: bool) -> Result<()> {
    if detached && terminal && socket.is_none() {
        bail!("cannot allocate tty if runsc will detach without setting console socket");
    }
    if socket.is_some() && !(detached && terminal) {
        bail!("cannot use console socket if runsc will not detach or allocate tty");
    }
    Ok(())
}

/// Sends the master to a console socket: one descriptor, and a name as data.
fn send_master(path: &Path, master: BorrowedFd<'_>) -> Result<()> {
    let stream = UnixStream::connect(path).map_err(|error| {
        anyhow!(
            "dial unix {}: connect: {}",
            path.display(),
            errno_text(&error)
        )
    })?;
    let descriptors = [master.as_raw_fd()];
    sendmsg::<()>(
        stream.as_raw_fd(),
        &[std::io::IoSlice::new(b"/dev/ptmx")],
        &[ControlMessage::ScmRights(&descriptors)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map_err(|errno| {
        anyhow!(
            "cannot send the terminal to {}: {}",
            path.display(),
            errno.desc()
        )
    })?;
    Ok(())
}

/// This command's own terminal in raw mode until dropped.
pub struct RawMode {
    saved: Termios,
}

impl RawMode {
    /// Switches standard input to raw mode; `None` if it is no terminal.
    #[must_use]
    pub fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        let saved = tcgetattr(stdin.as_fd()).ok()?;
        let mut raw = saved.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &raw).ok()?;
        Some(Self { saved })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin().as_fd(), SetArg::TCSANOW, &self.saved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runcs_rules_for_terminals() {
        let socket = Some(Path::new("/tmp/x"));
        assert!(
            check(true, None, true)
                .unwrap_err()
                .to_string()
                .starts_with("cannot allocate tty")
        );
        assert!(
            check(false, socket, true)
                .unwrap_err()
                .to_string()
                .starts_with("cannot use console socket")
        );
        assert!(
            check(true, socket, true).is_ok()
                && check(true, None, false).is_ok()
                && check(false, None, true).is_ok()
        );
    }

    #[test]
    fn a_pty_is_raw_and_has_its_size() {
        use nix::sys::termios::{LocalFlags, tcgetattr};
        let pty = Pty::open(Some((80, 24))).unwrap();
        assert_eq!(host::window_size(pty.master.as_fd()).unwrap(), (80, 24));
        assert!(
            !tcgetattr(&pty.slave)
                .unwrap()
                .local_flags
                .contains(LocalFlags::ECHO)
        );
    }
}
