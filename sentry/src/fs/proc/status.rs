//! `status` of a process or thread (`fs/proc/array.c`: proc_pid_status).

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::signal::SigSet;

use super::mm_view;
use super::stat::{comm, state};
use super::subject::Subject;
use crate::error::Result;
use crate::fs::static_tree::Reader;
use crate::task::limits::Resource;
use crate::task::{Pid, Task};

fn state_name(letter: char) -> &'static str {
    match letter {
        'R' => "R (running)",
        'S' => "S (sleeping)",
        'D' => "D (disk sleep)",
        'T' => "T (stopped)",
        't' => "t (tracing stop)",
        _ => "Z (zombie)",
    }
}

/// Numbers from the mount's namespace down to the innermost (`NSpid`).
fn ns_numbers(subject: &Subject, pid: &Pid) -> String {
    let all = pid.all();
    let skip = (subject.ns.level as usize).min(all.len());
    all[skip..].iter().map(|n| format!("\t{n}")).collect()
}

/// Bits as `0-3,5`.
pub(crate) fn ranges(count: u32, mask: u64) -> String {
    let mut parts = Vec::new();
    let set = |cpu: u32| cpu >= 64 || mask >> cpu & 1 != 0;
    let mut cpu = 0;
    while cpu < count {
        if !set(cpu) {
            cpu += 1;
            continue;
        }
        let first = cpu;
        while cpu + 1 < count && set(cpu + 1) {
            cpu += 1;
        }
        parts.push(if first == cpu {
            first.to_string()
        } else {
            format!("{first}-{cpu}")
        });
        cpu += 1;
    }
    parts.join(",")
}

fn escape_name(name: &[u8]) -> String {
    let mut text = String::new();
    for byte in name {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\\' => text.push_str("\\\\"),
            _ => text.push(char::from(*byte)),
        }
    }
    text
}

/// `status`.
pub(super) fn status(subject: &Subject, _reader: &Reader<'_>) -> Result<Vec<u8>> {
    let group = subject.group()?;
    let task = subject.task().ok();
    let (process_group, parent) = {
        let family = group.family.read();
        (family.process_group.clone(), family.parent.upgrade())
    };
    let pid = subject.pid()?;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "Name:\t{}", escape_name(&comm(task.as_ref())));
    if let Some(task) = &task {
        let _ = writeln!(out, "Umask:\t{:04o}", task.fs().umask());
    }
    let _ = writeln!(out, "State:\t{}", state_name(state(task.as_ref(), &group)));
    let _ = writeln!(out, "Tgid:\t{}\nNgid:\t0", subject.number(&group.pid));
    let _ = writeln!(
        out,
        "Pid:\t{}\nPPid:\t{}\nTracerPid:\t{}",
        subject.number(&pid),
        parent.map_or(0, |parent| subject.number(&parent.pid)),
        task.as_ref()
            .and_then(|task| task.tracer())
            .map_or(0, |tracer| subject.number(&tracer.tid()))
    );
    if let Some(task) = &task {
        let creds = task.creds();
        let _ = writeln!(
            out,
            "Uid:\t{}\t{}\t{}\t{}\nGid:\t{}\t{}\t{}\t{}",
            creds.uid,
            creds.euid,
            creds.suid,
            creds.fsuid,
            creds.gid,
            creds.egid,
            creds.sgid,
            creds.fsgid
        );
        let size = task.try_files().map_or(0, |files| {
            files
                .numbers(0..=crate::vfs::NR_OPEN)
                .last()
                .map_or(64, |fd| (fd.0 as u64 + 64) / 64 * 64)
        });
        let groups: Vec<String> = creds.groups.iter().map(u32::to_string).collect();
        let groups = groups.join(" ");
        let _ = writeln!(out, "FDSize:\t{size}\nGroups:\t{groups} ");
    } else {
        out.push_str("Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t0\nGroups:\t \n");
    }
    let _ = writeln!(out, "NStgid:{}", ns_numbers(subject, &group.pid));
    let _ = writeln!(out, "NSpid:{}", ns_numbers(subject, &pid));
    let _ = writeln!(out, "NSpgid:{}", ns_numbers(subject, &process_group.id));
    let _ = writeln!(
        out,
        "NSsid:{}\nKthread:\t0",
        ns_numbers(subject, &process_group.session.id)
    );
    if let Some(task) = &task {
        memory(&mut out, task);
    }
    let _ = writeln!(
        out,
        "Threads:\t{}\nSigQ:\t{}/{}",
        group.tasks.lock().len(),
        group.pending.lock().len(),
        group.limit(Resource::Sigpending)
    );
    let (ignored, caught) = group.actions().sets();
    let (pending, blocked) = task
        .as_ref()
        .map_or((SigSet::EMPTY, SigSet::EMPTY), |task| {
            let signals = task.signals.lock();
            (signals.pending.set(), signals.blocked)
        });
    let shared = group.pending.lock().set();
    for (name, set) in [
        ("SigPnd", pending),
        ("ShdPnd", shared),
        ("SigBlk", blocked),
        ("SigIgn", ignored),
        ("SigCgt", caught),
    ] {
        let _ = writeln!(out, "{name}:\t{:016x}", set.0);
    }
    if let Some(task) = &task {
        rights(&mut out, task);
    }
    Ok(out.into_bytes())
}

