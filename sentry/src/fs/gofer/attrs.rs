//! Attributes: how the gofer's look in the VFS, and how long they are believed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use ::gofer::client::{Attr as RemoteAttr, SetAttr, SetTime as RemoteTime, Timestamp};
use abi::time::Timespec;
use parking_lot::Mutex;

use super::dir_state::DirState;
use crate::vfs::moment::{self, Moment};
use crate::vfs::{Attr, AttrChange, SetTime};

const fn timespec(t: Timestamp) -> Timespec {
    Timespec {
        sec: t.sec,
        nsec: t.nsec as i64,
    }
}

pub(super) fn to_attr(remote: &RemoteAttr) -> Attr {
    Attr {
        dev: remote.dev,
        ino: remote.ino,
        mode: remote.mode,
        nlink: u64::from(remote.nlink),
        uid: remote.uid,
        gid: remote.gid,
        rdev: remote.rdev,
        size: remote.size,
        blksize: remote.blksize,
        blocks: remote.blocks,
        atime: timespec(remote.atime),
        mtime: timespec(remote.mtime),
        ctime: timespec(remote.ctime),
        btime: remote.btime.map(timespec),
    }
}

/// What `fstat` said of a donated descriptor of a file of which `remote` was said last. Its owner does not count: the sentry's own user namespace
/// does not know the host's ids.
pub(super) fn of_stat(remote: &RemoteAttr, stat: &libc::stat, (uid, gid): (u32, u32)) -> Attr {
    Attr {
        mode: stat.st_mode,
        nlink: stat.st_nlink,
        uid,
        gid,
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        atime: Timespec {
            sec: stat.st_atime,
            nsec: stat.st_atime_nsec,
        },
        mtime: Timespec {
            sec: stat.st_mtime,
            nsec: stat.st_mtime_nsec,
        },
        ctime: Timespec {
            sec: stat.st_ctime,
            nsec: stat.st_ctime_nsec,
        },
        ..to_attr(remote)
    }
}

fn remote_time(time: SetTime) -> RemoteTime {
    match time {
        SetTime::Now => RemoteTime::Now,
        SetTime::At(at) => RemoteTime::At(Timestamp {
            sec: at.sec,
            nsec: at.nsec as u32,
        }),
    }
}

pub(super) fn to_changes(change: &AttrChange) -> SetAttr {
    SetAttr {
        mode: change.mode,
        uid: change.uid,
        gid: change.gid,
        size: change.size,
        atime: change.atime.map(remote_time),
        mtime: change.mtime.map(remote_time),
    }
}

/// Who would tell of changes of a file's owner.
#[derive(Clone, Default)]
pub(super) enum Under {
    /// Nobody.
    #[default]
    Nothing,
    /// The watch of the directory that it is in; with its epoch when the owner was asked for.
    Dir(Weak<DirState>, u64),
    /// It has no name: nobody but us can reach it.
    Nameless,
}

impl Under {
    pub(super) fn of(dir: Option<&Arc<DirState>>) -> Self {
        dir.map_or(Self::Nothing, |dir| {
            Self::Dir(Arc::downgrade(dir), dir.epoch())
        })
    }
    fn tells(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Nameless => true,
            Self::Dir(dir, epoch) => dir
                .upgrade()
                .is_some_and(|dir| !dir.has_ended() && dir.epoch() == *epoch),
        }
    }
    /// The same, now.
    fn renewed(&self) -> Self {
        match self {
            Self::Dir(dir, _) => Self::of(dir.upgrade().as_ref()),
            other => other.clone(),
        }
    }
}

struct Said {
    attr: RemoteAttr,
    moment: Option<Moment>,
    under: Under,
    owner_changes: u64,
}

/// What the gofer said of a file last. Only its owner, which its directory's watch tells of, is believed beyond the present moment.
pub(super) struct Attrs {
    said: Mutex<Said>,
    owner_changes: AtomicU64,
}

/// Taken before attributes are asked for.
pub(super) struct Asking {
    under: Under,
    owner_changes: u64,
}

impl Attrs {
    pub(super) fn new(attr: &RemoteAttr, under: Under) -> Self {
        Self {
            said: Mutex::new(Said {
                attr: *attr,
                moment: moment::now(),
                under,
                owner_changes: 0,
            }),
            owner_changes: AtomicU64::new(0),
        }
    }
    pub(super) fn asking(&self) -> Asking {
        Asking {
            under: self.said.lock().under.renewed(),
            owner_changes: self.owner_changes.load(Ordering::Acquire),
        }
    }
    pub(super) fn learn(&self, attr: &RemoteAttr, asking: Asking) {
        *self.said.lock() = Said {
            attr: *attr,
            moment: moment::now(),
            under: asking.under,
            owner_changes: asking.owner_changes,
        };
    }
    /// Of a look-up in a directory that may be another than before.
    pub(super) fn learn_under(&self, attr: &RemoteAttr, under: Under) {
        let owner_changes = self.owner_changes.load(Ordering::Acquire);
        self.learn(
            attr,
            Asking {
                under,
                owner_changes,
            },
        );
    }
    /// What was said last, however long ago: right in what never changes.
    pub(super) fn last(&self) -> RemoteAttr {
        self.said.lock().attr
    }
    /// What was said within this moment.
    pub(super) fn fresh(&self) -> Option<RemoteAttr> {
        let said = self.said.lock();
        (said.moment.is_some() && said.moment == moment::now()).then_some(said.attr)
    }
    /// What is fresh no more: something was changed through a descriptor.
    pub(super) fn spoil(&self) {
        self.said.lock().moment = None;
    }
    /// Owner and group, if a change would have been told.
    pub(super) fn owner(&self) -> Option<(u32, u32)> {
        let said = self.said.lock();
        let current = said.owner_changes == self.owner_changes.load(Ordering::Acquire);
        (current && said.under.tells()).then_some((said.attr.uid, said.attr.gid))
    }
    /// It was moved, perhaps into another directory.
    pub(super) fn moved(&self, under: Under) {
        let mut said = self.said.lock();
        said.moment = None;
        said.under = under;
    }
    pub(super) fn owner_changed(&self) {
        self.owner_changes.fetch_add(1, Ordering::AcqRel);
    }
}
