//! All connections and listeners of a stack: whose a segment is, who waits for what, what is due when.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use abi::Errno;
use smoltcp::iface::SocketSet;
use smoltcp::phy::PacketMeta;
use smoltcp::socket::tcp::State;
use smoltcp::time::{Duration, Instant};

use super::conn::{Conn, Key, Owner, interface};
use super::device::{self, Numbers, Shape, Tap};
use super::recovery::Recovery;
use super::time_wait::TimeWait;
use super::{Info, Notify, Place, Ready, Row, Settings, number};
use crate::icmp::Report;
use crate::net::Net;
use crate::packet::Ip;

/// How long a connect may take (`tcp_syn_retries` = 6).
const CONNECT: Duration = Duration::from_secs(127);
/// How long a handshake that others began may take (`tcp_synack_retries` = 5).
const HANDSHAKE: Duration = Duration::from_secs(63);
/// How long an orphan waits for its peer's FIN (`tcp_fin_timeout`).
const FIN: Duration = Duration::from_secs(60);
/// How long less than a segment is held back for more (TCP_CORK).
const CORK: Duration = Duration::from_millis(200);
/// Most handshakes under way at one listener (`tcp_max_syn_backlog`); then the oldest goes.
const EMBRYOS: usize = 4096;
/// Handshakes under way at one listener beyond which new ones get [`CROWDED`] buffers: their numbers are no sign of good will.
const TRUSTED: usize = 64;
/// Size of one buffer of those: in a flood, how long a handshake may take is how many fit into the memory, over how many come in a second.
const CROWDED: usize = 4 * 1024;
/// Sizes of one buffer, between which free memory decides.
const BUFFER: std::ops::RangeInclusive<usize> = 32 * 1024..=4 << 20;

/// Memory for buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reserve {
    /// Bytes in all.
    pub(crate) total: usize,
}

struct Listen {
    place: Place,
    backlog: usize,
    settings: Settings,
    notify: Arc<dyn Notify>,
    embryos: VecDeque<u64>,
    queued: VecDeque<u64>,
}

/// Connections to tell of, when the lock is released.
pub(crate) type Notices = Vec<(Arc<dyn Notify>, Ready)>;

pub(crate) struct Tcp {
    conns: HashMap<u64, Conn>,
    keys: HashMap<Key, u64>,
    listeners: HashMap<u64, Listen>,
    ports: HashMap<u16, Vec<u64>>,
    timers: BTreeSet<(Instant, u64)>,
    time_wait: TimeWait,
    next: u64,
    reserve: Reserve,
    used: usize,
    /// Handshakes that gave way, to be counted.
    overflows: u64,
    random: fn(&mut [u8]),
    pub(crate) notices: Notices,
}

impl Tcp {
    pub(crate) fn new(reserve: Reserve, random: fn(&mut [u8])) -> Self {
        Self {
            conns: HashMap::new(),
            keys: HashMap::new(),
            listeners: HashMap::new(),
            ports: HashMap::new(),
            timers: BTreeSet::new(),
            time_wait: TimeWait::default(),
            next: 1,
            reserve,
            used: 0,
            overflows: 0,
            random,
            notices: Vec::new(),
        }
    }

    fn seed(&self) -> u64 {
        let mut bytes = [0; 8];
        (self.random)(&mut bytes);
        u64::from_ne_bytes(bytes)
    }

    const fn new_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Sizes of the buffers of a new connection: less when memory gets short; `None` when there is none.
    fn sizes(&self, settings: &Settings) -> Option<(usize, usize)> {
        let left = self.reserve.total.saturating_sub(self.used);
        let share = (left / 64).clamp(*BUFFER.start(), *BUFFER.end());
        let receive = settings
            .receive_buffer
            .unwrap_or(share)
            .clamp(CROWDED, share);
        let send = settings.send_buffer.unwrap_or(share).clamp(CROWDED, share);
        (receive + 2 * send <= left).then_some((receive, send))
    }

