//! Reading and writing files: offsets, holes, truncation, allocation, copying, memfd and seals.

use crate::prelude::*;

cases![
    read_write_offsets, pread_pwrite_leave_offset, lseek_forms, lseek_errors, sparse_holes, seek_data_hole, truncate_forms, truncate_errors,
    fallocate_forms, fallocate_errors, file_size_limit, preadv2_pwritev2, vectors_with_offset, copy_file_range_forms, copy_file_range_errors,
    sendfile_file_to_file, sendfile_errors, memfd_basics, memfd_seals, memfd_seal_errors, fsync_family, sync_file_range_and_fadvise,
    large_offsets, write_beyond_end_zero_fills, readahead_and_zero_length, concurrent_positions_are_shared, ficlone_bad_source,
    write_clears_set_id, deleted_file_still_works, append_and_truncate, iov_partial_fault,
];

fn rw(path: &std::ffi::CStr) -> i32 {
    open(path, O_RDWR | O_CREAT).fd()
}

fn pwrite(fd: i32, bytes: &[u8], offset: i64) -> Ret {
    sys!(SYS_pwrite64, fd, bytes, bytes.len(), offset)
}

fn size(fd: i32) -> i64 {
    let mut stat: stat = zeroed();
    sys!(SYS_fstat, fd, &mut stat).must();
    stat.st_size
}

fn read_write_offsets() {
    let fd = rw(c"f");
    say!("{} at {}", write(fd, b"0123456789"), lseek(fd, 0, SEEK_CUR));
    lseek(fd, 3, SEEK_SET);
    say!("{} {}", read(fd, 3), read(fd, 100));
    say!("end {}", read(fd, 1));
    lseek(fd, 2, SEEK_SET);
    write(fd, b"##");
    say!("{}", pread(fd, 100, 0));
}

fn pread_pwrite_leave_offset() {
    let fd = rw(c"f");
    say!("{} {}", pwrite(fd, b"abc", 2), lseek(fd, 0, SEEK_CUR));
    say!("{} {}", pread(fd, 10, 1), lseek(fd, 0, SEEK_CUR));
    say!("negative {} {}", pread(fd, 1, -1), pwrite(fd, b"x", -1));
    say!("past the end {}", pread(fd, 1, 100));
}

fn lseek_forms() {
    let fd = rw(c"f");
    write(fd, b"0123456789");
    say!("{} {} {}", lseek(fd, -3, SEEK_END), lseek(fd, 1, SEEK_CUR), lseek(fd, 100, SEEK_SET));
    say!("read there {}, size {}", read(fd, 1), size(fd));
}

fn lseek_errors() {
    let fd = rw(c"f");
    say!("negative {}, before the start {}", lseek(fd, -1, SEEK_SET), lseek(fd, -1, SEEK_END));
    say!("bad whence {}", lseek(fd, 0, 9));
    say!("bad descriptor {}", lseek(99, 0, SEEK_SET));
}

fn sparse_holes() {
    let fd = rw(c"f");
    pwrite(fd, b"end", 1 << 30);
    let mut stat: stat = zeroed();
    sys!(SYS_fstat, fd, &mut stat).must();
    say!("size {}, few blocks {}", stat.st_size, stat.st_blocks < 100);
    say!("{} {}", pread(fd, 4, 12345), pread(fd, 10, 1 << 30));
}

fn seek_data_hole() {
    let fd = rw(c"f");
    pwrite(fd, &[1; 4096], 1 << 20);
    sys!(SYS_ftruncate, fd, 2 << 20).must();
    say!("data from 0 {}", lseek(fd, 0, SEEK_DATA));
    say!("hole from 0 {}", lseek(fd, 0, SEEK_HOLE));
    say!("hole after the data {}", lseek(fd, 1 << 20, SEEK_HOLE));
    say!("data in the last hole {}", lseek(fd, (1 << 20) + 4096, SEEK_DATA));
    say!("beyond the end {} {}", lseek(fd, 3 << 20, SEEK_DATA), lseek(fd, 3 << 20, SEEK_HOLE));
}

fn truncate_forms() {
    let fd = rw(c"f");
    write(fd, b"0123456789");
    say!("{} {}", sys!(SYS_ftruncate, fd, 4), pread(fd, 20, 0));
    say!("{} {}", sys!(SYS_truncate, c"f", 8), pread(fd, 20, 0));
    say!("offset stays {}", lseek(fd, 0, SEEK_CUR));
}

