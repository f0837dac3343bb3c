//! TCP over loopback: the life of a connection, its errors, and what its flags do.

use crate::prelude::*;

cases![
    bind_listen_accept_names, connect_refused, connect_twice, nonblocking_connect, accept_errors, accept_blocks_and_wakes, accept_inherits,
    half_close, shutdown_kinds, close_with_unread_resets, linger_zero_resets, linger_waits, write_after_peer_closed, sigpipe, reuse_address,
    reuse_port_spreads, bind_conflicts_across_families, backlog_full, peek_and_waitall, dontwait_and_trunc, out_of_band, out_of_band_inline,
    more_and_cork, nodelay, dual_stack, v6_only, mapped_addresses, connect_errors, connect_to_any, self_connect, epoll_edges, poll_states,
    send_blocks_until_read, send_timeout, receive_timeout, receive_interrupted, fionread_outq, low_water, listen_again, connect_on_listener,
    close_listener_resets_pending, disconnect_by_unspec, sendfile_to_socket, splice_both_ways, vectors, scm_rights_refused, dup_keeps_open,
    bound_to_a_port_then_connect, privileged_port, many_connections, port_after_close, shutdown_listener, simultaneous_close, zero_lengths,
    fork_shares, accept_flags, defer_accept, user_timeout_value, keepalive_values, sendmmsg_recvmmsg, ephemeral_range, urgent_mark, signals_of_readiness,
];

fn bind_listen_accept_names() {
    let fd = tcp();
    say!("unbound {} {}", shown(SYS_getsockname, fd), shown(SYS_getpeername, fd));
    say!("bind {}", bind(fd, &local(0)));
    say!("{}", shown(SYS_getsockname, fd));
    say!("bind again {}", bind(fd, &local(0)));
    say!("listen {}", listen(fd, 4));
    let client = tcp();
    say!("connect {}", connect(client, &own(fd)));
    let server = accept(fd, 0).fd();
    say!("client {} {}", shown(SYS_getsockname, client), shown(SYS_getpeername, client));
    say!("ends match {}", own(client) == name(SYS_getpeername, server).unwrap_or_default());
    say!("server's own is the listener's {}", own(server) == own(fd));
    say!("{} {}", write(client, b"hello"), read(server, 10));
    say!("{} {}", write(server, b"back"), read(client, 10));
    close(client);
    say!("end {}", read(server, 10));
    say!("peer still known {}", shown(SYS_getpeername, server));
    let mut short = [0u8; 6];
    let mut len = 6u32;
    say!("short name {} {len} {:?}", sys!(SYS_getsockname, server, &mut short[..], &mut len), &short[4..]);
    say!("length told {len}");
    let mut negative = -1i32;
    say!("negative length {}", sys!(SYS_getsockname, server, &mut short[..], &mut negative));
}

fn connect_refused() {
    let holder = tcp();
    bind(holder, &local(0)).must();
    let fd = tcp();
    say!("{}", connect(fd, &own(holder)));
    say!("error told {} poll {}", so_error(fd), poll(fd, 0));
    say!("again {}", connect(fd, &own(holder)));
    say!("peer {} read {} write {}", shown(SYS_getpeername, fd), read(fd, 1), send(fd, b"x", MSG_NOSIGNAL));
    // The socket can be used for another try.
    let (_listener, addr) = listener(1);
    say!("elsewhere {}", connect(fd, &addr));
}

fn connect_twice() {
    let (_l, addr) = listener(4);
    let fd = tcp();
    say!("{} {}", connect(fd, &addr), connect(fd, &addr));
    nonblocking(fd);
    say!("{}", connect(fd, &addr));
}

fn nonblocking_connect() {
    let (listener, addr) = listener(4);
    let fd = sys!(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0).fd();
    say!("new {}", poll(fd, 0));
    say!("{}", connect(fd, &addr));
    say!("{} {}", wait_for(fd, POLLOUT), so_error(fd));
    say!("then {}", connect(fd, &addr));
    say!("then {}", connect(fd, &addr));
    say!("read {}", read(fd, 1));
    say!("accepted {}", accept(listener, 0).ok());
    let holder = tcp();
    bind(holder, &local(0)).must();
    let fd = sys!(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0).fd();
    say!("{}", connect(fd, &own(holder)));
    say!("{}", wait_for(fd, POLLOUT));
    say!("{} then {}", so_error(fd), so_error(fd));
    let fd = sys!(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0).fd();
    say!("{}", connect(fd, &own(holder)));
    wait_for(fd, POLLOUT);
    say!("told by connect {} {}", connect(fd, &own(holder)), so_error(fd));
    let fd = sys!(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0).fd();
    connect(fd, &own(holder));
    wait_for(fd, POLLOUT);
    say!("told by read {} then {}", read(fd, 1), read(fd, 1));
    let fd = sys!(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0).fd();
    connect(fd, &own(holder));
    wait_for(fd, POLLOUT);
    say!("told by write {} then {}", send(fd, b"x", MSG_NOSIGNAL), send(fd, b"x", MSG_NOSIGNAL));
}

fn accept_errors() {
    let fd = tcp();
    say!("not listening {}", accept(fd, 0));
    bind(fd, &local(0)).must();
    say!("bound only {}", accept(fd, 0));
    listen(fd, 1).must();
    nonblocking(fd);
    say!("nobody {} {}", accept(fd, 0), poll(fd, 0));
    say!("bad flags {}", accept(fd, 1));
    let (client, _server) = pair();
    say!("connected {}", accept(client, 0));
    say!("datagrams {}", accept(udp(), 0));
    say!("read from listener {} write {}", read(fd, 1), send(fd, b"x", MSG_NOSIGNAL));
}

