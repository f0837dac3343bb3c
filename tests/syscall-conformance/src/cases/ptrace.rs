//! `ptrace(2)`: attaching, stops, registers, memory, events, signals, and what waiting says of tracees.

use crate::prelude::*;

cases![
    traceme_stops_and_goes_on, calls_stop_before_and_after, registers_read_and_change, call_can_be_replaced, memory_peek_and_poke,
    text_can_be_written, single_steps, signals_pass_the_tracer, fork_exec_and_exit_events, clone_event_and_thread_end, vfork_events,
    attach_and_detach, seize_interrupt_and_listen, attach_errors, request_errors, exitkill_takes_tracees, tracer_gone_lets_run,
    killed_in_a_stop, parent_hears_after_the_tracer, signal_mask_and_info, call_info, seccomp_asks_the_tracer, extended_state,
    waitid_of_a_tracee, breakpoint_instruction, blocking_call_restarts, ignored_signals_are_seen, mem_file_writes_text,
];

fn pt(request: u32, pid: i32, addr: u64, data: u64) -> Ret {
    sys!(SYS_ptrace, request, pid, addr, data)
}

/// Waits for news of `pid` and names it, with the event of a stop.
fn news(pid: i32) -> String {
    let mut status = 0i32;
    let ret = sys!(SYS_wait4, pid, &mut status, __WALL, NULL);
    let event = if ret.0 > 0 && WIFSTOPPED(status) { status >> 16 } else { 0 };
    let text = crate::child::Status::of(ret, status & 0xffff);
    if ret.0 > 0 && WIFSTOPPED(status) && WSTOPSIG(status) & 0x80 != 0 {
        return "stopped at a call".to_owned();
    }
    if event == 0 { format!("{text}") } else { format!("{text} event {event}") }
}

/// A child that is traced by its parent and has stopped itself once.
fn traced(body: impl FnOnce() -> i32) -> i32 {
    let child = fork(|| {
        pt(PTRACE_TRACEME, 0, 0, 0).must();
        kill_self(SIGSTOP);
        body()
    });
    assert_eq!(news(child.0), "stopped by SIGSTOP");
    child.0
}

fn registers(pid: i32) -> user_regs_struct {
    let mut regs: user_regs_struct = zeroed();
    pt(PTRACE_GETREGS, pid, 0, std::ptr::from_mut(&mut regs) as u64).must();
    regs
}

fn set_registers(pid: i32, regs: &user_regs_struct) -> Ret {
    pt(PTRACE_SETREGS, pid, 0, std::ptr::from_ref(regs) as u64)
}

fn go(request: u32, pid: i32) -> String {
    pt(request, pid, 0, 0).must();
    news(pid)
}

fn message(pid: i32) -> u64 {
    let mut value = 0u64;
    pt(PTRACE_GETEVENTMSG, pid, 0, std::ptr::from_mut(&mut value) as u64).must();
    value
}

fn traceme_stops_and_goes_on() {
    let pid = traced(|| 7);
    say!("{}", go(PTRACE_CONT, pid));
    let twice = fork(|| {
        let (first, second) = (pt(PTRACE_TRACEME, 0, 0, 0), pt(PTRACE_TRACEME, 0, 0, 0));
        say!("{first} {second}");
        0
    });
    say!("{}", twice.wait());
}

fn calls_stop_before_and_after() {
    let pid = traced(|| {
        sys!(SYS_getppid);
        sys!(SYS_close, 999);
        sys!(SYS_mmap, NULL, 0, 0, 0, -1, 0);
        sys!(SYS_exit_group, 4);
        0
    });
    say!("{}", pt(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD as u64));
    // The rest of kill(2) or tgkill(2) may come first.
    for _ in 0..40 {
        let what = go(PTRACE_SYSCALL, pid);
        if what != "stopped at a call" {
            say!("{what}");
            break;
        }
        let regs = registers(pid);
        if [SYS_getppid, SYS_close, SYS_mmap, SYS_exit_group].contains(&(regs.orig_rax as i64)) {
            let rax = regs.rax as i64;
            let shown = if regs.orig_rax as i64 == SYS_getppid && rax > 0 { 1 } else { rax };
            say!("call {} rax {}", regs.orig_rax, shown);
        }
    }
}

