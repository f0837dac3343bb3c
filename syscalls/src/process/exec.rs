//! `execve(2)`.
//!
//! The new program gets a fresh host process; the old one is dropped. Everything that can fail is done before the other threads are ended, so that a
//! failed execve leaves the caller as it was.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use abi::fs::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW};
use abi::{UserAddr, UserIn};
use sentry::error::{Errno, Result, SysResult};
use sentry::loader::{self, Program};
use sentry::mm::MemoryMap;
use sentry::task::creds::{CapSet, Creds};
use sentry::task::limits::Resource;
use sentry::task::{CurrentTask, RunState};
use sentry::vfs::lookup::{LookupCx, LookupFlags, resolve};
use sentry::vfs::{Fd, FdFlags, File};
use sentry::wait::Events;

use super::strings::read_strings;
use crate::arg::Outcome;

/// `execve(2)`.
pub async fn execve(
    cx: &CurrentTask,
    path: UserIn<u8>,
    argv: UserAddr,
    envp: UserAddr,
) -> SysResult<Outcome> {
    execveat(cx, Fd(abi::fs::AT_FDCWD), path, argv, envp, 0).await
}

/// `execveat(2)`.
pub async fn execveat(
    cx: &CurrentTask,
    dir: Fd,
    path: UserIn<u8>,
    argv: UserAddr,
    envp: UserAddr,
    flags: u32,
) -> SysResult<Outcome> {
    if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let memory = cx.memory();
    let name = memory.get_path(path)?;
    let (file, shown_name) = open(cx, dir, &name, flags)?;
    let args = read_strings(&memory, argv)?;
    let env = read_strings(&memory, envp)?;
    let (fs, creds) = cx.lookup_parts();
    let lookup = LookupCx {
        fs: &fs,
        creds: &creds,
        task: Some(cx.task()),
    };
    let named = dir.0 == abi::fs::AT_FDCWD || name.starts_with(b"/");
    let unreachable = !named
        && cx
            .files()
            .get_with_flags(dir)
            .is_ok_and(|(_, flags)| flags.contains(FdFlags::CLOEXEC));
    if unreachable && loader::is_script(&file)? {
        // The interpreter would be given a name that is gone by then (BINPRM_FLAGS_PATH_INACCESSIBLE).
        return Err(Errno::ENOENT.into());
    }
    let program = loader::prepare(lookup, file, &shown_name, args, env)?;
    exec_program(cx, program).await?;
    Ok(Outcome::RegistersSet)
}

fn open(cx: &CurrentTask, dir: Fd, name: &[u8], flags: u32) -> Result<(Arc<File>, Vec<u8>)> {
    let (fs, creds) = cx.lookup_parts();
    let lookup = LookupCx {
        fs: &fs,
        creds: &creds,
        task: Some(cx.task()),
    };
    if name.is_empty() && flags & AT_EMPTY_PATH != 0 && dir.0 != abi::fs::AT_FDCWD {
        let base = cx.files().get(dir)?;
        if base.path().is_none() {
            return Ok((
                loader::open_placeless(lookup, &base)?,
                format!("/dev/fd/{}", dir.0).into_bytes(),
            ));
        }
    }
    let start = match dir.0 {
        abi::fs::AT_FDCWD => fs.cwd(),
        _ if name.starts_with(b"/") => fs.cwd(),
        _ => {
            let base = cx.files().get(dir)?;
            base.path().cloned().ok_or(Errno::EACCES)?
        }
    };
    let mut how = LookupFlags::FOLLOW;
    how.set(LookupFlags::EMPTY, flags & AT_EMPTY_PATH != 0);
    how.set(LookupFlags::FOLLOW, flags & AT_SYMLINK_NOFOLLOW == 0);
    let path = resolve(lookup, &start, name, how)?.into_path()?;
    if path.inode().ops().as_symlink().is_some() {
        return Err(Errno::ELOOP);
    }
    let shown = if dir.0 == abi::fs::AT_FDCWD || name.starts_with(b"/") {
        name.to_vec()
    } else if name.is_empty() {
        format!("/dev/fd/{}", dir.0).into_bytes()
    } else {
        [format!("/dev/fd/{}/", dir.0).as_bytes(), name].concat()
    };
    Ok((loader::open_executable(lookup, path)?, shown))
}

/// Replaces the caller's program. On success the caller is at a full stop of its new host thread with all registers set.
pub async fn exec_program(cx: &CurrentTask, program: Program) -> SysResult<()> {
    let (creds, secure) = new_creds(&cx.creds(), &program);
    let fresh = cx.container.spawn(&cx.kernel).await?;
    let map = MemoryMap::new(fresh.space.clone());
    let personality = cx.misc.lock().personality;
    let stack_limit = cx.group.limit(Resource::Stack);
    let loaded = loader::load(
        &map,
        &*fresh.thread,
        &program,
        &creds,
        secure,
        stack_limit,
        personality,
    )
    .await
    .inspect_err(|_| {
        fresh.thread.exit();
    })?;
    if end_other_threads(cx).await.is_err() {
        fresh.thread.exit();
        return Err(Errno::EINTR.into());
    }
    // The point of no return.
    let task = cx.task();
    super::exit::leave_memory(task, false);
    let old_thread = std::mem::replace(&mut *task.thread.write(), fresh.thread.clone());
    crate::sched::pass_on(task);
    let old_map = task.replace_memory_map(Some(map));
    old_thread.exit();
    drop(old_map);
    *task.creds.write() = Arc::new(creds);
    let files = cx.files();
    let files = if files.users() > 1 {
        let own = files.fork();
        task.replace_files(Some(own.clone()));
        own
    } else {
        files
    };
    for file in files.take_cloexec() {
        let _ = sentry::vfs::close_file(&files, file);
    }
    let actions = cx.group.actions().after_exec();
    *cx.group.actions.write() = Arc::new(actions);
    cx.group.timers.delete_posix();
    cx.group.did_exec.store(true, Ordering::Relaxed);
    cx.group.exit_signal.store(
        i32::from(abi::signal::Signal::CHLD.number()),
        Ordering::Relaxed,
    );
    {
        let mut signals = task.signals.lock();
        signals.alt_stack = sentry::task::AltStack::default();
    }
    {
        let mut misc = task.misc.lock();
        misc.comm.clone_from(&program.comm);
        misc.rseq = (0, 0, 0);
        misc.robust_list = (0, 0);
        if secure {
            misc.parent_death_signal = 0;
        }
    }
    fresh
        .thread
        .set_registers(&loaded.registers)
        .map_err(|_| Errno::EINTR)?;
    Ok(())
}

