//! A contained run leaves nothing, whoever is killed; and one that forgets something fails.
//!
//! The program is its own victim: with `VICTIM` set it makes what tests make (a directory, a mount, a cgroup with a process in it) and does what
//! the variable says.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use harness::{Options, Outcome, Scratch, Trial, contained, run_all, run_name};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn main() -> ExitCode {
    let options = match Options::from_args() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    if let Ok(what) = std::env::var("VICTIM") {
        return contained(&options).unwrap_or_else(|| victim(&what));
    }
    let trials: [(&str, fn() -> Result<(), String>); 3] = [
        ("the_run_is_killed", || killed(true)),
        ("the_inner_program_is_killed", || killed(false)),
        ("what_is_forgotten_is_told", forgotten),
    ];
    let trials = trials.map(|(name, test)| {
        Trial::new(name, move || {
            if !nix::unistd::geteuid().is_root() {
                return Outcome::Skipped("needs root".into());
            }
            match test() {
                Ok(()) => Outcome::Passed(String::new()),
                Err(why) => Outcome::Failed(why),
            }
        })
    });
    run_all(&options, 1, trials.into())
}

fn victim(what: &str) -> ExitCode {
    let scratch = Scratch::new();
    let cgroup = Path::new("/sys/fs/cgroup/pids").join(format!("victim-{}-1", run_name()));
    fs::create_dir_all(cgroup.join("below")).expect("a cgroup");
    if what == "forgets" {
        std::mem::forget(scratch);
        return ExitCode::SUCCESS;
    }
    let none = None::<&str>;
    mount(
        Some("none"),
        scratch.path(),
        Some("tmpfs"),
        MsFlags::empty(),
        none,
    )
    .expect("a tmpfs");
    let sleeper = Command::new("setsid").args(["sleep", "1000"]).spawn();
    let sleeper = sleeper.expect("sleep starts").id();
    fs::write(cgroup.join("below/cgroup.procs"), sleeper.to_string()).expect("a process moves");
    println!("{}", scratch.path().display());
    println!("{}", cgroup.display());
    std::thread::sleep(Duration::from_secs(1000));
    ExitCode::SUCCESS
}

/// This program, run as something else; killed and waited for at the end.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn this_program(what: &str) -> Command {
    let own = std::env::current_exe().expect("a program knows its path");
    let mut command = Command::new(own);
    command
        .env("VICTIM", what)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Every process below one.
fn below(pid: u32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    let children = children
        .split_whitespace()
        .filter_map(|word| word.parse::<u32>().ok());
    children
        .flat_map(|child| {
            let mut all = vec![i32::try_from(child).unwrap_or(0)];
            all.extend(below(child));
            all
        })
        .collect()
}

fn killed(whole: bool) -> Result<(), String> {
    let spawned = this_program("waits").spawn();
    let mut started = Victim(spawned.map_err(|e| e.to_string())?);
    let child = &mut started.0;
    let lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let made = lines.take(2).map_while(Result::ok);
    let made: Vec<PathBuf> = made.map(Into::into).collect();
    let [directory, cgroup] = made.as_slice() else {
        return Err("the victim did not come up".into());
    };
    if !cgroup.join("below").is_dir() {
        return Err("the victim made no cgroup".into());
    }
    let all = below(child.id());
    let comm = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    let victim = if whole {
        i32::try_from(child.id()).unwrap_or(0)
    } else {
        let own = fs::read_to_string("/proc/self/comm").ok();
        let inner = all.iter().find(|pid| comm(**pid) == own);
        *inner.ok_or("no inner program")?
    };
    kill(Pid::from_raw(victim), Signal::SIGKILL).map_err(|errno| errno.to_string())?;
    let code = child.wait().map_err(|e| e.to_string())?.code();
    let expected = if whole { None } else { Some(137) };
    if code != expected {
        return Err(format!("ended with {code:?} instead of {expected:?}"));
    }
    let end = Instant::now() + Duration::from_secs(20);
    let run = directory.parent().unwrap_or(directory);
    let there = |pid: &&i32| Path::new(&format!("/proc/{pid}")).exists();
    // The cleaner, one of the processes, is the last to go.
    while cgroup.exists() || run.exists() || all.iter().any(|pid| there(&pid)) {
        if Instant::now() > end {
            return Err(format!(
                "{} or {} or one of {all:?} stays",
                cgroup.display(),
                run.display()
            ));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if mounts.contains(&directory.display().to_string()) {
        return Err("a mount stays".into());
    }
    Ok(())
}

fn forgotten() -> Result<(), String> {
    let output = this_program("forgets")
        .output()
        .map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(1)
        && said.contains("left behind")
        && said.contains("victim-")
        && said.lines().count() == 3
    {
        Ok(())
    } else {
        Err(format!("{:?}: {said}", output.status))
    }
}
