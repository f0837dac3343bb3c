//! The end that a terminal emulator has: an open `/dev/ptmx`.

use std::any::Any;
use std::sync::Arc;

use super::ioctl;
use super::line_discipline::OUTPUT_LIMIT;
use super::tty::Tty;
use crate::error::{Errno, SysResult};
use crate::task::CurrentTask;
use crate::vfs::{FileOps, IoCx, Path, Sink, Source};
use crate::wait::{Events, WaitQueue};

/// An open master; dropping it hangs the slave up and takes `/dev/pts/N` away.
pub struct MasterFile {
    pub(super) tty: Arc<Tty>,
    /// The directory of the slave, for TIOCGPTPEER.
    pub(super) directory: Option<Path>,
}

impl Drop for MasterFile {
    fn drop(&mut self) {
        if let Some(instance) = self.tty.instance.upgrade() {
            instance.remove(self.tty.index);
        }
        self.tty.disconnect();
    }
}

impl FileOps for MasterFile {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        let bytes = {
            let mut state = self.tty.state.lock();
            if state.packet_mode && state.packet_status != 0 {
                vec![std::mem::take(&mut state.packet_status)]
            } else {
                let header = usize::from(state.packet_mode);
                let max = dst.remaining().min(OUTPUT_LIMIT) - header.min(dst.remaining());
                let output = state.ldisc.take_output(max);
                if output.is_empty() && max > 0 {
                    return Err(if state.abandoned {
                        Errno::EIO.into()
                    } else {
                        Errno::EAGAIN.into()
                    });
                }
                let mut bytes = vec![0; header];
                bytes.extend(output);
                bytes
            }
        };
        self.tty.slave_queue.notify(Events::OUT | Events::WRNORM);
        Ok(dst.put(&bytes)?)
    }

    fn write_at(
        &self,
        _cx: IoCx<'_>,
        offset: u64,
        src: &mut dyn Source,
    ) -> SysResult<(usize, u64)> {
        let mut done = 0;
        while src.remaining() > 0 {
            let room = self.tty.state.lock().ldisc.room();
            if room == 0 {
                break;
            }
            let piece = match src.take_vec(room) {
                Ok(piece) => piece,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno.into()),
            };
            let taken = self.tty.type_bytes(&piece);
            done += taken;
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
        let mut events = Events::empty();
        if state.ldisc.output_len() > 0 {
            events |= Events::IN | Events::RDNORM;
        }
        if state.packet_mode && state.packet_status != 0 {
            events |= Events::IN | Events::RDNORM | Events::PRI;
        }
        if state.ldisc.room() > 0 {
            events |= Events::OUT | Events::WRNORM;
        }
        if state.abandoned {
            events |= Events::HUP;
        }
        events
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.tty.master_queue)
    }
    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        ioctl::master(self, task, request, arg)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        b"/dev/pts/ptmx".to_vec()
    }
}
