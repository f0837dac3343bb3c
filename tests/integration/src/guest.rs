//! A shell in a container, asked one command after the other, for tests that change something outside between two of them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Output, Stdio};

use harness::{Outcome, Trial, begin, run_all, runsc};
use serde_json::Value;

use crate::bundle::Bundle;

/// Ends each answer.
const END: &str = "--end--";

/// The cached Debian tree.
#[must_use]
pub fn tree() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache");
    std::env::var_os("RUNSC_TEST_CACHE")
        .map_or_else(default, PathBuf::from)
        .join("rootfs")
}

fn why_not() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    (!tree().join("bin").exists())
        .then(|| "needs the Debian tree: run cargo xtask rootfs".to_owned())
}

/// A test: it gets the platform's name, and fails by panicking.
pub type Case = (&'static str, fn(&str));

/// The `main` of a test: each case on each platform of `RUNSC_PLATFORMS` (default `notify`), as `suite/case [platform]`.
#[must_use]
pub fn main(suite: &str, cases: &[Case]) -> ExitCode {
    let options = match begin() {
        Ok(options) => options,
        Err(code) => return code,
    };
    let platforms = std::env::var("RUNSC_PLATFORMS").unwrap_or_else(|_| "notify".to_owned());
    let mut trials = Vec::new();
    for (name, case) in cases.iter().copied() {
        for platform in platforms.split([',', ' ']).filter(|p| !p.is_empty()) {
            let title = format!("{suite}/{name} [{platform}]");
            let platform = platform.to_owned();
            trials.push(Trial::new(title, move || match why_not() {
                Some(why) => Outcome::Skipped(why),
                None => match std::panic::catch_unwind(|| case(&platform)) {
                    Ok(()) => Outcome::Passed(String::new()),
                    Err(_) => Outcome::Failed("see the panic above".to_owned()),
                },
            }));
        }
    }
    run_all(&options, 1, trials)
}

/// How a guest is started beyond the usual.
#[derive(Default)]
pub struct Setup {
    /// Global flags.
    pub flags: Vec<String>,
    /// Host directories or files, and where the container has them.
    pub binds: Vec<(PathBuf, String)>,
    /// Changes the specification.
    pub edit: Option<fn(&mut Value)>,
    /// Called with the container's `/work` on the host before it is started.
    pub prepare: Option<fn(&Path)>,
}

impl Setup {
    /// With these global flags.
    #[must_use]
    pub fn flags(flags: &[&str]) -> Self {
        Self {
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// And with this host path there.
    #[must_use]
    pub fn bind(mut self, from: &Path, to: &str) -> Self {
        self.binds.push((from.to_owned(), to.to_owned()));
        self
    }
}

/// A shell in a container, in `/work`.
pub struct Guest {
    bundle: Bundle,
    runsc: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    id: String,
    flags: Vec<String>,
}

impl Guest {
    /// Starts one.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(platform: &str) -> Self {
        Self::with(platform, Setup::default())
    }

    /// Starts one with more than the usual. `@LOG@` in a flag is the path of [`Guest::log`].
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn with(platform: &str, setup: Setup) -> Self {
        let bundle = Bundle::new(&tree(), &["/bin/bash"]).unwrap_or_else(|e| panic!("{e}"));
        bundle
            .edit(|spec| {
                let mounts = spec.pointer_mut("/mounts").and_then(Value::as_array_mut);
                let mounts = mounts.unwrap_or_else(|| unreachable!("the bundle has mounts"));
                for (from, to) in &setup.binds {
                    mounts.push(serde_json::json!({
                        "destination": to, "type": "bind", "source": from, "options": ["rbind", "rw"],
                    }));
                }
                if let Some(edit) = setup.edit {
                    edit(spec);
                }
            })
            .unwrap_or_else(|e| panic!("{e}"));
        if let Some(prepare) = setup.prepare {
            prepare(&bundle.work());
        }
        let log = bundle.path().join("log").display().to_string();
        let flags = setup.flags.iter().map(|flag| flag.replace("@LOG@", &log));
        let id = format!("guest-{}", harness::run_name());
        let mut guest_flags = vec!["--root".to_owned()];
        guest_flags.push(bundle.path().join("state").display().to_string());
        guest_flags.extend(["--network=none", "--platform", platform].map(str::to_owned));
        guest_flags.extend(flags);
        let mut child = Command::new(runsc())
            .args(&guest_flags)
            .args(["run", &id])
            .current_dir(bundle.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run runsc: {e}"));
        Self {
            bundle,
            commands: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap_or_else(|| unreachable!())),
            runsc: child,
            id,
            flags: guest_flags,
        }
    }

    /// A name in `/work` of the container, on the host.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.bundle.work().join(name)
    }

    /// The container's root, on the host.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.bundle.rootfs()
    }

    /// What the debug log has, if there is one.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.bundle.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs another command of runsc; the container's id stands for `@ID@`.
    ///
    /// # Panics
    /// When runsc cannot be run.
    pub fn runsc(&self, args: &[&str]) -> Output {
        let args = args.iter().map(|arg| arg.replace("@ID@", &self.id));
        Command::new(runsc())
            .args(&self.flags)
            .args(args)
            .current_dir(self.bundle.path())
            .output()
            .unwrap_or_else(|e| panic!("cannot run runsc: {e}"))
    }

    /// What a command of the shell prints.
    ///
    /// # Panics
    /// When the guest is gone.
    pub fn ask(&mut self, command: &str) -> String {
        let commands = self.commands.as_mut().unwrap_or_else(|| unreachable!());
        writeln!(commands, "{{ {command}\n}} 2>&1; echo; echo {END}")
            .unwrap_or_else(|e| panic!("the guest is gone: {e}"));
        let mut answer = String::new();
        loop {
            let mut line = String::new();
            let read = self.answers.read_line(&mut line);
            assert!(
                matches!(read, Ok(1..)),
                "the guest ended at {command}: {answer}"
            );
            if line.trim_end() == END {
                return answer.trim_end().to_owned();
            }
            answer.push_str(&line);
        }
    }

    /// Asserts what a command of the shell prints.
    ///
    /// # Panics
    /// When it prints something else.
    #[track_caller]
    pub fn expect(&mut self, command: &str, answer: &str) {
        let got = self.ask(command);
        assert_eq!(got, answer, "{command}");
    }

    /// Ends the shell, which must go well, and gives what the log has then.
    ///
    /// # Panics
    /// When it does not go well.
    pub fn end(mut self) -> String {
        drop(self.commands.take());
        let status = self.runsc.wait();
        assert!(
            status.as_ref().is_ok_and(std::process::ExitStatus::success),
            "{status:?}"
        );
        self.log()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.runsc(&["delete", "--force", "@ID@"]);
        let _ = self.runsc.kill();
        let _ = self.runsc.wait();
    }
}
