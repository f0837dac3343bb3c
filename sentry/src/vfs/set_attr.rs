//! Changing attributes: who may, and what else changes with them (`fs/attr.c`, `fs/open.c`, `fs/utimes.c`).

use abi::fs::{S_IALLUGO, S_IFDIR, S_IFLNK, S_IFREG, S_ISGID, S_ISUID, S_IXGRP};

use super::acl::{ACCESS_NAME, Acl, DEFAULT_NAME};
use super::lookup::Found;
use super::{Access, Attr, AttrChange, Inode, SetTime, TextHold, check_inode, events};
use crate::error::{Errno, Result};
use crate::task::creds::{Cap, Creds};

fn owns(attr: &Attr, creds: &Creds) -> bool {
    creds.fsuid == attr.uid || creds.owns_over(attr.uid)
}

fn apply(found: &Found, change: &AttrChange) -> Result<()> {
    found.inode().ops().set_attr(change)?;
    if let Some(path) = found.path() {
        events::attributes_changed(&path.dentry);
    }
    Ok(())
}

/// `chmod(2)`. `EROFS`, `EOPNOTSUPP` for symbolic links, `EPERM`.
pub fn change_mode(creds: &Creds, found: &Found, mode: u32) -> Result<()> {
    found.check_writable()?;
    let attr = found.inode().attr()?;
    if attr.file_type() == S_IFLNK {
        return Err(Errno::EOPNOTSUPP);
    }
    if !owns(&attr, creds) {
        return Err(Errno::EPERM);
    }
    let mut mode = mode & S_IALLUGO;
    if !creds.in_group(attr.gid) && !creds.has_over(attr.uid, attr.gid, Cap::FSETID) {
        mode &= !S_ISGID;
    }
    apply(
        found,
        &AttrChange {
            mode: Some(mode),
            ..AttrChange::default()
        },
    )?;
    if let Some(lists) = found.inode().ops().as_acl() {
        lists.mode_changed(mode);
    }
    Ok(())
}

/// Sets or takes away an access control list (`set_posix_acl`): `EOPNOTSUPP`, `EACCES` for a default of what is no directory, `EPERM`.
pub(super) fn change_acl(
    creds: &Creds,
    found: &Found,
    name: &[u8],
    acl: Option<Acl>,
) -> Result<()> {
    let inode = found.inode();
    let lists = inode.ops().as_acl().ok_or(Errno::EOPNOTSUPP)?;
    let attr = inode.attr()?;
    if name == DEFAULT_NAME && attr.file_type() != S_IFDIR {
        return if acl.is_some() {
            Err(Errno::EACCES)
        } else {
            Ok(())
        };
    }
    if !owns(&attr, creds) {
        return Err(Errno::EPERM);
    }
    let mut kept = acl;
    let mut change = AttrChange::default();
    if name == ACCESS_NAME
        && let Some(acl) = &kept
    {
        let (bits, says_all) = acl.mode();
        let mut mode = attr.mode & S_IALLUGO & !0o777 | bits;
        if !creds.in_group(attr.gid) && !creds.has_over(attr.uid, attr.gid, Cap::FSETID) {
            mode &= !S_ISGID;
        }
        change.mode = Some(mode);
        if says_all {
            kept = None;
        }
    }
    apply(found, &change)?;
    lists.set(name, kept);
    Ok(())
}

/// The mode without what a change by somebody else takes away: set-user-id always, set-group-id of programs, or all if the changer is not in
/// the group (`setattr_should_drop_suidgid`). `None` if nothing changes.
fn without_set_id(attr: &Attr, creds: &Creds) -> Option<u32> {
    let mut mode = attr.mode & S_IALLUGO;
    mode &= !S_ISUID;
    if attr.mode & S_IXGRP != 0
        || !(creds.in_group(attr.gid) || creds.has_over(attr.uid, attr.gid, Cap::FSETID))
    {
        mode &= !S_ISGID;
    }
    (mode != attr.mode & S_IALLUGO).then_some(mode)
}

