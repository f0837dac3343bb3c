//! The seam to the kernel: the only module that knows the crates `sentry`, `syscalls` and `platform`.
//!
//! The sentry process (see `super::sentry`) calls [`observe`] while it still sees the host, [`prepare`] while it is single-threaded, jailed and
//! without capabilities but not yet filtered, then [`start`] under the filter. [`host_calls`] says what the filter has to let through for both.
//!
//! - [`sandbox`]: the kernel behind [`SandboxKernel`]. [`mounts`]: a container's mount namespace. [`process`]: its processes.

mod mounts;
mod process;
mod sandbox;

use std::sync::Arc;

use anyhow::{Context, Result};
use nix::libc;
use platform::{Config, Platform, notify, ptrace};

use super::config::{PlatformChoice, SandboxConfig};
use super::control::SandboxKernel;
use super::filter::{Check, Rule};
use super::ledger::Ledger;
use crate::cgroup::gauges::Gauges;

/// What the host looks like, read before it goes out of sight.
#[derive(Debug, Default)]
pub struct Observed {
    /// `/proc/self/maps` of this process.
    pub maps: String,
    /// `/proc/cpuinfo`.
    pub cpuinfo: String,
    /// Bytes of memory.
    pub memory: u64,
    /// What the sandbox's cgroup tells of its use.
    pub gauges: Gauges,
}

/// Reads what [`prepare`] and [`start`] need of the host's procfs.
///
/// # Errors
/// The file that cannot be read.
pub fn observe(gauges: Gauges) -> Result<Observed> {
    let read =
        |path: &str| std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let meminfo = read("/proc/meminfo")?;
    let kilobytes = meminfo.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
    });
    Ok(Observed {
        maps: read("/proc/self/maps")?,
        cpuinfo: read("/proc/cpuinfo")?,
        memory: kilobytes.unwrap_or(0) * 1024,
        gauges,
    })
}

/// What [`prepare`] leaves for [`start`].
pub struct Prepared {
    /// Host processes that were made (the template), as pids in the sentry's pid namespace: they are moved to the container's `guest` cgroup.
    pub host_pids: Vec<u32>,
    /// One line for the user: why the platform is not the one asked for.
    pub notice: Option<String>,
    /// The ledger, if there is one.
    pub ledger: Option<Ledger>,
    template: Template,
    observed: Observed,
}

/// The template of the platform that was chosen.
enum Template {
    Notify(notify::Template),
    Ptrace(ptrace::Template),
}

impl Template {
    fn pid(&self) -> i32 {
        match self {
            Self::Notify(template) => template.pid(),
            Self::Ptrace(template) => template.pid(),
        }
    }

    fn host_calls(&self) -> &'static [(libc::c_long, &'static str)] {
        match self {
            Self::Notify(_) => notify::HOST_CALLS,
            Self::Ptrace(_) => ptrace::HOST_CALLS,
        }
    }

    fn into_platform(self, config: Config) -> Result<Arc<dyn Platform>> {
        Ok(match self {
            Self::Notify(template) => Arc::new(notify::Platform::new(template, config)?),
            Self::Ptrace(template) => Arc::new(ptrace::Platform::new(template, config)?),
        })
    }
}

/// Makes what must exist before the filter: the template process. The caller is single-threaded. Where the host refuses what the notify platform
/// needs, says so and takes ptrace.
///
/// # Errors
/// One sentence that says what the host refused and what to do.
pub fn prepare(config: &SandboxConfig, observed: Observed) -> Result<Prepared> {
    let mut notice = None;
    let choice = match config.platform {
        PlatformChoice::Notify => match notify::probe() {
            Ok(()) => PlatformChoice::Notify,
            Err(refusal) => {
                notice = Some(format!("{refusal}: using the slower platform ptrace"));
                PlatformChoice::Ptrace
            }
        },
        PlatformChoice::Ptrace => PlatformChoice::Ptrace,
    };
    let template = match choice {
        PlatformChoice::Notify => {
            Template::Notify(notify::Template::prepare_with_maps(&observed.maps)?)
        }
        PlatformChoice::Ptrace => {
            Template::Ptrace(ptrace::Template::prepare_with_maps(&observed.maps)?)
        }
    };
    let pid = u32::try_from(template.pid()).unwrap_or(0);
    Ok(Prepared {
        host_pids: vec![pid],
        notice,
        ledger: None,
        template,
        observed,
    })
}

