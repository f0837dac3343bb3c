//! System V message queues.

use std::sync::Arc;

use abi::ipc::{
    IPC_INFO, IPC_NOWAIT, IPC_RMID, IPC_SET, IPC_STAT, MSG_COPY, MSG_EXCEPT, MSG_INFO, MSG_STAT,
    MSG_STAT_ANY, Msginfo, MsqidDs,
};
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, Restart, SysError, SysResult};
use sentry::ipc::Access;
use sentry::ipc::msg::{MSGMAX, MSGMNB, MSGMNI, MessageQueue, Queues};
use sentry::task::CurrentTask;
use sentry::wait::Events;

fn queues(cx: &CurrentTask) -> Arc<Queues> {
    cx.namespaces().ipc.objects.get()
}

/// `msgget(2)`.
pub async fn msgget(cx: &CurrentTask, key: i32, flags: i32) -> SysResult<i32> {
    let wanted = Access((flags as u32 >> 6 | flags as u32 >> 3 | flags as u32) & 7);
    Ok(queues(cx).get(
        cx,
        key,
        flags,
        MSGMNI,
        |queue, creds| queue.permissions().check(creds, wanted),
        |permissions| Ok(MessageQueue::new(permissions)),
    )?)
}

/// A signal ends the wait; the call is restarted only if no handler runs.
fn interrupted<T>(result: SysResult<T>) -> SysResult<T> {
    result.map_err(|error| match error {
        SysError::Restart(_) => SysError::Restart(Restart::NoHand),
        other => other,
    })
}

/// `msgsnd(2)`.
pub async fn msgsnd(
    cx: &CurrentTask,
    id: i32,
    message: UserAddr,
    size: usize,
    flags: i32,
) -> SysResult<()> {
    let kind: i64 = cx.memory().get(UserIn::new(message))?;
    if size > MSGMAX || id < 0 || kind < 1 {
        return Err(Errno::EINVAL.into());
    }
    let mut text = vec![0; size];
    cx.memory().read(message.offset(8), &mut text)?;
    let queue = queues(cx).find(id)?;
    queue.permissions().check(&cx.creds(), Access::WRITE)?;
    let pid = cx.group.pid.local();
    let attempt = || Ok(queue.send(pid, kind, &text)?);
    if flags & IPC_NOWAIT != 0 {
        return attempt();
    }
    interrupted(
        cx.block_until(&[(queue.queue(), Events::OUT)], None, attempt)
            .await,
    )
}

/// `msgrcv(2)`.
pub async fn msgrcv(
    cx: &CurrentTask,
    id: i32,
    message: UserAddr,
    size: usize,
    wanted: i64,
    flags: i32,
) -> SysResult<usize> {
    if id < 0 || i64::try_from(size).is_err() {
        return Err(Errno::EINVAL.into());
    }
    if flags & MSG_COPY != 0 && (flags & MSG_EXCEPT != 0 || flags & IPC_NOWAIT == 0) {
        return Err(Errno::EINVAL.into());
    }
    let queue = queues(cx).find(id)?;
    queue.permissions().check(&cx.creds(), Access::READ)?;
    let pid = cx.group.pid.local();
    let attempt = || Ok(queue.receive(pid, size, wanted, flags)?);
    let (kind, text) = if flags & IPC_NOWAIT != 0 {
        attempt().map_err(|error| match error {
            SysError::Errno(Errno::EAGAIN) => Errno::ENOMSG.into(),
            other => other,
        })?
    } else {
        interrupted(
            cx.block_until(&[(queue.queue(), Events::IN)], None, attempt)
                .await,
        )?
    };
    cx.memory().put(UserOut::new(message), &kind)?;
    cx.memory().write(message.offset(8), &text)?;
    Ok(text.len())
}

/// `msgctl(2)`.
pub async fn msgctl(cx: &CurrentTask, id: i32, command: i32, at: UserAddr) -> SysResult<i32> {
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let registry = queues(cx);
    let creds = cx.creds();
    match command & !super::IPC_64 {
        command @ (IPC_INFO | MSG_INFO) => {
            let mut info = Msginfo {
                msgpool: (MSGMNI as u64 * MSGMNB / 1024) as i32,
                msgmap: MSGMNB as i32,
                msgmax: MSGMAX as i32,
                msgmnb: MSGMNB as i32,
                msgmni: MSGMNI as i32,
                msgssz: 16,
                msgtql: MSGMNB as i32,
                msgseg: u16::MAX,
                pad: 0,
            };
            if command == MSG_INFO {
                let all: Vec<MsqidDs> = registry.all().iter().map(|(id, q)| q.stat(*id)).collect();
                info.msgpool = all.len() as i32;
                info.msgmap = all.iter().map(|q| q.qnum as i32).sum();
                info.msgtql = all.iter().map(|q| q.cbytes as i32).sum();
            }
            cx.memory().put(UserOut::new(at), &info)?;
            Ok(registry.highest_slot())
        }
        command @ (IPC_STAT | MSG_STAT | MSG_STAT_ANY) => {
            let (full, queue) = if command == IPC_STAT {
                (id, registry.find(id)?)
            } else {
                registry.at_slot(id)?
            };
            if command != MSG_STAT_ANY {
                queue.permissions().check(&creds, Access::READ)?;
            }
            cx.memory().put(UserOut::new(at), &queue.stat(full))?;
            Ok(if command == IPC_STAT { 0 } else { full })
        }
        IPC_SET => {
            let new: MsqidDs = cx.memory().get(UserIn::new(at))?;
            registry.find(id)?.set(cx, &new)?;
            Ok(0)
        }
        IPC_RMID => {
            let queue = registry.find(id)?;
            queue.permissions().check_owner(&creds)?;
            if registry.remove(id, queue.permissions().key).is_some() {
                queue.retire();
            }
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
