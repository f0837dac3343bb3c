//! The inode of a host stream, and the way to a guest's file.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use abi::fs::{O_RDWR, S_IFMT, S_IFSOCK};
use abi::time::Timespec;
use parking_lot::Mutex;

use super::HostStream;
use super::stream::HostFile;
use crate::error::{Errno, Result};
use crate::exec::Reactor;
use crate::host;
use crate::vfs::{
    Attr, AttrChange, File, FileOps, FileSystem, Inode, InodeOps, OpenHow, anonymous_dev,
};

#[derive(Clone, Copy)]
struct Changed {
    mode: u32,
    uid: u32,
    gid: u32,
}

/// See the module. Owner and mode are the guest's view only: the host file is left alone.
pub struct HostInode {
    stream: Arc<HostStream>,
    dev: u64,
    changed: Mutex<Changed>,
}

fn time(sec: i64, nsec: i64) -> Timespec {
    Timespec { sec, nsec }
}

impl InodeOps for HostInode {
    fn attr(&self) -> Result<Attr> {
        let stat = host::fstat(&self.stream.fd)?;
        let changed = *self.changed.lock();
        Ok(Attr {
            dev: self.dev,
            ino: stat.st_ino,
            mode: (stat.st_mode & S_IFMT) | changed.mode,
            nlink: 1,
            uid: changed.uid,
            gid: changed.gid,
            rdev: stat.st_rdev,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            blksize: 4096,
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
            atime: time(stat.st_atime, stat.st_atime_nsec),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
            btime: None,
        })
    }
    fn set_attr(&self, change: &AttrChange) -> Result<()> {
        if let Some(size) = change.size {
            // Opening /dev/stdout with O_TRUNC: only regular files have a size to cut.
            return if self.attr()?.mode & S_IFMT == abi::fs::S_IFREG {
                host::ftruncate(&self.stream.fd, size)
            } else {
                Ok(())
            };
        }
        let mut changed = self.changed.lock();
        if let Some(mode) = change.mode {
            changed.mode = mode & 0o7777;
        }
        changed.uid = change.uid.unwrap_or(changed.uid);
        changed.gid = change.gid.unwrap_or(changed.gid);
        Ok(())
    }
    fn open(&self, _inode: &Arc<Inode>, _how: OpenHow) -> Result<Box<dyn FileOps>> {
        if self.attr()?.mode & S_IFMT == S_IFSOCK {
            return Err(Errno::ENXIO);
        }
        Ok(Box::new(HostFile(self.stream.clone())))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Opens the inode again if it is a host stream; `None` if it is not, and the VFS goes on as for any FIFO, socket or device.
#[must_use]
pub fn reopen(inode: &Arc<Inode>, how: OpenHow) -> Option<Result<Box<dyn FileOps>>> {
    inode
        .downcast::<HostInode>()
        .map(|host| host.open(inode, how))
}

/// A guest's file over a host descriptor, open for what the host has it open for, owned by `uid` and `gid`. Not for terminals.
///
/// Errors: those of `fstat(2)` and `F_GETFL`.
pub fn open_stdio(reactor: &Arc<Reactor>, fd: OwnedFd, uid: u32, gid: u32) -> Result<Arc<File>> {
    let mode = host::access_mode(&fd)?;
    let writable = mode != abi::fs::O_RDONLY;
    let at = if writable {
        0
    } else {
        host::lseek(&fd, 0, libc::SEEK_CUR).unwrap_or(0)
    };
    let stream = HostStream::new(reactor.clone(), fd, writable)?;
    let ops = Box::new(HostFile(stream.clone()));
    let fs: Weak<dyn FileSystem> = Weak::<super::super::static_tree::TreeFs>::new();
    let inode = Inode::new(
        fs,
        Box::new(HostInode {
            stream,
            dev: anonymous_dev(),
            changed: Mutex::new(Changed {
                mode: 0o600,
                uid,
                gid,
            }),
        }),
    );
    let flags = mode;
    // A socket serves both ways whatever it was handed in for.
    let flags = if inode.file_type()? == S_IFSOCK {
        O_RDWR
    } else {
        flags
    };
    let file = File::new(None, inode, ops, flags);
    *file.offset().lock() = at;
    Ok(file)
}
