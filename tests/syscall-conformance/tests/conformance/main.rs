//! Runs every conformance case natively and in the sandbox and compares what they printed and how they ended.
//!
//! The native run is the oracle. A case that differs fails, unless `expected-differences.txt` names it with a reason; a case that is
//! named there and agrees fails too, so that the list only shrinks by being edited.
//!
//! Arguments, after `cargo test -p syscall-conformance --test conformance --`: words that a case's name must contain (any of them),
//! `--list`, `--exact`, and `--oracle N`, which runs only natively, N times each, and fails cases whose output varies.
//!
//! Environment: `RUNSC_BIN` (else the workspace's binary is built), `RUNSC_PLATFORMS` (default `notify`), `RUNSC_FLAGS` (more global
//! flags, split at blanks), `CONFORMANCE_JOBS` (default: as many as CPUs).

mod expected;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use expected::Expected;
use harness::{Observation, Options, Outcome, Trial, observe, run_all, runsc};

/// The program that holds the cases.
const CASES: &str = env!("CARGO_BIN_EXE_conformance-cases");

/// A case that runs longer is stuck.
const DEADLINE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let options = match Options::from_args() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let cases = list();
    let trials = match options.oracle {
        Some(times) => cases
            .into_iter()
            .map(|case| Trial::new(case.clone(), move || steady(&case, times)))
            .collect(),
        None => comparisons(&cases, options.list),
    };
    let jobs = std::env::var("CONFORMANCE_JOBS")
        .ok()
        .and_then(|n| n.parse().ok());
    run_all(
        &options,
        jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from)),
        trials,
    )
}

/// The names of all cases.
fn list() -> Vec<String> {
    let output = Command::new(CASES)
        .arg("--list")
        .output()
        .unwrap_or_else(|e| panic!("cannot run {CASES}: {e}"));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Each case on each platform.
fn comparisons(cases: &[String], only_names: bool) -> Vec<Trial> {
    let expected = Expected::read();
    if let Some(stray) = expected.unknown_case(cases) {
        panic!("expected-differences.txt names {stray}, which is no case; remove the line");
    }
    let shared: Arc<(PathBuf, Expected)> =
        Arc::new((if only_names { PathBuf::new() } else { runsc() }, expected));
    let platforms = std::env::var("RUNSC_PLATFORMS").unwrap_or_else(|_| "notify".to_owned());
    let trial = |case: &String, platform: &str| {
        let (case, platform, shared) = (case.clone(), platform.to_owned(), Arc::clone(&shared));
        Trial::new(format!("{case} [{platform}]"), move || {
            compare(&shared.0, &case, &platform, &shared.1)
        })
    };
    let platforms: Vec<&str> = platforms
        .split([',', ' '])
        .filter(|p| !p.is_empty())
        .collect();
    cases
        .iter()
        .flat_map(|case| platforms.iter().map(move |platform| (case, *platform)))
        .map(|(case, platform)| trial(case, platform))
        .collect()
}

/// Runs a case on the host's own kernel.
fn native(case: &str) -> Observation {
    if !case.starts_with("inet_") {
        return observe(Command::new(CASES).arg(case), None, DEADLINE);
    }
    // As in the sandbox: a network with loopback and nothing else, which the cases may change.
    let script = "ip link set lo up && exec \"$0\" \"$1\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "/bin/sh", "-c", script, CASES, case]);
    observe(&mut command, None, DEADLINE)
}

/// Runs a case in a sandbox over the host's root.
fn sandbox(runsc: &Path, platform: &str, case: &str) -> Observation {
    let mut command = Command::new(runsc);
    command.args(["--platform", platform]);
    command.args(
        std::env::var("RUNSC_FLAGS")
            .unwrap_or_default()
            .split_whitespace(),
    );
    // Below a shell: the first process of a pid namespace is protected from signals, which no native run is.
    let script = "\"$0\" \"$1\"; exit $?";
    observe(
        command.args([
            "--network=none",
            "do",
            "--",
            "/bin/sh",
            "-c",
            script,
            CASES,
            case,
        ]),
        None,
        DEADLINE,
    )
}

/// Passes when the sandbox's run shows what the native one shows, or differs as expected.
fn compare(runsc: &Path, case: &str, platform: &str, expected: &Expected) -> Outcome {
    let native = native(case);
    if native.code != 0 {
        return Outcome::Failed(format!(
            "the native run, the oracle, ended with code {}\n{}",
            native.code,
            native.transcript()
        ));
    }
    let sandbox = sandbox(runsc, platform, case);
    match (
        native.agrees_with(&sandbox),
        expected.reason(case, platform),
    ) {
        (true, None) => Outcome::Passed(String::new()),
        (false, Some(reason)) => Outcome::Passed(format!(" (differs as expected: {reason})")),
        // What depends on the host's scheduler may agree in one run and differ in the next.
        (true, Some(reason)) if reason.starts_with("by chance:") => Outcome::Passed(String::new()),
        (true, Some(reason)) => Outcome::Failed(format!(
            "agrees, though expected-differences.txt says \"{reason}\": remove its line"
        )),
        (false, None) => Outcome::Failed(native.difference(&sandbox)),
    }
}

/// Passes when a case prints the same every time.
fn steady(case: &str, times: usize) -> Outcome {
    let first = native(case);
    if first.code != 0 {
        return Outcome::Failed(format!(
            "ended with code {}\n{}",
            first.code,
            first.transcript()
        ));
    }
    for _ in 1..times {
        let next = native(case);
        if !first.agrees_with(&next) {
            return Outcome::Failed(format!("varies natively\n{}", first.difference(&next)));
        }
    }
    Outcome::Passed(String::new())
}
