//! Several containers in one sandbox, as CRI's callers ask for them by annotations; ours only, on each platform of `RUNSC_PLATFORMS` (default `notify`).

use std::fs;
use std::process::{ExitCode, Stdio};

use lifecycle::bench::Seen;
use lifecycle::{Bench, Test, bundle, check, left, run_ours};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const TESTS: &[(&str, Test)] = &[
    ("one_sandbox", one_sandbox),
    ("what_members_share", what_members_share),
    ("shared_pids", shared_pids),
    ("each_in_its_own_cgroup", each_in_its_own_cgroup),
    ("memory_of_one_member", memory_of_one_member),
    ("one_member_is_replaced", one_member_is_replaced),
    ("pause_stops_one_member", pause_stops_one_member),
    ("the_sandbox_dies", the_sandbox_dies),
    ("a_member_dies", a_member_dies),
    (
        "the_first_container_is_deleted",
        the_first_container_is_deleted,
    ),
    ("sandboxes_that_are_not_there", sandboxes_that_are_not_there),
    ("made_by_the_first_member", made_by_the_first_member),
    ("volumes", volumes),
    ("many_members", many_members),
];

fn main() -> ExitCode {
    run_ours(TESTS)
}

fn ok(bench: &Bench, args: &[&str]) -> Result<String, String> {
    let seen = bench.run(args);
    check(seen.code == 0, format!("{args:?}: {seen:?}"))?;
    Ok(seen.stdout)
}

fn is(bench: &Bench, id: &str, script: &str, expected: &str) -> Result<(), String> {
    let out = ok(bench, &["exec", id, "sh", "-c", script])?;
    check(
        out == expected,
        format!("{id}: {script}: {out:?} instead of {expected:?}"),
    )
}

fn clean(bench: &Bench) -> Result<(), String> {
    // The pod's own cgroup is its caller's to remove.
    for controller in fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
    {
        let _ = fs::remove_dir(controller.path().join(bench.cgroup.trim_start_matches('/')));
    }
    let left = left::of(bench);
    check(left.is_empty(), format!("left behind: {}", left.join(", ")))
}

/// The cgroup of a container of the pod, below the bench's.
fn cgroup(bench: &Bench, id: &str) -> String {
    format!("{}/{id}", bench.cgroup)
}

/// Creates and starts a container with a root of its own and this specification.
fn launch(bench: &mut Bench, id: &str, script: &str, change: impl FnOnce(&mut Value)) -> Seen {
    let root = format!("root-{id}");
    if !bench.path(&root).exists() {
        bundle::root(&bench.path(&root));
    }
    let before = bench.config.clone();
    let cgroup = cgroup(bench, id);
    bench.change(|config| {
        config["root"]["path"] = json!(root);
        config["linux"]["cgroupsPath"] = json!(cgroup);
        config["process"]["args"] = json!(["/bin/sh", "-c", script]);
        change(config);
    });
    let mut command = bench.command(&["create", id]);
    let mut seen = bench.finish(command.stdin(Stdio::null()));
    if seen.code == 0 {
        seen = bench.run(&["start", id]);
    }
    bench.config = before;
    bench.save();
    seen
}

fn launched(
    bench: &mut Bench,
    id: &str,
    script: &str,
    change: impl FnOnce(&mut Value),
) -> Result<(), String> {
    let seen = launch(bench, id, script, change);
    check(seen.code == 0, format!("{id}: {seen:?}"))
}

const IDLE: &str = "trap 'exit 9' TERM; sleep 1000 & wait";

/// The sandbox's own container, named `pod`.
fn pod(bench: &mut Bench) -> Result<(), String> {
    launched(bench, "pod", IDLE, |config| {
        config["hostname"] = json!("the-pod");
        config["annotations"] = json!({"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": "pod"});
    })
}

fn pid(bench: &Bench, id: &str) -> i64 {
    bench.state(id)["pid"].as_i64().unwrap_or(0)
}

