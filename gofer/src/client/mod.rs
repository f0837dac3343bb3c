//! The sentry's side: one blocking method per operation, from any number of threads.
//!
//! Key types: [`Client`] (a handle, cheap to clone), [`Node`] (a file at the gofer, released when dropped), [`Entry`] (a
//! node and what is known of it), [`EventQueue`] (changes made on the host). Errors are those that Linux would give;
//! `EIO` for everything once the gofer has died or broken the protocol ([`Client::is_dead`]).
//!
//! A call borrows one channel of the pool for a message each way. Nodes that were dropped are released by the next
//! call's message. Lock order: no two locks of this module are held together.

#![forbid(unsafe_code)]

mod events;
mod files;
mod names;
mod pool;

pub use crate::protocol::attr::{Attr, FileType, SetAttr, SetTime, StatFs, Timestamp};
pub use crate::protocol::reply::{DirEntries, DirEntry};
pub use crate::protocol::request::{
    NodKind, OpenFlags, Ownership, RenameFlags, SocketKind, SyncKind, UnlinkKind, Want, WatchId,
    WatchMask, XattrFlags,
};
pub use events::{Event, EventQueue, NameChange};
pub use names::{Looked, Walk};

use crate::protocol::reply::{NodeReply, Welcome};
use crate::protocol::request::{NodeId, Request};
use crate::protocol::{RELEASE_MAX, VERSION};
use abi::Errno;
use parking_lot::Mutex;
use pool::Pool;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A descriptor that the gofer opened and gave away, with the rights asked for.
pub type Donated = OwnedFd;

/// A connection to a gofer.
#[derive(Clone, Debug)]
pub struct Client {
    link: Arc<Link>,
}

/// See [`Client::set_polling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// Sleep for every reply.
    Never,
    /// Poll while calls follow each other quickly.
    WhileBusy,
}

/// What clients and nodes share.
#[derive(Debug)]
struct Link {
    pool: Pool,
    /// What the next message lets go of.
    released: Mutex<Released>,
    /// Until somebody asks for it.
    events: Mutex<Option<EventQueue>>,
    /// Number of trees.
    trees: u32,
}

/// Nodes and watches that the client needs no more.
#[derive(Debug, Default)]
struct Released {
    nodes: Vec<NodeId>,
    watches: Vec<WatchId>,
}

impl Released {
    fn is_full(&self) -> bool {
        self.nodes.len() >= RELEASE_MAX || self.watches.len() >= RELEASE_MAX
    }

    /// As much as one message takes.
    fn portion(&mut self) -> Self {
        let nodes = self.nodes.len().saturating_sub(RELEASE_MAX);
        let watches = self.watches.len().saturating_sub(RELEASE_MAX);
        Self {
            nodes: self.nodes.split_off(nodes),
            watches: self.watches.split_off(watches),
        }
    }
}

/// A file at the gofer. Dropping it releases the gofer's descriptor, lazily.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    link: Arc<Link>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.link.release(|released| released.nodes.push(self.id));
    }
}

/// A node with what was seen when it was opened.
#[derive(Debug)]
pub struct Entry {
    /// The file.
    pub node: Node,
    /// Its attributes then.
    pub attr: Attr,
    /// Target, if it is a symbolic link (targets do not change).
    pub target: Option<Box<[u8]>>,
}

impl Client {
    /// Greets the gofer on every channel (`SOCK_SEQPACKET`).
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` when the gofer speaks another version, `EINVAL` without channels, `EIO` when it is not there.
    pub fn connect(channels: Vec<OwnedFd>) -> Result<Self, Errno> {
        let count = channels.len();
        let mut link = Link {
            pool: Pool::new(channels),
            released: Mutex::default(),
            events: Mutex::default(),
            trees: 0,
        };
        if count == 0 {
            return Err(Errno::EINVAL);
        }
        // Channels are taken from one end and put back at the other while greeting, so each gets its Hello.
        for _ in 0..count {
            let (welcome, events): (Welcome, _) = link
                .pool
                .call_oldest(&Released::default(), &Request::Hello { version: VERSION })?;
            if welcome.version != VERSION {
                return Err(Errno::EPROTONOSUPPORT);
            }
            link.events = Mutex::new(events.map(EventQueue::new));
            link.trees = welcome.trees;
        }
        Ok(Self {
            link: Arc::new(link),
        })
    }

    /// The queue of what changes on the host; the first who asks gets it.
    #[must_use]
    pub fn take_events(&self) -> Option<EventQueue> {
        self.link.events.lock().take()
    }

    /// Number of trees that [`Client::attach`] knows.
    #[must_use]
    pub fn trees(&self) -> u32 {
        self.link.trees
    }

    /// True once the gofer has died or broken the protocol: nothing will work again.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.link.pool.is_dead()
    }

    /// Whether calls in quick succession poll, on both sides, instead of sleeping: a call costs a tenth then, and up to
    /// 50 µs of a second CPU. Off at first; right only while a CPU is idle, which the sentry knows.
    pub fn set_polling(&self, polling: Polling) {
        self.link.pool.set_polling(polling == Polling::WhileBusy);
    }

    /// Sends what waits to be let go of.
    ///
    /// # Errors
    /// `EIO` when the gofer is gone.
    pub fn flush(&self) -> Result<(), Errno> {
        loop {
            self.link.call::<()>(&Request::Release {})?;
            let released = self.link.released.lock();
            if released.nodes.is_empty() && released.watches.is_empty() {
                return Ok(());
            }
        }
    }

    /// As [`Client::flush`], but does not wait for a channel.
    ///
    /// # Errors
    /// `EAGAIN` when all channels are in use.
    pub fn try_flush(&self) -> Result<(), Errno> {
        if self.link.pool.is_busy() {
            return Err(Errno::EAGAIN);
        }
        self.flush()
    }

    fn entry(&self, reply: NodeReply) -> Entry {
        Entry {
            node: Node {
                id: reply.node,
                link: Arc::clone(&self.link),
            },
            attr: reply.attr,
            target: reply.target,
        }
    }
}

impl Link {
    /// A call whose reply brings no descriptor.
    fn call<T: for<'a> crate::protocol::wire::Wire<'a>>(
        &self,
        request: &Request<'_>,
    ) -> Result<T, Errno> {
        // A descriptor that nobody asked for is closed here.
        self.exchange(request).map(|(reply, _)| reply)
    }

    /// A call whose reply brings a descriptor.
    fn call_donated<T: for<'a> crate::protocol::wire::Wire<'a>>(
        &self,
        request: &Request<'_>,
    ) -> Result<(T, Donated), Errno> {
        let (reply, donated) = self.exchange(request)?;
        Ok((reply, donated.ok_or(Errno::EIO)?))
    }

    fn exchange<T: for<'a> crate::protocol::wire::Wire<'a>>(
        &self,
        request: &Request<'_>,
    ) -> Result<(T, Option<OwnedFd>), Errno> {
        let released = self.released.lock().portion();
        self.pool.call(&released, request)
    }

    /// Adds to what the next message lets go of.
    fn release(&self, add: impl FnOnce(&mut Released)) {
        let mut released = self.released.lock();
        add(&mut released);
        let full = released.is_full();
        drop(released);
        if full {
            // Enough for a message of its own. If it fails the gofer is gone, and its descriptors with it.
            let _ = self.call::<()>(&Request::Release {});
        }
    }
}
