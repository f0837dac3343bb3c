//! Inodes: a concrete shell with the state that belongs to every file, over what a file system provides.

use std::any::Any;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Attr, AttrChange, FileOps, FileSystem, Path};
use crate::error::{Errno, Result};

/// What kind of node to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// FIFO.
    Fifo,
    /// Unix socket.
    Socket,
    /// Character device with its number.
    CharDevice(u64),
    /// Block device with its number.
    BlockDevice(u64),
}

/// How a file is opened; permission has been checked.
#[derive(Clone, Copy, Debug)]
pub struct OpenHow {
    /// `O_*` flags.
    pub flags: u32,
}

impl OpenHow {
    /// Whether it can be read.
    #[must_use]
    pub const fn readable(&self) -> bool {
        self.flags & abi::fs::O_ACCMODE != abi::fs::O_WRONLY
    }
    /// Whether it can be written.
    #[must_use]
    pub const fn writable(&self) -> bool {
        self.flags & abi::fs::O_ACCMODE != abi::fs::O_RDONLY
    }
}

/// Where a symbolic link leads.
pub enum Link {
    /// A path to walk.
    Text(Vec<u8>),
    /// Straight to a place (`/proc/self/exe`, `/proc/self/fd/3`).
    Jump(Path),
    /// Straight to an open file without a path (`/proc/self/fd/3` for a pipe).
    JumpFile(Arc<super::File>),
}

/// What a file system provides for each inode.
pub trait InodeOps: Send + Sync + Any {
    /// Current attributes.
    fn attr(&self) -> Result<Attr>;
    /// Attributes of which type, owner, group and mode are current, others perhaps not: for permission checks.
    fn access_attr(&self) -> Result<Attr> {
        self.attr()
    }
    /// Current attributes, for somebody who will open the file like that if they permit it.
    fn attr_for_open(&self, _how: OpenHow) -> Result<Attr> {
        self.attr()
    }
    /// Changes attributes. Set-id clearing is the VFS's job, ctime the file system's.
    fn set_attr(&self, change: &AttrChange) -> Result<()>;
    /// Opens a regular file, directory or special file of the file system's own. Never called for FIFOs, sockets, and device nodes, which the VFS
    /// opens itself. O_TRUNC has been dealt with by the VFS through [`InodeOps::set_attr`].
    fn open(&self, inode: &Arc<Inode>, how: OpenHow) -> Result<Box<dyn FileOps>>;
    /// The powers of a directory.
    fn as_dir(&self) -> Option<&dyn DirOps> {
        None
    }
    /// The powers of a symbolic link.
    fn as_symlink(&self) -> Option<&dyn SymlinkOps> {
        None
    }
    /// Extended attributes.
    fn as_xattr(&self) -> Option<&dyn XattrOps> {
        None
    }
    /// Its access control lists, if it can have any.
    fn as_acl(&self) -> Option<&super::acl::AclStore> {
        None
    }
    /// For file systems to find their own type again.
    fn as_any(&self) -> &dyn Any;
}

/// A directory's operations. Names are single components, never empty, `.` or `..`, without `/` and NUL, at most 255 bytes.
pub trait DirOps: Send + Sync {
    /// Looks a name up: `ENOENT` if there is none. The same file gives the same [`Inode`] while anyone holds it.
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>>;
    /// As [`DirOps::lookup`], by somebody who means to open a regular file for reading.
    fn lookup_to_read(&self, name: &[u8]) -> Result<Arc<Inode>> {
        self.lookup(name)
    }
    /// Whether [`DirOps::create`] finds out itself, before anything else, that a name is taken, and a look-up first would only cost time.
    fn creates_without_lookup(&self) -> bool {
        false
    }
    /// Whether a cached answer (`None`: a cached ENOENT) may still be used.
    fn still_valid(&self, _name: &[u8], _child: Option<&Arc<Inode>>) -> bool {
        true
    }
    /// Makes a node; `EEXIST` if the name is taken. `mode` has the umask applied.
    fn create(
        &self,
        name: &[u8],
        kind: NodeKind,
        mode: u32,
        uid: u32,
        gid: u32,
    ) -> Result<Arc<Inode>>;
    /// Makes a symbolic link.
    fn symlink(&self, name: &[u8], target: &[u8], uid: u32, gid: u32) -> Result<Arc<Inode>>;
    /// Makes a hard link to an inode of the same file system.
    fn link(&self, name: &[u8], inode: &Arc<Inode>) -> Result<()>;
    /// Removes a name of a non-directory.
    fn unlink(&self, name: &[u8], inode: &Arc<Inode>) -> Result<()>;
    /// Removes an empty directory.
    fn rmdir(&self, name: &[u8], inode: &Arc<Inode>) -> Result<()>;
    /// Renames within the file system (`flags`: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT).
    fn rename(&self, name: &[u8], new_dir: &Arc<Inode>, new_name: &[u8], flags: u32) -> Result<()>;
    /// An unnamed regular file (O_TMPFILE); `EOPNOTSUPP` where the file system has none.
    fn tmpfile(&self, _mode: u32, _uid: u32, _gid: u32) -> Result<Arc<Inode>> {
        Err(Errno::EOPNOTSUPP)
    }
}

