//! The way out of the sandbox: the packet stack of a network namespace, its wires, and what it delivers upwards.
//!
//! - [`attach`]: makes the stack of a namespace from what the launcher read and opened. Without it there is loopback only.
//! - [`Outside`]: the stack, hung on the namespace.
//!
//! No thread is added: the reactor reads what arrives, whoever sends writes. Lock order: a socket's lock may be held when the stack is called, never the
//! other way (the stack calls back with none of its locks held).

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use netstack::setup::Setup;
use netstack::tcp::Ready;
use netstack::wire::{Sent, Wire};
use netstack::{Arrived, Failed, Options, Stack, Upper};
use parking_lot::Mutex;

use super::Endpoint;
use super::control::Failure;
use super::raw::RawTable;
use super::udp::UdpSocket;
use crate::error::{Errno, Result};
use crate::exec::Reactor;
use crate::exec::reactor::{Timer, WatchHandle};
use crate::host;
use crate::socket::loopback::Loopback;
use crate::task::namespaces::NetNamespace;
use crate::wait::Events;

/// The stack of a namespace, once attached; an extension of [`NetNamespace`].
#[derive(Default)]
pub struct Outside(OnceLock<Attached>);

struct Attached {
    stack: Arc<Stack>,
    _watches: Vec<WatchHandle>,
    _timer: Arc<Mutex<Option<Timer>>>,
}

impl Outside {
    /// The stack, if there is one.
    #[must_use]
    pub fn stack(&self) -> Option<&Arc<Stack>> {
        self.0.get().map(|attached| &attached.stack)
    }
}

/// The stack of a namespace, if it has one.
#[must_use]
pub fn stack(net: &NetNamespace) -> Option<Arc<Stack>> {
    net.objects.get::<Outside>().stack().cloned()
}

/// A packet socket of the host: frames with virtio-net headers, non-blocking.
struct PacketSocket(Arc<OwnedFd>);

impl Wire for PacketSocket {
    fn send(&self, frame: &[u8]) -> Sent {
        match host::write(&self.0, frame) {
            Ok(_) => Sent::Yes,
            Err(Errno::ENXIO | Errno::ENETDOWN | Errno::ENODEV) => Sent::Gone,
            Err(_) => Sent::Full,
        }
    }
    fn receive(&self, buf: &mut [u8]) -> Option<usize> {
        // An error (the interface went down) is told once; the next read finds nothing or frames.
        host::read(&self.0, buf).ok().filter(|len| *len > 0)
    }
}

/// The host's loopback: frames come from a packet socket, packets go through a raw socket, so that they pass the host's rules for its own output (an
/// engine's resolver is reached by an address translation there).
struct LoopbackSockets {
    input: PacketSocket,
    output: Arc<OwnedFd>,
}

impl Wire for LoopbackSockets {
    fn send(&self, frame: &[u8]) -> Sent {
        let Some(packet) = netstack::wire::completed(frame) else {
            return Sent::Full;
        };
        match host::write(&self.output, &packet) {
            Ok(_) => Sent::Yes,
            Err(_) => Sent::Full,
        }
    }
    fn receive(&self, buf: &mut [u8]) -> Option<usize> {
        self.input.receive(buf)
    }
}

/// Tells a socket's queue.
pub(super) fn events(ready: Ready) -> Events {
    let mut events = Events::from_bits_truncate(ready.bits());
    if events.contains(Events::IN) {
        events |= Events::RDNORM;
    }
    if events.contains(Events::OUT) {
        events |= Events::WRNORM;
    }
    events
}

/// Who gets datagrams: the sockets of the namespace.
struct Sockets(Weak<NetNamespace>);

