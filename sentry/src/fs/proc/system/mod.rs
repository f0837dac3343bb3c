//! Files of proc about the sandbox as a whole; what a reader sees is bounded by its container's limits.

mod cpu;
mod memory;
mod misc;

use std::sync::{Arc, Weak};

use crate::fs::static_tree::{Node, Reader};
use crate::host_facts::HostFactsSlot;
use crate::kernel::Kernel;
use crate::task::Task;

/// CPUs that a task's container shows.
pub(crate) fn visible_cpus(task: &Arc<Task>) -> u32 {
    let shown = task.container.resources().cpus;
    if shown > 0 {
        return shown;
    }
    task.kernel
        .extensions
        .get::<HostFactsSlot>()
        .get()
        .cpus
        .max(1)
}

/// Bytes of memory that a task's container shows.
pub(crate) fn visible_memory(task: &Arc<Task>) -> u64 {
    let shown = task.container.resources().memory;
    if shown > 0 {
        return shown;
    }
    match task.kernel.extensions.get::<HostFactsSlot>().get().memory {
        0 => 2 << 30,
        memory => memory,
    }
}

/// A file that needs the reading task.
fn by_reader(show: fn(&Arc<Task>) -> String) -> Node {
    Node::text(move |reader: &Reader<'_>| Ok(show(reader.require()?)))
}

/// The names in the order of a listing.
pub(super) fn nodes(kernel: &Weak<Kernel>) -> Vec<(&'static str, Node)> {
    vec![
        ("buddyinfo", Node::constant("")),
        ("cgroups", Node::constant(misc::CGROUPS)),
        ("cmdline", Node::constant("\n")),
        ("consoles", Node::constant("")),
        ("cpuinfo", by_reader(cpu::cpuinfo)),
        ("crypto", Node::constant("")),
        ("devices", by_reader(misc::devices)),
        ("diskstats", Node::constant("")),
        ("filesystems", Node::constant(misc::FILESYSTEMS)),
        ("interrupts", by_reader(cpu::interrupts)),
        ("loadavg", by_reader(misc::loadavg)),
        ("locks", Node::constant("")),
        ("meminfo", by_reader(memory::meminfo)),
        ("misc", Node::constant("")),
        ("modules", Node::constant("")),
        ("mounts", Node::link("self/mounts")),
        ("net", Node::link("self/net")),
        (
            "partitions",
            Node::constant("major minor  #blocks  name\n\n"),
        ),
        ("softirqs", by_reader(cpu::softirqs)),
        ("stat", by_reader(cpu::stat)),
        (
            "swaps",
            Node::constant("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
        ),
        ("sys", super::sys::node(kernel)),
        ("sysvipc", misc::sysvipc()),
        ("uptime", by_reader(misc::uptime)),
        ("version", Node::constant(misc::version())),
        ("vmstat", by_reader(memory::vmstat)),
        ("zoneinfo", Node::constant("")),
    ]
}
