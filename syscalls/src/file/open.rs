//! open, openat, openat2, creat.

use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::fs::{
    O_CLOEXEC, O_CREAT, O_LARGEFILE, O_TMPFILE_BIT, O_TRUNC, O_WRONLY, RESOLVE_BENEATH,
    RESOLVE_CACHED, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV,
    S_IALLUGO, VALID_OPEN_FLAGS,
};
use abi::{UserAddr, UserIn};
use sentry::error::{Errno, Result, SysError, SysResult};
use sentry::fs::leases::BREAK_SECONDS;
use sentry::task::CurrentTask;
use sentry::vfs::lookup::LookupFlags;
use sentry::vfs::{Fd, Inode, OpenOutcome, OpenRequest, open_at};
use sentry::wait::Events;
use zerocopy::IntoBytes;

use super::path::{CWD, Walker, get_path};

/// `open(2)`.
pub async fn open(cx: &CurrentTask, path: UserIn<u8>, flags: u32, mode: u32) -> SysResult<Fd> {
    openat(cx, CWD, path, flags, mode).await
}

/// `creat(2)`.
pub async fn creat(cx: &CurrentTask, path: UserIn<u8>, mode: u32) -> SysResult<Fd> {
    openat(cx, CWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode).await
}

/// `openat(2)`.
pub async fn openat(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    flags: u32,
    mode: u32,
) -> SysResult<Fd> {
    let makes = flags & (O_CREAT | O_TMPFILE_BIT) != 0;
    let request = OpenRequest {
        flags: (flags & VALID_OPEN_FLAGS) | O_LARGEFILE,
        mode: if makes { mode & S_IALLUGO } else { 0 },
        resolve: LookupFlags::empty(),
    }
    .checked()?;
    open_and_install(cx, dir, path, request).await
}

/// `openat2(2)`.
pub async fn openat2(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    how: UserAddr,
    size: usize,
) -> SysResult<Fd> {
    let how = get_open_how(cx, how, size)?;
    let request = request_of(&how)?.checked()?;
    open_and_install(cx, dir, path, request).await
}

/// `copy_struct_from_user`: `EINVAL` if too small, `E2BIG` if too large or with unknown fields set.
fn get_open_how(cx: &CurrentTask, at: UserAddr, size: usize) -> Result<abi::fs::OpenHow> {
    const KNOWN: usize = size_of::<abi::fs::OpenHow>();
    if size < KNOWN {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let mut bytes = vec![0_u8; size];
    cx.memory().read(at, &mut bytes)?;
    if bytes[KNOWN..].iter().any(|byte| *byte != 0) {
        return Err(Errno::E2BIG);
    }
    let mut how = abi::fs::OpenHow::default();
    how.as_mut_bytes().copy_from_slice(&bytes[..KNOWN]);
    Ok(how)
}

fn request_of(how: &abi::fs::OpenHow) -> Result<OpenRequest> {
    const RESOLVES: [(u64, LookupFlags); 6] = [
        (RESOLVE_NO_XDEV, LookupFlags::NO_XDEV),
        (RESOLVE_NO_MAGICLINKS, LookupFlags::NO_MAGICLINKS),
        (RESOLVE_NO_SYMLINKS, LookupFlags::NO_SYMLINKS),
        (RESOLVE_BENEATH, LookupFlags::BENEATH),
        (RESOLVE_IN_ROOT, LookupFlags::IN_ROOT),
        (RESOLVE_CACHED, LookupFlags::empty()),
    ];
    if how.flags & !u64::from(VALID_OPEN_FLAGS) != 0 {
        return Err(Errno::EINVAL);
    }
    let known = RESOLVES.iter().fold(0, |all, (bit, _)| all | bit);
    let scoped = RESOLVE_BENEATH | RESOLVE_IN_ROOT;
    if how.resolve & !known != 0 || how.resolve & scoped == scoped {
        return Err(Errno::EINVAL);
    }
    // Nothing says whether a look-up would need the disk.
    if how.resolve & RESOLVE_CACHED != 0 {
        return Err(Errno::EAGAIN);
    }
    let flags = how.flags as u32;
    let makes = flags & (O_CREAT | O_TMPFILE_BIT) != 0;
    if how.mode & !u64::from(if makes { S_IALLUGO } else { 0 }) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & abi::fs::O_PATH != 0
        && flags & !(abi::fs::O_PATH | abi::fs::O_DIRECTORY | abi::fs::O_NOFOLLOW | O_CLOEXEC) != 0
    {
        return Err(Errno::EINVAL);
    }
    let mut resolve = LookupFlags::empty();
    for (bit, flag) in RESOLVES {
        if how.resolve & bit != 0 {
            resolve |= flag;
        }
    }
    Ok(OpenRequest {
        flags: flags | O_LARGEFILE,
        mode: how.mode as u32,
        resolve,
    })
}

/// Waits until the holders of leases have made way, or their time is up.
async fn wait_for_lease(cx: &CurrentTask, inode: &Arc<Inode>, writes: bool) -> SysResult<()> {
    let leases = &inode.state.leases;
    let queue = leases.queue();
    let deadline = Instant::now() + Duration::from_secs(BREAK_SECONDS);
    let gone = || {
        if leases.conflicts(writes) {
            Err(Errno::EAGAIN.into())
        } else {
            Ok(())
        }
    };
    match cx
        .block_until(&[(&queue, Events::IN)], Some(deadline), gone)
        .await
    {
        Err(SysError::Errno(Errno::ETIMEDOUT)) => {
            leases.force();
            Ok(())
        }
        other => other,
    }
}

async fn open_and_install(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    request: OpenRequest,
) -> SysResult<Fd> {
    let path = get_path(cx, path)?;
    let walker = Walker::new(cx);
    // RESOLVE_IN_ROOT: absolute paths begin at the descriptor too.
    let from: &[u8] = if request.resolve.contains(LookupFlags::IN_ROOT) {
        b"."
    } else {
        &path
    };
    let start = walker.start(cx, dir, from)?;
    let mut outcome = open_at(walker.cx(), &start, &path, request)?;
    while let OpenOutcome::Leased(inode, writes) = outcome {
        wait_for_lease(cx, &inode, writes).await?;
        outcome = open_at(walker.cx(), &start, &path, request)?;
    }
    let file = match outcome {
        OpenOutcome::Ready(file) => file,
        OpenOutcome::Leased(..) => return Err(Errno::EAGAIN.into()),
        OpenOutcome::Fifo(pending) => {
            let queue = pending.queue();
            let events = Events::FILE | Events::ALWAYS;
            cx.block_until(&[(&queue, events)], None, || Ok(pending.check_ready()?))
                .await?;
            pending.finish()?
        }
    };
    Ok(cx.install(file, request.flags & O_CLOEXEC != 0)?)
}
