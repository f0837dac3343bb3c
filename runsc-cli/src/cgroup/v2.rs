//! cgroup v2: one directory for all controllers, made by us or, as a scope, by systemd.
//!
//! Limits sit on the container's directory. The children `sentry` and `guest` have no controllers of their own: a cgroup that gives controllers to its
//! children may hold no processes itself, and the proxy, which callers take for the container, has to be in the container's own cgroup.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::systemd::{self, Unit};
use super::v2_limits::{self, Write};
use super::{Place, read_pids};

/// Where the one hierarchy is mounted.
pub(super) const ROOT: &str = "/sys/fs/cgroup";
/// How long killed processes may take to leave a cgroup.
const EMPTY_DEADLINE: Duration = Duration::from_secs(5);

/// A container's directory.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct CgroupV2 {
    /// Path below the mount, as `/proc/PID/cgroup` shows it.
    path: String,
    /// The directory on the host.
    directory: PathBuf,
    /// Who made it, if systemd did.
    unit: Option<Unit>,
}

/// This process's path in the hierarchy.
fn own_path() -> Result<String> {
    let text = fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned)
        .ok_or_else(|| anyhow!("/proc/self/cgroup names no cgroup of version 2"))
}

impl CgroupV2 {
    /// The directory of a cgroup that is to be made. An absolute path counts from the mount, a relative one from the parent of the caller's own cgroup (which
    /// has processes and so cannot give controllers away), as with runc.
    pub(super) fn plan(path: &str) -> Result<Self> {
        let clean = crate::spec::mounts::clean(Path::new(path))
            .ok_or_else(|| anyhow!("cgroupsPath {path:?} is not valid text"))?;
        let base = if path.starts_with('/') {
            String::new()
        } else {
            let own = own_path()?;
            own.rsplit_once('/')
                .map_or(String::new(), |(parent, _)| parent.to_owned())
        };
        let path = format!("{base}/{}", clean.trim_start_matches('/'));
        let directory = Path::new(ROOT).join(path.trim_start_matches('/'));
        let cgroup = Self {
            path,
            directory,
            unit: None,
        };
        cgroup.refuse_if_populated()?;
        Ok(cgroup)
    }

    /// The scope that systemd is to make for `SLICE:PREFIX:NAME`.
    pub(super) fn plan_scope(path: &str, id: &str) -> Result<Self> {
        let (unit, path) = systemd::plan(path, id)?;
        let directory = Path::new(ROOT).join(path.trim_start_matches('/'));
        let cgroup = Self {
            path,
            directory,
            unit: Some(unit),
        };
        cgroup.refuse_if_populated()?;
        Ok(cgroup)
    }

    fn refuse_if_populated(&self) -> Result<()> {
        for place in [Place::Container, Place::Sentry, Place::Guest] {
            if !read_pids(&self.directory.join(place.directory()))?.is_empty() {
                bail!(
                    "container's cgroup is not empty: processes are in {}",
                    self.directory.display()
                );
            }
        }
        Ok(())
    }

    /// Makes the directories and sets the limits; undoes everything when something fails. A scope of systemd's begins with `first`.
    pub(super) fn make(
        &self,
        resources: Option<&LinuxResources>,
        first: impl FnOnce() -> Result<i32>,
    ) -> Result<()> {
        let made = self.make_directories(resources, first).and_then(|()| {
            resources.map_or(Ok(()), |resources| {
                self.apply_all(&v2_limits::writes(resources)?)
            })
        });
        if made.is_err() {
            let _ = self.destroy();
        }
        made
    }

    fn make_directories(
        &self,
        resources: Option<&LinuxResources>,
        first: impl FnOnce() -> Result<i32>,
    ) -> Result<()> {
        if let Some(unit) = &self.unit {
            unit.start(first()?, resources)?;
        }
        self.enable_controllers()?;
        for place in [Place::Container, Place::Sentry, Place::Guest] {
            let directory = self.directory.join(place.directory());
            fs::create_dir_all(&directory)
                .with_context(|| format!("cannot make the cgroup {}", directory.display()))?;
        }
        Ok(())
    }

