//! `--overlay2`: what a guest does looks the same with every medium as without an overlay, and the host's files stay as they were. Environment as for
//! `programs`.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use harness::Scratch;
use integration::guest::{self, Guest, Setup};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

fn main() -> ExitCode {
    guest::main(
        "overlay",
        &[
            ("root_in_each_medium", root_in_each_medium),
            ("mounts_in_each_medium", mounts_in_each_medium),
            ("size_is_a_limit", size_is_a_limit),
            ("bytes_are_kept_where_asked", bytes_are_kept_where_asked),
            ("wrong_values_are_refused", wrong_values_are_refused),
        ],
    )
}

/// A file system in memory on the host, gone when dropped.
struct Mounted(Scratch);

impl Mounted {
    fn new(options: &str) -> Self {
        let scratch = Scratch::new();
        let none = Some("none");
        mount(
            none,
            scratch.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some(options),
        )
        .unwrap_or_else(|e| panic!("cannot mount a tmpfs: {e}"));
        Self(scratch)
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}

/// What is below the overlay.
fn prepare(dir: &Path) {
    let done = |result: std::io::Result<()>| result.unwrap_or_else(|e| panic!("the host: {e}"));
    let write = |name: &str, text: &str| done(fs::write(dir.join(name), text));
    for name in [
        "kept",
        "changed",
        "cut",
        "removed",
        "mapped",
        "renamed",
        "attributes",
    ] {
        write(name, &format!("low {name}\n"));
    }
    done(fs::hard_link(dir.join("changed"), dir.join("linked")));
    done(symlink("kept", dir.join("symlink")));
    done(fs::create_dir_all(dir.join("dir/deep")));
    write("dir/deep/file", "deep\n");
    write("dir/file", "in dir\n");
    write("sparse", "");
    let sparse = fs::OpenOptions::new().write(true).open(dir.join("sparse"));
    let sparse = sparse.unwrap_or_else(|e| panic!("{e}"));
    done(sparse.set_len(64 << 20));
    done(std::os::unix::fs::FileExt::write_all_at(
        &sparse,
        b"end",
        (64 << 20) - 3,
    ));
    let then = fs::FileTimes::new()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000));
    let file = fs::OpenOptions::new()
        .write(true)
        .open(dir.join("attributes"));
    done(file.and_then(|file| file.set_times(then)));
    let set = std::process::Command::new("python3")
        .args([
            "-c",
            "import os,sys; os.setxattr(sys.argv[1], 'user.note', b'kept')",
        ])
        .arg(dir.join("attributes"))
        .status();
    assert!(
        set.is_ok_and(|status| status.success()),
        "user.* attributes on the host"
    );
}

/// All names below `dir` with what they have.
fn snapshot(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        for entry in entries.flatten() {
            let path: PathBuf = entry.path();
            let about = fs::symlink_metadata(&path).unwrap_or_else(|e| panic!("{e}"));
            let text = if about.is_file() && about.len() < 4096 {
                fs::read_to_string(&path).unwrap_or_default()
            } else {
                String::new()
            };
            all.push(format!(
                "{} {:o} {} {} {} {text:?}",
                path.display(),
                about.mode(),
                about.nlink(),
                about.size(),
                about.mtime()
            ));
            if about.is_dir() {
                left.push(path);
            }
        }
    }
    all.sort();
    all
}

