//! Interprocess communication: System V semaphores, message queues and shared memory, POSIX message queues.
//!
//! - [`Registry`]: identifiers and keys of one kind in an IPC namespace; [`Permissions`]: who may do what.
//! - [`sem`], [`msg`], [`shm`], [`mqueue`]: the four kinds.
//!
//! Lock order: a registry's table → an object's own lock. Queues are notified with neither held.

pub mod mqueue;
pub mod msg;
mod registry;
pub mod sem;
pub mod shm;

pub use registry::{Access, Permissions, Registry};

use crate::task::Task;

/// What the exit of a process entails: its semaphore adjustments are undone and its notification requests dropped. `task` is its last thread.
pub fn process_exited(task: &Task) {
    let namespace = task.namespaces().ipc.clone();
    sem::undo_all(&namespace, task);
    mqueue::forget_process(&namespace, &task.group);
}
