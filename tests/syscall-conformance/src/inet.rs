//! Internet sockets for the cases: addresses, connected pairs, options, control messages. Everything is on loopback.

use crate::host::{Data, NULL, Ret, sys, zeroed};
use libc::*;

/// A `sockaddr` of either family as bytes.
pub(crate) type Addr = Vec<u8>;

/// An IPv4 address.
pub(crate) fn v4(ip: [u8; 4], port: u16) -> Addr {
    let mut addr = (AF_INET as u16).to_ne_bytes().to_vec();
    addr.extend(port.to_be_bytes());
    addr.extend(ip);
    addr.extend([0; 8]);
    addr
}

/// An IPv6 address.
pub(crate) fn v6(ip: &str, port: u16) -> Addr {
    let ip: std::net::Ipv6Addr = ip.parse().expect("an address");
    let mut addr = (AF_INET6 as u16).to_ne_bytes().to_vec();
    addr.extend(port.to_be_bytes());
    addr.extend([0; 4]);
    addr.extend(ip.octets());
    addr.extend([0; 4]);
    addr
}

/// 127.0.0.1.
pub(crate) fn local(port: u16) -> Addr {
    v4([127, 0, 0, 1], port)
}

/// The port of an address.
pub(crate) fn port(addr: &[u8]) -> u16 {
    addr.get(2..4)
        .map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}

/// An address for people, its port by name: `0`, `ephemeral` or the number.
pub(crate) fn show(addr: &[u8]) -> String {
    let Some(family) = addr.first_chunk::<2>() else {
        return format!("{addr:?}");
    };
    let port = match port(addr) {
        port @ 0..32768 => port.to_string(),
        _ => "ephemeral".to_owned(),
    };
    match i32::from(u16::from_ne_bytes(*family)) {
        AF_INET if addr.len() == 16 => {
            format!("{}.{}.{}.{}:{port}", addr[4], addr[5], addr[6], addr[7])
        }
        AF_INET6 if addr.len() == 28 => {
            let ip: [u8; 16] = addr[8..24].try_into().expect("16 bytes");
            format!("[{}]:{port}", std::net::Ipv6Addr::from(ip))
        }
        family => format!("family {family}, {} bytes", addr.len()),
    }
}

pub(crate) fn socket(family: i32, kind: i32) -> i32 {
    sys!(SYS_socket, family, kind, 0).fd()
}

pub(crate) fn tcp() -> i32 {
    socket(AF_INET, SOCK_STREAM)
}

pub(crate) fn udp() -> i32 {
    socket(AF_INET, SOCK_DGRAM)
}

pub(crate) fn bind(fd: i32, addr: &Addr) -> Ret {
    sys!(SYS_bind, fd, &addr[..], addr.len())
}

pub(crate) fn connect(fd: i32, addr: &Addr) -> Ret {
    sys!(SYS_connect, fd, &addr[..], addr.len())
}

pub(crate) fn listen(fd: i32, backlog: i32) -> Ret {
    sys!(SYS_listen, fd, backlog)
}

pub(crate) fn accept(fd: i32, flags: i32) -> Ret {
    sys!(SYS_accept4, fd, NULL, NULL, flags)
}

/// `getsockname` or `getpeername`.
pub(crate) fn name(call: i64, fd: i32) -> Result<Addr, Ret> {
    let mut addr = vec![0u8; 128];
    let mut len = 128u32;
    let ret = sys!(call, fd, &mut addr[..], &mut len);
    if ret.get().is_err() {
        return Err(ret);
    }
    addr.truncate(len as usize);
    Ok(addr)
}

/// The same, printed.
pub(crate) fn shown(call: i64, fd: i32) -> String {
    name(call, fd).map_or_else(|ret| ret.to_string(), |addr| show(&addr))
}

/// Where a socket is bound.
#[track_caller]
pub(crate) fn own(fd: i32) -> Addr {
    name(SYS_getsockname, fd).unwrap_or_else(|ret| panic!("set-up failed: {ret}"))
}

