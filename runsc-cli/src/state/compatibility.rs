//! What older versions have written can be read: `version-1.json` is the state of a container that runsc 0.1.0 had started, as it was first released.
//!
//! A change of [`State`](super::State) that fails here needs a new layout version and code that reads the old one: a newer `runsc` must exec in, kill and
//! delete the containers of an older one.

use super::State;

#[test]
fn a_state_of_the_first_layout_is_read() {
    let state: State = serde_json::from_str(include_str!("version-1.json")).unwrap();
    assert_eq!(
        (state.version, state.id.as_str(), state.sandbox.as_str()),
        (1, "c", "c")
    );
    assert_eq!(state.sentry.map(|sentry| sentry.pid), Some(5997));
    assert_eq!(state.gofer.map(|gofer| gofer.pid), Some(5992));
    assert!(state.started && !state.paused);
    assert_eq!(
        state.cgroup.as_ref().map(crate::cgroup::Cgroup::path),
        Some("/pod/c")
    );
    assert_eq!(state.host_id, Some(2_087_826_647));
    assert!(state.process.is_some() && state.hooks.is_some() && state.network.private);
}

/// What was optional from the start may be missing, and what a newer version adds is not in the way.
#[test]
fn fields_of_other_versions_are_no_obstacle() {
    let mut value: serde_json::Value =
        serde_json::from_str(include_str!("version-1.json")).unwrap();
    value["added later"] = serde_json::json!({"a": 1});
    value.as_object_mut().unwrap().remove("network");
    let state: State = serde_json::from_value(value).unwrap();
    assert!(!state.network.private);
}
