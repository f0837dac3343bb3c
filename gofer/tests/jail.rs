//! The server in its jail, in a process of its own: every operation works, and the ways out are closed.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use abi::Errno;
use common::{TempDir, owner, pair};
use gofer::client::{
    Client, NodKind, OpenFlags, Polling, RenameFlags, SetAttr, SetTime, SocketKind, SyncKind,
    UnlinkKind, Want, WatchMask, XattrFlags,
};
use gofer::jail::{HostSockets, JailTree, MountAccess, Submounts, confine, lock_down};
use gofer::server::{ServerConfig, TreeConfig, serve};
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const SERVE: &str = "GOFER_TEST_JAIL_SERVE";
const READ_ONLY: &str = "GOFER_TEST_JAIL_READ_ONLY";
const PROBE: &str = "GOFER_TEST_JAIL_PROBE";
const EXPLORE: &str = "GOFER_TEST_JAIL_EXPLORE";

fn main() {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    if let Some(path) = variable(SERVE) {
        serve_jailed(path, MountAccess::AsSource);
    } else if let Some(path) = variable(READ_ONLY) {
        serve_jailed(path, MountAccess::ReadOnly);
    } else if let Some(path) = variable(EXPLORE) {
        explore(path);
    } else if variable(PROBE).is_some() {
        std::process::exit(i32::from(unshare(namespaces()).is_err()));
    } else if unshare_allowed() {
        every_operation_works();
        the_host_refuses_writes_to_read_only_mounts();
        there_is_no_way_out();
        println!("jail: 3 passed");
    } else {
        println!("jail: skipped, mount namespaces are not to be had here");
    }
}

/// What the launcher's child does. Channel and lifeline are stdin and stdout.
fn enter(source: PathBuf, access: MountAccess) -> (Vec<TreeConfig>, std::os::fd::OwnedFd) {
    let ids = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(namespaces()).unwrap();
    if !ids.0.is_root() {
        fs::write("/proc/self/setgroups", "deny").unwrap();
        fs::write("/proc/self/uid_map", format!("{0} {0} 1", ids.0)).unwrap();
        fs::write("/proc/self/gid_map", format!("{0} {0} 1", ids.1)).unwrap();
    }
    let tree = JailTree {
        source,
        submounts: Submounts::Included,
        access,
    };
    let confined = confine(&[tree]).unwrap();
    let trees = confined
        .trees
        .into_iter()
        .map(|root| TreeConfig {
            host_uds: true,
            ..TreeConfig::new(root)
        })
        .collect();
    (trees, confined.proc_self_fd)
}

fn namespaces() -> CloneFlags {
    let user = if nix::unistd::geteuid().is_root() {
        CloneFlags::empty()
    } else {
        CloneFlags::CLONE_NEWUSER
    };
    CloneFlags::CLONE_NEWNS | user
}

fn unshare_allowed() -> bool {
    // In a process of its own, since it cannot be taken back and a user namespace only comes to single-threaded ones.
    Command::new(std::env::current_exe().unwrap())
        .env(PROBE, "")
        .status()
        .unwrap()
        .success()
}

fn serve_jailed(source: PathBuf, access: MountAccess) {
    let (trees, proc_self_fd) = enter(source, access);
    let channels = vec![std::io::stdin().as_fd().try_clone_to_owned().unwrap()];
    let lifeline = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
    lock_down(HostSockets::Allowed).unwrap();
    serve(ServerConfig {
        trees,
        channels,
        lifeline,
        proc_self_fd,
        max_watches: 10,
    })
    .unwrap();
}

/// Tries the ways out, without the filter that would kill for most of them.
fn explore(source: PathBuf) {
    let inode = |fd: std::os::fd::BorrowedFd<'_>, path: &str| {
        nix::sys::stat::fstatat(fd, path, nix::fcntl::AtFlags::empty())
    };
    let (trees, proc_self_fd) = enter(source, MountAccess::AsSource);
    let tree = trees[0].root.as_fd();
    assert_eq!(
        inode(tree, "..").unwrap().st_ino,
        inode(tree, ".").unwrap().st_ino,
        "the tree's parent is visible"
    );
    let proc = proc_self_fd.as_fd();
    assert_eq!(
        inode(proc, "..").unwrap().st_ino,
        inode(proc, ".").unwrap().st_ino,
        "proc is visible"
    );
    assert_eq!(
        inode(proc, "../../sys/kernel/core_pattern").unwrap_err(),
        nix::Error::ENOENT
    );
    assert_eq!(
        fs::read_dir("/").unwrap().count(),
        0,
        "something is left in the root"
    );
    assert_eq!(
        inode(AT_FDCWD, "/..").unwrap().st_ino,
        inode(AT_FDCWD, "/").unwrap().st_ino
    );
    assert!(fs::create_dir("/x").is_err(), "the root is writable");
    // Symbolic links of the image are not followed even where the server forgot to say so.
    assert_eq!(
        openat(tree, "link", OFlag::O_RDONLY, Mode::empty()).unwrap_err(),
        nix::Error::ELOOP
    );
    lock_down(HostSockets::Refused).unwrap();
    // Not on the list: kills.
    let _ = fs::write("/dev/null", "");
    let _ = nix::unistd::chdir("/");
    unreachable!("the filter let chdir pass");
}

struct Jailed {
    client: Client,
    /// Its end tells that the gofer is gone.
    lifeline: OwnedFd,
    child: Child,
}

