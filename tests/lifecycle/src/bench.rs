//! One runtime, one bundle, and the notes that a case takes.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::{Scratch, observe};
use serde_json::Value;

use crate::{bundle, left};

/// The container that most cases have.
pub const ID: &str = "c";
/// A command that runs longer is stuck.
const DEADLINE: Duration = Duration::from_secs(30);
/// What is waited for happens sooner.
const PATIENCE: Duration = Duration::from_secs(10);

/// A runtime under observation.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Its program.
    pub program: PathBuf,
    /// Its global flags.
    pub flags: Vec<String>,
}

impl Runtime {
    /// Debian's runc.
    #[must_use]
    pub fn oracle() -> Self {
        Self {
            program: "runc".into(),
            flags: Vec::new(),
        }
    }

    /// Ours on a platform.
    #[must_use]
    pub fn ours(program: &Path, platform: &str) -> Self {
        Self {
            program: program.to_owned(),
            flags: vec!["--platform".into(), platform.into()],
        }
    }

    /// Whether this is our own.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.program.file_name().is_none_or(|name| name != "runc")
    }
}

/// What one command showed.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error, as one line.
    pub stderr: String,
    /// `level: message` of each line that it added to the log file.
    pub log: String,
}

/// See the module.
pub struct Bench {
    scratch: Scratch,
    /// The runtime.
    pub runtime: Runtime,
    /// The container's cgroup, below the root of each hierarchy.
    pub cgroup: String,
    /// The specification; [`Bench::save`] writes it.
    pub config: Value,
    notes: BTreeMap<String, String>,
}

impl Bench {
    /// A bench with a bundle whose process is `true`.
    ///
    /// # Panics
    /// When the bundle cannot be made.
    #[must_use]
    pub fn new(runtime: Runtime) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let scratch = Scratch::new();
        let cgroup = format!(
            "/runsc-lifecycle-{}-{}",
            harness::run_name(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        bundle::root(&scratch.path().join("rootfs"));
        let config = bundle::config(&cgroup, &["true"]);
        let bench = Self {
            scratch,
            runtime,
            cgroup,
            config,
            notes: BTreeMap::new(),
        };
        bench.save();
        bench
    }

    /// The bundle's directory, which commands run in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// A path in the bundle's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// A path in the root file system, on the host.
    #[must_use]
    pub fn in_root(&self, name: &str) -> PathBuf {
        self.dir().join("rootfs").join(name)
    }

    /// Where the runtime keeps its state.
    #[must_use]
    pub fn state_root(&self) -> PathBuf {
        self.path("state")
    }

    /// Writes `config.json`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn save(&self) {
        fs::write(self.path("config.json"), self.config.to_string()).expect("config.json");
    }

