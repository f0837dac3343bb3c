//! The command line: every flag that callers of runc pass, parsed by clap after Go's single-dash long flags were put right.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::boot::config::{FastPathChoice, NetworkMode, PlatformChoice};

/// Everything on the command line.
#[derive(Parser, Debug)]
#[command(
    name = "runsc",
    about = "an OCI runtime whose containers run on a kernel in user space",
    disable_version_flag = true,
    args_override_self = true,
    subcommand_required = true,
    arg_required_else_help = false
)]
pub struct Cli {
    /// Flags before the command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags before the command. Go's style of boolean flags (`--debug=true`) is accepted.
#[derive(Args, Debug, Clone)]
pub struct Global {
    /// Directory for the state of containers
    #[arg(long)]
    pub root: Option<PathBuf>,
    /// File that error messages are appended to
    #[arg(long)]
    pub log: Option<PathBuf>,
    /// Format of the log file
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Write debug messages
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub debug: bool,
    /// File, or directory when it ends in '/', for debug messages and system call traces of the sandbox
    #[arg(long)]
    pub debug_log: Option<PathBuf>,
    /// Trace the guests' system calls to the debug log
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub strace: bool,
    /// Calls to trace, comma-separated: names and groups as %file, %desc, %network, %process, %signal, %memory, %ipc; '!' first for all others
    #[arg(long, alias = "strace-calls", value_delimiter = ',')]
    pub strace_syscalls: Vec<String>,
    /// How guest code is run
    #[arg(long, value_enum, default_value = "notify")]
    pub platform: PlatformChoice,
    /// System calls by shared memory: off, or the spike of it (one call site, for measurements)
    #[arg(long, value_enum, default_value = "off")]
    pub fast_path: FastPathChoice,
    /// Where the sandbox's network comes from
    #[arg(long, value_enum)]
    pub network: Option<NetworkMode>,
    /// File that the sandbox's packets are captured to when it starts, as tcpdump does; DIR/ID.pcap when it ends in '/'
    #[arg(long)]
    pub pcap: Option<PathBuf>,
    /// Most memory for the buffers of a sandbox's connections: bytes, perhaps with k, m or g
    #[arg(long, default_value = "256m")]
    pub network_memory: String,
    /// Where writes go: none (to the host), or root:MEDIUM or all:MEDIUM (bind mounts, too), where MEDIUM is memory, self or dir=PATH, perhaps with ,size=BYTES
    #[arg(long)]
    pub overlay2: Option<String>,
    /// Run without root privileges: true, false or auto
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "auto", default_missing_value = "true")]
    pub rootless: String,
    /// Let systemd manage cgroups
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub systemd_cgroup: bool,
    /// Who manages cgroups
    #[arg(long, value_enum, default_value = "cgroupfs")]
    pub cgroup_manager: CgroupManager,
    /// Unix sockets of the host in the container's files: none, open, create or all
    #[arg(long, value_enum, default_value = "none")]
    pub host_uds: HostAccess,
    /// FIFOs of the host in the container's files: none or open
    #[arg(long, value_enum, default_value = "none")]
    pub host_fifo: HostAccess,
    /// Accepted for compatibility
    #[arg(long, hide = true)]
    pub criu: Option<PathBuf>,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub enum LogFormat {
    /// `time="…" level=error msg="…"`.
    Text,
    /// One JSON object a line.
    Json,
}

/// `--cgroup-manager`.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub enum CgroupManager {
    /// The runtime writes to cgroupfs.
    Cgroupfs,
    /// systemd.
    Systemd,
    /// No cgroups at all.
    Disabled,
}

/// `--host-uds`, `--host-fifo`.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostAccess {
    /// Refused.
    None,
    /// Existing ones may be opened (connected to).
    Open,
    /// New ones may be made on the host.
    Create,
    /// Both.
    All,
}

