//! What socket calls point to: addresses, messages, options.

use std::fmt::Write;
use std::net::Ipv6Addr;

use abi::socket::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, Cmsghdr, Mmsghdr, Msghdr, SCM_RIGHTS, SO_LINGER,
    SO_PEERCRED, SO_RCVTIMEO, SO_SNDTIMEO, SOCKADDR_MAX, SOL_SOCKET, Ucred,
};
use abi::time::Timeval;
use abi::{UserAddr, UserIn};
use zerocopy::FromBytes;

use super::names::{Choice, socket};
use super::shape::{MANY, Seen, Shape, Shown, list, pointer};
use super::text;

/// Control messages and addresses are looked at up to here.
const CONTROL: usize = 512;

impl Shown for Msghdr {
    const IN: Shape = Shape::In(|seen, at| {
        seen.get(at)
            .map(|header| text_of(seen, &header, true, u64::MAX))
    });
    const OUT: Shape = Shape::Out(|seen, at| {
        let got = seen.result.and_then(|result| u64::try_from(result).ok());
        seen.get(at)
            .map(|header| text_of(seen, &header, true, got.unwrap_or(0)))
    });
    fn text(&self) -> String {
        pointer(self.iov)
    }
}

impl Shown for Mmsghdr {
    fn text(&self) -> String {
        self.header.text()
    }
}

/// A `struct sockaddr`.
pub(super) fn address(bytes: &[u8]) -> String {
    let number = |at: usize| {
        bytes
            .get(at..at + 2)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u16::from_be_bytes)
    };
    let Some(family) = bytes
        .get(..2)
        .and_then(|b| b.try_into().ok())
        .map(u16::from_le_bytes)
    else {
        return text::quoted(bytes, false);
    };
    let rest = bytes.get(2..).unwrap_or(&[]);
    let mut out = format!("{{sa_family={}", socket::FAMILY.text(family.into()));
    match i32::from(family) {
        AF_UNIX => match rest.split_first() {
            None => {}
            Some((0, name)) => {
                let _ = write!(out, ", sun_path=@{}", text::quoted(name, false));
            }
            Some(_) => {
                let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
                let path = rest.get(..end).unwrap_or(rest);
                let _ = write!(out, ", sun_path={}", text::quoted(path, false));
            }
        },
        AF_INET if bytes.len() >= 8 => {
            let host = rest.get(2..6).unwrap_or(&[]);
            let host: Vec<String> = host.iter().map(u8::to_string).collect();
            let _ = write!(
                out,
                ", sin_port=htons({}), sin_addr=inet_addr(\"{}\")",
                number(2),
                host.join(".")
            );
        }
        AF_INET6 if bytes.len() >= 28 => {
            let host: [u8; 16] = bytes
                .get(8..24)
                .and_then(|b| b.try_into().ok())
                .unwrap_or_default();
            let scope: [u8; 4] = bytes
                .get(24..28)
                .and_then(|b| b.try_into().ok())
                .unwrap_or_default();
            let _ = write!(
                out,
                ", sin6_port=htons({}), inet_pton(AF_INET6, \"{}\", &sin6_addr), sin6_scope_id={}",
                number(2),
                Ipv6Addr::from(host),
                u32::from_le_bytes(scope)
            );
        }
        AF_NETLINK if bytes.len() >= 12 => {
            let word = |at: usize| {
                bytes
                    .get(at..at + 4)
                    .and_then(|b| b.try_into().ok())
                    .map_or(0, u32::from_le_bytes)
            };
            let _ = write!(out, ", nl_pid={}, nl_groups={:08x}", word(4), word(8));
        }
        _ if rest.is_empty() => {}
        _ => {
            let _ = write!(out, ", sa_data={}", text::buffer(rest, rest.len()));
        }
    }
    out.push('}');
    out
}

fn address_at(seen: &Seen<'_>, addr: u64, len: u64) -> Option<String> {
    if addr == 0 {
        return None;
    }
    let mut bytes = [0; SOCKADDR_MAX];
    let bytes = bytes.get_mut(..usize::try_from(len).ok()?.min(SOCKADDR_MAX))?;
    seen.memory.read(UserAddr(addr), bytes).ok()?;
    Some(address(bytes))
}

