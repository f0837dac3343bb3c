//! `getsockopt(2)` and `setsockopt(2)`.

use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, SysResult};
use sentry::task::CurrentTask;
use sentry::vfs::Fd;

use super::{ops, socket_file};

/// Longest value that any option takes (IP option lists, group filters).
const VALUE_MAX: usize = 4096;

/// `getsockopt(2)`.
pub async fn getsockopt(
    cx: &CurrentTask,
    fd: Fd,
    level: i32,
    name: i32,
    value: UserAddr,
    len: UserOut<i32>,
) -> SysResult<()> {
    let file = socket_file(cx, fd)?;
    let room: i32 = cx.memory().get(UserIn::new(len.addr()))?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let bytes = ops(&file)?.get_option(cx, level, name, room)?;
    let n = bytes.len().min(room);
    cx.memory().write(value, &bytes[..n])?;
    Ok(cx.memory().put(len, &(n as i32))?)
}

/// `setsockopt(2)`.
pub async fn setsockopt(
    cx: &CurrentTask,
    fd: Fd,
    level: i32,
    name: i32,
    value: UserAddr,
    len: i32,
) -> SysResult<()> {
    let file = socket_file(cx, fd)?;
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    let mut bytes = vec![0; len.min(VALUE_MAX)];
    cx.memory().read(value, &mut bytes)?;
    Ok(ops(&file)?.set_option(cx, level, name, &bytes)?)
}
