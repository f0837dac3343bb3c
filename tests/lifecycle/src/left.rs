//! What a runtime left on the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Bench;

/// Every directory of the bench's cgroup that exists.
fn cgroups(bench: &Bench) -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> = fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
        .map(|controller| controller.path().join(bench.cgroup.trim_start_matches('/')))
        .filter(|path| path.is_dir())
        .collect();
    list.sort();
    list
}

/// Processes in the bench's cgroup and below.
fn members(bench: &Bench) -> Vec<(i32, String)> {
    let mut list = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let cgroup = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let inside = cgroup.lines().any(|line| {
            line.split(':').nth(2).is_some_and(|path| {
                path == bench.cgroup || path.starts_with(&format!("{}/", bench.cgroup))
            })
        });
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if inside && !stat.contains(") Z ") {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            list.push((pid, name.trim().to_owned()));
        }
    }
    list
}

/// Names all that is left: processes, cgroups, state, mounts below the bundle.
#[must_use]
pub fn of(bench: &Bench) -> Vec<String> {
    // The kernel takes a moment to empty a cgroup after its last process was reaped.
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        let list = look(bench);
        if list.is_empty() || Instant::now() > end {
            return list;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn look(bench: &Bench) -> Vec<String> {
    let mut list: Vec<String> = members(bench)
        .into_iter()
        .map(|(_, name)| format!("process {name}"))
        .collect();
    if !cgroups(bench).is_empty() {
        list.push("cgroups".into());
    }
    for entry in fs::read_dir(bench.state_root())
        .into_iter()
        .flatten()
        .flatten()
    {
        list.push(format!("state {}", entry.file_name().display()));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let dir = bench.dir().display().to_string();
    list.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&dir))
            .map(|_| "mount".to_owned()),
    );
    list
}

/// Removes what is left, so that a failed case harms no other.
pub(crate) fn sweep(bench: &Bench) {
    for (pid, _) in members(bench) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let dirs = cgroups(bench);
        if dirs.is_empty() {
            break;
        }
        for dir in dirs {
            remove_tree(&dir);
        }
    }
}

/// Removes a cgroup with all below it, as far as no process is in them.
fn remove_tree(directory: &Path) {
    let children = fs::read_dir(directory).into_iter().flatten().flatten();
    for child in children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&child.path());
    }
    let _ = fs::remove_dir(directory);
}
