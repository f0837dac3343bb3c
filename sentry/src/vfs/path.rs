//! Places: a name as seen through a mount.

use std::sync::Arc;

use super::{Dentry, FsContext, Inode, Mount};
use crate::error::{Errno, Result};

/// A place: a dentry as seen through a mount.
#[derive(Clone)]
pub struct Path {
    /// Through which mount.
    pub mount: Arc<Mount>,
    /// Which name.
    pub dentry: Arc<Dentry>,
}

impl Path {
    /// The inode there.
    #[must_use]
    pub fn inode(&self) -> &Arc<Inode> {
        self.dentry.inode()
    }
    /// Whether both are the same place.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }
    /// `EROFS` if the mount is read-only.
    pub fn check_writable(&self) -> Result<()> {
        if self.mount.is_read_only() {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }
    /// One step towards the root, over mount points; `None` at `root` and at the very top.
    #[must_use]
    pub fn parent(&self, root: Option<&Self>) -> Option<Self> {
        let mut at = self.clone();
        loop {
            if root.is_some_and(|root| at.same(root)) {
                return None;
            }
            if Arc::ptr_eq(&at.dentry, &at.mount.root) {
                at = at.mount.point()?;
                continue;
            }
            return at.dentry.parent().map(|dentry| Self {
                mount: at.mount.clone(),
                dentry,
            });
        }
    }
    /// As `d_path`: from the root of `fs`, with `(unreachable)` in front if it is not below, ` (deleted)` behind if the name is gone.
    #[must_use]
    pub fn display(&self, fs: &FsContext) -> Vec<u8> {
        let root = fs.root();
        let (mut text, reached) = self.components(Some(&root));
        if !reached {
            text.splice(0..0, b"(unreachable)".iter().copied());
        }
        if self.dentry.is_unlinked() {
            text.extend_from_slice(b" (deleted)");
        }
        text
    }
    /// The text from `root` (or the very top), and whether `root` was met.
    #[must_use]
    pub fn components(&self, root: Option<&Self>) -> (Vec<u8>, bool) {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut at = self.clone();
        let reached = loop {
            if root.is_some_and(|root| at.same(root)) {
                break true;
            }
            if Arc::ptr_eq(&at.dentry, &at.mount.root) {
                match at.mount.point() {
                    Some(point) => at = point,
                    None => break root.is_none_or(|root| at.same(root)),
                }
                continue;
            }
            names.push(at.dentry.name());
            match at.dentry.parent() {
                Some(parent) => at.dentry = parent,
                None => break false,
            }
        };
        let mut text = Vec::new();
        for name in names.iter().rev() {
            text.push(b'/');
            text.extend_from_slice(name);
        }
        if text.is_empty() {
            text.push(b'/');
        }
        (text, reached)
    }
}
