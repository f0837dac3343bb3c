//! Priority-inheriting futexes: locks whose word names their owner (`futex(2)`, "Priority-inheritance futexes"; `kernel/futex/pi.c`).
//!
//! Guests take and release a free lock by instructions of their own: 0 → thread id, thread id → 0. Both fail once FUTEX_WAITERS is set, so the kernel
//! has that bit set first, by an atomic instruction in the guest's own address space ([`HostCall::SetBits`]), looks again, and from then on changes the
//! word alone. Ownership and hand-over are exact; priorities are not lent, as all guests run under normal policies.
//!
//! [`TABLE`]: the locks that someone waits for, with their owners. Lock order: [`TABLE`] → futex buckets → guest memory.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use abi::{UserAddr, UserIn, UserOut};
use parking_lot::{Mutex, MutexGuard};
use platform::HostCall;

use super::FutexKey;
use super::key::key_of;
use super::table::{
    Candidate, Kind, MATCH_ANY, Queued, Waiter, enqueue_as, grant, notify, waiters_of,
};
use crate::error::{Errno, Restart, Result, SysError, SysResult};
use crate::mm::UserMemory;
use crate::mm::ops::order;
use crate::task::{CurrentTask, Task};
use crate::wait::{Events, WaitQueue};

pub(super) const FUTEX_WAITERS: u32 = 0x8000_0000;
pub(super) const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
pub(super) const FUTEX_TID_MASK: u32 = 0x3fff_ffff;
/// Longest chain of owners that is followed (`max_lock_depth`).
const MAX_LOCK_DEPTH: usize = 1024;

/// A lock that someone waits for.
pub(super) struct Owned {
    owner: Arc<Task>,
    /// Never empty, but while the table is locked.
    queue: VecDeque<Arc<Waiter>>,
}

/// All of them, and which one each blocked task waits for (by the task's address: the waiter keeps it alive).
#[derive(Default)]
pub(super) struct Locks {
    owned: HashMap<FutexKey, Owned>,
    blocked: HashMap<usize, FutexKey>,
}

static TABLE: LazyLock<Mutex<Locks>> = LazyLock::new(Mutex::default);

/// How an attempt to take a lock came out.
pub(super) enum Attempt {
    /// The word names the task.
    Acquired,
    /// FUTEX_WAITERS is to be set in the word first.
    Announce,
    /// This task owns it: wait.
    Owner(Arc<Task>),
}

pub(super) fn locks() -> MutexGuard<'static, Locks> {
    TABLE.lock()
}

fn identity(task: &Arc<Task>) -> usize {
    Arc::as_ptr(task) as usize
}

impl Candidate {
    fn word(&self) -> Result<u32> {
        self.memory.get(UserIn::new(UserAddr(self.addr)))
    }
    fn set_word(&self, value: u32) -> Result<()> {
        self.memory.put(UserOut::new(UserAddr(self.addr)), &value)
    }
    fn tid(&self) -> u32 {
        self.task.tid_number().cast_unsigned()
    }
}

impl Locks {
    /// Tries to take the lock `key` for `who` (`futex_lock_pi_atomic`). `waiters`: keep FUTEX_WAITERS set.
    pub(super) fn attempt(&self, key: FutexKey, who: &Candidate, waiters: bool) -> Result<Attempt> {
        let value = who.word()?;
        let owner_tid = value & FUTEX_TID_MASK;
        if owner_tid == who.tid() {
            return Err(Errno::EDEADLK);
        }
        let queued = self.owned.get(&key);
        match queued {
            Some(lock) => {
                let named = lock.owner.tid_number().cast_unsigned() == owner_tid;
                // A dying owner clears its name before it hands over.
                let dying = owner_tid == 0 && value & FUTEX_OWNER_DIED != 0;
                if !named && !dying {
                    return Err(Errno::EINVAL);
                }
            }
            None if waiters_of(key).iter().any(|w| w.kind() != Kind::Lock) => {
                return Err(Errno::EINVAL);
            }
            None => {}
        }
        if value & FUTEX_WAITERS == 0 {
            return Ok(Attempt::Announce);
        }
        if let Some(lock) = queued {
            return Ok(Attempt::Owner(lock.owner.clone()));
        }
        if owner_tid == 0 {
            let bits = if waiters { FUTEX_WAITERS } else { 0 };
            who.set_word(value & FUTEX_OWNER_DIED | who.tid() | bits)?;
            return Ok(Attempt::Acquired);
        }
        let owner = who
            .task
            .pid_namespace()
            .task(owner_tid.cast_signed())
            .filter(|task| !task.owns_no_futex.load(Ordering::Acquire));
        owner.map(Attempt::Owner).ok_or(Errno::ESRCH)
    }