    /// Hands every controller down from the mount to the container's directory, as far as each level lets us.
    fn enable_controllers(&self) -> Result<()> {
        let below: Vec<&str> = self
            .path
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        let mut level = PathBuf::from(ROOT);
        for (index, part) in below.iter().enumerate() {
            let available = fs::read_to_string(level.join("cgroup.controllers"))
                .with_context(|| format!("cannot read the controllers of {}", level.display()))?;
            let control = level.join("cgroup.subtree_control");
            let all: Vec<String> = available
                .split_ascii_whitespace()
                .map(|name| format!("+{name}"))
                .collect();
            // One that cannot be given down fails for all: then one by one. What lacks in the end is told when its limit is set.
            if !all.is_empty() && fs::write(&control, all.join(" ")).is_err() {
                for one in &all {
                    let _ = fs::write(&control, one);
                }
            }
            level.push(part);
            if index + 1 < below.len() {
                fs::create_dir_all(&level)
                    .with_context(|| format!("cannot make the cgroup {}", level.display()))?;
            }
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn add(&self, pid: i32, place: Place) -> Result<()> {
        let file = self.directory.join(place.directory()).join("cgroup.procs");
        fs::write(&file, pid.to_string())
            .with_context(|| format!("cannot move process {pid} to the cgroup {}", file.display()))
    }

    /// Changes limits.
    pub(super) fn set(&self, resources: &LinuxResources) -> Result<()> {
        let memory = resources.memory().as_ref();
        if let Some(limit) = memory.and_then(|memory| memory.limit())
            && memory.and_then(|memory| memory.check_before_update()) == Some(true)
            && let Some(usage) = self.number("memory.current")
            && u64::try_from(limit).is_ok_and(|limit| limit != 0 && usage >= limit)
        {
            bail!("unable to update the memory limit to {limit}: current usage is {usage}");
        }
        if let Some(unit) = &self.unit {
            unit.update(resources)?;
        }
        self.apply_all(&v2_limits::writes(resources)?)
    }

    fn apply_all(&self, writes: &[Write]) -> Result<()> {
        writes.iter().try_for_each(|write| self.apply(write))
    }

    fn apply(&self, write: &Write) -> Result<()> {
        let path = self.directory.join(&write.file);
        let Err(error) = fs::write(&path, &write.value) else {
            return Ok(());
        };
        if error.kind() == ErrorKind::NotFound {
            if write.optional {
                if write.value != "max" {
                    crate::report::warning(&format!(
                        "this host has no {}: the limit was ignored",
                        write.file
                    ));
                }
                return Ok(());
            }
            let controller = write.file.split('.').next().unwrap_or_default();
            bail!(
                "cannot set {}: the controller {controller} is not available in {}",
                write.file,
                self.directory.display()
            );
        }
        Err(anyhow!(
            "failed to write {:?} to {}: {}",
            write.value,
            path.display(),
            crate::launch::errno_text(&error)
        ))
    }

    pub(super) fn pids(&self, place: Place) -> Result<Vec<i32>> {
        read_pids(&self.directory.join(place.directory()))
    }

    pub(super) fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.directory.join(file)).ok()
    }

    pub(super) fn open(&self, file: &str) -> Option<fs::File> {
        fs::File::open(self.directory.join(file)).ok()
    }

    /// A file of one number.
    pub(super) fn number(&self, file: &str) -> Option<u64> {
        self.read(file)?.trim().parse().ok()
    }

    /// The lowest number in `file` from the container's directory up to the mount; `max` is none.
    pub(super) fn lowest(&self, file: &str) -> Option<u64> {
        self.directory
            .ancestors()
            .take_while(|directory| *directory != Path::new(ROOT))
            .filter_map(|directory| {
                fs::read_to_string(directory.join(file))
                    .ok()?
                    .trim()
                    .parse()
                    .ok()
            })
            .min()
    }

    pub(super) fn destroy(&self) -> Result<()> {
        let removed = self.remove_directories();
        match &self.unit {
            Some(unit) => unit.stop().and(removed),
            None => removed,
        }
    }

    fn remove_directories(&self) -> Result<()> {
        if !self.directory.exists() {
            return Ok(());
        }
        self.kill_all()?;
        for place in [Place::Guest, Place::Sentry, Place::Container] {
            let directory = self.directory.join(place.directory());
            match fs::remove_dir(&directory) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| {
                        format!("cannot remove the cgroup {}", directory.display())
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Kills every process at and below the directory and waits until all are gone.
    fn kill_all(&self) -> Result<()> {
        let events = self.directory.join("cgroup.events");
        let kill = self.directory.join("cgroup.kill");
        let deadline = Instant::now() + EMPTY_DEADLINE;
        let mut file = match fs::File::open(&events) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", events.display()));
            }
        };
        loop {
            use std::io::{Read, Seek};
            let mut text = String::new();
            file.rewind()?;
            match file.read_to_string(&mut text) {
                // The scope went with its last process.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => return Ok(()),
                other => other.with_context(|| format!("cannot read {}", events.display()))?,
            };
            if text.lines().any(|line| line == "populated 0") {
                return Ok(());
            }
            let _ = fs::write(&kill, "1");
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!(
                    "processes in the cgroup {} do not end",
                    self.directory.display()
                );
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut changed = [PollFd::new(file.as_fd(), PollFlags::POLLPRI)];
            match poll(&mut changed, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
