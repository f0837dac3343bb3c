//! create, start, run, state, delete: what is there when.

use std::fs;

use serde_json::{Value, json};

use super::cases;
use crate::Bench;
use crate::bench::ID;

cases![
    cycle,
    state_fields,
    pid_file,
    pid_file_errors,
    wrong_state,
    delete_states,
    run_codes,
    run_detached,
    run_keep,
    killed_by_signal,
    bundle_flag,
    missing_programs,
    working_directories,
    relative_root,
    linked_root,
    bad_bundles,
    lists,
    stopped_is_seen,
    process_of_the_caller,
    root_of_the_process,
    update_of_none,
];

fn cycle(b: &mut Bench) {
    b.script("exit 3");
    b.check("create", &["create", ID]);
    b.note("created", b.status(ID));
    b.check("start", &["start", ID]);
    b.wait_for("stopped");
    b.note("pid", b.pid());
    b.check("delete", &["delete", ID]);
    b.check("state", &["state", ID]);
}

fn state_fields(b: &mut Bench) {
    b.change(|config| config["annotations"] = json!({"a": "1", "org.example.b": "two"}));
    b.sleeper();
    let state = b.state(ID);
    let keys: Vec<String> = state
        .as_object()
        .map(|object| object.keys().cloned().collect())
        .unwrap_or_default();
    b.note("keys", keys.join(" "));
    for key in [
        "ociVersion",
        "id",
        "status",
        "bundle",
        "rootfs",
        "annotations",
        "owner",
    ] {
        let text = b.normal(&state[key].to_string());
        b.note(key, text);
    }
    b.note("pid", b.pid() > 1);
    b.note(
        "created",
        state["created"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z') && time.len() > 20),
    );
    let text = b.run(&["state", ID]).stdout;
    b.note("indented", text.starts_with("{\n  \"ociVersion\""));
}

fn pid_file(b: &mut Bench) {
    b.script("sleep 1000");
    b.check("create", &["create", "--pid-file", "pid", ID]);
    let text = fs::read_to_string(b.path("pid")).unwrap_or_default();
    b.note("is the pid", text == b.pid().to_string());
    b.note(
        "nothing beside it",
        fs::read_dir(b.dir()).map_or(0, |dir| {
            dir.flatten()
                .filter(|entry| entry.file_name().to_string_lossy().contains("pid"))
                .count()
        }),
    );
    b.check("delete", &["delete", "--force", ID]);
    b.note("stays", b.path("pid").exists());
}

fn pid_file_errors(b: &mut Bench) {
    let seen = b.run(&["create", "--pid-file", "/nosuch/dir/pid", ID]);
    b.note("code", seen.code);
    b.note(
        "names it",
        seen.stderr.contains("/nosuch/dir/") && seen.stderr.contains("no such file or directory"),
    );
    b.note("status", b.status(ID));
}

fn wrong_state(b: &mut Bench) {
    b.script("sleep 1000");
    b.check("create", &["create", ID]);
    b.check("create again", &["create", ID]);
    b.check("run again", &["run", ID]);
    b.check("resume created", &["resume", ID]);
    b.check("start", &["start", ID]);
    b.check("start again", &["start", ID]);
    b.check("resume running", &["resume", ID]);
    b.check("delete running", &["delete", ID]);
    b.check("pause", &["pause", ID]);
    b.check("pause again", &["pause", ID]);
    b.check("start paused", &["start", ID]);
    b.check("exec paused", &["exec", ID, "true"]);
    b.check("delete paused", &["delete", ID]);
    b.check("resume", &["resume", ID]);
    b.check("kill", &["kill", ID, "KILL"]);
    b.wait_for("stopped");
    b.check("start stopped", &["start", ID]);
    b.check("pause stopped", &["pause", ID]);
    b.check("resume stopped", &["resume", ID]);
    b.check("exec stopped", &["exec", ID, "true"]);
    b.check("ps stopped", &["ps", "--format", "json", ID]);
    b.check("update stopped", &["update", "--memory", "100000000", ID]);
    b.check("create stopped", &["create", ID]);
    b.check("delete", &["delete", ID]);
}

fn delete_states(b: &mut Bench) {
    b.script("sleep 1000");
    b.check("unknown", &["delete", "nope"]);
    b.check("unknown force", &["delete", "--force", "nope"]);
    b.check("create", &["create", ID]);
    b.check("created", &["delete", ID]);
    b.check("create 2", &["create", ID]);
    b.check("created force", &["delete", "-f", ID]);
    b.check("create 3", &["create", ID]);
    b.check("start 3", &["start", ID]);
    b.check("running force", &["delete", "--force", ID]);
    b.check("create 4", &["create", ID]);
    b.check("start 4", &["start", ID]);
    b.check("pause 4", &["pause", ID]);
    b.check("paused force", &["delete", "--force", ID]);
    b.check("gone", &["state", ID]);
}

fn run_codes(b: &mut Bench) {
    for code in [0, 1, 7, 125, 126, 127, 137, 255] {
        b.check_script(&format!("exit {code}"), &format!("exit {code}"));
    }
    b.check_script("output", "echo out; echo err >&2; exit 2");
}

fn run_detached(b: &mut Bench) {
    b.script("exit 5");
    b.check("run", &["run", "--detach", "--pid-file", "pid", ID]);
    b.wait_for("stopped");
    b.check("run again", &["run", "-d", ID]);
    b.check("delete", &["delete", ID]);
}

fn run_keep(b: &mut Bench) {
    b.script("exit 5");
    b.check("run", &["run", "--keep", ID]);
    b.note("status", b.status(ID));
    b.check("delete", &["delete", ID]);
}

fn killed_by_signal(b: &mut Bench) {
    for signal in ["KILL", "TERM", "SEGV", "ABRT"] {
        b.check_script(
            &format!("child {signal}"),
            &format!("sh -c 'kill -{signal} $$'; echo $?"),
        );
    }
    b.check_script(
        "init cannot kill itself",
        "kill -KILL $$; kill -TERM $$; echo alive",
    );
}

fn bundle_flag(b: &mut Bench) {
    let dir = b.dir().display().to_string();
    let mut command = b.command(&["run", "--bundle", &dir, ID]);
    command.current_dir("/");
    b.script("echo hello");
    let seen = b.finish(&mut command);
    b.note_all("absolute", &seen);
    b.check("relative", &["run", "-b", ".", ID]);
    b.check("none", &["run", "--bundle", "/nosuch", ID]);
    b.check("a file", &["run", "--bundle", "config.json", ID]);
}

fn missing_programs(b: &mut Bench) {
    fs::write(b.in_root("plain"), "#!/bin/sh\necho ran\n").expect("a file");
    fs::write(b.in_root("bin/notexec"), "x").expect("a file");
    for (key, program) in [
        ("bare", "nosuch"),
        ("absolute", "/nosuch"),
        ("below a file", "/etc/passwd/x"),
        ("not executable", "/plain"),
        ("directory", "/etc"),
        ("relative", "./nosuch"),
        ("empty", ""),
        ("in the path but not executable", "notexec"),
    ] {
        b.args(&[program]);
        b.check(&format!("run {key}"), &["run", ID]);
        b.check(&format!("create {key}"), &["create", ID]);
        b.note(&format!("status {key}"), b.status(ID));
        let _ = b.run(&["delete", "--force", ID]);
    }
    use std::os::unix::fs::PermissionsExt;
    for (key, text) in [
        ("no such interpreter", "#!/nosuch\n"),
        ("no format", "\u{7f}EL nothing"),
        ("shell script", "#!/bin/sh\necho ran \"$@\"\n"),
    ] {
        fs::write(b.in_root("program"), text).expect("a file");
        fs::set_permissions(b.in_root("program"), fs::Permissions::from_mode(0o755))
            .expect("its mode");
        b.args(&["/program", "a b"]);
        b.check(key, &["run", ID]);
    }
}

fn working_directories(b: &mut Bench) {
    for (key, cwd) in [
        ("exists", "/tmp"),
        ("missing", "/made/by/runtime"),
        ("a file", "/etc/passwd"),
        ("a link", "/link"),
        ("dots", "/tmp/../etc/."),
    ] {
        if key == "a link" {
            std::os::unix::fs::symlink("/etc", b.in_root("link")).expect("a link");
        }
        b.change(|config| config["process"]["cwd"] = json!(cwd));
        b.check_script(key, "pwd -P");
    }
    b.change(|config| {
        config["process"]["cwd"] = json!("/closed");
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["capabilities"] = json!({});
    });
    fs::create_dir(b.in_root("closed")).expect("a directory");
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(b.in_root("closed"), fs::Permissions::from_mode(0o700)).expect("its mode");
    b.check_script("not for the user", "pwd");
}

fn relative_root(b: &mut Bench) {
    let absolute = b.path("rootfs").display().to_string();
    b.change(|config| config["root"]["path"] = json!(absolute));
    b.check_script("absolute", "ls /");
    b.change(|config| config["root"]["path"] = json!("nosuch"));
    b.check("missing", &["run", ID]);
    b.change(|config| config["root"]["path"] = json!("config.json"));
    b.check("a file", &["run", ID]);
    b.change(|config| config["root"]["path"] = json!(""));
    b.check("empty", &["run", ID]);
}

fn linked_root(b: &mut Bench) {
    std::os::unix::fs::symlink("rootfs", b.path("link")).expect("a link");
    b.change(|config| config["root"]["path"] = json!("link"));
    b.check_script("run", "ls /");
}

fn bad_bundles(b: &mut Bench) {
    for (key, text) in [
        ("empty", ""),
        ("not JSON", "{"),
        ("an array", "[]"),
        ("a number", "5"),
        ("null", "null"),
    ] {
        fs::write(b.path("config.json"), text).expect("config.json");
        let seen = b.run(&["create", ID]);
        b.note(&format!("{key}.code"), seen.code);
        b.note(
            &format!("{key}.says"),
            !seen.stderr.is_empty() && seen.log.starts_with("error: "),
        );
    }
    let changes: [(&str, &str, Value); 12] = [
        ("args a string", "/process/args", json!("x")),
        ("uid negative", "/process/user/uid", json!(-1)),
        ("uid a string", "/process/user/uid", json!("0")),
        ("env a number", "/process/env", json!([5])),
        ("cwd null", "/process/cwd", json!(null)),
        ("mounts an object", "/mounts", json!({})),
        ("namespace without type", "/linux/namespaces", json!([{}])),
        ("unknown top field", "/unknown", json!(1)),
        ("version", "/ociVersion", json!("2.0.0")),
        ("version empty", "/ociVersion", json!("")),
        ("hostname a number", "/hostname", json!(5)),
        (
            "memory a string",
            "/linux/resources",
            json!({"memory": {"limit": "5"}}),
        ),
    ];
    let good = b.config.clone();
    for (key, pointer, value) in changes {
        let mut config = good.clone();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        config.pointer_mut(parent).expect("a parent")[name] = value;
        b.config = config;
        b.save();
        let seen = b.run(&["create", ID]);
        b.note(&format!("{key}.code"), seen.code);
        let _ = b.run(&["delete", "--force", ID]);
    }
}

fn lists(b: &mut Bench) {
    b.check("empty", &["list"]);
    b.check("empty json", &["list", "--format", "json"]);
    b.sleeper();
    let table = b.run(&["list"]);
    b.note(
        "header",
        table
            .stdout
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
    );
    let pid = b.pid().to_string();
    let row: Vec<String> = table
        .stdout
        .lines()
        .nth(1)
        .unwrap_or_default()
        .split_whitespace()
        .map(|word| {
            if word == pid {
                "PID".into()
            } else if word.starts_with("20") {
                "TIME".into()
            } else {
                word.to_owned()
            }
        })
        .collect();
    b.note("row", row.join(" "));
    b.check("quiet", &["list", "-q"]);
    let json: Value =
        serde_json::from_str(&b.run(&["list", "-f", "json"]).stdout).unwrap_or(Value::Null);
    let keys: Vec<String> = json[0]
        .as_object()
        .map(|object| object.keys().cloned().collect())
        .unwrap_or_default();
    b.note("json keys", keys.join(" "));
    b.note("json pid", json[0]["pid"] == json!(b.pid()));
    let _ = b.run(&["kill", ID, "KILL"]);
    b.wait_for("stopped");
    let row = b
        .run(&["list"])
        .stdout
        .lines()
        .nth(1)
        .unwrap_or_default()
        .split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ");
    b.note("stopped row", row);
}

fn stopped_is_seen(b: &mut Bench) {
    b.background("sleep 0.2; exit 4");
    let pid = b.pid();
    b.wait_for("stopped");
    b.note("pid", b.pid());
    let gone = b.eventually(|_| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
            || !fs::exists(format!("/proc/{pid}")).unwrap_or(true)
    });
    b.note("process gone", gone);
}

