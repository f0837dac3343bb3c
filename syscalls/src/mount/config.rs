//! Configuring a file system before it is mounted: fsopen, fsconfig, fsmount, fspick.

use abi::fs::{AT_FDCWD, PATH_MAX};
use abi::{UserAddr, UserIn};
use sentry::error::{Errno, Result, SysResult};
use sentry::fs::config;
use sentry::task::CurrentTask;
use sentry::task::creds::Cap;
use sentry::vfs::fs_types::FileSystemTypes;
use sentry::vfs::lookup::LookupFlags;
use sentry::vfs::{Fd, MountNamespace, place_holder};

use super::attributes::initial_flags;
use crate::file::path::{Walker, get_path};

/// FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC, FSPICK_CLOEXEC.
const CLOEXEC: u32 = 1;
/// Keys and values with their NUL.
const STRING_MAX: usize = 256;

/// `fsopen(2)`.
pub async fn fsopen(cx: &CurrentTask, kind: UserIn<u8>, flags: u32) -> SysResult<Fd> {
    super::require_mounting(&Walker::new(cx))?;
    if flags & !CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    let kind = cx.memory().get_cstr(kind.addr(), PATH_MAX, Errno::EINVAL)?;
    let types = cx.kernel.extensions.get::<FileSystemTypes>();
    Ok(cx.install(config::open(&types, &kind)?, flags & CLOEXEC != 0)?)
}

/// `fspick(2)`.
pub async fn fspick(cx: &CurrentTask, dir: Fd, path: UserIn<u8>, flags: u32) -> SysResult<Fd> {
    const NO_FOLLOW: u32 = 2;
    const NO_AUTOMOUNT: u32 = 4;
    const EMPTY_PATH: u32 = 8;
    let walker = Walker::new(cx);
    super::require_mounting(&walker)?;
    if flags & !(CLOEXEC | NO_FOLLOW | NO_AUTOMOUNT | EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut lookup = LookupFlags::empty();
    lookup.set(LookupFlags::FOLLOW, flags & NO_FOLLOW == 0);
    lookup.set(LookupFlags::EMPTY, flags & EMPTY_PATH != 0);
    let path = get_path(cx, path)?;
    let place = walker.find(cx, dir, &path, lookup)?.into_path()?;
    Ok(cx.install(config::pick(&place)?, flags & CLOEXEC != 0)?)
}

fn get_text(cx: &CurrentTask, at: UserAddr) -> Result<Vec<u8>> {
    cx.memory().get_cstr(at, STRING_MAX, Errno::EINVAL)
}

/// `fsconfig(2)`. Values that are descriptors, paths or bytes are refused with `EINVAL`: no file system here takes them.
pub async fn fsconfig(
    cx: &CurrentTask,
    fd: Fd,
    command: u32,
    key: UserAddr,
    value: UserAddr,
    aux: i32,
) -> SysResult<()> {
    const SET_FLAG: u32 = 0;
    const SET_STRING: u32 = 1;
    const SET_BINARY: u32 = 2;
    const SET_PATH: u32 = 3;
    const SET_PATH_EMPTY: u32 = 4;
    const SET_FD: u32 = 5;
    const CREATE: u32 = 6;
    const RECONFIGURE: u32 = 7;
    const CREATE_EXCLUSIVE: u32 = 8;
    const BINARY_MAX: i32 = 1 << 20;
    if fd.0 < 0 {
        return Err(Errno::EINVAL.into());
    }
    let (no_key, no_value) = (key.is_null(), value.is_null());
    let malformed = match command {
        SET_FLAG => no_key || !no_value || aux != 0,
        SET_STRING => no_key || no_value || aux != 0,
        SET_BINARY => no_key || no_value || aux <= 0 || aux > BINARY_MAX,
        SET_PATH | SET_PATH_EMPTY => no_key || no_value || aux != AT_FDCWD && aux < 0,
        SET_FD => no_key || !no_value || aux < 0,
        CREATE | CREATE_EXCLUSIVE | RECONFIGURE => !no_key || !no_value || aux != 0,
        _ => return Err(Errno::EOPNOTSUPP.into()),
    };
    if malformed {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(fd)?;
    drop(config::of_file(&file)?);
    let key = match command {
        CREATE | CREATE_EXCLUSIVE | RECONFIGURE => Vec::new(),
        _ => get_text(cx, key)?,
    };
    let value = match command {
        SET_STRING => Some(get_text(cx, value)?),
        SET_FD => {
            cx.file(Fd(aux))?;
            None
        }
        _ => None,
    };
    let mut config = config::of_file(&file)?;
    match command {
        SET_FLAG | SET_STRING => config.set(&key, value.as_deref())?,
        CREATE | CREATE_EXCLUSIVE => {
            super::require_type(&Walker::new(cx), config.kind())?;
            config.create(cx.task())?;
        }
        RECONFIGURE => {
            cx.creds().require(Cap::SYS_ADMIN)?;
            config.reconfigure(cx.container.resources().memory)?;
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(())
}

/// `fsmount(2)`: a mount that is attached to nothing, as a descriptor.
pub async fn fsmount(cx: &CurrentTask, fd: Fd, flags: u32, attributes: u32) -> SysResult<Fd> {
    let walker = Walker::new(cx);
    super::require_mounting(&walker)?;
    if flags & !CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mount_flags = initial_flags(attributes)?;
    let file = cx.file(fd)?;
    let mount = config::of_file(&file)?.mount(mount_flags)?;
    let owner = walker.fs.namespace().owner.clone();
    let tree = MountNamespace::detached(mount.clone(), owner);
    Ok(cx.install(place_holder(mount.top(), Some(tree)), flags & CLOEXEC != 0)?)
}
