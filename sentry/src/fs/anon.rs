//! Inodes of files without a place in any tree: pipes, sockets, eventfds and the like.
//!
//! Each gets an inode number of its own on one of three internal file systems, as `fstat(2)` and `fstatfs(2)` show them.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use abi::fs::{S_IFDIR, S_IFIFO, S_IFMT, S_IFSOCK, Statfs};
use parking_lot::Mutex;

use crate::error::{Errno, Result};
use crate::time;
use crate::vfs::{
    Attr, AttrChange, FileOps, FileSystem, Inode, InodeOps, OpenHow, SetTime, anonymous_dev,
};

/// One of the internal file systems (`pipefs`, `sockfs`, `anon_inodefs`).
struct AnonFs {
    name: &'static str,
    magic: i64,
    dev: u64,
}

static PIPEFS: LazyLock<Arc<AnonFs>> = LazyLock::new(|| AnonFs::new("pipefs", 0x5049_5045));
static SOCKFS: LazyLock<Arc<AnonFs>> = LazyLock::new(|| AnonFs::new("sockfs", 0x534f_434b));
static ANON_INODEFS: LazyLock<Arc<AnonFs>> =
    LazyLock::new(|| AnonFs::new("anon_inodefs", 0x0904_1934));
/// Not from 1: `netstat` takes a `socket:[N]` of one digit for no socket.
static NEXT_INO: AtomicU64 = AtomicU64::new(1024);

impl AnonFs {
    fn new(name: &'static str, magic: i64) -> Arc<Self> {
        Arc::new(Self {
            name,
            magic,
            dev: anonymous_dev(),
        })
    }
}

impl FileSystem for AnonFs {
    fn type_name(&self) -> &'static str {
        self.name
    }
    fn root(&self) -> Arc<Inode> {
        inode(S_IFDIR | 0o555, 0, 0)
    }
    fn statfs(&self) -> Result<Statfs> {
        Ok(Statfs {
            kind: self.magic,
            bsize: 4096,
            frsize: 4096,
            namelen: 255,
            ..Statfs::default()
        })
    }
    fn dev(&self) -> u64 {
        self.dev
    }
}

struct AnonInode(Mutex<Attr>);

impl InodeOps for AnonInode {
    fn attr(&self) -> Result<Attr> {
        Ok(*self.0.lock())
    }
    fn set_attr(&self, change: &AttrChange) -> Result<()> {
        if change.size.is_some() {
            return Err(Errno::EINVAL);
        }
        let mut attr = self.0.lock();
        apply(&mut attr, change);
        Ok(())
    }
    fn open(&self, _inode: &Arc<Inode>, _how: OpenHow) -> Result<Box<dyn FileOps>> {
        Err(Errno::ENXIO)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Applies all of `change` but the size to attributes kept in memory, and touches ctime.
pub fn apply(attr: &mut Attr, change: &AttrChange) {
    let now = time::now();
    let stamp = |set: SetTime| match set {
        SetTime::Now => now,
        SetTime::At(at) => at,
    };
    if let Some(mode) = change.mode {
        attr.mode = (attr.mode & S_IFMT) | (mode & 0o7777);
    }
    if let Some(uid) = change.uid {
        attr.uid = uid;
    }
    if let Some(gid) = change.gid {
        attr.gid = gid;
    }
    if let Some(set) = change.atime {
        attr.atime = stamp(set);
    }
    if let Some(set) = change.mtime {
        attr.mtime = stamp(set);
    }
    attr.ctime = now;
}

/// An inode of its own for a file without a place. `mode` holds the `S_IF*` type (none for `anon_inode` files, as in Linux) and permissions.
#[must_use]
pub fn inode(mode: u32, uid: u32, gid: u32) -> Arc<Inode> {
    let fs = match mode & S_IFMT {
        S_IFIFO => &PIPEFS,
        S_IFSOCK => &SOCKFS,
        _ => &ANON_INODEFS,
    };
    let now = time::now();
    let attr = Attr {
        dev: fs.dev,
        ino: NEXT_INO.fetch_add(1, Ordering::Relaxed),
        mode,
        nlink: 1,
        uid,
        gid,
        blksize: 4096,
        atime: now,
        mtime: now,
        ctime: now,
        ..Attr::default()
    };
    let fs: Arc<dyn FileSystem> = (*fs).clone();
    let weak: Weak<dyn FileSystem> = Arc::downgrade(&fs);
    Inode::new(weak, Box::new(AnonInode(Mutex::new(attr))))
}

/// The inode of an `anon_inode` file: mode 0600 without a type, owned by root.
#[must_use]
pub fn untyped() -> Arc<Inode> {
    inode(0o600, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inodes_are_distinct_and_belong_to_their_file_system() {
        let (a, b) = (inode(S_IFIFO | 0o600, 5, 6), inode(S_IFIFO | 0o600, 5, 6));
        let (a_attr, b_attr) = (a.attr().unwrap(), b.attr().unwrap());
        assert_ne!(a_attr.ino, b_attr.ino);
        assert_eq!(a_attr.dev, b_attr.dev);
        assert_eq!((a_attr.uid, a_attr.gid), (5, 6));
        assert_eq!(a.file_system().unwrap().statfs().unwrap().kind, 0x5049_5045);
        a.ops()
            .set_attr(&AttrChange {
                mode: Some(0o444),
                ..AttrChange::default()
            })
            .unwrap();
        assert_eq!(a.attr().unwrap().mode, S_IFIFO | 0o444);
    }
}