/// A symbolic link's operations.
pub trait SymlinkOps: Send + Sync {
    /// Where it leads, for the task that follows it.
    fn follow(&self, cx: &super::lookup::LookupCx<'_>) -> Result<Link>;
    /// The text that `readlink(2)` shows.
    fn text(&self, cx: &super::lookup::LookupCx<'_>) -> Result<Vec<u8>> {
        match self.follow(cx)? {
            Link::Text(text) => Ok(text),
            Link::Jump(path) => Ok(path.display(cx.fs)),
            Link::JumpFile(file) => Ok(file.describe(cx.fs)),
        }
    }
}

/// Extended attributes; names are whole (`user.x`), permission is checked by the VFS.
pub trait XattrOps: Send + Sync {
    /// A value; `ENODATA` if there is none.
    fn get(&self, name: &[u8]) -> Result<Vec<u8>>;
    /// Sets a value (`flags`: XATTR_CREATE = 1, XATTR_REPLACE = 2).
    fn set(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()>;
    /// Removes a value; `ENODATA` if there is none.
    fn remove(&self, name: &[u8]) -> Result<()>;
    /// All names.
    fn list(&self) -> Result<Vec<Vec<u8>>>;
}

/// Kernel state of a file: one for a file of the host, however many trees and containers show it. Each part is filled in by its owner.
#[derive(Default)]
pub struct SharedState {
    /// The open pipe of a FIFO.
    pub fifo: Mutex<Weak<crate::fs::pipe::Pipe>>,
    /// The socket bound to a socket node.
    pub socket: Mutex<Option<Weak<dyn Any + Send + Sync>>>,
    /// File locks (POSIX, OFD, flock).
    pub locks: crate::fs::locks::InodeLocks,
    /// Who writes or runs it.
    pub write_count: super::WriteCount,
}

/// Kernel state that hangs off an inode whatever its file system. Each part is filled in by its owner.
#[derive(Default)]
pub struct InodeState {
    /// Held while names of this directory are looked up in the file system or changed (`i_rwsem`).
    pub names: Mutex<()>,
    /// Made by O_TMPFILE without O_EXCL: may be given a name although it has none.
    pub linkable: AtomicBool,
    /// Leases.
    pub leases: crate::fs::leases::Leases,
    /// inotify watches.
    pub watches: crate::fs::inotify::InodeWatches,
}

/// A file of a file system.
pub struct Inode {
    fs: Weak<dyn FileSystem>,
    ops: Box<dyn InodeOps>,
    /// What belongs to every inode.
    pub state: InodeState,
    /// What belongs to the file that it shows.
    pub shared: Arc<SharedState>,
}

impl Inode {
    /// An inode of `fs`.
    #[must_use]
    pub fn new(fs: Weak<dyn FileSystem>, ops: Box<dyn InodeOps>) -> Arc<Self> {
        Self::showing(fs, ops, Arc::default())
    }
    /// An inode of `fs` for a file that others may show as well.
    #[must_use]
    pub fn showing(
        fs: Weak<dyn FileSystem>,
        ops: Box<dyn InodeOps>,
        shared: Arc<SharedState>,
    ) -> Arc<Self> {
        Arc::new(Self {
            fs,
            ops,
            state: InodeState::default(),
            shared,
        })
    }
    /// Its file system, unless that is gone (anonymous inodes have none).
    #[must_use]
    pub fn file_system(&self) -> Option<Arc<dyn FileSystem>> {
        self.fs.upgrade()
    }
    /// Current attributes.
    pub fn attr(&self) -> Result<Attr> {
        self.ops.attr()
    }
    /// Current type, owner, group and mode; the rest may be outdated.
    pub fn access_attr(&self) -> Result<Attr> {
        self.ops.access_attr()
    }
    /// The file system's operations.
    #[must_use]
    pub fn ops(&self) -> &dyn InodeOps {
        &*self.ops
    }
    /// The file system's own type.
    #[must_use]
    pub fn downcast<T: 'static>(&self) -> Option<&T> {
        self.ops.as_any().downcast_ref()
    }
    /// As a directory, or `ENOTDIR`.
    pub fn dir(&self) -> Result<&dyn DirOps> {
        self.ops.as_dir().ok_or(Errno::ENOTDIR)
    }
    /// The `S_IF*` bits.
    pub fn file_type(&self) -> Result<u32> {
        Ok(self.attr()?.file_type())
    }
}
