//! Flags from elsewhere than the command line: `/etc/runsc/config.toml`, the environment, and annotations of a container.
//!
//! ```toml
//! platform = "ptrace"           # any global flag by its long name
//! debug-log = "/var/log/runsc/"
//!
//! [annotations]
//! allow = ["overlay2", "strace"]   # flags that a container's annotations may set
//! ```
//!
//! A flag on the command line beats `RUNSC_NAME` in the environment, which beats the file (`RUNSC_CONFIG` names another one). An annotation
//! `dev.runsc.flag.NAME` (or `dev.gvisor.flag.NAME`) beats them all, for its container only and only if the administrator allows it: whoever writes
//! annotations is often not who administers the machine.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::CommandFactory;
use toml_edit::{DocumentMut, Item, Value};

use crate::cli::Cli;

/// Where the file is, if the environment does not say otherwise.
const FILE: &str = "/etc/runsc/config.toml";
/// The environment variable that names another one.
const FILE_VARIABLE: &str = "RUNSC_CONFIG";
/// Prefixes of annotations that set a flag.
const ANNOTATIONS: [&str; 2] = ["dev.runsc.flag.", "dev.gvisor.flag."];
/// Largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Flags as on a command line, the file's before the environment's.
    pub flags: Vec<OsString>,
    /// Names of flags that annotations may set.
    pub allowed: BTreeSet<String>,
}

impl Config {
    /// Reads file and environment.
    pub fn load() -> Result<Self> {
        let named = std::env::var_os(FILE_VARIABLE);
        let path = named.clone().map_or_else(|| FILE.into(), PathBuf::from);
        let mut config = match std::fs::metadata(&path) {
            Ok(about) if about.len() > MAX_FILE => {
                bail!("{} is larger than {MAX_FILE} bytes", path.display())
            }
            Ok(_) => {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                Self::parse(&text).with_context(|| format!("cannot use {}", path.display()))?
            }
            // Only one that was asked for must be there.
            Err(error) if named.is_some() => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
            Err(_) => Self::default(),
        };
        config
            .flags
            .extend(from_environment(|name| std::env::var_os(name)));
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self> {
        let document: DocumentMut = text
            .parse()
            .map_err(|error: toml_edit::TomlError| anyhow!("{}", error.message()))
            .context("it is not valid TOML")?;
        let known = names();
        let mut config = Self::default();
        for (key, item) in document.iter() {
            let name = key.replace('_', "-");
            match item {
                Item::Table(table) if name == "annotations" => config.annotations(table, &known)?,
                Item::Value(value) if known.contains(&name) => {
                    let value = text_of(value)
                        .ok_or_else(|| anyhow!("{key} has a value of the wrong kind"))?;
                    config.flags.push(format!("--{name}={value}").into());
                }
                _ => bail!("{key} is not a global flag of runsc (runsc --help lists them)"),
            }
        }
        Ok(config)
    }

    fn annotations(&mut self, table: &toml_edit::Table, known: &BTreeSet<String>) -> Result<()> {
        for (key, item) in table {
            let list = item.as_array().filter(|_| key == "allow").ok_or_else(|| {
                anyhow!("annotations.{key} is unknown: only the list annotations.allow is")
            })?;
            for value in list {
                let name = value
                    .as_str()
                    .map(|name| name.replace('_', "-"))
                    .filter(|name| known.contains(name))
                    .ok_or_else(|| {
                        anyhow!("annotations.allow: {value} is not a global flag of runsc")
                    })?;
                self.allowed.insert(name);
            }
        }
        Ok(())
    }

    /// The arguments with the flags put before those of the command line, so that the latter, which come later, count.
    #[must_use]
    pub fn before(&self, args: Vec<OsString>) -> Vec<OsString> {
        let mut args = args.into_iter();
        let program = args.next();
        program
            .into_iter()
            .chain(self.flags.iter().cloned())
            .chain(args)
            .collect()
    }

    /// Flags that a container's annotations set: name and value.
    ///
    /// # Errors
    /// One that the administrator does not allow.
    pub fn from_annotations<'a>(
        &self,
        annotations: impl Iterator<Item = (&'a String, &'a String)>,
    ) -> Result<Vec<(String, String)>> {
        let mut list = Vec::new();
        for (key, value) in annotations {
            let Some(name) = ANNOTATIONS
                .iter()
                .find_map(|prefix| key.strip_prefix(prefix))
            else {
                continue;
            };
            let name = name.replace('_', "-");
            if !self.allowed.contains(&name) {
                bail!(
                    "the annotation {key} sets a flag that annotations may not set here: an administrator can add {name:?} to annotations.allow in {FILE}"
                );
            }
            list.push((name, value.clone()));
        }
        Ok(list)
    }
}

