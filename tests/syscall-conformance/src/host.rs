//! The system calls themselves, and every other `unsafe` of this crate.
//!
//! [`sys!`](crate::host::sys) and [`poke`] look safe to their callers on purpose. This is a test program that passes the kernel right and
//! wrong arguments alike; a case that corrupts itself is one failed process, and `unsafe` around every line would hide what a case says.

use std::ffi::CStr;
use std::fmt;
use std::time::Duration;

use nix::errno::Errno;

/// A null pointer argument.
pub(crate) const NULL: usize = 0;

/// What can be passed to a system call: integers, pointers, and references to what a pointer argument points to.
pub(crate) trait Arg {
    /// The register's value.
    fn arg(self) -> i64;
}

macro_rules! integer_args {
    ($($t:ty),+) => { $(impl Arg for $t { fn arg(self) -> i64 { self as i64 } })+ };
}
integer_args!(i16, u16, i32, u32, i64, u64, isize, usize);

impl<T> Arg for *const T {
    fn arg(self) -> i64 {
        self as i64
    }
}
impl<T> Arg for *mut T {
    fn arg(self) -> i64 {
        self as i64
    }
}
impl<T> Arg for &T {
    fn arg(self) -> i64 {
        std::ptr::from_ref(self) as i64
    }
}
impl<T> Arg for &mut T {
    fn arg(self) -> i64 {
        std::ptr::from_mut(self) as i64
    }
}
impl<T> Arg for &[T] {
    fn arg(self) -> i64 {
        self.as_ptr() as i64
    }
}
impl<T> Arg for &mut [T] {
    fn arg(self) -> i64 {
        self.as_mut_ptr() as i64
    }
}
impl Arg for &CStr {
    fn arg(self) -> i64 {
        self.as_ptr() as i64
    }
}

/// What a system call returned: a value or a negated errno. Prints as the number or as the errno's name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ret(pub(crate) i64);

impl Ret {
    /// The value, or the errno.
    pub(crate) fn get(self) -> Result<i64, Errno> {
        if (-4095..0).contains(&self.0) {
            Err(Errno::from_raw(-self.0 as i32))
        } else {
            Ok(self.0)
        }
    }

    /// `ok` or the errno's name, for values that differ between runs.
    pub(crate) fn ok(self) -> String {
        self.get()
            .map_or_else(|errno| format!("{errno:?}"), |_| "ok".to_owned())
    }

    /// The value of a call that the case needs to succeed.
    #[track_caller]
    pub(crate) fn must(self) -> i64 {
        self.get()
            .unwrap_or_else(|errno| panic!("set-up failed: {errno:?}"))
    }

    /// The descriptor that the case needs.
    #[track_caller]
    pub(crate) fn fd(self) -> i32 {
        self.must() as i32
    }
}

impl fmt::Display for Ret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Ok(value) => write!(f, "{value}"),
            Err(Errno::UnknownErrno) => write!(f, "errno {}", -self.0),
            Err(errno) => write!(f, "{errno:?}"),
        }
    }
}

/// Makes one raw system call: no libc wrapper comes between the case and the kernel.
pub(crate) fn call(nr: i64, args: &[i64]) -> Ret {
    let at = |i: usize| args.get(i).copied().unwrap_or(0);
    let result: i64;
    // SAFETY: the arguments are what the case wrote; a wrong pointer gives EFAULT, and what a right one may damage belongs to this
    // process, which runs one case and ends. rcx and r11 are what `syscall` clobbers; memory is assumed written.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") nr => result, in("rdi") at(0), in("rsi") at(1), in("rdx") at(2), in("r10") at(3),
            in("r8") at(4), in("r9") at(5), lateout("rcx") _, lateout("r11") _);
    }
    Ret(result)
}

/// `sys!(SYS_read, fd, &mut buf, 3)`: a raw system call with arguments of any [`Arg`] type.
macro_rules! sys {
    ($nr:expr $(, $arg:expr)* $(,)?) => { $crate::host::call($nr, &[$($crate::host::Arg::arg($arg)),*]) };
}
pub(crate) use sys;

/// Writes one line to stdout in one piece.
pub(crate) fn say(line: &str) {
    let line = format!("{line}\n");
    let mut rest = line.as_bytes();
    while !rest.is_empty() {
        let n = sys!(libc::SYS_write, 1, rest, rest.len()).must();
        rest = &rest[n as usize..];
    }
}

