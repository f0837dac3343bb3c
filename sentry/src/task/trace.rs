//! Tracing (`ptrace(2)`): who traces whom, the stops of a traced thread, and what ends them.
//!
//! The tracer is one thread ([`Task`]), as in Linux. A stopped tracee is at a full stop of its host thread and its future waits in
//! [`CurrentTask::trace_stop`]: until then and no longer, the tracer reads and changes its registers and orders host calls of its thread.
//!
//! Lock order: a task's `state` here is a leaf; the lists of tracees are leaves too, and never held together with a `state`.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;

use abi::signal::{Signal, code};
use parking_lot::Mutex;

use super::{CurrentTask, ExitStatus, Pid, RunState, Task, ThreadGroup, Times, lifecycle};
use crate::error::{Errno, Result};
use crate::signal::{Disposition, SaFlags, SigInfo, send};
use crate::wait::Events;

/// Options of PTRACE_SETOPTIONS.
#[expect(
    missing_docs,
    reason = "the names are the kernel's own, without PTRACE_O_"
)]
pub mod option {
    pub const TRACESYSGOOD: u32 = 1;
    pub const TRACEFORK: u32 = 1 << 1;
    pub const TRACEVFORK: u32 = 1 << 2;
    pub const TRACECLONE: u32 = 1 << 3;
    pub const TRACEEXEC: u32 = 1 << 4;
    pub const TRACEVFORKDONE: u32 = 1 << 5;
    pub const TRACEEXIT: u32 = 1 << 6;
    pub const TRACESECCOMP: u32 = 1 << 7;
    pub const EXITKILL: u32 = 1 << 20;
    pub const KNOWN: u32 = 0xff | EXITKILL;
}

/// Events of PTRACE_EVENT_*.
#[expect(
    missing_docs,
    reason = "the names are the kernel's own, without PTRACE_EVENT_"
)]
pub mod event {
    pub const FORK: i32 = 1;
    pub const VFORK: i32 = 2;
    pub const CLONE: i32 = 3;
    pub const EXEC: i32 = 4;
    pub const VFORK_DONE: i32 = 5;
    pub const EXIT: i32 = 6;
    pub const SECCOMP: i32 = 7;
    pub const STOP: i32 = 128;
}

/// How a tracee was set going.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// PTRACE_CONT.
    #[default]
    Continue,
    /// PTRACE_SYSCALL: until the next entry to or exit from a call.
    Syscall,
    /// PTRACE_SINGLESTEP.
    Step,
}

/// What a stop is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopKind {
    /// Before a call.
    Entry,
    /// After a call.
    Exit,
    /// A filter of the tracee's said SECCOMP_RET_TRACE, with this data.
    Seccomp(u16),
    /// Another event.
    Event,
    /// A signal before its delivery.
    Signal,
    /// The whole process is stopped by a signal.
    Group,
    /// PTRACE_INTERRUPT, the first stop of a seized child, and the end of a group stop.
    Trap,
}

/// A stop as the tracer sees it.
#[derive(Clone, Debug)]
pub struct Stop {
    /// What for.
    pub kind: StopKind,
    /// The signal and, from bit 8 on, the event: what `wait(2)` tells from its bit 8 on.
    pub status: i32,
    /// A wait has told it.
    pub reported: bool,
    /// For PTRACE_GETSIGINFO; group stops have none.
    pub info: Option<SigInfo>,
    /// Number of the call that the thread is in, or -1.
    pub orig_rax: i64,
}

/// How a stop ended.
#[derive(Clone, Copy, Debug)]
pub struct Resumed {
    /// The signal to go on with, as the tracer left or put it.
    pub signal: Option<SigInfo>,
    /// As in [`Stop`]; the tracer may have changed it.
    pub orig_rax: i64,
}

/// A traced thread's state.
#[derive(Default)]
pub struct State {
    tracer: Weak<Task>,
    /// PTRACE_SEIZE rather than PTRACE_ATTACH or PTRACE_TRACEME.
    pub seized: bool,
    /// PTRACE_O_*.
    pub options: u32,
    /// The stop it is in.
    pub stop: Option<Stop>,
    /// What ends the stop: a signal number or 0.
    resume: Option<i32>,
    /// Siginfo and number of the call of the stop that was ended.
    last: Option<(Option<SigInfo>, i64)>,
    /// How it was set going.
    pub mode: Mode,
    /// PTRACE_GETEVENTMSG.
    pub message: u64,
    /// PTRACE_LISTEN.
    listening: bool,
    /// SIGKILL has come, which ends even the stop at exit.
    killed: bool,
}

