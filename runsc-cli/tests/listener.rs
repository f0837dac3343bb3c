//! Under a process that has a seccomp listener there can be no second one: `runsc` has to say so and use ptrace.
//!
//! Needs root; says so and passes otherwise.

use std::process::Command;

#[path = "common/host.rs"]
mod host;

use host::install_listener;

const HELPER: &str = "RUNSC_TEST_UNDER_A_LISTENER";

fn runsc(root: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runsc"));
    command
        .arg("--root")
        .arg(root)
        .args(["--network=none", "do", "/bin/echo", "it runs"]);
    command
}

/// Not a test of its own: what the test below starts, in a process that may be spoilt by a filter.
#[test]
fn helper() {
    let Some(root) = std::env::var_os(HELPER) else {
        return;
    };
    assert!(install_listener() >= 0, "no listener for the helper");
    let status = runsc(root.as_ref()).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_listener_that_is_there_already_is_named_and_ptrace_used() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let root = std::env::temp_dir().join(format!("runsc-listener-{}", std::process::id()));
    std::fs::create_dir_all(&root).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper", "--nocapture"])
        .env(HELPER, &root)
        .output()
        .unwrap();
    let plain = runsc(&root).output().unwrap();
    let _ = std::fs::remove_dir_all(&root);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("it runs"), "{out}{err}");
    let lines: Vec<_> = err
        .lines()
        .filter(|line| line.starts_with("warning: "))
        .collect();
    assert_eq!(lines.len(), 1, "{err}");
    assert!(
        lines[0].contains("listener") && lines[0].contains("ptrace"),
        "{err}"
    );
    // Without one nothing is said.
    assert_eq!(String::from_utf8_lossy(&plain.stderr), "");
    assert_eq!(String::from_utf8_lossy(&plain.stdout), "it runs\n");
}
