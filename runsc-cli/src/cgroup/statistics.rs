//! Statistics of cgroup v1 in runc's format.

use serde_json::{Value, json};

use super::v1::CgroupV1;

/// runc's `Stats`, as far as cgroup v1 has it.
pub(super) fn collect(cgroup: &CgroupV1) -> Value {
    let number = |controller: &str, file: &str| {
        cgroup
            .read(controller, file)
            .and_then(|text| text.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    let table = |controller: &str, file: &str| -> serde_json::Map<String, Value> {
        let text = cgroup.read(controller, file).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(key, value)| {
                Some((key.to_owned(), json!(value.trim().parse::<u64>().ok()?)))
            })
            .collect()
    };
    let memory = |prefix: &str| {
        json!({
            "limit": number("memory", &format!("memory.{prefix}limit_in_bytes")),
            "usage": number("memory", &format!("memory.{prefix}usage_in_bytes")),
            "max": number("memory", &format!("memory.{prefix}max_usage_in_bytes")),
            "failcnt": number("memory", &format!("memory.{prefix}failcnt")),
        })
    };
    let raw = table("memory", "memory.stat");
    let per_cpu: Vec<u64> = cgroup
        .read("cpuacct", "cpuacct.usage_percpu")
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let throttling = table("cpu", "cpu.stat");
    let limit = cgroup
        .read("pids", "pids.max")
        .and_then(|text| text.trim().parse::<u64>().ok())
        .unwrap_or(0);
    json!({
        "cpu": {
            "usage": {
                "total": number("cpuacct", "cpuacct.usage"),
                "percpu": per_cpu,
                "kernel": number("cpuacct", "cpuacct.usage_sys"),
                "user": number("cpuacct", "cpuacct.usage_user"),
            },
            "throttling": {
                "periods": throttling.get("nr_periods"),
                "throttledPeriods": throttling.get("nr_throttled"),
                "throttledTime": throttling.get("throttled_time"),
            },
        },
        "memory": {
            "cache": raw.get("total_cache"),
            "usage": memory(""),
            "swap": memory("memsw."),
            "kernel": memory("kmem."),
            "kernelTCP": memory("kmem.tcp."),
            "raw": raw,
        },
        "pids": {"current": number("pids", "pids.current"), "limit": limit},
        "blkio": {
            "ioServiceBytesRecursive": block(cgroup, "blkio.throttle.io_service_bytes_recursive"),
            "ioServicedRecursive": block(cgroup, "blkio.throttle.io_serviced_recursive"),
        },
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

/// Lines `8:0 Read 4096` of the block controller.
fn block(cgroup: &CgroupV1, file: &str) -> Value {
    let text = cgroup.read("blkio", file).unwrap_or_default();
    let entries: Vec<Value> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (major, minor) = words.next()?.split_once(':')?;
            let (op, value) = (words.next()?, words.next()?);
            Some(json!({"major": major.parse::<u64>().ok()?, "minor": minor.parse::<u64>().ok()?, "op": op, "value": value.parse::<u64>().ok()?}))
        })
        .collect();
    json!(entries)
}
