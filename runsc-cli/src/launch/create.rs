//! Makes a container: the order of everything, and its undoing.
//!
//! Checks first; then state directory, cgroup, proxy (whose network namespace hooks configure), hooks, gofer, sentry, the container in its kernel.
//! Each step pushes its undoing; the first failure leaves nothing behind. If this command is killed half-way, the processes end by themselves when
//! their sockets close.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::console::{self, Console};
use super::hooks::{self, Point};
use super::pod::{self, Membership};
use super::process::ProcessId;
use super::proxy_root::Root;
use super::rollback::Rollback;
use super::settings::Settings;
use super::userns::Mappings;
use super::{gofer, mountpoints, proxy, sandbox, seal};
use crate::boot::client::Client;
use crate::boot::config::{NetworkMode, OverlayMode, PROTOCOL_VERSION, SandboxConfig};
use crate::boot::control::{FdRole, Request, Response, Target};
use crate::cgroup::{Cgroup, Place, Placeholder};
use crate::net;
use crate::report;
use crate::spec::container::{self, Translated};
use crate::spec::{load, validate};
use crate::state::{self, Container, State, Status};

/// What to create.
pub struct Order<'a> {
    /// Container id.
    pub id: &'a str,
    /// Absolute bundle directory.
    pub bundle: PathBuf,
    /// The spec.
    pub spec: Spec,
    /// `--console-socket`.
    pub console_socket: Option<&'a Path>,
    /// The command will not wait for the container.
    pub detached: bool,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// `--pid-file`.
    pub pid_file: Option<&'a Path>,
    /// The first process is a command like any other: default actions of signals reach it although it is an init.
    pub mortal_init: bool,
    /// Make a network for it, where that can be done.
    pub link: bool,
}

/// A container that was created.
pub struct Created {
    /// Its locked state.
    pub container: Container,
    /// Its proxy.
    pub proxy: ProcessId,
    /// The terminal's master, if this command is to relay it.
    pub master: Option<OwnedFd>,
}

/// Reads a bundle.
pub fn load_bundle(bundle: &Path) -> Result<(PathBuf, Spec)> {
    let absolute =
        std::path::absolute(bundle).with_context(|| format!("bundle {}", bundle.display()))?;
    // runc goes there.
    let there =
        std::fs::metadata(&absolute).with_context(|| format!("chdir {}", bundle.display()))?;
    if !there.is_dir() {
        bail!("chdir {}: not a directory", bundle.display());
    }
    // Without symbolic links, as the state shows it.
    let absolute = absolute.canonicalize().unwrap_or(absolute);
    let spec = load::spec(&absolute)?;
    Ok((absolute, spec))
}

/// Creates a container.
pub fn create(settings: &Settings, order: Order<'_>) -> Result<Created> {
    let settings = &settings.for_container(&order.spec)?;
    state::id::validate(order.id)?;
    let member = pod::membership(&settings.root, &order.spec, order.id)?;
    let rootfs = validate::validate(&order.spec, &order.bundle)?;
    let private = network(&order.spec) != proxy::Network::Host;
    let mode = settings.network.unwrap_or(NetworkMode::Sandbox);
    net::check(mode, private)?;
    let overlay = settings.overlay.clone().unwrap_or_default();
    let preserved = preserved_fds(order.preserve_fds)?;
    let mut translated = container::translate(
        order.id,
        &order.spec,
        &order.bundle,
        &rootfs,
        &overlay,
        id_mappings(&order.spec).as_ref(),
        u32::try_from(preserved.len())?,
    )?;
    add_listen_fds(&mut translated, preserved.len(), order.preserve_fds);
    translated.config.process.mortal_init = order.mortal_init;
    console::check(
        translated.config.process.terminal,
        order.console_socket,
        order.detached,
    )?;

    let mut undo = Rollback::default();
    let mut state = State::new(order.id, order.spec.version(), &order.bundle, &rootfs);
    if let Some(member) = &member {
        state.sandbox.clone_from(&member.sandbox);
        translated.config.shared = member.shared.clone();
        state.network.shared = member.shared.network.is_some();
    }
    state.annotations = order
        .spec
        .annotations()
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    state.process.clone_from(order.spec.process());
    state.hooks.clone_from(order.spec.hooks());
    state.network.mode = mode;
    state.network.private = private;
    if let proxy::Network::Path(path) = network(&order.spec) {
        state.network.path = Some(path);
    }
    let mut container = Container::create(&settings.root, state)?;
    let dir = container.dir.clone();
    undo.push(move || drop(state::remove_dir(&dir)));

    let (cgroup, _placeholder) = make_cgroup(settings, &order, &mut container, &mut undo)?;
    if let Some(cgroup) = &cgroup {
        let config = &mut translated.config;
        cgroup.path().clone_into(&mut config.cgroup_path);
        config.limits = cgroup.limits();
    }

    let process = &translated.config.process;
    let console = Console::prepare(
        process.terminal,
        order.console_socket,
        order.detached,
        process.console_size,
    )?;
    let created = build(
        settings,
        &order,
        &mut container,
        translated,
        member.as_ref(),
        cgroup.as_ref(),
        &preserved,
        &console,
        &mut undo,
    );
    let proxy = created.map_err(|error| words(error, cgroup.as_ref()))?;
    container.state.init = Some(proxy);
    container.save()?;
    if let Some(path) = order.pid_file {
        state::write_atomically(path, proxy.pid.to_string().as_bytes())
            .with_context(|| format!("cannot write the pid file {}", path.display()))?;
    }
    undo.disarm();
    Ok(Created {
        container,
        proxy,
        master: console.into_master(),
    })
}

