//! Reading directories.
//!
//! A node keeps its directory open between chunks, so that file systems which gather a listing at open (overlayfs) do so
//! once. The cursor in the request is authoritative: whoever reads from elsewhere repositions.

#![forbid(unsafe_code)]

use super::node::Node;
use super::path::errno;
use super::worker::Worker;
use crate::host;
use crate::protocol::attr::FileType;
use crate::protocol::reply::{DirEntry, listing};
use crate::protocol::request::NodeId;
use crate::protocol::wire::{Decoder, Encoder, Wire};
use abi::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, OwnedFd};

/// Bytes of host records read at a time.
const CHUNK: usize = 32 * 1024;
/// Most bytes that they become: a record of 24 bytes or more is at most 6 bytes longer.
const ENCODED: usize = CHUNK / 4 * 5;

impl Worker {
    /// Appends entries after `cursor` (0 = from the beginning), as long as they surely fit, and whether more may follow.
    pub(super) fn readdir(
        &mut self,
        node: NodeId,
        cursor: u64,
        reply: &mut Encoder,
    ) -> Result<(), Errno> {
        let node = self.node(node)?;
        let mut reading = node.reading.lock();
        let directory = match reading.take() {
            Some(directory) if cursor != 0 => directory,
            _ => open_directory(&node)?,
        };
        host::seek(directory.as_fd(), cursor)?;
        let buffer = self.scratch.get_mut(..CHUNK).ok_or(Errno::EIO)?;
        while reply.room() > ENCODED {
            let len = host::getdents(directory.as_fd(), buffer)?;
            if len == 0 {
                listing::END.put(reply);
                return Ok(());
            }
            put_entries(buffer.get(..len).ok_or(Errno::EIO)?, reply).ok_or(Errno::EIO)?;
        }
        listing::PART.put(reply);
        *reading = Some(directory);
        Ok(())
    }
}

/// Opens a directory node for reading.
pub(super) fn open_directory(node: &Node) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    openat(node.directory()?, ".", flags, Mode::empty()).map_err(errno)
}

/// Encodes `linux_dirent64` records (`getdents(2)`) but `.` and `..`; `None` if they make no sense.
fn put_entries(records: &[u8], reply: &mut Encoder) -> Option<()> {
    /// Offset of the name: inode (8), cursor (8), length of the record (2), type (1).
    const NAME: usize = 19;
    let mut rest = records;
    while !rest.is_empty() {
        let mut fields = Decoder::new(rest);
        let ino = u64::get(&mut fields).ok()?;
        let cursor = u64::get(&mut fields).ok()?;
        let length = usize::from(u16::get(&mut fields).ok()?);
        let kind = u8::get(&mut fields).ok()?;
        let name = rest.get(NAME..length)?.split(|byte| *byte == 0).next()?;
        if name != b"." && name != b".." {
            listing::ENTRY.put(reply);
            DirEntry {
                ino,
                cursor,
                kind: FileType::of_dtype(kind),
                name: name.into(),
            }
            .put(reply);
        }
        rest = rest.get(length..)?;
    }
    Some(())
}
