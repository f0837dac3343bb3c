//! `events`: statistics of the container's cgroup in runc's format.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};

use crate::cli::EventsArgs;
use crate::launch::settings::Settings;
use crate::state::{Container, State, Status};

/// Prints statistics once (`--stats`) or until the container stops.
pub fn run(settings: &Settings, args: &EventsArgs) -> Result<()> {
    let interval = duration(&args.interval)?;
    loop {
        let state = Container::peek(&settings.root, &args.id)?;
        if matches!(state.status(), Status::Stopped | Status::Creating) {
            bail!("container with id {} is not running", args.id);
        }
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &event(settings, &state))?;
        writeln!(out)?;
        out.flush()?;
        if args.stats {
            return Ok(());
        }
        drop(out);
        let Some(init) = state.init.and_then(|init| init.open()) else {
            return Ok(());
        };
        let deadline = std::time::Instant::now() + interval;
        if crate::launch::process::wait_pidfd(std::os::fd::AsFd::as_fd(&init), Some(deadline))? {
            return Ok(());
        }
    }
}

fn event(settings: &Settings, state: &State) -> Value {
    let Some(cgroup) = &state.cgroup else {
        return json!({"type": "stats", "id": state.id, "data": {}});
    };
    let mut data = cgroup.statistics();
    // The host counts helpers and processes that are kept ready, too, and has a wider limit for them: these are the guests' own.
    if let Ok(list) =
        super::connect(&settings.root, state).and_then(|client| client.processes(&state.id))
    {
        data["pids"] = json!({"current": list.len(), "limit": cgroup.limits().pids.unwrap_or(0)});
    }
    json!({"type": "stats", "id": state.id, "data": data})
}

/// Reads Go's simple durations: `5s`, `500ms`, `1m`.
fn duration(text: &str) -> Result<Duration> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number
        .parse()
        .map_err(|_| anyhow!("duration {text:?}: expected a number and ms, s, m or h"))?;
    let millis = match unit {
        "ms" => number,
        "s" => number.saturating_mul(1_000),
        "m" => number.saturating_mul(60_000),
        "h" => number.saturating_mul(3_600_000),
        _ => bail!("duration {text:?}: expected a number and ms, s, m or h"),
    };
    if millis == 0 {
        bail!("duration interval must be greater than 0");
    }
    Ok(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert!(duration("0s").is_err() && duration("5").is_err() && duration("x").is_err());
    }
}
