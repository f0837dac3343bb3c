//! Opening what is not the file system's own business: FIFOs, other descriptions of pipes, and device nodes.

use std::sync::Arc;

use super::lookup::LookupCx;
use super::{File, Inode, OpenHow, Path, events};
use crate::error::{Errno, Result};
use crate::fs::dev::{self, DeviceOpen};
use crate::fs::pipe::PipeEnd;
use crate::fs::pipe::fifo::open_fifo;
use crate::wait::WaitQueue;

/// An open of a FIFO that may have to wait for the other end. Dropping it gives up.
pub struct PendingFifo {
    end: PipeEnd,
    path: Option<Path>,
    inode: Arc<Inode>,
    flags: u32,
}

impl PendingFifo {
    /// Opens the FIFO or pipe `inode`: `ENXIO` for O_WRONLY|O_NONBLOCK without a reader.
    pub(super) fn new(path: Option<&Path>, inode: &Arc<Inode>, flags: u32) -> Result<Self> {
        Ok(Self {
            // A pipe without a name, reached through /proc/self/fd, never waits for its other end (fs/pipe.c: fifo_open).
            end: open_fifo(inode, flags, path.is_none())?,
            path: path.cloned(),
            inode: inode.clone(),
            flags,
        })
    }
    /// Notified when ends are opened.
    #[must_use]
    pub fn queue(&self) -> WaitQueue {
        self.end.pipe().queue().clone()
    }
    /// `EAGAIN` until the other end has been opened.
    pub fn check_ready(&self) -> Result<()> {
        if self.end.has_met() {
            Ok(())
        } else {
            Err(Errno::EAGAIN)
        }
    }
    /// The open file.
    #[must_use]
    pub fn finish(self) -> Arc<File> {
        let file = File::new(self.path, self.inode, Box::new(self.end), self.flags);
        events::opened(&file);
        file
    }
}

/// Opens the device node `inode`: `ENXIO` if there is no such device, or if the kernel itself asks.
pub(super) fn open_device(
    cx: LookupCx<'_>,
    path: Option<&Path>,
    inode: &Arc<Inode>,
    flags: u32,
) -> Result<Arc<File>> {
    let task = cx.task.ok_or(Errno::ENXIO)?;
    let ops = dev::open(&DeviceOpen {
        kernel: &task.kernel,
        inode,
        path,
        how: OpenHow { flags },
        task: Some(task),
    })?;
    Ok(File::new(path.cloned(), inode.clone(), ops, flags))
}
