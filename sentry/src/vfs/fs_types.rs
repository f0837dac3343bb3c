//! Which file systems a guest can mount (`/proc/filesystems`).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::FileSystem;
use crate::error::{Errno, Result};
use crate::fs::{proc, tmpfs};
use crate::task::Task;

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
    let options = tmpfs::Options::parse(data, memory)?;
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

impl Default for FileSystemTypes {
    /// With tmpfs, ramfs and proc; others add themselves.
    fn default() -> Self {
        let mut types: HashMap<&'static str, Mounter> = HashMap::new();
        for name in ["tmpfs", "ramfs"] {
            types.insert(name, Arc::new(move |request| mount_tmpfs(name, request)));
        }
        types.insert("proc", Arc::new(mount_proc));
        Self(RwLock::new(types))
    }
}
