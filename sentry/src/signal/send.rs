//! Generating signals (`kernel/signal.c`: send_signal, prepare_signal, complete_signal, force_sig_info).
//!
//! Permission is the caller's to check. A signal is queued first and its receiver interrupted afterwards.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::signal::{SigSet, Signal};

use super::{Action, DefaultAction, Disposition, SigInfo, default_action};
use crate::error::Result;
use crate::task::limits::Resource;
use crate::task::{ExitStatus, ProcessGroup, Task, ThreadGroup};
use crate::wait::Events;

/// Signals that stop a process by default.
pub const STOP_SIGNALS: SigSet = SigSet((1 << 18) | (1 << 19) | (1 << 20) | (1 << 21));

/// Sends to a whole process, as `kill(2)` does. `EAGAIN` if a real-time queue is full.
pub fn process_signal(group: &Arc<ThreadGroup>, info: SigInfo) -> Result<()> {
    send(group, None, info, false)
}

/// Sends from outside the receiver's pid namespace (`runsc kill`): SIGKILL and SIGSTOP reach even an init.
pub fn process_signal_from_outside(group: &Arc<ThreadGroup>, info: SigInfo) -> Result<()> {
    send(group, None, info, true)
}

/// Sends to one thread, as `tgkill(2)` does.
pub fn thread_signal(task: &Arc<Task>, info: SigInfo) -> Result<()> {
    send(&task.group, Some(task), info, false)
}

/// Sends to every member of a process group (terminals, `kill(-pgrp)`); says how many there were.
///
/// A process that is being forked is a member before its parent's call returns: none escapes between two members.
pub fn group_signal(pgrp: &ProcessGroup, info: SigInfo) -> usize {
    let mut reached = 0;
    pgrp.for_each_member(|group| {
        if group.family.read().zombie.is_none() {
            // A full queue of one member must not keep the signal from the others.
            let _ = process_signal(group, info);
            reached += 1;
        }
    });
    reached
}

/// A signal that the thread cannot escape: its own fault. Blocked or ignored, it is reset to default and unblocked, so that it kills.
pub fn force_thread_signal(task: &Arc<Task>, info: SigInfo) {
    let signal = info.signal();
    let actions = task.group.actions();
    let gone = {
        let mut signals = task.signals.lock();
        let blocked = signals.blocked.contains(signal);
        if blocked || actions.get(signal).disposition == Disposition::Ignore {
            actions.set(signal, Action::default());
            signals.blocked = signals.blocked.minus(SigSet::of(signal));
        }
        if actions.get(signal).disposition == Disposition::Default {
            task.group.unshielded.store(true, Ordering::Relaxed);
        }
        // A fault is never dropped for a pending one of the same number: the old one gives way.
        let gone = signals.pending.flush(SigSet::of(signal));
        let _ = signals.pending.push(info, u64::MAX);
        gone
    };
    task.group.timers.dropped(&gone);
    task.interrupt();
}

/// Ends the process as `exit_group` or a deadly signal does: every thread is told; the first status wins.
pub fn end_group(group: &Arc<ThreadGroup>, status: ExitStatus) {
    {
        let mut exiting = group.exiting.lock();
        if exiting.is_none() {
            *exiting = Some(status);
        }
    }
    for task in group.threads() {
        task.signals.lock().killed = true;
        task.interrupt();
    }
    group.job.lock().stopped_by = None;
    group.events.notify(Events::IN);
}

/// Whether `group` is the init of its pid namespace.
#[must_use]
pub fn is_init(group: &Arc<ThreadGroup>) -> bool {
    group
        .pid
        .namespace()
        .init
        .lock()
        .upgrade()
        .is_some_and(|init| Arc::ptr_eq(&init, group))
}

/// Whether default actions cannot touch the process: an init, until a fault of its own is to end it (SIGNAL_UNKILLABLE).
fn is_shielded(group: &Arc<ThreadGroup>) -> bool {
    is_init(group) && !group.unshielded.load(Ordering::Relaxed)
}

