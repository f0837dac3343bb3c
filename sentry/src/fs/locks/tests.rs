//! Locks without a guest.

use super::*;
use crate::error::Errno;
use crate::fs::{anon, memfd};

fn request(owner: u64, kind: Option<Kind>, start: i64, len: i64) -> Request {
    Request {
        owner: Owner::Table(owner as usize),
        kind,
        range: Range::new(start, len).unwrap(),
        pid: None,
    }
}

fn held(inode: &Inode) -> Vec<(i64, i64, Kind)> {
    let (ranges, _) = inode.shared.locks.list();
    ranges
        .iter()
        .map(|(_, c)| (c.range.start(), c.range.len(), c.kind))
        .collect()
}

const READ: Option<Kind> = Some(Kind::Read);
const WRITE: Option<Kind> = Some(Kind::Write);

#[test]
fn ranges_split_and_merge() {
    let inode = anon::untyped();
    set(&inode, &request(1, READ, 0, 100)).unwrap();
    set(&inode, &request(1, WRITE, 40, 20)).unwrap();
    assert_eq!(
        held(&inode),
        [
            (0, 40, Kind::Read),
            (40, 20, Kind::Write),
            (60, 40, Kind::Read)
        ]
    );
    set(&inode, &request(1, READ, 40, 20)).unwrap();
    assert_eq!(held(&inode), [(0, 100, Kind::Read)]);
    set(&inode, &request(1, None, 50, 0)).unwrap();
    assert_eq!(held(&inode), [(0, 50, Kind::Read)]);
    set(&inode, &request(1, READ, 50, 10)).unwrap();
    assert_eq!(held(&inode), [(0, 60, Kind::Read)]);
}

#[test]
fn readers_share_and_writers_do_not() {
    let inode = anon::untyped();
    set(&inode, &request(1, READ, 0, 10)).unwrap();
    set(&inode, &request(2, READ, 5, 10)).unwrap();
    assert_eq!(set(&inode, &request(3, WRITE, 9, 1)), Err(Errno::EAGAIN));
    set(&inode, &request(3, WRITE, 15, 1)).unwrap();
    let conflict = test(&inode, &request(1, WRITE, 12, 0)).unwrap();
    assert_eq!((conflict.range.start(), conflict.range.len()), (5, 10));
    assert!(test(&inode, &request(1, WRITE, 0, 5)).is_none());
}

#[test]
fn lengths_may_be_negative_or_open() {
    assert_eq!(Range::new(10, -4), Ok(Range { first: 6, last: 9 }));
    assert_eq!(Range::new(3, -4), Err(Errno::EINVAL));
    assert_eq!(Range::new(-1, 4), Err(Errno::EINVAL));
    assert_eq!(Range::new(i64::MAX, 2), Err(Errno::EOVERFLOW));
    assert_eq!(Range::new(5, 0).unwrap().len(), 0);
}

#[test]
fn a_circle_of_waits_is_a_deadlock_and_a_chain_is_not() {
    let inode = anon::untyped();
    for (owner, at) in [(1, 0), (2, 1), (3, 2)] {
        set(&inode, &request(owner, WRITE, at, 1)).unwrap();
    }
    let wait = |owner, at| wait::Waiting::new(&inode, request(owner, WRITE, at, 1));
    let (mut first, mut second, mut third) = (wait(1, 1), wait(2, 2), wait(3, 0));
    assert_eq!(first.attempt(), Err(Errno::EAGAIN));
    assert_eq!(second.attempt(), Err(Errno::EAGAIN));
    assert_eq!(third.attempt(), Err(Errno::EDEADLK));
    drop(first);
    assert_eq!(third.attempt(), Err(Errno::EAGAIN));
    set(&inode, &request(1, None, 0, 1)).unwrap();
    assert_eq!(third.attempt(), Ok(()));
}

#[test]
fn flocks_belong_to_descriptions_and_go_with_them() {
    let a = memfd::open(b"f", false, true, 0, 0).unwrap();
    let inode = a.inode().clone();
    let how = crate::vfs::OpenHow { flags: 2 };
    let open = || {
        let ops = inode.ops().open(&inode, how).unwrap();
        File::new(None, inode.clone(), ops, 2)
    };
    let b = open();
    flock::set(&a, READ).unwrap();
    flock::set(&b, READ).unwrap();
    assert_eq!(flock::set(&a, WRITE), Err(Errno::EAGAIN));
    assert_eq!(
        flock::set(&b, WRITE),
        Ok(()),
        "the failed conversion gave the old lock up"
    );
    assert_eq!(flock::set(&a, READ), Err(Errno::EAGAIN));
    release_file(&b);
    assert_eq!(flock::set(&a, WRITE), Ok(()));
}