impl Upper for Sockets {
    fn datagram(&self, arrived: &Arrived) -> bool {
        let Some(net) = self.0.upgrade() else {
            return true;
        };
        if arrived.to.ip().is_multicast() || is_broadcast(&net, arrived.to.ip()) {
            UdpSocket::arrived_for_many(&net, arrived);
            return true;
        }
        UdpSocket::arrived(&net, arrived)
    }
    fn packet(&self, arrived: &Arrived) {
        if let Some(net) = self.0.upgrade() {
            net.objects.get::<RawTable>().arrived(arrived);
        }
    }
    fn failed(&self, failed: &Failed) {
        const UDP: u8 = 17;
        let Some(net) = self.0.upgrade() else {
            return;
        };
        let failure = Failure {
            errno: failed.errno,
            origin: failed.origin,
            info: failed.info,
            offender: failed.offender,
            to: failed.remote.into(),
            payload: failed.payload.clone(),
        };
        if failed.protocol == UDP {
            UdpSocket::failed(&net, failed.local.into(), failure, failed.hard);
        } else {
            let ident = failed.local.port();
            net.objects
                .get::<RawTable>()
                .failed(failed.protocol, ident, &failure, failed.hard);
        }
    }
}

fn is_broadcast(net: &NetNamespace, ip: IpAddr) -> bool {
    stack(net).is_some_and(|stack| stack.is_broadcast(ip))
}

/// Gives a namespace its stack: `EINVAL` if the setup cannot be, `EEXIST` if it has one.
pub fn attach(
    reactor: &Arc<Reactor>,
    net: &Arc<NetNamespace>,
    setup: Setup,
    sockets: Vec<OwnedFd>,
    memory: usize,
) -> Result<()> {
    if setup.check().is_err() || setup.descriptors() != sockets.len() {
        return Err(Errno::EINVAL);
    }
    let outside = net.objects.get::<Outside>();
    if outside.0.get().is_some() {
        return Err(Errno::EEXIST);
    }
    let mut sockets: Vec<Arc<OwnedFd>> = sockets.into_iter().map(Arc::new).collect();
    let capture = if setup.capture { sockets.pop() } else { None };
    // The last two are the host's loopback, if it is there.
    let (links, loopback) = sockets.split_at(setup.interfaces.len());
    let mut wires: Vec<Arc<dyn Wire>> = links
        .iter()
        .map(|fd| Arc::new(PacketSocket(fd.clone())) as Arc<dyn Wire>)
        .collect();
    if let [input, output] = loopback {
        wires.push(Arc::new(LoopbackSockets {
            input: PacketSocket(input.clone()),
            output: output.clone(),
        }));
    }
    let readers = setup.wires();
    let options = Options {
        memory,
        random: host::random,
    };
    let stack = Stack::new(setup, wires, &options);
    if let Some(file) = capture {
        super::capture::start(&stack, file);
    }
    stack.set_upper(Arc::new(Sockets(Arc::downgrade(net))));
    let timer: Arc<Mutex<Option<Timer>>> = Arc::default();
    stack.set_alarm(alarm(reactor, &stack, &timer));
    let watches = sockets
        .iter()
        .take(readers)
        .enumerate()
        .map(|(link, fd)| {
            let stack = Arc::downgrade(&stack);
            let ready = Arc::new(move |_: Events| {
                if let Some(stack) = stack.upgrade() {
                    stack.pump(link);
                }
            });
            reactor.watch(fd.clone(), Events::IN, ready)
        })
        .collect();
    let attached = Attached {
        stack,
        _watches: watches,
        _timer: timer,
    };
    super::tables::ensure(net);
    outside.0.set(attached).map_err(|_| Errno::EEXIST)
}

/// How the stack's timers become one of the reactor's.
fn alarm(
    reactor: &Arc<Reactor>,
    stack: &Arc<Stack>,
    slot: &Arc<Mutex<Option<Timer>>>,
) -> Box<dyn Fn(Instant) + Send + Sync> {
    let (reactor, stack, slot) = (Arc::downgrade(reactor), Arc::downgrade(stack), slot.clone());
    Box::new(move |at| {
        let Some(reactor) = reactor.upgrade() else {
            return;
        };
        let stack = stack.clone();
        let tick = Arc::new(move || {
            if let Some(stack) = stack.upgrade() {
                stack.tick();
            }
        });
        let timer = reactor.call_at(at, tick);
        let old = slot.lock().replace(timer);
        drop(old);
    })
}

