//! A hostile client and a hostile directory.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use abi::Errno;
use common::{Ends, TempDir, owner, pair, served, start, tree};
use gofer::client::{Client, OpenFlags, RenameFlags, UnlinkKind};
use gofer::protocol::request::{NodeId, Request};
use gofer::protocol::wire::{Decoder, Encoder, Names, Wire};
use gofer::protocol::{MAX_MESSAGE, SLEEP, VERSION};
use nix::sys::socket::{MsgFlags, recv, send};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

/// Small and repeatable: xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, limit: u64) -> usize {
        usize::try_from(self.next() % limit).unwrap()
    }
}

/// Sends raw bytes and returns the errno of the answer.
fn raw(channel: &OwnedFd, message: &[u8]) -> i32 {
    send(channel.as_raw_fd(), message, MsgFlags::empty()).unwrap();
    let mut reply = vec![0; MAX_MESSAGE];
    let len = recv(channel.as_raw_fd(), &mut reply, MsgFlags::empty()).unwrap();
    assert!(len >= 5, "the channel was closed");
    i32::from_le_bytes(reply[..4].try_into().unwrap())
}

fn encode(request: &Request<'_>) -> Vec<u8> {
    let mut out = Encoder::new();
    SLEEP.put(&mut out);
    0_u16.put(&mut out);
    0_u16.put(&mut out);
    request.put(&mut out);
    out.bytes().to_vec()
}

fn hello(channel: &OwnedFd) {
    assert_eq!(
        raw(channel, &encode(&Request::Hello { version: VERSION })),
        0
    );
}

fn raw_server() -> (TempDir, Ends) {
    let dir = TempDir::new();
    let served = dir.0.join("served");
    fs::create_dir_all(served.join("d")).unwrap();
    fs::write(served.join("d/f"), "x").unwrap();
    symlink("..", served.join("l")).unwrap();
    let ends = start(vec![tree(&served)], 1, 5);
    (dir, ends)
}

#[test]
fn nothing_is_served_before_the_right_version() {
    let (_dir, ends) = raw_server();
    let channel = &ends.channels[0];
    assert_eq!(
        raw(channel, &encode(&Request::Attach { tree: 0 })),
        libc::EPROTO
    );
    assert_eq!(
        raw(
            channel,
            &encode(&Request::Hello {
                version: VERSION + 1
            })
        ),
        libc::EPROTONOSUPPORT
    );
    assert_eq!(
        raw(channel, &encode(&Request::Attach { tree: 0 })),
        libc::EPROTO
    );
    hello(channel);
    assert_eq!(raw(channel, &encode(&Request::Attach { tree: 0 })), 0);
}

#[test]
fn malformed_messages_are_refused_one_by_one() {
    let (_dir, ends) = raw_server();
    let channel = &ends.channels[0];
    hello(channel);
    let mut trailing = encode(&Request::Attach { tree: 0 });
    trailing.push(0);
    let cut = encode(&Request::Walk {
        node: NodeId(0),
        names: Names(vec![b"name"]),
    });
    let messages: [&[u8]; 9] = [
        b"\0",                           // not even a CPU
        &[0, 0, 0],                      // no count of releases
        &[0, 0, 0xff, 0xff],             // more releases than allowed
        &[0, 0, 1, 0, 5],                // a release cut short
        &[0, 0, 0, 0, 0xff, 0xff],       // more watches than allowed
        &[0, 0, 0, 0, 1, 0, 5],          // a watch cut short
        &[0, 0, 0, 0, 0, 0, 0xff, 0xff], // no such request
        &trailing,                       // something left over
        &cut[..cut.len() - 1],           // a name cut short
    ];
    for message in messages {
        assert_eq!(raw(channel, message), libc::EPROTO, "{message:?}");
    }
    assert_eq!(raw(channel, &vec![0; MAX_MESSAGE + 1]), libc::EPROTO);
    assert_eq!(raw(channel, &encode(&Request::Attach { tree: 0 })), 0);
}

