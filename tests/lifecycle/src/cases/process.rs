//! The spec's process, seen from inside.

use std::fs;

use serde_json::json;

use super::cases;
use crate::Bench;
use crate::bench::ID;

cases![
    users,
    groups,
    umask,
    environment,
    arguments,
    rlimits,
    wrong_rlimits,
    capabilities,
    capabilities_of_a_user,
    unknown_capabilities,
    no_new_privileges,
    set_user_id,
    oom_score,
    oom_score_out_of_range,
    selinux_and_apparmor,
    io_priority_and_scheduler,
    home,
    signals_at_start,
];

fn users(b: &mut Bench) {
    for (key, uid, gid) in [
        ("root", 0, 0),
        ("user", 1000, 1000),
        ("unknown", 4242, 4343),
        ("large", 65_534, 65_534),
    ] {
        b.change(|config| config["process"]["user"] = json!({"uid": uid, "gid": gid}));
        b.check_script(key, "id -u; id -g; grep -E '^(Uid|Gid)' /proc/self/status; touch /tmp/$$ && ls -ln /tmp | awk 'NR==2{print $3,$4}'; rm -f /tmp/*");
    }
}

fn groups(b: &mut Bench) {
    b.check_script("none", "grep Groups /proc/self/status");
    b.change(|config| {
        config["process"]["user"] =
            json!({"uid": 1000, "gid": 1000, "additionalGids": [50, 60, 70]})
    });
    b.check_script("three", "grep Groups /proc/self/status; id -G");
}

fn umask(b: &mut Bench) {
    b.check_script("default", "umask");
    b.change(|config| config["process"]["user"]["umask"] = json!(0o77));
    b.check_script("given", "umask; touch /tmp/x; stat -c %a /tmp/x");
    b.change(|config| config["process"]["user"]["umask"] = json!(0));
    b.check_script("zero", "umask");
}

fn environment(b: &mut Bench) {
    b.change(|config| {
        config["process"]["env"] = json!(["PATH=/bin", "A=1", "B=", "A=2", "C=with blank", "D=a=b"])
    });
    b.check_script("values", "echo [$A] [$B] [$C] [$D]");
    b.args(&["env"]);
    b.check("all", &["run", ID]);
    b.change(|config| config["process"]["env"] = json!([]));
    b.args(&["/bin/env"]);
    b.check("none", &["run", ID]);
    b.args(&["env"]);
    b.check("no path", &["run", ID]);
    b.change(|config| config["process"]["env"] = json!(["PATH=/bin", "NOEQUALS"]));
    b.args(&["/bin/env"]);
    b.check("no equals sign", &["run", ID]);
}

fn home(b: &mut Bench) {
    b.check_script("root", "echo $HOME");
    b.change(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    b.check_script("user", "echo $HOME");
    b.change(|config| config["process"]["user"] = json!({"uid": 4242, "gid": 1000}));
    b.check_script("unknown", "echo $HOME");
    b.change(|config| config["process"]["env"] = json!(["PATH=/bin", "HOME=/given"]));
    b.check_script("given", "echo $HOME");
    b.change(|config| config["process"]["env"] = json!(["PATH=/bin", "HOME="]));
    b.check_script("empty", "echo [$HOME]");
}

fn arguments(b: &mut Bench) {
    b.args(&["echo", "a b", "", "ünï", "$X", "*"]);
    b.check("passed on", &["run", ID]);
    b.args(&["sh", "-c", "tr '\\0' '|' < /proc/1/cmdline"]);
    b.check("command line", &["run", ID]);
    b.args(&[]);
    b.check("none", &["run", ID]);
    b.change(|config| {
        drop(
            config["process"]
                .as_object_mut()
                .expect("process")
                .remove("args"),
        )
    });
    b.check("missing", &["run", ID]);
    b.change(|config| drop(config.as_object_mut().expect("config").remove("process")));
    b.check("no process", &["run", ID]);
}

fn rlimits(b: &mut Bench) {
    b.change(|config| {
        config["process"]["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            {"type": "RLIMIT_NPROC", "soft": 500, "hard": 600},
            {"type": "RLIMIT_STACK", "soft": 4_194_304, "hard": 8_388_608},
            {"type": "RLIMIT_FSIZE", "soft": 1_000_000, "hard": 2_000_000},
            {"type": "RLIMIT_AS", "soft": 1_000_000_000, "hard": 2_000_000_000},
            {"type": "RLIMIT_CPU", "soft": 60, "hard": 120},
            {"type": "RLIMIT_MEMLOCK", "soft": 65536, "hard": 65536},
            {"type": "RLIMIT_MSGQUEUE", "soft": 100_000, "hard": 100_000},
            {"type": "RLIMIT_DATA", "soft": 500_000_000, "hard": 600_000_000}
        ]);
    });
    for name in [
        "open files",
        "core file size",
        "processes",
        "stack size",
        "file size",
        "address space",
        "cpu time",
        "locked memory",
        "msgqueue size",
        "data size",
    ] {
        b.check_script(name, &format!("grep -i 'max {name}' /proc/self/limits"));
    }
}

fn wrong_rlimits(b: &mut Bench) {
    for (key, limits) in [
        (
            "soft above hard",
            json!([{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 100}]),
        ),
        (
            "unknown",
            json!([{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]),
        ),
        (
            "twice",
            json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 100}, {"type": "RLIMIT_NOFILE", "soft": 20, "hard": 100}]),
        ),
    ] {
        b.change(|config| config["process"]["rlimits"] = limits);
        b.check_script(key, "ulimit -n");
    }
}

