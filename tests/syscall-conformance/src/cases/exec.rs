//! execve: what is kept, what is reset, and the errno for what cannot run.

use std::ffi::CStr;
use std::process::ExitCode;

use crate::host::{action_of, stack_address};
use crate::prelude::*;

cases![
    exec_args_and_env, exec_strings_at_page_ends, exec_missing_and_not_executable, exec_formats, exec_scripts, exec_script_nesting, exec_argument_limits, exec_cloexec,
    exec_resets_handlers_keeps_ignored, exec_keeps_mask_and_pending, exec_kills_other_threads, exec_from_other_thread_keeps_pid,
    exec_keeps_pid_directory_umask, execveat_forms, exec_deleted_and_memfd, exec_text_busy, exec_auxv, exec_empty_argv,
    exec_set_user_id_ids, exec_resets_name_and_dumpable,
];

const SELF: &CStr = c"/proc/self/exe";

/// Forks, executes one of the helpers below, and says how that ended.
fn helper(name: &CStr) -> String {
    fork(|| {
        say!("exec: {}", exec(SELF, &[c"cases", c"--helper", name], &[]));
        99
    })
    .wait()
    .to_string()
}

/// The programs that the cases here start: `conformance-cases --helper NAME`.
pub(crate) fn run_helper(name: &str) -> ExitCode {
    match name {
        "args" => {
            say!("args {:?}", std::env::args().skip(3).collect::<Vec<_>>());
            let mut vars: Vec<_> = std::env::vars().collect();
            vars.sort();
            say!("env {vars:?}");
        }
        "signals" => {
            let actions = [SIGUSR1, SIGUSR2].map(|signal| action_of(signal).map(|(handler, _)| handler));
            say!("USR1 and USR2 {actions:?}, mask {}, pending {}", mask(), pending());
        }
        "fds" => {
            for fd in 3..12 {
                let flags = sys!(SYS_fcntl, fd, F_GETFD);
                if flags.get().is_ok() {
                    say!("fd {fd} is open, flags {flags}");
                }
            }
        }
        "threads" => say!("tasks {}", std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)),
        "pid" => {
            let told = std::env::var("TOLD").unwrap_or_default();
            say!("pid kept {}, main thread {}", told == getpid().to_string(), getpid() == gettid());
        }
        "place" => {
            touch(c"made-here");
            say!("umask {:o}", sys!(SYS_umask, 0).0);
        }
        "auxv" => show_auxv(),
        "name" => {
            let mut name = [0u8; 16];
            sys!(SYS_prctl, PR_GET_NAME, &mut name, 0, 0, 0).must();
            say!("name {}, dumpable {}", name.escape_ascii(), sys!(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0));
        }
        "ids" => {
            let (mut real, mut effective, mut saved) = (0u32, 0u32, 0u32);
            sys!(SYS_getresuid, &mut real, &mut effective, &mut saved).must();
            say!("uids {real} {effective} {saved}, secure {}", auxv(AT_SECURE));
        }
        other => say!("no helper is called {other}"),
    }
    ExitCode::from(21)
}

fn auxv(key: u64) -> u64 {
    crate::host::auxiliary(key)
}

fn show_auxv() {
    say!("page size {}, clock ticks {}", auxv(AT_PAGESZ), auxv(AT_CLKTCK));
    say!("phent {}, flags {}, secure {}", auxv(AT_PHENT), auxv(AT_FLAGS), auxv(AT_SECURE));
    say!("ids match {}", auxv(AT_UID) == sys!(SYS_getuid).0 as u64 && auxv(AT_EGID) == sys!(SYS_getegid).0 as u64);
    say!("has phdr, entry, random, execfn: {}", [AT_PHDR, AT_ENTRY, AT_RANDOM, AT_EXECFN].iter().all(|&key| auxv(key) != 0));
    let stack = stack_address() as u64;
    say!("random bytes near the stack {}", auxv(AT_RANDOM).abs_diff(stack) < 16 << 20);
}

fn exec_args_and_env() {
    fork(|| {
        exec(SELF, &[c"cases", c"--helper", c"args", c"one", c"", c"thr ee"], &[c"B=2", c"A=1", c"EMPTY="]).must();
        0
    })
    .wait();
}