fn truncate_errors() {
    let fd = rw(c"f");
    say!("negative {} {}", sys!(SYS_ftruncate, fd, -1), sys!(SYS_truncate, c"f", -1));
    say!("missing {}, directory {}", sys!(SYS_truncate, c"none", 0), sys!(SYS_truncate, c".", 0));
    say!("read-only descriptor {}", sys!(SYS_ftruncate, open(c"f", O_RDONLY).fd(), 0));
    say!("bad descriptor {}", sys!(SYS_ftruncate, 99, 0));
}

fn fallocate_forms() {
    let fd = rw(c"f");
    say!("{} size {}", sys!(SYS_fallocate, fd, 0, 0, 8192), size(fd));
    say!("keep size {} {}", sys!(SYS_fallocate, fd, FALLOC_FL_KEEP_SIZE, 0, 100_000), size(fd));
    pwrite(fd, &[7; 8192], 0);
    let punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    say!("punch {}, {} {}", sys!(SYS_fallocate, fd, punch, 4096, 4096), pread(fd, 2, 4095), size(fd));
}

fn fallocate_errors() {
    let fd = rw(c"f");
    say!("zero length {}, negative {}", sys!(SYS_fallocate, fd, 0, 0, 0), sys!(SYS_fallocate, fd, 0, -1, 5));
    say!("unknown mode {}", sys!(SYS_fallocate, fd, 1 << 10, 0, 5));
    say!("punch without keep {}", sys!(SYS_fallocate, fd, FALLOC_FL_PUNCH_HOLE, 0, 5));
    let (_r, w) = pipe();
    say!("pipe {}", sys!(SYS_fallocate, w, 0, 0, 5));
    say!("too far {}", sys!(SYS_fallocate, fd, 0, i64::MAX - 1, 100));
}

fn file_size_limit() {
    handle(SIGXFSZ, 0);
    set_soft_limit(RLIMIT_FSIZE, 100).must();
    let fd = rw(c"f");
    say!("up to the limit {}", write(fd, &[0; 150]));
    say!("past it {} {}", write(fd, b"x"), caught());
    say!("truncate past it {} {}", sys!(SYS_ftruncate, fd, 101), caught());
}

fn vector(bytes: &[u8]) -> iovec {
    iovec { iov_base: bytes.as_ptr() as *mut c_void, iov_len: bytes.len() }
}

fn vectors_with_offset() {
    let fd = rw(c"f");
    say!("{}", sys!(SYS_pwritev, fd, &[vector(b"ab"), vector(b"cd")], 2, 3, 0));
    let (mut a, mut b) = ([0u8; 3], [0u8; 3]);
    let into = [iovec { iov_base: a.as_mut_ptr().cast(), iov_len: 3 }, iovec { iov_base: b.as_mut_ptr().cast(), iov_len: 3 }];
    say!("{} {} {}", sys!(SYS_preadv, fd, &into, 2, 2, 0), a.escape_ascii(), b.escape_ascii());
    say!("negative offset {}", sys!(SYS_preadv, fd, &into, 2, -2, -1));
}

fn preadv2_pwritev2() {
    let fd = rw(c"f");
    say!("{} at {}", sys!(SYS_pwritev2, fd, &[vector(b"data")], 1, -1, -1, 0), lseek(fd, 0, SEEK_CUR));
    say!("append {} {}", sys!(SYS_pwritev2, fd, &[vector(b"!")], 1, 0, 0, RWF_APPEND), pread(fd, 10, 0));
    let mut buf = [0u8; 4];
    let into = iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: 4 };
    say!("{}", sys!(SYS_preadv2, fd, &into, 1, 0, 0, 0));
    say!("unknown flag {}", sys!(SYS_preadv2, fd, &into, 1, 0, 0, 1 << 20));
}

fn copy_file_range_forms() {
    write_file(c"from", b"0123456789");
    let (from, to) = (open(c"from", O_RDONLY).fd(), rw(c"to"));
    say!("{} {}", sys!(SYS_copy_file_range, from, NULL, to, NULL, 4, 0), pread(to, 20, 0));
    let (mut in_at, mut out_at) = (6i64, 10i64);
    say!("{} in {in_at} out {out_at}", sys!(SYS_copy_file_range, from, &mut in_at, to, &mut out_at, 100, 0));
    say!("in {in_at} out {out_at} {}", pread(to, 20, 0));
    say!("descriptors at {} {}", lseek(from, 0, SEEK_CUR), lseek(to, 0, SEEK_CUR));
    say!("at the end {}", sys!(SYS_copy_file_range, from, &mut 10i64, to, NULL, 5, 0));
}

