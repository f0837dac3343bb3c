//! User and group ids.

use abi::{UserIn, UserOut};
use sentry::error::{Errno, SysResult};
use sentry::task::CurrentTask;
use sentry::task::creds::Cap;

use super::change;

/// NGROUPS_MAX.
const NGROUPS_MAX: usize = 65536;

/// `getuid(2)`.
pub async fn getuid(cx: &CurrentTask) -> SysResult<u32> {
    Ok(cx.creds().uid)
}
/// `geteuid(2)`.
pub async fn geteuid(cx: &CurrentTask) -> SysResult<u32> {
    Ok(cx.creds().euid)
}
/// `getgid(2)`.
pub async fn getgid(cx: &CurrentTask) -> SysResult<u32> {
    Ok(cx.creds().gid)
}
/// `getegid(2)`.
pub async fn getegid(cx: &CurrentTask) -> SysResult<u32> {
    Ok(cx.creds().egid)
}
/// `getresuid(2)`.
pub async fn getresuid(
    cx: &CurrentTask,
    real: UserOut<u32>,
    effective: UserOut<u32>,
    saved: UserOut<u32>,
) -> SysResult<()> {
    let (creds, memory) = (cx.creds(), cx.memory());
    memory.put(real, &creds.uid)?;
    memory.put(effective, &creds.euid)?;
    Ok(memory.put(saved, &creds.suid)?)
}
/// `getresgid(2)`.
pub async fn getresgid(
    cx: &CurrentTask,
    real: UserOut<u32>,
    effective: UserOut<u32>,
    saved: UserOut<u32>,
) -> SysResult<()> {
    let (creds, memory) = (cx.creds(), cx.memory());
    memory.put(real, &creds.gid)?;
    memory.put(effective, &creds.egid)?;
    Ok(memory.put(saved, &creds.sgid)?)
}
/// `setuid(2)`.
pub async fn setuid(cx: &CurrentTask, uid: u32) -> SysResult<()> {
    Ok(change(cx, |creds| creds.set_uid(uid))?)
}
/// `setgid(2)`.
pub async fn setgid(cx: &CurrentTask, gid: u32) -> SysResult<()> {
    Ok(change(cx, |creds| creds.set_gid(gid))?)
}
/// `setreuid(2)`.
pub async fn setreuid(cx: &CurrentTask, real: u32, effective: u32) -> SysResult<()> {
    Ok(change(cx, |creds| creds.set_reuid(real, effective))?)
}
/// `setregid(2)`.
pub async fn setregid(cx: &CurrentTask, real: u32, effective: u32) -> SysResult<()> {
    Ok(change(cx, |creds| creds.set_regid(real, effective))?)
}
/// `setresuid(2)`.
pub async fn setresuid(cx: &CurrentTask, real: u32, effective: u32, saved: u32) -> SysResult<()> {
    Ok(change(cx, |creds| {
        creds.set_resuid(real, effective, saved)
    })?)
}
/// `setresgid(2)`.
pub async fn setresgid(cx: &CurrentTask, real: u32, effective: u32, saved: u32) -> SysResult<()> {
    Ok(change(cx, |creds| {
        creds.set_resgid(real, effective, saved)
    })?)
}
/// `setfsuid(2)`.
pub async fn setfsuid(cx: &CurrentTask, uid: u32) -> SysResult<u32> {
    Ok(change(cx, |creds| Ok(creds.set_fsuid(uid)))?)
}
/// `setfsgid(2)`.
pub async fn setfsgid(cx: &CurrentTask, gid: u32) -> SysResult<u32> {
    Ok(change(cx, |creds| Ok(creds.set_fsgid(gid)))?)
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
        let bytes: Vec<u8> = creds.groups.iter().flat_map(|g| g.to_ne_bytes()).collect();
        cx.memory().write(list.addr(), &bytes)?;
    }
    Ok(count)
}

/// `setgroups(2)`.
pub async fn setgroups(cx: &CurrentTask, size: i32, list: UserIn<u32>) -> SysResult<()> {
    cx.creds().require(Cap::SETGID)?;
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    if size > NGROUPS_MAX {
        return Err(Errno::EINVAL.into());
    }
    let groups = cx.memory().get_array(list, size)?;
    Ok(change(cx, |creds| creds.set_groups(groups))?)
}
