//! The kernel behind the control server: its containers and their processes.
//!
//! Lock order: `books` is a leaf; replies are sent with it released.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once, OnceLock, Weak};
use std::task::Poll;

use abi::signal::{Signal, code};
use anyhow::Result;
use parking_lot::Mutex;
use platform::Config;
use sentry::exec::{Executor, Reactor};
use sentry::fs::cgroup_view::{CgroupLimits, Limits};
use sentry::fs::gofer::HostAccess;
use sentry::fs::gofer::watch::Watches;
use sentry::fs::proc::sys as sysctl;
use sentry::fs::sysfs;
use sentry::host_cgroup::HostCgroup;
use sentry::host_facts::{Gauge, HostFacts, HostFactsSlot, MemoryBooks};
use sentry::kernel::{Container, Kernel, VisibleResources};
use sentry::signal::{SigInfo, send};
use sentry::socket::inet::{outside, report as network_report};
use sentry::task::namespaces::{
    CgroupNamespace, IpcNamespace, Namespaces, NetNamespace, SeccompState, UtsNamespace,
};
use sentry::task::pids::PidsController;
use sentry::task::seccomp::Program;
use sentry::task::user_ns::UserNamespace;
use sentry::task::{ExitStatus as KernelStatus, PidNamespace, Task, ThreadGroup};
use sentry::wait::Events;
use syscalls::strace::filter;

use super::{Observed, Template, mounts, process};
use crate::boot::config::{
    ContainerConfig, FastPathChoice, ProcessConfig, ResourceLimits, SandboxConfig,
};
use crate::boot::control::{
    ContainerFds, ContainerStatus, ControlError, Created, ErrorKind, ExitStatus, GuestFd,
    ProcessInfo, Reply, SandboxKernel, SignalScope, Target,
};
use crate::boot::ledger::Ledger;
use crate::cgroup;
use crate::net::Network;
use crate::report;
use crate::spec::seccomp;

struct Process {
    group: Arc<ThreadGroup>,
    /// Made but not let go.
    waiting: Option<Arc<Task>>,
}

struct Entry {
    container: Arc<Container>,
    status: ContainerStatus,
    /// The spec's profile: every process that is started from outside begins with it.
    seccomp: SeccompState,
    /// What is logged when its first process has ended.
    farewell: Arc<Once>,
}

#[derive(Default)]
struct Books {
    containers: HashMap<String, Entry>,
    processes: HashMap<Target, Process>,
}

/// See the module.
pub(super) struct Sandbox {
    kernel: Arc<Kernel>,
    books: Arc<Mutex<Books>>,
    memory: u64,
    cpus: u32,
    /// Bytes for the buffers of all connections.
    network_memory: usize,
    has_log: bool,
    host_sockets: bool,
}

fn no_container() -> ControlError {
    ControlError::new(ErrorKind::NotFound, "container does not exist")
}

fn not_running() -> ControlError {
    ControlError::new(ErrorKind::WrongState, "container not running")
}

fn init_of(id: &str) -> Target {
    Target {
        container: id.to_owned(),
        exec: None,
    }
}

