//! `/sys/class/net`: the interfaces of the sandbox's network namespace.
//!
//! The tree is made when it is mounted, the network comes at the start: [`NetSlot`] joins them.

use std::sync::{Arc, Weak};

use abi::fs::{S_IFDIR, S_IFLNK};
use parking_lot::RwLock;

use super::line;
use crate::error::{Errno, Result};
use crate::fs::static_tree::{DirSource, EmitName, Node, Reader};
use crate::socket::interface::{self, Link};
use crate::task::namespaces::NetNamespace;

/// Whose interfaces are shown; in the kernel's extensions.
#[derive(Default)]
pub struct NetSlot(RwLock<Weak<NetNamespace>>);

impl NetSlot {
    /// From now on those of `net`.
    pub fn set(&self, net: &Arc<NetNamespace>) {
        *self.0.write() = Arc::downgrade(net);
    }

    /// The interfaces; without a namespace loopback.
    fn links(&self) -> Vec<Link> {
        let net = self.0.read().upgrade();
        let net = net.unwrap_or_else(NetNamespace::new);
        interface::links(&net)
    }

    fn link(&self, index: i32) -> Option<Link> {
        self.links().into_iter().find(|link| link.index == index)
    }
}

/// `/sys/class/net`.
pub(super) fn class(slot: &Arc<NetSlot>) -> Node {
    Node::dynamic(Interfaces {
        slot: slot.clone(),
        links: true,
    })
}

/// `/sys/devices/virtual/net`.
pub(super) fn devices(slot: &Arc<NetSlot>) -> Node {
    Node::dynamic(Interfaces {
        slot: slot.clone(),
        links: false,
    })
}

/// A name for each interface: a directory, or a link to it.
struct Interfaces {
    slot: Arc<NetSlot>,
    links: bool,
}

impl DirSource for Interfaces {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let found = self.slot.links().into_iter();
        let link = found
            .into_iter()
            .find(|link| link.name.as_bytes() == name)
            .ok_or(Errno::ENOENT)?;
        Ok(if self.links {
            Node::link(&format!("../../devices/virtual/net/{}", link.name))
        } else {
            device(&self.slot, &link)
        })
    }
    fn list(&self, from: u64, emit: &mut EmitName<'_>) -> Result<()> {
        let kind = if self.links { S_IFLNK } else { S_IFDIR };
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        for (at, link) in self.slot.links().iter().enumerate().skip(skip) {
            if !emit(link.name.as_bytes(), kind, at as u64 + 1) {
                break;
            }
        }
        Ok(())
    }
}

fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// What `IF_OPER_*` is called.
const fn state(number: u8) -> &'static str {
    match number {
        1 => "notpresent",
        2 => "down",
        3 => "lowerlayerdown",
        4 => "testing",
        5 => "dormant",
        6 => "up",
        _ => "unknown",
    }
}

/// A file that a device without a speed cannot fill.
fn invalid() -> Node {
    Node::text(|_: &Reader<'_>| Err::<String, _>(Errno::EINVAL))
}

fn device(slot: &Arc<NetSlot>, link: &Link) -> Node {
    /// IFF_RUNNING is not shown here.
    const SHOWN: u32 = !0x40;
    let loopback = link.index == interface::INDEX;
    let broadcast = if loopback { [0; 6] } else { [0xff; 6] };
    let counter = |name: &'static str, pick: fn(&Link) -> u64| {
        let (slot, index) = (slot.clone(), link.index);
        let text = move |_: &Reader<'_>| {
            let link = slot.link(index).ok_or(Errno::ENODEV)?;
            Ok(format!("{}\n", pick(&link)))
        };
        (name, Node::text(text))
    };
    let statistics = Node::dir([
        counter("collisions", |_| 0),
        counter("multicast", |link| link.counters.multicast),
        counter("rx_bytes", |link| link.counters.rx_bytes),
        counter("rx_compressed", |_| 0),
        counter("rx_crc_errors", |_| 0),
        counter("rx_dropped", |link| link.counters.rx_dropped),
        counter("rx_errors", |_| 0),
        counter("rx_fifo_errors", |_| 0),
        counter("rx_frame_errors", |_| 0),
        counter("rx_length_errors", |_| 0),
        counter("rx_missed_errors", |_| 0),
        counter("rx_nohandler", |_| 0),
        counter("rx_over_errors", |_| 0),
        counter("rx_packets", |link| link.counters.rx_packets),
        counter("tx_aborted_errors", |_| 0),
        counter("tx_bytes", |link| link.counters.tx_bytes),
        counter("tx_carrier_errors", |_| 0),
        counter("tx_compressed", |_| 0),
        counter("tx_dropped", |link| link.counters.tx_dropped),
        counter("tx_errors", |_| 0),
        counter("tx_fifo_errors", |_| 0),
        counter("tx_heartbeat_errors", |_| 0),
        counter("tx_packets", |link| link.counters.tx_packets),
        counter("tx_window_errors", |_| 0),
    ]);
    let (speed, duplex) = if loopback {
        (invalid(), invalid())
    } else {
        // A pair's ends say so, whatever they can do.
        (line(10_000), line("full"))
    };
    let peer = link.peer.unwrap_or(link.index as u32);
    Node::dir([
        ("addr_assign_type", line(if loopback { 0 } else { 3 })),
        ("addr_len", line(6)),
        ("address", line(mac(link.mac))),
        ("broadcast", line(mac(broadcast))),
        ("carrier", line(1)),
        ("carrier_changes", line(0)),
        ("dev_id", line("0x0")),
        ("dev_port", line(0)),
        ("dormant", line(0)),
        ("duplex", duplex),
        ("flags", line(format!("{:#x}", link.flags & SHOWN))),
        ("ifalias", Node::constant("")),
        ("ifindex", line(link.index)),
        ("iflink", line(peer)),
        ("link_mode", line(0)),
        ("mtu", line(link.mtu)),
        ("netdev_group", line(0)),
        ("operstate", line(state(link.operstate))),
        ("speed", speed),
        ("statistics", statistics),
        ("tx_queue_len", line(link.tx_queue)),
        ("type", line(link.hardware)),
    ])
}
