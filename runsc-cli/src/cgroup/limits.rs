//! A spec's resources as the files of cgroup v1 to write, in an order that the kernel accepts.

use oci_spec::runtime::{LinuxResources, LinuxThrottleDevice};

use super::Place;

/// Room for template, pool and processes that are being reaped beyond the guests' own limit. The kernel in the sentry enforces the exact number.
pub const SPARE_GUEST_PIDS: i64 = 32;
/// Room for proxies, sentry threads and gofer threads on top of it: the sentry has up to one thread per guest process.
pub(super) const SPARE_PIDS: i64 = 128;

/// One file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Controller.
    pub controller: &'static str,
    /// Which directory.
    pub place: Place,
    /// File name.
    pub file: String,
    /// Content.
    pub value: String,
    /// A kernel without the file is warned of, not an error (as runc does for what depends on the I/O scheduler).
    pub optional: bool,
}

impl Write {
    fn new(controller: &'static str, file: &str, value: impl ToString) -> Self {
        Self {
            controller,
            place: Place::Container,
            file: file.to_owned(),
            value: value.to_string(),
            optional: false,
        }
    }

    fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// The same, in another place.
    pub(super) fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }
}

/// The writes for `resources`. `read` gives present values.
#[must_use]
pub fn writes(
    resources: &LinuxResources,
    read: &dyn Fn(&str, &str) -> Option<String>,
) -> Vec<Write> {
    let mut list = Vec::new();
    memory(resources, read, &mut list);
    cpu(resources, &mut list);
    pids(resources, &mut list);
    block(resources, &mut list);
    for limit in resources.hugepage_limits().iter().flatten() {
        list.push(Write::new(
            "hugetlb",
            &format!("hugetlb.{}.limit_in_bytes", limit.page_size()),
            limit.limit(),
        ));
    }
    list
}

fn memory(
    resources: &LinuxResources,
    read: &dyn Fn(&str, &str) -> Option<String>,
    list: &mut Vec<Write>,
) {
    let Some(memory) = resources.memory() else {
        return;
    };
    let limit = memory
        .limit()
        .filter(|limit| *limit != 0)
        .map(|limit| Write::new("memory", "memory.limit_in_bytes", limit));
    // No limit on memory means none on both together, as runc has it.
    let swap = memory
        .swap()
        .filter(|swap| *swap != 0)
        .or_else(|| memory.limit().filter(|limit| *limit == -1));
    let swap = swap.map(|swap| Write::new("memory", "memory.memsw.limit_in_bytes", swap));
    // memsw may never be below the memory limit: when it grows it goes first.
    let present: i64 = read("memory", "memory.memsw.limit_in_bytes")
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(i64::MAX);
    let grows = swap.as_ref().is_some_and(|write| {
        write.value == "-1"
            || write
                .value
                .parse::<i64>()
                .is_ok_and(|value| value >= present)
    });
    if grows {
        list.extend(swap.into_iter().chain(limit));
    } else {
        list.extend(limit.into_iter().chain(swap));
    }
    if let Some(reservation) = memory.reservation().filter(|value| *value != 0) {
        list.push(Write::new(
            "memory",
            "memory.soft_limit_in_bytes",
            reservation,
        ));
    }
    if let Some(swappiness) = memory.swappiness() {
        list.push(Write::new("memory", "memory.swappiness", swappiness));
    }
    if memory.disable_oom_killer() == Some(true) {
        list.push(Write::new("memory", "memory.oom_control", 1));
    }
}

fn cpu(resources: &LinuxResources, list: &mut Vec<Write>) {
    let Some(cpu) = resources.cpu() else { return };
    if let Some(shares) = cpu.shares().filter(|value| *value != 0) {
        list.push(Write::new("cpu", "cpu.shares", shares));
    }
    if let Some(period) = cpu.period().filter(|value| *value != 0) {
        list.push(Write::new("cpu", "cpu.cfs_period_us", period));
    }
    if let Some(quota) = cpu.quota().filter(|value| *value != 0) {
        list.push(Write::new("cpu", "cpu.cfs_quota_us", quota));
    }
    if let Some(burst) = cpu.burst() {
        list.push(Write::new("cpu", "cpu.cfs_burst_us", burst));
    }
    if let Some(idle) = cpu.idle() {
        list.push(Write::new("cpu", "cpu.idle", idle));
    }
    if let Some(period) = cpu.realtime_period().filter(|value| *value != 0) {
        list.push(Write::new("cpu", "cpu.rt_period_us", period));
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|value| *value != 0) {
        list.push(Write::new("cpu", "cpu.rt_runtime_us", runtime));
    }
    if let Some(cpus) = cpu.cpus().as_ref().filter(|text| !text.is_empty()) {
        list.push(Write::new("cpuset", "cpuset.cpus", cpus));
    }
    if let Some(mems) = cpu.mems().as_ref().filter(|text| !text.is_empty()) {
        list.push(Write::new("cpuset", "cpuset.mems", mems));
    }
}

