//! Asynchronous I/O: `io_setup(2)` and kin.

use crate::prelude::*;

cases![
    contexts_come_and_go, reads_and_writes_complete, submission_errors, results_carry_errors, collecting_waits, eventfd_is_signalled, a_fork_has_none,
    cancel_finds_nothing,
];

/// `struct iocb`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: u32,
    code: u16,
    priority: i16,
    fd: u32,
    buf: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    resfd: u32,
}

const PREAD: u16 = 0;
const PWRITE: u16 = 1;
const FSYNC: u16 = 2;

fn operation(code: u16, fd: i32, buf: &mut [u8], offset: i64, data: u64) -> Iocb {
    Iocb { data, code, fd: fd as u32, buf: buf.as_mut_ptr() as u64, bytes: buf.len() as u64, offset, ..Iocb::default() }
}

fn setup(count: u32) -> u64 {
    let mut context = 0u64;
    sys!(SYS_io_setup, count, &mut context).must();
    context
}

fn submit(context: u64, operations: &[Iocb]) -> Ret {
    let pointers: Vec<u64> = operations.iter().map(|op| std::ptr::from_ref(op) as u64).collect();
    sys!(SYS_io_submit, context, pointers.len(), &pointers[..])
}

/// Collects completions: data and result of each.
fn collect(context: u64, least: i64, most: i64) -> String {
    let mut events = [[0u64; 4]; 8];
    let ret = sys!(SYS_io_getevents, context, least, most, &mut events, &timespec_ms(2000));
    let n = ret.get().unwrap_or(0) as usize;
    let mut seen: Vec<String> = events[..n].iter().map(|event| format!("{}:{}", event[0], Ret(event[2] as i64))).collect();
    seen.sort();
    format!("{ret} {seen:?}")
}

fn contexts_come_and_go() {
    let mut context = 0u64;
    say!("none asked {}, bad pointer {}", sys!(SYS_io_setup, 0, &mut context), sys!(SYS_io_setup, 1, 8));
    say!("{} named {}", sys!(SYS_io_setup, 4, &mut context), context != 0);
    say!("not zero before {}", sys!(SYS_io_setup, 4, &mut context));
    say!("{} again {}", sys!(SYS_io_destroy, context), sys!(SYS_io_destroy, context));
    say!("gone {} {}", submit(context, &[]), collect(context, 0, 1));
}

fn reads_and_writes_complete() {
    let context = setup(8);
    let fd = open(c"f", O_CREAT | O_RDWR).fd();
    let mut text = *b"written asynchronously";
    say!("{} {}", submit(context, &[operation(PWRITE, fd, &mut text, 3, 11)]), collect(context, 1, 8));
    say!("{}", pread(fd, 30, 0));
    let (mut one, mut two) = ([0u8; 4], [0u8; 100]);
    say!("{}", submit(context, &[operation(PREAD, fd, &mut one, 3, 1), operation(PREAD, fd, &mut two, 20, 2)]));
    say!("{}", collect(context, 2, 8));
    say!("{} {}", one.escape_ascii(), two[..5].escape_ascii());
    say!("the offset stays {}", lseek(fd, 0, SEEK_CUR));
    let sync = Iocb { data: 3, code: FSYNC, fd: fd as u32, ..Iocb::default() };
    say!("{} {}", submit(context, &[sync]), collect(context, 1, 8));
}

fn submission_errors() {
    let context = setup(2);
    let fd = open(c"f", O_CREAT | O_RDWR).fd();
    let only_write = open(c"f", O_WRONLY).fd();
    let mut buf = [0u8; 4];
    say!("nothing {}, negative {}", submit(context, &[]), sys!(SYS_io_submit, context, -1, NULL));
    say!("no context {}", submit(0x1234_0000, &[operation(PREAD, fd, &mut buf, 0, 0)]));
    say!("bad list {}, bad operation {}", sys!(SYS_io_submit, context, 1, 8), sys!(SYS_io_submit, context, 1, &[8u64]));
    say!("bad descriptor {}, not for reading {}", submit(context, &[operation(PREAD, 999, &mut buf, 0, 0)]), submit(context, &[operation(PREAD, only_write, &mut buf, 0, 0)]));
    say!("unknown code {}", submit(context, &[operation(77, fd, &mut buf, 0, 0)]));
    let reserved = Iocb { reserved: 1, ..operation(PREAD, fd, &mut buf, 0, 0) };
    let flags = Iocb { flags: 1 << 20, ..operation(PREAD, fd, &mut buf, 0, 0) };
    say!("reserved {}, flags {}", submit(context, &[reserved]), submit(context, &[flags]));
    let good = operation(PREAD, fd, &mut buf, 0, 5);
    say!("the first counts {}", submit(context, &[good, reserved]));
    say!("{}", collect(context, 1, 4));
}

fn results_carry_errors() {
    let context = setup(4);
    let fd = open(c"f", O_CREAT | O_RDWR).fd();
    write(fd, b"12345");
    let wild = Iocb { data: 1, code: PREAD, fd: fd as u32, buf: 8, bytes: 4, ..Iocb::default() };
    say!("{} {}", submit(context, &[wild]), collect(context, 1, 4));
    let mut buf = [0u8; 4];
    say!("{} {}", submit(context, &[operation(PREAD, fd, &mut buf, 100, 2)]), collect(context, 1, 4));
}

fn collecting_waits() {
    let context = setup(4);
    let mut events = [[0u64; 4]; 4];
    let get = |least: i64, most: i64, ms: i64, events: &mut [[u64; 4]; 4]| sys!(SYS_io_getevents, context, least, most, events, &timespec_ms(ms));
    say!("nothing {}, in time {}", get(0, 4, 0, &mut events), get(1, 4, 5, &mut events));
    say!("more than asked {}, negative {}", get(3, 2, 0, &mut events), get(-1, 2, 0, &mut events));
    say!("interrupted {}", alarmed(0, || sys!(SYS_io_getevents, context, 1, 1, &mut events, NULL)));
}

fn eventfd_is_signalled() {
    let context = setup(4);
    let fd = open(c"f", O_CREAT | O_RDWR).fd();
    let event = sys!(SYS_eventfd2, 0, 0).fd();
    let mut buf = [1u8; 4];
    let told = Iocb { flags: 1, resfd: event as u32, ..operation(PWRITE, fd, &mut buf, 0, 1) };
    let wrong = Iocb { resfd: fd as u32, ..told };
    say!("{} not an eventfd {}", submit(context, &[told, told]), submit(context, &[wrong]));
    say!("{}", collect(context, 2, 4));
    say!("{}", read(event, 8));
}

fn a_fork_has_none() {
    let context = setup(4);
    say!("{}", fork(|| i32::from(submit(context, &[]).0 == -22)).wait());
}

fn cancel_finds_nothing() {
    let context = setup(4);
    let op = Iocb::default();
    let mut event = [0u64; 4];
    say!("{} {}", sys!(SYS_io_cancel, context, &op, &mut event), sys!(SYS_io_cancel, context, 8, &mut event));
}