fn accept_blocks_and_wakes() {
    let (fd, addr) = listener(1);
    let child = after(20, || {
        let client = tcp();
        connect(client, &addr).must();
        write(client, b"late");
    });
    let server = accept(fd, 0).fd();
    say!("{}", read(server, 10));
    child.wait();
    say!("{}", interrupted(|| accept(fd, 0)));
}

fn accept_inherits() {
    let (fd, addr) = listener(1);
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set(fd, IPPROTO_IP, IP_TOS, 0x10);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 77);
    nonblocking(fd);
    let client = tcp();
    connect(client, &addr).must();
    wait_for(fd, POLLIN);
    let server = accept(fd, 0).fd();
    for (level, option) in [(IPPROTO_TCP, TCP_NODELAY), (SOL_SOCKET, SO_KEEPALIVE), (SOL_SOCKET, SO_REUSEADDR), (IPPROTO_IP, IP_TOS), (IPPROTO_TCP, TCP_KEEPIDLE)] {
        say!("{level}/{option} {}", get(server, level, option));
    }
    say!("flags {}", sys!(SYS_fcntl, server, F_GETFL, 0).0 & i64::from(O_NONBLOCK));
}

fn half_close() {
    let (client, server) = pair();
    write(client, b"request");
    say!("{}", sys!(SYS_shutdown, client, SHUT_WR));
    say!("{} {}", read(server, 20), read(server, 20));
    say!("{}", poll(server, 0));
    say!("{} {}", write(server, b"answer"), read(client, 20));
    say!("client writes {}", send(client, b"x", MSG_NOSIGNAL));
    say!("client {}", poll(client, 0));
    close(server);
    say!("{} {}", wait_for(client, POLLRDHUP), read(client, 1));
    say!("client {}", poll(client, 0));
}

fn shutdown_kinds() {
    let (client, server) = pair();
    say!("bad {} {}", sys!(SYS_shutdown, client, 3), sys!(SYS_shutdown, client, -1));
    say!("read half {}", sys!(SYS_shutdown, client, SHUT_RD));
    say!("{} {}", read(client, 1), poll(client, 0));
    say!("peer may send {}", send(server, b"x", MSG_NOSIGNAL));
    say!("both {}", sys!(SYS_shutdown, client, SHUT_RDWR));
    say!("{}", wait_for(server, POLLRDHUP));
    say!("again {}", sys!(SYS_shutdown, client, SHUT_WR));
    say!("unconnected {}", sys!(SYS_shutdown, tcp(), SHUT_WR));
}

fn close_with_unread_resets() {
    let (client, server) = pair();
    write(client, b"never read");
    wait_for(server, POLLIN);
    close(server);
    say!("{}", wait_for(client, POLLIN));
    say!("{}", poll(client, 0));
    say!("{} then {}", read(client, 1), read(client, 1));
    say!("{}", send(client, b"x", MSG_NOSIGNAL));
    say!("peer {}", shown(SYS_getpeername, client));
}

fn linger_zero_resets() {
    let (client, server) = pair();
    let linger = linger { l_onoff: 1, l_linger: 0 };
    say!("{}", sys!(SYS_setsockopt, server, SOL_SOCKET, SO_LINGER, &linger, 8));
    write(server, b"in flight");
    wait_for(client, POLLIN);
    close(server);
    wait_for(client, POLLRDHUP);
    say!("{}", poll(client, 0));
    say!("error {} then {}", so_error(client), read(client, 20));
    let (client, server) = pair();
    sys!(SYS_setsockopt, server, SOL_SOCKET, SO_LINGER, &linger, 8);
    close(server);
    wait_for(client, POLLRDHUP);
    say!("{} {}", send(client, b"x", MSG_NOSIGNAL), send(client, b"x", MSG_NOSIGNAL));
}

fn linger_waits() {
    let (client, server) = pair();
    let linger = linger { l_onoff: 1, l_linger: 5 };
    sys!(SYS_setsockopt, client, SOL_SOCKET, SO_LINGER, &linger, 8).must();
    write(client, b"all of it");
    let start = now_ns();
    close(client);
    say!("at once {}", now_ns() - start < 3_000_000_000);
    say!("{} {}", read(server, 20), read(server, 20));
}

fn write_after_peer_closed() {
    let (client, server) = pair();
    close(server);
    wait_for(client, POLLRDHUP);
    say!("{}", poll(client, 0));
    say!("first {}", send(client, b"x", MSG_NOSIGNAL));
    wait_for(client, POLLHUP);
    say!("{}", poll(client, 0));
    say!("second {}", send(client, b"x", MSG_NOSIGNAL));
    say!("third {} read {}", send(client, b"x", MSG_NOSIGNAL), read(client, 1));
}

fn sigpipe() {
    handle(SIGPIPE, 0);
    let (client, _server) = pair();
    sys!(SYS_shutdown, client, SHUT_WR).must();
    say!("{} {}", write(client, b"x"), caught());
    say!("{} {}", send(client, b"x", 0), caught());
    say!("{} {}", send(client, b"x", MSG_NOSIGNAL), caught());
    say!("{} {}", send(tcp(), b"x", 0), caught());
}

fn reuse_address() {
    let (first, addr) = listener(1);
    let second = tcp();
    say!("{}", bind(second, &addr));
    set(second, SOL_SOCKET, SO_REUSEADDR, 1);
    say!("one-sided {}", bind(second, &addr));
    let (a, b) = (tcp(), tcp());
    set(a, SOL_SOCKET, SO_REUSEADDR, 1);
    set(b, SOL_SOCKET, SO_REUSEADDR, 1);
    bind(a, &local(0)).must();
    say!("both {}", bind(b, &own(a)));
    say!("first listens {} second {}", listen(a, 1), listen(b, 1));
    // A connection made through a listener does not keep others from listening once it is gone.
    let client = tcp();
    connect(client, &addr).must();
    let server = accept(first, 0).fd();
    close(first);
    let third = tcp();
    say!("without {}", bind(third, &addr));
    set(third, SOL_SOCKET, SO_REUSEADDR, 1);
    say!("with {}", bind(third, &addr));
    close(server);
    close(client);
}

