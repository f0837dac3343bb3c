//! System V semaphores (`semop(2)`, `ipc/sem.c`).
//!
//! The operations of a call are applied all or none under the set's lock. Whoever changes a set wakes all who wait for it; they try again. A process's
//! SEM_UNDO adjustments are kept in the set and applied when it exits.

use std::collections::HashMap;
use std::sync::Arc;

use abi::ipc::{IPC_NOWAIT, IpcPerm, SEM_UNDO, Sembuf, SemidDs};
use parking_lot::Mutex;

use super::{Permissions, Registry};
use crate::error::{Errno, Result};
use crate::task::namespaces::IpcNamespace;
use crate::task::{CurrentTask, Task, ThreadGroup};
use crate::time;
use crate::wait::{Events, WaitQueue};

/// Most sets in a namespace.
pub const SEMMNI: usize = 32000;
/// Most semaphores in a set.
pub const SEMMSL: i32 = 32000;
/// Most semaphores in a namespace. Linux allows more, against the memory cgroup.
pub const SEMMNS: usize = 1 << 20;
/// Most operations in a call.
pub const SEMOPM: usize = 500;
/// Largest value.
pub const SEMVMX: i32 = 32767;

/// One semaphore.
#[derive(Clone, Copy, Debug, Default)]
struct Semaphore {
    value: u16,
    /// Process that changed it last, by its number in its own namespace.
    pid: i32,
    /// How many wait for it to grow.
    growers: u32,
    /// How many wait for it to be zero.
    zeroers: u32,
}

struct State {
    permissions: Permissions,
    semaphores: Vec<Semaphore>,
    /// Adjustments at exit: by process (its identity), by semaphore.
    undo: HashMap<usize, HashMap<u16, i16>>,
    operated: i64,
    changed: i64,
    removed: bool,
}

/// A set of semaphores.
pub struct SemaphoreSet {
    state: Mutex<State>,
    queue: WaitQueue,
}

/// All sets of a namespace.
pub type Sets = Registry<SemaphoreSet>;

/// Why an operation cannot be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The semaphore.
    number: u16,
    /// It must become zero, rather than grow.
    zero: bool,
}

fn identity(group: &Arc<ThreadGroup>) -> usize {
    Arc::as_ptr(group) as usize
}

fn seconds() -> i64 {
    time::now().sec
}

