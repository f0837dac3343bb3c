//! Calls that fit no other family: identity of the system, randomness, seccomp, the kernel log.

use std::sync::Arc;

use abi::bpf::{
    SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_FILTER_FLAG_TSYNC_ESRCH, SECCOMP_GET_ACTION_AVAIL,
    SECCOMP_GET_NOTIF_SIZES, SECCOMP_MODE_FILTER, SECCOMP_MODE_STRICT, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_LOG,
    SECCOMP_RET_TRACE, SECCOMP_RET_TRAP, SECCOMP_RET_USER_NOTIF, SECCOMP_SET_MODE_FILTER,
    SECCOMP_SET_MODE_STRICT, SockFilter, SockFprog,
};
use abi::uts::{RELEASE, SYSTEM, UTS_FIELD, VERSION};
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, Result, SysError, SysResult};
use sentry::task::creds::{Cap, Creds};
use sentry::task::seccomp::{MAX_INSTRUCTIONS, Program};
use sentry::task::seccomp_listener::{self, Notifications};
use sentry::task::{CurrentTask, Task};
use sentry::vfs::Sink;

/// `sched_yield(2)`: the host schedules; the sentry has nothing to add.
pub async fn sched_yield(_cx: &CurrentTask) -> SysResult<()> {
    Ok(())
}

/// `uname(2)`.
pub async fn uname(cx: &CurrentTask, buf: UserAddr) -> SysResult<()> {
    let uts = cx.namespaces().uts.clone();
    let (host, domain) = (uts.hostname.read().clone(), uts.domainname.read().clone());
    const UNAME26: u32 = 0x002_0000;
    const PER_MASK: u32 = 0xff;
    const PER_LINUX32: u32 = 8;
    let personality = cx.misc.lock().personality;
    // `override_architecture()` of kernel/sys.c.
    let machine: &[u8] = if personality & PER_MASK == PER_LINUX32 {
        b"i686"
    } else {
        b"x86_64"
    };
    let release = if personality & UNAME26 != 0 {
        abi::uts::RELEASE_26
    } else {
        RELEASE
    };
    let fields: [&[u8]; 6] = [
        SYSTEM.as_bytes(),
        &host,
        release.as_bytes(),
        VERSION.as_bytes(),
        machine,
        &domain,
    ];
    let mut bytes = [0_u8; 6 * UTS_FIELD];
    for (field, place) in fields.iter().zip(bytes.chunks_mut(UTS_FIELD)) {
        let n = field.len().min(UTS_FIELD - 1);
        place[..n].copy_from_slice(&field[..n]);
    }
    Ok(cx.memory().write(buf, &bytes)?)
}

fn new_name(cx: &CurrentTask, name: UserAddr, len: i32) -> Result<Vec<u8>> {
    let uts = cx.namespaces().uts.clone();
    cx.creds().require_in(&uts.owner, Cap::SYS_ADMIN)?;
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    if len >= UTS_FIELD {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; len];
    cx.memory().read(name, &mut bytes)?;
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    Ok(bytes)
}

/// `sethostname(2)`.
pub async fn sethostname(cx: &CurrentTask, name: UserAddr, len: i32) -> SysResult<()> {
    let name = new_name(cx, name, len)?;
    *cx.namespaces().uts.hostname.write() = name;
    Ok(())
}

/// `setdomainname(2)`.
pub async fn setdomainname(cx: &CurrentTask, name: UserAddr, len: i32) -> SysResult<()> {
    let name = new_name(cx, name, len)?;
    *cx.namespaces().uts.domainname.write() = name;
    Ok(())
}

