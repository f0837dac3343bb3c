//! Signal calls. Generation and delivery are the kernel's ([`sentry::signal`]); here are arguments, permissions and waits.

use std::collections::HashSet;
use std::sync::Arc;

use abi::signal::{SigSet, Signal, code};
use abi::time::Timespec;
use abi::{UserIn, UserOut};
use sentry::error::{Errno, Restart, SysError, SysResult};
use sentry::signal::frame::{self, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, alt_stack_flags};
use sentry::signal::{Action, Disposition, SaFlags, SigInfo, send};
use sentry::task::creds::Cap;
use sentry::task::{AltStack, CurrentTask, ProcessGroup, ThreadGroup};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::arg::Outcome;

/// `struct sigaction` as the kernel of x86-64 has it.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KernelSigaction {
    pub(crate) handler: u64,
    pub(crate) flags: u64,
    pub(crate) restorer: u64,
    pub(crate) mask: u64,
}

/// `stack_t`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KernelStack {
    pub(crate) sp: u64,
    pub(crate) flags: u32,
    pad: u32,
    pub(crate) size: u64,
}

const MINSIGSTKSZ: u64 = 2048;

fn check_size(size: usize) -> SysResult<()> {
    if size == 8 {
        Ok(())
    } else {
        Err(Errno::EINVAL.into())
    }
}

/// `rt_sigaction(2)`.
pub async fn rt_sigaction(
    cx: &CurrentTask,
    signal: i32,
    new: UserIn<KernelSigaction>,
    old: UserOut<KernelSigaction>,
    size: usize,
) -> SysResult<()> {
    check_size(size)?;
    let new = cx.memory().get_opt(new)?;
    let signal = Signal::new(i64::from(signal)).ok_or(Errno::EINVAL)?;
    if new.is_some() && SigSet::UNBLOCKABLE.contains(signal) {
        return Err(Errno::EINVAL.into());
    }
    let actions = cx.group.actions();
    let previous = match new {
        None => actions.get(signal),
        Some(new) => {
            let action = Action {
                disposition: match new.handler {
                    0 => Disposition::Default,
                    1 => Disposition::Ignore,
                    handler => Disposition::Handler(handler),
                },
                flags: SaFlags::from_bits_truncate(new.flags),
                restorer: new.restorer,
                mask: SigSet(new.mask).minus(SigSet::UNBLOCKABLE),
            };
            let previous = actions.set(signal, action);
            if actions.ignores(signal) {
                // POSIX: setting to ignore discards what is pending.
                send::discard(&cx.group, SigSet::of(signal));
            }
            previous
        }
    };
    let shown = KernelSigaction {
        handler: match previous.disposition {
            Disposition::Default => 0,
            Disposition::Ignore => 1,
            Disposition::Handler(handler) => handler,
        },
        flags: previous.flags.bits(),
        restorer: previous.restorer,
        mask: previous.mask.0,
    };
    Ok(cx.memory().put_opt(old, &shown)?)
}

/// `rt_sigprocmask(2)`.
pub async fn rt_sigprocmask(
    cx: &CurrentTask,
    how: i32,
    new: UserIn<u64>,
    old: UserOut<u64>,
    size: usize,
) -> SysResult<()> {
    check_size(size)?;
    let new = cx.memory().get_opt(new)?;
    let previous = cx.signals.lock().blocked;
    if let Some(new) = new {
        let new = SigSet(new).minus(SigSet::UNBLOCKABLE);
        let mask = match how {
            0 => previous.union(new),
            1 => previous.minus(new),
            2 => new,
            _ => return Err(Errno::EINVAL.into()),
        };
        set_mask(cx, mask);
    }
    Ok(cx.memory().put_opt(old, &previous.0)?)
}

