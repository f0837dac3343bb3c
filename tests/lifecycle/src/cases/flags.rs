//! Global flags, unknown words, ids.

use std::process::Command;

use serde_json::Value;

use super::cases;
use crate::Bench;

cases![
    version,
    repeated_and_single_dash,
    global_flags_are_taken,
    wrong_words,
    ids,
    text_log,
    log_file_errors,
    features_shape,
    spec_writes_a_bundle
];

fn version(b: &mut Bench) {
    let seen = b.run(&["--version"]);
    let lines: Vec<&str> = seen.stdout.lines().collect();
    b.note("code", seen.code);
    b.note(
        "first",
        lines
            .first()
            .is_some_and(|line| line.starts_with("runc version ")),
    );
    b.note(
        "second",
        lines
            .get(1)
            .is_some_and(|line| line.starts_with("commit: ")),
    );
    b.note(
        "third",
        lines
            .get(2)
            .is_some_and(|line| line.starts_with("spec: 1.")),
    );
    b.check("with a command", &["list", "-q"]);
}

fn bare(b: &Bench, args: &[&str]) -> Command {
    let mut command = Command::new(&b.runtime.program);
    command.args(args).current_dir(b.dir());
    command
}

fn repeated_and_single_dash(b: &mut Bench) {
    let root = b.state_root().display().to_string();
    for (key, args) in [
        (
            "repeated root",
            &["--root", "/nosuch", "--root", &root, "list"][..],
        ),
        ("equals", &[&format!("--root={root}"), "list"]),
        (
            "single dash",
            &["-root", &root, "-log-format", "json", "list", "-q"],
        ),
        (
            "systemd twice",
            &[
                "--root",
                &root,
                "--systemd-cgroup=false",
                "--systemd-cgroup=false",
                "list",
                "-q",
            ],
        ),
    ] {
        let seen = b.finish(&mut bare(b, args));
        b.note_all(key, &seen);
    }
}

fn global_flags_are_taken(b: &mut Bench) {
    for (key, flags) in [
        ("criu", &["--criu", "/usr/sbin/criu"][..]),
        ("rootless", &["--rootless=auto"]),
        ("debug", &["--debug=false"]),
        ("log format text", &["--log-format=text"]),
    ] {
        let mut args = flags.to_vec();
        args.extend(["list", "-q"]);
        b.check(key, &args);
    }
}

fn wrong_words(b: &mut Bench) {
    for (key, args) in [
        ("unknown flag", &["--bogus"][..]),
        ("unknown command", &["bogus"]),
        ("state without id", &["state"]),
        ("state with two", &["state", "a", "b"]),
        ("create with an unknown flag", &["create", "--bogus", "x"]),
        ("create without id", &["create"]),
        ("kill without id", &["kill"]),
        ("list format", &["list", "--format", "xml"]),
        ("log format", &["--log-format", "xml", "list"]),
    ] {
        let seen = b.run(args);
        b.note(&format!("{key}.code"), seen.code);
        b.note(
            &format!("{key}.says something"),
            !(seen.stderr.is_empty() && seen.stdout.is_empty()),
        );
    }
}

fn ids(b: &mut Bench) {
    for (key, id) in [
        ("empty", ""),
        ("slash", "a/b"),
        ("dot", "."),
        ("dots", ".."),
        ("blank", "a b"),
        ("umlaut", "ü"),
        ("newline", "a\nb"),
        ("percent", "a%b"),
    ] {
        b.check(&format!("create {key}"), &["create", id]);
        b.check(&format!("state {key}"), &["state", id]);
    }
    for id in ["a", "A.b", "a_b+c-d", "0"] {
        b.check(&format!("run {id}"), &["run", id]);
    }
}