/// A zeroed structure of the kernel's interface.
pub(crate) fn zeroed<T: Copy>() -> T {
    // SAFETY: only used with libc's plain C structures, of which all-zero bytes are a value.
    unsafe { std::mem::zeroed() }
}

/// What a reading call gave: escaped bytes in quotes, or the errno's name.
pub(crate) struct Data(pub(crate) Result<Vec<u8>, Errno>);

impl Data {
    /// Keeps the first `ret` bytes of `buf`.
    pub(crate) fn of(ret: Ret, buf: &[u8]) -> Self {
        Self(
            ret.get()
                .map(|n| buf[..(n as usize).min(buf.len())].to_vec()),
        )
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Err(errno) => write!(f, "{errno:?}"),
        }
    }
}

/// `read` of up to `len` bytes.
pub(crate) fn read(fd: i32, len: usize) -> Data {
    let mut buf = vec![0u8; len];
    Data::of(sys!(libc::SYS_read, fd, &mut buf[..], len), &buf)
}

/// `pread64` of up to `len` bytes at `offset`.
pub(crate) fn pread(fd: i32, len: usize, offset: i64) -> Data {
    let mut buf = vec![0u8; len];
    Data::of(sys!(libc::SYS_pread64, fd, &mut buf[..], len, offset), &buf)
}

/// `write` of all of `bytes` in one call.
pub(crate) fn write(fd: i32, bytes: &[u8]) -> Ret {
    sys!(libc::SYS_write, fd, bytes, bytes.len())
}

/// `lseek`.
pub(crate) fn lseek(fd: i32, offset: i64, whence: i32) -> Ret {
    sys!(libc::SYS_lseek, fd, offset, whence)
}

/// `close`.
pub(crate) fn close(fd: i32) -> Ret {
    sys!(libc::SYS_close, fd)
}

/// `open` relative to the working directory, with mode 0644.
pub(crate) fn open(path: &CStr, flags: i32) -> Ret {
    sys!(libc::SYS_openat, libc::AT_FDCWD, path, flags, 0o644)
}

/// Creates a file with this content and closes it.
#[track_caller]
pub(crate) fn write_file(path: &CStr, bytes: &[u8]) {
    let fd = open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC).fd();
    assert_eq!(
        write(fd, bytes).0,
        bytes.len() as i64,
        "set-up failed: short write"
    );
    close(fd);
}

/// Creates an empty file.
#[track_caller]
pub(crate) fn touch(path: &CStr) {
    write_file(path, b"");
}

/// `pipe2(0)` as (read end, write end).
pub(crate) fn pipe() -> (i32, i32) {
    pipe2(0)
}

/// `pipe2` as (read end, write end).
#[track_caller]
pub(crate) fn pipe2(flags: i32) -> (i32, i32) {
    let mut fds = [0i32; 2];
    sys!(libc::SYS_pipe2, &mut fds, flags).must();
    (fds[0], fds[1])
}

/// A pair of connected Unix sockets of this type.
#[track_caller]
pub(crate) fn socketpair(kind: i32) -> (i32, i32) {
    let mut fds = [0i32; 2];
    sys!(libc::SYS_socketpair, libc::AF_UNIX, kind, 0, &mut fds).must();
    (fds[0], fds[1])
}

/// `getpid`.
pub(crate) fn getpid() -> i32 {
    sys!(libc::SYS_getpid).0 as i32
}

/// `gettid`.
pub(crate) fn gettid() -> i32 {
    sys!(libc::SYS_gettid).0 as i32
}

/// Says that a result does not matter to the case.
pub(crate) fn unused<T>(_: T) {}

/// A relative sleep that a signal does not shorten.
pub(crate) fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// A `timespec` of this many milliseconds.
pub(crate) fn timespec_ms(ms: i64) -> libc::timespec {
    libc::timespec {
        tv_sec: ms / 1000,
        tv_nsec: ms % 1000 * 1_000_000,
    }
}

/// The monotonic clock, in nanoseconds.
pub(crate) fn now_ns() -> i64 {
    let mut now: libc::timespec = zeroed();
    sys!(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &mut now).must();
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Soft and hard limit of a resource.
pub(crate) fn rlimit_of(resource: u32) -> libc::rlimit {
    let mut limit: libc::rlimit = zeroed();
    sys!(libc::SYS_prlimit64, 0, resource, NULL, &mut limit).must();
    limit
}

/// Sets the soft limit of a resource and leaves the hard one alone.
pub(crate) fn set_soft_limit(resource: u32, soft: u64) -> Ret {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: rlimit_of(resource).rlim_max,
    };
    sys!(libc::SYS_prlimit64, 0, resource, &limit, NULL)
}

