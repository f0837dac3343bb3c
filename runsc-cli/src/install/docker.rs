//! Docker's `daemon.json`: `runtimes.NAME = {"path": …, "runtimeArgs": […]}`.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::Runtime;

/// The file with the runtime in it.
pub(super) fn add(text: &str, runtime: &Runtime<'_>, clobber: bool) -> Result<String> {
    let mut config = parse(text)?;
    let entry = if runtime.flags.is_empty() {
        json!({"path": runtime.program})
    } else {
        json!({"path": runtime.program, "runtimeArgs": runtime.flags})
    };
    let Value::Object(runtimes) = config
        .entry("runtimes")
        .or_insert_with(|| Value::Object(Map::new()))
    else {
        bail!("its \"runtimes\" is not an object")
    };
    if !clobber
        && let Some(other) = runtimes.get(runtime.name)
        && other["path"] != entry["path"]
    {
        bail!(
            "it has another runtime {:?} already: take another name with --runtime, or replace it with --clobber",
            runtime.name
        );
    }
    runtimes.insert(runtime.name.to_owned(), entry);
    print(&config)
}

/// The file without the runtime; `None` if it is not in it.
pub(super) fn remove(text: &str, name: &str) -> Result<Option<String>> {
    let mut config = parse(text)?;
    if config.get("default-runtime").and_then(Value::as_str) == Some(name) {
        bail!("{name:?} is its \"default-runtime\": choose another one first");
    }
    let Some(Value::Object(runtimes)) = config.get_mut("runtimes") else {
        return Ok(None);
    };
    if runtimes.remove(name).is_none() {
        return Ok(None);
    }
    if runtimes.is_empty() {
        config.remove("runtimes");
    }
    print(&config).map(Some)
}

fn parse(text: &str) -> Result<Map<String, Value>> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(text).context("it is not a JSON object")
}

fn print(config: &Map<String, Value>) -> Result<String> {
    Ok(serde_json::to_string_pretty(config)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNTIME: Runtime<'_> = Runtime {
        name: "runsc",
        program: "/usr/bin/runsc",
        flags: &[],
    };

    #[test]
    fn what_was_there_stays() {
        let text = add(
            r#"{"debug": true, "runtimes": {"x": {"path": "/x"}}}"#,
            &RUNTIME,
            false,
        )
        .unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["debug"], true);
        assert_eq!(value["runtimes"]["x"]["path"], "/x");
        assert_eq!(
            value["runtimes"]["runsc"],
            json!({"path": "/usr/bin/runsc"})
        );
        let text = remove(&text, "runsc").unwrap().unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            json!({"debug": true, "runtimes": {"x": {"path": "/x"}}})
        );
        assert_eq!(remove(&text, "runsc").unwrap(), None);
    }

    #[test]
    fn the_example_is_what_install_writes() {
        let example = include_str!("../../../deploy/docker/daemon.json");
        assert_eq!(add("", &RUNTIME, false).unwrap(), example);
    }

    #[test]
    fn nothing_is_lost_by_mistake() {
        let other = r#"{"runtimes": {"runsc": {"path": "/other"}}}"#;
        assert!(add(other, &RUNTIME, false).is_err());
        assert!(add(other, &RUNTIME, true).is_ok());
        assert!(add("[]", &RUNTIME, true).is_err());
        assert!(add(r#"{"runtimes": 5}"#, &RUNTIME, true).is_err());
        assert!(
            remove(
                r#"{"default-runtime": "runsc", "runtimes": {"runsc": {}}}"#,
                "runsc"
            )
            .is_err()
        );
        assert_eq!(
            remove(&add("", &RUNTIME, false).unwrap(), "runsc")
                .unwrap()
                .unwrap(),
            "{}\n"
        );
    }
}
