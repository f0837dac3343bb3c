//! What UDP, raw and ping sockets have in common: the packets that wait, the errors, the options.
//!
//! Lock order: each lock here is a leaf; the queue is notified with none held.

use std::collections::VecDeque;

use abi::socket as so;
use abi::{UserAddr, UserOut};
use parking_lot::Mutex;

use super::control::{Failure, Meta};
use super::options::{Asker, Kind, ProtocolOptions};
use super::{Endpoint, Family};
use crate::error::{Errno, Result, SysResult};
use crate::socket::Message;
use crate::socket::filter::{self, SO_ATTACH_FILTER, SO_DETACH_FILTER, Seen};
use crate::socket::inbox::{BOTH, OVERHEAD, RECEIVE, SEND};
use crate::socket::options::{Options, cut};
use crate::task::CurrentTask;
use crate::vfs::Sink;
use crate::wait::{Events, WaitQueue};

/// Most entries of an error queue.
const MOST_FAILURES: usize = 64;

/// A packet that waits to be read.
pub(super) struct Datagram {
    pub(super) bytes: Vec<u8>,
    pub(super) from: Endpoint,
    pub(super) meta: Meta,
}

#[derive(Default)]
struct Waiting {
    packets: VecDeque<Datagram>,
    /// Bytes with overhead.
    used: usize,
    failures: VecDeque<Failure>,
    error: Option<Errno>,
    shutdown: u8,
    closed: bool,
    lost: u32,
    /// When the last packet that was read had come.
    last_time_ns: Option<u64>,
    /// SO_PEEK_OFF; negative: off.
    peek_offset: i32,
}

/// See the module.
pub(super) struct Datagrams {
    pub(super) asker: Asker,
    waiting: Mutex<Waiting>,
    pub(super) queue: WaitQueue,
    pub(super) options: Mutex<Options>,
    pub(super) protocol: Mutex<ProtocolOptions>,
    filter: filter::Slot,
}

impl Datagrams {
    pub(super) fn new(kind: Kind, family: Family, protocol: ProtocolOptions) -> Self {
        Self {
            asker: Asker { kind, family },
            waiting: Mutex::new(Waiting {
                peek_offset: -1,
                ..Waiting::default()
            }),
            queue: WaitQueue::new(),
            options: Mutex::default(),
            protocol: Mutex::new(protocol),
            filter: filter::Slot::default(),
        }
    }

    /// Keeps a packet; what finds no room is lost and counted.
    pub(super) fn deliver(&self, mut packet: Datagram) {
        if !self.passes(&mut packet) {
            let mut waiting = self.waiting.lock();
            waiting.lost = waiting.lost.saturating_add(1);
            return;
        }
        let room = self.options.lock().rcvbuf;
        {
            let mut waiting = self.waiting.lock();
            let cost = packet.bytes.len() + OVERHEAD;
            if waiting.closed {
                return;
            }
            if waiting.used + cost > room.max(OVERHEAD) {
                waiting.lost = waiting.lost.saturating_add(1);
                return;
            }
            packet.meta.lost = waiting.lost;
            waiting.used += cost;
            waiting.packets.push_back(packet);
        }
        self.queue.notify(Events::IN | Events::RDNORM);
    }

    /// Whether the socket's filter lets a packet through, of which it may keep the beginning only.
    fn passes(&self, packet: &mut Datagram) -> bool {
        let Some(filter) = self.filter.get() else {
            return true;
        };
        let mut head = Vec::new();
        if self.asker.kind == Kind::Udp {
            // The filter sees UDP's header.
            let len = u16::try_from(8 + packet.bytes.len()).unwrap_or(u16::MAX);
            for number in [packet.from.port, packet.meta.to.port, len, 0] {
                head.extend(number.to_be_bytes());
            }
        }
        let kept = filter.run(Seen {
            head: &head,
            bytes: &packet.bytes,
        });
        packet.bytes.truncate(kept.saturating_sub(head.len()));
        kept > 0
    }

    /// Whether the guest wants an error queue for packets to `to`.
    pub(super) fn wants_failures(&self, to: Endpoint) -> bool {
        let protocol = self.protocol.lock();
        if to.ip.is_ipv4() && self.asker.family == Family::V4 {
            protocol.is_on(so::IPPROTO_IP, super::names::IP_RECVERR)
        } else {
            protocol.is_on(so::IPPROTO_IPV6, super::names::IPV6_RECVERR)
        }
    }

