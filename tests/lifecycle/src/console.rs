//! The caller's end of a console socket.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::host;

/// A listening socket.
pub struct Console(UnixListener);

/// A terminal's master.
pub struct Master {
    /// The descriptor.
    pub file: File,
    /// How many descriptors came, and how many bytes of name.
    pub shape: String,
}

impl Console {
    /// Listens at a path.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn listen(path: &Path) -> Self {
        Self(UnixListener::bind(path).expect("a console socket"))
    }

    /// The master that the runtime has sent; `None` if it sent none.
    #[must_use]
    pub fn accept(&self) -> Option<Master> {
        use std::os::fd::AsFd;
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(5000u16)).ok()? == 0 {
            return None;
        }
        let (stream, _) = self.0.accept().ok()?;
        let mut name = [0u8; 8192];
        let mut space = nix::cmsg_space!([i32; 8]);
        let mut slices = [IoSliceMut::new(&mut name)];
        let message = recvmsg::<()>(
            stream.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::empty(),
        )
        .ok()?;
        let bytes = message.bytes;
        let fds: Vec<i32> = message
            .cmsgs()
            .ok()?
            .flat_map(|control| {
                if let ControlMessageOwned::ScmRights(fds) = control {
                    fds
                } else {
                    Vec::new()
                }
            })
            .collect();
        let shape = format!(
            "{} descriptor(s), name {}",
            fds.len(),
            if (1..4096).contains(&bytes) {
                "of a fit length"
            } else {
                "of no fit length"
            }
        );
        let file = File::from(host::adopt(*fds.first()?));
        Some(Master { file, shape })
    }
}

impl Master {
    /// Types text.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn type_in(&mut self, text: &str) {
        self.file
            .write_all(text.as_bytes())
            .expect("a terminal that takes input");
    }

    /// What is shown until `mark` has been, or the terminal is closed, or ten seconds are over.
    pub fn until(&mut self, mark: &str) -> String {
        use std::os::fd::AsFd;
        let end = Instant::now() + Duration::from_secs(10);
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).contains(mark) && Instant::now() < end {
            let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::from(100u16)).unwrap_or(0) == 0 {
                continue;
            }
            let mut bytes = [0; 4096];
            match self.file.read(&mut bytes) {
                Ok(count) if count > 0 => text.extend_from_slice(&bytes[..count]),
                _ => break,
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Sets the window's size.
pub fn resize(master: &Master, rows: u16, columns: u16) {
    host::set_window(&master.file, rows, columns);
}