impl HostAccess {
    /// Whether existing ones may be opened.
    #[must_use]
    pub fn opens(self) -> bool {
        matches!(self, Self::Open | Self::All)
    }
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Create a container
    Create(CreateArgs),
    /// Start the process of a created container
    Start(IdArgs),
    /// Create and start a container, and wait for it unless detached
    Run(RunArgs),
    /// Print a container's state as JSON
    State(IdArgs),
    /// Send a signal to a container
    Kill(KillArgs),
    /// Delete a container and all that it holds
    Delete(DeleteArgs),
    /// List containers
    List(ListArgs),
    /// Show the processes of a container
    Ps(PsArgs),
    /// Run another process in a container
    Exec(ExecArgs),
    /// Suspend all processes of a container
    Pause(IdArgs),
    /// Resume a paused container
    Resume(IdArgs),
    /// Wait for a container and print how it ended
    Wait(WaitArgs),
    /// Write a starter config.json
    Spec(SpecArgs),
    /// Print what this runtime supports as JSON
    Features,
    /// Run a command in a sandbox over this machine's files
    Do(DoArgs),
    /// Look into a sandbox
    Debug(DebugArgs),
    /// Print statistics
    Events(EventsArgs),
    /// Change resource limits
    Update(UpdateArgs),
    /// Tell Docker or containerd of this runtime
    Install(InstallArgs),
    /// Take this runtime out of Docker's or containerd's configuration
    Uninstall(UninstallArgs),
    /// Not supported: refused whatever follows, `--help` included, from which Podman would conclude that it is
    #[command(hide = true, disable_help_flag = true)]
    Checkpoint(AnyArgs),
    /// Not supported
    #[command(hide = true, disable_help_flag = true)]
    Restore(AnyArgs),
}

/// Whatever is on the command line.
#[derive(Args, Debug)]
pub struct AnyArgs {
    /// Not read
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub words: Vec<std::ffi::OsString>,
}

/// An engine whose configuration `install` knows.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub enum Engine {
    /// Docker's `daemon.json`.
    Docker,
    /// containerd's `config.toml`.
    Containerd,
}

/// `install`.
#[derive(Args, Debug)]
pub struct InstallArgs {
    /// The engine (default: those that this machine has)
    #[arg(long, value_enum)]
    pub engine: Option<Engine>,
    /// Its configuration file (default: the one in /etc)
    #[arg(long, alias = "config_file")]
    pub config_file: Option<PathBuf>,
    /// The runtime's name there
    #[arg(long, default_value = "runsc")]
    pub runtime: String,
    /// Replace another runtime of this name
    #[arg(long)]
    pub clobber: bool,
    /// Global flags that Docker is to pass
    #[arg(last = true)]
    pub flags: Vec<String>,
}

/// `uninstall`.
#[derive(Args, Debug)]
pub struct UninstallArgs {
    /// The engine (default: those that this machine has)
    #[arg(long, value_enum)]
    pub engine: Option<Engine>,
    /// Its configuration file (default: the one in /etc)
    #[arg(long, alias = "config_file")]
    pub config_file: Option<PathBuf>,
    /// The runtime's name there
    #[arg(long, default_value = "runsc")]
    pub runtime: String,
}

/// A command with nothing but an id.
#[derive(Args, Debug)]
pub struct IdArgs {
    /// Container id
    #[arg(value_name = "container-id")]
    pub id: String,
}

/// What `create` and `run` share.
#[derive(Args, Debug, Clone)]
pub struct CreateArgs {
    /// Container id
    #[arg(value_name = "container-id")]
    pub id: String,
    /// Bundle directory
    #[arg(long, short, default_value = ".")]
    pub bundle: PathBuf,
    /// Unix socket that receives the master of the terminal
    #[arg(long)]
    pub console_socket: Option<PathBuf>,
    /// File to write the pid to
    #[arg(long)]
    pub pid_file: Option<PathBuf>,
    /// Accepted for compatibility: the sandbox never uses the host's pivot_root for guests
    #[arg(long)]
    pub no_pivot: bool,
    /// Accepted for compatibility: guests have no host keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Further descriptors for the container
    #[arg(long, default_value = "0")]
    pub preserve_fds: u32,
}

/// `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// What `create` takes.
    #[command(flatten)]
    pub create: CreateArgs,
    /// Do not wait for the container
    #[arg(long, short)]
    pub detach: bool,
    /// Do not delete the container when it exits
    #[arg(long)]
    pub keep: bool,
    /// Accepted for compatibility
    #[arg(long)]
    pub no_subreaper: bool,
}

/// `kill`.
#[derive(Args, Debug)]
pub struct KillArgs {
    /// Container id
    #[arg(value_name = "container-id")]
    pub id: String,
    /// Signal name or number
    #[arg(default_value = "TERM", allow_hyphen_values = true)]
    pub signal: String,
    /// Send it to all processes of the container
    #[arg(long, short)]
    pub all: bool,
}

/// `delete`.
#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// Container id
    #[arg(value_name = "container-id")]
    pub id: String,
    /// Kill the container if it still runs; an unknown id is no error
    #[arg(long, short)]
    pub force: bool,
}

/// `table` or `json`.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub enum OutputFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// `list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Output format
    #[arg(long, short, value_enum, default_value = "table")]
    pub format: OutputFormat,
    /// Ids only
    #[arg(long, short)]
    pub quiet: bool,
}

