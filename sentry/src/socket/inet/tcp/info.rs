//! TCP_INFO: what is known of a connection.

use netstack::tcp::Info;

use super::end::End;

/// `struct tcp_info` in its version with segment counters (`linux/tcp.h`).
const SIZE: usize = 232;
/// TCPI_OPT_TIMESTAMPS, SACK, WSCALE: what loopback would have agreed upon.
const LOOPBACK_OPTIONS: u8 = 7;
/// TCPI_OPT_WSCALE, TCPI_OPT_SACK.
const REMOTE_OPTIONS: u8 = 4;
const SELECTIVE: u8 = 2;
/// Window scales of both sides, four bits each.
const LOOPBACK_SCALES: u8 = 0x77;
/// Segments that may overtake one before it counts as lost (`tcp_reordering`).
const REORDERING: u32 = 3;
/// MSS and MTU of loopback.
pub(super) const LOOPBACK_MSS: u32 = 32_741;
pub(super) const LOOPBACK_MTU: u32 = 65_535;

struct Writer(Vec<u8>);

impl Writer {
    fn word(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    fn long(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    }
}

/// Of a socket without a connection.
pub(super) fn of_state(state: u8) -> Vec<u8> {
    let mut info = vec![0; SIZE];
    info[0] = state;
    info
}

/// Of a connection within the sandbox.
pub(super) fn of_pair(state: u8, end: &End, peer: &End) -> Vec<u8> {
    let mut info = Writer(of_state(state));
    info.0[5] = LOOPBACK_OPTIONS;
    info.0[6] = LOOPBACK_SCALES;
    let peer_sent = peer.side.lock().pieces_out;
    let side = end.side.lock();
    // Segment sizes, path MTU, advertised MSS.
    info.word(16, LOOPBACK_MSS);
    info.word(20, LOOPBACK_MSS);
    info.word(60, LOOPBACK_MTU);
    info.word(84, LOOPBACK_MSS);
    info.word(88, REORDERING);
    // Acknowledged (the SYN counts), received; segments out and in, with data in and out.
    info.long(120, side.sent + 1);
    info.long(128, side.received);
    info.word(136, side.pieces_out);
    info.word(140, peer_sent);
    info.word(152, side.pieces_in);
    info.word(156, side.pieces_out);
    info.long(200, side.sent);
    info.0
}

/// Of a connection with somebody outside.
pub(super) fn of_remote(state: u8, remote: &Info) -> Vec<u8> {
    let mut info = Writer(of_state(state));
    info.0[5] = REMOTE_OPTIONS;
    if remote.selective {
        info.0[5] |= SELECTIVE;
    }
    let mss = remote.mtu.saturating_sub(40);
    // Segment sizes out and in, unacknowledged segments, last data sent and received, path MTU, advertised MSS, receive space.
    info.word(16, mss);
    info.word(20, mss);
    info.word(24, remote.unacked.div_ceil(mss.max(1)));
    info.word(44, remote.idle_ms);
    info.word(52, remote.idle_ms);
    info.word(60, remote.mtu);
    info.word(84, mss);
    info.word(88, REORDERING);
    // Segments that the peer has beyond a hole; round trip and variation; segments sent again.
    info.word(28, remote.beyond.div_ceil(mss.max(1)));
    if let Some((mean, variation)) = remote.round_trip {
        info.word(68, mean);
        info.word(72, variation);
    }
    info.word(100, remote.retransmitted as u32);
    info.word(96, remote.window);
    // Bytes acknowledged and received, segments out and in.
    info.long(
        120,
        remote.bytes.1.saturating_sub(u64::from(remote.unacked)) + 1,
    );
    info.long(128, remote.bytes.0);
    info.word(136, remote.segments.1 as u32);
    info.word(140, remote.segments.0 as u32);
    info.long(200, remote.bytes.1);
    info.0
}
