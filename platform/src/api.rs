//! The interface between the kernel and whatever runs guest code.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use abi::Errno;

use crate::remains::Remains;
use futures_shape::BoxFuture;

/// A boxed future, as `async fn` in a trait object needs it.
pub mod futures_shape {
    use std::future::Future;
    use std::pin::Pin;

    /// A boxed future that may move between threads.
    pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
}

/// One past the highest address that a guest may map. Above it are the guard gap, the stub and the slots, hidden from the guest's maps.
pub const GUEST_TOP: u64 = 0x7ffe_0000_0000;
/// First address that a guest may map (`vm.mmap_min_addr`).
pub const GUEST_BOTTOM: u64 = 0x1_0000;
/// Low zone kept free for trampolines of the fast path: [`GUEST_BOTTOM`]..this is never given to a guest's mapping.
pub const TRAMPOLINE_TOP: u64 = 0x2_0000;

/// The general registers in the layout of the kernel's `user_regs_struct`, with the FS and GS bases.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "register names")]
#[repr(C)]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Number and arguments of a system call, as found in rax, rdi, rsi, rdx, r10, r8, r9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyscallArgs {
    /// The whole of rax.
    pub nr: u64,
    /// The six argument registers.
    pub args: [u64; 6],
    /// Address after the `syscall` instruction.
    pub ip: u64,
    /// `AUDIT_ARCH_X86_64`, or another value for a call made through a 32-bit gate (answer those with ENOSYS or a signal).
    pub arch: u32,
}

/// A processor exception that guest code raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The signal Linux would send (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP).
    pub signal: abi::signal::Signal,
    /// The host's `si_code`.
    pub code: i32,
    /// The host's `si_addr`.
    pub addr: u64,
    /// Exception vector (`REG_TRAPNO`).
    pub trapno: u64,
    /// Error code (`REG_ERR`).
    pub error: u64,
    /// CR2 as in the host's frame.
    pub cr2: u64,
}

/// Why a guest thread stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// First stop of a new thread: a full stop in which nothing has run yet.
    Started,
    /// A system call of which only number and arguments are known. Only [`GuestThread::answer`] and
    /// [`GuestThread::answer_and_stop`] may follow.
    Syscall(SyscallArgs),
    /// A system call with the whole register file: `rip` is behind the instruction, rax still holds the number.
    SyscallFull(SyscallArgs),
    /// An exception at `rip`. A full stop.
    Fault(Fault),
    /// The call given to [`GuestThread::defer`] failed: a full stop in which no guest code has run since.
    DeferredFailed(Errno),
    /// A full stop that the kernel asked for by [`GuestThread::kick`] or [`GuestThread::answer_and_stop`]; may be spurious.
    Kicked,
}

impl Stop {
    /// Whether registers may be read and written and host calls ordered.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        !matches!(self, Self::Syscall(_))
    }
}

/// The host thread no longer exists, or no longer obeys and was killed: treat as SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// What backs a mapping.
#[derive(Clone, Debug)]
pub enum MapSource {
    /// Zero pages of the guest's own (copy-on-write, charged to its process).
    Anonymous,
    /// `file` from `offset` bytes on (a multiple of the page size). The descriptor's rights bound the guest's.
    File {
        /// A host descriptor of the sentry; donated to the guest's host process for the duration of the call, or cached there.
        file: Arc<OwnedFd>,
        /// Byte offset, page-aligned.
        offset: u64,
    },
}