/// Memory of three pages, the third of which is gone; `/bin/echo`'s arguments are written to its end.
fn exec_strings_at_page_ends() {
    let pages = map_anon(3 * PAGE);
    sys!(SYS_munmap, pages.addr + 2 * PAGE, PAGE).must();
    let end = 2 * PAGE;
    let array = |at: usize, strings: &[usize]| {
        for (index, string) in strings.iter().chain([&0]).enumerate() {
            pages.put(at + index * 8, &(*string).to_ne_bytes());
        }
        pages.addr + at
    };
    let text = |at: usize, string: &[u8]| {
        pages.put(at, string);
        pages.addr + at
    };
    let run = |argv: usize| {
        let child = fork(|| {
            say!("{}", sys!(SYS_execve, c"/bin/echo", argv, 0));
            1
        });
        say!("{}", child.wait());
    };
    let name = text(0, b"echo\0");
    let across = text(PAGE - 2, b"across\0");
    let last = text(end - 5, b"last\0");
    let unended = text(end - 9, b"xyz\0").wrapping_add(4);
    say!("strings across and at the end");
    run(array(16, &[name, across, last, across, name]));
    say!("the array at the end");
    run(array(end - 64 - 24, &[name, across]));
    say!("the array across, unaligned");
    run(array(PAGE - 13 - 8 * 4, &[name, name, name, name, name]));
    pages.put(end - 5, b"xxxxx");
    say!("a string without an end");
    run(array(16, &[name, unended]));
    say!("an array without an end");
    pages.put(end - 16, &name.to_ne_bytes());
    pages.put(end - 8, &name.to_ne_bytes());
    run(pages.addr + end - 16);
    say!("an array whose last pointer is cut off");
    run(pages.addr + end - 12);
    say!("a pointer to nothing");
    run(array(16, &[name, pages.addr + end]));
    say!("a pointer beyond user space");
    run(array(16, &[name, 0xffff_8000_0000_0000]));
}

fn exec_missing_and_not_executable() {
    say!("missing: {}", exec(c"no-such-file", &[c"x"], &[]));
    write_file(c"plain", b"#!/bin/sh\n");
    say!("no x bit: {}", exec(c"./plain", &[c"x"], &[]));
    sys!(SYS_mkdir, c"dir", 0o755).must();
    say!("directory: {}", exec(c"./dir", &[c"x"], &[]));
    say!("below a file: {}", exec(c"./plain/x", &[c"x"], &[]));
    sys!(SYS_symlinkat, c"loop", AT_FDCWD, c"loop").must();
    say!("symlink loop: {}", exec(c"./loop", &[c"x"], &[]));
    say!("bad path pointer: {}", sys!(SYS_execve, 8, 0, 0));
    say!("bad argv pointer: {}", sys!(SYS_execve, SELF, 8, 0));
    say!("device: {}", exec(c"/dev/null", &[c"x"], &[]));
    let long = std::ffi::CString::new(vec![b'a'; 300]).unwrap();
    say!("name too long: {}", exec(&long, &[c"x"], &[]));
}

fn write_program(path: &CStr, bytes: &[u8]) {
    write_file(path, bytes);
    sys!(SYS_chmod, path, 0o755).must();
}

fn exec_formats() {
    let own = std::fs::read("/proc/self/exe").unwrap();
    let variants: [(&str, Vec<u8>); 8] = [
        ("empty", vec![]),
        ("text", b"hello world, this is no program".to_vec()),
        ("ELF magic only", b"\x7fELF".to_vec()),
        ("header cut short", own[..40].to_vec()),
        ("32-bit class", [&own[..4], &[1], &own[5..64]].concat()),
        ("other machine", [&own[..18], &[0x28, 0], &own[20..4096]].concat()),
        ("core file type", [&own[..16], &[4, 0], &own[18..4096]].concat()),
        ("odd phentsize", [&own[..54], &[1, 0], &own[56..4096]].concat()),
    ];
    for (what, bytes) in variants {
        write_program(c"program", &bytes);
        say!("{what}: {}", fork(|| i32::from(exec(c"./program", &[c"x"], &[]).0 == -i64::from(ENOEXEC))).wait());
    }
}

fn exec_scripts() {
    write_program(c"script", b"#!/bin/sh\necho script \"$0\" \"$@\"\nexit 5\n");
    say!("{}", fork(|| exec(c"./script", &[c"ignored", c"a b", c"c"], &[c"PATH=/bin:/usr/bin"]).0 as i32).wait());
    write_program(c"script", b"#! /bin/echo  one two \nrest\n");
    say!("{}", fork(|| exec(c"./script", &[c"ignored", c"a"], &[]).0 as i32).wait());
    write_program(c"script", b"#!/no/such/interpreter\n");
    say!("missing interpreter: {}", exec(c"./script", &[c"x"], &[]));
    write_program(c"script", b"#!\n");
    say!("empty interpreter: {}", exec(c"./script", &[c"x"], &[]));
    write_program(c"script", b"#!/etc\n");
    say!("directory as interpreter: {}", exec(c"./script", &[c"x"], &[]));
    write_program(c"script", b"#!/bin/echo no newline");
    say!("{}", fork(|| exec(c"./script", &[c"x"], &[]).0 as i32).wait());
}

