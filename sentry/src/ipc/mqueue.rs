//! POSIX message queues (`mq_overview(7)`, `ipc/mqueue.c`).
//!
//! Queues live in an IPC namespace under their names; an open one is a file, so that it can be polled.
//!
//! Lock order: the table of names → a queue's state. Queues are notified and signals sent with neither held.

use std::any::Any;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};

use abi::fs::S_IFREG;
use abi::ipc::MqAttr;
use abi::signal::{Signal, code};
use parking_lot::Mutex;

use crate::error::{Errno, Result, SysResult};
use crate::fs::anon;
use crate::signal::{SigInfo, send};
use crate::task::creds::{Cap, Creds};
use crate::task::limits::Resource;
use crate::task::namespaces::IpcNamespace;
use crate::task::{CurrentTask, ThreadGroup};
use crate::vfs::{Access, Attr, File, FileOps, IoCx, Sink, check_access};
use crate::wait::{Events, WaitQueue};

/// `fs.mqueue.queues_max`.
const QUEUES_MAX: usize = 256;
/// `fs.mqueue.msg_max` and `msgsize_max`; the defaults are the same.
const MSG_MAX: i64 = 10;
const MSGSIZE_MAX: i64 = 8192;
/// What CAP_SYS_RESOURCE allows. Linux allows more, against the memory cgroup.
const HARD_MSG_MAX: i64 = 4096;
const HARD_MSGSIZE_MAX: i64 = 1 << 20;
/// Priorities are below this.
pub const PRIORITIES: u32 = 32768;
/// What a message costs besides its bytes, against RLIMIT_MSGQUEUE.
const OVERHEAD: u64 = 48;

/// Who is told of the next message in an empty queue.
struct Notification {
    group: Weak<ThreadGroup>,
    /// `None`: only registered (SIGEV_NONE).
    signal: Option<Signal>,
    value: u64,
}

struct State {
    messages: BTreeMap<Reverse<u32>, VecDeque<Vec<u8>>>,
    count: i64,
    bytes: u64,
    notification: Option<Notification>,
    /// How many receivers wait: a message goes to them without a notification.
    receivers: usize,
}

/// A queue.
pub struct Queue {
    attr: Attr,
    max_messages: i64,
    message_size: i64,
    /// Bytes charged to the owner.
    charge: u64,
    charges: Arc<Charges>,
    state: Mutex<State>,
    queue: WaitQueue,
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut charges = self.charges.0.lock();
        if let Some(total) = charges.get_mut(&self.attr.uid) {
            *total = total.saturating_sub(self.charge);
        }
    }
}

/// Bytes in use, by user.
#[derive(Default)]
struct Charges(Mutex<HashMap<u32, u64>>);

#[derive(Default)]
struct Names(Mutex<BTreeMap<Vec<u8>, Arc<Queue>>>);

/// An open queue.
pub struct QueueFile {
    queue: Arc<Queue>,
    name: Vec<u8>,
}

/// The queue behind a file: `EBADF` if it is none.
pub fn queue_of(file: &File) -> Result<Arc<Queue>> {
    file.downcast::<QueueFile>()
        .map(|open| open.queue.clone())
        .ok_or(Errno::EBADF)
}

/// How to make a queue that does not exist.
pub struct Creation {
    /// Permission bits, umask applied.
    pub mode: u32,
    /// O_EXCL.
    pub exclusive: bool,
    /// Capacity; `None`: the defaults.
    pub attr: Option<MqAttr>,
}

