//! Hooks: order, environment, state, failures.

use std::fs;

use serde_json::{Value, json};

use super::cases;
use crate::Bench;
use crate::bench::ID;

cases![
    order,
    state_on_input,
    environment,
    arguments,
    failures,
    poststart_failure,
    poststop_failure,
    timeouts,
    several,
    start_container_inside,
    with_create_and_start
];

const POINTS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

fn shell_hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]})
}

fn order(b: &mut Bench) {
    let log = b.path("hooks.log").display().to_string();
    let hooks: serde_json::Map<String, Value> = POINTS
        .iter()
        .filter(|point| **point != "startContainer")
        .map(|point| {
            (
                (*point).to_owned(),
                json!([shell_hook(&format!("echo {point} >> {log}"))]),
            )
        })
        .collect();
    b.change(|config| config["hooks"] = Value::Object(hooks));
    b.check_script("run", "echo process");
    b.note("order", fs::read_to_string(&log).unwrap_or_default());
}

fn with_create_and_start(b: &mut Bench) {
    let log = b.path("hooks.log").display().to_string();
    let hooks: serde_json::Map<String, Value> = POINTS
        .iter()
        .filter(|point| **point != "startContainer")
        .map(|point| {
            (
                (*point).to_owned(),
                json!([shell_hook(&format!("echo {point} >> {log}"))]),
            )
        })
        .collect();
    b.change(|config| config["hooks"] = Value::Object(hooks));
    b.script("sleep 1000");
    for args in [&["create", ID][..], &["start", ID], &["kill", ID, "KILL"]] {
        b.check(args[0], args);
        let text = fs::read_to_string(&log).unwrap_or_default();
        b.note(&format!("after {}", args[0]), text.replace('\n', " "));
    }
    b.wait_for("stopped");
    b.check("delete", &["delete", ID]);
    b.note(
        "after delete",
        fs::read_to_string(&log)
            .unwrap_or_default()
            .replace('\n', " "),
    );
}

fn state_on_input(b: &mut Bench) {
    let dir = b.dir().display().to_string();
    let hooks: serde_json::Map<String, Value> = POINTS
        .iter()
        .filter(|point| **point != "startContainer")
        .map(|point| {
            (
                (*point).to_owned(),
                json!([shell_hook(&format!("cat > {dir}/state.{point}"))]),
            )
        })
        .collect();
    b.change(|config| {
        config["hooks"] = Value::Object(hooks);
        config["annotations"] = json!({"k": "v"});
    });
    b.check("run", &["run", ID]);
    for point in POINTS.iter().filter(|point| **point != "startContainer") {
        let state: Value = serde_json::from_str(
            &fs::read_to_string(b.path(&format!("state.{point}"))).unwrap_or_default(),
        )
        .unwrap_or(Value::Null);
        for key in ["ociVersion", "id", "status", "bundle", "annotations"] {
            let text = b.normal(&state[key].to_string());
            b.note(&format!("{point}.{key}"), text);
        }
        b.note(
            &format!("{point}.pid"),
            state["pid"].as_i64().is_some_and(|pid| pid > 0),
        );
    }
}

fn environment(b: &mut Bench) {
    let dir = b.dir().display().to_string();
    b.change(|config| config["hooks"] = json!({"createRuntime": [{"path": "/usr/bin/env", "args": ["env"], "env": ["A=1", "B=two words"]}]}));
    b.check("given", &["run", ID]);
    b.change(|config| config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", format!("/usr/bin/env | /usr/bin/sort > {dir}/env; pwd > {dir}/cwd; ls /proc/self/fd | /usr/bin/wc -l > {dir}/fds")], "env": ["A=1", "B=two words"]}]}));
    b.check("seen", &["run", ID]);
    for file in ["env", "cwd", "fds"] {
        let text = b.normal(&fs::read_to_string(b.path(file)).unwrap_or_default());
        b.note(file, text);
    }
    b.change(|config| config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", format!("/usr/bin/env > {dir}/none")]}]}));
    b.check("none", &["run", ID]);
    let none = fs::read_to_string(b.path("none")).unwrap_or_default();
    b.note(
        "none.env is empty",
        none.lines().all(|line| line.starts_with("PWD=")),
    );
}

fn arguments(b: &mut Bench) {
    let out = b.path("args").display().to_string();
    b.change(|config| config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["my-name", "-c", format!("echo \"$0\" \"$@\" > {out}"), "zero", "one"]}]}));
    b.check("run", &["run", ID]);
    b.note("args", fs::read_to_string(&out).unwrap_or_default());
    b.change(|config| config["hooks"] = json!({"createRuntime": [{"path": "/bin/true"}]}));
    b.check("no args", &["run", ID]);
    b.change(|config| config["hooks"] = json!({"createRuntime": [{"path": "bin/true"}]}));
    b.check("relative path", &["run", ID]);
    b.change(|config| config["hooks"] = json!({"createRuntime": [{"path": ""}]}));
    b.check("empty path", &["run", ID]);
}