impl SemaphoreSet {
    /// A set of `count` zeroes.
    #[must_use]
    pub fn new(permissions: Permissions, count: usize) -> Self {
        Self {
            state: Mutex::new(State {
                permissions,
                semaphores: vec![Semaphore::default(); count],
                undo: HashMap::new(),
                operated: 0,
                changed: seconds(),
                removed: false,
            }),
            queue: WaitQueue::new(),
        }
    }
    /// How many semaphores it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.lock().semaphores.len()
    }
    /// Owner and mode.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        self.state.lock().permissions
    }
    /// Notified when a waiting call may succeed or the set is gone.
    #[must_use]
    pub const fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Applies all operations or none: `Ok(Err(_))` says what must be waited for; `EAGAIN` where IPC_NOWAIT forbids that; `EFBIG`, `ERANGE`, `EIDRM`.
    pub fn operate(&self, task: &CurrentTask, ops: &[Sembuf]) -> Result<Result<(), Blocked>> {
        let process = identity(&task.group);
        let pid = task.group.pid.local();
        let result = self.state.lock().operate(process, pid, ops);
        let changes = ops.iter().any(|op| op.op != 0);
        if result == Ok(Ok(())) && changes {
            self.queue.notify(Events::IN);
        }
        result
    }

    /// Counts a call as waiting until the guard is dropped.
    #[must_use]
    pub fn count_waiter(self: &Arc<Self>, blocked: Blocked) -> WaiterCount {
        self.change_waiters(blocked, 1);
        WaiterCount {
            set: self.clone(),
            blocked,
        }
    }

    fn change_waiters(&self, blocked: Blocked, by: i32) {
        let mut state = self.state.lock();
        if let Some(semaphore) = state.semaphores.get_mut(usize::from(blocked.number)) {
            let count = if blocked.zero {
                &mut semaphore.zeroers
            } else {
                &mut semaphore.growers
            };
            *count = count.saturating_add_signed(by);
        }
    }

    /// A value with what belongs to it: value, pid, waiters for growth and for zero. `EINVAL` for a number out of range.
    pub fn look(&self, number: i32) -> Result<(u16, i32, u32, u32)> {
        let state = self.state.lock();
        let index = usize::try_from(number).map_err(|_| Errno::EINVAL)?;
        let semaphore = state.semaphores.get(index).ok_or(Errno::EINVAL)?;
        Ok((
            semaphore.value,
            semaphore.pid,
            semaphore.growers,
            semaphore.zeroers,
        ))
    }
    /// All values.
    #[must_use]
    pub fn values(&self) -> Vec<u16> {
        let state = self.state.lock();
        state.semaphores.iter().map(|s| s.value).collect()
    }

    /// SETVAL and SETALL: `ERANGE` for a value out of range. All processes' adjustments of these semaphores are dropped.
    pub fn set(&self, task: &CurrentTask, first: usize, values: &[u16]) -> Result<()> {
        if values.iter().any(|value| i32::from(*value) > SEMVMX) {
            return Err(Errno::ERANGE);
        }
        {
            let mut state = self.state.lock();
            if state.removed {
                return Err(Errno::EIDRM);
            }
            let pid = task.group.pid.local();
            let range = state
                .semaphores
                .get_mut(first..first + values.len())
                .ok_or(Errno::EINVAL)?;
            for (semaphore, value) in range.iter_mut().zip(values) {
                semaphore.value = *value;
                semaphore.pid = pid;
            }
            let span = first..first + values.len();
            for adjustments in state.undo.values_mut() {
                adjustments.retain(|number, _| !span.contains(&usize::from(*number)));
            }
            state.changed = seconds();
        }
        self.queue.notify(Events::IN);
        Ok(())
    }

    /// IPC_SET.
    pub fn set_permissions(&self, task: &CurrentTask, new: &IpcPerm) -> Result<()> {
        let mut state = self.state.lock();
        state.permissions.check_owner(&task.creds())?;
        state.permissions.set(new)?;
        state.changed = seconds();
        Ok(())
    }
    /// IPC_STAT.
    #[must_use]
    pub fn stat(&self, id: i32) -> SemidDs {
        let state = self.state.lock();
        SemidDs {
            perm: state.permissions.show(id),
            otime: state.operated,
            ctime: state.changed,
            nsems: state.semaphores.len() as u64,
            ..SemidDs::default()
        }
    }
    /// IPC_RMID: who waits gets `EIDRM`.
    pub fn retire(&self) {
        self.state.lock().removed = true;
        self.queue.notify(Events::all());
    }

    fn undo(&self, process: usize, pid: i32) {
        let changed = {
            let mut state = self.state.lock();
            let adjustments = state.undo.remove(&process);
            for (number, by) in adjustments.iter().flatten() {
                if let Some(semaphore) = state.semaphores.get_mut(usize::from(*number)) {
                    let value = i32::from(semaphore.value) + i32::from(*by);
                    // Linux bounds the value instead of blocking.
                    semaphore.value = value.clamp(0, SEMVMX) as u16;
                    semaphore.pid = pid;
                }
            }
            adjustments.is_some()
        };
        if changed {
            self.queue.notify(Events::IN);
        }
    }
}