    /// Sizes of the buffers of a connection that is to be made, for which handshakes that others began give way, the oldest first.
    fn make_room(&mut self, settings: &Settings) -> Option<(usize, usize)> {
        loop {
            if let Some(sizes) = self.sizes(settings) {
                return Some(sizes);
            }
            let oldest = self
                .listeners
                .values()
                .filter_map(|listen| listen.embryos.front().copied())
                .min()?;
            self.remove(oldest)?;
            self.overflows += 1;
        }
    }

    fn insert(&mut self, id: u64, conn: Conn) {
        self.used += conn.cost;
        self.keys.insert(conn.key, id);
        self.conns.insert(id, conn);
    }

    fn remove(&mut self, id: u64) -> Option<Conn> {
        let conn = self.conns.remove(&id)?;
        self.used -= conn.cost;
        if self.keys.get(&conn.key) == Some(&id) {
            self.keys.remove(&conn.key);
        }
        if let Some(wake) = conn.wake {
            self.timers.remove(&(wake, id));
        }
        if let Owner::Embryo(listener) | Owner::Queued(listener) = conn.owner
            && let Some(listen) = self.listeners.get_mut(&listener)
        {
            listen.embryos.retain(|other| *other != id);
            listen.queued.retain(|other| *other != id);
        }
        Some(conn)
    }

    /// Runs a connection, with a segment for it if there is one, and does what follows from its new state.
    fn drive(&mut self, net: &mut Net, id: u64, packet: Option<&[u8]>, reset: bool) {
        // Random only where a sequence number will be drawn: as a SYN arrives.
        let fresh = self
            .conns
            .get(&id)
            .is_some_and(|conn| conn.socket().state() == State::Listen);
        let seed = if fresh { self.seed() } else { 0 };
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let before = conn.socket().state();
        if let Some(wake) = conn.wake.take() {
            self.timers.remove(&(wake, id));
        }
        let mut interface = interface(conn.told_mtu(net), seed, net.now);
        if !conn.run(net, &mut interface, packet) {
            net.counters.panics += 1;
            conn.error = Some(Errno::ECONNABORTED);
            conn.broken = true;
            let gone = matches!(
                conn.owner,
                Owner::Embryo(_) | Owner::Queued(_) | Owner::Orphan
            );
            if gone {
                self.remove(id);
                return;
            }
        }
        self.settle(net, id, before, reset);
    }

    /// After a connection has run: its end, its timers, who is told.
    fn settle(&mut self, net: &mut Net, id: u64, before: State, reset: bool) {
        let now = net.now;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let state = conn.socket().state();
        if state == State::Closed && before != State::Closed && reset {
            conn.broken = true;
            conn.error = match before {
                State::SynSent => Some(Errno::ECONNREFUSED),
                State::CloseWait => Some(Errno::EPIPE),
                State::TimeWait | State::LastAck | State::Closing => None,
                _ => Some(Errno::ECONNRESET),
            };
            match before {
                State::SynSent | State::SynReceived => net.counters.tcp_attempt_fails += 1,
                State::Established | State::CloseWait => net.counters.tcp_established_resets += 1,
                _ => {}
            }
        }
        match conn.owner {
            Owner::Embryo(listener) => {
                if matches!(state, State::Closed | State::Listen) {
                    self.remove(id);
                    return;
                }
                let defer = Duration::from_secs(u64::from(conn.settings.defer_accept_s));
                let waits = state == State::Established
                    && conn.socket().recv_queue() == 0
                    && now < conn.begun + defer;
                if state == State::SynReceived {
                    // Goes on.
                } else if waits {
                    conn.give_up = Some(conn.begun + defer);
                } else {
                    conn.owner = Owner::Queued(listener);
                    conn.give_up = None;
                    net.counters.tcp_passive_opens += 1;
                    if let Some(listen) = self.listeners.get_mut(&listener) {
                        listen.embryos.retain(|other| *other != id);
                        listen.queued.push_back(id);
                        self.notices.push((listen.notify.clone(), Ready::IN));
                    }
                }
            }
            Owner::Orphan => {
                let unread = conn.socket().recv_queue() > 0;
                match state {
                    State::Closed => {
                        self.remove(id);
                        return;
                    }
                    State::TimeWait => {
                        let (key, last) = (conn.key, conn.last);
                        self.remove(id);
                        self.time_wait.add(key, last, now);
                        return;
                    }
                    // Nobody will read what still comes.
                    _ if unread => {
                        conn.socket_mut().abort();
                        net.counters.tcp_out_resets += 1;
                        self.drive(net, id, None, false);
                        return;
                    }
                    State::FinWait2 if conn.give_up.is_none() => conn.give_up = Some(now + FIN),
                    _ => {}
                }
            }
            _ => {}
        }
        self.tell(id);
        self.arm(net, id);
    }

