//! `/proc/net/{tcp,udp,raw,icmp,dev,route,arp,if_inet6,igmp,snmp,netstat,sockstat}` and their IPv6 kin: rows of what the namespace has.
//!
//! Sockets enter themselves ([`Registry`]) when they get their file. Lock order: a registry's lock is a leaf.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock, Weak};

use netstack::NeighbourState;
use parking_lot::Mutex;

use super::Endpoint;
use super::multicast::Groups;
use super::outside;
use super::raw::RawSocket;
use super::tcp::TcpSocket;
use super::udp::UdpSocket;
use crate::fs::proc::net::{NetTables, headers};
use crate::socket::interface;
use crate::task::namespaces::NetNamespace;

/// A row of `tcp` or `udp`.
pub(in crate::socket) struct Row {
    pub(in crate::socket) local: Endpoint,
    pub(in crate::socket) remote: Option<Endpoint>,
    pub(in crate::socket) state: u8,
    pub(in crate::socket) send_queue: usize,
    pub(in crate::socket) receive_queue: usize,
    /// Of a listener: how many may wait.
    pub(in crate::socket) backlog: Option<usize>,
    pub(in crate::socket) uid: u32,
    pub(in crate::socket) ino: u64,
    pub(in crate::socket) v6: bool,
    /// IPV6_V6ONLY.
    pub(in crate::socket) v6_only: bool,
    /// SO_COOKIE.
    pub(in crate::socket) cookie: u64,
    /// SO_BINDTODEVICE; 0: none.
    pub(in crate::socket) interface: u32,
    /// Packets lost for want of room.
    pub(in crate::socket) lost: u32,
}

/// A socket that has rows.
pub(super) trait Shown: Send + Sync {
    /// Its row; `None`: it has nothing to show.
    fn row(&self, uid: u32, ino: u64) -> Option<Row>;
    /// Rows of sockets that have no file yet.
    fn more_rows(&self, _uid: u32) -> Vec<Row> {
        Vec::new()
    }
}

/// The open sockets of one protocol by inode number, in a namespace's `objects`.
pub(super) struct Registry<T>(Mutex<HashMap<u64, (u32, Weak<T>)>>);

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Shown> Registry<T> {
    pub(super) fn add(&self, ino: u64, uid: u32, socket: &Arc<T>) {
        self.0.lock().insert(ino, (uid, Arc::downgrade(socket)));
    }
    pub(super) fn remove(&self, ino: u64) {
        self.0.lock().remove(&ino);
    }
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut all: Vec<(u64, u32, Arc<T>)> = self
            .0
            .lock()
            .iter()
            .filter_map(|(ino, (uid, socket))| Some((*ino, *uid, socket.upgrade()?)))
            .collect();
        all.sort_by_key(|(ino, ..)| *ino);
        all.iter()
            .flat_map(|(ino, uid, socket)| {
                let mut rows = socket.more_rows(*uid);
                rows.extend(socket.row(*uid, *ino));
                rows
            })
            .collect()
    }

    /// Those that `wanted` says.
    fn filtered(&self, wanted: impl Fn(&T) -> bool) -> Self {
        let mut all = self.0.lock().clone();
        all.retain(|_, (_, socket)| socket.upgrade().is_some_and(|socket| wanted(&socket)));
        Self(Mutex::new(all))
    }

    /// How many there are.
    fn len(&self) -> usize {
        self.0.lock().len()
    }
}

#[derive(Default)]
struct Once(OnceLock<()>);

/// Makes the files of a namespace show what is there; done once.
pub(super) fn ensure(net: &Arc<NetNamespace>) {
    net.objects.get::<Once>().0.get_or_init(|| {
        let tables = net.objects.get::<NetTables>();
        let add = |name, text: fn(&NetNamespace) -> String| {
            let net = Arc::downgrade(net);
            tables.set(
                name,
                Arc::new(move || net.upgrade().map_or_else(String::new, |net| text(&net))),
            );
        };
        add("tcp", |net| tcp(net, false));
        add("tcp6", |net| tcp(net, true));
        add("unix", crate::socket::unix::text);
        add("udp", |net| udp(net, false));
        add("udp6", |net| udp(net, true));
        add("raw", |net| raw(net, false));
        add("raw6", |net| raw(net, true));
        add("icmp", |net| ping(net, false));
        add("icmp6", |net| ping(net, true));
        add("igmp", igmp);
        add("ipv6_route", ipv6_route);
        add("netstat", netstat);
        add("sockstat6", sockstat6);
        add("dev", dev);
        add("route", route);
        add("arp", arp);
        add("if_inet6", if_inet6);
        add("snmp", snmp);
        add("sockstat", sockstat);
    });
}