    /// Tells of an error, by the queue as well if the guest wants that.
    pub(super) fn fail(&self, failure: Failure) {
        let queued = self.wants_failures(failure.to);
        {
            let mut waiting = self.waiting.lock();
            waiting.error = Some(failure.errno);
            if queued && waiting.failures.len() < MOST_FAILURES {
                waiting.failures.push_back(failure);
            }
        }
        self.queue.notify(Events::ERR | Events::IN | Events::OUT);
    }

    /// The error that is to be told, once.
    pub(super) fn take_error(&self) -> Option<Errno> {
        self.waiting.lock().error.take()
    }

    /// Whether this may send: what is to be told, or `EPIPE` after a shutdown.
    pub(super) fn check_send(&self) -> Result<()> {
        let mut waiting = self.waiting.lock();
        if let Some(error) = waiting.error.take() {
            return Err(error);
        }
        if waiting.shutdown & SEND != 0 {
            return Err(Errno::EPIPE);
        }
        Ok(())
    }

    /// Receives one packet, or with MSG_ERRQUEUE one error.
    pub(super) fn receive(&self, dst: &mut dyn Sink, flags: i32) -> Result<Message> {
        if flags & so::MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if flags & so::MSG_ERRQUEUE != 0 {
            return self.receive_failure(dst, flags);
        }
        let peek = flags & so::MSG_PEEK != 0;
        let (bytes, from, meta) = {
            let mut waiting = self.waiting.lock();
            if let Some(error) = waiting.error.take() {
                return Err(error);
            }
            if waiting.packets.is_empty() {
                return if waiting.shutdown & RECEIVE != 0 {
                    Ok(Message::default())
                } else {
                    Err(Errno::EAGAIN)
                };
            }
            if peek {
                let skip = usize::try_from(waiting.peek_offset).unwrap_or(0);
                let front = &waiting.packets[0];
                let rest = front.bytes.get(skip..).unwrap_or_default().to_vec();
                let result = (rest, front.from, front.meta);
                if waiting.peek_offset >= 0 {
                    let seen = result.0.len().min(dst.remaining());
                    waiting.peek_offset = (skip + seen).min(i32::MAX as usize) as i32;
                }
                result
            } else {
                let Some(packet) = waiting.packets.pop_front() else {
                    return Err(Errno::EAGAIN);
                };
                waiting.used -= packet.bytes.len() + OVERHEAD;
                waiting.last_time_ns = Some(packet.meta.time_ns);
                if waiting.peek_offset > 0 {
                    let read = packet.bytes.len().min(i32::MAX as usize) as i32;
                    waiting.peek_offset = (waiting.peek_offset - read).max(0);
                }
                (packet.bytes, packet.from, packet.meta)
            }
        };
        let fits = bytes.len().min(dst.remaining());
        if fits > 0 && dst.put(&bytes[..fits])? < fits {
            return Err(Errno::EFAULT);
        }
        let control = {
            let options = self.options.lock();
            meta.shown(&options, &self.protocol.lock(), self.asker.family)
        };
        let whole = flags & so::MSG_TRUNC != 0;
        Ok(Message {
            len: if whole { bytes.len() } else { fits },
            from: Some(from.show(self.asker.family)),
            control,
            flags: if fits < bytes.len() { so::MSG_TRUNC } else { 0 },
            ..Message::default()
        })
    }

    fn receive_failure(&self, dst: &mut dyn Sink, flags: i32) -> Result<Message> {
        let failure = {
            let mut waiting = self.waiting.lock();
            let failure = if flags & so::MSG_PEEK == 0 {
                waiting.failures.pop_front()
            } else {
                waiting.failures.front().cloned()
            };
            let failure = failure.ok_or(Errno::EAGAIN)?;
            // What the next one says is the socket's error now.
            waiting.error = waiting.failures.front().map(|next| next.errno);
            failure
        };
        let fits = failure.payload.len().min(dst.remaining());
        if fits > 0 && dst.put(&failure.payload[..fits])? < fits {
            return Err(Errno::EFAULT);
        }
        let truncated = if fits < failure.payload.len() {
            so::MSG_TRUNC
        } else {
            0
        };
        Ok(Message {
            len: fits,
            from: Some(failure.to.show(self.asker.family)),
            control: vec![failure.control(self.asker.family)],
            flags: so::MSG_ERRQUEUE | truncated,
            ..Message::default()
        })
    }

