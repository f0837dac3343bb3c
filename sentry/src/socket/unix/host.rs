//! A guest's socket that is connected to one of the host (`--host-uds=open`): bytes and messages pass through, descriptors and credentials do not.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::gofer::client::SocketKind;
use abi::fs::S_IFSOCK;
use abi::socket as so;

use super::address::{self, Target};
use super::{ALL_EVENTS, Kind, Link, UnixSocket};
use crate::error::{Errno, Result};
use crate::fs::gofer::special;
use crate::fs::host_file::HostStream;
use crate::host;
use crate::socket::{Message, SockAddr};
use crate::task::CurrentTask;
use crate::vfs::{Access, Sink, Source, check_access};
use crate::wait::Events;

/// Most bytes of a stream that one call moves.
const PIECE: usize = 64 * 1024;
/// Most bytes of a message: more than the host's default buffers take.
const MESSAGE: usize = 256 * 1024;
/// When to look again whether a listener of the host, which tells nobody, has room.
const RETRY: Duration = Duration::from_millis(10);

/// The host's side.
pub(super) struct HostPeer {
    fd: Arc<OwnedFd>,
    stream: Arc<HostStream>,
    addr: SockAddr,
}

fn kind_of(kind: Kind) -> SocketKind {
    match kind {
        Kind::Stream => SocketKind::Stream,
        Kind::Datagram => SocketKind::Datagram,
        Kind::SeqPacket => SocketKind::SeqPacket,
    }
}

impl UnixSocket {
    /// The host's side of a socket that has one.
    pub(super) fn host_peer(&self) -> Option<Arc<HostPeer>> {
        match &self.state.lock().link {
            Link::Host(peer) => Some(peer.clone()),
            _ => None,
        }
    }

    /// Connects to a socket of the host, if `target` is one: `None` if it is the sandbox's business.
    fn dial(&self, task: &CurrentTask, target: &Target) -> Option<Result<OwnedFd>> {
        let Target::Path(path) = target else {
            return None;
        };
        let path = address::look_up(task, path).ok()?;
        let inode = path.inode();
        let attr = inode.attr().ok()?;
        if attr.file_type() != S_IFSOCK || inode.shared.socket.lock().is_some() {
            return None;
        }
        check_access(&attr, &task.creds(), Access::WRITE).ok()?;
        special::connect(task.task(), inode, kind_of(self.kind))
    }

    /// `connect(2)` to a socket of the host; `None` as [`UnixSocket::dial`].
    pub(super) fn connect_to_host(
        &self,
        task: &CurrentTask,
        target: &Target,
        addr: &[u8],
    ) -> Option<Result<()>> {
        let connected = match self.dial(task, target)? {
            Ok(connected) => connected,
            Err(Errno::EAGAIN) => {
                let queue = self.queue.clone();
                let again: Arc<dyn Fn() + Send + Sync> = Arc::new(move || queue.notify(ALL_EVENTS));
                let timer = task.kernel.reactor.call_at(Instant::now() + RETRY, again);
                *self.retry.lock() = Some(timer);
                return Some(Err(Errno::EAGAIN));
            }
            Err(errno) => return Some(Err(errno)),
        };
        Some(self.link_to_host(task, connected, addr))
    }

    fn link_to_host(&self, task: &CurrentTask, connected: OwnedFd, addr: &[u8]) -> Result<()> {
        let reactor = task.kernel.reactor.clone();
        let stream = HostStream::with_queue(reactor, connected, true, self.queue.clone())?;
        let peer = Arc::new(HostPeer {
            fd: stream.descriptor(),
            stream,
            addr: addr.to_vec(),
        });
        let old = {
            let mut state = self.state.lock();
            match &state.link {
                Link::None => {}
                Link::Peer(_) | Link::Host(_) if self.kind == Kind::Datagram => {}
                Link::Peer(_) | Link::Host(_) => return Err(Errno::EISCONN),
                Link::Listening { .. } => return Err(Errno::EINVAL),
            }
            std::mem::replace(&mut state.link, Link::Host(peer))
        };
        drop(old);
        self.wake(ALL_EVENTS);
        Ok(())
    }

    /// Sends one datagram to a socket of the host; `None` as [`UnixSocket::dial`].
    pub(super) fn send_to_host(
        &self,
        task: &CurrentTask,
        src: &mut dyn Source,
        to: &[u8],
    ) -> Option<Result<usize>> {
        let target = address::parse(to).ok()?;
        let connected = self.dial(task, &target)?;
        Some(connected.and_then(|fd| send_message(&fd, src)))
    }
}

fn send_message(fd: &OwnedFd, src: &mut dyn Source) -> Result<usize> {
    let len = src.remaining();
    if len > MESSAGE {
        return Err(Errno::EMSGSIZE);
    }
    let mut bytes = vec![0; len];
    // They are taken when the host has them: it may have to be tried again.
    if src.peek(&mut bytes)? < len {
        return Err(Errno::EFAULT);
    }
    let sent = host::send(fd, &bytes)?;
    src.take(&mut bytes)?;
    Ok(sent)
}

impl HostPeer {
    pub(super) fn address(&self) -> SockAddr {
        self.addr.clone()
    }

    /// `EAGAIN` until the host takes some.
    pub(super) fn send(&self, kind: Kind, src: &mut dyn Source) -> Result<usize> {
        if kind != Kind::Stream {
            return self.waiting(Events::OUT, send_message(&self.fd, src));
        }
        let mut bytes = vec![0; PIECE.min(src.remaining())];
        let seen = src.peek(&mut bytes)?;
        let sent = host::send(&self.fd, bytes.get(..seen).unwrap_or(&[]));
        let sent = self.waiting(Events::OUT, sent)?;
        src.take(bytes.get_mut(..sent).unwrap_or(&mut []))?;
        Ok(sent)
    }

    /// `EAGAIN` until there is something.
    pub(super) fn receive(&self, kind: Kind, dst: &mut dyn Sink, flags: i32) -> Result<Message> {
        let room = if kind == Kind::Stream { PIECE } else { MESSAGE };
        let mut buf = vec![0; dst.remaining().min(room)];
        let asked = flags & so::MSG_PEEK
            | if kind == Kind::Stream {
                0
            } else {
                so::MSG_TRUNC
            };
        let whole = self.waiting(Events::IN, host::receive(&self.fd, &mut buf, asked))?;
        let got = buf.get(..whole.min(buf.len())).unwrap_or(&[]);
        let put = dst.put(got)?;
        let cut = kind != Kind::Stream && whole > got.len();
        Ok(Message {
            len: if flags & so::MSG_TRUNC != 0 {
                whole
            } else {
                put
            },
            flags: if cut { so::MSG_TRUNC } else { 0 },
            ..Message::default()
        })
    }

    /// Has the queue told when what failed may go on.
    fn waiting<T>(&self, events: Events, result: Result<T>) -> Result<T> {
        if matches!(result, Err(Errno::EAGAIN)) {
            self.stream.arm(events);
        }
        result
    }

    pub(super) fn readiness(&self) -> Events {
        self.stream.readiness()
    }

    /// `shutdown(2)` with Linux's `SHUT_*`.
    pub(super) fn shut(&self, how: i32) -> Result<()> {
        host::shutdown(&self.fd, how)
    }

    /// FIONREAD and SIOCOUTQ.
    pub(super) fn count(&self, request: u32) -> Result<i32> {
        let mut count = [0; 4];
        host::ioctl_buffer(&self.fd, request.into(), &mut count)?;
        Ok(i32::from_ne_bytes(count))
    }
}
