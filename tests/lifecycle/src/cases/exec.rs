//! exec in all its forms.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::cases;
use crate::Bench;
use crate::bench::ID;
use crate::console::Console;

cases![
    codes,
    user_flag,
    environment,
    working_directory,
    capabilities,
    process_file,
    process_errors,
    detached,
    detached_signals,
    errors,
    console_socket,
    no_new_privileges,
    groups,
    sees_the_container,
    in_created,
    many,
    killed_with_container,
    preserved_descriptors,
    ps_lists,
];

fn codes(b: &mut Bench) {
    b.sleeper();
    for code in [0, 3, 126, 255] {
        b.check(
            &format!("exit {code}"),
            &["exec", ID, "sh", "-c", &format!("exit {code}")],
        );
    }
    b.check(
        "output",
        &["exec", ID, "sh", "-c", "echo out; echo err >&2"],
    );
    b.check("killed", &["exec", ID, "sh", "-c", "kill -9 $$"]);
    b.check("segv", &["exec", ID, "sh", "-c", "kill -SEGV $$"]);
    b.check(
        "flags of the program",
        &["exec", ID, "echo", "-n", "--tty", "-e", "x"],
    );
    let seen = b.run_with_input(&["exec", ID, "cat"], "through standard input\n");
    b.note_all("input", &seen);
}

fn user_flag(b: &mut Bench) {
    b.sleeper();
    for (key, user) in [
        ("uid", "1000"),
        ("uid and gid", "1000:50"),
        ("root", "0:0"),
        ("unknown uid", "4242"),
        ("name", "user"),
        ("name and group", "user:staff"),
        ("unknown name", "nobody"),
        ("negative", "-5"),
    ] {
        b.check(
            key,
            &[
                "exec",
                "--user",
                user,
                ID,
                "sh",
                "-c",
                "id -u; id -g; echo $HOME",
            ],
        );
    }
}

fn groups(b: &mut Bench) {
    b.change(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [7, 8]})
    });
    b.sleeper();
    b.check(
        "inherited",
        &[
            "exec",
            ID,
            "sh",
            "-c",
            "id -G; grep Groups /proc/self/status",
        ],
    );
    b.check(
        "added",
        &[
            "exec",
            "--additional-gids",
            "50",
            "--additional-gids",
            "60",
            ID,
            "sh",
            "-c",
            "grep Groups /proc/self/status",
        ],
    );
}

fn environment(b: &mut Bench) {
    b.change(|config| config["process"]["env"] = json!(["PATH=/bin", "A=1", "B=2"]));
    b.sleeper();
    b.check(
        "inherited",
        &["exec", ID, "sh", "-c", "echo $A $B $C $HOME $PATH"],
    );
    b.check(
        "added",
        &[
            "exec",
            "--env",
            "A=9",
            "--env",
            "C=3",
            ID,
            "sh",
            "-c",
            "echo $A $B $C",
        ],
    );
    b.check(
        "empty",
        &["exec", "--env", "A=", ID, "sh", "-c", "echo [$A]"],
    );
    b.check("path", &["exec", "--env", "PATH=/nosuch", ID, "true"]);
}

fn working_directory(b: &mut Bench) {
    b.change(|config| config["process"]["cwd"] = json!("/etc"));
    b.sleeper();
    b.check("inherited", &["exec", ID, "pwd"]);
    b.check("given", &["exec", "--cwd", "/tmp", ID, "pwd"]);
    b.check("missing", &["exec", "--cwd", "/nosuch/dir", ID, "pwd"]);
    b.check("relative", &["exec", "--cwd", "tmp", ID, "pwd"]);
}

