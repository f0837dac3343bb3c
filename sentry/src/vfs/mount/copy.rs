//! Copies of mounts and of trees of them (`clone_mnt`, `copy_tree`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bitflags::bitflags;

use super::{Mount, MountNamespace, TOPOLOGY};
use crate::error::{Errno, Result};
use crate::task::user_ns::UserNamespace;
use crate::vfs::{Dentry, Path};

bitflags! {
    /// What becomes of peers and masters.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct CopyHow: u8 {
        /// Copies are slaves of what they are copied from.
        const SLAVE = 1;
        /// Copies are shared.
        const SHARED = 2;
        /// Copies of shared mounts are their slaves.
        const SHARED_TO_SLAVE = 4;
        /// Unbindable mounts are copied as well.
        const UNBINDABLE = 8;
        /// The mounts below are left out.
        const ALONE = 16;
        /// For a peer.
        const PROPAGATED = 32;
        /// For a slave.
        const TO_SLAVE = Self::SLAVE.bits();
        /// For a slave that has peers.
        const TO_SHARED_SLAVE = Self::SLAVE.bits() | Self::SHARED.bits();
    }
}

impl Mount {
    fn copy(self: &Arc<Self>, root: &Arc<Dentry>, how: CopyHow) -> Arc<Self> {
        let copy = Self::sharing(
            self.fs.clone(),
            self.instance.clone(),
            root.clone(),
            self.flags(),
            &self.source,
        );
        copy.hold_as(self);
        let peers = self.peers();
        let becomes_slave = how.contains(CopyHow::SLAVE)
            || how.contains(CopyHow::SHARED_TO_SLAVE) && peers.is_some();
        if becomes_slave {
            if let Some(master) = peers.or_else(|| self.master()) {
                copy.follow(master);
            }
        } else {
            if let Some(peers) = peers {
                copy.join(peers);
            }
            if let Some(master) = self.master() {
                copy.follow(master);
            }
        }
        if how.contains(CopyHow::SHARED) {
            copy.share();
        }
        copy.set_unbindable(self.is_unbindable());
        copy
    }

    /// A detached copy of what is below `root` in it: `EINVAL` if it is unbindable; unbindable mounts below are left out. `TOPOLOGY` is held.
    pub(super) fn copy_tree(
        self: &Arc<Self>,
        root: &Arc<Dentry>,
        how: CopyHow,
    ) -> Result<Arc<Self>> {
        self.copy_tree_mapped(root, how).map(|(top, _)| top)
    }

    fn copy_tree_mapped(
        self: &Arc<Self>,
        root: &Arc<Dentry>,
        how: CopyHow,
    ) -> Result<(Arc<Self>, HashMap<u64, Arc<Self>>)> {
        let all = how.contains(CopyHow::UNBINDABLE);
        if !all && self.is_unbindable() {
            return Err(Errno::EINVAL);
        }
        let top = self.copy(root, how);
        let mut copies = HashMap::from([(self.id, top.clone())]);
        if how.contains(CopyHow::ALONE) {
            return Ok((top, copies));
        }
        for old in self.tree().iter().skip(1) {
            let Some(point) = old.point() else { continue };
            if Arc::ptr_eq(&point.mount, self) && !point.dentry.is_below(root) {
                continue;
            }
            let Some(parent) = copies.get(&point.mount.id).cloned() else {
                continue;
            };
            if !all && old.is_unbindable() {
                if old.is_locked() {
                    return Err(Errno::EPERM);
                }
                continue;
            }
            let copy = old.copy(&old.root, how);
            copy.hang(&Path {
                mount: parent,
                dentry: point.dentry,
            });
            copies.insert(old.id, copy);
        }
        Ok((top, copies))
    }

    /// Locks all below it together, as they came from a more privileged namespace (`lock_mnt_tree`).
    pub(super) fn lock_tree(self: &Arc<Self>) {
        for mount in self.tree() {
            mount.held.store(true, Ordering::Relaxed);
            let below = !Arc::ptr_eq(&mount, self);
            mount.locked.store(below, Ordering::Relaxed);
        }
    }
}

impl MountNamespace {
    /// A copy for `unshare(CLONE_NEWNS)`: the same mounts, attached alike, free to change on their own. The caller moves root and working
    /// directory with [`MountNamespace::translate`]. For another user namespace shared mounts become slaves, and what is mounted stays as it is.
    pub fn copy(&self, owner: Arc<UserNamespace>) -> Result<(Arc<Self>, HashMap<u64, Arc<Mount>>)> {
        let _topology = TOPOLOGY.lock();
        let other = !Arc::ptr_eq(&owner, &self.owner);
        let mut how = CopyHow::UNBINDABLE;
        how.set(CopyHow::SHARED_TO_SLAVE, other);
        let old = self.root_mount();
        let (root, copies) = old.copy_tree_mapped(&old.root, how)?;
        if other {
            root.lock_tree();
        }
        Ok((Self::with_tree(root, owner, false), copies))
    }
    /// `path` in a copy made by [`MountNamespace::copy`].
    #[must_use]
    pub fn translate(map: &HashMap<u64, Arc<Mount>>, path: &Path) -> Path {
        Path {
            mount: map
                .get(&path.mount.id)
                .cloned()
                .unwrap_or_else(|| path.mount.clone()),
            dentry: path.dentry.clone(),
        }
    }
    /// A detached tree of its own with a copy of what is at `path` (`open_tree` with `OPEN_TREE_CLONE`).
    pub fn detached_copy(
        path: &Path,
        recursive: bool,
        owner: Arc<UserNamespace>,
    ) -> Result<Arc<Self>> {
        let _topology = TOPOLOGY.lock();
        let top = path.mount.copy_for_bind(path, recursive)?;
        Ok(Self::with_tree(top, owner, true))
    }
}

impl Mount {
    /// A detached copy of what is at `path`: `EINVAL` if it is unbindable, or if the copy would show what a locked mount hides
    /// (`__do_loopback`). `TOPOLOGY` is held.
    pub(super) fn copy_for_bind(
        self: &Arc<Self>,
        path: &Path,
        recursive: bool,
    ) -> Result<Arc<Self>> {
        if self.is_unbindable() {
            return Err(Errno::EINVAL);
        }
        let mut how = CopyHow::empty();
        if !recursive {
            let hides = self.children().iter().any(|child| {
                let point = child.point();
                child.is_locked() && point.is_some_and(|p| p.dentry.is_below(&path.dentry))
            });
            if hides {
                return Err(Errno::EINVAL);
            }
            how |= CopyHow::ALONE;
        }
        let top = self.copy_tree(&path.dentry, how)?;
        top.locked.store(false, Ordering::Relaxed);
        Ok(top)
    }
}
