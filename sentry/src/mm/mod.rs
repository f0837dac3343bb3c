//! Guest memory: the tree of regions and typed access.
//!
//! The host kernel manages pages; the sentry keeps regions as exact intent: what is mapped where, with which rights and backing. Changes go to the
//! guest's address space as ordered host calls of a stopped thread, so operations need a *full* stop of the calling thread; a few can pass as the
//! guest's own call instead ([`passing`]), or wait for the stop's end ([`deferred`]).
//!
//! - [`MemoryMap`]: a process's memory (shared by CLONE_VM). [`ops`]: its operations. [`Region`], [`RegionTree`]: intent. [`UserMemory`]: access.
//!
//! Lock order: a map's `operation` (async, held across ordered calls) → its `state` or `limbo`.

mod deferred;
mod limbo;
pub mod ops;
mod passing;
mod region;
mod tree;
mod user;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use platform::AddressSpace;

/// One past the highest address that a guest may map.
pub use platform::GUEST_TOP;

pub use deferred::Deferred;
pub use ops::MapRequest;
pub use passing::Passage;
pub use region::{Backing, Region, RegionFlags};
pub use tree::RegionTree;
pub use user::{IOV_MAX, MAX_RW_COUNT, UserMemory, UserRange, UserSink, UserSource};

use crate::error::{Errno, Result};
use crate::sync::AsyncMutex;
use crate::vfs::File;

/// Where exec put things (`struct mm_struct`), for `/proc/<pid>/stat`, cmdline, environ, auxv.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub struct Layout {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub brk: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
    /// The auxiliary vector's bytes.
    pub auxv: Vec<u8>,
    /// Below this, mappings are placed top-down.
    pub mmap_base: u64,
}

/// What a map consists of.
#[derive(Clone, Default)]
pub struct MapState {
    /// Regions.
    pub tree: RegionTree,
    /// Exec's layout.
    pub layout: Layout,
    /// The program.
    pub exe: Option<Arc<File>>,
    /// PR_SET_DUMPABLE.
    pub dumpable: u32,
    /// mlockall(MCL_FUTURE).
    pub lock_future: bool,
}

/// A process's memory.
pub struct MemoryMap {
    space: Arc<dyn AddressSpace>,
    /// One operation at a time, across the ordered host calls.
    pub operation: AsyncMutex,
    /// Intent.
    pub state: RwLock<MapState>,
    /// Contexts of asynchronous I/O; a fork's copy has none.
    pub aio: crate::aio::Contexts,
    /// Tasks that run in it; transient references do not count.
    users: AtomicUsize,
    limbo: limbo::Limbo,
}

/// Identity of a futex word or of anything keyed by memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryKey {
    /// Named as private: the map's identity and the address.
    Private(usize, u64),
    /// Named as shared, in memory that only this map has. Linux keeps the two apart (`FUT_OFF_MMSHARED`).
    Unshared(usize, u64),
    /// In shared memory: the backing's identity and the byte offset.
    Shared(usize, u64),
}

/// One region as `/proc/<pid>/maps` shows it.
pub struct RegionView {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// `PROT_*`.
    pub prot: u32,
    /// MAP_SHARED.
    pub shared: bool,
    /// Offset in the file.
    pub offset: u64,
    /// The file, if it is a guest's.
    pub file: Option<Arc<File>>,
    /// A name if it is not.
    pub label: Option<Arc<[u8]>>,
    /// Flags.
    pub flags: RegionFlags,
}

impl MemoryMap {
    /// A map over a fresh address space: only the vDSO is in it.
    #[must_use]
    pub fn new(space: Arc<dyn AddressSpace>) -> Arc<Self> {
        let vdso = space.vdso();
        let mut state = MapState {
            dumpable: 1,
            ..MapState::default()
        };
        for (range, prot, label) in [
            (vdso.vvar, 1, &b"[vvar]"[..]),
            (vdso.code, 5, &b"[vdso]"[..]),
        ] {
            if range.start < range.end && range.end <= GUEST_TOP {
                state.tree.insert(Region {
                    start: range.start,
                    end: range.end,
                    prot,
                    flags: RegionFlags::default(),
                    backing: Backing::Vdso,
                    label: Some(Arc::from(label)),
                });
            }
        }
        Arc::new(Self {
            space,
            operation: AsyncMutex::default(),
            state: RwLock::new(state),
            aio: crate::aio::Contexts::default(),
            users: AtomicUsize::new(0),
            limbo: limbo::Limbo::default(),
        })
    }

