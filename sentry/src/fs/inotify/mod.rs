//! inotify (`inotify(7)`, `fs/notify/inotify`).
//!
//! - [`Inotify`]: an instance: its watches by number and the queue of events.
//! - [`watch`]: the watches of an inode, and the counts that say when a deleted file is gone.
//! - [`report`]: what the VFS calls; decides who sees what.
//!
//! Lock order: an instance's `state` → an inode's list of watches. The queue is notified with neither held.

pub mod report;
pub(crate) mod watch;

use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, LazyLock};

use abi::fs::{O_NONBLOCK, O_RDONLY};
use abi::{UserAddr, UserOut};
use parking_lot::Mutex;

pub use watch::InodeWatches;
use watch::Watch;

use crate::error::{Errno, Result, SysResult};
use crate::fs::anon;
use crate::task::CurrentTask;
use crate::vfs::{File, FileOps, Inode, IoCx, Sink};
use crate::wait::{Events, WaitQueue};

/// IN_ALL_EVENTS: what can be asked for.
pub const ALL_EVENTS: u32 = 0xfff;
/// IN_EXCL_UNLINK.
pub const EXCL_UNLINK: u32 = 1 << 26;
/// IN_MASK_CREATE: an existing watch gives `EEXIST`.
pub const MASK_CREATE: u32 = 1 << 28;
/// IN_MASK_ADD: adds to an existing watch's mask.
pub const MASK_ADD: u32 = 1 << 29;
/// IN_ONESHOT: the watch goes after one event.
pub const ONESHOT: u32 = 1 << 31;
const Q_OVERFLOW: u32 = 1 << 14;
const IGNORED: u32 = 1 << 15;

/// `/proc/sys/fs/inotify/max_queued_events`.
pub const MAX_QUEUED_EVENTS: usize = 16_384;
/// `/proc/sys/fs/inotify/max_user_instances`.
pub const MAX_USER_INSTANCES: usize = 128;
/// `/proc/sys/fs/inotify/max_user_watches`, here for each instance.
pub const MAX_USER_WATCHES: usize = 65_536;

const FIONREAD: u32 = 0x541b;
/// Bytes of a `struct inotify_event` without its name; names are padded to a multiple of it.
const HEADER: usize = 16;

#[derive(Clone, PartialEq, Eq)]
struct Event {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Vec<u8>,
}

impl Event {
    fn name_len(&self) -> usize {
        if self.name.is_empty() {
            0
        } else {
            (self.name.len() + 1).next_multiple_of(HEADER)
        }
    }
    fn size(&self) -> usize {
        HEADER + self.name_len()
    }
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size());
        bytes.extend_from_slice(&self.wd.to_ne_bytes());
        bytes.extend_from_slice(&self.mask.to_ne_bytes());
        bytes.extend_from_slice(&self.cookie.to_ne_bytes());
        bytes.extend_from_slice(&(self.name_len() as u32).to_ne_bytes());
        bytes.extend_from_slice(&self.name);
        bytes.resize(self.size(), 0);
        bytes
    }
}

#[derive(Default)]
struct State {
    watches: BTreeMap<i32, Arc<Watch>>,
    last_wd: i32,
    events: VecDeque<Event>,
}

/// An inotify instance.
pub struct Inotify {
    state: Mutex<State>,
    queue: WaitQueue,
    uid: u32,
}

/// The operations of an inotify file.
pub struct InotifyFile(Arc<Inotify>);

/// Instances by user.
static INSTANCES: LazyLock<Mutex<HashMap<u32, usize>>> = LazyLock::new(Mutex::default);

/// A new inotify file of a user; `flags` may hold O_NONBLOCK. `EMFILE` beyond [`MAX_USER_INSTANCES`].
pub fn open(uid: u32, flags: u32) -> Result<Arc<File>> {
    {
        let mut instances = INSTANCES.lock();
        let count = instances.entry(uid).or_insert(0);
        if *count >= MAX_USER_INSTANCES {
            return Err(Errno::EMFILE);
        }
        *count += 1;
    }
    let inotify = Arc::new(Inotify {
        state: Mutex::default(),
        queue: WaitQueue::new(),
        uid,
    });
    Ok(File::new(
        None,
        anon::untyped(),
        Box::new(InotifyFile(inotify)),
        O_RDONLY | (flags & O_NONBLOCK),
    ))
}

/// The instance behind a file; `EINVAL` for others.
pub fn of_file(file: &File) -> Result<&Arc<Inotify>> {
    file.downcast::<InotifyFile>()
        .map(|ops| &ops.0)
        .ok_or(Errno::EINVAL)
}

