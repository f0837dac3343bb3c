//! Interfaces as `ioctl(2)`, netlink and `/proc/net` show loopback.

use crate::prelude::*;

cases![interface_requests, interface_errors, configuration, proc_tcp, proc_udp, proc_files, proc_if_inet6, class_net, sysctls, sysctls_written, link_dump, sock_diag_tcp];

fn request(fd: i32, number: u64, name: &[u8]) -> (Ret, [u8; 40]) {
    let mut ifreq = [0u8; 40];
    ifreq[..name.len()].copy_from_slice(name);
    (sys!(SYS_ioctl, fd, number, &mut ifreq[..]), ifreq)
}

fn interface_requests() {
    let fd = udp();
    for (label, number) in [("flags", 0x8913), ("addr", 0x8915), ("dstaddr", 0x8917), ("brdaddr", 0x8919), ("netmask", 0x891b), ("metric", 0x891d), ("mtu", 0x8921), ("hwaddr", 0x8927), ("index", 0x8933), ("txqlen", 0x8942), ("map", 0x8970)] {
        let (ret, ifreq) = request(fd, number, b"lo");
        say!("{label} {ret} {:?}", &ifreq[16..32]);
    }
    let mut ifreq = [0u8; 40];
    ifreq[16] = 1;
    say!("{} {}", sys!(SYS_ioctl, fd, 0x8910, &mut ifreq[..]), ifreq[..4].escape_ascii());
    say!("{}", ifreq[..4].escape_ascii());
}

fn interface_errors() {
    let fd = udp();
    say!("{}", request(fd, 0x8913, b"nosuch0").0);
    let mut ifreq = [0u8; 40];
    ifreq[16] = 99;
    say!("{}", sys!(SYS_ioctl, fd, 0x8910, &mut ifreq[..]));
    say!("{}", sys!(SYS_ioctl, fd, 0x8913, 8usize));
    say!("on tcp {}", request(tcp(), 0x8913, b"lo").0);
    let (a, _b) = socketpair(SOCK_STREAM);
    say!("on unix {}", request(a, 0x8913, b"lo").0);
    let (r, _w) = pipe();
    say!("on a pipe {}", request(r, 0x8913, b"lo").0);
    say!("arp {}", sys!(SYS_ioctl, fd, 0x8954, &mut [0u8; 68][..]));
    say!("wireless {}", request(fd, 0x8b01, b"lo").0);
    let child = fork(|| {
        sys!(SYS_setresuid, 1000, 1000, 1000).must();
        say!("set as user {}", request(udp(), 0x8914, b"lo").0);
        0
    });
    say!("{}", child.wait());
}

fn configuration() {
    let fd = udp();
    let mut conf = [0u64, 0];
    say!("{}", sys!(SYS_ioctl, fd, 0x8912, &mut conf));
    say!("needs {}", conf[0] as u32);
    let mut list = [0u8; 400];
    conf = [400, list.as_mut_ptr() as u64];
    say!("{}", sys!(SYS_ioctl, fd, 0x8912, &mut conf));
    say!("{} {} {:?}", conf[0] as u32, list[..2].escape_ascii(), &list[16..24]);
}

fn content(path: &std::ffi::CStr) -> String {
    let fd = open(path, O_RDONLY).fd();
    let mut all = Vec::new();
    while let Ok(bytes) = read(fd, 65536).0 {
        if bytes.is_empty() {
            break;
        }
        all.extend(bytes);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// The lines that name `port`, without inode numbers and kernel addresses.
fn rows(path: &std::ffi::CStr, port: u16) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    content(path)
        .lines()
        .filter(|line| line.contains(&wanted))
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            words[..7].join(" ").replace(&wanted, ":PORT").replace(|_: char| false, "")
        })
        .collect()
}

fn proc_tcp() {
    say!("{}", content(c"/proc/net/tcp").lines().next().unwrap_or_default());
    say!("{}", content(c"/proc/net/tcp6").lines().next().unwrap_or_default());
    let fd = tcp();
    bind(fd, &local(777)).must();
    listen(fd, 5).must();
    say!("{:?}", rows(c"/proc/net/tcp", 777));
    let client = tcp();
    bind(client, &local(778)).must();
    connect(client, &local(777)).must();
    let mut seen = rows(c"/proc/net/tcp", 777);
    seen.sort();
    say!("{seen:?}");
    let server = accept(fd, 0).fd();
    write(client, b"12345");
    wait_for(server, POLLIN);
    let mut seen = rows(c"/proc/net/tcp", 778);
    seen.sort();
    say!("{seen:?}");
    let six = socket(AF_INET6, SOCK_STREAM);
    bind(six, &v6("::1", 779)).must();
    listen(six, 1).must();
    say!("{:?}", rows(c"/proc/net/tcp6", 779));
}

