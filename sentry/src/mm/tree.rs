//! The tree of regions of one address space, and choosing addresses.
//!
//! Invariant: regions do not overlap, are page-aligned and not empty; neighbours that could be one are one.

use std::collections::BTreeMap;

use platform::{GUEST_TOP, TRAMPOLINE_TOP};

use super::{Region, RegionFlags};

/// See the module.
#[derive(Clone, Default)]
pub struct RegionTree {
    regions: BTreeMap<u64, Region>,
    total: u64,
    /// Where the next top-down search begins: everything above up to the base is taken, or too small for `largest_skipped`.
    search_from: u64,
    largest_skipped: u64,
}

impl RegionTree {
    /// Bytes mapped.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }
    /// Number of regions.
    #[must_use]
    pub fn count(&self) -> usize {
        self.regions.len()
    }
    /// In ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Region> {
        self.regions.values()
    }
    /// The region that holds `addr`.
    #[must_use]
    pub fn find(&self, addr: u64) -> Option<&Region> {
        self.regions
            .range(..=addr)
            .next_back()
            .map(|(_, r)| r)
            .filter(|r| addr < r.end)
    }
    /// Regions that overlap `start..end`, ascending.
    pub fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = &Region> {
        let first = self.find(start).map_or(start, |r| r.start);
        // An empty or backward range holds nothing; the map would panic on it.
        self.regions.range(first..end.max(first)).map(|(_, r)| r)
    }
    /// Whether every page of `start..end` is mapped.
    #[must_use]
    pub fn covers(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        for region in self.overlapping(start, end) {
            if region.start > at {
                return false;
            }
            at = region.end;
        }
        at >= end
    }
    /// Whether part of the range was sealed.
    #[must_use]
    pub fn is_sealed(&self, start: u64, end: u64) -> bool {
        let mut regions = self.overlapping(start, end);
        regions.any(|region| region.flags.contains(RegionFlags::SEALED))
    }
    /// Whether nothing is mapped in `start..end`.
    #[must_use]
    pub fn is_free(&self, start: u64, end: u64) -> bool {
        self.overlapping(start, end).next().is_none()
    }

    /// Takes `start..end` out; returns what was there.
    pub fn remove(&mut self, start: u64, end: u64) -> Vec<Region> {
        let keys: Vec<u64> = self.overlapping(start, end).map(|r| r.start).collect();
        let mut removed = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(region) = self.regions.remove(&key) else {
                continue;
            };
            self.total -= region.len();
            if region.start < start {
                self.put(region.part(region.start, start));
            }
            if region.end > end {
                self.put(region.part(end, region.end));
            }
            removed.push(region.part(start, end));
        }
        if !removed.is_empty() && end > self.search_from {
            self.search_from = end;
            self.largest_skipped = u64::MAX;
        }
        removed
    }

    fn put(&mut self, region: Region) {
        self.total += region.len();
        self.regions.insert(region.start, region);
    }

    /// Enters a region, replacing what it overlaps, and joins it with its neighbours where possible.
    pub fn insert(&mut self, mut region: Region) {
        self.remove(region.start, region.end);
        if let Some((_, before)) = self.regions.range(..region.start).next_back()
            && before.merges_with(&region)
        {
            let before = before.start;
            if let Some(before) = self.regions.remove(&before) {
                self.total -= before.len();
                region = Region {
                    end: region.end,
                    ..before
                };
            }
        }
        if let Some(after) = self.regions.get(&region.end)
            && region.merges_with(after)
        {
            let start = after.start;
            if let Some(after) = self.regions.remove(&start) {
                self.total -= after.len();
                region.end = after.end;
            }
        }
        self.put(region);
    }

    /// Changes every region part in `start..end`.
    pub fn update(&mut self, start: u64, end: u64, change: impl Fn(&mut Region)) {
        for mut part in self.remove(start, end) {
            change(&mut part);
            self.insert(part);
        }
    }

    /// A free range of `len` bytes below `base`, as high as possible; above `base` if there is none below.
    pub fn find_gap(&mut self, len: u64, base: u64) -> Option<u64> {
        if len == 0 || len > GUEST_TOP {
            return None;
        }
        if self.search_from == 0 || self.search_from > base || len <= self.largest_skipped {
            self.search_from = base;
            self.largest_skipped = 0;
        }
        if let Some(at) = self.search_down(len, self.search_from) {
            self.search_from = at;
            return Some(at);
        }
        self.search_from = base;
        self.largest_skipped = 0;
        self.search_down(len, base)
            .or_else(|| self.search_down(len, GUEST_TOP))
    }

    fn search_down(&mut self, len: u64, top: u64) -> Option<u64> {
        let mut ceiling = self.find(top.saturating_sub(1)).map_or(top, |r| r.start);
        let mut skipped = self.largest_skipped;
        let mut found = None;
        for region in self.regions.range(..ceiling).rev().map(|(_, r)| r) {
            let gap = ceiling.saturating_sub(region.end);
            if gap >= len {
                found = Some(ceiling - len);
                break;
            }
            skipped = skipped.max(gap);
            ceiling = region.start;
        }
        self.largest_skipped = skipped;
        let at = found.or_else(|| ceiling.checked_sub(len))?;
        (at >= TRAMPOLINE_TOP && self.is_free(at, at + len)).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::{Backing, RegionFlags};

    fn region(start: u64, end: u64, prot: u32) -> Region {
        Region {
            start,
            end,
            prot,
            flags: RegionFlags::default(),
            backing: Backing::Anonymous,
            label: None,
        }
    }

    #[test]
    fn backward_and_empty_ranges_hold_nothing() {
        let mut tree = RegionTree::default();
        tree.insert(region(0x10_0000, 0x10_2000, 3));
        assert_eq!(
            tree.overlapping(0x7fff_0000_0000, 0x7000_0000_0000).count(),
            0
        );
        assert_eq!(tree.overlapping(u64::MAX, 0).count(), 0);
        assert!(!tree.covers(0x20_0000, 0x20_1000));
    }

    #[test]
    fn neighbours_that_could_be_one_are_one_and_split_again() {
        let mut tree = RegionTree::default();
        tree.insert(region(0x10_0000, 0x10_2000, 3));
        tree.insert(region(0x10_2000, 0x10_4000, 3));
        assert_eq!(tree.count(), 1);
        tree.update(0x10_1000, 0x10_2000, |r| r.prot = 1);
        assert_eq!(tree.count(), 3);
        assert_eq!(tree.total(), 0x4000);
        tree.update(0x10_1000, 0x10_2000, |r| r.prot = 3);
        assert_eq!(tree.count(), 1);
    }

    #[test]
    fn removal_leaves_both_sides() {
        let mut tree = RegionTree::default();
        tree.insert(region(0x10_0000, 0x10_4000, 3));
        let removed = tree.remove(0x10_1000, 0x10_2000);
        assert_eq!(removed.len(), 1);
        assert!(tree.is_free(0x10_1000, 0x10_2000));
        assert!(!tree.covers(0x10_0000, 0x10_4000));
        assert!(tree.covers(0x10_2000, 0x10_4000));
        assert_eq!(tree.total(), 0x3000);
    }

    #[test]
    fn gaps_are_found_top_down_and_reused() {
        let mut tree = RegionTree::default();
        let base = 0x7000_0000_0000;
        let a = tree.find_gap(0x1000, base).unwrap();
        assert_eq!(a, base - 0x1000);
        tree.insert(region(a, a + 0x1000, 3));
        let b = tree.find_gap(0x2000, base).unwrap();
        assert_eq!(b, a - 0x2000);
        tree.insert(region(b, b + 0x2000, 1));
        tree.remove(a, a + 0x1000);
        assert_eq!(tree.find_gap(0x1000, base), Some(a));
        assert_eq!(tree.find_gap(0x2000, base), Some(b - 0x2000));
    }
}
