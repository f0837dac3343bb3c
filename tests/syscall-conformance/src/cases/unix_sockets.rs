//! Unix sockets: types, names, messages, descriptors and credentials passed along.

use crate::prelude::*;

cases![
    stream_pair, dgram_pair_keeps_boundaries, seqpacket_pair, shutdown_directions, peer_closed, bind_listen_accept, abstract_names,
    autobind, names_reported, bind_errors, connect_errors, backlog_full, accept_blocks_and_wakes, accept_interrupted, accept_flags_and_errors,
    dgram_sendto_by_name, dgram_connected_filters, recv_flags, truncated_datagram, scm_rights_passes, scm_rights_many_and_cloexec,
    scm_rights_errors, scm_rights_truncated_closes, scm_credentials, so_peercred, socket_options, buffers_fill, blocking_send_wakes,
    receive_timeout, receive_interrupted, send_interrupted, socket_types_refused, sendmmsg_recvmmsg, out_of_band_refused,
    unlinked_name_stays_connected, socket_file_is_a_socket, fionread_and_siocoutq, passed_descriptor_survives_sender, dgram_unconnected_errors,
    sender_names,
];

/// `sockaddr_un` of this path; a leading NUL makes it abstract. With its length.
fn addr(path: &[u8]) -> (sockaddr_un, usize) {
    let mut addr: sockaddr_un = zeroed();
    addr.sun_family = AF_UNIX as u16;
    for (to, from) in addr.sun_path.iter_mut().zip(path) {
        *to = *from as c_char;
    }
    let terminator = usize::from(path.first() != Some(&0));
    (addr, 2 + path.len() + terminator)
}

fn socket(kind: i32) -> i32 {
    sys!(SYS_socket, AF_UNIX, kind, 0).fd()
}

fn bind(fd: i32, path: &[u8]) -> Ret {
    let (addr, len) = addr(path);
    sys!(SYS_bind, fd, &addr, len)
}

fn connect(fd: i32, path: &[u8]) -> Ret {
    let (addr, len) = addr(path);
    sys!(SYS_connect, fd, &addr, len)
}

fn listener(path: &[u8], kind: i32) -> i32 {
    let fd = socket(kind);
    bind(fd, path).must();
    sys!(SYS_listen, fd, 8).must();
    fd
}

fn accept(fd: i32) -> Ret {
    sys!(SYS_accept4, fd, NULL, NULL, 0)
}

fn recv(fd: i32, len: usize, flags: i32) -> Data {
    let mut buf = vec![0u8; len];
    let ret = sys!(SYS_recvfrom, fd, &mut buf[..], len, flags, NULL, NULL);
    Data::of(ret, &buf)
}

fn send(fd: i32, bytes: &[u8], flags: i32) -> Ret {
    sys!(SYS_sendto, fd, bytes, bytes.len(), flags, NULL, 0)
}

/// The name that `getsockname` or `getpeername` gives, escaped.
fn name(call: i64, fd: i32) -> String {
    let mut addr: sockaddr_un = zeroed();
    let mut len = size_of::<sockaddr_un>() as u32;
    let ret = sys!(call, fd, &mut addr, &mut len);
    if ret.get().is_err() {
        return ret.to_string();
    }
    let path: Vec<u8> = addr.sun_path.iter().take(len as usize - 2).map(|&c| c as u8).collect();
    format!("{len}:{}", path.escape_ascii())
}

fn stream_pair() {
    let (a, b) = socketpair(SOCK_STREAM);
    write(a, b"one");
    write(a, b"two");
    say!("{} {}", read(b, 4), read(b, 10));
    write(b, b"back");
    say!("{}", read(a, 10));
}

fn dgram_pair_keeps_boundaries() {
    let (a, b) = socketpair(SOCK_DGRAM);
    write(a, b"one");
    write(a, b"");
    write(a, b"three");
    say!("{} {} {}", read(b, 10), read(b, 10), read(b, 3));
    sys!(SYS_fcntl, b, F_SETFL, O_NONBLOCK).must();
    say!("the rest of a datagram is gone: {}", read(b, 10));
}

