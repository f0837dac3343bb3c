//! `update`: changes the limits of a running container's cgroup.

use std::io::Read;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use crate::cli::UpdateArgs;
use crate::launch::settings::Settings;
use crate::state::{Container, Status};

/// Largest resources file.
const MAX_INPUT: u64 = 1 << 20;

/// Applies the new limits.
pub fn run(settings: &Settings, args: &UpdateArgs) -> Result<()> {
    let resources = resources(args)?;
    let container = Container::open(&settings.root, &args.id)?;
    if matches!(container.state.status(), Status::Stopped | Status::Creating) {
        bail!("container not running");
    }
    let Some(cgroup) = &container.state.cgroup else {
        bail!("the container has no cgroup whose limits could be changed")
    };
    cgroup.update(&resources)?;
    // The guest sees memory and CPU limits: its kernel is told what holds now.
    let limits = cgroup.limits();
    super::connect(&settings.root, &container.state)?.update(&args.id, limits)
}

fn resources(args: &UpdateArgs) -> Result<LinuxResources> {
    let value = match args.resources.as_deref() {
        Some("-") => serde_json::from_reader(std::io::stdin().take(MAX_INPUT))
            .context("cannot read the resources from standard input")?,
        Some(path) => {
            let file = std::fs::File::open(path).with_context(|| format!("open {path}"))?;
            serde_json::from_reader(file.take(MAX_INPUT))
                .with_context(|| format!("cannot read {path}"))?
        }
        None => from_flags(args),
    };
    serde_json::from_value(value).context("cannot read the resources")
}

fn from_flags(args: &UpdateArgs) -> Value {
    fn object(entries: Vec<(&str, Option<Value>)>) -> Value {
        Value::Object(
            entries
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?)))
                .collect::<Map<_, _>>(),
        )
    }
    object(vec![
        (
            "memory",
            Some(object(vec![
                ("limit", args.memory.map(Value::from)),
                ("reservation", args.memory_reservation.map(Value::from)),
                ("swap", args.memory_swap.map(Value::from)),
            ])),
        ),
        (
            "cpu",
            Some(object(vec![
                ("period", args.cpu_period.map(Value::from)),
                ("quota", args.cpu_quota.map(Value::from)),
                ("shares", args.cpu_share.map(Value::from)),
                ("cpus", args.cpuset_cpus.clone().map(Value::from)),
                ("mems", args.cpuset_mems.clone().map(Value::from)),
            ])),
        ),
        ("pids", args.pids_limit.map(|limit| json!({"limit": limit}))),
        (
            "blockIO",
            args.blkio_weight.map(|weight| json!({"weight": weight})),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn flags_become_resources() {
        let cli = crate::cli::Cli::try_parse_from([
            "runsc",
            "update",
            "--memory",
            "1000",
            "--memory-swap=-1",
            "--pids-limit",
            "5",
            "x",
        ])
        .unwrap();
        let crate::cli::Command::Update(args) = cli.command else {
            panic!("not update")
        };
        let resources = resources(&args).unwrap();
        let memory = resources.memory().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(1000), Some(-1)));
        assert_eq!(resources.pids().unwrap().limit(), 5);
        assert!(resources.cpu().clone().unwrap().quota().is_none());
    }
}