/// Replaces the mask; signals that it lets through are looked at before the guest goes on, those it hides may go to another thread.
fn set_mask(cx: &CurrentTask, mask: SigSet) {
    let newly_blocked = {
        let mut signals = cx.signals.lock();
        let newly = mask.minus(signals.blocked);
        signals.blocked = mask;
        newly
    };
    let waiting = cx.group.pending.lock().set().intersect(newly_blocked);
    if !waiting.is_empty() {
        for task in cx.group.threads() {
            if !Arc::ptr_eq(&task, cx.task())
                && !waiting.minus(task.signals.lock().blocked).is_empty()
            {
                task.interrupt();
                break;
            }
        }
    }
    if cx.has_work() {
        cx.interrupt();
    }
}

/// `rt_sigpending(2)`.
pub async fn rt_sigpending(cx: &CurrentTask, set: UserOut<u64>, size: usize) -> SysResult<()> {
    if size > 8 {
        return Err(Errno::EINVAL.into());
    }
    let pending = {
        let signals = cx.signals.lock();
        let own = signals.pending.set();
        let blocked = signals.blocked;
        drop(signals);
        own.union(cx.group.pending.lock().set()).intersect(blocked)
    };
    Ok(cx
        .memory()
        .write(set.addr(), &pending.0.to_ne_bytes()[..size])?)
}

/// `rt_sigsuspend(2)`.
pub async fn rt_sigsuspend(cx: &CurrentTask, set: UserIn<u64>, size: usize) -> SysResult<()> {
    check_size(size)?;
    let mask = SigSet(cx.memory().get(set)?).minus(SigSet::UNBLOCKABLE);
    {
        let mut signals = cx.signals.lock();
        signals.saved_mask = Some(signals.blocked);
        signals.blocked = mask;
    }
    wait_for_signal(cx).await
}

/// `pause(2)`.
pub async fn pause(cx: &CurrentTask) -> SysResult<()> {
    wait_for_signal(cx).await
}

async fn wait_for_signal(cx: &CurrentTask) -> SysResult<()> {
    match cx
        .block_until(&[], None, || Err::<(), _>(Errno::EAGAIN.into()))
        .await
    {
        Err(SysError::Restart(_)) => Err(SysError::Restart(Restart::NoHand)),
        other => other,
    }
}

/// `rt_sigtimedwait(2)`.
pub async fn rt_sigtimedwait(
    cx: &CurrentTask,
    set: UserIn<u64>,
    info: UserOut<u8>,
    timeout: UserIn<Timespec>,
    size: usize,
) -> SysResult<i32> {
    check_size(size)?;
    let wanted = SigSet(cx.memory().get(set)?).minus(SigSet::UNBLOCKABLE);
    let timeout = match cx.memory().get_opt(timeout)? {
        None => None,
        Some(timeout) => Some(timeout.to_ns().ok_or(Errno::EINVAL)?),
    };
    let take = || -> SysResult<SigInfo> {
        let own = cx.signals.lock().pending.take(wanted);
        let mut info = own
            .or_else(|| cx.group.pending.lock().take(wanted))
            .ok_or(Errno::EAGAIN)?;
        cx.group.timers.taken(&mut info);
        Ok(info)
    };
    cx.signals.lock().waited_for = wanted;
    let got = match timeout {
        Some(0) => take(),
        timeout => {
            let deadline = timeout.and_then(sentry::time::after);
            cx.block_until(&[], deadline, take).await
        }
    };
    cx.signals.lock().waited_for = SigSet::EMPTY;
    match got {
        Ok(got) => {
            frame::put_info(&cx.memory(), info, &got)?;
            Ok(i32::from(got.signal().number()))
        }
        Err(SysError::Errno(Errno::ETIMEDOUT)) => Err(Errno::EAGAIN.into()),
        // A handler for another signal interrupts; this call is never restarted (signal(7)).
        Err(SysError::Restart(_)) => Err(Errno::EINTR.into()),
        Err(error) => Err(error),
    }
}

