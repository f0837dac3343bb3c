//! Tasks and processes.
//!
//! - [`Task`]: a thread as others see it; shared. [`CurrentTask`]: the same as its own future sees it; only the owner holds it.
//! - [`ThreadGroup`], [`ProcessGroup`], [`Session`]: [`group`].
//! - [`Pid`], [`PidNamespace`]: [`pid`]. [`creds`]: credentials. [`limits`]: resource limits.
//!
//! Each resource that a clone flag can share is an `Arc` of its own: [`crate::vfs::FdTable`], [`crate::vfs::FsContext`], [`crate::mm::MemoryMap`],
//! [`crate::signal::SignalActions`].
//!
//! Lock order: process tree → family → group's pending → task's signals → the `RwLock`s below (leaves: clone the `Arc` out, then use it).

pub mod block;
pub mod cred_change;
pub mod creds;
mod group;
pub mod lifecycle;
pub mod limits;
pub mod namespaces;
mod pid;
pub mod pids;
pub mod restart;
pub mod seccomp;
pub mod seccomp_listener;
pub mod timers;
pub mod trace;
pub mod user_ns;

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;

use abi::signal::SigSet;
use parking_lot::{Mutex, RwLock};
use platform::{GuestThread, SyscallArgs};

pub use group::{
    ControllingTerminal, ExitStatus, Family, JobState, ProcessGroup, Session, ThreadGroup, Times,
};
pub use pid::{PID_MAX, Pid, PidNamespace};

use crate::kernel::{Container, Kernel};
use crate::mm::{Deferred, MemoryMap, UserMemory};
use crate::signal::Queue;
use crate::vfs::{FdTable, FsContext};
use creds::Creds;
use namespaces::Namespaces;

/// Alternate signal stack (`sigaltstack(2)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AltStack {
    /// First byte.
    pub base: u64,
    /// Bytes; 0: none.
    pub size: u64,
    /// SS_DISABLE, SS_AUTODISARM.
    pub flags: u32,
}

/// Signal state of one task.
#[derive(Default)]
pub struct TaskSignals {
    /// Blocked signals.
    pub blocked: SigSet,
    /// The mask to come back to when a call that replaced it (sigsuspend, ppoll …) ends.
    pub saved_mask: Option<SigSet>,
    /// Signals to this very thread.
    pub pending: Queue,
    /// What sigtimedwait waits for although it is blocked.
    pub waited_for: SigSet,
    /// Alternate stack.
    pub alt_stack: AltStack,
    /// It must die, whatever is blocked.
    pub killed: bool,
}

/// Odds and ends of a task that others may look at.
#[derive(Clone, Debug, Default)]
pub struct TaskMisc {
    /// Name, at most 15 bytes (`PR_SET_NAME`).
    pub comm: Vec<u8>,
    /// `set_tid_address`, CLONE_CHILD_CLEARTID.
    pub clear_child_tid: u64,
    /// `set_robust_list`: head and length.
    pub robust_list: (u64, u64),
    /// `rseq(2)`: area, length, signature.
    pub rseq: (u64, u32, u32),
    /// PR_SET_PDEATHSIG.
    pub parent_death_signal: u8,
    /// PR_SET_TIMERSLACK in nanoseconds.
    pub timer_slack_ns: u64,
    /// CPU affinity as set: bit n stands for CPU n. 0: all.
    pub affinity: u64,
    /// Scheduling policy and real-time priority.
    pub scheduler: (i32, i32),
    /// Nice value, -20..=19.
    pub nice: i32,
    /// I/O priority.
    pub ioprio: i32,
    /// `personality(2)`.
    pub personality: u32,
    /// `set_mempolicy(2)`: mode with its flags, nodes.
    pub memory_policy: (u16, u64),
    /// Who logged in and the number of the session, as `/proc/self/loginuid` was told.
    pub login: Option<(u32, u32)>,
}

/// What a task does right now, for `/proc/<pid>/stat` and `runsc debug --stacks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RunState {
    /// Running guest code or a call.
    Running = 0,
    /// Blocked in an interruptible wait.
    Sleeping = 1,
    /// Stopped by job control.
    Stopped = 2,
    /// Stopped by a tracer.
    Traced = 3,
    /// Gone but for its exit status.
    Zombie = 4,
    /// In an uninterruptible wait (vfork).
    Waiting = 5,
}

