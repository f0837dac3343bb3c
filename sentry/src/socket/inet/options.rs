//! Options of levels IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP and IPPROTO_UDP: which there are, what they take, what they say.
//!
//! A table says of each what it is at first and which values it takes; what acts upon a value reads it by [`ProtocolOptions::value`].

use std::collections::BTreeMap;

use abi::socket::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP};

use super::Family;
use super::names::*;
use crate::error::{Errno, Result};
use crate::socket::options::{cut, int};

/// Which kind of socket asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Raw and ping.
    Raw,
}

/// What a socket is, for those options that depend on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) kind: Kind,
    pub(super) family: Family,
}

/// Which values an option takes.
#[derive(Clone, Copy)]
enum Takes {
    /// Anything, kept as on or off.
    Bool,
    /// Anything.
    Any,
    /// From, to: `EINVAL` else.
    Within(i32, i32),
    /// As `Within`; -1 stands for the initial value.
    OrDefault(i32, i32),
    /// It is only read: `ENOPROTOOPT`.
    ReadOnly,
}

use Takes::{Any, Bool, OrDefault, ReadOnly, Within};

/// Level, name, initial value, what it takes.
const OPTIONS: &[(i32, i32, i32, Takes)] = &[
    (IPPROTO_IP, IP_TOS, 0, Any),
    (IPPROTO_IP, IP_TTL, 64, OrDefault(1, 255)),
    (IPPROTO_IP, IP_HDRINCL, 0, ReadOnly),
    (IPPROTO_IP, IP_PKTINFO, 0, Bool),
    (IPPROTO_IP, IP_MTU_DISCOVER, 1, Within(0, 5)),
    (IPPROTO_IP, IP_RECVERR, 0, Bool),
    (IPPROTO_IP, IP_RECVTTL, 0, Bool),
    (IPPROTO_IP, IP_RECVTOS, 0, Bool),
    (IPPROTO_IP, IP_FREEBIND, 0, Bool),
    (IPPROTO_IP, IP_TRANSPARENT, 0, ReadOnly),
    (IPPROTO_IP, IP_RECVORIGDSTADDR, 0, Bool),
    (IPPROTO_IP, IP_MINTTL, 0, Within(0, 255)),
    (IPPROTO_IP, IP_NODEFRAG, 0, ReadOnly),
    (IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0, Bool),
    (IPPROTO_IP, IP_MULTICAST_IF, 0, ReadOnly),
    (IPPROTO_IP, IP_MULTICAST_TTL, 1, OrDefault(0, 255)),
    (IPPROTO_IP, IP_MULTICAST_LOOP, 1, Bool),
    (IPPROTO_IP, IP_MULTICAST_ALL, 1, Within(0, 1)),
    (IPPROTO_IP, IP_UNICAST_IF, 0, ReadOnly),
    (IPPROTO_IPV6, IPV6_UNICAST_HOPS, 64, OrDefault(0, 255)),
    (IPPROTO_IPV6, IPV6_MULTICAST_IF, 0, Any),
    (IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 1, OrDefault(0, 255)),
    (IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1, Within(0, 1)),
    (IPPROTO_IPV6, IPV6_MTU_DISCOVER, 1, Within(0, 5)),
    (IPPROTO_IPV6, IPV6_RECVERR, 0, Bool),
    (IPPROTO_IPV6, IPV6_V6ONLY, 0, Bool),
    (IPPROTO_IPV6, IPV6_RECVPKTINFO, 0, Bool),
    (IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 0, Bool),
    (IPPROTO_IPV6, IPV6_RECVTCLASS, 0, Bool),
    (IPPROTO_IPV6, IPV6_TCLASS, 0, OrDefault(0, 255)),
    (IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 1, ReadOnly),
    (IPPROTO_IPV6, IPV6_ORIGDSTADDR, 0, Bool),
    (IPPROTO_IPV6, IPV6_UNICAST_IF, 0, ReadOnly),
    (IPPROTO_TCP, TCP_NODELAY, 0, Bool),
    (IPPROTO_TCP, TCP_MAXSEG, 536, Within(88, 32_767)),
    (IPPROTO_TCP, TCP_CORK, 0, Bool),
    (IPPROTO_TCP, TCP_KEEPIDLE, 7200, Within(1, 32_767)),
    (IPPROTO_TCP, TCP_KEEPINTVL, 75, Within(1, 32_767)),
    (IPPROTO_TCP, TCP_KEEPCNT, 9, Within(1, 127)),
    (IPPROTO_TCP, TCP_SYNCNT, 6, Within(1, 127)),
    (IPPROTO_TCP, TCP_LINGER2, 60, Any),
    (IPPROTO_TCP, TCP_DEFER_ACCEPT, 0, Any),
    (IPPROTO_TCP, TCP_WINDOW_CLAMP, 0, Any),
    (IPPROTO_TCP, TCP_QUICKACK, 1, Any),
    (IPPROTO_TCP, TCP_USER_TIMEOUT, 0, Within(0, i32::MAX)),
    (IPPROTO_TCP, TCP_REPAIR, 0, ReadOnly),
    (IPPROTO_TCP, TCP_FASTOPEN, 0, Within(0, i32::MAX)),
    (IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0, Any),
    (IPPROTO_UDP, UDP_CORK, 0, Bool),
    (IPPROTO_UDP, UDP_NO_CHECK6_TX, 0, Bool),
    (IPPROTO_UDP, UDP_NO_CHECK6_RX, 0, Bool),
    (IPPROTO_UDP, UDP_SEGMENT, 0, Within(0, 65_535)),
    (IPPROTO_UDP, UDP_GRO, 0, Bool),
];