/// A host call that the kernel orders on a stopped thread, in that thread's address space. Addresses are page-aligned and were chosen by the
/// kernel: they lie below [`GUEST_TOP`].
#[derive(Clone, Debug)]
pub enum HostCall {
    /// `mmap` at `addr`: replacing what is there if `replace`, else MAP_FIXED_NOREPLACE. `prot` is PROT_READ|WRITE|EXEC; the platform adds
    /// PROT_READ to PROT_WRITE. `shared` chooses MAP_SHARED over MAP_PRIVATE. `noreserve` adds MAP_NORESERVE.
    Map {
        /// First byte.
        addr: u64,
        /// Length in bytes, a multiple of the page size.
        len: u64,
        /// `PROT_*` bits.
        prot: u32,
        /// MAP_SHARED rather than MAP_PRIVATE.
        shared: bool,
        /// Replace existing mappings.
        replace: bool,
        /// MAP_NORESERVE.
        noreserve: bool,
        /// Backing.
        source: MapSource,
    },
    /// `munmap`.
    Unmap {
        /// First byte.
        addr: u64,
        /// Length in bytes.
        len: u64,
    },
    /// `mprotect`.
    Protect {
        /// First byte.
        addr: u64,
        /// Length in bytes.
        len: u64,
        /// `PROT_*` bits.
        prot: u32,
    },
    /// `mremap(addr, old_len, new_len, MREMAP_MAYMOVE | MREMAP_FIXED, new_addr)`, or in place when `new_addr == addr`. `old_len` is never 0.
    Remap {
        /// First byte of the old range.
        addr: u64,
        /// Length of the old range.
        old_len: u64,
        /// Length of the new range.
        new_len: u64,
        /// First byte of the new range.
        new_addr: u64,
        /// MREMAP_DONTUNMAP.
        keep_old: bool,
    },
    /// `madvise`.
    Advise {
        /// First byte.
        addr: u64,
        /// Length in bytes.
        len: u64,
        /// `MADV_*` number.
        advice: u32,
    },
    /// `mincore`: a byte a page, written to the guest at `vector`.
    Residency {
        /// First byte.
        addr: u64,
        /// Length in bytes.
        len: u64,
        /// Where the answer goes.
        vector: u64,
    },
    /// `mlock`.
    Pin {
        /// First byte.
        addr: u64,
        /// Length in bytes.
        len: u64,
    },
    /// `munlock`.
    Unpin {
        /// First byte.
        addr: u64,
        /// Length in bytes.
        len: u64,
    },
    /// `getrusage` of the thread's host process, or of the thread alone: a `struct rusage`, written to the guest at `at`.
    Usage {
        /// RUSAGE_THREAD rather than RUSAGE_SELF.
        thread: bool,
        /// Where the answer goes.
        at: u64,
    },
    /// `clock_gettime(CLOCK_THREAD_CPUTIME_ID)`: a `struct timespec`, written to the guest at `at`.
    ThreadClock {
        /// Where the answer goes.
        at: u64,
    },
    /// `membarrier`. Its result is what the guest says it was: an answer to that guest and nothing else.
    Barrier {
        /// `MEMBARRIER_CMD_*`.
        command: i32,
        /// `MEMBARRIER_CMD_FLAG_*`.
        flags: u32,
    },
    /// `futex(FUTEX_WAKE_OP)` that wakes nobody: sets `bits` in the word at `at` in one atomic step, `EFAULT` if the guest cannot write there.
    SetBits {
        /// Address of the word, a multiple of 4.
        at: u64,
        /// What is set: one bit.
        bit: u32,
    },
    /// `rseq(2)` on the ordering thread. Its result is what the guest says it was: an answer to that guest and nothing else.
    Sequences {
        /// Address of the area, below [`GUEST_TOP`] with its whole length.
        area: u64,
        /// Length of the area in bytes.
        len: u32,
        /// RSEQ_FLAG_UNREGISTER or whatever the guest gave.
        flags: u32,
        /// What stands before each abort address.
        signature: u32,
    },
    /// `arch_prctl(ARCH_SET_FS)` on the ordering thread.
    SetFsBase(u64),
    /// `arch_prctl(ARCH_SET_GS)` on the ordering thread.
    SetGsBase(u64),
    /// `prctl(PR_SET_NAME)` on the ordering thread: its host thread's name, for the host's tools only.
    SetName {
        /// Where in guest memory the name is, at most 16 bytes with its NUL. Whatever is there when the host reads it, it is only shown.
        name: u64,
    },
    /// `prctl(PR_SET_MM, PR_SET_MM_MAP)`: where arguments and environment are, for the host's tools only. Hosts without CONFIG_CHECKPOINT_RESTORE
    /// answer EINVAL.
    SetLayout {
        /// Where in guest memory a `struct prctl_mm_map` is. The host checks its addresses, and that it asks for nothing which needs privilege.
        layout: u64,
    },
}

/// What the host's scheduler is told about a guest thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// The CPUs it may run on: bit n stands for the n-th of those that the sentry itself may use.
    Affinity(u64),
    /// A normal policy and its weight.
    Class {
        /// SCHED_OTHER, SCHED_BATCH or SCHED_IDLE.
        policy: i32,
        /// Nice value, -20..=19.
        nice: i32,
    },
}

/// How a new guest thread relates to its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloneKind {
    /// A thread of the same guest process: same address space.
    Thread,
    /// Another guest process in the same address space (`vfork`, CLONE_VM without CLONE_THREAD).
    SharedMemory,
    /// Another guest process with a copy-on-write copy of the address space (`fork`).
    Fork,
}