fn copy_file_range_errors() {
    write_file(c"from", b"0123456789");
    let (from, to) = (open(c"from", O_RDONLY).fd(), rw(c"to"));
    let (r, _w) = pipe();
    say!("flags {}", sys!(SYS_copy_file_range, from, NULL, to, NULL, 1, 1));
    say!("read-only target {}", sys!(SYS_copy_file_range, from, NULL, from, NULL, 1, 0));
    say!("pipe {}", sys!(SYS_copy_file_range, r, NULL, to, NULL, 1, 0));
    say!("directory {}", sys!(SYS_copy_file_range, open(c".", O_RDONLY).fd(), NULL, to, NULL, 1, 0));
    say!("append {}", sys!(SYS_copy_file_range, from, NULL, open(c"to", O_WRONLY | O_APPEND).fd(), NULL, 1, 0));
    let both = open(c"from", O_RDWR).fd();
    say!("overlap {}", sys!(SYS_copy_file_range, both, &mut 0i64, both, &mut 2i64, 5, 0));
}

fn sendfile_file_to_file() {
    write_file(c"from", &vec![b'z'; 200_000]);
    let (from, to) = (open(c"from", O_RDONLY).fd(), rw(c"to"));
    say!("{} {}", sys!(SYS_sendfile, to, from, NULL, 1 << 20), size(to));
    say!("{}", pread(to, 3, 199_998));
}

fn sendfile_errors() {
    write_file(c"from", b"abc");
    let (from, to) = (open(c"from", O_RDONLY).fd(), rw(c"to"));
    say!("target read-only {}, source write-only {}", sys!(SYS_sendfile, from, from, NULL, 1), sys!(SYS_sendfile, to, open(c"to", O_WRONLY).fd(), NULL, 1));
    say!("append {}", sys!(SYS_sendfile, open(c"to", O_WRONLY | O_APPEND).fd(), from, NULL, 1));
    say!("bad offset pointer {}", sys!(SYS_sendfile, to, from, 8, 1));
    let (a, b) = socketpair(SOCK_STREAM);
    say!("to a socket {} {}", sys!(SYS_sendfile, a, from, NULL, 10), read(b, 10));
}

fn memfd_basics() {
    let fd = sys!(SYS_memfd_create, c"name", MFD_CLOEXEC).fd();
    say!("{} {} {}", write(fd, b"memory"), pread(fd, 10, 0), sys!(SYS_fcntl, fd, F_GETFD));
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
    say!("{}", link.display());
    let mut stat: stat = zeroed();
    sys!(SYS_fstat, fd, &mut stat).must();
    say!("mode {:o}, links {}", stat.st_mode, stat.st_nlink);
    say!("bad flags {}", sys!(SYS_memfd_create, c"x", 1 << 20));
    let long = std::ffi::CString::new("n".repeat(250)).unwrap();
    say!("long name {}", sys!(SYS_memfd_create, long.as_c_str(), 0));
    say!("bad pointer {}", sys!(SYS_memfd_create, 8, 0));
}