fn find(level: i32, name: i32) -> Option<(i32, Takes)> {
    OPTIONS
        .iter()
        .find(|option| (option.0, option.1) == (level, name))
        .map(|option| (option.2, option.3))
}

impl Asker {
    /// Whether this kind of socket has the level at all.
    const fn has(self, level: i32) -> bool {
        match level {
            IPPROTO_IP => true,
            IPPROTO_IPV6 => matches!(self.family, Family::V6),
            IPPROTO_TCP => matches!(self.kind, Kind::Tcp),
            IPPROTO_UDP => matches!(self.kind, Kind::Udp),
            _ => false,
        }
    }
}

/// TCP_DEFER_ACCEPT is kept in retransmissions of the handshake: the seconds that as many of them take.
fn defer_seconds(wanted: i32) -> i32 {
    let (mut total, mut step) = (0, 1);
    while total < wanted.min(120) {
        total += step;
        step *= 2;
    }
    total
}

/// Values that were set.
#[derive(Clone, Debug, Default)]
pub(super) struct ProtocolOptions(BTreeMap<(i32, i32), i32>);

impl ProtocolOptions {
    /// IPV6_V6ONLY.
    pub(super) fn v6_only(&self) -> bool {
        self.value(IPPROTO_IPV6, IPV6_V6ONLY) != 0
    }

    /// An option's value; 0 for what is not known.
    pub(super) fn value(&self, level: i32, name: i32) -> i32 {
        let set = self.0.get(&(level, name)).copied();
        set.or_else(|| find(level, name).map(|(initial, _)| initial))
            .unwrap_or(0)
    }

    /// Whether an option is not 0.
    pub(super) fn is_on(&self, level: i32, name: i32) -> bool {
        self.value(level, name) != 0
    }

    /// What was set, if anything was.
    pub(super) fn chosen(&self, level: i32, name: i32) -> Option<i32> {
        self.0.get(&(level, name)).copied()
    }

    /// Sets a value without looking at it: what a sysctl says at the beginning, or what was checked elsewhere.
    pub(super) fn put(&mut self, level: i32, name: i32, value: i32) {
        self.0.insert((level, name), value);
    }

