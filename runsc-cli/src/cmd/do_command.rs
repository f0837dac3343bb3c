//! `do`: a command in a sandbox over this machine's files. The root is read through the gofer; what is written stays in the sandbox's memory.

use std::io::IsTerminal;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Spec;
use serde_json::json;

use super::exec::apply_user;
use super::run::run_order;
use crate::boot::config::{NetworkMode, ProcessConfig};
use crate::cli::DoArgs;
use crate::launch::cleaner::Cleaner;
use crate::launch::create::Order;
use crate::launch::settings::Settings;
use crate::launch::userns;
use crate::report;
use crate::spec::capabilities;
use crate::spec::overlay::Overlay;

/// Runs the command; answers its exit code.
pub fn run(settings: &Settings, args: DoArgs) -> Result<u8> {
    let mut settings = settings.clone();
    if settings.overlay.is_none() {
        settings.overlay = Some(Overlay::root_in_memory());
    }
    let root = userns::is_root() && !userns::in_user_namespace();
    if settings.network.is_none() && !root {
        settings.network = Some(NetworkMode::None);
        report::warning(
            "the sandbox has no network but its own loopback: making one needs root (--network=none says so without this line)",
        );
    }
    let link = settings.network.unwrap_or(NetworkMode::Sandbox) == NetworkMode::Sandbox;
    // A command for a moment gets a cgroup where it can have one, and runs without where it cannot.
    settings.cgroups_optional = true;
    let id = format!("do-{}-{}", std::process::id(), start_stamp());
    let bundle = args
        .root_dir
        .canonicalize()
        .with_context(|| format!("--root-dir {}", args.root_dir.display()))?;
    let order = Order {
        id: &id,
        spec: spec(&args)?,
        bundle,
        console_socket: None,
        detached: false,
        preserve_fds: 0,
        pid_file: None,
        mortal_init: true,
        link,
    };
    // However this command ends, nothing of its sandbox outlives it.
    let _cleaner = Cleaner::start(&settings.root, &id)?;
    run_order(&settings, order, false)
}

/// Makes ids of successive runs differ although pids come round.
fn start_stamp() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| u64::from(since.subsec_nanos()))
}

/// The spec of the sandbox.
fn spec(args: &DoArgs) -> Result<Spec> {
    let cwd = match &args.cwd {
        Some(cwd) if cwd.starts_with('/') => cwd.clone(),
        Some(cwd) => bail!("--cwd {cwd}: must be an absolute path"),
        None if args.root_dir.as_os_str() == "/" => std::env::current_dir()
            .ok()
            .and_then(|dir| dir.to_str().map(str::to_owned))
            .unwrap_or_else(|| "/".into()),
        None => "/".into(),
    };
    // Terminal only when all three are one: a pipe must stay a pipe.
    let terminal = std::io::stdin().is_terminal()
        && std::io::stdout().is_terminal()
        && std::io::stderr().is_terminal();
    let mut user = ProcessConfig::default();
    if let Some(text) = &args.user {
        apply_user(&mut user, text);
        if user.user.name.is_some() {
            bail!("--user {text}: expected uid or uid:gid");
        }
    }
    let env: Vec<String> = std::env::vars_os()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value.to_str()?)))
        .collect();
    let all = &capabilities::NAMES[..];
    let value = json!({
        "ociVersion": crate::spec::SPEC_VERSION,
        "process": {
            "terminal": terminal,
            "user": {"uid": user.user.uid, "gid": user.user.gid},
            "args": args.command,
            "env": env,
            "cwd": cwd,
            "capabilities": {"bounding": all, "effective": all, "permitted": all}
        },
        "root": {"path": args.root_dir, "readonly": false},
        "hostname": nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "runsc".into()),
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "nodev", "noexec"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]
        }
    });
    let mut spec: Spec = serde_json::from_value(value)?;
    // Each sandbox below the caller's own cgroup, so that the caller's limits hold for it.
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(Some(format!("runsc-do-{}", std::process::id()).into()));
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spec_is_one_that_validates() {
        let args = DoArgs {
            root_dir: "/".into(),
            cwd: Some("/tmp".into()),
            user: Some("1:2".into()),
            command: vec!["true".into()],
        };
        let spec = spec(&args).unwrap();
        crate::spec::validate::validate(&spec, "/".as_ref()).unwrap();
        assert_eq!(spec.process().clone().unwrap().user().gid(), 2);
        assert!(
            super::spec(&DoArgs {
                cwd: Some("x".into()),
                ..args
            })
            .is_err()
        );
    }
}
