//! Open regular files of a tmpfs.

use std::any::Any;
use std::sync::Arc;

use abi::fs::{O_APPEND, O_NOATIME};

use super::node::Node;
use crate::error::{Errno, Result, SysResult};
use crate::vfs::{FileOps, Inode, IoCx, Mappable, SeekFrom, Sink, Source};

/// An open regular file; several are open on one inode.
pub(super) struct RegularFile(Arc<Inode>);

impl RegularFile {
    pub(super) const fn new(inode: Arc<Inode>) -> Self {
        Self(inode)
    }
    fn node(&self) -> Result<&Node> {
        self.0.downcast::<Node>().ok_or(Errno::EIO)
    }
    fn content(&self) -> Result<&super::content::Content> {
        self.node()?.content().ok_or(Errno::EIO)
    }
}

impl FileOps for RegularFile {
    fn read_at(&self, cx: IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        let node = self.node()?;
        let n = self.content()?.read(offset, dst)?;
        if cx.flags & O_NOATIME == 0 {
            node.touch_accessed();
        }
        Ok(n)
    }

    fn write_at(&self, cx: IoCx<'_>, offset: u64, src: &mut dyn Source) -> SysResult<(usize, u64)> {
        let at = (cx.flags & O_APPEND == 0).then_some(offset);
        let written = self.content()?.write(at, src)?;
        if written.0 > 0 {
            self.node()?.touch_modified();
        }
        Ok(written)
    }

    fn seekable(&self) -> bool {
        true
    }
    fn seek(&self, from: SeekFrom) -> Result<u64> {
        self.content()?.seek(from)
    }
    fn sync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }
    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.content()?.allocate(mode, offset, len)?;
        self.node()?.touch_modified();
        Ok(())
    }
    fn as_mappable(&self) -> Option<&dyn Mappable> {
        Some(self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Mappable for RegularFile {
    fn map(&self, offset: u64, _len: u64, write: bool) -> Result<platform::MapSource> {
        Ok(platform::MapSource::File {
            file: self.content()?.backing(write)?,
            offset,
        })
    }
}
