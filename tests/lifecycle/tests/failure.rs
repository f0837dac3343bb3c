//! What happens when something dies or is broken, in each state of a container; ours only, on each platform of `RUNSC_PLATFORMS` (default `notify`).
//!
//! After each: exits seen within a second, `delete --force` succeeds, nothing is left.

use std::fs;
use std::os::fd::AsRawFd;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use lifecycle::bench::ID;
use lifecycle::{Bench, Test, check, left, run_ours};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const TESTS: &[(&str, Test)] = &[
    ("helpers_killed_while_created", helpers_killed_while_created),
    ("helpers_killed_while_running", helpers_killed_while_running),
    ("helpers_killed_while_paused", helpers_killed_while_paused),
    ("helpers_killed_during_exec", helpers_killed_during_exec),
    (
        "command_killed_while_creating",
        command_killed_while_creating,
    ),
    ("foreground_command_killed", foreground_command_killed),
    ("a_guest_killed_from_outside", a_guest_killed_from_outside),
    ("death_of_a_helper_is_told", death_of_a_helper_is_told),
    ("damaged_state", damaged_state),
    ("commands_take_turns", commands_take_turns),
    ("many_cycles_leave_nothing", many_cycles_leave_nothing),
    ("limits_too_low_to_start", limits_too_low_to_start),
    ("one_process_out_of_memory", one_process_out_of_memory),
    ("tmpfs_is_charged", tmpfs_is_charged),
    ("commands_work_while_paused", commands_work_while_paused),
    (
        "stdio_closes_with_the_container",
        stdio_closes_with_the_container,
    ),
];

fn main() -> ExitCode {
    run_ours(TESTS)
}

/// Nothing is left of the container.
fn clean(bench: &Bench) -> Result<(), String> {
    let left = left::of(bench);
    check(left.is_empty(), format!("left behind: {}", left.join(", ")))
}

fn ok(bench: &Bench, args: &[&str]) -> Result<String, String> {
    let seen = bench.run(args);
    check(seen.code == 0, format!("{args:?}: {seen:?}"))?;
    Ok(seen.stdout)
}