/// `mq_open`: opens the queue `name` (without slash) or makes it. `flags` are the open flags.
pub fn open(
    task: &CurrentTask,
    name: &[u8],
    flags: u32,
    creation: Option<&Creation>,
) -> Result<Arc<File>> {
    if name.is_empty() {
        return Err(Errno::EINVAL);
    }
    if name.contains(&b'/') {
        return Err(Errno::EACCES);
    }
    let namespace = task.namespaces().ipc.clone();
    let names = namespace.objects.get::<Names>();
    let mut names = names.0.lock();
    let queue = match (names.get(name), creation) {
        (Some(_), Some(creation)) if creation.exclusive => return Err(Errno::EEXIST),
        (Some(queue), _) => {
            let access = match flags & abi::fs::O_ACCMODE {
                abi::fs::O_RDONLY => Access::READ,
                abi::fs::O_WRONLY => Access::WRITE,
                abi::fs::O_RDWR => Access::READ.and(Access::WRITE),
                _ => return Err(Errno::EINVAL),
            };
            check_access(&queue.attr, &task.creds(), access)?;
            queue.clone()
        }
        (None, None) => return Err(Errno::ENOENT),
        (None, Some(creation)) => {
            let creds = task.creds();
            if names.len() >= QUEUES_MAX && !creds.has(Cap::SYS_RESOURCE) {
                return Err(Errno::ENOSPC);
            }
            let limit = task.group.limit(Resource::Msgqueue);
            let charges = namespace.objects.get::<Charges>();
            let queue = Queue::new(&creds, creation, limit, charges)?;
            names.insert(name.to_vec(), queue.clone());
            queue
        }
    };
    let inode = anon::inode(queue.attr.mode, queue.attr.uid, queue.attr.gid);
    let ops = QueueFile {
        queue,
        name: name.to_vec(),
    };
    Ok(File::new(None, inode, Box::new(ops), flags))
}

/// `mq_unlink`: `EACCES` unless the caller owns the queue or may override that.
pub fn unlink(task: &CurrentTask, name: &[u8]) -> Result<()> {
    let names = task.namespaces().ipc.objects.get::<Names>();
    let mut names = names.0.lock();
    let queue = names.get(name).ok_or(Errno::ENOENT)?;
    let creds = task.creds();
    // The directory is sticky.
    if creds.fsuid != queue.attr.uid && !creds.owns_over(queue.attr.uid) {
        return Err(Errno::EACCES);
    }
    let removed = names.remove(name);
    drop(names);
    drop(removed);
    Ok(())
}

/// Drops the requests of a process that is gone.
pub(super) fn forget_process(namespace: &IpcNamespace, group: &Arc<ThreadGroup>) {
    let names = namespace.objects.get::<Names>();
    let queues: Vec<Arc<Queue>> = names.0.lock().values().cloned().collect();
    for queue in queues {
        queue.forget(group);
    }
}

impl Queue {
    fn new(
        creds: &Creds,
        creation: &Creation,
        limit: u64,
        charges: Arc<Charges>,
    ) -> Result<Arc<Self>> {
        let (max_messages, message_size) = creation
            .attr
            .map_or((MSG_MAX, MSGSIZE_MAX), |attr| (attr.maxmsg, attr.msgsize));
        let (most, largest) = if creds.has(Cap::SYS_RESOURCE) {
            (HARD_MSG_MAX, HARD_MSGSIZE_MAX)
        } else {
            (MSG_MAX, MSGSIZE_MAX)
        };
        if !(1..=most).contains(&max_messages) || !(1..=largest).contains(&message_size) {
            return Err(Errno::EINVAL);
        }
        let charge = (max_messages as u64).saturating_mul(message_size as u64 + OVERHEAD);
        {
            let mut totals = charges.0.lock();
            let total = totals.entry(creds.fsuid).or_insert(0);
            if total.saturating_add(charge) > limit {
                return Err(Errno::EMFILE);
            }
            *total += charge;
        }
        let now = crate::time::now();
        let attr = Attr {
            mode: S_IFREG | (creation.mode & 0o777),
            nlink: 1,
            uid: creds.fsuid,
            gid: creds.fsgid,
            atime: now,
            mtime: now,
            ctime: now,
            ..Attr::default()
        };
        Ok(Arc::new(Self {
            attr,
            max_messages,
            message_size,
            charge,
            charges,
            state: Mutex::new(State {
                messages: BTreeMap::new(),
                count: 0,
                bytes: 0,
                notification: None,
                receivers: 0,
            }),
            queue: WaitQueue::new(),
        }))
    }

    /// Largest message in bytes.
    #[must_use]
    pub const fn message_size(&self) -> usize {
        self.message_size as usize
    }
    /// Notified with IN for a message, with OUT for room.
    #[must_use]
    pub const fn queue(&self) -> &WaitQueue {
        &self.queue
    }
    /// Capacity and content; the flags are the file's.
    #[must_use]
    pub fn attributes(&self) -> MqAttr {
        MqAttr {
            maxmsg: self.max_messages,
            msgsize: self.message_size,
            curmsgs: self.state.lock().count,
            ..MqAttr::default()
        }
    }