fn reuse_port_spreads() {
    let mut fds = Vec::new();
    let mut addr = local(0);
    for _ in 0..4 {
        let fd = tcp();
        set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
        bind(fd, &addr).must();
        addr = own(fd);
        listen(fd, 128).must();
        fds.push(fd);
    }
    let other = tcp();
    say!("without {}", bind(other, &addr));
    for _ in 0..100 {
        let client = tcp();
        connect(client, &addr).must();
    }
    let mut served = 0;
    let mut total = 0;
    for fd in fds {
        nonblocking(fd);
        let mut mine = 0;
        while accept(fd, 0).get().is_ok() {
            mine += 1;
        }
        total += mine;
        served += i32::from(mine > 0);
    }
    say!("{total} by {served}");
}

fn bind_conflicts_across_families() {
    let six = socket(AF_INET6, SOCK_STREAM);
    bind(six, &v6("::", 0)).must();
    let port = port(&own(six));
    listen(six, 1).must();
    say!("v4 any {}", bind(tcp(), &v4([0; 4], port)));
    say!("v4 loopback {}", bind(tcp(), &local(port)));
    say!("v6 loopback {}", bind(socket(AF_INET6, SOCK_STREAM), &v6("::1", port)));
    let only = socket(AF_INET6, SOCK_STREAM);
    set(only, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    bind(only, &v6("::", 0)).must();
    let port = crate::inet::port(&own(only));
    say!("beside v6 only {}", bind(tcp(), &v4([0; 4], port)));
    say!("other loopback address {}", bind(tcp(), &v4([127, 1, 2, 3], port)).ok());
    say!("not ours {}", bind(tcp(), &v4([8, 8, 8, 8], 0)));
    say!("not ours {}", bind(socket(AF_INET6, SOCK_STREAM), &v6("2001:db8::1", 0)));
    say!("v4 on v6 {}", bind(socket(AF_INET6, SOCK_STREAM), &local(0)));
    say!("v6 on v4 {}", bind(tcp(), &v6("::1", 0)));
    say!("short {}", sys!(SYS_bind, tcp(), &local(0)[..], 8));
    say!("multicast {}", bind(tcp(), &v4([224, 0, 0, 1], 0)));
}

fn backlog_full() {
    let (fd, addr) = listener(1);
    let mut connected = 0;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let client = sys!(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0).fd();
        connect(client, &addr);
        let mut poll = pollfd { fd: client, events: POLLOUT, revents: 0 };
        sys!(SYS_poll, &mut poll, 1, 50);
        connected += i32::from(poll.revents & POLLOUT != 0);
        clients.push(client);
    }
    say!("connected {connected}");
    say!("waiting one again {}", connect(clients[3], &addr));
    for _ in 0..2 {
        say!("{}", accept(fd, 0).ok());
    }
    say!("the next gets in {}", wait_for(clients[2], POLLOUT));
}

fn peek_and_waitall() {
    let (client, server) = pair();
    write(client, b"abcdef");
    wait_for(server, POLLIN);
    say!("{} {}", recv(server, 3, MSG_PEEK), recv(server, 10, MSG_PEEK));
    say!("{}", recv(server, 2, 0));
    let child = after(20, || write(client, b"ghij"));
    say!("{}", recv(server, 8, MSG_WAITALL));
    child.wait();
    write(client, b"xy");
    wait_for(server, POLLIN);
    say!("waitall+dontwait {}", recv(server, 8, MSG_WAITALL | MSG_DONTWAIT));
    let child = after(20, || {
        write(client, b"end");
        sys!(SYS_shutdown, client, SHUT_WR);
    });
    say!("cut short by the end {}", recv(server, 8, MSG_WAITALL));
    child.wait();
    let (client, server) = pair();
    let child = after(20, || {
        write(client, b"12");
        sleep_ms(30);
        write(client, b"345");
    });
    say!("peek waits for all {}", recv(server, 5, MSG_PEEK | MSG_WAITALL));
    child.wait();
}

fn dontwait_and_trunc() {
    let (client, server) = pair();
    say!("{}", recv(server, 1, MSG_DONTWAIT));
    write(client, b"abcdef");
    wait_for(server, POLLIN);
    say!("dropped {}", sys!(SYS_recvfrom, server, NULL, 4, MSG_TRUNC, NULL, NULL));
    say!("{}", recv(server, 10, 0));
    say!("error queue {}", recv(server, 10, MSG_ERRQUEUE));
    let mut from = [0xffu8; 16];
    let mut len = 16u32;
    write(client, b"z");
    wait_for(server, POLLIN);
    let mut buf = [0u8; 4];
    say!("{} len {len}", sys!(SYS_recvfrom, server, &mut buf[..], 4, 0, &mut from[..], &mut len));
    say!("address left alone {} {len}", from[0] == 0xff);
}

fn out_of_band() {
    let (client, server) = pair();
    say!("none {}", recv(server, 1, MSG_OOB));
    say!("{}", send(client, b"ab!", MSG_OOB));
    say!("{}", wait_for(server, POLLPRI));
    say!("{}", poll(server, 0));
    say!("urgent {}", recv(server, 10, MSG_OOB));
    say!("again {}", recv(server, 10, MSG_OOB));
    say!("stream {}", recv(server, 10, MSG_DONTWAIT));
    write(client, b"more");
    wait_for(server, POLLIN);
    say!("{}", recv(server, 10, 0));
    say!("{}", poll(server, 0));
}

