//! Keeps the host's own stack in a taken-over namespace from answering for the guest, and gives it back.
//!
//! The host's stack keeps the addresses (an engine's resolver dials out from there), so it sees every packet that is the guest's, too. A table of nft
//! drops its input but for loopback (where only 127.0.0.1 is the sandbox's), neighbour discovery, ICMP errors, and the ports that it uses for connections of its own: those are moved to a range
//! ([`PORTS`]) that the sandbox's stack leaves alone. No connection tracking is needed for that.

use std::fs;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::netlink::{APPEND, Attributes, CREATE, Message, Netlink};

/// Ports that the host's stack opens connections from (`ip_local_port_range`) while the sandbox has the rest.
pub const PORTS: (u16, u16) = (61_000, 65_535);
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Name of the table.
const TABLE: &[u8] = b"runsc\0";
const CHAIN: &[u8] = b"input\0";

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NFTABLES: u16 = 10 << 8;
const NEW_TABLE: u16 = NFTABLES;
const DELETE_TABLE: u16 = NFTABLES | 2;
const NEW_CHAIN: u16 = NFTABLES | 3;
const NEW_RULE: u16 = NFTABLES | 6;
/// NFPROTO_INET and NFPROTO_IPV4.
const INET: u8 = 1;
const IP: u8 = 2;
const ACCEPT: u32 = 1;
const DROP: u32 = 0;

/// `struct nfgenmsg`.
const fn head(family: u8, resource: u16) -> [u8; 4] {
    let [a, b] = resource.to_be_bytes();
    [family, 0, a, b]
}

fn expression(name: &[u8], data: &Attributes) -> Attributes {
    Attributes::default().with(1, name).nest(2, data)
}

/// Loads a packet's property (`NFT_META_*`) into register 1.
fn meta(key: u32) -> Attributes {
    let data = Attributes::default()
        .with(2, &key.to_be_bytes())
        .with(1, &1_u32.to_be_bytes());
    expression(b"meta\0", &data)
}

/// Loads bytes of the transport header into register 1.
fn transport(offset: u32, len: u32) -> Attributes {
    let data = Attributes::default()
        .with(1, &1_u32.to_be_bytes())
        // NFT_PAYLOAD_TRANSPORT_HEADER.
        .with(2, &2_u32.to_be_bytes())
        .with(3, &offset.to_be_bytes())
        .with(4, &len.to_be_bytes());
    expression(b"payload\0", &data)
}

/// Loads bytes of the network header into register 1.
fn network(offset: u32, len: u32) -> Attributes {
    let data = Attributes::default()
        .with(1, &1_u32.to_be_bytes())
        // NFT_PAYLOAD_NETWORK_HEADER.
        .with(2, &1_u32.to_be_bytes())
        .with(3, &offset.to_be_bytes())
        .with(4, &len.to_be_bytes());
    expression(b"payload\0", &data)
}

/// Goes on only if register 1 compares so: 0 is equal, 3 at most, 5 at least.
fn compare(operation: u32, value: &[u8]) -> Attributes {
    let value = Attributes::default().with(1, value);
    let data = Attributes::default()
        .with(1, &1_u32.to_be_bytes())
        .with(2, &operation.to_be_bytes())
        .nest(3, &value);
    expression(b"cmp\0", &data)
}

fn verdict(code: u32) -> Attributes {
    let verdict = Attributes::default().with(1, &code.to_be_bytes());
    let data = Attributes::default()
        // NFT_REG_VERDICT.
        .with(1, &0_u32.to_be_bytes())
        .nest(2, &Attributes::default().nest(2, &verdict));
    expression(b"immediate\0", &data)
}

fn accept() -> Attributes {
    verdict(ACCEPT)
}

fn rule(expressions: &[Attributes]) -> Message {
    let list = expressions
        .iter()
        .fold(Attributes::default(), |list, one| list.nest(1, one));
    Message::new(NEW_RULE, CREATE & !0x200 | APPEND, &head(INET, 0))
        .with(1, TABLE)
        .with(2, CHAIN)
        .nest(4, &list)
}

fn batch(inner: Vec<Message>) -> Vec<Message> {
    let frame = |kind| Message::new(kind, 0, &head(0, 10));
    let mut all = vec![frame(BATCH_BEGIN)];
    all.extend(inner);
    all.push(frame(BATCH_END));
    all
}

