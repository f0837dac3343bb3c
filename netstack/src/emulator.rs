//! An emulated link between two stacks, with a clock of its own: delay, loss, duplication, reordering, and a device that cuts segments and completes
//! checksums as the host's would. Everything is decided by a seed, so that a failure can be had again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use smoltcp::time::{Duration, Instant};

use crate::checksum;
use crate::setup::{Address, Interface, Route, Setup};
use crate::stack::{Options, Stack};
use crate::wire::{self, ETHERNET_LEN, HEADER_LEN, Header, Sent, Wire};

/// How bad the link is, in per mille.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) loss: u64,
    pub(crate) duplicates: u64,
    /// Frames that come a little later than they should.
    pub(crate) late: u64,
    pub(crate) delay: Duration,
}

/// One end of the link.
#[derive(Default)]
struct End {
    out: Mutex<Vec<Vec<u8>>>,
    arrived: Mutex<VecDeque<Vec<u8>>>,
}

impl Wire for End {
    fn send(&self, frame: &[u8]) -> Sent {
        self.out.lock().extend(cut(frame));
        Sent::Yes
    }
    fn receive(&self, buf: &mut [u8]) -> Option<usize> {
        let frame = self.arrived.lock().pop_front()?;
        buf[..frame.len()].copy_from_slice(&frame);
        Some(frame.len())
    }
}

/// What a device does to a frame before it goes out: segments of the size asked for, checksums completed.
fn cut(frame: &[u8]) -> Vec<Vec<u8>> {
    let (header, ethernet) = Header::parse(frame).expect("a header");
    let plain = Header::default().bytes().to_vec();
    if header.flags & wire::NEEDS_CHECKSUM == 0 {
        return vec![[plain, ethernet.to_vec()].concat()];
    }
    let start = usize::from(header.start);
    let tcp = usize::from(ethernet[start + 12] >> 4) * 4;
    let (head, payload) = ethernet.split_at(start + tcp);
    let size = if header.gso == wire::GSO_NONE {
        payload.len().max(1)
    } else {
        usize::from(header.segment)
    };
    let pieces: Vec<&[u8]> = if payload.is_empty() {
        vec![&[]]
    } else {
        payload.chunks(size).collect()
    };
    let last = pieces.len() - 1;
    let sequence = u32::from_be_bytes(head[start + 4..start + 8].try_into().unwrap());
    let mut frames = Vec::new();
    for (number, piece) in pieces.into_iter().enumerate() {
        let mut head = head.to_vec();
        let at = sequence.wrapping_add((number * size) as u32);
        head[start + 4..start + 8].copy_from_slice(&at.to_be_bytes());
        if number < last {
            // FIN and PSH are the last one's.
            head[start + 13] &= !0x09;
        }
        let len = tcp + piece.len();
        let ip = ETHERNET_LEN;
        let (from, to): (IpAddr, IpAddr) = if head[ip] >> 4 == 4 {
            head[ip + 2..ip + 4].copy_from_slice(&((20 + len) as u16).to_be_bytes());
            head[ip + 10..ip + 12].fill(0);
            let sum = checksum::of(&head[ip..ip + 20]);
            head[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
            let quad = |at: usize| <[u8; 4]>::try_from(&head[at..at + 4]).unwrap();
            (quad(ip + 12).into(), quad(ip + 16).into())
        } else {
            head[ip + 4..ip + 6].copy_from_slice(&(len as u16).to_be_bytes());
            let long = |at: usize| <[u8; 16]>::try_from(&head[at..at + 16]).unwrap();
            (long(ip + 8).into(), long(ip + 24).into())
        };
        head[start + 16..start + 18].fill(0);
        let sum = checksum::pseudo(from, to, 6, len);
        let sum = checksum::add(checksum::add(sum, &head[start..]), piece);
        let sum = !checksum::fold(sum);
        head[start + 16..start + 18].copy_from_slice(&sum.to_be_bytes());
        frames.push([plain.clone(), head, piece.to_vec()].concat());
    }
    frames
}

/// Two stacks and what lies between them.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) stacks: [Arc<Stack>; 2],
    ends: [Arc<End>; 2],
    conditions: Conditions,
    random: u64,
    flying: BinaryHeap<Reverse<(Instant, u64, usize, Vec<u8>)>>,
    count: u64,
}

