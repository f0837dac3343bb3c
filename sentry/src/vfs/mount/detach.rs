//! Unmounting, and what that propagates to (`do_umount`, `umount_tree`, `propagate_umount`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Mount, MountNamespace, TOPOLOGY};
use crate::error::{Errno, Result};
use crate::vfs::{Dentry, Path};

/// How to unmount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UmountHow {
    /// Not while it is used.
    Idle,
    /// `MNT_DETACH`: at once, with all below; who uses it keeps it.
    Lazy,
    /// `MNT_EXPIRE`: if it was not used since the last such call.
    Expire,
}

type Mounts = HashMap<u64, Arc<Mount>>;

/// The copies of `mounts` that propagation has made: what is on the same dentries of the mounts that are shown the parents' mounts.
fn propagated(mounts: &[Arc<Mount>]) -> Mounts {
    let mut found = Mounts::new();
    for mount in mounts {
        let Some(point) = mount.point() else { continue };
        for other in point.mount.shown_to() {
            if let Some(copy) = other.child_at(&point.dentry) {
                found.insert(copy.id, copy);
            }
        }
    }
    found
}

/// What covers the root of `mount`.
fn cover(mount: &Arc<Mount>) -> Option<Arc<Mount>> {
    mount.child_at(&mount.root)
}

/// Takes `mounts` (parents first) out of the tree, and what propagation has made of them: those copies that have nothing else mounted on them
/// and are not locked. `TOPOLOGY` is held; gives what is to be dropped outside of it.
fn unmount(mounts: Vec<Arc<Mount>>) -> Vec<Arc<Mount>> {
    let own: Mounts = mounts.iter().map(|m| (m.id, m.clone())).collect();
    let mut copies = propagated(&mounts);
    copies.retain(|id, _| !own.contains_key(id));
    loop {
        let stays = |copy: &Arc<Mount>| {
            let others = copy
                .children()
                .into_iter()
                .filter(|child| !own.contains_key(&child.id) && !copies.contains_key(&child.id));
            let on_root = cover(copy);
            let others =
                others.filter(|child| !on_root.as_ref().is_some_and(|c| Arc::ptr_eq(c, child)));
            copy.is_locked() || others.count() > 0
        };
        let staying: Vec<u64> = copies
            .values()
            .filter(|copy| stays(copy))
            .map(|c| c.id)
            .collect();
        if staying.is_empty() {
            break;
        }
        copies.retain(|id, _| !staying.contains(id));
    }
    let mut gone = mounts;
    for copy in copies.values() {
        // What covers a copy's root stays where the copy was.
        if let Some(cover) = cover(copy)
            && !own.contains_key(&cover.id)
            && !copies.contains_key(&cover.id)
            && let Some(point) = copy.point()
        {
            cover.unhang();
            copy.unhang();
            cover.hang(&point);
        }
    }
    gone.extend(copies.into_values());
    for mount in gone.iter().rev() {
        mount.unhang();
        mount.depart();
        mount.abandon();
    }
    gone
}

impl MountNamespace {
    /// Detaches the mount whose root is `path`: `EINVAL` if it is not a mount's root, is the namespace's own or another's, `EBUSY` if something is
    /// mounted below it or somebody uses it. `EAGAIN` for the first `MNT_EXPIRE`.
    pub fn detach(self: &Arc<Self>, path: Path, how: UmountHow) -> Result<()> {
        let gone = {
            let _topology = TOPOLOGY.lock();
            if !path.is_mount_root() || !path.mount.is_in(self) || path.mount.is_locked() {
                return Err(Errno::EINVAL);
            }
            let mount = path.mount;
            if how == UmountHow::Expire {
                if Arc::ptr_eq(&mount, &self.root_mount()) {
                    return Err(Errno::EINVAL);
                }
                check_idle(&mount)?;
                if !mount.expiring.swap(true, Ordering::Relaxed) {
                    return Err(Errno::EAGAIN);
                }
            }
            if mount.point().is_none() {
                return Err(Errno::EINVAL);
            }
            if how == UmountHow::Lazy {
                unmount(mount.tree())
            } else {
                check_idle(&mount)?;
                for copy in propagated(std::slice::from_ref(&mount)).into_values() {
                    // In use by somebody: beside its parent and this loop.
                    if copy.children().is_empty() && Arc::strong_count(&copy) > 2 {
                        return Err(Errno::EBUSY);
                    }
                }
                unmount(vec![mount])
            }
        };
        drop(gone);
        Ok(())
    }
    /// Detaches whatever is mounted on a name that was removed through another namespace (`detach_mounts`).
    pub fn detach_from(dentry: &Arc<Dentry>) {
        let mounts = Mount::all_on(dentry);
        if mounts.is_empty() {
            return;
        }
        let gone: Vec<_> = {
            let _topology = TOPOLOGY.lock();
            mounts
                .iter()
                .flat_map(|mount| unmount(mount.tree()))
                .collect()
        };
        drop(gone);
    }
}

/// `EBUSY` if something is mounted below, or if anything but its parent and the caller refers to it: somebody's working directory, root or open file.
fn check_idle(mount: &Arc<Mount>) -> Result<()> {
    const OWN_REFERENCES: usize = 2;
    if !mount.children.read().is_empty() || Arc::strong_count(mount) > OWN_REFERENCES {
        return Err(Errno::EBUSY);
    }
    Ok(())
}
