//! The Debian 12 tree for the integration tests, made once by debootstrap and kept in a cache.
//!
//! The cache is `$RUNSC_TEST_CACHE`, else `.cache/` in the workspace. A tree's name ends in a hash of its list of packages, so a changed list
//! makes a new tree; `rootfs` and `rootfs-languages` link to the latest. A tree appears under its name only when it is complete.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What every program of the tests needs.
const BASE: &[&str] = &[
    "bash",
    "busybox-static",
    "coreutils",
    "diffutils",
    "file",
    "findutils",
    "gawk",
    "gcc",
    "git",
    "grep",
    "gzip",
    "less",
    "libc6-dev",
    "make",
    "perl",
    "procps",
    "python3",
    "redis-server",
    "sed",
    "sqlite3",
    "tar",
    "tmux",
    "util-linux",
    "vim-nox",
    "xz-utils",
];

/// The large ones: Node.js, Go, Java, and what else the long tier drives.
const LANGUAGES: &[&str] = &[
    "cargo",
    "cmake",
    "curl",
    "default-jdk-headless",
    "g++",
    "gnupg",
    "golang-go",
    "libpython3.11-testsuite",
    "ninja-build",
    "nodejs",
    "npm",
    "openssh-client",
    "openssl",
    "postgresql",
    "python3-pip",
    "python3-venv",
    "rsync",
    "ruby",
    "stress-ng",
];

/// Servers and clients for `cargo xtask network`.
pub(crate) const NETWORK: &[&str] = &[
    "apache2-utils",
    "bash",
    "bind9-dnsutils",
    "coreutils",
    "curl",
    "dnsmasq-base",
    "grep",
    "iperf3",
    "iputils-ping",
    "nginx-light",
    "openssh-client",
    "openssh-server",
    "postgresql",
    "procps",
    "python3",
    "redis-server",
    "redis-tools",
    "traceroute",
    "util-linux",
];

/// Source packages whose archives lie in `/usr/src/<name>` of every tree: the tests build them.
const SOURCES: &[&str] = &["lua5.1"];

const RELEASE: &str = "bookworm";

/// Where trees are kept.
pub(crate) fn cache() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache");
    std::env::var_os("RUNSC_TEST_CACHE").map_or_else(default, PathBuf::from)
}

/// The mirror that this machine's own apt uses, if it is a Debian one; else debootstrap decides.
fn mirror() -> Option<String> {
    let format = "$(CODENAME) $(REPO_URI)";
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", format, "Created-By: Packages"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| {
        line.strip_prefix(RELEASE)?
            .strip_prefix(' ')
            .map(str::to_owned)
    })
}

/// The name of a tree of these packages: a changed list is another tree.
fn name(packages: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    (RELEASE, packages, SOURCES).hash(&mut hasher);
    format!("rootfs-{RELEASE}-{:016x}", hasher.finish())
}

/// Runs debootstrap for a minimal tree with `packages`.
fn bootstrap(packages: &[&str], partial: &Path) -> Result<()> {
    let mut command = Command::new("debootstrap");
    command
        .arg("--variant=minbase")
        .arg(format!("--include={}", packages.join(",")))
        .arg(RELEASE)
        .arg(partial)
        .args(mirror());
    run(&mut command).with_context(|| {
        let log = partial.join("debootstrap/debootstrap.log");
        format!("debootstrap's log is {}", log.display())
    })
}

/// Builds a tree of `packages` for another purpose than the tests' programs unless it is there, and links `link` to it.
pub(crate) fn build_plain(packages: &[&str], link: &str) -> Result<PathBuf> {
    complete(link, &name(packages), |partial| {
        bootstrap(packages, partial)
    })
}

/// Builds the tree unless it is there, links `rootfs` to it, and returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    complete("rootfs", &name(BASE), |partial| {
        bootstrap(BASE, partial)?;
        sources(partial)?;
        fs::create_dir_all(partial.join("work"))?;
        Ok(())
    })
}

/// The same with the large packages on top, linked as `rootfs-languages`.
pub(crate) fn build_with_languages() -> Result<PathBuf> {
    let base = build()?;
    complete(
        "rootfs-languages",
        &name(&[BASE, LANGUAGES].concat()),
        |partial| {
            run(Command::new("cp").arg("-a").arg(&base).arg(partial))?;
            // Packages start no services here (policy-rc.d), and some look at /proc while they are set up.
            let policy = partial.join("usr/sbin/policy-rc.d");
            fs::write(&policy, "#!/bin/sh\nexit 101\n")?;
            fs::set_permissions(&policy, fs::Permissions::from_mode(0o755))?;
            let script = format!(
                "mount -t proc proc /proc && apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {}",
                LANGUAGES.join(" ")
            );
            // In a mount namespace of its own, so that nothing stays mounted whatever happens.
            run(Command::new("unshare")
                .args(["--mount", "chroot"])
                .arg(partial)
                .args(["sh", "-c", &script]))?;
            fs::remove_file(policy)?;
            remove(&partial.join("var/cache/apt/archives"))
        },
    )
}

/// Makes `tree` in the cache by `make`, unless it is there, and links `link` to it. It appears under its name only when it is complete.
fn complete(link: &str, tree: &str, make: impl Fn(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = cache();
    fs::create_dir_all(&cache)
        .with_context(|| format!("cannot create the cache {}", cache.display()))?;
    let cache = cache.canonicalize()?;
    let tree = cache.join(tree);
    if !tree.exists() {
        ensure!(
            is_root(),
            "debootstrap needs root: run cargo xtask rootfs as root"
        );
        let partial = tree.with_extension("partial");
        remove(&partial)?;
        make(&partial)?;
        remove(&partial.join("var/cache/apt/archives"))?;
        fs::rename(&partial, &tree)?;
    }
    let link = cache.join(link);
    if fs::read_link(&link).ok().as_deref() != Some(&tree) {
        let _ = fs::remove_file(&link);
        symlink(&tree, &link).with_context(|| format!("cannot link {}", link.display()))?;
    }
    Ok(tree)
}

/// Downloads the source packages into the tree, from where its binary packages came.
fn sources(tree: &Path) -> Result<()> {
    let list = tree.join("etc/apt/sources.list");
    let binary = fs::read_to_string(&list).context("the tree names no package source")?;
    let source = tree.join("etc/apt/sources.list.d/source.list");
    fs::write(&source, binary.replace("deb ", "deb-src "))?;
    for package in SOURCES {
        let script = format!(
            "mkdir -p /usr/src/{package} && cd /usr/src/{package} && apt-get update && apt-get source --download-only {package}"
        );
        run(Command::new("chroot").arg(tree).args(["sh", "-c", &script]))?;
    }
    fs::remove_file(source)?;
    Ok(())
}

/// Runs a command that must succeed; stdout is for the path, so its own goes to stderr.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let status = command
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot run {}: install its package", program.display()))?;
    ensure!(status.success(), "{} failed: {status}", program.display());
    Ok(())
}

/// Whether this process owns files that root owns.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Removes a tree if it is there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
