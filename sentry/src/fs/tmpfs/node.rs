//! Inodes of a tmpfs.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use abi::fs::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK};
use parking_lot::Mutex;

use super::content::{Content, SEAL_EXEC};
use super::directory::{Children, DirFile};
use super::file::RegularFile;
use super::{Shared, Tmpfs};
use crate::error::{Errno, Result};
use crate::fs::anon;
use crate::time;
use crate::vfs::acl::AclStore;
use crate::vfs::lookup::LookupCx;
use crate::vfs::{
    Attr, AttrChange, DirOps, FileOps, Inode, InodeOps, Link, NodeKind, OpenHow, SymlinkOps,
    XattrOps,
};

/// Bytes of names and values of extended attributes an inode may have.
const XATTR_SPACE: usize = 128 * 1024;
/// Seconds in a day: `relatime` renews older access times.
const DAY: i64 = 24 * 60 * 60;

pub(super) enum Kind {
    Regular(Content),
    Directory(Mutex<Children>),
    Symlink(Vec<u8>),
    /// FIFO, socket, device: nothing but attributes.
    Special,
}

/// What a tmpfs keeps for an inode.
pub struct Node {
    pub(super) shared: Arc<Shared>,
    pub(super) kind: Kind,
    /// All but size and blocks of regular files.
    pub(super) attr: Mutex<Attr>,
    this: OnceLock<Weak<Inode>>,
    /// The directory that a directory is in.
    pub(super) parent: Mutex<Weak<Inode>>,
    /// Whether a link may be made although none is left (O_TMPFILE).
    pub(super) linkable: Mutex<bool>,
    xattrs: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    acls: AclStore,
}

impl Node {
    /// A new inode of `fs`, charged to its budget. Directories start with two links, others with one.
    pub(super) fn make(
        shared: &Arc<Shared>,
        kind: Kind,
        type_and_mode: u32,
        rdev: u64,
        (uid, gid): (u32, u32),
    ) -> Result<Arc<Inode>> {
        shared.budget.charge_inode()?;
        let now = time::now();
        let directory = type_and_mode & S_IFMT == S_IFDIR;
        let size = match &kind {
            Kind::Symlink(target) => target.len() as u64,
            _ => 0,
        };
        let node = Self {
            shared: shared.clone(),
            attr: Mutex::new(Attr {
                dev: shared.dev,
                ino: shared.next_ino(),
                mode: type_and_mode,
                nlink: if directory { 2 } else { 1 },
                uid,
                gid,
                rdev,
                size,
                blksize: 4096,
                blocks: 0,
                atime: now,
                mtime: now,
                ctime: now,
                btime: Some(now),
            }),
            kind,
            this: OnceLock::new(),
            parent: Mutex::new(Weak::new()),
            linkable: Mutex::new(false),
            xattrs: Mutex::default(),
            acls: AclStore::default(),
        };
        let fs: Weak<Tmpfs> = shared.fs.clone();
        let inode = Inode::new(fs, Box::new(node));
        if let Some(node) = inode.downcast::<Self>() {
            node.this.get_or_init(|| Arc::downgrade(&inode));
        }
        Ok(inode)
    }
    /// The inode around it.
    pub(super) fn this(&self) -> Weak<Inode> {
        self.this.get().cloned().unwrap_or_default()
    }

    /// The node of a kind as `mknod` asks for it.
    pub(super) fn make_kind(
        shared: &Arc<Shared>,
        kind: NodeKind,
        mode: u32,
        owner: (u32, u32),
    ) -> Result<Arc<Inode>> {
        let (kind, file_type, rdev) = match kind {
            NodeKind::Regular => (
                Kind::Regular(Content::new(shared.budget.clone(), shared.store.clone())),
                S_IFREG,
                0,
            ),
            NodeKind::Directory => (Kind::Directory(Mutex::default()), S_IFDIR, 0),
            NodeKind::Fifo => (Kind::Special, S_IFIFO, 0),
            NodeKind::Socket => (Kind::Special, S_IFSOCK, 0),
            NodeKind::CharDevice(rdev) => (Kind::Special, S_IFCHR, rdev),
            NodeKind::BlockDevice(rdev) => (Kind::Special, S_IFBLK, rdev),
        };
        Self::make(shared, kind, file_type | (mode & 0o7777), rdev, owner)
    }

    pub(super) fn children(&self) -> Result<&Mutex<Children>> {
        match &self.kind {
            Kind::Directory(children) => Ok(children),
            _ => Err(Errno::ENOTDIR),
        }
    }
    /// The bytes of a regular file.
    pub(crate) fn content(&self) -> Option<&Content> {
        match &self.kind {
            Kind::Regular(content) => Some(content),
            _ => None,
        }
    }
    pub(super) fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }
    /// Adds to the number of links and touches ctime; returns the new number.
    pub(super) fn change_links(&self, by: i64) -> u64 {
        let mut attr = self.attr.lock();
        attr.nlink = attr.nlink.saturating_add_signed(by);
        attr.ctime = time::now();
        attr.nlink
    }
    /// Content changed.
    pub(super) fn touch_modified(&self) {
        let now = time::now();
        let mut attr = self.attr.lock();
        attr.mtime = now;
        attr.ctime = now;
    }
    /// Content was read: `relatime`.
    pub(super) fn touch_accessed(&self) {
        let now = time::now();
        let mut attr = self.attr.lock();
        if attr.atime <= attr.mtime || attr.atime <= attr.ctime || now.sec - attr.atime.sec >= DAY {
            attr.atime = now;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.budget.return_inode();
        // A tree that goes as a whole is taken apart here one by one: recursion would be as deep as the tree.
        let Kind::Directory(children) = &mut self.kind else {
            return;
        };
        let mut todo = children.get_mut().take_all();
        while let Some(inode) = todo.pop() {
            if Arc::strong_count(&inode) == 1
                && let Some(Self {
                    kind: Kind::Directory(children),
                    ..
                }) = inode.downcast::<Self>()
            {
                todo.extend(children.lock().take_all());
            }
        }
    }
}

