//! `/proc/<pid>/net`: the tables of a network namespace. The network's modules add their rows through [`NetTables`].

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::subject::Subject;
use crate::error::Result;
use crate::fs::static_tree::{Node, Reader};

/// Gives the whole text of one table.
pub type TableText = Arc<dyn Fn() -> String + Send + Sync>;

/// Texts of `/proc/net` files by name, in a network namespace's `objects`; a file without an entry shows its header only.
#[derive(Default)]
pub struct NetTables(RwLock<BTreeMap<&'static str, TableText>>);

impl NetTables {
    /// Sets the text of a file (`tcp`, `route` …), header included.
    pub fn set(&self, name: &'static str, text: TableText) {
        self.0.write().insert(name, text);
    }
    fn get(&self, name: &str) -> Option<TableText> {
        self.0.read().get(name).cloned()
    }
}

const TCP_HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n";
const TCP6_HEADER: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const UDP_HEADER: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            \n";
const PING_HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops             \n";
const RAW_HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
const UDP6_HEADER: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
const DEV_HEADER: &str = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n";
const ROUTE_HEADER: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                                                       \n";
const SOCKSTAT: &str = "sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n";
const SNMP: &str = "Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates\nIp: 2 64 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\nTcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\nTcp: 1 200 120000 -1 0 0 0 0 0 0 0 0 0 0 0\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\nUdp: 0 0 0 0 0 0 0 0 0\n";

/// Names with what they show as long as nobody has set a table.
const FILES: [(&str, &str); 25] = [
    (
        "arp",
        "IP address       HW type     Flags       HW address            Mask     Device\n",
    ),
    ("dev", DEV_HEADER),
    ("dev_mcast", ""),
    ("icmp", PING_HEADER),
    ("icmp6", UDP6_HEADER),
    ("if_inet6", ""),
    (
        "igmp",
        "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n",
    ),
    ("ipv6_route", ""),
    (
        "netlink",
        "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n",
    ),
    ("netstat", ""),
    (
        "packet",
        "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n",
    ),
    (
        "protocols",
        "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em\n",
    ),
    ("psched", "000003e8 00000040 000f4240 3b9aca00\n"),
    ("ptype", "Type Device      Function\n"),
    ("raw", RAW_HEADER),
    ("raw6", UDP6_HEADER),
    ("route", ROUTE_HEADER),
    ("snmp", SNMP),
    ("sockstat", SOCKSTAT),
    (
        "sockstat6",
        "TCP6: inuse 0\nUDP6: inuse 0\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n",
    ),
    ("tcp", TCP_HEADER),
    ("tcp6", TCP6_HEADER),
    ("udp", UDP_HEADER),
    ("udp6", UDP6_HEADER),
    (
        "unix",
        "Num       RefCount Protocol Flags    Type St Inode Path\n",
    ),
];

/// The header of a file, which it shows without rows.
#[must_use]
pub fn headers(name: &str) -> &'static str {
    FILES
        .iter()
        .find(|(file, _)| *file == name)
        .map_or("", |(_, header)| header)
}

/// The directory.
pub(super) fn node(subject: &Subject) -> Node {
    Node::dir(FILES.map(|(name, default)| {
        let subject = subject.clone();
        let file = Node::text(move |_: &Reader<'_>| -> Result<String> {
            let net = subject.task()?.namespaces().net.clone();
            crate::socket::inet::show_tables(&net);
            let tables = net.objects.get::<NetTables>();
            Ok(tables
                .get(name)
                .map_or_else(|| default.to_owned(), |text| text()))
        });
        (name, file)
    }))
}
