//! Unix sockets (`unix(7)`, `net/unix/af_unix.c`).
//!
//! - [`UnixSocket`]: a socket; [`UnixFile`]: an open description of it, which closes it when dropped.
//! - [`address`]: names in the file system and in the abstract namespace. [`identity`]: who a sender or peer is.
//! - [`host`]: connections to sockets of the host.
//! - [`connect`]: listening, connecting, accepting. [`transfer`]: sending and receiving. [`ops`]: what the socket calls see. [`table`]: what
//!   is listed.
//!
//! Every socket owns an [`Inbox`]; sending puts a packet into the peer's. Shutdown and errors live in the inbox of the socket that they concern, so
//! one lock decides what a sender or a reader finds.
//!
//! Lock order: a listener's `state` → nothing; no two sockets' locks are held at once, and queues are notified with none held.

mod address;
mod connect;
mod host;
mod identity;
mod ops;
mod table;
mod transfer;

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

use abi::socket::{SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM};
use parking_lot::Mutex;

pub use identity::Identity;
pub use table::{Row, rows, text};

use super::inbox::{BOTH, Inbox};
use super::options::Options;
use crate::error::Errno;
use crate::exec::reactor::Timer;
use crate::task::CurrentTask;
use crate::task::namespaces::NetNamespace;
use crate::vfs::File;
use crate::wait::{Events, WaitQueue};

/// Everything that may change for those who wait for a socket.
const ALL_EVENTS: Events = Events::IN
    .union(Events::OUT)
    .union(Events::RDNORM)
    .union(Events::WRNORM)
    .union(Events::HUP)
    .union(Events::RDHUP)
    .union(Events::ERR);

/// A socket's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SOCK_STREAM.
    Stream,
    /// SOCK_DGRAM.
    Datagram,
    /// SOCK_SEQPACKET.
    SeqPacket,
}

impl Kind {
    /// From a `SOCK_*` number. Linux makes a datagram socket of SOCK_RAW.
    #[must_use]
    pub const fn from_number(kind: i32) -> Option<Self> {
        match kind {
            SOCK_STREAM => Some(Self::Stream),
            SOCK_DGRAM | abi::socket::SOCK_RAW => Some(Self::Datagram),
            SOCK_SEQPACKET => Some(Self::SeqPacket),
            _ => None,
        }
    }
    /// Its `SOCK_*` number.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Stream => SOCK_STREAM,
            Self::Datagram => SOCK_DGRAM,
            Self::SeqPacket => SOCK_SEQPACKET,
        }
    }
}

/// Where a socket stands.
#[derive(Default)]
enum Link {
    /// Not connected.
    #[default]
    None,
    /// Connected, or with a default destination.
    Peer(Arc<UnixSocket>),
    /// Connected to a socket of the host.
    Host(Arc<host::HostPeer>),
    /// Accepts connections.
    Listening {
        backlog: usize,
        pending: VecDeque<Arc<UnixSocket>>,
        /// Those who wait for room in the backlog.
        connectors: Vec<WaitQueue>,
    },
}

#[derive(Default)]
struct State {
    name: Option<address::Name>,
    link: Link,
    /// Who is on the other side, as of connect and listen (SO_PEERCRED); for a listener: itself.
    peer_identity: Option<Identity>,
}

/// See the module.
pub struct UnixSocket {
    kind: Kind,
    net: Arc<NetNamespace>,
    state: Mutex<State>,
    inbox: Mutex<Inbox>,
    options: Mutex<Options>,
    queue: WaitQueue,
    /// Tries to connect again.
    retry: Mutex<Option<Timer>>,
    /// Inode number of its file, 0 as long as there is none.
    ino: AtomicU64,
}

/// An open Unix socket. Dropping it closes the socket.
pub struct UnixFile {
    socket: Arc<UnixSocket>,
    ino: u64,
}