/// A helper's pid, from the state file.
fn helper(bench: &Bench, which: &str) -> i32 {
    let text =
        fs::read_to_string(bench.state_root().join(ID).join("state.json")).unwrap_or_default();
    let state: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    state[which]["pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok())
        .unwrap_or(0)
}

fn kill_now(pid: i32) -> Result<(), String> {
    check(pid > 1, "no such process")?;
    kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(|errno| format!("cannot kill {pid}: {errno}"))
}

/// Waits for a claim for as long as a caller would.
fn within_a_second(bench: &Bench, claim: &str, so: impl Fn(&Bench) -> bool) -> Result<(), String> {
    let begin = Instant::now();
    check(bench.eventually(so), format!("never: {claim}"))?;
    let took = begin.elapsed();
    // A second on a machine that does nothing else; the tests share theirs.
    check(
        took < Duration::from_secs(3),
        format!("{claim} after {took:?} only"),
    )
}

const HELPERS: [&str; 3] = ["sentry", "gofer", "init"];

fn in_state(
    bench: &mut Bench,
    prepare: impl Fn(&mut Bench) -> Result<(), String>,
) -> Result<(), String> {
    for which in HELPERS {
        prepare(bench)?;
        kill_now(helper(bench, which))?;
        within_a_second(
            bench,
            &format!("stopped after {which} was killed"),
            |bench| bench.status(ID) == "stopped",
        )?;
        let refused = bench.run(&["exec", ID, "true"]);
        check(
            refused.code != 0,
            format!("exec after {which} was killed: {refused:?}"),
        )?;
        ok(bench, &["delete", "--force", ID]).map_err(|why| format!("{which}: {why}"))?;
        clean(bench).map_err(|why| format!("{which}: {why}"))?;
    }
    Ok(())
}

fn helpers_killed_while_created(bench: &mut Bench) -> Result<(), String> {
    bench.script("sleep 1000");
    in_state(bench, |bench| ok(bench, &["create", ID]).map(drop))
}

fn helpers_killed_while_running(bench: &mut Bench) -> Result<(), String> {
    in_state(bench, |bench| {
        bench.sleeper();
        Ok(())
    })
}

fn helpers_killed_while_paused(bench: &mut Bench) -> Result<(), String> {
    in_state(bench, |bench| {
        bench.sleeper();
        ok(bench, &["pause", ID]).map(drop)
    })
}

fn helpers_killed_during_exec(bench: &mut Bench) -> Result<(), String> {
    for which in HELPERS {
        bench.sleeper();
        let mut exec = bench
            .command(&["exec", ID, "sleep", "777"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let there = bench.eventually(|bench| {
            bench
                .run(&[
                    "exec",
                    ID,
                    "sh",
                    "-c",
                    "ps | grep -v grep | grep -q 'sleep 777'",
                ])
                .code
                == 0
        });
        check(there, "the exec does not run")?;
        kill_now(helper(bench, which))?;
        let begin = Instant::now();
        let code = exec.wait().map_err(|error| error.to_string())?.code();
        check(
            code == Some(137) && begin.elapsed() < Duration::from_secs(3),
            format!(
                "exec ended with {code:?} after {:?} when {which} was killed",
                begin.elapsed()
            ),
        )?;
        ok(bench, &["delete", "--force", ID])?;
        clean(bench).map_err(|why| format!("{which}: {why}"))?;
    }
    Ok(())
}

/// At any moment of `create`: whatever was made goes with `delete --force`.
fn command_killed_while_creating(bench: &mut Bench) -> Result<(), String> {
    bench.script("sleep 1000");
    for millis in [0, 2, 5, 10, 15, 20, 30, 40, 60, 80, 120] {
        let mut create = bench
            .command(&["create", ID])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        std::thread::sleep(Duration::from_millis(millis));
        let _ = create.kill();
        let _ = create.wait();
        ok(bench, &["delete", "--force", ID])
            .map_err(|why| format!("killed after {millis} ms: {why}"))?;
        clean(bench).map_err(|why| format!("killed after {millis} ms: {why}"))?;
    }
    Ok(())
}

/// As with runc, the container of a killed `run` lives on.
fn foreground_command_killed(bench: &mut Bench) -> Result<(), String> {
    bench.script("sleep 1000");
    let mut run = bench
        .command(&["run", ID])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    check(
        bench.eventually(|bench| bench.status(ID) == "running"),
        "it does not run",
    )?;
    let _ = run.kill();
    let _ = run.wait();
    check(
        bench.status(ID) == "running",
        "the container died with its command",
    )?;
    ok(bench, &["delete", "--force", ID])?;
    clean(bench)
}

/// A guest's host process that is killed is a guest process that is killed, whatever it was doing.
fn a_guest_killed_from_outside(bench: &mut Bench) -> Result<(), String> {
    for (what, program) in [
        ("asleep", "sleep 1000"),
        ("running", "while :; do :; done"),
        ("reading", "cat /tmp/fifo"),
    ] {
        bench.background(&format!("mkfifo /tmp/fifo 2>/dev/null; sh -c 'exec sh -c \"{program}\"' & echo $! > /tmp/pid; wait $!; echo code $? > /tmp/code; sleep 1000"));
        let pids = |bench: &Bench| -> Vec<i32> {
            serde_json::from_str(&bench.run(&["ps", "--format", "json", ID]).stdout)
                .unwrap_or_default()
        };
        check(
            bench.eventually(|bench| bench.in_root("tmp/pid").exists() && pids(bench).len() == 2),
            format!("{what}: no second process"),
        )?;
        let init = pids(bench);
        let victim = init.last().copied().unwrap_or(0);
        kill_now(victim)?;
        within_a_second(bench, &format!("{what}: its parent saw it die"), |bench| {
            fs::read_to_string(bench.in_root("tmp/code")).is_ok_and(|text| text == "code 137\n")
        })?;
        check(
            bench.status(ID) == "running",
            format!("{what}: the container died with it"),
        )?;
        ok(bench, &["delete", "--force", ID])?;
        clean(bench)?;
        for file in ["tmp/code", "tmp/pid", "tmp/fifo"] {
            let _ = fs::remove_file(bench.in_root(file));
        }
    }
    Ok(())
}

/// One sentence on standard error, in the log and in the debug log.
fn death_of_a_helper_is_told(bench: &mut Bench) -> Result<(), String> {
    bench.script("sleep 1000");
    for (which, words) in [("sentry", "(sentry)"), ("gofer", "(gofer)")] {
        let debug = bench.path(&format!("debug-{which}"));
        let _ = fs::remove_file(bench.path("log"));
        let flag = format!("--debug-log={}", debug.display());
        let run = bench
            .command(&[&flag, "run", ID])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        check(
            bench.eventually(|bench| bench.status(ID) == "running"),
            "it does not run",
        )?;
        let _ = fs::remove_file(bench.path("log"));
        kill_now(helper(bench, which))?;
        let output = run.wait_with_output().map_err(|error| error.to_string())?;
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        check(
            output.status.code() == Some(137),
            format!("{which}: {:?}", output.status),
        )?;
        check(
            err.lines().count() == 1 && err.contains(words) && err.contains("SIGKILL"),
            format!("{which}: standard error {err:?}"),
        )?;
        let log = fs::read_to_string(bench.path("log")).unwrap_or_default();
        check(
            log.lines().count() == 1 && log.contains(words),
            format!("{which}: log {log:?}"),
        )?;
        let debug = fs::read_to_string(debug).unwrap_or_default();
        check(
            debug.contains(words),
            format!("{which}: debug log {debug:?}"),
        )?;
        let _ = bench.run(&["delete", "--force", ID]);
        clean(bench)?;
    }
    Ok(())
}

fn damaged_state(bench: &mut Bench) -> Result<(), String> {
    let file = bench.state_root().join(ID).join("state.json");
    for (what, text) in [
        ("empty", ""),
        ("half-written", "{\"version\":1,\"id\":\"c\","),
        ("nonsense", "hello"),
        ("another version", "{\"version\":99}"),
    ] {
        bench.sleeper();
        fs::write(&file, text).map_err(|error| error.to_string())?;
        let seen = bench.run(&["state", ID]);
        check(
            seen.code == 1 && seen.stderr.contains("state.json"),
            format!("{what}: {seen:?}"),
        )?;
        let list = bench.run(&["list"]);
        check(list.code == 0, format!("{what}: list {list:?}"))?;
        ok(bench, &["delete", "--force", ID]).map_err(|why| format!("{what}: {why}"))?;
        clean(bench).map_err(|why| format!("{what}: {why}"))?;
    }
    fs::create_dir_all(bench.state_root().join(ID)).map_err(|error| error.to_string())?;
    ok(bench, &["delete", "--force", ID])?;
    clean(bench)
}

fn commands_take_turns(bench: &mut Bench) -> Result<(), String> {
    bench.script("sleep 1000");
    let start = |bench: &Bench, args: &[&str]| {
        bench
            .command(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())
    };
    let both = |bench: &Bench, args: &[&str]| -> Result<Vec<i32>, String> {
        let children = [
            start(bench, args)?,
            start(bench, args)?,
            start(bench, args)?,
        ];
        let mut codes: Vec<i32> = children
            .into_iter()
            .map(|mut child| {
                child
                    .wait()
                    .ok()
                    .and_then(|status| status.code())
                    .unwrap_or(-1)
            })
            .collect();
        codes.sort_unstable();
        Ok(codes)
    };
    for _ in 0..3 {
        let codes = both(bench, &["create", ID])?;
        check(
            codes == [0, 1, 1],
            format!("three creates at once: {codes:?}"),
        )?;
        let codes = both(bench, &["start", ID])?;
        check(
            codes == [0, 1, 1],
            format!("three starts at once: {codes:?}"),
        )?;
        let codes = both(bench, &["exec", ID, "true"])?;
        check(
            codes == [0, 0, 0],
            format!("three execs at once: {codes:?}"),
        )?;
        let codes = both(bench, &["delete", "--force", ID])?;
        check(
            codes == [0, 0, 0],
            format!("three deletes at once: {codes:?}"),
        )?;
        clean(bench)?;
    }
    Ok(())
}

fn many_cycles_leave_nothing(bench: &mut Bench) -> Result<(), String> {
    let cycles: usize = std::env::var("LIFECYCLE_CYCLES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20);
    let count = |path: &str| fs::read_dir(path).map_or(0, Iterator::count);
    bench.args(&["true"]);
    let mounts = || {
        fs::read_to_string("/proc/self/mountinfo")
            .unwrap_or_default()
            .lines()
            .count()
    };
    let before = (
        mounts(),
        count("/sys/fs/cgroup/memory"),
        count("/sys/fs/cgroup/pids"),
    );
    for cycle in 0..cycles {
        ok(bench, &["create", ID]).map_err(|why| format!("cycle {cycle}: {why}"))?;
        ok(bench, &["start", ID])?;
        check(
            bench.eventually(|bench| bench.status(ID) == "stopped"),
            format!("cycle {cycle}: never stopped"),
        )?;
        ok(bench, &["delete", ID])?;
    }
    clean(bench)?;
    // Other tests come and go beside this one: only growth by the cycles is a leak.
    let after = (
        mounts(),
        count("/sys/fs/cgroup/memory"),
        count("/sys/fs/cgroup/pids"),
    );
    let grown = after
        .0
        .saturating_sub(before.0)
        .max(after.1.saturating_sub(before.1))
        .max(after.2.saturating_sub(before.2));
    check(
        grown < cycles / 2,
        format!("mounts and cgroups before {before:?}, after {after:?}"),
    )
}

fn limits_too_low_to_start(bench: &mut Bench) -> Result<(), String> {
    bench.change(|config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 1_048_576, "swap": 1_048_576}})
    });
    let seen = bench.run(&["create", ID]);
    check(
        seen.code == 1 && seen.stderr.contains("memory limit") && seen.stderr.contains("too low"),
        format!("{seen:?}"),
    )?;
    check(seen.log.contains("too low"), format!("log: {seen:?}"))?;
    clean(bench)
}

