//! Which file systems a guest can mount (`/proc/filesystems`).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::FileSystem;
use crate::error::{Errno, Result};
use crate::fs::devpts::{DevptsFs, DevptsOptions};
use crate::fs::{proc, sysfs, tmpfs};
use crate::task::Task;
use crate::task::creds::Cap;

/// What a mount call asks for.
pub struct MountRequest<'a> {
    /// Who mounts.
    pub task: &'a Arc<Task>,
    /// The `source` argument as given.
    pub source: &'a [u8],
    /// The `data` argument: options, separated by commas.
    pub data: &'a [u8],
}

/// Makes an instance of a file system.
pub type Mounter = Arc<dyn Fn(&MountRequest<'_>) -> Result<Arc<dyn FileSystem>> + Send + Sync>;

/// The table of types, in the kernel's extensions, so that file systems can add themselves.
pub struct FileSystemTypes(RwLock<HashMap<&'static str, Mounter>>);

impl FileSystemTypes {
    /// Adds or replaces a type.
    pub fn register(&self, name: &'static str, mounter: Mounter) {
        self.0.write().insert(name, mounter);
    }
    /// Makes an instance: `ENODEV` for an unknown type.
    pub fn mount(&self, name: &[u8], request: &MountRequest<'_>) -> Result<Arc<dyn FileSystem>> {
        let mounter = std::str::from_utf8(name)
            .ok()
            .and_then(|name| self.0.read().get(name).cloned())
            .ok_or(Errno::ENODEV)?;
        mounter(request)
    }
    /// Whether there is such a type.
    #[must_use]
    pub fn knows(&self, name: &[u8]) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| self.0.read().contains_key(name))
    }
    /// Checks one option as far as that can be done without making an instance: `EINVAL`.
    pub fn check_option(name: &[u8], option: &[u8]) -> Result<()> {
        match name {
            b"tmpfs" | b"ramfs" => {
                let text = std::str::from_utf8(option).map_err(|_| Errno::EINVAL)?;
                tmpfs::Options::parse(text, 0).map(drop)
            }
            b"proc" => proc::ProcOptions::parse(option).map(drop),
            b"devpts" => DevptsOptions::parse(option).map(drop),
            _ => Ok(()),
        }
    }
    /// The names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.0.read().keys().copied().collect();
        names.sort_unstable();
        names
    }
}

fn mount_tmpfs(name: &'static str, request: &MountRequest<'_>) -> Result<Arc<dyn FileSystem>> {
    let data = std::str::from_utf8(request.data).map_err(|_| Errno::EINVAL)?;
    let memory = request.task.container.resources().memory;
    let mut options = tmpfs::Options::parse(data, memory)?;
    let creds = request.task.creds();
    let users = &creds.user_ns;
    options.uid = Some(match options.uid {
        Some(uid) => users.kuid(uid).ok_or(Errno::EINVAL)?,
        None => creds.fsuid,
    });
    options.gid = Some(match options.gid {
        Some(gid) => users.kgid(gid).ok_or(Errno::EINVAL)?,
        None => creds.fsgid,
    });
    let fs: Arc<dyn FileSystem> = tmpfs::Tmpfs::sized(name, &options, memory)?;
    Ok(fs)
}

/// An instance of proc, for the pid namespace of the mounter, as in Linux.
fn mount_proc(request: &MountRequest<'_>) -> Result<Arc<dyn FileSystem>> {
    let options = proc::ProcOptions::parse(request.data)?;
    let task = request.task;
    let fs: Arc<dyn FileSystem> = proc::new(&task.kernel, &task.pid_namespace(), &options);
    Ok(fs)
}

/// A new instance of devpts: each mount is one of its own.
fn mount_devpts(request: &MountRequest<'_>) -> Result<Arc<dyn FileSystem>> {
    let mut options = DevptsOptions::parse(request.data)?;
    let users = request.task.creds().user_ns.clone();
    let known = |id: Option<u32>| id.map(Some).ok_or(Errno::EINVAL);
    if let Some(uid) = options.uid {
        options.uid = known(users.kuid(uid))?;
    }
    if let Some(gid) = options.gid {
        options.gid = known(users.kgid(gid))?;
    }
    let fs: Arc<dyn FileSystem> = DevptsFs::new(&request.task.kernel.reactor, options);
    Ok(fs)
}

fn mount_sysfs(request: &MountRequest<'_>) -> Result<Arc<dyn FileSystem>> {
    let task = request.task;
    // It shows the network namespace: whoever may not change that may not mount it.
    let owner = task.namespaces().net.owner.clone();
    task.creds().require_in(&owner, Cap::SYS_ADMIN)?;
    let fs: Arc<dyn FileSystem> = sysfs::new(&task.kernel, task.container.resources());
    Ok(fs)
}

impl Default for FileSystemTypes {
    /// With tmpfs, ramfs, proc, devpts and sysfs; others add themselves.
    fn default() -> Self {
        let mut types: HashMap<&'static str, Mounter> = HashMap::new();
        for name in ["tmpfs", "ramfs"] {
            types.insert(name, Arc::new(move |request| mount_tmpfs(name, request)));
        }
        types.insert("proc", Arc::new(mount_proc));
        types.insert("devpts", Arc::new(mount_devpts));
        types.insert("sysfs", Arc::new(mount_sysfs));
        Self(RwLock::new(types))
    }
}
