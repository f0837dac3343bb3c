//! The notify platform: guests trap by seccomp user notification (Linux 5.19 or later; synchronous wake-up from 6.6, prompt end of receivers from
//! 6.11).
//!
//! - `Template` (`template`, `template_child`): the process that guest processes are cloned from.
//! - `Spawner`: keeps ready processes. `Listener`: a seccomp listener with its receiver thread, one of the `Receivers`. `Reaper`: watches pidfds, enforces deadlines.
//! - `Space`, `Process`, `Thread`: an address space, a host process with it, a host thread. `Thread` is the state machine of stops.
//! - `orders`, `deferred`, `cloning`, `set_up`: host calls made by guests on our behalf. `filter`: what guests are held by. `frame`: signal frames. `shelf`: parking. `arena`: slots. `fast`: the fast path's spike.
//!   `pace`: which way of waking each other. `passing`: calls that the host executes as the guest's own.
//!
//! Lock order, outermost first: `Space::layout`, `Process::descriptor` (both awaited), `Thread::state`, then one at a time and briefly:
//! `Process::threads`, `Process::reaped`, `Space::slots`, `Space::processes`, `Listener::{threads, pending, pace}`, `Reaper::{watched, told}`,
//! `PendingClone::{slot, outcome}`, `Spawner::pool`, `Receivers::queue`, `FastPath::shared`. No waker is called and no future polled with any but the awaited ones held.

mod arena;
mod calls;
mod cloning;
mod core;
mod deferred;
mod fast;
mod filter;
pub(crate) mod frame;
mod guest;
mod listener;
pub(crate) mod orders;
mod pace;
mod passing;
mod probe;
mod process;
mod queue_lock;
mod reaper;
mod receivers;
mod set_up;
mod shelf;
mod space;
mod spawner;
pub(crate) mod template;
mod template_child;
pub(crate) mod thread;

use std::sync::Arc;

use abi::Errno;

pub use calls::HOST_CALLS;
pub use probe::{Refusal, probe};
pub use template::{PrepareError, Template};

use self::core::Core;
use self::guest::ThreadHandle;
use self::reaper::Reaper;
use self::receivers::Receivers;
use self::spawner::Spawner;
use crate::api::futures_shape::BoxFuture;
use crate::api::{Cloned, Config};

/// See the module.
pub struct Platform {
    core: Arc<Core>,
    spawner: Arc<Spawner>,
    receivers: Arc<Receivers>,
}

impl Platform {
    /// Takes over `template` and starts the platform's threads. Needs none but [`HOST_CALLS`].
    pub fn new(template: Template, config: Config) -> Result<Self, Errno> {
        let full_calls: Vec<u32> = config
            .full_calls
            .iter()
            .copied()
            .filter(|nr| !config.passable_calls.contains(nr))
            .collect();
        let filter = filter::assemble(&full_calls);
        template.configure(&filter, frame::place(0, template.xstate()).frame);
        let reaper = Arc::new(Reaper::new()?);
        // Spinning pays only where a CPU is left for it.
        let fast = config.fast_path && usable_cpus() > 1;
        let poll_before_receive = template.polls_before_receiving();
        let core = Arc::new(Core {
            template,
            worker: config.worker,
            reaper,
            poll_before_receive,
            fast: fast.then(fast::FastPath::default),
        });
        let receivers = Arc::new(Receivers::default());
        let spawner = Arc::new(Spawner::new(Arc::clone(&receivers)));
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        {
            let core = Arc::clone(&core);
            thread("reaper").spawn(move || core.reaper.run(&*core.worker))?;
        }
        {
            let (core, spawner) = (Arc::clone(&core), Arc::clone(&spawner));
            thread("spawner").spawn(move || spawner.run(&core))?;
        }
        if fast {
            let core = Arc::clone(&core);
            thread("poller").spawn(move || {
                if let Some(fast) = &core.fast {
                    fast.run(&core);
                }
            })?;
        }
        Ok(Self {
            core,
            spawner,
            receivers,
        })
    }
}

/// How many CPUs this process may use. (The standard library would open files to find out, which a sentry cannot.)
fn usable_cpus() -> usize {
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap_or_default();
    (0..nix::sched::CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .count()
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.spawner.stop();
        self.receivers.stop();
        self.core.reaper.stop();
        if let Some(fast) = &self.core.fast {
            fast.stop();
        }
    }
}

impl crate::api::Platform for Platform {
    fn name(&self) -> &'static str {
        "notify"
    }

    fn spawn(&self) -> BoxFuture<'_, Result<Cloned, Errno>> {
        Box::pin(async {
            let (thread, space) = self.spawner.take().await?;
            Ok(ThreadHandle::cloned(thread, space))
        })
    }
}