fn registers_read_and_change() {
    let pid = traced(|| {
        let got = sys!(SYS_lseek, 999, 5, 6);
        i32::from(got.0 == 1234)
    });
    pt(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD as u64).must();
    loop {
        assert_eq!(go(PTRACE_SYSCALL, pid), "stopped at a call");
        let regs = registers(pid);
        if regs.orig_rax as i64 == SYS_lseek {
            say!("args {} {} {} rax {}", regs.rdi, regs.rsi, regs.rdx, regs.rax as i64);
            let user = |index: u64| {
                let mut word = 0u64;
                pt(PTRACE_PEEKUSER, pid, index * 8, std::ptr::from_mut(&mut word) as u64).must();
                word
            };
            say!("user area agrees {} {}", user(15) == regs.orig_rax, user(14) == regs.rdi);
            say!("fs base kept {}", user(21) == regs.fs_base && regs.fs_base != 0);
            break;
        }
    }
    assert_eq!(go(PTRACE_SYSCALL, pid), "stopped at a call");
    let mut regs = registers(pid);
    say!("result {}", Ret(regs.rax as i64));
    regs.rax = 1234;
    say!("{}", set_registers(pid, &regs));
    say!("{}", go(PTRACE_CONT, pid));
}

fn call_can_be_replaced() {
    let pid = traced(|| {
        let one = sys!(SYS_lseek, 999, 0, 0);
        let two = sys!(SYS_lseek, 999, 0, 0);
        i32::from(one.0 == i64::from(getpid())) * 10 + i32::from(two.0 == 77)
    });
    pt(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD as u64).must();
    for round in 0..2 {
        loop {
            assert_eq!(go(PTRACE_SYSCALL, pid), "stopped at a call");
            let mut regs = registers(pid);
            if regs.orig_rax as i64 == SYS_lseek && regs.rax as i64 == -38 {
                regs.orig_rax = if round == 0 { SYS_getpid as u64 } else { u64::MAX };
                set_registers(pid, &regs).must();
                break;
            }
        }
        assert_eq!(go(PTRACE_SYSCALL, pid), "stopped at a call");
        let mut regs = registers(pid);
        if round == 1 {
            say!("skipped {}", Ret(regs.rax as i64));
            regs.rax = 77;
            set_registers(pid, &regs).must();
        }
    }
    say!("{}", go(PTRACE_CONT, pid));
}

fn memory_peek_and_poke() {
    let shared = map_anon(PAGE * 2);
    shared.put(0, b"12345678abcdefgh");
    let pid = traced(move || i32::from(shared.get(8)));
    let peek = |addr: usize| {
        let mut word = 0u64;
        let ret = pt(PTRACE_PEEKDATA, pid, addr as u64, std::ptr::from_mut(&mut word) as u64);
        format!("{ret} {}", word.to_ne_bytes().escape_ascii())
    };
    say!("{} / {}", peek(shared.addr), peek(shared.addr + 3));
    say!("nothing there {}, null {}", peek(0x1000), peek(0));
    say!("{}", pt(PTRACE_POKEDATA, pid, shared.addr as u64 + 8, u64::from_ne_bytes(*b"!bcdefgh")));
    say!("across pages {}", pt(PTRACE_POKEDATA, pid, (shared.addr + PAGE - 4) as u64, 5));
    say!("nothing there {}", pt(PTRACE_POKEDATA, pid, 0x1000, 5));
    say!("{}, here still {}", go(PTRACE_CONT, pid), shared.text(8, 1));
}

