//! A test program that leaves nothing on the machine, whatever ends it.
//!
//! As root the program starts itself again in pid and mount namespaces of its own, with a temporary directory of its own ([`contained`]). When the inner
//! program ends, or the outer one is killed (`PR_SET_PDEATHSIG`), everything that a test started dies with the pid namespace, and its mounts go with the
//! last process. What no namespace takes along, cgroups and the directory, is removed by a cleaner that waits for the end of its standard input, so it
//! does its work after a SIGKILL of everybody else, too. A run that ends by itself and has left something fails, naming it.

use std::fs;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use crate::Options;

/// The environment variable that tells the inner program the run's name.
const RUN: &str = "RUNSC_TEST_RUN";

/// The first process of the pid namespace: a shell reaps whatever is left to it while it waits.
const FIRST: &str = r#""$0" "$@"; exit $?"#;

/// `$1`: the run's name, `$2`: its directory.
const CLEAN: &str = r#"
trap '' INT TERM HUP QUIT
while read -r _; do :; done
tries=0
while [ $tries -lt 200 ]; do
    left=$(find /sys/fs/cgroup -type d \( -name "*-$1" -o -name "*-$1-*" \) -prune 2>/dev/null)
    [ -n "$left" ] || break
    for cgroup in $left; do find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null; done
    tries=$((tries + 1))
    sleep 0.05
done
rm -rf --one-file-system "$2"
"#;

/// A name that no other run has, for what is named on the whole machine: cgroups, containers. What carries it, as `WORD-RUN` or `WORD-RUN-WORD`, is removed
/// at the run's end.
#[must_use]
pub fn run_name() -> String {
    std::env::var(RUN).unwrap_or_else(|_| name_of_this())
}

fn name_of_this() -> String {
    format!("t{}", std::process::id())
}

/// Where the run's temporary files belong: a directory of its own if it is contained.
#[must_use]
pub(crate) fn directory() -> PathBuf {
    std::env::temp_dir()
}

/// Whether this is the inner program.
#[must_use]
pub(crate) fn is_inner() -> bool {
    std::env::var_os(RUN).is_some()
}

/// To be called first in `main`: `Some` when the run took place in namespaces of its own and is over. `None`: go on, this is the inner program, or one
/// without privilege, or one that only lists its tests.
#[must_use]
pub fn contained(options: &Options) -> Option<ExitCode> {
    if is_inner() || options.list || !nix::unistd::geteuid().is_root() {
        return None;
    }
    Some(outer().unwrap_or_else(|error| {
        eprintln!("cannot run the tests in namespaces of their own: {error}");
        ExitCode::FAILURE
    }))
}

fn outer() -> io::Result<ExitCode> {
    let run = name_of_this();
    let directory = std::env::temp_dir().join(format!("runsc-test-{run}"));
    let mut cleaner = start_cleaner(&run, &directory)?;
    fs::create_dir(&directory)?;
    let own = std::env::current_exe()?;
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid"])
        .args(["--fork", "--kill-child", "--mount-proc"])
        .args(["--propagation", "private", "--", "sh", "-c", FIRST])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(RUN, &run)
        .env("TMPDIR", &directory)
        .status()?;
    let left = left_behind(&run, &directory);
    drop(cleaner.stdin.take());
    let _ = cleaner.wait();
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    if code != 0 {
        return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
    }
    if left.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("the tests passed but left behind:");
    for path in left {
        eprintln!("    {}", path.display());
    }
    Ok(ExitCode::FAILURE)
}

/// In a process group of its own: it outlives a signal to the test's.
fn start_cleaner(run: &str, directory: &Path) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", CLEAN, "clean", run])
        .arg(directory)
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// Cgroups that carry the run's name and whatever is in its directory.
fn left_behind(run: &str, directory: &Path) -> Vec<PathBuf> {
    let mut left: Vec<PathBuf> = entries(directory).collect();
    let mut to_look_at = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(parent) = to_look_at.pop() {
        for path in entries(&parent).filter(|path| path.is_dir() && !path.is_symlink()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(&format!("-{run}")) || name.contains(&format!("-{run}-")) {
                left.push(path);
            } else {
                to_look_at.push(path);
            }
        }
    }
    left
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.flatten().map(|entry| entry.path())
}

/// The beginning of every such `main`: the command line, then [`contained`].
///
/// # Errors
///
/// The code to return at once: the command line was wrong, or the run is over.
pub fn begin() -> Result<Options, ExitCode> {
    let options = Options::from_args().map_err(|message| {
        eprintln!("{message}");
        ExitCode::from(2)
    })?;
    contained(&options).map_or(Ok(options), Err)
}
