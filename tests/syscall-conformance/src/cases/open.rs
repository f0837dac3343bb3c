//! Opening files: flags, modes, errnos, descriptors and their flags.

use crate::prelude::*;

cases![
    open_errors, open_creates_with_umask, open_excl, open_trunc, open_directory_flag, open_nofollow, open_path_only, open_tmpfile,
    open_tmpfile_linked, open_append, open_cloexec_and_flags, access_modes_enforced, lowest_descriptor, dup_family, fcntl_getfl_setfl,
    close_errors, close_range_forms, descriptor_limit, openat_relative, openat2_resolve, openat2_errors, path_too_long_and_trailing_slash,
    symlink_resolution, creat_call, open_deleted_through_proc, access_checks, faccessat2_forms, chdir_and_getcwd, fchdir_deleted_directory,
    chroot_confines, name_to_handle, umask_returns_old,
];

fn open_errors() {
    say!("missing: {}", open(c"none", O_RDONLY));
    touch(c"f");
    say!("below a file: {}", open(c"f/x", O_RDONLY));
    say!("directory for writing: {}", open(c".", O_WRONLY));
    say!("bad pointer: {}", sys!(SYS_open, 8, O_RDONLY, 0));
    say!("empty: {}", open(c"", O_RDONLY));
    say!("missing directory: {}", open(c"none/f", O_CREAT | O_WRONLY));
    say!("create a directory name: {}", open(c"new/", O_CREAT | O_WRONLY));
    say!("O_DIRECTORY and O_CREAT: {}", open(c"newdir", O_CREAT | O_DIRECTORY));
    say!("bad directory descriptor: {}", sys!(SYS_openat, 99, c"f", O_RDONLY, 0));
    say!("absolute ignores it: {}", sys!(SYS_openat, 99, c"/", O_RDONLY, 0).ok());
}

fn mode_of(path: &std::ffi::CStr) -> u32 {
    let mut stat: stat = zeroed();
    sys!(SYS_newfstatat, AT_FDCWD, path, &mut stat, AT_SYMLINK_NOFOLLOW).must();
    stat.st_mode
}

fn open_creates_with_umask() {
    sys!(SYS_umask, 0o27);
    sys!(SYS_openat, AT_FDCWD, c"f", O_CREAT | O_RDWR, 0o777).must();
    say!("{:o}", mode_of(c"f"));
    sys!(SYS_umask, 0);
    sys!(SYS_openat, AT_FDCWD, c"g", O_CREAT | O_RDWR, 0o7777).must();
    say!("{:o}", mode_of(c"g"));
    let fd = sys!(SYS_openat, AT_FDCWD, c"h", O_CREAT | O_RDWR, 0).fd();
    say!("mode 0 but open: {} {:o}", write(fd, b"x"), mode_of(c"h"));
}

fn open_excl() {
    say!("{}", open(c"f", O_CREAT | O_EXCL | O_WRONLY).ok());
    say!("{}", open(c"f", O_CREAT | O_EXCL | O_WRONLY));
    sys!(SYS_symlinkat, c"nowhere", AT_FDCWD, c"link").must();
    say!("dangling link: {}", open(c"link", O_CREAT | O_EXCL | O_WRONLY));
    say!("dangling link without EXCL: {}", open(c"link", O_CREAT | O_WRONLY).ok());
    say!("created its target: {:o}", mode_of(c"nowhere"));
}

fn open_trunc() {
    write_file(c"f", b"content");
    open(c"f", O_WRONLY | O_TRUNC).must();
    say!("{}", read(open(c"f", O_RDONLY).fd(), 10));
    write_file(c"f", b"content");
    open(c"f", O_RDONLY | O_CREAT).must();
    say!("{}", read(open(c"f", O_RDONLY).fd(), 10));
}

fn open_directory_flag() {
    touch(c"f");
    say!("file: {}", open(c"f", O_RDONLY | O_DIRECTORY));
    say!("directory: {}", open(c".", O_RDONLY | O_DIRECTORY).ok());
    let fd = open(c".", O_RDONLY).fd();
    say!("read: {}, write: {}", read(fd, 1), write(fd, b"x"));
}

