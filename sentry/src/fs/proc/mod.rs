//! `/proc` (`proc(5)`): generators over the kernel's objects, by pid namespace.
//!
//! - [`new`]: a mount's instance. [`root`]: its top directory, process directories by number. [`subject`]: which process or thread a file is about,
//!   held weakly, so that an open file keeps neither the process nor its number. [`process`]: the names in a process directory.
//! - [`access`]: who may look at whom (`ptrace_may_access`). [`mm_view`]: what is shown of memory maps.
//! - [`system`]: files about the sandbox. [`sys`]: `/proc/sys`. [`net`]: `/proc/<pid>/net`.
//!
//! Looking up one process costs the same however many there are; only listings and `loadavg` look at all of a namespace.
//!
//! No locks of its own; each generator takes the leaf locks of what it shows, one at a time.

pub(crate) mod access;
mod audit;
mod fd_dir;
mod files;
mod limits;
mod links;
mod maps;
pub mod mem;
mod mm_view;
pub mod mounts;
pub mod net;
pub mod ns;
mod options;
mod process;
mod root;
mod stat;
pub(crate) mod status;
mod subject;
pub mod sys;
pub(crate) mod system;
mod task_dir;

use std::sync::Arc;

pub use options::ProcOptions;
pub use process::pid_of_directory;

use super::static_tree::TreeFs;
use crate::kernel::Kernel;
use crate::task::PidNamespace;

/// `PROC_SUPER_MAGIC`.
const MAGIC: i64 = 0x9fa0;

/// A new instance that shows the processes of `namespace`.
#[must_use]
pub fn new(
    kernel: &Arc<Kernel>,
    namespace: &Arc<PidNamespace>,
    options: &ProcOptions,
) -> Arc<TreeFs> {
    let root = root::node(kernel, namespace, options);
    TreeFs::new("proc", MAGIC, options.show(), &root)
}
