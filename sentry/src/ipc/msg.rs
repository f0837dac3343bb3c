//! System V message queues (`msgop(2)`, `ipc/msg.c`).

use std::collections::VecDeque;

use abi::ipc::{MSG_COPY, MSG_EXCEPT, MSG_NOERROR, MsqidDs};
use parking_lot::Mutex;

use super::{Permissions, Registry};
use crate::error::{Errno, Result};
use crate::task::CurrentTask;
use crate::task::creds::Cap;
use crate::time;
use crate::wait::{Events, WaitQueue};

/// Most queues in a namespace. Linux allows more, against the memory cgroup.
pub const MSGMNI: usize = 4096;
/// Largest message.
pub const MSGMAX: usize = 8192;
/// Bytes that a new queue holds.
pub const MSGMNB: u64 = 16384;

struct Message {
    kind: i64,
    text: Vec<u8>,
}

struct State {
    permissions: Permissions,
    messages: VecDeque<Message>,
    bytes: u64,
    capacity: u64,
    sent: i64,
    received: i64,
    changed: i64,
    last_sender: i32,
    last_receiver: i32,
    removed: bool,
}

/// A message queue.
pub struct MessageQueue {
    state: Mutex<State>,
    queue: WaitQueue,
}

/// All queues of a namespace.
pub type Queues = Registry<MessageQueue>;

fn seconds() -> i64 {
    time::now().sec
}

impl MessageQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(permissions: Permissions) -> Self {
        Self {
            state: Mutex::new(State {
                permissions,
                messages: VecDeque::new(),
                bytes: 0,
                capacity: MSGMNB,
                sent: 0,
                received: 0,
                changed: seconds(),
                last_sender: 0,
                last_receiver: 0,
                removed: false,
            }),
            queue: WaitQueue::new(),
        }
    }
    /// Owner and mode.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        self.state.lock().permissions
    }
    /// Notified with IN for a new message, with OUT for new room.
    #[must_use]
    pub const fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Adds a message: `EAGAIN` if there is no room, `EIDRM` if the queue is gone.
    pub fn send(&self, pid: i32, kind: i64, text: &[u8]) -> Result<()> {
        {
            let mut state = self.state.lock();
            if state.removed {
                return Err(Errno::EIDRM);
            }
            let len = text.len() as u64;
            // Empty messages are bounded by their number.
            if state.bytes + len > state.capacity
                || state.messages.len() as u64 + 1 > state.capacity
            {
                return Err(Errno::EAGAIN);
            }
            state.bytes += len;
            state.messages.push_back(Message {
                kind,
                text: text.to_vec(),
            });
            state.sent = seconds();
            state.last_sender = pid;
        }
        self.queue.notify(Events::IN);
        Ok(())
    }

    /// Takes the message that `wanted` and `flags` choose, of at most `max` bytes: `EAGAIN` if there is none, `E2BIG` if it is longer and MSG_NOERROR
    /// is not given.
    pub fn receive(&self, pid: i32, max: usize, wanted: i64, flags: i32) -> Result<(i64, Vec<u8>)> {
        let message = {
            let mut state = self.state.lock();
            if state.removed {
                return Err(Errno::EIDRM);
            }
            let at = choose(&state.messages, wanted, flags).ok_or(Errno::EAGAIN)?;
            if state.messages[at].text.len() > max && flags & MSG_NOERROR == 0 {
                return Err(Errno::E2BIG);
            }
            if flags & MSG_COPY != 0 {
                let message = &state.messages[at];
                let end = message.text.len().min(max);
                return Ok((message.kind, message.text[..end].to_vec()));
            }
            let message = state.messages.remove(at).ok_or(Errno::EAGAIN)?;
            state.bytes -= message.text.len() as u64;
            state.received = seconds();
            state.last_receiver = pid;
            message
        };
        self.queue.notify(Events::OUT);
        let Message { kind, mut text } = message;
        text.truncate(max);
        Ok((kind, text))
    }

    /// IPC_STAT.
    #[must_use]
    pub fn stat(&self, id: i32) -> MsqidDs {
        let state = self.state.lock();
        MsqidDs {
            perm: state.permissions.show(id),
            stime: state.sent,
            rtime: state.received,
            ctime: state.changed,
            cbytes: state.bytes,
            qnum: state.messages.len() as u64,
            qbytes: state.capacity,
            lspid: state.last_sender,
            lrpid: state.last_receiver,
            ..MsqidDs::default()
        }
    }
    /// IPC_SET: raising the capacity above MSGMNB needs CAP_SYS_RESOURCE (`EPERM`).
    pub fn set(&self, task: &CurrentTask, new: &MsqidDs) -> Result<()> {
        {
            let mut state = self.state.lock();
            let creds = task.creds();
            state.permissions.check_owner(&creds)?;
            if new.qbytes > MSGMNB {
                creds.require(Cap::SYS_RESOURCE)?;
                // More would be the sentry's memory.
                if new.qbytes > 64 * MSGMNB {
                    return Err(Errno::EINVAL);
                }
            }
            state.permissions.set(&new.perm)?;
            state.capacity = new.qbytes;
            state.changed = seconds();
        }
        self.queue.notify(Events::all());
        Ok(())
    }
    /// IPC_RMID: who waits gets `EIDRM`.
    pub fn retire(&self) {
        {
            let mut state = self.state.lock();
            state.removed = true;
            state.messages.clear();
            state.bytes = 0;
        }
        self.queue.notify(Events::all());
    }
}