fn text_can_be_written() {
    let code = map_anon(PAGE);
    code.put(0, b"12345678");
    let fixed = map_shared(PAGE);
    code.protect(PROT_READ);
    fixed.protect(PROT_READ);
    let pid = traced(move || i32::from(code.get(1)));
    say!("read-only private {}", pt(PTRACE_POKETEXT, pid, code.addr as u64, u64::from_ne_bytes(*b"1A345678")));
    say!("read-only shared {}", pt(PTRACE_POKETEXT, pid, fixed.addr as u64, 1));
    let none = map_anon(PAGE);
    none.put(0, b"hidden..");
    say!("{}, ours {}", go(PTRACE_CONT, pid), code.get(1));
}

fn single_steps() {
    let pid = traced(|| {
        sys!(SYS_getppid);
        3
    });
    let mut moved = 0;
    let mut last = registers(pid).rip;
    for _ in 0..20 {
        let what = go(PTRACE_SINGLESTEP, pid);
        assert_eq!(what, "stopped by SIGTRAP");
        let now = registers(pid);
        moved += i32::from(now.rip != last);
        assert_eq!(now.eflags & 0x100, 0);
        last = now.rip;
    }
    say!("moved {moved}");
    say!("{}", go(PTRACE_CONT, pid));
}

fn signals_pass_the_tracer() {
    let pid = traced(|| {
        handle(SIGUSR1, 0);
        handle(SIGUSR2, 0);
        kill_self(SIGUSR1);
        kill_self(SIGUSR1);
        caught_count() as i32
    });
    say!("{}", go(PTRACE_CONT, pid));
    let mut info: siginfo_t = zeroed();
    pt(PTRACE_GETSIGINFO, pid, 0, std::ptr::from_mut(&mut info) as u64).must();
    say!("{} code {}", name_of(info.si_signo), info.si_code);
    // Suppressed.
    say!("{}", go(PTRACE_CONT, pid));
    // Another one in its place.
    pt(PTRACE_CONT, pid, 0, SIGUSR2 as u64).must();
    say!("{}", news(pid));
    let fatal = traced(|| {
        kill_self(SIGTERM);
        1
    });
    say!("{}", go(PTRACE_CONT, fatal));
    pt(PTRACE_CONT, fatal, 0, SIGTERM as u64).must();
    say!("{}", news(fatal));
}

fn fork_exec_and_exit_events() {
    let pid = traced(|| {
        let inner = fork(|| 5);
        inner.wait();
        6
    });
    let options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXIT | PTRACE_O_TRACEEXEC;
    pt(PTRACE_SETOPTIONS, pid, 0, options as u64).must();
    say!("{}", go(PTRACE_CONT, pid));
    let child = message(pid) as i32;
    say!("{}", news(child));
    say!("traced too {}", pt(PTRACE_PEEKUSER, child, 0, (&mut 0u64 as *mut u64) as u64).ok());
    pt(PTRACE_CONT, pid, 0, 0).must();
    say!("child: {}", go(PTRACE_CONT, child));
    say!("status {:#x}", message(child));
    say!("child: {}", go(PTRACE_CONT, child));
    let mut what = news(pid);
    if what == "stopped by SIGCHLD" {
        what = go(PTRACE_CONT, pid);
    }
    say!("parent: {what}, status {:#x}", message(pid));
    say!("parent: {}", go(PTRACE_CONT, pid));
}

fn clone_event_and_thread_end() {
    let stack = map_anon(PAGE * 16);
    let pid = traced(move || {
        let flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
        let _ = stack;
        clone_with_stack(flags, || {
            sys!(SYS_exit, 9);
            0
        })
        .must();
        sleep_ms(20);
        8
    });
    pt(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE as u64).must();
    say!("{}", go(PTRACE_CONT, pid));
    let thread = message(pid) as i32;
    say!("thread: {}", news(thread));
    pt(PTRACE_CONT, pid, 0, 0).must();
    say!("thread: {}", go(PTRACE_CONT, thread));
    say!("leader: {}", news(pid));
}

