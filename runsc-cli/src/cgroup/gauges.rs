//! What a container's cgroup says now: the limits that hold, and files with its use that the sandbox's kernel reads for `/proc/meminfo` and the like.

use std::fs::File;

use super::limits::SPARE_GUEST_PIDS;
use super::v1::CgroupV1;
use super::v2::CgroupV2;
use super::v2_limits::{pids_of_guests, shares_of_weight};
use crate::boot::config::ResourceLimits;
use crate::spec::container::cpu_list;

/// Descriptors that stay valid as long as the cgroup exists; a missing controller leaves one out.
#[derive(Debug, Default)]
pub struct Gauges {
    /// `memory.usage_in_bytes` or `memory.current`: page cache included.
    pub memory_used: Option<File>,
    /// `memory.stat`.
    pub memory_stat: Option<File>,
    /// `cpuacct.usage` (nanoseconds) or `cpu.stat`: see [`cpu_ns`].
    pub cpu_used: Option<File>,
}

/// Opens the gauges of a cgroup of version 1.
#[must_use]
pub fn open(cgroup: &CgroupV1) -> Gauges {
    Gauges {
        memory_used: cgroup.open("memory", "memory.usage_in_bytes"),
        memory_stat: cgroup.open("memory", "memory.stat"),
        cpu_used: cgroup.open("cpuacct", "cpuacct.usage"),
    }
}

/// The value of a key in a file of `key value` lines.
#[must_use]
pub fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

/// The limits that hold in a cgroup of version 1.
#[must_use]
pub fn limits(cgroup: &CgroupV1) -> ResourceLimits {
    /// What stands for "no limit": `LONG_MAX` rounded down to a page.
    const UNLIMITED: u64 = 0x7fff_ffff_ffff_f000;
    let number =
        |controller, file| -> Option<u64> { cgroup.read(controller, file)?.trim().parse().ok() };
    let limited = |value: Option<u64>| value.filter(|value| *value < UNLIMITED);
    let stat = cgroup.read("memory", "memory.stat").unwrap_or_default();
    ResourceLimits {
        memory: limited(keyed(&stat, "hierarchical_memory_limit")),
        memory_swap: limited(keyed(&stat, "hierarchical_memsw_limit")),
        // -1 is no number of this type: no quota.
        cpu_quota: number("cpu", "cpu.cfs_quota_us"),
        cpu_period: number("cpu", "cpu.cfs_period_us"),
        cpu_shares: number("cpu", "cpu.shares"),
        cpuset: cgroup
            .read("cpuset", "cpuset.cpus")
            .and_then(|text| cpu_list(&text)),
        pids: number("pids", "guest/pids.max")
            .map(|pids| pids.saturating_sub(u64::try_from(SPARE_GUEST_PIDS).unwrap_or(0))),
    }
}

/// Opens the gauges of a cgroup of version 2.
#[must_use]
pub fn open_v2(cgroup: &CgroupV2) -> Gauges {
    Gauges {
        memory_used: cgroup.open("memory.current"),
        memory_stat: cgroup.open("memory.stat"),
        cpu_used: cgroup.open("cpu.stat"),
    }
}

/// CPU time in nanoseconds, from the text of [`Gauges::cpu_used`].
#[must_use]
pub fn cpu_ns(text: &str) -> Option<u64> {
    match keyed(text, "usage_usec") {
        Some(micros) => Some(micros.saturating_mul(1000)),
        None => text.trim().parse().ok(),
    }
}

/// Bytes of page cache that is no shared memory, from `memory.stat`. Version 1 has figures for the whole tree under other names.
#[must_use]
pub fn cached(stat: &str) -> Option<u64> {
    let sum = |keys: [&str; 2]| keys.iter().map(|key| keyed(stat, key)).sum::<Option<u64>>();
    sum(["total_inactive_file", "total_active_file"])
        .or_else(|| sum(["inactive_file", "active_file"]))
}

/// The limits that hold in a cgroup of version 2.
#[must_use]
pub fn limits_v2(cgroup: &CgroupV2) -> ResourceLimits {
    let memory = cgroup.lowest("memory.max");
    let quota = cgroup.read("cpu.max").unwrap_or_default();
    let mut quota = quota.split_ascii_whitespace();
    ResourceLimits {
        memory,
        memory_swap: memory
            .and_then(|memory| Some(memory.saturating_add(cgroup.lowest("memory.swap.max")?))),
        cpu_quota: quota.next().and_then(|text| text.parse().ok()),
        cpu_period: quota.next().and_then(|text| text.parse().ok()),
        cpu_shares: cgroup.number("cpu.weight").map(shares_of_weight),
        cpuset: cgroup
            .read("cpuset.cpus.effective")
            .and_then(|text| cpu_list(&text))
            .filter(|cpus| !cpus.is_empty()),
        pids: cgroup.number("pids.max").map(pids_of_guests),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyed_files() {
        let text = "cache 4096\ntotal_cache 8192\nhierarchical_memory_limit 1000\n";
        assert_eq!(keyed(text, "total_cache"), Some(8192));
        assert_eq!(keyed(text, "hierarchical_memory_limit"), Some(1000));
        assert_eq!(keyed(text, "nosuch"), None);
    }

    #[test]
    fn both_versions_of_the_gauges() {
        assert_eq!(cpu_ns("12345\n"), Some(12345));
        assert_eq!(cpu_ns("usage_usec 5\nuser_usec 1\n"), Some(5000));
        assert_eq!(cached("inactive_file 1\nactive_file 2\n"), Some(3));
        let both = "inactive_file 1\nactive_file 2\ntotal_inactive_file 10\ntotal_active_file 20\n";
        assert_eq!(cached(both), Some(30));
        assert_eq!(cached("anon 1\n"), None);
    }
}
