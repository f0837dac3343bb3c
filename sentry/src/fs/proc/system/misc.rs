//! The other files about the sandbox.

use std::fmt::Write as _;
use std::sync::Arc;

use abi::uts::{RELEASE, SYSTEM, VERSION};

use super::visible_cpus;
use crate::fs::dev::{Class, Registry};
use crate::fs::static_tree::Node;
use crate::host_facts::HostFactsSlot;
use crate::task::{RunState, Task};

/// `filesystems`: what mount(2) knows.
pub(super) const FILESYSTEMS: &str = "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tcgroup\nnodev\tcgroup2\nnodev\tdevtmpfs\nnodev\tsockfs\nnodev\tpipefs\nnodev\tdevpts\nnodev\tmqueue\nnodev\toverlay\n";

/// `cgroups`: the controllers of version 2, whose hierarchy is 0.
pub(super) const CGROUPS: &str = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t1\t1\ncpu\t0\t1\t1\ncpuacct\t0\t1\t1\nmemory\t0\t1\t1\npids\t0\t1\t1\n";

/// `version`.
pub(super) fn version() -> String {
    format!("{SYSTEM} version {RELEASE} (runsc@localhost) {VERSION}\n")
}

/// Seconds with two decimals.
fn seconds(ns: u64) -> String {
    format!("{}.{:02}", ns / 1_000_000_000, ns / 10_000_000 % 100)
}

/// `uptime`: of the sandbox, and idle time of all CPUs.
pub(super) fn uptime(task: &Arc<Task>) -> String {
    let up = crate::time::boottime_ns().saturating_sub(task.kernel.boot_ns);
    let facts = task.kernel.extensions.get::<HostFactsSlot>();
    let used = facts
        .get()
        .cpu_used_ns
        .as_ref()
        .and_then(|gauge| gauge())
        .unwrap_or(0);
    let idle = up
        .saturating_mul(u64::from(visible_cpus(task)))
        .saturating_sub(used);
    format!("{} {}\n", seconds(up), seconds(idle))
}

/// `loadavg`: no averages are kept; the numbers of tasks are right.
pub(super) fn loadavg(task: &Arc<Task>) -> String {
    let namespace = task.pid_namespace();
    let tasks = namespace.tasks();
    let running = tasks
        .iter()
        .filter(|(_, other)| other.state() == RunState::Running)
        .count();
    format!(
        "0.00 0.00 0.00 {running}/{} {}\n",
        tasks.len(),
        namespace.last_pid()
    )
}

/// `devices`.
pub(super) fn devices(task: &Arc<Task>) -> String {
    let registry = task.kernel.extensions.get::<Registry>();
    let mut text = String::from("Character devices:\n");
    for major in registry.majors(Class::Char) {
        let names: &[&str] = match major {
            1 => &["mem"],
            5 => &["/dev/tty", "/dev/console", "/dev/ptmx"],
            128 => &["ptm"],
            136 => &["pts"],
            10 => &["misc"],
            _ => &["unknown"],
        };
        for name in names {
            let _ = writeln!(text, "{major:3} {name}");
        }
    }
    text.push_str("\nBlock devices:\n");
    for major in registry.majors(Class::Block) {
        let _ = writeln!(text, "{major:3} unknown");
    }
    text
}

/// `sysvipc`: headers; the IPC module shows no rows yet.
pub(super) fn sysvipc() -> Node {
    Node::dir([
        (
            "msg",
            Node::constant(
                "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n",
            ),
        ),
        (
            "sem",
            Node::constant(
                "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n",
            ),
        ),
        (
            "shm",
            Node::constant(
                "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n",
            ),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_two_decimals() {
        assert_eq!(seconds(12_345_678_901), "12.34");
        assert_eq!(seconds(50_000_000), "0.05");
    }
}
