//! What an operator sees of a running sandbox: system call traces, threads, calls that are not supported. Environment as for `programs`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use integration::guest::{self, Guest, Setup};

fn main() -> ExitCode {
    guest::main(
        "seeing",
        &[
            ("calls_are_readable", calls_are_readable),
            ("filter_and_switch", filter_and_switch),
            ("threads_and_their_calls", threads_and_their_calls),
            (
                "unsupported_calls_are_counted",
                unsupported_calls_are_counted,
            ),
            ("nowhere_to_write", nowhere_to_write),
        ],
    )
}

/// The one line of the log that has both texts.
#[track_caller]
fn line<'a>(log: &'a str, call: &str, with: &str) -> &'a str {
    let call = format!(" {call}(");
    let found = log.lines().find(|l| l.contains(&call) && l.contains(with));
    found.unwrap_or_else(|| panic!("no{call} with {with:?} in\n{log}"))
}

const CALLS: &str = r#"perl -e '
use Fcntl; use Socket; use POSIX;
sysopen(F, "f\tile", O_RDWR|O_CREAT|O_EXCL, 0640); syswrite(F, "line\n\0\x7f" . "x" x 40); close F;
open(G, "<", "none"); chmod 0750, "f\tile"; rename("f\tile", "new"); unlink "new";
socket(S, AF_INET, SOCK_DGRAM, 0); bind(S, pack_sockaddr_in(4242, inet_aton("127.0.0.1")));
setsockopt(S, SOL_SOCKET, SO_BROADCAST, 1); send(S, "to myself", 0, pack_sockaddr_in(4242, inet_aton("127.0.0.1"))); recv(S, $b, 100, MSG_PEEK);
socket(U, AF_UNIX, SOCK_STREAM, 0); connect(U, pack_sockaddr_un("/run/none"));
$SIG{USR1} = sub {}; kill "USR1", $$; sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGINT, SIGTERM));
if (!fork) { exec "/bin/sh", "-c", "exit 7" } wait; select(undef, undef, undef, 0.001);
'"#;

