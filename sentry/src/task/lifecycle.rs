//! Births, deaths and family: new processes, exit, reparenting, waiting.
//!
//! Lock order: [`crate::kernel::Kernel::tree`] first, everything else below it.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use abi::signal::{Signal, code};
use parking_lot::{Mutex, RwLock};

use super::{
    ExitStatus, Family, JobState, Pid, ProcessGroup, RunState, Session, Task, ThreadGroup, Times,
    limits::Limits,
};
use crate::kernel::Kernel;
use crate::signal::{Disposition, Queue, SaFlags, SigInfo, SignalActions, send};
use crate::wait::{Events, WaitQueue};

/// What a new process inherits.
pub struct NewGroup {
    /// Its id.
    pub pid: Arc<Pid>,
    /// Its parent, unless it is a container's init or an exec.
    pub parent: Option<Arc<ThreadGroup>>,
    /// The thread that made it.
    pub parent_thread: Weak<Task>,
    /// Its process group; `None`: a session and group of its own.
    pub process_group: Option<Arc<ProcessGroup>>,
    /// Dispositions.
    pub actions: Arc<SignalActions>,
    /// Limits.
    pub limits: Limits,
    /// Signal at exit, 0 for none.
    pub exit_signal: i32,
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
}

impl ThreadGroup {
    /// A process without threads, entered in its family.
    pub fn new(kernel: &Kernel, new: NewGroup) -> Arc<Self> {
        let _tree = kernel.tree.lock();
        let process_group = new.process_group.unwrap_or_else(|| {
            let session = Arc::new(Session {
                id: new.pid.clone(),
                terminal: Mutex::new(None),
            });
            Arc::new(ProcessGroup {
                id: new.pid.clone(),
                session,
                members: Mutex::default(),
            })
        });
        let group = Arc::new(Self {
            pid: new.pid.clone(),
            charge: Mutex::new(None),
            family: RwLock::new(Family {
                parent: new.parent.as_ref().map(Arc::downgrade).unwrap_or_default(),
                children: Vec::new(),
                process_group: process_group.clone(),
                zombie: None,
                reaped: false,
                subreaper: false,
            }),
            parent_thread: Mutex::new(new.parent_thread),
            tasks: Mutex::default(),
            exiting: Mutex::new(None),
            execing: AtomicBool::new(false),
            pending: Mutex::new(Queue::default()),
            signal_arrived: WaitQueue::new(),
            actions: RwLock::new(new.actions),
            limits: Mutex::new(new.limits),
            job: Mutex::new(JobState::default()),
            events: WaitQueue::new(),
            exit_signal: AtomicI32::new(new.exit_signal),
            start_ns: crate::time::boottime_ns(),
            own_times: Mutex::default(),
            child_times: Mutex::default(),
            remains: Mutex::default(),
            child_remains: Mutex::default(),
            timers: super::timers::Timers::default(),
            did_exec: AtomicBool::new(false),
            oom_score_adj: AtomicI32::new(new.oom_score_adj),
            unshielded: AtomicBool::new(false),
            final_uid: AtomicU32::new(0),
            leader_tracer: Mutex::default(),
            withheld: AtomicBool::new(false),
            io: Default::default(),
        });
        new.pid.set_group(&group);
        process_group.members.lock().push(Arc::downgrade(&group));
        if let Some(parent) = new.parent {
            parent.family.write().children.push(group.clone());
        }
        group
    }
}

/// Takes `task` out of its group; the last one turns the process into a zombie and tells the parent. The task's resources are gone already.
pub fn task_exited(task: &Arc<Task>, status: ExitStatus, times: Times) {
    let group = &task.group;
    {
        let mut own = group.own_times.lock();
        *own = own.plus(times);
    }
    let last = {
        let mut tasks = group.tasks.lock();
        tasks.retain(|other| !Arc::ptr_eq(other, task));
        tasks.is_empty()
    };
    task.set_state(RunState::Zombie);
    drop(task.charge.lock().take());
    super::trace::tracer_gone(task);
    super::trace::thread_gone(task, status, times);
    task.tid().clear_task();
    if !group.pending.lock().set().is_empty() {
        // A signal that was meant for this thread goes to another (retarget_shared_pending).
        let heir = group.threads().into_iter().find(|other| other.has_work());
        if let Some(heir) = heir {
            heir.interrupt();
        }
    }
    if last {
        group.final_uid.store(task.creds().uid, Ordering::Relaxed);
        crate::ipc::process_exited(task);
    }
    group.events.notify(Events::IN);
    if last {
        let status = group.exiting.lock().unwrap_or(status);
        process_exited(task, group, status);
    }
}

