//! Attaching: mounts and their copies for peers, bind mounts, moves, pivot_root.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::propagation::propagate;
use super::{Mount, MountNamespace, TOPOLOGY};
use crate::error::{Errno, Result};
use crate::vfs::Path;

/// Attaches `top` and what is below it on `place`, where nothing is mounted, and copies of it wherever that propagates to
/// (`attach_recursive_mnt`): `ENOSPC`. `TOPOLOGY` is held.
fn attach_tree(top: &Arc<Mount>, place: &Path) -> Result<()> {
    let namespace = place.mount.namespace().ok_or(Errno::EINVAL)?;
    let tree = top.tree();
    let mut copies = Vec::new();
    if place.mount.is_shared() {
        for mount in &tree {
            mount.share();
        }
        copies = propagate(top, place)?;
    }
    let mut wanted: HashMap<u64, (Arc<MountNamespace>, usize)> = HashMap::new();
    let own = if top.is_in(&namespace) { 0 } else { tree.len() };
    wanted.insert(namespace.ino, (namespace.clone(), own));
    for (_, at) in &copies {
        if let Some(other) = at.mount.namespace() {
            let entry = wanted.entry(other.ino).or_insert((other, 0));
            entry.1 += tree.len();
        }
    }
    for (namespace, more) in wanted.values() {
        namespace.check_room(*more)?;
    }
    top.hang(place);
    namespace.adopt(&tree);
    for (copy, at) in copies {
        let Some(other) = at.mount.namespace() else {
            continue;
        };
        // What is mounted there already is on top of what comes.
        let covering = at.mount.child_at(&at.dentry);
        if let Some(covering) = &covering {
            covering.unhang();
        }
        copy.hang(&at);
        if let Some(covering) = covering {
            covering.hang(&copy.top().crossed());
        }
        if !Arc::ptr_eq(&other.owner, &namespace.owner) {
            copy.lock_tree();
        }
        copy.locked.store(false, Ordering::Relaxed);
        let tree: Vec<_> = copy
            .tree()
            .into_iter()
            .filter(|m| !m.is_in(&other))
            .collect();
        other.adopt(&tree);
    }
    Ok(())
}

impl MountNamespace {
    /// Attaches `mount` on top of `path`, which is part of this namespace: else `EINVAL`, `ENOENT` if it was unmounted.
    pub fn attach(self: &Arc<Self>, mount: Arc<Mount>, path: &Path) -> Result<()> {
        let _topology = TOPOLOGY.lock();
        let place = path.clone().crossed();
        if place.mount.namespace().is_none() {
            return Err(Errno::ENOENT);
        }
        if !place.mount.is_in(self) {
            return Err(Errno::EINVAL);
        }
        attach_tree(&mount, &place)
    }
    /// Binds `source` at `target`; `recursive`: with the mounts below it, as copies.
    pub fn bind(self: &Arc<Self>, source: &Path, target: &Path, recursive: bool) -> Result<()> {
        let _topology = TOPOLOGY.lock();
        let place = target.clone().crossed();
        if !place.mount.is_in(self) || !source.mount.is_in(self) {
            return Err(Errno::EINVAL);
        }
        let top = source.mount.copy_for_bind(source, recursive)?;
        attach_tree(&top, &place)
    }
    /// Moves the mount whose root is `source`, of this namespace or of a detached tree, to `target`: `EINVAL` if it is no mount's root or the
    /// namespace's own, `ELOOP` if `target` lies in it. With `beneath` it goes below what is mounted at `target`.
    pub fn move_mount(self: &Arc<Self>, source: &Path, target: &Path, beneath: bool) -> Result<()> {
        let _topology = TOPOLOGY.lock();
        let mount = &source.mount;
        if !source.is_mount_root() || mount.is_locked() {
            return Err(Errno::EINVAL);
        }
        let from = mount.namespace().ok_or(Errno::EINVAL)?;
        let place = target.clone().crossed();
        let to = place.mount.namespace().ok_or(Errno::EINVAL)?;
        let reachable =
            |namespace: &Arc<Self>| Arc::ptr_eq(namespace, self) || namespace.is_anonymous();
        if !reachable(&from) || !reachable(&to) {
            return Err(Errno::EINVAL);
        }
        let point = mount.point();
        match &point {
            // Only a detached tree may move as a whole.
            None if !from.is_anonymous() => return Err(Errno::EINVAL),
            Some(point) if point.mount.is_shared() || from.is_anonymous() => {
                return Err(Errno::EINVAL);
            }
            _ => {}
        }
        let (place, above) = if beneath {
            let above = place.mount.clone();
            if !place.is_mount_root() {
                return Err(Errno::EINVAL);
            }
            let below = above.point().ok_or(Errno::EINVAL)?;
            if above.is_locked() || Arc::ptr_eq(&above, mount) {
                return Err(Errno::EINVAL);
            }
            (below, Some(above))
        } else {
            (place, None)
        };
        if place.mount.is_shared() && mount.tree().iter().any(|mount| mount.is_unbindable()) {
            return Err(Errno::EINVAL);
        }
        if place.mount.is_below(mount) {
            return Err(Errno::ELOOP);
        }
        if let Some(above) = &above {
            above.unhang();
        }
        mount.unhang();
        let result = attach_tree(mount, &place);
        if result.is_err()
            && let Some(point) = point
        {
            mount.hang(&point);
        }
        if let Some(above) = above {
            above.hang(&place.crossed());
        }
        result
    }
    /// `pivot_root(2)` on the table: `new_root` (a mount's root) becomes the namespace's root, the old root mount is attached at `put_old`.
    pub fn pivot(self: &Arc<Self>, new_root: &Path, put_old: &Path) -> Result<()> {
        let _topology = TOPOLOGY.lock();
        let old_root = self.root_mount();
        let point = new_root.mount.point().ok_or(Errno::EINVAL)?;
        if !new_root.mount.is_in(self)
            || !put_old.mount.is_in(self)
            || new_root.mount.is_locked()
            || point.mount.is_shared()
            || put_old.mount.is_shared()
        {
            return Err(Errno::EINVAL);
        }
        new_root.mount.unhang();
        self.set_root(new_root.mount.clone());
        // What is locked is the place, not the mount.
        let locked = old_root.locked.swap(false, Ordering::Relaxed);
        new_root.mount.locked.store(locked, Ordering::Relaxed);
        old_root.hang(&put_old.clone().crossed());
        Ok(())
    }
    /// Gives the private mount at `to` the peers and the master of that at `from` (`do_set_group`).
    pub fn set_group(self: &Arc<Self>, from: &Path, to: &Path) -> Result<()> {
        let _topology = TOPOLOGY.lock();
        let (source, target) = (&from.mount, &to.mount);
        if !source.is_in(self)
            || !target.is_in(self)
            || !from.is_mount_root()
            || !to.is_mount_root()
        {
            return Err(Errno::EINVAL);
        }
        let same_fs = Arc::ptr_eq(&source.fs, &target.fs);
        let (peers, master) = (source.peers(), source.master());
        let (none, taken) = (
            peers.is_none() && master.is_none(),
            target.is_shared() || target.master().is_some(),
        );
        if !same_fs || !target.root.is_below(&source.root) || none || taken {
            return Err(Errno::EINVAL);
        }
        if let Some(master) = master {
            target.follow(master);
        }
        if let Some(peers) = peers {
            target.join(peers);
        }
        Ok(())
    }
}
