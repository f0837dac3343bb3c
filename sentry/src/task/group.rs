//! Thread groups (processes), process groups and sessions.
//!
//! Family relations (parent, children, process group, session, zombie) change only under the kernel's one process-tree lock
//! ([`crate::kernel::Kernel::tree`]); `family` may be read under it or on its own.
//!
//! Lock order: tree → a process group's `members` → `family` → `pending` → a task's `signals`.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use super::limits::Limits;
use super::{Pid, Task};
use crate::signal::{Queue, SignalActions};
use crate::wait::WaitQueue;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// By `exit(code)`: the low 8 bits.
    Code(u8),
    /// By a signal; `true` with a core dump.
    Signal(abi::signal::Signal, bool),
}

impl ExitStatus {
    /// As `wait(2)` reports it.
    #[must_use]
    pub const fn wait_status(self) -> i32 {
        match self {
            Self::Code(code) => (code as i32) << 8,
            Self::Signal(signal, core) => signal.number() as i32 | if core { 0x80 } else { 0 },
        }
    }
    /// As a shell or an engine reports it: 128 + signal.
    #[must_use]
    pub const fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal, _) => 128 + signal.number(),
        }
    }
}

/// A session (`setsid(2)`).
pub struct Session {
    /// Its id: the leader's.
    pub id: Arc<Pid>,
    /// The controlling terminal, if any.
    pub terminal: Mutex<Option<Arc<dyn ControllingTerminal>>>,
}

/// What a session needs of its terminal.
pub trait ControllingTerminal: Send + Sync {
    /// The session's leader is gone or gave it up: hang up.
    fn session_ended(&self);
    /// Device number for `/proc/<pid>/stat` (tty_nr).
    fn device(&self) -> u64;
    /// The foreground process group.
    fn foreground(&self) -> Option<Arc<ProcessGroup>>;
    /// For the terminal's own module.
    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync);
}

/// A process group.
pub struct ProcessGroup {
    /// Its id.
    pub id: Arc<Pid>,
    /// The session it belongs to.
    pub session: Arc<Session>,
    /// Members; changed only under the process-tree lock.
    pub members: Mutex<Vec<Weak<ThreadGroup>>>,
}

impl ProcessGroup {
    /// Calls `f` for each living or zombie member while none can join or leave. Lock order: `members` → `family` and all below.
    pub fn for_each_member(&self, mut f: impl FnMut(&Arc<ThreadGroup>)) {
        let list = self.members.lock();
        let members: Vec<_> = list.iter().filter_map(Weak::upgrade).collect();
        for member in &members {
            f(member);
        }
        drop(list);
        // The last references may go here, with no lock held.
        drop(members);
    }
    /// The living and zombie members.
    #[must_use]
    pub fn members(&self) -> Vec<Arc<ThreadGroup>> {
        self.members
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }
}

/// Relations of a process.
pub struct Family {
    /// The parent; none for a container's init and execs.
    pub parent: Weak<ThreadGroup>,
    /// Children, also zombies.
    pub children: Vec<Arc<ThreadGroup>>,
    /// Process group.
    pub process_group: Arc<ProcessGroup>,
    /// Set when all threads are gone and until somebody waits.
    pub zombie: Option<ExitStatus>,
    /// Waited for: gone from the tree.
    pub reaped: bool,
    /// PR_SET_CHILD_SUBREAPER.
    pub subreaper: bool,
}

/// Job control state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobState {
    /// All threads are to stop, by this signal.
    pub stopped_by: Option<abi::signal::Signal>,
    /// The stop has not been reported to a waiting parent yet.
    pub stop_unreported: bool,
    /// A continuation has not been reported yet.
    pub continue_unreported: bool,
}

/// CPU time of threads and children that are gone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// User nanoseconds.
    pub user_ns: u64,
    /// System nanoseconds.
    pub system_ns: u64,
    /// Minor faults.
    pub minor_faults: u64,
    /// Major faults.
    pub major_faults: u64,
    /// Peak resident bytes.
    pub peak_resident: u64,
    /// Voluntary and involuntary switches.
    pub switches: [u64; 2],
    /// Blocks of 512 bytes read and written.
    pub blocks: [u64; 2],
}

fn sum(one: [u64; 2], other: [u64; 2]) -> [u64; 2] {
    [
        one[0].saturating_add(other[0]),
        one[1].saturating_add(other[1]),
    ]
}

impl Times {
    /// Sum of both (peaks: the larger).
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            user_ns: self.user_ns.saturating_add(other.user_ns),
            system_ns: self.system_ns.saturating_add(other.system_ns),
            minor_faults: self.minor_faults.saturating_add(other.minor_faults),
            major_faults: self.major_faults.saturating_add(other.major_faults),
            peak_resident: self.peak_resident.max(other.peak_resident),
            switches: sum(self.switches, other.switches),
            blocks: sum(self.blocks, other.blocks),
        }
    }

    /// What the host said when it reaped a process: all but its CPU time, which was counted when the threads ended.
    #[must_use]
    pub const fn of_remains(usage: &platform::Usage) -> Self {
        Self {
            user_ns: 0,
            system_ns: 0,
            minor_faults: usage.minor_faults,
            major_faults: usage.major_faults,
            peak_resident: usage.peak_resident,
            switches: usage.switches,
            blocks: usage.blocks,
        }
    }
}

