//! What the kernel is told about a sandbox and its containers: everything, and only, in these serialisable structures.
//!
//! The commands translate an OCI spec into a [`ContainerConfig`] (see `crate::spec`); the kernel never sees the spec, host paths of the bundle or
//! the state directory. Descriptors travel beside it ([`super::control::ContainerFds`]). Both directions of the socket treat what arrives as
//! untrusted, so nothing here is a path or a descriptor of the host that the receiver would have to believe.

use std::collections::BTreeMap;

use oci_spec::runtime::LinuxSeccomp;
use serde::{Deserialize, Serialize};

/// Version of these structures and of the control protocol. A sentry serves exactly the version of the binary that started it.
pub const PROTOCOL_VERSION: u32 = 2;

/// What holds for the whole sandbox, given to the sentry when it starts.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct SandboxConfig {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub version: u32,
    /// The sandbox's id: the id of its first container.
    pub id: String,
    /// How guest code is run.
    pub platform: PlatformChoice,
    /// Whether system calls may go by shared memory.
    #[serde(default)]
    pub fast_path: FastPathChoice,
    /// Where the network comes from.
    pub network: NetworkMode,
    /// Bytes for the buffers of all connections.
    pub network_memory: u64,
    /// Write debug lines to the sentry's standard error.
    pub debug: bool,
    /// System call trace to the sentry's standard error.
    pub strace: StraceConfig,
    /// A container of it may connect to sockets of the host.
    pub host_sockets: bool,
    /// The sentry's standard error is a log that somebody asked for.
    pub has_log: bool,
    /// The only uid (as seen in the sentry's user namespace by `SO_PEERCRED`) that may use the control socket.
    pub control_uid: u32,
    /// Count of the CPUs that guests may use (affinity and quota of the sandbox); 0 means unknown.
    pub cpus: u32,
}

/// `--platform`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PlatformChoice {
    /// Seccomp user notification; where the host refuses it the kernel says so and uses ptrace.
    #[default]
    Notify,
    /// Ptrace (SYSEMU).
    Ptrace,
}

/// `--fast-path`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FastPathChoice {
    /// Every call traps.
    #[default]
    Off,
    /// The first suitable call site of the sandbox is patched (notify only).
    Spike,
}

/// `--network`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The sandbox's own stack on the interfaces of the network namespace.
    #[default]
    Sandbox,
    /// Sockets of the host, through a helper.
    Host,
    /// Loopback only.
    None,
}

/// `--strace` and its filter.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct StraceConfig {
    /// Trace at all.
    pub enabled: bool,
    /// Names and groups of the calls to trace (see `syscalls::strace::filter`); empty means every call.
    pub calls: Vec<String>,
}

/// Everything that the kernel needs to make one container.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ContainerConfig {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub version: u32,
    /// The container's id.
    pub id: String,
    /// The first process.
    pub process: ProcessConfig,
    /// The container's user namespace on the host.
    #[serde(default)]
    pub ids: Option<IdMaps>,
    /// `personality(2)` of the container's processes.
    #[serde(default)]
    pub personality: u32,
    /// The root file system: always tree 0 of the gofer.
    pub root: RootConfig,
    /// Mounts in the order of the spec, to be made after the root.
    pub mounts: Vec<MountConfig>,
    /// Sockets of the host may be connected to.
    #[serde(default)]
    pub host_sockets: bool,
    /// FIFOs of the host may be opened.
    #[serde(default)]
    pub host_fifos: bool,
    /// Most bytes that each overlay keeps; `None`: what its medium has.
    #[serde(default)]
    pub overlay_size: Option<u64>,
    /// Guest-side namespaces that the container gets for itself; those not listed are the sandbox's.
    pub namespaces: NamespaceConfig,
    /// Those that it shares with other containers of the sandbox.
    #[serde(default)]
    pub shared: SharedNamespaces,
    /// UTS node name; `None` keeps the sandbox's.
    pub hostname: Option<String>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// Paths to hide (files by `/dev/null`, directories by an empty read-only tmpfs); those that do not exist are skipped.
    pub masked_paths: Vec<String>,
    /// Paths to make read-only; those that do not exist are skipped.
    pub readonly_paths: Vec<String>,
    /// Device nodes to make in `/dev` beside the default ones.
    pub devices: Vec<DeviceConfig>,
    /// Virtual sysctls by dotted name (`net.ipv4.ip_forward`).
    pub sysctls: BTreeMap<String, String>,
    /// The seccomp profile, evaluated by the kernel on guest calls.
    pub seccomp: Option<LinuxSeccomp>,
    /// What the cgroup allows, for meminfo, cpuinfo and the like.
    pub limits: ResourceLimits,
    /// Path of the container's cgroup as `/proc/self/cgroup` on the host would show it (the guest's view shows `/` when it has a cgroup namespace).
    pub cgroup_path: String,
    /// Annotations of the spec.
    pub annotations: BTreeMap<String, String>,
}