/// `rt_sigreturn(2)`.
pub async fn rt_sigreturn(cx: &CurrentTask) -> SysResult<Outcome> {
    let thread = cx.thread();
    let Ok(registers) = thread.registers() else {
        return Err(Errno::EINTR.into());
    };
    match frame::pop(cx.task(), &cx.memory(), &*thread, &registers) {
        Ok(restored) => {
            let _ = thread.set_registers(&restored);
            if cx.has_work() {
                cx.interrupt();
            }
        }
        Err(_) => send::force_thread_signal(cx.task(), frame::broken_stack()),
    }
    Ok(Outcome::RegistersSet)
}

/// `sigaltstack(2)`.
pub async fn sigaltstack(
    cx: &CurrentTask,
    new: UserIn<KernelStack>,
    old: UserOut<KernelStack>,
) -> SysResult<()> {
    let new = cx.memory().get_opt(new)?;
    let sp = cx.thread().registers().map_or(0, |r| r.rsp);
    let previous = cx.signals.lock().alt_stack;
    let flags = alt_stack_flags(&previous, sp);
    if let Some(new) = new {
        if flags & SS_ONSTACK != 0 {
            return Err(Errno::EPERM.into());
        }
        let mode = new.flags & !SS_AUTODISARM;
        if mode != 0 && mode != SS_DISABLE && mode != SS_ONSTACK {
            return Err(Errno::EINVAL.into());
        }
        let stack = if mode == SS_DISABLE {
            AltStack::default()
        } else {
            if new.size < MINSIGSTKSZ {
                return Err(Errno::ENOMEM.into());
            }
            AltStack {
                base: new.sp,
                size: new.size,
                flags: new.flags & SS_AUTODISARM,
            }
        };
        cx.signals.lock().alt_stack = stack;
    }
    let shown = KernelStack {
        sp: previous.base,
        flags,
        pad: 0,
        size: previous.size,
    };
    Ok(cx.memory().put_opt(old, &shown)?)
}

/// `EPERM` unless the caller may signal `target` (`kill(2)`).
pub(crate) fn check_kill(
    cx: &CurrentTask,
    target: &Arc<ThreadGroup>,
    signal: Option<Signal>,
) -> SysResult<()> {
    if Arc::ptr_eq(target, &cx.group) {
        return Ok(());
    }
    let creds = cx.creds();
    if signal == Some(Signal::CONT) && Arc::ptr_eq(&target.session(), &cx.group.session()) {
        return Ok(());
    }
    // A zombie without threads: its credentials are gone; nothing can be done to it anyway.
    let Some(task) = target.any_task() else {
        return Ok(());
    };
    let theirs = task.creds();
    let mine = [creds.uid, creds.euid];
    let may = creds.has_in(&theirs.user_ns, Cap::KILL);
    if may || mine.contains(&theirs.uid) || mine.contains(&theirs.suid) {
        Ok(())
    } else {
        Err(Errno::EPERM.into())
    }
}

fn parse(signal: i32) -> SysResult<Option<Signal>> {
    if signal == 0 {
        return Ok(None);
    }
    Ok(Some(Signal::new(i64::from(signal)).ok_or(Errno::EINVAL)?))
}

fn user_info(cx: &CurrentTask, signal: Signal, kind: i32, target: &ThreadGroup) -> SigInfo {
    SigInfo::user(
        signal,
        kind,
        cx.group.pid.in_namespace(target.pid.namespace()),
        uid_for(cx, target),
    )
}

/// The caller's user as `target` calls it.
fn uid_for(cx: &CurrentTask, target: &ThreadGroup) -> u32 {
    let uid = cx.creds().uid;
    target
        .any_task()
        .map_or(uid, |task| task.creds().user_ns.shown_uid(uid))
}

fn kill_one(cx: &CurrentTask, target: &Arc<ThreadGroup>, signal: Option<Signal>) -> SysResult<()> {
    check_kill(cx, target, signal)?;
    match signal {
        None => Ok(()),
        Some(signal) => {
            let info = user_info(cx, signal, code::SI_USER, target);
            let inside = target.pid.namespace().level <= cx.group.pid.namespace().level;
            Ok(if inside {
                send::process_signal(target, info)
            } else {
                send::process_signal_from_outside(target, info)
            }?)
        }
    }
}

