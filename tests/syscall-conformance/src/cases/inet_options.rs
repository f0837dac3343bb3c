//! Socket options of internet sockets: what they are at first, what they take, what they refuse.

use crate::prelude::*;

cases![
    socket_level_values, socket_level_set, ip_level_values, ipv6_level_values, tcp_level_values, tcp_level_set, option_lengths,
    option_errors, buffers, congestion, tcp_info_states, bind_to_device, incoming_cpu_and_cookie, levels_by_protocol, linger_values,
    timeouts, mark_and_priority, receive_overflow, packet_filters, packet_filters_filter, packet_filters_invalid, tcp_maxseg, ip_options, quickack, broadcast_and_dontroute, socket_kinds_refused,
    peek_offset, zerocopy, tcp_info_counts, mtu_values,
];

const LISTENERS: [(&str, i32, i32); 3] = [("tcp", AF_INET, SOCK_STREAM), ("udp", AF_INET, SOCK_DGRAM), ("tcp6", AF_INET6, SOCK_STREAM)];

fn socket_level_values() {
    for (name, family, kind) in LISTENERS {
        let fd = socket(family, kind);
        for option in [SO_DEBUG, SO_REUSEADDR, SO_TYPE, SO_ERROR, SO_DONTROUTE, SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE, SO_NO_CHECK, SO_PRIORITY, SO_LINGER, SO_REUSEPORT, SO_PASSCRED, SO_RCVLOWAT, SO_SNDLOWAT, SO_TIMESTAMP, SO_ACCEPTCONN, SO_MARK, SO_PROTOCOL, SO_DOMAIN, SO_RXQ_OVFL, SO_TIMESTAMPNS, SO_BUSY_POLL, SO_INCOMING_CPU, SO_SELECT_ERR_QUEUE, SO_LOCK_FILTER] {
            let shown = get(fd, SOL_SOCKET, option);
            say!("{name} {option}: {shown}");
        }
    }
}

fn socket_level_set() {
    for (name, family, kind) in LISTENERS {
        let fd = socket(family, kind);
        for option in [SO_REUSEADDR, SO_TYPE, SO_ERROR, SO_DONTROUTE, SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE, SO_NO_CHECK, SO_PRIORITY, SO_REUSEPORT, SO_RCVLOWAT, SO_SNDLOWAT, SO_TIMESTAMP, SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN, SO_RXQ_OVFL, SO_TIMESTAMPNS, SO_SELECT_ERR_QUEUE] {
            say!("{name} {option}: {} {}", set(fd, SOL_SOCKET, option, 1), get(fd, SOL_SOCKET, option));
        }
    }
}

fn ip_level_values() {
    for (name, family, kind) in LISTENERS {
        let fd = socket(family, kind);
        for option in [IP_TOS, IP_TTL, IP_HDRINCL, IP_PKTINFO, IP_MTU_DISCOVER, IP_RECVERR, IP_RECVTTL, IP_RECVTOS, IP_MTU, IP_FREEBIND, IP_TRANSPARENT, IP_RECVORIGDSTADDR, IP_MINTTL, IP_NODEFRAG, IP_BIND_ADDRESS_NO_PORT, IP_MULTICAST_IF, IP_MULTICAST_TTL, IP_MULTICAST_LOOP, IP_MULTICAST_ALL, IP_UNICAST_IF] {
            say!("{name} {option}: {}", get(fd, IPPROTO_IP, option));
        }
        for option in [IP_TOS, IP_TTL, IP_PKTINFO, IP_MTU_DISCOVER, IP_RECVERR, IP_RECVTTL, IP_RECVTOS, IP_FREEBIND, IP_RECVORIGDSTADDR, IP_MINTTL, IP_BIND_ADDRESS_NO_PORT, IP_MULTICAST_ALL] {
            say!("{name} {option}: {} {}", set(fd, IPPROTO_IP, option, 1), get(fd, IPPROTO_IP, option));
        }
        say!("{name} {} {}", set(fd, IPPROTO_IP, IP_MTU_DISCOVER, 6), set(fd, IPPROTO_IP, IP_TTL, 300));
    }
}