fn out_of_band_inline() {
    let (client, server) = pair();
    say!("{}", set(server, SOL_SOCKET, SO_OOBINLINE, 1));
    send(client, b"ab!", MSG_OOB).must();
    write(client, b"cd");
    wait_for(server, POLLPRI);
    say!("{}", recv(server, 10, MSG_OOB));
    say!("up to the mark {}", recv(server, 10, 0));
    let mut at = 0i32;
    say!("{} at mark {at}", sys!(SYS_ioctl, server, 0x8905, &mut at));
    say!("at mark {at}, {}", recv(server, 10, 0));
}

fn urgent_mark() {
    let (client, server) = pair();
    handle(SIGURG, 0);
    say!("{}", sys!(SYS_fcntl, server, F_SETOWN, getpid()));
    send(client, b"x!", MSG_OOB).must();
    wait_for(server, POLLPRI);
    say!("{}", caught());
    let mut at = -1i32;
    sys!(SYS_ioctl, server, 0x8905, &mut at).must();
    say!("at mark {at}");
    say!("{}", recv(server, 10, 0));
    sys!(SYS_ioctl, server, 0x8905, &mut at).must();
    say!("at mark {at}");
}

/// SIGIO for what comes in, to a process, a thread and a process group; F_SETSIG with the reason.
fn signals_of_readiness() {
    const F_SETSIG: i32 = 10;
    const F_SETOWN_EX: i32 = 15;
    let (client, server) = pair();
    handle(SIGIO, 0);
    handle(SIGUSR1, SA_SIGINFO);
    // Its group is its own: what the group gets would end others.
    sys!(SYS_setpgid, 0, 0).must();
    say!("{} {}", sys!(SYS_fcntl, server, F_SETOWN, getpid()), sys!(SYS_fcntl, server, F_GETOWN).0 == i64::from(getpid()));
    write(client, b"quiet");
    wait_for(server, POLLIN);
    say!("not asked for: {}", caught());
    say!("{}", sys!(SYS_fcntl, server, F_SETFL, O_ASYNC));
    write(client, b"1");
    say!("{}", caught());
    say!("{}", sys!(SYS_fcntl, server, F_SETSIG, SIGUSR1));
    write(client, b"2");
    say!("{}", caught());
    say!("{}", sys!(SYS_fcntl, server, F_SETSIG, 0));
    for (kind, id) in [(0, sys!(SYS_gettid).0), (1, getpid().into()), (2, sys!(SYS_getpgid, 0).0)] {
        let owner = [kind, id as i32];
        say!("{kind} {}", sys!(SYS_fcntl, server, F_SETOWN_EX, &owner));
        write(client, b"3");
        say!("{}", caught());
    }
    say!("{}", sys!(SYS_fcntl, server, F_SETOWN, 0));
    write(client, b"4");
    say!("nobody: {}", caught());
    say!("{}", sys!(SYS_fcntl, server, F_SETOWN, getpid()));
    close(client);
    say!("end: {}", caught());
    say!("{}", recv(server, 20, 0));
}

fn more_and_cork() {
    let (client, server) = pair();
    say!("{}", send(client, b"ab", MSG_MORE));
    say!("kept back {}", poll(server, 30));
    say!("{}", send(client, b"cd", 0));
    wait_for(server, POLLIN);
    say!("{}", recv(server, 10, 0));
    say!("{}", set(client, IPPROTO_TCP, TCP_CORK, 1));
    write(client, b"12");
    write(client, b"34");
    say!("corked {}", poll(server, 30));
    say!("{}", set(client, IPPROTO_TCP, TCP_CORK, 0));
    wait_for(server, POLLIN);
    say!("{}", recv(server, 10, 0));
    set(client, IPPROTO_TCP, TCP_CORK, 1);
    write(client, b"56");
    say!("a close sends {}", close(client));
    wait_for(server, POLLIN);
    say!("{} {}", recv(server, 10, 0), recv(server, 10, 0));
    let (client, server) = pair();
    set(client, IPPROTO_TCP, TCP_CORK, 1);
    write(client, b"78");
    sys!(SYS_shutdown, client, SHUT_WR).must();
    wait_for(server, POLLIN);
    say!("a shutdown, too {}", recv(server, 10, 0));
}

fn nodelay() {
    let (client, server) = pair();
    say!("{} {}", set(client, IPPROTO_TCP, TCP_NODELAY, 1), get(client, IPPROTO_TCP, TCP_NODELAY));
    write(client, b"a");
    write(client, b"b");
    wait_for(server, POLLIN);
    say!("{}", recv(server, 2, MSG_WAITALL));
    set(client, IPPROTO_TCP, TCP_CORK, 1);
    say!("{}", get(client, IPPROTO_TCP, TCP_CORK));
}

fn dual_stack() {
    let fd = socket(AF_INET6, SOCK_STREAM);
    bind(fd, &v6("::", 0)).must();
    listen(fd, 4).must();
    let port = port(&own(fd));
    let client = tcp();
    say!("{}", connect(client, &local(port)));
    let server = accept(fd, 0).fd();
    say!("{} {}", shown(SYS_getsockname, server), shown(SYS_getpeername, server));
    let client6 = socket(AF_INET6, SOCK_STREAM);
    say!("{}", connect(client6, &v6("::1", port)));
    let server = accept(fd, 0).fd();
    say!("{} {}", shown(SYS_getsockname, server), shown(SYS_getpeername, server));
    let mapped = socket(AF_INET6, SOCK_STREAM);
    say!("{}", connect(mapped, &v6("::ffff:127.0.0.1", port)));
    say!("{} {}", shown(SYS_getsockname, mapped), shown(SYS_getpeername, mapped));
}