/// `Ok` if one was reached, else the last error, `ESRCH` if there was nobody.
struct Tally(SysResult<()>, bool);

impl Tally {
    const fn new() -> Self {
        Self(Err(sentry::error::SysError::Errno(Errno::ESRCH)), false)
    }
    fn add(&mut self, result: SysResult<()>) {
        match result {
            Ok(()) => self.1 = true,
            error => self.0 = error,
        }
    }
    fn result(self) -> SysResult<()> {
        if self.1 { Ok(()) } else { self.0 }
    }
}

fn kill_members(cx: &CurrentTask, pgrp: &ProcessGroup, signal: Option<Signal>) -> SysResult<()> {
    let mut tally = Tally::new();
    pgrp.for_each_member(|member| tally.add(kill_one(cx, member, signal)));
    tally.result()
}

/// `kill(-1)`: everyone but the caller and its namespace's init. Rounds go on while somebody new is found, so that a process forked meanwhile by one
/// that had not been reached yet is reached too.
fn kill_everyone(cx: &CurrentTask, signal: Option<Signal>) -> SysResult<()> {
    const ROUNDS: usize = 16;
    let mut tally = Tally::new();
    let init = cx.pid_namespace().init.lock().upgrade();
    let mut reached: HashSet<*const ThreadGroup> = HashSet::from([Arc::as_ptr(&cx.group)]);
    reached.extend(init.iter().map(Arc::as_ptr));
    for _ in 0..ROUNDS {
        let groups = cx.pid_namespace().groups();
        let new: Vec<_> = groups
            .into_iter()
            .map(|(_, g)| g)
            .filter(|g| !reached.contains(&Arc::as_ptr(g)))
            .collect();
        if new.is_empty() {
            break;
        }
        for group in new {
            reached.insert(Arc::as_ptr(&group));
            if group.family.read().zombie.is_none() {
                tally.add(kill_one(cx, &group, signal));
            }
        }
    }
    tally.result()
}

fn find_group(cx: &CurrentTask, pid: i32) -> SysResult<Arc<ThreadGroup>> {
    let namespace = cx.pid_namespace();
    let by_id = namespace.pid(pid).and_then(|pid| pid.group());
    // kill(2) takes thread ids too.
    let group = by_id.or_else(|| namespace.task(pid).map(|task| task.group.clone()));
    Ok(group
        .filter(|group| !group.family.read().reaped)
        .ok_or(Errno::ESRCH)?)
}

pub(crate) fn find_process_group(cx: &CurrentTask, pgid: i32) -> Option<Arc<ProcessGroup>> {
    let namespace = cx.pid_namespace();
    namespace
        .groups()
        .into_iter()
        .map(|(_, g)| g.process_group())
        .find(|pgrp| pgrp.id.in_namespace(&namespace) == pgid)
}

/// `kill(2)`.
pub async fn kill(cx: &CurrentTask, pid: i32, signal: i32) -> SysResult<()> {
    let signal = parse(signal)?;
    match pid {
        i32::MIN => Err(Errno::ESRCH.into()),
        -1 => kill_everyone(cx, signal),
        0 => kill_members(cx, &cx.group.process_group(), signal),
        pid if pid < 0 => {
            let pgrp = find_process_group(cx, -pid).ok_or(Errno::ESRCH)?;
            kill_members(cx, &pgrp, signal)
        }
        pid => kill_one(cx, &find_group(cx, pid)?, signal),
    }
}

