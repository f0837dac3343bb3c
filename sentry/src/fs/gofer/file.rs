//! Open files and directories of a gofer's tree.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::gofer::client::SyncKind;
use abi::fs::O_APPEND;
use platform::MapSource;

use super::node::Node;
use crate::error::{Errno, Result, SysResult};
use crate::host;
use crate::vfs::{DirEntry, FileOps, Inode, IoCx, Mappable, SeekFrom, Sink, Source};

/// Bytes moved at a time between a host file and guest memory.
const CHUNK: usize = 256 << 10;

fn node(inode: &Inode) -> Result<&Node> {
    inode.downcast::<Node>().ok_or(Errno::EIO)
}

/// An open regular file.
pub(super) struct GoferFile {
    inode: Arc<Inode>,
    /// Kept from open to close, so that others who write share it.
    write: Option<Arc<OwnedFd>>,
}

impl GoferFile {
    pub(super) fn new(inode: Arc<Inode>, write: Option<Arc<OwnedFd>>) -> Self {
        Self { inode, write }
    }

    fn reading(&self) -> Result<Arc<OwnedFd>> {
        node(&self.inode)?.readable()
    }

    fn any(&self) -> Result<Arc<OwnedFd>> {
        match &self.write {
            Some(fd) => Ok(fd.clone()),
            None => self.reading(),
        }
    }
}

impl FileOps for GoferFile {
    fn read_at(&self, _cx: IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        let fd = self.reading()?;
        let mut buf = vec![0; dst.remaining().min(CHUNK)];
        let mut done = 0;
        while dst.remaining() > 0 {
            let want = dst.remaining().min(buf.len());
            let n = match host::pread(&fd, &mut buf[..want], offset + done as u64) {
                Ok(n) => n,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno.into()),
            };
            let stored = match dst.put(&buf[..n]) {
                Ok(stored) => stored,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno.into()),
            };
            done += stored;
            if n < want || stored < n {
                break;
            }
        }
        Ok(done)
    }

    fn write_at(&self, cx: IoCx<'_>, offset: u64, src: &mut dyn Source) -> SysResult<(usize, u64)> {
        let fd = self.write.as_ref().ok_or(Errno::EBADF)?;
        let append = cx.flags & O_APPEND != 0;
        let mut done = 0;
        let mut end = offset;
        while src.remaining() > 0 {
            let bytes = match src.take_vec(CHUNK) {
                Ok(bytes) => bytes,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno.into()),
            };
            if bytes.is_empty() {
                break;
            }
            let written = if append {
                host::append(fd, &bytes)
            } else {
                host::pwrite(fd, &bytes, end)
            };
            let n = match written {
                Ok(n) => n,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno.into()),
            };
            done += n;
            end = if append {
                host::fstat(fd)?.st_size as u64
            } else {
                end + n as u64
            };
            if n < bytes.len() {
                break;
            }
        }
        Ok((done, end))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, from: SeekFrom) -> Result<u64> {
        let fd = self.any()?;
        match from {
            SeekFrom::End(delta) => {
                let size = host::fstat(&fd)?.st_size;
                size.checked_add(delta)
                    .and_then(|at| u64::try_from(at).ok())
                    .ok_or(Errno::EINVAL)
            }
            SeekFrom::Data(at) => host::lseek(&fd, at, libc::SEEK_DATA),
            SeekFrom::Hole(at) => host::lseek(&fd, at, libc::SEEK_HOLE),
        }
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        let fd = self.any()?;
        host::fsync(&fd, data_only)
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let fd = self.write.as_ref().ok_or(Errno::EBADF)?;
        host::fallocate(fd, mode as i32, offset, len)
    }

    fn as_mappable(&self) -> Option<&dyn Mappable> {
        Some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Mappable for GoferFile {
    fn map(&self, offset: u64, _len: u64, write: bool) -> Result<MapSource> {
        let file = if write {
            self.write.clone().ok_or(Errno::EACCES)?
        } else {
            self.reading()?
        };
        Ok(MapSource::File { file, offset })
    }
}

/// An open directory.
pub(super) struct GoferDir {
    inode: Arc<Inode>,
    /// The host's cookie behind which nothing followed when it was read last; 0: not known.
    end: AtomicU64,
}

/// Cookies: 0 the beginning, 1 behind `.`, 2 behind `..`, else the host's cookie plus this.
const COOKIE_SHIFT: u64 = 2;

impl GoferDir {
    pub(super) fn new(inode: Arc<Inode>) -> Self {
        Self {
            inode,
            end: AtomicU64::new(0),
        }
    }
}

impl FileOps for GoferDir {
    fn seekable(&self) -> bool {
        true
    }

    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, _dst: &mut dyn Sink) -> SysResult<usize> {
        Err(Errno::EISDIR.into())
    }

    fn readdir(&self, from: u64, emit: &mut dyn FnMut(&DirEntry) -> bool) -> Result<()> {
        let node = node(&self.inode)?;
        let dot = |name: &[u8], next| DirEntry {
            name: name.to_vec(),
            ino: node.ino(),
            file_type: abi::fs::S_IFDIR,
            next,
        };
        if from == 0 && !emit(&dot(b".", 1)) {
            return Ok(());
        }
        if from <= 1 && !emit(&dot(b"..", 2)) {
            return Ok(());
        }
        let mut cursor = if from <= COOKIE_SHIFT {
            0
        } else {
            from.wrapping_sub(COOKIE_SHIFT)
        };
        if cursor != 0 && cursor == self.end.load(Ordering::Relaxed) {
            // A reader asks once more to hear that it was all.
            return Ok(());
        }
        loop {
            let read = node.client().readdir(node.remote(), cursor)?;
            if read.end {
                let last = read.entries.last().map_or(cursor, |entry| entry.cursor);
                self.end.store(last, Ordering::Relaxed);
            }
            for entry in read.entries {
                cursor = entry.cursor;
                let shown = DirEntry {
                    name: entry.name.into_vec(),
                    ino: entry.ino,
                    file_type: u32::from(entry.kind as u8) << 12,
                    next: entry.cursor.wrapping_add(COOKIE_SHIFT),
                };
                if !emit(&shown) {
                    return Ok(());
                }
            }
            if read.end {
                return Ok(());
            }
        }
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        let node = node(&self.inode)?;
        node.client().sync(
            node.remote(),
            if data_only {
                SyncKind::Data
            } else {
                SyncKind::File
            },
        )
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
