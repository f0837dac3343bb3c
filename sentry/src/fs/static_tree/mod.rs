//! Read-mostly file systems made of generators: the common part of proc, sysfs, the cgroup view and devpts' kin.
//!
//! - [`Node`]: a description of a file, directory or link; cheap to clone. An inode is made of it when a name is looked up.
//! - [`FileSource`], [`DirSource`], [`LinkSource`]: what generates contents. Closures do for most: see [`Node::text`], [`Node::dir`], [`Node::link`].
//! - [`TreeFs`]: the file system instance.
//!
//! A file's text is generated when it is read at offset 0 and kept for the description, as `seq_file` does. No locks but a description's snapshot
//! (leaf; not held while generating).

mod dir;
mod file;
mod link;
mod node;

use std::sync::Arc;

use abi::fs::Statfs;
use abi::time::Timespec;

use crate::error::{Errno, Result};
use crate::task::Task;
use crate::task::creds::Creds;
use crate::task::user_ns::UserNamespace;
use crate::vfs::{Attr, AttrChange, FileSystem, Inode, anonymous_dev};

pub(crate) use dir::list_numbers;
pub use dir::{DirSource, EmitName, TreeDir};
pub use file::{FileSource, TreeFile};
pub use link::{LinkSource, TreeLink};
pub use node::{Kind, Node};

/// Who reads or writes a generated file.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The task; `None` when the kernel itself does.
    pub task: Option<&'a Arc<Task>>,
    /// Who opened the file, where that is known.
    pub opener: Option<&'a Arc<Creds>>,
}

impl<'a> Reader<'a> {
    /// The user namespace of who opened the file: what names of ids in it mean.
    #[must_use]
    pub fn users(&self) -> Arc<UserNamespace> {
        let opener = self.opener.cloned();
        opener
            .or_else(|| self.task.map(|task| task.creds()))
            .map_or_else(UserNamespace::initial, |creds| creds.user_ns.clone())
    }
    /// The task, or `ESRCH`.
    pub fn require(&self) -> Result<&'a Arc<Task>> {
        self.task.ok_or(Errno::ESRCH)
    }
}

/// Gives uid and gid of a node whose owner changes.
pub type OwnerFn = Arc<dyn Fn() -> (u32, u32) + Send + Sync>;

/// What all inodes of a tree have.
#[derive(Clone)]
pub struct Meta {
    /// Device number of the file system.
    dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permissions.
    mode: u32,
    /// `None`: root.
    owner: Option<OwnerFn>,
    born: Timespec,
}

impl Meta {
    fn attr(&self, nlink: u64, size: u64) -> Attr {
        let (uid, gid) = self.owner.as_ref().map_or((0, 0), |owner| owner());
        Attr {
            dev: self.dev,
            ino: self.ino,
            mode: self.mode,
            nlink,
            uid,
            gid,
            rdev: 0,
            size,
            blksize: 1024,
            blocks: 0,
            atime: self.born,
            mtime: self.born,
            ctime: self.born,
            btime: None,
        }
    }

    /// Truncation is ignored (shells open with O_TRUNC); all else is refused.
    fn set_attr(change: &AttrChange) -> Result<()> {
        if change.mode.is_some() || change.uid.is_some() || change.gid.is_some() {
            return Err(Errno::EPERM);
        }
        Ok(())
    }
}

/// A stable inode number for `name` in the directory with number `parent`.
#[must_use]
pub fn child_ino(parent: u64, name: &[u8]) -> u64 {
    // FNV-1a; 48 bits keep it readable and never 0.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ parent;
    for byte in name {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash & 0xffff_ffff_ffff) | 2
}

/// A file system made of [`Node`]s.
pub struct TreeFs {
    type_name: &'static str,
    magic: i64,
    dev: u64,
    options: String,
    root: Arc<Inode>,
}

impl TreeFs {
    /// An instance. `magic` is `statfs`'s `f_type`, `options` what `/proc/mounts` shows (starting with a comma, or empty).
    #[must_use]
    pub fn new(type_name: &'static str, magic: i64, options: String, root: &Node) -> Arc<Self> {
        Arc::new_cyclic(|weak: &std::sync::Weak<Self>| {
            let dev = anonymous_dev();
            let fs: std::sync::Weak<dyn FileSystem> = weak.clone();
            Self {
                type_name,
                magic,
                dev,
                options,
                root: root.inode(&fs, dev, 1, 1),
            }
        })
    }
}

impl FileSystem for TreeFs {
    fn type_name(&self) -> &'static str {
        self.type_name
    }
    fn root(&self) -> Arc<Inode> {
        self.root.clone()
    }
    fn statfs(&self) -> Result<Statfs> {
        Ok(Statfs {
            kind: self.magic,
            bsize: 4096,
            namelen: 255,
            frsize: 4096,
            ..Statfs::default()
        })
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn options(&self) -> String {
        self.options.clone()
    }
}