    pub(super) fn readiness(&self) -> Events {
        let waiting = self.waiting.lock();
        let mut events = Events::OUT | Events::WRNORM | Events::WRBAND;
        if !waiting.packets.is_empty() {
            events |= Events::IN | Events::RDNORM;
        }
        if waiting.shutdown & RECEIVE != 0 {
            events |= Events::IN | Events::RDNORM | Events::RDHUP;
        }
        if waiting.shutdown == BOTH {
            events |= Events::HUP;
        }
        if waiting.error.is_some() || !waiting.failures.is_empty() {
            events |= Events::ERR;
        }
        events
    }

    /// `shutdown(2)` of a connected socket.
    pub(super) fn shut(&self, how: i32) -> Result<()> {
        let how = match how {
            so::SHUT_RD => RECEIVE,
            so::SHUT_WR => SEND,
            so::SHUT_RDWR => BOTH,
            _ => return Err(Errno::EINVAL),
        };
        self.waiting.lock().shutdown |= how;
        self.queue.notify(Events::all());
        Ok(())
    }

    pub(super) fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        let gone = std::mem::take(&mut waiting.packets);
        waiting.used = 0;
        drop(waiting);
        drop(gone);
    }

    /// Bytes with overhead that wait.
    pub(super) fn used(&self) -> usize {
        self.waiting.lock().used
    }

    /// How many packets were lost for want of room.
    pub(super) fn lost(&self) -> u32 {
        self.waiting.lock().lost
    }

    /// Requests that every such socket has, and those of interfaces.
    pub(super) fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        const SIOCGSTAMP: u32 = 0x8906;
        const SIOCGSTAMPNS: u32 = 0x8907;
        let count = match request {
            so::FIONREAD => self
                .waiting
                .lock()
                .packets
                .front()
                .map_or(0, |packet| packet.bytes.len()),
            so::SIOCOUTQ => 0,
            SIOCGSTAMP | SIOCGSTAMPNS => {
                let ns = self.waiting.lock().last_time_ns.ok_or(Errno::ENOENT)?;
                let (sec, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
                let unit = if request == SIOCGSTAMP { 1000 } else { 1 };
                let value = [sec, rest / unit];
                task.memory().put(UserOut::new(UserAddr(arg)), &value)?;
                return Ok(0);
            }
            _ => return crate::socket::interface::ioctl(task, request, arg),
        };
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        task.memory().put(UserOut::new(UserAddr(arg)), &count)?;
        Ok(0)
    }

    /// Options of SOL_SOCKET; `kind` is the socket's type and protocol.
    pub(super) fn get_socket_option(
        &self,
        kind: (i32, i32),
        name: i32,
        max: usize,
    ) -> Result<Vec<u8>> {
        let number = match name {
            so::SO_DOMAIN => self.asker.family.number(),
            so::SO_TYPE => kind.0,
            so::SO_PROTOCOL => kind.1,
            so::SO_ACCEPTCONN => 0,
            so::SO_ERROR => self.take_error().map_or(0, Errno::raw),
            so::SO_PEEK_OFF if self.asker.kind == Kind::Udp => self.waiting.lock().peek_offset,
            so::SO_LOCK_FILTER => i32::from(self.filter.is_locked()),
            so::SO_PASSCRED => return Err(Errno::EOPNOTSUPP),
            so::SO_PEERCRED => return Ok(cut(&super::NOBODY, max)),
            name => return self.options.lock().get(name, max),
        };
        Ok(cut(&number.to_ne_bytes(), max))
    }

    /// Sets an option of SOL_SOCKET.
    pub(super) fn set_socket_option(
        &self,
        task: &CurrentTask,
        name: i32,
        value: &[u8],
    ) -> Result<()> {
        match name {
            so::SO_PEEK_OFF if self.asker.kind == Kind::Udp => {
                self.waiting.lock().peek_offset = crate::socket::options::int(value)?;
                Ok(())
            }
            SO_ATTACH_FILTER => self.filter.attach(task, value),
            SO_DETACH_FILTER => self.filter.detach(value),
            so::SO_LOCK_FILTER => self.filter.lock(value),
            so::SO_BINDTODEVICE => super::bind_to_device(task, &self.options, value),
            name => self.options.lock().set(&task.creds(), name, value),
        }
    }

    pub(super) fn timeout_ns(&self, send: bool) -> Option<u64> {
        let options = self.options.lock();
        if send {
            options.send_timeout_ns
        } else {
            options.receive_timeout_ns
        }
    }

    /// Whether a packet that came through `interface` is for this socket (SO_BINDTODEVICE).
    pub(super) fn takes_from(&self, interface: u32) -> bool {
        let device = self.options.lock().device();
        device.is_none_or(|device| device == interface)
    }
}