fn memfd_seals() {
    let fd = sys!(SYS_memfd_create, c"s", MFD_ALLOW_SEALING).fd();
    write(fd, b"0123456789");
    say!("none {}", sys!(SYS_fcntl, fd, F_GET_SEALS));
    say!("shrink {}: {} {}", sys!(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_SHRINK), sys!(SYS_ftruncate, fd, 5), sys!(SYS_ftruncate, fd, 20));
    say!("grow {}: {} {}", sys!(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_GROW), sys!(SYS_ftruncate, fd, 50), pwrite(fd, b"x", 30));
    let m = map(4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    say!("write while mapped writable {}", sys!(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_WRITE));
    m.unmap();
    say!("write {}: {} {}", sys!(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_WRITE), pwrite(fd, b"x", 0), pread(fd, 3, 0));
    say!("map writable {}", sys!(SYS_mmap, 0, 4096, PROT_WRITE, MAP_SHARED, fd, 0));
    say!("seal {}: more {}", sys!(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_SEAL), sys!(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
    say!("all {}", sys!(SYS_fcntl, fd, F_GET_SEALS));
}

fn memfd_seal_errors() {
    let fd = sys!(SYS_memfd_create, c"s", 0).fd();
    say!("sealing not allowed {} {}", sys!(SYS_fcntl, fd, F_GET_SEALS), sys!(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_WRITE));
    let fd = sys!(SYS_memfd_create, c"s", MFD_ALLOW_SEALING).fd();
    say!("unknown {}", sys!(SYS_fcntl, fd, F_ADD_SEALS, 1 << 12));
    let path = std::ffi::CString::new(format!("/proc/self/fd/{fd}")).unwrap();
    say!("read-only descriptor {}", sys!(SYS_fcntl, open(&path, O_RDONLY).fd(), F_ADD_SEALS, F_SEAL_WRITE));
    say!("pipe {}", sys!(SYS_fcntl, pipe().0, F_GET_SEALS));
}

fn fsync_family() {
    let fd = rw(c"f");
    write(fd, b"x");
    say!("{} {} {}", sys!(SYS_fsync, fd), sys!(SYS_fdatasync, fd), sys!(SYS_syncfs, fd));
    say!("directory {}", sys!(SYS_fsync, open(c".", O_RDONLY).fd()));
    say!("bad {} {}", sys!(SYS_fsync, 99), sys!(SYS_syncfs, 99));
}

fn sync_file_range_and_fadvise() {
    let fd = rw(c"f");
    say!("{}", sys!(SYS_sync_file_range, fd, 0, 0, 7));
    say!("bad flags {}", sys!(SYS_sync_file_range, fd, 0, 0, 8));
    say!("advice {} unknown {}", sys!(SYS_fadvise64, fd, 0, 0, POSIX_FADV_SEQUENTIAL), sys!(SYS_fadvise64, fd, 0, 0, 77));
    say!("pipe {}", sys!(SYS_fadvise64, pipe().0, 0, 0, 0));
}

fn large_offsets() {
    let fd = rw(c"f");
    say!("{} {}", pwrite(fd, b"x", 5 << 30), size(fd));
    say!("{}", pread(fd, 2, (5 << 30) - 1));
}

fn write_beyond_end_zero_fills() {
    let fd = rw(c"f");
    write(fd, b"ab");
    pwrite(fd, b"yz", 6);
    say!("{}", pread(fd, 20, 0));
}

fn readahead_and_zero_length() {
    let fd = rw(c"f");
    write(fd, b"abc");
    say!("readahead {}", sys!(SYS_readahead, fd, 0, 4096));
    say!("read 0 {}, write 0 {}", pread(fd, 0, 0), write(fd, b""));
    say!("zero length from a bad address {}", sys!(SYS_write, fd, 8, 0));
    say!("count beyond SSIZE_MAX {}", sys!(SYS_read, fd, &mut [0u8; 1], u64::MAX));
}

fn concurrent_positions_are_shared() {
    let fd = rw(c"f");
    let threads: Vec<_> = (0..4u8).map(|i| std::thread::spawn(move || (0..50).for_each(|_| unused(write(fd, &[b'a' + i; 10]))))).collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    let bytes = pread(fd, 4000, 0).0.unwrap();
    say!("{} bytes, whole writes {}", bytes.len(), bytes.chunks(10).all(|c| c.iter().all(|b| *b == c[0])));
}

fn ficlone_bad_source() {
    say!("{}", sys!(SYS_ioctl, rw(c"b"), FICLONE, 99));
}

fn write_clears_set_id() {
    sys!(SYS_chmod, c".", 0o777).must();
    write_file(c"f", b"x");
    sys!(SYS_chmod, c"f", 0o6777).must();
    let mode = || {
        let mut stat: stat = zeroed();
        sys!(SYS_stat, c"f", &mut stat).must();
        format!("{:o}", stat.st_mode)
    };
    say!("{}", mode());
    fork(|| {
        sys!(SYS_setresgid, 4321, 4321, 4321).must();
        sys!(SYS_setresuid, 4321, 4321, 4321).must();
        write(open(c"f", O_WRONLY).fd(), b"y");
        0
    })
    .wait();
    say!("after a write by another {}", mode());
}

fn deleted_file_still_works() {
    let fd = rw(c"f");
    sys!(SYS_unlink, c"f").must();
    write(fd, b"nameless");
    let mut stat: stat = zeroed();
    sys!(SYS_fstat, fd, &mut stat).must();
    say!("{} links {}", pread(fd, 10, 0), stat.st_nlink);
    say!("a new file of that name {}", pread(rw(c"f"), 10, 0));
}

fn append_and_truncate() {
    let fd = open(c"f", O_RDWR | O_CREAT | O_APPEND).fd();
    write(fd, b"12345");
    sys!(SYS_ftruncate, fd, 2).must();
    write(fd, b"ab");
    say!("{}", pread(fd, 20, 0));
}

fn iov_partial_fault() {
    let fd = rw(c"f");
    let parts = [vector(b"good"), iovec { iov_base: 8 as *mut c_void, iov_len: 4 }];
    say!("first part only {}", sys!(SYS_writev, fd, &parts, 2));
    let parts = [iovec { iov_base: 8 as *mut c_void, iov_len: 4 }, vector(b"good")];
    say!("nothing {}", sys!(SYS_writev, fd, &parts, 2));
    say!("bad vector {}", sys!(SYS_writev, fd, 8, 2));
}
