//! Pipes and FIFOs: ends, sizes, atomicity, splice and tee.

use crate::prelude::*;

cases![
    bytes_in_order, end_of_file, blocks_until_written, full_pipe_blocks_writer, nonblocking_empty_and_full, read_interrupted,
    write_interrupted_partial, size_query_and_change, errors, ioctl_fionread, packet_mode, atomic_writes_do_not_mix, poll_states,
    fifo_rendezvous, fifo_nonblocking_open, fifo_open_interrupted, fifo_reopen_after_eof, fifo_read_write_open, splice_between,
    splice_errors, tee_duplicates, vmsplice_moves_in, sendfile_into_pipe, readv_writev, reopen_through_proc,
];

fn bytes_in_order() {
    let (r, w) = pipe();
    write(w, b"abc");
    write(w, b"def");
    say!("{} {} {}", read(r, 2), read(r, 10), write(w, b""));
}

fn end_of_file() {
    let (r, w) = pipe();
    write(w, b"rest");
    close(w);
    say!("{} {} {}", read(r, 10), read(r, 10), read(r, 10));
}

fn blocks_until_written() {
    let (r, w) = pipe();
    let start = now_ns();
    let child = after(20, || write(w, b"late"));
    say!("{}, waited {}", read(r, 10), now_ns() - start >= 20_000_000);
    child.wait();
}

fn full_pipe_blocks_writer() {
    let (r, w) = pipe();
    say!("fill: {}", write(w, &vec![b'x'; 65536]));
    let start = now_ns();
    let child = after(20, || read(r, 4096));
    say!("one more: {}, waited {}", write(w, b"y"), now_ns() - start >= 20_000_000);
    child.wait();
}

fn nonblocking_empty_and_full() {
    let (r, w) = pipe2(O_NONBLOCK);
    say!("empty: {}", read(r, 1));
    say!("more than fits: {}", write(w, &vec![b'x'; 100_000]));
    say!("full: {}", write(w, b"x"));
    say!("drain {} bytes", read(r, 70_000).0.unwrap().len());
    say!("empty: {}", read(r, 1));
}

fn read_interrupted() {
    let (r, _w) = pipe();
    say!("{}", interrupted(|| read(r, 1)));
}

fn write_interrupted_partial() {
    let (_r, w) = pipe();
    say!("partial: {}", interrupted(|| write(w, &vec![b'x'; 100_000])));
    say!("full: {}", interrupted(|| write(w, b"x")));
}

fn size_query_and_change() {
    let (r, w) = pipe();
    say!("{}", sys!(SYS_fcntl, r, F_GETPIPE_SZ));
    say!("smaller: {}", sys!(SYS_fcntl, w, F_SETPIPE_SZ, 5000));
    say!("{}", sys!(SYS_fcntl, r, F_GETPIPE_SZ));
    write(w, &[0; 8000]);
    say!("too small for what is in it: {}", sys!(SYS_fcntl, w, F_SETPIPE_SZ, 4096));
    say!("larger: {}", sys!(SYS_fcntl, w, F_SETPIPE_SZ, 1 << 18));
    say!("not a pipe: {}", sys!(SYS_fcntl, 0, F_GETPIPE_SZ));
}

fn errors() {
    let (r, w) = pipe();
    say!("write to the read end: {}", write(r, b"x"));
    say!("read from the write end: {}", read(w, 1));
    say!("seek: {}", lseek(r, 0, SEEK_SET));
    say!("pread: {}", pread(r, 1, 0));
    say!("bad flags: {}", sys!(SYS_pipe2, &mut [0i32; 2], 1));
    say!("bad pointer: {}", sys!(SYS_pipe2, 8, 0));
    say!("fsync: {}", sys!(SYS_fsync, r));
    say!("ftruncate: {}", sys!(SYS_ftruncate, w, 0));
}

fn ioctl_fionread() {
    let (r, w) = pipe();
    write(w, b"12345");
    let mut n = 0i32;
    say!("{} {n}", sys!(SYS_ioctl, r, FIONREAD, &mut n));
    say!("{n}");
    say!("unknown ioctl: {}", sys!(SYS_ioctl, r, TIOCGWINSZ, &mut [0u64; 4]));
}

fn packet_mode() {
    let (r, w) = pipe2(O_DIRECT);
    write(w, b"first packet");
    write(w, b"second");
    say!("{} {}", read(r, 5), read(r, 100));
}