fn ipv6_level_values() {
    for kind in [SOCK_STREAM, SOCK_DGRAM] {
        let fd = socket(AF_INET6, kind);
        for option in [IPV6_UNICAST_HOPS, IPV6_MULTICAST_IF, IPV6_MULTICAST_HOPS, IPV6_MULTICAST_LOOP, IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_RECVERR, IPV6_V6ONLY, IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS, IPV6_TCLASS, 70, 72, 74, 76] {
            say!("{kind} {option}: {}", get(fd, IPPROTO_IPV6, option));
        }
        for option in [IPV6_UNICAST_HOPS, IPV6_MULTICAST_HOPS, IPV6_MULTICAST_LOOP, IPV6_MTU_DISCOVER, IPV6_RECVERR, IPV6_V6ONLY, IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS, IPV6_TCLASS] {
            say!("{kind} {option}: {} {}", set(fd, IPPROTO_IPV6, option, 1), get(fd, IPPROTO_IPV6, option));
        }
        say!("{kind} {} {}", set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 300), set(fd, IPPROTO_IPV6, IPV6_TCLASS, 256));
    }
}

fn tcp_level_values() {
    let fd = tcp();
    for option in [TCP_NODELAY, TCP_MAXSEG, TCP_CORK, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_SYNCNT, TCP_LINGER2, TCP_DEFER_ACCEPT, TCP_WINDOW_CLAMP, TCP_QUICKACK, TCP_USER_TIMEOUT, TCP_FASTOPEN, TCP_TIMESTAMP, TCP_NOTSENT_LOWAT, TCP_REPAIR, 32, 99] {
        let value = get(fd, IPPROTO_TCP, option);
        if option == TCP_TIMESTAMP {
            say!("{option}: {}", value.ok());
        } else {
            say!("{option}: {value}");
        }
    }
}

fn tcp_level_set() {
    let fd = tcp();
    for (option, value) in [(TCP_NODELAY, 5), (TCP_CORK, 2), (TCP_SYNCNT, 3), (TCP_SYNCNT, 0), (TCP_SYNCNT, 128), (TCP_LINGER2, 30), (TCP_LINGER2, -1), (TCP_LINGER2, 1000), (TCP_DEFER_ACCEPT, 5), (TCP_DEFER_ACCEPT, 0), (TCP_WINDOW_CLAMP, 10_000), (TCP_QUICKACK, 0), (TCP_USER_TIMEOUT, 10), (TCP_NOTSENT_LOWAT, 4096), (TCP_MAXSEG, 1000), (TCP_MAXSEG, 10), (TCP_MAXSEG, 40_000), (TCP_KEEPIDLE, 32768), (TCP_FASTOPEN, 5), (99, 1)] {
        say!("{option}={value}: {} {}", set(fd, IPPROTO_TCP, option, value), get(fd, IPPROTO_TCP, option));
    }
}

fn option_lengths() {
    let fd = tcp();
    let mut value = [0xffu8; 8];
    for len in [0u32, 1, 2, 3, 4, 8] {
        let mut told = len;
        value.fill(0xff);
        let ret = sys!(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &mut value[..], &mut told);
        say!("get {len}: {ret} {told} {value:?}");
        let mut told = len;
        value.fill(0xff);
        let ret = sys!(SYS_getsockopt, fd, IPPROTO_IP, IP_TTL, &mut value[..], &mut told);
        say!("get ttl {len}: {ret} {told} {value:?}");
        let mut told = len;
        value.fill(0xff);
        let ret = sys!(SYS_getsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &mut value[..], &mut told);
        say!("get nodelay {len}: {ret} {told} {value:?}");
    }
    let mut negative = -1i32;
    say!("{}", sys!(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &mut value[..], &mut negative));
    for len in [0, 1, 2, 3, 4, 8] {
        say!("set {len}: {} {} {}", sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_KEEPALIVE, &[1u8, 0, 0, 0, 0, 0, 0, 0][..], len), sys!(SYS_setsockopt, fd, IPPROTO_IP, IP_TTL, &[9u8, 0, 0, 0, 0, 0, 0, 0][..], len), sys!(SYS_setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &[1u8, 0, 0, 0, 0, 0, 0, 0][..], len));
    }
    say!("negative {}", sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_KEEPALIVE, &value[..], -1));
}

