//! Locking the process down, in two steps that the launcher's child calls before [`crate::server::serve`].
//!
//! 1. [`confine`]: every tree becomes a detached copy of its mount (nosuid, nodev, nosymfollow, perhaps read-only), from
//!    whose root `..` leads nowhere, and so does `/proc/self/fd`; then the root directory becomes an empty, read-only tmpfs
//!    and the host's mounts are gone. `noexec` is not set: guests map programs from donated descriptors.
//! 2. [`lock_down`]: capabilities, no_new_privs, not dumpable, seccomp ([`filter`]).
//!
//! The caller is single-threaded, in a mount namespace of its own, with `CAP_SYS_ADMIN` in the user namespace that owns it,
//! and has closed every descriptor that is not for the gofer.

#![forbid(unsafe_code)]

pub mod filter;

use crate::host;
use abi::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::prctl::{set_dumpable, set_no_new_privs};
use nix::unistd::{chdir, pivot_root};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A mount that the gofer is to serve.
#[derive(Clone, Debug)]
pub struct JailTree {
    /// Directory or file on the host.
    pub source: PathBuf,
    /// Whether mounts below it come along (`rbind`). Must be true in a user namespace that did not make them.
    pub submounts: Submounts,
    /// Whether the host is to refuse writes. The server's own `read_only` is independent of it.
    pub access: MountAccess,
}

/// What to do with mounts below a tree's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submounts {
    /// Serve them too.
    Included,
    /// Serve what they hide.
    LeftOut,
}

/// How a tree's mount is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountAccess {
    /// As the source.
    AsSource,
    /// Read-only.
    ReadOnly,
}

/// What is left of the host's files.
#[derive(Debug)]
pub struct Confined {
    /// For [`crate::server::TreeConfig::root`], in the order given.
    pub trees: Vec<OwnedFd>,
    /// For [`crate::server::ServerConfig::proc_self_fd`].
    pub proc_self_fd: OwnedFd,
}

/// A step of the jail that the host refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {errno}")]
pub struct JailError {
    /// What was tried, for a person.
    pub step: String,
    /// What the host said.
    pub errno: Errno,
}

fn failed<E: Into<i32>>(step: impl Into<String>) -> impl FnOnce(E) -> JailError {
    move |errno| JailError {
        step: step.into(),
        errno: Errno::from_raw(errno.into()),
    }
}