/// A tracee that is gone and that its tracer has not waited for.
pub struct DeadTracee {
    /// Its thread id.
    pub pid: Arc<Pid>,
    /// How it ended.
    pub status: ExitStatus,
    /// Its process, if all of it is gone and the real parent may not know before the tracer does.
    pub group: Option<Arc<ThreadGroup>>,
    /// Real user id.
    pub uid: u32,
    /// What it used.
    pub times: Times,
}

/// What a task has to do with tracing, on either side.
#[derive(Default)]
pub struct Tracing {
    /// As a tracee.
    pub state: Mutex<State>,
    traced: AtomicBool,
    /// PTRACE_INTERRUPT or a seized child's first stop is due.
    pub trap_pending: AtomicBool,
    /// The tracer let it run out of the group stop that goes on.
    pub passed_stop: AtomicBool,
    /// The trap flag in its registers is ours.
    pub stepping: AtomicBool,
    /// As a tracer: living tracees.
    tracees: Mutex<Vec<Arc<Task>>>,
    /// As a tracer: dead ones.
    pub dead: Mutex<Vec<DeadTracee>>,
    /// It exits: nobody can be its tracee any more.
    over: AtomicBool,
}

impl Task {
    /// Whether somebody traces it.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.tracing.traced.load(Ordering::Acquire)
    }
    /// Who traces it.
    #[must_use]
    pub fn tracer(&self) -> Option<Arc<Self>> {
        if !self.is_traced() {
            return None;
        }
        self.tracing.state.lock().tracer.upgrade()
    }
    /// Whether it is traced with this option.
    #[must_use]
    pub fn trace_option(&self, option: u32) -> bool {
        self.is_traced() && self.tracing.state.lock().options & option != 0
    }
    /// How its tracer set it going.
    #[must_use]
    pub fn trace_mode(&self) -> Mode {
        if self.is_traced() {
            self.tracing.state.lock().mode
        } else {
            Mode::Continue
        }
    }
    /// Whether job control or its tracer keep it from running.
    pub(crate) fn has_trace_work(&self) -> bool {
        self.is_traced() && self.tracing.trap_pending.load(Ordering::SeqCst)
    }
    /// Whether it is to stop with its process: a tracer can let it run on.
    #[must_use]
    pub fn must_stop(&self) -> bool {
        let stopped = self.group.job.lock().stopped_by.is_some();
        stopped && !(self.is_traced() && self.tracing.passed_stop.load(Ordering::SeqCst))
    }
    /// Its living tracees.
    #[must_use]
    pub fn tracees(&self) -> Vec<Arc<Self>> {
        self.tracing.tracees.lock().clone()
    }
}

/// Makes `tracer` the tracer of `tracee`: `EPERM` if there is one already.
pub fn attach(tracee: &Arc<Task>, tracer: &Arc<Task>, seized: bool, options: u32) -> Result<()> {
    {
        let mut state = tracee.tracing.state.lock();
        if tracee.is_traced() {
            return Err(Errno::EPERM);
        }
        if tracee.state() == RunState::Zombie {
            return Err(Errno::ESRCH);
        }
        *state = State {
            tracer: Arc::downgrade(tracer),
            seized,
            options,
            ..State::default()
        };
        tracee.tracing.passed_stop.store(false, Ordering::SeqCst);
        tracee.tracing.trap_pending.store(false, Ordering::SeqCst);
        tracee.tracing.traced.store(true, Ordering::Release);
    }
    tracer.tracing.tracees.lock().push(tracee.clone());
    if leads(tracee) {
        *tracee.group.leader_tracer.lock() = Arc::downgrade(tracer);
    }
    if tracer.tracing.over.load(Ordering::SeqCst) || tracee.state() == RunState::Zombie {
        detach(tracee, 0);
    }
    // It may sleep in a group stop, which is the tracer's now.
    tracee.interrupt();
    Ok(())
}

/// Ends tracing; a stopped tracee goes on with `signal`.
pub fn detach(tracee: &Arc<Task>, signal: i32) {
    let tracer = {
        let mut state = tracee.tracing.state.lock();
        tracee.tracing.traced.store(false, Ordering::Release);
        state.options = 0;
        state.mode = Mode::Continue;
        if state.stop.is_some() {
            state.resume = Some(signal);
        }
        std::mem::take(&mut state.tracer)
    };
    if leads(tracee) {
        *tracee.group.leader_tracer.lock() = Weak::new();
    }
    if let Some(tracer) = tracer.upgrade() {
        tracer
            .tracing
            .tracees
            .lock()
            .retain(|other| !Arc::ptr_eq(other, tracee));
    }
    tracee.interrupt();
}