/// Reads one byte that may be anywhere, faulting as any load does.
pub(crate) fn peek(addr: usize) -> u8 {
    // SAFETY: the address is the case's; a fault on it is what the case observes.
    unsafe { std::ptr::with_exposed_provenance::<u8>(addr).read_volatile() }
}

/// Writes one byte anywhere, faulting as any store does.
pub(crate) fn poke(addr: usize, value: u8) {
    // SAFETY: the address is the case's; a fault on it is what the case observes.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(addr).write_volatile(value) }
}

/// Calls into the vsyscall page, whose code every x86-64 process sees at a fixed address.
pub(crate) fn vsyscall(offset: u64, args: [i64; 2]) -> i64 {
    const PAGE: u64 = 0xffff_ffff_ff60_0000;
    let result: i64;
    // SAFETY: the page's functions keep C's rules; what they write through a wrong pointer is a fault that the case observes.
    unsafe {
        std::arch::asm!("call {}", in(reg) PAGE + offset, in("rdi") args[0], in("rsi") args[1], in("rdx") 0, lateout("rax") result,
            clobber_abi("C"));
    }
    result
}

/// Calls the machine code at `addr`, which must return like a C function without arguments.
pub(crate) fn execute(addr: usize) -> i32 {
    // SAFETY: the case put code there, or observes the fault.
    unsafe {
        let code: extern "C" fn() -> i32 = std::mem::transmute(std::hint::black_box(addr));
        code()
    }
}

/// Executes one instruction that cannot succeed in user mode.
pub(crate) fn bad_instruction(which: &str) {
    // SAFETY: each faults and changes nothing, which is what the case observes.
    unsafe {
        match which {
            "ud2" => std::arch::asm!("ud2"),
            "hlt" => std::arch::asm!("hlt"),
            "int3" => std::arch::asm!("int3"),
            "div" => {
                std::arch::asm!("xor edx, edx", "xor ecx, ecx", "mov eax, 1", "div ecx", out("eax") _, out("ecx") _, out("edx") _)
            }
            "noncanonical" => {
                std::arch::asm!("mov al, byte ptr [{}]", in(reg) 0x8000_0000_0000_0000u64, out("al") _)
            }
            other => panic!("no instruction is called {other}"),
        }
    }
}

/// glibc's `fork`: its locks are right in the child.
pub(crate) fn fork_raw() -> i32 {
    // SAFETY: cases fork while they run one thread, or only make system calls in the child.
    unsafe { libc::fork() }
}

/// Ends the process at once, without running what libc would run at exit.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// `clone` with a stack of its own for the child, which runs `body` and exits with its result. Shares what `flags` say.
pub(crate) fn clone_with_stack<F: FnOnce() -> i32>(flags: i32, body: F) -> Ret {
    extern "C" fn start<F: FnOnce() -> i32>(arg: *mut libc::c_void) -> i32 {
        // SAFETY: `arg` is the box made below, taken once on each side of the clone that has a copy of it.
        let body = unsafe { Box::from_raw(arg.cast::<F>()) };
        let code = body();
        exit_now_thread(code)
    }
    const STACK: usize = 256 * 1024;
    let stack = Box::leak(vec![0u128; STACK / 16].into_boxed_slice());
    let arg = Box::into_raw(Box::new(body)).cast();
    // SAFETY: the stack is leaked, so it outlives the child however long it runs; the child never returns from `start`.
    let pid = unsafe {
        libc::clone(
            start::<F>,
            stack.as_mut_ptr().add(STACK / 16).cast(),
            flags,
            arg,
        )
    };
    Ret(if pid < 0 {
        -i64::from(Errno::last_raw())
    } else {
        i64::from(pid)
    })
}

/// Ends the calling thread only, as `clone`d threads that libc does not know must.
fn exit_now_thread(code: i32) -> ! {
    sys!(libc::SYS_exit, code);
    unreachable!("exit returned")
}

/// A signal handler as the kernel calls it with SA_SIGINFO.
pub(crate) type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

