//! Containers that run the hostile guest: built, started, observed and removed whatever happens.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Observation, Scratch, observe, runsc};

/// A command that takes longer is stuck.
const COMMAND_DEADLINE: Duration = Duration::from_secs(20);
/// The sources of the guest.
const SOURCES: [&str; 6] = [
    "main.c", "raw.c", "stub.c", "frames.c", "memory.c", "races.c",
];

/// A place for containers, with a state directory of its own. Dropping it deletes them.
pub struct Bench {
    scratch: Scratch,
    runsc: PathBuf,
    /// Unlike any other's; containers and cgroups carry it.
    name: String,
}

impl Bench {
    /// Builds the guest.
    ///
    /// # Errors
    /// What could not be built or made, as a sentence.
    pub fn new(name: &str) -> Result<Self, String> {
        let bench = Self {
            scratch: Scratch::new(),
            runsc: runsc(),
            name: format!("hostile-{}-{name}", harness::run_name()),
        };
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
        let built = Command::new("cc")
            .args(["-static", "-O1", "-pthread", "-o"])
            .arg(bench.path("hostile"))
            .args(SOURCES.map(|file| sources.join(file)))
            .output()
            .map_err(|e| format!("cannot run cc: {e}"))?;
        if !built.status.success() {
            return Err(format!("cc: {}", String::from_utf8_lossy(&built.stderr)));
        }
        Ok(bench)
    }

    /// A path in its directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The full id of container `id`.
    #[must_use]
    pub fn id(&self, id: &str) -> String {
        format!("{}-{id}", self.name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.runsc);
        command.arg("--root").arg(self.path("root")).args(args);
        command
    }

    /// Runs a command of `runsc`'s on container `id`: `args`, the id, `rest`.
    #[must_use]
    pub fn run(&self, args: &[&str], id: &str, rest: &[&str]) -> Observation {
        let id = self.id(id);
        let args: Vec<&str> = args
            .iter()
            .copied()
            .chain([id.as_str()])
            .chain(rest.iter().copied())
            .collect();
        observe(&mut self.command(&args), None, COMMAND_DEADLINE)
    }

    /// As [`Bench::run`], which has to succeed; gives stdout.
    ///
    /// # Errors
    /// The command and what it said.
    pub fn ok(&self, args: &[&str], id: &str, rest: &[&str]) -> Result<String, String> {
        let seen = self.run(args, id, rest);
        if seen.code == 0 {
            Ok(seen.stdout)
        } else {
            Err(format!(
                "runsc {args:?} {id} {rest:?}: {} {}",
                seen.code,
                seen.transcript()
            ))
        }
    }

    /// Creates container `id` that runs the guest with `args`; its output goes to [`Bench::output`].
    ///
    /// # Errors
    /// What failed, as a sentence.
    pub fn create(&self, id: &str, args: &[&str]) -> Result<(), String> {
        let bundle = self.path(id);
        let text = |e: std::io::Error| format!("cannot make bundle {id}: {e}");
        for dir in ["dev", "proc", "tmp"] {
            fs::create_dir_all(bundle.join("rootfs").join(dir)).map_err(text)?;
        }
        fs::copy(self.path("hostile"), bundle.join("rootfs/hostile")).map_err(text)?;
        fs::write(bundle.join("config.json"), self.config(id, args)).map_err(text)?;
        let output = File::create(self.path(&format!("{id}.out"))).map_err(text)?;
        let errors = output.try_clone().map_err(text)?;
        let mut command = self.command(&["create", "--bundle"]);
        let mut child = command
            .arg(&bundle)
            .arg(self.id(id))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(text)?;
        let status = child.wait().map_err(text)?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("runsc create: {status}: {}", self.output(id)))
        }
    }

    /// What container `id` has printed.
    #[must_use]
    pub fn output(&self, id: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(&format!("{id}.out"))).unwrap_or_default())
            .into_owned()
    }

    fn config(&self, id: &str, args: &[&str]) -> String {
        let args: Vec<String> = std::iter::once(&"/hostile")
            .chain(args)
            .map(|arg| format!("{arg:?}"))
            .collect();
        let capabilities = r#"["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_KILL","CAP_MKNOD","CAP_NET_RAW","CAP_SETGID","CAP_SETUID","CAP_SYS_CHROOT","CAP_SYS_ADMIN","CAP_SYS_PTRACE"]"#;
        format!(
            r#"{{"ociVersion":"1.0.2","process":{{"terminal":false,"user":{{"uid":0,"gid":0}},"args":[{}],"env":["PATH=/"],"cwd":"/",
            "capabilities":{{"bounding":{capabilities},"effective":{capabilities},"permitted":{capabilities}}},"noNewPrivileges":true}},
            "root":{{"path":"rootfs","readonly":false}},"hostname":"hostile",
            "mounts":[{{"destination":"/proc","type":"proc","source":"proc"}},{{"destination":"/dev","type":"tmpfs","source":"tmpfs"}}],
            "linux":{{"cgroupsPath":"/{}","namespaces":[{{"type":"pid"}},{{"type":"ipc"}},{{"type":"uts"}},{{"type":"mount"}},{{"type":"network"}}]}}}}"#,
            args.join(","),
            self.id(id)
        )
    }

    /// The host's pid of a helper process (`sentry`, `gofer`, `init`) of container `id`, from its state.
    ///
    /// # Errors
    /// When the state does not say.
    pub fn pid(&self, id: &str, which: &str) -> Result<i32, String> {
        let path = self.path("root").join(self.id(id)).join("state.json");
        let text = fs::read_to_string(&path)
            .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        compact
            .split_once(&format!("\"{which}\":{{\"pid\":"))
            .and_then(|(_, rest)| {
                rest.split(|c: char| !c.is_ascii_digit())
                    .next()?
                    .parse()
                    .ok()
            })
            .ok_or_else(|| format!("{} names no {which}", path.display()))
    }

    /// What is left of the containers after they were deleted: state, cgroups, mounts.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = entries(&self.path("root"))
            .iter()
            .map(|path| format!("state {}", path.display()))
            .collect();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let place = self.scratch.path().display().to_string();
        left.extend(
            mounts
                .lines()
                .filter(|line| line.contains(&place))
                .map(|line| format!("mount {line}")),
        );
        let mut dirs = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
        while let Some((dir, depth)) = dirs.pop() {
            for entry in entries(&dir).into_iter().filter(|entry| entry.is_dir()) {
                if entry
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().contains(&self.name))
                {
                    left.push(format!("cgroup {}", entry.display()));
                } else if depth < 3 {
                    dirs.push((entry, depth + 1));
                }
            }
        }
        left
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for state in entries(&self.path("root")) {
            if let Some(id) = state.file_name().and_then(|name| name.to_str()) {
                let _ = observe(
                    &mut self.command(&["delete", "--force", id]),
                    None,
                    COMMAND_DEADLINE,
                );
            }
        }
    }
}

/// The entries of a directory, none if it cannot be read.
#[must_use]
pub fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect()
}

/// Polls until `done`, which another process brings about.
///
/// # Errors
/// Says what did not happen by `deadline`.
pub fn eventually(
    what: &str,
    deadline: Instant,
    mut done: impl FnMut() -> Result<bool, String>,
) -> Result<(), String> {
    while !done()? {
        if Instant::now() > deadline {
            return Err(format!("in time: {what} did not happen"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Whether a process exists and is no zombie.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}