fn pids(resources: &LinuxResources, list: &mut Vec<Write>) {
    let Some(limit) = resources
        .pids()
        .as_ref()
        .map(|pids| pids.limit())
        .filter(|limit| *limit != 0)
    else {
        return;
    };
    let value = |limit: i64| {
        if limit < 0 {
            "max".to_owned()
        } else {
            limit.to_string()
        }
    };
    let guests = if limit < 0 {
        -1
    } else {
        limit.saturating_add(SPARE_GUEST_PIDS)
    };
    let all = if limit < 0 {
        -1
    } else {
        limit
            .saturating_mul(2)
            .saturating_add(SPARE_GUEST_PIDS + SPARE_PIDS)
    };
    list.push(Write::new("pids", "pids.max", value(all)));
    list.push(Write::new("pids", "pids.max", value(guests)).at(Place::Guest));
}

fn block(resources: &LinuxResources, list: &mut Vec<Write>) {
    let Some(block) = resources.block_io() else {
        return;
    };
    if let Some(weight) = block.weight().filter(|value| *value != 0) {
        // The name depends on the scheduler: bfq's is the one that current kernels have.
        list.push(Write::new("blkio", "blkio.bfq.weight", weight).optional());
    }
    for device in block.weight_device().iter().flatten() {
        if let Some(weight) = device.weight() {
            list.push(
                Write::new(
                    "blkio",
                    "blkio.bfq.weight_device",
                    format!("{}:{} {weight}", device.major(), device.minor()),
                )
                .optional(),
            );
        }
    }
    let mut throttle = |file: &str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        for device in devices.iter().flatten() {
            list.push(Write::new(
                "blkio",
                file,
                format!("{}:{} {}", device.major(), device.minor(), device.rate()),
            ));
        }
    };
    throttle(
        "blkio.throttle.read_bps_device",
        block.throttle_read_bps_device(),
    );
    throttle(
        "blkio.throttle.write_bps_device",
        block.throttle_write_bps_device(),
    );
    throttle(
        "blkio.throttle.read_iops_device",
        block.throttle_read_iops_device(),
    );
    throttle(
        "blkio.throttle.write_iops_device",
        block.throttle_write_iops_device(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(json: &str, memsw: &str) -> Vec<(String, String)> {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        let memsw = memsw.to_owned();
        writes(&resources, &move |_, _| Some(memsw.clone()))
            .into_iter()
            .map(|write| (write.file, write.value))
            .collect()
    }

    fn pair(file: &str, value: &str) -> (String, String) {
        (file.to_owned(), value.to_owned())
    }

    #[test]
    fn memory_and_swap_go_in_the_order_that_the_kernel_takes() {
        let json = r#"{"memory":{"limit":1000,"swap":2000}}"#;
        let limit = pair("memory.limit_in_bytes", "1000");
        let swap = pair("memory.memsw.limit_in_bytes", "2000");
        assert_eq!(files(json, "9000"), [limit.clone(), swap.clone()]);
        assert_eq!(files(json, "500"), [swap, limit]);
        assert_eq!(
            files(r#"{"memory":{"limit":-1}}"#, "500"),
            [
                pair("memory.memsw.limit_in_bytes", "-1"),
                pair("memory.limit_in_bytes", "-1")
            ]
        );
    }

    #[test]
    fn helpers_do_not_use_up_the_pids_limit() {
        let resources: LinuxResources = serde_json::from_str(r#"{"pids":{"limit":10}}"#).unwrap();
        let list = writes(&resources, &|_, _| None);
        assert_eq!(list[1].place, Place::Guest);
        assert!(
            list[1].value.parse::<i64>().unwrap() > 10
                && list[0].value.parse::<i64>().unwrap() > list[1].value.parse::<i64>().unwrap()
        );
        assert_eq!(
            files(r#"{"pids":{"limit":-1}}"#, "0"),
            [pair("pids.max", "max"), pair("pids.max", "max")]
        );
    }

    #[test]
    fn nothing_asked_nothing_written() {
        assert_eq!(
            files(
                r#"{"devices":[{"allow":false,"access":"rwm"}],"memory":{},"cpu":{}}"#,
                "0"
            ),
            []
        );
    }
}