fn atomic_writes_do_not_mix() {
    let (r, w) = pipe();
    let children: Vec<Child> = (0..4u8)
        .map(|i| {
            fork(|| {
                (0..20).for_each(|_| unused(write(w, &vec![b'a' + i; 1000])));
                0
            })
        })
        .collect();
    close(w);
    let mut all = Vec::new();
    loop {
        let part = read(r, 65536).0.unwrap();
        if part.is_empty() {
            break;
        }
        all.extend(part);
    }
    say!("{} bytes, every 1000 alike: {}", all.len(), all.chunks(1000).all(|c| c.iter().all(|b| *b == c[0])));
    children.into_iter().for_each(|c| unused(c.wait()));
}

fn poll_of(fd: i32, events: i16) -> String {
    let mut poll = pollfd { fd, events, revents: 0 };
    let ret = sys!(SYS_poll, &mut poll, 1, 0);
    format!("{ret} {:#x}", poll.revents)
}

fn poll_states() {
    let (r, w) = pipe();
    let all = POLLIN | POLLOUT;
    say!("empty: {} / {}", poll_of(r, all), poll_of(w, all));
    write(w, b"x");
    say!("one byte: {} / {}", poll_of(r, all), poll_of(w, all));
    write(w, &[0; 65535]);
    say!("full: {} / {}", poll_of(r, all), poll_of(w, all));
    read(r, 100);
    say!("100 bytes free: {}", poll_of(w, all));
    read(r, 4096);
    say!("a page free: {}", poll_of(w, all));
    close(w);
    say!("writer gone: {}", poll_of(r, all));
    read(r, 65536);
    say!("drained: {}", poll_of(r, all));
    let (r, w) = pipe();
    close(r);
    say!("reader gone: {}", poll_of(w, all));
}

fn fifo(path: &std::ffi::CStr) {
    sys!(SYS_mknodat, AT_FDCWD, path, S_IFIFO | 0o644, 0).must();
}

fn fifo_rendezvous() {
    fifo(c"p");
    let start = now_ns();
    let child = after(20, || {
        let w = open(c"p", O_WRONLY).fd();
        write(w, b"through the fifo");
    });
    let r = open(c"p", O_RDONLY).fd();
    say!("open waited: {}", now_ns() - start >= 20_000_000);
    say!("{} then {}", read(r, 100), read(r, 100));
    child.wait();
}

fn fifo_nonblocking_open() {
    fifo(c"p");
    say!("writer without reader: {}", open(c"p", O_WRONLY | O_NONBLOCK));
    let r = open(c"p", O_RDONLY | O_NONBLOCK).fd();
    say!("no writer yet: {}", read(r, 1));
    say!("poll before any writer: {}", poll_of(r, POLLIN));
    let w = open(c"p", O_WRONLY | O_NONBLOCK).fd();
    say!("writer, no data: {}", read(r, 1));
    write(w, b"x");
    close(w);
    say!("{} {} {}", poll_of(r, POLLIN), read(r, 1), read(r, 1));
    say!("poll after the writer left: {}", poll_of(r, POLLIN));
}

fn fifo_open_interrupted() {
    fifo(c"p");
    say!("reader: {}", interrupted(|| open(c"p", O_RDONLY)));
    say!("writer: {}", interrupted(|| open(c"p", O_WRONLY)));
}

fn fifo_reopen_after_eof() {
    fifo(c"p");
    let r = open(c"p", O_RDONLY | O_NONBLOCK).fd();
    for text in [b"one", b"two"] {
        let w = open(c"p", O_WRONLY).fd();
        write(w, text);
        close(w);
        say!("{} {}", read(r, 10), read(r, 10));
    }
}

fn fifo_read_write_open() {
    fifo(c"p");
    let both = open(c"p", O_RDWR).fd();
    say!("{} {}", write(both, b"self"), read(both, 10));
    let mut stat: stat = zeroed();
    sys!(SYS_fstat, both, &mut stat).must();
    say!("is a fifo: {}", stat.st_mode & S_IFMT == S_IFIFO);
    sys!(SYS_unlink, c"p").must();
    say!("works without a name: {} {}", write(both, b"x"), read(both, 1));
}

fn splice_between() {
    write_file(c"f", b"0123456789");
    let (r, w) = pipe();
    let fd = open(c"f", O_RDWR).fd();
    say!("file to pipe: {}", sys!(SYS_splice, fd, NULL, w, NULL, 4, 0));
    let mut offset = 8i64;
    say!("from an offset: {}, now {offset}", sys!(SYS_splice, fd, &mut offset, w, NULL, 10, 0));
    say!("offset moved to {offset}, descriptor at {}", lseek(fd, 0, SEEK_CUR));
    let (r2, w2) = pipe();
    say!("pipe to pipe: {}", sys!(SYS_splice, r, NULL, w2, NULL, 100, 0));
    let out = open(c"out", O_RDWR | O_CREAT).fd();
    say!("pipe to file: {}", sys!(SYS_splice, r2, NULL, out, NULL, 100, 0));
    say!("{}", pread(out, 100, 0));
    say!("at the end of the file: {}", sys!(SYS_splice, fd, &mut 10i64, w, NULL, 10, 0));
}

