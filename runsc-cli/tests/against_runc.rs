//! Bad input, compared with the installed `runc`: same words, same exit code, nothing left behind.
//!
//! Needs root and runc; says so and passes where they are missing. All of these fail before a sandbox would be started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

struct Bench {
    dir: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Bench {
    fn new(name: &str) -> Option<Self> {
        let runc = Command::new("runc").arg("--version").output();
        if runc.is_err() || !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root and runc");
            return None;
        }
        let dir = std::env::temp_dir().join(format!("runsc-bad-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("bundle/rootfs")).unwrap();
        Some(Self { dir })
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        let (root, log) = (
            self.dir.join(format!("{}-root", name_of(program))),
            self.log(program),
        );
        let _ = fs::remove_file(&log);
        Command::new(program)
            .args([
                "--root",
                root.to_str().unwrap(),
                "--log",
                log.to_str().unwrap(),
                "--log-format",
                "json",
            ])
            .args(args)
            .current_dir(self.dir.join("bundle"))
            .output()
            .unwrap()
    }

    fn log(&self, program: &str) -> PathBuf {
        self.dir.join(format!("{}.log", name_of(program)))
    }

    /// Runs both and compares exit code, the line on standard error and the message in the log.
    fn same(&self, what: &str, args: &[&str]) {
        let runc = self.run("runc", args);
        let ours = self.run(env!("CARGO_BIN_EXE_runsc"), args);
        assert_eq!(ours.status.code(), runc.status.code(), "{what}: exit codes");
        assert_eq!(
            last_line(&ours.stderr),
            last_line(&runc.stderr),
            "{what}: standard error"
        );
        assert_eq!(
            self.messages(env!("CARGO_BIN_EXE_runsc")),
            self.messages("runc"),
            "{what}: log"
        );
        let root = self.dir.join("runsc-root");
        let left: Vec<_> = fs::read_dir(root)
            .map(|dir| dir.filter_map(Result::ok).collect())
            .unwrap_or_default();
        assert!(left.is_empty(), "{what}: left behind {left:?}");
    }

    fn messages(&self, program: &str) -> Vec<String> {
        let text = fs::read_to_string(self.log(program)).unwrap_or_default();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a JSON line"));
        lines
            .filter(|line| line["level"] == "error")
            .map(|line| ours_to_theirs(line["msg"].as_str().unwrap_or("")))
            .collect()
    }

    fn config(&self, change: impl FnOnce(&mut Value)) {
        let output = Command::new(env!("CARGO_BIN_EXE_runsc"))
            .args(["spec", "-b"])
            .arg(&self.dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let file = self.dir.join("config.json");
        let mut value: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        fs::remove_file(file).unwrap();
        value["process"]["terminal"] = json!(false);
        change(&mut value);
        fs::write(self.dir.join("bundle/config.json"), value.to_string()).unwrap();
    }
}

fn name_of(program: &str) -> &str {
    Path::new(program)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or(program)
}

/// The programs call themselves by their own names.
fn ours_to_theirs(text: &str) -> String {
    text.replace("runsc", "runc")
}

fn last_line(bytes: &[u8]) -> String {
    ours_to_theirs(
        String::from_utf8_lossy(bytes)
            .trim()
            .lines()
            .last()
            .unwrap_or(""),
    )
}

#[test]
fn unknown_containers() {
    let Some(bench) = Bench::new("unknown") else {
        return;
    };
    for args in [
        &["state", "nope"][..],
        &["start", "nope"],
        &["kill", "nope"],
        &["kill", "nope", "KILL"],
        &["delete", "nope"],
        &["delete", "--force", "nope"],
        &["pause", "nope"],
        &["resume", "nope"],
        &["ps", "nope"],
        &["exec", "nope", "true"],
        &["update", "--memory", "1000000", "nope"],
        &["events", "--stats", "nope"],
    ] {
        bench.same(&format!("{args:?}"), args);
    }
}

#[test]
fn bad_bundles() {
    let Some(bench) = Bench::new("bundles") else {
        return;
    };
    bench.same("no config.json", &["create", "x"]);
    let cases: Vec<(&str, Box<dyn FnOnce(&mut Value)>)> = vec![
        ("no args", Box::new(|c| c["process"]["args"] = json!([]))),
        (
            "no process",
            Box::new(|c| drop(c.as_object_mut().unwrap().remove("process"))),
        ),
        (
            "no root",
            Box::new(|c| drop(c.as_object_mut().unwrap().remove("root"))),
        ),
        (
            "no linux",
            Box::new(|c| drop(c.as_object_mut().unwrap().remove("linux"))),
        ),
        ("empty cwd", Box::new(|c| c["process"]["cwd"] = json!(""))),
        (
            "relative cwd",
            Box::new(|c| c["process"]["cwd"] = json!("a")),
        ),
        (
            "unknown rlimit",
            Box::new(|c| {
                c["process"]["rlimits"] = json!([{"type": "RLIMIT_FOO", "hard": 1, "soft": 1}])
            }),
        ),
        (
            "unknown namespace",
            Box::new(|c| {
                c["linux"]["namespaces"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"type": "foo"}))
            }),
        ),
        (
            "doubled namespace",
            Box::new(|c| {
                c["linux"]["namespaces"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"type": "pid"}))
            }),
        ),
        (
            "hostname without uts",
            Box::new(|c| c["linux"]["namespaces"] = json!([{"type": "mount"}])),
        ),
        (
            "unknown sysctl",
            Box::new(|c| c["linux"]["sysctl"] = json!({"kernel.foo": "1"})),
        ),
        (
            "selinux",
            Box::new(|c| c["process"]["selinuxLabel"] = json!("a:b:c:d")),
        ),
        (
            "seccomp action",
            Box::new(|c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_FOO"})),
        ),
        (
            "seccomp arch",
            Box::new(|c| {
                c["linux"]["seccomp"] =
                    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_FOO"]})
            }),
        ),
        (
            "terminal without socket",
            Box::new(|c| c["process"]["terminal"] = json!(true)),
        ),
        (
            "root missing",
            Box::new(|c| c["root"]["path"] = json!("nosuch")),
        ),
        (
            "propagation",
            Box::new(|c| c["linux"]["rootfsPropagation"] = json!("foo")),
        ),
        (
            "device type",
            Box::new(|c| {
                c["linux"]["devices"] =
                    json!([{"path": "/dev/foo", "type": "z", "major": 1, "minor": 1}])
            }),
        ),
        (
            "user namespace without mappings",
            Box::new(|c| {
                c["linux"]["namespaces"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"type": "user"}))
            }),
        ),
        (
            "rdt",
            Box::new(|c| c["linux"]["intelRdt"] = json!({"l3CacheSchema": "x"})),
        ),
    ];
    for (what, change) in cases {
        bench.config(change);
        bench.same(what, &["create", "x"]);
    }
    bench.config(|_| {});
    bench.same(
        "console socket without terminal",
        &["create", "--console-socket", "/nosuch", "x"],
    );
}

