//! The life of a guest thread: run, stop, handle, deliver signals, run on.
//!
//! The rule that keeps signals from being missed: before the guest runs on, the thread sets `in_guest` and *then* looks whether it was interrupted;
//! whoever interrupts raises the flag and *then* looks at `in_guest` (see [`sentry::task::Task::interrupt`]).

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Instant;

use abi::Errno;
use abi::signal::{Signal, code};
use sentry::SyscallArgs;
use sentry::error::{Restart, SysError, SysResult};
use sentry::platform::futures_shape::BoxFuture;
use sentry::platform::{Fault, Gone, GuestThread, Registers, Stop};
use sentry::signal::frame::{self, TrapInfo};
use sentry::signal::send::{self, Delivery};
use sentry::signal::{Action, SaFlags, SigInfo};
use sentry::task::limits::Resource;
use sentry::task::trace::{Mode, Resumed, StopKind, event, trap_info};
use sentry::task::{CurrentTask, ExitStatus, RunState, lifecycle};

use crate::arg::Outcome;
use crate::guard::contained;
use crate::table::dispatch;
use crate::trace::Entry;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const RESTART_SYSCALL: u64 = 219;

/// Runs a task to its end: what [`sentry::kernel::Kernel`] is made with.
#[must_use]
pub fn run_task(cx: CurrentTask) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let task = cx.task().clone();
        poll_fn(|context| {
            let _ = task.waker.set(context.waker().clone());
            Poll::Ready(())
        })
        .await;
        let status = match contained(run(&cx)).await {
            Ok(status) => status,
            Err(report) => {
                // A defect of ours ends the guest process that met it, not the sandbox.
                let call = *cx.current_call.lock();
                let call = call.map_or(-1, |call| call.nr.cast_signed());
                cx.kernel.log.line(&format!(
                    "runsc: internal error while serving process {} (thread {}, system call {call}): {report}: the process is killed",
                    cx.group.pid.local(),
                    cx.tid_number()
                ));
                send::end_group(&cx.group, ExitStatus::Signal(Signal::KILL, false));
                ExitStatus::Signal(Signal::KILL, false)
            }
        };
        crate::trace::exiting(&cx, status).await;
        crate::process::leave(&cx, status);
    })
}

/// What to do with the thread next.
enum Next {
    /// Wait for its next stop.
    Run,
    /// It is over.
    End(ExitStatus),
}

async fn run(cx: &CurrentTask) -> ExitStatus {
    loop {
        let stop = next_stop(cx).await;
        cx.set_in_guest(false);
        let deferred = cx.has_stopped();
        let stepped = matches!(stop, Ok(stop) if stop.is_full()) && crate::trace::after_stop(cx);
        let next = match stop {
            // A step whose tracer is gone.
            Ok(Stop::Fault(fault))
                if stepped && fault.signal == Signal::TRAP && !cx.is_traced() =>
            {
                return_to_guest(cx, None, TrapInfo::default()).await
            }
            Err(Gone) => {
                send::end_group(&cx.group, ExitStatus::Signal(Signal::KILL, false));
                Next::End(ExitStatus::Signal(Signal::KILL, false))
            }
            Ok(Stop::Syscall(call))
                if cx.is_traced()
                    || crate::futex::needs_full_stop(&call)
                    || crate::rseq::needs_full_stop(cx, &call) =>
            {
                match stop_fully(cx, Errno::ENOSYS.as_return()).await {
                    Some(thread) => {
                        set_rax(&*thread, call.nr);
                        full_call(cx, call).await
                    }
                    None => Next::End(cx.end_status()),
                }
            }
            Ok(Stop::Syscall(call)) if crate::passing::concerns(&call) => {
                crate::passing::pass(cx, &call).await;
                Next::Run
            }
            Ok(Stop::Syscall(call)) => light_call(cx, call).await,
            Ok(Stop::SyscallFull(call)) => full_call(cx, call).await,
            Ok(Stop::Fault(fault)) if grows_stack(cx, &fault).await => {
                return_to_guest(cx, None, TrapInfo::default()).await
            }
            Ok(Stop::Fault(fault)) => {
                crate::rseq::abort(cx);
                let info = SigInfo::fault(fault.signal, fault_code(&fault), fault.addr);
                send::force_thread_signal(cx.task(), info);
                let trap = TrapInfo {
                    trapno: fault.trapno,
                    error: fault.error,
                    cr2: fault.cr2,
                };
                return_to_guest(cx, None, trap).await
            }
            Ok(Stop::DeferredFailed(error)) => {
                if let Some((map, deferred)) = deferred {
                    set_rax(&*cx.thread(), map.undo(&deferred, error).cast_unsigned());
                }
                return_to_guest(cx, None, TrapInfo::default()).await
            }
            Ok(Stop::Started | Stop::Kicked) => {
                crate::rseq::abort(cx);
                return_to_guest(cx, None, TrapInfo::default()).await
            }
        };
        if let Next::End(status) = next {
            return status;
        }
    }
}

