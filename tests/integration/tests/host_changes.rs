//! A container and its host change the same files, in turn: each sees at once what the other has finished.
//!
//! The host's side of the root is the overlay that the bundle is made of. The guest is a shell that reads commands; a command is asked for only after
//! the host's change is done, and its answer waited for before the next. Environment as for `programs`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use harness::{Options, Outcome, Trial, contained, run_all, runsc};
use integration::bundle::Bundle;

/// Ends each answer.
const END: &str = "--end--";

fn main() -> ExitCode {
    let options = match Options::from_args() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    if let Some(code) = contained(&options) {
        return code;
    }
    let platforms = std::env::var("RUNSC_PLATFORMS").unwrap_or_else(|_| "notify".to_owned());
    let cases: [(&str, fn(&mut Guest)); 6] = [
        ("names", names),
        ("contents_and_attributes", contents_and_attributes),
        ("directories", directories),
        ("own_names", own_names),
        ("space_of_removed_files", space_of_removed_files),
        ("large_directory", large_directory),
    ];
    let mut trials = Vec::new();
    for (name, case) in cases {
        for platform in platforms.split([',', ' ']).filter(|p| !p.is_empty()) {
            let title = format!("host_changes/{name} [{platform}]");
            let platform = platform.to_owned();
            trials.push(Trial::new(title, move || match why_not() {
                Some(why) => Outcome::Skipped(why),
                None => {
                    let run = || {
                        let mut guest = Guest::start(&platform);
                        case(&mut guest);
                        guest.end();
                    };
                    match std::panic::catch_unwind(run) {
                        Ok(()) => Outcome::Passed(String::new()),
                        Err(_) => Outcome::Failed("see the panic above".to_owned()),
                    }
                }
            }));
        }
    }
    run_all(&options, 1, trials)
}

fn tree() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache");
    std::env::var_os("RUNSC_TEST_CACHE")
        .map_or_else(default, PathBuf::from)
        .join("rootfs")
}

fn why_not() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    (!tree().join("bin").exists())
        .then(|| "needs the Debian tree: run cargo xtask rootfs".to_owned())
}

/// A shell in a container, in `/work`.
struct Guest {
    bundle: Bundle,
    runsc: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    id: String,
}

impl Guest {
    fn start(platform: &str) -> Self {
        let bundle = Bundle::new(&tree(), &["/bin/bash"]).unwrap_or_else(|e| panic!("{e}"));
        let id = format!("host-changes-{}", harness::run_name());
        let mut child = Command::new(runsc())
            .arg("--root")
            .arg(bundle.path().join("state"))
            .args(["--network=none", "--platform", platform, "run", &id])
            .current_dir(bundle.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run runsc: {e}"));
        Self {
            bundle,
            commands: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap_or_else(|| unreachable!())),
            runsc: child,
            id,
        }
    }

    /// `/work` of the container, on the host.
    fn path(&self, name: &str) -> PathBuf {
        self.bundle.work().join(name)
    }

    fn ask(&mut self, command: &str) -> String {
        let commands = self.commands.as_mut().unwrap_or_else(|| unreachable!());
        writeln!(commands, "{{ {command}; }} 2>&1; echo; echo {END}")
            .unwrap_or_else(|e| panic!("the guest is gone: {e}"));
        let mut answer = String::new();
        loop {
            let mut line = String::new();
            let read = self.answers.read_line(&mut line);
            assert!(
                matches!(read, Ok(1..)),
                "the guest ended at {command}: {answer}"
            );
            if line.trim_end() == END {
                return answer.trim_end().to_owned();
            }
            answer.push_str(&line);
        }
    }

    #[track_caller]
    fn expect(&mut self, command: &str, answer: &str) {
        let got = self.ask(command);
        assert_eq!(got, answer, "{command}");
    }

