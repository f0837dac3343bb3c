//! `inotify_init(2)`, `inotify_add_watch(2)`, `inotify_rm_watch(2)`.

use abi::UserIn;
use abi::fs::{O_CLOEXEC, O_NONBLOCK};
use sentry::error::{Errno, SysResult};
use sentry::fs::inotify;
use sentry::task::CurrentTask;
use sentry::vfs::lookup::LookupFlags;
use sentry::vfs::{Access, Fd, check_inode};

use crate::file::path::{CWD, Walker};

const IN_ONLYDIR: u32 = 1 << 24;
const IN_DONT_FOLLOW: u32 = 1 << 25;
/// `ALL_INOTIFY_BITS`: the bits of which at least one must be there.
const ANY: u32 = inotify::ALL_EVENTS
    | inotify::EXCL_UNLINK
    | inotify::MASK_CREATE
    | inotify::MASK_ADD
    | inotify::ONESHOT
    | IN_ONLYDIR
    | IN_DONT_FOLLOW
    // IN_UNMOUNT, IN_Q_OVERFLOW, IN_IGNORED, IN_ISDIR: reported only, but accepted.
    | 1 << 13
    | 1 << 14
    | 1 << 15
    | 1 << 30;

/// `inotify_init(2)`.
pub async fn inotify_init(cx: &CurrentTask) -> SysResult<Fd> {
    inotify_init1(cx, 0).await
}

/// `inotify_init1(2)`.
pub async fn inotify_init1(cx: &CurrentTask, flags: u32) -> SysResult<Fd> {
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = inotify::open(cx.creds().uid, flags)?;
    Ok(cx.install(file, flags & O_CLOEXEC != 0)?)
}

/// `inotify_add_watch(2)`.
pub async fn inotify_add_watch(
    cx: &CurrentTask,
    fd: Fd,
    path: UserIn<u8>,
    mask: u32,
) -> SysResult<i32> {
    if mask & ANY == 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(fd)?;
    let both = inotify::MASK_ADD | inotify::MASK_CREATE;
    if mask & both == both {
        return Err(Errno::EINVAL.into());
    }
    let instance = inotify::of_file(&file)?;
    let mut flags = LookupFlags::empty();
    flags.set(LookupFlags::FOLLOW, mask & IN_DONT_FOLLOW == 0);
    flags.set(LookupFlags::DIRECTORY, mask & IN_ONLYDIR != 0);
    let path = cx.memory().get_path(path)?;
    let walker = Walker::new(cx);
    let found = walker.find(cx, CWD, &path, flags)?;
    check_inode(
        found.inode(),
        &found.inode().attr()?,
        &walker.creds,
        Access::READ,
    )?;
    Ok(instance.add(found.inode(), mask)?)
}

/// `inotify_rm_watch(2)`.
pub async fn inotify_rm_watch(cx: &CurrentTask, fd: Fd, wd: i32) -> SysResult<()> {
    let file = cx.file(fd)?;
    Ok(inotify::of_file(&file)?.remove(wd)?)
}