impl Sandbox {
    pub(super) fn start(
        config: &SandboxConfig,
        template: Template,
        observed: Observed,
        ledger: Option<Ledger>,
    ) -> Result<Arc<Self>> {
        let reactor = Reactor::new()?;
        let executor = Executor::new(reactor.clone());
        let worker = Arc::new(executor.clone());
        let platform = template.into_platform(Config {
            full_calls: syscalls::table::full_calls(),
            passable_calls: syscalls::table::passable_calls(),
            fast_path: config.fast_path == FastPathChoice::Spike,
            worker,
        })?;
        let kernel = Kernel::new(platform, executor, reactor.clone(), syscalls::run::run_task);
        let cpus = if config.cpus > 0 {
            config.cpus
        } else {
            observed.cpuinfo.matches("\nprocessor").count() as u32 + 1
        };
        let gauges = observed.gauges;
        let facts = HostFacts {
            cpuinfo: observed.cpuinfo,
            memory: observed.memory,
            cpus,
            memory_used: gauges
                .memory_used
                .map(|file| gauge(file, |text| text.trim().parse().ok())),
            memory_cached: gauges
                .memory_stat
                .map(|file| gauge(file, cgroup::gauges::cached)),
            cpu_used_ns: gauges
                .cpu_used
                .map(|file| gauge(file, cgroup::gauges::cpu_ns)),
            books: ledger.map(|ledger| Box::new(ledger) as Box<dyn MemoryBooks>),
        };
        kernel.extensions.get::<HostFactsSlot>().set(facts);
        kernel.log.set(Box::new(report::log_line));
        if config.strace.enabled {
            let calls = filter::parse(&config.strace.calls).map_err(anyhow::Error::msg)?;
            kernel.strace.set_calls(calls);
        }
        std::thread::Builder::new()
            .name("reactor".to_owned())
            .spawn(move || reactor.run())?;
        Ok(Arc::new(Self {
            kernel,
            books: Arc::default(),
            memory: observed.memory,
            cpus,
            has_log: config.has_log,
            host_sockets: config.host_sockets,
            network_memory: usize::try_from(config.network_memory).unwrap_or(usize::MAX),
        }))
    }

    fn group(&self, target: &Target) -> Result<Arc<ThreadGroup>, ControlError> {
        let books = self.books.lock();
        if !books.containers.contains_key(&target.container) {
            return Err(no_container());
        }
        books
            .processes
            .get(target)
            .map(|process| process.group.clone())
            .ok_or_else(not_running)
    }

    /// Gives a container that has not run yet its network.
    fn connect(&self, id: &str, network: Network) -> Result<(), ControlError> {
        let net = self.container(id)?.namespaces.net.clone();
        self.kernel.extensions.get::<sysfs::NetSlot>().set(&net);
        outside::attach(
            &self.kernel.reactor,
            &net,
            network.setup,
            network.sockets,
            self.network_memory,
        )
        .map_err(|errno| {
            let message = format!("cannot use the container's network: {errno}");
            ControlError::new(ErrorKind::Internal, message)
        })
    }

    fn container(&self, id: &str) -> Result<Arc<Container>, ControlError> {
        self.books
            .lock()
            .containers
            .get(id)
            .map(|entry| entry.container.clone())
            .ok_or_else(no_container)
    }

    fn resources(&self, limits: &ResourceLimits) -> VisibleResources {
        let memory = limits.memory.unwrap_or(u64::MAX).min(self.memory);
        let by_quota = match (limits.cpu_quota, limits.cpu_period) {
            (Some(quota), Some(period)) if period > 0 => {
                u32::try_from(quota.div_ceil(period)).unwrap_or(u32::MAX)
            }
            _ => u32::MAX,
        };
        let by_set = limits
            .cpuset
            .as_ref()
            .map_or(u32::MAX, |set| set.len() as u32);
        VisibleResources {
            cpus: self.cpus.min(by_quota).min(by_set).max(1),
            memory,
            swap: 0,
        }
    }

