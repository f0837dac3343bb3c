//! A container's mount namespace, from its configuration.

use std::sync::Arc;

use ::gofer::client::Client;
use abi::fs::{MS_REC, MS_SHARED, MS_UNBINDABLE, S_IFDIR, makedev};
use sentry::error::{Errno, Result};
use sentry::fs::copy_tree::copy_tree;
use sentry::fs::dev::{CONSOLE_RDEV, DEFAULT_DIRS, DEFAULT_LINKS, DEFAULT_NODES};
use sentry::fs::devpts::{DevptsFs, DevptsOptions};
use sentry::fs::gofer::watch::Watches;
use sentry::fs::gofer::{GoferFs, HostAccess, Scratch, SharedTrees, TreeId, Trust};
use sentry::fs::tmpfs::{Options, Tmpfs};
use sentry::fs::{cgroup_view, proc, sysfs};
use sentry::kernel::{Kernel, VisibleResources};
use sentry::task::PidNamespace;
use sentry::task::creds::Creds;
use sentry::vfs::lookup::{LookupCx, LookupFlags, resolve};
use sentry::vfs::{
    FileSystem, FsContext, Mount, MountFlags, MountNamespace, NodeKind, Path, PropagationType,
    mkdir_at, mknod_at, symlink_at,
};

use crate::boot::config::{ContainerConfig, DeviceConfig, MountConfig, MountKind, OverlayMode};
use crate::boot::control::{ControlError, ErrorKind};

/// What mounts are made of.
pub(super) struct Sources<'a> {
    pub(super) kernel: &'a Arc<Kernel>,
    pub(super) pid_namespace: &'a Arc<PidNamespace>,
    pub(super) client: Client,
    pub(super) watches: Option<Arc<Watches>>,
    pub(super) resources: VisibleResources,
    pub(super) host_access: HostAccess,
    /// Most bytes of each overlay.
    pub(super) overlay_size: Option<u64>,
}

fn failed(what: &str, errno: Errno) -> ControlError {
    ControlError::new(
        ErrorKind::CannotExecute,
        format!("{what}: {}", errno.to_string().to_lowercase()),
    )
}

fn mount_flags(bits: u64) -> MountFlags {
    MountFlags::from_bits_truncate(bits as u32)
}

impl Sources<'_> {
    fn tree(
        &self,
        index: u32,
        overlay: OverlayMode,
        source: Option<TreeId>,
    ) -> Result<Arc<dyn FileSystem>> {
        let trust = match (overlay, &self.watches) {
            (OverlayMode::Memory | OverlayMode::File { .. }, _) => Trust::Exclusive,
            (OverlayMode::None, Some(watches)) => Trust::Watches(watches.clone()),
            (OverlayMode::None, None) => Trust::Nothing,
        };
        // What is written to an overlay is this container's alone.
        let shared = source
            .filter(|_| overlay == OverlayMode::None)
            .map(|source| self.kernel.extensions.get::<SharedTrees>().of(source));
        let lower: Arc<dyn FileSystem> =
            GoferFs::attach(self.client.clone(), index, trust, self.host_access, shared)?;
        let sized = |size: u64| Options {
            size: Some(size),
            inodes: Some(0),
            ..Options::default()
        };
        let upper = match (overlay, self.overlay_size) {
            (OverlayMode::None, _) => return Ok(lower),
            (OverlayMode::Memory, Some(size)) => Tmpfs::new(&sized(size))?,
            // Bounded as any tmpfs: a guest that fills its root meets ENOSPC before the host has no memory left.
            (OverlayMode::Memory, None) => {
                Tmpfs::sized("tmpfs", &Options::default(), self.resources.memory)?
            }
            (OverlayMode::File { tree }, size) => {
                let store = Scratch::attach(self.client.clone(), tree)?;
                Tmpfs::stored(&sized(size.unwrap_or(0)), Arc::new(store))?
            }
        };
        Ok(sentry::fs::overlay::Overlay::new(lower, upper)?)
    }

    /// `mode` is what a tmpfs has for its root unless the mount says otherwise.
    fn file_system(&self, mount: &MountConfig, mode: Option<u32>) -> Result<Arc<dyn FileSystem>> {
        Ok(match &mount.kind {
            MountKind::Tree {
                index,
                overlay,
                source,
                ..
            } => self.tree(*index, *overlay, *source)?,
            MountKind::Tmpfs | MountKind::Devtmpfs => {
                let mut options = Options::parse(&mount.data, self.resources.memory)?;
                options.mode = options.mode.or(mode);
                Tmpfs::sized("tmpfs", &options, self.resources.memory)?
            }
            MountKind::Proc => proc::new(
                self.kernel,
                self.pid_namespace,
                &proc::ProcOptions::default(),
            ),
            MountKind::Sysfs => sysfs::new(self.kernel, self.resources),
            MountKind::Devpts => DevptsFs::new(
                &self.kernel.reactor,
                DevptsOptions::parse(mount.data.as_bytes())?,
            ),
            MountKind::Mqueue => {
                Tmpfs::sized("mqueue", &Options::default(), self.resources.memory)?
            }
            MountKind::Cgroup => cgroup_view::new(),
        })
    }
}

