//! `/sys` (`sysfs(5)`): what programs read there to learn of CPUs, memory nodes, interfaces and huge pages. All of it is read-only.
//!
//! - [`new`]: an instance for what a container may see. [`cpu`], [`node`], [`net`]: the parts.
//!
//! No locks.

mod cpu;
mod net;
mod node;

use std::sync::Arc;

pub use net::NetSlot;

use super::static_tree::{Node, TreeFs};
use crate::host_facts::HostFactsSlot;
use crate::kernel::{Kernel, VisibleResources};

/// `SYSFS_MAGIC`.
const MAGIC: i64 = 0x6265_6572;

/// A text with its newline.
fn line(text: impl std::fmt::Display) -> Node {
    Node::constant(format!("{text}\n"))
}

/// A new instance that shows `resources`.
#[must_use]
pub fn new(kernel: &Arc<Kernel>, resources: VisibleResources) -> Arc<TreeFs> {
    let facts = kernel.extensions.get::<HostFactsSlot>();
    let facts = facts.get();
    let cpus = match resources.cpus {
        0 => facts.cpus.max(1),
        cpus => cpus,
    };
    let memory = match resources.memory {
        0 => facts.memory,
        memory => memory,
    };
    TreeFs::new(
        "sysfs",
        MAGIC,
        String::new(),
        &tree(&facts.cpuinfo, cpus, memory, &kernel.extensions.get()),
    )
}

fn tree(cpuinfo: &str, cpus: u32, memory: u64, slot: &Arc<NetSlot>) -> Node {
    Node::dir([
        ("block", Node::dir([])),
        ("bus", Node::dir([])),
        (
            "class",
            Node::dir([
                ("block", Node::dir([])),
                ("net", net::class(slot)),
                ("tty", Node::dir([])),
            ]),
        ),
        (
            "dev",
            Node::dir([("block", Node::dir([])), ("char", Node::dir([]))]),
        ),
        (
            "devices",
            Node::dir([
                (
                    "system",
                    Node::dir([
                        ("cpu", cpu::node(cpuinfo, cpus)),
                        ("node", node::node(cpus, memory)),
                    ]),
                ),
                ("virtual", Node::dir([("net", net::devices(slot))])),
            ]),
        ),
        ("firmware", Node::dir([])),
        (
            "fs",
            // A mount point for the cgroup view.
            Node::dir([("cgroup", Node::dir([]))]),
        ),
        ("kernel", kernel()),
        ("module", Node::dir([])),
        ("power", Node::dir([])),
    ])
}

fn kernel() -> Node {
    let huge = Node::dir([
        ("free_hugepages", line(0)),
        ("nr_hugepages", line(0)),
        ("nr_overcommit_hugepages", line(0)),
        ("resv_hugepages", line(0)),
        ("surplus_hugepages", line(0)),
    ]);
    Node::dir([
        ("debug", Node::dir([])),
        (
            "mm",
            Node::dir([
                ("hugepages", Node::dir([("hugepages-2048kB", huge)])),
                (
                    "transparent_hugepage",
                    Node::dir([
                        ("defrag", line("always defer defer+madvise [madvise] never")),
                        ("enabled", line("always [madvise] never")),
                        ("hpage_pmd_size", line(2 << 20)),
                        (
                            "shmem_enabled",
                            line("always within_size advise [never] deny force"),
                        ),
                        ("use_zero_page", line(1)),
                    ]),
                ),
            ]),
        ),
        ("security", Node::dir([])),
        ("tracing", Node::dir([])),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::static_tree::{Kind, Reader};

    /// The text of a file by path.
    pub(super) fn read(root: &Node, path: &str) -> String {
        let mut at = root.clone();
        for name in path.split('/') {
            let Kind::Dir(dir) = &at.kind else {
                panic!("{name} is below a file");
            };
            at = dir.lookup(name.as_bytes()).unwrap();
        }
        let Kind::File(file) = &at.kind else {
            panic!("{path} is no file");
        };
        String::from_utf8(file.read(&Reader { task: None }).unwrap()).unwrap()
    }

    #[test]
    fn programs_find_cpus_and_nodes() {
        let tree = tree(
            "clflush size\t: 64\ncache size\t: 36608 KB\n",
            3,
            1 << 30,
            &Arc::default(),
        );
        assert_eq!(read(&tree, "devices/system/cpu/online"), "0-2\n");
        assert_eq!(
            read(&tree, "devices/system/cpu/cpu2/topology/core_id"),
            "2\n"
        );
        assert_eq!(
            read(&tree, "devices/system/cpu/cpu1/cache/index0/size"),
            "36608K\n"
        );
        assert_eq!(read(&tree, "devices/system/node/node0/cpulist"), "0-2\n");
        assert!(
            read(&tree, "devices/system/node/node0/meminfo")
                .contains("Node 0 MemTotal:        1048576 kB\n")
        );
        assert_eq!(read(&tree, "devices/virtual/net/lo/mtu"), "65536\n");
    }
}
