//! Names of the overlay's directories.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::fs::{RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT};

use super::node::{Entry, Node};
use crate::error::{Errno, Result};
use crate::vfs::{AttrChange, DirOps, Inode, NodeKind, SetTime};

impl Node {
    /// What `name` leads to in the lower directory.
    fn lookup_lower(&self, name: &[u8], to_read: bool) -> Result<Arc<Inode>> {
        let lower = self.lower.as_ref().ok_or(Errno::ENOENT)?;
        if to_read {
            lower.dir()?.lookup_to_read(name)
        } else {
            lower.dir()?.lookup(name)
        }
    }

    fn find(&self, name: &[u8], to_read: bool) -> Result<Arc<Inode>> {
        match self.entries.lock().get(name) {
            Some(Entry::Here(inode)) => return Ok(inode.clone()),
            Some(Entry::Gone) => return Err(Errno::ENOENT),
            None => {}
        }
        let lower = self.lookup_lower(name, to_read)?;
        let inode = self.fs()?.node_of_lower(lower)?;
        let child = Self::of(&inode)?;
        if child.is_dir() {
            child.parent_ino.store(self.ino, Ordering::Relaxed);
        }
        Ok(inode)
    }

    /// Whether the lower directory has `name`, so that removing it needs a whiteout.
    fn lower_has(&self, name: &[u8]) -> Result<bool> {
        match self.lookup_lower(name, false) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Before names change: the directory gets an upper inode. `ENOENT` if it was removed.
    fn prepare_change(&self) -> Result<Arc<Inode>> {
        if self.links.load(Ordering::Relaxed) == 0 {
            return Err(Errno::ENOENT);
        }
        self.copy_up(u64::MAX)
    }

    fn touch(upper: &Inode) -> Result<()> {
        upper.ops().set_attr(&AttrChange {
            mtime: Some(SetTime::Now),
            ..AttrChange::default()
        })
    }

    /// Enters a name.
    fn enter(&self, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        let child = Self::of(inode)?;
        if child.is_dir() {
            self.subdirs.fetch_add(1, Ordering::Relaxed);
            child.parent_ino.store(self.ino, Ordering::Relaxed);
        }
        let old = self
            .entries
            .lock()
            .insert(name.to_vec(), Entry::Here(inode.clone()));
        drop(old);
        Ok(())
    }

    /// Takes a name out. `covered`: the lower directory has it.
    fn leave(&self, name: &[u8], was_dir: bool, covered: bool) {
        if was_dir {
            self.subdirs.fetch_sub(1, Ordering::Relaxed);
        }
        let mut entries = self.entries.lock();
        let old = if covered {
            entries.insert(name.to_vec(), Entry::Gone)
        } else {
            entries.remove(name)
        };
        drop(entries);
        drop(old);
    }

    /// One name less leads to `inode`: it is kept alive no longer than it is used once there is none.
    fn drop_link(inode: &Arc<Inode>) -> Result<()> {
        let node = Self::of(inode)?;
        let fs = node.fs()?;
        let left = if node.is_dir() {
            0
        } else {
            node.links.load(Ordering::Relaxed).saturating_sub(1)
        };
        node.links.store(left, Ordering::Relaxed);
        if left == 0 {
            fs.unpin(node.ino);
        } else {
            fs.pin(node.ino, inode);
        }
        Ok(())
    }

    fn adopt(&self, name: &[u8], upper_dir: &Inode, upper: Arc<Inode>) -> Result<Arc<Inode>> {
        let fs = self.fs()?;
        let inode = fs.node_of_upper(upper, 1)?;
        fs.pin(Self::of(&inode)?.ino, &inode);
        self.enter(name, &inode)?;
        Self::touch(upper_dir)?;
        Ok(inode)
    }

    fn check_free(&self, name: &[u8]) -> Result<()> {
        match self.lookup(name) {
            Ok(_) => Err(Errno::EEXIST),
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

impl DirOps for Node {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        self.find(name, false)
    }

    fn lookup_to_read(&self, name: &[u8]) -> Result<Arc<Inode>> {
        self.find(name, true)
    }

    fn create(
        &self,
        name: &[u8],
        kind: NodeKind,
        mode: u32,
        uid: u32,
        gid: u32,
    ) -> Result<Arc<Inode>> {
        self.check_free(name)?;
        let dir = self.prepare_change()?;
        let upper = self.fs()?.new_upper(kind, mode, uid, gid)?;
        self.adopt(name, &dir, upper)
    }

    fn symlink(&self, name: &[u8], target: &[u8], uid: u32, gid: u32) -> Result<Arc<Inode>> {
        self.check_free(name)?;
        let dir = self.prepare_change()?;
        let upper = self.fs()?.new_upper_symlink(target, uid, gid)?;
        self.adopt(name, &dir, upper)
    }

    fn link(&self, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        self.check_free(name)?;
        let node = Self::of(inode)?;
        let dir = self.prepare_change()?;
        // As overlayfs does: a linked file is one of ours from then on.
        let upper = node.copy_up(u64::MAX)?;
        // The number of links is the overlay's; the time of its change is the upper inode's.
        upper.ops().set_attr(&AttrChange::default())?;
        node.links.fetch_add(1, Ordering::Relaxed);
        self.fs()?.pin(node.ino, inode);
        self.enter(name, inode)?;
        Self::touch(&dir)
    }

    fn unlink(&self, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        let dir = self.prepare_change()?;
        let covered = self.lower_has(name)?;
        self.leave(name, false, covered);
        Self::drop_link(inode)?;
        Self::touch(&dir)
    }

    fn rmdir(&self, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        if !Self::of(inode)?.is_empty()? {
            return Err(Errno::ENOTEMPTY);
        }
        let dir = self.prepare_change()?;
        let covered = self.lower_has(name)?;
        self.leave(name, true, covered);
        Self::drop_link(inode)?;
        Self::touch(&dir)
    }

    fn rename(&self, name: &[u8], new_dir: &Arc<Inode>, new_name: &[u8], flags: u32) -> Result<()> {
        // A whiteout of a guest's own would have to be told from ours; overlayfs refuses it too.
        if flags & RENAME_WHITEOUT != 0 {
            return Err(Errno::EINVAL);
        }
        let target_dir = Self::of(new_dir)?;
        let source = self.lookup(name)?;
        let source_is_dir = Self::of(&source)?.is_dir();
        let target = match target_dir.lookup(new_name) {
            Ok(_) if flags & RENAME_NOREPLACE != 0 => return Err(Errno::EEXIST),
            Ok(target) => Some(target),
            Err(Errno::ENOENT) => None,
            Err(errno) => return Err(errno),
        };
        let covered = self.lower_has(name)?;
        if flags & RENAME_EXCHANGE != 0 {
            let target = target.ok_or(Errno::ENOENT)?;
            let target_covered = target_dir.lower_has(new_name)?;
            let (old_upper, new_upper) = (self.prepare_change()?, target_dir.prepare_change()?);
            self.leave(name, source_is_dir, covered);
            target_dir.leave(new_name, Self::of(&target)?.is_dir(), target_covered);
            self.enter(name, &target)?;
            target_dir.enter(new_name, &source)?;
            Self::touch(&old_upper)?;
            return Self::touch(&new_upper);
        }
        if let Some(target) = &target {
            let node = Self::of(target)?;
            match (source_is_dir, node.is_dir()) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) if !node.is_empty()? => return Err(Errno::ENOTEMPTY),
                _ => {}
            }
        }
        let (old_upper, new_upper) = (self.prepare_change()?, target_dir.prepare_change()?);
        if let Some(target) = &target {
            let was_dir = Self::of(target)?.is_dir();
            target_dir.leave(new_name, was_dir, false);
            Self::drop_link(target)?;
        }
        self.leave(name, source_is_dir, covered);
        target_dir.enter(new_name, &source)?;
        Self::touch(&old_upper)?;
        Self::touch(&new_upper)
    }

    fn tmpfile(&self, mode: u32, uid: u32, gid: u32) -> Result<Arc<Inode>> {
        let fs = self.fs()?;
        let upper = fs.new_upper(NodeKind::Regular, mode, uid, gid)?;
        fs.node_of_upper(upper, 0)
    }
}
