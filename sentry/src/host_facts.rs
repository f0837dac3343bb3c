//! What the sandbox knows of its host, handed in by the launcher before the sentry shuts itself in.
//!
//! Kept in [`crate::kernel::Kernel::extensions`] as [`HostFactsSlot`]; without it neutral values are shown.

use std::sync::OnceLock;

/// A number that is asked for afresh each time, from a descriptor that the launcher kept open.
pub type Gauge = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// What of a process's memory is resident, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Anonymous pages.
    pub anonymous: u64,
    /// Pages of files.
    pub file: u64,
    /// Pages of shared memory.
    pub shared: u64,
    /// The most that was resident at once.
    pub peak: u64,
    /// Swapped out.
    pub swapped: u64,
}

impl Resident {
    /// All of it.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.anonymous
            .saturating_add(self.file)
            .saturating_add(self.shared)
    }
}

/// What of one of the host's mappings is resident, in bytes (`smaps`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of smaps")]
pub struct RegionUse {
    pub start: u64,
    pub end: u64,
    pub resident: u64,
    pub proportional: u64,
    pub proportional_dirty: u64,
    pub shared_clean: u64,
    pub shared_dirty: u64,
    pub private_clean: u64,
    pub private_dirty: u64,
    pub referenced: u64,
    pub anonymous: u64,
    pub swapped: u64,
}

/// The host's books of guest memory. Answers are for showing: nothing may rest on them. `None`: not known.
pub trait MemoryBooks: Send + Sync {
    /// Of the host process `host_pid`.
    fn resident(&self, host_pid: i32) -> Option<Resident>;
    /// Of each of its mappings, ascending.
    fn regions(&self, host_pid: i32) -> Option<Vec<RegionUse>>;
}

/// See the module.
#[derive(Default)]
pub struct HostFacts {
    /// Text of the host's `/proc/cpuinfo`.
    pub cpuinfo: String,
    /// Host memory in bytes; 0: not known.
    pub memory: u64,
    /// Host CPUs; 0: not known.
    pub cpus: u32,
    /// Bytes of memory in use by the sandbox (`memory.current`).
    pub memory_used: Option<Gauge>,
    /// Bytes of `memory_used` that are page cache, which can be had back.
    pub memory_cached: Option<Gauge>,
    /// Nanoseconds of CPU time used by the sandbox (`cpu.stat`).
    pub cpu_used_ns: Option<Gauge>,
    /// Resident sizes of guest processes.
    pub books: Option<Box<dyn MemoryBooks>>,
}

/// The facts, once set.
#[derive(Default)]
pub struct HostFactsSlot(OnceLock<HostFacts>);

static UNKNOWN: OnceLock<HostFacts> = OnceLock::new();

impl HostFactsSlot {
    /// Sets the facts; later calls change nothing.
    pub fn set(&self, facts: HostFacts) {
        let _ = self.0.set(facts);
    }
    /// The facts, or neutral ones.
    #[must_use]
    pub fn get(&self) -> &HostFacts {
        self.0
            .get()
            .unwrap_or_else(|| UNKNOWN.get_or_init(HostFacts::default))
    }
}
