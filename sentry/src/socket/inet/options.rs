//! Options of levels IPPROTO_IP, IPPROTO_IPV6 and IPPROTO_TCP. On loopback from memory to memory most have nothing to act on: they are kept and shown.

use std::collections::BTreeMap;
use std::net::IpAddr;

use abi::socket::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP};

use netstack::Arrived;
use netstack::tcp::Info;

use crate::error::{Errno, Result};
use crate::socket::ControlMessage;
use crate::socket::options::{cut, int};

const IPV6_V6ONLY: i32 = 26;
const TCP_INFO: i32 = 11;
const TCP_CONGESTION: i32 = 13;
const TCP_MAXSEG: i32 = 2;
const IP_MTU: i32 = 14;
const IPV6_MTU: i32 = 24;
const LOOPBACK_MTU: i32 = 65536;

/// Options that are kept: level, name, initial value.
const KEPT: &[(i32, i32, i32)] = &[
    // IP_TOS, IP_TTL, IP_PKTINFO, IP_MTU_DISCOVER, IP_RECVERR, IP_RECVTTL, IP_RECVTOS, IP_FREEBIND, IP_BIND_ADDRESS_NO_PORT, multicast TTL and LOOP.
    (IPPROTO_IP, 1, 0),
    (IPPROTO_IP, 2, 64),
    (IPPROTO_IP, 8, 0),
    (IPPROTO_IP, 10, 1),
    (IPPROTO_IP, 11, 0),
    (IPPROTO_IP, 12, 0),
    (IPPROTO_IP, 13, 0),
    (IPPROTO_IP, 15, 0),
    (IPPROTO_IP, 24, 0),
    (IPPROTO_IP, 33, 1),
    (IPPROTO_IP, 34, 1),
    // Unicast hops, multicast hops and loop, MTU discovery, RECVERR, V6ONLY, RECVPKTINFO, RECVHOPLIMIT, RECVTCLASS, TCLASS.
    (IPPROTO_IPV6, 16, 64),
    (IPPROTO_IPV6, 18, 1),
    (IPPROTO_IPV6, 19, 1),
    (IPPROTO_IPV6, 23, 1),
    (IPPROTO_IPV6, 25, 0),
    (IPPROTO_IPV6, IPV6_V6ONLY, 0),
    (IPPROTO_IPV6, 49, 0),
    (IPPROTO_IPV6, 51, 0),
    (IPPROTO_IPV6, 66, 0),
    (IPPROTO_IPV6, 67, 0),
    // NODELAY, MAXSEG, CORK, KEEPIDLE, KEEPINTVL, KEEPCNT, SYNCNT, LINGER2, DEFER_ACCEPT, WINDOW_CLAMP, QUICKACK, USER_TIMEOUT, NOTSENT_LOWAT.
    (IPPROTO_TCP, 1, 0),
    (IPPROTO_TCP, TCP_MAXSEG, 32741),
    (IPPROTO_TCP, 3, 0),
    (IPPROTO_TCP, 4, 7200),
    (IPPROTO_TCP, 5, 75),
    (IPPROTO_TCP, 6, 9),
    (IPPROTO_TCP, 7, 6),
    (IPPROTO_TCP, 8, 60),
    (IPPROTO_TCP, 9, 0),
    (IPPROTO_TCP, 10, 0),
    (IPPROTO_TCP, 12, 1),
    (IPPROTO_TCP, 18, 0),
    (IPPROTO_TCP, 25, -1),
];

