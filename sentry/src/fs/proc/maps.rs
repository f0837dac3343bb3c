//! `maps`, `smaps` and `smaps_rollup` (`fs/proc/task_mmu.c`).

use super::access::reader_may_inspect;
use super::mm_view::{self, RegionLine};
use super::subject::Subject;
use crate::error::Result;
use crate::fs::static_tree::Reader;

fn line(region: &RegionLine) -> Vec<u8> {
    let right = |bit: u32, letter: char| if region.prot & bit != 0 { letter } else { '-' };
    let mut text = format!(
        "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {}",
        region.start,
        region.end,
        right(1, 'r'),
        right(2, 'w'),
        right(4, 'x'),
        if region.shared { 's' } else { 'p' },
        region.offset,
        abi::fs::major(region.dev),
        abi::fs::minor(region.dev),
        region.ino
    )
    .into_bytes();
    text.push(b' ');
    if !region.name.is_empty() {
        // Names start in column 74.
        while text.len() < 73 {
            text.push(b' ');
        }
        for byte in &region.name {
            match byte {
                b'\n' => text.extend_from_slice(b"\\012"),
                other => text.push(*other),
            }
        }
    }
    text.push(b'\n');
    text
}

fn regions(subject: &Subject, reader: &Reader<'_>) -> Result<Vec<RegionLine>> {
    // A zombie has no memory: an empty file.
    let Ok(task) = subject.task() else {
        return Ok(Vec::new());
    };
    reader_may_inspect(reader, &task)?;
    let fs = reader.task.map_or_else(|| task.fs(), |reader| reader.fs());
    Ok(mm_view::regions(&task, &fs))
}

/// `maps`.
pub(super) fn maps(subject: &Subject, reader: &Reader<'_>) -> Result<Vec<u8>> {
    Ok(regions(subject, reader)?.iter().flat_map(line).collect())
}

/// Sizes of a region in KiB. The host's page tables are not ours to read: what is resident is the process's total, spread over its private
/// writable memory first.
struct Sizes {
    size: u64,
    resident: u64,
    private_dirty: u64,
    locked: u64,
}

fn show_sizes(sizes: &Sizes, rollup: bool) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: u64| {
        text.push_str(&format!("{:<16}{value:8} kB\n", format!("{name}:")));
    };
    if !rollup {
        row("Size", sizes.size);
        row("KernelPageSize", 4);
        row("MMUPageSize", 4);
    }
    row("Rss", sizes.resident);
    row("Pss", sizes.resident);
    row("Pss_Dirty", sizes.private_dirty);
    row("Shared_Clean", 0);
    row("Shared_Dirty", 0);
    row("Private_Clean", sizes.resident - sizes.private_dirty);
    row("Private_Dirty", sizes.private_dirty);
    row("Referenced", sizes.resident);
    row("Anonymous", sizes.private_dirty);
    for name in [
        "KSM",
        "LazyFree",
        "AnonHugePages",
        "ShmemPmdMapped",
        "FilePmdMapped",
        "Shared_Hugetlb",
        "Private_Hugetlb",
        "Swap",
        "SwapPss",
    ] {
        row(name, 0);
    }
    row("Locked", sizes.locked);
    text
}

fn flags(region: &RegionLine) -> String {
    let mut flags = String::from("VmFlags: ");
    for (bit, name) in [(1, "rd "), (2, "wr "), (4, "ex ")] {
        if region.prot & bit != 0 {
            flags.push_str(name);
        }
    }
    if region.shared {
        flags.push_str("sh ");
    }
    flags.push_str("mr mw me ");
    if region.locked {
        flags.push_str("lo ");
    }
    flags.push('\n');
    flags
}

/// How much of `resident` bytes each region is shown with.
fn spread(regions: &[RegionLine], resident: u64) -> Vec<u64> {
    let mut left = resident;
    let mut shares = vec![0; regions.len()];
    for writable in [true, false] {
        for (share, region) in shares.iter_mut().zip(regions) {
            let private_writable = region.prot & 2 != 0 && !region.shared;
            if private_writable == writable && region.prot != 0 {
                *share = left.min(region.end - region.start);
                left -= *share;
            }
        }
    }
    shares
}

fn sizes(region: &RegionLine, resident: u64) -> Sizes {
    let dirty = region.prot & 2 != 0 && !region.shared;
    Sizes {
        size: (region.end - region.start) / 1024,
        resident: resident / 1024,
        private_dirty: if dirty { resident / 1024 } else { 0 },
        locked: if region.locked {
            (region.end - region.start) / 1024
        } else {
            0
        },
    }
}

fn with_sizes(subject: &Subject, reader: &Reader<'_>) -> Result<Vec<(RegionLine, Sizes)>> {
    let regions = regions(subject, reader)?;
    let resident = subject
        .task()
        .map_or(0, |task| mm_view::usage(&task).resident);
    let shares = spread(&regions, resident);
    Ok(regions
        .into_iter()
        .zip(shares)
        .map(|(region, share)| {
            let sizes = sizes(&region, share);
            (region, sizes)
        })
        .collect())
}

/// `smaps`.
pub(super) fn smaps(subject: &Subject, reader: &Reader<'_>) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for (region, sizes) in with_sizes(subject, reader)? {
        text.extend(line(&region));
        text.extend_from_slice(show_sizes(&sizes, false).as_bytes());
        text.extend_from_slice(b"THPeligible:           0\n");
        text.extend_from_slice(flags(&region).as_bytes());
    }
    Ok(text)
}

/// `smaps_rollup`.
pub(super) fn smaps_rollup(subject: &Subject, reader: &Reader<'_>) -> Result<Vec<u8>> {
    let all = with_sizes(subject, reader)?;
    let (Some((first, _)), Some((last, _))) = (all.first(), all.last()) else {
        return Ok(Vec::new());
    };
    let whole = RegionLine {
        start: first.start,
        end: last.end,
        name: b"[rollup]".to_vec(),
        ..RegionLine::default()
    };
    let sum = |of: fn(&Sizes) -> u64| all.iter().map(|(_, sizes)| of(sizes)).sum();
    let sizes = Sizes {
        size: 0,
        resident: sum(|s| s.resident),
        private_dirty: sum(|s| s.private_dirty),
        locked: sum(|s| s.locked),
    };
    let mut text = line(&whole);
    text.extend_from_slice(show_sizes(&sizes, true).as_bytes());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(start: u64, end: u64, prot: u32, name: &[u8]) -> RegionLine {
        RegionLine {
            start,
            end,
            prot,
            name: name.to_vec(),
            ..RegionLine::default()
        }
    }

    #[test]
    fn lines_look_like_linux() {
        let mut text = region(0x40_0000, 0x40_1000, 5, b"/bin/a\nb");
        text.dev = abi::fs::makedev(8, 1);
        text.ino = 1234;
        assert_eq!(
            String::from_utf8(line(&text)).unwrap(),
            "00400000-00401000 r-xp 00000000 08:01 1234                               /bin/a\\012b\n"
        );
        assert_eq!(
            line(&region(0x7f00_0000_0000, 0x7f00_0000_1000, 3, b"")),
            b"7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n"
        );
    }

    #[test]
    fn resident_memory_is_shown_once() {
        let regions = [
            region(0, 8192, 5, b"text"),
            region(8192, 16384, 3, b""),
            region(16384, 32768, 0, b"guard"),
        ];
        assert_eq!(spread(&regions, 12288), [4096, 8192, 0]);
        assert_eq!(spread(&regions, 1 << 30).iter().sum::<u64>(), 16384);
    }
}
