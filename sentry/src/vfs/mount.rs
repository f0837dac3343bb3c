//! Mounts, mount namespaces and paths.
//!
//! Lock order: a namespace's table is a leaf but for reading dentries' places.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::fs::Statfs;
use bitflags::bitflags;
use parking_lot::RwLock;

use super::{Dentry, Inode, Path};
use crate::error::{Errno, Result};

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
            Mount::new(mount.fs.clone(), root.clone(), mount.flags(), &mount.source)
        };
        let top = copy_of(&source.mount, &source.dentry);
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
    /// Moves the mount whose root is `source` to `target`: `EINVAL` if it is no mount's root or the namespace's own, `ELOOP` if `target` lies in it.
    pub fn move_mount(&self, source: &Path, target: &Path) -> Result<()> {
        if !Arc::ptr_eq(&source.dentry, &source.mount.root) {
            return Err(Errno::EINVAL);
        }
        let point = source.mount.point().ok_or(Errno::EINVAL)?;
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
    pub fn copy(&self) -> (Arc<Self>, HashMap<u64, Arc<Mount>>) {
        let table = self.table.read();
        let mut new: HashMap<u64, Arc<Mount>> = HashMap::new();
        for old in &table.all {
            new.insert(
                old.id,
                Mount::new(old.fs.clone(), old.root.clone(), old.flags(), &old.source),
            );
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
        let old_root = self.root.read().id;
        let root = new
            .get(&old_root)
            .cloned()
            .unwrap_or_else(|| self.root.read().clone());
        (
            Arc::new(Self {
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
        {
            let mut table = self.table.write();
            table.on.remove(&key(&point));
            *new_root.mount.point.write() = None;
        }
        *self.root.write() = new_root.mount.clone();
        let mut table = self.table.write();
        let target = key(put_old);
        *old_root.point.write() = Some((Arc::downgrade(&put_old.mount), put_old.dentry.clone()));
        table.on.insert(target, old_root);
        Ok(())
    }
}
