//! One guest address space: the host processes that share it and the slots in it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use abi::Errno;
use parking_lot::{Mutex, RwLock};

use super::arena::{Arena, CHUNK_SLOTS, Chunk, Slot};
use super::process::Process;
use super::queue_lock::QueueLock;
use crate::api::{AddressSpace, Usage, Vdso};
use crate::host::{process, vm};
use crate::stub;

/// See the module.
pub(super) struct Space {
    /// Living processes with this memory, oldest first. The reaper removes one before it reaps it: while this is locked for reading, no pid in it
    /// can be another process's.
    processes: RwLock<Vec<Arc<Process>>>,
    slots: Mutex<Slots>,
    /// Held while a clone changes which slots are mapped.
    pub(super) layout: QueueLock,
    arena: Arc<Arena>,
    vdso: Vdso,
    handle: Mutex<Weak<SpaceHandle>>,
}

struct Slots {
    /// By index of the chunk in the address space.
    chunks: HashMap<usize, Chunk>,
    /// Chunks whose mapping was ordered and, as the guest says, failed. It may lie: they serve nobody else while one of its processes lives.
    limbo: Vec<Chunk>,
    /// A bit per slot.
    used: Vec<u64>,
}

/// A reserved slot index and whether its chunk must be mapped first.
pub(super) struct Reserved {
    pub(super) index: usize,
    pub(super) must_map: bool,
}

impl Space {
    /// A space whose first thread has slot `index`, in a new chunk.
    pub(super) fn new(
        arena: &Arc<Arena>,
        index: usize,
        vdso: Vdso,
    ) -> Result<(Arc<Self>, Arc<SpaceHandle>, Slot), Errno> {
        let chunk = arena.take_chunk()?;
        let slot = chunk.slot(index);
        let mut used = vec![0_u64; index / 64 + 1];
        used[index / 64] |= 1 << (index % 64);
        let space = Arc::new(Self {
            processes: RwLock::new(Vec::new()),
            slots: Mutex::new(Slots {
                chunks: HashMap::from([(index / CHUNK_SLOTS, chunk)]),
                limbo: Vec::new(),
                used,
            }),
            layout: QueueLock::default(),
            arena: Arc::clone(arena),
            vdso,
            handle: Mutex::new(Weak::new()),
        });
        let handle = Arc::new(SpaceHandle(Arc::clone(&space)));
        *space.handle.lock() = Arc::downgrade(&handle);
        Ok((space, handle, slot))
    }

    /// The handle that the kernel holds, if it still does.
    pub(super) fn handle(&self) -> Option<Arc<SpaceHandle>> {
        self.handle.lock().upgrade()
    }

    pub(super) fn vdso_range(&self) -> Vdso {
        self.vdso
    }

    pub(super) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Reserves the lowest free slot index. Called under `layout`.
    pub(super) fn reserve_slot(&self) -> Result<Reserved, Errno> {
        let mut slots = self.slots.lock();
        let word = slots
            .used
            .iter()
            .position(|&word| word != u64::MAX)
            .unwrap_or(slots.used.len());
        if word == slots.used.len() {
            slots.used.push(0);
        }
        let index = word * 64 + (!slots.used[word]).trailing_zeros() as usize;
        if index >= stub::SLOT_MAX {
            return Err(Errno::EAGAIN);
        }
        slots.used[word] |= 1 << (index % 64);
        Ok(Reserved {
            index,
            must_map: !slots.chunks.contains_key(&(index / CHUNK_SLOTS)),
        })
    }

    /// A chunk to be mapped next, as its offset in the arena. It stays this space's whatever becomes of the order. Called under `layout`.
    pub(super) fn chunk_to_map(&self) -> Result<usize, Errno> {
        let mut slots = self.slots.lock();
        if slots.limbo.is_empty() {
            slots.limbo.push(self.arena.take_chunk()?);
        }
        slots.limbo.last().map(Chunk::offset).ok_or(Errno::EAGAIN)
    }

    /// Records that the chunk of slot `index` is mapped from the one that [`Space::chunk_to_map`] gave. Called under `layout`.
    pub(super) fn chunk_mapped(&self, index: usize) {
        let mut slots = self.slots.lock();
        if let Some(chunk) = slots.limbo.pop() {
            slots.chunks.insert(index / CHUNK_SLOTS, chunk);
        }
    }

