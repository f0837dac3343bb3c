//! Connections over a link that loses packets: slower, but every byte arrives once and in order.

use crate::world::{bundle, is_root, pair, run};

/// One end sends a megabyte and checks what comes back; both in one program.
const SERVER: &str = r#"
import socket, threading
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("", 8080)); s.listen(20)
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

const CLIENT: &str = r#"
import os, socket, threading
def exchange(n):
    data = os.urandom(n)
    s = socket.create_connection(("10.9.0.1", 8080), 60)
    t = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(1))); t.start()
    got = bytearray()
    while True:
        d = s.recv(65536)
        if not d: break
        got += d
    t.join(); return got == data
print([exchange(n) for n in (1, 1000, 100_000, 3_000_000)])
"#;

pub(crate) fn lost_packets_are_sent_again() {
    assert!(is_root(), "needs root");
    let (host, container) = pair();
    let mut server = host
        .command(&["python3", "-c", SERVER])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the server starts");
    crate::world::wait_ready(&mut server);
    // One in ten, in each direction; what counts as one may be many segments that travel together.
    for (chain, side) in [("INPUT", "-i"), ("OUTPUT", "-o")] {
        host.run(&[
            "iptables",
            "-A",
            chain,
            side,
            "veth0",
            "-p",
            "tcp",
            "-m",
            "statistic",
            "--mode",
            "random",
            "--probability",
            "0.1",
            "-j",
            "DROP",
        ]);
    }
    let bundle = bundle(&container.path(), &["python3", "-c", CLIENT]);
    let output = run(&bundle, "lossy");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "[True, True, True, True]\n",
        "{output:?}"
    );
    let rules = host.run(&["iptables", "-nvxL"]);
    let _ = server.kill();
    let _ = server.wait();
    let lost: u64 = rules
        .lines()
        .filter(|line| line.contains("statistic"))
        .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    assert!(lost > 0, "nothing was lost: {rules}");
}
