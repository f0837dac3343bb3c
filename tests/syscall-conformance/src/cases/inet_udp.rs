//! UDP over loopback: datagrams, their errors and what comes with them.

use crate::prelude::*;

cases![
    datagrams_and_names, connected_filters, refused_comes_back, unconnected_hears_nothing, disconnect, sizes, truncation, peek, zero_length,
    packet_info, packet_info_v6, ttl_and_tos, ttl_per_message, source_per_message, hop_limit_v6, timestamps, error_queue, error_queue_v6,
    dual_stack, v6_mapped, destinations_refused, shutdown_halves, buffer_bounds, receive_timeout, interrupted_receive, reuse_port_spreads,
    reuse_address_last_wins, more_joins, poll_states, epoll_edge_each, sendmmsg_recvmmsg, control_truncated, fionread, broadcast_needs_option,
    multicast_loopback, multicast_options, multicast_v6, bind_errors, segments, connect_changes_source, dontwait, no_cmsg_without_asking,
    send_control_errors, autobind_on_send,
];

const SCM_TTL: (i32, i32) = (IPPROTO_IP, IP_TTL);

fn pktinfo(interface: i32, source: [u8; 4]) -> Vec<u8> {
    let mut data = interface.to_ne_bytes().to_vec();
    data.extend(source);
    data.extend([0; 4]);
    data
}

fn datagrams_and_names() {
    let (a, b) = (udp(), udp());
    say!("{} {}", shown(SYS_getsockname, a), shown(SYS_getpeername, a));
    bind(b, &local(0)).must();
    say!("{}", send_to(a, b"one", 0, &own(b)));
    say!("bound now {}", shown(SYS_getsockname, a));
    let got = receive_message(b, 10, 0, 0);
    say!("{} {} {:#x}", got.data, show(&got.from), got.flags);
    say!("sender {}", port(&got.from) == port(&own(a)));
    say!("no destination {}", send(a, b"x", 0));
    say!("{}", send_to(b, b"answer", 0, &got.from));
    say!("{}", recv(a, 10, 0));
}

fn connected_filters() {
    let (a, b) = udp_pair();
    let stranger = udp();
    send_to(stranger, b"stranger", 0, &own(a)).must();
    say!("{}", recv(a, 10, MSG_DONTWAIT));
    write(b, b"friend");
    say!("{}", read(a, 10));
    say!("elsewhere {}", send_to(a, b"x", 0, &own(stranger)));
    say!("{} {}", shown(SYS_getsockname, a), shown(SYS_getpeername, a));
}

fn refused_comes_back() {
    let gone = udp();
    bind(gone, &local(0)).must();
    let addr = own(gone);
    close(gone);
    let fd = udp();
    connect(fd, &addr).must();
    say!("{}", send(fd, b"x", 0));
    say!("{} {}", wait_for(fd, POLLERR), poll(fd, 0));
    say!("{} then {}", recv(fd, 1, MSG_DONTWAIT), recv(fd, 1, MSG_DONTWAIT));
    send(fd, b"x", 0).must();
    wait_for(fd, POLLERR);
    say!("{} {}", so_error(fd), so_error(fd));
    send(fd, b"x", 0).must();
    wait_for(fd, POLLERR);
    say!("{} {}", send(fd, b"y", 0), so_error(fd));
}

fn unconnected_hears_nothing() {
    let gone = udp();
    bind(gone, &local(0)).must();
    let addr = own(gone);
    close(gone);
    let fd = udp();
    say!("{}", send_to(fd, b"x", 0, &addr));
    say!("{} {}", poll(fd, 10), so_error(fd));
}

fn disconnect() {
    let (a, _b) = udp_pair();
    say!("{}", connect(a, &vec![0; 16]));
    say!("{} {}", shown(SYS_getpeername, a), send(a, b"x", 0));
    let fresh = udp();
    let there = udp();
    bind(there, &local(0)).must();
    connect(fresh, &own(there)).must();
    say!("{}", shown(SYS_getsockname, fresh));
    connect(fresh, &vec![0; 16]).must();
    say!("not bound before: {}", shown(SYS_getsockname, fresh));
}