fn capabilities(b: &mut Bench) {
    b.sleeper();
    let show = ["sh", "-c", "grep Cap /proc/self/status"];
    let with = |flags: &[&'static str]| [&["exec"], flags, &[ID], &show[..]].concat();
    b.check("inherited", &with(&[]));
    b.check("one more", &with(&["--cap", "CAP_SYS_ADMIN"]));
    b.check(
        "two",
        &with(&["--cap", "CAP_SYS_ADMIN", "--cap", "CAP_SYSLOG"]),
    );
    b.check("unknown", &with(&["--cap", "CAP_FOO"]));
    b.check("user", &with(&["--user", "1000", "--cap", "CAP_SYS_ADMIN"]));
}

fn no_new_privileges(b: &mut Bench) {
    b.sleeper();
    b.check(
        "off",
        &["exec", ID, "grep", "NoNewPrivs", "/proc/self/status"],
    );
    b.check(
        "on",
        &[
            "exec",
            "--no-new-privs",
            ID,
            "grep",
            "NoNewPrivs",
            "/proc/self/status",
        ],
    );
}

fn process_file(b: &mut Bench) {
    b.sleeper();
    let process = json!({
        "user": {"uid": 1000, "gid": 50, "additionalGids": [9]},
        "cwd": "/tmp",
        "env": ["PATH=/bin", "X=y"],
        "args": ["sh", "-c", "pwd; echo $X; id -u; id -g; grep -E 'Groups|NoNewPrivs|CapEff|CapBnd' /proc/self/status; ulimit -Hn; exit 6"],
        "noNewPrivileges": true,
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}]
    });
    fs::write(b.path("process.json"), process.to_string()).expect("process.json");
    b.check("run", &["exec", "--process", "process.json", ID]);
    b.check("short flag", &["exec", "-p", "process.json", ID]);
}

fn process_errors(b: &mut Bench) {
    b.sleeper();
    b.check("missing", &["exec", "--process", "/nosuch.json", ID]);
    fs::write(
        b.path("process.json"),
        json!({"cwd": "/", "args": []}).to_string(),
    )
    .expect("process.json");
    b.check("no args", &["exec", "--process", "process.json", ID]);
    fs::write(
        b.path("process.json"),
        json!({"cwd": "", "args": ["true"]}).to_string(),
    )
    .expect("process.json");
    b.check("no cwd", &["exec", "--process", "process.json", ID]);
    fs::write(b.path("process.json"), "{").expect("process.json");
    let seen = b.run(&["exec", "--process", "process.json", ID]);
    b.note("broken.code", seen.code);
    b.note("broken.says", !seen.stderr.is_empty());
    fs::write(
        b.path("process.json"),
        json!({"cwd": "/", "args": ["true"], "user": {}, "terminal": true}).to_string(),
    )
    .expect("process.json");
    b.check(
        "terminal without socket",
        &["exec", "--detach", "--process", "process.json", ID],
    );
}

fn detached(b: &mut Bench) {
    b.sleeper();
    b.check(
        "exec",
        &[
            "exec",
            "--detach",
            "--pid-file",
            "pid",
            ID,
            "sh",
            "-c",
            "echo here > /tmp/mark; sleep 1000",
        ],
    );
    let text = fs::read_to_string(b.path("pid")).unwrap_or_default();
    let pid: i32 = text.parse().unwrap_or(0);
    b.note(
        "digits only",
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
    );
    b.note("not the init", pid != b.pid());
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    b.note("session leader", fields.get(3) == Some(&text.as_str()));
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    b.note(
        "in the cgroup",
        cgroup.lines().any(|line| line.ends_with(&b.cgroup)),
    );
    let own = fs::read_link(format!("/proc/{}/ns/net", b.pid())).ok();
    b.note(
        "in the network namespace",
        fs::read_link(format!("/proc/{pid}/ns/net")).ok() == own,
    );
    let mark = b.eventually(|b| b.run(&["exec", ID, "cat", "/tmp/mark"]).stdout == "here\n");
    b.note("it ran", mark);
    b.note("status", b.status(ID));
}