fn v6_only() {
    let fd = socket(AF_INET6, SOCK_STREAM);
    say!("{}", get(fd, IPPROTO_IPV6, IPV6_V6ONLY));
    set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1).must();
    bind(fd, &v6("::", 0)).must();
    say!("bound {}", set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0));
    listen(fd, 1).must();
    say!("{}", connect(tcp(), &local(port(&own(fd)))));
    let only = socket(AF_INET6, SOCK_STREAM);
    set(only, IPPROTO_IPV6, IPV6_V6ONLY, 1).must();
    say!("{}", bind(only, &v6("::ffff:127.0.0.1", 0)));
    say!("{}", connect(only, &v6("::ffff:127.0.0.1", 1)));
    say!("on v4 {}", get(tcp(), IPPROTO_IPV6, IPV6_V6ONLY));
}

fn mapped_addresses() {
    let fd = socket(AF_INET6, SOCK_STREAM);
    say!("{}", bind(fd, &v6("::ffff:127.0.0.1", 0)));
    listen(fd, 1).must();
    say!("{}", shown(SYS_getsockname, fd));
    let client = tcp();
    say!("{}", connect(client, &local(port(&own(fd)))));
    let server = accept(fd, 0).fd();
    say!("{}", shown(SYS_getpeername, server));
    say!("::1 {}", connect(socket(AF_INET6, SOCK_STREAM), &v6("::1", port(&own(fd)))));
}

fn connect_errors() {
    say!("unreachable {}", connect(tcp(), &v4([192, 0, 2, 1], 80)));
    say!("unreachable {}", connect(socket(AF_INET6, SOCK_STREAM), &v6("2001:db8::1", 80)));
    say!("wrong family {}", connect(tcp(), &v6("::1", 80)));
    say!("v4 on v6 {}", connect(socket(AF_INET6, SOCK_STREAM), &local(80)));
    say!("short {}", sys!(SYS_connect, tcp(), &local(80)[..], 7));
    say!("one byte {}", sys!(SYS_connect, tcp(), &local(80)[..], 1));
    say!("too long {}", sys!(SYS_connect, tcp(), &local(80)[..], 200));
    say!("bad pointer {}", sys!(SYS_connect, tcp(), 8usize, 16));
    say!("port 0 {}", connect(tcp(), &local(0)));
    say!("broadcast {}", connect(tcp(), &v4([255, 255, 255, 255], 80)));
    say!("multicast {}", connect(tcp(), &v4([224, 0, 0, 1], 80)));
    say!("not a socket {}", sys!(SYS_connect, 0, &local(80)[..], 16));
    say!("not open {}", sys!(SYS_connect, 99, &local(80)[..], 16));
    let bound = tcp();
    bind(bound, &local(0)).must();
    say!("from loopback out {}", connect(bound, &v4([192, 0, 2, 1], 80)));
}

fn connect_to_any() {
    let (_fd, addr) = listener(2);
    let client = tcp();
    say!("{}", connect(client, &v4([0; 4], port(&addr))));
    say!("{}", shown(SYS_getpeername, client));
    let (_six, addr) = listener6(2);
    let client = socket(AF_INET6, SOCK_STREAM);
    say!("{} {}", connect(client, &v6("::", port(&addr))), shown(SYS_getpeername, client));
    let bound = tcp();
    bind(bound, &v4([127, 0, 0, 9], 0)).must();
    let (fd, addr) = listener(2);
    connect(bound, &addr).must();
    let server = accept(fd, 0).fd();
    say!("{}", shown(SYS_getpeername, server));
}

fn self_connect() {
    let fd = tcp();
    bind(fd, &local(0)).must();
    say!("{}", connect(fd, &own(fd)));
    say!("{} {}", write(fd, b"echo"), recv(fd, 10, MSG_DONTWAIT));
    say!("same ends {}", name(SYS_getpeername, fd).unwrap_or_default() == own(fd));
    sys!(SYS_shutdown, fd, SHUT_WR).must();
    say!("{}", recv(fd, 10, 0));
}

fn epoll_edges() {
    let (client, server) = pair();
    let ep = sys!(SYS_epoll_create1, 0).fd();
    let interest = epoll_event { events: (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) as u32, u64: 7 };
    sys!(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, server, &interest).must();
    let next = |ms: i32| {
        let mut event: epoll_event = epoll_event { events: 0, u64: 0 };
        let n = sys!(SYS_epoll_wait, ep, &mut event, 1, ms);
        let events = event.events;
        format!("{n} {events:#x}")
    };
    say!("{} {}", next(1000), next(0));
    write(client, b"a");
    say!("{} {}", next(1000), next(0));
    write(client, b"b");
    say!("more comes {} {}", next(1000), next(0));
    say!("{} {}", recv(server, 1, 0), next(0));
    say!("{}", recv(server, 1, 0));
    sys!(SYS_shutdown, client, SHUT_WR).must();
    say!("{} {}", next(1000), next(0));
    close(client);
    say!("{}", next(0));
    // Fill it, drain it: one more edge for writing.
    let (client, server) = pair();
    nonblocking(client);
    sys!(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, client, &interest).must();
    next(0);
    while send(client, &[0; 65536], 0).get().is_ok() {}
    say!("full {}", next(0));
    nonblocking(server);
    while recv(server, 1 << 20, 0).0.is_ok_and(|d| !d.is_empty()) {}
    say!("drained {}", next(1000));
}

