//! Peer groups: which mounts are shown what is mounted on which others.
//!
//! A shared mount is a member of a group; a slave has a group as its master; it can be both. What is mounted on a member appears on all members and
//! slaves, and on the members and slaves of the groups that slaves are in. When the last member leaves, the slaves go to its own master.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::copy::CopyHow;
use super::namespace::MOUNT_MAX;
use super::{Mount, MountNamespace};
use crate::error::{Errno, Result};
use crate::vfs::Path;

static NEXT_GROUP: AtomicU32 = AtomicU32::new(1);

/// Shared mounts that show each other what is mounted on them.
pub struct PeerGroup {
    /// As in mountinfo's `shared:` and `master:`.
    pub id: u32,
    members: Mutex<Vec<Weak<Mount>>>,
    slaves: Mutex<Vec<Weak<Mount>>>,
}

/// What a mount is in.
#[derive(Default)]
pub(super) struct Propagation {
    peers: Option<Arc<PeerGroup>>,
    master: Option<Arc<PeerGroup>>,
    unbindable: bool,
}

/// `MS_SHARED` and its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropagationType {
    /// Shows its peers what is mounted on it, and is shown.
    Shared,
    /// Is shown, but shows not.
    Slave,
    /// Neither.
    Private,
    /// Neither, and cannot be bound elsewhere.
    Unbindable,
}

fn live(list: &Mutex<Vec<Weak<Mount>>>) -> Vec<Arc<Mount>> {
    list.lock().iter().filter_map(Weak::upgrade).collect()
}

fn remove(list: &Mutex<Vec<Weak<Mount>>>, mount: *const Mount) {
    list.lock()
        .retain(|other| other.strong_count() > 0 && !std::ptr::eq(other.as_ptr(), mount));
}

impl PeerGroup {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_GROUP.fetch_add(1, Ordering::Relaxed),
            members: Mutex::default(),
            slaves: Mutex::default(),
        })
    }
    /// Its members.
    #[must_use]
    pub fn members(&self) -> Vec<Arc<Mount>> {
        live(&self.members)
    }
    fn slaves(&self) -> Vec<Arc<Mount>> {
        live(&self.slaves)
    }
}

impl Mount {
    /// The group whose member it is.
    #[must_use]
    pub fn peers(&self) -> Option<Arc<PeerGroup>> {
        self.propagation.lock().peers.clone()
    }
    /// The group whose slave it is.
    #[must_use]
    pub fn master(&self) -> Option<Arc<PeerGroup>> {
        self.propagation.lock().master.clone()
    }
    /// Whether it shows others what is mounted on it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.propagation.lock().peers.is_some()
    }
    /// Whether it cannot be bound elsewhere.
    #[must_use]
    pub fn is_unbindable(&self) -> bool {
        self.propagation.lock().unbindable
    }
    pub(super) fn join(self: &Arc<Self>, group: Arc<PeerGroup>) {
        group.members.lock().push(Arc::downgrade(self));
        self.propagation.lock().peers = Some(group);
    }
    pub(super) fn follow(self: &Arc<Self>, group: Arc<PeerGroup>) {
        group.slaves.lock().push(Arc::downgrade(self));
        self.propagation.lock().master = Some(group);
    }
    pub(super) fn set_unbindable(&self, unbindable: bool) {
        self.propagation.lock().unbindable = unbindable;
    }
    /// Makes it shared, in a group of its own if it is not yet.
    pub(super) fn share(self: &Arc<Self>) {
        self.set_unbindable(false);
        if !self.is_shared() {
            self.join(PeerGroup::new());
        }
    }
    /// Leaves its peers; its slaves go to its own master if it was the last. Gives the group if others are left in it.
    fn leave(&self) -> Option<Arc<PeerGroup>> {
        let (peers, master) = {
            let mut propagation = self.propagation.lock();
            (propagation.peers.take()?, propagation.master.clone())
        };
        remove(&peers.members, self);
        if !peers.members().is_empty() {
            return Some(peers);
        }
        for slave in peers.slaves() {
            slave.propagation.lock().master = None;
            if let Some(master) = &master {
                slave.follow(master.clone());
            }
        }
        None
    }
    fn desert(&self) {
        let master = self.propagation.lock().master.take();
        if let Some(master) = master {
            remove(&master.slaves, self);
        }
    }
    /// Leaves peers and master.
    pub(super) fn depart(&self) {
        self.leave();
        self.desert();
    }
    fn change_type(self: &Arc<Self>, kind: PropagationType) {
        match kind {
            PropagationType::Shared => self.share(),
            PropagationType::Slave => {
                if let Some(group) = self.leave() {
                    self.desert();
                    self.follow(group);
                }
            }
            PropagationType::Private | PropagationType::Unbindable => {
                self.depart();
                self.set_unbindable(kind == PropagationType::Unbindable);
            }
        }
    }
    /// `mount(2)` with `MS_SHARED` and its like; `recursive`: also all below.
    pub fn set_propagation(self: &Arc<Self>, kind: PropagationType, recursive: bool) {
        let _topology = super::TOPOLOGY.lock();
        let mounts = if recursive {
            self.tree()
        } else {
            vec![self.clone()]
        };
        for mount in mounts {
            mount.change_type(kind);
        }
    }
    /// The nearest group up the chain of masters that has a member in `namespace` (`get_dominating_id`).
    #[must_use]
    pub fn dominating(&self, namespace: &Arc<MountNamespace>) -> Option<u32> {
        let mut seen = HashSet::new();
        let mut at = self.master();
        while let Some(group) = at {
            if !seen.insert(group.id) {
                return None;
            }
            let members = group.members();
            if members.iter().any(|member| member.is_in(namespace)) {
                return Some(group.id);
            }
            at = members.first().and_then(|member| member.master());
        }
        None
    }
    /// Every other mount that is shown what is mounted on this one, nearest first.
    pub(super) fn shown_to(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let Some(group) = self.peers() else {
            return Vec::new();
        };
        let mut seen = HashSet::from([group.id]);
        let mut groups = vec![group];
        let mut all = Vec::new();
        while let Some(group) = groups.pop() {
            let others = group.members().into_iter();
            all.extend(others.filter(|member| !Arc::ptr_eq(member, self)));
            for slave in group.slaves() {
                match slave.peers() {
                    Some(own) if seen.insert(own.id) => groups.push(own),
                    Some(_) => {}
                    None => all.push(slave),
                }
            }
        }
        all
    }
}