fn sizes() {
    let (a, b) = udp_pair();
    for size in [1, 1472, 1473, 9000, 65507] {
        say!("{size}: {}", send(a, &vec![1; size], 0));
        say!("{}", recv(b, 70_000, 0).0.map_or(0, |d| d.len()));
    }
    say!("{} {}", send(a, &vec![1; 65508], 0), send(a, &vec![1; 70_000], 0));
    let six = socket(AF_INET6, SOCK_DGRAM);
    bind(six, &v6("::1", 0)).must();
    connect(six, &own(six)).must();
    say!("v6 {} {}", send(six, &vec![1; 65507], 0), send(six, &vec![1; 65528], 0));
}

fn truncation() {
    let (a, b) = udp_pair();
    write(a, b"0123456789");
    let got = receive_message(b, 4, 0, 0);
    say!("{} {:#x}", got.data, got.flags);
    write(a, b"0123456789");
    let mut buf = [0u8; 4];
    say!("{} {:?}", sys!(SYS_recvfrom, b, &mut buf[..], 4, MSG_TRUNC, NULL, NULL), buf);
    say!("the rest is gone {}", recv(b, 10, MSG_DONTWAIT));
}

fn peek() {
    let (a, b) = udp_pair();
    write(a, b"look");
    say!("{} {}", recv(b, 2, MSG_PEEK), recv(b, 10, MSG_PEEK));
    say!("{} {}", recv(b, 10, 0), recv(b, 10, MSG_PEEK | MSG_DONTWAIT));
}

fn zero_length() {
    let (a, b) = udp_pair();
    say!("{} {}", write(a, b""), send(a, b"", 0));
    say!("{}", wait_for(b, POLLIN));
    say!("{} {}", recv(b, 10, 0), recv(b, 10, MSG_DONTWAIT));
    say!("{}", recv(b, 10, MSG_DONTWAIT));
}

fn packet_info() {
    let (a, b) = (udp(), udp());
    bind(b, &v4([0; 4], 0)).must();
    let at = local(port(&own(b)));
    say!("{} {}", set(b, IPPROTO_IP, IP_PKTINFO, 1), get(b, IPPROTO_IP, IP_PKTINFO));
    send_to(a, b"x", 0, &at).must();
    say!("{}", show_control(&receive_message(b, 4, 128, 0).control));
    send_to(a, b"x", 0, &v4([127, 0, 0, 7], port(&at))).must();
    say!("{}", show_control(&receive_message(b, 4, 128, 0).control));
}

fn packet_info_v6() {
    let (a, b) = (socket(AF_INET6, SOCK_DGRAM), socket(AF_INET6, SOCK_DGRAM));
    bind(b, &v6("::", 0)).must();
    say!("{} {}", set(b, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1), get(b, IPPROTO_IPV6, IPV6_RECVPKTINFO));
    set(b, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1).must();
    set(b, IPPROTO_IPV6, IPV6_RECVTCLASS, 1).must();
    let at = v6("::1", port(&own(b)));
    send_to(a, b"x", 0, &at).must();
    say!("{}", show_control(&receive_message(b, 4, 256, 0).control));
    let four = udp();
    send_to(four, b"x", 0, &local(port(&at))).must();
    say!("mapped {}", show_control(&receive_message(b, 4, 256, 0).control));
}

fn ttl_and_tos() {
    let (a, b) = udp_pair();
    say!("{} {}", set(b, IPPROTO_IP, IP_RECVTTL, 1), set(b, IPPROTO_IP, IP_RECVTOS, 1));
    write(a, b"x");
    say!("{}", show_control(&receive_message(b, 4, 128, 0).control));
    say!("{} {}", set(a, IPPROTO_IP, IP_TTL, 9), set(a, IPPROTO_IP, IP_TOS, 0x28));
    write(a, b"x");
    say!("{}", show_control(&receive_message(b, 4, 128, 0).control));
    say!("{} {} {}", set(a, IPPROTO_IP, IP_TTL, 0), set(a, IPPROTO_IP, IP_TTL, 256), set(a, IPPROTO_IP, IP_TTL, -1));
    say!("{}", get(a, IPPROTO_IP, IP_TTL));
}