/// An address whose length is the next argument.
pub(super) fn address_in(seen: &Seen<'_>, at: usize) -> Option<String> {
    address_at(seen, seen.arg(at), seen.arg(at + 1))
}

/// An address whose length is where the next argument points to.
pub(super) fn address_out(seen: &Seen<'_>, at: usize) -> Option<String> {
    let len: i32 = seen.get(at + 1)?;
    address_at(seen, seen.arg(at), u64::try_from(len).ok()?)
}

/// `count` iovecs with the bytes behind them, of which `filled` have a meaning.
pub(super) fn vector(seen: &Seen<'_>, addr: u64, count: u64, filled: u64) -> Option<String> {
    let (parts, more) = seen.array::<[u64; 2]>(addr, count)?;
    let mut left = filled;
    let parts = parts.iter().map(|[base, len]| {
        let meant = left.min(*len);
        left = left.saturating_sub(*len);
        let bytes = if meant == 0 && *len > 0 {
            None
        } else {
            seen.bytes(*base, meant)
        };
        let bytes = bytes.unwrap_or_else(|| pointer(*base));
        format!("{{iov_base={bytes}, iov_len={len}}}")
    });
    Some(list(parts, more))
}

/// A message; `with_data`: what its pointers lead to as well.
fn text_of(seen: &Seen<'_>, header: &Msghdr, with_data: bool, filled: u64) -> String {
    let name_len = u64::try_from(header.namelen).unwrap_or(0);
    let name = address_at(seen, header.name, name_len).unwrap_or_else(|| pointer(header.name));
    let vector = with_data
        .then(|| vector(seen, header.iov, header.iovlen, filled))
        .flatten()
        .unwrap_or_else(|| pointer(header.iov));
    let control = control(seen, header);
    format!(
        "{{msg_name={name}, msg_namelen={}, msg_iov={vector}, msg_iovlen={}{control}, msg_controllen={}, msg_flags={}}}",
        header.namelen,
        header.iovlen,
        header.controllen,
        socket::MSG.text(u64::from(header.flags.cast_unsigned()))
    )
}

/// `, msg_control=[…]`, or nothing.
fn control(seen: &Seen<'_>, header: &Msghdr) -> String {
    const HEADER: usize = size_of::<Cmsghdr>();
    let mut bytes = [0; CONTROL];
    let len = usize::try_from(header.controllen).unwrap_or(0).min(CONTROL);
    let Some(bytes) = bytes.get_mut(..len) else {
        return String::new();
    };
    if len == 0 || seen.memory.read(UserAddr(header.control), bytes).is_err() {
        return String::new();
    }
    let (mut rest, mut shown) = (&*bytes, Vec::new());
    while let Ok((message, _)) = Cmsghdr::read_from_prefix(rest) {
        let len = usize::try_from(message.len).unwrap_or(usize::MAX);
        let Some(data) = rest.get(HEADER..len) else {
            break;
        };
        let kind = if message.level == SOL_SOCKET {
            socket::SCM.text(message.kind.into())
        } else {
            message.kind.to_string()
        };
        let value = if message.level == SOL_SOCKET && message.kind == SCM_RIGHTS {
            let fds = data
                .chunks_exact(4)
                .map(|fd| i32::from_le_bytes(fd.try_into().unwrap_or_default()).to_string());
            list(fds.take(MANY), data.len() / 4 > MANY)
        } else {
            text::buffer(data, data.len())
        };
        shown.push(format!(
            "{{cmsg_len={len}, cmsg_level={}, cmsg_type={kind}, cmsg_data={value}}}",
            socket::LEVEL.text(message.level.into())
        ));
        rest = rest.get(len.next_multiple_of(8)..).unwrap_or(&[]);
    }
    format!(
        ", msg_control={}",
        list(shown, header.controllen > CONTROL as u64)
    )
}

