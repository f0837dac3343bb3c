//! AF_NETLINK: NETLINK_ROUTE dumps links, addresses and routes (`rtnetlink(7)`), enough for `getifaddrs(3)` and `ip addr`; NETLINK_SOCK_DIAG is `super::diag`.
//! Nothing can be changed: requests that would are answered `EPERM` or `EOPNOTSUPP` in the protocol's own way.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use abi::socket as so;
use abi::{UserAddr, UserOut};
use parking_lot::Mutex;

use super::inbox::{Inbox, OVERHEAD, Packet};
use super::loopback::Loopback;
use super::options::{Options, cut};
use super::route_dump::{self, Part};
use super::{ControlMessage, Message, SockAddr, SocketOps, interface};
use crate::error::{Errno, Result, SysResult};
use crate::task::CurrentTask;
use crate::task::creds::Cap;
use crate::task::namespaces::NetNamespace;
use crate::vfs::{File, FileOps, IoCx, Sink, Source};
use crate::wait::{Events, WaitQueue};

const NETLINK_ROUTE: i32 = 0;
const NETLINK_SOCK_DIAG: i32 = 4;
/// Most bytes of one datagram of an answer (`NLMSG_GOODSIZE` is 8 KiB; readers have room for 32 KiB).
const DATAGRAM: usize = 8192;
const SOL_NETLINK: i32 = 270;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_MULTI: u16 = 2;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const RTA_DST: u16 = 1;
const RTM_NEWRULE: u16 = 32;
const RTM_GETRULE: u16 = 34;
/// The first request number; each kind has four: new, del, get, set.
const RTM_BASE: u16 = 16;

struct NetlinkSocket {
    ino: u64,
    protocol: i32,
    state: Mutex<State>,
    inbox: Mutex<Inbox>,
    options: Mutex<Options>,
    queue: WaitQueue,
}

#[derive(Default)]
struct State {
    /// Port id and multicast groups; 0: not bound.
    port: u32,
    groups: u32,
}

/// A new socket: NETLINK_ROUTE or NETLINK_SOCK_DIAG, else `EPROTONOSUPPORT`.
pub fn create(task: &CurrentTask, kind: i32, protocol: i32) -> Result<Arc<File>> {
    if !matches!(kind, so::SOCK_RAW | so::SOCK_DGRAM) {
        return Err(Errno::ESOCKTNOSUPPORT);
    }
    if !matches!(protocol, NETLINK_ROUTE | NETLINK_SOCK_DIAG) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    Ok(super::new_file(task, |ino| {
        Box::new(NetlinkSocket {
            ino,
            protocol,
            state: Mutex::default(),
            inbox: Mutex::default(),
            options: Mutex::default(),
            queue: WaitQueue::new(),
        })
    }))
}

/// `struct sockaddr_nl`.
fn address(port: u32, groups: u32) -> SockAddr {
    let mut addr = (so::AF_NETLINK as u16).to_ne_bytes().to_vec();
    addr.extend_from_slice(&[0; 2]);
    addr.extend_from_slice(&port.to_ne_bytes());
    addr.extend_from_slice(&groups.to_ne_bytes());
    addr
}

fn parse(addr: &[u8]) -> Result<(u32, u32)> {
    let bytes = addr.first_chunk::<12>().ok_or(Errno::EINVAL)?;
    if i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) != so::AF_NETLINK {
        return Err(Errno::EINVAL);
    }
    let word =
        |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Ok((word(4), word(8)))
}

/// Header of a request.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) kind: u16,
    flags: u16,
    sequence: u32,
}

impl Request {
    /// NLM_F_DUMP.
    pub(super) const fn dumps(&self) -> bool {
        self.flags & NLM_F_DUMP == NLM_F_DUMP
    }
}

/// Builds messages of an answer: a list of datagrams of whole messages.
pub(super) struct Answer {
    datagrams: Vec<Vec<u8>>,
    pub(super) request: Request,
    port: u32,
}

