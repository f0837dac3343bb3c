//! Resource limits (`getrlimit(2)`).

/// RLIM_INFINITY.
pub const INFINITY: u64 = u64::MAX;

/// A limit's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are getrlimit(2)'s own")]
#[repr(u8)]
pub enum Resource {
    Cpu = 0,
    Fsize = 1,
    Data = 2,
    Stack = 3,
    Core = 4,
    Rss = 5,
    Nproc = 6,
    Nofile = 7,
    Memlock = 8,
    As = 9,
    Locks = 10,
    Sigpending = 11,
    Msgqueue = 12,
    Nice = 13,
    Rtprio = 14,
    Rttime = 15,
}

/// Soft and hard limits of a process.
#[derive(Clone, Debug)]
pub struct Limits(pub [(u64, u64); 16]);

impl Default for Limits {
    /// What Linux gives to init (`INIT_RLIMITS`), with the descriptors and pending signals that distributions have.
    fn default() -> Self {
        let mut limits = [(INFINITY, INFINITY); 16];
        limits[Resource::Stack as usize] = (8 << 20, INFINITY);
        limits[Resource::Core as usize] = (0, INFINITY);
        limits[Resource::Nofile as usize] = (1024, 1 << 20);
        limits[Resource::Memlock as usize] = (8 << 20, 8 << 20);
        limits[Resource::Sigpending as usize] = (63_000, 63_000);
        limits[Resource::Nproc as usize] = (63_000, 63_000);
        limits[Resource::Msgqueue as usize] = (819_200, 819_200);
        limits[Resource::Nice as usize] = (0, 0);
        limits[Resource::Rtprio as usize] = (0, 0);
        Self(limits)
    }
}

impl Limits {
    /// The soft limit.
    #[must_use]
    pub const fn soft(&self, which: Resource) -> u64 {
        self.0[which as usize].0
    }
}
