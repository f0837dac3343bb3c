//! Memory files and their seals (`memfd_create(2)`, `F_ADD_SEALS` of `fcntl(2)`).
//!
//! A memfd is a host memfd from the start and sealed there too: the host knows about the guests' mappings (`EBUSY`) and keeps to the seals in them.

use std::any::Any;
use std::sync::{Arc, Weak};

use abi::fs::{O_APPEND, O_LARGEFILE, O_RDWR, S_IFREG};
use parking_lot::Mutex;

use super::tmpfs::content::{Content, SEAL_EXEC, SEAL_SEAL};
use crate::error::{Errno, Result, SysResult};
use crate::fs::anon;
use crate::vfs::{
    Attr, AttrChange, File, FileOps, Inode, InodeOps, IoCx, Mappable, OpenHow, SeekFrom, Sink,
    Source,
};

/// The inode: attributes and content. Opened again through `/proc/self/fd`.
struct MemInode {
    attr: Mutex<Attr>,
    content: Arc<Content>,
}

struct MemFile {
    inode: Arc<Inode>,
    content: Arc<Content>,
    name: Vec<u8>,
}

/// A new memory file called `name`, open for reading and writing. `sealable` is MFD_ALLOW_SEALING; `executable` is unset for MFD_NOEXEC_SEAL, which
/// implies sealing.
pub fn open(
    name: &[u8],
    sealable: bool,
    executable: bool,
    uid: u32,
    gid: u32,
) -> Result<Arc<File>> {
    let seals = match (sealable, executable) {
        (_, false) => SEAL_EXEC,
        (true, true) => 0,
        (false, true) => SEAL_SEAL,
    };
    let content = Arc::new(Content::sealable(seals)?);
    let mode = S_IFREG | if executable { 0o777 } else { 0o666 };
    let template = anon::inode(mode & !S_IFREG, uid, gid);
    let attr = Attr {
        mode,
        nlink: 0,
        ..template.attr()?
    };
    let fs = template.file_system().ok_or(Errno::EIO)?;
    let fs: Weak<dyn crate::vfs::FileSystem> = Arc::downgrade(&fs);
    let inode = Inode::new(
        fs,
        Box::new(MemInode {
            attr: Mutex::new(attr),
            content: content.clone(),
        }),
    );
    let ops = MemFile {
        inode: inode.clone(),
        content,
        name: name.to_vec(),
    };
    Ok(File::new(None, inode, Box::new(ops), O_RDWR | O_LARGEFILE))
}

fn content_of(file: &File) -> Result<Arc<Content>> {
    file.inode()
        .downcast::<MemInode>()
        .map(|inode| inode.content.clone())
        .ok_or(Errno::EINVAL)
}

/// F_GET_SEALS: `EINVAL` for files that cannot be sealed. Files of a tmpfs have F_SEAL_SEAL, as in Linux.
pub fn seals(file: &File) -> Result<u32> {
    if let Some(node) = file.inode().downcast::<super::tmpfs::Node>() {
        return node.content().map(Content::seals).ok_or(Errno::EINVAL);
    }
    Ok(content_of(file)?.seals())
}

/// F_ADD_SEALS: `EPERM` if not open for writing or sealed against it, `EINVAL` for unknown seals or files that have none, `EBUSY` for F_SEAL_WRITE
/// while it is mapped writable.
pub fn add_seals(file: &File, seals: u32) -> Result<()> {
    if let Some(node) = file.inode().downcast::<super::tmpfs::Node>()
        && node.content().is_some()
    {
        return Err(Errno::EPERM);
    }
    let content = content_of(file)?;
    if !file.writable() {
        return Err(Errno::EPERM);
    }
    content.add_seals(seals)
}

