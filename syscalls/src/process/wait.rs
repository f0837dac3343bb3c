//! `wait4(2)` and `waitid(2)`.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use abi::UserOut;
use abi::signal::{Signal, code};
use sentry::error::{Errno, SysResult};
use sentry::platform::{Remains, Usage};
use sentry::signal::SigInfo;
use sentry::task::trace;
use sentry::task::{CurrentTask, ExitStatus, Pid, RunState, ThreadGroup, Times, lifecycle};
use sentry::vfs::Fd;
use sentry::wait::Events;

const WNOHANG: u32 = 1;
const WUNTRACED: u32 = 2;
const WEXITED: u32 = 4;
const WCONTINUED: u32 = 8;
const WNOWAIT: u32 = 0x0100_0000;
const WNOTHREAD: u32 = 0x2000_0000;
const WALL: u32 = 0x4000_0000;
const WCLONE: u32 = 0x8000_0000;

#[derive(Clone)]
enum Which {
    Any,
    Pid(i32),
    Group(i32),
    Exactly(Arc<Pid>),
}

struct Found {
    pid: i32,
    uid: u32,
    /// `wait(2)`'s status word.
    status: i32,
    /// `si_code` and `si_status`.
    code: (i32, i32),
    times: Times,
    /// What the host has still to say.
    remains: Vec<Arc<Remains>>,
}

/// What the host says of a dead process, which it does when it has freed its memory: within a second, or not at all.
async fn settled(cx: &CurrentTask, remains: &Remains) -> Times {
    const PATIENCE: Duration = Duration::from_secs(1);
    let deadline = Instant::now() + PATIENCE;
    let mut timer = None;
    let usage = poll_fn(|context| {
        if let Poll::Ready(usage) = remains.poll(context) {
            return Poll::Ready(usage);
        }
        if Instant::now() >= deadline || cx.signals.lock().killed {
            return Poll::Ready(Usage::default());
        }
        if timer.is_none() {
            timer = Some(cx.kernel.reactor.wake_at(deadline, context.waker().clone()));
        }
        Poll::Pending
    })
    .await;
    Times::of_remains(&usage)
}

/// Waits until what is known of waited-for children is all in their times.
pub(crate) async fn settle_children(cx: &CurrentTask) {
    for remains in cx.group.settle_children() {
        settled(cx, &remains).await;
    }
    cx.group.settle_children();
}

impl Found {
    /// What the process used, all of it.
    async fn all_times(&self, cx: &CurrentTask) -> Times {
        let mut times = self.times;
        for remains in &self.remains {
            times = times.plus(settled(cx, remains).await);
        }
        times
    }
}

/// `struct rusage` of these times, 144 bytes.
#[must_use]
pub(super) fn rusage(times: &Times) -> [u8; 144] {
    let mut bytes = [0; 144];
    let mut put = |index: usize, value: u64| {
        bytes[index * 8..index * 8 + 8].copy_from_slice(&value.to_ne_bytes())
    };
    put(0, times.user_ns / 1_000_000_000);
    put(1, times.user_ns % 1_000_000_000 / 1000);
    put(2, times.system_ns / 1_000_000_000);
    put(3, times.system_ns % 1_000_000_000 / 1000);
    put(4, times.peak_resident / 1024);
    put(8, times.minor_faults);
    put(9, times.major_faults);
    put(11, times.blocks[0]);
    put(12, times.blocks[1]);
    put(16, times.switches[0]);
    put(17, times.switches[1]);
    bytes
}

fn matches(cx: &CurrentTask, child: &Arc<ThreadGroup>, which: &Which, options: u32) -> bool {
    let namespace = cx.pid_namespace();
    let selected = match which {
        Which::Any => true,
        Which::Pid(pid) => child.pid.in_namespace(&namespace) == *pid,
        Which::Group(pgid) => child.process_group().id.in_namespace(&namespace) == *pgid,
        Which::Exactly(pid) => Arc::ptr_eq(pid, &child.pid),
    };
    let by_this_thread = options & WNOTHREAD == 0 || made_by(cx, child);
    let is_clone = child.exit_signal.load(Ordering::Relaxed) != i32::from(Signal::CHLD.number());
    selected && by_this_thread && (options & WALL != 0 || is_clone == (options & WCLONE != 0))
}

/// Whether this thread is the child's parent; the first thread stands in for those that are gone.
fn made_by(cx: &CurrentTask, child: &ThreadGroup) -> bool {
    match child
        .parent_thread
        .lock()
        .upgrade()
        .filter(|t| t.state() != RunState::Zombie)
    {
        Some(maker) => Arc::ptr_eq(&maker, cx.task()),
        None => cx
            .group
            .any_task()
            .is_some_and(|first| Arc::ptr_eq(&first, cx.task())),
    }
}

