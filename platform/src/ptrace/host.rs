//! The unsafe host calls of this platform: `ptrace(2)`, `waitid(2)`, and a wait that another thread can end without a race.
//!
//! All `ptrace` requests must come from the thread that attached; from any other they give `ESRCH`.

use std::arch::global_asm;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use abi::Errno;

use crate::host::check;

/// The signal that calls a tracer out of its wait.
const BELL: i32 = libc::SIGUSR2;

/// `user_regs_struct`.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct UserRegs {
    pub(super) r15: u64,
    pub(super) r14: u64,
    pub(super) r13: u64,
    pub(super) r12: u64,
    pub(super) rbp: u64,
    pub(super) rbx: u64,
    pub(super) r11: u64,
    pub(super) r10: u64,
    pub(super) r9: u64,
    pub(super) r8: u64,
    pub(super) rax: u64,
    pub(super) rcx: u64,
    pub(super) rdx: u64,
    pub(super) rsi: u64,
    pub(super) rdi: u64,
    pub(super) orig_rax: u64,
    pub(super) rip: u64,
    pub(super) cs: u64,
    pub(super) eflags: u64,
    pub(super) rsp: u64,
    pub(super) ss: u64,
    pub(super) fs_base: u64,
    pub(super) gs_base: u64,
    pub(super) ds: u64,
    pub(super) es: u64,
    pub(super) fs: u64,
    pub(super) gs: u64,
}

/// Byte offset of rax in `struct user`.
const OFFSET_RAX: u64 = 10 * 8;

/// A system call as `PTRACE_GET_SYSCALL_INFO` tells it.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub(super) struct SyscallInfo {
    /// 1: at its entry.
    pub(super) op: u8,
    pad: [u8; 3],
    pub(super) arch: u32,
    pub(super) ip: u64,
    pub(super) sp: u64,
    pub(super) nr: u64,
    pub(super) args: [u64; 6],
    rest: [u64; 2],
}

/// How a stopped thread runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Resume {
    /// To the next system call, which is not executed.
    Sysemu,
    /// For one instruction, with this signal (0: none).
    Step(i32),
    /// Untraced.
    Detach,
}

unsafe fn request(request: u32, tid: i32, addr: u64, data: u64) -> Result<i64, Errno> {
    // SAFETY: the caller vouches for what `data` points to.
    check(unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            u64::from(request),
            i64::from(tid),
            addr,
            data,
        )
    })
}

/// Attaches to `tid` without stopping it. It and all that it clones are killed when this thread ends.
pub(super) fn seize(tid: i32) -> Result<(), Errno> {
    let options = libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK;
    // SAFETY: no memory is passed.
    unsafe { request(libc::PTRACE_SEIZE, tid, 0, options as u64) }.map(drop)
}

/// Makes a running thread stop.
pub(super) fn interrupt(tid: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    unsafe { request(libc::PTRACE_INTERRUPT, tid, 0, 0) }.map(drop)
}

/// Ends a ptrace stop.
pub(super) fn resume(tid: i32, how: Resume) -> Result<(), Errno> {
    const PTRACE_SYSEMU: u32 = 31;
    let (number, signal) = match how {
        Resume::Sysemu => (PTRACE_SYSEMU, 0),
        Resume::Step(signal) => (libc::PTRACE_SINGLESTEP, signal),
        Resume::Detach => (libc::PTRACE_DETACH, 0),
    };
    // SAFETY: no memory is passed.
    unsafe { request(number, tid, 0, signal as u64) }.map(drop)
}

/// The general registers of a stopped thread.
pub(super) fn registers(tid: i32) -> Result<UserRegs, Errno> {
    let mut regs = UserRegs::default();
    // SAFETY: room for one `user_regs_struct`.
    unsafe { request(libc::PTRACE_GETREGS, tid, 0, &raw mut regs as u64) }?;
    Ok(regs)
}

/// Sets the general registers of a stopped thread.
pub(super) fn set_registers(tid: i32, regs: &UserRegs) -> Result<(), Errno> {
    // SAFETY: one `user_regs_struct`.
    unsafe {
        request(
            libc::PTRACE_SETREGS,
            tid,
            0,
            std::ptr::from_ref(regs) as u64,
        )
    }
    .map(drop)
}

/// Sets rax alone.
pub(super) fn set_rax(tid: i32, value: u64) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    unsafe { request(libc::PTRACE_POKEUSER, tid, OFFSET_RAX, value) }.map(drop)
}

