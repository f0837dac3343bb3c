//! Raw sockets and ping sockets over loopback.

use crate::prelude::*;

cases![ping_socket, ping_socket_errors, ping_v6, raw_icmp_echo, raw_filter, raw_needs_capability, raw_udp_sees_datagrams, raw_header_included, raw_protocol_over_loopback, raw_connect_and_names, raw_v6_checksum, ping_range];

/// An ICMP message with its checksum.
fn icmp(kind: u8, ident: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(ident.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(payload);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Lets everybody make ping sockets, where that can be said.
fn open_range() {
    let fd = open(c"/proc/sys/net/ipv4/ping_group_range", O_WRONLY);
    if let Ok(fd) = fd.get() {
        write(fd as i32, b"0 2147483647");
        close(fd as i32);
    }
}

fn ping_range() {
    say!("{}", read(open(c"/proc/sys/net/ipv4/ping_group_range", O_RDONLY).fd(), 64));
    say!("{}", sys!(SYS_socket, AF_INET, SOCK_DGRAM, IPPROTO_ICMP).ok());
}

fn ping_socket() {
    open_range();
    let fd = sys!(SYS_socket, AF_INET, SOCK_DGRAM, IPPROTO_ICMP).fd();
    say!("{}", shown(SYS_getsockname, fd));
    say!("{}", send_to(fd, &icmp(8, 77, 1, b"payload"), 0, &local(0)));
    wait_for(fd, POLLIN);
    let own_port = port(&own(fd));
    let got = receive_message(fd, 100, 0, 0);
    let data = got.data.0.unwrap_or_default();
    say!("from {} type {} seq {:?} payload {}", show(&got.from), data[0], &data[6..8], data[8..].escape_ascii());
    say!("ident is the port {}", u16::from_be_bytes([data[4], data[5]]) == own_port && own_port != 0);
    say!("checksum right {}", checksum(&data) == 0);
    say!("nothing more {}", recv(fd, 10, MSG_DONTWAIT));
}

fn ping_socket_errors() {
    open_range();
    let fd = sys!(SYS_socket, AF_INET, SOCK_DGRAM, IPPROTO_ICMP).fd();
    say!("short {}", send_to(fd, b"abc", 0, &local(0)));
    say!("reply {}", send_to(fd, &icmp(0, 1, 1, b""), 0, &local(0)));
    say!("no destination {}", send(fd, &icmp(8, 1, 1, b""), 0));
    say!("{} {}", connect(fd, &local(0)), send(fd, &icmp(8, 1, 1, b""), 0));
    say!("listen {}", listen(fd, 1));
    say!("stream {}", sys!(SYS_socket, AF_INET, SOCK_STREAM, IPPROTO_ICMP));
    let other = sys!(SYS_socket, AF_INET, SOCK_DGRAM, IPPROTO_ICMP).fd();
    say!("bind {} {}", bind(other, &local(4000)), shown(SYS_getsockname, other));
    say!("{} {} {}", get(fd, SOL_SOCKET, SO_TYPE), get(fd, SOL_SOCKET, SO_PROTOCOL), get(fd, SOL_SOCKET, SO_DOMAIN));
}

fn ping_v6() {
    open_range();
    let fd = sys!(SYS_socket, AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6).fd();
    say!("{}", send_to(fd, &icmp(128, 1, 3, b"six"), 0, &v6("::1", 0)));
    wait_for(fd, POLLIN);
    let got = receive_message(fd, 100, 0, 0);
    let data = got.data.0.unwrap_or_default();
    say!("from {} type {} seq {:?} {}", show(&got.from), data[0], &data[6..8], data[8..].escape_ascii());
}

fn raw_icmp_echo() {
    let fd = sys!(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_ICMP).fd();
    say!("{}", send_to(fd, &icmp(8, 0x1234, 9, b"raw"), 0, &local(0)));
    for _ in 0..2 {
        wait_for(fd, POLLIN);
        let got = receive_message(fd, 200, 0, 0);
        let data = got.data.0.unwrap_or_default();
        // The IP header comes with it.
        say!("{} version {:#x} protocol {} total {} type {} {}", show(&got.from), data[0], data[9], u16::from_be_bytes([data[2], data[3]]), data[20], data[28..].escape_ascii());
        say!("addresses {:?} ttl {} sum {}", &data[12..20], data[8], checksum(&data[..20]) == 0);
    }
}

fn raw_filter() {
    let fd = sys!(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_ICMP).fd();
    // Echo requests are not wanted.
    let filter = 1u32 << 8;
    say!("{}", sys!(SYS_setsockopt, fd, IPPROTO_RAW, 1, &filter, 4));
    send_to(fd, &icmp(8, 1, 1, b""), 0, &local(0)).must();
    wait_for(fd, POLLIN);
    let data = recv(fd, 100, 0).0.unwrap_or_default();
    say!("type {}", data[20]);
    say!("{}", recv(fd, 100, MSG_DONTWAIT));
}

fn raw_needs_capability() {
    say!("{} {}", sys!(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_UDP).ok(), sys!(SYS_socket, AF_INET6, SOCK_RAW, IPPROTO_RAW).ok());
    let child = fork(|| {
        sys!(SYS_setresuid, 1000, 1000, 1000).must();
        say!("user {}", sys!(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_ICMP));
        say!("user packet {}", sys!(SYS_socket, AF_PACKET, SOCK_RAW, 0));
        0
    });
    say!("{}", child.wait());
}

fn raw_udp_sees_datagrams() {
    let raw = sys!(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_UDP).fd();
    let (a, b) = udp_pair();
    write(a, b"seen by both");
    say!("{}", recv(b, 20, 0));
    say!("{}", wait_for(raw, POLLIN));
    let data = recv(raw, 100, MSG_DONTWAIT).0.unwrap_or_default();
    say!("{} bytes, payload {}", data.len(), data[28..].escape_ascii());
    say!("ports {}", data[20..22] == port(&own(a)).to_be_bytes() && data[22..24] == port(&own(b)).to_be_bytes());
}

fn raw_header_included() {
    let raw = sys!(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_RAW).fd();
    say!("{}", get(raw, IPPROTO_IP, IP_HDRINCL));
    let there = udp();
    bind(there, &local(0)).must();
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1];
    packet.extend(4444u16.to_be_bytes());
    packet.extend(port(&own(there)).to_be_bytes());
    packet.extend(12u16.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(b"made");
    say!("{}", send_to(raw, &packet, 0, &local(0)));
    wait_for(there, POLLIN);
    let got = receive_message(there, 10, 0, MSG_DONTWAIT);
    say!("{} {}", got.data, show(&got.from));
    say!("short {}", send_to(raw, b"abc", 0, &local(0)));
}

fn raw_protocol_over_loopback() {
    let fd = sys!(SYS_socket, AF_INET, SOCK_RAW, 200).fd();
    say!("{}", send_to(fd, b"own protocol", 0, &local(0)));
    say!("{}", wait_for(fd, POLLIN));
    let data = recv(fd, 100, MSG_DONTWAIT).0.unwrap_or_default();
    say!("{} {}", data.get(9).copied().unwrap_or(0), data.get(20..).unwrap_or_default().escape_ascii());
}

fn raw_connect_and_names() {
    let fd = sys!(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_ICMP).fd();
    say!("{} {}", shown(SYS_getsockname, fd), shown(SYS_getpeername, fd));
    say!("{}", connect(fd, &local(7)));
    say!("{} {}", shown(SYS_getsockname, fd), shown(SYS_getpeername, fd));
    say!("{}", bind(fd, &v4([127, 0, 0, 3], 5)));
    say!("{}", shown(SYS_getsockname, fd));
    say!("{} {}", listen(fd, 1), accept(fd, 0));
    say!("{}", poll(fd, 0));
}

fn raw_v6_checksum() {
    let fd = sys!(SYS_socket, AF_INET6, SOCK_RAW, IPPROTO_ICMPV6).fd();
    let mut message = icmp(128, 5, 6, b"v6");
    message[2..4].fill(0);
    say!("{}", send_to(fd, &message, 0, &v6("::1", 0)));
    for _ in 0..2 {
        wait_for(fd, POLLIN);
        let data = recv(fd, 100, 0).0.unwrap_or_default();
        say!("{} {:?} filled {}", data[0], &data[4..], data[2..4] != [0, 0]);
    }
}
