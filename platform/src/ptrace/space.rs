//! An address space and the host processes that share it.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use abi::Errno;
use parking_lot::{Mutex, RwLock};

use super::thread::Thread;
use crate::api::{AddressSpace, Schedule, Usage, Vdso};
use crate::host::{self, vm};
use crate::remains::Remains;

/// Files that a process keeps open for mapping: descriptors 1 to this. (0 is the socket that they come by.)
pub(super) const FILES: usize = 4;

/// See the module.
pub(super) struct Space {
    /// Living processes with this memory, oldest first. The tracer removes one before it reaps it: while this is locked for reading, no pid in it
    /// can be another process's.
    processes: RwLock<Vec<Arc<Process>>>,
    vdso: Vdso,
    handle: Mutex<Weak<SpaceHandle>>,
}

impl Space {
    pub(super) fn new(vdso: Vdso) -> (Arc<Self>, Arc<SpaceHandle>) {
        let space = Arc::new(Self {
            processes: RwLock::default(),
            vdso,
            handle: Mutex::new(Weak::new()),
        });
        let handle = Arc::new(SpaceHandle(Arc::clone(&space)));
        *space.handle.lock() = Arc::downgrade(&handle);
        (space, handle)
    }

    /// The handle that the kernel holds, if it still does.
    pub(super) fn handle(&self) -> Option<Arc<SpaceHandle>> {
        self.handle.lock().upgrade()
    }

    pub(super) fn vdso(&self) -> Vdso {
        self.vdso
    }

    /// Forgets a process that is about to be reaped.
    pub(super) fn remove(&self, process: &Arc<Process>) {
        self.processes
            .write()
            .retain(|other| !Arc::ptr_eq(other, process));
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
}

/// What the kernel holds of a [`Space`]: dropping it kills the processes.
pub(super) struct SpaceHandle(Arc<Space>);

impl Drop for SpaceHandle {
    fn drop(&mut self) {
        for process in self.0.processes.read().iter() {
            process.kill();
        }
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
        crate::host::process::cpus_count_from_zero()
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
            let (user, system) = host::process::cpu_times(process.pid);
            usage.user_ns += user;
            usage.system_ns += system;
        }
        usage
    }
}

/// One host process of a guest address space.
pub(super) struct Process {
    pub(super) pid: i32,
    pidfd: OwnedFd,
    pub(super) space: Arc<Space>,
    /// Threads that were made and not told to exit.
    live: AtomicUsize,
    pub(super) threads: Mutex<HashMap<i32, Arc<Thread>>>,
    pub(super) remains: Arc<Remains>,
    /// What its descriptors for file mappings are.
    pub(super) files: Mutex<Files>,
}

impl Process {
    pub(super) fn new(pid: i32, pidfd: OwnedFd, space: &Arc<Space>, files: Files) -> Arc<Self> {
        let process = Arc::new(Self {
            pid,
            pidfd,
            space: Arc::clone(space),
            live: AtomicUsize::new(0),
            threads: Mutex::default(),
            remains: Arc::default(),
            files: Mutex::new(files),
        });
        space.processes.write().push(Arc::clone(&process));
        process
    }

    /// SIGKILL. Its tracer sees it end.
    pub(super) fn kill(&self) {
        let _ = host::process::kill(self.pidfd.as_fd());
    }

    /// Counts a new thread.
    pub(super) fn add(&self, thread: &Arc<Thread>) {
        self.threads.lock().insert(thread.tid, Arc::clone(thread));
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    /// Discounts a thread that was told to exit; `true` if no other is left.
    pub(super) fn thread_exits(&self) -> bool {
        self.live.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Passes on how one of its threads is to be scheduled.
    pub(super) fn schedule(self: &Arc<Self>, tid: i32, how: Schedule) -> Result<(), Errno> {
        let processes = self.space.processes.read();
        if !processes.iter().any(|process| Arc::ptr_eq(process, self)) {
            return Err(Errno::ESRCH);
        }
        host::process::schedule(tid, how, host::process::allowed_cpus())
    }

    /// CPU time of one thread: exact while it is alone, else an equal share of the process's.
    pub(super) fn cpu_time_per_thread(self: &Arc<Self>) -> (u64, u64) {
        let processes = self.space.processes.read();
        if !processes.iter().any(|process| Arc::ptr_eq(process, self)) {
            return (0, 0);
        }
        let (user, system) = host::process::cpu_times(self.pid);
        let threads = self.live.load(Ordering::Relaxed).max(1) as u64;
        (user / threads, system / threads)
    }
}

/// Which files a process has open under the descriptors 1 to [`FILES`]. The weak references keep the allocations' addresses from being used again,
/// so equal addresses mean the same file.
#[derive(Clone, Default)]
pub(super) struct Files {
    slots: [Option<Weak<OwnedFd>>; FILES],
    /// The slot that was taken last.
    last: usize,
}

impl Files {
    /// The descriptor that `file` has.
    pub(super) fn find(&self, file: &Arc<OwnedFd>) -> Option<u64> {
        let same = |slot: &Option<Weak<OwnedFd>>| {
            slot.as_ref()
                .is_some_and(|weak| Weak::as_ptr(weak) == Arc::as_ptr(file))
        };
        self.slots
            .iter()
            .position(same)
            .map(|index| index as u64 + 1)
    }

    /// The lowest free descriptor, which is the one that the host will use next; `None` if all are taken.
    pub(super) fn free(&self) -> Option<usize> {
        self.slots.iter().position(Option::is_none)
    }

    /// Gives the descriptor up that was taken longest ago; it has to be closed.
    pub(super) fn evict(&mut self) -> u64 {
        let index = (self.last + 1) % FILES;
        self.slots[index] = None;
        index as u64 + 1
    }

    /// `file` came as slot `index`.
    pub(super) fn set(&mut self, index: usize, file: &Arc<OwnedFd>) -> u64 {
        self.slots[index] = Some(Arc::downgrade(file));
        self.last = index;
        index as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_and_the_oldest_goes() {
        let file = || Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let files: Vec<_> = (0..=FILES).map(|_| file()).collect();
        let mut table = Files::default();
        for (index, file) in files.iter().take(FILES).enumerate() {
            assert_eq!(table.free(), Some(index));
            assert_eq!(table.set(index, file), index as u64 + 1);
        }
        assert_eq!(table.free(), None);
        assert_eq!(table.find(&files[2]), Some(3));
        assert_eq!(table.evict(), 1);
        assert_eq!(table.free(), Some(0));
        table.set(0, &files[FILES]);
        assert_eq!(
            (table.find(&files[0]), table.find(&files[FILES])),
            (None, Some(1))
        );
        assert_eq!(table.evict(), 2);
    }
}
