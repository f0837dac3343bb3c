//! File attributes and changes to them.

use crate::task::user_ns::UserNamespace;
use abi::fs::{S_IFMT, Stat};
use abi::time::Timespec;

/// Attributes of an inode.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attr {
    /// Device number of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// File type and permission bits.
    pub mode: u32,
    /// Number of hard links.
    pub nlink: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Size in bytes.
    pub size: u64,
    /// Preferred I/O size in bytes.
    pub blksize: u32,
    /// Allocated 512-byte blocks.
    pub blocks: u64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of content.
    pub mtime: Timespec,
    /// Last change of the inode.
    pub ctime: Timespec,
    /// Birth, where known.
    pub btime: Option<Timespec>,
}

impl Attr {
    /// The `S_IF*` bits.
    #[must_use]
    pub const fn file_type(&self) -> u32 {
        self.mode & S_IFMT
    }

    /// As `struct stat` for a member of `users`.
    #[must_use]
    pub fn to_stat(&self, users: &UserNamespace) -> Stat {
        Stat {
            dev: self.dev,
            ino: self.ino,
            nlink: self.nlink,
            mode: self.mode,
            uid: users.shown_uid(self.uid),
            gid: users.shown_gid(self.gid),
            pad0: 0,
            rdev: self.rdev,
            size: self.size as i64,
            blksize: self.blksize as i64,
            blocks: self.blocks as i64,
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            unused: [0; 3],
        }
    }
}

/// A new time stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The present (UTIME_NOW).
    Now,
    /// A given time.
    At(Timespec),
}

/// What to change; `None` leaves a field alone. The VFS has checked permissions and resolved set-id side effects.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttrChange {
    /// Permission bits (07777), not the type.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes (truncate).
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<SetTime>,
    /// Modification time.
    pub mtime: Option<SetTime>,
}