/// The pid that callers hold: a session leader in the container's cgroup and network namespace.
fn process_of_the_caller(b: &mut Bench) {
    b.sleeper();
    let pid = b.pid();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    b.note(
        "session leader",
        fields.get(3) == Some(&pid.to_string().as_str()),
    );
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let mut places: Vec<String> = cgroup
        .lines()
        .filter(|line| line.ends_with(&b.cgroup))
        .filter_map(|line| line.split(':').nth(1).map(str::to_owned))
        .collect();
    places.sort();
    b.note("cgroups", places.join(" "));
    for kind in ["net", "pid", "mnt", "uts", "ipc", "user"] {
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).ok();
        b.note(
            &format!("{kind} namespace of its own"),
            fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok() != own,
        );
    }
}

/// Callers copy files by the pid that they hold: in its mount namespace is the container, whatever its links say.
fn root_of_the_process(b: &mut Bench) {
    fs::create_dir(b.path("volume")).expect("a directory");
    fs::write(b.path("volume/file"), "volume").expect("a file");
    let _ = std::os::unix::fs::symlink("/..//../etc", b.in_root("link"));
    let volume = b.path("volume");
    b.change(|config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        for place in ["/made/here", "/mnt", "/link/there"] {
            mounts.push(json!({"destination": place, "type": "bind", "source": volume, "options": ["rbind", "ro"]}));
        }
    });
    b.sleeper();
    let root = std::path::PathBuf::from(format!("/proc/{}/root", b.pid()));
    let text =
        |path: &str| fs::read_to_string(root.join(path)).unwrap_or_else(|e| e.kind().to_string());
    let notes = [
        "etc/passwd",
        "made/here/file",
        "mnt/file",
        "etc/there/file",
        "etc/shadow",
        "proc/self/comm",
    ]
    .map(|path| (path, text(path)));
    for (path, text) in notes {
        // The guest's own file systems are nowhere on the host.
        if path != "proc/self/comm" {
            b.note(path, text);
        }
    }
    fs::write(root.join("root/from-outside"), "x").expect("a file by the process's root");
    b.check("seen", &["exec", "c", "cat", "/root/from-outside"]);
    let pid = b.pid().to_string();
    let out = std::process::Command::new("nsenter")
        .args(["--target", &pid, "--mount", "/bin/cat", "/mnt/file"])
        .output()
        .expect("nsenter");
    b.note("nsenter", String::from_utf8_lossy(&out.stdout));
}

fn update_of_none(b: &mut Bench) {
    for (key, args) in [
        ("start", &["start", "nope"][..]),
        ("pause", &["pause", "nope"]),
        ("exec", &["exec", "nope", "true"]),
        ("ps", &["ps", "nope"]),
        ("update", &["update", "--memory", "100", "nope"]),
        ("events", &["events", "--stats", "nope"]),
        ("kill", &["kill", "nope"]),
    ] {
        b.check(key, args);
    }
}
