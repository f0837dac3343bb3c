//! `clone(2)`, `clone3(2)`, `fork(2)`, `vfork(2)`.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use abi::signal::Signal;
use abi::{UserAddr, UserOut};
use sentry::error::{Errno, SysResult};
use sentry::fs::pidfd;
use sentry::mm::MemoryMap;
use sentry::platform::{CloneKind, GuestThread};
use sentry::signal::{SignalActions, send};
use sentry::task::creds::Cap;
use sentry::task::lifecycle::{self, NewGroup};
use sentry::task::limits::Resource;
use sentry::task::pids::PidsController;
use sentry::task::trace::event;
use sentry::task::{CurrentTask, ExitStatus, NewTask, Pid, Task, TaskMisc, ThreadGroup};
use sentry::wait::{Events, WaitQueue};

use super::namespaces;

const CSIGNAL: u64 = 0xff;
pub(super) const CLONE_VM: u64 = 0x100;
pub(super) const CLONE_FS: u64 = 0x200;
pub(super) const CLONE_FILES: u64 = 0x400;
pub(super) const CLONE_SIGHAND: u64 = 0x800;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_PTRACE: u64 = 0x2000;
const CLONE_VFORK: u64 = 0x4000;
const CLONE_PARENT: u64 = 0x8000;
pub(super) const CLONE_THREAD: u64 = 0x1_0000;
pub(super) const CLONE_NEWNS: u64 = 0x2_0000;
const CLONE_SETTLS: u64 = 0x8_0000;
const CLONE_PARENT_SETTID: u64 = 0x10_0000;
const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
const CLONE_DETACHED: u64 = 0x40_0000;
const CLONE_UNTRACED: u64 = 0x80_0000;
const CLONE_CHILD_SETTID: u64 = 0x100_0000;
pub(super) const CLONE_NEWCGROUP: u64 = 0x200_0000;
pub(super) const CLONE_NEWUTS: u64 = 0x400_0000;
pub(super) const CLONE_NEWIPC: u64 = 0x800_0000;
pub(super) const CLONE_NEWUSER: u64 = 0x1000_0000;
pub(super) const CLONE_NEWPID: u64 = 0x2000_0000;
pub(super) const CLONE_NEWNET: u64 = 0x4000_0000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// What `clone3` takes.
const KNOWN_FLAGS: u64 = 0xffff_ffff | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP;
pub(super) const NEW_NAMESPACES: u64 =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET;

struct Request {
    flags: u64,
    exit_signal: i32,
    /// New stack pointer; 0: the parent's.
    stack: u64,
    parent_tid: UserOut<i32>,
    child_tid: UserOut<i32>,
    /// Where CLONE_PIDFD stores its descriptor.
    pidfd: UserOut<i32>,
    tls: u64,
}

/// `clone(2)` in the order of x86-64.
pub async fn clone(
    cx: &CurrentTask,
    flags: u64,
    stack: u64,
    parent_tid: UserOut<i32>,
    child_tid: UserOut<i32>,
    tls: u64,
) -> SysResult<i32> {
    let exit_signal = (flags & CSIGNAL) as i32;
    // clone has 32 flag bits.
    if flags & CLONE_PIDFD != 0 && flags & (CLONE_PARENT_SETTID | CLONE_DETACHED) != 0 {
        return Err(Errno::EINVAL.into());
    }
    create(
        cx,
        Request {
            flags: flags & 0xffff_ff00,
            exit_signal,
            stack,
            parent_tid,
            child_tid,
            pidfd: parent_tid,
            tls,
        },
    )
    .await
}

/// `fork(2)`.
pub async fn fork(cx: &CurrentTask) -> SysResult<i32> {
    create(cx, Request::simple(0)).await
}

/// `vfork(2)`.
pub async fn vfork(cx: &CurrentTask) -> SysResult<i32> {
    create(cx, Request::simple(CLONE_VFORK | CLONE_VM)).await
}

impl Request {
    fn simple(flags: u64) -> Self {
        let none = UserOut::new(UserAddr::NULL);
        Self {
            flags,
            exit_signal: i32::from(Signal::CHLD.number()),
            stack: 0,
            parent_tid: none,
            child_tid: none,
            pidfd: none,
            tls: 0,
        }
    }
}

