//! Every case with Debian's runc first, then with ours on each platform; notes must be the same or differ as `expected-differences.txt` says.
//!
//! Arguments, after `cargo test -p lifecycle --test oracle --`: words that a case's name must contain, `--list`, `--exact`, `--oracle N` (runc only, N
//! times, to see whether a case is steady). Environment: `RUNSC_BIN`, `RUNSC_PLATFORMS` (default `notify`). Needs root, runc and the test tree.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use harness::{Outcome, Trial, begin, run_all, runsc};
use lifecycle::cases::{self, Case};
use lifecycle::{Bench, Runtime, bundle};

type Notes = BTreeMap<String, String>;

/// A line of `expected-differences.txt`.
struct Difference {
    key: String,
    platform: String,
    reason: String,
}

impl Difference {
    fn covers(&self, key: &str, platform: &str) -> bool {
        let named = self
            .key
            .strip_suffix('*')
            .map_or(self.key == key, |start| key.starts_with(start));
        named && (self.platform == "any" || self.platform == platform)
    }
}

fn expected() -> Vec<Difference> {
    let text = include_str!("../expected-differences.txt");
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.splitn(3, ' ').map(|word| word.trim().to_owned());
            match (words.next(), words.next(), words.next()) {
                (Some(key), Some(platform), Some(reason)) if !reason.is_empty() => Difference {
                    key,
                    platform,
                    reason,
                },
                _ => {
                    panic!("expected-differences.txt: {line:?} lacks a key, a platform or a reason")
                }
            }
        })
        .collect()
}

fn main() -> ExitCode {
    let options = match begin() {
        Ok(options) => options,
        Err(code) => return code,
    };
    let missing = missing();
    let expected = Arc::new(expected());
    let all = cases::all();
    for difference in expected.iter() {
        let case = difference
            .key
            .splitn(3, '/')
            .take(2)
            .collect::<Vec<_>>()
            .join("/");
        assert!(
            all.iter().any(|(name, _)| *name == case),
            "expected-differences.txt names {case}, which is no case; remove the line"
        );
    }
    let platforms = std::env::var("RUNSC_PLATFORMS").unwrap_or_else(|_| "notify".to_owned());
    let platforms: Vec<String> = platforms
        .split([',', ' '])
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let program = if options.list || missing.is_some() {
        PathBuf::new()
    } else {
        runsc()
    };
    let trials = all.into_iter().map(|(name, case)| {
        let (missing, expected, platforms, program, oracle) = (
            missing.clone(),
            expected.clone(),
            platforms.clone(),
            program.clone(),
            options.oracle,
        );
        Trial::new(name.clone(), move || match (&missing, oracle) {
            (Some(why), _) => Outcome::Skipped(why.clone()),
            (None, Some(times)) => steady(case, times),
            (None, None) => compare(&name, case, &platforms, &program, &expected),
        })
    });
    run_all(&options, 2, trials.collect())
}

/// Why nothing can be tested here.
fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".into());
    }
    if Command::new("runc").arg("--version").output().is_err() {
        return Some("needs the package runc".into());
    }
    bundle::available().err()
}

fn notes(case: Case, runtime: Runtime) -> Notes {
    let bench = Bench::new(runtime);
    let mut bench = AssertUnwindSafe(bench);
    let result = catch_unwind(AssertUnwindSafe(|| case(&mut bench)));
    let mut bench = bench.0;
    if result.is_err() {
        bench.note("panicked", "the case could not go on: see above");
    }
    bench.into_notes()
}

fn compare(
    name: &str,
    case: Case,
    platforms: &[String],
    program: &std::path::Path,
    expected: &[Difference],
) -> Outcome {
    let oracle = notes(case, Runtime::oracle());
    let mut wrong = String::new();
    let mut as_expected = 0;
    for platform in platforms {
        let ours = notes(case, Runtime::ours(program, platform));
        let relevant: Vec<&Difference> = expected
            .iter()
            .filter(|line| {
                line.key.starts_with(&format!("{name}/"))
                    && (line.platform == "any" || line.platform == *platform)
            })
            .collect();
        let mut used = vec![false; relevant.len()];
        let keys: std::collections::BTreeSet<&String> = oracle.keys().chain(ours.keys()).collect();
        for key in keys {
            let full = format!("{name}/{key}");
            let (theirs, ours) = (oracle.get(key), ours.get(key));
            if theirs == ours {
                continue;
            }
            let known = relevant
                .iter()
                .position(|line| line.covers(&full, platform));
            if let Some(index) = known {
                used[index] = true;
                as_expected += 1;
                continue;
            }
            let text = |value: Option<&String>| {
                value.map_or("(not noted)".to_owned(), |value| format!("{value:?}"))
            };
            wrong += &format!(
                "{full} {platform}\n    runc:  {}\n    runsc: {}\n",
                text(theirs),
                text(ours)
            );
        }
        for (line, used) in relevant.iter().zip(used) {
            if !used && !line.reason.starts_with("by chance:") {
                wrong += &format!(
                    "{} {platform} agrees, though expected-differences.txt says {:?}: remove its line\n",
                    line.key, line.reason
                );
            }
        }
    }
    if wrong.is_empty() {
        Outcome::Passed(format!(
            " ({} notes, {as_expected} differ as expected)",
            oracle.len() * platforms.len()
        ))
    } else {
        Outcome::Failed(wrong)
    }
}

fn steady(case: Case, times: usize) -> Outcome {
    let first = notes(case, Runtime::oracle());
    for _ in 1..times {
        let next = notes(case, Runtime::oracle());
        if let Some((key, value)) = first
            .iter()
            .find(|(key, value)| next.get(*key) != Some(value))
        {
            return Outcome::Failed(format!("{key} varies: {value:?}, then {:?}", next.get(key)));
        }
    }
    Outcome::Passed(format!(" ({} notes)", first.len()))
}
