//! The life of containers, with a kernel that runs nothing (`--features fake-kernel`): processes, cgroups, signals, hooks, terminals, failures.
//!
//! Needs root; says so and passes otherwise.

#[path = "common/host.rs"]
mod host;

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

struct Bench {
    dir: PathBuf,
    name: String,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for id in self.ids() {
            let _ = self.run(&["delete", "--force", &id]);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Bench {
    fn new(name: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let name = format!("runsc-life-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(&name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("rootfs")).unwrap();
        let bench = Self { dir, name };
        assert!(bench.run(&["spec"]).status.success());
        bench.change(|config| config["process"]["terminal"] = json!(false));
        Some(bench)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runsc"));
        command
            .args(["--root", self.path("root").to_str().unwrap()])
            .args(args)
            .current_dir(&self.dir);
        command
    }

    /// Output goes through files: a created container holds its stdio, and a pipe would not end before it does.
    fn run(&self, args: &[&str]) -> Output {
        static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (out, err) = (
            self.path(&format!("out{number}")),
            self.path(&format!("err{number}")),
        );
        let status = self
            .command(args)
            .stdin(Stdio::null())
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(&err).unwrap())
            .status()
            .unwrap();
        let output = Output {
            status,
            stdout: fs::read(&out).unwrap(),
            stderr: fs::read(&err).unwrap(),
        };
        fs::remove_file(out).unwrap();
        fs::remove_file(err).unwrap();
        output
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn code(&self, args: &[&str]) -> i32 {
        self.run(args).status.code().unwrap()
    }

    fn error(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?} succeeded");
        String::from_utf8(output.stderr).unwrap().trim().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn ids(&self) -> Vec<String> {
        String::from_utf8(self.run(&["list", "-q"]).stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        let path = self.path("config.json");
        let mut value: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut value);
        value["linux"]["cgroupsPath"] = json!(self.name);
        fs::write(path, value.to_string()).unwrap();
    }

    fn program(&self, args: &[&str]) {
        self.change(|config| config["process"]["args"] = json!(args));
    }

    fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.ok(&["state", id])).unwrap()
    }

    fn process(&self, id: &str, which: &str) -> i32 {
        let text = fs::read_to_string(self.path("root").join(id).join("state.json")).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        i32::try_from(value[which]["pid"].as_i64().unwrap()).unwrap()
    }

    /// No state, process or cgroup of this bench is left.
    fn assert_nothing_left(&self) {
        assert_eq!(self.ids(), Vec::<String>::new());
        let left = fs::read_dir(self.path("root"))
            .map(|dir| dir.count())
            .unwrap_or(0);
        assert_eq!(left, 0, "state directories");
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new());
    }

    fn cgroups(&self) -> Vec<PathBuf> {
        fn find(dir: &std::path::Path, name: &str, depth: u32, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(dir)
                .into_iter()
                .flatten()
                .filter_map(Result::ok)
            {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if entry.file_name() == name {
                        found.push(entry.path());
                    } else if depth > 0 {
                        find(&entry.path(), name, depth - 1, found);
                    }
                }
            }
        }
        let mut found = Vec::new();
        find("/sys/fs/cgroup".as_ref(), &self.name, 3, &mut found);
        found
    }
}

/// Waits until `done`, which something else brings about.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn run_gives_output_and_exit_code() {
    let Some(bench) = Bench::new("run") else {
        return;
    };
    bench.program(&["exit", "7"]);
    assert_eq!(bench.code(&["run", "a"]), 7);
    bench.program(&["echo", "hello", "there"]);
    assert_eq!(bench.ok(&["run", "a"]), "hello there\n");
    bench.program(&["fail"]);
    let error = bench.error(&["run", "a"]);
    assert_eq!(
        error,
        "runsc run failed: unable to start container process: exec: \"fail\": executable file not found in $PATH"
    );
    bench.assert_nothing_left();
}

