//! `/proc/<pid>/ns`: namespaces as files, for comparing and for `setns(2)`.

use std::any::Any;
use std::sync::{Arc, Weak};

use abi::fs::S_IFREG;
use abi::{UserAddr, UserOut};

use super::access::may_inspect;
use super::subject::Subject;
use crate::error::{Errno, Result, SysResult};
use crate::fs::static_tree::{Node, TreeFs};
use crate::kernel::Kernel;
use crate::task::namespaces::{CgroupNamespace, IpcNamespace, NetNamespace, UtsNamespace};
use crate::task::user_ns::UserNamespace;
use crate::task::{CurrentTask, PidNamespace, Task};
use crate::vfs::{
    Attr, AttrChange, File, FileOps, FileSystem, Inode, InodeOps, Link, MountNamespace, OpenHow,
    anonymous_dev,
};

const NS_GET_USERNS: u32 = 0xb701;
const NS_GET_PARENT: u32 = 0xb702;
const NS_GET_NSTYPE: u32 = 0xb703;
const NS_GET_OWNER_UID: u32 = 0xb704;
/// The number that Linux gives to its initial time namespace (`PROC_TIME_INIT_INO`).
const INITIAL_TIME: u64 = 0xefff_fffa;

/// A namespace that a file stands for.
#[derive(Clone)]
pub enum NamespaceHandle {
    /// Mounts.
    Mount(Arc<MountNamespace>),
    /// Host name.
    Uts(Arc<UtsNamespace>),
    /// System V IPC.
    Ipc(Arc<IpcNamespace>),
    /// Network.
    Net(Arc<NetNamespace>),
    /// Process ids.
    Pid(Arc<PidNamespace>),
    /// Users.
    User(Arc<UserNamespace>),
    /// Cgroups.
    Cgroup(Arc<CgroupNamespace>),
    /// Clocks: the sandbox has one.
    Time,
}

impl NamespaceHandle {
    /// The name in the link's text.
    const fn name(&self) -> &'static str {
        match self {
            Self::Mount(_) => "mnt",
            Self::Uts(_) => "uts",
            Self::Ipc(_) => "ipc",
            Self::Net(_) => "net",
            Self::Pid(_) => "pid",
            Self::User(_) => "user",
            Self::Cgroup(_) => "cgroup",
            Self::Time => "time",
        }
    }
    /// `CLONE_NEW*`.
    #[must_use]
    pub const fn clone_flag(&self) -> u32 {
        match self {
            Self::Mount(_) => 0x0002_0000,
            Self::Uts(_) => 0x0400_0000,
            Self::Ipc(_) => 0x0800_0000,
            Self::Net(_) => 0x4000_0000,
            Self::Pid(_) => 0x2000_0000,
            Self::User(_) => 0x1000_0000,
            Self::Cgroup(_) => 0x0200_0000,
            Self::Time => 0x80,
        }
    }
    /// The inode number.
    #[must_use]
    pub fn ino(&self) -> u64 {
        match self {
            Self::Mount(ns) => ns.ino,
            Self::Uts(ns) => ns.ino,
            Self::Ipc(ns) => ns.ino,
            Self::Net(ns) => ns.ino,
            Self::Pid(ns) => ns.ino,
            Self::User(ns) => ns.ino,
            Self::Cgroup(ns) => ns.ino,
            Self::Time => INITIAL_TIME,
        }
    }
    /// The user namespace that it belongs to; for a user namespace its parent, `None` for the first.
    #[must_use]
    pub fn owner(&self) -> Option<Arc<UserNamespace>> {
        match self {
            Self::Mount(ns) => Some(ns.owner.clone()),
            Self::Uts(ns) => Some(ns.owner.clone()),
            Self::Ipc(ns) => Some(ns.owner.clone()),
            Self::Net(ns) => Some(ns.owner.clone()),
            Self::Pid(ns) => Some(ns.owner.clone()),
            Self::User(ns) => ns.parent.clone(),
            Self::Cgroup(ns) => Some(ns.owner.clone()),
            Self::Time => Some(UserNamespace::initial()),
        }
    }
}

