//! A panic in a handler, on the mock platform. The faulty call exists in this crate's unit tests only.

use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use abi::signal::{SigSet, Signal};
use sentry::SyscallArgs;
use sentry::exec::{Executor, Reactor};
use sentry::fs::tmpfs::{Options, Tmpfs};
use sentry::kernel::{Container, Extensions, Kernel, VisibleResources};
use sentry::mm::MemoryMap;
use sentry::platform::futures_shape::BoxFuture;
use sentry::platform::mock::{Ended, Mock, Puppet};
use sentry::platform::{Cloned, Platform};
use sentry::signal::SignalActions;
use sentry::task::creds::Creds;
use sentry::task::lifecycle::NewGroup;
use sentry::task::limits::Limits;
use sentry::task::namespaces::{
    CgroupNamespace, IpcNamespace, Namespaces, NetNamespace, SeccompState, UtsNamespace,
};
use sentry::task::pids::PidsController;
use sentry::task::{ExitStatus, NewTask, Pid, PidNamespace, Task, TaskMisc, ThreadGroup};
use sentry::vfs::{FdTable, FsContext, Mount, MountFlags, MountNamespace};

/// Its handler panics.
const FAULTY: u32 = 4000;
const GETPID: u32 = 39;
const CLONE: u32 = 56;
const PIPE2: u32 = 293;
/// CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM.
const THREAD_FLAGS: u64 = 0x5_0f00;

/// Fails as a defect in a handler would, for [`FAULTY`].
pub(crate) fn inject(call: &SyscallArgs) {
    assert!(call.nr != u64::from(FAULTY), "a defect of ours");
}

struct Rig {
    kernel: Arc<Kernel>,
    container: Arc<Container>,
    mock: Mock,
    log: Arc<Mutex<Vec<String>>>,
    reactor: Arc<Reactor>,
    thread: Option<JoinHandle<()>>,
}

fn block_on<T: Send>(future: BoxFuture<'_, T>) -> T {
    // The mock's futures are ready at once.
    let mut future = future;
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the mock let somebody wait"),
    }
}

impl Rig {
    fn new() -> Self {
        let reactor = Reactor::new().unwrap();
        let executor = Executor::new(reactor.clone());
        let mock = Mock::new();
        let platform: Arc<dyn Platform> = Arc::new(mock.clone());
        let kernel = Kernel::new(platform, executor, reactor.clone(), crate::run::run_task);
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = log.clone();
        kernel.log.set(Box::new(move |line| {
            lines.lock().unwrap().push(line.to_owned())
        }));
        let pid_namespace = PidNamespace::new(Some(kernel.root_pid_namespace.clone()));
        let root = Tmpfs::new(&Options::default()).unwrap();
        let container = Arc::new(Container {
            id: "test".to_owned(),
            namespaces: Arc::new(Namespaces {
                uts: UtsNamespace::new(b"host", b"domain"),
                ipc: IpcNamespace::new(),
                net: NetNamespace::new(),
                cgroup: CgroupNamespace::initial(),
                pid_for_children: pid_namespace.clone(),
            }),
            pid_namespace,
            mounts: MountNamespace::new(Mount::of(root, MountFlags::empty(), b"root")),
            init: parking_lot::Mutex::default(),
            visible: parking_lot::RwLock::new(VisibleResources {
                cpus: 1,
                memory: 1 << 30,
                swap: 0,
            }),
            extensions: Extensions::default(),
            frozen: std::sync::atomic::AtomicBool::new(false),
            host_cgroup: sentry::host_cgroup::HostCgroup::new(Vec::new()),
        });
        let runner = reactor.clone();
        Self {
            kernel,
            container,
            mock,
            log,
            reactor,
            thread: Some(std::thread::spawn(move || runner.run())),
        }
    }

    /// A running process and its guest's side.
    fn process(&self) -> (Arc<Task>, Puppet) {
        let Ok(Cloned { thread, space }) = block_on(self.mock.spawn()) else {
            panic!("the mock makes threads");
        };
        let puppet = self.mock.next_puppet();
        let pid = Pid::allocate(&self.container.pid_namespace).unwrap();
        let group = ThreadGroup::new(
            &self.kernel,
            NewGroup {
                pid: pid.clone(),
                parent: None,
                parent_thread: Weak::new(),
                process_group: None,
                actions: Arc::new(SignalActions::default()),
                limits: Limits::default(),
                exit_signal: i32::from(Signal::CHLD.number()),
                oom_score_adj: 0,
            },
        );
        let task = Task::new(
            self.kernel.clone(),
            NewTask {
                container: self.container.clone(),
                tid: pid,
                group,
                thread,
                memory_map: MemoryMap::new(space),
                files: FdTable::new(),
                fs: FsContext::new(self.container.mounts.clone()),
                creds: Arc::new(Creds::root()),
                namespaces: self.container.namespaces.clone(),
                blocked: SigSet::EMPTY,
                misc: TaskMisc::default(),
                seccomp: SeccompState::default(),
                charge: self.container.extensions.get::<PidsController>().charge(),
            },
        );
        crate::process::start::run(&task);
        (task, puppet)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.reactor.stop();
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "the reactor panicked");
        }
    }
}

fn end_of(task: &Task) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(status) = task.group.family.read().zombie {
            return status;
        }
        assert!(Instant::now() < deadline, "the process has not ended");
        std::thread::yield_now();
    }
}

#[test]
fn a_panic_ends_the_process_that_met_it_and_nothing_else() {
    let rig = Rig::new();
    let (faulty, first) = rig.process();
    let (other, bystander) = rig.process();
    // Number 2 of the namespace: what two processes share works before and after.
    assert_eq!(bystander.call(GETPID, [0; 6]), Ok(2));
    first
        .call_full(CLONE, [THREAD_FLAGS, 0, 0, 0, 0, 0])
        .unwrap();
    let second = rig.mock.next_puppet();
    assert_eq!(second.call(GETPID, [0; 6]), Ok(1));

    assert_eq!(second.call(FAULTY, [7; 6]), Err(Ended));
    assert_eq!(end_of(&faulty), ExitStatus::Signal(Signal::KILL, false));
    assert_eq!(first.call(GETPID, [0; 6]), Err(Ended));
    let log = rig.log.lock().unwrap().clone();
    let [line] = &log[..] else {
        panic!("one line: {log:?}");
    };
    for word in [
        "process 1 ",
        "thread 3,",
        "system call 4000",
        "a defect of ours",
    ] {
        assert!(line.contains(word), "{word:?} in {line:?}");
    }

    assert_eq!(bystander.call(GETPID, [0; 6]), Ok(2));
    let (_, later) = rig.process();
    assert_eq!(later.call(GETPID, [0; 6]), Ok(4));
    assert_eq!(later.call(PIPE2, [0; 6]), Ok(-14));
    assert!(other.group.family.read().zombie.is_none());
}

#[test]
fn other_panics_are_not_contained() {
    assert!(!crate::guard::is_contained());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let inner = seen.clone();
    let future = crate::guard::contained(async move {
        inner.lock().unwrap().push(crate::guard::is_contained());
        assert!(inner.lock().unwrap().is_empty(), "as text {}", 5);
    });
    assert_eq!(block_on(Box::pin(future)), Err("as text 5".to_owned()));
    assert_eq!(*seen.lock().unwrap_or_else(|e| e.into_inner()), [true]);
    assert!(!crate::guard::is_contained());
}
