//! What the sandbox knows of its host, handed in by the launcher before the sentry shuts itself in.
//!
//! Kept in [`crate::kernel::Kernel::extensions`] as [`HostFactsSlot`]; without it neutral values are shown.

use std::sync::OnceLock;

/// `uname -s`.
pub const OS_TYPE: &str = "Linux";
/// `uname -r`: the version whose behaviour the sentry follows.
pub const OS_RELEASE: &str = "6.6.0";
/// `uname -v`.
pub const OS_VERSION: &str = "#1 SMP PREEMPT_DYNAMIC runsc";

/// A number that is asked for afresh each time, from a descriptor that the launcher kept open.
pub type Gauge = Box<dyn Fn() -> Option<u64> + Send + Sync>;

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