fn memory(out: &mut String, task: &Arc<Task>) {
    if task.try_memory_map().is_none() {
        return;
    }
    let resident = mm_view::resident(task);
    let layout = mm_view::layout(task);
    let regions = mm_view::regions(task, &task.fs());
    let kib = |bytes: u64| bytes / 1024;
    let sum = |wanted: &dyn Fn(&mm_view::RegionLine) -> bool| {
        kib(regions
            .iter()
            .filter(|r| wanted(r))
            .map(|r| r.end - r.start)
            .sum())
    };
    let total = kib(mm_view::mapped(task));
    let stack = sum(&|r| r.name == b"[stack]");
    let data = sum(&|r| r.prot & 2 != 0 && !r.shared && r.name != b"[stack]");
    let text = kib(layout.end_code.saturating_sub(layout.start_code));
    let code = sum(&|r| r.prot & 4 != 0);
    for (name, value) in [
        ("VmPeak", total),
        ("VmSize", total),
        ("VmLck", sum(&|r| r.locked)),
        ("VmPin", 0),
        ("VmHWM", kib(resident.peak.max(resident.total()))),
        ("VmRSS", kib(resident.total())),
        ("RssAnon", kib(resident.anonymous)),
        ("RssFile", kib(resident.file)),
        ("RssShmem", kib(resident.shared)),
        ("VmData", data),
        ("VmStk", stack),
        ("VmExe", text),
        ("VmLib", code.saturating_sub(text)),
        ("VmPTE", total / 512 + 40),
        ("VmSwap", kib(resident.swapped)),
        ("HugetlbPages", 0),
    ] {
        let _ = writeln!(out, "{name}:\t{value:8} kB");
    }
    out.push_str("CoreDumping:\t0\nTHP_enabled:\t1\n");
}

fn rights(out: &mut String, task: &Arc<Task>) {
    let creds = task.creds();
    for (name, set) in [
        ("CapInh", creds.inheritable),
        ("CapPrm", creds.permitted),
        ("CapEff", creds.effective),
        ("CapBnd", creds.bounding),
        ("CapAmb", creds.ambient),
    ] {
        let _ = writeln!(out, "{name}:\t{:016x}", set.0);
    }
    let (mode, filters) = {
        let seccomp = task.seccomp.read();
        (seccomp.mode, seccomp.filters.len())
    };
    let _ = writeln!(
        out,
        "NoNewPrivs:\t{}\nSeccomp:\t{mode}\nSeccomp_filters:\t{filters}",
        u8::from(creds.no_new_privs)
    );
    out.push_str(
        "Speculation_Store_Bypass:\tnot vulnerable\nSpeculationIndirectBranch:\tunknown\n",
    );
    let cpus = super::system::visible_cpus(task);
    let mask = match task.misc.lock().affinity {
        0 => u64::MAX,
        mask => mask,
    };
    let shown = if cpus >= 64 {
        mask
    } else {
        mask & ((1 << cpus) - 1)
    };
    let _ = writeln!(
        out,
        "Cpus_allowed:\t{shown:x}\nCpus_allowed_list:\t{}\nMems_allowed:\t1\nMems_allowed_list:\t0",
        ranges(cpus, mask)
    );
    let _ = writeln!(
        out,
        "voluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}",
        task.switches[0].load(Ordering::Relaxed),
        task.switches[1].load(Ordering::Relaxed)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_ranges() {
        assert_eq!(ranges(4, u64::MAX), "0-3");
        assert_eq!(ranges(8, 0b1011_0001), "0,4-5,7");
        assert_eq!(ranges(1, 1), "0");
        assert_eq!(ranges(66, 1 << 63), "63-65");
    }

    #[test]
    fn names_cannot_forge_lines() {
        assert_eq!(escape_name(b"a\nUid:\\"), "a\\nUid:\\\\");
    }
}