fn open_nofollow() {
    touch(c"f");
    sys!(SYS_symlinkat, c"f", AT_FDCWD, c"link").must();
    say!("{}", open(c"link", O_RDONLY | O_NOFOLLOW));
    say!("with O_PATH: {}", open(c"link", O_PATH | O_NOFOLLOW).ok());
    say!("with O_DIRECTORY: {}", open(c"link", O_RDONLY | O_NOFOLLOW | O_DIRECTORY));
    sys!(SYS_mkdir, c"d", 0o755).must();
    touch(c"d/f");
    sys!(SYS_symlinkat, c"d", AT_FDCWD, c"dlink").must();
    say!("only the last component counts: {}", open(c"dlink/f", O_RDONLY | O_NOFOLLOW).ok());
}

fn open_path_only() {
    write_file(c"f", b"x");
    let fd = open(c"f", O_PATH).fd();
    say!("read {}, write {}, seek {}", read(fd, 1), write(fd, b"x"), lseek(fd, 0, SEEK_SET));
    say!("ftruncate {}, fchmod {}, ioctl {}", sys!(SYS_ftruncate, fd, 0), sys!(SYS_fchmod, fd, 0), sys!(SYS_ioctl, fd, FIONREAD, NULL));
    let mut stat: stat = zeroed();
    say!("fstat {} size {}", sys!(SYS_fstat, fd, &mut stat), stat.st_size);
    say!("flags {:#o}", sys!(SYS_fcntl, fd, F_GETFL).0);
    say!("dup {}", sys!(SYS_dup, fd).ok());
    let path = std::ffi::CString::new(format!("/proc/self/fd/{fd}")).unwrap();
    say!("reopened through /proc: {}", read(open(&path, O_RDONLY).fd(), 5));
    sys!(SYS_chmod, c"f", 0).must();
    say!("needs no permission: {}", open(c"f", O_PATH).ok());
}

fn open_tmpfile() {
    let fd = sys!(SYS_openat, AT_FDCWD, c".", O_TMPFILE | O_RDWR, 0o600).fd();
    write(fd, b"nameless");
    let mut stat: stat = zeroed();
    sys!(SYS_fstat, fd, &mut stat).must();
    say!("{} links, mode {:o}, {}", stat.st_nlink, stat.st_mode, pread(fd, 20, 0));
    say!("directory is empty: {}", std::fs::read_dir(".").unwrap().count());
    say!("read-only: {}", sys!(SYS_openat, AT_FDCWD, c".", O_TMPFILE | O_RDONLY, 0o600));
    touch(c"f");
    say!("on a file: {}", sys!(SYS_openat, AT_FDCWD, c"f", O_TMPFILE | O_RDWR, 0o600));
}

fn open_tmpfile_linked() {
    let fd = sys!(SYS_openat, AT_FDCWD, c".", O_TMPFILE | O_RDWR, 0o600).fd();
    write(fd, b"named now");
    let path = std::ffi::CString::new(format!("/proc/self/fd/{fd}")).unwrap();
    say!("{}", sys!(SYS_linkat, AT_FDCWD, path.as_c_str(), AT_FDCWD, c"name", AT_SYMLINK_FOLLOW));
    say!("{}", read(open(c"name", O_RDONLY).fd(), 20));
    let excl = sys!(SYS_openat, AT_FDCWD, c".", O_TMPFILE | O_RDWR | O_EXCL, 0o600).fd();
    let path = std::ffi::CString::new(format!("/proc/self/fd/{excl}")).unwrap();
    say!("O_EXCL: {}", sys!(SYS_linkat, AT_FDCWD, path.as_c_str(), AT_FDCWD, c"other", AT_SYMLINK_FOLLOW));
}

fn open_append() {
    write_file(c"f", b"start");
    let fd = open(c"f", O_RDWR | O_APPEND).fd();
    lseek(fd, 0, SEEK_SET);
    write(fd, b"-end");
    say!("{} at {}", pread(fd, 20, 0), lseek(fd, 0, SEEK_CUR));
    say!("pwrite appends too: {}", sys!(SYS_pwrite64, fd, &b"!"[..], 1, 0));
    say!("{}", pread(fd, 20, 0));
    let children: Vec<Child> = (0..4).map(|_| fork(|| (0..25).map(|_| i32::from(write(fd, b"0123456789").0 != 10)).sum())).collect();
    say!("{}", children.into_iter().all(|c| c.wait().to_string() == "exited 0"));
    say!("nothing overwritten: {}", lseek(fd, 0, SEEK_END));
}