/// A process to start: the container's first, or an exec.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct ProcessConfig {
    /// Argument vector; `args[0]` is looked up in the `PATH` of `env`.
    pub args: Vec<String>,
    /// The program to execute, if not `args[0]`: an absolute path.
    pub program: Option<String>,
    /// Environment as `NAME=value`. `HOME` is added from the container's `/etc/passwd` when missing (as runc does).
    pub env: Vec<String>,
    /// Absolute working directory; created when missing (as runc does).
    pub cwd: String,
    /// User.
    pub user: UserConfig,
    /// Soft and hard limits by Linux's resource number.
    pub rlimits: Vec<RlimitConfig>,
    /// Capability sets.
    pub capabilities: CapabilitySets,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// Descriptor 0-2 is a terminal, which becomes the controlling terminal.
    pub terminal: bool,
    /// Window size in columns and rows, if the spec gave one.
    pub console_size: Option<(u16, u16)>,
    /// `oom_score_adj` of the guest's host processes; `None` keeps the inherited value.
    pub oom_score_adj: Option<i32>,
    /// Nice value, that of the command which starts the process.
    #[serde(default)]
    pub nice: i32,
    /// Scheduling policy (`SCHED_*`).
    #[serde(default)]
    pub policy: i32,
    /// I/O priority as `ioprio_set(2)` has it; 0: none.
    #[serde(default)]
    pub io_priority: i32,
    /// Default actions of signals reach the process even if it is the init of its pid namespace.
    #[serde(default)]
    pub mortal_init: bool,
    /// `LISTEN_FDS`-like extra descriptors begin at guest descriptor 3 when `--preserve-fds` is used; this is their count.
    pub preserved_fds: u32,
}

/// Which ids there are: in the sandbox, on the host, count.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct IdMaps {
    /// Users.
    pub users: Vec<(u32, u32, u32)>,
    /// Groups.
    pub groups: Vec<(u32, u32, u32)>,
}

/// User, groups and umask. Ids are those of the guest.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct UserConfig {
    /// uid (real, effective, saved).
    pub uid: u32,
    /// gid (real, effective, saved).
    pub gid: u32,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
    /// umask; `None` means 0o022.
    pub umask: Option<u32>,
    /// A user name to be looked up in the container's `/etc/passwd` (only `exec --user NAME` uses it); overrides `uid` and `gid`.
    pub name: Option<String>,
}

/// One resource limit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct RlimitConfig {
    /// `RLIMIT_*` number on x86-64.
    pub resource: u32,
    /// Soft limit (`u64::MAX` is infinity).
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// Capability sets as bit masks (bit = `CAP_*` number).
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct CapabilitySets {
    /// Bounding set.
    pub bounding: u64,
    /// Effective set.
    pub effective: u64,
    /// Inheritable set.
    pub inheritable: u64,
    /// Permitted set.
    pub permitted: u64,
    /// Ambient set.
    pub ambient: u64,
}

/// The root file system.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct RootConfig {
    /// Mounted read-only for the guest.
    pub read_only: bool,
    /// Where writes go.
    pub overlay: OverlayMode,
    /// `linux.rootfsPropagation` as `MS_*` bits (`MS_PRIVATE`, `MS_SLAVE`, … with `MS_REC`); 0 if not given.
    pub propagation: u64,
}