fn process_exited(task: &Arc<Task>, group: &Arc<ThreadGroup>, status: ExitStatus) {
    let tree = task.kernel.tree.lock();
    group.timers.cancel_all();
    if send::is_init(group) {
        kill_namespace(group);
    }
    let watched = groups_to_be_orphaned(group);
    reparent_children(group);
    let process_group = group.process_group();
    let session = process_group.session.clone();
    if Arc::ptr_eq(&session.id, &group.pid)
        && let Some(terminal) = session.terminal.lock().take()
    {
        terminal.session_ended();
    }
    group.family.write().zombie = Some(status);
    let orphaned = newly_orphaned(watched);
    let parent = group.parent();
    match &parent {
        Some(_) if super::trace::process_gone(task, group, status) => {}
        Some(parent) => notify_parent_of_exit(parent, group, status),
        // Nobody to wait for it in the sandbox: the container's owner looks at `zombie` itself.
        None => group.family.write().reaped = true,
    }
    if group.family.read().reaped {
        forget(group);
    }
    drop(tree);
    hang_up_orphans(&orphaned);
    if let Some(parent) = parent {
        parent.events.notify(Events::IN);
    }
    group.events.notify(Events::IN);
}

/// All other processes of the namespace go with its init. Nobody can be born from now on, and who was being born looks at the namespace's state
/// after entering its tables, so one round reaches everyone.
fn kill_namespace(init: &Arc<ThreadGroup>) {
    init.pid.namespace().set_dead();
    for (_, other) in init.pid.namespace().groups() {
        if !Arc::ptr_eq(&other, init) {
            send::end_group(&other, ExitStatus::Signal(Signal::KILL, false));
        }
    }
}

/// Takes a process that never ran a thread out of the tree again: its fork has failed.
pub fn abandon(kernel: &Kernel, group: &Arc<ThreadGroup>) {
    let _tree = kernel.tree.lock();
    forget(group);
}

/// Children go to the nearest living subreaper above, else to the namespace's init, else to nobody.
fn reparent_children(group: &Arc<ThreadGroup>) {
    let children = std::mem::take(&mut group.family.write().children);
    if children.is_empty() {
        return;
    }
    let mut heir = group.parent();
    while let Some(candidate) = &heir {
        let family = candidate.family.read();
        if family.zombie.is_none() && family.subreaper && !candidate.tasks.lock().is_empty() {
            break;
        }
        let next = family.parent.upgrade();
        drop(family);
        heir = next;
    }
    let heir = heir
        .or_else(|| group.pid.namespace().init.lock().upgrade())
        .filter(|heir| !Arc::ptr_eq(heir, group) && heir.family.read().zombie.is_none());
    for child in children {
        *child.parent_thread.lock() = Weak::new();
        child.family.write().parent = heir.as_ref().map(Arc::downgrade).unwrap_or_default();
        let parent_death = child
            .threads()
            .first()
            .map_or(0, |t| t.misc.lock().parent_death_signal);
        if let Some(signal) = Signal::new(i64::from(parent_death)) {
            let _ = send::process_signal(&child, SigInfo::user(signal, code::SI_USER, 0, 0));
        }
        let withheld = child.withheld.load(Ordering::SeqCst);
        let zombie = child.family.read().zombie.filter(|_| !withheld);
        match (&heir, zombie) {
            (Some(heir), zombie) => {
                heir.family.write().children.push(child.clone());
                child
                    .exit_signal
                    .store(i32::from(Signal::CHLD.number()), Ordering::Relaxed);
                if let Some(status) = zombie {
                    notify_parent_of_exit(heir, &child, status);
                    heir.events.notify(Events::IN);
                    if child.family.read().reaped {
                        forget(&child);
                    }
                }
            }
            (None, Some(_)) => {
                child.family.write().reaped = true;
                forget(&child);
            }
            (None, None) => {}
        }
    }
}

fn notify_parent_of_exit(parent: &Arc<ThreadGroup>, child: &Arc<ThreadGroup>, status: ExitStatus) {
    let number = child.exit_signal.load(Ordering::Relaxed);
    let action = parent.actions().get(Signal::CHLD);
    let unwanted =
        action.disposition == Disposition::Ignore || action.flags.contains(SaFlags::NOCLDWAIT);
    if number == i32::from(Signal::CHLD.number()) && unwanted {
        child.family.write().reaped = true;
        if action.disposition == Disposition::Ignore {
            return;
        }
    }
    if let Some(signal) = Signal::new(i64::from(number)) {
        let (kind, value) = match status {
            ExitStatus::Code(code) => (code::CLD_EXITED, i32::from(code)),
            ExitStatus::Signal(signal, false) => (code::CLD_KILLED, i32::from(signal.number())),
            ExitStatus::Signal(signal, true) => (code::CLD_DUMPED, i32::from(signal.number())),
        };
        let times = child.own_times.lock().plus(*child.child_times.lock());
        let pid = child.pid.in_namespace(parent.pid.namespace());
        let mut info = SigInfo::child(
            kind,
            pid,
            child.final_uid.load(Ordering::Relaxed),
            value,
            times.user_ns / 10_000_000,
            times.system_ns / 10_000_000,
        );
        if signal != Signal::CHLD {
            info = SigInfo::from_guest(*info.bytes(), signal);
        }
        let _ = send::process_signal(parent, info);
    }
}