/// Words of an address as Linux prints them: each in the machine's order.
fn hex(ip: IpAddr, v6: bool) -> String {
    let words = |octets: &[u8]| {
        octets
            .as_chunks::<4>()
            .0
            .iter()
            .fold(String::new(), |mut text, word| {
                let _ = write!(text, "{:08X}", u32::from_ne_bytes(*word));
                text
            })
    };
    match (ip, v6) {
        (IpAddr::V4(ip), false) => words(&ip.octets()),
        (IpAddr::V4(ip), true) => words(&ip.to_ipv6_mapped().octets()),
        (IpAddr::V6(ip), _) => words(&ip.octets()),
    }
}

fn ends(row: &Row, v6: bool) -> String {
    let any = Endpoint::any(if v6 {
        super::Family::V6
    } else {
        super::Family::V4
    });
    let remote = row.remote.unwrap_or(any);
    format!(
        "{}:{:04X} {}:{:04X} {:02X} {:08X}:{:08X}",
        hex(row.local.ip, v6),
        row.local.port,
        hex(remote.ip, v6),
        remote.port,
        row.state,
        row.send_queue,
        row.receive_queue
    )
}

/// All rows of TCP, listeners first; also connections that no socket has.
pub(in crate::socket) fn tcp_rows(net: &NetNamespace) -> Vec<Row> {
    let mut rows = net.objects.get::<Registry<TcpSocket>>().rows();
    if let Some(stack) = outside::stack(net) {
        let nobodys = stack.connections().into_iter().filter(|row| row.orphan);
        rows.extend(nobodys.map(|row| Row {
            local: row.local.into(),
            remote: Some(row.remote.into()),
            state: row.state,
            send_queue: row.send_queue,
            receive_queue: row.receive_queue,
            backlog: None,
            uid: 0,
            ino: 0,
            v6: row.local.is_ipv6(),
            v6_only: false,
            cookie: 0,
            interface: 0,
            lost: 0,
        }));
    }
    rows.sort_by_key(|row| row.state != super::tcp::LISTEN);
    rows
}

/// All rows of UDP.
pub(in crate::socket) fn udp_rows(net: &NetNamespace) -> Vec<Row> {
    net.objects.get::<Registry<UdpSocket>>().rows()
}

/// All rows of raw sockets.
pub(in crate::socket) fn raw_rows_of(net: &NetNamespace) -> Vec<Row> {
    raw_rows(net, false)
}

/// All rows of raw sockets, or of ping sockets.
pub(super) fn raw_rows(net: &NetNamespace, ping: bool) -> Vec<Row> {
    let registry = net.objects.get::<Registry<RawSocket>>();
    let wanted = registry.filtered(|socket| socket.ping == ping);
    wanted.rows()
}

fn tcp(net: &NetNamespace, v6: bool) -> String {
    const WIDTH: usize = 149;
    let rows = tcp_rows(net);
    let mut text = headers(if v6 { "tcp6" } else { "tcp" }).to_owned();
    for (number, row) in rows.iter().filter(|row| row.v6 == v6).enumerate() {
        let line = format!(
            "{number:4}: {} 00:00000000 00000000 {:5}        0 {} 1 0000000000000000 100 0 0 10 0",
            ends(row, v6),
            row.uid,
            row.ino
        );
        let _ = if v6 {
            writeln!(text, "{line}")
        } else {
            writeln!(text, "{line:WIDTH$}")
        };
    }
    text
}