/// Everything that runs: proxy, hooks, gofer, sentry, container.
fn build(
    settings: &Settings,
    order: &Order<'_>,
    container: &mut Container,
    translated: Translated,
    member: Option<&Membership>,
    cgroup: Option<&Cgroup>,
    preserved: &[(u32, OwnedFd)],
    console: &Console,
    undo: &mut Rollback,
) -> Result<ProcessId> {
    let program = seal::program()?;
    let log = settings.open_debug_log(order.id)?;
    let log = log.as_ref().map(AsFd::as_fd);
    let root = Root::of(&container.state.rootfs, &translated);
    let mut config = translated.config;
    config.host_sockets = settings.host_uds.opens();
    config.host_fifos = settings.host_fifo.opens();

    let target = Target {
        container: order.id.to_owned(),
        exec: None,
    };
    let (for_proxy, for_sentry) = match member {
        None => {
            let (proxy, sentry) = UnixStream::pair()?;
            (proxy, Some(sentry))
        }
        Some(member) => (member.connect(&settings.root)?.into_stream(), None),
    };
    let proxy = proxy::start(proxy::Launch {
        program: program.as_fd(),
        connection: for_proxy.into(),
        target,
        network: network(&order.spec),
        cgroup,
        terminal: console.slave(),
        oom_score: config.process.oom_score_adj,
        root,
    })?;
    kill_on_failure(undo, proxy.id);

    container.state.init = Some(proxy.id);
    if order.link {
        make_link(container, proxy.id, undo)?;
    }
    let text = container.state.for_hook(Status::Creating);
    let spec_hooks = order.spec.hooks().as_ref();
    let run_hooks = |point| {
        hooks::run(&hooks::at(spec_hooks, point), &text).context("error during container init")
    };
    run_hooks(Point::Prestart)?;
    run_hooks(Point::CreateRuntime)?;

    if config.root.read_only && config.root.overlay == OverlayMode::None {
        mountpoints::make_missing(&container.state.rootfs, &config.mounts, &config.process.cwd)?;
    }
    let policy = gofer::Policy {
        host_uds: settings.host_uds,
        host_fifo: settings.host_fifo,
    };
    let served = gofer::start(
        program.as_fd(),
        &translated.trees,
        policy,
        id_mappings(&order.spec),
        log,
        &mut |id| {
            kill_on_failure(undo, id);
            sandbox::protect(id.pid);
            cgroup.map_or(Ok(()), |cgroup| cgroup.add(id.pid, Place::Sentry))
        },
    )?;
    container.state.gofer = Some(served.id);
    run_hooks(Point::CreateContainer)?;

    let oom_score = config.process.oom_score_adj;
    let (sentry, client) = match (member, for_sentry) {
        (Some(member), _) => (member.sentry, member.connect(&settings.root)?),
        (None, Some(connection)) => {
            let mappings = Mappings::for_sentry(&(&settings.root, order.id), &taken_ids(settings));
            container.state.host_id = mappings.uids.first().map(|(_, outside, _)| *outside);
            let launch = sandbox::Launch {
                program: program.as_fd(),
                dir: &container.dir,
                config: sandbox_config(settings, order.id, &config.limits),
                mappings: &mappings,
                proxy: connection.into(),
                cgroup,
                stderr: log,
                guest_oom_score: oom_score,
            };
            let (sentry, client) = sandbox::start(launch, &mut |id| {
                kill_on_failure(undo, id);
                Ok(())
            })?;
            container.state.sentry = Some(sentry);
            (sentry, client)
        }
        (None, None) => bail!("a sandbox needs its first proxy"),
    };
    // Host processes are cloned from the template, which is in the first container's cgroup.
    let own_cgroup = match (member, cgroup) {
        (Some(_), Some(cgroup)) => cgroup.gates(Place::Guest)?,
        _ => Vec::new(),
    };

    let stdio = console.stdio()?;
    let made = create_in_kernel(&client, config, &stdio, preserved, &served, &own_cgroup)?;
    sandbox::place_guests(sentry, &made, cgroup, oom_score)?;
    let proxy = proxy.release()?;
    client.call(&Request::Commit, &[])?;
    Ok(proxy)
}

