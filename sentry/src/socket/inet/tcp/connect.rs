//! How a connection begins, and how it is undone.

use std::net::IpAddr;
use std::sync::Arc;

use super::end::{ALL_EVENTS, Side};
use super::{Link, News, Progress, SYN_SENT, State, TcpSocket, listen};
use crate::error::{Errno, Result};
use crate::socket::inbox::BOTH;
use crate::socket::inet::caller::Caller;
use crate::socket::inet::outside::{self, Way};
use crate::socket::inet::{Endpoint, Family};

/// How many ports a connect tries.
const PORT_TRIES: u32 = 1000;

impl TcpSocket {
    /// How a connect that is under way outside went, once it is known.
    pub(super) fn settle(&self) {
        let mut state = self.state.lock();
        let (Progress::Waiting, Link::Remote(connection)) = (state.progress, &state.link) else {
            return;
        };
        if connection.state() == SYN_SENT {
            return;
        }
        let result = match connection.take_error() {
            Some(errno) => Err(errno),
            None => Ok(()),
        };
        state.progress = Progress::Untold(result);
        if let Err(errno) = result {
            let over = std::mem::take(&mut state.link);
            state.remote = None;
            state.failed = true;
            drop(state);
            self.end.side.lock().error = Some(errno);
            drop(over);
        }
    }

    /// Begins to connect, or tells how it went.
    pub(in super::super) fn connect_to(
        self: &Arc<Self>,
        to: Endpoint,
        caller: &Caller,
    ) -> Result<()> {
        let told = {
            let mut state = self.state.lock();
            match state.progress {
                Progress::Waiting => return Err(Errno::EALREADY),
                Progress::Untold(result) => {
                    state.progress = Progress::None;
                    state.failed = false;
                    Some(result)
                }
                Progress::None if !matches!(state.link, Link::None) => {
                    return Err(Errno::EISCONN);
                }
                Progress::None => {
                    state.progress = Progress::Waiting;
                    state.failed = false;
                    None
                }
            }
        };
        if let Some(result) = told {
            // Told here, not by SO_ERROR.
            self.end.side.lock().error = None;
            return result;
        }
        *self.end.side.lock() = Side::default();
        let to = match self.begin_connection(to, caller) {
            Ok(Some(to)) => to,
            // The stack has it.
            Ok(None) => return Err(Errno::EINPROGRESS),
            Err(errno) => {
                self.state.lock().progress = Progress::None;
                return Err(errno);
            }
        };
        let from = self.local();
        let listener = self.ports().find(from, to, |socket| {
            matches!(socket.state.lock().link, Link::Listening(_)).then_some(0)
        });
        let queued = match listener {
            Some(listener) => listener.admit(self, caller),
            None if from == to => {
                self.state.lock().link = Link::Peer(self.clone());
                self.finish(Ok(()));
                true
            }
            None => false,
        };
        if !queued {
            self.unbind();
            self.finish(Err(Errno::ECONNREFUSED));
        }
        Err(Errno::EINPROGRESS)
    }

    /// Settles both addresses of a connection to `to`. Within the sandbox: where it really goes. To the outside it is begun here: `None`.
    fn begin_connection(
        self: &Arc<Self>,
        to: Endpoint,
        caller: &Caller,
    ) -> Result<Option<Endpoint>> {
        let to = to.definite();
        if self.family == Family::V6 && to.ip.is_ipv4() && self.protocol.lock().v6_only() {
            return Err(Errno::ENETUNREACH);
        }
        let device = self.options.lock().device();
        let way = outside::way(&self.net, to.ip, to.port, device)?;
        let (chosen, asked) = {
            let state = self.state.lock();
            (state.local.is_none(), state.asked)
        };
        let source = way.source();
        let any = Endpoint {
            ip: asked.map_or(source, |asked| asked.ip),
            port: 0,
        };
        if chosen {
            self.take_port(any, true, caller)?;
        }
        let local = self.definite_local(source, to)?;
        let Way::Out { .. } = way else {
            return Ok(Some(to));
        };
        let result = self.connect_outside(to, local, chosen.then_some(any), caller);
        if result.is_err() && chosen {
            self.unbind();
        }
        result.map(|()| None)
    }

    /// `chosen`: the port is ours to choose, at this address.
    fn connect_outside(
        self: &Arc<Self>,
        to: Endpoint,
        mut local: Endpoint,
        chosen: Option<Endpoint>,
        caller: &Caller,
    ) -> Result<()> {
        if local.ip.is_loopback() != to.ip.is_loopback() || to.ip.is_ipv4() != local.ip.is_ipv4() {
            return Err(Errno::EINVAL);
        }
        if to.ip.is_multicast() || to.port == 0 {
            return Err(Errno::ENETUNREACH);
        }
        let stack = outside::stack(&self.net).ok_or(Errno::ENETUNREACH)?;
        let mut tries = 0;
        let connection = loop {
            let news = Arc::new(News(Arc::downgrade(self)));
            match (
                stack.connect(local.address(), to.address(), self.settings(), news),
                chosen,
            ) {
                // An earlier connection of these ends is not forgotten yet: another port may do.
                (Err(Errno::EADDRNOTAVAIL), Some(any)) if tries < PORT_TRIES => {
                    tries += 1;
                    self.unbind();
                    self.take_port(any, true, caller)?;
                    local = self.definite_local(local.ip, to)?;
                }
                (result, _) => break result?,
            }
        };
        self.state.lock().link = Link::Remote(Arc::new(connection));
        // It may have been over before the link was set.
        self.settle();
        Ok(())
    }

    /// The own end of a connection to `to`: with a definite address.
    fn definite_local(&self, source: IpAddr, to: Endpoint) -> Result<Endpoint> {
        let mut state = self.state.lock();
        state.remote = Some(to);
        let local = state.local.as_mut().ok_or(Errno::EINVAL)?;
        if local.ip.is_unspecified() {
            local.ip = source;
        }
        Ok(*local)
    }

    /// The outcome of a connect.
    pub(super) fn finish(&self, result: Result<()>) {
        {
            let mut state = self.state.lock();
            state.progress = Progress::Untold(result);
            state.failed = result.is_err();
        }
        if let Err(errno) = result {
            self.end.side.lock().error = Some(errno);
        }
        self.end.queue.notify(ALL_EVENTS);
    }

    /// `connect(2)` to AF_UNSPEC: the connection ends by a reset, and the socket is as if it had never been connected.
    pub(in super::super) fn disconnect(self: &Arc<Self>) {
        let link = {
            let mut state = self.state.lock();
            let State {
                link,
                progress,
                remote,
                failed,
                timer,
                ..
            } = &mut *state;
            *progress = Progress::None;
            *remote = None;
            *failed = false;
            let timer = timer.take();
            let link = std::mem::take(link);
            drop(state);
            drop(timer);
            link
        };
        *self.end.side.lock() = Side::default();
        match link {
            Link::Peer(peer) if !Arc::ptr_eq(&peer, self) => peer.reset_by_peer(),
            Link::Remote(connection) => connection.reset(),
            Link::Listening(listening) => listen::refuse_all(listening),
            Link::Peer(_) | Link::None => {}
        }
        self.unbind();
        self.end.queue.notify(ALL_EVENTS);
    }

    /// The other end has sent a reset. What had come before can still be read.
    pub(super) fn reset_by_peer(&self) {
        {
            let mut side = self.end.side.lock();
            if !side.closed {
                side.error = Some(Errno::ECONNRESET);
                side.shutdown = BOTH;
                side.reset = true;
            }
        }
        self.end.queue.notify(ALL_EVENTS);
    }
}
