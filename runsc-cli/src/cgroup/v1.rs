//! cgroup v1 through cgroupfs: one directory per controller that the host has mounted.
//!
//! Limits sit on the container's directory and hold for the children `sentry` and `guest` by hierarchy. `pids` is the exception: its limit is the
//! guests' own (helpers must not use it up), with a wider one above as a backstop.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::limits::{self, Write};
use super::{Place, read_pids};
use crate::host;
use crate::launch::process::wait_pidfd;

/// How long the kernel may take to empty a cgroup whose processes are all dead. v1 has no event for it.
const EMPTY_DEADLINE: Duration = Duration::from_secs(5);

/// A container's directories.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct CgroupV1 {
    /// Path below each controller's root, as `/proc/PID/cgroup` shows it.
    path: String,
    /// Directory by controller name (`memory`, `cpu`, `name=systemd`, …); co-mounted controllers share one.
    directories: BTreeMap<String, PathBuf>,
}

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HierarchyMount {
    /// Controllers (or `name=…`).
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Which of its directories is mounted there.
    pub root: PathBuf,
}

/// All cgroup v1 hierarchies mounted in this mount namespace.
#[must_use]
pub fn mounts() -> Vec<HierarchyMount> {
    parse_mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

fn parse_mounts(text: &str) -> Vec<HierarchyMount> {
    let mut list = Vec::<HierarchyMount>::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let (Some(root), Some(point), Some(kind), Some(options)) =
            (left.get(3), left.get(4), right.first(), right.get(2))
        else {
            continue;
        };
        if *kind != "cgroup" {
            continue;
        }
        let known = |option: &&str| {
            !matches!(
                *option,
                "rw" | "ro" | "xattr" | "clone_children" | "noprefix"
            ) && !option.starts_with("release_agent")
        };
        let controllers: Vec<String> = options
            .split(',')
            .filter(known)
            .map(str::to_owned)
            .collect();
        if !controllers.is_empty() && !list.iter().any(|mount| mount.controllers == controllers) {
            list.push(HierarchyMount {
                controllers,
                mount_point: PathBuf::from(point),
                root: PathBuf::from(root),
            });
        }
    }
    list
}

/// A process's path in every hierarchy.
fn paths_of(process: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    let mut paths = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(names), Some(path)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        for name in names.split(',').filter(|name| !name.is_empty()) {
            paths.insert(name.to_owned(), path.to_owned());
        }
    }
    paths
}

impl CgroupV1 {
    /// The directories of a cgroup that is to be made. An absolute path counts from each hierarchy's root, a relative one from the caller's own cgroup,
    /// as with runc. Directories with processes are somebody else's.
    pub(super) fn plan(path: &str) -> Result<Self> {
        let clean = crate::spec::mounts::clean(Path::new(path))
            .ok_or_else(|| anyhow!("cgroupsPath {path:?} is not valid text"))?;
        let own = paths_of("self");
        let mut cgroup = Self {
            path: clean.clone(),
            directories: BTreeMap::new(),
        };
        for mount in mounts() {
            let Some(first) = mount.controllers.first() else {
                continue;
            };
            let base = if path.starts_with('/') {
                mount.mount_point.clone()
            } else {
                let own_path = own.get(first).map_or("/", String::as_str);
                let below = Path::new(own_path)
                    .strip_prefix(&mount.root)
                    .unwrap_or(Path::new(""));
                mount.mount_point.join(below)
            };
            let directory = base.join(clean.trim_start_matches('/'));
            for controller in &mount.controllers {
                cgroup
                    .directories
                    .insert(controller.clone(), directory.clone());
            }
        }
        for directory in cgroup.unique() {
            let places = Place::CHILDREN.iter().chain(&[Place::Container]);
            for place in places {
                if !read_pids(&directory.join(place.directory()))?.is_empty() {
                    return Err(anyhow!(
                        "container's cgroup is not empty: processes are in {}",
                        directory.display()
                    ));
                }
            }
        }
        Ok(cgroup)
    }

