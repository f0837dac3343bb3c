//! Namespaces of a task other than pid (in its id) and mount (in its file-system context).

use std::sync::Arc;

use parking_lot::RwLock;

use super::user_ns::UserNamespace;

/// UTS: host and domain name.
#[derive(Debug)]
pub struct UtsNamespace {
    /// Inode number in nsfs.
    pub ino: u64,
    /// Host name, at most 64 bytes.
    pub hostname: RwLock<Vec<u8>>,
    /// NIS domain name, at most 64 bytes.
    pub domainname: RwLock<Vec<u8>>,
    /// Whose capabilities count for it.
    pub owner: Arc<UserNamespace>,
}

impl UtsNamespace {
    /// With these names, of the sandbox's own user namespace.
    #[must_use]
    pub fn new(hostname: &[u8], domainname: &[u8]) -> Arc<Self> {
        Self::owned(hostname, domainname, UserNamespace::initial())
    }
    /// With these names.
    #[must_use]
    pub fn owned(hostname: &[u8], domainname: &[u8], owner: Arc<UserNamespace>) -> Arc<Self> {
        Arc::new(Self {
            owner,
            ino: crate::kernel::next_namespace_ino(),
            hostname: RwLock::new(hostname.to_vec()),
            domainname: RwLock::new(domainname.to_vec()),
        })
    }
}

/// System V IPC and POSIX message queues.
pub struct IpcNamespace {
    /// Inode number in nsfs.
    pub ino: u64,
    /// Objects by type, owned by their modules.
    pub objects: crate::kernel::Extensions,
    /// Whose capabilities count for it.
    pub owner: Arc<UserNamespace>,
}

impl IpcNamespace {
    /// An empty one. It belongs to the sandbox's own user namespace.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::owned(UserNamespace::initial())
    }
    /// An empty one.
    #[must_use]
    pub fn owned(owner: Arc<UserNamespace>) -> Arc<Self> {
        Arc::new(Self {
            owner,
            ino: crate::kernel::next_namespace_ino(),
            objects: crate::kernel::Extensions::default(),
        })
    }
}

/// The network: abstract Unix sockets, interfaces, ports.
pub struct NetNamespace {
    /// Inode number in nsfs.
    pub ino: u64,
    /// Tables by type, owned by their modules (abstract Unix names, the TCP/IP stack).
    pub objects: crate::kernel::Extensions,
    /// Whose capabilities count for it.
    pub owner: Arc<UserNamespace>,
}

impl NetNamespace {
    /// One with loopback only, which is up. It belongs to the sandbox's own user namespace.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let net = Self::owned(UserNamespace::initial());
        net.objects
            .get::<crate::socket::loopback::Loopback>()
            .set_up(true);
        net
    }
    /// One with loopback only, which is down.
    #[must_use]
    pub fn owned(owner: Arc<UserNamespace>) -> Arc<Self> {
        Arc::new(Self {
            owner,
            ino: crate::kernel::next_namespace_ino(),
            objects: crate::kernel::Extensions::default(),
        })
    }
}

/// Cgroups. Every process is in the container's one cgroup, so that all of them look alike.
pub struct CgroupNamespace {
    /// Inode number in nsfs.
    pub ino: u64,
    /// Whose capabilities count for it.
    pub owner: Arc<UserNamespace>,
}

impl CgroupNamespace {
    /// The sandbox's first one, with the number that Linux gives it (`PROC_CGROUP_INIT_INO`).
    #[must_use]
    pub fn initial() -> Arc<Self> {
        Arc::new(Self {
            ino: 0xefff_fffb,
            owner: UserNamespace::initial(),
        })
    }
    /// Another.
    #[must_use]
    pub fn owned(owner: Arc<UserNamespace>) -> Arc<Self> {
        Arc::new(Self {
            ino: crate::kernel::next_namespace_ino(),
            owner,
        })
    }
}

/// A task's namespaces; immutable, replaced as a whole by unshare and setns.
#[derive(Clone)]
pub struct Namespaces {
    /// Host and domain name.
    pub uts: Arc<UtsNamespace>,
    /// IPC.
    pub ipc: Arc<IpcNamespace>,
    /// Network.
    pub net: Arc<NetNamespace>,
    /// Cgroups.
    pub cgroup: Arc<CgroupNamespace>,
    /// Pid namespace of future children.
    pub pid_for_children: Arc<super::PidNamespace>,
}

pub use super::seccomp::SeccompState;
