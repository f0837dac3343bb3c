//! What the protocol says about files: [`Attr`], [`SetAttr`], [`StatFs`], [`FileType`].

#![forbid(unsafe_code)]

use super::wire::{Decoder, Encoder, Malformed, Wire, wire_struct};

/// A point in time of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since the epoch, negative before it.
    pub sec: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nsec: u32,
}
wire_struct!(Timestamp { sec, nsec });

/// Attributes of a file as `statx(2)` gives them; user and group are those that the container sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    /// Type and permission bits (`S_IFMT | 07777`).
    pub mode: u32,
    /// Number of hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Preferred size of I/O in bytes.
    pub blksize: u32,
    /// Inode number, unique within [`Attr::dev`].
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the contents.
    pub mtime: Timestamp,
    /// Last change of the attributes.
    pub ctime: Timestamp,
    /// Creation, if the file system knows it.
    pub btime: Option<Timestamp>,
    /// Device of the file system, as `makedev(3)` encodes it.
    pub dev: u64,
    /// Device that a device node stands for, else 0.
    pub rdev: u64,
    /// The host's mount id: differs beyond a mount point inside a recursive bind mount.
    pub mount_id: u64,
}
wire_struct!(Attr {
    mode,
    nlink,
    uid,
    gid,
    blksize,
    ino,
    size,
    blocks,
    atime,
    mtime,
    ctime,
    btime,
    dev,
    rdev,
    mount_id,
});

impl Attr {
    /// The type of the file.
    #[must_use]
    pub const fn kind(&self) -> FileType {
        FileType::of_mode(self.mode)
    }
}

/// Type of a file. The discriminants are those of `d_type` in `readdir(3)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileType {
    /// The host did not say; look at the attributes.
    Unknown = 0,
    /// Named pipe.
    Fifo = 1,
    /// Character device.
    CharDevice = 2,
    /// Directory.
    Directory = 4,
    /// Block device.
    BlockDevice = 6,
    /// Regular file.
    Regular = 8,
    /// Symbolic link.
    Symlink = 10,
    /// Socket.
    Socket = 12,
}

impl FileType {
    /// The type in the upper bits of a mode.
    #[must_use]
    pub const fn of_mode(mode: u32) -> Self {
        Self::of_dtype(((mode & libc::S_IFMT) >> 12) as u8)
    }

    /// The type that a `d_type` stands for.
    #[must_use]
    pub const fn of_dtype(dtype: u8) -> Self {
        match dtype {
            1 => Self::Fifo,
            2 => Self::CharDevice,
            4 => Self::Directory,
            6 => Self::BlockDevice,
            8 => Self::Regular,
            10 => Self::Symlink,
            12 => Self::Socket,
            _ => Self::Unknown,
        }
    }
}

impl Wire<'_> for FileType {
    fn put(&self, out: &mut Encoder) {
        (*self as u8).put(out);
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self::of_dtype(u8::get(from)?))
    }
}

/// A new time for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The host's current time.
    Now,
    /// That time.
    At(Timestamp),
}

impl Wire<'_> for SetTime {
    fn put(&self, out: &mut Encoder) {
        match self {
            Self::Now => None,
            Self::At(time) => Some(*time),
        }
        .put(out);
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        match Option::<Timestamp>::get(from)? {
            None => Ok(Self::Now),
            Some(time) if time.nsec < 1_000_000_000 => Ok(Self::At(time)),
            Some(_) => Err(Malformed),
        }
    }
}

/// What to change of a file; `None` stays. Applied in the order size, owner, mode, times.
///
/// A change of owner lets the host clear set-user-ID and set-group-ID, so whoever wants them kept sets `mode` too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits (07777); not for symbolic links.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes; regular files only.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<SetTime>,
    /// Last change of the contents.
    pub mtime: Option<SetTime>,
}
wire_struct!(SetAttr {
    mode,
    uid,
    gid,
    size,
    atime,
    mtime
});

/// State of a file system, `statfs(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are statfs(2)'s own")]
pub struct StatFs {
    pub magic: u64,
    pub bsize: u64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub namelen: u64,
    pub frsize: u64,
    pub flags: u64,
}
wire_struct!(StatFs {
    magic,
    bsize,
    blocks,
    bfree,
    bavail,
    files,
    ffree,
    namelen,
    frsize,
    flags
});
