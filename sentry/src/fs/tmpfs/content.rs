//! The bytes of a regular file in memory: inline while they are few, then in a host file of the file system's [`Store`], which is also what guests map.
//!
//! Pages are counted against the file system's [`Budget`] as Linux counts them: when they are allocated. Pages that a guest allocates by touching a
//! hole through a mapping are counted at the next look at the file, so mappings can overshoot `size=`; the container's memory limit holds always.
//!
//! In a store on a disk, blocks are counted as the disk's file system does, which may be later or more than what was written.
//!
//! Lock order: `state` is a leaf, held while the store makes a file; the guest's memory is read and written while it is held.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::RwLock;

use super::budget::Budget;
use super::store::{Memory, Store};
use crate::error::{Errno, Result};
use crate::host;
use crate::vfs::{SeekFrom, Sink, Source};

const PAGE: u64 = 4096;
/// Files up to this size live in the sentry's heap until somebody maps them.
const INLINE: u64 = PAGE;
/// Bytes moved at a time.
const CHUNK: usize = 256 * 1024;
/// MAX_LFS_FILESIZE.
const MAX_SIZE: u64 = i64::MAX as u64;

const FALLOC_FL_KEEP_SIZE: u32 = 1;
const FALLOC_FL_PUNCH_HOLE: u32 = 2;

/// F_SEAL_SEAL.
pub(crate) const SEAL_SEAL: u32 = 1;
/// F_SEAL_SHRINK.
pub(crate) const SEAL_SHRINK: u32 = 2;
/// F_SEAL_GROW.
pub(crate) const SEAL_GROW: u32 = 4;
/// F_SEAL_WRITE.
pub(crate) const SEAL_WRITE: u32 = 8;
/// F_SEAL_FUTURE_WRITE.
pub(crate) const SEAL_FUTURE_WRITE: u32 = 16;
/// F_SEAL_EXEC.
pub(crate) const SEAL_EXEC: u32 = 32;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A buffer for copies between host files and guests, reused by each thread. A nested use gets a buffer of its own.
fn with_scratch<R>(len: usize, run: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut scratch = SCRATCH.take();
    if scratch.len() < len {
        scratch.resize(len, 0);
    }
    let result = run(&mut scratch[..len]);
    SCRATCH.set(scratch);
    result
}

enum Body {
    /// At most [`INLINE`] bytes; what lies between its end and the file's size is zero.
    Inline(Vec<u8>),
    /// A host file (a memfd, mostly) whose size is the file's.
    Host(Arc<OwnedFd>),
}

struct State {
    size: u64,
    body: Body,
    /// Pages counted against the budget.
    pages: u64,
    /// Pages below this index are all allocated: writes there need no new ones.
    dense: u64,
    /// Somebody may have mapped it: pages may appear without our doing.
    mapped: bool,
    seals: u32,
}

/// See the module.
pub(crate) struct Content {
    state: RwLock<State>,
    budget: Arc<Budget>,
    store: Arc<dyn Store>,
}

fn pages_of(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE)
}

impl State {
    fn host(&mut self, store: &dyn Store) -> Result<Arc<OwnedFd>> {
        if let Body::Host(fd) = &self.body {
            return Ok(fd.clone());
        }
        let fd = Arc::new(store.make()?);
        if let Body::Inline(bytes) = &self.body
            && !bytes.is_empty()
            && host::pwrite(&fd, bytes, 0)? < bytes.len()
        {
            return Err(Errno::ENOSPC);
        }
        host::ftruncate(&fd, self.size)?;
        self.body = Body::Host(fd.clone());
        Ok(fd)
    }

    /// Pages that are allocated now.
    fn allocated(&self) -> u64 {
        match &self.body {
            Body::Inline(bytes) => u64::from(!bytes.is_empty()),
            Body::Host(fd) => host::fstat(fd).map_or(self.pages, |stat| {
                u64::try_from(stat.st_blocks).unwrap_or(0) / (PAGE / 512)
            }),
        }
    }
}

impl Content {
    /// An empty file that draws on `budget`, kept in `store`.
    pub(crate) fn new(budget: Arc<Budget>, store: Arc<dyn Store>) -> Self {
        Self {
            state: RwLock::new(State {
                size: 0,
                body: Body::Inline(Vec::new()),
                pages: 0,
                dense: 0,
                mapped: false,
                seals: SEAL_SEAL,
            }),
            budget,
            store,
        }
    }

    /// An empty file that can be sealed, backed by a memfd from the start.
    pub(crate) fn sealable(seals: u32) -> Result<Self> {
        let content = Self::new(Budget::unlimited(), Arc::new(Memory));
        {
            let mut state = content.state.write();
            state.seals = seals;
            let fd = state.host(&*content.store)?;
            host::add_seals(&fd, seals & !SEAL_EXEC)?;
        }
        Ok(content)
    }

