//! pidfds (`pidfd_open(2)`): descriptors that stand for a process, readable once it has ended.

use std::any::Any;
use std::sync::Arc;

use abi::fs::{O_NONBLOCK, O_RDWR};

use crate::error::{Errno, Result};
use crate::fs::anon;
use crate::task::{Pid, ThreadGroup};
use crate::vfs::{File, FileOps};
use crate::wait::{Events, WaitQueue};

/// A process as a descriptor.
pub struct PidFd {
    pid: Arc<Pid>,
    /// The process's own queue, which outlives it here.
    queue: WaitQueue,
}

/// A new pidfd for the process whose id `pid` is; `flags` may hold O_NONBLOCK. `ESRCH` if there is none.
pub fn open(pid: &Arc<Pid>, flags: u32) -> Result<Arc<File>> {
    let group = pid.group().ok_or(Errno::ESRCH)?;
    let ops = PidFd {
        pid: pid.clone(),
        queue: group.events.clone(),
    };
    Ok(File::new(
        None,
        anon::untyped(),
        Box::new(ops),
        O_RDWR | (flags & O_NONBLOCK),
    ))
}

impl PidFd {
    /// The id it stands for.
    #[must_use]
    pub const fn pid(&self) -> &Arc<Pid> {
        &self.pid
    }
    /// The process, until somebody has waited for it: `ESRCH`.
    pub fn group(&self) -> Result<Arc<ThreadGroup>> {
        group(&self.pid)
    }
}

/// The process with this id, until somebody has waited for it: `ESRCH`.
pub fn group(pid: &Pid) -> Result<Arc<ThreadGroup>> {
    let group = pid.group().ok_or(Errno::ESRCH)?;
    if group.family.read().reaped {
        Err(Errno::ESRCH)
    } else {
        Ok(group)
    }
}

impl FileOps for PidFd {
    fn readiness(&self) -> Events {
        match self.group() {
            Ok(group) if group.family.read().zombie.is_none() => Events::empty(),
            Ok(_) => Events::IN | Events::RDNORM,
            Err(_) => Events::IN | Events::RDNORM | Events::HUP,
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn anonymous_name(&self) -> Vec<u8> {
        b"anon_inode:[pidfd]".to_vec()
    }
}
