//! `cpuinfo`, `stat`, `interrupts` and `softirqs`.

use std::fmt::Write as _;
use std::sync::Arc;

use super::super::stat::TICK_NS;
use super::visible_cpus;
use crate::host_facts::HostFactsSlot;
use crate::task::{RunState, Task};

/// `cpuinfo`: the host's text, cut or repeated to the CPUs that the container shows.
pub(super) fn cpuinfo(task: &Arc<Task>) -> String {
    let facts = task.kernel.extensions.get::<HostFactsSlot>();
    cpuinfo_for(&facts.get().cpuinfo, visible_cpus(task))
}

fn cpuinfo_for(host: &str, cpus: u32) -> String {
    let first = host.split("\n\n").next().unwrap_or("").trim_matches('\n');
    let mut text = String::new();
    for cpu in 0..cpus {
        if first.is_empty() {
            let _ = writeln!(
                text,
                "processor\t: {cpu}\nvendor_id\t: unknown\nmodel name\t: unknown"
            );
        }
        for line in first.lines() {
            let (name, _) = line.split_once(':').unwrap_or((line, ""));
            let value = match name.trim() {
                "processor" | "core id" | "apicid" | "initial apicid" => Some(cpu),
                "physical id" => Some(0),
                "siblings" | "cpu cores" => Some(cpus),
                _ => None,
            };
            match value {
                Some(value) => {
                    let _ = writeln!(text, "{name}: {value}");
                }
                None => {
                    let _ = writeln!(text, "{line}");
                }
            }
        }
        text.push('\n');
    }
    text
}

/// `stat`: time since the sandbox started.
pub(super) fn stat(task: &Arc<Task>) -> String {
    let kernel = &task.kernel;
    let cpus = visible_cpus(task);
    let now = crate::time::boottime_ns();
    let up = now.saturating_sub(kernel.boot_ns);
    let facts = kernel.extensions.get::<HostFactsSlot>();
    let used = facts
        .get()
        .cpu_used_ns
        .as_ref()
        .and_then(|gauge| gauge())
        .unwrap_or(0);
    let boot_time = crate::time::realtime_ns().saturating_sub(up) / 1_000_000_000;
    let namespace = task.pid_namespace();
    let running = namespace
        .tasks()
        .iter()
        .filter(|(_, other)| other.state() == RunState::Running)
        .count();
    stat_text(
        cpus,
        used / TICK_NS,
        up / TICK_NS,
        boot_time,
        namespace.last_pid(),
        running,
    )
}

fn stat_text(
    cpus: u32,
    used_ticks: u64,
    up_ticks: u64,
    boot_time: u64,
    processes: i32,
    running: usize,
) -> String {
    let idle = (up_ticks * u64::from(cpus)).saturating_sub(used_ticks);
    let per_cpu = used_ticks / u64::from(cpus.max(1));
    let mut text = format!("cpu  {used_ticks} 0 0 {idle} 0 0 0 0 0 0\n");
    for cpu in 0..cpus {
        let _ = writeln!(
            text,
            "cpu{cpu} {per_cpu} 0 0 {} 0 0 0 0 0 0",
            up_ticks.saturating_sub(per_cpu)
        );
    }
    let _ = writeln!(
        text,
        "intr 0\nctxt 0\nbtime {boot_time}\nprocesses {processes}\nprocs_running {running}\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0"
    );
    text
}

fn cpu_header(cpus: u32) -> String {
    let mut text = String::from("           ");
    for cpu in 0..cpus {
        let _ = write!(text, "CPU{cpu:<8}");
    }
    text.push('\n');
    text
}

/// `interrupts`: none of the guests' business.
pub(super) fn interrupts(task: &Arc<Task>) -> String {
    cpu_header(visible_cpus(task))
}

/// `softirqs`.
pub(super) fn softirqs(task: &Arc<Task>) -> String {
    format!("         {}", cpu_header(visible_cpus(task)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "processor\t: 0\nmodel name\t: Fast CPU\nsiblings\t: 64\ncore id\t\t: 5\ncpu cores\t: 32\nflags\t\t: fpu sse\npower management:\n\nprocessor\t: 1\nmodel name\t: Fast CPU\n";

    #[test]
    fn a_container_sees_its_own_number_of_cpus() {
        let text = cpuinfo_for(HOST, 3);
        assert_eq!(text.matches("processor\t: ").count(), 3);
        assert!(text.contains("processor\t: 2\n"));
        assert!(text.contains("siblings\t: 3\n") && !text.contains("64"));
        assert!(text.contains("core id\t\t: 2\n"));
        assert_eq!(text.matches("flags\t\t: fpu sse\n").count(), 3);
        assert_eq!(cpuinfo_for("", 2).matches("processor").count(), 2);
    }

    #[test]
    fn stat_adds_up() {
        let text = stat_text(2, 10, 100, 5, 9, 1);
        assert!(text.starts_with("cpu  10 0 0 190 0 "));
        assert!(text.contains("\ncpu1 5 0 0 95 "));
        assert!(text.contains("\nbtime 5\nprocesses 9\n"));
    }
}
