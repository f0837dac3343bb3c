//! Mounts, mount namespaces and paths.
//!
//! Lock order: a namespace's table is a leaf but for reading dentries' places.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::fs::Statfs;
use bitflags::bitflags;
use parking_lot::RwLock;

use super::{Dentry, Inode, Path};
use crate::error::{Errno, Result};
use crate::task::user_ns::UserNamespace;

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
}

static NEXT_MOUNT: AtomicU64 = AtomicU64::new(20);
static NEXT_DEV: AtomicU32 = AtomicU32::new(20);

/// A device number for a file system without a device (`get_anon_bdev`: major 0).
pub fn anonymous_dev() -> u64 {
    u64::from(NEXT_DEV.fetch_add(1, Ordering::Relaxed))
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
    /// First field of `/proc/mounts`.
    pub source: Vec<u8>,
    point: RwLock<Option<(Weak<Mount>, Arc<Dentry>)>>,
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
        Arc::new(Self {
            id: NEXT_MOUNT.fetch_add(1, Ordering::Relaxed),
            fs,
            root,
            flags: AtomicU32::new(flags.bits()),
            locked: AtomicBool::new(false),
            held: AtomicBool::new(false),
            source: source.to_vec(),
            point: RwLock::new(None),
        })
    }
    /// A mount of a whole file system.
    #[must_use]
    pub fn of(fs: Arc<dyn FileSystem>, flags: MountFlags, source: &[u8]) -> Arc<Self> {
        let root = Dentry::root(fs.root());
        Self::new(fs, root, flags, source)
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
}

#[derive(Default)]
struct Table {
    /// What is mounted on (mount id, dentry address); the dentry is kept alive by the mount.
    on: HashMap<(u64, usize), Arc<Mount>>,
    /// In mount order.
    all: Vec<Arc<Mount>>,
}

/// A mount namespace.
pub struct MountNamespace {
    /// Whose capabilities count for it.
    pub owner: Arc<UserNamespace>,
    /// Inode number in nsfs.
    pub ino: u64,
    root: RwLock<Arc<Mount>>,
    table: RwLock<Table>,
}

fn key(path: &Path) -> (u64, usize) {
    (path.mount.id, Arc::as_ptr(&path.dentry) as usize)
}

