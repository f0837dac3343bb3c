//! A traced thread's own side of `ptrace(2)`: where it stops on its way through calls, events, signals and its end.
//!
//! All stops happen at full stops of the host thread: a traced thread's light calls are made full first (see [`crate::run`]).

use std::sync::atomic::Ordering;

use abi::Errno;
use abi::signal::Signal;
use sentry::SyscallArgs;
use sentry::error::Restart;
use sentry::platform::GuestThread;
use sentry::signal::SigInfo;
use sentry::task::trace::{Mode, Resumed, StopKind, event, option, trap_info};
use sentry::task::{CurrentTask, ExitStatus, Task};

/// The trap flag of the flags register.
const TRAP_FLAG: u64 = 0x100;
const SIGTRAP: i32 = 5;
const EXECVE: u64 = 59;
const EXECVEAT: u64 = 322;

/// What becomes of a call after its entry stop.
pub(crate) enum Entry {
    /// It is made, perhaps another one than the thread asked for.
    Run,
    /// It is left out and has this result.
    Skip(i64),
    /// The thread is to end.
    End,
}

/// How the kernel marks an interrupted call in rax (`include/linux/errno.h`).
pub(crate) const fn restart_code(restart: Restart) -> i64 {
    match restart {
        Restart::Sys => -512,
        Restart::NoIntr => -513,
        Restart::NoHand => -514,
        Restart::Block => -516,
    }
}

fn show(thread: &dyn GuestThread, rax: i64) {
    if let Ok(mut registers) = thread.registers() {
        registers.rax = rax.cast_unsigned();
        let _ = thread.set_registers(&registers);
    }
}

/// Sets the trap flag if the thread is to be stepped. The last thing before it runs on.
pub(crate) fn before_resume(cx: &CurrentTask) {
    if cx.trace_mode() != Mode::Step {
        return;
    }
    let thread = cx.thread();
    if let Ok(mut registers) = thread.registers() {
        registers.eflags |= TRAP_FLAG;
        cx.tracing.stepping.store(true, Ordering::Relaxed);
        let _ = thread.set_registers(&registers);
    }
}

/// Takes our trap flag back. The first thing at a full stop. `true`: it was set.
pub(crate) fn after_stop(cx: &CurrentTask) -> bool {
    if !cx.tracing.stepping.swap(false, Ordering::Relaxed) {
        return false;
    }
    let thread = cx.thread();
    if let Ok(mut registers) = thread.registers() {
        registers.eflags &= !TRAP_FLAG;
        let _ = thread.set_registers(&registers);
    }
    true
}

fn call_stop_status(cx: &CurrentTask) -> i32 {
    if cx.trace_option(option::TRACESYSGOOD) {
        SIGTRAP | 0x80
    } else {
        SIGTRAP
    }
}

/// Stops before or after a call; the signal that the tracer goes on with is sent to the thread.
async fn call_stop(cx: &CurrentTask, kind: StopKind, nr: i64) -> Resumed {
    let status = call_stop_status(cx);
    let info = SigInfo::user(Signal::TRAP, status, cx.tid_number(), cx.creds().uid);
    let resumed = cx.trace_stop(kind, status, Some(info), nr).await;
    if let Some(info) = resumed.signal {
        let _ = sentry::signal::send::thread_signal(cx.task(), info);
    }
    resumed
}

/// The call as the registers say it after a stop, with the number that the tracer left.
fn reread(cx: &CurrentTask, args: &mut SyscallArgs, nr: i64) -> Entry {
    let thread = cx.thread();
    let Ok(registers) = thread.registers() else {
        return Entry::End;
    };
    if cx.signals.lock().killed {
        return Entry::End;
    }
    if nr < 0 {
        return Entry::Skip(registers.rax.cast_signed());
    }
    args.nr = nr.cast_unsigned();
    args.args = [
        registers.rdi,
        registers.rsi,
        registers.rdx,
        registers.r10,
        registers.r8,
        registers.r9,
    ];
    show(&*thread, nr);
    Entry::Run
}

/// Before a call, if the tracer asked for it.
pub(crate) async fn entry(cx: &CurrentTask, args: &mut SyscallArgs) -> Entry {
    if cx.trace_mode() != Mode::Syscall {
        return Entry::Run;
    }
    show(&*cx.thread(), Errno::ENOSYS.as_return());
    let resumed = call_stop(cx, StopKind::Entry, args.nr.cast_signed()).await;
    reread(cx, args, resumed.orig_rax)
}

/// At SECCOMP_RET_TRACE with `data`, if the tracer wants to hear of it: `None` if it does not.
pub(crate) async fn seccomp(cx: &CurrentTask, args: &mut SyscallArgs, data: u16) -> Option<Entry> {
    if !cx.trace_option(option::TRACESECCOMP) {
        return None;
    }
    show(&*cx.thread(), Errno::ENOSYS.as_return());
    cx.tracing.state.lock().message = u64::from(data);
    let status = SIGTRAP | event::SECCOMP << 8;
    let nr = args.nr.cast_signed();
    let info = Some(trap_info(status));
    let kind = StopKind::Seccomp(data);
    let resumed = cx.trace_stop(kind, status, info, nr).await;
    Some(reread(cx, args, resumed.orig_rax))
}