fn seqpacket_pair() {
    let (a, b) = socketpair(SOCK_SEQPACKET);
    write(a, b"one");
    write(a, b"two");
    close(a);
    say!("{} {} {}", read(b, 10), read(b, 10), read(b, 10));
    say!("{}", send(b, b"x", MSG_NOSIGNAL));
}

fn shutdown_directions() {
    let (a, b) = socketpair(SOCK_STREAM);
    write(a, b"before");
    say!("{}", sys!(SYS_shutdown, a, SHUT_WR));
    say!("{} {}", read(b, 10), read(b, 10));
    say!("write after: {}", send(a, b"x", MSG_NOSIGNAL));
    say!("the other way: {} {}", write(b, b"reply"), read(a, 10));
    say!("{}", sys!(SYS_shutdown, a, SHUT_RD));
    say!("peer writes: {}", send(b, b"x", MSG_NOSIGNAL));
    say!("bad how: {}", sys!(SYS_shutdown, a, 5));
    say!("not connected: {}", sys!(SYS_shutdown, socket(SOCK_STREAM), SHUT_RD));
}

fn peer_closed() {
    let (a, b) = socketpair(SOCK_STREAM);
    write(b, b"last words");
    close(b);
    say!("{} {}", read(a, 20), read(a, 20));
    handle(SIGPIPE, 0);
    say!("{} {}", write(a, b"x"), caught());
    let (a, b) = socketpair(SOCK_STREAM);
    write(a, b"unread");
    close(b);
    say!("unread data at close: {} then {}", read(a, 1), read(a, 1));
    let (a, b) = socketpair(SOCK_DGRAM);
    close(b);
    say!("datagram: {}", send(a, b"x", MSG_NOSIGNAL));
}

fn bind_listen_accept() {
    let server = listener(b"s", SOCK_STREAM);
    let child = fork(|| {
        let client = socket(SOCK_STREAM);
        say!("connect {}", connect(client, b"s"));
        write(client, b"hello");
        say!("client got {}", read(client, 20));
        0
    });
    let peer = accept(server).fd();
    say!("server got {}", read(peer, 20));
    write(peer, b"welcome");
    child.wait();
}

fn abstract_names() {
    let name = format!("\0conformance-{}", getpid());
    let server = listener(name.as_bytes(), SOCK_STREAM);
    let client = socket(SOCK_STREAM);
    say!("{}", connect(client, name.as_bytes()));
    let peer = accept(server).fd();
    write(client, b"hi");
    say!("{}", read(peer, 10));
    say!("taken: {}", bind(socket(SOCK_STREAM), name.as_bytes()));
    close(server);
    say!("gone with its socket: {}", connect(socket(SOCK_STREAM), name.as_bytes()));
}

fn autobind() {
    let fd = socket(SOCK_DGRAM);
    say!("{}", sys!(SYS_bind, fd, &(AF_UNIX as u16), 2));
    let name = name(SYS_getsockname, fd);
    say!("an abstract name of five hex digits: {}", name.starts_with("8:\\x00") && name.len() == 11);
}

fn names_reported() {
    let fd = socket(SOCK_STREAM);
    say!("unbound {}, no peer {}", name(SYS_getsockname, fd), name(SYS_getpeername, fd));
    let server = listener(b"the-name", SOCK_STREAM);
    say!("{}", name(SYS_getsockname, server));
    connect(fd, b"the-name").must();
    say!("client: own {}, peer {}", name(SYS_getsockname, fd), name(SYS_getpeername, fd));
    let peer = accept(server).fd();
    say!("accepted: own {}, peer {}", name(SYS_getsockname, peer), name(SYS_getpeername, peer));
    let mut small = [0u8; 6];
    let mut len = 6u32;
    say!("short buffer: {} {} of {len}", sys!(SYS_getsockname, server, &mut small, &mut len), small[2..].escape_ascii());
}

