//! Namespaces of the calling task: what clone flags make of them, `unshare(2)`, `setns(2)`.

use std::sync::Arc;

use abi::Errno;
use sentry::error::{Result, SysResult};
use sentry::fs::pidfd::PidFd;
use sentry::fs::proc::ns::{NamespaceHandle, of_file};
use sentry::task::creds::{Cap, Creds};
use sentry::task::namespaces::{
    CgroupNamespace, IpcNamespace, Namespaces, NetNamespace, UtsNamespace,
};
use sentry::task::user_ns::UserNamespace;
use sentry::task::{CurrentTask, PidNamespace};
use sentry::vfs::{Fd, FsContext, MountNamespace};

use super::clone::{
    CLONE_FILES, CLONE_FS, CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID,
    CLONE_NEWUSER, CLONE_NEWUTS, CLONE_SIGHAND, CLONE_THREAD, CLONE_VM, NEW_NAMESPACES,
};

const CLONE_SYSVSEM: u64 = 0x4_0000;
const CLONE_NEWTIME: u64 = 0x80;

/// The caller's credentials, or with CLONE_NEWUSER those of the first member of a new user namespace: `EPERM` in a chroot (`create_user_ns`).
pub(super) fn new_creds(cx: &CurrentTask, flags: u64) -> Result<Arc<Creds>> {
    let old = cx.creds();
    if flags & CLONE_NEWUSER == 0 {
        return Ok(old);
    }
    let fs = cx.fs();
    if !fs.root().same(&fs.namespace().root()) {
        return Err(Errno::EPERM);
    }
    let namespace = UserNamespace::new(&old)?;
    let mut new = (*old).clone();
    new.enter(namespace);
    Ok(Arc::new(new))
}

/// The caller's namespaces with those that the flags ask for made anew; they belong to the user namespace of `creds`.
pub(super) fn new_namespaces(cx: &CurrentTask, creds: &Creds, flags: u64) -> Arc<Namespaces> {
    const OURS: u64 = CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWCGROUP;
    let old = cx.namespaces();
    if flags & OURS == 0 {
        return old;
    }
    let owner = || creds.user_ns.clone();
    let mut new = Namespaces::clone(&old);
    if flags & CLONE_NEWUTS != 0 {
        let (host, domain) = (
            old.uts.hostname.read().clone(),
            old.uts.domainname.read().clone(),
        );
        new.uts = UtsNamespace::owned(&host, &domain, owner());
    }
    if flags & CLONE_NEWIPC != 0 {
        new.ipc = IpcNamespace::owned(owner());
    }
    if flags & CLONE_NEWNET != 0 {
        new.net = NetNamespace::owned(owner());
    }
    if flags & CLONE_NEWCGROUP != 0 {
        new.cgroup = CgroupNamespace::owned(owner());
    }
    if flags & CLONE_NEWPID != 0 {
        new.pid_for_children = PidNamespace::owned(Some(cx.pid_namespace()), owner());
    }
    Arc::new(new)
}

/// Gives `fs` a copy of its mount namespace.
pub(super) fn copy_mounts(fs: &FsContext, creds: &Creds) -> Result<()> {
    let (namespace, map) = fs.namespace().copy(creds.user_ns.clone())?;
    let root = MountNamespace::translate(&map, &fs.root());
    let cwd = MountNamespace::translate(&map, &fs.cwd());
    fs.set_namespace(namespace, root, cwd);
    Ok(())
}

/// `unshare(2)`.
pub async fn unshare(cx: &CurrentTask, flags: u64) -> SysResult<()> {
    const SHARED: u64 =
        CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_VM | CLONE_THREAD | CLONE_SYSVSEM;
    if flags & !(SHARED | NEW_NAMESPACES | CLONE_NEWUSER | CLONE_NEWTIME) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & CLONE_NEWTIME != 0 {
        // What a kernel without these namespaces says.
        return Err(Errno::EINVAL.into());
    }
    // A new user namespace is for a process as a whole.
    let alone = CLONE_SIGHAND | CLONE_VM | CLONE_THREAD | CLONE_NEWUSER;
    if flags & alone != 0 && cx.group.threads().len() > 1 {
        return Err(Errno::EINVAL.into());
    }
    let creds = new_creds(cx, flags)?;
    if flags & NEW_NAMESPACES != 0 {
        creds.require_here(Cap::SYS_ADMIN)?;
    }
    if flags & (CLONE_FS | CLONE_NEWNS | CLONE_NEWUSER) != 0 {
        let fs = cx.fs().fork();
        if flags & CLONE_NEWNS != 0 {
            copy_mounts(&fs, &creds)?;
        }
        *cx.fs.write() = fs;
    }
    if flags & CLONE_FILES != 0 && cx.files().users() > 1 {
        let own = cx.files().fork();
        cx.replace_files(Some(own));
    }
    let namespaces = new_namespaces(cx, &creds, flags);
    *cx.task().namespaces.write() = namespaces;
    commit(cx, creds);
    Ok(())
}

/// Takes new credentials over. In a user namespace that somebody else made, the process is nobody's to look into any more (`commit_creds`).
fn commit(cx: &CurrentTask, creds: Arc<Creds>) {
    let old = cx.creds();
    let own =
        creds.user_ns.parent.as_ref() == Some(&old.user_ns) && creds.user_ns.owner == old.euid;
    let other = old.user_ns != creds.user_ns && !own;
    *cx.task().creds.write() = creds;
    if other {
        cx.memory_map().state.write().dumpable = 0;
        cx.misc.lock().parent_death_signal = 0;
    }
}

