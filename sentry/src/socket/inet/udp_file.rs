//! An open UDP socket: what the calls need of it.

use std::any::Any;
use std::sync::Arc;

use abi::socket as so;

use super::caller::{Caller, Initial};
use super::control::PerMessage;
use super::names::*;
use super::options::show;
use super::tables::Registry;
use super::udp::{Sending, UdpSocket};
use super::{Endpoint, Family};
use crate::error::{Errno, Result, SysResult};
use crate::socket::options::cut;
use crate::socket::{ControlMessage, Message, SockAddr, SocketOps};
use crate::task::CurrentTask;
use crate::vfs::{File, FileOps, IoCx, Sink, Source};
use crate::wait::{Events, WaitQueue};

/// An open UDP socket. Dropping it closes the socket.
pub(super) struct UdpFile {
    socket: Arc<UdpSocket>,
    ino: u64,
}

/// A new socket.
pub(super) fn create(task: &CurrentTask, family: Family) -> Arc<File> {
    let net = task.namespaces().net.clone();
    let socket = UdpSocket::new(family, net, &Initial::of(task));
    crate::socket::new_file(task, |ino| {
        let uid = task.creds().euid;
        let registry = socket.net.objects.get::<Registry<UdpSocket>>();
        registry.add(ino, uid, &socket);
        Box::new(UdpFile { socket, ino })
    })
}

impl Drop for UdpFile {
    fn drop(&mut self) {
        let registry = self.socket.net.objects.get::<Registry<UdpSocket>>();
        registry.remove(self.ino);
        self.socket.close();
    }
}

impl FileOps for UdpFile {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        Ok(self.socket.datagrams.receive(dst, 0)?.len)
    }
    fn write_at(
        &self,
        cx: IoCx<'_>,
        _offset: u64,
        src: &mut dyn Source,
    ) -> SysResult<(usize, u64)> {
        let caller = cx.task.map(Caller::of).unwrap_or_default();
        let sent = self
            .socket
            .send_to(src, None, &Sending::default(), &caller)?;
        Ok((sent, 0))
    }
    fn readiness(&self) -> Events {
        self.socket.datagrams.readiness()
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.socket.datagrams.queue)
    }
    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        self.socket.datagrams.ioctl(task, request, arg)
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

impl SocketOps for UdpFile {
    fn kind(&self) -> (i32, i32, i32) {
        (self.socket.family.number(), so::SOCK_DGRAM, so::IPPROTO_UDP)
    }
    fn bind(&self, task: &CurrentTask, addr: &[u8]) -> Result<()> {
        let at = Endpoint::parse(addr, self.socket.family)?;
        let caller = Caller::of(task);
        self.socket.check_place(at)?;
        caller.check_port(at.port)?;
        self.socket.bind_to(at, &caller)
    }
    fn listen(&self, _task: &CurrentTask, _backlog: i32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    fn connect(&self, task: &CurrentTask, addr: &[u8]) -> Result<()> {
        if Endpoint::family_of(addr)? == so::AF_UNSPEC {
            self.socket.disconnect();
            return Ok(());
        }
        let to = Endpoint::parse_loosely(addr, self.socket.family)?;
        self.socket.connect_to(to, &Caller::of(task))
    }
    fn accept(&self, _task: &CurrentTask) -> Result<(Arc<File>, SockAddr)> {
        Err(Errno::EOPNOTSUPP)
    }
    fn send(
        &self,
        task: &CurrentTask,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        control: Vec<ControlMessage>,
        _files: Vec<Arc<File>>,
        flags: i32,
    ) -> SysResult<usize> {
        if flags & so::MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let family = self.socket.family;
        let to = match to {
            None => None,
            Some(addr) => Some(Endpoint::parse_loosely(addr, family)?),
        };
        let message = PerMessage::parse(&control, family, true)?;
        if let Some(index) = message.interface {
            crate::socket::interface::by_index(&self.socket.net, index).ok_or(Errno::ENODEV)?;
        }
        let more = flags & so::MSG_MORE != 0;
        let sending = Sending { message, more };
        Ok(self.socket.send_to(src, to, &sending, &Caller::of(task))?)
    }
    fn receive(&self, _task: &CurrentTask, dst: &mut dyn Sink, flags: i32) -> SysResult<Message> {
        Ok(self.socket.datagrams.receive(dst, flags)?)
    }
    fn shutdown(&self, how: i32) -> Result<()> {
        if !(so::SHUT_RD..=so::SHUT_RDWR).contains(&how) {
            return Err(Errno::EINVAL);
        }
        self.socket.remote().ok_or(Errno::ENOTCONN)?;
        self.socket.datagrams.shut(how)
    }
    fn local_addr(&self) -> Result<SockAddr> {
        let local = self.socket.local();
        let local = local.unwrap_or(Endpoint::any(self.socket.family));
        Ok(local.show(self.socket.family))
    }
    fn peer_addr(&self) -> Result<SockAddr> {
        let remote = self.socket.remote().ok_or(Errno::ENOTCONN)?;
        Ok(remote.show(self.socket.family))
    }
    fn get_option(
        &self,
        _task: &CurrentTask,
        level: i32,
        name: i32,
        max: usize,
    ) -> Result<Vec<u8>> {
        let socket = &self.socket;
        if level == so::SOL_SOCKET {
            if name == so::SO_PEERNAME {
                return Ok(cut(&self.peer_addr()?, max));
            }
            let kind = (so::SOCK_DGRAM, so::IPPROTO_UDP);
            return socket.datagrams.get_socket_option(kind, name, max);
        }
        if let Some(value) = socket.groups.get(level, name) {
            return Ok(cut(&value, max));
        }
        if let Some(value) = super::common_option(socket.family, level, name, || {
            socket
                .remote()
                .map(|remote| super::mtu_to(&socket.net, remote))
        }) {
            return Ok(show(level, value?, max));
        }
        let protocol = socket.datagrams.protocol.lock();
        protocol.get(socket.datagrams.asker, level, name, max)
    }
    fn set_option(&self, task: &CurrentTask, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let socket = &self.socket;
        if level == so::SOL_SOCKET {
            return socket.datagrams.set_socket_option(task, name, value);
        }
        if level == so::IPPROTO_IPV6 && socket.family == Family::V4 {
            return Err(Errno::ENOPROTOOPT);
        }
        if let Some(result) = socket.groups.set(&socket.net, level, name, value) {
            return result;
        }
        if super::is_late_v6_only(level, name, socket.local()) {
            return Err(Errno::EINVAL);
        }
        if (level, name) == (so::IPPROTO_IP, IP_OPTIONS) {
            return super::no_ip_options(value);
        }
        let asker = socket.datagrams.asker;
        socket
            .datagrams
            .protocol
            .lock()
            .set(asker, level, name, value)?;
        let corked = || {
            let protocol = socket.datagrams.protocol.lock();
            protocol.is_on(so::IPPROTO_UDP, UDP_CORK)
        };
        if (level, name) == (so::IPPROTO_UDP, UDP_CORK) && !corked() {
            socket.uncork()?;
        }
        Ok(())
    }
    fn timeout_ns(&self, send: bool) -> Option<u64> {
        self.socket.datagrams.timeout_ns(send)
    }
}
