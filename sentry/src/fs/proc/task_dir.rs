//! `/proc/<pid>/task`: the threads of a process.

use std::collections::BTreeSet;
use std::sync::Arc;

use abi::fs::S_IFDIR;

use super::process;
use super::root::parse_number;
use super::subject::Subject;
use crate::error::{Errno, Result};
use crate::fs::static_tree::{DirSource, EmitName, Node, Reader, TreeDir, list_numbers};
use crate::task::Task;
use crate::vfs::Inode;

pub(super) fn node(subject: &Subject) -> Node {
    Node::dynamic(TaskDir(subject.clone()))
}

struct TaskDir(Subject);

impl TaskDir {
    fn find(&self, name: &[u8]) -> Option<Arc<Task>> {
        let task = self.0.ns.task(parse_number(name)?)?;
        let group = self.0.group().ok()?;
        Arc::ptr_eq(&task.group, &group).then_some(task)
    }
}

impl DirSource for TaskDir {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let task = self.find(name).ok_or(Errno::ENOENT)?;
        Ok(process::node(&Subject::thread(&self.0.ns, &task)))
    }
    fn list(&self, from: u64, emit: &mut EmitName<'_>) -> Result<()> {
        let group = self.0.group().map_err(|_| Errno::ENOENT)?;
        let numbers: BTreeSet<u32> = group
            .threads()
            .iter()
            .filter_map(|task| u32::try_from(self.0.number(&task.tid())).ok())
            .collect();
        list_numbers(&numbers, from, S_IFDIR, emit);
        Ok(())
    }
    fn still_valid(&self, name: &[u8], child: Option<&Arc<Inode>>) -> bool {
        match (self.find(name), child) {
            (None, None) => true,
            (Some(task), Some(child)) => child
                .downcast::<TreeDir>()
                .is_some_and(|dir| dir.source().identity() == Arc::as_ptr(&task) as usize),
            _ => false,
        }
    }
}

/// `children`: those of the process, shown with its leader (we keep no record of which thread forked).
pub(super) fn children(subject: &Subject, _reader: &Reader<'_>) -> Result<Vec<u8>> {
    let group = subject.group()?;
    let is_leader = Arc::ptr_eq(&subject.pid()?, &group.pid);
    if !is_leader {
        return Ok(Vec::new());
    }
    let children = group.family.read().children.clone();
    let mut text = String::new();
    for child in children {
        text.push_str(&format!("{} ", subject.number(&child.pid)));
    }
    Ok(text.into_bytes())
}
