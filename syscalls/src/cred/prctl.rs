//! `prctl(2)` and `personality(2)`. What the sentry cannot do is answered as by a kernel that was built without it.

use abi::signal::Signal;
use abi::{UserAddr, UserOut};
use sentry::error::{Errno, SysResult};
use sentry::task::CurrentTask;
use sentry::task::cred_change::SECBIT_KEEP_CAPS;
use sentry::task::creds::{Cap, CapSet};

use super::change;

const PR_SET_PDEATHSIG: i32 = 1;
const PR_GET_PDEATHSIG: i32 = 2;
const PR_GET_DUMPABLE: i32 = 3;
const PR_SET_DUMPABLE: i32 = 4;
const PR_GET_KEEPCAPS: i32 = 7;
const PR_SET_KEEPCAPS: i32 = 8;
const PR_GET_TIMING: i32 = 13;
const PR_SET_TIMING: i32 = 14;
const PR_SET_NAME: i32 = 15;
const PR_GET_NAME: i32 = 16;
const PR_GET_SECCOMP: i32 = 21;
const PR_SET_SECCOMP: i32 = 22;
const PR_CAPBSET_READ: i32 = 23;
const PR_CAPBSET_DROP: i32 = 24;
const PR_GET_TSC: i32 = 25;
const PR_SET_TSC: i32 = 26;
const PR_GET_SECUREBITS: i32 = 27;
const PR_SET_SECUREBITS: i32 = 28;
const PR_SET_TIMERSLACK: i32 = 29;
const PR_GET_TIMERSLACK: i32 = 30;
const PR_MCE_KILL_GET: i32 = 34;
const PR_SET_MM: i32 = 35;
const PR_SET_CHILD_SUBREAPER: i32 = 36;
const PR_GET_CHILD_SUBREAPER: i32 = 37;
const PR_SET_NO_NEW_PRIVS: i32 = 38;
const PR_GET_NO_NEW_PRIVS: i32 = 39;
const PR_GET_TID_ADDRESS: i32 = 40;
const PR_GET_THP_DISABLE: i32 = 42;
const PR_CAP_AMBIENT: i32 = 47;
const PR_GET_SPECULATION_CTRL: i32 = 52;
const PR_SET_SPECULATION_CTRL: i32 = 53;

/// Nanoseconds by which Linux lets timers be late.
const DEFAULT_TIMER_SLACK_NS: u64 = 50_000;
const COMM_LEN: usize = 16;

fn capability(number: u64) -> Result<Cap, Errno> {
    u8::try_from(number)
        .ok()
        .filter(|n| *n <= Cap::LAST.0)
        .map(Cap)
        .ok_or(Errno::EINVAL)
}