#[test]
fn create_start_kill_delete() {
    let Some(bench) = Bench::new("cycle") else {
        return;
    };
    bench.program(&["sleep"]);
    bench.ok(&["create", "--pid-file", "pid", "a"]);
    let pid: i32 = fs::read_to_string(bench.path("pid"))
        .unwrap()
        .parse()
        .unwrap();
    let state = bench.state("a");
    assert_eq!(
        (state["status"].as_str(), state["pid"].as_i64()),
        (Some("created"), Some(i64::from(pid)))
    );
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session: i32 = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_ascii_whitespace()
        .nth(3)
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(session, pid, "the proxy is a session leader");
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(
        cgroup
            .lines()
            .filter(|line| line.ends_with(&bench.name))
            .count()
            >= 5,
        "{cgroup}"
    );
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_ne!(
        namespace(&pid.to_string()),
        namespace("self"),
        "the proxy is in the container's network namespace"
    );

    assert_eq!(
        bench.error(&["create", "a"]),
        "runsc create failed: container with given ID already exists"
    );
    bench.ok(&["start", "a"]);
    assert_eq!(bench.state("a")["status"], "running");
    assert_eq!(
        bench.error(&["start", "a"]),
        "cannot start an already running container"
    );
    assert!(
        bench
            .error(&["delete", "a"])
            .contains("is not stopped: running")
    );
    bench.ok(&["pause", "a"]);
    assert_eq!(bench.state("a")["status"], "paused");
    bench.ok(&["resume", "a"]);
    bench.ok(&["kill", "a", "SIGKILL"]);
    eventually("stopped", || bench.state("a")["status"] == "stopped");
    assert_eq!(bench.error(&["kill", "a", "9"]), "container not running");
    bench.ok(&["kill", "--all", "a", "9"]);
    assert_eq!(
        bench.ok(&["wait", "a"]),
        "{\"exitStatus\":137,\"id\":\"a\"}\n"
    );
    bench.ok(&["delete", "a"]);
    bench.assert_nothing_left();
}

#[test]
fn exec_has_a_pid_and_a_code() {
    let Some(bench) = Bench::new("exec") else {
        return;
    };
    bench.program(&["sleep"]);
    bench.ok(&["run", "-d", "a"]);
    assert_eq!(bench.code(&["exec", "a", "exit", "5"]), 5);
    assert_eq!(bench.ok(&["exec", "a", "echo", "-n", "x"]), "-n x\n");
    assert_eq!(bench.code(&["exec", "a", "fail"]), 255);
    fs::write(
        bench.path("process.json"),
        json!({"user": {}, "cwd": "/", "args": ["exit", "6"]}).to_string(),
    )
    .unwrap();
    assert_eq!(bench.code(&["exec", "--process", "process.json", "a"]), 6);
    bench.ok(&["exec", "--detach", "--pid-file", "pid", "a", "sleep"]);
    let pid: i32 = fs::read_to_string(bench.path("pid"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(alive(pid));
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGUSR1,
    )
    .unwrap();
    eventually("the exec's proxy ends with its process", || !alive(pid));
    assert_eq!(bench.state("a")["status"], "running");
    bench.ok(&["delete", "-f", "a"]);
    bench.assert_nothing_left();
}

#[test]
fn no_descriptor_of_the_caller_leaks() {
    let Some(bench) = Bench::new("leak") else {
        return;
    };
    bench.program(&["sleep"]);
    // Reads to the end of the pipe: would hang if sentry, gofer or proxy held it. The guest's own stdio is /dev/null here.
    let script = format!(
        "exec {} --root {} run -d a </dev/null >/dev/null 2>/dev/null",
        env!("CARGO_BIN_EXE_runsc"),
        bench.path("root").display()
    );
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(script)
        .current_dir(&bench.dir)
        .spawn()
        .unwrap();
    drop(writer);
    assert!(child.wait().unwrap().success());
    let mut rest = Vec::new();
    fs::File::from(reader).read_to_end(&mut rest).unwrap();
    for which in ["sentry", "gofer", "init"] {
        let pid = bench.process("a", which);
        let mut targets = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .filter_map(Result::ok)
            .filter_map(|fd| fs::read_link(fd.path()).ok());
        assert!(
            targets.all(|target| !target.to_string_lossy().starts_with("pipe:")),
            "{which} holds a pipe"
        );
    }
    bench.ok(&["delete", "-f", "a"]);
    bench.assert_nothing_left();
}

#[test]
fn whoever_is_killed_takes_the_container_along() {
    let Some(bench) = Bench::new("killed") else {
        return;
    };
    bench.program(&["sleep"]);
    for which in ["sentry", "init"] {
        bench.ok(&["run", "-d", "a"]);
        let pid = nix::unistd::Pid::from_raw(bench.process("a", which));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        eventually("stopped", || bench.state("a")["status"] == "stopped");
        bench.ok(&["delete", "a"]);
        bench.assert_nothing_left();
    }
}

#[test]
fn signals_to_the_foreground_command_reach_the_guest() {
    let Some(bench) = Bench::new("signals") else {
        return;
    };
    bench.program(&["sleep"]);
    let mut child: Child = bench
        .command(&["run", "a"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    eventually("running", || {
        bench
            .run(&["state", "a"])
            .stdout
            .windows(7)
            .any(|text| text == b"running")
    });
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    bench.assert_nothing_left();
}

#[test]
fn hooks_run_in_order_with_the_state() {
    let Some(bench) = Bench::new("hooks") else {
        return;
    };
    bench.program(&["exit", "0"]);
    let log = bench.path("log");
    let hook = |name: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("echo $NAME $(cat) >> {}", log.display())], "env": [format!("NAME={name}"), "PATH=/usr/bin:/bin"]}]);
    bench.change(|config| {
        config["hooks"] = json!({"prestart": hook("prestart"), "createRuntime": hook("createRuntime"), "createContainer": hook("createContainer"), "poststart": hook("poststart"), "poststop": hook("poststop")});
    });
    bench.ok(&["run", "a"]);
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<(&str, Value)> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, state)| (name, serde_json::from_str(state).unwrap()))
        .collect();
    let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "prestart",
            "createRuntime",
            "createContainer",
            "poststart",
            "poststop"
        ]
    );
    assert!(lines[0].1["pid"].as_i64().unwrap() > 1);
    assert_eq!(lines[0].1["status"], "creating");
    assert_eq!(lines[4].1["status"], "stopped");
    bench.assert_nothing_left();
}

