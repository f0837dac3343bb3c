//! A channel's thread: receive, decode, dispatch, answer.

#![forbid(unsafe_code)]

use super::node::Node;
use super::path::errno;
use super::{Shared, TreeConfig};
use crate::protocol::reply::{Welcome, put_errno};
use crate::protocol::request::{NodeId, Request, WatchId};
use crate::protocol::wire::{Decoder, Encoder, Malformed, Wire};
use crate::protocol::{MAX_MESSAGE, POLL, RELEASE_MAX, SLEEP, VERSION, XATTR_MAX, socket};
use abi::Errno;
use nix::sched::{CloneFlags, sched_getcpu, unshare};
use nix::sys::stat::{Mode, umask};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// What a channel's thread has of its own.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    /// For what the host returns in bulk: directory entries, extended attributes.
    pub(super) scratch: Box<[u8]>,
    /// How long to look for the next request before sleeping.
    poll: Duration,
    /// The client has shown the right version on this channel.
    welcomed: bool,
}

/// Answers the requests of one channel until it is closed.
pub(super) fn run(shared: Arc<Shared>, channel: &OwnedFd) -> Result<(), Errno> {
    // Working directory and umask become this thread's own; `FdPath` rests on the directory.
    unshare(CloneFlags::CLONE_FS).map_err(errno)?;
    nix::unistd::fchdir(&shared.proc_self_fd).map_err(errno)?;
    umask(Mode::empty());

    let mut worker = Worker {
        shared,
        scratch: vec![0; XATTR_MAX].into_boxed_slice(),
        poll: Duration::ZERO,
        welcomed: false,
    };
    let mut buffer = socket::buffer();
    let mut reply = Encoder::new();
    loop {
        reply.clear();
        let outcome = match socket::receive(channel.as_fd(), &mut buffer, worker.poll) {
            Ok(None) => return Ok(()),
            Ok(Some(message)) => worker.answer(message, &mut reply),
            // Longer than any request.
            Err(Errno::EMSGSIZE) => Err(Errno::EPROTO),
            Err(error) => return Err(error),
        };
        let donated = match outcome {
            Ok(donated) if !reply.overflowed() => donated,
            failed => {
                reply.clear();
                worker.put_head(Some(failed.err().unwrap_or(Errno::EMSGSIZE)), &mut reply);
                None
            }
        };
        match socket::send(
            channel.as_fd(),
            reply.bytes(),
            donated.as_ref().map(AsFd::as_fd),
        ) {
            Err(Errno::EPIPE) => return Ok(()),
            other => other?,
        }
    }
}

impl Worker {
    /// Carries out one message. On success the reply is complete; a descriptor goes with it.
    fn answer(&mut self, message: &[u8], reply: &mut Encoder) -> Result<Option<OwnedFd>, Errno> {
        let mut from = Decoder::new(message);
        let request = self.decode(&mut from).map_err(|Malformed| Errno::EPROTO)?;
        from.finish().map_err(|Malformed| Errno::EPROTO)?;
        self.put_head(None, reply);
        self.dispatch(request, reply)
    }

    /// What every reply begins with.
    fn put_head(&self, error: Option<Errno>, reply: &mut Encoder) {
        put_errno(error, reply);
        u8::from(!self.poll.is_zero()).put(reply);
    }