#[test]
fn terminal_socket_missing() {
    let Some(bench) = Bench::new("socket") else {
        return;
    };
    bench.config(|c| c["process"]["terminal"] = json!(true));
    bench.same(
        "no such socket",
        &["create", "--console-socket", "/nosuch", "x"],
    );
}

#[test]
fn lists_and_features_are_json() {
    let Some(bench) = Bench::new("lists") else {
        return;
    };
    for args in [&["list"][..], &["list", "-f", "json"], &["list", "-q"]] {
        let (ours, runc) = (
            bench.run(env!("CARGO_BIN_EXE_runsc"), args),
            bench.run("runc", args),
        );
        assert_eq!(
            String::from_utf8_lossy(&ours.stdout),
            String::from_utf8_lossy(&runc.stdout),
            "{args:?}"
        );
    }
    let features = bench.run(env!("CARGO_BIN_EXE_runsc"), &["features"]);
    assert!(features.stderr.is_empty());
    let value: Value = serde_json::from_slice(&features.stdout).unwrap();
    assert_eq!(value["ociVersionMin"], "1.0.0");
}

#[test]
fn unknown_commands_exit_3() {
    let Some(bench) = Bench::new("commands") else {
        return;
    };
    let ours = bench.run(env!("CARGO_BIN_EXE_runsc"), &["bogus"]);
    assert_eq!(ours.status.code(), Some(3));
    assert!(!ours.stderr.is_empty());
}

#[test]
fn wrong_flags_exit_1() {
    let Some(bench) = Bench::new("flags") else {
        return;
    };
    for args in [
        &["--bogus"][..],
        &["state"],
        &["create", "--bogus", "x"],
        &["kill"],
    ] {
        let ours = bench.run(env!("CARGO_BIN_EXE_runsc"), args);
        assert_eq!(ours.status.code(), Some(1), "{args:?}");
        assert!(!ours.stderr.is_empty(), "{args:?}");
    }
}
