//! System V semaphores.

use std::sync::Arc;
use std::time::Instant;

use abi::ipc::{
    GETALL, GETNCNT, GETPID, GETVAL, GETZCNT, IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, SEM_INFO,
    SEM_STAT, SEM_STAT_ANY, SETALL, SETVAL, Sembuf, SemidDs, Seminfo,
};
use abi::time::Timespec;
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, SysError, SysResult};
use sentry::ipc::sem::{SEMMNI, SEMMNS, SEMMSL, SEMOPM, SEMVMX, SemaphoreSet, Sets};
use sentry::ipc::{Access, Permissions};
use sentry::task::CurrentTask;
use sentry::time;
use sentry::wait::Events;

fn sets(cx: &CurrentTask) -> Arc<Sets> {
    cx.namespaces().ipc.objects.get()
}

/// `semget(2)`.
pub async fn semget(cx: &CurrentTask, key: i32, count: i32, flags: i32) -> SysResult<i32> {
    if !(0..=SEMMSL).contains(&count) {
        return Err(Errno::EINVAL.into());
    }
    let registry = sets(cx);
    let in_use: usize = registry.all().iter().map(|(_, set)| set.count()).sum();
    let id = registry.get(
        cx,
        key,
        flags,
        SEMMNI,
        |set, creds| {
            if count as usize > set.count() {
                return Err(Errno::EINVAL);
            }
            set.permissions().check(
                creds,
                Access((flags as u32 >> 6 | flags as u32 >> 3 | flags as u32) & 7),
            )
        },
        |permissions: Permissions| {
            if count == 0 {
                return Err(Errno::EINVAL);
            }
            if in_use + count as usize > SEMMNS {
                return Err(Errno::ENOSPC);
            }
            Ok(SemaphoreSet::new(permissions, count as usize))
        },
    )?;
    Ok(id)
}

async fn operate(
    cx: &CurrentTask,
    id: i32,
    ops: UserIn<Sembuf>,
    count: u32,
    deadline: Option<Instant>,
) -> SysResult<()> {
    if count == 0 || id < 0 {
        return Err(Errno::EINVAL.into());
    }
    if count as usize > SEMOPM {
        return Err(Errno::E2BIG.into());
    }
    let ops = cx.memory().get_array(ops, count as usize)?;
    let set = sets(cx).find(id)?;
    let alters = ops.iter().any(|op| op.op != 0);
    let access = if alters { Access::WRITE } else { Access::READ };
    set.permissions().check(&cx.creds(), access)?;
    let mut waiting = None;
    let result = cx
        .block_until(&[(set.queue(), Events::IN)], deadline, || {
            match set.operate(cx, &ops) {
                Ok(Ok(())) => Ok(Ok(())),
                // IPC_NOWAIT's EAGAIN must not look like "try again".
                Err(errno) => Ok(Err(errno)),
                Ok(Err(blocked)) => {
                    waiting = Some(set.count_waiter(blocked));
                    Err(Errno::EAGAIN.into())
                }
            }
        })
        .await;
    drop(waiting);
    match result {
        Ok(done) => Ok(done?),
        Err(SysError::Errno(Errno::ETIMEDOUT)) => Err(Errno::EAGAIN.into()),
        // Never restarted (signal(7)).
        Err(SysError::Restart(_)) => Err(Errno::EINTR.into()),
        Err(error) => Err(error),
    }
}

/// `semop(2)`.
pub async fn semop(cx: &CurrentTask, id: i32, ops: UserIn<Sembuf>, count: u32) -> SysResult<()> {
    operate(cx, id, ops, count, None).await
}

/// `semtimedop(2)`.
pub async fn semtimedop(
    cx: &CurrentTask,
    id: i32,
    ops: UserIn<Sembuf>,
    count: u32,
    timeout: UserIn<Timespec>,
) -> SysResult<()> {
    let deadline = match cx.memory().get_opt(timeout)? {
        None => None,
        Some(timeout) => time::after(timeout.to_ns().ok_or(Errno::EINVAL)?),
    };
    operate(cx, id, ops, count, deadline).await
}

/// `semctl(2)`.
pub async fn semctl(
    cx: &CurrentTask,
    id: i32,
    number: i32,
    command: i32,
    arg: u64,
) -> SysResult<i32> {
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let registry = sets(cx);
    let creds = cx.creds();
    let at = UserAddr(arg);
    match command & !super::IPC_64 {
        IPC_INFO | SEM_INFO => {
            let all = registry.all();
            let mut info = Seminfo {
                semmap: SEMMNS as i32,
                semmni: SEMMNI as i32,
                semmns: SEMMNS as i32,
                semmnu: SEMMNS as i32,
                semmsl: SEMMSL,
                semopm: SEMOPM as i32,
                semume: SEMOPM as i32,
                semusz: 20,
                semvmx: SEMVMX,
                semaem: SEMVMX,
            };
            if command & !super::IPC_64 == SEM_INFO {
                info.semusz = all.len() as i32;
                info.semaem = all.iter().map(|(_, set)| set.count() as i32).sum();
            }
            cx.memory().put(UserOut::new(at), &info)?;
            Ok(registry.highest_slot())
        }
        command @ (IPC_STAT | SEM_STAT | SEM_STAT_ANY) => {
            let (full, set) = if command == IPC_STAT {
                (id, registry.find(id)?)
            } else {
                registry.at_slot(id)?
            };
            if command != SEM_STAT_ANY {
                set.permissions().check(&creds, Access::READ)?;
            }
            cx.memory().put(UserOut::new(at), &set.stat(full))?;
            Ok(if command == IPC_STAT { 0 } else { full })
        }
        IPC_SET => {
            let new: SemidDs = cx.memory().get(UserIn::new(at))?;
            registry.find(id)?.set_permissions(cx, &new.perm)?;
            Ok(0)
        }
        IPC_RMID => {
            let set = registry.find(id)?;
            set.permissions().check_owner(&creds)?;
            if registry.remove(id, set.permissions().key).is_some() {
                set.retire();
            }
            Ok(0)
        }
        GETALL => {
            let set = registry.find(id)?;
            set.permissions().check(&creds, Access::READ)?;
            let bytes: Vec<u8> = set.values().iter().flat_map(|v| v.to_ne_bytes()).collect();
            cx.memory().write(at, &bytes)?;
            Ok(0)
        }
        SETALL => {
            let set = registry.find(id)?;
            set.permissions().check(&creds, Access::WRITE)?;
            let values: Vec<u16> = cx.memory().get_array(UserIn::new(at), set.count())?;
            set.set(cx, 0, &values)?;
            Ok(0)
        }
        SETVAL => {
            let set = registry.find(id)?;
            set.look(number)?;
            set.permissions().check(&creds, Access::WRITE)?;
            let value = arg as i32;
            if !(0..=SEMVMX).contains(&value) {
                return Err(Errno::ERANGE.into());
            }
            set.set(cx, number as usize, &[value as u16])?;
            Ok(0)
        }
        command @ (GETVAL | GETPID | GETNCNT | GETZCNT) => {
            let set = registry.find(id)?;
            set.permissions().check(&creds, Access::READ)?;
            let (value, pid, growers, zeroers) = set.look(number)?;
            Ok(match command {
                GETVAL => i32::from(value),
                GETPID => pid,
                GETNCNT => growers as i32,
                _ => zeroers as i32,
            })
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