#[test]
fn invented_nodes_are_bad() {
    let (_dir, ends) = raw_server();
    let channel = &ends.channels[0];
    hello(channel);
    for id in [0, 1, u64::from(u32::MAX), u64::MAX] {
        assert_eq!(
            raw(channel, &encode(&Request::GetAttr { node: NodeId(id) })),
            libc::EBADF
        );
    }
}

#[test]
fn random_messages_neither_stop_nor_escape_the_server() {
    let (
        dir,
        Ends {
            channels,
            events,
            server,
        },
    ) = raw_server();
    hello(&channels[0]);
    raw(&channels[0], &encode(&Request::Attach { tree: 0 }));
    let mut random = Random(0x5eed_0f90_fe72);
    let names: [&[u8]; 7] = [b"d", b"f", b"l", b"..", b"../..", b"\xff", b"x/../../y"];
    for _ in 0..20_000 {
        let mut message = match random.below(3) {
            // Anything at all.
            0 => (0..1 + random.below(80))
                .map(|_| random.next().to_le_bytes()[0])
                .collect(),
            // A request of the right shape with small numbers, so that much of it means something.
            1 => {
                let mut out = Encoder::new();
                SLEEP.put(&mut out);
                0_u16.put(&mut out);
                0_u16.put(&mut out);
                u16::try_from(1 + random.below(27)).unwrap().put(&mut out);
                for _ in 0..random.below(4) {
                    (random.next() % 8).put(&mut out);
                    names[random.below(7)].put(&mut out);
                }
                out.raw(&vec![0; random.below(40)]);
                out.bytes().to_vec()
            }
            _ => {
                let picked = (0..random.below(5))
                    .map(|_| names[random.below(7)])
                    .collect();
                encode(&Request::Walk {
                    node: NodeId(random.next() % 4),
                    names: Names(picked),
                })
            }
        };
        if random.below(4) == 0 {
            let at = random.below(u64::try_from(message.len()).unwrap());
            message[at] = random.next().to_le_bytes()[0];
        }
        raw(&channels[0], &message);
    }
    assert_eq!(raw(&channels[0], &encode(&Request::Attach { tree: 0 })), 0);
    let outside: Vec<_> = fs::read_dir(&dir.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(outside, ["served"]);
    drop((channels, events));
    assert_eq!(server.join().unwrap(), Ok(()));
}

#[test]
fn decoding_random_replies_never_panics() {
    use gofer::protocol::reply::{DirEntries, LookupReply, WalkReply};
    let mut random = Random(42);
    for _ in 0..50_000 {
        let bytes: Vec<u8> = (0..random.below(200))
            .map(|_| (random.next() % 5).to_le_bytes()[0])
            .collect();
        let _ = WalkReply::get(&mut Decoder::new(&bytes));
        let _ = DirEntries::get(&mut Decoder::new(&bytes));
        let _ = LookupReply::get(&mut Decoder::new(&bytes));
    }
}

#[test]
fn swapping_directories_for_links_does_not_lead_outside() {
    let s = served();
    let secret = TempDir::new();
    fs::write(secret.0.join("f"), "secret").unwrap();
    fs::create_dir_all(s.dir.0.join("a/b")).unwrap();
    fs::write(s.dir.0.join("a/b/f"), "ours").unwrap();
    symlink(&secret.0, s.dir.0.join("a/evil")).unwrap();
    let forbidden = fs::metadata(secret.0.join("f")).unwrap().ino();
    let (done, swapper) = (AtomicBool::new(false), s.dir.0.join("a"));
    let mut outcomes = [0_u32; 3];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
            let here = nix::fcntl::AT_FDCWD;
            while !done.load(Ordering::Relaxed) {
                nix::fcntl::renameat2(here, &swapper.join("b"), here, &swapper.join("evil"), flags)
                    .unwrap();
            }
        });
        for _ in 0..5_000 {
            let walk = s.client.walk(&s.root.node, &[b"a", b"b", b"f"]).unwrap();
            assert!(walk.entries.iter().all(|entry| entry.attr.ino != forbidden));
            outcomes[walk.entries.len() - 1] += 1;
            if let Ok((entry, _)) = s.client.create(
                &walk.entries[0].node,
                b"new",
                OpenFlags::WRITE,
                owner(0o600),
            ) {
                drop(entry);
                s.client
                    .unlink(&walk.entries[0].node, b"new", UnlinkKind::File)
                    .unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    // Both sides of the race were seen: the directory, and the link in its place.
    assert!(outcomes[1] > 0 && outcomes[2] > 0, "{outcomes:?}");
    assert_eq!(fs::read_dir(&secret.0).unwrap().count(), 1);
}

#[test]
fn devices_and_pipes_of_an_image_are_never_opened() {
    let s = served();
    nix::unistd::mkfifo(
        &s.dir.0.join("fifo"),
        nix::sys::stat::Mode::from_bits_truncate(0o666),
    )
    .unwrap();
    let fifo = s.client.lookup(&s.root.node, b"fifo").unwrap();
    assert_eq!(
        s.client.open(&fifo.node, OpenFlags::READ).unwrap_err(),
        Errno::EACCES
    );
    let null = (
        nix::sys::stat::SFlag::S_IFCHR,
        nix::sys::stat::Mode::from_bits_truncate(0o666),
        libc::makedev(1, 3),
    );
    if nix::sys::stat::mknod(&s.dir.0.join("null"), null.0, null.1, null.2).is_ok() {
        let null = s.client.lookup(&s.root.node, b"null").unwrap();
        assert_eq!(null.attr.rdev, libc::makedev(1, 3));
        assert_eq!(
            s.client.open(&null.node, OpenFlags::READ).unwrap_err(),
            Errno::EACCES
        );
    }
}

#[test]
fn many_threads_share_the_channels() {
    let s = served();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (client, root) = (s.client.clone(), &s.root.node);
            scope.spawn(move || {
                let (old, new) = (format!("t{thread}"), format!("T{thread}"));
                for _ in 0..200 {
                    let (entry, _) = client
                        .create(root, old.as_bytes(), OpenFlags::WRITE, owner(0o600))
                        .unwrap();
                    client
                        .rename(
                            (root, old.as_bytes()),
                            (root, new.as_bytes()),
                            RenameFlags::NOREPLACE,
                        )
                        .unwrap();
                    assert_eq!(
                        client.lookup(root, new.as_bytes()).unwrap().attr.ino,
                        entry.attr.ino
                    );
                    client
                        .unlink(root, new.as_bytes(), UnlinkKind::File)
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(s.client.readdir(&s.root.node, 0).unwrap().entries, vec![]);
}

#[test]
fn a_gofer_that_dies_or_lies_fails_every_call() {
    let (ours, theirs) = pair();
    drop(theirs);
    assert_eq!(Client::connect(vec![ours]).unwrap_err(), Errno::EIO);
    assert_eq!(Client::connect(vec![]).unwrap_err(), Errno::EINVAL);

    // One that answers Hello and then nonsense, while another thread waits for the only channel.
    let (ours, theirs) = pair();
    let liar = std::thread::spawn(move || {
        let mut buffer = [0; 256];
        let answers: [&[u8]; 2] = [
            &[0, 0, 0, 0, 0, VERSION.to_le_bytes()[0], 0, 0, 0, 1, 0, 0, 0],
            &[0, 0, 0, 0, 0, 7],
        ];
        for answer in answers {
            recv(theirs.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
            send(theirs.as_raw_fd(), answer, MsgFlags::empty()).unwrap();
        }
    });
    let client = Client::connect(vec![ours]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(client.attach(0).unwrap_err(), Errno::EIO));
        }
    });
    assert!(client.is_dead());
    liar.join().unwrap();
}