fn text_log(b: &mut Bench) {
    let log = b.path("text.log");
    let mut command = bare(
        b,
        &[
            "--root",
            &b.state_root().display().to_string(),
            "--log",
            &log.display().to_string(),
            "state",
            "nope",
        ],
    );
    let seen = b.finish(&mut command);
    b.note_all("state", &seen);
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    b.note("lines", text.lines().count());
    b.note(
        "level and message",
        text.contains("level=error msg=\"container does not exist\""),
    );
    b.note("time", text.starts_with("time=\"20"));
}

fn log_file_errors(b: &mut Bench) {
    let root = b.state_root().display().to_string();
    let seen = b.finish(&mut bare(
        b,
        &["--root", &root, "--log", "/nosuch/dir/log", "list", "-q"],
    ));
    b.note("no directory.code", seen.code);
    b.note(
        "no directory.names it",
        seen.stderr.contains("/nosuch/dir/log"),
    );
    // Appended to, never truncated; each error one JSON object with exactly these keys.
    let log = b.path("kept.log").display().to_string();
    for _ in 0..2 {
        let _ = b.finish(&mut bare(
            b,
            &[
                "--root",
                &root,
                "--log",
                &log,
                "--log-format",
                "json",
                "state",
                "nope",
            ],
        ));
    }
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    b.note("lines", text.lines().count());
    for (number, line) in text.lines().enumerate() {
        let value: Value = serde_json::from_str(line).unwrap_or(Value::Null);
        let keys: Vec<String> = value
            .as_object()
            .map(|object| object.keys().cloned().collect())
            .unwrap_or_default();
        b.note(&format!("keys {number}"), keys.join(" "));
        b.note(
            &format!("time {number}"),
            value["time"]
                .as_str()
                .is_some_and(|time| time.len() >= 20 && time.as_bytes().get(10) == Some(&b'T')),
        );
    }
}

fn features_shape(b: &mut Bench) {
    let seen = b.finish(&mut bare(b, &["features"]));
    let value: Value = serde_json::from_str(&seen.stdout).unwrap_or(Value::Null);
    b.note("code", seen.code);
    b.note("err", &seen.stderr);
    for pointer in [
        "/ociVersionMin",
        "/ociVersionMax",
        "/hooks",
        "/mountOptions",
        "/linux/namespaces",
        "/linux/capabilities",
        "/linux/cgroup",
        "/linux/seccomp",
        "/linux/apparmor",
        "/linux/selinux",
    ] {
        b.note(pointer, value.pointer(pointer).is_some());
    }
    let names = |pointer: &str| {
        value
            .pointer(pointer)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(" ")
    };
    b.note("hooks", names("/hooks"));
    b.note("namespaces", names("/linux/namespaces"));
}

fn spec_writes_a_bundle(b: &mut Bench) {
    let dir = b.path("other");
    std::fs::create_dir(&dir).expect("a directory");
    let dir = dir.display().to_string();
    b.check("spec", &["spec", "--bundle", &dir]);
    b.check("again", &["spec", "--bundle", &dir]);
    let read = |b: &Bench| {
        serde_json::from_str::<Value>(
            &std::fs::read_to_string(b.path("other/config.json")).unwrap_or_default(),
        )
        .unwrap_or(Value::Null)
    };
    let value = read(b);
    for pointer in [
        "/process/args",
        "/process/terminal",
        "/process/user",
        "/process/env",
        "/process/cwd",
        "/process/capabilities",
        "/process/rlimits",
        "/process/noNewPrivileges",
        "/root",
        "/hostname",
        "/mounts",
        "/linux/namespaces",
        "/linux/maskedPaths",
        "/linux/readonlyPaths",
        "/linux/resources",
    ] {
        let text = value
            .pointer(pointer)
            .map_or("missing".to_owned(), |value| b.normal(&value.to_string()));
        b.note(pointer, text);
    }
    std::fs::remove_file(b.path("other/config.json")).expect("a file to remove");
    b.check("rootless", &["spec", "--rootless", "--bundle", &dir]);
    let value = read(b);
    b.note("rootless namespaces", &value["linux"]["namespaces"]);
    b.note("rootless mounts", &value["mounts"]);
}
