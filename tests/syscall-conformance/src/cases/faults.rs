//! Faults: the signal, its code and its address, and what a handler can do about it.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::host::{self, bad_instruction, execute, install, peek, poke};
use crate::prelude::*;

cases![
    unmapped_read_and_write, null_pointer, protection_faults, write_only_and_exec_only, no_exec, noncanonical_address, integer_division,
    illegal_instructions, breakpoint, past_end_of_file, kernel_address, handler_repairs_and_resumes, fault_while_blocked_kills,
    fault_while_ignored_kills, stack_overflow_on_altstack, efault_instead_of_signal, efault_partial_transfer, stack_grows_down,
];

fn unmapped_read_and_write() {
    let m = map_anon(PAGE * 2);
    m.unmap();
    fault_report("read", m.addr, || peek(m.addr + 16));
    fault_report("write", m.addr, || poke(m.addr + PAGE + 5, 1));
}

fn null_pointer() {
    fault_report("read", 1, || peek(0));
    fault_report("write", 0, || poke(8, 1));
    fault_report("call", 0, || execute(0));
}

fn protection_faults() {
    let m = map_anon(PAGE);
    m.set(7, 1);
    m.protect(PROT_READ).must();
    fault_report("write to read-only", m.addr, || m.set(7, 1));
    m.protect(PROT_NONE).must();
    fault_report("read of PROT_NONE", m.addr, || m.get(9));
    m.protect(PROT_READ | PROT_WRITE).must();
    say!("and back: {}", m.get(7));
}

fn write_only_and_exec_only() {
    let m = map_anon(PAGE);
    m.protect(PROT_WRITE).must();
    m.set(3, 4);
    say!("x86 lets a write-only page be read: {}", m.get(3));
}

fn no_exec() {
    let m = map_anon(PAGE);
    m.put(0, &[0xb8, 5, 0, 0, 0, 0xc3]);
    fault_report("execute data", m.addr, || execute(m.addr));
    m.protect(PROT_READ | PROT_EXEC).must();
    say!("with PROT_EXEC: {}", execute(m.addr));
}

fn noncanonical_address() {
    fault_report("read", 1, || bad_instruction("noncanonical"));
}

fn integer_division() {
    fault_report("by zero", 1 << 62, || bad_instruction("div"));
}

fn illegal_instructions() {
    fault_report("ud2", 1 << 62, || bad_instruction("ud2"));
    fault_report("hlt", 1, || bad_instruction("hlt"));
}

fn breakpoint() {
    fault_report("int3", 1, || bad_instruction("int3"));
    let child = fork(|| {
        bad_instruction("int3");
        0
    });
    set_soft_limit(RLIMIT_CORE, 0).must();
    say!("unhandled: {}", child.wait());
}

fn past_end_of_file() {
    write_file(c"f", &[b'a'; 100]);
    let fd = open(c"f", O_RDWR).fd();
    let m = map(PAGE * 3, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    say!("in the last page, past the end: {}", m.get(200));
    fault_report("second page", m.addr, || m.get(PAGE + 8));
    fault_report("write there", m.addr, || m.set(PAGE * 2, 1));
    sys!(SYS_ftruncate, fd, 0).must();
    fault_report("after truncation", m.addr, || m.get(0));
    sys!(SYS_ftruncate, fd, PAGE * 3).must();
    say!("after growing: {}", m.get(PAGE * 2));
}

fn kernel_address() {
    fault_report("read", 1, || peek(0xffff_ffff_8000_0000));
    fault_report("last user page", 1, || peek(0x7fff_ffff_f000));
}

static PAGE_TO_OPEN: AtomicUsize = AtomicUsize::new(0);
static REPAIRS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn repair(_: i32, _: *mut siginfo_t, _: *mut c_void) {
    REPAIRS.fetch_add(1, SeqCst);
    sys!(SYS_mprotect, PAGE_TO_OPEN.load(SeqCst), PAGE, PROT_READ | PROT_WRITE);
}

fn handler_repairs_and_resumes() {
    let m = map_anon(PAGE);
    m.protect(PROT_NONE).must();
    PAGE_TO_OPEN.store(m.addr, SeqCst);
    install(SIGSEGV, repair, 0, &[]);
    for _ in 0..3 {
        m.set(1, 5);
        m.protect(PROT_NONE).must();
    }
    say!("repaired {} times", REPAIRS.load(SeqCst));
}

fn fault_while_blocked_kills() {
    set_soft_limit(RLIMIT_CORE, 0).must();
    let child = fork(|| {
        handle(SIGSEGV, 0);
        block(&[SIGSEGV]);
        poke(0, 1);
        0
    });
    say!("{}", child.wait());
}

fn fault_while_ignored_kills() {
    set_soft_limit(RLIMIT_CORE, 0).must();
    let child = fork(|| {
        ignore(SIGSEGV);
        poke(0, 1);
        0
    });
    say!("{}", child.wait());
}

extern "C" fn overflowed(_: i32, info: *mut siginfo_t, _: *mut c_void) {
    let parts = host::siginfo_parts(host::info_in_handler(info));
    say!("handled on the other stack, {}", crate::signals::code_name(parts.signal, parts.code));
    exit_now(0)
}

fn recurse(depth: u64) -> u64 {
    let filler = std::hint::black_box([depth; 128]);
    if depth == u64::MAX { 0 } else { recurse(depth + 1) + filler[(depth % 128) as usize] }
}

fn stack_overflow_on_altstack() {
    let memory = map_anon(64 * 1024);
    let child = fork(|| {
        set_soft_limit(RLIMIT_STACK, 1 << 20).must();
        let stack = stack_t { ss_sp: memory.addr as *mut c_void, ss_flags: 0, ss_size: memory.len };
        sys!(SYS_sigaltstack, &stack, NULL).must();
        install(SIGSEGV, overflowed, SA_ONSTACK, &[]);
        recurse(0) as i32
    });
    say!("{}", child.wait());
}

fn efault_instead_of_signal() {
    let (r, w) = pipe();
    say!("write from nowhere: {}", sys!(SYS_write, w, 8, 1));
    write(w, b"abc");
    say!("read to nowhere: {}", sys!(SYS_read, r, 8, 3));
    let m = map_anon(PAGE);
    m.protect(PROT_READ).must();
    say!("read to read-only: {}", sys!(SYS_read, r, m.addr, 3));
    m.protect(PROT_NONE).must();
    say!("write from PROT_NONE: {}", sys!(SYS_write, w, m.addr, 3));
    say!("stat to nowhere: {}", sys!(SYS_stat, c"/", 8));
    say!("kernel address: {}", sys!(SYS_write, w, 0xffff_8000_0000_0000_u64, 1));
    say!("the bytes are still there: {}", read(r, 8));
}

fn efault_partial_transfer() {
    let m = map_anon(PAGE * 2);
    m.put(PAGE - 3, b"xyz");
    sys!(SYS_munmap, m.addr + PAGE, PAGE).must();
    let fd = open(c"f", O_RDWR | O_CREAT).fd();
    say!("write across the end: {}", sys!(SYS_write, fd, m.addr + PAGE - 3, 10));
    write_file(c"g", b"0123456789");
    let fd = open(c"g", O_RDONLY).fd();
    say!("read across the end: {}", sys!(SYS_read, fd, m.addr + PAGE - 3, 10));
    say!("{}", m.text(PAGE - 3, 3));
}

fn stack_grows_down() {
    let near = host::stack_address() - 512 * 1024;
    let child = fork(|| {
        poke(near, 1);
        peek(near).into()
    });
    say!("512 KiB below: {}", child.wait());
}