fn kill_on_failure(undo: &mut Rollback, id: ProcessId) {
    undo.push(move || drop(id.kill_and_wait()));
}

fn create_in_kernel(
    client: &Client,
    config: crate::boot::config::ContainerConfig,
    stdio: &[(u32, OwnedFd)],
    preserved: &[(u32, OwnedFd)],
    served: &gofer::Gofer,
    own_cgroup: &[OwnedFd],
) -> Result<Vec<u32>> {
    let mut roles = Vec::new();
    let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
    for (number, fd) in stdio.iter().chain(preserved) {
        roles.push(FdRole::Guest(*number));
        fds.push(fd.as_fd());
    }
    for channel in &served.channels {
        roles.push(FdRole::GoferChannel);
        fds.push(channel.as_fd());
    }
    roles.push(FdRole::GoferEvents);
    fds.push(served.events.as_fd());
    for file in own_cgroup {
        roles.push(FdRole::Cgroup);
        fds.push(file.as_fd());
    }
    match client.call(
        &Request::Create {
            config: Box::new(config),
            fds: roles,
        },
        &fds,
    )? {
        Response::Created { created } => Ok(created.host_pids),
        other => bail!("the sandbox gave an answer of the wrong kind: {other:?}"),
    }
}

/// runc's words around what failed while the container was brought up. Start-up memory is charged to the container: say so when that was the cause.
fn words(error: anyhow::Error, cgroup: Option<&Cgroup>) -> anyhow::Error {
    let cause = crate::launch::sentence(&error);
    match cgroup.and_then(Cgroup::ran_out_of_memory) {
        Some(limit) => anyhow!(
            "unable to start container process: the memory limit of {limit} bytes is too low for a sandbox (allow at least 32 MiB): {cause}"
        ),
        None => anyhow!("unable to start container process: {cause}"),
    }
}

/// Makes the container's cgroup. It is in the books before it exists, so that whoever cleans up after a killed command finds it.
fn make_cgroup(
    settings: &Settings,
    order: &Order<'_>,
    container: &mut Container,
    undo: &mut Rollback,
) -> Result<(Option<Cgroup>, Option<Placeholder>)> {
    if settings.no_cgroups {
        return Ok((None, None));
    }
    let linux = order.spec.linux().as_ref();
    let given = linux
        .and_then(|linux| linux.cgroups_path().as_ref())
        .map(|path| path.display().to_string())
        .filter(|path| !path.is_empty());
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let planned = Cgroup::plan(given.as_deref(), order.id, settings.cgroup_manager);
    let made = planned.and_then(|cgroup| {
        container.state.cgroup = Some(cgroup.clone());
        container.save()?;
        let placeholder = cgroup.make(resources)?;
        Ok((cgroup, placeholder))
    });
    match made {
        Ok((cgroup, placeholder)) => {
            let made = cgroup.clone();
            undo.push(move || drop(made.destroy()));
            Ok((Some(cgroup), placeholder))
        }
        Err(error) if settings.cgroups_optional => {
            report::debug(&format!("no cgroup: {error:#}"));
            container.state.cgroup = None;
            container.save()?;
            Ok((None, None))
        }
        Err(error) => Err(error),
    }
}