/// `ps`.
#[derive(Args, Debug)]
pub struct PsArgs {
    /// Output format
    #[arg(long, short, value_enum, default_value = "table")]
    pub format: OutputFormat,
    /// Container id
    #[arg(value_name = "container-id")]
    pub id: String,
    /// Options for the host's ps
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<String>,
}

/// `exec`.
#[derive(Args, Debug)]
pub struct ExecArgs {
    /// Unix socket that receives the master of the terminal
    #[arg(long)]
    pub console_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long)]
    pub cwd: Option<String>,
    /// NAME=value for the environment
    #[arg(long, short)]
    pub env: Vec<String>,
    /// Allocate a terminal
    #[arg(long, short)]
    pub tty: bool,
    /// uid[:gid] or name[:group]
    #[arg(long, short, allow_hyphen_values = true)]
    pub user: Option<String>,
    /// Additional group ids
    #[arg(long, short = 'g')]
    pub additional_gids: Vec<u32>,
    /// File with the process as JSON
    #[arg(long, short)]
    pub process: Option<PathBuf>,
    /// Do not wait
    #[arg(long, short)]
    pub detach: bool,
    /// File to write the pid to
    #[arg(long)]
    pub pid_file: Option<PathBuf>,
    /// Accepted and refused if given a value that SELinux would have to honour
    #[arg(long)]
    pub process_label: Option<String>,
    /// AppArmor profile: not supported
    #[arg(long)]
    pub apparmor: Option<String>,
    /// Set no_new_privs
    #[arg(long)]
    pub no_new_privs: bool,
    /// Add a capability
    #[arg(long, short)]
    pub cap: Vec<String>,
    /// Further descriptors for the process
    #[arg(long, default_value = "0")]
    pub preserve_fds: u32,
    /// Sub-cgroup to run in
    #[arg(long)]
    pub cgroup: Vec<String>,
    /// Allow it in a paused container
    #[arg(long)]
    pub ignore_paused: bool,
    /// Container id
    #[arg(value_name = "container-id")]
    pub id: String,
    /// Command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// `wait`.
#[derive(Args, Debug)]
pub struct WaitArgs {
    /// Container id
    #[arg(value_name = "container-id")]
    pub id: String,
}

/// `spec`.
#[derive(Args, Debug)]
pub struct SpecArgs {
    /// Bundle directory
    #[arg(long, short, default_value = ".")]
    pub bundle: PathBuf,
    /// For a rootless container
    #[arg(long)]
    pub rootless: bool,
}

/// `do`.
#[derive(Args, Debug)]
pub struct DoArgs {
    /// Directory shown as the root
    #[arg(long, default_value = "/")]
    pub root_dir: PathBuf,
    /// Working directory (default: the current one)
    #[arg(long)]
    pub cwd: Option<String>,
    /// uid[:gid]
    #[arg(long, short)]
    pub user: Option<String>,
    /// Command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub command: Vec<String>,
}

/// `debug`.
#[derive(Args, Debug)]
pub struct DebugArgs {
    /// Container id
    #[arg(value_name = "container-id")]
    pub id: String,
    /// Print every guest thread's state and the call it is in
    #[arg(long)]
    pub stacks: bool,
    /// Print the container's guest processes
    #[arg(long)]
    pub ps: bool,
    /// Print how often which system calls were answered ENOSYS or EOPNOTSUPP
    #[arg(long)]
    pub counters: bool,
    /// Trace these system calls to the sandbox's debug log from now on: all, off, or as --strace-syscalls
    #[arg(long, value_name = "CALLS")]
    pub strace: Option<String>,
}

/// `events`.
#[derive(Args, Debug)]
pub struct EventsArgs {
    /// Container id
    #[arg(value_name = "container-id")]
    pub id: String,
    /// Print the statistics once and exit
    #[arg(long)]
    pub stats: bool,
    /// Time between two prints, as Go writes durations (5s, 500ms)
    #[arg(long, default_value = "5s")]
    pub interval: String,
}

/// `update`.
#[derive(Args, Debug)]
pub struct UpdateArgs {
    /// Container id
    #[arg(value_name = "container-id")]
    pub id: String,
    /// JSON file with linux.resources, '-' for standard input
    #[arg(long, short)]
    pub resources: Option<String>,
    /// Memory limit in bytes
    #[arg(long, allow_negative_numbers = true)]
    pub memory: Option<i64>,
    /// Memory soft limit in bytes
    #[arg(long, allow_negative_numbers = true)]
    pub memory_reservation: Option<i64>,
    /// Memory and swap in bytes
    #[arg(long, allow_negative_numbers = true)]
    pub memory_swap: Option<i64>,
    /// CPU period in microseconds
    #[arg(long)]
    pub cpu_period: Option<u64>,
    /// CPU quota in microseconds
    #[arg(long, allow_negative_numbers = true)]
    pub cpu_quota: Option<i64>,
    /// CPU shares
    #[arg(long, alias = "cpu-shares")]
    pub cpu_share: Option<u64>,
    /// CPUs
    #[arg(long)]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes
    #[arg(long)]
    pub cpuset_mems: Option<String>,
    /// Limit of processes
    #[arg(long, allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
    /// Block I/O weight
    #[arg(long)]
    pub blkio_weight: Option<u16>,
}

