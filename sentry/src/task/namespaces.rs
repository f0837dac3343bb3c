//! Namespaces of a task other than pid (in its id) and mount (in its file-system context).

use std::sync::Arc;

use parking_lot::RwLock;

/// UTS: host and domain name.
#[derive(Debug)]
pub struct UtsNamespace {
    /// Inode number in nsfs.
    pub ino: u64,
    /// Host name, at most 64 bytes.
    pub hostname: RwLock<Vec<u8>>,
    /// NIS domain name, at most 64 bytes.
    pub domainname: RwLock<Vec<u8>>,
}

impl UtsNamespace {
    /// With these names.
    #[must_use]
    pub fn new(hostname: &[u8], domainname: &[u8]) -> Arc<Self> {
        Arc::new(Self {
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
}

impl IpcNamespace {
    /// An empty one.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
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
}

impl NetNamespace {
    /// An empty one with loopback only.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            ino: crate::kernel::next_namespace_ino(),
            objects: crate::kernel::Extensions::default(),
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
    /// Pid namespace of future children.
    pub pid_for_children: Arc<super::PidNamespace>,
}

pub use super::seccomp::SeccompState;
