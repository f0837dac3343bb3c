//! What changed on the host: the server's inotify queue, read by the client.

#![forbid(unsafe_code)]

use crate::protocol::request::WatchId;
use crate::protocol::wire::{Decoder, Malformed, Wire};
use abi::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What happened to a name of a watched directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameChange {
    /// It appeared.
    Created,
    /// It was removed.
    Deleted,
    /// It went away by renaming.
    MovedFrom,
    /// It appeared by renaming.
    MovedTo,
}

/// Something changed on the host, by whomever: the gofer's own changes are told too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The name in the watched directory stands for something else: forget what is known of it.
    Name(WatchId, NameChange, &'a [u8]),
    /// Attributes or contents of what the name in the watched directory stands for changed.
    Attr(WatchId, &'a [u8]),
    /// Attributes of the watched directory itself changed.
    SelfAttr(WatchId),
    /// The watched directory was moved, unmounted, or is gone: forget it with all its names. While a node holds a removed
    /// directory this does not come; its name in its parent tells.
    SelfGone(WatchId),
    /// The watch has ended.
    Ended(WatchId),
    /// Events were lost: forget everything that rests on watches.
    Overflow,
}

/// The server's inotify instance, non-blocking.
#[derive(Debug)]
pub struct EventQueue {
    inotify: OwnedFd,
    buffer: Box<[u8]>,
}

impl EventQueue {
    /// Bytes read at a time: many events, and at least one with the longest name.
    const BUFFER: usize = 16 * 1024;

    pub(super) fn new(inotify: OwnedFd) -> Self {
        Self {
            inotify,
            buffer: vec![0; Self::BUFFER].into_boxed_slice(),
        }
    }

    /// Reads what is there and hands it on, in order; false when nothing was. One host call.
    ///
    /// # Errors
    /// `EPROTO` for what is no event: treat it as [`Event::Overflow`].
    pub fn read(&mut self, mut each: impl FnMut(Event<'_>)) -> Result<bool, Errno> {
        let len = match nix::unistd::read(&self.inotify, &mut self.buffer) {
            Ok(len) => len,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(false),
            Err(error) => return Err(Errno::from_raw(error as i32)),
        };
        let mut from = Decoder::new(self.buffer.get(..len).ok_or(Errno::EPROTO)?);
        while !from.is_empty() {
            let event = decode(&mut from).map_err(|Malformed| Errno::EPROTO)?;
            if let Some(event) = event {
                each(event);
            }
        }
        Ok(len > 0)
    }
}

impl AsFd for EventQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// One `struct inotify_event` (`inotify(7)`); `None` for what says nothing new.
fn decode<'a>(from: &mut Decoder<'a>) -> Result<Option<Event<'a>>, Malformed> {
    let watch = WatchId(i32::get(from)?.cast_unsigned());
    let mask = u32::get(from)?;
    let _cookie = u32::get(from)?;
    let len = usize::try_from(u32::get(from)?).map_err(|_| Malformed)?;
    let name = from.take(len)?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let change = [
        (libc::IN_CREATE, NameChange::Created),
        (libc::IN_DELETE, NameChange::Deleted),
        (libc::IN_MOVED_FROM, NameChange::MovedFrom),
        (libc::IN_MOVED_TO, NameChange::MovedTo),
    ]
    .into_iter()
    .find(|(bit, _)| mask & bit != 0);
    Ok(if mask & libc::IN_Q_OVERFLOW != 0 {
        Some(Event::Overflow)
    } else if mask & libc::IN_IGNORED != 0 {
        Some(Event::Ended(watch))
    } else if mask & (libc::IN_DELETE_SELF | libc::IN_MOVE_SELF | libc::IN_UNMOUNT) != 0 {
        Some(Event::SelfGone(watch))
    } else if let Some((_, change)) = change {
        Some(Event::Name(watch, change, name))
    } else if mask & (libc::IN_ATTRIB | libc::IN_MODIFY) != 0 {
        Some(if name.is_empty() {
            Event::SelfAttr(watch)
        } else {
            Event::Attr(watch, name)
        })
    } else {
        None
    })
}