fn option_errors() {
    let fd = tcp();
    say!("{} {}", get(fd, SOL_SOCKET, 9999), set(fd, SOL_SOCKET, 9999, 1));
    say!("{} {}", get(fd, 9999, 1), set(fd, 9999, 1, 1));
    say!("{} {}", get(fd, IPPROTO_IP, 9999), set(fd, IPPROTO_IP, 9999, 1));
    say!("{} {}", get(fd, IPPROTO_TCP, 9999), set(fd, IPPROTO_TCP, 9999, 1));
    say!("{} {}", get(fd, IPPROTO_UDP, 1), set(fd, IPPROTO_UDP, 1, 1));
    say!("{} {}", get(fd, IPPROTO_IPV6, IPV6_V6ONLY), set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1));
    let mut len = 4u32;
    say!("{}", sys!(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, 8usize, &mut len));
    say!("{}", sys!(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &mut [0i32], 8usize));
    say!("{}", sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_KEEPALIVE, 8usize, 4));
    say!("{} {}", get(0, SOL_SOCKET, SO_TYPE), get(99, SOL_SOCKET, SO_TYPE));
    let dgram = udp();
    say!("{} {}", get(dgram, IPPROTO_TCP, TCP_NODELAY), set(dgram, IPPROTO_TCP, TCP_NODELAY, 1));
}

fn buffers() {
    for kind in [SOCK_STREAM, SOCK_DGRAM] {
        let fd = socket(AF_INET, kind);
        say!("{} {}", get(fd, SOL_SOCKET, SO_SNDBUF), get(fd, SOL_SOCKET, SO_RCVBUF));
        for size in [0, 1, 5000, 100_000] {
            say!("{size}: {} {}", set(fd, SOL_SOCKET, SO_SNDBUF, size), get(fd, SOL_SOCKET, SO_SNDBUF));
            say!("{size}: {} {}", set(fd, SOL_SOCKET, SO_RCVBUF, size), get(fd, SOL_SOCKET, SO_RCVBUF));
        }
    }
}

fn congestion() {
    let fd = tcp();
    let mut name = [0u8; 16];
    let mut len = 16u32;
    say!("{} {len}", sys!(SYS_getsockopt, fd, IPPROTO_TCP, TCP_CONGESTION, &mut name[..], &mut len));
    say!("{}", sys!(SYS_setsockopt, fd, IPPROTO_TCP, TCP_CONGESTION, b"cubic" as *const u8, 5));
    say!("{}", sys!(SYS_setsockopt, fd, IPPROTO_TCP, TCP_CONGESTION, b"nosuch" as *const u8, 6));
    say!("{}", sys!(SYS_setsockopt, fd, IPPROTO_TCP, TCP_CONGESTION, b"" as *const u8, 0));
}

/// The first fields of `struct tcp_info`.
fn info(fd: i32) -> (Ret, Vec<u8>, u32) {
    let mut info = vec![0u8; 512];
    let mut len = 512u32;
    let ret = sys!(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, &mut info[..], &mut len);
    (ret, info, len)
}

fn tcp_info_states() {
    let state = |fd: i32| info(fd).1[0];
    let fd = tcp();
    say!("new {}", state(fd));
    bind(fd, &local(0)).must();
    say!("bound {}", state(fd));
    listen(fd, 1).must();
    say!("listen {}", state(fd));
    let client = tcp();
    connect(client, &own(fd)).must();
    let server = accept(fd, 0).fd();
    say!("connected {} {}", state(client), state(server));
    sys!(SYS_shutdown, client, SHUT_WR).must();
    wait_for(server, POLLRDHUP);
    // The acknowledgement of the FIN may take 40 ms.
    sleep_ms(100);
    say!("half closed {} {}", state(client), state(server));
    sys!(SYS_shutdown, server, SHUT_WR).must();
    wait_for(client, POLLRDHUP);
    say!("both {} {}", state(client), state(server));
    let (a, b) = pair();
    let linger = linger { l_onoff: 1, l_linger: 0 };
    sys!(SYS_setsockopt, b, SOL_SOCKET, SO_LINGER, &linger, 8).must();
    close(b);
    wait_for(a, POLLERR);
    say!("reset {}", state(a));
    let mut short = [0u8; 8];
    let mut len = 8u32;
    say!("{} {len}", sys!(SYS_getsockopt, a, IPPROTO_TCP, TCP_INFO, &mut short[..], &mut len));
}

