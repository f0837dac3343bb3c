//! signalfd (`signalfd(2)`): pending signals that are read. Whose: those of the task that reads or polls.

use std::any::Any;
use std::sync::Arc;

use abi::fs::{O_NONBLOCK, O_RDWR};
use abi::signal::{SigSet, Signal, code};
use parking_lot::Mutex;

use crate::error::{Errno, Result, SysResult};
use crate::fs::anon;
use crate::signal::SigInfo;
use crate::task::{CurrentTask, Task};
use crate::vfs::{File, FileOps, IoCx, Sink};
use crate::wait::{Events, WaitQueue};

/// Bytes of a `struct signalfd_siginfo`.
const RECORD: usize = 128;

/// A signalfd.
pub struct SignalFd {
    mask: Mutex<SigSet>,
    /// Of those who ask without being a task: never notified.
    queue: WaitQueue,
}

/// A new signalfd file; `flags` may hold O_NONBLOCK.
#[must_use]
pub fn open(mask: SigSet, flags: u32) -> Arc<File> {
    let ops = SignalFd {
        mask: Mutex::new(mask.minus(SigSet::UNBLOCKABLE)),
        queue: WaitQueue::new(),
    };
    File::new(
        None,
        anon::untyped(),
        Box::new(ops),
        O_RDWR | (flags & O_NONBLOCK),
    )
}

/// Changes the mask of an existing signalfd; `EINVAL` for other files. Those who wait look again.
pub fn set_mask(file: &File, mask: SigSet, task: &CurrentTask) -> Result<()> {
    let ops = file.downcast::<SignalFd>().ok_or(Errno::EINVAL)?;
    *ops.mask.lock() = mask.minus(SigSet::UNBLOCKABLE);
    task.group.signal_arrived.notify(Events::IN);
    Ok(())
}

impl SignalFd {
    /// The mask, for fdinfo.
    #[must_use]
    pub fn mask(&self) -> SigSet {
        *self.mask.lock()
    }
    fn take(&self, task: &Task) -> Option<SigInfo> {
        let mask = self.mask();
        let own = task.signals.lock().pending.take(mask);
        let mut info = own.or_else(|| task.group.pending.lock().take(mask))?;
        task.group.timers.taken(&mut info);
        Some(info)
    }
}

/// Which fields a `siginfo_t` has (`siginfo_layout`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Kill,
    Timer,
    Poll,
    Fault,
    Child,
    Queue,
    Seccomp,
}

fn layout(info: &SigInfo) -> Layout {
    match info.code() {
        1..code::SI_KERNEL => match info.signal() {
            Signal::ILL | Signal::FPE | Signal::SEGV | Signal::BUS | Signal::TRAP => Layout::Fault,
            Signal::CHLD => Layout::Child,
            Signal::SYS => Layout::Seccomp,
            Signal::IO => Layout::Poll,
            // POLL_IN … POLL_HUP with a signal of F_SETSIG's.
            _ if info.code() <= 6 => Layout::Poll,
            _ => Layout::Kill,
        },
        code::SI_TIMER => Layout::Timer,
        code::SI_SIGIO => Layout::Poll,
        ..=-1 => Layout::Queue,
        _ => Layout::Kill,
    }
}

/// A `siginfo_t` as a `struct signalfd_siginfo` (`signalfd_copyinfo`).
fn record(info: &SigInfo) -> [u8; RECORD] {
    let raw = info.bytes();
    let mut out = [0; RECORD];
    // siginfo_t: signo, errno, code lie at 0, 4, 8 in both.
    out[..12].copy_from_slice(&raw[..12]);
    let mut copy = |from: usize, to: usize, len: usize| {
        out[to..to + len].copy_from_slice(&raw[from..from + len]);
    };
    const PID: usize = 12;
    const UID: usize = 16;
    const FD: usize = 20;
    const TID: usize = 24;
    const BAND: usize = 28;
    const OVERRUN: usize = 32;
    const STATUS: usize = 40;
    const INT: usize = 44;
    const PTR: usize = 48;
    const UTIME: usize = 56;
    const STIME: usize = 64;
    const ADDR: usize = 72;
    const SYSCALL: usize = 84;
    const CALL_ADDR: usize = 88;
    const ARCH: usize = 96;
    match layout(info) {
        Layout::Kill => {
            copy(16, PID, 4);
            copy(20, UID, 4);
        }
        Layout::Queue => {
            copy(16, PID, 4);
            copy(20, UID, 4);
            copy(24, INT, 4);
            copy(24, PTR, 8);
        }
        Layout::Timer => {
            copy(16, TID, 4);
            copy(20, OVERRUN, 4);
            copy(24, INT, 4);
            copy(24, PTR, 8);
        }
        Layout::Poll => {
            copy(16, BAND, 4);
            copy(24, FD, 4);
        }
        Layout::Fault => copy(16, ADDR, 8),
        Layout::Child => {
            copy(16, PID, 4);
            copy(20, UID, 4);
            copy(24, STATUS, 4);
            copy(32, UTIME, 8);
            copy(40, STIME, 8);
        }
        Layout::Seccomp => {
            copy(16, CALL_ADDR, 8);
            copy(24, SYSCALL, 4);
            copy(28, ARCH, 4);
        }
    }
    out
}

impl FileOps for SignalFd {
    fn read_at(&self, cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        if dst.remaining() < RECORD {
            return Err(Errno::EINVAL.into());
        }
        let task = cx.task.ok_or(Errno::EINVAL)?;
        let mut done = 0;
        while dst.remaining() >= RECORD {
            let Some(info) = self.take(task) else { break };
            match dst.put(&record(&info)) {
                Ok(RECORD) => done += RECORD,
                _ if done > 0 => break,
                _ => return Err(Errno::EFAULT.into()),
            }
        }
        if done == 0 {
            return Err(Errno::EAGAIN.into());
        }
        Ok(done)
    }
    fn readiness(&self) -> Events {
        Events::empty()
    }
    fn readiness_for(&self, task: &Task) -> Events {
        let own = task.signals.lock().pending.set();
        let pending = own.union(task.group.pending.lock().set());
        if pending.intersect(self.mask()).is_empty() {
            Events::empty()
        } else {
            Events::IN | Events::RDNORM
        }
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }
    fn wait_queue_for(&self, task: &Task) -> Option<WaitQueue> {
        Some(task.group.signal_arrived.clone())
    }
    fn ignores_seeks(&self) -> bool {
        true
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        b"anon_inode:[signalfd]".to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(record: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(record[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn records_show_the_fields_of_their_kind() {
        let user = record(&SigInfo::user(Signal::USR1, code::SI_USER, 12, 34));
        assert_eq!(
            (word(&user, 0), word(&user, 12), word(&user, 16)),
            (10, 12, 34)
        );
        let child = SigInfo::child(code::CLD_EXITED, 5, 6, 7, 8, 9);
        let child = record(&child);
        assert_eq!((word(&child, 8), word(&child, 40)), (1, 7));
        assert_eq!((word(&child, 56), word(&child, 64)), (8, 9));
        let io = record(&SigInfo::io(Signal::IO, 1, 0x41, 3));
        assert_eq!((word(&io, 20), word(&io, 28)), (3, 0x41));
        let fault = record(&SigInfo::fault(Signal::SEGV, code::SEGV_MAPERR, 0x1234));
        assert_eq!((word(&fault, 72), word(&fault, 12)), (0x1234, 0));
    }
}
