//! `kill`.

use anyhow::{Result, bail};

use crate::boot::control::{SignalScope, Target};
use crate::cli::KillArgs;
use crate::launch::settings::Settings;
use crate::state::{Container, Status};

/// Highest signal number.
const MAX_SIGNAL: u32 = 64;

/// `SIGTERM`.
const TERM: u32 = 15;

/// Names of signals 1 to 31 without `SIG`.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Other names for the same.
const ALIASES: [(&str, u32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];

/// Sends a signal.
pub fn run(settings: &Settings, args: &KillArgs) -> Result<()> {
    let signal = match args.signal.as_str() {
        // As runc has it.
        "" => TERM,
        // No signal: whether it could be sent.
        "0" => 0,
        text => parse_signal(text)?,
    };
    let container = Container::open(&settings.root, &args.id)?;
    match container.state.status() {
        // Nothing is left to be killed, and callers clean up this way.
        Status::Stopped if args.all => {
            kill_rest(settings, &container, signal);
            return Ok(());
        }
        Status::Stopped | Status::Creating => bail!("container not running"),
        Status::Created | Status::Running | Status::Paused => {}
    }
    if signal == 0 {
        return Ok(());
    }
    let scope = if args.all {
        SignalScope::All
    } else {
        SignalScope::Process
    };
    let client = super::connect(&settings.root, &container.state)?;
    client.signal(
        Target {
            container: args.id.clone(),
            exec: None,
        },
        signal,
        scope,
    )
}

/// Where the pid namespace is another container's, processes outlive the container's first one: callers end them this way.
fn kill_rest(settings: &Settings, container: &Container, signal: u32) {
    if container.state.sandbox == container.state.id {
        return;
    }
    let target = Target {
        container: container.state.id.clone(),
        exec: None,
    };
    if let Ok(client) = super::connect(&settings.root, &container.state) {
        // A sandbox that has ended has no processes.
        let _ = client.signal(target, signal, SignalScope::All);
    }
}

/// Reads `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+1`, `SIGRTMAX-2`.
pub fn parse_signal(text: &str) -> Result<u32> {
    if let Ok(number) = text.parse::<u32>() {
        if (1..=MAX_SIGNAL).contains(&number) {
            return Ok(number);
        }
        bail!("unknown signal {text:?}");
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return Ok(u32::try_from(index + 1).unwrap_or(0));
    }
    if let Some((_, number)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Ok(*number);
    }
    // glibc keeps 32 and 33 for itself: its SIGRTMIN is 34.
    let real_time = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest, '+').map(|offset| 34 + offset)
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest, '-').and_then(|offset| MAX_SIGNAL.checked_sub(offset))
    } else {
        None
    };
    match real_time {
        Some(number) if (34..=MAX_SIGNAL).contains(&number) => Ok(number),
        _ => bail!("unknown signal {text:?}"),
    }
}

fn offset(rest: &str, sign: char) -> Option<u32> {
    if rest.is_empty() {
        Some(0)
    } else {
        rest.strip_prefix(sign)?
            .parse()
            .ok()
            .filter(|offset| *offset <= 30)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGTERM", 15),
            ("sigusr1", 10),
            ("RTMIN", 34),
            ("SIGRTMIN+2", 36),
            ("RTMAX-1", 63),
            ("CLD", 17),
        ] {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        for text in [
            "", "0", "65", "-1", "FOO", "RTMIN+31", "RTMAX-40", "SIG", "RTMIN-1",
        ] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
    }
}
