//! Mounts, mount namespaces and how events propagate between them (`mount_namespaces(7)`, `fs/namespace.c`, `fs/pnode.c`).
//!
//! - [`Mount`]: a tree, or a part of one, at a place. It owns the mounts on its dentries; a [`MountNamespace`] owns its root mount, so that a tree that
//!   nobody holds is gone.
//! - [`PeerGroup`]: shared mounts that show each other what is mounted on them, and the slaves that are shown it.
//! - `attach`, `detach`, `copy`: the operations on trees.
//!
//! Lock order: `TOPOLOGY` (held by every change of any tree) → a mount's `children` → a mount's `point` → a dentry's place; a mount's `propagation` →
//! a group's members. None is held while a mount may be dropped, but for `TOPOLOGY`, which dropping does not take.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use abi::fs::Statfs;
use bitflags::bitflags;
use parking_lot::{Mutex, ReentrantMutex, RwLock};

use super::{Dentry, Inode, Path};
use crate::error::{Errno, Result};

mod attach;
mod copy;
mod detach;
mod namespace;
mod propagation;

pub use detach::UmountHow;
pub use namespace::MountNamespace;
pub use propagation::{PeerGroup, PropagationType};

use propagation::Propagation;

/// Held while any tree of mounts changes, as Linux's `namespace_sem`.
///
/// Reentrant, since a namespace that nobody else holds any more may be dropped under it.
static TOPOLOGY: ReentrantMutex<()> = ReentrantMutex::new(());
/// What is mounted on a dentry through any mount, by the dentry's address, which its mounts keep valid.
static POINTS: Mutex<Option<HashMap<usize, Vec<Weak<Mount>>>>> = Mutex::new(None);

bitflags! {
    /// Per-mount flags (`MS_*` values).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MountFlags: u32 {
        /// MS_RDONLY.
        const RDONLY = 1;
        /// MS_NOSUID.
        const NOSUID = 2;
        /// MS_NODEV.
        const NODEV = 4;
        /// MS_NOEXEC.
        const NOEXEC = 8;
        /// MS_NOSYMFOLLOW.
        const NOSYMFOLLOW = 256;
        /// MS_NOATIME.
        const NOATIME = 1024;
        /// MS_NODIRATIME.
        const NODIRATIME = 2048;
        /// MS_RELATIME.
        const RELATIME = 1 << 21;
    }
}

/// A file system instance (a super block).
pub trait FileSystem: Send + Sync {
    /// The type's name as in `/proc/filesystems`.
    fn type_name(&self) -> &'static str;
    /// The root directory (or, for a bind-mounted file, that file).
    fn root(&self) -> Arc<Inode>;
    /// `statfs(2)`.
    fn statfs(&self) -> Result<Statfs>;
    /// `sync(2)`.
    fn sync(&self) -> Result<()> {
        Ok(())
    }
    /// Device number of its inodes, for `/proc/self/mountinfo`.
    fn dev(&self) -> u64;
    /// Options shown in `/proc/mounts` behind the generic ones (starting with a comma), and whether it is read-only as a whole.
    fn options(&self) -> String {
        String::new()
    }
    /// Takes other options (remount), as `mount(2)` passes them: `EINVAL` for what it does not know or cannot change.
    fn reconfigure(&self, _options: &[u8], _memory: u64) -> Result<()> {
        Ok(())
    }
}

static NEXT_MOUNT: AtomicU64 = AtomicU64::new(20);
static NEXT_DEV: AtomicU32 = AtomicU32::new(20);

/// A device number for a file system without a device (`get_anon_bdev`: major 0).
pub fn anonymous_dev() -> u64 {
    u64::from(NEXT_DEV.fetch_add(1, Ordering::Relaxed))
}

/// What all mounts of a file system's instance share.
#[derive(Debug, Default)]
struct Instance {
    /// Read-only as a whole (`SB_RDONLY`).
    read_only: AtomicBool,
    /// Files that are open for writing.
    writers: AtomicUsize,
}

/// One mount: a tree, or a part of one, at a place.
pub struct Mount {
    /// Mount id as in mountinfo.
    pub id: u64,
    /// The file system.
    pub fs: Arc<dyn FileSystem>,
    /// What appears at the mount point.
    pub root: Arc<Dentry>,
    flags: AtomicU32,
    /// MNT_LOCKED, and the MNT_LOCK_* for its restrictions.
    locked: AtomicBool,
    held: AtomicBool,
    instance: Arc<Instance>,
    /// Files that are open for writing through it.
    writers: AtomicUsize,
    /// MNT_EXPIRE was asked for and nobody has used it since.
    expiring: AtomicBool,
    /// First field of `/proc/mounts`.
    pub source: Vec<u8>,
    point: RwLock<Option<(Weak<Mount>, Arc<Dentry>)>>,
    /// What is mounted on its dentries, by their addresses.
    children: RwLock<HashMap<usize, Arc<Mount>>>,
    propagation: Mutex<Propagation>,
    namespace: RwLock<Weak<MountNamespace>>,
}

