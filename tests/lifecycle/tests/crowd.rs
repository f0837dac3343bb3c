//! Many sandboxes started at once: none fails, all run, and nothing is left of them. Their time is printed beside runc's for the same.
//!
//! Environment: `LIFECYCLE_CROWD` (default 16; the number is 100), `RUNSC_PLATFORMS`.

use std::fs;
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use harness::{Outcome, Trial, begin, run_all};
use lifecycle::{Bench, Runtime, left, our_program};

fn main() -> ExitCode {
    let options = match begin() {
        Ok(options) => options,
        Err(code) => return code,
    };
    let (program, missing) = our_program(&options);
    let size = std::env::var("LIFECYCLE_CROWD")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(16);
    let platforms = std::env::var("RUNSC_PLATFORMS").unwrap_or_else(|_| "notify".to_owned());
    let trials = platforms
        .split([',', ' '])
        .filter(|word| !word.is_empty())
        .map(|platform| {
            let (missing, runtime) = (missing.clone(), Runtime::ours(&program, platform));
            Trial::new(format!("crowd [{platform}]"), move || {
                if let Some(why) = &missing {
                    return Outcome::Skipped(why.clone());
                }
                let theirs = crowd(&Bench::new(Runtime::oracle()), size);
                match (crowd(&Bench::new(runtime.clone()), size), theirs) {
                    (Ok(ours), Ok(theirs)) => Outcome::Passed(format!(
                        " ({size} at once: {} ms, runc {} ms, {:.1} times)",
                        ours.as_millis(),
                        theirs.as_millis(),
                        ours.as_secs_f64() / theirs.as_secs_f64()
                    )),
                    (Ok(ours), Err(why)) => Outcome::Passed(format!(
                        " ({size} at once: {} ms; runc fails: {})",
                        ours.as_millis(),
                        why.lines().next().unwrap_or_default()
                    )),
                    (Err(why), _) => Outcome::Failed(why),
                }
            })
        });
    run_all(&options, 1, trials.collect())
}

/// Starts `size` containers at once and ends them at once; how long the start took.
fn crowd(bench: &Bench, size: usize) -> Result<Duration, String> {
    let ids: Vec<String> = (0..size).map(|n| format!("crowd-{n}")).collect();
    for id in &ids {
        let directory = bench.path(id);
        fs::create_dir(&directory).map_err(|error| error.to_string())?;
        let mut config = bench.config.clone();
        config["process"]["args"] = serde_json::json!(["sleep", "1000"]);
        config["root"]["path"] = serde_json::json!(bench.path("rootfs"));
        config["linux"]["cgroupsPath"] = serde_json::json!(format!("{}/{id}", bench.cgroup));
        fs::write(directory.join("config.json"), config.to_string())
            .map_err(|error| error.to_string())?;
    }
    let bundle_of = |id: &str| bench.path(id).display().to_string();
    let begin = Instant::now();
    all(bench, &ids, |id| {
        vec![
            "run".into(),
            "--detach".into(),
            "--bundle".into(),
            bundle_of(id),
            id.into(),
        ]
    })?;
    let took = begin.elapsed();
    for id in &ids {
        let status = bench.status(id);
        if status != "running" {
            return Err(format!("{id} is {status}"));
        }
    }
    all(bench, &ids, |id| {
        vec!["exec".into(), id.into(), "true".into()]
    })?;
    all(bench, &ids, |id| {
        vec!["delete".into(), "--force".into(), id.into()]
    })?;
    let left = left::of(bench);
    // runc leaves the directory above the containers' cgroups, which it made.
    let left: Vec<&String> = left.iter().filter(|what| *what != "cgroups").collect();
    if left.is_empty() {
        Ok(took)
    } else {
        Err(format!("left behind: {left:?}"))
    }
}

/// One command for each container, all at once; each must succeed.
fn all(
    bench: &Bench,
    ids: &[String],
    arguments: impl Fn(&str) -> Vec<String>,
) -> Result<(), String> {
    let start = |id: &String| -> Result<Child, String> {
        let arguments = arguments(id);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = fs::File::create(bench.path(id).join("said")).map_err(|e| e.to_string())?;
        bench
            .command(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .map_err(|e| e.to_string())
    };
    let children: Vec<Result<Child, String>> = ids.iter().map(start).collect();
    let mut failed = Vec::new();
    for (id, child) in ids.iter().zip(children) {
        let status = child?.wait().map_err(|e| e.to_string())?;
        if !status.success() {
            let said = fs::read_to_string(bench.path(id).join("said")).unwrap_or_default();
            failed.push(format!("{id}: {status}: {}", said.trim()));
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\n"))
    }
}
