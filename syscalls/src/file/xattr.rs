//! Extended attributes: set, get, list and remove, by path, link, descriptor, and the `*at` calls.

use abi::fs::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, XATTR_LIST_MAX, XATTR_NAME_MAX, XATTR_SIZE_MAX};
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, Result, SysResult};
use sentry::task::CurrentTask;
use sentry::vfs::lookup::{Found, LookupFlags};
use sentry::vfs::{Fd, xattr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::path::{CWD, Walker, at_flags, get_path};

/// `struct xattr_args`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

fn get_name(cx: &CurrentTask, name: UserIn<u8>) -> Result<Vec<u8>> {
    let name = cx
        .memory()
        .get_cstr(name.addr(), XATTR_NAME_MAX + 1, Errno::ERANGE)?;
    xattr::check_name(&name)?;
    Ok(name)
}

fn by_path(cx: &CurrentTask, path: UserIn<u8>, flags: LookupFlags) -> Result<Found> {
    let path = get_path(cx, path)?;
    Walker::new(cx).find(cx, CWD, &path, flags)
}

fn by_fd(cx: &CurrentTask, fd: Fd) -> Result<Found> {
    cx.file(fd).map(Found::File)
}

fn by_at(cx: &CurrentTask, dir: Fd, path: UserIn<u8>, flags: u32) -> Result<Found> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = if path.is_null() && flags & AT_EMPTY_PATH != 0 {
        Vec::new()
    } else {
        get_path(cx, path)?
    };
    Walker::new(cx).find(cx, dir, &path, at_flags(flags))
}

struct NewValue {
    name: Vec<u8>,
    value: Vec<u8>,
    flags: u32,
}

fn get_value(
    cx: &CurrentTask,
    name: UserIn<u8>,
    value: UserAddr,
    size: usize,
    flags: u32,
) -> Result<NewValue> {
    if flags & !(abi::fs::XATTR_CREATE | abi::fs::XATTR_REPLACE) != 0 {
        return Err(Errno::EINVAL);
    }
    let name = get_name(cx, name)?;
    if size > XATTR_SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    let mut bytes = vec![0; size];
    if size > 0 {
        cx.memory().read(value, &mut bytes)?;
    }
    Ok(NewValue {
        name,
        value: bytes,
        flags,
    })
}

fn set(cx: &CurrentTask, found: &Found, new: &NewValue) -> SysResult<()> {
    Ok(xattr::set(
        &cx.creds(),
        found,
        &new.name,
        &new.value,
        new.flags,
    )?)
}

/// Stores `bytes` if there is room: size 0 asks for the length only; `ERANGE`.
fn answer(cx: &CurrentTask, bytes: &[u8], out: UserAddr, size: usize) -> SysResult<usize> {
    if size > 0 {
        if bytes.len() > size {
            return Err(Errno::ERANGE.into());
        }
        cx.memory().write(out, bytes)?;
    }
    Ok(bytes.len())
}

fn get(
    cx: &CurrentTask,
    found: &Found,
    name: &[u8],
    value: UserAddr,
    size: usize,
) -> SysResult<usize> {
    let bytes = xattr::get(&cx.creds(), found, name)?;
    answer(cx, &bytes, value, size.min(XATTR_SIZE_MAX))
}

fn list(cx: &CurrentTask, found: &Found, out: UserAddr, size: usize) -> SysResult<usize> {
    let names = xattr::list(&cx.creds(), found)?;
    if names.len() > XATTR_LIST_MAX {
        return Err(Errno::E2BIG.into());
    }
    answer(cx, &names, out, size.min(XATTR_LIST_MAX))
}

/// `setxattr(2)`.
pub async fn setxattr(
    cx: &CurrentTask,
    path: UserIn<u8>,
    name: UserIn<u8>,
    value: UserAddr,
    size: usize,
    flags: u32,
) -> SysResult<()> {
    let new = get_value(cx, name, value, size, flags)?;
    set(cx, &by_path(cx, path, LookupFlags::FOLLOW)?, &new)
}

/// `lsetxattr(2)`.
pub async fn lsetxattr(
    cx: &CurrentTask,
    path: UserIn<u8>,
    name: UserIn<u8>,
    value: UserAddr,
    size: usize,
    flags: u32,
) -> SysResult<()> {
    let new = get_value(cx, name, value, size, flags)?;
    set(cx, &by_path(cx, path, LookupFlags::empty())?, &new)
}

/// `fsetxattr(2)`.
pub async fn fsetxattr(
    cx: &CurrentTask,
    fd: Fd,
    name: UserIn<u8>,
    value: UserAddr,
    size: usize,
    flags: u32,
) -> SysResult<()> {
    let found = by_fd(cx, fd)?;
    let new = get_value(cx, name, value, size, flags)?;
    set(cx, &found, &new)
}