/// `getrandom(2)`.
pub async fn getrandom(
    cx: &CurrentTask,
    buf: UserAddr,
    len: usize,
    flags: u32,
) -> SysResult<usize> {
    const GRND_RANDOM: u32 = 2;
    const GRND_INSECURE: u32 = 4;
    /// As much as Linux gave at once before 5.18: one call must not keep a thread of the sentry for long.
    const MOST: usize = (32 << 20) - 1;
    if flags & !7 != 0 || flags & (GRND_RANDOM | GRND_INSECURE) == GRND_RANDOM | GRND_INSECURE {
        return Err(Errno::EINVAL.into());
    }
    let len = len.min(MOST);
    let mut sink = cx.memory().sink(buf, len);
    let mut chunk = vec![0_u8; len.min(64 * 1024)];
    let mut done = 0;
    while done < len {
        let part = &mut chunk[..(len - done).min(64 * 1024)];
        sentry::host::random(part);
        match sink.put(part) {
            Ok(n) => {
                done += n;
                if n < part.len() {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(done)
}

/// `getcpu(2)`.
pub async fn getcpu(cx: &CurrentTask, cpu: UserOut<u32>, node: UserOut<u32>) -> SysResult<()> {
    // The thread that handles a call runs where its guest ran, as a rule.
    let at = sentry::host::current_cpu() % cx.container.resources().cpus.max(1);
    cx.memory().put_opt(cpu, &at)?;
    Ok(cx.memory().put_opt(node, &0)?)
}

/// `syslog(2)`: the sandbox's kernel log is empty.
pub async fn syslog(cx: &CurrentTask, kind: i32, buf: UserAddr, len: i32) -> SysResult<i32> {
    const CAP_SYSLOG: Cap = Cap(34);
    const BUFFER_SIZE: i32 = 1 << 18;
    let creds = cx.creds();
    if !creds.has(CAP_SYSLOG) && !creds.has(Cap::SYS_ADMIN) {
        return Err(Errno::EPERM.into());
    }
    match kind {
        // Open, close, clear, console off and on, unread size.
        0 | 1 | 5..=7 | 9 => Ok(0),
        2..=4 => {
            if buf.is_null() || len < 0 {
                return Err(Errno::EINVAL.into());
            }
            if kind == 2 && len > 0 {
                // A message would have to come first, and none does.
                cx.sleep_until(None).await?;
            }
            Ok(0)
        }
        8 if (1..=8).contains(&len) => Ok(0),
        10 => Ok(BUFFER_SIZE),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn program(cx: &CurrentTask, at: u64) -> Result<Program> {
    let header: SockFprog = cx.memory().get(UserIn::new(UserAddr(at)))?;
    let len = usize::from(header.len);
    if len == 0 || len > MAX_INSTRUCTIONS {
        return Err(Errno::EINVAL);
    }
    let code: Vec<SockFilter> = cx
        .memory()
        .get_array(UserIn::new(UserAddr(header.filter)), len)?;
    Program::new(code)
}

fn set_filter(cx: &CurrentTask, flags: u32, at: u64) -> SysResult<i64> {
    const KNOWN: u32 = SECCOMP_FILTER_FLAG_TSYNC
        | SECCOMP_FILTER_FLAG_LOG
        | SECCOMP_FILTER_FLAG_SPEC_ALLOW
        | SECCOMP_FILTER_FLAG_NEW_LISTENER
        | SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
    const BOTH: u32 = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is absent, as before Linux 5.19.
    if flags & !KNOWN != 0 || flags & BOTH == BOTH && flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH == 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut program = program(cx, at)?;
    let creds = cx.creds();
    if !creds.no_new_privs && !creds.has_here(Cap::SYS_ADMIN) {
        return Err(Errno::EACCES.into());
    }
    let listener = (flags & SECCOMP_FILTER_FLAG_NEW_LISTENER != 0).then(Notifications::new);
    let mut fd = None;
    if let Some(listener) = &listener {
        if cx.seccomp.read().has_listener() {
            return Err(Errno::EBUSY.into());
        }
        program = program.with_listener(listener.clone());
        fd = Some(cx.install(seccomp_listener::open(listener), true)?);
    }
    let result = add_filter(cx, flags, Arc::new(program), &creds);
    match (fd, &result) {
        (Some(fd), Ok(0)) => Ok(i64::from(fd.0)),
        (Some(fd), _) => {
            drop(cx.files().remove(fd));
            result
        }
        (None, _) => result,
    }
}

fn add_filter(
    cx: &CurrentTask,
    flags: u32,
    program: Arc<Program>,
    creds: &Creds,
) -> SysResult<i64> {
    // The group's list of tasks is held: one thread at a time changes filters.
    let tasks = cx.group.tasks.lock();
    let old = cx.seccomp.read().clone();
    let new = old.with_filter(program)?;
    if flags & SECCOMP_FILTER_FLAG_TSYNC == 0 {
        *cx.seccomp.write() = new;
        return Ok(0);
    }
    let others = || tasks.iter().filter(|t| !Arc::ptr_eq(t, cx.task()));
    if let Some(stray) = others().find(|t| !old.descends_from(&t.seccomp.read())) {
        return if flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH != 0 {
            Err(Errno::ESRCH.into())
        } else {
            Ok(i64::from(stray.tid_number()))
        };
    }
    for task in others() {
        if creds.no_new_privs {
            let mut current = task.creds.write();
            let mut changed = (**current).clone();
            changed.no_new_privs = true;
            *current = Arc::new(changed);
        }
        *task.seccomp.write() = new.clone();
    }
    *cx.seccomp.write() = new;
    Ok(0)
}

fn set_strict(task: &Task) -> SysResult<i64> {
    let strict = task.seccomp.read().strict()?;
    *task.seccomp.write() = strict;
    Ok(0)
}

/// PR_SET_SECCOMP.
pub(crate) fn set_seccomp_mode(cx: &CurrentTask, mode: u64, filter: u64) -> SysResult<i64> {
    match u32::try_from(mode) {
        Ok(SECCOMP_MODE_STRICT) => set_strict(cx.task()),
        Ok(SECCOMP_MODE_FILTER) => set_filter(cx, 0, filter),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `seccomp(2)`.
pub async fn seccomp(cx: &CurrentTask, operation: u32, flags: u32, args: u64) -> SysResult<i64> {
    const AVAILABLE: [u32; 8] = [
        SECCOMP_RET_USER_NOTIF,
        SECCOMP_RET_KILL_PROCESS,
        SECCOMP_RET_KILL_THREAD,
        SECCOMP_RET_TRAP,
        SECCOMP_RET_ERRNO,
        SECCOMP_RET_TRACE,
        SECCOMP_RET_LOG,
        SECCOMP_RET_ALLOW,
    ];
    match operation {
        SECCOMP_SET_MODE_STRICT if flags == 0 && args == 0 => set_strict(cx.task()),
        SECCOMP_SET_MODE_FILTER => set_filter(cx, flags, args),
        SECCOMP_GET_NOTIF_SIZES if flags == 0 => {
            let at = UserOut::new(UserAddr(args));
            cx.memory().put(at, &crate::seccomp_listener::SIZES)?;
            Ok(0)
        }
        SECCOMP_GET_ACTION_AVAIL if flags == 0 => {
            let action: u32 = cx.memory().get(UserIn::new(UserAddr(args)))?;
            if AVAILABLE.contains(&action) {
                Ok(0)
            } else {
                Err(Errno::EOPNOTSUPP.into())
            }
        }
        _ => Err(SysError::Errno(Errno::EINVAL)),
    }
}