fn send(
    group: &Arc<ThreadGroup>,
    thread: Option<&Arc<Task>>,
    info: SigInfo,
    from_outside: bool,
) -> Result<()> {
    let signal = info.signal();
    let unstoppable = signal == Signal::KILL || signal == Signal::STOP;
    let actions = group.actions();
    let shielded = is_shielded(group)
        && actions.get(signal).disposition == Disposition::Default
        && !(from_outside && unstoppable);
    if shielded && unstoppable {
        return Ok(());
    }
    if group.family.read().zombie.is_some() {
        return Ok(());
    }
    prepare(group, signal);
    if signal == Signal::KILL {
        for task in group.threads() {
            crate::task::trace::kill(&task);
        }
        end_group(group, ExitStatus::Signal(Signal::KILL, false));
        return Ok(());
    }
    let limit = group.limit(Resource::Sigpending);
    let threads = group.threads();
    // A tracer sees ignored signals too.
    let traced = match thread {
        Some(task) => task.is_traced(),
        None => threads.iter().any(|task| task.is_traced()),
    };
    let ignored = !traced && (shielded || actions.ignores(signal));
    match thread {
        Some(task) => {
            let mut signals = task.signals.lock();
            let hidden = signals.blocked.contains(signal);
            if ignored && !hidden {
                return Ok(());
            }
            signals.pending.push(info, limit)?;
            let wanted = !hidden || signals.waited_for.contains(signal);
            drop(signals);
            if wanted {
                task.interrupt();
            }
        }
        None => {
            // Ignored signals are kept only if somebody blocks them (and may wait for them).
            if ignored
                && !threads
                    .iter()
                    .any(|t| t.signals.lock().blocked.contains(signal))
            {
                return Ok(());
            }
            group.pending.lock().push(info, limit)?;
            let receiver = threads.iter().find(|t| {
                let signals = t.signals.lock();
                !signals.blocked.contains(signal) || signals.waited_for.contains(signal)
            });
            if let Some(task) = receiver {
                task.interrupt();
            }
        }
    }
    group.signal_arrived.notify(Events::IN);
    Ok(())
}

/// Throws away what is pending of `set`, for the process and each of its threads.
pub fn discard(group: &Arc<ThreadGroup>, set: SigSet) {
    let mut gone = group.pending.lock().flush(set);
    for task in group.threads() {
        gone.extend(task.signals.lock().pending.flush(set));
    }
    group.timers.dropped(&gone);
}

/// Stop signals cancel a pending SIGCONT and the other way round; SIGCONT continues a stopped process even if blocked or ignored.
fn prepare(group: &Arc<ThreadGroup>, signal: Signal) {
    let flush = |set: SigSet| discard(group, set);
    if STOP_SIGNALS.contains(signal) {
        flush(SigSet::of(Signal::CONT));
    } else if signal == Signal::CONT || signal == Signal::KILL {
        flush(STOP_SIGNALS);
        let was_stopped = {
            let mut job = group.job.lock();
            let was = job.stopped_by.take().is_some();
            if was {
                job.stop_unreported = false;
                job.continue_unreported = signal == Signal::CONT;
            }
            was
        };
        if was_stopped {
            for task in group.threads() {
                task.interrupt();
            }
            if signal == Signal::CONT {
                crate::task::lifecycle::notify_parent_of_job(
                    group,
                    abi::signal::code::CLD_CONTINUED,
                    i32::from(Signal::CONT.number()),
                );
            }
        }
    }
}

/// What a task is to do next about its signals.
#[derive(Clone, Copy, Debug)]
pub enum Delivery {
    /// Nothing.
    None,
    /// End the process. No core is ever dumped, and the status says so.
    Terminate(Signal),
    /// Stop the process.
    Stop(Signal),
    /// Run a handler.
    Handler(Action, SigInfo),
    /// Let the tracer see it first: what it leaves goes to [`act_on`].
    Traced(SigInfo),
}

/// Takes the next signal that is to be acted upon; ignored ones are dropped on the way.
pub fn next_delivery(task: &Arc<Task>) -> Delivery {
    loop {
        let info = {
            let mut signals = task.signals.lock();
            let wanted = SigSet::ALL.minus(signals.blocked);
            match signals.pending.take(wanted) {
                Some(info) => Some(info),
                None => {
                    drop(signals);
                    task.group.pending.lock().take(wanted)
                }
            }
        };
        let Some(mut info) = info else {
            return Delivery::None;
        };
        task.group.timers.taken(&mut info);
        if task.is_traced() && info.signal() != Signal::KILL {
            return Delivery::Traced(info);
        }
        if let Some(delivery) = act_on(task, info) {
            return delivery;
        }
    }
}

/// What a signal that was taken out of its queue leads to; `None`: it is ignored.
pub fn act_on(task: &Arc<Task>, info: SigInfo) -> Option<Delivery> {
    let signal = info.signal();
    let actions = task.group.actions();
    let action = actions.get(signal);
    match action.disposition {
        Disposition::Ignore => None,
        Disposition::Handler(_) => {
            if action.flags.contains(super::SaFlags::RESETHAND) {
                actions.set(
                    signal,
                    Action {
                        disposition: Disposition::Default,
                        ..action
                    },
                );
            }
            Some(Delivery::Handler(action, info))
        }
        Disposition::Default if signal != Signal::STOP && is_shielded(&task.group) => None,
        Disposition::Default => match default_action(signal) {
            DefaultAction::Ignore | DefaultAction::Continue => None,
            DefaultAction::Stop => {
                let orphaned = signal != Signal::STOP
                    && crate::task::lifecycle::is_orphaned(&task.group.process_group());
                (!orphaned).then_some(Delivery::Stop(signal))
            }
            DefaultAction::Terminate | DefaultAction::Core => Some(Delivery::Terminate(signal)),
        },
    }
}
