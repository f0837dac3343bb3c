//! Terminal devices by number: `/dev/tty`, `/dev/console`, `/dev/ptmx`, `/dev/pts/N`.

use std::sync::{Arc, Weak};

use abi::fs::{O_NOCTTY, minor};
use parking_lot::Mutex;

use super::job_control::terminal_of;
use super::master::MasterFile;
use super::node::{PtsNode, Target};
use super::tty::{PTS_MAJOR, Tty};
use super::{DevptsFs, SlaveFile};
use crate::error::{Errno, Result};
use crate::fs::dev::{Class, DeviceOpen, Registry};
use crate::vfs::{FileOps, Path};

/// The terminal behind a container's `/dev/console`, in the container's extensions.
#[derive(Default)]
pub struct ConsoleSlot(Mutex<Weak<Tty>>);

impl ConsoleSlot {
    /// Sets the container's console unless it has one.
    pub fn set_first(&self, tty: &Arc<Tty>) {
        let mut slot = self.0.lock();
        if slot.strong_count() == 0 {
            *slot = Arc::downgrade(tty);
        }
    }
    fn get(&self) -> Option<Arc<Tty>> {
        self.0.lock().upgrade()
    }
}

/// Enters the terminal devices.
pub fn register(registry: &Registry) {
    registry.register(
        Class::Char,
        5,
        None,
        Arc::new(|open, rdev| match minor(rdev) {
            0 => open_own(open),
            1 => open_console(open),
            2 => open_ptmx(open),
            _ => Err(Errno::ENXIO),
        }),
    );
    registry.register(
        Class::Char,
        PTS_MAJOR,
        None,
        Arc::new(|open, _| open_slave(open)),
    );
}

/// `/dev/tty`: the session's terminal, which it does not change: `ENXIO` without one.
fn open_own(open: &DeviceOpen<'_>) -> Result<Box<dyn FileOps>> {
    let tty = open
        .task
        .and_then(|task| terminal_of(task))
        .ok_or(Errno::ENXIO)?;
    Ok(SlaveFile::open(&tty, open.task, true)?)
}

/// `/dev/console`: never becomes a controlling terminal by being opened.
fn open_console(open: &DeviceOpen<'_>) -> Result<Box<dyn FileOps>> {
    let task = open.task.ok_or(Errno::ENXIO)?;
    let tty = task
        .container
        .extensions
        .get::<ConsoleSlot>()
        .get()
        .ok_or(Errno::ENXIO)?;
    Ok(SlaveFile::open(&tty, open.task, true)?)
}

fn open_slave(open: &DeviceOpen<'_>) -> Result<Box<dyn FileOps>> {
    // A node that somebody made outside devpts names no terminal.
    let node = open.inode.downcast::<PtsNode>().ok_or(Errno::ENXIO)?;
    let Target::Slave(tty) = &node.target else {
        return Err(Errno::ENXIO);
    };
    let tty = tty.upgrade().ok_or(Errno::EIO)?;
    Ok(SlaveFile::open(
        &tty,
        open.task,
        open.how.flags & O_NOCTTY != 0,
    )?)
}

/// The instance that a ptmx node stands for, with its directory: its own, or, for a node elsewhere, the devpts mounted on `pts` beside it.
fn instance_of(open: &DeviceOpen<'_>) -> Result<(Arc<DevptsFs>, Option<Path>)> {
    let parent = open.path.and_then(|path| path.parent(None));
    if let Some(node) = open.inode.downcast::<PtsNode>()
        && let Target::Ptmx(instance) = &node.target
    {
        return Ok((instance.upgrade().ok_or(Errno::ENXIO)?, parent));
    }
    let parent = parent.ok_or(Errno::ENXIO)?;
    let pts = Path {
        mount: parent.mount.clone(),
        dentry: parent.dentry.lookup(b"pts").map_err(|_| Errno::ENXIO)?,
    }
    .crossed();
    let ptmx = pts.dentry.lookup(b"ptmx").map_err(|_| Errno::ENXIO)?;
    match ptmx.inode().downcast::<PtsNode>().map(|node| &node.target) {
        Some(Target::Ptmx(instance)) => Ok((instance.upgrade().ok_or(Errno::ENXIO)?, Some(pts))),
        _ => Err(Errno::ENXIO),
    }
}

fn open_ptmx(open: &DeviceOpen<'_>) -> Result<Box<dyn FileOps>> {
    let (instance, directory) = instance_of(open)?;
    let (uid, gid) = open.task.map_or((0, 0), |task| {
        let creds = task.creds();
        (creds.fsuid, creds.fsgid)
    });
    let tty = instance.allocate(uid, gid)?;
    Ok(Box::new(MasterFile { tty, directory }))
}
