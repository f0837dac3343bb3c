//! containerd's `config.toml`: `plugins.CRI.containerd.runtimes.NAME`, run by containerd's own runc shim.
//!
//! The plugin is called `io.containerd.grpc.v1.cri` in version 2 of the file and `io.containerd.cri.v1.runtime` in version 3 (containerd 2). Comments
//! and order stay.

use anyhow::{Result, anyhow, bail};
use toml_edit::{DocumentMut, Item, Table, TableLike, value};

use super::Runtime;

/// The file with the runtime in it.
pub(super) fn add(text: &str, runtime: &Runtime<'_>, clobber: bool) -> Result<String> {
    if !runtime.flags.is_empty() {
        bail!(
            "containerd passes no flags to a runtime: put them into /etc/runsc/config.toml, which holds for every engine"
        );
    }
    let mut document = parse(text)?;
    let path = path(&mut document, true)?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for key in path {
        table = descend(table, key)?;
    }
    if !clobber
        && let Some(other) = table.get(runtime.name)
        && other
            .get("options")
            .and_then(|options| options.get("BinaryName"))
            .and_then(Item::as_str)
            != Some(runtime.program)
    {
        bail!(
            "it has another runtime {:?} already: take another name with --runtime, or replace it with --clobber",
            runtime.name
        );
    }
    let mut options = Table::new();
    options.insert("BinaryName", value(runtime.program));
    let mut entry = Table::new();
    entry.insert("runtime_type", value("io.containerd.runc.v2"));
    // What a pod says of flags (dev.runsc.flag.*) is passed on.
    let mut annotations = toml_edit::Array::new();
    annotations.push("dev.runsc.*");
    annotations.push("dev.gvisor.*");
    entry.insert("pod_annotations", value(annotations));
    entry.insert("options", Item::Table(options));
    table.insert(runtime.name, Item::Table(entry));
    Ok(document.to_string())
}

/// The file without the runtime; `None` if it is not in it.
pub(super) fn remove(text: &str, name: &str) -> Result<Option<String>> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let mut document = parse(text)?;
    let path = path(&mut document, false)?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for key in &path[..path.len() - 1] {
        let next = table.get_mut(key).and_then(Item::as_table_like_mut);
        let Some(next) = next else { return Ok(None) };
        if *key == "containerd"
            && next.get("default_runtime_name").and_then(Item::as_str) == Some(name)
        {
            bail!("{name:?} is its default_runtime_name: choose another one first");
        }
        table = next;
    }
    let removed = table
        .get_mut(path[path.len() - 1])
        .and_then(Item::as_table_like_mut)
        .and_then(|runtimes| runtimes.remove(name));
    Ok(removed.map(|_| document.to_string()))
}

fn parse(text: &str) -> Result<DocumentMut> {
    text.parse()
        .map_err(|error: toml_edit::TomlError| anyhow!("it is not valid TOML: {}", error.message()))
}

/// Where runtimes are, by the file's version; an empty file becomes one of version 2, which every containerd since 1.3 reads.
fn path(document: &mut DocumentMut, make: bool) -> Result<[&'static str; 4]> {
    if make && document.is_empty() {
        document.insert("version", value(2));
    }
    let plugin = match document.get("version").and_then(Item::as_integer) {
        Some(2) => "io.containerd.grpc.v1.cri",
        Some(3) => "io.containerd.cri.v1.runtime",
        Some(other) => bail!("its version is {other}: 2 and 3 are understood"),
        None => bail!(
            "it has no version: add \"version = 2\" (containerd config migrate writes a current one)"
        ),
    };
    Ok(["plugins", plugin, "containerd", "runtimes"])
}

/// The table below `key`, made without a heading of its own if it is missing.
fn descend<'a>(table: &'a mut dyn TableLike, key: &str) -> Result<&'a mut dyn TableLike> {
    if table.get(key).is_none() {
        let mut fresh = Table::new();
        fresh.set_implicit(true);
        table.insert(key, Item::Table(fresh));
    }
    table
        .get_mut(key)
        .and_then(Item::as_table_like_mut)
        .ok_or_else(|| anyhow!("its {key} is not a table"))
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
    fn an_entry_comes_and_goes() {
        let old = "# mine\nversion = 2\nroot = \"/r\" # where\n";
        let new = add(old, &RUNTIME, false).unwrap();
        assert!(new.starts_with(old));
        assert!(new.contains(
            "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runsc]\nruntime_type = \"io.containerd.runc.v2\"\n"
        ));
        assert!(new.contains("runtimes.runsc.options]\nBinaryName = \"/usr/bin/runsc\"\n"));
        assert_eq!(add(&new, &RUNTIME, false).unwrap(), new);
        let back = remove(&new, "runsc").unwrap().unwrap();
        assert!(!back.contains("runsc") && back.starts_with(old));
        assert_eq!(remove(&back, "runsc").unwrap(), None);
    }

    #[test]
    fn the_example_is_what_install_writes() {
        let example = include_str!("../../../deploy/containerd/runsc.toml");
        let written = add("version = 2\n", &RUNTIME, false).unwrap();
        assert!(example.ends_with(&written), "{written}");
        let crio: DocumentMut = include_str!("../../../deploy/crio/10-runsc.conf")
            .parse()
            .unwrap();
        let path = &crio["crio"]["runtime"]["runtimes"]["runsc"]["runtime_path"];
        assert_eq!(path.as_str(), Some(RUNTIME.program));
    }

    #[test]
    fn versions() {
        assert!(
            add("", &RUNTIME, false)
                .unwrap()
                .starts_with("version = 2\n")
        );
        assert!(
            add("version = 3\n", &RUNTIME, false)
                .unwrap()
                .contains("io.containerd.cri.v1.runtime")
        );
        for text in [
            "version = 1",
            "root = \"/x\"",
            "version = 2\nplugins = 5",
            "=",
        ] {
            assert!(add(text, &RUNTIME, false).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_is_lost_by_mistake() {
        let other = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndefault_runtime_name = \"runsc\"\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runsc.options]\nBinaryName = \"/other\"\n";
        assert!(add(other, &RUNTIME, false).is_err());
        assert!(
            add(other, &RUNTIME, true)
                .unwrap()
                .contains("/usr/bin/runsc")
        );
        assert!(remove(other, "runsc").is_err());
        let flags = Runtime {
            flags: &["--debug".to_owned()],
            ..RUNTIME
        };
        assert!(add("", &flags, false).is_err());
    }
}
