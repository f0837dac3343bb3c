//! Directories of generated trees.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Weak};

use abi::fs::S_IFDIR;

use super::{Meta, Node, child_ino};
use crate::error::{Errno, Result};
use crate::vfs::{
    Attr, AttrChange, DirEntry, DirOps, FileOps, FileSystem, Inode, InodeOps, NodeKind, OpenHow,
};

/// Takes one entry of a listing: name, `S_IF*` bits and the cookie behind it. Returns whether to go on.
pub type EmitName<'a> = dyn FnMut(&[u8], u32, u64) -> bool + 'a;

/// What generates a directory.
pub trait DirSource: Send + Sync {
    /// The node called `name`, or `ENOENT`.
    fn lookup(&self, name: &[u8]) -> Result<Node>;
    /// Emits the names from cookie `from` on (0: the first) until `emit` returns false. Cookies grow.
    fn list(&self, from: u64, emit: &mut EmitName<'_>) -> Result<()>;
    /// Whether a cached answer (`None`: not there) may still be used.
    fn still_valid(&self, _name: &[u8], _child: Option<&Arc<Inode>>) -> bool {
        false
    }
    /// Tells what the directory is about (a process) from anything else, for [`DirSource::still_valid`] of the directory above.
    fn identity(&self) -> usize {
        0
    }
    /// How many subdirectories `st_nlink` counts.
    fn subdirectories(&self) -> u64 {
        0
    }
    /// The file system's own type, where it is looked for.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }
}

/// Fixed names.
pub(super) struct StaticDir(pub(super) BTreeMap<Vec<u8>, Node>);

impl DirSource for StaticDir {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        self.0.get(name).cloned().ok_or(Errno::ENOENT)
    }
    fn list(&self, from: u64, emit: &mut EmitName<'_>) -> Result<()> {
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        for (index, (name, node)) in self.0.iter().enumerate().skip(skip) {
            if !emit(name, node.file_type(), index as u64 + 1) {
                break;
            }
        }
        Ok(())
    }
    fn still_valid(&self, _name: &[u8], _child: Option<&Arc<Inode>>) -> bool {
        true
    }
    fn subdirectories(&self) -> u64 {
        self.0
            .values()
            .filter(|node| node.file_type() == S_IFDIR)
            .count() as u64
    }
}

/// Lists sorted numbers as names: a helper for directories like `fd` and `task`. The cookie of number n is n + 1.
pub(crate) fn list_numbers(
    numbers: &std::collections::BTreeSet<u32>,
    from: u64,
    file_type: u32,
    emit: &mut EmitName<'_>,
) {
    let Ok(first) = u32::try_from(from) else {
        return;
    };
    for number in numbers.range((Bound::Included(first), Bound::Unbounded)) {
        if !emit(
            number.to_string().as_bytes(),
            file_type,
            u64::from(*number) + 1,
        ) {
            break;
        }
    }
}

/// A directory's inode.
pub struct TreeDir {
    pub(super) meta: Meta,
    pub(super) parent_ino: u64,
    pub(super) fs: Weak<dyn FileSystem>,
    pub(super) source: Arc<dyn DirSource>,
}

impl TreeDir {
    /// What generates it.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn DirSource> {
        &self.source
    }
}

impl InodeOps for TreeDir {
    fn attr(&self) -> Result<Attr> {
        Ok(self.meta.attr(2 + self.source.subdirectories(), 0))
    }
    fn set_attr(&self, change: &AttrChange) -> Result<()> {
        Meta::set_attr(change)
    }
    fn open(&self, inode: &Arc<Inode>, _how: OpenHow) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(OpenDir {
            inode: inode.clone(),
        }))
    }
    fn as_dir(&self) -> Option<&dyn DirOps> {
        Some(self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl DirOps for TreeDir {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        let node = self.source.lookup(name)?;
        Ok(node.inode(
            &self.fs,
            self.meta.dev,
            child_ino(self.meta.ino, name),
            self.meta.ino,
        ))
    }
    fn still_valid(&self, name: &[u8], child: Option<&Arc<Inode>>) -> bool {
        self.source.still_valid(name, child)
    }
    // What Linux's proc and sysfs answer (no create operations: EACCES from vfs_create, EPERM from the rest).
    fn create(&self, _: &[u8], kind: NodeKind, _: u32, _: u32, _: u32) -> Result<Arc<Inode>> {
        Err(if kind == NodeKind::Regular {
            Errno::EACCES
        } else {
            Errno::EPERM
        })
    }
    fn symlink(&self, _: &[u8], _: &[u8], _: u32, _: u32) -> Result<Arc<Inode>> {
        Err(Errno::EPERM)
    }
    fn link(&self, _: &[u8], _: &Arc<Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }
    fn unlink(&self, _: &[u8], _: &Arc<Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }
    fn rmdir(&self, _: &[u8], _: &Arc<Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }
    fn rename(&self, _: &[u8], _: &Arc<Inode>, _: &[u8], _: u32) -> Result<()> {
        Err(Errno::EPERM)
    }
}

/// An open directory.
struct OpenDir {
    inode: Arc<Inode>,
}

impl FileOps for OpenDir {
    fn read_at(
        &self,
        _cx: crate::vfs::IoCx<'_>,
        _offset: u64,
        _dst: &mut dyn crate::vfs::Sink,
    ) -> crate::error::SysResult<usize> {
        Err(Errno::EISDIR.into())
    }
    fn seekable(&self) -> bool {
        true
    }
    fn readdir(&self, from: u64, emit: &mut dyn FnMut(&DirEntry) -> bool) -> Result<()> {
        let Some(dir) = self.inode.downcast::<TreeDir>() else {
            return Err(Errno::ENOTDIR);
        };
        let dots: [(&[u8], u64); 2] = [(b".", dir.meta.ino), (b"..", dir.parent_ino)];
        for (index, (name, ino)) in dots.into_iter().enumerate() {
            let next = index as u64 + 1;
            if from < next
                && !emit(&DirEntry {
                    name: name.to_vec(),
                    ino,
                    file_type: S_IFDIR,
                    next,
                })
            {
                return Ok(());
            }
        }
        dir.source
            .list(from.saturating_sub(2), &mut |name, file_type, next| {
                emit(&DirEntry {
                    name: name.to_vec(),
                    ino: child_ino(dir.meta.ino, name),
                    file_type,
                    next: next.saturating_add(2),
                })
            })
    }
    fn sync(&self, _data_only: bool) -> Result<()> {
        Err(Errno::EINVAL)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