fn ttl_per_message() {
    let (a, b) = udp_pair();
    set(b, IPPROTO_IP, IP_RECVTTL, 1).must();
    set(b, IPPROTO_IP, IP_RECVTOS, 1).must();
    let ttl = (SCM_TTL.0, SCM_TTL.1, 5i32.to_ne_bytes().to_vec());
    let tos = (IPPROTO_IP, IP_TOS, 0x10i32.to_ne_bytes().to_vec());
    say!("{}", send_message(a, b"x", &[ttl, tos], None, 0));
    say!("{}", show_control(&receive_message(b, 4, 128, 0).control));
    write(a, b"y");
    say!("{}", show_control(&receive_message(b, 4, 128, 0).control));
    say!("{}", send_message(a, b"x", &[(IPPROTO_IP, IP_TTL, 0i32.to_ne_bytes().to_vec())], None, 0));
    say!("{}", send_message(a, b"x", &[(IPPROTO_IP, IP_TTL, vec![1])], None, 0));
}

fn source_per_message() {
    let (a, b) = (udp(), udp());
    bind(b, &local(0)).must();
    say!("{}", send_message(a, b"x", &[(IPPROTO_IP, IP_PKTINFO, pktinfo(0, [127, 0, 0, 5]))], Some(&own(b)), 0));
    let got = receive_message(b, 4, 0, MSG_DONTWAIT);
    say!("{} {}", got.data, show(&got.from));
    say!("not ours {}", send_message(a, b"x", &[(IPPROTO_IP, IP_PKTINFO, pktinfo(0, [9, 9, 9, 9]))], Some(&own(b)), 0));
    say!("by lo {}", send_message(a, b"x", &[(IPPROTO_IP, IP_PKTINFO, pktinfo(1, [0; 4]))], Some(&own(b)), 0));
    say!("no interface {}", send_message(a, b"x", &[(IPPROTO_IP, IP_PKTINFO, pktinfo(99, [0; 4]))], Some(&own(b)), 0));
    say!("short {}", send_message(a, b"x", &[(IPPROTO_IP, IP_PKTINFO, vec![0; 4])], Some(&own(b)), 0));
}

fn hop_limit_v6() {
    let (a, b) = (socket(AF_INET6, SOCK_DGRAM), socket(AF_INET6, SOCK_DGRAM));
    bind(b, &v6("::1", 0)).must();
    set(b, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1).must();
    set(b, IPPROTO_IPV6, IPV6_RECVTCLASS, 1).must();
    connect(a, &own(b)).must();
    say!("{} {}", set(a, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 3), get(a, IPPROTO_IPV6, IPV6_UNICAST_HOPS));
    set(a, IPPROTO_IPV6, IPV6_TCLASS, 0x20).must();
    write(a, b"x");
    say!("{}", show_control(&receive_message(b, 4, 128, 0).control));
    let hops = (IPPROTO_IPV6, IPV6_HOPLIMIT, 11i32.to_ne_bytes().to_vec());
    let class = (IPPROTO_IPV6, IPV6_TCLASS, 0x40i32.to_ne_bytes().to_vec());
    say!("{}", send_message(a, b"x", &[hops, class], None, 0));
    say!("{}", show_control(&receive_message(b, 4, 128, 0).control));
    say!("{} {}", set(a, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 256), set(a, IPPROTO_IPV6, IPV6_UNICAST_HOPS, -1));
    say!("{}", get(a, IPPROTO_IPV6, IPV6_UNICAST_HOPS));
}

fn timestamps() {
    let (a, b) = udp_pair();
    say!("{} {}", set(b, SOL_SOCKET, SO_TIMESTAMP, 1), get(b, SOL_SOCKET, SO_TIMESTAMP));
    write(a, b"x");
    say!("{}", show_control(&receive_message(b, 4, 128, 0).control));
    say!("{} {}", set(b, SOL_SOCKET, SO_TIMESTAMPNS, 1), get(b, SOL_SOCKET, SO_TIMESTAMPNS));
    say!("the other {}", get(b, SOL_SOCKET, SO_TIMESTAMP));
    write(a, b"x");
    say!("{}", show_control(&receive_message(b, 4, 128, 0).control));
    set(b, SOL_SOCKET, SO_TIMESTAMPNS, 0).must();
    write(a, b"x");
    say!("{}", show_control(&receive_message(b, 4, 128, 0).control));
    let mut at = [0i64; 2];
    say!("by ioctl {}", sys!(SYS_ioctl, b, 0x8906, &mut at).ok());
}

