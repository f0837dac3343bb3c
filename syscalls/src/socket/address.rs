//! Socket addresses from and to the guest.

use abi::socket::SOCKADDR_MAX;
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, Result};
use sentry::socket::SockAddr;
use sentry::task::CurrentTask;

/// Reads an address of `len` bytes: `EINVAL` if it is too long or the length negative.
pub(super) fn read(cx: &CurrentTask, addr: UserAddr, len: i32) -> Result<SockAddr> {
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    if len > SOCKADDR_MAX {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; len];
    cx.memory().read(addr, &mut bytes)?;
    Ok(bytes)
}

/// Writes as much of `value` as the guest has room for, and its whole length to `len`. A null `addr` writes nothing.
pub(super) fn write(
    cx: &CurrentTask,
    addr: UserAddr,
    len: UserOut<i32>,
    value: &[u8],
) -> Result<()> {
    if addr.is_null() {
        return Ok(());
    }
    let room: i32 = cx.memory().get(UserIn::new(len.addr()))?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    cx.memory().write(addr, &value[..value.len().min(room)])?;
    cx.memory().put(len, &(value.len() as i32))
}
