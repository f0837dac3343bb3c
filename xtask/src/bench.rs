//! `cargo xtask bench`: what programs cost in a sandbox, as ratios to runc measured in the same run.
//!
//! Every round runs each measurement once under every runtime, in turn, so that a machine that gets slower does so for all. Printed are the
//! median of the rounds, their spread, and the ratio of the medians to runc's. Nothing else may run on the machine meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration::bundle::Bundle;

/// Whole commands, measured from outside: name and shell script.
const COMMANDS: &[(&str, &str)] = &[
    ("run true", "exec true"),
    (
        "200 forks by sh",
        "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done",
    ),
    (
        "10 python starts",
        "for i in 1 2 3 4 5 6 7 8 9 10; do python3 -c pass; done",
    ),
    (
        "tar of /usr/lib/python3",
        "tar cf /work/a.tar -C /usr/lib python3; mkdir x; tar xf a.tar -C x; rm -r x a.tar",
    ),
    (
        "find and grep",
        "find /usr/share -type f | xargs grep -l zebra > /dev/null; true",
    ),
    (
        "git: 300 files",
        "git init -q .; for i in $(seq 300); do echo $i > f$i; done; git add .; git -c user.name=a -c user.email=a@b commit -qm x; git status -s",
    ),
    (
        "gcc of a program",
        "printf '#include <stdio.h>\\n#include <stdlib.h>\\nint main(){puts(\"x\");return 0;}' > a.c; gcc -O2 a.c -o a; ./a > /dev/null",
    ),
];

/// One runtime: its column's name, and its command line up to `run`.
struct Runtime {
    name: String,
    program: PathBuf,
    flags: Vec<String>,
}

/// Samples by measurement, then by runtime, in the order of first appearance.
#[derive(Default)]
struct Table {
    order: Vec<String>,
    samples: BTreeMap<(String, usize), Vec<f64>>,
}

impl Table {
    fn add(&mut self, name: &str, runtime: usize, value: f64) {
        if !self.order.iter().any(|known| known == name) {
            self.order.push(name.to_owned());
        }
        self.samples
            .entry((name.to_owned(), runtime))
            .or_default()
            .push(value);
    }
}

/// Runs `rounds` rounds and prints the table; `--release` builds are what counts, so that is the binary taken.
pub(crate) fn run(rounds: usize, only: Option<&str>) -> Result<()> {
    ensure!(rounds > 0, "the number of rounds must not be 0");
    let runsc = built()?;
    let tree = crate::rootfs::cache().join("rootfs");
    ensure!(
        tree.join("bin").exists(),
        "the Debian tree is missing: run cargo xtask rootfs first"
    );
    let mut runtimes = vec![Runtime {
        name: "runc".into(),
        program: "runc".into(),
        flags: vec![],
    }];
    for platform in ["notify", "ptrace"] {
        let flags = vec![
            "--platform".to_owned(),
            platform.to_owned(),
            "--network=none".to_owned(),
        ];
        runtimes.push(Runtime {
            name: platform.into(),
            program: runsc.clone(),
            flags,
        });
    }
    let scratch = tempdir()?;
    let guest = scratch.join("bench");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/bench.c");
    let built = Command::new("cc")
        .args(["-static", "-O2", "-pthread", "-o"])
        .arg(&guest)
        .arg(source)
        .status()
        .context("cannot run cc")?;
    ensure!(built.success(), "cc could not build the guest program");
    let mut table = Table::default();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for index in 0..runtimes.len() {
            // Each round begins with another runtime.
            let index = (index + round) % runtimes.len();
            let runtime = &runtimes[index];
            if only.is_none_or(|only| only == "calls") {
                let (output, _) = timed(runtime, &tree, Some(&guest), &["/bench"])?;
                for line in output.lines() {
                    let (name, ns) = line
                        .split_once(' ')
                        .context("the guest program printed no number")?;
                    table.add(&format!("{name} (µs)"), index, ns.parse::<f64>()? / 1000.0);
                }
            }
            if only.is_none_or(|only| only == "commands") {
                for (name, script) in COMMANDS {
                    let (_, time) = timed(runtime, &tree, None, &["/bin/sh", "-c", script])?;
                    table.add(&format!("{name} (ms)"), index, time.as_secs_f64() * 1000.0);
                }
            }
            if only.is_none_or(|only| only == "idle") && index > 0 {
                let (pss, cpu) = idle(runtime, &tree)?;
                table.add("idle sandbox, PSS (MiB)", index, pss);
                table.add("idle sandbox, CPU (ms in 5 s)", index, cpu);
            }
        }
    }
    fs::remove_dir_all(scratch)?;
    print(&table, &runtimes, rounds);
    Ok(())
}

/// The release binary, built now.
fn built() -> Result<PathBuf> {
    let status = Command::new("cargo")
        .args(["build", "--release", "-p", "runsc-cli", "--bin", "runsc"])
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "runsc could not be built");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    Ok(fs::canonicalize(
        target.join("x86_64-unknown-linux-gnu/release/runsc"),
    )?)
}

