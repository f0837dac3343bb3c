use std::sync::Arc;

use super::transfer::Attachment;
use super::{Kind, UnixSocket, pair};
use crate::error::{Errno, Result};
use crate::socket::in_flight::InFlight;
use crate::socket::inbox::{RECEIVE, SEND};
use crate::task::namespaces::NetNamespace;
use crate::vfs::{KernelSink, KernelSource};

fn connected(kind: Kind) -> (Arc<UnixSocket>, Arc<UnixSocket>) {
    pair(kind, &NetNamespace::new(), None)
}

fn bare() -> Result<Attachment> {
    Ok(Attachment {
        identity: None,
        files: InFlight::default(),
    })
}

fn send(socket: &UnixSocket, bytes: &[u8]) -> Result<usize> {
    socket.send_stream(&mut KernelSource(bytes), bare)
}

fn receive(socket: &UnixSocket, max: usize) -> Result<Vec<u8>> {
    let mut sink = KernelSink::new(max);
    socket.receive_stream(None, &mut sink, 0)?;
    Ok(sink.into_bytes())
}

#[test]
fn bytes_cross_a_pair_and_end_with_the_peer() {
    let (a, b) = connected(Kind::Stream);
    assert_eq!(receive(&b, 10), Err(Errno::EAGAIN));
    assert_eq!(send(&a, b"hello"), Ok(5));
    assert_eq!(receive(&b, 3).unwrap(), b"hel");
    a.close(false);
    assert_eq!(receive(&b, 10).unwrap(), b"lo");
    assert_eq!(receive(&b, 10).unwrap(), b"");
    assert_eq!(send(&b, b"x"), Err(Errno::EPIPE));
}

#[test]
fn unread_data_resets_the_peer_once() {
    let (a, b) = connected(Kind::Stream);
    send(&a, b"lost").unwrap();
    b.close(false);
    assert_eq!(receive(&a, 1), Err(Errno::ECONNRESET));
    assert_eq!(receive(&a, 1).unwrap(), b"");
}

#[test]
fn a_full_buffer_stops_the_sender_until_the_reader_reads() {
    let (a, b) = connected(Kind::Stream);
    let chunk = vec![7; 10_000];
    let mut sent = 0;
    while let Ok(n) = send(&a, &chunk) {
        sent += n;
    }
    assert_eq!(send(&a, &chunk), Err(Errno::EAGAIN));
    assert!(!a.is_writable());
    let mut received = 0;
    while let Ok(bytes) = receive(&b, 50_000) {
        received += bytes.len();
    }
    assert_eq!(sent, received);
    assert!(sent > 100_000 && sent < 300_000, "{sent}");
    assert!(a.is_writable());
}

#[test]
fn shutdown_is_seen_by_both_sides() {
    let (a, b) = connected(Kind::Stream);
    a.shut(SEND);
    assert_eq!(send(&a, b"x"), Err(Errno::EPIPE));
    assert_eq!(receive(&b, 1).unwrap(), b"");
    assert_eq!(send(&b, b"back"), Ok(4));
    assert_eq!(receive(&a, 9).unwrap(), b"back");
    b.shut(RECEIVE | SEND);
    assert_eq!(receive(&a, 9).unwrap(), b"");
}

#[test]
fn packets_are_truncated_not_split() {
    let (a, b) = connected(Kind::SeqPacket);
    for bytes in [&b"first"[..], b"second"] {
        let peer = a.peer().unwrap();
        peer.inbox
            .lock()
            .push(crate::socket::inbox::Packet::new(bytes.to_vec()));
    }
    let mut sink = KernelSink::new(2);
    let message = b.receive_packet(None, &mut sink, 0).unwrap();
    assert_eq!(sink.into_bytes(), b"fi");
    assert_ne!(message.flags & abi::socket::MSG_TRUNC, 0);
    let mut sink = KernelSink::new(20);
    let message = b
        .receive_packet(None, &mut sink, abi::socket::MSG_PEEK)
        .unwrap();
    assert_eq!(message.len, 6);
    let mut sink = KernelSink::new(20);
    assert_eq!(b.receive_packet(None, &mut sink, 0).unwrap().len, 6);
}

#[test]
fn an_unconnected_stream_cannot_be_read() {
    let socket = UnixSocket::new(Kind::Stream, NetNamespace::new());
    assert_eq!(receive(&socket, 1), Err(Errno::EINVAL));
    assert_eq!(send(&socket, b"x"), Err(Errno::ENOTCONN));
}
