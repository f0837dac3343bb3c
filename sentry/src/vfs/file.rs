//! Open file descriptions.

use std::any::Any;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use abi::fs::{O_ACCMODE, O_APPEND, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR, O_WRONLY};
use parking_lot::Mutex;

use super::{FsContext, Inode, Path, Sink, Source, TextHold};
use crate::error::{Errno, Result, SysResult};
use crate::task::creds::Creds;
use crate::task::{CurrentTask, Task};
use crate::wait::{Events, WaitQueue};

/// One entry of a directory.
#[derive(Clone, Debug)]
pub struct DirEntry {
    /// Name, without `.` and `..` being special.
    pub name: Vec<u8>,
    /// Inode number.
    pub ino: u64,
    /// `S_IF*` bits, 0 if unknown.
    pub file_type: u32,
    /// Where to go on behind this entry (`d_off`).
    pub next: u64,
}

/// Who does I/O, and how.
#[derive(Clone, Copy)]
pub struct IoCx<'a> {
    /// The task, unless the kernel itself reads (exec). Needed for SIGPIPE, job control on terminals and credentials.
    pub task: Option<&'a CurrentTask>,
    /// The description's `O_*` flags (O_NONBLOCK changes no result of a kernel object: they never block), or `RWF_*`-derived ones.
    pub flags: u32,
    /// The credentials that the description was opened with, where they are known.
    pub opener: Option<&'a Arc<Creds>>,
}

/// Where `lseek` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekFrom {
    /// From the end of the file.
    End(i64),
    /// Next data at or behind.
    Data(u64),
    /// Next hole at or behind.
    Hole(u64),
}

/// What can be mapped in memory.
pub trait Mappable: Send + Sync {
    /// The backing for a mapping of `len` bytes from `offset` on (page-aligned). `write` is set for a shared mapping that may be written: the
    /// descriptor must then be writable, else it need only be readable. Called again for the same inode: give the same `Arc` where possible.
    fn map(&self, offset: u64, len: u64, write: bool) -> Result<platform::MapSource>;
}

