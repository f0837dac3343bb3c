//! `exec`: another process in a running container.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Process;

use crate::boot::config::{CapabilitySets, ProcessConfig};
use crate::boot::control::{SignalScope, Target};
use crate::cli::ExecArgs;
use crate::launch::console::Console;
use crate::launch::create::preserved_fds;
use crate::launch::foreground::{self, Signals};
use crate::launch::process::ProcessId;
use crate::launch::settings::Settings;
use crate::launch::{proxy, seal};
use crate::report;
use crate::spec::{capabilities, load, process};
use crate::state::{self, Container, State, Status};

/// Exit code when the process could not be started, as runc has it.
const NOT_STARTED: u8 = 255;

/// Runs a process; answers its exit code.
pub fn run(settings: &Settings, args: &ExecArgs) -> Result<u8> {
    inner(settings, args).or_else(|error| {
        report::error(&format!("exec failed: {}", crate::launch::sentence(&error)));
        Ok(NOT_STARTED)
    })
}

fn inner(settings: &Settings, args: &ExecArgs) -> Result<u8> {
    if args.process.is_none() && args.command.is_empty() {
        bail!("process args cannot be empty");
    }
    let container = Container::open(&settings.root, &args.id)?;
    match container.state.status() {
        Status::Stopped | Status::Creating => bail!("cannot exec in a stopped container"),
        Status::Paused if !args.ignore_paused => {
            bail!("cannot exec in a paused container (use --ignore-paused to override)")
        }
        _ => {}
    }
    let preserved = preserved_fds(args.preserve_fds)?;
    let config = process_config(&container.state, args, u32::try_from(preserved.len())?)?;
    let signals = if args.detach {
        None
    } else {
        Some(Signals::collect()?)
    };
    let console = Console::prepare(
        config.terminal,
        args.console_socket.as_deref(),
        args.detach,
        config.console_size,
    )?;
    let proxy = start(settings, &container.state, config, &console, &preserved)
        .context("unable to start container process")?;
    if let Some(path) = &args.pid_file
        && let Err(error) = state::write_atomically(path, proxy.pid.to_string().as_bytes())
    {
        let _ = proxy.kill_and_wait();
        bail!(
            "cannot write the pid file {}: {}",
            path.display(),
            crate::launch::errno_text(&error)
        );
    }
    let Some(signals) = signals else { return Ok(0) };
    // Other commands may act on the container while we wait.
    drop(container);
    Ok(foreground::wait(proxy, &signals, console.into_master())?.code)
}

/// Starts the proxy, then the process, then lets the proxy go.
fn start(
    settings: &Settings,
    state: &State,
    config: ProcessConfig,
    console: &Console,
    preserved: &[(u32, OwnedFd)],
) -> Result<ProcessId> {
    let Some(init) = state.init else {
        bail!("container not running")
    };
    let client = super::connect(&settings.root, state)?;
    let target = Target {
        container: state.id.clone(),
        exec: Some(token()?),
    };
    let program = seal::program()?;
    let oom_score = config.oom_score_adj;
    let waiting = proxy::start(proxy::Launch {
        program: program.as_fd(),
        connection: super::connect(&settings.root, state)?.into_stream().into(),
        target: target.clone(),
        network: proxy::Network::SameAs(init),
        cgroup: state.cgroup.as_ref(),
        terminal: console.slave(),
        oom_score,
        root: None,
    })?;
    let id = waiting.id;
    let mut stdio = console.stdio()?;
    for (number, fd) in preserved {
        stdio.push((*number, fd.try_clone()?));
    }
    let started = client
        .exec(target.clone(), config, &stdio)
        .and_then(|_| waiting.release());
    started.inspect_err(|_| {
        let _ = client.signal(target, 9, SignalScope::Process);
        let _ = id.kill_and_wait();
    })
}

/// A name that no other exec of the container has.
fn token() -> Result<String> {
    let mut bytes = [0u8; 8];
    use std::io::Read;
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The process from the file or from the container's own with the flags applied.
fn process_config(state: &State, args: &ExecArgs, preserved: u32) -> Result<ProcessConfig> {
    if args
        .process_label
        .as_ref()
        .is_some_and(|label| !label.is_empty())
    {
        bail!("selinux label is specified in config, but selinux is disabled or not supported");
    }
    if args
        .apparmor
        .as_ref()
        .is_some_and(|profile| !profile.is_empty())
    {
        report::warning(
            "--apparmor is not applied: guest processes make no host calls that it could confine",
        );
    }
    if !args.cgroup.is_empty() {
        bail!("--cgroup is not supported: processes of a container share its cgroup");
    }
    if let Some(path) = &args.process {
        let mut spec = load::process(path)?;
        if args.tty {
            spec.set_terminal(Some(true));
        }
        return process::translate(&spec, preserved);
    }
    let Some(base) = &state.process else {
        bail!("the container's state has no process to take defaults from")
    };
    let mut base: Process = base.clone();
    base.set_args(Some(args.command.clone()));
    // The window of the first process and its command line are its own.
    base.set_terminal(Some(args.tty));
    if let Some(cwd) = &args.cwd {
        base.set_cwd(cwd.into());
    }
    let mut env = base.env().clone().unwrap_or_default();
    env.extend(args.env.iter().cloned());
    base.set_env(Some(env));
    if args.no_new_privs {
        base.set_no_new_privileges(Some(true));
    }
    let mut config = process::translate(&base, preserved)?;
    if !args.tty {
        config.console_size = None;
    }
    for name in &args.cap {
        let Some(bit) = capabilities::bit(name) else {
            report::warning(&format!(
                "ignoring unknown or unavailable capabilities: [{name}]"
            ));
            continue;
        };
        let CapabilitySets {
            bounding,
            effective,
            permitted,
            ..
        } = &mut config.capabilities;
        *bounding |= bit;
        *effective |= bit;
        *permitted |= bit;
    }
    if let Some(user) = &args.user {
        apply_user(&mut config, user);
    }
    if !args.additional_gids.is_empty() {
        config.user.additional_gids.extend(&args.additional_gids);
    }
    Ok(config)
}

/// `uid`, `uid:gid`, `name` or `name:group`; names are looked up in the container by its kernel.
pub fn apply_user(config: &mut ProcessConfig, text: &str) {
    let (user, group) = text
        .split_once(':')
        .map_or((text, None), |(user, group)| (user, Some(group)));
    let group_number = group.map(str::parse::<u32>);
    match (user.parse::<u32>(), group_number) {
        (Ok(uid), None) => config.user.uid = uid,
        (Ok(uid), Some(Ok(gid))) => {
            config.user.uid = uid;
            config.user.gid = gid;
        }
        _ => config.user.name = Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        let user = |text: &str| {
            let mut config = ProcessConfig::default();
            apply_user(&mut config, text);
            (config.user.uid, config.user.gid, config.user.name)
        };
        assert_eq!(user("5"), (5, 0, None));
        assert_eq!(user("5:6"), (5, 6, None));
        assert_eq!(user("www-data"), (0, 0, Some("www-data".into())));
        assert_eq!(user("5:staff"), (0, 0, Some("5:staff".into())));
    }

    #[test]
    fn tokens_differ() {
        assert_ne!(token().unwrap(), token().unwrap());
    }
}