    /// The cgroup whose `sentry` a process is in. `None` if it is in no such place.
    pub(super) fn of_sentry(pid: i32) -> Option<Self> {
        let paths = paths_of(&pid.to_string());
        let below = format!("/{}", Place::Sentry.directory());
        let mut directories = BTreeMap::new();
        let mut path = None;
        for mount in mounts() {
            for controller in &mount.controllers {
                let own = paths
                    .get(controller)
                    .and_then(|own| own.strip_suffix(&below));
                let Some(own) = own.filter(|own| !own.is_empty()) else {
                    continue;
                };
                let relative = Path::new(own).strip_prefix(&mount.root).ok()?;
                directories.insert(controller.clone(), mount.mount_point.join(relative));
                path = Some(own.to_owned());
            }
        }
        Some(Self {
            path: path?,
            directories,
        })
    }

    /// Makes the directories and sets the limits; undoes everything when something fails.
    pub(super) fn make(&self, resources: Option<&LinuxResources>) -> Result<()> {
        let made = self
            .make_directories()
            .and_then(|()| resources.map_or(Ok(()), |resources| self.set(resources)));
        if made.is_err() {
            let _ = self.destroy();
        }
        made
    }

    fn make_directories(&self) -> Result<()> {
        for directory in self.unique() {
            fs::create_dir_all(&directory)
                .with_context(|| format!("cannot make the cgroup {}", directory.display()))?;
            for place in Place::CHILDREN {
                let child = directory.join(place.directory());
                fs::create_dir_all(&child)
                    .with_context(|| format!("cannot make the cgroup {}", child.display()))?;
            }
        }
        if let Some(memory) = self.directories.get("memory") {
            // Set by default on current kernels, where the file no longer takes another value.
            let _ = fs::write(memory.join("memory.use_hierarchy"), "1");
        }
        if let Some(cpuset) = self.directories.get("cpuset") {
            fill_cpuset(cpuset)?;
            for place in Place::CHILDREN {
                fill_cpuset(&cpuset.join(place.directory()))?;
            }
        }
        Ok(())
    }

    /// Every directory once.
    pub(super) fn unique(&self) -> Vec<PathBuf> {
        let mut list: Vec<PathBuf> = self.directories.values().cloned().collect();
        list.sort();
        list.dedup();
        list
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn add(&self, pid: i32, place: Place) -> Result<()> {
        for directory in self.unique() {
            let file = directory.join(place.directory()).join("cgroup.procs");
            fs::write(&file, pid.to_string()).with_context(|| {
                format!("cannot move process {pid} to the cgroup {}", file.display())
            })?;
        }
        Ok(())
    }

    /// Applies limits.
    pub(super) fn set(&self, resources: &LinuxResources) -> Result<()> {
        for write in limits::writes(resources, &|controller, file| self.read(controller, file)) {
            if write.controller == "cpuset" {
                self.apply_cpuset(&write)?;
            } else {
                self.apply(&write)?;
            }
        }
        self.check_shares(resources)
    }

    /// The kernel puts shares out of range right without a word; runc refuses them.
    fn check_shares(&self, resources: &LinuxResources) -> Result<()> {
        let asked = resources.cpu().as_ref().and_then(|cpu| cpu.shares());
        let Some(asked) = asked.filter(|shares| *shares != 0) else {
            return Ok(());
        };
        let taken: Option<u64> = self
            .read("cpu", "cpu.shares")
            .and_then(|text| text.trim().parse().ok());
        match taken {
            Some(taken) if asked > taken => {
                Err(anyhow!("the maximum allowed cpu-shares is {taken}"))
            }
            Some(taken) if asked < taken => {
                Err(anyhow!("the minimum allowed cpu-shares is {taken}"))
            }
            _ => Ok(()),
        }
    }

    /// The children hold sets of their own, which must be within their parent's at any time: the parent's is widened to hold old and new, the children
    /// follow, then the parent's is what was asked for.
    fn apply_cpuset(&self, write: &Write) -> Result<()> {
        let old = self.read("cpuset", &write.file).unwrap_or_default();
        let old = old.trim();
        if !old.is_empty() {
            self.apply(&Write {
                value: format!("{old},{}", write.value),
                ..write.clone()
            })?;
            for place in Place::CHILDREN {
                self.apply(&write.clone().at(place))?;
            }
        }
        self.apply(write)
    }

    fn apply(&self, write: &Write) -> Result<()> {
        let Some(directory) = self.directories.get(write.controller) else {
            return Err(anyhow!(
                "cannot set {}: this host has no {} controller",
                write.file,
                write.controller
            ));
        };
        let path = directory.join(write.place.directory()).join(&write.file);
        let Err(error) = fs::write(&path, &write.value) else {
            return Ok(());
        };
        if error.kind() == ErrorKind::NotFound && write.optional {
            crate::report::warning(&format!(
                "this host has no {}: the limit was ignored",
                write.file
            ));
            return Ok(());
        }
        if write.file == "memory.limit_in_bytes" && error.raw_os_error() == Some(nix::libc::EBUSY) {
            let number = |file| {
                self.read("memory", file)
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            };
            return Err(anyhow!(
                "unable to set memory limit to {} (current usage: {}, peak usage: {})",
                write.value,
                number("memory.usage_in_bytes"),
                number("memory.max_usage_in_bytes")
            ));
        }
        Err(anyhow!(
            "failed to write {:?} to {}: {}",
            write.value,
            path.display(),
            crate::launch::errno_text(&error)
        ))
    }

    pub(super) fn pids(&self, place: Place) -> Result<Vec<i32>> {
        let Some(directory) = self
            .directories
            .get("pids")
            .or_else(|| self.directories.values().next())
        else {
            return Ok(Vec::new());
        };
        read_pids(&directory.join(place.directory()))
    }

    pub(super) fn read(&self, controller: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.directories.get(controller)?.join(file)).ok()
    }

