//! Texts that callers match, and events.

use serde_json::Value;

use super::cases;
use crate::Bench;
use crate::bench::ID;

cases![events_stats, events_of_stopped, wait_command, restore_probe];

fn events_stats(b: &mut Bench) {
    b.sleeper();
    let seen = b.run(&["events", "--stats", ID]);
    let value: Value = serde_json::from_str(&seen.stdout).unwrap_or(Value::Null);
    b.note("code", seen.code);
    b.note("type", &value["type"]);
    b.note("id", &value["id"]);
    for pointer in [
        "/data/cpu/usage/total",
        "/data/cpu/usage/percpu/0",
        "/data/cpu/usage/kernel",
        "/data/cpu/usage/user",
        "/data/cpu/throttling",
        "/data/memory/usage/limit",
        "/data/memory/usage/usage",
        "/data/memory/usage/max",
        "/data/memory/usage/failcnt",
        "/data/memory/raw/rss",
        "/data/memory/raw/cache",
        "/data/pids/current",
        "/data/blkio",
        "/data/hugetlb",
    ] {
        b.note(
            pointer,
            value.pointer(pointer).is_some_and(|value| !value.is_null()),
        );
    }
    b.note(
        "memory is used",
        value
            .pointer("/data/memory/usage/usage")
            .and_then(Value::as_u64)
            .is_some_and(|bytes| bytes > 100_000),
    );
    b.note(
        "cpu is used",
        value
            .pointer("/data/cpu/usage/total")
            .and_then(Value::as_u64)
            .is_some_and(|time| time > 0),
    );
    b.note(
        "processes",
        value
            .pointer("/data/pids/current")
            .map_or("none".to_owned(), Value::to_string),
    );
}

fn events_of_stopped(b: &mut Bench) {
    b.background("exit 0");
    b.wait_for("stopped");
    b.check("events", &["events", "--stats", ID]);
    b.check("interval", &["events", "--interval", "0s", ID]);
}

fn wait_command(b: &mut Bench) {
    if !b.runtime.is_ours() {
        // runc has none: what ours must print.
        b.note("wait", "{\"exitStatus\":7,\"id\":\"c\"}\n");
        return;
    }
    b.background("exit 7");
    let seen = b.run(&["wait", ID]);
    b.note("wait", seen.stdout);
}

/// Podman looks for these words.
fn restore_probe(b: &mut Bench) {
    let seen = b.run(&["restore", "--lsm-mount-context"]);
    b.note("restore", seen.code != 0);
}
