//! Device nodes of devpts: `ptmx` and `N`.

use std::any::Any;
use std::sync::{Arc, Weak};

use abi::fs::S_IFCHR;
use abi::time::Timespec;
use parking_lot::Mutex;

use super::instance::DevptsFs;
use super::tty::Tty;
use crate::error::{Errno, Result};
use crate::fs::dev::PTMX_RDEV;
use crate::vfs::{Attr, AttrChange, FileOps, Inode, InodeOps, OpenHow, SetTime};

/// What a node opens.
pub(super) enum Target {
    /// A new terminal of the instance.
    Ptmx(Weak<DevptsFs>),
    /// A terminal's slave. Weak: the node may outlive it in the dentry cache.
    Slave(Weak<Tty>),
}

/// A node's inode; the VFS opens it as the device that it names.
pub(super) struct PtsNode {
    pub(super) target: Target,
    attr: Mutex<Attr>,
}

impl PtsNode {
    fn new(target: Target, dev: u64, ino: u64, mode: u32, owner: (u32, u32), rdev: u64) -> Self {
        let now = crate::time::now();
        Self {
            target,
            attr: Mutex::new(Attr {
                dev,
                ino,
                mode: S_IFCHR | mode,
                nlink: 1,
                uid: owner.0,
                gid: owner.1,
                rdev,
                blksize: 1024,
                atime: now,
                mtime: now,
                ctime: now,
                ..Attr::default()
            }),
        }
    }
    pub(super) fn ptmx(dev: u64, mode: u32, instance: Weak<DevptsFs>) -> Self {
        Self::new(Target::Ptmx(instance), dev, 2, mode, (0, 0), PTMX_RDEV)
    }
    pub(super) fn slave(dev: u64, tty: &Arc<Tty>, mode: u32, uid: u32, gid: u32) -> Self {
        Self::new(
            Target::Slave(Arc::downgrade(tty)),
            dev,
            u64::from(tty.index) + 3,
            mode,
            (uid, gid),
            tty.rdev(),
        )
    }
}

fn stamp(time: SetTime) -> Timespec {
    match time {
        SetTime::Now => crate::time::now(),
        SetTime::At(at) => at,
    }
}

impl InodeOps for PtsNode {
    fn attr(&self) -> Result<Attr> {
        Ok(*self.attr.lock())
    }
    fn set_attr(&self, change: &AttrChange) -> Result<()> {
        let mut attr = self.attr.lock();
        if let Some(mode) = change.mode {
            attr.mode = S_IFCHR | (mode & 0o7777);
        }
        attr.uid = change.uid.unwrap_or(attr.uid);
        attr.gid = change.gid.unwrap_or(attr.gid);
        attr.atime = change.atime.map_or(attr.atime, stamp);
        attr.mtime = change.mtime.map_or(attr.mtime, stamp);
        attr.ctime = crate::time::now();
        Ok(())
    }
    fn open(&self, _inode: &Arc<Inode>, _how: OpenHow) -> Result<Box<dyn FileOps>> {
        // The VFS opens devices by their number.
        Err(Errno::ENXIO)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
