//! `stat`, `statm` and `schedstat` of a process or thread (`fs/proc/array.c`).

use std::sync::Arc;

use abi::signal::SigSet;

use super::access::reader_may_inspect;
use super::mm_view;
use super::subject::Subject;
use crate::error::Result;
use crate::fs::static_tree::Reader;
use crate::task::limits::Resource;
use crate::task::{RunState, Task, ThreadGroup, Times};

/// Nanoseconds in a clock tick (USER_HZ is 100).
pub(super) const TICK_NS: u64 = 10_000_000;

/// `R`, `S` … of a task that lives.
pub(super) const fn state_letter(state: RunState) -> char {
    match state {
        RunState::Running => 'R',
        RunState::Sleeping => 'S',
        RunState::Stopped => 'T',
        RunState::Traced => 't',
        RunState::Zombie => 'Z',
        RunState::Waiting => 'D',
    }
}

/// The subject's state: a process without threads is a zombie.
pub(super) fn state(task: Option<&Arc<Task>>, group: &ThreadGroup) -> char {
    match task {
        _ if group.family.read().zombie.is_some() => 'Z',
        Some(_) if group.job.lock().stopped_by.is_some() => 'T',
        Some(task) => state_letter(task.state()),
        None => 'Z',
    }
}

/// CPU time and faults of a process so far, with living threads; or of one thread.
pub(super) fn times(subject: &Subject, group: &ThreadGroup) -> Times {
    let of = |task: &Arc<Task>| {
        let (user_ns, system_ns) = task.thread().cpu_time_ns();
        Times {
            user_ns,
            system_ns,
            ..Times::default()
        }
    };
    if subject.is_thread() {
        return subject.task().map(|task| of(&task)).unwrap_or_default();
    }
    let gone = *group.own_times.lock();
    group
        .threads()
        .iter()
        .fold(gone, |sum, task| sum.plus(of(task)))
}

/// The values of `/proc/<pid>/stat` that have names; all others are 0.
#[derive(Clone, Debug, Default)]
struct Fields {
    pid: i32,
    comm: Vec<u8>,
    state: char,
    ppid: i32,
    pgrp: i32,
    session: i32,
    tty: u64,
    tpgid: i32,
    times: Times,
    child_times: Times,
    nice: i32,
    scheduler: (i32, i32),
    threads: usize,
    start_ticks: u64,
    vsize: u64,
    resident: u64,
    rss_limit: u64,
    pending: SigSet,
    blocked: SigSet,
    ignored: SigSet,
    caught: SigSet,
    exit_signal: i32,
    exit_code: i32,
    layout: mm_view::Layout,
}

impl Fields {
    fn show(&self) -> Vec<u8> {
        let mut text = format!("{} (", self.pid).into_bytes();
        text.extend_from_slice(&self.comm);
        let (own, child, at) = (&self.times, &self.child_times, &self.layout);
        let priority = if self.scheduler.1 > 0 {
            -1 - self.scheduler.1
        } else {
            20 + self.nice
        };
        // Only the first 31 signals fit (obsolete fields).
        let low = |set: SigSet| set.0 & 0x7fff_ffff;
        let rest = format!(
            ") {} {} {} {} {} {} 4194304 {} 0 {} 0 {} {} {} {} {} {} {} 0 {} {} {} {} {} {} {} 0 0 {} {} {} {} 0 0 0 {} 0 {} {} 0 0 0 {} {} {} {} {} {} {} {}\n",
            self.state,
            self.ppid,
            self.pgrp,
            self.session,
            self.tty as i32,
            self.tpgid,
            own.minor_faults,
            own.major_faults,
            own.user_ns / TICK_NS,
            own.system_ns / TICK_NS,
            child.user_ns / TICK_NS,
            child.system_ns / TICK_NS,
            priority,
            self.nice,
            self.threads,
            self.start_ticks,
            self.vsize,
            self.resident / abi::PAGE_SIZE,
            self.rss_limit,
            at.start_code,
            at.end_code,
            at.start_stack,
            low(self.pending),
            low(self.blocked),
            low(self.ignored),
            low(self.caught),
            self.exit_signal,
            self.scheduler.1,
            self.scheduler.0,
            at.start_data,
            at.end_data,
            at.start_brk,
            at.args.0,
            at.args.1,
            at.env.0,
            at.env.1,
            self.exit_code,
        );
        text.extend_from_slice(rest.as_bytes());
        text
    }
}

