//! Seccomp profiles.

use serde_json::{Value, json};

use super::cases;
use crate::Bench;
use crate::bench::ID;

cases![
    actions,
    arguments,
    default_errno,
    kill,
    wrong,
    flags_and_architectures,
    exec_is_filtered
];

fn profile(b: &mut Bench, profile: Value) {
    b.change(|config| config["linux"]["seccomp"] = profile);
}

fn allow_but(names: &[&str], action: &str) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [{"names": names, "action": action}]})
}

fn actions(b: &mut Bench) {
    profile(b, allow_but(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO"));
    b.check_script(
        "errno",
        "mkdir /tmp/x; echo $?; grep Seccomp: /proc/self/status",
    );
    profile(
        b,
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}),
    );
    b.check_script("errnoRet", "mkdir /tmp/x; echo $?");
    profile(b, allow_but(&["mkdir", "mkdirat"], "SCMP_ACT_LOG"));
    b.check_script("log", "mkdir /tmp/x; echo $?");
    profile(b, allow_but(&["uname"], "SCMP_ACT_TRAP"));
    b.check_script("trap", "uname; echo $?");
}

fn kill(b: &mut Bench) {
    for action in [
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_KILL_PROCESS",
    ] {
        profile(b, allow_but(&["uname"], action));
        b.check_script(action, "uname; echo $?");
        b.args(&["uname"]);
        b.check(&format!("init {action}"), &["run", ID]);
    }
}

fn arguments(b: &mut Bench) {
    for (key, op, value, two) in [
        ("equal", "SCMP_CMP_EQ", 0o700, 0),
        ("not equal", "SCMP_CMP_NE", 0o700, 0),
        ("greater", "SCMP_CMP_GT", 0o700, 0),
        ("masked", "SCMP_CMP_MASKED_EQ", 0o070, 0o050),
    ] {
        profile(
            b,
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": value, "valueTwo": two, "op": op}]}]}),
        );
        b.check_script(
            key,
            "umask 0; for m in 700 755 777; do mkdir -m $m /tmp/$m; echo $?; done; rm -r /tmp/7*",
        );
    }
}

fn default_errno(b: &mut Bench) {
    profile(
        b,
        json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": []}),
    );
    b.check_script("nothing is allowed", "echo x");
}

fn wrong(b: &mut Bench) {
    for (key, value) in [
        ("action", json!({"defaultAction": "SCMP_ACT_FOO"})),
        (
            "operator",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_FOO"}]}]}),
        ),
        (
            "index",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 9, "value": 1, "op": "SCMP_CMP_EQ"}]}]}),
        ),
        (
            "architecture",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_FOO"]}),
        ),
        (
            "unknown call",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["nosuchcall"], "action": "SCMP_ACT_ERRNO"}]}),
        ),
        ("no default", json!({"syscalls": []})),
        (
            "flag",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_FOO"], "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}),
        ),
        (
            "listener",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nosuch", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}),
        ),
    ] {
        profile(b, value);
        b.check(key, &["run", ID]);
    }
}

fn flags_and_architectures(b: &mut Bench) {
    profile(
        b,
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"], "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}),
    );
    b.check_script("run", "mkdir /tmp/x; echo $?");
}

fn exec_is_filtered(b: &mut Bench) {
    profile(b, allow_but(&["mkdir"], "SCMP_ACT_ERRNO"));
    b.sleeper();
    b.check(
        "exec",
        &[
            "exec",
            ID,
            "sh",
            "-c",
            "mkdir /tmp/x; echo $?; grep Seccomp: /proc/self/status",
        ],
    );
}
