//! The sandbox as a whole, and its containers.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use platform::futures_shape::BoxFuture;
use platform::{Cloned, Platform};

use crate::call_trace::{CallTrace, Log, Unsupported};
use crate::error::Result;
use crate::exec::{Executor, Reactor};
use crate::host_cgroup::HostCgroup;
use crate::task::namespaces::Namespaces;
use crate::task::{CurrentTask, PidNamespace, ThreadGroup};
use crate::vfs::MountNamespace;

static NEXT_NAMESPACE: AtomicU64 = AtomicU64::new(0xf000_0000);

/// An inode number for a new namespace (`/proc/self/ns`).
pub fn next_namespace_ino() -> u64 {
    NEXT_NAMESPACE.fetch_add(1, Ordering::Relaxed)
}

/// State that modules hang on to shared objects without those knowing them: one value a type.
#[derive(Default)]
pub struct Extensions(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Extensions {
    /// The value of type `T`, made by `T::default()` at first use.
    pub fn get<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let any = self
            .0
            .lock()
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Arc::new(T::default()))
            .clone();
        any.downcast().unwrap_or_default()
    }
}

/// Runs a task's future to its end; lives in `syscalls`, which this crate must not import.
pub type RunTask = fn(CurrentTask) -> BoxFuture<'static, ()>;

/// What a container shows of limits (meminfo, cpuinfo).
#[derive(Clone, Copy, Debug)]
pub struct VisibleResources {
    /// CPUs.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of swap.
    pub swap: u64,
}

/// The sandbox.
pub struct Kernel {
    /// Runs guest code.
    pub platform: Arc<dyn Platform>,
    /// Runs tasks.
    pub executor: Executor,
    /// Timers and host descriptors.
    pub reactor: Arc<Reactor>,
    /// How a task runs.
    pub run_task: RunTask,
    /// The process-tree lock: held to change family relations. Outermost of all task locks.
    pub tree: Mutex<()>,
    /// The first pid namespace, parent of the containers'.
    pub root_pid_namespace: Arc<PidNamespace>,
    /// Containers by id.
    pub containers: RwLock<HashMap<String, Arc<Container>>>,
    /// State of modules.
    pub extensions: Extensions,
    /// Calls that were answered ENOSYS or EOPNOTSUPP.
    pub unsupported: Unsupported,
    /// CLOCK_BOOTTIME when the sandbox started, in nanoseconds: its own zero of uptime.
    pub boot_ns: u64,
    /// `--strace`.
    pub strace: CallTrace,
    /// Lines for the operator.
    pub log: Log,
}

impl Kernel {
    /// A kernel without containers.
    #[must_use]
    pub fn new(
        platform: Arc<dyn Platform>,
        executor: Executor,
        reactor: Arc<Reactor>,
        run_task: RunTask,
    ) -> Arc<Self> {
        Arc::new(Self {
            platform,
            executor,
            reactor,
            run_task,
            tree: Mutex::new(()),
            root_pid_namespace: PidNamespace::new(None),
            containers: RwLock::default(),
            extensions: Extensions::default(),
            unsupported: Unsupported::default(),
            boot_ns: crate::time::boottime_ns(),
            strace: CallTrace::default(),
            log: Log::default(),
        })
    }
}

/// A container: what its processes have in common.
pub struct Container {
    /// Its OCI id.
    pub id: String,
    /// Its pid namespace.
    pub pid_namespace: Arc<PidNamespace>,
    /// The namespaces of its init.
    pub namespaces: Arc<Namespaces>,
    /// The mount namespace of its init.
    pub mounts: Arc<MountNamespace>,
    /// The init process, once started.
    pub init: Mutex<Weak<ThreadGroup>>,
    /// What limits let it see; changed by `runsc update`.
    pub visible: RwLock<VisibleResources>,
    /// State of modules (virtual sysctls, …).
    pub extensions: Extensions,
    /// Paused: its threads stop before they run guest code again.
    pub frozen: std::sync::atomic::AtomicBool,
    /// Where its host processes are accounted.
    pub host_cgroup: HostCgroup,
}

impl Container {
    /// What limits let it see.
    #[must_use]
    pub fn resources(&self) -> VisibleResources {
        *self.visible.read()
    }
    /// Pauses or continues all threads; they do not notice.
    pub fn set_frozen(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::SeqCst);
        for (_, task) in self.pid_namespace.tasks() {
            if self.owns(&task.container) {
                task.interrupt();
            }
        }
    }
    fn owns(&self, other: &Arc<Self>) -> bool {
        std::ptr::eq(self, &raw const **other)
    }
    /// Its living thread groups by id: of those that share its pid namespace only its own.
    #[must_use]
    pub fn groups(&self) -> Vec<(i32, Arc<ThreadGroup>)> {
        let mut groups = self.pid_namespace.groups();
        groups.retain(|(_, group)| {
            group
                .any_task()
                .is_some_and(|task| self.owns(&task.container))
        });
        groups
    }
    /// A fresh, empty address space that is accounted where the container's are.
    ///
    /// # Errors
    /// The platform's, and those of moving its process.
    pub async fn spawn(&self, kernel: &Kernel) -> Result<Cloned> {
        let fresh = kernel.platform.spawn().await?;
        match self.host_cgroup.take_in(fresh.space.host_pid()) {
            Ok(()) => Ok(fresh),
            Err(errno) => {
                fresh.thread.exit();
                Err(errno)
            }
        }
    }
    /// Whether it is paused.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }
}