fn exec_script_nesting() {
    write_program(c"s0", b"#!/bin/echo nested\n");
    for i in 1..7 {
        let (path, text) = (std::ffi::CString::new(format!("s{i}")).unwrap(), format!("#!./s{}\n", i - 1));
        write_program(&path, text.as_bytes());
    }
    say!("3 deep: {}", fork(|| exec(c"./s2", &[c"x"], &[]).0 as i32).wait());
    say!("7 deep: {}", exec(c"./s6", &[c"x"], &[]));
}

fn exec_argument_limits() {
    let long = std::ffi::CString::new(vec![b'a'; 131_072]).unwrap();
    say!("one argument of 128 KiB: {}", exec(SELF, &[c"x", &long], &[]));
    let fits = std::ffi::CString::new(vec![b'a'; 131_071]).unwrap();
    let child = fork(|| exec(c"/bin/true", &[c"true", &fits], &[]).0 as i32);
    say!("just under: {}", child.wait());
    let many = vec![fits.as_c_str(); 60];
    say!("7.5 MiB in all: {}", exec(SELF, &many, &[]));
}

fn exec_cloexec() {
    for fd in 3..12 {
        close(fd);
    }
    open(c"/dev/null", O_RDONLY).fd();
    open(c"/dev/null", O_RDONLY | O_CLOEXEC).fd();
    sys!(SYS_fcntl, 3, F_DUPFD, 6).must();
    sys!(SYS_fcntl, 3, F_DUPFD_CLOEXEC, 7).must();
    sys!(SYS_dup3, 3, 9, O_CLOEXEC).must();
    sys!(SYS_fcntl, 9, F_SETFD, 0).must();
    say!("{}", helper(c"fds"));
}

fn exec_resets_handlers_keeps_ignored() {
    handle(SIGUSR1, 0);
    ignore(SIGUSR2);
    say!("{}", helper(c"signals"));
}

fn exec_keeps_mask_and_pending() {
    fork(|| {
        block(&[SIGHUP, SIGUSR1]);
        kill_self(SIGHUP);
        queue_self(SIGUSR1, 1);
        exec(SELF, &[c"cases", c"--helper", c"signals"], &[]).must();
        0
    })
    .wait();
}

fn exec_kills_other_threads() {
    fork(|| {
        for _ in 0..5 {
            std::thread::spawn(|| sys!(SYS_pause));
        }
        exec(SELF, &[c"cases", c"--helper", c"threads"], &[]).must();
        0
    })
    .wait();
}

fn exec_from_other_thread_keeps_pid() {
    let child = fork(|| {
        let told = std::ffi::CString::new(format!("TOLD={}", getpid())).unwrap();
        std::thread::spawn(move || exec(SELF, &[c"cases", c"--helper", c"pid"], &[&told]));
        loop {
            sys!(SYS_pause);
        }
    });
    say!("{}", child.wait());
}

fn exec_keeps_pid_directory_umask() {
    sys!(SYS_mkdir, c"sub", 0o755).must();
    fork(|| {
        sys!(SYS_chdir, c"sub").must();
        sys!(SYS_umask, 0o27);
        exec(SELF, &[c"cases", c"--helper", c"place"], &[]).must();
        0
    })
    .wait();
    let mut stat: stat = zeroed();
    sys!(SYS_stat, c"sub/made-here", &mut stat).must();
    say!("mode {:o}", stat.st_mode);
}

fn execveat_forms() {
    let args = [c"echo".as_ptr(), c"hi".as_ptr(), std::ptr::null()];
    let dir = open(c"/bin", O_RDONLY | O_DIRECTORY).fd();
    say!("below a descriptor: {}", fork(|| sys!(SYS_execveat, dir, c"echo", &args, NULL, 0).0 as i32).wait());
    let file = open(c"/bin/echo", O_PATH).fd();
    say!("AT_EMPTY_PATH: {}", fork(|| sys!(SYS_execveat, file, c"", &args, NULL, AT_EMPTY_PATH).0 as i32).wait());
    say!("empty without the flag: {}", sys!(SYS_execveat, file, c"", &args, NULL, 0));
    say!("bad descriptor: {}", sys!(SYS_execveat, 77, c"echo", &args, NULL, 0));
    say!("bad flag: {}", sys!(SYS_execveat, dir, c"echo", &args, NULL, 1));
    sys!(SYS_symlinkat, c"/bin/echo", AT_FDCWD, c"link").must();
    say!("NOFOLLOW on a link: {}", sys!(SYS_execveat, AT_FDCWD, c"link", &args, NULL, AT_SYMLINK_NOFOLLOW));
}

