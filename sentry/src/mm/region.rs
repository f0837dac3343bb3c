//! Regions: what is mapped where, with which rights and backing.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bitflags::bitflags;
use platform::MapSource;

use crate::error::{Errno, Result};
use crate::vfs::File;

bitflags! {
    /// Properties of a region besides its rights.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct RegionFlags: u32 {
        /// MAP_SHARED.
        const SHARED = 1;
        /// MAP_NORESERVE.
        const NORESERVE = 2;
        /// MADV_DONTFORK.
        const DONTFORK = 4;
        /// Locked in memory (mlock).
        const LOCKED = 8;
        /// MAP_GROWSDOWN.
        const GROWSDOWN = 16;
        /// A shared file mapping whose file was not opened for writing: PROT_WRITE is refused.
        const NEVER_WRITE = 32;
        /// MADV_WIPEONFORK.
        const WIPEONFORK = 64;
        /// MADV_DONTDUMP.
        const DONTDUMP = 128;
        /// mseal: neither rights nor place change any more.
        const SEALED = 256;
    }
}

/// What backs a region.
#[derive(Clone)]
pub enum Backing {
    /// Private zero pages.
    Anonymous,
    /// A memory file of the sentry's: shared anonymous memory, System V segments.
    Memory {
        /// The memory file.
        file: Arc<OwnedFd>,
        /// Shown in maps (`/dev/zero (deleted)`, `/SYSV…`).
        name: Arc<[u8]>,
        /// Byte offset of the region's start.
        offset: u64,
    },
    /// A guest's file.
    File {
        /// The description that was mapped.
        file: Arc<File>,
        /// Byte offset of the region's start.
        offset: u64,
    },
    /// The host's vDSO and its data: not to be changed or moved by us.
    Vdso,
}

impl Backing {
    /// The backing of the part that starts `bytes` further on.
    #[must_use]
    pub fn advanced(&self, bytes: u64) -> Self {
        match self {
            Self::Anonymous => Self::Anonymous,
            Self::Vdso => Self::Vdso,
            Self::Memory { file, name, offset } => Self::Memory {
                file: file.clone(),
                name: name.clone(),
                offset: offset.wrapping_add(bytes),
            },
            Self::File { file, offset } => Self::File {
                file: file.clone(),
                offset: offset.wrapping_add(bytes),
            },
        }
    }

    /// What the platform is to map for `len` bytes.
    pub fn source(&self, len: u64, write_shared: bool) -> Result<MapSource> {
        match self {
            Self::Anonymous => Ok(MapSource::Anonymous),
            Self::Vdso => Err(Errno::EINVAL),
            Self::Memory { file, offset, .. } => Ok(MapSource::File {
                file: file.clone(),
                offset: *offset,
            }),
            Self::File { file, offset } => {
                file.ops()
                    .as_mappable()
                    .ok_or(Errno::ENODEV)?
                    .map(*offset, len, write_shared)
            }
        }
    }

    fn continues(&self, len: u64, next: &Self) -> bool {
        match (self, next) {
            (Self::Anonymous, Self::Anonymous) => true,
            (
                Self::Memory {
                    file: a,
                    offset: at,
                    ..
                },
                Self::Memory {
                    file: b,
                    offset: bt,
                    ..
                },
            ) => Arc::ptr_eq(a, b) && at.wrapping_add(len) == *bt,
            (
                Self::File {
                    file: a,
                    offset: at,
                },
                Self::File {
                    file: b,
                    offset: bt,
                },
            ) => Arc::ptr_eq(a, b) && at.wrapping_add(len) == *bt,
            _ => false,
        }
    }
}

/// A mapped range.
#[derive(Clone)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// `PROT_*` bits as the guest asked.
    pub prot: u32,
    /// Properties.
    pub flags: RegionFlags,
    /// Backing at `start`.
    pub backing: Backing,
    /// A name for maps (`[stack]`, `[heap]`, `[vdso]`, PR_SET_VMA).
    pub label: Option<Arc<[u8]>>,
}

impl Region {
    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end - self.start
    }
    /// Never: regions have pages.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }
    /// Whether it is MAP_SHARED.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.flags.contains(RegionFlags::SHARED)
    }
    /// The part within `start..end`, which must overlap it.
    #[must_use]
    pub fn part(&self, start: u64, end: u64) -> Self {
        let start = start.max(self.start);
        Self {
            start,
            end: end.min(self.end),
            backing: self.backing.advanced(start - self.start),
            ..self.clone()
        }
    }
    /// Whether `next` could be one region with this.
    #[must_use]
    pub fn merges_with(&self, next: &Self) -> bool {
        self.end == next.start
            && self.prot == next.prot
            && self.flags == next.flags
            && self.label == next.label
            && self.backing.continues(self.len(), &next.backing)
    }
}
