//! Two stacks on an emulated link.

use std::net::SocketAddr;
use std::sync::Arc;

use abi::Errno;
use parking_lot::Mutex;
use smoltcp::time::Duration;

use crate::emulator::{Conditions, World, random};
use crate::stack::{Arrived, Stack, Upper};
use crate::tcp::{Connection, Listener, Notify, Place, Ready, Settings};
use crate::udp::PacketOptions;

/// Nobody waits: the tests look.
struct Deaf;

impl Notify for Deaf {
    fn notify(&self, _ready: Ready) {}
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn listen(stack: &Arc<Stack>, place: &str, backlog: usize) -> Listener {
    let place = Place {
        at: at(place),
        dual: false,
    };
    stack.listen(place, backlog, Settings::default(), Arc::new(Deaf))
}

fn connect(stack: &Arc<Stack>, from: &str, to: &str) -> Result<Connection, Errno> {
    stack.connect(at(from), at(to), Settings::default(), Arc::new(Deaf))
}

const SECONDS: fn(u64) -> Duration = Duration::from_secs;
const ESTABLISHED: u8 = 1;

/// A connection from stack 0 to stack 1.
fn pair(world: &mut World, family: &str) -> (Connection, Connection) {
    let (client, server) = match family {
        "v4" => ("10.0.0.1:40000", "10.0.0.2:80"),
        _ => ("[fd00::1]:40000", "[fd00::2]:80"),
    };
    let listener = listen(&world.stacks[1], server, 10);
    let client = connect(&world.stacks[0], client, server).unwrap();
    assert!(world.run(SECONDS(120), |_| listener.waiting() == 1));
    let (accepted, ..) = listener.accept().unwrap();
    assert!(world.run(SECONDS(60), |_| client.state() == ESTABLISHED));
    (client, accepted)
}

/// Sends `len` bytes and checks that they arrive, in order and once, and then the end. Gives the seconds it took.
fn transfer(conditions: Conditions, family: &str, len: usize, seed: u64) -> u64 {
    transfer_millis(conditions, family, len, seed) / 1000
}

fn transfer_millis(conditions: Conditions, family: &str, len: usize, seed: u64) -> u64 {
    let mut world = World::new(conditions, seed);
    let (client, server) = pair(&mut world, family);
    let began = world.now;
    let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + i / 251) as u8).collect();
    let (mut sent, mut got) = (0, Vec::new());
    let mut buf = vec![0; 1 << 16];
    let mut ended = false;
    let done = world.run(SECONDS(600), |_| {
        while sent < len {
            match client.send(&bytes[sent..], false) {
                Ok(n) => sent += n,
                Err(errno) => {
                    assert_eq!(errno, Errno::EAGAIN);
                    break;
                }
            }
            if sent == len {
                client.shutdown(false, true);
            }
        }
        loop {
            match server.receive(&mut buf, false) {
                Ok(0) => {
                    ended = true;
                    break;
                }
                Ok(n) => got.extend_from_slice(&buf[..n]),
                Err(errno) => {
                    assert_eq!(errno, Errno::EAGAIN);
                    break;
                }
            }
        }
        ended
    });
    assert!(done, "{} of {len} bytes arrived", got.len());
    assert!(got == bytes, "the bytes differ");
    (world.now - began).total_millis()
}

#[test]
fn bytes_arrive_on_a_good_link() {
    for family in ["v4", "v6"] {
        transfer(Conditions::default(), family, 4 << 20, 1);
    }
}

#[test]
fn bytes_arrive_whatever_the_link_does() {
    let bad = |loss, delay| Conditions {
        loss,
        duplicates: 20,
        late: 50,
        delay: Duration::from_millis(delay),
    };
    for seed in 0..6 {
        transfer(bad(10, 1), "v4", 1 << 20, seed);
        transfer(bad(50, 1), "v6", 256 << 10, seed);
        transfer(bad(10, 100), "v4", 256 << 10, seed);
    }
}

#[test]
fn nobody_refuses_silence_times_out_and_a_listener_takes_what_fits() {
    let mut world = World::new(Conditions::default(), 1);
    let refused = connect(&world.stacks[0], "10.0.0.1:4000", "10.0.0.2:81").unwrap();
    assert!(world.run(SECONDS(5), |_| refused.state() == 7));
    assert_eq!(refused.take_error(), Some(Errno::ECONNREFUSED));

    // Nobody has that address: neighbour discovery ends it.
    let lost = connect(&world.stacks[0], "10.0.0.1:4001", "10.0.0.77:81").unwrap();
    assert!(world.run(SECONDS(10), |_| lost.state() == 7));
    assert_eq!(lost.take_error(), Some(Errno::EHOSTUNREACH));
    let nowhere = connect(&world.stacks[0], "10.0.0.1:4001", "11.0.0.1:81");
    assert_eq!(nowhere.err(), Some(Errno::ENETUNREACH));

    let listener = listen(&world.stacks[1], "0.0.0.0:80", 2);
    let clients: Vec<Connection> = (0..6)
        .map(|n| {
            let from = format!("10.0.0.1:{}", 5000 + n);
            connect(&world.stacks[0], &from, "10.0.0.2:80").unwrap()
        })
        .collect();
    world.run(SECONDS(2), |_| false);
    // As in Linux, one more than the backlog; those whose handshake was under way come, too.
    assert!((3..=6).contains(&listener.waiting()));
    let taken = listener.waiting();
    for _ in 0..taken {
        drop(listener.accept().unwrap());
    }
    assert_eq!(listener.accept().err(), Some(Errno::EAGAIN));
    drop(listener);
    drop(clients);
    world.run(SECONDS(120), |_| false);
    assert_eq!(world.stacks[1].totals(), (0, 0, 0));
    assert_eq!(world.stacks[0].totals().0, 2, "the two that were kept");
}