impl Inotify {
    /// Watches an inode, or changes its watch: the number. `EEXIST` with IN_MASK_CREATE, `ENOSPC` if there are too many.
    pub fn add(self: &Arc<Self>, inode: &Arc<Inode>, mask: u32) -> Result<i32> {
        const KEPT: u32 = ALL_EVENTS | EXCL_UNLINK | ONESHOT;
        let mut state = self.state.lock();
        // The lists of inodes are short, and the instance's lock keeps two additions apart.
        if let Some(watch) = inode.state.watches.of(self) {
            if mask & MASK_CREATE != 0 {
                return Err(Errno::EEXIST);
            }
            watch.change_mask(mask & KEPT, mask & MASK_ADD != 0);
            return Ok(watch.wd());
        }
        if state.watches.len() >= MAX_USER_WATCHES {
            return Err(Errno::ENOSPC);
        }
        let wd = state.last_wd.checked_add(1).ok_or(Errno::ENOSPC)?;
        state.last_wd = wd;
        let watch = Watch::new(self, inode, wd, mask & KEPT);
        state.watches.insert(wd, watch.clone());
        inode.state.watches.add(&watch);
        Ok(wd)
    }

    /// `inotify_rm_watch(2)`: `EINVAL` if there is no such watch.
    pub fn remove(&self, wd: i32) -> Result<()> {
        let watch = self.state.lock().watches.get(&wd).cloned();
        self.end(&watch.ok_or(Errno::EINVAL)?);
        Ok(())
    }

    /// Ends a watch: IN_IGNORED is its last event.
    fn end(&self, watch: &Arc<Watch>) {
        let removed = {
            let mut state = self.state.lock();
            let removed = state.watches.remove(&watch.wd());
            if removed.is_some() {
                let last = Event {
                    wd: watch.wd(),
                    mask: IGNORED,
                    cookie: 0,
                    name: Vec::new(),
                };
                push(&mut state.events, last);
            }
            removed
        };
        if let Some(watch) = removed {
            watch.detach();
            self.queue.notify(Events::IN | Events::RDNORM);
        }
    }

    /// Queues an event of a watch.
    fn report(&self, wd: i32, mask: u32, cookie: u32, name: &[u8]) {
        {
            let mut state = self.state.lock();
            if !state.watches.contains_key(&wd) {
                return;
            }
            let event = Event {
                wd,
                mask,
                cookie,
                name: name.to_vec(),
            };
            push(&mut state.events, event);
        }
        self.queue.notify(Events::IN | Events::RDNORM);
    }
}

/// Appends an event unless it repeats the last one; a full queue gets one overflow mark.
fn push(events: &mut VecDeque<Event>, event: Event) {
    if events.back() == Some(&event) {
        return;
    }
    if events.len() < MAX_QUEUED_EVENTS {
        events.push_back(event);
        return;
    }
    let overflow = Event {
        wd: -1,
        mask: Q_OVERFLOW,
        cookie: 0,
        name: Vec::new(),
    };
    if events.back() != Some(&overflow) {
        events.push_back(overflow);
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        for watch in std::mem::take(&mut self.state.get_mut().watches).into_values() {
            watch.detach();
        }
        let mut instances = INSTANCES.lock();
        if let Some(count) = instances.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                instances.remove(&self.uid);
            }
        }
    }
}

impl FileOps for InotifyFile {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        let mut done = 0;
        loop {
            let bytes = {
                let mut state = self.0.state.lock();
                match state.events.front() {
                    None if done == 0 => return Err(Errno::EAGAIN.into()),
                    Some(event) if event.size() > dst.remaining() && done == 0 => {
                        return Err(Errno::EINVAL.into());
                    }
                    Some(event) if event.size() <= dst.remaining() => {
                        let bytes = event.to_bytes();
                        state.events.pop_front();
                        bytes
                    }
                    _ => return Ok(done),
                }
            };
            match dst.put(&bytes) {
                Ok(n) if n == bytes.len() => done += n,
                _ if done > 0 => return Ok(done),
                _ => return Err(Errno::EFAULT.into()),
            }
        }
    }
    fn readiness(&self) -> Events {
        if self.0.state.lock().events.is_empty() {
            Events::empty()
        } else {
            Events::IN | Events::RDNORM
        }
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.queue)
    }
    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        if request != FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        let bytes: usize = self.0.state.lock().events.iter().map(Event::size).sum();
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        task.memory().put(UserOut::new(UserAddr(arg)), &bytes)?;
        Ok(0)
    }
    fn ignores_seeks(&self) -> bool {
        true
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        b"anon_inode:inotify".to_vec()
    }
}

#[cfg(test)]
mod tests;