fn bind_errors() {
    bind(socket(SOCK_STREAM), b"taken").must();
    say!("taken: {}", bind(socket(SOCK_STREAM), b"taken"));
    let fd = socket(SOCK_STREAM);
    say!("{} twice: {}", bind(fd, b"a"), bind(fd, b"b"));
    say!("no directory: {}", bind(socket(SOCK_STREAM), b"none/s"));
    touch(c"file");
    say!("below a file: {}", bind(socket(SOCK_STREAM), b"file/s"));
    say!("over a file: {}", bind(socket(SOCK_STREAM), b"file"));
    let (mut wrong, len) = addr(b"x");
    wrong.sun_family = AF_INET as u16;
    say!("wrong family: {}", sys!(SYS_bind, socket(SOCK_STREAM), &wrong, len));
    say!("too long: {}", sys!(SYS_bind, socket(SOCK_STREAM), &[1u8; 200], 200));
    say!("bad pointer: {}", sys!(SYS_bind, socket(SOCK_STREAM), 8, 10));
    say!("not a socket: {}", bind(0, b"x"));
}

fn connect_errors() {
    say!("no such name: {}", connect(socket(SOCK_STREAM), b"nobody"));
    let bound = socket(SOCK_STREAM);
    bind(bound, b"deaf").must();
    say!("not listening: {}", connect(socket(SOCK_STREAM), b"deaf"));
    close(bound);
    say!("name without socket: {}", connect(socket(SOCK_STREAM), b"deaf"));
    touch(c"file");
    say!("a file: {}", connect(socket(SOCK_STREAM), b"file"));
    let _server = listener(b"s", SOCK_STREAM);
    say!("other type: {}", connect(socket(SOCK_DGRAM), b"s"));
    let fd = socket(SOCK_STREAM);
    say!("{} again: {}", connect(fd, b"s"), connect(fd, b"s"));
    say!("listen when connected: {}", sys!(SYS_listen, fd, 1));
    say!("listen unbound: {}", sys!(SYS_listen, socket(SOCK_STREAM), 1));
    say!("listen on datagrams: {}", sys!(SYS_listen, socket(SOCK_DGRAM), 1));
    sys!(SYS_chmod, c"s", 0).must();
    let child = fork(|| {
        sys!(SYS_setresuid, 4321, 4321, 4321).must();
        sys!(SYS_chmod, c".", 0o755);
        i32::from(connect(socket(SOCK_STREAM), b"s").0 == -i64::from(EACCES))
    });
    say!("without permission EACCES: {}", child.wait());
}

fn backlog_full() {
    let fd = socket(SOCK_STREAM);
    bind(fd, b"s").must();
    sys!(SYS_listen, fd, 1).must();
    for _ in 0..4 {
        say!("{}", connect(socket(SOCK_STREAM | SOCK_NONBLOCK), b"s"));
    }
}

fn accept_blocks_and_wakes() {
    let server = listener(b"s", SOCK_STREAM);
    let start = now_ns();
    let child = after(20, || connect(socket(SOCK_STREAM), b"s"));
    say!("{}, waited {}", accept(server).ok(), now_ns() - start >= 20_000_000);
    child.wait();
}

fn accept_interrupted() {
    let server = listener(b"s", SOCK_STREAM);
    say!("{}", interrupted(|| accept(server)));
}

fn accept_flags_and_errors() {
    let server = listener(b"s", SOCK_STREAM | SOCK_NONBLOCK);
    say!("nobody: {}", accept(server));
    connect(socket(SOCK_STREAM), b"s").must();
    let peer = sys!(SYS_accept4, server, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK).fd();
    say!("cloexec {}, flags {:#o}", sys!(SYS_fcntl, peer, F_GETFD), sys!(SYS_fcntl, peer, F_GETFL).0);
    say!("bad flags: {}", sys!(SYS_accept4, server, NULL, NULL, 1));
    say!("not listening: {}", accept(socket(SOCK_STREAM)));
    say!("datagram: {}", accept(socket(SOCK_DGRAM)));
    say!("not a socket: {}", accept(0));
}

