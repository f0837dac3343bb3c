//! Opening FIFOs (`fifo(7)`): an open waits for the other end; the system call layer does the waiting.

use std::sync::Arc;

use abi::fs::{O_ACCMODE, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY};

use super::{Pipe, PipeEnd};
use crate::error::{Errno, Result};
use crate::vfs::Inode;

/// Opens the FIFO `inode`: `ENXIO` for O_WRONLY|O_NONBLOCK without a reader. The end counts as open from now on, but the caller must wait (on the
/// end's queue) until [`PipeEnd::has_met`]; dropping the end gives up.
pub fn open_fifo(inode: &Arc<Inode>, flags: u32, nameless: bool) -> Result<PipeEnd> {
    let ino = inode.attr()?.ino;
    let pipe = {
        let mut slot = inode.shared.fifo.lock();
        match slot.upgrade() {
            Some(pipe) => pipe,
            None => {
                let pipe = Pipe::new();
                *slot = Arc::downgrade(&pipe);
                pipe
            }
        }
    };
    let nonblocking = flags & O_NONBLOCK != 0;
    let (readers, writers, reader_opens, writer_opens) = {
        let state = pipe.state.lock();
        (
            state.readers,
            state.writers,
            state.reader_opens,
            state.writer_opens,
        )
    };
    match flags & O_ACCMODE {
        O_RDWR => Ok(PipeEnd::open(&pipe, true, true, ino)),
        O_WRONLY => {
            if nonblocking && readers == 0 && !nameless {
                return Err(Errno::ENXIO);
            }
            let mut end = PipeEnd::open(&pipe, false, true, ino);
            if readers == 0 && !nameless {
                end.wait_for_opens(reader_opens);
            }
            Ok(end)
        }
        _ => {
            let mut end = PipeEnd::open(&pipe, true, false, ino);
            if writers == 0 && !nameless {
                if nonblocking {
                    end.ignore_hangup_until(writer_opens);
                } else {
                    end.wait_for_opens(writer_opens);
                }
            }
            Ok(end)
        }
    }
}

/// Opens another description of the anonymous pipe or FIFO behind `file`, as `/proc/self/fd/N` does; never waits.
pub fn reopen(pipe: &Arc<Pipe>, ino: u64, flags: u32) -> PipeEnd {
    let access = flags & O_ACCMODE;
    PipeEnd::open(pipe, access != O_WRONLY, access != O_RDONLY, ino)
}

impl PipeEnd {
    /// Whether the other end is or was there, so that an open that waits for it is over.
    #[must_use]
    pub fn has_met(&self) -> bool {
        let Some(count) = self.waits_for else {
            return true;
        };
        let state = self.pipe().state.lock();
        if self.reads() {
            state.writer_opens != count
        } else {
            state.reader_opens != count
        }
    }
}
