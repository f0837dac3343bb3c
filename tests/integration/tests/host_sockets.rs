//! `--host-uds` and `--host-fifo`: sockets and FIFOs of the host in a bind mount. Environment as for `programs`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::ExitCode;
use std::thread::{self, JoinHandle};

use harness::Scratch;
use integration::guest::{self, Guest, Setup};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

fn main() -> ExitCode {
    guest::main(
        "host_sockets",
        &[
            ("streams", streams),
            ("messages", messages),
            ("refused_by_default", refused_by_default),
            ("fifos", fifos),
            (
                "fifos_are_the_sandboxs_own_by_default",
                fifos_are_the_sandboxs_own_by_default,
            ),
            (
                "what_cannot_be_had_is_refused",
                what_cannot_be_had_is_refused,
            ),
        ],
    )
}

fn done<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|e| panic!("the host: {e}"))
}

fn with(platform: &str, flags: &[&str], dir: &Path) -> Guest {
    let log: &[&str] = &["--debug-log=@LOG@"];
    Guest::with(
        platform,
        Setup::flags(&[log, flags].concat()).bind(dir, "/mnt"),
    )
}

fn python(guest: &mut Guest, code: &str) -> String {
    let code = format!("import errno, os, select, socket, struct\n{code}");
    guest.ask(&format!("python3 -c '{code}'"))
}

/// Answers each connection with what it got, in capitals, at the end of its input.
fn serve(listener: UnixListener, connections: usize) -> JoinHandle<()> {
    thread::spawn(move || {
        for _ in 0..connections {
            let (mut stream, _) = done(listener.accept());
            let mut text = String::new();
            done(stream.read_to_string(&mut text));
            done(stream.write_all(text.to_uppercase().as_bytes()));
        }
    })
}

fn streams(platform: &str) {
    let dir = Scratch::new();
    let listener = done(UnixListener::bind(dir.path().join("service")));
    let server = serve(listener, 2);
    let mut guest = with(platform, &["--host-uds=open"], dir.path());
    let answer = python(
        &mut guest,
        r#"
s = socket.socket(socket.AF_UNIX); s.connect("/mnt/service")
print(s.getpeername(), s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM)
p = select.poll(); p.register(s, select.POLLIN | select.POLLOUT); print(p.poll(1000) == [(s.fileno(), select.POLLOUT)])
s.sendall(b"hello "); s.sendall(b"x" * 300000)
s.shutdown(socket.SHUT_WR)
got = b""
while chunk := s.recv(4096): got += chunk
print(got[:7], len(got))
try: s.send(b"more")
except OSError as e: print(errno.errorcode[e.errno])
try: s.connect("/mnt/service")
except OSError as e: print(errno.errorcode[e.errno])
s.close()
s = socket.socket(socket.AF_UNIX); s.connect("/mnt/service"); s.send(b"peek"); s.shutdown(1)
print(s.recv(2, socket.MSG_PEEK), s.recv(10), s.recv(10))
try: s.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", 0))])
except OSError as e: print(errno.errorcode[e.errno])
"#,
    );
    let expected =
        "/mnt/service True\nTrue\nb'HELLO X' 300006\nEPIPE\nEISCONN\nb'PE' b'PEEK' b''\nENOTSUP";
    assert_eq!(answer, expected);
    server.join().unwrap_or_else(|_| panic!("the server"));
    // The listener is gone, its file is not.
    let answer = python(
        &mut guest,
        r#"
for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    try: socket.socket(socket.AF_UNIX, kind).connect("/mnt/service")
    except OSError as e: print(errno.errorcode[e.errno])
"#,
    );
    assert_eq!(answer, "ECONNREFUSED\nECONNREFUSED");
    // The sandbox's own sockets work there as before.
    let answer = python(
        &mut guest,
        r#"
l = socket.socket(socket.AF_UNIX); l.bind("/mnt/own"); l.listen(1)
c = socket.socket(socket.AF_UNIX); c.connect("/mnt/own"); a, _ = l.accept()
c.send(b"inside"); print(a.recv(10))
"#,
    );
    assert_eq!(answer, "b'inside'");
    guest.end();
}