fn must_be_zero(args: &[u64]) -> Result<(), Errno> {
    if args.iter().all(|arg| *arg == 0) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// `prctl(2)`.
pub async fn prctl(
    cx: &CurrentTask,
    option: i32,
    arg2: u64,
    arg3: u64,
    arg4: u64,
    arg5: u64,
) -> SysResult<i64> {
    let memory = cx.memory();
    match option {
        PR_SET_PDEATHSIG => {
            if arg2 != 0 && i64::try_from(arg2).ok().and_then(Signal::new).is_none() {
                return Err(Errno::EINVAL.into());
            }
            cx.misc.lock().parent_death_signal = arg2 as u8;
            Ok(0)
        }
        PR_GET_PDEATHSIG => {
            let signal = i32::from(cx.misc.lock().parent_death_signal);
            memory.put(UserOut::new(UserAddr(arg2)), &signal)?;
            Ok(0)
        }
        PR_GET_DUMPABLE => Ok(i64::from(cx.memory_map().state.read().dumpable)),
        PR_SET_DUMPABLE => {
            if arg2 > 1 {
                return Err(Errno::EINVAL.into());
            }
            cx.memory_map().state.write().dumpable = arg2 as u32;
            Ok(0)
        }
        PR_GET_KEEPCAPS => Ok(i64::from(cx.creds().securebits & SECBIT_KEEP_CAPS != 0)),
        PR_SET_KEEPCAPS => {
            if arg2 > 1 {
                return Err(Errno::EINVAL.into());
            }
            change(cx, |creds| creds.set_keep_caps(arg2 == 1))?;
            Ok(0)
        }
        // PR_TIMING_STATISTICAL is all there is.
        PR_GET_TIMING => Ok(0),
        PR_SET_TIMING => must_be_zero(&[arg2]).map(|()| 0).map_err(Into::into),
        PR_SET_NAME => {
            let mut name = [0_u8; COMM_LEN - 1];
            let n = memory.read_some(UserAddr(arg2), &mut name)?;
            let end = name[..n].iter().position(|b| *b == 0);
            let end = match end {
                Some(end) => end,
                None if n < name.len() => return Err(Errno::EFAULT.into()),
                None => n,
            };
            cx.misc.lock().comm = name[..end].to_vec();
            Ok(0)
        }
        PR_GET_NAME => {
            let mut name = [0_u8; COMM_LEN];
            let comm = cx.comm();
            let n = comm.len().min(COMM_LEN - 1);
            name[..n].copy_from_slice(&comm[..n]);
            memory.write(UserAddr(arg2), &name)?;
            Ok(0)
        }
        PR_GET_SECCOMP => Ok(i64::from(cx.seccomp.read().mode)),
        PR_SET_SECCOMP => crate::misc::set_seccomp_mode(cx, arg2, arg3),
        PR_CAPBSET_READ => Ok(i64::from(cx.creds().bounding.contains(capability(arg2)?))),
        PR_CAPBSET_DROP => {
            cx.creds().require_here(Cap::SETPCAP)?;
            let cap = capability(arg2)?;
            change(cx, |creds| creds.drop_bounding(cap))?;
            Ok(0)
        }
        PR_GET_TSC => {
            const PR_TSC_ENABLE: i32 = 1;
            memory.put(UserOut::new(UserAddr(arg2)), &PR_TSC_ENABLE)?;
            Ok(0)
        }
        // Only "enabled" can be had.
        PR_SET_TSC if arg2 == 1 => Ok(0),
        PR_GET_SECUREBITS => Ok(i64::from(cx.creds().securebits)),
        PR_SET_SECUREBITS => {
            let bits = u32::try_from(arg2).map_err(|_| Errno::EPERM)?;
            change(cx, |creds| creds.set_securebits(bits))?;
            Ok(0)
        }
        PR_SET_TIMERSLACK => {
            cx.misc.lock().timer_slack_ns = if (arg2 as i64) <= 0 {
                DEFAULT_TIMER_SLACK_NS
            } else {
                arg2
            };
            Ok(0)
        }
        PR_GET_TIMERSLACK => {
            let slack = cx.misc.lock().timer_slack_ns;
            Ok(if slack == 0 {
                DEFAULT_TIMER_SLACK_NS
            } else {
                slack
            } as i64)
        }
        PR_MCE_KILL_GET => {
            const PR_MCE_KILL_DEFAULT: i64 = 2;
            must_be_zero(&[arg2, arg3, arg4, arg5])?;
            Ok(PR_MCE_KILL_DEFAULT)
        }
        PR_SET_MM => {
            cx.creds().require(Cap::SYS_RESOURCE)?;
            Err(Errno::EINVAL.into())
        }
        PR_SET_CHILD_SUBREAPER => {
            let _tree = cx.kernel.tree.lock();
            cx.group.family.write().subreaper = arg2 != 0;
            Ok(0)
        }
        PR_GET_CHILD_SUBREAPER => {
            let subreaper = i32::from(cx.group.family.read().subreaper);
            memory.put(UserOut::new(UserAddr(arg2)), &subreaper)?;
            Ok(0)
        }
        PR_SET_NO_NEW_PRIVS => {
            if arg2 != 1 {
                return Err(Errno::EINVAL.into());
            }
            must_be_zero(&[arg3, arg4, arg5])?;
            change(cx, |creds| {
                creds.no_new_privs = true;
                Ok(())
            })?;
            Ok(0)
        }
        PR_GET_NO_NEW_PRIVS => {
            must_be_zero(&[arg2, arg3, arg4, arg5])?;
            Ok(i64::from(cx.creds().no_new_privs))
        }
        PR_GET_TID_ADDRESS => {
            let addr = cx.misc.lock().clear_child_tid;
            memory.put(UserOut::new(UserAddr(arg2)), &addr)?;
            Ok(0)
        }
        PR_GET_THP_DISABLE => {
            must_be_zero(&[arg2, arg3, arg4, arg5])?;
            Ok(0)
        }
        PR_CAP_AMBIENT => ambient(cx, arg2, [arg3, arg4, arg5]),
        PR_GET_SPECULATION_CTRL | PR_SET_SPECULATION_CTRL => Err(Errno::ENODEV.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn ambient(cx: &CurrentTask, command: u64, args: [u64; 3]) -> SysResult<i64> {
    const IS_SET: u64 = 1;
    const RAISE: u64 = 2;
    const LOWER: u64 = 3;
    const CLEAR_ALL: u64 = 4;
    if command == CLEAR_ALL {
        must_be_zero(&args)?;
        change(cx, |creds| {
            creds.ambient = CapSet::EMPTY;
            Ok(())
        })?;
        return Ok(0);
    }
    must_be_zero(&args[1..])?;
    let cap = capability(args[0])?;
    match command {
        IS_SET => Ok(i64::from(cx.creds().ambient.contains(cap))),
        RAISE => change(cx, |creds| creds.raise_ambient(cap))
            .map(|()| 0)
            .map_err(Into::into),
        LOWER => {
            change(cx, |creds| {
                creds.ambient.0 &= !(1 << cap.0);
                Ok(())
            })?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `personality(2)`: the value is kept and shown; `uname(2)` and the loader's randomisation heed it.
pub async fn personality(cx: &CurrentTask, value: u32) -> SysResult<u32> {
    let mut misc = cx.misc.lock();
    let old = misc.personality;
    if value != u32::MAX {
        misc.personality = value;
    }
    Ok(old)
}