    pub(super) fn open(&self, controller: &str, file: &str) -> Option<fs::File> {
        fs::File::open(self.directories.get(controller)?.join(file)).ok()
    }

    pub(super) fn destroy(&self) -> Result<()> {
        for directory in self.unique() {
            for place in [Place::Guest, Place::Sentry, Place::Container] {
                remove_directory(&directory.join(place.directory()))?;
            }
        }
        Ok(())
    }
}

/// Kills what is in a directory, waits for it, removes the directory.
fn remove_directory(directory: &Path) -> Result<()> {
    let deadline = Instant::now() + EMPTY_DEADLINE;
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.raw_os_error() == Some(nix::libc::EBUSY) && Instant::now() < deadline => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot remove the cgroup {}", directory.display()));
            }
        }
        let pids = read_pids(directory)?;
        if pids.is_empty() {
            // The processes are dead but the kernel has not let go of the directory yet, and v1 does not tell when it does.
            std::thread::sleep(Duration::from_millis(1));
        }
        for pid in pids {
            let Ok(pidfd) = host::pidfd_open(pid) else {
                continue;
            };
            // The pid may have been recycled between reading and opening: only a process that is still here is killed.
            if read_pids(directory)?.contains(&pid) {
                let _ = host::pidfd_signal(pidfd.as_fd(), nix::libc::SIGKILL);
                wait_pidfd(pidfd.as_fd(), Some(deadline))?;
            }
        }
    }
}

/// A cpuset without CPUs or memory nodes takes no processes: copies the parent's, from the top down.
fn fill_cpuset(directory: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let path = directory.join(file);
        let Ok(own) = fs::read_to_string(&path) else {
            continue;
        };
        if !own.trim().is_empty() {
            continue;
        }
        let Some(parent) = directory.parent() else {
            continue;
        };
        if parent.join("cgroup.procs").exists() {
            fill_cpuset(parent)?;
        }
        let inherited = fs::read_to_string(parent.join(file)).unwrap_or_default();
        if !inherited.trim().is_empty() {
            fs::write(&path, inherited.trim())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read() {
        let text = "30 20 0:25 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n\
                    31 20 0:26 /x /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                    32 20 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\nbroken\n";
        let mounts = parse_mounts(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(mounts[1].controllers, ["name=systemd"]);
        assert_eq!(mounts[1].root, PathBuf::from("/x"));
    }
}
