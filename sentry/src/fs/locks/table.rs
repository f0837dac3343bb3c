//! The range locks of an inode: who holds what, with splitting and merging.

use super::ranges::{Conflict, Kind, Owner, Range, Request};
use crate::error::{Errno, Result};
use crate::task::Pid;
use std::sync::Arc;

/// Bound of locks an inode, so that a guest cannot grow the table without limit: `ENOLCK`.
const MAX_LOCKS: usize = 65_536;

struct Record {
    owner: Owner,
    pid: Option<Arc<Pid>>,
    range: Range,
    kind: Kind,
}

/// Locks in the order of their first byte; those of one owner never overlap.
#[derive(Default)]
pub(super) struct Table(Vec<Record>);

impl Table {
    fn conflicting(&self, request: &Request) -> Option<&Record> {
        let kind = request.kind?;
        self.0.iter().find(|record| {
            record.owner != request.owner
                && record.range.overlaps(request.range)
                && (kind == Kind::Write || record.kind == Kind::Write)
        })
    }

    /// The first lock that stands against `request`.
    pub(super) fn conflict(&self, request: &Request) -> Option<(Owner, Conflict)> {
        self.conflicting(request)
            .map(|record| (record.owner, record.view()))
    }

    /// Locks or unlocks; says whether anything was given up. `EAGAIN`, `ENOLCK`.
    pub(super) fn apply(&mut self, request: &Request) -> Result<bool> {
        if self.conflicting(request).is_some() {
            return Err(Errno::EAGAIN);
        }
        if request.kind.is_some() && self.0.len() >= MAX_LOCKS {
            return Err(Errno::ENOLCK);
        }
        let mut range = request.range;
        let mut gave_up = false;
        let mut kept = Vec::with_capacity(self.0.len() + 2);
        for record in self.0.drain(..) {
            let same_owner = record.owner == request.owner;
            if same_owner && Some(record.kind) == request.kind && record.range.touches(range) {
                range = range.joined(record.range);
                continue;
            }
            if !same_owner || !record.range.overlaps(range) {
                kept.push(record);
                continue;
            }
            gave_up = true;
            let (before, after) = record.range.without(range);
            for rest in [before, after].into_iter().flatten() {
                kept.push(Record {
                    owner: record.owner,
                    pid: record.pid.clone(),
                    range: rest,
                    kind: record.kind,
                });
            }
        }
        if let Some(kind) = request.kind {
            kept.push(Record {
                owner: request.owner,
                pid: request.pid.clone(),
                range,
                kind,
            });
        }
        kept.sort_by_key(|record| record.range.first);
        self.0 = kept;
        Ok(gave_up)
    }

    /// Takes all locks of an owner away; says whether there were any.
    pub(super) fn remove_owner(&mut self, owner: Owner) -> bool {
        let before = self.0.len();
        self.0.retain(|record| record.owner != owner);
        self.0.len() != before
    }

    pub(super) fn list(&self) -> Vec<(Owner, Conflict)> {
        self.0.iter().map(|r| (r.owner, r.view())).collect()
    }
}

impl Record {
    fn view(&self) -> Conflict {
        Conflict {
            kind: self.kind,
            range: self.range,
            pid: self.pid.clone(),
        }
    }
}
