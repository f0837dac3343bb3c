//! tmpfs (`tmpfs(5)`, `mm/shmem.c`): a file system in memory.
//!
//! - [`Tmpfs`]: the file system; [`Options`]: its mount options.
//! - [`Node`]: an inode; directories hold their entries strongly, so the tree lives as long as the file system.
//! - [`content`]: the bytes of regular files, in host files that guests map. Also what memfds are made of.
//! - [`budget`]: what may still be allocated. [`Store`]: where bytes are kept.

pub(crate) mod budget;
pub(crate) mod content;
mod directory;
mod file;
mod node;
mod options;
mod store;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::fs::{S_IFDIR, Statfs};
use parking_lot::Mutex;

use budget::Budget;
use node::Kind;
pub use node::Node;
pub use options::Options;
pub use store::Store;

use crate::error::{Errno, Result};
use crate::vfs::{FileSystem, Inode, anonymous_dev};

/// TMPFS_MAGIC.
const MAGIC: i64 = 0x0102_1994;
const PAGE: u64 = 4096;

/// What all inodes of a tmpfs share.
pub(super) struct Shared {
    pub(super) fs: Weak<Tmpfs>,
    pub(super) dev: u64,
    pub(super) budget: Arc<Budget>,
    pub(super) store: Arc<dyn Store>,
    /// Held to change what involves more than one directory.
    pub(super) tree: Mutex<()>,
    next_ino: AtomicU64,
}

impl Shared {
    pub(super) fn next_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Ordering::Relaxed)
    }
}

/// A tmpfs.
pub struct Tmpfs {
    type_name: &'static str,
    shared: Arc<Shared>,
    root: Arc<Inode>,
    options: Mutex<Options>,
}

/// A limit as the budget wants it: 0 means none.
fn limit(value: Option<u64>) -> Option<u64> {
    value.filter(|n| *n != 0)
}

impl Tmpfs {
    /// A tmpfs without limits but those in `options`.
    pub fn new(options: &Options) -> Result<Arc<Self>> {
        Self::named("tmpfs", options, options)
    }

    /// A tmpfs whose larger files are kept in `store`.
    pub fn stored(options: &Options, store: Arc<dyn Store>) -> Result<Arc<Self>> {
        Self::make("tmpfs", options, options, store)
    }

    /// A tmpfs with the limits that Linux gives one of which nothing is said (`shmem_default_max_blocks`): half of `memory` (bytes), and an inode
    /// for each page of that. `type_name` is what mounts show (tmpfs, ramfs).
    pub fn sized(type_name: &'static str, options: &Options, memory: u64) -> Result<Arc<Self>> {
        let limits = Options {
            size: options.size.or(Some(memory / 2)),
            inodes: options.inodes.or(Some(memory / 2 / PAGE)),
            ..options.clone()
        };
        Self::named(type_name, options, &limits)
    }

    /// A tmpfs under another type name; `limits` hold where the shown `options` say nothing.
    fn named(type_name: &'static str, options: &Options, limits: &Options) -> Result<Arc<Self>> {
        Self::make(type_name, options, limits, Arc::new(store::Memory))
    }

    fn make(
        type_name: &'static str,
        options: &Options,
        limits: &Options,
        store: Arc<dyn Store>,
    ) -> Result<Arc<Self>> {
        let pages = limit(limits.size).map(|bytes| bytes.div_ceil(PAGE));
        let mut failure = None;
        let fs = Arc::new_cyclic(|fs: &Weak<Self>| {
            let shared = Arc::new(Shared {
                fs: fs.clone(),
                dev: anonymous_dev(),
                budget: Budget::new(pages, limit(limits.inodes)),
                store: store.clone(),
                tree: Mutex::new(()),
                next_ino: AtomicU64::new(1),
            });
            let mode = S_IFDIR | options.mode.unwrap_or(0o1777);
            let owner = (options.uid.unwrap_or(0), options.gid.unwrap_or(0));
            let kind = Kind::Directory(Mutex::default());
            let root = Node::make(&shared, kind, mode, 0, owner).unwrap_or_else(|errno| {
                failure = Some(errno);
                crate::fs::anon::inode(mode, 0, 0)
            });
            Self {
                type_name,
                shared,
                root,
                options: Mutex::new(options.clone()),
            }
        });
        match failure {
            Some(errno) => Err(errno),
            None => Ok(fs),
        }
    }

    /// Changes the limits (remount): `EINVAL` below what is used. What `options` leaves out stays.
    pub fn reconfigure(&self, options: &Options) -> Result<()> {
        let mut current = self.options.lock();
        let (pages, inodes) = self.shared.budget.usage();
        let pages = match options.size {
            Some(_) => limit(options.size).map(|bytes| bytes.div_ceil(PAGE)),
            None => limit(Some(pages.limit)),
        };
        let inodes = limit(options.inodes.or(Some(inodes.limit)));
        self.shared.budget.set_limits(pages, inodes)?;
        current.size = options.size.or(current.size);
        current.inodes = options.inodes.or(current.inodes);
        Ok(())
    }
}

impl FileSystem for Tmpfs {
    fn type_name(&self) -> &'static str {
        self.type_name
    }
    fn root(&self) -> Arc<Inode> {
        self.root.clone()
    }
    fn statfs(&self) -> Result<Statfs> {
        let (pages, inodes) = self.shared.budget.usage();
        if pages.limit == 0
            && let Some(around) = self.shared.store.statfs()
        {
            return Ok(Statfs {
                kind: MAGIC,
                fsid: [self.shared.dev as i32, 0],
                ..around
            });
        }
        Ok(Statfs {
            kind: MAGIC,
            bsize: PAGE as i64,
            blocks: pages.limit,
            bfree: pages.free,
            bavail: pages.free,
            files: inodes.limit,
            ffree: inodes.free,
            fsid: [self.shared.dev as i32, 0],
            namelen: 255,
            frsize: PAGE as i64,
            ..Statfs::default()
        })
    }
    fn dev(&self) -> u64 {
        self.shared.dev
    }
    fn reconfigure(&self, options: &[u8], memory: u64) -> Result<()> {
        let text = std::str::from_utf8(options).map_err(|_| Errno::EINVAL)?;
        Self::reconfigure(self, &Options::parse(text, memory)?)
    }
    fn options(&self) -> String {
        let options = self.options.lock();
        let mut text = String::new();
        let mut add = |part: String| {
            text.push(',');
            text.push_str(&part);
        };
        if let Some(size) = options.size {
            add(format!("size={}k", size.div_ceil(PAGE) * 4));
        }
        if let Some(inodes) = options.inodes {
            add(format!("nr_inodes={inodes}"));
        }
        if let Some(mode) = options.mode.filter(|mode| *mode != 0o1777) {
            add(format!("mode={mode:o}"));
        }
        if let Some(uid) = options.uid.filter(|uid| *uid != 0) {
            add(format!("uid={uid}"));
        }
        if let Some(gid) = options.gid.filter(|gid| *gid != 0) {
            add(format!("gid={gid}"));
        }
        text
    }
}

#[cfg(test)]
mod tests;