/// What containerd's CRI writes for a container of the pod; `pids` is the container whose pid namespace is to be shared.
fn of_pod(config: &mut Value, pod: i64, pids: Option<i64>) {
    let path = |kind: &str| format!("/proc/{pod}/ns/{kind}");
    let own = match pids {
        None => json!({"type": "pid"}),
        Some(other) => json!({"type": "pid", "path": format!("/proc/{other}/ns/pid")}),
    };
    config["linux"]["namespaces"] = json!([own, {"type": "ipc", "path": path("ipc")}, {"type": "uts", "path": path("uts")}, {"type": "mount"}, {"type": "network", "path": path("net")}]);
    config["annotations"] = json!({"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": "pod", "io.kubernetes.cri.container-name": "x"});
    if let Some(map) = config.as_object_mut() {
        map.remove("hostname");
    }
}

fn member(bench: &mut Bench, id: &str, script: &str) -> Result<(), String> {
    let pod = pid(bench, "pod");
    launched(bench, id, script, |config| of_pod(config, pod, None))
}

/// Deletes containers, the pod's last, and looks for remains.
fn delete(bench: &Bench, ids: &[&str]) -> Result<(), String> {
    for id in ids {
        ok(bench, &["delete", "--force", id])?;
    }
    clean(bench)
}

/// Host processes of a kind (`boot`: sentries without their ledgers, `gofer-serve`) in the cgroups of the bench.
fn helpers(bench: &Bench, kind: &str) -> usize {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|entry| {
            let read = |file| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
            read("cmdline").starts_with(&format!("runsc\0{kind}\0"))
                && read("comm").trim() != "runsc-ledger"
                && read("cgroup").contains(&format!("{}/", bench.cgroup))
        })
        .count()
}

fn one_sandbox(bench: &mut Bench) -> Result<(), String> {
    pod(bench)?;
    member(bench, "a", IDLE)?;
    member(bench, "b", IDLE)?;
    let (sentries, gofers) = (helpers(bench, "boot"), helpers(bench, "gofer-serve"));
    check(
        (sentries, gofers) == (1, 3),
        format!("{sentries} sentries, {gofers} gofers"),
    )?;
    for id in ["pod", "a", "b"] {
        check(
            bench.status(id) == "running",
            format!("{id} is {}", bench.status(id)),
        )?;
    }
    let list = ok(bench, &["list", "-q"])?;
    check(list == "a\nb\npod\n", format!("list: {list}"))?;
    ok(bench, &["kill", "a", "TERM"])?;
    check(
        bench.eventually(|bench| bench.status("a") == "stopped"),
        "a does not stop",
    )?;
    check(bench.status("b") == "running", "b ended with a")?;
    delete(bench, &["a", "b", "pod"])
}

fn what_members_share(bench: &mut Bench) -> Result<(), String> {
    pod(bench)?;
    member(bench, "a", IDLE)?;
    member(bench, "b", IDLE)?;
    is(bench, "a", "hostname", "the-pod\n")?;
    // Host name and network are the pod's …
    for kind in ["uts", "ipc", "net"] {
        let read = |id| {
            ok(
                bench,
                &["exec", id, "readlink", &format!("/proc/self/ns/{kind}")],
            )
        };
        check(read("a")? == read("b")? && read("a")? == read("pod")?, kind)?;
    }
    for kind in ["pid", "mnt"] {
        let read = |id| {
            ok(
                bench,
                &["exec", id, "readlink", &format!("/proc/self/ns/{kind}")],
            )
        };
        check(read("a")? != read("b")? && read("a")? != read("pod")?, kind)?;
    }
    ok(
        bench,
        &[
            "exec",
            "-d",
            "a",
            "sh",
            "-c",
            "echo over localhost | busybox nc -l -p 8080",
        ],
    )?;
    let asked = bench.eventually(|bench| {
        bench
            .run(&[
                "exec",
                "b",
                "sh",
                "-c",
                "busybox nc 127.0.0.1 8080 < /dev/null",
            ])
            .stdout
            == "over localhost\n"
    });
    check(asked, "no connection over localhost")?;
    // … files and processes are not.
    ok(bench, &["exec", "a", "touch", "/only-a"])?;
    is(
        bench,
        "b",
        "test -e /only-a; echo $?; ps | grep -c 'sleep [0-9]*$'",
        "1\n1\n",
    )?;
    delete(bench, &["a", "b", "pod"])
}

