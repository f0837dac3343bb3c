//! eventfd (`eventfd(2)`): a counter with readiness.

use std::any::Any;
use std::sync::Arc;

use abi::fs::{O_NONBLOCK, O_RDWR};
use parking_lot::Mutex;

use crate::error::{Errno, SysResult};
use crate::fs::anon;
use crate::vfs::{File, FileOps, IoCx, Sink, Source};
use crate::wait::{Events, WaitQueue};

/// The counter's largest value.
const MAX: u64 = u64::MAX - 1;

/// An eventfd.
pub struct EventFd {
    count: Mutex<u64>,
    /// EFD_SEMAPHORE: a read takes one.
    semaphore: bool,
    queue: WaitQueue,
}

/// A new eventfd file; `flags` may hold O_NONBLOCK.
#[must_use]
pub fn open(initial: u32, semaphore: bool, flags: u32) -> Arc<File> {
    let ops = EventFd {
        count: Mutex::new(u64::from(initial)),
        semaphore,
        queue: WaitQueue::new(),
    };
    File::new(
        None,
        anon::untyped(),
        Box::new(ops),
        O_RDWR | (flags & O_NONBLOCK),
    )
}

impl EventFd {
    /// Adds to the counter as the kernel does (`eventfd_signal`): at the top it stays.
    pub fn signal(&self, amount: u64) {
        {
            let mut count = self.count.lock();
            *count = count.saturating_add(amount);
        }
        self.queue.notify(Events::IN | Events::RDNORM);
    }
    /// The counter, for fdinfo.
    #[must_use]
    pub fn count(&self) -> u64 {
        *self.count.lock()
    }
}

impl FileOps for EventFd {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL.into());
        }
        let value = {
            let mut count = self.count.lock();
            if *count == 0 {
                return Err(Errno::EAGAIN.into());
            }
            let value = if self.semaphore { 1 } else { *count };
            *count -= value;
            value
        };
        self.queue.notify(Events::OUT | Events::WRNORM);
        // As in Linux, what could not be stored is lost.
        if dst.put(&value.to_ne_bytes())? < 8 {
            return Err(Errno::EFAULT.into());
        }
        Ok(8)
    }

    fn write_at(
        &self,
        _cx: IoCx<'_>,
        _offset: u64,
        src: &mut dyn Source,
    ) -> SysResult<(usize, u64)> {
        if src.remaining() < 8 {
            return Err(Errno::EINVAL.into());
        }
        let mut bytes = [0; 8];
        if src.peek(&mut bytes)? < 8 {
            return Err(Errno::EFAULT.into());
        }
        let add = u64::from_ne_bytes(bytes);
        if add == u64::MAX {
            return Err(Errno::EINVAL.into());
        }
        {
            let mut count = self.count.lock();
            if MAX.saturating_sub(*count) < add {
                return Err(Errno::EAGAIN.into());
            }
            *count += add;
        }
        // What was looked at counts, even if the guest changes it meanwhile.
        let _same = src.take(&mut [0; 8]);
        self.queue.notify(Events::IN | Events::RDNORM);
        Ok((8, 0))
    }

    fn readiness(&self) -> Events {
        let count = *self.count.lock();
        let mut events = Events::empty();
        if count > 0 {
            events |= Events::IN | Events::RDNORM;
        }
        if count < MAX {
            events |= Events::OUT | Events::WRNORM;
        }
        if count == u64::MAX {
            events |= Events::ERR;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn ignores_seeks(&self) -> bool {
        true
    }
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn anonymous_name(&self) -> Vec<u8> {
        b"anon_inode:[eventfd]".to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::SysError;
    use crate::vfs::{KernelSink, KernelSource};

    fn read(file: &File) -> SysResult<u64> {
        let mut sink = KernelSink::new(8);
        file.read(None, &mut sink)?;
        Ok(u64::from_ne_bytes(sink.into_bytes().try_into().unwrap()))
    }
    fn write(file: &File, value: u64) -> SysResult<usize> {
        file.write(None, &mut KernelSource(&value.to_ne_bytes()))
    }
    const AGAIN: SysError = SysError::Errno(Errno::EAGAIN);

    #[test]
    fn a_read_takes_everything_and_an_empty_counter_waits() {
        let file = open(3, false, 0);
        assert_eq!(write(&file, 4), Ok(8));
        assert_eq!(read(&file), Ok(7));
        assert_eq!(read(&file), Err(AGAIN));
        assert_eq!(file.ops().readiness(), Events::OUT | Events::WRNORM);
    }

    #[test]
    fn a_semaphore_gives_one_at_a_time() {
        let file = open(2, true, 0);
        assert_eq!((read(&file), read(&file)), (Ok(1), Ok(1)));
        assert_eq!(read(&file), Err(AGAIN));
    }

    #[test]
    fn writes_that_would_overflow_wait() {
        let file = open(0, false, 0);
        assert_eq!(write(&file, MAX), Ok(8));
        assert_eq!(write(&file, 1), Err(AGAIN));
        assert_eq!(write(&file, u64::MAX), Err(Errno::EINVAL.into()));
        let mut waiting = KernelSource(&[1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(file.write(None, &mut waiting), Err(AGAIN));
        assert_eq!(waiting.remaining(), 8, "a write that waits keeps its bytes");
        assert!(!file.ops().readiness().contains(Events::OUT));
    }
}
