//! Nodes: `O_PATH` descriptors of what the client has walked to, by number.

#![forbid(unsafe_code)]

use crate::protocol::attr::FileType;
use crate::protocol::request::NodeId;
use abi::Errno;
use parking_lot::Mutex;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Something in a tree. Its descriptor pins the file, so that its type cannot change.
#[derive(Debug)]
pub(super) struct Node {
    fd: OwnedFd,
    /// Index of the tree.
    pub(super) tree: usize,
    pub(super) kind: FileType,
    /// The open directory while a client reads it, at the position that it will ask for next.
    pub(super) reading: Mutex<Option<OwnedFd>>,
}

impl Node {
    pub(super) fn new(fd: OwnedFd, tree: usize, kind: FileType) -> Self {
        Self {
            fd,
            tree,
            kind,
            reading: Mutex::new(None),
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// `ENOTDIR` unless this is a directory.
    pub(super) fn directory(&self) -> Result<BorrowedFd<'_>, Errno> {
        if self.kind == FileType::Directory {
            Ok(self.fd())
        } else {
            Err(Errno::ENOTDIR)
        }
    }
}

/// All nodes. An id is a slot and the slot's generation, so that a stale id finds nothing instead of another file.
#[derive(Debug)]
pub(super) struct NodeTable {
    slots: Mutex<Slots>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    node: Option<Arc<Node>>,
}

impl NodeTable {
    /// A table of at most `limit` nodes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            slots: Mutex::default(),
            limit,
        }
    }

    /// The node behind an id; `EBADF` if there is none.
    pub(super) fn get(&self, id: NodeId) -> Result<Arc<Node>, Errno> {
        let (index, generation) = split(id);
        let slots = self.slots.lock();
        let slot = slots
            .slots
            .get(index)
            .filter(|slot| slot.generation == generation)
            .ok_or(Errno::EBADF)?;
        slot.node.clone().ok_or(Errno::EBADF)
    }

    /// Gives a node an id; `EMFILE` when the table is full and the client should release some.
    pub(super) fn insert(&self, node: Arc<Node>) -> Result<NodeId, Errno> {
        let mut slots = self.slots.lock();
        let index = match slots.free.pop() {
            Some(index) => index,
            None => {
                let index = slots.slots.len();
                if index >= self.limit {
                    return Err(Errno::EMFILE);
                }
                slots.slots.push(Slot::default());
                u32::try_from(index).map_err(|_| Errno::EMFILE)?
            }
        };
        let slot = slots.slots.get_mut(index as usize).ok_or(Errno::EMFILE)?;
        slot.node = Some(node);
        Ok(NodeId(u64::from(slot.generation) << 32 | u64::from(index)))
    }

    /// Forgets a node. Ids that mean nothing are ignored: the client can hurt only itself.
    pub(super) fn release(&self, id: NodeId) {
        let (index, generation) = split(id);
        let mut slots = self.slots.lock();
        let Some(slot) = slots
            .slots
            .get_mut(index)
            .filter(|slot| slot.generation == generation)
        else {
            return;
        };
        let node = slot.node.take();
        slot.generation = slot.generation.wrapping_add(1);
        if node.is_some() {
            slots.free.push((id.0 & 0xffff_ffff) as u32);
        }
        // The descriptor is closed after the lock is gone.
        drop(slots);
        drop(node);
    }
}

fn split(id: NodeId) -> (usize, u32) {
    ((id.0 & 0xffff_ffff) as usize, (id.0 >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Arc<Node> {
        Arc::new(Node::new(
            std::fs::File::open("/").unwrap().into(),
            0,
            FileType::Directory,
        ))
    }

    #[test]
    fn a_stale_id_finds_nothing_and_slots_are_reused() {
        let table = NodeTable::new(2);
        let first = table.insert(node()).unwrap();
        table.release(first);
        table.release(first);
        table.release(NodeId(u64::MAX));
        let second = table.insert(node()).unwrap();
        assert_ne!(first, second);
        assert_eq!(table.get(first).unwrap_err(), Errno::EBADF);
        assert!(table.get(second).is_ok());
        table.insert(node()).unwrap();
        assert_eq!(table.insert(node()).unwrap_err(), Errno::EMFILE);
    }
}
