//! Generated regular files.

use std::any::Any;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Meta, Reader};
use crate::error::{Errno, Result, SysResult};
use crate::task::CurrentTask;
use crate::vfs::{Attr, AttrChange, FileOps, Inode, InodeOps, IoCx, OpenHow, Sink, Source};

/// Most bytes that one write to a generated file takes (a page, as most of Linux's do).
const MAX_WRITE: usize = 4096;

/// What generates a file.
pub trait FileSource: Send + Sync {
    /// The whole text.
    fn read(&self, reader: &Reader<'_>) -> Result<Vec<u8>>;
    /// Takes the bytes of one write. `EINVAL` (the default) is what Linux gives for files without a write operation.
    fn write(&self, _reader: &Reader<'_>, _data: &[u8]) -> Result<()> {
        Err(Errno::EINVAL)
    }
    /// Operations of its own for files that are no text (`/proc/<pid>/mem`).
    fn open(&self) -> Option<Result<Box<dyn FileOps>>> {
        None
    }
    /// `st_size`.
    fn size(&self) -> u64 {
        0
    }
}

/// A fixed text.
pub(super) struct Constant(pub(super) Vec<u8>);

impl FileSource for Constant {
    fn read(&self, _reader: &Reader<'_>) -> Result<Vec<u8>> {
        Ok(self.0.clone())
    }
}

type WriteFn = Box<dyn Fn(&Reader<'_>, &[u8]) -> Result<()> + Send + Sync>;

/// Closures.
pub(super) struct Generated<R> {
    pub(super) read: R,
    pub(super) write: Option<WriteFn>,
}

impl<R: Fn(&Reader<'_>) -> Result<Vec<u8>> + Send + Sync> FileSource for Generated<R> {
    fn read(&self, reader: &Reader<'_>) -> Result<Vec<u8>> {
        (self.read)(reader)
    }
    fn write(&self, reader: &Reader<'_>, data: &[u8]) -> Result<()> {
        match &self.write {
            Some(write) => write(reader, data),
            None => Err(Errno::EINVAL),
        }
    }
}

/// A file's inode.
pub struct TreeFile {
    pub(super) meta: Meta,
    pub(super) source: Arc<dyn FileSource>,
}

impl InodeOps for TreeFile {
    fn attr(&self) -> Result<Attr> {
        Ok(self.meta.attr(1, self.source.size()))
    }
    fn set_attr(&self, change: &AttrChange) -> Result<()> {
        Meta::set_attr(change)
    }
    fn open(&self, _inode: &Arc<Inode>, _how: OpenHow) -> Result<Box<dyn FileOps>> {
        match self.source.open() {
            Some(special) => special,
            None => Ok(Box::new(OpenText {
                source: self.source.clone(),
                snapshot: Mutex::new(None),
            })),
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An open text.
struct OpenText {
    source: Arc<dyn FileSource>,
    snapshot: Mutex<Option<Arc<Vec<u8>>>>,
}

impl FileOps for OpenText {
    fn read_at(&self, cx: IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        let known = self.snapshot.lock().clone();
        let text = match known {
            Some(text) if offset != 0 => text,
            _ => {
                let reader = Reader {
                    task: cx.task.map(CurrentTask::task),
                    opener: cx.opener,
                };
                let text = Arc::new(self.source.read(&reader)?);
                *self.snapshot.lock() = Some(text.clone());
                text
            }
        };
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| text.get(offset..))
            .unwrap_or_default();
        if rest.is_empty() || dst.remaining() == 0 {
            return Ok(0);
        }
        let n = rest.len().min(dst.remaining());
        Ok(dst.put(&rest[..n])?)
    }
    fn write_at(&self, cx: IoCx<'_>, offset: u64, src: &mut dyn Source) -> SysResult<(usize, u64)> {
        if src.remaining() > MAX_WRITE {
            return Err(Errno::EINVAL.into());
        }
        let data = src.take_vec(MAX_WRITE)?;
        let reader = Reader {
            task: cx.task.map(CurrentTask::task),
            opener: cx.opener,
        };
        self.source.write(&reader, &data)?;
        Ok((data.len(), offset.saturating_add(data.len() as u64)))
    }
    fn seekable(&self) -> bool {
        true
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