/// `clone3(2)`: `struct clone_args`, extensible.
pub async fn clone3(cx: &CurrentTask, args: UserAddr, size: usize) -> SysResult<i32> {
    const FIRST_SIZE: usize = 64;
    const KNOWN: usize = 88;
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    if size < FIRST_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let mut bytes = vec![0_u8; size.max(KNOWN)];
    cx.memory().read(args, &mut bytes[..size])?;
    if bytes[KNOWN..].iter().any(|b| *b != 0) {
        return Err(Errno::E2BIG.into());
    }
    let words: Vec<u64> = bytes[..KNOWN]
        .chunks_exact(8)
        .map(|c| c.try_into().map_or(0, u64::from_ne_bytes))
        .collect();
    let [
        flags,
        pidfd,
        child_tid,
        parent_tid,
        exit_signal,
        stack,
        stack_size,
        tls,
        _set_tid,
        set_tid_size,
        _cgroup,
    ] = words[..]
    else {
        return Err(Errno::EINVAL.into());
    };
    if flags & !KNOWN_FLAGS != 0
        || flags & (CSIGNAL | CLONE_DETACHED) != 0
        || exit_signal > 64
        || (stack == 0) != (stack_size == 0)
    {
        return Err(Errno::EINVAL.into());
    }
    if flags & (CLONE_THREAD | CLONE_PARENT) != 0 && exit_signal != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & CLONE_CLEAR_SIGHAND != 0 && flags & CLONE_SIGHAND != 0 {
        return Err(Errno::EINVAL.into());
    }
    if set_tid_size != 0 {
        return Err(Errno::EPERM.into());
    }
    let stack_top = if stack == 0 {
        0
    } else {
        stack.checked_add(stack_size).ok_or(Errno::EINVAL)?
    };
    create(
        cx,
        Request {
            flags,
            exit_signal: exit_signal as i32,
            stack: stack_top,
            parent_tid: UserOut::new(UserAddr(parent_tid)),
            child_tid: UserOut::new(UserAddr(child_tid)),
            pidfd: UserOut::new(UserAddr(pidfd)),
            tls,
        },
    )
    .await
}

fn check_flags(cx: &CurrentTask, flags: u64) -> SysResult<()> {
    let bad = (flags & CLONE_SIGHAND != 0 && flags & CLONE_VM == 0)
        || (flags & CLONE_THREAD != 0 && flags & CLONE_SIGHAND == 0)
        || (flags & CLONE_NEWNS != 0 && flags & CLONE_FS != 0)
        || (flags & CLONE_NEWIPC != 0 && flags & 0x4_0000 != 0)
        || (flags & (CLONE_NEWPID | CLONE_NEWUSER) != 0 && flags & (CLONE_THREAD | CLONE_PARENT) != 0)
        || (flags & CLONE_PIDFD != 0 && flags & CLONE_THREAD != 0)
        // An init's siblings would have no one to wait for them.
        || (flags & CLONE_PARENT != 0 && send::is_init(&cx.group))
        || (flags & CLONE_NEWUSER != 0 && flags & CLONE_FS != 0)
        || flags & CLONE_INTO_CGROUP != 0;
    if bad {
        return Err(Errno::EINVAL.into());
    }
    Ok(())
}

