//! File systems that are being configured (`fsopen(2)`, `fspick(2)`): descriptors that collect options until an instance is made or changed.

use std::any::Any;
use std::sync::Arc;

use abi::fs::O_RDWR;
use parking_lot::{Mutex, MutexGuard};

use crate::error::{Errno, Result, SysResult};
use crate::fs::anon;
use crate::task::Task;
use crate::vfs::fs_types::{FileSystemTypes, MountRequest};
use crate::vfs::{File, FileOps, FileSystem, IoCx, Mount, Path, Sink};

/// Options together are at most a page, as for `mount(2)`.
const DATA_MAX: usize = 4096 - 2;

/// How far the configuration has come (`enum fs_context_phase`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Options for a new instance are taken.
    Create,
    /// The instance can be mounted.
    Mount,
    /// Options for a change of the instance are taken.
    Reconfigure,
    /// Something failed for good.
    Failed,
}

/// What has been configured so far.
pub struct Config {
    kind: Vec<u8>,
    phase: Phase,
    /// A call has made it and mounted it: options are for a change.
    used: bool,
    source: Option<Vec<u8>>,
    data: Vec<u8>,
    read_only: Option<bool>,
    fs: Option<Arc<dyn FileSystem>>,
    /// What `fspick` found.
    target: Option<Arc<Mount>>,
}

/// The file behind the descriptor.
pub struct ConfigFile(Mutex<Config>);

fn file(config: Config) -> Arc<File> {
    File::new(
        None,
        anon::untyped(),
        Box::new(ConfigFile(Mutex::new(config))),
        O_RDWR,
    )
}

/// For a new instance of a type: `ENODEV`.
pub fn open(types: &FileSystemTypes, kind: &[u8]) -> Result<Arc<File>> {
    if !types.knows(kind) {
        return Err(Errno::ENODEV);
    }
    Ok(file(Config {
        kind: kind.to_vec(),
        phase: Phase::Create,
        used: false,
        source: None,
        data: Vec::new(),
        read_only: None,
        fs: None,
        target: None,
    }))
}

/// For changes of the file system that is mounted with its root at `path`: `EINVAL` for another place.
pub fn pick(path: &Path) -> Result<Arc<File>> {
    if !path.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let fs = path.mount.fs.clone();
    Ok(file(Config {
        kind: fs.type_name().as_bytes().to_vec(),
        phase: Phase::Reconfigure,
        used: true,
        source: None,
        data: Vec::new(),
        read_only: None,
        fs: Some(fs),
        target: Some(path.mount.clone()),
    }))
}

/// The configuration behind a descriptor: `EINVAL` for another kind of file.
pub fn of_file(file: &File) -> Result<MutexGuard<'_, Config>> {
    file.downcast::<ConfigFile>()
        .map(|file| file.0.lock())
        .ok_or(Errno::EINVAL)
}

impl Config {
    /// The type's name.
    #[must_use]
    pub fn kind(&self) -> &[u8] {
        &self.kind
    }
    fn takes_options(&mut self) -> Result<()> {
        if self.phase == Phase::Mount && self.used {
            self.phase = Phase::Reconfigure;
        }
        match self.phase {
            Phase::Create | Phase::Reconfigure => Ok(()),
            _ => Err(Errno::EBUSY),
        }
    }
    /// A key without (`None`) or with a value: `EINVAL` for what the type does not know, `EBUSY` out of turn.
    pub fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.takes_options()?;
        match (key, value) {
            (b"ro", None) => self.read_only = Some(true),
            (b"rw", None) => self.read_only = Some(false),
            (b"sync" | b"async" | b"dirsync" | b"lazytime" | b"nolazytime" | b"silent", None) => {}
            (b"source", Some(source)) if self.source.is_none() => {
                self.source = Some(source.to_vec());
            }
            (b"source", _) => return Err(Errno::EINVAL),
            _ => {
                let mut option = key.to_vec();
                if let Some(value) = value {
                    option.push(b'=');
                    option.extend_from_slice(value);
                }
                if option.contains(&b',') || self.data.len() + option.len() >= DATA_MAX {
                    return Err(Errno::EINVAL);
                }
                FileSystemTypes::check_option(&self.kind, &option)?;
                if !self.data.is_empty() {
                    self.data.push(b',');
                }
                self.data.extend_from_slice(&option);
            }
        }
        Ok(())
    }
    /// Makes the instance: `EBUSY` out of turn; whatever the type says.
    pub fn create(&mut self, task: &Arc<Task>) -> Result<()> {
        self.takes_options()?;
        if self.phase != Phase::Create {
            return Err(Errno::EBUSY);
        }
        let types = task.kernel.extensions.get::<FileSystemTypes>();
        let source = self.source.as_deref().unwrap_or(b"none");
        let request = MountRequest {
            task,
            source,
            data: &self.data,
        };
        match types.mount(&self.kind, &request) {
            Ok(fs) => self.fs = Some(fs),
            Err(errno) => {
                self.phase = Phase::Failed;
                return Err(errno);
            }
        }
        self.phase = Phase::Mount;
        self.data.clear();
        Ok(())
    }
    /// Changes the instance: `EBUSY` out of turn; whatever the type says.
    pub fn reconfigure(&mut self, memory: u64) -> Result<()> {
        self.takes_options()?;
        if self.phase != Phase::Reconfigure {
            return Err(Errno::EBUSY);
        }
        let fs = self.fs.clone().ok_or(Errno::EINVAL)?;
        fs.reconfigure(&self.data, memory)?;
        if let (Some(read_only), Some(target)) = (self.read_only, &self.target) {
            target.set_fs_read_only(read_only)?;
        }
        self.data.clear();
        Ok(())
    }
    /// Makes a mount of the instance: `EINVAL` if there is none, `EBUSY` if it was mounted.
    pub fn mount(&mut self, flags: crate::vfs::MountFlags) -> Result<Arc<Mount>> {
        let fs = self.fs.clone().ok_or(Errno::EINVAL)?;
        if self.phase != Phase::Mount || self.used {
            return Err(Errno::EBUSY);
        }
        let source = self.source.take().unwrap_or_else(|| b"none".to_vec());
        let mount = Mount::of(fs, flags, &source);
        mount.set_fs_read_only(self.read_only.take() == Some(true))?;
        self.used = true;
        self.target = Some(mount.clone());
        Ok(mount)
    }
}

impl FileOps for ConfigFile {
    /// Messages of the file system: there are never any.
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, _dst: &mut dyn Sink) -> SysResult<usize> {
        Err(Errno::ENODATA.into())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        b"anon_inode:[fscontext]".to_vec()
    }
}