/// A network for the container, remembered before anything goes on; without one it has its loopback.
fn make_link(container: &mut Container, proxy: ProcessId, undo: &mut Rollback) -> Result<()> {
    match net::veth::make(proxy) {
        Ok(link) => {
            let made = link.clone();
            undo.push(move || drop(made.remove()));
            container.state.network.link = Some(link);
        }
        Err(error) => {
            report::warning(&format!(
                "the sandbox has no network but its own loopback: {}",
                super::sentence(&error)
            ));
            container.state.network.mode = NetworkMode::None;
        }
    }
    container.save()
}

fn network(spec: &Spec) -> proxy::Network {
    let namespaces = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().clone())
        .unwrap_or_default();
    match namespaces
        .into_iter()
        .find(|namespace| namespace.typ() == LinuxNamespaceType::Network)
    {
        None => proxy::Network::Host,
        Some(namespace) => match namespace.path() {
            Some(path) => proxy::Network::Path(path.clone()),
            None => proxy::Network::New,
        },
    }
}

/// The spec's own id mappings, for the gofer: files belong to the mapped ids on the host.
fn id_mappings(spec: &Spec) -> Option<Mappings> {
    let linux = spec.linux().as_ref()?;
    let has_user =
        linux.namespaces().iter().flatten().any(|namespace| {
            namespace.typ() == LinuxNamespaceType::User && namespace.path().is_none()
        });
    // A rootless gofer lives in a user namespace that maps the caller already.
    if !has_user || !super::userns::is_root() {
        return None;
    }
    Some(Mappings::from_spec(
        linux.uid_mappings().as_deref().unwrap_or(&[]),
        linux.gid_mappings().as_deref().unwrap_or(&[]),
    ))
}

fn taken_ids(settings: &Settings) -> Vec<u32> {
    state::all(&settings.root)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|state| state.host_id)
        .collect()
}

fn sandbox_config(
    settings: &Settings,
    id: &str,
    limits: &crate::boot::config::ResourceLimits,
) -> SandboxConfig {
    let affinity = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).map_or(0, |set| {
        (0..nix::sched::CpuSet::count())
            .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
            .count()
    });
    let cpus = u32::try_from(affinity).unwrap_or(0);
    let cpus = limits
        .cpuset
        .as_ref()
        .map_or(cpus, |set| u32::try_from(set.len()).unwrap_or(cpus));
    SandboxConfig {
        version: PROTOCOL_VERSION,
        id: id.to_owned(),
        platform: settings.platform,
        fast_path: settings.fast_path,
        network: settings.network.unwrap_or(NetworkMode::Sandbox),
        network_memory: settings.network_memory,
        debug: settings.debug,
        strace: settings.strace.clone(),
        host_sockets: settings.host_uds.opens(),
        has_log: settings.debug_log.is_some(),
        control_uid: 0,
        cpus,
    }
}

/// The caller's descriptors 3, 4, … for the guest: socket activation's (`LISTEN_FDS`) and `--preserve-fds`.
pub fn preserved_fds(extra: u32) -> Result<Vec<(u32, OwnedFd)>> {
    const MOST: u32 = crate::host::MOST_PRESERVED;
    let count = extra.saturating_add(listen_fds());
    if count > MOST {
        bail!(
            "cannot pass {count} extra descriptors to the container: at most {MOST} are supported"
        );
    }
    (3..3 + count)
        .map(|number| {
            let fd = crate::host::from_caller(i32::try_from(number)?).ok_or_else(|| {
                anyhow!("cannot pass descriptor {number} on: fd {number} is not open in the caller")
            })?;
            Ok((number, fd))
        })
        .collect()
}

/// How many descriptors socket activation gave this very process (`sd_listen_fds(3)`).
fn listen_fds() -> u32 {
    let number = |name| -> Option<u32> { std::env::var(name).ok()?.parse().ok() };
    number("LISTEN_FDS")
        .filter(|_| number("LISTEN_PID") == Some(std::process::id()))
        .unwrap_or(0)
}

/// Socket activation: the guest's init is the one that the descriptors are for.
fn add_listen_fds(translated: &mut Translated, preserved: usize, extra: u32) {
    let listening = preserved.saturating_sub(usize::try_from(extra).unwrap_or(0));
    if listening > 0 {
        translated
            .config
            .process
            .env
            .extend([format!("LISTEN_FDS={listening}"), "LISTEN_PID=1".to_owned()]);
    }
}
