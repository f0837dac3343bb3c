//! Starting a process from outside: a container's init, and execs.

use std::sync::{Arc, Weak};

use abi::fs::PATH_MAX;
use abi::signal::{SigSet, Signal};
use sentry::error::{Errno, Result};
use sentry::kernel::{Container, Kernel};
use sentry::loader;
use sentry::mm::MemoryMap;
use sentry::signal::SignalActions;
use sentry::task::creds::Creds;
use sentry::task::lifecycle::NewGroup;
use sentry::task::limits::{Limits, Resource};
use sentry::task::namespaces::SeccompState;
use sentry::task::pids::PidsController;
use sentry::task::{CurrentTask, NewTask, Pid, Task, TaskMisc, ThreadGroup};
use sentry::vfs::lookup::{LookupCx, LookupFlags, resolve};
use sentry::vfs::{FdTable, FsContext};

/// What to start.
pub struct Start {
    /// Arguments.
    pub args: Vec<Vec<u8>>,
    /// The program, if it is not the first argument; looked up in `PATH`.
    pub program: Option<Vec<u8>>,
    /// Environment.
    pub env: Vec<Vec<u8>>,
    /// Credentials.
    pub creds: Creds,
    /// Limits.
    pub limits: Limits,
    /// Root, working directory, umask.
    pub fs: Arc<FsContext>,
    /// Descriptors.
    pub files: Arc<FdTable>,
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
    /// Nice value.
    pub nice: i32,
    /// Scheduling policy (`SCHED_*`).
    pub policy: i32,
    /// I/O priority as `ioprio_set(2)` has it.
    pub io_priority: i32,
    /// Seccomp profile.
    pub seccomp: SeccompState,
}

/// Finds a program as runc does: a name with a slash as it is, else in each directory of `PATH`; without one nothing is found.
pub fn find_program(cx: LookupCx<'_>, name: &[u8], env: &[Vec<u8>]) -> Result<Vec<u8>> {
    if name.is_empty() {
        return Err(Errno::ENOENT);
    }
    if name.contains(&b'/') {
        return Ok(name.to_vec());
    }
    let path = env
        .iter()
        .rev()
        .find_map(|v| v.strip_prefix(b"PATH="))
        .ok_or(Errno::ENOENT)?;
    for dir in path.split(|b| *b == b':') {
        let dir = if dir.is_empty() { b"." } else { dir };
        let candidate = [dir, b"/", name].concat();
        if candidate.len() >= PATH_MAX {
            continue;
        }
        let found =
            resolve(cx, &cx.fs.cwd(), &candidate, LookupFlags::FOLLOW).and_then(|f| f.into_path());
        // As Go's `LookPath`: what may not be executed is not found.
        if found
            .and_then(|path| loader::open_executable(cx, path))
            .is_ok()
        {
            return Ok(candidate);
        }
    }
    Err(Errno::ENOENT)
}

/// A new process in `container`, loaded and ready; [`run`] lets it go.
pub async fn start(
    kernel: &Arc<Kernel>,
    container: &Arc<Container>,
    start: Start,
) -> Result<Arc<Task>> {
    let program = {
        let lookup = LookupCx {
            fs: &start.fs,
            creds: &start.creds,
            task: None,
        };
        let name = start.program.as_ref().or(start.args.first());
        let name = name.ok_or(Errno::EINVAL)?;
        let name = find_program(lookup, name, &start.env)?;
        let path = resolve(lookup, &start.fs.cwd(), &name, LookupFlags::FOLLOW)?.into_path()?;
        let file = loader::open_executable(lookup, path)?;
        loader::prepare(lookup, file, &name, start.args, start.env)?
    };
    let (creds, secure) = super::exec::new_creds(&start.creds, &program);
    let fresh = container.spawn(kernel).await?;
    let map = MemoryMap::new(fresh.space.clone());
    let stack_limit = start.limits.soft(Resource::Stack);
    let loaded = loader::load(
        &map,
        &*fresh.thread,
        &program,
        &creds,
        secure,
        stack_limit,
        0,
    )
    .await;
    let loaded = loaded.inspect_err(|_| fresh.thread.exit())?;
    fresh
        .thread
        .set_registers(&loaded.registers)
        .map_err(|_| Errno::EIO)?;
    let pid = Pid::allocate(&container.pid_namespace)?;
    let group = ThreadGroup::new(
        kernel,
        NewGroup {
            pid: pid.clone(),
            parent: None,
            parent_thread: Weak::new(),
            process_group: None,
            actions: Arc::new(SignalActions::default()),
            limits: start.limits,
            exit_signal: i32::from(Signal::CHLD.number()),
            oom_score_adj: start.oom_score_adj,
        },
    );
    {
        let mut init = container.pid_namespace.init.lock();
        if pid.local() == 1 && init.upgrade().is_none() {
            *init = Arc::downgrade(&group);
        }
    }
    group.timers.watch_cpu_limit(&group, &kernel.reactor);
    let misc = TaskMisc {
        comm: program.comm.clone(),
        timer_slack_ns: 50_000,
        nice: start.nice,
        scheduler: (start.policy, 0),
        ioprio: start.io_priority,
        ..TaskMisc::default()
    };
    let task = Task::new(
        kernel.clone(),
        NewTask {
            container: container.clone(),
            tid: pid,
            group,
            thread: fresh.thread,
            memory_map: map,
            files: start.files,
            fs: start.fs,
            creds: Arc::new(creds),
            namespaces: container.namespaces.clone(),
            blocked: SigSet::EMPTY,
            misc,
            seccomp: start.seccomp,
            charge: container.extensions.get::<PidsController>().charge(),
        },
    );
    crate::sched::pass_on(&task);
    Ok(task)
}

/// Lets a started process run.
pub fn run(task: &Arc<Task>) {
    let kernel = &task.kernel;
    kernel
        .executor
        .spawn((kernel.run_task)(CurrentTask::new(task.clone())));
}