fn poll_states() {
    say!("new {}", poll(tcp(), 0));
    let bound = tcp();
    bind(bound, &local(0)).must();
    say!("bound {}", poll(bound, 0));
    let (fd, addr) = listener(1);
    say!("listening {}", poll(fd, 0));
    let client = tcp();
    connect(client, &addr).must();
    say!("{} client {}", wait_for(fd, POLLIN), poll(client, 0));
    let server = accept(fd, 0).fd();
    say!("server {}", poll(server, 0));
    sys!(SYS_shutdown, server, SHUT_RDWR).must();
    wait_for(client, POLLRDHUP);
    say!("after shutdown {} {}", poll(server, 0), poll(client, 0));
    sys!(SYS_shutdown, client, SHUT_RDWR).must();
    say!("both {} {}", poll(server, 0), poll(client, 0));
}

fn send_blocks_until_read() {
    let (client, server) = pair();
    set(client, SOL_SOCKET, SO_SNDBUF, 4096).must();
    const TOTAL: usize = 8 << 20;
    let child = fork(|| {
        let mut left = TOTAL;
        while left > 0 {
            match recv(server, 1 << 16, 0).0 {
                Ok(data) if !data.is_empty() => {
                    assert!(data.iter().all(|b| *b == 7));
                    left -= data.len();
                }
                _ => return 1,
            }
        }
        0
    });
    say!("{}", write(client, &vec![7; TOTAL]));
    say!("{}", child.wait());
    nonblocking(client);
    while send(client, &[0; 4096], 0).get().is_ok() {}
    say!("{} {}", send(client, b"x", 0), poll(client, 0));
}

fn send_timeout() {
    let (client, _server) = pair();
    let limit = timeval { tv_sec: 0, tv_usec: 50_000 };
    say!("{}", sys!(SYS_setsockopt, client, SOL_SOCKET, SO_SNDTIMEO, &limit, 16));
    let big = vec![0; 64 << 20];
    let sent = write(client, &big);
    say!("part of it {}", sent.get().is_ok_and(|n| n > 0 && n < 64 << 20));
}

fn receive_timeout() {
    let (client, server) = pair();
    let limit = timeval { tv_sec: 0, tv_usec: 30_000 };
    say!("{}", sys!(SYS_setsockopt, server, SOL_SOCKET, SO_RCVTIMEO, &limit, 16));
    let start = now_ns();
    say!("{}", read(server, 1));
    say!("waited {}", now_ns() - start > 20_000_000);
    write(client, b"abc");
    say!("waitall {}", recv(server, 5, MSG_WAITALL));
    let (fd, _) = listener(1);
    sys!(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &limit, 16).must();
    say!("accept {}", accept(fd, 0));
    say!("interrupted {}", interrupted(|| read(server, 1)));
}

fn receive_interrupted() {
    let (_client, server) = pair();
    say!("{}", interrupted(|| read(server, 1)));
    say!("{}", interrupted(|| receive_message(server, 1, 0, 0).data));
}

fn fionread_outq() {
    let (client, server) = pair();
    let mut count = -1i32;
    write(client, b"12345");
    wait_for(server, POLLIN);
    say!("{} {count}", sys!(SYS_ioctl, server, FIONREAD, &mut count));
    say!("unread {count}");
    say!("{}", sys!(SYS_ioctl, client, TIOCOUTQ, &mut count));
    say!("unsent {count}");
    let (fd, _) = listener(1);
    say!("listener {}", sys!(SYS_ioctl, fd, FIONREAD, &mut count));
    let on = 1i32;
    say!("{}", sys!(SYS_ioctl, server, FIONBIO, &on));
    read(server, 9);
    say!("{}", read(server, 1));
    say!("unknown {}", sys!(SYS_ioctl, server, 0x1234, &mut count));
    say!("{}", sys!(SYS_ioctl, server, TIOCGWINSZ, &mut [0u16; 4]));
}

fn low_water() {
    let (client, server) = pair();
    say!("{} {}", set(server, SOL_SOCKET, SO_RCVLOWAT, 4), get(server, SOL_SOCKET, SO_RCVLOWAT));
    write(client, b"ab");
    say!("too little {}", poll(server, 30));
    write(client, b"cdef");
    say!("{}", wait_for(server, POLLIN));
    say!("{}", recv(server, 3, 0));
    say!("{}", poll(server, 0));
    let child = after(20, || write(client, b"ghij"));
    say!("read waits for 4 {}", recv(server, 10, 0));
    child.wait();
}

fn listen_again() {
    let (fd, addr) = listener(1);
    say!("{} {}", listen(fd, 10), listen(fd, -1));
    let client = tcp();
    say!("{}", connect(client, &addr));
    say!("connected {}", listen(client, 1));
    let unbound = tcp();
    say!("unbound {} {}", listen(unbound, 1), shown(SYS_getsockname, unbound));
    say!("datagram {}", listen(udp(), 1));
    say!("accept conn {} {}", get(fd, SOL_SOCKET, SO_ACCEPTCONN), get(client, SOL_SOCKET, SO_ACCEPTCONN));
}

fn connect_on_listener() {
    let (fd, addr) = listener(1);
    let (_other, there) = listener(1);
    say!("{}", connect(fd, &there));
    say!("{}", connect(tcp(), &addr));
}

fn close_listener_resets_pending() {
    let (fd, addr) = listener(4);
    let client = tcp();
    connect(client, &addr).must();
    close(fd);
    wait_for(client, POLLIN);
    say!("{} {}", poll(client, 0), read(client, 1));
    say!("{}", connect(tcp(), &addr));
}

fn disconnect_by_unspec() {
    let (client, server) = pair();
    let mut nowhere = vec![0u8; 16];
    say!("{}", connect(client, &nowhere));
    say!("peer {}", shown(SYS_getpeername, client));
    wait_for(server, POLLIN);
    say!("other side {}", read(server, 1));
    let (_fd, addr) = listener(1);
    say!("again {}", connect(client, &addr));
    nowhere[0] = 0;
    let (fd, addr) = listener(1);
    say!("listener {}", connect(fd, &nowhere));
    say!("{}", connect(tcp(), &addr));
    say!("fresh {}", connect(tcp(), &nowhere));
}