fn vfork_events() {
    let pid = traced(|| {
        let flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
        let child = clone_with_stack(flags, || 2).must() as i32;
        Child(child).wait();
        1
    });
    pt(PTRACE_SETOPTIONS, pid, 0, (PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE) as u64).must();
    say!("{}", go(PTRACE_CONT, pid));
    let child = message(pid) as i32;
    say!("child: {}", news(child));
    pt(PTRACE_CONT, pid, 0, 0).must();
    say!("child: {}", go(PTRACE_CONT, child));
    let mut seen = Vec::new();
    loop {
        let what = news(pid);
        let over = what.starts_with("exited");
        seen.push(what);
        if over {
            break;
        }
        pt(PTRACE_CONT, pid, 0, 0).must();
    }
    seen.retain(|what| what != "stopped by SIGCHLD");
    say!("{}", seen.join(", "));
}

fn attach_and_detach() {
    let child = fork(|| {
        loop {
            sys!(SYS_pause);
        }
    });
    say!("{} {}", pt(PTRACE_ATTACH, child.0, 0, 0), news(child.0));
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.0)).unwrap();
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("").trim().to_owned();
    say!("{} {}", field("State:"), field("TracerPid:") == getpid().to_string());
    say!("detach {}", pt(PTRACE_DETACH, child.0, 0, 0));
    say!("again {}", pt(PTRACE_DETACH, child.0, 0, 0));
    say!("{}", pt(PTRACE_ATTACH, child.0, 0, 0));
    news(child.0);
    pt(PTRACE_DETACH, child.0, 0, SIGKILL as u64).must();
    say!("{}", news(child.0));
}

fn seize_interrupt_and_listen() {
    let child = fork(|| {
        loop {
            sys!(SYS_pause);
        }
    });
    say!("{}", pt(PTRACE_SEIZE, child.0, 0, PTRACE_O_TRACESYSGOOD as u64));
    say!("not stopped {}", pt(PTRACE_CONT, child.0, 0, 0));
    say!("{} {}", pt(PTRACE_INTERRUPT, child.0, 0, 0), news(child.0));
    pt(PTRACE_CONT, child.0, 0, 0).must();
    child.kill(SIGSTOP).must();
    say!("{}", news(child.0));
    pt(PTRACE_CONT, child.0, 0, SIGSTOP as u64).must();
    say!("group stop: {}", news(child.0));
    say!("listen {}", pt(PTRACE_LISTEN, child.0, 0, 0));
    child.kill(SIGCONT).must();
    say!("{}", news(child.0));
    say!("{}", go(PTRACE_CONT, child.0));
    child.kill(SIGKILL).must();
    say!("{}", news(child.0));
}

fn attach_errors() {
    say!("nobody {}, oneself {}", pt(PTRACE_ATTACH, 0x3fff_ffff, 0, 0), pt(PTRACE_ATTACH, getpid(), 0, 0));
    let child = fork(|| {
        loop {
            sys!(SYS_pause);
        }
    });
    say!("seize with an address {}, unknown options {}", pt(PTRACE_SEIZE, child.0, 1, 0), pt(PTRACE_SEIZE, child.0, 0, 1 << 30));
    say!("interrupt untraced {}", pt(PTRACE_INTERRUPT, child.0, 0, 0));
    pt(PTRACE_ATTACH, child.0, 0, 0).must();
    news(child.0);
    say!("twice {}", pt(PTRACE_ATTACH, child.0, 0, 0));
    say!("interrupt attached {}, listen {}", pt(PTRACE_INTERRUPT, child.0, 0, 0), pt(PTRACE_LISTEN, child.0, 0, 0));
    let other = fork(|| {
        sys!(SYS_setresuid, 5, 5, 5).must();
        say!("by another user {}", pt(PTRACE_ATTACH, child.0, 0, 0));
        0
    });
    other.wait();
    child.kill(SIGKILL);
    say!("{}", news(child.0));
}