fn tcp_info_counts() {
    let (client, server) = pair();
    for _ in 0..10 {
        write(client, &[1; 1000]);
        recv(server, 1000, MSG_WAITALL);
    }
    let word = |info: &[u8], at: usize| u32::from_ne_bytes(info[at..at + 4].try_into().unwrap());
    let long = |info: &[u8], at: usize| u64::from_ne_bytes(info[at..at + 8].try_into().unwrap());
    let (_, sent, _) = info(client);
    let (_, got, _) = info(server);
    say!("acked {} received {}", long(&sent, 120), long(&got, 128));
    say!("data segments {} {}", word(&sent, 156), word(&got, 152));
    say!("mss is large {} {}", word(&sent, 16) > 1000, word(&got, 20) > 500);
    say!("unacked {} lost {} retrans {}", word(&sent, 24), word(&sent, 32), word(&sent, 36));
    say!("pmtu {}", word(&sent, 60));
    say!("window scale {}", sent[6] != 0);
    say!("options {:#x}", sent[5] & 7);
}

fn bind_to_device() {
    let fd = udp();
    let mut name = [0u8; 16];
    let mut len = 16u32;
    say!("{} {len}", sys!(SYS_getsockopt, fd, SOL_SOCKET, SO_BINDTODEVICE, &mut name[..], &mut len));
    say!("{}", sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_BINDTODEVICE, b"lo\0" as *const u8, 3));
    let mut len = 16u32;
    let ret = sys!(SYS_getsockopt, fd, SOL_SOCKET, SO_BINDTODEVICE, &mut name[..], &mut len);
    say!("{ret} {len} {}", name[..len as usize].escape_ascii());
    say!("{}", sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_BINDTODEVICE, b"nosuch\0" as *const u8, 7));
    bind(fd, &local(0)).must();
    say!("{}", send_to(fd, b"x", 0, &own(fd)));
    say!("{}", recv(fd, 4, MSG_DONTWAIT));
    say!("{}", sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_BINDTODEVICE, b"\0" as *const u8, 1));
}

fn incoming_cpu_and_cookie() {
    let fd = tcp();
    let mut cookie = 0u64;
    let mut len = 8u32;
    say!("{} {}", sys!(SYS_getsockopt, fd, SOL_SOCKET, SO_COOKIE, &mut cookie, &mut len), cookie != 0);
    let mut again = 0u64;
    sys!(SYS_getsockopt, fd, SOL_SOCKET, SO_COOKIE, &mut again, &mut len).must();
    say!("steady {}", cookie == again);
    let mut len = 4u32;
    say!("short {}", sys!(SYS_getsockopt, fd, SOL_SOCKET, SO_COOKIE, &mut again, &mut len));
    let mut peer = [0u8; 16];
    let mut len = 16u32;
    say!("peername {}", sys!(SYS_getsockopt, fd, SOL_SOCKET, 28, &mut peer[..], &mut len));
    let mut creds = [0u32; 3];
    let mut len = 12u32;
    say!("peercred {} {creds:?}", sys!(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &mut creds, &mut len));
}

fn levels_by_protocol() {
    let udp4 = udp();
    say!("cork {} {}", get(udp4, IPPROTO_UDP, UDP_CORK), get(udp4, IPPROTO_UDP, 104));
    say!("gro {} {}", set(udp4, IPPROTO_UDP, 104, 1), get(udp4, IPPROTO_UDP, 104));
    say!("unknown {} {}", get(udp4, IPPROTO_UDP, 55), set(udp4, IPPROTO_UDP, 55, 1));
    say!("no checks {} {}", get(udp4, IPPROTO_UDP, 101), get(udp4, IPPROTO_UDP, 102));
    say!("raw {}", get(udp4, IPPROTO_RAW, 1));
}