pub(crate) fn random(buf: &mut [u8]) {
    static NEXT: Mutex<u64> = Mutex::new(7);
    let mut next = NEXT.lock();
    for byte in buf {
        *next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (*next >> 56) as u8;
    }
}

fn setup(side: u8) -> Setup {
    let address = |ip: &str, prefix| Address {
        ip: ip.parse().unwrap(),
        prefix,
        broadcast: (prefix == 24).then(|| "10.0.0.255".parse().unwrap()),
        scope: 0,
        flags: 0x80,
        label: None,
    };
    let route = |ip: &str, prefix| Route {
        destination: ip.parse().unwrap(),
        prefix,
        gateway: None,
        interface: 2,
        source: None,
        metric: 0,
        scope: 253,
        protocol: 2,
        flags: 0,
    };
    Setup {
        interfaces: vec![Interface {
            index: 2,
            peer: None,
            name: "eth0".to_owned(),
            mac: [2, 0, 0, 0, 0, side],
            mtu: 1500,
            flags: 0x1043,
            tx_queue: 1000,
            qdisc: "noqueue".to_owned(),
            operstate: 6,
            addresses: vec![
                address(&format!("10.0.0.{side}"), 24),
                address(&format!("fd00::{side}"), 64),
            ],
        }],
        routes: vec![route("10.0.0.0", 24), route("fd00::", 64)],
        ..Setup::default()
    }
}

impl World {
    pub(crate) fn new(conditions: Conditions, seed: u64) -> Self {
        let ends: [Arc<End>; 2] = Default::default();
        let stack = |side: usize| {
            let options = Options {
                memory: 64 << 20,
                random,
            };
            let wire: Arc<dyn Wire> = ends[side].clone();
            Stack::new(setup(side as u8 + 1), vec![wire], &options)
        };
        Self {
            now: Instant::from_micros(0),
            stacks: [stack(0), stack(1)],
            ends,
            conditions,
            random: seed,
            flying: BinaryHeap::new(),
            count: 0,
        }
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % 1000 < per_mille
    }

    /// Lets the clock run until `done` or for `limit`; true if it was `done`.
    pub(crate) fn run(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&[Arc<Stack>; 2]) -> bool,
    ) -> bool {
        let end = self.now + limit;
        loop {
            if done(&self.stacks) {
                return true;
            }
            self.launch();
            let due = self
                .stacks
                .iter()
                .filter_map(|stack| stack.with_at(self.now, |inner| inner.deadline()))
                .min();
            let landing = self.flying.peek().map(|Reverse((at, ..))| *at);
            let Some(next) = [due, landing].into_iter().flatten().min() else {
                return done(&self.stacks);
            };
            if next > end {
                self.now = end;
                return done(&self.stacks);
            }
            self.now = self.now.max(next);
            while self
                .flying
                .peek()
                .is_some_and(|Reverse((at, ..))| *at <= self.now)
            {
                let Some(Reverse((_, _, side, frame))) = self.flying.pop() else {
                    break;
                };
                self.ends[side].arrived.lock().push_back(frame);
            }
            for stack in &self.stacks {
                while !stack.pump_at(self.now, 0) {}
                stack.tick_at(self.now);
            }
        }
    }

    /// Puts on their way what was sent.
    pub(crate) fn launch(&mut self) {
        for side in 0..2 {
            let frames = std::mem::take(&mut *self.ends[side].out.lock());
            for frame in frames {
                assert!(
                    frame.len() <= HEADER_LEN + ETHERNET_LEN + 1500,
                    "frame of {} bytes",
                    frame.len()
                );
                let copies = if self.chance(self.conditions.loss) {
                    0
                } else {
                    1 + usize::from(self.chance(self.conditions.duplicates))
                };
                for _ in 0..copies {
                    let late = self.chance(self.conditions.late);
                    let delay = self.conditions.delay
                        + Duration::from_micros(10 + if late { 3000 } else { 0 });
                    self.count += 1;
                    self.flying.push(Reverse((
                        self.now + delay,
                        self.count,
                        1 - side,
                        frame.clone(),
                    )));
                }
            }
        }
    }

    /// A frame (without header) from nowhere arrives at a side.
    pub(crate) fn inject(&self, side: usize, frame: &[u8]) {
        let header = Header::default().bytes();
        self.ends[side]
            .arrived
            .lock()
            .push_back([&header[..], frame].concat());
        while !self.stacks[side].pump_at(self.now, 0) {}
    }
}