/// A listener at 127.0.0.1 and its address.
pub(crate) fn listener(backlog: i32) -> (i32, Addr) {
    let fd = tcp();
    bind(fd, &local(0)).must();
    listen(fd, backlog).must();
    let addr = own(fd);
    (fd, addr)
}

/// A listener at `::1` and its address.
pub(crate) fn listener6(backlog: i32) -> (i32, Addr) {
    let fd = socket(AF_INET6, SOCK_STREAM);
    bind(fd, &v6("::1", 0)).must();
    listen(fd, backlog).must();
    let addr = own(fd);
    (fd, addr)
}

/// A connected pair: client, server.
pub(crate) fn pair() -> (i32, i32) {
    let (listener, addr) = listener(8);
    let client = tcp();
    connect(client, &addr).must();
    let server = accept(listener, 0).fd();
    sys!(SYS_close, listener);
    (client, server)
}

/// Two UDP sockets, each connected to the other.
pub(crate) fn udp_pair() -> (i32, i32) {
    let (a, b) = (udp(), udp());
    bind(a, &local(0)).must();
    bind(b, &local(0)).must();
    connect(a, &own(b)).must();
    connect(b, &own(a)).must();
    (a, b)
}

pub(crate) fn send(fd: i32, bytes: &[u8], flags: i32) -> Ret {
    sys!(SYS_sendto, fd, bytes, bytes.len(), flags, NULL, 0)
}

pub(crate) fn send_to(fd: i32, bytes: &[u8], flags: i32, to: &Addr) -> Ret {
    sys!(SYS_sendto, fd, bytes, bytes.len(), flags, &to[..], to.len())
}

pub(crate) fn recv(fd: i32, len: usize, flags: i32) -> Data {
    let mut buf = vec![0u8; len];
    let ret = sys!(SYS_recvfrom, fd, &mut buf[..], len, flags, NULL, NULL);
    Data::of(ret, &buf)
}

pub(crate) fn set(fd: i32, level: i32, name: i32, value: i32) -> Ret {
    sys!(SYS_setsockopt, fd, level, name, &value, 4)
}

/// An option's value as an integer, or the errno.
pub(crate) fn get(fd: i32, level: i32, name: i32) -> Ret {
    let mut value = 0i32;
    let mut len = 4u32;
    let ret = sys!(SYS_getsockopt, fd, level, name, &mut value, &mut len);
    if ret.get().is_err() {
        ret
    } else {
        Ret(i64::from(value))
    }
}

/// SO_ERROR by name.
pub(crate) fn so_error(fd: i32) -> String {
    let error = get(fd, SOL_SOCKET, SO_ERROR);
    Ret(-error.0).to_string()
}

pub(crate) fn nonblocking(fd: i32) {
    sys!(SYS_fcntl, fd, F_SETFL, O_NONBLOCK).must();
}

/// What `poll` says at once, or within `ms`.
pub(crate) fn poll(fd: i32, ms: i32) -> String {
    let mut poll = pollfd {
        fd,
        events: POLLIN | POLLOUT | POLLPRI | POLLRDHUP,
        revents: 0,
    };
    sys!(SYS_poll, &mut poll, 1, ms).must();
    poll_names(poll.revents)
}

/// The events by name.
pub(crate) fn poll_names(events: i16) -> String {
    let names: Vec<&str> = [
        (POLLIN, "in"),
        (POLLPRI, "pri"),
        (POLLOUT, "out"),
        (POLLERR, "err"),
        (POLLHUP, "hup"),
        (POLLRDHUP, "rdhup"),
    ]
    .into_iter()
    .filter(|(bit, _)| events & bit != 0)
    .map(|(_, name)| name)
    .collect();
    format!("[{}]", names.join(" "))
}

