//! `ps`: the host pids of a container's processes.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cli::{OutputFormat, PsArgs};
use crate::launch::sandbox;
use crate::launch::settings::Settings;
use crate::state::{Container, State, Status};

/// Prints the processes.
pub fn run(settings: &Settings, args: &PsArgs) -> Result<u8> {
    let state = Container::peek(&settings.root, &args.id)?;
    let pids = if matches!(state.status(), Status::Stopped | Status::Creating) {
        Vec::new()
    } else {
        host_pids(settings, &state)?
    };
    match args.format {
        OutputFormat::Json => {
            crate::report::print(format_args!("{}", serde_json::to_string(&pids)?));
            Ok(0)
        }
        OutputFormat::Table => table(&pids, &args.options),
    }
}

/// Guest processes by their pid on the host. What the sandbox says is matched against its real children.
fn host_pids(settings: &Settings, state: &State) -> Result<Vec<i32>> {
    let client = super::connect(&settings.root, state)?;
    let inner: BTreeSet<u32> = client
        .processes(&state.id)?
        .into_iter()
        .map(|process| process.host_pid)
        .collect();
    let sandbox = if state.sandbox == state.id {
        state.sentry
    } else {
        Container::peek(&settings.root, &state.sandbox)?.sentry
    };
    let Some(sentry) = sandbox else {
        return Ok(Vec::new());
    };
    let mut pids: Vec<i32> = sandbox::children(sentry)
        .into_iter()
        .filter(|pid| sandbox::inner_pid(*pid).is_some_and(|inner_pid| inner.contains(&inner_pid)))
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

/// The host's `ps` with the caller's options (default `-ef`), reduced to the container's processes.
fn table(pids: &[i32], options: &[String]) -> Result<u8> {
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() {
        &default[..]
    } else {
        options
    };
    let output = Command::new("ps")
        .args(options)
        .output()
        .context("cannot run the host's ps")?;
    if !output.status.success() {
        bail!("ps: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let Some(header) = lines.next() else {
        return Ok(0);
    };
    let Some(column) = header
        .split_ascii_whitespace()
        .position(|name| name == "PID")
    else {
        bail!("couldn't find PID field in ps output")
    };
    crate::report::print(format_args!("{header}"));
    for line in lines {
        let pid = line
            .split_ascii_whitespace()
            .nth(column)
            .and_then(|word| word.parse::<i32>().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            crate::report::print(format_args!("{line}"));
        }
    }
    Ok(0)
}