async fn create(cx: &CurrentTask, request: Request) -> SysResult<i32> {
    let flags = request.flags;
    check_flags(cx, flags)?;
    check_process_limit(cx)?;
    let creds = namespaces::new_creds(cx, flags)?;
    if flags & NEW_NAMESPACES != 0 {
        creds.require_here(Cap::SYS_ADMIN)?;
    }
    let pids = cx.container.extensions.get::<PidsController>();
    let charge = pids.try_charge()?;
    let is_thread = flags & CLONE_THREAD != 0;
    let exit_signal = request.exit_signal;
    let namespaces = namespaces::new_namespaces(cx, &creds, flags);
    let pid_namespace = if is_thread {
        cx.pid_namespace()
    } else {
        namespaces.pid_for_children.clone()
    };
    let fs = if flags & CLONE_FS != 0 {
        cx.fs()
    } else {
        cx.fs().fork()
    };
    if flags & CLONE_NEWNS != 0 {
        namespaces::copy_mounts(&fs, &creds)?;
    }
    let tid = Pid::allocate(&pid_namespace)?;
    // A process is known to its process group before it is made: a signal to the group cannot fall between parent and child, it waits in the
    // child's queue until the child has a thread.
    let group = if is_thread {
        cx.group.clone()
    } else {
        new_group(cx, &request, &tid)
    };
    // The child does not get the descriptor that stands for it.
    let files = if flags & CLONE_FILES != 0 {
        cx.files()
    } else {
        cx.files().fork()
    };
    let born = match with_pidfd(cx, &request, &tid).await {
        Ok(born) => born,
        Err(error) => {
            if !is_thread {
                lifecycle::abandon(&cx.kernel, &group);
            }
            return Err(error);
        }
    };
    let number = tid.in_namespace(&cx.pid_namespace());
    let inner_number = tid.local();
    let child_map = born.memory_map.clone();
    let child = Task::new(
        cx.kernel.clone(),
        NewTask {
            container: cx.container.clone(),
            tid,
            group,
            thread: born.thread,
            memory_map: born.memory_map,
            files,
            fs,
            creds,
            namespaces,
            blocked: cx.signals.lock().blocked,
            misc: inherited_misc(cx, &request),
            seccomp: cx.seccomp.read().clone(),
            charge,
        },
    );
    if flags & CLONE_VM == 0 || flags & CLONE_VFORK != 0 {
        let alt_stack = cx.signals.lock().alt_stack;
        child.signals.lock().alt_stack = alt_stack;
    }
    if flags & CLONE_CHILD_SETTID != 0 {
        // As Linux's schedule_tail: a bad address is the child's own problem.
        let _ = child_map.memory().put(request.child_tid, &inner_number);
    }
    if flags & CLONE_PARENT_SETTID != 0 {
        let _ = cx.memory().put(request.parent_tid, &number);
    }
    let vfork_done = (flags & CLONE_VFORK != 0).then(WaitQueue::new);
    child.vfork_done.lock().clone_from(&vfork_done);
    let event = crate::trace::clone_event_of(flags & CLONE_VFORK != 0, exit_signal);
    let traced = cx.is_traced() && flags & CLONE_UNTRACED == 0;
    if traced {
        crate::trace::inherit(cx, &child, event, flags & CLONE_PTRACE != 0);
    }
    share_fate(&child, is_thread);
    cx.kernel
        .executor
        .spawn((cx.kernel.run_task)(CurrentTask::new(child.clone())));
    if traced {
        crate::trace::clone_event(cx, event, number).await;
    }
    if let Some(queue) = vfork_done {
        wait_for_release(cx, &child, &queue).await;
        if traced {
            crate::trace::clone_event(cx, event::VFORK_DONE, number).await;
        }
    }
    Ok(number)
}

/// What the platform has made of a clone.
struct Born {
    thread: Arc<dyn GuestThread>,
    memory_map: Arc<MemoryMap>,
}

async fn clone_host(cx: &CurrentTask, request: &Request) -> SysResult<Born> {
    let kind = if request.flags & CLONE_THREAD != 0 {
        CloneKind::Thread
    } else if request.flags & CLONE_VM != 0 {
        CloneKind::SharedMemory
    } else {
        CloneKind::Fork
    };
    let thread = cx.thread();
    let Ok(mut registers) = thread.registers() else {
        return Err(Errno::EINTR.into());
    };
    registers.rax = 0;
    if request.stack != 0 {
        registers.rsp = request.stack;
    }
    let map = cx.memory_map();
    let tls = (request.flags & CLONE_SETTLS != 0).then_some(request.tls);
    // The copy and its books must agree: no other mapping operation meanwhile.
    let _operation = map.operation.lock().await;
    if kind == CloneKind::Fork {
        map.settle_all(&*thread).await;
    }
    let cloned = match thread.clone_thread(kind, &registers, tls).await {
        Ok(result) => result?,
        Err(sentry::platform::Gone) => return Err(Errno::EINTR.into()),
    };
    if cx.signals.lock().killed {
        // SIGKILL ends a fork in the middle.
        cloned.thread.exit();
        return Err(Errno::EINTR.into());
    }
    let memory_map = if kind == CloneKind::Fork {
        map.fork(cloned.space)
    } else {
        map.clone()
    };
    Ok(Born {
        thread: cloned.thread,
        memory_map,
    })
}

fn inherited_misc(cx: &CurrentTask, request: &Request) -> TaskMisc {
    let flags = request.flags;
    let mut misc = cx.misc.lock().clone();
    misc.robust_list = (0, 0);
    misc.rseq = if flags & CLONE_VM != 0 {
        (0, 0, 0)
    } else {
        misc.rseq
    };
    misc.clear_child_tid = if flags & CLONE_CHILD_CLEARTID != 0 {
        request.child_tid.addr().0
    } else {
        0
    };
    if flags & CLONE_THREAD == 0 {
        misc.parent_death_signal = 0;
    }
    misc
}