fn exited(cx: &CurrentTask, child: &Arc<ThreadGroup>, status: ExitStatus, options: u32) -> Found {
    let mut remains = child.settle_children();
    let times = child.own_times.lock().plus(*child.child_times.lock());
    remains.extend(child.remains.lock().clone());
    let found = Found {
        pid: child.pid.in_namespace(&cx.pid_namespace()),
        uid: child.final_uid.load(Ordering::Relaxed),
        status: status.wait_status(),
        code: code_of(status),
        times,
        remains,
    };
    if options & WNOWAIT == 0 {
        cx.group
            .child_remains
            .lock()
            .extend(found.remains.iter().cloned());
        cx.group.settle_children();
        let mut sum = cx.group.child_times.lock();
        *sum = sum.plus(times);
        drop(sum);
        lifecycle::forget(child);
    }
    found
}

fn look(cx: &CurrentTask, which: &Which, options: u32) -> SysResult<Found> {
    let _tree = cx.kernel.tree.lock();
    let children = cx.group.family.read().children.clone();
    let mut any = false;
    if let Some(found) = look_at_tracees(cx, which, options, &mut any) {
        return Ok(found);
    }
    for child in children
        .iter()
        .filter(|child| matches(cx, child, which, options))
    {
        any = true;
        if child.withheld.load(Ordering::SeqCst) {
            continue;
        }
        let zombie = child.family.read().zombie;
        if let Some(status) = zombie {
            if options & WEXITED != 0 {
                return Ok(exited(cx, child, status, options));
            }
            continue;
        }
        if child.any_task().is_some_and(|task| {
            task.tracer()
                .is_some_and(|t| Arc::ptr_eq(&t.group, &cx.group))
        }) {
            // Its stops are told as a tracee's.
            continue;
        }
        let mut job = child.job.lock();
        let pid = child.pid.in_namespace(&cx.pid_namespace());
        if options & WUNTRACED != 0
            && job.stop_unreported
            && let Some(signal) = job.stopped_by
        {
            job.stop_unreported = options & WNOWAIT != 0;
            let number = i32::from(signal.number());
            return Ok(Found {
                pid,
                uid: 0,
                status: number << 8 | 0x7f,
                code: (code::CLD_STOPPED, number),
                times: Times::default(),
                remains: Vec::new(),
            });
        }
        if options & WCONTINUED != 0 && job.continue_unreported {
            job.continue_unreported = options & WNOWAIT != 0;
            let number = i32::from(Signal::CONT.number());
            return Ok(Found {
                pid,
                uid: 0,
                status: 0xffff,
                code: (code::CLD_CONTINUED, number),
                times: Times::default(),
                remains: Vec::new(),
            });
        }
    }
    Err(if any { Errno::EAGAIN } else { Errno::ECHILD }.into())
}

/// A tracee's news: its stops, and its end unless it is a child that ends as a process. Traced threads are named by their own ids.
fn look_at_tracees(cx: &CurrentTask, which: &Which, options: u32, any: &mut bool) -> Option<Found> {
    let tracers = if options & WNOTHREAD == 0 {
        cx.group.threads()
    } else {
        vec![cx.task().clone()]
    };
    for tracer in tracers {
        for tracee in tracer.tracees() {
            if !selects(cx, which, &tracee.tid(), || {
                tracee.group.process_group().id.clone()
            }) {
                continue;
            }
            *any = true;
            let mut state = tracee.tracing.state.lock();
            let Some(stop) = &mut state.stop else {
                continue;
            };
            if stop.reported {
                continue;
            }
            stop.reported = options & WNOWAIT == 0;
            let status = stop.status;
            drop(state);
            return Some(Found {
                pid: tracee.tid().in_namespace(&cx.pid_namespace()),
                uid: tracee.creds().uid,
                status: status << 8 | 0x7f,
                code: (code::CLD_TRAPPED, status),
                times: Times::default(),
                remains: Vec::new(),
            });
        }
        if let Some(found) = look_at_dead(cx, &tracer, which, options, any) {
            return Some(found);
        }
    }
    None
}

fn look_at_dead(
    cx: &CurrentTask,
    tracer: &sentry::task::Task,
    which: &Which,
    options: u32,
    any: &mut bool,
) -> Option<Found> {
    let mut dead = tracer.tracing.dead.lock();
    let at = dead.iter().position(|dead| {
        selects(cx, which, &dead.pid, || match &dead.group {
            Some(group) => group.process_group().id.clone(),
            None => dead.pid.clone(),
        })
    })?;
    *any = true;
    if options & WEXITED == 0 {
        return None;
    }
    let found = Found {
        pid: dead[at].pid.in_namespace(&cx.pid_namespace()),
        uid: dead[at].uid,
        status: dead[at].status.wait_status(),
        code: code_of(dead[at].status),
        times: dead[at].times,
        remains: Vec::new(),
    };
    if options & WNOWAIT == 0 {
        let gone = dead.remove(at);
        drop(dead);
        if let Some(group) = gone.group {
            trace::release(&group);
        }
    }
    Some(found)
}

