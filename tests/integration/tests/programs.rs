//! Real programs in an OCI bundle under runc and under runsc, compared.
//!
//! - `programs/*.sh` on the Debian tree and `languages/*.sh` on the large one: stdout, exit code and the files left in `/work`.
//! - `terminal/*.dialog`: a person at a terminal; every screen, exit code and files.
//!
//! Environment: `RUNSC_BIN`, `RUNSC_FLAGS`; `RUNSC_PLATFORMS`: each program on each of these (default: all on notify, and those of [`SMOKE`] on
//! ptrace as well); `RUNSC_TEST_CACHE` as in `cargo xtask rootfs`, which must have been run; `INTEGRATION_RUNS` (default 1): how often each
//! runs in the sandbox, the last of several pinned to one CPU. `cargo xtask programs` is the whole: both platforms, three runs.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::{Outcome, Trial, begin, run_all, runsc};
use integration::dialog::Dialog;
use integration::runtime::{Runtime, hold, run};

/// A program that runs longer is stuck.
const DEADLINE: Duration = Duration::from_secs(900);

/// What runs on ptrace as well when nobody chooses platforms: processes, threads, a terminal.
const SMOKE: &[&str] = &["programs/bash", "programs/python", "terminal/bash_jobs"];

/// The kinds of programs: the directory, the ending, and the tree they need.
const KINDS: &[(&str, &str, &str)] = &[
    ("programs", "sh", "rootfs"),
    ("terminal", "dialog", "rootfs"),
    ("languages", "sh", "rootfs-languages"),
];

/// What the trials share.
struct Setup {
    runsc: PathBuf,
    runs: usize,
}

/// One trial's program.
struct Program {
    file: PathBuf,
    rootfs: PathBuf,
    platform: String,
}

fn main() -> ExitCode {
    let options = match begin() {
        Ok(options) => options,
        Err(code) => return code,
    };
    let impossible = (!options.list).then(why_not).flatten();
    let setup = Arc::new(Setup {
        runsc: if options.list || impossible.is_some() {
            PathBuf::new()
        } else {
            runsc()
        },
        runs: std::env::var("INTEGRATION_RUNS")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(1),
    });
    let mut trials = Vec::new();
    for (directory, ending, tree) in KINDS {
        let rootfs = cache().join(tree);
        let missing = (!rootfs.join("bin").exists()).then(|| missing(tree));
        for file in files(directory, ending) {
            let name = format!(
                "{directory}/{}",
                file.file_stem().unwrap_or_default().display()
            );
            for platform in platforms(&name) {
                let (setup, impossible) = (
                    Arc::clone(&setup),
                    impossible.clone().or_else(|| missing.clone()),
                );
                let name = format!("{name} [{platform}]");
                let program = Program {
                    file: file.clone(),
                    rootfs: rootfs.clone(),
                    platform,
                };
                trials.push(Trial::new(name, move || match &impossible {
                    Some(why) => Outcome::Skipped(why.clone()),
                    None => compare(&setup, &program).unwrap_or_else(Outcome::Failed),
                }));
            }
        }
    }
    // One at a time: programs start many processes of their own.
    run_all(&options, 1, trials)
}

/// Where a program is tried.
fn platforms(name: &str) -> Vec<String> {
    let chosen = std::env::var("RUNSC_PLATFORMS").unwrap_or_else(|_| {
        let smoke = SMOKE.contains(&name);
        if smoke { "notify ptrace" } else { "notify" }.to_owned()
    });
    chosen
        .split([',', ' '])
        .filter(|p| !p.is_empty())
        .map(str::to_owned)
        .collect()
}

fn cache() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache");
    std::env::var_os("RUNSC_TEST_CACHE").map_or_else(default, PathBuf::from)
}

/// What is missing for these tests, if something is.
fn why_not() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    Command::new("runc")
        .arg("--version")
        .output()
        .is_err()
        .then(|| "needs runc, the native side".to_owned())
}

fn missing(tree: &str) -> String {
    let flag = if tree == "rootfs" {
        ""
    } else {
        " --with-languages"
    };
    format!("needs a Debian tree: run cargo xtask rootfs{flag}")
}

/// The programs of one kind, by name.
fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = std::fs::read_dir(&directory)
        .unwrap_or_else(|e| panic!("cannot read {}: {e}", directory.display()));
    let mut files: Vec<_> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == ending))
        .collect();
    files.sort();
    files
}

/// Passes when every run in the sandbox shows and leaves what the native one does; the note is how long each took,
/// the native run first; both sides of a dialog run at once.
fn compare(setup: &Setup, program: &Program) -> Result<Outcome, String> {
    let mut times = Vec::new();
    let flags = std::env::var("RUNSC_FLAGS").unwrap_or_default();
    let mut words = vec!["--platform", &program.platform];
    words.extend(flags.split_whitespace());
    let sandbox = |number| Runtime::runsc(&setup.runsc, &words, number > 1 && number == setup.runs);
    let mut timed = |at: Instant| times.push(format!("{:.1}", at.elapsed().as_secs_f64()));
    if program.file.extension().is_some_and(|e| e == "dialog") {
        let text = std::fs::read_to_string(&program.file).map_err(|e| e.to_string())?;
        let dialog = Dialog::parse(&text)?;
        for number in 1..=setup.runs {
            let start = Instant::now();
            let sandbox = sandbox(number);
            let [native, sandbox] = hold(&Runtime::runc(), &sandbox, &program.rootfs, &dialog)
                .map_err(|why| format!("run {number}: {why}"))?;
            timed(start);
            if native.0 != sandbox.0 {
                return Err(format!(
                    "run {number}: exit code {} became {}",
                    native.0, sandbox.0
                ));
            }
            same_files(number, &native.1, &sandbox.1)?;
        }
    } else {
        let start = Instant::now();
        let (native, files) = run(&Runtime::runc(), &program.rootfs, &program.file, DEADLINE)?;
        timed(start);
        if native.code != 0 {
            return Err(format!(
                "the native run, the oracle, ended with code {}\n{}",
                native.code,
                native.transcript()
            ));
        }
        for number in 1..=setup.runs {
            let start = Instant::now();
            let (seen, left) = run(&sandbox(number), &program.rootfs, &program.file, DEADLINE)?;
            timed(start);
            if !native.agrees_with(&seen) {
                return Err(format!("run {number}\n{}", native.difference(&seen)));
            }
            same_files(number, &files, &left)?;
        }
    }
    Ok(Outcome::Passed(format!(" ({} s)", times.join(", "))))
}

/// Fails with the lines that only one of the two has.
fn same_files(number: usize, native: &[String], sandbox: &[String]) -> Result<(), String> {
    if native == sandbox {
        return Ok(());
    }
    let only = |sign: char, a: &[String], b: &[String]| {
        a.iter()
            .filter(|l| !b.contains(l))
            .map(|l| format!("{sign} {l}\n"))
            .collect::<String>()
    };
    Err(format!(
        "run {number} left other files\n{}{}",
        only('-', native, sandbox),
        only('+', sandbox, native)
    ))
}
