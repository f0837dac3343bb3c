//! `maps`, `smaps` and `smaps_rollup` (`fs/proc/task_mmu.c`).

use super::access::reader_may_inspect;
use super::mm_view::{self, RegionLine};
use super::subject::Subject;
use crate::error::Result;
use crate::fs::static_tree::Reader;
use crate::host_facts::RegionUse;

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

/// What smaps shows of a region, in bytes. The numbers are the host's, of its own mappings.
#[derive(Clone, Copy, Default)]
struct Sizes {
    size: u64,
    uses: RegionUse,
    locked: u64,
}

fn show_sizes(sizes: &Sizes, rollup: bool) -> String {
    let mut text = String::new();
    let mut row = |name: &str, bytes: u64| {
        text.push_str(&format!(
            "{:<16}{:8} kB\n",
            format!("{name}:"),
            bytes / 1024
        ));
    };
    if !rollup {
        row("Size", sizes.size);
        row("KernelPageSize", abi::PAGE_SIZE);
        row("MMUPageSize", abi::PAGE_SIZE);
    }
    let uses = &sizes.uses;
    row("Rss", uses.resident);
    row("Pss", uses.proportional);
    row("Pss_Dirty", uses.proportional_dirty);
    row("Shared_Clean", uses.shared_clean);
    row("Shared_Dirty", uses.shared_dirty);
    row("Private_Clean", uses.private_clean);
    row("Private_Dirty", uses.private_dirty);
    row("Referenced", uses.referenced);
    row("Anonymous", uses.anonymous);
    for name in [
        "KSM",
        "LazyFree",
        "AnonHugePages",
        "ShmemPmdMapped",
        "FilePmdMapped",
        "Shared_Hugetlb",
        "Private_Hugetlb",
    ] {
        row(name, 0);
    }
    row("Swap", uses.swapped);
    row("SwapPss", uses.swapped);
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

/// The numbers of a use that add up.
fn numbers(uses: &mut RegionUse) -> [&mut u64; 10] {
    [
        &mut uses.resident,
        &mut uses.proportional,
        &mut uses.proportional_dirty,
        &mut uses.shared_clean,
        &mut uses.shared_dirty,
        &mut uses.private_clean,
        &mut uses.private_dirty,
        &mut uses.referenced,
        &mut uses.anonymous,
        &mut uses.swapped,
    ]
}

/// Adds `share` of `whole` parts of `other` to `sum`, in whole pages.
fn add_part(sum: &mut RegionUse, mut other: RegionUse, share: u64, whole: u64) {
    for (sum, number) in numbers(sum).into_iter().zip(numbers(&mut other)) {
        let part = if share == whole {
            *number
        } else {
            let part = u128::from(*number) * u128::from(share) / u128::from(whole.max(1));
            abi::page_floor(u64::try_from(part).unwrap_or(0))
        };
        *sum = sum.saturating_add(part);
    }
}

/// What the host says of its mappings, by region: both ascending. A mapping of the host's that spans several regions is shared out by their lengths.
fn by_region(regions: &[RegionLine], host: &[RegionUse]) -> Vec<RegionUse> {
    let mut sums = Vec::with_capacity(regions.len());
    let mut first = 0;
    for region in regions {
        let mut sum = RegionUse::default();
        while host.get(first).is_some_and(|uses| uses.end <= region.start) {
            first += 1;
        }
        for uses in &host[first.min(host.len())..] {
            if uses.start >= region.end {
                break;
            }
            let share = uses
                .end
                .min(region.end)
                .saturating_sub(uses.start.max(region.start));
            add_part(&mut sum, *uses, share, uses.end.saturating_sub(uses.start));
        }
        sums.push(sum);
    }
    sums
}

fn with_sizes(subject: &Subject, reader: &Reader<'_>) -> Result<Vec<(RegionLine, Sizes)>> {
    let regions = regions(subject, reader)?;
    let host = subject
        .task()
        .map_or_else(|_| Vec::new(), |task| mm_view::region_uses(&task));
    let uses = by_region(&regions, &host);
    Ok(regions
        .into_iter()
        .zip(uses)
        .map(|(region, uses)| {
            let size = region.end - region.start;
            let locked = if region.locked { size } else { 0 };
            (region, Sizes { size, uses, locked })
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
    let mut sizes = Sizes::default();
    for (_, one) in &all {
        add_part(&mut sizes.uses, one.uses, 1, 1);
        sizes.locked += one.locked;
    }
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
    fn mappings_of_the_host_are_shared_out() {
        let regions = [
            region(0x1000, 0x3000, 5, b"text"),
            region(0x4000, 0x5000, 3, b""),
            region(0x5000, 0x8000, 3, b""),
        ];
        let uses = |start, end, resident| RegionUse {
            start,
            end,
            resident,
            ..RegionUse::default()
        };
        let host = [
            uses(0x1000, 0x2000, 0x1000),
            uses(0x2000, 0x3000, 0),
            uses(0x4000, 0x8000, 0x4000),
            uses(0x9000, 0xa000, 0x1000),
        ];
        let shown: Vec<u64> = by_region(&regions, &host)
            .iter()
            .map(|u| u.resident)
            .collect();
        assert_eq!(shown, [0x1000, 0x1000, 0x3000]);
        assert_eq!(by_region(&regions, &[]).len(), 3);
    }
}