/// A thread as others see it.
pub struct Task {
    /// The sandbox.
    pub kernel: Arc<Kernel>,
    /// The container it belongs to.
    pub container: Arc<Container>,
    /// Its thread id. Changes once: exec by a thread that is no leader takes the leader's.
    pub tid: RwLock<Arc<Pid>>,
    /// Its process.
    pub group: Arc<ThreadGroup>,
    /// The host thread that runs it; replaced by exec.
    pub thread: RwLock<Arc<dyn GuestThread>>,
    /// Its memory; `None` once it has exited.
    pub memory_map: RwLock<Option<Arc<MemoryMap>>>,
    /// Descriptors; `None` once it has exited.
    pub files: RwLock<Option<Arc<FdTable>>>,
    /// Root, working directory, umask.
    pub fs: RwLock<Arc<FsContext>>,
    /// Credentials.
    pub creds: RwLock<Arc<Creds>>,
    /// Namespaces other than pid and mount.
    pub namespaces: RwLock<Arc<Namespaces>>,
    /// Signals.
    pub signals: Mutex<TaskSignals>,
    /// Odds and ends.
    pub misc: Mutex<TaskMisc>,
    /// Guest seccomp filters, innermost last.
    pub seccomp: RwLock<crate::task::seccomp::SeccompState>,
    /// Wakes its future.
    pub waker: OnceLock<Waker>,
    state: AtomicU8,
    in_guest: AtomicBool,
    interrupted: AtomicBool,
    /// The call it is in: number + 1, or 0 for none; with its arguments, for `--stacks` and `/proc/<pid>/syscall`.
    pub current_call: Mutex<Option<SyscallArgs>>,
    /// CLOCK_BOOTTIME at start, in nanoseconds.
    pub start_ns: u64,
    /// Voluntary and involuntary switches.
    pub switches: [AtomicU64; 2],
    /// Set while a vfork parent waits for this task to exec or exit.
    pub vfork_done: Mutex<Option<crate::wait::WaitQueue>>,
    /// Set, with the futexes' owned locks locked, once it has given up what it owns for good.
    pub owns_no_futex: AtomicBool,
    /// Who traces it, and whom it traces.
    pub tracing: trace::Tracing,
    /// A thread's place in its container's count (a leader's is its group's).
    pub charge: Mutex<Option<pids::PidsCharge>>,
}

/// What [`Task::new`] takes over.
pub struct NewTask {
    /// See [`Task`].
    pub container: Arc<Container>,
    /// See [`Task`].
    pub tid: Arc<Pid>,
    /// See [`Task`].
    pub group: Arc<ThreadGroup>,
    /// See [`Task`].
    pub thread: Arc<dyn GuestThread>,
    /// See [`Task`].
    pub memory_map: Arc<MemoryMap>,
    /// See [`Task`].
    pub files: Arc<FdTable>,
    /// See [`Task`].
    pub fs: Arc<FsContext>,
    /// See [`Task`].
    pub creds: Arc<Creds>,
    /// See [`Task`].
    pub namespaces: Arc<Namespaces>,
    /// Initial signal mask.
    pub blocked: SigSet,
    /// See [`Task`].
    pub misc: TaskMisc,
    /// See [`Task`].
    pub seccomp: crate::task::seccomp::SeccompState,
    /// It counts in its container.
    pub charge: pids::PidsCharge,
}

impl Task {
    /// A task that does not run yet; it is entered under its id and in its group.
    #[must_use]
    pub fn new(kernel: Arc<Kernel>, new: NewTask) -> Arc<Self> {
        let task = Arc::new(Self {
            kernel,
            container: new.container,
            tid: RwLock::new(new.tid),
            group: new.group,
            thread: RwLock::new(new.thread),
            memory_map: RwLock::new(Some(new.memory_map)),
            files: RwLock::new(Some(new.files)),
            fs: RwLock::new(new.fs),
            creds: RwLock::new(new.creds),
            namespaces: RwLock::new(new.namespaces),
            signals: Mutex::new(TaskSignals {
                blocked: new.blocked,
                ..TaskSignals::default()
            }),
            misc: Mutex::new(new.misc),
            seccomp: RwLock::new(new.seccomp),
            waker: OnceLock::new(),
            state: AtomicU8::new(RunState::Running as u8),
            in_guest: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            current_call: Mutex::new(None),
            start_ns: crate::time::boottime_ns(),
            switches: [AtomicU64::new(0), AtomicU64::new(0)],
            vfork_done: Mutex::new(None),
            owns_no_futex: AtomicBool::new(false),
            tracing: trace::Tracing::default(),
            charge: Mutex::new(None),
        });
        if let Some(map) = task.memory_map.read().as_ref() {
            map.join();
        }
        if let Some(files) = task.files.read().as_ref() {
            files.join();
        }
        // A process counts until it has been waited for, a thread until it ends.
        let leads = Arc::ptr_eq(&task.tid.read(), &task.group.pid);
        let place = if leads {
            &task.group.charge
        } else {
            &task.charge
        };
        *place.lock() = Some(new.charge);
        task.tid.read().set_task(&task);
        task.group.tasks.lock().push(task.clone());
        task
    }

