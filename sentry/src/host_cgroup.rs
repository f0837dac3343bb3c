//! The host's cgroup that a container's processes are accounted in, where a sandbox has several containers.
//!
//! Host processes are cloned from the template, which is in the first container's cgroup. A further container brings its own: open `cgroup.procs` files, one
//! of each hierarchy, that the command opened with its privilege. A fresh host process is moved there before it runs anything of the guest's; what it
//! forks is born there. The kernel of the host takes the pid as one of the sentry's own pid namespace, so nobody else's process can be moved.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::{Errno, Result};

/// See the module.
#[derive(Debug, Default)]
pub struct HostCgroup {
    files: Vec<File>,
}

impl HostCgroup {
    /// The cgroup of these `cgroup.procs` files; none: processes stay where the template is.
    #[must_use]
    pub const fn new(files: Vec<File>) -> Self {
        Self { files }
    }

    /// Moves a process of the sandbox (its pid in the sentry's namespace) there.
    ///
    /// # Errors
    /// The host's: the process is gone, or the cgroup is.
    pub fn take_in(&self, host_pid: i32) -> Result<()> {
        let text = host_pid.to_string();
        for file in &self.files {
            file.write_at(text.as_bytes(), 0).map_err(Errno::from)?;
        }
        Ok(())
    }
}