/// Whether the fault was a touch below a MAP_GROWSDOWN mapping that has grown by it.
async fn grows_stack(cx: &CurrentTask, fault: &Fault) -> bool {
    if fault.signal != Signal::SEGV || fault.code != code::SEGV_MAPERR {
        return false;
    }
    let limit = cx.group.limit(Resource::Stack);
    let thread = cx.thread();
    cx.memory_map().grow_down(&*thread, fault.addr, limit).await
}

async fn next_stop(cx: &CurrentTask) -> Result<Stop, Gone> {
    let thread = cx.thread();
    poll_fn(|context| thread.poll_stop(context)).await
}

/// The host's code but for what only the host could mean.
fn fault_code(fault: &Fault) -> i32 {
    if fault.code == 0 {
        code::SI_KERNEL
    } else {
        fault.code
    }
}

async fn call(cx: &CurrentTask, mut call: SyscallArgs) -> SysResult<Outcome> {
    if let Some(instead) = crate::seccomp::check(cx, &mut call).await {
        return instead;
    }
    if call.arch != AUDIT_ARCH_X86_64 {
        cx.kernel.unsupported.count(call.nr, Errno::ENOSYS);
        return Err(Errno::ENOSYS.into());
    }
    *cx.current_call.lock() = Some(call);
    sentry::vfs::moment::begin();
    #[cfg(test)]
    crate::guard_tests::inject(&call);
    let result = if cx.kernel.strace.wants(call.nr) {
        let start = Instant::now();
        let before = crate::strace::before(cx, &call);
        let result = dispatch(cx, call).await;
        let line = crate::strace::line(cx, &call, before, &result, start.elapsed());
        cx.kernel.log.line(&line);
        result
    } else {
        dispatch(cx, call).await
    };
    if let Err(SysError::Errno(errno @ (Errno::ENOSYS | Errno::EOPNOTSUPP))) = &result {
        cx.kernel.unsupported.count(call.nr, *errno);
    }
    *cx.current_call.lock() = None;
    result
}

/// A call of which only number and arguments are known: answered by value, unless signals ask for more.
async fn light_call(cx: &CurrentTask, args: SyscallArgs) -> Next {
    let mut now = args;
    loop {
        let result = call(cx, now).await;
        let value = match result {
            Ok(Outcome::Exit) => return Next::End(cx.end_status()),
            Ok(Outcome::Value(value)) => value,
            // Handlers that set registers are marked `full` in the table; should one come here, its answer is 0.
            Ok(Outcome::RegistersSet) => 0,
            Err(SysError::Errno(errno)) => errno.as_return(),
            Err(SysError::Restart(restart)) => match interrupted(cx, false).await {
                Interrupted::End(status) => return Next::End(status),
                Interrupted::Traced(_) => return traced_after_light(cx, args, Err(restart)).await,
                Interrupted::Redo => {
                    now = if restart == Restart::Block {
                        SyscallArgs {
                            nr: RESTART_SYSCALL,
                            ..args
                        }
                    } else {
                        args
                    };
                    continue;
                }
                Interrupted::Handler(action, info) => {
                    return handler_after_light(cx, args, Err(restart), action, info).await;
                }
            },
        };
        cx.set_in_guest(true);
        if !cx.is_interrupted() && cx.signals.lock().saved_mask.is_none() {
            cx.thread().answer(value);
            return Next::Run;
        }
        cx.set_in_guest(false);
        return match interrupted(cx, false).await {
            Interrupted::End(status) => Next::End(status),
            Interrupted::Traced(_) => traced_after_light(cx, args, Ok(value)).await,
            Interrupted::Handler(action, info) => {
                handler_after_light(cx, args, Ok(value), action, info).await
            }
            Interrupted::Redo => {
                cx.set_in_guest(true);
                if cx.is_interrupted() {
                    // News again: take the long way, which looks until nothing is left.
                    cx.thread().answer_and_stop(value);
                } else {
                    cx.thread().answer(value);
                }
                Next::Run
            }
        };
    }
}

enum Interrupted {
    /// Nothing that the guest must see: go on as before.
    Redo,
    /// A handler is to run.
    Handler(Action, SigInfo),
    /// The thread ends.
    End(ExitStatus),
    /// The tracer is to see this first, at a full stop.
    Traced(Reason),
}