#[test]
fn a_failing_hook_undoes_everything() {
    let Some(bench) = Bench::new("badhook") else {
        return;
    };
    bench.program(&["sleep"]);
    for (hook, words) in [
        (
            json!({"path": "/bin/false"}),
            "error running hook #0: error running hook: exit status 1, stdout: , stderr:",
        ),
        (
            json!({"path": "/nosuch"}),
            "error running hook #0: fork/exec /nosuch: no such file or directory",
        ),
        (
            json!({"path": "/bin/sleep", "args": ["sleep", "30"], "timeout": 1}),
            "error running hook #0: hook ran past specified timeout of 1.0s",
        ),
    ] {
        for point in ["createRuntime", "createContainer"] {
            bench.change(|config| config["hooks"] = json!({point: [hook.clone()]}));
            let error = bench.error(&["create", "a"]);
            assert!(error.contains(words), "{error}");
            bench.assert_nothing_left();
        }
    }
}

#[test]
fn failures_while_creating_leave_nothing() {
    let Some(bench) = Bench::new("undo") else {
        return;
    };
    bench.program(&["sleep"]);
    assert!(
        bench
            .error(&["create", "--pid-file", "/nosuch/dir/pid", "a"])
            .contains("cannot write the pid file /nosuch/dir/pid: no such file or directory")
    );
    bench.assert_nothing_left();
    bench.change(|config| config["linux"]["resources"]["memory"] = json!({"limit": 300_000}));
    let error = bench.error(&["create", "a"]);
    assert!(
        error.contains("memory limit of") && error.contains("too low"),
        "{error}"
    );
    bench.assert_nothing_left();
}

