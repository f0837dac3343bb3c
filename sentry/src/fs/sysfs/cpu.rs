//! `/sys/devices/system/cpu`.

use super::line;
use crate::fs::proc::status::ranges;
use crate::fs::static_tree::Node;

/// A mask of CPUs in groups of 32 bits, as the kernel prints it.
pub(super) fn mask(cpus: impl IntoIterator<Item = u32>, count: u32) -> String {
    let words = count.div_ceil(32).max(1) as usize;
    let mut mask = vec![0_u32; words];
    for cpu in cpus {
        if let Some(word) = mask.get_mut((cpu / 32) as usize) {
            *word |= 1 << (cpu % 32);
        }
    }
    let text: Vec<String> = mask
        .iter()
        .rev()
        .map(|word| format!("{word:08x}"))
        .collect();
    // The first group has no more digits than the CPUs need.
    let digits = (count - (count.saturating_sub(1) / 32) * 32)
        .div_ceil(4)
        .max(1) as usize;
    let mut joined = text.join(",");
    joined.drain(..8 - digits.min(8));
    joined
}

/// A value of the host's `/proc/cpuinfo`, of its first CPU.
fn fact<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

/// The last-level cache, the only one that `/proc/cpuinfo` tells of.
fn cache(cpuinfo: &str, all: &str, shared: &str) -> Node {
    let Some(size) = fact(cpuinfo, "cache size").and_then(|size| size.strip_suffix(" KB")) else {
        return Node::dir([]);
    };
    let line_size = fact(cpuinfo, "clflush size").unwrap_or("64");
    Node::dir([(
        "index0",
        Node::dir([
            ("coherency_line_size", line(line_size)),
            ("id", line(0)),
            ("level", line(3)),
            ("shared_cpu_list", line(all)),
            ("shared_cpu_map", line(shared)),
            ("size", line(format!("{size}K"))),
            ("type", line("Unified")),
        ]),
    )])
}

fn one(cpuinfo: &str, cpu: u32, cpus: u32) -> Node {
    let all = ranges(cpus, u64::MAX);
    let all_mask = mask(0..cpus, cpus);
    let own_mask = mask([cpu], cpus);
    let topology = Node::dir([
        ("core_cpus", line(&own_mask)),
        ("core_cpus_list", line(cpu)),
        ("core_id", line(cpu)),
        ("core_siblings", line(&all_mask)),
        ("core_siblings_list", line(&all)),
        ("die_cpus_list", line(&all)),
        ("die_id", line(0)),
        ("package_cpus", line(&all_mask)),
        ("package_cpus_list", line(&all)),
        ("physical_package_id", line(0)),
        ("thread_siblings", line(&own_mask)),
        ("thread_siblings_list", line(cpu)),
    ]);
    Node::dir([
        ("cache", cache(cpuinfo, &all, &all_mask)),
        ("node0", Node::link("../../node/node0")),
        ("online", line(1)),
        ("topology", topology),
    ])
}

/// The directory.
pub(super) fn node(cpuinfo: &str, cpus: u32) -> Node {
    let all = ranges(cpus, u64::MAX);
    let fixed = [
        ("isolated", line("")),
        ("kernel_max", line(8191)),
        ("nohz_full", line("")),
        ("offline", line("")),
        ("online", line(&all)),
        ("possible", line(&all)),
        ("present", line(&all)),
        (
            "smt",
            Node::dir([("active", line(0)), ("control", line("notsupported"))]),
        ),
    ]
    .map(|(name, node)| (name.as_bytes().to_vec(), node));
    let each = (0..cpus).map(|cpu| (format!("cpu{cpu}").into_bytes(), one(cpuinfo, cpu, cpus)));
    Node::dir_of(fixed.into_iter().chain(each))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_grouped_and_cut() {
        assert_eq!(mask(0..2, 2), "3");
        assert_eq!(mask([4], 8), "10");
        assert_eq!(mask(0..32, 32), "ffffffff");
        assert_eq!(mask([33], 40), "02,00000000");
    }
}
