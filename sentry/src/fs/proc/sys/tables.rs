//! `/proc/sys/{fs,net,user,vm}`.

use super::values::{Shape, fixed, value};
use crate::fs::static_tree::Node;

const MAX: i64 = i64::MAX;
const INT: i64 = i32::MAX as i64;

fn number(name: &'static str, default: &'static str, low: i64, high: i64) -> Node {
    value(name, default, Shape::Integers(1, low, high))
}

/// `fs`.
pub(super) fn fs() -> Node {
    Node::dir([
        ("aio-max-nr", fixed("65536")),
        ("aio-nr", fixed("0")),
        ("binfmt_misc", Node::dir([])),
        ("dentry-state", fixed("0\t0\t45\t0\t0\t0")),
        (
            "epoll",
            Node::dir([(
                "max_user_watches",
                number("fs.epoll.max_user_watches", "524288", 0, MAX),
            )]),
        ),
        (
            "file-max",
            number("fs.file-max", "9223372036854775807", 0, MAX),
        ),
        ("file-nr", fixed("0\t0\t9223372036854775807")),
        ("inode-nr", fixed("0\t0")),
        (
            "inotify",
            Node::dir([
                (
                    "max_queued_events",
                    number("fs.inotify.max_queued_events", "16384", 0, INT),
                ),
                (
                    "max_user_instances",
                    number("fs.inotify.max_user_instances", "128", 0, INT),
                ),
                (
                    "max_user_watches",
                    number("fs.inotify.max_user_watches", "524288", 0, INT),
                ),
            ]),
        ),
        ("dir-notify-enable", fixed("1")),
        ("lease-break-time", fixed("45")),
        ("leases-enable", fixed("1")),
        ("mount-max", fixed("100000")),
        (
            "mqueue",
            Node::dir([
                (
                    "msg_default",
                    number("fs.mqueue.msg_default", "10", 1, 65536),
                ),
                ("msg_max", number("fs.mqueue.msg_max", "10", 1, 65536)),
                (
                    "msgsize_default",
                    number("fs.mqueue.msgsize_default", "8192", 128, 16_777_216),
                ),
                (
                    "msgsize_max",
                    number("fs.mqueue.msgsize_max", "8192", 128, 16_777_216),
                ),
                ("queues_max", number("fs.mqueue.queues_max", "256", 0, INT)),
            ]),
        ),
        ("nr_open", fixed(crate::vfs::NR_OPEN.to_string())),
        ("overflowgid", fixed("65534")),
        ("overflowuid", fixed("65534")),
        ("pipe-max-size", fixed("1048576")),
        ("pipe-user-pages-hard", fixed("0")),
        ("pipe-user-pages-soft", fixed("16384")),
        ("protected_fifos", fixed("1")),
        ("protected_hardlinks", fixed("1")),
        ("protected_regular", fixed("2")),
        ("protected_symlinks", fixed("1")),
        ("suid_dumpable", fixed("0")),
    ])
}

/// `vm`.
pub(super) fn vm() -> Node {
    Node::dir([
        ("admin_reserve_kbytes", fixed("8192")),
        ("dirty_background_ratio", fixed("10")),
        ("dirty_ratio", fixed("20")),
        ("drop_caches", fixed("0")),
        ("hugetlb_shm_group", fixed("0")),
        ("max_map_count", fixed("65530")),
        ("min_free_kbytes", fixed("67584")),
        ("mmap_min_addr", fixed(platform::GUEST_BOTTOM.to_string())),
        ("mmap_rnd_bits", fixed("28")),
        ("nr_hugepages", fixed("0")),
        ("oom_kill_allocating_task", fixed("0")),
        ("overcommit_kbytes", fixed("0")),
        ("overcommit_memory", fixed("0")),
        ("overcommit_ratio", fixed("50")),
        ("page-cluster", fixed("3")),
        ("panic_on_oom", fixed("0")),
        ("swappiness", fixed("60")),
        ("unprivileged_userfaultfd", fixed("0")),
        ("user_reserve_kbytes", fixed("131072")),
        ("vfs_cache_pressure", fixed("100")),
        ("zone_reclaim_mode", fixed("0")),
    ])
}

/// `user`: how many namespaces each user may make.
pub(super) fn user() -> Node {
    Node::dir([
        ("max_cgroup_namespaces", fixed("0")),
        ("max_inotify_instances", fixed("128")),
        ("max_inotify_watches", fixed("524288")),
        ("max_ipc_namespaces", fixed("31000")),
        ("max_mnt_namespaces", fixed("31000")),
        ("max_net_namespaces", fixed("31000")),
        ("max_pid_namespaces", fixed("31000")),
        ("max_time_namespaces", fixed("0")),
        ("max_user_namespaces", fixed("0")),
        ("max_uts_namespaces", fixed("31000")),
    ])
}

/// `net`.
pub(super) fn net() -> Node {
    Node::dir([
        (
            "core",
            Node::dir([
                ("bpf_jit_enable", fixed("0")),
                ("default_qdisc", fixed("fq_codel")),
                (
                    "optmem_max",
                    number("net.core.optmem_max", "131072", 0, INT),
                ),
                (
                    "rmem_default",
                    number("net.core.rmem_default", "212992", 256, INT),
                ),
                ("rmem_max", number("net.core.rmem_max", "212992", 256, INT)),
                ("somaxconn", number("net.core.somaxconn", "4096", 0, INT)),
                (
                    "wmem_default",
                    number("net.core.wmem_default", "212992", 256, INT),
                ),
                ("wmem_max", number("net.core.wmem_max", "212992", 256, INT)),
            ]),
        ),
        ("ipv4", ipv4()),
        ("ipv6", ipv6()),
        (
            "unix",
            Node::dir([(
                "max_dgram_qlen",
                number("net.unix.max_dgram_qlen", "10", 0, INT),
            )]),
        ),
    ])
}