fn address(dentry: &Arc<Dentry>) -> usize {
    Arc::as_ptr(dentry) as usize
}

impl Mount {
    /// A mount that is not attached yet.
    #[must_use]
    pub fn new(
        fs: Arc<dyn FileSystem>,
        root: Arc<Dentry>,
        flags: MountFlags,
        source: &[u8],
    ) -> Arc<Self> {
        Self::sharing(fs, Arc::default(), root, flags, source)
    }
    fn sharing(
        fs: Arc<dyn FileSystem>,
        instance: Arc<Instance>,
        root: Arc<Dentry>,
        flags: MountFlags,
        source: &[u8],
    ) -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_MOUNT.fetch_add(1, Ordering::Relaxed),
            fs,
            root,
            flags: AtomicU32::new(flags.bits()),
            locked: AtomicBool::new(false),
            held: AtomicBool::new(false),
            instance,
            writers: AtomicUsize::new(0),
            expiring: AtomicBool::new(false),
            source: source.to_vec(),
            point: RwLock::new(None),
            children: RwLock::default(),
            propagation: Mutex::default(),
            namespace: RwLock::default(),
        })
    }
    /// A mount of a whole file system.
    #[must_use]
    pub fn of(fs: Arc<dyn FileSystem>, flags: MountFlags, source: &[u8]) -> Arc<Self> {
        let root = Dentry::root(fs.root());
        Self::new(fs, root, flags, source)
    }
    /// What unique ids are above of.
    pub const UNIQUE_BASE: u64 = 1 << 31;
    /// The id that is never used again (`STATX_MNT_ID_UNIQUE`): above all that the other kind may be.
    #[must_use]
    pub const fn unique_id(&self) -> u64 {
        Self::UNIQUE_BASE + self.id
    }
    /// Per-mount flags.
    #[must_use]
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }
    /// Whether it came below another from a more privileged mount namespace: then it cannot be taken away alone.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Relaxed)
    }
    fn hold_as(&self, other: &Self) {
        self.locked.store(other.is_locked(), Ordering::Relaxed);
        self.held
            .store(other.held.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    /// Whether `flags` leave out a restriction that the mount is locked to.
    #[must_use]
    pub fn loosens(&self, flags: MountFlags) -> bool {
        const RESTRICTIONS: MountFlags = MountFlags::RDONLY
            .union(MountFlags::NOSUID)
            .union(MountFlags::NODEV)
            .union(MountFlags::NOEXEC);
        self.held.load(Ordering::Relaxed)
            && !(self.flags() & RESTRICTIONS).difference(flags).is_empty()
    }
    /// Changes the flags (remount).
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }
    /// Whether the file system is read-only as a whole.
    #[must_use]
    pub fn fs_is_read_only(&self) -> bool {
        self.instance.read_only.load(Ordering::Relaxed)
    }
    /// Makes the file system read-only as a whole, or writable: `EBUSY` while files are open for writing.
    pub fn set_fs_read_only(&self, read_only: bool) -> Result<()> {
        if read_only && !self.fs_is_read_only() && self.instance.writers.load(Ordering::Relaxed) > 0
        {
            return Err(Errno::EBUSY);
        }
        self.instance.read_only.store(read_only, Ordering::Relaxed);
        Ok(())
    }
    /// `EBUSY` if `flags` would make it read-only while files are open for writing through it (`mnt_hold_writers`).
    pub fn check_writers(&self, flags: MountFlags) -> Result<()> {
        let becomes_read_only = flags.difference(self.flags()).contains(MountFlags::RDONLY);
        if becomes_read_only && self.writers.load(Ordering::Relaxed) > 0 {
            return Err(Errno::EBUSY);
        }
        Ok(())
    }
    /// Counts a file that is opened for writing.
    pub(in crate::vfs) fn add_writer(&self) {
        self.writers.fetch_add(1, Ordering::Relaxed);
        self.instance.writers.fetch_add(1, Ordering::Relaxed);
    }
    /// Counts it no longer.
    pub(in crate::vfs) fn remove_writer(&self) {
        self.writers.fetch_sub(1, Ordering::Relaxed);
        self.instance.writers.fetch_sub(1, Ordering::Relaxed);
    }
    /// Whether nothing can be changed through it: the mount or the file system is read-only.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.flags().contains(MountFlags::RDONLY) || self.fs_is_read_only()
    }
    /// Somebody uses it: it does not expire.
    pub(in crate::vfs) fn used(&self) {
        if self.expiring.load(Ordering::Relaxed) {
            self.expiring.store(false, Ordering::Relaxed);
        }
    }
    /// Where it is mounted: the parent's path; `None` for the root mount and detached ones.
    #[must_use]
    pub fn point(&self) -> Option<Path> {
        let point = self.point.read();
        let (mount, dentry) = point.as_ref()?;
        Some(Path {
            mount: mount.upgrade()?,
            dentry: dentry.clone(),
        })
    }
    /// The namespace that it is part of; `None` once it was unmounted.
    #[must_use]
    pub fn namespace(&self) -> Option<Arc<MountNamespace>> {
        self.namespace.read().upgrade()
    }
    /// Whether it is part of `namespace` (`check_mnt`).
    #[must_use]
    pub fn is_in(&self, namespace: &Arc<MountNamespace>) -> bool {
        std::ptr::eq(self.namespace.read().as_ptr(), Arc::as_ptr(namespace))
    }
    /// Its root as a path.
    #[must_use]
    pub fn top(self: &Arc<Self>) -> Path {
        Path {
            mount: self.clone(),
            dentry: self.root.clone(),
        }
    }
    /// What is mounted on `dentry` through this mount.
    fn child_at(&self, dentry: &Arc<Dentry>) -> Option<Arc<Self>> {
        if !dentry.is_mounted_on() {
            return None;
        }
        self.children.read().get(&address(dentry)).cloned()
    }
    /// What is mounted on its dentries, oldest first.
    #[must_use]
    pub fn children(&self) -> Vec<Arc<Self>> {
        let mut children: Vec<_> = self.children.read().values().cloned().collect();
        children.sort_unstable_by_key(|mount| mount.id);
        children
    }
    /// It and all below it, parents first.
    #[must_use]
    pub fn tree(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut tree = vec![self.clone()];
        let mut at = 0;
        while let Some(mount) = tree.get(at) {
            let children = mount.children();
            tree.extend(children);
            at += 1;
        }
        tree
    }
    /// Whether it is `other` or lies below it.
    fn is_below(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut at = self.clone();
        loop {
            if Arc::ptr_eq(&at, other) {
                return true;
            }
            match at.point() {
                Some(point) => at = point.mount,
                None => return false,
            }
        }
    }
    /// Puts it on `path`, where nothing is mounted. `TOPOLOGY` is held.
    fn hang(self: &Arc<Self>, path: &Path) {
        path.mount
            .children
            .write()
            .insert(address(&path.dentry), self.clone());
        *self.point.write() = Some((Arc::downgrade(&path.mount), path.dentry.clone()));
        path.dentry.add_mount(1);
        POINTS
            .lock()
            .get_or_insert_default()
            .entry(address(&path.dentry))
            .or_default()
            .push(Arc::downgrade(self));
    }
    /// Takes it off its place; gives the place. `TOPOLOGY` is held.
    fn unhang(self: &Arc<Self>) -> Option<Path> {
        let point = self.point();
        if let Some(point) = &point {
            let mut children = point.mount.children.write();
            let own = children
                .get(&address(&point.dentry))
                .is_some_and(|child| Arc::ptr_eq(child, self));
            // The caller has a reference: nothing is dropped under the lock.
            let _same = own.then(|| children.remove(&address(&point.dentry)));
        }
        let old = self.point.write().take();
        if let Some((_, dentry)) = old {
            forget_point(&dentry, Arc::as_ptr(self));
        }
        point
    }
    /// What is mounted on `dentry` through any mount of any namespace.
    #[must_use]
    pub fn all_on(dentry: &Arc<Dentry>) -> Vec<Arc<Self>> {
        if !dentry.is_mounted_on() {
            return Vec::new();
        }
        let points = POINTS.lock();
        points
            .as_ref()
            .and_then(|points| points.get(&address(dentry)))
            .map(|mounts| mounts.iter().filter_map(Weak::upgrade).collect())
            .unwrap_or_default()
    }
}

