//! Listeners: the backlog, connections that wait in it, and those that wait for their first bytes (TCP_DEFER_ACCEPT).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use netstack::tcp::{Listener, Place};

use super::end::ALL_EVENTS;
use super::{Endpoint, Family, Link, Listening, News, Progress, TcpSocket};
use crate::error::{Errno, Result};
use crate::socket::inbox::RECEIVE;
use crate::socket::inet::caller::Caller;
use crate::socket::inet::names::TCP_DEFER_ACCEPT;
use crate::socket::inet::outside;
use crate::wait::Events;

impl TcpSocket {
    pub(in super::super) fn start_listening(
        self: &Arc<Self>,
        backlog: i32,
        caller: &Caller,
    ) -> Result<()> {
        let most = caller.most_waiting;
        let wanted = usize::try_from(backlog).unwrap_or(most).min(most);
        let (unbound, asked) = {
            let state = self.state.lock();
            let idle = state.progress == Progress::None;
            match &state.link {
                Link::Listening(_) => {}
                Link::None if idle => {}
                _ => return Err(Errno::EINVAL),
            }
            (state.local.is_none(), state.asked)
        };
        if unbound {
            let at = asked.unwrap_or(Endpoint::any(self.family));
            self.take_port(Endpoint { port: 0, ..at }, false, caller)?;
        }
        let port = {
            let mut state = self.state.lock();
            if let Link::Listening(listening) = &mut state.link {
                listening.backlog = wanted;
                let outside = listening.outside.clone();
                drop(state);
                if let Some(listener) = outside {
                    listener.set(wanted, self.settings());
                }
                return Ok(());
            }
            state.local.map_or(0, |local| local.port)
        };
        self.ports().listen(self, port)?;
        let outside = self.listen_outside(wanted);
        let mut state = self.state.lock();
        if matches!(state.link, Link::None) && state.progress == Progress::None {
            state.link = Link::Listening(Listening {
                outside,
                backlog: wanted,
                pending: VecDeque::new(),
                waiting: VecDeque::new(),
                deferred: Vec::new(),
            });
        }
        Ok(())
    }

    /// Listens at the stack, if there is one.
    fn listen_outside(self: &Arc<Self>, backlog: usize) -> Option<Arc<Listener>> {
        let local = self.state.lock().local?;
        let stack = outside::stack(&self.net)?;
        let place = Place {
            at: local.address(),
            dual: self.family == Family::V6 && !self.protocol.lock().v6_only(),
        };
        let news = Arc::new(News(Arc::downgrade(self)));
        let listener = stack.listen(place, backlog, self.settings(), news);
        Some(Arc::new(listener))
    }

    /// A client arrives at a listener: connected if there is room, else it waits. False if this does not listen any more.
    pub(super) fn admit(self: &Arc<Self>, client: &Arc<Self>, caller: &Caller) -> bool {
        const MOST_WAITING: usize = 4096;
        let server = self.server_for(client);
        let defer_s = u64::try_from(self.tcp_option(TCP_DEFER_ACCEPT)).unwrap_or(0);
        let (place, sharing) = (server.local(), self.sharing(caller.uid));
        {
            let mut state = self.state.lock();
            let Link::Listening(listening) = &mut state.link else {
                return false;
            };
            if listening.pending.len() + listening.deferred.len() > listening.backlog {
                let room = listening.waiting.len() <= MOST_WAITING;
                if room {
                    listening.waiting.push_back(client.clone());
                }
                return room;
            }
            self.ports().hold(place, sharing);
            server.state.lock().held = Some(sharing);
            if defer_s > 0 {
                server.deferred.store(true, Ordering::Release);
                server.state.lock().deferred_by = Arc::downgrade(self);
                listening.deferred.push(server.clone());
            } else {
                listening.pending.push_back(server.clone());
            }
        }
        let alive = {
            let mut state = client.state.lock();
            if !state.closed {
                state.link = Link::Peer(server.clone());
            }
            !state.closed
        };
        if !alive {
            server.end.side.lock().shutdown |= RECEIVE;
        }
        client.finish(Ok(()));
        if defer_s == 0 {
            self.end.queue.notify(Events::IN | Events::RDNORM);
        } else if let Some(reactor) = &caller.reactor {
            let waiting = Arc::downgrade(&server);
            let over = Arc::new(move || {
                if let Some(server) = waiting.upgrade() {
                    server.defer_no_more();
                }
            });
            let at = Instant::now() + Duration::from_secs(defer_s);
            let timer = reactor.call_at(at, over);
            server.state.lock().timer = Some(timer);
        }
        true
    }