/// What `setns` has checked and is about to take over.
struct Set {
    creds: Creds,
    namespaces: Namespaces,
    mounts: Option<Arc<MountNamespace>>,
}

/// `setns(2)`: a file of `/proc/<pid>/ns` with its type or 0, or a pidfd with the types wanted.
pub async fn setns(cx: &CurrentTask, fd: Fd, kind: i32) -> SysResult<()> {
    let file = cx.file(fd)?;
    let kind = u64::from(kind.cast_unsigned());
    let mut set = Set {
        creds: (*cx.creds()).clone(),
        namespaces: (*cx.namespaces()).clone(),
        mounts: None,
    };
    if let Some(handle) = of_file(&file) {
        if kind != 0 && kind != u64::from(handle.clone_flag()) {
            return Err(Errno::EINVAL.into());
        }
        install(cx, &mut set, handle)?;
    } else if let Some(process) = file.downcast::<PidFd>() {
        for handle in wanted(cx, process, kind)? {
            install(cx, &mut set, &handle)?;
        }
    } else {
        return Err(Errno::EINVAL.into());
    }
    if let Some(mounts) = set.mounts {
        let root = mounts.root();
        cx.fs().set_namespace(mounts, root.clone(), root);
    }
    *cx.task().namespaces.write() = Arc::new(set.namespaces);
    if set.creds != *cx.creds() {
        commit(cx, Arc::new(set.creds));
    }
    Ok(())
}

/// The namespaces of the process behind a pidfd that the flags name, in the order of `validate_nsset`: `EINVAL` for none, `EPERM` unless the caller
/// may look into it.
fn wanted(cx: &CurrentTask, process: &PidFd, flags: u64) -> SysResult<Vec<NamespaceHandle>> {
    if flags == 0 || flags & !(NEW_NAMESPACES | CLONE_NEWUSER | CLONE_NEWTIME) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = process.group()?.any_task().ok_or(Errno::ESRCH)?;
    crate::cred::may_inspect(cx, &task)?;
    let namespaces = task.namespaces();
    let all = [
        NamespaceHandle::User(task.creds().user_ns.clone()),
        NamespaceHandle::Mount(task.fs().namespace()),
        NamespaceHandle::Uts(namespaces.uts.clone()),
        NamespaceHandle::Ipc(namespaces.ipc.clone()),
        NamespaceHandle::Pid(task.pid_namespace()),
        NamespaceHandle::Cgroup(namespaces.cgroup.clone()),
        NamespaceHandle::Net(namespaces.net.clone()),
        NamespaceHandle::Time,
    ];
    let wanted = all
        .into_iter()
        .filter(|handle| flags & u64::from(handle.clone_flag()) != 0);
    Ok(wanted.collect())
}

/// Checks that the caller may join one namespace and enters it in `set` (the `install` operations of the kernel's namespaces).
fn install(cx: &CurrentTask, set: &mut Set, handle: &NamespaceHandle) -> Result<()> {
    if let NamespaceHandle::User(namespace) = handle {
        // Coming back with every capability is not to be had.
        if Arc::ptr_eq(namespace, &set.creds.user_ns)
            || cx.group.threads().len() > 1
            || shares_fs(cx)
        {
            return Err(Errno::EINVAL);
        }
        set.creds.require_in(namespace, Cap::SYS_ADMIN)?;
        set.creds.enter(namespace.clone());
        return Ok(());
    }
    let owner = handle.owner().ok_or(Errno::EINVAL)?;
    set.creds.require_in(&owner, Cap::SYS_ADMIN)?;
    set.creds.require_here(Cap::SYS_ADMIN)?;
    match handle {
        NamespaceHandle::Mount(namespace) => {
            set.creds.require_here(Cap::SYS_CHROOT)?;
            if shares_fs(cx) {
                return Err(Errno::EINVAL);
            }
            set.mounts = Some(namespace.clone());
        }
        NamespaceHandle::Uts(namespace) => set.namespaces.uts = namespace.clone(),
        NamespaceHandle::Ipc(namespace) => set.namespaces.ipc = namespace.clone(),
        NamespaceHandle::Net(namespace) => set.namespaces.net = namespace.clone(),
        NamespaceHandle::Cgroup(namespace) => set.namespaces.cgroup = namespace.clone(),
        NamespaceHandle::Pid(namespace) => {
            if !namespace.is_within(&cx.pid_namespace()) {
                return Err(Errno::EINVAL);
            }
            set.namespaces.pid_for_children = namespace.clone();
        }
        // There is one: joining it again changes nothing but is for processes with one thread.
        NamespaceHandle::Time if cx.group.threads().len() > 1 => return Err(Errno::EUSERS),
        NamespaceHandle::Time | NamespaceHandle::User(_) => {}
    }
    Ok(())
}

/// Whether another task has the caller's root and working directory (CLONE_FS).
fn shares_fs(cx: &CurrentTask) -> bool {
    let own = cx.fs();
    cx.kernel
        .root_pid_namespace
        .tasks()
        .into_iter()
        .any(|(_, task)| !Arc::ptr_eq(&task, cx.task()) && Arc::ptr_eq(&task.fs(), &own))
}