/// `struct tcp_info` in its version with byte counters (`linux/tcp.h`): what is known of the connection, 0 for the rest.
fn tcp_info(state: u8, remote: Option<&Info>) -> Vec<u8> {
    const SIZE: usize = 192;
    let mut info = vec![0; SIZE];
    info[0] = state;
    let Some(remote) = remote else {
        return info;
    };
    let mut word = |at: usize, value: u32| info[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    let mss = remote.mtu.saturating_sub(40);
    // Segment sizes out and in, unacknowledged segments, last data sent and received, path MTU, advertised MSS, receive space.
    word(16, mss);
    word(20, mss);
    word(24, remote.unacked.div_ceil(mss.max(1)));
    word(44, remote.idle_ms);
    word(52, remote.idle_ms);
    word(60, remote.mtu);
    word(88, mss);
    word(96, remote.window);
    // Segments out and in (`tcpi_segs_out`, `tcpi_segs_in`), bytes sent and received.
    word(136, u32::try_from(remote.segments.1).unwrap_or(u32::MAX));
    word(140, u32::try_from(remote.segments.0).unwrap_or(u32::MAX));
    info[120..128].copy_from_slice(&remote.bytes.1.to_ne_bytes());
    info[128..136].copy_from_slice(&remote.bytes.0.to_ne_bytes());
    info
}

/// Values that were set.
#[derive(Clone, Debug, Default)]
pub(super) struct ProtocolOptions(BTreeMap<(i32, i32), i32>);

fn initial(level: i32, name: i32) -> Option<i32> {
    KEPT.iter()
        .find(|kept| (kept.0, kept.1) == (level, name))
        .map(|kept| kept.2)
}

impl ProtocolOptions {
    /// IPV6_V6ONLY.
    pub(super) fn v6_only(&self) -> bool {
        self.0
            .get(&(IPPROTO_IPV6, IPV6_V6ONLY))
            .is_some_and(|on| *on != 0)
    }

    /// An option's value; 0 for what is not known.
    pub(super) fn value(&self, level: i32, name: i32) -> i32 {
        let set = self.0.get(&(level, name)).copied();
        set.or_else(|| initial(level, name)).unwrap_or(0)
    }

    /// `setsockopt`: `ENOPROTOOPT` for what is not known.
    pub(super) fn set(&mut self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if (level, name) == (IPPROTO_TCP, TCP_CONGESTION) {
            return if value.starts_with(b"cubic") {
                Ok(())
            } else {
                Err(Errno::ENOENT)
            };
        }
        initial(level, name).ok_or(Errno::ENOPROTOOPT)?;
        // IPPROTO_IP also takes single bytes.
        let number = match (level, value) {
            (IPPROTO_IP, [byte, rest @ ..]) if rest.len() < 3 => i32::from(*byte),
            _ => int(value)?,
        };
        self.0.insert((level, name), number);
        Ok(())
    }

    /// `getsockopt`: `ENOPROTOOPT` for what is not known. `tcp_state` and `remote` (a connection with somebody outside) are for TCP_INFO.
    pub(super) fn get(
        &self,
        level: i32,
        name: i32,
        max: usize,
        tcp_state: u8,
        remote: Option<&Info>,
    ) -> Result<Vec<u8>> {
        match (level, name) {
            (IPPROTO_TCP, TCP_INFO) => return Ok(cut(&tcp_info(tcp_state, remote), max)),
            (IPPROTO_IP, IP_MTU) | (IPPROTO_IPV6, IPV6_MTU) if remote.is_some() => {
                let mtu = remote.map_or(0, |info| info.mtu);
                return Ok(cut(&mtu.to_ne_bytes(), max));
            }
            (IPPROTO_TCP, TCP_CONGESTION) => {
                return Ok(cut(b"cubic\0\0\0\0\0\0\0\0\0\0\0", max));
            }
            (IPPROTO_IP, IP_MTU) | (IPPROTO_IPV6, IPV6_MTU) => {
                return Ok(cut(&LOOPBACK_MTU.to_ne_bytes(), max));
            }
            _ => {}
        }
        let value = match self.0.get(&(level, name)) {
            Some(value) => *value,
            None => initial(level, name).ok_or(Errno::ENOPROTOOPT)?,
        };
        Ok(cut(&value.to_ne_bytes(), max))
    }

    /// The control messages that a packet brings to those who asked (IP_RECVTTL, IP_RECVTOS, IP_PKTINFO and their IPv6 kin).
    pub(super) fn control(&self, arrived: &Arrived) -> Vec<ControlMessage> {
        let mut all = Vec::new();
        let mut add = |level, wanted, kind, data: Vec<u8>| {
            if self.value(level, wanted) != 0 {
                all.push(ControlMessage { level, kind, data });
            }
        };
        let number = |value: u8| i32::from(value).to_ne_bytes().to_vec();
        let interface = arrived.interface;
        match arrived.to.ip() {
            IpAddr::V4(to) => {
                let mut info = interface.to_ne_bytes().to_vec();
                info.extend_from_slice(&to.octets());
                info.extend_from_slice(&to.octets());
                add(IPPROTO_IP, 8, 8, info);
                add(IPPROTO_IP, 12, 2, number(arrived.ttl));
                add(IPPROTO_IP, 13, 1, vec![arrived.tos]);
            }
            IpAddr::V6(to) => {
                let mut info = to.octets().to_vec();
                info.extend_from_slice(&interface.to_ne_bytes());
                add(IPPROTO_IPV6, 49, 50, info);
                add(IPPROTO_IPV6, 51, 52, number(arrived.ttl));
                add(IPPROTO_IPV6, 66, 67, number(arrived.tos));
            }
        }
        all
    }
}