/// ioctls of the platform (seccomp listeners; 0x5411 is SIOCOUTQ) and of host terminals.
const IOCTLS: &[u64] = &[
    0xc050_2100,
    0xc018_2101,
    0x4008_2102,
    0x4018_2103,
    0x4008_2104,
    0x5401,
    0x5402,
    0x5403,
    0x5404,
    0x5413,
    0x5411,
    0x5414,
    0x541b,
    0x5421,
];

impl Prepared {
    /// Host calls that kernel and platform make after [`prepare`], beyond those of the control server.
    #[must_use]
    pub fn host_calls(&self, host_sockets: bool) -> Vec<Rule> {
        let mut rules = host_calls(self.template.host_calls());
        if host_sockets {
            let further = sentry::host::HOST_SOCKET_CALLS.iter();
            rules.extend(further.map(|(call, reason)| Rule::any(*call, reason)));
        }
        rules
    }
}

pub(super) fn host_calls(platform: &[(libc::c_long, &'static str)]) -> Vec<Rule> {
    // These are restricted by arguments, by the base rules or below.
    const RESTRICTED: &[i64] = &[
        libc::SYS_clone3,
        libc::SYS_ioctl,
        libc::SYS_prctl,
        libc::SYS_fcntl,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_clone,
        libc::SYS_socketpair,
    ];
    let mut rules: Vec<Rule> = Vec::new();
    for (call, reason) in platform.iter().chain(sentry::host::HOST_CALLS) {
        if !RESTRICTED.contains(call) && !rules.iter().any(|rule| rule.call == *call) {
            rules.push(Rule::any(*call, reason));
        }
    }
    rules.push(Rule::checked(
        libc::SYS_ioctl,
        "seccomp listeners, host terminals",
        Check::OneOf(1, IOCTLS),
    ));
    if platform
        .iter()
        .any(|(call, _)| *call == libc::SYS_socketpair)
    {
        let unix = &[libc::AF_UNIX as u64];
        rules.push(Rule::checked(
            libc::SYS_socketpair,
            "ptrace: the socket that carries descriptors to a guest",
            Check::OneOf(0, unix),
        ));
    }
    rules.push(Rule::checked(
        libc::SYS_prctl,
        "thread names",
        Check::OneOf(0, &[libc::PR_SET_NAME as u64]),
    ));
    let seals = &[
        libc::F_ADD_SEALS as u64,
        libc::F_GET_SEALS as u64,
        libc::F_GETFL as u64,
    ];
    rules.push(Rule::checked(
        libc::SYS_fcntl,
        "seals of slots and memory files, access modes of what guests are given",
        Check::OneOf(1, seals),
    ));
    rules
}

/// Starts the kernel's threads.
///
/// # Errors
/// One sentence that says what failed.
pub fn start(config: &SandboxConfig, prepared: Prepared) -> Result<Arc<dyn SandboxKernel>> {
    if cfg!(feature = "fake-kernel") {
        return fake_kernel();
    }
    Ok(sandbox::Sandbox::start(
        config,
        prepared.template,
        prepared.observed,
        prepared.ledger,
    )?)
}

/// The kernel that runs nothing, for tests of what is around it.
#[cfg(feature = "fake-kernel")]
fn fake_kernel() -> Result<Arc<dyn SandboxKernel>> {
    Ok(Arc::new(super::fake::FakeKernel::default()))
}

#[cfg(not(feature = "fake-kernel"))]
fn fake_kernel() -> Result<Arc<dyn SandboxKernel>> {
    anyhow::bail!("this build has no kernel for tests")
}