fn open_cloexec_and_flags() {
    touch(c"f");
    say!("{}", sys!(SYS_fcntl, open(c"f", O_RDONLY | O_CLOEXEC).fd(), F_GETFD));
    let fd = open(c"f", O_RDWR | O_APPEND | O_NONBLOCK | O_SYNC | O_NOATIME | O_CREAT | O_TRUNC).fd();
    say!("{:#o}", sys!(SYS_fcntl, fd, F_GETFL).0);
    say!("O_RDONLY {:#o}", sys!(SYS_fcntl, open(c"f", O_RDONLY).fd(), F_GETFL).0);
}

fn access_modes_enforced() {
    write_file(c"f", b"data");
    let (r, w) = (open(c"f", O_RDONLY).fd(), open(c"f", O_WRONLY).fd());
    say!("write to read-only {}, read from write-only {}", write(r, b"x"), read(w, 1));
    say!("ftruncate read-only {}, fallocate {}", sys!(SYS_ftruncate, r, 0), sys!(SYS_fallocate, r, 0, 0, 10));
    let odd = open(c"f", O_ACCMODE).fd();
    say!("access mode 3: {} {}", read(odd, 1), write(odd, b"x"));
}

fn lowest_descriptor() {
    let fds: Vec<i32> = (0..5).map(|_| open(c"/dev/null", O_RDONLY).fd()).collect();
    close(fds[1]);
    close(fds[3]);
    say!("{}", open(c"/dev/null", O_RDONLY).fd() == fds[1]);
    say!("{}", sys!(SYS_dup, 0).fd() == fds[3]);
    say!("{}", pipe().0 > fds[4]);
}

fn dup_family() {
    let fd = open(c"f", O_RDWR | O_CREAT).fd();
    say!("dup2 {}, onto itself {}", sys!(SYS_dup2, fd, 50), sys!(SYS_dup2, fd, fd).0 == i64::from(fd));
    write(50, b"shared");
    say!("one offset {}", lseek(fd, 0, SEEK_CUR));
    say!("bad source {}, bad target {}", sys!(SYS_dup2, 99, 1), sys!(SYS_dup2, fd, -1));
    say!("dup3 same {}, bad flags {}", sys!(SYS_dup3, fd, fd, 0), sys!(SYS_dup3, fd, 60, 1));
    say!("dup3 cloexec {} {}", sys!(SYS_dup3, fd, 60, O_CLOEXEC), sys!(SYS_fcntl, 60, F_GETFD));
    say!("F_DUPFD from 70: {}, from 1 << 30: {}", sys!(SYS_fcntl, fd, F_DUPFD, 70), sys!(SYS_fcntl, fd, F_DUPFD, 1 << 30));
    say!("dup of nothing {}", sys!(SYS_dup, 99));
}

fn fcntl_getfl_setfl() {
    let fd = open(c"f", O_RDWR | O_CREAT).fd();
    say!("{}", sys!(SYS_fcntl, fd, F_SETFL, O_APPEND | O_NONBLOCK | O_RDONLY | O_CREAT));
    say!("{:#o}", sys!(SYS_fcntl, fd, F_GETFL).0);
    let twin = sys!(SYS_dup, fd).fd();
    sys!(SYS_fcntl, twin, F_SETFL, 0).must();
    say!("shared with the twin: {:#o}", sys!(SYS_fcntl, fd, F_GETFL).0);
    say!("descriptor flags are not: {} {}", sys!(SYS_fcntl, fd, F_SETFD, 1), sys!(SYS_fcntl, twin, F_GETFD));
    say!("unknown command {}, bad descriptor {}", sys!(SYS_fcntl, fd, 9999, 0), sys!(SYS_fcntl, 99, F_GETFL));
}

fn close_errors() {
    let fd = open(c"/dev/null", O_RDONLY).fd();
    say!("{} {} {}", close(fd), close(fd), close(-1));
}