fn linger_values() {
    let fd = tcp();
    let read_linger = |fd: i32| {
        let mut value = linger { l_onoff: 9, l_linger: 9 };
        let mut len = 8u32;
        let ret = sys!(SYS_getsockopt, fd, SOL_SOCKET, SO_LINGER, &mut value, &mut len);
        format!("{ret} {} {} {len}", value.l_onoff, value.l_linger)
    };
    say!("{}", read_linger(fd));
    for (on, seconds) in [(1, 5), (7, 0), (0, 9)] {
        let value = linger { l_onoff: on, l_linger: seconds };
        say!("{on} {seconds}: {} {}", sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_LINGER, &value, 8), read_linger(fd));
    }
    say!("short {}", sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_LINGER, &1i32, 4));
}

fn timeouts() {
    let fd = tcp();
    for (sec, usec) in [(1, 500_000), (0, 0), (-1, 0), (0, 1_000_000), (0, -1), (3, 1)] {
        let value = timeval { tv_sec: sec, tv_usec: usec };
        let mut back = timeval { tv_sec: 9, tv_usec: 9 };
        let mut len = 16u32;
        let ret = sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &value, 16);
        sys!(SYS_getsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &mut back, &mut len).must();
        // The kernel keeps ticks.
        say!("{sec} {usec}: {ret} {} {} {len}", back.tv_sec, back.tv_usec / 10_000);
    }
    say!("short {}", sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &[0u8; 8][..], 8));
}

fn mark_and_priority() {
    let fd = udp();
    say!("{} {}", set(fd, SOL_SOCKET, SO_PRIORITY, 6), get(fd, SOL_SOCKET, SO_PRIORITY));
    say!("{} {}", set(fd, SOL_SOCKET, SO_MARK, 7), get(fd, SOL_SOCKET, SO_MARK));
    set(fd, IPPROTO_IP, IP_TOS, 0x10).must();
    say!("by tos {}", get(fd, SOL_SOCKET, SO_PRIORITY));
    let child = fork(|| {
        sys!(SYS_setresuid, 1000, 1000, 1000).must();
        let fd = udp();
        say!("user {} {} {}", set(fd, SOL_SOCKET, SO_PRIORITY, 6), set(fd, SOL_SOCKET, SO_PRIORITY, 7), set(fd, SOL_SOCKET, SO_MARK, 1));
        0
    });
    say!("{}", child.wait());
}

fn receive_overflow() {
    let (a, b) = udp_pair();
    set(b, SOL_SOCKET, SO_RCVBUF, 4096).must();
    say!("{}", set(b, SOL_SOCKET, SO_RXQ_OVFL, 1));
    write(a, b"first");
    say!("{}", receive_message(b, 8, 64, 0).control.len());
    while {
        // Until one is lost.
        let mut full = true;
        for _ in 0..100 {
            full &= send(a, &[0; 1000], 0).get().is_ok();
        }
        !full
    } {}
    nonblocking(b);
    while recv(b, 2000, 0).0.is_ok() {}
    write(a, b"last");
    let got = receive_message(b, 8, 64, 0);
    let lost = got.control.iter().map(|c| u32::from_ne_bytes(c.2[..4].try_into().unwrap())).collect::<Vec<_>>();
    say!("{} {:?} {}", got.data, got.control.iter().map(|c| (c.0, c.1)).collect::<Vec<_>>(), lost.iter().all(|n| *n > 50));
}

fn packet_filters() {
    let fd = udp();
    say!("filter {}", sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_ATTACH_FILTER, &[0u8; 16][..], 16));
    say!("detach {}", set(fd, SOL_SOCKET, SO_DETACH_FILTER, 0));
    say!("short {}", sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_ATTACH_FILTER, &[0u8; 16][..], 8));
}

/// SO_ATTACH_FILTER with instructions of code, jumps and operand.
fn attach(fd: i32, code: &[(u16, u8, u8, u32)]) -> Ret {
    let code: Vec<sock_filter> = code.iter().map(|&(code, jt, jf, k)| sock_filter { code, jt, jf, k }).collect();
    let mut program = [0u8; 16];
    program[..2].copy_from_slice(&(code.len() as u16).to_ne_bytes());
    program[8..].copy_from_slice(&(code.as_ptr() as u64).to_ne_bytes());
    sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_ATTACH_FILTER, &program[..], 16)
}

