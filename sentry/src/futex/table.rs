//! The waiters, by key.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::{Mutex, MutexGuard};

use super::FutexKey;
use crate::error::{Errno, Result};
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

/// One queued wait.
pub(super) struct Waiter {
    bitset: u32,
    /// Changed only under the locks of both buckets; read without them it is a hint.
    key: Mutex<FutexKey>,
    /// Set under the bucket's lock together with the removal from it.
    woken: AtomicBool,
    queue: WaitQueue,
}

/// A waiter in the table; dropping it takes it out.
pub(super) struct Queued(Arc<Waiter>);

impl Queued {
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
    let mut bucket = TABLE.buckets[TABLE.index(&key)].lock();
    if !matches()? {
        return Err(Errno::EAGAIN);
    }
    let waiter = Arc::new(Waiter {
        bitset,
        key: Mutex::new(key),
        woken: AtomicBool::new(false),
        queue: queue.clone(),
    });
    bucket.entry(key).or_default().push_back(waiter.clone());
    Ok(Queued(waiter))
}

/// Takes up to `count` waiters whose bitset meets `bitset` out of a bucket and marks them woken. The caller notifies them after unlocking.
fn take(bucket: &mut Bucket, key: &FutexKey, count: usize, bitset: u32) -> Vec<Arc<Waiter>> {
    let mut woken = Vec::new();
    let Some(list) = bucket.get_mut(key) else {
        return woken;
    };
    let mut at = 0;
    while woken.len() < count && at < list.len() {
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
    woken
}

fn notify(waiters: &[Arc<Waiter>]) {
    for waiter in waiters {
        waiter.queue.notify(Events::IN);
    }
}

/// Wakes up to `count` waiters, the longest waiting first, whose bitset meets `bitset`; returns how many.
pub fn wake(key: FutexKey, count: usize, bitset: u32) -> usize {
    let woken = take(
        &mut TABLE.buckets[TABLE.index(&key)].lock(),
        &key,
        count,
        bitset,
    );
    notify(&woken);
    woken.len()
}

/// Changes memory by `change` with `key`'s bucket locked, then wakes one waiter.
pub(super) fn wake_after(key: FutexKey, change: impl FnOnce() -> Result<bool>) -> Result<usize> {
    let woken = {
        let mut bucket = TABLE.buckets[TABLE.index(&key)].lock();
        if !change()? {
            return Ok(0);
        }
        take(&mut bucket, &key, 1, MATCH_ANY)
    };
    notify(&woken);
    Ok(woken.len())
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
    let woken = take(pair.first(), &from, wake_count, MATCH_ANY);
    let mut moving = VecDeque::new();
    if from == to {
        // Linux counts them as requeued although nothing moves.
        let moved = pair
            .first()
            .get(&from)
            .map_or(0, |list| list.len().min(move_count));
        drop(pair);
        notify(&woken);
        return Ok((woken.len(), moved));
    }
    if let Some(list) = pair.first().get_mut(&from) {
        moving.extend(list.drain(..move_count.min(list.len())));
        if list.is_empty() {
            pair.first().remove(&from);
        }
    }
    let moved = moving.len();
    if moved > 0 {
        for waiter in &moving {
            *waiter.key.lock() = to;
        }
        pair.second().entry(to).or_default().extend(moving);
    }
    drop(pair);
    notify(&woken);
    Ok((woken.len(), moved))
}

/// Runs `change` with both buckets locked, wakes up to `count` waiters of `first` and, if `change` says so, up to `second_count` of `second`.
pub(super) fn wake_two(
    first: FutexKey,
    second: FutexKey,
    count: usize,
    second_count: usize,
    change: impl FnOnce() -> Result<bool>,
) -> Result<usize> {
    let woken = {
        let mut pair = Pair::lock(TABLE.index(&first), TABLE.index(&second));
        let also = change()?;
        let mut woken = take(pair.first(), &first, count, MATCH_ANY);
        if also {
            woken.extend(take(pair.second(), &second, second_count, MATCH_ANY));
        }
        woken
    };
    notify(&woken);
    Ok(woken.len())
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
        assert_eq!(wake(key(0x10), 1, MATCH_ANY), 0);
    }

    #[test]
    fn wakes_come_in_order_and_are_counted() {
        let waiters: Vec<_> = (0..3).map(|_| queue_on(0x20, MATCH_ANY)).collect();
        assert_eq!(wake(key(0x20), 2, MATCH_ANY), 2);
        let woken: Vec<bool> = waiters.iter().map(Queued::is_woken).collect();
        assert_eq!(woken, [true, true, false]);
        assert_eq!(wake(key(0x20), 5, MATCH_ANY), 1);
    }

    #[test]
    fn bitsets_choose() {
        let (one, two) = (queue_on(0x30, 1), queue_on(0x30, 2));
        assert_eq!(wake(key(0x30), 10, 2), 1);
        assert!(!one.is_woken() && two.is_woken());
    }

    #[test]
    fn a_wake_before_the_cancellation_is_kept() {
        let waiter = queue_on(0x40, MATCH_ANY);
        assert_eq!(wake(key(0x40), 1, MATCH_ANY), 1);
        assert!(waiter.cancel());
        let waiter = queue_on(0x40, MATCH_ANY);
        assert!(!waiter.cancel());
        assert_eq!(wake(key(0x40), 1, MATCH_ANY), 0);
    }

    #[test]
    fn requeued_waiters_wake_at_their_new_word_and_can_be_cancelled_there() {
        let waiters: Vec<_> = (0..4).map(|_| queue_on(0x50, MATCH_ANY)).collect();
        assert_eq!(requeue(key(0x50), key(0x54), 1, 2, || Ok(true)), Ok((1, 2)));
        assert_eq!(wake(key(0x54), 1, MATCH_ANY), 1);
        assert!(waiters[1].is_woken());
        assert!(!waiters[2].cancel());
        assert_eq!(wake(key(0x54), 9, MATCH_ANY), 0);
        assert_eq!(wake(key(0x50), 9, MATCH_ANY), 1);
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
                let woken = wake(key(0x60), 1, MATCH_ANY) + wake(key(0x64), 1, MATCH_ANY);
                assert_eq!(waiter.cancel(), woken == 1);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(
            wake(key(0x60), 9, MATCH_ANY) + wake(key(0x64), 9, MATCH_ANY),
            0
        );
    }
}