fn proc_udp() {
    say!("{}", content(c"/proc/net/udp").lines().next().unwrap_or_default());
    let fd = udp();
    bind(fd, &local(777)).must();
    say!("{:?}", rows(c"/proc/net/udp", 777));
    connect(fd, &local(9)).must();
    say!("{:?}", rows(c"/proc/net/udp", 777));
}

fn proc_files() {
    for path in [c"/proc/net/raw", c"/proc/net/raw6", c"/proc/net/unix", c"/proc/net/arp", c"/proc/net/route", c"/proc/net/dev", c"/proc/net/igmp", c"/proc/net/icmp", c"/proc/net/packet", c"/proc/net/netlink", c"/proc/net/udp6", c"/proc/net/dev_mcast", c"/proc/net/ptype"] {
        let first = open(path, O_RDONLY);
        let Ok(_) = first.get() else {
            say!("{path:?} {first}");
            continue;
        };
        close(first.fd());
        say!("{path:?} {:?}", content(path).lines().next().unwrap_or_default());
    }
    say!("{}", content(c"/proc/net/route").lines().count());
    for path in [c"/proc/net/snmp", c"/proc/net/sockstat", c"/proc/net/sockstat6"] {
        let words: Vec<String> = content(path).lines().map(|line| line.split_whitespace().filter(|w| w.parse::<i64>().is_err()).collect::<Vec<_>>().join(" ")).collect();
        say!("{path:?} {}", words.iter().filter(|line| !line.is_empty()).map(|line| line.split(' ').next().unwrap_or_default()).collect::<Vec<_>>().join(" "));
    }
    say!("{}", content(c"/proc/net/snmp").lines().next().unwrap_or_default());
}

fn proc_if_inet6() {
    say!("{}", content(c"/proc/net/if_inet6"));
}

fn class_net() {
    for name in [c"address", c"mtu", c"type", c"flags", c"ifindex", c"iflink", c"tx_queue_len", c"operstate", c"addr_len", c"addr_assign_type", c"broadcast", c"carrier", c"dev_id", c"dormant", c"group", c"link_mode", c"netdev_group", c"speed", c"duplex"] {
        let path = std::ffi::CString::new(format!("/sys/class/net/lo/{}", name.to_string_lossy())).unwrap();
        let fd = open(&path, O_RDONLY);
        match fd.get() {
            Ok(fd) => say!("{name:?} {}", read(fd as i32, 100)),
            Err(errno) => say!("{name:?} {errno:?}"),
        }
    }
    for name in ["rx_bytes", "tx_packets", "rx_dropped", "collisions"] {
        let path = std::ffi::CString::new(format!("/sys/class/net/lo/statistics/{name}")).unwrap();
        say!("{name} {}", open(&path, O_RDONLY).ok());
    }
}

fn sysctls() {
    for name in ["core/somaxconn", "core/rmem_max", "core/wmem_max", "core/rmem_default", "core/wmem_default", "core/optmem_max", "ipv4/ip_default_ttl", "ipv4/ip_local_port_range", "ipv4/ip_local_reserved_ports", "ipv4/ip_unprivileged_port_start", "ipv4/ip_nonlocal_bind", "ipv4/tcp_rmem", "ipv4/tcp_wmem", "ipv4/tcp_fin_timeout", "ipv4/tcp_keepalive_time", "ipv4/tcp_keepalive_intvl", "ipv4/tcp_keepalive_probes", "ipv4/tcp_syncookies", "ipv4/tcp_max_syn_backlog", "ipv4/tcp_tw_reuse", "ipv4/tcp_sack", "ipv4/tcp_timestamps", "ipv4/tcp_window_scaling", "ipv4/tcp_syn_retries", "ipv4/tcp_retries2", "ipv4/icmp_echo_ignore_all", "ipv4/conf/default/rp_filter", "ipv6/conf/all/disable_ipv6", "ipv6/conf/lo/disable_ipv6", "ipv6/conf/all/forwarding", "ipv6/bindv6only", "unix/max_dgram_qlen"] {
        let path = std::ffi::CString::new(format!("/proc/sys/net/{name}")).unwrap();
        let fd = open(&path, O_RDONLY);
        let Ok(fd) = fd.get() else {
            say!("{name} {fd}");
            continue;
        };
        // Sizes that follow from the machine's memory are only looked at for their form.
        let data = read(fd as i32, 200);
        if ["mem_max", "mem_default", "mem", "optmem", "available", "syn_backlog"].iter().any(|word| name.contains(word)) {
            say!("{name} {}", data.0.map_or(0, |d| String::from_utf8_lossy(&d).split_whitespace().count()));
        } else {
            say!("{name} {data}");
        }
    }
}

