//! Pipes, eventfds and memory files.

use abi::fs::{O_CLOEXEC, O_DIRECT, O_NONBLOCK};
use abi::{UserIn, UserOut};
use sentry::error::{Errno, SysResult};
use sentry::fs::{eventfd as eventfds, memfd, pipe as pipes};
use sentry::task::CurrentTask;
use sentry::vfs::Fd;

/// `pipe(2)`.
pub async fn pipe(cx: &CurrentTask, fds: UserOut<[i32; 2]>) -> SysResult<()> {
    pipe2(cx, fds, 0).await
}

/// `pipe2(2)`.
pub async fn pipe2(cx: &CurrentTask, fds: UserOut<[i32; 2]>, flags: u32) -> SysResult<()> {
    if flags & !(O_CLOEXEC | O_DIRECT | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let creds = cx.creds();
    let (reader, writer) = pipes::open_pair(flags, creds.fsuid, creds.fsgid);
    let cloexec = flags & O_CLOEXEC != 0;
    let read_fd = cx.install(reader, cloexec)?;
    let result = cx.install(writer, cloexec).and_then(|write_fd| {
        let stored = cx.memory().put(fds, &[read_fd.0, write_fd.0]);
        if stored.is_err() {
            drop(cx.files().remove(write_fd));
        }
        stored
    });
    if result.is_err() {
        drop(cx.files().remove(read_fd));
    }
    Ok(result?)
}

/// `eventfd(2)`.
pub async fn eventfd(cx: &CurrentTask, initial: u32) -> SysResult<Fd> {
    eventfd2(cx, initial, 0).await
}

/// `eventfd2(2)`.
pub async fn eventfd2(cx: &CurrentTask, initial: u32, flags: u32) -> SysResult<Fd> {
    const EFD_SEMAPHORE: u32 = 1;
    if flags & !(EFD_SEMAPHORE | O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = eventfds::open(initial, flags & EFD_SEMAPHORE != 0, flags);
    Ok(cx.install(file, flags & O_CLOEXEC != 0)?)
}

/// `memfd_create(2)`. Huge pages are not to be had: `ENOSYS`, as from a kernel without them.
pub async fn memfd_create(cx: &CurrentTask, name: UserIn<u8>, flags: u32) -> SysResult<Fd> {
    const MFD_CLOEXEC: u32 = 1;
    const MFD_ALLOW_SEALING: u32 = 2;
    const MFD_HUGETLB: u32 = 4;
    const MFD_NOEXEC_SEAL: u32 = 8;
    const MFD_EXEC: u32 = 16;
    const KNOWN: u32 = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC;
    /// NAME_MAX less the `memfd:` in front, and room for the NUL.
    const NAME_LIMIT: usize = 250;
    if flags & MFD_HUGETLB != 0 {
        return Err(Errno::ENOSYS.into());
    }
    let both = MFD_EXEC | MFD_NOEXEC_SEAL;
    if flags & !KNOWN != 0 || flags & both == both {
        return Err(Errno::EINVAL.into());
    }
    let name = cx
        .memory()
        .get_cstr(name.addr(), NAME_LIMIT, Errno::EINVAL)?;
    let creds = cx.creds();
    let file = memfd::open(
        &name,
        flags & MFD_ALLOW_SEALING != 0,
        flags & MFD_NOEXEC_SEAL == 0,
        creds.fsuid,
        creds.fsgid,
    )?;
    Ok(cx.install(file, flags & MFD_CLOEXEC != 0)?)
}
