//! Those who mean harm from outside: a flood of handshakes from addresses that do not answer, a scan of all ports; and what the operator sees of it.

use std::fs;
use std::process::Stdio;

use crate::world::{Ends, bundle, is_root, pair, runsc, wait_ready};

const SERVER: &str = r#"
import socket, threading
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("", 8080)); s.listen(64)
t = socket.socket(); t.bind(("", 40000)); t.listen(5)
u = socket.socket(); u.bind(("127.0.0.1", 8081)); u.listen(5)
print("ready", flush=True)
while True:
    c, a = s.accept(); c.sendall(c.recv(100)); c.close()
"#;

/// SYNs from a raw socket, at most some thousands a second (more than that and the link's queue drops everybody's), until others have connected; prints
/// that they could, and that there was a flood.
const FLOOD: &str = r#"
import socket, struct, threading, time
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
def checksum(b):
    n = sum(struct.unpack("!%dH" % (len(b) // 2), b))
    while n >> 16: n = (n & 0xffff) + (n >> 16)
    return ~n & 0xffff
to = socket.inet_aton("10.9.0.2"); sent = 0; over = False
def flood():
    global sent
    while not over:
        sent += 1
        if sent % 50 == 0: time.sleep(0.01)
        source = bytes([10, 9, 0, 10 + sent % 240]); port = 1024 + sent // 240 % 60000
        tcp = struct.pack("!HHLLBBHHH", port, 8080, sent, 0, 5 << 4, 2, 65535, 0, 0)
        sum = checksum(source + to + struct.pack("!HH", 6, 20) + tcp)
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + source + to
        try: raw.sendto(ip + tcp[:16] + struct.pack("!H", sum) + tcp[18:], ("10.9.0.2", 0))
        except OSError: pass
thread = threading.Thread(target=flood, daemon=True); thread.start()
while sent < 3000: time.sleep(0.01)
bad = good = 0; began = sent
while good + bad < 30 or sent - began < 1000:
    s = socket.create_connection(("10.9.0.2", 8080), 20); s.settimeout(20)
    s.sendall(b"%d" % good)
    if s.recv(100) == b"%d" % good: good += 1
    else: bad += 1
    s.close()
over = True
print(good >= 30, bad)
"#;

/// Ports of the sandbox, many at once: those that take connections, those that do not say that they are closed.
const SCAN: &str = r#"
import select, socket
taken, silent = [], []
ports = list(range(1, 5000)) + list(range(5000, 61000, 100)) + [8080]
for at in range(0, len(ports), 200):
    poll, asked = select.poll(), {}
    for port in ports[at:at + 200]:
        s = socket.socket(); s.setblocking(False); s.connect_ex(("10.9.0.2", port))
        asked[s.fileno()] = s, port; poll.register(s, select.POLLOUT)
    while asked:
        found = poll.poll(20000)
        if not found: silent += [port for s, port in asked.values()]; break
        for fd, _ in found:
            s, port = asked.pop(fd); poll.unregister(fd)
            e = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR); s.close()
            if e == 0: taken.append(port)
            elif e != 111: silent.append((port, e))
print(sorted(set(taken)), silent)
"#;

pub(crate) fn a_flood_does_not_shut_out_others_and_a_scan_finds_what_is_open() {
    assert!(is_root(), "needs root");
    let (host, container) = pair();
    let bundle = bundle(&container.path(), &["python3", "-c", SERVER]);
    let path = bundle.path().display().to_string();
    let capture = bundle.path().join("capture/");
    let capture_flag = format!("--pcap={}", capture.display());
    let mut server = runsc(
        &bundle,
        &[&capture_flag, "run", "--bundle", &path, "attacked"],
    )
    .stdout(Stdio::piped())
    .spawn()
    .expect("runsc starts");
    let _guard = Ends(&bundle, "attacked");
    wait_ready(&mut server);
    assert_eq!(host.run(&["python3", "-c", FLOOD]), "True 0\n");
    assert_eq!(host.run(&["python3", "-c", SCAN]), "[8080, 40000] []\n");
    let counters = runsc(&bundle, &["debug", "--counters", "attacked"])
        .output()
        .expect("runsc starts");
    let counters = String::from_utf8_lossy(&counters.stdout).into_owned();
    assert!(
        counters.contains("handshakes dropped for a full queue") && counters.contains("eth0: in "),
        "{counters}"
    );
    runsc(&bundle, &["kill", "attacked", "KILL"])
        .status()
        .unwrap();
    server.wait().unwrap();
    let (syns, resets) = captured(&fs::read(capture.join("attacked.pcap")).expect("a capture"));
    assert!(syns > 5_000 && resets > 5_000, "{syns} {resets}");
}

/// SYNs and resets in a capture.
fn captured(file: &[u8]) -> (usize, usize) {
    let word = |at: usize| u32::from_ne_bytes(file[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(20)), (0xa1b2_3c4d, 1));
    let (mut at, mut syns, mut resets) = (24, 0, 0);
    while at < file.len() {
        let len = word(at + 8) as usize;
        let frame = &file[at + 16..at + 16 + len];
        if len >= 54 && frame[12..14] == [8, 0] && frame[23] == 6 {
            syns += usize::from(frame[47] == 2);
            resets += usize::from(frame[47] & 4 != 0);
        }
        at += 16 + len;
    }
    (syns, resets)
}