fn sysctls_written() {
    let change = |name: &std::ffi::CStr, value: &[u8]| {
        let fd = open(name, O_RDWR).fd();
        let ret = write(fd, value);
        close(fd);
        format!("{ret} {}", read(open(name, O_RDONLY).fd(), 64))
    };
    say!("{}", change(c"/proc/sys/net/ipv4/ip_unprivileged_port_start", b"500\n"));
    let child = fork(|| {
        sys!(SYS_setresuid, 1000, 1000, 1000).must();
        say!("{} {}", bind(tcp(), &local(500)), bind(tcp(), &local(499)));
        0
    });
    child.wait();
    say!("{}", change(c"/proc/sys/net/ipv4/ip_local_port_range", b"40000 40003\n"));
    let ports: Vec<u16> = (0..4).map(|_| { let fd = tcp(); bind(fd, &local(0)).must(); port(&own(fd)) }).collect();
    say!("{}", ports.iter().all(|port| (40000..=40003).contains(port)));
    say!("none left {}", bind(tcp(), &local(0)));
    say!("{}", change(c"/proc/sys/net/core/somaxconn", b"1\n"));
    say!("{}", change(c"/proc/sys/net/ipv4/ip_local_port_range", b"5000 400\n"));
    say!("{}", change(c"/proc/sys/net/ipv4/ip_default_ttl", b"33\n"));
    say!("{}", get(tcp(), IPPROTO_IP, IP_TTL));
    say!("{}", change(c"/proc/sys/net/ipv4/tcp_keepalive_time", b"55\n"));
    say!("{}", get(tcp(), IPPROTO_TCP, TCP_KEEPIDLE));
    say!("{}", change(c"/proc/sys/net/ipv6/bindv6only", b"1\n"));
    say!("{}", get(socket(AF_INET6, SOCK_STREAM), IPPROTO_IPV6, IPV6_V6ONLY));
    say!("{}", change(c"/proc/sys/net/ipv4/tcp_rmem", b"4096 50000 100000\n"));
    say!("{}", get(tcp(), SOL_SOCKET, SO_RCVBUF));
    say!("{}", change(c"/proc/sys/net/ipv4/tcp_wmem", b"4096 60000 100000\n"));
    say!("{}", get(tcp(), SOL_SOCKET, SO_SNDBUF));
}

/// The types of the answers to a request, until the end.
fn dump(protocol: i32, request: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let fd = sys!(SYS_socket, AF_NETLINK, SOCK_RAW, protocol).fd();
    sys!(SYS_sendto, fd, request, request.len(), 0, NULL, 0).must();
    let mut all = Vec::new();
    loop {
        let mut bytes = recv(fd, 65536, 0).0.unwrap_or_default();
        if bytes.is_empty() {
            return all;
        }
        while bytes.len() >= 16 {
            let len = u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize;
            let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
            all.push((kind, bytes[16..len].to_vec()));
            if kind == 3 || kind == 2 {
                return all;
            }
            bytes.drain(..len.next_multiple_of(4));
        }
    }
}

fn header(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(1u32.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    message.extend(body);
    message
}

fn link_dump() {
    for (label, kind, body) in [("link", 18u16, vec![0u8; 16]), ("addr", 22, vec![0u8; 8]), ("addr6", 22, vec![10, 0, 0, 0, 0, 0, 0, 0]), ("route", 26, vec![2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), ("neighbours", 30, vec![0; 12])] {
        let kinds: Vec<u16> = dump(NETLINK_ROUTE, &header(kind, 0x301, &body)).iter().map(|m| m.0).collect();
        say!("{label} {kinds:?}");
    }
}

fn sock_diag_tcp() {
    let fd = tcp();
    bind(fd, &local(777)).must();
    listen(fd, 5).must();
    // struct inet_diag_req_v2: family, protocol, extensions, pad, states, id.
    let mut body = vec![AF_INET as u8, IPPROTO_TCP as u8, 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend([0; 48]);
    for (kind, data) in dump(4, &header(20, 0x301, &body)) {
        if kind == 20 && data.len() >= 72 && data[4..6] == 777u16.to_be_bytes() {
            let word = |at: usize| u32::from_ne_bytes(data[at..at + 4].try_into().unwrap());
            say!("family {} state {} timer {} source {:?} queues {} {} uid {} inode {}", data[0], data[1], data[2], &data[8..12], word(56), word(60), word(64), word(68) != 0);
        } else {
            say!("{kind}");
        }
    }
}
