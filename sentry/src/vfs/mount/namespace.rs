//! Mount namespaces.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::{Mount, TOPOLOGY};
use crate::error::{Errno, Result};
use crate::task::user_ns::UserNamespace;
use crate::vfs::{Dentry, Path};

/// Most mounts in a namespace (`fs.mount-max`).
pub(super) const MOUNT_MAX: usize = 100_000;

/// A mount namespace, or (anonymous) a tree that is attached to none and that a descriptor of `open_tree(2)` or `fsmount(2)` keeps.
pub struct MountNamespace {
    /// Whose capabilities count for it.
    pub owner: Arc<UserNamespace>,
    /// Inode number in nsfs.
    pub ino: u64,
    anonymous: bool,
    root: RwLock<Arc<Mount>>,
    count: AtomicUsize,
}

impl MountNamespace {
    /// A namespace with one mount.
    #[must_use]
    pub fn new(root: Arc<Mount>) -> Arc<Self> {
        Self::with_tree(root, UserNamespace::initial(), false)
    }
    /// A detached tree.
    #[must_use]
    pub fn detached(root: Arc<Mount>, owner: Arc<UserNamespace>) -> Arc<Self> {
        Self::with_tree(root, owner, true)
    }
    pub(super) fn with_tree(
        root: Arc<Mount>,
        owner: Arc<UserNamespace>,
        anonymous: bool,
    ) -> Arc<Self> {
        let tree = root.tree();
        let namespace = Arc::new(Self {
            owner,
            ino: crate::kernel::next_namespace_ino(),
            anonymous,
            root: RwLock::new(root),
            count: AtomicUsize::new(tree.len()),
        });
        for mount in tree {
            *mount.namespace.write() = Arc::downgrade(&namespace);
        }
        namespace
    }
    /// Whether it is a detached tree rather than a namespace that somebody lives in.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.anonymous
    }
    /// The root mount's root, or what is mounted on it.
    #[must_use]
    pub fn root(&self) -> Path {
        self.root_mount().top().crossed()
    }
    /// The root mount.
    #[must_use]
    pub fn root_mount(&self) -> Arc<Mount> {
        self.root.read().clone()
    }
    pub(super) fn set_root(&self, root: Arc<Mount>) -> Arc<Mount> {
        std::mem::replace(&mut *self.root.write(), root)
    }
    /// All mounts in the order of their making.
    #[must_use]
    pub fn mounts(&self) -> Vec<Arc<Mount>> {
        let mut all = self.root_mount().tree();
        all.sort_unstable_by_key(|mount| mount.id);
        all
    }
    /// Whether something of this namespace is mounted on `dentry`: such a name can be neither removed nor renamed.
    #[must_use]
    pub fn is_mounted_on(self: &Arc<Self>, dentry: &Arc<Dentry>) -> bool {
        Mount::all_on(dentry).iter().any(|mount| mount.is_in(self))
    }
    /// `ENOSPC` if there is no room for `more` mounts (`count_mounts`).
    pub(super) fn check_room(&self, more: usize) -> Result<()> {
        let count = self.count.load(Ordering::Relaxed);
        if count.saturating_add(more) > MOUNT_MAX {
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }
    /// Takes a tree in. `TOPOLOGY` is held.
    pub(super) fn adopt(self: &Arc<Self>, tree: &[Arc<Mount>]) {
        for mount in tree {
            mount.abandon();
            *mount.namespace.write() = Arc::downgrade(self);
        }
        self.count.fetch_add(tree.len(), Ordering::Relaxed);
    }
}

impl Mount {
    /// Leaves its namespace. `TOPOLOGY` is held.
    pub(super) fn abandon(&self) {
        let old = std::mem::take(&mut *self.namespace.write());
        if let Some(namespace) = old.upgrade() {
            namespace.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for MountNamespace {
    /// Nobody can reach its mounts by name any more: they leave their peers and come apart, whoever holds one of them.
    fn drop(&mut self) {
        let root = self.root.get_mut().clone();
        // A tree that was moved elsewhere as a whole (`move_mount`) is another's now.
        if root.namespace.read().strong_count() > 0 {
            return;
        }
        let _topology = TOPOLOGY.lock();
        let tree = root.tree();
        for mount in tree.iter().rev() {
            mount.depart();
            mount.unhang();
        }
    }
}