impl Answer {
    /// Adds a message; a datagram is begun anew when it would get too long.
    fn message(&mut self, kind: u16, flags: u16, body: &[u8], attributes: &[(u16, Vec<u8>)]) {
        let mut one = vec![0; 4];
        one.extend_from_slice(&kind.to_ne_bytes());
        one.extend_from_slice(&flags.to_ne_bytes());
        one.extend_from_slice(&self.request.sequence.to_ne_bytes());
        one.extend_from_slice(&self.port.to_ne_bytes());
        one.extend_from_slice(body);
        for (name, value) in attributes {
            let len = (4 + value.len()) as u16;
            one.extend_from_slice(&len.to_ne_bytes());
            one.extend_from_slice(&name.to_ne_bytes());
            one.extend_from_slice(value);
            one.resize(one.len().next_multiple_of(4), 0);
        }
        let len = one.len() as u32;
        one[..4].copy_from_slice(&len.to_ne_bytes());
        one.resize(one.len().next_multiple_of(4), 0);
        match self.datagrams.last_mut() {
            Some(last) if last.len() + one.len() <= DATAGRAM => last.extend_from_slice(&one),
            _ => self.datagrams.push(one),
        }
    }

    /// A message of its own, not part of a dump.
    pub(super) fn single(&mut self, kind: u16, part: &Part) {
        self.message(kind, 0, &part.body, &part.attributes);
    }

    fn error(&mut self, errno: i32, request: &[u8]) {
        let mut body = (-errno).to_ne_bytes().to_vec();
        body.extend_from_slice(&request[..HEADER.min(request.len())]);
        self.message(NLMSG_ERROR, 0, &body, &[]);
    }

    /// Ends a dump.
    pub(super) fn done(&mut self) {
        self.message(NLMSG_DONE, NLM_F_MULTI, &0_i32.to_ne_bytes(), &[]);
    }

    /// Messages of a dump.
    pub(super) fn parts(&mut self, kind: u16, parts: &[Part]) {
        for part in parts {
            self.message(kind, NLM_F_MULTI, &part.body, &part.attributes);
        }
    }
}

impl NetlinkSocket {
    /// The port id, chosen at first need. Random: several sockets of a process need different ones.
    fn port(&self) -> u32 {
        let mut state = self.state.lock();
        if state.port == 0 {
            let mut random = [0; 4];
            crate::host::random(&mut random);
            state.port = u32::from_ne_bytes(random) | 0x8000_0000;
        }
        state.port
    }