/// The table that shuts the host's stack up.
fn table() -> Vec<Message> {
    const META_IIF: u32 = 4;
    const META_NFPROTO: u32 = 15;
    const META_L4PROTO: u32 = 16;
    const LOOPBACK: u32 = 1;
    const EQUAL: u32 = 0;
    const AT_MOST: u32 = 3;
    const AT_LEAST: u32 = 5;
    let hook = Attributes::default()
        // NF_INET_LOCAL_IN, before the filters of others.
        .with(1, &1_u32.to_be_bytes())
        .with(2, &(-400_i32).to_be_bytes());
    let mut all = vec![
        Message::new(NEW_TABLE, CREATE, &head(INET, 0)).with(1, TABLE),
        Message::new(NEW_CHAIN, CREATE & !0x200, &head(INET, 0))
            .with(1, TABLE)
            .with(3, CHAIN)
            .nest(4, &hook)
            .with(5, &DROP.to_be_bytes())
            .with(7, b"filter\0"),
    ];
    // What goes to 127.0.0.1 is the sandbox's as well, but for the ports that are the host's.
    for protocol in [6_u8, 17] {
        all.push(rule(&[
            meta(META_IIF),
            compare(EQUAL, &LOOPBACK.to_ne_bytes()),
            meta(META_NFPROTO),
            compare(EQUAL, &[IP]),
            network(16, 4),
            compare(EQUAL, &[127, 0, 0, 1]),
            meta(META_L4PROTO),
            compare(EQUAL, &[protocol]),
            transport(2, 2),
            compare(AT_MOST, &(PORTS.0 - 1).to_be_bytes()),
            verdict(DROP),
        ]));
    }
    all.extend([rule(&[
        meta(META_IIF),
        compare(EQUAL, &LOOPBACK.to_ne_bytes()),
        accept(),
    ])]);
    // Errors, and neighbour discovery.
    for (protocol, from, to) in [(1_u8, 3_u8, 3_u8), (1, 11, 12), (58, 1, 4), (58, 130, 137)] {
        all.push(rule(&[
            meta(META_L4PROTO),
            compare(EQUAL, &[protocol]),
            transport(0, 1),
            compare(AT_LEAST, &[from]),
            compare(AT_MOST, &[to]),
            accept(),
        ]));
    }
    for protocol in [6_u8, 17] {
        all.push(rule(&[
            meta(META_L4PROTO),
            compare(EQUAL, &[protocol]),
            transport(2, 2),
            compare(AT_LEAST, &PORTS.0.to_be_bytes()),
            accept(),
        ]));
    }
    all
}

/// Silences the host's stack in the calling thread's namespace. Gives what [`give_back`] needs.
pub fn silence() -> Result<String> {
    let before = fs::read_to_string(PORT_RANGE).context("cannot read the host's port range")?;
    let mut netlink = Netlink::new(SockProtocol::NetlinkNetFilter).context("netlink")?;
    match netlink.batch(batch(table()), true) {
        Err(error) if error.downcast_ref() == Some(&Errno::EEXIST) => bail!(
            "another sandbox has taken over this network namespace (it has an nft table inet runsc): a namespace can be one sandbox's only"
        ),
        other => other.context(
            "cannot keep the host's own network stack from answering for the container (nftables); use --network=none if it needs no network",
        )?,
    }
    if let Err(error) = fs::write(PORT_RANGE, format!("{} {}", PORTS.0, PORTS.1)) {
        remove_table()?;
        return Err(error)
            .context("cannot move the host's port range in the container's network namespace");
    }
    Ok(before.trim().to_owned())
}

fn remove_table() -> Result<()> {
    remove_table_of(INET, TABLE)
}

/// Removes the table that [`nat`] made; none is no error.
pub fn remove_table_named(name: &str) -> Result<()> {
    remove_table_of(IP, format!("{name}\0").as_bytes())
}

/// Translates the addresses from `first` to `last` to this machine's, in a table of its own.
pub fn nat(name: &str, first: u32, last: u32) -> Result<()> {
    const AT_MOST: u32 = 3;
    const AT_LEAST: u32 = 5;
    const CHAIN: &[u8] = b"out\0";
    let table = format!("{name}\0");
    let hook = Attributes::default()
        // NF_INET_POST_ROUTING, where sources are translated.
        .with(1, &4_u32.to_be_bytes())
        .with(2, &100_i32.to_be_bytes());
    let source = Attributes::default()
        .with(1, &1_u32.to_be_bytes())
        // NFT_PAYLOAD_NETWORK_HEADER: the source address.
        .with(2, &1_u32.to_be_bytes())
        .with(3, &12_u32.to_be_bytes())
        .with(4, &4_u32.to_be_bytes());
    let list = [
        expression(b"payload\0", &source),
        compare(AT_LEAST, &first.to_be_bytes()),
        compare(AT_MOST, &last.to_be_bytes()),
        expression(b"masq\0", &Attributes::default()),
    ]
    .iter()
    .fold(Attributes::default(), |list, one| list.nest(1, one));
    let all = vec![
        Message::new(NEW_TABLE, CREATE & !0x200, &head(IP, 0)).with(1, table.as_bytes()),
        Message::new(NEW_CHAIN, CREATE & !0x200, &head(IP, 0))
            .with(1, table.as_bytes())
            .with(3, CHAIN)
            .nest(4, &hook)
            .with(5, &ACCEPT.to_be_bytes())
            .with(7, b"nat\0"),
        Message::new(NEW_RULE, CREATE & !0x200 | APPEND, &head(IP, 0))
            .with(1, table.as_bytes())
            .with(2, CHAIN)
            .nest(4, &list),
    ];
    let mut netlink = Netlink::new(SockProtocol::NetlinkNetFilter).context("netlink")?;
    netlink.batch(batch(all), true)
}

fn remove_table_of(family: u8, table: &[u8]) -> Result<()> {
    let mut netlink = Netlink::new(SockProtocol::NetlinkNetFilter).context("netlink")?;
    let remove = Message::new(DELETE_TABLE, 0, &head(family, 0)).with(1, table);
    match netlink.batch(batch(vec![remove]), true) {
        Err(error) if error.downcast_ref() == Some(&Errno::ENOENT) => Ok(()),
        other => other.context("cannot remove the sandbox's nft table"),
    }
}

/// Undoes [`silence`] in the calling thread's namespace.
pub fn give_back(ports: &str) -> Result<()> {
    remove_table()?;
    fs::write(PORT_RANGE, ports).context("cannot restore the host's port range")
}