    fn build_container(
        &self,
        config: &ContainerConfig,
        fds: ContainerFds,
    ) -> Result<Arc<Container>, ControlError> {
        let kernel = &self.kernel;
        let internal = |what: &str, errno: abi::Errno| {
            ControlError::new(ErrorKind::Internal, format!("{what}: {errno}"))
        };
        if config.host_sockets && !self.host_sockets {
            // What it takes has to be in the sentry's filter, which was installed then.
            return Err(ControlError::new(
                ErrorKind::Unsupported,
                "--host-uds=open: the sandbox was started without it: give it for the pod's first container, too",
            ));
        }
        let client = ::gofer::client::Client::connect(fds.gofer_channels)
            .map_err(|errno| internal("cannot talk to the gofer", errno))?;
        // Filled in below: a container without its gofer cannot go on.
        let made: Arc<OnceLock<Weak<Container>>> = Arc::default();
        let watches = match fds.gofer_events {
            Some(events) => {
                let (made, books) = (made.clone(), Arc::downgrade(&self.books));
                let on_gone = Box::new(move || {
                    if let Some(container) = made.get().and_then(Weak::upgrade) {
                        report::log_line(&format!(
                            "runsc: the file server (gofer) of container {} is gone: its processes are killed",
                            container.id
                        ));
                        kill_all(&container);
                        if let Some(books) = books.upgrade() {
                            let_die(&books, &container.id);
                        }
                    }
                });
                let watches = Watches::start(&kernel.reactor, client.clone(), events, on_gone);
                Some(watches.map_err(|errno| internal("cannot watch the gofer's events", errno))?)
            }
            None => None,
        };
        let pid_namespace = if let Some(id) = &config.shared.pid {
            self.container(id)?.pid_namespace.clone()
        } else if config.namespaces.pid {
            PidNamespace::new(Some(kernel.root_pid_namespace.clone()))
        } else {
            kernel.root_pid_namespace.clone()
        };
        let resources = self.resources(&config.limits);
        let sources = mounts::Sources {
            kernel,
            pid_namespace: &pid_namespace,
            client,
            watches,
            resources,
            overlay_size: config.overlay_size,
            host_access: HostAccess {
                sockets: config.host_sockets,
                fifos: config.host_fifos,
            },
        };
        let namespace = mounts::build(&sources, config)?;
        let hostname = config.hostname.clone().unwrap_or_else(|| config.id.clone());
        let domain = config
            .domainname
            .clone()
            .unwrap_or_else(|| "(none)".to_owned());
        let of = |id: &Option<String>| -> Result<Option<Arc<Namespaces>>, ControlError> {
            let Some(id) = id else { return Ok(None) };
            Ok(Some(self.container(id)?.namespaces.clone()))
        };
        let shared = &config.shared;
        let namespaces = Arc::new(Namespaces {
            uts: of(&shared.uts)?.map_or_else(
                || UtsNamespace::new(hostname.as_bytes(), domain.as_bytes()),
                |other| other.uts.clone(),
            ),
            ipc: of(&shared.ipc)?.map_or_else(IpcNamespace::new, |other| other.ipc.clone()),
            net: of(&shared.network)?.map_or_else(NetNamespace::new, |other| other.net.clone()),
            cgroup: CgroupNamespace::initial(),
            pid_for_children: pid_namespace.clone(),
        });
        if let Some(ids) = &config.ids {
            UserNamespace::set_outer_maps(&ids.users, &ids.groups);
        }
        let extensions = sentry::kernel::Extensions::default();
        extensions
            .get::<CgroupLimits>()
            .set(cgroup_limits(&config.limits));
        extensions
            .get::<PidsController>()
            .set_max(config.limits.pids);
        extensions
            .get::<process::Personality>()
            .0
            .store(config.personality, Ordering::Relaxed);
        set_sysctls(&extensions, &namespaces, &config.sysctls)?;
        let container = Arc::new(Container {
            id: config.id.clone(),
            pid_namespace,
            namespaces,
            mounts: namespace,
            init: Mutex::default(),
            visible: parking_lot::RwLock::new(resources),
            extensions,
            frozen: std::sync::atomic::AtomicBool::new(false),
            host_cgroup: HostCgroup::new(fds.cgroup.into_iter().map(Into::into).collect()),
        });
        let _ = made.set(Arc::downgrade(&container));
        Ok(container)
    }
}

/// A number that is read afresh from a file of the host's each time.
fn gauge(file: std::fs::File, parse: fn(&str) -> Option<u64>) -> Gauge {
    use std::os::unix::fs::FileExt;
    /// `memory.stat`, the largest, has about 2 KiB.
    const MAX: usize = 8192;
    Box::new(move || {
        let mut text = vec![0; MAX];
        let count = file.read_at(&mut text, 0).ok()?;
        parse(std::str::from_utf8(text.get(..count)?).ok()?)
    })
}

