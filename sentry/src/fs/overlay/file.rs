//! Open files of the overlay: directories, and lower files opened for reading. Upper files are the upper file system's own.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::listing::Listed;
use super::node::Node;
use crate::error::{Errno, Result, SysResult};
use crate::task::CurrentTask;
use crate::vfs::{DirEntry, FileOps, Inode, IoCx, Mappable, OpenHow, SeekFrom, Sink};

/// An open directory. What it lists is settled when it is read from the beginning, so positions stay what they are whatever changes.
pub(super) struct DirFile {
    node: Arc<Inode>,
    listing: Mutex<Option<Vec<Listed>>>,
}

impl DirFile {
    pub(super) fn new(node: Arc<Inode>) -> Self {
        Self {
            node,
            listing: Mutex::new(None),
        }
    }
}

impl FileOps for DirFile {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, _dst: &mut dyn Sink) -> SysResult<usize> {
        Err(Errno::EISDIR.into())
    }
    fn seekable(&self) -> bool {
        true
    }
    fn readdir(&self, from: u64, emit: &mut dyn FnMut(&DirEntry) -> bool) -> Result<()> {
        let mut listing = self.listing.lock();
        if from == 0 || listing.is_none() {
            *listing = Some(Node::of(&self.node)?.list()?);
        }
        let start = usize::try_from(from).unwrap_or(usize::MAX);
        for (index, listed) in listing.iter().flatten().enumerate().skip(start) {
            let entry = DirEntry {
                name: listed.name.clone(),
                ino: listed.ino,
                file_type: listed.file_type,
                next: index as u64 + 1,
            };
            if !emit(&entry) {
                break;
            }
        }
        Ok(())
    }
    fn sync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A lower file open for reading. Once the file was copied up, reads go to the copy; mappings made before keep showing the lower file.
pub(super) struct LowerFile {
    node: Arc<Inode>,
    lower: Box<dyn FileOps>,
    how: OpenHow,
    upper: OnceLock<Box<dyn FileOps>>,
}

impl LowerFile {
    pub(super) fn new(node: Arc<Inode>, lower: Box<dyn FileOps>, how: OpenHow) -> Self {
        Self {
            node,
            lower,
            how,
            upper: OnceLock::new(),
        }
    }

    fn current(&self) -> &dyn FileOps {
        if let Some(upper) = self.upper.get() {
            return &**upper;
        }
        let copied = Node::of(&self.node).ok().and_then(Node::upper);
        if let Some(upper) = copied
            && let Ok(ops) = upper.ops().open(&upper, self.how)
        {
            return &**self.upper.get_or_init(|| ops);
        }
        &*self.lower
    }
}

impl FileOps for LowerFile {
    fn read_at(&self, cx: IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        self.current().read_at(cx, offset, dst)
    }
    fn seekable(&self) -> bool {
        self.lower.seekable()
    }
    fn seek(&self, from: SeekFrom) -> Result<u64> {
        self.current().seek(from)
    }
    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        self.current().ioctl(task, request, arg)
    }
    fn sync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }
    fn as_mappable(&self) -> Option<&dyn Mappable> {
        self.current().as_mappable()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
