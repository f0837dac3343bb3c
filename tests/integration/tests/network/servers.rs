//! Real servers in the sandbox, their clients on the other side of the link; both from the same Debian tree.
//!
//! `NETWORK_ALL=1` runs all of them from a tree with the servers (`cargo xtask network`) and prints what they measured; without it those of the tests'
//! common tree.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::world::{Namespace, bundle_over, is_root, pair, rootfs, run_in_background, runsc};

/// A server, when it is there, and what its clients do and must say.
struct Program {
    name: &'static str,
    /// In the common tree.
    common: bool,
    server: &'static str,
    /// It is there when this TCP port answers.
    port: u16,
    client: &'static str,
    /// Each must be in what the clients say.
    expected: &'static [&'static str],
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "redis",
        common: true,
        server: "exec redis-server --save '' --bind 0.0.0.0 :: --protected-mode no --port 6379",
        port: 6379,
        client: "redis-cli -h 10.9.0.2 set k v; redis-cli -h fd09::2 get k
            redis-benchmark -h 10.9.0.2 -q --csv -n 5000 -t set,get; redis-benchmark -h 10.9.0.2 -q --csv -n 20000 -t set,get -P 16",
        expected: &["OK\nv\n", "\"SET\"", "\"GET\""],
    },
    Program {
        name: "http",
        common: true,
        server: "cd /tmp; head -c 3000000 /dev/zero | tr '\\0' x > big; exec python3 -m http.server 8080",
        port: 8080,
        client: "python3 -c 'import urllib.request, hashlib
for i in range(50): d = urllib.request.urlopen(\"http://10.9.0.2:8080/big\").read()
print(len(d), hashlib.sha1(d).hexdigest() == hashlib.sha1(b\"x\" * 3000000).hexdigest())'",
        expected: &["3000000 True"],
    },
    Program {
        name: "iperf3",
        common: false,
        server: "exec iperf3 -s",
        port: 5201,
        client: "for o in '-c 10.9.0.2' '-R -c 10.9.0.2' '-P 8 -c 10.9.0.2' '-P 8 -R -c 10.9.0.2' '-6 -c fd09::2' '-6 -R -c fd09::2' '-u -b 200M -c 10.9.0.2' '-u -b 200M -R -c 10.9.0.2'
            do echo \"iperf3 $o: $(iperf3 -t 2 -f g $o | grep -E 'receiver' | tail -1)\"; done",
        expected: &["iperf3 -c 10.9.0.2: [", "iperf3 -6 -R -c fd09::2: ["],
    },
    Program {
        name: "nginx",
        common: false,
        server: "mkdir -p /tmp/www /var/log/nginx; head -c 5000000 /dev/zero > /tmp/www/big; echo hello > /tmp/www/index.html
            printf 'daemon off; user root; worker_processes 2; pid /tmp/pid; error_log /tmp/err; events { worker_connections 1000; } http { access_log off; server { listen 8080; listen [::]:8080; root /tmp/www; } }' > /tmp/n.conf
            exec nginx -c /tmp/n.conf",
        port: 8080,
        client: "curl -s http://10.9.0.2:8080/; curl -s http://10.9.0.2:8080/big | sha1sum; curl -s -g 'http://[fd09::2]:8080/big' | wc -c
            ab -q -n 3000 -c 20 http://10.9.0.2:8080/ | grep -E 'per sec|Failed|Complete'; ab -q -k -n 3000 -c 20 http://10.9.0.2:8080/ | grep -E 'per sec|Failed|Complete'",
        expected: &["hello\n", "5000000\n", "Complete requests:      3000", "Failed requests:        0"],
    },
    Program {
        name: "names",
        common: false,
        server: "exec dnsmasq -k -u root --no-resolv --no-hosts --address=/box.test/1.2.3.4 --address=/six.test/fd00::1 --port 5353",
        port: 5353,
        client: "dig +short -p 5353 @10.9.0.2 box.test; dig +short +tcp -p 5353 @10.9.0.2 box.test; dig +short -p 5353 @fd09::2 six.test AAAA",
        expected: &["1.2.3.4\n1.2.3.4\nfd00::1\n"],
    },
    Program {
        name: "ssh",
        common: false,
        server: "mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N '' -f /tmp/hk
            exec /usr/sbin/sshd -D -e -h /tmp/hk -o PermitRootLogin=yes -o StrictModes=no -o AuthorizedKeysFile=/work/key.pub -o UsePAM=no -p 2222",
        port: 2222,
        client: "o='-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i /work/key'
            head -c 3000000 /dev/urandom > /tmp/f; ssh $o -p 2222 root@10.9.0.2 'id -u'; scp -P 2222 $o /tmp/f root@10.9.0.2:/tmp/f
            [ \"$(ssh $o -p 2222 root@10.9.0.2 sha1sum /tmp/f)\" = \"$(sha1sum /tmp/f)\" ] && echo same; ssh -tt $o -p 2222 root@10.9.0.2 tty",
        expected: &["0\n", "same\n", "/dev/pts/0"],
    },
    Program {
        name: "postgres",
        common: false,
        server: "mkdir /tmp/pg; chown postgres /tmp/pg; su postgres -s /bin/bash -c '/usr/lib/postgresql/*/bin/initdb -A trust -D /tmp/pg/d > /tmp/pg/log
            echo host all all all trust >> /tmp/pg/d/pg_hba.conf; exec /usr/lib/postgresql/*/bin/postgres -D /tmp/pg/d -k /tmp -h 0.0.0.0'",
        port: 5432,
        client: "su postgres -s /bin/bash -c 'createdb -h 10.9.0.2 b; pgbench -h 10.9.0.2 -q -i -s 2 b 2>&1 | tail -1; pgbench -h 10.9.0.2 -c 4 -t 200 b 2>&1 | grep -E \"tps|failed|processed\"'",
        expected: &["actually processed: 800/800", "failed transactions: 0"],
    },
    Program {
        name: "pings",
        common: false,
        server: "ping -c 2 -i 0.2 -q 10.9.0.1 | grep loss; ping -c 2 -i 0.2 -s 20000 -q 10.9.0.1 | grep loss; ping -6 -c 2 -i 0.2 -q fd09::1 | grep loss
            for m in '' -I '-T -p 80'; do traceroute $m -n -w 2 -q 1 10.9.0.1 | tail -1; done; traceroute -6 -n -w 2 -q 1 fd09::1 | tail -1
            exec python3 -m http.server 8080",
        port: 8080,
        client: "ping -c 2 -i 0.2 -q 10.9.0.2 | grep loss; ping -c 2 -i 0.2 -s 20000 -q 10.9.0.2 | grep loss; ping -6 -c 2 -i 0.2 -q fd09::2 | grep loss
            traceroute -n -w 2 -q 1 10.9.0.2 | tail -1",
        expected: &["2 packets transmitted, 2 received, 0% packet loss", " 1  10.9.0.2 "],
    },
];

/// What the pings of the sandbox must have said.
const FROM_INSIDE: [&str; 3] = ["0% packet loss", " 1  10.9.0.1 ", " 1  fd09::1 "];

/// Runs a script in the tree, on the host's side of the link.
fn client(host: &Namespace, tree: &Path, work: &Path, script: &str) -> String {
    // The tree's /work is the bundle's, /proc and /dev are the host's; all of it in a mount namespace that ends with the script.
    let inner = r#"mount -t tmpfs none "$1/tmp" && mount --bind "$2" "$1/work" && mount --rbind /dev "$1/dev" && mount -t proc none "$1/proc" && exec chroot "$1" /bin/bash -c "$3" 2>&1"#;
    let (tree, work) = (tree.display().to_string(), work.display().to_string());
    host.run(&[
        "unshare", "--mount", "sh", "-c", inner, "client", &tree, &work, script,
    ])
}

fn serve(program: &Program, tree: &Path) {
    let (host, container) = pair();
    let args = ["/bin/bash", "-c", program.server];
    let bundle = bundle_over(tree, &container.path(), &args);
    // A key for those who log in.
    let key = bundle.work().join("key");
    if program.name == "ssh" {
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key)
            .stdin(Stdio::null())
            .status();
        assert!(made.is_ok_and(|status| status.success()), "ssh-keygen");
    }
    let id = format!("{}-{}", program.name, std::process::id());
    let mut server = run_in_background(&bundle, &id);
    let there = format!(
        "for i in $(seq 600); do (echo > /dev/tcp/10.9.0.2/{}) 2> /dev/null && exit; read -t 0.1 x < <(:) || sleep 0.1; done; exit 1",
        program.port
    );
    host.run(&["bash", "-c", &there]);
    // Another tree than the server's: an overlay that is written to is one's own.
    let clients = bundle_over(tree, &container.path(), &[]);
    let said = client(&host, &clients.rootfs(), &bundle.work(), program.client);
    runsc(&bundle, &["kill", &id, "KILL"]).status().unwrap();
    let output = server.finish();
    println!("== {}\n{said}", program.name);
    for expected in program.expected {
        assert!(
            said.contains(expected),
            "{}: no {expected:?} in\n{said}\nthe server said\n{output}",
            program.name
        );
    }
    if program.name == "pings" {
        println!("{output}");
        for expected in FROM_INSIDE {
            assert!(output.contains(expected), "no {expected:?} in\n{output}");
        }
    }
}

pub(crate) fn servers_serve() {
    assert!(is_root(), "needs root");
    let all = std::env::var_os("NETWORK_ALL").is_some();
    let wanted = std::env::var("NETWORK_PROGRAMS").unwrap_or_default();
    let tree: PathBuf = if all {
        rootfs().with_file_name("rootfs-network")
    } else {
        rootfs()
    };
    for program in PROGRAMS {
        let named = wanted.is_empty() || wanted.split(' ').any(|word| program.name.contains(word));
        if named && (all || program.common) {
            serve(program, &tree);
        }
    }
}
