//! Tests that only our runtime can pass: the `main` of such a test program, on each platform of `RUNSC_PLATFORMS` (default `notify`).

use std::path::PathBuf;
use std::process::ExitCode;

use harness::{Options, Outcome, Trial, begin, run_all, runsc};

use crate::{Bench, Runtime, bundle};

/// A test by itself, on a bench of its own; the error says what did not hold.
pub type Test = fn(&mut Bench) -> Result<(), String>;

/// Runs named tests as the command line asks, in namespaces of their own; skipped where a runtime cannot run at all.
#[must_use]
pub fn run_ours(tests: &'static [(&'static str, Test)]) -> ExitCode {
    let options = match begin() {
        Ok(options) => options,
        Err(code) => return code,
    };
    let (program, missing) = our_program(&options);
    let platforms = std::env::var("RUNSC_PLATFORMS").unwrap_or_else(|_| "notify".to_owned());
    let platforms: Vec<&str> = platforms
        .split([',', ' '])
        .filter(|word| !word.is_empty())
        .collect();
    let trials = tests.iter().flat_map(|(name, test)| {
        platforms
            .iter()
            .map(move |platform| (name, test, *platform))
    });
    let trials = trials.map(|(name, test, platform)| {
        let (missing, runtime) = (missing.clone(), Runtime::ours(&program, platform));
        Trial::new(format!("{name} [{platform}]"), move || match &missing {
            Some(why) => Outcome::Skipped(why.clone()),
            None => match test(&mut Bench::new(runtime.clone())) {
                Ok(()) => Outcome::Passed(String::new()),
                Err(why) => Outcome::Failed(why),
            },
        })
    });
    run_all(&options, 2, trials.collect())
}

/// The binary under test, and why nothing can be tested here, if so; then there is no binary.
#[must_use]
pub fn our_program(options: &Options) -> (PathBuf, Option<String>) {
    let missing = if nix::unistd::geteuid().is_root() {
        bundle::available().err()
    } else {
        Some("needs root".into())
    };
    let program = if options.list || missing.is_some() {
        PathBuf::new()
    } else {
        runsc()
    };
    (program, missing)
}

/// A claim that must hold.
///
/// # Errors
///
/// The claim, where it does not hold.
pub fn check(holds: bool, claim: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(claim.into()) }
}
