//! `runsc`: an OCI runtime whose containers run on a kernel in user space.
//!
//! Three modules of processes: the commands ([`cmd`]) are short-lived; the helpers they start ([`launch`]: proxy and gofer; [`boot`]: the sentry)
//! are re-executions of a sealed copy of this program with a hidden subcommand as first argument.

#![deny(unsafe_code)]

pub mod boot;
pub mod cgroup;
pub mod cli;
pub mod cmd;
pub mod config;
pub mod host;
pub mod install;
pub mod launch;
pub mod net;
pub mod report;
pub mod spec;
pub mod state;

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use clap::error::ErrorKind;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = helper(&args) {
        return code;
    }
    // Whatever the caller leaked stays out of the processes that we start.
    host::remember_callers_descriptors();
    let _ = host::keep_only(&[]);
    // runc prints the version whatever stands beside the flag.
    let args = cli::normalise(args);
    if cli::asks_for_version(&args) {
        report::print(format_args!("{}", cmd::version::text()));
        return ExitCode::SUCCESS;
    }
    let config = match config::Config::load() {
        Ok(config) => config,
        Err(error) => {
            report::error(&launch::sentence(&error));
            return ExitCode::FAILURE;
        }
    };
    let cli = match cli::Cli::try_parse_from(config.before(args)) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let global = &cli.global;
    let result = report::init(global.log.clone(), global.log_format, global.debug)
        .and_then(|()| launch::settings::Settings::new(global, config))
        .and_then(|settings| cmd::run(cli.command, &settings));
    match result {
        Ok(code) => {
            report::finish();
            ExitCode::from(code)
        }
        Err(error) => {
            report::error(&launch::sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// A command line that cannot be read: clap's words, exit code 1 as runc has it (`--help` is no error).
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        ErrorKind::InvalidSubcommand => ExitCode::from(UNKNOWN_COMMAND),
        _ => ExitCode::FAILURE,
    }
}

/// runc's exit code for a command that it does not know.
const UNKNOWN_COMMAND: u8 = 3;

/// The hidden subcommands of our own re-execution: `NAME --config-fd N`, nothing else.
fn helper(args: &[OsString]) -> Option<ExitCode> {
    let [_, name, flag, number] = args else {
        return None;
    };
    if flag != "--config-fd" {
        return None;
    }
    let number: RawFd = number.to_str()?.parse().ok()?;
    let finish = |result: Result<u8>| match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!(
                "runsc {}: {}",
                name.to_string_lossy(),
                launch::sentence(&error)
            );
            ExitCode::FAILURE
        }
    };
    match name.to_str()? {
        "boot" => Some(finish(boot::sentry::main(number).map(|()| 0))),
        "gofer-serve" => Some(finish(launch::gofer::main(number).map(|()| 0))),
        "proxy" => Some(finish(launch::proxy::main(number))),
        _ => None,
    }
}
