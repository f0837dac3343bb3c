//! TCP, UDP and the interface, in both directions; what is refused.

use std::process::Stdio;

use crate::world::{bundle, is_root, pair, run, runsc, wait_ready};

/// Answers TCP with what it gets and UDP with it reversed.
const SERVER: &str = r#"
import socket, threading
s = socket.socket(socket.AF_INET6)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("::", 8080)); s.listen(128)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("", 5353))
def datagrams():
    while True:
        d, a = u.recvfrom(70000); u.sendto(d[::-1], a)
threading.Thread(target=datagrams, daemon=True).start()
def echo(c):
    while True:
        d = c.recv(65536)
        if not d: break
        c.sendall(d)
    c.close()
print("ready", flush=True)
while True:
    c, a = s.accept(); threading.Thread(target=echo, args=(c,), daemon=True).start()
"#;

/// Checks all of it against a server at the address given.
const CLIENT: &str = r#"
import socket, os, sys, threading
host = sys.argv[1]
failed = []
def echo(n):
    try:
        s = socket.create_connection((host, 8080), 10); data = os.urandom(n); got = b""
        t = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))); t.start()
        while True:
            d = s.recv(65536)
            if not d: break
            got += d
        t.join(); s.close()
        if got != data: failed.append((n, len(got)))
    except OSError as e: failed.append((n, str(e)))
echo(1); echo(3_000_000)
ts = [threading.Thread(target=echo, args=(50_000,)) for _ in range(30)]
[t.start() for t in ts]; [t.join() for t in ts]
for i in range(300): echo(100)
print("tcp", failed)
v4 = ":" not in host
if v4:
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(10)
    for n in (0, 1, 1472, 1473, 20000, 65000):
        d = os.urandom(n); u.sendto(d, (host, 5353)); print("udp", n, u.recv(70000) == d[::-1])
    v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); v.settimeout(10); v.connect((host, 9)); v.send(b"x")
    try: v.recv(10)
    except OSError as e: print("udp refused", e.errno)
s = socket.socket(socket.AF_INET if v4 else socket.AF_INET6); s.settimeout(10)
print("tcp refused", s.connect_ex((host, 81)))
"#;

const CHECKED: [&str; 2] = [
    "tcp []\nudp 0 True\nudp 1 True\nudp 1472 True\nudp 1473 True\nudp 20000 True\nudp 65000 True\nudp refused 111\ntcp refused 111\n",
    "tcp []\ntcp refused 111\n",
];

/// Ports from 1 to 200 and the server's that answer.
const SCAN: &str = r#"
import socket
found = []
for port in list(range(1, 200)) + [8080]:
    s = socket.socket(); s.settimeout(10)
    if s.connect_ex(("10.9.0.2", port)) == 0: found.append(port)
    s.close()
print(found)
"#;

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

pub(crate) fn servers_in_the_sandbox_are_reached_and_the_hosts_stack_keeps_still() {
    assert!(is_root(), "needs root");
    let (host, container) = pair();
    let range = container.run(&["cat", RANGE]);
    let bundle = bundle(&container.path(), &["python3", "-c", SERVER]);
    let path = bundle.path().display().to_string();
    let mut server = runsc(&bundle, &["run", "--bundle", &path, "server"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("runsc starts");
    wait_ready(&mut server);
    for (address, expected) in ["10.9.0.2", "fd09::2"].into_iter().zip(CHECKED) {
        assert_eq!(host.run(&["python3", "-c", CLIENT, address]), expected);
    }
    assert_eq!(host.run(&["python3", "-c", SCAN]), "[8080]\n");
    runsc(&bundle, &["kill", "server", "KILL"])
        .status()
        .unwrap();
    server.wait().unwrap();
    assert_eq!(
        container.run(&["cat", RANGE]),
        range,
        "the range is restored"
    );
    // The host's stack answers for itself again.
    let refused =
        "import socket; s=socket.socket(); s.settimeout(10); print(s.connect_ex(('10.9.0.2', 81)))";
    assert_eq!(host.run(&["python3", "-c", refused]), "111\n");
}

pub(crate) fn the_sandbox_reaches_servers_and_shows_its_network() {
    assert!(is_root(), "needs root");
    let (host, container) = pair();
    let mut server = host
        .command(&["python3", "-c", SERVER])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    wait_ready(&mut server);
    for (address, expected) in ["10.9.0.1", "fd09::1"].into_iter().zip(CHECKED) {
        let bundle = bundle(&container.path(), &["python3", "-c", CLIENT, address]);
        let output = run(&bundle, "client");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{output:?}"
        );
    }
    // What netdevice(7) and /proc tell of it.
    let look = "import socket, fcntl, struct\n\
        s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
        a=fcntl.ioctl(s, 0x8915, struct.pack('256s', b'eth0'))[20:24]\n\
        print(socket.inet_ntoa(a), [n for _, n in socket.if_nameindex()], open('/proc/net/route').read().split()[11:14])\n";
    let bundle = bundle(&container.path(), &["python3", "-c", look]);
    let output = run(&bundle, "look");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "10.9.0.2 ['lo', 'eth0'] ['eth0', '0000090A', '00000000']\n",
        "{output:?}"
    );
    let _ = server.kill();
    let _ = server.wait();
}

pub(crate) fn the_hosts_own_network_is_refused() {
    assert!(is_root(), "needs root");
    let bundle = bundle("", &["true"]);
    let output = run(&bundle, "shared");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("never takes over the host's"), "{said}");
}