    /// Answers all requests in a datagram.
    fn serve(&self, task: &CurrentTask, mut rest: &[u8]) {
        let port = self.port();
        while rest.len() >= HEADER {
            let len = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            if len < HEADER || len > rest.len() {
                break;
            }
            let (message, _) = rest.split_at(len);
            let request = Request {
                kind: u16::from_ne_bytes([message[4], message[5]]),
                flags: u16::from_ne_bytes([message[6], message[7]]),
                sequence: u32::from_ne_bytes([message[8], message[9], message[10], message[11]]),
            };
            let mut answer = Answer {
                datagrams: Vec::new(),
                request,
                port,
            };
            let errno = match self.protocol {
                NETLINK_SOCK_DIAG => super::diag::handle(task, &message[HEADER..], &mut answer),
                _ => handle(task, message, &mut answer),
            };
            if errno != 0 || (request.flags & NLM_F_ACK != 0 && answer.datagrams.is_empty()) {
                answer.error(errno, message);
            }
            self.deliver(answer.datagrams);
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }

    /// Keeps an answer. Linux makes the next part of a dump as the last is read, so a dump is not bounded by the buffer: only what waits before it is.
    fn deliver(&self, datagrams: Vec<Vec<u8>>) {
        if datagrams.is_empty() {
            return;
        }
        {
            let room = self.options.lock().rcvbuf;
            let mut inbox = self.inbox.lock();
            let first = datagrams.first().map_or(0, Vec::len);
            if inbox.used() + first + OVERHEAD > room {
                inbox.error = Some(Errno::ENOBUFS);
            } else {
                for bytes in datagrams {
                    inbox.push(Packet::new(bytes));
                }
            }
        }
        self.queue.notify(Events::IN | Events::RDNORM);
    }

    fn receive_one(&self, dst: &mut dyn Sink, flags: i32) -> Result<Message> {
        let packet = {
            let mut inbox = self.inbox.lock();
            if let Some(error) = inbox.error.take() {
                return Err(error);
            }
            if flags & so::MSG_PEEK == 0 {
                inbox.pop()
            } else {
                inbox
                    .front()
                    .map(|front| Packet::new(front.bytes().to_vec()))
            }
        }
        .ok_or(Errno::EAGAIN)?;
        let whole = packet.bytes().len();
        let fits = whole.min(dst.remaining());
        if fits > 0 && dst.put(&packet.bytes()[..fits])? < fits {
            return Err(Errno::EFAULT);
        }
        Ok(Message {
            len: if flags & so::MSG_TRUNC != 0 {
                whole
            } else {
                fits
            },
            from: Some(address(0, 0)),
            flags: if fits < whole { so::MSG_TRUNC } else { 0 },
            ..Message::default()
        })
    }

    fn send_one(&self, task: &CurrentTask, src: &mut dyn Source) -> Result<usize> {
        let len = src.remaining();
        if len > self.options.lock().sndbuf.saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        let bytes = src.take_vec(len)?;
        self.serve(task, &bytes);
        Ok(bytes.len())
    }
}

/// Answers one request; returns the errno to report, 0 for none.
fn handle(task: &CurrentTask, message: &[u8], answer: &mut Answer) -> i32 {
    let kind = answer.request.kind;
    if kind < RTM_BASE {
        return 0;
    }
    let family = message.get(HEADER).copied().unwrap_or(0);
    let dump = answer.request.dumps();
    let reads = (kind - RTM_BASE) % 4 == 2;
    if !reads {
        // Changing the network needs the capability, and even then only loopback can be changed.
        let net = task.namespaces().net.clone();
        return if task.creds().has_in(&net.owner, Cap::NET_ADMIN) {
            change(
                &net,
                kind,
                answer.request.flags,
                message.get(HEADER..).unwrap_or_default(),
            )
            .err()
            .map_or(0, Errno::raw)
        } else {
            Errno::EPERM.raw()
        };
    }
    let net = task.namespaces().net.clone();
    match (kind, dump) {
        (RTM_GETLINK, true) => {
            for link in interface::links(&net) {
                answer.parts(RTM_NEWLINK, &[route_dump::link(&link)]);
            }
        }
        (RTM_GETLINK, false) => {
            let index = message
                .get(HEADER + 4..HEADER + 8)
                .and_then(|bytes| bytes.first_chunk::<4>())
                .map_or(0, |bytes| i32::from_ne_bytes(*bytes));
            let name = message
                .get(HEADER + 16..)
                .and_then(|rest| attribute(rest, IFLA_IFNAME));
            let name = name.and_then(|name| name.strip_suffix(b"\0"));
            let found = interface::links(&net)
                .into_iter()
                .find(|link| link.index == index || Some(link.name.as_bytes()) == name);
            let Some(link) = found else {
                return Errno::ENODEV.raw();
            };
            let part = route_dump::link(&link);
            answer.message(RTM_NEWLINK, 0, &part.body, &part.attributes);
            return 0;
        }
        (RTM_GETADDR, true) => {
            answer.parts(RTM_NEWADDR, &route_dump::addresses(&net, family));
        }
        (RTM_GETROUTE, true) => answer.parts(RTM_NEWROUTE, &route_dump::routes(&net, family)),
        (RTM_GETNEIGH, true) => {
            answer.parts(RTM_NEWNEIGH, &route_dump::neighbours(&net, family));
        }
        (RTM_GETRULE, true) => answer.parts(RTM_NEWRULE, &route_dump::rules(family)),
        (RTM_GETNSID, false) => {
            // Other namespaces have no number here: -1.
            let none = (NETNSA_NSID, (-1_i32).to_ne_bytes().to_vec());
            answer.message(RTM_NEWNSID, 0, &[0; 4], &[none]);
            return 0;
        }
        (RTM_GETROUTE, false) => {
            let to = message
                .get(HEADER + 12..)
                .and_then(|rest| attribute(rest, RTA_DST));
            let to = to.and_then(|bytes| match bytes.len() {
                4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
                16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
                _ => None,
            });
            let Some(part) = to.and_then(|to| route_dump::route_to(&net, to)) else {
                return Errno::ENETUNREACH.raw();
            };
            answer.message(RTM_NEWROUTE, 0, &part.body, &part.attributes);
            return 0;
        }
        _ => return Errno::EOPNOTSUPP.raw(),
    }
    answer.done();
    0
}

/// RTM_NEWLINK and RTM_NEWADDR for loopback; `EOPNOTSUPP` for all else.
fn change(net: &NetNamespace, kind: u16, flags: u16, body: &[u8]) -> Result<()> {
    const NLM_F_EXCL: u16 = 0x200;
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    let word = |at: usize| {
        body.get(at..at + 4)
            .and_then(|bytes| bytes.first_chunk::<4>())
            .map(|bytes| u32::from_ne_bytes(*bytes))
            .ok_or(Errno::EINVAL)
    };
    let loopback = net.objects.get::<Loopback>();
    let index = word(4)?;
    match kind {
        RTM_NEWLINK => {
            let name = body.get(16..).and_then(|rest| attribute(rest, IFLA_IFNAME));
            let by_name =
                index == 0 && name.and_then(|name| name.strip_suffix(b"\0")) == Some(b"lo");
            if !by_name && index != interface::INDEX.cast_unsigned() {
                return Err(Errno::EOPNOTSUPP);
            }
            let (flags, change) = (word(8)?, word(12)?);
            // Without a mask all flags are meant, if any.
            let all = if flags == 0 { 0 } else { u32::MAX };
            loopback.change_flags(flags, if change == 0 { all } else { change });
            Ok(())
        }
        RTM_NEWADDR if index == interface::INDEX.cast_unsigned() => {
            let rest = body.get(8..).unwrap_or_default();
            let ip = attribute(rest, IFA_LOCAL).or_else(|| attribute(rest, IFA_ADDRESS));
            let prefix = body.get(1).copied().unwrap_or(0);
            match loopback.add_address(ip.ok_or(Errno::EINVAL)?, prefix) {
                Err(Errno::EEXIST) if flags & NLM_F_EXCL == 0 => Ok(()),
                other => other,
            }
        }
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// The first attribute of this kind; ends where they are not sound.
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let head = rest.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = rest.get(4..len)?;
        if u16::from_ne_bytes([head[2], head[3]]) == wanted {
            return Some(value);
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
}

impl FileOps for NetlinkSocket {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        Ok(self.receive_one(dst, 0)?.len)
    }
    fn write_at(
        &self,
        cx: IoCx<'_>,
        _offset: u64,
        src: &mut dyn Source,
    ) -> SysResult<(usize, u64)> {
        let task = cx.task.ok_or(Errno::EINVAL)?;
        Ok((self.send_one(task, src)?, 0))
    }
    fn readiness(&self) -> Events {
        let inbox = self.inbox.lock();
        let mut events = Events::OUT | Events::WRNORM | Events::WRBAND;
        if !inbox.is_empty() {
            events |= Events::IN | Events::RDNORM;
        }
        if inbox.error.is_some() {
            events |= Events::ERR;
        }
        events
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }
    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        if request == so::FIONREAD {
            let len = self
                .inbox
                .lock()
                .front()
                .map_or(0, |packet| packet.bytes().len() as i32);
            task.memory().put(UserOut::new(UserAddr(arg)), &len)?;
            return Ok(0);
        }
        interface::ioctl(task, request, arg)
    }
    fn as_socket(&self) -> Option<&dyn SocketOps> {
        Some(self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        format!("socket:[{}]", self.ino).into_bytes()
    }
}

impl SocketOps for NetlinkSocket {
    fn kind(&self) -> (i32, i32, i32) {
        (so::AF_NETLINK, so::SOCK_RAW, self.protocol)
    }
    fn bind(&self, _task: &CurrentTask, addr: &[u8]) -> Result<()> {
        let (port, groups) = parse(addr)?;
        {
            let mut state = self.state.lock();
            if port != 0 && state.port != 0 && state.port != port {
                return Err(Errno::EINVAL);
            }
            if port != 0 {
                state.port = port;
            }
            // Nothing ever changes, so no group has anything to tell.
            state.groups = groups;
        }
        self.port();
        Ok(())
    }
    fn listen(&self, _task: &CurrentTask, _backlog: i32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    fn connect(&self, _task: &CurrentTask, addr: &[u8]) -> Result<()> {
        let (port, _) = parse(addr)?;
        if port != 0 {
            return Err(Errno::ECONNREFUSED);
        }
        self.port();
        Ok(())
    }
    fn accept(&self, _task: &CurrentTask) -> Result<(Arc<File>, SockAddr)> {
        Err(Errno::EOPNOTSUPP)
    }
    fn send(
        &self,
        task: &CurrentTask,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        _control: Vec<ControlMessage>,
        _files: Vec<Arc<File>>,
        flags: i32,
    ) -> SysResult<usize> {
        if flags & so::MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if let Some(addr) = to
            && parse(addr)?.0 != 0
        {
            return Err(Errno::ECONNREFUSED.into());
        }
        Ok(self.send_one(task, src)?)
    }
    fn receive(&self, _task: &CurrentTask, dst: &mut dyn Sink, flags: i32) -> SysResult<Message> {
        Ok(self.receive_one(dst, flags)?)
    }
    fn shutdown(&self, _how: i32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    fn local_addr(&self) -> Result<SockAddr> {
        let state = self.state.lock();
        Ok(address(state.port, state.groups))
    }
    fn peer_addr(&self) -> Result<SockAddr> {
        Ok(address(0, 0))
    }
    fn get_option(
        &self,
        _task: &CurrentTask,
        level: i32,
        name: i32,
        max: usize,
    ) -> Result<Vec<u8>> {
        if level == SOL_NETLINK {
            return Ok(cut(&0_i32.to_ne_bytes(), max));
        }
        if level != so::SOL_SOCKET {
            return Err(Errno::ENOPROTOOPT);
        }
        let number = match name {
            so::SO_DOMAIN => so::AF_NETLINK,
            so::SO_TYPE => so::SOCK_RAW,
            so::SO_PROTOCOL => self.protocol,
            so::SO_ACCEPTCONN => 0,
            so::SO_ERROR => self.inbox.lock().error.take().map_or(0, Errno::raw),
            name => return self.options.lock().get(name, max),
        };
        Ok(cut(&number.to_ne_bytes(), max))
    }
    fn set_option(&self, task: &CurrentTask, level: i32, name: i32, value: &[u8]) -> Result<()> {
        /// Memberships, extended acknowledgements and strict checks: nothing here depends on them.
        const HARMLESS: [i32; 6] = [1, 2, 3, 10, 11, 12];
        if level == SOL_NETLINK {
            return if HARMLESS.contains(&name) {
                Ok(())
            } else {
                Err(Errno::ENOPROTOOPT)
            };
        }
        if level != so::SOL_SOCKET {
            return Err(Errno::ENOPROTOOPT);
        }
        // Forced sizes are bounded like others here.
        let name = match name {
            so::SO_RCVBUFFORCE
                if task
                    .creds()
                    .has_in(&task.namespaces().net.owner, Cap::NET_ADMIN) =>
            {
                so::SO_RCVBUF
            }
            name => name,
        };
        let creds = task.creds();
        self.options.lock().set(&creds, name, value)
    }
    fn timeout_ns(&self, send: bool) -> Option<u64> {
        let options = self.options.lock();
        if send {
            options.send_timeout_ns
        } else {
            options.receive_timeout_ns
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::namespaces::NetNamespace;

    #[test]
    fn messages_carry_their_length_and_are_aligned() {
        let mut answer = Answer {
            datagrams: Vec::new(),
            request: Request {
                kind: RTM_GETLINK,
                flags: NLM_F_DUMP,
                sequence: 77,
            },
            port: 5,
        };
        let net = NetNamespace::new();
        for link in interface::links(&net) {
            answer.parts(RTM_NEWLINK, &[route_dump::link(&link)]);
        }
        answer.parts(RTM_NEWADDR, &route_dump::addresses(&net, 0));
        answer.done();
        let mut kinds = Vec::new();
        let all = answer.datagrams.concat();
        let mut rest = all.as_slice();
        while rest.len() >= HEADER {
            let len = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            assert!(len >= HEADER && len <= rest.len());
            assert_eq!(rest[8..12], 77_u32.to_ne_bytes());
            kinds.push(u16::from_ne_bytes([rest[4], rest[5]]));
            rest = &rest[len.next_multiple_of(4)..];
        }
        assert_eq!(kinds, [RTM_NEWLINK, RTM_NEWADDR, RTM_NEWADDR, NLMSG_DONE]);
    }

    #[test]
    fn a_name_attribute_is_found_and_broken_ones_end_the_search() {
        let name = |bytes| attribute(bytes, IFLA_IFNAME);
        assert_eq!(
            name(b"\x04\x00\x01\x00\x07\x00\x03\x00lo\0\0"),
            Some(&b"lo\0"[..])
        );
        assert_eq!(name(b"\x08\x00\x04\x00eth\0"), None);
        assert_eq!(name(b"\xff\xff\x03\x00lo\0\0"), None);
        assert_eq!(name(b"\x00\x00\x03\x00lo\0\0"), None);
    }
}
