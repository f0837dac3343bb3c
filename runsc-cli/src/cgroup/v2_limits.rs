//! A spec's resources as the files of cgroup v2 to write, in an order that the kernel accepts, with runc's conversions of v1 figures.
//!
//! Source: Documentation/admin-guide/cgroup-v2.rst; the conversions are those that runc documents for the OCI spec's v1 units.

use anyhow::{Result, bail};
use oci_spec::runtime::{LinuxResources, LinuxThrottleDevice};

use super::limits::{SPARE_GUEST_PIDS, SPARE_PIDS};

/// One file to write in the container's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    /// File name, `CONTROLLER.NAME`.
    pub(super) file: String,
    /// Content.
    pub(super) value: String,
    /// A kernel without the file is warned of, not an error.
    pub(super) optional: bool,
}

impl Write {
    fn new(file: &str, value: impl ToString) -> Self {
        Self {
            file: file.to_owned(),
            value: value.to_string(),
            optional: false,
        }
    }
}

/// A number, or `max` for a negative one.
fn or_max(value: i64) -> String {
    if value < 0 {
        "max".to_owned()
    } else {
        value.to_string()
    }
}

/// CPU shares (2 to 262,144) as a weight (1 to 10,000); 0 stays "not set".
#[must_use]
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    if shares == 0 {
        return 0;
    }
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// The shares that [`weight_of_shares`] makes `weight` of.
#[must_use]
pub(super) fn shares_of_weight(weight: u64) -> u64 {
    2 + ((weight.clamp(1, 10_000) - 1) * 262_142).div_ceil(9999)
}

/// Limit of processes in the container's cgroup for `limit` of the guests' own: room for our helpers on top.
#[must_use]
pub(super) fn pids_with_helpers(limit: i64) -> i64 {
    if limit < 0 {
        return -1;
    }
    limit
        .saturating_mul(2)
        .saturating_add(SPARE_GUEST_PIDS + SPARE_PIDS)
}

/// The guests' own limit that [`pids_with_helpers`] made `all` of.
#[must_use]
pub(super) fn pids_of_guests(all: u64) -> u64 {
    let spare = u64::try_from(SPARE_GUEST_PIDS + SPARE_PIDS).unwrap_or(0);
    all.saturating_sub(spare) / 2
}

/// The writes for `resources`.
///
/// # Errors
/// Figures that contradict each other, as a sentence.
pub(super) fn writes(resources: &LinuxResources) -> Result<Vec<Write>> {
    let mut list = Vec::new();
    memory(resources, &mut list)?;
    cpu(resources, &mut list);
    if let Some(limit) = resources
        .pids()
        .as_ref()
        .map(|pids| pids.limit())
        .filter(|limit| *limit != 0)
    {
        list.push(Write::new("pids.max", or_max(pids_with_helpers(limit))));
    }
    block(resources, &mut list);
    for limit in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.max", limit.page_size());
        list.push(Write::new(&file, limit.limit()));
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        let mut value = device.clone();
        if let Some(handles) = limit.hca_handles() {
            value += &format!(" hca_handle={handles}");
        }
        if let Some(objects) = limit.hca_objects() {
            value += &format!(" hca_object={objects}");
        }
        list.push(Write::new("rdma.max", value));
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (file, value) in unified {
        if file.contains('/') || !file.contains('.') || file.starts_with("cgroup.") {
            bail!(
                "unified resource {file:?} must be a file name of a controller (no slashes, not cgroup.*)"
            );
        }
        list.push(Write::new(file, value));
    }
    Ok(list)
}

/// Swap alone, which is what v2 limits, from memory and swap together.
fn swap_alone(memory: i64, both: i64) -> Result<Option<i64>> {
    Ok(match (memory, both) {
        // No limit on memory and none given for both: none on swap.
        (-1, 0) => Some(-1),
        (_, 0) => None,
        (_, -1) => Some(-1),
        (0 | -1, _) => bail!("unable to set swap limit without memory limit"),
        (memory, both) if memory < 0 || both < 0 => {
            bail!("invalid memory limit {memory} or swap limit {both}")
        }
        (memory, both) if both < memory => {
            bail!("memory+swap limit ({both}) should be >= memory limit ({memory})")
        }
        (memory, both) => Some(both - memory),
    })
}

fn memory(resources: &LinuxResources, list: &mut Vec<Write>) -> Result<()> {
    let Some(memory) = resources.memory() else {
        return Ok(());
    };
    let limit = memory.limit().unwrap_or(0);
    if let Some(swap) = swap_alone(limit, memory.swap().unwrap_or(0))? {
        let mut write = Write::new("memory.swap.max", or_max(swap));
        // Without swap accounting there is nothing to lift, and nothing to swap to where 0 is asked for.
        write.optional = swap <= 0;
        list.push(write);
    }
    if limit != 0 {
        list.push(Write::new("memory.max", or_max(limit)));
    }
    if let Some(reservation) = memory.reservation().filter(|value| *value != 0) {
        list.push(Write::new("memory.low", or_max(reservation)));
    }
    Ok(())
}

