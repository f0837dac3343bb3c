//! What happened, in the words of `/proc/net/snmp` and `/proc/net/dev`.

/// Of one interface.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkCounters {
    /// Frames in.
    pub rx_packets: u64,
    /// Bytes in.
    pub rx_bytes: u64,
    /// Frames in that were of no use.
    pub rx_dropped: u64,
    /// Multicast frames in.
    pub multicast: u64,
    /// Frames out.
    pub tx_packets: u64,
    /// Bytes out.
    pub tx_bytes: u64,
    /// Frames that the device had no room for.
    pub tx_dropped: u64,
}

/// Of the stack.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "named as in /proc/net/snmp")]
pub struct Counters {
    pub ip_in_receives: u64,
    pub ip_in_header_errors: u64,
    pub ip_in_address_errors: u64,
    pub ip_in_discards: u64,
    pub ip_in_delivers: u64,
    pub ip_out_requests: u64,
    pub ip_out_no_routes: u64,
    pub ip_out_discards: u64,
    pub ip_reassembly_required: u64,
    pub ip_reassembled: u64,
    pub ip_reassembly_failed: u64,
    pub ip_fragmented: u64,
    pub ip_fragments_created: u64,
    pub icmp_in: u64,
    pub icmp_in_errors: u64,
    pub icmp_in_echos: u64,
    pub icmp_out: u64,
    pub tcp_active_opens: u64,
    pub tcp_passive_opens: u64,
    pub tcp_attempt_fails: u64,
    pub tcp_established_resets: u64,
    pub tcp_in_segments: u64,
    pub tcp_out_segments: u64,
    pub tcp_in_errors: u64,
    pub tcp_out_resets: u64,
    pub tcp_listen_overflows: u64,
    pub tcp_no_memory: u64,
    pub udp_in_datagrams: u64,
    pub udp_no_ports: u64,
    pub udp_in_errors: u64,
    pub udp_out_datagrams: u64,
    /// Packets that a defect of ours made unprocessable.
    pub panics: u64,
}
