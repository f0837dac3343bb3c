//! Two network namespaces joined by a veth pair, and sandboxes in one of them. All of it ends with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use harness::run_name;
use integration::bundle::Bundle;
use serde_json::{Value, json};

/// A network namespace, as long as this lives.
pub(crate) struct Namespace(Child);

impl Namespace {
    pub(crate) fn new() -> Self {
        let holder = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--net"])
            .args(["sh", "-c", "echo there; exec sleep infinity"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv and unshare (util-linux) start");
        let mut this = Self(holder);
        // There is a namespace once the shell has spoken.
        let mut byte = [0];
        let out = this.0.stdout.as_mut().expect("a pipe");
        std::io::Read::read_exact(out, &mut byte).expect("the holder runs");
        this
    }

    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path()))
            // Whoever is killed takes along what it started.
            .args(["setpriv", "--pdeathsig", "KILL", "timeout", "120"])
            .args(["setpriv", "--pdeathsig", "KILL"])
            .args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("nsenter starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The host's side and the container's, joined.
pub(crate) fn pair() -> (Namespace, Namespace) {
    let (host, container) = (Namespace::new(), Namespace::new());
    let there = container.0.id().to_string();
    host.run(&[
        "ip", "link", "add", "veth0", "type", "veth", "peer", "name", "eth0", "netns", &there,
    ]);
    for (side, name, last) in [(&host, "veth0", 1), (&container, "eth0", 2)] {
        side.run(&["ip", "link", "set", "lo", "up"]);
        let v4 = format!("10.9.0.{last}/24");
        side.run(&["ip", "addr", "add", &v4, "dev", name]);
        let v6 = format!("fd09::{last}/64");
        side.run(&["ip", "addr", "add", &v6, "dev", name, "nodad"]);
        side.run(&["ip", "link", "set", name, "up"]);
    }
    (host, container)
}

pub(crate) fn rootfs() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache");
    let cache = std::env::var_os("RUNSC_TEST_CACHE").map_or_else(default, PathBuf::from);
    cache.join("rootfs")
}

/// A bundle that runs `args` in the namespace at `path`.
pub(crate) fn bundle(path: &str, args: &[&str]) -> Bundle {
    bundle_over(&rootfs(), path, args)
}

/// The same over another tree.
pub(crate) fn bundle_over(tree: &Path, path: &str, args: &[&str]) -> Bundle {
    assert!(
        tree.join("usr/bin/python3").exists(),
        "no Debian tree at {}: run cargo xtask rootfs (or network)",
        tree.display()
    );
    let bundle = Bundle::new(tree, args).expect("a bundle");
    let file = bundle.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    if !path.is_empty() {
        namespaces.push(json!({"type": "network", "path": path}));
    }
    // By the run's name, so that it is removed whatever ends the run.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    config["linux"]["cgroupsPath"] = json!(format!("/network-{}-{number}", run_name()));
    // What those get that may use a network: Docker's other defaults.
    for set in ["bounding", "effective", "permitted"] {
        let all = config["process"]["capabilities"][set].as_array_mut();
        if let Some(all) = all {
            all.extend(["CAP_NET_RAW", "CAP_NET_BIND_SERVICE"].map(Value::from));
        }
    }
    fs::write(&file, config.to_string()).unwrap();
    bundle
}

/// The platform of the test that runs; there is one at a time.
static PLATFORM: Mutex<String> = Mutex::new(String::new());

/// Runs a test on a platform.
pub(crate) fn on(platform: &str, test: fn()) {
    *PLATFORM.lock().unwrap_or_else(PoisonError::into_inner) = platform.to_owned();
    test();
}

/// Runs `runsc COMMAND… ID` on the bundle's own state.
pub(crate) fn runsc(bundle: &Bundle, command: &[&str]) -> Command {
    let platform = PLATFORM
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let mut runsc = Command::new("timeout");
    runsc
        .arg("150")
        .arg(harness::runsc())
        .args(["--platform", &platform, "--root"])
        .arg(bundle.path().join("state"))
        .args(command);
    runsc
}

pub(crate) fn run(bundle: &Bundle, id: &str) -> Output {
    let path = bundle.path().display().to_string();
    runsc(bundle, &["run", "--bundle", &path, id])
        .output()
        .expect("runsc starts")
}

/// Reads what a server prints when it listens.
pub(crate) fn wait_ready(child: &mut Child) {
    let mut word = [0; 6];
    let out = child.stdout.as_mut().expect("a pipe");
    std::io::Read::read_exact(out, &mut word).expect("the server listens");
    assert_eq!(&word, b"ready\n");
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Ends a container, however the test does.
pub(crate) struct Ends<'a>(pub(crate) &'a Bundle, pub(crate) &'a str);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        let _ = runsc(self.0, &["delete", "--force", self.1])
            .stderr(Stdio::null())
            .status();
    }
}

/// A container in the background.
pub(crate) struct Running {
    child: Child,
    output: Option<std::thread::JoinHandle<String>>,
}

/// Runs the bundle; what it says is kept.
pub(crate) fn run_in_background(bundle: &Bundle, id: &str) -> Running {
    let path = bundle.path().display().to_string();
    // Standard error goes where standard output goes.
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$@\" 2>&1", "run"])
        .args(words(&runsc(bundle, &["run", "--bundle", &path, id])));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("runsc starts");
    let mut out = child.stdout.take().expect("a pipe");
    let output = std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = std::io::Read::read_to_end(&mut out, &mut all);
        String::from_utf8_lossy(&all).into_owned()
    });
    Running {
        child,
        output: Some(output),
    }
}

/// A command's program and arguments.
fn words(command: &Command) -> Vec<std::ffi::OsString> {
    let program = std::iter::once(command.get_program().to_owned());
    program
        .chain(command.get_args().map(ToOwned::to_owned))
        .collect()
}

impl Running {
    /// Waits until it has ended; what it said.
    pub(crate) fn finish(&mut self) -> String {
        let _ = self.child.wait();
        self.output
            .take()
            .and_then(|output| output.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