fn dgram_sendto_by_name() {
    let (server, client) = (socket(SOCK_DGRAM), socket(SOCK_DGRAM));
    bind(server, b"server").must();
    bind(client, b"client").must();
    let (to, len) = addr(b"server");
    say!("{}", sys!(SYS_sendto, client, b"hello", 5, 0, &to, len));
    let mut from: sockaddr_un = zeroed();
    let (mut buf, mut size) = ([0u8; 10], 110u32);
    say!("{}", sys!(SYS_recvfrom, server, &mut buf, 10, 0, &mut from, &mut size));
    let path: Vec<u8> = from.sun_path.iter().take(6).map(|&c| c as u8).collect();
    say!("{} from {} ({size})", buf[..5].escape_ascii(), path.escape_ascii());
}

fn dgram_connected_filters() {
    let (server, friend, stranger) = (socket(SOCK_DGRAM | SOCK_NONBLOCK), socket(SOCK_DGRAM), socket(SOCK_DGRAM));
    bind(server, b"server").must();
    bind(friend, b"friend").must();
    connect(server, b"friend").must();
    say!("friend {}", connect(friend, b"server"));
    say!("stranger {}", connect(stranger, b"server"));
    say!("{} {}", send(friend, b"hi", 0), recv(server, 10, 0));
}

fn dgram_unconnected_errors() {
    let fd = socket(SOCK_DGRAM);
    say!("no destination: {}", send(fd, b"x", 0));
    let (to, len) = addr(b"nobody");
    say!("nobody there: {}", sys!(SYS_sendto, fd, b"x", 1, 0, &to, len));
    say!("stream not connected: {}", send(socket(SOCK_STREAM), b"x", MSG_NOSIGNAL));
    say!("stream read: {}", read(socket(SOCK_STREAM), 1));
    let (a, _b) = socketpair(SOCK_STREAM);
    say!("destination on a connected stream: {}", sys!(SYS_sendto, a, b"x", 1, 0, &to, len));
    let (a, _b) = socketpair(SOCK_DGRAM);
    say!("too long a datagram: {}", write(a, &vec![0; 1 << 20]));
}

fn recv_flags() {
    let (a, b) = socketpair(SOCK_STREAM);
    say!("MSG_DONTWAIT: {}", recv(b, 10, MSG_DONTWAIT));
    write(a, b"peeked");
    say!("{} {} {}", recv(b, 3, MSG_PEEK), recv(b, 10, MSG_PEEK), recv(b, 10, 0));
    let child = after(10, || write(a, b"cd"));
    write(a, b"ab");
    say!("MSG_WAITALL: {}", recv(b, 4, MSG_WAITALL));
    child.wait();
    say!("MSG_ERRQUEUE: {}", recv(b, 10, MSG_ERRQUEUE | MSG_DONTWAIT));
}

fn truncated_datagram() {
    let (a, b) = socketpair(SOCK_DGRAM);
    write(a, b"0123456789");
    say!("MSG_TRUNC gives the full length: {}", sys!(SYS_recvfrom, b, &mut [0u8; 4], 4, MSG_TRUNC | MSG_PEEK, NULL, NULL));
    let mut buf = [0u8; 4];
    let mut part = iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: 4 };
    let mut message: msghdr = zeroed();
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    say!("{} {}", sys!(SYS_recvmsg, b, &mut message, 0), buf.escape_ascii());
    say!("flag set {}", message.msg_flags & MSG_TRUNC != 0);
}