/// What the guest does, a command a step.
const STEPS: &[&str] = &[
    "cat kept; ls",
    "echo more >> changed; cat changed linked; stat -c '%h %s' changed linked",
    ": > cut; stat -c %s cut; echo new > cut; cat cut",
    "rm removed; ls removed; echo again > removed; cat removed; rm removed; ls",
    "mv renamed dir/moved; cat dir/moved; ls renamed",
    "mv dir other; cat other/deep/file other/file other/moved; ls dir; ls other",
    "mkdir dir; ls -A dir; echo x > dir/file; cat dir/file other/file",
    "rm -r other; ls",
    "ln kept kept2; echo changed >> kept2; cat kept; stat -c %h kept kept2; rm kept; cat kept2 symlink",
    "cp --preserve=mode kept2 kept; cat symlink",
    "stat -c '%Y %a' attributes; python3 -c 'import os; print(os.getxattr(\"attributes\", \"user.note\"))'",
    "chmod 600 attributes; stat -c '%Y %a' attributes; python3 -c 'import os; print(os.getxattr(\"attributes\", \"user.note\"))'",
    "python3 -c 'import os; os.setxattr(\"attributes\", \"user.more\", b\"2\"); print(sorted(os.listxattr(\"attributes\")))'",
    "printf A | dd of=sparse conv=notrunc status=none; stat -c %s sparse; test $(stat -c %b sparse) -lt 1000 && echo sparse; tail -c 3 sparse; head -c 1 sparse",
    "python3 -c '
import mmap
f = open(\"mapped\", \"r+b\")
r = mmap.mmap(f.fileno(), 0)
r[0:3] = b\"MAP\"; r.flush()
print(open(\"mapped\").read())
g = open(\"mapped\", \"r+b\"); g.seek(4); g.write(b\"FILE\"); g.flush()
print(r[:])'",
    "python3 -c '
import mmap
f = open(\"cut\", \"rb\")
r = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
w = open(\"cut\", \"r+b\"); w.write(b\"N\"); w.flush()
print(r[:1], open(\"cut\").read())'",
    "python3 -c '
import ctypes, os
d = os.open(\".\", os.O_TMPFILE | os.O_RDWR, 0o600)
os.write(d, b\"t\" * 10000)
assert ctypes.CDLL(None).linkat(-100, b\"/proc/self/fd/%d\" % d, -100, b\"from_tmpfile\", 0x400) == 0
print(os.stat(\"from_tmpfile\").st_size, os.stat(\"from_tmpfile\").st_nlink)'",
    "mkfifo pipe; (echo through > pipe &) ; cat pipe; rm pipe",
    "head -c 300000 /dev/urandom > big; cp big big2; cmp big big2 && rm big && cat big2 | wc -c; fallocate -p -o 4096 -l 8192 big2 && head -c 8192 big2 | tail -c 4096 | tr -d '\\0' | wc -c",
    "ln -s nowhere dangling; readlink dangling; rm dangling; mkdir -p a/b/c; rmdir a/b/c; mv a/b a/d; find a | sort",
    "ls -A | sort",
];

fn answers(guest: &mut Guest, dir: &str) -> Vec<String> {
    let ask = |step: &&str| {
        let answer = guest.ask(&format!("cd {dir}; {step}"));
        // A step that cannot work at all would be the same everywhere.
        for word in ["Traceback", "not found", "not supported"] {
            assert!(!answer.contains(word), "{step}: {answer}");
        }
        answer
    };
    STEPS.iter().map(ask).collect()
}

fn compare(medium: &str, expected: &[String], got: &[String]) {
    for ((step, expected), got) in STEPS.iter().zip(expected).zip(got) {
        assert_eq!(got, expected, "{medium}: {step}");
    }
}

fn with_overlay(value: &str) -> Setup {
    Setup {
        prepare: Some(prepare),
        ..Setup::flags(&["--overlay2", value])
    }
}

fn root_in_each_medium(platform: &str) {
    let directory = Mounted::new("mode=755");
    let mut guest = Guest::with(platform, with_overlay("none"));
    let expected = answers(&mut guest, "/work");
    guest.end();
    for medium in [
        "root:memory".to_owned(),
        "root:self".to_owned(),
        format!("root:dir={}", directory.path().display()),
    ] {
        let mut guest = Guest::with(platform, with_overlay(&medium));
        let before = snapshot(&guest.path("."));
        compare(&medium, &expected, &answers(&mut guest, "/work"));
        assert_eq!(
            snapshot(&guest.path(".")),
            before,
            "{medium}: the host's files"
        );
        guest.end();
    }
    let left = fs::read_dir(directory.path()).map(Iterator::count);
    assert_eq!(
        left.unwrap_or(1),
        0,
        "names in the directory of the overlay"
    );
}

fn mounts_in_each_medium(platform: &str) {
    let directory = Mounted::new("mode=755");
    let source = Scratch::new();
    let start = |medium: &str, lower: &Path| {
        Guest::with(
            platform,
            Setup::flags(&["--overlay2", medium]).bind(lower, "/mnt"),
        )
    };
    let plain = source.path().join("plain");
    fs::create_dir(&plain).unwrap_or_else(|e| panic!("{e}"));
    prepare(&plain);
    let mut guest = start("none", &plain);
    let expected = answers(&mut guest, "/mnt");
    guest.end();
    let lower = source.path().join("lower");
    fs::create_dir(&lower).unwrap_or_else(|e| panic!("{e}"));
    prepare(&lower);
    let before = snapshot(&lower);
    for medium in [
        "all:memory".to_owned(),
        "all:self".to_owned(),
        format!("all:dir={}", directory.path().display()),
    ] {
        let mut guest = start(&medium, &lower);
        compare(&medium, &expected, &answers(&mut guest, "/mnt"));
        guest.ask("echo x > /made");
        assert!(
            !guest.rootfs().join("made").exists(),
            "{medium}: the root, too"
        );
        guest.end();
        assert_eq!(snapshot(&lower), before, "{medium}: the host's files");
    }
    // Only the root: a bind mount is the host's.
    let mut guest = start("root:memory", &lower);
    guest.expect("echo through > /mnt/through; cat /mnt/through", "through");
    guest.end();
    let through = fs::read_to_string(lower.join("through"));
    assert_eq!(through.ok().as_deref(), Some("through\n"));
}

fn size_is_a_limit(platform: &str) {
    let directory = Mounted::new("mode=755");
    for medium in [
        "memory".to_owned(),
        format!("dir={}", directory.path().display()),
    ] {
        let value = format!("root:{medium},size=1m");
        let mut guest = Guest::with(platform, with_overlay(&value));
        guest.expect("df --output=size /work | tail -1 | tr -d ' '", "1024");
        let full = guest.ask("dd if=/dev/zero of=f bs=64k count=32 2>&1 | head -1");
        assert!(full.contains("No space left on device"), "{value}: {full}");
        guest.expect("test $(stat -c %s f) -le 1048576 && rm f && dd if=/dev/zero of=g bs=64k count=8 2>/dev/null && stat -c %s g", "524288");
        guest.end();
    }
}

fn bytes_are_kept_where_asked(platform: &str) {
    let directory = Mounted::new("mode=755,size=2m");
    let value = format!("root:dir={}", directory.path().display());
    let mut guest = Guest::with(platform, with_overlay(&value));
    guest.expect("df --output=size /work | tail -1 | tr -d ' '", "2048");
    let full = guest.ask("dd if=/dev/zero of=f bs=64k count=64 2>&1 | head -1");
    assert!(full.contains("No space left on device"), "{full}");
    guest.expect(
        "rm f; dd if=/dev/zero of=g bs=64k count=8 2>/dev/null && stat -c %s g",
        "524288",
    );
    guest.end();
    let stat = nix::sys::statvfs::statvfs(directory.path()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(stat.blocks_free(), stat.blocks(), "all is given back");
}

fn wrong_values_are_refused(platform: &str) {
    let guest = Guest::start(platform);
    for (value, word) in [
        ("root", "expected none"),
        ("some:memory", "neither root nor all"),
        ("root:dir=relative", "absolute"),
        ("root:memory,size=much", "size=BYTES"),
        ("root:tape", "the medium must be"),
    ] {
        let output = guest.runsc(&["--overlay2", value, "state", "@ID@"]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{value}");
        assert!(
            words.contains(&format!("--overlay2={value}")) && words.contains(word),
            "{words}"
        );
    }
    // A directory where files without names cannot be made, or that is not there.
    for value in ["root:dir=/proc", "root:dir=/nonexistent"] {
        let output = guest.runsc(&["--overlay2", value, "create", "second"]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{value}");
        assert!(
            words.contains("cannot keep files of an overlay in "),
            "{words}"
        );
    }
    guest.end();
}