fn failures(b: &mut Bench) {
    for point in ["prestart", "createRuntime", "createContainer"] {
        for (key, hook) in [
            ("exit code", shell_hook("echo out; echo err >&2; exit 3")),
            ("missing", json!({"path": "/nosuch"})),
            ("not executable", json!({"path": "/etc/passwd"})),
            ("signal", shell_hook("kill -9 $$")),
        ] {
            b.change(|config| config["hooks"] = json!({point: [hook]}));
            b.check(&format!("{point} {key}"), &["create", ID]);
            b.note(&format!("{point} {key} status"), b.status(ID));
        }
    }
}

fn poststart_failure(b: &mut Bench) {
    b.change(|config| config["hooks"] = json!({"poststart": [shell_hook("exit 3")]}));
    b.script("sleep 1000");
    b.check("create", &["create", ID]);
    b.check("start", &["start", ID]);
    b.note("status", b.status(ID));
    let _ = b.run(&["delete", "--force", ID]);
    b.check("run", &["run", ID]);
    b.note("run status", b.status(ID));
}

fn poststop_failure(b: &mut Bench) {
    b.change(|config| {
        config["hooks"] = json!({"poststop": [shell_hook("exit 3"), shell_hook("exit 4")]})
    });
    let seen = b.check("run", &["run", ID]);
    let _ = seen;
    b.note("status", b.status(ID));
}

fn timeouts(b: &mut Bench) {
    b.change(|config| config["hooks"] = json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "30"], "timeout": 1}]}));
    b.check("too long", &["create", ID]);
    b.change(|config| config["hooks"] = json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "0.1"], "timeout": 5}]}));
    b.check("in time", &["run", ID]);
    // Long enough that it cannot end before the timeout that is already over: then it would be a race, in runc too.
    b.change(|config| config["hooks"] = json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "30"], "timeout": -1}]}));
    b.check("negative", &["run", ID]);
}

fn several(b: &mut Bench) {
    let log = b.path("hooks.log").display().to_string();
    let hook = |n: u32| shell_hook(&format!("echo {n} >> {log}"));
    b.change(|config| {
        config["hooks"] =
            json!({"createRuntime": [hook(1), hook(2), {"path": "/bin/false"}, hook(4)]})
    });
    b.check("run", &["run", ID]);
    b.note(
        "ran",
        fs::read_to_string(&log)
            .unwrap_or_default()
            .replace('\n', " "),
    );
}

fn start_container_inside(b: &mut Bench) {
    b.change(|config| {
        config["hooks"] = json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "hostname > /from-hook; cat > /hook-state; env > /hook-env; exit 0"], "env": ["PATH=/bin", "H=1"]}]});
    });
    b.check_script(
        "run",
        "cat /from-hook; grep -o '\"status\":\"[a-z]*\"' /hook-state; grep H= /hook-env",
    );
    b.change(|config| config["hooks"] = json!({"startContainer": [{"path": "/bin/false"}]}));
    let seen = b.run(&["create", ID]);
    b.note("failing create", seen.code);
    let seen = b.run(&["start", ID]);
    b.note("failing start", seen.code);
    let stopped = b.eventually(|b| matches!(b.status(ID).as_str(), "stopped" | "none"));
    b.note("failing stops it", stopped);
}
