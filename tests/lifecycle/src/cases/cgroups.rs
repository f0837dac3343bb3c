//! Limits and statistics on cgroup v1.

use std::fs;

use serde_json::{Value, json};

use super::cases;
use crate::Bench;
use crate::bench::ID;

cases![
    limits,
    wrong_limits,
    update_flags,
    update_resources,
    devices_rules,
    default_path,
    relative_path,
    in_use,
    memory_limit_kills_one,
    pids_limit,
    pids_limit_counts_guests,
    freezer_of_pause,
    cpu_is_accounted,
    hugetlb_and_network_class,
    seen_inside
];

fn resources(b: &mut Bench, resources: Value) {
    b.change(|config| config["linux"]["resources"] = resources);
}

fn limits(b: &mut Bench) {
    resources(
        b,
        json!({
            "memory": {"limit": 134_217_728, "reservation": 67_108_864},
            "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 123},
            "blockIO": {"weight": 300}
        }),
    );
    b.sleeper();
    for (controller, file) in [
        ("memory", "memory.limit_in_bytes"),
        ("memory", "memory.soft_limit_in_bytes"),
        ("cpu", "cpu.shares"),
        ("cpu", "cpu.cfs_quota_us"),
        ("cpu", "cpu.cfs_period_us"),
        ("cpuset", "cpuset.cpus"),
        ("cpuset", "cpuset.mems"),
    ] {
        b.note(file, b.cgroup_file(controller, file));
    }
    let events: Value =
        serde_json::from_str(&b.run(&["events", "--stats", ID]).stdout).unwrap_or(Value::Null);
    b.note(
        "events memory limit",
        &events["data"]["memory"]["usage"]["limit"],
    );
    b.note("events pids limit", &events["data"]["pids"]["limit"]);
}

fn wrong_limits(b: &mut Bench) {
    for (key, value) in [
        ("cpus", json!({"cpu": {"cpus": "0-99"}})),
        ("cpus no list", json!({"cpu": {"cpus": "a"}})),
        ("quota", json!({"cpu": {"quota": 1, "period": 100_000}})),
        ("period", json!({"cpu": {"quota": 1000, "period": 1}})),
        ("shares", json!({"cpu": {"shares": 1}})),
        (
            "swap below memory",
            json!({"memory": {"limit": 134_217_728, "swap": 1_000_000}}),
        ),
        ("memory unlimited", json!({"memory": {"limit": -1}})),
        ("pids unlimited", json!({"pids": {"limit": -1}})),
        ("pids zero", json!({"pids": {"limit": 0}})),
        (
            "swappiness",
            json!({"memory": {"limit": 134_217_728, "swappiness": 200}}),
        ),
    ] {
        resources(b, value);
        let seen = b.run(&["run", ID]);
        b.note(&format!("{key}.code"), seen.code);
        b.note(&format!("{key}.says"), !seen.stderr.is_empty());
    }
}

fn update_flags(b: &mut Bench) {
    resources(
        b,
        json!({"memory": {"limit": 134_217_728}, "cpu": {"shares": 512}, "pids": {"limit": 100}}),
    );
    b.sleeper();
    for (key, args) in [
        ("memory", &["--memory", "268435456"][..]),
        ("shares", &["--cpu-share", "200"]),
        ("quota", &["--cpu-period", "50000", "--cpu-quota", "10000"]),
        ("pids", &["--pids-limit", "77"]),
        ("cpus", &["--cpuset-cpus", "0"]),
        ("reservation", &["--memory-reservation", "100000000"]),
        ("nothing", &[]),
        ("bad number", &["--memory", "abc"]),
    ] {
        let mut all = vec!["update"];
        all.extend(args);
        all.push(ID);
        let seen = b.run(&all);
        b.note(&format!("{key}.code"), seen.code);
    }
    for (controller, file) in [
        ("memory", "memory.limit_in_bytes"),
        ("memory", "memory.soft_limit_in_bytes"),
        ("cpu", "cpu.shares"),
        ("cpu", "cpu.cfs_quota_us"),
        ("cpu", "cpu.cfs_period_us"),
        ("cpuset", "cpuset.cpus"),
    ] {
        b.note(file, b.cgroup_file(controller, file));
    }
    b.note("status", b.status(ID));
}

fn update_resources(b: &mut Bench) {
    b.sleeper();
    let seen = b.run_with_input(
        &["update", "--resources=-", ID],
        &json!({"memory": {"limit": 200_003_584}, "cpu": {"shares": 300}, "pids": {"limit": 55}})
            .to_string(),
    );
    b.note_all("input", &seen);
    b.note("memory", b.cgroup_file("memory", "memory.limit_in_bytes"));
    b.note("shares", b.cgroup_file("cpu", "cpu.shares"));
    fs::write(
        b.path("r.json"),
        json!({"cpu": {"shares": 400}}).to_string(),
    )
    .expect("a file");
    b.check("file", &["update", "--resources", "r.json", ID]);
    b.note("shares 2", b.cgroup_file("cpu", "cpu.shares"));
    b.note(
        "memory kept",
        b.cgroup_file("memory", "memory.limit_in_bytes"),
    );
    let seen = b.run(&["update", "--resources", "/nosuch", ID]);
    b.note("missing.code", seen.code);
    let seen = b.run_with_input(&["update", "-r", "-", ID], "{");
    b.note("broken.code", seen.code);
}