fn close_range_forms() {
    let open_many = || (20..30).for_each(|fd| unused(sys!(SYS_dup2, 0, fd)));
    let open_count = || (20..30).filter(|&fd| sys!(SYS_fcntl, fd, F_GETFD).get().is_ok()).count();
    open_many();
    say!("{}, left {}", sys!(SYS_close_range, 22, 25, 0), open_count());
    say!("CLOEXEC {}, left {}, flag {}", sys!(SYS_close_range, 26, 27, 4), open_count(), sys!(SYS_fcntl, 26, F_GETFD));
    say!("to the end {}, left {}", sys!(SYS_close_range, 20, u32::MAX, 0), open_count());
    say!("first after last {}, bad flags {}", sys!(SYS_close_range, 5, 4, 0), sys!(SYS_close_range, 20, 21, 64));
}

fn descriptor_limit() {
    set_soft_limit(RLIMIT_NOFILE, 20).must();
    let mut last = 0;
    let refused = loop {
        match open(c"/dev/null", O_RDONLY).get() {
            Ok(fd) => last = fd,
            Err(errno) => break errno,
        }
    };
    say!("last {last}, then {refused:?}");
    say!("pipe {}, dup {}, socket {}", sys!(SYS_pipe2, &mut [0i32; 2], 0), sys!(SYS_dup, 0), sys!(SYS_socket, AF_UNIX, SOCK_STREAM, 0));
    say!("dup2 beyond {}, F_DUPFD beyond {}", sys!(SYS_dup2, 0, 20), sys!(SYS_fcntl, 0, F_DUPFD, 20));
}

fn openat_relative() {
    sys!(SYS_mkdir, c"d", 0o755).must();
    let dir = open(c"d", O_RDONLY | O_DIRECTORY).fd();
    say!("{}", sys!(SYS_openat, dir, c"inside", O_CREAT | O_WRONLY, 0o644).ok());
    say!("{}", sys!(SYS_access, c"d/inside", F_OK));
    let path_only = open(c"d", O_PATH).fd();
    say!("below O_PATH: {}", sys!(SYS_openat, path_only, c"inside", O_RDONLY, 0).ok());
    let file = open(c"d/inside", O_RDONLY).fd();
    say!("below a file: {}", sys!(SYS_openat, file, c"x", O_RDONLY, 0));
    sys!(SYS_rename, c"d", c"e").must();
    say!("after the directory moved: {}", sys!(SYS_openat, dir, c"inside", O_RDONLY, 0).ok());
    say!("its parent: {}", sys!(SYS_openat, dir, c"../e/inside", O_RDONLY, 0).ok());
}

fn openat2(dir: i32, path: &std::ffi::CStr, flags: i32, resolve: u64) -> Ret {
    sys!(SYS_openat2, dir, path, &[flags as u64, 0, resolve], 24)
}

fn openat2_resolve() {
    let (no_xdev, no_magic, no_symlinks, beneath, in_root) = (1, 2, 4, 8, 16);
    sys!(SYS_mkdir, c"d", 0o755).must();
    touch(c"d/f");
    touch(c"outside");
    sys!(SYS_symlinkat, c"f", AT_FDCWD, c"d/link").must();
    sys!(SYS_symlinkat, c"/f", AT_FDCWD, c"d/absolute").must();
    sys!(SYS_symlinkat, c"../outside", AT_FDCWD, c"d/up").must();
    let dir = open(c"d", O_PATH).fd();
    say!("plain {}", openat2(dir, c"../outside", O_RDONLY, 0).ok());
    for (what, resolve) in [("NO_SYMLINKS", no_symlinks), ("BENEATH", beneath), ("IN_ROOT", in_root)] {
        let all = [c"f", c"link", c"absolute", c"up", c"../outside", c"/f"].map(|path| openat2(dir, path, O_RDONLY, resolve).ok());
        say!("{what}: {}", all.join(" "));
    }
    say!("magic link {}", openat2(AT_FDCWD, c"/proc/self/fd/0", O_RDONLY, no_magic));
    say!("other file system {}", openat2(AT_FDCWD, c"/proc/self", O_RDONLY, no_xdev));
}

