//! What a container's proxy has for a root: the container's, in a mount namespace of its own.
//!
//! Callers look at the pid that they hold. Podman's `cp` enters its mount namespace and copies from and to what is there; people look at `/proc/PID/root`. In
//! the host's namespace that would be the host's files. So the proxy goes where a container's process would be: into its root directory, with the
//! volumes in their places. File systems of the guest's kernel (tmpfs, proc) are not there: the host has none.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use crate::boot::config::MountKind;
use crate::spec::container::Translated;

const NONE: Option<&str> = None;

/// A container's files on the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Root {
    rootfs: PathBuf,
    /// Host directory or file, where it is in the container, whether its own mounts come along.
    volumes: Vec<(PathBuf, PathBuf, bool)>,
}

impl Root {
    /// That of a container at `rootfs`. `None` for the host's own root, which `do` has.
    #[must_use]
    pub fn of(rootfs: &Path, translated: &Translated) -> Option<Self> {
        let volumes = translated.config.mounts.iter().filter_map(|mount| {
            let MountKind::Tree { index, device, .. } = &mount.kind else {
                return None;
            };
            let tree = translated.trees.get(usize::try_from(*index).ok()?)?;
            device.is_none().then(|| {
                let place = Path::new(&mount.destination);
                (tree.path.clone(), place.to_owned(), tree.recursive)
            })
        });
        (rootfs != Path::new("/")).then(|| Self {
            rootfs: rootfs.to_owned(),
            volumes: volumes.collect(),
        })
    }

    /// Goes there for good. The caller has one thread.
    ///
    /// # Errors
    /// A step that the host refused.
    pub fn enter(&self) -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNS).context("unshare")?;
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).context("private")?;
        let rootfs = &self.rootfs;
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(rootfs), rootfs, NONE, bind, NONE)
            .with_context(|| format!("bind {}", rootfs.display()))?;
        let root = open_path(rootfs)?;
        for (source, place, recursive) in &self.volumes {
            self.attach(&root, source, place, *recursive)
                .with_context(|| format!("bind {} to {}", source.display(), place.display()))?;
        }
        nix::unistd::fchdir(root.as_fd()).context("chdir")?;
        nix::unistd::pivot_root(".", ".").context("pivot_root")?;
        umount2(".", MntFlags::MNT_DETACH).context("umount")?;
        nix::unistd::chdir("/").context("chdir")
    }

    /// Mounts a volume in its place, which the container's links cannot lead out of its root; a place that is not there is left.
    fn attach(&self, root: &OwnedFd, source: &Path, place: &Path, recursive: bool) -> Result<()> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let target = match openat2(root, place, how) {
            Ok(target) => target,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let source = open_path(source)?;
        let is_directory =
            |fd: &OwnedFd| -> Result<bool> { Ok(File::from(fd.try_clone()?).metadata()?.is_dir()) };
        if is_directory(&source)? != is_directory(&target)? {
            return Ok(());
        }
        let path = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
        let deep = if recursive {
            MsFlags::MS_REC
        } else {
            MsFlags::empty()
        };
        mount(
            Some(path(&source).as_str()),
            path(&target).as_str(),
            NONE,
            MsFlags::MS_BIND | deep,
            NONE,
        )?;
        Ok(())
    }
}

fn open_path(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).with_context(|| format!("open {}", path.display()))
}
