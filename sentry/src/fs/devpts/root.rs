//! The root directory of a devpts instance.

use std::any::Any;
use std::sync::{Arc, Weak};

use abi::fs::{S_IFCHR, S_IFDIR};
use abi::time::Timespec;

use super::instance::DevptsFs;
use crate::error::{Errno, Result, SysResult};
use crate::vfs::{
    Attr, AttrChange, DirEntry, DirOps, FileOps, Inode, InodeOps, IoCx, NodeKind, OpenHow, Sink,
};

pub(super) struct RootDir {
    dev: u64,
    fs: Weak<DevptsFs>,
    ptmx: Arc<Inode>,
    born: Timespec,
}

impl RootDir {
    pub(super) fn new(dev: u64, fs: Weak<DevptsFs>, ptmx: Arc<Inode>) -> Self {
        Self {
            dev,
            fs,
            ptmx,
            born: crate::time::now(),
        }
    }
    pub(super) fn instance(&self) -> Option<Arc<DevptsFs>> {
        self.fs.upgrade()
    }
}

/// A terminal's number as a name, without leading zeroes.
fn parse(name: &[u8]) -> Option<u32> {
    let canonical = name == b"0" || matches!(name.first(), Some(b'1'..=b'9'));
    if !canonical || name.len() > 7 {
        return None;
    }
    std::str::from_utf8(name).ok()?.parse().ok()
}

impl InodeOps for RootDir {
    fn attr(&self) -> Result<Attr> {
        Ok(Attr {
            dev: self.dev,
            ino: 1,
            mode: S_IFDIR | 0o755,
            nlink: 2,
            blksize: 1024,
            atime: self.born,
            mtime: self.born,
            ctime: self.born,
            ..Attr::default()
        })
    }
    fn set_attr(&self, _change: &AttrChange) -> Result<()> {
        Err(Errno::EPERM)
    }
    fn open(&self, _inode: &Arc<Inode>, _how: OpenHow) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(OpenRoot(self.fs.upgrade().ok_or(Errno::ENOENT)?)))
    }
    fn as_dir(&self) -> Option<&dyn DirOps> {
        Some(self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl DirOps for RootDir {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        if name == b"ptmx" {
            return Ok(self.ptmx.clone());
        }
        let index = parse(name).ok_or(Errno::ENOENT)?;
        let fs = self.fs.upgrade().ok_or(Errno::ENOENT)?;
        fs.find(index).ok_or(Errno::ENOENT)
    }
    fn still_valid(&self, name: &[u8], child: Option<&Arc<Inode>>) -> bool {
        match (self.lookup(name), child) {
            (Ok(now), Some(child)) => Arc::ptr_eq(&now, child),
            (Err(_), None) => true,
            _ => false,
        }
    }
    fn create(&self, _: &[u8], _: NodeKind, _: u32, _: u32, _: u32) -> Result<Arc<Inode>> {
        Err(Errno::EPERM)
    }
    fn symlink(&self, _: &[u8], _: &[u8], _: u32, _: u32) -> Result<Arc<Inode>> {
        Err(Errno::EPERM)
    }
    fn link(&self, _: &[u8], _: &Arc<Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }
    fn unlink(&self, _: &[u8], _: &Arc<Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }
    fn rmdir(&self, _: &[u8], _: &Arc<Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }
    fn rename(&self, _: &[u8], _: &Arc<Inode>, _: &[u8], _: u32) -> Result<()> {
        Err(Errno::EPERM)
    }
}

struct OpenRoot(Arc<DevptsFs>);

impl FileOps for OpenRoot {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, _dst: &mut dyn Sink) -> SysResult<usize> {
        Err(Errno::EISDIR.into())
    }
    fn seekable(&self) -> bool {
        true
    }
    fn readdir(&self, from: u64, emit: &mut dyn FnMut(&DirEntry) -> bool) -> Result<()> {
        let fixed: [(&[u8], u64, u32); 3] = [
            (b".", 1, S_IFDIR),
            (b"..", 1, S_IFDIR),
            (b"ptmx", 2, S_IFCHR),
        ];
        let first = fixed.len() as u64;
        let fixed = fixed
            .into_iter()
            .enumerate()
            .map(|(at, (name, ino, file_type))| (at as u64, name.to_vec(), ino, file_type));
        let slaves = self.0.numbers().into_iter().map(|n| {
            let n = u64::from(n);
            (first + n, n.to_string().into_bytes(), n + 3, S_IFCHR)
        });
        for (at, name, ino, file_type) in fixed.chain(slaves) {
            if at < from {
                continue;
            }
            if !emit(&DirEntry {
                name,
                ino,
                file_type,
                next: at + 1,
            }) {
                break;
            }
        }
        Ok(())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Reactor;
    use crate::fs::devpts::DevptsOptions;
    use crate::vfs::FileSystem;

    #[test]
    fn terminals_come_and_go_as_names() {
        let reactor = Reactor::new().unwrap();
        let fs = DevptsFs::new(&reactor, DevptsOptions::default());
        let root = fs.root();
        let dir = root.dir().unwrap();
        assert_eq!(dir.lookup(b"0").err(), Some(Errno::ENOENT));
        assert!(dir.still_valid(b"0", None));
        let _tty = fs.allocate(7, 8).unwrap();
        assert!(!dir.still_valid(b"0", None));
        let inode = dir.lookup(b"0").unwrap();
        let attr = inode.attr().unwrap();
        assert_eq!((attr.uid, attr.gid), (7, 8));
        assert_eq!(attr.rdev, abi::fs::makedev(136, 0));
        assert_eq!(dir.lookup(b"00").err(), Some(Errno::ENOENT));
        fs.remove(0);
        assert!(!dir.still_valid(b"0", Some(&inode)));
    }
}
