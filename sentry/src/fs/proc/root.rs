//! The top directory of proc.

use std::sync::{Arc, Weak};

use abi::fs::S_IFDIR;

use super::subject::Subject;
use super::{ProcOptions, process, system};
use crate::error::{Errno, Result};
use crate::fs::static_tree::{DirSource, EmitName, Node, TreeDir};
use crate::kernel::Kernel;
use crate::task::{PidNamespace, ThreadGroup};
use crate::vfs::lookup::LookupCx;
use crate::vfs::{Inode, Link};

/// Cookies of processes start here: pid + this.
const FIRST_PROCESS: u64 = 1000;

struct Root {
    ns: Arc<PidNamespace>,
    /// Everything but processes, in the order of a listing.
    fixed: Vec<(&'static str, Node)>,
}

pub(super) fn node(kernel: &Arc<Kernel>, ns: &Arc<PidNamespace>, options: &ProcOptions) -> Node {
    let weak: Weak<Kernel> = Arc::downgrade(kernel);
    let mut fixed = if options.pids_only {
        Vec::new()
    } else {
        system::nodes(&weak)
    };
    fixed.push(("self", self_link(ns, false)));
    fixed.push(("thread-self", self_link(ns, true)));
    Node::dynamic(Root {
        ns: ns.clone(),
        fixed,
    })
}

/// `self` and `thread-self`: `ENOENT` for a task that the mount does not show.
fn self_link(ns: &Arc<PidNamespace>, thread: bool) -> Node {
    let ns = ns.clone();
    Node::follow(move |cx: &LookupCx<'_>| {
        let task = cx.task.ok_or(Errno::ENOENT)?;
        let process = task.group.pid.in_namespace(&ns);
        if process == 0 {
            return Err(Errno::ENOENT);
        }
        let text = if thread {
            format!("{process}/task/{}", task.tid().in_namespace(&ns))
        } else {
            process.to_string()
        };
        Ok(Link::Text(text.into_bytes()))
    })
}

/// A process id as a name: decimal without leading zeroes or sign.
pub(super) fn parse_number(name: &[u8]) -> Option<i32> {
    if !matches!(name.first(), Some(b'1'..=b'9')) || name.len() > 10 {
        return None;
    }
    std::str::from_utf8(name).ok()?.parse().ok()
}

impl Root {
    fn subject(&self, number: i32) -> Option<Subject> {
        let visible = |group: &Arc<ThreadGroup>| !group.family.read().reaped;
        if let Some(group) = self.ns.pid(number).and_then(|pid| pid.group())
            && visible(&group)
            && group.pid.in_namespace(&self.ns) == number
        {
            return Some(Subject::process(&self.ns, &group));
        }
        // A thread's number leads to a directory of its process's shape, though no listing shows it.
        let task = self.ns.task(number)?;
        visible(&task.group).then(|| Subject::process(&self.ns, &task.group))
    }
}

impl DirSource for Root {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        if let Some(number) = parse_number(name) {
            let subject = self.subject(number).ok_or(Errno::ENOENT)?;
            return Ok(process::node(&subject));
        }
        self.fixed
            .iter()
            .find(|(fixed, _)| fixed.as_bytes() == name)
            .map(|(_, node)| node.clone())
            .ok_or(Errno::ENOENT)
    }

    fn list(&self, from: u64, emit: &mut EmitName<'_>) -> Result<()> {
        let start = usize::try_from(from).unwrap_or(usize::MAX);
        for (index, (name, node)) in self.fixed.iter().enumerate().skip(start) {
            if !emit(name.as_bytes(), node.file_type(), index as u64 + 1) {
                return Ok(());
            }
        }
        let first = from.saturating_sub(FIRST_PROCESS);
        for (number, group) in self.ns.groups() {
            let cookie = u64::try_from(number).unwrap_or(0);
            if cookie < first
                || group.family.read().reaped
                || group.pid.in_namespace(&self.ns) != number
            {
                continue;
            }
            if !emit(
                number.to_string().as_bytes(),
                S_IFDIR,
                FIRST_PROCESS + cookie + 1,
            ) {
                break;
            }
        }
        Ok(())
    }

    fn still_valid(&self, name: &[u8], child: Option<&Arc<Inode>>) -> bool {
        let Some(number) = parse_number(name) else {
            return true;
        };
        match (self.subject(number), child) {
            (None, None) => true,
            (Some(subject), Some(child)) => child
                .downcast::<TreeDir>()
                .is_some_and(|dir| dir.source().identity() == subject.identity()),
            _ => false,
        }
    }

    fn subdirectories(&self) -> u64 {
        self.fixed
            .iter()
            .filter(|(_, node)| node.file_type() == S_IFDIR)
            .count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_are_processes() {
        assert_eq!(parse_number(b"12"), Some(12));
        for name in [
            &b"0"[..],
            b"01",
            b"-1",
            b"+1",
            b"1x",
            b"99999999999",
            b"4294967297",
            b"",
        ] {
            assert_eq!(parse_number(name), None);
        }
    }
}