/// An open file's operations. None blocks: where Linux would sleep they return `EAGAIN`, and [`FileOps::wait_queue`] is notified when it is worth
/// trying again. Access mode and offset are the [`File`]'s concern.
pub trait FileOps: Send + Sync + Any {
    /// Reads from `offset` (ignored by streams) into `dst`; 0 at the end.
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, _dst: &mut dyn Sink) -> SysResult<usize> {
        Err(Errno::EINVAL.into())
    }
    /// Writes at `offset` (ignored by streams). With O_APPEND in `cx.flags` a seekable file writes at its end, atomically; it returns the bytes
    /// written and the offset behind them.
    fn write_at(
        &self,
        _cx: IoCx<'_>,
        _offset: u64,
        _src: &mut dyn Source,
    ) -> SysResult<(usize, u64)> {
        Err(Errno::EINVAL.into())
    }
    /// Whether offsets mean something (else `pread` and `lseek` give ESPIPE).
    fn seekable(&self) -> bool {
        false
    }
    /// Whether `lseek` succeeds and does nothing (`noop_llseek`: eventfd, epoll and the like).
    fn ignores_seeks(&self) -> bool {
        false
    }
    /// Resolves the kinds of seek that need the file's help; returns the new absolute offset.
    fn seek(&self, _from: SeekFrom) -> Result<u64> {
        Err(Errno::EINVAL)
    }
    /// What is ready now.
    fn readiness(&self) -> Events {
        Events::FILE
    }
    /// Notified when readiness may have changed; `None`: always ready (epoll refuses such files with EPERM).
    fn wait_queue(&self) -> Option<&WaitQueue> {
        None
    }
    /// What is ready for `task`: differs only for files that show the task's own state (signalfd).
    fn readiness_for(&self, _task: &Task) -> Events {
        self.readiness()
    }
    /// Notified when [`FileOps::readiness_for`] `task` may have changed.
    fn wait_queue_for(&self, _task: &Task) -> Option<WaitQueue> {
        self.wait_queue().cloned()
    }
    /// Commands of the file's own; the generic ones (FIONBIO, FIOCLEX …) are dealt with before.
    fn ioctl(&self, _task: &CurrentTask, _request: u32, _arg: u64) -> SysResult<i64> {
        Err(Errno::ENOTTY.into())
    }
    /// Lists a directory from cookie `from` on (0: the beginning) until `emit` returns false. `.` and `..` are the file's to emit. The entry that
    /// was refused is emitted again next time.
    fn readdir(&self, _from: u64, _emit: &mut dyn FnMut(&DirEntry) -> bool) -> Result<()> {
        Err(Errno::ENOTDIR)
    }
    /// `fsync`, or `fdatasync` if `data_only`.
    fn sync(&self, _data_only: bool) -> Result<()> {
        Err(Errno::EINVAL)
    }
    /// `fallocate(2)`.
    fn allocate(&self, _mode: u32, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::ENODEV)
    }
    /// Mapping in memory.
    fn as_mappable(&self) -> Option<&dyn Mappable> {
        None
    }
    /// The powers of a socket.
    fn as_socket(&self) -> Option<&dyn crate::socket::SocketOps> {
        None
    }
    /// For the file's owner to find its own type again.
    fn as_any(&self) -> &dyn Any;
    /// The name that `/proc/self/fd/N` shows for a file without a path (`pipe:[12]`, `anon_inode:[eventpoll]`).
    fn anonymous_name(&self) -> Vec<u8> {
        b"anon_inode:[unknown]".to_vec()
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// An open file description (`struct file`).
pub struct File {
    /// A number of its own, for lock owners and epoll.
    pub id: u64,
    path: Option<Path>,
    inode: Arc<Inode>,
    ops: Box<dyn FileOps>,
    access: u32,
    flags: AtomicU32,
    offset: Mutex<u64>,
    opener: OnceLock<Arc<Creds>>,
    text_hold: Mutex<Option<TextHold>>,
    /// Who gets SIGIO (`F_SETOWN`, `F_SETSIG`).
    pub owner: Mutex<crate::fs::fasync::Owner>,
    /// Kept while O_ASYNC is set.
    pub asynchronous: crate::fs::fasync::Armed,
    /// Epolls that watch it.
    pub watches: crate::fs::epoll::FileWatches,
}

impl File {
    /// A description of `ops`; `flags` are the `open(2)` flags. `path` is `None` for pipes, sockets and the like.
    #[must_use]
    pub fn new(
        path: Option<Path>,
        inode: Arc<Inode>,
        ops: Box<dyn FileOps>,
        flags: u32,
    ) -> Arc<Self> {
        const KEPT: u32 = !(abi::fs::O_CREAT
            | abi::fs::O_EXCL
            | abi::fs::O_NOCTTY
            | abi::fs::O_TRUNC
            | abi::fs::O_CLOEXEC);
        inode.state.watches.opened();
        if let Some(path) = &path {
            path.mount.used();
        }
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            path,
            inode,
            ops,
            access: flags & (O_ACCMODE | O_PATH),
            flags: AtomicU32::new(flags & KEPT),
            offset: Mutex::new(0),
            opener: OnceLock::new(),
            text_hold: Mutex::new(None),
            owner: Mutex::default(),
            asynchronous: crate::fs::fasync::Armed::default(),
            watches: crate::fs::epoll::FileWatches::default(),
        })
    }
    /// Notes who opened it; the first note counts.
    pub fn set_opener(&self, creds: Arc<Creds>) {
        let _ = self.opener.set(creds);
    }
    /// Keeps its inode from being run or written for as long as it is open, or (with `None`) no longer.
    pub fn hold_text(&self, hold: Option<TextHold>) {
        let hold = hold.map(|hold| match &self.path {
            Some(path) => hold.on(&path.mount),
            None => hold,
        });
        let old = std::mem::replace(&mut *self.text_hold.lock(), hold);
        drop(old);
    }
    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_ref()
    }
    /// Its inode.
    #[must_use]
    pub fn inode(&self) -> &Arc<Inode> {
        &self.inode
    }
    /// Its operations.
    #[must_use]
    pub fn ops(&self) -> &dyn FileOps {
        &*self.ops
    }
    /// The type that implements it.
    #[must_use]
    pub fn downcast<T: 'static>(&self) -> Option<&T> {
        self.ops.as_any().downcast_ref()
    }
    /// `F_GETFL`'s value.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }
    /// Replaces the bits of `mask` by those of `value` (F_SETFL, FIONBIO).
    pub fn change_flags(&self, mask: u32, value: u32) {
        let _ = self
            .flags
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
                Some((old & !mask) | (value & mask))
            });
    }
    /// O_NONBLOCK.
    #[must_use]
    pub fn nonblocking(&self) -> bool {
        self.flags() & O_NONBLOCK != 0
    }
    /// Opened with O_PATH: names a place, gives no I/O.
    #[must_use]
    pub fn is_path_only(&self) -> bool {
        self.access & O_PATH != 0
    }
    /// Whether it was opened for reading. Access mode 3 is for neither: ioctl only.
    #[must_use]
    pub fn readable(&self) -> bool {
        !self.is_path_only() && matches!(self.access & O_ACCMODE, O_RDONLY | O_RDWR)
    }
    /// Whether it was opened for writing.
    #[must_use]
    pub fn writable(&self) -> bool {
        !self.is_path_only() && matches!(self.access & O_ACCMODE, O_WRONLY | O_RDWR)
    }
    /// The offset's lock: held during a read or write at the current position, as `f_pos_lock` is.
    #[must_use]
    pub fn offset(&self) -> &Mutex<u64> {
        &self.offset
    }

    /// Reads at the current offset (seekable files) or the next bytes of a stream. `EBADF` if not opened for reading.
    pub fn read(&self, task: Option<&CurrentTask>, dst: &mut dyn Sink) -> SysResult<usize> {
        self.read_with(task, None, self.flags(), dst)
    }

    /// Writes at the current offset, or the end with O_APPEND. `EBADF` if not opened for writing.
    pub fn write(&self, task: Option<&CurrentTask>, src: &mut dyn Source) -> SysResult<usize> {
        self.write_with(task, None, self.flags(), src)
    }

    /// Reads at a given offset (`pread`): `ESPIPE` for streams.
    pub fn pread(
        &self,
        task: Option<&CurrentTask>,
        offset: u64,
        dst: &mut dyn Sink,
    ) -> SysResult<usize> {
        self.read_with(task, Some(offset), self.flags(), dst)
    }

    /// Writes at a given offset (`pwrite`): `ESPIPE` for streams. With O_APPEND Linux appends (see pwrite(2), BUGS).
    pub fn pwrite(
        &self,
        task: Option<&CurrentTask>,
        offset: u64,
        src: &mut dyn Source,
    ) -> SysResult<usize> {
        self.write_with(task, Some(offset), self.flags(), src)
    }

    /// Reads at `offset`, or at the current one, which it moves, under `flags` in place of the description's (`preadv2(2)`).
    pub fn read_with(
        &self,
        task: Option<&CurrentTask>,
        offset: Option<u64>,
        flags: u32,
        dst: &mut dyn Sink,
    ) -> SysResult<usize> {
        let cx = IoCx {
            task,
            flags,
            opener: self.opener.get(),
        };
        match offset {
            Some(_) if !self.ops.seekable() => Err(Errno::ESPIPE.into()),
            _ if !self.readable() => Err(Errno::EBADF.into()),
            Some(offset) => self.ops.read_at(cx, offset, dst),
            None if !self.ops.seekable() => self.ops.read_at(cx, 0, dst),
            None => {
                let mut at = self.offset.lock();
                let n = self.ops.read_at(cx, *at, dst)?;
                *at += n as u64;
                Ok(n)
            }
        }
    }

    /// Writes at `offset`, or at the current one, which it moves, under `flags` in place of the description's (`pwritev2(2)`).
    pub fn write_with(
        &self,
        task: Option<&CurrentTask>,
        offset: Option<u64>,
        flags: u32,
        src: &mut dyn Source,
    ) -> SysResult<usize> {
        let cx = IoCx {
            task,
            flags,
            opener: self.opener.get(),
        };
        match offset {
            Some(_) if !self.ops.seekable() => Err(Errno::ESPIPE.into()),
            _ if !self.writable() => Err(Errno::EBADF.into()),
            Some(offset) => self.ops.write_at(cx, offset, src).map(|(n, _)| n),
            None if !self.ops.seekable() => self.ops.write_at(cx, 0, src).map(|(n, _)| n),
            None => {
                let mut at = self.offset.lock();
                let (n, end) = self.ops.write_at(cx, *at, src)?;
                *at = end;
                Ok(n)
            }
        }
    }

    /// What is ready for `task` (`None`: for the kernel).
    #[must_use]
    pub fn readiness(&self, task: Option<&Task>) -> Events {
        match task {
            Some(task) => self.ops.readiness_for(task),
            None => self.ops.readiness(),
        }
    }

    /// Where `task` waits for it; `None`: it is always ready.
    #[must_use]
    pub fn wait_queue(&self, task: Option<&Task>) -> Option<WaitQueue> {
        match task {
            Some(task) => self.ops.wait_queue_for(task),
            None => self.ops.wait_queue().cloned(),
        }
    }

    /// Whether writes append.
    #[must_use]
    pub fn appends(&self) -> bool {
        self.flags() & O_APPEND != 0
    }

    /// The text of `/proc/self/fd/N`.
    #[must_use]
    pub fn describe(&self, fs: &FsContext) -> Vec<u8> {
        self.path
            .as_ref()
            .map_or_else(|| self.ops.anonymous_name(), |path| path.display(fs))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        crate::fs::locks::release_file(self);
        crate::fs::leases::release_file(self);
        super::events::closed(self);
    }
}
