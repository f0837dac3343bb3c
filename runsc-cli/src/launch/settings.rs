//! The global flags, resolved.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Spec;
use syscalls::strace::filter;

use super::userns;
use crate::boot::config::{FastPathChoice, NetworkMode, PlatformChoice, StraceConfig};
use crate::cgroup::Manager;
use crate::cli::{CgroupManager, Global, HostAccess};
use crate::config::Config;
use crate::spec::overlay::{self, Overlay};
use crate::state::root;

/// What the global flags mean for this run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory of all containers' state.
    pub root: PathBuf,
    /// `--platform`.
    pub platform: PlatformChoice,
    /// `--fast-path`.
    pub fast_path: FastPathChoice,
    /// `--network`, if given.
    pub network: Option<NetworkMode>,
    /// `--pcap`.
    pub pcap: Option<PathBuf>,
    /// `--network-memory`, in bytes.
    pub network_memory: u64,
    /// `--debug`.
    pub debug: bool,
    /// `--debug-log`.
    pub debug_log: Option<PathBuf>,
    /// `--strace`.
    pub strace: StraceConfig,
    /// `--overlay2`, if given.
    pub overlay: Option<Overlay>,
    /// No cgroups at all.
    pub no_cgroups: bool,
    /// Go on without a cgroup when it cannot be made.
    pub cgroups_optional: bool,
    /// systemd for `--systemd-cgroup` or `--cgroup-manager=systemd`.
    pub cgroup_manager: Manager,
    /// `--host-uds`.
    pub host_uds: HostAccess,
    /// `--host-fifo`.
    pub host_fifo: HostAccess,
    /// What file and environment said, for annotations.
    pub config: Config,
}

/// Refuses what is no call to trace before a sandbox is started.
fn check_calls(calls: &[String]) -> Result<()> {
    filter::parse(calls)
        .map(drop)
        .map_err(|what| anyhow::anyhow!("--strace-syscalls: {what}"))
}

/// Bytes for connections' buffers: at least what a few of them need.
fn network_memory(text: &str) -> Result<u64> {
    const LEAST: u64 = 1 << 20;
    match overlay::bytes(text) {
        Some(bytes) if bytes >= LEAST => Ok(bytes),
        _ => bail!("--network-memory={text}: expected at least 1m"),
    }
}

/// Refuses what cannot be given.
fn check_host_access(sockets: HostAccess, fifos: HostAccess) -> Result<()> {
    if matches!(sockets, HostAccess::Create | HostAccess::All) {
        bail!(
            "--host-uds: sockets that guests bind cannot be reached from the host yet: use none or open"
        );
    }
    if matches!(fifos, HostAccess::Create | HostAccess::All) {
        bail!("--host-fifo: expected none or open");
    }
    Ok(())
}

impl Settings {
    /// Resolves the flags.
    pub fn new(global: &Global, config: Config) -> Result<Self> {
        let unprivileged = !userns::is_root() || userns::in_user_namespace();
        let cgroups_optional = match global.rootless.as_str() {
            "true" => true,
            "false" => false,
            "auto" => unprivileged,
            other => bail!("--rootless={other}: expected true, false or auto"),
        };
        check_calls(&global.strace_syscalls)?;
        check_host_access(global.host_uds, global.host_fifo)?;
        Ok(Self {
            root: root::resolve(global.root.as_deref())?,
            platform: global.platform,
            fast_path: global.fast_path,
            network: global.network,
            pcap: global.pcap.clone(),
            network_memory: network_memory(&global.network_memory)?,
            debug: global.debug,
            debug_log: global.debug_log.clone(),
            strace: StraceConfig {
                enabled: global.strace,
                calls: global.strace_syscalls.clone(),
            },
            overlay: global.overlay2.as_deref().map(Overlay::parse).transpose()?,
            no_cgroups: global.cgroup_manager == CgroupManager::Disabled,
            cgroups_optional,
            cgroup_manager: if global.systemd_cgroup
                || global.cgroup_manager == CgroupManager::Systemd
            {
                Manager::Systemd
            } else {
                Manager::Cgroupfs
            },
            host_uds: global.host_uds,
            host_fifo: global.host_fifo,
            config,
        })
    }

    /// The settings for one container: with the flags that its annotations set, if they may.
    pub fn for_container(&self, spec: &Spec) -> Result<Self> {
        let mut settings = self.clone();
        let annotations = spec.annotations().iter().flatten();
        for (name, value) in self.config.from_annotations(annotations)? {
            settings.set(&name, &value).with_context(|| {
                format!("the annotation that sets the flag {name} to {value:?}")
            })?;
        }
        Ok(settings)
    }

    /// Sets a flag that concerns one container and names no path of the host.
    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        fn choice<T: clap::ValueEnum>(value: &str) -> Result<T> {
            T::from_str(value, false).map_err(|words| anyhow::anyhow!(words))
        }
        let flag = || value.parse::<bool>().context("expected true or false");
        match name {
            "platform" => self.platform = choice(value)?,
            "network" => self.network = Some(choice(value)?),
            "debug" => self.debug = flag()?,
            "strace" => self.strace.enabled = flag()?,
            "strace-syscalls" => {
                self.strace.calls = value.split(',').map(str::to_owned).collect();
                check_calls(&self.strace.calls)?;
            }
            "overlay2" => self.overlay = Some(Overlay::parse(value)?),
            "host-uds" => {
                self.host_uds = choice(value)?;
                check_host_access(self.host_uds, self.host_fifo)?;
            }
            "host-fifo" => {
                self.host_fifo = choice(value)?;
                check_host_access(self.host_uds, self.host_fifo)?;
            }
            _ => bail!("this flag concerns more than one container"),
        }
        Ok(())
    }

    /// Writes a line to the debug log of a sandbox, if there is one.
    pub fn note_in_debug_log(&self, id: &str, line: &str) {
        use std::io::Write;
        if let Ok(Some(mut file)) = self.open_debug_log(id) {
            let _ = writeln!(file, "{line}");
        }
    }

    /// Opens the file that a sandbox's packets are captured to: `DIR/ID.pcap` when the flag ends in a slash. What was in it goes.
    pub fn open_pcap(&self, id: &str) -> Result<Option<File>> {
        let Some(path) = &self.pcap else {
            return Ok(None);
        };
        let path = if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            std::fs::create_dir_all(path)
                .with_context(|| format!("cannot make {}", path.display()))?;
            path.join(format!("{id}.pcap"))
        } else {
            path.clone()
        };
        let file = File::create(&path)
            .with_context(|| format!("cannot write the capture {}", path.display()))?;
        Ok(Some(file))
    }

    /// Opens the debug log of a sandbox: a file, or `DIR/ID.log` when the flag ends in a slash.
    pub fn open_debug_log(&self, id: &str) -> Result<Option<File>> {
        let Some(path) = &self.debug_log else {
            return Ok(None);
        };
        let path = if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            std::fs::create_dir_all(path)
                .with_context(|| format!("cannot make {}", path.display()))?;
            path.join(format!("{id}.log"))
        } else {
            path.clone()
        };
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot open the debug log {}", path.display()))?;
        Ok(Some(file))
    }
}