    fn end(mut self) {
        drop(self.commands.take());
        let status = self.runsc.wait();
        assert!(status.is_ok_and(|status| status.success()));
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut runsc = Command::new(runsc());
        runsc.arg("--root").arg(self.bundle.path().join("state"));
        let _ = runsc
            .args(["delete", "--force", &self.id])
            .stderr(Stdio::null())
            .status();
        let _ = self.runsc.kill();
        let _ = self.runsc.wait();
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

#[track_caller]
fn done<T>(result: std::io::Result<T>) -> T {
    result.unwrap_or_else(|e| panic!("the host: {e}"))
}

fn names(guest: &mut Guest) {
    let (f, g) = (guest.path("f"), guest.path("g"));
    for round in 0..20 {
        guest.expect("test -e f || echo none", "none");
        write(&f, &format!("{round}"));
        guest.expect("cat f", &format!("{round}"));
        write(&g, "replaced");
        guest.expect("cat g", "replaced");
        done(fs::rename(&g, &f));
        guest.expect("cat f; test -e g || echo none", "replacednone");
        done(fs::remove_file(&f));
        done(symlink("elsewhere", &f));
        guest.expect("readlink f", "elsewhere");
        done(fs::remove_file(&f));
    }
}

fn contents_and_attributes(guest: &mut Guest) {
    let f = guest.path("f");
    write(&f, "one");
    guest.expect("cat f; stat -c %s-%a-%u f", "one3-644-0");
    for round in 1..20_u32 {
        write(&f, &"x".repeat(round as usize));
        guest.expect("stat -c %s f; cat f | wc -c", &format!("{round}\n{round}"));
        done(fs::set_permissions(
            &f,
            fs::Permissions::from_mode(0o600 + round % 8),
        ));
        done(chown(&f, Some(round), Some(round + 1)));
        guest.expect(
            "stat -c %a-%u-%g f",
            &format!("{:o}-{round}-{}", 0o600 + round % 8, round + 1),
        );
        done(fs::hard_link(&f, guest.path("link")));
        guest.expect("stat -c %h f", "2");
        done(fs::remove_file(guest.path("link")));
        guest.expect("stat -c %h f", "1");
    }
    // A file that the guest holds open.
    guest.expect("exec 3< f; cat <&3 | wc -c", "19");
    done(chown(&f, Some(77), None));
    guest.expect("stat -L -c %u /proc/self/fd/3", "77");
}

fn directories(guest: &mut Guest) {
    let (d, e) = (guest.path("d"), guest.path("e"));
    for _ in 0..10 {
        done(fs::create_dir(&d));
        write(&d.join("inside"), "text");
        guest.expect("ls d; cat d/inside", "inside\ntext");
        done(fs::rename(&d, &e));
        guest.expect("test -e d || echo none; cat e/inside", "none\ntext");
        done(fs::set_permissions(&e, fs::Permissions::from_mode(0o710)));
        guest.expect("stat -c %a-%h e", "710-2");
        done(fs::create_dir(e.join("sub")));
        guest.expect("test -d e/sub && echo there", "there");
        // In a directory that the guest stands in.
        guest.expect("cd e; test -e new || echo none", "none");
        write(&e.join("new"), "new");
        guest.expect("cat new; cd ..", "new");
        done(fs::remove_dir_all(&e));
        guest.expect("test -e e || echo none", "none");
    }
}

fn own_names(guest: &mut Guest) {
    let (x, y) = (guest.path("x"), guest.path("y"));
    for _ in 0..10 {
        guest.expect("echo ours > x; cat x", "ours");
        done(fs::remove_file(&x));
        guest.expect("test -e x || echo none", "none");
        guest.expect(
            "echo again > x; mv x y; cat y; test -e x || echo none",
            "again\nnone",
        );
        assert_eq!(done(fs::read_to_string(&y)), "again\n");
        write(&x, "theirs");
        guest.expect(
            "cat x; (set -C; echo no > x) 2> /dev/null || echo exists",
            "theirsexists",
        );
        done(fs::rename(&y, &x));
        guest.expect("cat x; rm x; test -e x || echo none", "again\nnone");
        assert!(!x.exists());
        guest.expect(
            "mkdir x; touch x/a x/b; rm -r x; test -e x || echo none",
            "none",
        );
        // An exclusive creation of what the host has just made.
        guest.expect("test -e x || echo none", "none");
        done(fs::create_dir(&x));
        guest.expect("mkdir x 2> /dev/null || echo exists; rmdir x", "exists");
    }
}

fn space_of_removed_files(guest: &mut Guest) {
    let free = |guest: &Guest| {
        let layers = guest.bundle.path().join("layers");
        let stat = nix::sys::statvfs::statvfs(&layers).unwrap_or_else(|e| panic!("{e}"));
        stat.blocks_free() * stat.fragment_size()
    };
    let before = free(guest);
    guest.expect(
        "head -c 30000000 /dev/zero > big; cat big | wc -c",
        "30000000",
    );
    assert!(free(guest) + 25_000_000 < before);
    guest.expect("rm big", "");
    let limit = Instant::now() + Duration::from_secs(20);
    while free(guest) + 5_000_000 < before {
        assert!(Instant::now() < limit, "the space is still taken");
        std::thread::yield_now();
    }
}

fn large_directory(guest: &mut Guest) {
    const FILES: usize = 20_000;
    let d = guest.path("d");
    done(fs::create_dir(&d));
    for number in 0..FILES {
        write(&d.join(format!("file-{number}")), "");
    }
    guest.expect("ls -U d | wc -l", &FILES.to_string());
    guest.expect("ls -U d | sort -u | wc -l", &FILES.to_string());
    guest.expect(
        "cd d; for f in file-*1; do : > $f; done; cd ..; rm -r d; ls | wc -l",
        "0",
    );
    assert!(!d.exists());
}