/// Where what is sent to an address goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// From memory to memory, from this address.
    Loopback(IpAddr),
    /// Through the stack.
    Out {
        /// From this address.
        source: IpAddr,
        /// Through this interface only.
        interface: Option<u32>,
    },
}

impl Way {
    /// The address that packets come from.
    pub(super) const fn source(&self) -> IpAddr {
        match self {
            Self::Loopback(source) | Self::Out { source, .. } => *source,
        }
    }

    /// The same way, from another address.
    pub(super) const fn from(self, source: IpAddr) -> Self {
        match self {
            Self::Loopback(_) => Self::Loopback(source),
            Self::Out { interface, .. } => Self::Out { source, interface },
        }
    }
}

/// The way to `to`, which is not unspecified, and `port` (0: none), through `interface` if one is named: `ENETUNREACH` without one, `ENODEV`.
pub(super) fn way(
    net: &NetNamespace,
    to: IpAddr,
    port: u16,
    interface: Option<u32>,
) -> Result<Way> {
    const LOOPBACK: u32 = crate::socket::interface::INDEX as u32;
    let stack = stack(net);
    let here = match to {
        IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(_) => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
    };
    let own = stack.as_ref().is_some_and(|stack| stack.is_own(to));
    if to.is_loopback() && !net.objects.get::<Loopback>().reaches(to) {
        return Err(match to {
            IpAddr::V4(_) => Errno::ENETUNREACH,
            IpAddr::V6(_) => Errno::EADDRNOTAVAIL,
        });
    }
    let hosts = |stack: &Arc<Stack>| stack.is_on_host_loopback(SocketAddr::new(to, port));
    if interface.is_none() && stack.as_ref().is_some_and(hosts) {
        return Ok(Way::Out {
            source: here,
            interface: None,
        });
    }
    match interface {
        Some(LOOPBACK) if to.is_multicast() => return Ok(Way::Loopback(here)),
        _ if own => return Ok(Way::Loopback(to)),
        None | Some(LOOPBACK) if to.is_loopback() => {
            return Ok(Way::Loopback(if to.is_ipv4() { here } else { to }));
        }
        Some(LOOPBACK) => return Err(Errno::ENETUNREACH),
        _ if to.is_loopback() => return Err(Errno::ENETUNREACH),
        _ => {}
    }
    let stack = stack.ok_or(Errno::ENETUNREACH)?;
    let source = stack.source_for(to, interface)?;
    Ok(Way::Out { source, interface })
}

/// `EADDRNOTAVAIL` unless a socket can be bound to it (`anywhere`: IP_FREEBIND); `EADDRINUSE` for a port that the host's own stack uses.
pub(super) fn check_local(net: &NetNamespace, at: Endpoint, anywhere: bool) -> Result<()> {
    let ip = at.ip;
    let stack = stack(net);
    let reserved = stack
        .as_ref()
        .and_then(|stack| stack.setup().reserved_ports);
    if !ip.is_loopback() && reserved.is_some_and(|(first, last)| (first..=last).contains(&at.port))
    {
        return Err(Errno::EADDRINUSE);
    }
    let here = anywhere
        || ip.is_unspecified()
        || ip.is_loopback() && (ip.is_ipv4() || net.objects.get::<Loopback>().reaches(ip))
        || ip.is_multicast()
        || stack.is_some_and(|stack| stack.is_own(ip) || stack.is_broadcast(ip));
    if here {
        Ok(())
    } else {
        Err(Errno::EADDRNOTAVAIL)
    }
}
