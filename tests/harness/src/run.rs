//! Commands under observation: a directory of their own, a deadline, and what they showed.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::contained;

/// The exit code reported for a command that was killed at its deadline.
pub const DEADLINE_CODE: i32 = 1000;

/// What one run showed.
pub struct Observation {
    /// The exit code, 128 + n for a signal, or [`DEADLINE_CODE`].
    pub code: i32,
    /// Everything it printed; this is compared.
    pub stdout: String,
    /// For people only.
    pub stderr: String,
}

impl Observation {
    /// Whether two runs showed the same.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.code == other.code && self.stdout == other.stdout
    }

    /// All of it, for a failure's report.
    #[must_use]
    pub fn transcript(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// This run and another, line by line: ` ` in both, `-` only here, `+` only there.
    #[must_use]
    pub fn difference(&self, other: &Self) -> String {
        let mut text = String::new();
        if other.code == DEADLINE_CODE {
            text += "killed at its deadline\n";
        } else if self.code != other.code {
            text += &format!("exit code {} became {}\n", self.code, other.code);
        }
        let (left, right): (Vec<&str>, Vec<&str>) = (
            self.stdout.lines().collect(),
            other.stdout.lines().collect(),
        );
        for i in 0..left.len().max(right.len()) {
            match (left.get(i), right.get(i)) {
                (Some(l), Some(r)) if l == r => text += &format!("  {l}\n"),
                (l, r) => {
                    l.iter().for_each(|l| text += &format!("- {l}\n"));
                    r.iter().for_each(|r| text += &format!("+ {r}\n"));
                }
            }
        }
        if !other.stderr.is_empty() {
            text += &format!("stderr: {}\n", other.stderr.trim_end());
        }
        text
    }
}

/// A temporary directory that is removed again.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new, empty one.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = if contained::is_inner() {
            number.to_string()
        } else {
            format!("runsc-test-{}-{number}", contained::run_name())
        };
        let path = contained::directory().join(name);
        fs::create_dir_all(&path)
            .unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()));
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is only garbage in the temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a command in `cwd`, or else in a fresh directory, with nothing on stdin, and collects what it shows.
///
/// # Panics
/// When it cannot be started at all.
pub fn observe(command: &mut Command, cwd: Option<&Path>, deadline: Duration) -> Observation {
    let scratch = Scratch::new();
    let own = scratch.path().join("cwd");
    fs::create_dir(&own).unwrap_or_else(|e| panic!("cannot create {}: {e}", own.display()));
    // Files, not pipes: a process that outlives the command must not hold up the harness.
    let file = |name: &str| {
        File::create(scratch.path().join(name))
            .unwrap_or_else(|e| panic!("cannot create {name}: {e}"))
    };
    command
        .env("RUST_BACKTRACE", "0")
        .current_dir(cwd.unwrap_or(&own));
    command
        .stdin(Stdio::null())
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .process_group(0);
    let code = ended(command, deadline);
    let text = |name: &str| {
        String::from_utf8_lossy(&fs::read(scratch.path().join(name)).unwrap_or_default())
            .into_owned()
    };
    Observation {
        code,
        stdout: text("stdout"),
        stderr: text("stderr"),
    }
}

/// The exit code, once it ended or its process group was killed at the deadline.
fn ended(command: &mut Command, deadline: Duration) -> i32 {
    let mut child = command
        .spawn()
        .unwrap_or_else(|e| panic!("cannot run {}: {e}", command.get_program().display()));
    let group = Pid::from_raw(i32::try_from(child.id()).expect("a pid fits"));
    let (done, watch) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let late = watch.recv_timeout(deadline) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            // It may have ended this very moment.
            let _ = killpg(group, Signal::SIGKILL);
        }
        late
    });
    let status = child.wait().expect("a child can be waited for");
    drop(done);
    match watchdog.join() {
        Ok(true) => DEADLINE_CODE,
        _ => status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
    }
}

/// The `runsc` under test: `RUNSC_BIN`, else the workspace's own, built by cargo so that it is never stale.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn runsc() -> PathBuf {
    if let Some(path) = std::env::var_os("RUNSC_BIN") {
        return path.into();
    }
    // This test program is in PROFILE/deps, runsc will be in PROFILE.
    let own = std::env::current_exe().expect("a program knows its path");
    let profile = own
        .parent()
        .and_then(Path::parent)
        .expect("test programs are in target/…/PROFILE/deps")
        .to_owned();
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .args(["build", "--quiet", "-p", "runsc-cli", "--bin", "runsc"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let built = build.status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "cargo build --bin runsc failed; set RUNSC_BIN to test another binary"
    );
    profile.join("runsc")
}
