//! `/sys/class/net`: the loopback interface. Others follow with the network stack's own tables.

use super::line;
use crate::fs::static_tree::Node;

/// `/sys/class/net`.
pub(super) fn class() -> Node {
    Node::dir([("lo", Node::link("../../devices/virtual/net/lo"))])
}

/// `/sys/devices/virtual/net`.
pub(super) fn devices() -> Node {
    let statistics = Node::dir(
        [
            "collisions",
            "multicast",
            "rx_bytes",
            "rx_dropped",
            "rx_errors",
            "rx_packets",
            "tx_bytes",
            "tx_dropped",
            "tx_errors",
            "tx_packets",
        ]
        .map(|name| (name, line(0))),
    );
    let lo = Node::dir([
        ("addr_len", line(6)),
        ("address", line("00:00:00:00:00:00")),
        ("broadcast", line("00:00:00:00:00:00")),
        ("carrier", line(1)),
        ("dev_id", line("0x0")),
        ("flags", line("0x9")),
        ("ifindex", line(1)),
        ("iflink", line(1)),
        ("mtu", line(65536)),
        ("operstate", line("unknown")),
        ("statistics", statistics),
        ("tx_queue_len", line(1000)),
        ("type", line(772)),
    ]);
    Node::dir([("lo", lo)])
}
