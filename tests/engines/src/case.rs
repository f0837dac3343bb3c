//! Scripts of `cases/ENGINE/`, run in the engine's world once with each runtime; what runc shows is what runsc must show.
//!
//! A script's first lines may be comments of these kinds:
//! - `# smoke`: it is part of the slice that every change runs.
//! - `# alone`: it gets a world of its own, since it kills or restarts the engine.
//! - `# only runsc: REASON`: runc cannot be the oracle; lines `#> TEXT` are what it must print.
//!
//! It is run by `sh -eu` after `cases/ENGINE/lib.sh`, with `RUNTIME` and a `NAME` of its own in the environment, and must exit with 0.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::{DEADLINE_CODE, Observation, observe};

use crate::world::World;

/// A script that runs longer hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// One script.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name: the file's without `.sh`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is in the smoke slice.
    pub smoke: bool,
    /// Whether it needs a world of its own.
    pub alone: bool,
    /// What it prints, if runc cannot tell.
    pub expected: Option<String>,
}

/// Programs of ours that cases call, as `RUNSC`, `TERMINAL` and `CRI`.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The runtime under test.
    pub runsc: PathBuf,
    /// `engines-terminal`.
    pub terminal: PathBuf,
    /// `engines-cri`.
    pub cri: PathBuf,
}

/// The scripts of an engine, by name.
///
/// # Panics
/// When they cannot be read.
#[must_use]
pub fn all(engine: &str) -> Vec<Case> {
    let directory = directory(engine);
    let entries = fs::read_dir(&directory)
        .unwrap_or_else(|e| panic!("cannot read {}: {e}", directory.display()));
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "sh") && !path.ends_with("lib.sh"))
        .collect();
    paths.sort();
    paths.into_iter().map(read).collect()
}

fn directory(engine: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("cases")
        .join(engine)
}

fn read(path: PathBuf) -> Case {
    let text =
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    let expected = text
        .lines()
        .any(|line| line.starts_with("# only runsc: "))
        .then(|| {
            text.lines()
                .filter_map(|line| line.strip_prefix("#> "))
                .map(|line| format!("{line}\n"))
                .collect()
        });
    Case {
        name: path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        smoke: text.lines().any(|line| line == "# smoke"),
        alone: text.lines().any(|line| line == "# alone"),
        path,
        expected,
    }
}

/// Runs a case with one runtime; names and ids are replaced by words in what it printed.
#[must_use]
pub fn run(
    world: &World,
    engine: &str,
    case: &Case,
    runtime: &str,
    programs: &Programs,
) -> Observation {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("case{:04}", NEXT.fetch_add(1, Ordering::Relaxed));
    let scratch = world.directory().join(&name);
    let mut command = world.command("sh");
    command
        .args([
            "-euc",
            r#"mkdir -p "$SCRATCH"; cd "$SCRATCH"; . "$0"; . "$1""#,
        ])
        .arg(directory(engine).join("lib.sh"))
        .arg(&case.path)
        .env("RUNTIME", runtime)
        .env("NAME", &name)
        .env("SCRATCH", &scratch)
        .env("TERMINAL", &programs.terminal)
        .env("CRI", &programs.cri)
        .env("RUNSC", &programs.runsc)
        .env("CACHE", crate::image::cache())
        .env("LC_ALL", "C.UTF-8");
    let mut seen = observe(&mut command, None, DEADLINE);
    seen.stdout = normalised(&seen.stdout, runtime, &name);
    seen
}

/// What differs between any two runs, replaced: the runtime's name, the case's own name, ids.
fn normalised(text: &str, runtime: &str, name: &str) -> String {
    let text = text
        .replace(runtime, "RUNTIME")
        .replace("runc create failed", "RUNTIME create failed")
        .replace("runsc create failed", "RUNTIME create failed")
        .replace(name, "NAME");
    let mut out = String::with_capacity(text.len());
    let mut run = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_digit() || ('a'..='f').contains(&c) {
            run.push(c);
            continue;
        }
        if run.len() == 64 || run.len() == 12 && run.contains(|c: char| c.is_ascii_digit()) {
            out.push_str("ID");
        } else {
            out.push_str(&run);
        }
        run.clear();
        out.push(c);
    }
    out.pop();
    out
}

/// Why `seen` is not what it must be, if it is not.
///
/// # Errors
/// The difference, for people.
pub fn judge(case: &Case, oracle: Option<&Observation>, seen: &Observation) -> Result<(), String> {
    let wanted = match (&case.expected, oracle) {
        (Some(expected), _) => Observation {
            code: 0,
            stdout: expected.clone(),
            stderr: String::new(),
        },
        (None, Some(oracle)) if oracle.code != 0 => {
            let how = if oracle.code == DEADLINE_CODE {
                "was killed at its deadline".to_owned()
            } else {
                format!("ended with code {}", oracle.code)
            };
            return Err(format!("runc, the oracle, {how}\n{}", oracle.transcript()));
        }
        (None, Some(oracle)) => Observation {
            code: oracle.code,
            stdout: oracle.stdout.clone(),
            stderr: String::new(),
        },
        (None, None) => return Err("there is no oracle".to_owned()),
    };
    if wanted.agrees_with(seen) {
        Ok(())
    } else {
        Err(wanted.difference(seen))
    }
}
