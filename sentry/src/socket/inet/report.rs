//! What an operator is told of a network namespace (`runsc debug --counters`).

use std::fmt::Write;

use super::outside;
use crate::task::namespaces::NetNamespace;

/// Connections, memory, and what was counted, of a namespace that has a way out; else nothing.
#[must_use]
pub fn report(net: &NetNamespace) -> String {
    let mut text = String::new();
    let Some(stack) = outside::stack(net) else {
        return text;
    };
    let (counters, links) = stack.counters();
    let (connections, over, bytes) = stack.totals();
    let _ = writeln!(
        text,
        "network {}: {connections} connections, {over} in TIME-WAIT, {bytes} bytes of buffers reserved",
        net.ino
    );
    for (interface, link) in stack.setup().interfaces.iter().zip(&links) {
        let _ = writeln!(
            text,
            "  {}: in {} packets, {} bytes, {} of no use; out {} packets, {} bytes, {} without room",
            interface.name,
            link.rx_packets,
            link.rx_bytes,
            link.rx_dropped,
            link.tx_packets,
            link.tx_bytes,
            link.tx_dropped
        );
    }
    let c = &counters;
    for (name, count) in [
        ("malformed IP packets", c.ip_in_header_errors),
        ("IP packets for others", c.ip_in_address_errors),
        ("IP packets discarded", c.ip_in_discards),
        ("datagrams not put together", c.ip_reassembly_failed),
        ("malformed ICMP packets", c.icmp_in_errors),
        ("TCP connections begun here", c.tcp_active_opens),
        ("TCP connections begun elsewhere", c.tcp_passive_opens),
        ("TCP segments in", c.tcp_in_segments),
        ("TCP segments out", c.tcp_out_segments),
        ("malformed TCP segments", c.tcp_in_errors),
        ("TCP resets sent", c.tcp_out_resets),
        (
            "handshakes dropped for a full queue",
            c.tcp_listen_overflows,
        ),
        ("handshakes dropped for want of memory", c.tcp_no_memory),
        ("UDP datagrams in", c.udp_in_datagrams),
        ("UDP datagrams out", c.udp_out_datagrams),
        ("UDP datagrams for no one", c.udp_no_ports),
        ("malformed UDP datagrams", c.udp_in_errors),
        ("packets that a defect of runsc dropped", c.panics),
    ] {
        if count > 0 {
            let _ = writeln!(text, "  {count:8} {name}");
        }
    }
    text
}