#[test]
fn closing_with_unread_bytes_resets_and_a_dead_peer_is_noticed() {
    let mut world = World::new(Conditions::default(), 1);
    let (client, server) = pair(&mut world, "v4");
    assert_eq!(client.send(b"unread", false), Ok(6));
    world.run(SECONDS(1), |_| false);
    assert!(server.ready().contains(Ready::IN));
    drop(server);
    world.run(SECONDS(1), |_| false);
    assert_eq!(client.receive(&mut [0; 8], false), Err(Errno::ECONNRESET));
    assert_eq!(client.send(b"x", false), Err(Errno::EPIPE));

    let (client, _server) = pair(&mut World::new(Conditions::default(), 2), "v4");
    client.set(Settings {
        user_timeout_ms: Some(3000),
        ..Settings::default()
    });
    drop(client);
}

#[test]
fn half_closed_connections_still_carry_the_other_way() {
    let mut world = World::new(Conditions::default(), 1);
    let (client, server) = pair(&mut world, "v4");
    client.shutdown(false, true);
    world.run(SECONDS(1), |_| false);
    assert_eq!(server.receive(&mut [0; 8], false), Ok(0));
    assert!(server.ready().contains(Ready::RDHUP));
    assert_eq!(server.send(b"late", false), Ok(4));
    world.run(SECONDS(1), |_| false);
    let mut buf = [0; 8];
    assert_eq!(client.receive(&mut buf, false), Ok(4));
    assert_eq!(client.send(b"x", false), Err(Errno::EPIPE));
    drop(server);
    drop(client);
    world.run(SECONDS(1), |_| false);
    let (alive, over, used) = world.stacks[0].totals();
    assert_eq!((alive, over, used), (0, 1, 0), "one in TIME-WAIT");
    world.run(SECONDS(120), |_| false);
}

#[derive(Default)]
struct Datagrams(Mutex<Vec<Arrived>>, Mutex<Vec<Errno>>);

impl Upper for Datagrams {
    fn datagram(&self, arrived: &Arrived) -> bool {
        self.0.lock().push(arrived.clone());
        arrived.to.port() != 9
    }
    fn packet(&self, _arrived: &Arrived) {}
    fn failed(&self, failed: &crate::Failed) {
        let errno = failed.errno;
        self.1.lock().push(errno);
    }
}

#[test]
fn datagrams_arrive_whole_in_fragments_and_unreachable_ports_are_told() {
    let mut world = World::new(Conditions::default(), 1);
    let uppers: [Arc<Datagrams>; 2] = Default::default();
    for (stack, upper) in world.stacks.iter().zip(&uppers) {
        stack.set_upper(upper.clone());
    }
    for (from, to) in [
        ("10.0.0.1:1000", "10.0.0.2:53"),
        ("[fd00::1]:1000", "[fd00::2]:53"),
    ] {
        for len in [0, 1, 1472, 1473, 9000, 65_000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let options = PacketOptions::default();
            world.stacks[0]
                .send_datagram(at(from), at(to), &bytes, &options)
                .unwrap();
            world.run(SECONDS(1), |_| false);
            let got = uppers[1].0.lock().pop().unwrap();
            assert_eq!((got.from, got.to), (at(from), at(to)));
            assert!(got.packet[got.payload..] == bytes);
        }
    }
    let options = PacketOptions {
        dont_fragment: true,
        ..PacketOptions::default()
    };
    let sent =
        world.stacks[0].send_datagram(at("10.0.0.1:1"), at("10.0.0.2:9"), &[0; 2000], &options);
    assert_eq!(sent, Err(Errno::EMSGSIZE));
    let options = PacketOptions::default();
    world.stacks[0]
        .send_datagram(at("10.0.0.1:1"), at("10.0.0.2:9"), b"x", &options)
        .unwrap();
    world.run(SECONDS(1), |_| false);
    assert_eq!(*uppers[0].1.lock(), [Errno::ECONNREFUSED]);
}

