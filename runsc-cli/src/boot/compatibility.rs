//! Commands and sentries of different versions understand each other: `protocol-2.json` has what version 2's commands ask.
//!
//! A newer sentry must be able to read it, and what a newer command sends must hold all of it with the same values, so that an older sentry can. Fields may
//! be added, with a default; what cannot be done so needs a new [`PROTOCOL_VERSION`](super::config::PROTOCOL_VERSION) and commands that speak the old one.

use serde_json::Value;

use super::config::{ProcessConfig, ResourceLimits};
use super::control::{FdRole, Request, SignalScope, Target};

/// The requests that a container which exists already gets.
fn requests() -> Vec<Request> {
    let target = || Target {
        container: "c".into(),
        exec: Some("e".into()),
    };
    let id = || "c".to_owned();
    vec![
        Request::Hello { version: 2 },
        Request::Start {
            id: id(),
            network: None,
        },
        Request::Exec {
            target: target(),
            process: Box::new(process()),
            fds: vec![FdRole::Guest(0), FdRole::Guest(1), FdRole::Guest(2)],
        },
        Request::Signal {
            target: target(),
            signal: 15,
            scope: SignalScope::Process,
        },
        Request::Signal {
            target: target(),
            signal: 9,
            scope: SignalScope::All,
        },
        Request::WindowChanged { target: target() },
        Request::Wait {
            target: target(),
            owner: true,
        },
        Request::Status { id: id() },
        Request::Processes { id: id() },
        Request::Pause { id: id() },
        Request::Resume { id: id() },
        Request::Update {
            id: id(),
            limits: ResourceLimits::default(),
        },
        Request::Destroy { id: id() },
        Request::Stacks,
        Request::Counters,
        Request::Strace {
            calls: vec!["all".into()],
        },
    ]
}

fn process() -> ProcessConfig {
    let spec = serde_json::from_str(
        r#"{"cwd": "/", "args": ["true"], "env": ["A=1"], "user": {"uid": 1, "gid": 2, "additionalGids": [3]}, "noNewPrivileges": true, "oomScoreAdj": 4}"#,
    );
    let mut process = crate::spec::process::translate(&spec.unwrap(), 0).unwrap();
    // These are the caller's own.
    process.rlimits.clear();
    process.nice = 0;
    process
}

/// Whether `new` has all that `old` has.
fn holds(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => old
            .iter()
            .all(|(key, old)| new.get(key).is_some_and(|new| holds(new, old))),
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| holds(new, old))
        }
        (new, old) => new == old,
    }
}

#[test]
fn requests_of_version_2_are_still_those() {
    let now: Vec<Value> = requests()
        .iter()
        .map(|request| serde_json::to_value(request).unwrap())
        .collect();
    let then: Vec<Value> = serde_json::from_str(include_str!("protocol-2.json")).unwrap();
    assert_eq!(
        now.len(),
        then.len(),
        "now: {}",
        serde_json::to_string_pretty(&now).unwrap()
    );
    for (now, then) in now.iter().zip(&then) {
        assert!(
            holds(now, then),
            "an older sentry expects {then}, not {now}"
        );
        let read: Request = serde_json::from_value(then.clone()).unwrap();
        assert!(requests().contains(&read), "{then} is read as {read:?}");
    }
}
