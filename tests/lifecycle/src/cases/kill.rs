//! kill: names, numbers, everybody.

use super::cases;
use crate::Bench;
use crate::bench::ID;

cases![
    names_and_numbers,
    wrong_signals,
    all,
    default_is_term,
    created_and_stopped,
    paused,
    ignored,
    foreground_signals
];

fn names_and_numbers(b: &mut Bench) {
    for (key, signal) in [
        ("number", "10"),
        ("name", "USR1"),
        ("with SIG", "SIGUSR1"),
        ("lower", "sigusr1"),
        ("lower short", "usr1"),
        ("real time", "SIGRTMIN+2"),
        ("real time number", "36"),
    ] {
        b.background("trap 'exit 10' USR1; trap 'exit 36' RTMIN+2 2>/dev/null || trap 'exit 36' 36; sleep 1000 & wait");
        // The trap is set a moment after the shell has started.
        let ready = b.eventually(|b| {
            b.run(&[
                "exec",
                ID,
                "grep",
                "-q",
                "SigCgt:.*[1-9a-f]",
                "/proc/1/status",
            ])
            .code
                == 0
        });
        b.note(&format!("{key}.ready"), ready);
        b.check(key, &["kill", ID, signal]);
        let stopped = b.eventually(|b| b.status(ID) == "stopped");
        b.note(&format!("{key}.stopped"), stopped);
        let _ = b.run(&["delete", "--force", ID]);
    }
}

fn wrong_signals(b: &mut Bench) {
    b.sleeper();
    for (key, signal) in [
        ("word", "FOO"),
        ("zero", "0"),
        ("too large", "65"),
        ("negative", "-1"),
        ("empty", ""),
        ("SIG", "SIG"),
        ("fraction", "9.5"),
    ] {
        b.check(key, &["kill", ID, signal]);
    }
    b.check("two dashes", &["kill", "--", ID, "0"]);
    b.note("status", b.status(ID));
}

fn all(b: &mut Bench) {
    b.background("sleep 1000 & sleep 1000 & trap '' TERM; wait; wait; echo x; sleep 1000");
    b.check("term", &["kill", "--all", ID, "TERM"]);
    b.note("init lives", b.status(ID));
    b.check("kill", &["kill", "-a", ID, "9"]);
    b.wait_for("stopped");
    b.check("stopped", &["kill", "--all", ID, "9"]);
    b.check("stopped alone", &["kill", ID, "9"]);
}

fn default_is_term(b: &mut Bench) {
    b.sleeper();
    let ready = b.eventually(|b| {
        b.run(&[
            "exec",
            ID,
            "grep",
            "-q",
            "SigCgt:.*[1-9a-f]",
            "/proc/1/status",
        ])
        .code
            == 0
    });
    b.note("ready", ready);
    b.check("kill", &["kill", ID]);
    b.wait_for("stopped");
}

fn created_and_stopped(b: &mut Bench) {
    b.script("sleep 1000");
    b.check("create", &["create", ID]);
    b.check("kill created", &["kill", ID, "KILL"]);
    b.wait_for("stopped");
    b.check("kill stopped", &["kill", ID, "KILL"]);
    b.check("delete", &["delete", ID]);
    b.check("kill deleted", &["kill", ID, "KILL"]);
    b.check("all deleted", &["kill", "--all", ID, "KILL"]);
}

fn paused(b: &mut Bench) {
    b.sleeper();
    b.check("pause", &["pause", ID]);
    b.check("kill", &["kill", ID, "KILL"]);
    b.check("resume", &["resume", ID]);
    b.wait_for("stopped");
}

fn ignored(b: &mut Bench) {
    // An init without a handler does not get signals of its own container; from outside only KILL and STOP pass.
    b.background("sleep 1000 & wait");
    b.check("usr2", &["kill", ID, "USR2"]);
    b.note("status", b.status(ID));
    b.check("kill", &["kill", ID, "KILL"]);
    b.wait_for("stopped");
}

/// Signals to the foreground command go on to the process.
fn foreground_signals(b: &mut Bench) {
    use std::process::Stdio;
    for (key, signal) in [("term", "TERM"), ("usr1", "USR1")] {
        b.script("trap 'exit 9' TERM; trap 'exit 10' USR1; sleep 1000 & wait");
        let mut child = b
            .command(&["run", ID])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a command");
        let ready = b.eventually(|b| {
            b.status(ID) == "running"
                && b.run(&[
                    "exec",
                    ID,
                    "grep",
                    "-q",
                    "SigCgt:.*[1-9a-f]",
                    "/proc/1/status",
                ])
                .code
                    == 0
        });
        b.note(&format!("{key}.ready"), ready);
        let signal: nix::sys::signal::Signal = format!("SIG{signal}").parse().expect("a signal");
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid")),
            signal,
        );
        let code = child.wait().ok().and_then(|status| status.code());
        b.note(&format!("{key}.code"), format!("{code:?}"));
        b.note(&format!("{key}.gone"), b.status(ID));
    }
}