/// Which message a receiver gets.
fn choose(messages: &VecDeque<Message>, wanted: i64, flags: i32) -> Option<usize> {
    if flags & MSG_COPY != 0 {
        return usize::try_from(wanted)
            .ok()
            .filter(|at| *at < messages.len());
    }
    match wanted {
        0 => (!messages.is_empty()).then_some(0),
        1.. if flags & MSG_EXCEPT != 0 => messages.iter().position(|m| m.kind != wanted),
        1.. => messages.iter().position(|m| m.kind == wanted),
        _ => {
            let limit = wanted.checked_neg().unwrap_or(i64::MAX);
            messages
                .iter()
                .enumerate()
                .filter(|(_, m)| m.kind <= limit)
                .min_by_key(|(at, m)| (m.kind, *at))
                .map(|(at, _)| at)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::creds::Creds;

    fn filled() -> MessageQueue {
        let queue = MessageQueue::new(Permissions::new(&Creds::root(), 0, 0o600));
        for (kind, text) in [(3, "three"), (1, "one"), (2, "two"), (1, "uno")] {
            queue.send(5, kind, text.as_bytes()).unwrap();
        }
        queue
    }

    fn text(queue: &MessageQueue, wanted: i64, flags: i32) -> Result<String> {
        let (_, text) = queue.receive(6, 100, wanted, flags)?;
        Ok(String::from_utf8(text).unwrap())
    }

    #[test]
    fn receivers_choose_by_type() {
        let queue = filled();
        assert_eq!(text(&queue, 3, MSG_COPY).unwrap(), "uno");
        assert_eq!(text(&queue, -2, 0).unwrap(), "one");
        assert_eq!(text(&queue, 2, 0).unwrap(), "two");
        assert_eq!(text(&queue, 3, MSG_EXCEPT).unwrap(), "uno");
        assert_eq!(text(&queue, 9, 0), Err(Errno::EAGAIN));
        assert_eq!(text(&queue, 0, 0).unwrap(), "three");
        assert_eq!(text(&queue, 0, 0), Err(Errno::EAGAIN));
        assert_eq!(queue.stat(0).cbytes, 0);
    }

    #[test]
    fn long_messages_stay_unless_they_may_be_cut() {
        let queue = filled();
        assert_eq!(queue.receive(6, 2, 3, 0).err(), Some(Errno::E2BIG));
        assert_eq!(queue.receive(6, 2, 3, MSG_NOERROR).unwrap().1, b"th");
    }

    #[test]
    fn a_full_or_removed_queue_refuses() {
        let queue = filled();
        let chunk = vec![0; MSGMAX];
        assert_eq!(queue.send(1, 1, &chunk), Ok(()));
        assert_eq!(queue.send(1, 1, &chunk), Err(Errno::EAGAIN));
        queue.retire();
        assert_eq!(queue.send(1, 1, b""), Err(Errno::EIDRM));
        assert_eq!(text(&queue, 0, 0), Err(Errno::EIDRM));
    }
}