    /// A connection whose acceptance was deferred can be accepted.
    pub(super) fn defer_no_more(self: &Arc<Self>) {
        if !self.deferred.swap(false, Ordering::AcqRel) {
            return;
        }
        let Some(listener) = self.state.lock().deferred_by.upgrade() else {
            return;
        };
        {
            let mut state = listener.state.lock();
            let Link::Listening(listening) = &mut state.link else {
                return;
            };
            let at = listening
                .deferred
                .iter()
                .position(|other| Arc::ptr_eq(other, self));
            let Some(at) = at else { return };
            let server = listening.deferred.swap_remove(at);
            listening.pending.push_back(server);
        }
        listener.end.queue.notify(Events::IN | Events::RDNORM);
    }

    /// The server's end of a connection with `client`.
    fn server_for(self: &Arc<Self>, client: &Arc<Self>) -> Arc<Self> {
        let server = self.inheriting();
        let (local, remote) = {
            let state = client.state.lock();
            (state.remote, state.local)
        };
        {
            let mut state = server.state.lock();
            state.local = local;
            state.remote = remote;
            state.link = Link::Peer(client.clone());
        }
        server
    }

    /// A socket with this listener's options.
    fn inheriting(&self) -> Arc<Self> {
        let protocol = self.protocol.lock().clone();
        let socket = Self::with(self.family, self.net.clone(), protocol, self.buffers);
        *socket.options.lock() = self.options.lock().inherited();
        socket
    }

    pub(in super::super) fn accept_one(self: &Arc<Self>) -> Result<Arc<Self>> {
        let (next, client) = {
            let mut state = self.state.lock();
            let Link::Listening(listening) = &mut state.link else {
                return Err(Errno::EINVAL);
            };
            match (listening.pending.pop_front(), &listening.outside) {
                (Some(next), _) => (next, listening.waiting.pop_front()),
                (None, Some(outside)) => {
                    let outside = outside.clone();
                    drop(state);
                    return self.accept_outside(&outside);
                }
                (None, None) => return Err(Errno::EAGAIN),
            }
        };
        if let Some(client) = client
            && !self.admit(&client, &Caller::default())
        {
            client.finish(Err(Errno::ECONNREFUSED));
        }
        Ok(next)
    }

    /// The next connection that came from outside.
    fn accept_outside(self: &Arc<Self>, listener: &Listener) -> Result<Arc<Self>> {
        let (connection, local, remote) = listener.accept()?;
        let server = self.inheriting();
        connection.attach(Arc::new(News(Arc::downgrade(&server))));
        let sharing = self.sharing(0);
        self.ports().hold(local.into(), sharing);
        {
            let mut state = server.state.lock();
            state.local = Some(local.into());
            state.remote = Some(remote.into());
            state.held = Some(sharing);
            state.link = Link::Remote(Arc::new(connection));
        }
        Ok(server)
    }
}

/// A listener is gone: nobody will accept its clients.
pub(super) fn refuse_all(listening: Listening) {
    for server in listening.pending.into_iter().chain(listening.deferred) {
        server.close(true);
    }
    for client in listening.waiting {
        client.finish(Err(Errno::ECONNREFUSED));
        client.end.queue.notify(ALL_EVENTS);
    }
}