    /// Its thread id as its own namespace counts.
    #[must_use]
    pub fn tid_number(&self) -> i32 {
        self.tid.read().local()
    }
    /// Its thread id object.
    #[must_use]
    pub fn tid(&self) -> Arc<Pid> {
        self.tid.read().clone()
    }
    /// The pid namespace it lives in.
    #[must_use]
    pub fn pid_namespace(&self) -> Arc<PidNamespace> {
        self.tid.read().namespace().clone()
    }
    /// Its credentials.
    #[must_use]
    pub fn creds(&self) -> Arc<Creds> {
        self.creds.read().clone()
    }
    /// Its descriptors; `None` when it is exiting.
    #[must_use]
    pub fn try_files(&self) -> Option<Arc<FdTable>> {
        self.files.read().clone()
    }
    /// Its root, working directory and umask.
    #[must_use]
    pub fn fs(&self) -> Arc<FsContext> {
        self.fs.read().clone()
    }
    /// Its namespaces.
    #[must_use]
    pub fn namespaces(&self) -> Arc<Namespaces> {
        self.namespaces.read().clone()
    }
    /// Its memory map, unless it has exited.
    #[must_use]
    pub fn try_memory_map(&self) -> Option<Arc<MemoryMap>> {
        self.memory_map.read().clone()
    }
    /// Moves to another memory map or, with `None`, out of memory; returns the old one.
    pub fn replace_memory_map(&self, new: Option<Arc<MemoryMap>>) -> Option<Arc<MemoryMap>> {
        if let Some(new) = &new {
            new.join();
        }
        let old = std::mem::replace(&mut *self.memory_map.write(), new);
        if let Some(old) = &old {
            old.leave();
        }
        old
    }
    /// Takes another descriptor table or, with `None`, gives it up. What only the old one held open is closed, with the record locks that were
    /// taken through it.
    pub fn replace_files(&self, new: Option<Arc<FdTable>>) {
        if let Some(new) = &new {
            new.join();
        }
        let old = std::mem::replace(&mut *self.files.write(), new);
        if let Some(old) = old
            && old.leave()
        {
            for file in old.take_all() {
                // An error of a last close has no one to go to.
                let _ = crate::vfs::close_file(&old, file);
            }
        }
    }
    /// The host thread.
    #[must_use]
    pub fn thread(&self) -> Arc<dyn GuestThread> {
        self.thread.read().clone()
    }
    /// Its name.
    #[must_use]
    pub fn comm(&self) -> Vec<u8> {
        self.misc.lock().comm.clone()
    }
    /// What it does.
    #[must_use]
    pub fn state(&self) -> RunState {
        match self.state.load(Ordering::Relaxed) {
            0 => RunState::Running,
            1 => RunState::Sleeping,
            2 => RunState::Stopped,
            3 => RunState::Traced,
            4 => RunState::Zombie,
            _ => RunState::Waiting,
        }
    }
    /// Notes what it does.
    pub fn set_state(&self, state: RunState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
    /// Notes whether guest code runs; see [`Task::interrupt`].
    pub fn set_in_guest(&self, value: bool) {
        self.in_guest.store(value, Ordering::SeqCst);
    }

    /// Makes the task look at its signals, exit or stop state soon: wakes it from an interruptible wait, or kicks it out of guest code.
    ///
    /// Set what it is to see before calling this. The flag is raised first and `in_guest` read afterwards; the task sets `in_guest` first and reads
    /// the flag afterwards, so one of the two sees the other.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
        if self.in_guest.load(Ordering::SeqCst) {
            self.thread().kick();
        }
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }
    /// Whether [`Task::interrupt`] was called since [`Task::clear_interrupted`].
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
    /// Takes the flag back, before looking at what it announced.
    pub fn clear_interrupted(&self) {
        self.interrupted.store(false, Ordering::SeqCst);
    }

    /// Whether a call that waits has to give up for the sake of signals or orders. The flag of [`Task::interrupt`] stays up while there is work: a
    /// call that then answers with a plain value or EINTR leads to its delivery all the same.
    #[must_use]
    pub fn must_return(&self) -> bool {
        self.clear_interrupted();
        let work = self.has_work();
        if work {
            self.interrupted.store(true, Ordering::SeqCst);
        }
        work
    }