fn spawn(mode: &str, dir: &TempDir) -> Jailed {
    let (channel, theirs) = pair();
    let (lifeline, their_lifeline) = pair();
    let child = Command::new(std::env::current_exe().unwrap())
        .env(mode, &dir.0)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::from(their_lifeline))
        .spawn()
        .unwrap();
    Jailed {
        client: Client::connect(vec![channel]).unwrap(),
        lifeline,
        child,
    }
}

fn every_operation_works() {
    let dir = TempDir::new();
    let listener = std::os::unix::net::UnixListener::bind(dir.0.join("listener")).unwrap();
    let Jailed {
        client: c,
        lifeline: _lifeline,
        mut child,
    } = spawn(SERVE, &dir);
    let rw = OpenFlags::READ | OpenFlags::WRITE;
    {
        c.set_polling(Polling::WhileBusy);
        let root = c.attach(0).unwrap().node;
        let (watch, _) = c.watch(&root, WatchMask::all()).unwrap().unwrap();
        let (file, _) = c.create(&root, b"file", rw, owner(0o4755)).unwrap();
        assert!(c.take_events().unwrap().read(|_| {}).unwrap());
        let dir = c.mkdir(&root, b"dir", owner(0o1777)).unwrap();
        c.symlink(&dir.node, b"link", b"/etc/passwd", owner(0))
            .unwrap();
        for kind in [NodKind::Regular, NodKind::Fifo, NodKind::Socket] {
            c.mknod(&root, b"node", kind, owner(0o600)).unwrap();
            c.unlink(&root, b"node", UnlinkKind::File).unwrap();
        }
        assert_eq!(
            c.mknod(&root, b"node", NodKind::Device, owner(0o600))
                .unwrap_err(),
            Errno::EPERM
        );
        let walk = c.walk(&root, &[b"dir", b"link"]).unwrap();
        assert_eq!(
            c.readlink(&walk.entries[1].node).unwrap().as_ref(),
            b"/etc/passwd"
        );
        assert_eq!(c.getattr(&file.node).unwrap().mode & 0o7777, 0o4755);
        let now = Some(SetTime::Now);
        let changes = SetAttr {
            mode: Some(0o600),
            uid: Some(owner(0).uid),
            size: Some(9),
            atime: now,
            mtime: now,
            gid: None,
        };
        c.setattr(&file.node, &changes).unwrap();
        c.open(&file.node, rw).unwrap();
        c.link(&file.node, &dir.node, b"hard").unwrap();
        c.rename(
            (&dir.node, b"hard"),
            (&root, b"moved"),
            RenameFlags::NOREPLACE,
        )
        .unwrap();
        assert_eq!(c.readdir(&root, 0).unwrap().entries.len(), 4);
        c.statfs(&root).unwrap();
        c.setxattr(&file.node, b"user.a", b"b", XattrFlags::CREATE)
            .unwrap();
        c.listxattr(&file.node).unwrap();
        c.getxattr(&file.node, b"user.a").unwrap();
        c.removexattr(&file.node, b"user.a").unwrap();
        let (tmp, _) = c.tmpfile(&root, rw, owner(0o600)).unwrap();
        c.link(&tmp.node, &root, b"tmp").unwrap();
        for kind in [SyncKind::File, SyncKind::Data, SyncKind::FileSystem] {
            c.sync(&file.node, kind).unwrap();
        }
        c.look_up(&root, b"file", Want::all())
            .unwrap()
            .file
            .unwrap();
        c.unwatch(watch);
        c.flush().unwrap();
        let socket = c.lookup(&root, b"listener").unwrap();
        c.connect_socket(&socket.node, SocketKind::Stream).unwrap();
        listener.accept().unwrap();
        if nix::unistd::geteuid().is_root() {
            let stranger = gofer::client::Ownership {
                mode: 0o2700,
                uid: 77,
                gid: 78,
            };
            let (entry, _) = c.create(&root, b"strange", rw, stranger).unwrap();
            assert_eq!(
                (entry.attr.uid, entry.attr.gid, entry.attr.mode & 0o7777),
                (77, 78, 0o2700)
            );
            // CAP_SETFCAP and CAP_SYS_ADMIN are gone.
            let capability = b"\0\0\0\x02\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
            let set = |name: &[u8]| c.setxattr(&entry.node, name, capability, XattrFlags::empty());
            assert_eq!(
                (set(b"security.capability"), set(b"trusted.x")),
                (Err(Errno::EPERM), Err(Errno::EPERM))
            );
        }
    }
    drop(c);
    assert!(
        child.wait().unwrap().success(),
        "the gofer did not end well"
    );
}

fn the_host_refuses_writes_to_read_only_mounts() {
    let dir = TempDir::new();
    let Jailed {
        client: c,
        mut child,
        ..
    } = spawn(READ_ONLY, &dir);
    let root = c.attach(0).unwrap().node;
    assert_eq!(
        c.mkdir(&root, b"d", owner(0o700)).unwrap_err(),
        Errno::EROFS
    );
    drop((root, c));
    assert!(child.wait().unwrap().success());
}

fn there_is_no_way_out() {
    use std::os::unix::process::ExitStatusExt;
    let dir = TempDir::new();
    std::os::unix::fs::symlink("/etc/passwd", dir.0.join("link")).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .env(EXPLORE, &dir.0)
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(libc::SIGSYS));
}