/// Whether `which` means the thread with id `pid`.
fn selects(
    cx: &CurrentTask,
    which: &Which,
    pid: &Arc<Pid>,
    group: impl FnOnce() -> Arc<Pid>,
) -> bool {
    let namespace = cx.pid_namespace();
    match which {
        Which::Any => true,
        Which::Pid(number) => pid.in_namespace(&namespace) == *number,
        Which::Group(number) => group().in_namespace(&namespace) == *number,
        Which::Exactly(wanted) => Arc::ptr_eq(wanted, pid),
    }
}

/// `si_code` and `si_status` of an end.
fn code_of(status: ExitStatus) -> (i32, i32) {
    match status {
        ExitStatus::Code(value) => (code::CLD_EXITED, i32::from(value)),
        ExitStatus::Signal(signal, false) => (code::CLD_KILLED, i32::from(signal.number())),
        ExitStatus::Signal(signal, true) => (code::CLD_DUMPED, i32::from(signal.number())),
    }
}

async fn wait(cx: &CurrentTask, which: Which, options: u32) -> SysResult<Option<Found>> {
    if options & WNOHANG != 0 {
        return match look(cx, &which, options) {
            Err(error) if error == Errno::EAGAIN.into() => Ok(None),
            other => other.map(Some),
        };
    }
    let queue = cx.group.events.clone();
    cx.block_until(&[(&queue, Events::IN)], None, || look(cx, &which, options))
        .await
        .map(Some)
}

fn by_group(cx: &CurrentTask) -> Which {
    Which::Group(
        cx.group
            .process_group()
            .id
            .in_namespace(&cx.pid_namespace()),
    )
}

/// `wait4(2)`.
pub async fn wait4(
    cx: &CurrentTask,
    pid: i32,
    status: UserOut<i32>,
    options: u32,
    usage: UserOut<u8>,
) -> SysResult<i32> {
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WCLONE | WALL) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let which = match pid {
        i32::MIN => return Err(Errno::ESRCH.into()),
        -1 => Which::Any,
        0 => by_group(cx),
        pid if pid < 0 => Which::Group(-pid),
        pid => Which::Pid(pid),
    };
    let Some(found) = wait(cx, which, options | WEXITED).await? else {
        return Ok(0);
    };
    cx.memory().put_opt(status, &found.status)?;
    if !usage.is_null() {
        let times = found.all_times(cx).await;
        cx.memory().write(usage.addr(), &rusage(&times))?;
    }
    Ok(found.pid)
}

/// `waitid(2)`.
pub async fn waitid(
    cx: &CurrentTask,
    kind: i32,
    id: i32,
    info: UserOut<u8>,
    options: u32,
    usage: UserOut<u8>,
) -> SysResult<()> {
    let known = WNOHANG | WNOWAIT | WEXITED | WUNTRACED | WCONTINUED | WNOTHREAD | WCLONE | WALL;
    if options & !known != 0 || options & (WEXITED | WUNTRACED | WCONTINUED) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut options = options;
    let mut impatient = false;
    let which = match kind {
        0 => Which::Any,
        1 if id > 0 => Which::Pid(id),
        2 if id == 0 => by_group(cx),
        2 if id > 0 => Which::Group(id),
        3 if id >= 0 => {
            let (pid, nonblocking) = super::pidfd::target(cx, Fd(id))?;
            impatient = nonblocking && options & WNOHANG == 0;
            options |= if nonblocking { WNOHANG } else { 0 };
            Which::Exactly(pid)
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let found = wait(cx, which, options).await?;
    if found.is_none() && impatient {
        return Err(Errno::EAGAIN.into());
    }
    if !usage.is_null()
        && let Some(found) = &found
    {
        let times = found.all_times(cx).await;
        cx.memory().write(usage.addr(), &rusage(&times))?;
    }
    if info.is_null() {
        return Ok(());
    }
    let Some(found) = found else {
        // Signo and pid 0 tell "nothing"; the rest of the fields is zeroed as the kernel's put_user calls do.
        return Ok(cx.memory().write(info.addr(), &[0; 28])?);
    };
    let siginfo = SigInfo::child(found.code.0, found.pid, found.uid, found.code.1, 0, 0);
    Ok(cx.memory().write(info.addr(), &siginfo.bytes()[..28])?)
}