/// After a call that left `rax` so: exec's event, then the exit stop or the step's end. `false`: the tracer has taken a restart back.
pub(crate) async fn exit(
    cx: &CurrentTask,
    args: &SyscallArgs,
    rax: Option<i64>,
    skipped: bool,
) -> bool {
    let thread = cx.thread();
    let executed = rax.is_none() && matches!(args.nr, EXECVE | EXECVEAT);
    if let Some(rax) = rax {
        show(&*thread, rax);
    }
    if executed && !skipped {
        exec(cx, args.nr.cast_signed()).await;
    }
    let nr = args.nr.cast_signed();
    match cx.trace_mode() {
        Mode::Syscall => {
            let resumed = call_stop(cx, StopKind::Exit, nr).await;
            resumed.orig_rax >= 0
                && rax.is_none_or(|rax| {
                    thread
                        .registers()
                        .is_ok_and(|registers| registers.rax.cast_signed() == rax)
                })
        }
        Mode::Step if !executed => {
            step_trap(cx).await;
            true
        }
        _ => true,
    }
}

/// A step has ended at a call or at a handler's first instruction.
pub(crate) async fn step_trap(cx: &CurrentTask) {
    let info = SigInfo::user(Signal::TRAP, 0, 0, 0);
    let resumed = cx
        .trace_stop(StopKind::Signal, SIGTRAP, Some(info), -1)
        .await;
    if let Some(info) = resumed.signal {
        let _ = sentry::signal::send::thread_signal(cx.task(), info);
    }
}

async fn exec(cx: &CurrentTask, nr: i64) {
    if cx.trace_option(option::TRACEEXEC) {
        let own = i64::from(cx.tid_number());
        stop_for(cx, event::EXEC, own.cast_unsigned(), nr).await;
    } else if !cx.tracing.state.lock().seized {
        let info = SigInfo::user(Signal::TRAP, 0, cx.tid_number(), cx.creds().uid);
        let _ = sentry::signal::send::thread_signal(cx.task(), info);
    }
}

/// Stops for an event with a message.
pub(crate) async fn stop_for(cx: &CurrentTask, event: i32, message: u64, nr: i64) {
    cx.tracing.state.lock().message = message;
    let status = SIGTRAP | event << 8;
    let info = Some(trap_info(status));
    cx.trace_stop(StopKind::Event, status, info, nr).await;
}

/// Stops for an event of the clone family, if the tracer wants it. The caller is in the call, at a full stop.
pub(crate) async fn clone_event(cx: &CurrentTask, event: i32, child: i32) {
    let wanted = match event {
        event::FORK => option::TRACEFORK,
        event::VFORK => option::TRACEVFORK,
        event::CLONE => option::TRACECLONE,
        _ => option::TRACEVFORKDONE,
    };
    if !cx.trace_option(wanted) {
        return;
    }
    let tracer = cx.tracer();
    // The child's id as the tracer counts.
    let namespace = cx.pid_namespace();
    let number = tracer.map_or(child, |tracer| {
        namespace
            .pid(child)
            .map_or(child, |pid| pid.in_namespace(&tracer.pid_namespace()))
    });
    let nr = cx.current_call.lock().map_or(-1, |call| call.nr as i64);
    let rax = cx.thread().registers().map_or(0, |r| r.rax.cast_signed());
    show(&*cx.thread(), Errno::ENOSYS.as_return());
    stop_for(cx, event, u64::from(number.cast_unsigned()), nr).await;
    show(&*cx.thread(), rax);
}

/// Which event a clone with these flags and exit signal is.
pub(crate) const fn clone_event_of(vfork: bool, exit_signal: i32) -> i32 {
    if vfork {
        event::VFORK
    } else if exit_signal == 17 {
        event::FORK
    } else {
        event::CLONE
    }
}

/// Makes `child` a tracee of the parent's tracer, before it runs.
pub(crate) fn inherit(cx: &CurrentTask, child: &std::sync::Arc<Task>, event: i32, asked: bool) {
    let wanted = match event {
        event::FORK => option::TRACEFORK,
        event::VFORK => option::TRACEVFORK,
        _ => option::TRACECLONE,
    };
    let Some(tracer) = cx.tracer() else { return };
    let (seized, options) = {
        let state = cx.tracing.state.lock();
        (state.seized, state.options)
    };
    if options & wanted == 0 && !asked {
        return;
    }
    if sentry::task::trace::attach(child, &tracer, seized, options).is_err() {
        return;
    }
    if seized {
        sentry::task::trace::trap(child);
    } else {
        let info = SigInfo::user(Signal::STOP, 0, 0, 0);
        let _ = child.signals.lock().pending.push(info, u64::MAX);
        child.interrupt();
    }
}

/// The last stop of a thread that ends with `status`, if the tracer wants it.
pub(crate) async fn exiting(cx: &CurrentTask, status: ExitStatus) {
    if cx.trace_option(option::TRACEEXIT) && cx.thread().registers().is_ok() {
        let status = cx.group.exiting.lock().unwrap_or(status);
        let message = u64::from(status.wait_status().cast_unsigned());
        stop_for(cx, event::EXIT, message, -1).await;
    }
}
