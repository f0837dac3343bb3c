//! One connection: smoltcp's state machine with its buffers, and what is kept around it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use abi::Errno;
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpEndpoint};

use super::device::{self, Blank, Numbers, Shape, Tap};
use super::recovery::{OFTEN, Recovery, Segment, Show};
use super::{Notify, Ready, Settings};
use crate::net::Net;
use crate::route::Hop;

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

impl Key {
    /// Own end and the other one as smoltcp calls them.
    fn named(&self) -> (IpEndpoint, IpEndpoint) {
        let (local, remote) = (self.local, self.remote);
        (
            IpEndpoint::new(device::own_name(local.ip()).into(), local.port()),
            IpEndpoint::new(device::peer_name(remote.ip()).into(), remote.port()),
        )
    }

    /// Both addresses, if they are of IPv6.
    pub(super) fn v6(&self) -> Option<(Ipv6Addr, Ipv6Addr)> {
        match (self.local.ip(), self.remote.ip()) {
            (IpAddr::V6(local), IpAddr::V6(remote)) => Some((local, remote)),
            _ => None,
        }
    }
}

/// Whose a connection is.
pub(super) enum Owner {
    /// A listener's: the handshake is under way.
    Embryo(u64),
    /// A listener's: waits to be accepted.
    Queued(u64),
    /// A socket's, which is told of changes.
    User(Option<Arc<dyn Notify>>),
    /// Nobody's: the socket was closed.
    Orphan,
}

/// Most segments that one event may lead to before others get their turn.
const BURST: usize = 64;

pub(crate) struct Conn {
    pub(super) key: Key,
    pub(super) set: SocketSet<'static>,
    pub(super) handle: SocketHandle,
    pub(super) owner: Owner,
    /// What ended it, told once.
    pub(super) error: Option<Errno>,
    /// It was reset or gave up: what is written is refused.
    pub(super) broken: bool,
    /// Bytes of buffers.
    pub(super) cost: usize,
    pub(super) receive_shut: bool,
    pub(super) settings: Settings,
    /// State, received and sent bytes waiting, when last told.
    pub(super) told: (State, usize, usize),
    /// When it is to be looked at again.
    pub(super) wake: Option<Instant>,
    /// When it is given up (a connect that is not answered, an orphan that nobody closes).
    pub(super) give_up: Option<Instant>,
    /// The last sign of life while something is under way.
    pub(super) alive: Instant,
    pub(super) last: Numbers,
    /// When it was begun.
    pub(super) begun: Instant,
    /// Bytes that may be held back for more, and until when.
    pub(super) held: usize,
    pub(super) corked: Option<Instant>,
    /// When smoltcp wants to run next.
    pub(super) next: Option<Instant>,
    pub(super) hop: Hop,
    pub(super) segments: (u64, u64),
    pub(super) bytes: (u64, u64),
    pub(super) recovery: Recovery,
    shape: Shape,
}

/// smoltcp's side of a link. Each is good for one connection: the sequence numbers that it chooses must not follow from those of others.
pub(super) fn interface(mtu: usize, seed: u64, now: Instant) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut interface = Interface::new(config, &mut Blank(mtu), now);
    // Which addresses are ours was settled before.
    interface.set_any_ip(true);
    interface
}

impl Conn {
    pub(super) fn new(
        key: Key,
        owner: Owner,
        settings: Settings,
        sizes: (usize, usize),
        hop: Hop,
        now: Instant,
    ) -> Self {
        let mut socket = Socket::new(
            SocketBuffer::new(vec![0; sizes.0]),
            SocketBuffer::new(vec![0; sizes.1]),
        );
        socket.set_congestion_control(CongestionControl::Cubic);
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        let mut conn = Self {
            key,
            set,
            handle,
            owner,
            error: None,
            broken: false,
            // What is on its way is kept once more, by `recovery`.
            cost: sizes.0 + 2 * sizes.1,
            receive_shut: false,
            settings,
            told: (State::Closed, 0, 0),
            wake: None,
            give_up: None,
            alive: now,
            last: Numbers::default(),
            begun: now,
            held: 0,
            corked: None,
            next: None,
            hop,
            segments: (0, 0),
            bytes: (0, 0),
            recovery: Recovery::default(),
            shape: Shape::default(),
        };
        conn.apply(settings);
        conn
    }