impl State {
    fn operate(&mut self, process: usize, pid: i32, ops: &[Sembuf]) -> Result<Result<(), Blocked>> {
        if self.removed {
            return Err(Errno::EIDRM);
        }
        if ops
            .iter()
            .any(|op| usize::from(op.num) >= self.semaphores.len())
        {
            return Err(Errno::EFBIG);
        }
        let mut values: HashMap<u16, i32> = HashMap::new();
        let mut undo: HashMap<u16, i32> = HashMap::new();
        for op in ops {
            let current = i32::from(self.semaphores[usize::from(op.num)].value);
            let value = values.entry(op.num).or_insert(current);
            let next = *value + i32::from(op.op);
            let blocks = if op.op == 0 { *value != 0 } else { next < 0 };
            if blocks {
                return if op.flags & IPC_NOWAIT as i16 != 0 {
                    Err(Errno::EAGAIN)
                } else {
                    Ok(Err(Blocked {
                        number: op.num,
                        zero: op.op == 0,
                    }))
                };
            }
            if next > SEMVMX {
                return Err(Errno::ERANGE);
            }
            *value = next;
            if op.flags & SEM_UNDO != 0 && op.op != 0 {
                let kept = self
                    .undo
                    .get(&process)
                    .and_then(|a| a.get(&op.num))
                    .copied()
                    .unwrap_or(0);
                let adjustment = undo.entry(op.num).or_insert(i32::from(kept));
                *adjustment -= i32::from(op.op);
                if adjustment.abs() > SEMVMX {
                    return Err(Errno::ERANGE);
                }
            }
        }
        for (number, value) in values {
            let semaphore = &mut self.semaphores[usize::from(number)];
            semaphore.value = value as u16;
            semaphore.pid = pid;
        }
        if !undo.is_empty() {
            let kept = self.undo.entry(process).or_default();
            kept.extend(undo.into_iter().map(|(number, by)| (number, by as i16)));
        }
        self.operated = seconds();
        Ok(Ok(()))
    }
}

/// See [`SemaphoreSet::count_waiter`].
pub struct WaiterCount {
    set: Arc<SemaphoreSet>,
    blocked: Blocked,
}

impl Drop for WaiterCount {
    fn drop(&mut self) {
        self.set.change_waiters(self.blocked, -1);
    }
}

/// Whether the process has adjustments to be undone.
#[must_use]
pub fn has_undo(task: &Task) -> bool {
    let process = identity(&task.group);
    let sets = task.namespaces().ipc.objects.get::<Sets>().all();
    sets.iter()
        .any(|(_, set)| set.state.lock().undo.contains_key(&process))
}

/// Applies a dying process's adjustments.
pub(super) fn undo_all(namespace: &IpcNamespace, task: &Task) {
    let process = identity(&task.group);
    let pid = task.group.pid.local();
    for (_, set) in namespace.objects.get::<Sets>().all() {
        set.undo(process, pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::creds::Creds;

    fn state(count: usize) -> State {
        let permissions = Permissions::new(&Creds::root(), 0, 0o600);
        SemaphoreSet::new(permissions, count).state.into_inner()
    }

    const fn op(num: u16, op: i16, flags: i16) -> Sembuf {
        Sembuf { num, op, flags }
    }

    #[test]
    fn operations_are_all_or_nothing_and_see_each_other() {
        let mut set = state(2);
        let blocked = Blocked {
            number: 1,
            zero: false,
        };
        assert_eq!(
            set.operate(1, 1, &[op(0, 5, 0), op(1, -1, 0)]),
            Ok(Err(blocked))
        );
        assert_eq!(set.semaphores[0].value, 0);
        assert_eq!(
            set.operate(1, 1, &[op(0, 2, 0), op(0, -2, 0), op(0, 0, 0)]),
            Ok(Ok(()))
        );
        assert_eq!(
            set.operate(1, 1, &[op(1, -1, IPC_NOWAIT as i16)]),
            Err(Errno::EAGAIN)
        );
        assert_eq!(set.operate(1, 1, &[op(2, 1, 0)]), Err(Errno::EFBIG));
        assert_eq!(
            set.operate(1, 1, &[op(0, 32767, 0), op(0, 1, 0)]),
            Err(Errno::ERANGE)
        );
        assert_eq!(set.semaphores[0].value, 0);
    }

    #[test]
    fn a_process_is_undone_once() {
        let set = SemaphoreSet::new(Permissions::new(&Creds::root(), 0, 0o600), 1);
        let operate = |ops: &[Sembuf]| set.state.lock().operate(7, 7, ops);
        assert_eq!(operate(&[op(0, 3, SEM_UNDO)]), Ok(Ok(())));
        assert_eq!(operate(&[op(0, -1, SEM_UNDO)]), Ok(Ok(())));
        assert_eq!(operate(&[op(0, 10, 0)]), Ok(Ok(())));
        assert_eq!(set.values(), [12]);
        set.undo(7, 7);
        assert_eq!(set.values(), [10]);
        set.undo(7, 7);
        assert_eq!(set.values(), [10]);
    }
}