    /// Size in bytes and allocated 512-byte blocks.
    pub(crate) fn size_and_blocks(&self) -> (u64, u64) {
        let state = self.state.read();
        if !state.mapped {
            return (state.size, state.pages * (PAGE / 512));
        }
        drop(state);
        let mut state = self.state.write();
        self.recount(&mut state);
        (state.size, state.pages * (PAGE / 512))
    }

    /// Makes the budget agree with what is allocated.
    fn recount(&self, state: &mut State) {
        let now = state.allocated();
        if now > state.pages {
            self.budget.charge_pages_anyway(now - state.pages);
        } else {
            self.budget.return_pages(state.pages - now);
        }
        state.pages = now;
    }

    pub(crate) fn read(&self, offset: u64, dst: &mut dyn Sink) -> Result<usize> {
        let state = self.state.read();
        let end = state
            .size
            .min(offset.saturating_add(dst.remaining() as u64));
        let mut at = offset;
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let result = with_scratch(want, |scratch| {
                let got = match &state.body {
                    Body::Inline(bytes) => {
                        let start = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                        let have = (bytes.len() - start).min(want);
                        scratch[..have].copy_from_slice(&bytes[start..start + have]);
                        scratch[have..].fill(0);
                        want
                    }
                    Body::Host(fd) => host::pread(fd, scratch, at)?,
                };
                Ok((dst.put(&scratch[..got])?, got))
            });
            match result {
                Ok((put, got)) => {
                    at += put as u64;
                    if put < want || got < want {
                        break;
                    }
                }
                Err(errno) if at == offset => return Err(errno),
                Err(_) => break,
            }
        }
        Ok((at.max(offset) - offset) as usize)
    }

    /// Writes at `offset`, or at the end; returns the bytes written and the offset behind them.
    pub(crate) fn write(&self, offset: Option<u64>, src: &mut dyn Source) -> Result<(usize, u64)> {
        let mut state = self.state.write();
        let start = offset.unwrap_or(state.size);
        let mut at = start;
        if state.seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        let asked = src.remaining() as u64;
        if asked > 0 && start >= MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let mut end = start + asked.min(MAX_SIZE - start);
        if state.seals & SEAL_GROW != 0 && end > state.size {
            if start >= state.size {
                return Err(Errno::EPERM);
            }
            end = state.size;
        }
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let piece = with_scratch(want, |scratch| {
                let n = src.take(scratch)?;
                self.store(&mut state, at, &scratch[..n])
                    .map(|stored| (stored, n))
            });
            match piece {
                Ok((stored, _)) => {
                    at += stored as u64;
                    if stored < want {
                        break;
                    }
                }
                Err(errno) if at == start => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(((at - start) as usize, at))
    }

    /// Stores bytes and counts the pages that they need; short if the budget ends.
    fn store(&self, state: &mut State, at: u64, bytes: &[u8]) -> Result<usize> {
        let end = at + bytes.len() as u64;
        if let Body::Inline(inline) = &mut state.body
            && end <= INLINE
        {
            if state.pages == 0 {
                self.budget.charge_pages(1)?;
                state.pages = 1;
                state.dense = 1;
            }
            let (from, to) = (at as usize, end as usize);
            if inline.len() < to {
                inline.resize(to, 0);
            }
            inline[from..to].copy_from_slice(bytes);
            state.size = state.size.max(end);
            return Ok(bytes.len());
        }
        let fd = state.host(&*self.store)?;
        let (first, last) = (at / PAGE, pages_of(end));
        let mut limit = bytes.len();
        if last > state.dense {
            // At most so many; what was allocated already is given back below.
            let wanted = last - first.max(state.dense);
            let granted = self.charge_up_to(state, wanted);
            state.pages += granted;
            if granted < wanted {
                let reach = (first.max(state.dense) + granted) * PAGE;
                limit = usize::try_from(reach.saturating_sub(at))
                    .unwrap_or(0)
                    .min(limit);
            }
        }
        let result = if limit == 0 {
            Err(Errno::ENOSPC)
        } else {
            host::pwrite(&fd, &bytes[..limit], at)
        };
        if let Ok(n) = result {
            let reached = at + n as u64;
            state.size = state.size.max(reached);
            if first <= state.dense {
                state.dense = state.dense.max(pages_of(reached));
            }
        }
        if last > state.dense
            || result.as_ref().ok() != Some(&bytes.len())
            || state.pages > pages_of(state.size)
        {
            self.recount(state);
        }
        result
    }

    /// Charges `wanted` pages, or what the budget has left.
    fn charge_up_to(&self, state: &mut State, wanted: u64) -> u64 {
        if self.budget.charge_pages(wanted).is_ok() {
            return wanted;
        }
        self.recount(state);
        let mut granted = 0;
        while granted < wanted && self.budget.charge_pages(1).is_ok() {
            granted += 1;
        }
        granted
    }

    /// `truncate(2)`.
    pub(crate) fn truncate(&self, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let mut state = self.state.write();
        if (size < state.size && state.seals & SEAL_SHRINK != 0)
            || (size > state.size && state.seals & SEAL_GROW != 0)
        {
            return Err(Errno::EPERM);
        }
        match &mut state.body {
            Body::Inline(bytes) => {
                bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
                state.size = size;
            }
            Body::Host(fd) => {
                host::ftruncate(fd, size)?;
                state.size = size;
            }
        }
        state.dense = state.dense.min(pages_of(size));
        self.recount(&mut state);
        Ok(())
    }

    /// `fallocate(2)`: reserving and punching holes, as tmpfs has them.
    pub(crate) fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        if mode & !(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let end = offset.checked_add(len).filter(|end| *end <= MAX_SIZE);
        let end = end.ok_or(Errno::EFBIG)?;
        let mut state = self.state.write();
        if mode & FALLOC_FL_PUNCH_HOLE != 0 {
            if mode & FALLOC_FL_KEEP_SIZE == 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            if state.seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0 {
                return Err(Errno::EPERM);
            }
            let fd = state.host(&*self.store)?;
            host::fallocate(&fd, mode as i32, offset, len)?;
            state.dense = state.dense.min(offset / PAGE);
            self.recount(&mut state);
            return Ok(());
        }
        let grows = mode & FALLOC_FL_KEEP_SIZE == 0 && end > state.size;
        if grows && state.seals & SEAL_GROW != 0 {
            return Err(Errno::EPERM);
        }
        let fd = state.host(&*self.store)?;
        self.recount(&mut state);
        let wanted = pages_of(end).saturating_sub((offset / PAGE).max(state.dense));
        if !self.budget.has_pages(wanted) {
            // Some may be allocated already, but to find out costs more than it is worth: as Linux, which asks for all in advance.
            return Err(Errno::ENOSPC);
        }
        host::fallocate(&fd, mode as i32, offset, len)?;
        if grows {
            state.size = end;
        }
        if offset / PAGE <= state.dense {
            state.dense = state.dense.max(end / PAGE);
        }
        self.recount(&mut state);
        Ok(())
    }

    /// SEEK_DATA and SEEK_HOLE (`ENXIO` beyond the end), SEEK_END.
    pub(crate) fn seek(&self, from: SeekFrom) -> Result<u64> {
        let state = self.state.read();
        let (offset, whence) = match from {
            SeekFrom::End(delta) => {
                return i64::try_from(state.size)
                    .ok()
                    .and_then(|size| size.checked_add(delta))
                    .and_then(|at| u64::try_from(at).ok())
                    .ok_or(Errno::EINVAL);
            }
            SeekFrom::Data(offset) => (offset, libc::SEEK_DATA),
            SeekFrom::Hole(offset) => (offset, libc::SEEK_HOLE),
        };
        if offset >= state.size {
            return Err(Errno::ENXIO);
        }
        match &state.body {
            Body::Host(fd) => host::lseek(fd, offset, whence),
            Body::Inline(bytes) => {
                let data_end = if bytes.is_empty() {
                    0
                } else {
                    PAGE.min(state.size)
                };
                match (whence == libc::SEEK_DATA, offset < data_end) {
                    (true, true) => Ok(offset),
                    (true, false) => Err(Errno::ENXIO),
                    (false, true) => Ok(data_end),
                    (false, false) => Ok(offset),
                }
            }
        }
    }

    /// The host file to map; `EPERM` if `write` and sealed against it.
    pub(crate) fn backing(&self, write: bool) -> Result<Arc<OwnedFd>> {
        let mut state = self.state.write();
        if write && state.seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        state.mapped = true;
        state.host(&*self.store)
    }

    /// F_GET_SEALS.
    pub(crate) fn seals(&self) -> u32 {
        self.state.read().seals
    }

    /// F_ADD_SEALS: `EPERM` once sealed, `EINVAL` for unknown ones, `EBUSY` for F_SEAL_WRITE while it is mapped writable and shared.
    pub(crate) fn add_seals(&self, seals: u32) -> Result<()> {
        const KNOWN: u32 =
            SEAL_SEAL | SEAL_SHRINK | SEAL_GROW | SEAL_WRITE | SEAL_FUTURE_WRITE | SEAL_EXEC;
        if seals & !KNOWN != 0 {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state.write();
        if state.seals & SEAL_SEAL != 0 {
            return Err(Errno::EPERM);
        }
        let fd = state.host(&*self.store)?;
        // The host knows about the guests' mappings; F_SEAL_EXEC concerns only our own mode bits.
        host::add_seals(&fd, seals & !SEAL_EXEC)?;
        state.seals |= seals;
        Ok(())
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.budget.return_pages(self.state.get_mut().pages);
    }
}