fn tempdir() -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("runsc-bench-{}", std::process::id()));
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

fn command(runtime: &Runtime, bundle: &Bundle) -> Command {
    let mut command = Command::new(&runtime.program);
    command
        .arg("--root")
        .arg(bundle.path().join("state"))
        .args(&runtime.flags);
    command.current_dir(bundle.path()).stdin(Stdio::null());
    command
}

/// Runs `args` in a fresh bundle: its output, and the time from before `run` to after it.
fn timed(
    runtime: &Runtime,
    tree: &Path,
    guest: Option<&Path>,
    args: &[&str],
) -> Result<(String, Duration)> {
    let bundle = Bundle::new(tree, args).map_err(anyhow::Error::msg)?;
    if let Some(guest) = guest {
        fs::copy(guest, bundle.rootfs().join("bench"))?;
    }
    let id = format!("bench-{}", std::process::id());
    let start = Instant::now();
    let output = command(runtime, &bundle)
        .args(["run", &id])
        .output()
        .with_context(|| format!("cannot run {}", runtime.program.display()))?;
    let time = start.elapsed();
    if !output.status.success() {
        bail!(
            "{} {args:?}: {} {}",
            runtime.name,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), time))
}

/// Memory (MiB of PSS) and CPU time (ms in 5 s) of all processes of a sandbox whose program sleeps.
fn idle(runtime: &Runtime, tree: &Path) -> Result<(f64, f64)> {
    let bundle = Bundle::new(tree, &["/bin/sleep", "1000"]).map_err(anyhow::Error::msg)?;
    let id = format!("bench-idle-{}", std::process::id());
    let ok = |args: &[&str]| -> Result<()> {
        // Its descriptors stay open in the container: no pipe may wait for their end.
        let status = command(runtime, &bundle)
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        ensure!(status.success(), "{} {args:?}: {status}", runtime.name);
        Ok(())
    };
    let before = processes()?;
    ok(&["create", &id])?;
    ok(&["start", &id])?;
    std::thread::sleep(Duration::from_secs(2));
    let ours: Vec<i32> = processes()?
        .into_iter()
        .filter(|pid| !before.contains(pid))
        .filter(|&pid| is_sandbox(pid))
        .collect();
    let result = (|| {
        ensure!(!ours.is_empty(), "no process of the sandbox was found");
        let cpu = || ours.iter().map(|&pid| cpu_ms(pid)).sum::<f64>();
        let start = cpu();
        std::thread::sleep(Duration::from_secs(5));
        let used = cpu() - start;
        let pss: f64 = ours.iter().map(|&pid| pss_mib(pid)).sum();
        Ok((pss, used))
    })();
    ok(&["delete", "--force", &id])?;
    result
}

fn processes() -> Result<Vec<i32>> {
    Ok(fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

fn is_sandbox(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("runsc"))
}

fn cpu_ms(pid: i32) -> f64 {
    // In nanoseconds: the time on a CPU of each thread (proc(5), schedstat).
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0.0;
    };
    let ns: u64 = tasks
        .flatten()
        .filter_map(|task| {
            fs::read_to_string(task.path().join("schedstat"))
                .ok()?
                .split(' ')
                .next()?
                .parse::<u64>()
                .ok()
        })
        .sum();
    ns as f64 / 1e6
}

fn pss_mib(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("Pss:")?
            .split_whitespace()
            .next()?
            .parse::<f64>()
            .ok()
    });
    kib.unwrap_or(0.0) / 1024.0
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

/// Three significant digits at most.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn print(table: &Table, runtimes: &[Runtime], rounds: usize) {
    println!("Median of {rounds} rounds, lowest–highest; × is the ratio to runc's median.\n");
    println!(
        "| | {} |",
        runtimes
            .iter()
            .map(|r| r.name.as_str())
            .collect::<Vec<_>>()
            .join(" | ")
    );
    println!("| --- |{}", " --- |".repeat(runtimes.len()));
    for name in &table.order {
        let mut base = None;
        let mut cells = Vec::new();
        for index in 0..runtimes.len() {
            let Some(samples) = table.samples.get(&(name.clone(), index)) else {
                cells.push("—".to_owned());
                continue;
            };
            let mut sorted = samples.clone();
            sorted.sort_by(f64::total_cmp);
            let middle = median(&sorted);
            let mut cell = format!(
                "{} ({}–{})",
                short(middle),
                short(sorted[0]),
                short(sorted[sorted.len() - 1])
            );
            match base {
                None if index == 0 => base = Some(middle),
                Some(base) => cell += &format!(" **{}×**", short(middle / base)),
                None => {}
            }
            cells.push(cell);
        }
        println!("| {name} | {} |", cells.join(" | "));
    }
}