fn request_errors() {
    let pid = traced(|| 0);
    say!("unknown {}", pt(0x9999, pid, 0, 0));
    say!("options {}", pt(PTRACE_SETOPTIONS, pid, 0, 1 << 30));
    say!("signal {}", pt(PTRACE_CONT, pid, 0, 99));
    say!("bad pointers {} {}", pt(PTRACE_GETREGS, pid, 0, 8), pt(PTRACE_SETREGS, pid, 0, 8));
    say!("user area {} {}", pt(PTRACE_PEEKUSER, pid, 3, 8), pt(PTRACE_PEEKUSER, pid, 1 << 20, 8));
    say!("mask size {}", pt(PTRACE_GETSIGMASK, pid, 4, 8));
    let mut vector = iovec { iov_base: std::ptr::null_mut(), iov_len: 16 };
    say!("unknown set {}", pt(PTRACE_GETREGSET, pid, 0x7777, std::ptr::from_mut(&mut vector) as u64));
    say!("{}", go(PTRACE_CONT, pid));
    say!("gone {}", pt(PTRACE_CONT, pid, 0, 0));
}

fn exitkill_takes_tracees() {
    let (reader, writer) = pipe();
    let tracer = fork(|| {
        let victim = fork(|| {
            close(reader);
            loop {
                sys!(SYS_pause);
            }
        });
        pt(PTRACE_SEIZE, victim.0, 0, PTRACE_O_EXITKILL as u64).must();
        3
    });
    close(writer);
    say!("{}", tracer.wait());
    // The victim held the pipe open.
    say!("{}", read(reader, 1));
}

fn tracer_gone_lets_run() {
    let (reader, writer) = pipe();
    let target = fork(|| {
        say!("{}", read(reader, 1));
        4
    });
    let tracer = fork(|| {
        pt(PTRACE_ATTACH, target.0, 0, 0).must();
        say!("{}", news(target.0));
        0
    });
    say!("{}", tracer.wait());
    write(writer, b"x");
    say!("{}", target.wait());
}

fn killed_in_a_stop() {
    let pid = traced(|| 0);
    Child(pid).kill(SIGKILL).must();
    say!("{}", news(pid));
    let pid = traced(|| 0);
    say!("{} {}", pt(PTRACE_KILL, pid, 0, 0), news(pid));
}

fn parent_hears_after_the_tracer() {
    let (reader, writer) = pipe();
    let target = fork(|| {
        read(reader, 1);
        4
    });
    let (told_reader, told_writer) = pipe();
    let (go_reader, go_writer) = pipe();
    let tracer = fork(|| {
        pt(PTRACE_SEIZE, target.0, 0, 0).must();
        write(told_writer, b"x");
        let mut info: siginfo_t = zeroed();
        sys!(SYS_waitid, P_PID, target.0, &mut info, WEXITED | WNOWAIT, NULL).must();
        write(told_writer, b"x");
        read(go_reader, 1);
        i32::from(news(target.0) == "exited 4")
    });
    read(told_reader, 1);
    write(writer, b"x");
    read(told_reader, 1);
    say!("before the tracer: {}", target.wait_options(WNOHANG));
    write(go_writer, b"x");
    say!("after it: {}", target.wait());
    say!("{}", tracer.wait());
}

fn signal_mask_and_info() {
    let pid = traced(|| {
        block(&[SIGUSR1, SIGUSR2]);
        kill_self(SIGSTOP);
        0
    });
    say!("{}", go(PTRACE_CONT, pid));
    let mut mask = 0u64;
    say!("{} {mask:#x}", pt(PTRACE_GETSIGMASK, pid, 8, std::ptr::from_mut(&mut mask) as u64));
    let _ = mask;
    Child(pid).kill(SIGUSR2).must();
    let args = [0u64, 4 << 32];
    let shared = [0u64, 1 | 4 << 32];
    let mut infos = [0u8; 512];
    let peek = |args: &[u64; 2], infos: &mut [u8; 512]| {
        pt(PTRACE_PEEKSIGINFO, pid, std::ptr::from_ref(args) as u64, std::ptr::from_mut(infos) as u64)
    };
    say!("own {}, of the process {}", peek(&args, &mut infos), peek(&shared, &mut infos));
    say!("signal {}", i32::from_ne_bytes(infos[..4].try_into().unwrap()));
    let open = 0u64;
    say!("{}", pt(PTRACE_SETSIGMASK, pid, 8, std::ptr::from_ref(&open) as u64));
    say!("{}", go(PTRACE_CONT, pid));
    say!("{}", go(PTRACE_CONT, pid));
}

