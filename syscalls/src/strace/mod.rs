//! `--strace`: a line a call in the shape that users of strace know, from the table's parameter types.
//!
//! Nothing of a guest's memory is read unless the call is traced. What a call reads is shown as it was before the call, what it writes as it is
//! after one that succeeded; both are looked at on their own, so that the call's outcome is what it would be without. A thread that shares the
//! memory can change it between the look and the call: what is shown is not proof. A call's line comes when it returns; what threads are waiting
//! in, `runsc debug --stacks` says.

mod command;
pub mod filter;
mod message;
pub mod names;
pub mod shape;
pub(crate) mod shapes;
mod structs;
mod text;

use std::fmt::Write;
use std::time::Duration;

use sentry::SyscallArgs;
use sentry::error::{Restart, SysError, SysResult};
use sentry::mm::UserMemory;
use sentry::task::CurrentTask;

use crate::arg::Outcome;
use crate::table::{Entry, Parameter, entry};
use shape::{Seen, Shape, pointer};

/// What was looked at before a call: a text for each parameter that has one.
pub struct Before(Vec<Option<String>>);

/// Registers as their parameters take them: the low half of those that are 32 bits wide.
fn narrowed(parameters: &[Parameter], args: [u64; 6]) -> [u64; 6] {
    let mut out = args;
    for (value, parameter) in out.iter_mut().zip(parameters) {
        if parameter.width == 4 {
            *value &= 0xffff_ffff;
        }
    }
    out
}

/// Looks at what the call is given.
#[must_use]
pub fn before(cx: &CurrentTask, call: &SyscallArgs) -> Before {
    let Some(entry) = entry(call.nr) else {
        return Before(Vec::new());
    };
    let memory = cx.memory();
    let seen = Seen {
        memory: &memory,
        args: narrowed(entry.parameters, call.args),
        result: None,
    };
    let look = |(at, parameter): (usize, &Parameter)| match parameter.shape {
        Shape::In(render) | Shape::InOut(render, _) => render(&seen, at),
        _ => None,
    };
    Before(entry.parameters.iter().enumerate().map(look).collect())
}

/// The whole line.
#[must_use]
pub fn line(
    cx: &CurrentTask,
    call: &SyscallArgs,
    before: Before,
    result: &SysResult<Outcome>,
    took: Duration,
) -> String {
    let mut line = format!(
        "[{:4}] {} ",
        cx.tid_number(),
        String::from_utf8_lossy(&cx.comm())
    );
    match entry(call.nr) {
        Some(entry) => {
            let value = match result {
                Ok(Outcome::Value(value)) => Some(*value),
                _ => None,
            };
            line.push_str(&call_text(&cx.memory(), entry, call.args, before, value));
        }
        None => {
            let name = u32::try_from(call.nr)
                .ok()
                .and_then(abi::nr::name)
                .unwrap_or("syscall");
            let [a, b, c, d, e, f] = call.args;
            let _ = write!(
                line,
                "{name}_{:#x}({a:#x}, {b:#x}, {c:#x}, {d:#x}, {e:#x}, {f:#x})",
                call.nr
            );
        }
    }
    let _ = match result {
        Ok(Outcome::Value(value)) => {
            write!(line, " = {}", result_text(entry(call.nr), *value))
        }
        Ok(Outcome::RegistersSet) => write!(line, " = 0"),
        Ok(Outcome::Exit) => write!(line, " = ?"),
        Err(SysError::Errno(errno)) => write!(line, " = -1 {} ({errno})", errno.name()),
        Err(SysError::Restart(restart)) => write!(line, " = ? {}", restart_text(*restart)),
    };
    let _ = write!(line, " <{}.{:06}>", took.as_secs(), took.subsec_micros());
    line
}

/// Name and arguments.
fn call_text(
    memory: &UserMemory,
    entry: &Entry,
    args: [u64; 6],
    before: Before,
    result: Option<i64>,
) -> String {
    let seen = Seen {
        memory,
        args: narrowed(entry.parameters, args),
        result,
    };
    let mut text = format!("{}(", entry.name);
    let mut earlier = before.0.into_iter();
    for (at, parameter) in entry.parameters.iter().enumerate() {
        let shown = argument(&seen, at, parameter, earlier.next().flatten());
        if shown.is_empty() {
            break;
        }
        let _ = write!(text, "{}{shown}", if at > 0 { ", " } else { "" });
    }
    text.push(')');
    text
}

fn argument(seen: &Seen<'_>, at: usize, parameter: &Parameter, before: Option<String>) -> String {
    let raw = seen.arg(at);
    let signed = if parameter.width == 4 {
        i64::from(raw as u32 as i32)
    } else {
        raw.cast_signed()
    };
    match parameter.shape {
        Shape::Value(show) => show(raw),
        Shape::Flags(flags) => flags.text(raw),
        // Commands of ioctl and the like are unsigned: a name for either reading will do.
        Shape::Choice(choice) => match choice.name(raw.cast_signed()) {
            Some(name) => name.to_owned(),
            None => choice.text(signed),
        },
        Shape::In(_) => before.unwrap_or_else(|| pointer(raw)),
        Shape::Out(render) => seen
            .result
            .and_then(|_| render(seen, at))
            .unwrap_or_else(|| pointer(raw)),
        Shape::InOut(_, after) => {
            let after = seen.result.and_then(|_| after(seen, at));
            match (before, after.filter(|text| !text.is_empty())) {
                (Some(before), Some(after)) if before != after => format!("{before} => {after}"),
                (Some(only), _) | (None, Some(only)) => only,
                (None, None) => pointer(raw),
            }
        }
    }
}

fn result_text(entry: Option<&Entry>, value: i64) -> String {
    match entry.and_then(|entry| entry.result) {
        Some(Shape::Value(show)) => show(value.cast_unsigned()),
        _ => value.to_string(),
    }
}

/// As strace words them.
const fn restart_text(restart: Restart) -> &'static str {
    match restart {
        Restart::Sys => "ERESTARTSYS (To be restarted if SA_RESTART is set)",
        Restart::NoIntr => "ERESTARTNOINTR (To be restarted)",
        Restart::NoHand => "ERESTARTNOHAND (To be restarted if no handler)",
        Restart::Block => "ERESTART_RESTARTBLOCK (Interrupted by signal)",
    }
}
