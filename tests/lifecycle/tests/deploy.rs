//! The binary alone: in a tree with busybox and nothing else, and beside containers that an older one has started.
//!
//! `RUNSC_OLD` names the older binary; without it that test is ignored. What older versions have written is also tested from files, in `runsc-cli`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use harness::{Outcome, Trial, begin, run_all};
use lifecycle::bench::ID;
use lifecycle::{Bench, Runtime, bundle, check, left, our_program};

fn main() -> ExitCode {
    let options = match begin() {
        Ok(options) => options,
        Err(code) => return code,
    };
    let (program, missing) = our_program(&options);
    let old = std::env::var_os("RUNSC_OLD").map(PathBuf::from);
    let skipped = |why: &Option<String>| why.clone().map(Outcome::Skipped);
    let finish = |result: Result<(), String>| match result {
        Ok(()) => Outcome::Passed(String::new()),
        Err(why) => Outcome::Failed(why),
    };
    let runtime = Runtime::ours(&program, "notify");
    let trials = vec![
        Trial::new("in_a_bare_tree", {
            let (missing, runtime) = (missing.clone(), runtime.clone());
            move || {
                skipped(&missing)
                    .unwrap_or_else(|| finish(in_a_bare_tree(&Bench::new(runtime.clone()))))
            }
        }),
        Trial::new("a_newer_one_takes_over", {
            let missing = missing.or_else(|| {
                old.is_none()
                    .then(|| "needs an older binary in RUNSC_OLD".into())
            });
            move || {
                skipped(&missing).unwrap_or_else(|| {
                    let old = Runtime::ours(&old.clone().unwrap_or_default(), "notify");
                    finish(a_newer_one_takes_over(
                        &mut Bench::new(old),
                        runtime.clone(),
                    ))
                })
            }
        }),
    ];
    run_all(&options, 2, trials)
}

/// `chroot` to a tree that has no library, no configuration and no other program of the host's.
fn in_a_bare_tree(bench: &Bench) -> Result<(), String> {
    let tree = bench.path("tree");
    bundle::root(&tree);
    fs::copy(&bench.runtime.program, tree.join("runsc")).map_err(|error| error.to_string())?;
    bundle::root(&tree.join("bundle/rootfs"));
    fs::copy(bench.path("config.json"), tree.join("bundle/config.json"))
        .map_err(|error| error.to_string())?;
    // Not by chroot: who is in one may not make user namespaces.
    let script = r#"
        set -e
        mount --bind "$0" "$0"; cd "$0"
        mkdir old run; mount -t proc proc proc; mount --rbind /dev dev; mount --rbind /sys sys; mount -t tmpfs tmpfs run
        pivot_root . old
        exec /bin/sh -ec '
            umount -l /old
            /runsc --version | head -n 1
            /runsc --root /state run --bundle /bundle c
            /runsc --root /state do --root-dir /bundle/rootfs -- sh -c "echo from do; exit 3" || echo "code $?"
            sed -i "s/sleep 0.2/sleep 1000/" /bundle/config.json
            /runsc --root /state run --detach --bundle /bundle d < /dev/null > /dev/null
            /runsc --root /state exec d echo from exec
            /runsc --root /state delete --force d
            ls /state
        '
    "#;
    let mut config = bench.config.clone();
    config["process"]["args"] = serde_json::json!(["sh", "-c", "echo from run; exec sleep 0.2"]);
    fs::write(tree.join("bundle/config.json"), config.to_string())
        .map_err(|error| error.to_string())?;
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(&tree)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let out = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = out.lines().collect();
    let said = String::from_utf8_lossy(&output.stderr);
    check(
        output.status.success()
            && lines.first().is_some_and(|line| line.contains("version"))
            && lines.get(1..) == Some(&["from run", "from do", "code 3", "from exec"]),
        format!("{}\n{out}{said}", output.status),
    )?;
    let left = left::of(bench);
    check(left.is_empty(), format!("left behind: {left:?}"))
}

/// Containers of the older binary, running, created and paused, under the commands of the newer.
fn a_newer_one_takes_over(bench: &mut Bench, new: Runtime) -> Result<(), String> {
    let old = std::mem::replace(&mut bench.runtime, new.clone());
    let ok = |bench: &Bench, args: &[&str]| {
        let seen = bench.run(args);
        check(seen.code == 0, format!("{args:?}: {seen:?}")).map(|()| seen.stdout)
    };
    bench.runtime = old.clone();
    bench.sleeper();
    bench.runtime = new.clone();
    check(
        bench.status(ID) == "running",
        format!("state: {:?}", bench.run(&["state", ID])),
    )?;
    check(
        ok(bench, &["exec", ID, "echo", "from exec"])? == "from exec\n",
        "exec",
    )?;
    for args in [
        &["ps", "--format", "json", ID][..],
        &["events", "--stats", ID],
        &["pause", ID],
        &["resume", ID],
        &["update", "--pids-limit", "100", ID],
        &["list"],
        &["kill", ID, "TERM"],
    ] {
        ok(bench, args)?;
    }
    check(
        bench.eventually(|bench| bench.status(ID) == "stopped"),
        "it does not end",
    )?;
    ok(bench, &["delete", ID])?;
    // One that was only created, and one that is paused.
    bench.script("exec sleep 1000");
    bench.runtime = old;
    let seen = bench.finish(bench.command(&["create", ID]).stdin(Stdio::null()));
    check(seen.code == 0, format!("create: {seen:?}"))?;
    bench.runtime = new;
    ok(bench, &["start", ID])?;
    ok(bench, &["exec", ID, "true"])?;
    ok(bench, &["pause", ID])?;
    ok(bench, &["delete", "--force", ID])?;
    let left = left::of(bench);
    check(left.is_empty(), format!("left behind: {left:?}"))
}