/// Callers signal the pid itself.
fn detached_signals(b: &mut Bench) {
    b.sleeper();
    for (key, signal) in [("term", Signal::SIGTERM), ("kill", Signal::SIGKILL)] {
        b.check(
            key,
            &["exec", "--detach", "--pid-file", "pid", ID, "sleep", "777"],
        );
        let pid: i32 = fs::read_to_string(b.path("pid"))
            .unwrap_or_default()
            .parse()
            .unwrap_or(0);
        let there = b.eventually(|b| {
            b.run(&[
                "exec",
                ID,
                "sh",
                "-c",
                "ps | grep -v grep | grep -c 'sleep 777'",
            ])
            .stdout
                == "1\n"
        });
        b.note(&format!("{key}.there"), there);
        let _ = kill(Pid::from_raw(pid), signal);
        let gone = b.eventually(|b| {
            b.run(&[
                "exec",
                ID,
                "sh",
                "-c",
                "ps | grep -v grep | grep -c 'sleep 777'",
            ])
            .stdout
                == "0\n"
        });
        b.note(&format!("{key}.gone"), gone);
        let ended = b.eventually(|_| {
            fs::read_to_string(format!("/proc/{pid}/stat"))
                .map_or(true, |stat| stat.contains(") Z "))
        });
        b.note(&format!("{key}.ended"), ended);
    }
    b.note("status", b.status(ID));
}

fn errors(b: &mut Bench) {
    b.sleeper();
    b.check("no command", &["exec", ID]);
    b.check("no id", &["exec"]);
    b.check("unknown id", &["exec", "nope", "true"]);
    for (key, program) in [
        ("bare", "nosuch"),
        ("absolute", "/nosuch"),
        ("not executable", "/etc/passwd"),
        ("directory", "/etc"),
        ("below a file", "/etc/passwd/x"),
    ] {
        b.check(key, &["exec", ID, program]);
        b.check(
            &format!("{key} detached"),
            &["exec", "--detach", "--pid-file", "pid", ID, program],
        );
        b.note(&format!("{key} pid file"), b.path("pid").exists());
    }
    b.note("status", b.status(ID));
}

fn console_socket(b: &mut Bench) {
    b.sleeper();
    let console = Console::listen(&b.path("socket"));
    b.check(
        "exec",
        &[
            "exec",
            "--tty",
            "--console-socket",
            "socket",
            "--detach",
            "--pid-file",
            "pid",
            ID,
            "sh",
            "-c",
            "tty; stty size; read x; echo got $x; exit 4",
        ],
    );
    let Some(mut master) = console.accept() else {
        return b.note("master", "none");
    };
    let shape = master.shape.clone();
    b.note("master", shape);
    let text = master.until("\n");
    b.note(
        "tty",
        text.lines()
            .next()
            .unwrap_or_default()
            .starts_with("/dev/pts/"),
    );
    master.type_in("hello\n");
    b.note("relayed", master.until("got hello").contains("got hello"));
    b.check(
        "socket without tty",
        &["exec", "--console-socket", "socket", "--detach", ID, "true"],
    );
    b.check(
        "tty without socket",
        &["exec", "--tty", "--detach", ID, "true"],
    );
    b.check(
        "no such socket",
        &[
            "exec",
            "--tty",
            "--console-socket",
            "/nosuch",
            "--detach",
            ID,
            "true",
        ],
    );
}

fn sees_the_container(b: &mut Bench) {
    b.background("echo from-init > /tmp/file; sleep 1000");
    let ready = b.eventually(|b| b.run(&["exec", ID, "cat", "/tmp/file"]).stdout == "from-init\n");
    b.note("ready", ready);
    b.check("hostname", &["exec", ID, "hostname"]);
    b.check(
        "init",
        &["exec", ID, "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline"],
    );
    b.check(
        "not its child",
        &["exec", ID, "sh", "-c", "cut -d' ' -f4 /proc/$$/stat"],
    );
    b.check("limits", &["exec", ID, "sh", "-c", "ulimit -Hn; umask"]);
    b.check(
        "cgroup",
        &[
            "exec",
            ID,
            "sh",
            "-c",
            "cut -d: -f2 /proc/self/cgroup | sort",
        ],
    );
    b.check("descriptors", &["exec", ID, "sh", "-c", "ls /proc/self/fd"]);
}