/// Names, in the order of a listing, and what they stand for.
const ENTRIES: [(&str, fn(&Arc<Task>) -> NamespaceHandle); 10] = [
    ("cgroup", |t| {
        NamespaceHandle::Cgroup(t.namespaces().cgroup.clone())
    }),
    ("ipc", |t| NamespaceHandle::Ipc(t.namespaces().ipc.clone())),
    ("mnt", |t| NamespaceHandle::Mount(t.fs().namespace())),
    ("net", |t| NamespaceHandle::Net(t.namespaces().net.clone())),
    ("pid", |t| NamespaceHandle::Pid(t.pid_namespace())),
    ("pid_for_children", |t| {
        NamespaceHandle::Pid(t.namespaces().pid_for_children.clone())
    }),
    ("time", |_| NamespaceHandle::Time),
    ("time_for_children", |_| NamespaceHandle::Time),
    ("user", |t| NamespaceHandle::User(t.creds().user_ns.clone())),
    ("uts", |t| NamespaceHandle::Uts(t.namespaces().uts.clone())),
];

pub(super) fn node(subject: &Subject) -> Node {
    Node::dir(ENTRIES.map(|(name, which)| {
        let subject = subject.clone();
        let link = Node::follow(move |cx| {
            let task = subject.task().map_err(|_| Errno::ENOENT)?;
            may_inspect(cx.task, cx.creds, &task)?;
            Ok(Link::JumpFile(open(&task.kernel, which(&task))))
        });
        (name, link)
    }))
    .mode(0o511)
}

/// A file that stands for a namespace and keeps it alive.
#[must_use]
pub fn open(kernel: &Arc<Kernel>, handle: NamespaceHandle) -> Arc<File> {
    let fs: Weak<dyn FileSystem> = Weak::<TreeFs>::new();
    let dev = kernel.extensions.get::<NsfsDev>().0;
    let inode = Inode::new(
        fs,
        Box::new(NsInode {
            dev,
            handle: handle.clone(),
        }),
    );
    File::new(None, inode, Box::new(NamespaceFile(handle)), 0)
}

/// The namespace behind an open file, for `setns(2)`.
#[must_use]
pub fn of_file(file: &File) -> Option<&NamespaceHandle> {
    file.downcast::<NamespaceFile>().map(|file| &file.0)
}

struct NsfsDev(u64);

impl Default for NsfsDev {
    fn default() -> Self {
        Self(anonymous_dev())
    }
}

struct NsInode {
    dev: u64,
    handle: NamespaceHandle,
}

impl InodeOps for NsInode {
    fn attr(&self) -> Result<Attr> {
        Ok(Attr {
            dev: self.dev,
            ino: self.handle.ino(),
            mode: S_IFREG | 0o444,
            nlink: 1,
            blksize: 4096,
            ..Attr::default()
        })
    }
    fn set_attr(&self, _change: &AttrChange) -> Result<()> {
        Err(Errno::EPERM)
    }
    fn open(&self, _inode: &Arc<Inode>, how: OpenHow) -> Result<Box<dyn FileOps>> {
        if how.writable() {
            return Err(Errno::EPERM);
        }
        Ok(Box::new(NamespaceFile(self.handle.clone())))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct NamespaceFile(NamespaceHandle);

impl FileOps for NamespaceFile {
    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        let creds = task.creds();
        let open_user = |namespace: Option<Arc<UserNamespace>>| {
            // What lies outside of the caller's own is not shown (ns_get_owner, userns_get).
            let namespace = namespace
                .filter(|namespace| namespace.is_within(&creds.user_ns))
                .ok_or(Errno::EPERM)?;
            let file = open(&task.kernel, NamespaceHandle::User(namespace));
            Ok(i64::from(task.install(file, true)?.0))
        };
        match request {
            NS_GET_NSTYPE => Ok(i64::from(self.0.clone_flag())),
            NS_GET_USERNS => open_user(self.0.owner()),
            NS_GET_PARENT => match &self.0 {
                NamespaceHandle::User(namespace) => open_user(namespace.parent.clone()),
                NamespaceHandle::Pid(namespace) => {
                    let own = task.pid_namespace();
                    let parent = namespace
                        .parent
                        .clone()
                        .filter(|parent| parent.is_within(&own))
                        .ok_or(Errno::EPERM)?;
                    let file = open(&task.kernel, NamespaceHandle::Pid(parent));
                    Ok(i64::from(task.install(file, true)?.0))
                }
                _ => Err(Errno::EINVAL.into()),
            },
            NS_GET_OWNER_UID => match &self.0 {
                NamespaceHandle::User(namespace) => {
                    let uid = creds.user_ns.shown_uid(namespace.owner);
                    task.memory().put(UserOut::new(UserAddr(arg)), &uid)?;
                    Ok(0)
                }
                _ => Err(Errno::EINVAL.into()),
            },
            _ => Err(Errno::ENOTTY.into()),
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        format!("{}:[{}]", self.0.name(), self.0.ino()).into_bytes()
    }
}