    /// Whether `owner` waits, directly or not, for something that `task` owns.
    pub(super) fn would_deadlock(&self, task: &Arc<Task>, owner: &Arc<Task>) -> bool {
        let mut at = owner.clone();
        for _ in 0..MAX_LOCK_DEPTH {
            if Arc::ptr_eq(&at, task) {
                return true;
            }
            let next = self
                .blocked
                .get(&identity(&at))
                .and_then(|key| self.owned.get(key));
            match next {
                Some(lock) => at = lock.owner.clone(),
                None => return false,
            }
        }
        true
    }

    /// Enters a waiter, which is among those of `key`, for the lock that `owner` has.
    pub(super) fn queue(&mut self, key: FutexKey, owner: &Arc<Task>, waiter: &Arc<Waiter>) {
        if let Some(candidate) = waiter.candidate() {
            self.blocked.insert(identity(&candidate.task), key);
        }
        self.owned
            .entry(key)
            .or_insert_with(|| Owned {
                owner: owner.clone(),
                queue: VecDeque::new(),
            })
            .queue
            .push_back(waiter.clone());
    }

    /// Gives up a wait for ownership; says whether the lock had been handed over already.
    pub(super) fn cancel(&mut self, queued: &Queued) -> bool {
        let waiter = queued.waiter();
        if waiter.is_woken() {
            return true;
        }
        if let Some(candidate) = waiter.candidate() {
            self.blocked.remove(&identity(&candidate.task));
        }
        let key = waiter.key();
        if let Some(lock) = self.owned.get_mut(&key) {
            lock.queue.retain(|other| !Arc::ptr_eq(other, waiter));
            if lock.queue.is_empty() {
                self.owned.remove(&key);
            }
        }
        queued.cancel()
    }

    /// Makes the longest waiting task the owner; returns its waiter, to be notified once nothing is locked. `EFAULT`: its word cannot be written.
    fn hand_over(&mut self, key: FutexKey, owner_died: bool) -> Result<Option<Arc<Waiter>>> {
        let Some(lock) = self.owned.get_mut(&key) else {
            return Ok(None);
        };
        let Some((waiter, next)) = lock
            .queue
            .front()
            .and_then(|w| Some((w.clone(), w.candidate()?)))
            .map(|(w, c)| (w, (c.task.clone(), c.tid())))
        else {
            return Ok(None);
        };
        let died = if owner_died { FUTEX_OWNER_DIED } else { 0 };
        let written = waiter
            .candidate()
            .map_or(Ok(()), |c| c.set_word(next.1 | FUTEX_WAITERS | died));
        if !owner_died {
            written?;
        }
        lock.queue.pop_front();
        self.blocked.remove(&identity(&next.0));
        lock.owner = next.0;
        if lock.queue.is_empty() {
            self.owned.remove(&key);
        }
        grant(&waiter);
        Ok(Some(waiter))
    }
}

/// Has FUTEX_WAITERS set in the word at `addr`, atomically towards the guest. The caller is at a full stop.
pub(super) async fn announce(cx: &CurrentTask, addr: u64) -> SysResult<()> {
    let call = HostCall::SetBits {
        at: addr,
        bit: FUTEX_WAITERS,
    };
    order(&*cx.thread(), call).await?;
    if cx.must_return() {
        return Err(SysError::Restart(Restart::NoIntr));
    }
    Ok(())
}

/// A queued wait for ownership; dropping it gives it up.
struct Wanted(Queued);

impl Drop for Wanted {
    fn drop(&mut self) {
        locks().cancel(&self.0);
    }
}