impl UnixSocket {
    fn new(kind: Kind, net: Arc<NetNamespace>) -> Arc<Self> {
        Arc::new(Self {
            kind,
            net,
            state: Mutex::default(),
            inbox: Mutex::default(),
            options: Mutex::default(),
            queue: WaitQueue::new(),
            retry: Mutex::default(),
            ino: AtomicU64::new(0),
        })
    }
    /// The peer of a connected socket.
    fn peer(&self) -> Option<Arc<Self>> {
        match &self.state.lock().link {
            Link::Peer(peer) => Some(peer.clone()),
            _ => None,
        }
    }
    /// Its address as others see it; only a family if it has no name.
    fn address(&self) -> super::SockAddr {
        address::shown(self.state.lock().name.as_ref())
    }
    /// Its address as a receiver of its messages is told it: nothing if it has no name (`unix_copy_addr`).
    fn sender_address(&self) -> Option<super::SockAddr> {
        let state = self.state.lock();
        state.name.as_ref().map(|name| address::shown(Some(name)))
    }
    fn wake(&self, events: Events) {
        self.queue.notify(events);
    }

    /// The last descriptor is gone, or nobody will ever accept it (`unaccepted`).
    fn close(self: &Arc<Self>, unaccepted: bool) {
        let state = std::mem::take(&mut *self.state.lock());
        let (packets, blocked) = {
            let mut inbox = self.inbox.lock();
            inbox.closed = true;
            inbox.shutdown = BOTH;
            (inbox.take_all(), std::mem::take(&mut inbox.blocked))
        };
        if let Some(name) = &state.name {
            address::release(self, name);
        }
        match state.link {
            Link::None | Link::Host(_) => {}
            Link::Peer(peer) => {
                if self.kind != Kind::Datagram {
                    let mut inbox = peer.inbox.lock();
                    inbox.shutdown = BOTH;
                    if (!packets.is_empty() || unaccepted) && !inbox.closed {
                        inbox.error = Some(Errno::ECONNRESET);
                    }
                }
                peer.wake(ALL_EVENTS);
            }
            Link::Listening {
                pending,
                connectors,
                ..
            } => {
                for socket in pending {
                    socket.close(true);
                }
                for queue in connectors {
                    queue.notify(ALL_EVENTS);
                }
            }
        }
        for queue in blocked {
            queue.notify(ALL_EVENTS);
        }
        self.wake(ALL_EVENTS);
        drop(packets);
    }
}

impl Drop for UnixFile {
    fn drop(&mut self) {
        let table = self.socket.net.objects.get::<table::Table>();
        table.remove(self.ino);
        self.socket.close(false);
    }
}

fn open(task: &CurrentTask, socket: Arc<UnixSocket>) -> Arc<File> {
    super::new_file(task, |ino| {
        socket.net.objects.get::<table::Table>().add(ino, &socket);
        Box::new(UnixFile { socket, ino })
    })
}

/// A new, unconnected socket.
#[must_use]
pub fn create(task: &CurrentTask, kind: Kind) -> Arc<File> {
    open(task, UnixSocket::new(kind, task.namespaces().net.clone()))
}

/// Two sockets connected with each other.
#[must_use]
pub fn create_pair(task: &CurrentTask, kind: Kind) -> (Arc<File>, Arc<File>) {
    let (a, b) = pair(
        kind,
        &task.namespaces().net,
        Some(&Identity::effective(task)),
    );
    (open(task, a), open(task, b))
}

fn pair(
    kind: Kind,
    net: &Arc<NetNamespace>,
    identity: Option<&Identity>,
) -> (Arc<UnixSocket>, Arc<UnixSocket>) {
    let (a, b) = (
        UnixSocket::new(kind, net.clone()),
        UnixSocket::new(kind, net.clone()),
    );
    for (one, other) in [(&a, &b), (&b, &a)] {
        let mut state = one.state.lock();
        state.link = Link::Peer(other.clone());
        state.peer_identity = identity.cloned();
    }
    (a, b)
}

/// What an inode that a socket is bound to refers to.
type Bound = Weak<dyn std::any::Any + Send + Sync>;

#[cfg(test)]
mod tests;