#[test]
fn limits_are_set_on_the_containers_cgroup() {
    let Some(bench) = Bench::new("limits") else {
        return;
    };
    bench.program(&["sleep"]);
    bench.change(|config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 134_217_728}, "cpu": {"shares": 512, "quota": 50_000, "period": 100_000}, "pids": {"limit": 20}});
    });
    bench.ok(&["run", "-d", "a"]);
    let read = |controller: &str, file: &str| {
        let dir = bench
            .cgroups()
            .into_iter()
            .find(|dir| dir.starts_with(format!("/sys/fs/cgroup/{controller}")))
            .unwrap();
        fs::read_to_string(dir.join(file))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(read("memory", "memory.limit_in_bytes"), "134217728");
    assert_eq!(read("cpu", "cpu.shares"), "512");
    assert_eq!(read("cpu", "cpu.cfs_quota_us"), "50000");
    let sentry = bench.process("a", "sentry").to_string();
    assert!(
        read("memory", "sentry/cgroup.procs")
            .lines()
            .any(|pid| pid == sentry)
    );
    bench.ok(&["update", "--memory", "268435456", "a"]);
    assert_eq!(read("memory", "memory.limit_in_bytes"), "268435456");
    let stats: Value = serde_json::from_str(&bench.ok(&["events", "--stats", "a"])).unwrap();
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], 268_435_456);
    assert!(stats["data"]["memory"]["usage"]["usage"].as_u64().unwrap() > 0);
    bench.ok(&["delete", "-f", "a"]);
    bench.assert_nothing_left();
}

#[test]
fn the_console_socket_gets_one_descriptor() {
    let Some(bench) = Bench::new("console") else {
        return;
    };
    bench.program(&["cat"]);
    bench.change(|config| config["process"]["terminal"] = json!(true));
    let listener = UnixListener::bind(bench.path("console")).unwrap();
    bench.ok(&["create", "--console-socket", "console", "a"]);
    let (stream, _) = listener.accept().unwrap();
    let mut master = receive_master(&stream);
    bench.ok(&["start", "a"]);
    std::io::Write::write_all(&mut master, b"through a terminal\n").unwrap();
    let mut buffer = [0; 19];
    master.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"through a terminal\n");
    eventually("stopped", || bench.state("a")["status"] == "stopped");
    bench.ok(&["delete", "a"]);
    bench.assert_nothing_left();
}

fn receive_master(stream: &std::os::unix::net::UnixStream) -> fs::File {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut name = [0u8; 4096];
    let mut space = nix::cmsg_space!([i32; 8]);
    let mut slices = [std::io::IoSliceMut::new(&mut name)];
    let message = recvmsg::<()>(
        stream.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::empty(),
    )
    .unwrap();
    assert!(message.bytes > 0, "a name of at least one byte");
    let fds: Vec<i32> = message
        .cmsgs()
        .unwrap()
        .flat_map(|control| {
            if let ControlMessageOwned::ScmRights(fds) = control {
                fds
            } else {
                Vec::new()
            }
        })
        .collect();
    assert_eq!(fds.len(), 1);
    host::adopt(fds[0]).into()
}

#[test]
fn the_sentry_has_nothing() {
    let Some(bench) = Bench::new("jail") else {
        return;
    };
    bench.program(&["sleep"]);
    bench.ok(&["run", "-d", "a"]);
    let pid = bench.process("a", "sentry");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(
        (field("NoNewPrivs:"), field("Seccomp:")),
        ("1".into(), "2".into())
    );
    assert!(
        field("NSpid:").ends_with("\t1"),
        "first of its pid namespace"
    );
    let uid: u32 = field("Uid:")
        .split_ascii_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(uid >= 0x7000_0000, "an id of its own, not {uid}");
    for kind in ["user", "pid", "mnt", "ipc", "uts", "net", "cgroup"] {
        assert_ne!(
            fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap(),
            fs::read_link(format!("/proc/self/ns/{kind}")).unwrap(),
            "{kind}"
        );
    }
    assert_eq!(
        fs::read_dir(format!("/proc/{pid}/root/")).unwrap().count(),
        0,
        "an empty root"
    );
    assert_eq!(
        fs::read_to_string(format!("/proc/{pid}/mountinfo"))
            .unwrap()
            .lines()
            .count(),
        1
    );
    // Lowering it needs CAP_SYS_RESOURCE, which not every root has.
    if fs::write("/proc/self/oom_score_adj", "-1").is_ok() {
        let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        assert_eq!(score.trim(), "-999");
    }
    bench.ok(&["delete", "-f", "a"]);
    bench.assert_nothing_left();
}