impl InodeOps for MemInode {
    fn attr(&self) -> Result<Attr> {
        let (size, blocks) = self.content.size_and_blocks();
        Ok(Attr {
            size,
            blocks,
            ..*self.attr.lock()
        })
    }
    fn set_attr(&self, change: &AttrChange) -> Result<()> {
        if let Some(size) = change.size {
            self.content.truncate(size)?;
        }
        let mut attr = self.attr.lock();
        if change.mode.is_some_and(|mode| {
            self.content.seals() & SEAL_EXEC != 0 && (mode ^ attr.mode) & 0o111 != 0
        }) {
            return Err(Errno::EPERM);
        }
        anon::apply(&mut attr, change);
        Ok(())
    }
    fn open(&self, inode: &Arc<Inode>, _how: OpenHow) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(MemFile {
            inode: inode.clone(),
            content: self.content.clone(),
            name: Vec::new(),
        }))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl FileOps for MemFile {
    fn read_at(&self, _cx: IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        Ok(self.content.read(offset, dst)?)
    }
    fn write_at(&self, cx: IoCx<'_>, offset: u64, src: &mut dyn Source) -> SysResult<(usize, u64)> {
        let at = (cx.flags & O_APPEND == 0).then_some(offset);
        let written = self.content.write(at, src)?;
        if let Some(inode) = self.inode.downcast::<MemInode>() {
            let now = crate::time::now();
            let mut attr = inode.attr.lock();
            attr.mtime = now;
            attr.ctime = now;
        }
        Ok(written)
    }
    fn seekable(&self) -> bool {
        true
    }
    fn seek(&self, from: SeekFrom) -> Result<u64> {
        self.content.seek(from)
    }
    fn sync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }
    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.content.allocate(mode, offset, len)
    }
    fn as_mappable(&self) -> Option<&dyn Mappable> {
        Some(self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        [b"/memfd:", self.name.as_slice(), b" (deleted)"].concat()
    }
}

impl Mappable for MemFile {
    fn map(&self, offset: u64, _len: u64, write: bool) -> Result<platform::MapSource> {
        Ok(platform::MapSource::File {
            file: self.content.backing(write)?,
            offset,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tmpfs::content::{SEAL_GROW, SEAL_SHRINK, SEAL_WRITE};
    use super::*;
    use crate::vfs::KernelSource;

    fn write(file: &File, bytes: &[u8]) -> SysResult<usize> {
        file.write(None, &mut KernelSource(bytes))
    }

    #[test]
    fn seals_hold() {
        let file = open(b"x", true, true, 0, 0).unwrap();
        assert_eq!(write(&file, b"hello"), Ok(5));
        assert_eq!(seals(&file), Ok(0));
        add_seals(&file, SEAL_SHRINK | SEAL_GROW).unwrap();
        let resize = |size| {
            file.inode().ops().set_attr(&AttrChange {
                size: Some(size),
                ..AttrChange::default()
            })
        };
        assert_eq!(
            (resize(4), resize(6)),
            (Err(Errno::EPERM), Err(Errno::EPERM))
        );
        assert_eq!(write(&file, b"more"), Err(Errno::EPERM.into()));
        *file.offset().lock() = 3;
        assert_eq!(write(&file, b"abc"), Ok(2));
        add_seals(&file, SEAL_WRITE | SEAL_SEAL).unwrap();
        *file.offset().lock() = 0;
        assert_eq!(write(&file, b"x"), Err(Errno::EPERM.into()));
        assert_eq!(add_seals(&file, SEAL_EXEC), Err(Errno::EPERM));
        assert_eq!(file.describe_for_test(), b"/memfd:x (deleted)");
    }

    #[test]
    fn a_file_that_may_not_be_sealed_says_so() {
        let file = open(b"x", false, true, 0, 0).unwrap();
        assert_eq!(seals(&file), Ok(SEAL_SEAL));
        assert_eq!(add_seals(&file, SEAL_GROW), Err(Errno::EPERM));
    }

    impl File {
        fn describe_for_test(&self) -> Vec<u8> {
            self.ops().anonymous_name()
        }
    }
}