/// Installs `handler` with SA_SIGINFO and these flags; `during` are blocked while it runs.
pub(crate) fn install(signal: i32, handler: Handler, flags: i32, during: &[i32]) -> Ret {
    let mut action: libc::sigaction = zeroed();
    action.sa_sigaction = handler as usize;
    action.sa_flags = flags | libc::SA_SIGINFO;
    for &signal in during {
        // SAFETY: the set is ours.
        unsafe { libc::sigaddset(&mut action.sa_mask, signal) };
    }
    // SAFETY: handlers of this crate only touch atomics and make system calls.
    let result = unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
    Ret(if result < 0 {
        -i64::from(Errno::last_raw())
    } else {
        0
    })
}

/// Sets SIG_DFL or SIG_IGN.
pub(crate) fn install_plain(signal: i32, action: usize) -> Ret {
    // SAFETY: no handler of ours is involved.
    let old = unsafe { libc::signal(signal, action) };
    Ret(if old == libc::SIG_ERR {
        -i64::from(Errno::last_raw())
    } else {
        0
    })
}

/// The current action of a signal: its handler (0 default, 1 ignored) and flags.
pub(crate) fn action_of(signal: i32) -> Result<(usize, i32), Errno> {
    let mut action: libc::sigaction = zeroed();
    // SAFETY: `action` is ours.
    if unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) } < 0 {
        return Err(Errno::last());
    }
    Ok((action.sa_sigaction, action.sa_flags & !0x0400_0000))
}

/// The parts of a `siginfo_t` that cases look at: signal, code, sender pid, sender uid, value, address.
pub(crate) fn siginfo_parts(info: &libc::siginfo_t) -> SigInfo {
    // SAFETY: the accessors read inside the structure; which member means something is decided by the signal and code.
    unsafe {
        SigInfo {
            signal: info.si_signo,
            code: info.si_code,
            pid: info.si_pid(),
            status: info.si_status(),
            value: info.si_value().sival_ptr as usize,
            addr: info.si_addr() as usize,
        }
    }
}

/// A `siginfo_t` taken apart.
#[derive(Clone, Copy, Default)]
pub(crate) struct SigInfo {
    pub(crate) signal: i32,
    pub(crate) code: i32,
    pub(crate) pid: i32,
    pub(crate) status: i32,
    pub(crate) value: usize,
    pub(crate) addr: usize,
}

/// What a handler got, by reference.
pub(crate) fn info_in_handler<'a>(info: *mut libc::siginfo_t) -> &'a libc::siginfo_t {
    // SAFETY: the kernel passes a valid siginfo that lives as long as the handler runs.
    unsafe { &*info }
}

/// One general register of the interrupted context, read (`None`) or replaced (`Some`).
pub(crate) fn context_register(context: *mut libc::c_void, register: i32, new: Option<i64>) -> i64 {
    // SAFETY: the kernel passes a valid ucontext that lives as long as the handler runs.
    let slot =
        unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[register as usize] };
    let old = *slot;
    if let Some(new) = new {
        *slot = new;
    }
    old
}

/// `execve` with these arguments and environment; returns only on failure.
pub(crate) fn exec(path: &CStr, args: &[&CStr], env: &[&CStr]) -> Ret {
    let list = |items: &[&CStr]| {
        items
            .iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect::<Vec<_>>()
    };
    let (args, env) = (list(args), list(env));
    sys!(libc::SYS_execve, path, &args[..], &env[..])
}

/// Fills xmm0–xmm15 and the x87 control word's neighbour with a pattern, raises `signal` by `tgkill`, and says whether all survived.
pub(crate) fn vector_registers_survive(signal: i32) -> bool {
    let (pid, tid) = (i64::from(getpid()), i64::from(gettid()));
    let before: [u128; 4] =
        std::array::from_fn(|i| 0x0123_4567_89ab_cdef_0011_2233_4455_6677 + i as u128);
    let mut after = [0u128; 4];
    // SAFETY: loads and stores stay inside the two arrays; the call's clobbers are declared.
    unsafe {
        std::arch::asm!(
            "movdqu xmm6, [{b}]", "movdqu xmm7, [{b} + 16]", "movdqu xmm14, [{b} + 32]", "movdqu xmm15, [{b} + 48]",
            "syscall",
            "movdqu [{a}], xmm6", "movdqu [{a} + 16], xmm7", "movdqu [{a} + 32], xmm14", "movdqu [{a} + 48], xmm15",
            b = in(reg) before.as_ptr(), a = in(reg) after.as_mut_ptr(),
            inlateout("rax") libc::SYS_tgkill => _, in("rdi") pid, in("rsi") tid, in("rdx") i64::from(signal),
            lateout("rcx") _, lateout("r11") _, out("xmm6") _, out("xmm7") _, out("xmm14") _, out("xmm15") _);
    }
    before == after
}

