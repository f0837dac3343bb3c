//! The container's cgroup on the host.
//!
//! Below the cgroup that carries the limits are two: `sentry` (sentry and gofer) and `guest` (template and guests). The proxy sits in the
//! container's cgroup itself, where callers look for statistics. One driver per kind of hierarchy, behind [`Cgroup`].

pub mod gauges;
pub mod limits;
mod placeholder;
mod statistics;
mod systemd;
pub mod v1;
pub mod v2;
mod v2_limits;
mod v2_statistics;

use std::fs;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use crate::boot::config::ResourceLimits;
use gauges::Gauges;
pub use placeholder::Placeholder;

/// Where a process of the sandbox belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The container's own cgroup: proxies.
    Container,
    /// `sentry`: sentry and gofer.
    Sentry,
    /// `guest`: template and guests.
    Guest,
}

impl Place {
    /// Every place that is a directory of its own below the container's.
    pub const CHILDREN: [Self; 2] = [Self::Sentry, Self::Guest];

    /// Directory below the container's cgroup.
    #[must_use]
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Container => "",
            Self::Sentry => "sentry",
            Self::Guest => "guest",
        }
    }
}

/// A container's cgroup.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Cgroup {
    /// cgroup v1, managed through cgroupfs.
    V1(v1::CgroupV1),
    /// cgroup v2, managed through cgroupfs or by systemd.
    V2(v2::CgroupV2),
}

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// The runtime writes to cgroupfs.
    Cgroupfs,
    /// systemd makes a scope.
    Systemd,
}

/// Which hierarchy the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// One mount per controller.
    V1,
    /// One mount for all.
    V2,
    /// None that can be used.
    None,
}

/// Looks at the host's `/sys/fs/cgroup`.
#[must_use]
pub fn hierarchy() -> Hierarchy {
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        Hierarchy::V2
    } else if v1::mounts().is_empty() {
        Hierarchy::None
    } else {
        Hierarchy::V1
    }
}

impl Cgroup {
    /// Where a container's cgroup will be; nothing is made. `path` is the spec's `cgroupsPath`, if any. One that has processes is refused.
    pub fn plan(path: Option<&str>, id: &str, manager: Manager) -> Result<Self> {
        match (hierarchy(), manager) {
            (Hierarchy::V1, Manager::Cgroupfs) => {
                Ok(Self::V1(v1::CgroupV1::plan(path.unwrap_or(id))?))
            }
            (Hierarchy::V2, Manager::Cgroupfs) => {
                Ok(Self::V2(v2::CgroupV2::plan(path.unwrap_or(id))?))
            }
            (Hierarchy::V2, Manager::Systemd) => Ok(Self::V2(v2::CgroupV2::plan_scope(
                path.unwrap_or_default(),
                id,
            )?)),
            (Hierarchy::V1, Manager::Systemd) => bail!(
                "systemd cgroup flag passed, but systemd support for managing cgroups is not available: it needs a host with cgroup v2"
            ),
            (Hierarchy::None, _) => bail!(
                "no cgroup hierarchy is mounted at /sys/fs/cgroup: mount one or use --cgroup-manager=disabled to run without limits"
            ),
        }
    }

    /// The container's cgroup that a sentry sits in.
    #[must_use]
    pub fn of_sentry(pid: i32) -> Option<Self> {
        match hierarchy() {
            Hierarchy::V1 => v1::CgroupV1::of_sentry(pid).map(Self::V1),
            Hierarchy::V2 | Hierarchy::None => None,
        }
    }

    /// Makes it and sets its limits; removes it again when that fails. A scope of systemd's lives only as long as it has a process: the one that is given
    /// back holds its place until others are in.
    pub fn make(&self, resources: Option<&LinuxResources>) -> Result<Option<Placeholder>> {
        match self {
            Self::V1(cgroup) => cgroup.make(resources).map(|()| None),
            Self::V2(cgroup) => {
                let mut placeholder = None;
                cgroup.make(resources, || {
                    let process = Placeholder::start()?;
                    Ok(placeholder.insert(process).pid())
                })?;
                Ok(placeholder)
            }
        }
    }

