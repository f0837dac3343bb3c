//! `--strace`: a line a call, from the table's parameter types.

use std::fmt::Write;
use std::time::Duration;

use abi::UserAddr;
use abi::UserIn;
use sentry::SyscallArgs;
use sentry::error::{SysError, SysResult};
use sentry::task::CurrentTask;

use crate::arg::Outcome;
use crate::table::entry;

/// What must be read before the call changes it: the text of its first path-like argument.
#[must_use]
pub fn before(cx: &CurrentTask, call: &SyscallArgs) -> Option<(usize, String)> {
    let entry = entry(call.nr)?;
    let at = entry
        .parameters
        .iter()
        .position(|(name, _)| matches!(*name, "path" | "old_path" | "target"))?;
    let raw = call.args.get(at)?;
    let text = cx.memory().get_path(UserIn::new(UserAddr(*raw))).ok()?;
    Some((at, format!("{:?}", String::from_utf8_lossy(&text))))
}

/// The whole line.
#[must_use]
pub fn line(
    cx: &CurrentTask,
    call: &SyscallArgs,
    before: Option<(usize, String)>,
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
            let _ = write!(line, "{}(", entry.name);
            for (index, ((_, show), raw)) in entry.parameters.iter().zip(call.args).enumerate() {
                let text = match &before {
                    Some((at, text)) if *at == index => text.clone(),
                    _ => show(raw),
                };
                let _ = write!(line, "{}{text}", if index > 0 { ", " } else { "" });
            }
            line.push(')');
        }
        None => {
            let name = u32::try_from(call.nr)
                .ok()
                .and_then(abi::nr::name)
                .unwrap_or("syscall");
            let _ = write!(
                line,
                "{name}_{}({:#x}, {:#x}, {:#x})",
                call.nr, call.args[0], call.args[1], call.args[2]
            );
        }
    }
    let _ = match result {
        Ok(Outcome::Value(value)) if *value > 4096 => write!(line, " = {value:#x}"),
        Ok(Outcome::Value(value)) => write!(line, " = {value}"),
        Ok(Outcome::RegistersSet) => write!(line, " = (registers)"),
        Ok(Outcome::Exit) => write!(line, " = ?"),
        Err(SysError::Errno(errno)) => write!(line, " = -1 {} ({errno})", errno.name()),
        Err(SysError::Restart(restart)) => write!(line, " = ? restart {restart:?}"),
    };
    let _ = write!(line, " <{}.{:06}>", took.as_secs(), took.subsec_micros());
    line
}