/// Why a traced thread stops on its way back to the guest.
enum Reason {
    /// It is not at a full stop yet: then the rest is looked at.
    Light,
    /// PTRACE_INTERRUPT and its like.
    Trap,
    /// Its process is stopped by this signal.
    Group(Signal),
    /// A signal before its delivery.
    Signal(SigInfo),
}

/// Looks at signals and orders until there is something for the guest to see, or nothing left. `full`: the thread is at a full stop.
async fn interrupted(cx: &CurrentTask, full: bool) -> Interrupted {
    loop {
        cx.clear_interrupted();
        if cx.signals.lock().killed {
            return Interrupted::End(cx.end_status());
        }
        if cx.container.is_frozen() {
            stay_frozen(cx).await;
            continue;
        }
        if cx.is_traced() && !full {
            return Interrupted::Traced(Reason::Light);
        }
        if cx.is_traced() && cx.tracing.trap_pending.swap(false, Ordering::SeqCst) {
            return Interrupted::Traced(Reason::Trap);
        }
        if cx.must_stop() {
            let signal = cx.group.job.lock().stopped_by;
            match signal {
                Some(signal) if cx.is_traced() => {
                    return Interrupted::Traced(Reason::Group(signal));
                }
                _ => stay_stopped(cx).await,
            }
            continue;
        }
        match send::next_delivery(cx.task()) {
            Delivery::None => {
                let mut signals = cx.signals.lock();
                let Some(saved) = signals.saved_mask.take() else {
                    return Interrupted::Redo;
                };
                // The call that lent the mask is over without a handler: what the old mask lets through is looked at too.
                signals.blocked = saved;
            }
            Delivery::Handler(action, info) => return Interrupted::Handler(action, info),
            Delivery::Traced(info) => return Interrupted::Traced(Reason::Signal(info)),
            other => carry_out(cx, other),
        }
    }
}

/// Ends or stops the process.
fn carry_out(cx: &CurrentTask, delivery: Delivery) {
    match delivery {
        Delivery::Terminate(signal) => {
            send::end_group(&cx.group, ExitStatus::Signal(signal, false));
        }
        Delivery::Stop(signal) => {
            {
                let mut job = cx.group.job.lock();
                job.stopped_by = Some(signal);
                job.stop_unreported = true;
                job.continue_unreported = false;
            }
            for task in cx.group.threads() {
                task.tracing.passed_stop.store(false, Ordering::SeqCst);
                if !Arc::ptr_eq(&task, cx.task()) {
                    task.interrupt();
                }
            }
        }
        Delivery::None | Delivery::Handler(..) | Delivery::Traced(_) => {}
    }
}

