//! Futexes: the old multiplexer, the new calls, robust lists.

use std::time::Instant;

use abi::time::Timespec;
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, Result, SysResult};
use sentry::futex::{self, MATCH_ANY, WaitRequest, key_of};
use sentry::task::CurrentTask;
use sentry::time;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const FUTEX_PRIVATE_FLAG: i32 = 128;
const FUTEX_CLOCK_REALTIME: i32 = 256;
const FUTEX_WAIT: i32 = 0;
const FUTEX_WAKE: i32 = 1;
const FUTEX_REQUEUE: i32 = 3;
const FUTEX_CMP_REQUEUE: i32 = 4;
const FUTEX_WAKE_OP: i32 = 5;
const FUTEX_LOCK_PI: i32 = 6;
const FUTEX_UNLOCK_PI: i32 = 7;
const FUTEX_TRYLOCK_PI: i32 = 8;
const FUTEX_WAIT_BITSET: i32 = 9;
const FUTEX_WAKE_BITSET: i32 = 10;
const FUTEX_WAIT_REQUEUE_PI: i32 = 11;
const FUTEX_CMP_REQUEUE_PI: i32 = 12;
const FUTEX_LOCK_PI2: i32 = 13;
/// FUTEX2_SIZE_U32, the only size that Linux implements.
const FUTEX2_SIZE_U32: u32 = 2;
const FUTEX2_PRIVATE: u32 = 128;
const FUTEX_WAITV_MAX: u32 = 128;

/// `struct futex_waitv`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FutexWaitv {
    pub(crate) value: u64,
    pub(crate) addr: u64,
    pub(crate) flags: u32,
    reserved: u32,
}

/// Wakes are counted in an int; nothing and negative numbers mean one (`futex_wake`), as the count is looked at after the first.
const fn wake_count(value: u32) -> usize {
    if (value as i32) < 1 {
        1
    } else {
        value as usize
    }
}

/// The instant at which an absolute time of CLOCK_REALTIME or CLOCK_MONOTONIC is reached; `None`: never.
fn absolute_deadline(at: Timespec, realtime: bool) -> Result<Option<Instant>> {
    let at = at.to_ns().ok_or(Errno::EINVAL)?;
    let now = if realtime {
        time::realtime_ns()
    } else {
        time::monotonic_ns()
    };
    Ok(time::after(at.saturating_sub(now)))
}

/// Whether `call`, of which only number and arguments are known, changes a guest's word atomically and so needs a full stop.
pub(crate) const fn needs_full_stop(call: &sentry::SyscallArgs) -> bool {
    const FUTEX: u64 = 202;
    let command = call.args[1] as i32 & !(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);
    call.nr == FUTEX
        && matches!(
            command,
            FUTEX_LOCK_PI | FUTEX_LOCK_PI2 | FUTEX_TRYLOCK_PI | FUTEX_CMP_REQUEUE_PI
        )
}

/// When the wait that `command` asks for ends.
fn wait_deadline(
    cx: &CurrentTask,
    command: i32,
    timeout: u64,
    realtime: bool,
) -> Result<Option<Instant>> {
    let limit: Option<Timespec> = cx.memory().get_opt(UserIn::new(UserAddr(timeout)))?;
    match limit {
        None => Ok(None),
        // FUTEX_WAIT is relative; with FUTEX_CLOCK_REALTIME Linux still takes it as relative.
        Some(limit) if command == FUTEX_WAIT => {
            Ok(time::after(limit.to_ns().ok_or(Errno::EINVAL)?))
        }
        // FUTEX_LOCK_PI has always been on CLOCK_REALTIME.
        Some(limit) => absolute_deadline(limit, realtime || command == FUTEX_LOCK_PI),
    }
}