/// What a clone made.
pub struct Cloned {
    /// The new thread, in [`Stop::Started`] with the registers asked for, not yet running.
    pub thread: Arc<dyn GuestThread>,
    /// Its address space: the parent's own, or the copy.
    pub space: Arc<dyn AddressSpace>,
}

/// CPU time and memory of a host process, from the host kernel's own books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User time in nanoseconds.
    pub user_ns: u64,
    /// System time in nanoseconds.
    pub system_ns: u64,
    /// Resident bytes.
    pub resident: u64,
    /// Largest resident size so far, in bytes.
    pub peak_resident: u64,
    /// Minor faults.
    pub minor_faults: u64,
    /// Major faults.
    pub major_faults: u64,
    /// Voluntary and involuntary switches.
    pub switches: [u64; 2],
    /// Blocks of 512 bytes read and written.
    pub blocks: [u64; 2],
}

/// Makes address spaces.
pub trait Platform: Send + Sync {
    /// `"notify"`, `"ptrace"` or `"mock"`.
    fn name(&self) -> &'static str;

    /// A fresh, empty address space with one thread in [`Stop::Started`] (a full stop, registers all zero but segment selectors). Nothing of the
    /// guest's is mapped in it but the vDSO (see [`AddressSpace::vdso`]).
    fn spawn(&self) -> BoxFuture<'_, Result<Cloned, Errno>>;
}

/// A range of guest addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

/// Where the host's vDSO and its data pages are mapped in every guest address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Vdso {
    /// The data pages (`[vvar]`), below or above the code; may be split by the host kernel in several mappings but is one range.
    pub vvar: Range,
    /// The ELF image (`AT_SYSINFO_EHDR`).
    pub code: Range,
}

/// One guest address space. Dropping the last reference kills the host process that holds it.
///
/// Reads and writes are not atomic, may be torn by guest threads and copy in ascending order. The bytes are untrusted.
pub trait AddressSpace: Send + Sync {
    /// Copies from the guest. Returns how many bytes were readable from `addr` on (short at the first unreadable page); `EFAULT` if none.
    /// An empty buffer gives `Ok(0)` without looking at the address.
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Errno>;
    /// Copies to the guest; as [`AddressSpace::read`]. Never writes where the guest itself could not.
    fn write(&self, addr: u64, buf: &[u8]) -> Result<usize, Errno>;
    /// Scatter: reads ranges `(addr, len)` in order into `buf`; short at the first failure.
    fn read_vectored(&self, ranges: &[(u64, usize)], buf: &mut [u8]) -> Result<usize, Errno>;
    /// Gather: writes `buf` to ranges in order; short at the first failure.
    fn write_vectored(&self, ranges: &[(u64, usize)], buf: &[u8]) -> Result<usize, Errno>;
    /// Where the vDSO is.
    fn vdso(&self) -> Vdso;
    /// Whether [`HostCall::Sequences`] can be offered: the host tells a guest thread the number of its CPU, which must be the one that the guest
    /// counts by.
    fn has_sequences(&self) -> bool {
        false
    }
    /// The host pid of the process that holds the memory, as seen in the sentry's pid namespace.
    fn host_pid(&self) -> i32;
    /// CPU and memory use.
    fn usage(&self) -> Usage;
}

