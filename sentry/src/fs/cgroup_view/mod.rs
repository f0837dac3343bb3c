//! A read-only view of the container's own cgroup (version 2, `Documentation/admin-guide/cgroup-v2.rst`), for programs that size themselves by it.
//!
//! - [`CgroupLimits`]: the limits, in the container's extensions, set by the launcher. [`new`]: an instance.
//!
//! The real cgroups are the host's: nothing can be written or made here (`EACCES`, `EROFS` by the mount's flags). Locks: the limits' (leaf).

use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::RwLock;

use super::static_tree::{Node, Reader, TreeFs};
use crate::error::Result;
use crate::fs::proc::status::ranges;
use crate::fs::proc::system::visible_cpus;
use crate::host_facts::{HostFacts, HostFactsSlot};
use crate::task::Task;
use crate::task::pids::PidsController;

/// `CGROUP2_SUPER_MAGIC`.
const MAGIC: i64 = 0x6367_7270;

/// Limits of a container; `None`: none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `memory.max` in bytes.
    pub memory: Option<u64>,
    /// `memory.high` in bytes.
    pub memory_high: Option<u64>,
    /// `memory.low` in bytes.
    pub memory_low: u64,
    /// `memory.swap.max` in bytes.
    pub swap: Option<u64>,
    /// `cpu.max`: microseconds of CPU time a period.
    pub cpu_quota_us: Option<u64>,
    /// `cpu.max`: the period in microseconds; 0 stands for 100,000.
    pub cpu_period_us: u64,
    /// `cpu.weight`, 1..=10000; 0 stands for 100.
    pub cpu_weight: u64,
    /// `cpuset.cpus` as a list; empty: all that are visible.
    pub cpuset: String,
    /// `pids.max`.
    pub pids: Option<u64>,
}

/// A container's [`Limits`], in its extensions.
#[derive(Default)]
pub struct CgroupLimits(RwLock<Limits>);

impl CgroupLimits {
    /// Sets them (start, update).
    pub fn set(&self, limits: Limits) {
        *self.0.write() = limits;
    }
    /// A copy.
    #[must_use]
    pub fn get(&self) -> Limits {
        self.0.read().clone()
    }
}

/// What a file is made of.
struct View<'a> {
    limits: Limits,
    facts: &'a HostFacts,
    task: &'a Arc<Task>,
}

impl View<'_> {
    fn pids(&self) -> Arc<PidsController> {
        self.task.container.extensions.get()
    }
}

fn file(show: fn(&View<'_>) -> String) -> Node {
    Node::text(move |reader: &Reader<'_>| -> Result<String> {
        let task = reader.require()?;
        let facts = task.kernel.extensions.get::<HostFactsSlot>();
        Ok(show(&View {
            limits: task.container.extensions.get::<CgroupLimits>().get(),
            facts: facts.get(),
            task,
        }))
    })
}

fn or_max(limit: Option<u64>) -> String {
    limit.map_or_else(|| "max\n".to_owned(), |limit| format!("{limit}\n"))
}

fn memory_used(view: &View<'_>) -> u64 {
    view.facts
        .memory_used
        .as_ref()
        .and_then(|gauge| gauge())
        .unwrap_or(0)
}

fn cpu_max(limits: &Limits) -> String {
    let period = if limits.cpu_period_us == 0 {
        100_000
    } else {
        limits.cpu_period_us
    };
    match limits.cpu_quota_us {
        Some(quota) => format!("{quota} {period}\n"),
        None => format!("max {period}\n"),
    }
}

fn cpus(view: &View<'_>) -> String {
    if view.limits.cpuset.is_empty() {
        format!("{}\n", ranges(visible_cpus(view.task), u64::MAX))
    } else {
        format!("{}\n", view.limits.cpuset)
    }
}

fn cpu_stat(view: &View<'_>) -> String {
    let used = view
        .facts
        .cpu_used_ns
        .as_ref()
        .and_then(|gauge| gauge())
        .unwrap_or(0)
        / 1000;
    format!(
        "usage_usec {used}\nuser_usec {used}\nsystem_usec 0\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n"
    )
}

