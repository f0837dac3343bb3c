//! The waiters, by key.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::{Mutex, MutexGuard};

use super::FutexKey;
use crate::error::{Errno, Result};
use crate::mm::UserMemory;
use crate::task::Task;
use crate::wait::{Events, WaitQueue};

/// A bitset that every wake meets (FUTEX_BITSET_MATCH_ANY).
pub const MATCH_ANY: u32 = u32::MAX;

const BUCKETS: usize = 256;

type Bucket = HashMap<FutexKey, VecDeque<Arc<Waiter>>>;

struct Table {
    hasher: RandomState,
    buckets: Vec<Mutex<Bucket>>,
}

/// One for the process: keys are unique in it.
static TABLE: LazyLock<Table> = LazyLock::new(|| Table {
    hasher: RandomState::new(),
    buckets: std::iter::repeat_with(Mutex::default)
        .take(BUCKETS)
        .collect(),
});

impl Table {
    fn index(&self, key: &FutexKey) -> usize {
        (self.hasher.hash_one(key) as usize) % BUCKETS
    }
}

/// What a queued wait is for; changed only with the priority-inheritance table locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An ordinary wake.
    Plain,
    /// Ownership of the word (FUTEX_LOCK_PI).
    Lock,
    /// To be moved to the lock of this key (FUTEX_WAIT_REQUEUE_PI).
    Moves(FutexKey),
}

/// Who would own a lock, and where its word is in its memory.
pub(super) struct Candidate {
    pub(super) task: Arc<Task>,
    pub(super) memory: UserMemory,
    pub(super) addr: u64,
}

/// One queued wait.
pub(super) struct Waiter {
    bitset: u32,
    kind: Mutex<Kind>,
    /// Set unless the wait is plain.
    candidate: Option<Candidate>,
    /// Changed only under the locks of both buckets; read without them it is a hint.
    key: Mutex<FutexKey>,
    /// Set under the bucket's lock together with the removal from it.
    woken: AtomicBool,
    queue: WaitQueue,
}

impl Waiter {
    pub(super) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }
    pub(super) fn kind(&self) -> Kind {
        *self.kind.lock()
    }
    pub(super) fn key(&self) -> FutexKey {
        *self.key.lock()
    }
    pub(super) const fn candidate(&self) -> Option<&Candidate> {
        self.candidate.as_ref()
    }
}

/// A waiter in the table; dropping it takes it out.
pub(super) struct Queued(Arc<Waiter>);

impl Queued {
    pub(super) const fn waiter(&self) -> &Arc<Waiter> {
        &self.0
    }
    pub(super) fn is_woken(&self) -> bool {
        self.0.woken.load(Ordering::Acquire)
    }

