//! The small files of a process directory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::UserAddr;

use super::access::reader_may_inspect;
use super::mm_view;
use super::process::text;
use super::subject::Subject;
use crate::error::{Errno, Result};
use crate::fs::static_tree::{Node, Reader};
use crate::task::Task;
use crate::task::creds::Cap;
use crate::task::user_ns::IdKind;

/// Most bytes of arguments or environment shown (Linux's own bound is a quarter of the stack's limit).
const MAX_STRINGS: u64 = 6 << 20;

/// Reads a range of a task's memory, as far as it is readable.
fn read_memory(task: &Arc<Task>, (start, end): (u64, u64)) -> Vec<u8> {
    let Some(map) = task.try_memory_map() else {
        return Vec::new();
    };
    let memory = map.memory();
    let len = end.saturating_sub(start).min(MAX_STRINGS);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let mut done = 0;
    while done < bytes.len() {
        match memory.read_some(
            UserAddr(start.wrapping_add(done as u64)),
            &mut bytes[done..],
        ) {
            Ok(n) if n > 0 => done += n,
            _ => break,
        }
    }
    bytes.truncate(done);
    bytes
}

/// `cmdline`: the arguments, or what the process has written over them (setproctitle may run on into the environment).
pub(super) fn cmdline(subject: &Subject, _reader: &Reader<'_>) -> Result<Vec<u8>> {
    let Ok(task) = subject.task() else {
        return Ok(Vec::new());
    };
    let layout = mm_view::layout(&task);
    let mut args = read_memory(&task, layout.args);
    if args.last().is_some_and(|last| *last != 0) {
        if layout.args.1 == layout.env.0 {
            args.extend(read_memory(&task, layout.env));
        }
        if let Some(end) = args.iter().position(|byte| *byte == 0) {
            args.truncate(end + 1);
        }
    }
    Ok(args)
}

/// `environ`.
pub(super) fn environ(subject: &Subject, reader: &Reader<'_>) -> Result<Vec<u8>> {
    let Ok(task) = subject.task() else {
        return Ok(Vec::new());
    };
    reader_may_inspect(reader, &task)?;
    Ok(read_memory(&task, mm_view::layout(&task).env))
}

/// `auxv`.
pub(super) fn auxv(subject: &Subject, reader: &Reader<'_>) -> Result<Vec<u8>> {
    let Ok(task) = subject.task() else {
        return Ok(Vec::new());
    };
    reader_may_inspect(reader, &task)?;
    Ok(mm_view::layout(&task).auxv)
}

/// `comm`: writable by the process's own threads.
pub(super) fn comm(subject: &Subject) -> Node {
    let (read, write) = (subject.clone(), subject.clone());
    Node::writable(
        move |_: &Reader<'_>| {
            let mut name = super::stat::comm(read.task().ok().as_ref());
            name.push(b'\n');
            Ok(name)
        },
        move |reader, data| {
            let task = write.task()?;
            if !Arc::ptr_eq(&reader.require()?.group, &task.group) {
                return Err(Errno::EINVAL);
            }
            let end = data
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(data.len());
            let name = &data[..end.min(15)];
            // A shell's echo ends in a newline that is not part of the name's intent, but Linux keeps it: so do we.
            task.misc.lock().comm = name.to_vec();
            Ok(())
        },
    )
}

/// `syscall`: the call that a blocked task is in; stack and instruction pointers are not known between stops.
pub(super) fn syscall(subject: &Subject, reader: &Reader<'_>) -> Result<Vec<u8>> {
    let task = subject.task()?;
    reader_may_inspect(reader, &task)?;
    let call = *task.current_call.lock();
    Ok(match call {
        Some(call) => {
            let mut line = call.nr.to_string();
            for arg in call.args {
                line.push_str(&format!(" {arg:#x}"));
            }
            line.push_str(&format!(" 0x0 {:#x}\n", call.ip));
            line
        }
        None => "running\n".to_owned(),
    }
    .into_bytes())
}