fn openat2_errors() {
    touch(c"f");
    let how = [0u64; 8];
    say!("too short {}", sys!(SYS_openat2, AT_FDCWD, c"f", &how, 16));
    say!("longer but zero {}", sys!(SYS_openat2, AT_FDCWD, c"f", &how, 64).ok());
    let mut unknown = how;
    unknown[5] = 1;
    say!("longer and not zero {}", sys!(SYS_openat2, AT_FDCWD, c"f", &unknown, 64));
    say!("unknown flag {}", sys!(SYS_openat2, AT_FDCWD, c"f", &[1u64 << 40, 0, 0], 24));
    say!("unknown resolve {}", openat2(AT_FDCWD, c"f", O_RDONLY, 1 << 20));
    say!("mode without O_CREAT {}", sys!(SYS_openat2, AT_FDCWD, c"f", &[0u64, 0o644, 0], 24));
    say!("bad mode bits {}", sys!(SYS_openat2, AT_FDCWD, c"g", &[O_CREAT as u64, 0o1_000_000, 0], 24));
    say!("BENEATH and IN_ROOT {}", openat2(AT_FDCWD, c"f", O_RDONLY, 8 | 16));
}

fn path_too_long_and_trailing_slash() {
    let c = |s: String| std::ffi::CString::new(s).unwrap();
    say!("name of 255 {}", open(&c("a".repeat(255)), O_CREAT | O_WRONLY).ok());
    say!("name of 256 {}", open(&c("a".repeat(256)), O_CREAT | O_WRONLY));
    say!("path of 4095 {}", open(&c("./".repeat(2047) + "f"), O_RDONLY));
    say!("path of 4097 {}", open(&c("./".repeat(2048) + "f"), O_RDONLY));
    touch(c"f");
    say!("file with slash {}, many slashes {}", open(c"f/", O_RDONLY), open(c".////f", O_RDONLY).ok());
    say!("dot at the end {}", open(c"f/.", O_RDONLY));
}

fn symlink_resolution() {
    write_file(c"f", b"target");
    sys!(SYS_symlinkat, c"f", AT_FDCWD, c"l0").must();
    for i in 1..=41 {
        let c = |s: String| std::ffi::CString::new(s).unwrap();
        sys!(SYS_symlinkat, c(format!("l{}", i - 1)).as_c_str(), AT_FDCWD, c(format!("l{i}")).as_c_str()).must();
    }
    say!("40 links {}, 41 links {}", open(c"l39", O_RDONLY).ok(), open(c"l40", O_RDONLY));
    sys!(SYS_symlinkat, c"self", AT_FDCWD, c"self").must();
    say!("loop {}", open(c"self", O_RDONLY));
    sys!(SYS_mkdir, c"d", 0o755).must();
    sys!(SYS_symlinkat, c"../f", AT_FDCWD, c"d/up").must();
    sys!(SYS_symlinkat, c"d", AT_FDCWD, c"dl").must();
    say!("relative to where the link is {}", read(open(c"dl/up", O_RDONLY).fd(), 10));
    say!("dot dot after a link {}", open(c"dl/../f", O_RDONLY).ok());
}

fn creat_call() {
    let fd = sys!(SYS_creat, c"f", 0o600).fd();
    say!("{:o} {:#o}", mode_of(c"f"), sys!(SYS_fcntl, fd, F_GETFL).0);
}

fn open_deleted_through_proc() {
    write_file(c"f", b"ghost");
    let fd = open(c"f", O_RDONLY).fd();
    sys!(SYS_unlink, c"f").must();
    let path = format!("/proc/self/fd/{fd}");
    let link = std::fs::read_link(&path).unwrap();
    say!("{}", link.to_str().unwrap().ends_with("/f (deleted)"));
    say!("{}", read(open(&std::ffi::CString::new(path).unwrap(), O_RDONLY).fd(), 10));
}

fn access_checks() {
    write_file(c"f", b"");
    sys!(SYS_chmod, c".", 0o755).must();
    sys!(SYS_chmod, c"f", 0o600).must();
    say!("root: R {} X {}", sys!(SYS_access, c"f", R_OK), sys!(SYS_access, c"f", X_OK));
    say!("missing {}, bad mode {}", sys!(SYS_access, c"none", F_OK), sys!(SYS_access, c"f", 8));
    fork(|| {
        sys!(SYS_setresuid, -1, 4321, -1).must();
        say!("effective other, real root: access {}, open {}", sys!(SYS_access, c"f", R_OK), open(c"f", O_RDONLY).ok());
        say!("AT_EACCESS {}", sys!(SYS_faccessat2, AT_FDCWD, c"f", R_OK, AT_EACCESS));
        0
    })
    .wait();
}

