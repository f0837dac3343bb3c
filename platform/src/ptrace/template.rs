//! The template, tried out: whether this host lets us trace it.

use abi::Errno;

use super::host::{self, Event, Resume};
use crate::host::vm;
use crate::notify::{self, PrepareError};
use crate::stub;

/// A prepared template process; dropping it ends the process (guests already made live on).
pub struct Template(notify::Template);

impl Template {
    /// See [`notify::Template::prepare`].
    pub fn prepare() -> Result<Self, PrepareError> {
        Self::check(notify::Template::prepare()?)
    }

    /// See [`notify::Template::prepare_with_maps`].
    pub fn prepare_with_maps(maps: &str) -> Result<Self, PrepareError> {
        Self::check(notify::Template::prepare_with_maps(maps)?)
    }

    /// The template's process id, for the boot code to move it to the guests' cgroup.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.0.pid()
    }

    pub(super) fn into_inner(self) -> notify::Template {
        self.0
    }

    fn check(template: notify::Template) -> Result<Self, PrepareError> {
        let step = |step: &'static str| move |errno: Errno| PrepareError { step, errno };
        host::install_bell().map_err(step("handling the signal that wakes tracers"))?;
        let pid = template.pid();
        vm::read(pid, &[(stub::TEXT, 1)], &mut [0]).map_err(step(
            "reading its memory (does kernel.yama.ptrace_scope forbid it? it must be 0 or 1)",
        ))?;
        try_out(pid).map_err(step("tracing it (is something else tracing this process, or does kernel.yama.ptrace_scope forbid it?)"))?;
        Ok(Self(template))
    }
}

/// Attaches to `pid`, has it stop and lets it go again.
fn try_out(pid: i32) -> Result<(), Errno> {
    host::seize(pid)?;
    host::interrupt(pid)?;
    match host::wait_for(pid)? {
        Event::Stopped(_) => host::resume(pid, Resume::Detach),
        Event::Dead => Err(Errno::ESRCH),
    }
}
