//! `debug`: looking into a sandbox.

use anyhow::{Result, bail};

use crate::cli::DebugArgs;
use crate::launch::settings::Settings;
use crate::state::Container;

/// Prints what was asked for.
pub fn run(settings: &Settings, args: &DebugArgs) -> Result<()> {
    if !args.stacks && !args.ps && !args.counters && args.strace.is_none() {
        bail!("nothing to do: give --stacks, --ps, --counters or --strace");
    }
    let state = Container::peek(&settings.root, &args.id)?;
    let client = super::connect(&settings.root, &state)?;
    if args.ps {
        crate::report::print(format_args!(
            "{:>8} {:>8} {:>8} {:>6} NAME",
            "PID", "PPID", "HOSTPID", "UID"
        ));
        for process in client.processes(&args.id)? {
            crate::report::print(format_args!(
                "{:>8} {:>8} {:>8} {:>6} {}",
                process.pid,
                process.parent,
                process.host_pid,
                process.uid,
                printable(&process.name)
            ));
        }
    }
    if args.stacks {
        print!("{}", printable(&client.stacks()?));
    }
    if args.counters {
        print!("{}", printable(&client.counters()?));
    }
    if let Some(calls) = &args.strace {
        let calls = if calls == "off" { "none" } else { calls };
        client.strace(&[calls.to_owned()])?;
    }
    Ok(())
}

/// The sandbox may be hostile: nothing that a terminal would act upon.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                '?'
            } else {
                c
            }
        })
        .collect()
}
