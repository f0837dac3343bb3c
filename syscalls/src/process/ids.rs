//! Ids of processes, groups and sessions; thread-local bases.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::{UserAddr, UserOut};
use parking_lot::Mutex;
use platform::HostCall;
use sentry::error::{Errno, SysResult};
use sentry::mm::GUEST_TOP;
use sentry::mm::ops::order;
use sentry::platform;
use sentry::task::{CurrentTask, ProcessGroup, Session, ThreadGroup, lifecycle};

/// `getpid(2)`.
pub async fn getpid(cx: &CurrentTask) -> SysResult<i32> {
    Ok(cx.group.pid.local())
}

/// `gettid(2)`.
pub async fn gettid(cx: &CurrentTask) -> SysResult<i32> {
    Ok(cx.tid_number())
}

/// `getppid(2)`: 0 if the parent is not visible.
pub async fn getppid(cx: &CurrentTask) -> SysResult<i32> {
    Ok(cx.group.parent().map_or(0, |parent| {
        parent.pid.in_namespace(cx.group.pid.namespace())
    }))
}

/// `set_tid_address(2)`.
pub async fn set_tid_address(cx: &CurrentTask, addr: u64) -> SysResult<i32> {
    cx.misc.lock().clear_child_tid = addr;
    Ok(cx.tid_number())
}

fn group_of(cx: &CurrentTask, pid: i32) -> SysResult<Arc<ThreadGroup>> {
    if pid == 0 {
        return Ok(cx.group.clone());
    }
    let namespace = cx.pid_namespace();
    let group = namespace
        .pid(pid)
        .and_then(|pid| pid.group())
        .or_else(|| namespace.task(pid).map(|task| task.group.clone()));
    Ok(group.ok_or(Errno::ESRCH)?)
}

/// `getpgid(2)`.
pub async fn getpgid(cx: &CurrentTask, pid: i32) -> SysResult<i32> {
    Ok(group_of(cx, pid)?
        .process_group()
        .id
        .in_namespace(&cx.pid_namespace()))
}

/// `getpgrp(2)`.
pub async fn getpgrp(cx: &CurrentTask) -> SysResult<i32> {
    getpgid(cx, 0).await
}

/// `getsid(2)`.
pub async fn getsid(cx: &CurrentTask, pid: i32) -> SysResult<i32> {
    Ok(group_of(cx, pid)?
        .session()
        .id
        .in_namespace(&cx.pid_namespace()))
}

/// `setsid(2)`.
pub async fn setsid(cx: &CurrentTask) -> SysResult<i32> {
    let _tree = cx.kernel.tree.lock();
    let pid = cx.group.pid.clone();
    let old = cx.group.process_group();
    let leads_a_group = Arc::ptr_eq(&old.id, &pid);
    // A group with this id may live on after its leader has left it.
    let group_exists = cx
        .pid_namespace()
        .groups()
        .iter()
        .any(|(_, group)| Arc::ptr_eq(&group.process_group().id, &pid));
    if leads_a_group || group_exists {
        return Err(Errno::EPERM.into());
    }
    let session = Arc::new(Session {
        id: pid.clone(),
        terminal: Mutex::new(None),
    });
    let pgrp = Arc::new(ProcessGroup {
        id: pid.clone(),
        session,
        members: Mutex::default(),
    });
    lifecycle::move_to_process_group(&cx.group, &pgrp);
    Ok(pid.local())
}

/// `setpgid(2)`.
pub async fn setpgid(cx: &CurrentTask, pid: i32, pgid: i32) -> SysResult<()> {
    if pgid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let namespace = cx.pid_namespace();
    let _tree = cx.kernel.tree.lock();
    let group = if pid == 0 || pid == cx.group.pid.local() {
        cx.group.clone()
    } else {
        let group = namespace
            .pid(pid)
            .and_then(|pid| pid.group())
            .ok_or(Errno::ESRCH)?;
        if !group
            .parent()
            .is_some_and(|parent| Arc::ptr_eq(&parent, &cx.group))
        {
            return Err(Errno::ESRCH.into());
        }
        if !Arc::ptr_eq(&group.session(), &cx.group.session()) {
            return Err(Errno::EPERM.into());
        }
        if group.did_exec.load(Ordering::Relaxed) {
            return Err(Errno::EACCES.into());
        }
        group
    };
    let session = group.session();
    if Arc::ptr_eq(&session.id, &group.pid) {
        return Err(Errno::EPERM.into());
    }
    let wanted = if pgid == 0 {
        group.pid.in_namespace(&namespace)
    } else {
        pgid
    };
    let pgrp = if wanted == group.pid.in_namespace(&namespace) {
        let old = group.process_group();
        if Arc::ptr_eq(&old.id, &group.pid) {
            return Ok(());
        }
        Arc::new(ProcessGroup {
            id: group.pid.clone(),
            session,
            members: Mutex::default(),
        })
    } else {
        let found = namespace
            .groups()
            .into_iter()
            .map(|(_, member)| member.process_group())
            .find(|pgrp| pgrp.id.in_namespace(&namespace) == wanted);
        let pgrp = found.ok_or(Errno::EPERM)?;
        if !Arc::ptr_eq(&pgrp.session, &session) {
            return Err(Errno::EPERM.into());
        }
        pgrp
    };
    lifecycle::move_to_process_group(&group, &pgrp);
    Ok(())
}

const ARCH_SET_GS: u32 = 0x1001;
const ARCH_SET_FS: u32 = 0x1002;
const ARCH_GET_FS: u32 = 0x1003;
const ARCH_GET_GS: u32 = 0x1004;
const ARCH_GET_CPUID: u32 = 0x1011;
const ARCH_SET_CPUID: u32 = 0x1012;

/// `arch_prctl(2)`.
pub async fn arch_prctl(cx: &CurrentTask, code: u32, addr: u64) -> SysResult<i64> {
    let thread = cx.thread();
    let out: UserOut<u64> = UserOut::new(UserAddr(addr));
    match code {
        ARCH_SET_FS | ARCH_SET_GS => {
            if addr >= GUEST_TOP {
                return Err(Errno::EPERM.into());
            }
            let call = if code == ARCH_SET_FS {
                HostCall::SetFsBase(addr)
            } else {
                HostCall::SetGsBase(addr)
            };
            order(&*thread, call).await?;
        }
        ARCH_GET_FS => cx.memory().put(out, &thread.fs_base())?,
        ARCH_GET_GS => cx.memory().put(out, &thread.gs_base())?,
        ARCH_GET_CPUID => return Ok(1),
        ARCH_SET_CPUID => return Err(Errno::ENODEV.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