/// `futex(2)`.
pub async fn futex(
    cx: &CurrentTask,
    addr: u64,
    op: i32,
    value: u32,
    timeout: u64,
    second: u64,
    value3: u32,
) -> SysResult<usize> {
    let shared = op & FUTEX_PRIVATE_FLAG == 0;
    let realtime = op & FUTEX_CLOCK_REALTIME != 0;
    let command = op & !(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);
    let takes_clock = matches!(
        command,
        FUTEX_WAIT | FUTEX_WAIT_BITSET | FUTEX_WAIT_REQUEUE_PI | FUTEX_LOCK_PI2
    );
    if realtime && !takes_clock {
        return Err(Errno::ENOSYS.into());
    }
    match command {
        FUTEX_WAIT | FUTEX_WAIT_BITSET => {
            let bitset = if command == FUTEX_WAIT {
                MATCH_ANY
            } else {
                value3
            };
            let deadline = wait_deadline(cx, command, timeout, realtime)?;
            if bitset == 0 {
                return Err(Errno::EINVAL.into());
            }
            let request = WaitRequest {
                addr,
                value,
                shared,
                bitset,
            };
            futex::wait_restartable(cx, request, deadline).await?;
            Ok(0)
        }
        FUTEX_LOCK_PI | FUTEX_LOCK_PI2 => {
            let deadline = wait_deadline(cx, command, timeout, realtime)?;
            futex::lock(cx, addr, shared, deadline, false).await?;
            Ok(0)
        }
        FUTEX_TRYLOCK_PI => {
            futex::lock(cx, addr, shared, None, true).await?;
            Ok(0)
        }
        FUTEX_UNLOCK_PI => {
            futex::unlock(cx, addr, shared)?;
            Ok(0)
        }
        FUTEX_WAIT_REQUEUE_PI => {
            let deadline = wait_deadline(cx, command, timeout, realtime)?;
            futex::wait_requeue_pi(cx, (addr, value), second, shared, deadline).await?;
            Ok(0)
        }
        FUTEX_CMP_REQUEUE_PI => {
            let moves = usize::try_from(timeout as i32).map_err(|_| Errno::EINVAL)?;
            // More than one could not own the lock.
            if value != 1 {
                return Err(Errno::EINVAL.into());
            }
            futex::cmp_requeue_pi(cx, (addr, value3), second, shared, moves).await
        }
        FUTEX_WAKE => {
            let key = key_of(&cx.memory_map(), addr, shared)?;
            Ok(futex::wake(key, wake_count(value), MATCH_ANY)?)
        }
        FUTEX_WAKE_BITSET => {
            if value3 == 0 {
                return Err(Errno::EINVAL.into());
            }
            let key = key_of(&cx.memory_map(), addr, shared)?;
            Ok(futex::wake(key, wake_count(value), value3)?)
        }
        FUTEX_REQUEUE | FUTEX_CMP_REQUEUE => {
            let expected = (command == FUTEX_CMP_REQUEUE).then_some(value3);
            let (woken, moved) = requeue(
                cx,
                (addr, shared),
                (second, shared),
                value as i32,
                timeout as i32,
                expected,
            )?;
            Ok(woken + moved)
        }
        FUTEX_WAKE_OP => Ok(futex::wake_op(
            &cx.memory_map(),
            shared,
            addr,
            second,
            wake_count(value),
            wake_count(timeout as u32),
            value3,
        )?),
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn requeue(
    cx: &CurrentTask,
    from: (u64, bool),
    to: (u64, bool),
    wake: i32,
    moves: i32,
    expected: Option<u32>,
) -> Result<(usize, usize)> {
    let wake = usize::try_from(wake).map_err(|_| Errno::EINVAL)?;
    let moves = usize::try_from(moves).map_err(|_| Errno::EINVAL)?;
    let map = cx.memory_map();
    let from_key = key_of(&map, from.0, from.1)?;
    let to_key = key_of(&map, to.0, to.1)?;
    let memory = map.memory();
    futex::requeue(from_key, to_key, wake, moves, || match expected {
        None => Ok(true),
        Some(value) => Ok(memory.get(UserIn::<u32>::new(UserAddr(from.0)))? == value),
    })
}

/// `EINVAL` for flags or sizes that Linux does not know either.
fn check_futex2_flags(flags: u32) -> Result<()> {
    if flags & !(FUTEX2_PRIVATE | 3) != 0 || flags & 3 != FUTEX2_SIZE_U32 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn futex2_deadline(cx: &CurrentTask, timeout: u64, clock: i32) -> Result<Option<Instant>> {
    if timeout == 0 {
        return Ok(None);
    }
    let realtime = match clock {
        0 => true,
        1 => false,
        _ => return Err(Errno::EINVAL),
    };
    absolute_deadline(cx.memory().get(UserIn::new(UserAddr(timeout)))?, realtime)
}

fn waitv_request(entry: &FutexWaitv) -> Result<WaitRequest> {
    check_futex2_flags(entry.flags)?;
    if entry.reserved != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(WaitRequest {
        addr: entry.addr,
        value: u32::try_from(entry.value).map_err(|_| Errno::EINVAL)?,
        shared: entry.flags & FUTEX2_PRIVATE == 0,
        bitset: MATCH_ANY,
    })
}

/// `futex_waitv(2)`.
pub async fn futex_waitv(
    cx: &CurrentTask,
    waiters: UserIn<FutexWaitv>,
    count: u32,
    flags: u32,
    timeout: u64,
    clock: i32,
) -> SysResult<usize> {
    if flags != 0 || count == 0 || count > FUTEX_WAITV_MAX || waiters.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let deadline = futex2_deadline(cx, timeout, clock)?;
    let requests = cx
        .memory()
        .get_array(waiters, count as usize)?
        .iter()
        .map(waitv_request)
        .collect::<Result<Vec<_>>>()?;
    futex::wait_vector(cx, &requests, deadline).await
}

/// `futex_wake(2)`.
pub async fn futex_wake(
    cx: &CurrentTask,
    addr: u64,
    mask: u64,
    count: i32,
    flags: u32,
) -> SysResult<usize> {
    check_futex2_flags(flags)?;
    let mask = u32::try_from(mask).map_err(|_| Errno::EINVAL)?;
    if mask == 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = key_of(&cx.memory_map(), addr, flags & FUTEX2_PRIVATE == 0)?;
    // Unlike FUTEX_WAKE the new call wakes nobody for a count of 0 (FLAGS_STRICT).
    let count = if count == 0 {
        0
    } else {
        wake_count(count as u32)
    };
    Ok(futex::wake(key, count, mask)?)
}

/// `futex_wait(2)`.
pub async fn futex_wait(
    cx: &CurrentTask,
    addr: u64,
    value: u64,
    mask: u64,
    flags: u32,
    timeout: u64,
    clock: i32,
) -> SysResult<()> {
    check_futex2_flags(flags)?;
    let request = WaitRequest {
        addr,
        value: u32::try_from(value).map_err(|_| Errno::EINVAL)?,
        shared: flags & FUTEX2_PRIVATE == 0,
        bitset: u32::try_from(mask).map_err(|_| Errno::EINVAL)?,
    };
    if request.bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let deadline = futex2_deadline(cx, timeout, clock)?;
    // The timeout is absolute, so a plain restart does not lengthen it.
    futex::wait(cx, request, deadline).await
}

/// `futex_requeue(2)`.
pub async fn futex_requeue(
    cx: &CurrentTask,
    waiters: UserIn<FutexWaitv>,
    flags: u32,
    wake: i32,
    moves: i32,
) -> SysResult<usize> {
    if flags != 0 || waiters.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let pair = cx.memory().get_array(waiters, 2)?;
    let (from, to) = (waitv_request(&pair[0])?, waitv_request(&pair[1])?);
    let (woken, moved) = requeue(
        cx,
        (from.addr, from.shared),
        (to.addr, to.shared),
        wake,
        moves,
        Some(from.value),
    )?;
    Ok(woken + moved)
}

/// `struct robust_list_head` in bytes.
const ROBUST_LIST_HEAD_SIZE: u64 = 24;

/// `set_robust_list(2)`.
pub async fn set_robust_list(cx: &CurrentTask, head: u64, len: u64) -> SysResult<()> {
    if len != ROBUST_LIST_HEAD_SIZE {
        return Err(Errno::EINVAL.into());
    }
    cx.misc.lock().robust_list = (head, len);
    Ok(())
}

/// `get_robust_list(2)`.
pub async fn get_robust_list(
    cx: &CurrentTask,
    tid: i32,
    head: UserOut<u64>,
    len: UserOut<u64>,
) -> SysResult<()> {
    let list = if tid == 0 {
        cx.misc.lock().robust_list
    } else {
        let task = cx.pid_namespace().task(tid).ok_or(Errno::ESRCH)?;
        crate::cred::may_inspect(cx, &task)?;
        task.misc.lock().robust_list
    };
    cx.memory().put(len, &ROBUST_LIST_HEAD_SIZE)?;
    cx.memory().put(head, &list.0)?;
    Ok(())
}

/// `restart_syscall(2)`.
pub async fn restart_syscall(cx: &CurrentTask) -> SysResult<i64> {
    cx.restart().await
}
