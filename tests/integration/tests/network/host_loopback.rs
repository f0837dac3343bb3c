//! The host's side of the container's namespace and its loopback: an engine's resolver at 127.0.0.11 that the sandbox asks, and connections from there
//! to 127.0.0.1 that the sandbox's listeners get (port forwarding).

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::world::{bundle, is_root, pair, runsc};

/// Answers at 127.0.0.11 on ports that it tells, as Docker's resolver does.
const RESOLVER: &str = r#"
import socket, threading
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.11", 0))
t = socket.socket(); t.bind(("127.0.0.11", 0)); t.listen(5)
print(u.getsockname()[1], t.getsockname()[1], flush=True)
def tcp():
    while True:
        c, a = t.accept(); c.sendall(b"tcp " + c.recv(100)); c.close()
threading.Thread(target=tcp, daemon=True).start()
while True:
    d, a = u.recvfrom(1000); u.sendto(b"udp " + d, a)
"#;

/// Asks it at port 53, then serves.
const GUEST: &str = r#"
import socket
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(10)
u.sendto(b"query", ("127.0.0.11", 53)); print(*u.recvfrom(100))
u.connect(("127.0.0.11", 53)); u.send(b"again"); print(u.recv(100), u.getsockname()[0])
t = socket.create_connection(("127.0.0.11", 53), 10); t.sendall(b"query"); print(t.recv(100), t.getpeername())
l = socket.socket(); l.bind(("0.0.0.0", 8080)); l.listen(5)
m = socket.socket(); m.bind(("127.0.0.1", 8081)); m.listen(5)
o = socket.socket(); o.bind(("10.9.0.2", 8082)); o.listen(5)
v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); v.bind(("127.0.0.1", 8083))
print("listening", flush=True)
for s in (l, m):
    c, a = s.accept(); n = 0
    while True:
        d = c.recv(65536)
        if not d: break
        n += len(d)
    print(a[0], c.getsockname(), n, flush=True); c.sendall(str(n).encode()); c.close()
d, a = v.recvfrom(100); v.sendto(d[::-1], a); print(d, a[0], flush=True)
"#;

/// Connects from the host's side of the namespace.
const FORWARDER: &str = r#"
import socket
for port in (8080, 8081):
    s = socket.create_connection(("127.0.0.1", port), 10); s.sendall(b"x" * 3_000_000); s.shutdown(1); print(s.recv(100), s.getsockname()[1] >= 61000)
# Nobody listens; or not at this address.
for port in (8079, 8082):
    s = socket.socket(); s.settimeout(10); print(s.connect_ex(("127.0.0.1", port)))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(10)
u.sendto(b"abc", ("127.0.0.1", 8083)); print(u.recvfrom(100))
"#;

pub(crate) fn a_resolver_is_reached_and_ports_are_forwarded() {
    assert!(is_root(), "needs root");
    let (_host, container) = pair();
    let mut resolver = container
        .command(&["python3", "-c", RESOLVER])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the resolver starts");
    let mut line = String::new();
    BufReader::new(resolver.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let ports: Vec<&str> = line.split_whitespace().collect();
    for (protocol, port) in ["udp", "tcp"].iter().zip(&ports) {
        let to = format!("127.0.0.11:{port}");
        container.run(&[
            "iptables",
            "-t",
            "nat",
            "-A",
            "OUTPUT",
            "-d",
            "127.0.0.11",
            "-p",
            protocol,
            "--dport",
            "53",
            "-j",
            "DNAT",
            "--to-destination",
            &to,
        ]);
        container.run(&[
            "iptables",
            "-t",
            "nat",
            "-A",
            "POSTROUTING",
            "-s",
            "127.0.0.11",
            "-p",
            protocol,
            "--sport",
            port,
            "-j",
            "SNAT",
            "--to-source",
            ":53",
        ]);
    }
    let bundle = bundle(&container.path(), &["python3", "-c", GUEST]);
    let path = bundle.path().display().to_string();
    let mut guest = runsc(&bundle, &["run", "--bundle", &path, "forwarded"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("runsc starts");
    let mut lines = BufReader::new(guest.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    for line in lines.by_ref() {
        said.push(line.unwrap());
        if said.last().is_some_and(|line| line == "listening") {
            break;
        }
    }
    assert_eq!(
        said,
        [
            "b'udp query' ('127.0.0.11', 53)",
            "b'udp again' 127.0.0.1",
            "b'tcp query' ('127.0.0.11', 53)",
            "listening"
        ]
    );
    assert_eq!(
        container.run(&["python3", "-c", FORWARDER]),
        "b'3000000' True\nb'3000000' True\n111\n111\n(b'cba', ('127.0.0.1', 8083))\n"
    );
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(
        rest,
        [
            "127.0.0.1 ('127.0.0.1', 8080) 3000000",
            "127.0.0.1 ('127.0.0.1', 8081) 3000000",
            "b'abc' 127.0.0.1"
        ]
    );
    assert!(guest.wait().unwrap().success());
    let _ = resolver.kill();
    let _ = resolver.wait();
}