fn forget_point(dentry: &Arc<Dentry>, mount: *const Mount) {
    dentry.add_mount(-1);
    let mut points = POINTS.lock();
    let Some(points) = points.as_mut() else {
        return;
    };
    if let Some(mounts) = points.get_mut(&address(dentry)) {
        mounts.retain(|other| !std::ptr::eq(other.as_ptr(), mount));
        if mounts.is_empty() {
            points.remove(&address(dentry));
        }
    }
}

impl Drop for Mount {
    /// Drops what is mounted below one by one: a guest can make it deep, and recursion would exhaust the stack.
    fn drop(&mut self) {
        if let Some((_, dentry)) = self.point.get_mut().take() {
            forget_point(&dentry, std::ptr::from_ref(self));
        }
        self.depart();
        let mut todo: Vec<Arc<Self>> = self.children.get_mut().drain().map(|(_, m)| m).collect();
        while let Some(mount) = todo.pop() {
            if let Some(mut mount) = Arc::into_inner(mount) {
                todo.extend(mount.children.get_mut().drain().map(|(_, m)| m));
            }
        }
    }
}

impl Path {
    /// Follows the mounts stacked on this place to the topmost one's root.
    #[must_use]
    pub fn crossed(mut self) -> Self {
        while let Some(mount) = self.mount.child_at(&self.dentry) {
            self.dentry = mount.root.clone();
            self.mount = mount;
        }
        self
    }
    /// Whether it is the root of its mount (`path_mounted`).
    #[must_use]
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.dentry, &self.mount.root)
    }
}