fn in_created(b: &mut Bench) {
    b.script("exit 0");
    b.check("create", &["create", ID]);
    b.check("exec", &["exec", ID, "sh", "-c", "echo in; exit 5"]);
    b.check("start", &["start", ID]);
    b.wait_for("stopped");
}

fn many(b: &mut Bench) {
    b.sleeper();
    let children: Vec<_> = (0..8)
        .map(|n| {
            b.command(&["exec", ID, "sh", "-c", &format!("exit {n}")])
                .stdin(std::process::Stdio::null())
                .spawn()
                .expect("exec")
        })
        .collect();
    let codes: Vec<String> = children
        .into_iter()
        .map(|mut child| {
            child
                .wait()
                .map_or("?".into(), |status| status.code().unwrap_or(-1).to_string())
        })
        .collect();
    b.note("codes", codes.join(" "));
    b.note("status", b.status(ID));
}

fn killed_with_container(b: &mut Bench) {
    b.sleeper();
    let mut child = b
        .command(&["exec", ID, "sleep", "777"])
        .stdin(std::process::Stdio::null())
        .spawn()
        .expect("exec");
    let there = b.eventually(|b| {
        b.run(&[
            "exec",
            ID,
            "sh",
            "-c",
            "ps | grep -v grep | grep -c 'sleep 777'",
        ])
        .stdout
            == "1\n"
    });
    b.note("there", there);
    b.check("kill", &["kill", ID, "KILL"]);
    let code = child.wait().ok().and_then(|status| status.code());
    b.note("code", format!("{code:?}"));
}

fn preserved_descriptors(b: &mut Bench) {
    b.sleeper();
    let run = |b: &Bench, flags: &str, redirect: &str| {
        let inner = b.command(&[]);
        let mut command = std::process::Command::new("/bin/sh");
        let script = format!(
            "exec \"$@\" exec {flags} {ID} sh -c 'ls /proc/self/fd | tr \"\\n\" \" \"; cat <&3' {redirect}"
        );
        command
            .args(["-c", &script, "sh"])
            .arg(inner.get_program())
            .args(inner.get_args());
        b.finish(&mut command)
    };
    fs::write(b.path("three"), "third\n").expect("a file");
    let seen = run(b, "--preserve-fds 1", "3<three");
    b.note_all("one", &seen);
    let seen = run(b, "--preserve-fds 2", "3<three 4<three");
    b.note_all("two", &seen);
    let seen = run(b, "", "3<three");
    b.note("not asked for.code", seen.code);
    let seen = run(b, "--preserve-fds 1", "");
    b.note("not open.code", seen.code);
}

fn ps_lists(b: &mut Bench) {
    b.background("sleep 1000 & sleep 1000");
    let count = |b: &Bench| {
        let value: serde_json::Value =
            serde_json::from_str(&b.run(&["ps", "--format", "json", ID]).stdout)
                .unwrap_or_default();
        value.as_array().map_or(0, Vec::len)
    };
    let three = b.eventually(|b| count(b) == 3);
    b.note("three", three);
    let value: serde_json::Value =
        serde_json::from_str(&b.run(&["ps", "-f", "json", ID]).stdout).unwrap_or_default();
    let pids: Vec<i64> = value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(serde_json::Value::as_i64)
        .collect();
    b.note(
        "all live",
        pids.iter()
            .all(|pid| fs::exists(format!("/proc/{pid}")).unwrap_or(false)),
    );
    let table = b.run(&["ps", ID]);
    b.note("table.code", table.code);
    b.note(
        "table.header",
        table
            .stdout
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
    );
    b.note("table.lines", table.stdout.lines().count());
    b.note(
        "table.commands",
        table
            .stdout
            .lines()
            .skip(1)
            .filter(|line| line.contains("sleep 1000"))
            .count(),
    );
    let table = b.run(&["ps", ID, "-o", "pid,comm"]);
    b.note("options.code", table.code);
    let mut comms: Vec<&str> = table
        .stdout
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    comms.sort_unstable();
    b.note("options.comms", comms.join(" "));
    b.check("bad options", &["ps", ID, "--bogus"]);
}