/// `personality`.
pub(super) fn personality(subject: &Subject, reader: &Reader<'_>) -> Result<Vec<u8>> {
    let task = subject.task()?;
    reader_may_inspect(reader, &task)?;
    let value = task.misc.lock().personality;
    Ok(format!("{value:08x}\n").into_bytes())
}

/// `wchan`: where a task sleeps is the sentry's own business.
pub(super) fn wchan(_subject: &Subject, _reader: &Reader<'_>) -> Result<Vec<u8>> {
    Ok(b"0".to_vec())
}

/// `stack`: not for guests (Linux wants CAP_SYS_ADMIN of the initial user namespace).
pub(super) fn stack(_subject: &Subject, _reader: &Reader<'_>) -> Result<Vec<u8>> {
    Err(Errno::EACCES)
}

/// `cpuset`.
pub(super) fn cpuset(_subject: &Subject, _reader: &Reader<'_>) -> Result<Vec<u8>> {
    Ok(b"/\n".to_vec())
}

/// `cgroup`: the root of the container's own cgroup namespace.
pub(super) fn cgroup(_subject: &Subject, _reader: &Reader<'_>) -> Result<Vec<u8>> {
    Ok(b"0::/\n".to_vec())
}

/// `io`: what system calls moved; nothing is known of block devices.
pub(super) fn io(subject: &Subject, reader: &Reader<'_>) -> Result<Vec<u8>> {
    let group = subject.group()?;
    if let Ok(task) = subject.task() {
        reader_may_inspect(reader, &task)?;
    }
    let [rchar, wchar, syscr, syscw] = [0, 1, 2, 3].map(|i| group.io[i].load(Ordering::Relaxed));
    Ok(format!(
        "rchar: {rchar}\nwchar: {wchar}\nsyscr: {syscr}\nsyscw: {syscw}\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n"
    )
    .into_bytes())
}

/// `oom_score`: the share of the container's memory in thousandths, moved by the adjustment.
pub(super) fn oom_score(subject: &Subject, _reader: &Reader<'_>) -> Result<Vec<u8>> {
    let group = subject.group()?;
    let adjust = i64::from(group.oom_score_adj.load(Ordering::Relaxed));
    let share = subject.task().map_or(0, |task| {
        let total = super::system::visible_memory(&task).max(1);
        let thousandths = u128::from(mm_view::resident(&task).total()) * 1000 / u128::from(total);
        i64::try_from(thousandths).unwrap_or(1000)
    });
    // Linux maps -1000..2000 to 0..2000.
    let score = ((1000 + share + adjust) * 2 / 3).clamp(0, 2000);
    Ok(format!("{score}\n").into_bytes())
}

fn parse_i32(data: &[u8]) -> Result<i32> {
    std::str::from_utf8(data)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or(Errno::EINVAL)
}

fn set_oom(subject: &Subject, reader: &Reader<'_>, value: i32) -> Result<()> {
    if !(-1000..=1000).contains(&value) {
        return Err(Errno::EINVAL);
    }
    let group = subject.group()?;
    let old = group.oom_score_adj.load(Ordering::Relaxed);
    if value < old && !reader.require()?.creds().has(Cap::SYS_RESOURCE) {
        return Err(Errno::EACCES);
    }
    group.oom_score_adj.store(value, Ordering::Relaxed);
    Ok(())
}

/// `oom_score_adj`: lowering needs CAP_SYS_RESOURCE.
pub(super) fn oom_score_adj(subject: &Subject) -> Node {
    let (read, write) = (subject.clone(), subject.clone());
    Node::writable(
        move |_: &Reader<'_>| {
            let value = read.group()?.oom_score_adj.load(Ordering::Relaxed);
            Ok(format!("{value}\n"))
        },
        move |reader, data| set_oom(&write, reader, parse_i32(data)?),
    )
}