    /// The slot of a reserved index whose chunk is mapped.
    pub(super) fn slot(&self, index: usize) -> Option<Slot> {
        Some(
            self.slots
                .lock()
                .chunks
                .get(&(index / CHUNK_SLOTS))?
                .slot(index),
        )
    }

    /// Frees a slot index: its thread is gone or can run no more user code.
    pub(super) fn release_slot(&self, index: usize) {
        if let Some(word) = self.slots.lock().used.get_mut(index / 64) {
            *word &= !(1 << (index % 64));
        }
    }

    /// Where slot `index` lies in the arena's memfd, chunk-wise, and how many chunks are mapped.
    pub(super) fn chunk_offset(&self, index: usize) -> Option<usize> {
        Some(
            self.slots
                .lock()
                .chunks
                .get(&(index / CHUNK_SLOTS))?
                .offset(),
        )
    }

    /// The chunks that are mapped, by index in the address space.
    pub(super) fn mapped_chunks(&self) -> Vec<usize> {
        self.slots.lock().chunks.keys().copied().collect()
    }

    pub(super) fn add_process(&self, process: Arc<Process>) {
        self.processes.write().push(process);
    }

    pub(super) fn remove_process(&self, process: &Arc<Process>) {
        self.processes
            .write()
            .retain(|other| !Arc::ptr_eq(other, process));
    }

    pub(super) fn has_one_process(&self) -> bool {
        self.processes.read().len() == 1
    }

    /// SIGKILL for every process with this memory.
    pub(super) fn kill(&self) {
        for process in self.processes.read().iter() {
            process.kill();
        }
    }

    /// Runs `access` with the pid of a living process. One that has died but is not removed yet gives `ESRCH`.
    fn with_pid(
        &self,
        mut access: impl FnMut(i32) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        for process in self.processes.read().iter() {
            match access(process.pid) {
                Err(Errno::ESRCH) => {}
                other => return other,
            }
        }
        Err(Errno::EFAULT)
    }

    /// Writes anywhere, the stub's zone included.
    pub(super) fn write_stub(&self, addr: u64, bytes: &[u8]) -> Result<(), Errno> {
        let done = self.with_pid(|pid| vm::write(pid, &[(addr, bytes.len())], bytes))?;
        if done == bytes.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Reads anywhere, the stub's zone included.
    pub(super) fn read_stub(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let len = buf.len();
        let done = self.with_pid(|pid| vm::read(pid, &[(addr, len)], buf))?;
        if done == len {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }
}

/// What the kernel holds of a [`Space`]: dropping it kills the processes.
pub(super) struct SpaceHandle(Arc<Space>);

impl Drop for SpaceHandle {
    fn drop(&mut self) {
        self.0.kill();
    }
}

impl AddressSpace for SpaceHandle {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        self.read_vectored(&[(addr, buf.len())], buf)
    }

    fn write(&self, addr: u64, buf: &[u8]) -> Result<usize, Errno> {
        self.write_vectored(&[(addr, buf.len())], buf)
    }

    fn read_vectored(&self, ranges: &[(u64, usize)], buf: &mut [u8]) -> Result<usize, Errno> {
        vm::vectored(ranges, buf.len(), |batch, start| {
            self.0
                .with_pid(|pid| vm::read(pid, batch, &mut buf[start..]))
        })
    }

    fn write_vectored(&self, ranges: &[(u64, usize)], buf: &[u8]) -> Result<usize, Errno> {
        vm::vectored(ranges, buf.len(), |batch, start| {
            self.0.with_pid(|pid| vm::write(pid, batch, &buf[start..]))
        })
    }

    fn has_sequences(&self) -> bool {
        process::cpus_count_from_zero()
    }
    fn vdso(&self) -> Vdso {
        self.0.vdso
    }

    fn host_pid(&self) -> i32 {
        self.0
            .processes
            .read()
            .first()
            .map_or(0, |process| process.pid)
    }

    fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for process in self.0.processes.read().iter() {
            let (user, system) = process::cpu_times(process.pid);
            usage.user_ns += user;
            usage.system_ns += system;
        }
        usage
    }
}