fn one_process_out_of_memory(bench: &mut Bench) -> Result<(), String> {
    bench.change(|config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 67_108_864, "swap": 67_108_864}})
    });
    bench.background("sleep 1000 & awk 'BEGIN{s=\"xxxxxxxxxxxxxxxx\"; while(1) s=s s}'; echo code $? > /tmp/code; sleep 1000");
    let told = bench.eventually(|bench| {
        fs::read_to_string(bench.in_root("tmp/code")).is_ok_and(|text| text == "code 137\n")
    });
    check(
        told,
        format!(
            "code of the culprit: {:?}",
            fs::read_to_string(bench.in_root("tmp/code"))
        ),
    )?;
    check(
        bench.status(ID) == "running",
        "the container died with the culprit",
    )?;
    let others = ok(
        bench,
        &[
            "exec",
            ID,
            "sh",
            "-c",
            "ps | grep -v grep | grep -c 'sleep 1000'",
        ],
    )?;
    check(
        others.trim().parse::<u32>().is_ok_and(|count| count >= 2),
        format!("the others: {others}"),
    )?;
    ok(bench, &["delete", "--force", ID])?;
    clean(bench)
}

/// What a container keeps in the sandbox's memory counts against its limit.
fn tmpfs_is_charged(bench: &mut Bench) -> Result<(), String> {
    bench.background("dd if=/dev/zero of=/dev/shm/file bs=1k count=40000 2>/dev/null; echo done > /tmp/done; sleep 1000");
    let usage = |bench: &Bench| {
        bench
            .cgroup_file("memory", "memory.usage_in_bytes")
            .parse::<u64>()
            .unwrap_or(0)
    };
    check(
        bench.eventually(|bench| bench.in_root("tmp/done").exists()),
        "dd does not end",
    )?;
    let used = usage(bench);
    check(
        used > 40_000_000,
        format!("40 MB in a tmpfs, {used} bytes charged"),
    )?;
    ok(bench, &["delete", "--force", ID])?;
    clean(bench)
}