    pub(super) fn socket(&self) -> &Socket<'static> {
        self.set.get(self.handle)
    }

    pub(super) fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.handle)
    }

    pub(super) fn apply(&mut self, settings: Settings) {
        self.settings = settings;
        let socket = self.socket_mut();
        socket.set_nagle_enabled(!settings.no_delay);
        let seconds = |s: u32| Duration::from_secs(u64::from(s.max(1)));
        let keep = settings.keep_alive.map(|keep| seconds(keep.idle));
        if socket.keep_alive() != keep {
            socket.set_keep_alive(keep);
        }
        socket.set_hop_limit(settings.ttl.filter(|ttl| *ttl != 0));
        let delay = (!settings.quick_ack).then_some(Duration::from_millis(10));
        socket.set_ack_delay(delay);
    }

    /// How long silence is borne while something is under way.
    fn patience(&self) -> Duration {
        /// About what 15 retransmissions take (`tcp_retries2`).
        const RETRIES: Duration = Duration::from_secs(924);
        let by_user = self
            .settings
            .user_timeout_ms
            .map(|ms| Duration::from_millis(u64::from(ms)));
        by_user.unwrap_or(RETRIES)
    }

    /// When silence ends the connection.
    pub(super) fn silence_ends(&self) -> Option<Instant> {
        let socket = self.socket();
        if matches!(socket.state(), State::Closed | State::TimeWait) {
            return None;
        }
        if socket.send_queue() > 0 || !socket.may_send() {
            return Some(self.alive + self.patience());
        }
        let keep = self.settings.keep_alive?;
        let total = u64::from(keep.idle) + u64::from(keep.interval) * u64::from(keep.count);
        Some(self.alive + Duration::from_secs(total))
    }

    /// The MTU that smoltcp is told.
    pub(super) fn told_mtu(&self, net: &Net) -> usize {
        let mtu = net.links.get(self.hop.link).map_or(1500, |link| link.mtu);
        device::told_mtu(mtu, self.key.remote.ip())
    }

    fn tap<'a>(&mut self, net: &'a mut Net) -> Tap<'a> {
        let mtu = self.told_mtu(net);
        Tap {
            net,
            mtu,
            hop: self.hop,
            v6: self.key.v6(),
            incoming: None,
            last: self.last,
            sent: 0,
            bytes: 0,
            recovery: std::mem::take(&mut self.recovery),
            again: false,
            shape: self.shape,
        }
    }

    /// Begins to listen for the one SYN that it was made for.
    pub(super) fn listen(&mut self) -> bool {
        let (local, _) = self.key.named();
        self.socket_mut().listen(local).is_ok()
    }

    /// Begins to connect.
    pub(super) fn connect(&mut self, interface: &mut Interface) -> bool {
        let (local, remote) = self.key.named();
        let handle = self.handle;
        let socket: &mut Socket<'static> = self.set.get_mut(handle);
        socket.connect(interface.context(), remote, local).is_ok()
    }

    /// Hands a segment in (`packet`: as [`device::renamed`] gives it) and sends what follows. False: a defect of ours, the connection is void.
    pub(super) fn run(
        &mut self,
        net: &mut Net,
        interface: &mut Interface,
        packet: Option<&[u8]>,
    ) -> bool {
        let now = net.now;
        let incoming = packet.is_some();
        let ends = (self.key.local, self.key.remote);
        let bare = packet.and_then(device::bare);
        let mut tap = self.tap(net);
        let show = packet
            .and_then(|packet| packet.get(usize::from(packet.first()? & 0xf) * 4..))
            .and_then(Segment::parse)
            .map_or(Show::Once, |segment| tap.recovery.incoming(&segment, now));
        let set = &mut self.set;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            if let Some(packet) = packet.filter(|_| show != Show::Never) {
                tap.incoming = Some(packet);
                interface.poll_ingress_single(now, &mut tap, set);
            }
            if let Some(bare) = bare.as_ref().filter(|_| show == Show::Often) {
                tap.again = false;
                for _ in 0..OFTEN {
                    tap.incoming = Some(bare);
                    interface.poll_ingress_single(now, &mut tap, set);
                    interface.poll_egress(now, &mut tap, set);
                    if tap.again {
                        break;
                    }
                }
            }
            for _ in 0..BURST {
                if interface.poll_egress(now, &mut tap, set) == PollResult::None {
                    break;
                }
            }
            if tap.again && !incoming {
                tap.recovery.timed_out();
            }
            for again in tap.recovery.due(now) {
                tap.resend(ends, &again);
            }
            interface.poll_at(now, set)
        }));
        self.last = tap.last;
        self.shape = tap.shape;
        self.segments.1 += tap.sent;
        self.bytes.1 += tap.bytes;
        self.recovery = std::mem::take(&mut tap.recovery);
        if incoming {
            self.segments.0 += 1;
            self.alive = now;
        }
        match outcome {
            Ok(at) => {
                let at = at.into_iter().chain(self.recovery.deadline()).min();
                self.wake = at.map(|at| at.max(now));
                self.next = self.wake;
                self.held = 0;
                self.corked = None;
                true
            }
            Err(_) => false,
        }
    }

    /// What a socket can do with it.
    pub(super) fn ready(&self) -> Ready {
        let socket = self.socket();
        let state = socket.state();
        let mut ready = Ready::empty();
        if self.error.is_some() {
            ready |= Ready::ERR;
        }
        if matches!(state, State::SynSent | State::SynReceived | State::Listen) {
            return ready;
        }
        let peer_done = !matches!(
            state,
            State::Established | State::FinWait1 | State::FinWait2
        );
        let we_done = !matches!(state, State::Established | State::CloseWait);
        if socket.recv_queue() > 0 {
            ready |= Ready::IN;
        }
        if peer_done || self.receive_shut {
            ready |= Ready::IN | Ready::RDHUP;
        }
        if (peer_done || self.receive_shut) && we_done {
            ready |= Ready::HUP;
        }
        // As Linux: writable while two thirds are not full.
        let (queued, capacity) = (socket.send_queue(), socket.send_capacity());
        if we_done || queued * 3 < capacity * 2 {
            ready |= Ready::OUT;
        }
        ready
    }
}