fn datagrams(header: &str, rows: &[Row], v6: bool, width: usize) -> String {
    let mut text = header.to_owned();
    for (number, row) in rows.iter().filter(|row| row.v6 == v6).enumerate() {
        let line = format!(
            "{number:5}: {} 00:00000000 00000000 {:5}        0 {} 2 0000000000000000 {}",
            ends(row, v6),
            row.uid,
            row.ino,
            row.lost
        );
        let _ = if v6 {
            writeln!(text, "{line}")
        } else {
            writeln!(text, "{line:width$}")
        };
    }
    text
}

fn udp(net: &NetNamespace, v6: bool) -> String {
    const WIDTH: usize = 127;
    let name = if v6 { "udp6" } else { "udp" };
    datagrams(headers(name), &udp_rows(net), v6, WIDTH)
}

fn raw(net: &NetNamespace, v6: bool) -> String {
    let name = if v6 { "raw6" } else { "raw" };
    datagrams(headers(name), &raw_rows(net, false), v6, 0)
}

fn ping(net: &NetNamespace, v6: bool) -> String {
    const WIDTH: usize = 127;
    let name = if v6 { "icmp6" } else { "icmp" };
    datagrams(headers(name), &raw_rows(net, true), v6, WIDTH)
}

/// Groups of IPv4, by interface. Everybody is in the one of all hosts.
fn igmp(net: &NetNamespace) -> String {
    let mut text = headers("igmp").to_owned();
    let all = net.objects.get::<Groups>().list();
    for link in interface::links(net) {
        let index = link.index as u32;
        let here: Vec<_> = all
            .iter()
            .filter(|(group, at, _)| group.is_ipv4() && *at == index)
            .collect();
        let count = here.len() + 1;
        let _ = writeln!(text, "{index}\t{:<10}: {count:5}      V3", link.name);
        for (group, _, users) in here {
            let group = hex(*group, false);
            let _ = writeln!(text, "\t\t\t\t{group} {users:5} 0:00000000\t\t0");
        }
        let _ = writeln!(text, "\t\t\t\t010000E0     1 0:00000000\t\t0");
    }
    text
}

fn ipv6_route(net: &NetNamespace) -> String {
    const UP: u32 = 1;
    const GATEWAY: u32 = 2;
    let octets = |ip: IpAddr| match ip {
        IpAddr::V6(ip) => ip
            .octets()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>(),
        IpAddr::V4(_) => String::new(),
    };
    let any = IpAddr::from([0_u16; 8]);
    let mut text = String::new();
    if let Some(stack) = outside::stack(net) {
        let routes = stack.setup().routes.iter();
        for route in routes.filter(|route| route.destination.is_ipv6()) {
            let flags = UP | route.gateway.map_or(0, |_| GATEWAY);
            let _ = writeln!(
                text,
                "{} {:02x} {} 00 {} {:08x} 00000001 00000000 {flags:08x} {:>8}",
                octets(route.destination),
                route.prefix,
                octets(any),
                octets(route.gateway.unwrap_or(any)),
                route.metric,
                interface_name(net, route.interface)
            );
        }
    }
    text
}

/// The few of Linux's extended counters that have something to count here.
fn netstat(net: &NetNamespace) -> String {
    let counters = outside::stack(net).map(|stack| stack.counters());
    let (overflows, octets_in, octets_out) = counters.map_or((0, 0, 0), |(all, links)| {
        (
            all.tcp_listen_overflows,
            links.iter().map(|link| link.rx_bytes).sum::<u64>(),
            links.iter().map(|link| link.tx_bytes).sum::<u64>(),
        )
    });
    format!(
        "TcpExt: ListenOverflows ListenDrops\nTcpExt: {overflows} {overflows}\nIpExt: InOctets OutOctets\nIpExt: {octets_in} {octets_out}\n"
    )
}

