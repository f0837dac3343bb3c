//! A container runtime's command line, and the two ways in which a program is watched under it: alone ([`run`]) or at a terminal ([`hold`]).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::{Observation, observe};

use crate::bundle::Bundle;
use crate::dialog::Dialog;
use crate::tree;

/// A command of a runtime that only manages a container takes no longer.
const SHORT: Duration = Duration::from_secs(60);

/// A runtime's command line up to `run`.
pub struct Runtime {
    words: Vec<String>,
}

/// One container of a runtime, in its bundle.
struct Container<'a> {
    runtime: &'a Runtime,
    bundle: &'a Bundle,
    id: String,
}

impl Runtime {
    /// The native side.
    #[must_use]
    pub fn runc() -> Self {
        Self {
            words: vec!["runc".to_owned()],
        }
    }

    /// The sandbox: the binary, its flags, and whether all of it is pinned to one CPU.
    #[must_use]
    pub fn runsc(binary: &Path, flags: &[&str], pinned: bool) -> Self {
        let pin: &[&str] = if pinned { &["taskset", "-c", "0"] } else { &[] };
        let binary = binary.display().to_string();
        let words = pin
            .iter()
            .copied()
            .chain([binary.as_str()])
            .chain(flags.iter().copied());
        Self {
            words: words.map(str::to_owned).collect(),
        }
    }
}

impl<'a> Container<'a> {
    fn new(runtime: &'a Runtime, bundle: &'a Bundle) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            runtime,
            bundle,
            id: format!("program-{}-{number}", harness::run_name()),
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut words = self.runtime.words.iter();
        let mut command = Command::new(words.next().map_or("runc", String::as_str));
        command
            .args(words)
            .arg("--root")
            .arg(self.bundle.path().join("state"))
            .args(args);
        command.current_dir(self.bundle.path());
        command
    }

    /// Runs a command to its end that must succeed.
    fn ok(&self, args: &[&str]) -> Result<(), String> {
        let seen = observe(&mut self.command(args), Some(self.bundle.path()), SHORT);
        match seen.code {
            0 => Ok(()),
            code => Err(format!(
                "{args:?} ended with code {code}: {}",
                seen.transcript()
            )),
        }
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // Usually it has ended and is gone; after a failure it may be in any state.
        observe(
            &mut self.command(&["delete", "--force", &self.id]),
            Some(self.bundle.path()),
            SHORT,
        );
    }
}

/// Runs a bash script in a fresh bundle: what it showed, and the files it left.
///
/// # Errors
/// What kept it from being run.
pub fn run(
    runtime: &Runtime,
    rootfs: &Path,
    script: &Path,
    deadline: Duration,
) -> Result<(Observation, Vec<String>), String> {
    let bundle = Bundle::new(rootfs, &["/bin/bash", "/program.sh"])?;
    fs::copy(script, bundle.rootfs().join("program.sh"))
        .map_err(|e| format!("cannot copy the script: {e}"))?;
    let container = Container::new(runtime, &bundle);
    let mut command = container.command(&["run", &container.id]);
    let seen = observe(&mut command, Some(bundle.path()), deadline);
    Ok((seen, tree::describe(&bundle.work())))
}

/// Holds a dialog under both runtimes at once, each in a fresh bundle: exit code and files left, natively and in the sandbox.
///
/// # Errors
/// What kept it from being held, or what the screens did not show.
pub fn hold(
    native: &Runtime,
    sandbox: &Runtime,
    rootfs: &Path,
    dialog: &Dialog,
) -> Result<[(i32, Vec<String>); 2], String> {
    let shell = ["/bin/sh", "-c", &dialog.command];
    let bundle = || {
        if dialog.by_exec {
            Bundle::new(rootfs, &["/bin/sleep", "infinity"])
        } else {
            Bundle::on_terminal(rootfs, &shell)
        }
    };
    let bundles = [bundle()?, bundle()?];
    let containers = [
        Container::new(native, &bundles[0]),
        Container::new(sandbox, &bundles[1]),
    ];
    let command = |container: &Container<'_>| {
        if dialog.by_exec {
            container.ok(&["run", "--detach", &container.id])?;
            let exec = ["exec", "--tty", &container.id];
            Ok::<_, String>(container.command(&[&exec[..], &shell].concat()))
        } else {
            Ok(container.command(&["run", &container.id]))
        }
    };
    let codes = dialog.hold(&command(&containers[0])?, &command(&containers[1])?)?;
    let files = bundles.each_ref().map(|b| tree::describe(&b.work()));
    let [native, sandbox] = files;
    Ok([(codes.0, native), (codes.1, sandbox)])
}
