//! Moving bytes between pipes and other files: `splice(2)`, `tee(2)`, `vmsplice(2)`.
//!
//! While a callback of these functions runs, the pipe's reading (or writing) side is reserved, but its state is not locked: the callback may do
//! I/O on other files and notify queues. It must not use the same side of another pipe; for that there is [`between`].

use std::sync::Arc;

use super::Pipe;
use crate::error::{Errno, Result, SysResult};
use crate::vfs::{Sink, Source};
use crate::wait::Events;

impl Pipe {
    /// Reads into `dst` as a reading end does.
    pub fn take(&self, dst: &mut dyn Sink) -> Result<usize> {
        self.read(dst)
    }

    /// Writes from `src` as a writing end does (`EPIPE` without SIGPIPE: the caller raises it).
    pub fn put(&self, src: &mut dyn Source) -> Result<usize> {
        self.write(src, false)
    }

    /// Gives up to `len` bytes to `consume`, which says how many it took; the rest stays. `EAGAIN` if nothing is there, 0 at the end.
    pub fn take_with(
        &self,
        len: usize,
        consume: impl FnOnce(&[u8]) -> SysResult<usize>,
    ) -> SysResult<usize> {
        let _reading = self.reading.lock();
        let bytes = {
            let state = self.state.lock();
            if state.ring.is_empty() {
                return if state.writers == 0 {
                    Ok(0)
                } else {
                    Err(Errno::EAGAIN.into())
                };
            }
            state.ring.peek(len)
        };
        let taken = consume(&bytes)?.min(bytes.len());
        let freed = {
            let mut state = self.state.lock();
            let before = state.ring.used_slots();
            drop_front(&mut state.ring, taken);
            before > state.ring.used_slots()
        };
        if freed {
            self.queue.notify(Events::OUT | Events::WRNORM);
        }
        Ok(taken)
    }

    /// Stores what `produce` gives when asked for at most as many bytes as fit, `len` at most. `EAGAIN` if full, `EPIPE` without a reader.
    pub fn put_with(
        &self,
        len: usize,
        produce: impl FnOnce(usize) -> SysResult<Vec<u8>>,
    ) -> SysResult<usize> {
        let _writing = self.writing.lock();
        let room = {
            let state = self.state.lock();
            if state.readers == 0 {
                return Err(Errno::EPIPE.into());
            }
            state.ring.room(len, false)
        };
        if room == 0 {
            return Err(Errno::EAGAIN.into());
        }
        let mut bytes = produce(room)?;
        bytes.truncate(room);
        let n = bytes.len();
        self.state.lock().ring.push(bytes, len, false);
        if n > 0 {
            self.queue.notify(Events::IN | Events::RDNORM);
        }
        Ok(n)
    }
}

fn drop_front(ring: &mut super::Ring, mut n: usize) {
    while n > 0 {
        let Some((bytes, packet)) = ring.front() else {
            break;
        };
        let step = n.min(bytes.len());
        ring.consume(step);
        n -= step;
        if packet {
            break;
        }
    }
}

/// Moves (or, for `tee`, copies) up to `len` bytes from one pipe to another: `EINVAL` if they are the same, `EAGAIN` if the source is empty or the
/// destination full, `EPIPE` without a reader, 0 at the end.
pub fn between(from: &Arc<Pipe>, to: &Arc<Pipe>, len: usize, keep: bool) -> Result<usize> {
    if Arc::ptr_eq(from, to) {
        return Err(Errno::EINVAL);
    }
    // A reading side before a writing side: nobody who holds a writing side asks for a reading one.
    let _reading = from.reading.lock();
    let _writing = to.writing.lock();
    let (bytes, ended) = {
        let state = from.state.lock();
        (state.ring.peek(len), state.writers == 0)
    };
    if bytes.is_empty() {
        return if ended { Ok(0) } else { Err(Errno::EAGAIN) };
    }
    let n = {
        let mut state = to.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let total = bytes.len();
        let n = state.ring.room(total, false);
        if n == 0 {
            return Err(Errno::EAGAIN);
        }
        let mut bytes = bytes;
        bytes.truncate(n);
        state.ring.push(bytes, total, false);
        n
    };
    if !keep {
        drop_front(&mut from.state.lock().ring, n);
        from.queue.notify(Events::OUT | Events::WRNORM);
    }
    to.queue.notify(Events::IN | Events::RDNORM);
    Ok(n)
}
