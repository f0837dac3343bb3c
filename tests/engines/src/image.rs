//! The image that containers run: the files of a few packages of the tests' Debian tree, without documentation, as a tar archive in the cache.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Packages whose files are in the image, with what they are linked with.
const PACKAGES: &[&str] = &[
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "dash",
    "debianutils",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "libacl1",
    "libattr1",
    "libblkid1",
    "libbz2-1.0",
    "libc-bin",
    "libc6",
    "libcap-ng0",
    "libcap2",
    "libcrypt1",
    "libgcc-s1",
    "libgcrypt20",
    "libgmp10",
    "libgpg-error0",
    "liblz4-1",
    "liblzma5",
    "libmd0",
    "libmount1",
    "libncursesw6",
    "libpcre2-8-0",
    "libproc2-0",
    "libreadline8",
    "libselinux1",
    "libsmartcols1",
    "libssl3",
    "libsystemd0",
    "libtinfo6",
    "libuuid1",
    "libzstd1",
    "mount",
    "ncurses-base",
    "perl-base",
    "procps",
    "sed",
    "tar",
    "util-linux",
    "zlib1g",
];

/// Made by the packages' scripts, so in no package's list.
const OTHERS: &[&str] = &[
    "bin",
    "sbin",
    "lib",
    "lib64",
    "etc/passwd",
    "etc/group",
    "etc/shadow",
    "usr/bin/sh",
    "tmp",
    "mnt",
    "root",
    "proc",
    "sys",
    "dev",
    "run",
    "var",
];

/// Where `cargo xtask rootfs` keeps the tree, and this module its archive.
#[must_use]
pub fn cache() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache");
    std::env::var_os("RUNSC_TEST_CACHE").map_or_else(default, PathBuf::from)
}

/// The archive, made now unless it is in the cache.
///
/// # Errors
/// What is missing, as a sentence.
pub fn archive() -> Result<PathBuf, String> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    MADE.get_or_init(make).clone()
}

fn make() -> Result<PathBuf, String> {
    let tree = cache()
        .join("rootfs")
        .canonicalize()
        .map_err(|_| "the Debian tree is missing: run cargo xtask rootfs".to_owned())?;
    let mut hasher = DefaultHasher::new();
    (PACKAGES, OTHERS, &tree).hash(&mut hasher);
    let path = cache().join(format!("engines-{:016x}.tar", hasher.finish()));
    if path.exists() {
        return Ok(path);
    }
    let files = files(&tree)?;
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let mut tar = Command::new("tar")
        .arg("--create")
        .arg("--file")
        .arg(&partial)
        .arg("--directory")
        .arg(&tree)
        .args(["--no-recursion", "--null", "--files-from=-"])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot run tar: {e}"))?;
    let list: Vec<u8> = files
        .iter()
        .flat_map(|file| file.bytes().chain([0]))
        .collect();
    let written = tar.stdin.take().map(|mut input| input.write_all(&list));
    let status = tar.wait().map_err(|e| e.to_string())?;
    if !status.success() || !matches!(written, Some(Ok(()))) {
        let _ = fs::remove_file(&partial);
        return Err(format!("tar could not make the image: {status}"));
    }
    fs::rename(&partial, &path).map_err(|e| e.to_string())?;
    Ok(path)
}

/// Paths relative to the tree, directories before what is in them.
fn files(tree: &Path) -> Result<BTreeSet<String>, String> {
    let mut all: BTreeSet<String> = OTHERS
        .iter()
        .filter(|path| tree.join(path).symlink_metadata().is_ok())
        .map(|path| (*path).to_owned())
        .collect();
    for package in PACKAGES {
        let info = tree.join("var/lib/dpkg/info");
        let names = [
            info.join(format!("{package}.list")),
            info.join(format!("{package}:amd64.list")),
        ];
        let text = names
            .iter()
            .find_map(|name| fs::read_to_string(name).ok())
            .ok_or_else(|| format!("the Debian tree has no package {package}"))?;
        for line in text.lines() {
            let path = line.trim_start_matches('/');
            let wanted = !path.is_empty()
                && path != "."
                && ![
                    "usr/share/doc",
                    "usr/share/man",
                    "usr/share/locale",
                    "usr/share/info",
                ]
                .iter()
                .any(|prefix| path.starts_with(prefix));
            // Packages of before merged /usr list files in /bin: the tree's links lead to them, and tar must not store them twice.
            let Some(path) = wanted.then(|| merged(tree, path)).flatten() else {
                continue;
            };
            all.insert(path);
        }
    }
    Ok(all)
}

/// The path with its first component's link resolved (`bin/ls` is `usr/bin/ls`), if it exists.
fn merged(tree: &Path, path: &str) -> Option<String> {
    let path = match path.split_once('/') {
        Some((first @ ("bin" | "sbin" | "lib" | "lib32" | "lib64" | "libx32"), rest)) => {
            let target = fs::read_link(tree.join(first)).ok()?;
            format!("{}/{rest}", target.display())
        }
        _ => path.to_owned(),
    };
    tree.join(&path).symlink_metadata().ok().map(|_| path)
}