/// One control message's bytes: header, data, padding.
fn control(kind: i32, data: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + data.len()).to_ne_bytes().to_vec();
    bytes.extend(SOL_SOCKET.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn send_control(fd: i32, data: &[u8], mut control: Vec<u8>) -> Ret {
    let mut part = iovec { iov_base: data.as_ptr() as *mut c_void, iov_len: data.len() };
    let mut message: msghdr = zeroed();
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control.len();
    sys!(SYS_sendmsg, fd, &message, MSG_NOSIGNAL)
}

fn send_fds(fd: i32, fds: &[i32]) -> Ret {
    send_control(fd, b"d", control(SCM_RIGHTS, &fds.iter().flat_map(|fd| fd.to_ne_bytes()).collect::<Vec<_>>()))
}

/// Receives with room for `room` control bytes: result, flags, and (kind, payload) of each control message.
fn receive_control(fd: i32, room: usize, flags: i32) -> (Ret, i32, Vec<(i32, Vec<u8>)>) {
    let mut buf = [0u8; 64];
    let mut space = vec![0u8; room];
    let mut part = iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: 64 };
    let mut message: msghdr = zeroed();
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = space.as_mut_ptr().cast();
    message.msg_controllen = room;
    let ret = sys!(SYS_recvmsg, fd, &mut message, flags);
    let mut rest = &space[..message.msg_controllen.min(room)];
    let mut found = Vec::new();
    while rest.len() >= 16 {
        let len = usize::from_ne_bytes(rest[..8].try_into().unwrap());
        found.push((i32::from_ne_bytes(rest[12..16].try_into().unwrap()), rest[16..len.min(rest.len())].to_vec()));
        rest = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    (ret, message.msg_flags, found)
}

fn fds_in(found: &[(i32, Vec<u8>)]) -> Vec<i32> {
    let of = |data: &Vec<u8>| data.chunks_exact(4).map(|c| i32::from_ne_bytes(c.try_into().unwrap())).collect::<Vec<_>>();
    found.iter().filter(|(kind, _)| *kind == SCM_RIGHTS).flat_map(|(_, data)| of(data)).collect()
}

fn scm_rights_passes() {
    let (a, b) = socketpair(SOCK_STREAM);
    write_file(c"f", b"shared offset");
    let file = open(c"f", O_RDONLY).fd();
    say!("{}", send_fds(a, &[file]));
    let (ret, flags, found) = receive_control(b, 64, 0);
    let fds = fds_in(&found);
    say!("{ret} flags {flags} descriptors {}", fds.len());
    say!("new number {}, {} then {}", fds[0] != file, read(fds[0], 6), read(file, 20));
}

fn scm_rights_many_and_cloexec() {
    let (a, b) = socketpair(SOCK_DGRAM);
    let null = open(c"/dev/null", O_RDONLY).fd();
    say!("{}", send_fds(a, &[null; 10]));
    let (_, flags, found) = receive_control(b, 256, MSG_CMSG_CLOEXEC);
    let fds = fds_in(&found);
    say!("{} descriptors, flags without CLOEXEC bit {}", fds.len(), flags & !MSG_CMSG_CLOEXEC);
    say!("all cloexec {}", fds.iter().all(|&fd| sys!(SYS_fcntl, fd, F_GETFD).0 == 1));
    say!("254: {}", send_fds(a, &[null; 254]));
}

fn scm_rights_errors() {
    let (a, _b) = socketpair(SOCK_STREAM);
    say!("bad descriptor: {}", send_fds(a, &[99]));
    say!("header length too short: {}", send_control(a, b"x", vec![4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]));
    say!("header length too long: {}", send_control(a, b"x", vec![200, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]));
    say!("unknown kind: {}", send_control(a, b"x", control(77, &[0; 4])));
}

fn scm_rights_truncated_closes() {
    let (a, b) = socketpair(SOCK_STREAM);
    let (r, w) = pipe();
    send_fds(a, &[w, w, w]).must();
    close(w);
    let (_, flags, found) = receive_control(b, 16 + 4, 0);
    say!("room for one: {}, MSG_CTRUNC {}", fds_in(&found).len(), flags & MSG_CTRUNC != 0);
    fds_in(&found).into_iter().for_each(|fd| unused(close(fd)));
    say!("the others were closed: {}", read(r, 1));
    send_fds(a, &[r]).must();
    let (ret, flags, found) = receive_control(b, 0, 0);
    say!("no room at all: {ret} {} {}", flags & MSG_CTRUNC != 0, found.len());
}

fn scm_credentials() {
    let (a, b) = socketpair(SOCK_STREAM);
    say!("{}", sys!(SYS_setsockopt, b, SOL_SOCKET, SO_PASSCRED, &1i32, 4));
    write(a, b"x");
    let (_, _, found) = receive_control(b, 64, 0);
    let word = |at: usize| i32::from_ne_bytes(found[0].1[at..at + 4].try_into().unwrap());
    say!("kind {}, pid mine {}, uid {} gid {}", found[0].0, word(0) == getpid(), word(4), word(8));
    let (pid, uid) = (getpid(), sys!(SYS_getuid).0 as i32);
    let claim = |pid: i32, uid: i32| [pid, uid, 0].iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<_>>();
    say!("explicit: {}", send_control(a, b"x", control(SCM_CREDENTIALS, &claim(pid, uid))));
    let child = fork(|| {
        sys!(SYS_setresuid, 4321, 4321, 4321).must();
        say!("forged uid: {}", send_control(a, b"x", control(SCM_CREDENTIALS, &claim(getpid(), 0))));
        say!("forged pid: {}", send_control(a, b"x", control(SCM_CREDENTIALS, &claim(1, 4321))));
        0
    });
    child.wait();
}

fn so_peercred() {
    let (a, _b) = socketpair(SOCK_STREAM);
    let (mut cred, mut len) = ([0u32; 3], 12u32);
    say!("{}", sys!(SYS_getsockopt, a, SOL_SOCKET, SO_PEERCRED, &mut cred, &mut len));
    say!("pid mine {}, {} {}", cred[0] as i32 == getpid(), cred[1], cred[2]);
    let server = listener(b"s", SOCK_STREAM);
    sys!(SYS_chmod, c".", 0o777).must();
    sys!(SYS_chmod, c"s", 0o777).must();
    let (done_r, done_w) = pipe();
    let child = fork(|| {
        sys!(SYS_setresuid, 4321, 4321, 4321).must();
        let client = socket(SOCK_STREAM);
        connect(client, b"s").must();
        read(done_r, 1);
        0
    });
    let peer = accept(server).fd();
    sys!(SYS_getsockopt, peer, SOL_SOCKET, SO_PEERCRED, &mut cred, &mut len).must();
    say!("client's pid {}, uid {}", cred[0] as i32 == child.0, cred[1]);
    write(done_w, b"x");
    child.wait();
}

fn socket_options() {
    let fd = socket(SOCK_SEQPACKET);
    let get = |option: i32| {
        let (mut value, mut len) = (0i32, 4u32);
        let ret = sys!(SYS_getsockopt, fd, SOL_SOCKET, option, &mut value, &mut len);
        if ret.get().is_ok() { value.to_string() } else { ret.to_string() }
    };
    say!("type {} domain {} protocol {}", get(SO_TYPE), get(SO_DOMAIN), get(SO_PROTOCOL));
    say!("error {} accepting {} passcred {}", get(SO_ERROR), get(SO_ACCEPTCONN), get(SO_PASSCRED));
    bind(fd, b"s").must();
    sys!(SYS_listen, fd, 1).must();
    say!("accepting {}", get(SO_ACCEPTCONN));
    say!("set 65536: {}", sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDBUF, &65536i32, 4));
    say!("doubled {}", get(SO_SNDBUF));
    say!("unknown {}", get(9999));
    say!("short value: {}", sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_PASSCRED, &1i32, 2));
    say!("bad level: {}", sys!(SYS_setsockopt, fd, 77, 1, &1i32, 4));
}