fn memory_stat(view: &View<'_>) -> String {
    let cached = view
        .facts
        .memory_cached
        .as_ref()
        .and_then(|gauge| gauge())
        .unwrap_or(0);
    let used = memory_used(view).saturating_sub(cached);
    let mut text = format!("anon {used}\nfile {cached}\ninactive_file {cached}\n");
    for name in [
        "kernel",
        "kernel_stack",
        "pagetables",
        "sock",
        "shmem",
        "file_mapped",
        "file_dirty",
        "file_writeback",
        "inactive_anon",
        "active_anon",
        "active_file",
        "unevictable",
        "slab",
        "pgfault",
        "pgmajfault",
    ] {
        let _ = writeln!(text, "{name} 0");
    }
    text
}

fn processes(view: &View<'_>, threads: bool) -> String {
    let namespace = view.task.pid_namespace();
    let numbers: Vec<i32> = if threads {
        namespace.tasks().into_iter().map(|(n, _)| n).collect()
    } else {
        namespace
            .groups()
            .into_iter()
            .filter(|(_, group)| group.family.read().zombie.is_none())
            .filter(|(n, group)| group.pid.in_namespace(&namespace) == *n)
            .map(|(n, _)| n)
            .collect()
    };
    numbers.iter().map(|n| format!("{n}\n")).collect()
}

/// A new instance.
#[must_use]
pub fn new() -> Arc<TreeFs> {
    TreeFs::new("cgroup2", MAGIC, String::new(), &tree())
}

fn tree() -> Node {
    Node::dir([
        (
            "cgroup.controllers",
            Node::constant("cpuset cpu memory pids\n"),
        ),
        ("cgroup.events", Node::constant("populated 1\nfrozen 0\n")),
        ("cgroup.freeze", Node::constant("0\n")),
        ("cgroup.max.depth", Node::constant("max\n")),
        ("cgroup.max.descendants", Node::constant("max\n")),
        ("cgroup.procs", file(|view| processes(view, false))),
        (
            "cgroup.stat",
            Node::constant("nr_descendants 0\nnr_dying_descendants 0\n"),
        ),
        ("cgroup.subtree_control", Node::constant("\n")),
        ("cgroup.threads", file(|view| processes(view, true))),
        ("cgroup.type", Node::constant("domain\n")),
        ("cpu.max", file(|view| cpu_max(&view.limits))),
        ("cpu.stat", file(cpu_stat)),
        (
            "cpu.weight",
            file(|view| {
                format!(
                    "{}\n",
                    if view.limits.cpu_weight == 0 {
                        100
                    } else {
                        view.limits.cpu_weight
                    }
                )
            }),
        ),
        (
            "cpuset.cpus",
            file(|view| format!("{}\n", view.limits.cpuset)),
        ),
        ("cpuset.cpus.effective", file(cpus)),
        ("cpuset.mems", Node::constant("\n")),
        ("cpuset.mems.effective", Node::constant("0\n")),
        (
            "memory.current",
            file(|view| format!("{}\n", memory_used(view))),
        ),
        (
            "memory.events",
            Node::constant("low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n"),
        ),
        ("memory.high", file(|view| or_max(view.limits.memory_high))),
        (
            "memory.low",
            file(|view| format!("{}\n", view.limits.memory_low)),
        ),
        ("memory.max", file(|view| or_max(view.limits.memory))),
        ("memory.min", Node::constant("0\n")),
        ("memory.oom.group", Node::constant("0\n")),
        ("memory.stat", file(memory_stat)),
        ("memory.swap.current", Node::constant("0\n")),
        ("memory.swap.max", file(|view| or_max(view.limits.swap))),
        (
            "pids.current",
            file(|view| format!("{}\n", view.pids().current())),
        ),
        (
            "pids.events",
            file(|view| format!("max {}\n", view.pids().refused())),
        ),
        ("pids.max", file(|view| or_max(view.limits.pids))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_look_like_version_two() {
        let mut limits = Limits::default();
        assert_eq!(cpu_max(&limits), "max 100000\n");
        limits.cpu_quota_us = Some(150_000);
        limits.cpu_period_us = 50_000;
        assert_eq!(cpu_max(&limits), "150000 50000\n");
        assert_eq!(or_max(None), "max\n");
        assert_eq!(or_max(Some(5)), "5\n");
    }
}
