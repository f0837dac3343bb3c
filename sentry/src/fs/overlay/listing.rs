//! What a merged directory contains.

use abi::fs::{O_DIRECTORY, O_RDONLY, S_IFDIR};
use std::sync::atomic::Ordering;

use super::node::{Entry, Node};
use crate::error::Result;
use crate::vfs::{DirEntry, OpenHow};

/// A name with its inode number and type bits.
pub(super) struct Listed {
    pub(super) name: Vec<u8>,
    pub(super) ino: u64,
    pub(super) file_type: u32,
}

impl Node {
    /// Calls `each` for every lower name that is still to be seen until it returns false.
    fn for_each_lower(&self, each: &mut dyn FnMut(&DirEntry) -> bool) -> Result<()> {
        let Some(lower) = &self.lower else {
            return Ok(());
        };
        let how = OpenHow {
            flags: O_RDONLY | O_DIRECTORY,
        };
        let dir = lower.ops().open(lower, how)?;
        let mut from = 0;
        loop {
            let mut next = from;
            let mut stopped = false;
            dir.readdir(from, &mut |entry| {
                next = entry.next;
                let special = entry.name == b"." || entry.name == b"..";
                if !special && !self.entries.lock().contains_key(&entry.name) {
                    stopped = !each(entry);
                }
                !stopped
            })?;
            // A file system may give a large directory piece by piece.
            if stopped || next == from {
                return Ok(());
            }
            from = next;
        }
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> Result<bool> {
        let entries = self.entries.lock();
        if entries.values().any(|e| matches!(e, Entry::Here(_))) {
            return Ok(false);
        }
        drop(entries);
        let mut empty = true;
        self.for_each_lower(&mut |_| {
            empty = false;
            false
        })?;
        Ok(empty)
    }

    /// Everything in it, `.` and `..` first.
    pub(super) fn list(&self) -> Result<Vec<Listed>> {
        let directory = |name: &[u8], ino| Listed {
            name: name.to_vec(),
            ino,
            file_type: S_IFDIR,
        };
        let mut listed = vec![
            directory(b".", self.ino),
            directory(b"..", self.parent_ino.load(Ordering::Relaxed)),
        ];
        self.for_each_lower(&mut |entry| {
            listed.push(Listed {
                name: entry.name.clone(),
                ino: entry.ino,
                file_type: entry.file_type,
            });
            true
        })?;
        for (name, entry) in self.entries.lock().iter() {
            if let Entry::Here(inode) = entry {
                let node = Self::of(inode)?;
                listed.push(Listed {
                    name: name.clone(),
                    ino: node.ino,
                    file_type: node.kind(),
                });
            }
        }
        Ok(listed)
    }
}
