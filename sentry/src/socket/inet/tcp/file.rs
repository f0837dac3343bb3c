//! An open TCP socket: what the calls need of it.

use std::any::Any;
use std::sync::Arc;

use abi::socket as so;
use abi::{UserAddr, UserOut};

use super::{CLOSE, Link, Progress, SYN_SENT, TcpSocket, info};
use crate::error::{Errno, Result, SysResult};
use crate::socket::inbox::{BOTH, RECEIVE, SEND};
use crate::socket::inet::caller::{Caller, Initial};
use crate::socket::inet::names::*;
use crate::socket::inet::options::show;
use crate::socket::inet::tables::Registry;
use crate::socket::inet::{self, Endpoint, Family};
use crate::socket::options::cut;
use crate::socket::{ControlMessage, Message, SockAddr, SocketOps, raise_sigpipe};
use crate::task::CurrentTask;
use crate::vfs::{File, FileOps, IoCx, Sink, Source};
use crate::wait::{Events, WaitQueue};

const CONGESTION: &[u8; 16] = b"cubic\0\0\0\0\0\0\0\0\0\0\0";

/// An open TCP socket. Dropping it closes the socket.
struct TcpFile {
    socket: Arc<TcpSocket>,
    ino: u64,
}

fn open(task: &CurrentTask, socket: Arc<TcpSocket>) -> Arc<File> {
    crate::socket::new_file(task, |ino| {
        let uid = task.creds().euid;
        let registry = socket.net.objects.get::<Registry<TcpSocket>>();
        registry.add(ino, uid, &socket);
        Box::new(TcpFile { socket, ino })
    })
}

/// A new, unconnected socket.
pub(in super::super) fn create(task: &CurrentTask, family: Family) -> Arc<File> {
    let net = task.namespaces().net.clone();
    open(task, TcpSocket::new(family, net, &Initial::of(task)))
}

impl Drop for TcpFile {
    fn drop(&mut self) {
        let registry = self.socket.net.objects.get::<Registry<TcpSocket>>();
        registry.remove(self.ino);
        self.socket.close(false);
    }
}