fn packet_filters_filter() {
    let (a, b) = udp_pair();
    // The byte behind UDP's header decides; "cut" keeps three bytes behind it.
    say!("{}", attach(b, &[(0x30, 0, 0, 8), (0x15, 0, 1, 100), (0x06, 0, 0, 0), (0x15, 0, 1, 99), (0x06, 0, 0, 11), (0x06, 0, 0, 65_535)]));
    for text in ["drop", "cut it", "whole"] {
        write(a, text.as_bytes());
    }
    say!("{} {} {}", recv(b, 20, 0), recv(b, 20, 0), recv(b, 20, MSG_DONTWAIT));
    // Length, and the length field of UDP's header, must be as one expects.
    say!("{}", attach(b, &[(0x80, 0, 0, 0), (0x07, 0, 0, 0), (0x28, 0, 0, 4), (0x1d, 0, 1, 0), (0x06, 0, 0, 100), (0x06, 0, 0, 0)]));
    write(a, b"four");
    say!("{}", recv(b, 20, 0));
    // An empty packet has no byte 8: dropped.
    say!("{}", attach(b, &[(0x30, 0, 0, 8), (0x06, 0, 0, 100)]));
    send(a, b"", 0).must();
    write(a, b"x");
    say!("{}", recv(b, 20, 0));
    // By modulo: odd lengths only. Eight bytes of header come to it.
    say!("{}", attach(b, &[(0x80, 0, 0, 0), (0x94, 0, 0, 2), (0x15, 1, 0, 0), (0x06, 0, 0, 100), (0x06, 0, 0, 0)]));
    for text in ["ab", "abc"] {
        write(a, text.as_bytes());
    }
    say!("{} {}", recv(b, 20, 0), recv(b, 20, MSG_DONTWAIT));
    say!("lock {} {}", set(b, SOL_SOCKET, SO_LOCK_FILTER, 1), get(b, SOL_SOCKET, SO_LOCK_FILTER));
    say!("unlock {} detach {} attach {}", set(b, SOL_SOCKET, SO_LOCK_FILTER, 0), set(b, SOL_SOCKET, SO_DETACH_FILTER, 0), attach(b, &[(0x06, 0, 0, 1)]));
    say!("detach {}", set(a, SOL_SOCKET, SO_DETACH_FILTER, 0));
}

fn packet_filters_invalid() {
    let fd = udp();
    for (name, code) in [
        ("no return", vec![(0x00, 0, 0, 1)]),
        ("jump too far", vec![(0x05, 0, 0, 1), (0x06, 0, 0, 1)]),
        ("unwritten memory", vec![(0x60, 0, 0, 0), (0x06, 0, 0, 1)]),
        ("memory too far", vec![(0x02, 0, 0, 16), (0x06, 0, 0, 1)]),
        ("division by zero", vec![(0x34, 0, 0, 0), (0x06, 0, 0, 1)]),
        ("modulo zero", vec![(0x94, 0, 0, 0), (0x06, 0, 0, 1)]),
        ("shift too far", vec![(0x64, 0, 0, 32), (0x06, 0, 0, 1)]),
        ("unknown", vec![(0xffff, 0, 0, 0), (0x06, 0, 0, 1)]),
        ("header length", vec![(0xb1, 0, 0, 0), (0x06, 0, 0, 1)]),
        ("fine", vec![(0x06, 0, 0, 1)]),
    ] {
        say!("{name}: {}", attach(fd, &code));
    }
    say!("detach {} {}", set(fd, SOL_SOCKET, SO_DETACH_FILTER, 0), set(fd, SOL_SOCKET, SO_DETACH_FILTER, 0));
}

fn tcp_maxseg() {
    let (client, server) = pair();
    say!("{} {}", get(client, IPPROTO_TCP, TCP_MAXSEG), get(server, IPPROTO_TCP, TCP_MAXSEG).0 > 32_000);
}