/// `oom_adj`: the old scale, -17..=15.
pub(super) fn oom_adj(subject: &Subject) -> Node {
    let (read, write) = (subject.clone(), subject.clone());
    Node::writable(
        move |_: &Reader<'_>| {
            let value = read.group()?.oom_score_adj.load(Ordering::Relaxed);
            Ok(format!(
                "{}\n",
                if value == 1000 { 15 } else { value * 17 / 1000 }
            ))
        },
        move |reader, data| {
            let value = parse_i32(data)?;
            if !(-17..=15).contains(&value) {
                return Err(Errno::EINVAL);
            }
            let scaled = if value == 15 { 1000 } else { value * 1000 / 17 };
            set_oom(&write, reader, scaled)
        },
    )
}

/// `uid_map` and `gid_map`.
fn id_map(subject: &Subject, kind: IdKind) -> Node {
    let (read, write) = (subject.clone(), subject.clone());
    Node::writable(
        move |reader: &Reader<'_>| {
            let users = read.task()?.creds().user_ns.clone();
            Ok(users.show(kind, &reader.users()))
        },
        move |reader, data| {
            let users = write.task()?.creds().user_ns.clone();
            let writer = reader.require()?.creds();
            let opener = reader.opener.unwrap_or(&writer);
            users.set_map(kind, data, opener, &writer)
        },
    )
}

/// `uid_map`.
pub(super) fn uid_map(subject: &Subject) -> Node {
    id_map(subject, IdKind::User)
}

/// `gid_map`.
pub(super) fn gid_map(subject: &Subject) -> Node {
    id_map(subject, IdKind::Group)
}

/// `setgroups`. Linux asks for the right to write when the file is opened; here the opener's is asked for at the write.
pub(super) fn setgroups(subject: &Subject) -> Node {
    let (read, write) = (subject.clone(), subject.clone());
    Node::writable(
        move |_: &Reader<'_>| {
            let allowed = read.task()?.creds().user_ns.setgroups_allowed();
            Ok(if allowed { "allow\n" } else { "deny\n" })
        },
        move |reader, data| {
            let users = write.task()?.creds().user_ns.clone();
            let writer = reader.require()?.creds();
            if !reader
                .opener
                .unwrap_or(&writer)
                .has_in(&users, Cap::SYS_ADMIN)
            {
                return Err(Errno::EACCES);
            }
            match data.trim_ascii_end() {
                b"allow" => users.set_setgroups(true),
                b"deny" => users.set_setgroups(false),
                _ => Err(Errno::EINVAL),
            }
        },
    )
}

/// `timerslack_ns`.
pub(super) fn timerslack(subject: &Subject) -> Node {
    let (read, write) = (subject.clone(), subject.clone());
    let check = |reader: &Reader<'_>, task: &Arc<Task>| {
        let me = reader.require()?;
        if Arc::ptr_eq(me, task) || me.creds().has(Cap::SYS_NICE) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    };
    Node::writable(
        move |reader: &Reader<'_>| {
            let task = read.task()?;
            check(reader, &task)?;
            let value = task.misc.lock().timer_slack_ns;
            Ok(format!("{value}\n"))
        },
        move |reader, data| {
            let task = write.task()?;
            check(reader, &task)?;
            let value: u64 = std::str::from_utf8(data)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .ok_or(Errno::EINVAL)?;
            task.misc.lock().timer_slack_ns = if value == 0 { 50_000 } else { value };
            Ok(())
        },
    )
}

/// `attr/`: no security module.
pub(super) fn attr(subject: &Subject) -> Node {
    fn none(_: &Subject, _: &Reader<'_>) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }
    Node::dir([
        ("current", text(subject, none)),
        ("exec", text(subject, none)),
        ("fscreate", text(subject, none)),
        ("keycreate", text(subject, none)),
        ("prev", text(subject, none)),
        ("sockcreate", text(subject, none)),
    ])
}