fn faccessat2_forms() {
    touch(c"f");
    sys!(SYS_symlinkat, c"none", AT_FDCWD, c"dangling").must();
    say!("follow {}", sys!(SYS_faccessat2, AT_FDCWD, c"dangling", F_OK, 0));
    say!("nofollow {}", sys!(SYS_faccessat2, AT_FDCWD, c"dangling", F_OK, AT_SYMLINK_NOFOLLOW));
    let fd = open(c"f", O_PATH).fd();
    say!("empty path {}", sys!(SYS_faccessat2, fd, c"", R_OK, AT_EMPTY_PATH));
    say!("bad flags {}", sys!(SYS_faccessat2, AT_FDCWD, c"f", F_OK, 1));
}

fn chdir_and_getcwd() {
    sys!(SYS_mkdir, c"a-directory", 0o755).must();
    say!("{}", sys!(SYS_chdir, c"a-directory"));
    let mut buf = [0u8; 4096];
    let len = sys!(SYS_getcwd, &mut buf, 4096).must() as usize;
    say!("{}", buf[..len].ends_with(b"/a-directory\0"));
    say!("too small {}", sys!(SYS_getcwd, &mut buf, 3));
    say!("bad pointer {}", sys!(SYS_getcwd, 8, 4096));
    touch(c"f");
    say!("file {}, missing {}", sys!(SYS_chdir, c"f"), sys!(SYS_chdir, c"none"));
    say!("fchdir to a file {}", sys!(SYS_fchdir, open(c"f", O_RDONLY).fd()));
}

fn fchdir_deleted_directory() {
    sys!(SYS_mkdir, c"d", 0o755).must();
    sys!(SYS_chdir, c"d").must();
    sys!(SYS_rmdir, c"../d").must();
    say!("getcwd {}", sys!(SYS_getcwd, &mut [0u8; 4096], 4096));
    say!("create {}", open(c"f", O_CREAT | O_WRONLY));
    say!("up {}", sys!(SYS_chdir, c".."));
}

fn chroot_confines() {
    sys!(SYS_mkdir, c"jail", 0o755).must();
    touch(c"jail/inside");
    touch(c"outside");
    let before = open(c".", O_RDONLY).fd();
    say!("{}", fork(|| {
        say!("chroot {}, chdir {}", sys!(SYS_chroot, c"jail"), sys!(SYS_chdir, c"/"));
        say!("inside {}, dot dot stays {}", sys!(SYS_access, c"/inside", F_OK), sys!(SYS_access, c"/../../inside", F_OK));
        say!("outside {}", sys!(SYS_access, c"../outside", F_OK));
        say!("through an old descriptor {}", sys!(SYS_faccessat, before, c"outside", F_OK));
        let mut buf = [0u8; 64];
        let len = sys!(SYS_getcwd, &mut buf, 64).must() as usize;
        say!("getcwd {}", buf[..len].escape_ascii());
        0
    })
    .wait());
    say!("to a file {}, missing {}", sys!(SYS_chroot, c"outside"), sys!(SYS_chroot, c"none"));
    fork(|| {
        sys!(SYS_setresuid, 4321, 4321, 4321).must();
        say!("without privilege {}", sys!(SYS_chroot, c"/"));
        0
    })
    .wait();
}

fn name_to_handle() {
    let mut handle = [0u32; 40];
    let mut mount = 0i32;
    say!("no room {}", sys!(SYS_name_to_handle_at, AT_FDCWD, c"none", &mut handle, &mut mount, 0));
    say!("bad flags {}", sys!(SYS_name_to_handle_at, AT_FDCWD, c".", &mut handle, &mut mount, 64));
}

fn umask_returns_old() {
    sys!(SYS_umask, 0o22);
    say!("{:o}", sys!(SYS_umask, 0o7777).0);
    say!("{:o}", sys!(SYS_umask, 0).0);
}
