//! A server in threads over a private directory, and a client for it.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use abi::Errno;
use gofer::client::{Client, Entry, Ownership};
use gofer::server::{ServerConfig, TreeConfig, proc_self_fd, serve};
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

/// A directory that goes away.
pub(crate) struct TempDir(pub(crate) PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gofer-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .unwrap()
}

pub(crate) fn tree(path: &Path) -> TreeConfig {
    TreeConfig::new(open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap())
}

/// The ends that a sentry would have.
pub(crate) struct Ends {
    pub(crate) channels: Vec<OwnedFd>,
    pub(crate) events: OwnedFd,
    pub(crate) server: JoinHandle<Result<(), Errno>>,
}

pub(crate) fn start(trees: Vec<TreeConfig>, channels: usize, max_watches: usize) -> Ends {
    let (ours, theirs): (Vec<_>, Vec<_>) = (0..channels).map(|_| pair()).unzip();
    let (our_events, their_events) = pair();
    let config = ServerConfig {
        trees,
        channels: theirs,
        lifeline: their_events,
        proc_self_fd: proc_self_fd().unwrap(),
        max_watches,
    };
    Ends {
        channels: ours,
        events: our_events,
        server: std::thread::spawn(move || serve(config)),
    }
}

/// A served directory.
pub(crate) struct Served {
    pub(crate) client: Client,
    pub(crate) root: Entry,
    pub(crate) dir: TempDir,
}

pub(crate) fn served() -> Served {
    served_with(|_| {})
}

pub(crate) fn served_with(change: impl FnOnce(&mut TreeConfig)) -> Served {
    let dir = TempDir::new();
    let mut config = tree(&dir.0);
    change(&mut config);
    let ends = start(vec![config], 3, 100);
    let client = Client::connect(ends.channels).unwrap();
    let root = client.attach(0).unwrap();
    Served { client, root, dir }
}

pub(crate) fn owner(mode: u32) -> Ownership {
    let me = (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    );
    Ownership {
        mode,
        uid: me.0,
        gid: me.1,
    }
}
