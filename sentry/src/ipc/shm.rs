//! System V shared memory (`shmop(2)`, `ipc/shm.c`): segments are memory files of the sentry's.
//!
//! A segment that was removed lives on in the mappings of its file. How often it is attached is found by looking at the memory maps, where the truth is.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use abi::ipc::{IpcPerm, SHM_DEST, ShmidDs};
use parking_lot::Mutex;

use super::{Permissions, Registry};
use crate::error::{Errno, Result};
use crate::host;
use crate::mm::{Backing, MemoryMap};
use crate::task::{CurrentTask, PidNamespace};
use crate::time;

/// Most segments in a namespace.
pub const SHMMNI: usize = 4096;
/// How names of segments begin in `/proc/<pid>/maps`.
const NAME_PREFIX: &[u8] = b"/SYSV";

struct State {
    permissions: Permissions,
    /// The segment's own hold on its memory, until it is removed.
    memory: Option<Arc<OwnedFd>>,
    attached_at: i64,
    detached_at: i64,
    changed: i64,
    last_pid: i32,
}

/// A segment.
pub struct Segment {
    /// Size in bytes as asked for.
    pub size: u64,
    creator_pid: i32,
    file: Weak<OwnedFd>,
    state: Mutex<State>,
}

/// All segments of a namespace.
pub type Segments = Registry<Segment>;

fn seconds() -> i64 {
    time::now().sec
}

impl Segment {
    /// A segment of zeroes.
    pub fn new(permissions: Permissions, size: u64, pid: i32) -> Result<Self> {
        let rounded = abi::page_ceil(size).ok_or(Errno::EINVAL)?;
        let memory = Arc::new(host::memfd(c"sysv")?);
        host::ftruncate(&memory, rounded)?;
        Ok(Self {
            size,
            creator_pid: pid,
            file: Arc::downgrade(&memory),
            state: Mutex::new(State {
                permissions,
                memory: Some(memory),
                attached_at: 0,
                detached_at: 0,
                changed: seconds(),
                last_pid: 0,
            }),
        })
    }
    /// Owner and mode.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        self.state.lock().permissions
    }
    /// Its memory: `EIDRM` if it was removed and is not attached any more.
    pub fn memory(&self) -> Result<Arc<OwnedFd>> {
        self.file.upgrade().ok_or(Errno::EIDRM)
    }
    /// The name of its mappings.
    #[must_use]
    pub fn name(&self) -> Arc<[u8]> {
        format!("/SYSV{:08x} (deleted)", self.permissions().key)
            .into_bytes()
            .into()
    }
    /// Notes an attach or a detach by a process.
    pub fn touched(&self, pid: i32, attached: bool) {
        let mut state = self.state.lock();
        let now = seconds();
        if attached {
            state.attached_at = now;
        } else {
            state.detached_at = now;
        }
        state.last_pid = pid;
    }
    /// IPC_RMID: the memory goes with the last mapping. True if nothing maps it, so that the identifier can go at once.
    pub fn retire(&self) -> bool {
        let memory = {
            let mut state = self.state.lock();
            state.permissions.mode |= SHM_DEST;
            state.permissions.key = 0;
            state.memory.take()
        };
        drop(memory);
        self.file.strong_count() == 0
    }
    /// Removed and not attached any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.file.strong_count() == 0
    }
    /// IPC_SET.
    pub fn set_permissions(&self, task: &CurrentTask, new: &IpcPerm) -> Result<()> {
        let mut state = self.state.lock();
        state.permissions.check_owner(&task.creds())?;
        state.permissions.set(new)?;
        state.changed = seconds();
        Ok(())
    }
    /// IPC_STAT; `attached` as [`attach_count`] has it.
    #[must_use]
    pub fn stat(&self, id: i32, attached: u64) -> ShmidDs {
        let state = self.state.lock();
        ShmidDs {
            perm: state.permissions.show(id),
            segsz: self.size,
            atime: state.attached_at,
            dtime: state.detached_at,
            ctime: state.changed,
            cpid: self.creator_pid,
            lpid: state.last_pid,
            nattch: attached,
            ..ShmidDs::default()
        }
    }
}

/// How many mappings of the segment's beginning there are in processes visible in `namespace`.
#[must_use]
pub fn attach_count(namespace: &PidNamespace, segment: &Segment) -> u64 {
    let mut maps: Vec<Arc<MemoryMap>> = Vec::new();
    for (_, task) in namespace.tasks() {
        if let Some(map) = task.try_memory_map()
            && !maps.iter().any(|other| Arc::ptr_eq(other, &map))
        {
            maps.push(map);
        }
    }
    maps.iter()
        .map(|map| {
            let state = map.state.read();
            let attached = state.tree.iter().filter(|region| {
                matches!(&region.backing, Backing::Memory { file, offset: 0, .. }
                    if std::ptr::eq(Arc::as_ptr(file), segment.file.as_ptr()))
            });
            attached.count() as u64
        })
        .sum()
}

/// What `shmdt` at `addr` unmaps: ranges of the segment that is attached there, and its file. `EINVAL` if none is.
pub fn attached_at(map: &MemoryMap, addr: u64) -> Result<(Vec<(u64, u64)>, Arc<OwnedFd>)> {
    let state = map.state.read();
    let first = state.tree.find(addr).ok_or(Errno::EINVAL)?;
    let Backing::Memory {
        file,
        name,
        offset: 0,
    } = &first.backing
    else {
        return Err(Errno::EINVAL);
    };
    if first.start != addr || !name.starts_with(NAME_PREFIX) {
        return Err(Errno::EINVAL);
    }
    let ranges = state
        .tree
        .iter()
        .filter(|region| region.start >= addr)
        .filter(|region| {
            // Pieces of the same attachment, however it was cut up.
            matches!(&region.backing, Backing::Memory { file: other, offset, .. }
                if Arc::ptr_eq(other, file) && region.start - addr == *offset)
        })
        .map(|region| (region.start, region.end - region.start))
        .collect();
    Ok((ranges, file.clone()))
}

/// The segment that a memory file belongs to.
#[must_use]
pub fn owner_of(segments: &Segments, file: &Arc<OwnedFd>) -> Option<Arc<Segment>> {
    segments
        .all()
        .into_iter()
        .map(|(_, segment)| segment)
        .find(|segment| std::ptr::eq(segment.file.as_ptr(), Arc::as_ptr(file)))
}

/// Forgets segments that were removed and whose last mapping has gone since.
pub fn sweep(segments: &Segments) {
    for (id, segment) in segments.all() {
        if segment.is_gone() {
            segments.remove(id, abi::ipc::IPC_PRIVATE);
        }
    }
}
