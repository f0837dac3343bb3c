//! epoll over pipes and eventfds, without a guest.

use super::*;
use crate::fs::{eventfd, pipe};
use crate::vfs::{KernelSink, KernelSource};

const IN: u32 = 1;
const OUT: u32 = 4;
const HUP: u32 = 16;

fn wait(epoll: &File, max: usize) -> Vec<(u32, u64)> {
    let mut got = Vec::new();
    let result = of_file(epoll).unwrap().collect(max, None, |events, data| {
        got.push((events, data));
        Ok(())
    });
    assert!(result == Ok(got.len()) || (result == Err(Errno::EAGAIN) && got.is_empty()));
    got
}

fn add(epoll: &File, fd: i32, file: &Arc<File>, events: u32) -> Result<()> {
    let data = fd as u64;
    of_file(epoll)
        .unwrap()
        .add(Fd(fd), file, events, data, None)
}

fn write(file: &File, bytes: &[u8]) {
    file.write(None, &mut KernelSource(bytes)).unwrap();
}

fn read(file: &File, len: usize) {
    file.read(None, &mut KernelSink::new(len)).unwrap();
}

#[test]
fn level_reports_while_ready_and_edge_once() {
    let (level, edge) = (open(), open());
    let (reader, writer) = pipe::open_pair(0, 0, 0);
    add(&level, 3, &reader, IN).unwrap();
    add(&edge, 3, &reader, IN | EDGE).unwrap();
    assert_eq!(wait(&level, 8), []);
    write(&writer, b"ab");
    for _ in 0..2 {
        assert_eq!(wait(&level, 8), [(IN, 3)]);
    }
    assert_eq!(wait(&edge, 8), [(IN, 3)]);
    assert_eq!(wait(&edge, 8), []);
    write(&writer, b"c");
    assert_eq!(wait(&edge, 8), [(IN, 3)]);
    read(&reader, 9);
    assert_eq!(wait(&level, 8), []);
    drop(writer);
    assert_eq!(wait(&level, 8), [(HUP, 3)]);
}

#[test]
fn a_one_shot_is_disarmed_until_modified() {
    let epoll = open();
    let file = eventfd::open(1, false, 0);
    add(&epoll, 5, &file, IN | ONESHOT).unwrap();
    assert_eq!(wait(&epoll, 8), [(IN, 5)]);
    write(&file, &1_u64.to_ne_bytes());
    assert_eq!(wait(&epoll, 8), []);
    let inner = of_file(&epoll).unwrap();
    inner.modify(Fd(5), &file, IN | OUT, 77, None).unwrap();
    assert_eq!(wait(&epoll, 8), [(IN | OUT, 77)]);
}

#[test]
fn closing_the_last_description_ends_the_watch() {
    let epoll = open();
    let file = eventfd::open(1, false, 0);
    let (reader, writer) = pipe::open_pair(0, 0, 0);
    add(&epoll, 5, &file, IN).unwrap();
    add(&epoll, 6, &reader, IN).unwrap();
    assert_eq!(add(&epoll, 5, &file, IN), Err(Errno::EEXIST));
    drop(file);
    write(&writer, b"x");
    drop(reader);
    assert_eq!(wait(&epoll, 8), []);
    assert!(of_file(&epoll).unwrap().watched().is_empty());
    assert!(pipe::of_file(&writer).unwrap().queue().is_empty());
}

#[test]
fn an_epoll_that_goes_leaves_no_registration() {
    let epoll = open();
    let file = eventfd::open(1, false, 0);
    add(&epoll, 5, &file, IN).unwrap();
    drop(epoll);
    assert!(file.ops().wait_queue().unwrap().is_empty());
}

#[test]
fn ready_items_take_turns() {
    let epoll = open();
    let files: Vec<_> = (0..3).map(|_| eventfd::open(1, false, 0)).collect();
    for (fd, file) in files.iter().enumerate() {
        add(&epoll, fd as i32, file, IN).unwrap();
    }
    assert_eq!(wait(&epoll, 2), [(IN, 0), (IN, 1)]);
    assert_eq!(wait(&epoll, 2), [(IN, 2), (IN, 0)]);
}

#[test]
fn nested_epolls_report_and_never_loop() {
    let (outer, inner) = (open(), open());
    let file = eventfd::open(0, false, 0);
    add(&inner, 1, &file, IN).unwrap();
    add(&outer, 2, &inner, IN).unwrap();
    assert_eq!(wait(&outer, 8), []);
    write(&file, &1_u64.to_ne_bytes());
    assert_eq!(wait(&outer, 8), [(IN, 2)]);
    read(&file, 8);
    assert_eq!(wait(&outer, 8), []);
    assert_eq!(add(&inner, 3, &outer, IN), Err(Errno::ELOOP));
    assert_eq!(add(&inner, 3, &inner, IN), Err(Errno::EINVAL));
}

#[test]
fn chains_have_at_most_five_epolls() {
    let chain: Vec<_> = (0..6).map(|_| open()).collect();
    for pair in chain[..5].windows(2) {
        add(&pair[0], 1, &pair[1], IN).unwrap();
    }
    assert_eq!(add(&chain[4], 1, &chain[5], IN), Err(Errno::ELOOP));
    assert_eq!(add(&chain[5], 1, &chain[0], IN), Err(Errno::ELOOP));
    of_file(&chain[0])
        .unwrap()
        .remove(Fd(1), &chain[1])
        .unwrap();
    add(&chain[4], 1, &chain[5], IN).unwrap();
}

#[test]
fn what_could_not_be_stored_stays_ready() {
    let epoll = open();
    let file = eventfd::open(1, false, 0);
    add(&epoll, 5, &file, IN | ONESHOT).unwrap();
    let failed = of_file(&epoll)
        .unwrap()
        .collect(1, None, |_, _| Err(Errno::EFAULT));
    assert_eq!(failed, Err(Errno::EFAULT));
    assert_eq!(wait(&epoll, 1), [(IN, 5)]);
}

#[test]
fn files_that_are_always_ready_are_refused() {
    let epoll = open();
    let file = crate::fs::memfd::open(b"m", false, true, 0, 0).unwrap();
    assert_eq!(add(&epoll, 1, &file, IN), Err(Errno::EPERM));
}
