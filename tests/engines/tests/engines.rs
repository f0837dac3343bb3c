//! Runs the scripts of `cases/` in real engines, with runc as the oracle.
//!
//! Environment: `ENGINES_ALL=1` (as `cargo xtask engines` sets it) runs every case, else only the smoke slice; `RUNSC_BIN`, `RUNSC_PLATFORMS` (default
//! `notify`), `RUNSC_TEST_CACHE`; `ENGINES_JOBS` (default 2): how many cases run at once.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock};

use engines::case::{self, Case, Programs};
use engines::world::{self, World};
use engines::{containerd, docker, podman, pods};
use harness::{Observation, Outcome, Trial, begin, run_all, runsc};

type Start = fn(&mut World, &Path, &[String]) -> Result<(), String>;

/// An engine and how it is started.
struct Kind {
    name: &'static str,
    needs: &'static [&'static str],
    start: Start,
    /// The name of a runtime for the cases: of runc if `None`, else of runsc on a platform.
    runtime: fn(Option<&str>) -> String,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "docker",
        needs: docker::NEEDS,
        start: docker::start,
        runtime: |platform| platform.map_or("runc".into(), |p| format!("runsc-{p}")),
    },
    Kind {
        name: "containerd",
        needs: containerd::NEEDS,
        start: containerd::start,
        runtime: containerd::runtime,
    },
    Kind {
        name: "cri",
        needs: pods::NEEDS,
        start: pods::start,
        runtime: pods::runtime,
    },
    Kind {
        name: "podman",
        needs: podman::NEEDS,
        start: podman::start,
        runtime: podman::runtime,
    },
];

/// What the trials share.
struct Setup {
    programs: Programs,
    platforms: Vec<String>,
}

/// The world that an engine's cases share, made for the first of them.
struct Shared {
    kind: &'static Kind,
    setup: Arc<Setup>,
    world: OnceLock<Result<World, String>>,
    /// What runc showed, by case.
    oracles: Mutex<std::collections::BTreeMap<String, Arc<Observation>>>,
}

impl Shared {
    fn fresh(&self) -> Result<World, String> {
        let mut world = World::new()?;
        (self.kind.start)(
            &mut world,
            &self.setup.programs.runsc,
            &self.setup.platforms,
        )?;
        Ok(world)
    }

    /// Runs a case under runc (once) and under runsc, and compares.
    fn compare(&self, case: &Case, platform: &str) -> Result<Outcome, String> {
        let own;
        let world = if case.alone {
            own = self.fresh()?;
            &own
        } else {
            self.world
                .get_or_init(|| self.fresh())
                .as_ref()
                .map_err(String::clone)?
        };
        let run =
            |runtime: &str| case::run(world, self.kind.name, case, runtime, &self.setup.programs);
        let oracle = match &case.expected {
            Some(_) => None,
            None => Some(self.oracle(case, || run(&(self.kind.runtime)(None)))),
        };
        let seen = run(&(self.kind.runtime)(Some(platform)));
        case::judge(case, oracle.as_deref(), &seen)?;
        Ok(Outcome::Passed(String::new()))
    }

    fn oracle(&self, case: &Case, run: impl FnOnce() -> Observation) -> Arc<Observation> {
        let known = |shared: &Self| shared.oracles.lock().unwrap().get(&case.name).cloned();
        if let Some(seen) = known(self) {
            return seen;
        }
        let seen = Arc::new(run());
        self.oracles
            .lock()
            .unwrap()
            .insert(case.name.clone(), Arc::clone(&seen));
        seen
    }
}

/// What the machine lacks for an engine, if something.
fn why_not(kind: &Kind) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    world::why_not().or_else(|| {
        kind.needs
            .iter()
            .find(|program| !directories.iter().any(|d| d.join(program).exists()))
            .map(|missing| format!("needs the program {missing}"))
    })
}

fn main() -> ExitCode {
    let options = match begin() {
        Ok(options) => options,
        Err(code) => return code,
    };
    let whole = std::env::var_os("ENGINES_ALL").is_some() || !options.words.is_empty();
    let platforms = std::env::var("RUNSC_PLATFORMS").unwrap_or_else(|_| "notify".to_owned());
    let platforms: Vec<String> = platforms
        .split([',', ' '])
        .filter(|p| !p.is_empty())
        .map(str::to_owned)
        .collect();
    let setup = Arc::new(Setup {
        programs: Programs {
            runsc: if options.list {
                PathBuf::new()
            } else {
                runsc()
            },
            terminal: env!("CARGO_BIN_EXE_engines-terminal").into(),
            cri: env!("CARGO_BIN_EXE_engines-cri").into(),
        },
        platforms: platforms.clone(),
    });
    let mut trials = Vec::new();
    let mut worlds = Vec::new();
    for kind in KINDS {
        let impossible = (!options.list).then(|| why_not(kind)).flatten();
        let shared = Arc::new(Shared {
            kind,
            setup: Arc::clone(&setup),
            world: OnceLock::new(),
            oracles: Mutex::default(),
        });
        worlds.push(Arc::clone(&shared));
        for case in case::all(kind.name) {
            if !(whole || case.smoke) {
                continue;
            }
            for platform in &platforms {
                let name = format!("{}/{} [{platform}]", kind.name, case.name);
                let (case, platform, shared, impossible) = (
                    case.clone(),
                    platform.clone(),
                    Arc::clone(&shared),
                    impossible.clone(),
                );
                trials.push(Trial::new(name, move || match &impossible {
                    Some(why) => Outcome::Skipped(why.clone()),
                    None => shared
                        .compare(&case, &platform)
                        .unwrap_or_else(Outcome::Failed),
                }));
            }
        }
    }
    let jobs = std::env::var("ENGINES_JOBS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(2);
    run_all(&options, jobs, trials)
}