/// Sets the spec's sysctls, which the command found to be such as a container may have. A value that the file would not take fails as writing it does.
fn set_sysctls(
    extensions: &sentry::kernel::Extensions,
    namespaces: &Namespaces,
    sysctls: &std::collections::BTreeMap<String, String>,
) -> Result<(), ControlError> {
    for (name, text) in sysctls {
        if name == "kernel.domainname" {
            *namespaces.uts.domainname.write() = text.clone().into_bytes();
            continue;
        }
        sysctl::set(&extensions.get::<sysctl::Values>(), name, text).map_err(|errno| {
            let path = name.replace('.', "/");
            let verb = if errno == abi::Errno::ENOENT {
                "open"
            } else {
                "write"
            };
            ControlError::new(
                ErrorKind::Invalid,
                format!(
                    "error during container init: {verb} /proc/sys/{path}: {}",
                    errno.to_string().to_lowercase()
                ),
            )
        })?;
    }
    Ok(())
}

/// The spec's seccomp profile as what a process begins with.
fn profile(config: &ContainerConfig) -> Result<SeccompState, ControlError> {
    let none = SeccompState::default();
    let Some(profile) = &config.seccomp else {
        return Ok(none);
    };
    let refuse = |cause: String| {
        ControlError::new(
            ErrorKind::Invalid,
            format!("error loading seccomp filter into kernel: {cause}"),
        )
    };
    let code = seccomp::compile(profile).map_err(|error| refuse(error.to_string()))?;
    Program::new(code)
        .and_then(|program| none.with_filter(Arc::new(program)))
        .map_err(|errno| refuse(errno.to_string()))
}

/// The limits as the container's view of its cgroup shows them.
fn cgroup_limits(limits: &ResourceLimits) -> Limits {
    let swap = limits
        .memory_swap
        .map(|both| both.saturating_sub(limits.memory.unwrap_or(0)));
    let cpuset: Vec<String> = limits.cpuset.iter().flatten().map(u32::to_string).collect();
    Limits {
        memory: limits.memory,
        swap,
        cpu_quota_us: limits.cpu_quota,
        cpu_period_us: limits.cpu_period.unwrap_or(0),
        // `shares` 2..=262144 as `weight` 1..=10000, as runc has it.
        cpu_weight: limits.cpu_shares.map_or(0, |shares| {
            1 + shares.clamp(2, 262_144).saturating_sub(2) * 9999 / 262_142
        }),
        cpuset: cpuset.join(","),
        pids: limits.pids,
        ..Limits::default()
    }
}

/// Lets a container's processes that were made but not let go run just far enough to die.
fn let_die(books: &Mutex<Books>, id: &str) {
    let waiting: Vec<Arc<Task>> = {
        let mut books = books.lock();
        let own = books
            .processes
            .iter_mut()
            .filter(|(target, _)| target.container == id);
        own.filter_map(|(_, process)| process.waiting.take())
            .collect()
    };
    for task in waiting {
        syscalls::process::start::run(&task);
    }
}

/// Kills every process of a container.
fn kill_all(container: &Container) {
    for (_, group) in container.groups() {
        send::end_group(&group, KernelStatus::Signal(Signal::KILL, false));
    }
}

fn to_control(status: KernelStatus) -> ExitStatus {
    match status {
        KernelStatus::Code(code) => ExitStatus::Exited(code),
        KernelStatus::Signal(signal, _) => ExitStatus::Signaled(signal.number()),
    }
}

