use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::caller::{Caller, Initial};
use super::tcp::TcpSocket;
use super::udp::{Sending, UdpSocket};
use super::{Endpoint, Family};
use crate::error::{Errno, Result};
use crate::socket::inbox::SEND;
use crate::task::namespaces::NetNamespace;
use crate::vfs::{KernelSink, KernelSource};
use crate::wait::Events;

const fn local(port: u16) -> Endpoint {
    Endpoint {
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port,
    }
}

fn tcp(net: &Arc<NetNamespace>) -> Arc<TcpSocket> {
    TcpSocket::new(Family::V4, net.clone(), &Initial::default())
}

fn send(socket: &Arc<UdpSocket>, bytes: &[u8], to: u16) -> Result<usize> {
    let (sending, caller) = (Sending::default(), Caller::default());
    socket.send_to(&mut KernelSource(bytes), Some(local(to)), &sending, &caller)
}

fn listener(net: &Arc<NetNamespace>, port: u16, backlog: i32) -> Arc<TcpSocket> {
    let socket = tcp(net);
    socket.bind_to(local(port), &Caller::default()).unwrap();
    socket.start_listening(backlog, &Caller::default()).unwrap();
    socket
}

fn read(socket: &TcpSocket) -> Result<Vec<u8>> {
    let mut sink = KernelSink::new(100);
    socket.receive_bytes(&mut sink, 0)?;
    Ok(sink.into_bytes())
}

fn write(socket: &Arc<TcpSocket>, bytes: &[u8]) -> Result<usize> {
    socket.send_bytes(&mut KernelSource(bytes), 0, None)
}

fn connected(net: &Arc<NetNamespace>) -> (Arc<TcpSocket>, Arc<TcpSocket>) {
    let server = listener(net, 80, 5);
    let client = tcp(net);
    assert_eq!(
        client.connect_to(local(80), &Caller::default()),
        Err(Errno::EINPROGRESS)
    );
    assert_eq!(client.connect_to(local(80), &Caller::default()), Ok(()));
    assert_eq!(
        client.connect_to(local(80), &Caller::default()),
        Err(Errno::EISCONN)
    );
    let accepted = server.accept_one().unwrap();
    server.close(false);
    (client, accepted)
}

#[test]
fn tcp_connects_moves_bytes_and_ends() {
    let net = NetNamespace::new();
    let (client, server) = connected(&net);
    assert_eq!(write(&client, b"ping"), Ok(4));
    assert_eq!(read(&server).unwrap(), b"ping");
    client.shut(SEND).unwrap();
    assert_eq!(read(&server).unwrap(), b"");
    assert_eq!(write(&server, b"pong"), Ok(4));
    server.close(false);
    assert_eq!(read(&client).unwrap(), b"pong");
    assert_eq!(read(&client).unwrap(), b"");
    assert!(client.ready().contains(Events::HUP | Events::RDHUP));
}

#[test]
fn writing_to_a_closed_peer_fails_the_second_time() {
    let net = NetNamespace::new();
    let (client, server) = connected(&net);
    server.close(false);
    assert_eq!(write(&client, b"x"), Ok(1));
    assert_eq!(write(&client, b"x"), Err(Errno::EPIPE));
}

#[test]
fn unread_data_resets() {
    let net = NetNamespace::new();
    let (client, server) = connected(&net);
    write(&client, b"lost").unwrap();
    server.close(false);
    assert_eq!(read(&client), Err(Errno::ECONNRESET));
    assert_eq!(read(&client).unwrap(), b"");
}

#[test]
fn nobody_listening_refuses_and_the_rest_of_the_world_is_unreachable() {
    let net = NetNamespace::new();
    let client = tcp(&net);
    assert_eq!(
        client.connect_to(local(81), &Caller::default()),
        Err(Errno::EINPROGRESS)
    );
    assert!(client.ready().contains(Events::ERR));
    assert_eq!(
        client.connect_to(local(81), &Caller::default()),
        Err(Errno::ECONNREFUSED)
    );
    let far = Endpoint {
        ip: IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
        port: 53,
    };
    assert_eq!(
        client.connect_to(far, &Caller::default()),
        Err(Errno::ENETUNREACH)
    );
}

#[test]
fn a_full_backlog_makes_clients_wait_for_an_accept() {
    let net = NetNamespace::new();
    let server = listener(&net, 82, 0);
    let clients: Vec<_> = (0..2).map(|_| tcp(&net)).collect();
    for client in &clients {
        assert_eq!(
            client.connect_to(local(82), &Caller::default()),
            Err(Errno::EINPROGRESS)
        );
    }
    assert_eq!(
        clients[1].connect_to(local(82), &Caller::default()),
        Err(Errno::EALREADY)
    );
    assert_eq!(clients[1].ready(), Events::empty());
    server.accept_one().unwrap();
    assert_eq!(clients[1].connect_to(local(82), &Caller::default()), Ok(()));
    let late = tcp(&net);
    assert_eq!(
        late.connect_to(local(82), &Caller::default()),
        Err(Errno::EINPROGRESS)
    );
    server.close(false);
    assert_eq!(
        late.connect_to(local(82), &Caller::default()),
        Err(Errno::ECONNREFUSED)
    );
    assert_eq!(read(&clients[1]), Err(Errno::ECONNRESET));
}

#[test]
fn ports_are_exclusive_unless_shared() {
    let net = NetNamespace::new();
    let first = tcp(&net);
    first.bind_to(local(90), &Caller::default()).unwrap();
    let any = Endpoint {
        port: 90,
        ..Endpoint::any(Family::V6)
    };
    let six = TcpSocket::new(Family::V6, net.clone(), &Initial::default());
    assert_eq!(six.bind_to(any, &Caller::default()), Err(Errno::EADDRINUSE));
    let other = Endpoint {
        ip: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
        port: 90,
    };
    tcp(&net).bind_to(other, &Caller::default()).unwrap();
    first.close(false);
    let again = tcp(&net);
    again.bind_to(local(90), &Caller::default()).unwrap();
    assert_eq!(
        again.bind_to(local(91), &Caller::default()),
        Err(Errno::EINVAL)
    );
    let foreign = Endpoint {
        ip: IpAddr::V6(Ipv6Addr::new(1, 2, 3, 4, 5, 6, 7, 8)),
        port: 0,
    };
    assert_eq!(
        six.bind_to(foreign, &Caller::default()),
        Err(Errno::EADDRNOTAVAIL)
    );
}

#[test]
fn udp_datagrams_know_their_sender_and_refusals_come_back() {
    let net = NetNamespace::new();
    let (a, b) = (
        UdpSocket::new(Family::V4, net.clone(), &Initial::default()),
        UdpSocket::new(Family::V6, net.clone(), &Initial::default()),
    );
    b.bind_to(
        Endpoint {
            port: 53,
            ..Endpoint::any(Family::V6)
        },
        &Caller::default(),
    )
    .unwrap();
    a.bind_to(local(1000), &Caller::default()).unwrap();
    assert_eq!(send(&a, b"query", 53), Ok(5));
    let mut sink = KernelSink::new(3);
    let message = b.datagrams.receive(&mut sink, 0).unwrap();
    assert_eq!(sink.into_bytes(), b"que");
    assert_ne!(message.flags & abi::socket::MSG_TRUNC, 0);
    assert_eq!(message.from, Some(local(1000).show(Family::V6)));
    // Nobody there, and the sender is not connected: nothing is heard.
    assert_eq!(send(&a, b"x", 54), Ok(1));
    assert_eq!(
        a.datagrams.receive(&mut KernelSink::new(1), 0).err(),
        Some(Errno::EAGAIN)
    );
}