fn ip_options() {
    let fd = tcp();
    let mut bytes = [0u8; 40];
    let mut len = 40u32;
    say!("{} {len}", sys!(SYS_getsockopt, fd, IPPROTO_IP, IP_OPTIONS, &mut bytes[..], &mut len));
    say!("empty {}", sys!(SYS_setsockopt, fd, IPPROTO_IP, IP_OPTIONS, NULL, 0));
    say!("header {}", set(fd, IPPROTO_IP, IP_HDRINCL, 1));
}

fn quickack() {
    let (client, server) = pair();
    say!("{} {}", get(client, IPPROTO_TCP, TCP_QUICKACK), set(client, IPPROTO_TCP, TCP_QUICKACK, 0));
    say!("{} {}", get(client, IPPROTO_TCP, TCP_QUICKACK), set(client, IPPROTO_TCP, TCP_QUICKACK, 1));
    write(server, b"x");
    say!("{}", recv(client, 4, 0));
}

fn broadcast_and_dontroute() {
    let fd = udp();
    say!("{}", set(fd, SOL_SOCKET, SO_DONTROUTE, 1));
    bind(fd, &local(0)).must();
    say!("{}", send_to(fd, b"x", 0, &own(fd)));
    say!("{}", send_to(fd, b"x", MSG_DONTROUTE, &v4([192, 0, 2, 1], 9)));
    say!("{}", send_to(fd, b"x", MSG_CONFIRM, &own(fd)));
}

fn socket_kinds_refused() {
    for (family, kind, protocol) in [(AF_INET, SOCK_STREAM, IPPROTO_UDP), (AF_INET, SOCK_DGRAM, IPPROTO_TCP), (AF_INET, SOCK_SEQPACKET, 0), (AF_INET, SOCK_RAW, 0), (AF_INET, 9, 0), (AF_INET, SOCK_STREAM, -1), (AF_INET, SOCK_STREAM, 300), (AF_INET6, SOCK_RDM, 0), (AF_INET, SOCK_STREAM, IPPROTO_TCP), (AF_INET, SOCK_DGRAM, IPPROTO_UDP), (AF_INET, SOCK_STREAM | 0x1000, 0), (99, SOCK_STREAM, 0), (-1, SOCK_STREAM, 0), (0, SOCK_STREAM, 0)] {
        say!("{family} {kind} {protocol}: {}", sys!(SYS_socket, family, kind, protocol).ok());
    }
    say!("pair {}", sys!(SYS_socketpair, AF_INET, SOCK_STREAM, 0, &mut [0i32; 2]));
}

fn peek_offset() {
    let (a, b) = udp_pair();
    say!("{} {}", get(b, SOL_SOCKET, SO_PEEK_OFF), set(b, SOL_SOCKET, SO_PEEK_OFF, 2));
    write(a, b"abcdef");
    say!("{} {}", recv(b, 2, MSG_PEEK), recv(b, 2, MSG_PEEK));
    say!("{}", recv(b, 10, 0));
}

fn zerocopy() {
    let (client, server) = pair();
    say!("{} {}", set(client, SOL_SOCKET, SO_ZEROCOPY, 1), get(client, SOL_SOCKET, SO_ZEROCOPY));
    say!("without asking {}", send(server, b"x", MSG_ZEROCOPY));
    say!("{}", recv(client, 2, 0));
    say!("{}", set(client, SOL_SOCKET, SO_ZEROCOPY, 2));
}

fn mtu_values() {
    let fd = udp();
    say!("{}", get(fd, IPPROTO_IP, IP_MTU));
    let (a, _b) = udp_pair();
    say!("{}", get(a, IPPROTO_IP, IP_MTU));
    let (client, _server) = pair();
    say!("{}", get(client, IPPROTO_IP, IP_MTU));
    let six = socket(AF_INET6, SOCK_DGRAM);
    say!("{}", get(six, IPPROTO_IPV6, IPV6_MTU));
    connect(six, &v6("::1", 9)).must();
    say!("{}", get(six, IPPROTO_IPV6, IPV6_MTU));
    set(a, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO).must();
    say!("{}", send(a, &vec![0; 65507], 0));
}