    /// Does the releases and returns the request behind them.
    fn decode<'a>(&mut self, from: &mut Decoder<'a>) -> Result<Request<'a>, Malformed> {
        self.poll = match u16::get(from)? {
            SLEEP => Duration::ZERO,
            client if sched_getcpu().is_ok_and(|own| own != usize::from(client)) => POLL,
            _ => Duration::ZERO,
        };
        let releases = usize::from(u16::get(from)?);
        if releases > RELEASE_MAX {
            return Err(Malformed);
        }
        for _ in 0..releases {
            self.shared.nodes.release(NodeId::get(from)?);
        }
        let watches = usize::from(u16::get(from)?);
        if watches > RELEASE_MAX {
            return Err(Malformed);
        }
        for _ in 0..watches {
            self.shared.watcher.remove(WatchId::get(from)?);
        }
        Request::get(from)
    }

    fn dispatch(
        &mut self,
        request: Request<'_>,
        reply: &mut Encoder,
    ) -> Result<Option<OwnedFd>, Errno> {
        if let Request::Hello { version } = request {
            return self.hello(version, reply).map(Some);
        }
        if !self.welcomed {
            return Err(Errno::EPROTO);
        }
        match request {
            Request::Hello { .. } | Request::Release {} => {}
            Request::Attach { tree } => self.attach(tree)?.put(reply),
            Request::Walk { node, names } => self.walk(node, &names.0)?.put(reply),
            Request::GetAttr { node } => self.getattr(node)?.put(reply),
            Request::SetAttr { node, changes } => self.setattr(node, &changes)?.put(reply),
            Request::Open { node, flags } => return self.open(node, flags, reply).map(Some),
            Request::Create {
                parent,
                name,
                flags,
                owner,
            } => return self.create(parent, name, flags, owner, reply).map(Some),
            Request::Mkdir {
                parent,
                name,
                owner,
            } => self.mkdir(parent, name, owner)?.put(reply),
            Request::Symlink {
                parent,
                name,
                target,
                owner,
            } => self.symlink(parent, name, target, owner)?.put(reply),
            Request::Mknod {
                parent,
                name,
                kind,
                owner,
            } => self.mknod(parent, name, kind, owner)?.put(reply),
            Request::Readlink { node } => self.readlink(node)?.put(reply),
            Request::Link { node, parent, name } => self.link(node, parent, name)?.put(reply),
            Request::Unlink { parent, name, kind } => self.unlink(parent, name, kind)?,
            Request::Rename {
                old_parent,
                old_name,
                new_parent,
                new_name,
                flags,
            } => {
                self.rename(old_parent, old_name, new_parent, new_name, flags)?;
            }
            Request::ReadDir { node, cursor } => self.readdir(node, cursor, reply)?,
            Request::StatFs { node } => self.statfs(node)?.put(reply),
            Request::GetXattr { node, name } => self.getxattr(node, name)?.put(reply),
            Request::SetXattr {
                node,
                name,
                value,
                flags,
            } => self.setxattr(node, name, value, flags)?,
            Request::ListXattr { node } => self.listxattr(node)?.put(reply),
            Request::RemoveXattr { node, name } => self.removexattr(node, name)?,
            Request::TmpFile {
                parent,
                flags,
                owner,
            } => return self.tmpfile(parent, flags, owner, reply).map(Some),
            Request::Sync { node, kind } => self.sync(node, kind)?,
            Request::Watch { node, mask } => self.watch(node, mask)?.put(reply),
            Request::Connect { node, kind } => return self.connect(node, kind).map(Some),
            Request::Lookup { parent, name, want } => {
                return self.lookup(parent, name, want, reply);
            }
        }
        Ok(None)
    }

    fn hello(&mut self, version: u32, reply: &mut Encoder) -> Result<OwnedFd, Errno> {
        if version != VERSION {
            return Err(Errno::EPROTONOSUPPORT);
        }
        self.welcomed = true;
        let trees = u32::try_from(self.shared.trees.len()).map_err(|_| Errno::EOVERFLOW)?;
        Welcome {
            version: VERSION,
            trees,
        }
        .put(reply);
        self.shared.watcher.queue()
    }

    /// The tree that a node is in.
    pub(super) fn tree(&self, node: &Node) -> Result<&TreeConfig, Errno> {
        self.shared.trees.get(node.tree).ok_or(Errno::EBADF)
    }

    /// The tree that a node is in, if it may be changed.
    pub(super) fn writable(&self, node: &Node) -> Result<&TreeConfig, Errno> {
        let tree = self.tree(node)?;
        if tree.read_only {
            Err(Errno::EROFS)
        } else {
            Ok(tree)
        }
    }

    /// A node that may be looked into: `EACCES` in a scratch tree.
    pub(super) fn node(&self, id: NodeId) -> Result<Arc<Node>, Errno> {
        let node = self.any_node(id)?;
        if self.tree(&node)?.scratch {
            Err(Errno::EACCES)
        } else {
            Ok(node)
        }
    }

    /// A node for what is allowed in a scratch tree, too.
    pub(super) fn any_node(&self, id: NodeId) -> Result<Arc<Node>, Errno> {
        self.shared.nodes.get(id)
    }
}

const _: () = assert!(XATTR_MAX + 64 <= MAX_MESSAGE);