fn exec_deleted_and_memfd() {
    let program = std::fs::read("/bin/true").unwrap();
    write_program(c"gone", &program);
    let fd = open(c"gone", O_PATH).fd();
    sys!(SYS_unlink, c"gone").must();
    let args = [c"x".as_ptr(), std::ptr::null()];
    say!("deleted file: {}", fork(|| sys!(SYS_execveat, fd, c"", &args, NULL, AT_EMPTY_PATH).0 as i32).wait());
    let memfd = sys!(SYS_memfd_create, c"program", MFD_CLOEXEC).fd();
    write(memfd, &program);
    say!("memfd: {}", fork(|| sys!(SYS_execveat, memfd, c"", &args, NULL, AT_EMPTY_PATH).0 as i32).wait());
    write_program(c"script", b"#!/bin/sh\n");
    let script = open(c"script", O_RDONLY | O_CLOEXEC).fd();
    say!("script behind a cloexec descriptor: {}", sys!(SYS_execveat, script, c"", &args, NULL, AT_EMPTY_PATH));
}

fn exec_text_busy() {
    write_program(c"program", &std::fs::read("/bin/true").unwrap());
    let fd = open(c"program", O_WRONLY).fd();
    say!("open for writing: {}", exec(c"./program", &[c"x"], &[]));
    close(fd);
    say!("then: {}", fork(|| exec(c"./program", &[c"x"], &[]).0 as i32).wait());
    write_program(c"sleeper", &std::fs::read("/bin/sleep").unwrap());
    let (r, w) = pipe2(O_CLOEXEC);
    let child = fork(|| exec(c"./sleeper", &[c"x", c"100"], &[]).0 as i32);
    close(w);
    // End of file here means that the exec has happened.
    read(r, 1);
    say!("writing a running program: {}", open(c"sleeper", O_WRONLY));
    say!("truncating it: {} {}", open(c"sleeper", O_RDONLY | O_TRUNC), sys!(SYS_truncate, c"sleeper", 0));
    say!("reading it: {}", open(c"sleeper", O_RDONLY).ok());
    sys!(SYS_linkat, AT_FDCWD, c"sleeper", AT_FDCWD, c"other-name", 0).must();
    say!("by another name: {}", open(c"other-name", O_RDWR));
    say!("removing it: {}", sys!(SYS_unlinkat, AT_FDCWD, c"other-name", 0));
    child.kill(SIGKILL);
    child.wait();
    say!("afterwards: {}", open(c"sleeper", O_WRONLY).ok());
}

fn exec_auxv() {
    say!("{}", helper(c"auxv"));
}

fn exec_empty_argv() {
    // Linux since 5.18 turns an empty argv into one empty string.
    write_program(c"script", b"#!/bin/sh\necho \"$#\"\n");
    let nothing = [std::ptr::null::<c_char>()];
    say!("{}", fork(|| sys!(SYS_execve, c"./script", &nothing, &nothing).0 as i32).wait());
}

fn exec_set_user_id_ids() {
    write_program(c"program", &std::fs::read("/proc/self/exe").unwrap());
    sys!(SYS_chmod, c".", 0o755).must();
    sys!(SYS_chmod, c"..", 0o755).must();
    sys!(SYS_chown, c"program", 1234, 1234).must();
    let run = || {
        fork(|| {
            sys!(SYS_setresuid, 4321, 4321, 4321).must();
            exec(c"./program", &[c"cases", c"--helper", c"ids"], &[]).0 as i32
        })
        .wait()
    };
    say!("plain: {}", run());
    sys!(SYS_chmod, c"program", 0o4755).must();
    say!("set-user-ID: {}", run());
    let child = fork(|| {
        sys!(SYS_setresuid, 4321, 4321, 4321).must();
        sys!(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).must();
        exec(c"./program", &[c"cases", c"--helper", c"ids"], &[]).0 as i32
    });
    say!("with no_new_privs: {}", child.wait());
}

fn exec_resets_name_and_dumpable() {
    sys!(SYS_symlinkat, c"/proc/self/exe", AT_FDCWD, c"a-rather-long-program-name").must();
    fork(|| {
        sys!(SYS_prctl, PR_SET_NAME, c"before", 0, 0, 0).must();
        sys!(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0).must();
        exec(c"./a-rather-long-program-name", &[c"cases", c"--helper", c"name"], &[]).must();
        0
    })
    .wait();
}