/// Orders that were given while the child was made reach it too. It is in all tables by now: whoever gives an order later finds it there.
fn share_fate(child: &Arc<Task>, is_thread: bool) {
    let overtaken = child.group.exiting.lock().is_some()
        || is_thread && child.group.execing.load(Ordering::Acquire);
    if overtaken {
        child.signals.lock().killed = true;
    }
    if !is_thread && child.pid_namespace().is_dead() {
        send::end_group(&child.group, ExitStatus::Signal(Signal::KILL, false));
    }
    if child.has_work() {
        // Looked at before its first instruction.
        child.interrupt();
    }
}

/// Clones on the host; with CLONE_PIDFD a descriptor for `pid` is stored before and taken back on failure.
async fn with_pidfd(cx: &CurrentTask, request: &Request, pid: &Arc<Pid>) -> SysResult<Born> {
    if request.flags & CLONE_PIDFD == 0 {
        return clone_host(cx, request).await;
    }
    let fd = cx.install(pidfd::open(pid, 0)?, true)?;
    let stored = cx.memory().put(request.pidfd, &fd.0);
    let born = match stored {
        Ok(()) => clone_host(cx, request).await,
        Err(errno) => Err(errno.into()),
    };
    if born.is_err() {
        drop(cx.files().remove(fd));
    }
    born
}

/// `EAGAIN` at RLIMIT_NPROC: tasks of the same real user, unless that is root or privileged.
fn check_process_limit(cx: &CurrentTask) -> SysResult<()> {
    let limit = usize::try_from(cx.group.limit(Resource::Nproc)).unwrap_or(usize::MAX);
    let namespace = &cx.kernel.root_pid_namespace;
    if namespace.ids_in_use() < limit {
        return Ok(());
    }
    let creds = cx.creds();
    if creds.uid == 0 || creds.has(Cap::SYS_RESOURCE) || creds.has(Cap::SYS_ADMIN) {
        return Ok(());
    }
    let own = namespace
        .tasks()
        .into_iter()
        .filter(|(_, task)| task.creds().uid == creds.uid)
        .count();
    if own >= limit {
        Err(Errno::EAGAIN.into())
    } else {
        Ok(())
    }
}

fn new_group(cx: &CurrentTask, request: &Request, pid: &Arc<Pid>) -> Arc<ThreadGroup> {
    let parent = if request.flags & CLONE_PARENT != 0 {
        cx.group.parent()
    } else {
        Some(cx.group.clone())
    };
    let exit_signal = if request.flags & CLONE_PARENT != 0 {
        cx.group.exit_signal.load(Ordering::Relaxed)
    } else {
        request.exit_signal
    };
    let actions = if request.flags & CLONE_SIGHAND != 0 {
        cx.group.actions()
    } else if request.flags & CLONE_CLEAR_SIGHAND != 0 {
        Arc::new(SignalActions::after_exec(&cx.group.actions()))
    } else {
        Arc::new(cx.group.actions().fork())
    };
    let limits = cx.group.limits.lock().clone();
    let group = ThreadGroup::new(
        &cx.kernel,
        NewGroup {
            pid: pid.clone(),
            parent,
            parent_thread: Arc::downgrade(cx.task()),
            process_group: Some(cx.group.process_group()),
            actions,
            limits,
            exit_signal,
            oom_score_adj: cx.group.oom_score_adj.load(Ordering::Relaxed),
        },
    );
    group.timers.watch_cpu_limit(&group, &cx.kernel.reactor);
    let namespace = pid.namespace();
    let mut init = namespace.init.lock();
    if pid.local() == 1 && init.upgrade().is_none() {
        *init = Arc::downgrade(&group);
    }
    drop(init);
    group
}

/// A vfork parent sleeps, deaf to all but SIGKILL, until the child execs or exits.
async fn wait_for_release(cx: &CurrentTask, child: &Arc<Task>, queue: &WaitQueue) {
    let mut registration = None;
    cx.thread().set_blocked(true);
    poll_fn(|context| {
        if registration.is_none() {
            registration = Some(queue.register_waker(Events::IN, context.waker().clone()));
        }
        if child.vfork_done.lock().is_none() || cx.signals.lock().killed {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    cx.thread().set_blocked(false);
}