/// The system call at whose entry the thread stopped.
pub(super) fn syscall_info(tid: i32) -> Result<SyscallInfo, Errno> {
    const PTRACE_GET_SYSCALL_INFO: u32 = 0x420e;
    let mut info = SyscallInfo::default();
    // SAFETY: room for as many bytes as are said.
    unsafe {
        request(
            PTRACE_GET_SYSCALL_INFO,
            tid,
            size_of::<SyscallInfo>() as u64,
            &raw mut info as u64,
        )
    }?;
    Ok(info)
}

/// What a thread stopped for: of its `siginfo_t` the code and the two words after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SignalInfo {
    pub(super) code: i32,
    /// `si_addr` of a fault.
    pub(super) addr: u64,
    /// Of SYS_SECCOMP: `si_arch`.
    pub(super) arch: u32,
}

/// The signal that a thread stopped for.
pub(super) fn signal_info(tid: i32) -> Result<SignalInfo, Errno> {
    let mut words = [0_u64; 16];
    // SAFETY: room for one `siginfo_t` of 128 bytes.
    unsafe { request(libc::PTRACE_GETSIGINFO, tid, 0, words.as_mut_ptr() as u64) }?;
    Ok(SignalInfo {
        code: words[1] as u32 as i32,
        addr: words[2],
        arch: (words[3] >> 32) as u32,
    })
}

/// What an event stop is about: the new thread's id after a clone.
pub(super) fn event_message(tid: i32) -> Result<u64, Errno> {
    let mut message = 0_u64;
    // SAFETY: room for one word.
    unsafe { request(libc::PTRACE_GETEVENTMSG, tid, 0, &raw mut message as u64) }?;
    Ok(message)
}

/// Unblocks all signals of a stopped thread.
pub(super) fn clear_signal_mask(tid: i32) -> Result<(), Errno> {
    const PTRACE_SETSIGMASK: u32 = 0x420b;
    let mask = 0_u64;
    // SAFETY: a mask of eight bytes.
    unsafe { request(PTRACE_SETSIGMASK, tid, 8, &raw const mask as u64) }.map(drop)
}

const NT_X86_XSTATE: u64 = 0x202;

/// Reads the extended state of a stopped thread into `buf` and returns how long it is.
pub(super) fn xstate(tid: i32, buf: &mut [u8]) -> Result<usize, Errno> {
    let mut vector = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: the vector describes a live buffer.
    unsafe {
        request(
            libc::PTRACE_GETREGSET,
            tid,
            NT_X86_XSTATE,
            &raw mut vector as u64,
        )
    }?;
    Ok(vector.iov_len)
}

/// Sets the extended state: exactly as many bytes as [`xstate`] returned.
pub(super) fn set_xstate(tid: i32, buf: &[u8]) -> Result<(), Errno> {
    let vector = libc::iovec {
        iov_base: buf.as_ptr().cast_mut().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: the vector describes a live buffer, which the kernel only reads.
    unsafe {
        request(
            libc::PTRACE_SETREGSET,
            tid,
            NT_X86_XSTATE,
            &raw const vector as u64,
        )
    }
    .map(drop)
}

/// What `waitid` says of a tracee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// In a ptrace stop; signal in the low byte, `PTRACE_EVENT_*` in the second.
    Stopped(i32),
    /// Dead, not yet reaped.
    Dead,
}

const TRACEES: i32 = libc::__WALL | libc::__WNOTHREAD | libc::WEXITED | libc::WSTOPPED;

fn decode(info: &libc::siginfo_t) -> (i32, Event) {
    // SAFETY: `waitid` filled the SIGCHLD members.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    match info.si_code {
        libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED => (pid, Event::Dead),
        _ => (pid, Event::Stopped(status)),
    }
}

fn wait_one(tid: i32, options: i32) -> Result<(i32, Event), Errno> {
    loop {
        // SAFETY: all zero bytes are a valid `siginfo_t`.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is a valid place for the result.
        let result = check(
            unsafe { libc::waitid(libc::P_PID, tid.cast_unsigned(), &raw mut info, options) }
                .into(),
        );
        match result {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(decode(&info)),
        }
    }
}

/// Waits until tracee `tid` stops or dies, and leaves the event to be seen again.
pub(super) fn wait_for(tid: i32) -> Result<Event, Errno> {
    wait_one(tid, TRACEES | libc::WNOWAIT).map(|(_, event)| event)
}

/// Takes the stop of `tid` off the list, so that [`wait_any`] does not return it again.
pub(super) fn consume_stop(tid: i32) {
    let _ = wait_one(
        tid,
        libc::__WALL | libc::__WNOTHREAD | libc::WSTOPPED | libc::WNOHANG,
    );
}

