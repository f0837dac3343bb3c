//! The end that programs have: `/dev/pts/N`, `/dev/tty`, `/dev/console`.

use std::any::Any;
use std::sync::Arc;

use abi::fs::O_NONBLOCK;
use abi::signal::Signal;

use super::termios::lflag;
use super::tty::Tty;
use super::{console, ioctl};
use crate::error::{Errno, Result, SysResult};
use crate::task::creds::Cap;
use crate::task::{CurrentTask, Task};
use crate::vfs::{FileOps, IoCx, Sink, Source};
use crate::wait::{Events, WaitQueue};

/// Bytes written at a time.
const CHUNK: usize = 4096;

/// An open slave.
pub struct SlaveFile {
    pub(super) tty: Arc<Tty>,
    generation: u64,
}

impl SlaveFile {
    /// Opens the slave: `EIO` while it is locked or if its other end is gone, `EBUSY` if somebody has it exclusively. Without `noctty` it may
    /// become the controlling terminal of `task`'s session.
    pub(super) fn open(
        tty: &Arc<Tty>,
        task: Option<&Arc<Task>>,
        noctty: bool,
    ) -> Result<Box<Self>> {
        let generation = {
            let mut state = tty.state.lock();
            if state.locked || !state.connected {
                return Err(Errno::EIO);
            }
            if state.exclusive && !task.is_none_or(|task| task.creds().has(Cap::SYS_ADMIN)) {
                return Err(Errno::EBUSY);
            }
            state.slaves += 1;
            state.abandoned = false;
            state.generation
        };
        if let Some(task) = task
            && !noctty
        {
            tty.acquire_on_open(task);
        }
        Ok(Box::new(Self {
            tty: tty.clone(),
            generation,
        }))
    }

    fn hung_up(&self) -> bool {
        self.tty.state.lock().generation != self.generation
    }

    /// The terminal.
    #[must_use]
    pub const fn tty(&self) -> &Arc<Tty> {
        &self.tty
    }
}

impl Drop for SlaveFile {
    fn drop(&mut self) {
        let last = {
            let mut state = self.tty.state.lock();
            if state.generation != self.generation {
                return;
            }
            state.slaves = state.slaves.saturating_sub(1);
            if state.slaves == 0 {
                state.abandoned = true;
                state.exclusive = false;
            }
            state.slaves == 0
        };
        if last {
            self.tty.master_queue.notify(Events::IN | Events::HUP);
            self.tty.finish_console();
        }
    }
}

impl FileOps for SlaveFile {
    fn read_at(&self, cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        if self.hung_up() {
            return Ok(0);
        }
        if let Some(task) = cx.task {
            self.tty.check_change(task, Signal::TTIN)?;
        }
        if dst.remaining() == 0 {
            return Ok(0);
        }
        let max = dst.remaining().min(super::line_discipline::INPUT_LIMIT);
        let bytes = self.tty.read_for_program(max, cx.flags & O_NONBLOCK != 0)?;
        if bytes.is_empty() {
            return Ok(0);
        }
        Ok(dst.put(&bytes)?)
    }

    fn write_at(&self, cx: IoCx<'_>, offset: u64, src: &mut dyn Source) -> SysResult<(usize, u64)> {
        if self.hung_up() {
            return Err(Errno::EIO.into());
        }
        if let Some(task) = cx.task
            && self.tty.termios().local(lflag::TOSTOP)
        {
            self.tty.check_change(task, Signal::TTOU)?;
        }
        let mut done = 0;
        while src.remaining() > 0 {
            // Room is asked for before the bytes are read: they can be read only once.
            let room = {
                let state = self.tty.state.lock();
                if !state.connected {
                    return Err(Errno::EIO.into());
                }
                state.ldisc.write_room()
            };
            if room == 0 {
                break;
            }
            let piece = match src.take_vec(room.min(CHUNK)) {
                Ok(piece) => piece,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno.into()),
            };
            let taken = self.tty.state.lock().ldisc.write(&piece);
            done += taken;
            self.tty.output_made();
            if taken < piece.len() {
                break;
            }
        }
        if done == 0 && src.remaining() > 0 {
            return Err(Errno::EAGAIN.into());
        }
        Ok((done, offset))
    }

    fn readiness(&self) -> Events {
        let state = self.tty.state.lock();
        if state.generation != self.generation || !state.connected {
            return Events::IN
                | Events::OUT
                | Events::ERR
                | Events::HUP
                | Events::RDNORM
                | Events::WRNORM;
        }
        let mut events = Events::empty();
        if state.ldisc.readable() {
            events |= Events::IN | Events::RDNORM;
        }
        if state.ldisc.writable() {
            events |= Events::OUT | Events::WRNORM;
        }
        events
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.tty.slave_queue)
    }
    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        if self.hung_up() {
            return Err(Errno::EIO.into());
        }
        if request == ioctl::TIOCGWINSZ {
            console::refresh_winsize(&self.tty);
        }
        ioctl::slave(self, task, request, arg)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        format!("/dev/pts/{}", self.tty.index).into_bytes()
    }
}