/// Waits until one of `events` is there, five seconds at most.
pub(crate) fn wait_for(fd: i32, events: i16) -> String {
    let mut poll = pollfd {
        fd,
        events,
        revents: 0,
    };
    sys!(SYS_poll, &mut poll, 1, 5000).must();
    poll_names(poll.revents)
}

/// One control message: level, type, payload.
pub(crate) type Control = (i32, i32, Vec<u8>);

fn encode(messages: &[Control]) -> Vec<u8> {
    let mut out = Vec::new();
    for (level, kind, data) in messages {
        out.extend((16 + data.len()).to_ne_bytes());
        out.extend(level.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(data);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out
}

fn decode(mut bytes: &[u8]) -> Vec<Control> {
    let mut all = Vec::new();
    while bytes.len() >= 16 {
        let len = usize::from_ne_bytes(bytes[..8].try_into().expect("8 bytes"));
        if len < 16 || len > bytes.len() {
            break;
        }
        let word = |at: usize| i32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        all.push((word(8), word(12), bytes[16..len].to_vec()));
        bytes = &bytes[len.next_multiple_of(8).min(bytes.len())..];
    }
    all
}

/// `sendmsg` with control messages.
pub(crate) fn send_message(
    fd: i32,
    bytes: &[u8],
    control: &[Control],
    to: Option<&Addr>,
    flags: i32,
) -> Ret {
    let control = encode(control);
    let iov = [bytes.as_ptr() as usize, bytes.len()];
    let mut header: msghdr = zeroed();
    if let Some(to) = to {
        header.msg_name = to.as_ptr().cast_mut().cast();
        header.msg_namelen = to.len() as u32;
    }
    header.msg_iov = iov.as_ptr().cast_mut().cast();
    header.msg_iovlen = 1;
    if !control.is_empty() {
        header.msg_control = control.as_ptr().cast_mut().cast();
        header.msg_controllen = control.len();
    }
    sys!(SYS_sendmsg, fd, &header, flags)
}

/// What `recvmsg` gave.
pub(crate) struct Received {
    pub(crate) data: Data,
    pub(crate) from: Addr,
    pub(crate) control: Vec<Control>,
    pub(crate) flags: i32,
}

/// `recvmsg` with room for control messages of `room` bytes.
pub(crate) fn receive_message(fd: i32, len: usize, room: usize, flags: i32) -> Received {
    let mut buf = vec![0u8; len];
    let mut name = vec![0u8; 128];
    let mut control = vec![0u8; room];
    let iov = [buf.as_mut_ptr() as usize, len];
    let mut header: msghdr = zeroed();
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = 128;
    header.msg_iov = iov.as_ptr().cast_mut().cast();
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = room;
    let ret = sys!(SYS_recvmsg, fd, &mut header, flags);
    name.truncate(header.msg_namelen as usize);
    if ret.get().is_err() {
        name.clear();
        header.msg_controllen = 0;
        header.msg_flags = 0;
    }
    control.truncate(header.msg_controllen);
    Received {
        data: Data::of(ret, &buf),
        from: name,
        control: decode(&control),
        flags: header.msg_flags,
    }
}

/// The names of the levels and types that were received, with payloads that are the same in each run.
pub(crate) fn show_control(control: &[Control]) -> String {
    let all: Vec<String> = control
        .iter()
        .map(|(level, kind, data)| match (*level, *kind) {
            (SOL_SOCKET, SCM_TIMESTAMP | SCM_TIMESTAMPNS) => {
                let now = std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .map_or(0, |d| d.as_secs());
                let then = data
                    .first_chunk::<8>()
                    .map_or(0, |bytes| u64::from_ne_bytes(*bytes));
                let fresh = now.abs_diff(then) < 20;
                format!("time({kind}) {} bytes, fresh {fresh}", data.len())
            }
            (level, kind) => format!("{level}/{kind} {data:?}"),
        })
        .collect();
    format!("[{}]", all.join("; "))
}
