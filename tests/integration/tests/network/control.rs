//! What `ip` and `ss` show of one scripted set-up, natively and in the sandbox. Both run from the host's own root.

use std::path::Path;

use serde_json::Value;

use crate::world::{bundle_over, is_root, pair, run};

/// Makes sockets of all kinds, then runs the commands given.
const SETUP: &str = r#"
import socket, subprocess, sys
kept = []
def add(family, kind, at, backlog=None, to=None, only6=False):
    s = socket.socket(family, kind)
    if only6: s.setsockopt(41, 26, 1)
    s.bind(at)
    if backlog is not None: s.listen(backlog)
    if to: s.connect(to)
    kept.append(s); return s
I, J, T, U = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
a = add(I, T, ("0.0.0.0", 8080), 5)
add(J, T, ("::", 8081), 6); add(J, T, ("::", 8082), 7, only6=True); add(J, T, ("::1", 8083), 1)
add(I, T, ("10.9.0.2", 8084), 3)
c = add(I, T, ("127.0.0.1", 9000), to=("127.0.0.1", 8080)); kept.append(a.accept()[0]); c.send(b"12345")
add(I, T, ("127.0.0.1", 9001), to=("127.0.0.1", 8080))
add(J, T, ("::1", 9002), to=("::1", 8081))
add(I, U, ("0.0.0.0", 8053)); add(J, U, ("::", 8054)); add(I, U, ("127.0.0.1", 8055), to=("127.0.0.1", 8053))
for command in sys.argv[1:]:
    print("@@", command, flush=True); subprocess.run(command, shell=True)
"#;

const COMMANDS: [&str; 9] = [
    "ip -j addr",
    "ip -j route",
    "ip -j -6 route",
    "ip -j route show table all",
    "ip -j neigh",
    "ip -j link",
    "ip -j rule",
    "ip -j route get 10.20.1.1",
    "ss -tunapO",
];

/// The answers by command, in a form in which order and processes do not matter.
fn answers(text: &str) -> Vec<(String, Vec<String>)> {
    text.split("@@ ")
        .skip(1)
        .map(|part| {
            let (command, answer) = part.split_once('\n').unwrap_or((part, ""));
            let mut lines: Vec<String> = match serde_json::from_str::<Value>(answer) {
                Ok(Value::Array(all)) => all.iter().map(Value::to_string).collect(),
                _ => answer.lines().map(socket_line).collect(),
            };
            lines.sort();
            (command.to_owned(), lines)
        })
        .collect()
}

/// A line of `ss`: words without the process, which is another one.
fn socket_line(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let users = words.iter().any(|word| word.starts_with("users:"));
    let kept = words.iter().filter(|word| !word.starts_with("users:"));
    let kept: Vec<&str> = kept.copied().collect();
    format!("{} {users}", kept.join(" "))
}

pub(crate) fn ip_and_ss_show_what_they_show_natively() {
    assert!(is_root(), "needs root");
    let (_host, container) = pair();
    for set in [
        "ip route add default via 10.9.0.1",
        "ip route add 10.20.0.0/16 via 10.9.0.1 metric 5",
        "ip -6 route add fd20::/64 via fd09::1",
        "ip neigh add 10.9.0.9 lladdr 02:00:00:00:00:09 dev eth0",
    ] {
        container.run(&set.split(' ').collect::<Vec<_>>());
    }
    // Until the link-local address is settled.
    container.run(&[
        "sh",
        "-c",
        "while ip -6 addr show dev eth0 | grep -q tentative; do read -t 0.05 x < /dev/zero || true; done",
    ]);
    let mut args = vec!["/usr/bin/python3", "-c", SETUP];
    args.extend(COMMANDS);
    let native = container.run(&args);
    let bundle = bundle_over(Path::new("/"), &container.path(), &args);
    let output = run(&bundle, "control");
    let boxed = String::from_utf8_lossy(&output.stdout);
    for (native, boxed) in answers(&native).iter().zip(answers(&boxed)) {
        assert_eq!(native, &boxed, "{output:?}");
    }
    assert_eq!(answers(&boxed).len(), COMMANDS.len(), "{output:?}");
}