fn shared_pids(bench: &mut Bench) -> Result<(), String> {
    pod(bench)?;
    let first = pid(bench, "pod");
    let share = |config: &mut Value| of_pod(config, first, Some(first));
    launched(bench, "a", "exec sleep 111", share)?;
    launched(bench, "b", "sleep 222 & exec sleep 223", share)?;
    is(
        bench,
        "a",
        "ps | grep -v grep | grep -o 'sleep [0-9]*$' | sort | tr '\\n' ' '",
        "sleep 1000 sleep 111 sleep 222 sleep 223 ",
    )?;
    // Each command is about its own container.
    let count = |bench: &Bench, id: &str| -> usize {
        serde_json::from_str::<Vec<i32>>(&bench.run(&["ps", "--format", "json", id]).stdout)
            .map_or(0, |pids| pids.len())
    };
    check(
        (count(bench, "pod"), count(bench, "a"), count(bench, "b")) == (2, 1, 2),
        format!(
            "ps: {} {} {}",
            count(bench, "pod"),
            count(bench, "a"),
            count(bench, "b")
        ),
    )?;
    // Its first process is not the namespace's: what it leaves goes by kill --all, as CRI does it, or with delete.
    ok(bench, &["kill", "b", "KILL"])?;
    check(
        bench.eventually(|bench| bench.status("b") == "stopped"),
        "b does not stop",
    )?;
    is(bench, "a", "ps | grep -v grep | grep -c 'sleep 222'", "1\n")?;
    ok(bench, &["kill", "--all", "b", "KILL"])?;
    let gone = bench.eventually(|bench| {
        bench
            .run(&[
                "exec",
                "a",
                "sh",
                "-c",
                "ps | grep -v grep | grep -c 'sleep 22'",
            ])
            .stdout
            == "0\n"
    });
    check(gone, "kill --all leaves processes of a stopped member")?;
    // An ephemeral container in the pids of another one.
    let target = pid(bench, "a");
    launched(bench, "debug", "exec sleep 333", |config| {
        of_pod(config, first, Some(target));
    })?;
    is(
        bench,
        "debug",
        "ps | grep -v grep | grep -c 'sleep 111'",
        "1\n",
    )?;
    check(bench.status("a") == "running", "a died")?;
    // Without its init the namespace's processes go.
    ok(bench, &["kill", "pod", "KILL"])?;
    for id in ["a", "debug"] {
        check(
            bench.eventually(|bench| bench.status(id) == "stopped"),
            format!("{id} outlives its namespace's init"),
        )?;
    }
    delete(bench, &["debug", "a", "b", "pod"])
}

/// Cgroup paths (of the memory controller) of a container's guest processes.
fn places(bench: &Bench, id: &str) -> Vec<String> {
    let out = bench.run(&["ps", "--format", "json", id]).stdout;
    let pids: Vec<i32> = serde_json::from_str(&out).unwrap_or_default();
    let place = |pid: i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.contains(":memory:") || line.starts_with("0::/runsc"));
        line.and_then(|line| line.rsplit(':').next())
            .unwrap_or("none")
            .to_owned()
    };
    let mut places: Vec<String> = pids.into_iter().map(place).collect();
    places.dedup();
    places
}

fn each_in_its_own_cgroup(bench: &mut Bench) -> Result<(), String> {
    pod(bench)?;
    let script = "sleep 1000 & sh -c 'sh -c \"sleep 1001; true\"; true' & wait";
    member(bench, "a", script)?;
    member(bench, "b", script)?;
    for id in ["a", "b", "pod"] {
        ok(bench, &["exec", "-d", id, "sh", "-c", "sleep 1002; true"])?;
        let expected = vec![format!("{}/guest", cgroup(bench, id))];
        check(
            bench.eventually(|bench| places(bench, id) == expected),
            format!("{id}: {:?}", places(bench, id)),
        )?;
    }
    // What events tells is the container's own.
    ok(
        bench,
        &["exec", "-d", "a", "sh", "-c", "while :; do :; done"],
    )?;
    let cpu = |bench: &Bench, id: &str| -> u64 {
        let text = bench.run(&["events", "--stats", id]).stdout;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        value["data"]["cpu"]["usage"]["total"].as_u64().unwrap_or(0)
    };
    let quiet = cpu(bench, "b");
    let start = cpu(bench, "a");
    check(
        bench.eventually(|bench| cpu(bench, "a") > start + 500_000_000),
        "a's CPU time does not grow",
    )?;
    let grown = cpu(bench, "b") - quiet;
    check(
        grown < 250_000_000,
        format!("b was charged {grown} ns while a was busy"),
    )?;
    delete(bench, &["a", "b", "pod"])
}

