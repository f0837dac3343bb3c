//! The sentry process from its first instruction to the control server.
//!
//! Order: read the configuration; empty root, no capabilities, no_new_privs; the ledger; [`kernel::prepare`] makes the template; tell the command, which moves
//! processes to their cgroups and says go; seccomp filter, not dumpable; [`kernel::start`]; serve. Everything before `go` is single-threaded.
//! The process is the first of its pid namespace: when it ends, the host kills every guest.

use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::prctl::{set_dumpable, set_name, set_no_new_privs};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{Backlog, listen};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, pivot_root};
use serde::{Deserialize, Serialize};

use super::config::SandboxConfig;
use super::server::Server;
use super::{filter, kernel, ledger, panics, wire};
use crate::cgroup::gauges::Gauges;
use crate::host;
use crate::launch::seal;

/// What the process is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Boot {
    /// For the kernel.
    pub config: SandboxConfig,
    /// The command's end of this stream launches the sandbox and then speaks the control protocol.
    pub launch: RawFd,
    /// Bound, not yet listening.
    pub listener: RawFd,
    /// The connection of the first container's proxy.
    pub proxy: RawFd,
    /// `memory.usage_in_bytes`, `memory.stat` and `cpuacct.usage` of the sandbox's cgroup.
    pub gauges: [Option<RawFd>; 3],
}

/// First message: sentry to command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Ready to be moved to its cgroup.
    Prepared {
        /// See [`kernel::Prepared::host_pids`].
        host_pids: Vec<u32>,
        /// What the user should know: the platform is not the one asked for.
        notice: Option<String>,
    },
    /// Ready to serve.
    Serving,
    /// It will not be.
    Failed {
        /// For people.
        message: String,
    },
}

/// Second message: command to sentry.
#[derive(Debug, Serialize, Deserialize)]
pub struct Go;

/// Runs the sentry.
pub fn main(config_fd: RawFd) -> Result<()> {
    panics::end_process_on_panic("sentry");
    let boot: Boot = seal::read_config(host::inherited(config_fd)?)?;
    let launch = UnixStream::from(host::inherited(boot.launch)?);
    match run(&boot, &launch) {
        Ok(mut server) => {
            wire::send(&launch, &Report::Serving, &[])?;
            drop(launch);
            server.run().context("the control server failed")
        }
        Err(error) => {
            let _ = wire::send(
                &launch,
                &Report::Failed {
                    message: crate::launch::sentence(&error),
                },
                &[],
            );
            Err(error)
        }
    }
}

fn run(boot: &Boot, launch: &UnixStream) -> Result<Server> {
    let listener = host::inherited(boot.listener)?;
    let proxy = UnixStream::from(host::inherited(boot.proxy)?);
    host::single_heap();
    let _ = set_name(c"runsc-sentry");
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let [memory_used, memory_stat, cpu_used] = boot
        .gauges
        .map(|number| number.map(host::inherited).transpose());
    let observed = kernel::observe(Gauges {
        memory_used: memory_used?.map(Into::into),
        memory_stat: memory_stat?.map(Into::into),
        cpu_used: cpu_used?.map(Into::into),
    })?;
    let procfs = empty_root()?;
    host::drop_all_capabilities().context("cannot drop capabilities")?;
    set_no_new_privs().context("cannot set no_new_privs")?;

    // Where the host lets nobody mount a procfs here, resident sizes are not known.
    let ledger = procfs.map(ledger::start).transpose()?;
    let mut prepared = kernel::prepare(&boot.config, observed)?;
    prepared.ledger = ledger;
    wire::send(
        launch,
        &Report::Prepared {
            host_pids: prepared.host_pids.clone(),
            notice: prepared.notice.clone(),
        },
        &[],
    )?;
    let Some(frame) = wire::receive(launch)? else {
        bail!("the command that starts the sandbox went away")
    };
    let Go = frame.parse()?;

    listen(&listener, Backlog::new(128)?).context("cannot listen on the control socket")?;
    set_dumpable(false).context("cannot become undumpable")?;
    let mut rules = filter::base();
    rules.extend(prepared.host_calls(boot.config.host_sockets));
    // Duplicated before the filter, which does not need to allow it.
    let launch_connection = launch.try_clone()?;
    filter::install(&rules)?;

    let kernel = kernel::start(&boot.config, prepared)?;
    let server = Server::new(
        kernel,
        UnixListener::from(listener),
        vec![launch_connection, proxy],
        boot.config.control_uid,
    )?;
    Ok(server)
}

/// A procfs of this pid namespace with nothing but the processes, mounted nowhere; `None` if the host does not let us have one.
fn procfs_of_guests(place: &str) -> Option<OwnedFd> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    mount(Some("proc"), place, Some("proc"), flags, Some("subset=pid")).ok()?;
    let how = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(place, how, Mode::empty());
    umount2(place, MntFlags::MNT_DETACH).ok()?;
    root.ok()
}

/// Replaces everything that is mounted by an empty read-only tmpfs. Returns what is left: see [`procfs_of_guests`].
fn empty_root() -> Result<Option<OwnedFd>> {
    const PLACE: &str = "/proc";
    let none: Option<&str> = None;
    let restricted = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make mounts private")?;
    let procfs = procfs_of_guests(PLACE);
    mount(
        Some("sentry"),
        PLACE,
        Some("tmpfs"),
        restricted,
        Some("mode=0500,size=4k"),
    )
    .context("cannot mount the sandbox's empty root")?;
    chdir(PLACE).context("cannot enter the empty root")?;
    // The old root ends up on top of the new one, where it can be detached (pivot_root(2)).
    pivot_root(".", ".").context("cannot change to the empty root")?;
    umount2(".", MntFlags::MNT_DETACH).context("cannot detach the host's root")?;
    chdir("/").context("cannot enter the empty root")?;
    mount(
        none,
        "/",
        none,
        MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | restricted,
        none,
    )
    .context("cannot make the empty root read-only")?;
    Ok(procfs)
}
