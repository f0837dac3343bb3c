//! `capget(2)` and `capset(2)`.

use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, Result, SysResult};
use sentry::task::CurrentTask;
use sentry::task::creds::CapSet;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::change;

/// `struct __user_cap_header_struct`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CapHeader {
    pub(crate) version: u32,
    pub(crate) pid: i32,
}

/// `struct __user_cap_data_struct`: 32 capabilities.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_1: u32 = 0x1998_0330;
const VERSION_2: u32 = 0x2007_1026;
const VERSION_3: u32 = 0x2008_0522;

/// The header and how many 32-bit words a set has. An unknown version is answered with the preferred one and `None`.
fn header(cx: &CurrentTask, at: UserIn<CapHeader>) -> Result<Option<(CapHeader, usize)>> {
    let header = cx.memory().get(at)?;
    match header.version {
        VERSION_1 => Ok(Some((header, 1))),
        VERSION_2 | VERSION_3 => Ok(Some((header, 2))),
        _ => {
            cx.memory().put(UserOut::new(at.addr()), &VERSION_3)?;
            Ok(None)
        }
    }
}

/// `capget(2)`.
pub async fn capget(cx: &CurrentTask, at: UserIn<CapHeader>, data: UserAddr) -> SysResult<()> {
    let Some((header, words)) = header(cx, at)? else {
        return if data.is_null() {
            Ok(())
        } else {
            Err(Errno::EINVAL.into())
        };
    };
    if header.pid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let creds = if header.pid == 0 {
        cx.creds()
    } else {
        cx.pid_namespace()
            .task(header.pid)
            .ok_or(Errno::ESRCH)?
            .creds()
    };
    if data.is_null() {
        return Ok(());
    }
    for word in 0..words {
        let part = |set: CapSet| (set.0 >> (32 * word)) as u32;
        let value = CapData {
            effective: part(creds.effective),
            permitted: part(creds.permitted),
            inheritable: part(creds.inheritable),
        };
        cx.memory()
            .put(UserOut::<CapData>::new(data).index(word as u64), &value)?;
    }
    Ok(())
}

/// `capset(2)`.
pub async fn capset(cx: &CurrentTask, at: UserIn<CapHeader>, data: UserAddr) -> SysResult<()> {
    let (header, words) = header(cx, at)?.ok_or(Errno::EINVAL)?;
    if header.pid != 0 && header.pid != cx.tid_number() {
        return Err(Errno::EPERM.into());
    }
    let parts: Vec<CapData> = cx.memory().get_array(UserIn::new(data), words)?;
    let join = |field: fn(&CapData) -> u32| {
        CapSet(
            parts
                .iter()
                .enumerate()
                .map(|(word, part)| u64::from(field(part)) << (32 * word))
                .sum(),
        )
    };
    let (effective, permitted, inheritable) = (
        join(|p| p.effective),
        join(|p| p.permitted),
        join(|p| p.inheritable),
    );
    Ok(change(cx, |creds| {
        creds.set_capabilities(effective, permitted, inheritable)
    })?)
}