/// `stat`. Addresses are 0 for those who may not inspect the process, as in Linux.
pub(super) fn stat(subject: &Subject, reader: &Reader<'_>) -> Result<Vec<u8>> {
    let group = subject.group()?;
    let task = subject.task().ok();
    let (process_group, parent, zombie) = {
        let family = group.family.read();
        (
            family.process_group.clone(),
            family.parent.upgrade(),
            family.zombie,
        )
    };
    let session = process_group.session.clone();
    let terminal = session.terminal.lock().clone();
    let (ignored, caught) = group.actions().sets();
    let may = task
        .as_ref()
        .is_some_and(|task| reader_may_inspect(reader, task).is_ok());
    let mut fields = Fields {
        pid: subject.number(&*subject.pid()?),
        comm: comm(task.as_ref()),
        state: if subject.leader_is_gone() {
            'Z'
        } else {
            state(task.as_ref(), &group)
        },
        ppid: parent.map_or(0, |parent| subject.number(&parent.pid)),
        pgrp: subject.number(&process_group.id),
        session: subject.number(&session.id),
        tty: terminal.as_ref().map_or(0, |tty| tty.device()),
        tpgid: terminal
            .and_then(|tty| tty.foreground())
            .map_or(-1, |foreground| subject.number(&foreground.id)),
        times: times(subject, &group),
        child_times: *group.child_times.lock(),
        threads: group.tasks.lock().len(),
        rss_limit: group.limit(Resource::Rss),
        ignored,
        caught,
        exit_signal: group.exit_signal.load(std::sync::atomic::Ordering::Relaxed),
        exit_code: zombie.map_or(0, crate::task::ExitStatus::wait_status),
        ..Fields::default()
    };
    let mut start_ns = group.start_ns;
    if let Some(task) = &task {
        let misc = task.misc.lock().clone();
        fields.nice = misc.nice;
        fields.scheduler = misc.scheduler;
        {
            let signals = task.signals.lock();
            fields.pending = signals.pending.set();
            fields.blocked = signals.blocked;
        }
        fields.vsize = mm_view::mapped(task);
        fields.resident = mm_view::resident(task).total();
        if may {
            fields.layout = mm_view::layout(task);
        }
        if subject.is_thread() {
            start_ns = task.start_ns;
        }
        fields.start_ticks = start_ns.saturating_sub(task.kernel.boot_ns) / TICK_NS;
    }
    Ok(fields.show())
}

/// A task's name; a zombie's is gone with its last thread.
pub(super) fn comm(task: Option<&Arc<Task>>) -> Vec<u8> {
    task.map_or_else(|| b"exited".to_vec(), |task| task.comm())
}

/// `statm`: sizes in pages.
pub(super) fn statm(subject: &Subject, _reader: &Reader<'_>) -> Result<Vec<u8>> {
    let Ok(task) = subject.task() else {
        return Ok(b"0 0 0 0 0 0 0\n".to_vec());
    };
    let resident = mm_view::resident(&task);
    let layout = mm_view::layout(&task);
    let pages = |bytes: u64| bytes / abi::PAGE_SIZE;
    let text = pages(
        abi::page_ceil(layout.end_code)
            .unwrap_or(0)
            .saturating_sub(abi::page_floor(layout.start_code)),
    );
    let size = pages(mm_view::mapped(&task));
    Ok(format!(
        "{size} {} {} {text} 0 {} 0\n",
        pages(resident.total()),
        pages(resident.file.saturating_add(resident.shared)),
        size.saturating_sub(text)
    )
    .into_bytes())
}

/// `schedstat`: time on a CPU, waiting for one, and slices.
pub(super) fn schedstat(subject: &Subject, _reader: &Reader<'_>) -> Result<Vec<u8>> {
    let group = subject.group()?;
    let times = times(subject, &group);
    Ok(format!("{} 0 0\n", times.user_ns.saturating_add(times.system_ns)).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_has_52_fields_in_their_places() {
        let fields = Fields {
            pid: 7,
            comm: b"a) b".to_vec(),
            state: 'S',
            ppid: 1,
            threads: 3,
            start_ticks: 99,
            vsize: 4096,
            resident: 8192,
            exit_signal: 17,
            exit_code: 256,
            layout: mm_view::Layout {
                env: (5, 6),
                ..mm_view::Layout::default()
            },
            ..Fields::default()
        };
        let text = String::from_utf8(fields.show()).unwrap();
        assert!(text.starts_with("7 (a) b) S 1 "));
        let behind = text.rsplit_once(") ").unwrap().1;
        let values: Vec<&str> = behind.split_whitespace().collect();
        // Fields are counted from 1 in proc(5); the state is the third.
        let field = |n: usize| values[n - 3];
        assert_eq!(values.len(), 50);
        assert_eq!(field(18), "20");
        assert_eq!(field(20), "3");
        assert_eq!(field(22), "99");
        assert_eq!(field(23), "4096");
        assert_eq!(field(24), "2");
        assert_eq!(field(38), "17");
        assert_eq!((field(50), field(51), field(52)), ("5", "6", "256"));
    }
}