/// Commands whose trailing arguments belong to somebody else: flags end at the first positional one.
const FOREIGN_TAIL: [&str; 3] = ["exec", "do", "ps"];

/// Go's flag package takes `-name` for `--name`: turns those into what clap knows. One-letter flags stay as they are.
#[must_use]
pub fn normalise(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut out = Vec::new();
    let mut foreign = false;
    let mut done = false;
    for (index, arg) in args.into_iter().enumerate() {
        let text = arg.to_str().unwrap_or("");
        if index == 0 || done {
            out.push(arg);
            continue;
        }
        if text == "--" {
            done = true;
        } else if !text.starts_with('-') && FOREIGN_TAIL.contains(&text) {
            // Everything after such a command is left alone: its own flags use two dashes with every caller that we know.
            foreign = true;
        }
        let name = text.trim_start_matches('-').split('=').next().unwrap_or("");
        let single_dash_long = text.starts_with('-')
            && !text.starts_with("--")
            && name.len() > 2
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if single_dash_long && !foreign {
            out.push(OsString::from(format!("-{text}")));
        } else {
            out.push(arg);
        }
    }
    out
}

/// Whether `--version` or `-v` stands among the global flags.
#[must_use]
pub fn asks_for_version(args: &[OsString]) -> bool {
    let command = <Cli as clap::CommandFactory>::command();
    let takes_next = |flag: &str| {
        command.get_arguments().any(|known| {
            known
                .get_long()
                .is_some_and(|long| flag.strip_prefix("--") == Some(long))
                && known.get_action().takes_values()
                && !known.is_require_equals_set()
        })
    };
    let mut args = args.iter().skip(1).map(|arg| arg.to_string_lossy());
    while let Some(arg) = args.next() {
        match arg.as_ref() {
            "--version" | "-v" => return true,
            "--" => return false,
            flag if takes_next(flag) => drop(args.next()),
            flag if flag.starts_with('-') => {}
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> Vec<String> {
        normalise(words.iter().map(OsString::from))
            .into_iter()
            .map(|w| w.into_string().unwrap())
            .collect()
    }

    #[test]
    fn single_dash_long_flags_are_accepted_as_go_does() {
        assert_eq!(
            run(&["runsc", "-root", "/r", "run", "-no-subreaper", "-d", "x"]),
            ["runsc", "--root", "/r", "run", "--no-subreaper", "-d", "x"]
        );
        assert_eq!(
            run(&["runsc", "exec", "x", "ls", "-lah"]),
            ["runsc", "exec", "x", "ls", "-lah"]
        );
    }

    #[test]
    fn version_among_global_flags() {
        let asks = |words: &[&str]| {
            asks_for_version(&words.iter().map(OsString::from).collect::<Vec<_>>())
        };
        assert!(asks(&["runsc", "--version"]));
        assert!(asks(&[
            "runsc", "--root", "list", "--debug", "--log=x", "-v"
        ]));
        assert!(!asks(&["runsc", "--root", "--version", "list"]));
        assert!(!asks(&["runsc", "exec", "x", "prog", "--version"]));
    }

    #[test]
    fn repeated_globals_and_go_booleans_parse() {
        let cli = Cli::try_parse_from([
            "runsc",
            "--systemd-cgroup",
            "--root=/a",
            "--systemd-cgroup=true",
            "--root",
            "/b",
            "state",
            "x",
        ])
        .unwrap();
        assert!(cli.global.systemd_cgroup);
        assert_eq!(cli.global.root.unwrap(), PathBuf::from("/b"));
    }

    #[test]
    fn everything_behind_exec_belongs_to_the_guest() {
        let cli = Cli::try_parse_from([
            "runsc",
            "exec",
            "-e",
            "A=1",
            "-t",
            "x",
            "sh",
            "-c",
            "echo --root",
        ])
        .unwrap();
        let Command::Exec(exec) = cli.command else {
            panic!("not exec")
        };
        assert!(exec.tty);
        assert_eq!(exec.command, ["sh", "-c", "echo --root"]);
    }
}
