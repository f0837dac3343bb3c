//! Statistics of cgroup v2 in runc's format (which is that of v1, filled as runc fills it).

use serde_json::{Map, Value, json};

use super::gauges::keyed;
use super::v2::CgroupV2;

/// runc's `Stats`, as far as cgroup v2 has it.
pub(super) fn collect(cgroup: &CgroupV2) -> Value {
    let text = |file: &str| cgroup.read(file).unwrap_or_default();
    let number = |file: &str| cgroup.number(file).unwrap_or(0);
    // `max` is shown as the largest number.
    let limit = |file: &str| {
        cgroup
            .read(file)
            .map_or(0, |text| text.trim().parse().unwrap_or(u64::MAX))
    };
    let stat = text("memory.stat");
    let raw: Map<String, Value> = stat
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(key, value)| Some((key.to_owned(), json!(value.parse::<u64>().ok()?))))
        .collect();
    let of = |file: &str, key: &str| keyed(&text(file), key).unwrap_or(0);
    let micros = |key: &str| of("cpu.stat", key).saturating_mul(1000);
    let memory = number("memory.current");
    let swap = number("memory.swap.current");
    let swap_limit = limit("memory.swap.max").saturating_add(limit("memory.max"));
    json!({
        "cpu": {
            "usage": {
                "total": micros("usage_usec"),
                "kernel": micros("system_usec"),
                "user": micros("user_usec"),
            },
            "throttling": {
                "periods": of("cpu.stat", "nr_periods"),
                "throttledPeriods": of("cpu.stat", "nr_throttled"),
                "throttledTime": micros("throttled_usec"),
            },
        },
        "memory": {
            "cache": keyed(&stat, "file"),
            "usage": {
                "limit": limit("memory.max"),
                "usage": memory,
                "max": number("memory.peak"),
                "failcnt": of("memory.events", "max"),
            },
            "swap": {"limit": swap_limit, "usage": swap.saturating_add(memory), "failcnt": 0},
            "kernel": {"failcnt": 0},
            "kernelTCP": {"failcnt": 0},
            "raw": raw,
        },
        "pids": {"current": number("pids.current"), "limit": pids_limit(cgroup)},
        "blkio": {"ioServiceBytesRecursive": block(&text("io.stat"), "bytes"), "ioServicedRecursive": block(&text("io.stat"), "ios")},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

fn pids_limit(cgroup: &CgroupV2) -> u64 {
    cgroup.number("pids.max").unwrap_or(0)
}

/// Lines `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 …` of `io.stat`.
fn block(text: &str, what: &str) -> Value {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else {
            continue;
        };
        let (Ok(major), Ok(minor)) = (major.parse::<u64>(), minor.parse::<u64>()) else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let op = match key.strip_suffix(what) {
                Some("r") => "Read",
                Some("w") => "Write",
                Some("d") => "Discard",
                _ => continue,
            };
            if let Ok(value) = value.parse::<u64>() {
                entries.push(json!({"major": major, "minor": minor, "op": op, "value": value}));
            }
        }
    }
    json!(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_lines() {
        let text = "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\nbroken\n";
        let bytes = block(text, "bytes");
        assert_eq!(
            bytes[0],
            json!({"major": 8, "minor": 0, "op": "Read", "value": 10})
        );
        assert_eq!(block(text, "ios")[1]["value"], 2);
    }
}