/// Makes `path` and what is missing above it, as `mkdir -p` does, following links within the container.
pub(super) fn make_dirs(cx: LookupCx<'_>, path: &[u8], mode: u32) -> Result<()> {
    match resolve(cx, &cx.fs.root(), path, LookupFlags::FOLLOW) {
        Ok(found) => {
            let path = found.into_path()?;
            return if path.inode().file_type()? == S_IFDIR {
                Ok(())
            } else {
                Err(Errno::ENOTDIR)
            };
        }
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    let path = within_root(cx, path)?;
    let root = cx.fs.root();
    let mut at = Vec::new();
    for part in path.split(|b| *b == b'/').filter(|p| !p.is_empty()) {
        at.push(b'/');
        at.extend_from_slice(part);
        match mkdir_at(cx, &root, &at, mode) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Where `path` leads, whether or not it exists: links are followed, dangling ones too, and none leads above the root.
fn within_root(cx: LookupCx<'_>, path: &[u8]) -> Result<Vec<u8>> {
    /// As many as path lookup follows (`MAXSYMLINKS`).
    const MAX_LINKS: usize = 40;
    let parts = |path: &[u8]| -> Vec<Vec<u8>> {
        let parts = path.split(|b| *b == b'/').filter(|p| !p.is_empty());
        parts.rev().map(<[u8]>::to_vec).collect()
    };
    let (mut left, mut done): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (parts(path), Vec::new());
    let mut links = 0;
    while let Some(part) = left.pop() {
        match part.as_slice() {
            b"." => continue,
            b".." => {
                done.pop();
                continue;
            }
            _ => done.push(part),
        }
        let here: Vec<u8> = done
            .iter()
            .flat_map(|p| [b"/", p.as_slice()].concat())
            .collect();
        let found = resolve(cx, &cx.fs.root(), &here, LookupFlags::empty());
        let Ok(found) = found.and_then(|found| found.into_path()) else {
            continue;
        };
        let Some(link) = found.inode().ops().as_symlink() else {
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::ELOOP);
        }
        let target = link.text(&cx)?;
        done.pop();
        if target.starts_with(b"/") {
            done.clear();
        }
        left.extend(parts(&target));
    }
    Ok(done
        .iter()
        .flat_map(|p| [b"/", p.as_slice()].concat())
        .collect())
}

fn find(cx: LookupCx<'_>, path: &str) -> Result<Path> {
    resolve(cx, &cx.fs.root(), path.as_bytes(), LookupFlags::FOLLOW)?.into_path()
}

/// The permissions of the directory that a tmpfs is to cover: as with runc, they become the tmpfs's.
fn covered_mode(cx: LookupCx<'_>, mount: &MountConfig) -> Option<u32> {
    if !matches!(mount.kind, MountKind::Tmpfs) {
        return None;
    }
    let path = find(cx, &mount.destination).ok()?;
    let attributes = path.inode().attr().ok()?;
    (path.inode().file_type().ok()? == S_IFDIR).then_some(attributes.mode & 0o7777)
}

/// The mount point, made if it is missing: a file for a mounted file, else a directory.
fn mount_point(cx: LookupCx<'_>, destination: &str, directory: bool) -> Result<Path> {
    match find(cx, destination) {
        Err(Errno::ENOENT) => {}
        Ok(path) => {
            return if (path.inode().file_type()? == S_IFDIR) == directory {
                Ok(path)
            } else {
                Err(Errno::ENOTDIR)
            };
        }
        Err(errno) => return Err(errno),
    }
    if directory {
        make_dirs(cx, destination.as_bytes(), 0o755)?;
    } else {
        let place = within_root(cx, destination.as_bytes())?;
        let parent = place
            .iter()
            .rposition(|b| *b == b'/')
            .and_then(|at| place.get(..at))
            .unwrap_or(b"/");
        make_dirs(cx, parent, 0o755)?;
        mknod_at(cx, &cx.fs.root(), &place, NodeKind::Regular, 0o644)?;
    }
    find(cx, destination)
}

/// Builds the namespace.
pub(super) fn build(
    sources: &Sources<'_>,
    config: &ContainerConfig,
) -> std::result::Result<Arc<MountNamespace>, ControlError> {
    let root_fs = sources
        .tree(0, config.root.overlay, None)
        .map_err(|errno| failed("root file system", errno))?;
    let root_mount = Mount::of(root_fs, MountFlags::empty(), b"rootfs");
    let namespace = MountNamespace::new(root_mount.clone());
    let fs = FsContext::new(namespace.clone());
    fs.set_umask(0);
    let creds = Creds::root();
    let cx = LookupCx {
        fs: &fs,
        creds: &creds,
        task: None,
    };
    for mount in &config.mounts {
        let what = || {
            format!(
                "error during container init: error mounting {:?} to rootfs at {:?}",
                mount.source, mount.destination
            )
        };
        let file_system = sources
            .file_system(mount, covered_mode(cx, mount))
            .map_err(|errno| failed(&what(), errno))?;
        let directory = !matches!(
            mount.kind,
            MountKind::Tree {
                directory: false,
                ..
            }
        );
        let point = mount_point(cx, &mount.destination, directory)
            .map_err(|errno| failed(&what(), errno))?;
        if mount.copy_up && matches!(mount.kind, MountKind::Tmpfs) {
            copy_tree(cx, point.inode(), &file_system.root())
                .map_err(|errno| failed(&format!("{}: tmpcopyup", what()), errno))?;
        }
        let attached = Mount::of(
            file_system,
            mount_flags(mount.flags),
            mount.source.as_bytes(),
        );
        namespace
            .attach(attached.clone(), &point)
            .map_err(|errno| failed(&what(), errno))?;
        propagate(&attached, mount.propagation);
        if mount.destination == "/dev"
            && matches!(mount.kind, MountKind::Tmpfs | MountKind::Devtmpfs)
        {
            fill_dev(cx).map_err(|errno| failed("cannot fill /dev", errno))?;
        }
    }
    if config.process.terminal {
        match mknod_at(
            cx,
            &cx.fs.root(),
            b"/dev/console",
            NodeKind::CharDevice(CONSOLE_RDEV),
            0o600,
        ) {
            Ok(_) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(failed("device /dev/console", errno)),
        }
    }
    for device in &config.devices {
        make_device(cx, device)
            .map_err(|errno| failed(&format!("device {}", device.path), errno))?;
    }
    for path in &config.readonly_paths {
        if let Ok(at) = find(cx, path) {
            let flags = at.mount.flags() | MountFlags::RDONLY;
            let cover = Mount::new(
                at.mount.fs.clone(),
                at.dentry.clone(),
                flags,
                &at.mount.source,
            );
            namespace
                .attach(cover, &at)
                .map_err(|errno| failed(&format!("cannot make {path} read-only"), errno))?;
        }
    }
    for path in &config.masked_paths {
        if let Ok(at) = find(cx, path) {
            mask(cx, &namespace, &at)
                .map_err(|errno| failed(&format!("cannot mask {path}"), errno))?;
        }
    }
    propagate(&root_mount, config.root.propagation);
    if config.root.read_only {
        root_mount.set_flags(root_mount.flags() | MountFlags::RDONLY);
    }
    Ok(namespace)
}

/// What a mount shows others inside the container, by `MS_*` bits. Nothing here is a slave of the host's: a slave is private.
fn propagate(mount: &Arc<Mount>, bits: u64) {
    let has = |bit: u32| bits & u64::from(bit) != 0;
    let kind = if has(MS_SHARED) {
        PropagationType::Shared
    } else if has(MS_UNBINDABLE) {
        PropagationType::Unbindable
    } else {
        return;
    };
    mount.set_propagation(kind, has(MS_REC));
}

/// The default devices of the runtime specification.
fn fill_dev(cx: LookupCx<'_>) -> Result<()> {
    let root = cx.fs.root();
    let existing_is_fine = |result: Result<()>| match result {
        Err(Errno::EEXIST) => Ok(()),
        other => other,
    };
    for node in DEFAULT_NODES {
        let path = format!("/dev/{}", node.name);
        existing_is_fine(
            mknod_at(
                cx,
                &root,
                path.as_bytes(),
                NodeKind::CharDevice(node.rdev),
                0o666,
            )
            .map(drop),
        )?;
    }
    for (name, target) in DEFAULT_LINKS {
        if name == "core" && find(cx, target).is_err() {
            // As with runc: there is no /proc/kcore.
            continue;
        }
        existing_is_fine(symlink_at(
            cx,
            target.as_bytes(),
            &root,
            format!("/dev/{name}").as_bytes(),
        ))?;
    }
    for name in DEFAULT_DIRS {
        existing_is_fine(mkdir_at(
            cx,
            &root,
            format!("/dev/{name}").as_bytes(),
            0o755,
        ))?;
    }
    Ok(())
}

fn make_device(cx: LookupCx<'_>, device: &DeviceConfig) -> Result<()> {
    let rdev = makedev(device.major, device.minor);
    let kind = match device.kind {
        'c' | 'u' => NodeKind::CharDevice(rdev),
        'b' => NodeKind::BlockDevice(rdev),
        'p' => NodeKind::Fifo,
        _ => return Err(Errno::EINVAL),
    };
    let parent = device
        .path
        .rsplit_once('/')
        .map_or("/", |(parent, _)| parent);
    make_dirs(cx, parent.as_bytes(), 0o755)?;
    let dentry = match mknod_at(cx, &cx.fs.root(), device.path.as_bytes(), kind, device.mode) {
        Err(Errno::EEXIST) => return Ok(()),
        other => other?,
    };
    let change = sentry::vfs::AttrChange {
        uid: Some(device.uid),
        gid: Some(device.gid),
        ..Default::default()
    };
    dentry.inode().ops().set_attr(&change)
}

/// Hides a file behind `/dev/null`, a directory behind an empty read-only tmpfs.
fn mask(cx: LookupCx<'_>, namespace: &Arc<MountNamespace>, at: &Path) -> Result<()> {
    let cover = if at.inode().file_type()? == S_IFDIR {
        let empty = Tmpfs::new(&Options {
            size: Some(4096),
            ..Options::default()
        })?;
        Mount::of(empty, MountFlags::RDONLY, b"tmpfs")
    } else {
        let null = find(cx, "/dev/null")?;
        Mount::new(
            null.mount.fs.clone(),
            null.dentry.clone(),
            null.mount.flags(),
            &null.mount.source,
        )
    };
    namespace.attach(cover, at)
}
