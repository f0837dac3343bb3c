//! The file system behind the gofer: the container's root and its bind mounts.
//!
//! - [`special`]: sockets and FIFOs of the host.
//! - [`SharedTrees`]: locks, FIFOs and sockets of a volume that several containers, or one in two places, have mounted.
//! - [`Scratch`]: a directory for files without names.
//! - [`GoferFs`]: one tree of one gofer. [`node::Node`]: its inodes. [`file::GoferFile`]: open files over donated descriptors.
//! - [`Trust`]: what is believed of what was said before. [`watch::Watches`]: what the host tells of changes; [`dir_state::DirState`]: what is known
//!   of a directory, its names and own attributes, as long as nothing is told of it.
//!
//! Data goes straight to the donated descriptors; names and attributes go through messages. A regular file's attributes are not cached, since
//! writes of others are not told: they are read from a donated descriptor where there is one, else asked for, once in each
//! [`moment`](crate::vfs::moment).
//!
//! Lock order: a node's `watching`, a directory's state, descriptors and attributes are leaves; `inodes` → [`SharedFiles`]; messages are sent with none of them held
//! (the VFS holds the `names` of the directory that it looks into or changes).

mod attrs;
mod capability;
mod descriptors;
mod dir_state;
mod file;
mod names;
mod node;
mod scratch;
mod shared;
pub mod special;
pub mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use ::gofer::client::{Client, Entry, StatFs, SyncKind};
use abi::fs::Statfs;
use parking_lot::Mutex;

use crate::error::{Errno, Result};
use crate::vfs::{FileSystem, Inode};
use attrs::Under;
use node::Node;
pub use scratch::Scratch;
use shared::SharedFiles;
pub use shared::{SharedTrees, TreeId};
pub use special::HostAccess;
use watch::Watches;

/// What is believed of what the gofer said before.
#[derive(Clone)]
pub enum Trust {
    /// Nothing: it is asked again.
    Nothing,
    /// What watches would have told a change of.
    Watches(Arc<Watches>),
    /// Everything: nobody changes the tree, not even we (`--overlay2=root:memory`).
    Exclusive,
}

/// One tree of a gofer.
pub struct GoferFs {
    client: Client,
    trust: Trust,
    host_access: HostAccess,
    /// Inodes in use, so that one file is one inode: by device and inode number on the host.
    inodes: Mutex<HashMap<(u64, u64), Weak<Inode>>>,
    root: Mutex<Option<Arc<Inode>>>,
    dev: u64,
    /// What its files have in common with other trees of the same source.
    shared: Option<Arc<SharedFiles>>,
    me: Weak<Self>,
}

impl GoferFs {
    /// Attaches tree number `tree`. `shared` is for a tree whose source others may show as well.
    pub fn attach(
        client: Client,
        tree: u32,
        trust: Trust,
        host_access: HostAccess,
        shared: Option<Arc<SharedFiles>>,
    ) -> Result<Arc<Self>> {
        let entry = client.attach(tree)?;
        let dev = entry.attr.dev;
        let fs = Arc::new_cyclic(|me| Self {
            client,
            trust,
            host_access,
            inodes: Mutex::default(),
            root: Mutex::new(None),
            dev,
            shared,
            me: me.clone(),
        });
        let root = fs.inode(entry, Under::default());
        *fs.root.lock() = Some(root);
        Ok(fs)
    }

    fn inode(&self, entry: Entry, under: Under) -> Arc<Inode> {
        const SWEEP: usize = 1024;
        let key = (entry.attr.dev, entry.attr.ino);
        let mut inodes = self.inodes.lock();
        if let Some(known) = inodes.get(&key).and_then(Weak::upgrade) {
            if let Some(node) = known.downcast::<Node>() {
                node.learn_under(&entry.attr, under);
            }
            return known;
        }
        if inodes.len().is_multiple_of(SWEEP) {
            inodes.retain(|_, inode| inode.strong_count() > 0);
        }
        let weak: Weak<dyn FileSystem> = self.me.clone();
        let node = Box::new(Node::new(self, entry, under));
        let inode = match &self.shared {
            Some(shared) => Inode::showing(weak, node, shared.of(key)),
            None => Inode::new(weak, node),
        };
        inodes.insert(key, Arc::downgrade(&inode));
        inode
    }

    fn root_node<T>(&self, with: impl FnOnce(&Node) -> Result<T>) -> Result<T> {
        let root = self.root.lock().clone().ok_or(Errno::EIO)?;
        with(root.downcast::<Node>().ok_or(Errno::EIO)?)
    }
}

fn statfs_of(host: &StatFs) -> Statfs {
    Statfs {
        kind: host.magic as i64,
        bsize: host.bsize as i64,
        blocks: host.blocks,
        bfree: host.bfree,
        bavail: host.bavail,
        files: host.files,
        ffree: host.ffree,
        namelen: host.namelen as i64,
        frsize: host.frsize as i64,
        flags: host.flags as i64,
        ..Statfs::default()
    }
}

impl FileSystem for GoferFs {
    fn type_name(&self) -> &'static str {
        "gofer"
    }
    fn root(&self) -> Arc<Inode> {
        // Set by attach before anyone else sees the file system.
        self.root
            .lock()
            .clone()
            .unwrap_or_else(|| crate::fs::anon::inode(abi::fs::S_IFDIR, 0, 0))
    }
    fn statfs(&self) -> Result<Statfs> {
        self.root_node(|root| Ok(statfs_of(&self.client.statfs(root.remote())?)))
    }
    fn sync(&self) -> Result<()> {
        self.root_node(|root| self.client.sync(root.remote(), SyncKind::FileSystem))
    }
    fn dev(&self) -> u64 {
        self.dev
    }
}
