//! Standard streams and further descriptors.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::cases;
use crate::Bench;
use crate::bench::ID;

cases![
    pipes_close,
    input_reaches,
    preserved,
    nothing_leaks,
    large_output,
    closed_streams,
    listen_fds,
    output_to_a_file
];

fn shell(b: &Bench, script: &str) -> Command {
    let inner = b.command(&[]);
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(b.dir());
    command
}

/// A caller that reads a command's output to its end must get there when the container's process has ended.
fn pipes_close(b: &mut Bench) {
    b.script("echo out; echo err >&2");
    let begin = Instant::now();
    let output = b
        .command(&["run", "--detach", ID])
        .stdin(Stdio::null())
        .output()
        .expect("run");
    b.note("out", String::from_utf8_lossy(&output.stdout));
    b.note("err", String::from_utf8_lossy(&output.stderr));
    b.note("in time", begin.elapsed() < Duration::from_secs(8));
    b.wait_for("stopped");
    for args in [&["state", ID][..], &["delete", ID]] {
        let output = b
            .command(args)
            .stdin(Stdio::null())
            .output()
            .expect("a command");
        b.note(
            &format!("{}.code", args[0]),
            output.status.code().unwrap_or(-1),
        );
    }
}

fn input_reaches(b: &mut Bench) {
    b.args(&["cat"]);
    let seen = b.run_with_input(&["run", ID], "line 1\nline 2\n");
    b.note_all("run", &seen);
    let seen = b.finish(&mut shell(
        b,
        &format!("(echo a; sleep 0.2; echo b) | \"$@\" run {ID} | cat"),
    ));
    b.note_all("pipe", &seen);
}

fn preserved(b: &mut Bench) {
    fs::write(b.path("three"), "third\n").expect("a file");
    b.script("ls /proc/self/fd | tr '\\n' ' '; cat <&3; cat <&4");
    let seen = b.finish(&mut shell(
        b,
        &format!("exec \"$@\" run --preserve-fds 2 {ID} 3<three 4<three"),
    ));
    b.note_all("two", &seen);
    b.script("ls /proc/self/fd | tr '\\n' ' '");
    let seen = b.finish(&mut shell(
        b,
        &format!("exec \"$@\" run {ID} 3<three 7<three"),
    ));
    b.note_all("none", &seen);
    let seen = b.finish(&mut shell(
        b,
        &format!("exec \"$@\" run --preserve-fds 1 {ID}"),
    ));
    b.note("not open.code", seen.code);
    b.note("not open.says", seen.stderr.contains("fd 3"));
}

fn listen_fds(b: &mut Bench) {
    fs::write(b.path("three"), "third\n").expect("a file");
    b.script("echo $LISTEN_FDS $LISTEN_PID; cat <&3");
    let seen = b.finish(&mut shell(
        b,
        &format!("exec env LISTEN_FDS=1 \"$@\" run {ID} 3<three"),
    ));
    b.note_all("run", &seen);
}

fn nothing_leaks(b: &mut Bench) {
    // The outer end of a pipe that the caller forgot: nobody of the container may hold it.
    let script = format!(
        "\"$@\" run --detach {ID} </dev/null >/dev/null 2>&1 9>leak; (cat /proc/*/fd/* >/dev/null 2>&1 &) ; :"
    );
    let _ = script;
    b.script("sleep 1000");
    let seen = b.finish(&mut shell(
        b,
        &format!("(\"$@\" run --detach {ID} </dev/null >/dev/null 2>&1; echo done) 8>&1 | cat"),
    ));
    b.note_all("run", &seen);
    b.note("status", b.status(ID));
}

fn large_output(b: &mut Bench) {
    b.script("dd if=/dev/zero bs=65536 count=64 2>/dev/null; echo end");
    let seen = b.finish(&mut shell(b, &format!("\"$@\" run {ID} | wc -c")));
    b.note_all("run", &seen);
}

fn closed_streams(b: &mut Bench) {
    b.script("echo hello; echo $?");
    let seen = b.finish(&mut shell(b, &format!("\"$@\" run {ID} <&-")));
    b.note("no input.code", seen.code);
    b.note("no input.out", seen.stdout);
}

fn output_to_a_file(b: &mut Bench) {
    b.script("echo one; echo two >&2; ls -l /proc/self/fd/1 | grep -c out.txt");
    let seen = b.finish(&mut shell(
        b,
        &format!("\"$@\" run {ID} >out.txt 2>err.txt"),
    ));
    b.note_all("run", &seen);
    b.note(
        "text",
        fs::read_to_string(b.path("out.txt")).unwrap_or_default(),
    );
    b.script("echo appended");
    let _ = b.finish(&mut shell(b, &format!("\"$@\" run {ID} >>out.txt")));
    b.note(
        "appended",
        fs::read_to_string(b.path("out.txt")).unwrap_or_default(),
    );
}