fn memory_of_one_member(bench: &mut Bench) -> Result<(), String> {
    pod(bench)?;
    let first = pid(bench, "pod");
    launched(
        bench,
        "a",
        "awk 'BEGIN{s=\"xxxxxxxxxxxxxxxx\"; while(1) s=s s}'; echo code $? > /code; sleep 1000",
        |config| {
            of_pod(config, first, None);
            config["linux"]["resources"] =
                json!({"memory": {"limit": 67_108_864, "swap": 67_108_864}, "pids": {"limit": 20}});
        },
    )?;
    member(bench, "b", IDLE)?;
    let code = bench.path("root-a/code");
    check(
        bench.eventually(|_| fs::read_to_string(&code).is_ok_and(|text| text == "code 137\n")),
        "the culprit was not killed",
    )?;
    for id in ["pod", "a", "b"] {
        check(bench.status(id) == "running", format!("{id} died"))?;
    }
    // What it may see is its own limit.
    is(
        bench,
        "a",
        "grep MemTotal /proc/meminfo | tr -s ' '",
        "MemTotal: 65536 kB\n",
    )?;
    let all = "i=0; while test $i -lt 30; do sleep 3 & i=$((i+1)); done; echo all";
    let refused = bench.run(&["exec", "a", "sh", "-c", all]);
    check(
        !refused.stdout.contains("all"),
        "the limit of pids does not hold",
    )?;
    is(bench, "b", all, "all\n")?;
    delete(bench, &["a", "b", "pod"])
}

/// As kubelet restarts a container: the new one lives in the old sandbox.
fn one_member_is_replaced(bench: &mut Bench) -> Result<(), String> {
    pod(bench)?;
    member(bench, "b", IDLE)?;
    for round in 0..5 {
        member(bench, "a", &format!("echo {round} > /round; exit {round}"))?;
        check(
            bench.eventually(|bench| bench.status("a") == "stopped"),
            "a does not end",
        )?;
        ok(bench, &["delete", "a"])?;
        let text = fs::read_to_string(bench.path("root-a/round")).unwrap_or_default();
        check(text == format!("{round}\n"), format!("wrote {text:?}"))?;
    }
    check(helpers(bench, "gofer-serve") == 2, "gofers are left")?;
    check(
        !fs::exists(format!("/sys/fs/cgroup/memory{}", cgroup(bench, "a"))).unwrap_or(true),
        "the cgroup is left",
    )?;
    is(bench, "b", "echo fine", "fine\n")?;
    delete(bench, &["b", "pod"])
}

fn pause_stops_one_member(bench: &mut Bench) -> Result<(), String> {
    pod(bench)?;
    let first = pid(bench, "pod");
    let count = "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.01; done";
    for id in ["a", "b"] {
        launched(bench, id, count, |config| {
            of_pod(config, first, Some(first))
        })?;
    }
    let read = |bench: &Bench, id: &str| {
        fs::read_to_string(bench.path(&format!("root-{id}/count"))).unwrap_or_default()
    };
    check(
        bench.eventually(|bench| !read(bench, "a").is_empty()),
        "no count",
    )?;
    ok(bench, &["pause", "a"])?;
    let (a, b) = (read(bench, "a"), read(bench, "b"));
    for _ in 0..3 {
        let before = read(bench, "b");
        check(
            bench.eventually(|bench| read(bench, "b") != before && !read(bench, "b").is_empty()),
            "b stands still",
        )?;
    }
    check(b != read(bench, "b"), "b stands still")?;
    // What was under way when it was paused may have ended.
    let second = read(bench, "a");
    let before = read(bench, "b");
    check(bench.eventually(|bench| read(bench, "b") != before), "b")?;
    check(
        second == read(bench, "a"),
        format!("a moves from {a} to {second}"),
    )?;
    ok(bench, &["resume", "a"])?;
    check(
        bench.eventually(|bench| read(bench, "a") != second),
        "a does not go on",
    )?;
    delete(bench, &["a", "b", "pod"])
}