fn buffers_fill() {
    let (a, b) = socketpair(SOCK_STREAM | SOCK_NONBLOCK);
    let mut sent = 0;
    loop {
        match write(a, &[7; 1000]).get() {
            Ok(n) => sent += n,
            Err(errno) => break say!("{errno:?}"),
        }
    }
    say!("at least 40 KiB: {}", sent >= 40 * 1024);
    let mut received = 0;
    while let Ok(bytes) = read(b, 4096).0 {
        received += bytes.len() as i64;
    }
    say!("all arrives {}", received == sent);
    say!("room again: {}", write(a, b"x"));
}

fn blocking_send_wakes() {
    let (a, b) = socketpair(SOCK_STREAM);
    let child = fork(|| {
        close(a);
        let mut n = 0;
        while let Ok(bytes) = read(b, 65536).0 {
            if bytes.is_empty() {
                break;
            }
            n += bytes.len();
        }
        i32::from(n == 4 << 20)
    });
    close(b);
    say!("{}", write(a, &vec![1; 4 << 20]));
    close(a);
    say!("{}", child.wait());
}

fn receive_timeout() {
    let (a, b) = socketpair(SOCK_STREAM);
    let time = timeval { tv_sec: 0, tv_usec: 20_000 };
    say!("{}", sys!(SYS_setsockopt, b, SOL_SOCKET, SO_RCVTIMEO, &time, 16));
    let start = now_ns();
    say!("{}, waited {}", read(b, 1), now_ns() - start >= 15_000_000);
    write(a, b"x");
    say!("{}", read(b, 1));
    let bad = timeval { tv_sec: 0, tv_usec: 2_000_000 };
    say!("bad time: {}", sys!(SYS_setsockopt, b, SOL_SOCKET, SO_RCVTIMEO, &bad, 16));
}