fn messages(seen: &Seen<'_>, at: usize, count: u64) -> Option<String> {
    let shown = count.min(MANY as u64) as usize;
    let all: Vec<Mmsghdr> = seen
        .memory
        .get_array(UserIn::new(UserAddr(seen.arg(at))), shown)
        .ok()?;
    let texts = all.iter().map(|message| {
        let filled = if seen.result.is_some() {
            u64::from(message.len)
        } else {
            u64::MAX
        };
        format!(
            "{{msg_hdr={}}}",
            text_of(seen, &message.header, true, filled)
        )
    });
    Some(list(texts, count > shown as u64))
}

/// `sendmmsg`'s messages.
pub(super) fn messages_in(seen: &Seen<'_>, at: usize) -> Option<String> {
    messages(seen, at, seen.arg(at + 1))
}

/// The messages that were received.
pub(super) fn messages_out(seen: &Seen<'_>, at: usize) -> Option<String> {
    messages(seen, at, seen.result.and_then(|n| u64::try_from(n).ok())?)
}

/// `socket(2)`'s protocol, whose meaning is its family's.
pub(super) fn protocol(seen: &Seen<'_>, at: usize) -> Option<String> {
    let value = i64::from(seen.arg(at) as i32);
    Some(match seen.arg(0) as i32 {
        AF_INET | AF_INET6 => socket::PROTOCOL.text(value),
        AF_NETLINK => socket::NETLINK.text(value),
        _ => value.to_string(),
    })
}

/// An option's name, whose meaning is the level's.
pub(super) fn option_name(seen: &Seen<'_>, at: usize) -> Option<String> {
    let names: Option<&Choice> = match seen.arg(1) as i32 {
        0 => Some(&socket::IP),
        SOL_SOCKET => Some(&socket::SO),
        6 => Some(&socket::TCP),
        41 => Some(&socket::IPV6),
        _ => None,
    };
    let value = i64::from(seen.arg(at) as i32);
    Some(names.map_or_else(|| value.to_string(), |names| names.text(value)))
}

fn option_value(seen: &Seen<'_>, addr: u64, len: u64) -> Option<String> {
    match (seen.arg(1) as i32, seen.arg(2) as i32, len) {
        (SOL_SOCKET, SO_LINGER, 8) => {
            let [on, seconds]: [i32; 2] = seen.get_at(addr)?;
            Some(format!("{{l_onoff={on}, l_linger={seconds}}}"))
        }
        (SOL_SOCKET, SO_RCVTIMEO | SO_SNDTIMEO, 16) => Some(seen.get_at::<Timeval>(addr)?.text()),
        (SOL_SOCKET, SO_PEERCRED, 12) => {
            let peer: Ucred = seen.get_at(addr)?;
            Some(format!(
                "{{pid={}, uid={}, gid={}}}",
                peer.pid, peer.uid, peer.gid
            ))
        }
        (_, _, 4) => seen.get_at::<i32>(addr).map(|value| format!("[{value}]")),
        _ => seen.bytes(addr, len),
    }
}

/// An option's value, by length.
pub(super) fn option_in(seen: &Seen<'_>, at: usize) -> Option<String> {
    option_value(seen, seen.arg(at), seen.arg(at + 1))
}

/// An option's value that was stored.
pub(super) fn option_out(seen: &Seen<'_>, at: usize) -> Option<String> {
    let len: i32 = seen.get(at + 1)?;
    option_value(seen, seen.arg(at), u64::try_from(len).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_by_family() {
        let v4 = [2, 0, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            address(&v4),
            "{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"127.0.0.1\")}"
        );
        assert_eq!(
            address(b"\x01\0/run/x\0yy"),
            "{sa_family=AF_UNIX, sun_path=\"/run/x\"}"
        );
        assert_eq!(
            address(b"\x01\0\0abc"),
            "{sa_family=AF_UNIX, sun_path=@\"abc\"}"
        );
        assert_eq!(address(b"\x01\0"), "{sa_family=AF_UNIX}");
        assert_eq!(address(b"\x01"), "\"\\1\"");
        assert_eq!(
            address(b"\x0a\0\0\x50"),
            "{sa_family=AF_INET6, sa_data=\"\\0P\"}"
        );
        assert_eq!(address(b"\x01\0\0"), "{sa_family=AF_UNIX, sun_path=@\"\"}");
    }
}