fn devices_rules(b: &mut Bench) {
    resources(
        b,
        json!({"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}]}),
    );
    b.check_script("run", "echo x > /dev/null; echo $?");
    resources(
        b,
        json!({"devices": [{"allow": true, "type": "z", "access": "rw"}]}),
    );
    let seen = b.run(&["run", ID]);
    b.note("type.code", seen.code);
}

fn default_path(b: &mut Bench) {
    b.change(|config| {
        drop(
            config["linux"]
                .as_object_mut()
                .expect("linux")
                .remove("cgroupsPath"),
        )
    });
    let name = b.cgroup.trim_start_matches('/').to_owned();
    b.script("sleep 1000");
    let seen = b.finish(
        b.command(&["run", "--detach", &name])
            .stdin(std::process::Stdio::null()),
    );
    b.note("code", seen.code);
    let pid = b.state(&name)["pid"].as_i64().unwrap_or(0);
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    b.note(
        "ends with the id",
        text.lines().filter(|line| line.ends_with(&name)).count() > 4,
    );
    b.check("delete", &["delete", "--force", &name]);
}

fn relative_path(b: &mut Bench) {
    let name = b.cgroup.trim_start_matches('/').to_owned();
    b.change(|config| config["linux"]["cgroupsPath"] = json!(name));
    b.sleeper();
    let text = fs::read_to_string(format!("/proc/{}/cgroup", b.pid())).unwrap_or_default();
    b.note(
        "below",
        text.lines().filter(|line| line.ends_with(&name)).count() > 4,
    );
    b.check("delete", &["delete", "--force", ID]);
}

fn in_use(b: &mut Bench) {
    b.sleeper();
    b.script("true");
    let seen = b.run(&["run", "other"]);
    b.note("code", seen.code);
    b.note("first lives", b.status(ID));
}

/// One process over the limit is killed; the others go on.
fn memory_limit_kills_one(b: &mut Bench) {
    resources(
        b,
        json!({"memory": {"limit": 67_108_864, "swap": 67_108_864}}),
    );
    b.check_script("run", "awk 'BEGIN{s=\"xxxxxxxxxxxxxxxx\"; while(1) s=s s}' >/dev/null 2>&1; echo code $?; echo init goes on");
    b.background("awk 'BEGIN{s=\"xxxxxxxxxxxxxxxx\"; while(1) s=s s}'; sleep 1000");
    let killed = b.eventually(|b| {
        ["", "guest/", "sentry/"].iter().any(|place| {
            b.cgroup_file("memory", &format!("{place}memory.oom_control"))
                .lines()
                .any(|line| line.starts_with("oom_kill ") && line != "oom_kill 0")
        })
    });
    b.note("counted", killed);
    b.note("status", b.status(ID));
    b.check("exec", &["exec", ID, "echo", "still here"]);
}

fn pids_limit(b: &mut Bench) {
    resources(b, json!({"pids": {"limit": 20}}));
    b.check_script(
        "run",
        "i=0; while test $i -lt 30; do sleep 5 & i=$((i+1)); done 2>/dev/null; echo end",
    );
}

/// The limit is the guests': what our helpers need is not taken from it.
fn pids_limit_counts_guests(b: &mut Bench) {
    // Room for the threads of runc's own that end as the program starts: at 12 its shell could not fork now and then.
    resources(b, json!({"pids": {"limit": 20}}));
    b.check_script(
        "ten fit",
        "i=0; while test $i -lt 10; do sleep 1 & i=$((i+1)); done; echo end; wait; echo $?",
    );
    b.check_script("thirty do not", "sh -c 'i=0; while test $i -lt 30; do sleep 1 & i=$((i+1)); done; echo all' 2>&1 | grep -c all");
}

fn freezer_of_pause(b: &mut Bench) {
    b.background("i=0; while :; do i=$((i+1)); echo $i > /tmp/count; sleep 0.01; done");
    let counts = b.eventually(|b| {
        fs::read_to_string(b.in_root("tmp/count")).is_ok_and(|text| !text.is_empty())
    });
    b.note("counts", counts);
    b.check("pause", &["pause", ID]);
    b.note("status", b.status(ID));
    let read = |b: &Bench| fs::read_to_string(b.in_root("tmp/count")).unwrap_or_default();
    // What was under way may end; then nothing moves.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let first = read(b);
    std::thread::sleep(std::time::Duration::from_millis(200));
    b.note("stands still", read(b) == first);
    b.check("list", &["list", "-q"]);
    let seen = b.run(&["ps", "--format", "json", ID]);
    b.note("ps.code", seen.code);
    b.check("resume", &["resume", ID]);
    let moves = b.eventually(|b| read(b) != first);
    b.note("goes on", moves);
}

fn cpu_is_accounted(b: &mut Bench) {
    b.background("i=0; while test $i -lt 200000; do i=$((i+1)); done; sleep 1000");
    let used = b.eventually(|b| {
        b.cgroup_file("cpuacct", "cpuacct.usage")
            .parse::<u64>()
            .is_ok_and(|ns| ns > 50_000_000)
    });
    b.note("used", used);
}

fn hugetlb_and_network_class(b: &mut Bench) {
    resources(b, json!({"network": {"classID": 1_048_577}}));
    let seen = b.run(&["run", ID]);
    b.note("network.code", seen.code);
    resources(
        b,
        json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 9_000_000}]}),
    );
    let seen = b.run(&["run", ID]);
    b.note("hugepages.code", seen.code);
    resources(b, json!({"unified": {"memory.high": "1000000"}}));
    b.check("unified", &["run", ID]);
}

fn seen_inside(b: &mut Bench) {
    b.check_script(
        "own cgroup",
        "cut -d: -f2 /proc/self/cgroup | tr ',' '\\n' | sort | tr '\\n' ' '",
    );
}