fn cpu(resources: &LinuxResources, list: &mut Vec<Write>) {
    let Some(cpu) = resources.cpu() else { return };
    if let Some(idle) = cpu.idle() {
        list.push(Write::new("cpu.idle", idle));
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        list.push(Write::new("cpu.weight", weight_of_shares(shares)));
    }
    let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
    if quota != 0 || period != 0 {
        const DEFAULT_PERIOD: u64 = 100_000;
        let quota = if quota > 0 {
            quota.to_string()
        } else {
            "max".to_owned()
        };
        let period = if period == 0 { DEFAULT_PERIOD } else { period };
        list.push(Write::new("cpu.max", format!("{quota} {period}")));
    }
    if let Some(burst) = cpu.burst() {
        list.push(Write::new("cpu.max.burst", burst));
    }
    if let Some(cpus) = cpu.cpus().as_ref().filter(|text| !text.is_empty()) {
        list.push(Write::new("cpuset.cpus", cpus));
    }
    if let Some(mems) = cpu.mems().as_ref().filter(|text| !text.is_empty()) {
        list.push(Write::new("cpuset.mems", mems));
    }
}

fn block(resources: &LinuxResources, list: &mut Vec<Write>) {
    let Some(block) = resources.block_io() else {
        return;
    };
    if let Some(weight) = block.weight().filter(|weight| *weight != 0) {
        // 10 to 1,000 becomes 1 to 10,000.
        let weight = 1 + u64::from(weight.clamp(10, 1000) - 10) * 9999 / 990;
        let mut write = Write::new("io.weight", weight);
        write.optional = true;
        list.push(write);
    }
    for device in block.weight_device().iter().flatten() {
        if let Some(weight) = device.weight() {
            let value = format!("{}:{} {weight}", device.major(), device.minor());
            let mut write = Write::new("io.bfq.weight", value);
            write.optional = true;
            list.push(write);
        }
    }
    let mut throttle = |key: &str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        for device in devices.iter().flatten() {
            let (major, minor, rate) = (device.major(), device.minor(), device.rate());
            list.push(Write::new(
                "io.max",
                format!("{major}:{minor} {key}={rate}"),
            ));
        }
    };
    throttle("rbps", block.throttle_read_bps_device());
    throttle("wbps", block.throttle_write_bps_device());
    throttle("riops", block.throttle_read_iops_device());
    throttle("wiops", block.throttle_write_iops_device());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(json: &str) -> Vec<(String, String)> {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        writes(&resources)
            .unwrap()
            .into_iter()
            .map(|write| (write.file, write.value))
            .collect()
    }

    fn pair(file: &str, value: &str) -> (String, String) {
        (file.to_owned(), value.to_owned())
    }

    #[test]
    fn swap_counts_alone() {
        assert_eq!(
            files(r#"{"memory":{"limit":1000,"swap":3000,"reservation":500}}"#),
            [
                pair("memory.swap.max", "2000"),
                pair("memory.max", "1000"),
                pair("memory.low", "500")
            ]
        );
        assert_eq!(
            files(r#"{"memory":{"limit":-1}}"#),
            [pair("memory.swap.max", "max"), pair("memory.max", "max")]
        );
        let wrong: LinuxResources =
            serde_json::from_str(r#"{"memory":{"limit":1000,"swap":10}}"#).unwrap();
        assert!(writes(&wrong).is_err());
    }

    #[test]
    fn cpu_figures_are_converted() {
        assert_eq!(
            files(r#"{"cpu":{"shares":1024,"quota":50000,"cpus":"0-1"}}"#),
            [
                pair("cpu.weight", "39"),
                pair("cpu.max", "50000 100000"),
                pair("cpuset.cpus", "0-1")
            ]
        );
        assert_eq!(
            files(r#"{"cpu":{"quota":-1,"period":20000}}"#),
            [pair("cpu.max", "max 20000")]
        );
        for shares in [2, 1024, 262_144] {
            let weight = weight_of_shares(shares);
            assert_eq!(weight_of_shares(shares_of_weight(weight)), weight);
        }
    }

    #[test]
    fn the_limit_of_processes_survives_both_ways() {
        let all = u64::try_from(pids_with_helpers(77)).unwrap();
        assert_eq!(pids_of_guests(all), 77);
        assert_eq!(pids_with_helpers(-1), -1);
    }

    #[test]
    fn unified_files_cannot_leave_the_directory_or_touch_the_core() {
        for name in ["../memory.max", "cgroup.procs", "x"] {
            let resources: LinuxResources =
                serde_json::from_str(&format!(r#"{{"unified":{{"{name}":"1"}}}}"#)).unwrap();
            assert!(writes(&resources).is_err());
        }
        assert_eq!(
            files(r#"{"unified":{"memory.high":"5000"}}"#),
            [pair("memory.high", "5000")]
        );
    }
}