fn capabilities(b: &mut Bench) {
    let show = "grep Cap /proc/self/status";
    b.check_script("usual", show);
    b.change(|config| config["process"]["capabilities"] = json!({}));
    b.check_script("empty", show);
    b.change(|config| {
        drop(
            config["process"]
                .as_object_mut()
                .expect("process")
                .remove("capabilities"),
        )
    });
    b.check_script("not given", show);
    b.change(|config| config["process"]["capabilities"] = json!({"bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL", "CAP_CHOWN"], "inheritable": ["CAP_CHOWN"]}));
    b.check_script("each set", show);
    b.check_script("chown works not", "touch /tmp/f; chown 5 /tmp/f; echo $?");
    b.change(|config| {
        config["process"]["capabilities"] =
            json!({"bounding": [], "effective": [], "permitted": []})
    });
    b.check_script("none", "touch /tmp/g; chown 5 /tmp/g; echo $?; mknod /tmp/n c 1 3; echo $?; mount -t tmpfs x /mnt; echo $?; hostname other; echo $?");
}

fn capabilities_of_a_user(b: &mut Bench) {
    b.change(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    b.check_script("usual", "grep Cap /proc/self/status");
    b.change(|config| {
        let set = json!(["CAP_NET_BIND_SERVICE", "CAP_CHOWN"]);
        config["process"]["capabilities"] = json!({"bounding": set, "effective": set, "permitted": set, "inheritable": set, "ambient": set});
    });
    b.check_script(
        "ambient",
        "grep Cap /proc/self/status; touch /tmp/f; chown 5 /tmp/f; echo $?",
    );
}

fn unknown_capabilities(b: &mut Bench) {
    for (key, name) in [
        ("unknown", "CAP_FOO"),
        ("lower", "cap_kill"),
        ("without CAP", "KILL"),
    ] {
        b.change(|config| {
            config["process"]["capabilities"] =
                json!({"bounding": [name], "effective": [name], "permitted": [name]})
        });
        let seen = b.check_script(key, "grep Cap /proc/self/status");
        let _ = seen;
    }
}

fn no_new_privileges(b: &mut Bench) {
    b.check_script("off", "grep NoNewPrivs /proc/self/status");
    b.change(|config| config["process"]["noNewPrivileges"] = json!(true));
    b.check_script("on", "grep NoNewPrivs /proc/self/status");
}

fn set_user_id(b: &mut Bench) {
    use std::os::unix::fs::PermissionsExt;
    fs::copy(b.in_root("bin/busybox"), b.in_root("bin/suid")).expect("a copy");
    fs::set_permissions(b.in_root("bin/suid"), fs::Permissions::from_mode(0o4755))
        .expect("its mode");
    b.change(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    // busybox drops its privilege for applets that do not need it: look at the kernel's view of a sleeping one.
    let script = "suid=$(/bin/suid grep Uid /proc/self/status); echo $suid";
    b.check_script("allowed", script);
    b.change(|config| config["process"]["noNewPrivileges"] = json!(true));
    b.check_script("forbidden", script);
}

fn oom_score(b: &mut Bench) {
    for score in [0, 100, 1000] {
        b.change(|config| config["process"]["oomScoreAdj"] = json!(score));
        b.check_script(
            &format!("score {score}"),
            "cat /proc/self/oom_score_adj; sh -c 'cat /proc/self/oom_score_adj'",
        );
    }
    b.sleeper();
    b.note(
        "of the host's process",
        fs::read_to_string(format!("/proc/{}/oom_score_adj", b.pid()))
            .unwrap_or_default()
            .trim(),
    );
}

fn oom_score_out_of_range(b: &mut Bench) {
    for score in [1001, -1001] {
        b.change(|config| config["process"]["oomScoreAdj"] = json!(score));
        let seen = b.run(&["run", ID]);
        b.note(&format!("{score}.code"), seen.code);
    }
}

fn selinux_and_apparmor(b: &mut Bench) {
    b.change(|config| config["process"]["selinuxLabel"] = json!("a:b:c:d"));
    b.check("selinux", &["run", ID]);
    b.change(|config| {
        config["process"]["selinuxLabel"] = json!("");
        config["linux"]["mountLabel"] = json!("a:b:c:d");
    });
    b.check("mount label", &["run", ID]);
    b.change(|config| {
        config["linux"]["mountLabel"] = json!("");
        config["process"]["apparmorProfile"] = json!("some-profile");
    });
    b.check("apparmor", &["run", ID]);
    b.change(|config| config["process"]["apparmorProfile"] = json!("unconfined"));
    b.check("unconfined", &["run", ID]);
}

fn io_priority_and_scheduler(b: &mut Bench) {
    b.change(|config| {
        config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 1});
    });
    let seen = b.run(&["run", ID]);
    b.note("ioPriority.code", seen.code);
}

fn signals_at_start(b: &mut Bench) {
    b.check_script("masks", "grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status");
    b.args(&["cat", "/proc/self/status"]);
    let seen = b.run(&["run", ID]);
    let fields: Vec<&str> = seen
        .stdout
        .lines()
        .filter(|line| {
            [
                "Name", "Pid", "PPid", "NSpid", "NSpgid", "NSsid", "Threads", "Seccomp",
            ]
            .iter()
            .any(|name| line.starts_with(&format!("{name}:")))
        })
        .collect();
    b.note("status", fields.join("\n"));
}