fn messages(platform: &str) {
    let dir = Scratch::new();
    let log = done(UnixDatagram::bind(dir.path().join("log")));
    let mut guest = with(platform, &["--host-uds=open"], dir.path());
    let answer = python(
        &mut guest,
        r#"
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
print(s.sendto(b"to an address", "/mnt/log"))
s.connect("/mnt/log"); print(s.send(b"one"), s.send(b"two"))
try: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect("/mnt/log")
except OSError as e: print(errno.errorcode[e.errno])
"#,
    );
    assert_eq!(answer, "13\n3 3\nEPROTOTYPE");
    let mut buf = [0; 100];
    for expected in ["to an address", "one", "two"] {
        let len = done(log.recv(&mut buf));
        assert_eq!(String::from_utf8_lossy(&buf[..len]), expected);
    }
    guest.end();
}

fn refused_by_default(platform: &str) {
    let dir = Scratch::new();
    let listener = done(UnixListener::bind(dir.path().join("service")));
    done(listener.set_nonblocking(true));
    let mut guest = with(platform, &[], dir.path());
    let connect = r#"
try: socket.socket(socket.AF_UNIX).connect("/mnt/service")
except OSError as e: print(errno.errorcode[e.errno])
"#;
    assert_eq!(python(&mut guest, connect), "ECONNREFUSED");
    assert_eq!(python(&mut guest, connect), "ECONNREFUSED");
    assert!(listener.accept().is_err(), "nobody has come");
    let log = guest.end();
    assert_eq!(log.matches("--host-uds=open").count(), 1, "{log}");
}

fn fifos(platform: &str) {
    let dir = Scratch::new();
    for name in ["in", "out"] {
        done(mkfifo(
            &dir.path().join(name),
            Mode::from_bits_truncate(0o666),
        ));
    }
    let mut guest = with(platform, &["--host-fifo=open"], dir.path());
    let answer = python(
        &mut guest,
        r#"
try: os.open("/mnt/in", os.O_WRONLY | os.O_NONBLOCK)
except OSError as e: print(errno.errorcode[e.errno])
"#,
    );
    assert_eq!(answer, "ENXIO");
    // Each side waits for the other.
    let writer = {
        let path = dir.path().join("in");
        thread::spawn(move || done(fs::write(path, "from the host\n")))
    };
    guest.expect("cat /mnt/in", "from the host");
    writer.join().unwrap_or_else(|_| panic!("the writer"));
    guest.ask("(echo from the guest > /mnt/out) &");
    let text = done(fs::read_to_string(dir.path().join("out")));
    assert_eq!(text, "from the guest\n");
    guest.ask("wait");
    // Between two guests it is a pipe, too.
    guest.expect(
        "mkfifo /mnt/own; (echo inside > /mnt/own) & cat /mnt/own; wait",
        "inside",
    );
    guest.end();
}

fn fifos_are_the_sandboxs_own_by_default(platform: &str) {
    let dir = Scratch::new();
    done(mkfifo(
        &dir.path().join("pipe"),
        Mode::from_bits_truncate(0o666),
    ));
    let mut guest = with(platform, &[], dir.path());
    guest.expect("(echo inside > /mnt/pipe) & cat /mnt/pipe; wait", "inside");
    let answer = python(
        &mut guest,
        r#"
try: os.open("/mnt/pipe", os.O_WRONLY | os.O_NONBLOCK)
except OSError as e: print(errno.errorcode[e.errno])
"#,
    );
    assert_eq!(answer, "ENXIO");
    let log = guest.end();
    assert_eq!(log.matches("--host-fifo=open").count(), 1, "{log}");
}

fn what_cannot_be_had_is_refused(platform: &str) {
    let guest = Guest::start(platform);
    for flag in ["--host-uds=create", "--host-uds=all", "--host-fifo=create"] {
        let output = guest.runsc(&[flag, "state", "@ID@"]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && words.contains("none or open"),
            "{flag}: {words}"
        );
    }
    guest.end();
}