impl InodeOps for Node {
    fn attr(&self) -> Result<Attr> {
        let mut attr = *self.attr.lock();
        match &self.kind {
            Kind::Regular(content) => (attr.size, attr.blocks) = content.size_and_blocks(),
            Kind::Directory(children) => attr.size = children.lock().apparent_size(),
            _ => {}
        }
        Ok(attr)
    }

    fn set_attr(&self, change: &AttrChange) -> Result<()> {
        if let Some(size) = change.size {
            match &self.kind {
                Kind::Regular(content) => content.truncate(size)?,
                Kind::Directory(_) => return Err(Errno::EISDIR),
                _ => return Err(Errno::EINVAL),
            }
        }
        if let (Some(mode), Kind::Regular(content)) = (change.mode, &self.kind)
            && content.seals() & SEAL_EXEC != 0
            && (mode ^ self.attr.lock().mode) & 0o111 != 0
        {
            return Err(Errno::EPERM);
        }
        let mut attr = self.attr.lock();
        anon::apply(&mut attr, change);
        if change.size.is_some() && change.mtime.is_none() {
            attr.mtime = attr.ctime;
        }
        Ok(())
    }

    fn open(&self, inode: &Arc<Inode>, how: OpenHow) -> Result<Box<dyn FileOps>> {
        match &self.kind {
            Kind::Regular(_) => Ok(Box::new(RegularFile::new(inode.clone()))),
            Kind::Directory(_) if how.writable() => Err(Errno::EISDIR),
            Kind::Directory(_) => Ok(Box::new(DirFile::new(inode.clone()))),
            Kind::Symlink(_) => Err(Errno::ELOOP),
            Kind::Special => Err(Errno::ENXIO),
        }
    }
    fn as_dir(&self) -> Option<&dyn DirOps> {
        self.is_directory().then_some(self)
    }
    fn as_symlink(&self) -> Option<&dyn SymlinkOps> {
        matches!(self.kind, Kind::Symlink(_)).then_some(self)
    }
    fn as_xattr(&self) -> Option<&dyn XattrOps> {
        Some(self)
    }
    fn as_acl(&self) -> Option<&AclStore> {
        (!matches!(self.kind, Kind::Symlink(_))).then_some(&self.acls)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl SymlinkOps for Node {
    fn follow(&self, _cx: &LookupCx<'_>) -> Result<Link> {
        match &self.kind {
            Kind::Symlink(target) => Ok(Link::Text(target.clone())),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// `user.`, `trusted.` and `security.` are kept; POSIX ACLs are kept apart.
fn check_namespace(name: &[u8]) -> Result<()> {
    let known: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    if known.iter().any(|prefix| name.starts_with(prefix)) {
        Ok(())
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}

impl XattrOps for Node {
    fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        check_namespace(name)?;
        self.xattrs.lock().get(name).cloned().ok_or(Errno::ENODATA)
    }
    fn set(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        const XATTR_CREATE: u32 = 1;
        const XATTR_REPLACE: u32 = 2;
        check_namespace(name)?;
        let mut xattrs = self.xattrs.lock();
        let exists = xattrs.contains_key(name);
        if exists && flags & XATTR_CREATE != 0 {
            return Err(Errno::EEXIST);
        }
        if !exists && flags & XATTR_REPLACE != 0 {
            return Err(Errno::ENODATA);
        }
        let used: usize = xattrs
            .iter()
            .filter(|(other, _)| other.as_slice() != name)
            .map(|(other, value)| other.len() + value.len())
            .sum();
        if used + name.len() + value.len() > XATTR_SPACE {
            return Err(Errno::ENOSPC);
        }
        xattrs.insert(name.to_vec(), value.to_vec());
        self.attr.lock().ctime = time::now();
        Ok(())
    }
    fn remove(&self, name: &[u8]) -> Result<()> {
        check_namespace(name)?;
        self.xattrs
            .lock()
            .remove(name)
            .map(drop)
            .ok_or(Errno::ENODATA)?;
        self.attr.lock().ctime = time::now();
        Ok(())
    }
    fn list(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.xattrs.lock().keys().cloned().collect())
    }
}

/// A symbolic link.
pub(super) fn make_symlink(
    shared: &Arc<Shared>,
    target: &[u8],
    owner: (u32, u32),
) -> Result<Arc<Inode>> {
    Node::make(
        shared,
        Kind::Symlink(target.to_vec()),
        S_IFLNK | 0o777,
        0,
        owner,
    )
}