/// Ends the other threads of the process and takes the leader's id (`de_thread`).
async fn end_other_threads(cx: &CurrentTask) -> Result<()> {
    if cx.group.execing.swap(true, Ordering::AcqRel) || cx.group.exiting.lock().is_some() {
        return Err(Errno::EINTR);
    }
    for task in cx.group.threads() {
        if !Arc::ptr_eq(&task, cx.task()) {
            task.signals.lock().killed = true;
            task.interrupt();
        }
    }
    let queue = cx.group.events.clone();
    let mut registration = None;
    let mut ended = Ok(());
    cx.set_state(RunState::Waiting);
    poll_fn(|context| {
        if registration.is_none() {
            registration = Some(queue.register_waker(Events::IN, context.waker().clone()));
        }
        if cx.group.tasks.lock().len() == 1 {
            return Poll::Ready(());
        }
        if cx.group.exiting.lock().is_some() {
            ended = Err(Errno::EINTR);
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
    cx.set_state(RunState::Running);
    cx.group.execing.store(false, Ordering::Release);
    if ended.is_ok() && !Arc::ptr_eq(&cx.tid(), &cx.group.pid) {
        cx.tid().clear_task();
        *cx.task().tid.write() = cx.group.pid.clone();
        // It takes the old leader's place in the container's count, too.
        drop(cx.charge.lock().take());
        cx.group.pid.set_task(cx.task());
    }
    ended
}

/// Credentials after exec (`capabilities(7)`, Transformation of capabilities during execve), and whether it is a secure-execution (AT_SECURE).
pub(super) fn new_creds(old: &Creds, program: &Program) -> (Creds, bool) {
    const SECBIT_NOROOT: u32 = 1;
    const SECBIT_KEEP_CAPS: u32 = 16;
    let mut new = old.clone();
    let users = old.user_ns.clone();
    // Ids without a name in the namespace change nothing, and then neither does (bprm_fill_uid).
    let named = program.set_uid.is_none_or(|uid| users.uid(uid).is_some())
        && program.set_gid.is_none_or(|gid| users.gid(gid).is_some());
    if named {
        new.euid = program.set_uid.unwrap_or(new.euid);
        new.egid = program.set_gid.unwrap_or(new.egid);
    }
    new.suid = new.euid;
    new.fsuid = new.euid;
    new.sgid = new.egid;
    new.fsgid = new.egid;
    let set_id = new.euid != old.euid || new.egid != old.egid;
    let file = program.file_caps.as_deref().and_then(parse_file_caps);
    let (mut file_permitted, mut file_inheritable, mut effective) =
        file.map_or((CapSet::EMPTY, CapSet::EMPTY, false), |f| (f.0, f.1, f.2));
    if old.securebits & SECBIT_NOROOT == 0 && (users.is_root(new.uid) || users.is_root(new.euid)) {
        file_permitted = CapSet::FULL;
        file_inheritable = CapSet::FULL;
        effective = users.is_root(new.euid);
    }
    if file.is_some() || set_id {
        new.ambient = CapSet::EMPTY;
    }
    let permitted = (old.inheritable.0 & file_inheritable.0)
        | (file_permitted.0 & old.bounding.0)
        | new.ambient.0;
    new.permitted = CapSet(permitted);
    new.effective = if effective {
        new.permitted
    } else {
        new.ambient
    };
    new.securebits &= !SECBIT_KEEP_CAPS;
    let gained = new.permitted.0 & !old.permitted.0 != 0 && !users.is_root(new.uid);
    let secure = set_id && (new.euid != new.uid || new.egid != new.gid) || gained;
    (new, secure)
}

/// `struct vfs_cap_data` (VFS_CAP_REVISION_2 and 3): permitted, inheritable, effective bit.
fn parse_file_caps(raw: &[u8]) -> Option<(CapSet, CapSet, bool)> {
    let word = |i: usize| {
        raw.get(i * 4..i * 4 + 4)
            .and_then(|b| b.try_into().ok())
            .map(u32::from_le_bytes)
    };
    let magic = word(0)?;
    let revision = magic & 0xff00_0000;
    if !(revision == 0x0200_0000 && raw.len() == 20
        || revision == 0x0300_0000 && raw.len() == 24 && word(5)? == 0)
    {
        return None;
    }
    let permitted = u64::from(word(1)?) | u64::from(word(3)?) << 32;
    let inheritable = u64::from(word(2)?) | u64::from(word(4)?) << 32;
    Some((
        CapSet(permitted & CapSet::FULL.0),
        CapSet(inheritable & CapSet::FULL.0),
        magic & 1 != 0,
    ))
}
