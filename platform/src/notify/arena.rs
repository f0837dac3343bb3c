//! Slots: the memory that a guest's stub and the platform share.
//!
//! One sealed memfd, the *arena*, serves a spawned process and everything forked from it. It is dealt out in *chunks* of [`CHUNK_SLOTS`] slots; a
//! chunk belongs to one address space, which maps it (by an order with exact arguments) at the place of its slot indices. Every guest process
//! holds the memfd as descriptor 0 but cannot map it on its own.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use abi::Errno;
use parking_lot::Mutex;

use crate::host::memory::SharedMemory;
use crate::stub;

/// Slots mapped at a time.
pub(super) const CHUNK_SLOTS: usize = 16;
/// Chunks of an arena: bounds the processes that one spawned process may have as living forks. Pages are taken when first touched.
const CHUNKS: usize = 16_384;

/// See the module.
pub(super) struct Arena {
    memory: SharedMemory,
    free: Mutex<Free>,
}

struct Free {
    next: usize,
    returned: Vec<usize>,
}

impl Arena {
    pub(super) fn new() -> Result<Arc<Self>, Errno> {
        let memory = SharedMemory::new(
            c"runsc-slots",
            CHUNKS * CHUNK_SLOTS * stub::SLOT_SIZE as usize,
        )?;
        Ok(Arc::new(Self {
            memory,
            free: Mutex::new(Free {
                next: 0,
                returned: Vec::new(),
            }),
        }))
    }

    pub(super) fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// A chunk for one address space; `EAGAIN` when all are taken.
    pub(super) fn take_chunk(self: &Arc<Self>) -> Result<Chunk, Errno> {
        let mut free = self.free.lock();
        let number = match free.returned.pop() {
            Some(number) => number,
            None if free.next < CHUNKS => {
                free.next += 1;
                free.next - 1
            }
            None => return Err(Errno::EAGAIN),
        };
        Ok(Chunk {
            arena: Arc::clone(self),
            number,
        })
    }
}

/// A chunk of an arena; given back when dropped.
pub(super) struct Chunk {
    arena: Arc<Arena>,
    number: usize,
}

impl Chunk {
    /// Byte offset in the memfd.
    pub(super) fn offset(&self) -> usize {
        self.number * CHUNK_SLOTS * stub::SLOT_SIZE as usize
    }

    /// The slot that lies at address-space index `index` (only its place within the chunk counts), wiped.
    pub(super) fn slot(&self, index: usize) -> Slot {
        let offset = self.offset() + index % CHUNK_SLOTS * stub::SLOT_SIZE as usize;
        for word in 0..stub::SLOT_SIZE as usize / 8 {
            self.arena.memory.write(offset + word * 8, 0);
        }
        Slot {
            arena: Arc::clone(&self.arena),
            offset,
            index,
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.arena.free.lock().returned.push(self.number);
    }
}

/// One thread's slot: `index` in its address space, `offset` in the arena. Its contents are untrusted.
pub(super) struct Slot {
    arena: Arc<Arena>,
    offset: usize,
    pub(super) index: usize,
}

impl Slot {
    pub(super) fn read(&self, at: usize) -> u64 {
        self.arena.memory.read(self.offset + at)
    }

    pub(super) fn write_words(&self, at: usize, words: &[u64]) {
        self.arena.memory.write_words(self.offset + at, words);
    }

    /// The aligned 32-bit word at `at` as an atomic.
    pub(super) fn word(&self, at: usize) -> &AtomicU32 {
        self.arena.memory.atomic(self.offset + at)
    }

    /// Stores a list of orders, to be reported when done or to be followed by running on.
    pub(super) fn write_orders(&self, orders: &[[u64; 7]], then_resume: bool) {
        let flag = if then_resume {
            stub::ORDERS_THEN_RESUME
        } else {
            0
        };
        self.write_words(stub::SLOT_ORDERS, &[orders.len() as u64 | flag]);
        for (index, order) in orders.iter().enumerate() {
            self.write_words(stub::SLOT_ORDERS + 64 + index * stub::ORDER_SIZE, order);
        }
    }

    /// What the guest says order `index` returned.
    pub(super) fn order_result(&self, index: usize) -> i64 {
        self.read(stub::SLOT_ORDERS + 64 + index * stub::ORDER_SIZE + 56)
            .cast_signed()
    }

    /// Sets the word that a parked stub waits on, and wakes it unless it is 0.
    pub(super) fn set_park_word(&self, value: u32) {
        let at = self.offset + stub::SLOT_PARK;
        self.arena
            .memory
            .atomic(at)
            .store(value, std::sync::atomic::Ordering::Release);
        if value != 0 {
            self.arena.memory.futex_wake(at);
        }
    }
}