fn error_queue() {
    let gone = udp();
    bind(gone, &local(0)).must();
    let addr = own(gone);
    close(gone);
    let fd = udp();
    say!("{} {}", set(fd, IPPROTO_IP, IP_RECVERR, 1), get(fd, IPPROTO_IP, IP_RECVERR));
    say!("empty {}", recv(fd, 10, MSG_ERRQUEUE));
    say!("{}", send_to(fd, b"lost", 0, &addr));
    say!("{}", wait_for(fd, POLLERR));
    say!("{}", poll(fd, 0));
    say!("told by read {}", recv(fd, 10, MSG_DONTWAIT));
    let got = receive_message(fd, 10, 256, MSG_ERRQUEUE);
    say!("{} flags {:#x} to {}", got.data, got.flags, port(&got.from) == port(&addr));
    for (level, kind, data) in &got.control {
        // errno, origin, type, code, info; the offender.
        say!("{level}/{kind} {:?} {}", &data[..16], show(&data[16..32]));
    }
    say!("empty again {} {}", recv(fd, 10, MSG_ERRQUEUE), poll(fd, 0));
}

fn error_queue_v6() {
    let gone = socket(AF_INET6, SOCK_DGRAM);
    bind(gone, &v6("::1", 0)).must();
    let addr = own(gone);
    close(gone);
    let fd = socket(AF_INET6, SOCK_DGRAM);
    say!("{}", set(fd, IPPROTO_IPV6, IPV6_RECVERR, 1));
    connect(fd, &addr).must();
    say!("{}", send(fd, b"lost", 0));
    say!("{}", wait_for(fd, POLLERR));
    let got = receive_message(fd, 10, 256, MSG_ERRQUEUE);
    say!("{} flags {:#x}", got.data, got.flags);
    for (level, kind, data) in &got.control {
        say!("{level}/{kind} {:?} {}", &data[..16], show(&data[16..44]));
    }
    say!("{}", so_error(fd));
}

fn dual_stack() {
    let six = socket(AF_INET6, SOCK_DGRAM);
    bind(six, &v6("::", 0)).must();
    let four = udp();
    send_to(four, b"from 4", 0, &local(port(&own(six)))).must();
    let got = receive_message(six, 10, 0, 0);
    say!("{} {}", got.data, show(&got.from));
    say!("{} {}", send_to(six, b"back", 0, &got.from), recv(four, 10, 0));
    let client = socket(AF_INET6, SOCK_DGRAM);
    send_to(client, b"from 6", 0, &v6("::1", port(&own(six)))).must();
    let got = receive_message(six, 10, 0, 0);
    say!("{} {}", got.data, show(&got.from));
}

