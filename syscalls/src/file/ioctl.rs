//! ioctl: the commands that every file knows; the rest is the file's.

use abi::fs::{O_NONBLOCK, S_IFDIR, S_IFREG};
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, SysResult};
use sentry::fs::fasync;
use sentry::task::CurrentTask;
use sentry::vfs::{Fd, FdFlags};

const FIBMAP: u32 = 1;
const FIGETBSZ: u32 = 2;
const FIONREAD: u32 = 0x541b;
const FIONBIO: u32 = 0x5421;
const FIONCLEX: u32 = 0x5450;
const FIOCLEX: u32 = 0x5451;
const FIOASYNC: u32 = 0x5452;
const FIOQSIZE: u32 = 0x5460;
const FICLONE: u32 = 0x4004_9409;
const FICLONERANGE: u32 = 0x4020_940d;

/// `ioctl(2)`.
pub async fn ioctl(cx: &CurrentTask, fd: Fd, request: u32, arg: UserAddr) -> SysResult<i64> {
    let file = cx.file(fd)?;
    if let Some(result) = crate::seccomp_listener::ioctl(cx, &file, request, arg).await {
        return result;
    }
    let memory = cx.memory();
    match request {
        FIOCLEX => cx.files().set_flags(fd, FdFlags::CLOEXEC)?,
        FIONCLEX => cx.files().set_flags(fd, FdFlags::empty())?,
        FIONBIO => {
            let on = memory.get(UserIn::<i32>::new(arg))? != 0;
            file.change_flags(O_NONBLOCK, if on { O_NONBLOCK } else { 0 });
        }
        FIOASYNC => {
            let on = memory.get(UserIn::<i32>::new(arg))? != 0;
            if !fasync::supported(&file, cx.task()) {
                return Err(Errno::ENOTTY.into());
            }
            fasync::set(&file, cx.task(), fd.0, on);
        }
        FIGETBSZ if file.path().is_some() => {
            let size = file.inode().attr()?.blksize as i32;
            memory.put(UserOut::new(arg), &size)?;
        }
        FIOQSIZE | FIONREAD | FIBMAP => {
            let attr = file.inode().attr()?;
            match (request, attr.file_type()) {
                (FIONREAD, S_IFREG) => {
                    let at = *file.offset().lock();
                    let left = attr.size.saturating_sub(at) as i32;
                    memory.put(UserOut::new(arg), &left)?;
                }
                (FIOQSIZE, S_IFREG | S_IFDIR) => {
                    memory.put(UserOut::new(arg), &(attr.size as i64))?;
                }
                _ => return file.ops().ioctl(cx, request, arg.0),
            }
        }
        FICLONE | FICLONERANGE if file.inode().file_type()? == S_IFREG => {
            let source = if request == FICLONE {
                arg.0 as i64
            } else {
                memory.get(UserIn::<i64>::new(arg))?
            };
            let source = i32::try_from(source).map_err(|_| Errno::EBADF)?;
            cx.file(Fd(source))?;
            return Err(Errno::EOPNOTSUPP.into());
        }
        _ => return file.ops().ioctl(cx, request, arg.0),
    }
    Ok(0)
}