fn receive_interrupted() {
    let (_a, b) = socketpair(SOCK_STREAM);
    say!("{}", interrupted(|| read(b, 1)));
    let (_a, b) = socketpair(SOCK_DGRAM);
    say!("{}", interrupted(|| recv(b, 1, 0)));
}

fn send_interrupted() {
    let (a, _b) = socketpair(SOCK_STREAM);
    sys!(SYS_fcntl, a, F_SETFL, O_NONBLOCK).must();
    while write(a, &[0; 4096]).get().is_ok() {}
    sys!(SYS_fcntl, a, F_SETFL, 0).must();
    say!("{}", interrupted(|| write(a, b"x")));
}

fn socket_types_refused() {
    say!("bad type: {}", sys!(SYS_socket, AF_UNIX, 77, 0));
    say!("bad protocol: {}", sys!(SYS_socket, AF_UNIX, SOCK_STREAM, 9));
    say!("bad family: {}", sys!(SYS_socket, 200, SOCK_STREAM, 0));
    say!("pair over IPv4: {}", sys!(SYS_socketpair, AF_INET, SOCK_STREAM, 0, &mut [0i32; 2]));
    say!("raw is datagram: {}", sys!(SYS_socket, AF_UNIX, SOCK_RAW, 0).ok());
}

fn sendmmsg_recvmmsg() {
    let (a, b) = socketpair(SOCK_DGRAM);
    let texts = [*b"one", *b"two"];
    let mut parts = texts.each_ref().map(|t| iovec { iov_base: t.as_ptr() as *mut c_void, iov_len: 3 });
    let mut messages: [mmsghdr; 2] = zeroed();
    for (message, part) in messages.iter_mut().zip(&mut parts) {
        message.msg_hdr.msg_iov = part;
        message.msg_hdr.msg_iovlen = 1;
    }
    say!("{} {} {}", sys!(SYS_sendmmsg, a, &mut messages, 2, 0), messages[0].msg_len, messages[1].msg_len);
    let mut bufs = [[0u8; 8]; 2];
    for (part, buf) in parts.iter_mut().zip(&mut bufs) {
        *part = iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: 8 };
    }
    say!("{}", sys!(SYS_recvmmsg, b, &mut messages, 2, MSG_DONTWAIT, NULL));
    say!("{} {}", bufs[0][..3].escape_ascii(), bufs[1][..3].escape_ascii());
    say!("nothing left: {}", sys!(SYS_recvmmsg, b, &mut messages, 2, MSG_DONTWAIT, NULL));
}

