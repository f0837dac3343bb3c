//! `/sys/devices/system/node`: one memory node with everything.

use super::cpu::mask;
use super::line;
use crate::fs::proc::status::ranges;
use crate::fs::static_tree::Node;

/// The directory.
pub(super) fn node(cpus: u32, memory: u64) -> Node {
    let kib = memory / 1024;
    let meminfo = format!(
        "Node 0 MemTotal:       {kib:8} kB\nNode 0 MemFree:        {kib:8} kB\nNode 0 MemUsed:        {:8} kB\nNode 0 HugePages_Total:     0\nNode 0 HugePages_Free:      0\nNode 0 HugePages_Surp:      0\n",
        0
    );
    let node0 = [
        (b"cpulist".to_vec(), line(ranges(cpus, u64::MAX))),
        (b"cpumap".to_vec(), line(mask(0..cpus, cpus))),
        (b"distance".to_vec(), line(10)),
        (b"meminfo".to_vec(), Node::constant(meminfo)),
        (
            b"numastat".to_vec(),
            Node::constant(
                "numa_hit 0\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 0\nother_node 0\n",
            ),
        ),
        (b"vmstat".to_vec(), Node::constant("")),
    ];
    let links = (0..cpus).map(|cpu| {
        (
            format!("cpu{cpu}").into_bytes(),
            Node::link(&format!("../../cpu/cpu{cpu}")),
        )
    });
    Node::dir([
        ("has_cpu", line(0)),
        ("has_memory", line(0)),
        ("has_normal_memory", line(0)),
        ("node0", Node::dir_of(node0.into_iter().chain(links))),
        ("online", line(0)),
        ("possible", line(0)),
    ])
}
