//! Finding and describing: attach, walk, getattr, readlink, statfs.

#![forbid(unsafe_code)]

use super::TreeConfig;
use super::node::Node;
use super::open::reopen;
use super::path::{errno, open_beneath};
use super::worker::Worker;
use crate::host;
use crate::protocol::attr::{Attr, FileType, StatFs};
use crate::protocol::reply::{LookupReply, NodeReply, WalkReply};
use crate::protocol::request::{NodeId, Want, WatchMask};
use crate::protocol::wire::{Encoder, Wire};
use abi::Errno;
use nix::fcntl::{OFlag, readlinkat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

impl Worker {
    pub(super) fn attach(&self, tree: u32) -> Result<NodeReply, Errno> {
        let index = usize::try_from(tree).map_err(|_| Errno::ENOENT)?;
        let root = &self.shared.trees.get(index).ok_or(Errno::ENOENT)?.root;
        self.adopt(root.try_clone().map_err(Errno::from)?, index)
    }

    pub(super) fn walk(&self, start: NodeId, names: &[&[u8]]) -> Result<WalkReply, Errno> {
        let start = self.node(start)?;
        start.directory()?;
        let mut nodes: Vec<NodeReply> = Vec::with_capacity(names.len());
        let mut current = start;
        let mut error = None;
        for name in names {
            if current.kind != FileType::Directory {
                break;
            }
            let step = open_beneath(current.fd(), name, OFlag::O_PATH, 0)
                .and_then(|fd| self.admit(fd, current.tree));
            match step {
                Ok((reply, next)) => {
                    current = next;
                    nodes.push(reply);
                }
                Err(failure) => {
                    error = Some(failure);
                    break;
                }
            }
        }
        Ok(WalkReply { nodes, error })
    }

    /// One component, with what the client will ask for next.
    pub(super) fn lookup(
        &self,
        parent: NodeId,
        name: &[u8],
        want: Want,
        reply: &mut Encoder,
    ) -> Result<Option<OwnedFd>, Errno> {
        let parent = self.node(parent)?;
        let directory = parent.directory()?;
        let found = open_beneath(directory, name, OFlag::O_PATH, 0)
            .and_then(|fd| self.admit(fd, parent.tree));
        let (mut watch, mut file) = (None, None);
        let found = found.map(|(mut found, node)| {
            if want.contains(Want::OPEN) && node.kind == FileType::Regular {
                let how = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
                file = reopen(&node, how).ok();
            }
            if want.contains(Want::WATCH)
                && node.kind == FileType::Directory
                // What cannot be watched is asked for again and again instead.
                && let Ok(Some((id, attr))) = self.watch_node(&node, WatchMask::CACHE)
            {
                watch = Some(id);
                found.attr = attr;
            }
            found
        });
        LookupReply { watch, found }.put(reply);
        Ok(file)
    }

    pub(super) fn getattr(&self, node: NodeId) -> Result<Attr, Errno> {
        let node = self.node(node)?;
        self.attr_of(node.fd(), self.tree(&node)?)
    }

    pub(super) fn readlink(&self, node: NodeId) -> Result<Box<[u8]>, Errno> {
        let node = self.node(node)?;
        if node.kind != FileType::Symlink {
            return Err(Errno::EINVAL);
        }
        read_target(node.fd())
    }

    pub(super) fn statfs(&self, node: NodeId) -> Result<StatFs, Errno> {
        host::statfs(self.any_node(node)?.fd())
    }

    /// Attributes with the ids that the container sees.
    pub(super) fn attr_of(&self, fd: BorrowedFd<'_>, tree: &TreeConfig) -> Result<Attr, Errno> {
        let mut attr = host::statx(fd)?;
        attr.uid = tree.ids.user_from_host(attr.uid);
        attr.gid = tree.ids.group_from_host(attr.gid);
        Ok(attr)
    }

    /// Makes an `O_PATH` descriptor a node and describes it.
    pub(super) fn adopt(&self, fd: OwnedFd, tree: usize) -> Result<NodeReply, Errno> {
        self.admit(fd, tree).map(|(reply, _)| reply)
    }

    fn admit(&self, fd: OwnedFd, tree: usize) -> Result<(NodeReply, Arc<Node>), Errno> {
        let config = self.shared.trees.get(tree).ok_or(Errno::EBADF)?;
        let attr = self.attr_of(fd.as_fd(), config)?;
        let target = if attr.kind() == FileType::Symlink {
            Some(read_target(fd.as_fd())?)
        } else {
            None
        };
        let node = Arc::new(Node::new(fd, tree, attr.kind()));
        let id = self.shared.nodes.insert(Arc::clone(&node))?;
        Ok((
            NodeReply {
                node: id,
                attr,
                target,
            },
            node,
        ))
    }
}

fn read_target(link: BorrowedFd<'_>) -> Result<Box<[u8]>, Errno> {
    Ok(readlinkat(link, "")
        .map_err(errno)?
        .into_vec()
        .into_boxed_slice())
}