fn call_info() {
    const GET_SYSCALL_INFO: u32 = 0x420e;
    let pid = traced(|| {
        sys!(SYS_lseek, 999, 5, 6);
        0
    });
    let info = |bytes: &mut [u8; 96]| pt(GET_SYSCALL_INFO, pid, 96, std::ptr::from_mut(bytes) as u64);
    let mut bytes = [0u8; 96];
    say!("elsewhere {} op {}", info(&mut bytes), bytes[0]);
    pt(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD as u64).must();
    loop {
        assert_eq!(go(PTRACE_SYSCALL, pid), "stopped at a call");
        if registers(pid).orig_rax as i64 == SYS_lseek {
            break;
        }
    }
    let word = |bytes: &[u8; 96], at: usize| i64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    say!("entry {} op {} nr {} args {} {}", info(&mut bytes), bytes[0], word(&bytes, 24), word(&bytes, 32), word(&bytes, 40));
    go(PTRACE_SYSCALL, pid);
    say!("exit {} op {} result {} error {}", info(&mut bytes), bytes[0], word(&bytes, 24), bytes[32]);
    say!("{}", go(PTRACE_CONT, pid));
}

fn seccomp_asks_the_tracer() {
    let stmt = |code: u32, k: u32| sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let program = [
        stmt(BPF_LD | BPF_W | BPF_ABS, 0),
        sock_filter { code: (BPF_JMP | BPF_JEQ | BPF_K) as u16, jt: 0, jf: 1, k: SYS_getppid as u32 },
        stmt(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 42),
        stmt(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    ];
    let install = |program: &[sock_filter]| {
        sys!(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).must();
        let program = sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
        sys!(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program).must();
    };
    let alone = fork(|| {
        install(&program);
        say!("nobody traces: {}", sys!(SYS_getppid));
        0
    });
    alone.wait();
    let pid = traced(|| {
        install(&program);
        let first = sys!(SYS_getppid);
        let second = sys!(SYS_getppid);
        i32::from(first.0 > 0) * 10 + i32::from(second.0 == 55)
    });
    pt(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP as u64).must();
    say!("{} message {}", go(PTRACE_CONT, pid), message(pid));
    say!("{} message {}", go(PTRACE_CONT, pid), message(pid));
    let mut regs = registers(pid);
    say!("call {}", regs.orig_rax);
    regs.orig_rax = u64::MAX;
    regs.rax = 55;
    set_registers(pid, &regs).must();
    say!("{}", go(PTRACE_CONT, pid));
}

fn extended_state() {
    const NT_PRFPREG: u64 = 2;
    const NT_X86_XSTATE: u64 = 0x202;
    let pid = traced(|| 0);
    let mut state = vec![0u8; 16384];
    let mut vector = iovec { iov_base: state.as_mut_ptr().cast(), iov_len: state.len() };
    let get = |kind: u64, vector: &mut iovec| pt(PTRACE_GETREGSET, pid, kind, std::ptr::from_mut(vector) as u64);
    say!("{} has features {}", get(NT_X86_XSTATE, &mut vector), vector.iov_len > 576 && state[464] & 3 == 3);
    let mut fp: user_fpregs_struct = zeroed();
    say!("{} control word {:#x}", pt(PTRACE_GETFPREGS, pid, 0, std::ptr::from_mut(&mut fp) as u64), fp.cwd);
    fp.xmm_space[0] = 0x1234_5678;
    say!("{}", pt(PTRACE_SETFPREGS, pid, 0, std::ptr::from_ref(&fp) as u64));
    vector.iov_len = state.len();
    say!("{} length {}, xmm0 {:02x?}", get(NT_PRFPREG, &mut vector), vector.iov_len, &state[160..164]);
    let mut regs = [0u64; 27];
    let mut short = iovec { iov_base: regs.as_mut_ptr().cast(), iov_len: 32 };
    say!("short {} {}", get(1, &mut short), short.iov_len);
    say!("{}", go(PTRACE_CONT, pid));
}

fn waitid_of_a_tracee() {
    let pid = traced(|| 0);
    go(PTRACE_SYSCALL, pid);
    pt(PTRACE_CONT, pid, 0, 0).must();
    let mut info: siginfo_t = zeroed();
    say!("{}", sys!(SYS_waitid, P_PID, pid, &mut info, WEXITED, NULL));
    say!("code {}", info.si_code);
    let pid = traced(|| {
        kill_self(SIGUSR1);
        0
    });
    pt(PTRACE_CONT, pid, 0, 0).must();
    let mut info: siginfo_t = zeroed();
    say!("kept {}", sys!(SYS_waitid, P_PID, pid, &mut info, WSTOPPED | WNOWAIT, NULL));
    let mut info: siginfo_t = zeroed();
    say!("{} code {}", sys!(SYS_waitid, P_PID, pid, &mut info, WSTOPPED, NULL), info.si_code);
    let mut status = 0;
    say!("told once {}", sys!(SYS_wait4, pid, &mut status, WNOHANG, NULL));
    say!("{}", go(PTRACE_CONT, pid));
}

fn breakpoint_instruction() {
    let code = map(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    // mov $7, %eax; int3; ret
    code.put(0, &[0xb8, 7, 0, 0, 0, 0xcc, 0xc3]);
    let pid = traced(move || crate::host::execute(code.addr));
    say!("{}", go(PTRACE_CONT, pid));
    let regs = registers(pid);
    say!("behind it {}, rax {}", regs.rip as usize - code.addr, regs.rax);
    let mut info: siginfo_t = zeroed();
    pt(PTRACE_GETSIGINFO, pid, 0, std::ptr::from_mut(&mut info) as u64).must();
    say!("code {:#x}", info.si_code);
    say!("{}", go(PTRACE_CONT, pid));
}

fn blocking_call_restarts() {
    let (reader, writer) = pipe();
    let child = fork(|| i32::from(read(reader, 1).0.is_ok_and(|bytes| bytes == b"x")));
    sleep_ms(10);
    pt(PTRACE_SEIZE, child.0, 0, 0).must();
    pt(PTRACE_INTERRUPT, child.0, 0, 0).must();
    say!("{}", news(child.0));
    let regs = registers(child.0);
    say!("call {} rax {}", regs.orig_rax, regs.rax as i64);
    pt(PTRACE_CONT, child.0, 0, 0).must();
    sleep_ms(5);
    write(writer, b"x");
    say!("{}", news(child.0));
}

fn ignored_signals_are_seen() {
    let pid = traced(|| {
        ignore(SIGUSR1);
        kill_self(SIGUSR1);
        kill_self(SIGWINCH);
        2
    });
    say!("{}", go(PTRACE_CONT, pid));
    say!("{}", go(PTRACE_CONT, pid));
    pt(PTRACE_CONT, pid, 0, SIGUSR1 as u64).must();
    say!("{}", news(pid));
}

fn mem_file_writes_text() {
    let code = map_anon(PAGE);
    code.put(0, b"12345678");
    code.protect(PROT_READ);
    let pid = traced(move || i32::from(code.get(1)));
    let path = std::ffi::CString::new(format!("/proc/{pid}/mem")).unwrap();
    let fd = open(path.as_c_str(), O_RDWR).fd();
    say!("{}", sys!(SYS_pwrite64, fd, b"AB", 2, code.addr));
    say!("{}", pread(fd, 4, code.addr as i64));
    say!("nothing there {}", sys!(SYS_pwrite64, fd, b"AB", 2, 0x1000));
    say!("{}", go(PTRACE_CONT, pid));
}