    /// Tells the owner what has changed since it was told last.
    fn tell(&mut self, id: u64) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let socket = conn.socket();
        let new = (socket.state(), socket.recv_queue(), socket.send_queue());
        let (state, received, queued) = std::mem::replace(&mut conn.told, new);
        let mut ready = Ready::empty();
        if new.0 != state || conn.error.is_some() {
            ready |= Ready::all();
        }
        if new.1 > received {
            ready |= Ready::IN;
        }
        if new.2 < queued {
            ready |= Ready::OUT & conn.ready();
        }
        if let Owner::User(Some(notify)) = &conn.owner
            && !ready.is_empty()
        {
            self.notices.push((notify.clone(), ready));
        }
    }

    /// Sets the timer of a connection.
    fn arm(&mut self, net: &Net, id: u64) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let due = [conn.wake, conn.corked, conn.give_up, conn.silence_ends()]
            .into_iter()
            .flatten()
            .min();
        conn.wake = due.map(|at| at.max(net.now));
        if let Some(at) = conn.wake {
            self.timers.insert((at, id));
        }
    }

    /// When [`Tcp::tick`] is to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        [timer, self.time_wait.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Runs what is due.
    pub(crate) fn tick(&mut self, net: &mut Net) {
        self.time_wait.expire(net.now);
        // Each at most once: what is due again at once waits for the next call.
        let due: Vec<u64> = self
            .timers
            .iter()
            .take_while(|(at, _)| *at <= net.now)
            .map(|(_, id)| *id)
            .collect();
        for id in due {
            let Some(conn) = self.conns.get_mut(&id) else {
                continue;
            };
            let over = conn.give_up.is_some_and(|at| at <= net.now)
                || conn.silence_ends().is_some_and(|at| at <= net.now);
            // A connection whose acceptance was deferred long enough only changes hands.
            let deferred = matches!(conn.owner, Owner::Embryo(_))
                && conn.socket().state() == State::Established;
            if over && !deferred {
                self.fail(net, id, Errno::ETIMEDOUT);
            } else {
                self.drive(net, id, None, false);
            }
        }
    }

    /// Ends a connection for a reason of our own.
    fn fail(&mut self, net: &mut Net, id: u64, errno: Errno) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.error = Some(errno);
        conn.broken = true;
        conn.give_up = None;
        if matches!(conn.socket().state(), State::SynSent | State::SynReceived) {
            net.counters.tcp_attempt_fails += 1;
        }
        conn.socket_mut().abort();
        self.drive(net, id, None, false);
    }

    /// A segment whose checksum is right.
    pub(crate) fn input(
        &mut self,
        net: &mut Net,
        link: usize,
        interface: Option<u32>,
        ip: &Ip<'_>,
    ) {
        net.counters.tcp_in_segments += 1;
        let Some(head) = ip.payload.first_chunk::<20>() else {
            net.counters.tcp_in_errors += 1;
            return;
        };
        let key = Key {
            local: SocketAddr::new(ip.to, u16::from_be_bytes([head[2], head[3]])),
            remote: SocketAddr::new(ip.from, u16::from_be_bytes([head[0], head[1]])),
        };
        let flags = head[13];
        let (syn, reset, ack) = (flags & 2 != 0, flags & 4 != 0, flags & 0x10 != 0);
        let seq = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        if let Some(id) = self.keys.get(&key).copied() {
            // A connection that has ended, but whose socket is still there, is as if it were not.
            let over = self
                .conns
                .get(&id)
                .is_none_or(|conn| conn.socket().state() == State::Closed);
            if !over {
                let least = self.conns.get(&id).map_or(0, |c| c.settings.least_ttl);
                if ip.ttl >= least {
                    self.drive(net, id, Some(&device::renamed(ip)), reset);
                }
                return;
            }
            self.keys.remove(&key);
        }
        if self.time_wait.contains(&key, net.now) {
            if syn && !ack && !reset && self.time_wait.admits(&key, seq) {
                self.time_wait.remove(&key);
            } else {
                if !reset {
                    self.time_wait.answer(&key, net);
                }
                return;
            }
        }
        if syn
            && !ack
            && !reset
            && let Some(listener) = self.listener(&key, interface)
        {
            let least = self.listeners.get(&listener);
            if least.is_some_and(|listen| ip.ttl < listen.settings.least_ttl) {
                return;
            }
            self.begin(net, link, listener, key, &device::renamed(ip));
            return;
        }
        if !reset {
            self.refuse(net, link, ip);
        }
    }

    /// The listener that a SYN is for: the most definite one; of several equal ones (SO_REUSEPORT) one by the connection's ends.
    fn listener(&self, key: &Key, interface: Option<u32>) -> Option<u64> {
        let rate = |listen: &Listen| -> Option<u8> {
            if listen.settings.interface.is_some() && listen.settings.interface != interface {
                return None;
            }
            match (listen.place.at.ip(), key.local.ip()) {
                (at, to) if at == to => Some(3),
                (IpAddr::V4(at), IpAddr::V4(_)) if at.is_unspecified() => Some(2),
                (IpAddr::V6(at), IpAddr::V6(_)) if at.is_unspecified() => Some(2),
                (IpAddr::V6(at), IpAddr::V4(_)) if at.is_unspecified() && listen.place.dual => {
                    Some(1)
                }
                _ => None,
            }
        };
        let all = self.ports.get(&key.local.port())?;
        let rated: Vec<(u8, u64)> = all
            .iter()
            .filter_map(|id| Some((rate(self.listeners.get(id)?)?, *id)))
            .collect();
        let best = rated.iter().map(|(rating, _)| *rating).max()?;
        let equal: Vec<u64> = rated
            .into_iter()
            .filter(|(rating, _)| *rating == best)
            .map(|(_, id)| id)
            .collect();
        let spread = {
            use std::hash::BuildHasher;
            self.keys.hasher().hash_one(key) as usize
        };
        equal.get(spread % equal.len()).copied()
    }

    /// A SYN arrives at a listener.
    fn begin(&mut self, net: &mut Net, link: usize, listener: u64, key: Key, packet: &[u8]) {
        let Some(listen) = self.listeners.get(&listener) else {
            return;
        };
        if listen.queued.len() > listen.backlog {
            net.counters.tcp_listen_overflows += 1;
            return;
        }
        let settings = listen.settings;
        let crowded = listen.embryos.len() >= TRUSTED;
        let oldest = (listen.embryos.len() >= EMBRYOS)
            .then(|| listen.embryos.front().copied())
            .flatten();
        if let Some(oldest) = oldest {
            self.remove(oldest);
            net.counters.tcp_listen_overflows += 1;
        }
        let buffers = if crowded {
            Settings {
                receive_buffer: Some(CROWDED),
                send_buffer: Some(CROWDED),
                ..settings
            }
        } else {
            settings
        };
        let sizes = self.make_room(&buffers);
        net.counters.tcp_listen_overflows += std::mem::take(&mut self.overflows);
        let Some(sizes) = sizes else {
            net.counters.tcp_no_memory += 1;
            return;
        };
        let Ok(hop) = net
            .table
            .hop(key.remote.ip(), Some(link))
            .or_else(|_| net.table.hop(key.remote.ip(), None))
        else {
            net.counters.ip_out_no_routes += 1;
            return;
        };
        let id = self.new_id();
        let owner = Owner::Embryo(listener);
        let mut conn = Conn::new(key, owner, settings, sizes, hop, net.now);
        if !conn.listen() {
            return;
        }
        conn.give_up = Some(net.now + HANDSHAKE);
        self.insert(id, conn);
        if let Some(listen) = self.listeners.get_mut(&listener) {
            listen.embryos.push_back(id);
        }
        self.drive(net, id, Some(packet), false);
    }

    /// Nobody is there: a reset.
    fn refuse(&self, net: &mut Net, link: usize, ip: &Ip<'_>) {
        let Ok(hop) = net.table.hop(ip.from, Some(link)) else {
            return;
        };
        net.counters.tcp_out_resets += 1;
        let mtu = net.links.get(hop.link).map_or(1500, |link| link.mtu);
        let mtu = device::told_mtu(mtu, ip.from);
        let packet = device::renamed(ip);
        let v6 = match (ip.to, ip.from) {
            (IpAddr::V6(local), IpAddr::V6(remote)) => Some((local, remote)),
            _ => None,
        };
        let mut nobody = interface(mtu, self.seed(), net.now);
        let now = net.now;
        let mut tap = Tap {
            net,
            mtu,
            hop,
            v6,
            incoming: Some(&packet),
            last: Numbers::default(),
            sent: 0,
            bytes: 0,
            recovery: Recovery::default(),
            again: false,
            shape: Shape::default(),
        };
        let _ = PacketMeta::default();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            nobody.poll_ingress_single(now, &mut tap, &mut SocketSet::new(Vec::new()));
        }));
        if outcome.is_err() {
            net.counters.panics += 1;
        }
    }

    /// An ICMP error about a segment of ours.
    pub(crate) fn report(&mut self, net: &mut Net, report: &Report) {
        let key = Key {
            local: report.local,
            remote: report.remote,
        };
        let Some(id) = self.keys.get(&key).copied() else {
            return;
        };
        // Only a connect that is under way ends by it (RFC 5461); else it would be easy to end others' connections.
        let connecting = self
            .conns
            .get(&id)
            .is_some_and(|conn| conn.socket().state() == State::SynSent);
        if connecting && report.mtu.is_none() {
            self.fail(net, id, report.errno);
        }
    }

    /// Neighbours did not answer: connects through them end.
    pub(crate) fn neighbours_gone(&mut self, net: &mut Net, gone: &[IpAddr]) {
        let ids: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, conn)| {
                gone.contains(&conn.hop.next) && conn.socket().state() == State::SynSent
            })
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.fail(net, id, Errno::EHOSTUNREACH);
        }
    }

    /// `EADDRINUSE` never: who may listen where is the caller's to know.
    pub(crate) fn listen(
        &mut self,
        place: Place,
        backlog: usize,
        settings: Settings,
        notify: Arc<dyn Notify>,
    ) -> u64 {
        let id = self.new_id();
        self.ports.entry(place.at.port()).or_default().push(id);
        self.listeners.insert(
            id,
            Listen {
                place,
                backlog,
                settings,
                notify,
                embryos: VecDeque::new(),
                queued: VecDeque::new(),
            },
        );
        id
    }

    pub(super) fn set_listener(&mut self, id: u64, backlog: usize, settings: Settings) {
        if let Some(listen) = self.listeners.get_mut(&id) {
            listen.backlog = backlog;
            listen.settings = settings;
        }
    }

    pub(super) fn unlisten(&mut self, net: &mut Net, id: u64) {
        let Some(listen) = self.listeners.remove(&id) else {
            return;
        };
        if let Some(ids) = self.ports.get_mut(&listen.place.at.port()) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.ports.remove(&listen.place.at.port());
            }
        }
        for id in listen.embryos.into_iter().chain(listen.queued) {
            self.close(net, id, true);
        }
    }

    pub(super) fn accept(&mut self, id: u64) -> Option<(u64, Key)> {
        let listen = self.listeners.get_mut(&id)?;
        let id = listen.queued.pop_front()?;
        let conn = self.conns.get_mut(&id)?;
        conn.owner = Owner::User(None);
        Some((id, conn.key))
    }

    pub(super) fn waiting(&self, id: u64) -> usize {
        self.listeners.get(&id).map_or(0, |l| l.queued.len())
    }

    /// Begins to connect: `EADDRNOTAVAIL` if these ends are taken, `ENOBUFS` if memory is.
    pub(crate) fn connect(
        &mut self,
        net: &mut Net,
        key: Key,
        settings: Settings,
        notify: Arc<dyn Notify>,
        link: Option<usize>,
    ) -> Result<u64, Errno> {
        if self.keys.contains_key(&key) || self.time_wait.contains(&key, net.now) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let hop = net.table.hop(key.remote.ip(), link)?;
        let sizes = self.make_room(&settings);
        net.counters.tcp_listen_overflows += std::mem::take(&mut self.overflows);
        let sizes = sizes.ok_or(Errno::ENOBUFS)?;
        let owner = Owner::User(Some(notify));
        let mut conn = Conn::new(key, owner, settings, sizes, hop, net.now);
        let mut interface = interface(conn.told_mtu(net), self.seed(), net.now);
        if !conn.connect(&mut interface) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        conn.give_up = Some(net.now + CONNECT);
        conn.told.0 = State::SynSent;
        net.counters.tcp_active_opens += 1;
        let id = self.new_id();
        self.insert(id, conn);
        self.drive(net, id, None, false);
        Ok(id)
    }

    pub(super) fn attach(&mut self, id: u64, notify: Arc<dyn Notify>) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.owner = Owner::User(Some(notify));
        }
    }

    pub(super) fn ends(&self, id: u64) -> Option<(SocketAddr, SocketAddr)> {
        self.conns
            .get(&id)
            .map(|conn| (conn.key.local, conn.key.remote))
    }

    pub(super) fn room(&mut self, id: u64) -> Result<usize, Errno> {
        let conn = self.conns.get_mut(&id).ok_or(Errno::EPIPE)?;
        if let Some(errno) = conn.error.take() {
            return Err(errno);
        }
        let socket = conn.socket();
        match socket.state() {
            State::SynSent | State::SynReceived => Err(Errno::EAGAIN),
            State::Established | State::CloseWait if !conn.broken => {
                match socket.send_capacity() - socket.send_queue() {
                    0 => Err(Errno::EAGAIN),
                    room => Ok(room),
                }
            }
            _ => Err(Errno::EPIPE),
        }
    }

    pub(super) fn send(
        &mut self,
        net: &mut Net,
        id: u64,
        bytes: &[u8],
        more: bool,
    ) -> Result<usize, Errno> {
        self.room(id)?;
        let now = net.now;
        let conn = self.conns.get_mut(&id).ok_or(Errno::EPIPE)?;
        if conn.socket().send_queue() == 0 {
            conn.alive = now;
        }
        let sent = conn
            .socket_mut()
            .send_slice(bytes)
            .map_err(|_| Errno::EPIPE)?;
        conn.told.2 = conn.socket().send_queue();
        conn.held += sent;
        let segment = net.links.get(conn.hop.link).map_or(0, |link| link.mtu);
        if more && conn.held < segment {
            conn.corked.get_or_insert(now + CORK);
            if let Some(wake) = conn.wake.take() {
                self.timers.remove(&(wake, id));
            }
            conn.wake = conn.next;
            self.arm(net, id);
        } else {
            self.drive(net, id, None, false);
        }
        Ok(sent)
    }

    /// Sends what is held back.
    pub(super) fn flush(&mut self, net: &mut Net, id: u64) {
        if self.conns.get(&id).is_some_and(|conn| conn.held > 0) {
            self.drive(net, id, None, false);
        }
    }

    pub(super) fn receive(
        &mut self,
        net: &mut Net,
        id: u64,
        into: &mut [u8],
        peek: bool,
    ) -> Result<usize, Errno> {
        let conn = self.conns.get_mut(&id).ok_or(Errno::ENOTCONN)?;
        if conn.socket().recv_queue() == 0 {
            if let Some(errno) = conn.error.take() {
                return Err(errno);
            }
            let open = conn.socket().may_recv()
                || matches!(conn.socket().state(), State::SynSent | State::SynReceived);
            return if open && !conn.receive_shut && !conn.broken {
                Err(Errno::EAGAIN)
            } else {
                Ok(0)
            };
        }
        let got = if peek {
            conn.socket_mut().peek_slice(into)
        } else {
            conn.socket_mut().recv_slice(into)
        };
        let got = got.unwrap_or(0);
        if !peek {
            conn.told.1 = conn.socket().recv_queue();
            // The window may have opened.
            self.drive(net, id, None, false);
        }
        Ok(got)
    }

    pub(super) fn queues(&self, id: u64) -> (usize, usize) {
        self.conns.get(&id).map_or((0, 0), |conn| {
            (conn.socket().recv_queue(), conn.socket().send_queue())
        })
    }

    pub(super) fn ready(&self, id: u64) -> Ready {
        self.conns.get(&id).map_or(Ready::all(), Conn::ready)
    }

    pub(super) fn take_error(&mut self, id: u64) -> Option<Errno> {
        self.conns.get_mut(&id)?.error.take()
    }

    pub(super) fn set(&mut self, net: &mut Net, id: u64, settings: Settings) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.apply(settings);
            self.drive(net, id, None, false);
        }
    }

    pub(super) fn info(&self, id: u64, now: Instant) -> Info {
        let Some(conn) = self.conns.get(&id) else {
            return Info {
                state: number(State::Closed),
                ..Info::default()
            };
        };
        let socket = conn.socket();
        Info {
            state: number(socket.state()),
            segments: conn.segments,
            bytes: conn.bytes,
            mss: 0,
            unacked: socket.send_queue() as u32,
            idle_ms: (now - conn.alive).total_millis() as u32,
            mtu: 0,
            window: (socket.recv_capacity() - socket.recv_queue()) as u32,
            round_trip: conn.recovery.round_trip(),
            selective: conn.recovery.agreed(),
            beyond: conn.recovery.beyond() as u32,
            retransmitted: conn.recovery.retransmitted,
        }
    }

    pub(super) fn mtu(&self, net: &Net, id: u64) -> u32 {
        let link = self.conns.get(&id).map_or(0, |conn| conn.hop.link);
        net.links.get(link).map_or(0, |link| link.mtu as u32)
    }

    pub(super) fn shutdown(&mut self, net: &mut Net, id: u64, receive: bool, send: bool) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.receive_shut |= receive;
        if send {
            conn.alive = net.now;
            conn.socket_mut().close();
        }
        conn.told.0 = State::Listen;
        self.drive(net, id, None, false);
    }

    /// The socket is gone. What was not read is lost to the peer, who is told by a reset.
    pub(super) fn close(&mut self, net: &mut Net, id: u64, reset: bool) {
        let now = net.now;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if matches!(conn.owner, Owner::Orphan) {
            return;
        }
        if let Owner::Embryo(listener) | Owner::Queued(listener) = conn.owner
            && let Some(listen) = self.listeners.get_mut(&listener)
        {
            listen.queued.retain(|other| *other != id);
            listen.embryos.retain(|other| *other != id);
        }
        conn.owner = Owner::Orphan;
        conn.alive = now;
        conn.give_up = None;
        let unread = conn.socket().recv_queue() > 0;
        let open = conn.socket().state() != State::Closed;
        if reset || unread {
            conn.socket_mut().abort();
            if open {
                net.counters.tcp_out_resets += 1;
            }
        } else {
            conn.socket_mut().close();
        }
        self.drive(net, id, None, false);
    }

    /// All that `/proc/net/tcp` shows but listeners.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let alive = self.conns.values().map(|conn| {
            let socket = conn.socket();
            Row {
                local: conn.key.local,
                remote: conn.key.remote,
                state: number(socket.state()),
                send_queue: socket.send_queue(),
                receive_queue: socket.recv_queue(),
                orphan: !matches!(conn.owner, Owner::User(_)),
            }
        });
        let over = self.time_wait.keys().map(|key| Row {
            local: key.local,
            remote: key.remote,
            state: number(State::TimeWait),
            send_queue: 0,
            receive_queue: 0,
            orphan: true,
        });
        alive.chain(over).collect()
    }

    /// Connections, those in TIME-WAIT, bytes of buffers.
    pub(crate) fn totals(&self) -> (usize, usize, usize) {
        (self.conns.len(), self.time_wait.len(), self.used)
    }
}