/// Waits until the process has ended.
async fn ended(group: &Arc<ThreadGroup>) -> KernelStatus {
    let mut registration = None;
    poll_fn(|cx| {
        if registration.is_none() {
            registration = Some(group.events.register_waker(Events::IN, cx.waker().clone()));
        }
        let zombie = group.family.read().zombie;
        zombie.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

impl SandboxKernel for Sandbox {
    fn create_container(&self, config: ContainerConfig, fds: ContainerFds, reply: Reply<Created>) {
        if self.books.lock().containers.contains_key(&config.id) {
            return reply.send(Err(ControlError::new(
                ErrorKind::Exists,
                "container with given ID already exists",
            )));
        }
        let mut fds = fds;
        let stdio = std::mem::take(&mut fds.stdio);
        let built = self
            .build_container(&config, fds)
            .and_then(|container| Ok((container, profile(&config)?)));
        let (container, seccomp) = match built {
            Ok(built) => built,
            Err(error) => return reply.send(Err(error)),
        };
        let (kernel, books) = (self.kernel.clone(), self.books.clone());
        self.kernel.executor.spawn(async move {
            let id = config.id.clone();
            let task =
                match process::prepare(&kernel, &container, config.process, stdio, seccomp.clone())
                    .await
                {
                    Ok(task) => task,
                    Err(error) => return reply.send(Err(error)),
                };
            *container.init.lock() = Arc::downgrade(&task.group);
            kernel
                .containers
                .write()
                .insert(id.clone(), container.clone());
            let group = task.group.clone();
            {
                let mut books = books.lock();
                books.containers.insert(
                    id.clone(),
                    Entry {
                        container,
                        status: ContainerStatus::Created,
                        seccomp,
                        farewell: Arc::new(Once::new()),
                    },
                );
                books.processes.insert(
                    init_of(&id),
                    Process {
                        group: group.clone(),
                        waiting: Some(task),
                    },
                );
            }
            reply.send(Ok(Created::default()));
            ended(&group).await;
            if let Some(entry) = books.lock().containers.get_mut(&id) {
                entry.status = ContainerStatus::Stopped;
            }
        });
    }

    fn start(&self, id: &str, network: Option<Network>, reply: Reply<()>) {
        if let Some(network) = network
            && let Err(error) = self.connect(id, network)
        {
            return reply.send(Err(error));
        }
        let task = {
            let mut books = self.books.lock();
            let Some(entry) = books.containers.get_mut(id) else {
                drop(books);
                return reply.send(Err(no_container()));
            };
            if entry.status != ContainerStatus::Created {
                let error = ControlError::new(
                    ErrorKind::WrongState,
                    "cannot start a container that has been started or has stopped",
                );
                drop(books);
                return reply.send(Err(error));
            }
            entry.status = ContainerStatus::Running;
            books
                .processes
                .get_mut(&init_of(id))
                .and_then(|process| process.waiting.take())
        };
        if let Some(task) = task {
            syscalls::process::start::run(&task);
        }
        reply.send(Ok(()));
    }

    fn exec(&self, target: Target, config: ProcessConfig, stdio: Vec<GuestFd>, reply: Reply<u32>) {
        // As with runc, a container that was created but not started takes processes too: startContainer hooks are such.
        let found = match self.books.lock().containers.get(&target.container) {
            None => Err(no_container()),
            Some(entry) if entry.status == ContainerStatus::Stopped => Err(not_running()),
            Some(entry) => Ok((entry.container.clone(), entry.seccomp.clone())),
        };
        let (container, seccomp) = match found {
            Ok(found) => found,
            Err(error) => return reply.send(Err(error)),
        };
        let (kernel, books) = (self.kernel.clone(), self.books.clone());
        self.kernel.executor.spawn(async move {
            match process::prepare(&kernel, &container, config, stdio, seccomp).await {
                Ok(task) => {
                    let pid = u32::try_from(task.group.pid.local()).unwrap_or(0);
                    books.lock().processes.insert(
                        target,
                        Process {
                            group: task.group.clone(),
                            waiting: None,
                        },
                    );
                    syscalls::process::start::run(&task);
                    reply.send(Ok(pid));
                }
                Err(error) => reply.send(Err(error)),
            }
        });
    }

    fn signal(&self, target: &Target, signal: u32, scope: SignalScope) -> Result<(), ControlError> {
        let signal = Signal::new(i64::from(signal)).ok_or_else(|| {
            ControlError::new(ErrorKind::Invalid, format!("unknown signal {signal}"))
        })?;
        let info = SigInfo::user(signal, code::SI_USER, 0, 0);
        match scope {
            SignalScope::All => {
                let container = self.container(&target.container)?;
                for (_, group) in container.groups() {
                    let _ = send::process_signal_from_outside(&group, info);
                }
                Ok(())
            }
            SignalScope::Process => {
                let waiting = self
                    .books
                    .lock()
                    .processes
                    .get_mut(target)
                    .and_then(|p| (signal == Signal::KILL).then(|| p.waiting.take()).flatten());
                let group = self.group(target)?;
                if group.family.read().zombie.is_some() {
                    return Err(not_running());
                }
                let sent = send::process_signal_from_outside(&group, info);
                if let Some(task) = waiting {
                    // Killed before it was started: it runs just far enough to die.
                    syscalls::process::start::run(&task);
                }
                sent.map_err(|errno| ControlError::new(ErrorKind::Internal, errno.to_string()))
            }
        }
    }

    fn window_changed(&self, target: &Target) -> Result<(), ControlError> {
        sentry::fs::devpts::console::resize_terminal_of(&*self.group(target)?);
        Ok(())
    }

    fn wait(&self, target: &Target, reply: Reply<ExitStatus>) {
        let group = match self.group(target) {
            Ok(group) => group,
            Err(error) => return reply.send(Err(error)),
        };
        let farewell = if target.exec.is_none() {
            self.farewell(&target.container)
        } else {
            None
        };
        let kernel = self.kernel.clone();
        self.kernel.executor.spawn(async move {
            let status = ended(&group).await;
            if let Some(once) = farewell {
                // Before anybody is told, who may kill the sandbox then.
                once.call_once(|| log_unsupported(&kernel));
            }
            reply.send(Ok(to_control(status)));
        });
    }

    fn forget(&self, target: &Target) {
        let removed = self.books.lock().processes.remove(target);
        drop(removed);
    }

    fn status(&self, id: &str) -> Result<ContainerStatus, ControlError> {
        self.books
            .lock()
            .containers
            .get(id)
            .map(|entry| entry.status)
            .ok_or_else(no_container)
    }

    fn processes(&self, id: &str) -> Result<Vec<ProcessInfo>, ControlError> {
        let container = self.container(id)?;
        let namespace = &container.pid_namespace;
        let mut list = Vec::new();
        for (pid, group) in container.groups() {
            let Some(task) = group.any_task() else {
                continue;
            };
            let host_pid = task
                .try_memory_map()
                .map_or(0, |map| map.space().host_pid());
            list.push(ProcessInfo {
                pid: u32::try_from(pid).unwrap_or(0),
                parent: group.parent().map_or(0, |p| {
                    u32::try_from(p.pid.in_namespace(namespace)).unwrap_or(0)
                }),
                host_pid: u32::try_from(host_pid).unwrap_or(0),
                uid: task.creds().uid,
                name: String::from_utf8_lossy(&task.comm()).into_owned(),
            });
        }
        Ok(list)
    }

    fn pause(&self, id: &str, reply: Reply<()>) {
        let result = self.set_frozen(id, true);
        reply.send(result);
    }

    fn resume(&self, id: &str, reply: Reply<()>) {
        let result = self.set_frozen(id, false);
        reply.send(result);
    }

    fn update(&self, id: &str, limits: ResourceLimits) -> Result<(), ControlError> {
        let container = self.container(id)?;
        *container.visible.write() = self.resources(&limits);
        container
            .extensions
            .get::<CgroupLimits>()
            .set(cgroup_limits(&limits));
        container
            .extensions
            .get::<PidsController>()
            .set_max(limits.pids);
        Ok(())
    }

    fn destroy(&self, id: &str, reply: Reply<()>) {
        let container = match self.container(id) {
            Ok(container) => container,
            Err(error) => return reply.send(Err(error)),
        };
        let target = Target {
            container: id.to_owned(),
            exec: None,
        };
        let _ = self.signal(&target, process::SIGKILL, SignalScope::Process);
        let _ = self.signal(&target, process::SIGKILL, SignalScope::All);
        let (kernel, books) = (self.kernel.clone(), self.books.clone());
        let id = id.to_owned();
        self.kernel.executor.spawn(async move {
            for (_, group) in container.groups() {
                ended(&group).await;
            }
            kernel.containers.write().remove(&id);
            let removed = {
                let mut books = books.lock();
                let gone: Vec<Target> = books
                    .processes
                    .keys()
                    .filter(|t| t.container == id)
                    .cloned()
                    .collect();
                let processes: Vec<_> = gone
                    .iter()
                    .filter_map(|target| books.processes.remove(target))
                    .collect();
                (books.containers.remove(&id), processes)
            };
            drop(removed);
            reply.send(Ok(()));
        });
    }

    fn stacks(&self) -> String {
        let mut text = String::new();
        for (id, entry) in &self.books.lock().containers {
            let _ = writeln!(text, "container {id}:");
            for (tid, task) in entry.container.pid_namespace.tasks() {
                let call = *task.current_call.lock();
                let what = match call {
                    None => "in guest code".to_owned(),
                    Some(call) => {
                        let name = u32::try_from(call.nr)
                            .ok()
                            .and_then(abi::nr::name)
                            .unwrap_or("?");
                        format!(
                            "in {name}({:#x}, {:#x}, {:#x}, {:#x})",
                            call.args[0], call.args[1], call.args[2], call.args[3]
                        )
                    }
                };
                let comm = String::from_utf8_lossy(&task.comm()).into_owned();
                let _ = writeln!(
                    text,
                    "  {tid:6} (process {}) {comm:15} {:?} {what}",
                    task.group.pid.local(),
                    task.state()
                );
            }
        }
        text
    }

    fn counters(&self) -> String {
        let mut text = unsupported(&self.kernel)
            .unwrap_or_else(|| "every system call was supported\n".to_owned());
        let nets: BTreeMap<u64, _> = self
            .books
            .lock()
            .containers
            .values()
            .map(|entry| entry.container.namespaces.net.clone())
            .map(|net| (net.ino, net))
            .collect();
        for net in nets.values() {
            text.push_str(&network_report::report(net));
        }
        text
    }

    fn strace(&self, calls: &[String]) -> Result<(), ControlError> {
        let calls = filter::parse(calls)
            .map_err(|message| ControlError::new(ErrorKind::Invalid, message))?;
        if !self.has_log && !calls.is_empty() {
            return Err(ControlError::new(
                ErrorKind::Unsupported,
                "the sandbox was started without --debug-log: there is nowhere to write the trace to",
            ));
        }
        self.kernel.strace.set_calls(calls);
        Ok(())
    }
}

/// How often which calls were answered ENOSYS or EOPNOTSUPP, if any was.
fn unsupported(kernel: &Kernel) -> Option<String> {
    let counts = kernel.unsupported.counts();
    let mut text = String::from("system calls that were not supported:\n");
    for (nr, errno, count) in &counts {
        let name = u32::try_from(*nr).ok().and_then(abi::nr::name);
        let name = name.unwrap_or("unknown");
        let _ = writeln!(text, "  {count:8} {name} ({nr}): {}", errno.name());
    }
    (!counts.is_empty()).then_some(text)
}

fn log_unsupported(kernel: &Kernel) {
    if let Some(text) = unsupported(kernel) {
        report::log_line(text.trim_end());
    }
}

impl Sandbox {
    /// What is written once when a container's first process has ended, if there is a log.
    fn farewell(&self, id: &str) -> Option<Arc<Once>> {
        let books = self.books.lock();
        let entry = books.containers.get(id).filter(|_| self.has_log)?;
        Some(entry.farewell.clone())
    }

    /// Stops or continues every process of a container, unseen by the guests' parents.
    fn set_frozen(&self, id: &str, frozen: bool) -> Result<(), ControlError> {
        let (from, to) = if frozen {
            (ContainerStatus::Running, ContainerStatus::Paused)
        } else {
            (ContainerStatus::Paused, ContainerStatus::Running)
        };
        let container = {
            let mut books = self.books.lock();
            let entry = books.containers.get_mut(id).ok_or_else(no_container)?;
            if entry.status != from {
                let text = if frozen {
                    "container not running"
                } else {
                    "container not paused"
                };
                return Err(ControlError::new(ErrorKind::WrongState, text));
            }
            entry.status = to;
            entry.container.clone()
        };
        container.set_frozen(frozen);
        Ok(())
    }
}
