//! Profiles judged by the sentry's own evaluator.

use std::sync::Arc;

use abi::nr;
use sentry::task::seccomp::{Action, CallData, Program, SeccompState, evaluate};

use super::*;

fn load(profile: &serde_json::Value) -> SeccompState {
    let profile: LinuxSeccomp = serde_json::from_value(profile.clone()).unwrap();
    let program = Program::new(compile(&profile).unwrap()).unwrap();
    SeccompState::default()
        .with_filter(Arc::new(program))
        .unwrap()
}

fn ask(state: &SeccompState, nr: u32, args: [u64; 6]) -> Action {
    evaluate(
        state,
        &CallData {
            nr,
            arch: AUDIT_ARCH_X86_64,
            ip: 0,
            args,
        },
    )
}

#[test]
fn every_operator_compares_64_bits_unsigned() {
    let values = [
        0,
        1,
        7,
        8,
        9,
        0xffff_ffff,
        0x1_0000_0000,
        0x1_0000_0007,
        0x1_0000_0008,
        0x2_0000_0008,
        0x8000_0000_0000_0000,
        u64::MAX,
    ];
    type Holds = fn(u64, u64, u64) -> bool;
    let operators: [(&str, Holds); 7] = [
        ("NE", |a, v, _| a != v),
        ("LT", |a, v, _| a < v),
        ("LE", |a, v, _| a <= v),
        ("EQ", |a, v, _| a == v),
        ("GE", |a, v, _| a >= v),
        ("GT", |a, v, _| a > v),
        ("MASKED_EQ", |a, v, w| a & v == w & v),
    ];
    for (name, holds) in operators {
        for value in values {
            for two in [0, 8, 0x1_0000_0000] {
                let state = load(&serde_json::json!({
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": ["mmap"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5,
                        "args": [{"index": 3, "value": value, "valueTwo": two, "op": format!("SCMP_CMP_{name}")}]}]
                }));
                for argument in values {
                    let expected = if holds(argument, value, two) {
                        Action::Errno(5)
                    } else {
                        Action::Allow
                    };
                    let got = ask(&state, nr::mmap, [1, 1, 1, argument, 1, 1]);
                    assert_eq!(got, expected, "{argument:#x} {name} {value:#x} {two:#x}");
                }
            }
        }
    }
}

#[test]
fn conditions_are_and_within_a_rule_and_or_between_rules() {
    let eq = |index: u32, value: u64| serde_json::json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
    let state = load(&serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [eq(0, 1), eq(1, 2)]},
            {"names": ["socket"], "action": "SCMP_ACT_LOG", "args": [eq(0, 3)]},
            {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [eq(1, 9), eq(1, 15)]},
            {"names": ["read"], "action": "SCMP_ACT_KILL", "args": [eq(0, 7)]},
            {"names": ["read", "nosuchcall", "chown32"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["read"], "action": "SCMP_ACT_TRAP"},
            {"names": ["umask"], "action": "SCMP_ACT_TRAP"},
            {"names": ["write"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["pause"], "action": "SCMP_ACT_KILL_THREAD"}
        ]
    }));
    let socket = |domain, kind| ask(&state, nr::socket, [domain, kind, 0, 0, 0, 0]);
    assert_eq!(socket(1, 2), Action::Allow);
    assert_eq!(socket(1, 3), Action::Errno(1));
    assert_eq!(socket(3, 3), Action::Log);
    // Two conditions on one argument are two rules.
    for (signal, expected) in [
        (9, Action::Allow),
        (15, Action::Allow),
        (1, Action::Errno(1)),
    ] {
        assert_eq!(ask(&state, nr::kill, [1, signal, 0, 0, 0, 0]), expected);
    }
    // The first rule without conditions decides alone.
    assert_eq!(ask(&state, nr::read, [7; 6]), Action::Allow);
    assert_eq!(ask(&state, nr::umask, [0; 6]), Action::Trap(0));
    assert_eq!(ask(&state, nr::write, [0; 6]), Action::KillProcess);
    assert_eq!(ask(&state, nr::pause, [0; 6]), Action::KillThread);
    assert_eq!(ask(&state, nr::open, [0; 6]), Action::Errno(1));
    // umask is the newest call named.
    assert_eq!(ask(&state, nr::umask + 1, [0; 6]), Action::Errno(38));
    let foreign = CallData {
        nr: nr::read,
        arch: 0x4000_0003,
        ip: 0,
        args: [0; 6],
    };
    assert_eq!(evaluate(&state, &foreign), Action::KillThread);
}

#[test]
fn a_default_that_allows_needs_no_enosys_and_equal_actions_say_nothing() {
    let state = load(&serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}
        ]
    }));
    assert_eq!(ask(&state, nr::mkdir, [0; 6]), Action::Errno(13));
    assert_eq!(ask(&state, nr::mkdirat, [0; 6]), Action::Errno(13));
    assert_eq!(ask(&state, 460, [0; 6]), Action::Allow);
    let state = load(&serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "syscalls": [{"names": ["read", "close_range"], "action": "SCMP_ACT_ALLOW"}]
    }));
    assert_eq!(ask(&state, nr::write, [0; 6]), Action::Errno(38));
    assert_eq!(ask(&state, nr::close_range, [0; 6]), Action::Allow);
}

#[test]
fn what_cannot_be_done_is_said() {
    let error = |profile: serde_json::Value| {
        compile(&serde_json::from_value(profile).unwrap())
            .unwrap_err()
            .to_string()
    };
    let notify = error(serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]
    }));
    assert!(notify.contains("SCMP_ACT_NOTIFY, which is not supported"));
    let index = error(serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]
    }));
    assert!(index.contains("argument 6"));
}