/// Waits while the container is paused.
async fn stay_frozen(cx: &CurrentTask) {
    cx.thread().set_blocked(true);
    poll_fn(|_| {
        let over = !cx.container.is_frozen() || cx.signals.lock().killed;
        if over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    cx.thread().set_blocked(false);
}

/// Waits while the process is stopped; the last thread to stop tells the parent.
async fn stay_stopped(cx: &CurrentTask) {
    cx.set_state(RunState::Stopped);
    let all_stopped = cx
        .group
        .threads()
        .iter()
        .all(|task| task.state() == RunState::Stopped);
    let signal = cx.group.job.lock().stopped_by;
    if all_stopped && let Some(signal) = signal {
        lifecycle::notify_parent_of_job(&cx.group, code::CLD_STOPPED, i32::from(signal.number()));
    }
    cx.thread().set_blocked(true);
    poll_fn(|_| {
        let over =
            cx.group.job.lock().stopped_by.is_none() || cx.signals.lock().killed || cx.is_traced();
        if over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    cx.thread().set_blocked(false);
    cx.set_state(RunState::Running);
}

/// Answers a light call with `value` and stops the thread fully at once; `None`: it is to end.
async fn stop_fully(cx: &CurrentTask, value: i64) -> Option<Arc<dyn GuestThread>> {
    let thread = cx.thread();
    thread.answer_and_stop(value);
    let stop = next_stop(cx).await;
    if matches!(stop, Ok(stop) if stop.is_full()) {
        crate::trace::after_stop(cx);
        return Some(thread);
    }
    send::end_group(&cx.group, ExitStatus::Signal(Signal::KILL, false));
    None
}

fn set_rax(thread: &dyn GuestThread, value: u64) {
    if let Ok(mut registers) = thread.registers() {
        registers.rax = value;
        let _ = thread.set_registers(&registers);
    }
}

/// A tracer came while the thread was in a light call: it goes on as if the call had been full.
async fn traced_after_light(
    cx: &CurrentTask,
    call: SyscallArgs,
    result: Result<i64, Restart>,
) -> Next {
    let value = result.unwrap_or(Errno::EINTR.as_return());
    let Some(thread) = stop_fully(cx, value).await else {
        return Next::End(cx.end_status());
    };
    // What it was interrupted for has not been looked at.
    cx.interrupt();
    let restart = result.err().map(|restart| (call, restart));
    if restart.is_some() {
        set_rax(&*thread, call.nr);
    }
    return_to_guest(cx, restart, TrapInfo::default()).await
}

/// A handler runs when a light call returns: the call is answered, the thread stopped fully at once, and the frame built.
async fn handler_after_light(
    cx: &CurrentTask,
    call: SyscallArgs,
    result: Result<i64, Restart>,
    action: Action,
    info: SigInfo,
) -> Next {
    let value = result.unwrap_or(Errno::EINTR.as_return());
    let Some(thread) = stop_fully(cx, value).await else {
        return Next::End(cx.end_status());
    };
    let Ok(mut registers) = thread.registers() else {
        return Next::Run;
    };
    if let Err(restart) = result {
        apply_restart(&mut registers, &call, restart, Some(&action));
    }
    push_frame(
        cx,
        &*thread,
        &mut registers,
        &action,
        &info,
        TrapInfo::default(),
    );
    if thread.set_registers(&registers).is_err() {
        return Next::Run;
    }
    return_to_guest(cx, None, TrapInfo::default()).await
}

/// Decides between EINTR and re-execution (`arch/x86/kernel/signal.c`: handle_signal, arch_do_signal_or_restart).
fn apply_restart(
    registers: &mut Registers,
    call: &SyscallArgs,
    restart: Restart,
    handler: Option<&Action>,
) {
    let again = match (restart, handler) {
        (Restart::NoIntr, _) => true,
        (Restart::Sys, Some(action)) => action.flags.contains(SaFlags::RESTART),
        (Restart::NoHand | Restart::Block, Some(_)) => false,
        (_, None) => true,
    };
    if again {
        registers.rax = if restart == Restart::Block && handler.is_none() {
            RESTART_SYSCALL
        } else {
            call.nr
        };
        registers.rip = registers.rip.wrapping_sub(2);
    } else {
        registers.rax = Errno::EINTR.as_return() as u64;
    }
}

fn push_frame(
    cx: &CurrentTask,
    thread: &dyn GuestThread,
    registers: &mut Registers,
    action: &Action,
    info: &SigInfo,
    trap: TrapInfo,
) {
    if frame::push(
        cx.task(),
        &cx.memory(),
        thread,
        registers,
        action,
        info,
        trap,
    )
    .is_err()
    {
        // No room for the frame: SIGSEGV that cannot be handled on this stack either (force_sigsegv).
        if info.signal() == Signal::SEGV {
            cx.group.actions().set(Signal::SEGV, Action::default());
        }
        send::force_thread_signal(cx.task(), frame::broken_stack());
    }
}

/// A call with the whole register file.
async fn full_call(cx: &CurrentTask, mut args: SyscallArgs) -> Next {
    let entry = if cx.is_traced() {
        crate::trace::entry(cx, &mut args).await
    } else {
        Entry::Run
    };
    let (result, skipped) = match entry {
        Entry::Run => (call(cx, args).await, false),
        Entry::Skip(value) => (Ok(Outcome::Value(value)), true),
        Entry::End => return Next::End(cx.end_status()),
    };
    let (value, mut restart) = match result {
        Ok(Outcome::Exit) => return Next::End(cx.end_status()),
        Ok(Outcome::RegistersSet) => (None, None),
        Ok(Outcome::Value(value)) => (Some(value), None),
        Err(SysError::Errno(errno)) => (Some(errno.as_return()), None),
        Err(SysError::Restart(restart)) => (None, Some((args, restart))),
    };
    if let Some(value) = value {
        set_rax(&*cx.thread(), value.cast_unsigned());
    }
    if cx.is_traced() {
        // The tracer looks before the guest runs on.
        make_deferred(cx).await;
        let shown = restart.map_or(value, |(_, restart)| {
            Some(crate::trace::restart_code(restart))
        });
        if !crate::trace::exit(cx, &args, shown, skipped).await {
            restart = None;
        }
    }
    return_to_guest(cx, restart, TrapInfo::default()).await
}

/// Makes a call that was left for the end of the stop now: something else comes first.
async fn make_deferred(cx: &CurrentTask) {
    let Some((map, deferred)) = cx.has_stopped() else {
        return;
    };
    if let Err(error) = sentry::mm::ops::order(&*cx.thread(), deferred.call().clone()).await {
        set_rax(&*cx.thread(), map.undo(&deferred, error).cast_unsigned());
    }
}

/// Leaves a full stop: delivers what is pending, then lets the guest run.
async fn return_to_guest(
    cx: &CurrentTask,
    mut restart: Option<(SyscallArgs, Restart)>,
    mut trap: TrapInfo,
) -> Next {
    loop {
        cx.set_in_guest(true);
        if !cx.is_interrupted() && restart.is_none() && cx.signals.lock().saved_mask.is_none() {
            crate::trace::before_resume(cx);
            cx.thread().resume();
            return Next::Run;
        }
        cx.set_in_guest(false);
        make_deferred(cx).await;
        let next = match interrupted(cx, true).await {
            Interrupted::Traced(reason) => traced_return(cx, reason, &mut restart).await,
            other => other,
        };
        let thread = cx.thread();
        let Ok(mut registers) = thread.registers() else {
            return Next::Run;
        };
        match next {
            Interrupted::End(status) => return Next::End(status),
            // Looked at again.
            Interrupted::Traced(_) => cx.interrupt(),
            Interrupted::Redo => {
                if let Some((call, restart)) = restart.take() {
                    apply_restart(&mut registers, &call, restart, None);
                    let _ = thread.set_registers(&registers);
                }
            }
            Interrupted::Handler(action, info) => {
                if let Some((call, restart)) = restart.take() {
                    apply_restart(&mut registers, &call, restart, Some(&action));
                }
                push_frame(
                    cx,
                    &*thread,
                    &mut registers,
                    &action,
                    &info,
                    std::mem::take(&mut trap),
                );
                let _ = thread.set_registers(&registers);
                if cx.trace_mode() == Mode::Step {
                    crate::trace::step_trap(cx).await;
                }
                // More may be pending: looked at before the first instruction of the handler.
                cx.interrupt();
            }
        }
    }
}

/// Lets the tracer see why a thread does not run on, and does what it leaves of that. [`Interrupted::Traced`]: look again.
async fn traced_return(
    cx: &CurrentTask,
    reason: Reason,
    restart: &mut Option<(SyscallArgs, Restart)>,
) -> Interrupted {
    let thread = cx.thread();
    let shown = restart.map(|(call, restart)| (call.nr, crate::trace::restart_code(restart)));
    if let Some((_, code)) = shown {
        set_rax(&*thread, code.cast_unsigned());
    }
    let nr = shown.map_or(-1, |(nr, _)| nr.cast_signed());
    let group_event = if cx.tracing.state.lock().seized {
        event::STOP << 8
    } else {
        0
    };
    let resumed = match &reason {
        Reason::Light => return Interrupted::Traced(Reason::Light),
        Reason::Trap => {
            let stopped = cx.group.job.lock().stopped_by;
            let signal = stopped.unwrap_or(Signal::TRAP);
            let status = i32::from(signal.number()) | event::STOP << 8;
            cx.trace_stop(StopKind::Trap, status, Some(trap_info(status)), nr)
                .await
        }
        Reason::Group(signal) => {
            let status = i32::from(signal.number()) | group_event;
            let info = (group_event != 0).then(|| trap_info(status));
            let resumed = cx.trace_stop(StopKind::Group, status, info, nr).await;
            Resumed {
                signal: None,
                ..resumed
            }
        }
        Reason::Signal(info) => {
            let status = i32::from(info.signal().number());
            cx.trace_stop(StopKind::Signal, status, Some(*info), nr)
                .await
        }
    };
    if let Some((_, code)) = shown {
        // The tracer made something else of the interrupted call.
        let kept = thread
            .registers()
            .is_ok_and(|registers| registers.rax.cast_signed() == code);
        if resumed.orig_rax < 0 || !kept {
            *restart = None;
        }
    }
    let (Reason::Signal(_), Some(info)) = (&reason, resumed.signal) else {
        return Interrupted::Traced(reason);
    };
    let blocked = cx.signals.lock().blocked.contains(info.signal());
    if blocked && info.signal() != Signal::STOP {
        let _ = cx.signals.lock().pending.push(info, u64::MAX);
        return Interrupted::Traced(reason);
    }
    match send::act_on(cx.task(), info) {
        Some(Delivery::Handler(action, info)) => Interrupted::Handler(action, info),
        Some(other) => {
            carry_out(cx, other);
            Interrupted::Traced(reason)
        }
        None => Interrupted::Traced(reason),
    }
}
