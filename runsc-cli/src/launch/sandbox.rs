//! Starts the sentry process and brings it to the point where it serves the control socket.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::process::{self, Helper, ProcessId};
use super::seal;
use super::userns::Mappings;
use crate::boot::client::{self, Client};
use crate::boot::config::SandboxConfig;
use crate::boot::sentry::{Boot, Go, Report};
use crate::boot::wire;
use crate::cgroup::{Cgroup, Place};
use crate::host;

/// Namespaces of a sentry.
const NAMESPACES: i32 = nix::libc::CLONE_NEWUSER
    | nix::libc::CLONE_NEWPID
    | nix::libc::CLONE_NEWNS
    | nix::libc::CLONE_NEWIPC
    | nix::libc::CLONE_NEWUTS
    | nix::libc::CLONE_NEWNET
    | nix::libc::CLONE_NEWCGROUP;
/// Descriptors that a sentry may hold for its guests.
const DESCRIPTORS: u64 = 1 << 20;
/// How unlikely the OOM killer is to choose the sentry and the gofer: guests go first.
const HELPER_OOM_SCORE: i32 = -999;

/// What a sentry is started with.
pub struct Launch<'a> {
    /// The sealed program.
    pub program: BorrowedFd<'a>,
    /// State directory of the sandbox: the control socket is made there.
    pub dir: &'a Path,
    /// For the kernel. `control_uid` is filled in here.
    pub config: SandboxConfig,
    /// Its ids.
    pub mappings: &'a Mappings,
    /// The sentry's end of the first container's proxy connection.
    pub proxy: OwnedFd,
    /// Where its processes are accounted.
    pub cgroup: Option<&'a Cgroup>,
    /// Standard error of the sentry.
    pub stderr: Option<BorrowedFd<'a>>,
    /// `oom_score_adj` of the guests.
    pub guest_oom_score: Option<i32>,
}

/// Starts a sentry. `started` learns its process before it runs.
pub fn start(
    launch: Launch<'_>,
    started: &mut dyn FnMut(ProcessId) -> Result<()>,
) -> Result<(ProcessId, Client)> {
    let listener = bind_control(launch.dir)?;
    let (ours, theirs) = UnixStream::pair()?;
    let mut config = launch.config;
    config.control_uid = uid_as_seen_inside(launch.mappings);
    let gauges = launch.cgroup.map(Cgroup::gauges).unwrap_or_default();
    let boot = Boot {
        config,
        launch: theirs.as_raw_fd(),
        listener: listener.as_raw_fd(),
        proxy: launch.proxy.as_raw_fd(),
        gauges: [&gauges.memory_used, &gauges.memory_stat, &gauges.cpu_used]
            .map(|file| file.as_ref().map(AsRawFd::as_raw_fd)),
    };
    let config_fd = seal::config(&boot)?;
    let helper = Helper {
        program: launch.program,
        args: vec![
            "boot".into(),
            "--config-fd".into(),
            config_fd.as_raw_fd().to_string(),
        ],
        namespaces: u64::try_from(NAMESPACES)?,
        inherit: [
            boot.launch,
            boot.listener,
            boot.proxy,
            config_fd.as_raw_fd(),
        ]
        .into_iter()
        .chain(boot.gauges.into_iter().flatten())
        .collect(),
        stderr: launch.stderr,
        mappings: Some(launch.mappings),
    };
    let cgroup = launch.cgroup;
    let id = process::start(&helper, &mut |id| {
        if let Some(cgroup) = cgroup {
            cgroup.add(id.pid, Place::Sentry)?;
        }
        protect(id.pid);
        let _ = host::raise_descriptor_limit(id.pid, DESCRIPTORS);
        started(id)
    })
    .context("cannot start the sandbox process")?;
    drop((theirs, launch.proxy));
    let died = |what: &str| explain_death(id, what);
    let host_pids = match report(&ours) {
        Ok(Some(Report::Prepared { host_pids, notice })) => {
            if let Some(notice) = notice {
                crate::report::warning(&notice);
            }
            host_pids
        }
        Ok(Some(Report::Failed { message })) => bail!("{message}"),
        _ => return Err(died("while starting")),
    };
    place_guests(id, &host_pids, cgroup, launch.guest_oom_score)?;
    wire::send(&ours, &Go, &[]).map_err(|_| died("while starting"))?;
    match report(&ours) {
        Ok(Some(Report::Serving)) => {}
        Ok(Some(Report::Failed { message })) => bail!("{message}"),
        _ => return Err(died("while starting its kernel")),
    }
    let client = Client::from_stream(ours).map_err(|_| died("while starting its kernel"))?;
    Ok((id, client))
}

