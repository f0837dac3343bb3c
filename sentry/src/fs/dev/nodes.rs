//! The default content of `/dev` (OCI runtime specification, "Default Devices"; `config-linux.md`).

use abi::fs::makedev;

/// `/dev/tty`.
pub const TTY_RDEV: u64 = makedev(5, 0);
/// `/dev/console`.
pub const CONSOLE_RDEV: u64 = makedev(5, 1);
/// `/dev/ptmx`.
pub const PTMX_RDEV: u64 = makedev(5, 2);

/// A character device to be made with mknod in the tmpfs at `/dev`, mode 0666.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultNode {
    /// Name below `/dev`.
    pub name: &'static str,
    /// Device number.
    pub rdev: u64,
}

/// Device nodes.
pub const DEFAULT_NODES: [DefaultNode; 6] = [
    DefaultNode {
        name: "null",
        rdev: makedev(1, 3),
    },
    DefaultNode {
        name: "zero",
        rdev: makedev(1, 5),
    },
    DefaultNode {
        name: "full",
        rdev: makedev(1, 7),
    },
    DefaultNode {
        name: "random",
        rdev: makedev(1, 8),
    },
    DefaultNode {
        name: "urandom",
        rdev: makedev(1, 9),
    },
    DefaultNode {
        name: "tty",
        rdev: TTY_RDEV,
    },
];

/// Symbolic links: name below `/dev` and target.
pub const DEFAULT_LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

/// Mount points below `/dev`.
pub const DEFAULT_DIRS: [&str; 3] = ["pts", "shm", "mqueue"];