/// Where writes to a tree go.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OverlayMode {
    /// Through the gofer to the host.
    #[default]
    None,
    /// Into the sentry's memory, gone with the container.
    Memory,
    /// Into files without names on the host, gone with the container.
    File {
        /// Index of the gofer's scratch tree that they are made in.
        tree: u32,
    },
}

/// One mount.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct MountConfig {
    /// Absolute path in the container; created (directory or file, as the source is) when missing, through the gofer, as runc does.
    pub destination: String,
    /// What is mounted.
    pub kind: MountKind,
    /// `MS_*` flags of the mount itself (`MS_RDONLY`, `MS_NOSUID`, `MS_NODEV`, `MS_NOEXEC`, `MS_NOATIME`, …), without `MS_BIND` and propagation.
    pub flags: u64,
    /// Flags that hold for the whole tree below (`rro`, `rnosuid`, …): same bits as `flags`.
    pub recursive_flags: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, with or without `MS_REC`; 0 if none was asked for.
    pub propagation: u64,
    /// The file system's own options, comma-separated (`mode=755,size=65536k`).
    pub data: String,
    /// The source as shown in `/proc/mounts` (`tmpfs`, `proc`, …); for trees the kernel shows what it thinks right.
    pub source: String,
    /// Copy what the root has at `destination` into a new tmpfs (`tmpcopyup`).
    pub copy_up: bool,
}

/// What a mount shows.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A tree of the container's gofer (a bind mount of the host).
    Tree {
        /// Index in the gofer's list of trees.
        index: u32,
        /// The source is a directory (else a single file, socket, FIFO or device).
        directory: bool,
        /// Where writes go.
        overlay: OverlayMode,
        /// Device number when the source is a character or block device that the guest gets as its own virtual one (`/dev/null` and its kin).
        device: Option<(u32, u32)>,
        /// Device and inode number of the source: mounts with the same ones share locks, FIFOs and sockets.
        #[serde(default)]
        source: Option<(u64, u64)>,
    },
    /// A fresh tmpfs.
    Tmpfs,
    /// The guest's procfs.
    Proc,
    /// The guest's sysfs.
    Sysfs,
    /// A fresh devpts instance.
    Devpts,
    /// POSIX message queues of the container's ipc namespace.
    Mqueue,
    /// The view of the container's cgroup.
    Cgroup,
    /// devtmpfs.
    Devtmpfs,
}

/// Which namespaces the container has for itself inside the guest kernel.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one flag per namespace type")]
pub struct NamespaceConfig {
    /// Own pid namespace (else the sandbox's).
    pub pid: bool,
    /// Own ipc namespace.
    pub ipc: bool,
    /// Own uts namespace.
    pub uts: bool,
    /// Own mount namespace.
    pub mount: bool,
    /// Own network namespace.
    pub network: bool,
    /// Own cgroup namespace.
    pub cgroup: bool,
    /// Own user namespace.
    pub user: bool,
}

/// Namespaces of other containers of the sandbox, by container id, that a container joins.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct SharedNamespaces {
    /// Whose network.
    pub network: Option<String>,
    /// Whose System V IPC and message queues.
    pub ipc: Option<String>,
    /// Whose host name.
    pub uts: Option<String>,
    /// Whose pids.
    pub pid: Option<String>,
}

/// A device node in the container.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Absolute path in the container.
    pub path: String,
    /// `c`, `b`, `u` or `p`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Limits of the container's cgroup that the guest can see.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct ResourceLimits {
    /// Memory limit in bytes.
    pub memory: Option<u64>,
    /// Memory and swap together, in bytes.
    pub memory_swap: Option<u64>,
    /// CPU quota in microseconds per period.
    pub cpu_quota: Option<u64>,
    /// CPU period in microseconds.
    pub cpu_period: Option<u64>,
    /// CPU shares.
    pub cpu_shares: Option<u64>,
    /// CPUs of the cpuset, as numbers of the host, ascending.
    pub cpuset: Option<Vec<u32>>,
    /// Processes and threads.
    pub pids: Option<u64>,
}