/// Long names of the global flags.
fn names() -> BTreeSet<String> {
    Cli::command()
        .get_arguments()
        .filter_map(|arg| arg.get_long().map(str::to_owned))
        .filter(|name| name != "help")
        .collect()
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.value().clone()),
        Value::Boolean(flag) => Some(flag.value().to_string()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Array(list) => {
            let words: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            Some(words?.join(","))
        }
        _ => None,
    }
}

/// `RUNSC_DEBUG_LOG=x` is `--debug-log=x`.
fn from_environment(read: impl Fn(&str) -> Option<OsString>) -> Vec<OsString> {
    names()
        .iter()
        .filter_map(|name| {
            let variable = format!("RUNSC_{}", name.replace('-', "_").to_uppercase());
            let value = read(&variable).filter(|value| !value.is_empty())?;
            let mut flag = OsString::from(format!("--{name}="));
            flag.push(AsRef::<OsStr>::as_ref(&value));
            Some(flag)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_file_becomes_flags() {
        let config = Config::parse(
            "platform = \"ptrace\"\nstrace = true\nstrace_syscalls = [\"open\", \"read\"]\n[annotations]\nallow = [\"strace\"]\n",
        )
        .unwrap();
        assert_eq!(
            config.flags,
            [
                "--platform=ptrace",
                "--strace=true",
                "--strace-syscalls=open,read"
            ]
        );
        assert!(config.allowed.contains("strace"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("platfrom = \"x\"", "platfrom is not a global flag"),
            ("platform = 1.5", "platform has a value of the wrong kind"),
            ("[annotations]\ndeny = []", "annotations.deny is unknown"),
            ("[annotations]\nallow = [\"x\"]", "is not a global flag"),
            ("[debug]\nx = 1", "debug is not a global flag"),
            ("=", "not valid TOML"),
        ] {
            let error = format!("{:#}", Config::parse(text).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_command_line_comes_last() {
        let config = Config {
            flags: vec!["--debug=true".into()],
            ..Config::default()
        };
        let args = config.before(vec!["runsc".into(), "list".into()]);
        assert_eq!(args, ["runsc", "--debug=true", "list"]);
    }

    #[test]
    fn the_environment_counts() {
        let read = |name: &str| (name == "RUNSC_DEBUG_LOG").then(|| OsString::from("/x"));
        assert_eq!(from_environment(read), ["--debug-log=/x"]);
    }

    #[test]
    fn annotations_need_leave() {
        let config = Config::parse("[annotations]\nallow = [\"overlay2\"]").unwrap();
        let annotations = |name: &str| BTreeMap::from([(name.to_owned(), "all:memory".to_owned())]);
        let allowed = annotations("dev.gvisor.flag.overlay2");
        assert_eq!(
            config.from_annotations(allowed.iter()).unwrap(),
            [("overlay2".to_owned(), "all:memory".to_owned())]
        );
        let refused = annotations("dev.runsc.flag.debug");
        assert!(config.from_annotations(refused.iter()).is_err());
        let other = annotations("dev.gvisor.spec.x");
        assert!(config.from_annotations(other.iter()).unwrap().is_empty());
    }
}
