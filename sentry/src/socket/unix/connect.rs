//! Listening, connecting, accepting.

use std::collections::VecDeque;
use std::sync::Arc;

use abi::socket::AF_UNSPEC;

use super::address::{self, Name};
use super::{ALL_EVENTS, Identity, Kind, Link, UnixSocket};
use crate::error::{Errno, Result};
use crate::socket::inbox::RECEIVE;
use crate::task::CurrentTask;
use crate::wait::Events;

/// `net.core.somaxconn`.
const SOMAXCONN: usize = 4096;

impl UnixSocket {
    pub(super) fn start_listening(&self, task: &CurrentTask, backlog: i32) -> Result<()> {
        if self.kind == Kind::Datagram {
            return Err(Errno::EOPNOTSUPP);
        }
        // A negative number is a huge unsigned one.
        let wanted = usize::try_from(backlog).unwrap_or(SOMAXCONN).min(SOMAXCONN);
        let waiting = {
            let mut state = self.state.lock();
            if state.name.is_none() {
                return Err(Errno::EINVAL);
            }
            let waiting = match &mut state.link {
                Link::Peer(_) | Link::Host(_) => return Err(Errno::EINVAL),
                Link::Listening {
                    backlog,
                    connectors,
                    ..
                } => {
                    *backlog = wanted;
                    std::mem::take(connectors)
                }
                link @ Link::None => {
                    *link = Link::Listening {
                        backlog: wanted,
                        pending: VecDeque::new(),
                        connectors: Vec::new(),
                    };
                    Vec::new()
                }
            };
            state.peer_identity = Some(Identity::effective(task));
            waiting
        };
        for queue in waiting {
            queue.notify(ALL_EVENTS);
        }
        Ok(())
    }

    /// `EAGAIN` while the listener's backlog is full: its next accept notifies this socket's queue.
    pub(super) fn start_connecting(
        self: &Arc<Self>,
        task: &CurrentTask,
        addr: &[u8],
    ) -> Result<()> {
        if self.kind == Kind::Datagram {
            return self.set_destination(task, addr);
        }
        let target = address::parse(addr)?;
        address::ensure_bound(task, self)?;
        match &self.state.lock().link {
            Link::Host(_) => return Err(Errno::EISCONN),
            Link::None | Link::Peer(_) | Link::Listening { .. } => {}
        }
        if let Some(connected) = self.connect_to_host(task, &target, addr) {
            return connected;
        }
        let listener = address::find(task, self, &target)?;
        if listener.kind != self.kind {
            return Err(Errno::EPROTOTYPE);
        }
        match &self.state.lock().link {
            Link::None => {}
            Link::Peer(_) | Link::Host(_) => return Err(Errno::EISCONN),
            Link::Listening { .. } => return Err(Errno::EINVAL),
        }
        if listener.inbox.lock().shutdown & RECEIVE != 0 {
            return Err(Errno::ECONNREFUSED);
        }
        // The other end exists before this one knows of it: what its owner does meanwhile lands in this socket's inbox.
        let server = UnixSocket::new(self.kind, listener.net.clone());
        let name = Name::Inherited(listener.address());
        {
            let mut state = server.state.lock();
            state.link = Link::Peer(self.clone());
            state.name = Some(name);
            state.peer_identity = Some(Identity::effective(task));
        }
        let listener_identity = {
            let mut state = listener.state.lock();
            let identity = state.peer_identity.clone();
            match &mut state.link {
                Link::Listening {
                    backlog,
                    pending,
                    connectors,
                } => {
                    if pending.len() > *backlog {
                        self.queue.note_in(connectors);
                        return Err(Errno::EAGAIN);
                    }
                    pending.push_back(server.clone());
                }
                _ => return Err(Errno::ECONNREFUSED),
            }
            identity
        };
        let taken = {
            let mut state = self.state.lock();
            if matches!(state.link, Link::None) {
                state.link = Link::Peer(server.clone());
                state.peer_identity = listener_identity;
                false
            } else {
                true
            }
        };
        if taken {
            // Another thread connected the same socket in between: the server sees a connection that is reset.
            let back = std::mem::take(&mut server.state.lock().link);
            drop(back);
            server.inbox.lock().shutdown = crate::socket::inbox::BOTH;
            return Err(Errno::EISCONN);
        }
        listener.wake(Events::IN | Events::RDNORM);
        self.wake(Events::OUT | Events::WRNORM);
        Ok(())
    }

    /// `connect(2)` of a datagram socket: AF_UNSPEC dissolves.
    fn set_destination(self: &Arc<Self>, task: &CurrentTask, addr: &[u8]) -> Result<()> {
        let family = addr.first_chunk::<2>().ok_or(Errno::EINVAL)?;
        if i32::from(u16::from_ne_bytes(*family)) == AF_UNSPEC {
            let old = std::mem::take(&mut self.state.lock().link);
            drop(old);
            self.wake(ALL_EVENTS);
            return Ok(());
        }
        let target = address::parse(addr)?;
        address::ensure_bound(task, self)?;
        if let Some(connected) = self.connect_to_host(task, &target, addr) {
            return connected;
        }
        let peer = address::find(task, self, &target)?;
        if peer.kind != Kind::Datagram {
            return Err(Errno::EPROTOTYPE);
        }
        peer.check_sender(self)?;
        let old = std::mem::replace(&mut self.state.lock().link, Link::Peer(peer));
        drop(old);
        self.wake(ALL_EVENTS);
        Ok(())
    }

    /// `EPERM` if this datagram socket is connected to somebody else.
    pub(super) fn check_sender(&self, sender: &Arc<Self>) -> Result<()> {
        match &self.state.lock().link {
            Link::Peer(peer) if !Arc::ptr_eq(peer, sender) => Err(Errno::EPERM),
            _ => Ok(()),
        }
    }

    /// The next connection.
    pub(super) fn accept_one(&self) -> Result<Arc<Self>> {
        if self.kind == Kind::Datagram {
            return Err(Errno::EOPNOTSUPP);
        }
        let (next, waiting) = {
            let mut state = self.state.lock();
            let Link::Listening {
                pending,
                connectors,
                ..
            } = &mut state.link
            else {
                return Err(Errno::EINVAL);
            };
            match pending.pop_front() {
                Some(next) => (next, std::mem::take(connectors)),
                None if self.inbox.lock().shutdown & RECEIVE != 0 => return Err(Errno::EINVAL),
                None => return Err(Errno::EAGAIN),
            }
        };
        for queue in waiting {
            queue.notify(ALL_EVENTS);
        }
        Ok(next)
    }
}
