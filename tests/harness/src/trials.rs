//! Trials: named closures that pass, fail or are skipped, reported as cargo's own harness would.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How a trial ended.
pub enum Outcome {
    /// It passed; the note, often empty, is printed beside `ok`.
    Passed(String),
    /// It failed; the text goes under the failures.
    Failed(String),
    /// It could not be tried here, and why.
    Skipped(String),
}

/// One test.
pub struct Trial {
    name: String,
    run: Box<dyn Fn() -> Outcome + Send>,
}

impl Trial {
    /// A test of this name.
    pub fn new(name: impl Into<String>, run: impl Fn() -> Outcome + Send + 'static) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

/// What the command line asked for.
#[derive(Default)]
pub struct Options {
    /// A trial must contain one of these words; none means all.
    pub words: Vec<String>,
    /// A word must be a trial's whole name.
    pub exact: bool,
    /// Only name the trials.
    pub list: bool,
    /// `--oracle N`: only native runs, N of each.
    pub oracle: Option<usize>,
}

impl Options {
    /// From the process's arguments.
    ///
    /// # Errors
    /// An unknown flag, as a sentence.
    pub fn from_args() -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--exact" => options.exact = true,
                "--list" => options.list = true,
                "--oracle" => {
                    options.oracle = Some(
                        args.next()
                            .and_then(|n| n.parse().ok())
                            .ok_or("--oracle needs a number of runs")?,
                    )
                }
                // What cargo's own harness takes and means nothing here.
                "--nocapture" | "--quiet" | "-q" | "--include-ignored" | "--show-output" => {}
                flag if flag.starts_with('-') => {
                    return Err(format!(
                        "unknown flag {flag}: known are --list, --exact and --oracle N"
                    ));
                }
                word => options.words.push(word.to_owned()),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        let matches = |word: &String| {
            if self.exact {
                name == word
            } else {
                name.contains(word.as_str())
            }
        };
        self.words.is_empty() || self.words.iter().any(matches)
    }
}

/// Runs the wanted trials on `jobs` threads, a line for each; fails when one failed or when there was none to run.
#[must_use]
pub fn run_all(options: &Options, jobs: usize, all: Vec<Trial>) -> ExitCode {
    let before = all.len();
    let all: VecDeque<Trial> = all
        .into_iter()
        .filter(|trial| options.wants(&trial.name))
        .collect();
    if options.list {
        all.iter()
            .for_each(|trial| println!("{}: test", trial.name));
        return ExitCode::SUCCESS;
    }
    let (total, filtered) = (all.len(), before - all.len());
    println!("\nrunning {total} tests");
    let (queue, failures) = (Mutex::new(all), Mutex::new(Vec::new()));
    let (passed, skipped) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(trial) = { queue.lock().unwrap().pop_front() } {
                    match (trial.run)() {
                        Outcome::Passed(note) => {
                            passed.fetch_add(1, Ordering::Relaxed);
                            println!("test {} ... ok{note}", trial.name);
                        }
                        Outcome::Skipped(why) => {
                            skipped.fetch_add(1, Ordering::Relaxed);
                            println!("test {} ... ignored, {why}", trial.name);
                        }
                        Outcome::Failed(why) => {
                            println!("test {} ... FAILED", trial.name);
                            failures.lock().unwrap().push((trial.name, why));
                        }
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    for (name, why) in &failures {
        println!("\n---- {name} ----\n{why}");
    }
    if !failures.is_empty() {
        println!("\nfailures:");
        failures.iter().for_each(|(name, _)| println!("    {name}"));
    }
    let (passed, skipped, failed) = (passed.into_inner(), skipped.into_inner(), failures.len());
    let good = failed == 0 && (total > 0 || filtered > 0);
    let verdict = if good { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; {filtered} filtered out\n"
    );
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
