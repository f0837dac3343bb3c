//! The ptrace platform: guests stop by `PTRACE_SYSEMU` (Linux 5.3 or later). The fallback where seccomp listeners cannot be had, and the second
//! opinion for tests. Slower than [`crate::notify`] by about the cost of a context switch a stop.
//!
//! - `Template`: the process that guest processes are cloned from, shared with notify. `Spawner`: keeps ready processes.
//! - `Tracer`: a thread per spawned process and its forks; the only one that may touch them. `Thread`: the state machine of stops.
//! - `inject`, `cloning`: host calls that guests are made to execute. `filter`: what holds guests should a call ever get through. `host`: `ptrace(2)`.
//!
//! A stop is always a full one here; it is reported as a light one where the kernel expects that, and then only number and arguments are read.

mod calls;
mod cloning;
mod filter;
mod guest;
mod host;
mod inject;
mod registers;
mod space;
mod spawner;
mod template;
mod thread;
mod tracer;

use std::sync::Arc;

use abi::Errno;

pub use calls::HOST_CALLS;
pub use template::Template;

use self::guest::ThreadHandle;
use self::spawner::Spawner;
use crate::api::futures_shape::BoxFuture;
use crate::api::{Cloned, Config, Worker};
use crate::notify;

/// What all parts of one ptrace platform share.
struct Core {
    template: notify::Template,
    worker: Arc<dyn Worker>,
    /// Numbers that are full stops, sorted.
    full_calls: Vec<u32>,
    /// This process.
    pid: i32,
}

impl Core {
    fn is_full(&self, nr: u64) -> bool {
        u32::try_from(nr).is_ok_and(|nr| self.full_calls.binary_search(&nr).is_ok())
    }
}

/// Calls for which a light stop is never enough: clone, fork, vfork, execve, rt_sigreturn, execveat, clone3.
const ALWAYS_FULL: [u32; 7] = [56, 57, 58, 59, 15, 322, 435];

/// See the module.
pub struct Platform {
    core: Arc<Core>,
    spawner: Arc<Spawner>,
}

impl Platform {
    /// Takes over `template`. Needs no host calls but [`HOST_CALLS`].
    pub fn new(template: Template, config: Config) -> Result<Self, Errno> {
        let mut full_calls = config.full_calls;
        full_calls.extend(ALWAYS_FULL);
        full_calls.sort_unstable();
        let template = template.into_inner();
        template.configure_bare(&filter::assemble(), &spawner::waiting_calls());
        let core = Arc::new(Core {
            template,
            worker: config.worker,
            full_calls,
            pid: std::process::id().cast_signed(),
        });
        let spawner = Arc::new(Spawner::default());
        spawner.top_up(&core);
        Ok(Self { core, spawner })
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.spawner.stop();
    }
}

impl crate::api::Platform for Platform {
    fn name(&self) -> &'static str {
        "ptrace"
    }

    fn spawn(&self) -> BoxFuture<'_, Result<Cloned, Errno>> {
        Box::pin(async {
            let (thread, space) = self.spawner.take(&self.core).await?;
            Ok(ThreadHandle::cloned(thread, space))
        })
    }
}