/// Tells the parent of a zombie that it may wait for it now. Under the tree lock.
pub(super) fn tell_parent_of_zombie(group: &Arc<ThreadGroup>) {
    let Some(status) = group.family.read().zombie else {
        return;
    };
    let parent = group.parent();
    match &parent {
        Some(parent) => notify_parent_of_exit(parent, group, status),
        None => group.family.write().reaped = true,
    }
    if group.family.read().reaped {
        forget(group);
    }
    if let Some(parent) = parent {
        parent.events.notify(Events::IN);
    }
}

/// SIGCHLD for a stop or a continuation, unless the parent does not want those; wakes a waiting parent in any case.
pub fn notify_parent_of_job(group: &Arc<ThreadGroup>, kind: i32, value: i32) {
    let Some(parent) = group.parent() else { return };
    if !parent
        .actions()
        .get(Signal::CHLD)
        .flags
        .contains(SaFlags::NOCLDSTOP)
    {
        let pid = group.pid.in_namespace(parent.pid.namespace());
        let _ = send::process_signal(&parent, SigInfo::child(kind, pid, 0, value, 0, 0));
    }
    parent.events.notify(Events::IN);
}

/// Takes a waited-for zombie out of the tree.
pub fn forget(group: &Arc<ThreadGroup>) {
    let (process_group, parent) = {
        let mut family = group.family.write();
        family.reaped = true;
        (family.process_group.clone(), family.parent.upgrade())
    };
    drop(group.charge.lock().take());
    process_group
        .members
        .lock()
        .retain(|m| !std::ptr::eq(m.as_ptr(), Arc::as_ptr(group)));
    if let Some(parent) = parent {
        parent
            .family
            .write()
            .children
            .retain(|c| !Arc::ptr_eq(c, group));
    }
}

/// Whether no member has a parent in another group of the same session (`setpgid(2)`, POSIX: orphaned process group).
#[must_use]
pub fn is_orphaned(pgrp: &Arc<ProcessGroup>) -> bool {
    !pgrp.members().iter().any(|member| {
        let family = member.family.read();
        if family.zombie.is_some() {
            return false;
        }
        family.parent.upgrade().is_some_and(|parent| {
            let parents = parent.process_group();
            !Arc::ptr_eq(&parents, pgrp) && Arc::ptr_eq(&parents.session, &pgrp.session)
        })
    })
}

/// Process groups that this exit may orphan: its own and its children's, as far as they are not orphaned already.
fn groups_to_be_orphaned(group: &Arc<ThreadGroup>) -> Vec<Arc<ProcessGroup>> {
    let children = group.family.read().children.clone();
    let mut groups: Vec<Arc<ProcessGroup>> = Vec::new();
    for pgrp in
        std::iter::once(group.process_group()).chain(children.iter().map(|c| c.process_group()))
    {
        if !groups.iter().any(|known| Arc::ptr_eq(known, &pgrp)) {
            groups.push(pgrp);
        }
    }
    groups.retain(|pgrp| !is_orphaned(pgrp));
    groups
}

/// Those that are orphaned now and have stopped members: they get SIGHUP and SIGCONT (`setpgid(2)`, POSIX: _exit).
fn newly_orphaned(mut groups: Vec<Arc<ProcessGroup>>) -> Vec<Arc<ProcessGroup>> {
    let stopped = |m: &Arc<ThreadGroup>| {
        m.family.read().zombie.is_none() && m.job.lock().stopped_by.is_some()
    };
    groups.retain(|pgrp| is_orphaned(pgrp) && pgrp.members().iter().any(stopped));
    groups
}

fn hang_up_orphans(groups: &[Arc<ProcessGroup>]) {
    for pgrp in groups {
        send::group_signal(pgrp, SigInfo::kernel(Signal::HUP));
        send::group_signal(pgrp, SigInfo::kernel(Signal::CONT));
    }
}

/// Moves a process to another process group (the caller has checked the rules of `setpgid`), under the tree lock.
pub fn move_to_process_group(group: &Arc<ThreadGroup>, pgrp: &Arc<ProcessGroup>) {
    let old = group.process_group();
    if Arc::ptr_eq(&old, pgrp) {
        return;
    }
    old.members
        .lock()
        .retain(|m| !std::ptr::eq(m.as_ptr(), Arc::as_ptr(group)));
    pgrp.members.lock().push(Arc::downgrade(group));
    group.family.write().process_group = pgrp.clone();
}