fn v6_mapped() {
    let six = socket(AF_INET6, SOCK_DGRAM);
    let four = udp();
    bind(four, &local(0)).must();
    say!("{}", send_to(six, b"x", 0, &v6("::ffff:127.0.0.1", port(&own(four)))));
    say!("{}", recv(four, 4, 0));
    say!("plain v4 address {}", send_to(six, b"y", 0, &own(four)));
    say!("{}", recv(four, 4, MSG_DONTWAIT));
    set(six, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    let only = socket(AF_INET6, SOCK_DGRAM);
    set(only, IPPROTO_IPV6, IPV6_V6ONLY, 1).must();
    say!("{}", send_to(only, b"x", 0, &v6("::ffff:127.0.0.1", port(&own(four)))));
}

fn destinations_refused() {
    let fd = udp();
    say!("port 0 {}", send_to(fd, b"x", 0, &local(0)));
    say!("unreachable {}", send_to(fd, b"x", 0, &v4([192, 0, 2, 1], 9)));
    say!("connect {}", connect(fd, &v4([192, 0, 2, 1], 9)));
    say!("v6 {}", send_to(socket(AF_INET6, SOCK_DGRAM), b"x", 0, &v6("2001:db8::1", 9)));
    say!("wrong family {}", send_to(fd, b"x", 0, &v6("::1", 9)));
    say!("short {}", sys!(SYS_sendto, fd, b"x" as *const u8, 1, 0, &local(9)[..], 8));
    say!("multicast {}", send_to(fd, b"x", 0, &v4([239, 1, 2, 3], 9)));
    say!("any {}", send_to(fd, b"x", 0, &v4([0; 4], 9)));
    say!("bad buffer {}", sys!(SYS_sendto, fd, 8usize, 10, 0, &local(9)[..], 16));
    say!("oob {}", send_to(fd, b"x", MSG_OOB, &local(9)));
}

fn shutdown_halves() {
    say!("unconnected {}", sys!(SYS_shutdown, udp(), SHUT_RDWR));
    let (a, b) = udp_pair();
    say!("{}", sys!(SYS_shutdown, a, SHUT_WR));
    handle(SIGPIPE, 0);
    say!("{} {}", send(a, b"x", 0), caught());
    write(b, b"still comes");
    say!("{}", recv(a, 20, 0));
    say!("{}", sys!(SYS_shutdown, a, SHUT_RD));
    say!("{} {}", recv(a, 20, 0), poll(a, 0));
    write(b, b"after");
    say!("{}", recv(a, 20, MSG_DONTWAIT));
}

fn buffer_bounds() {
    let (a, b) = udp_pair();
    say!("{}", set(b, SOL_SOCKET, SO_RCVBUF, 4096));
    say!("{}", get(b, SOL_SOCKET, SO_RCVBUF));
    nonblocking(a);
    for _ in 0..100 {
        send(a, &[0; 1000], 0).must();
    }
    nonblocking(b);
    let mut got = 0;
    while recv(b, 2000, 0).0.is_ok() {
        got += 1;
    }
    say!("some lost {}", got > 0 && got < 20);
}

fn receive_timeout() {
    let fd = udp();
    bind(fd, &local(0)).must();
    let limit = timeval { tv_sec: 0, tv_usec: 30_000 };
    sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &limit, 16).must();
    say!("{}", recv(fd, 1, 0));
}

fn interrupted_receive() {
    let fd = udp();
    bind(fd, &local(0)).must();
    say!("{}", interrupted(|| recv(fd, 1, 0)));
    let child = after(20, || send_to(udp(), b"wake", 0, &own(fd)));
    say!("{}", recv(fd, 10, 0));
    child.wait();
}

fn reuse_port_spreads() {
    let mut fds = Vec::new();
    let mut addr = local(0);
    for _ in 0..4 {
        let fd = udp();
        set(fd, SOL_SOCKET, SO_REUSEPORT, 1).must();
        bind(fd, &addr).must();
        addr = own(fd);
        nonblocking(fd);
        fds.push(fd);
    }
    say!("{}", bind(udp(), &addr));
    for _ in 0..100 {
        let sender = udp();
        send_to(sender, b"x", 0, &addr).must();
    }
    let counts: Vec<i32> = fds
        .iter()
        .map(|fd| {
            let mut count = 0;
            while recv(*fd, 4, 0).0.is_ok() {
                count += 1;
            }
            count
        })
        .collect();
    say!("{} by {}", counts.iter().sum::<i32>(), counts.iter().filter(|c| **c > 0).count());
}

fn reuse_address_last_wins() {
    let (a, b) = (udp(), udp());
    set(a, SOL_SOCKET, SO_REUSEADDR, 1).must();
    set(b, SOL_SOCKET, SO_REUSEADDR, 1).must();
    bind(a, &local(0)).must();
    say!("{}", bind(b, &own(a)));
    send_to(udp(), b"x", 0, &own(a)).must();
    say!("first {} second {}", recv(a, 4, MSG_DONTWAIT), recv(b, 4, MSG_DONTWAIT));
}

fn more_joins() {
    let (a, b) = udp_pair();
    say!("{} {}", send(a, b"ab", MSG_MORE), send(a, b"cd", MSG_MORE));
    say!("{}", recv(b, 10, MSG_DONTWAIT));
    say!("{} {}", send(a, b"ef", 0), recv(b, 10, 0));
    say!("{}", set(a, IPPROTO_UDP, UDP_CORK, 1));
    write(a, b"12");
    write(a, b"34");
    say!("{}", recv(b, 10, MSG_DONTWAIT));
    say!("{} {}", set(a, IPPROTO_UDP, UDP_CORK, 0), recv(b, 10, 0));
}