/// Reaps a dead tracee: what it used, with all its process if it led one.
pub(super) fn reap(tid: i32) -> crate::api::Usage {
    let options = libc::__WALL | libc::__WNOTHREAD | libc::WEXITED | libc::WNOHANG;
    crate::host::process::reap_with(libc::P_PID, tid.cast_unsigned(), options)
        .ok()
        .flatten()
        .unwrap_or_default()
}

// rdi = the bell, rsi = a siginfo_t, rdx = options. `waitid(P_ALL)` unless the bell has rung. A signal that arrives between the test and the
// call's beginning would be lost on it; so the handler moves a thread that it finds there (or whose call the kernel is about to restart) on to
// `abort`.
global_asm!(
    ".pushsection .text.runsc_wait, \"ax\"",
    "runsc_wait_any:",
    "mov rax, rdi",
    "mov r10, rdx",
    "mov rdx, rsi",
    "xor edi, edi",
    "xor esi, esi",
    "xor r8d, r8d",
    "runsc_wait_any_start:",
    "cmp dword ptr [rax], 0",
    "jne runsc_wait_any_abort",
    "mov eax, 247",
    "syscall",
    "runsc_wait_any_end:",
    "ret",
    "runsc_wait_any_abort:",
    "mov rax, -4",
    "ret",
    ".popsection",
);

unsafe extern "C" {
    fn runsc_wait_any(bell: *const u32, info: *mut libc::siginfo_t, options: i64) -> i64;
    static runsc_wait_any_start: u8;
    static runsc_wait_any_end: u8;
    static runsc_wait_any_abort: u8;
}

extern "C" fn on_bell(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes the interrupted thread's `ucontext_t`, which it restores from; only its instruction pointer is changed, from
    // within `runsc_wait_any` to a place there that returns with the same stack.
    unsafe {
        let rip =
            &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize];
        if (*rip as usize) >= &raw const runsc_wait_any_start as usize
            && (*rip as usize) < &raw const runsc_wait_any_end as usize
        {
            *rip = &raw const runsc_wait_any_abort as i64;
        }
    }
}

/// Prepares this process for [`Bell`]s.
pub(super) fn install_bell() -> Result<(), Errno> {
    // SAFETY: all zero bytes are a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_bell as *const () as usize;
    // Everything else that it interrupts goes on.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: a valid action whose handler is safe at any instruction.
    check(unsafe { libc::sigaction(BELL, &raw const action, std::ptr::null_mut()) }.into())
        .map(drop)
}

/// Lets the bell's signal through to the calling thread.
pub(super) fn hear_the_bell() -> i32 {
    // SAFETY: a valid set; the call only changes this thread's mask.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, BELL);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::gettid()
    }
}

/// Wakes one tracer out of [`wait_any`].
pub(super) struct Bell {
    rung: AtomicU32,
    /// The tracer's thread id while it waits or is about to.
    waiting: AtomicU32,
}

impl Bell {
    pub(super) const fn new() -> Self {
        Self {
            rung: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
        }
    }

    /// From any thread, after something was queued.
    pub(super) fn ring(&self, pid: i32) {
        if self.rung.swap(1, Ordering::SeqCst) != 0 {
            return;
        }
        let tid = self.waiting.load(Ordering::SeqCst);
        if tid != 0 {
            let _ = crate::host::process::signal_thread(pid, tid.cast_signed(), BELL);
        }
    }

    /// By the tracer, before it looks at its queue.
    pub(super) fn clear(&self) {
        self.rung.store(0, Ordering::SeqCst);
    }

    /// Waits until any tracee of this thread (`tid`) stops or dies, and leaves the event to be seen again. `EINTR`: the bell rang. `ECHILD`:
    /// there is no tracee.
    pub(super) fn wait_any(&self, tid: i32) -> Result<(i32, Event), Errno> {
        // SAFETY: all zero bytes are a valid `siginfo_t`.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        self.waiting.store(tid.cast_unsigned(), Ordering::SeqCst);
        // SAFETY: a live word, a valid place for the result.
        let result = unsafe {
            runsc_wait_any(
                self.rung.as_ptr(),
                &raw mut info,
                (TRACEES | libc::WNOWAIT).into(),
            )
        };
        self.waiting.store(0, Ordering::SeqCst);
        if result < 0 {
            return Err(Errno::from_raw(-result as i32));
        }
        Ok(decode(&info))
    }
}

/// Bytes that were sent on a stream socket and not yet received.
pub(super) fn unreceived(socket: BorrowedFd<'_>) -> Result<i32, Errno> {
    let mut count = 0_i32;
    // SAFETY: room for one int (`SIOCOUTQ`, `unix(7)`).
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) }.into())?;
    Ok(count)
}