    /// Whether an unblocked signal is pending, or it must exit or stop.
    #[must_use]
    pub fn has_work(&self) -> bool {
        if self.container.is_frozen() {
            return true;
        }
        let signals = self.signals.lock();
        if signals.killed || !signals.pending.set().minus(signals.blocked).is_empty() {
            return true;
        }
        let blocked = signals.blocked;
        drop(signals);
        !self.group.pending.lock().set().minus(blocked).is_empty()
            || self.must_stop()
            || self.has_trace_work()
    }
}

/// A thread as its own future sees it: the shared [`Task`] and what only the owner may touch.
pub struct CurrentTask {
    task: Arc<Task>,
    /// See [`restart`].
    continuation: Mutex<Option<restart::Continuation>>,
    /// How it ends if nothing ends the whole process first.
    end: Mutex<Option<ExitStatus>>,
    /// The memory map that has a call of this thread's in limbo, and the call if it is made at the end of this stop.
    in_flight: Mutex<Option<(Arc<MemoryMap>, Option<Deferred>)>>,
}

impl CurrentTask {
    /// For the future that runs `task`; there must be only one.
    #[must_use]
    pub const fn new(task: Arc<Task>) -> Self {
        Self {
            task,
            continuation: parking_lot::const_mutex(None),
            end: parking_lot::const_mutex(None),
            in_flight: parking_lot::const_mutex(None),
        }
    }
    /// A call that changes `map` was let through to the host, or is left for the end of this stop.
    pub fn note_in_flight(&self, map: Arc<MemoryMap>, deferred: Option<Deferred>) {
        *self.in_flight.lock() = Some((map, deferred));
    }
    /// The thread has stopped, or is gone: nothing of its is in flight any more. Returns what was deferred until after its last stop.
    pub fn has_stopped(&self) -> Option<(Arc<MemoryMap>, Deferred)> {
        let (map, deferred) = self.in_flight.lock().take()?;
        map.has_stopped(&*self.thread());
        Some((map, deferred?))
    }
    /// The shared half.
    #[must_use]
    pub const fn task(&self) -> &Arc<Task> {
        &self.task
    }
    /// Notes how this thread ends (`exit(2)`).
    pub fn set_end(&self, status: ExitStatus) {
        *self.end.lock() = Some(status);
    }
    /// The status with which it ends, now that it was told to: the process's, its own, or 0.
    #[must_use]
    pub fn end_status(&self) -> ExitStatus {
        let whole = *self.group.exiting.lock();
        whole.or(*self.end.lock()).unwrap_or(ExitStatus::Code(0))
    }
    /// Its memory map.
    #[must_use]
    pub fn memory_map(&self) -> Arc<MemoryMap> {
        // Only the owner takes the map away, at its exit.
        self.try_memory_map().unwrap_or_else(MemoryMap::empty)
    }
    /// Its memory.
    #[must_use]
    pub fn memory(&self) -> UserMemory {
        self.memory_map().memory()
    }
    /// Its descriptors.
    #[must_use]
    pub fn files(&self) -> Arc<FdTable> {
        self.try_files().unwrap_or_default()
    }
    /// The open file behind a descriptor, not O_PATH ones: `EBADF`.
    pub fn file(&self, fd: crate::vfs::Fd) -> crate::error::Result<Arc<crate::vfs::File>> {
        let file = self.files().get(fd)?;
        if file.is_path_only() {
            Err(crate::error::Errno::EBADF)
        } else {
            Ok(file)
        }
    }
    /// Installs a new file at the lowest free descriptor within RLIMIT_NOFILE.
    pub fn install(
        &self,
        file: Arc<crate::vfs::File>,
        cloexec: bool,
    ) -> crate::error::Result<crate::vfs::Fd> {
        let flags = if cloexec {
            crate::vfs::FdFlags::CLOEXEC
        } else {
            crate::vfs::FdFlags::empty()
        };
        self.files()
            .install(file, flags, 0, self.group.limit(limits::Resource::Nofile))
    }
    /// For path look-ups: hold the three values while the context is in use.
    #[must_use]
    pub fn lookup_parts(&self) -> (Arc<FsContext>, Arc<Creds>) {
        (self.fs(), self.creds())
    }
}

impl Deref for CurrentTask {
    type Target = Task;
    fn deref(&self) -> &Task {
        &self.task
    }
}

/// Weak handles for tables that must not keep tasks alive.
pub type WeakTask = Weak<Task>;