/// `getxattr(2)`.
pub async fn getxattr(
    cx: &CurrentTask,
    path: UserIn<u8>,
    name: UserIn<u8>,
    value: UserOut<u8>,
    size: usize,
) -> SysResult<usize> {
    let name = get_name(cx, name)?;
    let found = by_path(cx, path, LookupFlags::FOLLOW)?;
    get(cx, &found, &name, value.addr(), size)
}

/// `lgetxattr(2)`.
pub async fn lgetxattr(
    cx: &CurrentTask,
    path: UserIn<u8>,
    name: UserIn<u8>,
    value: UserOut<u8>,
    size: usize,
) -> SysResult<usize> {
    let name = get_name(cx, name)?;
    let found = by_path(cx, path, LookupFlags::empty())?;
    get(cx, &found, &name, value.addr(), size)
}

/// `fgetxattr(2)`.
pub async fn fgetxattr(
    cx: &CurrentTask,
    fd: Fd,
    name: UserIn<u8>,
    value: UserOut<u8>,
    size: usize,
) -> SysResult<usize> {
    let found = by_fd(cx, fd)?;
    let name = get_name(cx, name)?;
    get(cx, &found, &name, value.addr(), size)
}

/// `listxattr(2)`.
pub async fn listxattr(
    cx: &CurrentTask,
    path: UserIn<u8>,
    out: UserOut<u8>,
    size: usize,
) -> SysResult<usize> {
    let found = by_path(cx, path, LookupFlags::FOLLOW)?;
    list(cx, &found, out.addr(), size)
}

/// `llistxattr(2)`.
pub async fn llistxattr(
    cx: &CurrentTask,
    path: UserIn<u8>,
    out: UserOut<u8>,
    size: usize,
) -> SysResult<usize> {
    let found = by_path(cx, path, LookupFlags::empty())?;
    list(cx, &found, out.addr(), size)
}

/// `flistxattr(2)`.
pub async fn flistxattr(
    cx: &CurrentTask,
    fd: Fd,
    out: UserOut<u8>,
    size: usize,
) -> SysResult<usize> {
    list(cx, &by_fd(cx, fd)?, out.addr(), size)
}

/// `removexattr(2)`.
pub async fn removexattr(cx: &CurrentTask, path: UserIn<u8>, name: UserIn<u8>) -> SysResult<()> {
    let name = get_name(cx, name)?;
    let found = by_path(cx, path, LookupFlags::FOLLOW)?;
    Ok(xattr::remove(&cx.creds(), &found, &name)?)
}

/// `lremovexattr(2)`.
pub async fn lremovexattr(cx: &CurrentTask, path: UserIn<u8>, name: UserIn<u8>) -> SysResult<()> {
    let name = get_name(cx, name)?;
    let found = by_path(cx, path, LookupFlags::empty())?;
    Ok(xattr::remove(&cx.creds(), &found, &name)?)
}

/// `fremovexattr(2)`.
pub async fn fremovexattr(cx: &CurrentTask, fd: Fd, name: UserIn<u8>) -> SysResult<()> {
    let found = by_fd(cx, fd)?;
    let name = get_name(cx, name)?;
    Ok(xattr::remove(&cx.creds(), &found, &name)?)
}

fn get_args(cx: &CurrentTask, at: UserAddr, size: usize) -> Result<XattrArgs> {
    if size < size_of::<XattrArgs>() {
        return Err(Errno::EINVAL);
    }
    if size > size_of::<XattrArgs>() {
        return Err(Errno::E2BIG);
    }
    cx.memory().get(UserIn::new(at))
}

/// `setxattrat(2)`.
pub async fn setxattrat(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    flags: u32,
    name: UserIn<u8>,
    args: UserAddr,
    size: usize,
) -> SysResult<()> {
    let args = get_args(cx, args, size)?;
    let new = get_value(
        cx,
        name,
        UserAddr(args.value),
        args.size as usize,
        args.flags,
    )?;
    set(cx, &by_at(cx, dir, path, flags)?, &new)
}

/// `getxattrat(2)`.
pub async fn getxattrat(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    flags: u32,
    name: UserIn<u8>,
    args: UserAddr,
    size: usize,
) -> SysResult<usize> {
    let args = get_args(cx, args, size)?;
    if args.flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let name = get_name(cx, name)?;
    let found = by_at(cx, dir, path, flags)?;
    get(cx, &found, &name, UserAddr(args.value), args.size as usize)
}

/// `listxattrat(2)`.
pub async fn listxattrat(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    flags: u32,
    out: UserOut<u8>,
    size: usize,
) -> SysResult<usize> {
    let found = by_at(cx, dir, path, flags)?;
    list(cx, &found, out.addr(), size)
}

/// `removexattrat(2)`.
pub async fn removexattrat(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    flags: u32,
    name: UserIn<u8>,
) -> SysResult<()> {
    let name = get_name(cx, name)?;
    let found = by_at(cx, dir, path, flags)?;
    Ok(xattr::remove(&cx.creds(), &found, &name)?)
}