/// One host thread that runs guest code. All methods may be called from any thread of the sentry, but only the owner of the guest thread's
/// task calls those that belong to a stop.
pub trait GuestThread: Send + Sync {
    /// The next stop; registers `cx`'s waker while the guest runs. Consumes the stop: a second poll waits for the next.
    fn poll_stop(&self, cx: &mut Context<'_>) -> Poll<Result<Stop, Gone>>;

    /// Ends a light stop: the call returns `value` (a raw rax) and the guest runs on.
    fn answer(&self, value: i64);
    /// Ends a light stop with `value` in rax, but stops the thread fully ([`Stop::Kicked`]) before it executes another instruction.
    fn answer_and_stop(&self, value: i64);

    /// Ends a light stop of one of [`Config::passable_calls`]: the host executes the call as the guest's own, and the guest sees what the host
    /// answers. It has happened at this thread's next stop, not before. `false`: the platform does not let it through, nothing is done.
    fn let_through(&self) -> bool {
        false
    }
    /// Ends a light stop of one of [`Config::passable_calls`] without an answer: the same call arrives again, as [`Stop::SyscallFull`] or (if
    /// something came between) as a light stop. A platform that gives no such stops need not know how.
    fn call_again(&self) {
        self.exit();
    }

    /// The general registers at a full stop.
    fn registers(&self) -> Result<Registers, Gone>;
    /// Replaces the general registers at a full stop. Segment selectors and privileged flag bits are sanitised.
    fn set_registers(&self, registers: &Registers) -> Result<(), Gone>;
    /// The extended state (FPU, SSE, AVX) at a full stop, as an XSAVE image in the layout of a Linux signal frame (with its software-reserved
    /// bytes and trailing magic).
    fn extended_state(&self) -> Result<Vec<u8>, Gone>;
    /// Replaces the extended state; what does not fit the layout is rejected by resetting the state to its initial values.
    fn set_extended_state(&self, image: &[u8]) -> Result<(), Gone>;
    /// The FS base that the platform last knew, valid at a full stop.
    fn fs_base(&self) -> u64;
    /// The GS base, likewise.
    fn gs_base(&self) -> u64;

    /// Makes host calls at a full stop, in order, until one fails. One result per call made. The stop goes on afterwards.
    fn order<'a>(
        &'a self,
        calls: &'a [HostCall],
    ) -> BoxFuture<'a, Result<Vec<Result<u64, Errno>>, Gone>>;
    /// Makes a new host thread at a full stop of this one; it gets `registers`, and this thread's extended state, FS and GS base (FS = `tls` if
    /// given).
    fn clone_thread<'a>(
        &'a self,
        kind: CloneKind,
        registers: &'a Registers,
        tls: Option<u64>,
    ) -> BoxFuture<'a, Result<Result<Cloned, Errno>, Gone>>;

    /// Leaves `call` to be made when this full stop ends by [`GuestThread::resume`]: the guest then runs on with the registers last set if the call
    /// succeeds, else it stops with [`Stop::DeferredFailed`]. Ordering something else in this stop takes it back. `false`: the platform or the call does not
    /// allow it, nothing is done.
    fn defer(&self, _call: &HostCall) -> bool {
        false
    }
    /// Ends a full stop: the guest runs on with the registers last set.
    fn resume(&self);

    /// Asks a running thread to stop soon (a full stop). Advisory and idempotent; a stop for another reason may come first, and the kick may then
    /// turn up as a spurious [`Stop::Kicked`]. No light stop follows a kick before a full one.
    fn kick(&self);

    /// Tells the platform that the thread's task will be blocked for long (`true`) or runs again: used to choose wake-up modes and to park.
    fn set_blocked(&self, blocked: bool);
    /// For a task that is about to wait while its thread stands at a stop: `true` if the host process is gone already, else `waker` is woken
    /// when it goes. The task then gives up its wait, and its next [`GuestThread::poll_stop`] gives [`Gone`]. Overwritten by the next poll.
    fn watch_gone(&self, waker: &Waker) -> bool;

    /// Ends the host thread for good, at any stop or while running; never returns it to guest code. The host process goes with its last thread.
    fn exit(&self);

    /// What its host process will have used in all.
    fn remains(&self) -> Arc<Remains>;
    /// The host thread id in the sentry's pid namespace.
    fn host_tid(&self) -> i32;
    /// Passes on how the thread is to be scheduled. The host may refuse (a lower nice value, a CPU outside of its set).
    fn schedule(&self, how: Schedule) -> Result<(), Errno>;
    /// CPU time of this thread alone.
    fn cpu_time_ns(&self) -> (u64, u64);
}

/// What the kernel's executor gives to the platform's receiver threads.
///
/// A receiver brackets each stop: it wakes the task (through the waker that `poll_stop` registered), then calls [`Worker::run_ready`], which polls
/// everything that was woken on this thread, so that the handler and whatever it wakes run without a thread switch.
pub trait Worker: Send + Sync {
    /// Called once by every thread of the platform that will wake tasks, before it does.
    fn enter(&self);
    /// Polls all tasks that were woken on this thread until none is left.
    fn run_ready(&self);
}

/// What a platform is made with.
pub struct Config {
    /// Call numbers that must arrive as [`Stop::SyscallFull`].
    pub full_calls: Vec<u32>,
    /// Those of them that may arrive as [`Stop::Syscall`] where the platform can let them through or have them made again
    /// ([`GuestThread::let_through`], [`GuestThread::call_again`]), or that need no registers there (`exit`).
    pub passable_calls: Vec<u32>,
    /// Try the spike of the fast path, where the platform has it.
    pub fast_path: bool,
    /// The executor's hooks.
    pub worker: Arc<dyn Worker>,
}
