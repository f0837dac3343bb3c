//! NETLINK_SOCK_DIAG (`sock_diag(7)`): what `ss(8)` lists: sockets of TCP, UDP, raw and ping sockets, and Unix sockets.

use std::net::IpAddr;

use abi::socket::{AF_INET, AF_INET6, AF_UNIX, IPPROTO_TCP, IPPROTO_UDP};

use super::inet::{self, Row};
use super::netlink::Answer;
use super::route_dump::Part;
use super::unix;
use crate::error::Errno;
use crate::task::CurrentTask;
use crate::task::namespaces::NetNamespace;

/// TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY.
const BY_FAMILY: u16 = 20;
const IPPROTO_RAW: i32 = 255;
const INET_DIAG_SHUTDOWN: u16 = 8;
const INET_DIAG_SKV6ONLY: u16 = 11;
const TIME_WAIT: u8 = 6;

/// `struct inet_diag_req_v2`, as far as it is looked at.
struct Wanted {
    family: i32,
    protocol: i32,
    /// A bit for each state.
    states: u32,
    /// Both ports and addresses, for one socket.
    id: [u8; 36],
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Answers one request, whose body this is; returns the errno to report, 0 for none.
pub(super) fn handle(task: &CurrentTask, body: &[u8], answer: &mut Answer) -> i32 {
    if answer.request.kind != BY_FAMILY {
        return Errno::EINVAL.raw();
    }
    let net = task.namespaces().net.clone();
    match body.first().map(|family| i32::from(*family)) {
        Some(AF_INET | AF_INET6) => internet(&net, body, answer),
        Some(AF_UNIX) => local(&net, body, answer),
        Some(_) => Errno::ENOENT.raw(),
        None => Errno::EINVAL.raw(),
    }
}

fn internet(net: &NetNamespace, body: &[u8], answer: &mut Answer) -> i32 {
    let (Some(states), Some(id)) = (word(body, 4), body.get(8..44)) else {
        return Errno::EINVAL.raw();
    };
    let Ok(id) = <[u8; 36]>::try_from(id) else {
        return Errno::EINVAL.raw();
    };
    let wanted = Wanted {
        family: i32::from(body[0]),
        protocol: i32::from(body[1]),
        states,
        id,
    };
    let rows = match wanted.protocol {
        IPPROTO_TCP => inet::rows_of_tcp(net),
        IPPROTO_UDP => inet::rows_of_udp(net),
        IPPROTO_RAW => inet::rows_of_raw(net),
        _ => return Errno::ENOENT.raw(),
    };
    let v6 = wanted.family == AF_INET6;
    let of_family = rows.iter().filter(|row| row.v6 == v6);
    if answer.request.dumps() {
        for row in of_family.filter(|row| wanted.states >> row.state & 1 != 0) {
            answer.parts(BY_FAMILY, &[part(row)]);
        }
        answer.done();
        return 0;
    }
    let found = of_family.into_iter().find(|row| ends(row) == wanted.id);
    match found {
        Some(row) => {
            answer.single(BY_FAMILY, &part(row));
            0
        }
        None => Errno::ENOENT.raw(),
    }
}

/// The first members of `struct inet_diag_sockid`: ports and addresses.
fn ends(row: &Row) -> [u8; 36] {
    let mut id = [0; 36];
    let mut put = |port: usize, address: usize, at: inet::Endpoint| {
        id[port..port + 2].copy_from_slice(&at.port.to_be_bytes());
        match (at.ip, row.v6) {
            (IpAddr::V4(ip), false) => id[address..address + 4].copy_from_slice(&ip.octets()),
            (IpAddr::V4(ip), true) => {
                id[address..address + 16].copy_from_slice(&ip.to_ipv6_mapped().octets());
            }
            (IpAddr::V6(ip), _) => id[address..address + 16].copy_from_slice(&ip.octets()),
        }
    };
    // A socket bound to any address of IPv6 shows that, not one of IPv4.
    put(0, 4, row.local);
    if let Some(remote) = row.remote {
        put(2, 20, remote);
    }
    id
}

/// `struct inet_diag_msg` and its attributes.
fn part(row: &Row) -> Part {
    let family = if row.v6 { AF_INET6 } else { AF_INET };
    let timer = if row.state == TIME_WAIT { 3 } else { 0 };
    let mut body = vec![family as u8, row.state, timer, 0];
    body.extend_from_slice(&ends(row));
    body.extend_from_slice(&row.interface.to_ne_bytes());
    body.extend_from_slice(&row.cookie.to_ne_bytes());
    let send = row.backlog.unwrap_or(row.send_queue) as u32;
    for value in [0, row.receive_queue as u32, send, row.uid, row.ino as u32] {
        body.extend_from_slice(&value.to_ne_bytes());
    }
    let mut attributes = vec![(INET_DIAG_SHUTDOWN, vec![0])];
    if row.v6 {
        attributes.push((INET_DIAG_SKV6ONLY, vec![u8::from(row.v6_only)]));
    }
    Part { body, attributes }
}

/// `struct unix_diag_req`: Unix sockets.
fn local(net: &NetNamespace, body: &[u8], answer: &mut Answer) -> i32 {
    const UDIAG_SHOW_NAME: u32 = 1;
    const UDIAG_SHOW_VFS: u32 = 2;
    const UDIAG_SHOW_PEER: u32 = 4;
    const UDIAG_SHOW_RQLEN: u32 = 0x10;
    const UNIX_DIAG_NAME: u16 = 0;
    const UNIX_DIAG_VFS: u16 = 1;
    const UNIX_DIAG_PEER: u16 = 2;
    const UNIX_DIAG_RQLEN: u16 = 4;
    const UNIX_DIAG_SHUTDOWN: u16 = 6;
    let (Some(states), Some(ino), Some(show)) = (word(body, 4), word(body, 8), word(body, 12))
    else {
        return Errno::EINVAL.raw();
    };
    let part = |row: &unix::Row| {
        let mut body = vec![AF_UNIX as u8, row.kind, row.state, 0];
        body.extend_from_slice(&(row.ino as u32).to_ne_bytes());
        body.extend_from_slice(&row.ino.to_ne_bytes());
        let mut attributes = Vec::new();
        if show & UDIAG_SHOW_NAME != 0 && !row.name.is_empty() {
            attributes.push((UNIX_DIAG_NAME, row.name.clone()));
        }
        if let (true, Some(file)) = (show & UDIAG_SHOW_VFS != 0, row.file) {
            let numbers = [file.0 as u32, file.1 as u32];
            attributes.push((UNIX_DIAG_VFS, numbers.map(u32::to_ne_bytes).concat()));
        }
        if show & UDIAG_SHOW_PEER != 0 && row.peer != 0 {
            let peer = (row.peer as u32).to_ne_bytes().to_vec();
            attributes.push((UNIX_DIAG_PEER, peer));
        }
        if show & UDIAG_SHOW_RQLEN != 0 {
            let queues = [row.queued as u32, row.backlog as u32];
            attributes.push((UNIX_DIAG_RQLEN, queues.map(u32::to_ne_bytes).concat()));
        }
        attributes.push((UNIX_DIAG_SHUTDOWN, vec![row.shutdown]));
        Part { body, attributes }
    };
    let rows = unix::rows(net);
    if answer.request.dumps() {
        for row in rows.iter().filter(|row| states >> row.state & 1 != 0) {
            answer.parts(BY_FAMILY, &[part(row)]);
        }
        answer.done();
        return 0;
    }
    match rows.iter().find(|row| row.ino as u32 == ino) {
        Some(row) => {
            answer.single(BY_FAMILY, &part(row));
            0
        }
        None => Errno::ENOENT.raw(),
    }
}