    /// Adds a message: `EAGAIN` if the queue is full. The caller has checked its length.
    pub fn send(&self, task: &CurrentTask, text: &[u8], priority: u32) -> Result<()> {
        let notification = {
            let mut state = self.state.lock();
            if state.count >= self.max_messages {
                return Err(Errno::EAGAIN);
            }
            let first = state.count == 0 && state.receivers == 0;
            state.count += 1;
            state.bytes += text.len() as u64;
            state
                .messages
                .entry(Reverse(priority))
                .or_default()
                .push_back(text.to_vec());
            if first {
                state.notification.take()
            } else {
                None
            }
        };
        self.queue.notify(Events::IN | Events::RDNORM);
        if let Some(notification) = notification {
            notification.tell(task);
        }
        Ok(())
    }

    /// Takes the oldest message of the highest priority: `EAGAIN` if there is none.
    pub fn receive(&self) -> Result<(Vec<u8>, u32)> {
        let taken = {
            let mut state = self.state.lock();
            let mut highest = state.messages.first_entry().ok_or(Errno::EAGAIN)?;
            let priority = highest.key().0;
            let text = highest.get_mut().pop_front().unwrap_or_default();
            if highest.get().is_empty() {
                highest.remove();
            }
            state.count -= 1;
            state.bytes -= text.len() as u64;
            (text, priority)
        };
        self.queue.notify(Events::OUT | Events::WRNORM);
        Ok(taken)
    }

    /// Counts a waiting receiver until the guard is dropped.
    #[must_use]
    pub fn wait_for_message(self: &Arc<Self>) -> Receiver {
        self.state.lock().receivers += 1;
        Receiver(self.clone())
    }

    /// Registers the caller for a notification: `EBUSY` if another process is. `None` signal: be registered without being told.
    pub fn register(&self, task: &CurrentTask, signal: Option<Signal>, value: u64) -> Result<()> {
        let mut state = self.state.lock();
        if state
            .notification
            .as_ref()
            .is_some_and(|n| n.group.strong_count() > 0)
        {
            return Err(Errno::EBUSY);
        }
        state.notification = Some(Notification {
            group: Arc::downgrade(&task.group),
            signal,
            value,
        });
        Ok(())
    }

    /// Drops a process's registration.
    pub fn forget(&self, group: &Arc<ThreadGroup>) {
        let mut state = self.state.lock();
        if state
            .notification
            .as_ref()
            .is_some_and(|n| std::ptr::eq(n.group.as_ptr(), Arc::as_ptr(group)))
        {
            state.notification = None;
        }
    }
}

/// See [`Queue::wait_for_message`].
pub struct Receiver(Arc<Queue>);

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.state.lock().receivers -= 1;
    }
}

impl Notification {
    fn tell(self, sender: &CurrentTask) {
        let (Some(group), Some(signal)) = (self.group.upgrade(), self.signal) else {
            return;
        };
        let pid = sender.group.pid.in_namespace(group.pid.namespace());
        let info = SigInfo::queued(signal, code::SI_MESGQ, pid, sender.creds().uid, self.value);
        // A full queue of signals loses it, as in Linux.
        let _ = send::process_signal(&group, info);
    }
}

impl FileOps for QueueFile {
    /// The state as text, as in the mqueue file system.
    fn read_at(&self, _cx: IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        let text = {
            let state = self.queue.state.lock();
            let signal = state
                .notification
                .as_ref()
                .and_then(|n| n.signal)
                .map_or(0, Signal::number);
            let pid = state
                .notification
                .as_ref()
                .and_then(|n| n.group.upgrade())
                .map_or(0, |group| group.pid.local());
            format!(
                "QSIZE:{:<10} NOTIFY:0     SIGNO:{signal:<5} NOTIFY_PID:{pid:<6}\n",
                state.bytes
            )
        };
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(text.len());
        Ok(dst.put(&text.as_bytes()[from..])?)
    }
    fn seekable(&self) -> bool {
        true
    }
    fn readiness(&self) -> Events {
        let state = self.queue.state.lock();
        let mut events = Events::empty();
        if state.count > 0 {
            events |= Events::IN | Events::RDNORM;
        }
        if state.count < self.queue.max_messages {
            events |= Events::OUT | Events::WRNORM;
        }
        events
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue.queue)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        [b"/", self.name.as_slice()].concat()
    }
}
