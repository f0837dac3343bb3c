//! Which calls are traced: `open,read`, `%file`, `!futex` as users of strace write them.

use sentry::call_trace::CallSet;

use super::shape::Shape;
use super::shapes;
use crate::table::{Entry, TABLE};

/// Numbers that have names lie below.
const NUMBERS: u32 = 512;

/// A group's name and whether a call belongs to it.
type Group = (&'static str, fn(&Entry) -> bool);

const GROUPS: &[Group] = &[
    ("file", takes_path),
    ("desc", takes_descriptor),
    ("network", |entry| entry.family == "socket"),
    ("net", |entry| entry.family == "socket"),
    ("process", |entry| entry.family == "process"),
    ("signal", |entry| entry.family == "signal"),
    ("memory", |entry| entry.family == "memory"),
    ("ipc", |entry| entry.family == "ipc"),
    ("creds", |entry| entry.family == "cred"),
    ("clock", |entry| entry.family == "clock"),
    ("event", |entry| entry.family == "event"),
];

fn takes_path(entry: &Entry) -> bool {
    let path = |shape| matches!((shape, shapes::PATH), (Shape::In(a), Shape::In(b)) if std::ptr::fn_addr_eq(a, b));
    let names = ["path", "old", "new", "target", "source"];
    entry
        .parameters
        .iter()
        .any(|parameter| names.contains(&parameter.name) && path(parameter.shape))
}

fn takes_descriptor(entry: &Entry) -> bool {
    entry.parameters.iter().any(|parameter| parameter.is_fd)
}

/// Reads a list of names and groups. Nothing, `all` and `none` mean what they say; a `!` before the first turns the list around.
///
/// # Errors
/// A sentence that names what is neither a call nor a group.
pub fn parse<S: AsRef<str>>(list: &[S]) -> Result<CallSet, String> {
    let mut names: Vec<&str> = list
        .iter()
        .flat_map(|text| text.as_ref().split(','))
        .map(str::trim)
        .collect();
    if names.is_empty() {
        return Ok(CallSet::all());
    }
    let inverted = names.first().is_some_and(|first| first.starts_with('!'));
    if let (true, Some(first)) = (inverted, names.first_mut()) {
        *first = first.trim_start_matches('!');
    }
    let mut set = CallSet::none();
    for name in names {
        add(&mut set, name)?;
    }
    Ok(if inverted { set.inverted() } else { set })
}

fn add(set: &mut CallSet, name: &str) -> Result<(), String> {
    if name == "all" {
        *set = CallSet::all();
        return Ok(());
    }
    if name == "none" {
        return Ok(());
    }
    if let Some(group) = name.strip_prefix('%') {
        let Some((_, belongs)) = GROUPS.iter().find(|(known, _)| *known == group) else {
            let known: Vec<String> = GROUPS.iter().map(|(name, _)| format!("%{name}")).collect();
            return Err(format!(
                "{name:?} is no group of system calls: use one of {}",
                known.join(", ")
            ));
        };
        for entry in TABLE.iter().filter(|entry| belongs(entry)) {
            set.add(entry.nr);
        }
        return Ok(());
    }
    match (0..NUMBERS).find(|nr| abi::nr::name(*nr) == Some(name)) {
        Some(nr) => {
            set.add(nr);
            Ok(())
        }
        None => Err(format!("{name:?} is no system call of Linux on x86-64")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: u64 = 0;
    const OPEN: u64 = 2;
    const SOCKET: u64 = 41;
    const OPENAT: u64 = 257;

    #[test]
    fn names_groups_and_their_opposite() {
        let set = parse(&["openat,read"]).unwrap();
        assert!(set.contains(OPENAT) && set.contains(READ) && !set.contains(OPEN));
        let set = parse(&["%file"]).unwrap();
        assert!(set.contains(OPENAT) && set.contains(OPEN) && !set.contains(READ));
        let set = parse(&["%desc", "%net"]).unwrap();
        assert!(set.contains(READ) && set.contains(SOCKET) && !set.contains(OPEN));
        let set = parse(&["!read", "openat"]).unwrap();
        assert!(!set.contains(READ) && !set.contains(OPENAT) && set.contains(OPEN));
        assert!(parse::<&str>(&[]).unwrap().contains(u64::MAX));
        assert!(parse(&["all"]).unwrap().contains(9999));
        assert!(!parse(&["none"]).unwrap().contains(READ));
        // A call that the table does not have, but Linux does.
        assert!(parse(&["io_uring_enter"]).is_ok());
    }

    #[test]
    fn what_is_no_call_is_named() {
        assert!(parse(&["opnat"]).unwrap_err().contains("opnat"));
        assert!(parse(&["%files"]).unwrap_err().contains("%file,"));
        assert!(parse(&[""]).is_err());
    }
}