#[test]
fn whatever_arrives_nothing_breaks() {
    let mut world = World::new(Conditions::default(), 1);
    let listener = listen(&world.stacks[1], "0.0.0.0:80", 10);
    let mut frame = [0; 200];
    let mut byte = [0; 1];
    for round in 0..60_000_u32 {
        random(&mut frame);
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
        let kind: [u8; 2] = [[8, 0], [8, 6], [0x86, 0xdd], [8, 0]][round as usize % 4];
        frame[12..14].copy_from_slice(&kind);
        // Mostly sound as far as it goes, so that it gets somewhere.
        random(&mut byte);
        if byte[0] > 20 && kind == [8, 0] {
            let protocol = [1, 6, 17, 6][round as usize / 4 % 4];
            frame[14..24].copy_from_slice(&[0x45, 0, 0, 180, 0, 0, 0, 0, 64, protocol]);
            frame[24..26].fill(0);
            frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
            if protocol == 6 {
                frame[36..38].copy_from_slice(&80_u16.to_be_bytes());
                frame[46] = 0x50 | frame[46] & 0x70;
            }
            let sum = crate::checksum::of(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            let at = match protocol {
                6 => 34 + 16,
                17 => 34 + 6,
                _ => 34 + 2,
            };
            frame[at..at + 2].fill(0);
            let start = if protocol == 1 {
                0
            } else {
                let ip = |d| std::net::IpAddr::from([10, 0, 0, d]);
                crate::checksum::pseudo(ip(1), ip(2), protocol, 160)
            };
            let sum = crate::checksum::add(start, &frame[34..194]);
            let sum = !crate::checksum::fold(sum);
            frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        } else if byte[0] > 20 && kind == [0x86, 0xdd] {
            frame[14] = 0x60;
            frame[18..20].copy_from_slice(&146_u16.to_be_bytes());
            frame[20] = [0, 43, 44, 58, 60, 6, 17][round as usize / 4 % 7];
            frame[38..54].copy_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        }
        world.inject(1, &frame[..usize::from(byte[0]).min(200)]);
        world.inject(1, &frame);
    }
    let (counters, _) = world.stacks[1].counters();
    assert_eq!(counters.panics, 0);
    assert!(counters.tcp_in_segments > 1000, "{counters:?}");
    let (_, _, used) = world.stacks[1].totals();
    assert!(used <= 64 << 20);
    drop(listener);
    world.run(SECONDS(300), |_| false);
    let (alive, _, used) = world.stacks[1].totals();
    assert_eq!((alive, used), (0, 0));
}

/// Emulated time for a megabyte; without selective acknowledgements each loss but the first of a window costs a second, and these take four times as long.
#[test]
fn losses_do_not_stop_the_flow() {
    for (loss, late, delay, most) in [
        (0, 0, 10, 400),
        (10, 0, 10, 5_000),
        (0, 50, 10, 2_500),
        (50, 0, 1, 6_000),
        (50, 0, 10, 12_000),
        (50, 0, 50, 45_000),
    ] {
        let conditions = Conditions {
            loss,
            duplicates: 0,
            late,
            delay: Duration::from_millis(delay),
        };
        for family in ["v4", "v6"] {
            let took: Vec<u64> = (0..5)
                .map(|seed| transfer_millis(conditions, family, 1 << 20, seed))
                .collect();
            println!("{family} loss {loss} late {late} per mille, delay {delay} ms: {took:?} ms");
            assert!(
                took.iter().all(|took| *took < most),
                "{conditions:?}: {took:?}"
            );
        }
    }
}

/// SYNs from everywhere, to which nobody answers; meanwhile others connect in both directions.
#[test]
fn a_flood_of_handshakes_leaves_room_for_others() {
    let mut world = World::new(Conditions::default(), 1);
    let listener = listen(&world.stacks[1], "10.0.0.2:80", 10);
    let outside = listen(&world.stacks[0], "10.0.0.1:81", 10);
    for number in 0..5000_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let from = [10, 0, 0, 3 + high % 200];
        let mut tcp = vec![low, high, 0, 80];
        // Sequence number, none acknowledged; SYN, window.
        tcp.extend(number.to_be_bytes());
        tcp.extend([0, 0, 0, 0, 5 << 4, 2, 0xff, 0xff, 0, 0, 0, 0]);
        let sum = crate::checksum::pseudo(from.into(), [10, 0, 0, 2].into(), 6, tcp.len());
        let sum = !crate::checksum::fold(crate::checksum::add(sum, &tcp));
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
        ip.extend(from);
        ip.extend([10, 0, 0, 2]);
        let sum = crate::checksum::of(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let ethernet = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        world.inject(1, &[&ethernet[..], &ip, &tcp].concat());
    }
    let (connections, _, bytes) = world.stacks[1].totals();
    assert!(
        connections > 100 && bytes <= 64 << 20,
        "{connections} {bytes}"
    );
    let client = connect(&world.stacks[0], "10.0.0.1:40000", "10.0.0.2:80").unwrap();
    assert!(world.run(SECONDS(5), |_| listener.waiting() == 1));
    assert!(world.run(SECONDS(5), |_| client.state() == ESTABLISHED));
    let other = connect(&world.stacks[1], "10.0.0.2:40001", "10.0.0.1:81").unwrap();
    assert!(world.run(SECONDS(5), |_| outside.waiting() == 1));
    assert!(world.run(SECONDS(5), |_| other.state() == ESTABLISHED));
}
