//! What files and the socket calls see of a Unix socket.

use std::any::Any;
use std::sync::Arc;

use abi::socket as so;
use abi::{UserAddr, UserOut};
use zerocopy::IntoBytes;

use super::transfer::Attachment;
use super::{Identity, Kind, Link, UnixFile, address};
use crate::error::{Errno, Result, SysResult};
use crate::socket::in_flight::InFlight;
use crate::socket::inbox::{BOTH, RECEIVE, SEND};
use crate::socket::options::cut;
use crate::socket::{ControlMessage, Message, SockAddr, SocketOps, raise_sigpipe};
use crate::task::CurrentTask;
use crate::task::limits::Resource;
use crate::vfs::{File, FileOps, IoCx, Sink, Source};
use crate::wait::{Events, WaitQueue};

impl UnixFile {
    fn attach(
        task: &CurrentTask,
        control: &[ControlMessage],
        files: Vec<Arc<File>>,
    ) -> Result<Attachment> {
        let mut identity = Identity::real(task);
        for message in control {
            if message.level != so::SOL_SOCKET {
                continue;
            }
            match message.kind {
                so::SCM_CREDENTIALS => identity = Identity::claimed(task, &message.data)?,
                so::SCM_RIGHTS => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        let creds = task.creds();
        let limit = if creds.has(crate::task::creds::Cap::SYS_RESOURCE) {
            crate::vfs::NR_OPEN as u64
        } else {
            task.group.limit(Resource::Nofile)
        };
        Ok(Attachment {
            identity: Some(identity),
            files: InFlight::new(files, creds.uid, limit)?,
        })
    }

    fn send_any(
        &self,
        task: &CurrentTask,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        control: &[ControlMessage],
        files: Vec<Arc<File>>,
    ) -> Result<usize> {
        if let (Some(host), None) = (self.socket.host_peer(), to) {
            // There is nobody whom the host's side could be shown.
            return if files.is_empty() {
                host.send(self.socket.kind, src)
            } else {
                Err(Errno::EOPNOTSUPP)
            };
        }
        if let (Kind::Datagram, Some(to)) = (self.socket.kind, to)
            && files.is_empty()
            && let Some(sent) = self.socket.send_to_host(task, src, to)
        {
            return sent;
        }
        let attach = || Self::attach(task, control, files);
        if self.socket.kind != Kind::Stream {
            return self.socket.send_packet(task, src, to, attach);
        }
        if to.is_some() {
            let connected = self.socket.peer().is_some() || self.socket.host_peer().is_some();
            return Err(if connected {
                Errno::EISCONN
            } else {
                Errno::EOPNOTSUPP
            });
        }
        self.socket.send_stream(src, attach)
    }

    fn receive_any(
        &self,
        task: Option<&CurrentTask>,
        dst: &mut dyn Sink,
        flags: i32,
    ) -> Result<Message> {
        if let Some(host) = self.socket.host_peer() {
            return host.receive(self.socket.kind, dst, flags);
        }
        match self.socket.kind {
            Kind::Stream => self.socket.receive_stream(task, dst, flags),
            _ => self.socket.receive_packet(task, dst, flags),
        }
    }
}

impl FileOps for UnixFile {
    fn read_at(&self, cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        // Descriptors that nobody asked for are closed.
        Ok(self.receive_any(cx.task, dst, 0)?.len)
    }

    fn write_at(
        &self,
        cx: IoCx<'_>,
        _offset: u64,
        src: &mut dyn Source,
    ) -> SysResult<(usize, u64)> {
        let task = cx.task.ok_or(Errno::EINVAL)?;
        let sent = self.send_any(task, src, None, &[], Vec::new());
        if sent == Err(Errno::EPIPE) && self.socket.kind == Kind::Stream {
            raise_sigpipe(task);
        }
        Ok((sent?, 0))
    }

    fn readiness(&self) -> Events {
        if let Some(host) = self.socket.host_peer() {
            return host.readiness();
        }
        let (listening, waiting, connected) = match &self.socket.state.lock().link {
            Link::Listening { pending, .. } => (true, !pending.is_empty(), false),
            Link::Peer(_) => (false, false, true),
            Link::None | Link::Host(_) => (false, false, false),
        };
        let (readable, shutdown, error) = {
            let inbox = self.socket.inbox.lock();
            (!inbox.is_empty(), inbox.shutdown, inbox.error.is_some())
        };
        let mut events = Events::empty();
        if error {
            events |= Events::ERR;
        }
        if shutdown == BOTH {
            events |= Events::HUP;
        }
        if shutdown & RECEIVE != 0 {
            events |= Events::RDHUP | Events::IN | Events::RDNORM;
        }
        if readable || waiting {
            events |= Events::IN | Events::RDNORM;
        }
        if self.socket.kind != Kind::Datagram && !connected && !listening {
            events |= Events::HUP;
        }
        if self.socket.is_writable() {
            events |= Events::OUT | Events::WRNORM | Events::WRBAND;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.socket.queue)
    }

    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        if let (Some(host), so::FIONREAD | so::SIOCOUTQ) = (self.socket.host_peer(), request) {
            let count = host.count(request)?;
            task.memory().put(UserOut::new(UserAddr(arg)), &count)?;
            return Ok(0);
        }
        let listening = matches!(self.socket.state.lock().link, Link::Listening { .. });
        let count = match request {
            so::FIONREAD => {
                if listening {
                    return Err(Errno::EINVAL.into());
                }
                let inbox = self.socket.inbox.lock();
                match self.socket.kind {
                    Kind::Datagram => inbox.front().map_or(0, |p| p.bytes().len()),
                    _ => inbox.bytes(),
                }
            }
            so::SIOCOUTQ => match self.socket.peer() {
                Some(peer) => peer.inbox.lock().used(),
                None => 0,
            },
            _ => return crate::socket::interface::ioctl(task, request, arg),
        };
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        task.memory().put(UserOut::new(UserAddr(arg)), &count)?;
        Ok(0)
    }

    fn as_socket(&self) -> Option<&dyn SocketOps> {
        Some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn anonymous_name(&self) -> Vec<u8> {
        format!("socket:[{}]", self.ino).into_bytes()
    }
}

impl SocketOps for UnixFile {
    fn kind(&self) -> (i32, i32, i32) {
        (so::AF_UNIX, self.socket.kind.number(), 0)
    }

    fn bind(&self, task: &CurrentTask, addr: &[u8]) -> Result<()> {
        address::bind(task, &self.socket, addr)
    }

    fn listen(&self, task: &CurrentTask, backlog: i32) -> Result<()> {
        self.socket.start_listening(task, backlog)
    }

    fn connect(&self, task: &CurrentTask, addr: &[u8]) -> Result<()> {
        self.socket.start_connecting(task, addr)
    }

    fn accept(&self, task: &CurrentTask) -> Result<(Arc<File>, SockAddr)> {
        let socket = self.socket.accept_one()?;
        let from = socket
            .peer()
            .map_or_else(|| address::shown(None), |peer| peer.address());
        Ok((super::open(task, socket), from))
    }

    fn send(
        &self,
        task: &CurrentTask,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        control: Vec<ControlMessage>,
        files: Vec<Arc<File>>,
        flags: i32,
    ) -> SysResult<usize> {
        if flags & so::MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        Ok(self.send_any(task, src, to, &control, files)?)
    }

    fn receive(&self, task: &CurrentTask, dst: &mut dyn Sink, flags: i32) -> SysResult<Message> {
        if flags & so::MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        Ok(self.receive_any(Some(task), dst, flags)?)
    }

    fn shutdown(&self, how: i32) -> Result<()> {
        if let Some(host) = self.socket.host_peer() {
            return host.shut(how);
        }
        let how = match how {
            so::SHUT_RD => RECEIVE,
            so::SHUT_WR => SEND,
            so::SHUT_RDWR => BOTH,
            _ => return Err(Errno::EINVAL),
        };
        self.socket.shut(how);
        Ok(())
    }

    fn local_addr(&self) -> Result<SockAddr> {
        Ok(self.socket.address())
    }

    fn peer_addr(&self) -> Result<SockAddr> {
        if let Some(host) = self.socket.host_peer() {
            return Ok(host.address());
        }
        Ok(self.socket.peer().ok_or(Errno::ENOTCONN)?.address())
    }

    fn get_option(&self, task: &CurrentTask, level: i32, name: i32, max: usize) -> Result<Vec<u8>> {
        if level != so::SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let number = match name {
            so::SO_DOMAIN => so::AF_UNIX,
            so::SO_TYPE => self.socket.kind.number(),
            so::SO_PROTOCOL => 0,
            so::SO_ERROR => self.socket.inbox.lock().error.take().map_or(0, Errno::raw),
            so::SO_ACCEPTCONN => i32::from(matches!(
                self.socket.state.lock().link,
                Link::Listening { .. }
            )),
            so::SO_PEERCRED => {
                let identity = self.socket.state.lock().peer_identity.clone();
                let ucred = identity.map_or(
                    so::Ucred {
                        pid: 0,
                        uid: u32::MAX,
                        gid: u32::MAX,
                    },
                    |identity| identity.ucred(&task.pid_namespace(), &task.creds().user_ns),
                );
                return Ok(cut(ucred.as_bytes(), max));
            }
            so::SO_PEERGROUPS => {
                let identity = self.socket.state.lock().peer_identity.clone();
                let groups = identity.ok_or(Errno::ENODATA)?.groups;
                let users = &task.creds().user_ns;
                let shown = groups.iter().map(|group| users.shown_gid(*group));
                let bytes: Vec<u8> = shown.flat_map(u32::to_ne_bytes).collect();
                return if bytes.len() > max {
                    Err(Errno::ERANGE)
                } else {
                    Ok(bytes)
                };
            }
            name => return self.socket.options.lock().get(name, max),
        };
        Ok(cut(&number.to_ne_bytes(), max))
    }

    fn set_option(&self, task: &CurrentTask, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if level != so::SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let creds = task.creds();
        self.socket.options.lock().set(&creds, name, value)?;
        self.socket.wake(Events::OUT | Events::WRNORM);
        Ok(())
    }

    fn timeout_ns(&self, send: bool) -> Option<u64> {
        let options = self.socket.options.lock();
        if send {
            options.send_timeout_ns
        } else {
            options.receive_timeout_ns
        }
    }
}
