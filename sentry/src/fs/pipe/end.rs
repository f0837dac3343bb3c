//! An open end of a pipe.

use std::any::Any;
use std::sync::Arc;

use abi::fs::O_DIRECT;
use abi::signal::{Signal, code};
use abi::{UserAddr, UserOut};

use super::Pipe;
use crate::error::{Errno, Result, SysResult};
use crate::signal::{SigInfo, send};
use crate::task::CurrentTask;
use crate::vfs::{FileOps, IoCx, Sink, Source};
use crate::wait::{Events, WaitQueue};

const FIONREAD: u32 = 0x541b;

/// A reading end, a writing end, or both (a FIFO opened O_RDWR). Dropping it closes it.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    reads: bool,
    writes: bool,
    /// The count of writer opens that this reader does not take for a hang-up yet (a FIFO opened O_NONBLOCK before any writer came).
    unseen_writers: Option<u64>,
    /// The other side's count of opens that must change before a FIFO counts as open.
    pub(super) waits_for: Option<u64>,
    ino: u64,
}

/// Tells the writing thread of a broken pipe (`SIGPIPE`, pending for this very thread).
fn raise_sigpipe(cx: IoCx<'_>) {
    if let Some(task) = cx.task {
        let (pid, uid) = (task.group.pid.local(), task.creds().uid);
        let info = SigInfo::user(Signal::PIPE, code::SI_USER, pid, uid);
        // A standard signal that is pending already is enough: there is no failure to report.
        let _ = send::thread_signal(task.task(), info);
    }
}

impl PipeEnd {
    /// Opens an end and tells those who wait for one.
    pub(super) fn open(pipe: &Arc<Pipe>, reads: bool, writes: bool, ino: u64) -> Self {
        {
            let mut state = pipe.state.lock();
            if reads {
                state.readers += 1;
                state.reader_opens += 1;
            }
            if writes {
                state.writers += 1;
                state.writer_opens += 1;
            }
        }
        pipe.queue
            .notify(Events::IN | Events::OUT | Events::RDNORM | Events::WRNORM);
        Self {
            pipe: pipe.clone(),
            reads,
            writes,
            unseen_writers: None,
            waits_for: None,
            ino,
        }
    }
    /// No hang-up is to be seen until a writer has come after the `opens`th.
    pub(super) const fn ignore_hangup_until(&mut self, opens: u64) {
        self.unseen_writers = Some(opens);
    }
    /// The open waits until the other side has been opened more than `opens` times.
    pub(super) const fn wait_for_opens(&mut self, opens: u64) {
        self.waits_for = Some(opens);
    }
    /// The pipe.
    #[must_use]
    pub const fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }
    pub(super) const fn reads(&self) -> bool {
        self.reads
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        {
            let mut state = self.pipe.state.lock();
            state.readers -= u32::from(self.reads);
            state.writers -= u32::from(self.writes);
        }
        self.pipe.queue.notify(
            Events::IN | Events::OUT | Events::RDNORM | Events::WRNORM | Events::ERR | Events::HUP,
        );
    }
}

impl FileOps for PipeEnd {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        Ok(self.pipe.read(dst)?)
    }

    fn write_at(
        &self,
        cx: IoCx<'_>,
        _offset: u64,
        src: &mut dyn Source,
    ) -> SysResult<(usize, u64)> {
        if src.remaining() == 0 {
            return Ok((0, 0));
        }
        match self.pipe.write(src, cx.flags & O_DIRECT != 0) {
            Ok(n) => Ok((n, 0)),
            Err(errno) => {
                if errno == Errno::EPIPE {
                    raise_sigpipe(cx);
                }
                Err(errno.into())
            }
        }
    }

    fn readiness(&self) -> Events {
        let state = self.pipe.state.lock();
        let mut events = Events::empty();
        if self.reads {
            if !state.ring.is_empty() {
                events |= Events::IN | Events::RDNORM;
            }
            if state.writers == 0 && self.unseen_writers != Some(state.writer_opens) {
                events |= Events::HUP;
            }
        }
        if self.writes {
            if !state.ring.is_full() {
                events |= Events::OUT | Events::WRNORM;
            }
            if state.readers == 0 {
                events |= Events::ERR;
            }
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.queue)
    }

    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        if request != FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        let count = i32::try_from(self.pipe.len()).unwrap_or(i32::MAX);
        task.memory()
            .put(UserOut::new(UserAddr(arg)), &count)
            .map_err(Into::into)
            .map(|()| 0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn anonymous_name(&self) -> Vec<u8> {
        format!("pipe:[{}]", self.ino).into_bytes()
    }
}

impl Pipe {
    /// Reads what is there: `EAGAIN` if nothing is and a writer lives, 0 if none does.
    pub(super) fn read(&self, dst: &mut dyn Sink) -> Result<usize> {
        let _reading = self.reading.lock();
        let mut done = 0;
        let freed = {
            let mut state = self.state.lock();
            if state.ring.is_empty() {
                return if state.writers == 0 {
                    Ok(0)
                } else {
                    Err(Errno::EAGAIN)
                };
            }
            let before = state.ring.used_slots();
            while let Some((bytes, packet)) = state.ring.front() {
                let wanted = bytes.len().min(dst.remaining());
                if wanted == 0 {
                    break;
                }
                let stored = match dst.put(&bytes[..wanted]) {
                    Ok(n) => n,
                    Err(errno) if done == 0 => return Err(errno),
                    Err(_) => break,
                };
                state.ring.consume(stored);
                done += stored;
                if stored < wanted || packet {
                    break;
                }
            }
            before > state.ring.used_slots()
        };
        if freed {
            self.queue.notify(Events::OUT | Events::WRNORM);
        }
        Ok(done)
    }

    /// Writes what fits: `EAGAIN` if nothing does, `EPIPE` without a reader.
    pub(super) fn write(&self, src: &mut dyn Source, packet: bool) -> Result<usize> {
        let _writing = self.writing.lock();
        let total = src.remaining();
        // Room only grows while `writing` is held, so the guest's memory can be read without holding `state`.
        let room = {
            let state = self.state.lock();
            if state.readers == 0 {
                return Err(Errno::EPIPE);
            }
            state.ring.room(total, packet)
        };
        if room == 0 {
            return Err(Errno::EAGAIN);
        }
        let bytes = src.take_vec(room)?;
        let n = bytes.len();
        {
            let mut state = self.state.lock();
            if state.readers == 0 {
                return Err(Errno::EPIPE);
            }
            state.ring.push(bytes, total, packet);
        }
        self.queue.notify(Events::IN | Events::RDNORM);
        Ok(n)
    }
}