    /// Takes the waiter out unless it has been woken; says whether it had.
    pub(super) fn cancel(&self) -> bool {
        loop {
            if self.is_woken() {
                return true;
            }
            let key = *self.0.key.lock();
            let mut bucket = TABLE.buckets[TABLE.index(&key)].lock();
            if self.is_woken() {
                return true;
            }
            // A requeue may have moved it before the bucket was locked.
            if *self.0.key.lock() != key {
                continue;
            }
            if let Some(list) = bucket.get_mut(&key) {
                list.retain(|other| !Arc::ptr_eq(other, &self.0));
                if list.is_empty() {
                    bucket.remove(&key);
                }
            }
            // No waker will ever find it again: cancelling twice is harmless.
            return false;
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Queues a waiter on `key` that `queue` is notified for, if `matches` (called under the bucket's lock) says that the word has the expected value;
/// else `EAGAIN`.
pub(super) fn enqueue(
    key: FutexKey,
    bitset: u32,
    queue: &WaitQueue,
    matches: impl FnOnce() -> Result<bool>,
) -> Result<Queued> {
    enqueue_as(key, bitset, queue, Kind::Plain, None, matches)
}

/// As [`enqueue`], for a wait of any kind.
pub(super) fn enqueue_as(
    key: FutexKey,
    bitset: u32,
    queue: &WaitQueue,
    kind: Kind,
    candidate: Option<Candidate>,
    matches: impl FnOnce() -> Result<bool>,
) -> Result<Queued> {
    let mut bucket = TABLE.buckets[TABLE.index(&key)].lock();
    if !matches()? {
        return Err(Errno::EAGAIN);
    }
    let waiter = Arc::new(Waiter {
        bitset,
        kind: Mutex::new(kind),
        candidate,
        key: Mutex::new(key),
        woken: AtomicBool::new(false),
        queue: queue.clone(),
    });
    bucket.entry(key).or_default().push_back(waiter.clone());
    Ok(Queued(waiter))
}

/// The waiters of `key`, the longest waiting first.
pub(super) fn waiters_of(key: FutexKey) -> Vec<Arc<Waiter>> {
    let bucket = TABLE.buckets[TABLE.index(&key)].lock();
    bucket
        .get(&key)
        .map_or_else(Vec::new, |list| list.iter().cloned().collect())
}

/// Takes a waiter that is not plain out and marks it woken: its lock is its own. The caller notifies it, with nothing locked.
pub(super) fn grant(waiter: &Arc<Waiter>) {
    let key = waiter.key();
    let mut bucket = TABLE.buckets[TABLE.index(&key)].lock();
    remove_from(&mut bucket, &key, waiter);
    waiter.woken.store(true, Ordering::Release);
}

/// Moves a [`Kind::Moves`] waiter to the lock at `to`.
pub(super) fn move_to_lock(waiter: &Arc<Waiter>, to: FutexKey) {
    let from = waiter.key();
    let mut pair = Pair::lock(TABLE.index(&from), TABLE.index(&to));
    remove_from(pair.first(), &from, waiter);
    *waiter.key.lock() = to;
    *waiter.kind.lock() = Kind::Lock;
    pair.second()
        .entry(to)
        .or_default()
        .push_back(waiter.clone());
}

fn remove_from(bucket: &mut Bucket, key: &FutexKey, waiter: &Arc<Waiter>) {
    if let Some(list) = bucket.get_mut(key) {
        list.retain(|other| !Arc::ptr_eq(other, waiter));
        if list.is_empty() {
            bucket.remove(key);
        }
    }
}

/// Takes up to `count` waiters whose bitset meets `bitset` out of a bucket and marks them woken. The caller notifies them after unlocking. One that
/// waits for ownership ends it: `EINVAL`, once those before it have been woken (`futex_wake`).
fn take(
    bucket: &mut Bucket,
    key: &FutexKey,
    count: usize,
    bitset: u32,
) -> (Vec<Arc<Waiter>>, Result<()>) {
    let mut woken = Vec::new();
    let Some(list) = bucket.get_mut(key) else {
        return (woken, Ok(()));
    };
    let mut at = 0;
    let mut result = Ok(());
    while woken.len() < count && at < list.len() {
        if list[at].kind() != Kind::Plain {
            result = Err(Errno::EINVAL);
            break;
        }
        if list[at].bitset & bitset == 0 {
            at += 1;
            continue;
        }
        if let Some(waiter) = list.remove(at) {
            waiter.woken.store(true, Ordering::Release);
            woken.push(waiter);
        }
    }
    if list.is_empty() {
        bucket.remove(key);
    }
    (woken, result)
}

pub(super) fn notify(waiters: &[Arc<Waiter>]) {
    for waiter in waiters {
        waiter.queue.notify(Events::IN);
    }
}

/// Wakes up to `count` waiters, the longest waiting first, whose bitset meets `bitset`; returns how many. `EINVAL` if one waits for ownership.
pub fn wake(key: FutexKey, count: usize, bitset: u32) -> Result<usize> {
    let (woken, result) = take(
        &mut TABLE.buckets[TABLE.index(&key)].lock(),
        &key,
        count,
        bitset,
    );
    notify(&woken);
    result.map(|()| woken.len())
}

/// Changes memory by `change` with `key`'s bucket locked, then wakes one waiter.
pub(super) fn wake_after(key: FutexKey, change: impl FnOnce() -> Result<bool>) -> Result<usize> {
    let (woken, result) = {
        let mut bucket = TABLE.buckets[TABLE.index(&key)].lock();
        if !change()? {
            return Ok(0);
        }
        take(&mut bucket, &key, 1, MATCH_ANY)
    };
    notify(&woken);
    result.map(|()| woken.len())
}

/// Two buckets, locked in ascending order.
enum Pair {
    Same(MutexGuard<'static, Bucket>),
    Two(MutexGuard<'static, Bucket>, MutexGuard<'static, Bucket>),
}

impl Pair {
    fn lock(first: usize, second: usize) -> Self {
        if first == second {
            return Self::Same(TABLE.buckets[first].lock());
        }
        let low = TABLE.buckets[first.min(second)].lock();
        let high = TABLE.buckets[first.max(second)].lock();
        if first < second {
            Self::Two(low, high)
        } else {
            Self::Two(high, low)
        }
    }
    fn first(&mut self) -> &mut Bucket {
        match self {
            Self::Same(bucket) | Self::Two(bucket, _) => bucket,
        }
    }
    fn second(&mut self) -> &mut Bucket {
        match self {
            Self::Same(bucket) | Self::Two(_, bucket) => bucket,
        }
    }
}

/// Wakes up to `wake_count` waiters of `from` and moves up to `move_count` of the others to `to`, if `matches` (called with both buckets locked) says
/// so; else `EAGAIN`. Returns how many were woken and moved.
pub fn requeue(
    from: FutexKey,
    to: FutexKey,
    wake_count: usize,
    move_count: usize,
    matches: impl FnOnce() -> Result<bool>,
) -> Result<(usize, usize)> {
    let mut pair = Pair::lock(TABLE.index(&from), TABLE.index(&to));
    if !matches()? {
        return Err(Errno::EAGAIN);
    }
    let plain = |waiter: &Arc<Waiter>| waiter.kind() == Kind::Plain;
    let (woken, mut result) = take(pair.first(), &from, wake_count, MATCH_ANY);
    let mut moved = 0;
    if result.is_ok()
        && let Some(list) = pair.first().get_mut(&from)
    {
        moved = list
            .iter()
            .take(move_count)
            .take_while(|w| plain(w))
            .count();
        if moved < list.len().min(move_count) {
            result = Err(Errno::EINVAL);
        }
        // With one key Linux counts them as requeued although nothing moves.
        if from != to {
            let moving: VecDeque<_> = list.drain(..moved).collect();
            if list.is_empty() {
                pair.first().remove(&from);
            }
            for waiter in &moving {
                *waiter.key.lock() = to;
            }
            if moved > 0 {
                pair.second().entry(to).or_default().extend(moving);
            }
        }
    }
    drop(pair);
    notify(&woken);
    result.map(|()| (woken.len(), moved))
}

/// Runs `change` with both buckets locked, wakes up to `count` waiters of `first` and, if `change` says so, up to `second_count` of `second`.
pub(super) fn wake_two(
    first: FutexKey,
    second: FutexKey,
    count: usize,
    second_count: usize,
    change: impl FnOnce() -> Result<bool>,
) -> Result<usize> {
    let (woken, result) = {
        let mut pair = Pair::lock(TABLE.index(&first), TABLE.index(&second));
        let also = change()?;
        let (mut woken, mut result) = take(pair.first(), &first, count, MATCH_ANY);
        if also && result.is_ok() {
            let (more, then) = take(pair.second(), &second, second_count, MATCH_ANY);
            woken.extend(more);
            result = then;
        }
        (woken, result)
    };
    notify(&woken);
    result.map(|()| woken.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(addr: u64) -> FutexKey {
        // A map that no other test and no real map uses.
        FutexKey::Private(3, addr)
    }

    fn queue_on(addr: u64, bitset: u32) -> Queued {
        enqueue(key(addr), bitset, &WaitQueue::new(), || Ok(true)).unwrap()
    }

    #[test]
    fn a_changed_word_is_not_waited_for() {
        let result = enqueue(key(0x10), MATCH_ANY, &WaitQueue::new(), || Ok(false));
        assert_eq!(result.err(), Some(Errno::EAGAIN));
        assert_eq!(wake(key(0x10), 1, MATCH_ANY), Ok(0));
    }

    #[test]
    fn wakes_come_in_order_and_are_counted() {
        let waiters: Vec<_> = (0..3).map(|_| queue_on(0x20, MATCH_ANY)).collect();
        assert_eq!(wake(key(0x20), 2, MATCH_ANY), Ok(2));
        let woken: Vec<bool> = waiters.iter().map(Queued::is_woken).collect();
        assert_eq!(woken, [true, true, false]);
        assert_eq!(wake(key(0x20), 5, MATCH_ANY), Ok(1));
    }

    #[test]
    fn bitsets_choose() {
        let (one, two) = (queue_on(0x30, 1), queue_on(0x30, 2));
        assert_eq!(wake(key(0x30), 10, 2), Ok(1));
        assert!(!one.is_woken() && two.is_woken());
    }

    #[test]
    fn a_wake_before_the_cancellation_is_kept() {
        let waiter = queue_on(0x40, MATCH_ANY);
        assert_eq!(wake(key(0x40), 1, MATCH_ANY), Ok(1));
        assert!(waiter.cancel());
        let waiter = queue_on(0x40, MATCH_ANY);
        assert!(!waiter.cancel());
        assert_eq!(wake(key(0x40), 1, MATCH_ANY), Ok(0));
    }

    #[test]
    fn requeued_waiters_wake_at_their_new_word_and_can_be_cancelled_there() {
        let waiters: Vec<_> = (0..4).map(|_| queue_on(0x50, MATCH_ANY)).collect();
        assert_eq!(requeue(key(0x50), key(0x54), 1, 2, || Ok(true)), Ok((1, 2)));
        assert_eq!(wake(key(0x54), 1, MATCH_ANY), Ok(1));
        assert!(waiters[1].is_woken());
        assert!(!waiters[2].cancel());
        assert_eq!(wake(key(0x54), 9, MATCH_ANY), Ok(0));
        assert_eq!(wake(key(0x50), 9, MATCH_ANY), Ok(1));
        assert!(waiters[3].is_woken());
    }

    #[test]
    fn concurrent_requeues_wakes_and_cancels_lose_nobody() {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let _ = requeue(key(0x60), key(0x64), 0, 10, || Ok(true));
                    let _ = requeue(key(0x64), key(0x60), 0, 10, || Ok(true));
                }
            });
            for _ in 0..2000 {
                let waiter = queue_on(0x60, MATCH_ANY);
                let woken =
                    wake(key(0x60), 1, MATCH_ANY).unwrap() + wake(key(0x64), 1, MATCH_ANY).unwrap();
                assert_eq!(waiter.cancel(), woken == 1);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(
            wake(key(0x60), 9, MATCH_ANY).unwrap() + wake(key(0x64), 9, MATCH_ANY).unwrap(),
            0
        );
    }
}