fn dev(net: &NetNamespace) -> String {
    let mut text = String::from(
        "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n",
    );
    for link in interface::links(net) {
        let c = link.counters;
        let _ = writeln!(
            text,
            "{:>6}: {:7} {:7} {:4} {:4} {:4} {:5} {:10} {:9} {:8} {:7} {:4} {:4} {:4} {:5} {:7} {:10}",
            link.name,
            c.rx_bytes,
            c.rx_packets,
            0,
            c.rx_dropped,
            0,
            0,
            0,
            c.multicast,
            c.tx_bytes,
            c.tx_packets,
            0,
            c.tx_dropped,
            0,
            0,
            0,
            0
        );
    }
    text
}

fn interface_name(net: &NetNamespace, index: u32) -> String {
    interface::links(net)
        .into_iter()
        .find(|link| link.index as u32 == index)
        .map_or_else(|| "*".to_owned(), |link| link.name)
}

fn route(net: &NetNamespace) -> String {
    const WIDTH: usize = 127;
    const UP: u32 = 1;
    const GATEWAY: u32 = 2;
    const HOST: u32 = 4;
    let mut text = headers("route").to_owned();
    let Some(stack) = outside::stack(net) else {
        return text;
    };
    for route in &stack.setup().routes {
        let IpAddr::V4(to) = route.destination else {
            continue;
        };
        let gateway = route.gateway.unwrap_or(IpAddr::from([0; 4]));
        let mask = u32::MAX
            .checked_shl(32 - u32::from(route.prefix.min(32)))
            .unwrap_or(0);
        let mut flags = UP;
        if route.gateway.is_some() {
            flags |= GATEWAY;
        }
        if route.prefix == 32 {
            flags |= HOST;
        }
        let line = format!(
            "{}\t{}\t{}\t{flags:04X}\t0\t0\t{}\t{:08X}\t0\t0\t0",
            interface_name(net, route.interface),
            hex(IpAddr::V4(to), false),
            hex(gateway, false),
            route.metric,
            mask.to_be()
        );
        let _ = writeln!(text, "{line:WIDTH$}");
    }
    text
}

fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn arp(net: &NetNamespace) -> String {
    let mut text = headers("arp").to_owned();
    let Some(stack) = outside::stack(net) else {
        return text;
    };
    for entry in stack.neighbours().iter().filter(|entry| entry.ip.is_ipv4()) {
        let index = stack
            .setup()
            .interfaces
            .get(entry.link)
            .map_or(0, |i| i.index);
        let flags = match entry.state {
            NeighbourState::Permanent => 6,
            NeighbourState::Incomplete | NeighbourState::Failed => 0,
            _ => 2,
        };
        let _ = writeln!(
            text,
            "{:<16} 0x1         0x{flags:x}         {}     *        {}",
            entry.ip,
            mac(entry.mac.unwrap_or_default()),
            interface_name(net, index)
        );
    }
    text
}

fn if_inet6(net: &NetNamespace) -> String {
    let line = |octets: [u8; 16], index, prefix: u8, scope: u8, flags: u32, name: &str| {
        let address: String = octets.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{address} {index:02x} {prefix:02x} {scope:02x} {flags:02x} {name:>8}\n")
    };
    let mut text = line(
        std::net::Ipv6Addr::LOCALHOST.octets(),
        1,
        128,
        0x10,
        0x80,
        "lo",
    );
    let Some(stack) = outside::stack(net) else {
        return text;
    };
    for interface in &stack.setup().interfaces {
        for address in &interface.addresses {
            if let IpAddr::V6(ip) = address.ip {
                // RT_SCOPE_LINK is IPV6_ADDR_LINKLOCAL here.
                let scope = if address.scope == 253 { 0x20 } else { 0 };
                text += &line(
                    ip.octets(),
                    interface.index,
                    address.prefix,
                    scope,
                    address.flags & 0xff,
                    &interface.name,
                );
            }
        }
    }
    text
}