fn poll_states() {
    let (a, b) = udp_pair();
    say!("{} {}", poll(udp(), 0), poll(a, 0));
    write(a, b"x");
    say!("{}", wait_for(b, POLLIN));
    say!("{}", poll(b, 0));
}

fn epoll_edge_each() {
    let (a, b) = udp_pair();
    let ep = sys!(SYS_epoll_create1, 0).fd();
    let interest = epoll_event { events: (EPOLLIN | EPOLLET) as u32, u64: 1 };
    sys!(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, b, &interest).must();
    let next = || {
        let mut event = epoll_event { events: 0, u64: 0 };
        sys!(SYS_epoll_wait, ep, &mut event, 1, 0)
    };
    say!("{}", next());
    write(a, b"1");
    say!("{} {}", next(), next());
    write(a, b"2");
    say!("{} {}", next(), next());
    recv(b, 1, 0);
    say!("{}", next());
}

fn sendmmsg_recvmmsg() {
    let (a, b) = udp_pair();
    let parts: [&[u8]; 3] = [b"first", b"second", b""];
    let iovs: Vec<[usize; 2]> = parts.iter().map(|p| [p.as_ptr() as usize, p.len()]).collect();
    let headers_of = |iovs: &[[usize; 2]]| -> Vec<mmsghdr> {
        iovs.iter()
            .map(|iov| {
                let mut header: mmsghdr = zeroed();
                header.msg_hdr.msg_iov = iov.as_ptr().cast_mut().cast();
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect()
    };
    let mut out = headers_of(&iovs);
    say!("{}", sys!(SYS_sendmmsg, a, &mut out[..], 3, 0));
    say!("{:?}", out.iter().map(|h| h.msg_len).collect::<Vec<_>>());
    let mut buffers = [[0u8; 8]; 5];
    let iovs: Vec<[usize; 2]> = buffers.iter_mut().map(|p| [p.as_mut_ptr() as usize, 4]).collect();
    let mut into = headers_of(&iovs);
    say!("{}", sys!(SYS_recvmmsg, b, &mut into[..], 5, MSG_DONTWAIT, NULL));
    say!("{:?}", into.iter().map(|h| (h.msg_len, h.msg_hdr.msg_flags)).collect::<Vec<_>>());
    write(a, b"one");
    say!("for one {}", sys!(SYS_recvmmsg, b, &mut into[..], 5, MSG_WAITFORONE, NULL));
    let limit = timespec_ms(20);
    write(a, b"one");
    let child = after(60, || write(a, b"two"));
    say!("timeout {}", sys!(SYS_recvmmsg, b, &mut into[..], 5, 0, &limit));
    child.wait();
}

fn control_truncated() {
    let (a, b) = udp_pair();
    set(b, IPPROTO_IP, IP_RECVTTL, 1).must();
    set(b, IPPROTO_IP, IP_PKTINFO, 1).must();
    for room in [0, 8, 16, 20, 24, 32, 40, 48, 64] {
        write(a, b"x");
        let got = receive_message(b, 4, room, 0);
        let kinds: Vec<(i32, usize)> = got.control.iter().map(|c| (c.1, c.2.len())).collect();
        say!("{room}: {:#x} {kinds:?}", got.flags);
    }
}

fn fionread() {
    let (a, b) = udp_pair();
    let mut count = -1i32;
    sys!(SYS_ioctl, b, FIONREAD, &mut count).must();
    say!("{count}");
    write(a, b"12345");
    write(a, b"678");
    sys!(SYS_ioctl, b, FIONREAD, &mut count).must();
    say!("{count}");
    sys!(SYS_ioctl, a, TIOCOUTQ, &mut count).must();
    say!("{count}");
}

fn broadcast_needs_option() {
    let fd = udp();
    say!("{} {}", get(fd, SOL_SOCKET, SO_BROADCAST), set(fd, SOL_SOCKET, SO_BROADCAST, 1));
    say!("{}", get(fd, SOL_SOCKET, SO_BROADCAST));
    say!("{}", send_to(udp(), b"x", 0, &v4([127, 255, 255, 255], 9)));
}

fn multicast_loopback() {
    let fd = udp();
    bind(fd, &v4([0; 4], 0)).must();
    let mut request = vec![239u8, 1, 2, 3];
    request.extend([127, 0, 0, 1]);
    say!("join {}", sys!(SYS_setsockopt, fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request[..], 8));
    say!("again {}", sys!(SYS_setsockopt, fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request[..], 8));
    let sender = udp();
    say!("by {}", sys!(SYS_setsockopt, sender, IPPROTO_IP, IP_MULTICAST_IF, &[127u8, 0, 0, 1][..], 4));
    say!("send {}", send_to(sender, b"group", 0, &v4([239, 1, 2, 3], port(&own(fd)))));
    say!("{}", recv(fd, 10, MSG_DONTWAIT));
    say!("loop off {}", set(sender, IPPROTO_IP, IP_MULTICAST_LOOP, 0));
    send_to(sender, b"group", 0, &v4([239, 1, 2, 3], port(&own(fd))));
    say!("{}", recv(fd, 10, MSG_DONTWAIT));
    set(sender, IPPROTO_IP, IP_MULTICAST_LOOP, 1);
    say!("leave {}", sys!(SYS_setsockopt, fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &request[..], 8));
    say!("again {}", sys!(SYS_setsockopt, fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &request[..], 8));
}

fn multicast_options() {
    let fd = udp();
    say!("{} {}", get(fd, IPPROTO_IP, IP_MULTICAST_TTL), get(fd, IPPROTO_IP, IP_MULTICAST_LOOP));
    say!("{} {}", set(fd, IPPROTO_IP, IP_MULTICAST_TTL, 4), get(fd, IPPROTO_IP, IP_MULTICAST_TTL));
    say!("{} {}", set(fd, IPPROTO_IP, IP_MULTICAST_TTL, 256), set(fd, IPPROTO_IP, IP_MULTICAST_TTL, -1));
    say!("{}", sys!(SYS_setsockopt, fd, IPPROTO_IP, IP_MULTICAST_TTL, &[7u8][..], 1));
    say!("{}", get(fd, IPPROTO_IP, IP_MULTICAST_TTL));
    say!("not a group {}", sys!(SYS_setsockopt, fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &[10u8, 0, 0, 1, 127, 0, 0, 1][..], 8));
    say!("no interface {}", sys!(SYS_setsockopt, fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &[239u8, 0, 0, 1, 10, 9, 8, 7][..], 8));
    say!("no route {}", sys!(SYS_setsockopt, fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &[239u8, 0, 0, 1, 0, 0, 0, 0][..], 8));
    say!("short {}", sys!(SYS_setsockopt, fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &[239u8, 0, 0, 1][..], 4));
    let mut index = [239u8, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0];
    say!("by number {}", sys!(SYS_setsockopt, fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &index[..], 12));
    index[8] = 77;
    say!("bad number {}", sys!(SYS_setsockopt, fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &index[..], 12));
}

fn multicast_v6() {
    let fd = socket(AF_INET6, SOCK_DGRAM);
    bind(fd, &v6("::", 0)).must();
    let mut request = v6("ff02::1234", 0)[8..24].to_vec();
    request.extend(1u32.to_ne_bytes());
    say!("join {}", sys!(SYS_setsockopt, fd, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &request[..], 20));
    say!("again {}", sys!(SYS_setsockopt, fd, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &request[..], 20));
    say!("by {}", set(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, 1));
    say!("{} {}", get(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF), get(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS));
    say!("leave {}", sys!(SYS_setsockopt, fd, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, &request[..], 20));
    say!("again {}", sys!(SYS_setsockopt, fd, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, &request[..], 20));
    request[16] = 77;
    say!("no interface {}", sys!(SYS_setsockopt, fd, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &request[..], 20));
}

fn bind_errors() {
    let fd = udp();
    bind(fd, &local(0)).must();
    say!("again {}", bind(fd, &local(0)));
    say!("in use {}", bind(udp(), &own(fd)));
    say!("any in use {}", bind(udp(), &v4([0; 4], port(&own(fd)))));
    say!("other address {}", bind(udp(), &v4([127, 0, 0, 2], port(&own(fd)))));
    say!("not ours {}", bind(udp(), &v4([192, 0, 2, 7], 0)));
    say!("group {}", bind(udp(), &v4([239, 1, 2, 3], 0)));
    say!("broadcast {}", bind(udp(), &v4([127, 255, 255, 255], 0)));
    let mut unspec = local(0);
    unspec[0] = 0;
    say!("unspec {}", bind(udp(), &unspec));
    let mut any = v4([0; 4], 0);
    any[0] = 0;
    say!("unspec any {}", bind(udp(), &any));
}

fn segments() {
    let (a, b) = udp_pair();
    say!("{}", set(a, IPPROTO_UDP, 103, 4));
    say!("{}", send(a, b"aaaabbbbcc", 0));
    for _ in 0..3 {
        say!("{}", recv(b, 20, MSG_DONTWAIT));
    }
    set(a, IPPROTO_UDP, 103, 0).must();
    let size = (IPPROTO_UDP, 103, 3u16.to_ne_bytes().to_vec());
    say!("{}", send_message(a, b"xxxyyyz", &[size], None, 0));
    for _ in 0..3 {
        say!("{}", recv(b, 20, MSG_DONTWAIT));
    }
    say!("{} {}", get(a, IPPROTO_UDP, 103), set(a, IPPROTO_UDP, 103, 70_000));
}

fn connect_changes_source() {
    let (a, b) = (udp(), udp());
    bind(b, &local(0)).must();
    connect(a, &own(b)).must();
    say!("{}", shown(SYS_getsockname, a));
    let any = udp();
    bind(any, &v4([0; 4], 0)).must();
    connect(any, &own(b)).must();
    say!("{}", shown(SYS_getsockname, any));
    let (c, d) = (udp(), udp());
    bind(c, &local(0)).must();
    bind(d, &local(0)).must();
    connect(any, &own(c)).must();
    say!("moved {}", name(SYS_getpeername, any).unwrap_or_default() == own(c));
    say!("refused {}", connect(any, &v4([192, 0, 2, 1], 9)));
    say!("after a failure {}", name(SYS_getpeername, any).map_or_else(|e| e.to_string(), |_| "still".to_owned()));
}

fn dontwait() {
    let (_a, b) = udp_pair();
    say!("{}", recv(b, 1, MSG_DONTWAIT));
    nonblocking(b);
    say!("{} {}", recv(b, 1, 0), read(b, 1));
}

fn no_cmsg_without_asking() {
    let (a, b) = udp_pair();
    write(a, b"x");
    say!("{}", show_control(&receive_message(b, 4, 128, 0).control));
    set(b, IPPROTO_IP, IP_RECVTTL, 1).must();
    set(b, IPPROTO_IP, IP_RECVTTL, 0).must();
    write(a, b"x");
    say!("{}", show_control(&receive_message(b, 4, 128, 0).control));
    say!("original destination {}", set(b, IPPROTO_IP, IP_RECVORIGDSTADDR, 1));
    write(a, b"x");
    let got = receive_message(b, 4, 128, 0).control;
    say!("{:?}", got.iter().map(|c| (c.0, c.1, c.2.len())).collect::<Vec<_>>());
}

fn send_control_errors() {
    let (a, b) = udp_pair();
    say!("unknown {}", send_message(a, b"x", &[(IPPROTO_IP, 99, vec![0; 4])], None, 0));
    say!("other level {}", send_message(a, b"x", &[(IPPROTO_TCP, 1, vec![0; 4])], None, 0));
    say!("rights {}", send_message(a, b"x", &[(SOL_SOCKET, SCM_RIGHTS, b.to_ne_bytes().to_vec())], None, 0));
    say!("socket level {}", send_message(a, b"x", &[(SOL_SOCKET, 99, vec![0; 4])], None, 0));
    say!("v6 on v4 {}", send_message(a, b"x", &[(IPPROTO_IPV6, IPV6_HOPLIMIT, vec![0; 4])], None, 0));
}

fn autobind_on_send() {
    let fd = udp();
    let there = udp();
    bind(there, &local(0)).must();
    send_to(fd, b"x", 0, &own(there)).must();
    say!("{}", shown(SYS_getsockname, fd));
    say!("bind after {}", bind(fd, &local(0)));
}