/// Copies of a tree and where they are to be hung.
pub(super) type Copies = Vec<(Arc<Mount>, Path)>;

/// Makes the copies of one propagation, no more mounts than a namespace may have: peers in many namespaces must not multiply what a guest can make.
struct Copier {
    copies: Copies,
    made: usize,
}

impl Copier {
    fn add(&mut self, source: &Arc<Mount>, how: CopyHow, place: Path) -> Result<Arc<Mount>> {
        let copy = source.copy_tree(&source.root, how)?;
        self.made += copy.tree().len();
        if self.made > MOUNT_MAX {
            return Err(Errno::ENOSPC);
        }
        self.copies.push((copy.clone(), place));
        Ok(copy)
    }
}

/// Copies of `source`, whose mounts are all shared, for every mount that is shown what is mounted on `place` (`propagate_mnt`).
pub(super) fn propagate(source: &Arc<Mount>, place: &Path) -> Result<Copies> {
    let mut copier = Copier {
        copies: Vec::new(),
        made: 0,
    };
    let Some(group) = place.mount.peers() else {
        return Ok(copier.copies);
    };
    let mut seen = HashSet::from([group.id]);
    let at = |mount: &Arc<Mount>| {
        place.dentry.is_below(&mount.root).then(|| Path {
            mount: mount.clone(),
            dentry: place.dentry.clone(),
        })
    };
    for member in group.members() {
        if !Arc::ptr_eq(&member, &place.mount)
            && let Some(place) = at(&member)
        {
            copier.add(source, CopyHow::PROPAGATED, place)?;
        }
    }
    let mut todo = vec![(group, source.clone())];
    while let Some((group, source)) = todo.pop() {
        for slave in group.slaves() {
            let Some(own) = slave.peers() else {
                if let Some(place) = at(&slave) {
                    copier.add(&source, CopyHow::TO_SLAVE, place)?;
                }
                continue;
            };
            if !seen.insert(own.id) {
                continue;
            }
            // The first of these peers gets a slave of the source, the others its peers.
            let mut first: Option<Arc<Mount>> = None;
            for member in own.members() {
                let Some(place) = at(&member) else { continue };
                match &first {
                    None => {
                        let how = CopyHow::TO_SHARED_SLAVE;
                        first = Some(copier.add(&source, how, place)?);
                    }
                    Some(first) => drop(copier.add(first, CopyHow::PROPAGATED, place)?),
                }
            }
            todo.push((own, first.unwrap_or_else(|| source.clone())));
        }
    }
    Ok(copier.copies)
}
