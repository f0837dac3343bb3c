//! Seccomp filters at work: what becomes of a call before it is dispatched (`kernel/seccomp.c`: __seccomp_filter).

use std::sync::Arc;

use abi::bpf::SECCOMP_MODE_STRICT;
use abi::signal::Signal;
use sentry::SyscallArgs;
use sentry::error::{Errno, SysResult};
use sentry::signal::{SigInfo, send};
use sentry::task::seccomp::{Action, CallData, evaluate_with_listener};
use sentry::task::seccomp_listener::{Notifications, Reply};
use sentry::task::{CurrentTask, ExitStatus};
use sentry::wait::Events;

use crate::arg::Outcome;
use crate::trace::Entry;

/// What the task's filters make of `call`: `None` lets it run, else it has this result without having run. A tracer may change it.
pub(crate) async fn check(cx: &CurrentTask, call: &mut SyscallArgs) -> Option<SysResult<Outcome>> {
    match judge(cx, call) {
        Judged::Run => None,
        Judged::Instead(result) => Some(result),
        Judged::Notify(listener, data) => notify(cx, &listener, data).await,
        Judged::Ask(data) => match crate::trace::seccomp(cx, call, data).await {
            None => Some(Err(Errno::ENOSYS.into())),
            Some(Entry::End) => Some(Ok(Outcome::Exit)),
            Some(Entry::Skip(value)) => Some(Ok(Outcome::Value(value))),
            // What the tracer made of it is looked at again, but it is not asked again.
            Some(Entry::Run) => match judge(cx, call) {
                Judged::Run | Judged::Ask(_) => None,
                Judged::Instead(result) => Some(result),
                Judged::Notify(listener, data) => notify(cx, &listener, data).await,
            },
        },
    }
}

enum Judged {
    Run,
    Instead(SysResult<Outcome>),
    /// The tracer, if there is one that wants to know.
    Ask(u16),
    /// The supervisor.
    Notify(Arc<Notifications>, CallData),
}

fn judge(cx: &CurrentTask, call: &SyscallArgs) -> Judged {
    let ((action, listener), strict, data) = {
        let state = cx.seccomp.read();
        if state.mode == 0 {
            return Judged::Run;
        }
        let data = CallData {
            nr: call.nr as u32,
            arch: call.arch,
            ip: call.ip,
            args: call.args,
        };
        (
            evaluate_with_listener(&state, &data),
            state.mode == SECCOMP_MODE_STRICT,
            data,
        )
    };
    Judged::Instead(match action {
        Action::Allow | Action::Log => return Judged::Run,
        Action::Trace(data) => return Judged::Ask(data),
        Action::Notify => match listener {
            Some(listener) => return Judged::Notify(listener, data),
            None => Err(Errno::ENOSYS.into()),
        },
        Action::Errno(errno) => Ok(Outcome::Value(-i64::from(errno))),
        Action::Trap(data) => {
            // The registers look as before the call: rax keeps its number.
            send::force_thread_signal(
                cx.task(),
                SigInfo::seccomp(call.ip, call.nr as u32, call.arch, data),
            );
            Ok(Outcome::Value(call.nr as i64))
        }
        Action::KillThread if strict => end_thread(cx, Signal::KILL),
        Action::KillThread if cx.group.tasks.lock().len() > 1 => end_thread(cx, Signal::SYS),
        Action::KillThread | Action::KillProcess => {
            send::end_group(&cx.group, ExitStatus::Signal(Signal::SYS, false));
            Ok(Outcome::Exit)
        }
    })
}

/// Asks the supervisor (`seccomp_do_user_notification`); a signal takes the question back, and the call is made again.
async fn notify(
    cx: &CurrentTask,
    listener: &Notifications,
    data: CallData,
) -> Option<SysResult<Outcome>> {
    let pending = match listener.enter(cx.task(), data) {
        Ok(pending) => pending,
        Err(errno) => return Some(Err(errno.into())),
    };
    let answered = || Ok(listener.answer(&pending)?);
    let answer = cx
        .block_until(&[(&pending.queue, Events::IN)], None, answered)
        .await;
    listener.withdraw(&pending);
    match answer {
        Ok(Reply::Continue) => None,
        Ok(Reply::Value(value)) => Some(Ok(Outcome::Value(value))),
        Err(error) => Some(Err(error)),
    }
}

fn end_thread(cx: &CurrentTask, signal: Signal) -> SysResult<Outcome> {
    cx.set_end(ExitStatus::Signal(signal, false));
    Ok(Outcome::Exit)
}
