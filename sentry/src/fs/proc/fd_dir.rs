//! `/proc/<pid>/fd` and `fdinfo`.

use std::collections::BTreeSet;
use std::sync::Arc;

use abi::fs::{S_IFLNK, S_IFREG};

use super::access::{may_inspect, reader_may_inspect};
use super::subject::Subject;
use crate::error::{Errno, Result};
use crate::fs::pidfd::PidFd;
use crate::fs::static_tree::{DirSource, EmitName, Node, Reader, list_numbers};
use crate::vfs::lookup::LookupCx;
use crate::vfs::{Fd, FdFlags, File, Inode, Link, NR_OPEN};

pub(super) fn fd(subject: &Subject) -> Node {
    Node::dynamic(FdDir {
        subject: subject.clone(),
        info: false,
    })
}

pub(super) fn fdinfo(subject: &Subject) -> Node {
    Node::dynamic(FdDir {
        subject: subject.clone(),
        info: true,
    })
}

struct FdDir {
    subject: Subject,
    info: bool,
}

/// A descriptor's number as a name.
fn parse_fd(name: &[u8]) -> Option<Fd> {
    if name == b"0" {
        return Some(Fd(0));
    }
    super::root::parse_number(name).map(Fd)
}

fn open_file(subject: &Subject, fd: Fd) -> Result<(Arc<File>, FdFlags)> {
    let files = subject.task()?.try_files().ok_or(Errno::ENOENT)?;
    files.get_with_flags(fd).map_err(|_| Errno::ENOENT)
}

impl DirSource for FdDir {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let fd = parse_fd(name).ok_or(Errno::ENOENT)?;
        let (file, _) = open_file(&self.subject, fd).map_err(|_| Errno::ENOENT)?;
        let subject = self.subject.clone();
        let node = if self.info {
            Node::text(move |reader: &Reader<'_>| info(&subject, fd, reader)).mode(0o400)
        } else {
            let mut mode = 0;
            if file.readable() {
                mode |= 0o500;
            }
            if file.writable() {
                mode |= 0o300;
            }
            Node::follow(move |cx| follow(&subject, fd, cx)).mode(mode)
        };
        Ok(node.owned(self.subject.owner()))
    }
    fn list(&self, from: u64, emit: &mut EmitName<'_>) -> Result<()> {
        let Some(files) = self.subject.task().map_err(|_| Errno::ENOENT)?.try_files() else {
            return Ok(());
        };
        let numbers: BTreeSet<u32> = files
            .numbers(0..=NR_OPEN)
            .iter()
            .filter_map(|fd| u32::try_from(fd.0).ok())
            .collect();
        let file_type = if self.info { S_IFREG } else { S_IFLNK };
        list_numbers(&numbers, from, file_type, emit);
        Ok(())
    }
    /// The mode of a link depends on how its file is opened, so an answer is used again only if nothing can have changed: never.
    fn still_valid(&self, _name: &[u8], _child: Option<&Arc<Inode>>) -> bool {
        false
    }
}

fn follow(subject: &Subject, fd: Fd, cx: &LookupCx<'_>) -> Result<Link> {
    may_inspect(cx.task, cx.creds, &subject.task()?)?;
    let (file, _) = open_file(subject, fd)?;
    Ok(match file.path() {
        Some(path) => Link::Jump(path.clone()),
        None => Link::JumpFile(file),
    })
}

fn info(subject: &Subject, fd: Fd, reader: &Reader<'_>) -> Result<Vec<u8>> {
    reader_may_inspect(reader, &subject.task()?)?;
    let (file, flags) = open_file(subject, fd)?;
    let mut open_flags = file.flags();
    if flags.contains(FdFlags::CLOEXEC) {
        open_flags |= abi::fs::O_CLOEXEC;
    }
    let position = *file.offset().lock();
    let mount = file.path().map_or(0, |path| path.mount.id);
    let ino = file.inode().attr().map_or(0, |attr| attr.ino);
    let mut text =
        format!("pos:\t{position}\nflags:\t0{open_flags:o}\nmnt_id:\t{mount}\nino:\t{ino}\n");
    if let Some(pidfd) = file.downcast::<PidFd>() {
        let gone = pidfd.group().is_err();
        let (pid, all) = match reader.task {
            _ if gone => (-1, "-1".to_owned()),
            Some(task) => {
                let pid = pidfd.pid().in_namespace(&task.pid_namespace());
                (pid, pid.to_string())
            }
            None => (pidfd.pid().local(), pidfd.pid().local().to_string()),
        };
        text.push_str(&format!("Pid:\t{pid}\nNSpid:\t{all}\n"));
    }
    Ok(text.into_bytes())
}