fn report(stream: &UnixStream) -> Result<Option<Report>> {
    match wire::receive(stream)? {
        Some(frame) => Ok(Some(frame.parse()?)),
        None => Ok(None),
    }
}

/// Makes the OOM killer look elsewhere first. Without privilege the value stays what it is.
pub fn protect(pid: i32) {
    let _ = std::fs::write(
        format!("/proc/{pid}/oom_score_adj"),
        HELPER_OOM_SCORE.to_string(),
    );
}

/// Moves guest processes (by their pid in the sentry's namespace) to the container's `guest` cgroup.
pub fn place_guests(
    sentry: ProcessId,
    host_pids: &[u32],
    cgroup: Option<&Cgroup>,
    oom_score: Option<i32>,
) -> Result<()> {
    for inner in host_pids {
        let pid = outer_pid(sentry, *inner).with_context(|| {
            format!("the sandbox named process {inner}, which is not its child")
        })?;
        if let Some(cgroup) = cgroup {
            cgroup.add(pid, Place::Guest)?;
        }
        // The template was made by the protected sentry: a guest without a value of its own gets the default one.
        let score = oom_score.unwrap_or(0);
        if let Err(error) = std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string())
            && oom_score.is_some()
        {
            crate::report::warning(&format!(
                "cannot set oomScoreAdj to {score}: {}",
                super::errno_text(&error)
            ));
        }
    }
    Ok(())
}

/// The host's pid of a child of the sentry, by its pid in the sentry's namespace. The answer is checked against `/proc`, so that a hostile sentry
/// cannot name processes of others.
#[must_use]
pub fn outer_pid(sentry: ProcessId, inner: u32) -> Option<i32> {
    children(sentry)
        .into_iter()
        .find(|pid| inner_pid(*pid) == Some(inner))
}

/// Every child of the sentry, on the host: all guest processes are.
#[must_use]
pub fn children(sentry: ProcessId) -> Vec<i32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", sentry.pid)) else {
        return Vec::new();
    };
    tasks
        .filter_map(Result::ok)
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| {
            text.split_ascii_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// A process's pid in the innermost namespace that it is in.
#[must_use]
pub fn inner_pid(pid: i32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?
        .split_ascii_whitespace()
        .last()?
        .parse()
        .ok()
}

fn bind_control(dir: &Path) -> Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    let (_dir, path) = client::short_path(dir)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path.as_str())?)
        .with_context(|| format!("cannot make the control socket in {}", dir.display()))?;
    Ok(fd)
}

/// This process's uid as the sentry's user namespace shows it: 0 if it is the one mapped, else the overflow uid.
fn uid_as_seen_inside(mappings: &Mappings) -> u32 {
    const OVERFLOW: u32 = 65534;
    let own = nix::unistd::geteuid().as_raw();
    mappings
        .uids
        .iter()
        .find(|(_, outside, count)| {
            own.checked_sub(*outside)
                .is_some_and(|offset| offset < *count)
        })
        .map_or(OVERFLOW, |(inside, outside, _)| inside + (own - outside))
}

/// Why a sentry died, as far as the host tells.
fn explain_death(id: ProcessId, when: &str) -> anyhow::Error {
    let killed = id.open().is_none_or(|pidfd| {
        process::wait_pidfd(
            std::os::fd::AsFd::as_fd(&pidfd),
            Some(std::time::Instant::now() + std::time::Duration::from_secs(5)),
        )
        .unwrap_or(true)
    });
    if !killed {
        let _ = id.kill_and_wait();
        return anyhow!("the sandbox process hung {when}: see --debug-log");
    }
    let status =
        waitpid(Pid::from_raw(id.pid), None).unwrap_or(nix::sys::wait::WaitStatus::StillAlive);
    anyhow!(super::death::sentence(
        super::death::SENTRY,
        id.pid,
        status,
        &format!(" {when}")
    ))
}
