//! What proc shows of a process's memory: the one place that knows the memory map's interface.

use std::sync::Arc;

use crate::host_facts::{HostFactsSlot, RegionUse, Resident};
use crate::mm::{MemoryMap, RegionFlags, RegionView};
use crate::task::Task;
use crate::vfs::{FsContext, Path};

/// One line of maps.
#[derive(Clone, Debug, Default)]
pub(super) struct RegionLine {
    pub(super) start: u64,
    pub(super) end: u64,
    /// `PROT_*`.
    pub(super) prot: u32,
    pub(super) shared: bool,
    pub(super) locked: bool,
    pub(super) offset: u64,
    pub(super) dev: u64,
    pub(super) ino: u64,
    /// Path or label, empty for anonymous memory.
    pub(super) name: Vec<u8>,
}

/// Where exec put things.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    pub(super) start_code: u64,
    pub(super) end_code: u64,
    pub(super) start_data: u64,
    pub(super) end_data: u64,
    pub(super) start_brk: u64,
    pub(super) start_stack: u64,
    pub(super) args: (u64, u64),
    pub(super) env: (u64, u64),
    pub(super) auxv: Vec<u8>,
}

fn line(view: &RegionView, fs: &FsContext) -> RegionLine {
    let attr = view
        .file
        .as_ref()
        .and_then(|file| file.inode().attr().ok())
        .unwrap_or_default();
    let name = match (&view.label, &view.file) {
        (Some(label), _) => label.to_vec(),
        (None, Some(file)) => file.describe(fs),
        (None, None) => Vec::new(),
    };
    RegionLine {
        start: view.start,
        end: view.end,
        prot: view.prot,
        shared: view.shared,
        locked: view.flags.contains(RegionFlags::LOCKED),
        offset: view.offset,
        dev: attr.dev,
        ino: attr.ino,
        name,
    }
}

fn with_map<T: Default>(task: &Arc<Task>, look: impl FnOnce(&MemoryMap) -> T) -> T {
    task.try_memory_map()
        .map_or_else(T::default, |map| look(&map))
}

/// Regions as seen from a root directory.
pub(super) fn regions(task: &Arc<Task>, fs: &FsContext) -> Vec<RegionLine> {
    with_map(task, |map| {
        map.regions().iter().map(|view| line(view, fs)).collect()
    })
}

/// Where exec put things; zeroes for a task without memory.
pub(super) fn layout(task: &Arc<Task>) -> Layout {
    with_map(task, |map| {
        let layout = map.layout();
        Layout {
            start_code: layout.start_code,
            end_code: layout.end_code,
            start_data: layout.start_data,
            end_data: layout.end_data,
            start_brk: layout.start_brk,
            start_stack: layout.start_stack,
            args: (layout.arg_start, layout.arg_end),
            env: (layout.env_start, layout.env_end),
            auxv: layout.auxv,
        }
    })
}

/// The program.
pub(super) fn exe(task: &Arc<Task>) -> Option<Path> {
    with_map(task, |map| map.exe().and_then(|file| file.path().cloned()))
}

/// What of the process's memory is resident; zeroes where the host does not tell.
pub(super) fn resident(task: &Arc<Task>) -> Resident {
    let facts = task.kernel.extensions.get::<HostFactsSlot>();
    with_map(task, |map| {
        let books = facts.get().books.as_ref()?;
        books.resident(map.space().host_pid())
    })
    .unwrap_or_default()
}

/// What is resident by mapping of the host's, ascending.
pub(super) fn region_uses(task: &Arc<Task>) -> Vec<RegionUse> {
    let facts = task.kernel.extensions.get::<HostFactsSlot>();
    with_map(task, |map| {
        let books = facts.get().books.as_ref()?;
        books.regions(map.space().host_pid())
    })
    .unwrap_or_default()
}

/// Bytes mapped.
pub(super) fn mapped(task: &Arc<Task>) -> u64 {
    with_map(task, MemoryMap::total)
}

/// Whether others with the same ids may look (PR_SET_DUMPABLE). A task without memory has nothing to hide.
pub(super) fn dumpable(task: &Arc<Task>) -> bool {
    task.try_memory_map()
        .is_none_or(|map| map.state.read().dumpable == 1)
}