fn splice_errors() {
    let (r, w) = pipe2(O_NONBLOCK);
    write_file(c"f", b"abc");
    let fd = open(c"f", O_RDWR).fd();
    say!("no pipe: {}", sys!(SYS_splice, fd, NULL, fd, NULL, 1, 0));
    say!("offset on a pipe: {}", sys!(SYS_splice, r, &mut 0i64, fd, NULL, 1, 0));
    say!("empty, nonblocking: {}", sys!(SYS_splice, r, NULL, fd, NULL, 1, SPLICE_F_NONBLOCK));
    say!("same pipe: {}", sys!(SYS_splice, r, NULL, w, NULL, 1, 0));
    say!("wrong ends: {}", sys!(SYS_splice, w, NULL, fd, NULL, 1, 0));
    say!("bad descriptor: {}", sys!(SYS_splice, 99, NULL, w, NULL, 1, 0));
    let append = open(c"f", O_WRONLY | O_APPEND).fd();
    write(w, b"x");
    say!("into O_APPEND: {}", sys!(SYS_splice, r, NULL, append, NULL, 1, 0));
    say!("unknown flag: {}", sys!(SYS_splice, r, NULL, fd, NULL, 1, 128));
}

fn tee_duplicates() {
    let ((r, w), (r2, w2)) = (pipe(), pipe());
    write(w, b"twice");
    say!("{}", sys!(SYS_tee, r, w2, 100, 0));
    say!("{} {}", read(r, 10), read(r2, 10));
    say!("same pipe: {}", sys!(SYS_tee, r, w, 1, 0));
    say!("not a pipe: {}", sys!(SYS_tee, 0, w2, 1, 0));
}

fn vmsplice_moves_in() {
    let (r, w) = pipe();
    let text = *b"from memory";
    let part = iovec { iov_base: text.as_ptr() as *mut c_void, iov_len: text.len() };
    say!("{}", sys!(SYS_vmsplice, w, &part, 1, 0));
    say!("{}", read(r, 100));
    say!("not a pipe: {}", sys!(SYS_vmsplice, 0, &part, 1, 0));
}

fn sendfile_into_pipe() {
    write_file(c"f", b"0123456789");
    let fd = open(c"f", O_RDONLY).fd();
    let (r, w) = pipe();
    let mut offset = 3i64;
    say!("{}", sys!(SYS_sendfile, w, fd, &mut offset, 4));
    say!("{}, offset {offset}, descriptor at {}", read(r, 10), lseek(fd, 0, SEEK_CUR));
    say!("{}", sys!(SYS_sendfile, w, fd, NULL, 100));
    say!("{}, descriptor at {}", read(r, 20), lseek(fd, 0, SEEK_CUR));
    say!("from a pipe: {}", sys!(SYS_sendfile, w, r, NULL, 1));
    say!("negative offset: {}", sys!(SYS_sendfile, w, fd, &mut -1i64, 1));
}

fn readv_writev() {
    let (r, w) = pipe();
    let (a, b) = (*b"ab", *b"cdef");
    let out = [iovec { iov_base: a.as_ptr() as *mut c_void, iov_len: 2 }, iovec { iov_base: b.as_ptr() as *mut c_void, iov_len: 4 }];
    say!("{}", sys!(SYS_writev, w, &out, 2));
    let (mut x, mut y) = ([0u8; 3], [0u8; 10]);
    let into = [iovec { iov_base: x.as_mut_ptr().cast(), iov_len: 3 }, iovec { iov_base: y.as_mut_ptr().cast(), iov_len: 10 }];
    say!("{}: {} {}", sys!(SYS_readv, r, &into, 2), x.escape_ascii(), y[..3].escape_ascii());
    say!("negative count: {}", sys!(SYS_readv, r, &into, -1));
    say!("too many: {}", sys!(SYS_writev, w, &out, 1025));
    say!("zero parts: {}", sys!(SYS_writev, w, &out, 0));
    let huge = [iovec { iov_base: a.as_ptr() as *mut c_void, iov_len: usize::MAX }];
    say!("length overflows: {}", sys!(SYS_writev, w, &huge, 1));
}

fn reopen_through_proc() {
    let (r, w) = pipe();
    let path = std::ffi::CString::new(format!("/proc/self/fd/{r}")).unwrap();
    let again = open(&path, O_RDONLY | O_NONBLOCK).fd();
    write(w, b"same pipe");
    say!("{}", read(again, 20));
    let link = std::fs::read_link(path.to_str().unwrap()).unwrap();
    say!("{}", link.to_str().unwrap().starts_with("pipe:["));
}
