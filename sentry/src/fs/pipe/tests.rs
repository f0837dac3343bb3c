//! Pipes and FIFOs without a guest.

use abi::fs::{O_RDWR, S_IFIFO};

use super::*;
use crate::error::{SysError, SysResult};
use crate::vfs::{FileOps, KernelSink, KernelSource};

const AGAIN: SysError = SysError::Errno(Errno::EAGAIN);

fn read(file: &File, limit: usize) -> SysResult<Vec<u8>> {
    let mut sink = KernelSink::new(limit);
    file.read(None, &mut sink)?;
    Ok(sink.into_bytes())
}

fn write(file: &File, bytes: &[u8]) -> SysResult<usize> {
    file.write(None, &mut KernelSource(bytes))
}

#[test]
fn bytes_go_through_in_order_and_the_end_is_seen() {
    let (reader, writer) = open_pair(0, 0, 0);
    assert_eq!(read(&reader, 10), Err(AGAIN));
    write(&writer, b"hello ").unwrap();
    write(&writer, b"world").unwrap();
    assert_eq!(read(&reader, 8).unwrap(), b"hello wo");
    drop(writer);
    assert_eq!(read(&reader, 8).unwrap(), b"rld");
    assert_eq!(read(&reader, 8).unwrap(), b"");
    assert_eq!(reader.ops().readiness(), Events::HUP);
}

#[test]
fn a_write_without_a_reader_is_a_broken_pipe() {
    let (reader, writer) = open_pair(0, 0, 0);
    drop(reader);
    assert_eq!(write(&writer, b"x"), Err(Errno::EPIPE.into()));
    assert!(writer.ops().readiness().contains(Events::ERR));
}

#[test]
fn small_writes_are_whole_or_not_at_all_and_large_ones_are_cut() {
    let (reader, writer) = open_pair(0, 0, 0);
    assert_eq!(write(&writer, &[1; 70_000]), Ok(DEFAULT_CAPACITY));
    assert!(!writer.ops().readiness().contains(Events::OUT));
    assert_eq!(write(&writer, &[1; 10]), Err(AGAIN));
    assert_eq!(read(&reader, 4096).unwrap().len(), 4096);
    assert_eq!(write(&writer, &[2; 5000]), Ok(4096));
}

#[test]
fn capacity_is_a_power_of_two_pages_and_never_below_use() {
    let (reader, writer) = open_pair(0, 0, 0);
    let pipe = of_file(&reader).unwrap().clone();
    assert_eq!(pipe.set_capacity(5000, false), Ok(8192));
    assert_eq!(write(&writer, &[0; 20_000]), Ok(8192));
    assert_eq!(pipe.set_capacity(4096, false), Err(Errno::EBUSY));
    assert_eq!(pipe.set_capacity(2 << 20, false), Err(Errno::EPERM));
    assert_eq!(pipe.set_capacity(2 << 20, true), Ok(2 << 20));
}

#[test]
fn packet_mode_keeps_boundaries() {
    let (reader, writer) = open_pair(O_DIRECT, 0, 0);
    write(&writer, b"abc").unwrap();
    write(&writer, b"defg").unwrap();
    assert_eq!(read(&reader, 2).unwrap(), b"ab");
    assert_eq!(read(&reader, 9).unwrap(), b"defg");
}

#[test]
fn fifo_opens_wait_for_each_other() {
    let inode = anon::inode(S_IFIFO | 0o600, 0, 0);
    assert_eq!(
        fifo::open_fifo(&inode, O_WRONLY | O_NONBLOCK, false).err(),
        Some(Errno::ENXIO)
    );
    let reader = fifo::open_fifo(&inode, O_RDONLY, false).unwrap();
    assert!(!reader.has_met());
    let writer = fifo::open_fifo(&inode, O_WRONLY, false).unwrap();
    assert!(writer.has_met());
    drop(writer);
    assert!(reader.has_met(), "a writer that came and went is enough");
    assert!(fifo::open_fifo(&inode, O_RDWR, false).unwrap().has_met());
}

#[test]
fn a_nonblocking_fifo_reader_sees_no_hangup_before_the_first_writer() {
    let inode = anon::inode(S_IFIFO | 0o600, 0, 0);
    let reader = fifo::open_fifo(&inode, O_RDONLY | O_NONBLOCK, false).unwrap();
    assert_eq!(reader.readiness(), Events::empty());
    drop(fifo::open_fifo(&inode, O_WRONLY, false).unwrap());
    assert_eq!(reader.readiness(), Events::HUP);
}

#[test]
fn tee_copies_and_splice_moves() {
    let (from_reader, from_writer) = open_pair(0, 0, 0);
    let (to_reader, _to_writer) = open_pair(0, 0, 0);
    let (from, to) = (of_file(&from_reader).unwrap(), of_file(&to_reader).unwrap());
    write(&from_writer, b"abcdef").unwrap();
    assert_eq!(transfer::between(from, to, 3, true), Ok(3));
    assert_eq!(transfer::between(from, to, 100, false), Ok(6));
    assert_eq!(transfer::between(from, to, 100, false), Err(Errno::EAGAIN));
    assert_eq!(read(&to_reader, 100).unwrap(), b"abcabcdef");
    assert_eq!(transfer::between(from, from, 1, true), Err(Errno::EINVAL));
}

#[test]
fn what_a_callback_does_not_take_stays() {
    let (reader, writer) = open_pair(0, 0, 0);
    let pipe = of_file(&reader).unwrap();
    write(&writer, b"abcdef").unwrap();
    assert_eq!(pipe.take_with(4, |bytes| Ok(bytes.len() - 1)), Ok(3));
    assert_eq!(pipe.put_with(10, |_| Ok(b"xy".to_vec())), Ok(2));
    assert_eq!(read(&reader, 100).unwrap(), b"defxy");
}

#[test]
fn a_pipe_without_a_name_never_waits_for_its_other_end() {
    let inode = crate::fs::anon::inode(abi::fs::S_IFIFO | 0o600, 0, 0);
    assert!(!fifo::open_fifo(&inode, O_RDONLY, false).unwrap().has_met());
    assert!(fifo::open_fifo(&inode, O_RDONLY, true).unwrap().has_met());
}
