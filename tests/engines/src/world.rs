//! A world for an engine: mount, network, pid, ipc, uts and cgroup namespaces, a directory, and a cgroup in each hierarchy below which everything is.
//!
//! The first process of the pid namespace dies with the test (`PR_SET_PDEATHSIG`), and with it everything in the world. What no namespace takes along,
//! the cgroups and the directory, is removed by a cleaner that waits for the end of its standard input, so it does its work after a SIGKILL of the test, too.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Enters the cgroups, then the namespaces. `$@`: cgroup directories, `--`, the first process.
const ENTER: &str = r#"
while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done
shift
exec setpriv --pdeathsig KILL -- unshare --mount --net --pid --ipc --uts --cgroup --fork --kill-child --mount-proc --propagation private -- "$@"
"#;

/// The first process of a world. `$1`: its directory, `$2…`: controllers.
const FIRST: &str = r#"
set -e
directory=$1; shift
umount -R /sys/fs/cgroup
mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
for controllers; do
    mount_point=/sys/fs/cgroup/${controllers#name=}
    mkdir "$mount_point"
    case $controllers in name=*) options=none,$controllers;; *) options=$controllers;; esac
    mount -t cgroup -o "$options" cgroup "$mount_point"
done
mount -t tmpfs -o mode=755 run /run
mkdir /run/lock
mount -t tmpfs -o mode=1777 shm /dev/shm
mkdir "$directory/etc"
for name in docker containers containerd runsc cni; do
    # The machine's own settings are not the test's.
    mkdir -p "$directory/etc/$name"
    if [ -d "/etc/$name" ]; then mount --bind "$directory/etc/$name" "/etc/$name"; fi
done
hostname engines
ip link set lo up
touch "$directory/ready"
# A shell reaps whatever is left to it.
while :; do sleep 1000 & wait; done
"#;

/// Waits for the end of its input, then for the end of the world, and removes what is left. `$1`: directory, `$2…`: cgroups.
const CLEAN: &str = r#"
trap '' INT TERM HUP QUIT
while read -r _; do :; done
directory=$1; shift
tries=0
for cgroup; do
    while [ -d "$cgroup" ] && [ $tries -lt 200 ]; do
        find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || { tries=$((tries + 1)); sleep 0.05; }
    done
done
rm -rf --one-file-system "$directory"
"#;

/// One world.
pub struct World {
    directory: PathBuf,
    cgroups: Vec<PathBuf>,
    launcher: Child,
    /// Its parent lives as long as this.
    _parent: mpsc::Sender<()>,
    /// Host pid of the first process.
    first: u32,
    cleaner: Child,
    daemons: Vec<Child>,
}

/// A cgroup v1 hierarchy: its options, and where the host has it.
fn hierarchies() -> Vec<(String, PathBuf)> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut list: Vec<(String, PathBuf)> = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - cgroup ") else {
            continue;
        };
        let (Some(point), Some(options)) = (left.split(' ').nth(4), right.split(' ').nth(1)) else {
            continue;
        };
        let controllers: Vec<&str> = options
            .split(',')
            .filter(|option| {
                !["rw", "ro", "xattr", "clone_children"].contains(option)
                    && !option.starts_with("release_agent")
            })
            .collect();
        let controllers = controllers.join(",");
        if !controllers.is_empty() && !list.iter().any(|(known, _)| *known == controllers) {
            list.push((controllers, PathBuf::from(point)));
        }
    }
    list
}

/// Starts a command from a thread that lives as long as the second result: the parent of `PR_SET_PDEATHSIG` is a thread, not a process.
fn spawn_from_a_thread(mut command: Command) -> io::Result<(Child, mpsc::Sender<()>)> {
    let (answer, spawned) = mpsc::channel();
    let (keep, end) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _ = answer.send(command.spawn());
        let _ = end.recv();
    });
    let child = spawned.recv().map_err(io::Error::other)??;
    Ok((child, keep))
}

/// What this machine lacks for a world, if something.
#[must_use]
pub fn why_not() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    let hierarchies = hierarchies();
    ["memory", "pids", "cpuset", "devices", "freezer"]
        .iter()
        .find(|wanted| {
            !hierarchies
                .iter()
                .any(|(controllers, _)| controllers.split(',').any(|one| one == **wanted))
        })
        .map(|missing| format!("needs the cgroup v1 controller {missing}"))
}