fn snmp(net: &NetNamespace) -> String {
    let c = outside::stack(net).map_or_else(Default::default, |stack| stack.counters().0);
    let established = tcp_rows(net)
        .iter()
        .filter(|row| matches!(row.state, 1 | 8))
        .count();
    let mut text = String::new();
    let mut section = |name: &str, fields: &str, values: &[u64]| {
        let values: Vec<String> = values.iter().map(u64::to_string).collect();
        let _ = writeln!(text, "{name}: {fields}\n{name}: {}", values.join(" "));
    };
    section(
        "Ip",
        "Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates OutTransmits",
        &[
            2,
            64,
            c.ip_in_receives,
            c.ip_in_header_errors,
            c.ip_in_address_errors,
            0,
            0,
            c.ip_in_discards,
            c.ip_in_delivers,
            c.ip_out_requests,
            c.ip_out_discards,
            c.ip_out_no_routes,
            0,
            c.ip_reassembly_required,
            c.ip_reassembled,
            c.ip_reassembly_failed,
            c.ip_fragmented,
            0,
            c.ip_fragments_created,
            c.ip_out_requests,
        ],
    );
    section(
        "Icmp",
        "InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost OutDestUnreachs OutTimeExcds OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps OutTimestampReps OutAddrMasks OutAddrMaskReps",
        &{
            let mut values = [0; 29];
            (values[0], values[1], values[8], values[14]) =
                (c.icmp_in, c.icmp_in_errors, c.icmp_in_echos, c.icmp_out);
            values
        },
    );
    text += "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\n";
    // The maximum number of connections is not fixed: -1.
    let _ = writeln!(
        text,
        "Tcp: 1 200 120000 -1 {} {} {} {} {established} {} {} 0 {} {} 0",
        c.tcp_active_opens,
        c.tcp_passive_opens,
        c.tcp_attempt_fails,
        c.tcp_established_resets,
        c.tcp_in_segments,
        c.tcp_out_segments,
        c.tcp_in_errors,
        c.tcp_out_resets
    );
    let mut section = |name: &str, fields: &str, values: &[u64]| {
        let values: Vec<String> = values.iter().map(u64::to_string).collect();
        let _ = writeln!(text, "{name}: {fields}\n{name}: {}", values.join(" "));
    };
    section(
        "Udp",
        "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors",
        &[
            c.udp_in_datagrams,
            c.udp_no_ports,
            c.udp_in_errors,
            c.udp_out_datagrams,
            0,
            0,
            0,
            0,
            0,
        ],
    );
    section(
        "UdpLite",
        "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors",
        &[0; 9],
    );
    text
}

fn sockstat(net: &NetNamespace) -> String {
    const TIME_WAIT: u8 = 6;
    let tcp = tcp_rows(net);
    let orphans = tcp.iter().filter(|row| row.ino == 0 && row.cookie == 0);
    let orphans = orphans.filter(|row| row.state != TIME_WAIT).count();
    let (_, over, bytes) = outside::stack(net).map_or((0, 0, 0), |stack| stack.totals());
    let v4 = |rows: &[Row]| rows.iter().filter(|row| !row.v6).count();
    // Those with a file, bound or not, and those without.
    let nobodys = tcp
        .iter()
        .filter(|row| row.ino == 0 && row.state != TIME_WAIT);
    let files = net.objects.get::<Registry<TcpSocket>>().len();
    let (udp, raw) = (udp_rows(net), raw_rows(net, false));
    let unix = crate::socket::unix::rows(net).len();
    format!(
        "sockets: used {}\nTCP: inuse {} orphan {orphans} tw {over} alloc {} mem {}\nUDP: inuse {} mem {}\nUDPLITE: inuse 0\nRAW: inuse {}\nFRAG: inuse 0 memory 0\n",
        files + udp.len() + raw.len() + unix,
        v4(&tcp),
        files + nobodys.count(),
        bytes.div_ceil(4096),
        v4(&udp),
        udp.iter()
            .map(|row| row.receive_queue)
            .sum::<usize>()
            .div_ceil(4096),
        v4(&raw),
    )
}

fn sockstat6(net: &NetNamespace) -> String {
    let v6 = |rows: &[Row]| rows.iter().filter(|row| row.v6).count();
    format!(
        "TCP6: inuse {}\nUDP6: inuse {}\nUDPLITE6: inuse 0\nRAW6: inuse {}\nFRAG6: inuse 0 memory 0\n",
        v6(&tcp_rows(net)),
        v6(&udp_rows(net)),
        v6(&raw_rows(net, false)),
    )
}