fn sentry(bench: &Bench) -> i32 {
    let path = bench.state_root().join("pod/state.json");
    let text = fs::read_to_string(path).unwrap_or_default();
    let state: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    state["sentry"]["pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok())
        .unwrap_or(0)
}

fn the_sandbox_dies(bench: &mut Bench) -> Result<(), String> {
    pod(bench)?;
    member(bench, "a", IDLE)?;
    member(bench, "b", IDLE)?;
    let sentry = sentry(bench);
    check(sentry > 1, "no sentry")?;
    kill(Pid::from_raw(sentry), Signal::SIGKILL).map_err(|errno| errno.to_string())?;
    for id in ["pod", "a", "b"] {
        check(
            bench.eventually(|bench| bench.status(id) == "stopped"),
            format!("{id} goes on"),
        )?;
        check(bench.run(&["exec", id, "true"]).code != 0, "exec succeeds")?;
    }
    let refused = launch(bench, "late", "true", |config| {
        config["annotations"] = json!({"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": "pod"});
    });
    check(refused.code == 1, format!("{refused:?}"))?;
    delete(bench, &["a", "pod", "b"])
}

/// kill -9 of a member's gofer or proxy ends that member alone.
fn a_member_dies(bench: &mut Bench) -> Result<(), String> {
    pod(bench)?;
    member(bench, "b", IDLE)?;
    for which in ["init", "gofer"] {
        member(bench, "a", IDLE)?;
        let text = fs::read_to_string(bench.state_root().join("a/state.json")).unwrap_or_default();
        let state: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let victim = state[which]["pid"].as_i64().unwrap_or(0);
        let victim = i32::try_from(victim).unwrap_or(0);
        check(victim > 1, "no victim")?;
        kill(Pid::from_raw(victim), Signal::SIGKILL).map_err(|errno| errno.to_string())?;
        check(
            bench.eventually(|bench| bench.status("a") == "stopped"),
            format!("a goes on without its {which}"),
        )?;
        ok(bench, &["delete", "a"])?;
        is(bench, "b", "echo fine", "fine\n")?;
    }
    delete(bench, &["b", "pod"])
}

/// The sandbox goes on without its first container, as long as one is left; each that goes takes only its own along.
fn the_first_container_is_deleted(bench: &mut Bench) -> Result<(), String> {
    pod(bench)?;
    let of_crio = |config: &mut Value| {
        config["annotations"] = json!({"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.SandboxID": "pod"});
        config["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}]);
    };
    for id in ["a", "b", "c"] {
        launched(bench, id, IDLE, of_crio)?;
    }
    check(helpers(bench, "boot") == 1, "more than one sandbox")?;
    for (gone, left) in [
        ("pod", &["a", "b", "c"][..]),
        ("a", &["b", "c"]),
        ("b", &["c"]),
    ] {
        ok(bench, &["delete", "--force", gone])?;
        let directory = format!("/sys/fs/cgroup/memory{}", cgroup(bench, gone));
        check(
            !std::path::Path::new(&directory).exists(),
            format!("the cgroup of {gone} is left"),
        )?;
        for id in left {
            check(
                bench.status(id) == "running",
                format!("{id} went with {gone}"),
            )?;
            is(bench, id, "echo fine", "fine\n")?;
            let shown = ok(bench, &["ps", "--format", "json", id])?;
            check(shown.trim() != "[]", format!("ps {id}: {shown}"))?;
            for command in ["pause", "resume"] {
                ok(bench, &[command, id])?;
            }
        }
        check(helpers(bench, "boot") == 1, "the sandbox is gone")?;
    }
    // One more joins what the first has left, under the first one's name.
    launched(bench, "a", IDLE, of_crio)?;
    check(helpers(bench, "boot") == 1, "a second sandbox")?;
    is(bench, "a", "echo again", "again\n")?;
    ok(bench, &["kill", "c", "KILL"])?;
    check(
        bench.eventually(|bench| bench.status("c") == "stopped"),
        "c goes on",
    )?;
    is(bench, "a", "echo still", "still\n")?;
    ok(bench, &["delete", "c"])?;
    is(bench, "a", "echo still", "still\n")?;
    delete(bench, &["a"])?;
    check(helpers(bench, "boot") == 0, "the sandbox is left")
}

fn sandboxes_that_are_not_there(bench: &mut Bench) -> Result<(), String> {
    let refused = launch(bench, "a", "true", |config| {
        config["annotations"] = json!({"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": "nosuch"});
    });
    check(
        refused.code == 1
            && refused
                .stderr
                .contains("nosuch of container a does not exist"),
        format!("{refused:?}"),
    )?;
    let refused = launch(bench, "a", "true", |config| {
        config["annotations"] = json!({"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": "../x"});
    });
    check(refused.code == 1, format!("{refused:?}"))?;
    // A namespace of somebody else's.
    pod(bench)?;
    let own = i64::from(std::process::id());
    let first = pid(bench, "pod");
    let refused = launch(bench, "a", "true", |config| {
        of_pod(config, first, Some(own))
    });
    check(
        refused.code == 1 && refused.stderr.contains("belongs to no container"),
        format!("{refused:?}"),
    )?;
    delete(bench, &["pod"])
}

/// CRI-O's way: no container makes the sandbox, and its members may pin namespaces.
fn made_by_the_first_member(bench: &mut Bench) -> Result<(), String> {
    let of_crio = |config: &mut Value| {
        config["annotations"] = json!({"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.SandboxID": "abcdef"});
    };
    launched(bench, "a", IDLE, of_crio)?;
    let first = pid(bench, "a");
    launched(bench, "b", IDLE, |config| {
        let path = |kind: &str| format!("/proc/{first}/ns/{kind}");
        of_crio(config);
        config["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "ipc", "path": path("ipc")}, {"type": "uts", "path": path("uts")}, {"type": "mount"}, {"type": "network", "path": path("net")}]);
    })?;
    check(helpers(bench, "boot") == 1, "two sandboxes")?;
    let read = |id| ok(bench, &["exec", id, "readlink", "/proc/self/ns/net"]);
    check(read("a")? == read("b")?, "two networks")?;
    delete(bench, &["b", "a"])
}

/// A directory of the host's that two containers mount, as an emptyDir.
fn volumes(bench: &mut Bench) -> Result<(), String> {
    pod(bench)?;
    let first = pid(bench, "pod");
    let host = bench.path("empty-dir");
    fs::create_dir(&host).map_err(|error| error.to_string())?;
    for id in ["a", "b"] {
        let mount = json!({"destination": "/v", "type": "bind", "source": host, "options": ["rbind", "rw"]});
        launched(bench, id, IDLE, |config| {
            of_pod(config, first, None);
            if let Some(mounts) = config["mounts"].as_array_mut() {
                mounts.push(mount);
            }
        })?;
    }
    is(
        bench,
        "a",
        "echo from a > /v/f; mkfifo /v/fifo; echo done",
        "done\n",
    )?;
    is(
        bench,
        "b",
        "cat /v/f; echo more >> /v/f; rm /v/fifo; ls /v",
        "from a\nf\n",
    )?;
    is(
        bench,
        "a",
        "cat /v/f; test -e /v/fifo; echo $?",
        "from a\nmore\n1\n",
    )?;
    delete(bench, &["a", "b", "pod"])
}

fn many_members(bench: &mut Bench) -> Result<(), String> {
    pod(bench)?;
    let ids: Vec<String> = (0..12).map(|number| format!("m{number}")).collect();
    for id in &ids {
        member(bench, id, IDLE)?;
    }
    for id in &ids {
        is(bench, id, "echo here", "here\n")?;
    }
    check(helpers(bench, "boot") == 1, "more than one sentry")?;
    for id in &ids {
        ok(bench, &["delete", "--force", id])?;
    }
    check(bench.status("pod") == "running", "the pod died")?;
    delete(bench, &["pod"])
}
