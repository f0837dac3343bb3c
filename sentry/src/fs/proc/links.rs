//! `cwd`, `root` and `exe` of a process.

use std::sync::Arc;

use super::access::may_inspect;
use super::mm_view;
use super::subject::Subject;
use crate::error::{Errno, Result};
use crate::fs::static_tree::Node;
use crate::task::Task;
use crate::vfs::{Link, Path};

fn jump(subject: &Subject, place: fn(&Arc<Task>) -> Result<Path>) -> Node {
    let subject = subject.clone();
    Node::follow(move |cx| {
        let task = subject.task().map_err(|_| Errno::ENOENT)?;
        may_inspect(cx.task, cx.creds, &task)?;
        place(&task).map(Link::Jump)
    })
}

pub(super) fn cwd(subject: &Subject) -> Node {
    jump(subject, |task| Ok(task.fs().cwd()))
}

pub(super) fn root(subject: &Subject) -> Node {
    jump(subject, |task| Ok(task.fs().root()))
}

pub(super) fn exe(subject: &Subject) -> Node {
    jump(subject, |task| mm_view::exe(task).ok_or(Errno::ENOENT))
}
