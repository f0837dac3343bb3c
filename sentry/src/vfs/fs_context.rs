//! Root, working directory and umask of a task (shared by CLONE_FS).

use std::sync::Arc;

use parking_lot::RwLock;

use super::{MountNamespace, Path};

#[derive(Clone)]
struct State {
    namespace: Arc<MountNamespace>,
    root: Path,
    cwd: Path,
    umask: u32,
}

/// See the module.
pub struct FsContext(RwLock<State>);

impl FsContext {
    /// At the root of a namespace, umask 022.
    #[must_use]
    pub fn new(namespace: Arc<MountNamespace>) -> Arc<Self> {
        let root = namespace.root();
        Arc::new(Self(RwLock::new(State {
            namespace,
            cwd: root.clone(),
            root,
            umask: 0o022,
        })))
    }
    /// A copy of its own (clone without CLONE_FS).
    #[must_use]
    pub fn fork(&self) -> Arc<Self> {
        Arc::new(Self(RwLock::new(self.0.read().clone())))
    }
    /// The mount namespace.
    #[must_use]
    pub fn namespace(&self) -> Arc<MountNamespace> {
        self.0.read().namespace.clone()
    }
    /// The root directory.
    #[must_use]
    pub fn root(&self) -> Path {
        self.0.read().root.clone()
    }
    /// The working directory.
    #[must_use]
    pub fn cwd(&self) -> Path {
        self.0.read().cwd.clone()
    }
    /// The umask.
    #[must_use]
    pub fn umask(&self) -> u32 {
        self.0.read().umask
    }
    /// Changes the root.
    pub fn set_root(&self, root: Path) {
        self.0.write().root = root;
    }
    /// Changes the working directory.
    pub fn set_cwd(&self, cwd: Path) {
        self.0.write().cwd = cwd;
    }
    /// Changes the umask; returns the old one.
    pub fn set_umask(&self, umask: u32) -> u32 {
        std::mem::replace(&mut self.0.write().umask, umask & 0o777)
    }
    /// Moves to another namespace (unshare, setns).
    pub fn set_namespace(&self, namespace: Arc<MountNamespace>, root: Path, cwd: Path) {
        let mut state = self.0.write();
        state.namespace = namespace;
        state.root = root;
        state.cwd = cwd;
    }
}