    /// The limits that hold in it now, those of the cgroups above it included.
    #[must_use]
    pub fn limits(&self) -> ResourceLimits {
        match self {
            Self::V1(cgroup) => gauges::limits(cgroup),
            Self::V2(cgroup) => gauges::limits_v2(cgroup),
        }
    }

    /// Files whose numbers the sandbox's kernel shows its guests as theirs.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        match self {
            Self::V1(cgroup) => gauges::open(cgroup),
            Self::V2(cgroup) => gauges::open_v2(cgroup),
        }
    }

    /// Moves a process (all its threads) to a place.
    pub fn add(&self, pid: i32, place: Place) -> Result<()> {
        match self {
            Self::V1(cgroup) => cgroup.add(pid, place),
            Self::V2(cgroup) => cgroup.add(pid, place),
        }
    }

    /// Opened `cgroup.procs` files of a place: whoever holds them can move processes there.
    pub fn gates(&self, place: Place) -> Result<Vec<OwnedFd>> {
        let directories = match self {
            Self::V1(cgroup) => cgroup.unique(),
            Self::V2(cgroup) => vec![cgroup.directory().to_owned()],
        };
        let gates = directories.into_iter().map(|directory| {
            let path = directory.join(place.directory()).join("cgroup.procs");
            let file = fs::OpenOptions::new().write(true).open(&path);
            Ok(file
                .with_context(|| format!("cannot open {}", path.display()))?
                .into())
        });
        gates.collect()
    }

    /// Changes limits.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        match self {
            Self::V1(cgroup) => cgroup.set(resources),
            Self::V2(cgroup) => cgroup.set(resources),
        }
    }

    /// Host pids of a place.
    pub fn pids(&self, place: Place) -> Result<Vec<i32>> {
        match self {
            Self::V1(cgroup) => cgroup.pids(place),
            Self::V2(cgroup) => cgroup.pids(place),
        }
    }

    /// Kills whatever is left in it and removes it.
    pub fn destroy(&self) -> Result<()> {
        match self {
            Self::V1(cgroup) => cgroup.destroy(),
            Self::V2(cgroup) => cgroup.destroy(),
        }
    }

    /// The path as the host's `/proc/PID/cgroup` shows it.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::V1(cgroup) => cgroup.path(),
            Self::V2(cgroup) => cgroup.path(),
        }
    }

    /// The memory limit, if processes of this cgroup were killed for it.
    #[must_use]
    pub fn ran_out_of_memory(&self) -> Option<u64> {
        match self {
            Self::V1(cgroup) => {
                let places = ["", "sentry/", "guest/"];
                let killed = places.iter().any(|place| {
                    cgroup
                        .read("memory", &format!("{place}memory.oom_control"))
                        .is_some_and(|text| gauges::keyed(&text, "oom_kill").unwrap_or(0) > 0)
                });
                let limit = || cgroup.read("memory", "memory.limit_in_bytes");
                killed.then(limit)??.trim().parse().ok()
            }
            Self::V2(cgroup) => {
                let events = cgroup.read("memory.events")?;
                (gauges::keyed(&events, "oom_kill")? > 0).then(|| cgroup.number("memory.max"))?
            }
        }
    }

    /// Statistics in runc's format, for `events`.
    #[must_use]
    pub fn statistics(&self) -> serde_json::Value {
        match self {
            Self::V1(cgroup) => statistics::collect(cgroup),
            Self::V2(cgroup) => v2_statistics::collect(cgroup),
        }
    }
}

/// The processes of a cgroup's directory; none if there is no such directory.
fn read_pids(directory: &Path) -> Result<Vec<i32>> {
    match fs::read_to_string(directory.join("cgroup.procs")) {
        Ok(text) => Ok(text
            .lines()
            .filter_map(|line| line.trim().parse().ok())
            .collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", directory.display())),
    }
}
