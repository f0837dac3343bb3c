//! Reads `config.json` (and `exec --process` files) as leniently as Go does where that is harmless, and no more.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use oci_spec::runtime::{Process, Spec};
use serde_json::Value;

use super::{capabilities, idmap};
use crate::report;

/// Largest config file that is read: far above what engines write, far below what would hurt.
const MAX_CONFIG: u64 = 16 << 20;

/// Reads and parses `config.json` of a bundle.
pub fn spec(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let text = match read_bounded(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("JSON specification file config.json not found")
        }
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    spec_from_str(&text).map_err(|error| named(error, &path))
}

/// Parses a spec.
pub fn spec_from_str(text: &str) -> Result<Spec> {
    let mut value: Value = serde_json::from_str(text)?;
    if !value.is_object() {
        // A typed structure would also be read from an array.
        bail!("the top level is not a JSON object");
    }
    check_enums(&value)?;
    // The typed spec does not know the mappings of mounts.
    idmap::fold(&mut value)?;
    if let Some(process) = value.get_mut("process") {
        prepare_process(process);
    }
    if let Some(Value::Array(flags)) = value.pointer_mut("/linux/seccomp/flags") {
        // Only listeners have a use for it, and the typed spec does not know it.
        flags.retain(|flag| flag != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV");
    }
    Ok(serde_json::from_value(value)?)
}

/// Reads an `exec --process` file.
pub fn process(path: &Path) -> Result<Process> {
    let text = read_bounded(path).with_context(|| format!("open {}", path.display()))?;
    let mut value: Value =
        serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    check_rlimits(&value)?;
    prepare_process(&mut value);
    serde_json::from_value(value).with_context(|| format!("cannot read {}", path.display()))
}

/// Says which file could not be parsed; errors about what it says speak for themselves.
fn named(error: anyhow::Error, path: &Path) -> anyhow::Error {
    if error.is::<serde_json::Error>() {
        error.context(format!("cannot read {}", path.display()))
    } else {
        error
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    if fs::metadata(path)?.len() > MAX_CONFIG {
        return Err(std::io::Error::other(format!(
            "file is larger than {MAX_CONFIG} bytes"
        )));
    }
    fs::read_to_string(path)
}

/// Fills in what Go would leave at its zero value, so that the checks can say what is wrong, and drops what runc would ignore.
fn prepare_process(process: &mut Value) {
    if let Some(fields) = process.as_object_mut() {
        fields
            .entry("cwd")
            .or_insert_with(|| Value::String(String::new()));
        fields
            .entry("user")
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
    }
    drop_unknown_capabilities(process);
}

/// runc warns of capabilities that it does not know and goes on, and so do we.
fn drop_unknown_capabilities(process: &mut Value) {
    let Some(sets) = process
        .get_mut("capabilities")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let mut unknown = Vec::new();
    for set in sets.values_mut().filter_map(Value::as_array_mut) {
        set.retain(|entry| {
            let known = entry
                .as_str()
                .is_some_and(|name| capabilities::number(name).is_some());
            if !known {
                unknown.push(entry.as_str().unwrap_or("?").to_owned());
            }
            known
        });
    }
    unknown.sort();
    unknown.dedup();
    if !unknown.is_empty() {
        report::warning(&format!(
            "ignoring unknown or unavailable capabilities: [{}]",
            unknown.join(" ")
        ));
    }
}

/// Values that the typed spec would reject with a long list of alternatives: say what runc says instead.
fn check_enums(spec: &Value) -> Result<()> {
    check_rlimits(spec.get("process").unwrap_or(&Value::Null))?;
    let linux = spec.get("linux").unwrap_or(&Value::Null);
    for namespace in array(linux, "namespaces") {
        let kind = text(namespace, "type");
        if !matches!(
            kind,
            "pid" | "network" | "mount" | "ipc" | "uts" | "user" | "cgroup" | "time"
        ) {
            bail!(
                "namespace {{{kind:?} {:?}}} does not exist",
                text(namespace, "path")
            );
        }
    }
    for device in array(linux, "devices") {
        let kind = text(device, "type");
        if !matches!(kind, "c" | "b" | "u" | "p") {
            bail!("invalid device type {kind:?}");
        }
    }
    let seccomp = linux.get("seccomp").unwrap_or(&Value::Null);
    let action = |name: &str| -> Result<()> {
        match name {
            ""
            | "SCMP_ACT_KILL"
            | "SCMP_ACT_KILL_PROCESS"
            | "SCMP_ACT_KILL_THREAD"
            | "SCMP_ACT_TRAP"
            | "SCMP_ACT_ERRNO"
            | "SCMP_ACT_TRACE"
            | "SCMP_ACT_ALLOW"
            | "SCMP_ACT_LOG"
            | "SCMP_ACT_NOTIFY" => Ok(()),
            other => Err(anyhow!("string {other} is not a valid action for seccomp")),
        }
    };
    action(text(seccomp, "defaultAction"))?;
    for rule in array(seccomp, "syscalls") {
        action(text(rule, "action"))?;
    }
    for rule in array(seccomp, "syscalls") {
        for arg in array(rule, "args") {
            let op = text(arg, "op");
            if serde_json::from_value::<oci_spec::runtime::LinuxSeccompOperator>(op.into()).is_err()
            {
                bail!("string {op} is not a valid operator for seccomp");
            }
        }
    }
    for flag in array(seccomp, "flags") {
        let known = ["LOG", "TSYNC", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"];
        let name = flag.as_str().unwrap_or("");
        if !known
            .iter()
            .any(|known| name.strip_prefix("SECCOMP_FILTER_FLAG_") == Some(known))
        {
            bail!("seccomp flag {name:?} not known to this runtime");
        }
    }
    for arch in array(seccomp, "architectures") {
        let name = arch.as_str().unwrap_or("");
        if serde_json::from_value::<oci_spec::runtime::Arch>(arch.clone()).is_err() {
            bail!("string {name} is not a valid arch for seccomp");
        }
    }
    Ok(())
}

fn check_rlimits(process: &Value) -> Result<()> {
    for limit in array(process, "rlimits") {
        let kind = text(limit, "type");
        if super::process::rlimit_number(kind).is_none() {
            bail!("wrong rlimit value: {kind}");
        }
    }
    Ok(())
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_refused_in_runcs_words() {
        let error = |json: &str| spec_from_str(json).unwrap_err().to_string();
        assert_eq!(
            error(r#"{"linux":{"namespaces":[{"type":"foo"}]}}"#),
            r#"namespace {"foo" ""} does not exist"#
        );
        assert_eq!(
            error(r#"{"process":{"cwd":"/","user":{},"rlimits":[{"type":"RLIMIT_FOO"}]}}"#),
            "wrong rlimit value: RLIMIT_FOO"
        );
        assert_eq!(
            error(r#"{"linux":{"devices":[{"type":"z"}]}}"#),
            r#"invalid device type "z""#
        );
        assert_eq!(
            error(r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_FOO"}}}"#),
            "string SCMP_ACT_FOO is not a valid action for seccomp"
        );
    }

    #[test]
    fn unknown_capabilities_are_dropped() {
        let spec = spec_from_str(r#"{"process":{"cwd":"/","user":{},"args":["a"],"capabilities":{"bounding":["CAP_FOO","CAP_KILL"]}}}"#).unwrap();
        let capabilities = spec
            .process()
            .clone()
            .unwrap()
            .capabilities()
            .clone()
            .unwrap();
        assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 1);
    }

    #[test]
    fn hostile_text_is_an_error() {
        for text in [
            "",
            "[]",
            "nul",
            "{\"process\":3}",
            "{\"mounts\":[{}]}",
            "{\"process\":{\"args\":\"x\"}}",
        ] {
            assert!(spec_from_str(text).is_err(), "{text}");
        }
    }
}