impl World {
    /// A new world.
    ///
    /// # Errors
    /// What could not be made, as a sentence.
    pub fn new() -> Result<Self, String> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "runsc-engines-{}-{}",
            harness::run_name(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let directory = std::env::temp_dir().join(&name);
        let hierarchies = hierarchies();
        let cgroups: Vec<PathBuf> = hierarchies
            .iter()
            .map(|(_, point)| point.join(&name))
            .collect();
        let failed = |what: &str, error: io::Error| format!("{what}: {error}");
        let cleaner = Command::new("sh")
            .args(["-c", CLEAN, "clean"])
            .arg(&directory)
            .args(&cgroups)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|e| failed("cannot start the cleaner", e))?;
        fs::create_dir(&directory).map_err(|e| failed("cannot make the world's directory", e))?;
        for cgroup in &cgroups {
            fs::create_dir(cgroup).map_err(|e| failed("cannot make a cgroup", e))?;
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let above = cgroup.with_file_name(file);
                if let Ok(value) = fs::read_to_string(above) {
                    fs::write(cgroup.join(file), value.trim())
                        .map_err(|e| failed("cannot set up a cpuset", e))?;
                }
            }
        }
        let log = File::create(directory.join("world.log"))
            .map_err(|e| failed("cannot make the world's log", e))?;
        let mut command = Command::new("sh");
        command
            .args(["-c", ENTER, "enter"])
            .args(&cgroups)
            .args(["--", "sh", "-c", FIRST, "first"])
            .arg(&directory)
            .args(hierarchies.iter().map(|(controllers, _)| controllers))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0);
        let (launcher, parent) =
            spawn_from_a_thread(command).map_err(|e| failed("cannot start the world", e))?;
        let mut world = Self {
            directory,
            cgroups,
            launcher,
            _parent: parent,
            first: 0,
            cleaner,
            daemons: Vec::new(),
        };
        let ready = world.directory.join("ready");
        let launcher_alive = |world: &mut Self| matches!(world.launcher.try_wait(), Ok(None));
        while !ready.exists() {
            if !launcher_alive(&mut world) {
                let log = fs::read_to_string(world.directory.join("world.log"));
                return Err(format!(
                    "the world could not be set up: {}",
                    log.unwrap_or_default()
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = world.launcher.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        world.first = children
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or("the world's first process is gone")?;
        Ok(world)
    }

    /// Its directory, the same inside and outside.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The cgroup directories on the host below which everything of the world is.
    #[must_use]
    pub fn cgroups(&self) -> &[PathBuf] {
        &self.cgroups
    }

    /// A command that will run in the world.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.first))
            .args(["--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup"])
            .args(["--", program]);
        command
    }

    /// Starts a daemon whose output goes to `NAME.log` in the directory, and waits until `socket` answers to a connection.
    ///
    /// # Errors
    /// The end of its log, when it does not come up.
    pub fn daemon(&mut self, program: &str, args: &[&str], socket: &str) -> Result<(), String> {
        let path = self.directory.join(format!("{program}.log"));
        let log = || {
            File::options()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(|e| e.to_string())
        };
        // nsenter forks for the pid namespace, and the daemon is to be ended by its own pid: a file tells it.
        let pid_file = self.directory.join(format!("{program}.pid"));
        let script = r#"file=$1; shift; echo $$ > "$file"; exec "$@""#;
        let child = self
            .command("sh")
            .args(["-c", script, "daemon"])
            .arg(&pid_file)
            .arg(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log()?)
            .stderr(log()?)
            .process_group(0)
            .spawn()
            .map_err(|e| format!("cannot start {program}: {e}"))?;
        self.daemons.push(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.answers(socket) {
            let dead = !matches!(self.daemons.last_mut().map(Child::try_wait), Some(Ok(None)));
            if dead || Instant::now() > deadline {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(20).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                return Err(format!("{program} did not come up:\n{}", tail.join("\n")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Whether somebody listens at a socket inside.
    fn answers(&self, socket: &str) -> bool {
        let path = format!("/proc/{}/root{socket}", self.first);
        std::os::unix::net::UnixStream::connect(path).is_ok()
    }

    /// Runs a shell script in the world and gives what it printed; its failure is an error with all output.
    ///
    /// # Errors
    /// The output of a script that failed.
    pub fn sh(&self, script: &str) -> Result<String, String> {
        let output = self
            .command("sh")
            .args(["-euc", script])
            .stdin(Stdio::null())
            .output()
            .map_err(|e| e.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(format!(
                "{script}: {}\n{}{}",
                output.status,
                text(&output.stdout),
                text(&output.stderr)
            ))
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Its death is the death of all in the pid namespace.
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
        for daemon in &mut self.daemons {
            let _ = daemon.wait();
        }
        drop(self.cleaner.stdin.take());
        let _ = self.cleaner.wait();
    }
}
