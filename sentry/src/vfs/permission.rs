//! Permission checks on attributes (`fs/namei.c`: generic_permission, check_sticky).

use abi::fs::{S_IFDIR, S_ISVTX};

use super::{Attr, Inode};
use crate::error::{Errno, Result};
use crate::task::creds::{Cap, Creds};

/// What is asked for: the low three bits of a mode triple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(pub u32);

impl Access {
    /// Search a directory or execute a file.
    pub const EXEC: Self = Self(1);
    /// Write.
    pub const WRITE: Self = Self(2);
    /// Read.
    pub const READ: Self = Self(4);
    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// `EACCES` unless `creds` (by fsuid and fsgid) may do all of `access`.
pub fn check_access(attr: &Attr, creds: &Creds, access: Access) -> Result<()> {
    let wanted = access.0 & 7;
    let shift = if creds.fsuid == attr.uid {
        6
    } else if creds.in_group(attr.gid) {
        3
    } else {
        0
    };
    let granted = (attr.mode >> shift) & 7;
    if wanted & !granted == 0 {
        return Ok(());
    }
    check_capable(attr, creds, wanted)
}

/// As [`check_access`], with the inode's access control list if it has one: it decides about all but the owner.
pub fn check_inode(inode: &Inode, attr: &Attr, creds: &Creds, access: Access) -> Result<()> {
    let list = inode.ops().as_acl().and_then(super::acl::AclStore::access);
    match list {
        Some(list) if creds.fsuid != attr.uid && attr.mode & 0o070 != 0 => {
            if list.permits(attr, creds, access) {
                return Ok(());
            }
            check_capable(attr, creds, access.0 & 7)
        }
        _ => check_access(attr, creds, access),
    }
}

/// Whether capabilities grant what the mode does not.
fn check_capable(attr: &Attr, creds: &Creds, wanted: u32) -> Result<()> {
    let has = |cap| creds.has_over(attr.uid, attr.gid, cap);
    if attr.file_type() == S_IFDIR {
        if has(Cap::DAC_OVERRIDE) || (wanted & 2 == 0 && has(Cap::DAC_READ_SEARCH)) {
            return Ok(());
        }
        return Err(Errno::EACCES);
    }
    if wanted == 4 && has(Cap::DAC_READ_SEARCH) {
        return Ok(());
    }
    // Executing needs at least one x bit, even for root.
    if has(Cap::DAC_OVERRIDE) && (wanted & 1 == 0 || attr.mode & 0o111 != 0) {
        return Ok(());
    }
    Err(Errno::EACCES)
}

/// `EPERM` if the sticky bit of `dir` keeps `creds` from removing or renaming an entry with `attr`.
pub fn check_sticky(dir: &Attr, attr: &Attr, creds: &Creds) -> Result<()> {
    if dir.mode & S_ISVTX == 0
        || creds.fsuid == attr.uid
        || creds.fsuid == dir.uid
        || creds.has_over(attr.uid, attr.gid, Cap::FOWNER)
    {
        return Ok(());
    }
    Err(Errno::EPERM)
}