/// Attributes of `mount_setattr(2)`.
mod mount_attr {
    pub(super) const RDONLY: u64 = 0x1;
    pub(super) const NOSUID: u64 = 0x2;
    pub(super) const NODEV: u64 = 0x4;
    pub(super) const NOEXEC: u64 = 0x8;
    pub(super) const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// Leaves the process with nothing but the trees. Irreversible, also on failure: exit then.
///
/// # Errors
/// Names the step that the host refused.
pub fn confine(trees: &[JailTree]) -> Result<Confined, JailError> {
    let trees = trees.iter().map(detach).collect::<Result<_, _>>()?;
    let proc_self_fd = detach_proc()?;
    empty_root()?;
    Ok(Confined {
        trees,
        proc_self_fd,
    })
}

fn detach(tree: &JailTree) -> Result<OwnedFd, JailError> {
    let JailTree {
        source,
        submounts,
        access,
    } = tree;
    let mut attributes = mount_attr::NOSUID | mount_attr::NODEV | mount_attr::NOSYMFOLLOW;
    if *access == MountAccess::ReadOnly {
        attributes |= mount_attr::RDONLY;
    }
    let mount = clone(source, *submounts)?;
    host::restrict_mount(mount.as_fd(), attributes).map_err(|errno| JailError {
        step: format!("restrict the mount of {}", source.display()),
        errno,
    })?;
    Ok(mount)
}

/// Only the directory of our descriptors: from a descriptor of all of proc, a gofer taken over could reach the sysctls.
fn detach_proc() -> Result<OwnedFd, JailError> {
    let mount = clone(Path::new("/proc/self/fd"), Submounts::LeftOut)?;
    let attributes = mount_attr::NOSUID | mount_attr::NODEV | mount_attr::NOEXEC;
    host::restrict_mount(mount.as_fd(), attributes).map_err(|errno| JailError {
        step: "restrict the mount of /proc/self/fd".into(),
        errno,
    })?;
    Ok(mount)
}

fn clone(source: &Path, submounts: Submounts) -> Result<OwnedFd, JailError> {
    let step = || format!("copy the mount of {}", source.display());
    let path = CString::new(source.as_os_str().as_bytes()).map_err(|_| JailError {
        step: step(),
        errno: Errno::EINVAL,
    })?;
    host::clone_mount(&path, submounts == Submounts::Included).map_err(|errno| JailError {
        step: step(),
        errno,
    })
}

/// Replaces the root directory by an empty tmpfs and detaches everything else.
fn empty_root() -> Result<(), JailError> {
    // Any directory will do to put the new root on, and this one we have just used.
    const PLACE: &str = "/proc";
    let none: Option<&str> = None;
    let restricted = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|e| failed("make mounts private")(e as i32))?;
    mount(
        Some("gofer"),
        PLACE,
        Some("tmpfs"),
        restricted,
        Some("mode=0500,size=4k"),
    )
    .map_err(|e| failed("mount the empty root")(e as i32))?;
    chdir(PLACE).map_err(|e| failed("enter the empty root")(e as i32))?;
    // The old root ends up on top of the new one, where it can be detached (pivot_root(2)).
    pivot_root(".", ".").map_err(|e| failed("change to the empty root")(e as i32))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(|e| failed("detach the old root")(e as i32))?;
    chdir("/").map_err(|e| failed("enter the empty root")(e as i32))?;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | restricted;
    mount(none, "/", none, read_only, none)
        .map_err(|e| failed("make the empty root read-only")(e as i32))
}

/// Capabilities that the gofer works with (`capabilities(7)`), each for what guests, root in their container, do to files.
const CAPABILITIES: [u32; 5] = [
    0, // CAP_CHOWN: files belong to whom the sentry says
    1, // CAP_DAC_OVERRIDE: the sentry has checked permissions, the host is not asked
    2, // CAP_DAC_READ_SEARCH: the same, for directories
    3, // CAP_FOWNER: chmod, utimes, sticky directories
    4, // CAP_FSETID: set-group-ID stays when the sentry says so
];

/// What of the host the gofer may reach beyond files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostSockets {
    /// Nothing.
    Refused,
    /// Unix sockets in the trees: adds `socket` and `connect` to the filter.
    Allowed,
}

/// Every file that the sentry knows is a descriptor here, so as many as the host allows. A rootless gofer keeps the limit
/// that it was given, and its client the duty to release in time.
fn raise_descriptor_limit() {
    /// Default of `/proc/sys/fs/nr_open`, the most that the host grants anyone.
    const NR_OPEN: u64 = 1 << 20;
    let resource = nix::sys::resource::Resource::RLIMIT_NOFILE;
    // Refused without CAP_SYS_RESOURCE, which is no failure.
    let _ = nix::sys::resource::setrlimit(resource, NR_OPEN, NR_OPEN);
}

/// Gives up every privilege that serving does not need. Threads started later inherit it.
///
/// # Errors
/// Names the step that failed.
pub fn lock_down(sockets: HostSockets) -> Result<(), JailError> {
    raise_descriptor_limit();
    let keep = CAPABILITIES
        .iter()
        .fold(0, |set, capability| set | 1_u64 << capability);
    host::keep_capabilities(keep).map_err(|errno| JailError {
        step: "drop capabilities".into(),
        errno,
    })?;
    set_no_new_privs().map_err(|e| failed("set no_new_privs")(e as i32))?;
    set_dumpable(false).map_err(|e| failed("become undumpable")(e as i32))?;
    filter::install(sockets)
}