fn calls_are_readable(platform: &str) {
    let mut guest = Guest::with(platform, Setup::flags(&["--debug-log=@LOG@", "--strace"]));
    guest.ask(CALLS);
    let log = guest.end();
    let expect = |call: &str, with: &str| {
        line(&log, call, with);
    };
    expect(
        "openat",
        r#"(AT_FDCWD, "f\tile", O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0640) = 3 <0."#,
    );
    expect(
        "openat",
        r#"(AT_FDCWD, "none", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory) <"#,
    );
    expect(
        "write",
        &format!(r#"(3, "line\n\0\177{}"..., 47) = 47 <"#, "x".repeat(25)),
    );
    expect("rename", r#"("f\tile", "new") = 0"#);
    expect("chmod", r#"("f\tile", 0750) = 0"#);
    expect(
        "socket",
        "(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, IPPROTO_IP) = ",
    );
    let address = r#"{sa_family=AF_INET, sin_port=htons(4242), sin_addr=inet_addr("127.0.0.1")}"#;
    expect("bind", &format!(", {address}, 16) = 0"));
    expect("setsockopt", ", SOL_SOCKET, SO_BROADCAST, [1], 4) = 0");
    expect(
        "sendto",
        &format!(r#", "to myself", 9, 0, {address}, 16) = 9"#),
    );
    expect(
        "recvfrom",
        &format!(r#", "to myself", 100, MSG_PEEK, {address}, [16]) = 9"#),
    );
    expect(
        "connect",
        r#"{sa_family=AF_UNIX, sun_path="/run/none"}, 110) = -1 ENOENT"#,
    );
    expect("rt_sigaction", "(SIGUSR1, {sa_handler=0x");
    expect("kill", "SIGUSR1) = 0");
    expect("rt_sigprocmask", "(SIG_BLOCK, [INT TERM], ");
    expect("execve", r#"("/bin/sh", ["/bin/sh", "-c", "exit 7"], 0x"#);
    expect(
        "wait4",
        "(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 7}], 0, NULL) = ",
    );
    expect(
        "mmap",
        "(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0x0) = 0x",
    );
    expect("newfstatat", "{st_mode=S_IFREG|0");
    expect("exit_group", "(7) = ?");
}

fn filter_and_switch(platform: &str) {
    let flags = [
        "--debug-log=@LOG@",
        "--strace",
        "--strace-calls=mkdir,%network",
    ];
    let mut guest = Guest::with(platform, Setup::flags(&flags));
    guest.ask("mkdir a; rmdir a");
    guest.ask("exec 9<>/dev/udp/127.0.0.1/4242");
    let log = guest.log();
    line(&log, "mkdir", "\"a\"");
    line(&log, "connect", "htons(4242)");
    assert!(!log.contains(" rmdir("), "{log}");

    let switch = |guest: &Guest, calls: &str| {
        let flag = format!("--strace={calls}");
        let output = guest.runsc(&["debug", &flag, "@ID@"]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), words)
    };
    let before = log.len();
    assert_eq!(switch(&guest, "rmdir"), (true, String::new()));
    guest.ask("mkdir b; rmdir b");
    let log = guest.log();
    line(&log[before..], "rmdir", "\"b\"");
    assert!(!log[before..].contains(" mkdir("), "{log}");

    assert_eq!(switch(&guest, "off"), (true, String::new()));
    let before = guest.log().len();
    guest.ask("mkdir c; rmdir c");
    assert_eq!(&guest.log()[before..], "");

    let (well, words) = switch(&guest, "rmdri");
    assert!(
        !well && words.contains("\"rmdri\" is no system call"),
        "{words}"
    );
    assert_eq!(switch(&guest, "all"), (true, String::new()));
    guest.ask("mkdir d");
    line(&guest.log()[before..], "mkdir", "\"d\"");
    guest.end();
}

fn threads_and_their_calls(platform: &str) {
    let mut guest = Guest::start(platform);
    guest.ask(
        "sleep 1000 & while :; do :; done & until grep -q S /proc/$(jobs -p %1)/status; do :; done",
    );
    // The sleeper may have been seen asleep at start-up, too: wait until its last call is under way.
    let deadline = Instant::now() + Duration::from_secs(60);
    let output = loop {
        assert!(Instant::now() < deadline, "the sleeper never sleeps");
        let output = guest.runsc(&["debug", "--stacks", "@ID@"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        if text.contains("in clock_nanosleep(") {
            break text;
        }
    };
    let of = |name: &str, with: &str| output.lines().any(|l| l.contains(name) && l.contains(with));
    assert!(of(" sleep ", "in clock_nanosleep("), "{output}");
    assert!(of(" bash ", "in read("), "{output}");
    assert!(of(" bash ", "in guest code"), "{output}");
    guest.ask("kill %1 %2");
    guest.end();
}

fn unsupported_calls_are_counted(platform: &str) {
    let mut guest = Guest::with(platform, Setup::flags(&["--debug-log=@LOG@"]));
    guest.expect(
        "perl -e 'for (1..3) { syscall(1000) } print $!'",
        "Function not implemented",
    );
    guest.ask("perl -e 'syscall(180, 1)'");
    let output = guest.runsc(&["debug", "--counters", "@ID@"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(" 3 unknown (1000): ENOSYS\n"), "{text}");
    assert!(text.contains(" 1 nfsservctl (180): ENOSYS\n"), "{text}");
    let log = guest.end();
    assert!(log.contains(" 3 unknown (1000): ENOSYS\n"), "{log}");
}

fn nowhere_to_write(platform: &str) {
    let guest = Guest::start(platform);
    let output = guest.runsc(&["debug", "--strace=all", "@ID@"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && words.contains("without --debug-log"),
        "{words}"
    );
    let output = guest.runsc(&["--strace-calls=opnat", "state", "@ID@"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && words.contains("\"opnat\" is no system call"),
        "{words}"
    );
    guest.end();
}
