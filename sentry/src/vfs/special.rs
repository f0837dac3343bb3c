//! Opening what is not the file system's own business: FIFOs, other descriptions of pipes, and device nodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::fs::O_NONBLOCK;
use parking_lot::Mutex;

use super::lookup::LookupCx;
use super::{File, FileOps, Inode, OpenHow, Path, events};
use crate::error::{Errno, Result};
use crate::exec::Reactor;
use crate::exec::reactor::Timer;
use crate::fs::dev::{self, DeviceOpen};
use crate::fs::gofer::special::{self, is_host_fifo};
use crate::fs::host_file::{HostStream, operations};
use crate::fs::pipe::PipeEnd;
use crate::fs::pipe::fifo::open_fifo;
use crate::wait::{Events, WaitQueue};

/// An open of a FIFO that may have to wait for the other end. Dropping it gives up.
pub struct PendingFifo {
    end: End,
    path: Option<Path>,
    inode: Arc<Inode>,
    flags: u32,
}

impl PendingFifo {
    /// Opens the FIFO or pipe `inode`: `ENXIO` for O_WRONLY|O_NONBLOCK without a reader.
    pub(super) fn new(
        cx: LookupCx<'_>,
        path: Option<&Path>,
        inode: &Arc<Inode>,
        flags: u32,
    ) -> Result<Self> {
        let end = match cx.task {
            Some(task) if is_host_fifo(task, inode) => {
                End::Host(HostFifo::new(task.kernel.reactor.clone(), inode, flags)?)
            }
            // A pipe without a name, reached through /proc/self/fd, never waits for its other end (fs/pipe.c: fifo_open).
            _ => End::Own(open_fifo(inode, flags, path.is_none())?),
        };
        Ok(Self {
            end,
            path: path.cloned(),
            inode: inode.clone(),
            flags,
        })
    }
    /// Notified when ends are opened.
    #[must_use]
    pub fn queue(&self) -> WaitQueue {
        match &self.end {
            End::Own(end) => end.pipe().queue().clone(),
            End::Host(end) => end.queue.clone(),
        }
    }
    /// `EAGAIN` until the other end has been opened.
    pub fn check_ready(&self) -> Result<()> {
        match &self.end {
            End::Own(end) if end.has_met() => Ok(()),
            End::Own(_) => Err(Errno::EAGAIN),
            End::Host(end) => end.try_open(&self.inode),
        }
    }
    /// The open file: `EAGAIN` unless [`PendingFifo::check_ready`] said that it is.
    pub fn finish(self) -> Result<Arc<File>> {
        let ops: Box<dyn FileOps> = match self.end {
            End::Own(end) => Box::new(end),
            End::Host(end) => operations(end.stream.into_inner().ok_or(Errno::EAGAIN)?),
        };
        let file = File::new(self.path, self.inode, ops, self.flags);
        events::opened(&file);
        Ok(file)
    }
}

enum End {
    /// A pipe of the sandbox.
    Own(PipeEnd),
    /// One of the host (`--host-fifo=open`).
    Host(HostFifo),
}

/// An open of a FIFO of the host. For reading it does not wait for a writer: reads do, as nobody tells when one has opened it. For writing it is tried
/// from time to time.
struct HostFifo {
    reactor: Arc<Reactor>,
    queue: WaitQueue,
    flags: u32,
    stream: Mutex<Option<Arc<HostStream>>>,
    timer: Mutex<Option<Timer>>,
}

impl HostFifo {
    /// When to try again.
    const RETRY: Duration = Duration::from_millis(10);

    fn new(reactor: Arc<Reactor>, inode: &Arc<Inode>, flags: u32) -> Result<Self> {
        let fifo = Self {
            reactor,
            queue: WaitQueue::new(),
            flags,
            stream: Mutex::new(None),
            timer: Mutex::new(None),
        };
        match fifo.try_open(inode) {
            Ok(()) | Err(Errno::EAGAIN) => Ok(fifo),
            Err(errno) => Err(errno),
        }
    }

    fn try_open(&self, inode: &Arc<Inode>) -> Result<()> {
        let mut stream = self.stream.lock();
        if stream.is_some() {
            return Ok(());
        }
        let how = OpenHow { flags: self.flags };
        match special::open_fifo(inode, how.readable(), how.writable()) {
            Ok(fd) => {
                *stream = Some(HostStream::new(self.reactor.clone(), fd, how.writable())?);
                Ok(())
            }
            Err(Errno::ENXIO) if self.flags & O_NONBLOCK == 0 => {
                let queue = self.queue.clone();
                let again: Arc<dyn Fn() + Send + Sync> =
                    Arc::new(move || queue.notify(Events::FILE));
                let timer = self.reactor.call_at(Instant::now() + Self::RETRY, again);
                *self.timer.lock() = Some(timer);
                Err(Errno::EAGAIN)
            }
            Err(errno) => Err(errno),
        }
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
