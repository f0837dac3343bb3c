//! `/proc/<pid>/mem`: another's memory as a file.

use std::any::Any;

use abi::UserAddr;

use super::access::may_inspect;
use super::subject::Subject;
use crate::error::{Errno, Result, SysResult};
use crate::fs::static_tree::{FileSource, Kind, Node, Reader};
use crate::vfs::{FileOps, IoCx, SeekFrom, Sink, Source};

/// Bytes moved at a time.
const CHUNK: usize = 64 * 1024;

struct Mem(Subject);

pub(super) fn node(subject: &Subject) -> Node {
    Node::new(Kind::File(std::sync::Arc::new(Mem(subject.clone()))), 0o600)
}

impl FileSource for Mem {
    fn read(&self, _reader: &Reader<'_>) -> Result<Vec<u8>> {
        Err(Errno::EIO)
    }
    fn open(&self) -> Option<Result<Box<dyn FileOps>>> {
        Some(Ok(Box::new(OpenMem(self.0.clone()))))
    }
}

/// An open `/proc/<pid>/mem`.
pub struct OpenMem(Subject);

impl OpenMem {
    /// Whose memory it is, as long as that process has some.
    #[must_use]
    pub fn target(&self) -> Option<std::sync::Arc<crate::mm::MemoryMap>> {
        self.0.task().ok()?.try_memory_map()
    }
    /// `None`: the process has no memory any more.
    fn memory(&self, cx: IoCx<'_>) -> Result<Option<crate::mm::UserMemory>> {
        let Ok(subject) = self.0.task() else {
            return Ok(None);
        };
        if let Some(reader) = cx.task {
            may_inspect(Some(reader.task()), &reader.creds(), &subject)?;
        }
        Ok(subject.try_memory_map().map(|map| map.memory()))
    }
}

impl FileOps for OpenMem {
    fn read_at(&self, cx: IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        let Some(memory) = self.memory(cx)? else {
            return Ok(0);
        };
        let mut buf = vec![0; dst.remaining().min(CHUNK)];
        if buf.is_empty() {
            return Ok(0);
        }
        // Linux says EIO where memory cannot be read.
        let n = memory
            .read_some(UserAddr(offset), &mut buf)
            .map_err(|_| Errno::EIO)?;
        if n == 0 {
            return Err(Errno::EIO.into());
        }
        Ok(dst.put(&buf[..n])?)
    }
    fn write_at(&self, cx: IoCx<'_>, offset: u64, src: &mut dyn Source) -> SysResult<(usize, u64)> {
        let Some(memory) = self.memory(cx)? else {
            return Ok((0, offset));
        };
        let data = src.take_vec(CHUNK)?;
        // Where the process itself could not write, its tracer can (FOLL_FORCE): the system call layer does that, with the tracee's own thread.
        memory
            .write(UserAddr(offset), &data)
            .map_err(|_| Errno::EIO)?;
        Ok((data.len(), offset.wrapping_add(data.len() as u64)))
    }
    fn seekable(&self) -> bool {
        true
    }
    fn seek(&self, _from: SeekFrom) -> Result<u64> {
        Err(Errno::EINVAL)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