fn ipv4() -> Node {
    let flag = |name, default| number(name, default, 0, 2);
    Node::dir([
        (
            "conf",
            Node::dir(["all", "default", "lo"].map(|interface| {
                (
                    interface,
                    Node::dir([
                        ("accept_redirects", fixed("0")),
                        ("arp_ignore", fixed("0")),
                        ("forwarding", fixed("0")),
                        ("rp_filter", fixed("0")),
                        ("route_localnet", fixed("0")),
                    ]),
                )
            })),
        ),
        (
            "icmp_echo_ignore_all",
            flag("net.ipv4.icmp_echo_ignore_all", "0"),
        ),
        (
            "ip_default_ttl",
            number("net.ipv4.ip_default_ttl", "64", 1, 255),
        ),
        ("ip_forward", flag("net.ipv4.ip_forward", "0")),
        (
            "ip_local_port_range",
            value(
                "net.ipv4.ip_local_port_range",
                "32768\t60999",
                Shape::Range(1, 65535),
            ),
        ),
        (
            "ip_local_reserved_ports",
            value("net.ipv4.ip_local_reserved_ports", "", Shape::Line(4000)),
        ),
        ("ip_nonlocal_bind", flag("net.ipv4.ip_nonlocal_bind", "0")),
        (
            "ip_unprivileged_port_start",
            number("net.ipv4.ip_unprivileged_port_start", "1024", 0, 65535),
        ),
        (
            "ping_group_range",
            value(
                "net.ipv4.ping_group_range",
                "1\t0",
                Shape::Integers(2, 0, 4_294_967_295),
            ),
        ),
        ("tcp_allowed_congestion_control", fixed("reno cubic")),
        ("tcp_available_congestion_control", fixed("reno cubic")),
        ("tcp_congestion_control", fixed("cubic")),
        ("tcp_ecn", flag("net.ipv4.tcp_ecn", "2")),
        ("tcp_fastopen", number("net.ipv4.tcp_fastopen", "0", 0, INT)),
        (
            "tcp_fin_timeout",
            number("net.ipv4.tcp_fin_timeout", "60", 0, INT),
        ),
        (
            "tcp_keepalive_intvl",
            number("net.ipv4.tcp_keepalive_intvl", "75", 0, INT),
        ),
        (
            "tcp_keepalive_probes",
            number("net.ipv4.tcp_keepalive_probes", "9", 0, INT),
        ),
        (
            "tcp_keepalive_time",
            number("net.ipv4.tcp_keepalive_time", "7200", 0, INT),
        ),
        (
            "tcp_max_syn_backlog",
            number("net.ipv4.tcp_max_syn_backlog", "1024", 0, INT),
        ),
        (
            "tcp_max_tw_buckets",
            number("net.ipv4.tcp_max_tw_buckets", "65536", 0, INT),
        ),
        ("tcp_mem", fixed("94404\t125875\t188808")),
        (
            "tcp_moderate_rcvbuf",
            flag("net.ipv4.tcp_moderate_rcvbuf", "1"),
        ),
        (
            "tcp_retries2",
            number("net.ipv4.tcp_retries2", "15", 0, 255),
        ),
        (
            "tcp_rmem",
            value(
                "net.ipv4.tcp_rmem",
                "4096\t131072\t6291456",
                Shape::Integers(3, 1, INT),
            ),
        ),
        ("tcp_sack", flag("net.ipv4.tcp_sack", "1")),
        (
            "tcp_syn_retries",
            number("net.ipv4.tcp_syn_retries", "6", 1, 127),
        ),
        ("tcp_syncookies", flag("net.ipv4.tcp_syncookies", "1")),
        ("tcp_timestamps", flag("net.ipv4.tcp_timestamps", "1")),
        ("tcp_tw_reuse", flag("net.ipv4.tcp_tw_reuse", "2")),
        (
            "tcp_window_scaling",
            flag("net.ipv4.tcp_window_scaling", "1"),
        ),
        (
            "tcp_wmem",
            value(
                "net.ipv4.tcp_wmem",
                "4096\t16384\t4194304",
                Shape::Integers(3, 1, INT),
            ),
        ),
        ("udp_mem", fixed("188811\t251750\t377622")),
        ("udp_rmem_min", fixed("4096")),
        ("udp_wmem_min", fixed("4096")),
    ])
}

fn ipv6() -> Node {
    Node::dir([
        ("bindv6only", number("net.ipv6.bindv6only", "0", 0, 1)),
        (
            "conf",
            Node::dir([
                (
                    "all",
                    Node::dir([
                        (
                            "disable_ipv6",
                            number("net.ipv6.conf.all.disable_ipv6", "0", 0, 1),
                        ),
                        (
                            "forwarding",
                            number("net.ipv6.conf.all.forwarding", "0", 0, 1),
                        ),
                    ]),
                ),
                (
                    "default",
                    Node::dir([(
                        "disable_ipv6",
                        number("net.ipv6.conf.default.disable_ipv6", "0", 0, 1),
                    )]),
                ),
                (
                    "lo",
                    Node::dir([(
                        "disable_ipv6",
                        number("net.ipv6.conf.lo.disable_ipv6", "0", 0, 1),
                    )]),
                ),
            ]),
        ),
    ])
}
