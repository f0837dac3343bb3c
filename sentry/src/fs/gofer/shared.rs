//! What is one for a file however many trees show it: its locks, its pipe, its bound socket, its writers.
//!
//! Two containers of a sandbox that mount one volume have a gofer each and so inodes of their own, but a lock that one takes must keep the other out,
//! and a FIFO has to bring them together. Trees are the same if the command that made them says that their sources are: a gofer is believed only in what
//! is in a tree that it serves by that command's will. So one that was taken over can reach no more than the other containers' files of a volume that it has
//! anyway; what lies in another source, even around or within its own, stays apart.
//!
//! - [`SharedTrees`]: the trees of a sandbox, by [`TreeId`], in [`Kernel::extensions`](crate::kernel::Kernel::extensions).
//! - [`SharedFiles`]: the files of one source, by device and inode number on the host.
//!
//! Both locks are leaves, and neither is held when the other is taken.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::vfs::SharedState;

/// Device and inode number of a tree's source, as the command that made the container saw them.
pub type TreeId = (u64, u64);

/// The trees of a sandbox that may have something in common.
#[derive(Default)]
pub struct SharedTrees {
    trees: Mutex<HashMap<TreeId, Weak<SharedFiles>>>,
}

impl SharedTrees {
    /// What the files of a tree have in common with those of other trees of the same source.
    #[must_use]
    pub fn of(&self, id: TreeId) -> Arc<SharedFiles> {
        let mut trees = self.trees.lock();
        if let Some(known) = trees.get(&id).and_then(Weak::upgrade) {
            return known;
        }
        trees.retain(|_, files| files.strong_count() > 0);
        let files = Arc::new(SharedFiles::default());
        trees.insert(id, Arc::downgrade(&files));
        files
    }
}

/// The files of one source that are in use.
#[derive(Default)]
pub struct SharedFiles {
    files: Mutex<HashMap<(u64, u64), Weak<SharedState>>>,
}

impl SharedFiles {
    /// The state of the file with this device and inode number.
    pub(super) fn of(&self, key: (u64, u64)) -> Arc<SharedState> {
        const SWEEP: usize = 1024;
        let mut files = self.files.lock();
        if let Some(known) = files.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if files.len().is_multiple_of(SWEEP) {
            files.retain(|_, state| state.strong_count() > 0);
        }
        let state = Arc::new(SharedState::default());
        files.insert(key, Arc::downgrade(&state));
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_has_one_state_for_a_file_and_other_sources_others() {
        let trees = SharedTrees::default();
        let (a, b, other) = (trees.of((1, 2)), trees.of((1, 2)), trees.of((1, 3)));
        let state = a.of((5, 6));
        assert!(Arc::ptr_eq(&state, &b.of((5, 6))));
        assert!(!Arc::ptr_eq(&state, &b.of((5, 7))));
        assert!(!Arc::ptr_eq(&state, &other.of((5, 6))));
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let trees = SharedTrees::default();
        let files = trees.of((1, 2));
        for ino in 0..5000 {
            drop(files.of((1, ino)));
        }
        assert!(files.files.lock().len() <= 1024);
        drop(files);
        drop(trees.of((1, 3)));
        assert!(!trees.trees.lock().contains_key(&(1, 2)));
    }
}