impl FileOps for TcpFile {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        Ok(self.socket.receive_bytes(dst, 0)?.len)
    }
    fn write_at(
        &self,
        cx: IoCx<'_>,
        _offset: u64,
        src: &mut dyn Source,
    ) -> SysResult<(usize, u64)> {
        let reactor = cx.task.map(|task| &task.kernel.reactor);
        let sent = self.socket.send_bytes(src, 0, reactor);
        if let (Err(Errno::EPIPE), Some(task)) = (&sent, cx.task) {
            raise_sigpipe(task);
        }
        Ok((sent?, 0))
    }
    fn readiness(&self) -> Events {
        self.socket.ready()
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.socket.end.queue)
    }
    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        let count = match request {
            so::FIONREAD => self.socket.unread()?,
            // What was sent within the sandbox has arrived.
            so::SIOCOUTQ => match self.socket.number() {
                super::LISTEN => return Err(Errno::EINVAL.into()),
                _ => self.socket.remote().map_or(0, |remote| remote.queues().1),
            },
            so::SIOCATMARK => usize::from(self.socket.at_mark()),
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

impl TcpFile {
    /// TCP_* that are not just kept.
    fn tcp_option(&self, name: i32, max: usize) -> Option<Vec<u8>> {
        let socket = &self.socket;
        let value = match name {
            TCP_INFO => {
                let state = socket.number();
                let pair = || socket.with_ends(|end, peer| info::of_pair(state, end, peer));
                let info = match socket.remote() {
                    Some(remote) => info::of_remote(state, &remote.info()),
                    None => pair().unwrap_or_else(|| info::of_state(state)),
                };
                return Some(cut(&info, max));
            }
            TCP_CONGESTION => return Some(cut(CONGESTION, max)),
            TCP_MAXSEG => {
                let mss = match (socket.remote(), socket.peer()) {
                    (Some(remote), _) => remote.info().mtu.saturating_sub(40),
                    (None, Some(_)) => info::LOOPBACK_MSS,
                    (None, None) => return None,
                };
                mss as i32
            }
            TCP_TIMESTAMP => (crate::time::monotonic_ns() / 1_000_000) as i32,
            _ => return None,
        };
        Some(cut(&value.to_ne_bytes(), max))
    }

    fn is_connected(&self) -> bool {
        !matches!(self.socket.number(), SYN_SENT | CLOSE)
    }
}

impl SocketOps for TcpFile {
    fn kind(&self) -> (i32, i32, i32) {
        (
            self.socket.family.number(),
            so::SOCK_STREAM,
            so::IPPROTO_TCP,
        )
    }
    fn bind(&self, task: &CurrentTask, addr: &[u8]) -> Result<()> {
        let at = Endpoint::parse(addr, self.socket.family)?;
        let caller = Caller::of(task);
        self.socket.check_place(at)?;
        caller.check_port(at.port)?;
        self.socket.bind_to(at, &caller)
    }
    fn listen(&self, task: &CurrentTask, backlog: i32) -> Result<()> {
        self.socket.start_listening(backlog, &Caller::of(task))
    }
    fn connect(&self, task: &CurrentTask, addr: &[u8]) -> Result<()> {
        if Endpoint::family_of(addr)? == so::AF_UNSPEC {
            self.socket.disconnect();
            return Ok(());
        }
        let to = Endpoint::parse(addr, self.socket.family)?;
        self.socket.connect_to(to, &Caller::of(task))
    }
    fn accept(&self, task: &CurrentTask) -> Result<(Arc<File>, SockAddr)> {
        let socket = self.socket.accept_one()?;
        let from = socket.state.lock().remote;
        let from = from.unwrap_or(Endpoint::any(socket.family));
        let shown = from.show(socket.family);
        Ok((open(task, socket), shown))
    }
    fn send(
        &self,
        task: &CurrentTask,
        src: &mut dyn Source,
        _to: Option<&[u8]>,
        _control: Vec<ControlMessage>,
        _files: Vec<Arc<File>>,
        flags: i32,
    ) -> SysResult<usize> {
        let reactor = Some(&task.kernel.reactor);
        Ok(self.socket.send_bytes(src, flags, reactor)?)
    }
    fn receive(&self, _task: &CurrentTask, dst: &mut dyn Sink, flags: i32) -> SysResult<Message> {
        // Errors of a connection are the connection's: the queue stays empty.
        if flags & so::MSG_ERRQUEUE != 0 {
            return Err(Errno::EAGAIN.into());
        }
        if flags & so::MSG_OOB != 0 {
            return Ok(self.socket.receive_urgent(dst, flags)?);
        }
        Ok(self.socket.receive_bytes(dst, flags)?)
    }
    fn low_water(&self) -> usize {
        usize::try_from(self.socket.options.lock().receive_low_water).unwrap_or(1)
    }
    fn shutdown(&self, how: i32) -> Result<()> {
        self.socket.shut(match how {
            so::SHUT_RD => RECEIVE,
            so::SHUT_WR => SEND,
            so::SHUT_RDWR => BOTH,
            _ => return Err(Errno::EINVAL),
        })
    }
    fn local_addr(&self) -> Result<SockAddr> {
        Ok(self.socket.local().show(self.socket.family))
    }
    fn peer_addr(&self) -> Result<SockAddr> {
        if !self.is_connected() {
            return Err(Errno::ENOTCONN);
        }
        let state = self.socket.state.lock();
        match (&state.link, state.remote) {
            (Link::Peer(_) | Link::Remote(_), Some(remote)) => Ok(remote.show(self.socket.family)),
            _ => Err(Errno::ENOTCONN),
        }
    }
    fn get_option(
        &self,
        _task: &CurrentTask,
        level: i32,
        name: i32,
        max: usize,
    ) -> Result<Vec<u8>> {
        let socket = &self.socket;
        if level == so::IPPROTO_TCP
            && let Some(value) = self.tcp_option(name, max)
        {
            return Ok(value);
        }
        if level != so::SOL_SOCKET {
            let mtu = || {
                let remote = socket.state.lock().remote?;
                self.is_connected()
                    .then(|| inet::mtu_to(&socket.net, remote))
            };
            if let Some(value) = inet::common_option(socket.family, level, name, mtu) {
                return Ok(show(level, value?, max));
            }
            if (level, name) == (so::IPPROTO_IP, IP_OPTIONS) {
                return Ok(Vec::new());
            }
            let protocol = socket.protocol.lock();
            return protocol.get(socket.asker(), level, name, max);
        }
        let number = match name {
            so::SO_DOMAIN => socket.family.number(),
            so::SO_TYPE => so::SOCK_STREAM,
            so::SO_PROTOCOL => so::IPPROTO_TCP,
            so::SO_ACCEPTCONN => i32::from(socket.number() == super::LISTEN),
            so::SO_ERROR => {
                let remote = socket.remote();
                let error = socket.end.side.lock().error.take();
                let error = error.or_else(|| remote.and_then(|remote| remote.take_error()));
                let mut state = socket.state.lock();
                if let Progress::Untold(Err(_)) = state.progress {
                    // Whoever asks has been told.
                    state.progress = Progress::None;
                }
                error.map_or(0, Errno::raw)
            }
            so::SO_PASSCRED => return Err(Errno::EOPNOTSUPP),
            so::SO_PEERCRED => return Ok(cut(&inet::NOBODY, max)),
            so::SO_PEERNAME => return Ok(cut(&self.peer_addr()?, max)),
            name => return socket.options.lock().get(name, max),
        };
        Ok(cut(&number.to_ne_bytes(), max))
    }
    fn set_option(&self, task: &CurrentTask, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let socket = &self.socket;
        match (level, name) {
            (so::SOL_SOCKET, so::SO_BINDTODEVICE) => {
                inet::bind_to_device(task, &socket.options, value)?;
            }
            (so::SOL_SOCKET, _) => {
                socket.options.lock().set(&task.creds(), name, value)?;
                socket
                    .end
                    .queue
                    .notify(Events::OUT | Events::WRNORM | Events::IN | Events::RDNORM);
            }
            (so::IPPROTO_IP, IP_OPTIONS) => return inet::no_ip_options(value),
            (so::IPPROTO_TCP, TCP_CONGESTION) => {
                return match value {
                    [] => Err(Errno::EINVAL),
                    name if name.starts_with(b"cubic") => Ok(()),
                    _ => Err(Errno::ENOENT),
                };
            }
            // Only sockets under repair have their clocks set.
            (so::IPPROTO_TCP, TCP_TIMESTAMP) => return Err(Errno::EPERM),
            _ => {
                let bound = Some(socket.local()).filter(|at| at.port != 0);
                if inet::is_late_v6_only(level, name, bound) {
                    return Err(Errno::EINVAL);
                }
                let asker = socket.asker();
                socket.protocol.lock().set(asker, level, name, value)?;
            }
        }
        socket.apply();
        let lets_go = (level, name) == (so::IPPROTO_TCP, TCP_NODELAY)
            || ((level, name) == (so::IPPROTO_TCP, TCP_CORK) && socket.tcp_option(TCP_CORK) == 0);
        if lets_go {
            socket.flush();
        }
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