    /// The copy that a fork gets: same intent over the copied address space.
    #[must_use]
    pub fn fork(&self, space: Arc<dyn AddressSpace>) -> Arc<Self> {
        let mut state = self.state.read().clone();
        let dropped: Vec<(u64, u64)> = state
            .tree
            .iter()
            .filter(|r| r.flags.contains(RegionFlags::DONTFORK))
            .map(|r| (r.start, r.end))
            .collect();
        for (start, end) in dropped {
            state.tree.remove(start, end);
        }
        Arc::new(Self {
            space,
            operation: AsyncMutex::default(),
            state: RwLock::new(state),
            aio: crate::aio::Contexts::default(),
            users: AtomicUsize::new(0),
            limbo: limbo::Limbo::default(),
        })
    }

    /// How many tasks run in it (`mm_users`).
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.load(Ordering::Acquire)
    }
    pub(crate) fn join(&self) {
        self.users.fetch_add(1, Ordering::AcqRel);
    }
    pub(crate) fn leave(&self) {
        self.users.fetch_sub(1, Ordering::AcqRel);
    }

    /// The address space itself.
    #[must_use]
    pub fn space(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }
    /// Typed access.
    #[must_use]
    pub fn memory(&self) -> UserMemory {
        UserMemory::new(self.space.clone())
    }
    /// Where exec put things.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.state.read().layout.clone()
    }
    /// The program.
    #[must_use]
    pub fn exe(&self) -> Option<Arc<File>> {
        self.state.read().exe.clone()
    }
    /// Regions in ascending order, as `/proc/<pid>/maps` shows them.
    #[must_use]
    pub fn regions(&self) -> Vec<RegionView> {
        let state = self.state.read();
        state
            .tree
            .iter()
            .map(|r| {
                let (offset, file, name) = match &r.backing {
                    Backing::File { file, offset } => (*offset, Some(file.clone()), None),
                    Backing::Memory { offset, name, .. } => (*offset, None, Some(name.clone())),
                    _ => (0, None, None),
                };
                RegionView {
                    start: r.start,
                    end: r.end,
                    prot: r.prot,
                    shared: r.is_shared(),
                    offset,
                    file,
                    label: r.label.clone().or(name),
                    flags: r.flags,
                }
            })
            .collect()
    }
    /// Bytes mapped.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.state.read().tree.total()
    }

    /// Identity of the word at `addr`; `EFAULT` if nothing is mapped there and `shared` asks for the backing.
    pub fn key(self: &Arc<Self>, addr: u64, shared: bool) -> Result<MemoryKey> {
        let identity = Arc::as_ptr(self) as usize;
        if !shared {
            return Ok(MemoryKey::Private(identity, addr));
        }
        let state = self.state.read();
        let region = state.tree.find(addr).ok_or(Errno::EFAULT)?;
        let within = addr - region.start;
        Ok(match &region.backing {
            Backing::Memory { file, offset, .. } if region.is_shared() => {
                MemoryKey::Shared(Arc::as_ptr(file) as usize, offset + within)
            }
            Backing::File { file, offset } if region.is_shared() => {
                MemoryKey::Shared(Arc::as_ptr(file.inode()) as usize, offset + within)
            }
            _ => MemoryKey::Unshared(identity, addr),
        })
    }

    /// A map in which nothing is mapped: what an exiting task sees.
    #[must_use]
    pub fn empty() -> Arc<Self> {
        Self::new(Arc::new(NoMemory))
    }
}

struct NoMemory;

impl AddressSpace for NoMemory {
    fn read(&self, _addr: u64, _buf: &mut [u8]) -> Result<usize> {
        Err(Errno::EFAULT)
    }
    fn write(&self, _addr: u64, _buf: &[u8]) -> Result<usize> {
        Err(Errno::EFAULT)
    }
    fn read_vectored(&self, _ranges: &[(u64, usize)], _buf: &mut [u8]) -> Result<usize> {
        Err(Errno::EFAULT)
    }
    fn write_vectored(&self, _ranges: &[(u64, usize)], _buf: &[u8]) -> Result<usize> {
        Err(Errno::EFAULT)
    }
    fn vdso(&self) -> platform::Vdso {
        platform::Vdso::default()
    }
    fn host_pid(&self) -> i32 {
        0
    }
    fn usage(&self) -> platform::Usage {
        platform::Usage::default()
    }
}