async fn kill_thread(
    cx: &CurrentTask,
    tgid: Option<i32>,
    tid: i32,
    signal: i32,
    info: Option<[u8; 128]>,
) -> SysResult<()> {
    if tid <= 0 || tgid.is_some_and(|tgid| tgid <= 0) {
        return Err(Errno::EINVAL.into());
    }
    let signal = parse(signal)?;
    let task = cx.pid_namespace().task(tid).ok_or(Errno::ESRCH)?;
    if tgid.is_some_and(|tgid| task.group.pid.in_namespace(&cx.pid_namespace()) != tgid) {
        return Err(Errno::ESRCH.into());
    }
    check_kill(cx, &task.group, signal)?;
    let Some(signal) = signal else { return Ok(()) };
    let info = match info {
        Some(raw) => SigInfo::from_guest(raw, signal),
        None => user_info(cx, signal, code::SI_TKILL, &task.group),
    };
    Ok(send::thread_signal(&task, info)?)
}

/// `tkill(2)`.
pub async fn tkill(cx: &CurrentTask, tid: i32, signal: i32) -> SysResult<()> {
    kill_thread(cx, None, tid, signal, None).await
}

/// `tgkill(2)`.
pub async fn tgkill(cx: &CurrentTask, tgid: i32, tid: i32, signal: i32) -> SysResult<()> {
    kill_thread(cx, Some(tgid), tid, signal, None).await
}

fn read_info(cx: &CurrentTask, info: UserIn<u8>) -> SysResult<[u8; 128]> {
    let mut raw = [0; 128];
    cx.memory().read(info.addr(), &mut raw)?;
    Ok(raw)
}

/// A sender may not pretend to be the kernel or `kill` towards others.
fn check_forged(raw: &[u8; 128], to_self: bool) -> SysResult<()> {
    let code = i32::from_ne_bytes([raw[8], raw[9], raw[10], raw[11]]);
    if (code >= 0 || code == code::SI_TKILL) && !to_self {
        Err(Errno::EPERM.into())
    } else {
        Ok(())
    }
}

/// `pidfd_send_signal(2)` behind the descriptor: `target` is looked up once the arguments are known to be good.
pub(crate) fn send_to_process(
    cx: &CurrentTask,
    target: impl Fn() -> sentry::error::Result<Arc<ThreadGroup>>,
    signal: i32,
    info: UserIn<u8>,
) -> SysResult<()> {
    if info.is_null() {
        let signal = parse(signal)?;
        return kill_one(cx, &target()?, signal);
    }
    let raw = read_info(cx, info)?;
    if i32::from_ne_bytes([raw[0], raw[1], raw[2], raw[3]]) != signal {
        return Err(Errno::EINVAL.into());
    }
    let signal = parse(signal)?;
    let target = target()?;
    check_forged(&raw, Arc::ptr_eq(&target, &cx.group))?;
    check_kill(cx, &target, signal)?;
    match signal {
        None => Ok(()),
        Some(signal) => Ok(send::process_signal(
            &target,
            SigInfo::from_guest(raw, signal),
        )?),
    }
}

/// `rt_sigqueueinfo(2)`.
pub async fn rt_sigqueueinfo(
    cx: &CurrentTask,
    pid: i32,
    signal: i32,
    info: UserIn<u8>,
) -> SysResult<()> {
    let raw = read_info(cx, info)?;
    check_forged(&raw, pid == cx.group.pid.local())?;
    let signal = parse(signal)?;
    let target = find_group(cx, pid)?;
    check_kill(cx, &target, signal)?;
    match signal {
        None => Ok(()),
        Some(signal) => Ok(send::process_signal(
            &target,
            SigInfo::from_guest(raw, signal),
        )?),
    }
}

/// `rt_tgsigqueueinfo(2)`.
pub async fn rt_tgsigqueueinfo(
    cx: &CurrentTask,
    tgid: i32,
    tid: i32,
    signal: i32,
    info: UserIn<u8>,
) -> SysResult<()> {
    let raw = read_info(cx, info)?;
    check_forged(&raw, tid == cx.tid_number())?;
    kill_thread(cx, Some(tgid), tid, signal, Some(raw)).await
}
