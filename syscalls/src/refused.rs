//! Calls that the machine's own administrator may make and a container may not: checked as far as Linux looks before it asks for the capability,
//! then refused with EPERM, as in any container (`capable()` asks for the capability in the first user namespace, where nobody here has one).

use abi::signal::Signal;
use abi::{UserAddr, UserIn};
use sentry::error::{Errno, SysResult};
use sentry::signal::send;
use sentry::task::creds::Cap;
use sentry::task::{CurrentTask, ExitStatus};
use sentry::vfs::Fd;

const REFUSED: SysResult<()> = Err(sentry::error::SysError::Errno(Errno::EPERM));

/// `acct(2)`.
pub async fn acct(_cx: &CurrentTask, _path: UserIn<u8>) -> SysResult<()> {
    REFUSED
}

/// `swapon(2)`.
pub async fn swapon(_cx: &CurrentTask, _path: UserIn<u8>, flags: u32) -> SysResult<()> {
    const KNOWN: u32 = 0x7ffff;
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL.into());
    }
    REFUSED
}

/// `swapoff(2)`.
pub async fn swapoff(_cx: &CurrentTask, _path: UserIn<u8>) -> SysResult<()> {
    REFUSED
}

/// `vhangup(2)`.
pub async fn vhangup(_cx: &CurrentTask) -> SysResult<()> {
    REFUSED
}

/// `iopl(2)`: only the level that everybody has.
pub async fn iopl(_cx: &CurrentTask, level: u32) -> SysResult<()> {
    match level {
        0 => Ok(()),
        1..=3 => REFUSED,
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `ioperm(2)`: ports can be given back, not taken.
pub async fn ioperm(_cx: &CurrentTask, from: u64, count: u64, on: i32) -> SysResult<()> {
    const PORTS: u64 = 65536;
    let end = from.checked_add(count).ok_or(Errno::EINVAL)?;
    if end <= from || end > PORTS {
        return Err(Errno::EINVAL.into());
    }
    if on == 0 { Ok(()) } else { REFUSED }
}

/// `init_module(2)`.
pub async fn init_module(
    _cx: &CurrentTask,
    _image: UserAddr,
    _len: u64,
    _args: UserIn<u8>,
) -> SysResult<()> {
    REFUSED
}

/// `finit_module(2)`.
pub async fn finit_module(
    _cx: &CurrentTask,
    _fd: Fd,
    _args: UserIn<u8>,
    _flags: i32,
) -> SysResult<()> {
    REFUSED
}

/// `delete_module(2)`.
pub async fn delete_module(_cx: &CurrentTask, _name: UserIn<u8>, _flags: u32) -> SysResult<()> {
    REFUSED
}

/// `kexec_load(2)`.
pub async fn kexec_load(
    _cx: &CurrentTask,
    _entry: u64,
    _count: u64,
    _segments: UserAddr,
    _flags: u64,
) -> SysResult<()> {
    REFUSED
}

/// `kexec_file_load(2)`.
pub async fn kexec_file_load(
    _cx: &CurrentTask,
    _kernel: Fd,
    _initrd: Fd,
    _len: u64,
    _line: UserIn<u8>,
    _flags: u64,
) -> SysResult<()> {
    REFUSED
}

/// `perf_event_open(2)`: as with `kernel.perf_event_paranoid` above 2.
pub async fn perf_event_open(
    _cx: &CurrentTask,
    _attr: UserAddr,
    _pid: i32,
    _cpu: i32,
    _group: Fd,
    _flags: u64,
) -> SysResult<()> {
    Err(Errno::EACCES.into())
}

/// `bpf(2)`: as with `kernel.unprivileged_bpf_disabled`.
pub async fn bpf(_cx: &CurrentTask, _command: i32, _attr: UserAddr, _size: u32) -> SysResult<()> {
    REFUSED
}

/// `userfaultfd(2)`: as with `vm.unprivileged_userfaultfd` off.
pub async fn userfaultfd(_cx: &CurrentTask, flags: u32) -> SysResult<()> {
    /// O_CLOEXEC, O_NONBLOCK, UFFD_USER_MODE_ONLY.
    const KNOWN: u32 = 0o2_000_000 | 0o4_000 | 1;
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL.into());
    }
    REFUSED
}

/// `io_uring_setup(2)`: as with `kernel.io_uring_disabled` at 2, and as Docker's default profile answers.
pub async fn io_uring_setup(_cx: &CurrentTask, _entries: u32, _params: UserAddr) -> SysResult<()> {
    REFUSED
}

/// `fanotify_init(2)`.
pub async fn fanotify_init(_cx: &CurrentTask, _flags: u32, _events: u32) -> SysResult<()> {
    REFUSED
}

/// `fanotify_mark(2)`: there is no descriptor that it could be asked of.
pub async fn fanotify_mark(
    cx: &CurrentTask,
    fd: Fd,
    _flags: u32,
    _mask: u64,
    _dir: Fd,
    _path: UserIn<u8>,
) -> SysResult<()> {
    cx.files().get(fd)?;
    Err(Errno::EINVAL.into())
}

/// `open_by_handle_at(2)`: needs CAP_DAC_READ_SEARCH in the first user namespace.
pub async fn open_by_handle_at(
    cx: &CurrentTask,
    mount: Fd,
    handle: UserAddr,
    _flags: u32,
) -> SysResult<()> {
    const MAX_HANDLE: u32 = 128;
    let [bytes, _kind]: [u32; 2] = cx.memory().get(UserIn::new(handle))?;
    if bytes == 0 || bytes > MAX_HANDLE {
        return Err(Errno::EINVAL.into());
    }
    if mount.0 != abi::fs::AT_FDCWD {
        cx.files().get(mount)?;
    }
    REFUSED
}

/// `reboot(2)`: in a pid namespace it ends the namespace's init, which tells its parent how (`reboot_pid_ns`).
pub async fn reboot(
    cx: &CurrentTask,
    magic: u32,
    magic2: u32,
    command: u32,
    _arg: UserIn<u8>,
) -> SysResult<()> {
    const MAGIC: u32 = 0xfee1_dead;
    const MAGIC2: [u32; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];
    const RESTART: u32 = 0x0123_4567;
    const RESTART2: u32 = 0xa1b2_c3d4;
    const HALT: u32 = 0xcdef_0123;
    const POWER_OFF: u32 = 0x4321_fedc;
    cx.creds()
        .require_in(&cx.pid_namespace().owner, Cap::SYS_BOOT)?;
    if magic != MAGIC || !MAGIC2.contains(&magic2) {
        return Err(Errno::EINVAL.into());
    }
    let signal = match command {
        RESTART | RESTART2 => Signal::HUP,
        HALT | POWER_OFF => Signal::INT,
        _ => return Err(Errno::EINVAL.into()),
    };
    let init = cx.pid_namespace().init.lock().upgrade();
    let init = init.ok_or(Errno::EINVAL)?;
    send::end_group(&init, ExitStatus::Signal(signal, false));
    Ok(())
}

/// `pkey_alloc(2)`: a processor without keys.
pub async fn pkey_alloc(_cx: &CurrentTask, flags: u64, rights: u64) -> SysResult<()> {
    if flags != 0 || rights & !3 != 0 {
        return Err(Errno::EINVAL.into());
    }
    Err(Errno::ENOSPC.into())
}

/// `pkey_free(2)`.
pub async fn pkey_free(_cx: &CurrentTask, _key: i32) -> SysResult<()> {
    Err(Errno::EINVAL.into())
}
