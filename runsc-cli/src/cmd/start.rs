//! `start`.

use anyhow::{Context, Result, anyhow, bail};

use crate::boot::client::Client;
use crate::boot::config::{CapabilitySets, ProcessConfig};
use crate::boot::control::{ExitStatus, Target};
use crate::launch::hooks::{self, Point};
use crate::launch::settings::Settings;
use crate::launch::teardown;
use crate::net;
use crate::spec::capabilities;
use crate::state::{Container, Status};

/// Starts a created container.
pub fn run(settings: &Settings, id: &str) -> Result<()> {
    let container = Container::open(&settings.root, id)?;
    match container.state.status() {
        Status::Created => {}
        Status::Stopped => bail!("cannot start a container that has stopped"),
        Status::Running => bail!("cannot start an already running container"),
        other => bail!("cannot start a container in the {other} state"),
    }
    let mut container = container;
    start(settings, &mut container)
}

/// Starts a container that the caller holds and knows to be created.
pub fn start(settings: &Settings, container: &mut Container) -> Result<()> {
    let client = super::connect(&settings.root, &container.state)?;
    let capture = settings.open_pcap(&container.state.id)?;
    let network = net::take_over(&mut container.state, capture)?;
    // What was changed in the namespace is undone by whoever deletes the container.
    container.save()?;
    start_container_hooks(&client, container).inspect_err(|_| stop(container))?;
    client
        .start(&container.state.id, network)
        .map_err(|error| {
            anyhow!(
                "unable to start container process: {}",
                crate::launch::sentence(&error)
            )
        })?;
    container.state.started = true;
    container.save()?;
    let text = container.state.for_hook(Status::Running);
    hooks::run(
        &hooks::at(container.state.hooks.as_ref(), Point::Poststart),
        &text,
    )
    .inspect_err(|_| stop(container))
}

/// What a failing hook means for its container, as runc has it: its process is killed, the container stays to be deleted.
fn stop(container: &Container) {
    if let Some(init) = container.state.init {
        let _ = init.kill_and_wait();
    }
}

/// Starts a container and takes it down again if that fails: for `run`.
pub fn start_or_destroy(settings: &Settings, mut container: Container) -> Result<Container> {
    match start(settings, &mut container) {
        Ok(()) => Ok(container),
        Err(error) => {
            let _ = teardown::destroy(container);
            Err(error)
        }
    }
}

/// `startContainer` hooks are programs of the container and run inside it, before its own process does.
fn start_container_hooks(client: &Client, container: &Container) -> Result<()> {
    let list = hooks::at(container.state.hooks.as_ref(), Point::StartContainer);
    for (index, hook) in list.iter().enumerate() {
        let target = Target {
            container: container.state.id.clone(),
            exec: Some(format!("hook-{index}")),
        };
        let all = capabilities::ALL;
        let process = ProcessConfig {
            args: hook
                .args()
                .clone()
                .filter(|args| !args.is_empty())
                .unwrap_or_else(|| vec![hook.path().display().to_string()]),
            program: Some(hook.path().display().to_string()),
            env: hook.env().clone().unwrap_or_default(),
            cwd: "/".into(),
            capabilities: CapabilitySets {
                bounding: all,
                effective: all,
                inheritable: 0,
                permitted: all,
                ambient: 0,
            },
            ..ProcessConfig::default()
        };
        let status = run_inside(
            client,
            target,
            process,
            &container.state.for_hook(Status::Created),
        )
        .with_context(|| format!("error running hook #{index}"))?;
        if status != ExitStatus::Exited(0) {
            bail!(
                "error running hook #{index}: error running hook: exit status {}, stdout: , stderr: ",
                status.code()
            );
        }
    }
    Ok(())
}

fn run_inside(
    client: &Client,
    target: Target,
    process: ProcessConfig,
    input: &str,
) -> Result<ExitStatus> {
    use std::io::{Seek, SeekFrom, Write};
    let mut stdin = crate::launch::seal::scratch("hook-input")?;
    stdin.write_all(input.as_bytes())?;
    stdin.seek(SeekFrom::Start(0))?;
    let null = || std::fs::OpenOptions::new().write(true).open("/dev/null");
    client.exec(
        target.clone(),
        process,
        &[(0, stdin.into()), (1, null()?.into()), (2, null()?.into())],
    )?;
    client.wait(target)
}
