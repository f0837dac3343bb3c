//! Futexes (`futex(2)`): who waits for which word of guest memory.
//!
//! - [`FutexKey`]: what identifies a word, whatever address it is mapped at.
//! - [`table`]: the waiters by key, in hashed buckets. Comparing the word and queueing happen under the bucket's lock, as does every wake: no wake is
//!   lost. A waiter that was woken counts as woken even if a signal or its deadline came at the same time.
//! - [`wait`]: waiting, with restarts. [`robust`]: what a dying thread leaves to others.
//!
//! - [`pi`]: locks with an owner (FUTEX_LOCK_PI). [`requeue_pi`]: waits that move to such a lock.
//!
//! Lock order: the table of owned locks → buckets, by ascending index; guest memory may be read under either. Wait queues are notified with nothing
//! held.

mod key;
mod pi;
mod requeue_pi;
mod robust;
mod table;
mod wait;
mod wake_op;

pub use key::{FutexKey, key_of};
pub use pi::{exit_owned, lock, unlock};
pub use requeue_pi::{cmp_requeue_pi, wait_requeue_pi};
pub use robust::{exit_robust_list, wake_address};
pub use table::{MATCH_ANY, requeue, wake};
pub use wait::{WaitRequest, wait, wait_restartable, wait_vector};
pub use wake_op::wake_op;
