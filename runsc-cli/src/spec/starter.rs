//! The `config.json` that `runsc spec` writes.

use oci_spec::runtime::Spec;
use serde_json::{Value, json};

/// The text, for root or for a rootless container of the calling user.
#[must_use]
pub fn text(rootless: bool) -> String {
    let text = include_str!("starter.json");
    if !rootless {
        return text.to_owned();
    }
    let mut value: Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(linux) = value.get_mut("linux").and_then(Value::as_object_mut) {
        linux.remove("resources");
        linux.insert(
            "uidMappings".into(),
            json!([{"containerID": 0, "hostID": nix::unistd::geteuid().as_raw(), "size": 1}]),
        );
        linux.insert(
            "gidMappings".into(),
            json!([{"containerID": 0, "hostID": nix::unistd::getegid().as_raw(), "size": 1}]),
        );
        if let Some(namespaces) = linux.get_mut("namespaces").and_then(Value::as_array_mut) {
            namespaces.push(json!({"type": "user"}));
        }
    }
    serde_json::to_string_pretty(&value).unwrap_or_default()
}

/// The same, parsed.
#[must_use]
pub fn spec(rootless: bool) -> Spec {
    serde_json::from_str(&text(rootless)).unwrap_or_default()
}