/// Overwrites the vector registers, for handlers that prove that theirs are not the interrupted code's.
pub(crate) fn scribble_vector_registers() {
    // SAFETY: only the declared registers change.
    unsafe {
        std::arch::asm!("pcmpeqd xmm6, xmm6", "pcmpeqd xmm7, xmm7", "pcmpeqd xmm14, xmm14", "pcmpeqd xmm15, xmm15",
            out("xmm6") _, out("xmm7") _, out("xmm14") _, out("xmm15") _);
    }
}

/// The address of something on the current stack.
pub(crate) fn stack_address() -> usize {
    let here = 0u8;
    std::ptr::from_ref(&here) as usize
}

/// The 32-bit word at `addr`, which must be mapped for as long as the case uses it.
pub(crate) fn atomic_at(addr: usize) -> &'static std::sync::atomic::AtomicU32 {
    // SAFETY: cases pass aligned addresses of mappings that they keep until they end.
    unsafe { std::sync::atomic::AtomicU32::from_ptr(std::ptr::with_exposed_provenance_mut(addr)) }
}

/// An entry of the auxiliary vector; 0 when absent.
pub(crate) fn auxiliary(key: u64) -> u64 {
    // SAFETY: only reads the process's own vector.
    unsafe { libc::getauxval(key) }
}

/// Replaces the signal mask that the handler's return will restore.
pub(crate) fn context_mask(context: *mut libc::c_void, change: impl Fn(u64) -> u64) {
    // SAFETY: the kernel passes a valid ucontext; its mask's first word is the kernel's signal set.
    unsafe {
        let word =
            std::ptr::from_mut(&mut (*context.cast::<libc::ucontext_t>()).uc_sigmask).cast::<u64>();
        *word = change(*word);
    }
}

unsafe extern "C" {
    static __rseq_offset: isize;
    static __rseq_size: u32;
}

/// Size of the area for restartable sequences that the C library has registered; 0: none.
pub(crate) fn rseq_size() -> u32 {
    // SAFETY: glibc from 2.35 on defines it and never changes it after start-up.
    unsafe { __rseq_size }
}

/// Adds 1 to the calling CPU's counter (64 bytes apart from `counters` on) in a restartable sequence that takes about `work` loops; counts in
/// `aborts` how often the host started it anew. The C library must have registered an area.
pub(crate) fn per_cpu_add(counters: usize, aborts: usize, work: u32) {
    // SAFETY: the area is at its offset from the thread pointer, the counters and `aborts` are mapped, the descriptor names the asm's own labels.
    unsafe {
        std::arch::asm!(
            ".pushsection .data.rel.ro.rseq, \"aw\"",
            ".balign 32",
            "77: .long 0, 0",
            ".quad 72f, 73f - 72f, 74f",
            ".popsection",
            "mov {area}, fs:0",
            "add {area}, {offset}",
            "75:",
            "lea {value}, [rip + 77b]",
            "mov qword ptr [{area} + 8], {value}",
            "72:",
            "mov {cpu:e}, dword ptr [{area} + 4]",
            "shl {cpu}, 6",
            "mov {value}, qword ptr [{counters} + {cpu}]",
            "mov {loops:e}, {work:e}",
            "76:",
            "dec {loops:e}",
            "jnz 76b",
            "inc {value}",
            "mov qword ptr [{counters} + {cpu}], {value}",
            "73:",
            "jmp 78f",
            ".byte 0x0f, 0xb9, 0x3d",
            ".long 0x53053053",
            "74:",
            "lock inc qword ptr [{aborts}]",
            "jmp 75b",
            "78:",
            area = out(reg) _,
            value = out(reg) _,
            cpu = out(reg) _,
            loops = out(reg) _,
            offset = in(reg) __rseq_offset,
            counters = in(reg) counters,
            aborts = in(reg) aborts,
            work = in(reg) work,
            options(nostack),
        );
    }
}
