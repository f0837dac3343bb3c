//! Data from file to file within the kernel: sendfile, copy_file_range.

use std::sync::Arc;

use abi::fs::{S_IFDIR, S_IFREG};
use abi::{UserIn, UserOut};
use sentry::error::{Errno, SysResult};
use sentry::mm::MAX_RW_COUNT;
use sentry::task::CurrentTask;
use sentry::vfs::{Fd, File, KernelSink, KernelSource};

use super::io::{check_offset, read_file, write_file};

/// Bytes moved at a time.
const CHUNK: usize = 256 * 1024;

/// One end of a copy: a file, and where in it (`None`: at its own offset).
struct End {
    file: Arc<File>,
    offset: Option<u64>,
    /// Where the guest keeps the offset.
    at: UserOut<i64>,
}

impl End {
    fn new(cx: &CurrentTask, file: Arc<File>, at: UserOut<i64>) -> SysResult<Self> {
        let offset = if at.is_null() {
            None
        } else {
            Some(check_offset(cx.memory().get(UserIn::new(at.addr()))?)?)
        };
        Ok(Self { file, offset, at })
    }
    /// Where the next byte comes from or goes to.
    fn position(&self) -> u64 {
        self.offset.unwrap_or_else(|| *self.file.offset().lock())
    }
    fn advance(&mut self, n: usize) {
        match &mut self.offset {
            Some(offset) => *offset += n as u64,
            None => *self.file.offset().lock() += n as u64,
        }
    }
    fn store(&self, cx: &CurrentTask) -> SysResult<()> {
        if let Some(offset) = self.offset {
            cx.memory().put(self.at, &(offset as i64))?;
        }
        Ok(())
    }
}

/// Copies up to `count` bytes. The source's position moves by what was written only, so nothing is lost if the target takes less.
async fn copy(cx: &CurrentTask, from: &mut End, to: &mut End, count: usize) -> SysResult<usize> {
    let mut total = 0;
    while total < count {
        let mut sink = KernelSink::new(CHUNK.min(count - total));
        let read = read_file(cx, &from.file, Some(from.position()), 0, &mut sink).await;
        let written = match read {
            Ok(0) => break,
            Ok(read) => {
                let bytes = sink.into_bytes();
                let result =
                    write_file(cx, &to.file, to.offset, 0, &mut KernelSource(&bytes)).await;
                if let (Ok(n), Some(offset)) = (&result, &mut to.offset) {
                    *offset += *n as u64;
                }
                result.map(|n| (n, n < read))
            }
            Err(error) => Err(error),
        };
        match written {
            Ok((n, short)) => {
                from.advance(n);
                total += n;
                if short {
                    break;
                }
            }
            Err(_) if total > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

/// `sendfile(2)`.
pub async fn sendfile(
    cx: &CurrentTask,
    out: Fd,
    input: Fd,
    offset: UserOut<i64>,
    count: usize,
) -> SysResult<usize> {
    let source = cx.file(input)?;
    if !source.readable() {
        return Err(Errno::EBADF.into());
    }
    let seekable = source.ops().seekable();
    if !offset.is_null() && !seekable {
        return Err(Errno::ESPIPE.into());
    }
    let target = cx.file(out)?;
    if !target.writable() {
        return Err(Errno::EBADF.into());
    }
    if !seekable || source.inode().ops().as_dir().is_some() || target.appends() {
        return Err(Errno::EINVAL.into());
    }
    let mut from = End::new(cx, source, offset)?;
    let mut to = End::new(cx, target, UserOut::new(abi::UserAddr::NULL))?;
    let total = copy(cx, &mut from, &mut to, count.min(MAX_RW_COUNT)).await?;
    from.store(cx)?;
    Ok(total)
}

/// `copy_file_range(2)`: `EXDEV` between different kinds of file system, as since Linux 5.19.
pub async fn copy_file_range(
    cx: &CurrentTask,
    input: Fd,
    offset_in: UserOut<i64>,
    out: Fd,
    offset_out: UserOut<i64>,
    len: usize,
    flags: u32,
) -> SysResult<usize> {
    let source = cx.file(input)?;
    let target = cx.file(out)?;
    let mut from = End::new(cx, source, offset_in)?;
    let mut to = End::new(cx, target, offset_out)?;
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let kinds = [from.file.inode().file_type()?, to.file.inode().file_type()?];
    if kinds.contains(&S_IFDIR) {
        return Err(Errno::EISDIR.into());
    }
    if kinds != [S_IFREG, S_IFREG] {
        return Err(Errno::EINVAL.into());
    }
    if !from.file.readable() || !to.file.writable() || to.file.appends() {
        return Err(Errno::EBADF.into());
    }
    let type_of = |file: &File| file.inode().file_system().map(|fs| fs.type_name());
    if type_of(&from.file) != type_of(&to.file) {
        return Err(Errno::EXDEV.into());
    }
    let len = len.min(MAX_RW_COUNT);
    let (start_in, start_out) = (from.position(), to.position());
    let end = |start: u64| start.checked_add(len as u64).ok_or(Errno::EOVERFLOW);
    let (end_in, end_out) = (end(start_in)?, end(start_out)?);
    let same = Arc::ptr_eq(from.file.inode(), to.file.inode());
    if same && start_in < end_out && start_out < end_in {
        return Err(Errno::EINVAL.into());
    }
    let total = copy(cx, &mut from, &mut to, len).await?;
    from.store(cx)?;
    to.store(cx)?;
    Ok(total)
}