/// FUTEX_LOCK_PI, FUTEX_LOCK_PI2 and, with `try_only`, FUTEX_TRYLOCK_PI (`EAGAIN` if it is taken). The caller is at a full stop.
///
/// Errors: `EDEADLK`, `ESRCH` for an owner that does not exist, `EINVAL` for a word that contradicts the kernel's books, `ETIMEDOUT`.
pub async fn lock(
    cx: &CurrentTask,
    addr: u64,
    shared: bool,
    deadline: Option<Instant>,
    try_only: bool,
) -> SysResult<()> {
    let map = cx.memory_map();
    let key = key_of(&map, addr, shared)?;
    let queue = WaitQueue::new();
    let wanted = loop {
        match start(cx, key, map.memory(), addr, &queue, try_only)? {
            Start::Acquired => return Ok(()),
            Start::Announce => announce(cx, addr).await?,
            Start::Queued(wanted) => break wanted,
        }
    };
    let waiter = wanted.0.waiter();
    let result = cx
        .block_until(&[(&queue, Events::IN)], deadline, || {
            if waiter.is_woken() {
                Ok(())
            } else {
                Err(Errno::EAGAIN.into())
            }
        })
        .await;
    if locks().cancel(&wanted.0) {
        return Ok(());
    }
    match result {
        // The wait begins anew whatever handler runs.
        Err(SysError::Restart(_)) => Err(SysError::Restart(Restart::NoIntr)),
        other => other,
    }
}

enum Start {
    Acquired,
    Announce,
    Queued(Wanted),
}

fn start(
    cx: &CurrentTask,
    key: FutexKey,
    memory: UserMemory,
    addr: u64,
    queue: &WaitQueue,
    try_only: bool,
) -> Result<Start> {
    let who = Candidate {
        task: cx.task().clone(),
        memory,
        addr,
    };
    let mut locks = locks();
    let owner = match locks.attempt(key, &who, false)? {
        Attempt::Acquired => return Ok(Start::Acquired),
        Attempt::Announce => return Ok(Start::Announce),
        Attempt::Owner(_) if try_only => return Err(Errno::EAGAIN),
        Attempt::Owner(owner) => owner,
    };
    if locks.would_deadlock(cx.task(), &owner) {
        return Err(Errno::EDEADLK);
    }
    let queued = enqueue_as(key, MATCH_ANY, queue, Kind::Lock, Some(who), || Ok(true))?;
    locks.queue(key, &owner, queued.waiter());
    Ok(Start::Queued(Wanted(queued)))
}

/// FUTEX_UNLOCK_PI: hands the lock to the longest waiting task, or frees it. `EPERM` unless the word names the caller.
pub fn unlock(cx: &CurrentTask, addr: u64, shared: bool) -> Result<()> {
    let map = cx.memory_map();
    let who = Candidate {
        task: cx.task().clone(),
        memory: map.memory(),
        addr,
    };
    if who.word()? & FUTEX_TID_MASK != who.tid() {
        return Err(Errno::EPERM);
    }
    let key = key_of(&map, addr, shared)?;
    let next = {
        let mut locks = locks();
        let owner = locks
            .owned
            .get(&key)
            .map(|lock| Arc::ptr_eq(&lock.owner, cx.task()));
        match owner {
            Some(true) => locks.hand_over(key, false)?,
            Some(false) => return Err(Errno::EINVAL),
            None if !waiters_of(key).is_empty() => return Err(Errno::EINVAL),
            None => {
                // One that announces itself meanwhile looks again after that.
                who.set_word(0)?;
                None
            }
        }
    };
    notify(next.as_slice());
    Ok(())
}

/// Hands over every lock that the task owns and that someone waits for, marked FUTEX_OWNER_DIED (`exit_pi_state_list`). `for_good`: it exits; nobody
/// will wait for it any more.
pub fn exit_owned(task: &Arc<Task>, for_good: bool) {
    let mut granted = Vec::new();
    {
        let mut locks = locks();
        if for_good {
            task.owns_no_futex.store(true, Ordering::Release);
        }
        let keys: Vec<FutexKey> = locks
            .owned
            .iter()
            .filter(|(_, lock)| Arc::ptr_eq(&lock.owner, task))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            // Whether the word could be written or not, the wait is over.
            granted.extend(locks.hand_over(key, true).ok().flatten());
        }
    }
    notify(&granted);
}
