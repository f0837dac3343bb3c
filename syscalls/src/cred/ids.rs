//! User and group ids.

use abi::{UserIn, UserOut};
use sentry::error::{Errno, Result, SysResult};
use sentry::task::CurrentTask;
use sentry::task::cred_change::UNCHANGED;
use sentry::task::creds::Cap;

use super::change;

/// NGROUPS_MAX.
const NGROUPS_MAX: usize = 65536;

/// `getuid(2)`.
pub async fn getuid(cx: &CurrentTask) -> SysResult<u32> {
    let creds = cx.creds();
    Ok(creds.user_ns.shown_uid(creds.uid))
}
/// `geteuid(2)`.
pub async fn geteuid(cx: &CurrentTask) -> SysResult<u32> {
    let creds = cx.creds();
    Ok(creds.user_ns.shown_uid(creds.euid))
}
/// `getgid(2)`.
pub async fn getgid(cx: &CurrentTask) -> SysResult<u32> {
    let creds = cx.creds();
    Ok(creds.user_ns.shown_gid(creds.gid))
}
/// `getegid(2)`.
pub async fn getegid(cx: &CurrentTask) -> SysResult<u32> {
    let creds = cx.creds();
    Ok(creds.user_ns.shown_gid(creds.egid))
}
/// `getresuid(2)`.
pub async fn getresuid(
    cx: &CurrentTask,
    real: UserOut<u32>,
    effective: UserOut<u32>,
    saved: UserOut<u32>,
) -> SysResult<()> {
    let (creds, memory) = (cx.creds(), cx.memory());
    memory.put(real, &creds.user_ns.shown_uid(creds.uid))?;
    memory.put(effective, &creds.user_ns.shown_uid(creds.euid))?;
    Ok(memory.put(saved, &creds.user_ns.shown_uid(creds.suid))?)
}
/// `getresgid(2)`.
pub async fn getresgid(
    cx: &CurrentTask,
    real: UserOut<u32>,
    effective: UserOut<u32>,
    saved: UserOut<u32>,
) -> SysResult<()> {
    let (creds, memory) = (cx.creds(), cx.memory());
    memory.put(real, &creds.user_ns.shown_gid(creds.gid))?;
    memory.put(effective, &creds.user_ns.shown_gid(creds.egid))?;
    Ok(memory.put(saved, &creds.user_ns.shown_gid(creds.sgid))?)
}
/// The sandbox's id for a user that the caller names: `EINVAL` if there is none. -1 stays what it is.
fn user(cx: &CurrentTask, uid: u32) -> Result<u32> {
    id(uid, |uid| cx.creds().user_ns.kuid(uid))
}
/// As [`user`] for groups.
fn group(cx: &CurrentTask, gid: u32) -> Result<u32> {
    id(gid, |gid| cx.creds().user_ns.kgid(gid))
}
fn id(number: u32, translate: impl FnOnce(u32) -> Option<u32>) -> Result<u32> {
    if number == UNCHANGED {
        return Ok(UNCHANGED);
    }
    translate(number).ok_or(Errno::EINVAL)
}

/// `setuid(2)`.
pub async fn setuid(cx: &CurrentTask, uid: u32) -> SysResult<()> {
    let uid = user(cx, uid)?;
    Ok(change(cx, |creds| creds.set_uid(uid))?)
}
/// `setgid(2)`.
pub async fn setgid(cx: &CurrentTask, gid: u32) -> SysResult<()> {
    let gid = group(cx, gid)?;
    Ok(change(cx, |creds| creds.set_gid(gid))?)
}
/// `setreuid(2)`.
pub async fn setreuid(cx: &CurrentTask, real: u32, effective: u32) -> SysResult<()> {
    let (real, effective) = (user(cx, real)?, user(cx, effective)?);
    Ok(change(cx, |creds| creds.set_reuid(real, effective))?)
}
/// `setregid(2)`.
pub async fn setregid(cx: &CurrentTask, real: u32, effective: u32) -> SysResult<()> {
    let (real, effective) = (group(cx, real)?, group(cx, effective)?);
    Ok(change(cx, |creds| creds.set_regid(real, effective))?)
}
/// `setresuid(2)`.
pub async fn setresuid(cx: &CurrentTask, real: u32, effective: u32, saved: u32) -> SysResult<()> {
    let (real, effective, saved) = (user(cx, real)?, user(cx, effective)?, user(cx, saved)?);
    Ok(change(cx, |creds| {
        creds.set_resuid(real, effective, saved)
    })?)
}
/// `setresgid(2)`.
pub async fn setresgid(cx: &CurrentTask, real: u32, effective: u32, saved: u32) -> SysResult<()> {
    let (real, effective, saved) = (group(cx, real)?, group(cx, effective)?, group(cx, saved)?);
    Ok(change(cx, |creds| {
        creds.set_resgid(real, effective, saved)
    })?)
}
/// `setfsuid(2)`: a number that names nobody changes nothing.
pub async fn setfsuid(cx: &CurrentTask, uid: u32) -> SysResult<u32> {
    let uid = user(cx, uid).unwrap_or(UNCHANGED);
    let old = change(cx, |creds| Ok(creds.set_fsuid(uid)))?;
    Ok(cx.creds().user_ns.shown_uid(old))
}
/// `setfsgid(2)`: a number that names nobody changes nothing.
pub async fn setfsgid(cx: &CurrentTask, gid: u32) -> SysResult<u32> {
    let gid = group(cx, gid).unwrap_or(UNCHANGED);
    let old = change(cx, |creds| Ok(creds.set_fsgid(gid)))?;
    Ok(cx.creds().user_ns.shown_gid(old))
}

/// `getgroups(2)`.
pub async fn getgroups(cx: &CurrentTask, size: i32, list: UserOut<u32>) -> SysResult<usize> {
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    let creds = cx.creds();
    let count = creds.groups.len();
    if size != 0 {
        if count > size {
            return Err(Errno::EINVAL.into());
        }
        let shown = creds.groups.iter().map(|g| creds.user_ns.shown_gid(*g));
        let bytes: Vec<u8> = shown.flat_map(u32::to_ne_bytes).collect();
        cx.memory().write(list.addr(), &bytes)?;
    }
    Ok(count)
}

/// `setgroups(2)`.
pub async fn setgroups(cx: &CurrentTask, size: i32, list: UserIn<u32>) -> SysResult<()> {
    let creds = cx.creds();
    if !creds.has_here(Cap::SETGID) || !creds.user_ns.may_set_groups() {
        return Err(Errno::EPERM.into());
    }
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    if size > NGROUPS_MAX {
        return Err(Errno::EINVAL.into());
    }
    let named = cx.memory().get_array(list, size)?.into_iter();
    let groups = named
        .map(|gid| creds.user_ns.kgid(gid).ok_or(Errno::EINVAL))
        .collect::<Result<_>>()?;
    Ok(change(cx, |creds| creds.set_groups(groups))?)
}