impl MountNamespace {
    /// A namespace with one mount.
    #[must_use]
    pub fn new(root: Arc<Mount>) -> Arc<Self> {
        let table = Table {
            on: HashMap::new(),
            all: vec![root.clone()],
        };
        Arc::new(Self {
            owner: UserNamespace::initial(),
            ino: crate::kernel::next_namespace_ino(),
            root: RwLock::new(root),
            table: RwLock::new(table),
        })
    }
    /// The root mount's root.
    #[must_use]
    pub fn root(&self) -> Path {
        let mount = self.root.read().clone();
        let dentry = mount.root.clone();
        self.cross(Path { mount, dentry })
    }
    /// The root mount.
    #[must_use]
    pub fn root_mount(&self) -> Arc<Mount> {
        self.root.read().clone()
    }
    /// All mounts in mount order.
    #[must_use]
    pub fn mounts(&self) -> Vec<Arc<Mount>> {
        self.table.read().all.clone()
    }
    /// Follows mounts stacked on `path` to the topmost one's root.
    #[must_use]
    pub fn cross(&self, mut path: Path) -> Path {
        let table = self.table.read();
        if table.on.is_empty() {
            return path;
        }
        while let Some(mount) = table.on.get(&key(&path)) {
            path = Path {
                mount: mount.clone(),
                dentry: mount.root.clone(),
            };
        }
        path
    }
    /// Whether something is mounted on `path`.
    #[must_use]
    pub fn is_mount_point(&self, path: &Path) -> bool {
        self.table.read().on.contains_key(&key(path))
    }
    /// Whether something is mounted on `dentry` through any mount: such a name can be neither removed nor renamed.
    #[must_use]
    pub fn is_mount_point_anywhere(&self, dentry: &Arc<Dentry>) -> bool {
        let address = Arc::as_ptr(dentry) as usize;
        let table = self.table.read();
        table.on.keys().any(|(_, on)| *on == address)
    }
    /// Attaches `mount` on top of `path`.
    pub fn attach(&self, mount: Arc<Mount>, path: &Path) {
        let mut path = path.clone();
        let mut table = self.table.write();
        while let Some(top) = table.on.get(&key(&path)) {
            path = Path {
                mount: top.clone(),
                dentry: top.root.clone(),
            };
        }
        *mount.point.write() = Some((Arc::downgrade(&path.mount), path.dentry.clone()));
        table.on.insert(key(&path), mount.clone());
        table.all.push(mount);
    }
    /// The mounts below `top`, and those below them, parents first.
    #[must_use]
    pub fn tree_below(&self, top: &Arc<Mount>) -> Vec<Arc<Mount>> {
        let table = self.table.read();
        let mut tree = vec![top.clone()];
        let mut at = 0;
        while at < tree.len() {
            let id = tree[at].id;
            let more = table
                .all
                .iter()
                .filter(|m| m.point().is_some_and(|p| p.mount.id == id))
                .cloned();
            tree.extend(more.collect::<Vec<_>>());
            at += 1;
        }
        tree.remove(0);
        tree
    }
    /// Binds `source` at `target`; `recursive`: with the mounts below it, as copies.
    pub fn bind(&self, source: &Path, target: &Path, recursive: bool) {
        let copy_of = |mount: &Mount, root: &Arc<Dentry>| {
            let copy = Mount::new(mount.fs.clone(), root.clone(), mount.flags(), &mount.source);
            copy.hold_as(mount);
            copy
        };
        let top = copy_of(&source.mount, &source.dentry);
        top.locked.store(false, Ordering::Relaxed);
        let mut pairs = vec![(source.mount.id, top.clone())];
        let below = if recursive {
            self.tree_below(&source.mount)
        } else {
            Vec::new()
        };
        self.attach(top, target);
        for old in below {
            let Some(point) = old.point() else { continue };
            let direct = point.mount.id == source.mount.id;
            if direct && !point.dentry.is_below(&source.dentry) {
                continue;
            }
            let Some((_, parent)) = pairs.iter().find(|(id, _)| *id == point.mount.id) else {
                continue;
            };
            let place = Path {
                mount: parent.clone(),
                dentry: point.dentry,
            };
            let copy = copy_of(&old, &old.root);
            pairs.push((old.id, copy.clone()));
            self.attach(copy, &place);
        }
    }
    /// Whether a copy of the mount of `path` without what is mounted below would show what a locked mount hides (`has_locked_children`).
    #[must_use]
    pub fn hides_below(&self, path: &Path) -> bool {
        self.tree_below(&path.mount).iter().any(|mount| {
            let direct = mount
                .point()
                .filter(|point| point.mount.id == path.mount.id);
            mount.is_locked() && direct.is_some_and(|point| point.dentry.is_below(&path.dentry))
        })
    }
    /// Moves the mount whose root is `source` to `target`: `EINVAL` if it is no mount's root or the namespace's own, `ELOOP` if `target` lies in it.
    pub fn move_mount(&self, source: &Path, target: &Path) -> Result<()> {
        if !Arc::ptr_eq(&source.dentry, &source.mount.root) {
            return Err(Errno::EINVAL);
        }
        let point = source.mount.point().ok_or(Errno::EINVAL)?;
        if source.mount.is_locked() {
            return Err(Errno::EINVAL);
        }
        let within = target.mount.id == source.mount.id
            || self
                .tree_below(&source.mount)
                .iter()
                .any(|mount| mount.id == target.mount.id);
        if within {
            return Err(Errno::ELOOP);
        }
        {
            let mut table = self.table.write();
            table.on.remove(&key(&point));
            table.all.retain(|mount| mount.id != source.mount.id);
        }
        self.attach(source.mount.clone(), target);
        Ok(())
    }
    /// Detaches the mount whose root is `path`: `EINVAL` if it is not a mount's root or is the namespace's own, `EBUSY` if something is mounted
    /// below it and `lazy` is not set (then the tree goes with it).
    pub fn detach(&self, path: &Path, lazy: bool) -> Result<Arc<Mount>> {
        if !Arc::ptr_eq(&path.dentry, &path.mount.root) {
            return Err(Errno::EINVAL);
        }
        let point = path.mount.point().ok_or(Errno::EINVAL)?;
        if path.mount.is_locked() {
            return Err(Errno::EINVAL);
        }
        let mut table = self.table.write();
        let below: Vec<Arc<Mount>> = table
            .all
            .iter()
            .filter(|m| m.point().is_some_and(|p| p.mount.id == path.mount.id))
            .cloned()
            .collect();
        // Beside the table's two references and the caller's path, each is somebody's working directory, root or open file.
        const OWN_REFERENCES: usize = 3;
        if !lazy && (!below.is_empty() || Arc::strong_count(&path.mount) > OWN_REFERENCES) {
            return Err(Errno::EBUSY);
        }
        let mut gone = vec![path.mount.clone()];
        gone.extend(below);
        let mut at = 1;
        while at < gone.len() {
            let id = gone[at].id;
            let more: Vec<_> = table
                .all
                .iter()
                .filter(|m| m.point().is_some_and(|p| p.mount.id == id))
                .cloned()
                .collect();
            gone.extend(more);
            at += 1;
        }
        table.on.remove(&key(&point));
        let ids: Vec<u64> = gone.iter().map(|m| m.id).collect();
        table.on.retain(|_, m| !ids.contains(&m.id));
        table.all.retain(|m| !ids.contains(&m.id));
        Ok(path.mount.clone())
    }
    /// A copy for `unshare(CLONE_NEWNS)`: the same mounts, attached alike, free to change on their own. The caller moves root and working
    /// directory with [`MountNamespace::translate`].
    #[must_use]
    pub fn copy(&self, owner: Arc<UserNamespace>) -> (Arc<Self>, HashMap<u64, Arc<Mount>>) {
        // What a more privileged namespace has mounted stays as it is (MNT_LOCKED, MNT_LOCK_READONLY and so on).
        let lock = !Arc::ptr_eq(&owner, &self.owner);
        let old_root = self.root.read().id;
        let table = self.table.read();
        let mut new: HashMap<u64, Arc<Mount>> = HashMap::new();
        for old in &table.all {
            let mount = Mount::new(old.fs.clone(), old.root.clone(), old.flags(), &old.source);
            mount.hold_as(old);
            if lock {
                mount.held.store(true, Ordering::Relaxed);
                let below = old.id != old_root;
                mount.locked.store(below, Ordering::Relaxed);
            }
            new.insert(old.id, mount);
        }
        let mut copy = Table::default();
        for old in &table.all {
            let Some(mount) = new.get(&old.id) else {
                continue;
            };
            if let Some(point) = old.point()
                && let Some(parent) = new.get(&point.mount.id)
            {
                *mount.point.write() = Some((Arc::downgrade(parent), point.dentry.clone()));
                copy.on.insert(
                    (parent.id, Arc::as_ptr(&point.dentry) as usize),
                    mount.clone(),
                );
            }
            copy.all.push(mount.clone());
        }
        let root = new
            .get(&old_root)
            .cloned()
            .unwrap_or_else(|| self.root.read().clone());
        (
            Arc::new(Self {
                owner,
                ino: crate::kernel::next_namespace_ino(),
                root: RwLock::new(root),
                table: RwLock::new(copy),
            }),
            new,
        )
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
    /// `pivot_root(2)` on the table: `new_root` (a mount's root) becomes the namespace's root, the old root mount is attached at `put_old`.
    pub fn pivot(&self, new_root: &Path, put_old: &Path) -> Result<()> {
        let old_root = self.root.read().clone();
        let point = new_root.mount.point().ok_or(Errno::EINVAL)?;
        if new_root.mount.is_locked() {
            return Err(Errno::EINVAL);
        }
        {
            let mut table = self.table.write();
            table.on.remove(&key(&point));
            *new_root.mount.point.write() = None;
        }
        *self.root.write() = new_root.mount.clone();
        // What is locked is the place, not the mount.
        let locked = old_root.locked.swap(false, Ordering::Relaxed);
        new_root.mount.locked.store(locked, Ordering::Relaxed);
        let mut table = self.table.write();
        let target = key(put_old);
        *old_root.point.write() = Some((Arc::downgrade(&put_old.mount), put_old.dentry.clone()));
        table.on.insert(target, old_root);
        Ok(())
    }
}
