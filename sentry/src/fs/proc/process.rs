//! The names in a process's and a thread's directory.

use std::any::Any;
use std::sync::Arc;

use abi::fs::{S_IFDIR, S_IFLNK, S_IFREG};

use super::subject::Subject;
use super::{
    audit, fd_dir, files, limits, links, maps, mem, mounts, net, ns, stat, status, task_dir,
};
use crate::error::{Errno, Result};
use crate::fs::static_tree::{DirSource, EmitName, Node, Reader, TreeDir};
use crate::task::Pid;
use crate::vfs::File;

/// Where a name appears.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Both,
    ProcessOnly,
    ThreadOnly,
}
use Scope::{Both, ProcessOnly, ThreadOnly};

struct Entry {
    name: &'static str,
    file_type: u32,
    mode: u32,
    scope: Scope,
    make: fn(&Subject) -> Node,
}

const fn dir(name: &'static str, mode: u32, scope: Scope, make: fn(&Subject) -> Node) -> Entry {
    Entry {
        name,
        file_type: S_IFDIR,
        mode,
        scope,
        make,
    }
}
const fn file(name: &'static str, mode: u32, make: fn(&Subject) -> Node) -> Entry {
    Entry {
        name,
        file_type: S_IFREG,
        mode,
        scope: Both,
        make,
    }
}
const fn link(name: &'static str, make: fn(&Subject) -> Node) -> Entry {
    Entry {
        name,
        file_type: S_IFLNK,
        mode: 0o777,
        scope: Both,
        make,
    }
}

/// A read-only file about a subject.
macro_rules! shows {
    ($generate:path) => {
        |subject| text(subject, $generate)
    };
}

/// In the order of a listing (`tgid_base_stuff`).
const ENTRIES: &[Entry] = &[
    dir("task", 0o555, ProcessOnly, task_dir::node),
    dir("fd", 0o500, Both, fd_dir::fd),
    dir("fdinfo", 0o555, Both, fd_dir::fdinfo),
    dir("ns", 0o511, Both, ns::node),
    dir("net", 0o555, Both, net::node),
    dir("attr", 0o555, Both, files::attr),
    file("environ", 0o400, shows!(files::environ)),
    file("auxv", 0o400, shows!(files::auxv)),
    file("status", 0o444, shows!(status::status)),
    file("personality", 0o400, shows!(files::personality)),
    file("limits", 0o444, shows!(limits::limits)),
    file("comm", 0o644, files::comm),
    file("syscall", 0o400, shows!(files::syscall)),
    file("cmdline", 0o444, shows!(files::cmdline)),
    file("stat", 0o444, shows!(stat::stat)),
    file("statm", 0o444, shows!(stat::statm)),
    file("maps", 0o444, shows!(maps::maps)),
    file("smaps", 0o444, shows!(maps::smaps)),
    file("smaps_rollup", 0o444, shows!(maps::smaps_rollup)),
    file("mem", 0o600, mem::node),
    link("cwd", links::cwd),
    link("root", links::root),
    link("exe", links::exe),
    file("mounts", 0o444, shows!(mounts::mounts)),
    file("mountinfo", 0o444, shows!(mounts::mountinfo)),
    file("mountstats", 0o400, shows!(mounts::mountstats)),
    file("wchan", 0o444, shows!(files::wchan)),
    file("stack", 0o400, shows!(files::stack)),
    file("schedstat", 0o444, shows!(stat::schedstat)),
    file("cpuset", 0o444, shows!(files::cpuset)),
    file("cgroup", 0o444, shows!(files::cgroup)),
    file("oom_score", 0o444, shows!(files::oom_score)),
    file("oom_score_adj", 0o644, files::oom_score_adj),
    file("oom_adj", 0o644, files::oom_adj),
    file("loginuid", 0o644, audit::loginuid),
    file("sessionid", 0o444, shows!(audit::sessionid)),
    file("io", 0o400, shows!(files::io)),
    file("uid_map", 0o644, files::uid_map),
    file("gid_map", 0o644, files::gid_map),
    file("setgroups", 0o644, files::setgroups),
    file("timerslack_ns", 0o666, files::timerslack),
    Entry {
        name: "children",
        file_type: S_IFREG,
        mode: 0o444,
        scope: ThreadOnly,
        make: shows!(task_dir::children),
    },
];

/// A read-only file with a text about `subject`.
pub(super) fn text(
    subject: &Subject,
    generate: fn(&Subject, &Reader<'_>) -> Result<Vec<u8>>,
) -> Node {
    let subject = subject.clone();
    Node::text(move |reader| generate(&subject, reader))
}

/// The directory of a process or thread.
pub(super) fn node(subject: &Subject) -> Node {
    Node::dynamic(ProcessDir(subject.clone())).owned(subject.owner())
}

/// Whose `/proc/<pid>` an open file is, as `pidfd_send_signal(2)` takes such a descriptor; `None` if it is anything else, a thread's directory too.
/// `ESRCH` once the process has been waited for.
#[must_use]
pub fn pid_of_directory(file: &File) -> Option<Result<Arc<Pid>>> {
    let source = file.inode().downcast::<TreeDir>()?.source();
    let ProcessDir(subject) = source.as_any()?.downcast_ref()?;
    (!subject.is_thread()).then(|| subject.pid())
}

struct ProcessDir(Subject);

impl ProcessDir {
    fn entries(&self) -> impl Iterator<Item = &'static Entry> {
        let unwanted = if self.0.is_thread() {
            ProcessOnly
        } else {
            ThreadOnly
        };
        ENTRIES.iter().filter(move |entry| entry.scope != unwanted)
    }
}

impl DirSource for ProcessDir {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        // The process may be gone while its directory is still open.
        self.0.pid().map_err(|_| Errno::ENOENT)?;
        let entry = self
            .entries()
            .find(|entry| entry.name.as_bytes() == name)
            .ok_or(Errno::ENOENT)?;
        Ok((entry.make)(&self.0).mode(entry.mode).owned(self.0.owner()))
    }
    fn list(&self, from: u64, emit: &mut EmitName<'_>) -> Result<()> {
        self.0.pid().map_err(|_| Errno::ENOENT)?;
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        for (index, entry) in self.entries().enumerate().skip(skip) {
            if !emit(entry.name.as_bytes(), entry.file_type, index as u64 + 1) {
                break;
            }
        }
        Ok(())
    }
    fn still_valid(
        &self,
        _name: &[u8],
        _child: Option<&std::sync::Arc<crate::vfs::Inode>>,
    ) -> bool {
        self.0.pid().is_ok()
    }
    fn identity(&self) -> usize {
        self.0.identity()
    }
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
    fn subdirectories(&self) -> u64 {
        self.entries()
            .filter(|entry| entry.file_type == S_IFDIR)
            .count() as u64
    }
}
