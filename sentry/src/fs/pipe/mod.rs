//! Pipes and FIFOs (`pipe(7)`, `fifo(7)`, `fs/pipe.c`).
//!
//! - [`Pipe`]: the buffer, its counters of ends, and one wait queue.
//! - [`PipeEnd`]: an open end (or both, for a FIFO opened O_RDWR), the [`FileOps`].
//! - [`fifo`]: opening FIFOs.
//! - [`transfer`]: what `splice(2)`, `tee(2)` and `vmsplice(2)` need.
//!
//! A write stores what fits and returns its length: a caller that must block (no O_NONBLOCK) goes on with the rest. Writes up to PIPE_BUF bytes
//! are stored whole or give `EAGAIN`.
//!
//! Lock order: `reading` or `writing` (one reader, one writer at a time) → `state`. Queues are notified with none of them held.

mod end;
pub mod fifo;
mod ring;
pub mod transfer;

use std::sync::Arc;

use abi::fs::{O_DIRECT, O_NONBLOCK, O_RDONLY, O_WRONLY, S_IFIFO};
use parking_lot::Mutex;

pub use end::PipeEnd;
use ring::{Ring, SLOT};

use crate::error::{Errno, Result};
use crate::fs::anon;
use crate::vfs::File;
use crate::wait::{Events, WaitQueue};

/// Capacity of a new pipe in bytes.
pub const DEFAULT_CAPACITY: usize = 16 * SLOT;
/// `/proc/sys/fs/pipe-max-size`.
pub const MAX_CAPACITY: usize = 1 << 20;
/// Writes up to this many bytes are atomic.
pub const PIPE_BUF: usize = SLOT;

struct State {
    ring: Ring,
    readers: u32,
    writers: u32,
    /// How often a reading end was opened; a blocked FIFO open waits for it to change.
    reader_opens: u64,
    /// The same for writing ends.
    writer_opens: u64,
}

/// A pipe's buffer and the number of its ends.
pub struct Pipe {
    state: Mutex<State>,
    reading: Mutex<()>,
    writing: Mutex<()>,
    queue: WaitQueue,
}

impl Pipe {
    /// A pipe without ends.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                ring: Ring::new(DEFAULT_CAPACITY / SLOT),
                readers: 0,
                writers: 0,
                reader_opens: 0,
                writer_opens: 0,
            }),
            reading: Mutex::new(()),
            writing: Mutex::new(()),
            queue: WaitQueue::new(),
        })
    }
    /// Notified when either end's readiness changes and when ends come and go.
    #[must_use]
    pub const fn queue(&self) -> &WaitQueue {
        &self.queue
    }
    /// Bytes that can be read (FIONREAD).
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().ring.len()
    }
    /// Whether nothing can be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state.lock().ring.is_empty()
    }
    /// F_GETPIPE_SZ: capacity in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.state.lock().ring.max_slots() * SLOT
    }
    /// F_SETPIPE_SZ: rounds up to a power of two pages and returns the new capacity. `EBUSY` if more is in use, `EPERM` beyond [`MAX_CAPACITY`]
    /// unless `privileged` (CAP_SYS_RESOURCE), `EINVAL` beyond 2 GiB.
    pub fn set_capacity(&self, bytes: usize, privileged: bool) -> Result<usize> {
        if bytes > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let bytes = bytes.max(SLOT).next_power_of_two();
        let _writing = self.writing.lock();
        let grown = {
            let mut state = self.state.lock();
            let slots = bytes / SLOT;
            if slots > state.ring.max_slots() && bytes > MAX_CAPACITY && !privileged {
                return Err(Errno::EPERM);
            }
            if state.ring.used_slots() > slots {
                return Err(Errno::EBUSY);
            }
            let grown = slots > state.ring.max_slots();
            state.ring.set_max_slots(slots);
            grown
        };
        if grown {
            self.queue.notify(Events::OUT | Events::WRNORM);
        }
        Ok(bytes)
    }
}

/// `pipe2(2)`: the reading and the writing file. `flags` may hold O_NONBLOCK and O_DIRECT (packet mode); `uid` and `gid` own the inode.
#[must_use]
pub fn open_pair(flags: u32, uid: u32, gid: u32) -> (Arc<File>, Arc<File>) {
    let pipe = Pipe::new();
    let inode = anon::inode(S_IFIFO | 0o600, uid, gid);
    *inode.shared.fifo.lock() = Arc::downgrade(&pipe);
    let ino = inode.attr().map_or(0, |attr| attr.ino);
    let reader = PipeEnd::open(&pipe, true, false, ino);
    let writer = PipeEnd::open(&pipe, false, true, ino);
    (
        File::new(
            None,
            inode.clone(),
            Box::new(reader),
            O_RDONLY | (flags & O_NONBLOCK),
        ),
        File::new(
            None,
            inode,
            Box::new(writer),
            O_WRONLY | (flags & (O_NONBLOCK | O_DIRECT)),
        ),
    )
}

/// The pipe behind an open file (pipe or FIFO), or `None`.
#[must_use]
pub fn of_file(file: &File) -> Option<&Arc<Pipe>> {
    file.downcast::<PipeEnd>().map(PipeEnd::pipe)
}

#[cfg(test)]
mod tests;