fn sendfile_to_socket() {
    let (client, server) = pair();
    write_file(c"content", &[5; 100_000]);
    let file = open(c"content", O_RDONLY).fd();
    let child = fork(|| {
        let mut total = 0;
        while let Ok(data) = recv(server, 1 << 16, 0).0 {
            if data.is_empty() {
                break;
            }
            assert!(data.iter().all(|b| *b == 5));
            total += data.len();
        }
        i32::from(total != 99_990)
    });
    let mut offset = 10i64;
    let mut sent = 0;
    while sent < 99_990 {
        sent += sys!(SYS_sendfile, client, file, &mut offset, 100_000).must();
    }
    say!("{sent} {offset}");
    sys!(SYS_shutdown, client, SHUT_WR).must();
    say!("{}", child.wait());
    say!("from a socket {}", sys!(SYS_sendfile, file, server, NULL, 10));
}

fn splice_both_ways() {
    let (client, server) = pair();
    let (r, w) = pipe();
    write(w, b"through the pipe");
    say!("{}", sys!(SYS_splice, r, NULL, client, NULL, 16, 0));
    wait_for(server, POLLIN);
    say!("{}", sys!(SYS_splice, server, NULL, w, NULL, 7, 0));
    say!("{} {}", read(r, 20), read(server, 20));
    nonblocking(server);
    say!("{}", sys!(SYS_splice, server, NULL, w, NULL, 7, SPLICE_F_NONBLOCK));
    say!("{}", sys!(SYS_splice, server, NULL, client, NULL, 7, 0));
    close(client);
    say!("end {}", sys!(SYS_splice, server, NULL, w, NULL, 7, 0));
}

fn vectors() {
    let (client, server) = pair();
    let parts: [&[u8]; 3] = [b"one", b"", b"two"];
    let iov: Vec<[usize; 2]> = parts.iter().map(|p| [p.as_ptr() as usize, p.len()]).collect();
    say!("{}", sys!(SYS_writev, client, &iov[..], 3));
    say!("{}", recv(server, 6, MSG_WAITALL));
    let bad = [[8usize, 4]];
    say!("{}", sys!(SYS_writev, client, &bad[..], 1));
    let half = [[b"good".as_ptr() as usize, 4], [8, 4]];
    say!("{}", sys!(SYS_writev, client, &half[..], 2));
    say!("{}", sys!(SYS_recvfrom, server, 8usize, 4, MSG_DONTWAIT, NULL, NULL));
}

fn scm_rights_refused() {
    let (client, server) = pair();
    say!("{}", send_message(client, b"x", &[(SOL_SOCKET, SCM_RIGHTS, client.to_ne_bytes().to_vec())], None, 0));
    let got = receive_message(server, 4, 64, MSG_DONTWAIT);
    say!("{} {}", got.data, show_control(&got.control));
    say!("unknown level {}", send_message(client, b"y", &[(77, 1, vec![0; 4])], None, 0));
    say!("to is ignored {}", send_to(client, b"z", 0, &local(1)));
}

fn dup_keeps_open() {
    let (client, server) = pair();
    let copy = sys!(SYS_dup, client).fd();
    close(client);
    say!("{} {}", write(copy, b"still"), read(server, 10));
    close(copy);
    say!("{}", read(server, 10));
}

fn bound_to_a_port_then_connect() {
    let (fd, addr) = listener(2);
    let (a, b) = (tcp(), tcp());
    bind(a, &local(0)).must();
    say!("{}", connect(a, &addr));
    // The same port towards somebody else is another connection.
    set(b, SOL_SOCKET, SO_REUSEADDR, 1);
    say!("in use {}", bind(b, &own(a)));
    let server = accept(fd, 0).fd();
    say!("{}", name(SYS_getpeername, server).unwrap_or_default() == own(a));
    let c = tcp();
    say!("bound and 4-tuple taken {}", connect(c, &addr).ok());
}

fn privileged_port() {
    let fd = tcp();
    say!("root {}", bind(fd, &local(81)));
    let child = fork(|| {
        sys!(SYS_setresuid, 1000, 1000, 1000).must();
        say!("user {}", bind(tcp(), &local(82)));
        say!("user {}", bind(tcp(), &local(1024)));
        0
    });
    say!("{}", child.wait());
}

fn many_connections() {
    let (fd, addr) = listener(64);
    let child = fork(|| {
        for round in 0..200 {
            let client = tcp();
            connect(client, &addr).must();
            write(client, &[round as u8]);
            if read(client, 1).0 != Ok(vec![!(round as u8)]) {
                return 1;
            }
            close(client);
        }
        0
    });
    for _ in 0..200 {
        let server = accept(fd, 0).fd();
        let data = read(server, 1).0.unwrap_or_default();
        write(server, &[!data.first().copied().unwrap_or(0)]);
        close(server);
    }
    say!("{}", child.wait());
}

fn port_after_close() {
    let (fd, addr) = listener(1);
    close(fd);
    let again = tcp();
    say!("free {}", bind(again, &addr));
    listen(again, 1).must();
    let client = tcp();
    connect(client, &addr).must();
    let server = accept(again, 0).fd();
    // The server closes first: TIME-WAIT holds its port.
    close(server);
    read(client, 1);
    close(client);
    close(again);
    let third = tcp();
    say!("time-wait {}", bind(third, &addr));
    set(third, SOL_SOCKET, SO_REUSEADDR, 1);
    say!("reuse {}", bind(third, &addr));
}

