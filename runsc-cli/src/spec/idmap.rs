//! Id-mapped mounts: the gofer shows owners of files as the mount's mappings say, on any host file system.
//!
//! The specification has `uidMappings` and `gidMappings` beside a mount's options, crun an option `idmap=uids=0-1000-10#…;gids=…`. [`fold`] makes the one
//! into the other as the spec is loaded, [`read`] reads it. Each range is: first id on the file system, first id that the mount makes of it, count.

use std::fmt::Write;

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

use crate::launch::userns::Mappings;

/// As many lines as Linux takes (`UID_GID_MAP_MAX_EXTENTS`).
const MAX_RANGES: usize = 340;

/// Puts the mappings of the spec's mounts into their options.
///
/// # Errors
/// What is wrong with a mapping.
pub fn fold(spec: &mut Value) -> Result<()> {
    let mounts = spec.get_mut("mounts").and_then(Value::as_array_mut);
    for mount in mounts
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        let lists = ["uidMappings", "gidMappings"].map(|name| mount.remove(name));
        let texts = lists
            .iter()
            .flatten()
            .map(ranges_of)
            .collect::<Result<Vec<_>>>()?;
        let [uids, gids] = texts.as_slice() else {
            if texts.is_empty() {
                continue;
            }
            bail!(
                "mount {}: uidMappings and gidMappings must both be given",
                mount.get("destination").unwrap_or(&Value::Null)
            );
        };
        let options = mount
            .entry("options")
            .or_insert_with(|| Value::Array(Vec::new()));
        if options.is_null() {
            *options = Value::Array(Vec::new());
        }
        if let Some(options) = options.as_array_mut() {
            options.retain(|option| option != "idmap" && option != "ridmap");
            options.push(Value::String(format!("idmap=uids={uids};gids={gids}")));
        }
    }
    Ok(())
}

fn ranges_of(list: &Value) -> Result<String> {
    let list = list
        .as_array()
        .ok_or_else(|| anyhow!("id mappings are no list"))?;
    let mut text = String::new();
    for range in list {
        let number = |name: &str| {
            let value = range.get(name).unwrap_or(&Value::Null);
            value
                .as_u64()
                .ok_or_else(|| anyhow!("id mappings: {name} is {value}, which is no id"))
        };
        let separator = if text.is_empty() { "" } else { "#" };
        write!(
            text,
            "{separator}{}-{}-{}",
            number("containerID")?,
            number("hostID")?,
            number("size")?
        )?;
    }
    Ok(text)
}

/// The mappings of an option; those of the container's user namespace if it has none of its own.
///
/// # Errors
/// What is wrong with them.
pub fn read(text: &str, container: Option<&Mappings>) -> Result<Mappings> {
    if text.is_empty() {
        return container.cloned().ok_or_else(|| {
            anyhow!("idmap needs uidMappings and gidMappings, or a user namespace to take them of")
        });
    }
    let (mut uids, mut gids) = (Vec::new(), Vec::new());
    for part in text.split(';') {
        match part.split_once('=') {
            Some(("uids", list)) => uids = ranges(list)?,
            Some(("gids", list)) => gids = ranges(list)?,
            _ => bail!("idmap={text}: {part:?} is neither uids=… nor gids=…"),
        }
    }
    if uids.is_empty() || gids.is_empty() {
        bail!("idmap={text}: both uids and gids need a range");
    }
    Ok(Mappings {
        uids,
        gids,
        may_set_groups: true,
    })
}

fn ranges(text: &str) -> Result<Vec<(u32, u32, u32)>> {
    let wrong = || anyhow!("idmap: {text:?} is not of the form FIRST-MAPPED-COUNT#…");
    let mut list = Vec::new();
    for range in text.split('#') {
        let numbers: Vec<u32> = range
            .split('-')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| wrong())?;
        let &[first, mapped, count] = numbers.as_slice() else {
            return Err(wrong());
        };
        if count == 0 || first.checked_add(count).is_none() || mapped.checked_add(count).is_none() {
            return Err(wrong());
        }
        if list.len() == MAX_RANGES {
            bail!("idmap: more than {MAX_RANGES} ranges");
        }
        list.push((first, mapped, count));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(mount: &str) -> Result<Value> {
        let mut spec: Value = serde_json::from_str(&format!(r#"{{"mounts":[{mount}]}}"#))?;
        fold(&mut spec)?;
        Ok(spec["mounts"][0]["options"].clone())
    }

    #[test]
    fn mappings_of_the_spec_become_an_option() {
        let range =
            r#"[{"containerID":0,"hostID":5,"size":1},{"containerID":7,"hostID":9,"size":2}]"#;
        let mount = format!(
            r#"{{"options":["bind","idmap"],"uidMappings":{range},"gidMappings":{range}}}"#
        );
        let options = folded(&mount).unwrap();
        assert_eq!(
            options,
            serde_json::json!(["bind", "idmap=uids=0-5-1#7-9-2;gids=0-5-1#7-9-2"])
        );
        let mappings = read("uids=0-5-1#7-9-2;gids=0-5-1", None).unwrap();
        assert_eq!(mappings.uids, [(0, 5, 1), (7, 9, 2)]);
        assert_eq!(mappings.gids, [(0, 5, 1)]);
        assert_eq!(
            folded(r#"{"options":["bind"]}"#).unwrap(),
            serde_json::json!(["bind"])
        );
    }

    #[test]
    fn wrong_ones_are_refused() {
        assert!(folded(r#"{"uidMappings":[]}"#).is_err());
        assert!(
            folded(r#"{"uidMappings":[{"containerID":-1,"hostID":1,"size":1}],"gidMappings":[]}"#)
                .is_err()
        );
        for text in [
            "uids=0-1-1",
            "uids=0-1-1;gids=",
            "uids=0-1-0;gids=0-1-1",
            "uids=4294967295-1-1;gids=0-1-1",
            "uids=0-1;gids=0-1-1",
            "foo",
        ] {
            assert!(read(text, None).is_err(), "{text}");
        }
        assert!(read("", None).is_err());
    }

    #[test]
    fn the_option_alone_means_the_containers() {
        let container = read("uids=0-100-10;gids=0-100-10", None).unwrap();
        assert_eq!(read("", Some(&container)).unwrap(), container);
    }
}
