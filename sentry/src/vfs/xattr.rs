//! Extended attributes: the namespaces and who may use them (`xattr(7)`, `fs/xattr.c`).

use abi::fs::{
    S_IFDIR, S_IFREG, S_ISVTX, XATTR_CREATE, XATTR_NAME_MAX, XATTR_REPLACE, XATTR_SIZE_MAX,
};

use super::acl::{ACCESS_NAME, Acl, AclStore, DEFAULT_NAME};
use super::lookup::Found;
use super::set_attr::change_acl;
use super::{Access, XattrOps, check_inode, events};
use crate::error::{Errno, Result};
use crate::task::creds::{Cap, Creds};

/// `xattr_permission`: the rules of the namespaces on top of ordinary permission.
fn check_namespace(found: &Found, creds: &Creds, name: &[u8], write: bool) -> Result<()> {
    let attr = &found.inode().attr()?;
    if name.starts_with(b"security.") || name.starts_with(b"system.") {
        return Ok(());
    }
    if name.starts_with(b"trusted.") {
        return if creds.has(Cap::SYS_ADMIN) {
            Ok(())
        } else {
            Err(if write { Errno::EPERM } else { Errno::ENODATA })
        };
    }
    if name.starts_with(b"user.") {
        if !matches!(attr.file_type(), S_IFREG | S_IFDIR) {
            return Err(if write { Errno::EPERM } else { Errno::ENODATA });
        }
        if attr.file_type() == S_IFDIR
            && attr.mode & S_ISVTX != 0
            && write
            && creds.fsuid != attr.uid
            && !creds.owns_over(attr.uid)
        {
            return Err(Errno::EPERM);
        }
    }
    let access = if write { Access::WRITE } else { Access::READ };
    check_inode(found.inode(), attr, creds, access)
}

/// Setting `security.*` needs CAP_SYS_ADMIN, file capabilities CAP_SETFCAP (`cap_inode_setxattr`).
fn check_security(creds: &Creds, name: &[u8]) -> Result<()> {
    if name == b"security.capability" {
        creds.require(Cap::SETFCAP)
    } else if name.starts_with(b"security.") {
        creds.require(Cap::SYS_ADMIN)
    } else {
        Ok(())
    }
}

/// Access control lists are not kept as plain attributes.
fn is_acl(name: &[u8]) -> bool {
    name == ACCESS_NAME || name == DEFAULT_NAME
}

fn known_namespace(name: &[u8]) -> bool {
    [&b"user."[..], b"trusted.", b"security."]
        .iter()
        .any(|prefix| name.starts_with(prefix) && name.len() > prefix.len())
}

fn powers<'a>(found: &'a Found, name: &[u8]) -> Result<&'a dyn XattrOps> {
    let ops = found.inode().ops().as_xattr().ok_or(Errno::EOPNOTSUPP)?;
    if known_namespace(name) {
        Ok(ops)
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}

/// `ERANGE` for an empty or overlong name.
pub fn check_name(name: &[u8]) -> Result<()> {
    if name.is_empty() || name.len() > XATTR_NAME_MAX {
        Err(Errno::ERANGE)
    } else {
        Ok(())
    }
}

/// `getxattr(2)`: the value.
pub fn get(creds: &Creds, found: &Found, name: &[u8]) -> Result<Vec<u8>> {
    check_name(name)?;
    if is_acl(name)
        && let Some(lists) = found.inode().ops().as_acl()
    {
        let acl = lists.get(name).ok_or(Errno::ENODATA)?;
        return Ok(acl.to_bytes(&creds.user_ns));
    }
    check_namespace(found, creds, name, false)?;
    powers(found, name)?.get(name)
}

/// `setxattr(2)`.
pub fn set(creds: &Creds, found: &Found, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
    if flags & !(XATTR_CREATE | XATTR_REPLACE) != 0 {
        return Err(Errno::EINVAL);
    }
    check_name(name)?;
    if value.len() > XATTR_SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    if is_acl(name) {
        let acl = Acl::parse(value, &creds.user_ns)?;
        found.check_writable()?;
        return change_acl(creds, found, name, acl);
    }
    found.check_writable()?;
    check_namespace(found, creds, name, true)?;
    check_security(creds, name)?;
    powers(found, name)?.set(name, value, flags)?;
    changed(found);
    Ok(())
}

/// `removexattr(2)`.
pub fn remove(creds: &Creds, found: &Found, name: &[u8]) -> Result<()> {
    check_name(name)?;
    found.check_writable()?;
    if is_acl(name) {
        return change_acl(creds, found, name, None);
    }
    check_namespace(found, creds, name, true)?;
    check_security(creds, name)?;
    powers(found, name)?.remove(name)?;
    changed(found);
    Ok(())
}

/// `listxattr(2)`: the names, each with its NUL. `trusted.*` is shown to CAP_SYS_ADMIN only.
pub fn list(creds: &Creds, found: &Found) -> Result<Vec<u8>> {
    let Some(ops) = found.inode().ops().as_xattr() else {
        return Ok(Vec::new());
    };
    let lists = found.inode().ops().as_acl();
    let mut names = lists.map(AclStore::names).unwrap_or_default();
    names.extend(ops.list()?);
    let mut text = Vec::new();
    for name in names {
        if name.starts_with(b"trusted.") && !creds.has(Cap::SYS_ADMIN) {
            continue;
        }
        text.extend_from_slice(&name);
        text.push(0);
    }
    Ok(text)
}

fn changed(found: &Found) {
    if let Some(path) = found.path() {
        events::attributes_changed(&path.dentry);
    }
}