    /// `setsockopt`: `ENOPROTOOPT` for what is not known or only read, `EINVAL` for values that it does not take.
    pub(super) fn set(&mut self, asker: Asker, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if !asker.has(level) {
            return Err(Errno::ENOPROTOOPT);
        }
        let (initial, takes) = find(level, name).ok_or(Errno::ENOPROTOOPT)?;
        if let (IPPROTO_IPV6, IPV6_MULTICAST_HOPS, Kind::Tcp) = (level, name, asker.kind) {
            return Err(Errno::ENOPROTOOPT);
        }
        // IPPROTO_IP also takes single bytes.
        let number = match (level, value) {
            (IPPROTO_IP, [byte, rest @ ..]) if rest.len() < 3 => i32::from(*byte),
            _ => int(value)?,
        };
        let number = match takes {
            Bool => i32::from(number != 0),
            Any => number,
            Within(low, high) if (low..=high).contains(&number) => number,
            OrDefault(..) if number == -1 => initial,
            OrDefault(low, high) if (low..=high).contains(&number) => number,
            Within(..) | OrDefault(..) => return Err(Errno::EINVAL),
            ReadOnly => return Err(Errno::ENOPROTOOPT),
        };
        let number = match (level, name) {
            // The bits of congestion notification are TCP's own.
            (IPPROTO_IP, IP_TOS) | (IPPROTO_IPV6, IPV6_TCLASS) if asker.kind == Kind::Tcp => {
                number & 0xfc
            }
            (IPPROTO_IP, IP_TOS) => number & 0xff,
            (IPPROTO_TCP, TCP_LINGER2) => number.clamp(-1, 120),
            (IPPROTO_TCP, TCP_DEFER_ACCEPT) => defer_seconds(number),
            _ => number,
        };
        self.put(level, name, number);
        Ok(())
    }

    /// `getsockopt`: `EOPNOTSUPP` for levels that the socket does not have, `ENOPROTOOPT` for what is not known.
    pub(super) fn get(&self, asker: Asker, level: i32, name: i32, max: usize) -> Result<Vec<u8>> {
        if !asker.has(level) {
            return Err(Errno::EOPNOTSUPP);
        }
        find(level, name).ok_or(Errno::ENOPROTOOPT)?;
        let value = match (level, name, asker.family) {
            // IPv6 sockets do not begin with it.
            (IPPROTO_IP, IP_MULTICAST_ALL, Family::V6) => self.chosen(level, name).unwrap_or(0),
            _ => self.value(level, name),
        };
        Ok(show(level, value, max))
    }
}

/// An integer as `getsockopt` shows it: IPPROTO_IP uses one byte where the guest has no room for four.
pub(super) fn show(level: i32, value: i32, max: usize) -> Vec<u8> {
    match (level, u8::try_from(value)) {
        (IPPROTO_IP, Ok(byte)) if (1..4).contains(&max) => vec![byte],
        _ => cut(&value.to_ne_bytes(), max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: Asker = Asker {
        kind: Kind::Tcp,
        family: Family::V4,
    };

    #[test]
    fn values_are_checked_and_levels_belong_to_sockets() {
        let mut options = ProtocolOptions::default();
        let set = |options: &mut ProtocolOptions, level, name, value: i32| {
            options.set(TCP, level, name, &value.to_ne_bytes())
        };
        assert_eq!(
            set(&mut options, IPPROTO_IP, IP_TTL, 256),
            Err(Errno::EINVAL)
        );
        assert_eq!(set(&mut options, IPPROTO_IP, IP_TTL, 9), Ok(()));
        assert_eq!(set(&mut options, IPPROTO_IP, IP_TTL, -1), Ok(()));
        assert_eq!(options.value(IPPROTO_IP, IP_TTL), 64);
        assert_eq!(
            set(&mut options, IPPROTO_IPV6, IPV6_V6ONLY, 1),
            Err(Errno::ENOPROTOOPT)
        );
        assert_eq!(
            options.get(TCP, IPPROTO_UDP, UDP_CORK, 4),
            Err(Errno::EOPNOTSUPP)
        );
        assert_eq!(set(&mut options, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5), Ok(()));
        assert_eq!(options.value(IPPROTO_TCP, TCP_DEFER_ACCEPT), 7);
        assert_eq!(
            options.set(TCP, IPPROTO_TCP, TCP_NODELAY, &[1]),
            Err(Errno::EINVAL)
        );
    }
}