    /// Changes the configuration and writes it.
    pub fn change(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.config);
        self.save();
    }

    /// Sets the process's arguments.
    pub fn args(&mut self, args: &[&str]) {
        self.change(|config| config["process"]["args"] = serde_json::json!(args));
    }

    /// Makes the process a shell script.
    pub fn script(&mut self, script: &str) {
        self.args(&["/bin/sh", "-c", script]);
    }

    /// The command line up to the global flags.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime.program);
        command
            .arg("--root")
            .arg(self.state_root())
            .arg("--log")
            .arg(self.path("log"))
            .args(["--log-format", "json"]);
        command
            .args(&self.runtime.flags)
            .args(args)
            .current_dir(self.dir());
        command
    }

    /// Runs a command.
    pub fn run(&self, args: &[&str]) -> Seen {
        self.finish(&mut self.command(args))
    }

    /// Runs a command that was prepared.
    pub fn finish(&self, command: &mut Command) -> Seen {
        let _ = fs::remove_file(self.path("log"));
        let seen = observe(command, Some(self.dir()), DEADLINE);
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let line = |line: &str| match serde_json::from_str::<Value>(line) {
            Ok(entry) => format!(
                "{}: {}",
                entry["level"].as_str().unwrap_or("?"),
                entry["msg"].as_str().unwrap_or("?")
            ),
            Err(_) => format!("not JSON: {line}"),
        };
        let log: Vec<String> = log
            .lines()
            .map(line)
            .filter(|line| !line.starts_with("debug") && !line.starts_with("warning"))
            .collect();
        Seen {
            code: seen.code,
            stdout: self.normal(&seen.stdout),
            stderr: self.normal(&one_line(&seen.stderr)),
            log: self.normal(&one_line(&log.join(" / "))),
        }
    }

    /// Text without what differs between two runs.
    #[must_use]
    pub fn normal(&self, text: &str) -> String {
        text.replace(&self.dir().display().to_string(), "DIR")
            .replace(&self.cgroup, "/CGROUP")
            .replace("runsc", "runc")
    }

    /// Notes what was seen.
    ///
    /// # Panics
    /// When the key was used before.
    pub fn note(&mut self, key: &str, value: impl Display) {
        let before = self.notes.insert(key.replace(' ', "_"), value.to_string());
        assert!(before.is_none(), "{key} was noted twice");
    }

    /// Notes all that a command showed.
    pub fn note_all(&mut self, key: &str, seen: &Seen) {
        self.note(&format!("{key}.code"), seen.code);
        self.note(&format!("{key}.out"), &seen.stdout);
        self.note(&format!("{key}.err"), &seen.stderr);
        self.note(&format!("{key}.log"), &seen.log);
    }

    /// Runs a command and notes all of it.
    pub fn check(&mut self, key: &str, args: &[&str]) -> Seen {
        let seen = self.run(args);
        self.note_all(key, &seen);
        seen
    }

    /// Runs the container in the foreground as a script and notes all of it.
    pub fn check_script(&mut self, key: &str, script: &str) -> Seen {
        self.script(script);
        self.check(key, &["run", ID])
    }

    /// Runs the container in the background with a script.
    ///
    /// # Panics
    /// When it does not start.
    pub fn background(&mut self, script: &str) {
        self.script(script);
        let seen = self.finish(self.command(&["run", "--detach", ID]).stdin(Stdio::null()));
        assert_eq!(seen.code, 0, "run --detach: {seen:?}");
    }

    /// Runs the container in the background, asleep.
    pub fn sleeper(&mut self) {
        self.background("trap 'exit 9' TERM; trap 'exit 10' USR1; sleep 1000 & wait");
    }

    /// The state as `state` prints it; null when it fails.
    #[must_use]
    pub fn state(&self, id: &str) -> Value {
        let seen = self.run(&["state", id]);
        serde_json::from_str(&seen.stdout).unwrap_or(Value::Null)
    }

    /// The status.
    #[must_use]
    pub fn status(&self, id: &str) -> String {
        self.state(id)["status"]
            .as_str()
            .unwrap_or("none")
            .to_owned()
    }

    /// The pid of the container's first process for the outside.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.state(ID)["pid"]
            .as_i64()
            .and_then(|pid| i32::try_from(pid).ok())
            .unwrap_or(0)
    }

    /// Waits for a status.
    pub fn wait_for(&mut self, status: &str) {
        if !self.eventually(|bench| bench.status(ID) == status) {
            let now = self.status(ID);
            self.note(&format!("never {status}"), now);
        }
    }

    /// Waits until something is so; says whether it ever was.
    pub fn eventually(&self, so: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + PATIENCE;
        loop {
            if so(self) {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A file of the container's cgroup, trimmed.
    #[must_use]
    pub fn cgroup_file(&self, controller: &str, file: &str) -> String {
        let path = format!("/sys/fs/cgroup/{controller}{}/{file}", self.cgroup);
        fs::read_to_string(&path).map_or_else(
            |error| error.kind().to_string(),
            |text| text.trim().to_owned(),
        )
    }

    /// Runs a command with text on its standard input.
    ///
    /// # Panics
    /// When the input cannot be written.
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Seen {
        let path = self.path("input");
        fs::File::create(&path)
            .and_then(|mut file| file.write_all(input.as_bytes()))
            .expect("input");
        // `observe` sets standard input itself: a shell puts the file there.
        let inner = self.command(args);
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "exec \"$@\" <input", "sh"])
            .arg(inner.get_program())
            .args(inner.get_args());
        self.finish(&mut command)
    }

    /// Deletes what is there, notes what is left, and hands over the notes.
    #[must_use]
    pub fn into_notes(mut self) -> BTreeMap<String, String> {
        self.clean();
        let left = left::of(&self);
        self.note("left", left.join(", "));
        std::mem::take(&mut self.notes)
    }

    fn clean(&self) {
        for entry in fs::read_dir(self.state_root())
            .into_iter()
            .flatten()
            .flatten()
        {
            let _ = self.run(&["delete", "--force", &entry.file_name().to_string_lossy()]);
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.clean();
        left::sweep(self);
    }
}

/// Text with every run of blanks and line ends as one blank.
fn one_line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace(" ,", ",")
}
