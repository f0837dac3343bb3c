//! Watches on directories.
//!
//! The server adds and ends watches; their events go to the client, which holds the inotify instance too and reads it when
//! it needs to know. Nobody here is woken by a change, and nothing here grows: the host bounds the queue and says so.

#![forbid(unsafe_code)]

use super::node::Node;
use super::path::FdPath;
use super::worker::Worker;
use crate::host;
use crate::protocol::attr::Attr;
use crate::protocol::request::{NodeId, WatchId, WatchMask};
use abi::Errno;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};

/// The server's one inotify instance.
#[derive(Debug)]
pub(super) struct Watcher {
    inotify: OwnedFd,
    /// Watches that the client has not ended, to keep within `limit`.
    watches: Mutex<HashSet<WatchId>>,
    limit: usize,
}

impl Worker {
    /// Watches a directory and reads its attributes; `None` when no watch can be had and the client must ask for attributes instead.
    pub(super) fn watch(
        &self,
        node: NodeId,
        mask: WatchMask,
    ) -> Result<Option<(WatchId, Attr)>, Errno> {
        let node = self.node(node)?;
        self.watch_node(&node, mask)
    }

    pub(super) fn watch_node(
        &self,
        node: &Node,
        mask: WatchMask,
    ) -> Result<Option<(WatchId, Attr)>, Errno> {
        let directory = node.directory()?;
        if !tells_of_changes(host::statfs(directory)?.magic) {
            return Ok(None);
        }
        let path = FdPath::of(directory);
        let watcher = &self.shared.watcher;
        let mut watches = watcher.watches.lock();
        if watches.len() >= watcher.limit {
            return Ok(None);
        }
        // Several nodes may be one directory, hence one watch: its mask only grows.
        let mask = mask.bits()
            | libc::IN_DELETE_SELF
            | libc::IN_MOVE_SELF
            | libc::IN_EXCL_UNLINK
            | libc::IN_MASK_ADD;
        let watch = match host::inotify_add(watcher.inotify.as_fd(), path.as_cstr(), mask) {
            Ok(watch) => WatchId(watch),
            Err(Errno::ENOSPC) => return Ok(None),
            Err(error) => return Err(error),
        };
        watches.insert(watch);
        drop(watches);
        let attr = self.attr_of(directory, self.tree(node)?)?;
        Ok(Some((watch, attr)))
    }
}

impl Watcher {
    pub(super) fn new(limit: usize) -> Result<Self, Errno> {
        Ok(Self {
            inotify: host::inotify_new()?,
            watches: Mutex::default(),
            limit,
        })
    }

    /// The instance, for the client to read. It gives no way to a file: watches are added by path, and the client has no
    /// call for that.
    pub(super) fn queue(&self) -> Result<OwnedFd, Errno> {
        self.inotify.try_clone().map_err(Errno::from)
    }

    /// Ends a watch, which may have ended by itself. The host confirms it in the queue.
    pub(super) fn remove(&self, watch: WatchId) {
        let mut watches = self.watches.lock();
        if watches.remove(&watch) {
            // EINVAL: the directory is gone.
            let _ = host::inotify_remove(self.inotify.as_fd(), watch.0);
        }
    }
}

/// Whether every change of a file system of this kind passes this host's kernel, so that inotify sees it. What others
/// change on a server or behind FUSE it does not see.
fn tells_of_changes(magic: u64) -> bool {
    /// `statfs(2)`: ext2/3/4, XFS, Btrfs, tmpfs, ramfs, overlayfs, F2FS, ZFS, bcachefs, SquashFS, EROFS, ISO 9660, UDF,
    /// FAT, NTFS3, eCryptfs.
    const LOCAL: [u64; 16] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0x0102_1994,
        0x8584_58f6,
        0x794c_7630,
        0xf2f5_2010,
        0x2fc1_2fc1,
        0xca45_1a4e,
        0x7371_7368,
        0xe0f5_e1e2,
        0x9660,
        0x1501_3346,
        0x4d44,
        0x7366_746e,
        0xf15f,
    ];
    LOCAL.contains(&magic)
}