fn shutdown_listener() {
    let (fd, addr) = listener(1);
    say!("write half {}", sys!(SYS_shutdown, fd, SHUT_WR));
    say!("{}", connect(tcp(), &addr));
    say!("read half {}", sys!(SYS_shutdown, fd, SHUT_RD));
    say!("{}", connect(tcp(), &addr));
    say!("{} {}", accept(fd, 0), poll(fd, 0));
    say!("again {}", listen(fd, 1));
    say!("{}", connect(tcp(), &addr));
    let (fd, _) = listener(1);
    let child = after(20, || sys!(SYS_shutdown, fd, SHUT_RDWR));
    say!("wakes {}", accept(fd, 0));
    child.wait();
}

fn simultaneous_close() {
    let (client, server) = pair();
    sys!(SYS_shutdown, client, SHUT_WR).must();
    sys!(SYS_shutdown, server, SHUT_WR).must();
    say!("{} {}", read(client, 1), read(server, 1));
    say!("{} {}", poll(client, 0), poll(server, 0));
    say!("{} {}", so_error(client), so_error(server));
    say!("{} {}", shown(SYS_getpeername, client), sys!(SYS_shutdown, client, SHUT_RDWR));
}

fn zero_lengths() {
    let (client, server) = pair();
    say!("{} {}", write(client, b""), send(client, b"", 0));
    say!("{}", poll(server, 10));
    say!("{}", recv(server, 0, MSG_DONTWAIT));
    write(client, b"x");
    wait_for(server, POLLIN);
    say!("{} {}", recv(server, 0, 0), read(server, 0));
    say!("{}", recv(server, 1, 0));
    sys!(SYS_shutdown, client, SHUT_WR).must();
    say!("{}", send(client, b"", MSG_NOSIGNAL));
}

fn fork_shares() {
    let (client, server) = pair();
    let child = fork(|| {
        write(client, b"from the child");
        0
    });
    say!("{}", read(server, 20));
    child.wait();
    write(client, b"parent");
    say!("{}", read(server, 20));
}

fn accept_flags() {
    let (fd, addr) = listener(2);
    for flags in [SOCK_CLOEXEC, SOCK_NONBLOCK | SOCK_CLOEXEC] {
        let client = tcp();
        connect(client, &addr).must();
        let server = accept(fd, flags).fd();
        let (cloexec, status) = (sys!(SYS_fcntl, server, F_GETFD, 0), sys!(SYS_fcntl, server, F_GETFL, 0));
        say!("{cloexec} {:#x}", status.0);
    }
    let client = tcp();
    connect(client, &addr).must();
    let mut from = [0u8; 16];
    let mut len = 16u32;
    let server = sys!(SYS_accept, fd, &mut from[..], &mut len);
    say!("{} {len} {}", server.ok(), from[..] == own(client)[..]);
    say!("type {}", get(server.0 as i32, SOL_SOCKET, SO_TYPE));
    let client = tcp();
    connect(client, &addr).must();
    let mut bad = -5i32;
    say!("bad length {}", sys!(SYS_accept, fd, &mut from[..], &mut bad));
}

fn defer_accept() {
    let (fd, addr) = listener(4);
    say!("{}", set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5));
    nonblocking(fd);
    let client = tcp();
    say!("{}", connect(client, &addr));
    say!("no data yet {} {}", poll(fd, 30), accept(fd, 0));
    write(client, b"data");
    say!("{}", wait_for(fd, POLLIN));
    let server = accept(fd, 0).fd();
    say!("{}", recv(server, 10, MSG_DONTWAIT));
}

fn user_timeout_value() {
    let (client, _server) = pair();
    say!("{}", get(client, IPPROTO_TCP, TCP_USER_TIMEOUT));
    say!("{} {}", set(client, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000), get(client, IPPROTO_TCP, TCP_USER_TIMEOUT));
    say!("{}", set(client, IPPROTO_TCP, TCP_USER_TIMEOUT, -1));
}

fn keepalive_values() {
    let fd = tcp();
    for (option, good, bad) in [(TCP_KEEPIDLE, 30, 0), (TCP_KEEPINTVL, 5, 40_000), (TCP_KEEPCNT, 3, 128)] {
        say!("{} {} {} {}", get(fd, IPPROTO_TCP, option), set(fd, IPPROTO_TCP, option, bad), set(fd, IPPROTO_TCP, option, good), get(fd, IPPROTO_TCP, option));
    }
    say!("{} {}", set(fd, SOL_SOCKET, SO_KEEPALIVE, 1), get(fd, SOL_SOCKET, SO_KEEPALIVE));
}

fn sendmmsg_recvmmsg() {
    let (client, server) = pair();
    let parts: [&[u8]; 2] = [b"first", b"second"];
    let iovs: Vec<[usize; 2]> = parts.iter().map(|p| [p.as_ptr() as usize, p.len()]).collect();
    let mut headers: Vec<mmsghdr> = iovs
        .iter()
        .map(|iov| {
            let mut header: mmsghdr = zeroed();
            header.msg_hdr.msg_iov = iov.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_iovlen = 1;
            header
        })
        .collect();
    say!("{} {:?}", sys!(SYS_sendmmsg, client, &mut headers[..], 2, 0), headers.iter().map(|h| h.msg_len).collect::<Vec<_>>());
    say!("{:?}", headers.iter().map(|h| h.msg_len).collect::<Vec<_>>());
    say!("{}", recv(server, 11, MSG_WAITALL));
    say!("none {}", sys!(SYS_recvmmsg, server, &mut headers[..], 2, MSG_DONTWAIT, NULL));
}

fn ephemeral_range() {
    for _ in 0..3 {
        let fd = tcp();
        bind(fd, &local(0)).must();
        let port = port(&own(fd));
        say!("{}", (32768..=60999).contains(&port));
    }
    let range = read(open(c"/proc/sys/net/ipv4/ip_local_port_range", O_RDONLY).fd(), 64);
    say!("{range}");
}
