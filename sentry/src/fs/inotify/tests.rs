//! Watches on a tmpfs, without a guest.

use super::*;
use crate::fs::tmpfs::{Options, Tmpfs};
use crate::vfs::{FileSystem, KernelSink, NodeKind};

fn read(file: &File) -> Vec<(i32, u32, String)> {
    let mut sink = KernelSink::new(1 << 20);
    if file.read(None, &mut sink).is_err() {
        return Vec::new();
    }
    let bytes = sink.into_bytes();
    let mut events = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let word = |n: usize| {
            let from = at + 4 * n;
            u32::from_ne_bytes(bytes[from..from + 4].try_into().unwrap())
        };
        let len = word(3) as usize;
        assert_eq!(len % HEADER, 0);
        let name = &bytes[at + HEADER..at + HEADER + len];
        let name: Vec<u8> = name.iter().copied().take_while(|b| *b != 0).collect();
        events.push((word(0) as i32, word(1), String::from_utf8(name).unwrap()));
        at += HEADER + len;
    }
    events
}

struct Scene {
    _fs: Arc<Tmpfs>,
    root: Arc<Inode>,
    child: Arc<Inode>,
    file: Arc<File>,
}

fn scene(uid: u32) -> Scene {
    let fs = Tmpfs::new(&Options::default()).unwrap();
    let root = fs.root();
    let dir = root.dir().unwrap();
    let child = dir.create(b"f", NodeKind::Regular, 0o644, 0, 0).unwrap();
    Scene {
        _fs: fs,
        root,
        child,
        file: open(uid, 0).unwrap(),
    }
}

#[test]
fn names_are_padded_and_repeats_merge() {
    let s = scene(1001);
    let inotify = of_file(&s.file).unwrap();
    let wd = inotify.add(&s.root, report::CREATE).unwrap();
    report::entry(&s.root, b"x", false, report::CREATE);
    report::entry(&s.root, b"x", false, report::CREATE);
    report::entry(&s.root, b"x", false, report::DELETE);
    report::entry(&s.root, b"0123456789abcdef", true, report::CREATE);
    assert!(s.file.ops().readiness().contains(Events::IN));
    assert_eq!(
        s.file.read(None, &mut KernelSink::new(HEADER)),
        Err(Errno::EINVAL.into())
    );
    assert_eq!(
        read(&s.file),
        [
            (wd, report::CREATE, "x".to_owned()),
            (wd, report::CREATE | 1 << 30, "0123456789abcdef".to_owned())
        ]
    );
}

#[test]
fn a_one_shot_ends_after_one_event_and_numbers_are_not_used_again() {
    let s = scene(1002);
    let inotify = of_file(&s.file).unwrap();
    let wd = inotify.add(&s.child, report::MODIFY | ONESHOT).unwrap();
    for _ in 0..2 {
        tell_self(&s.child, report::MODIFY);
    }
    let seen: Vec<_> = read(&s.file).into_iter().map(|e| (e.0, e.1)).collect();
    assert_eq!(seen, [(wd, report::MODIFY), (wd, IGNORED)]);
    assert_eq!(inotify.remove(wd), Err(Errno::EINVAL));
    assert_eq!(inotify.add(&s.child, report::MODIFY), Ok(wd + 1));
}

fn tell_self(inode: &Arc<Inode>, mask: u32) {
    report::dentry(&crate::vfs::Dentry::root(inode.clone()), mask);
}

#[test]
fn masks_are_replaced_or_added_to() {
    let s = scene(1003);
    let inotify = of_file(&s.file).unwrap();
    let wd = inotify.add(&s.child, report::MODIFY).unwrap();
    assert_eq!(inotify.add(&s.child, report::ACCESS | MASK_ADD), Ok(wd));
    tell_self(&s.child, report::MODIFY);
    tell_self(&s.child, report::ACCESS);
    assert_eq!(read(&s.file).len(), 2);
    inotify.add(&s.child, report::ACCESS).unwrap();
    tell_self(&s.child, report::MODIFY);
    assert_eq!(read(&s.file), []);
    let create = report::OPEN | MASK_CREATE;
    assert_eq!(inotify.add(&s.child, create), Err(Errno::EEXIST));
}

#[test]
fn a_deleted_file_is_gone_when_its_last_description_is() {
    let s = scene(1004);
    let inotify = of_file(&s.file).unwrap();
    let wd = inotify.add(&s.child, report::DELETE_SELF).unwrap();
    s.child.state.watches.opened();
    let dir = s.root.dir().unwrap();
    dir.unlink(b"f", &s.child).unwrap();
    report::unlinked(&s.child, false);
    assert_eq!(read(&s.file), []);
    assert!(s.child.state.watches.closed());
    report::unlinked(&s.child, false);
    let seen: Vec<_> = read(&s.file).into_iter().map(|e| (e.0, e.1)).collect();
    assert_eq!(seen, [(wd, report::DELETE_SELF), (wd, IGNORED)]);
    assert!(s.child.state.watches.is_empty());
}

#[test]
fn a_full_queue_says_so_once() {
    let s = scene(1005);
    let inotify = of_file(&s.file).unwrap();
    inotify
        .add(&s.child, report::MODIFY | report::ACCESS)
        .unwrap();
    for _ in 0..MAX_QUEUED_EVENTS {
        tell_self(&s.child, report::MODIFY);
        tell_self(&s.child, report::ACCESS);
    }
    let events = read(&s.file);
    assert_eq!(events.len(), MAX_QUEUED_EVENTS + 1);
    assert_eq!(events.last().map(|e| (e.0, e.1)), Some((-1, Q_OVERFLOW)));
}

#[test]
fn instances_are_limited_by_user_and_leave_nothing_behind() {
    let s = scene(1006);
    let mut held: Vec<_> = (1..MAX_USER_INSTANCES)
        .map(|_| open(1006, 0).unwrap())
        .collect();
    assert_eq!(open(1006, 0).err(), Some(Errno::EMFILE));
    held.pop();
    let last = open(1006, 0).unwrap();
    of_file(&last).unwrap().add(&s.child, report::OPEN).unwrap();
    drop(last);
    assert!(s.child.state.watches.is_empty());
}
