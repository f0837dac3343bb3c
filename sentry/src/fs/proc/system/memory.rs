//! `meminfo` and `vmstat`.

use std::fmt::Write as _;
use std::sync::Arc;

use super::visible_memory;
use crate::host_facts::{Gauge, HostFactsSlot};
use crate::task::Task;

/// Bytes in use, and how many of them are page cache.
fn used(task: &Arc<Task>) -> (u64, u64) {
    let facts = task.kernel.extensions.get::<HostFactsSlot>();
    let read = |gauge: &Option<Gauge>| gauge.as_ref().and_then(|gauge| gauge()).unwrap_or(0);
    let used = read(&facts.get().memory_used);
    (used, read(&facts.get().memory_cached).min(used))
}

/// `meminfo`: the container's limit is all the memory there is.
pub(super) fn meminfo(task: &Arc<Task>) -> String {
    meminfo_text(
        visible_memory(task),
        used(task),
        task.container.resources().swap,
    )
}

fn meminfo_text(total: u64, (used, cached): (u64, u64), swap: u64) -> String {
    let free = total.saturating_sub(used);
    let cached = cached.min(total - free);
    let used = total - free - cached;
    let mut text = String::new();
    for (name, bytes) in [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free + cached),
        ("Buffers", 0),
        ("Cached", cached),
        ("SwapCached", 0),
        ("Active", used),
        ("Inactive", cached),
        ("Active(anon)", used),
        ("Inactive(anon)", 0),
        ("Active(file)", 0),
        ("Inactive(file)", cached),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", swap),
        ("SwapFree", swap),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", used),
        ("Mapped", 0),
        ("Shmem", 0),
        ("KReclaimable", 0),
        ("Slab", 0),
        ("SReclaimable", 0),
        ("SUnreclaim", 0),
        ("KernelStack", 0),
        ("PageTables", 0),
        ("NFS_Unstable", 0),
        ("Bounce", 0),
        ("WritebackTmp", 0),
        ("CommitLimit", (total / 2).saturating_add(swap)),
        ("Committed_AS", used),
        ("VmallocTotal", 0x7fff_ffff_fc00),
        ("VmallocUsed", 0),
        ("VmallocChunk", 0),
        ("Percpu", 0),
        ("AnonHugePages", 0),
        ("ShmemHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FileHugePages", 0),
        ("FilePmdMapped", 0),
    ] {
        let _ = writeln!(text, "{:<15} {:>8} kB", format!("{name}:"), bytes / 1024);
    }
    text.push_str(
        "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:               0 kB\n",
    );
    text
}

/// `vmstat`.
pub(super) fn vmstat(task: &Arc<Task>) -> String {
    let pages = |bytes: u64| bytes / abi::PAGE_SIZE;
    let total = visible_memory(task);
    let (all, cached) = used(task);
    let all = all.min(total);
    let cached = cached.min(all);
    let used = all - cached;
    format!(
        "nr_free_pages {}\nnr_inactive_anon 0\nnr_active_anon {}\nnr_inactive_file {}\nnr_active_file 0\nnr_unevictable 0\nnr_mlock 0\nnr_anon_pages {}\nnr_mapped 0\nnr_file_pages {}\nnr_dirty 0\nnr_writeback 0\nnr_shmem 0\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgalloc_normal 0\npgfree 0\npgfault 0\npgmajfault 0\noom_kill 0\n",
        pages(total - all),
        pages(used),
        pages(cached),
        pages(used),
        pages(cached)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_total_and_use_never_exceeds_it() {
        let text = meminfo_text(512 << 20, (128 << 20, 32 << 20), 0);
        assert!(text.starts_with("MemTotal:         524288 kB\nMemFree:          393216 kB\nMemAvailable:     425984 kB\n"));
        assert!(
            text.contains("Cached:            32768 kB\n")
                && text.contains("AnonPages:         98304 kB\n")
        );
        let text = meminfo_text(1 << 20, (5 << 20, 0), 0);
        assert!(text.contains("MemFree:               0 kB\n"));
        assert!(text.contains("AnonPages:          1024 kB\n"));
    }
}