fn commands_work_while_paused(bench: &mut Bench) -> Result<(), String> {
    bench.sleeper();
    ok(bench, &["pause", ID])?;
    for args in [
        &["state", ID][..],
        &["ps", "--format", "json", ID],
        &["events", "--stats", ID],
        &["list"],
        &["update", "--memory", "268435456", ID],
        &["debug", "--stacks", ID],
        &["kill", ID, "KILL"],
    ] {
        ok(bench, args)?;
    }
    within_a_second(bench, "stopped", |bench| bench.status(ID) == "stopped")?;
    ok(bench, &["delete", ID])?;
    clean(bench)
}

/// A caller reads to the end of what it gave to the container: it gets there when the container's process has ended, not when it is deleted.
fn stdio_closes_with_the_container(bench: &mut Bench) -> Result<(), String> {
    use std::io::Read;
    bench.script("echo hello; exec sleep 1000");
    let (reader, writer) = nix::unistd::pipe().map_err(|errno| errno.to_string())?;
    let status = bench
        .command(&["run", "--detach", ID])
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::null())
        .status()
        .map_err(|error| error.to_string())?;
    check(status.success(), "run")?;
    let mut reader = fs::File::from(reader);
    let mut text = [0; 6];
    reader
        .read_exact(&mut text)
        .map_err(|error| error.to_string())?;
    ok(bench, &["kill", ID, "KILL"])?;
    let begin = Instant::now();
    let mut fds = [nix::poll::PollFd::new(
        std::os::fd::AsFd::as_fd(&reader),
        nix::poll::PollFlags::POLLIN,
    )];
    let _ = nix::poll::poll(&mut fds, nix::poll::PollTimeout::from(5000u16));
    check(
        begin.elapsed() < Duration::from_secs(3),
        format!("descriptor {} was not closed", reader.as_raw_fd()),
    )?;
    ok(bench, &["delete", ID])?;
    clean(bench)
}
