//! Virtual sysctl values: what a container wrote, and how a value is checked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use crate::error::{Errno, Result};
use crate::fs::static_tree::{Node, Reader};
use crate::kernel::Container;
use crate::task::creds::Cap;

/// Values written, by name with dots (`net.core.somaxconn`), in a container's extensions. The OCI spec's `sysctl` goes here as well.
#[derive(Default)]
pub struct Values(RwLock<HashMap<String, String>>);

impl Values {
    /// The value, if one was written.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        self.0.read().get(name).cloned()
    }
    /// Sets a value without looking at it. Names come from the fixed set of files, or from the spec.
    pub fn set(&self, name: &str, value: &str) {
        self.0.write().insert(name.to_owned(), value.to_owned());
    }
    /// A number, or `default`.
    #[must_use]
    pub fn number(container: &Container, name: &str, default: u64) -> u64 {
        container
            .extensions
            .get::<Self>()
            .get(name)
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(default)
    }
}

/// Every file with a value of a container's own and what it takes: entered as the tree is made, always the same.
static SHAPES: Mutex<BTreeMap<&'static str, Shape>> = Mutex::new(BTreeMap::new());

/// Sets a value as writing the file by root would: `ENOENT` if there is none that takes values, `EINVAL` if it does not take this one.
pub fn set(values: &Values, name: &str, text: &str) -> Result<()> {
    static TREE: OnceLock<Node> = OnceLock::new();
    TREE.get_or_init(|| super::node(&std::sync::Weak::new()));
    let shape = SHAPES.lock().get(name).copied().ok_or(Errno::ENOENT)?;
    values.set(name, &normalise(shape, text.as_bytes())?);
    Ok(())
}

/// What a value may be.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// So many integers within bounds, separated by blanks.
    Integers(usize, i64, i64),
    /// Two integers within bounds, the second not less than the first.
    Range(i64, i64),
    /// A line of at most so many bytes.
    Line(usize),
}

/// The value in the form it is shown, or `EINVAL`.
pub(super) fn normalise(shape: Shape, data: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
    match shape {
        Shape::Line(max) => {
            let line = text.lines().next().unwrap_or("");
            if line.len() > max {
                return Err(Errno::EINVAL);
            }
            Ok(line.to_owned())
        }
        Shape::Range(low, high) => {
            let shown = normalise(Shape::Integers(2, low, high), data)?;
            let numbers: Vec<i64> = shown
                .split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect();
            match numbers[..] {
                [from, to] if from <= to => Ok(shown),
                _ => Err(Errno::EINVAL),
            }
        }
        Shape::Integers(count, low, high) => {
            let mut numbers = Vec::new();
            for word in text.split_whitespace() {
                let number: i64 = word.parse().map_err(|_| Errno::EINVAL)?;
                if !(low..=high).contains(&number) || numbers.len() == count {
                    return Err(Errno::EINVAL);
                }
                numbers.push(number.to_string());
            }
            if numbers.is_empty() {
                return Err(Errno::EINVAL);
            }
            Ok(numbers.join("\t"))
        }
    }
}

/// A file with a value of the container's own; writing needs CAP_NET_ADMIN below `net.`, else CAP_SYS_ADMIN (or being root: the file's mode).
pub(super) fn value(name: &'static str, default: &'static str, shape: Shape) -> Node {
    SHAPES.lock().insert(name, shape);
    Node::writable(
        move |reader: &Reader<'_>| {
            let container = &reader.require()?.container;
            let text = container
                .extensions
                .get::<Values>()
                .get(name)
                .unwrap_or_else(|| default.to_owned());
            Ok(format!("{text}\n"))
        },
        move |reader, data| {
            let task = reader.require()?;
            let cap = if name.starts_with("net.") {
                Cap::NET_ADMIN
            } else {
                Cap::SYS_ADMIN
            };
            if !task.creds().has(cap) {
                return Err(Errno::EPERM);
            }
            let text = normalise(shape, data)?;
            task.container.extensions.get::<Values>().set(name, &text);
            Ok(())
        },
    )
}

/// A file that shows a value and refuses writes for want of rights.
pub(super) fn fixed(text: impl Into<String>) -> Node {
    let text: Arc<str> = format!("{}\n", text.into()).into();
    Node::text(move |_: &Reader<'_>| Ok(text.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_sets_what_root_could_write() {
        let values = Values::default();
        let set = |name: &str, text: &str| set(&values, name, text);
        assert_eq!(set("net.ipv4.ping_group_range", "0 2147483647"), Ok(()));
        let shown = values.get("net.ipv4.ping_group_range");
        assert_eq!(shown.as_deref(), Some("0\t2147483647"));
        assert_eq!(set("net.core.somaxconn", "many"), Err(Errno::EINVAL));
        assert_eq!(set("net.core.nosuch", "1"), Err(Errno::ENOENT));
        // Shown, but fixed.
        assert_eq!(set("net.ipv4.tcp_mem", "1 2 3"), Err(Errno::ENOENT));
    }

    #[test]
    fn values_are_checked() {
        let port = Shape::Integers(2, 1, 65535);
        assert_eq!(normalise(port, b"1024 60999\n"), Ok("1024\t60999".into()));
        assert_eq!(normalise(port, b"1 2 3"), Err(Errno::EINVAL));
        assert_eq!(normalise(port, b"0"), Err(Errno::EINVAL));
        assert_eq!(normalise(port, b""), Err(Errno::EINVAL));
        assert_eq!(normalise(port, b"x"), Err(Errno::EINVAL));
        assert_eq!(normalise(Shape::Line(3), b"abc\nd"), Ok("abc".into()));
        assert_eq!(normalise(Shape::Line(2), b"abc"), Err(Errno::EINVAL));
    }
}
