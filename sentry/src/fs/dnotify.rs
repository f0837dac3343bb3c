//! Changes in a directory told by signal (`F_NOTIFY`, `fs/notify/dnotify`).
//!
//! A notice hangs off the directory's inode beside the watches of inotify and hears what those hear of its entries.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::fasync::{OWNER_PROCESS, Reason};
use super::inotify::report;
use super::inotify::watch::count_other;
use crate::error::{Errno, Result};
use crate::task::Task;
use crate::vfs::{File, Inode};

const DN_ACCESS: u32 = 0x1;
const DN_MODIFY: u32 = 0x2;
const DN_CREATE: u32 = 0x4;
const DN_DELETE: u32 = 0x8;
const DN_RENAME: u32 = 0x10;
const DN_ATTRIB: u32 = 0x20;
const DN_MULTISHOT: u32 = 0x8000_0000;

/// The events of inotify that a mask of `F_NOTIFY` asks for.
fn events(mask: u32) -> u32 {
    const MAP: [(u32, u32); 6] = [
        (DN_ACCESS, report::ACCESS),
        (DN_MODIFY, report::MODIFY),
        (DN_CREATE, report::CREATE | report::MOVED_TO),
        (DN_DELETE, report::DELETE | report::MOVED_FROM),
        (DN_RENAME, report::MOVED_FROM),
        (DN_ATTRIB, report::ATTRIB),
    ];
    let wanted = MAP.iter().filter(|(bit, _)| mask & bit != 0);
    wanted.fold(0, |all, (_, events)| all | events)
}

struct Notice {
    file: Weak<File>,
    fd: i32,
    events: u32,
    many: bool,
}

impl Notice {
    fn is_of(&self, file: &Arc<File>) -> bool {
        std::ptr::eq(self.file.as_ptr(), Arc::as_ptr(file))
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        count_other(-1);
    }
}

/// The notices of a directory.
#[derive(Default)]
pub struct Notices(Mutex<Vec<Notice>>);

impl Notices {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
    /// Tells who asked for `mask`, in events of inotify.
    pub fn tell(&self, mask: u32) {
        let told: Vec<_> = {
            let mut notices = self.0.lock();
            notices.retain(|notice| notice.file.strong_count() > 0);
            let wants = |notice: &&Notice| notice.events & mask != 0;
            let told = notices.iter().filter(wants);
            let told = told
                .map(|notice| (notice.file.clone(), notice.fd))
                .collect();
            notices.retain(|notice| notice.many || notice.events & mask == 0);
            told
        };
        for (file, fd) in told {
            if let Some(file) = file.upgrade() {
                let owner = file.owner.lock().clone();
                owner.tell(Reason::Message, fd);
            }
        }
    }
}

fn notices(inode: &Inode) -> &Mutex<Vec<Notice>> {
    &inode.state.watches.notices.0
}

/// `fcntl(F_NOTIFY)`: adds to what the description asks for, or with an empty mask takes it back. `ENOTDIR`.
pub fn set(file: &Arc<File>, task: &Arc<Task>, fd: i32, mask: u32) -> Result<()> {
    let inode = file.inode();
    if mask & !DN_MULTISHOT == 0 {
        let gone: Vec<_> = notices(inode)
            .lock()
            .extract_if(.., |n| n.is_of(file))
            .collect();
        drop(gone);
        return Ok(());
    }
    inode.dir().map_err(|_| Errno::ENOTDIR)?;
    {
        let creds = task.creds();
        let mut owner = file.owner.lock();
        if owner.pid.is_none() {
            owner.kind = OWNER_PROCESS;
            owner.pid = Some(task.group.pid.clone());
            owner.setter = (creds.uid, creds.euid);
        }
    }
    let mut notices = notices(inode).lock();
    let many = mask & DN_MULTISHOT != 0;
    if let Some(notice) = notices.iter_mut().find(|notice| notice.is_of(file)) {
        notice.fd = fd;
        notice.events |= events(mask);
        notice.many |= many;
    } else {
        count_other(1);
        notices.push(Notice {
            file: Arc::downgrade(file),
            fd,
            events: events(mask),
            many,
        });
    }
    Ok(())
}