fn out_of_band_refused() {
    let (a, _b) = socketpair(SOCK_DGRAM);
    say!("{}", send(a, b"x", MSG_OOB));
}

fn unlinked_name_stays_connected() {
    let server = listener(b"s", SOCK_STREAM);
    let client = socket(SOCK_STREAM);
    connect(client, b"s").must();
    sys!(SYS_unlink, c"s").must();
    say!("new: {}", connect(socket(SOCK_STREAM), b"s"));
    let peer = accept(server).fd();
    write(client, b"old connection lives");
    say!("{}", read(peer, 100));
}

fn socket_file_is_a_socket() {
    let old = sys!(SYS_umask, 0o27).0;
    let _server = listener(b"s", SOCK_STREAM);
    sys!(SYS_umask, old);
    let mut stat: stat = zeroed();
    sys!(SYS_stat, c"s", &mut stat).must();
    say!("mode {:o}", stat.st_mode);
    say!("open: {}", open(c"s", O_RDWR));
    say!("open O_PATH: {}", open(c"s", O_PATH).ok());
}

fn fionread_and_siocoutq() {
    let (a, b) = socketpair(SOCK_STREAM);
    write(a, b"12345");
    let mut n = 0i32;
    say!("{}", sys!(SYS_ioctl, b, FIONREAD, &mut n));
    say!("{n}");
    say!("outq: {}", sys!(SYS_ioctl, a, TIOCOUTQ, &mut n));
    say!("some {}", n > 0);
    read(b, 5);
    sys!(SYS_ioctl, a, TIOCOUTQ, &mut n).must();
    say!("none {}", n == 0);
}

fn passed_descriptor_survives_sender() {
    let (a, b) = socketpair(SOCK_STREAM);
    fork(|| {
        let (r, w) = pipe();
        write(w, b"from the dead");
        send_fds(a, &[r]).must();
        0
    })
    .wait();
    let (_, _, found) = receive_control(b, 64, 0);
    let fd = fds_in(&found)[0];
    say!("{} {}", read(fd, 100), read(fd, 100));
}

/// What a receiver is told of the sender: its name, or nothing at all (length 0) if it has none.
fn sender_names() {
    let told = |fd: i32| {
        let mut buf = [0u8; 8];
        let mut from: sockaddr_un = zeroed();
        let mut len = size_of::<sockaddr_un>() as u32;
        let ret = sys!(SYS_recvfrom, fd, &mut buf[..], buf.len(), 0, &mut from, &mut len);
        let path: Vec<u8> = from.sun_path.iter().take((len as usize).saturating_sub(2)).map(|&c| c as u8).collect();
        format!("{ret} {len} {} {}", from.sun_family, path.escape_ascii())
    };
    for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
        for named in [false, true] {
            let path = format!("\0server-{kind}-{named}");
            let server = socket(kind);
            bind(server, path.as_bytes()).must();
            let client = socket(kind);
            if named {
                bind(client, format!("\0client-{kind}").as_bytes()).must();
            }
            let receiver = if kind == SOCK_DGRAM {
                connect(client, path.as_bytes()).must();
                server
            } else {
                sys!(SYS_listen, server, 8).must();
                connect(client, path.as_bytes()).must();
                accept(server).fd()
            };
            send(client, b"to", 0).must();
            say!("{kind} {named}: {}", told(receiver));
            if kind != SOCK_DGRAM {
                send(receiver, b"fro", 0).must();
                say!("back: {}", told(client));
            }
            [server, client, receiver].iter().for_each(|&fd| {
                let _ = close(fd);
            });
        }
        let (a, b) = socketpair(kind);
        send(a, b"pair", 0).must();
        say!("{kind} pair: {}", told(b));
    }
}