/// Lets a stopped tracee go on: `ESRCH` if it is not stopped.
pub fn resume(tracee: &Arc<Task>, mode: Mode, signal: i32) -> Result<()> {
    {
        let mut state = tracee.tracing.state.lock();
        let Some(stop) = state.stop.clone() else {
            return Err(Errno::ESRCH);
        };
        if matches!(stop.kind, StopKind::Group | StopKind::Trap) {
            tracee.tracing.passed_stop.store(true, Ordering::SeqCst);
        }
        // What the tracer has left of it is what the thread goes on with.
        state.last = Some((stop.info, stop.orig_rax));
        state.mode = mode;
        state.resume = Some(signal);
        state.stop = None;
    }
    wake(tracee);
    Ok(())
}

/// PTRACE_LISTEN: a seized tracee in a group stop stays in it, but tells when it ends. `EIO` elsewhere.
pub fn listen(tracee: &Arc<Task>) -> Result<()> {
    {
        let mut state = tracee.tracing.state.lock();
        let in_stop = state
            .stop
            .as_ref()
            .is_some_and(|stop| matches!(stop.kind, StopKind::Group | StopKind::Trap));
        if !state.seized || !in_stop {
            return Err(Errno::EIO);
        }
        state.listening = true;
    }
    wake(tracee);
    Ok(())
}

/// PTRACE_INTERRUPT: a seized tracee stops as soon as it can.
pub fn trap(tracee: &Arc<Task>) {
    tracee.tracing.trap_pending.store(true, Ordering::SeqCst);
    tracee.interrupt();
}

/// SIGKILL ends every stop.
pub(crate) fn kill(task: &Task) {
    task.tracing.state.lock().killed = true;
}

fn wake(task: &Task) {
    if let Some(waker) = task.waker.get() {
        waker.wake_by_ref();
    }
}

fn tell_tracer(tracee: &Task, tracer: &Task, kind: i32, status: i32) {
    let action = tracer.group.actions().get(Signal::CHLD);
    let unwanted = action.disposition == Disposition::Ignore
        || (kind == code::CLD_TRAPPED && action.flags.contains(SaFlags::NOCLDSTOP));
    if !unwanted {
        let pid = tracee.tid().in_namespace(&tracer.pid_namespace());
        let info = SigInfo::child(kind, pid, tracee.creds().uid, status, 0, 0);
        let _ = send::process_signal(&tracer.group, info);
    }
    tracer.group.events.notify(Events::IN);
}

impl CurrentTask {
    /// Stops for the tracer until it lets the thread go on, is gone, or the thread is killed. The thread must be at a full stop. At once over if
    /// nobody traces.
    pub async fn trace_stop(
        &self,
        kind: StopKind,
        status: i32,
        info: Option<SigInfo>,
        orig_rax: i64,
    ) -> Resumed {
        let untraced = Resumed {
            signal: info,
            orig_rax,
        };
        let at_exit = status >> 8 == event::EXIT;
        let Some(tracer) = self.tracer() else {
            return untraced;
        };
        {
            let mut state = self.tracing.state.lock();
            state.resume = None;
            state.last = None;
            state.listening = false;
            state.stop = Some(Stop {
                kind,
                status,
                reported: false,
                info,
                orig_rax,
            });
        }
        self.set_state(RunState::Traced);
        tell_tracer(self, &tracer, code::CLD_TRAPPED, status & 0x7f);
        drop(tracer);
        self.thread().set_blocked(true);
        let mut last = untraced;
        let signal = poll_fn(|_| {
            let mut state = self.tracing.state.lock();
            if let Some(stop) = &state.stop {
                last = Resumed {
                    signal: stop.info,
                    orig_rax: stop.orig_rax,
                };
            }
            if let Some(signal) = state.resume.take() {
                state.stop = None;
                if let Some((signal, orig_rax)) = state.last.take() {
                    last = Resumed { signal, orig_rax };
                }
                return Poll::Ready(Some(signal));
            }
            let killed = state.killed || (!at_exit && self.signals.lock().killed);
            if killed || !self.is_traced() {
                state.stop = None;
                return Poll::Ready(None);
            }
            let news = state.listening
                && (self.group.job.lock().stopped_by.is_none()
                    || self.tracing.trap_pending.load(Ordering::SeqCst));
            if news {
                self.tracing.trap_pending.store(false, Ordering::SeqCst);
                state.listening = false;
                let trap = i32::from(Signal::TRAP.number()) | event::STOP << 8;
                if let Some(stop) = &mut state.stop {
                    stop.kind = StopKind::Trap;
                    stop.status = trap;
                    stop.reported = false;
                    stop.info = Some(trap_info(trap));
                }
                let tracer = state.tracer.upgrade();
                drop(state);
                if let Some(tracer) = tracer {
                    tell_tracer(self, &tracer, code::CLD_TRAPPED, trap & 0x7f);
                }
            }
            Poll::Pending
        })
        .await;
        self.thread().set_blocked(false);
        self.set_state(RunState::Running);
        let signal = match (signal, kind) {
            (None, _) => last.signal.filter(|_| kind == StopKind::Signal),
            (Some(number), _) => Signal::new(i64::from(number)).map(|signal| match last.signal {
                // The siginfo stays if the signal does; the tracer's own is from a user.
                Some(info) if kind == StopKind::Signal && info.signal() == signal => info,
                _ => {
                    let tracer = self.tracer();
                    let (pid, uid) = tracer.map_or((0, 0), |tracer| {
                        (
                            tracer.group.pid.in_namespace(&self.pid_namespace()),
                            tracer.creds().uid,
                        )
                    });
                    SigInfo::user(signal, code::SI_USER, pid, uid)
                }
            }),
        };
        Resumed {
            signal,
            orig_rax: last.orig_rax,
        }
    }
}

