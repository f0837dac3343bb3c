//! Lifecycle hooks: programs of the host that get the container's state on standard input.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use oci_spec::runtime::{Hook, Hooks};

use super::errno_text;

/// The hooks of a spec that run on the host side of things before and after the container lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// `prestart`.
    Prestart,
    /// `createRuntime`.
    CreateRuntime,
    /// `createContainer`.
    CreateContainer,
    /// `startContainer`.
    StartContainer,
    /// `poststart`.
    Poststart,
    /// `poststop`.
    Poststop,
}

/// The hooks of one point.
#[must_use]
pub fn at(hooks: Option<&Hooks>, point: Point) -> Vec<Hook> {
    let Some(hooks) = hooks else {
        return Vec::new();
    };
    let list = match point {
        Point::Prestart => hooks.prestart(),
        Point::CreateRuntime => hooks.create_runtime(),
        Point::CreateContainer => hooks.create_container(),
        Point::StartContainer => hooks.start_container(),
        Point::Poststart => hooks.poststart(),
        Point::Poststop => hooks.poststop(),
    };
    list.clone().unwrap_or_default()
}

/// All hooks of a spec.
#[must_use]
pub fn all(hooks: &Hooks) -> Vec<Hook> {
    use Point::{CreateContainer, CreateRuntime, Poststart, Poststop, Prestart, StartContainer};
    [
        Prestart,
        CreateRuntime,
        CreateContainer,
        StartContainer,
        Poststart,
        Poststop,
    ]
    .into_iter()
    .flat_map(|point| at(Some(hooks), point))
    .collect()
}

/// Runs `hooks` in order, each with `state` (JSON) on its standard input; stops at the first failure, in runc's words.
pub fn run(hooks: &[Hook], state: &str) -> Result<()> {
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, state).map_err(|error| anyhow!("error running hook #{index}: {error}"))?;
    }
    Ok(())
}

fn run_one(hook: &Hook, state: &str) -> Result<()> {
    let mut command = Command::new(hook.path());
    if let Some(args) = hook.args() {
        if let Some(name) = args.first() {
            command.arg0(name);
        }
        command.args(args.iter().skip(1));
    }
    command.env_clear();
    for entry in hook.env().iter().flatten() {
        if let Some((name, value)) = entry.split_once('=') {
            command.env(name, value);
        }
    }
    // The output goes to a file rather than a pipe: a hook that leaves a daemon behind would keep a pipe open for ever.
    let (output, complaint) = (
        super::seal::scratch("hook-output")?,
        super::seal::scratch("hook-errors")?,
    );
    command
        .stdin(Stdio::piped())
        .stdout(output.try_clone()?)
        .stderr(complaint.try_clone()?);
    let mut child = command.spawn().map_err(|error| {
        anyhow!(
            "fork/exec {}: {}",
            hook.path().display(),
            errno_text(&error)
        )
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook that does not read its input is none of our business. The state is far smaller than a pipe, so this cannot block.
        let _ = stdin.write_all(state.as_bytes());
    }
    let deadline = hook
        .timeout()
        .filter(|seconds| *seconds != 0)
        .map(|seconds| u64::try_from(seconds).unwrap_or(0));
    let status = match deadline {
        None => child.wait()?,
        Some(seconds) => {
            let limit = Duration::from_secs(seconds);
            if super::process::wait_exit(child.id(), Some(Instant::now() + limit))? {
                child.wait()?
            } else {
                child.kill()?;
                child.wait()?;
                let asked = hook.timeout().unwrap_or(0);
                bail!("hook ran past specified timeout of {asked}.0s");
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    let what = match (
        status.code(),
        std::os::unix::process::ExitStatusExt::signal(&status),
    ) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {}", signal_words(signal)),
        (None, None) => "unknown status".to_owned(),
    };
    bail!(
        "error running hook: {what}, stdout: {}, stderr: {}",
        super::seal::read_scratch(&output),
        super::seal::read_scratch(&complaint)
    )
}

/// What Go calls a signal that ended a process.
fn signal_words(number: i32) -> String {
    let words = match number {
        nix::libc::SIGHUP => "hangup",
        nix::libc::SIGINT => "interrupt",
        nix::libc::SIGQUIT => "quit",
        nix::libc::SIGILL => "illegal instruction",
        nix::libc::SIGTRAP => "trace/breakpoint trap",
        nix::libc::SIGABRT => "aborted",
        nix::libc::SIGBUS => "bus error",
        nix::libc::SIGFPE => "floating point exception",
        nix::libc::SIGKILL => "killed",
        nix::libc::SIGUSR1 => "user defined signal 1",
        nix::libc::SIGSEGV => "segmentation fault",
        nix::libc::SIGUSR2 => "user defined signal 2",
        nix::libc::SIGPIPE => "broken pipe",
        nix::libc::SIGALRM => "alarm clock",
        nix::libc::SIGTERM => "terminated",
        other => return format!("signal {other}"),
    };
    words.to_owned()
}
