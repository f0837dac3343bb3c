//! A container and its host change the same files, in turn: each sees at once what the other has finished.
//!
//! The host's side of the root is the overlay that the bundle is made of. The guest is a shell that reads commands; a command is asked for only after
//! the host's change is done, and its answer waited for before the next. Environment as for `programs`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use integration::guest::{self, Guest};

/// Runs the case `f` in a guest of its own.
macro_rules! in_guest {
    ($($f:ident),* $(,)?) => {
        &[$((stringify!($f), |platform| {
            let mut guest = Guest::start(platform);
            $f(&mut guest);
            guest.end();
        })),*]
    };
}

fn main() -> ExitCode {
    guest::main(
        "host_changes",
        in_guest![
            names,
            contents_and_attributes,
            directories,
            own_names,
            space_of_removed_files,
            large_directory,
        ],
    )
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
        let layers = guest.rootfs().with_file_name("layers");
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