/// Takes file capabilities away, as any change of owner or content does.
fn drop_capabilities(inode: &Inode) {
    if let Some(xattr) = inode.ops().as_xattr() {
        // ENODATA is the usual answer, EOPNOTSUPP means that there are none.
        let _ = xattr.remove(b"security.capability");
    }
}

/// `chown(2)`; `None` leaves an id alone. `EROFS`, `EPERM`.
pub fn change_owner(
    creds: &Creds,
    found: &Found,
    uid: Option<u32>,
    gid: Option<u32>,
) -> Result<()> {
    found.check_writable()?;
    let attr = found.inode().attr()?;
    let privileged = creds.has_over(attr.uid, attr.gid, Cap::CHOWN);
    let owner = creds.fsuid == attr.uid;
    if uid.is_some_and(|uid| !(privileged || (owner && uid == attr.uid)))
        || gid
            .is_some_and(|gid| !(privileged || (owner && (gid == attr.gid || creds.in_group(gid)))))
    {
        return Err(Errno::EPERM);
    }
    let mut change = AttrChange {
        uid,
        gid,
        ..AttrChange::default()
    };
    if attr.file_type() != S_IFDIR {
        change.mode = without_set_id(&attr, creds);
        if attr.file_type() == S_IFREG {
            drop_capabilities(found.inode());
        }
    }
    apply(found, &change)
}

/// What writing to a file by someone without CAP_FSETID takes away (`file_remove_privs`). Call before a write.
pub fn strip_privileges(creds: &Creds, inode: &Inode) -> Result<()> {
    if creds.has(Cap::FSETID) {
        return Ok(());
    }
    let attr = inode.attr()?;
    if creds.has_over(attr.uid, attr.gid, Cap::FSETID) {
        return Ok(());
    }
    if attr.file_type() != S_IFREG || attr.mode & (S_ISUID | S_ISGID) == 0 {
        return Ok(());
    }
    if let Some(mode) = without_set_id(&attr, creds) {
        inode.ops().set_attr(&AttrChange {
            mode: Some(mode),
            ..AttrChange::default()
        })?;
    }
    Ok(())
}

/// `truncate(2)` (`opened`: `ftruncate(2)`, whose right to write was checked when the file was opened). `EISDIR`, `EINVAL` for what has no size,
/// `EACCES`, `EROFS`, `ETXTBSY`. The caller has checked RLIMIT_FSIZE.
pub fn truncate(creds: &Creds, found: &Found, size: u64, opened: bool) -> Result<()> {
    let attr = found.inode().attr()?;
    match attr.file_type() {
        S_IFREG => {}
        S_IFDIR if !opened => return Err(Errno::EISDIR),
        _ => return Err(Errno::EINVAL),
    }
    if !opened {
        found.check_writable()?;
        check_inode(found.inode(), &attr, creds, Access::WRITE)?;
    }
    let _hold = if opened {
        None
    } else {
        TextHold::write(found.inode())?
    };
    let mode = if creds.has(Cap::FSETID) {
        None
    } else {
        without_set_id(&attr, creds)
    };
    found.inode().ops().set_attr(&AttrChange {
        size: Some(size),
        mode,
        ..AttrChange::default()
    })?;
    if let Some(path) = found.path() {
        events::content_changed(&path.dentry);
    }
    Ok(())
}

/// `utimensat(2)`; `None` leaves a time alone. Setting both to the present needs write permission only (`EACCES`), anything else ownership
/// (`EPERM`).
pub fn set_times(
    creds: &Creds,
    found: &Found,
    atime: Option<SetTime>,
    mtime: Option<SetTime>,
) -> Result<()> {
    found.check_writable()?;
    let attr = found.inode().attr()?;
    let both_now = atime == Some(SetTime::Now) && mtime == Some(SetTime::Now);
    if !owns(&attr, creds) {
        if !both_now {
            return Err(Errno::EPERM);
        }
        check_inode(found.inode(), &attr, creds, Access::WRITE)?;
    }
    apply(
        found,
        &AttrChange {
            atime,
            mtime,
            ..AttrChange::default()
        },
    )
}
