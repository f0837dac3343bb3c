//! The first change of a lower file: an upper inode with the same attributes and content.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::fs::{
    O_RDONLY, O_WRONLY, S_IALLUGO, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK,
};

use super::Overlay;
use super::node::Node;
use crate::error::{Errno, Result, SysError};
use crate::vfs::{
    Attr, AttrChange, FileOps, Inode, IoCx, KernelSink, KernelSource, NodeKind, OpenHow, SeekFrom,
    SetTime,
};

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;
/// Holes are kept at this granularity.
const PAGE: usize = 4096;

impl Node {
    /// The upper inode, made if need be. Of a regular file at most `keep` bytes of content are copied.
    pub(super) fn copy_up(&self, keep: u64) -> Result<Arc<Inode>> {
        if let Some(upper) = self.upper() {
            return Ok(upper);
        }
        let _copying = self.copying.lock();
        if let Some(upper) = self.upper() {
            return Ok(upper);
        }
        let fs = self.fs()?;
        let lower = self.lower.as_ref().ok_or(Errno::EIO)?;
        let attr = lower.attr()?;
        let upper = fs.new_upper_like(&attr)?;
        copy_xattrs(lower, &upper)?;
        if attr.file_type() == S_IFREG {
            copy_content(lower, &upper, attr.size.min(keep))?;
        }
        upper.ops().set_attr(&AttrChange {
            mode: (attr.file_type() != S_IFLNK).then_some(attr.mode & S_IALLUGO),
            atime: Some(SetTime::At(attr.atime)),
            mtime: Some(SetTime::At(attr.mtime)),
            ..AttrChange::default()
        })?;
        self.set_upper(upper.clone());
        if self.links.load(Ordering::Relaxed) > 0
            && let Some(inode) = self.inode()
        {
            fs.pin(self.ino, &inode);
        }
        Ok(upper)
    }
}

impl Overlay {
    /// A new upper inode without a name.
    pub(super) fn new_upper(
        &self,
        kind: NodeKind,
        mode: u32,
        uid: u32,
        gid: u32,
    ) -> Result<Arc<Inode>> {
        let root = self.upper.root();
        let dir = root.dir()?;
        let name = self.scratch_name();
        let inode = dir.create(&name, kind, mode, uid, gid)?;
        if kind == NodeKind::Directory {
            dir.rmdir(&name, &inode)?;
        } else {
            dir.unlink(&name, &inode)?;
        }
        Ok(inode)
    }

    /// A new upper symbolic link without a name.
    pub(super) fn new_upper_symlink(
        &self,
        target: &[u8],
        uid: u32,
        gid: u32,
    ) -> Result<Arc<Inode>> {
        let root = self.upper.root();
        let dir = root.dir()?;
        let name = self.scratch_name();
        let inode = dir.symlink(&name, target, uid, gid)?;
        dir.unlink(&name, &inode)?;
        Ok(inode)
    }

    fn scratch_name(&self) -> Vec<u8> {
        format!("#{}", self.next_ino()).into_bytes()
    }

    fn new_upper_like(&self, attr: &Attr) -> Result<Arc<Inode>> {
        let kind = match attr.file_type() {
            S_IFREG => NodeKind::Regular,
            S_IFDIR => NodeKind::Directory,
            S_IFIFO => NodeKind::Fifo,
            S_IFSOCK => NodeKind::Socket,
            S_IFCHR => NodeKind::CharDevice(attr.rdev),
            S_IFBLK => NodeKind::BlockDevice(attr.rdev),
            S_IFLNK => {
                // Its text is never looked at.
                return self.new_upper_symlink(b"-", attr.uid, attr.gid);
            }
            _ => return Err(Errno::EIO),
        };
        self.new_upper(kind, attr.mode & S_IALLUGO, attr.uid, attr.gid)
    }
}

/// Copies extended attributes, as far as `upper` has a place for them.
pub(in crate::fs) fn copy_xattrs(lower: &Inode, upper: &Inode) -> Result<()> {
    let (Some(from), Some(to)) = (lower.ops().as_xattr(), upper.ops().as_xattr()) else {
        return Ok(());
    };
    let names = match from.list() {
        Err(Errno::EOPNOTSUPP) => return Ok(()),
        names => names?,
    };
    for name in names {
        match from.get(&name) {
            Ok(value) => match to.set(&name, &value, 0) {
                // A namespace that memory does not have (system.*) is left behind, as overlayfs does.
                Err(Errno::EOPNOTSUPP) => {}
                done => done?,
            },
            // Shown but not readable from here, or just removed.
            Err(Errno::ENODATA | Errno::EOPNOTSUPP | Errno::EPERM | Errno::EACCES) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn errno_of(error: SysError) -> Errno {
    match error {
        SysError::Errno(errno) => errno,
        // Nobody can interrupt the kernel's own reading.
        SysError::Restart(_) => Errno::EINTR,
    }
}

/// Writes `bytes` but for pages that are zero.
fn store(to: &dyn FileOps, at: u64, bytes: &[u8]) -> Result<()> {
    let io = IoCx {
        task: None,
        flags: 0,
        opener: None,
    };
    let pages: Vec<&[u8]> = bytes.chunks(PAGE).collect();
    let is_zero = |page: &[u8]| page.iter().all(|byte| *byte == 0);
    let mut done = 0;
    for run in pages.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let end = done + run.iter().map(|page| page.len()).sum::<usize>();
        if run.first().is_some_and(|page| is_zero(page)) {
            done = end;
        }
        while done < end {
            let mut source = KernelSource(bytes.get(done..end).unwrap_or(&[]));
            let (n, _) = to
                .write_at(io, at + done as u64, &mut source)
                .map_err(errno_of)?;
            if n == 0 {
                return Err(Errno::ENOSPC);
            }
            done += n;
        }
    }
    Ok(())
}

/// Copies the first `size` bytes of a regular file; holes stay holes.
pub(in crate::fs) fn copy_content(lower: &Arc<Inode>, upper: &Arc<Inode>, size: u64) -> Result<()> {
    let io = IoCx {
        task: None,
        flags: 0,
        opener: None,
    };
    let from = lower.ops().open(lower, OpenHow { flags: O_RDONLY })?;
    let to = upper.ops().open(upper, OpenHow { flags: O_WRONLY })?;
    let mut at = 0;
    while at < size {
        // Holes stay holes. A file system that cannot tell is read through.
        at = match from.seek(SeekFrom::Data(at)) {
            Ok(data) => data.max(at),
            Err(Errno::ENXIO) => break,
            Err(_) => at,
        };
        let end = match from.seek(SeekFrom::Hole(at)) {
            Ok(hole) if hole > at => hole.min(size),
            _ => size,
        };
        while at < end {
            let step = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let mut sink = KernelSink::new(step);
            if from.read_at(io, at, &mut sink).map_err(errno_of)? == 0 {
                // It has become shorter: what is missing reads as zeros.
                at = size;
                break;
            }
            let bytes = sink.into_bytes();
            store(&*to, at, &bytes)?;
            at += bytes.len() as u64;
        }
    }
    upper.ops().set_attr(&AttrChange {
        size: Some(size),
        ..AttrChange::default()
    })
}
