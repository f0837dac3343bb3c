//! Waits that end as waits for a lock: FUTEX_WAIT_REQUEUE_PI and FUTEX_CMP_REQUEUE_PI (`kernel/futex/requeue.c`), as condition variables with
//! priority-inheriting mutexes use them.

use std::sync::Arc;
use std::time::Instant;

use abi::{UserAddr, UserIn};

use super::FutexKey;
use super::key::key_of;
use super::pi::{Attempt, Locks, announce, locks};
use super::table::{
    Candidate, Kind, MATCH_ANY, Queued, Waiter, enqueue_as, grant, move_to_lock, notify, waiters_of,
};
use crate::error::{Errno, Restart, Result, SysError, SysResult};
use crate::mm::UserMemory;
use crate::task::CurrentTask;
use crate::wait::{Events, WaitQueue};

/// A queued wait; dropping it gives it up.
struct Waiting(Queued);

impl Drop for Waiting {
    fn drop(&mut self) {
        locks().cancel(&self.0);
    }
}

/// FUTEX_WAIT_REQUEUE_PI: waits at `addr` while it has `value`; on success the caller owns the lock at `lock_addr`.
///
/// Errors: `EAGAIN` for another value, or for a signal once it waits for the lock; `EINVAL` for two names of one word; `ETIMEDOUT`.
pub async fn wait_requeue_pi(
    cx: &CurrentTask,
    (addr, value): (u64, u32),
    lock_addr: u64,
    shared: bool,
    deadline: Option<Instant>,
) -> SysResult<()> {
    if addr == lock_addr {
        return Err(Errno::EINVAL.into());
    }
    let map = cx.memory_map();
    let lock_key = key_of(&map, lock_addr, shared)?;
    let key = key_of(&map, addr, shared)?;
    let memory = map.memory();
    let queue = WaitQueue::new();
    let waiting = {
        let _locks = locks();
        let candidate = Candidate {
            task: cx.task().clone(),
            memory: memory.clone(),
            addr: lock_addr,
        };
        let kind = Kind::Moves(lock_key);
        Waiting(enqueue_as(
            key,
            MATCH_ANY,
            &queue,
            kind,
            Some(candidate),
            || {
                if memory.get(UserIn::<u32>::new(UserAddr(addr)))? != value {
                    return Ok(false);
                }
                if key == lock_key {
                    return Err(Errno::EINVAL);
                }
                Ok(true)
            },
        )?)
    };
    let waiter = waiting.0.waiter();
    let result = cx
        .block_until(&[(&queue, Events::IN)], deadline, || {
            if waiter.is_woken() {
                Ok(())
            } else {
                Err(Errno::EAGAIN.into())
            }
        })
        .await;
    let mut locks = locks();
    let moved = waiter.kind() == Kind::Lock;
    if locks.cancel(&waiting.0) {
        return Ok(());
    }
    match result {
        // A restart would find another value.
        Err(SysError::Restart(_)) if moved => Err(Errno::EAGAIN.into()),
        Err(SysError::Restart(_)) => Err(SysError::Restart(Restart::NoIntr)),
        other => other,
    }
}

/// FUTEX_CMP_REQUEUE_PI: if the word at `addr` has `expected`, gives the lock at `lock_addr` to its longest waiting waiter, or has it wait there, and
/// moves up to `moves` others. Returns how many. The caller is at a full stop.
pub async fn cmp_requeue_pi(
    cx: &CurrentTask,
    (addr, expected): (u64, u32),
    lock_addr: u64,
    shared: bool,
    moves: usize,
) -> SysResult<usize> {
    if addr == lock_addr {
        return Err(Errno::EINVAL.into());
    }
    let map = cx.memory_map();
    let key = key_of(&map, addr, shared)?;
    let lock_key = key_of(&map, lock_addr, shared)?;
    if key == lock_key {
        return Err(Errno::EINVAL.into());
    }
    let memory = map.memory();
    loop {
        match requeue(&memory, key, lock_key, (addr, expected), lock_addr, moves)? {
            Some(count) => return Ok(count),
            None => announce(cx, lock_addr).await?,
        }
    }
}

/// One attempt; `None`: FUTEX_WAITERS is to be set in the lock's word first.
fn requeue(
    memory: &UserMemory,
    key: FutexKey,
    lock_key: FutexKey,
    (addr, expected): (u64, u32),
    lock_addr: u64,
    moves: usize,
) -> Result<Option<usize>> {
    let mut locks = locks();
    if memory.get(UserIn::<u32>::new(UserAddr(addr)))? != expected {
        return Err(Errno::EAGAIN);
    }
    let waiters = waiters_of(key);
    let Some(first) = waiters.first() else {
        return Ok(Some(0));
    };
    let (Kind::Moves(target), Some(candidate)) = (first.kind(), first.candidate()) else {
        return Err(Errno::EINVAL);
    };
    if target != lock_key {
        return Err(Errno::EINVAL);
    }
    // The lock is looked at where the caller has it.
    let who = Candidate {
        task: candidate.task.clone(),
        memory: memory.clone(),
        addr: lock_addr,
    };
    let (owner, granted) = match locks.attempt(lock_key, &who, moves > 0)? {
        Attempt::Announce => return Ok(None),
        Attempt::Acquired => {
            grant(first);
            (candidate.task.clone(), 1)
        }
        Attempt::Owner(owner) => (owner, 0),
    };
    let rest = &waiters[granted..];
    let moved = move_all(
        &mut locks,
        rest,
        lock_key,
        &owner,
        moves.saturating_add(1 - granted),
    );
    drop(locks);
    notify(&waiters[..granted]);
    moved.map(|moved| Some(moved + granted))
}

/// Moves waiters to the lock that `owner` has, up to `limit`.
fn move_all(
    locks: &mut Locks,
    waiters: &[Arc<Waiter>],
    lock_key: FutexKey,
    owner: &Arc<crate::task::Task>,
    limit: usize,
) -> Result<usize> {
    let mut moved = 0;
    for waiter in waiters.iter().take(limit) {
        if waiter.kind() != Kind::Moves(lock_key) {
            return Err(Errno::EINVAL);
        }
        if let Some(candidate) = waiter.candidate()
            && locks.would_deadlock(&candidate.task, owner)
        {
            return Err(Errno::EDEADLK);
        }
        move_to_lock(waiter, lock_key);
        locks.queue(lock_key, owner, waiter);
        moved += 1;
    }
    Ok(moved)
}