/// A process.
pub struct ThreadGroup {
    /// Its id (the leader's thread id).
    pub pid: Arc<Pid>,
    /// Its place in its container's count, until it has been waited for.
    pub charge: Mutex<Option<super::pids::PidsCharge>>,
    /// Relations.
    pub family: RwLock<Family>,
    /// The thread of the parent that made it, for __WNOTHREAD; once that is gone, the parent's first thread stands in.
    pub parent_thread: Mutex<Weak<Task>>,
    /// Living threads, the leader first unless it is gone.
    pub tasks: Mutex<Vec<Arc<Task>>>,
    /// Set once the whole process is to end.
    pub exiting: Mutex<Option<ExitStatus>>,
    /// A thread that execs: all others must go, then it becomes the leader.
    pub execing: AtomicBool,
    /// Signals to the process.
    pub pending: Mutex<Queue>,
    /// Notified when a signal to the process or one of its threads becomes pending (signalfd).
    pub signal_arrived: WaitQueue,
    /// Dispositions.
    pub actions: RwLock<Arc<SignalActions>>,
    /// Resource limits.
    pub limits: Mutex<Limits>,
    /// Job control.
    pub job: Mutex<JobState>,
    /// Notified when a child changes state, a thread goes or the job state changes.
    pub events: WaitQueue,
    /// The signal that the parent gets at exit (SIGCHLD; 0 none).
    pub exit_signal: AtomicI32,
    /// CLOCK_BOOTTIME at start, in nanoseconds.
    pub start_ns: u64,
    /// Times of threads that are gone.
    pub own_times: Mutex<Times>,
    /// Times of waited-for children.
    pub child_times: Mutex<Times>,
    /// What its host process used, which is known some time after its end.
    pub remains: Mutex<Option<Arc<platform::Remains>>>,
    /// The same of waited-for children and theirs, as far as it is not in `child_times` yet.
    pub child_remains: Mutex<Vec<Arc<platform::Remains>>>,
    /// Interval and POSIX timers.
    pub timers: crate::task::timers::Timers,
    /// It has called execve since its fork.
    pub did_exec: AtomicBool,
    /// `oom_score_adj`.
    pub oom_score_adj: AtomicI32,
    /// An init that a fault of its own may end.
    pub unshielded: AtomicBool,
    /// Real user id at its end, for whoever waits.
    pub final_uid: AtomicU32,
    /// The tracer of its leader, also when that thread is gone.
    pub leader_tracer: Mutex<Weak<Task>>,
    /// It is a zombie that its tracer has to wait for before its parent may know.
    pub withheld: AtomicBool,
    /// Bytes read and written by system calls (`/proc/<pid>/io`): rchar, wchar, syscr, syscw.
    pub io: [AtomicU64; 4],
}

impl ThreadGroup {
    /// The parent, if it lives and there is one.
    #[must_use]
    pub fn parent(&self) -> Option<Arc<Self>> {
        self.family.read().parent.upgrade()
    }
    /// The process group.
    #[must_use]
    pub fn process_group(&self) -> Arc<ProcessGroup> {
        self.family.read().process_group.clone()
    }
    /// The session.
    #[must_use]
    pub fn session(&self) -> Arc<Session> {
        self.family.read().process_group.session.clone()
    }
    /// Some living thread, the leader if possible.
    #[must_use]
    pub fn any_task(&self) -> Option<Arc<Task>> {
        self.tasks.lock().first().cloned()
    }
    /// All living threads.
    #[must_use]
    pub fn threads(&self) -> Vec<Arc<Task>> {
        self.tasks.lock().clone()
    }
    /// A soft limit.
    #[must_use]
    pub fn limit(&self, which: super::limits::Resource) -> u64 {
        self.limits.lock().soft(which)
    }
    /// The dispositions.
    #[must_use]
    pub fn actions(&self) -> Arc<SignalActions> {
        self.actions.read().clone()
    }
    /// Books what is known of waited-for children by now; the rest.
    pub fn settle_children(&self) -> Vec<Arc<platform::Remains>> {
        let mut remains = self.child_remains.lock();
        let mut times = self.child_times.lock();
        remains.retain(|remains| match remains.get() {
            Some(usage) => {
                *times = times.plus(Times::of_remains(&usage));
                false
            }
            None => true,
        });
        remains.clone()
    }
    /// Adds to one of the I/O counters.
    pub fn count_io(&self, which: usize, amount: u64) {
        self.io[which].fetch_add(amount, Ordering::Relaxed);
    }
}