/// The siginfo of a stop that no signal caused: SIGTRAP with the event as its code.
#[must_use]
pub fn trap_info(status: i32) -> SigInfo {
    SigInfo::user(Signal::TRAP, status, 0, 0)
}

/// A traced thread is gone: its tracer is told, unless the thread leads its process, whose end comes later.
pub(crate) fn thread_gone(task: &Arc<Task>, status: ExitStatus, times: Times) {
    let Some(tracer) = task.tracer() else { return };
    let leader_tracer = task.group.leader_tracer.lock().clone();
    detach(task, 0);
    if leads(task) {
        // Asked for when the last thread is gone.
        *task.group.leader_tracer.lock() = leader_tracer;
        return;
    }
    let status = task.group.exiting.lock().unwrap_or(status);
    bury(&tracer, task, None, status, times);
}

/// Whether the thread is its process's first.
fn leads(task: &Task) -> bool {
    Arc::ptr_eq(&task.tid(), &task.group.pid)
}

/// A process whose leader was traced is gone. `true`: the tracer hears first, the parent after it has waited.
pub(crate) fn process_gone(task: &Arc<Task>, group: &Arc<ThreadGroup>, status: ExitStatus) -> bool {
    let tracer = std::mem::take(&mut *group.leader_tracer.lock());
    let Some(tracer) = tracer.upgrade() else {
        return false;
    };
    let parent = group.parent();
    if parent.is_some_and(|parent| Arc::ptr_eq(&parent, &tracer.group)) {
        return false;
    }
    if tracer.tracing.over.load(Ordering::SeqCst) {
        return false;
    }
    group.withheld.store(true, Ordering::SeqCst);
    let times = group.own_times.lock().plus(*group.child_times.lock());
    bury(&tracer, task, Some(group.clone()), status, times);
    true
}

fn bury(
    tracer: &Arc<Task>,
    task: &Arc<Task>,
    group: Option<Arc<ThreadGroup>>,
    status: ExitStatus,
    times: Times,
) {
    let pid = match &group {
        Some(group) => group.pid.clone(),
        None => task.tid(),
    };
    tracer.tracing.dead.lock().push(DeadTracee {
        pid,
        status,
        group,
        uid: task.creds().uid,
        times,
    });
    let (kind, value) = match status {
        ExitStatus::Code(code) => (code::CLD_EXITED, i32::from(code)),
        ExitStatus::Signal(signal, false) => (code::CLD_KILLED, i32::from(signal.number())),
        ExitStatus::Signal(signal, true) => (code::CLD_DUMPED, i32::from(signal.number())),
    };
    tell_tracer(task, tracer, kind, value);
}

/// The tracer of a dead process has waited for it, or is gone: now the parent is told. Under the tree lock.
pub fn release(group: &Arc<ThreadGroup>) {
    if group.withheld.swap(false, Ordering::SeqCst) {
        lifecycle::tell_parent_of_zombie(group);
    }
}

/// A tracer is gone: its tracees run on, or die with it (PTRACE_O_EXITKILL).
pub(crate) fn tracer_gone(task: &Arc<Task>) {
    task.tracing.over.store(true, Ordering::SeqCst);
    let tracees = std::mem::take(&mut *task.tracing.tracees.lock());
    for tracee in tracees {
        if tracee.trace_option(option::EXITKILL) {
            send::end_group(&tracee.group, ExitStatus::Signal(Signal::KILL, false));
        }
        detach(&tracee, 0);
    }
    let dead = std::mem::take(&mut *task.tracing.dead.lock());
    if dead.iter().any(|dead| dead.group.is_some()) {
        let _tree = task.kernel.tree.lock();
        for group in dead.iter().filter_map(|dead| dead.group.as_ref()) {
            release(group);
        }
    }
}
